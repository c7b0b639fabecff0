//! Connect, properties and the life of an association.

use super::*;
use crate::{CONNECTIONS, CONTROLLERS};
use sluice_wire::fabrics::{CATTR_NO_FLOW_CONTROL, DisconnectCommand, InvalidParam};

const DNR_INVALID: Status = Status::CONNECT_INVALID.no_retry();

#[test]
fn every_wrong_parameter_of_connect_is_named() {
    type Change = fn(&mut ConnectCommand, &mut ConnectData);
    let wrong: [(Change, InvalidParam); 12] = [
        (|c, _| c.sqsize_z.set(0), InvalidParam::SQSIZE),
        (|c, _| c.sqsize_z.set(1024), InvalidParam::SQSIZE),
        (|c, _| c.qid.set(64), InvalidParam::QID),
        (|c, _| c.qid.set(0xffff), InvalidParam::QID),
        (|_, d| d.hostid = [0; 16], InvalidParam::HOSTID),
        (|_, d| d.hostnqn = [0; 256], InvalidParam::HOSTNQN),
        (|_, d| d.hostnqn = [b'x'; 256], InvalidParam::HOSTNQN),
        (|_, d| d.subnqn = [b'n'; 256], InvalidParam::SUBNQN),
        (
            |_, d| d.subnqn = name(b"nqn.2026-11.test:absent"),
            InvalidParam::SUBNQN,
        ),
        (|_, d| d.cntlid.set(1), InvalidParam::CNTLID),
        (|_, d| d.cntlid.set(0xfffe), InvalidParam::CNTLID),
        (
            |c, d| (c.qid, d.cntlid) = (1.into(), 77.into()),
            InvalidParam::CNTLID,
        ),
    ];
    let mut rig = Rig::new();
    for (change, what) in wrong {
        let key = rig.open();
        let answer = rig.connect(key, 0, 0xffff, change);
        assert_eq!(
            (answer.status, answer.result),
            (DNR_INVALID, what.encode().into()),
            "{what:?}"
        );
        // The same connection may try again.
        rig.connect(key, 0, 0xffff, |_, _| {}).ok();
        rig.close(key);
    }
    assert_eq!(rig.target.controllers_in_use(), 0);
}

#[test]
fn an_unknown_record_format_and_short_data_are_refused() {
    let mut rig = Rig::new();
    let key = rig.open();
    let answer = rig.connect(key, 0, 0xffff, |c, _| c.recfmt.set(1));
    assert_eq!(answer.status, Status::CONNECT_FORMAT.no_retry());
    let mut command = ConnectCommand::new_zeroed();
    (command.opcode, command.flags, command.fctype) = (0x7f, 0x40, 1);
    command.sqsize_z.set(31);
    for len in [0, 1, 512, 1023] {
        let short = std::vec![0; len];
        let answer = rig.send(key, zerocopy::transmute_ref!(&command), &short);
        assert_eq!(answer.status, Status::SGL_LENGTH.no_retry(), "{len} bytes");
    }
}

#[test]
fn a_connection_is_one_queue_only() {
    let mut rig = Rig::new();
    let (admin, cntlid) = rig.controller();
    assert_eq!(
        rig.connect(admin, 0, 0xffff, |_, _| {}).status,
        Status::COMMAND_SEQUENCE.no_retry()
    );
    let io = rig.io_queue(cntlid, 1);
    assert_eq!(
        rig.connect(io, 2, cntlid, |_, _| {}).status,
        Status::COMMAND_SEQUENCE.no_retry()
    );
}

#[test]
fn a_queue_number_is_used_once() {
    let mut rig = Rig::new();
    let (_, cntlid) = rig.controller();
    let first = rig.io_queue(cntlid, 1);
    let again = rig.open();
    assert_eq!(
        rig.connect(again, 1, cntlid, |_, _| {}).status,
        Status::COMMAND_SEQUENCE.no_retry()
    );
    rig.close(first);
    rig.connect(again, 1, cntlid, |_, _| {}).ok();
}

#[test]
fn an_io_queue_needs_an_enabled_controller_and_a_granted_number() {
    let mut rig = Rig::new();
    let admin = rig.open();
    let cntlid = rig.connect(admin, 0, 0xffff, |_, _| {}).ok().result as u16;
    let io = rig.open();
    assert_eq!(
        rig.connect(io, 1, cntlid, |_, _| {}).status,
        Status::COMMAND_SEQUENCE.no_retry()
    );
    rig.set_cc(admin, ENABLE);
    assert_eq!(
        rig.set_feature(admin, 7, 0x0003_0003).ok().result,
        0x0003_0003
    );
    let answer = rig.connect(io, 5, cntlid, |_, _| {});
    assert_eq!(
        (answer.status, answer.result),
        (DNR_INVALID, InvalidParam::QID.encode().into())
    );
    rig.connect(io, 4, cntlid, |c, _| c.cattr = CATTR_NO_FLOW_CONTROL)
        .ok();
    assert!(rig.ready().no_flow_control);
}

#[test]
fn thirty_two_io_queues_of_1024_entries_connect() {
    let mut rig = Rig::new();
    let (admin, cntlid) = rig.controller();
    assert_eq!(
        rig.set_feature(admin, 7, 0x00ff_00ff).ok().result,
        0x001f_001f
    );
    for qid in 1..=32 {
        let key = rig.open();
        rig.connect(key, qid, cntlid, |c, _| c.sqsize_z.set(1023))
            .ok();
        assert_eq!((rig.ready().qid, rig.ready().entries), (qid, 1024));
    }
}

#[test]
fn an_io_queue_of_another_host_is_refused() {
    let mut rig = Rig::new();
    let (_, cntlid) = rig.controller();
    let key = rig.open();
    let answer = rig.connect(key, 1, cntlid, |_, d| d.hostnqn = name(HOST_B));
    assert_eq!(
        (answer.status, answer.result),
        (DNR_INVALID, InvalidParam::HOSTNQN.encode().into())
    );
    let answer = rig.connect(key, 1, cntlid, |_, d| d.hostid = ID_B);
    assert_eq!(
        (answer.status, answer.result),
        (DNR_INVALID, InvalidParam::HOSTID.encode().into())
    );
    let Rig { target, out, .. } = &mut rig;
    target.host_add(1, &nqn_field(HOST_A), out).expect("host");
    let answer = rig.connect(key, 1, cntlid, |_, d| d.subnqn = name(SUB2));
    assert_eq!(
        (answer.status, answer.result),
        (DNR_INVALID, InvalidParam::CNTLID.encode().into())
    );
}

#[test]
fn only_hosts_of_the_allow_list_connect() {
    let mut rig = Rig::new();
    let key = rig.open();
    let to_sub2 = |_: &mut ConnectCommand, d: &mut ConnectData| d.subnqn = name(SUB2);
    assert_eq!(
        rig.connect(key, 0, 0xffff, to_sub2).status,
        Status::CONNECT_HOST.no_retry()
    );
    assert_eq!(rig.events(), [(Event::HostRefused, 0x8308)]);
    let Rig { target, out, .. } = &mut rig;
    target.host_add(1, &nqn_field(HOST_A), out).expect("host");
    rig.connect(key, 0, 0xffff, to_sub2).ok();
    let other = rig.open();
    let answer = rig.connect(other, 0, 0xffff, |_, d| {
        (d.subnqn, d.hostnqn) = (name(SUB2), name(HOST_B))
    });
    assert_eq!(answer.status, Status::CONNECT_HOST.no_retry());
    // A host that is withdrawn loses its controller.
    let Rig { target, out, .. } = &mut rig;
    target
        .host_remove(1, &nqn_field(HOST_A), out)
        .expect("listed");
    assert_eq!(rig.told_to_close(), [key]);
}

#[test]
fn closing_a_subsystem_to_unlisted_hosts_ends_their_controllers_and_no_others() {
    let mut rig = Rig::new();
    let (listed, unlisted) = (rig.open(), rig.open());
    let Rig { target, out, .. } = &mut rig;
    target.allow_any_host(1, 1, out).expect("there");
    target.host_add(1, &nqn_field(HOST_A), out).expect("host");
    for (key, host) in [(listed, HOST_A), (unlisted, HOST_B)] {
        rig.connect(key, 0, 0xffff, |_, d| {
            (d.subnqn, d.hostnqn) = (name(SUB2), name(host))
        })
        .ok();
    }
    let Rig { target, out, .. } = &mut rig;
    assert!(target.allow_any_host(1, 2, out).is_err());
    target.allow_any_host(1, 0, out).expect("there");
    assert_eq!(rig.told_to_close(), [unlisted]);
    let late = rig.open();
    let answer = rig.connect(late, 0, 0xffff, |_, d| {
        (d.subnqn, d.hostnqn) = (name(SUB2), name(HOST_B))
    });
    assert_eq!(answer.status, Status::CONNECT_HOST.no_retry());
}

#[test]
fn a_subsystem_is_reached_only_at_its_ports_and_not_at_the_discovery_port() {
    let mut rig = Rig::new();
    for (port, discovery) in [(1, false), (0, true), (200, false)] {
        let key = QueueKey(port.into());
        let via = Via::Tcp { discovery };
        assert!(rig.target.connection_opened(rig.now, key, port, via));
        let answer = rig.connect(key, 0, 0xffff, |_, _| {});
        assert_eq!(
            (answer.status, answer.result),
            (DNR_INVALID, InvalidParam::SUBNQN.encode().into())
        );
    }
}

#[test]
fn the_65th_association_is_refused_as_busy_and_harms_nobody() {
    let mut rig = Rig::new();
    let mut admins: Vec<_> = (0..CONTROLLERS).map(|_| rig.controller()).collect();
    let mut cntlids: Vec<_> = admins.iter().map(|(_, id)| *id).collect();
    cntlids.sort_unstable();
    cntlids.dedup();
    assert_eq!(cntlids.len(), CONTROLLERS, "CNTLIDs are unique");
    let key = rig.open();
    let answer = rig.connect(key, 0, 0xffff, |_, _| {});
    assert_eq!(answer.status, Status::CONNECT_BUSY, "may be tried again");
    for (admin, _) in &admins {
        assert!(rig.csts(*admin).rdy());
    }
    let (gone, old) = admins.remove(10);
    rig.close(gone);
    let new = rig.connect(key, 0, 0xffff, |_, _| {}).ok().result as u16;
    assert_ne!(new, old, "a CNTLID is not reused at once");
    let late = rig.open();
    assert_eq!(
        rig.connect(late, 1, old, |_, _| {}).result,
        u64::from(InvalidParam::CNTLID.encode())
    );
}

#[test]
fn connections_beyond_the_table_are_refused() {
    let mut rig = Rig::new();
    for n in 0..CONNECTIONS as u32 {
        assert!(rig.target.connection_opened(rig.now, QueueKey(n), 0, TCP));
    }
    assert!(
        !rig.target
            .connection_opened(rig.now, QueueKey(9999), 0, TCP)
    );
    assert!(
        !rig.target.connection_opened(rig.now, QueueKey(5), 0, TCP),
        "a key is used once"
    );
    rig.close(QueueKey(3));
    assert!(
        rig.target
            .connection_opened(rig.now, QueueKey(9999), 0, TCP)
    );
}

#[test]
fn commands_before_connect_and_before_enable_are_out_of_sequence() {
    let mut rig = Rig::new();
    let key = rig.open();
    assert_eq!(
        rig.identify(key, 1, 0).status,
        Status::COMMAND_SEQUENCE.no_retry()
    );
    let get = rig.property(4, register::CAP, true, 0);
    assert_eq!(
        rig.send(key, zerocopy::transmute_ref!(&get), &[]).status,
        Status::COMMAND_SEQUENCE.no_retry()
    );
    rig.connect(key, 0, 0xffff, |_, _| {}).ok();
    assert_eq!(
        rig.identify(key, 1, 0).status,
        Status::COMMAND_SEQUENCE.no_retry()
    );
    rig.set_cc(key, ENABLE);
    rig.identify(key, 1, 0).ok();
}

#[test]
fn properties_that_do_not_exist_or_cannot_be_written_are_refused() {
    let mut rig = Rig::new();
    let (key, cntlid) = rig.controller();
    for (fctype, offset, wide) in [
        (4, register::CAP, false),
        (4, register::VS, true),
        (4, register::AQA, false),
        (4, 0xffff_fffc, false),
        (4, register::NSSR, false),
        (0, register::CAP, true),
        (0, register::CSTS, false),
        (0, register::NSSR, false),
    ] {
        let command = rig.property(fctype, offset, wide, u64::MAX);
        let answer = rig.send(key, zerocopy::transmute_ref!(&command), &[]);
        assert_eq!(
            answer.status,
            Status::INVALID_FIELD.no_retry(),
            "{fctype} {offset:x} {wide}"
        );
    }
    let io = rig.io_queue(cntlid, 1);
    let get = rig.property(4, register::CSTS, false, 0);
    assert_eq!(
        rig.send(io, zerocopy::transmute_ref!(&get), &[]).status,
        Status::INVALID_OPCODE.no_retry()
    );
    let ready = rig.property(4, register::CRTO, false, 0);
    assert_eq!(
        rig.send(key, zerocopy::transmute_ref!(&ready), &[])
            .ok()
            .result,
        60
    );
}

#[test]
fn a_configuration_that_cannot_work_is_fatal_until_reset() {
    let mut rig = Rig::new();
    let key = rig.open();
    rig.connect(key, 0, 0xffff, |_, _| {}).ok();
    for bad in [
        0x0000_0001,
        0x0046_0081,
        0x0046_0801,
        0x0046_0071,
        0x0047_0001,
    ] {
        rig.set_cc(key, bad);
        assert!(rig.csts(key).cfs() && !rig.csts(key).rdy(), "{bad:08x}");
        assert_eq!(
            rig.identify(key, 1, 0).status,
            Status::COMMAND_SEQUENCE.no_retry()
        );
        rig.set_cc(key, RESET);
        assert!(!rig.csts(key).cfs());
    }
    rig.set_cc(key, ENABLE);
    assert!(rig.csts(key).rdy());
}

#[test]
fn a_reset_is_done_only_when_the_io_queues_are_gone() {
    let mut rig = Rig::new();
    let (admin, cntlid) = rig.controller();
    let queues = [rig.io_queue(cntlid, 1), rig.io_queue(cntlid, 2)];
    assert!(rig.request_event(admin, 900).is_none());
    rig.set_cc(admin, RESET);
    assert_eq!(rig.told_to_close(), queues);
    assert!(rig.csts(admin).rdy(), "writes may be in flight");
    rig.close(queues[0]);
    assert!(rig.csts(admin).rdy());
    rig.close(queues[1]);
    assert!(!rig.csts(admin).rdy());
    let aborted = |a: &Action| matches!(a, Action::Complete { cid: 900, status, .. } if *status == Status::ABORT_REQUESTED);
    assert!(rig.out.0.iter().any(aborted));
    rig.set_cc(admin, ENABLE);
    rig.io_queue(cntlid, 1);
}

#[test]
fn a_shutdown_completes_when_the_io_queues_are_gone() {
    let mut rig = Rig::new();
    let (admin, cntlid) = rig.controller();
    let io = rig.io_queue(cntlid, 1);
    rig.set_cc(admin, SHUTDOWN);
    assert_eq!(rig.csts(admin).shst(), 1);
    assert_eq!(rig.told_to_close(), [io]);
    rig.close(io);
    assert_eq!(rig.csts(admin).shst(), 2);
    // A host that forgets to go is shown out.
    rig.pass(121_000_000);
    rig.pass(121_000_000);
    assert_eq!(rig.told_to_close(), [admin]);
    rig.close(admin);
    assert_eq!(rig.target.controllers_in_use(), 0);
}

#[test]
fn disconnect_ends_an_io_queue_and_not_the_admin_queue() {
    let mut rig = Rig::new();
    let (admin, cntlid) = rig.controller();
    let io = rig.io_queue(cntlid, 1);
    let mut command = DisconnectCommand::new_zeroed();
    (command.opcode, command.flags, command.fctype) = (0x7f, 0x40, 8);
    assert_eq!(
        rig.send(admin, zerocopy::transmute_ref!(&command), &[])
            .status,
        Status::INVALID_QUEUE_TYPE.no_retry()
    );
    rig.send(io, zerocopy::transmute_ref!(&command), &[]).ok();
    let close = Action::QueueClose {
        key: io,
        abort: false,
    };
    assert_eq!(rig.target.next_close(), Some(close));
    assert!(
        rig.try_send(io, zerocopy::transmute_ref!(&command), &[])
            .is_none(),
        "nothing after the end"
    );
    assert_eq!(rig.target.stray_commands(), 1);
    rig.close(io);
    rig.io_queue(cntlid, 1);
}

#[test]
fn the_loss_of_the_admin_queue_ends_all_queues_and_the_slot_is_free_when_they_are_gone() {
    let mut rig = Rig::new();
    let (admin, cntlid) = rig.controller();
    let queues = [rig.io_queue(cntlid, 1), rig.io_queue(cntlid, 2)];
    let (other, other_id) = rig.controller();
    let others = rig.io_queue(other_id, 1);
    rig.close(admin);
    assert_eq!(rig.told_to_close(), queues, "and no one else's");
    assert_eq!(rig.target.controllers_in_use(), 2);
    let late = rig.open();
    assert_eq!(rig.connect(late, 3, cntlid, |_, _| {}).status, DNR_INVALID);
    rig.close(queues[0]);
    rig.close(queues[1]);
    assert_eq!(rig.target.controllers_in_use(), 1);
    assert!(rig.events().contains(&(Event::HostLost, cntlid.into())));
    assert!(rig.csts(other).rdy());
    assert!(rig.told_to_close().is_empty());
    rig.close(others);
}

#[test]
fn removing_a_subsystem_ends_its_controllers_only() {
    let mut rig = Rig::new();
    let Rig { target, out, .. } = &mut rig;
    target.host_add(1, &nqn_field(HOST_A), out).expect("host");
    let (one, _) = rig.controller();
    let (two, _) = rig.controller_of(|_, d| d.subnqn = name(SUB2));
    rig.out.0.clear();
    let Rig { target, out, .. } = &mut rig;
    target.subsystem_remove(0, out).expect("exists");
    assert_eq!(rig.updates().len(), 1);
    assert_eq!(rig.updates()[0].entry, None);
    assert_eq!(rig.told_to_close(), [one]);
    assert!(rig.csts(two).rdy());
    rig.close(one);
    assert_eq!(rig.target.controllers_in_use(), 1);
}

#[test]
fn a_connection_that_never_becomes_a_queue_is_closed() {
    let mut rig = Rig::new();
    let (_, _) = rig.controller_of(|c, _| c.kato.set(0));
    let idle = rig.open();
    rig.pass(20_000_000);
    assert!(rig.told_to_close().is_empty());
    rig.pass(12_000_000);
    assert_eq!(rig.told_to_close(), [idle]);
}
