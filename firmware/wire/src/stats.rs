//! What data cores count for each namespace and connection, in packet memory, where the host reads it while the cores run on.
//!
//! Only the core that a place belongs to writes to it, a word at a time. Histograms, errors and what is rare are there at once;
//! bytes, latencies and a connection's commands within a tenth of a second ([`NamespaceStats::units`] and so on), or at once when
//! the core is asked for its [`Counters`](crate::mgmt::Counters). All counters are running totals modulo 2^32 from the
//! moment at which the place was given; who reads them adds up the differences, and often enough: at 100 Gb/s
//! [`NamespaceStats::units`] wraps after three minutes. This format is Sluice's own; its version is the register map's version.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U32};

/// Where it begins in packet memory.
pub const BASE: u32 = 0x66_0000;
/// Bytes in all.
pub const SIZE: u32 = 0xC_0000;

/// Data cores there are places for.
pub const CORES: u32 = 15;
/// Namespaces that a core has places for: as many as a card has.
pub const NAMESPACES: u32 = 64;
/// Connections that a core has places for at most.
pub const MOST_CONNECTIONS: u32 = 256;
/// Connections of all data cores together that there are places for.
pub const CONNECTIONS: u32 = (BASE + SIZE - CONNECTIONS_BASE) / CONNECTION_SIZE;

const DIRECTORY_SIZE: u32 = size_of::<Directory>() as u32;
const NAMESPACE_SIZE: u32 = size_of::<NamespaceStats>() as u32;
const CONNECTION_SIZE: u32 = size_of::<ConnectionStats>() as u32;
const NAMESPACES_BASE: u32 = BASE + CORES * DIRECTORY_SIZE;
const CONNECTIONS_BASE: u32 = NAMESPACES_BASE + CORES * NAMESPACES * NAMESPACE_SIZE;

/// Bytes that [`NamespaceStats::units`] counts in: the smallest block.
pub const UNIT: u32 = 512;
/// log2 of the clocks that [`NamespaceStats::latency`] counts in.
pub const LATENCY_SHIFT: u32 = 8;
/// Card clocks per second.
pub const CLOCKS_PER_SECOND: u32 = 250_000_000;

/// Index of reads in what is counted by direction.
pub const READ: usize = 0;
/// Index of writes.
pub const WRITE: usize = 1;

/// Which of a core's places are given. A place is written before its word here, and is valid as long as that word and its own
/// first one are the same.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Directory {
    /// [`NamespaceStats::nsid`] of each place; 0: never given.
    pub namespaces: [U32; NAMESPACES as usize],
    /// [`ConnectionStats::key`] of each place; 0: never given.
    pub connections: [U32; MOST_CONNECTIONS as usize],
}

/// Where the [`Directory`] of data core `core` (1 and up) lies in packet memory.
#[must_use]
pub const fn directory_at(core: u32) -> u32 {
    BASE + (core - 1) * DIRECTORY_SIZE
}

/// Where namespace place `place` of data core `core` (1 and up) lies in packet memory.
#[must_use]
pub const fn namespace_at(core: u32, place: u32) -> u32 {
    NAMESPACES_BASE + ((core - 1) * NAMESPACES + place) * NAMESPACE_SIZE
}

/// Connections that each of `data_cores` has places for.
#[must_use]
pub const fn connections_per_core(data_cores: u32) -> u32 {
    let share = CONNECTIONS / data_cores;
    if share < MOST_CONNECTIONS {
        share
    } else {
        MOST_CONNECTIONS
    }
}

/// Where connection `index` of data core `core` (1 and up), of `data_cores`, lies in packet memory.
#[must_use]
pub const fn connection_at(core: u32, data_cores: u32, index: u32) -> u32 {
    CONNECTIONS_BASE + ((core - 1) * connections_per_core(data_cores) + index) * CONNECTION_SIZE
}

/// Latencies of commands that succeeded, from the moment at which the core found the command to the handing over of its
/// response to the transmitter, in card clocks: four buckets per octave.
pub type Histogram = [U32; BUCKETS];

/// Buckets of a histogram.
pub const BUCKETS: usize = 88;
/// log2 of the buckets per octave.
const SUB_BITS: u32 = 2;
/// Below this many clocks nothing is told apart: no SSD is that fast.
const LEAST: u32 = 1 << 10;
/// What [`bucket`] takes off, so that `LEAST` gets bucket 0.
const OFFSET: u32 = ((LEAST.ilog2() - SUB_BITS) << SUB_BITS) + (1 << SUB_BITS);

/// Bucket of a latency.
#[inline]
#[must_use]
pub const fn bucket(clocks: u32) -> u32 {
    let clocks = if clocks < LEAST { LEAST } else { clocks };
    // The highest bit of `clocks` and the two after it, 100b to 111b, are what the shift leaves.
    let shift = 31 - SUB_BITS - clocks.leading_zeros();
    (shift << SUB_BITS) + (clocks >> shift) - OFFSET
}

/// Clocks at which bucket `index` ends; the next one begins there. The last one's end is 2^32.
#[must_use]
pub const fn bucket_end(index: usize) -> u64 {
    let sub = index as u64 & 3;
    let octave = index as u32 >> SUB_BITS;
    (5 + sub) << (octave + LEAST.ilog2() - SUB_BITS)
}

/// What a data core did for one namespace.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NamespaceStats {
    /// NSID towards hosts; 0: the place is being given.
    pub nsid: U32,
    /// See [`Owner`].
    pub owner: U32,
    /// NSID on the SSD.
    pub ssd_nsid: U32,
    /// Commands that ended with an error status.
    pub errors: U32,
    /// Commands that succeeded and are not counted elsewhere: Flush, Compare, Write Zeroes.
    pub others: U32,
    /// Dataset Management commands that succeeded.
    pub unmaps: U32,
    /// Bytes read and written, in units of [`UNIT`].
    pub units: [U32; 2],
    /// Sums of the latencies in the histograms, in units of 2^[`LATENCY_SHIFT`] clocks, each rounded.
    pub latency: [U32; 2],
    /// Zero.
    pub reserved: [U32; 2],
    /// Latencies of reads and writes: whose number is that of the commands.
    pub histograms: [Histogram; 2],
}
const _: () = assert!(NAMESPACE_SIZE == 48 + 8 * BUCKETS as u32);

/// Bytes of a [`NamespaceStats`] before its histograms.
pub const NAMESPACE_HEADER: usize = core::mem::offset_of!(NamespaceStats, histograms);

/// Whose a place for a namespace is: subsystem (7:0), SSD (15:8), how often the place was given (30:16, wrapping), and
/// whether the namespace is gone (31): what was under way may still be counted, until the place is given to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Subsystem.
    pub subsystem: u8,
    /// SSD.
    pub ssd: u8,
    /// Counts the times that the place was given.
    pub times: u16,
    /// The namespace was removed.
    pub gone: bool,
}

impl Owner {
    /// As a word.
    #[must_use]
    pub const fn encode(self) -> u32 {
        self.subsystem as u32
            | (self.ssd as u32) << 8
            | (self.times as u32 & 0x7fff) << 16
            | (self.gone as u32) << 31
    }

    /// From a word.
    #[must_use]
    pub const fn decode(word: u32) -> Self {
        Self {
            subsystem: word as u8,
            ssd: (word >> 8) as u8,
            times: (word >> 16) as u16 & 0x7fff,
            gone: word >> 31 != 0,
        }
    }
}

/// What a connection did. It stays when the connection is gone, until another one gets the place.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConnectionStats {
    /// Names the connection: core (31:28), times that the place was given (27:12, wrapping), place (11:0). 0: the place is being
    /// given.
    pub key: U32,
    /// Controller (CNTLID, 15:0) and queue (QID, 31:16); all ones until the connection is a queue.
    pub queue: U32,
    /// See [`ConnectionState`].
    pub state: U32,
    /// Commands that ended with an error status.
    pub errors: U32,
    /// Commands that succeeded and are neither read nor write: admin and Fabrics commands, Flush and its like.
    pub others: U32,
    /// The core's own: when it found the command that waits, in clocks.
    pub found_at: U32,
    /// Reads that succeeded and their bytes in units of [`UNIT`]; then the same of writes.
    pub io: [[U32; 2]; 2],
}
const _: () = assert!(CONNECTION_SIZE == 40);

/// [`ConnectionStats::queue`] of a connection that is no queue yet.
pub const NO_QUEUE: u32 = u32::MAX;

/// What a connection is: subsystem (7:0; FFh discovery), over RDMA (8), open (9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionState {
    /// Subsystem; FFh: discovery, or none yet.
    pub subsystem: u8,
    /// It is a queue pair.
    pub rdma: bool,
    /// It is not gone.
    pub open: bool,
}

impl ConnectionState {
    /// As a word.
    #[must_use]
    pub const fn encode(self) -> u32 {
        self.subsystem as u32 | (self.rdma as u32) << 8 | (self.open as u32) << 9
    }

    /// From a word.
    #[must_use]
    pub const fn decode(word: u32) -> Self {
        Self {
            subsystem: word as u8,
            rdma: word >> 8 & 1 != 0,
            open: word >> 9 & 1 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_four_per_octave_without_gaps() {
        let mut begin = 0;
        for index in 0..BUCKETS {
            let end = bucket_end(index);
            for clocks in [begin, begin + 1, (begin + end) / 2, end - 1] {
                assert_eq!(bucket(clocks as u32), index as u32, "{clocks} clocks");
            }
            if index >= 4 {
                assert_eq!(end, 2 * bucket_end(index - 4), "bucket {index}");
            }
            begin = end;
        }
        assert_eq!(begin, 1 << 32, "the last one ends where 32 bits do");
        assert_eq!((bucket_end(0), bucket_end(3)), (1280, 2048));
    }

    #[test]
    fn places_do_not_overlap_and_lie_in_the_area() {
        for data_cores in 1..=CORES {
            let each = connections_per_core(data_cores);
            assert!(directory_at(data_cores) + DIRECTORY_SIZE <= namespace_at(1, 0));
            // What is counted together is loaded with one row of packet memory.
            let io = core::mem::offset_of!(ConnectionStats, io) as u32;
            assert!((connection_at(data_cores, data_cores, 1) + io).is_multiple_of(8));
            let mut end = namespace_at(data_cores, NAMESPACES - 1) + NAMESPACE_SIZE;
            assert!(end <= CONNECTIONS_BASE);
            for core in 1..=data_cores {
                assert!(connection_at(core, data_cores, 0) >= end);
                end = connection_at(core, data_cores, each - 1) + CONNECTION_SIZE;
            }
            assert!(end <= BASE + SIZE, "{data_cores} data cores");
        }
    }

    #[test]
    fn packed_words_come_back_as_they_were() {
        for gone in [false, true] {
            let owner = Owner {
                subsystem: 7,
                ssd: 3,
                times: 0x7ffe,
                gone,
            };
            assert_eq!(Owner::decode(owner.encode()), owner);
            let state = ConnectionState {
                subsystem: 0xff,
                rdma: gone,
                open: !gone,
            };
            assert_eq!(ConnectionState::decode(state.encode()), state);
        }
    }
}
