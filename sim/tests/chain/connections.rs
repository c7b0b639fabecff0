//! Every kind of connection, frame and namespace, with verified data; queues, hosts and subsystems in number.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use sluice_sim::initiator::{
    Config, ConnectConfig, Controller, HostError, QueueConfig, Transport, WorkloadConfig,
};
use sluice_sim::link::LinkConfig;
use sluice_sim::report::{Meter, Runner};
use sluice_sim::scenario::model;
use sluice_wire::fabrics::DISCOVERY_NQN;
use sluice_wire::nvme::{DiscoveryEntry, Status};

use crate::common::{Bench, NQN, On, mix, on_port, target, to_demo};

crate::on_both_cards! {
    a_host_does_everything_over_each_kind_of_connection,
    data_that_the_host_wants_aligned_are_padded,
    several_hosts_work_at_once,
}

/// The steps of the demo: four ways to connect, two block sizes, every command.
fn a_host_does_everything_over_each_kind_of_connection(on: &On) {
    let mut bench = Bench::new("each-kind", on);
    everything(
        &mut bench,
        &Config::numbered(1),
        &format!("{}", target()),
        on.ios(300),
    );
    let report = bench.check_capture();
    assert!(
        report.good_header_digests > 0 && report.good_data_digests > 0,
        "{report:?}"
    );
    bench.assert_all_given_back();
}

fn everything(bench: &mut Bench, host: &Config, address: &str, ios: u64) {
    let meter = Arc::new(Meter::default());
    let mut runner = Runner::new("card", "model", "tcp", 1, 1, meter.clone());
    let at = bench.add(host);
    let mut own = bench.lab.others.remove(at);
    let target = model::Target {
        address: address.parse().expect("an address"),
        nqn: NQN.into(),
    };
    model::run(
        &mut bench.lab,
        &mut own,
        &target,
        model::Plan {
            transports: &[Transport::Tcp],
            ios,
            seed: 1,
            lossy: false,
        },
        &meter,
        &mut runner,
    );
    bench.lab.others.insert(at, own);
    let report = runner.finish();
    assert!(report.ok && report.ios == 4 * ios, "{}", report.table());
    bench.run(30_000);
}

/// HPDA above 0: data from the card begin at a multiple of it, header digest and padding before them.
fn data_that_the_host_wants_aligned_are_padded(on: &On) {
    let mut bench = Bench::new("padded", on);
    let host = bench.host(1);
    for (hpda, digests) in [(1, false), (15, true), (31, true)] {
        let mut config = to_demo(1).with_digests(digests, digests);
        config.queue.hpda = hpda;
        let (controller, namespaces) = bench.connect_with(host, &config);
        for ns in &namespaces {
            bench.verified(host, mix(&controller, ns, 8192, 8, on.ios(100)));
        }
        disconnect(&mut bench, host, &controller);
    }
    bench.check_padded_capture();
    bench.assert_all_given_back();
}

/// Four hosts, each with its own digests and flow control, on a share of the namespaces.
fn several_hosts_work_at_once(on: &On) {
    let mut bench = Bench::new("several-hosts", on);
    let mut loads = vec![];
    let mut all = vec![];
    for n in 0..4u8 {
        let host = bench.host(n);
        let config = ConnectConfig {
            io_queues: 2,
            flow_control: n & 1 == 0,
            ..to_demo(n)
        };
        let (controller, namespaces) =
            bench.connect_with(host, &config.with_digests(n & 1 != 0, n & 2 != 0));
        let ns = &namespaces[usize::from(n) % 2];
        let load = mix(&controller, ns, 4096, 8, on.ios(400));
        loads.push((
            host,
            WorkloadConfig {
                first_block: u64::from(n) * 2048,
                seed: n.into(),
                ..load
            },
        ));
        all.push(controller);
    }
    for (host, stats) in bench.load(loads).iter().enumerate() {
        assert_eq!(stats.errors, [""; 0], "host {host}");
        assert!(stats.verified_bytes > 0, "host {host}");
    }
    for (host, controller) in all.iter().enumerate() {
        disconnect(&mut bench, host, controller);
    }
    bench.check_capture();
    bench.assert_all_given_back();
}

fn disconnect(bench: &mut Bench, host: usize, controller: &Controller) {
    bench
        .on(host, |b| b.disconnect(controller))
        .expect("disconnect");
    bench.run(30_000);
}

#[test]
fn jumbo_frames_carry_everything() {
    let config = on_port("ipv4 = \"10.0.0.2/24\"\nmtu = 9000");
    let mut bench = Bench::with(
        "jumbo",
        &On::functional().setup(&config),
        &LinkConfig::default(),
    );
    everything(
        &mut bench,
        &Config {
            mtu: 9000,
            ..Config::numbered(1)
        },
        "10.0.0.2:4420",
        200,
    );
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn a_host_with_small_frames_talks_to_a_card_with_large_ones() {
    let config = on_port("ipv4 = \"10.0.0.2/24\"\nmtu = 9000");
    let mut bench = Bench::with(
        "mixed-mtu",
        &On::functional().setup(&config),
        &LinkConfig::default(),
    );
    everything(
        &mut bench,
        &Config {
            mtu: 1280,
            ..Config::numbered(1)
        },
        "10.0.0.2:4420",
        100,
    );
    bench.check_capture();
}

#[test]
fn a_vlan_carries_everything() {
    let config = on_port("ipv4 = \"10.0.0.2/24\"\nvlan = 42");
    let mut bench = Bench::with(
        "vlan",
        &On::functional().setup(&config),
        &LinkConfig::default(),
    );
    bench.lab.vlan = Some(42);
    everything(
        &mut bench,
        &Config {
            mtu: 1496,
            ..Config::numbered(1)
        },
        "10.0.0.2:4420",
        100,
    );
    bench.check_capture();
}

#[test]
fn ipv6_carries_everything() {
    let config = on_port("ipv6 = \"fd00::2/64\"");
    let mut bench = Bench::with(
        "ipv6",
        &On::functional().setup(&config),
        &LinkConfig::default(),
    );
    let ip = IpAddr::V6("fd00::11".parse::<Ipv6Addr>().expect("an address"));
    everything(
        &mut bench,
        &Config {
            ip,
            prefix: 64,
            ..Config::numbered(1)
        },
        "[fd00::2]:4420",
        200,
    );
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn writes_come_in_the_capsule_or_on_request_in_pieces_of_any_size() {
    let mut bench = Bench::new("capsule-r2t", &On::functional());
    let host = bench.host(1);
    for (in_capsule, piece, digests) in [
        (0, None, false),
        (0, Some(3000), true),
        (0, Some(512), false),
        (4096, Some(4096), true),
        (16_384, None, true),
    ] {
        let mut config = to_demo(1).with_digests(digests, digests);
        config.queue = QueueConfig {
            in_capsule,
            h2c_piece: piece,
            ..config.queue
        };
        let (controller, namespaces) = bench.connect_with(host, &config);
        for (ns, bytes) in namespaces
            .iter()
            .flat_map(|ns| [4096, 12_288, 65_536].map(|bytes| (ns, bytes)))
        {
            bench.verified(
                host,
                WorkloadConfig {
                    read_percent: 40,
                    ..mix(&controller, ns, bytes, 4, 40)
                },
            );
        }
        disconnect(&mut bench, host, &controller);
    }
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn queues_of_any_depth_keep_their_commands_apart() {
    let mut bench = Bench::new("depths", &On::functional());
    let host = bench.host(1);
    for (entries, depth, flow_control) in [
        (2, 1, true),
        (128, 2, false),
        (128, 32, true),
        (128, 127, false),
        (1024, 300, true),
        (1024, 1000, false),
    ] {
        let mut config = ConnectConfig {
            flow_control,
            ..to_demo(1)
        };
        config.queue.entries = entries;
        let (controller, namespaces) = bench.connect_with(host, &config);
        assert!(
            controller.cap.mqes_z() >= 1023,
            "1,024 entries are offered: {:?}",
            controller.cap
        );
        bench.verified(
            host,
            mix(&controller, &namespaces[1], 4096, depth, 300 + depth as u64),
        );
        disconnect(&mut bench, host, &controller);
    }
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn a_controller_has_32_io_queues_on_one_core_or_several() {
    for cores in [1, 3] {
        let mut bench = Bench::new("32-queues", &On::functional().cores(cores));
        let host = bench.host(1);
        let config = ConnectConfig {
            io_queues: 32,
            ..to_demo(1).with_digests(true, true)
        };
        let (controller, namespaces) = bench.connect_with(host, &config);
        assert_eq!(controller.io.len(), 32);
        bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 1000));
        disconnect(&mut bench, host, &controller);
        bench.check_capture();
        bench.assert_all_given_back();
    }
}

const TWO_SUBSYSTEMS: &str = r#"
[[ports]]
mac = "02:53:4c:55:43:01"
ipv4 = "10.0.0.2/24"

[[ssds]]
name = "a"
[[ssds]]
name = "b"

[[subsystems]]
nqn = "nqn.2026-11.io.github.sluice:for-one"
hosts = ["nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000001"]
namespaces = [{ nsid = 1, ssd = "a" }]

[[subsystems]]
nqn = "nqn.2026-11.io.github.sluice:for-two"
hosts = ["nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000002"]
namespaces = [{ nsid = 7, ssd = "b" }]
"#;

#[test]
fn subsystems_admit_only_the_hosts_on_their_lists_and_discovery_shows_each_host_its_own() {
    let mut bench = Bench::with(
        "allow-lists",
        &On::functional().setup(TWO_SUBSYSTEMS),
        &LinkConfig::default(),
    );
    let nqns = [
        "nqn.2026-11.io.github.sluice:for-one",
        "nqn.2026-11.io.github.sluice:for-two",
    ];
    for (n, own) in [(1u8, 0), (2, 1)] {
        let host = bench.host(n);
        let (to_own, to_other) = (
            ConnectConfig::new(target(), nqns[own], n),
            ConnectConfig::new(target(), nqns[1 - own], n),
        );
        let refused = bench
            .on(host, |b| b.connect(&to_other))
            .expect_err("not on the list");
        assert!(
            matches!(&refused, HostError::Status { status, .. } if *status == Status::CONNECT_HOST.no_retry()),
            "host {n}: {refused}"
        );
        for port in [4420, 8009] {
            let discovery = ConnectConfig {
                target: ([10, 0, 0, 2], port).into(),
                ..to_own.clone()
            };
            let (_, entries) = bench
                .on(host, |b| b.discover(&discovery))
                .expect("discovery");
            check_log(&entries, nqns[own], n);
        }
        let (controller, namespaces) = bench.connect_with(host, &to_own);
        assert_eq!(
            namespaces.iter().map(|ns| ns.nsid).collect::<Vec<_>>(),
            [[1, 7][own]]
        );
        bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 50));
        disconnect(&mut bench, host, &controller);
    }
    let host = bench.host(3);
    let stranger = ConnectConfig::new(target(), nqns[0], 3);
    let (_, entries) = bench
        .on(host, |b| b.discover(&stranger))
        .expect("discovery");
    assert!(
        entries.iter().all(|e| e.subtype == 3),
        "a stranger sees no subsystem: {entries:?}"
    );
    bench.run(600_000);
    bench.check_capture();
}

/// The log names the host's own subsystem and where it is, over either transport, this discovery subsystem, and nothing else.
fn check_log(entries: &[DiscoveryEntry], own: &str, host: u8) {
    const TCP_AND_RDMA: [u8; 2] = [3, 1];
    let text = |field: &[u8]| {
        String::from_utf8_lossy(field)
            .trim_end_matches(['\0', ' '])
            .to_owned()
    };
    let found: Vec<_> = entries.iter().filter(|e| e.subtype == 2).collect();
    let transports: Vec<_> = found.iter().map(|e| e.trtype).collect();
    assert_eq!(transports, TCP_AND_RDMA, "host {host}: {found:?}");
    for entry in found {
        assert_eq!(text(&entry.subnqn), own, "host {host}");
        assert_eq!(
            (text(&entry.traddr), text(&entry.trsvcid)),
            ("10.0.0.2".into(), "4420".into())
        );
        assert_eq!((entry.adrfam, entry.cntlid.get()), (1, 0xffff));
    }
    let others = entries.iter().filter(|e| e.subtype != 2);
    for other in others {
        assert_eq!(
            (other.subtype, text(&other.subnqn)),
            (3, text(DISCOVERY_NQN)),
            "host {host}"
        );
    }
}
