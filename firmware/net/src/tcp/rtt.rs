//! Round trip time and retransmission timeout (RFC 6298).

/// Times in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rtt {
    /// Smoothed round trip time, times 8; 0 before the first sample.
    srtt8: u32,
    /// Variation, times 4.
    rttvar4: u32,
}

/// Before the first sample (section 2.1).
const INITIAL_RTO: u32 = 1_000_000;
/// Clock granularity G.
const GRANULARITY: u32 = 1_000;

impl Rtt {
    pub const NONE: Self = Self {
        srtt8: 0,
        rttvar4: 0,
    };

    /// A segment that was sent once took `rtt` to be acknowledged (sections 2.2 and 2.3).
    pub fn sample(&mut self, rtt: u32) {
        let rtt = rtt.clamp(1, 60_000_000);
        if self.srtt8 == 0 {
            *self = Self {
                srtt8: rtt * 8,
                rttvar4: rtt * 2,
            };
            return;
        }
        let deviation = (self.srtt8 >> 3).abs_diff(rtt);
        self.rttvar4 = self.rttvar4 - (self.rttvar4 >> 2) + deviation;
        self.srtt8 = (self.srtt8 - (self.srtt8 >> 3) + rtt).max(1);
    }

    /// Smoothed round trip time; 0 before the first sample.
    #[inline]
    pub const fn srtt(&self) -> u32 {
        self.srtt8 >> 3
    }

    /// The timeout, before backoff and limits.
    #[inline]
    pub fn rto(&self) -> u32 {
        if self.srtt8 == 0 {
            return INITIAL_RTO;
        }
        self.srtt() + self.rttvar4.max(GRANULARITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_sets_srtt_and_half_of_it_as_variation() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto(), 1_000_000);
        rtt.sample(10_000);
        assert_eq!((rtt.srtt(), rtt.rto()), (10_000, 30_000));
    }

    #[test]
    fn a_steady_path_settles() {
        let mut rtt = Rtt::default();
        for _ in 0..100 {
            rtt.sample(5_000);
        }
        assert_eq!(rtt.srtt(), 5_000);
        assert_eq!(rtt.rto(), 6_000);
    }

    #[test]
    fn gains_are_an_eighth_and_a_quarter() {
        let mut rtt = Rtt::default();
        rtt.sample(8_000);
        rtt.sample(16_000);
        // SRTT = 7/8 * 8000 + 1/8 * 16000; RTTVAR = 3/4 * 4000 + 1/4 * 8000.
        assert_eq!((rtt.srtt(), rtt.rto()), (9_000, 9_000 + 4 * 5_000));
    }
}
