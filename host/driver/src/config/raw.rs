//! The file as it is written: types are right, nothing else is checked yet.

use serde::Deserialize;

use super::error::{ConfigError, Problem};
use super::{Format, Key, Source, locate};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub ports: Vec<Port>,
    #[serde(default)]
    pub ssds: Vec<Ssd>,
    #[serde(default)]
    pub subsystems: Vec<Subsystem>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    pub name: Option<String>,
    pub mac: String,
    pub ipv4: Option<String>,
    pub ipv4_gateway: Option<String>,
    pub ipv6: Option<String>,
    pub mtu: Option<i64>,
    pub vlan: Option<i64>,
    pub io_port: Option<i64>,
    pub discovery_port: Option<i64>,
    pub rdma_port: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ssd {
    pub name: Option<String>,
    pub pci: Option<String>,
    pub timeout_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subsystem {
    pub nqn: String,
    pub serial: Option<String>,
    pub model: Option<String>,
    pub allow_any_host: Option<bool>,
    pub hosts: Option<Vec<String>>,
    pub listeners: Option<Vec<String>>,
    #[serde(default)]
    pub namespaces: Vec<Namespace>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Namespace {
    pub nsid: i64,
    pub ssd: String,
    pub ssd_nsid: Option<i64>,
    pub first_block: Option<i64>,
    pub blocks: Option<i64>,
    pub uuid: Option<String>,
    pub nguid: Option<String>,
    pub eui64: Option<String>,
    pub read_only: Option<bool>,
    pub ana_group: Option<i64>,
}

pub(super) fn parse(source: &Source) -> Result<File, ConfigError> {
    let fail = |line, column, message: String| {
        let problem = Problem::Syntax(message);
        ConfigError::new(&source.file, line, column, &Key::default(), problem)
    };
    match source.format {
        Format::Toml => toml::from_str(&source.text).map_err(|e| {
            let offset = e.span().map_or(0, |s| s.start);
            let (line, column) = locate::position(&source.text, offset);
            fail(line, column, e.message().trim().replace('\n', ", "))
        }),
        Format::Json => serde_json::from_str(&source.text).map_err(|e| {
            let message = e.to_string();
            // The position is given on its own.
            let end = message.rfind(" at line ").unwrap_or(message.len());
            fail(e.line(), e.column(), message[..end].to_string())
        }),
    }
}
