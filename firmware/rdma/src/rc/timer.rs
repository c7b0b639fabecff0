//! Timers: acknowledgments that do not come, waits for receives and for the rate. A common lower bound is kept; when it has
//! passed, all queue pairs are looked at.

use super::{Rc, State, flag};
use crate::Link;
use sluice_hal::Micros;

/// The ACK timeout grows to 2^n times itself.
const MOST_DOUBLINGS: u8 = 4;

impl<const QPS: usize, const WRS: usize, const SEGS: usize> Rc<QPS, WRS, SEGS> {
    /// When to call [`Self::handle_timeouts`]; early at times, never late. `None`: nothing is timed.
    #[must_use]
    pub const fn deadline(&self) -> Option<Micros> {
        self.deadline
    }

    /// Does what has fallen due; then call [`Self::poll_transmit`].
    pub fn handle_timeouts<L: Link>(&mut self, now: Micros, link: &mut L) {
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
            let doubled = (qp.retries - qp.retries_left).min(MOST_DOUBLINGS);
            qp.rtx_at = now.after(u64::from(qp.ack_timeout) << doubled);
            let at = qp.rtx_at;
            self.arm(at);
        }
    }
}
