//! The admin queue pair: one command at a time, in host memory. Queues and data buffer are one piece of memory, so that a
//! later driver finds all of it by what the controller's ASQ register says.

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
/// What Identify and most logs need.
const PAGE: usize = 4096;
/// Most data that one command brings or gets, bytes.
pub const MAX_DATA: usize = 64 << 10;
/// Where in the piece of memory: the submission queue at its beginning, then these.
const CQ: usize = PAGE;
const LIST: usize = 2 * PAGE;
const DATA: usize = 3 * PAGE;
const BLOCK: usize = DATA + MAX_DATA;

pub(super) struct AdminQueue {
    memory: Box<dyn DmaBuffer>,
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
        let memory = device.dma().alloc(BLOCK, PAGE)?;
        // The list of all data pages but the first, for commands of more than two.
        for page in 1..MAX_DATA / PAGE {
            let bus = memory.bus() + (DATA + page * PAGE) as u64;
            memory.write(LIST + 8 * (page - 1), &bus.to_le_bytes())?;
        }
        Ok(Self {
            memory,
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
        let base = self.memory.bus();
        (base, base + CQ as u64)
    }

    /// A page of Identify data.
    pub fn identify<D: Device>(
        &mut self,
        device: &D,
        cns: u8,
        nsid: u32,
    ) -> Result<[u8; PAGE], SsdError> {
        let mut sqe = Sqe::new(AdminOpcode::Identify as u8, 0, nsid);
        sqe.cdw10.set(cns.into());
        let data = self.receive(device, "Identify", sqe, PAGE)?;
        Ok(data.try_into().expect("as long as asked for"))
    }

    /// `len` bytes (a multiple of 4, at most [`MAX_DATA`]) of a log page of the controller.
    pub fn log<D: Device>(
        &mut self,
        device: &D,
        command: &'static str,
        page: u8,
        len: usize,
    ) -> Result<Vec<u8>, SsdError> {
        let mut sqe = Sqe::new(
            AdminOpcode::GetLogPage as u8,
            0,
            sluice_wire::nvme::NSID_ALL,
        );
        let dwords_z = (len / 4).max(1) as u32 - 1;
        sqe.cdw10.set(u32::from(page) | (dwords_z & 0xFFFF) << 16);
        sqe.cdw11.set(dwords_z >> 16);
        self.receive(device, command, sqe, len)
    }

    pub fn smart<D: Device>(&mut self, device: &D) -> Result<SmartLog, SsdError> {
        let len = size_of::<SmartLog>();
        let data = self.log(device, "Get Log Page (SMART)", page::SMART, len)?;
        Ok(SmartLog::read_from_bytes(&data).expect("as long as asked for"))
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

    fn receive<D: Device>(
        &mut self,
        device: &D,
        command: &'static str,
        sqe: Sqe,
        len: usize,
    ) -> Result<Vec<u8>, SsdError> {
        let data = Transfer::Receive(len);
        let (cqe, data) = self.transfer(device, command, sqe, &data)?;
        checked(device, command, &cqe)?;
        Ok(data)
    }

    /// Sends a command with data either way, and waits for it; gives its completion, whatever it says, and what came.
    pub fn transfer<D: Device>(
        &mut self,
        device: &D,
        command: &'static str,
        mut sqe: Sqe,
        data: &Transfer<'_>,
    ) -> Result<(Cqe, Vec<u8>), SsdError> {
        let len = data.len();
        if len > MAX_DATA || !len.is_multiple_of(4) {
            let (name, max) = (device.name().into(), MAX_DATA);
            return Err(SsdError::DataLength {
                name,
                got: len,
                max,
            });
        }
        match data {
            Transfer::None => {}
            Transfer::Send(bytes) => self.memory.write(DATA, bytes)?,
            Transfer::Receive(len) => self.memory.write(DATA, &vec![0; *len])?,
        }
        let bus = self.memory.bus() + DATA as u64;
        match len.div_ceil(PAGE) {
            0 => {}
            1 => sqe.set_prp(bus, 0),
            2 => sqe.set_prp(bus, bus + PAGE as u64),
            _ => sqe.set_prp(bus, self.memory.bus() + LIST as u64),
        }
        let cqe = self.submit(device, command, sqe)?;
        let mut came = vec![
            0;
            if let Transfer::Receive(len) = data {
                *len
            } else {
                0
            }
        ];
        self.memory.read(DATA, &mut came)?;
        Ok((cqe, came))
    }

    /// Sends a command without data and waits for it; gives dword 0 of the completion.
    pub fn execute<D: Device>(
        &mut self,
        device: &D,
        command: &'static str,
        sqe: Sqe,
    ) -> Result<u32, SsdError> {
        let cqe = self.submit(device, command, sqe)?;
        checked(device, command, &cqe)?;
        Ok(cqe.result.get() as u32)
    }

    fn submit<D: Device>(
        &mut self,
        device: &D,
        command: &'static str,
        mut sqe: Sqe,
    ) -> Result<Cqe, SsdError> {
        self.cid = self.cid.wrapping_add(1);
        sqe.cid.set(self.cid);
        let (at, bytes) = (usize::from(self.tail) * SQE, sqe.bytes());
        // The word with the identifier comes last, so that an entry is there only when all of it is.
        self.memory.write(at + 4, &bytes[4..])?;
        self.memory.write(at, &bytes[..4])?;
        self.tail = (self.tail + 1) % ENTRIES;
        device
            .bar(0)?
            .write32(register::DOORBELLS.into(), self.tail.into())?;
        self.wait(device, command)
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
        let at = CQ + usize::from(self.head) * CQE;
        if (self.memory.read32(at + 12)? & 1 << 16 != 0) != self.phase {
            return Ok(None);
        }
        let mut cqe = Cqe::default();
        self.memory.read(at, cqe.as_mut_bytes())?;
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

/// Data of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transfer<'a> {
    /// None.
    None,
    /// To the controller.
    Send(&'a [u8]),
    /// So many bytes from it.
    Receive(usize),
}

impl Transfer<'_> {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Send(bytes) => bytes.len(),
            Self::Receive(len) => *len,
        }
    }
}

fn checked<D: Device>(device: &D, command: &'static str, cqe: &Cqe) -> Result<(), SsdError> {
    match cqe.status() {
        s if s.is_ok() => Ok(()),
        status => Err(SsdError::Command {
            name: device.name().into(),
            command,
            status,
        }),
    }
}

fn queue_command(opcode: AdminOpcode, qid: u16, bus: u64, entries: u16) -> Sqe {
    let mut sqe = Sqe::new(opcode as u8, 0, 0);
    sqe.set_prp(bus, 0);
    sqe.cdw10.set(u32::from(qid) | u32::from(entries - 1) << 16);
    sqe
}
