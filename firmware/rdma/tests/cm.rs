//! The connection manager against scripts of a host's messages.

mod support;

use sluice_hal::Micros;
use sluice_rdma::{
    Accept, Cm, CmConfig, CmEnd, CmEvent, CmId, CmPacket, Link, Peer, Request, datagram, receive,
};
use sluice_wire::{
    ib_cm::{
        ATTR_DREP, ATTR_DREQ, ATTR_MRA, ATTR_REJ, ATTR_REP, ATTR_REQ, ATTR_RTU, Dreq, IpCmHeader,
        Message, Mra, Rej, RejectReason, Rejected, Rep, Req, Rtu, SERVICE_TCP, gid_of_ipv4, high24,
        start,
    },
    nvme_rdma::{CmStatus, RejectData, ReplyData, RequestData},
    roce::{Opcode, PathMtu},
};
use support::{CARD_IP, CARD_MAC, Card, HOST_IP, HOST_MAC, frame, over_ipv6, peer};
use zerocopy::{FromBytes, IntoBytes};

type Manager = Cm<8>;
const HOST_ID: u32 = 0xba1d_cd37;
const ACCEPT: Accept = Accept {
    qpn: 0x31_2300,
    psn: 0x12_3456,
    crqsize: 32,
};

/// A REQ as Linux 6.12 sends it, over the given addresses.
fn req(id: u32, qpn: u32, peer: &Peer) -> [u8; 256] {
    let mut mad = [0; 256];
    let req = start::<Req>(&mut mad, ATTR_REQ, u64::from(id)).expect("a MAD");
    req.local_comm_id.set(id);
    req.service_id.set(SERVICE_TCP + 4420);
    req.local_ca_guid.set(0x5054_00ff_fe40_0301);
    req.qpn_resources = high24(qpn, 128);
    req.remote_timeout = high24(0, 20 << 3 | 1);
    req.psn_timeout = high24(0x96_3ce5, 20 << 3 | 7);
    req.pkey.set(0xffff);
    req.mtu_rnr = 3 << 4 | 7;
    req.cm_retries = 15 << 4;
    req.primary.local_gid = peer.gid;
    req.primary.remote_gid = peer.own;
    req.primary.ack_timeout = 17 << 3;
    let ipv6 = peer.is_ipv6();
    let address = |gid: [u8; 16]| {
        if ipv6 {
            gid
        } else {
            u128::from_be_bytes(gid)
                .wrapping_shl(96)
                .wrapping_shr(96)
                .to_be_bytes()
        }
    };
    let header = IpCmHeader {
        version: 0,
        ip_version: if ipv6 { 6 } else { 4 } << 4,
        src_port: 0x85bb.into(),
        src: address(peer.gid),
        dst: address(peer.own),
    };
    let data = RequestData {
        hrqsize: 32.into(),
        hsqsize_z: 31.into(),
        ..RequestData::default()
    };
    req.private[..36].copy_from_slice(header.as_bytes());
    req.private[36..68].copy_from_slice(data.as_bytes());
    mad
}

fn changed(change: impl FnOnce(&mut Req)) -> [u8; 256] {
    let mut mad = req(HOST_ID, 0x11, &peer());
    change(Req::mut_from_bytes(&mut mad).expect("a REQ"));
    mad
}

fn rtu(attribute: u16, from: u32, to: u32) -> [u8; 256] {
    let mut mad = [0; 256];
    let rtu = start::<Rtu>(&mut mad, attribute, 0).expect("a MAD");
    rtu.local_comm_id.set(from);
    rtu.remote_comm_id.set(to);
    mad
}

fn dreq(from: u32, to: u32, qpn: u32) -> [u8; 256] {
    let mut mad = [0; 256];
    let dreq = start::<Dreq>(&mut mad, ATTR_DREQ, 9).expect("a MAD");
    dreq.local_comm_id.set(from);
    dreq.remote_comm_id.set(to);
    dreq.remote_qpn = high24(qpn, 0);
    mad
}

/// The end of a connection that was accepted.
fn ended(id: CmId, why: CmEnd) -> CmEvent {
    let qpn = ACCEPT.qpn;
    CmEvent::Ended { id, qpn, why }
}

struct Bench {
    cm: Manager,
    now: Micros,
    next: u32,
}

impl Bench {
    fn new() -> Self {
        Self::with(&CmConfig::default())
    }

    fn with(cfg: &CmConfig) -> Self {
        let mut cm = Manager::new();
        cm.configure(cfg);
        Self {
            cm,
            now: Micros(5),
            next: 0x7000_0000,
        }
    }

    fn input(&mut self, mad: &[u8; 256]) {
        self.input_from(&peer(), mad);
    }

    fn input_from(&mut self, peer: &Peer, mad: &[u8; 256]) {
        let next = &mut self.next;
        let random = || {
            *next += 1;
            *next
        };
        self.cm
            .input(self.now, &CmPacket { peer: *peer, mad }, random);
    }

    fn asked(&mut self) -> (CmId, Request) {
        let Some(CmEvent::Asked(id, request)) = self.cm.poll_event() else {
            panic!("not asked")
        };
        (id, request)
    }

    fn accepted(&mut self) -> CmId {
        self.input(&req(HOST_ID, 0x11, &peer()));
        let (id, _) = self.asked();
        self.cm.accept(self.now, id, &ACCEPT).expect("waits for it");
        id
    }

    fn established(&mut self) -> CmId {
        let id = self.accepted();
        self.attribute();
        self.input(&rtu(ATTR_RTU, HOST_ID, id.get()));
        assert_eq!(self.cm.poll_event(), Some(CmEvent::Established(id)));
        id
    }

    fn sent(&mut self) -> Option<[u8; 256]> {
        let mut mad = [0xa5; 256];
        let to = self.cm.poll_transmit(&mut mad)?;
        assert_eq!(to.gid, gid_of_ipv4(HOST_IP));
        Some(mad)
    }

    /// What kind of message was sent.
    fn attribute(&mut self) -> Option<u16> {
        self.sent()
            .map(|mad| Message::of(&mad).expect("CM").mad().attribute.get())
    }

    /// Reason, additional information and NVMe status of the REJ sent.
    fn rejected(&mut self) -> (u16, u8, u16) {
        let mad = self.sent().expect("an answer");
        let rej = Rej::ref_from_bytes(&mad).expect("256 bytes");
        assert_eq!(rej.mad.attribute.get(), ATTR_REJ);
        assert_eq!(rej.remote_comm_id.get(), HOST_ID);
        let data = RejectData::ref_from_prefix(&rej.private).expect("fits").0;
        assert_eq!(data.recfmt.get(), 0);
        (rej.reason.get(), rej.info[0], data.status.get())
    }

    fn pass(&mut self, micros: u64) {
        self.now = self.now.after(micros);
        self.cm.handle_timeouts(self.now);
    }
}

#[test]
fn a_host_asks_is_accepted_and_confirms() {
    let mut bench = Bench::new();
    bench.input(&req(HOST_ID, 0x11, &peer()));
    let (id, request) = bench.asked();
    assert_eq!(
        (request.port, request.remote_qpn, request.send_psn),
        (4420, 0x11, 0x96_3ce5)
    );
    assert_eq!(
        (request.mtu, request.reads, request.ack_timeout),
        (PathMtu::Bytes1024, 2, 14)
    );
    assert_eq!(
        (
            request.queue.qid,
            request.queue.entries,
            request.queue.responses
        ),
        (0, 32, 32)
    );
    assert_eq!(bench.attribute(), None, "the application is asked first");
    bench
        .cm
        .accept(bench.now, id, &ACCEPT)
        .expect("waits for it");
    let mad = bench.sent().expect("REP");
    let rep = Rep::ref_from_bytes(&mad).expect("256 bytes");
    assert_eq!(
        (rep.mad.attribute.get(), rep.mad.tid.get()),
        (ATTR_REP, u64::from(HOST_ID))
    );
    assert_eq!(
        (rep.local_comm_id.get(), rep.remote_comm_id.get()),
        (id.get(), HOST_ID)
    );
    assert_eq!(
        (rep.qpn.get() >> 8, rep.psn.get() >> 8),
        (ACCEPT.qpn, ACCEPT.psn)
    );
    assert_eq!(
        (
            rep.responder_resources,
            rep.initiator_depth,
            rep.rnr_srq >> 5
        ),
        (0, 2, 7)
    );
    let data = ReplyData::ref_from_prefix(&rep.private).expect("fits").0;
    assert_eq!((data.recfmt.get(), data.crqsize.get()), (0, 32));
    bench.input(&rtu(ATTR_RTU, HOST_ID, id.get()));
    assert_eq!(bench.cm.poll_event(), Some(CmEvent::Established(id)));
    assert_eq!(
        (bench.cm.deadline().is_some(), bench.cm.connections()),
        (true, 1)
    );
    bench.pass(10_000_000);
    assert_eq!(
        (bench.attribute(), bench.cm.deadline()),
        (None, None),
        "nothing is timed any more"
    );
}

#[test]
fn every_fault_of_a_req_has_its_reason() {
    let reason = |reason: RejectReason| (reason as u16, 0, 0);
    let status = |status: CmStatus| (28, 0, status as u16);
    let private = |at: usize, value: u8| changed(move |req| req.private[at] = value);
    for (what, mad, want) in [
        (
            "port",
            changed(|r| r.service_id.set(SERVICE_TCP + 4499)),
            reason(RejectReason::InvalidServiceId),
        ),
        (
            "port 0",
            changed(|r| r.service_id.set(SERVICE_TCP)),
            reason(RejectReason::InvalidServiceId),
        ),
        (
            "UDP",
            changed(|r| r.service_id.set(0x0111_1144)),
            reason(RejectReason::InvalidServiceId),
        ),
        (
            "UC",
            changed(|r| r.remote_timeout.set(1 << 1)),
            reason(RejectReason::InvalidTransportType),
        ),
        (
            "own GID",
            changed(|r| r.primary.remote_gid[15] = 9),
            reason(RejectReason::InvalidGid),
        ),
        (
            "host's GID",
            changed(|r| r.primary.local_gid[15] = 9),
            reason(RejectReason::InvalidGid),
        ),
        (
            "QP 1",
            changed(|r| r.qpn_resources = high24(1, 128)),
            reason(RejectReason::NoQp),
        ),
        ("MTU 4096", changed(|r| r.mtu_rnr = 5 << 4), (26, 3 << 4, 0)),
        ("MTU code", changed(|r| r.mtu_rnr = 0), (26, 3 << 4, 0)),
        (
            "READs",
            changed(|r| r.qpn_resources = high24(0x11, 0)),
            status(CmStatus::InvalidIrd),
        ),
        (
            "CMA version",
            private(0, 0x10),
            status(CmStatus::InvalidLength),
        ),
        (
            "IP version",
            private(1, 0x60),
            status(CmStatus::InvalidLength),
        ),
        (
            "other source",
            private(19, 9),
            status(CmStatus::InvalidLength),
        ),
        ("RECFMT", private(36, 1), status(CmStatus::InvalidRecfmt)),
        ("QID", private(39, 0xff), status(CmStatus::InvalidQid)),
        ("HRQSIZE", private(40, 0), status(CmStatus::InvalidHrqsize)),
        ("HSQSIZE", private(42, 32), status(CmStatus::InvalidHsqsize)),
        (
            "HSQSIZE huge",
            changed(|r| r.private[42..44].fill(0xff)),
            status(CmStatus::InvalidHsqsize),
        ),
    ] {
        let mut bench = Bench::new();
        bench.input(&mad);
        assert_eq!(bench.rejected(), want, "{what}");
        assert_eq!(
            (bench.cm.poll_event(), bench.cm.connections()),
            (None, 0),
            "{what}"
        );
    }
}

#[test]
fn private_data_beyond_what_the_format_has_changes_nothing() {
    let mut bench = Bench::new();
    bench.input(&changed(|r| r.private[68..].fill(0xff)));
    let (_, request) = bench.asked();
    assert_eq!(request.queue.entries, 32);
}

#[test]
fn the_application_rejects_with_an_nvme_status() {
    let mut bench = Bench::new();
    bench.input(&req(HOST_ID, 0x11, &peer()));
    let (id, _) = bench.asked();
    bench.cm.reject(id, CmStatus::InvalidCntlid);
    assert_eq!(bench.rejected(), (28, 0, 9));
    assert_eq!(bench.cm.accept(bench.now, id, &ACCEPT), None);
}

#[test]
fn a_req_that_comes_again_gets_the_same_rep() {
    let mut bench = Bench::new();
    bench.input(&req(HOST_ID, 0x11, &peer()));
    bench.input(&req(HOST_ID, 0x11, &peer()));
    let (id, _) = bench.asked();
    assert_eq!(bench.cm.poll_event(), None, "asked once");
    bench
        .cm
        .accept(bench.now, id, &ACCEPT)
        .expect("waits for it");
    let first = bench.sent();
    bench.input(&req(HOST_ID, 0x11, &peer()));
    assert_eq!((bench.sent(), first.is_some()), (first, true));
    bench.input(&rtu(ATTR_RTU, HOST_ID, id.get()));
    bench.input(&req(HOST_ID, 0x11, &peer()));
    assert_eq!(
        (bench.sent(), bench.cm.stats().duplicates),
        (None, 3),
        "it has the REP"
    );
}

#[test]
fn a_rep_is_repeated_and_given_up_in_the_end() {
    let mut bench = Bench::with(&CmConfig {
        tries: 3,
        ..CmConfig::default()
    });
    let id = bench.accepted();
    for _ in 0..3 {
        assert_eq!(bench.attribute(), Some(ATTR_REP));
        assert_eq!(bench.attribute(), None);
        bench.pass(1_000_000);
    }
    assert_eq!(bench.rejected(), (RejectReason::Timeout as u16, 0, 0));
    assert_eq!(bench.cm.poll_event(), Some(ended(id, CmEnd::Timeout)));
    assert_eq!(bench.cm.connections(), 0);
}

#[test]
fn a_packet_on_the_queue_pair_stands_for_a_lost_rtu() {
    let mut bench = Bench::new();
    let id = bench.accepted();
    bench.attribute();
    bench.cm.established(id);
    bench.pass(10_000_000);
    assert_eq!((bench.attribute(), bench.cm.connections()), (None, 1));
}

#[test]
fn an_mra_delays_the_repetition_but_not_for_ever() {
    let mra = |id: CmId| {
        let mut mad = [0; 256];
        let mra = start::<Mra>(&mut mad, ATTR_MRA, 0).expect("a MAD");
        mra.local_comm_id.set(HOST_ID);
        mra.remote_comm_id.set(id.get());
        mra.message = (Rejected::Rep as u8) << 6;
        // 4.096 µs × 2^20: 4.3 s.
        mra.timeout = 20 << 3;
        mad
    };
    let mut bench = Bench::new();
    let id = bench.accepted();
    bench.attribute();
    bench.input(&mra(id));
    bench.pass(4_000_000);
    assert_eq!(bench.attribute(), None);
    bench.pass(2_000_000);
    assert_eq!(bench.attribute(), Some(ATTR_REP));
    for _ in 0..100 {
        bench.input(&mra(id));
        bench.pass(6_000_000);
    }
    assert_eq!(bench.cm.poll_event(), Some(ended(id, CmEnd::Timeout)));
}

#[test]
fn the_host_disconnects_and_is_answered_however_often_it_asks() {
    let mut bench = Bench::new();
    let id = bench.established();
    for round in 0..3 {
        bench.input(&dreq(HOST_ID, id.get(), ACCEPT.qpn));
        let mad = bench.sent().expect("DREP");
        let drep = Rtu::ref_from_bytes(&mad).expect("256 bytes");
        assert_eq!(
            (drep.mad.attribute.get(), drep.mad.tid.get()),
            (ATTR_DREP, 9)
        );
        assert_eq!(
            (drep.local_comm_id.get(), drep.remote_comm_id.get()),
            (id.get(), HOST_ID)
        );
        let ended = (round == 0).then_some(ended(id, CmEnd::Disconnected));
        assert_eq!(bench.cm.poll_event(), ended);
    }
    assert_eq!(bench.cm.connections(), 0);
}

#[test]
fn a_disconnect_from_here_is_repeated_until_the_host_confirms() {
    let mut bench = Bench::new();
    let id = bench.established();
    bench.cm.disconnect(bench.now, id);
    let mad = bench.sent().expect("DREQ");
    let sent = Dreq::ref_from_bytes(&mad).expect("256 bytes");
    assert_eq!(
        (sent.mad.attribute.get(), sent.remote_qpn.get() >> 8),
        (ATTR_DREQ, 0x11)
    );
    bench.pass(1_000_000);
    assert_eq!(bench.attribute(), Some(ATTR_DREQ));
    bench.input(&rtu(ATTR_DREP, HOST_ID, id.get()));
    assert_eq!((bench.cm.connections(), bench.cm.poll_event()), (0, None));

    let id = bench.established();
    bench.cm.disconnect(bench.now, id);
    for _ in 0..20 {
        bench.pass(1_000_000);
    }
    assert_eq!(
        bench.cm.connections(),
        0,
        "a host that is gone is forgotten"
    );
}

#[test]
fn both_sides_disconnect_at_once() {
    let mut bench = Bench::new();
    let id = bench.established();
    bench.cm.disconnect(bench.now, id);
    bench.input(&dreq(HOST_ID, id.get(), ACCEPT.qpn));
    assert_eq!(bench.attribute(), Some(ATTR_DREP));
    assert_eq!((bench.cm.connections(), bench.cm.poll_event()), (0, None));
}

#[test]
fn strangers_end_no_connection() {
    let mut bench = Bench::new();
    let id = bench.established();
    let stranger = Peer {
        gid: gid_of_ipv4([10, 0, 0, 9]),
        ..peer()
    };
    bench.input_from(&stranger, &dreq(HOST_ID, id.get(), ACCEPT.qpn));
    bench.input(&dreq(HOST_ID ^ 1, id.get(), ACCEPT.qpn));
    bench.input(&dreq(HOST_ID, id.get(), ACCEPT.qpn ^ 1));
    bench.input(&rtu(ATTR_DREP, HOST_ID, id.get()));
    bench.input(&rtu(ATTR_REJ, HOST_ID, id.get()));
    assert_eq!(
        (
            bench.cm.connections(),
            bench.cm.poll_event(),
            bench.attribute()
        ),
        (1, None, None)
    );
    assert_eq!(bench.cm.stats().ignored, 5);
}

#[test]
fn a_queue_pair_that_asks_again_has_forgotten_its_connection() {
    let mut bench = Bench::new();
    let id = bench.established();
    let other = req(HOST_ID + 1, 0x11, &peer());
    bench.input(&other);
    assert_eq!(bench.cm.poll_event(), Some(ended(id, CmEnd::Stale)));
    let mad = bench.sent().expect("REJ");
    assert_eq!(
        Rej::ref_from_bytes(&mad).expect("256 bytes").reason.get(),
        RejectReason::StaleConnection as u16
    );
    assert_eq!(bench.attribute(), Some(ATTR_DREQ), "for the old one");
    bench.input(&rtu(ATTR_DREP, HOST_ID, id.get()));
    bench.input(&other);
    bench.asked();
}

#[test]
fn the_host_rejects_the_rep() {
    let mut bench = Bench::new();
    let id = bench.accepted();
    let mut mad = rtu(ATTR_REJ, HOST_ID, id.get());
    mad[24 + 10..24 + 12].copy_from_slice(&[0, 28]);
    bench.input(&mad);
    assert_eq!(bench.cm.poll_event(), Some(ended(id, CmEnd::Rejected(28))));
    assert_eq!(bench.cm.connections(), 0);
}

#[test]
fn half_open_connections_are_bounded_and_places_come_back() {
    let mut bench = Bench::with(&CmConfig {
        half_open: 2,
        ..CmConfig::default()
    });
    for i in 0..2 {
        bench.input(&req(i, 0x100 + i, &peer()));
        bench.asked();
    }
    bench.input(&req(HOST_ID, 0x11, &peer()));
    assert_eq!(bench.rejected(), (28, 0, CmStatus::NoResources as u16));
    bench.pass(2_000_000);
    let ended = [bench.cm.poll_event(), bench.cm.poll_event()];
    assert!(ended.iter().all(|e| matches!(
        e,
        Some(CmEvent::Ended {
            qpn: 0,
            why: CmEnd::Unanswered,
            ..
        })
    )));
    assert_eq!([bench.attribute(), bench.attribute()], [Some(ATTR_REJ); 2]);
    bench.input(&req(HOST_ID, 0x11, &peer()));
    bench.asked();
}

#[test]
fn a_full_table_and_full_queues_lose_only_what_comes_again() {
    let mut bench = Bench::new();
    for i in 0..100 {
        bench.input(&req(i, 0x100 + i, &peer()));
    }
    let mut asked = 0;
    while let Some(CmEvent::Asked(..)) = bench.cm.poll_event() {
        asked += 1;
    }
    let mut answers = 0;
    while bench.attribute().is_some() {
        answers += 1;
    }
    assert_eq!((asked, answers), (8, 8));
    assert_eq!(bench.cm.stats().dropped, 84);
}

#[test]
fn messages_that_make_no_sense_are_counted_or_answered() {
    let mut bench = Bench::new();
    bench.input(&[0; 256]);
    bench.input(&rtu(ATTR_RTU, 1, 2));
    bench.input(&rtu(0x19, 1, 2));
    bench.input(&rtu(ATTR_MRA, 1, 2));
    assert_eq!((bench.cm.stats().ignored, bench.sent()), (4, None));
    bench.input(&rtu(ATTR_REP, HOST_ID, 7));
    assert_eq!(bench.rejected(), (RejectReason::InvalidCommId as u16, 0, 0));
}

#[test]
fn ipv6_hosts_are_served_at_their_gids() {
    let mut six = peer();
    six.gid = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    six.own = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let mut bench = Bench::new();
    bench.input_from(&six, &req(HOST_ID, 0x11, &six));
    let (_, request) = bench.asked();
    assert_eq!(request.peer, six);
}

#[test]
fn a_datagram_comes_out_of_its_frame_and_goes_into_one() {
    let mut card = Card::new(1);
    let mad = req(HOST_ID, 0x11, &peer());
    let deth = [0x80, 1, 0, 0, 0, 0, 0, 1];
    let rx = card
        .receive(
            &frame(Opcode::UdSendOnly, 1, 0, true, &deth, &mad),
            Micros(0),
        )
        .expect("right");
    let mut into = [0; 256];
    let packet = receive(&rx, &mut into, &mut card).expect("a datagram");
    assert_eq!(
        (packet.peer.mac, packet.peer.gid, packet.peer.own),
        (HOST_MAC, gid_of_ipv4(HOST_IP), gid_of_ipv4(CARD_IP))
    );
    assert_eq!(packet.mad, &mad);
    let (host, own) = ([0xfd; 16], [0xfe; 16]);
    let six = over_ipv6(
        &frame(Opcode::UdSendOnly, 1, 0, true, &deth, &mad),
        host,
        own,
        Some(7),
    );
    let rx = card.receive(&six, Micros(0)).expect("right");
    let packet = receive(&rx, &mut into, &mut card).expect("a datagram");
    assert_eq!(
        (packet.peer.gid, packet.peer.own, packet.peer.tci),
        (host, own, 7)
    );
    assert_eq!(packet.mad, &mad);
    // Private data cut short, or more of them than a datagram holds.
    for len in [0, 24, 252, 260, 512] {
        let bytes = vec![7; len];
        let rx = card
            .receive(
                &frame(Opcode::UdSendOnly, 1, 0, true, &deth, &bytes),
                Micros(0),
            )
            .expect("right");
        assert!(receive(&rx, &mut into, &mut card).is_none(), "{len} bytes");
    }
    for (opcode, qpn, deth) in [
        (Opcode::UdSendOnly, 1, [0, 1, 0, 0, 0, 0, 0, 1]),
        (Opcode::UdSendOnly, 2, deth),
        (Opcode::UdSendOnly, 1, [0x80, 1, 0, 0, 0, 0, 0, 2]),
    ] {
        let rx = card
            .receive(&frame(opcode, qpn, 0, true, &deth, &mad), Micros(0))
            .expect("right");
        assert!(receive(&rx, &mut into, &mut card).is_none());
    }

    let (header, body) = (sluice_hal::PmAddr(0x58_0002), sluice_hal::PmAddr(0x58_0100));
    card.write(body, &mad);
    let job = datagram(&peer(), CARD_MAC, 0, 5, header, body, &mut card);
    card.send(&job).expect("room");
    let sent = card.sent.pop_front().expect("sent");
    let view = support::view(&sent);
    assert_eq!(
        (
            view.opcode,
            view.bth.qpn(),
            view.bth.sequence(),
            view.payload
        ),
        (Opcode::UdSendOnly, 1, 5, &mad[..])
    );
    assert_eq!(
        view.deth.map(|d| (d.qkey.get(), d.src_qp.get())),
        Some((0x8001_0000, 1))
    );
}
