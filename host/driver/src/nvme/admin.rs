//! The admin queue pair: one command at a time, in host memory.

use std::time::Duration;

use sluice_device::{Device, DmaBuffer};
use sluice_wire::nvme::{
    AdminOpcode, Cap, Cqe, QueueCount, SmartLog, Sqe, feature, log as page, register,
};
use zerocopy::{FromBytes, IntoBytes};

use super::{SsdError, SsdOptions, status};

const SQE: usize = size_of::<Sqe>();
const CQE: usize = size_of::<Cqe>();
/// Entries of both queues.
const ENTRIES: u16 = 32;
/// Size of the data buffer: one page, which is what Identify and the logs used here need.
const DATA: usize = 4096;

pub(super) struct AdminQueue {
    sq: Box<dyn DmaBuffer>,
    cq: Box<dyn DmaBuffer>,
    data: Box<dyn DmaBuffer>,
    /// Bytes between doorbells.
    stride: u64,
    tail: u16,
    head: u16,
    phase: bool,
    cid: u16,
    options: SsdOptions,
}

impl AdminQueue {
    pub fn new<D: Device>(device: &D, cap: Cap, options: SsdOptions) -> Result<Self, SsdError> {
        let dma = device.dma();
        Ok(Self {
            sq: dma.alloc(usize::from(ENTRIES) * SQE, 4096)?,
            cq: dma.alloc(usize::from(ENTRIES) * CQE, 4096)?,
            data: dma.alloc(DATA, 4096)?,
            stride: 4 << cap.dstrd(),
            tail: 0,
            head: 0,
            phase: true,
            cid: 0,
            options,
        })
    }

    pub const fn entries(&self) -> u16 {
        ENTRIES
    }

    /// Bus addresses of the two queues.
    pub fn bus(&self) -> (u64, u64) {
        (self.sq.bus(), self.cq.bus())
    }

    /// A page of Identify data.
    pub fn identify<D: Device>(
        &mut self,
        device: &D,
        cns: u8,
        nsid: u32,
    ) -> Result<[u8; DATA], SsdError> {
        let mut sqe = Sqe::new(AdminOpcode::Identify as u8, 0, nsid);
        sqe.cdw10.set(cns.into());
        self.with_data(device, "Identify", sqe)
    }

    pub fn smart<D: Device>(&mut self, device: &D) -> Result<SmartLog, SsdError> {
        let mut sqe = Sqe::new(
            AdminOpcode::GetLogPage as u8,
            0,
            sluice_wire::nvme::NSID_ALL,
        );
        let dwords_z = size_of::<SmartLog>() as u32 / 4 - 1;
        sqe.cdw10.set(u32::from(page::SMART) | dwords_z << 16);
        let data = self.with_data(device, "Get Log Page (SMART)", sqe)?;
        let (log, _) = SmartLog::read_from_prefix(&data).expect("512 of 4096 bytes");
        Ok(log)
    }

    /// Asks for queue pairs; gives what was granted.
    pub fn set_queue_count<D: Device>(&mut self, device: &D, want: u16) -> Result<u16, SsdError> {
        let mut count = QueueCount(0);
        let want_z = want.clamp(1, u16::MAX - 1) - 1;
        count.set_submission_z(want_z);
        count.set_completion_z(want_z);
        let mut sqe = Sqe::new(AdminOpcode::SetFeatures as u8, 0, 0);
        sqe.cdw10.set(feature::QUEUES.into());
        sqe.cdw11.set(count.0);
        let granted = QueueCount(self.execute(device, "Set Features (Number of Queues)", sqe)?);
        Ok(granted
            .submission_z()
            .min(granted.completion_z())
            .saturating_add(1))
    }

    pub fn create_cq<D: Device>(
        &mut self,
        device: &D,
        qid: u16,
        bus: u64,
        entries: u16,
    ) -> Result<(), SsdError> {
        let mut sqe = queue_command(AdminOpcode::CreateCq, qid, bus, entries);
        // PC; interrupts off.
        sqe.cdw11.set(1);
        self.execute(device, "Create I/O Completion Queue", sqe)
            .map(drop)
    }

    pub fn create_sq<D: Device>(
        &mut self,
        device: &D,
        qid: u16,
        bus: u64,
        entries: u16,
    ) -> Result<(), SsdError> {
        let mut sqe = queue_command(AdminOpcode::CreateSq, qid, bus, entries);
        // PC; its completion queue has the same identifier.
        sqe.cdw11.set(1 | u32::from(qid) << 16);
        self.execute(device, "Create I/O Submission Queue", sqe)
            .map(drop)
    }

    pub fn delete_sq<D: Device>(&mut self, device: &D, qid: u16) -> Result<(), SsdError> {
        let mut sqe = Sqe::new(AdminOpcode::DeleteSq as u8, 0, 0);
        sqe.cdw10.set(qid.into());
        self.execute(device, "Delete I/O Submission Queue", sqe)
            .map(drop)
    }

    pub fn delete_cq<D: Device>(&mut self, device: &D, qid: u16) -> Result<(), SsdError> {
        let mut sqe = Sqe::new(AdminOpcode::DeleteCq as u8, 0, 0);
        sqe.cdw10.set(qid.into());
        self.execute(device, "Delete I/O Completion Queue", sqe)
            .map(drop)
    }

    pub fn abort<D: Device>(&mut self, device: &D, sqid: u16, cid: u16) -> Result<bool, SsdError> {
        let mut sqe = Sqe::new(AdminOpcode::Abort as u8, 0, 0);
        sqe.cdw10.set(u32::from(sqid) | u32::from(cid) << 16);
        Ok(self.execute(device, "Abort", sqe)? & 1 == 0)
    }

    fn with_data<D: Device>(
        &mut self,
        device: &D,
        command: &'static str,
        mut sqe: Sqe,
    ) -> Result<[u8; DATA], SsdError> {
        let mut page = [0; DATA];
        self.data.write(0, &page)?;
        sqe.set_prp(self.data.bus(), 0);
        self.execute(device, command, sqe)?;
        self.data.read(0, &mut page)?;
        Ok(page)
    }

    /// Sends a command and waits for it; gives dword 0 of the completion.
    fn execute<D: Device>(
        &mut self,
        device: &D,
        command: &'static str,
        mut sqe: Sqe,
    ) -> Result<u32, SsdError> {
        self.cid = self.cid.wrapping_add(1);
        sqe.cid.set(self.cid);
        self.sq.write(usize::from(self.tail) * SQE, sqe.bytes())?;
        self.tail = (self.tail + 1) % ENTRIES;
        device
            .bar(0)?
            .write32(register::DOORBELLS.into(), self.tail.into())?;
        let cqe = self.wait(device, command)?;
        let name = device.name().to_string();
        match cqe.status() {
            s if s.is_ok() => Ok(cqe.result.get() as u32),
            status => Err(SsdError::Command {
                name,
                command,
                status,
            }),
        }
    }

    fn wait<D: Device>(&mut self, device: &D, command: &'static str) -> Result<Cqe, SsdError> {
        let clock = device.clock();
        let limit = self.options.admin_timeout;
        let give_up = clock.now() + limit;
        let mut pause = Duration::from_micros(5);
        loop {
            while let Some(cqe) = self.take(device)? {
                if cqe.cid.get() == self.cid && cqe.sq_id.get() == 0 {
                    return Ok(cqe);
                }
                log::warn!(
                    "{}: completion for command {} nobody sent, dropped",
                    device.name(),
                    cqe.cid.get()
                );
            }
            let csts = status(device)?;
            let name = || device.name().to_string();
            if csts.cfs() {
                return Err(SsdError::Fatal {
                    name: name(),
                    csts: csts.0,
                });
            }
            if clock.now() >= give_up {
                return Err(SsdError::Silent {
                    name: name(),
                    command,
                    limit,
                });
            }
            if self.options.interrupts {
                // A lost interrupt costs a pause, not the command.
                device.irq().wait(0, Duration::from_millis(10))?;
            } else {
                clock.sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
        }
    }

    /// The next completion, if it is there. The phase tag is read before the rest.
    fn take<D: Device>(&mut self, device: &D) -> Result<Option<Cqe>, SsdError> {
        let at = usize::from(self.head) * CQE;
        if (self.cq.read32(at + 12)? & 1 << 16 != 0) != self.phase {
            return Ok(None);
        }
        let mut cqe = Cqe::default();
        self.cq.read(at, cqe.as_mut_bytes())?;
        self.head += 1;
        if self.head == ENTRIES {
            (self.head, self.phase) = (0, !self.phase);
        }
        device.bar(0)?.write32(
            u64::from(register::DOORBELLS) + self.stride,
            self.head.into(),
        )?;
        Ok(Some(cqe))
    }
}

fn queue_command(opcode: AdminOpcode, qid: u16, bus: u64, entries: u16) -> Sqe {
    let mut sqe = Sqe::new(opcode as u8, 0, 0);
    sqe.set_prp(bus, 0);
    sqe.cdw10.set(u32::from(qid) | u32::from(entries - 1) << 16);
    sqe
}
