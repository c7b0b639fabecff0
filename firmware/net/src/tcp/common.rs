//! What all connections of a core share, and the steps of the fast path: they get one connection beside it, so that
//! the compiler keeps both at hand.

use super::{
    Full, PORTS, QUIET,
    conn::{Conn, event, flag},
    fifo::Fifo,
    pool::{Chunk, List, Node, Pool, Seg},
    seq::{before, distance},
    stats::Stats,
    table::Table,
    timer::Budget,
    wheel::Wheel,
};
use crate::Config;
use sluice_hal::{BufId, Micros, PmSlice};

/// Chunks that a connection may have even when few are left for all.
const FEW_CHUNKS: u16 = 4;

/// Received segments that a connection finds places for, however many the others hold.
pub const FEW_SEGS: u16 = 2;

/// Small things first: on RV32 what lies in the first 2 KiB is one instruction away.
#[repr(C)]
pub struct Common<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> {
    pub cfg: Config,
    pub own_ip4: u32,
    /// The latest time heard of.
    pub clock: Micros,
    /// Chunks to be handed back.
    pub released: List,
    /// Received segments whose buffers are to be freed.
    pub garbage: List,
    pub stats: Stats,
    /// Places from here on were never used.
    pub fresh: u16,
    pub half_open: u16,
    /// Connections that are not free.
    pub living: u16,
    /// Places for received segments that are kept for connections which hold next to nothing.
    pub floor: u16,
    pub ports: [u16; PORTS],
    /// When a cookie was last sent.
    pub cookie_at: Option<Micros>,
    pub challenges: Budget,
    /// Connections with something to send.
    pub dirty: Fifo<CONNS>,
    /// Connections with events to deliver.
    pub events: Fifo<CONNS>,
    /// Connections with a delayed acknowledgment, by time. May hold some that have none any more.
    pub delayed: Fifo<CONNS>,
    /// Connections in TIME-WAIT, by time. May hold some that left it.
    pub time_wait: Fifo<CONNS>,
    /// Free places, the longest free first.
    pub free: Fifo<CONNS>,
    pub table: Table<CONNS>,
    pub wheel: Wheel<CONNS>,
    pub segs: Pool<Seg, SEGS>,
    pub chunks: Pool<Chunk, CHUNKS>,
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Common<CONNS, SEGS, CHUNKS> {
    pub const fn new() -> Self {
        Self {
            cfg: Config::NONE,
            own_ip4: 0,
            clock: Micros(0),
            released: List::EMPTY,
            garbage: List::EMPTY,
            stats: Stats::NONE,
            fresh: 0,
            half_open: 0,
            living: 0,
            floor: 0,
            ports: [0; PORTS],
            cookie_at: None,
            challenges: Budget::NONE,
            dirty: Fifo::new(),
            events: Fifo::new(),
            delayed: Fifo::new(),
            time_wait: Fifo::new(),
            free: Fifo::new(),
            table: Table::new(),
            wheel: Wheel::new(),
            segs: Pool::new(),
            chunks: Pool::new(),
        }
    }

    /// There is a connection more, or one less.
    pub fn set_living(&mut self, living: u16) {
        self.living = living;
        self.floor = (FEW_SEGS * living).max(SEGS as u16 / 8);
    }

    #[inline]
    pub fn tell(&mut self, c: usize, conn: &mut Conn, event: u8) {
        if conn.events & event == 0 {
            conn.events |= event;
            self.events.push(c);
        }
    }

    #[inline]
    pub fn tell_readable(&mut self, c: usize, conn: &mut Conn) {
        self.tell(c, conn, event::READABLE);
    }

    #[inline]
    pub fn consume(&mut self, c: usize, conn: &mut Conn, n: u32, mut freed: impl FnMut(BufId)) {
        let mut n = n.min(conn.readable);
        conn.readable -= n;
        while n > 0 && !conn.received.head.is_none() {
            let seg = self.segs.get_mut(conn.received.head);
            let len = u32::from(seg.len);
            if len > n {
                seg.trim_front(seg.seq.wrapping_add(n));
                break;
            }
            n -= len;
            freed(BufId(seg.buf));
            let Some(place) = conn.received.pop(&self.segs) else {
                break;
            };
            self.segs.give(place);
            conn.bufs -= 1;
        }
        // What was offered before is enough as a rule.
        if conn.rcv_adv.wrapping_sub(conn.rcv_nxt) < self.cfg.recv_window / 2 {
            self.offer_window(c, conn);
        }
    }

    /// After reading: tells the peer if its window has grown by a good piece, or from nearly nothing (RFC 9293, section
    /// 3.8.6.2.2).
    fn offer_window(&mut self, c: usize, conn: &mut Conn) {
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
            conn.set(flag::ACK_NOW);
            self.dirty.push(c);
        }
    }

    /// Room for received data, in bytes, before what was advertised is taken into account.
    #[inline]
    fn receive_space(&self, conn: &Conn) -> u32 {
        let space = self.cfg.recv_window.saturating_sub(conn.readable);
        let bufs = self.cfg.bufs_per_conn.saturating_sub(conn.bufs);
        let room = self.segs.room().saturating_sub(self.floor.into());
        if bufs >= 16 && room >= SEGS / 8 {
            return space;
        }
        // Buffers run out before bytes do, or all connections together hold too many.
        let few = if room == 0 { FEW_SEGS } else { 4 };
        space.min(u32::from(bufs.min(few)) * u32::from(conn.rcv_mss))
    }

    /// The window to put into a segment; moves the advertised edge.
    #[inline]
    pub fn advertise(&self, conn: &mut Conn) -> u16 {
        let offered = conn.rcv_adv.wrapping_sub(conn.rcv_nxt);
        // Most of it is still there: the edge need not move.
        if offered < self.cfg.recv_window / 4 * 3 {
            self.move_edge(conn);
        }
        let window = conn.rcv_adv.wrapping_sub(conn.rcv_nxt) >> conn.rcv_shift;
        window.min(0xffff) as u16
    }

    fn move_edge(&self, conn: &mut Conn) {
        let space = self.receive_space(conn);
        let step = u32::from(conn.rcv_mss).min(self.cfg.recv_window / 2);
        let edge = conn.rcv_nxt.wrapping_add(space);
        if !before(edge, conn.rcv_adv.wrapping_add(step)) {
            conn.rcv_adv = edge;
        }
    }

    #[inline]
    pub fn send_room(&self, conn: &Conn) -> usize {
        if !conn.state.may_queue() {
            return 0;
        }
        let own = self.cfg.chunks_per_conn.saturating_sub(conn.chunk_count);
        let shared = self.chunks.room().saturating_sub(CHUNKS / 4);
        if usize::from(own) <= shared {
            return usize::from(own);
        }
        // The last quarter is for connections that have next to nothing.
        let few = usize::from(FEW_CHUNKS.saturating_sub(conn.chunk_count)).min(self.chunks.room());
        usize::from(own).min(shared.max(few))
    }

    #[inline]
    pub fn send(
        &mut self,
        c: usize,
        conn: &mut Conn,
        pieces: &[PmSlice],
        token: u32,
    ) -> Result<(), Full> {
        let mut total = 0;
        let mut empty = pieces.is_empty();
        for piece in pieces {
            total += piece.len;
            empty |= piece.len == 0;
        }
        if pieces.len() > self.send_room(conn) || empty {
            return Err(Full);
        }
        let last = pieces.len() - 1;
        let chain = self.chunks.take_chain(pieces.len(), |i, chunk| {
            let token = if i == last { token } else { QUIET };
            chunk.set(pieces[i].addr.0, pieces[i].len, token, c as u16);
        });
        if conn.cursor.is_none() {
            conn.cursor = chain.head;
            conn.cursor_offset = 0;
        }
        conn.chunks.append_chain(&mut self.chunks, chain);
        conn.chunk_count += pieces.len() as u16;
        conn.snd_end = conn.snd_end.wrapping_add(total);
        self.dirty.push(c);
        Ok(())
    }

    /// Hands back wholly acknowledged chunks: those with a token to the released list, the quiet ones to the pool.
    #[inline]
    pub fn release(&mut self, conn: &mut Conn, bytes: u32) {
        let mut place = conn.chunks.head;
        let mut rest = conn.una_offset + bytes;
        while !place.is_none() {
            let node = self.chunks.get(place);
            if rest < node.len {
                break;
            }
            rest -= node.len;
            let (next, quiet) = (node.next(), node.token == QUIET);
            if quiet {
                self.chunks.give(place);
                conn.chunk_count -= 1;
            } else {
                self.released.push(&mut self.chunks, place);
            }
            place = next;
        }
        conn.chunks.head = place;
        conn.una_offset = rest;
    }

    /// Data was received: acknowledges every second full segment at once, the rest a little later (RFC 9293, section
    /// 3.8.6.3), unless something that is sent meanwhile carries the acknowledgment.
    #[inline]
    pub fn owe_ack(&mut self, c: usize, conn: &mut Conn, len: u16, now: Micros) {
        conn.rcv_mss = conn.rcv_mss.max(len);
        let owed = conn.rcv_nxt.wrapping_sub(conn.last_ack);
        if owed >= 2 * u32::from(conn.rcv_mss) {
            conn.set(flag::ACK_NOW);
            self.dirty.push(c);
        } else if !conn.has(flag::ACK_LATER) {
            conn.set(flag::ACK_LATER);
            if self.delayed.push(c) {
                conn.ack_at = (now.0 as u32).wrapping_add(self.cfg.ack_delay);
            }
        }
    }

    /// `ack` acknowledges something new.
    #[inline]
    pub fn acknowledge(&mut self, c: usize, conn: &mut Conn, ack: u32, now: Micros) {
        let now32 = now.0 as u32;
        let flight = conn.in_flight();
        let acked = ack.wrapping_sub(conn.snd_una);
        // FIN is the last thing in flight and no byte of a chunk.
        let data = acked.min(conn.snd_end.wrapping_sub(conn.snd_una));
        conn.snd_una = ack;
        self.release(conn, data);
        if conn.has(flag::RTT_TIMING) && !before(ack, conn.rtt_seq) {
            conn.clear(flag::RTT_TIMING);
            conn.rtt.sample(now32.wrapping_sub(conn.rtt_at));
        }
        conn.backoff = 0;
        conn.clear(flag::PROBED);
        if conn.has(flag::RECOVERING | flag::CWR_WINDOW) || !conn.sacked.is_empty() {
            super::ack::acknowledge_in_recovery(conn, &self.cfg, acked, now32);
        } else {
            conn.dupacks = 0;
            super::ack::grow(conn, &self.cfg, acked, flight, now32);
        }
        if conn.in_flight() == 0 {
            conn.clear(flag::TIMER_RTX | flag::TIMER_PROBE);
        } else {
            self.arm_retransmission(c, conn, now);
        }
    }
}
