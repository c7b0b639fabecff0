//! A configuration written back, and changed: the changed whole passes the same checks as a file does.

use std::net::{Ipv4Addr, Ipv6Addr};

use sluice_wire::mgmt::transports;

use super::error::{ConfigError, Problem};
use super::{Config, Format, Listener, Namespace, Port, Source, SsdSpec, Subsystem, raw};

impl Config {
    /// The configuration of a card with nothing set up: no port, no SSD, no subsystem.
    ///
    /// # Panics
    /// Never: a test reads it.
    #[must_use]
    pub fn empty() -> Self {
        let file = raw::File {
            ports: Some(Vec::new()),
            ssds: Some(Vec::new()),
            subsystems: Vec::new(),
        };
        Self::from_raw(&file, "(empty)").expect("there is nothing to be wrong")
    }

    /// Checks a configuration that did not come as a text; `name` is what it is called in messages.
    ///
    /// # Errors
    /// [`ConfigError`] without line and column.
    pub fn from_raw(file: &raw::File, name: &str) -> Result<Self, ConfigError> {
        let source = Source {
            file: name.into(),
            format: Format::Json,
            text: text(file),
        };
        Self::parse(source).map_err(|error| ConfigError {
            line: 0,
            column: 0,
            ..error
        })
    }

    /// The file that says the same, every value given.
    #[must_use]
    pub fn to_raw(&self) -> raw::File {
        raw::File {
            ports: Some(self.ports.iter().map(Port::to_raw).collect()),
            ssds: Some(self.ssds.iter().map(SsdSpec::to_raw).collect()),
            subsystems: self
                .subsystems
                .iter()
                .map(|s| self.subsystem_raw(s))
                .collect(),
        }
    }

    /// The same as JSON; [`Config::parse`] reads it.
    #[must_use]
    pub fn to_json(&self) -> String {
        text(&self.to_raw())
    }

    /// What it is called in messages: the name of the file that it came from.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.source.file
    }

    /// Changed, and checked as a whole.
    ///
    /// # Errors
    /// [`ConfigError`] without line and column.
    pub fn edited(&self, edit: impl FnOnce(&mut raw::File)) -> Result<Self, ConfigError> {
        let mut file = self.to_raw();
        edit(&mut file);
        Self::from_raw(&file, &self.source.file)
    }

    fn subsystem_raw(&self, subsystem: &Subsystem) -> raw::Subsystem {
        raw::Subsystem {
            nqn: subsystem.nqn.clone(),
            serial: Some(subsystem.serial.clone()),
            model: Some(subsystem.model.clone()),
            allow_any_host: Some(subsystem.allow_any_host),
            hosts: Some(subsystem.hosts.clone()),
            listeners: Some(
                (subsystem.listeners.iter())
                    .map(|l| self.listener_text(*l))
                    .collect(),
            ),
            namespaces: (subsystem.namespaces.iter())
                .map(|n| self.namespace_raw(n))
                .collect(),
        }
    }

    /// `port`, `port/tcp` or `port/rdma`.
    #[must_use]
    pub fn listener_text(&self, listener: Listener) -> String {
        let port = &self.ports[listener.port].name;
        match listener.transports {
            transports::TCP => format!("{port}/tcp"),
            transports::RDMA => format!("{port}/rdma"),
            _ => port.clone(),
        }
    }

    fn namespace_raw(&self, ns: &Namespace) -> raw::Namespace {
        raw::Namespace {
            nsid: ns.nsid.into(),
            ssd: self.ssds[ns.ssd].name.clone(),
            ssd_nsid: Some(ns.ssd_nsid.into()),
            // Both were read from such a number.
            first_block: i64::try_from(ns.first_block).ok(),
            blocks: ns.blocks.and_then(|b| i64::try_from(b).ok()),
            uuid: Some(uuid_text(&ns.uuid)),
            nguid: Some(hex(&ns.nguid)),
            eui64: (ns.eui64 != [0; 8]).then(|| hex(&ns.eui64)),
            read_only: Some(ns.read_only),
            ana_group: Some(ns.ana_group.into()),
        }
    }
}

impl Port {
    fn to_raw(&self) -> raw::Port {
        let v4 = |(a, prefix): ([u8; 4], u8)| format!("{}/{prefix}", Ipv4Addr::from(a));
        let v6 = |(a, prefix): ([u8; 16], u8)| format!("{}/{prefix}", Ipv6Addr::from(a));
        raw::Port {
            name: Some(self.name.clone()),
            mac: self.mac.map(|b| format!("{b:02x}")).join(":"),
            ipv4: self.ipv4.map(v4),
            ipv4_gateway: self.ipv4_gateway.map(|a| Ipv4Addr::from(a).to_string()),
            ipv6: self.ipv6.map(v6),
            mtu: Some(self.mtu.into()),
            vlan: Some(self.vlan.into()),
            io_port: Some(self.io_port.into()),
            discovery_port: Some(self.discovery_port.into()),
            rdma_port: Some(self.rdma_port.into()),
        }
    }
}

impl SsdSpec {
    fn to_raw(&self) -> raw::Ssd {
        raw::Ssd {
            name: Some(self.name.clone()),
            pci: self.pci.clone(),
            timeout_ms: Some(self.timeout_ms.into()),
        }
    }
}

impl ConfigError {
    /// Whether it is only that the card has no room for so many.
    #[must_use]
    pub fn is_too_many(&self) -> bool {
        matches!(*self.problem, Problem::TooMany { .. })
    }
}

/// The canonical form, 8-4-4-4-12.
fn uuid_text(uuid: &[u8; 16]) -> String {
    let parts = [
        &uuid[..4],
        &uuid[4..6],
        &uuid[6..8],
        &uuid[8..10],
        &uuid[10..],
    ];
    parts.map(hex).join("-")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn text(file: &raw::File) -> String {
    serde_json::to_string_pretty(file).expect("strings, numbers and lists only")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[[ports]]
name = "front"
mac = "02:53:4c:00:00:01"
ipv4 = "192.0.2.10/24"
ipv4_gateway = "192.0.2.1"
ipv6 = "2001:db8::10/64"
vlan = 7
[[ports]]
mac = "02:53:4c:00:00:02"
ipv4 = "198.51.100.1/24"
rdma_port = 0
[[ssds]]
name = "left"
pci = "0000:01:00.0"
[[ssds]]
[[subsystems]]
nqn = "nqn.2026-01.org.example:one"
hosts = ["nqn.2026-01.org.example:h"]
listeners = ["front/rdma", "port1"]
namespaces = [
  { nsid = 3, ssd = "left", first_block = 8, blocks = 16, eui64 = "02534c0000000001", read_only = true },
  { nsid = 1, ssd = "ssd1", uuid = "6f1c1a4e-0b5e-4c39-8f3e-0d6a4f2b9c11", ana_group = 2 },
]
[[subsystems]]
nqn = "nqn.2026-01.org.example:two"
hosts = []
listeners = []
"#;

    fn config() -> Config {
        let source = Source {
            file: "edit.toml".into(),
            format: Format::Toml,
            text: TEXT.into(),
        };
        Config::parse(source).expect("good")
    }

    #[test]
    fn a_configuration_written_back_is_read_as_the_same() {
        let (config, empty) = (config(), Config::empty());
        for config in [config, empty] {
            let source = Source {
                file: "again.json".into(),
                format: Format::Json,
                text: config.to_json(),
            };
            let again = Config::parse(source).expect("its own text");
            assert_eq!(again.ports, config.ports);
            assert_eq!(again.ssds, config.ssds);
            assert_eq!(again.subsystems, config.subsystems);
            assert_eq!(again.to_json(), config.to_json());
        }
    }

    #[test]
    fn removing_an_ssd_leaves_the_other_namespaces_where_they_were() {
        let edited = config().edited(|file| {
            file.subsystems[0].namespaces.retain(|n| n.ssd != "left");
            file.ssds.as_mut().expect("there").remove(0);
        });
        let edited = edited.expect("good");
        assert_eq!(
            edited.ssds[edited.subsystems[0].namespaces[0].ssd].name,
            "ssd1"
        );
    }

    #[test]
    fn a_change_is_checked_as_a_file_is_and_its_error_names_the_key_without_a_line() {
        let error = config().edited(|file| file.subsystems[0].namespaces[1].nsid = 3);
        let error = error.expect_err("NSID 3 is taken").to_string();
        assert!(
            error.starts_with("edit.toml: subsystems[0].namespaces[1].nsid: 3 is used already by"),
            "{error}"
        );
    }

    #[test]
    fn a_port_named_as_another_ones_transport_is_refused() {
        let error = config().edited(|file| {
            let ports = file.ports.as_mut().expect("there");
            ports[1].name = Some("front/tcp".into());
        });
        let error = error.expect_err("ambiguous").to_string();
        assert!(
            error.contains("front/tcp") && error.contains("name"),
            "{error}"
        );
    }
}
