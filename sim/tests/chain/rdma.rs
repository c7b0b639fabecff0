//! NVMe/RDMA: every way in which commands and data travel, with verified data, beside NVMe/TCP.

use std::net::{IpAddr, Ipv6Addr};

use sluice_sim::initiator::rdma::frame;
use sluice_sim::initiator::{
    Command, Config, ConnectConfig, Controller, QueueConfig, Transport, Workload, WorkloadConfig,
};
use sluice_sim::link::LinkConfig;
use sluice_sim::pcap;
use sluice_wire::roce::{Opcode, PathMtu};

use crate::common::{Bench, MS, On, mix, on_port, over_rdma, to_demo};

crate::on_both_cards! {
    a_host_reads_and_writes_over_rdma,
    hosts_on_both_transports_see_each_others_writes,
    regions_of_host_memory_make_one_run_of_data,
}

fn disconnect(bench: &mut Bench, host: usize, controller: &Controller) {
    bench
        .on(host, |b| b.disconnect(controller))
        .expect("disconnect");
    bench.run(30_000);
}

/// A card with this port, and an end to which a host of this kind connects by RDMA.
fn at_port(name: &str, port: &str, on: &On) -> Bench {
    Bench::with(name, &on.setup(&on_port(port)), &LinkConfig::default())
}

/// Everything a connection can do: small and large, in the capsule and from the host's memory.
fn everything(bench: &mut Bench, host: usize, config: &ConnectConfig) {
    let (controller, namespaces) = bench.connect_with(host, config);
    for ns in &namespaces {
        for (bytes, depth, ios) in [(4096, 16, 80), (16_384, 8, 60), (131_072, 4, 30)] {
            bench.verified(host, mix(&controller, ns, bytes, depth, ios));
        }
    }
    disconnect(bench, host, &controller);
}

fn a_host_reads_and_writes_over_rdma(on: &On) {
    let mut bench = Bench::new("rdma", on);
    let host = bench.host(1);
    for queues in [1, 4] {
        let config = ConnectConfig {
            io_queues: queues,
            ..over_rdma(1)
        };
        let (controller, namespaces) = bench.connect_with(host, &config);
        for (ns, bytes) in namespaces.iter().zip([4096, 65_536]) {
            bench.verified(host, mix(&controller, ns, bytes, 8, on.ios(200)));
        }
        disconnect(&mut bench, host, &controller);
    }
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn rdma_writes_come_in_the_capsule_or_are_fetched_at_every_path_mtu() {
    let on = On::functional();
    let mut bench = at_port("rdma-capsules", "ipv4 = \"10.0.0.2/24\"\nmtu = 9000", &on);
    let host = bench.add(&Config {
        mtu: 9000,
        ..Config::numbered(1)
    });
    for path_mtu in [
        PathMtu::Bytes256,
        PathMtu::Bytes512,
        PathMtu::Bytes1024,
        PathMtu::Bytes2048,
        PathMtu::Bytes4096,
    ] {
        for in_capsule in [0, 512, 4096, 16_384] {
            let mut config = over_rdma(1);
            config.queue.in_capsule = in_capsule;
            config.queue.rdma.path_mtu = Some(path_mtu);
            let (controller, namespaces) = bench.connect_with(host, &config);
            for (ns, sizes) in namespaces
                .iter()
                .zip([&[512, 1536, 8192, 16_384][..], &[4096, 16_384, 20_480]])
            {
                for bytes in sizes {
                    bench.verified(
                        host,
                        WorkloadConfig {
                            read_percent: 40,
                            ..mix(&controller, ns, *bytes, 4, 24)
                        },
                    );
                }
            }
            disconnect(&mut bench, host, &controller);
        }
    }
    bench.check_capture();
    bench.assert_all_given_back();
}

fn regions_of_host_memory_make_one_run_of_data(on: &On) {
    let mut bench = Bench::new("rdma-regions", on);
    let host = bench.host(1);
    for regions in 1..=4 {
        let mut config = over_rdma(1);
        config.queue.in_capsule = 512;
        config.queue.rdma.regions = regions;
        let (controller, namespaces) = bench.connect_with(host, &config);
        // Three times 512: pieces that end in the middle of packets, blocks and pages.
        for (ns, bytes) in [(&namespaces[0], 1536), (&namespaces[1], 69_632)] {
            bench.verified(host, mix(&controller, ns, bytes, 4, on.ios(60)));
        }
        disconnect(&mut bench, host, &controller);
    }
    assert_eq!(bench.at(host).valid_keys(), 0);
    bench.check_capture();
    bench.assert_all_given_back();
}

/// Packets of a capture by opcode.
fn count(capture: &[u8], opcode: Opcode) -> usize {
    let frames = pcap::parse(capture).expect("a capture");
    let is = |f: &[u8]| matches!(frame::parse(f), Some(Ok(r)) if r.packet.opcode == opcode);
    frames.iter().filter(|f| is(&f.data)).count()
}

#[test]
fn rdma_keys_are_invalidated_by_responses_if_the_host_wants_it() {
    for invalidate in [true, false] {
        let mut bench = Bench::new("rdma-invalidate", &On::functional());
        let host = bench.host(1);
        let mut config = over_rdma(1);
        config.queue.rdma.invalidate = invalidate;
        let (controller, namespaces) = bench.connect_with(host, &config);
        let reads = WorkloadConfig {
            read_percent: 100,
            verify: false,
            ..mix(&controller, &namespaces[0], 4096, 8, 100)
        };
        let stats = bench.load(vec![(host, reads)]).remove(0);
        assert_eq!(stats.errors, [""; 0]);
        disconnect(&mut bench, host, &controller);
        assert_eq!(bench.at(host).valid_keys(), 0);
        let invalidating = count(&bench.captured(), Opcode::SendOnlyInvalidate);
        assert_eq!(invalidating >= 100, invalidate, "{invalidating}");
        assert!(invalidate || invalidating == 0, "{invalidating}");
        bench.assert_all_given_back();
    }
}

#[test]
fn deep_rdma_queues_of_large_commands_keep_them_apart() {
    for cores in [1, 2] {
        let mut bench = Bench::new("rdma-deep", &On::functional().cores(cores));
        let host = bench.host(1);
        for (queues, entries, depth, bytes) in [
            (1, 2, 1, 4096),
            (1, 128, 127, 4096),
            (1, 128, 127, 131_072),
            (4, 128, 60, 32_768),
        ] {
            let mut config = ConnectConfig {
                io_queues: queues,
                ..over_rdma(1)
            };
            config.queue.entries = entries;
            let (controller, namespaces) = bench.connect_with(host, &config);
            for read_percent in [0, 60] {
                let ios = depth as u64 * u64::from(queues) + 50;
                let load = mix(&controller, &namespaces[0], bytes, depth, ios);
                let load = WorkloadConfig {
                    read_percent,
                    ..load
                };
                let stats = bench.load(vec![(host, load)]).remove(0);
                assert_eq!(stats.errors, [""; 0], "{bytes} bytes, {depth} deep");
            }
            disconnect(&mut bench, host, &controller);
        }
        bench.check_capture();
        bench.assert_all_given_back();
    }
}

#[test]
fn ipv6_carries_rdma() {
    let mut bench = at_port("rdma-ipv6", "ipv6 = \"fd00::2/64\"", &On::functional());
    let host = bench.add(&Config {
        ip: IpAddr::V6("fd00::11".parse::<Ipv6Addr>().expect("an address")),
        prefix: 64,
        ..Config::numbered(1)
    });
    let config = ConnectConfig {
        target: "[fd00::2]:4420".parse().expect("an address"),
        ..over_rdma(1)
    };
    everything(&mut bench, host, &config);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn a_vlan_carries_rdma() {
    let port = "ipv4 = \"10.0.0.2/24\"\nvlan = 42";
    let mut bench = at_port("rdma-vlan", port, &On::functional());
    bench.lab.vlan = Some(42);
    let host = bench.add(&Config {
        mtu: 1496,
        ..Config::numbered(1)
    });
    everything(&mut bench, host, &over_rdma(1));
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn jumbo_frames_carry_rdma() {
    let port = "ipv4 = \"10.0.0.2/24\"\nmtu = 9000";
    let mut bench = at_port("rdma-jumbo", port, &On::functional());
    let host = bench.add(&Config {
        mtu: 9000,
        ..Config::numbered(1)
    });
    everything(&mut bench, host, &over_rdma(1));
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn rdma_queues_spread_over_any_number_of_data_cores() {
    for (cores, queues) in [(2, 4), (3, 16), (8, 32)] {
        let mut bench = Bench::new("rdma-cores", &On::functional().cores(cores));
        let host = bench.host(1);
        let config = ConnectConfig {
            io_queues: queues,
            ..over_rdma(1)
        };
        let (controller, namespaces) = bench.connect_with(host, &config);
        bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 600));
        bench.verified(host, mix(&controller, &namespaces[1], 65_536, 2, 200));
        for core in 1..=cores {
            let counters = bench.server.rig.card().counters(core).expect("counters");
            assert!(counters.rdma_messages.get() > 0, "core {core} of {cores}");
        }
        disconnect(&mut bench, host, &controller);
        bench.check_capture();
        bench.assert_all_given_back();
    }
}

#[test]
fn hosts_on_both_transports_work_at_once() {
    for cores in [1, 2] {
        let mut bench = Bench::new("rdma-and-tcp", &On::functional().cores(cores));
        let (mut loads, mut all) = (vec![], vec![]);
        for n in 0..6u8 {
            let host = bench.host(n);
            let transport = [Transport::Rdma, Transport::Tcp][usize::from(n) % 2];
            let config = ConnectConfig {
                io_queues: 2,
                flow_control: n & 2 == 0,
                ..to_demo(n).over(transport)
            };
            let (controller, namespaces) = bench.connect_with(host, &config);
            let ns = &namespaces[usize::from(n / 2) % 2];
            let bytes = [4096, 32_768, 131_072][usize::from(n) / 2];
            let load = mix(&controller, ns, bytes, 8, 120);
            loads.push((
                host,
                WorkloadConfig {
                    first_block: u64::from(n % 2) * (ns.blocks / 4)
                        + u64::from(n / 4) * (ns.blocks / 2),
                    seed: n.into(),
                    ..load
                },
            ));
            all.push((host, controller));
        }
        for (host, stats) in bench.load(loads).iter().enumerate() {
            assert_eq!(stats.errors, [""; 0], "host {host}");
            assert!(stats.verified_bytes > 0, "host {host}");
        }
        for (host, controller) in &all {
            disconnect(&mut bench, *host, controller);
        }
        bench.check_capture();
        bench.assert_all_given_back();
    }
}

/// One writes, the other reads what it has been told is there; both connections live.
fn hosts_on_both_transports_see_each_others_writes(on: &On) {
    let mut bench = Bench::new("rdma-coherence", on);
    let (one, other) = (bench.host(1), bench.host(2));
    let (over_tcp, namespaces) = bench.connect_with(one, &to_demo(1));
    let (over_rdma, _) = bench.connect_with(other, &over_rdma(2));
    let ends = [(one, over_tcp.io[0]), (other, over_rdma.io[0])];
    for (i, ns) in namespaces.iter().enumerate() {
        for (round, bytes) in (1..).zip([4096, 16_384, 131_072, 4096]) {
            let blocks = (bytes / ns.block_size) as u32;
            // Both write the same place, one after the other, and each reads what the other wrote.
            for turn in 0..2 {
                let generation = (i as u64 * 10 + round) * 2 + turn as u64;
                let ((writer, to), (reader, from)) = (ends[turn], ends[1 - turn]);
                bench
                    .on(writer, |b| b.write_pattern(to, ns, 64, blocks, generation))
                    .expect("a write");
                bench
                    .on(reader, |b| {
                        b.verify_pattern(from, ns, 64, blocks, generation)
                    })
                    .expect("what the other one wrote");
            }
        }
    }
    disconnect(&mut bench, one, &over_tcp);
    disconnect(&mut bench, other, &over_rdma);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn one_host_uses_both_transports_at_once() {
    let mut bench = Bench::new("rdma-tcp-one-host", &On::functional());
    let host = bench.host(1);
    let (first, namespaces) = bench.connect_with(host, &to_demo(1));
    let (second, _) = bench.connect_with(host, &over_rdma(1));
    assert_ne!(first.cntlid, second.cntlid);
    let mut both = first.clone();
    both.io.extend(&second.io);
    bench.verified(host, mix(&both, &namespaces[0], 4096, 16, 400));
    disconnect(&mut bench, host, &first);
    bench.verified(host, mix(&second, &namespaces[1], 4096, 8, 100));
    disconnect(&mut bench, host, &second);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn rdma_connections_come_and_go() {
    for cores in [1, 2] {
        let mut bench = Bench::new("rdma-reconnect", &On::functional().cores(cores));
        let host = bench.host(1);
        for round in 0..60 {
            let config = ConnectConfig {
                io_queues: 1 + round % 3,
                ..over_rdma(1)
            };
            let (controller, namespaces) = bench.connect_with(host, &config);
            let ns = &namespaces[usize::from(round % 2)];
            bench.verified(host, mix(&controller, ns, 4096, 4, 100));
            disconnect(&mut bench, host, &controller);
            bench.assert_all_given_back();
        }
        bench.check_capture();
    }
}

#[test]
fn a_queue_that_a_host_leaves_ends_with_commands_in_flight() {
    for cores in [1, 3] {
        let mut bench = Bench::new("rdma-leaves", &On::functional().cores(cores));
        let host = bench.host(1);
        for round in 0..40u64 {
            let config = ConnectConfig {
                io_queues: 2,
                ..over_rdma(1)
            };
            let (controller, namespaces) = bench.connect_with(host, &config);
            let ns = namespaces[round as usize % 2];
            let mut ids = vec![];
            for i in 0..20 {
                let io = controller.io[i as usize % 2];
                let write = Command::write(ns.nsid, i * 64, vec![3; 32_768], ns.block_size);
                let read = Command::read(ns.nsid, i * 64, 8, ns.block_size);
                ids.push(bench.at(host).submit(io, write));
                ids.push(bench.at(host).submit(io, read));
            }
            bench.run(round * 250);
            for queue in controller.io.iter().chain([&controller.admin]) {
                bench.at(host).close(*queue);
            }
            bench.run(MS);
            for id in ids {
                assert!(
                    bench.at(host).take_completion_of(id).is_some(),
                    "every command ends"
                );
            }
            bench.assert_all_given_back();
        }
        bench.check_capture();
    }
}

#[test]
fn many_queue_pairs_end_at_once() {
    for cores in [1, 4] {
        let mut bench = Bench::new("rdma-end-at-once", &On::functional().cores(cores));
        let hosts: Vec<_> = (0..4u8)
            .map(|n| {
                let host = bench.host(n);
                let config = ConnectConfig {
                    io_queues: 16,
                    ..over_rdma(n)
                };
                let (controller, namespaces) = bench.connect_with(host, &config);
                let load = mix(&controller, &namespaces[0], 4096, 4, 100_000);
                bench.at(host).attach(Workload::new(load));
                (host, controller)
            })
            .collect();
        bench.run(MS / 2);
        for (host, controller) in &hosts {
            let host = bench.at(*host);
            host.detach();
            for queue in controller.io.iter().chain([&controller.admin]) {
                host.close(*queue);
            }
        }
        bench.until_all_given_back(40_000 * MS);
        bench.check_capture();
    }
}

#[test]
fn as_many_rdma_queues_as_there_are_places_and_one_more() {
    let mut bench = Bench::new("rdma-full", &On::functional().cores(2));
    let mut all = vec![];
    let mut places = 0;
    for n in 0..9u8 {
        let host = bench.host(n);
        let config = ConnectConfig {
            io_queues: 32,
            ..over_rdma(n)
        };
        match bench.on(host, |b| b.connect(&config)) {
            Ok(controller) => {
                places += 33;
                all.push((host, controller));
            }
            Err(refused) => println!("host {n}, after {places} queues: {refused}"),
        }
    }
    assert!(all.len() >= 7, "256 queue pairs: {places}");
    assert!(all.len() < 9, "not more: {places}");
    let (host, controller) = all[0].clone();
    let ns = bench
        .on(host, |b| b.namespace(controller.admin, 1))
        .expect("a namespace");
    bench.verified(host, mix(&controller, &ns, 4096, 2, 200));
    for (host, controller) in &all {
        disconnect(&mut bench, *host, controller);
    }
    let late = bench.host(20);
    everything(&mut bench, late, &over_rdma(20));
    bench.check_capture();
}

#[test]
fn both_transports_are_discovered_over_either() {
    let mut bench = Bench::new("rdma-discovery", &On::functional());
    let host = bench.host(1);
    for transport in [Transport::Tcp, Transport::Rdma] {
        let (_, entries) = bench
            .on(host, |b| b.discover(&to_demo(1).over(transport)))
            .unwrap_or_else(|e| panic!("{transport:?}: {e}"));
        let text = |field: &[u8]| {
            String::from_utf8_lossy(field)
                .trim_end_matches(['\0', ' '])
                .to_owned()
        };
        let mut found: Vec<_> = entries
            .iter()
            .filter(|e| e.subtype == 2)
            .map(|e| (e.trtype, e.adrfam, text(&e.traddr), text(&e.trsvcid)))
            .collect();
        found.sort();
        let at = |trtype| (trtype, 1, "10.0.0.2".to_owned(), "4420".to_owned());
        assert_eq!(found, [at(1), at(3)], "over {transport:?}: RDMA and TCP");
        for rdma in entries.iter().filter(|e| e.trtype == 1) {
            // Reliable connection, RoCEv2, connected by the RDMA connection manager.
            assert_eq!(rdma.tsas[..3], [1, 4, 1], "over {transport:?}");
        }
    }
    bench.run(MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn a_port_without_rdma_answers_over_tcp_alone() {
    let port = "ipv4 = \"10.0.0.2/24\"\nrdma_port = 0";
    let mut bench = at_port("rdma-off", port, &On::functional());
    let host = bench.host(1);
    let refused = bench
        .on(host, |b| b.connect(&over_rdma(1)))
        .expect_err("nobody listens");
    assert!(refused.to_string().contains("reason 8"), "{refused}");
    let (_, entries) = bench
        .on(host, |b| b.discover(&to_demo(1)))
        .expect("discovery");
    assert!(entries.iter().all(|e| e.trtype == 3), "{entries:?}");
    bench.run(MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn rdma_has_a_port_number_of_its_own() {
    let port = "ipv4 = \"10.0.0.2/24\"\nrdma_port = 5420";
    let mut bench = at_port("rdma-port", port, &On::functional());
    let host = bench.host(1);
    let config = ConnectConfig {
        target: ([10, 0, 0, 2], 5420).into(),
        queue: QueueConfig {
            transport: Transport::Rdma,
            ..QueueConfig::default()
        },
        ..to_demo(1)
    };
    everything(&mut bench, host, &config);
    bench.check_capture();
    bench.assert_all_given_back();
}
