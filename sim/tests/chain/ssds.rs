//! SSDs that fail, fall silent or are pulled out: clean errors, the others go on, nothing acknowledged and flushed is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sluice_driver::bringup::Notice;
use sluice_driver::card::CardEvent;
use sluice_sim::initiator::{Command, Completion, Outcome, Transport, WorkloadConfig, pattern};
use sluice_sim::link::LinkConfig;
use sluice_sim::ssd::{Fault, Gone, Injector, MSIX_TABLE, Seen};
use sluice_sim::world::ssd_device;
use sluice_wire::mgmt::Event;
use sluice_wire::nvme::Status;

use crate::common::{Bench, MS, On, mix, named, to_demo};

crate::on_both_cards! { a_failed_read_reaches_the_host_as_the_ssd_said_it }

crate::over_both_transports! {
    an_ssd_that_stops_answering_is_reset_and_the_other_one_goes_on,
    an_ssd_that_reports_a_fatal_status_is_reset,
    an_ssd_pulled_out_under_load_gives_clean_errors_and_comes_back_with_what_was_flushed,
    no_write_acknowledged_and_flushed_is_lost_over_resets,
    an_ssd_that_is_merely_slow_is_left_alone,
}

const READ: u8 = 2;
const WRITE: u8 = 1;

/// The default configuration with SSDs that have 20 ms for a command.
fn impatient(name: &str) -> Bench {
    let default = sluice_sim::scenario::server::DEFAULT_CONFIG;
    let config = default
        .replace("name = \"ssd0\"", "name = \"ssd0\"\ntimeout_ms = 20")
        .replace("name = \"ssd1\"", "name = \"ssd1\"\ntimeout_ms = 20");
    Bench::with(
        name,
        &On::functional().setup(&config),
        &LinkConfig::default(),
    )
}

/// I/O commands with this opcode get this fault.
fn always(opcode: u8, fault: Fault) -> Injector {
    Box::new(move |seen: &Seen<'_>| {
        (seen.queue != 0 && seen.command.opcode == opcode).then_some(fault)
    })
}

fn a_failed_read_reaches_the_host_as_the_ssd_said_it(on: &On) {
    let mut bench = Bench::new("media-errors", on);
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).with_digests(true, true));
    let (io, ns) = (controller.io[0], namespaces[1]);
    let before = bench.counters().errors.get();
    let cases = [
        (READ, Status::READ_ERROR),
        (READ, Status::GUARD_CHECK.no_retry()),
        (WRITE, Status::WRITE_FAULT.no_retry()),
        (WRITE, Status::CAPACITY_EXCEEDED.no_retry()),
    ];
    for (opcode, status) in cases {
        bench.server.ssds[1]
            .borrow_mut()
            .inject(Some(always(opcode, Fault::Status(status))));
        for bytes in [4096usize, 131_072] {
            let blocks = (bytes / ns.block_size) as u32;
            let command = match opcode {
                READ => Command::read(ns.nsid, 0, blocks, ns.block_size),
                _ => Command::write(ns.nsid, 0, vec![1; bytes], ns.block_size),
            };
            let got = bench
                .on(host, |b| b.exec("failing", io, command))
                .expect("an answer");
            assert_eq!(got.status(), Some(status), "opcode {opcode}, {bytes} bytes");
            assert!(got.data.is_empty(), "no data with an error");
        }
        bench.server.ssds[1].borrow_mut().inject(None);
        bench.verified(host, mix(&controller, &ns, 4096, 4, on.ios(40)));
    }
    let failed = bench.counters().errors.get() - before;
    assert_eq!(
        failed,
        2 * cases.len() as u64,
        "each failed command is counted"
    );
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
    bench.assert_all_given_back();
}

/// What became of commands: right data, or an error that is clean.
fn outcome(done: &Completion, lba: u64, read: bool) -> bool {
    match &done.outcome {
        Outcome::Done(cqe) if cqe.status().is_ok() => {
            if read {
                pattern::check(&done.data, lba, 512, 1).unwrap_or_else(|e| panic!("{e}"));
            }
            true
        }
        Outcome::Done(cqe) => {
            let kind = cqe.status().kind();
            assert!(
                [
                    Status::INTERNAL_PATH,
                    Status::INTERNAL,
                    Status::INVALID_NAMESPACE
                ]
                .contains(&kind),
                "{:?}",
                cqe.status()
            );
            false
        }
        Outcome::Lost(failure) => panic!("the connection must live: {failure}"),
    }
}

fn an_ssd_that_stops_answering_is_reset_and_the_other_one_goes_on(over: Transport) {
    let mut bench = impatient(&named("ssd-hangs", over));
    let (host, other) = (bench.host(1), bench.host(2));
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
    let (untouched, _) = bench.connect_with(other, &to_demo(2).over(over).with_digests(true, true));
    let io = controller.io[0];
    bench.on(host, |b| {
        b.write_pattern(io, &namespaces[0], 0, 256, 1)
            .expect("write");
        b.must("flush", io, Command::flush(1)).expect("flush");
    });
    bench.server.ssds[0]
        .borrow_mut()
        .inject(Some(always(READ, Fault::Hang)));
    let ids: Vec<_> = (0..16)
        .map(|i| bench.at(host).submit(io, Command::read(1, i * 8, 8, 512)))
        .collect();
    bench
        .at(other)
        .attach(sluice_sim::initiator::Workload::new(WorkloadConfig {
            first_block: 1024,
            ..mix(&untouched, &namespaces[1], 4096, 8, 3000)
        }));
    let seen = bench.until_notice(100 * MS, |n| {
        matches!(n, Notice::SsdReset { .. } | Notice::SsdLost { .. })
    });
    assert_eq!(seen, Notice::SsdReset { ssd: 0 });
    bench.server.ssds[0].borrow_mut().inject(None);
    bench.run(MS);
    for (i, id) in ids.into_iter().enumerate() {
        let done = bench
            .at(host)
            .take_completion_of(id)
            .expect("every command is answered");
        assert!(!outcome(&done, i as u64 * 8, true), "it hung: {done:?}");
    }
    let stats = bench.finish_loads(&[other]).remove(0);
    assert_eq!(stats.errors, [""; 0], "the other SSD's host noticed");
    // The same connection, the same namespace: it serves again, and what was flushed is there.
    bench
        .on(host, |b| b.verify_pattern(io, &namespaces[0], 0, 256, 1))
        .expect("data");
    bench.verified(
        host,
        WorkloadConfig {
            first_block: 512,
            ..mix(&controller, &namespaces[0], 4096, 8, 200)
        },
    );
    assert!(bench.counters().ssd_timeouts.get() > 0);
    for (host, controller) in [(host, &controller), (other, &untouched)] {
        bench
            .on(host, |b| b.disconnect(controller))
            .expect("disconnect");
    }
    bench.run(MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

fn an_ssd_that_reports_a_fatal_status_is_reset(over: Transport) {
    let mut bench = impatient(&named("ssd-fatal", over));
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
    let io = controller.io[0];
    let struck = Arc::new(AtomicBool::new(false));
    let once = struck.clone();
    bench.server.ssds[0]
        .borrow_mut()
        .inject(Some(Box::new(move |seen: &Seen<'_>| {
            (seen.queue != 0 && !once.swap(true, Ordering::Relaxed)).then_some(Fault::Fatal)
        })));
    let ids: Vec<_> = (0..8)
        .map(|i| bench.at(host).submit(io, Command::read(1, i * 8, 8, 512)))
        .collect();
    bench.until_notice(100 * MS, |n| *n == Notice::SsdReset { ssd: 0 });
    assert!(struck.load(Ordering::Relaxed));
    bench.run(MS);
    for id in ids {
        let done = bench
            .at(host)
            .take_completion_of(id)
            .expect("every command is answered");
        assert!(matches!(done.outcome, Outcome::Done(_)), "{done:?}");
    }
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 8, 200));
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
    bench.assert_all_given_back();
}

fn an_ssd_pulled_out_under_load_gives_clean_errors_and_comes_back_with_what_was_flushed(
    over: Transport,
) {
    for gone in [Gone::BusError, Gone::Silent] {
        let mut bench = impatient(&named(&format!("ssd-vanishes-{gone:?}"), over));
        let (host, other) = (bench.host(1), bench.host(2));
        let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
        let (untouched, _) = bench.connect_with(other, &to_demo(2).over(over));
        let io = controller.io[0];
        // Flushed: blocks 0 to 255. Acknowledged only: the next 256.
        bench.on(host, |b| {
            b.write_pattern(io, &namespaces[0], 0, 256, 1)
                .expect("write");
            b.must("flush", io, Command::flush(1)).expect("flush");
            b.write_pattern(io, &namespaces[0], 256, 256, 1)
                .expect("write");
        });
        let ids: Vec<_> = (0..32u64)
            .map(|i| {
                let command = match i % 2 {
                    0 => Command::read(1, i * 8, 8, 512),
                    _ => Command::write(1, 4096 + i * 256, vec![9; 131_072], 512),
                };
                bench.at(host).submit(io, command)
            })
            .collect();
        bench.run(3_000);
        bench.server.ssds[0].borrow_mut().vanish(gone);
        bench
            .at(other)
            .attach(sluice_sim::initiator::Workload::new(mix(
                &untouched,
                &namespaces[1],
                4096,
                8,
                2000,
            )));
        let notice = bench.until_notice(100 * MS, |n| {
            matches!(n, Notice::SsdReset { .. } | Notice::SsdLost { .. })
        });
        assert!(
            matches!(notice, Notice::SsdLost { ssd: 0, .. }),
            "{notice:?}"
        );
        bench.run(MS);
        let mut failed = 0;
        for (i, id) in ids.into_iter().enumerate() {
            let done = bench
                .at(host)
                .take_completion_of(id)
                .expect("every command is answered");
            failed += u32::from(!outcome(&done, i as u64 * 8, i % 2 == 0));
        }
        assert!(failed > 0, "it vanished mid-I/O");
        let stats = bench.finish_loads(&[other]).remove(0);
        assert_eq!(stats.errors, [""; 0], "the other SSD's host noticed");
        bench.on(host, |b| {
            assert_eq!(
                b.active_namespaces(controller.admin).expect("namespaces"),
                [2],
                "hosts are told"
            );
        });
        bench.server.ssds[0].borrow_mut().reappear();
        let device = ssd_device(&bench.server.world, 0, MSIX_TABLE, 33);
        bench
            .server
            .rig
            .ssd_back(0, device)
            .expect("the SSD serves again");
        bench.on(host, |b| {
            assert_eq!(
                b.active_namespaces(controller.admin).expect("namespaces"),
                [1, 2]
            );
            b.verify_pattern(io, &namespaces[0], 0, 256, 1)
                .expect("what was flushed");
        });
        bench.verified(
            host,
            WorkloadConfig {
                first_block: 65_536,
                ..mix(&controller, &namespaces[0], 4096, 8, 100)
            },
        );
        for (host, controller) in [(host, &controller), (other, &untouched)] {
            bench
                .on(host, |b| b.disconnect(controller))
                .expect("disconnect");
        }
        bench.run(MS);
        bench.check_capture();
        bench.assert_all_given_back();
    }
}

fn no_write_acknowledged_and_flushed_is_lost_over_resets(over: Transport) {
    let mut bench = impatient(&named("flushed-writes", over));
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
    let (io, ns) = (controller.io[0], namespaces[0]);
    let mut durable = vec![];
    for round in 0..4u64 {
        // The SSD hangs on the n-th write of the round; each write is followed by a flush.
        let writes = Arc::new(AtomicU32::new(0));
        let count = writes.clone();
        bench.server.ssds[0]
            .borrow_mut()
            .inject(Some(Box::new(move |seen: &Seen<'_>| {
                let counts = seen.queue != 0 && seen.command.opcode == WRITE;
                (counts && count.fetch_add(1, Ordering::Relaxed) >= 5).then_some(Fault::Hang)
            })));
        let mut asked = vec![];
        for i in 0..10 {
            let lba = (round * 10 + i) * 64;
            let data = pattern::make(lba, 64, 512, round + 1);
            asked.push((
                lba,
                bench.at(host).submit(io, Command::write(1, lba, data, 512)),
            ));
        }
        bench.run(MS);
        let done: Vec<u64> = asked
            .iter()
            .filter_map(|(lba, id)| bench.at(host).take_completion_of(*id).map(|c| (*lba, c)))
            .map(|(lba, c)| {
                assert!(c.is_ok(), "{c:?}");
                lba
            })
            .collect();
        assert_eq!(done.len(), 5, "the others hang");
        bench
            .on(host, |b| b.must("flush", io, Command::flush(1)))
            .expect("flush");
        durable.extend(done.into_iter().map(|lba| (lba, round + 1)));
        bench.until_notice(200 * MS, |n| *n == Notice::SsdReset { ssd: 0 });
        bench.run(MS);
        bench.server.ssds[0].borrow_mut().inject(None);
        for (lba, generation) in &durable {
            bench
                .on(host, |b| b.verify_pattern(io, &ns, *lba, 64, *generation))
                .expect("flushed data");
        }
    }
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
    bench.assert_all_given_back();
}

fn an_ssd_that_is_merely_slow_is_left_alone(over: Transport) {
    let mut bench = impatient(&named("ssd-slow", over));
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
    // 10 of its 20 ms.
    bench.server.ssds[0]
        .borrow_mut()
        .inject(Some(Box::new(|seen: &Seen<'_>| {
            (seen.queue != 0).then_some(Fault::Delay(10 * MS))
        })));
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 40));
    let notice = bench
        .server
        .notice(std::time::Duration::ZERO)
        .expect("the card answers");
    let timeout = |n: &Notice| {
        matches!(
            n,
            Notice::Card(CardEvent::Known(Event::SsdTimeout, _)) | Notice::SsdReset { .. }
        )
    };
    assert!(!notice.is_some_and(|n| timeout(&n)), "it was in time");
    assert_eq!(bench.counters().ssd_timeouts.get(), 0);
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
}
