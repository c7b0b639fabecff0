//! Hosts and strangers that do everything wrong with queue pairs and their connection manager, while a live host works on.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_regs::bar0_regs;
use sluice_sim::initiator::rdma::cm::Rejection;
use sluice_sim::initiator::rdma::frame::Packet;
use sluice_sim::initiator::rdma::qp::{RcError, Work};
use sluice_sim::initiator::{
    Command, Config, ConnectConfig, Controller, Data, Failure, HostError, QueueConfig, QueueId,
    QueueState,
};
use sluice_sim::link::Faults;
use sluice_sim::ssd::{Fault, Latency, Seen};
use sluice_wire::ib_cm::{RejectReason, SERVICE_TCP};
use sluice_wire::nvme::{NvmOpcode, SglDescriptor, SglKind, Sqe, Status};
use sluice_wire::nvme_rdma::{CmStatus, Keyed, RequestData};
use sluice_wire::roce::{MASK_24, NakCode, Opcode, PathMtu};

use crate::common::{Bench, MS, On, live::Live, mix, over_rdma, roce, target};

crate::on_both_cards! {
    every_bad_request_for_a_queue_pair_is_refused_with_its_reason,
    reaching_for_the_cards_memory_ends_a_queue_pair_alone,
    packets_with_a_wrong_icrc_are_dropped_and_counted,
}

/// A queue of QID 1 of a controller that the private data do not name.
fn queue() -> QueueConfig {
    let mut config = over_rdma(2).queue;
    config.entries = 32;
    config.rdma.qid = 1;
    // Whoever does not answer is given up sooner than with Linux.
    (config.rdma.cm_timeout, config.rdma.cm_retries) = (14, 3);
    config
}

/// Why a queue pair was not had.
fn refusal(bench: &mut Bench, host: usize, config: QueueConfig) -> Failure {
    match bench.on(host, |b| b.open(target(), config)) {
        Err(HostError::Queue { failure, .. }) => failure,
        other => panic!("a refusal was expected: {other:?}"),
    }
}

/// How a queue ended.
fn end_of(bench: &mut Bench, what: &str, host: usize, queue: QueueId) -> Failure {
    let over = |b: &mut Bench| match b.at(host).state(queue) {
        QueueState::Failed(failure) => Some(failure.clone()),
        _ => None,
    };
    bench.until(what, 60_000 * MS, |b| over(b).is_some());
    over(bench).expect("it has just ended")
}

/// The admin queue of a controller still answers.
fn assert_answers(bench: &mut Bench, host: usize, controller: &Controller) {
    bench
        .on(host, |b| b.active_namespaces(controller.admin))
        .expect("the admin queue answers");
}

fn disconnect(bench: &mut Bench, host: usize, controller: &Controller) {
    bench
        .on(host, |b| b.disconnect(controller))
        .expect("disconnect");
}

fn every_bad_request_for_a_queue_pair_is_refused_with_its_reason(on: &On) {
    let mut bench = Bench::new("rdma-requests", on);
    let live = Live::connect(&mut bench, over_rdma(1));
    let host = bench.host(2);
    live.begin(&mut bench, on.ios(500));
    let before = bench.control_counters().rdma_cm_refused.get();
    let private = |recfmt: u16, qid: u16, hrqsize: u16, hsqsize_z: u16| {
        let mut config = queue();
        config.rdma.faults.private = Some(RequestData {
            recfmt: recfmt.into(),
            qid: qid.into(),
            hrqsize: hrqsize.into(),
            hsqsize_z: hsqsize_z.into(),
            ..RequestData::default()
        });
        config
    };
    let service = |id| {
        let mut config = queue();
        config.rdma.faults.service_id = Some(id);
        config
    };
    let mut no_reads = queue();
    no_reads.rdma.resources = 0;
    let mut large = queue();
    large.rdma.path_mtu = Some(PathMtu::Bytes4096);
    let nvme = |status| (RejectReason::Consumer, Some(status));
    let cases = [
        (private(1, 1, 32, 31), nvme(CmStatus::InvalidRecfmt)),
        (private(0, 64, 32, 31), nvme(CmStatus::InvalidQid)),
        (private(0, 0xffff, 32, 31), nvme(CmStatus::InvalidQid)),
        (private(0, 1, 32, 0), nvme(CmStatus::InvalidHsqsize)),
        (private(0, 1, 32, 4096), nvme(CmStatus::InvalidHsqsize)),
        (private(0, 1, 0, 31), nvme(CmStatus::InvalidHrqsize)),
        (no_reads, nvme(CmStatus::InvalidIrd)),
        (
            service(SERVICE_TCP | 4421),
            (RejectReason::InvalidServiceId, None),
        ),
        (service(4420), (RejectReason::InvalidServiceId, None)),
        (service(0), (RejectReason::InvalidServiceId, None)),
        (large, (RejectReason::InvalidMtu, None)),
    ];
    let count = cases.len() as u32;
    for (config, (reason, status)) in cases {
        let wanted = Rejection {
            reason: reason as u16,
            status: status.map(|s| s as u16),
        };
        let got = refusal(&mut bench, host, config);
        assert_eq!(got, Failure::Rejected(wanted));
    }
    let refused = bench.control_counters().rdma_cm_refused.get() - before;
    assert_eq!(refused, count, "each is counted once");
    live.end(&mut bench);
    bench.check_capture();
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn a_request_cut_short_gets_no_answer() {
    let mut bench = Bench::new("rdma-short-mad", &On::functional());
    let live = Live::connect(&mut bench, over_rdma(1));
    let host = bench.host(2);
    live.begin(&mut bench, 500);
    for len in [0, 24, 139, 200, 255] {
        let mut config = queue();
        config.rdma.faults.mad_len = Some(len);
        let got = refusal(&mut bench, host, config);
        let silence = Failure::Connection("the target does not answer the REQ");
        assert_eq!(got, silence, "{len} bytes");
    }
    live.end(&mut bench);
    bench.drop_capture("requests cut short on purpose");
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn a_request_that_comes_again_makes_no_second_queue_pair() {
    let mut bench = Bench::new("rdma-duplicate-req", &On::functional().cores(2));
    let live = Live::connect(&mut bench, over_rdma(1));
    live.begin(&mut bench, 500);
    let host = bench.host(2);
    let mut config = ConnectConfig {
        io_queues: 3,
        ..over_rdma(2)
    };
    config.queue.rdma.faults.duplicate_req = true;
    let (controller, namespaces) = bench.connect_with(host, &config);
    for _ in 0..3 {
        for queue in controller.io.iter().chain([&controller.admin]) {
            bench.at(host).send_request_again(*queue);
        }
        bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 100));
    }
    let counters = bench.control_counters();
    assert_eq!(counters.rdma_cm_connections.get(), 2 + 4);
    assert!(counters.rdma_cm_duplicates.get() >= 4 + 3 * 4 * 2);
    assert_eq!(counters.rdma_cm_stale.get(), 0);
    disconnect(&mut bench, host, &controller);
    live.end(&mut bench);
    bench.check_capture();
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn a_queue_pair_that_its_host_has_forgotten_ends_when_its_number_comes_again() {
    let mut bench = Bench::new("rdma-stale", &On::functional());
    let live = Live::connect(&mut bench, over_rdma(1));
    live.begin(&mut bench, 500);
    let host = bench.host(2);
    let config = ConnectConfig {
        io_queues: 2,
        ..over_rdma(2)
    };
    let (controller, namespaces) = bench.connect_with(host, &config);
    let place = bench.at(host).queue_pair(controller.io[0]);
    let mut again = queue();
    again.rdma.faults.qpn = Some(place.expect("connected").qpn);
    let stale = Rejection {
        reason: RejectReason::StaleConnection as u16,
        status: None,
    };
    let got = refusal(&mut bench, host, again);
    assert_eq!(got, Failure::Rejected(stale));
    let end = end_of(&mut bench, "stale", host, controller.io[0]);
    assert_eq!(end, Failure::Connection("the target disconnected"));
    assert_eq!(bench.control_counters().rdma_cm_stale.get(), 1);
    // A stranger who claims the number is another host: nothing happens to its owner.
    let stranger = bench.host(5);
    let place = bench.at(host).queue_pair(controller.io[1]);
    let mut claimed = queue();
    claimed.rdma.faults.qpn = Some(place.expect("connected").qpn);
    let opened = bench
        .on(stranger, |b| b.open(target(), claimed))
        .expect("a queue pair");
    let mut rest = controller.clone();
    rest.io.remove(0);
    bench.verified(host, mix(&rest, &namespaces[0], 4096, 4, 100));
    bench.at(stranger).close(opened);
    disconnect(&mut bench, host, &rest);
    live.end(&mut bench);
    bench.check_capture();
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn the_first_packet_says_what_a_lost_rtu_would_have_said() {
    let mut bench = Bench::new("rdma-no-rtu", &On::functional().cores(2));
    let live = Live::connect(&mut bench, over_rdma(1));
    live.begin(&mut bench, 500);
    let host = bench.host(2);
    let mut config = ConnectConfig {
        io_queues: 2,
        ..over_rdma(2)
    };
    config.queue.rdma.faults.no_rtu = true;
    let (controller, namespaces) = bench.connect_with(host, &config);
    bench.run(20_000 * MS);
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 100));
    let counters = bench.control_counters();
    assert_eq!(counters.rdma_cm_unconfirmed.get(), 0);
    disconnect(&mut bench, host, &controller);
    // Who neither confirms nor uses what it asked for loses it.
    let mut silent = queue();
    silent.rdma.faults.no_rtu = true;
    let queue = bench
        .on(host, |b| b.open(target(), silent))
        .expect("a queue pair");
    end_of(&mut bench, "unconfirmed", host, queue);
    let counters = bench.control_counters();
    assert_eq!(counters.rdma_cm_unconfirmed.get(), 1);
    live.end(&mut bench);
    bench.check_capture();
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn farewells_that_get_lost_are_repeated_and_then_given_up() {
    let mut bench = Bench::new("rdma-farewells", &On::functional());
    let live = Live::connect(&mut bench, over_rdma(1));
    let host = bench.host(2);
    // The host's DREQ arrives, the DREP does not.
    let (controller, _) = bench.connect_with(host, &over_rdma(2));
    bench.lab.link.b_to_a.set_faults(Faults::loss_percent(100));
    for queue in controller.io.iter().chain([&controller.admin]) {
        bench.at(host).close(*queue);
    }
    bench.run(2_000 * MS);
    bench.lab.link.b_to_a.set_faults(Faults::default());
    bench.run(60_000 * MS);
    // The card's DREQ arrives, and this host does not say so.
    let mut rude = over_rdma(2);
    rude.queue.rdma.faults.no_drep = true;
    let (controller, _) = bench.connect_with(host, &rude);
    bench.at(host).inject(controller.io[0], &[0; 10]);
    let before = bench.control_counters();
    bench.run(60_000 * MS);
    let after = bench.control_counters();
    assert!(after.rdma_cm_repeated.get() > before.rdma_cm_repeated.get());
    disconnect(&mut bench, host, &controller);
    bench.run(MS);
    assert_eq!(bench.control_counters().rdma_cm_connections.get(), 2);
    bench.check_capture();
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn a_flood_of_requests_does_not_disturb_a_live_host() {
    let on = On::functional();
    let mut rng = ChaCha8Rng::seed_from_u64(on.seed);
    let mut bench = Bench::new("rdma-req-flood", &on);
    let live = Live::connect(&mut bench, over_rdma(1));
    let stranger = Config {
        mac: [2, 0, 0, 0, 9, 9],
        ..Config::numbered(90)
    };
    let flood = bench.add(&stranger);
    live.begin(&mut bench, 1500);
    for round in 1..=300 {
        for _ in 0..if round % 50 == 0 { 100 } else { 10 } {
            let frame = roce::req(&mut rng, stranger.mac);
            bench.at(flood).send_frame(frame);
        }
        bench.run(500);
    }
    live.end(&mut bench);
    let counters = bench.control_counters();
    assert!(counters.rdma_cm_connections.get() <= 2 + 32, "{counters:?}");
    assert!(
        counters.rdma_cm_refused.get() + counters.rdma_cm_dropped.get() > 1000,
        "{counters:?}"
    );
    bench.drop_capture("answers to addresses that do not exist");
    // Half-open connections are given up after their retries.
    bench.run(30_000 * MS);
    assert_eq!(bench.control_counters().rdma_cm_connections.get(), 2);
    live.afterwards(&mut bench, &over_rdma(3));
}

fn reaching_for_the_cards_memory_ends_a_queue_pair_alone(on: &On) {
    let mut bench = Bench::new("rdma-reach", on);
    let live = Live::connect(&mut bench, over_rdma(1));
    let host = bench.host(2);
    live.begin(&mut bench, on.ios(1500));
    let config = ConnectConfig {
        io_queues: 5,
        ..over_rdma(2)
    };
    let (controller, _) = bench.connect_with(host, &config);
    let (va, rkey) = (0x1000, 0x1234_5678);
    let works = [
        Work::Write {
            va,
            rkey,
            bytes: vec![9; 100],
        },
        Work::Write {
            va: 0,
            rkey: 0,
            bytes: vec![9; 5000],
        },
        Work::Read {
            va,
            rkey,
            len: 4096,
        },
        Work::Send {
            bytes: vec![0; 64],
            invalidate: Some(rkey),
        },
    ];
    let before = bench.counters().rdma_refused.get();
    for (work, queue) in works.into_iter().zip(&controller.io) {
        let what = format!("{work:?}");
        bench.at(host).post_rdma(*queue, work);
        let end = end_of(&mut bench, &what, host, *queue);
        let nak = Failure::Rdma(RcError::Nak(NakCode::RemoteAccess));
        assert_eq!(end, nak, "{what}");
        assert_answers(&mut bench, host, &controller);
    }
    // Atomic operations this host has none of: the packet is made by hand.
    let queue = controller.io[4];
    let place = bench.at(host).queue_pair(queue).expect("connected");
    let atomic = Packet::new(
        Opcode::FetchAdd,
        place.remote_qpn,
        place.send_psn,
        vec![0; 28],
    );
    let frame = roce::frame(&roce::host(2), &atomic);
    bench.at(host).send_frame(frame);
    let end = end_of(&mut bench, "an atomic operation", host, queue);
    assert_eq!(end, Failure::Connection("the target disconnected"));
    assert_eq!(bench.counters().rdma_refused.get() - before, 5);
    assert_answers(&mut bench, host, &controller);
    disconnect(&mut bench, host, &controller);
    live.end(&mut bench);
    bench.check_capture();
    live.afterwards(&mut bench, &over_rdma(3));
}

/// A descriptor of eight blocks of host memory.
fn keyed(va: u64, rkey: u32) -> SglDescriptor {
    let keyed = Keyed {
        va,
        len: 4096,
        rkey,
        invalidate: true,
    };
    keyed.descriptor()
}

/// A capsule of this command.
fn capsule(opcode: NvmOpcode, descriptor: SglDescriptor) -> Vec<u8> {
    let mut sqe = Sqe::new(opcode as u8, 7, 1);
    sqe.set_nlb_control(7, 0);
    sqe.set_sgl(descriptor);
    sqe.bytes().to_vec()
}

#[test]
fn a_command_that_names_memory_its_host_does_not_grant_ends_its_queue_pair_alone() {
    let mut bench = Bench::new("rdma-wrong-keys", &On::functional());
    let live = Live::connect(&mut bench, over_rdma(1));
    let host = bench.host(2);
    live.begin(&mut bench, 1500);
    let config = ConnectConfig {
        io_queues: 4,
        ..over_rdma(2)
    };
    let (controller, _) = bench.connect_with(host, &config);
    let commands = [
        capsule(NvmOpcode::Read, keyed(0x1000, 0xdead_beef)),
        capsule(NvmOpcode::Write, keyed(0x1000, 0xdead_beef)),
        capsule(NvmOpcode::Read, keyed(0, 0)),
        capsule(NvmOpcode::Write, keyed(1 << 63, 1)),
    ];
    for (bytes, queue) in commands.iter().zip(&controller.io) {
        bench.at(host).inject(*queue, bytes);
        let end = end_of(&mut bench, "a wrong key", host, *queue);
        assert!(
            matches!(&end, Failure::Protocol(what) if what.contains("NAK RemoteAccess")),
            "{end}"
        );
        assert_answers(&mut bench, host, &controller);
    }
    bench.run(MS);
    let left = bench.control_counters().rdma_cm_connections.get();
    assert_eq!(left, 2 + 1, "the live host's, and the admin queue");
    disconnect(&mut bench, host, &controller);
    live.end(&mut bench);
    bench.check_capture();
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn a_descriptor_that_does_not_fit_its_command_fails_it_alone() {
    let mut bench = Bench::new("rdma-wrong-length", &On::functional());
    let host = bench.host(2);
    let (controller, namespaces) = bench.connect_with(host, &over_rdma(2));
    let io = controller.io[0];
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 100));
    let with = |command: Command, data| Command { data, ..command };
    let read = || Command::read(1, 0, 8, 512);
    let write = || Command::write(1, 0, vec![0xee; 4096], 512);
    bench.at(host).set_in_capsule(io, 512);
    for (command, what) in [
        (with(read(), Data::FromCard(512)), "too short a buffer"),
        (with(read(), Data::FromCard(8192)), "too long a buffer"),
        (
            with(write(), Data::ToCard(vec![0xee; 2048])),
            "too little to write",
        ),
        (
            with(write(), Data::ToCard(vec![0xee; 65_536])),
            "too much to write",
        ),
        (
            with(write(), Data::ToCard(vec![0xee; 512])),
            "too little in the capsule",
        ),
    ] {
        let got = bench
            .on(host, |b| b.exec(what, io, command))
            .expect("the queue pair lives");
        let status = got.status().map(Status::kind);
        assert_eq!(status, Some(Status::SGL_LENGTH), "{what}");
    }
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 100));
    disconnect(&mut bench, host, &controller);
    bench.run(MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn messages_that_are_no_commands_end_their_queue_pair_alone() {
    let mut bench = Bench::new("rdma-messages", &On::functional());
    let live = Live::connect(&mut bench, over_rdma(1));
    let host = bench.host(2);
    live.begin(&mut bench, 1500);
    let config = ConnectConfig {
        io_queues: 5,
        ..over_rdma(2)
    };
    let (controller, _) = bench.connect_with(host, &config);
    let refused = Failure::Rdma(RcError::Nak(NakCode::InvalidRequest));
    let gone = Failure::Connection("the target disconnected");
    for (len, queue, wanted) in [
        (0, 0, &gone),
        (1, 1, &gone),
        (63, 2, &gone),
        (64 + (16 << 10) + 1, 3, &refused),
        (1 << 20, 4, &refused),
    ] {
        let queue = controller.io[queue];
        bench.at(host).inject(queue, &vec![0; len]);
        let end = end_of(&mut bench, "not a command", host, queue);
        assert_eq!(end, *wanted, "{len} bytes");
        assert_answers(&mut bench, host, &controller);
    }
    disconnect(&mut bench, host, &controller);
    live.end(&mut bench);
    bench.check_capture();
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn descriptors_that_nvme_over_rdma_does_not_know_are_refused() {
    let mut bench = Bench::new("rdma-descriptors", &On::functional());
    let host = bench.host(2);
    let config = ConnectConfig {
        io_queues: 4,
        ..over_rdma(2)
    };
    let (controller, _) = bench.connect_with(host, &config);
    let before = bench.counters().errors.get();
    for (queue, descriptor) in controller.io.iter().zip([
        SglDescriptor::new(SglKind::Transport, 0, 4096),
        SglDescriptor::new(SglKind::Offset, 0, 4096),
        SglDescriptor {
            id: 0x31,
            ..SglDescriptor::new(SglKind::Offset, 0, 16 * 5)
        },
        SglDescriptor {
            id: 0x31,
            ..SglDescriptor::new(SglKind::Offset, u64::MAX, 16)
        },
    ]) {
        let bytes = capsule(NvmOpcode::Read, descriptor);
        bench.at(host).inject(*queue, &bytes);
        // The host knows nothing of this command: its answer ends the queue on this side.
        let end = end_of(&mut bench, "a descriptor", host, *queue);
        assert!(
            matches!(&end, Failure::Protocol(what) if what.contains("command 0007h")),
            "{end}"
        );
    }
    assert_eq!(bench.counters().errors.get() - before, 4);
    assert_answers(&mut bench, host, &controller);
    disconnect(&mut bench, host, &controller);
    bench.run(MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn a_host_with_few_receives_gets_every_answer() {
    for receives in [1, 2, 5] {
        let mut bench = Bench::new("rdma-few-receives", &On::functional());
        let live = Live::connect(&mut bench, over_rdma(1));
        let host = bench.host(2);
        live.begin(&mut bench, 500);
        let mut config = over_rdma(2);
        config.queue.rdma.receives = Some(receives);
        // Asks for 10 microseconds.
        config.queue.rdma.rnr_timer = 1;
        let (controller, namespaces) = bench.connect_with(host, &config);
        for bytes in [4096, 65_536] {
            let load = mix(&controller, &namespaces[0], bytes, 32, 150);
            bench.verified(host, load);
        }
        disconnect(&mut bench, host, &controller);
        live.end(&mut bench);
        bench.check_capture();
        live.afterwards(&mut bench, &over_rdma(3));
    }
}

#[test]
fn commands_beyond_the_receives_posted_for_them_wait_at_their_host() {
    let mut bench = Bench::new("rdma-no-credit", &On::functional());
    let live = Live::connect(&mut bench, over_rdma(1));
    let host = bench.host(2);
    live.begin(&mut bench, 1000);
    let mut config = over_rdma(2);
    config.queue.entries = 16;
    let (controller, _) = bench.connect_with(host, &config);
    bench.server.ssds[0]
        .borrow_mut()
        .inject(Some(Box::new(|seen: &Seen<'_>| {
            (seen.queue != 0).then_some(Fault::Delay(20 * MS))
        })));
    let before = bench.counters();
    let read = capsule(NvmOpcode::Read, keyed(0x1000, 0xdead_beef));
    for _ in 0..100 {
        bench.at(host).inject(controller.io[0], &read);
    }
    bench.run(10 * MS);
    let after = bench.counters();
    let taken = after.rdma_messages.get() - before.rdma_messages.get();
    let refused = after.rdma_not_ready.get() - before.rdma_not_ready.get();
    println!("{taken} messages taken, {refused} times not ready");
    // 0.64 ms, then twice as long each time: no more than five times in ten.
    assert!((3..=5).contains(&refused), "told to wait: {refused}");
    assert_answers(&mut bench, host, &controller);
    // Data for memory that it does not grant end the queue on the host's side.
    end_of(&mut bench, "the flood", host, controller.io[0]);
    bench.server.ssds[0].borrow_mut().inject(None);
    disconnect(&mut bench, host, &controller);
    live.end(&mut bench);
    bench.drop_capture("one command identifier a hundred times");
    bench.run(100 * MS);
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn packets_of_strangers_for_a_queue_pair_are_nothing_to_it() {
    let on = On::functional();
    let mut rng = ChaCha8Rng::seed_from_u64(on.seed);
    let mut bench = Bench::new("rdma-strangers", &on);
    let live = Live::connect(&mut bench, over_rdma(1));
    let host = bench.host(90);
    live.begin(&mut bench, 2000);
    let count = |b: &mut Bench| {
        b.counters().rdma_dropped.get() + u64::from(b.control_counters().rdma_strays.get())
    };
    let before = count(&mut bench);
    let mut sent = 0;
    for _ in 0..200 {
        let place = bench.at(live.host).queue_pair(live.controller.io[0]);
        let place = place.expect("connected");
        let flush = Sqe::new(NvmOpcode::Flush as u8, 7, 1);
        for (qpn, psn) in [
            (place.remote_qpn, place.send_psn),
            (place.remote_qpn, place.send_psn.wrapping_add(1) & MASK_24),
            (place.remote_qpn ^ 1 << 9, place.send_psn),
            (rng.next_u32() & MASK_24 | 2, rng.next_u32() & MASK_24),
        ] {
            let packet = Packet::new(Opcode::SendOnly, qpn, psn, flush.bytes().to_vec());
            let frame = roce::frame(&roce::host(90), &packet);
            bench.at(host).send_frame(frame);
            sent += 1;
        }
        bench.run(500);
    }
    live.end(&mut bench);
    assert!(count(&mut bench) - before >= sent, "of {sent}");
    assert_eq!(bench.counters().rdma_failed.get(), 0);
    bench.drop_capture("packets for queue pairs of others");
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn random_roce_packets_harm_nobody() {
    for seed in 40..46 {
        println!("seed {seed}");
        let on = On {
            seed,
            cores: 1 + (seed as u32 & 1),
            ..On::functional()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bench = Bench::new("rdma-random", &on);
        let live = Live::connect(&mut bench, over_rdma(1));
        let host = bench.host(90);
        live.begin(&mut bench, 1500);
        for _ in 0..300 {
            let place = bench.at(live.host).queue_pair(live.controller.io[0]);
            let qpn = place.expect("connected").remote_qpn;
            for _ in 0..5 {
                let to = [qpn, 1, rng.next_u32() & MASK_24, rng.next_u32() & 0x1f_ffff];
                let to = to[rng.next_u32() as usize % 4];
                let frame = roce::random(&mut rng, &roce::host(90), to);
                bench.at(host).send_frame(frame);
            }
            bench.run(1000);
        }
        live.end(&mut bench);
        assert_eq!(bench.counters().rdma_failed.get(), 0);
        bench.drop_capture("random packets on purpose");
        bench.run(60_000 * MS);
        live.afterwards(&mut bench, &over_rdma(3));
    }
}

/// From the host's own address and for its own queue pair, as only somebody on the way could send them.
#[test]
fn random_packets_on_a_queue_pair_end_it_alone() {
    for seed in 50..60 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bench = Bench::new(
            "rdma-random-own",
            &On {
                seed,
                ..On::functional()
            },
        );
        let live = Live::connect(&mut bench, over_rdma(1));
        let host = bench.host(2);
        live.begin(&mut bench, 1000);
        let config = ConnectConfig {
            io_queues: 8,
            ..over_rdma(2)
        };
        let (controller, _) = bench.connect_with(host, &config);
        for queue in &controller.io {
            for _ in 0..40 {
                let Some(place) = bench.at(host).queue_pair(*queue) else {
                    break;
                };
                let frame = roce::random(&mut rng, &roce::host(2), place.remote_qpn);
                bench.at(host).send_frame(frame);
                bench.run(100);
            }
        }
        // Its queues may have come to any end; what is left of them ends without a word.
        for queue in controller.io.iter().chain([&controller.admin]) {
            bench.at(host).close(*queue);
        }
        live.end(&mut bench);
        bench.drop_capture("random packets on purpose");
        bench.run(60_000 * MS);
        live.afterwards(&mut bench, &over_rdma(3));
    }
}

fn packets_with_a_wrong_icrc_are_dropped_and_counted(on: &On) {
    let mut rng = ChaCha8Rng::seed_from_u64(on.seed);
    let mut bench = Bench::new("rdma-icrc", on);
    let live = Live::connect(&mut bench, over_rdma(1));
    let host = bench.host(90);
    live.begin(&mut bench, on.ios(800));
    let before = bench.register(bar0_regs::DROP_ICRC_OFFSET);
    let count = on.ios(200) as u32;
    for _ in 0..count {
        let place = bench.at(live.host).queue_pair(live.controller.io[0]);
        let place = place.expect("connected");
        let mut payload = vec![0; 64 + rng.next_u32() as usize % 900];
        rng.fill_bytes(&mut payload);
        let packet = Packet::new(Opcode::SendOnly, place.remote_qpn, place.send_psn, payload);
        let mut frame = roce::frame(&roce::host(1), &packet);
        // Anywhere behind BTH.
        let at = 54 + rng.next_u32() as usize % (frame.len() - 54);
        frame[at] ^= 1 << (rng.next_u32() % 8);
        bench.at(host).send_frame(frame);
        bench.run(400);
    }
    let dropped = bench.register(bar0_regs::DROP_ICRC_OFFSET) - before;
    assert_eq!(dropped, count);
    live.end(&mut bench);
    bench.drop_capture("damaged packets on purpose");
    live.afterwards(&mut bench, &over_rdma(3));
}

#[test]
fn a_host_that_vanishes_with_commands_in_flight_leaves_nothing_behind() {
    for cores in [1, 2] {
        let mut bench = Bench::new("rdma-vanishes", &On::functional().cores(cores));
        let live = Live::connect(&mut bench, over_rdma(1));
        for ssd in &bench.server.ssds {
            ssd.borrow_mut().set_latency(Latency {
                read: 50_000,
                write: 50_000,
                ..Latency::ZERO
            });
        }
        let host = bench.host(2);
        for round in 0..8u64 {
            let config = ConnectConfig {
                io_queues: 2,
                kato_ms: 5_000,
                ..over_rdma(2)
            };
            let (controller, _) = bench.connect_with(host, &config);
            let event = Command::async_event();
            bench.at(host).submit(controller.admin, event);
            for lba in 0..20 {
                let io = controller.io[lba as usize % 2];
                let read = Command::read(2, lba * 8, 8, 4096);
                let write = Command::write(2, lba * 8, vec![1; 32_768], 4096);
                bench.at(host).submit(io, read);
                bench.at(host).submit(io, write);
            }
            bench.run(1000 * round);
            for queue in controller.io.iter().chain([&controller.admin]) {
                bench.at(host).reset(*queue);
            }
            live.begin(&mut bench, 300);
            live.end(&mut bench);
            bench.run(30_000 * MS);
            let (cores, _, (controllers, _)) = bench.resources().expect("the functional card");
            let pairs: u16 = cores.iter().map(|c| c.queue_pairs).sum();
            assert_eq!((controllers, pairs), (1, 2), "the live host's alone");
        }
        bench.drop_capture("a host that vanishes leaves packets without an answer");
        live.afterwards(&mut bench, &over_rdma(3));
    }
}

#[test]
fn connect_is_to_be_for_the_queue_that_the_request_announced() {
    let mut bench = Bench::new("rdma-connect", &On::functional());
    let host = bench.host(2);
    let to = ConnectConfig {
        io_queues: 0,
        ..over_rdma(2)
    };
    let controller = bench.connect(host, &to);
    let mut wanted = sluice_wire::nvme::QueueCount(0);
    wanted.set_submission_z(7);
    wanted.set_completion_z(7);
    let queues = Command::set_features(sluice_wire::nvme::feature::QUEUES, wanted.0);
    bench
        .on(host, |b| b.must("queues", controller.admin, queues))
        .expect("queues");
    let data = to.connect_data(controller.cntlid);
    for (qid, entries, good) in [
        (2, 32, false),
        (0, 32, false),
        (1, 33, false),
        (1, 1024, false),
        (1, 32, true),
        (1, 16, true),
    ] {
        let mut config = queue();
        config.rdma.cntlid = controller.cntlid;
        let io = bench
            .on(host, |b| b.open(target(), config))
            .expect("a queue pair");
        let connect = Command::connect(qid, entries, true, 0, &data);
        let got = bench.on(host, |b| b.exec("Connect", io, connect));
        let status = got.ok().and_then(|c| c.status());
        if good {
            assert_eq!(
                status,
                Some(Status::SUCCESS),
                "QID {qid}, {entries} entries"
            );
        } else {
            assert_eq!(
                status.map(Status::kind),
                Some(Status::CONNECT_INVALID),
                "QID {qid}, {entries} entries"
            );
        }
        bench.at(host).close(io);
        bench.run(10 * MS);
    }
    disconnect(&mut bench, host, &controller);
    bench.run(10 * MS);
    bench.check_capture();
    bench.assert_all_given_back();
}
