//! The configuration after checking.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use sluice_wire::mgmt::transports;

use super::error::Problem;
use super::locate::Key;
use super::raw;
use super::{Source, address, names};

/// Longest name of a port or SSD.
const MAX_NAME: usize = 64;
/// Highest NSID: the card keeps namespaces in tables of this size per subsystem at most.
const MAX_NSID: i64 = 1024;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ports, in the order of their numbers on the card.
    pub ports: Vec<Port>,
    /// SSDs, in the order of their numbers on the card.
    pub ssds: Vec<SsdSpec>,
    /// Subsystems, in the order of their numbers on the card.
    pub subsystems: Vec<Subsystem>,
    pub(super) source: Source,
}

/// A port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Name; `port0` and so on if none was given.
    pub name: String,
    /// MAC address.
    pub mac: [u8; 6],
    /// IPv4 address and prefix length.
    pub ipv4: Option<([u8; 4], u8)>,
    /// IPv4 gateway.
    pub ipv4_gateway: Option<[u8; 4]>,
    /// IPv6 address and prefix length.
    pub ipv6: Option<([u8; 16], u8)>,
    /// Largest IP packet, bytes; 1500 if none was given.
    pub mtu: u16,
    /// VLAN; 0 for none.
    pub vlan: u16,
    /// TCP port of subsystems; 4420 if none was given.
    pub io_port: u16,
    /// TCP port of discovery; 8009 if none was given.
    pub discovery_port: u16,
    /// Port of NVMe/RDMA; 4420 if none was given, 0 for no NVMe/RDMA.
    pub rdma_port: u16,
}

/// An SSD.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SsdSpec {
    /// Name; `ssd0` and so on if none was given.
    pub name: String,
    /// PCI address, unless it goes by its name alone.
    pub pci: Option<String>,
    /// Give up on an I/O command after this many milliseconds; 30,000 if none was given.
    pub timeout_ms: u32,
}

/// A subsystem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subsystem {
    /// NQN.
    pub nqn: String,
    /// Serial number; made from the NQN if none was given.
    pub serial: String,
    /// Model number; `Sluice` if none was given.
    pub model: String,
    /// Every host may connect.
    pub allow_any_host: bool,
    /// NQNs of hosts that may.
    pub hosts: Vec<String>,
    /// Where it is reachable: at all ports over all transports if nothing was said.
    pub listeners: Vec<Listener>,
    /// Namespaces.
    pub namespaces: Vec<Namespace>,
}

/// A port, and the transports over which a subsystem is reachable at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Index of the port.
    pub port: usize,
    /// A mask of [`transports`]; 0 for all that the port has.
    pub transports: u32,
}

/// A namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// NSID towards hosts.
    pub nsid: u32,
    /// Index of the SSD.
    pub ssd: usize,
    /// NSID on the SSD; 1 if none was given.
    pub ssd_nsid: u32,
    /// First block on the SSD; 0 if none was given.
    pub first_block: u64,
    /// Blocks; all from the first on if none were given.
    pub blocks: Option<u64>,
    /// UUID; made from NQN and NSID if none was given, as the others are.
    pub uuid: [u8; 16],
    /// NGUID.
    pub nguid: [u8; 16],
    /// EUI-64; zeros if none was given.
    pub eui64: [u8; 8],
    /// Writes are refused.
    pub read_only: bool,
    /// ANA group; 1 if none was given.
    pub ana_group: u16,
}

type Found<T> = Result<T, (Key, Problem)>;
type Parts = (Vec<Port>, Vec<SsdSpec>, Vec<Subsystem>);

pub(super) fn check(file: raw::File) -> Found<Parts> {
    let root = Key::default();
    let each = |name: &'static str| {
        let list = root.name(name);
        move |index: usize| list.index(index)
    };
    // Forgotten is not the same as none yet.
    let forgotten = [
        ("port", "ports", file.ports.is_none()),
        ("SSD", "ssds", file.ssds.is_none()),
    ];
    let ports = all(file.ports.unwrap_or_default(), each("ports"), port)?;
    let ssds = all(file.ssds.unwrap_or_default(), each("ssds"), ssd)?;
    if let Some((what, list, _)) = forgotten.into_iter().find(|(.., is)| *is) {
        return Err((root.name(list), Problem::Missing(what)));
    }
    unique(ports.iter().map(|p| p.name.clone()), each("ports"), "name")?;
    // A listener's text must mean one thing: no port is named as another one's transport.
    let texts = ports.iter().map(|p| p.name.clone()).chain(
        (ports.iter()).flat_map(|p| ["tcp", "rdma"].map(|over| format!("{}/{over}", p.name))),
    );
    let of_port = |i: usize| {
        if i < ports.len() {
            i
        } else {
            (i - ports.len()) / 2
        }
    };
    unique(texts, |i| each("ports")(of_port(i)), "name")?;
    unique(ports.iter().map(|p| mac_text(p.mac)), each("ports"), "mac")?;
    unique(ssds.iter().map(|s| s.name.clone()), each("ssds"), "name")?;
    let pci: Vec<_> = ssds
        .iter()
        .enumerate()
        .map(|(i, s)| s.pci.clone().unwrap_or(format!("#{i}")))
        .collect();
    unique(pci, each("ssds"), "pci")?;
    let names = Names {
        ports: ports.iter().map(|p| p.name.clone()).collect(),
        rdma: ports.iter().map(|p| p.rdma_port != 0).collect(),
        ssds: ssds.iter().map(|s| s.name.clone()).collect(),
    };
    let subsystems = all(file.subsystems, each("subsystems"), |key, _, raw| {
        subsystem(key, raw, &names)
    })?;
    unique(
        subsystems.iter().map(|s| s.nqn.clone()),
        each("subsystems"),
        "nqn",
    )?;
    Ok((ports, ssds, subsystems))
}

struct Names {
    ports: Vec<String>,
    /// Those with NVMe/RDMA, by index.
    rdma: Vec<bool>,
    ssds: Vec<String>,
}

fn all<R, T>(
    list: Vec<R>,
    key: impl Fn(usize) -> Key,
    check: impl Fn(&Key, usize, R) -> Found<T>,
) -> Found<Vec<T>> {
    list.into_iter()
        .enumerate()
        .map(|(i, raw)| check(&key(i), i, raw))
        .collect()
}

/// No two of them are equal.
fn unique<T: Eq + Hash + Display>(
    values: impl IntoIterator<Item = T>,
    key: impl Fn(usize) -> Key,
    field: &'static str,
) -> Found<()> {
    let mut seen = HashMap::new();
    for (i, value) in values.into_iter().enumerate() {
        if let Some(first) = seen.get(&value) {
            let by = key(*first).to_string();
            return Err((
                key(i).name(field),
                Problem::Duplicate {
                    got: value.to_string(),
                    by,
                },
            ));
        }
        seen.insert(value, i);
    }
    Ok(())
}

fn port(key: &Key, index: usize, raw: raw::Port) -> Found<Port> {
    let on = |name| move |problem| (key.name(name), problem);
    let ipv4 = raw
        .ipv4
        .as_deref()
        .map(address::ipv4)
        .transpose()
        .map_err(on("ipv4"))?;
    let gateway = raw
        .ipv4_gateway
        .as_deref()
        .map(|g| address::gateway(g, ipv4));
    let ipv6 = raw
        .ipv6
        .as_deref()
        .map(address::ipv6)
        .transpose()
        .map_err(on("ipv6"))?;
    if ipv4.is_none() && ipv6.is_none() {
        let problem = Problem::value("ipv4 or ipv6, or both", "neither");
        return Err((key.clone(), problem));
    }
    let (io_port, discovery_port, rdma_port) = (
        number(raw.io_port, 4420, 1, 65_535),
        number(raw.discovery_port, 8009, 1, 65_535),
        number(raw.rdma_port, 4420, 0, 65_535),
    );
    Ok(Port {
        name: name(raw.name, "port", index).map_err(on("name"))?,
        mac: address::mac(&raw.mac).map_err(on("mac"))?,
        ipv4,
        ipv4_gateway: gateway.transpose().map_err(on("ipv4_gateway"))?,
        ipv6,
        mtu: number(raw.mtu, 1500, 1280, 9000).map_err(on("mtu"))?,
        vlan: number(raw.vlan, 0, 0, 4094).map_err(on("vlan"))?,
        io_port: io_port.map_err(on("io_port"))?,
        discovery_port: discovery_port.map_err(on("discovery_port"))?,
        rdma_port: rdma_port.map_err(on("rdma_port"))?,
    })
}

fn ssd(key: &Key, index: usize, raw: raw::Ssd) -> Found<SsdSpec> {
    let on = |name| move |problem| (key.name(name), problem);
    Ok(SsdSpec {
        name: name(raw.name, "ssd", index).map_err(on("name"))?,
        pci: raw
            .pci
            .as_deref()
            .map(address::pci)
            .transpose()
            .map_err(on("pci"))?,
        timeout_ms: number(raw.timeout_ms, 30_000, 10, 600_000).map_err(on("timeout_ms"))?,
    })
}

fn subsystem(key: &Key, raw: raw::Subsystem, names: &Names) -> Found<Subsystem> {
    let on = |name| move |problem| (key.name(name), problem);
    names::nqn(&raw.nqn).map_err(on("nqn"))?;
    let serial = raw.serial.unwrap_or_else(|| names::stable_serial(&raw.nqn));
    let model = raw.model.unwrap_or_else(|| "Sluice".into());
    names::ascii(&serial, 20).map_err(on("serial"))?;
    names::ascii(&model, 40).map_err(on("model"))?;
    let forgotten = raw.hosts.is_none();
    let hosts = raw.hosts.unwrap_or_default();
    for (i, host) in hosts.iter().enumerate() {
        names::nqn(host).map_err(|p| (key.name("hosts").index(i), p))?;
    }
    let allow_any_host = raw.allow_any_host.unwrap_or(false);
    if !allow_any_host && forgotten {
        let want = "allow_any_host = true, or hosts (an empty list for none yet)";
        return Err((key.clone(), Problem::value(want, "neither")));
    }
    let element = |list: &'static str| move |i: usize| key.name(list).index(i);
    let listeners = match raw.listeners {
        None => (0..names.ports.len()).map(Listener::all).collect(),
        Some(list) => listeners(&list, names, element("listeners"))?,
    };
    unique_elements(&hosts, element("hosts"))?;
    let at = element("namespaces");
    let namespaces = all(raw.namespaces, at, |key, _, ns| {
        namespace(key, ns, &raw.nqn, names)
    })?;
    unique(namespaces.iter().map(|n| n.nsid), at, "nsid")?;
    unique(namespaces.iter().map(|n| hex_text(&n.uuid)), at, "uuid")?;
    Ok(Subsystem {
        nqn: raw.nqn,
        serial,
        model,
        allow_any_host,
        hosts,
        listeners,
        namespaces,
    })
}

impl Listener {
    /// All transports of a port.
    const fn all(port: usize) -> Self {
        Self {
            port,
            transports: 0,
        }
    }

    /// From `port`, `port/tcp` or `port/rdma`. A port's whole name comes first, since it may have a slash in it.
    fn parse(text: &str, names: &Names) -> Result<Self, Problem> {
        let named = |name| find("port", name, &names.ports);
        let whole = named(text);
        let (false, Some((name, transport))) = (whole.is_ok(), text.rsplit_once('/')) else {
            return whole.map(Self::all);
        };
        let port = named(name)?;
        let transports = match transport {
            "tcp" => transports::TCP,
            "rdma" if names.rdma.get(port) == Some(&true) => transports::RDMA,
            "rdma" => {
                let want = format!("a port with NVMe/RDMA (the rdma_port of {name} is 0)");
                return Err(Problem::value(want, text));
            }
            _ => {
                let want = format!("{name}, {name}/tcp or {name}/rdma");
                return Err(Problem::value(want, text));
            }
        };
        Ok(Self { port, transports })
    }

    /// The transports, none left out.
    #[must_use]
    pub const fn mask(self) -> u32 {
        if self.transports == 0 {
            transports::ALL
        } else {
            self.transports
        }
    }
}

/// No transport of a port is named twice.
fn listeners(list: &[String], names: &Names, key: impl Fn(usize) -> Key) -> Found<Vec<Listener>> {
    let mut all: Vec<Listener> = Vec::new();
    for (i, text) in list.iter().enumerate() {
        let listener = Listener::parse(text, names).map_err(|p| (key(i), p))?;
        let same = |l: &Listener| l.port == listener.port && l.mask() & listener.mask() != 0;
        if let Some(first) = all.iter().position(same) {
            let (got, by) = (text.clone(), key(first).to_string());
            return Err((key(i), Problem::Duplicate { got, by }));
        }
        all.push(listener);
    }
    Ok(all)
}

fn unique_elements<T: Eq + Hash + Display>(list: &[T], key: impl Fn(usize) -> Key) -> Found<()> {
    let mut seen = HashMap::new();
    for (i, value) in list.iter().enumerate() {
        if let Some(first) = seen.insert(value, i) {
            let by = key(first).to_string();
            return Err((
                key(i),
                Problem::Duplicate {
                    got: value.to_string(),
                    by,
                },
            ));
        }
    }
    Ok(())
}

fn namespace(key: &Key, raw: raw::Namespace, nqn: &str, names: &Names) -> Found<Namespace> {
    let on = |name| move |problem| (key.name(name), problem);
    let nsid = number(Some(raw.nsid), 1, 1, MAX_NSID).map_err(on("nsid"))?;
    let blocks = raw.blocks.map(|b| number(Some(b), 1, 1, i64::MAX));
    let uuid = raw
        .uuid
        .as_deref()
        .map(|t| address::hex(t, "6f1c1a4e-0b5e-4c39-8f3e-0d6a4f2b9c11"));
    let nguid = raw
        .nguid
        .as_deref()
        .map(|t| address::hex(t, "6f1c1a4e0b5e4c398f3e0d6a4f2b9c11"));
    let eui64 = raw
        .eui64
        .as_deref()
        .map(|t| address::hex(t, "02534c0000000001"));
    Ok(Namespace {
        nsid,
        ssd: find("SSD", &raw.ssd, &names.ssds).map_err(on("ssd"))?,
        ssd_nsid: number(raw.ssd_nsid, 1, 1, 0xFFFF_FFFE).map_err(on("ssd_nsid"))?,
        first_block: number(raw.first_block, 0, 0, i64::MAX).map_err(on("first_block"))?,
        blocks: blocks.transpose().map_err(on("blocks"))?,
        uuid: uuid
            .transpose()
            .map_err(on("uuid"))?
            .unwrap_or_else(|| names::stable_uuid(nqn, nsid)),
        nguid: nguid
            .transpose()
            .map_err(on("nguid"))?
            .unwrap_or_else(|| names::stable("nguid", nqn, nsid)),
        eui64: eui64.transpose().map_err(on("eui64"))?.unwrap_or_default(),
        read_only: raw.read_only.unwrap_or(false),
        ana_group: number(raw.ana_group, 1, 1, 65_535).map_err(on("ana_group"))?,
    })
}

/// A number in a range.
fn number<T: TryFrom<i64>>(
    value: Option<i64>,
    default: i64,
    min: i64,
    max: i64,
) -> Result<T, Problem> {
    let value = value.unwrap_or(default);
    let bad = || {
        let want = if max == i64::MAX {
            format!("a number from {min} on")
        } else {
            format!("{min} to {max}")
        };
        Problem::value(want, value)
    };
    if !(min..=max).contains(&value) {
        return Err(bad());
    }
    T::try_from(value).map_err(|_| bad())
}

fn name(given: Option<String>, kind: &str, index: usize) -> Result<String, Problem> {
    let name = given.unwrap_or_else(|| format!("{kind}{index}"));
    names::ascii(&name, MAX_NAME)?;
    Ok(name)
}

fn find(what: &'static str, name: &str, all: &[String]) -> Result<usize, Problem> {
    let unknown = || Problem::Unknown {
        what,
        got: format!("{name:?}"),
        have: all.join(", "),
    };
    all.iter().position(|n| n == name).ok_or_else(unknown)
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
