//! What a host did wrong, and how a C2HTermReq says so.

use sluice_wire::nvme_tcp::Fes;

/// A fatal error of the host's: the connection ends with a C2HTermReq.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A header field has an impossible value; its offset from the start of the PDU.
    HeaderField(u8),
    /// A PDU, or a piece of data, came where another was due.
    Sequence,
    /// The header digest is wrong; the one received.
    HeaderDigest(u32),
    /// Data outside the range that the R2T asked for.
    DataOutOfRange,
    /// More data in one PDU than MAXH2CDATA, or more in a capsule than the queue takes.
    DataLimit,
    /// A parameter this controller does not support; its offset from the start of the PDU.
    Unsupported(u8),
    /// A TermReq of impossible length: the connection ends without an answer.
    BadTermReq,
}

impl Violation {
    /// No command has an R2T outstanding under this TTAG.
    pub const UNKNOWN_TTAG: Self = Self::HeaderField(10);

    /// Fatal Error Status and Information for the C2HTermReq; `None` if none may be sent.
    #[must_use]
    pub const fn answer(self) -> Option<(Fes, u32)> {
        Some(match self {
            Self::HeaderField(offset) => (Fes::InvalidHeaderField, offset as u32),
            Self::Sequence => (Fes::PduSequence, 0),
            Self::HeaderDigest(received) => (Fes::HeaderDigest, received),
            Self::DataOutOfRange => (Fes::DataOutOfRange, 0),
            Self::DataLimit => (Fes::LimitExceeded, 0),
            Self::Unsupported(offset) => (Fes::UnsupportedParameter, offset as u32),
            Self::BadTermReq => return None,
        })
    }
}
