//! The initiator against a small target made of the firmware's NVMe/TCP machine, over a link that may lose frames.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use sluice_nvme_tcp::{Limits, Violation};
use sluice_wire::nvme::Status;

use super::{
    test_disk::BLOCK,
    test_target::{Quirks, Target},
    *,
};
use crate::{
    fabric::QUANTUM,
    link::{Faults, Link, LinkConfig},
    pcap::{self, kept},
};

/// Hosts on one side, the target on the other, and a capture at the hosts' end.
struct World {
    target: Target,
    link: Link,
    now: Clock,
    queues: [Frames; 4],
    capture: pcap::Writer<std::io::BufWriter<std::fs::File>>,
    path: PathBuf,
}

impl World {
    fn new(name: &str, mtu: u16, quirks: Quirks, link: &LinkConfig, seed: u64) -> Self {
        // Names may be used twice in one test.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let unique = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let file = format!("sluice-initiator-{name}-{}-{}", unique.0, unique.1);
        let path = kept::new_file(&file, &std::env::temp_dir()).expect("a file for the capture");
        Self {
            target: Target::new(mtu, quirks),
            link: Link::new(link, seed),
            now: 0,
            queues: Default::default(),
            capture: pcap::Writer::create(&path).expect("a capture"),
            path,
        }
    }

    /// Advances by a quantum; `poll` is given the hosts' ends of the link.
    fn tick(&mut self, poll: impl FnOnce(Clock, &mut Frames, &mut Frames)) {
        self.now += QUANTUM;
        let [host_out, host_in, target_out, target_in] = &mut self.queues;
        poll(self.now, host_out, host_in);
        self.target.poll(self.now, target_out, target_in);
        for (at, frame) in host_out.iter().chain(target_out.iter()) {
            self.capture.write(*at, frame).expect("capture");
        }
        self.link
            .carry(self.now, (host_out, host_in), (target_out, target_in));
    }

    fn run(&mut self, initiator: &mut Initiator) {
        self.tick(|now, to, from| initiator.poll(now, to, from));
    }

    /// Every frame sent by either side is well-formed, says tshark.
    fn judge(mut self) -> pcap::Report {
        self.capture.flush().expect("capture");
        pcap::check_with_tshark(&self.path).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same with padding between header and data.
    fn judge_padded(mut self) -> pcap::Report {
        self.capture.flush().expect("capture");
        self.path = kept::mark_padded(&self.path).expect("the capture is there");
        pcap::check_padded_with_tshark(&self.path).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Nobody else is to judge the capture. `reason`: what in it is bad on purpose.
    fn drop_capture(self, reason: &str) {
        println!("{}: capture not judged: {reason}", self.path.display());
        std::fs::remove_file(&self.path).expect("the capture is there");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() && !kept::are_kept() {
            let _gone_already = std::fs::remove_file(&self.path);
        }
    }
}

fn target() -> SocketAddr {
    "10.0.0.2:4420".parse().expect("an address")
}

fn clean() -> LinkConfig {
    LinkConfig::default()
}

pub(super) fn ns() -> Namespace {
    Namespace {
        nsid: 1,
        blocks: (16 << 20) / BLOCK as u64,
        block_size: BLOCK,
    }
}

fn connect_config(header: bool, data: bool) -> ConnectConfig {
    ConnectConfig::new(target(), "nqn.2026-01.org.sluice:test", 0).with_digests(header, data)
}

#[test]
fn a_host_connects_does_every_command_and_disconnects_with_and_without_digests() {
    for (header, data) in [(false, false), (true, false), (false, true), (true, true)] {
        for mtu in [1500, 9000] {
            let quirks = Quirks {
                piece: 5000,
                ..Quirks::default()
            };
            let mut world = World::new(
                &format!("all-{header}-{data}-{mtu}"),
                mtu,
                quirks,
                &clean(),
                1,
            );
            let mut initiator = Initiator::new(&Config {
                mtu,
                ..Config::numbered(0)
            });
            let mut run = |initiator: &mut Initiator| world.run(initiator);
            let mut host = initiator.blocking(&mut run);
            let mut config = connect_config(header, data);
            config.io_queues = 2;
            config.queue.h2c_piece = Some(3000);
            everything(&mut host, &config).unwrap_or_else(|error| panic!("{error}"));
            assert!(
                world.target.violations().is_empty(),
                "{:?}",
                world.target.violations()
            );
            let report = world.judge();
            assert!(report.pdus > 50, "{report:?}");
            assert_eq!(report.good_header_digests > 50, header, "{report:?}");
            assert_eq!(report.good_data_digests > 20, data, "{report:?}");
        }
    }
}

pub(super) fn everything(host: &mut Blocking<'_>, config: &ConnectConfig) -> Result<(), HostError> {
    let (generation, log) = host.discover(config)?;
    assert_eq!((generation, log.len()), (5, 1));
    let controller = host.connect(config)?;
    assert_eq!(host.active_namespaces(controller.admin)?, [1]);
    assert_eq!(host.namespace(controller.admin, 1)?, ns());
    let queue = controller.io[1];
    // In the capsule, and by R2T.
    host.write_pattern(queue, &ns(), 0, 8, 1)?;
    host.write_pattern(queue, &ns(), 8, 200, 1)?;
    host.verify_pattern(controller.io[0], &ns(), 0, 208, 1)?;
    let stale = host.verify_pattern(queue, &ns(), 0, 1, 2);
    assert!(matches!(stale, Err(HostError::Answer { .. })), "{stale:?}");
    host.must("Flush", queue, Command::flush(1))?;
    for (generation, status) in [(1, Status::SUCCESS), (2, Status::COMPARE_FAILED)] {
        let data = pattern::make(4, 4, BLOCK, generation);
        let compared = host.exec("Compare", queue, Command::compare(1, 4, data, BLOCK))?;
        assert_eq!(compared.status(), Some(status));
    }
    host.must("Write Zeroes", queue, Command::write_zeroes(1, 16, 8))?;
    host.must(
        "Deallocate",
        queue,
        Command::deallocate(1, &[(32, 8), (64, 8)]),
    )?;
    assert_eq!(host.read(queue, &ns(), 16, 8)?, vec![0; 4096]);
    assert_eq!(host.read(queue, &ns(), 64, 8)?, vec![0; 4096]);
    let beyond = host.exec("Read", queue, Command::read(1, ns().blocks, 1, BLOCK))?;
    assert_eq!(beyond.status(), Some(Status::LBA_RANGE.no_retry()));
    host.disconnect(&controller)
}

pub(super) fn workload(queues: Vec<QueueId>, depth: usize, ios: u64) -> WorkloadConfig {
    WorkloadConfig {
        depth,
        ios,
        read_percent: 50,
        span: 4096,
        ..WorkloadConfig::random_4k(queues, 1, BLOCK)
    }
}

fn mixed_load(seed: u64, link: &LinkConfig, quirks: Quirks, ios: u64) -> (Stats, Clock, World) {
    let name = format!("load-{seed}-{}-{}", link.a_to_b.loss, quirks.piece);
    let mut world = World::new(&name, 1500, quirks, link, seed);
    let mut initiator = Initiator::new(&Config {
        seed,
        ..Config::numbered(0)
    });
    let mut run = |initiator: &mut Initiator| world.run(initiator);
    let mut host = initiator.blocking(&mut run);
    host.patience = 60 * 250_000_000;
    let mut config = connect_config(true, true);
    config.io_queues = 2;
    config.queue.in_capsule = 2048;
    let go = |host: &mut Blocking<'_>| {
        let controller = host.connect(&config)?;
        host.run_workload(Workload::new(WorkloadConfig {
            seed,
            ..workload(controller.io, 16, ios)
        }))
    };
    let stats = go(&mut host).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let now = world.now;
    (stats, now, world)
}

#[test]
fn a_verified_load_of_many_commands_runs_clean_and_one_seed_gives_one_history() {
    let quirks = Quirks {
        always_respond: true,
        ..Quirks::default()
    };
    let run = || mixed_load(5, &clean(), quirks, 2000);
    let (stats, end, world) = run();
    assert_eq!((stats.ios(), stats.failed), (2000, 0), "{:?}", stats.errors);
    assert!(stats.verified_bytes > 1 << 20, "{}", stats.verified_bytes);
    assert!(stats.percentile(50) <= stats.percentile(99));
    assert!(stats.iops() > 10_000.0);
    let report = world.judge();
    assert!(report.good_data_digests > 1000, "{report:?}");
    let (again, again_end, _) = run();
    assert_eq!((again.latencies, again_end), (stats.latencies, end));
}

#[test]
fn a_load_survives_loss_reordering_duplication_and_corruption() {
    for seed in [11, 12] {
        let faults = Faults {
            hold: 5_000,
            ..Faults::percent(1)
        };
        let link = LinkConfig {
            a_to_b: faults,
            b_to_a: faults,
            ..clean()
        };
        let (stats, _, world) = mixed_load(seed, &link, Quirks::default(), 300);
        assert_eq!(
            (stats.ios(), stats.failed),
            (300, 0),
            "seed {seed}: {:?}",
            stats.errors
        );
        let counters = world.link.a_to_b.counters();
        assert!(
            counters.lost > 0 && counters.corrupted > 0,
            "seed {seed}: {counters:?}"
        );
        world.judge();
    }
}

#[test]
fn several_hosts_share_the_port_and_each_reads_what_it_wrote() {
    let mut world = World::new("hosts", 9000, Quirks::default(), &clean(), 1);
    let configs = (0..3).map(|n| Config {
        mtu: 9000,
        ..Config::numbered(n)
    });
    let mut hosts = Hosts(configs.map(|config| Initiator::new(&config)).collect());
    let queue = QueueConfig::default();
    let opened: Vec<QueueId> = hosts
        .0
        .iter_mut()
        .map(|host| host.open(target(), queue.clone()).expect("open"))
        .collect();
    for (n, host) in hosts.0.iter_mut().enumerate() {
        let data = sluice_wire::fabrics::ConnectData::default();
        host.submit(opened[n], Command::connect(1, 128, false, 0, &data));
        let blocks = pattern::make(n as u64 * 100, 16, BLOCK, n as u64);
        host.submit(opened[n], Command::write(1, n as u64 * 100, blocks, BLOCK));
    }
    for _ in 0..200_000 {
        world.tick(|now, to, from| hosts.poll(now, to, from));
        if hosts
            .0
            .iter()
            .zip(&opened)
            .all(|(host, queue)| host.outstanding(*queue) == 0)
        {
            break;
        }
    }
    for (n, host) in hosts.0.iter_mut().enumerate() {
        for _ in 0..2 {
            let completion = host.take_completion().expect("both commands completed");
            assert!(completion.is_ok(), "host {n}: {completion:?}");
        }
        let at = n * 100 * BLOCK;
        let disk = &world.target.disk()[at..at + 16 * BLOCK];
        assert_eq!(
            pattern::check(disk, n as u64 * 100, BLOCK, n as u64),
            Ok(())
        );
    }
    world.judge();
}

#[test]
fn keep_alives_go_out_on_their_own() {
    let mut world = World::new("kato", 1500, Quirks::default(), &clean(), 1);
    let mut initiator = Initiator::new(&Config::numbered(0));
    let mut run = |initiator: &mut Initiator| world.run(initiator);
    let mut host = initiator.blocking(&mut run);
    let config = ConnectConfig {
        kato_ms: 2,
        ..connect_config(false, false)
    };
    host.connect(&config)
        .unwrap_or_else(|error| panic!("{error}"));
    host.pause(5_000_000);
    assert!(
        initiator.take_completion().is_none(),
        "they are nobody's business"
    );
    assert!(
        world.target.keep_alives() >= 15,
        "{}",
        world.target.keep_alives()
    );
    world.judge();
}

#[test]
fn a_target_with_a_wrong_data_digest_is_caught() {
    let quirks = Quirks {
        bad_digest: true,
        ..Quirks::default()
    };
    let mut world = World::new("bad", 1500, quirks, &clean(), 1);
    let mut initiator = Initiator::new(&Config::numbered(0));
    let mut run = |initiator: &mut Initiator| world.run(initiator);
    let mut host = initiator.blocking(&mut run);
    let failed = host.connect(&connect_config(false, true)).map(|_| ());
    let Err(HostError::Queue {
        failure: Failure::Protocol(what),
        ..
    }) = failed
    else {
        panic!("{failed:?}")
    };
    assert_eq!(what, "C2HData: wrong data digest");
    // And so says tshark: a capture with a bad digest is not in order.
    world.capture.flush().expect("capture");
    let judged = pcap::check_with_tshark(&world.path)
        .map(|_| ())
        .map_err(|e| e.to_string());
    assert!(
        judged.as_ref().is_err_and(|e| e.contains("data digest")),
        "{judged:?}"
    );
    world.drop_capture("the target's wrong data digest");
}

#[test]
fn a_wrong_data_digest_of_the_host_fails_that_command_only() {
    let mut world = World::new("spoilt", 1500, Quirks::default(), &clean(), 1);
    let mut initiator = Initiator::new(&Config::numbered(0));
    let mut run = |initiator: &mut Initiator| world.run(initiator);
    let mut host = initiator.blocking(&mut run);
    let controller = host
        .connect(&connect_config(true, true))
        .unwrap_or_else(|error| panic!("{error}"));
    let queue = controller.io[0];
    // In the capsule, and by R2T.
    for blocks in [8, 64] {
        host.initiator.spoil_data_digest(queue);
        let write =
            |generation| Command::write(1, 0, pattern::make(0, blocks, BLOCK, generation), BLOCK);
        for (generation, status) in [(1, Status::TRANSIENT_TRANSPORT), (2, Status::SUCCESS)] {
            let written = host.exec("Write", queue, write(generation));
            let written = written.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(written.status(), Some(status));
        }
        host.verify_pattern(queue, &ns(), 0, blocks as u32, 2)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    world.drop_capture("the host's wrong data digests");
}

#[test]
fn raw_bytes_reach_the_target_and_its_term_req_comes_back() {
    let mut world = World::new("raw", 1500, Quirks::default(), &clean(), 1);
    let mut initiator = Initiator::new(&Config::numbered(0));
    let raw = initiator.open_raw(target()).expect("open");
    initiator.raw_send(raw, &pdu::ic_req(false, false, 0, 1));
    initiator.raw_send(raw, &pdu::ic_req(false, false, 0, 1));
    let mut run = |initiator: &mut Initiator| world.run(initiator);
    let mut host = initiator.blocking(&mut run);
    host.wait("TermReq", |i| i.raw_ended(raw).is_some())
        .unwrap_or_else(|e| panic!("{e}"));
    let received = initiator.raw_received(raw).to_vec();
    assert_eq!(pdu::pdu_len(&received), Some(128));
    let term = pdu::parse(&received[128..], &pdu::Terms::PLAIN).expect("a C2HTermReq");
    assert!(matches!(term, pdu::Pdu::TermReq { fes: 2, .. }), "{term:?}");
    assert_eq!(world.target.violations(), [Violation::Sequence]);
}

#[test]
fn a_queue_that_is_killed_reports_why_and_loses_its_commands() {
    let mut world = World::new("killed", 1500, Quirks::default(), &clean(), 1);
    let mut initiator = Initiator::new(&Config::numbered(0));
    let mut run = |initiator: &mut Initiator| world.run(initiator);
    let mut host = initiator.blocking(&mut run);
    let controller = host
        .connect(&connect_config(false, false))
        .unwrap_or_else(|error| panic!("{error}"));
    let queue = controller.io[0];
    // Data that nobody asked for.
    host.initiator.inject(
        queue,
        &pdu::h2c_data(0, 99, 0, &[1; 64], true, &pdu::Terms::PLAIN),
    );
    let failed = host.exec("Flush", queue, Command::flush(1)).map(|_| ());
    let Err(HostError::Queue {
        failure: Failure::TermReq { fes: 1, fei: 10 },
        ..
    }) = failed
    else {
        panic!("{failed:?}")
    };
    assert_eq!(world.target.violations(), [Violation::UNKNOWN_TTAG]);
}

#[test]
fn a_closed_port_refuses_and_silence_is_a_timeout() {
    let mut world = World::new("refused", 1500, Quirks::default(), &clean(), 1);
    let mut initiator = Initiator::new(&Config::numbered(0));
    let mut run = |initiator: &mut Initiator| world.run(initiator);
    let mut host = initiator.blocking(&mut run);
    let closed = SocketAddr::new(target().ip(), 4421);
    let refused = host.open(closed, QueueConfig::default());
    assert!(
        matches!(refused, Err(HostError::Queue { .. })),
        "{refused:?}"
    );
    host.patience = 100_000;
    let nobody = "10.0.0.77:4420".parse().expect("an address");
    let silent = host.open(nobody, QueueConfig::default());
    assert!(
        matches!(silent, Err(HostError::Timeout { .. })),
        "{silent:?}"
    );
}

#[test]
fn ipv6_and_data_alignment_of_both_sides_work() {
    let quirks = Quirks {
        limits: Limits {
            cpda: 6,
            max_h2c_data: 4096,
            in_capsule_io: 4096,
            ..Limits::default()
        },
        ..Quirks::default()
    };
    let mut world = World::new("ipv6", 1500, quirks, &clean(), 1);
    let ip = "fd00::10".parse().expect("an address");
    let mut initiator = Initiator::new(&Config {
        ip,
        prefix: 64,
        ..Config::numbered(0)
    });
    let mut run = |initiator: &mut Initiator| world.run(initiator);
    let mut host = initiator.blocking(&mut run);
    let mut config = connect_config(true, true);
    config.target = "[fd00::2]:4420".parse().expect("an address");
    config.queue.hpda = 31;
    config.flow_control = true;
    config.io_queues = 2;
    everything(&mut host, &config).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        world.target.violations().is_empty(),
        "{:?}",
        world.target.violations()
    );
    world.judge_padded();
}
