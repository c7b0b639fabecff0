//! The host driver's queue pair. One command is executed at a time: its entry is fetched from host memory, then its data
//! if it brings some; results go back, then the completion, then the interrupt. `NextEvent` alone may stay open meanwhile.

use heapless::Deque;
use sluice_hal::{
    Hal, HostQueue, MAX_MOVE_SOURCES, MoveFlags, MoveJob, MoveSource, MoveTarget, PmAddr, PmSlice,
    layout,
};
use sluice_wire::mgmt::{Command, Completion, MAX_DATA, Status};
use zerocopy::{FromZeros, IntoBytes};

use super::ControlCore;

/// The control core's pages: entries to and from the host on the first, a command's data on the second.
const ENTRY: PmAddr = PmAddr(layout::PAGES_BASE);
const COMPLETIONS: PmAddr = ENTRY.plus(64);
const COMPLETION_SLOTS: u32 = 16;
/// Data of the command in hand.
pub const DATA: PmAddr = PmAddr(layout::PAGES_BASE + layout::PAGE_SIZE);
/// The port's configuration, where the data cores read it.
pub const PORT: PmAddr = PmAddr(layout::PAGES_BASE + 2 * layout::PAGE_SIZE);
/// Counters that a data core publishes.
pub const COUNTERS: PmAddr = PmAddr(layout::PAGES_BASE + 3 * layout::PAGE_SIZE);
/// MSI-X vector of completions.
const VECTOR: u16 = 0;

/// What the command in hand waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// No command in hand.
    Idle,
    /// Its entry is being fetched.
    Fetching,
    /// Its data are being fetched.
    Loading,
    /// Data cores have to answer.
    Waiting,
    /// The flash is at work for it.
    Flashing,
    /// Results are being written; then this status, result and second result.
    Storing(Status, u32, u32),
}

/// What a move of the control core was for.
#[derive(Clone, Copy)]
enum Moved {
    Entry,
    Load,
    Store,
    Completion,
}

/// State of the queue pair.
pub struct HostPort {
    queue: HostQueue,
    pub step: Step,
    pub command: Command,
    sq_head: u16,
    cq_tail: u16,
    phase: u16,
    moves: Deque<Moved, 8>,
    completions: Deque<Completion, 8>,
    completion_slot: u32,
    /// The open `NextEvent`.
    pub next_event: Option<u16>,
}

impl HostPort {
    pub const fn new() -> Self {
        Self {
            queue: HostQueue {
                enabled: false,
                sq: 0,
                cq: 0,
                entries: 0,
                sq_tail: 0,
                pm_bus: 0,
            },
            step: Step::Idle,
            command: Command {
                opcode: 0,
                flags: 0,
                cid: zerocopy::little_endian::U16::ZERO,
                index: zerocopy::little_endian::U32::ZERO,
                data: zerocopy::little_endian::U64::ZERO,
                data_len: zerocopy::little_endian::U32::ZERO,
                args: [zerocopy::little_endian::U32::ZERO; 11],
            },
            sq_head: 0,
            cq_tail: 0,
            // Set when the driver comes.
            phase: 0,
            moves: Deque::new(),
            completions: Deque::new(),
            completion_slot: 0,
            next_event: None,
        }
    }

    /// Completions could not be posted yet.
    pub fn is_waiting(&self) -> bool {
        !self.completions.is_empty()
    }

    /// Bus address of packet memory.
    pub fn pm_bus(&self) -> u64 {
        self.queue.pm_bus
    }
}

impl ControlCore {
    pub(super) fn serve_host<H: Hal>(&mut self, hal: &mut H) -> bool {
        let queue = hal.host_queue();
        if !queue.enabled || queue.entries < 2 {
            self.port.queue.enabled = false;
            return false;
        }
        if !self.port.queue.enabled {
            self.host_came(&queue, hal);
        }
        self.port.queue = queue;
        let mut busy = self.take_moves(hal);
        self.report_event();
        if self.port.step == Step::Idle
            && self.port.sq_head != queue.sq_tail
            && queue.sq_tail < queue.entries
        {
            busy = true;
            self.fetch(hal);
        }
        self.post_completion(hal);
        busy
    }

    fn host_came<H: Hal>(&mut self, queue: &HostQueue, hal: &mut H) {
        self.port.sq_head = 0;
        self.port.cq_tail = 0;
        self.port.phase = 1;
        if let (false, Some(bus)) = (self.prps_filled, sluice_ssd::prp::PmBus::new(queue.pm_bus)) {
            sluice_ssd::prp::fill(hal, bus);
            self.prps_filled = true;
        }
    }

    fn fetch<H: Hal>(&mut self, hal: &mut H) {
        let at = self.port.queue.sq + u64::from(self.port.sq_head) * 64;
        if self.move_host(
            MoveSource::Host(at, 64),
            MoveTarget::Pm(ENTRY),
            Moved::Entry,
            hal,
        ) {
            self.port.step = Step::Fetching;
        }
    }

    fn move_host<H: Hal>(
        &mut self,
        source: MoveSource,
        target: MoveTarget,
        what: Moved,
        hal: &mut H,
    ) -> bool {
        let job = MoveJob {
            tag: 0,
            source,
            target,
            flags: MoveFlags::default(),
            crc_context: 0,
        };
        // The list is as long as this core ever has moves: one for the command, one per completion.
        hal.move_post(&job).is_ok() && self.port.moves.push_back(what).is_ok()
    }

    fn take_moves<H: Hal>(&mut self, hal: &mut H) -> bool {
        let Some(done) = hal.move_done() else {
            return false;
        };
        match self.port.moves.pop_front() {
            Some(Moved::Entry) if done.ok => self.fetched(hal),
            // Without its entry a command cannot even be refused: the queue is unusable until it is set up anew.
            Some(Moved::Entry) => self.port.step = Step::Idle,
            Some(Moved::Load) if done.ok => self.execute(hal),
            Some(Moved::Load) => self.finish(Status::BusError, 0, 0),
            Some(Moved::Store) => {
                if let Step::Storing(status, result, result2) = self.port.step {
                    let status = if done.ok { status } else { Status::BusError };
                    self.finish(status, result, result2);
                }
            }
            Some(Moved::Completion) => hal.irq(VECTOR),
            None => {}
        }
        true
    }

    fn fetched<H: Hal>(&mut self, hal: &mut H) {
        let mut command = Command::new_zeroed();
        hal.pm_read(ENTRY, command.as_mut_bytes());
        self.port.command = command;
        self.port.sq_head = (self.port.sq_head + 1) % self.port.queue.entries;
        let len = command.data_len.get();
        if len as usize > MAX_DATA || (len > 0 && command.data.get() == 0) {
            return self.finish(Status::BadLength, 0, 0);
        }
        if len == 0 || !super::commands::brings_data(command.opcode) {
            return self.execute(hal);
        }
        let source = MoveSource::Host(command.data.get(), len);
        if self.move_host(source, MoveTarget::Pm(DATA), Moved::Load, hal) {
            self.port.step = Step::Loading;
        } else {
            self.finish(Status::InUse, 0, 0);
        }
    }

    /// Writes `len` bytes of [`DATA`] to the command's buffer, then completes it.
    pub(super) fn store<H: Hal>(&mut self, len: u32, result: u32, hal: &mut H) {
        let mut pieces = [PmSlice::default(); MAX_MOVE_SOURCES];
        pieces[0] = PmSlice::new(DATA, len);
        let target = MoveTarget::Host(self.port.command.data.get());
        if self.port.command.data_len.get() < len {
            return self.finish(Status::BadLength, len, 0);
        }
        if self.move_host(MoveSource::Pm(pieces, 1), target, Moved::Store, hal) {
            self.port.step = Step::Storing(Status::Success, result, 0);
        } else {
            self.finish(Status::InUse, 0, 0);
        }
    }

    /// Completes the command in hand.
    pub(super) fn finish(&mut self, status: Status, result: u32, result2: u32) {
        self.port.step = Step::Idle;
        let cid = self.port.command.cid.get();
        self.complete(cid, status, result, result2);
    }

    pub(super) fn complete(&mut self, cid: u16, status: Status, result: u32, result2: u32) {
        let completion = Completion {
            result: result.into(),
            result2: result2.into(),
            sq_head: self.port.sq_head.into(),
            reserved: 0.into(),
            cid: cid.into(),
            status: ((status as u16) << 1).into(),
        };
        // One command in hand and one NextEvent: two places would do.
        let _ = self.port.completions.push_back(completion);
    }

    fn report_event(&mut self) {
        if let (Some(cid), Some((event, subject))) =
            (self.port.next_event, self.events.front().copied())
        {
            self.events.pop_front();
            self.port.next_event = None;
            self.complete(cid, Status::Success, event as u32, subject);
        }
    }

    fn post_completion<H: Hal>(&mut self, hal: &mut H) {
        let Some(mut completion) = self.port.completions.front().copied() else {
            return;
        };
        completion.status = (completion.status.get() | self.port.phase).into();
        let slot = COMPLETIONS.plus(16 * (self.port.completion_slot % COMPLETION_SLOTS));
        hal.pm_write(slot, completion.as_bytes());
        let mut pieces = [PmSlice::default(); MAX_MOVE_SOURCES];
        pieces[0] = PmSlice::new(slot, 16);
        let at = self.port.queue.cq + u64::from(self.port.cq_tail) * 16;
        if !self.move_host(
            MoveSource::Pm(pieces, 1),
            MoveTarget::Host(at),
            Moved::Completion,
            hal,
        ) {
            return;
        }
        self.port.completions.pop_front();
        self.port.completion_slot += 1;
        self.port.cq_tail += 1;
        if self.port.cq_tail >= self.port.queue.entries {
            self.port.cq_tail = 0;
            self.port.phase ^= 1;
        }
    }
}
