//! Between the model's packets and the client.
//!
//! | file | what it does |
//! |---|---|
//! | `mod` | state, time, reset |
//! | `messages` | the client's messages |
//! | `regions` | those about regions |
//! | `bars` | BAR accesses as packets for the model |
//! | `transfers` | the model's packets: DMA and interrupts |
//!
//! What the function writes takes effect in the order in which it was written. Writes to shared memory are done at once;
//! those that only the client can do are messages, and nothing written later is done before it has answered. Answers to the
//! client's own reads wait for nobody, so that two devices of one client cannot wait for each other.

mod bars;
mod messages;
mod regions;
mod transfers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use sluice_vfio_user::version::Capabilities;
use sluice_vfio_user::wire::{Header, RegionAccess};

use crate::config_space::ConfigSpace;
use crate::dma::DmaTable;
use crate::fabric::{Clock, Port, QUANTUM, Tlp};
use crate::irqs::Irqs;
use crate::{Function, MsixSpec};

/// In this time the model must answer a read of a BAR; else the client gets all ones, as on a bus.
const MODEL_PATIENCE: Duration = Duration::from_secs(3);
/// In this time the client must answer a DMA message; else the access has failed.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
/// The same when somebody waits for an unmap: a client may be unable to answer while it waits itself.
const UNMAP_PATIENCE: Duration = Duration::from_secs(1);
/// DMA messages under way.
const MAX_ASKED: usize = 64;
/// Bytes of BAR reads under way, beyond which no further messages are taken.
const MAX_READING: usize = 4 << 20;
/// Most clocks that are skipped at once.
const LEAP: Clock = QUANTUM * 32;
/// Quanta in which a function that is reset comes to rest.
const RESET_QUANTA: u32 = 64;

/// A read of a BAR that the model has not answered.
struct BarRead {
    header: Header,
    access: RegionAccess,
    data: Vec<u8>,
    /// Packets not answered.
    left: usize,
    deadline: Instant,
}

/// A DMA message that the client has not answered.
struct Asked {
    kind: AskedKind,
    address: u64,
    len: usize,
    deadline: Instant,
}

enum AskedKind {
    /// Tags and lengths of the function's reads, one behind the other.
    Read(Vec<(u32, usize)>),
    Write,
}

/// A message for the client, and the descriptors that go along.
pub type Outgoing = (Vec<u8>, Vec<OwnedFd>);

/// Everything behind the socket.
pub struct Engine<F> {
    function: F,
    port: Port,
    now: Clock,
    /// PCI configuration space.
    pub config: ConfigSpace,
    /// The client's memory.
    pub dma: DmaTable,
    /// Its interrupts.
    pub irqs: Irqs,
    msix: MsixSpec,
    /// The MSI-X table as the client sees it; the function's own says whom we are to tell.
    table: Vec<u8>,
    reads: BTreeMap<u64, BarRead>,
    /// Which read a packet belongs to, and where in its data.
    tags: HashMap<u32, (u64, usize)>,
    next_read: u64,
    next_tag: u32,
    /// What the function has sent and has not been done.
    queue: VecDeque<Tlp>,
    asked: HashMap<u16, Asked>,
    next_id: u16,
    writes_asked: usize,
    /// Unmaps whose answer waits for accesses under way: range and answer.
    unmaps: Vec<(u64, u64, Vec<u8>)>,
    client: Option<Capabilities>,
    pulled: bool,
    /// Messages for the client.
    pub out: Vec<Outgoing>,
    /// Bytes that the function has written to the client's memory and to other devices, and read from there.
    pub transferred: u64,
    /// DMA that failed: outside what is mapped, without permission, or with bus mastering off.
    pub faults: u64,
    /// Function level resets and reset messages.
    pub resets: u64,
}

impl<F: Function> Engine<F> {
    /// Around a function after power-up.
    pub fn new(function: F) -> Self {
        let profile = function.profile();
        let (config, msix) = (ConfigSpace::new(profile), profile.msix);
        let mut engine = Self {
            function,
            port: Port::default(),
            now: 0,
            config,
            dma: DmaTable::default(),
            irqs: Irqs::new(msix.vectors),
            table: vec![0; msix.table_len() as usize],
            msix,
            reads: BTreeMap::new(),
            tags: HashMap::new(),
            next_read: 0,
            next_tag: 0,
            queue: VecDeque::new(),
            asked: HashMap::new(),
            next_id: 0,
            writes_asked: 0,
            unmaps: Vec::new(),
            client: None,
            pulled: false,
            out: Vec::new(),
            transferred: 0,
            faults: 0,
            resets: 0,
        };
        engine.mask_table();
        engine
    }

    /// The model.
    pub fn function(&mut self) -> &mut F {
        &mut self.function
    }

    /// The function is gone for good, as one that was pulled out or has died: BARs read as ones, and it does nothing more. The
    /// client's connection stays, since it stands for the slot.
    pub fn pull(&mut self) {
        self.pulled = true;
        self.queue.clear();
        (self.port.inbox, self.port.outbox) = Default::default();
    }

    /// The function's clock.
    #[must_use]
    pub fn now(&self) -> Clock {
        self.now
    }

    /// A client is there: it has said VERSION.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.client.is_some()
    }

    /// For messages.
    fn name(&self) -> &str {
        &self.function.profile().name
    }

    /// The client is gone, and its memory and interrupts with it. The function keeps its state and reaches nothing.
    pub fn detach(&mut self) {
        self.client = None;
        self.config.stop_bus_master();
        self.dma.clear();
        self.unmaps.clear();
        self.fail_asked(|_| true, "the client is gone");
        self.reads.clear();
        self.tags.clear();
        for vector in 0..self.irqs.count() {
            self.irqs.arm(vector, None);
            self.program(vector);
        }
        self.out.clear();
    }

    /// More messages can be taken.
    pub fn has_room(&self) -> bool {
        self.reads
            .values()
            .map(|read| read.data.len())
            .sum::<usize>()
            < MAX_READING
    }

    /// Nothing is under way that goes on by itself.
    pub fn is_idle(&self) -> bool {
        // What waits for the client's answer goes on when a message comes.
        let stalled = self.queue.is_empty() || !self.asked.is_empty();
        self.pulled
            || self.port.inbox.is_empty()
                && self.port.outbox.is_empty()
                && stalled
                && self.function.is_idle()
    }

    /// Runs the function for a while, and does what it wants.
    ///
    /// # Errors
    /// As [`Function::run`].
    pub fn turn(&mut self) -> std::io::Result<()> {
        let soonest = self.now + QUANTUM;
        let until = match self.function.idle_until() {
            Some(idle) if self.port.inbox.is_empty() && idle < Clock::MAX => {
                (idle.min(self.now + LEAP) + 1).next_multiple_of(QUANTUM)
            }
            _ => soonest,
        };
        self.now = until.max(soonest);
        if self.pulled {
            self.check_time();
            return Ok(());
        }
        self.function.run(self.now, &mut self.port)?;
        self.collect();
        self.transfer();
        self.check_time();
        Ok(())
    }

    fn mask_table(&mut self) {
        self.table.fill(0);
        self.table
            .chunks_exact_mut(16)
            .for_each(|entry| entry[12] = 1);
    }

    /// Resets the function. What it has under way comes to nothing; interrupts stay armed, mappings stay.
    pub fn reset(&mut self) {
        self.resets += 1;
        self.config = ConfigSpace::new(self.function.profile());
        self.mask_table();
        self.fail_asked(|_| true, "the function is reset");
        self.function.reset(self.now, &mut self.port);
        for _ in 0..RESET_QUANTA {
            let until = self.now + QUANTUM;
            if self.function.run(until, &mut self.port).is_err() {
                break;
            }
            self.now = until;
            self.collect();
            // Bus mastering is off, so that nothing reaches memory and every read fails.
            self.transfer();
        }
        (0..self.irqs.count()).for_each(|vector| self.program(vector));
    }

    fn check_time(&mut self) {
        if self.asked.is_empty() && self.reads.is_empty() {
            return;
        }
        let now = Instant::now();
        if self.asked.values().any(|asked| asked.deadline <= now) {
            self.fail_asked(|asked| asked.deadline <= now, "the client does not answer");
        }
        while let Some((id, read)) = self.reads.first_key_value()
            && read.deadline <= now
        {
            let id = *id;
            let access = read.access;
            log::warn!(
                "no answer to a read of {} bytes at {:#x} of BAR{}",
                access.count,
                access.offset,
                access.region
            );
            self.tags.retain(|_, (read, _)| *read != id);
            if let Some(mut read) = self.reads.remove(&id) {
                read.data.fill(0xFF);
                self.answer(&read);
            }
        }
    }
}
