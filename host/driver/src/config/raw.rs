//! The file as it is written: types are right, nothing else is checked yet. Also what a change at run time brings, and what
//! a configuration is written back as ([`Config::to_raw`](super::Config::to_raw)). What the keys mean and what is taken when
//! one is left out is said at the checked forms of the same names in [`super`].
#![allow(
    missing_docs,
    reason = "the keys of the file; their meaning is said at the checked forms"
)]

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, Problem};
use super::{Format, Key, Source, locate};

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// `None`: left out, which a file may not do; an empty list is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<Port>>,
    /// As `ports`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssds: Option<Vec<Ssd>>,
    #[serde(default)]
    pub subsystems: Vec<Subsystem>,
}

/// A port.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_port: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery_port: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdma_port: Option<i64>,
}

/// An SSD.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssd {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<i64>,
}

/// A subsystem.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subsystem {
    pub nqn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_any_host: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<String>>,
    #[serde(default)]
    pub namespaces: Vec<Namespace>,
}

/// A namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    pub nsid: i64,
    pub ssd: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssd_nsid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_block: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nguid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eui64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
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
