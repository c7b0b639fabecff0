//! Moves: gathered copies inside packet memory and between it and host memory, with CRC32C on the way.

use crate::{PmAddr, PmSlice};

/// Pieces a move gathers.
pub const MAX_MOVE_SOURCES: usize = 4;

/// Where a move reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveSource {
    /// Pieces of packet memory in order; entries beyond the count are ignored.
    Pm([PmSlice; MAX_MOVE_SOURCES], u8),
    /// Bus address in host memory, and length.
    Host(u64, u32),
}

/// Where a move writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveTarget {
    /// Nowhere: only the CRC is wanted.
    Discard,
    /// Packet memory, any alignment.
    Pm(PmAddr),
    /// Bus address in host memory.
    Host(u64),
}

/// CRC32C handling of a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MoveFlags {
    /// Compute CRC32C over the moved bytes.
    pub crc: bool,
    /// Start a new CRC; otherwise go on from the last move with this `crc_context`.
    pub crc_init: bool,
    /// Write the CRC, final and little-endian, to this place after the data.
    pub crc_to: Option<PmAddr>,
}

/// Work for the mover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MoveJob {
    /// Comes back in the completion.
    pub tag: u16,
    /// What to read; at most 128 KiB in all.
    pub source: MoveSource,
    /// Where to.
    pub target: MoveTarget,
    /// CRC handling.
    pub flags: MoveFlags,
    /// Running CRC to use, 0 to 1,023; each core has its own set.
    pub crc_context: u16,
}

/// A finished move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MoveDone {
    /// Tag of the job.
    pub tag: u16,
    /// CRC32C so far (final form) if one was asked for.
    pub crc: u32,
    /// All bytes were moved. False after a bus error towards host memory.
    pub ok: bool,
}

impl MoveSource {
    /// Bytes to be read.
    #[must_use]
    pub fn len(&self) -> u32 {
        match self {
            Self::Pm(pieces, n) => pieces.iter().take(usize::from(*n)).map(|s| s.len).sum(),
            Self::Host(_, len) => *len,
        }
    }

    /// No bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
