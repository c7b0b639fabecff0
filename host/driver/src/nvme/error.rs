//! What can go wrong with an SSD, and what to do about it.

use std::time::Duration;

use sluice_device::{BarError, DmaError, IrqError, Trouble};
use sluice_wire::nvme::Status;

/// An SSD that did not do as it should.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SsdError {
    /// Registers read as all ones.
    #[error(
        "{name}: the SSD is gone (all ones while {doing}); was it pulled, or has its link failed?"
    )]
    Gone {
        /// The device.
        name: String,
        /// What was being done.
        doing: &'static str,
    },
    /// CSTS.CFS.
    #[error("{name}: the controller reports a fatal status (CSTS {csts:#x}); reset or replace it")]
    Fatal {
        /// The device.
        name: String,
        /// The register.
        csts: u32,
    },
    /// A wait ran out.
    #[error(
        "{name}: waited {limit:?} for {what}, but CSTS is still {csts:#x}; power-cycle the SSD"
    )]
    NotInTime {
        /// The device.
        name: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
        /// The register.
        csts: u32,
    },
    /// Not the NVM command set.
    #[error(
        "{name}: the controller does not offer the NVM command set (CAP.CSS {css:#x}); it is not a usable SSD"
    )]
    NoNvm {
        /// The device.
        name: String,
        /// CAP.CSS.
        css: u8,
    },
    /// Pages are too large.
    #[error(
        "{name}: memory pages of 4096 bytes wanted, but the smallest this controller takes are {min} bytes"
    )]
    PageSize {
        /// The device.
        name: String,
        /// Smallest page.
        min: u64,
    },
    /// No such queue.
    #[error("{name}: I/O queue {want} wanted, but the controller grants 1 to {granted}")]
    Queues {
        /// The device.
        name: String,
        /// Asked for.
        want: u16,
        /// Granted.
        granted: u16,
    },
    /// No such depth.
    #[error("{name}: a queue of {want} entries wanted, but this controller takes 2 to {max}")]
    QueueEntries {
        /// The device.
        name: String,
        /// Asked for.
        want: u16,
        /// Deepest.
        max: u32,
    },
    /// A command failed.
    #[error("{name}: {command} failed with status {status:?}")]
    Command {
        /// The device.
        name: String,
        /// Which.
        command: &'static str,
        /// How.
        status: Status,
    },
    /// More data than a command may have.
    #[error("{name}: 0 to {max} bytes of data in multiples of 4 wanted, {got} came")]
    DataLength {
        /// The device.
        name: String,
        /// Asked for.
        got: usize,
        /// Most.
        max: usize,
    },
    /// A command that would break the data path, or never come back.
    #[error("{name}: admin command {opcode:#04x} is not passed through: it {why}")]
    Forbidden {
        /// The device.
        name: String,
        /// Its opcode.
        opcode: u8,
        /// What it would do, and whether it can be forced.
        why: &'static str,
    },
    /// It cannot do that.
    #[error("{name}: it does not support {what}")]
    Unsupported {
        /// The device.
        name: String,
        /// What.
        what: &'static str,
    },
    /// An argument is out of range.
    #[error("{name}: {what}: {want} wanted, {got} came")]
    Argument {
        /// The device.
        name: String,
        /// Which.
        what: &'static str,
        /// What is allowed.
        want: String,
        /// What came.
        got: String,
    },
    /// It cannot be taken over.
    #[error("{name}: {what} wanted of a running SSD to take it over; it must be reset")]
    NotRunning {
        /// The device.
        name: String,
        /// What is not there.
        what: &'static str,
    },
    /// The system says that something is wrong with the device.
    #[error("{name}: {trouble}")]
    Trouble {
        /// The device.
        name: String,
        /// What.
        trouble: Trouble,
    },
    /// A command was not completed.
    #[error("{name}: {command} was not completed within {limit:?}; reset the controller")]
    Silent {
        /// The device.
        name: String,
        /// Which.
        command: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// BAR0 could not be reached.
    #[error(transparent)]
    Bar(#[from] BarError),
    /// Host memory could not be had.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// Interrupts could not be had.
    #[error(transparent)]
    Irq(#[from] IrqError),
}

impl SsdError {
    /// The SSD is not there any more, so it cannot write either.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}
