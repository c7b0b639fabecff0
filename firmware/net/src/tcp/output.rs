//! What is sent, when windows allow (RFC 9293, section 3.8.6; RFC 6675, section 5).

use super::{
    Tcp,
    common::Common,
    conn::{Conn, flag},
    frame::Fields,
    pool::{Chunk, Node, Pool, Ref},
    seq::{after, before, distance, later},
};
use crate::{Config, Link};
use sluice_hal::{Busy, MAX_GATHER, Micros, PmAddr, PmSlice, TcpJob, TcpOverrides};
use sluice_wire::tcp::{self, Options};

/// Trains of one connection before the next one has its turn.
const TRAINS_PER_TURN: u32 = 8;

/// The clock of timestamps sent: 1.024 ms (RFC 7323, section 5.4, wants 1 ms to 1 s).
pub const fn timestamp_clock(now: Micros) -> u32 {
    (now.0 >> 10) as u32
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Tcp<CONNS, SEGS, CHUNKS> {
    /// Sends what windows allow for the connections that have something to send, acknowledgments included; frees buffers of
    /// connections that ended. Stops when the link is busy and goes on from there the next time.
    pub fn poll_transmit<L: Link>(&mut self, now: Micros, link: &mut L) {
        self.common.clock = now;
        if !self.common.garbage.head.is_none() {
            self.drop_garbage(link);
        }
        let Some(last) = self.common.dirty.back() else {
            return;
        };
        while let Some(c) = self.common.dirty.pop() {
            if self.transmit(c, now, link).is_err() {
                self.common.dirty.push_front(c);
                return;
            }
            if c == last {
                return;
            }
        }
    }

    #[inline(never)]
    fn transmit<L: Link>(&mut self, c: usize, now: Micros, link: &mut L) -> Result<(), Busy> {
        if self.conns[c].has(flag::DUE) || self.conns[c].must_report() {
            self.transmit_due(c, now, link)?;
        }
        let conn = &mut self.conns[c];
        if conn.state.sends() {
            let mut trains = 0;
            while conn.wants_to_send() && self.common.send_train(c, conn, now, link)? {
                trains += 1;
                if trains == TRAINS_PER_TURN {
                    self.common.dirty.push(c);
                    break;
                }
            }
        }
        while conn.has(flag::ACK_NOW) {
            self.common.send_ack(c, conn, now, link)?;
        }
        Ok(())
    }

    /// Everything but new payload and plain acknowledgments. Bits are cleared when their segment is out.
    #[cold]
    #[inline(never)]
    fn transmit_due<L: Link>(&mut self, c: usize, now: Micros, link: &mut L) -> Result<(), Busy> {
        if self.conns[c].has(flag::RST_DUE) {
            self.send_reset(c, now, link)?;
            return Ok(());
        }
        if self.conns[c].has(flag::SYN_DUE) {
            return self.send_syn(c, now, link);
        }
        if self.conns[c].has(flag::KEEPALIVE_DUE) {
            // One before what is expected: any living peer acknowledges it (RFC 9293, section 3.8.4).
            let seq = self.conns[c].snd_una.wrapping_sub(1);
            self.send_bare(c, seq, now, link)?;
            self.conns[c].clear(flag::KEEPALIVE_DUE);
        }
        while self.conns[c].must_report() {
            self.send_report(c, now, link)?;
        }
        if !self.conns[c].state.sends() {
            return Ok(());
        }
        if self.conns[c].has(flag::WINDOW_PROBE_DUE) {
            self.send_window_probe(c, now, link)?;
        }
        if self.conns[c].has(flag::PROBE_DUE) {
            self.send_tail(c, now, link)?;
        }
        self.retransmit(c, now, link)
    }

    /// An acknowledgment that cannot ride on a train: with SACK blocks, or of a connection with ECN, whose template is for
    /// data.
    fn send_report<L: Link>(&mut self, c: usize, now: Micros, link: &mut L) -> Result<(), Busy> {
        self.send_bare(c, self.conns[c].snd_nxt, now, link)?;
        self.common.stats.acks = self.common.stats.acks.wrapping_add(1);
        acknowledgment_sent(&mut self.conns[c]);
        Ok(())
    }

    /// A segment without payload at `seq`, made by the core: carries SACK blocks and is never marked as capable of ECN.
    fn send_bare<L: Link>(
        &mut self,
        c: usize,
        seq: u32,
        now: Micros,
        link: &mut L,
    ) -> Result<(), Busy> {
        let mut options = Options {
            timestamps: timestamps(&self.conns[c], now),
            ..Options::default()
        };
        self.sack_blocks(c, &mut options);
        self.send_piece(c, seq, 0, &options, PmSlice::default(), link)?;
        acknowledged(&mut self.conns[c]);
        Ok(())
    }

    fn send_piece<L: Link>(
        &mut self,
        c: usize,
        seq: u32,
        flags: u8,
        options: &Options,
        rest: PmSlice,
        link: &mut L,
    ) -> Result<(), Busy> {
        let window = self.common.advertise(&mut self.conns[c]);
        let conn = &self.conns[c];
        let flags = flags | plain_flags(conn);
        self.send_special(
            c,
            Fields {
                seq,
                ack: conn.rcv_nxt,
                flags,
                window,
            },
            options,
            rest,
            link,
        )
    }

    fn send_syn<L: Link>(&mut self, c: usize, now: Micros, link: &mut L) -> Result<(), Busy> {
        let conn = &self.conns[c];
        let passive = conn.state == super::State::SynReceived;
        let ecn = match (conn.has(flag::ECN), passive) {
            (false, _) => 0,
            (true, true) => tcp::ECE,
            // After a timeout without, in case something on the path drops such SYNs (RFC 3168, section 6.1.1.1).
            (true, false) if conn.backoff > 1 => 0,
            (true, false) => tcp::ECE | tcp::CWR,
        };
        let fields = Fields {
            seq: conn.snd_una,
            ack: if passive { conn.rcv_nxt } else { 0 },
            flags: tcp::SYN | ecn | if passive { tcp::ACK } else { 0 },
            window: self.common.cfg.recv_window.min(0xffff) as u16,
        };
        let options = self.syn_options(c, now);
        self.send_special(c, fields, &options, PmSlice::default(), link)?;
        let conn = &mut self.conns[c];
        conn.clear(flag::SYN_DUE | flag::ACK_NOW);
        if conn.snd_nxt == conn.snd_una {
            conn.snd_nxt = conn.snd_end;
            conn.set(flag::RTT_TIMING);
            conn.rtt_at = now.0 as u32;
        }
        if !conn.has(flag::TIMER_RTX) {
            self.arm_syn(c, now);
        }
        Ok(())
    }

    fn send_reset<L: Link>(&mut self, c: usize, now: Micros, link: &mut L) -> Result<(), Busy> {
        let conn = &self.conns[c];
        let fields = Fields {
            seq: conn.snd_nxt,
            ack: conn.rcv_nxt,
            flags: tcp::RST | tcp::ACK,
            window: 0,
        };
        let options = Options {
            timestamps: timestamps(&self.conns[c], now),
            ..Options::default()
        };
        self.send_special(c, fields, &options, PmSlice::default(), link)?;
        self.common.stats.resets_sent += 1;
        self.conns[c].clear(flag::RST_DUE);
        self.free_if_done(c);
        Ok(())
    }

    /// One byte beyond a closed window, again and again until it opens (RFC 9293, section 3.8.6.1).
    fn send_window_probe<L: Link>(
        &mut self,
        c: usize,
        now: Micros,
        link: &mut L,
    ) -> Result<(), Busy> {
        let conn = &self.conns[c];
        let una = conn.snd_una;
        if conn.snd_wnd == 0 && before(una, conn.snd_end) {
            self.send_range(c, una, una.wrapping_add(1), now, link)?;
            let conn = &mut self.conns[c];
            if conn.snd_nxt == una {
                conn.snd_nxt = una.wrapping_add(1);
                let mut train = Train::new(una, 0);
                let at = (conn.cursor, conn.cursor_offset);
                (conn.cursor, conn.cursor_offset) = train.gather(&self.common.chunks, at, 1);
            }
        }
        self.conns[c].clear(flag::WINDOW_PROBE_DUE);
        Ok(())
    }

    /// Tail loss probe: the last segment once more (RFC 8985, section 7.3).
    fn send_tail<L: Link>(&mut self, c: usize, now: Micros, link: &mut L) -> Result<(), Busy> {
        let conn = &self.conns[c];
        let from = later(conn.snd_una, conn.snd_nxt.wrapping_sub(conn.mss32()));
        if before(from, conn.snd_nxt) {
            self.send_range(c, from, conn.snd_nxt, now, link)?;
            self.common.stats.probes += 1;
        }
        let conn = &mut self.conns[c];
        conn.clear(flag::PROBE_DUE);
        conn.set(flag::PROBE_OPEN);
        match timestamps(conn, now) {
            // The acknowledgment will tell which of the two it is for.
            Some((value, _)) => conn.rtx_at = value,
            None => conn.clear(flag::RTT_TIMING),
        }
        Ok(())
    }

    /// Sends what is lost again, as the congestion window allows; the first piece in any case (RFC 6675, section 5, step 4.3).
    fn retransmit<L: Link>(&mut self, c: usize, now: Micros, link: &mut L) -> Result<(), Busy> {
        loop {
            let conn = &self.conns[c];
            if !conn.has(flag::RECOVERING) {
                return Ok(());
            }
            let from = later(conn.rtx_nxt, conn.snd_una);
            let Some((from, until)) = conn.sacked.hole(from, conn.lost_until) else {
                return Ok(());
            };
            let (len, mss) = (until.wrapping_sub(from), conn.mss32());
            let room = conn.cubic.cwnd.saturating_sub(pipe(conn));
            let forced = conn.has(flag::RTX_FORCE);
            if !forced && room < mss.min(len) {
                return Ok(());
            }
            let most = if forced || room < 2 * mss {
                mss
            } else {
                room - room % mss
            };
            let sent = self.send_range(c, from, from.wrapping_add(len.min(most)), now, link)?;
            let conn = &mut self.conns[c];
            if sent == 0 {
                conn.clear(flag::RTX_FORCE);
                return Ok(());
            }
            if from == conn.snd_una {
                conn.rtx_at = now.0 as u32;
            }
            conn.rtx_nxt = from.wrapping_add(sent);
            conn.clear(flag::RTX_FORCE | flag::RTT_TIMING);
            if !conn.has(flag::TIMER_RTX) {
                self.common.arm_retransmission(c, &mut self.conns[c], now);
            }
        }
    }

    /// Sends sequence numbers `from..until`, which were sent before (a window probe: are about to be); returns how many it
    /// took. Walks the queue from its head, which is for the rare case.
    fn send_range<L: Link>(
        &mut self,
        c: usize,
        from: u32,
        until: u32,
        now: Micros,
        link: &mut L,
    ) -> Result<u32, Busy> {
        let conn = &mut self.conns[c];
        let mut skip = from
            .wrapping_sub(conn.snd_una)
            .wrapping_add(conn.una_offset);
        let mut chunk = conn.chunks.head;
        while !chunk.is_none() && skip >= self.common.chunks.get(chunk).len {
            skip -= self.common.chunks.get(chunk).len;
            chunk = self.common.chunks.following(chunk);
        }
        let want = distance(from, super::seq::earlier(until, conn.snd_end));
        let mut train = Train::new(from, tcp::PSH);
        train.gather(&self.common.chunks, (chunk, skip), want);
        let fin = conn.has(flag::FIN_SENT) && after(until, conn.snd_end) && train.total == want;
        self.common.stats.retransmits += 1;
        conn.last_tx = now.0 as u32;
        if !conn.has(flag::ECN) {
            train.job.overrides.flags |= if fin { tcp::FIN } else { 0 };
            self.common
                .post(c, &mut self.conns[c], &mut train, now, link)?;
            return Ok(train.total + u32::from(fin));
        }
        // Retransmissions are not marked as capable of ECN: one segment from one piece at a time.
        let piece = train.job.gather[0].split(conn.mss32()).0;
        let fin = fin && piece.len == want;
        let flags = if fin { tcp::FIN } else { 0 };
        let options = Options {
            timestamps: timestamps(&self.conns[c], now),
            ..Options::default()
        };
        self.send_piece(c, from, flags | tcp::PSH, &options, piece, link)?;
        acknowledged(&mut self.conns[c]);
        Ok(piece.len + u32::from(fin))
    }
}

/// A train in the making.
pub struct Train {
    job: TcpJob,
    /// Payload in it.
    total: u32,
}

impl Train {
    #[inline]
    fn new(seq: u32, flags: u8) -> Self {
        let overrides = TcpOverrides {
            seq,
            ack: 0,
            window: 0,
            flags,
            timestamps: None,
        };
        let job = TcpJob {
            template: PmAddr(0),
            header_len: 0,
            l3_offset: 0,
            l4_offset: 0,
            mss: 0,
            overrides,
            gather: [PmSlice::new(PmAddr(0), 0); MAX_GATHER],
            gather_len: 0,
        };
        Self { job, total: 0 }
    }

    /// Adds up to `len` bytes from the given chunk and offset on; returns where the queue goes on.
    #[inline(always)]
    fn gather<const N: usize>(
        &mut self,
        chunks: &Pool<Chunk, N>,
        (mut chunk, mut offset): (Ref, u32),
        mut len: u32,
    ) -> (Ref, u32) {
        let (mut count, mut total) = (0, 0);
        for piece in &mut self.job.gather {
            if len == 0 || chunk.is_none() {
                break;
            }
            let node = chunks.get(chunk);
            let rest = node.len - offset;
            let n = rest.min(len);
            *piece = PmSlice::new(PmAddr(node.addr + offset), n);
            count += 1;
            total += n;
            len -= n;
            if n == rest {
                (chunk, offset) = (node.next(), 0);
            } else {
                offset += n;
            }
        }
        self.job.gather_len = count;
        self.total = total;
        (chunk, offset)
    }
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Common<CONNS, SEGS, CHUNKS> {
    /// Sends one train of new payload, or FIN. False if there is nothing to send or a window forbids it.
    /// A function of its own, lest the compiler prepares its constants for every connection in turn.
    #[inline(never)]
    fn send_train<L: Link>(
        &mut self,
        c: usize,
        conn: &mut Conn,
        now: Micros,
        link: &mut L,
    ) -> Result<bool, Busy> {
        let queued = conn.unsent();
        if conn.in_flight() == 0 {
            restart_after_idle(conn, now);
        }
        let window = distance(conn.snd_nxt, conn.snd_una.wrapping_add(conn.snd_wnd));
        let room = conn.cubic.cwnd.saturating_sub(pipe(conn));
        let mut len = queued.min(window).min(room).min(self.cfg.max_train);
        if len < queued {
            // Whole segments as long as more follows.
            let mss = conn.mss32();
            if len >= mss {
                len -= len % mss;
            } else if !self.may_send_small(c, conn, len, window, now) {
                return Ok(false);
            }
        }
        let mut train = Train::new(conn.snd_nxt, 0);
        let at = (conn.cursor, conn.cursor_offset);
        let next = train.gather(&self.chunks, at, len);
        let mut flags = 0;
        if train.total == queued {
            flags = tcp::PSH;
            if conn.fin_waits() {
                flags = if queued == 0 {
                    tcp::FIN
                } else {
                    tcp::PSH | tcp::FIN
                };
            }
        }
        if conn.flags & (flag::CWR_DUE | flag::ECN) == flag::CWR_DUE | flag::ECN {
            flags |= tcp::CWR;
        }
        train.job.overrides.flags = flags;
        self.post(c, conn, &mut train, now, link)?;
        self.stats.trains = self.stats.trains.wrapping_add(1);
        conn.clear(flag::CWR_DUE | flag::SMALL_DUE);
        conn.last_tx = now.0 as u32;
        (conn.cursor, conn.cursor_offset) = next;
        conn.snd_nxt = conn.snd_nxt.wrapping_add(train.total);
        if flags & tcp::FIN != 0 {
            conn.snd_nxt = conn.snd_nxt.wrapping_add(1);
            conn.set(flag::FIN_SENT);
        }
        if !conn.has(flag::RTT_TIMING | flag::RECOVERING) {
            conn.set(flag::RTT_TIMING);
            conn.rtt_seq = conn.snd_nxt;
            conn.rtt_at = now.0 as u32;
        }
        if !conn.has(flag::TIMER_RTX) {
            self.arm_retransmission(c, conn, now);
        }
        Ok(true)
    }

    /// A pure acknowledgment.
    #[inline(never)]
    fn send_ack<L: Link>(
        &mut self,
        c: usize,
        conn: &mut Conn,
        now: Micros,
        link: &mut L,
    ) -> Result<(), Busy> {
        let mut train = Train::new(conn.snd_nxt, 0);
        self.post(c, conn, &mut train, now, link)?;
        self.stats.acks = self.stats.acks.wrapping_add(1);
        acknowledgment_sent(conn);
        Ok(())
    }

    /// Less than a full segment while more is queued: only what is at least half the largest window the peer ever offered,
    /// or when the override timer has run out (RFC 9293, section 3.8.6.2.1). Sets that timer if nothing else will wake us.
    #[cold]
    fn may_send_small(
        &mut self,
        c: usize,
        conn: &mut Conn,
        len: u32,
        window: u32,
        now: Micros,
    ) -> bool {
        let by_window = len == window;
        if by_window && len != 0 && (len >= conn.max_wnd / 2 || conn.has(flag::SMALL_DUE)) {
            return true;
        }
        if conn.in_flight() == 0 && !conn.has(flag::TIMER_RTX) {
            self.arm_retransmission(c, conn, now);
        }
        false
    }

    /// Posts a train: fills in what all trains of the connection have in common.
    #[inline(always)]
    fn post<L: Link>(
        &mut self,
        c: usize,
        conn: &mut Conn,
        train: &mut Train,
        now: Micros,
        link: &mut L,
    ) -> Result<(), Busy> {
        let job = &mut train.job;
        job.template = template(&self.cfg, c);
        job.header_len = conn.header_len;
        job.l3_offset = conn.l3;
        job.l4_offset = conn.l4;
        job.mss = conn.mss;
        job.overrides.ack = conn.rcv_nxt;
        job.overrides.window = self.advertise(conn);
        job.overrides.flags |= plain_flags(conn);
        job.overrides.timestamps = timestamps(conn, now);
        link.send(job)?;
        acknowledged(conn);
        Ok(())
    }
}

/// A segment went out, and with it the acknowledgment of all that was received.
#[inline]
fn acknowledged(conn: &mut Conn) {
    conn.last_ack = conn.rcv_nxt;
    // Blocks to be reported and duplicates that a peer counts still wait for acknowledgments of their own.
    if conn.ooo.head.is_none() && !conn.has(flag::DSACK) && conn.more_acks == 0 {
        conn.clear(flag::ACK_NOW | flag::ACK_LATER);
    }
}

/// A segment went out whose only purpose is to acknowledge; another one is due if more are owed.
#[inline]
fn acknowledgment_sent(conn: &mut Conn) {
    conn.clear(flag::ACK_NOW | flag::ACK_LATER | flag::DSACK);
    if conn.more_acks != 0 {
        conn.more_acks -= 1;
        conn.set(flag::ACK_NOW);
    }
}

/// The timestamps to send, if they are used.
#[inline]
pub(super) fn timestamps(conn: &Conn, now: Micros) -> Option<(u32, u32)> {
    let value = timestamp_clock(now).wrapping_add(conn.ts_offset);
    conn.has(flag::TS).then_some((value, conn.ts_recent))
}

/// Where a connection's header template lies.
#[inline]
pub(super) const fn template(cfg: &Config, c: usize) -> PmAddr {
    cfg.templates.plus(128 * c as u32 + 2)
}

/// ACK, and the echo of congestion.
#[inline]
const fn plain_flags(conn: &Conn) -> u8 {
    tcp::ACK
        | if conn.has(flag::ECE_ECHO) {
            tcp::ECE
        } else {
            0
        }
}

/// Bytes believed to be in the network (RFC 6675, section 4, SetPipe; without SACK as RFC 6582 counts).
#[inline]
fn pipe(conn: &Conn) -> u32 {
    let flight = conn.in_flight();
    if !conn.has(flag::RECOVERING) && conn.dupacks == 0 && conn.sacked.is_empty() {
        return flight;
    }
    pipe_in_recovery(conn, flight)
}

fn pipe_in_recovery(conn: &Conn, flight: u32) -> u32 {
    let mut gone = if conn.has(flag::SACK) {
        conn.sacked.bytes()
    } else {
        u32::from(conn.dupacks) * conn.mss32()
    };
    if conn.has(flag::RECOVERING) {
        let unsent = later(conn.rtx_nxt, conn.snd_una);
        gone += conn.sacked.missing(unsent, conn.lost_until);
    }
    flight.saturating_sub(gone)
}

/// After an idle time longer than the timeout the path is unknown again (RFC 5681, section 4.1).
#[inline]
fn restart_after_idle(conn: &mut Conn, now: Micros) {
    let idle = (now.0 as u32).wrapping_sub(conn.last_tx);
    if idle > conn.rtt.rto().max(200_000) {
        conn.cubic.restart(conn.mss32());
    }
}
