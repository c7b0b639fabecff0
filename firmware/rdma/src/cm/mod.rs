//! The connection manager on queue pair 1, accepting side (IBA, chapter 12): REQ to REP to RTU, REJ with the NVMe status,
//! DREQ and DREP from either side, repetition of REP and DREQ, for all queue pairs of the card. Runs on the control core.
//!
//! The caller's loop: [`receive`] and [`Cm::input`] for each datagram, [`Cm::poll_event`] until `None`; an
//! [`CmEvent::Asked`] is answered by [`Cm::accept`] or [`Cm::reject`], at once or after a word with a data core; then
//! [`Cm::poll_transmit`] while there is room for a job, and [`Cm::handle_timeouts`] when [`Cm::deadline`] has passed.
//!
//! Not here: connecting (REQ from this side), alternate paths (LAP, APR), service id resolution, redirection. A path MTU beyond
//! the port's is refused with the largest in the additional information, since a REP cannot lower it.

mod conn;
mod message;
mod request;

use crate::nvme::QueueLimits;
use conn::{Conn, Due, State};
use heapless::Deque;
use message::{Answer, AnswerKind, write_dreq, write_rep};
use request::{Refusal, check};
use sluice_hal::Micros;
use sluice_wire::{
    ib_cm::{Dreq, Message, Mra, Rej, RejectReason, Rejected, Req, Rtu},
    ib_mad::MAD_LEN,
    nvme_rdma::CmStatus,
    roce::timeout_micros,
};

pub use message::{CmPacket, datagram, receive};
pub use request::Request;

/// Answers without state that wait to be sent; more are dropped, since the peer asks again.
const ANSWERS: usize = 8;
/// Events that wait at most; beyond that datagrams are dropped, and hosts send again.
const EVENTS: usize = 16;

/// Names a connection until its [`CmEvent::Ended`], or until [`Cm::reject`] or [`Cm::disconnect`]: its communication id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CmId(u32);

impl CmId {
    /// As a number, for mail between cores.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// From that number.
    #[must_use]
    pub const fn from_number(id: u32) -> Self {
        Self(id)
    }
}

/// What happened to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CmEvent {
    /// A host asks for a queue pair.
    Asked(CmId, Request),
    /// The host has the REP, as its RTU says.
    Established(CmId),
    /// It is over; the queue pair is to be closed.
    Ended {
        /// The connection.
        id: CmId,
        /// The queue pair it was accepted with, 0 if it was not; bits 23:20 are the core.
        qpn: u32,
        /// Why.
        why: CmEnd,
    },
}

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CmEnd {
    /// The host asked for it.
    Disconnected,
    /// The host rejected the REP; its reason.
    Rejected(u16),
    /// The host never confirmed the REP.
    Timeout,
    /// The application did not answer in time.
    Unanswered,
    /// The host's queue pair asks for a new connection: it has forgotten this one.
    Stale,
}

/// What accepts a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accept {
    /// From [`crate::Rc::open`].
    pub qpn: u32,
    /// From [`crate::Rc::open`].
    pub psn: u32,
    /// Receives that are posted.
    pub crqsize: u16,
}

/// What the connection manager is told once.
#[derive(Clone, Copy, Debug)]
pub struct CmConfig {
    /// Ports that listen; 0 for none.
    pub ports: [u16; 4],
    /// Largest IP packet of the port, in bytes; it bounds the path MTU ([`sluice_wire::roce::PathMtu::of_port`]).
    pub port_mtu: u16,
    /// Node: the port's EUI-64, say.
    pub ca_guid: u64,
    /// RDMA READs outstanding at one queue pair at most. Two keep a link busy; sixteen of 128 KiB are 2,048 packets at once, more
    /// than a core has descriptors or frame buffers for.
    pub reads: u8,
    /// Least and greatest ACK timeout code taken over from a REQ. Linux asks for 17, which makes a lost tail cost 0.54 s; since
    /// the timeout doubles with each retry a shorter one gives nobody up too early.
    pub ack_timeout: (u8, u8),
    /// Target ACK delay code told in the REP: 4.096 µs × 2^n.
    pub ack_delay: u8,
    /// Connections asked for and not established, at most.
    pub half_open: u16,
    /// Time for the application to answer, microseconds.
    pub patience: u32,
    /// Longest wait for an answer of the host's, whatever its REQ says, microseconds.
    pub max_timeout: u32,
    /// Times that REP and DREQ are sent at most.
    pub tries: u8,
    /// Limits of queues.
    pub queues: QueueLimits,
}

impl Default for CmConfig {
    fn default() -> Self {
        Self {
            ports: [sluice_wire::nvme_rdma::IO_PORT, 0, 0, 0],
            port_mtu: 1500,
            ca_guid: 0,
            reads: 2,
            ack_timeout: (10, 14),
            ack_delay: 15,
            half_open: 32,
            patience: 2_000_000,
            max_timeout: 1_000_000,
            tries: 8,
            queues: QueueLimits::DEFAULT,
        }
    }
}

impl CmConfig {
    /// Everything zero: nobody listens.
    const NONE: Self = Self {
        ports: [0; 4],
        port_mtu: 0,
        ca_guid: 0,
        reads: 0,
        ack_timeout: (0, 0),
        ack_delay: 0,
        half_open: 0,
        patience: 0,
        max_timeout: 0,
        tries: 0,
        queues: QueueLimits {
            admin: 0,
            io: 0,
            queues: 0,
        },
    };
}

/// Counters; all wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmStats {
    /// Datagrams that are no CM message of a kind known here, or fit no connection.
    pub ignored: u32,
    /// REQs that came again.
    pub duplicates: u32,
    /// REQs refused.
    pub refused: u32,
    /// REPs and DREQs sent again.
    pub repeated: u32,
    /// MRAs honoured.
    pub delays: u32,
    /// Connections found stale.
    pub stale: u32,
    /// Answers dropped for want of a place.
    pub dropped: u32,
}

/// Up to `CONNS` connections. All zeros when new.
pub struct Cm<const CONNS: usize> {
    cfg: CmConfig,
    stats: CmStats,
    deadline: Option<Micros>,
    answers: Deque<Answer, ANSWERS>,
    events: Deque<CmEvent, EVENTS>,
    conns: [Conn; CONNS],
}

impl<const CONNS: usize> Default for Cm<CONNS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CONNS: usize> Cm<CONNS> {
    /// Bytes of state per connection.
    pub const SIZE: usize = size_of::<Conn>();

    /// A connection manager that refuses everybody until it is [configured](Self::configure).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            cfg: CmConfig::NONE,
            stats: CmStats {
                ignored: 0,
                duplicates: 0,
                refused: 0,
                repeated: 0,
                delays: 0,
                stale: 0,
                dropped: 0,
            },
            deadline: None,
            answers: Deque::new(),
            events: Deque::new(),
            conns: [Conn::FREE; CONNS],
        }
    }

    /// Sets ports, limits and times, for connections to come.
    pub const fn configure(&mut self, cfg: &CmConfig) {
        self.cfg = *cfg;
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &CmStats {
        &self.stats
    }

    /// Connections that are not over.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.iter().filter(|c| c.state != State::Free).count()
    }

    /// A datagram would be taken now, and answered: neither events nor answers wait that would be in its way.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.events.is_full() && !self.answers.is_full()
    }

    /// Takes a datagram. `random` makes the communication id of a new connection. Nothing is taken while events wait that
    /// would have no place behind them; the peer sends again.
    pub fn input(&mut self, now: Micros, packet: &CmPacket<'_>, random: impl FnMut() -> u32) {
        let Some(message) = Message::of(packet.mad).filter(|_| !self.events.is_full()) else {
            self.stats.ignored += 1;
            return;
        };
        match message {
            Message::Req(req) => self.request(now, packet, req, random),
            Message::Rtu(rtu) => self.ready(packet, rtu),
            Message::Mra(mra) => self.delay(now, packet, mra),
            Message::Rej(rej) => self.rejected(packet, rej),
            Message::Dreq(dreq) => self.leave(packet, dreq),
            Message::Drep(drep) => self.left(packet, drep),
            // Nothing was asked for from here.
            Message::Rep(rep) => self.answer(Answer {
                peer: packet.peer,
                tid: rep.mad.tid.get(),
                local_id: rep.remote_comm_id.get(),
                remote_id: rep.local_comm_id.get(),
                kind: AnswerKind::Rej(Rejected::Rep, Refusal::Reason(RejectReason::InvalidCommId)),
            }),
        }
    }

    fn request(
        &mut self,
        now: Micros,
        packet: &CmPacket<'_>,
        req: &Req,
        mut random: impl FnMut() -> u32,
    ) {
        let remote_id = req.local_comm_id.get();
        let same = |c: &&mut Conn| {
            c.state != State::Free
                && c.peer.gid == packet.peer.gid
                && c.remote_id == remote_id
                && c.remote_qpn == req.qpn()
                && c.remote_psn == req.starting_psn()
        };
        if let Some(conn) = self.conns.iter_mut().find(same) {
            // 12.9.8.3: the answer was lost, or is under way.
            self.stats.duplicates += 1;
            if let State::Replied { .. } = conn.state {
                conn.due = Due::Rep;
            }
            return;
        }
        let refuse = |refusal| Answer {
            peer: packet.peer,
            tid: req.mad.tid.get(),
            local_id: 0,
            remote_id,
            kind: AnswerKind::Rej(Rejected::Req, refusal),
        };
        let request = match check(&self.cfg, packet, req) {
            Ok(request) => request,
            Err(refusal) => {
                self.stats.refused += 1;
                self.answer(refuse(refusal));
                return;
            }
        };
        if self.find_stale(now, packet, req) {
            self.answer(refuse(Refusal::Reason(RejectReason::StaleConnection)));
            return;
        }
        let half_open = self.conns.iter().filter(|c| c.is_half_open()).count();
        let free = self.conns.iter().position(|c| c.state == State::Free);
        let (Some(at), true) = (free, half_open < usize::from(self.cfg.half_open)) else {
            self.stats.refused += 1;
            self.answer(refuse(Refusal::Status(CmStatus::NoResources)));
            return;
        };
        let local_id = self.new_id(&mut random);
        let until = now.after(u64::from(self.cfg.patience));
        self.conns[at] = Conn {
            state: State::Asked { at: until },
            local_id,
            remote_id,
            remote_qpn: req.qpn(),
            remote_psn: req.starting_psn(),
            tid: req.mad.tid.get(),
            peer: packet.peer,
            reads: request.reads,
            rnr_retries: request.rnr_retries,
            timeout: self.timeout(req.local_cm_timeout()),
            tries: self
                .cfg
                .tries
                .min(req.max_cm_retries().saturating_add(1))
                .max(1),
            ..Conn::FREE
        };
        self.arm(until);
        self.tell(CmEvent::Asked(CmId(local_id), request));
    }

    /// 12.9.8.3.1: the queue pair of the host is in a connection already. Ends that one.
    fn find_stale(&mut self, now: Micros, packet: &CmPacket<'_>, req: &Req) -> bool {
        let stale = |c: &Conn| {
            c.state != State::Free && c.peer.gid == packet.peer.gid && c.remote_qpn == req.qpn()
        };
        let Some(at) = self.conns.iter().position(stale) else {
            return false;
        };
        self.stats.stale += 1;
        let conn = self.conns[at];
        if !matches!(conn.state, State::Leaving { .. }) {
            self.tell(ended(&conn, CmEnd::Stale));
            self.start_leaving(at, now);
        }
        true
    }

    fn new_id(&self, random: &mut impl FnMut() -> u32) -> u32 {
        loop {
            let id = random();
            if id != 0 && self.conns.iter().all(|c| c.local_id != id) {
                return id;
            }
        }
    }

    /// How long the host may take, by the code in its REQ.
    fn timeout(&self, code: u8) -> u32 {
        let micros = timeout_micros(code).max(1000);
        micros.min(u64::from(self.cfg.max_timeout)) as u32
    }

    /// Accepts a request: REP. `None` if it is over by now; then the queue pair is to be closed.
    pub fn accept(&mut self, now: Micros, id: CmId, accept: &Accept) -> Option<()> {
        let at = self.position(id)?;
        let conn = &mut self.conns[at];
        let State::Asked { .. } = conn.state else {
            return None;
        };
        (conn.local_qpn, conn.local_psn, conn.crqsize) = (accept.qpn, accept.psn, accept.crqsize);
        let until = now.after(u64::from(conn.timeout));
        conn.state = State::Replied { at: until };
        conn.due = Due::Rep;
        self.arm(until);
        Some(())
    }

    /// Refuses a request.
    pub fn reject(&mut self, id: CmId, status: CmStatus) {
        let Some(at) = self.position(id) else { return };
        let conn = self.conns[at];
        if let State::Asked { .. } = conn.state {
            self.stats.refused += 1;
            self.conns[at] = Conn::FREE;
            self.answer(reject(&conn, Rejected::Req, Refusal::Status(status)));
        }
    }

    /// The queue pair has received a packet, which says what an RTU says. No event follows.
    pub fn established(&mut self, id: CmId) {
        if let Some(at) = self.position(id)
            && let State::Replied { .. } = self.conns[at].state
        {
            (self.conns[at].state, self.conns[at].due) = (State::Live, Due::Nothing);
        }
    }

    /// Ends a connection: DREQ until a DREP comes. No event follows.
    pub fn disconnect(&mut self, now: Micros, id: CmId) {
        if let Some(at) = self.position(id) {
            match self.conns[at].state {
                State::Asked { .. } => self.reject(id, CmStatus::NoResources),
                State::Replied { .. } | State::Live => self.start_leaving(at, now),
                State::Leaving { .. } | State::Free => {}
            }
        }
    }

    fn start_leaving(&mut self, at: usize, now: Micros) {
        let conn = &mut self.conns[at];
        if let State::Asked { .. } = conn.state {
            self.conns[at] = Conn::FREE;
            return;
        }
        let until = now.after(u64::from(conn.timeout));
        conn.state = State::Leaving { at: until };
        conn.due = Due::Dreq;
        conn.tries = self.cfg.tries;
        self.arm(until);
    }

    fn ready(&mut self, packet: &CmPacket<'_>, rtu: &Rtu) {
        match self.matching(packet, rtu.remote_comm_id.get(), rtu.local_comm_id.get()) {
            Some(at) if matches!(self.conns[at].state, State::Replied { .. }) => {
                (self.conns[at].state, self.conns[at].due) = (State::Live, Due::Nothing);
                self.tell(CmEvent::Established(CmId(self.conns[at].local_id)));
            }
            _ => self.stats.ignored += 1,
        }
    }

    /// The host needs longer for the REP (12.9.8.6).
    fn delay(&mut self, now: Micros, packet: &CmPacket<'_>, mra: &Mra) {
        let found = self.matching(packet, mra.remote_comm_id.get(), mra.local_comm_id.get());
        let (Some(at), true) = (found, mra.message >> 6 == Rejected::Rep as u8) else {
            self.stats.ignored += 1;
            return;
        };
        let conn = &mut self.conns[at];
        if let State::Replied { .. } = conn.state {
            let wait = timeout_micros(mra.timeout >> 3).min(u64::from(self.cfg.max_timeout) * 8);
            let until = now.after(wait + u64::from(conn.timeout));
            conn.state = State::Replied { at: until };
            conn.due = Due::Nothing;
            // One delay for each try: an MRA for ever does not keep the connection for ever.
            conn.tries = conn.tries.saturating_sub(1).max(1);
            self.stats.delays += 1;
            self.arm(until);
        }
    }

    fn rejected(&mut self, packet: &CmPacket<'_>, rej: &Rej) {
        match self.matching(packet, rej.remote_comm_id.get(), rej.local_comm_id.get()) {
            Some(at) if matches!(self.conns[at].state, State::Replied { .. }) => {
                let over = ended(&self.conns[at], CmEnd::Rejected(rej.reason.get()));
                self.conns[at] = Conn::FREE;
                self.tell(over);
            }
            _ => self.stats.ignored += 1,
        }
    }

    fn leave(&mut self, packet: &CmPacket<'_>, dreq: &Dreq) {
        let (own, theirs) = (dreq.remote_comm_id.get(), dreq.local_comm_id.get());
        if let Some(at) = self.matching(packet, own, theirs) {
            let conn = self.conns[at];
            if conn.local_qpn != dreq.remote_qpn.get() >> 8
                || matches!(conn.state, State::Asked { .. })
            {
                self.stats.ignored += 1;
                return;
            }
            self.conns[at] = Conn::FREE;
            if !matches!(conn.state, State::Leaving { .. }) {
                self.tell(ended(&conn, CmEnd::Disconnected));
            }
        } else if self.position(CmId(own)).is_some() {
            // Somebody else's connection.
            self.stats.ignored += 1;
            return;
        }
        // Answered even if nothing is known of it: the DREP may have been lost (12.9.8.4).
        self.answer(Answer {
            peer: packet.peer,
            tid: dreq.mad.tid.get(),
            local_id: own,
            remote_id: theirs,
            kind: AnswerKind::Drep,
        });
    }

    fn left(&mut self, packet: &CmPacket<'_>, drep: &Rtu) {
        match self.matching(packet, drep.remote_comm_id.get(), drep.local_comm_id.get()) {
            Some(at) if matches!(self.conns[at].state, State::Leaving { .. }) => {
                self.conns[at] = Conn::FREE;
            }
            _ => self.stats.ignored += 1,
        }
    }

    fn position(&self, id: CmId) -> Option<usize> {
        let known = |c: &Conn| c.state != State::Free && c.local_id == id.0;
        self.conns.iter().position(known)
    }

    /// The connection that a message of an established pair of ids is about, if its sender is in it.
    fn matching(&self, packet: &CmPacket<'_>, own: u32, theirs: u32) -> Option<usize> {
        let at = self.position(CmId(own))?;
        let conn = &self.conns[at];
        (conn.remote_id == theirs && conn.peer.gid == packet.peer.gid).then_some(at)
    }

    fn answer(&mut self, answer: Answer) {
        if self.answers.push_back(answer).is_err() {
            self.stats.dropped += 1;
        }
    }

    fn tell(&mut self, event: CmEvent) {
        // `input` and `handle_timeouts` see to it that there is a place.
        let _has_place = self.events.push_back(event);
    }

    fn arm(&mut self, at: Micros) {
        if self.deadline.is_none_or(|d| at < d) {
            self.deadline = Some(at);
        }
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<CmEvent> {
        self.events.pop_front()
    }

    /// Writes the next message to send into `mad`, and says to whom. It counts as sent.
    pub fn poll_transmit(&mut self, mad: &mut [u8; MAD_LEN]) -> Option<crate::Peer> {
        if let Some(answer) = self.answers.pop_front() {
            answer.write(mad);
            return Some(answer.peer);
        }
        let conn = self.conns.iter_mut().find(|c| c.due != Due::Nothing)?;
        match core::mem::replace(&mut conn.due, Due::Nothing) {
            Due::Rep => write_rep(&self.cfg, conn, mad),
            _ => write_dreq(conn, mad),
        }
        Some(conn.peer)
    }

    /// When to call [`Self::handle_timeouts`]; early at times, never late.
    #[must_use]
    pub const fn deadline(&self) -> Option<Micros> {
        self.deadline
    }

    /// Does what has fallen due; then take events and transmit.
    pub fn handle_timeouts(&mut self, now: Micros) {
        if self.deadline.is_none_or(|at| now < at) {
            return;
        }
        self.deadline = None;
        for at in 0..CONNS {
            if self.conns[at].at().is_some_and(|due| due <= now) && !self.events.is_full() {
                self.expire(at, now);
            }
            if let Some(next) = self.conns[at].at() {
                self.arm(next);
            }
        }
    }

    fn expire(&mut self, at: usize, now: Micros) {
        let conn = &mut self.conns[at];
        let until = now.after(u64::from(conn.timeout));
        conn.tries = conn.tries.saturating_sub(1);
        let again = conn.tries != 0;
        match conn.state {
            State::Replied { .. } if again => {
                conn.state = State::Replied { at: until };
                conn.due = Due::Rep;
                self.stats.repeated += 1;
            }
            State::Leaving { .. } if again => {
                conn.state = State::Leaving { at: until };
                conn.due = Due::Dreq;
                self.stats.repeated += 1;
            }
            State::Asked { .. } => {
                let answer = reject(conn, Rejected::Req, Refusal::Status(CmStatus::NoResources));
                let over = ended(conn, CmEnd::Unanswered);
                *conn = Conn::FREE;
                self.answer(answer);
                self.tell(over);
            }
            State::Replied { .. } => {
                let answer = reject(conn, Rejected::Rep, Refusal::Reason(RejectReason::Timeout));
                let over = ended(conn, CmEnd::Timeout);
                *conn = Conn::FREE;
                self.answer(answer);
                self.tell(over);
            }
            State::Leaving { .. } => *conn = Conn::FREE,
            State::Free | State::Live => {}
        }
    }
}

/// The event of a connection that is over.
const fn ended(conn: &Conn, why: CmEnd) -> CmEvent {
    CmEvent::Ended {
        id: CmId(conn.local_id),
        qpn: conn.local_qpn,
        why,
    }
}

/// A REJ for a connection.
fn reject(conn: &Conn, what: Rejected, refusal: Refusal) -> Answer {
    Answer {
        peer: conn.peer,
        tid: conn.tid,
        local_id: conn.local_id,
        remote_id: conn.remote_id,
        kind: AnswerKind::Rej(what, refusal),
    }
}
