//! What an acknowledgment does: chunks released, round trips timed, losses found (RFC 6675, NewReno without SACK: RFC
//! 6582), the congestion window moved, the state table advanced for our FIN.

use super::{
    CloseReason, PathMtu, Tcp,
    conn::{Conn, State, flag},
    input::Segment,
    seq::{after, before, later},
};
use crate::Config;
use sluice_hal::Micros;
use sluice_wire::tcp;

/// The probe timeout's allowances grow at most by two to this power: to 16 and 496 ms.
const MOST_PATIENCE: u8 = 3;
/// Duplicate acknowledgments that mean a loss.
pub(super) const DUP_THRESHOLD: u8 = 3;

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Tcp<CONNS, SEGS, CHUNKS> {
    /// Processes the acknowledgment of a segment off the fast path. False if the segment is to be dropped, or the
    /// connection ended.
    pub(super) fn take_ack(&mut self, c: usize, seg: &Segment, now: Micros) -> bool {
        let conn = &mut self.conns[c];
        // RFC 5961, section 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
        let oldest = conn.snd_una.wrapping_sub(conn.max_wnd);
        if after(seg.ack, conn.snd_nxt) || before(seg.ack, oldest) {
            self.common.stats.drop_ack += 1;
            self.challenge(c, now);
            return false;
        }
        let news = if conn.has(flag::SACK) {
            take_sack(conn, seg)
        } else {
            0
        };
        let forward = after(seg.ack, conn.snd_una);
        if conn.has(flag::PROBE_OPEN) {
            self.judge_probe(c, seg, forward);
        }
        let conn = &mut self.conns[c];
        let was_recovering = conn.has(flag::RECOVERING);
        let answered = news != 0 && conn.has(flag::PROBED);
        if !forward && seg.ack == conn.snd_una && conn.in_flight() != 0 {
            let window = u32::from(seg.window) << conn.snd_shift;
            let plain = seg.seq_len() == 0 && window == conn.snd_wnd && window != 0;
            if news != 0 || (plain && !conn.has(flag::SACK)) {
                conn.dupacks = conn.dupacks.saturating_add(1);
            }
        }
        self.take_window(c, seg, now);
        if forward {
            self.common.acknowledge(c, &mut self.conns[c], seg.ack, now);
        }
        self.take_ece(c, seg);
        if answered {
            self.lose_before_probe(c, now);
        }
        self.find_losses(c, news != 0, was_recovering, now);
        if self.conns[c].unsent() != 0 || self.conns[c].fin_waits() {
            self.common.dirty.push(c);
        }
        self.after_fin_acked(c, now)
    }

    /// Was the last probe needed? The timestamp echo tells whether the acknowledgment is for what was sent before (RFC 3522,
    /// section 3.2), a duplicate report says that the peer had it already (RFC 8985, section 7.4.2). Who answers late is given
    /// more time from then on, who lost something less.
    #[cold]
    fn judge_probe(&mut self, c: usize, seg: &Segment, forward: bool) {
        let conn = &mut self.conns[c];
        let echo = seg.options.timestamps.filter(|_| conn.has(flag::TS));
        let early = match echo {
            Some((_, echo)) if forward => before(echo, conn.rtx_at),
            _ if conn.has(flag::SACK) && reports_duplicate(seg) => true,
            _ => return,
        };
        conn.clear(flag::PROBE_OPEN);
        if early {
            conn.patience = (conn.patience + 1).min(MOST_PATIENCE);
            self.common.stats.probes_early += 1;
        } else {
            conn.patience = conn.patience.saturating_sub(1);
            // Sent twice: no round trip can be told from it.
            conn.clear(flag::RTT_TIMING);
        }
    }

    /// Window update (RFC 9293, section 3.10.7.4, fifth step).
    fn take_window(&mut self, c: usize, seg: &Segment, now: Micros) {
        let conn = &mut self.conns[c];
        let newer = before(conn.snd_wl1, seg.seq)
            || (conn.snd_wl1 == seg.seq && !before(seg.ack, conn.snd_wl2));
        if before(seg.ack, conn.snd_una) || !newer {
            return;
        }
        let window = u32::from(seg.window) << conn.snd_shift;
        let opens = conn.snd_wnd == 0 && window != 0;
        conn.snd_wnd = window;
        conn.max_wnd = conn.max_wnd.max(window);
        conn.snd_wl1 = seg.seq;
        conn.snd_wl2 = seg.ack;
        if window == 0 {
            // The persist timer's business from now on; no congestion.
            conn.clear(flag::TIMER_PROBE);
        }
        if opens {
            conn.backoff = 0;
            if conn.in_flight() != 0 && !conn.has(flag::RECOVERING) {
                // The window probe was thrown away when there was no window: send it again at once.
                start_recovery(conn, flag::RECOVERY, now);
                conn.lost_until = conn.snd_nxt;
            }
            self.common.dirty.push(c);
            self.common.arm_retransmission(c, &mut self.conns[c], now);
        }
    }

    /// An ECN echo reduces the window once per round trip (RFC 3168, section 6.1.2).
    fn take_ece(&mut self, c: usize, seg: &Segment) {
        let conn = &mut self.conns[c];
        let reduced = conn.has(flag::RECOVERING | flag::CWR_WINDOW);
        if seg.has(tcp::ECE) && conn.has(flag::ECN) && !reduced && conn.in_flight() != 0 {
            conn.cubic.on_congestion(conn.mss32());
            conn.recover = conn.snd_nxt;
            conn.set(flag::CWR_WINDOW | flag::CWR_DUE);
            self.common.stats.ecn_reductions += 1;
        }
    }

    fn find_losses(&mut self, c: usize, news: bool, was_recovering: bool, now: Micros) {
        let conn = &mut self.conns[c];
        if conn.in_flight() == 0 {
            return;
        }
        let mut lost = conn.sacked.lost_until(conn.mss32()).unwrap_or(conn.snd_una);
        if conn.dupacks >= DUP_THRESHOLD && !was_recovering {
            lost = later(lost, first_hole_end(conn));
        }
        if conn.has(flag::RECOVERING) {
            conn.lost_until = later(conn.lost_until, lost);
            if news {
                retry_lost_retransmission(conn, now);
            }
            self.common.dirty.push(c);
        } else if after(lost, conn.snd_una) {
            self.recover(c, lost, now);
        }
    }

    /// Something was reported behind a gap after the tail was probed: what is missing was sent at least a probe timeout ago and
    /// is lost, however little was reported (RFC 8985, section 6.2, step 5; three segments will not come).
    #[cold]
    fn lose_before_probe(&mut self, c: usize, now: Micros) {
        let conn = &self.conns[c];
        let last = conn.sacked.ranges().last().map_or(conn.snd_una, |r| r.left);
        if !conn.has(flag::RECOVERING) && after(last, conn.snd_una) {
            self.recover(c, last, now);
        }
    }

    /// Begins fast recovery of what is lost before `lost`.
    #[inline(never)]
    fn recover(&mut self, c: usize, lost: u32, now: Micros) {
        let conn = &mut self.conns[c];
        let reduced = conn.take(flag::CWR_WINDOW);
        start_recovery(conn, flag::RECOVERY, now);
        conn.lost_until = lost;
        if !reduced {
            conn.cubic.on_congestion(conn.mss32());
            conn.set(flag::CWR_DUE);
        }
        self.common.stats.recoveries += 1;
        self.common.arm_retransmission(c, &mut self.conns[c], now);
        self.common.dirty.push(c);
    }

    /// What the acknowledgment of our FIN does. False if the connection ended.
    fn after_fin_acked(&mut self, c: usize, now: Micros) -> bool {
        let conn = &mut self.conns[c];
        if !conn.fin_acked() {
            return true;
        }
        match conn.state {
            State::FinWait1 => {
                conn.state = State::FinWait2;
                self.set_life(c, self.common.cfg.fin_wait, now);
            }
            State::Closing => self.enter_time_wait(c, now),
            State::LastAck => {
                self.die(c, CloseReason::Done);
                return false;
            }
            _ => {}
        }
        true
    }

    /// Takes a router's report that a packet was too big (RFC 1191, RFC 8201), if it quotes a segment that is in flight
    /// (RFC 5927, section 7.2).
    pub fn path_mtu(&mut self, report: &PathMtu, now: Micros) {
        let Some(c) = self.find(report) else {
            self.common.stats.path_mtu_refused += 1;
            return;
        };
        let conn = &mut self.conns[c];
        let in_flight = report.seq.wrapping_sub(conn.snd_una) < conn.in_flight();
        let v4 = conn.local == super::Local::V4;
        // Below these nothing honest is (RFC 1122, section 3.3.3; RFC 8200, section 5).
        let least = if v4 { 576 } else { 1280 };
        let headers = if v4 { 40 } else { 60 } + if conn.has(flag::TS) { 12 } else { 0 };
        let mss = report.mtu.max(least) - headers;
        if !in_flight || mss >= conn.mss {
            self.common.stats.path_mtu_refused += 1;
            return;
        }
        conn.mss = mss;
        self.common.stats.path_mtu_taken += 1;
        if !conn.has(flag::RECOVERING) {
            // All that is in flight may have been too big; no congestion.
            start_recovery(conn, flag::RECOVERY, now);
        }
        conn.rtx_nxt = conn.snd_una;
        conn.lost_until = conn.snd_nxt;
        self.common.dirty.push(c);
    }

    fn find(&self, report: &PathMtu) -> Option<usize> {
        let ports = u32::from(report.peer_port) << 16 | u32::from(report.local_port);
        let mut at = self.common.table.first(report.flow_hash);
        while let Some(c) = at {
            if self.conns[c].ports == ports && self.peer_address(c) == report.peer {
                return Some(c);
            }
            at = self.common.table.following(c);
        }
        None
    }
}

/// The first block reports what is acknowledged already (RFC 2883, section 4).
fn reports_duplicate(seg: &Segment) -> bool {
    let first = seg
        .options
        .sack
        .first()
        .filter(|_| seg.options.sack_len != 0);
    first.is_some_and(|block| before(block.left, block.right) && !after(block.right, seg.ack))
}

/// Enters the SACK blocks of a segment; returns the bytes that are news. Blocks that make no sense are skipped, a
/// duplicate report (RFC 2883) among them.
fn take_sack(conn: &mut Conn, seg: &Segment) -> u32 {
    let blocks = seg
        .options
        .sack
        .iter()
        .take(usize::from(seg.options.sack_len));
    let base = later(conn.snd_una, seg.ack);
    let sent = conn.snd_nxt.wrapping_sub(base);
    let mut news = 0;
    for block in blocks {
        let (left, right) = (
            block.left.wrapping_sub(base),
            block.right.wrapping_sub(base),
        );
        if left != 0 && left < right && right <= sent {
            news += conn.sacked.add(*block);
        }
    }
    news
}

/// Without a loss: the congestion window grows if it was used (RFC 9438, section 5.8).
#[inline]
pub(super) fn grow(conn: &mut Conn, cfg: &Config, acked: u32, flight: u32, now: u32) {
    let used = if conn.cubic.in_slow_start() {
        flight >= conn.cubic.cwnd / 2
    } else {
        flight + 4 * conn.mss32() >= conn.cubic.cwnd
    };
    if used {
        conn.cubic
            .on_ack(acked, conn.mss32(), cfg.max_cwnd, conn.rtt.srtt(), now);
    }
}

#[cold]
pub(super) fn acknowledge_in_recovery(conn: &mut Conn, cfg: &Config, acked: u32, now: u32) {
    conn.sacked.advance(conn.snd_una);
    if !before(conn.snd_una, conn.recover) || !conn.has(flag::RECOVERING | flag::CWR_WINDOW) {
        conn.clear(flag::RECOVERING | flag::CWR_WINDOW | flag::RTX_FORCE);
        conn.dupacks = 0;
        return;
    }
    if conn.has(flag::LOSS) {
        conn.cubic
            .on_ack(acked, conn.mss32(), cfg.max_cwnd, conn.rtt.srtt(), now);
    }
    if conn.has(flag::RECOVERING) {
        // A partial acknowledgment: what is now first is lost too.
        conn.lost_until = later(conn.lost_until, first_hole_end(conn));
        if conn.sacked.is_empty() {
            conn.dupacks = conn
                .dupacks
                .saturating_sub((acked / conn.mss32().max(1)).min(255) as u8);
        }
        if !conn.has(flag::SACK) && conn.has(flag::RECOVERY) {
            conn.rtx_nxt = conn.snd_una;
            conn.set(flag::RTX_FORCE);
        }
    }
}

/// End of the first piece that the peer does not have: up to what it reported, or one segment.
fn first_hole_end(conn: &Conn) -> u32 {
    match conn.sacked.ranges().first() {
        Some(range) => range.left,
        None => super::seq::earlier(conn.snd_una.wrapping_add(conn.mss32()), conn.snd_nxt),
    }
}

/// `kind` is RECOVERY or LOSS.
pub(super) fn start_recovery(conn: &mut Conn, kind: u32, now: Micros) {
    conn.clear(flag::RECOVERING | flag::RTT_TIMING | flag::TIMER_PROBE);
    conn.clear(flag::PROBE_DUE | flag::PROBE_OPEN);
    conn.set(kind | flag::RTX_FORCE);
    conn.recover = conn.snd_nxt;
    conn.rtx_nxt = conn.snd_una;
    conn.rtx_at = now.0 as u32;
}

/// Data sent after the retransmission of the first hole has arrived, and a round trip has passed since: the
/// retransmission was lost too. Goes through the holes once more.
fn retry_lost_retransmission(conn: &mut Conn, now: Micros) {
    let since = (now.0 as u32).wrapping_sub(conn.rtx_at);
    let round = conn.rtt.srtt() + conn.rtt.srtt() / 4 + 1_000;
    let sent_again = after(conn.rtx_nxt, conn.snd_una);
    if sent_again && since > round && conn.rtt.srtt() != 0 {
        conn.rtx_nxt = conn.snd_una;
        conn.rtx_at = now.0 as u32;
        conn.set(flag::RTX_FORCE);
    }
}
