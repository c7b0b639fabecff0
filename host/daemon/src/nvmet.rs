//! nvmetcli's configuration (the JSON of `nvmetcli save`) in and out, for those who come from the kernel's target or go back.
//!
//! Our block device `ssd0n1` is `/dev/ssd0n1` there; coming in, a path is looked up in the caller's list first and then by its
//! last component. What nvmet has no words for (part of an SSD's namespace, read-only) is in a member `sluice` of the
//! namespace, which nvmetcli passes over. What we have no words for is left out, and said.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};
use sluice_driver::config::{Config, raw};
use sluice_wire::mgmt::transports;

/// An nvmetcli configuration that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{at}: {want} wanted, {got} came")]
pub struct ImportError {
    /// Where in the file.
    pub at: String,
    /// What should be there.
    pub want: &'static str,
    /// What is.
    pub got: String,
}

/// What is to be added.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Subsystems with all in them.
    pub subsystems: Vec<raw::Subsystem>,
    /// Transports that they need.
    pub transports: Vec<String>,
    /// What has no place here, in words.
    pub left_out: Vec<String>,
}

/// The configuration in nvmetcli's form.
#[must_use]
pub fn export(config: &Config) -> Value {
    let mut hosts: Vec<&str> = config
        .subsystems
        .iter()
        .flat_map(|s| &s.hosts)
        .map(String::as_str)
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    let hosts: Vec<_> = hosts.into_iter().map(|nqn| json!({ "nqn": nqn })).collect();
    let subsystems: Vec<_> = (config.subsystems.iter())
        .map(|s| {
            let namespaces: Vec<_> = s.namespaces.iter().map(|n| namespace(config, n)).collect();
            json!({
                "nqn": s.nqn,
                "attr": { "allow_any_host": flag(s.allow_any_host), "serial": s.serial, "model": s.model },
                "allowed_hosts": s.hosts,
                "namespaces": namespaces,
            })
        })
        .collect();
    json!({ "hosts": hosts, "ports": ports(config), "subsystems": subsystems })
}

/// Reads a configuration. `devices`: an object of block device paths there and block devices here.
///
/// # Errors
/// [`ImportError`] if it is no nvmetcli configuration.
pub fn import(file: &Value, devices: &Value, ours: &Config) -> Result<Plan, ImportError> {
    let root = object(file, "config")?;
    let mut plan = Plan::default();
    for key in root
        .keys()
        .filter(|k| !matches!(k.as_str(), "hosts" | "ports" | "subsystems"))
    {
        plan.left_out.push(format!("{key}: it has no meaning here"));
    }
    for (i, entry) in list(root, "subsystems", "config")?.iter().enumerate() {
        let at = format!("subsystems[{i}]");
        let subsystem = subsystem(object(entry, &at)?, &at, devices, ours, &mut plan.left_out)?;
        plan.subsystems.push(subsystem);
    }
    for (i, entry) in list(root, "ports", "config")?.iter().enumerate() {
        let at = format!("ports[{i}]");
        port(object(entry, &at)?, &at, ours, &mut plan)?;
    }
    Ok(plan)
}

fn ports(config: &Config) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for (index, port) in config.ports.iter().enumerate() {
        for (kind, mask, service) in [
            ("tcp", transports::TCP, port.io_port),
            ("rdma", transports::RDMA, port.rdma_port),
        ] {
            let here = |s: &&sluice_driver::config::Subsystem| {
                s.listeners
                    .iter()
                    .any(|l| l.port == index && l.mask() & mask != 0)
            };
            let names: Vec<_> = config
                .subsystems
                .iter()
                .filter(here)
                .map(|s| s.nqn.as_str())
                .collect();
            if names.is_empty() || service == 0 {
                continue;
            }
            let v4 = port
                .ipv4
                .map(|(a, _)| ("ipv4", Ipv4Addr::from(a).to_string()));
            let v6 = port
                .ipv6
                .map(|(a, _)| ("ipv6", Ipv6Addr::from(a).to_string()));
            for (family, ip) in v4.into_iter().chain(v6) {
                all.push(json!({
                    "portid": all.len() + 1,
                    "addr": {
                        "adrfam": family, "traddr": ip, "treq": "not specified",
                        "trsvcid": service.to_string(), "trtype": kind,
                    },
                    "referrals": [],
                    "subsystems": names,
                }));
            }
        }
    }
    all
}

fn namespace(config: &Config, n: &sluice_driver::config::Namespace) -> Value {
    let uuid = |id: &[u8; 16]| {
        let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
        [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ]
        .join("-")
    };
    let mut value = json!({
        "nsid": n.nsid,
        "enable": 1,
        "ana_grpid": n.ana_group,
        "device": {
            "path": format!("/dev/{}n{}", config.ssds[n.ssd].name, n.ssd_nsid),
            "uuid": uuid(&n.uuid),
            "nguid": uuid(&n.nguid),
        },
    });
    if n.first_block != 0 || n.blocks.is_some() || n.read_only {
        value["sluice"] = json!({ "first_block": n.first_block, "num_blocks": n.blocks, "read_only": n.read_only });
    }
    value
}

fn flag(on: bool) -> &'static str {
    if on { "1" } else { "0" }
}

fn subsystem(
    entry: &Map<String, Value>,
    at: &str,
    devices: &Value,
    ours: &Config,
    left_out: &mut Vec<String>,
) -> Result<raw::Subsystem, ImportError> {
    let attr = match entry.get("attr") {
        Some(attr) => object(attr, &format!("{at}.attr"))?.clone(),
        None => Map::new(),
    };
    for key in attr.keys().filter(|k| {
        !matches!(
            k.as_str(),
            "allow_any_host" | "serial" | "model" | "version"
        )
    }) {
        left_out.push(format!("{at}.attr.{key}: the card decides that itself"));
    }
    let mut hosts = Vec::new();
    for (i, host) in list(entry, "allowed_hosts", at)?.iter().enumerate() {
        hosts.push(text(Some(host), &format!("{at}.allowed_hosts[{i}]"))?);
    }
    let mut namespaces = Vec::new();
    for (i, ns) in list(entry, "namespaces", at)?.iter().enumerate() {
        let at = format!("{at}.namespaces[{i}]");
        let ns = object(ns, &at)?;
        match one_namespace(ns, &at, devices, ours)? {
            Ok(namespace) => namespaces.push(namespace),
            Err(reason) => left_out.push(format!("{at}: {reason}")),
        }
    }
    let optional = |key: &str| {
        attr.get(key)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|t| !t.is_empty())
    };
    Ok(raw::Subsystem {
        nqn: text(entry.get("nqn"), &format!("{at}.nqn"))?,
        serial: optional("serial").map(Into::into),
        model: optional("model").map(Into::into),
        allow_any_host: Some(
            matches!(attr.get("allow_any_host"), Some(Value::String(s)) if s == "1")
                || attr.get("allow_any_host") == Some(&json!(1)),
        ),
        hosts: Some(hosts),
        listeners: Some(Vec::new()),
        namespaces,
    })
}

/// A namespace, or why it is left out.
fn one_namespace(
    ns: &Map<String, Value>,
    at: &str,
    devices: &Value,
    ours: &Config,
) -> Result<Result<raw::Namespace, String>, ImportError> {
    let nsid = ns.get("nsid").and_then(Value::as_i64);
    let nsid = nsid.ok_or_else(|| wrong(&format!("{at}.nsid"), "a number", ns.get("nsid")))?;
    if matches!(ns.get("enable"), Some(Value::Number(n)) if n.as_i64() == Some(0)) {
        return Ok(Err("it is not enabled".into()));
    }
    let device = match ns.get("device") {
        Some(device) => object(device, &format!("{at}.device"))?,
        None => return Ok(Err("it has no device".into())),
    };
    let path = text(device.get("path"), &format!("{at}.device.path"))?;
    let named = devices
        .get(&path)
        .and_then(Value::as_str)
        .or_else(|| path.rsplit('/').next());
    let parsed = named
        .and_then(|n| n.rsplit_once('n'))
        .and_then(|(ssd, n)| Some((ssd, n.parse::<u32>().ok()?)));
    let Some((ssd, ssd_nsid)) = parsed.filter(|(ssd, _)| ours.ssds.iter().any(|s| s.name == *ssd))
    else {
        let have: Vec<_> = ours.ssds.iter().map(|s| format!("{}nN", s.name)).collect();
        return Ok(Err(format!(
            "{path} is no block device here ({}); name one in devices",
            have.join(", ")
        )));
    };
    let extra = ns.get("sluice").cloned().unwrap_or_default();
    let id = |key: &str| {
        let given = device.get(key).and_then(Value::as_str).unwrap_or_default();
        // All zeros is how nvmet says that there is none.
        given
            .chars()
            .any(|c| c != '0' && c != '-')
            .then(|| given.to_string())
    };
    Ok(Ok(raw::Namespace {
        nsid,
        ssd: ssd.into(),
        ssd_nsid: Some(ssd_nsid.into()),
        first_block: extra["first_block"].as_i64(),
        blocks: extra["num_blocks"].as_i64(),
        uuid: id("uuid"),
        nguid: id("nguid"),
        eui64: None,
        read_only: extra["read_only"].as_bool(),
        ana_group: ns.get("ana_grpid").and_then(Value::as_i64),
    }))
}

fn port(
    entry: &Map<String, Value>,
    at: &str,
    ours: &Config,
    plan: &mut Plan,
) -> Result<(), ImportError> {
    let address = object(
        entry.get("addr").unwrap_or(&Value::Null),
        &format!("{at}.addr"),
    )?;
    let part = |key: &str| address.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, ip, service) = (part("trtype"), part("traddr"), part("trsvcid"));
    let mask = match kind {
        "tcp" => transports::TCP,
        "rdma" => transports::RDMA,
        other => {
            plan.left_out.push(format!(
                "{at}: transport {other:?}; the card has tcp and rdma"
            ));
            return Ok(());
        }
    };
    let parsed: Option<std::net::IpAddr> = ip.parse().ok();
    let here = ours.ports.iter().find(|p| {
        let v4 = p
            .ipv4
            .is_some_and(|(a, _)| parsed == Some(Ipv4Addr::from(a).into()));
        let v6 = p
            .ipv6
            .is_some_and(|(a, _)| parsed == Some(Ipv6Addr::from(a).into()));
        v4 || v6
    });
    let Some(here) = here else {
        plan.left_out.push(format!(
            "{at}: {ip} is the address of no port of the card; sluice_set_port gives it one"
        ));
        return Ok(());
    };
    let want = if mask == transports::RDMA {
        here.rdma_port
    } else {
        here.io_port
    };
    if want == 0 || service != want.to_string() {
        plan.left_out.push(format!(
            "{at}: {kind} port {service} at {ip}; the card's is {want}"
        ));
        return Ok(());
    }
    let transport = kind.to_ascii_uppercase();
    if !plan.transports.contains(&transport) {
        plan.transports.push(transport);
    }
    let listener = format!("{}/{kind}", here.name);
    for (i, nqn) in list(entry, "subsystems", at)?.iter().enumerate() {
        let nqn = text(Some(nqn), &format!("{at}.subsystems[{i}]"))?;
        match plan.subsystems.iter_mut().find(|s| s.nqn == nqn) {
            Some(subsystem) => {
                let listeners = subsystem.listeners.get_or_insert_default();
                if !listeners.contains(&listener) {
                    listeners.push(listener.clone());
                }
            }
            None => plan
                .left_out
                .push(format!("{at}: there is no subsystem {nqn} in this file")),
        }
    }
    Ok(())
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, ImportError> {
    value
        .as_object()
        .ok_or_else(|| wrong(at, "an object", Some(value)))
}

/// A list; none is an empty one.
fn list<'a>(
    within: &'a Map<String, Value>,
    key: &str,
    at: &str,
) -> Result<&'a [Value], ImportError> {
    match within.get(key) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        other => Err(wrong(&format!("{at}.{key}"), "a list", other)),
    }
}

fn text(value: Option<&Value>, at: &str) -> Result<String, ImportError> {
    value
        .and_then(Value::as_str)
        .map(Into::into)
        .ok_or_else(|| wrong(at, "a string", value))
}

fn wrong(at: &str, want: &'static str, got: Option<&Value>) -> ImportError {
    ImportError {
        at: at.into(),
        want,
        got: got.map_or("nothing".into(), |v| sluice_rpc::message::kind(v).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_driver::config::{Format, Source};

    fn ours(text: &str) -> Config {
        let source = Source {
            file: "t.toml".into(),
            format: Format::Toml,
            text: text.into(),
        };
        Config::parse(source).unwrap_or_else(|e| panic!("{e}"))
    }

    const HARDWARE: &str = r#"
[[ports]]
name = "front"
mac = "02:53:4c:00:00:01"
ipv4 = "192.0.2.10/24"
ipv6 = "2001:db8::10/64"
[[ssds]]
name = "ssd0"
"#;

    #[test]
    fn what_is_exported_is_imported_as_it_was() {
        let whole = format!(
            r#"{HARDWARE}
[[subsystems]]
nqn = "nqn.2026-01.org.example:one"
serial = "S1"
hosts = ["nqn.2026-01.org.example:h"]
listeners = ["front/tcp"]
namespaces = [
  {{ nsid = 3, ssd = "ssd0", first_block = 8, blocks = 16, read_only = true }},
  {{ nsid = 1, ssd = "ssd0", ssd_nsid = 2, ana_group = 2 }},
]
[[subsystems]]
nqn = "nqn.2026-01.org.example:two"
allow_any_host = true
listeners = ["front/tcp", "front/rdma"]
"#
        );
        let config = ours(&whole);
        let plan = import(&export(&config), &json!({}), &ours(HARDWARE)).expect("its own");
        assert_eq!(plan.left_out, Vec::<String>::new());
        assert_eq!(plan.transports, ["TCP", "RDMA"]);
        let mut file = ours(HARDWARE).to_raw();
        file.subsystems = plan.subsystems;
        let again = Config::from_raw(&file, "again").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(again.subsystems, config.subsystems);
    }

    #[test]
    fn a_file_of_nvmetcli_is_taken_as_far_as_it_can_be_and_the_rest_is_named() {
        // The form of `nvmetcli save`, as in its examples/rdma.json and loop.json.
        let file = json!({
            "hosts": [{ "nqn": "nqn.2014-08.org.example:hostnqn" }],
            "ports": [
                { "addr": { "adrfam": "ipv4", "traddr": "192.0.2.10", "treq": "not specified", "trsvcid": "4420", "trtype": "tcp" },
                  "portid": 2, "referrals": [], "subsystems": ["nqn.2014-08.org.example:testnqn"] },
                { "addr": { "adrfam": "", "traddr": "", "treq": "not specified", "trsvcid": "", "trtype": "loop" },
                  "portid": 1, "referrals": [], "subsystems": [] },
                { "addr": { "adrfam": "ipv4", "traddr": "10.0.0.3", "treq": "not specified", "trsvcid": "4420", "trtype": "rdma" },
                  "portid": 3, "referrals": [], "subsystems": [] },
            ],
            "subsystems": [{
                "allowed_hosts": ["nqn.2014-08.org.example:hostnqn"],
                "attr": { "allow_any_host": "0", "cntlid_max": "65519", "serial": "3ff0a0b2", "version": "1.3" },
                "namespaces": [
                    { "device": { "nguid": "ef90689c-6c46-d44c-89c1-4067801309a8", "path": "/dev/nvme0n1" }, "enable": 1, "nsid": 1 },
                    { "device": { "nguid": "00000000-0000-0000-0000-000000000000", "path": "/dev/nvme1n1" }, "enable": 1, "nsid": 2 },
                    { "device": { "path": "/dev/nvme0n1" }, "enable": 0, "nsid": 3 },
                ],
                "nqn": "nqn.2014-08.org.example:testnqn",
            }],
        });
        let plan =
            import(&file, &json!({ "/dev/nvme0n1": "ssd0n1" }), &ours(HARDWARE)).expect("good");
        let s = &plan.subsystems[0];
        assert_eq!(s.listeners.as_deref(), Some(&["front/tcp".to_string()][..]));
        assert_eq!(
            (s.namespaces.len(), s.namespaces[0].nguid.as_deref()),
            (1, Some("ef90689c-6c46-d44c-89c1-4067801309a8"))
        );
        let told = plan.left_out.join("\n");
        for part in [
            "cntlid_max",
            "/dev/nvme1n1 is no block device",
            "not enabled",
            "\"loop\"",
            "10.0.0.3",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused_by_place() {
        for (file, want) in [
            (json!([]), "config: an object wanted, an array came"),
            (
                json!({ "subsystems": {} }),
                "config.subsystems: a list wanted, an object came",
            ),
            (
                json!({ "subsystems": [{ "nqn": 5 }] }),
                "subsystems[0].nqn: a string wanted, a number came",
            ),
            (
                json!({ "ports": [{}] }),
                "ports[0].addr: an object wanted, null came",
            ),
            (
                json!({ "subsystems": [{ "nqn": "n", "namespaces": [{}] }] }),
                "subsystems[0].namespaces[0].nsid: a number wanted, nothing came",
            ),
        ] {
            let error = import(&file, &json!({}), &ours(HARDWARE)).expect_err("refused");
            assert_eq!(error.to_string(), want);
        }
    }
}
