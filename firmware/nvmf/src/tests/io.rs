//! I/O commands on the data core.

use super::*;
use crate::{
    Direction, NamespaceEntry, NamespaceTable, Transfer,
    io::{HostData, IoKind, decode, decode_words, dsm_range},
    transfer,
};
use sluice_wire::nvme::{DsmRange, NvmOpcode, control};

const MAX: u32 = 128 << 10;

fn table() -> NamespaceTable {
    let mut rig = Rig::new();
    let Rig { target, out, .. } = &mut rig;
    target.namespace_remove(0, 1, out).expect("namespace");
    let mut table = NamespaceTable::new();
    for (nsid, flags) in [(1, 0b1110), (2, 0b1111), (64, 0)] {
        let mut config = namespace(nsid);
        config.flags = flags;
        target.namespace_add(0, &config, out).expect("namespace");
    }
    for update in rig.updates() {
        table.apply(&NamespaceUpdate::decode(&update.encode()));
    }
    table
}

fn command(opcode: NvmOpcode, nsid: u32, slba: u64, nlb_z: u16) -> Sqe {
    let mut sqe = Sqe::new(opcode as u8, 1, nsid);
    sqe.set_slba(slba);
    sqe.set_nlb_control(nlb_z, 0);
    sqe.set_sgl(SglDescriptor::new(
        SglKind::Transport,
        0,
        (u32::from(nlb_z) + 1) << 9,
    ));
    sqe
}

fn check(sqe: &Sqe) -> Result<crate::io::IoCommand, Status> {
    let table = table();
    let words: [u32; 16] = core::array::from_fn(|i| {
        u32::from_le_bytes(sqe.bytes()[4 * i..4 * i + 4].try_into().expect("4 bytes"))
    });
    let decoded = decode(sqe.bytes(), &table, 0, MAX, 8192);
    assert_eq!(decoded, decode_words(&words, &table, 0, MAX, 8192));
    decoded
}

#[test]
fn recorded_commands_of_a_linux_host_decode() {
    let read = "02407100 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 0000005a 08000000 00000000 07000000 00000000 00000000 00000000";
    let got = decode(&sqe_from(read), &table(), 0, MAX, 0).expect("right");
    assert_eq!(
        (got.kind, got.slba, got.blocks, got.bytes, got.data),
        (IoKind::Read, 1008, 8, 4096, HostData::ToHost)
    );
    let write = "01407500 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 00000001 08000000 00000000 07000000 00000000 00000000 00000000";
    let got = decode(&sqe_from(write), &table(), 0, MAX, 4096).expect("right");
    assert_eq!(
        (got.kind, got.data),
        (IoKind::Write, HostData::InCapsule(0))
    );
    let r2t = "01406100 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00000100 0000005a 10000000 00000000 7f000000 00000000 00000000 00000000";
    let got = decode(&sqe_from(r2t), &table(), 0, MAX, 0).expect("right");
    assert_eq!((got.data, got.bytes), (HostData::FromHost, 65536));
    let too_long = "01406200 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00001000 0000005a 90000000 00000000 ff070000 00000000 00000000 00000000";
    assert_eq!(
        decode(&sqe_from(too_long), &table(), 0, MAX, 0),
        Err(Status::INVALID_FIELD.no_retry()),
        "1 MiB > MDTS"
    );
    let flush = "00407700 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(
        decode(&sqe_from(flush), &table(), 0, MAX, 0)
            .expect("right")
            .kind,
        IoKind::Flush
    );
    let dsm = "09406500 01000000 00000000 00000000 00000000 00000000 00000000 00000000 30000000 00000001 02000000 04000000 00000000 00000000 00000000 00000000";
    let got = decode(&sqe_from(dsm), &table(), 0, MAX, 48).expect("right");
    assert_eq!(
        (got.kind, got.blocks, got.bytes, got.deallocate),
        (IoKind::Dsm, 3, 48, true)
    );
    let zeroes = "08407900 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 00000000 0f000000 00000000 00000000 00000000";
    let got = decode(&sqe_from(zeroes), &table(), 0, MAX, 0).expect("right");
    assert_eq!(
        (got.kind, got.blocks, got.data),
        (IoKind::WriteZeroes, 16, HostData::None)
    );
    let beyond = "02402100 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00020000 0000005a ffe0f505 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(
        decode(&sqe_from(beyond), &table(), 0, MAX, 0),
        Err(Status::LBA_RANGE.no_retry())
    );
    let unknown = "7d403400 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(
        decode(&sqe_from(unknown), &table(), 0, MAX, 0),
        Err(Status::INVALID_OPCODE.no_retry())
    );
}

#[test]
fn a_transfer_stays_inside_the_namespace() {
    const END: u64 = 0x10_0000;
    for opcode in [
        NvmOpcode::Read,
        NvmOpcode::Write,
        NvmOpcode::Compare,
        NvmOpcode::WriteZeroes,
    ] {
        assert_eq!(
            check(&command(opcode, 1, END - 8, 7))
                .expect("the last blocks")
                .slba,
            1000 + END - 8
        );
        for (slba, nlb_z) in [
            (END, 0),
            (END - 7, 7),
            (u64::MAX, 0),
            (u64::MAX - 3, 7),
            (1 << 63, 0),
            (END | 1 << 32, 0),
        ] {
            let got = check(&command(opcode, 1, slba, nlb_z));
            assert_eq!(
                got,
                Err(Status::LBA_RANGE.no_retry()),
                "{opcode:?} {slba:x} {nlb_z}"
            );
        }
    }
}

#[test]
fn lengths_are_checked_against_the_block_count() {
    // The pattern of CVE-2023-52454: a data length that does not fit the command.
    for len in [0, 1, 511, 4095, 4097, 8192, 0x00ff_ffff, u32::MAX] {
        let mut sqe = command(NvmOpcode::Write, 1, 0, 7);
        sqe.set_sgl(SglDescriptor::new(SglKind::Transport, 0, len));
        assert_eq!(check(&sqe), Err(Status::SGL_LENGTH.no_retry()), "{len}");
    }
    assert_eq!(
        check(&command(NvmOpcode::Read, 1, 0, 255))
            .expect("128 KiB")
            .bytes,
        MAX
    );
    assert_eq!(
        check(&command(NvmOpcode::Read, 1, 0, 256)),
        Err(Status::INVALID_FIELD.no_retry())
    );
    assert_eq!(
        check(&command(NvmOpcode::Read, 1, 0, 0xffff)),
        Err(Status::INVALID_FIELD.no_retry())
    );
}

#[test]
fn in_capsule_data_must_be_in_the_capsule() {
    let at = |offset, nlb_z| {
        let mut sqe = command(NvmOpcode::Write, 1, 0, nlb_z);
        sqe.set_sgl(SglDescriptor::new(
            SglKind::Offset,
            offset,
            (u32::from(nlb_z) + 1) << 9,
        ));
        check(&sqe).map(|c| c.data)
    };
    assert_eq!(at(0, 15), Ok(HostData::InCapsule(0)));
    assert_eq!(at(4096, 7), Ok(HostData::InCapsule(4096)));
    for (offset, nlb_z) in [
        (1, 15),
        (8192, 0),
        (0, 16),
        (u64::from(u32::MAX), 0),
        (1 << 32, 0),
        (u64::MAX, 0),
    ] {
        assert_eq!(
            at(offset, nlb_z),
            Err(Status::SGL_OFFSET.no_retry()),
            "{offset:x}"
        );
    }
    let mut read = command(NvmOpcode::Read, 1, 0, 0);
    read.set_sgl(SglDescriptor::new(SglKind::Offset, 0, 512));
    assert_eq!(
        check(&read),
        Err(Status::SGL_TYPE.no_retry()),
        "reads go through the transport"
    );
    for kind in [SglKind::Address, SglKind::Keyed, SglKind::KeyedInvalidate] {
        read.set_sgl(SglDescriptor::new(kind, 0, 512));
        assert_eq!(check(&read), Err(Status::SGL_TYPE.no_retry()));
    }
}

#[test]
fn what_is_not_offered_is_refused() {
    let mut sqe = command(NvmOpcode::Read, 1, 0, 0);
    for flags in [0x00, 0x41, 0x42, 0x43, 0x80] {
        sqe.flags = flags;
        assert_eq!(
            check(&sqe),
            Err(Status::INVALID_FIELD.no_retry()),
            "fused, or PRPs"
        );
    }
    sqe.flags = 0x40;
    sqe.set_nlb_control(0, control::PRACT);
    assert_eq!(check(&sqe), Err(Status::INVALID_PROTECTION.no_retry()));
    sqe.set_nlb_control(0, 1 << 4);
    assert_eq!(
        check(&sqe),
        Err(Status::INVALID_FIELD.no_retry()),
        "directives"
    );
    sqe.set_nlb_control(0, control::FUA | control::LR);
    assert_eq!(
        check(&sqe).expect("right").control,
        control::FUA | control::LR
    );
    for opcode in [0x04, 0x0c, 0x0d, 0x0e, 0x11, 0x15, 0x19, 0x80, 0xff] {
        let mut sqe = command(NvmOpcode::Read, 1, 0, 0);
        sqe.opcode = opcode;
        assert_eq!(
            check(&sqe),
            Err(Status::INVALID_OPCODE.no_retry()),
            "{opcode:02x}"
        );
    }
    for nsid in [0, 3, 63, 65, 0x8000_0001, 0xffff_ffff] {
        assert_eq!(
            check(&command(NvmOpcode::Flush, nsid, 0, 0)),
            Err(Status::INVALID_NAMESPACE.no_retry())
        );
        assert_eq!(
            check(&command(NvmOpcode::Read, nsid, 0, 0)),
            Err(Status::INVALID_NAMESPACE.no_retry())
        );
    }
    for opcode in [
        NvmOpcode::Compare,
        NvmOpcode::WriteZeroes,
        NvmOpcode::DatasetManagement,
    ] {
        assert_eq!(
            check(&command(opcode, 64, 0, 0)),
            Err(Status::INVALID_OPCODE.no_retry()),
            "{opcode:?}"
        );
    }
}

#[test]
fn a_read_only_namespace_is_read_only() {
    check(&command(NvmOpcode::Read, 2, 0, 0)).expect("reads work");
    check(&command(NvmOpcode::Flush, 2, 0, 0)).expect("flush works");
    check(&command(NvmOpcode::Compare, 2, 0, 0)).expect("compare works");
    for opcode in [
        NvmOpcode::Write,
        NvmOpcode::WriteZeroes,
        NvmOpcode::DatasetManagement,
    ] {
        assert_eq!(
            check(&command(opcode, 2, 0, 0)),
            Err(Status::WRITE_PROTECTED.no_retry()),
            "{opcode:?}"
        );
    }
}

#[test]
fn one_subsystem_cannot_name_the_namespaces_of_another() {
    let table = table();
    for subsystem in [1, 7, 8, 255] {
        let got = decode(
            command(NvmOpcode::Read, 1, 0, 0).bytes(),
            &table,
            subsystem,
            MAX,
            0,
        );
        assert_eq!(got, Err(Status::INVALID_NAMESPACE.no_retry()));
    }
}

#[test]
fn ranges_to_deallocate_are_checked_one_by_one() {
    let mut table = table();
    let mut sqe = command(NvmOpcode::DatasetManagement, 1, 0, 0);
    sqe.cdw10.set(255);
    sqe.cdw11.set(4);
    sqe.set_sgl(SglDescriptor::new(SglKind::Transport, 0, 4096));
    let got = check(&sqe).expect("256 ranges");
    assert_eq!((got.blocks, got.bytes), (256, 4096));
    let range = |slba: u64, blocks: u32| DsmRange {
        attributes: 0.into(),
        blocks: blocks.into(),
        slba: slba.into(),
    };
    let translated = dsm_range(&table, 0, &got, &range(16, 8)).expect("inside");
    assert_eq!((translated.slba.get(), translated.blocks.get()), (1016, 8));
    for (slba, blocks) in [
        (0x10_0000, 1),
        (0, 0x10_0001),
        (u64::MAX, 1),
        (u64::MAX, u32::MAX),
    ] {
        assert_eq!(
            dsm_range(&table, 0, &got, &range(slba, blocks)),
            Err(Status::LBA_RANGE.no_retry())
        );
    }
    for (len, ranges_z) in [(0u32, 0u32), (15, 0), (16, 1), (4096 + 16, 255)] {
        sqe.set_sgl(SglDescriptor::new(SglKind::Transport, 0, len));
        sqe.cdw10.set(ranges_z);
        assert_eq!(check(&sqe), Err(Status::SGL_LENGTH.no_retry()), "{len}");
    }
    table.apply(&NamespaceUpdate {
        subsystem: 0,
        place: 0,
        nsid: 1,
        entry: None,
    });
    assert_eq!(
        dsm_range(&table, 0, &got, &range(16, 8)),
        Err(Status::INVALID_NAMESPACE.no_retry()),
        "gone meanwhile"
    );
}

#[test]
fn a_lost_ssd_fails_every_command_for_good() {
    let mut table = table();
    let mut entry = *table.get(0, 1).expect("there");
    entry.flags |= NamespaceEntry::LOST;
    table.apply(&NamespaceUpdate {
        subsystem: 0,
        place: 0,
        nsid: 1,
        entry: Some(entry),
    });
    for opcode in [NvmOpcode::Read, NvmOpcode::Write, NvmOpcode::Flush] {
        let got = decode(command(opcode, 1, 0, 0).bytes(), &table, 0, MAX, 0);
        assert_eq!(got, Err(Status::NAMESPACE_NOT_READY.no_retry()));
    }
}

#[test]
fn updates_survive_the_mailbox_and_impossible_ones_do_nothing() {
    let entry = NamespaceEntry {
        first_block: 0x0123_4567_89ab_cdef,
        blocks: 0xfedc_ba98,
        ssd_nsid: 0xffff_fffe,
        ssd: 200,
        shift: 12,
        flags: 0x8f,
    };
    for update in [
        NamespaceUpdate {
            subsystem: 7,
            place: 63,
            nsid: 64,
            entry: Some(entry),
        },
        NamespaceUpdate {
            subsystem: 3,
            place: 1,
            nsid: 2,
            entry: None,
        },
    ] {
        let mut back = NamespaceUpdate::decode(&update.encode());
        if update.entry.is_none() {
            assert_eq!(back.entry, None);
            back.entry = None;
        }
        assert_eq!(back, update);
    }
    let mut table = NamespaceTable::new();
    for (subsystem, place, nsid) in [(8, 0, 1), (0, 64, 1), (0, 0, 0), (0, 0, 65)] {
        table.apply(&NamespaceUpdate {
            subsystem,
            place,
            nsid,
            entry: Some(entry),
        });
    }
    assert!((0..=66).all(|nsid| table.get(0, nsid).is_none()));
}

#[test]
fn the_data_of_an_admin_command_is_known_before_it_is_executed() {
    let connect = "7f400000 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00040000 00000001 00000000 1f000000 88130000 00000000 00000000 00000000";
    assert_eq!(
        transfer(&sqe_from(connect), 1024, 8192),
        Ok(Transfer {
            direction: Direction::InCapsule(0),
            len: 1024
        })
    );
    assert_eq!(
        transfer(&sqe_from(connect), 1023, 8192),
        Err(Status::SGL_OFFSET.no_retry())
    );
    let identify = "06400a00 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 0000005a 01000000 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(
        transfer(&sqe_from(identify), 0, 8192),
        Ok(Transfer {
            direction: Direction::ToHost,
            len: 4096
        })
    );
    assert_eq!(
        transfer(&sqe_from(identify), 0, 4095),
        Err(Status::SGL_LENGTH.no_retry())
    );
    let keep_alive = Sqe::new(0x18, 1, 0);
    assert_eq!(
        transfer(keep_alive.bytes(), 0, 8192),
        Ok(Transfer {
            direction: Direction::None,
            len: 0
        })
    );
}
