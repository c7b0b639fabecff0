//! The controller's side of one NVMe/TCP connection, without the bytes of its data: a machine that is told of the
//! stream's header bytes, says which of the following bytes are payload, and checks everything in between.
//! Source: NVMe TCP Transport Specification 1.1. It knows no TCP, no queue, no time and no TLS.
//!
//! The caller's loop, for a stream of which `avail` bytes are in order:
//!
//! ```
//! # use sluice_nvme_tcp::*; use sluice_wire::crc32c::crc32c;
//! # fn take(into: &mut [u8]) -> usize { 0 }
//! # let limits = Limits::default();
//! let mut session = Session::new(&limits);
//! # let mut out = PduBuf::new();
//! loop {
//!     let step = match session.want() {
//!         // Copy the next stream bytes, all or a part; they count as consumed.
//!         Want::Header(into) => { let n = take(into); if n == 0 { break } session.filled(n, crc32c) }
//!         // The next `left` bytes are payload of what was announced last: move as many as there are.
//!         Want::Data { left } => session.moved(left),
//!         Want::Closed => break,
//!     };
//!     match step {
//!         Step::More => {}
//!         Step::Event(Event::IcReq) => { let _len = session.ic_resp(&mut out); }
//!         Step::Event(_) => { /* Command, H2cData, DataDone, HostTerminated */ }
//!         Step::Fatal(violation) => { let _len = session.terminate(violation, &mut out); }
//!     }
//! }
//! ```
//!
//! What is left to the caller, because only it knows:
//! - finding the [`WriteTransfer`] of an [`Event::H2cData`] by its TTAG ([`Violation::UNKNOWN_TTAG`] if there is none)
//!   and asking [`WriteTransfer::check`];
//! - comparing the data digest in [`Event::DataDone`] with the mover's CRC: a mismatch fails that command with
//!   Transient Transport Error and the connection lives (section 3.5);
//! - SUCCESS in C2HData only if the host disabled submission queue flow control;
//! - closing TCP some seconds after a TermReq if the host does not.
//!
//! Deliberate choices: reserved bits and fields are ignored, as the standard lets a receiver; PDO and DDGSTF are ignored
//! in a PDU without data; one R2T per command is outstanding at most, which every MAXR2T allows.
#![no_std]
#![forbid(unsafe_code)]

mod answer;
mod blame;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod session;
mod violation;
mod write;

pub use answer::{C2H_HEADER_MAX, C2hEnd, PduBuf, RESPONSE_MAX};
pub use session::{Event, Session, Step, Want};
pub use violation::Violation;
pub use write::{H2cData, R2tRange, WriteTransfer};

/// What this controller grants its hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// MAXH2CDATA: most data in one H2CData, bytes; at least 4,096 and a multiple of 4.
    pub max_h2c_data: u32,
    /// In-capsule data taken on I/O queues, bytes: (IOCCSZ × 16) − 64 of Identify Controller.
    pub in_capsule_io: u32,
    /// In-capsule data taken on the admin queue, bytes; 8,192 by the standard.
    pub in_capsule_admin: u32,
    /// CPDA: alignment wanted for data from the host, dwords, zero-based; 0 to 31.
    pub cpda: u8,
    /// Header digests if the host asks for them.
    pub header_digest: bool,
    /// Data digests if the host asks for them.
    pub data_digest: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_h2c_data: 128 << 10,
            in_capsule_io: 16 << 10,
            in_capsule_admin: sluice_wire::nvme_tcp::ADMIN_IN_CAPSULE,
            cpda: 0,
            header_digest: true,
            data_digest: true,
        }
    }
}

/// The submission queue entry of an [`Event::Command`] as bytes. It comes as words because an RV32 core loads those at once,
/// while it has to load unaligned bytes one by one.
#[must_use]
pub fn sqe_bytes(words: &[u32; 16]) -> &[u8; 64] {
    zerocopy::transmute_ref!(words)
}
