//! DCQCN: the reaction point of a queue pair (its rate is cut on CNPs and recovers by time and bytes) and the notification
//! point (when to send CNPs). Source: Zhu et al., SIGCOMM 2015, section 5; CNP format A17.9.3. Time passes by being asked:
//! no timer of its own. An unlimited queue pair costs one comparison.

use crate::config::Dcqcn;
use sluice_hal::Micros;

/// Alpha is a fraction of this.
const ONE: u32 = 1 << 16;
/// After so many periods at once the rate is the line's again in any case.
const MOST_PERIODS: u32 = 4096;

/// State of one queue pair. All zeros: not limited, no congestion seen.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Current rate (R_C), 0 while not limited.
    rate: u32,
    /// Target rate (R_T).
    target: u32,
    /// Estimate of congestion, of [`ONE`].
    alpha: u32,
    /// Bytes since the last increase by bytes.
    bytes: u32,
    /// Increases by time and by bytes since the last cut.
    time_steps: u8,
    byte_steps: u8,
    /// A CNP came since the alpha decayed last.
    notified: bool,
    /// Last period that was accounted for, low half of the clock.
    period_at: u32,
    /// Last cut.
    cut_at: u32,
    /// Next job may go out: 1/256 µs, low half.
    next_at: Micros256,
    /// Last CNP sent, and whether there was one.
    cnp_at: u32,
    cnp_sent: bool,
}

/// Time in 1/256 µs.
type Micros256 = u64;

/// How long `bytes` take at `rate`: `bytes` × 2^16 / `rate`. By digits of 8 bits, as on paper: cores divide 32 bits in 37 clocks, and
/// 64 in hundreds. `rate` is below 2^24 (524 Gb/s), or the time is a little short.
#[inline]
fn takes(bytes: u32, rate: u32) -> Micros256 {
    let rate = rate.clamp(1, (1 << 24) - 1);
    let (whole, rest) = (bytes / rate, bytes % rate << 8);
    let (first, rest) = (rest / rate, rest % rate << 8);
    (u64::from(whole) << 16) + u64::from(first << 8) + u64::from(rest / rate)
}

impl Rate {
    pub const NEW: Self = Self {
        rate: 0,
        target: 0,
        alpha: 0,
        bytes: 0,
        time_steps: 0,
        byte_steps: 0,
        notified: false,
        period_at: 0,
        cut_at: 0,
        next_at: 0,
        cnp_at: 0,
        cnp_sent: false,
    };

    /// The rate is below the line's.
    #[inline]
    pub const fn is_limited(&self) -> bool {
        self.rate != 0
    }

    /// Rate now; the line's if not limited.
    #[cfg(test)]
    pub const fn rate(&self, cfg: &Dcqcn) -> u32 {
        if self.rate == 0 {
            cfg.line_rate
        } else {
            self.rate
        }
    }

    /// A CNP came: cut the rate, at most once in an interval (5.1, equation 1).
    pub fn notified(&mut self, now: Micros, cfg: &Dcqcn) {
        self.pass(now, cfg);
        let now32 = now.0 as u32;
        if self.rate == 0 {
            self.rate = cfg.line_rate;
            self.alpha = ONE;
            self.next_at = now.0 << 8;
        } else if now32.wrapping_sub(self.cut_at) < cfg.cut_interval {
            self.notified = true;
            return;
        }
        self.target = self.rate;
        let cut = (u64::from(self.rate) * u64::from(self.alpha) / u64::from(2 * ONE)) as u32;
        self.rate = (self.rate - cut).max(cfg.min_rate);
        self.alpha += (ONE - self.alpha) >> cfg.g;
        self.notified = true;
        self.cut_at = now32;
        self.period_at = now32;
        (self.time_steps, self.byte_steps, self.bytes) = (0, 0, 0);
    }

    /// When the next job may be posted: `Ok` now, or not before the time given.
    #[inline]
    pub fn check(&mut self, now: Micros, cfg: &Dcqcn) -> Result<(), Micros> {
        if self.rate == 0 {
            return Ok(());
        }
        self.pass(now, cfg);
        if self.rate == 0 || self.next_at >> 8 <= now.0 {
            return Ok(());
        }
        Err(Micros((self.next_at >> 8) + 1))
    }

    /// A job of `bytes` was posted.
    #[inline]
    pub fn sent(&mut self, bytes: u32, now: Micros, cfg: &Dcqcn) {
        if self.rate == 0 {
            return;
        }
        self.next_at = self.next_at.max(now.0 << 8) + takes(bytes, self.rate);
        self.bytes += bytes;
        if self.bytes >= cfg.bytes {
            self.bytes = 0;
            self.byte_steps = self.byte_steps.saturating_add(1);
            self.increase(cfg);
        }
    }

    /// Accounts for the periods since the last call.
    fn pass(&mut self, now: Micros, cfg: &Dcqcn) {
        if self.rate == 0 {
            return;
        }
        let since = (now.0 as u32).wrapping_sub(self.period_at);
        let periods = since / cfg.period.max(1);
        if periods > MOST_PERIODS {
            *self = Self {
                cnp_at: self.cnp_at,
                cnp_sent: self.cnp_sent,
                ..Self::NEW
            };
            return;
        }
        for _ in 0..periods {
            self.period_at = self.period_at.wrapping_add(cfg.period);
            if !core::mem::take(&mut self.notified) {
                // 5.1, equation 2.
                self.alpha -= self.alpha >> cfg.g;
            }
            self.time_steps = self.time_steps.saturating_add(1);
            self.increase(cfg);
            if self.rate == 0 {
                return;
            }
        }
    }

    /// Fast recovery, then additive, then hyper increase (5.1, equations 3 and 4).
    fn increase(&mut self, cfg: &Dcqcn) {
        let (low, high) = if self.time_steps < self.byte_steps {
            (self.time_steps, self.byte_steps)
        } else {
            (self.byte_steps, self.time_steps)
        };
        if high > cfg.fast {
            let step = if low > cfg.fast {
                cfg.hyper_step
            } else {
                cfg.step
            };
            self.target = self.target.saturating_add(step).min(cfg.line_rate);
        }
        self.rate = self.rate.midpoint(self.target);
        // One below the target for ever is as good as there.
        if self.rate + 1 >= cfg.line_rate {
            self.rate = 0;
        }
    }

    /// A packet marked "congestion experienced" came: is a CNP due?
    pub fn marked(&mut self, now: Micros, cfg: &Dcqcn) -> bool {
        let now = now.0 as u32;
        if self.cnp_sent && now.wrapping_sub(self.cnp_at) < cfg.cnp_interval {
            return false;
        }
        (self.cnp_at, self.cnp_sent) = (now, true);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CFG: Dcqcn = Dcqcn::DEFAULT;

    #[test]
    fn the_first_cnp_halves_the_rate_and_more_in_the_interval_do_nothing() {
        let mut rate = Rate::NEW;
        assert_eq!(rate.check(Micros(0), &CFG), Ok(()));
        rate.notified(Micros(1000), &CFG);
        assert_eq!(rate.rate(&CFG), CFG.line_rate / 2);
        rate.notified(Micros(1049), &CFG);
        assert_eq!(rate.rate(&CFG), CFG.line_rate / 2);
        rate.notified(Micros(1050), &CFG);
        assert_eq!(rate.rate(&CFG), CFG.line_rate / 4);
    }

    #[test]
    fn a_limited_rate_spaces_jobs_as_it_says() {
        let mut rate = Rate::NEW;
        rate.notified(Micros(1000), &CFG);
        // 50 Gb/s are 6,250 bytes a microsecond.
        rate.sent(62_500, Micros(1000), &CFG);
        assert_eq!(rate.check(Micros(1009), &CFG), Err(Micros(1011)));
        assert_eq!(rate.check(Micros(1011), &CFG), Ok(()));
    }

    #[test]
    fn fast_recovery_comes_back_to_the_old_rate_and_increase_lifts_the_limit() {
        let mut rate = Rate::NEW;
        rate.notified(Micros(0), &CFG);
        let mut last = rate.rate(&CFG);
        for step in 1..=5 {
            assert_eq!(rate.check(Micros(55 * step), &CFG), Ok(()));
            assert!(rate.rate(&CFG) > last);
            last = rate.rate(&CFG);
        }
        assert!(last > CFG.line_rate * 95 / 100);
        for step in 6..200 {
            let _ = rate.check(Micros(55 * step), &CFG);
        }
        assert!(!rate.is_limited());
    }

    #[test]
    fn bytes_recover_the_rate_as_time_does() {
        let mut rate = Rate::NEW;
        rate.notified(Micros(0), &CFG);
        let before = rate.rate(&CFG);
        rate.sent(CFG.bytes, Micros(1), &CFG);
        assert!(rate.rate(&CFG) > before);
    }

    #[test]
    fn cnps_are_sent_at_most_once_in_an_interval() {
        let mut rate = Rate::NEW;
        let due = [0, 49, 50, 99, 100].map(|at| rate.marked(Micros(at), &CFG));
        assert_eq!(due, [true, false, true, false, true]);
    }

    proptest! {
        #[test]
        fn time_of_a_job_is_exact(bytes: u32, rate in 1_u32..1 << 24) {
            prop_assert_eq!(takes(bytes, rate), (u64::from(bytes) << 16) / u64::from(rate));
        }

        #[test]
        fn whatever_comes_the_rate_stays_in_its_bounds(steps in proptest::collection::vec((0u64..100_000, 0u32..200_000, any::<bool>()), 1..200)) {
            let (mut rate, mut now) = (Rate::NEW, Micros(0));
            for (wait, bytes, cnp) in steps {
                now = now.after(wait);
                if cnp { rate.notified(now, &CFG) }
                if let Err(at) = rate.check(now, &CFG) {
                    prop_assert!(at > now);
                }
                rate.sent(bytes, now, &CFG);
                prop_assert!(rate.rate(&CFG) >= CFG.min_rate && rate.rate(&CFG) <= CFG.line_rate);
                prop_assert!(rate.alpha <= ONE);
            }
        }
    }
}
