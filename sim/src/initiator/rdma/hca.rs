//! A host's RoCE adapter: its connections with their CM and queue pair, its memory, and the frames of all of them.
//! It stands beside smoltcp: UDP port 4791 is its own, everything else is not.

use std::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_wire::{
    ib_cm::Message,
    ib_mad::{GSI_QKEY, GSI_QPN, MAD_LEN},
    nvme_rdma::RequestData,
    roce::{self, Deth, MASK_24, Opcode, PathMtu, timeout_micros},
};

use super::{
    RdmaConfig,
    cm::{self, Accepted, Cm, CmEvent, Identity, Request},
    frame::{self, Endpoint, Packet, Path, Received},
    memory::Memory,
    neighbour::{Answer, Neighbours},
    qp::{Event, Place, Qp, QpConfig, RcError, Work},
};
use crate::{
    fabric::Clock,
    initiator::{Config, Failure, net::CLOCKS_PER_MICRO},
};

/// A notification point sends at most one CNP per queue pair in this time: 50 µs.
const CNP_EVERY: Clock = 12_500;

/// What an adapter has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that were in order.
    pub received: u64,
    /// Frames whose ICRC or headers were not.
    pub bad: u64,
    /// Frames for nobody here.
    pub unknown: u64,
    /// Frames that a switch has marked.
    pub congested: u64,
    /// CNPs received.
    pub cnps_received: u64,
    /// CNPs sent.
    pub cnps_sent: u64,
    /// Frames sent.
    pub sent: u64,
    /// Times a queue pair had to send something again.
    pub retries: u64,
}

/// One of an adapter's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ConnId(usize);

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum ConnEvent {
    Ready(Accepted),
    Done(u64),
    Received(Vec<u8>, Option<u32>),
    Failed(Failure),
}

struct Conn {
    target: SocketAddr,
    hop: IpAddr,
    request: Request,
    config: RdmaConfig,
    receives: usize,
    cm: Option<Cm>,
    qp: Option<Qp>,
    /// It is not wanted any more.
    given_up: Option<Failure>,
    ended: bool,
    /// Of the queue pair, when last looked at.
    in_vain: u64,
    next_cnp: Clock,
}

pub(crate) struct Hca {
    here: Endpoint,
    prefix: u8,
    gateway: Option<IpAddr>,
    mtu: u16,
    pub(in crate::initiator) memory: Memory,
    conns: Vec<Conn>,
    neighbours: Neighbours,
    rng: ChaCha8Rng,
    ip_id: u16,
    gsi_psn: u32,
    counters: Counters,
    pub(crate) tx: Vec<Vec<u8>>,
}

impl Hca {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            here: Endpoint {
                mac: config.mac,
                ip: config.ip,
            },
            prefix: config.prefix,
            gateway: config.gateway.map(IpAddr::V4),
            mtu: config.mtu,
            memory: Memory::new(config.seed),
            conns: vec![],
            neighbours: Neighbours::default(),
            rng: ChaCha8Rng::seed_from_u64(config.seed ^ 0x726f_6365),
            ip_id: 0,
            gsi_psn: 0,
            counters: Counters::default(),
            tx: vec![],
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        let qps = self.conns.iter().filter_map(|c| c.qp.as_ref());
        let retries = self.counters.retries + qps.map(Qp::retries).sum::<u64>();
        Counters {
            retries,
            ..self.counters
        }
    }

    fn identity(&mut self) -> Identity {
        let mut qpn = 0;
        let taken = |qpn: u32| self.conns.iter().any(|c| c.request.identity.qpn == qpn);
        while qpn <= GSI_QPN || taken(qpn) {
            qpn = self.rng.next_u32() & MASK_24;
        }
        let [a, b, c, d, e, f] = self.here.mac;
        let comm_id = self.rng.next_u32().max(1);
        Identity {
            comm_id,
            tid: u64::from(self.rng.next_u32()) << 32 | u64::from(comm_id),
            qpn,
            psn: self.rng.next_u32() & MASK_24,
            guid: [a ^ 2, b, c, 0xff, 0xfe, d, e, f],
            port: 0x8000 | self.rng.next_u32() as u16,
        }
    }

    /// Asks `target` for a connection.
    pub(super) fn connect(
        &mut self,
        target: SocketAddr,
        entries: u16,
        config: &RdmaConfig,
    ) -> Result<ConnId, String> {
        if target.is_ipv4() != self.here.ip.is_ipv4() {
            return Err(format!("{target} cannot be reached from {}", self.here.ip));
        }
        let path = config.path_mtu.or(PathMtu::of_port(self.mtu));
        let mtu = path.ok_or_else(|| format!("no path MTU fits a port with MTU {}", self.mtu))?;
        let receives = config.receives.unwrap_or(entries);
        let private = RequestData {
            qid: config.qid.into(),
            hrqsize: receives.into(),
            hsqsize_z: (entries - 1).into(),
            cntlid: config.cntlid.into(),
            ..RequestData::default()
        };
        let identity = config.identity.clone().unwrap_or_else(|| self.identity());
        let request = Request {
            identity,
            addresses: (self.here.ip, target.ip()),
            port: target.port(),
            mtu,
            resources: config.resources,
            depth: config.depth,
            ack_timeout: config.ack_timeout,
            retries: config.retries,
            rnr_retries: config.rnr_retries,
            cm_timeout: config.cm_timeout,
            cm_retries: config.cm_retries,
            private,
            faults: config.faults.clone(),
        };
        self.conns.push(Conn {
            target,
            hop: self.next_hop(target.ip()),
            request,
            config: config.clone(),
            receives: usize::from(receives),
            cm: None,
            qp: None,
            given_up: None,
            ended: false,
            in_vain: 0,
            next_cnp: 0,
        });
        Ok(ConnId(self.conns.len() - 1))
    }

    fn next_hop(&self, to: IpAddr) -> IpAddr {
        let near = match (self.here.ip, to) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let apart = u32::from(a) ^ u32::from(b);
                apart.leading_zeros() >= u32::from(self.prefix)
            }
            _ => true,
        };
        self.gateway.filter(|_| !near).unwrap_or(to)
    }

    /// One frame from the wire; false if it is not for this adapter but for the host's IP stack.
    pub(crate) fn receive(&mut self, now: Clock, frame: &[u8]) -> bool {
        let Some(parsed) = frame::parse(frame) else {
            self.neighbours.learn(frame);
            return false;
        };
        match parsed {
            Ok(received) if (received.to.mac, received.to.ip) == (self.here.mac, self.here.ip) => {
                self.counters.received += 1;
                self.take(now, &received);
            }
            Ok(_) => self.counters.unknown += 1,
            Err(_) => self.counters.bad += 1,
        }
        true
    }

    fn take(&mut self, now: Clock, received: &Received) {
        let packet = &received.packet;
        self.counters.congested += u64::from(received.congested);
        if packet.opcode == Opcode::Cnp {
            self.counters.cnps_received += 1;
            return;
        }
        if packet.dest_qp == GSI_QPN {
            return self.take_mad(now, received);
        }
        let memory = &mut self.memory;
        let conn = self.conns.iter_mut().position(|c| {
            c.request.identity.qpn == packet.dest_qp && c.target.ip() == received.from.ip
        });
        let Some(at) = conn.filter(|at| self.conns[*at].qp.is_some()) else {
            self.counters.unknown += 1;
            return;
        };
        let conn = &mut self.conns[at];
        let mut cnp = None;
        if let Some(qp) = &mut conn.qp {
            qp.receive(now, packet, memory);
            if received.congested && conn.config.cnp && now >= conn.next_cnp {
                conn.next_cnp = now + CNP_EVERY;
                let mut notice = Packet::new(
                    Opcode::Cnp,
                    qp.config().remote_qpn,
                    0,
                    vec![0; roce::CNP_RESERVED],
                );
                notice.becn = true;
                cnp = Some(notice);
            }
        }
        if let Some(cnp) = cnp {
            self.counters.cnps_sent += 1;
            self.send(now, at, &cnp);
        }
    }

    fn take_mad(&mut self, now: Clock, received: &Received) {
        let packet = &received.packet;
        let keyed = packet.deth.is_some_and(|d| d.qkey.get() == GSI_QKEY);
        let mad: Option<&[u8; MAD_LEN]> = packet.payload[..].try_into().ok();
        let Some(message) = mad.and_then(Message::of).filter(|_| keyed) else {
            self.counters.unknown += 1;
            return;
        };
        let id = cm::addressee(&message);
        let conn = self
            .conns
            .iter_mut()
            .find(|c| Some(c.request.identity.comm_id) == id && c.target.ip() == received.from.ip);
        if let Some(cm) = conn.and_then(|c| c.cm.as_mut()) {
            cm.receive(now, &message);
        } else if let Some(answer) = cm::refuse(&message) {
            self.send_mad(received.from, &answer);
        }
    }

    fn path(&mut self, src_port: u16, ecn: bool) -> Path {
        self.ip_id = self.ip_id.wrapping_add(1);
        self.counters.sent += 1;
        Path {
            src_port,
            ip_id: self.ip_id,
            ecn,
        }
    }

    fn send_mad(&mut self, to: Endpoint, mad: &[u8]) {
        let mut packet = Packet::new(Opcode::UdSendOnly, GSI_QPN, self.gsi_psn, mad.to_vec());
        self.gsi_psn = self.gsi_psn.wrapping_add(1) & MASK_24;
        packet.ack_req = true;
        packet.deth = Some(Deth {
            qkey: GSI_QKEY.into(),
            src_qp: GSI_QPN.into(),
        });
        let path = self.path(frame::GSI_SOURCE_PORT, false);
        self.tx.push(packet.frame(&self.here, &to, path));
    }

    fn send(&mut self, now: Clock, at: usize, packet: &Packet) {
        let conn = &self.conns[at];
        let (ip, hop, ecn) = (conn.target.ip(), conn.hop, conn.config.ecn);
        let flow = frame::flow_label(conn.request.identity.port, conn.request.port);
        // A frame to somebody whose address has been forgotten is lost.
        if let Answer::Known(mac) = self.neighbours.find(now, &self.here, hop, &mut self.tx) {
            let path = self.path(frame::source_port(flow), ecn);
            self.tx
                .push(packet.frame(&self.here, &Endpoint { mac, ip }, path));
        }
    }

    /// Lets time pass until `now` and sends what there is to send.
    pub(crate) fn advance(&mut self, now: Clock) {
        for at in 0..self.conns.len() {
            self.advance_conn(now, at);
        }
    }

    fn advance_conn(&mut self, now: Clock, at: usize) {
        let hop = self.conns[at].hop;
        if self.conns[at].cm.is_none() && !self.conns[at].ended {
            match self.neighbours.find(now, &self.here, hop, &mut self.tx) {
                Answer::Known(_) => {
                    let request = self.conns[at].request.clone();
                    self.conns[at].cm = Some(Cm::connect(request, now));
                }
                Answer::Asking => {}
                Answer::Silence => {
                    let silent = Failure::Connection("nobody has the target's address");
                    self.conns[at].given_up = Some(silent);
                    self.conns[at].ended = true;
                }
            }
        }
        let conn = &mut self.conns[at];
        let mut in_vain = conn.cm.as_mut().is_some_and(|cm| cm.advance(now));
        if let Some(qp) = &mut conn.qp {
            qp.advance(now);
            in_vain |= std::mem::replace(&mut conn.in_vain, qp.in_vain()) != qp.in_vain();
        }
        if in_vain {
            self.neighbours.doubt(now, &self.here, hop, &mut self.tx);
        }
        self.flush(now, at);
    }

    fn flush(&mut self, now: Clock, at: usize) {
        let target = self.conns[at].target.ip();
        let hop = self.conns[at].hop;
        while let Some((mad, len)) = self.conns[at].cm.as_mut().and_then(Cm::take_mad) {
            if let Answer::Known(mac) = self.neighbours.find(now, &self.here, hop, &mut self.tx) {
                self.send_mad(Endpoint { mac, ip: target }, &mad[..len]);
            }
        }
        while let Some(packet) = self.conns[at].qp.as_mut().and_then(Qp::take_packet) {
            self.send(now, at, &packet);
        }
    }

    /// When something is to be done though no frame arrives.
    pub(crate) fn next_poll(&self) -> Option<Clock> {
        let cms = self.conns.iter().filter_map(|c| c.cm.as_ref()?.next_poll());
        let qps = self.conns.iter().filter_map(|c| c.qp.as_ref()?.next_poll());
        cms.chain(qps).chain(self.neighbours.next_poll()).min()
    }

    /// The next thing that happened on a connection.
    pub(super) fn take_event(&mut self, now: Clock, conn: ConnId) -> Option<ConnEvent> {
        let at = conn.0;
        if let Some(failure) = self.conns[at].given_up.take() {
            return Some(ConnEvent::Failed(failure));
        }
        // What came before the end counts before it.
        if let Some(event) = self.conns[at].qp.as_mut().and_then(Qp::take_event) {
            return Some(self.qp_event(now, at, event));
        }
        while let Some(event) = self.conns[at].cm.as_mut().and_then(Cm::take_event) {
            if let Some(event) = self.cm_event(at, event) {
                return Some(event);
            }
        }
        None
    }

    fn qp_event(&mut self, now: Clock, at: usize, event: Event) -> ConnEvent {
        match event {
            Event::Done(id, _) => ConnEvent::Done(id),
            Event::Received(bytes, key) => ConnEvent::Received(bytes, key),
            Event::Failed(error) => {
                // Its NAK goes out before the DREQ.
                self.flush(now, at);
                self.close(now, ConnId(at));
                ConnEvent::Failed(match error {
                    RcError::Refused(..) | RcError::Response(_) => {
                        Failure::Protocol(error.to_string())
                    }
                    error => Failure::Rdma(error),
                })
            }
        }
    }

    fn cm_event(&mut self, at: usize, event: CmEvent) -> Option<ConnEvent> {
        match event {
            CmEvent::Established(accepted) => {
                let conn = &mut self.conns[at];
                let mut qp = Qp::new(qp_config(&conn.request, &conn.config, &accepted));
                qp.post_receives(conn.receives);
                conn.qp = Some(qp);
                return Some(ConnEvent::Ready(accepted));
            }
            CmEvent::Left => self.drop_qp(at),
            CmEvent::Rejected(rejection) => return self.end(at, Failure::Rejected(rejection)),
            CmEvent::Disconnected => {
                return self.end(at, Failure::Connection("the target disconnected"));
            }
            CmEvent::TimedOut => {
                return self.end(
                    at,
                    Failure::Connection("the target does not answer the REQ"),
                );
            }
            CmEvent::Nonsense(what) => return self.end(at, Failure::Protocol(what)),
        }
        None
    }

    fn end(&mut self, at: usize, failure: Failure) -> Option<ConnEvent> {
        self.drop_qp(at);
        Some(ConnEvent::Failed(failure))
    }

    fn drop_qp(&mut self, at: usize) {
        self.conns[at].ended = true;
        if let Some(qp) = self.conns[at].qp.take() {
            self.counters.retries += qp.retries();
        }
    }

    /// Work for a connection that is ready.
    pub(super) fn post(&mut self, conn: ConnId, id: u64, work: Work) {
        if let Some(qp) = &mut self.conns[conn.0].qp {
            qp.post(id, work);
        }
    }

    pub(super) fn post_receive(&mut self, conn: ConnId) {
        if let Some(qp) = &mut self.conns[conn.0].qp {
            qp.post_receives(1);
        }
    }

    /// DREQ; the queue pair is gone at once.
    pub(super) fn close(&mut self, now: Clock, conn: ConnId) {
        if let Some(cm) = &mut self.conns[conn.0].cm {
            cm.disconnect(now);
        }
        self.drop_qp(conn.0);
        self.flush(now, conn.0);
    }

    /// Gone without a word.
    pub(super) fn abandon(&mut self, conn: ConnId) {
        if let Some(cm) = &mut self.conns[conn.0].cm {
            cm.abandon();
        }
        self.drop_qp(conn.0);
    }

    /// Sends a connection's REQ again, whatever has become of it.
    pub(super) fn send_request_again(&mut self, now: Clock, conn: ConnId) {
        if let Some(cm) = &mut self.conns[conn.0].cm {
            cm.send_request();
        }
        self.flush(now, conn.0);
    }

    /// Where a connection's queue pair stands, while it is connected.
    pub(super) fn place(&self, conn: ConnId) -> Option<Place> {
        self.conns[conn.0].qp.as_ref().map(Qp::place)
    }
}

fn qp_config(request: &Request, config: &RdmaConfig, accepted: &Accepted) -> QpConfig {
    QpConfig {
        qpn: request.identity.qpn,
        remote_qpn: accepted.qpn,
        send_psn: accepted.psn,
        recv_psn: request.identity.psn,
        mtu: request.mtu.bytes() as usize,
        timeout: timeout_micros(config.ack_timeout) * CLOCKS_PER_MICRO,
        retries: config.retries,
        rnr_retries: accepted.rnr_retries,
        rnr_timer: config.rnr_timer,
        max_reads: usize::from(config.depth.min(accepted.resources)).max(1),
        read_resources: usize::from(config.resources),
        resume_as_first: config.resume_as_first,
        receive_len: config.receive_len,
    }
}
