//! The RoCE host against a small target, over a link that may lose, reorder, double and damage frames.

use std::{fs::File, io::BufWriter, net::SocketAddr, path::PathBuf};

use sluice_wire::{
    ib_cm::{ATTR_DREQ, ATTR_REQ, Dreq, Message, Req},
    ib_mad::GSI_QKEY,
    nvme_rdma::RequestData,
    roce::{Deth, NakCode, Opcode, PathMtu},
};

use super::{
    cm::{self, CmFaults, Mad, Rejection},
    frame::{self, Endpoint, Packet, Path},
    qp::{RcError, Work},
    target::{Fault, Quirks, Target, Wrong},
};
use crate::{
    fabric::{Clock, QUANTUM},
    initiator::{
        Blocking, Command, Config, ConnectConfig, Controller, Failure, HostError, Initiator,
        QueueConfig, Stats, Transport, Workload, WorkloadConfig, pattern,
        test_disk::BLOCK,
        tests::{everything, ns, workload},
    },
    link::{Faults, Frames, Link, LinkConfig},
    pcap::{self, kept},
};

mod errors;

use errors::{connect, failure};

/// A host on one side, the target on the other.
struct World {
    target: Target,
    link: Link,
    now: Clock,
    queues: [Frames; 4],
    /// Every frame of the host.
    sent: Vec<Vec<u8>>,
    capture: Option<(pcap::Writer<BufWriter<File>>, PathBuf)>,
}

impl World {
    fn new(quirks: Quirks, link: &LinkConfig, seed: u64) -> Self {
        Self {
            target: Target::new(quirks, seed),
            link: Link::new(link, seed),
            now: 0,
            queues: Default::default(),
            sent: vec![],
            capture: None,
        }
    }

    fn begin_capture(&mut self, name: &str) {
        let name = format!("sluice-roce-{name}-{}", std::process::id());
        let path = kept::new_file(&name, &std::env::temp_dir()).expect("a file for the capture");
        self.capture = Some((pcap::Writer::create(&path).expect("a capture"), path));
    }

    /// Every frame sent by either side is well-formed, says tshark.
    fn judge(&mut self) -> pcap::Report {
        let (mut capture, path) = self.capture.take().expect("something was captured");
        capture.flush().expect("written");
        let report = pcap::check_with_tshark(&path).unwrap_or_else(|error| panic!("{error}"));
        if !kept::are_kept() {
            std::fs::remove_file(&path).expect("the capture is there");
        }
        report
    }

    /// Advances to where something happens next.
    fn run(&mut self, host: &mut Initiator) {
        let due = [
            self.link.next_arrival(),
            host.next_poll(),
            self.target.next_poll(),
        ];
        let next = due.into_iter().flatten().min().unwrap_or(Clock::MAX);
        self.now = next.clamp(self.now + QUANTUM, self.now + 65_536);
        let [host_out, host_in, target_out, target_in] = &mut self.queues;
        self.link
            .carry(self.now, (host_out, host_in), (target_out, target_in));
        host.poll(self.now, host_out, host_in);
        self.target.poll(self.now, target_out, target_in);
        if let Some((capture, _)) = &mut self.capture {
            for (at, frame) in host_out.iter().chain(target_out.iter()) {
                capture.write(*at, frame).expect("written");
            }
        }
        self.sent
            .extend(host_out.iter().map(|(_, frame)| frame.clone()));
        self.link
            .carry(self.now, (host_out, host_in), (target_out, target_in));
    }

    fn run_for(&mut self, host: &mut Initiator, clocks: Clock) {
        let end = self.now + clocks;
        while self.now < end {
            self.run(host);
        }
    }
}

fn address() -> SocketAddr {
    "10.0.0.2:4420".parse().expect("an address")
}

/// Over RDMA, with timeouts that do not take half a second each.
fn to_target() -> ConnectConfig {
    let nqn = "nqn.2026-01.org.sluice:test";
    let mut config = ConnectConfig::new(address(), nqn, 0).over(Transport::Rdma);
    config.queue.rdma.ack_timeout = 9;
    config.queue.rdma.cm_timeout = 10;
    config
}

/// One host's work in a world of its own.
fn with<R>(
    world: &mut World,
    config: &Config,
    work: impl FnOnce(&mut Blocking<'_>) -> R,
) -> (R, Initiator) {
    let mut host = Initiator::new(config);
    let mut run = |host: &mut Initiator| world.run(host);
    let mut blocking = host.blocking(&mut run);
    blocking.patience = 20 * 250_000_000;
    let result = work(&mut blocking);
    blocking.pause(200_000);
    (result, host)
}

#[test]
fn a_host_connects_does_every_command_and_disconnects_at_every_path_mtu() {
    for (mtu, path) in [(1500, 3), (4200, 5), (9000, 1), (9000, 2), (9000, 4)] {
        for (invalidate, regions) in [(true, 1), (false, 1), (true, 3)] {
            let quirks = Quirks {
                piece: 5000,
                ..Quirks::default()
            };
            let mut world = World::new(quirks, &LinkConfig::default(), 1);
            world.begin_capture(&format!("all-{path}-{invalidate}-{regions}"));
            let mut config = to_target();
            config.io_queues = 2;
            config.queue.rdma.path_mtu = PathMtu::from_code(path);
            config.queue.rdma.invalidate = invalidate;
            config.queue.rdma.regions = regions;
            let here = Config {
                mtu,
                ..Config::numbered(0)
            };
            let (done, host) = with(&mut world, &here, |host| everything(host, &config));
            done.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(world.target.errors, [""; 0]);
            assert_eq!((world.target.connections(), world.target.dreqs), (0, 4));
            assert_eq!(host.valid_keys(), 0);
            let counters = host.rdma_counters();
            assert_eq!(
                (counters.bad, counters.unknown, counters.retries),
                (0, 0, 0)
            );
            let largest = world.sent.iter().map(Vec::len).max();
            assert!(largest <= Some(usize::from(mtu) + 14), "{largest:?}");
            let report = world.judge();
            assert!(report.roce_packets > 200, "{report:?}");
        }
    }
}

#[test]
fn ipv6_works() {
    let mut world = World::new(Quirks::default(), &LinkConfig::default(), 1);
    let here = Config {
        ip: "fd00::10".parse().expect("an address"),
        prefix: 64,
        ..Config::numbered(0)
    };
    let mut config = to_target();
    config.target = "[fd00::2]:4420".parse().expect("an address");
    config.io_queues = 2;
    let (done, _) = with(&mut world, &here, |host| everything(host, &config));
    done.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(world.target.errors, [""; 0]);
}

fn mixed_load(seed: u64, link: &LinkConfig, ios: u64) -> (Stats, World, Initiator) {
    let mut world = World::new(Quirks::default(), link, seed);
    let mut config = to_target();
    config.io_queues = 2;
    config.queue.in_capsule = 4096;
    config.queue.rdma.resume_as_first = seed & 1 == 1;
    config.queue.rdma.ecn = true;
    config.queue.rdma.cnp = true;
    let here = Config {
        seed,
        ..Config::numbered(0)
    };
    let (stats, host) = with(&mut world, &here, |host| {
        let controller = host.connect(&config)?;
        let blocks = [8, 16, 40][seed as usize % 3];
        let load = WorkloadConfig {
            seed,
            io_blocks: blocks,
            ..workload(controller.io.clone(), 16, ios)
        };
        let stats = host.run_workload(Workload::new(load))?;
        host.disconnect(&controller)?;
        Ok::<_, HostError>(stats)
    });
    let stats = stats.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    (stats, world, host)
}

#[test]
fn a_verified_load_of_many_commands_runs_clean_and_one_seed_gives_one_history() {
    let run = || mixed_load(5, &LinkConfig::default(), 2000);
    let (stats, world, host) = run();
    assert_eq!((stats.ios(), stats.failed), (2000, 0), "{:?}", stats.errors);
    assert!(stats.verified_bytes > 1 << 20, "{}", stats.verified_bytes);
    assert_eq!(host.rdma_counters().retries, 0);
    let (again, world_again, _) = run();
    assert_eq!(
        (again.latencies, world_again.now),
        (stats.latencies, world.now)
    );
}

/// The figures: 5 % loss, 5 % reordering, duplication and corruption.
#[test]
fn loads_survive_five_percent_of_every_fault_over_many_seeds() {
    let mut retries = 0;
    for seed in 0..60 {
        println!("seed {seed}");
        let faults = Faults {
            hold: 5_000,
            mark: 50_000,
            ..Faults::percent(5)
        };
        let link = LinkConfig {
            a_to_b: faults,
            b_to_a: faults,
            ..LinkConfig::default()
        };
        let (stats, world, host) = mixed_load(seed, &link, 120);
        let errors = &stats.errors;
        assert_eq!(
            (stats.ios(), stats.failed),
            (120, 0),
            "seed {seed}: {errors:?}"
        );
        assert_eq!(world.target.errors, [""; 0], "seed {seed}");
        assert_eq!(host.valid_keys(), 0, "seed {seed}");
        let counters = host.rdma_counters();
        assert!(counters.bad > 0, "seed {seed}: {counters:?}");
        retries += counters.retries + world.target.retries();
    }
    assert!(retries > 60, "{retries}");
}

#[test]
fn marked_frames_are_answered_by_notifications_and_no_more_often_than_allowed() {
    let quirks = Quirks {
        ecn: true,
        ..Quirks::default()
    };
    let link = LinkConfig {
        b_to_a: Faults {
            mark: 500_000,
            ..Faults::default()
        },
        ..LinkConfig::default()
    };
    let mut world = World::new(quirks, &link, 3);
    let mut config = to_target();
    config.queue.rdma.cnp = true;
    let (done, host) = with(&mut world, &Config::numbered(0), |host| {
        let controller = host.connect(&config)?;
        host.read(controller.io[0], &ns(), 0, 200)
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    let counters = host.rdma_counters();
    assert_eq!(u64::from(world.target.cnps), counters.cnps_sent);
    assert!(
        counters.cnps_sent > 0 && counters.cnps_sent < counters.congested,
        "{counters:?}"
    );
}

#[test]
fn duplicate_requests_make_one_connection_and_a_stolen_number_ends_the_old_one() {
    let mut world = World::new(Quirks::default(), &LinkConfig::default(), 1);
    let mut config = to_target();
    config.io_queues = 2;
    config.queue.rdma.faults.duplicate_req = true;
    let (connected, mut host) = with(&mut world, &Config::numbered(0), |host| {
        host.connect(&config)
    });
    let controller = connected.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (world.target.connections(), world.target.requests.len()),
        (3, 3)
    );
    // Again, while the connection is up: answered by the REP of then, and nothing changes.
    host.send_request_again(controller.io[0]);
    let place = host.queue_pair(controller.io[0]).expect("connected");
    let mut run = |host: &mut Initiator| world.run(host);
    let mut blocking = host.blocking(&mut run);
    blocking.pause(100_000);
    let read = blocking.read(controller.io[0], &ns(), 0, 1);
    read.unwrap_or_else(|error| panic!("{error}"));
    // Another REQ with the number of a connection that is up.
    let mut stale = config.queue.clone();
    stale.rdma.faults.duplicate_req = false;
    stale.rdma.faults.qpn = Some(place.qpn);
    let got = failure(blocking.open(address(), stale));
    assert_eq!(
        got,
        Failure::Rejected(Rejection {
            reason: 10,
            status: None
        })
    );
    assert_eq!(world.target.connections(), 2);
}

#[test]
fn requests_and_farewells_that_are_not_heard_are_repeated() {
    // Two REQs, then the first RTU and DREQ.
    for deaf in [2, 1] {
        let quirks = Quirks {
            deaf,
            ..Quirks::default()
        };
        let mut world = World::new(quirks, &LinkConfig::default(), 1);
        let (done, _) = with(&mut world, &Config::numbered(0), |host| {
            let controller = host.connect(&to_target())?;
            host.disconnect(&controller)?;
            host.pause(10_000_000);
            Ok::<_, HostError>(())
        });
        done.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(world.target.connections(), 0);
    }
    let mut world = World::new(Quirks::default(), &LinkConfig::default(), 1);
    let (controller, mut host) = with(&mut world, &Config::numbered(0), |host| {
        host.connect(&to_target())
    });
    let controller = controller.unwrap_or_else(|error| panic!("{error}"));
    world.target.quirks.deaf = 3;
    for queue in controller.io.iter().chain([&controller.admin]) {
        host.close(*queue);
    }
    while world.now < 20_000_000 {
        world.run(&mut host);
    }
    assert_eq!((world.target.connections(), world.target.dreqs), (0, 2));
}

#[test]
fn a_target_that_asks_for_patience_gets_it() {
    let quirks = Quirks {
        mra: true,
        ..Quirks::default()
    };
    let mut world = World::new(quirks, &LinkConfig::default(), 1);
    connect(&mut world, &to_target()).unwrap_or_else(|error| panic!("{error}"));
    // 4.096 µs times 2^21 is 8.6 s.
    assert!(world.now > 8 * 250_000_000, "{}", world.now);
}

#[test]
fn silence_at_every_stage_is_an_error_and_no_hang() {
    let quirks = Quirks {
        deaf: u32::MAX,
        ..Quirks::default()
    };
    let mut world = World::new(quirks, &LinkConfig::default(), 1);
    let got = failure(connect(&mut world, &to_target()));
    assert_eq!(
        got,
        Failure::Connection("the target does not answer the REQ")
    );
    let mut nobody = to_target();
    nobody.target = "10.0.0.77:4420".parse().expect("an address");
    let got = failure(connect(&mut world, &nobody));
    assert_eq!(got, Failure::Connection("nobody has the target's address"));
    nobody.target = "[fd00::2]:4420".parse().expect("an address");
    let open = connect(&mut world, &nobody);
    assert!(matches!(open, Err(HostError::Open(_))), "{open:?}");
}

#[test]
fn a_side_without_receives_is_tried_again_until_it_has_some() {
    let quirks = Quirks {
        no_receives: true,
        ..Quirks::default()
    };
    let mut world = World::new(quirks, &LinkConfig::default(), 1);
    let mut host = Initiator::new(&Config::numbered(0));
    let mut config = QueueConfig {
        transport: Transport::Rdma,
        entries: 8,
        ..QueueConfig::default()
    };
    config.rdma = to_target().queue.rdma;
    config.rdma.qid = 1;
    config.rdma.receives = Some(4);
    let queue = host.open(address(), config).expect("a connection");
    let flushes = |host: &mut Initiator| {
        for _ in 0..7 {
            host.submit(queue, Command::flush(1));
        }
    };
    flushes(&mut host);
    world.run_for(&mut host, 1_000_000);
    let retries = host.rdma_counters().retries;
    // Every 10 µs: the target's time.
    assert!((300..400).contains(&retries), "{retries}");
    assert_eq!(host.outstanding(queue), 7);
    world.target.post_receives(8);
    world.run_for(&mut host, 100_000);
    assert_eq!(host.outstanding(queue), 0);
    for _ in 0..7 {
        assert!(host.take_completion().is_some_and(|c| c.is_ok()));
    }
    // A host that is held takes as many responses as it has receives, and no more.
    assert_eq!(world.target.retries(), 0);
    flushes(&mut host);
    world.run_for(&mut host, 64);
    host.hold(queue, true);
    world.run_for(&mut host, 1_000_000);
    // Every 640 µs: the host's time.
    assert!(
        (5..8).contains(&world.target.retries()),
        "{}",
        world.target.retries()
    );
    assert_eq!(host.outstanding(queue), 7);
    host.hold(queue, false);
    world.run_for(&mut host, 1_000_000);
    assert_eq!(host.outstanding(queue), 0);
}

#[test]
fn keep_alives_and_several_queues_share_an_adapter_with_tcp_beside_it() {
    let mut world = World::new(Quirks::default(), &LinkConfig::default(), 1);
    let config = ConnectConfig {
        kato_ms: 2,
        io_queues: 4,
        ..to_target()
    };
    let (done, mut host) = with(&mut world, &Config::numbered(0), |host| {
        let controller = host.connect(&config)?;
        // Nobody speaks TCP there: that is smoltcp's affair and disturbs nothing.
        host.initiator.open_raw(address()).expect("a socket");
        host.pause(5_000_000);
        host.disconnect(&controller)
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    assert!(host.take_completion().is_none(), "nobody's business");
    assert!(
        world.target.disk.keep_alives >= 15,
        "{}",
        world.target.disk.keep_alives
    );
    let qids: Vec<u16> = world.target.requests.iter().map(|r| r.qid.get()).collect();
    let cntlids: Vec<u16> = world
        .target
        .requests
        .iter()
        .map(|r| r.cntlid.get())
        .collect();
    assert_eq!((qids, cntlids), (vec![0, 1, 2, 3, 4], vec![0, 1, 1, 1, 1]));
    let sizes = world
        .target
        .requests
        .iter()
        .map(|r| (r.hrqsize.get(), r.hsqsize_z.get()));
    assert!(sizes.eq([(32, 31), (128, 127), (128, 127), (128, 127), (128, 127)]));
}

/// What a host answers whom nobody has invited.
#[test]
fn strangers_get_a_refusal_or_a_farewell_and_their_packets_are_counted() {
    let here = Endpoint {
        mac: [2, 0, 0, 0, 0, 2],
        ip: address().ip(),
    };
    let config = Config::numbered(0);
    let there = Endpoint {
        mac: config.mac,
        ip: config.ip,
    };
    let path = Path {
        src_port: 1,
        ip_id: 1,
        ecn: false,
    };
    let mut host = Initiator::new(&config);
    let mut answer = |packet: &Packet| {
        let mut out = Frames::new();
        host.receive(0, packet.frame(&here, &there, path), &mut out);
        out.pop_front().map(|(_, frame)| {
            let parsed = frame::parse(&frame).expect("RoCE").expect("sound");
            assert_eq!((parsed.from, parsed.to), (there, here));
            Mad::try_from(&parsed.packet.payload[..]).expect("a MAD")
        })
    };
    let mad = |mad: Mad, qkey: u32| {
        let mut packet = Packet::new(Opcode::UdSendOnly, 1, 0, mad.to_vec());
        packet.deth = Some(Deth {
            qkey: qkey.into(),
            src_qp: 1.into(),
        });
        packet
    };
    let req = cm::message(ATTR_REQ, 7, |req: &mut Req| req.local_comm_id = 9.into());
    let got = answer(&mad(req, GSI_QKEY)).expect("an answer");
    let Some(Message::Rej(rej)) = Message::of(&got) else {
        panic!("not a REJ")
    };
    let said = (
        rej.reason.get(),
        rej.remote_comm_id.get(),
        rej.mad.tid.get(),
    );
    assert_eq!(said, (8, 9, 7));
    let dreq = cm::message(ATTR_DREQ, 7, |dreq: &mut Dreq| {
        dreq.local_comm_id = 9.into()
    });
    let got = answer(&mad(dreq, GSI_QKEY)).expect("an answer");
    assert!(matches!(Message::of(&got), Some(Message::Drep(_))));
    // Without the key of queue pair 1, cut short, of another class, or for a queue pair that is not there: nothing.
    assert_eq!(answer(&mad(req, 1)), None);
    let mut short = mad(req, GSI_QKEY);
    short.payload.truncate(200);
    assert_eq!(answer(&short), None);
    let mut other = mad(req, GSI_QKEY);
    other.payload[1] = 3;
    assert_eq!(answer(&other), None);
    assert_eq!(
        answer(&Packet::new(Opcode::SendOnly, 77, 0, vec![0; 16])),
        None
    );
    assert_eq!(host.rdma_counters().unknown, 4);
}
