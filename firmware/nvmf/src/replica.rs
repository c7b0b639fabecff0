//! The namespace table as every data core holds it, and the message that changes it.

use crate::{MAX_NSID, NAMESPACES, SUBSYSTEMS};

/// What an I/O command needs to know of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamespaceEntry {
    /// First block on the SSD.
    pub first_block: u64,
    /// Blocks; `first_block + blocks` does not overflow.
    pub blocks: u64,
    /// NSID on the SSD.
    pub ssd_nsid: u32,
    /// SSD number.
    pub ssd: u8,
    /// log2 of the block size, 9 or 12.
    pub shift: u8,
    /// See [`NamespaceEntry::READ_ONLY`] and its neighbours.
    pub flags: u8,
}

impl NamespaceEntry {
    /// Writes are refused.
    pub const READ_ONLY: u8 = 1 << 0;
    /// Dataset Management works.
    pub const DSM: u8 = 1 << 1;
    /// Write Zeroes works.
    pub const WRITE_ZEROES: u8 = 1 << 2;
    /// Compare works.
    pub const COMPARE: u8 = 1 << 3;
    /// The SSD is gone: every command fails.
    pub const LOST: u8 = 1 << 7;

    /// In a place that nothing names.
    pub(crate) const NONE: Self = Self {
        first_block: 0,
        blocks: 0,
        ssd_nsid: 0,
        ssd: 0,
        shift: 0,
        flags: 0,
    };
}

/// Where each namespace lies, by subsystem and NSID - 1: its place and one; 0 if there is no such namespace. So an empty index
/// is all zeros, and costs an image of the firmware nothing.
pub(crate) type Index = [[u8; MAX_NSID as usize]; SUBSYSTEMS];
const _: () = assert!(NAMESPACES < u8::MAX as usize);

/// Of an index of which nothing is used.
pub(crate) const EMPTY_INDEX: Index = [[UNUSED; MAX_NSID as usize]; SUBSYSTEMS];

/// Marks an unused place in the index.
pub(crate) const UNUSED: u8 = 0;

/// Namespaces of all subsystems.
pub struct NamespaceTable {
    index: Index,
    entries: [NamespaceEntry; NAMESPACES],
}

impl NamespaceTable {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            index: EMPTY_INDEX,
            entries: [NamespaceEntry::NONE; NAMESPACES],
        }
    }

    /// The namespace `nsid` of `subsystem`, in a few instructions.
    #[inline]
    #[must_use]
    pub fn get(&self, subsystem: u8, nsid: u32) -> Option<&NamespaceEntry> {
        self.find(subsystem, nsid).map(|(_, entry)| entry)
    }

    /// The same with its place, below [`NAMESPACES`], which it keeps as long as it is there.
    #[inline]
    #[must_use]
    pub fn find(&self, subsystem: u8, nsid: u32) -> Option<(u8, &NamespaceEntry)> {
        let place = *self
            .index
            .get(usize::from(subsystem))?
            .get(nsid.wrapping_sub(1) as usize)?;
        let place = place.checked_sub(1)?;
        Some((place, self.entries.get(usize::from(place))?))
    }

    /// Takes a change over. An update with impossible numbers is ignored.
    pub fn apply(&mut self, update: &NamespaceUpdate) {
        let Some(row) = self.index.get_mut(usize::from(update.subsystem)) else {
            return;
        };
        let Some(place) = row.get_mut(update.nsid.wrapping_sub(1) as usize) else {
            return;
        };
        match (
            update.entry,
            self.entries.get_mut(usize::from(update.place)),
        ) {
            (Some(entry), Some(slot)) => {
                *slot = entry;
                *place = update.place + 1;
            }
            _ => *place = UNUSED,
        }
    }
}

impl Default for NamespaceTable {
    fn default() -> Self {
        Self::new()
    }
}

/// A change to the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamespaceUpdate {
    /// Subsystem.
    pub subsystem: u8,
    /// Where the entry lies in every core's table.
    pub place: u8,
    /// NSID, 1 to [`MAX_NSID`].
    pub nsid: u32,
    /// The new content; `None`: the namespace is gone.
    pub entry: Option<NamespaceEntry>,
}

impl NamespaceUpdate {
    /// As one mailbox message. Word 0 is left 0 for the application's own tag.
    #[must_use]
    pub fn encode(&self) -> [u32; 8] {
        let e = self.entry.unwrap_or(NamespaceEntry::NONE);
        let present = u32::from(self.entry.is_some()) << 31;
        [
            0,
            u32::from(self.subsystem)
                | u32::from(self.place) << 8
                | (self.nsid & 0x7fff) << 16
                | present,
            u32::from(e.ssd) | u32::from(e.shift) << 8 | u32::from(e.flags) << 16,
            e.ssd_nsid,
            e.first_block as u32,
            (e.first_block >> 32) as u32,
            e.blocks as u32,
            (e.blocks >> 32) as u32,
        ]
    }

    /// From a mailbox message; word 0 is ignored.
    #[must_use]
    pub fn decode(mail: &[u32; 8]) -> Self {
        let [_, place, ssd, ssd_nsid, first_low, first_high, low, high] = *mail;
        let entry = NamespaceEntry {
            first_block: u64::from(first_low) | u64::from(first_high) << 32,
            blocks: u64::from(low) | u64::from(high) << 32,
            ssd_nsid,
            ssd: ssd as u8,
            shift: (ssd >> 8) as u8,
            flags: (ssd >> 16) as u8,
        };
        Self {
            subsystem: place as u8,
            place: (place >> 8) as u8,
            nsid: place >> 16 & 0x7fff,
            entry: (place >> 31 != 0).then_some(entry),
        }
    }
}
