//! Timers: acknowledgments that do not come, waits for receives and for the rate. A common lower bound is kept; when it has
//! passed, all queue pairs are looked at.

use super::{Rc, State, flag};
use crate::{Link, psn};
use sluice_hal::Micros;

/// The ACK timeout grows to 2^n times itself by retries in a row.
const MOST_DOUBLINGS: u8 = 4;
/// And to 2^n times itself by round trips that take longer.
const MOST_STRETCHING: u8 = 4;

/// Round trips as they were lately, estimated as RFC 6298 does. Unlike there they are timed from the first transmission, so
/// that a path on which everything is repeated too early is found out; a loss makes the estimate too long for a while.
#[derive(Clone, Copy)]
pub struct Rtt {
    /// Microseconds, times 8; 0 before the first.
    smoothed: u32,
    /// Mean deviation, times 4.
    variation: u32,
}

impl Rtt {
    pub const NEW: Self = Self {
        smoothed: 0,
        variation: 0,
    };

    const fn sample(&mut self, micros: u32) {
        // A minute is as good as longer ones.
        let micros = if micros > 60_000_000 {
            60_000_000
        } else {
            micros
        };
        if self.smoothed == 0 {
            (self.smoothed, self.variation) = (micros << 3, micros << 1);
            return;
        }
        let error = micros.abs_diff(self.smoothed >> 3);
        self.variation = self.variation - (self.variation >> 2) + error;
        self.smoothed = self.smoothed - (self.smoothed >> 3) + micros;
    }

    /// How long to wait at least.
    const fn timeout(&self) -> u32 {
        (self.smoothed >> 3) + self.variation
    }
}

impl<const QPS: usize, const WRS: usize, const SEGS: usize> Rc<QPS, WRS, SEGS> {
    /// When to call [`Self::handle_timeouts`]; early at times, never late. `None`: nothing is timed.
    #[must_use]
    pub fn deadline(&self) -> Option<Micros> {
        let late = self.late.front().map(|&(_, until)| until);
        [self.deadline, late].into_iter().flatten().min()
    }

    /// Does what has fallen due; then call [`Self::poll_transmit`].
    pub fn handle_timeouts<L: Link>(&mut self, now: Micros, link: &mut L) {
        self.end_waits(now);
        if self.deadline.is_none_or(|at| now < at) {
            return;
        }
        self.deadline = None;
        for q in 0..QPS {
            let qp = &mut self.qps[q];
            if qp.state != State::Live || !qp.has(flag::TIMER | flag::WAIT) {
                continue;
            }
            if qp.has(flag::WAIT) {
                if now < qp.wait_until {
                    let at = qp.wait_until;
                    self.arm(at);
                } else {
                    qp.clear(flag::WAIT);
                    self.make_ready(q);
                }
            }
            let qp = &mut self.qps[q];
            if qp.has(flag::TIMER) {
                if now < qp.rtx_at {
                    let at = qp.rtx_at;
                    self.arm(at);
                } else {
                    self.stats.timeouts += 1;
                    qp.clear(flag::TIMER);
                    self.go_back_counted(q, now, link);
                }
            }
        }
    }

    /// Something falls due at `at`.
    #[inline]
    pub(super) fn arm(&mut self, at: Micros) {
        if self.deadline.is_none_or(|d| at < d) {
            self.deadline = Some(at);
        }
    }

    /// The ACK timer runs anew.
    #[inline]
    pub(super) fn start_timer(&mut self, q: usize, now: Micros) {
        let qp = &mut self.qps[q];
        if qp.ack_timeout != 0 {
            qp.set(flag::TIMER);
            let least = u64::from(qp.ack_timeout);
            let timeout = u64::from(qp.rtt.timeout()).clamp(least, least << MOST_STRETCHING);
            let doubled = (qp.retries - qp.retries_left).min(MOST_DOUBLINGS);
            qp.rtx_at = now.after(timeout << doubled);
            let at = qp.rtx_at;
            self.arm(at);
        }
    }

    /// Begins to time a round trip with what was sent last, unless one is being timed.
    #[inline]
    pub(super) fn time_round_trip(&mut self, q: usize, now: Micros) {
        let qp = &mut self.qps[q];
        if !qp.has(flag::TIMING) {
            qp.set(flag::TIMING);
            (qp.timed, qp.timed_at) = (qp.max, now.0 as u32);
        }
    }

    /// `una` moved.
    #[inline]
    pub(super) fn end_round_trip(&mut self, q: usize, now: Micros) {
        let qp = &mut self.qps[q];
        if qp.has(flag::TIMING) && psn::diff(qp.una, qp.timed) >= 0 {
            qp.clear(flag::TIMING);
            qp.rtt.sample((now.0 as u32).wrapping_sub(qp.timed_at));
        }
    }
}
