//! Reliable-connection queue pairs of one core (IBA, chapter 9). This file is what the application calls; the rules are in
//! the submodules: `responder` (the peer's requests), `requester` (answers to ours), `output`, `timer`.
//!
//! Deliberate deviations: a gap in READ responses or an acknowledgment beyond a READ makes the requester go back at once, but
//! only once per PSN (9.7.5.1.1 leaves the number open); zero-length RDMA operations are refused like others (9.7.4.1.3 would
//! let them pass without a key check); acknowledgments carry no credits; the ACK timeout doubles with each retry in a row and
//! follows round trips that take longer (9.7.6.1.3 leaves it fixed), so that neither a stalled host nor a slow card is
//! given up or flooded with repetitions, while a tail lost on a fast path is repeated soon.

mod output;
mod qp;
mod requester;
mod responder;
mod stats;
mod timer;

use crate::{
    Config, Link, MAX_HEADER, Open,
    pool::{Kind, List, Pool, Seg, Wr},
    psn,
};
use heapless::Deque;
use qp::{Qp, State, flag, form};
use sluice_hal::{
    BufId, MAX_GATHER, Micros, PmSlice,
    roce::{QPN_CORE_SHIFT, Remote, RoceRx},
};
use sluice_wire::{
    ib_cm::ipv4_of_gid,
    roce::{MASK_24, NakCode, Opcode, timeout_micros},
};

pub use stats::Stats;

/// Queue pairs a core can have: bits 7:0 of a number.
const MAX_QPS: usize = 256;
/// With so many messages unanswered a host does not wait for the acknowledgment of a single one, and other answers will follow.
const DEEP: u16 = 8;
/// So many acknowledgments that wait go with the next answer; and one in so many answers is to be acknowledged.
const MANY: u8 = 4;
/// Longest message sent or read, bytes; keyed SGL descriptors end at 2^24.
pub const MAX_MESSAGE: u32 = (1 << 24) - 1;

/// Names a queue pair until it is closed: its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct QpId(u32);

impl QpId {
    /// Below the number of queue pairs; no two living ones share it.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 & 0xff) as usize
    }

    /// The number, as the peer knows it.
    #[must_use]
    pub const fn qpn(self) -> u32 {
        self.0
    }

    /// From a number, for mail between cores.
    #[must_use]
    pub const fn from_qpn(qpn: u32) -> Self {
        Self(qpn)
    }
}

/// No place is left, or the queue pair does not take any more; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// What the peer has to be told of a queue pair, in the REP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalEnd {
    /// Queue pair number.
    pub qpn: u32,
    /// First PSN the peer is to send; random.
    pub psn: u32,
}

/// Why a queue pair is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CloseReason {
    /// The application closed it.
    Requested,
    /// The peer sent a request that makes no sense here: opcode out of order, wrong length, message too long.
    InvalidRequest,
    /// The peer asked for memory of this card.
    RemoteAccess,
    /// The peer refused a request; why.
    Refused(NakCode),
    /// The peer does not acknowledge.
    Unanswered,
    /// The peer posts no receives.
    NotReady,
    /// READ data of impossible length.
    BadResponse,
    /// The peer began a message and did not go on, while others needed the places.
    Stalled,
}

/// What happened to a queue pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The first packet of the peer's came: it has the REP, whether its RTU arrives or not.
    Alive,
    /// There are messages to consume; all of them, not one event per message.
    Received,
    /// It is over; nothing more is received or sent, and it waits to be closed. The last event.
    Closed(CloseReason),
}

/// What a work request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// SEND.
    Send,
    /// SEND that invalidates this key of the peer's.
    SendInvalidate(u32),
    /// RDMA WRITE to this address with this key.
    Write {
        /// Virtual address.
        va: u64,
        /// Memory key.
        rkey: u32,
    },
    /// RDMA READ; its data come as [`ReadData`].
    Read(Remote),
    /// [`Work::Write`] of all pieces but the last, and behind it a SEND of the last one, in one packet: in one job of the
    /// engine, which costs less than two.
    WriteSend {
        /// Virtual address.
        va: u64,
        /// Memory key.
        rkey: u32,
        /// The SEND invalidates the key.
        invalidate: bool,
    },
}

/// A packet's worth of READ data, in order. The frame buffer is the caller's now: it moves the bytes and frees the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadData {
    /// The queue pair.
    pub qp: QpId,
    /// Of the work request.
    pub token: u32,
    /// Where in the work request's data the bytes belong.
    pub offset: u32,
    /// The bytes.
    pub slice: PmSlice,
    /// The buffer they lie in.
    pub buf: BufId,
    /// The work request is complete with them; its token is released as well.
    pub last: bool,
}

/// A work request that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Released {
    /// The queue pair; closed already, perhaps.
    pub qp: QpId,
    /// As posted.
    pub token: u32,
    /// The peer has acknowledged it. Otherwise the queue pair ended before, and whether it was executed is unknown.
    pub done: bool,
}

/// `QPS` queue pairs that share `WRS` work requests and `SEGS` packets of received messages. All zeros when new.
///
/// Each of the `SEGS` holds a frame buffer, so there should be fewer than the core's share of those. A message begins only if
/// there are places for the longest; otherwise the peer is told to wait, and who left one unfinished may lose its queue pair.
pub struct Rc<const QPS: usize, const WRS: usize, const SEGS: usize> {
    cfg: Config,
    stats: Stats,
    /// Nothing falls due before.
    deadline: Option<Micros>,
    /// Places of `segs` promised to messages under way.
    reserved: u16,
    /// Queue pairs, and those of them that keep messages.
    opened: u16,
    keeping: u16,
    released: List,
    ready: Deque<u16, QPS>,
    /// Queue pairs whose acknowledgments wait, and until when: all wait equally long.
    late: Deque<(u16, Micros), QPS>,
    /// Queue pairs whose next READ waits for others' data to come, and packets of READ data on their way, of all.
    thirsty: Deque<u16, QPS>,
    asked: u16,
    events: Deque<u16, QPS>,
    segs: Pool<Seg, SEGS>,
    wrs: Pool<Wr, WRS>,
    qps: [Qp; QPS],
}

impl<const QPS: usize, const WRS: usize, const SEGS: usize> Default for Rc<QPS, WRS, SEGS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const QPS: usize, const WRS: usize, const SEGS: usize> Rc<QPS, WRS, SEGS> {
    /// Bytes of state per queue pair, work request and packet of a received message.
    pub const SIZES: [usize; 3] = [size_of::<Qp>(), size_of::<Wr>(), size_of::<Seg>()];

    /// A machine that must be [configured](Self::configure) before anything else.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(QPS > 0 && QPS <= MAX_QPS && WRS >= 4 && SEGS >= 4) };
        Self {
            cfg: Config::NONE,
            stats: Stats::NEW,
            deadline: None,
            reserved: 0,
            opened: 0,
            keeping: 0,
            released: List::EMPTY,
            ready: Deque::new(),
            late: Deque::new(),
            thirsty: Deque::new(),
            asked: 0,
            events: Deque::new(),
            segs: Pool::new(),
            wrs: Pool::new(),
            qps: [Qp::FREE; QPS],
        }
    }

    /// Sets addresses and limits. Before the first queue pair; later calls concern those opened from then on.
    pub fn configure(&mut self, cfg: &Config) {
        if self.cfg.recv_size == 0 {
            self.segs.fill_to(cfg.packets.into());
            self.wrs.fill();
        }
        self.cfg = *cfg;
    }

    /// Something waits to be sent, as far as timers and the engine let it.
    #[must_use]
    #[inline]
    pub fn wants_transmit(&self) -> bool {
        !self.ready.is_empty()
            || !self.thirsty.is_empty() && self.may_ask(self.cfg.read_request.into())
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Queue pairs that can still be opened.
    #[must_use]
    pub fn room(&self) -> usize {
        self.qps.iter().filter(|q| q.state == State::Free).count()
    }

    /// Work requests that can still be posted.
    #[must_use]
    pub const fn work_room(&self) -> u16 {
        self.wrs.room()
    }

    /// Opens a queue pair, ready to receive and to send, and writes its header template.
    ///
    /// # Errors
    /// [`Full`]: none is left.
    pub fn open<L: Link>(&mut self, open: &Open, link: &mut L) -> Result<(QpId, LocalEnd), Full> {
        let q = self
            .qps
            .iter()
            .position(|q| q.state == State::Free)
            .ok_or(Full)?;
        let random = link.random();
        let last = self.qps[q].qpn;
        let mut qpn = u32::from(self.cfg.core) << QPN_CORE_SHIFT | random >> 20 << 8 | q as u32;
        if qpn == last {
            // What is still under way to the last user must not meet this one.
            qpn ^= 1 << 8;
        }
        let epsn = link.random() & MASK_24;
        let mut header = [0; MAX_HEADER];
        let len = open.peer.header(self.cfg.mac, self.cfg.dscp, &mut header);
        link.write(output::template(&self.cfg, q), &header[..len]);
        let send = open.send_psn & MASK_24;
        let [a, b, c, d] = *open.peer.gid.as_chunks::<4>().0 else {
            return Err(Full);
        };
        let v4 = ipv4_of_gid(&open.peer.gid).map(u32::from_be_bytes);
        self.qps[q] = Qp {
            qpn,
            remote_qpn: open.remote_qpn & MASK_24,
            peer: v4.map_or([a, b, c, d].map(u32::from_be_bytes), |ip| [0, 0, 0, ip]),
            flags: self.qps[q].flags & flag::QUEUED,
            state: State::Live,
            form: [0, form::IPV6][usize::from(open.peer.is_ipv6())]
                | [0, form::VLAN][usize::from(open.peer.tci != 0)],
            mtu_code: open.mtu as u8,
            epsn,
            credits: open.receives,
            una: send,
            nxt: send,
            max: send,
            end: send,
            reads: open.reads,
            retries: open.retries,
            retries_left: open.retries,
            rnr_retries: open.rnr_retries,
            rnr_left: open.rnr_retries,
            ack_timeout: timeout_micros(open.ack_timeout).min(u64::from(u32::MAX)) as u32,
            ..Qp::FREE
        };
        self.opened += 1;
        Ok((QpId(qpn), LocalEnd { qpn, psn: epsn }))
    }

    /// Closes a queue pair at once, whatever it was doing: buffers are freed, work requests released. Nothing is sent.
    pub fn close<L: Link>(&mut self, id: QpId, link: &mut L) {
        let Some(q) = self.at(id) else { return };
        self.drop_all(q, link);
        self.opened -= 1;
        let kept = self.qps[q].flags & flag::QUEUED;
        self.qps[q] = Qp {
            qpn: id.0,
            flags: kept,
            ..Qp::FREE
        };
    }

    /// Posts `count` more receives.
    pub fn post_receives(&mut self, id: QpId, count: u16) {
        if let Some(q) = self.at(id) {
            let qp = &mut self.qps[q];
            qp.credits = qp.credits.saturating_add(count);
        }
    }

    /// Posts a work request over up to 4 pieces of packet memory, which stay the machine's until the token is released.
    /// Requests of a queue pair are executed in order. Sent by the next [`Self::poll_transmit`].
    ///
    /// # Errors
    /// [`Full`]: no place, the queue pair is over, too many pieces or too long ([`MAX_MESSAGE`]), a READ without a peer that
    /// serves READs.
    pub fn post(
        &mut self,
        id: QpId,
        work: Work,
        pieces: &[PmSlice],
        token: u32,
    ) -> Result<(), Full> {
        let q = self.at(id).ok_or(Full)?;
        let qp = &mut self.qps[q];
        let given = pieces
            .iter()
            .fold(0u32, |sum, piece| sum.saturating_add(piece.len));
        let mut more = 0;
        let (kind, va, rkey, len) = match work {
            Work::WriteSend {
                va,
                rkey,
                invalidate,
            } => {
                let response = pieces.last().map_or(0, |piece| piece.len);
                // Neither may be empty.
                if response == 0 || response > qp.mtu() || given == response {
                    return Err(Full);
                }
                let kind = if invalidate {
                    Kind::WriteSendInvalidate
                } else {
                    Kind::WriteSend
                };
                more = 1;
                (kind, va, rkey, given - response)
            }
            Work::Send => (Kind::Send, 0, 0, given),
            Work::SendInvalidate(key) => (Kind::SendInvalidate, 0, key, given),
            Work::Write { va, rkey } => (Kind::Write, va, rkey, given),
            Work::Read(remote) if qp.reads != 0 && pieces.is_empty() => {
                (Kind::Read, remote.va, remote.rkey, remote.len)
            }
            Work::Read(_) => return Err(Full),
        };
        if qp.state != State::Live || pieces.len() > MAX_GATHER || len > MAX_MESSAGE {
            return Err(Full);
        }
        let packets = qp.packets(len) + more;
        if psn::distance(qp.una, qp.end) + packets >= 1 << 22 {
            return Err(Full);
        }
        let (place, wr) = self.wrs.take_as_it_is().ok_or(Full)?;
        // In place: a copy of the whole costs more than all else here.
        wr.token = token;
        wr.psn = qp.end;
        wr.packets = packets;
        wr.len = len;
        wr.va = va;
        wr.rkey = rkey;
        wr.kind = kind;
        wr.pieces = pieces.len() as u8;
        for (to, piece) in wr.gather.iter_mut().zip(pieces) {
            *to = *piece;
        }
        wr.qpn = qp.qpn;
        wr.done = false;
        qp.queue.push(&mut self.wrs, place);
        qp.end = psn::add(qp.end, packets);
        if qp.cursor.is_none() {
            qp.cursor = place;
        }
        if !matches!(kind, Kind::Write | Kind::Read) {
            qp.owed = qp.owed.saturating_sub(1);
            // A host with little under way waits for both, one with much for neither.
            if qp.unacked >= MANY || qp.unacked > 0 && qp.owed < DEEP {
                qp.set(flag::ACK_DUE);
            }
        }
        self.make_ready(q);
        Ok(())
    }

    /// Takes a packet. READ data are the caller's with their buffer; everything else the machine keeps or frees.
    pub fn input<L: Link>(&mut self, now: Micros, rx: &RoceRx, link: &mut L) -> Option<ReadData> {
        let Some(q) = self.find(rx, link) else {
            self.stats.stale += 1;
            link.free(rx.buf);
            return None;
        };
        let qp = &mut self.qps[q];
        if rx.congested() && qp.rate.marked(now, &self.cfg.dcqcn) {
            qp.set(flag::CNP_DUE);
            self.make_ready(q);
        }
        if !self.qps[q].has(flag::SEEN) {
            self.qps[q].set(flag::SEEN);
            self.tell(q, flag::ALIVE);
        }
        match Opcode::from_code(rx.opcode) {
            Some(Opcode::Cnp) => {
                self.stats.cnps_received += 1;
                self.qps[q].rate.notified(now, &self.cfg.dcqcn);
                link.free(rx.buf);
            }
            Some(Opcode::UdSendOnly) | None => {
                self.stats.stale += 1;
                link.free(rx.buf);
            }
            Some(opcode) if opcode.is_response() => return self.response(q, opcode, now, rx, link),
            Some(opcode) => self.request(q, opcode, now, rx, link),
        }
        None
    }

    /// The queue pair of a packet, if everything that names it is right.
    fn find<L: Link>(&self, rx: &RoceRx, link: &mut L) -> Option<usize> {
        let q = (rx.dest_qp & 0xff) as usize;
        let qp = self.qps.get(q)?;
        if qp.qpn != rx.dest_qp || qp.state == State::Free || rx.pkey & 0x7fff != 0x7fff {
            return None;
        }
        if !qp.is_ipv6() {
            return (rx.src_ip4 == qp.peer[3]).then_some(q);
        }
        let mut bytes = [[0; 4]; 4];
        let at = rx.frame().addr.plus(u32::from(rx.l3_offset) + 8);
        link.read(at, bytes.as_flattened_mut());
        (bytes.map(u32::from_be_bytes) == qp.peer).then_some(q)
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<(QpId, Event)> {
        loop {
            let q = usize::from(*self.events.front()?);
            let qp = &mut self.qps[q];
            let due = qp.flags & (flag::ALIVE | flag::RECEIVED | flag::CLOSED);
            let bit = due & due.wrapping_neg();
            qp.clear(bit);
            if due == bit {
                self.events.pop_front();
                qp.clear(flag::EVENTS);
            }
            let id = QpId(qp.qpn);
            match bit {
                flag::ALIVE => return Some((id, Event::Alive)),
                // Unless consumed already.
                flag::RECEIVED if qp.messages != 0 => return Some((id, Event::Received)),
                flag::CLOSED => return Some((id, Event::Closed(qp.reason))),
                _ => {}
            }
        }
    }

    /// Bytes of the oldest message received and not consumed.
    #[must_use]
    pub fn message_len(&self, id: QpId) -> Option<u32> {
        let q = self.at(id)?;
        (self.qps[q].messages != 0).then(|| self.pieces(id).map(|piece| piece.len).sum())
    }

    /// The oldest message received and not consumed, packet by packet; all but the last have path MTU bytes.
    pub fn pieces(&self, id: QpId) -> impl Iterator<Item = PmSlice> {
        let list = self
            .at(id)
            .filter(|q| self.qps[*q].messages != 0)
            .map_or(List::EMPTY, |q| self.qps[q].received);
        let mut next = list.head;
        let mut over = next.is_none();
        core::iter::from_fn(move || {
            if over {
                return None;
            }
            let seg = self.segs.get(next);
            over = seg.is_last();
            next = crate::pool::Node::next(seg);
            Some(piece(seg))
        })
    }

    /// Drops the oldest message, whose receive is used up; `free` gets each of its buffers.
    pub fn consume(&mut self, id: QpId, free: impl FnMut(BufId)) {
        self.consume_packets(id, u32::MAX, free);
    }

    /// Drops the first `count` packets of the oldest message; the rest stays, and is the oldest message. True if none is left of it.
    pub fn consume_packets(&mut self, id: QpId, count: u32, mut free: impl FnMut(BufId)) -> bool {
        let Some(q) = self.at(id).filter(|q| self.qps[*q].messages != 0) else {
            return true;
        };
        let qp = &mut self.qps[q];
        for _ in 0..count {
            let Some(place) = qp.received.pop(&self.segs) else {
                return true;
            };
            let seg = *self.segs.get(place);
            self.segs.give(place);
            qp.kept -= 1;
            self.keeping -= u16::from(qp.kept == 0);
            free(buffer(&seg));
            if seg.is_last() {
                qp.messages -= 1;
                return true;
            }
        }
        false
    }

    /// Takes the next work request that is over. Its packet memory may be used again once the tx engine has done the jobs
    /// posted so far, since one of them may send it again.
    pub fn poll_released(&mut self) -> Option<Released> {
        let place = self.released.pop(&self.wrs)?;
        let wr = self.wrs.get(place);
        let released = Released {
            qp: QpId(wr.qpn),
            token: wr.token,
            done: wr.done,
        };
        self.wrs.give(place);
        Some(released)
    }

    /// The place of a living queue pair, failed ones included.
    #[inline]
    fn at(&self, id: QpId) -> Option<usize> {
        let qp = self.qps.get(id.index())?;
        (qp.qpn == id.0 && qp.state != State::Free).then_some(id.index())
    }

    #[inline]
    fn make_ready(&mut self, q: usize) {
        if !self.qps[q].has(flag::READY) && self.ready.push_back(q as u16).is_ok() {
            self.qps[q].set(flag::READY);
        }
    }

    #[inline]
    fn tell(&mut self, q: usize, event: u32) {
        self.qps[q].set(event);
        if !self.qps[q].has(flag::EVENTS) && self.events.push_back(q as u16).is_ok() {
            self.qps[q].set(flag::EVENTS);
        }
    }

    /// Ends a queue pair; what it has to send still is its NAK, if one is due.
    #[cold]
    fn fail<L: Link>(&mut self, q: usize, reason: CloseReason, link: &mut L) {
        self.stats.failed += 1;
        self.drop_all(q, link);
        let qp = &mut self.qps[q];
        qp.state = State::Failed;
        qp.reason = reason;
        qp.clear(flag::ACK_DUE | flag::TIMER | flag::WAIT | flag::RECEIVED | flag::IN_MESSAGE);
        self.tell(q, flag::CLOSED);
    }

    fn drop_all<L: Link>(&mut self, q: usize, link: &mut L) {
        self.expect_nothing(q);
        let qp = &mut self.qps[q];
        self.reserved -= u16::from(core::mem::take(&mut qp.reserved));
        self.keeping -= u16::from(qp.kept > 0);
        (qp.messages, qp.credits, qp.partial, qp.kept) = (0, 0, 0, 0);
        while let Some(place) = qp.received.pop(&self.segs) {
            link.free(buffer(self.segs.get(place)));
            self.segs.give(place);
        }
        while let Some(place) = qp.queue.pop(&self.wrs) {
            self.wrs.get_mut(place).done = false;
            self.released.push(&mut self.wrs, place);
        }
        qp.cursor = crate::pool::Ref::NONE;
        (qp.nxt, qp.max, qp.end) = (qp.una, qp.una, qp.una);
    }
}

fn buffer(seg: &Seg) -> BufId {
    BufId(seg.buf_last & !Seg::LAST)
}

fn piece(seg: &Seg) -> PmSlice {
    let addr = buffer(seg).addr().plus(u32::from(seg.offset));
    PmSlice::new(addr, u32::from(seg.len))
}
