//! The discovery subsystem.

use super::*;

const DISCOVERY: &[u8] = b"nqn.2014-08.org.nvmexpress.discovery";

fn discovery(rig: &mut Rig, host: &[u8]) -> QueueKey {
    let (key, _) = rig.controller_of(|_, d| (d.subnqn, d.hostnqn) = (name(DISCOVERY), name(host)));
    rig.set_feature(key, 0x0b, 0x8000_0000).ok();
    key
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn names(log: &[u8]) -> Vec<String> {
    let text = |e: &[u8]| {
        String::from_utf8_lossy(&e[256..512])
            .trim_end_matches('\0')
            .into()
    };
    log[1024..].chunks(1024).map(text).collect()
}

#[test]
fn a_host_sees_what_it_may_use_and_nothing_else() {
    let mut rig = Rig::new();
    let Rig { target, out, .. } = &mut rig;
    target.host_add(1, &nqn_field(HOST_B), out).expect("host");
    let a = discovery(&mut rig, HOST_A);
    let b = discovery(&mut rig, HOST_B);
    let size = |rig: &mut Rig, key| {
        1024 + 1024 * word(&rig.log(key, 0x70, 0, 16, true).ok().data, 8) as u32
    };
    let (len_a, len_b) = (size(&mut rig, a), size(&mut rig, b));
    let of_a = rig.log(a, 0x70, 0, len_a, true).ok().data;
    let of_b = rig.log(b, 0x70, 0, len_b, true).ok().data;
    assert_eq!(
        names(&of_a),
        [
            "nqn.2014-08.org.nvmexpress.discovery",
            "nqn.2026-11.test:sub1"
        ]
    );
    assert_eq!(
        names(&of_b),
        [
            "nqn.2014-08.org.nvmexpress.discovery",
            "nqn.2026-11.test:sub1",
            "nqn.2026-11.test:sub2"
        ]
    );
    let entry = &of_a[2048..];
    assert_eq!(
        entry[..4],
        [3, 1, 2, 6],
        "TCP, IPv4, NVM subsystem, no secure channel"
    );
    assert_eq!(entry[6..8], [0xff, 0xff]);
    assert!(entry[32..].starts_with(b"4420  "));
    assert!(entry[512..].starts_with(b"10.0.0.2  "));
    assert!(
        of_a[1024 + 32..].starts_with(b"8009  "),
        "discovery has its own port"
    );
}

#[test]
fn both_address_families_and_all_ports_are_listed() {
    let mut rig = Rig::new();
    let mut port = PortConfig::new_zeroed();
    port.ipv4 = [192, 168, 100, 200];
    port.ipv6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    port.io_port.set(4420);
    port.discovery_port.set(8009);
    let Rig { target, out, .. } = &mut rig;
    target.port_set(1, &port, out).expect("port");
    target.listener_add(0, 1, 0, out).expect("listener");
    let key = discovery(&mut rig, HOST_A);
    let log = rig.log(key, 0x70, 0, 1024 * 7, true).ok().data;
    assert_eq!(word(&log, 8), 6);
    assert_eq!(log[1024 * 6 + 1], 2);
    assert!(log[1024 * 6 + 512..].starts_with(b"fd00::7 "));
    assert!(log[1024 * 5 + 512..].starts_with(b"192.168.100.200 "));
    assert_eq!(log[1024 * 5 + 4..][..2], [1, 0], "port 1");
}

#[test]
fn a_log_read_in_pieces_is_the_log_read_at_once() {
    let mut rig = Rig::new();
    let key = discovery(&mut rig, HOST_A);
    let whole = rig.log(key, 0x70, 0, 3072, true).ok().data;
    for piece in [4u32, 20, 64, 1000, 1024, 2048] {
        let mut read = Vec::new();
        while read.len() < 3072 {
            let len = piece.min(3072 - read.len() as u32);
            let offset = read.len() as u64;
            read.extend(rig.log(key, 0x70, offset, len, true).ok().data);
        }
        assert!(read == whole, "pieces of {piece}");
    }
    assert_eq!(
        rig.log(key, 0x70, 4096, 4, true).status,
        Status::INVALID_FIELD.no_retry(),
        "beyond the end"
    );
    assert_eq!(
        rig.log(key, 0x70, 2, 4, true).status,
        Status::INVALID_FIELD.no_retry(),
        "not dword aligned"
    );
}

#[test]
fn every_change_moves_the_generation_and_tells_hosts_that_wait() {
    let mut rig = Rig::new();
    let key = discovery(&mut rig, HOST_A);
    let mut last = word(&rig.log(key, 0x70, 0, 16, false).ok().data, 0);
    type Change = fn(&mut Rig);
    let changes: [Change; 6] = [
        |r| {
            r.target
                .host_add(1, &nqn_field(HOST_A), &mut r.out)
                .expect("host")
        },
        |r| {
            r.target
                .listener_remove(1, 0, 0, &mut r.out)
                .expect("listener")
        },
        |r| {
            r.target
                .listener_add(1, 0, 0, &mut r.out)
                .expect("listener")
        },
        |r| {
            r.target
                .host_remove(1, &nqn_field(HOST_A), &mut r.out)
                .expect("host")
        },
        |r| r.target.subsystem_remove(1, &mut r.out).expect("subsystem"),
        |r| {
            r.target
                .subsystem_add(1, &subsystem(SUB2, true), &mut r.out)
                .expect("subsystem")
        },
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let cid = 800 + n as u16;
        assert!(
            rig.request_event(key, cid).is_none(),
            "no event before the change"
        );
        change(&mut rig);
        let told = |a: &Action| matches!(a, Action::Complete { cid: c, result: 0x0070_f002, .. } if *c == cid);
        assert!(rig.out.0.iter().any(told), "change {n}");
        let now = word(&rig.log(key, 0x70, 0, 16, false).ok().data, 0);
        assert!(now > last);
        last = now;
    }
}

#[test]
fn a_change_while_no_request_waits_is_told_later() {
    let mut rig = Rig::new();
    let key = discovery(&mut rig, HOST_A);
    let Rig { target, out, .. } = &mut rig;
    target.listener_remove(1, 0, 0, out).expect("listener");
    assert_eq!(
        rig.request_event(key, 7).expect("at once").result,
        0x0070_f002
    );
}

#[test]
fn discovery_controllers_refuse_what_is_not_theirs() {
    let mut rig = Rig::new();
    let key = discovery(&mut rig, HOST_A);
    assert_eq!(
        rig.identify(key, 0, 1).status,
        Status::INVALID_FIELD.no_retry()
    );
    assert_eq!(
        rig.identify(key, 2, 0).status,
        Status::INVALID_FIELD.no_retry()
    );
    assert_eq!(
        rig.log(key, 0x02, 0, 512, true).status,
        Status::INVALID_LOG_PAGE.no_retry()
    );
    assert_eq!(
        rig.set_feature(key, 7, 0).status,
        Status::INVALID_FIELD.no_retry()
    );
    assert_eq!(
        rig.set_feature(key, 0x0b, 0x100).status,
        Status::INVALID_FIELD.no_retry()
    );
    let abort = rig.admin(AdminOpcode::Abort, 0, 0, |_| {});
    assert_eq!(
        rig.send(key, abort.bytes(), &[]).status,
        Status::INVALID_OPCODE.no_retry()
    );
    let cntlid = rig.ready().cntlid;
    let io = rig.open();
    let answer = rig.connect(io, 1, cntlid, |_, d| d.subnqn = name(DISCOVERY));
    assert_eq!(answer.status, Status::CONNECT_INVALID.no_retry());
    let supported = rig.log(key, 0x00, 0, 1024, true).ok().data;
    let pages: Vec<_> = supported
        .chunks(4)
        .enumerate()
        .filter(|(_, e)| e[0] == 1)
        .map(|(n, _)| n)
        .collect();
    assert_eq!(pages, [0x00, 0x70]);
}

#[test]
fn what_was_configured_is_told_back() {
    use sluice_wire::mgmt::{Status, transports};
    let mut rig = Rig::new();
    let before = rig.target.subsystem_held(1).expect("there");
    assert_eq!(before.config.nqn, nqn_field(SUB2));
    assert_eq!(before.config.allow_any_host, 0);
    let Rig { target, out, .. } = &mut rig;
    target.host_add(1, &nqn_field(HOST_A), out).expect("room");
    target.allow_any_host(1, 1, out).expect("there");
    let _was_there = target.listener_remove(1, 0, transports::TCP, out);
    target
        .listener_add(1, 0, transports::TCP, out)
        .expect("a port");
    let held = target.subsystem_held(1).expect("there");
    assert_eq!(held.config.allow_any_host, 1);
    assert_ne!(held.listeners[0] & transports::TCP as u8, 0);
    assert_eq!(target.host_held(1, 0).expect("one"), nqn_field(HOST_A));
    assert_eq!(
        target.host_held(1, 1).map_err(|r| r.status),
        Err(Status::Missing)
    );
    // By NSID, each as it was added; a lost SSD makes no difference.
    let first = target.namespace_held(0, 0).expect("there");
    target.ssd_set(first.ssd.get() as u8, false, out);
    let again = target.namespace_held(0, first.nsid.get()).expect("there");
    assert_eq!(
        (again.nsid, again.flags, again.blocks),
        (first.nsid, first.flags, first.blocks)
    );
    let next = target
        .namespace_held(0, first.nsid.get() + 1)
        .map(|n| n.nsid.get());
    assert!(next.map_or(true, |nsid| nsid > first.nsid.get()));
    assert!(target.namespace_held(0, u32::MAX).is_err());
    for index in [2, 7, 8, 255, u32::MAX] {
        assert!(target.subsystem_held(index).is_err() && target.host_held(index, 0).is_err());
        assert!(target.namespace_held(index, 1).is_err());
        // 255 stands for discovery inside.
        assert!(target.controller_held(index, 0).is_err());
    }
}

#[test]
fn controllers_are_told_of_by_subsystem_in_the_order_of_their_numbers() {
    use sluice_wire::mgmt::transports;
    let mut rig = Rig::new();
    assert!(rig.target.controller_held(0, 0).is_err(), "nobody came");
    let mut ids = [(); 3].map(|()| rig.controller().1);
    ids.sort_unstable();
    let mut seen = Vec::new();
    let mut from = 0;
    while let Ok(state) = rig.target.controller_held(0, from) {
        from = u32::from(state.cntlid.get()) + 1;
        assert_eq!(state.host_nqn, nqn_field(HOST_A));
        assert_eq!(u32::from(state.transport), transports::TCP);
        assert_eq!(state.queues.get() & 1, 1, "its admin queue");
        seen.push(state.cntlid.get());
    }
    assert_eq!(seen, ids);
    assert!(rig.target.controller_held(1, 0).is_err());
}
