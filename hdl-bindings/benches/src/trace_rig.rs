//! A trace on a bench: frames go by on both sides as the engines show them, a host with a ring stalls and fails, and what was
//! seen is kept to be compared with what the ring holds.

use std::collections::VecDeque;

use sluice_engines::Filter;
use sluice_wire::trace::{self, DROPS, Record};

use crate::{
    bench::Bench,
    ffi::Port,
    host::{BASE, Host},
    random::Random,
};

/// Clocks from a frame's end to rx's verdict.
const JUDGED_AFTER: u64 = 5;
/// What `reason` is of a frame that rx lost to an overrun.
const OVERRUN: u8 = 11;

/// What the registers say of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// It is to run.
    pub enable: bool,
    /// Received frames.
    pub receive: bool,
    /// Sent frames.
    pub send: bool,
    /// The ring has 4 KiB << order.
    pub order: u8,
    /// Bytes kept.
    pub snap: u16,
    /// Ports.
    pub filter: Filter,
    /// Bus address of the ring.
    pub base: u64,
    /// Bytes taken.
    pub tail: u32,
}

impl Config {
    /// Everything, into a ring of this size, 128 bytes of each frame.
    #[must_use]
    pub fn all(order: u8) -> Self {
        Self {
            enable: true,
            receive: true,
            send: true,
            order,
            snap: 128,
            filter: Filter::default(),
            base: BASE,
            tail: 0,
        }
    }

    /// Bytes of the ring.
    #[must_use]
    pub fn size(&self) -> usize {
        4096 << self.order
    }

    /// `trace_cfg_t`: tail 31:0, page 83:32, UDP port 99:84, TCP port 115:100, snap 129:116, order 133:130, send, receive, enable.
    fn words(&self) -> Vec<u32> {
        let low = u128::from(self.tail)
            | u128::from(self.base >> 12) << 32
            | u128::from(self.filter.udp) << 84
            | u128::from(self.filter.tcp) << 100
            | u128::from(self.snap) << 116;
        let flags = self.snap >> 12
            | u16::from(self.order) << 2
            | u16::from(self.send) << 6
            | u16::from(self.receive) << 7
            | u16::from(self.enable) << 8;
        let mut words: Vec<u32> = (0..4).map(|i| (low >> (32 * i)) as u32).collect();
        words.push(flags.into());
        words
    }
}

/// `trace_status_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// The ring may be written.
    pub active: bool,
    /// Frames are kept.
    pub tracing: bool,
    /// A probe failed.
    pub bus_error: bool,
    /// The ring is too large.
    pub bad_order: bool,
    /// Bytes written.
    pub head: u32,
    /// Frames lost.
    pub lost: u32,
}

/// A frame that went by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Clock of its last beat.
    pub at: u64,
    /// The card sent it.
    pub sent: bool,
    /// Flags that its record is to have.
    pub flags: u8,
    /// All of it.
    pub frame: Vec<u8>,
}

/// A frame going by: beats to come.
struct Going {
    frame: Vec<u8>,
    at: usize,
    lost: bool,
    verdict: Option<u8>,
}

/// The module with everything around it.
pub struct Rig {
    bench: Bench,
    /// Memory behind it.
    pub host: Host,
    /// The registers.
    pub config: Config,
    /// Clocks of the card when the bench began.
    pub epoch: u64,
    /// Chance in percent that a clock without a frame begins one, for each direction.
    pub load: [u64; 2],
    /// Makes the next frame.
    pub make: fn(&mut Random) -> Vec<u8>,
    /// Everything that went by while the trace was on.
    pub passed: Vec<Passed>,
    going: [Option<Going>; 2],
    verdicts: VecDeque<(u64, Option<u8>)>,
    ports: Ports,
}

struct Ports {
    clocks: Port,
    cfg: Port,
    rx: [Port; 5],
    judged: [Port; 3],
    tx: [Port; 4],
    status: Port,
}

impl Rig {
    /// A trace that is off, and a host whose requests are taken in `percent` of the clocks.
    pub fn new(percent: u64, latency: u64) -> Self {
        let mut b = Bench::new("sluice_trace", 9);
        let mut host = Host::new(&mut b, 2 << 20);
        host.ready_percent = percent;
        host.latency = latency;
        let mut p = |name: &str| b.port(name);
        let ports = Ports {
            clocks: p("clocks_i"),
            cfg: p("cfg_i"),
            rx: [
                p("rx_valid_i"),
                p("rx_data_i"),
                p("rx_count_i"),
                p("rx_last_i"),
                p("rx_lost_i"),
            ],
            judged: [p("judged_i"), p("judged_drop_i"), p("judged_reason_i")],
            tx: [
                p("tx_valid_i"),
                p("tx_data_i"),
                p("tx_keep_i"),
                p("tx_last_i"),
            ],
            status: p("status_o"),
        };
        let config = Config {
            enable: false,
            ..Config::all(0)
        };
        let mut rig = Self {
            bench: b,
            host,
            config,
            epoch: 0x1234_FFFF_F000,
            load: [0; 2],
            make: |random| {
                let len = random.size(60, 200);
                random.fill(len)
            },
            passed: Vec::new(),
            going: [None, None],
            verdicts: VecDeque::new(),
            ports,
        };
        let mut random = Random::new(1);
        rig.run(&mut random, 10);
        rig
    }

    /// The status now.
    #[must_use]
    pub fn status(&self) -> Status {
        let w = self.bench.words(self.ports.status);
        let bit = |n: u32| w[2] >> n & 1 == 1;
        Status {
            active: bit(3),
            tracing: bit(2),
            bus_error: bit(1),
            bad_order: bit(0),
            head: w[1],
            lost: w[0],
        }
    }

    /// Starts a trace and waits until it runs or has failed.
    pub fn start(&mut self, random: &mut Random, config: Config) -> Status {
        self.config = config;
        self.until(random, |s| s.tracing || !s.active)
    }

    /// Ends it and waits until it has ended; frames go on.
    pub fn stop(&mut self, random: &mut Random) -> Status {
        self.config.enable = false;
        self.until(random, |s| !s.active)
    }

    fn until(&mut self, random: &mut Random, done: impl Fn(Status) -> bool) -> Status {
        for n in 0.. {
            self.run(random, 1);
            // The status follows the registers a clock later.
            if n > 1 && done(self.status()) {
                break;
            }
            assert!(n < 200_000, "the trace hangs: {:?}", self.status());
        }
        self.status()
    }

    /// Lets what goes by end, and the trace write it.
    pub fn settle(&mut self, random: &mut Random) {
        self.load = [0; 2];
        for n in 0.. {
            let head = self.status().head;
            self.run(random, 400);
            if self.status().head == head && self.going.iter().all(Option::is_none) {
                return;
            }
            assert!(n < 10_000, "the trace writes for ever");
        }
    }

    /// So many clocks.
    pub fn run(&mut self, random: &mut Random, clocks: u64) {
        for _ in 0..clocks {
            self.host.drive(&mut self.bench, random);
            let now = self.epoch + self.bench.clock;
            self.bench.set(self.ports.clocks, now);
            self.bench.set_words(self.ports.cfg, &self.config.words());
            self.judge();
            self.receive(random, now);
            self.send(random, now);
            self.bench.settle();
            self.bench.tick();
        }
    }

    fn judge(&mut self) {
        let due = self
            .verdicts
            .front()
            .is_some_and(|(at, _)| *at <= self.bench.clock);
        let verdict = if due { self.verdicts.pop_front() } else { None };
        let reason = verdict.and_then(|(_, reason)| reason);
        let [judged, drop, why] = self.ports.judged;
        self.bench.set(judged, verdict.is_some().into());
        self.bench.set(drop, reason.is_some().into());
        self.bench.set(why, reason.unwrap_or(7).into());
    }

    fn begin(&mut self, side: usize, random: &mut Random) {
        if self.going[side].is_none() && random.chance(self.load[side]) {
            let reason = random.size(0, DROPS.len() - 1) as u8;
            self.going[side] = Some(Going {
                frame: (self.make)(random),
                at: 0,
                lost: side == 0 && random.chance(4),
                verdict: (random.chance(20) && reason != OVERRUN).then_some(reason),
            });
        }
    }

    /// The next beat of what goes by on a side: data, bytes, last.
    fn beat(&mut self, side: usize) -> Option<(Vec<u8>, bool)> {
        let going = self.going[side].as_mut()?;
        let end = (going.at + 16).min(going.frame.len());
        let bytes = going.frame[going.at..end].to_vec();
        going.at = end;
        Some((bytes, end == going.frame.len()))
    }

    /// What rx shows is a clock behind the wire.
    fn receive(&mut self, random: &mut Random, now: u64) {
        self.begin(0, random);
        let [valid, data, count, last, lost] = self.ports.rx;
        let beat = self.beat(0);
        self.bench.set(valid, beat.is_some().into());
        // Whatever a clock without a beat shows means nothing.
        self.bench.set(last, random.bits() & 1);
        self.bench.set(lost, random.bits() & 1);
        self.bench.set_bytes(data, &random.fill(16));
        let Some((bytes, ends)) = beat else { return };
        self.bench.set_bytes(data, &bytes);
        self.bench.set(count, bytes.len() as u64);
        self.bench.set(last, ends.into());
        if ends {
            let gone = self.going[0].take().expect("it went by");
            self.bench.set(lost, gone.lost.into());
            let verdict = if gone.lost {
                Some(OVERRUN)
            } else {
                gone.verdict
            };
            if !gone.lost {
                let due = self.bench.clock + JUDGED_AFTER;
                self.verdicts.push_back((due, gone.verdict));
            }
            let flags = verdict.map_or(0, |reason| Record::DROPPED | reason << 4);
            self.keep(now - 1, false, flags, gone.frame);
        }
    }

    fn send(&mut self, random: &mut Random, now: u64) {
        self.begin(1, random);
        let [valid, data, keep, last] = self.ports.tx;
        // The wire may stall a frame.
        let beat = if random.chance(80) {
            self.beat(1)
        } else {
            None
        };
        self.bench.set(valid, beat.is_some().into());
        self.bench.set(last, random.bits() & 1);
        // Lanes beyond the end mean nothing.
        let mut row = random.fill(16);
        if let Some((bytes, ends)) = &beat {
            row[..bytes.len()].copy_from_slice(bytes);
            self.bench.set(keep, (1_u64 << bytes.len()) - 1);
            self.bench.set(last, u64::from(*ends));
            if *ends {
                let gone = self.going[1].take().expect("it went by");
                self.keep(now, true, Record::SENT, gone.frame);
            }
        }
        self.bench.set_bytes(data, &row);
    }

    fn keep(&mut self, at: u64, sent: bool, flags: u8, frame: Vec<u8>) {
        let wanted = if sent {
            self.config.send
        } else {
            self.config.receive
        };
        if wanted && self.config.filter.passes(&frame) {
            self.passed.push(Passed {
                at,
                sent,
                flags,
                frame,
            });
        }
    }

    /// Takes what the ring has, as a host does, and moves the tail.
    pub fn take(&mut self) -> Vec<(Record, Vec<u8>)> {
        let (size, base) = (self.config.size(), (self.config.base - BASE) as usize);
        let head = self.row()[0];
        let count = head.wrapping_sub(self.config.tail) as usize;
        assert!(count <= size, "{count} bytes in a ring of {size}");
        let bytes: Vec<u8> = (0..count)
            .map(|i| self.host.bytes[base + (self.config.tail as usize + i) % size])
            .collect();
        self.config.tail = head;
        let (mut rest, mut all) = (&bytes[..], Vec::new());
        while let Some((record, frame, left)) = trace::next(rest).expect("whole records") {
            all.push((record, frame.to_vec()));
            rest = left;
        }
        all
    }

    /// The status row: head, losses, records.
    #[must_use]
    pub fn row(&self) -> [u32; 3] {
        let at = (self.config.base - BASE) as usize + self.config.size();
        [0, 4, 8].map(|i| {
            let word = &self.host.bytes[at + i..at + i + 4];
            u32::from_le_bytes(word.try_into().expect("4 bytes"))
        })
    }
}
