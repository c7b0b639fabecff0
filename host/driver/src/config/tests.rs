//! Configurations right and wrong: each rule has a file that breaks it, and the message is compared.

use super::{Config, Format, Listener, Source};
use crate::card::Info;
use crate::nvme::{SsdInfo, SsdNamespace};

const GOOD: &str = r#"
[[ports]]
name = "p0"
mac = "02:53:4c:00:00:01"
ipv4 = "192.168.7.1/24"
ipv4_gateway = "192.168.7.254"
ipv6 = "fd00:7::1/64"
mtu = 9000
vlan = 12

[[ssds]]
name = "fast"
pci = "0000:01:00.0"

[[ssds]]

[[subsystems]]
nqn = "nqn.2026-01.org.example:disks"
allow_any_host = true

  [[subsystems.namespaces]]
  nsid = 1
  ssd = "fast"
  blocks = 1000

  [[subsystems.namespaces]]
  nsid = 7
  ssd = "ssd1"
  first_block = 500
  read_only = true

[[subsystems]]
nqn = "nqn.2014-08.org.nvmexpress:uuid:6f1c1a4e-0b5e-4c39-8f3e-0d6a4f2b9c11"
serial = "S1"
hosts = ["nqn.2026-01.org.example:host1"]
listeners = ["p0"]
"#;

/// All that the first port has.
const AT_P0: Listener = Listener {
    port: 0,
    transports: 0,
};

fn parse(text: &str) -> Result<Config, super::ConfigError> {
    Config::parse(Source {
        file: "x.toml".into(),
        format: Format::Toml,
        text: text.into(),
    })
}

fn json(text: &str) -> Result<Config, super::ConfigError> {
    Config::parse(Source {
        file: "x.json".into(),
        format: Format::Json,
        text: text.into(),
    })
}

/// What [`GOOD`] says with one thing replaced.
fn broken(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    parse(&GOOD.replacen(from, to, 1))
        .expect_err("broken")
        .to_string()
}

fn ssd(blocks: u64) -> SsdInfo {
    let ns = SsdNamespace {
        nsid: 1,
        blocks,
        block_shift: 12,
        write_protected: false,
        nguid: [0; 16],
        eui64: [0; 8],
        uuid: [0; 16],
    };
    SsdInfo {
        namespaces: vec![ns],
        ..SsdInfo::default()
    }
}

#[test]
fn a_good_file_means_what_it_says_and_fills_in_the_rest() {
    let config = parse(GOOD).expect("good");
    let port = &config.ports[0];
    assert_eq!(
        (port.name.as_str(), port.mac),
        ("p0", [2, 0x53, 0x4C, 0, 0, 1])
    );
    assert_eq!(
        (port.ipv4, port.ipv4_gateway),
        (Some(([192, 168, 7, 1], 24)), Some([192, 168, 7, 254]))
    );
    assert_eq!(
        (port.mtu, port.vlan, port.io_port, port.discovery_port),
        (9000, 12, 4420, 8009)
    );
    assert_eq!(port.rdma_port, 4420);
    assert_eq!(config.ssds[1].name, "ssd1");
    let first = &config.subsystems[0];
    assert_eq!(
        (
            first.listeners.as_slice(),
            first.model.as_str(),
            first.serial.len()
        ),
        (&[AT_P0][..], "Sluice", 20)
    );
    assert_eq!(
        (first.namespaces[1].ssd, first.namespaces[1].blocks),
        (1, None)
    );
    assert!(!config.subsystems[1].allow_any_host);
}

#[test]
fn identifiers_made_up_are_stable_and_differ() {
    let (a, b) = (parse(GOOD).expect("good"), parse(GOOD).expect("good"));
    assert_eq!(a.subsystems, b.subsystems);
    let ns = &a.subsystems[0].namespaces;
    assert_ne!(ns[0].uuid, ns[1].uuid);
    assert_ne!(ns[0].uuid, ns[0].nguid);
    // Fixed for ever: hosts find their disks by it.
    let uuid: String = ns[0].uuid.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!((&uuid[12..13], &uuid[..8]), ("8", "a932e9fd"));
}

#[test]
fn syntax_errors_say_where_and_what_is_allowed() {
    let text = broken("mtu = 9000", "mtux = 9000");
    assert!(
        text.starts_with("x.toml:8:1: unknown field `mtux`, expected one of"),
        "{text}"
    );
    let text = broken("mtu = 9000", "mtu = \"big\"");
    assert!(
        text.starts_with("x.toml:8:7: invalid type: string \"big\", expected i64"),
        "{text}"
    );
    let text = broken("nsid = 1", "");
    assert!(text.contains("missing field `nsid`"), "{text}");
    let text = parse("[[ports]\n").expect_err("broken").to_string();
    assert!(text.starts_with("x.toml:1:"), "{text}");
}

#[test]
fn every_rule_names_file_line_column_key_and_what_came() {
    let cases = [
        (
            "02:53:4c",
            "03:53:4c",
            "x.toml:4:7: ports[0].mac: a unicast MAC address",
        ),
        (
            "192.168.7.1/24",
            "192.168.7.1",
            "x.toml:5:8: ports[0].ipv4: an IPv4 address and prefix",
        ),
        (
            "192.168.7.1/24",
            "224.0.0.1/24",
            "x.toml:5:8: ports[0].ipv4: ",
        ),
        (
            "192.168.7.254",
            "10.0.0.1",
            "x.toml:6:16: ports[0].ipv4_gateway: another IPv4 address in 192.168.7.0/24",
        ),
        (
            "fd00:7::1/64",
            "ff02::1/64",
            "x.toml:7:8: ports[0].ipv6: an IPv6 address",
        ),
        (
            "9000",
            "9001",
            "x.toml:8:7: ports[0].mtu: 1280 to 9000 wanted, 9001 came",
        ),
        (
            "vlan = 12",
            "vlan = 4095",
            "x.toml:9:8: ports[0].vlan: 0 to 4094 wanted, 4095 came",
        ),
        (
            "vlan = 12",
            "io_port = 0",
            "ports[0].io_port: 1 to 65535 wanted, 0 came",
        ),
        (
            "0000:01:00.0",
            "01:00.0",
            "x.toml:13:7: ssds[0].pci: a PCI address such as 0000:01:00.0, or vfio-user: and the absolute path of a socket wanted",
        ),
        (
            "[[ssds]]\n\n",
            "[[ssds]]\nname = \"fast\"\n\n",
            "ssds[1].name: fast is used already by ssds[0]",
        ),
        (
            "[[ssds]]\n\n",
            "[[ssds]]\npci = \"0000:01:00.0\"\n\n",
            "ssds[1].pci: 0000:01:00.0 is used already",
        ),
        (
            "2026-01.org.example:disks",
            "2026-13.org.example:d",
            "x.toml:18:7: subsystems[0].nqn: an NQN",
        ),
        (
            "2026-01.org.example:disks",
            "2014-08.org.nvmexpress.discovery",
            "other than that of the discovery",
        ),
        (
            "allow_any_host = true",
            "",
            "subsystems[0]: allow_any_host = true, or hosts",
        ),
        (
            "nsid = 1",
            "nsid = 0",
            "x.toml:22:10: subsystems[0].namespaces[0].nsid: 1 to 1024 wanted, 0 came",
        ),
        (
            "nsid = 7",
            "nsid = 1",
            "subsystems[0].namespaces[1].nsid: 1 is used already by subsystems[0].namespaces[0]",
        ),
        (
            "ssd = \"fast\"",
            "ssd = \"slow\"",
            "namespaces[0].ssd: there is no SSD named \"slow\"; there are: fast, ssd1",
        ),
        (
            "blocks = 1000",
            "blocks = 0",
            "namespaces[0].blocks: a number from 1 on wanted, 0 came",
        ),
        (
            "blocks = 1000",
            "uuid = \"12\"",
            "namespaces[0].uuid: 16 bytes in hexadecimal",
        ),
        (
            "blocks = 1000",
            "eui64 = \"0000000000000000\"",
            "eui64: 8 bytes in hexadecimal such as 02534c0000000001, not",
        ),
        (
            "serial = \"S1\"",
            "serial = \"S1234567890123456789X\"",
            "subsystems[1].serial: 1 to 20 printable ASCII",
        ),
        (
            "example:host1",
            "example",
            "subsystems[1].hosts[0]: an NQN of at most 223 bytes",
        ),
        (
            "[\"p0\"]",
            "[\"p0\", \"p9\"]",
            "x.toml:36:20: subsystems[1].listeners[1]: there is no port named \"p9\"",
        ),
        (
            "[\"p0\"]",
            "[\"p0\", \"p0\"]",
            "subsystems[1].listeners[1]: p0 is used already by subsystems[1].listeners[0]",
        ),
        (
            "[\"p0\"]",
            "[\"p0/tcp\", \"p0\"]",
            "subsystems[1].listeners[1]: p0 is used already by subsystems[1].listeners[0]",
        ),
        (
            "[\"p0\"]",
            "[\"p0/iwarp\"]",
            "subsystems[1].listeners[0]: p0, p0/tcp or p0/rdma wanted, \"p0/iwarp\" came",
        ),
        (
            "[\"p0\"]",
            "[\"p9/rdma\"]",
            "subsystems[1].listeners[0]: there is no port named \"p9\"; there are: p0",
        ),
        (
            "vlan = 12",
            "rdma_port = 65536",
            "ports[0].rdma_port: 0 to 65535 wanted, 65536 came",
        ),
    ];
    for (from, to, want) in cases {
        let text = broken(from, to);
        assert!(text.contains(want), "{to}:\n got {text}\nwant {want}");
    }
}

#[test]
fn a_listener_names_a_port_and_maybe_one_transport() {
    use sluice_wire::mgmt::transports::{RDMA, TCP};
    let listeners = |list: &str| {
        let text = GOOD.replacen("[\"p0\"]", list, 1);
        parse(&text).map(|c| c.subsystems[1].listeners.clone())
    };
    let at = |transports| Listener {
        port: 0,
        transports,
    };
    assert_eq!(listeners("[\"p0\"]"), Ok(vec![at(0)]));
    assert_eq!(listeners("[\"p0/rdma\"]"), Ok(vec![at(RDMA)]));
    assert_eq!(
        listeners("[\"p0/rdma\", \"p0/tcp\"]"),
        Ok(vec![at(RDMA), at(TCP)])
    );
    assert_eq!(listeners("[]"), Ok(vec![]));
    // The name of a port may look like that.
    let slashed = GOOD.replace("\"p0\"", "\"p0/tcp\"");
    let config = parse(&slashed).expect("good");
    assert_eq!(config.subsystems[1].listeners, [AT_P0]);
}

#[test]
fn a_port_without_rdma_has_no_listeners_for_it() {
    let off = GOOD.replace("vlan = 12", "rdma_port = 0");
    let config = parse(&off).expect("good");
    assert_eq!(config.ports[0].rdma_port, 0);
    let text = parse(&off.replace("[\"p0\"]", "[\"p0/rdma\"]"))
        .expect_err("off")
        .to_string();
    let want = "subsystems[1].listeners[0]: a port with NVMe/RDMA (the rdma_port of p0 is 0) wanted, \"p0/rdma\" came";
    assert!(text.contains(want), "{text}");
}

#[test]
fn a_file_needs_a_port_with_an_address_and_an_ssd() {
    let text = parse("[[ssds]]\n").expect_err("no port").to_string();
    assert!(
        text.contains("ports: at least one port is needed"),
        "{text}"
    );
    let port = "[[ports]]\nmac = \"02:00:00:00:00:01\"\n";
    let text = parse(port).expect_err("no address").to_string();
    assert!(
        text.contains("ports[0]: ipv4 or ipv6, or both wanted"),
        "{text}"
    );
    let text = parse(&format!("{port}ipv4 = \"10.0.0.1/8\"\n"))
        .expect_err("no SSD")
        .to_string();
    assert!(text.contains("ssds: at least one SSD is needed"), "{text}");
}

#[test]
fn json_means_the_same_and_its_errors_are_as_precise() {
    let good = r#"{
  "ports": [{"name": "p0", "mac": "02:53:4c:00:00:01", "ipv4": "10.0.0.1/8"}],
  "ssds": [{"name": "a, \"b\": {["}],
  "subsystems": [{"nqn": "nqn.2026-01.org.example:d", "allow_any_host": true,
    "namespaces": [{"nsid": 1, "ssd": "a, \"b\": {["},
                   {"ssd": "a, \"b\": {[", "nsid": 2}]}]
}"#;
    assert_eq!(
        json(good).expect("good").subsystems[0].namespaces[1].nsid,
        2
    );
    let text = json(&good.replace("\"nsid\": 2", "\"nsid\": 2000"))
        .expect_err("broken")
        .to_string();
    assert!(
        text.starts_with("x.json:6:52: subsystems[0].namespaces[1].nsid: 1 to 1024 wanted"),
        "{text}"
    );
    let text = json(&good.replace("\"nsid\": 2", "\"nid\": 2"))
        .expect_err("broken")
        .to_string();
    assert!(
        text.starts_with("x.json:6:") && text.contains("unknown field `nid`, expected one of"),
        "{text}"
    );
}

#[test]
fn blocks_that_the_ssd_does_not_have_are_refused() {
    let config = parse(GOOD).expect("good");
    let placed = config.place(&[&ssd(1000), &ssd(600)]).expect("fits");
    assert_eq!(
        (placed[0].blocks, placed[1].blocks, placed[1].read_only),
        (1000, 100, true)
    );
    let text = config
        .place(&[&ssd(999), &ssd(600)])
        .expect_err("short")
        .to_string();
    assert!(
        text.contains("x.toml:24:12: subsystems[0].namespaces[0].blocks: blocks 0 to 999 wanted"),
        "{text}"
    );
    assert!(
        text.contains("namespace 1 of SSD fast has blocks 0 to 998"),
        "{text}"
    );
    let text = config
        .place(&[&ssd(1000), &ssd(500)])
        .expect_err("short")
        .to_string();
    assert!(
        text.contains("namespaces[1].first_block: blocks 500 to 500 wanted"),
        "{text}"
    );
    let text = config
        .place(&[&ssd(1000), &SsdInfo::default()])
        .expect_err("none")
        .to_string();
    assert!(
        text.contains("ssd_nsid: a usable namespace of SSD ssd1 () wanted, 1 came"),
        "{text}"
    );
}

#[test]
fn writable_namespaces_may_not_share_blocks() {
    let text = GOOD.replace("ssd = \"ssd1\"", "ssd = \"fast\"");
    let config = parse(&text).expect("good so far");
    let error = config
        .place(&[&ssd(2000), &ssd(1)])
        .expect_err("overlap")
        .to_string();
    let want =
        "subsystems[0].namespaces[1]: shares blocks of SSD fast with subsystems[0].namespaces[0]";
    assert!(error.contains(want), "{error}");
    let apart = parse(&text.replace("first_block = 500", "first_block = 1000")).expect("good");
    assert!(apart.place(&[&ssd(2000), &ssd(1)]).is_ok());
    let readers =
        parse(&text.replace("blocks = 1000", "blocks = 1000\nread_only = true")).expect("good");
    assert!(readers.place(&[&ssd(2000), &ssd(1)]).is_ok());
}

#[test]
fn more_than_the_card_has_room_for_is_refused_by_name() {
    let config = parse(GOOD).expect("good");
    let room = Info {
        max_ports: 1,
        max_ssds: 2,
        max_subsystems: 2,
        max_namespaces: 2,
        max_hosts: 1,
        ..Info::default()
    };
    assert_eq!(config.fit(&room), Ok(()));
    for (small, want) in [
        (
            Info {
                max_ssds: 1,
                ..room.clone()
            },
            "ssds: at most 1 SSDs are possible, 2 came",
        ),
        (
            Info {
                max_namespaces: 1,
                ..room.clone()
            },
            "subsystems: at most 1 namespaces are possible, 2 came",
        ),
        (
            Info {
                max_hosts: 0,
                ..room.clone()
            },
            "subsystems[1].hosts: at most 0 hosts are possible, 1 came",
        ),
    ] {
        let text = config.fit(&small).expect_err("too many").to_string();
        assert!(text.contains(want), "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_so() {
    let error = Config::load(std::path::Path::new("no/such/file.toml"))
        .expect_err("absent")
        .to_string();
    assert!(
        error.starts_with("no/such/file.toml: cannot be read: "),
        "{error}"
    );
}
