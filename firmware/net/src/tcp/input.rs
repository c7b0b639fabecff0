//! Segments against the state table (RFC 9293, section 3.10.7), after a short way for the usual ones.

use super::{
    Tcp,
    common::Common,
    conn::{Conn, FAST_MASK, Local, State, event, flag},
    pool::Seg,
    seq::{after, before},
};
use crate::Link;
use sluice_hal::{Micros, RxDesc, RxFlags, layout};
use sluice_wire::tcp::{self, Options};

/// A segment off the fast path.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub seq: u32,
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    pub window: u16,
    /// The frame buffer's number.
    pub buf: u16,
    /// Payload, from the buffer's first byte.
    pub offset: u16,
    pub len: u16,
    pub ce: bool,
    /// Timestamps included.
    pub options: Options,
}

impl Segment {
    pub fn read<L: Link>(rx: &RxDesc, link: &mut L) -> Self {
        let mut options = Options::default();
        if rx.flags.has(RxFlags::TIMESTAMP) {
            options.timestamps = Some((rx.ts_val, rx.ts_ecr));
        } else if rx.flags.has(RxFlags::TCP_OPTIONS) {
            let start = u32::from(rx.l4_offset) + 20;
            let len = u32::from(rx.payload_offset).saturating_sub(start).min(40) as usize;
            let mut bytes = [0; 40];
            link.read(rx.frame().addr.plus(start), &mut bytes[..len]);
            options = Options::parse(&bytes[..len]);
        }
        Self {
            seq: rx.seq,
            ack: rx.ack,
            flags: rx.tcp_flags,
            window: rx.window,
            buf: rx.buf.0,
            offset: layout::RX_OFFSET as u16 + u16::from(rx.payload_offset),
            len: rx.payload_len,
            ce: rx.flags.has(RxFlags::CE),
            options,
        }
    }

    #[inline]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// SEG.LEN: SYN and FIN count.
    pub const fn seq_len(&self) -> u32 {
        self.len as u32 + self.has(tcp::SYN) as u32 + self.has(tcp::FIN) as u32
    }

    pub const fn end(&self) -> u32 {
        self.seq.wrapping_add(self.seq_len())
    }
}

/// What became of the frame buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Buffer {
    /// A receive queue holds it.
    Kept,
    /// Nothing needs it.
    Unused,
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Tcp<CONNS, SEGS, CHUNKS> {
    /// Takes a received TCP segment and its buffer.
    pub fn input<L: Link>(&mut self, now: Micros, rx: &RxDesc, link: &mut L) {
        self.common.clock = now;
        self.common.stats.segments_in = self.common.stats.segments_in.wrapping_add(1);
        let buffer = match self.lookup(rx, link) {
            Some(c) => match self.common.fast(c, &mut self.conns[c], now, rx) {
                Some(buffer) => {
                    self.common.stats.fast = self.common.stats.fast.wrapping_add(1);
                    buffer
                }
                None => self.slow(c, now, rx, link),
            },
            None => self.unknown(now, rx, link),
        };
        if buffer == Buffer::Unused {
            link.free(rx.buf);
        }
    }

    #[inline]
    fn lookup<L: Link>(&self, rx: &RxDesc, link: &mut L) -> Option<usize> {
        let ports = u32::from(rx.src_port) << 16 | u32::from(rx.dst_port);
        let mut at = self.common.table.first(rx.flow_hash);
        while let Some(c) = at {
            let conn = &self.conns[c];
            if conn.hash == rx.flow_hash && conn.ports == ports {
                let same = if conn.local == Local::V4 {
                    rx.flags.has(RxFlags::IPV4)
                        && conn.peer[0] == rx.src_ip4
                        && self.common.own_ip4 == rx.dst_ip4
                } else {
                    rx.flags.has(RxFlags::IPV6) && self.same_ip6(c, rx, link)
                };
                if same {
                    return Some(c);
                }
            }
            at = self.common.table.following(c);
        }
        None
    }

    /// The descriptor has no IPv6 addresses: compares those in the frame.
    #[inline(never)]
    fn same_ip6<L: Link>(&self, c: usize, rx: &RxDesc, link: &mut L) -> bool {
        let mut addresses = [0; 32];
        link.read(
            rx.frame().addr.plus(u32::from(rx.l3_offset) + 8),
            &mut addresses,
        );
        let (src, dst) = addresses.split_at(16);
        let conn = &self.conns[c];
        super::frame::words(src) == conn.peer && *dst == self.own_ip6(conn.local)
    }

    #[cold]
    #[inline(never)]
    fn slow<L: Link>(&mut self, c: usize, now: Micros, rx: &RxDesc, link: &mut L) -> Buffer {
        if !rx.flags.has(RxFlags::TCP | RxFlags::L4_OK) {
            self.common.stats.drop_foreign += 1;
            return Buffer::Unused;
        }
        let seg = Segment::read(rx, link);
        match self.conns[c].state {
            State::SynSent => {
                // Data or FIN that came with the SYN is not acknowledged and comes again.
                self.answer_to_syn(c, now, &seg, link);
                return Buffer::Unused;
            }
            State::TimeWait if self.may_reopen(c, &seg) => {
                self.common.stats.time_wait_reused += 1;
                self.bury(c);
                return self.unknown(now, rx, link);
            }
            State::Free | State::Dead => return Buffer::Unused,
            _ => {}
        }
        self.synchronized(c, now, seg, rx, link)
    }

    /// A SYN may open the connection anew from TIME-WAIT if it is clearly later (RFC 6191, section 2).
    fn may_reopen(&self, c: usize, seg: &Segment) -> bool {
        let conn = &self.conns[c];
        let later_time = match (conn.has(flag::TS), seg.options.timestamps) {
            (true, Some((value, _))) => after(value, conn.ts_recent),
            _ => false,
        };
        seg.flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
            && (later_time || after(seg.seq, conn.rcv_nxt))
    }

    /// All states from SYN-RECEIVED on.
    fn synchronized<L: Link>(
        &mut self,
        c: usize,
        now: Micros,
        mut seg: Segment,
        rx: &RxDesc,
        link: &mut L,
    ) -> Buffer {
        if !self.check_timestamp(c, &seg, now) || !self.check_sequence(c, &mut seg, now) {
            return Buffer::Unused;
        }
        self.conns[c].last_rx = now.0 as u32;
        if seg.has(tcp::RST) {
            self.check_reset(c, &seg, now);
            return Buffer::Unused;
        }
        if seg.has(tcp::SYN) {
            // RFC 5961, section 4.2: whatever its sequence number.
            self.challenge(c, now);
            return Buffer::Unused;
        }
        if !seg.has(tcp::ACK) {
            return Buffer::Unused;
        }
        if self.conns[c].state == State::SynReceived && !self.complete_open(c, &seg, rx, link) {
            return Buffer::Unused;
        }
        if !self.take_ack(c, &seg, now) {
            return Buffer::Unused;
        }
        if seg.ce && self.conns[c].has(flag::ECN) {
            self.conns[c].set(flag::ECE_ECHO);
        } else if seg.has(tcp::CWR) {
            self.conns[c].clear(flag::ECE_ECHO);
        }
        let buffer = self.receive(c, &seg, now);
        self.take_fin(c, &seg, now);
        buffer
    }

    /// PAWS (RFC 7323, section 5.3). RSTs are not subject to it.
    fn check_timestamp(&mut self, c: usize, seg: &Segment, now: Micros) -> bool {
        let conn = &mut self.conns[c];
        if !conn.has(flag::TS) || seg.has(tcp::RST) {
            return true;
        }
        let Some((value, _)) = seg.options.timestamps else {
            // Section 3.2: once negotiated, every segment has one; others are dropped in silence.
            self.common.stats.drop_paws += 1;
            return false;
        };
        let age = ((now.0 >> 20) as u32).wrapping_sub(conn.ts_age);
        // Section 5.5: after 24 days the remembered value says nothing.
        if before(value, conn.ts_recent) && age < 24 * 86_400 {
            self.common.stats.drop_paws += 1;
            self.reply_to_unacceptable(c, seg, now);
            return false;
        }
        if !after(seg.seq, conn.last_ack) {
            conn.ts_recent = value;
            conn.ts_age = (now.0 >> 20) as u32;
        }
        true
    }

    /// The acceptability test (RFC 9293, section 3.10.7.4, first step), and what is outside the window cut off.
    fn check_sequence(&mut self, c: usize, seg: &mut Segment, now: Micros) -> bool {
        let conn = &mut self.conns[c];
        let (next, edge) = (conn.rcv_nxt, conn.rcv_adv);
        let window = edge.wrapping_sub(next);
        let inside = |s: u32| s.wrapping_sub(next) < window;
        let acceptable = match (seg.seq_len(), window) {
            (0, 0) => seg.seq == next,
            (0, _) => inside(seg.seq),
            // Zero window: no data, but ACK and RST are looked at.
            (_, 0) => seg.seq == next && seg.has(tcp::RST),
            (_, _) => inside(seg.seq) || inside(seg.end().wrapping_sub(1)),
        };
        if acceptable {
            trim_end(seg, edge);
            return true;
        }
        self.common.stats.drop_window += 1;
        if seg.has(tcp::RST) {
            return false;
        }
        if conn.state == State::SynReceived && seg.has(tcp::SYN) && seg.seq.wrapping_add(1) == next
        {
            // Our SYN-ACK was lost.
            conn.set(flag::SYN_DUE);
            self.common.dirty.push(c);
            return false;
        }
        let state = conn.state;
        if state == State::TimeWait && seg.has(tcp::FIN) {
            self.enter_time_wait(c, now);
        }
        // Old data must be acknowledged, and its acknowledgment may be news all the same (zero window probe answered
        // while the peer probes us, or data sent again because our acknowledgment was lost).
        if seg.has(tcp::ACK) && !seg.has(tcp::SYN) && state != State::SynReceived {
            let mut bare = *seg;
            (bare.len, bare.flags) = (0, seg.flags & !tcp::FIN);
            if !after(seg.seq, next) || window == 0 {
                self.take_ack(c, &bare, now);
            }
        }
        if !matches!(self.conns[c].state, State::Dead | State::Free) {
            self.note_duplicate(c, seg);
            self.reply_to_unacceptable(c, seg, now);
        }
        false
    }

    /// An acknowledgment for what cannot be accepted: at once for data, at a limited rate for the rest, so that two
    /// confused ends do not answer each other for ever.
    fn reply_to_unacceptable(&mut self, c: usize, seg: &Segment, now: Micros) {
        if seg.len != 0 || seg.has(tcp::FIN) {
            self.conns[c].set(flag::ACK_NOW);
            self.common.dirty.push(c);
        } else {
            self.challenge(c, now);
        }
    }

    /// RFC 5961, section 3.2: only the exact sequence number resets.
    fn check_reset(&mut self, c: usize, seg: &Segment, now: Micros) {
        let conn = &self.conns[c];
        if seg.seq != conn.rcv_nxt {
            return self.challenge(c, now);
        }
        self.common.stats.resets_taken += 1;
        let reason = match conn.state {
            State::SynReceived if conn.has(flag::ACTIVE) => super::CloseReason::Refused,
            State::TimeWait => return self.bury(c),
            _ => super::CloseReason::Reset,
        };
        self.die(c, reason);
    }

    fn take_fin(&mut self, c: usize, seg: &Segment, now: Micros) {
        let conn = &mut self.conns[c];
        let takes = conn.state.receives() || conn.state == State::TimeWait;
        if seg.has(tcp::FIN) && takes && !conn.has(flag::PEER_FIN) {
            conn.set(flag::PEER_FIN);
            conn.fin_seq = seg.seq.wrapping_add(u32::from(seg.len));
        }
        let reached = conn.has(flag::PEER_FIN) && conn.fin_seq == conn.rcv_nxt;
        if !reached || !conn.state.receives() {
            return;
        }
        conn.rcv_nxt = conn.rcv_nxt.wrapping_add(1);
        conn.rcv_adv = super::seq::later(conn.rcv_adv, conn.rcv_nxt);
        conn.set(flag::ACK_NOW);
        self.common.dirty.push(c);
        self.tell(c, event::PEER_CLOSED);
        let conn = &mut self.conns[c];
        match conn.state {
            State::Established => conn.state = State::CloseWait,
            State::FinWait1 => conn.state = State::Closing,
            _ => self.enter_time_wait(c, now),
        }
    }
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Common<CONNS, SEGS, CHUNKS> {
    /// An established connection's next data or a plain acknowledgment, nothing out of the ordinary on either side. `None`
    /// before anything was changed if it is something else.
    #[inline]
    fn fast(&mut self, c: usize, conn: &mut Conn, now: Micros, rx: &RxDesc) -> Option<Buffer> {
        let len = u32::from(rx.payload_len);
        let acked = rx.ack.wrapping_sub(conn.snd_una);
        let usual = conn.state == State::Established
            && rx.flags.0 & FAST_MASK == conn.rx_kind
            && rx.tcp_flags & !tcp::PSH == tcp::ACK
            && rx.seq == conn.rcv_nxt
            && conn.flags & flag::SLOW == 0
            && acked <= conn.in_flight()
            && acked | len != 0
            && len <= conn.rcv_adv.wrapping_sub(conn.rcv_nxt)
            && conn.ooo.head.is_none()
            && conn.sacked.is_empty()
            && conn.dupacks == 0
            && conn.snd_wnd != 0;
        if !usual {
            return None;
        }
        if conn.has(flag::TS) {
            if before(rx.ts_val, conn.ts_recent) {
                return None;
            }
            if !after(rx.seq, conn.last_ack) {
                conn.ts_recent = rx.ts_val;
                conn.ts_age = (now.0 >> 20) as u32;
            }
        }
        let mut buffer = Buffer::Unused;
        if len != 0 {
            if conn.bufs >= self.cfg.bufs_per_conn || self.segs.room() <= usize::from(self.floor) {
                return None;
            }
            let offset = layout::RX_OFFSET as u16 + u16::from(rx.payload_offset);
            let place = self
                .segs
                .take(Seg::new(rx.seq, rx.buf.0, offset, rx.payload_len))?;
            conn.received.push(&mut self.segs, place);
            conn.bufs += 1;
            conn.rcv_nxt = conn.rcv_nxt.wrapping_add(len);
            conn.readable += len;
            buffer = Buffer::Kept;
        }
        conn.last_rx = now.0 as u32;
        conn.snd_wnd = u32::from(rx.window) << conn.snd_shift;
        conn.max_wnd = conn.max_wnd.max(conn.snd_wnd);
        conn.snd_wl1 = rx.seq;
        conn.snd_wl2 = rx.ack;
        if acked != 0 {
            self.acknowledge(c, conn, rx.ack, now);
        }
        if len != 0 {
            self.owe_ack(c, conn, rx.payload_len, now);
            self.tell_readable(c, conn);
        }
        if conn.unsent() != 0 {
            self.dirty.push(c);
        }
        Some(buffer)
    }
}

/// Cuts off what lies beyond the window; a FIN there goes too.
fn trim_end(seg: &mut Segment, edge: u32) {
    let data_end = seg.seq.wrapping_add(u32::from(seg.len));
    if after(data_end, edge) {
        let cut = data_end.wrapping_sub(edge).min(u32::from(seg.len));
        seg.len -= cut as u16;
        seg.flags &= !tcp::FIN;
    }
}
