//! TCP (RFC 9293) for one core. This file is what the application calls; the rules are in the submodules:
//! `input` (segments against the state table), `receive`, `ack` (acknowledgment, loss, congestion), `open`
//! (SYN, cookies, active open), `output`, `frame` (headers made by the core), `timer`.
//!
//! Deliberate deviations: the least RTO is below RFC 6298's second; a tail loss that a probe repaired does not reduce
//! the window (RFC 8985, section 7.4); loss detection is RFC 6675 with a check for lost retransmissions by time, not RACK;
//! a segment in order that finds no place is dropped (it will be sent again), since it cannot be copied together.

mod ack;
mod conn;
mod cubic;
mod fifo;
pub(crate) mod frame;
mod input;
mod isn;
mod open;
mod output;
mod pool;
mod receive;
mod rtt;
mod scoreboard;
mod seq;
mod stats;
mod table;
mod timer;
mod wheel;

use crate::{Config, Link};
use conn::{Conn, Local, State, event, flag};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use fifo::Fifo;
use pool::{Chunk, List, Pool, Seg};
use seq::{before, distance};
use sluice_hal::{BufId, Micros, PmAddr, PmSlice};
use sluice_wire::ipv6;
use table::Table;
use wheel::Wheel;

pub use conn::CloseReason;
pub use stats::Stats;

/// Ports that can listen.
const PORTS: usize = 8;
/// Chunks that a connection may have even when few are left for all.
const FEW_CHUNKS: u16 = 4;

/// Names a connection until its [`Event::Closed`] was taken and its last chunk released; afterwards it names none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId {
    index: u16,
    generation: u16,
}

impl ConnId {
    /// Below the number of connections; no two living connections share it.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// No place is left, or the connection does not take any more; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// What happened to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Established, from either side.
    Opened {
        /// Own port.
        local_port: u16,
        /// The peer's address and port.
        peer: (IpAddr, u16),
    },
    /// There is new data in order; all of it, not one event per segment.
    Readable,
    /// The peer has closed; what it sent before is still to be read.
    PeerClosed,
    /// The connection is over; the last event. Data not read by now may be gone.
    Closed(CloseReason),
}

/// A router's word that a packet was too big, from the quoted headers ([`crate::HostEvent::PathMtu`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathMtu {
    /// The peer it was sent to.
    pub peer: IpAddr,
    /// The peer's port.
    pub peer_port: u16,
    /// Own port.
    pub local_port: u16,
    /// Sequence number of the quoted segment.
    pub seq: u32,
    /// Largest packet that would have passed, in bytes.
    pub mtu: u16,
    /// Flow hash of what this peer sends: by the steering table it names the core that has the connection.
    pub flow_hash: u32,
}

/// `CONNS` connections that share `SEGS` received segments and `CHUNKS` pieces to send. All zeros when new.
pub struct Tcp<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> {
    cfg: Config,
    own_ip4: u32,
    conns: [Conn; CONNS],
    table: Table<CONNS>,
    segs: Pool<Seg, SEGS>,
    chunks: Pool<Chunk, CHUNKS>,
    /// Connections with something to send.
    dirty: Fifo<CONNS>,
    /// Connections with events to deliver.
    events: Fifo<CONNS>,
    /// Connections with a delayed acknowledgment, by time. May hold some that have none any more.
    delayed: Fifo<CONNS>,
    /// Connections in TIME-WAIT, by time. May hold some that left it.
    time_wait: Fifo<CONNS>,
    /// Free places, the longest free first.
    free: Fifo<CONNS>,
    /// Places from here on were never used.
    fresh: u16,
    half_open: u16,
    wheel: Wheel<CONNS>,
    /// Chunks to be handed back.
    released: List,
    /// Received segments whose buffers are to be freed.
    garbage: List,
    ports: [u16; PORTS],
    /// When a cookie was last sent.
    cookie_at: Option<Micros>,
    challenges: timer::Budget,
    /// The latest time heard of.
    clock: Micros,
    stats: Stats,
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Default
    for Tcp<CONNS, SEGS, CHUNKS>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Tcp<CONNS, SEGS, CHUNKS> {
    /// A stack that must be [configured](Self::configure) before anything else.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(CONNS > 0 && SEGS >= 16 && CHUNKS >= 16) };
        Self {
            cfg: Config::NONE,
            own_ip4: 0,
            conns: [Conn::NONE; CONNS],
            table: Table::new(),
            segs: Pool::new(),
            chunks: Pool::new(),
            dirty: Fifo::new(),
            events: Fifo::new(),
            delayed: Fifo::new(),
            time_wait: Fifo::new(),
            free: Fifo::new(),
            fresh: 0,
            half_open: 0,
            wheel: Wheel::new(),
            released: List::EMPTY,
            garbage: List::EMPTY,
            ports: [0; PORTS],
            cookie_at: None,
            challenges: timer::Budget::NONE,
            clock: Micros(0),
            stats: Stats::NONE,
        }
    }

    /// Sets addresses and limits. Once, before the first segment.
    pub fn configure(&mut self, cfg: &Config) {
        self.cfg = *cfg;
        self.own_ip4 = u32::from_be_bytes(cfg.ipv4);
        self.table
            .set_key((cfg.secret[0] ^ (cfg.secret[1] >> 32)) as u32);
    }

    /// Accepts connections to `port`.
    ///
    /// # Errors
    /// [`Full`]: 8 ports listen already.
    pub fn listen(&mut self, port: u16) -> Result<(), Full> {
        if self.listens(port) {
            return Ok(());
        }
        let place = self.ports.iter_mut().find(|p| **p == 0).ok_or(Full)?;
        *place = port;
        Ok(())
    }

    /// Accepts no more connections to `port`; those that are open stay.
    pub fn unlisten(&mut self, port: u16) {
        for place in self.ports.iter_mut().filter(|p| **p == port) {
            *place = 0;
        }
    }

    fn listens(&self, port: u16) -> bool {
        port != 0 && self.ports.contains(&port)
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<(ConnId, Event)> {
        loop {
            let c = self.events.front()?;
            let conn = &mut self.conns[c];
            let bit = conn.events & conn.events.wrapping_neg();
            conn.events &= !bit;
            let more = conn.events != 0;
            let id = self.id(c);
            if !more {
                self.events.pop();
            }
            if bit != 0 {
                return Some((id, self.deliver(c, bit)));
            }
        }
    }

    fn deliver(&mut self, c: usize, bit: u8) -> Event {
        match bit {
            event::OPENED => {
                let ports = self.conns[c].ports;
                let peer = (self.peer_address(c), (ports >> 16) as u16);
                Event::Opened {
                    local_port: ports as u16,
                    peer,
                }
            }
            event::READABLE => Event::Readable,
            event::PEER_CLOSED => Event::PeerClosed,
            _ => {
                self.conns[c].set(flag::GONE);
                let reason = self.conns[c].reason;
                self.free_if_done(c);
                Event::Closed(reason)
            }
        }
    }

    fn peer_address(&self, c: usize) -> IpAddr {
        let conn = &self.conns[c];
        if conn.local == Local::V4 {
            return IpAddr::V4(Ipv4Addr::from_bits(conn.peer[0]));
        }
        let [a, b, c, d] = conn.peer.map(u128::from);
        IpAddr::V6(Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d))
    }

    /// The next in-order data that was not consumed: the rest of one received segment.
    #[must_use]
    #[inline]
    pub fn front(&self, id: ConnId) -> Option<PmSlice> {
        let head = self.conns[self.at(id)?].received.head;
        (!head.is_none()).then(|| slice(self.segs.get(head)))
    }

    /// All in-order data that was not consumed, segment by segment.
    pub fn runs(&self, id: ConnId) -> impl Iterator<Item = PmSlice> {
        let list = self.at(id).map_or(List::EMPTY, |c| self.conns[c].received);
        list.places(&self.segs)
            .map(|place| slice(self.segs.get(place)))
    }

    /// In-order bytes that were not consumed.
    #[must_use]
    #[inline]
    pub fn readable(&self, id: ConnId) -> u32 {
        self.at(id).map_or(0, |c| self.conns[c].readable)
    }

    /// Consumes the first `n` readable bytes (all, if there are fewer). Buffers that are read to the end go to `freed`; the
    /// caller gives them back when nothing reads them any more.
    pub fn consume(&mut self, id: ConnId, mut n: u32, mut freed: impl FnMut(BufId)) {
        let Some(c) = self.at(id) else { return };
        let conn = &mut self.conns[c];
        n = n.min(conn.readable);
        conn.readable -= n;
        while n > 0 && !conn.received.head.is_none() {
            let seg = self.segs.get_mut(conn.received.head);
            if u32::from(seg.len) > n {
                seg.trim_front(seg.seq.wrapping_add(n));
                break;
            }
            n -= u32::from(seg.len);
            freed(BufId(seg.buf));
            let Some(place) = conn.received.pop(&self.segs) else {
                break;
            };
            self.segs.give(place);
            conn.bufs -= 1;
        }
        self.offer_window(c);
    }

    /// Chunks that [`Tcp::send`] would take now.
    #[must_use]
    pub fn send_room(&self, id: ConnId) -> usize {
        let Some(c) = self.at(id) else { return 0 };
        let conn = &self.conns[c];
        if !conn.state.may_queue() || conn.has(flag::FIN_QUEUED) {
            return 0;
        }
        let own = self.cfg.chunks_per_conn.saturating_sub(conn.chunk_count);
        // The last quarter is for connections that have next to nothing.
        let few = FEW_CHUNKS.saturating_sub(conn.chunk_count);
        let shared = self.chunks.room().saturating_sub(CHUNKS / 4);
        usize::from(own).min(shared.max(usize::from(few).min(self.chunks.room())))
    }

    /// Queues `slice` to be sent. Its memory must stay as it is until `token` comes out of [`Tcp::poll_released`], and then
    /// until the tx engine has passed the jobs posted so far: a retransmission may have crossed the acknowledgment.
    ///
    /// # Errors
    /// [`Full`]: no [room](Tcp::send_room), the connection is closed, or the slice is empty.
    #[inline]
    pub fn send(&mut self, id: ConnId, slice: PmSlice, token: u32) -> Result<(), Full> {
        if slice.len == 0 || self.send_room(id) == 0 {
            return Err(Full);
        }
        let c = id.index();
        let chunk = Chunk::new(slice.addr.0, slice.len, token, id.index);
        let place = self.chunks.take(chunk).ok_or(Full)?;
        let conn = &mut self.conns[c];
        conn.chunks.push(&mut self.chunks, place);
        conn.chunk_count += 1;
        if conn.cursor.is_none() {
            conn.cursor = place;
            conn.cursor_offset = 0;
        }
        conn.snd_end = conn.snd_end.wrapping_add(slice.len);
        self.dirty.push(c);
        Ok(())
    }

    /// Takes the token of a chunk that the peer has, or whose connection is gone. Each chunk comes out once.
    #[inline]
    pub fn poll_released(&mut self) -> Option<(ConnId, u32)> {
        let place = self.released.pop(&self.chunks)?;
        let chunk = *self.chunks.get(place);
        self.chunks.give(place);
        let c = usize::from(chunk.conn);
        let id = self.id(c);
        self.conns[c].chunk_count -= 1;
        if self.conns[c].state == State::Dead {
            self.free_if_done(c);
        }
        Some((id, chunk.token))
    }

    /// Sends FIN after what is queued. The peer's data is still received until it closes too (RFC 9293, section 3.6).
    pub fn close(&mut self, id: ConnId) {
        let Some(c) = self.at(id) else { return };
        let conn = &mut self.conns[c];
        match conn.state {
            State::SynSent => return self.die(c, CloseReason::Aborted),
            State::SynReceived => {}
            State::Established => conn.state = State::FinWait1,
            State::CloseWait => conn.state = State::LastAck,
            _ => return,
        }
        conn.set(flag::FIN_QUEUED);
        self.dirty.push(c);
    }

    /// Ends the connection at once with RST. Chunks are released, received data is dropped, [`Event::Closed`] follows.
    pub fn abort(&mut self, id: ConnId) {
        let Some(c) = self.at(id) else { return };
        match self.conns[c].state {
            State::Dead | State::TimeWait | State::Free => return,
            State::SynSent => {}
            _ => self.conns[c].set(flag::RST_DUE),
        }
        self.die(c, CloseReason::Aborted);
    }

    /// When [`Tcp::handle_timeouts`] is worth calling; possibly early, never late.
    #[must_use]
    #[inline]
    pub fn deadline(&self) -> Option<Micros> {
        let wheel = self.wheel.deadline();
        let Some(c) = self.delayed.front() else {
            return wheel;
        };
        let ahead = self.conns[c].ack_at.wrapping_sub(self.clock.0 as u32) as i32;
        let at = Micros(self.clock.0.saturating_add_signed(i64::from(ahead)));
        Some(wheel.map_or(at, |wheel| wheel.min(at)))
    }

    /// [`Tcp::poll_transmit`] has something to do.
    #[must_use]
    #[inline]
    pub fn wants_transmit(&self) -> bool {
        self.dirty.front().is_some() || !self.garbage.head.is_none()
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Connections that are open or opening.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        let open =
            |conn: &&Conn| !matches!(conn.state, State::Free | State::Dead | State::TimeWait);
        self.conns.iter().filter(open).count()
    }

    fn id(&self, c: usize) -> ConnId {
        ConnId {
            index: c as u16,
            generation: self.conns[c].generation,
        }
    }

    #[inline]
    fn at(&self, id: ConnId) -> Option<usize> {
        let conn = self.conns.get(id.index())?;
        (conn.generation == id.generation && conn.state != State::Free).then_some(id.index())
    }

    fn tell(&mut self, c: usize, event: u8) {
        self.conns[c].events |= event;
        self.events.push(c);
    }

    /// Takes a free place, or that of the oldest connection in TIME-WAIT.
    fn allocate(&mut self) -> Option<usize> {
        if usize::from(self.fresh) < CONNS {
            self.fresh += 1;
            return Some(usize::from(self.fresh) - 1);
        }
        if let Some(c) = self.free.pop() {
            return Some(c);
        }
        let last = self.time_wait.back()?;
        while let Some(c) = self.time_wait.pop() {
            if self.conns[c].state == State::TimeWait {
                self.stats.time_wait_reused += 1;
                self.bury(c);
                if let Some(c) = self.free.pop() {
                    return Some(c);
                }
            }
            if c == last {
                break;
            }
        }
        None
    }

    /// Ends a connection: out of the table, timers stopped, chunks released, received data dropped.
    fn die(&mut self, c: usize, reason: CloseReason) {
        let conn = &mut self.conns[c];
        conn.reason = reason;
        if conn.state == State::SynReceived && !conn.has(flag::ACTIVE) {
            // The application never heard of it.
            conn.set(flag::GONE);
        } else {
            self.stats.closed += 1;
            self.tell(c, event::CLOSED);
        }
        self.bury(c);
    }

    /// As [`Self::die`], without telling.
    fn bury(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        if conn.state == State::SynReceived && !conn.has(flag::ACTIVE) {
            self.half_open -= 1;
        }
        conn.state = State::Dead;
        conn.flags &= flag::GONE | flag::RST_DUE | flag::TS;
        conn.cursor = pool::Ref::NONE;
        conn.readable = 0;
        conn.bufs = 0;
        conn.ooo_count = 0;
        self.garbage.append(&mut self.segs, &mut conn.received);
        self.garbage.append(&mut self.segs, &mut conn.ooo);
        self.released.append(&mut self.chunks, &mut conn.chunks);
        let hash = conn.hash;
        if conn.has(flag::RST_DUE) {
            self.dirty.push(c);
        }
        self.table.remove(hash, c);
        self.wheel.unset(c);
        self.free_if_done(c);
    }

    fn free_if_done(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        let done = conn.flags & (flag::GONE | flag::RST_DUE) == flag::GONE;
        if conn.state == State::Dead && done && conn.chunk_count == 0 {
            let generation = conn.generation.wrapping_add(1);
            *conn = Conn {
                generation,
                ..Conn::NONE
            };
            self.free.push(c);
        }
    }

    fn template(&self, c: usize) -> PmAddr {
        self.cfg.templates.plus(128 * c as u32 + 2)
    }

    fn own_ip6(&self, local: Local) -> [u8; 16] {
        match local {
            Local::V6Link => ipv6::link_local(self.cfg.mac),
            _ => self.cfg.ipv6,
        }
    }

    fn drop_garbage<L: Link>(&mut self, link: &mut L) {
        while let Some(place) = self.garbage.pop(&self.segs) {
            link.free(BufId(self.segs.get(place).buf));
            self.segs.give(place);
        }
    }

    /// Room for received data, in bytes, before what was advertised is taken into account.
    #[inline]
    fn receive_space(&self, conn: &Conn) -> u32 {
        let mut space = self.cfg.recv_window.saturating_sub(conn.readable);
        let bufs = self.cfg.bufs_per_conn.saturating_sub(conn.bufs);
        if u32::from(bufs) < 16 || self.segs.room() < SEGS / 4 {
            // Buffers run out before bytes do, or all connections together hold too many.
            space = space.min(u32::from(bufs).min(4) * u32::from(conn.rcv_mss));
        }
        space
    }

    /// After reading: tells the peer if its window has grown by a good piece, or from nearly nothing (RFC 9293, section
    /// 3.8.6.2.2).
    fn offer_window(&mut self, c: usize) {
        let conn = &self.conns[c];
        if !conn.state.receives() {
            return;
        }
        let offered = distance(conn.rcv_nxt, conn.rcv_adv);
        let gain = self.receive_space(conn).saturating_sub(offered);
        let mss = u32::from(conn.rcv_mss);
        let enough = if offered < 2 * mss {
            mss
        } else {
            self.cfg.recv_window / 4
        };
        if gain >= enough.min(self.cfg.recv_window / 2) {
            self.conns[c].set(flag::ACK_NOW);
            self.dirty.push(c);
        }
    }

    /// The window to put into a segment; moves the advertised edge.
    #[inline]
    fn advertise(&mut self, c: usize) -> u16 {
        let space = self.receive_space(&self.conns[c]);
        let conn = &mut self.conns[c];
        let step = u32::from(conn.rcv_mss).min(self.cfg.recv_window / 2);
        let edge = conn.rcv_nxt.wrapping_add(space);
        if !before(edge, conn.rcv_adv.wrapping_add(step)) {
            conn.rcv_adv = edge;
        }
        let window = distance(conn.rcv_nxt, conn.rcv_adv) >> conn.rcv_shift;
        window.min(0xffff) as u16
    }
}

/// The unread part of a received segment.
#[inline]
fn slice(seg: &Seg) -> PmSlice {
    PmSlice::new(
        BufId(seg.buf).addr().plus(u32::from(seg.offset)),
        u32::from(seg.len),
    )
}
