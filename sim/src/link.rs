//! An Ethernet link between two ends: rate, latency, and the faults that real links have, all from one seed.
//!
//! A link owns no endpoint: it takes frames out of one queue and puts them, later or never, into another, so it fits between
//! any two things that speak in queues of timed frames. It may do as a congested switch does (ECN marks) and as a MAC does that is
//! told to pause.

mod ecn;
mod pause;

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub use pause::frame as pause_frame;

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
    /// ECN-capable frames that are marked as having met congestion.
    pub mark: u32,
}

impl Faults {
    /// A percentage of each kind of fault, with frames held back 50 µs; no marks.
    #[must_use]
    pub fn percent(each: u32) -> Self {
        let ppm = each * 10_000;
        Self {
            loss: ppm,
            reorder: ppm,
            hold: 12_500,
            duplicate: ppm,
            corrupt: ppm,
            mark: 0,
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
    /// Which ends' MACs stop sending when a pause frame (802.3x, or PFC of [`Self::priority`]) tells them to: A, B. The frame is
    /// delivered all the same; an end that honours it by itself is left to do so.
    pub pauses: [bool; 2],
    /// Priority of all frames, for PFC.
    pub priority: u8,
}

impl Default for LinkConfig {
    /// 100 Gb/s, 256 ns, no faults, deaf to pause frames.
    fn default() -> Self {
        Self {
            gbps: 100,
            latency: QUANTUM,
            a_to_b: Faults::default(),
            b_to_a: Faults::default(),
            pauses: [false; 2],
            priority: 0,
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
    /// Frames marked.
    pub marked: u64,
    /// Pause frames that its sender obeyed.
    pub pauses: u64,
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
    /// For marks: these came later, and earlier histories stay what they were.
    marks: ChaCha8Rng,
    /// The sender obeys pause frames.
    obeys: bool,
    /// When it may send again, in bit times.
    paused_until: u64,
    /// With their times, frames that are not on the wire yet, if the sender may be told to pause.
    waiting: Frames,
    /// By arrival, then by order of sending.
    under_way: BTreeMap<(Clock, u64), Vec<u8>>,
    sent: u64,
    counters: LaneCounters,
}

impl Lane {
    fn new(config: &LinkConfig, faults: Faults, obeys: bool, rngs: [ChaCha8Rng; 2]) -> Self {
        let [rng, marks] = rngs;
        Self {
            faults,
            latency: config.latency.max(QUANTUM),
            bits_per_clock: u64::from(config.gbps.max(1)) * 4,
            free_at: 0,
            rng,
            marks,
            obeys,
            paused_until: 0,
            waiting: Frames::new(),
            under_way: BTreeMap::new(),
            sent: 0,
            counters: LaneCounters::default(),
        }
    }

    /// A frame whose last byte was ready at `at`.
    pub fn push(&mut self, at: Clock, frame: Vec<u8>) {
        self.counters.frames += 1;
        self.counters.bytes += frame.len() as u64;
        if self.obeys {
            self.waiting.push_back((at, frame));
        } else {
            self.send(at, frame);
        }
    }

    /// When a frame that is ready at `at` gets onto the wire, in bit times.
    fn start(&self, at: Clock) -> u64 {
        let ready = at.saturating_mul(self.bits_per_clock);
        self.free_at.max(ready).max(self.paused_until)
    }

    /// Puts those frames on the wire whose turn comes before `until`.
    fn send_waiting(&mut self, until: Clock) {
        let until = until.saturating_mul(self.bits_per_clock);
        while let Some((at, _)) = self.waiting.front() {
            if self.start(*at) > until {
                break;
            }
            if let Some((at, frame)) = self.waiting.pop_front() {
                self.send(at, frame);
            }
        }
    }

    /// Its sender was told at `at` to be quiet for so many bit times.
    fn pause(&mut self, at: Clock, bits: u64) {
        self.counters.pauses += 1;
        self.send_waiting(at);
        self.paused_until = at * self.bits_per_clock + bits;
    }

    fn send(&mut self, at: Clock, mut frame: Vec<u8>) {
        let bits = (frame.len() + OVERHEAD) as u64 * 8;
        self.free_at = self.start(at) + bits;
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
        if hits(self.marks.next_u32(), self.faults.mark) && ecn::mark(&mut frame) {
            self.counters.marked += 1;
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
        self.send_waiting(until);
        while let Some(first) = self.under_way.first_entry().filter(|e| e.key().0 <= until) {
            into.push_back((first.key().0, first.remove()));
            self.counters.delivered += 1;
        }
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Clock> {
        let next = self.under_way.first_key_value().map(|((at, _), _)| *at);
        let waiting = self.waiting.front().map(|(at, frame)| {
            let bits = (frame.len() + OVERHEAD) as u64 * 8;
            (self.start(*at) + bits).div_ceil(self.bits_per_clock) + self.latency
        });
        [next, waiting].into_iter().flatten().min()
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
    priority: u8,
}

impl Link {
    /// A link; one seed gives one history.
    #[must_use]
    pub fn new(config: &LinkConfig, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut fork = || ChaCha8Rng::seed_from_u64(rng.next_u64());
        let (ab, ba) = (fork(), fork());
        let (ab_marks, ba_marks) = (fork(), fork());
        let [a, b] = config.pauses;
        Self {
            a_to_b: Lane::new(config, config.a_to_b, a, [ab, ab_marks]),
            b_to_a: Lane::new(config, config.b_to_a, b, [ba, ba_marks]),
            priority: config.priority,
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
        if !self.a_to_b.obeys && !self.b_to_a.obeys {
            self.a_to_b.deliver(until, b_in);
            self.b_to_a.deliver(until, a_in);
            return;
        }
        // In order of time, so that a pause stops what was to be sent after it came.
        while let Some(next) = self.next_arrival().filter(|at| *at <= until) {
            deliver(
                &mut self.a_to_b,
                &mut self.b_to_a,
                next,
                b_in,
                self.priority,
            );
            deliver(
                &mut self.b_to_a,
                &mut self.a_to_b,
                next,
                a_in,
                self.priority,
            );
        }
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

/// Delivers what has arrived on a lane, and has the other way's sender obey the pause frames in it.
fn deliver(lane: &mut Lane, back: &mut Lane, until: Clock, into: &mut Frames, priority: u8) {
    let first = into.len();
    lane.deliver(until, into);
    if !back.obeys {
        return;
    }
    for (at, frame) in into.iter().skip(first) {
        if let Some(bits) = pause::asked(frame, priority) {
            back.pause(*at, bits);
        }
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

    #[test]
    fn marks_go_to_a_share_of_capable_frames_and_change_no_other_fault() {
        let run = |mark: u32| {
            let config = LinkConfig {
                a_to_b: Faults {
                    mark,
                    ..Faults::percent(3)
                },
                ..LinkConfig::default()
            };
            let mut link = Link::new(&config, 9);
            let mut frame = vec![2; 12];
            frame.extend([8, 0, 0x45, 2]);
            frame.resize(60, 0);
            let mut out: Frames = (0..10_000).map(|i| (i * 100, frame.clone())).collect();
            let (mut a_in, mut b_out, mut b_in) = Default::default();
            link.carry(u64::MAX, (&mut out, &mut a_in), (&mut b_out, &mut b_in));
            link.a_to_b.counters()
        };
        let (without, with) = (run(0), run(200_000));
        assert_eq!(without.marked, 0);
        assert!((1800..2200).contains(&with.marked), "{with:?}");
        assert_eq!(LaneCounters { marked: 0, ..with }, without);
    }

    /// End B tells A at clock 1,000 to pause, and at clock `resume`, if any, to go on.
    fn paused(pauses: [bool; 2], priority: Option<u8>, resume: Option<Clock>) -> Vec<Clock> {
        let config = LinkConfig {
            pauses,
            priority: 3,
            ..LinkConfig::default()
        };
        let mut link = Link::new(&config, 1);
        let mut b_out: Frames = [(1000, pause_frame([2; 6], priority, 1000))].into();
        b_out.extend(resume.map(|at| (at, pause_frame([2; 6], priority, 0))));
        let mut a_out: Frames = (0..40).map(|i| (i * 100, vec![0; 100])).collect();
        let (mut a_in, mut b_in) = Default::default();
        for now in (0..20_000).step_by(640) {
            link.carry(now, (&mut a_out, &mut a_in), (&mut b_out, &mut b_in));
        }
        assert_eq!(b_in.len(), 40);
        assert_eq!(
            a_in.len(),
            1 + usize::from(resume.is_some()),
            "delivered too"
        );
        b_in.iter().map(|(at, _)| *at).collect()
    }

    #[test]
    fn a_sender_that_is_told_to_pause_does_so_for_as_long_as_it_is_told() {
        let free = paused([false, true], None, None);
        for priority in [None, Some(3)] {
            let got = paused([true, false], priority, None);
            let (before, after): (Vec<Clock>, Vec<Clock>) = got.iter().partition(|at| **at < 2000);
            // The pause reaches A at clock 1,066; 1,000 quanta of 512 bits take 1,280 clocks at 400 bits a clock.
            assert_eq!(before, free[..before.len()]);
            assert!((10..=12).contains(&before.len()), "{before:?}");
            assert!(after[0] >= 1066 + 1280 + 64, "{}", after[0]);
            assert_eq!(after.last(), free.last(), "the backlog is gone");
            let resumed = paused([true, false], priority, Some(1500));
            let next = resumed.iter().find(|at| **at > 1300).expect("one");
            assert!((1560..1700).contains(next), "{next}");
        }
        assert_eq!(
            paused([true, true], Some(5), None),
            free,
            "not its priority"
        );
    }
}
