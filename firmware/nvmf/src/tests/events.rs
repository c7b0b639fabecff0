//! Asynchronous events, log pages, features, Abort.

use super::*;
use crate::{EVENT_REQUESTS, NAMESPACES, NamespaceEntry, Usage};
use sluice_wire::{mgmt, nvme::select};

const NAMESPACE_CHANGED: u64 = 0x0004_0002;

fn listening(rig: &mut Rig) -> QueueKey {
    let (key, _) = rig.controller();
    rig.set_feature(key, 0x0b, 0x100).ok();
    key
}

fn answers(rig: &mut Rig) -> Vec<(u16, u64)> {
    let find = |a: &Action| {
        if let Action::Complete { cid, result, .. } = a {
            Some((*cid, *result))
        } else {
            None
        }
    };
    let found = rig.out.0.iter().filter_map(find).collect();
    rig.out.0.clear();
    found
}

#[test]
fn a_new_namespace_is_told_once_until_the_log_is_read() {
    let mut rig = Rig::new();
    let key = listening(&mut rig);
    rig.out.0.clear();
    assert!(rig.request_event(key, 900).is_none() && rig.request_event(key, 901).is_none());
    let Rig { target, out, .. } = &mut rig;
    target
        .namespace_add(0, &namespace(2), out)
        .expect("namespace");
    target
        .namespace_add(0, &namespace(5), out)
        .expect("namespace");
    assert_eq!(answers(&mut rig), [(900, NAMESPACE_CHANGED)]);
    assert_eq!(
        rig.log(key, 0x04, 0, 16, true).ok().data,
        hex("02000000 05000000 00000000 00000000")
    );
    assert!(answers(&mut rig).is_empty(), "still masked: RAE was set");
    rig.log(key, 0x04, 0, 4096, false).ok();
    assert_eq!(
        rig.log(key, 0x04, 0, 8, false).ok().data,
        [0; 8],
        "reading clears the list"
    );
    assert!(
        answers(&mut rig).is_empty(),
        "what was read is not told again"
    );
    let Rig { target, out, .. } = &mut rig;
    target.namespace_remove(0, 2, out).expect("namespace");
    assert_eq!(answers(&mut rig), [(901, NAMESPACE_CHANGED)]);
    assert_eq!(rig.log(key, 0x04, 0, 4, false).ok().data, [2, 0, 0, 0]);
    assert_eq!(
        rig.identify(key, 2, 0).ok().data[..12],
        hex("01000000 05000000 00000000")
    );
}

#[test]
fn hosts_of_another_subsystem_hear_nothing() {
    let mut rig = Rig::new();
    let Rig { target, out, .. } = &mut rig;
    target.host_add(1, &nqn_field(HOST_B), out).expect("host");
    let (key, _) = rig.controller_of(|_, d| (d.subnqn, d.hostnqn) = (name(SUB2), name(HOST_B)));
    rig.set_feature(key, 0x0b, 0x100).ok();
    assert!(rig.request_event(key, 900).is_none());
    rig.out.0.clear();
    let Rig { target, out, .. } = &mut rig;
    target
        .namespace_add(0, &namespace(3), out)
        .expect("namespace");
    assert!(answers(&mut rig).is_empty());
    assert_eq!(
        rig.identify(key, 2, 0).ok().data,
        [0; 4096],
        "nor do they see it"
    );
    assert_eq!(
        rig.identify(key, 3, 3).status,
        Status::INVALID_NAMESPACE.no_retry()
    );
    assert_eq!(
        rig.identify(key, 0, 3).ok().data,
        [0; 4096],
        "not active here"
    );
}

#[test]
fn event_requests_are_bounded() {
    let mut rig = Rig::new();
    let (key, _) = rig.controller();
    for n in 0..EVENT_REQUESTS as u16 {
        assert!(rig.request_event(key, 900 + n).is_none());
    }
    assert_eq!(
        rig.request_event(key, 999).expect("refused").status,
        Status::EVENT_LIMIT.no_retry()
    );
}

#[test]
fn abort_catches_an_event_request_and_nothing_else() {
    let mut rig = Rig::new();
    let (key, _) = rig.controller();
    assert!(rig.request_event(key, 900).is_none());
    let abort = |rig: &mut Rig, sqid: u32, cid: u32| {
        let sqe = rig.admin(AdminOpcode::Abort, 0, 0, |s| s.cdw10.set(sqid | cid << 16));
        rig.send(key, sqe.bytes(), &[]).ok().result
    };
    assert_eq!(abort(&mut rig, 0, 901), 1);
    assert_eq!(abort(&mut rig, 1, 900), 1);
    assert_eq!(abort(&mut rig, 0, 900), 0);
    let ended = |a: &Action| matches!(a, Action::Complete { cid: 900, status, .. } if *status == Status::ABORT_REQUESTED);
    assert!(rig.out.0.iter().any(ended));
    assert_eq!(abort(&mut rig, 0, 900), 1);
}

#[test]
fn a_lost_ssd_is_told_and_shown_and_comes_back() {
    let mut rig = Rig::new();
    let key = listening(&mut rig);
    assert!(rig.request_event(key, 900).is_none());
    rig.out.0.clear();
    let Rig { target, out, .. } = &mut rig;
    target.ssd_set(0, false, out);
    target.ssd_set(0, false, out);
    assert_eq!(rig.updates().len(), 1, "told once");
    assert!(rig.updates()[0].entry.expect("still there").flags & NamespaceEntry::LOST != 0);
    assert_eq!(answers(&mut rig), [(900, NAMESPACE_CHANGED)]);
    assert_eq!(rig.identify(key, 8, 1).ok().data[14], 0, "not ready");
    assert_eq!(rig.log(key, 2, 0, 512, true).ok().data[0], 4, "reliability");
    let Rig { target, out, .. } = &mut rig;
    target
        .namespace_add(0, &namespace(9), out)
        .expect("namespace");
    assert_eq!(
        rig.identify(key, 8, 9).ok().data[14],
        0,
        "also on a lost SSD"
    );
    let Rig { target, out, .. } = &mut rig;
    target.ssd_set(0, true, out);
    assert_eq!(rig.identify(key, 8, 1).ok().data[14], 1);
}

#[test]
fn features_have_current_default_and_saved_values() {
    let mut rig = Rig::new();
    let (key, _) = rig.controller();
    for (id, value, default) in [
        (0x01, 0x0102_0304, 0),
        (0x05, 50, 0),
        (0x0a, 1, 0),
        (0x0b, 0x11f, 0),
        (0x04, 300, 343),
    ] {
        assert_eq!(
            rig.get_feature(key, id, select::CAPABILITIES).ok().result,
            4,
            "{id:02x}"
        );
        rig.set_feature(key, id, value).ok();
        let shown = if id == 0x04 { 0 } else { value.into() };
        if id != 0x04 {
            assert_eq!(
                rig.get_feature(key, id, select::CURRENT).ok().result,
                shown,
                "{id:02x}"
            );
        }
        assert_eq!(
            rig.get_feature(key, id, select::DEFAULT).ok().result,
            default,
            "{id:02x}"
        );
        assert_eq!(
            rig.get_feature(key, id, select::SAVED).ok().result,
            default,
            "{id:02x}"
        );
        assert_eq!(
            rig.get_feature(key, id, 4).status,
            Status::INVALID_FIELD.no_retry()
        );
    }
    let save = rig.admin(AdminOpcode::SetFeatures, 0, 0, |s| s.cdw10.set(0x8000_000b));
    assert_eq!(
        rig.send(key, save.bytes(), &[]).status,
        Status::FEATURE_NOT_SAVEABLE.no_retry()
    );
    assert_eq!(
        rig.set_feature(key, 0x06, 0).status,
        Status::FEATURE_NOT_CHANGEABLE.no_retry()
    );
    assert_eq!(
        rig.set_feature(key, 0x81, 0).status,
        Status::COMMAND_SEQUENCE.no_retry()
    );
    assert_eq!(
        rig.set_feature(key, 0x02, 1).status,
        Status::INVALID_FIELD.no_retry()
    );
    assert_eq!(
        rig.set_feature(key, 0x08, 1).status,
        Status::INVALID_FIELD.no_retry(),
        "no interrupts on fabrics"
    );
    assert_eq!(rig.get_feature(key, 0x81, select::CURRENT).ok().data, ID_A);
    rig.set_cc(key, RESET);
    rig.set_cc(key, ENABLE);
    assert_eq!(
        rig.get_feature(key, 0x0b, select::CURRENT).ok().result,
        0,
        "a reset forgets"
    );
}

#[test]
fn heat_beyond_the_threshold_is_told() {
    let mut rig = Rig::new();
    let (key, _) = rig.controller();
    rig.set_feature(key, 0x0b, 0x02).ok();
    assert!(rig.request_event(key, 900).is_none());
    rig.out.0.clear();
    let Rig { target, out, .. } = &mut rig;
    target.usage_set(
        Usage {
            kelvin: 342,
            ..Usage::default()
        },
        out,
    );
    target.usage_set(
        Usage {
            kelvin: 350,
            reads: 9,
            ..Usage::default()
        },
        out,
    );
    target.usage_set(
        Usage {
            kelvin: 351,
            reads: 9,
            ..Usage::default()
        },
        out,
    );
    assert_eq!(answers(&mut rig), [(900, 0x0002_0101)]);
    let smart = rig.log(key, 2, 0, 512, false).ok().data;
    assert_eq!(
        (smart[0], &smart[1..3], smart[64]),
        (2, &351u16.to_le_bytes()[..], 9)
    );
}

#[test]
fn unknown_log_pages_offsets_and_lengths_are_refused() {
    let mut rig = Rig::new();
    let (key, _) = rig.controller();
    let field = Status::INVALID_FIELD.no_retry();
    for (page, size) in [
        (0x00, 1024),
        (0x01, 256),
        (0x02, 512),
        (0x03, 512),
        (0x04, 4096),
        (0x05, 4096),
        (0x0c, 784),
        (0x12, 1024),
    ] {
        rig.log(key, page, 0, size, true).ok();
        assert_eq!(
            rig.log(key, page, u64::from(size), 4, true).ok().data,
            [0; 4],
            "page {page:02x}"
        );
        assert_eq!(
            rig.log(key, page, u64::from(size) + 4, 4, true).status,
            field,
            "page {page:02x}"
        );
        assert_eq!(
            rig.log(key, page, u64::MAX - 3, 4, true).status,
            field,
            "page {page:02x}"
        );
        assert_eq!(
            rig.log(key, page, 1, 4, true).status,
            field,
            "page {page:02x}"
        );
    }
    for page in [0x06, 0x0d, 0x13, 0x70, 0x80, 0xff] {
        assert_eq!(
            rig.log(key, page, 0, 4, true).status,
            Status::INVALID_LOG_PAGE.no_retry(),
            "page {page:02x}"
        );
    }
    let short = rig.admin(AdminOpcode::GetLogPage, 0, 508, |s| {
        s.cdw10.set(0x007f_0002)
    });
    assert_eq!(
        rig.send(key, short.bytes(), &[]).status,
        Status::SGL_LENGTH.no_retry()
    );
    let huge = rig.admin(AdminOpcode::GetLogPage, 0, u32::MAX, |s| {
        (s.cdw10, s.cdw11) = (0xffff_0002.into(), 0xffff.into())
    });
    assert_eq!(rig.send(key, huge.bytes(), &[]).status, field);
    let in_capsule = rig.admin(AdminOpcode::Identify, 0, 4096, |s| {
        s.set_sgl(SglDescriptor::new(SglKind::Offset, 0, 4096));
        s.cdw10.set(1);
    });
    assert_eq!(
        rig.send(key, in_capsule.bytes(), &[]).status,
        Status::SGL_TYPE.no_retry()
    );
}

#[test]
fn what_is_advertised_is_what_works() {
    let mut rig = Rig::new();
    let (key, _) = rig.controller();
    let pages = rig.log(key, 0x00, 0, 1024, true).ok().data;
    for (page, entry) in pages.chunks(4).enumerate() {
        let works = rig.log(key, page as u8, 0, 16, true).status.is_ok();
        assert_eq!(entry[0] & 1 == 1, works, "log page {page:02x}");
    }
    let features = rig.log(key, 0x12, 0, 1024, true).ok().data;
    for (id, entry) in features.chunks(4).enumerate() {
        let works = rig
            .get_feature(key, id as u8, select::CURRENT)
            .status
            .is_ok();
        assert_eq!(entry[0] & 1 == 1, works, "feature {id:02x}");
    }
    let effects = rig.log(key, 0x05, 0, 4096, true).ok().data;
    for opcode in 0..=255u8 {
        let mut sqe = Sqe::new(opcode, 500, 0);
        sqe.set_sgl(SglDescriptor::new(SglKind::Transport, 0, 4096));
        let answer = rig.try_send(key, sqe.bytes(), &[]);
        let refused = answer.is_some_and(|a| a.status == Status::INVALID_OPCODE.no_retry());
        // Fabrics commands are not admin commands; FCTYPE 0 is Property Set, refused here for its offset.
        assert_eq!(
            effects[4 * usize::from(opcode)] & 1 == 1 || opcode == 0x7f,
            !refused,
            "opcode {opcode:02x}"
        );
    }
    let mut config = namespace(2);
    config.flags = 0b0010;
    let Rig { target, out, .. } = &mut rig;
    target.namespace_add(0, &config, out).expect("namespace");
    let oncs = rig.identify(key, 1, 0).ok().data[520];
    assert_eq!(oncs, 0x14, "only what every namespace does");
}

#[test]
fn fused_flags_and_prps_are_refused() {
    let mut rig = Rig::new();
    let (key, _) = rig.controller();
    for flags in [0x00, 0x41, 0x42, 0x80, 0xc0] {
        let sqe = rig.admin(AdminOpcode::KeepAlive, 0, 0, |s| s.flags = flags);
        assert_eq!(
            rig.send(key, sqe.bytes(), &[]).status,
            Status::INVALID_FIELD.no_retry()
        );
    }
}

#[test]
fn configuration_mistakes_are_named() {
    let mut rig = Rig::new();
    let Rig { target, out, .. } = &mut rig;
    let status = |r: Result<(), crate::Refusal>| r.expect_err("refused").status;
    assert_eq!(
        status(target.subsystem_add(8, &subsystem(SUB1, true), out)),
        mgmt::Status::BadIndex
    );
    assert_eq!(
        status(target.subsystem_add(2, &subsystem(SUB1, true), out)),
        mgmt::Status::Exists
    );
    assert_eq!(
        status(target.subsystem_add(0, &subsystem(b"nqn.2026-11.test:x", true), out)),
        mgmt::Status::Exists
    );
    assert_eq!(
        status(target.subsystem_add(2, &subsystem(b"x", true), out)),
        mgmt::Status::BadField
    );
    assert_eq!(
        status(target.subsystem_remove(5, out)),
        mgmt::Status::Missing
    );
    assert_eq!(
        status(target.listener_add(0, 3, 0, out)),
        mgmt::Status::Missing
    );
    assert_eq!(
        status(target.listener_remove(0, 3, 0, out)),
        mgmt::Status::Missing
    );
    assert_eq!(
        status(target.listener_remove(0, u32::MAX, 0, out)),
        mgmt::Status::BadIndex
    );
    assert_eq!(
        status(target.namespace_add(0, &namespace(1), out)),
        mgmt::Status::Exists
    );
    assert_eq!(
        status(target.namespace_remove(0, 0, out)),
        mgmt::Status::Missing
    );
    assert_eq!(
        status(target.namespace_remove(0, 77, out)),
        mgmt::Status::Missing
    );
    type Change = fn(&mut mgmt::NamespaceConfig);
    let wrong: [(Change, u32); 8] = [
        (|n| n.nsid.set(0), 0),
        (|n| n.nsid.set(65), 0),
        (|n| n.ssd.set(256), 4),
        (|n| n.blocks.set(0), 20),
        (|n| n.first_block.set(u64::MAX), 20),
        (|n| n.block_shift = 10, 28),
        (|n| n.flags = 0x80, 29),
        (|n| n.ana_group.set(17), 30),
    ];
    for (change, at) in wrong {
        let mut config = namespace(2);
        change(&mut config);
        let refusal = target.namespace_add(0, &config, out).expect_err("refused");
        assert_eq!(
            (refusal.status, refusal.result),
            (mgmt::Status::BadField, at)
        );
    }
    for n in 2..=NAMESPACES as u32 {
        target.namespace_add(0, &namespace(n), out).expect("room");
    }
    assert_eq!(
        status(target.namespace_add(1, &namespace(1), out)),
        mgmt::Status::Full
    );
}

#[test]
fn a_flood_of_hosts_on_the_allow_lists_is_refused_and_overwrites_nothing() {
    // The pattern of CVE-2025-57275: registrants beyond the bound.
    let mut rig = Rig::new();
    let Rig { target, out, .. } = &mut rig;
    let host = |n: usize| nqn_field(std::format!("nqn.2026-11.test:host{n}").as_bytes());
    for n in 0..crate::HOSTS {
        target.host_add(1, &host(n), out).expect("room");
    }
    for n in crate::HOSTS..crate::HOSTS + 10 {
        assert_eq!(
            target.host_add(1, &host(n), out).expect_err("full").status,
            mgmt::Status::Full
        );
    }
    target
        .host_add(0, &host(3), out)
        .expect("a known host needs no room");
    assert_eq!(
        target.host_add(1, &host(3), out).expect_err("twice").status,
        mgmt::Status::Exists
    );
    let (_, _) = rig.controller_of(|_, d| {
        (d.subnqn, d.hostnqn) = (name(SUB2), name(b"nqn.2026-11.test:host31"))
    });
}

#[test]
fn however_much_ends_at_once_one_call_asks_for_a_bounded_number_of_actions() {
    let mut rig = Rig::new();
    for nsid in 2..=NAMESPACES as u32 {
        let Rig { target, out, .. } = &mut rig;
        target
            .namespace_add(0, &namespace(nsid), out)
            .expect("namespace");
    }
    let mut queues = 0;
    for _ in 0..crate::CONTROLLERS {
        let (admin, cntlid) = rig.controller();
        rig.set_feature(admin, 0x0b, 0x100).ok();
        for cid in 900..904 {
            rig.request_event(admin, cid);
        }
        rig.set_feature(admin, 0x07, 7 << 16 | 7).ok();
        for qid in 1..=8 {
            rig.io_queue(cntlid, qid);
        }
        queues += 9;
    }
    rig.out.0.clear();
    let Rig { target, out, .. } = &mut rig;
    target.ssd_set(0, false, out);
    assert!(out.0.len() <= crate::MOST_ACTIONS, "{}", out.0.len());
    rig.out.0.clear();
    let Rig { target, out, .. } = &mut rig;
    target.subsystem_remove(0, out).expect("it was there");
    assert!(
        (2 * crate::CONTROLLERS..=crate::MOST_ACTIONS).contains(&out.0.len()),
        "{}",
        out.0.len()
    );
    assert_eq!(rig.told_to_close().len(), queues);
    assert!(rig.told_to_close().is_empty(), "each is told once");
}
