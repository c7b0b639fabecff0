//! Admin commands (Base, section 5).

use sluice_wire::nvme::{AdminOpcode, AsyncEvent, Sqe, Status};

use super::Ssd;
use super::command::{Command, Direction, Outcome, Stage};
use super::queue::{Cq, Sq};

/// Abort commands at once, zero-based (ACL).
pub(super) const ABORTS_Z: u8 = 3;
/// Asynchronous Event Requests at once, zero-based (AERL).
pub(super) const EVENTS_Z: u8 = 3;

impl Ssd {
    /// What an admin command transfers, or why it is refused at once.
    pub(super) fn admin_transfer(&self, sqe: &Sqe) -> Result<(u32, Direction), Status> {
        let len = match AdminOpcode::from_code(sqe.opcode) {
            Some(AdminOpcode::Identify) => 4096,
            Some(AdminOpcode::GetLogPage) => super::logs::length(sqe)?,
            Some(AdminOpcode::FirmwareDownload) => {
                let dwords = u64::from(sqe.cdw10.get()) + 1;
                let len = u32::try_from(dwords * 4).ok().filter(|n| *n <= 1 << 20);
                len.ok_or(Status::INVALID_FIELD.no_retry())?
            }
            _ => 0,
        };
        // Admin commands over PCIe use PRPs (NVMe over PCIe 1.1, section 2.2).
        if sqe.psdt() != 0 || sqe.flags & 3 != 0 {
            return Err(Status::INVALID_FIELD.no_retry());
        }
        // The opcode says which way data go (Base, figure 142).
        let from_host = sqe.opcode & 3 == 1;
        Ok((
            len,
            if from_host {
                Direction::FromHost
            } else {
                Direction::ToHost
            },
        ))
    }

    pub(super) fn admin(&mut self, command: &Command) -> Result<Outcome, Status> {
        let sqe = &command.sqe;
        match AdminOpcode::from_code(sqe.opcode) {
            Some(AdminOpcode::Identify) => self.identify(sqe).map(Outcome::data),
            Some(AdminOpcode::GetLogPage) => self.log_page(sqe).map(Outcome::data),
            Some(AdminOpcode::GetFeatures) => {
                self.features.get(sqe, &self.config).map(Outcome::result)
            }
            Some(AdminOpcode::SetFeatures) => {
                let result = self.features.set(sqe, &self.config)?;
                if !self.features.write_cache() {
                    self.flush_all()?;
                }
                Ok(Outcome::result(result))
            }
            Some(AdminOpcode::CreateCq) => self.create_cq(sqe),
            Some(AdminOpcode::CreateSq) => self.create_sq(sqe),
            Some(AdminOpcode::DeleteSq) => self.delete_sq(sqe),
            Some(AdminOpcode::DeleteCq) => self.delete_cq(sqe),
            Some(AdminOpcode::Abort) => Ok(self.abort(sqe)),
            Some(AdminOpcode::FirmwareDownload) => self.firmware_download(command),
            Some(AdminOpcode::FirmwareCommit) => self.firmware_commit(sqe),
            Some(AdminOpcode::FormatNvm) => self.format(sqe),
            _ => Err(Status::INVALID_OPCODE.no_retry()),
        }
    }

    /// Queue identifier and entries of a Create command, checked but for whether the queue exists.
    fn new_queue(&self, sqe: &Sqe) -> Result<(usize, u32), Status> {
        let (qid, entries) = (sqe.cdw10.get() as u16, (sqe.cdw10.get() >> 16) + 1);
        if qid == 0 || qid > self.config.io_queues {
            return Err(Status::INVALID_QUEUE_ID.no_retry());
        }
        if entries < 2 || entries > self.config.queue_entries {
            return Err(Status::INVALID_QUEUE_SIZE.no_retry());
        }
        // PC is required since CAP.CQR is 1 (Base, section 5.2.1).
        if sqe.cdw11.get() & 1 == 0 {
            return Err(Status::INVALID_FIELD.no_retry());
        }
        if !sqe.prp1().is_multiple_of(4096) {
            return Err(Status::PRP_OFFSET.no_retry());
        }
        Ok((usize::from(qid), entries))
    }

    fn create_cq(&mut self, sqe: &Sqe) -> Result<Outcome, Status> {
        let (qid, entries) = self.new_queue(sqe)?;
        if self.cqs[qid].is_some() {
            return Err(Status::INVALID_QUEUE_ID.no_retry());
        }
        if self.cc.iocqes() != 4 {
            return Err(Status::INVALID_QUEUE_SIZE.no_retry());
        }
        let vector = (sqe.cdw11.get() >> 16) as u16;
        let interrupts = sqe.cdw11.get() & 2 != 0;
        if interrupts && vector >= self.config.vectors {
            // Invalid Interrupt Vector (Base, figure 104).
            return Err(Status::from_parts(1, 0x08).no_retry());
        }
        self.cqs[qid] = Some(Cq::new(sqe.prp1(), entries, interrupts.then_some(vector)));
        Ok(Outcome::ok())
    }

    fn create_sq(&mut self, sqe: &Sqe) -> Result<Outcome, Status> {
        let (qid, entries) = self.new_queue(sqe)?;
        if self.sqs[qid].is_some() {
            return Err(Status::INVALID_QUEUE_ID.no_retry());
        }
        if self.cc.iosqes() != 6 {
            return Err(Status::INVALID_QUEUE_SIZE.no_retry());
        }
        let cqid = (sqe.cdw11.get() >> 16) as u16;
        if cqid == 0 || self.cqs.get(usize::from(cqid)).is_none_or(Option::is_none) {
            // Completion Queue Invalid.
            return Err(Status::from_parts(1, 0x00).no_retry());
        }
        let serial = self.next_serial();
        let base = sqe.prp1();
        self.sqs[qid] = Some(Sq {
            base,
            entries,
            head: 0,
            tail: 0,
            cqid,
            serial,
        });
        Ok(Outcome::ok())
    }

    /// Commands of the queue that are under way are completed as aborted first (Base, section 3.3.1.3).
    fn delete_sq(&mut self, sqe: &Sqe) -> Result<Outcome, Status> {
        let qid = sqe.cdw10.get() as u16;
        let there = qid != 0 && self.sqs.get(usize::from(qid)).is_some_and(Option::is_some);
        if !there {
            return Err(Status::INVALID_QUEUE_ID.no_retry());
        }
        let ids: Vec<u64> = self
            .commands
            .iter()
            .filter(|(_, c)| c.sqid == qid)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.end(id, Status::SQ_DELETED);
        }
        let serial = self.sqs[usize::from(qid)].take().map_or(0, |sq| sq.serial);
        self.dma.cancel(super::Owner::Fetch { sqid: qid, serial });
        self.busy = self.commands.values().filter(|c| c.sqid != 0).count() + self.dma.fetching();
        Ok(Outcome::ok())
    }

    fn delete_cq(&mut self, sqe: &Sqe) -> Result<Outcome, Status> {
        let qid = sqe.cdw10.get() as u16;
        let there = qid != 0 && self.cqs.get(usize::from(qid)).is_some_and(Option::is_some);
        if !there {
            return Err(Status::INVALID_QUEUE_ID.no_retry());
        }
        if self.sqs.iter().flatten().any(|sq| sq.cqid == qid) {
            // Invalid Queue Deletion.
            return Err(Status::from_parts(1, 0x0C).no_retry());
        }
        self.cqs[usize::from(qid)] = None;
        Ok(Outcome::ok())
    }

    /// Aborts a command that waits for the media or hangs; result bit 0 says that it was not aborted.
    fn abort(&mut self, sqe: &Sqe) -> Outcome {
        let (sqid, cid) = (sqe.cdw10.get() as u16, (sqe.cdw10.get() >> 16) as u16);
        let found = self
            .commands
            .iter()
            .find(|(_, c)| c.sqid == sqid && c.sqe.cid.get() == cid);
        let Some(id) = found.map(|(id, _)| *id) else {
            return Outcome::result(1);
        };
        self.end(id, Status::ABORT_REQUESTED);
        Outcome::result(0)
    }

    /// Ends a command from outside.
    fn end(&mut self, id: u64, status: Status) {
        if let Some(command) = self.commands.get_mut(&id) {
            command.forget_fault();
        }
        self.finish(id, Err(status).into());
    }

    pub(super) fn await_event(&mut self, id: u64, mut command: Command) {
        let waiting = self
            .commands
            .values()
            .filter(|c| c.stage == Stage::Event)
            .count();
        command.stage = Stage::Event;
        self.commands.insert(id, command);
        if waiting > usize::from(EVENTS_Z) {
            self.finish(id, Err(Status::EVENT_LIMIT.no_retry()).into());
        }
        self.tell_events();
    }

    /// Something to report: at once if a request waits and no such event is being looked at.
    pub(super) fn event(&mut self, event: AsyncEvent) {
        if self.logs.events.len() < 16 && !self.logs.events.contains(&event) {
            self.logs.events.push_back(event);
        }
        self.tell_events();
    }

    pub(super) fn tell_events(&mut self) {
        while let Some(at) = self
            .logs
            .events
            .iter()
            .position(|e| self.logs.masked & 1 << e.kind == 0)
        {
            let waiting = self.commands.iter().find(|(_, c)| c.stage == Stage::Event);
            let Some(id) = waiting.map(|(id, _)| *id) else {
                return;
            };
            let Some(event) = self.logs.events.remove(at) else {
                return;
            };
            // Masked until the host reads the log page (Base, section 5.1.2).
            self.logs.masked |= 1 << event.kind;
            self.finish(id, Outcome::result(event.encode()));
        }
    }

    pub(super) fn flush_all(&mut self) -> Result<(), Status> {
        for ns in &mut self.namespaces {
            ns.media.flush().map_err(|_| Status::WRITE_FAULT)?;
        }
        Ok(())
    }
}
