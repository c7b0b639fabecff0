//! The admin queue pair: one command at a time, in host memory. Queues and data buffer are one piece of memory, so that a
//! later driver finds all of it by what the controller's ASQ register says.

use std::time::Duration;

use sluice_device::{Device, DmaBuffer};
use sluice_wire::nvme::{
    AdminOpcode, Aqa, Cap, Cqe, QueueCount, SmartLog, Sqe, feature, log as page, register,
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
        Self::over(memory, cap, options)
    }

    fn over(memory: Box<dyn DmaBuffer>, cap: Cap, options: SsdOptions) -> Result<Self, SsdError> {
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

    /// That of an earlier driver, where the controller's registers say it is. Commands that it had sent are waited for;
    /// their completions are dropped.
    pub fn adopt<D: Device>(device: &D, cap: Cap, options: SsdOptions) -> Result<Self, SsdError> {
        let bar = device.bar(0)?;
        let aqa = Aqa(bar.read32(register::AQA.into())?);
        let (sq, cq) = (
            bar.read64(register::ASQ.into())?,
            bar.read64(register::ACQ.into())?,
        );
        let entries = (aqa.asqs_z(), aqa.acqs_z()) == (ENTRIES - 1, ENTRIES - 1);
        if !entries || cq != sq.wrapping_add(CQ as u64) {
            return Err(SsdError::NotRunning {
                name: device.name().into(),
                what: "admin queues of this driver's layout",
            });
        }
        let memory = device.dma().reclaim(sq, BLOCK)?;
        let mut admin = Self::over(memory, cap, options)?;
        let waits_for = admin.find_indices()?;
        admin.drain(device, waits_for)?;
        Ok(admin)
    }

    /// Where the queues are, by what is in memory; gives the command that was not completed, if there is one.
    ///
    /// The controller's next completion goes where the phase tags change. The last completion says how far it had fetched,
    /// and from there on entries are of this round as long as their identifiers go up by one. An entry that is there but
    /// was not rung for is rung for with the next one, as its driver was about to.
    fn find_indices(&mut self) -> Result<Option<u16>, SsdError> {
        let word = |admin: &Self, at: u16, word: usize| {
            (admin.memory).read32(CQ + usize::from(at) * CQE + 4 * word)
        };
        let phase = |admin: &Self, at| Ok::<_, SsdError>(word(admin, at, 3)? & 1 << 16 != 0);
        let cid_at = |admin: &Self, at: u16| {
            let first = admin.memory.read32(usize::from(at) * SQE)?;
            Ok::<_, SsdError>((first >> 16) as u16)
        };
        let first = phase(self, 0)?;
        (self.head, self.phase) = (0, !first);
        for at in 1..ENTRIES {
            if phase(self, at)? != first {
                (self.head, self.phase) = (at, first);
                break;
            }
        }
        let newest = (self.head + ENTRIES - 1) % ENTRIES;
        let none = self.head == 0 && word(self, newest, 3)? == 0;
        let (mut tail, mut last) = (0, 0);
        if !none {
            tail = (word(self, newest, 2)? & 0xFFFF) as u16 % ENTRIES;
            last = cid_at(self, (tail + ENTRIES - 1) % ENTRIES)?;
        }
        for _ in 1..ENTRIES {
            if cid_at(self, tail)? != last.wrapping_add(1) {
                break;
            }
            last = last.wrapping_add(1);
            tail = (tail + 1) % ENTRIES;
        }
        (self.tail, self.cid) = (tail, last);
        let mut done = last == 0 && none;
        for at in 0..ENTRIES {
            let written = word(self, at, 3)?;
            done |= written != 0 && written as u16 == last && word(self, at, 2)? >> 16 == 0;
        }
        Ok((!done).then_some(last))
    }

    /// Sends a command that does nothing, and waits for it and for the earlier one.
    fn drain<D: Device>(&mut self, device: &D, earlier: Option<u16>) -> Result<(), SsdError> {
        let mut sqe = Sqe::new(AdminOpcode::GetFeatures as u8, 0, 0);
        sqe.cdw10.set(feature::QUEUES.into());
        let command = "Get Features, and what an earlier driver had sent";
        self.ring(device, sqe)?;
        let mut missing: Vec<u16> = earlier.into_iter().chain([self.cid]).collect();
        while !missing.is_empty() {
            let cqe = self.next(device, command)?;
            missing.retain(|cid| *cid != cqe.cid.get());
        }
        Ok(())
    }

    /// Queue pairs that the controller was asked for and granted.
    pub fn queue_count<D: Device>(&mut self, device: &D) -> Result<u16, SsdError> {
        let mut sqe = Sqe::new(AdminOpcode::GetFeatures as u8, 0, 0);
        sqe.cdw10.set(feature::QUEUES.into());
        let count = self.execute(device, "Get Features (Number of Queues)", sqe)?;
        let count = QueueCount(count);
        Ok(count
            .submission_z()
            .min(count.completion_z())
            .saturating_add(1))
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
        sqe: Sqe,
    ) -> Result<Cqe, SsdError> {
        self.ring(device, sqe)?;
        loop {
            let cqe = self.next(device, command)?;
            if cqe.cid.get() == self.cid && cqe.sq_id.get() == 0 {
                return Ok(cqe);
            }
            let (name, cid) = (device.name(), cqe.cid.get());
            log::warn!("{name}: completion for command {cid} nobody sent, dropped");
        }
    }

    /// Puts a command into the queue.
    fn ring<D: Device>(&mut self, device: &D, mut sqe: Sqe) -> Result<(), SsdError> {
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
        Ok(())
    }

    /// Waits for the next completion.
    fn next<D: Device>(&mut self, device: &D, command: &'static str) -> Result<Cqe, SsdError> {
        let clock = device.clock();
        let limit = self.options.admin_timeout;
        let give_up = clock.now() + limit;
        let mut pause = Duration::from_micros(5);
        loop {
            if let Some(cqe) = self.take(device)? {
                return Ok(cqe);
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
