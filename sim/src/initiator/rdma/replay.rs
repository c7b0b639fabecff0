//! Sessions of a real Linux host (nvme-rdma over rxe): the target's side of a capture is fed to this host, and what this host sends
//! is compared with what Linux sent, wherever Linux had no choice.
//!
//! The captures were taken at the host, so what is in them from the target is what the host has seen.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    path::Path,
};

use sluice_wire::{
    ib_cm::{IpCmHeader, Message, Rej, Req},
    ib_mad::GSI_QPN,
    nvme::{SglKind, Sqe},
    nvme_rdma::{Keyed, RequestData},
    roce::{Aeth, Opcode, PathMtu},
};
use zerocopy::FromBytes;

use super::{
    cm::{Cm, CmEvent, CmFaults, Identity, Mad, Request},
    frame::{self, Packet, Received},
    memory::{Access, Memory},
    qp::{Event, Qp, QpConfig, Work, distance},
};
use crate::pcap;

const HOST: [u8; 4] = [10, 0, 0, 1];

/// A capture's RoCE packets, with the times in clocks and the frames.
fn read(name: &str) -> Vec<(u64, Received, Vec<u8>)> {
    let file = format!("data/captures/{name}.pcap");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let frames = pcap::read(&path).unwrap_or_else(|error| panic!("{error}"));
    let start = frames.first().map_or(0, |p| p.nanos);
    let mut packets = vec![];
    for (n, captured) in (1..).zip(frames) {
        if let Some(parsed) = frame::parse(&captured.data) {
            let received = parsed.unwrap_or_else(|bad| panic!("{name}, frame {n}: {bad:?}"));
            packets.push(((captured.nanos - start) / 4, received, captured.data));
        }
    }
    packets
}

fn is_host(received: &Received) -> bool {
    received.from.ip == IpAddr::from(HOST)
}

const ALL: [&str; 8] = [
    "c_rdma_rxe",
    "f1_rdma_loss2",
    "f2_rdma_loss1_reorder_dup",
    "h_rdma_errors",
    "i_rdma_aen_ns_change",
    "j_rdma_2queues_fio",
    "k_rdma_pmtu4096",
    "l_rdma_reconnect",
];

/// The same packet with the frame's own identification makes the same frame, ICRC included; the bits that rxe's solicited events
/// set are the only ones a packet here does not have.
#[test]
fn frames_of_linux_are_made_again_byte_for_byte() {
    for name in ALL {
        let mut same = 0;
        for (_, received, bytes) in read(name) {
            let path = frame::Path {
                src_port: received.src_port,
                ip_id: u16::from_be_bytes([bytes[18], bytes[19]]),
                ecn: false,
            };
            let made = received.packet.frame(&received.from, &received.to, path);
            if bytes[14 + 20 + 8 + 1] & 0x80 != 0 {
                continue;
            }
            assert_eq!(made, bytes, "{name}: {:?}", received.packet);
            same += 1;
        }
        assert!(same > 100, "{name}: {same}");
    }
}

/// A connection of Linux's, from its REQ on.
struct Session {
    mtu: PathMtu,
    cm: Cm,
    qp: Option<Qp>,
    memory: Memory,
    /// What Linux sent on the queue pair and this host did not yet.
    wanted: VecDeque<Packet>,
    /// What this host sent and Linux did not yet.
    sent: VecDeque<Packet>,
    /// A message of Linux's that is not complete.
    message: Vec<u8>,
    next_psn: Option<u32>,
    compared: usize,
    naks: usize,
    responses: usize,
}

fn request_of(req: &Req, faults: CmFaults) -> Request {
    let (header, _) = IpCmHeader::read_from_prefix(&req.private).expect("its size");
    let (private, _) = RequestData::read_from_prefix(&req.private[36..]).expect("its size");
    Request {
        identity: Identity {
            comm_id: req.local_comm_id.get(),
            tid: req.mad.tid.get(),
            qpn: req.qpn(),
            psn: req.starting_psn(),
            guid: req.local_ca_guid.get().to_be_bytes(),
            port: header.src_port.get(),
        },
        addresses: (HOST.into(), [10, 0, 0, 2].into()),
        port: req.service_id.get() as u16,
        mtu: PathMtu::from_code(req.mtu_code()).expect("a path MTU"),
        resources: 128,
        depth: 0,
        ack_timeout: 17,
        retries: 7,
        rnr_retries: 7,
        cm_timeout: 20,
        cm_retries: 15,
        private,
        faults,
    }
}

fn take_mad(cm: &mut Cm) -> Option<Mad> {
    cm.take_mad().map(|(mad, len)| {
        assert_eq!(len, mad.len());
        mad
    })
}

impl Session {
    fn open(now: u64, req: &Req, mad: &Mad, name: &str) -> Self {
        let request = request_of(req, CmFaults::default());
        let mtu = request.mtu;
        let mut cm = Cm::connect(request, now);
        let sent = take_mad(&mut cm).expect("a REQ");
        assert_eq!(sent, *mad, "{name}: REQ");
        Self {
            mtu,
            cm,
            qp: None,
            memory: Memory::new(0),
            wanted: VecDeque::new(),
            sent: VecDeque::new(),
            message: vec![],
            next_psn: None,
            compared: 0,
            naks: 0,
            responses: 0,
        }
    }

    fn id(&self) -> u32 {
        self.cm.request().identity.comm_id
    }

    fn qpn(&self) -> u32 {
        self.cm.request().identity.qpn
    }

    fn remote_qpn(&self) -> Option<u32> {
        self.qp.as_ref().map(|qp| qp.config().remote_qpn)
    }

    fn events(&mut self) {
        while let Some(event) = self.cm.take_event() {
            if let CmEvent::Established(accepted) = event {
                let mut qp = Qp::new(QpConfig {
                    qpn: self.qpn(),
                    remote_qpn: accepted.qpn,
                    send_psn: accepted.psn,
                    recv_psn: self.cm.request().identity.psn,
                    mtu: self.mtu.bytes() as usize,
                    timeout: 0,
                    retries: 7,
                    rnr_retries: 7,
                    rnr_timer: 0,
                    max_reads: 1,
                    read_resources: 128,
                    resume_as_first: false,
                    receive_len: 16,
                });
                qp.post_receives(10_000);
                self.next_psn = Some(accepted.psn);
                self.qp = Some(qp);
            }
        }
        if let Some(qp) = &mut self.qp {
            while let Some(event) = qp.take_event() {
                assert!(!matches!(event, Event::Failed(_)), "{event:?}");
            }
        }
    }

    /// What Linux sent: capsules are posted here too, with the memory they name.
    fn linux_sent(&mut self, now: u64, packet: &Packet, known: &Buffers) {
        let Some(qp) = &mut self.qp else { return };
        if !packet.opcode.is_response() {
            if Some(packet.psn) != self.next_psn {
                // Repeated after a NAK, as here too; or by Linux's timer, which is its own affair.
                let mut requests = self.sent.iter().filter(|p| !p.opcode.is_response());
                if requests.next().is_some_and(|p| p.psn == packet.psn) {
                    self.wanted.push_back(packet.clone());
                    self.compare();
                }
                return;
            }
            self.next_psn = Some((packet.psn + 1) & 0xff_ffff);
            self.message.extend(&packet.payload);
            if matches!(packet.opcode, Opcode::SendLast | Opcode::SendOnly) {
                let bytes = std::mem::take(&mut self.message);
                let (sqe, _) = Sqe::read_from_prefix(&bytes).expect("a command");
                register(&mut self.memory, &sqe, known);
                qp.post(
                    0,
                    Work::Send {
                        bytes,
                        invalidate: None,
                    },
                );
                qp.advance(now);
            }
        }
        self.wanted.push_back(packet.clone());
        self.compare();
    }

    fn target_sent(&mut self, now: u64, packet: &Packet) {
        if let Some(qp) = &mut self.qp {
            qp.receive(now, packet, &mut self.memory);
            qp.advance(now);
        }
        self.events();
        self.compare();
    }

    /// Both sent the same, in the same order within requests and within responses.
    fn compare(&mut self) {
        if let Some(qp) = &mut self.qp {
            self.sent.extend(std::iter::from_fn(|| qp.take_packet()));
        }
        for responses in [false, true] {
            loop {
                let of_kind = |p: &&Packet| p.opcode.is_response() == responses;
                let (Some(wanted), Some(sent)) = (
                    self.wanted.iter().find(of_kind).cloned(),
                    self.sent.iter().find(of_kind).cloned(),
                ) else {
                    break;
                };
                self.wanted
                    .remove(self.wanted.iter().position(|p| *p == wanted).expect("it"));
                self.sent
                    .remove(self.sent.iter().position(|p| *p == sent).expect("it"));
                self.responses += usize::from(is_read_response(&sent));
                let place = (self.qpn(), self.compared, short(&sent), short(&wanted));
                assert!(sent == wanted, "{place:x?}");
                self.compared += 1;
                self.naks += usize::from(is_nak(&sent));
            }
        }
    }
}

fn short(p: &Packet) -> (Opcode, u32, Option<Aeth>, bool) {
    (p.opcode, p.psn, p.aeth, p.ack_req)
}

fn is_read_response(packet: &Packet) -> bool {
    packet.opcode.is_response() && packet.opcode != Opcode::Acknowledge
}

fn is_nak(packet: &Packet) -> bool {
    let syndrome = |aeth: Aeth| aeth.0.get() >> 24;
    packet.aeth.is_some_and(|aeth| syndrome(aeth) == 0x60)
}

/// Memory as the command's descriptor says it is registered.
fn register(memory: &mut Memory, sqe: &Sqe, known: &Buffers) {
    let sgl = sqe.sgl();
    if !matches!(sgl.kind(), Some(SglKind::Keyed | SglKind::KeyedInvalidate)) {
        return;
    }
    let Some(keyed) = Keyed::of(&sgl).filter(|k| k.len != 0) else {
        return;
    };
    let to_target = sqe.opcode == 0x7f || sqe.opcode & 3 == 1;
    let access = if to_target {
        Access::Read
    } else {
        Access::Write
    };
    let mut data = vec![0; keyed.len as usize];
    for (va, piece) in known.get(&keyed.rkey).into_iter().flatten() {
        let at = (va - keyed.va) as usize;
        data[at..at + piece.len()].copy_from_slice(piece);
    }
    memory.put(keyed.rkey, keyed.va, data, access);
}

/// What was in Linux's buffers, by key, as far as the target has read it: pieces and where they lay.
type Buffers = BTreeMap<u32, Vec<(u64, Vec<u8>)>>;

fn buffers(name: &str) -> Buffers {
    let mtu = if name.starts_with('k') { 4096 } else { 1024 };
    let mut reads: BTreeMap<u32, Vec<(u32, u64, u32)>> = BTreeMap::new();
    let mut known = Buffers::new();
    for (_, received, _) in read(name) {
        let p = &received.packet;
        if let Some(reth) = p.reth.filter(|_| p.opcode == Opcode::ReadRequest) {
            let read = (p.psn, reth.va.get(), reth.rkey.get());
            reads.entry(p.dest_qp).or_default().push(read);
        } else if is_read_response(p) {
            // The numbers of both ends' queue pairs are the same but for one or none; the sequence numbers tell.
            let all = reads.values().flatten().rev();
            let near = all.filter(|(first, ..)| (0..1024).contains(&distance(p.psn, *first)));
            let read = near.min_by_key(|(first, ..)| distance(p.psn, *first));
            let (first, va, rkey) = read.expect("its request");
            let offset = distance(p.psn, *first) as u64 * mtu;
            known
                .entry(*rkey)
                .or_default()
                .push((va + offset, p.payload.clone()));
        }
    }
    known
}

/// Plays a capture; the sessions with what was compared.
fn play(name: &str) -> Vec<Session> {
    let known = buffers(name);
    let mut sessions: Vec<Session> = vec![];
    for (now, received, _) in read(name) {
        let packet = &received.packet;
        if packet.dest_qp == GSI_QPN {
            let mad: &Mad = packet.payload[..].try_into().expect("a MAD");
            let message = Message::of(mad).expect("a CM message");
            mads(&mut sessions, now, is_host(&received), &message, mad, name);
            continue;
        }
        // The last connection with this number.
        let mut newest = sessions.iter_mut().rev();
        if is_host(&received) {
            let to = Some(packet.dest_qp);
            if let Some(session) = newest.find(|s| s.remote_qpn() == to) {
                session.linux_sent(now, packet, &known);
            }
        } else if let Some(session) = newest.find(|s| s.qpn() == packet.dest_qp) {
            session.target_sent(now, packet);
        }
    }
    sessions
}

fn mads(
    sessions: &mut Vec<Session>,
    now: u64,
    from_host: bool,
    message: &Message<'_>,
    mad: &Mad,
    name: &str,
) {
    let by_id = |sessions: &mut Vec<Session>, id: u32| sessions.iter().rposition(|s| s.id() == id);
    match (from_host, message) {
        (true, Message::Req(req)) => {
            let id = req.local_comm_id.get();
            if by_id(sessions, id).is_none() {
                sessions.push(Session::open(now, req, mad, name));
            }
        }
        (true, Message::Rtu(rtu)) => {
            let at = by_id(sessions, rtu.local_comm_id.get()).expect("a connection");
            // Linux repeats a lost one only when REP comes again, and so does this host.
            let sent = take_mad(&mut sessions[at].cm).expect("an RTU");
            assert_eq!(sent, *mad, "{name}: RTU");
        }
        (true, Message::Dreq(dreq)) => {
            let at = by_id(sessions, dreq.local_comm_id.get()).expect("a connection");
            sessions[at].cm.disconnect(now);
            if let Some(mut sent) = take_mad(&mut sessions[at].cm) {
                // The transaction is this host's own affair.
                sent[8..16].copy_from_slice(&mad[8..16]);
                assert_eq!(sent, *mad, "{name}: DREQ");
            }
        }
        (true, Message::Drep(drep)) => {
            let at = by_id(sessions, drep.local_comm_id.get()).expect("a connection");
            let sent = take_mad(&mut sessions[at].cm).expect("a DREP");
            assert_eq!(sent, *mad, "{name}: DREP");
        }
        (true, _) => {}
        (false, message) => {
            let id = super::cm::addressee(message).expect("an answer");
            let at = by_id(sessions, id).expect("a connection");
            sessions[at].cm.receive(now, message);
            let event = match message {
                Message::Rej(_) => sessions[at].cm.take_event(),
                _ => None,
            };
            if let Some(event) = event {
                check_rejection(&event, message);
            }
            sessions[at].events();
        }
    }
}

/// The only REJ in the captures: nobody listens at that port.
fn check_rejection(event: &CmEvent, message: &Message<'_>) {
    let Message::Rej(Rej { reason, .. }) = message else {
        return;
    };
    let CmEvent::Rejected(rejection) = event else {
        panic!("{event:?}")
    };
    assert_eq!((rejection.reason, rejection.status), (reason.get(), None));
    assert!(
        rejection.to_string().contains("nobody listens"),
        "{rejection}"
    );
}

fn total(sessions: &[Session], of: impl Fn(&Session) -> usize) -> usize {
    sessions.iter().map(of).sum()
}

#[test]
fn what_this_host_sends_is_what_linux_sent_with_and_without_losses() {
    // Capture, connections asked for, packets compared, NAKs and READ responses among them.
    for (name, connections, compared, naks, responses) in [
        ("c_rdma_rxe", 3, 1200, 0, 1000),
        ("f1_rdma_loss2", 3, 990, 3, 700),
        ("f2_rdma_loss1_reorder_dup", 3, 840, 8, 500),
        ("h_rdma_errors", 4, 70, 0, 2),
        ("i_rdma_aen_ns_change", 2, 130, 0, 1),
        ("j_rdma_2queues_fio", 3, 760, 0, 1),
        ("k_rdma_pmtu4096", 3, 190, 0, 20),
        ("l_rdma_reconnect", 6, 120, 0, 2),
    ] {
        let sessions = play(name);
        let got = (
            total(&sessions, |s| s.compared),
            total(&sessions, |s| s.responses),
        );
        println!(
            "{name}: {} packets the same, {} READ responses",
            got.0, got.1
        );
        assert_eq!(sessions.len(), connections, "{name}");
        assert!(got.0 >= compared && got.1 >= responses, "{name}: {got:?}");
        assert_eq!(total(&sessions, |s| s.naks), naks, "{name}");
        for session in &sessions {
            // Nothing that only one of the two has sent.
            let left = (session.wanted.len(), session.sent.len());
            assert_eq!(left, (0, 0), "{name}: queue pair {:#x}", session.qpn());
        }
    }
}
