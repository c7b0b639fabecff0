//! An NVMe SSD to the specification, as a device on the fabric: registers, admin and I/O queues, NVM command set.
//! Sources: NVMe Base Specification 2.1, NVM Command Set 1.1, NVMe over PCIe 1.1.
//!
//! The world routes `bar0 + offset` to its inbox as `offset`: registers, doorbells at 1000h, MSI-X table at
//! [`MSIX_TABLE`], pending bits at [`MSIX_PENDING`]. All that it fetches, reads and writes goes through its port in
//! packets of at most [`MAX_PAYLOAD`](crate::fabric::MAX_PAYLOAD) bytes.
//!
//! Not here: PCI configuration space (bus mastering and MSI-X are always on), controller memory buffer, namespace
//! management, metadata and protection information, fused commands, weighted arbitration.

mod admin;
mod command;
mod config;
mod controller;
mod dma;
mod fault;
mod features;
mod identify;
mod logs;
mod maintain;
mod media;
mod msix;
mod nvm;
pub mod pointers;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use sluice_wire::nvme::{Aqa, Cc, Csts};

pub use config::{Backing, Latency, NamespaceSpec, SsdConfig};
pub use fault::{Fault, Injector, Seen, Stats};
pub use maintain::IMAGE_MAGIC;
pub use media::Media;

use crate::fabric::{BusError, Clock, Device, Port, Tlp};
use command::Command;
use dma::{Dma, Owner};
use features::Features;
use logs::Logs;
use msix::Msix;
use queue::{Cq, Sq};

/// Size of BAR0 in bytes.
pub const BAR0_SIZE: u64 = 0x1_0000;
/// Offset of the MSI-X table in BAR0.
pub const MSIX_TABLE: u64 = 0x8000;
/// Offset of the MSI-X pending bits in BAR0.
pub const MSIX_PENDING: u64 = 0xC000;

/// How an SSD that is gone answers reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// The bus answers in its place, with an error.
    BusError,
    /// Nothing ever comes: the world's completion timeout has to notice.
    Silent,
}

/// What happens at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timer {
    /// CSTS.RDY becomes 1.
    Ready,
    /// The media have done a command.
    Execute(u64),
}

/// A namespace and its bytes.
#[derive(Debug)]
pub(crate) struct Namespace {
    spec: NamespaceSpec,
    media: Media,
}

/// The SSD.
pub struct Ssd {
    config: SsdConfig,
    now: Clock,
    gone: Option<Gone>,
    stats: Stats,
    injector: Option<Injector>,
    rng: ChaCha8Rng,
    namespaces: Vec<Namespace>,
    /// Survive a controller reset: counted over the SSD's life.
    logs: Logs,
    firmware: maintain::Firmware,

    // What a controller reset clears.
    cc: Cc,
    csts: Csts,
    aqa: Aqa,
    asq: u64,
    acq: u64,
    features: Features,
    msix: Msix,
    /// By queue identifier; 0 is the admin queue.
    sqs: Vec<Option<Sq>>,
    cqs: Vec<Option<Cq>>,
    /// Under way, by a number that is never used again.
    commands: BTreeMap<u64, Command>,
    /// I/O commands among them, and entries being fetched.
    busy: usize,
    /// Queue whose turn it is to be fetched from.
    turn: usize,
    dma: Dma,
    timers: BTreeMap<(Clock, u64), Timer>,
    /// Counts everything that needs a number of its own.
    serial: u64,
    /// When the media will have moved all that they were given.
    media_free: Clock,
    out: VecDeque<Tlp>,
}

impl std::fmt::Debug for Ssd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Ssd");
        f.field("name", &self.config.name)
            .field("now", &self.now)
            .field("csts", &self.csts);
        f.field("commands", &self.commands)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Ssd {
    /// Builds an SSD, powered and disabled.
    ///
    /// # Errors
    /// If a backing file cannot be opened.
    ///
    /// # Panics
    /// If the configuration is outside the ranges that [`SsdConfig`] states.
    pub fn new(config: SsdConfig) -> std::io::Result<Self> {
        assert!((1..=128).contains(&config.io_queues) && (1..=128).contains(&config.vectors));
        assert!((2..=65_536).contains(&config.queue_entries) && config.dstrd <= 4);
        assert!(
            config
                .namespaces
                .iter()
                .all(|n| n.block_shift == 9 || n.block_shift == 12)
        );
        let open = |spec: &NamespaceSpec| {
            let bytes = spec.blocks << spec.block_shift;
            let media = Media::open(&spec.backing, bytes, config.volatile_cache)?;
            Ok(Namespace {
                spec: spec.clone(),
                media,
            })
        };
        let namespaces = config
            .namespaces
            .iter()
            .map(open)
            .collect::<std::io::Result<_>>()?;
        let queues = usize::from(config.io_queues) + 1;
        Ok(Self {
            now: 0,
            gone: None,
            stats: Stats::default(),
            injector: None,
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            namespaces,
            logs: Logs::default(),
            firmware: maintain::Firmware::new(),
            cc: Cc(0),
            csts: Csts(0),
            aqa: Aqa(0),
            asq: 0,
            acq: 0,
            features: Features::new(config.volatile_cache),
            msix: Msix::new(config.vectors),
            sqs: (0..queues).map(|_| None).collect(),
            cqs: (0..queues).map(|_| None).collect(),
            commands: BTreeMap::new(),
            busy: 0,
            turn: 0,
            dma: Dma::default(),
            timers: BTreeMap::new(),
            serial: 0,
            media_free: 0,
            out: VecDeque::new(),
            config,
        })
    }

    /// As it was built.
    #[must_use]
    pub fn config(&self) -> &SsdConfig {
        &self.config
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Sets or removes what decides about faults.
    pub fn inject(&mut self, injector: Option<Injector>) {
        self.injector = injector;
    }

    /// Changes how long commands take from now on.
    pub fn set_latency(&mut self, latency: Latency) {
        self.config.latency = latency;
    }

    /// The bytes of namespace `nsid` as a reader would see them, behind the controller's back.
    pub fn media(&mut self, nsid: u32) -> Option<&mut Media> {
        Some(
            &mut self
                .namespaces
                .get_mut((nsid as usize).checked_sub(1)?)?
                .media,
        )
    }

    /// Pulled out: from now on it does nothing and answers nothing. What was not durable is lost.
    pub fn vanish(&mut self, gone: Gone) {
        self.lose_power(false);
        self.gone = Some(gone);
    }

    /// Plugged in again, powered and disabled.
    pub fn reappear(&mut self) {
        self.gone = None;
    }

    /// It has vanished.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// Loses power and gets it back at once: all state is gone, and what was not durable; with `torn`, some of that
    /// has made it, sector by sector.
    pub fn power_cycle(&mut self, torn: bool) {
        self.lose_power(torn);
    }

    /// Function level reset: all state is gone as after power-up, but nothing that was written.
    pub fn function_reset(&mut self) {
        self.reset();
        (self.asq, self.acq, self.aqa) = (0, 0, Aqa(0));
        self.msix = Msix::new(self.config.vectors);
    }

    /// Clock of the earliest thing it will do by itself; `None` if it only waits for packets.
    #[must_use]
    pub fn next_event(&self) -> Option<Clock> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    fn lose_power(&mut self, torn: bool) {
        self.reset();
        (self.asq, self.acq, self.aqa) = (0, 0, Aqa(0));
        self.msix = Msix::new(self.config.vectors);
        self.logs.unsafe_shutdowns += 1;
        for ns in &mut self.namespaces {
            if ns.media.power_cut(torn.then_some(&mut self.rng)).is_err() {
                self.stats.errors += 1;
            }
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn at(&mut self, clock: Clock, timer: Timer) {
        let serial = self.next_serial();
        self.timers.insert((clock, serial), timer);
    }

    fn packet(&mut self, tlp: Tlp) {
        match tlp {
            Tlp::Write { addr, data } => self.bar_write(addr, &data),
            Tlp::Read { addr, len, tag } => {
                let data = Ok(self.bar_read(addr, len));
                self.out.push_back(Tlp::Completion { tag, data });
            }
            Tlp::Completion { tag, data } => {
                self.stats.bus_errors += u64::from(data.is_err());
                match self.dma.answer(tag, data) {
                    Some((Owner::Fetch { sqid, serial }, data)) => self.fetched(sqid, serial, data),
                    Some((Owner::Command(id), data)) => self.data_arrived(id, data),
                    None => {}
                }
            }
        }
    }

    fn send_all(&mut self, port: &mut Port) {
        self.fetch();
        for tlp in self.out.drain(..) {
            port.send(self.now, tlp);
        }
        self.dma.pump(self.now, self.config.read_tags, port);
    }

    fn run_gone(&mut self, gone: Gone, until: Clock, port: &mut Port) {
        while let Some(tlp) = port.take(until.saturating_sub(1)) {
            if let (Gone::BusError, Tlp::Read { tag, .. }) = (gone, tlp) {
                port.send(
                    until.saturating_sub(1),
                    Tlp::Completion {
                        tag,
                        data: Err(BusError),
                    },
                );
            }
        }
    }
}

impl Device for Ssd {
    fn idle_until(&self) -> Option<Clock> {
        // Reads of its own that are under way come back as packets.
        self.out
            .is_empty()
            .then(|| self.next_event().unwrap_or(Clock::MAX))
    }

    fn run(&mut self, until: Clock, port: &mut Port) {
        self.send_all(port);
        loop {
            if let Some(gone) = self.gone {
                self.out.clear();
                self.run_gone(gone, until, port);
                break;
            }
            let timer = self.next_event();
            let packet = port.inbox.front().map(|(at, _)| *at);
            let Some(at) = timer
                .into_iter()
                .chain(packet)
                .min()
                .filter(|at| *at < until)
            else {
                break;
            };
            self.now = self.now.max(at);
            if timer == Some(at) {
                if let Some((_, timer)) = self.timers.pop_first() {
                    self.expire(timer);
                }
            } else if let Some(tlp) = port.take(self.now) {
                self.packet(tlp);
            }
            self.send_all(port);
        }
        self.now = self.now.max(until);
    }
}
