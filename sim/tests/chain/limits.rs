//! Full queues and tables: refused or delayed cleanly, no deadlock, and everything comes back.

use sluice_sim::initiator::{
    Command, Config, ConnectConfig, Controller, HostError, Outcome, Transport, WorkloadConfig,
};
use sluice_wire::fabrics::ConnectData;
use sluice_wire::nvme::{Status, cns, feature};

use crate::common::{Bench, MS, NQN, On, mix, named, target, to_demo};

crate::on_both_cards! {
    acknowledgments_of_large_reads_do_not_crowd_out_commands,
    deep_mixed_large_commands_on_one_connection_do_not_deadlock,
}

crate::over_both_transports! {
    many_queues_of_large_writes_share_requests_and_pages,
    as_many_hosts_as_there_are_controllers_and_one_more,
    a_flood_of_admin_commands_is_answered_in_full,
}

/// A host with room for a megabyte acknowledges every second segment of eight 128 KiB reads: more than a core can take in
/// that time, and more than its queue holds.
fn acknowledgments_of_large_reads_do_not_crowd_out_commands(on: &On) {
    let mut bench = Bench::new("large-reads", on);
    let host = bench.add(&Config {
        tcp_buffer: 4 << 20,
        ..Config::numbered(1)
    });
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1));
    let load = mix(&controller, &namespaces[0], 131_072, 8, on.ios(480));
    let reads = WorkloadConfig {
        read_percent: 100,
        sequential: true,
        ..load
    };
    let stats = bench.load(vec![(host, reads)]);
    assert_eq!(stats[0].errors, [""; 0]);
    assert_eq!(bench.dropped_frames(), 0);
    let slowest = u64::from(stats[0].percentile(100));
    assert!(slowest < 5 * MS, "no timeouts: {slowest} clocks");
    bench.check_capture();
}

fn deep_mixed_large_commands_on_one_connection_do_not_deadlock(on: &On) {
    let mut bench = Bench::new("deep-mixed", on);
    let host = bench.host(1);
    // As deep on the Verilated card, but not as large: more than half of the pages are wanted at once all the same.
    let cases = if on.is_rtl() {
        [
            (128, 127, 16_384, false),
            (1024, 400, 16_384, true),
            (1024, 700, 4096, false),
        ]
    } else {
        [
            (128, 127, 131_072, false),
            (1024, 400, 131_072, true),
            (1024, 700, 16_384, false),
        ]
    };
    let mixes: &[u32] = if on.is_rtl() { &[30] } else { &[50, 10] };
    for (entries, depth, bytes, digests) in cases {
        let mut config = to_demo(1).with_digests(digests, digests);
        config.queue.entries = entries;
        let (controller, namespaces) = bench.connect_with(host, &config);
        for &read_percent in mixes {
            let ios = depth as u64 + on.ios(depth as u64 + 300);
            let load = mix(&controller, &namespaces[0], bytes, depth, ios);
            let stats = bench.verified(
                host,
                WorkloadConfig {
                    read_percent,
                    ..load
                },
            );
            println!(
                "depth {depth}, {bytes} bytes, {read_percent} % reads: {} sent again",
                stats.retried
            );
        }
        bench
            .on(host, |b| b.disconnect(&controller))
            .expect("disconnect");
    }
    bench.run(MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

fn many_queues_of_large_writes_share_requests_and_pages(over: Transport) {
    for cores in [1, 2] {
        let mut bench = Bench::new(
            &named("many-large-writes", over),
            &On::functional().cores(cores),
        );
        let (mut loads, mut all) = (vec![], vec![]);
        for n in 1..5u8 {
            let host = bench.host(n);
            let config = ConnectConfig {
                io_queues: 6,
                ..to_demo(n).over(over)
            };
            let (controller, namespaces) =
                bench.connect_with(host, &config.with_digests(n & 1 != 0, n & 2 != 0));
            let load = mix(&controller, &namespaces[0], 65_536, 40, 700);
            loads.push((
                host,
                WorkloadConfig {
                    read_percent: 30,
                    first_block: u64::from(n - 1) * 61_440,
                    span: 61_440,
                    ..load
                },
            ));
            all.push((host, controller));
        }
        for stats in bench.load(loads) {
            assert_eq!(stats.errors, [""; 0]);
            println!("{cores} cores: {} sent again", stats.retried);
        }
        assert!(
            bench.counters().waits.get() > 0,
            "they had to wait for each other"
        );
        for (host, controller) in &all {
            bench
                .on(*host, |b| b.disconnect(controller))
                .expect("disconnect");
        }
        bench.run(MS);
        bench.check_capture();
        bench.assert_all_given_back();
    }
}

#[test]
fn nothing_leaks_over_many_connections_ended_in_every_way() {
    for cores in [1, 8] {
        let mut bench = Bench::new("no-leak", &On::functional().cores(cores));
        let host = bench.host(1);
        for round in 0..220u64 {
            let config = ConnectConfig {
                io_queues: 2,
                ..to_demo(1)
            };
            let config = config.with_digests(round & 1 != 0, round & 2 != 0);
            let (controller, namespaces) = bench.connect_with(host, &config);
            let ns = &namespaces[round as usize % 2];
            bench.verified(host, mix(&controller, ns, 4096, 4, 24));
            let ids: Vec<_> = (0..8)
                .flat_map(|i| {
                    let io = controller.io[0];
                    let write = Command::write(ns.nsid, i * 64, vec![3; 16_384], ns.block_size);
                    [
                        bench.at(host).submit(io, write),
                        bench
                            .at(host)
                            .submit(io, Command::read(ns.nsid, i * 64, 8, ns.block_size)),
                    ]
                })
                .collect();
            bench.run((round % 16) * 250);
            match round % 4 {
                0 => drop(bench.on(host, |b| b.disconnect(&controller))),
                1 => bench.at(host).close(controller.admin),
                2 => bench.at(host).reset(controller.admin),
                _ => bench.at(host).reset(controller.io[0]),
            }
            bench.run(MS / 10);
            for queue in controller.io.iter().copied().chain([controller.admin]) {
                bench.at(host).reset(queue);
            }
            bench.run(MS / 4);
            for id in ids {
                assert!(
                    bench.at(host).take_completion_of(id).is_some(),
                    "every command ends"
                );
            }
        }
        bench.run(20_000 * MS);
        bench.check_capture();
        bench.assert_all_given_back();
    }
}

#[test]
fn a_full_connection_table_refuses_newcomers_and_idle_connections_end() {
    let mut bench = Bench::new("table-full", &On::functional());
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1));
    let crowd = bench.add(&Config {
        tcp_buffer: 4096,
        ..Config::numbered(2)
    });
    let mut raws = vec![];
    for _ in 0..270 {
        raws.push(
            bench
                .at(crowd)
                .open_raw(target())
                .expect("a connection begins"),
        );
        bench.run(1_000);
    }
    bench.run(100 * MS);
    let open = raws
        .iter()
        .filter(|raw| bench.at(crowd).raw_opened(**raw))
        .count();
    println!("{open} of {} opened", raws.len());
    assert!(open >= 254, "256 connections fit: {open} beside two");
    assert!(
        bench.counters().refused.get() > 0,
        "the refused are counted"
    );
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 8, 200));
    let late = bench.host(3);
    let refused = bench.on(late, |b| {
        b.patience = 2_000 * MS;
        b.connect(&to_demo(3))
    });
    assert!(
        matches!(
            refused,
            Err(HostError::Queue { .. } | HostError::Timeout { .. })
        ),
        "there is no place: {refused:?}"
    );
    // Who does not become a queue within 30 s is shown out.
    bench.run(40_000 * MS);
    let left = raws
        .iter()
        .filter(|raw| bench.at(crowd).raw_ended(**raw).is_none())
        .count();
    assert_eq!(left, 0, "idle connections are still there");
    let (newcomer, _) = bench.connect_with(late, &to_demo(3));
    for (host, controller) in [(late, &newcomer), (host, &controller)] {
        bench
            .on(host, |b| b.disconnect(controller))
            .expect("disconnect");
    }
    for raw in raws {
        bench.at(crowd).raw_reset(raw);
    }
    bench.run(100 * MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

fn as_many_hosts_as_there_are_controllers_and_one_more(over: Transport) {
    let mut bench = Bench::new(&named("controllers-full", over), &On::functional());
    let host = bench.add(&Config {
        tcp_buffer: 16 << 10,
        ..Config::numbered(1)
    });
    let config = ConnectConfig {
        io_queues: 0,
        ..to_demo(1).over(over)
    };
    let all: Vec<_> = (0..64).map(|_| bench.connect(host, &config)).collect();
    let mut cntlids: Vec<u16> = all.iter().map(|c| c.cntlid).collect();
    cntlids.sort_unstable();
    cntlids.dedup();
    assert_eq!(
        cntlids.len(),
        64,
        "every controller has a CNTLID of its own"
    );
    let refused = bench
        .on(host, |b| b.connect(&config))
        .expect_err("all controllers are taken");
    assert!(
        matches!(&refused, HostError::Status { status, .. } if *status == Status::CONNECT_BUSY),
        "{refused}"
    );
    bench
        .on(host, |b| b.disconnect(&all[7]))
        .expect("disconnect");
    bench.run(MS);
    let again = bench.connect(host, &config);
    for controller in all
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != 7)
        .map(|(_, c)| c)
        .chain([&again])
    {
        bench
            .on(host, |b| b.disconnect(controller))
            .expect("disconnect");
    }
    bench.run(40_000 * MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

fn a_flood_of_admin_commands_is_answered_in_full(over: Transport) {
    let mut bench = Bench::new(&named("admin-flood", over), &On::functional());
    let mut all = vec![];
    for n in 1..9u8 {
        let host = bench.host(n);
        let config = ConnectConfig {
            io_queues: 1,
            admin_entries: 32,
            ..to_demo(n).over(over)
        };
        all.push((host, bench.connect(host, &config)));
    }
    let mut asked = vec![];
    for (host, controller) in &all {
        for _ in 0..100 {
            let id = bench
                .at(*host)
                .submit(controller.admin, Command::identify(cns::CONTROLLER, 0));
            asked.push((*host, id));
        }
        for _ in 0..6 {
            // Four event requests are held, the others refused.
            let id = bench
                .at(*host)
                .submit(controller.admin, Command::async_event());
            asked.push((*host, id));
        }
    }
    bench.run(20 * MS);
    let mut held = 0;
    for (host, id) in asked {
        match bench
            .at(host)
            .take_completion_of(id)
            .map(|c| (c.status(), c.data))
        {
            Some((Some(Status::SUCCESS), data)) => assert_eq!(data.len(), 4096),
            Some((status, _)) => assert_eq!(status.map(Status::kind), Some(Status::EVENT_LIMIT)),
            None => held += 1,
        }
    }
    assert_eq!(held, 8 * 4, "only event requests wait");
    for (host, controller) in &all {
        bench
            .on(*host, |b| b.disconnect(controller))
            .expect("disconnect");
    }
    bench.run(MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn commands_that_a_closing_host_left_behind_end() {
    // FIN from the host with reads and writes in flight: NVMe/TCP has no use for a half-open connection.
    let mut bench = Bench::new("fin-in-flight", &On::functional());
    let host = bench.host(1);
    for round in 0..30u64 {
        let (controller, _) = bench.connect_with(host, &to_demo(1));
        let ids: Vec<_> = (0..10)
            .flat_map(|i| {
                let io = controller.io[0];
                let host = bench.at(host);
                [
                    host.submit(io, Command::write(1, i * 256, vec![5; 131_072], 512)),
                    host.submit(io, Command::read(1, i * 256, 256, 512)),
                ]
            })
            .collect();
        bench.run(round * 400);
        for queue in [controller.io[0], controller.admin] {
            bench.at(host).close(queue);
        }
        bench.run(2 * MS);
        for id in ids {
            let done = bench
                .at(host)
                .take_completion_of(id)
                .expect("every command ends");
            assert!(
                done.is_ok() || matches!(done.outcome, Outcome::Lost(_)),
                "{done:?}"
            );
        }
    }
    bench.run(40_000 * MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn the_last_connection_of_a_full_core_has_its_own_digests() {
    let mut bench = Bench::new("last-connection", &On::functional());
    let crowd = bench.add(&Config {
        tcp_buffer: 4096,
        ..Config::numbered(2)
    });
    for _ in 0..253 {
        bench
            .at(crowd)
            .open_raw(target())
            .expect("a connection begins");
        bench.run(1_000);
    }
    let host = bench.host(1);
    let mut config = ConnectConfig {
        io_queues: 2,
        ..to_demo(1).with_digests(false, true)
    };
    config.queue.in_capsule = 0;
    let (controller, namespaces) = bench.connect_with(host, &config);
    if let Some((cores, ..)) = bench.resources() {
        assert_eq!(cores[0].connections, 256, "the last place is taken");
    }
    bench.verified(host, mix(&controller, &namespaces[1], 32_768, 8, 300));
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
}

#[test]
fn hosts_with_many_connections_that_vanish_at_once_leave_nothing_behind() {
    let mut bench = Bench::new("all-vanish", &On::functional());
    let host = bench.add(&Config {
        tcp_buffer: 16 << 10,
        ..Config::numbered(1)
    });
    let config = ConnectConfig {
        io_queues: 0,
        ..to_demo(1)
    };
    let _controllers = with_32_queues_each(&mut bench, host, &config, 6);
    if let Some((cores, ..)) = bench.resources() {
        assert_eq!(cores[0].connections, 6 * 33);
    }
    bench.lab.others.clear();
    // TCP's own probes find out: there is no keep alive timeout.
    bench.run(150_000 * MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn a_subsystem_that_goes_with_hundreds_of_queues_leaves_nothing_behind() {
    let mut bench = Bench::new("hundreds-go", &On::functional().cores(2));
    let host = bench.add(&Config {
        tcp_buffer: 16 << 10,
        ..Config::numbered(1)
    });
    let config = ConnectConfig {
        io_queues: 0,
        ..to_demo(1)
    };
    let controllers = with_32_queues_each(&mut bench, host, &config, 14);
    let requests: Vec<_> = controllers
        .iter()
        .map(|c| bench.at(host).submit(c.admin, Command::async_event()))
        .collect();
    bench.run(MS);
    bench
        .server
        .rig
        .card()
        .remove_subsystem(0)
        .expect("the subsystem is removed");
    bench.run(2_000 * MS);
    for id in requests {
        assert!(bench.at(host).take_completion_of(id).is_some());
    }
    bench.check_capture();
    bench.assert_all_given_back();
}

/// `count` controllers of one host with 32 I/O queues each, all opened at the same time.
fn with_32_queues_each(
    bench: &mut Bench,
    host: usize,
    config: &ConnectConfig,
    count: usize,
) -> Vec<Controller> {
    let controllers: Vec<_> = (0..count).map(|_| bench.connect(host, config)).collect();
    for controller in &controllers {
        let queues = Command::set_features(feature::QUEUES, 31 << 16 | 31);
        bench
            .on(host, |b| b.must("queues", controller.admin, queues))
            .expect("32 queues");
    }
    let mut asked = vec![];
    for (controller, qid) in controllers
        .iter()
        .flat_map(|c| (1..33).map(move |qid| (c, qid)))
    {
        let mut data = ConnectData {
            hostid: config.hostid,
            ..ConnectData::default()
        };
        data.cntlid.set(controller.cntlid);
        data.subnqn[..NQN.len()].copy_from_slice(NQN.as_bytes());
        data.hostnqn[..config.hostnqn.len()].copy_from_slice(config.hostnqn.as_bytes());
        let io = bench
            .at(host)
            .open(target(), config.queue.clone())
            .expect("a queue begins");
        asked.push(
            bench
                .at(host)
                .submit(io, Command::connect(qid, 128, false, 0, &data)),
        );
    }
    bench.run(5_000 * MS);
    for id in asked {
        let connected = bench.at(host).take_completion_of(id).expect("an answer");
        assert!(connected.is_ok(), "{:?}", connected.outcome);
    }
    controllers
}
