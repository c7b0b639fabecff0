//! Hosts and strangers that do everything wrong, while a live host works on undisturbed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_sim::initiator::{
    Command, Config, ConnectConfig, Failure, Outcome, QueueState, RawId, WorkloadConfig, pdu,
};
use sluice_wire::crc32c::crc32c;
use sluice_wire::nvme::Status;
use sluice_wire::nvme_tcp::Fes;

use crate::common::{Bench, MS, On, frames, live::Live, mix, target, to_demo};

crate::on_both_cards! {
    a_syn_flood_does_not_disturb_a_live_host,
    bad_frames_are_dropped_and_counted,
    every_malformed_pdu_ends_its_connection_alone,
}

/// How the host connects that works on during the trouble.
fn live_config() -> ConnectConfig {
    to_demo(1).with_digests(true, true)
}

fn a_syn_flood_does_not_disturb_a_live_host(on: &On) {
    let mut rng = ChaCha8Rng::seed_from_u64(on.seed);
    let mut bench = Bench::new("syn-flood", on);
    let live = Live::connect(&mut bench, live_config());
    let stranger = bench.add(&Config {
        mac: [2, 0, 0, 0, 9, 9],
        ..Config::numbered(90)
    });
    live.begin(&mut bench, on.ios(1500));
    let (rounds, burst) = (on.ios(300), on.ios(50));
    for round in 1..=rounds {
        // A steady rain, and now and then more at once than the descriptor queue takes.
        for _ in 0..if round % burst == 0 { 100 } else { 10 } {
            bench.at(stranger).send_frame(frames::syn(&mut rng));
        }
        bench.run(500);
    }
    live.end(&mut bench);
    // In the middle of it all, with every half-open place taken, someone new comes.
    for _ in 0..50 {
        bench.at(stranger).send_frame(frames::syn(&mut rng));
    }
    let second = bench.host(2);
    let controller = bench.connect(second, &to_demo(2));
    bench
        .on(second, |b| b.disconnect(&controller))
        .expect("disconnect");
    // Every SYN and every answer to one is well-formed, so tshark judges all of it.
    bench.check_capture();
    // Half-open connections are given up after their retries.
    bench.run(on.pause(60_000 * MS));
    live.afterwards(&mut bench, &to_demo(3));
}

fn bad_frames_are_dropped_and_counted(on: &On) {
    println!("seed {}", on.seed);
    let mut rng = ChaCha8Rng::seed_from_u64(on.seed);
    let mut bench = Bench::new("bad-frames", on);
    let live = Live::connect(&mut bench, live_config());
    let stranger = bench.host(90);
    live.begin(&mut bench, on.ios(800));
    let each = on.ios(40);
    for kind in 0..frames::KINDS {
        let before = bench.dropped_frames();
        for _ in 0..each {
            bench.at(stranger).send_frame(frames::bad(kind, &mut rng));
        }
        bench.run(MS / 5);
        let dropped = bench.dropped_frames() - before;
        assert_eq!(dropped, each, "frames of kind {kind}");
    }
    live.end(&mut bench);
    bench.drop_capture("bad frames on purpose");
    live.afterwards(&mut bench, &to_demo(3));
}

#[test]
fn random_frames_harm_nobody() {
    for seed in 20..23 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bench = Bench::new(
            "random-frames",
            &On {
                seed,
                ..On::functional()
            },
        );
        let live = Live::connect(&mut bench, live_config());
        let stranger = bench.host(90);
        live.begin(&mut bench, 800);
        for _ in 0..300 {
            for _ in 0..5 {
                bench.at(stranger).send_frame(frames::garbage(&mut rng));
            }
            bench.run(1000);
        }
        live.end(&mut bench);
        bench.drop_capture("random bytes on purpose");
        bench.run(60_000 * MS);
        live.afterwards(&mut bench, &to_demo(3));
    }
}

/// A raw connection that has sent ICReq and `bytes`.
fn say(bench: &mut Bench, host: usize, hello: Option<(bool, bool)>, bytes: &[u8]) -> RawId {
    let raw = bench
        .at(host)
        .open_raw(target())
        .expect("a connection begins");
    if let Some((header, data)) = hello {
        bench
            .at(host)
            .raw_send(raw, &pdu::ic_req(header, data, 0, 1));
    }
    bench.at(host).raw_send(raw, bytes);
    raw
}

/// The C2HTermReq at the end of what came on a raw connection: FES and FEI.
fn term_req(received: &[u8], after_hello: bool) -> Option<(u16, u32)> {
    let rest = received.get(if after_hello { 128 } else { 0 }..)?;
    match pdu::parse(rest, &pdu::Terms::PLAIN) {
        Ok(pdu::Pdu::TermReq { fes, fei }) => Some((fes, fei)),
        _ => None,
    }
}

/// A CapsuleCmd whose bytes are then changed.
fn changed(at: usize, value: u8) -> Vec<u8> {
    let mut pdu = pdu::command(&[0; 64], &[], &pdu::Terms::PLAIN);
    pdu[at] = value;
    pdu
}

/// An ICReq changed in the same way.
fn hello(at: usize, value: u8) -> Vec<u8> {
    let mut pdu = pdu::ic_req(false, false, 0, 1);
    pdu[at] = value;
    pdu
}

fn fes(fes: Fes) -> u16 {
    fes as u16
}

fn every_malformed_pdu_ends_its_connection_alone(on: &On) {
    let mut bench = Bench::new("malformed", on);
    let live = Live::connect(&mut bench, live_config());
    let host = bench.host(2);
    live.begin(&mut bench, on.ios(1500));
    let big = vec![0; 20_000];
    let capsule = pdu::command(&[0; 64], &big, &pdu::Terms::PLAIN);
    let unasked = pdu::h2c_data(0, 0, 0, &[1; 512], true, &pdu::Terms::PLAIN);
    let (field, order) = (fes(Fes::InvalidHeaderField), fes(Fes::PduSequence));
    let after_hello = [
        ("an unknown type", changed(0, 0x55), field, 0),
        ("a type of the controller's", changed(0, 0x07), field, 0),
        ("a second ICReq", pdu::ic_req(true, true, 0, 1), order, 0),
        (
            "a digest flag that was not agreed on",
            changed(1, 1),
            field,
            1,
        ),
        ("HLEN of another type", changed(2, 24), field, 2),
        ("PLEN below the header", changed(4, 71), field, 3),
        (
            "PDO inside the header",
            [&changed(4, 80)[..], &[0; 8]].concat(),
            field,
            3,
        ),
        (
            "more in the capsule than was offered",
            capsule,
            fes(Fes::LimitExceeded),
            0,
        ),
        ("data nobody asked for", unasked, field, 10),
    ];
    for (what, bytes, fes, fei) in after_hello {
        expect_term_req(
            &mut bench,
            host,
            what,
            Some((false, false)),
            &bytes,
            (fes, fei),
        );
    }
    let instead_of_hello = [
        ("a command before ICReq", changed(0, 4), order, 0),
        ("HLEN of ICReq", hello(2, 100), field, 2),
        ("PLEN of ICReq", hello(4, 127), field, 4),
        (
            "an unknown PFV",
            hello(8, 9),
            fes(Fes::UnsupportedParameter),
            8,
        ),
        ("HPDA above 31", hello(10, 32), field, 10),
    ];
    for (what, bytes, fes, fei) in instead_of_hello {
        expect_term_req(&mut bench, host, what, None, &bytes, (fes, fei));
    }
    live.end(&mut bench);
    let counted = bench.counters().term_reqs.get();
    assert_eq!(
        counted,
        (after_hello_len() + 5) as u64,
        "each is counted once"
    );
    bench.drop_capture("malformed PDUs on purpose");
    live.afterwards(&mut bench, &to_demo(3));
}

const fn after_hello_len() -> usize {
    9
}

fn expect_term_req(
    bench: &mut Bench,
    host: usize,
    what: &str,
    digests: Option<(bool, bool)>,
    bytes: &[u8],
    wanted: (u16, u32),
) {
    let raw = say(bench, host, digests, bytes);
    bench.until(what, 5_000 * MS, |b| b.at(host).raw_ended(raw).is_some());
    let received = bench.at(host).raw_received(raw).to_vec();
    let got = term_req(&received, digests.is_some());
    assert_eq!(got, Some(wanted), "{what}: {} bytes came", received.len());
    bench.at(host).raw_close(raw);
    bench.run(MS / 10);
}

#[test]
fn a_termination_by_the_host_ends_its_connection_alone() {
    let mut bench = Bench::new("host-terminates", &On::functional());
    let live = Live::connect(&mut bench, live_config());
    let host = bench.host(2);
    live.begin(&mut bench, 500);
    let (controller, _) = bench.connect_with(host, &to_demo(2));
    let before = bench.counters().term_reqs.get();
    bench
        .at(host)
        .inject(controller.io[0], &pdu::term_req(2, 0, &[4; 72]));
    bench.until("the end", 1_000 * MS, |b| {
        matches!(b.at(host).state(controller.io[0]), QueueState::Failed(_))
    });
    let state = bench.at(host).state(controller.io[0]).clone();
    assert!(
        matches!(state, QueueState::Failed(Failure::Connection(_))),
        "{state:?}"
    );
    assert_eq!(bench.counters().term_reqs.get() - before, 1);
    // The association's other queue is alive.
    bench
        .on(host, |b| b.active_namespaces(controller.admin))
        .expect("the admin queue answers");
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    live.end(&mut bench);
    bench.check_capture();
    live.afterwards(&mut bench, &to_demo(3));
}

#[test]
fn a_wrong_data_digest_fails_its_command_alone() {
    let mut bench = Bench::new("data-digest", &On::functional());
    let live = Live::connect(&mut bench, live_config());
    let host = bench.host(2);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(2).with_digests(false, true));
    let (io, ns) = (controller.io[0], namespaces[1]);
    live.begin(&mut bench, 500);
    // In the capsule, and on request.
    for (round, bytes) in [4096usize, 65_536, 131_072].into_iter().enumerate() {
        let (lba, blocks) = (1000, (bytes / 4096) as u32);
        bench.on(host, |b| {
            b.write_pattern(io, &ns, lba, blocks, 1).expect("write");
            b.initiator.spoil_data_digest(io);
            let spoilt = Command::write(ns.nsid, lba, vec![0xee; bytes], ns.block_size);
            let got = b
                .exec("spoilt write", io, spoilt)
                .expect("the connection lives");
            assert_eq!(
                got.status().map(Status::kind),
                Some(Status::TRANSIENT_TRANSPORT)
            );
            b.verify_pattern(io, &ns, lba, blocks, 1)
                .expect("nothing was written");
        });
        assert_eq!(bench.counters().data_digest_errors.get(), round as u64 + 1);
    }
    bench.verified(
        host,
        WorkloadConfig {
            first_block: 4096,
            ..mix(&controller, &ns, 4096, 8, 100)
        },
    );
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    live.end(&mut bench);
    bench.drop_capture("wrong data digests on purpose");
    live.afterwards(&mut bench, &to_demo(3));
}

#[test]
fn a_wrong_header_digest_ends_its_connection() {
    let mut bench = Bench::new("header-digest", &On::functional());
    let live = Live::connect(&mut bench, live_config());
    let host = bench.host(2);
    let (controller, _) = bench.connect_with(host, &to_demo(2).with_digests(true, true));
    let io = controller.io[0];
    live.begin(&mut bench, 500);
    let terms = bench.at(host).terms(io);
    let mut bad = pdu::command(&[0; 64], &[], &terms);
    let digest = crc32c(&bad[..72]) ^ 1;
    bad[72] ^= 1;
    let pending = bench.at(host).submit(io, Command::read(2, 0, 8, 4096));
    bench.at(host).inject(io, &bad);
    bench.until("the end", 1_000 * MS, |b| {
        matches!(b.at(host).state(io), QueueState::Failed(_))
    });
    let state = bench.at(host).state(io).clone();
    let wanted = Failure::TermReq {
        fes: Fes::HeaderDigest as u16,
        fei: digest,
    };
    assert_eq!(state, QueueState::Failed(wanted));
    let ended = bench
        .at(host)
        .take_completion_of(pending)
        .expect("the read ended");
    assert!(matches!(ended.outcome, Outcome::Lost(_)) || ended.is_ok());
    assert_eq!(bench.counters().header_digest_errors.get(), 1);
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("the admin queue lives");
    live.end(&mut bench);
    bench.drop_capture("a wrong header digest on purpose");
    live.afterwards(&mut bench, &to_demo(3));
}

#[test]
fn random_streams_harm_nobody() {
    for seed in 30..36 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bench = Bench::new(
            "random-streams",
            &On {
                seed,
                ..On::functional()
            },
        );
        let live = Live::connect(&mut bench, live_config());
        let host = bench.host(2);
        live.begin(&mut bench, 500);
        let mut raws = vec![];
        for _ in 0..30 {
            let digests = (rng.next_u32() & 1 != 0, rng.next_u32() & 1 != 0);
            let mut noise = vec![0; rng.next_u32() as usize % 4000];
            rng.fill_bytes(&mut noise);
            // Half of them begin like a command, so that the noise gets further.
            if rng.next_u32() & 1 != 0 {
                let terms = pdu::Terms {
                    header_digest: digests.0,
                    data_digest: digests.1,
                    ..pdu::Terms::PLAIN
                };
                let mut sqe = [0; 64];
                rng.fill_bytes(&mut sqe);
                sqe[0] = [0x7f, 1, 2, 6][rng.next_u32() as usize % 4];
                sqe[4] = rng.next_u32() as u8 % 8;
                let data = &noise[..noise.len() & 0xffc];
                noise = [pdu::command(&sqe, data, &terms), noise.clone()].concat();
            }
            raws.push(say(&mut bench, host, Some(digests), &noise));
            bench.run(5_000);
        }
        bench.run(50 * MS);
        for raw in raws {
            bench.at(host).raw_reset(raw);
        }
        live.end(&mut bench);
        bench.drop_capture("random streams on purpose");
        bench.run(10 * MS);
        live.afterwards(&mut bench, &to_demo(3));
    }
}

#[test]
fn a_host_that_stops_reading_is_waited_for_and_others_go_on() {
    let mut bench = Bench::new("stops-reading", &On::functional());
    let live = Live::connect(&mut bench, live_config());
    let mut held = vec![];
    for n in 10..16 {
        let host = bench.add(&Config {
            tcp_buffer: 16 << 10,
            ..Config::numbered(n)
        });
        let (controller, _) =
            bench.connect_with(host, &to_demo(n).with_digests(n & 1 != 0, n & 2 != 0));
        let io = controller.io[0];
        bench.at(host).hold(io, false);
        let ids: Vec<_> = (0..100u64)
            .map(|i| {
                bench
                    .at(host)
                    .submit(io, Command::read(1, i * 256, 256, 512))
            })
            .collect();
        bench.run(100);
        bench.at(host).hold(io, true);
        held.push((host, controller, ids));
    }
    live.begin(&mut bench, 2000);
    live.end(&mut bench);
    // Long enough for window probes.
    bench.run(8_000 * MS);
    live.begin(&mut bench, 500);
    live.end(&mut bench);
    for (host, controller, _) in &held {
        bench.at(*host).hold(controller.io[0], false);
    }
    for (host, controller, ids) in held {
        let mut left = ids;
        bench.until("what was read", 60_000 * MS, |b| {
            left.retain(|id| match b.at(host).take_completion_of(*id) {
                Some(done) => {
                    let interrupted = done
                        .status()
                        .is_some_and(|s| s.kind() == Status::INTERRUPTED);
                    assert!(done.is_ok() || interrupted, "{:?}", done.outcome);
                    false
                }
                None => true,
            });
            left.is_empty()
        });
        bench
            .on(host, |b| b.disconnect(&controller))
            .expect("disconnect");
    }
    bench.check_capture();
    live.afterwards(&mut bench, &to_demo(3));
}

#[test]
fn a_host_that_never_reads_again_is_given_up_in_the_end_with_its_keep_alive() {
    let mut bench = Bench::new("never-reads", &On::functional());
    let live = Live::connect(&mut bench, live_config());
    let host = bench.add(&Config {
        tcp_buffer: 16 << 10,
        ..Config::numbered(10)
    });
    let config = sluice_sim::initiator::ConnectConfig {
        kato_ms: 1000,
        ..to_demo(10)
    };
    let (controller, _) = bench.connect_with(host, &config);
    for i in 0..100u64 {
        bench
            .at(host)
            .submit(controller.io[0], Command::read(1, i * 256, 256, 512));
    }
    bench.run(1000);
    bench.at(host).hold(controller.io[0], true);
    bench.at(host).stop_keep_alive(controller.admin);
    live.begin(&mut bench, 1000);
    live.end(&mut bench);
    bench.run(5_000 * MS);
    if let Some((cores, ..)) = bench.resources() {
        assert_eq!(cores[0].connections, 2, "only the live host's are left");
    }
    bench.drop_capture("the held host's side ends with segments to closed connections");
    live.afterwards(&mut bench, &to_demo(3));
}
