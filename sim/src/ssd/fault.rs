//! Faults to be injected, and what the SSD counted.

use sluice_wire::nvme::{Sqe, Status};

use crate::fabric::Clock;

/// A command as an injector sees it, when it has been fetched.
#[derive(Debug)]
pub struct Seen<'a> {
    /// When.
    pub clock: Clock,
    /// Submission queue; 0 is the admin queue.
    pub queue: u16,
    /// The command.
    pub command: &'a Sqe,
}

/// What is to go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The command is not executed and ends with this status.
    Status(Status),
    /// It takes so many clocks longer.
    Delay(Clock),
    /// It is executed, but its completion never comes (an Abort or a reset ends it).
    Hang,
    /// Bit 0 of the first byte read is flipped.
    Corrupt,
    /// Its completion comes twice.
    Duplicate,
    /// Before its completion comes one with this command identifier.
    Phantom(u16),
    /// The controller reports a fatal status and stops.
    Fatal,
    /// The SSD is pulled out.
    Vanish,
}

/// Decides for every command, in the order in which they are fetched.
pub type Injector = Box<dyn FnMut(&Seen<'_>) -> Option<Fault> + Send>;

/// What an SSD counted since it was built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Admin commands fetched.
    pub admin: u64,
    /// I/O commands fetched.
    pub io: u64,
    /// Read commands done, and their bytes.
    pub reads: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Write commands done.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Flush commands done.
    pub flushes: u64,
    /// Commands that ended with an error.
    pub errors: u64,
    /// Completions written.
    pub completions: u64,
    /// Times a completion had to wait because its queue was full.
    pub queue_full: u64,
    /// MSI-X messages sent.
    pub interrupts: u64,
    /// Reads from memory that failed.
    pub bus_errors: u64,
    /// Writes to doorbells that do not exist, or of values that make no sense.
    pub bad_doorbells: u64,
    /// Writes to registers that were ignored: read-only, unknown, or not a whole word.
    pub bad_writes: u64,
    /// Controller resets by CC.EN.
    pub resets: u64,
    /// Faults injected.
    pub faults: u64,
    /// Most I/O commands worked on at once.
    pub deepest: u64,
}
