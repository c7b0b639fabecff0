//! Commands that wait before anything is held for them: writes whose data the host must be asked for, first in, first out
//! for each connection. 32 bytes of each lie in packet memory.
//!
//! Without it such a command would have to wait in the TCP stream, and with it everything behind it: the data of writes that
//! were asked for earlier, among them (`docs/decisions/002-who-waits.md`).

use sluice_hal::layout::BACKLOG_ENTRY;
use sluice_hal::{Hal, PmAddr};
use zerocopy::IntoBytes;

/// No entry.
const NONE: u16 = u16::MAX;
/// SGL descriptor: transport data block (NVMe/TCP transport, section 3.3.2.1).
const SGL_TRANSPORT: u32 = 0x5a << 24;
/// Place of an entry's successor, in bytes.
const NEXT: u32 = 28;

/// One connection's commands.
#[derive(Clone, Copy)]
pub struct Queue {
    /// Both meaningless while there is no command.
    head: u16,
    tail: u16,
    pub len: u16,
}

impl Queue {
    pub const EMPTY: Self = Self {
        head: 0,
        tail: 0,
        len: 0,
    };

    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A core's entries.
pub struct Backlog {
    base: PmAddr,
    entries: u16,
    /// Entries from here on were never used.
    fresh: u16,
    /// Entries given back, chained.
    free: u16,
    /// Commands waiting, of all connections.
    waiting: u16,
}

impl Backlog {
    /// Before [`Backlog::start`].
    pub const fn new() -> Self {
        Self {
            base: PmAddr(0),
            entries: 0,
            fresh: 0,
            free: 0,
            waiting: 0,
        }
    }

    /// Gives the backlog its part of packet memory.
    pub fn start(&mut self, base: PmAddr, entries: u16) {
        self.base = base;
        self.entries = entries.min(NONE - 1);
        self.free = NONE;
    }

    /// Commands waiting, of all connections.
    #[inline]
    pub const fn waiting(&self) -> u16 {
        self.waiting
    }

    /// Appends a command whose data are to be asked for, and when it was found. False if there is no place.
    pub fn push<H: Hal>(
        &mut self,
        queue: &mut Queue,
        sqe: &[u32; 16],
        found_at: u32,
        hal: &mut H,
    ) -> bool {
        let entry = if self.free != NONE {
            let entry = self.free;
            self.free = hal.pm_read32(self.at(entry).plus(NEXT)) as u16;
            entry
        } else if self.fresh < self.entries {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return false;
        };
        let none = u32::from(NONE).to_le();
        let found_at = found_at.to_le();
        // Word 13 has hints alone (NVM, section 3.2), which no SSD is told.
        let words = [
            sqe[0], sqe[1], sqe[8], sqe[10], sqe[11], sqe[12], found_at, none,
        ];
        hal.pm_write(self.at(entry), words.as_bytes());
        if queue.is_empty() {
            queue.head = entry;
        } else {
            hal.pm_write32(self.at(queue.tail).plus(NEXT), entry.into());
        }
        queue.tail = entry;
        queue.len += 1;
        self.waiting += 1;
        true
    }

    /// The first command, as it came, and when; the queue must not be empty. What says where it lies goes to
    /// [`Backlog::drop_first`].
    pub fn first<H: Hal>(&self, queue: &Queue, hal: &mut H) -> ([u32; 16], u32, u16) {
        let mut words = [0u32; 8];
        hal.pm_read(self.at(queue.head), words.as_mut_bytes());
        let [head, nsid, len, cdw10, cdw11, cdw12, found_at, next] = words;
        let mut sqe = [0; 16];
        (sqe[0], sqe[1], sqe[8]) = (head, nsid, len);
        sqe[9] = SGL_TRANSPORT.to_le();
        (sqe[10], sqe[11], sqe[12]) = (cdw10, cdw11, cdw12);
        (sqe, u32::from_le(found_at), u32::from_le(next) as u16)
    }

    /// Takes the first command out; `next` is what [`Backlog::first`] gave beside it.
    pub fn drop_first<H: Hal>(&mut self, queue: &mut Queue, next: u16, hal: &mut H) {
        hal.pm_write32(self.at(queue.head).plus(NEXT), self.free.into());
        self.free = queue.head;
        queue.head = next;
        queue.len -= 1;
        self.waiting -= 1;
    }

    /// Drops all of a connection's commands.
    pub fn clear<H: Hal>(&mut self, queue: &mut Queue, hal: &mut H) {
        if queue.is_empty() {
            return;
        }
        hal.pm_write32(self.at(queue.tail).plus(NEXT), self.free.into());
        self.free = queue.head;
        self.waiting -= queue.len;
        *queue = Queue::EMPTY;
    }

    #[inline]
    fn at(&self, entry: u16) -> PmAddr {
        self.base.plus(u32::from(entry) * BACKLOG_ENTRY)
    }
}
