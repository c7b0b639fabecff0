//! One I/O queue pair of an SSD, driven by one data core. Both queues lie in packet memory; the SSD fetches from and
//! writes to them over the bus, and the core rings its doorbells.
//!
//! Per pass of the main loop: [`QueuePair::submit`] any number of commands, [`QueuePair::poll`] until `None`, then
//! [`QueuePair::flush`] once, which rings each doorbell at most once. [`QueuePair::overdue`] tells when the SSD has been
//! silent for too long; its commands stay in flight (it may still write into their pages) until the host driver has
//! stopped the SSD, and then [`QueuePair::fail_next`] hands them back.
//!
//! The number of commands in flight is below the number of entries, so neither queue can overflow and the submission
//! queue head that the SSD reports is not needed. All that matters of a completion lies in its last word, read at once.

use sluice_hal::{DoorbellSlot, Hal, Micros, PmAddr};
use sluice_wire::mgmt::QueuePlace;
use sluice_wire::nvme::{NvmOpcode, Status};

use crate::pages::Run;
use crate::prp::PmBus;

/// End of the list of commands in flight.
const NONE: u16 = u16::MAX;

/// A command for an SSD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Opcode of the NVM command set.
    pub opcode: u8,
    /// NSID on the SSD.
    pub nsid: u32,
    /// Command words 10, 11 and 12.
    pub cdw10: u32,
    /// See `cdw10`.
    pub cdw11: u32,
    /// See `cdw10`.
    pub cdw12: u32,
    /// Data pages; `None` for commands without data.
    pub data: Option<Run>,
    /// Comes back with the completion.
    pub token: u32,
}

impl Request {
    /// Flush.
    #[must_use]
    pub const fn flush(nsid: u32, token: u32) -> Self {
        Self {
            opcode: NvmOpcode::Flush as u8,
            nsid,
            cdw10: 0,
            cdw11: 0,
            cdw12: 0,
            data: None,
            token,
        }
    }

    /// A command with a range of blocks: Write, Read, Compare, Write Zeroes.
    /// `control` is the upper half of command word 12 (LR, FUA, PRINFO, DEAC), `blocks_z` the number of blocks less one.
    #[inline]
    #[must_use]
    pub const fn blocks(
        opcode: u8,
        nsid: u32,
        slba: u64,
        blocks_z: u16,
        control: u16,
        data: Option<Run>,
        token: u32,
    ) -> Self {
        Self {
            opcode,
            nsid,
            cdw10: slba as u32,
            cdw11: (slba >> 32) as u32,
            cdw12: (control as u32) << 16 | blocks_z as u32,
            data,
            token,
        }
    }

    /// Dataset Management: `ranges_z` is the number of 16-byte ranges in `data` less one.
    #[must_use]
    pub const fn dataset_management(
        nsid: u32,
        ranges_z: u8,
        attributes: u32,
        data: Run,
        token: u32,
    ) -> Self {
        Self {
            opcode: NvmOpcode::DatasetManagement as u8,
            nsid,
            cdw10: ranges_z as u32,
            cdw11: attributes,
            cdw12: 0,
            data: Some(data),
            token,
        }
    }
}

/// Why a command was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// As many commands in flight as the queue holds: try again after a completion.
    Full,
    /// No SSD behind this queue.
    Detached,
}

/// A command the SSD has completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completed {
    /// The request's.
    pub token: u32,
    /// As the SSD gave it; [`crate::status::for_host`] makes it fit for a host.
    pub status: Status,
}

/// What a queue pair has seen since it was attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Completions for commands that were not in flight: the SSD's fault, dropped.
    pub phantoms: u32,
    /// Commands refused because the queue was full.
    pub full: u32,
    /// Times the oldest command was overdue.
    pub overdue: u32,
}

/// One command identifier. In flight: linked in order of submission. Free: linked by `next`, which then is as
/// [`QueuePair::free`].
#[derive(Clone, Copy, Debug)]
struct Slot {
    token: u32,
    /// Low half of the microsecond clock at submission.
    since: u32,
    prev: u16,
    next: u16,
    /// Command identifier of this use: the slot's index, and above it a count of uses, so that a completion that
    /// comes twice does not hit the slot's next command.
    cid: u16,
    in_flight: bool,
}

const FREE: Slot = Slot {
    token: 0,
    since: 0,
    prev: 0,
    next: 0,
    cid: 0,
    in_flight: false,
};

/// A queue pair with at most `DEPTH` entries.
#[derive(Debug)]
pub struct QueuePair<const DEPTH: usize> {
    sq: PmAddr,
    cq: PmAddr,
    bus: PmBus,
    /// Entries of both queues; 0 when no SSD is attached.
    entries: u16,
    sq_tail: u16,
    cq_head: u16,
    /// Phase tag that a new completion has, in bit 16.
    phase: u32,
    rung_tail: u16,
    rung_head: u16,
    tail_doorbell: DoorbellSlot,
    head_doorbell: DoorbellSlot,
    /// First of the free slots, its number and one; 0 if there is none. So a detached queue pair is all zeros, and costs an
    /// image of the firmware nothing.
    free: u16,
    /// Ends of the list of commands in flight, once an SSD was attached.
    oldest: u16,
    newest: u16,
    in_flight: u16,
    timeout_us: u32,
    told_overdue: bool,
    counts: Counts,
    slots: [Slot; DEPTH],
}

impl<const DEPTH: usize> Default for QueuePair<DEPTH> {
    fn default() -> Self {
        Self::detached()
    }
}

/// Writes what never changes in the entries of both queues. To be called (by any core) before the queues are created
/// on the SSD: it finds no stale phase tag, and [`QueuePair::submit`] writes half of an entry only.
pub fn prepare<H: Hal>(hal: &mut H, place: &QueuePlace) {
    let (sq, cq) = crate::place::addresses(place);
    let entries = u32::from(place.entries.get());
    for word in 0..entries * 16 {
        hal.pm_write32(sq.plus(word * 4), 0);
    }
    for word in 0..entries * 4 {
        hal.pm_write32(cq.plus(word * 4), 0);
    }
}

impl<const DEPTH: usize> QueuePair<DEPTH> {
    /// One use of a slot, in command identifiers.
    const USE: u16 = DEPTH.next_power_of_two() as u16;

    /// A queue pair without an SSD.
    #[must_use]
    pub const fn detached() -> Self {
        const { assert!(DEPTH >= 2 && DEPTH <= 1 << 12) };
        Self {
            sq: PmAddr(0),
            cq: PmAddr(0),
            bus: match PmBus::new(0) {
                Some(bus) => bus,
                None => panic!("zero is a multiple of everything"),
            },
            entries: 0,
            sq_tail: 0,
            cq_head: 0,
            phase: 0,
            rung_tail: 0,
            rung_head: 0,
            tail_doorbell: DoorbellSlot(0),
            head_doorbell: DoorbellSlot(0),
            free: 0,
            oldest: 0,
            newest: 0,
            in_flight: 0,
            timeout_us: 0,
            told_overdue: false,
            counts: Counts {
                phantoms: 0,
                full: 0,
                overdue: 0,
            },
            slots: [FREE; DEPTH],
        }
    }

    /// Starts driving the queues at `place`, which were [`prepare`]d and then created on the SSD, through the doorbells
    /// `(tail, head)`. Commands silent for `timeout_us` (less than 35 minutes) are overdue; 0 waits for ever.
    ///
    /// At most `DEPTH - 1` commands are in flight even if the queues are deeper. Whatever was in flight is forgotten:
    /// take it with [`QueuePair::fail_next`] first.
    pub fn attach(
        &mut self,
        place: &QueuePlace,
        bus: PmBus,
        doorbells: (DoorbellSlot, DoorbellSlot),
        timeout_us: u32,
    ) {
        let (sq, cq) = crate::place::addresses(place);
        *self = Self {
            sq,
            cq,
            bus,
            timeout_us,
            phase: 1 << 16,
            oldest: NONE,
            newest: NONE,
            ..Self::detached()
        };
        self.entries = place.entries.get();
        (self.tail_doorbell, self.head_doorbell) = doorbells;
        let usable = usize::from(self.entries.saturating_sub(1)).min(DEPTH);
        for index in (0..usable).rev() {
            self.slots[index].next = self.free;
            self.slots[index].cid = index as u16;
            self.free = index as u16 + 1;
        }
    }

    /// Stops taking commands and completions; those in flight wait for [`QueuePair::fail_next`].
    pub fn detach(&mut self) {
        self.entries = 0;
        self.free = 0;
    }

    /// An SSD is attached.
    #[inline]
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.entries != 0
    }

    /// Commands in flight.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight as u32
    }

    /// A command would be taken now.
    #[inline]
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.free != 0
    }

    /// What was seen since [`QueuePair::attach`].
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Places a command. The SSD learns of it with the next [`QueuePair::flush`].
    ///
    /// # Errors
    /// [`Refusal`] when the queue is full or nothing is attached; the data pages stay the caller's.
    #[inline]
    pub fn submit<H: Hal>(
        &mut self,
        hal: &mut H,
        now: Micros,
        request: &Request,
    ) -> Result<(), Refusal> {
        let index = self.free.wrapping_sub(1);
        let Some(slot) = self.slots.get_mut(usize::from(index)) else {
            return Err(self.refuse());
        };
        self.free = slot.next;
        let cid = slot.cid;
        *slot = Slot {
            token: request.token,
            since: now.0 as u32,
            prev: self.newest,
            next: NONE,
            cid,
            in_flight: true,
        };
        match self.slots.get_mut(usize::from(self.newest)) {
            Some(newest) => newest.next = index,
            None => self.oldest = index,
        }
        self.newest = index;
        self.in_flight += 1;
        self.write_entry(hal, cid, request);
        self.sq_tail = self.following(self.sq_tail);
        Ok(())
    }

    /// Takes the next completion. Completions that match no command in flight are counted and passed over.
    #[inline]
    pub fn poll<H: Hal>(&mut self, hal: &mut H) -> Option<Completed> {
        while self.entries != 0 {
            // Command identifier, phase tag and status share this word, so they are never torn.
            let last = hal.pm_read32(self.cq.plus(u32::from(self.cq_head) * 16 + 12));
            if last & 1 << 16 != self.phase {
                return None;
            }
            self.cq_head += 1;
            if self.cq_head == self.entries {
                self.cq_head = 0;
                self.phase ^= 1 << 16;
            }
            if let Some(token) = self.complete(last as u16) {
                return Some(Completed {
                    token,
                    status: Status::from_wire((last >> 16) as u16),
                });
            }
            self.counts.phantoms = self.counts.phantoms.wrapping_add(1);
        }
        None
    }

    /// Rings the doorbells of whatever moved since the last time.
    #[inline]
    pub fn flush<H: Hal>(&mut self, hal: &mut H) {
        if self.sq_tail != self.rung_tail {
            self.rung_tail = self.sq_tail;
            hal.doorbell(self.tail_doorbell, u32::from(self.sq_tail));
        }
        if self.cq_head != self.rung_head {
            self.rung_head = self.cq_head;
            hal.doorbell(self.head_doorbell, u32::from(self.cq_head));
        }
    }

    /// The oldest command has waited longer than the timeout. Said once; again after any completion.
    #[inline]
    pub fn overdue(&mut self, now: Micros) -> bool {
        let Some(oldest) = self.slots.get(usize::from(self.oldest)) else {
            return false;
        };
        let age = (now.0 as u32).wrapping_sub(oldest.since);
        if age <= self.timeout_us || self.timeout_us == 0 || self.told_overdue {
            return false;
        }
        self.told_overdue = true;
        self.counts.overdue = self.counts.overdue.wrapping_add(1);
        true
    }

    /// Takes the oldest command in flight out of a detached queue and gives its token: the SSD will not complete it and
    /// does not touch its pages any more. `None` when all are out, or while an SSD is attached.
    pub fn fail_next(&mut self) -> Option<u32> {
        if self.is_attached() {
            return None;
        }
        let token = self.release(self.oldest);
        self.free = 0;
        token
    }

    /// Half of a submission queue entry; [`prepare`] wrote the zeros of the rest.
    #[inline]
    fn write_entry<H: Hal>(&self, hal: &mut H, cid: u16, request: &Request) {
        let at = self.sq.plus(u32::from(self.sq_tail) * 64);
        hal.pm_write32(at, u32::from(request.opcode) | u32::from(cid) << 16);
        hal.pm_write32(at.plus(4), request.nsid);
        if let Some(run) = request.data {
            let prp2 = self.bus.prp2_low(run);
            hal.pm_write32(at.plus(24), self.bus.low(run.addr()));
            hal.pm_write32(at.plus(28), self.bus.high);
            hal.pm_write32(at.plus(32), prp2);
            hal.pm_write32(at.plus(36), if run.pages() > 1 { self.bus.high } else { 0 });
        } else {
            for word in 6..10 {
                hal.pm_write32(at.plus(word * 4), 0);
            }
        }
        hal.pm_write32(at.plus(40), request.cdw10);
        hal.pm_write32(at.plus(44), request.cdw11);
        hal.pm_write32(at.plus(48), request.cdw12);
    }

    /// Takes the command with this identifier off the list; `None` if it is not in flight.
    #[inline]
    fn complete(&mut self, cid: u16) -> Option<u32> {
        let index = cid & (Self::USE - 1);
        let slot = self.slots.get(usize::from(index))?;
        if slot.cid != cid {
            return None;
        }
        self.release(index)
    }

    /// Takes slot `index` off the list of commands in flight; `None` if it is not on it.
    #[inline]
    fn release(&mut self, index: u16) -> Option<u32> {
        let slot = self
            .slots
            .get_mut(usize::from(index))
            .filter(|s| s.in_flight)?;
        let Slot {
            token, prev, next, ..
        } = *slot;
        slot.in_flight = false;
        slot.cid = slot.cid.wrapping_add(Self::USE);
        slot.next = self.free;
        self.free = index + 1;
        match self.slots.get_mut(usize::from(prev)) {
            Some(before) => before.next = next,
            None => self.oldest = next,
        }
        match self.slots.get_mut(usize::from(next)) {
            Some(after) => after.prev = prev,
            None => self.newest = prev,
        }
        self.in_flight -= 1;
        self.told_overdue = false;
        Some(token)
    }

    #[inline]
    const fn following(&self, index: u16) -> u16 {
        if index + 1 == self.entries {
            0
        } else {
            index + 1
        }
    }

    #[cold]
    fn refuse(&mut self) -> Refusal {
        if !self.is_attached() {
            return Refusal::Detached;
        }
        self.counts.full = self.counts.full.wrapping_add(1);
        Refusal::Full
    }
}
