//! Timeouts: retransmission (RFC 6298), probes of tail and window, delayed acknowledgments, keep-alive, TIME-WAIT; and
//! the rate of challenge acknowledgments (RFC 5961, section 7).

use super::{
    CloseReason, Tcp,
    ack::start_recovery,
    common::Common,
    conn::{Conn, State, event, flag},
    seq::{before, earlier},
};
use crate::Link;
use sluice_hal::Micros;

/// Allowance for a peer that delays the acknowledgment of a single segment (RFC 8985, section 7.2): the usual 40 to 50 ms, counted
/// in ticks of up to 10 ms.
const PEER_ACK_DELAY: u32 = 60_000;
/// Allowance for a peer that is busy with other things.
const PROBE_SLACK: u32 = 2_000;
/// One connection is challenged no more often.
const CHALLENGE_INTERVAL: u32 = 50_000;
/// All connections together are challenged this often per [`BUDGET_PERIOD`], give or take a random part, so that no one
/// can count (CVE-2016-5696).
const CHALLENGES: u32 = 500;
const BUDGET_PERIOD: u32 = 1_000_000;

/// Challenges left in the current period.
pub struct Budget {
    left: u32,
    since: u32,
    noise: u32,
}

impl Budget {
    pub const NONE: Self = Self {
        left: 0,
        since: 0,
        noise: 0,
    };

    fn take(&mut self, now: u32) -> bool {
        if self.noise == 0 || now.wrapping_sub(self.since) >= BUDGET_PERIOD {
            self.since = now;
            // Xorshift is good enough to blur a counter.
            self.noise |= now | 1;
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 17;
            self.noise ^= self.noise << 5;
            self.left = CHALLENGES + (self.noise & 255);
        }
        self.left = self.left.saturating_sub(1);
        self.left != 0
    }
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Tcp<CONNS, SEGS, CHUNKS> {
    /// Does what is due by `now` and sends what follows from it.
    pub fn handle_timeouts<L: Link>(&mut self, now: Micros, link: &mut L) {
        self.common.clock = now;
        while let Some(c) = self.common.delayed.front() {
            if before(now.0 as u32, self.conns[c].ack_at) {
                break;
            }
            self.common.delayed.pop();
            if self.conns[c].take(flag::ACK_LATER) {
                self.ack_now(c);
            }
        }
        while let Some(c) = self.common.wheel.expire(now) {
            self.expire(c, now);
        }
        self.poll_transmit(now, link);
    }

    fn expire(&mut self, c: usize, now: Micros) {
        let now32 = now.0 as u32;
        let conn = &mut self.conns[c];
        if conn.has(flag::TIMER_LIFE) && !before(now32, conn.t_life) {
            conn.clear(flag::TIMER_LIFE);
            self.expire_life(c, now);
        }
        let conn = &mut self.conns[c];
        if conn.has(flag::TIMER_RTX) && !before(now32, conn.t_rtx) {
            conn.clear(flag::TIMER_RTX);
            self.expire_retransmission(c, now);
        }
        // An entry of the wheel comes up early if its timer was put off.
        let conn = &self.conns[c];
        let next = match (conn.has(flag::TIMER_RTX), conn.has(flag::TIMER_LIFE)) {
            (true, true) => earlier(conn.t_rtx, conn.t_life),
            (true, false) => conn.t_rtx,
            (false, true) => conn.t_life,
            (false, false) => return,
        };
        self.common.wheel.set(c, next, now);
    }

    fn expire_life(&mut self, c: usize, now: Micros) {
        let conn = &mut self.conns[c];
        match conn.state {
            State::TimeWait => return self.bury(c),
            State::FinWait2 => return self.die(c, CloseReason::Done),
            State::Established | State::CloseWait | State::FinWait1 => {}
            _ => return,
        }
        let idle = (now.0 as u32).wrapping_sub(conn.last_rx);
        if idle < self.common.cfg.keepalive {
            conn.silent = 0;
            let left = self.common.cfg.keepalive - idle;
            return self.set_life(c, left, now);
        }
        if conn.silent >= self.common.cfg.keepalive_probes {
            conn.set(flag::RST_DUE);
            return self.die(c, CloseReason::TimedOut);
        }
        conn.silent += 1;
        conn.set(flag::KEEPALIVE_DUE);
        self.common.dirty.push(c);
        self.set_life(c, self.common.cfg.keepalive_interval, now);
    }

    fn expire_retransmission(&mut self, c: usize, now: Micros) {
        let conn = &mut self.conns[c];
        match conn.state {
            State::SynSent | State::SynReceived => return self.expire_syn(c, now),
            state if !state.sends() => return,
            _ => {}
        }
        if conn.snd_wnd == 0 || conn.in_flight() == 0 {
            return self.expire_persist(c, now);
        }
        if conn.has(flag::TIMER_PROBE) && self.common.put_off_probe(c, &mut self.conns[c], now) {
            return;
        }
        let conn = &mut self.conns[c];
        if conn.take(flag::TIMER_PROBE) {
            conn.set(flag::PROBED | flag::PROBE_DUE);
            self.common.dirty.push(c);
            return self.common.arm_retransmission(c, &mut self.conns[c], now);
        }
        self.common.stats.timeouts += 1;
        if conn.backoff >= self.common.cfg.max_retries {
            // Tells the peer, should it still be there.
            conn.set(flag::RST_DUE);
            return self.die(c, CloseReason::TimedOut);
        }
        if conn.backoff == 0 && !conn.has(flag::LOSS) {
            conn.cubic.on_timeout(conn.mss32());
            conn.set(flag::CWR_DUE);
        }
        conn.cubic.cwnd = conn.mss32();
        if conn.backoff >= 1 {
            // The peer may have thrown away what it reported (RFC 2018, section 8).
            conn.sacked.clear();
        }
        conn.backoff += 1;
        conn.dupacks = 0;
        conn.clear(flag::CWR_WINDOW);
        start_recovery(conn, flag::LOSS, now);
        conn.lost_until = conn.snd_nxt;
        self.common.dirty.push(c);
        self.common.arm_retransmission(c, &mut self.conns[c], now);
    }

    fn expire_syn(&mut self, c: usize, now: Micros) {
        let conn = &mut self.conns[c];
        if conn.backoff >= self.common.cfg.syn_retries {
            return self.die(c, CloseReason::TimedOut);
        }
        conn.backoff += 1;
        // Karn: the answer may be to either.
        conn.clear(flag::RTT_TIMING);
        conn.set(flag::SYN_DUE);
        self.common.dirty.push(c);
        self.arm_syn(c, now);
    }

    /// The window is closed or too small, and nothing else will wake us.
    fn expire_persist(&mut self, c: usize, now: Micros) {
        let conn = &mut self.conns[c];
        if conn.unsent() == 0 && conn.in_flight() == 0 {
            return;
        }
        let silence = (now.0 as u32).wrapping_sub(conn.last_rx);
        if silence > self.common.cfg.max_rto.saturating_mul(4) {
            // A peer that answers may keep its window closed for ever; one that does not answer is gone.
            conn.set(flag::RST_DUE);
            return self.die(c, CloseReason::TimedOut);
        }
        conn.backoff = conn.backoff.saturating_add(1).min(16);
        conn.set(if conn.snd_wnd == 0 {
            flag::WINDOW_PROBE_DUE
        } else {
            flag::SMALL_DUE
        });
        self.common.dirty.push(c);
        self.common.arm_retransmission(c, &mut self.conns[c], now);
    }

    pub(super) fn arm_syn(&mut self, c: usize, now: Micros) {
        let conn = &mut self.conns[c];
        let delay = backed_off(1_000_000, conn.backoff, self.common.cfg.max_rto);
        conn.t_rtx = (now.0 as u32).wrapping_add(delay);
        conn.set(flag::TIMER_RTX);
        let at = conn.t_rtx;
        self.common.wheel.set(c, at, now);
    }

    pub(super) fn set_life(&mut self, c: usize, delay: u32, now: Micros) {
        let conn = &mut self.conns[c];
        conn.t_life = (now.0 as u32).wrapping_add(delay);
        conn.set(flag::TIMER_LIFE);
        let at = conn.t_life;
        self.common.wheel.set(c, at, now);
    }

    /// All is said; only late segments of the peer are still to be answered (RFC 9293, section 3.6.1). What was received and
    /// not read can be read until the time is over.
    pub(super) fn enter_time_wait(&mut self, c: usize, now: Micros) {
        let conn = &mut self.conns[c];
        let first = conn.state != State::TimeWait;
        conn.state = State::TimeWait;
        conn.clear(flag::TIMER_RTX | flag::TIMER_PROBE);
        if first {
            conn.reason = CloseReason::Done;
            self.common.stats.closed += 1;
            self.tell(c, event::CLOSED);
            self.common.time_wait.push(c);
        }
        self.set_life(c, self.common.cfg.time_wait, now);
    }

    /// An acknowledgment that says what we expect, in answer to a segment that may be forged; at a limited rate.
    pub(super) fn challenge(&mut self, c: usize, now: Micros) {
        // Odd, since zero stands for never.
        let now32 = now.0 as u32 | 1;
        let conn = &mut self.conns[c];
        let lately =
            conn.challenge_at != 0 && now32.wrapping_sub(conn.challenge_at) < CHALLENGE_INTERVAL;
        if lately || !self.common.challenges.take(now32) {
            self.common.stats.challenges_withheld += 1;
            return;
        }
        conn.challenge_at = now32;
        self.common.stats.challenges += 1;
        if conn.state == State::SynReceived {
            // There the acknowledgment is the SYN-ACK.
            conn.set(flag::SYN_DUE);
        } else {
            conn.set(flag::ACK_NOW);
        }
        self.common.dirty.push(c);
    }
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Common<CONNS, SEGS, CHUNKS> {
    /// (Re)starts the retransmission timer: for the probe of the tail if that may help, else for the timeout.
    #[inline]
    pub fn arm_retransmission(&mut self, c: usize, conn: &mut Conn, now: Micros) {
        let rto = conn.rtt.rto().clamp(self.cfg.min_rto, self.cfg.max_rto);
        let mut delay = rto;
        conn.clear(flag::TIMER_PROBE);
        let calm = !conn.has(flag::RECOVERING | flag::PROBED) && conn.backoff == 0;
        if calm && conn.rtt.srtt() != 0 && conn.in_flight() != 0 && conn.snd_wnd != 0 {
            let pto = probe_timeout(conn);
            if pto < rto {
                conn.set(flag::TIMER_PROBE);
                delay = pto;
            }
        } else if conn.backoff != 0 {
            delay = backed_off(rto, conn.backoff, self.cfg.max_rto);
        }
        conn.t_rtx = (now.0 as u32).wrapping_add(delay);
        conn.set(flag::TIMER_RTX);
        let at = conn.t_rtx;
        self.wheel.set(c, at, now);
    }

    /// "The sender SHOULD start or restart a loss probe PTO timer after transmitting new data" (RFC 8985, section 7.2): done
    /// when the timer comes up, since that is seldom. True if data was sent meanwhile and the timer runs again.
    #[cold]
    fn put_off_probe(&mut self, c: usize, conn: &mut Conn, now: Micros) -> bool {
        let due = conn.last_tx.wrapping_add(probe_timeout(conn));
        if !before(now.0 as u32, due) {
            return false;
        }
        conn.t_rtx = due;
        conn.set(flag::TIMER_RTX);
        self.wheel.set(c, due, now);
        true
    }
}

/// Probe timeout (RFC 8985, section 7.2): two round trips and what the peer may take besides, which is learnt.
#[inline]
fn probe_timeout(conn: &Conn) -> u32 {
    let single = conn.in_flight() <= conn.mss32();
    let slack = PROBE_SLACK + if single { PEER_ACK_DELAY } else { 0 };
    2 * conn.rtt.srtt() + (slack << conn.patience)
}

fn backed_off(rto: u32, backoff: u8, max: u32) -> u32 {
    rto.checked_shl(u32::from(backoff.min(10)))
        .filter(|d| *d >> backoff.min(10) == rto)
        .unwrap_or(max)
        .min(max)
}
