//! CUBIC congestion control (RFC 9438) in integers. Divisions happen once per round trip or loss, never per segment.

use super::seq;

/// 1,024ths of a second (RFC 9438 counts in seconds); 1,024 µs are 1.0486 of them.
const fn ticks(us: u32) -> u32 {
    (us >> 10) * 67 / 64
}

/// Multiplicative decrease β = 0.7, as 717/1024 (RFC 9438, section 4.6).
const fn beta(bytes: u32) -> u32 {
    (bytes >> 10) * 717 + (((bytes & 1023) * 717) >> 10)
}

/// A connection's congestion window. Byte counts; times are low halves of the microsecond clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cubic {
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold.
    pub ssthresh: u32,
    /// Window before the last reduction (W_max).
    w_max: u32,
    /// When the current congestion avoidance epoch began.
    epoch: u32,
    /// Time from there until W_max is reached again (K), in 1,024ths of a second.
    k: u32,
    /// Bytes to be acknowledged before the window grows by one segment.
    need: u32,
    /// Bytes acknowledged towards `need`; `u32::MAX` before the first acknowledgment of an epoch.
    progress: u32,
    /// When `need` was computed.
    round: u32,
    /// The window that Reno would have (W_est).
    w_est: u32,
}

/// No epoch has begun yet.
const NO_EPOCH: u32 = u32::MAX;

impl Cubic {
    pub const NONE: Self = Self {
        cwnd: 0,
        ssthresh: 0,
        w_max: 0,
        epoch: 0,
        k: 0,
        need: 0,
        progress: 0,
        round: 0,
        w_est: 0,
    };

    /// The initial window of RFC 6928.
    pub fn new(mss: u32) -> Self {
        let cwnd = (10 * mss).min(14_600.max(2 * mss));
        Self {
            cwnd,
            ssthresh: u32::MAX,
            progress: NO_EPOCH,
            ..Self::NONE
        }
    }

    #[inline]
    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// `acked` bytes were acknowledged while the window was in use.
    #[inline]
    pub fn on_ack(&mut self, acked: u32, mss: u32, limit: u32, srtt: u32, now: u32) {
        if self.in_slow_start() {
            self.cwnd = (self.cwnd + acked).min(limit);
        } else {
            self.avoid_congestion(acked, mss, limit, srtt, now);
        }
    }

    fn avoid_congestion(&mut self, acked: u32, mss: u32, limit: u32, srtt: u32, now: u32) {
        if self.progress == NO_EPOCH {
            self.begin_epoch(mss, srtt, now);
        } else if now.wrapping_sub(self.round) >= srtt {
            self.plan_round(mss, srtt, now);
        }
        self.progress = self.progress.saturating_add(acked).min(NO_EPOCH - 1);
        if self.progress >= self.need {
            self.progress = (self.progress - self.need).min(self.need - 1);
            self.cwnd = (self.cwnd + mss).min(limit);
        }
    }

    #[cold]
    fn begin_epoch(&mut self, mss: u32, srtt: u32, now: u32) {
        self.epoch = now;
        self.progress = 0;
        self.w_est = self.cwnd;
        // K = cbrt((W_max - cwnd) / C) with C = 0.4 segments/s³ (section 4.2); in ticks, times 2^10.
        let segments = seq::distance(self.cwnd, self.w_max) / mss.max(1);
        self.k = cube_root(u64::from(segments) * ((5u64 << 30) / 2));
        self.plan_round(mss, srtt, now);
    }

    /// Plans this round trip's growth: to the cubic function's value a round trip from now, or to what Reno would have by
    /// then if that is more (sections 4.3 and 4.4).
    #[cold]
    fn plan_round(&mut self, mss: u32, srtt: u32, now: u32) {
        self.round = now;
        // α = 3(1-β)/(1+β) = 9/17; 1 once W_max is reached.
        self.w_est += if self.w_est < self.w_max {
            mss * 9 / 17
        } else {
            mss
        };
        let at = ticks(now.wrapping_sub(self.epoch).wrapping_add(srtt));
        let target = self.window_at(at.min(1 << 15), mss).max(self.w_est);
        let gain = (target.clamp(self.cwnd, self.cwnd + self.cwnd / 2) - self.cwnd) >> 4;
        let per_gain = ((self.cwnd >> 4) * mss).checked_div(gain);
        self.need = per_gain.unwrap_or(u32::MAX).max(1);
    }

    /// W_cubic(t) = C (t - K)³ + W_max, at tick `at`.
    fn window_at(&self, at: u32, mss: u32) -> u32 {
        let distance = u64::from(at.abs_diff(self.k).min(1 << 15));
        // 410/1024 = C; a cubed tick is 2^-30 s³. Kept with 10 fractional bits until multiplied by the segment size.
        let segments = (distance * distance * distance * 410) >> 30;
        let bytes = ((segments * u64::from(mss)) >> 10).min(1 << 30) as u32;
        if at < self.k {
            self.w_max.saturating_sub(bytes)
        } else {
            self.w_max + bytes
        }
    }

    /// A loss or an ECN echo: reduces the window once.
    pub fn on_congestion(&mut self, mss: u32) {
        // Fast convergence (section 4.7): a flow that did not reach its old W_max makes room, by (1 + β)/2.
        self.w_max = if self.cwnd < self.w_max {
            (self.cwnd + beta(self.cwnd)) / 2
        } else {
            self.cwnd
        };
        self.ssthresh = beta(self.cwnd).max(2 * mss);
        self.cwnd = self.ssthresh;
        self.progress = NO_EPOCH;
    }

    /// The retransmission timer expired (section 4.8).
    pub fn on_timeout(&mut self, mss: u32) {
        self.on_congestion(mss);
        self.cwnd = mss;
    }

    /// Nothing was sent for long: starts again from the initial window (RFC 5681, section 4.1).
    pub fn restart(&mut self, mss: u32) {
        self.cwnd = self.cwnd.min(Self::new(mss).cwnd);
        self.progress = NO_EPOCH;
    }
}

/// The cube root, rounded down; below 2^16.
fn cube_root(value: u64) -> u32 {
    let mut root = 0u64;
    for bit in (0..16).rev() {
        let try_root = root | 1 << bit;
        if try_root * try_root * try_root <= value {
            root = try_root;
        }
    }
    root as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1448;
    const LIMIT: u32 = 4 << 20;

    #[test]
    fn cube_roots_are_rounded_down() {
        for (value, root) in [
            (0, 0),
            (1, 1),
            (7, 1),
            (8, 2),
            (26, 2),
            (27, 3),
            (1 << 45, 1 << 15),
        ] {
            assert_eq!(cube_root(value), root);
        }
    }

    #[test]
    fn slow_start_doubles_per_round_trip() {
        let mut cubic = Cubic::new(MSS);
        let start = cubic.cwnd;
        cubic.on_ack(start, MSS, LIMIT, 1000, 0);
        assert_eq!(cubic.cwnd, 2 * start);
    }

    #[test]
    fn a_loss_takes_three_tenths() {
        let mut cubic = Cubic::new(MSS);
        cubic.cwnd = 100 * MSS;
        cubic.on_congestion(MSS);
        assert!(cubic.cwnd.abs_diff(70 * MSS) < MSS);
        assert_eq!(cubic.ssthresh, cubic.cwnd);
        cubic.on_timeout(MSS);
        assert_eq!(cubic.cwnd, MSS);
    }

    /// One window acknowledged per round trip, from just after a loss at 1,000 segments.
    fn window_after(seconds: u32, rtt_us: u32) -> u32 {
        let mut cubic = Cubic {
            cwnd: 1000 * MSS,
            ..Cubic::new(MSS)
        };
        cubic.on_congestion(MSS);
        let mut now = 0;
        while now < seconds * 1_000_000 {
            let mut left = cubic.cwnd;
            while left > 0 {
                let acked = left.min(2 * MSS);
                cubic.on_ack(acked, MSS, LIMIT, rtt_us, now);
                left -= acked;
            }
            now += rtt_us;
        }
        cubic.cwnd / MSS
    }

    #[test]
    fn growth_follows_the_cubic_function() {
        // K = cbrt(300 / 0.4) = 9.09 s; W(t) = 0.4 (t - 9.09)³ + 1000 (RFC 9438, section 4.2).
        for (seconds, want) in [(3, 909u32), (6, 988), (9, 1000), (12, 1010), (15, 1083)] {
            let got = window_after(seconds, 100_000);
            assert!(
                got.abs_diff(want) <= 25,
                "{got} segments after {seconds} s, want {want}"
            );
        }
    }

    #[test]
    fn short_round_trips_grow_at_least_like_reno() {
        // α = 9/17 segments per round trip of 1 ms: 300 segments in 0.57 s.
        let got = window_after(1, 1_000);
        assert!(got > 1000, "{got}");
    }
}
