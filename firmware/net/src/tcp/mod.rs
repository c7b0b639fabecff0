//! TCP (RFC 9293) for one core. This file is what the application calls; the rules are in the submodules:
//! `input` (segments against the state table), `receive`, `ack` (acknowledgment, loss, congestion), `open`
//! (SYN, cookies, active open), `output`, `frame` (headers made by the core), `timer`.
//!
//! Deliberate deviations: the least RTO is below RFC 6298's second; a tail loss that a probe repaired does not reduce
//! the window (RFC 8985, section 7.4); loss detection is RFC 6675 with a check by time for lost retransmissions and for what an answered probe left missing, not RACK;
//! a segment in order that finds no place is dropped (it will be sent again), since it cannot be copied together.

mod ack;
mod common;
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
use common::Common;
use conn::{Conn, Local, State, event, flag};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use pool::{Chunk, List, Seg};
use sluice_hal::{BufId, Micros, PmAddr, PmSlice};
use sluice_wire::ipv6;

pub use conn::CloseReason;
pub use stats::Stats;

/// Ports that can listen.
const PORTS: usize = 8;
/// See [`Tcp::QUIET`].
const QUIET: u32 = u32::MAX;

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
#[repr(C)]
pub struct Tcp<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> {
    common: Common<CONNS, SEGS, CHUNKS>,
    conns: [Conn; CONNS],
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
            common: Common::new(),
            conns: [Conn::NONE; CONNS],
        }
    }

    /// Sets addresses and limits. Once, before the first segment.
    pub fn configure(&mut self, cfg: &Config) {
        self.common.cfg = *cfg;
        self.common.own_ip4 = u32::from_be_bytes(cfg.ipv4);
        self.common.segs.fill();
        self.common.chunks.fill();
        self.common
            .table
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
        let place = self
            .common
            .ports
            .iter_mut()
            .find(|p| **p == 0)
            .ok_or(Full)?;
        *place = port;
        Ok(())
    }

    /// Accepts no more connections to `port`; those that are open stay.
    pub fn unlisten(&mut self, port: u16) {
        for place in self.common.ports.iter_mut().filter(|p| **p == port) {
            *place = 0;
        }
    }

    fn listens(&self, port: u16) -> bool {
        port != 0 && self.common.ports.contains(&port)
    }

    /// Takes the next event.
    #[inline]
    pub fn poll_event(&mut self) -> Option<(ConnId, Event)> {
        loop {
            let c = self.common.events.front()?;
            let conn = &mut self.conns[c];
            let bit = conn.events & conn.events.wrapping_neg();
            conn.events ^= bit;
            let id = ConnId {
                index: c as u16,
                generation: conn.generation,
            };
            if conn.events == 0 {
                self.common.events.pop();
            }
            match bit {
                0 => {}
                event::READABLE => return Some((id, Event::Readable)),
                _ => return Some((id, self.deliver(c, bit))),
            }
        }
    }

    #[cold]
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
        (!head.is_none()).then(|| slice(self.common.segs.get(head)))
    }

    /// All in-order data that was not consumed, segment by segment.
    pub fn runs(&self, id: ConnId) -> impl Iterator<Item = PmSlice> {
        let list = self.at(id).map_or(List::EMPTY, |c| self.conns[c].received);
        list.places(&self.common.segs)
            .map(|place| slice(self.common.segs.get(place)))
    }

    /// In-order bytes that were not consumed.
    #[must_use]
    #[inline]
    pub fn readable(&self, id: ConnId) -> u32 {
        self.at(id).map_or(0, |c| self.conns[c].readable)
    }

    /// Consumes the first `n` readable bytes (all, if there are fewer). Buffers that are read to the end go to `freed`; the
    /// caller gives them back when nothing reads them any more.
    #[inline]
    pub fn consume(&mut self, id: ConnId, n: u32, freed: impl FnMut(BufId)) {
        if let Some(c) = self.at(id) {
            self.common.consume(c, &mut self.conns[c], n, freed);
        }
    }

    /// Chunks that [`Tcp::send`] would take now.
    #[must_use]
    #[inline]
    pub fn send_room(&self, id: ConnId) -> usize {
        self.at(id)
            .map_or(0, |c| self.common.send_room(&self.conns[c]))
    }

    /// Queues `slice` to be sent. Its memory must stay as it is until `token` comes out of [`Tcp::poll_released`], and then
    /// until the tx engine has passed the jobs posted so far: a retransmission may have crossed the acknowledgment.
    ///
    /// # Errors
    /// [`Full`]: no [room](Tcp::send_room), the connection is closed, or the slice is empty.
    #[inline]
    pub fn send(&mut self, id: ConnId, slice: PmSlice, token: u32) -> Result<(), Full> {
        self.send_pieces(id, &[slice], token)
    }

    /// Queues several slices at once, one chunk each. `token` belongs to the last; the others are released in silence before
    /// it. Up to [`sluice_hal::MAX_GATHER`] pieces that are queued together leave in one train.
    ///
    /// # Errors
    /// As [`Tcp::send`]; then nothing is queued.
    #[inline]
    pub fn send_pieces(&mut self, id: ConnId, pieces: &[PmSlice], token: u32) -> Result<(), Full> {
        let c = self.at(id).ok_or(Full)?;
        self.common.send(c, &mut self.conns[c], pieces, token)
    }

    /// Takes the token of a chunk that the peer has, or whose connection is gone. Each token but [`Self::QUIET`] comes out
    /// once, those of one connection in the order of sending.
    #[inline]
    pub fn poll_released(&mut self) -> Option<(ConnId, u32)> {
        loop {
            let place = self.common.released.pop(&self.common.chunks)?;
            let Chunk { conn, token, .. } = *self.common.chunks.get(place);
            self.common.chunks.give(place);
            let c = usize::from(conn);
            let conn = &mut self.conns[c];
            let id = ConnId {
                index: c as u16,
                generation: conn.generation,
            };
            conn.chunk_count -= 1;
            if conn.state == State::Dead {
                self.free_if_done(c);
            }
            if token != Self::QUIET {
                return Some((id, token));
            }
        }
    }

    /// A token that does not come out of [`Tcp::poll_released`].
    pub const QUIET: u32 = QUIET;

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
        self.common.dirty.push(c);
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
        let wheel = self.common.wheel.deadline();
        let Some(c) = self.common.delayed.front() else {
            return wheel;
        };
        let ahead = self.conns[c]
            .ack_at
            .wrapping_sub(self.common.clock.0 as u32) as i32;
        let at = Micros(self.common.clock.0.saturating_add_signed(i64::from(ahead)));
        Some(wheel.map_or(at, |wheel| wheel.min(at)))
    }

    /// [`Tcp::poll_transmit`] has something to do.
    #[must_use]
    #[inline]
    pub fn wants_transmit(&self) -> bool {
        self.common.dirty.front().is_some() || !self.common.garbage.head.is_none()
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.common.stats
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
        self.common.tell(c, &mut self.conns[c], event);
    }

    /// Takes a free place, or that of the oldest connection in TIME-WAIT.
    fn allocate(&mut self) -> Option<usize> {
        if usize::from(self.common.fresh) < CONNS.min(self.common.cfg.connections.into()) {
            self.common.fresh += 1;
            return Some(usize::from(self.common.fresh) - 1);
        }
        if let Some(c) = self.common.free.pop() {
            return Some(c);
        }
        let last = self.common.time_wait.back()?;
        while let Some(c) = self.common.time_wait.pop() {
            if self.conns[c].state == State::TimeWait {
                self.common.stats.time_wait_reused += 1;
                self.bury(c);
                if let Some(c) = self.common.free.pop() {
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
            self.common.stats.closed += 1;
            self.tell(c, event::CLOSED);
        }
        self.bury(c);
    }

    /// As [`Self::die`], without telling.
    fn bury(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        if conn.state == State::SynReceived && !conn.has(flag::ACTIVE) {
            self.common.half_open -= 1;
        }
        conn.state = State::Dead;
        conn.flags &= flag::GONE | flag::RST_DUE | flag::TS;
        conn.cursor = pool::Ref::NONE;
        conn.readable = 0;
        conn.bufs = 0;
        conn.ooo_count = 0;
        self.common
            .garbage
            .append(&mut self.common.segs, &mut conn.received);
        self.common
            .garbage
            .append(&mut self.common.segs, &mut conn.ooo);
        self.common
            .released
            .append(&mut self.common.chunks, &mut conn.chunks);
        let hash = conn.hash;
        if conn.has(flag::RST_DUE) {
            self.common.dirty.push(c);
        }
        self.common.table.remove(hash, c);
        self.common.wheel.unset(c);
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
            self.common.free.push(c);
        }
    }

    fn template(&self, c: usize) -> PmAddr {
        output::template(&self.common.cfg, c)
    }

    fn own_ip6(&self, local: Local) -> [u8; 16] {
        match local {
            Local::V6Link => ipv6::link_local(self.common.cfg.mac),
            _ => self.common.cfg.ipv6,
        }
    }

    #[cold]
    #[inline(never)]
    fn drop_garbage<L: Link>(&mut self, link: &mut L) {
        while let Some(place) = self.common.garbage.pop(&self.common.segs) {
            link.free(BufId(self.common.segs.get(place).buf));
            self.common.segs.give(place);
        }
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

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn state_stays_within_its_budget() {
        assert!(size_of::<Conn>() <= 320, "{}", size_of::<Conn>());
        assert!(size_of::<Seg>() <= 24 && size_of::<Chunk>() <= 20);
        let all = size_of::<Tcp<256, 1024, 2048>>();
        std::println!(
            "Tcp<256, 1024, 2048>: {all} bytes; connection: {}",
            size_of::<Conn>()
        );
        assert!(all <= 132 << 10, "{all}");
    }
}
