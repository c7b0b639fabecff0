//! What an administrator does with an SSD, through the host driver: health, logs, format, firmware, any command.

use sluice_driver::bringup::{ChangeError, Kind};
use sluice_driver::nvme::{Activation, AdminCommand, Commit, Erase, MAX_DATA, SsdError, Transfer};
use sluice_wire::nvme::{AdminOpcode, Status, cns, feature};

use super::bench::{open, world};
use super::rig::Bench;
use crate::ssd::{IMAGE_MAGIC, NamespaceSpec, SsdConfig};

fn image(revision: &[u8; 8], len: usize) -> Vec<u8> {
    let mut image = [&IMAGE_MAGIC[..], revision].concat();
    image.resize(len, 0xA5);
    image
}

#[test]
fn health_and_the_error_log_say_what_has_happened() {
    let w = world(SsdConfig::default());
    let mut ssd = open(&w, 1).expect("healthy");
    let health = ssd.health().expect("answers");
    assert_eq!(
        (health.temperature_kelvin, health.spare_percent),
        (313, 100)
    );
    assert!(!health.spare_low && health.sensors_kelvin == [None; 8]);
    assert_eq!(ssd.errors().expect("answers"), []);
    assert!(ssd.delete_queue_pair(7).is_err());
    ssd.identify_page(cns::NAMESPACE, 9)
        .expect_err("no such namespace");
    let errors = ssd.errors().expect("answers");
    let seen: Vec<_> = errors
        .iter()
        .map(|e| (e.number, e.queue, e.nsid, e.field))
        .collect();
    assert_eq!(seen, [(2, 0, 9, None), (1, 0, 0, None)]);
    assert_eq!(errors[0].status.kind(), Status::INVALID_NAMESPACE);
    assert_eq!(ssd.health().expect("answers").error_log_entries, 2);
}

#[test]
fn more_namespaces_than_a_page_lists_are_all_found() {
    let namespaces = vec![NamespaceSpec::memory(1 << 16, 12); 1030];
    let w = world(SsdConfig {
        namespaces,
        ..SsdConfig::default()
    });
    let mut ssd = open(&w, 1).expect("healthy");
    let ids = ssd.namespace_ids().expect("answers");
    assert_eq!(ids.active, (1..=1030).collect::<Vec<_>>());
    assert_eq!(ids.allocated, ids.active);
}

#[test]
fn firmware_is_downloaded_in_pieces_committed_and_runs_when_it_should() {
    let w = world(SsdConfig {
        mdts: 3,
        ..SsdConfig::default()
    });
    let mut ssd = open(&w, 1).expect("healthy");
    let slots = ssd.firmware_slots().expect("answers");
    assert_eq!((slots.active, slots.next, slots.slots), (1, None, 3));
    assert!(slots.first_is_read_only && slots.without_reset);
    // More than a transfer of MDTS, and not a multiple of it.
    let mut steps = Vec::new();
    let new = image(b"2.0     ", 70_004);
    ssd.download_firmware(&new, |done| steps.push(done))
        .expect("takes it");
    assert_eq!(steps, [32_768, 65_536, 70_004]);
    assert_eq!(
        ssd.commit_firmware(2, Commit::StoreForReset),
        Ok(Activation::AsAsked)
    );
    let slots = ssd.firmware_slots().expect("answers");
    assert_eq!((slots.active, slots.next), (1, Some(2)));
    assert_eq!(slots.revisions[1].as_deref(), Some("2.0"));
    assert_ne!(ssd.info().firmware, "2.0");
    ssd.stop().expect("stops");
    drop(ssd);
    let mut ssd = open(&w, 1).expect("healthy");
    assert_eq!(ssd.info().firmware, "2.0");
    ssd.download_firmware(&image(b"3.0     ", 4096), |_| {})
        .expect("takes it");
    assert_eq!(
        ssd.commit_firmware(3, Commit::ActivateNow),
        Ok(Activation::AsAsked)
    );
    assert_eq!(ssd.info().firmware, "3.0");
    assert_eq!(
        ssd.commit_firmware(1, Commit::ActivateNow),
        Ok(Activation::AsAsked)
    );
    assert_eq!(ssd.firmware_slots().expect("answers").active, 1);
}

#[test]
fn bad_firmware_and_bad_slots_are_refused_and_nothing_changes() {
    let w = world(SsdConfig::default());
    let mut ssd = open(&w, 1).expect("healthy");
    let before = ssd.firmware_slots().expect("answers");
    for bad in [0, 3, 4097] {
        let error = ssd
            .download_firmware(&vec![1; bad], |_| {})
            .expect_err("no image");
        assert!(matches!(error, SsdError::Argument { .. }), "{error}");
    }
    for slot in [1, 4, 7] {
        let error = ssd
            .commit_firmware(slot, Commit::Store)
            .expect_err("not to be written");
        let text = "0 (its choice) or 1 to 3, of which the first is read-only wanted";
        assert!(error.to_string().contains(text), "{error}");
    }
    ssd.download_firmware(&[1; 4096], |_| {})
        .expect("it looks later");
    let error = ssd.commit_firmware(2, Commit::Store).expect_err("no image");
    assert!(
        matches!(error, SsdError::Command { status, .. } if (status.sct(), status.sc()) == (1, 7))
    );
    // Nothing was downloaded since.
    assert!(ssd.commit_firmware(2, Commit::Store).is_err());
    assert!(ssd.commit_firmware(2, Commit::ActivateNow).is_err());
    assert_eq!(ssd.firmware_slots().expect("answers"), before);
}

#[test]
fn a_formatted_namespace_has_the_new_blocks_and_no_data() {
    let namespaces = vec![
        NamespaceSpec::memory(1 << 20, 12),
        NamespaceSpec::memory(1 << 20, 9),
    ];
    let w = world(SsdConfig {
        namespaces,
        ..SsdConfig::default()
    });
    for nsid in [1, 2] {
        let mut w = w.borrow_mut();
        let media = w.ssd.media(nsid).expect("there");
        media.write(4096, &[7; 4096], true).expect("memory");
    }
    let mut ssd = open(&w, 1).expect("healthy");
    let error = ssd.format(1, 14, Erase::None).expect_err("no such format");
    assert!(
        error.to_string().contains("512 or 4096 wanted, 16384 came"),
        "{error}"
    );
    let error = ssd.format(1, 9, Erase::Cryptographic).expect_err("cannot");
    assert!(matches!(error, SsdError::Unsupported { .. }), "{error}");
    ssd.format(1, 9, Erase::UserData).expect("formats");
    let shapes: Vec<_> = ssd
        .info()
        .namespaces
        .iter()
        .map(|n| (n.blocks, n.block_shift))
        .collect();
    assert_eq!(shapes, [(2048, 9), (2048, 9)]);
    let mut left = [[0; 4096]; 2];
    for (nsid, left) in (1..).zip(&mut left) {
        let mut w = w.borrow_mut();
        w.ssd
            .media(nsid)
            .expect("there")
            .read(4096, left)
            .expect("memory");
    }
    assert_eq!(left, [[0; 4096], [7; 4096]]);
}

#[test]
fn a_namespace_that_hosts_use_is_not_formatted() {
    let mut b = Bench::new();
    let error = b
        .rig
        .format_namespace("ssd1", 1, 12, Erase::None)
        .expect_err("in use");
    let used = matches!(&error, ChangeError::InUse { kind: Kind::Ssd, by, .. } if by.contains("example:disks"));
    assert!(used, "{error}");
    b.rig
        .remove_namespace("nqn.2026-01.org.example:disks", 2)
        .expect("there");
    b.rig
        .format_namespace("ssd1", 1, 12, Erase::None)
        .expect("formats");
    // What is placed on it from now on has the new blocks.
    let all = sluice_driver::config::raw::Namespace {
        ssd: "ssd1".into(),
        ..Default::default()
    };
    b.rig
        .add_namespace("nqn.2026-01.org.example:disks", all)
        .expect("free");
    assert_eq!(
        b.rig.ssd(1).expect("serves").info().namespaces[0].blocks,
        256
    );
}

#[test]
fn commands_are_passed_through_with_data_either_way() {
    let w = world(SsdConfig::default());
    let mut ssd = open(&w, 1).expect("healthy");
    let identify = |data| AdminCommand {
        opcode: AdminOpcode::Identify as u8,
        nsid: 0,
        cdw: [cns::CONTROLLER.into(), 0, 0, 0, 0, 0],
        data,
    };
    let answer = ssd
        .passthrough(&identify(Transfer::Receive(4096)), false)
        .expect("answers");
    assert!(answer.status.is_ok() && answer.data[4..17] == *b"SLUICESIM0001");
    // A status is an answer.
    let unknown = AdminCommand {
        opcode: 0xC1,
        data: Transfer::Send(&[1; 512]),
        ..identify(Transfer::None)
    };
    let answer = ssd.passthrough(&unknown, false).expect("answers");
    assert_eq!(answer.status.kind(), Status::INVALID_OPCODE);
    let piece = image(b"9.9     ", MAX_DATA);
    let download = AdminCommand {
        opcode: AdminOpcode::FirmwareDownload as u8,
        cdw: [MAX_DATA as u32 / 4 - 1, 0, 0, 0, 0, 0],
        data: Transfer::Send(&piece),
        ..unknown
    };
    assert!(
        ssd.passthrough(&download, false)
            .expect("answers")
            .status
            .is_ok()
    );
    assert_eq!(
        ssd.commit_firmware(2, Commit::ActivateNow),
        Ok(Activation::AsAsked)
    );
    assert_eq!(ssd.info().firmware, "9.9");
}

#[test]
fn commands_that_break_the_data_path_or_make_no_sense_are_not_passed_through() {
    let w = world(SsdConfig::default());
    let mut ssd = open(&w, 1).expect("healthy");
    let plain = |opcode: u8| AdminCommand {
        opcode,
        nsid: 1,
        cdw: [0; 6],
        data: Transfer::None,
    };
    let sent = w.borrow().ssd.stats().admin;
    for opcode in [
        0x00, 0x01, 0x04, 0x05, 0x08, 0x0C, 0x0D, 0x10, 0x15, 0x7C, 0x7F, 0x80, 0x84,
    ] {
        let error = ssd.passthrough(&plain(opcode), false).expect_err("harmful");
        assert!(matches!(error, SsdError::Forbidden { .. }), "{error}");
    }
    let queues = AdminCommand {
        cdw: [feature::QUEUES.into(), 3, 0, 0, 0, 0],
        ..plain(0x09)
    };
    assert!(ssd.passthrough(&queues, false).is_err());
    for opcode in [AdminOpcode::AsyncEvent as u8, AdminOpcode::Fabrics as u8] {
        assert!(
            ssd.passthrough(&plain(opcode), true).is_err(),
            "not even by force"
        );
    }
    for (opcode, data) in [
        (0x06, Transfer::Send(&[0; 4][..])),
        (0x11, Transfer::Receive(4)),
        (0x08, Transfer::Receive(4)),
    ] {
        let wrong = AdminCommand {
            data,
            ..plain(opcode)
        };
        let error = ssd.passthrough(&wrong, true).expect_err("the wrong way");
        assert!(matches!(error, SsdError::Argument { .. }), "{error}");
    }
    for len in [MAX_DATA + 4, 6] {
        let long = AdminCommand {
            data: Transfer::Receive(len),
            ..plain(0x02)
        };
        let error = ssd.passthrough(&long, false).expect_err("too long");
        assert!(
            matches!(error, SsdError::DataLength { max: MAX_DATA, .. }),
            "{error}"
        );
    }
    assert_eq!(w.borrow().ssd.stats().admin, sent, "nothing was sent");
    let forced = ssd
        .passthrough(&plain(AdminOpcode::FormatNvm as u8), true)
        .expect("answers");
    assert!(forced.status.is_ok());
}
