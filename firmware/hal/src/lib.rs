//! What the firmware sees of the card: packet memory, engines, doorbells, mailboxes and the clock.
//!
//! One trait, [`Hal`], stands between the firmware application and the hardware. The RV32 image implements it
//! over memory-mapped registers, the functional card model over plain memory, so the same application runs on both.
//! The programmer's model behind it is `docs/card.md`. Nothing here knows a protocol.
#![no_std]
#![forbid(unsafe_code)]

pub mod flash;
pub mod layout;
mod mover;
pub mod roce;
mod rx;
mod tx;

pub use mover::{MAX_MOVE_SOURCES, MoveDone, MoveFlags, MoveJob, MoveSource, MoveTarget};
pub use rx::{BufId, Rx, RxDesc, RxFlags};
pub use tx::{MAX_GATHER, RawChecksum, RawJob, TcpJob, TcpOverrides, TxJob};

/// Byte offset into packet memory (BAR2). Not an address a core may dereference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct PmAddr(pub u32);

impl PmAddr {
    /// `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u32) -> Self {
        Self(self.0 + bytes)
    }
}

/// A run of bytes in packet memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PmSlice {
    /// First byte.
    pub addr: PmAddr,
    /// Length in bytes.
    pub len: u32,
}

impl PmSlice {
    /// A run of `len` bytes at `addr`.
    #[must_use]
    pub const fn new(addr: PmAddr, len: u32) -> Self {
        Self { addr, len }
    }

    /// The first `at` bytes and the rest; `at` is clamped to the length.
    #[must_use]
    pub fn split(self, at: u32) -> (Self, Self) {
        let at = at.min(self.len);
        (
            Self::new(self.addr, at),
            Self::new(self.addr.plus(at), self.len - at),
        )
    }
}

/// Microseconds since the card started, or, with a live peer attached to a simulation, in that peer's time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// `us` microseconds later, saturating.
    #[must_use]
    pub const fn after(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// Microseconds from `earlier` to `self`; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A core of the card. Core 0 is the control core, 1 and up are data cores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct CoreId(pub u8);

impl CoreId {
    /// The core that owns controllers, configuration and everything that is not TCP.
    pub const CONTROL: Self = Self(0);
}

/// The engine's queue is full; nothing was taken. Try again in a later pass of the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

/// One mailbox message: eight words, meaning given by the application.
pub type Mail = [u32; 8];

/// What a core is doing, for the per-phase clock counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Polling and finding nothing.
    Idle = 0,
    /// Taking receive descriptors.
    Rx = 1,
    /// TCP, ARP, ICMP.
    Tcp = 2,
    /// NVMe/TCP PDUs.
    Pdu = 3,
    /// Controller: commands checked, admin commands executed.
    Controller = 4,
    /// SSD queues.
    Ssd = 5,
    /// Transmit jobs.
    Tx = 6,
    /// Mailboxes, host commands, timers.
    Other = 7,
}

/// A doorbell slot of the pcie engine: a bus address that the control core has registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoorbellSlot(pub u8);

/// Doorbell slots on the card.
pub const DOORBELL_SLOTS: usize = 64;

/// The host driver's queue pair to this card, as the driver wrote it into BAR0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostQueue {
    /// The driver has filled in the rest.
    pub enabled: bool,
    /// Bus address of the submission queue (64-byte entries).
    pub sq: u64,
    /// Bus address of the completion queue (16-byte entries).
    pub cq: u64,
    /// Entries in each.
    pub entries: u16,
    /// Submission tail the driver last rang.
    pub sq_tail: u16,
    /// Bus address at which devices reach this card's packet memory.
    pub pm_bus: u64,
}

/// What the firmware needs from the card under it. Every call returns at once.
pub trait Hal {
    /// This core.
    fn core(&self) -> CoreId;
    /// All cores, the control core included; at least 2.
    fn cores(&self) -> u8;
    /// Time now; never goes back.
    fn now(&self) -> Micros;
    /// The card's clock counter, wrapping: 250 per microsecond of the card's own, whatever [`Hal::now`] follows. An
    /// implementation without such a counter makes it of the microseconds.
    #[inline]
    fn clocks(&self) -> u32 {
        (self.now().0 as u32).wrapping_mul(250)
    }
    /// 32 bits from the card's entropy source.
    fn random(&mut self) -> u32;

    /// Takes the oldest receive descriptor. Its buffer is the core's until [`Hal::rx_free`].
    fn rx_next(&mut self) -> Option<Rx>;
    /// Gives a frame buffer back to the rx engine.
    fn rx_free(&mut self, buf: BufId);

    /// Copies from packet memory; any alignment.
    fn pm_read(&mut self, at: PmAddr, into: &mut [u8]);
    /// Copies into packet memory; any alignment. Visible to jobs and doorbells posted afterwards.
    fn pm_write(&mut self, at: PmAddr, from: &[u8]);
    /// Reads one little-endian word; `at` is a multiple of 4.
    fn pm_read32(&mut self, at: PmAddr) -> u32;
    /// Writes one little-endian word; `at` is a multiple of 4.
    fn pm_write32(&mut self, at: PmAddr, value: u32);

    /// Queues a transmit job. Jobs of one core are sent in order.
    ///
    /// # Errors
    /// [`Busy`] when the job queue is full.
    fn tx_post(&mut self, job: &TxJob) -> Result<(), Busy>;
    /// [`Hal::tx_post`] for a RoCE job.
    ///
    /// # Errors
    /// [`Busy`] when the job queue is full.
    fn tx_post_roce(&mut self, job: &roce::RoceJob) -> Result<(), Busy> {
        self.tx_post(&TxJob::Roce(*job))
    }
    /// Jobs of this core whose packet memory the tx engine has finished reading, counted from 0, wrapping.
    fn tx_done(&mut self) -> u32;

    /// Queues a move. Moves of one core are executed and completed in order.
    ///
    /// # Errors
    /// [`Busy`] when the job queue is full.
    fn move_post(&mut self, job: &MoveJob) -> Result<(), Busy>;
    /// Takes the oldest completion of a move.
    fn move_done(&mut self) -> Option<MoveDone>;

    /// Writes `value` to the bus address registered for `slot`, after all this core wrote before.
    fn doorbell(&mut self, slot: DoorbellSlot, value: u32);
    /// Registers the bus address of `slot`. Control core only.
    fn doorbell_map(&mut self, slot: DoorbellSlot, bus: u64);

    /// Sends a message to another core (or to itself). Messages between two cores stay in order.
    ///
    /// # Errors
    /// [`Busy`] when that core's mailbox is full.
    fn mail_send(&mut self, to: CoreId, mail: &Mail) -> Result<(), Busy>;
    /// Takes the oldest message.
    fn mail_recv(&mut self) -> Option<Mail>;

    /// CRC32C of a few header bytes, from the core's own CRC unit.
    fn crc32c(&mut self, bytes: &[u8]) -> u32;

    /// The host driver's queue pair. Control core only.
    fn host_queue(&mut self) -> HostQueue;
    /// Raises MSI-X vector `vector` towards the host driver.
    fn irq(&mut self, vector: u16);
    /// Publishes the firmware's state to BAR0: 0 starting, 1 ready, 2 and up failed.
    fn set_status(&mut self, status: u32);
    /// Sends flow-hash bucket `bucket` (0 to 127) to `core`. Control core only.
    fn steer(&mut self, bucket: u8, core: CoreId);

    /// Flash and fuses, if the card has them. Control core only.
    fn flash(&mut self) -> Option<flash::Storage<'_>> {
        None
    }

    /// Marks the phase the core enters, for the clock counters.
    fn phase(&mut self, phase: Phase);
    /// Tells the watchdog that this core is alive.
    fn kick_watchdog(&mut self);
}
