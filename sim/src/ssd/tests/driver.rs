//! The host driver brings up the SSD model, and says clearly why not when it cannot.

use sluice_driver::nvme::SsdError;
use sluice_wire::nvme::{AdminOpcode, Status};

use super::bench::{PM_BUS, World, open, world};
use crate::ssd::{Fault, Gone, Latency, NamespaceSpec, SsdConfig};

/// Everything about admin commands with this opcode goes wrong.
fn spoil(world: &mut World, opcode: AdminOpcode, fault: Fault) {
    world.ssd.inject(Some(Box::new(move |seen| {
        (seen.queue == 0 && seen.command.opcode == opcode as u8).then_some(fault)
    })));
}

#[test]
fn bring_up_learns_what_the_ssd_is() {
    let namespaces = vec![
        NamespaceSpec::memory(64 << 20, 12),
        NamespaceSpec::memory(32 << 20, 9),
    ];
    let latency = Latency {
        other: 500,
        jitter: 100,
        ..Latency::ZERO
    };
    let w = world(SsdConfig {
        namespaces,
        mdts: 5,
        dstrd: 2,
        latency,
        ..SsdConfig::default()
    });
    let ssd = open(&w, 4).expect("healthy");
    let info = ssd.info();
    assert_eq!(
        (info.serial.as_str(), info.model.as_str()),
        ("SLUICESIM0001", "Sluice simulated SSD")
    );
    assert_eq!(
        (info.max_transfer, info.max_entries, info.oncs),
        (128 << 10, 1024, 0b1111)
    );
    let shapes: Vec<_> = info
        .namespaces
        .iter()
        .map(|n| (n.nsid, n.blocks, n.block_shift))
        .collect();
    assert_eq!(shapes, [(1, 16384, 12), (2, 65536, 9)]);
    assert_ne!(info.namespaces[0].uuid, info.namespaces[1].uuid);
    assert_ne!(info.namespaces[0].nguid, [0; 16]);
    assert_eq!(ssd.doorbells(), Ok((0xD000_1000, 16)));
    assert_eq!(ssd.granted_queues(), 32);
}

#[test]
fn polling_works_as_interrupts_do() {
    let w = world(SsdConfig::default());
    let options = sluice_driver::nvme::SsdOptions {
        interrupts: false,
        ..Default::default()
    };
    let mut ssd =
        sluice_driver::nvme::Ssd::open(super::bench::device(&w), options).expect("healthy");
    // More commands than the admin queue has entries: both queues wrap.
    for _ in 0..100 {
        assert_eq!(ssd.smart().expect("healthy").spare, 100);
    }
    assert_eq!(w.borrow().ssd.stats().interrupts, 0);
}

#[test]
fn queues_are_created_in_packet_memory_and_deleted() {
    let w = world(SsdConfig::default());
    let mut ssd = open(&w, 2).expect("healthy");
    for qid in 1..=2_u16 {
        let at = PM_BUS + 0x5C_0000 + u64::from(qid) * 0x4000;
        ssd.create_queue_pair(qid, at, at + 0x2000, 128)
            .expect("valid");
    }
    assert_eq!(ssd.queues(), [1, 2]);
    let again = ssd.create_queue_pair(2, PM_BUS, PM_BUS + 4096, 16);
    assert!(
        matches!(again, Err(SsdError::Command { status, .. }) if status.kind() == Status::INVALID_QUEUE_ID)
    );
    ssd.delete_queue_pair(1).expect("exists");
    assert!(matches!(
        ssd.delete_queue_pair(1),
        Err(SsdError::Command { .. })
    ));
    ssd.shutdown().expect("healthy");
}

#[test]
fn impossible_queues_are_refused_before_or_by_the_ssd() {
    let w = world(SsdConfig {
        queue_entries: 64,
        io_queues: 1,
        ..SsdConfig::default()
    });
    let mut ssd = open(&w, 8).expect("healthy");
    assert!(matches!(
        ssd.create_queue_pair(2, PM_BUS, PM_BUS, 16),
        Err(SsdError::Queues { granted: 1, .. })
    ));
    assert!(matches!(
        ssd.create_queue_pair(1, PM_BUS, PM_BUS, 65),
        Err(SsdError::QueueEntries { max: 64, .. })
    ));
    let misaligned = ssd.create_queue_pair(1, PM_BUS, PM_BUS + 8, 16);
    assert!(
        matches!(misaligned, Err(SsdError::Command { status, .. }) if status.kind() == Status::PRP_OFFSET)
    );
    assert!(ssd.queues().is_empty());
}

#[test]
fn a_submission_queue_that_fails_takes_its_completion_queue_with_it() {
    let w = world(SsdConfig::default());
    let mut ssd = open(&w, 1).expect("healthy");
    spoil(
        &mut w.borrow_mut(),
        AdminOpcode::CreateSq,
        Fault::Status(Status::INTERNAL),
    );
    assert!(ssd.create_queue_pair(1, PM_BUS, PM_BUS + 4096, 16).is_err());
    w.borrow_mut().ssd.inject(None);
    ssd.create_queue_pair(1, PM_BUS, PM_BUS + 4096, 16)
        .expect("nothing was left behind");
}

#[test]
fn an_ssd_that_never_gets_ready_is_reported_with_its_status() {
    let w = world(SsdConfig {
        ready_delay: u64::MAX / 2,
        ..SsdConfig::default()
    });
    let error = open(&w, 1).expect_err("never ready");
    assert!(
        matches!(error, SsdError::NotInTime { csts: 0, .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("CSTS.RDY to become 1"),
        "{error}"
    );
}

#[test]
fn fatal_silent_failing_and_missing_ssds_are_told_apart() {
    let identify = AdminOpcode::Identify;
    let attempt = |fault| {
        let w = world(SsdConfig::default());
        spoil(&mut w.borrow_mut(), identify, fault);
        open(&w, 1).expect_err("faulty")
    };
    assert!(matches!(
        attempt(Fault::Fatal),
        SsdError::Fatal { csts: 3, .. }
    ));
    assert!(matches!(
        attempt(Fault::Hang),
        SsdError::Silent {
            command: "Identify",
            ..
        }
    ));
    assert!(matches!(attempt(Fault::Vanish), SsdError::Gone { .. }));
    let failed = attempt(Fault::Status(Status::INTERNAL));
    assert!(matches!(
        failed,
        SsdError::Command {
            command: "Identify",
            status: Status::INTERNAL,
            ..
        }
    ));
    for gone in [Gone::BusError, Gone::Silent] {
        let w = world(SsdConfig::default());
        w.borrow_mut().ssd.vanish(gone);
        let error = open(&w, 1).expect_err("missing");
        assert!(error.is_gone(), "{error}");
    }
}

#[test]
fn duplicate_and_phantom_completions_do_not_confuse_the_driver() {
    for fault in [
        Fault::Duplicate,
        Fault::Phantom(0x7777),
        Fault::Delay(100_000),
    ] {
        let w = world(SsdConfig::default());
        w.borrow_mut()
            .ssd
            .inject(Some(Box::new(move |_| Some(fault))));
        let mut ssd = open(&w, 1).expect("survives");
        assert_eq!(ssd.info().namespaces.len(), 1);
        assert!(ssd.smart().is_ok(), "{fault:?}");
    }
}

#[test]
fn an_ssd_that_vanishes_and_comes_back_is_brought_up_again() {
    let w = world(SsdConfig::default());
    let mut ssd = open(&w, 1).expect("healthy");
    assert_eq!(ssd.check(), Ok(()));
    w.borrow_mut().ssd.vanish(Gone::BusError);
    assert!(ssd.check().is_err_and(|e| e.is_gone()));
    assert!(ssd.stop().is_err_and(|e| e.is_gone()));
    w.borrow_mut().ssd.reappear();
    let mut ssd = open(&w, 1).expect("back");
    assert_eq!(ssd.smart().expect("healthy").unsafe_shutdowns[0].get(), 1);
}

#[test]
fn a_controller_left_running_is_reset_first() {
    let w = world(SsdConfig::default());
    let first = open(&w, 1).expect("healthy");
    drop(first);
    open(&w, 1).expect("reset and up");
    assert_eq!(w.borrow().ssd.stats().resets, 1);
}
