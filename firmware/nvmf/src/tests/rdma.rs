//! Two transports at one port.

use super::*;
use sluice_wire::{
    fabrics::InvalidParam,
    mgmt::{self, transports},
    nvme::{Cap, DiscoveryEntry, DiscoveryHeader, ErrorEntry, IdentifyController},
};
use zerocopy::FromBytes;

const DISCOVERY: &[u8] = b"nqn.2014-08.org.nvmexpress.discovery";

/// As Linux asks for its admin queue, and for an I/O queue.
const ADMIN: Via = Via::Rdma {
    qid: 0,
    entries: 32,
};

fn io(qid: u16) -> Via {
    Via::Rdma { qid, entries: 128 }
}

/// A rig whose port speaks RDMA too.
fn rig() -> Rig {
    let mut rig = Rig::new();
    let mut port = PortConfig::new_zeroed();
    port.ipv4 = [10, 0, 0, 2];
    port.ipv6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    port.io_port.set(4421);
    port.discovery_port.set(8009);
    port.rdma_port.set(4420);
    let Rig { target, out, .. } = &mut rig;
    target.port_set(0, &port, out).expect("port");
    rig
}

/// TRTYPE, address family, subtype, service and whether the TSAS is RDMA's, of all entries.
fn entries(rig: &mut Rig, via: Via) -> Vec<(u8, u8, u8, String, bool)> {
    let (key, _) = rig.controller_via(via, |_, d| d.subnqn = name(DISCOVERY));
    let header = rig.log(key, 0x70, 0, 1024, true).ok().data;
    let header = DiscoveryHeader::read_from_bytes(&header).expect("a header");
    let len = 1024 * (1 + header.records.get() as u32);
    let log = rig.log(key, 0x70, 0, len, true).ok().data;
    rig.close(key);
    let entry = |bytes: &[u8]| {
        let e = DiscoveryEntry::read_from_bytes(bytes).expect("an entry");
        let service = String::from_utf8_lossy(&e.trsvcid).trim_end().into();
        let asqsz = if e.trtype == 1 { 128 } else { 1024 };
        assert_eq!(e.asqsz.get(), asqsz);
        // Reliable connection, RoCEv2, RDMA_CM.
        let rdma = e.tsas[..4] == [1, 4, 1, 0];
        (e.trtype, e.adrfam, e.subtype, service, rdma)
    };
    log[1024..].chunks(1024).map(entry).collect()
}

#[test]
fn discovery_lists_everything_once_per_family_and_transport_over_either() {
    let mut rig = rig();
    let tcp = |family, kind, port: &str| (3, family, kind, port.into(), false);
    let rdma = |family, kind| (1, family, kind, "4420".into(), true);
    let want = [
        tcp(1, 3, "8009"),
        rdma(1, 3),
        tcp(2, 3, "8009"),
        rdma(2, 3),
        tcp(1, 2, "4421"),
        rdma(1, 2),
        tcp(2, 2, "4421"),
        rdma(2, 2),
    ];
    assert_eq!(entries(&mut rig, Via::Tcp { discovery: true }), want);
    assert_eq!(entries(&mut rig, TCP), want);
    assert_eq!(entries(&mut rig, ADMIN), want);
}

#[test]
fn a_subsystem_is_reached_over_the_transports_it_listens_at() {
    let mut rig = rig();
    let connects = |rig: &mut Rig| {
        [TCP, ADMIN].map(|via| {
            let key = rig.open_via(via);
            let answer = rig.connect(key, 0, 0xffff, |_, _| {});
            rig.close(key);
            if answer.status != Status::SUCCESS {
                assert_eq!(answer.status, Status::CONNECT_INVALID.no_retry());
                assert_eq!(answer.result, InvalidParam::SUBNQN.encode().into());
            }
            answer.status == Status::SUCCESS
        })
    };
    let kinds = |rig: &mut Rig| {
        let of_subsystems = |e: &(u8, u8, u8, String, bool)| (e.1, e.2) == (1, 2);
        let all = entries(rig, TCP);
        all.into_iter()
            .filter(of_subsystems)
            .map(|e| e.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (connects(&mut rig), kinds(&mut rig)),
        ([true, true], std::vec![3, 1])
    );
    let before = rig.target.generation;
    let Rig { target, out, .. } = &mut rig;
    target
        .listener_remove(0, 0, transports::TCP, out)
        .expect("listener");
    assert_eq!(target.generation, before + 1);
    assert_eq!(
        (connects(&mut rig), kinds(&mut rig)),
        ([false, true], std::vec![1])
    );
    let Rig { target, out, .. } = &mut rig;
    target
        .listener_add(0, 0, transports::TCP, out)
        .expect("listener");
    target
        .listener_remove(0, 0, transports::RDMA, out)
        .expect("listener");
    assert_eq!(
        (connects(&mut rig), kinds(&mut rig)),
        ([true, false], std::vec![3])
    );
}

#[test]
fn listeners_are_refused_with_the_reason() {
    let mut rig = rig();
    let Rig { target, out, .. } = &mut rig;
    let status = |outcome: Result<(), crate::Refusal>| outcome.expect_err("refused").status;
    use transports::{ALL, RDMA, TCP};
    assert_eq!(
        status(target.listener_add(0, 0, RDMA, out)),
        mgmt::Status::Exists
    );
    assert_eq!(
        status(target.listener_add(0, 0, 4, out)),
        mgmt::Status::BadIndex
    );
    assert_eq!(
        status(target.listener_remove(0, 4, ALL, out)),
        mgmt::Status::BadIndex
    );
    target.listener_remove(0, 0, TCP, out).expect("listener");
    assert_eq!(
        status(target.listener_remove(0, 0, TCP, out)),
        mgmt::Status::Missing
    );
    target
        .listener_add(0, 0, ALL, out)
        .expect("one of two was missing");
    let mut port = PortConfig::new_zeroed();
    port.io_port.set(4420);
    target.port_set(1, &port, out).expect("port");
    assert_eq!(
        status(target.listener_add(0, 1, RDMA, out)),
        mgmt::Status::Missing,
        "no RDMA there"
    );
    target
        .listener_add(0, 1, 0, out)
        .expect("whatever there is");
}

#[test]
fn connect_must_not_contradict_the_request_for_the_queue_pair() {
    let mut rig = rig();
    let says = |answer: Answer| {
        assert_eq!(answer.status, Status::CONNECT_INVALID.no_retry());
        answer.result
    };
    let (qid, sqsize) = (InvalidParam::QID.encode(), InvalidParam::SQSIZE.encode());
    let key = rig.open_via(io(1));
    let answer = rig.connect(key, 0, 0xffff, |_, _| {});
    assert_eq!(says(answer), qid.into(), "another queue than announced");
    let key = rig.open_via(ADMIN);
    let answer = rig.connect(key, 0, 0xffff, |c, _| c.sqsize_z.set(32));
    assert_eq!(says(answer), sqsize.into(), "longer than announced");
    let cntlid = rig.connect(key, 0, 0xffff, |_, _| {}).ok().result as u16;
    rig.set_cc(key, ENABLE);
    let first = rig.open_via(io(2));
    assert_eq!(says(rig.connect(first, 1, cntlid, |_, _| {})), qid.into());
    let answer = rig.connect(first, 2, cntlid, |c, _| c.sqsize_z.set(128));
    assert_eq!(says(answer), sqsize.into());
    let longest = |c: &mut ConnectCommand, _: &mut ConnectData| c.sqsize_z.set(127);
    rig.connect(first, 2, cntlid, longest).ok();
    assert_eq!(rig.ready().entries, 128);
}

#[test]
fn an_association_stays_with_its_transport() {
    let mut rig = rig();
    for (admin, wrong, right) in [(TCP, io(1), TCP), (ADMIN, TCP, io(1))] {
        let (key, cntlid) = rig.controller_via(admin, |_, _| {});
        let stray = rig.open_via(wrong);
        let answer = rig.connect(stray, 1, cntlid, |_, _| {});
        assert_eq!(
            (answer.status, answer.result),
            (
                Status::CONNECT_INVALID.no_retry(),
                InvalidParam::CNTLID.encode().into()
            )
        );
        let queue = rig.open_via(right);
        rig.connect(queue, 1, cntlid, |_, _| {}).ok();
        rig.close(key);
    }
}

#[test]
fn controllers_announce_what_their_transport_can_do() {
    let mut rig = rig();
    // SGLS and MSDBD as Linux nvmet announces them over RDMA, but for the number of descriptors.
    for (via, sgls, msdbd, entries) in [
        (TCP, 1 | 1 << 20 | 1 << 21, 1, 1024),
        (ADMIN, 1 | 1 << 2 | 1 << 20, 4, 128),
    ] {
        let (key, _) = rig.controller_via(via, |_, _| {});
        let id = rig.identify(key, 1, 0).ok().data;
        let id = IdentifyController::read_from_bytes(&id).expect("Identify data");
        assert_eq!(
            (id.sgls.get(), id.msdbd, id.maxcmd.get()),
            (sgls, msdbd, entries)
        );
        assert_eq!((id.ioccsz.get(), id.icdoff.get()), ((64 + 8192) / 16, 0));
        let get = rig.property(4, register::CAP, true, 0);
        let cap = rig.send(key, zerocopy::transmute_ref!(&get), &[]).ok();
        assert_eq!(Cap(cap.result).mqes_z() + 1, entries);
    }
}

#[test]
fn the_error_log_names_the_transport() {
    let mut rig = rig();
    for (via, trtype) in [(TCP, 3), (ADMIN, 1)] {
        let (key, _) = rig.controller_via(via, |_, _| {});
        assert_ne!(rig.identify(key, 0x7f, 0).status, Status::SUCCESS);
        let log = rig.log(key, 0x01, 0, 64, true).ok().data;
        let entry = ErrorEntry::read_from_bytes(&log).expect("an entry");
        assert_eq!(entry.trtype, trtype);
    }
}

#[test]
fn a_lost_queue_pair_of_the_admin_queue_ends_the_association() {
    let mut rig = rig();
    let (admin, cntlid) = rig.controller_via(ADMIN, |_, _| {});
    let queue = rig.open_via(io(1));
    rig.connect(queue, 1, cntlid, |_, _| {}).ok();
    rig.close(admin);
    assert_eq!(rig.told_to_close(), [queue]);
    rig.close(queue);
    assert!(rig.events().contains(&(Event::HostLost, cntlid.into())));
}
