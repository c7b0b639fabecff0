//! What can go wrong with a card, and what to do about it.

use std::time::Duration;

use sluice_device::{BarError, DmaError, IrqError, Trouble};
use sluice_wire::mgmt::{Opcode, Status};

use super::ImageKind;

/// A card that did not do as it should.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CardError {
    /// Registers read as all ones.
    #[error(
        "{name}: the card is gone (registers read as all ones); was it pulled, or has its link failed?"
    )]
    Gone {
        /// The device.
        name: String,
    },
    /// The magic is another.
    #[error("{name}: magic {want:#x} wanted, {got:#x} read; this is not a Sluice card")]
    NotACard {
        /// The device.
        name: String,
        /// What it should be.
        want: u32,
        /// What it is.
        got: u32,
    },
    /// The register map is another.
    #[error(
        "{name}: register map version {want} wanted, the card has {got}; use the driver that came with its build"
    )]
    MapVersion {
        /// The device.
        name: String,
        /// The driver's.
        want: u32,
        /// The card's.
        got: u32,
    },
    /// An image does not fit.
    #[error(
        "{name}: firmware image of 1 to {max} bytes wanted, the one for the {kind} has {got}; was it built for this card?"
    )]
    ImageSize {
        /// The device.
        name: String,
        /// Which image.
        kind: ImageKind,
        /// Its size.
        got: usize,
        /// A core's memory.
        max: usize,
    },
    /// Loading stopped somewhere.
    #[error(
        "{name}: loading the image for the {kind}, the load address should have reached {want:#x}, but is {got:#x}; reset the card and try again"
    )]
    Load {
        /// The device.
        name: String,
        /// Which image.
        kind: ImageKind,
        /// End of the image.
        want: usize,
        /// `LOAD_ADDR`.
        got: usize,
    },
    /// The firmware says that it failed.
    #[error(
        "{name}: the firmware stopped with status {status} (watchdogs expired: {watchdogs:#x}); its log says why"
    )]
    Firmware {
        /// The device.
        name: String,
        /// `FW_STATUS`.
        status: u32,
        /// `WATCHDOG`.
        watchdogs: u32,
    },
    /// The firmware does not get ready.
    #[error(
        "{name}: waited {limit:?} for firmware status 1 (ready), but it is {status} (watchdogs expired: {watchdogs:#x}); are the images right for this card?"
    )]
    NotReady {
        /// The device.
        name: String,
        /// How long.
        limit: Duration,
        /// `FW_STATUS`.
        status: u32,
        /// `WATCHDOG`.
        watchdogs: u32,
    },
    /// Neither slot of the flash has firmware that the card may start.
    #[error(
        "{name}: nothing in the card's flash can be started; slot A: {}, slot B: {}; load firmware from the host, then flash a package that this card takes",
        super::flash::refusal(refused[0].into()), super::flash::refusal(refused[1].into())
    )]
    NothingToStart {
        /// The device.
        name: String,
        /// Why, by slot: one of [`sluice_wire::mgmt::refusals`].
        refused: [u8; 2],
    },
    /// A package that cannot be for this card.
    #[error("{name}: the package was not sent to the card: {reason}")]
    Package {
        /// The device.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What a trace was asked to be cannot be.
    #[error("{name}: trace: {what}: {want} wanted, {got} came")]
    TraceOption {
        /// The device.
        name: String,
        /// Which of its options.
        what: &'static str,
        /// What it may be.
        want: String,
        /// What it is.
        got: u64,
    },
    /// Nothing to trace with.
    #[error("{name}: the card's hardware has no trace; a newer build of it has")]
    NoTrace {
        /// The device.
        name: String,
    },
    /// There is one already.
    #[error("{name}: a trace is running already; stop it first")]
    TraceRuns {
        /// The device.
        name: String,
    },
    /// There is none.
    #[error("{name}: no trace is running; start one first")]
    NoTraceRuns {
        /// The device.
        name: String,
    },
    /// The card cannot reach the ring.
    #[error(
        "{name}: the trace has ended: the card could not read its ring at bus address {ring:#x}; is bus mastering on, and the IOMMU's mapping in place?"
    )]
    TraceBus {
        /// The device.
        name: String,
        /// Where it was.
        ring: u64,
    },
    /// It does not start, or does not end.
    #[error(
        "{name}: waited {limit:?} for the trace to {what}, its status is {status:#x}; reset the card"
    )]
    TraceStuck {
        /// The device.
        name: String,
        /// `start` or `end`.
        what: &'static str,
        /// How long.
        limit: Duration,
        /// `TRACE_STATUS`.
        status: u32,
    },
    /// What is in the ring makes no sense.
    #[error("{name}: the trace's ring makes no sense at byte {at:#x}: {reason}; it was stopped")]
    TraceRing {
        /// The device.
        name: String,
        /// Byte counted from the trace's start.
        at: u32,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be taken over.
    #[error("{name}: {what} wanted of a running card to take it over; it must be booted")]
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
    /// A command was refused.
    #[error("{name}: {opcode:?} of {index} was refused: {}", reason(*status, *result))]
    Refused {
        /// The device.
        name: String,
        /// Which.
        opcode: Opcode,
        /// What it was about.
        index: u32,
        /// How.
        status: Status,
        /// First result word.
        result: u32,
    },
    /// A completion that says nothing known.
    #[error(
        "{name}: {opcode:?} ended with status {status}, which this driver does not know; versions differ"
    )]
    UnknownStatus {
        /// The device.
        name: String,
        /// Which.
        opcode: Opcode,
        /// The code.
        status: u16,
    },
    /// A command was not completed.
    #[error(
        "{name}: {opcode:?} was not completed within {limit:?} (firmware status {status}, watchdogs expired: {watchdogs:#x})"
    )]
    Silent {
        /// The device.
        name: String,
        /// Which.
        opcode: Opcode,
        /// How long it had.
        limit: Duration,
        /// `FW_STATUS`.
        status: u32,
        /// `WATCHDOG`.
        watchdogs: u32,
    },
    /// The answer does not hold together.
    #[error("{name}: {opcode:?} answered {got}, which cannot be (at most {max}); versions differ")]
    Answer {
        /// The device.
        name: String,
        /// Which.
        opcode: Opcode,
        /// What came.
        got: u32,
        /// Largest that makes sense.
        max: u32,
    },
    /// A BAR could not be reached.
    #[error(transparent)]
    Bar(#[from] BarError),
    /// Host memory could not be had.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// Interrupts could not be had.
    #[error(transparent)]
    Irq(#[from] IrqError),
}

fn reason(status: Status, result: u32) -> String {
    match status {
        Status::BadField => format!("field at byte {result} of its data is out of range"),
        Status::Full => "the card has no room for another".into(),
        Status::Exists => "there is one already".into(),
        Status::Missing => "there is none".into(),
        Status::InUse => "it is in use".into(),
        Status::NoFlash => "the card has no flash".into(),
        Status::PackageRefused => super::flash::refusal(result).into(),
        Status::OutOfOrder => "not now; the order is begin, write, verify, activate".into(),
        Status::NotConfirmed => {
            "the running firmware is on trial: confirm it, or roll back, before it is replaced"
                .into()
        }
        Status::NotFromFlash => {
            "the running firmware was loaded by the host, there is nothing to confirm or go back to"
                .into()
        }
        Status::KeyRefused => super::flash::key_refusal(result).into(),
        Status::FlashFailed if result == u32::MAX => {
            "the flash chip does not answer as it should".into()
        }
        Status::FlashFailed => format!("the flash is worn out at {result:#x}"),
        Status::FuseFailed => {
            "done, but the fuses could not be burnt: their counters are at their end".into()
        }
        other => format!("{other:?}"),
    }
}
