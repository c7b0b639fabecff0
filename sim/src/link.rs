//! An Ethernet link between two ends: rate, latency, and the faults that real links have, all from one seed.
//!
//! A link owns no endpoint: it takes frames out of one queue and puts them, later or never, into another, so it fits between
//! any two things that speak in queues of timed frames.

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::fabric::{Clock, QUANTUM};

/// Frames without FCS, with the clock at which the last byte passed.
pub type Frames = VecDeque<(Clock, Vec<u8>)>;

/// Bytes a frame occupies on the wire beyond its own: preamble 8, FCS 4, gap 12.
const OVERHEAD: usize = 24;

/// Faults of one direction, each in parts per million of the frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Frames that vanish.
    pub loss: u32,
    /// Frames held back by [`Faults::hold`], so that later ones overtake them.
    pub reorder: u32,
    /// Clocks a reordered frame is held back.
    pub hold: Clock,
    /// Frames delivered twice.
    pub duplicate: u32,
    /// Frames with one bit flipped, anywhere.
    pub corrupt: u32,
}

impl Faults {
    /// A percentage of each kind of fault, with frames held back 50 µs.
    #[must_use]
    pub fn percent(each: u32) -> Self {
        let ppm = each * 10_000;
        Self {
            loss: ppm,
            reorder: ppm,
            hold: 12_500,
            duplicate: ppm,
            corrupt: ppm,
        }
    }

    /// Loss only.
    #[must_use]
    pub fn loss_percent(percent: u32) -> Self {
        Self {
            loss: percent * 10_000,
            ..Self::default()
        }
    }
}

/// A link's properties.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkConfig {
    /// Gb/s, each way.
    pub gbps: u32,
    /// Clocks from the last byte sent to the last byte received, at least [`QUANTUM`].
    pub latency: Clock,
    /// Faults of frames from end A to end B.
    pub a_to_b: Faults,
    /// Faults of frames from end B to end A.
    pub b_to_a: Faults,
}

impl Default for LinkConfig {
    /// 100 Gb/s, 256 ns, no faults.
    fn default() -> Self {
        Self {
            gbps: 100,
            latency: QUANTUM,
            a_to_b: Faults::default(),
            b_to_a: Faults::default(),
        }
    }
}

/// What one direction did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LaneCounters {
    /// Frames put in.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames taken out, duplicates included.
    pub delivered: u64,
    /// Frames lost.
    pub lost: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Frames delivered twice.
    pub duplicated: u64,
    /// Frames with a bit flipped.
    pub corrupted: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Lane {
    faults: Faults,
    latency: Clock,
    /// Bits per clock: 4 per Gb/s.
    bits_per_clock: u64,
    /// When the wire is free, in bit times since the start.
    free_at: u64,
    rng: ChaCha8Rng,
    /// By arrival, then by order of sending.
    under_way: BTreeMap<(Clock, u64), Vec<u8>>,
    sent: u64,
    counters: LaneCounters,
}

impl Lane {
    fn new(config: &LinkConfig, faults: Faults, rng: ChaCha8Rng) -> Self {
        Self {
            faults,
            latency: config.latency.max(QUANTUM),
            bits_per_clock: u64::from(config.gbps.max(1)) * 4,
            free_at: 0,
            rng,
            under_way: BTreeMap::new(),
            sent: 0,
            counters: LaneCounters::default(),
        }
    }

    /// A frame whose last byte was ready at `at`.
    pub fn push(&mut self, at: Clock, mut frame: Vec<u8>) {
        self.counters.frames += 1;
        self.counters.bytes += frame.len() as u64;
        let bits = (frame.len() + OVERHEAD) as u64 * 8;
        self.free_at = self.free_at.max(at * self.bits_per_clock) + bits;
        let mut arrival = self.free_at.div_ceil(self.bits_per_clock) + self.latency;
        // The same number of draws for every frame: changing one rate does not change the other faults.
        let [lost, held, doubled, damaged, bit] = std::array::from_fn(|_| self.rng.next_u32());
        let hits = |draw: u32, ppm: u32| draw % 1_000_000 < ppm;
        if hits(lost, self.faults.loss) {
            self.counters.lost += 1;
            return;
        }
        if hits(damaged, self.faults.corrupt) && !frame.is_empty() {
            self.counters.corrupted += 1;
            let bit = bit as usize % (frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        if hits(held, self.faults.reorder) {
            self.counters.reordered += 1;
            arrival += self.faults.hold;
        }
        if hits(doubled, self.faults.duplicate) {
            self.counters.duplicated += 1;
            self.put(arrival, frame.clone());
        }
        self.put(arrival, frame);
    }

    fn put(&mut self, arrival: Clock, frame: Vec<u8>) {
        self.under_way.insert((arrival, self.sent), frame);
        self.sent += 1;
    }

    /// Moves what has arrived by `until` to `into`, in order of time.
    pub fn deliver(&mut self, until: Clock, into: &mut Frames) {
        while let Some(first) = self.under_way.first_entry().filter(|e| e.key().0 <= until) {
            into.push_back((first.key().0, first.remove()));
            self.counters.delivered += 1;
        }
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Clock> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// Changes the faults from the next frame on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// What this direction did.
    #[must_use]
    pub fn counters(&self) -> LaneCounters {
        self.counters
    }
}

/// Both directions.
#[derive(Debug)]
pub struct Link {
    /// From end A to end B.
    pub a_to_b: Lane,
    /// From end B to end A.
    pub b_to_a: Lane,
}

impl Link {
    /// A link; one seed gives one history.
    #[must_use]
    pub fn new(config: &LinkConfig, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut fork = || ChaCha8Rng::seed_from_u64(rng.next_u64());
        let (ab, ba) = (fork(), fork());
        Self {
            a_to_b: Lane::new(config, config.a_to_b, ab),
            b_to_a: Lane::new(config, config.b_to_a, ba),
        }
    }

    /// Takes all frames from both ends' outgoing queues and delivers what has arrived by `until`.
    pub fn carry(
        &mut self,
        until: Clock,
        (a_out, a_in): (&mut Frames, &mut Frames),
        (b_out, b_in): (&mut Frames, &mut Frames),
    ) {
        for (at, frame) in a_out.drain(..) {
            self.a_to_b.push(at, frame);
        }
        for (at, frame) in b_out.drain(..) {
            self.b_to_a.push(at, frame);
        }
        self.a_to_b.deliver(until, b_in);
        self.b_to_a.deliver(until, a_in);
    }

    /// When the next frame arrives at either end.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Clock> {
        [self.a_to_b.next_arrival(), self.b_to_a.next_arrival()]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: &LinkConfig, seed: u64, frames: u32) -> (Frames, LaneCounters) {
        let mut link = Link::new(config, seed);
        let mut out: Frames = (0..frames)
            .map(|i| (u64::from(i) * 100, i.to_le_bytes().repeat(16)))
            .collect();
        let (mut a_in, mut b_out, mut b_in) = Default::default();
        link.carry(u64::MAX, (&mut out, &mut a_in), (&mut b_out, &mut b_in));
        (b_in, link.a_to_b.counters())
    }

    #[test]
    fn a_clean_link_delivers_everything_in_order_after_rate_and_latency() {
        let config = LinkConfig {
            latency: 1000,
            ..LinkConfig::default()
        };
        let (got, counters) = run(&config, 1, 50);
        assert_eq!((got.len(), counters.delivered, counters.lost), (50, 50, 0));
        // 64 + 24 bytes at 50 bytes a clock take 2 clocks.
        for (i, (at, frame)) in got.iter().enumerate() {
            assert_eq!(*at, i as u64 * 100 + 2 + 1000);
            assert_eq!(frame[..4], (i as u32).to_le_bytes());
        }
    }

    #[test]
    fn a_burst_leaves_at_the_rate_of_the_link() {
        let mut link = Link::new(
            &LinkConfig {
                gbps: 10,
                ..LinkConfig::default()
            },
            0,
        );
        let mut out: Frames = (0..10).map(|_| (0, vec![0; 1514])).collect();
        let (mut a_in, mut b_out, mut b_in) = Default::default();
        link.carry(u64::MAX, (&mut out, &mut a_in), (&mut b_out, &mut b_in));
        // 1,538 bytes at 5 bytes a clock each.
        for (i, (at, _)) in (1..).zip(&b_in) {
            assert_eq!(*at, (i * 1538u64).div_ceil(5) + QUANTUM);
        }
    }

    #[test]
    fn every_kind_of_fault_happens_at_its_rate_and_is_counted() {
        let config = LinkConfig {
            a_to_b: Faults::percent(5),
            ..LinkConfig::default()
        };
        let (got, counters) = run(&config, 7, 20_000);
        assert_eq!(got.len() as u64, counters.delivered);
        assert_eq!(
            counters.delivered,
            counters.frames - counters.lost + counters.duplicated
        );
        for count in [
            counters.lost,
            counters.reordered,
            counters.duplicated,
            counters.corrupted,
        ] {
            assert!((800..1200).contains(&count), "{counters:?}");
        }
        assert!(
            got.iter().zip(got.iter().skip(1)).all(|(a, b)| a.0 <= b.0),
            "in order of time"
        );
        let numbers: Vec<u32> = got
            .iter()
            .map(|(_, f)| u32::from_le_bytes([f[4], f[5], f[6], f[7]]))
            .collect();
        assert!(
            numbers.windows(2).any(|w| w[0] > w[1]),
            "but not in order of sending"
        );
    }

    #[test]
    fn one_seed_gives_one_history() {
        let config = LinkConfig {
            a_to_b: Faults::percent(10),
            ..LinkConfig::default()
        };
        assert_eq!(run(&config, 3, 1000), run(&config, 3, 1000));
        assert_ne!(run(&config, 3, 1000), run(&config, 4, 1000));
    }
}
