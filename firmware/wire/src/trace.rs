//! What the card's trace writes into host memory: records of frames in a ring, and the status row behind it.
//! Source: docs/card.md, section 8.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Bytes of a row: records begin at multiples of it.
pub const ROW: usize = 16;
/// Smallest ring, in bytes; the register `TRACE_CTRL.order` shifts it.
pub const SMALLEST_RING: usize = 4096;
/// Largest `TRACE_CTRL.order`.
pub const MAX_ORDER: u8 = 12;
/// Most bytes kept of a frame.
pub const MAX_SNAP: u16 = 9216;
/// Nanoseconds of a clock.
pub const NANOS_PER_CLOCK: u64 = 4;

/// Opens every record; the frame's first bytes follow, filled up to a multiple of [`ROW`] with bytes that mean nothing.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Record {
    /// Bytes of the frame that follow.
    pub kept: U16,
    /// Bytes of the frame, without FCS and without the padding that the MAC adds to short ones.
    pub len: U16,
    /// Bit 0: sent, else received. Bit 1: received and dropped by rx. Bits 7:4: why, see [`DROPS`].
    pub flags: u8,
    /// Port of the card.
    pub port: u8,
    /// Frames lost since the start when this was written, bits 15:0.
    pub lost: U16,
    /// When the frame's last beat passed, in clocks since power-on.
    pub clocks: U64,
}
const _: () = assert!(size_of::<Record>() == ROW);

impl Record {
    /// Sent, else received.
    pub const SENT: u8 = 1 << 0;
    /// Dropped by rx.
    pub const DROPPED: u8 = 1 << 1;

    /// The frame was sent by the card.
    #[must_use]
    pub const fn is_sent(&self) -> bool {
        self.flags & Self::SENT != 0
    }

    /// Why rx has dropped the frame, if it has: an index of [`DROPS`], or above it.
    #[must_use]
    pub const fn dropped(&self) -> Option<u8> {
        if self.flags & Self::DROPPED != 0 {
            Some(self.flags >> 4)
        } else {
            None
        }
    }

    /// Bytes of the whole record in the ring.
    #[must_use]
    pub fn bytes(&self) -> usize {
        ROW + usize::from(self.kept.get()).next_multiple_of(ROW)
    }
}

/// Reasons of rx (`rx_drop_e` of the RTL).
pub const DROPS: [&str; 14] = [
    "length",
    "EtherType",
    "IPv4 header",
    "IPv6 header",
    "fragment",
    "checksum",
    "not for this card",
    "PAUSE",
    "no buffer",
    "queue full",
    "TCP or UDP header",
    "overrun",
    "RoCE packet",
    "ICRC",
];

/// Lies behind the ring: how far it is written.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct StatusRow {
    /// Bytes written since the start, wrapping; all of them have arrived.
    pub head: U32,
    /// Frames lost since the start, wrapping.
    pub lost: U32,
    /// Records written since the start, wrapping.
    pub records: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<StatusRow>() == ROW);

/// Records that make no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadRecord {
    /// More bytes kept than the frame has, or than can be kept.
    Kept {
        /// Bytes kept.
        kept: u16,
        /// Bytes of the frame.
        len: u16,
    },
    /// The bytes end within the record.
    CutShort {
        /// Bytes wanted.
        want: usize,
        /// Bytes there.
        got: usize,
    },
}

/// Takes the first record off `bytes`, which it begins; its frame's bytes, and what is left. `None`: nothing is left.
///
/// # Errors
/// [`BadRecord`].
#[allow(
    clippy::type_complexity,
    reason = "a record, its bytes and the rest, taken apart at once"
)]
pub fn next(bytes: &[u8]) -> Result<Option<(Record, &[u8], &[u8])>, BadRecord> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let cut = |want| BadRecord::CutShort {
        want,
        got: bytes.len(),
    };
    let (record, _) = Record::read_from_prefix(bytes).map_err(|_| cut(ROW))?;
    let (kept, len) = (record.kept.get(), record.len.get());
    if kept > len || kept > MAX_SNAP {
        return Err(BadRecord::Kept { kept, len });
    }
    let whole = bytes
        .get(..record.bytes())
        .ok_or_else(|| cut(record.bytes()))?;
    let frame = &whole[ROW..ROW + usize::from(kept)];
    Ok(Some((record, frame, &bytes[whole.len()..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_off_one_by_one_and_impossible_ones_refused() {
        let mut bytes = [0; 64];
        bytes[..16].copy_from_slice(&[17, 0, 60, 0, 0x52, 0, 9, 0, 0x10, 0x20, 0, 0, 0, 0, 0, 1]);
        bytes[16..33].copy_from_slice(&[7; 17]);
        let (record, frame, rest) = next(&bytes).expect("good").expect("one");
        assert_eq!((frame, rest.len()), (&[7; 17][..], 16));
        assert_eq!(
            (record.len.get(), record.is_sent(), record.lost.get()),
            (60, false, 9)
        );
        assert_eq!(
            record.dropped().map(|d| DROPS[usize::from(d)]),
            Some("checksum")
        );
        assert_eq!(record.clocks.get(), 1 << 56 | 0x2010);
        // One of nothing, as a snap length of 0 makes them.
        let (empty, frame, rest) = next(rest).expect("good").expect("one");
        assert_eq!((empty, frame, rest), (Record::default(), &[][..], &[][..]));
        assert_eq!(next(rest), Ok(None));
        assert_eq!(
            next(&bytes[..47]),
            Err(BadRecord::CutShort { want: 48, got: 47 })
        );
        assert_eq!(
            next(&bytes[..7]),
            Err(BadRecord::CutShort { want: 16, got: 7 })
        );
        bytes[0] = 61;
        assert_eq!(next(&bytes), Err(BadRecord::Kept { kept: 61, len: 60 }));
    }
}
