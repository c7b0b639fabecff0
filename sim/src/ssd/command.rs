//! The life of a command: fetched, its data pointer walked, data read, media at work, data written, completed.

use rand_core::Rng;
use sluice_wire::nvme::{AdminOpcode, NvmOpcode, Sqe, Status};

use super::dma::{self, Owner};
use super::fault::{Fault, Seen};
use super::pointers::{Extent, Step, Walk};
use super::queue::Post;
use super::{Gone, Ssd, Timer};
use crate::fabric::{BusError, Clock};

/// Which way data go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    ToHost,
    FromHost,
}

/// What a command is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Its PRP list or SGL segment.
    Pointers,
    /// Data from memory.
    Data,
    /// The media.
    Media,
    /// An event (Asynchronous Event Request).
    Event,
    /// Nothing: it hangs.
    Never,
}

/// A command under way.
#[derive(Debug)]
pub(super) struct Command {
    pub sqid: u16,
    pub cqid: u16,
    pub sqe: Sqe,
    pub stage: Stage,
    /// Data it moves; 0 for none.
    pub len: u32,
    pub direction: Direction,
    walk: Option<Walk>,
    extents: Vec<Extent>,
    /// Data that came from the host.
    pub data: Vec<u8>,
    fault: Option<Fault>,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub status: Status,
    pub result: u64,
    /// Data for the host, as long as the command said.
    pub data: Vec<u8>,
}

impl Outcome {
    pub fn ok() -> Self {
        Self {
            status: Status::SUCCESS,
            result: 0,
            data: Vec::new(),
        }
    }
    pub fn data(data: Vec<u8>) -> Self {
        Self { data, ..Self::ok() }
    }
    pub fn result(result: u32) -> Self {
        Self {
            result: result.into(),
            ..Self::ok()
        }
    }
}

impl From<Result<Outcome, Status>> for Outcome {
    fn from(result: Result<Outcome, Status>) -> Self {
        result.unwrap_or_else(|status| Self {
            status,
            ..Self::ok()
        })
    }
}

impl Ssd {
    /// Fetches entries: the admin queue always, the others in turn while there is room to work on them.
    pub(super) fn fetch(&mut self) {
        if !self.csts.rdy() || self.csts.cfs() {
            return;
        }
        while self.fetch_from(0, u32::MAX) {}
        let queues = self.sqs.len() - 1;
        let mut idle = 0;
        while idle < queues && self.busy < self.config.parallelism.max(1) {
            let room = (self.config.parallelism.max(1) - self.busy) as u32;
            let sqid = self.turn % queues + 1;
            self.turn = sqid;
            idle = if self.fetch_from(sqid, room) {
                0
            } else {
                idle + 1
            };
        }
        self.stats.deepest = self.stats.deepest.max(self.busy as u64);
    }

    fn fetch_from(&mut self, sqid: usize, room: u32) -> bool {
        let Some(sq) = self.sqs[sqid].as_mut() else {
            return false;
        };
        let Some((extent, count)) = sq.take(room) else {
            return false;
        };
        self.busy += if sqid == 0 { 0 } else { count as usize };
        let owner = Owner::Fetch {
            sqid: sqid as u16,
            serial: sq.serial,
        };
        self.dma.read(owner, &[extent]);
        true
    }

    /// Entries have arrived. A queue that cannot be read is fatal.
    pub(super) fn fetched(&mut self, sqid: u16, serial: u64, data: Result<Vec<u8>, BusError>) {
        let Ok(bytes) = data else { return self.fatal() };
        for entry in bytes.as_chunks::<64>().0 {
            let sq = self.sqs[usize::from(sqid)].as_ref();
            let Some(cqid) = sq.filter(|q| q.serial == serial).map(|q| q.cqid) else {
                return;
            };
            self.begin(sqid, cqid, *Sqe::view(entry));
        }
    }

    fn begin(&mut self, sqid: u16, cqid: u16, sqe: Sqe) {
        if sqid == 0 {
            self.stats.admin += 1;
        } else {
            self.stats.io += 1;
        }
        let seen = Seen {
            clock: self.now,
            queue: sqid,
            command: &sqe,
        };
        let fault = self.injector.as_mut().and_then(|decide| decide(&seen));
        self.stats.faults += u64::from(fault.is_some());
        match fault {
            Some(Fault::Fatal) => return self.fatal(),
            Some(Fault::Vanish) => return self.vanish(Gone::BusError),
            _ => {}
        }
        let transfer = if sqid == 0 {
            self.admin_transfer(&sqe)
        } else {
            self.nvm_transfer(&sqe)
        };
        let forced = if let Some(Fault::Status(status)) = fault {
            Err(status)
        } else {
            Ok(())
        };
        let (len, direction) = transfer.unwrap_or((0, Direction::ToHost));
        let id = self.next_serial();
        let command = Command {
            sqid,
            cqid,
            sqe,
            stage: Stage::Media,
            len,
            direction,
            walk: None,
            extents: Vec::new(),
            data: Vec::new(),
            fault,
        };
        self.commands.insert(id, command);
        match (forced, transfer) {
            (Err(status), _) | (Ok(()), Err(status)) => self.finish(id, Err(status).into()),
            _ if len == 0 => self.start_media(id),
            _ => {
                let (walk, step) = Walk::start(&sqe, len, super::identify::PAGE);
                self.with(id, |c| c.walk = Some(walk));
                self.walked(id, step);
            }
        }
    }

    fn with(&mut self, id: u64, change: impl FnOnce(&mut Command)) {
        if let Some(command) = self.commands.get_mut(&id) {
            change(command);
        }
    }

    fn walked(&mut self, id: u64, step: Step) {
        let Some(command) = self.commands.get_mut(&id) else {
            return;
        };
        match step {
            Step::Fail(status) => self.finish(id, Err(status).into()),
            Step::Fetch(extent) => {
                command.stage = Stage::Pointers;
                self.dma.read(Owner::Command(id), &[extent]);
            }
            Step::Done(extents) if command.direction == Direction::FromHost => {
                command.stage = Stage::Data;
                self.dma.read(Owner::Command(id), &extents);
            }
            Step::Done(extents) => {
                command.extents = extents;
                self.start_media(id);
            }
        }
    }

    /// A list page, a segment or all data of a command have arrived.
    pub(super) fn data_arrived(&mut self, id: u64, data: Result<Vec<u8>, BusError>) {
        let Some(command) = self.commands.get_mut(&id) else {
            return;
        };
        match (data, command.stage) {
            (Err(BusError), _) => self.finish(id, Err(Status::DATA_TRANSFER_ERROR).into()),
            (Ok(bytes), Stage::Pointers) => {
                let step = command.walk.as_mut().map(|w| w.feed(&bytes));
                if let Some(step) = step {
                    self.walked(id, step);
                }
            }
            (Ok(bytes), _) => {
                command.data = bytes;
                self.start_media(id);
            }
        }
    }

    /// Puts the media to work, for as long as the latency model says.
    fn start_media(&mut self, id: u64) {
        let Some(command) = self.commands.get_mut(&id) else {
            return;
        };
        command.stage = Stage::Media;
        let model = self.config.latency;
        let (len, delay) = (u64::from(command.len), command.fault);
        let fixed = match (command.sqid, NvmOpcode::from_code(command.sqe.opcode)) {
            (1.., Some(NvmOpcode::Read | NvmOpcode::Compare)) => model.read,
            (1.., Some(NvmOpcode::Write)) => model.write,
            _ => model.other,
        };
        let mut done = self.now;
        if command.sqid != 0 && model.bytes_per_kiloclock != 0 {
            let start = self.media_free.max(self.now);
            self.media_free = start + (len * 1000).div_ceil(model.bytes_per_kiloclock);
            done = self.media_free;
        }
        done += fixed + self.jitter(model.jitter);
        if let Some(Fault::Delay(clocks)) = delay {
            done += clocks;
        }
        if done == self.now {
            self.execute(id);
        } else {
            self.at(done, Timer::Execute(id));
        }
    }

    fn jitter(&mut self, most: Clock) -> Clock {
        if most == 0 {
            0
        } else {
            self.rng.next_u64() % (most + 1)
        }
    }

    /// The media have done it.
    pub(super) fn execute(&mut self, id: u64) {
        let Some(command) = self.commands.remove(&id) else {
            return;
        };
        let opcode = AdminOpcode::from_code(command.sqe.opcode);
        let outcome = if command.sqid != 0 {
            self.nvm(&command)
        } else if opcode == Some(AdminOpcode::AsyncEvent) {
            return self.await_event(id, command);
        } else {
            self.admin(&command)
        };
        self.commands.insert(id, command);
        self.finish(id, outcome.into());
    }

    /// Data to the host, then the completion.
    pub(super) fn finish(&mut self, id: u64, mut outcome: Outcome) {
        let Some(command) = self.commands.get_mut(&id) else {
            return;
        };
        if command.fault == Some(Fault::Hang) && outcome.status != Status::ABORT_REQUESTED {
            command.stage = Stage::Never;
            return;
        }
        let (sqid, cid, cqid) = (command.sqid, command.sqe.cid.get(), command.cqid);
        let (extents, fault) = (std::mem::take(&mut command.extents), command.fault);
        if let (Some(Fault::Corrupt), Some(byte)) = (fault, outcome.data.first_mut()) {
            *byte ^= 1;
        }
        if outcome.status.is_ok() {
            let mut rest = &outcome.data[..];
            for extent in extents {
                let (now, later) = rest.split_at(rest.len().min(extent.len as usize));
                dma::write(&mut self.out, extent.addr, now);
                rest = later;
            }
        } else {
            self.stats.errors += 1;
            let sqe = command.sqe;
            self.logs.error(sqid, &sqe, outcome.status);
        }
        self.remove(id);
        if let Some(Fault::Phantom(cid)) = fault {
            self.complete(cqid, sqid, cid, Outcome::ok());
        }
        if fault == Some(Fault::Duplicate) {
            self.complete(
                cqid,
                sqid,
                cid,
                Outcome {
                    data: Vec::new(),
                    ..outcome
                },
            );
        }
        self.complete(cqid, sqid, cid, outcome);
    }

    /// Takes a command off the books.
    pub(super) fn remove(&mut self, id: u64) {
        if self.commands.remove(&id).is_some_and(|c| c.sqid != 0) {
            self.busy = self.busy.saturating_sub(1);
        }
        self.dma.cancel(Owner::Command(id));
    }

    fn complete(&mut self, cqid: u16, sqid: u16, cid: u16, outcome: Outcome) {
        let sq_head = self.sqs[usize::from(sqid)].as_ref().map_or(0, |sq| sq.head);
        let Outcome { status, result, .. } = outcome;
        if let Some(cq) = self.cqs[usize::from(cqid)].as_mut() {
            self.stats.queue_full += u64::from(cq.is_full());
            cq.waiting.push_back(Post {
                sqid,
                sq_head,
                cid,
                status,
                result,
            });
            self.post_waiting(cqid);
        }
    }

    /// Writes the completions for which there is room, and fires the vector once.
    pub(super) fn post_waiting(&mut self, cqid: u16) {
        let Some(cq) = self.cqs[usize::from(cqid)].as_mut() else {
            return;
        };
        let mut posted = 0;
        while !cq.is_full()
            && let Some(post) = cq.waiting.pop_front()
        {
            let (addr, cqe) = cq.place(&post);
            dma::write(&mut self.out, addr, zerocopy::IntoBytes::as_bytes(&cqe));
            posted += 1;
        }
        self.stats.completions += posted;
        if let Some(vector) = cq.vector.filter(|_| posted > 0)
            && let Some((addr, data)) = self.msix.fire(vector)
        {
            self.message(addr, data);
        }
    }
}

impl Command {
    /// Whatever was to go wrong does not matter any more.
    pub(super) fn forget_fault(&mut self) {
        self.fault = None;
        self.stage = Stage::Media;
    }
}
