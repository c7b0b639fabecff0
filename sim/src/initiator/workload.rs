//! A load on I/O queues: a mix of reads and writes at a fixed depth, verified, measured to the clock.
//!
//! The next command of a queue is submitted at the very clock at which one completes, whatever the step in which the world
//! advances.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::{Command, CommandId, Completion, Initiator, Outcome, QueueId, pattern};
use crate::fabric::Clock;

/// What to run.
#[derive(Clone, Debug)]
pub struct WorkloadConfig {
    /// I/O queues; each is kept at `depth`.
    pub queues: Vec<QueueId>,
    /// Commands in flight per queue, below its entries.
    pub depth: usize,
    /// Namespace.
    pub nsid: u32,
    /// Bytes per block.
    pub block_size: usize,
    /// First block used; a multiple of `io_blocks`.
    pub first_block: u64,
    /// Blocks used.
    pub span: u64,
    /// Blocks per command.
    pub io_blocks: u32,
    /// Reads among the commands, percent; the rest are writes.
    pub read_percent: u32,
    /// One after the other instead of at random.
    pub sequential: bool,
    /// Commands in all.
    pub ios: u64,
    /// Verify what is read, as far as it was written: by this workload, or before it as `written_before` says.
    pub verify: bool,
    /// The whole span holds [`pattern`] blocks of this generation.
    pub written_before: Option<u64>,
    /// Seed of the addresses and the mix.
    pub seed: u64,
    /// A lost connection ends the load; commands that were under way fail. Otherwise all the rest fails too.
    pub ends_when_lost: bool,
}

impl WorkloadConfig {
    /// 4 KiB at random, reads only, over the first 16 MiB.
    #[must_use]
    pub fn random_4k(queues: Vec<QueueId>, nsid: u32, block_size: usize) -> Self {
        Self {
            queues,
            depth: 1,
            nsid,
            block_size,
            first_block: 0,
            span: (16 << 20) / block_size as u64,
            io_blocks: (4096 / block_size) as u32,
            read_percent: 100,
            sequential: false,
            ios: 1000,
            verify: true,
            written_before: None,
            seed: 1,
            ends_when_lost: false,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Reads completed.
    pub reads: u64,
    /// Writes completed.
    pub writes: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// Bytes read and found right.
    pub verified_bytes: u64,
    /// Clocks from submission to completion, in order of completion.
    pub latencies: Vec<u32>,
    /// When the first command was submitted.
    pub started: Clock,
    /// When the last one completed.
    pub finished: Clock,
    /// What went wrong, the first hundred.
    pub errors: Vec<String>,
    /// Commands that failed.
    pub failed: u64,
    /// Commands that the target wanted to be sent again (Command Interrupted), which they were.
    pub retried: u64,
}

impl Stats {
    /// Commands completed.
    #[must_use]
    pub fn ios(&self) -> u64 {
        self.reads + self.writes + self.failed
    }

    /// Clocks it took.
    #[must_use]
    pub fn clocks(&self) -> Clock {
        self.finished - self.started
    }

    /// Commands per second of card time.
    #[must_use]
    pub fn iops(&self) -> f64 {
        (self.reads + self.writes) as f64 * 250e6 / self.clocks().max(1) as f64
    }

    /// Gb/s of data in card time.
    #[must_use]
    pub fn gbps(&self) -> f64 {
        self.bytes as f64 * 8.0 / 4.0 / self.clocks().max(1) as f64
    }

    /// Latency below which `percent` (0 to 100) of the commands stayed, clocks.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> u32 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or(0)
    }
}

/// A command of the workload in flight.
struct Flight {
    queue: QueueId,
    slot: u64,
    read: bool,
    /// What a write leaves behind; what a read should find.
    generation: Option<u64>,
}

/// The target had no room and wants the command again (Command Interrupted without Do Not Retry; NVMe Base 2.1,
/// figure 102).
fn interrupted(completion: &Completion) -> bool {
    completion
        .status()
        .is_some_and(|s| s.sct() == 0 && s.sc() == 0x21 && !s.dnr())
}

/// A running load.
pub struct Workload {
    config: WorkloadConfig,
    rng: ChaCha8Rng,
    /// Per piece of `io_blocks` blocks: its generation, if known.
    generations: Vec<Option<u64>>,
    /// Pieces that a command in flight touches.
    busy: Vec<bool>,
    flights: HashMap<CommandId, Flight>,
    /// To be sent again.
    again: Vec<Flight>,
    next_slot: u64,
    next_generation: u64,
    submitted: u64,
    stats: Stats,
}

impl Workload {
    /// A load that begins when it is attached to an initiator.
    ///
    /// # Panics
    /// When the span is too small for the commands in flight.
    #[must_use]
    pub fn new(config: WorkloadConfig) -> Self {
        let slots = config.span / u64::from(config.io_blocks);
        let in_flight = config.depth * config.queues.len();
        assert!(
            slots >= in_flight as u64 * 2,
            "{slots} places for {in_flight} commands in flight"
        );
        Self {
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            generations: vec![config.written_before; slots as usize],
            busy: vec![false; slots as usize],
            flights: HashMap::new(),
            again: vec![],
            next_slot: 0,
            next_generation: config.written_before.unwrap_or(0) + config.seed * 1_000_000 + 1,
            submitted: 0,
            stats: Stats::default(),
            config,
        }
    }

    /// All commands have completed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.submitted == self.config.ios && self.flights.is_empty() && self.again.is_empty()
    }

    /// Submits nothing more.
    pub fn end(&mut self) {
        self.config.ios = self.submitted;
    }

    /// What came of it so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What each piece of the span holds, as far as it is known: its first block and the generation of its [`pattern`].
    pub fn contents(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let known = (0u64..).zip(&self.generations);
        known.filter_map(|(slot, generation)| Some((self.lba(slot), (*generation)?)))
    }

    /// How it was set.
    #[must_use]
    pub fn config(&self) -> &WorkloadConfig {
        &self.config
    }

    /// What came of it.
    #[must_use]
    pub fn into_stats(self) -> Stats {
        self.stats
    }

    /// Takes completions and submits what fits; true if it submitted anything.
    pub(super) fn advance(&mut self, initiator: &mut Initiator) -> bool {
        let now = initiator.now;
        let flights = &mut self.flights;
        let mut done = vec![];
        initiator
            .completions
            .retain_mut(|completion| match flights.remove(&completion.id) {
                Some(flight) => {
                    done.push((
                        flight,
                        Completion {
                            data: std::mem::take(&mut completion.data),
                            ..completion.clone()
                        },
                    ));
                    false
                }
                None => true,
            });
        let mut free: Vec<QueueId> = done.iter().map(|(flight, _)| flight.queue).collect();
        for (flight, completion) in done {
            if interrupted(&completion) {
                self.stats.retried += 1;
                self.again.push(flight);
            } else {
                self.finish(&flight, &completion);
            }
        }
        if self.submitted == 0 {
            self.stats.started = now;
            for _ in 0..self.config.depth {
                free.extend_from_slice(&self.config.queues);
            }
        }
        let mut sent = false;
        for queue in free {
            if let Some(flight) = self.again.pop() {
                self.send(initiator, flight);
            } else if self.submitted < self.config.ios {
                self.submit(initiator, queue);
            } else {
                continue;
            }
            sent = true;
        }
        sent
    }

    fn submit(&mut self, initiator: &mut Initiator, queue: QueueId) {
        let slot = self.pick();
        let read = self.rng.next_u32() % 100 < self.config.read_percent;
        let generation = if read {
            self.generations[slot as usize]
        } else {
            self.next_generation += 1;
            Some(self.next_generation - 1)
        };
        self.busy[slot as usize] = true;
        self.submitted += 1;
        self.send(
            initiator,
            Flight {
                queue,
                slot,
                read,
                generation,
            },
        );
    }

    fn send(&mut self, initiator: &mut Initiator, flight: Flight) {
        let WorkloadConfig {
            nsid,
            block_size,
            io_blocks,
            ..
        } = self.config;
        let lba = self.lba(flight.slot);
        let command = match flight.generation.filter(|_| !flight.read) {
            None => Command::read(nsid, lba, io_blocks, block_size),
            Some(generation) => {
                let data = pattern::make(lba, u64::from(io_blocks), block_size, generation);
                Command::write(nsid, lba, data, block_size)
            }
        };
        let id = initiator.submit(flight.queue, command);
        self.flights.insert(id, flight);
    }

    fn lba(&self, slot: u64) -> u64 {
        self.config.first_block + slot * u64::from(self.config.io_blocks)
    }

    fn pick(&mut self) -> u64 {
        let slots = self.generations.len() as u64;
        loop {
            let slot = if self.config.sequential {
                let slot = self.next_slot;
                self.next_slot = (slot + 1) % slots;
                slot
            } else {
                self.rng.next_u64() % slots
            };
            if !self.busy[slot as usize] {
                return slot;
            }
        }
    }

    fn finish(&mut self, flight: &Flight, completion: &Completion) {
        let (lba, size) = (self.lba(flight.slot), self.config.block_size);
        self.busy[flight.slot as usize] = false;
        self.stats.finished = completion.completed;
        self.stats.latencies.push(completion.latency() as u32);
        let bytes = u64::from(self.config.io_blocks) * size as u64;
        let verb = if flight.read { "read" } else { "write" };
        if !flight.read {
            // Until the write has succeeded nobody knows what is there.
            self.generations[flight.slot as usize] = None;
        }
        match &completion.outcome {
            Outcome::Done(cqe) if cqe.status().is_ok() => {}
            Outcome::Done(cqe) => {
                return self.failed(format!("{verb} at {lba}: {:?}", cqe.status()));
            }
            Outcome::Lost(failure) => {
                if self.config.ends_when_lost {
                    self.end();
                }
                return self.failed(format!("{verb} at {lba}: {failure}"));
            }
        }
        if flight.read {
            if let (true, Some(generation)) = (self.config.verify, flight.generation) {
                match pattern::check(&completion.data, lba, size, generation) {
                    Ok(()) => self.stats.verified_bytes += bytes,
                    Err(mismatch) => return self.failed(mismatch.to_string()),
                }
            }
            self.stats.reads += 1;
        } else {
            self.generations[flight.slot as usize] = flight.generation;
            self.stats.writes += 1;
        }
        self.stats.bytes += bytes;
    }

    fn failed(&mut self, error: String) {
        self.stats.failed += 1;
        if self.stats.errors.len() < 100 {
            self.stats.errors.push(error);
        }
    }
}
