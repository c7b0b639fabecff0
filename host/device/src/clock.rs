//! The time that device timeouts are measured in: wall time for real devices, simulated time for simulated ones.

use std::time::{Duration, Instant};

/// A clock that can be waited on.
pub trait Clock {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
    /// Waits at least this long.
    fn sleep(&self, time: Duration);
}

/// Wall time.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_advances_over_a_sleep() {
        let clock = SystemClock::default();
        let before = clock.now();
        clock.sleep(Duration::from_micros(50));
        assert!(clock.now() >= before + Duration::from_micros(50));
    }
}
