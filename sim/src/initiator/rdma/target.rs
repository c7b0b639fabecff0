//! A small NVMe/RDMA target for the host's own tests: passive CM, queue pairs, and a disk in memory. It can break every rule that
//! a host has to notice.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_wire::{
    arp,
    checksum::Sum,
    ethernet,
    fabrics::{self, FabricsType},
    ib_cm::{
        ATTR_DREP, ATTR_MRA, ATTR_REJ, ATTR_REP, IpCmHeader, Message, Mra, Rej, RejectReason, Rep,
        Req, Rtu, high24, service_port,
    },
    ib_mad::{GSI_QKEY, GSI_QPN},
    icmp, ipv6,
    nvme::{Cqe, SglDescriptor, SglKind, Sqe, Status},
    nvme_rdma::{CmStatus, Keyed, LAST_SEGMENT_OFFSET, RejectData, ReplyData, RequestData},
    roce::{Deth, MASK_24, Opcode, PathMtu},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    cm::{Mad, message},
    frame::{self, Endpoint, Packet, Path},
    memory::Memory,
    neighbour::Neighbours,
    qp::{Event, Qp, QpConfig, Work, after},
};
use crate::{fabric::Clock, initiator::test_disk::Disk, link::Frames};

mod faults;

pub(super) use faults::{Fault, Wrong};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// What the target does differently from the simplest.
#[derive(Clone, Debug)]
pub(super) struct Quirks {
    pub(super) in_capsule: u32,
    /// RDMA READs are of at most so many bytes.
    pub(super) piece: u32,
    pub(super) ack_timeout: Clock,
    /// Every REQ gets this REJ.
    pub(super) reject: Option<(u16, u16)>,
    /// So many REQs, RTUs, DREQs are not heard.
    pub(super) deaf: u32,
    /// MRA before REP, and REP only to the next REQ.
    pub(super) mra: bool,
    pub(super) crqsize: Option<u16>,
    /// Answers with a queue pair of this number.
    pub(super) qpn: Option<u32>,
    /// The first so many SENDs find no receive.
    pub(super) no_receives: bool,
    pub(super) fault: Option<Fault>,
    pub(super) ecn: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            in_capsule: 8192,
            piece: 1 << 20,
            ack_timeout: 500_000,
            reject: None,
            deaf: 0,
            mra: false,
            crqsize: None,
            qpn: None,
            no_receives: false,
            fault: None,
            ecn: false,
        }
    }
}

/// A command whose data are being read.
struct Pending {
    sqe: Sqe,
    blocks: Vec<Keyed>,
    data: Vec<u8>,
    /// By number of the READ, where its bytes go.
    reads: BTreeMap<u64, usize>,
}

struct Conn {
    peer: Endpoint,
    in_vain: u64,
    host_id: u32,
    own_id: u32,
    host_qpn: u32,
    rep: Mad,
    qp: Qp,
    io: bool,
    pending: Vec<Pending>,
    next_work: u64,
    answered: u16,
    silent: bool,
    next_psn: u32,
}

pub(super) struct Target {
    pub(super) quirks: Quirks,
    pub(super) disk: Disk,
    pub(super) requests: Vec<RequestData>,
    pub(super) errors: Vec<String>,
    pub(super) dreqs: u32,
    pub(super) cnps: u32,
    pub(super) drops: u32,
    conns: Vec<Conn>,
    memory: Memory,
    neighbours: Neighbours,
    rng: ChaCha8Rng,
    ip_id: u16,
    out: VecDeque<Vec<u8>>,
}

impl Target {
    pub(super) fn new(quirks: Quirks, seed: u64) -> Self {
        Self {
            disk: Disk::new(quirks.in_capsule),
            quirks,
            requests: vec![],
            errors: vec![],
            dreqs: 0,
            cnps: 0,
            drops: 0,
            conns: vec![],
            memory: Memory::new(seed),
            neighbours: Neighbours::default(),
            rng: ChaCha8Rng::seed_from_u64(seed ^ 77),
            ip_id: 0,
            out: VecDeque::new(),
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.conns.len()
    }

    pub(super) fn retries(&self) -> u64 {
        self.conns.iter().map(|c| c.qp.retries()).sum()
    }

    pub(super) fn next_poll(&self) -> Option<Clock> {
        self.conns.iter().filter_map(|c| c.qp.next_poll()).min()
    }

    pub(super) fn poll(&mut self, now: Clock, out: &mut Frames, incoming: &mut Frames) {
        while incoming.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((at, frame)) = incoming.pop_front() {
                self.receive(at, &frame);
                self.advance(at);
            }
        }
        self.advance(now);
        out.extend(self.out.drain(..).map(|frame| (now, frame)));
    }

    fn receive(&mut self, now: Clock, frame: &[u8]) {
        match frame::parse(frame) {
            None => {
                self.out.extend(introduce(frame));
                self.neighbours.learn(frame);
            }
            Some(Err(_)) => self.drops += 1,
            Some(Ok(received)) if received.to.mac != MAC => self.drops += 1,
            Some(Ok(received)) => {
                let packet = &received.packet;
                if packet.opcode == Opcode::Cnp {
                    self.cnps += 1;
                } else if packet.dest_qp == GSI_QPN {
                    if let Ok(mad) = packet.payload[..].try_into() {
                        self.mad(&received.from, received.to.ip, mad);
                    }
                } else {
                    let mut conns = self.conns.iter_mut();
                    if let Some(conn) = conns.find(|c| c.qp.config().qpn == packet.dest_qp)
                        && !conn.silent
                    {
                        conn.qp.receive(now, packet, &mut self.memory);
                    }
                }
            }
        }
    }

    fn frame(&mut self, to: Endpoint, port: u16, packet: &Packet) {
        self.ip_id = self.ip_id.wrapping_add(1);
        let path = Path {
            src_port: port,
            ip_id: self.ip_id,
            ecn: self.quirks.ecn,
        };
        let frame = packet.frame(&own(to.ip), &to, path);
        self.out.push_back(frame);
    }

    fn send_mad(&mut self, to: Endpoint, mad: &Mad) {
        let mut packet = Packet::new(Opcode::UdSendOnly, GSI_QPN, 0, mad.to_vec());
        packet.deth = Some(Deth {
            qkey: GSI_QKEY.into(),
            src_qp: GSI_QPN.into(),
        });
        self.frame(to, frame::GSI_SOURCE_PORT, &packet);
    }

    fn mad(&mut self, from: &Endpoint, own_ip: IpAddr, mad: &Mad) {
        let Some(message) = Message::of(mad) else {
            self.drops += 1;
            return;
        };
        if self.quirks.deaf > 0 {
            self.quirks.deaf -= 1;
            return;
        }
        match message {
            Message::Req(req) => self.req(from, own_ip, req),
            Message::Dreq(dreq) => {
                self.dreqs += 1;
                let id = dreq.local_comm_id.get();
                self.conns
                    .retain(|c| c.host_id != id || c.peer.ip != from.ip);
                let drep = super::cm::message(ATTR_DREP, dreq.mad.tid.get(), |m: &mut Rtu| {
                    m.local_comm_id = dreq.remote_comm_id;
                    m.remote_comm_id = dreq.local_comm_id;
                });
                self.send_mad(*from, &drep);
            }
            Message::Rej(rej) => {
                let id = rej.local_comm_id.get();
                self.conns
                    .retain(|c| c.host_id != id || c.peer.ip != from.ip);
            }
            _ => {}
        }
    }

    fn reject(&mut self, to: &Endpoint, req: &Req, reason: u16, status: u16) {
        let rej = message(ATTR_REJ, req.mad.tid.get(), |rej: &mut Rej| {
            rej.remote_comm_id = req.local_comm_id;
            rej.reason = reason.into();
            let data = RejectData {
                recfmt: 0.into(),
                status: status.into(),
            };
            rej.private[..4].copy_from_slice(data.as_bytes());
        });
        self.send_mad(*to, &rej);
    }

    fn req(&mut self, from: &Endpoint, own_ip: IpAddr, req: &Req) {
        let id = req.local_comm_id.get();
        let same = self
            .conns
            .iter()
            .find(|c| c.host_id == id && c.peer.ip == from.ip);
        if let Some(rep) = same.map(|c| c.rep) {
            return self.send_mad(*from, &rep);
        }
        let refusal = self.refusal(from, own_ip, req);
        if let Some((reason, status)) = refusal {
            return self.reject(from, req, reason, status);
        }
        if self.quirks.mra {
            self.quirks.mra = false;
            let mra = message(ATTR_MRA, req.mad.tid.get(), |mra: &mut Mra| {
                mra.remote_comm_id = req.local_comm_id;
                mra.timeout = 21 << 3;
            });
            return self.send_mad(*from, &mra);
        }
        self.accept(from, req);
    }

    fn refusal(&mut self, from: &Endpoint, own_ip: IpAddr, req: &Req) -> Option<(u16, u16)> {
        let (private, _) = RequestData::read_from_prefix(&req.private[36..]).ok()?;
        let (header, _) = IpCmHeader::read_from_prefix(&req.private).ok()?;
        self.requests.push(private);
        let consumer = |status: CmStatus| Some((RejectReason::Consumer as u16, status as u16));
        let last = match own_ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        let stale = self
            .conns
            .iter()
            .position(|c| c.host_qpn == req.qpn() && c.peer.ip == from.ip);
        if let Some(at) = stale {
            self.conns.remove(at);
            return Some((RejectReason::StaleConnection as u16, 0));
        }
        match self.quirks.reject {
            Some(reject) => Some(reject),
            None if service_port(req.service_id.get()) != Some(4420) => {
                Some((RejectReason::InvalidServiceId as u16, 0))
            }
            None if header.dst[15] != last => Some((RejectReason::InvalidGid as u16, 0)),
            None if private.recfmt.get() != 0 => consumer(CmStatus::InvalidRecfmt),
            None if private.qid.get() > 4 => consumer(CmStatus::InvalidQid),
            None if private.hrqsize.get() == 0 => consumer(CmStatus::InvalidHrqsize),
            None => None,
        }
    }

    fn accept(&mut self, from: &Endpoint, req: &Req) {
        let Ok((private, _)) = RequestData::read_from_prefix(&req.private[36..]) else {
            return;
        };
        let entries = private.hsqsize_z.get() + 1;
        let mut random = || self.rng.next_u32() & MASK_24;
        let (qpn, psn, own_id) = (random() | 2, random(), random() + 1);
        let mtu = PathMtu::from_code(req.mtu_code()).expect("a path MTU");
        let mut qp = Qp::new(QpConfig {
            qpn,
            remote_qpn: req.qpn(),
            send_psn: req.starting_psn(),
            recv_psn: psn,
            mtu: mtu.bytes() as usize,
            timeout: self.quirks.ack_timeout,
            retries: 7,
            rnr_retries: 7,
            rnr_timer: 1,
            max_reads: usize::from(req.responder_resources()).min(4),
            read_resources: 1,
            resume_as_first: false,
            receive_len: 64 + self.quirks.in_capsule as usize,
        });
        if !self.quirks.no_receives {
            qp.post_receives(usize::from(entries));
        }
        let quirks = &self.quirks;
        let rep = message(ATTR_REP, req.mad.tid.get(), |rep: &mut Rep| {
            rep.local_comm_id = own_id.into();
            rep.remote_comm_id = req.local_comm_id;
            rep.qpn = high24(quirks.qpn.unwrap_or(qpn), 0);
            rep.psn = high24(psn, 0);
            rep.initiator_depth = 4;
            rep.rnr_srq = 7 << 5;
            let data = ReplyData {
                crqsize: quirks.crqsize.unwrap_or(entries).into(),
                ..ReplyData::default()
            };
            rep.private[..32].copy_from_slice(data.as_bytes());
        });
        self.send_mad(*from, &rep);
        self.conns.push(Conn {
            peer: *from,
            in_vain: 0,
            host_id: req.local_comm_id.get(),
            own_id,
            host_qpn: req.qpn(),
            rep,
            qp,
            io: private.qid.get() != 0,
            pending: vec![],
            next_work: 0,
            answered: 0,
            silent: false,
            next_psn: req.starting_psn(),
        });
    }

    /// Receives for those that had none.
    pub(super) fn post_receives(&mut self, count: usize) {
        for conn in &mut self.conns {
            conn.qp.post_receives(count);
        }
    }

    fn advance(&mut self, now: Clock) {
        for at in 0..self.conns.len() {
            self.conns[at].qp.advance(now);
            self.find(now, at);
            while let Some(event) = self.conns[at].qp.take_event() {
                match event {
                    Event::Done(work, data) => self.work_done(at, work, &data),
                    Event::Received(capsule, _) => self.command(at, &capsule),
                    Event::Failed(error) => self.errors.push(error.to_string()),
                }
            }
            self.conns[at].qp.advance(now);
            while let Some(packet) = self.conns[at].qp.take_packet() {
                let (peer, silent) = (self.conns[at].peer, self.conns[at].silent);
                if !packet.opcode.is_response() {
                    let reth = packet.reth.filter(|_| packet.opcode == Opcode::ReadRequest);
                    let mtu = self.conns[at].qp.config().mtu as u32;
                    let step = reth.map_or(1, |r| r.len.get().div_ceil(mtu).max(1));
                    self.conns[at].next_psn = after(packet.psn, step);
                }
                if !silent {
                    let port = frame::source_port(self.conns[at].qp.config().qpn);
                    self.frame(peer, port, &packet);
                }
            }
        }
    }

    /// Nothing protects the address that a REQ came from: when nothing gets through, the target asks for it.
    fn find(&mut self, now: Clock, at: usize) {
        let conn = &mut self.conns[at];
        let here = own(conn.peer.ip);
        let mut asked = vec![];
        if std::mem::replace(&mut conn.in_vain, conn.qp.in_vain()) != conn.qp.in_vain() {
            self.neighbours.doubt(now, &here, conn.peer.ip, &mut asked);
        }
        if let Some(mac) = self.neighbours.known(conn.peer.ip) {
            conn.peer.mac = mac;
        }
        self.out.extend(asked);
    }

    fn post(&mut self, at: usize, work: Work) -> u64 {
        let conn = &mut self.conns[at];
        conn.next_work += 1;
        conn.qp.post(conn.next_work, work);
        conn.next_work
    }

    fn command(&mut self, at: usize, capsule: &[u8]) {
        self.conns[at].qp.post_receives(1);
        let Ok((sqe, in_capsule)) = Sqe::read_from_prefix(capsule) else {
            return self
                .errors
                .push(format!("a capsule of {} bytes", capsule.len()));
        };
        let is_io = self.conns[at].io && matches!(sqe.opcode, 1 | 2);
        if is_io && self.fault(at, &sqe) {
            return;
        }
        let sgl = sqe.sgl();
        let fabrics = sqe.opcode == fabrics::OPCODE;
        let has_data = !fabrics || fabrics::fctype(&sqe) == Some(FabricsType::Connect);
        let blocks = descriptors(&sqe, in_capsule);
        let total: u32 = blocks.iter().map(|k| k.len).sum();
        match sgl.kind() {
            Some(SglKind::Offset) => {
                let len = sgl.length.get() as usize;
                if len > in_capsule.len() || len > self.quirks.in_capsule as usize {
                    return self.errors.push(format!("{len} bytes in a capsule"));
                }
                self.execute(at, &sqe, &in_capsule[..len]);
            }
            _ if has_data && total != 0 && writes(&sqe) => {
                let mut pending = Pending {
                    sqe,
                    blocks: blocks.clone(),
                    data: vec![0; total as usize],
                    reads: BTreeMap::new(),
                };
                let mut start = 0;
                for Keyed { va, len, rkey, .. } in blocks {
                    for offset in (0..len).step_by(self.quirks.piece as usize) {
                        let len = self.quirks.piece.min(len - offset);
                        let va = va + u64::from(offset);
                        let id = self.post(at, Work::Read { va, rkey, len });
                        pending.reads.insert(id, (start + offset) as usize);
                    }
                    start += len;
                }
                self.conns[at].pending.push(pending);
            }
            _ => self.execute_with(at, &sqe, &[], &blocks),
        }
    }

    fn work_done(&mut self, at: usize, work: u64, data: &[u8]) {
        let pendings = &mut self.conns[at].pending;
        let Some(which) = pendings.iter().position(|p| p.reads.contains_key(&work)) else {
            return;
        };
        let pending = &mut pendings[which];
        if let Some(offset) = pending.reads.remove(&work) {
            pending.data[offset..offset + data.len()].copy_from_slice(data);
        }
        if pending.reads.is_empty() {
            let pending = pendings.remove(which);
            self.execute_with(at, &pending.sqe, &pending.data, &pending.blocks);
        }
    }

    fn execute(&mut self, at: usize, sqe: &Sqe, data: &[u8]) {
        self.execute_with(at, sqe, data, &[]);
    }

    fn execute_with(&mut self, at: usize, sqe: &Sqe, data: &[u8], blocks: &[Keyed]) {
        let answer = self.disk.execute(self.conns[at].io, sqe, data);
        if !answer.data.is_empty() {
            let room: u32 = blocks.iter().map(|k| k.len).sum();
            if room as usize != answer.data.len() {
                let len = answer.data.len();
                return self.errors.push(format!("{blocks:?} for {len} bytes"));
            }
            let mut rest = &answer.data[..];
            for Keyed { va, len, rkey, .. } in blocks {
                let (piece, left) = rest.split_at(*len as usize);
                let (va, rkey, bytes) = (*va, *rkey, piece.to_vec());
                self.post(at, Work::Write { va, rkey, bytes });
                rest = left;
            }
        }
        self.respond(at, sqe, answer.status, answer.result);
    }

    fn cqe(&mut self, at: usize, sqe: &Sqe, status: Status, result: u64) -> Cqe {
        self.conns[at].answered += 1;
        let mut cqe = Cqe {
            result: result.into(),
            cid: sqe.cid,
            ..Cqe::default()
        };
        cqe.set_status(status, false);
        cqe
    }

    fn respond(&mut self, at: usize, sqe: &Sqe, status: Status, result: u64) {
        let bytes = self.cqe(at, sqe, status, result).as_bytes().to_vec();
        let keyed = Keyed::of(&sqe.sgl()).filter(|k| k.invalidate && k.len != 0);
        let invalidate = keyed.map(|k| k.rkey);
        self.post(at, Work::Send { bytes, invalidate });
    }
}

/// The host's memory that a command names.
fn descriptors(sqe: &Sqe, in_capsule: &[u8]) -> Vec<Keyed> {
    let sgl = sqe.sgl();
    if sgl.id != LAST_SEGMENT_OFFSET {
        return Keyed::of(&sgl).into_iter().collect();
    }
    let len = sgl.length.get() as usize;
    let listed = in_capsule.get(..len).unwrap_or_default().chunks_exact(16);
    let listed = listed.filter_map(|b| SglDescriptor::read_from_bytes(b).ok());
    listed.filter_map(|d| Keyed::of(&d)).collect()
}

/// This target, for a peer with this address.
fn own(peer: IpAddr) -> Endpoint {
    let ip = match peer {
        IpAddr::V4(_) => [10, 0, 0, 2].into(),
        IpAddr::V6(_) => [0xfd00, 0, 0, 0, 0, 0, 0, 2].into(),
    };
    Endpoint { mac: MAC, ip }
}

/// Data go from the host to the controller (Fabrics: in the type of the command).
fn writes(sqe: &Sqe) -> bool {
    match sqe.opcode {
        fabrics::OPCODE => fabrics::fctype(sqe) == Some(FabricsType::Connect),
        opcode => opcode & 3 == 1,
    }
}

/// Answers who asks for this target's MAC address.
fn introduce(frame: &[u8]) -> Option<Vec<u8>> {
    let eth = ethernet::View::of(frame)?;
    let payload = frame.get(14..)?;
    let back = eth.header.src;
    if let Some(ask) = arp::Packet::of(payload).filter(|_| eth.ethertype == ethernet::ARP) {
        let asked = ask.operation.get() == arp::REQUEST && ask.target_ip == [10, 0, 0, 2];
        let sender = (ask.sender_mac, ask.sender_ip);
        let reply = arp::Packet::new(arp::REPLY, (MAC, [10, 0, 0, 2]), sender);
        let kind = ethernet::ARP.to_be_bytes();
        return asked.then(|| [&back[..], &MAC, &kind, reply.as_bytes()].concat());
    }
    let view = ipv6::View::of(payload).filter(|_| eth.ethertype == ethernet::IPV6)?;
    let ask = icmp::Neighbor::read_from_bytes(view.payload).ok()?;
    let own = std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets();
    if ask.header.kind != icmp::V6_SOLICIT || ask.target != own {
        return None;
    }
    let mut reply = ask;
    reply.header.kind = icmp::V6_ADVERTISE;
    reply.header.high.set(icmp::SOLICITED | icmp::OVERRIDE);
    reply.header.checksum.set(0);
    (reply.option, reply.mac) = (icmp::OPTION_TARGET, MAC);
    let to = view.header.src;
    let sum = Sum::default().pseudo(&own, &to, ipv6::NEXT_ICMPV6, 32);
    reply.header.checksum = sum.bytes(reply.as_bytes()).finish().into();
    let header = ipv6::Header::new(own, to, ipv6::NEXT_ICMPV6, 255, 32);
    let kind = ethernet::IPV6.to_be_bytes();
    Some([&back[..], &MAC, &kind, header.as_bytes(), reply.as_bytes()].concat())
}
