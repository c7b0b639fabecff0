//! The host queue pair: management commands in host memory, completions with a phase tag, MSI-X vector 0.
//! One command at a time, and beside it one outstanding `NextEvent`. Queues and data buffer are one piece of memory, so that a
//! later driver finds all of it by what the card's registers say.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_device::{Device, DmaBuffer, all_ones32};
use sluice_regs::bar0_regs as bar0;
use sluice_wire::mgmt::{Command, Completion, Event, MAX_DATA, Opcode, Status};
use zerocopy::{FromZeros, IntoBytes};

use super::{CardError, CardOptions};

const SQE: usize = size_of::<Command>();
const CQE: usize = size_of::<Completion>();
/// Entries of both queues: far more than are ever outstanding.
const ENTRIES: u16 = 16;
/// Command identifier of `NextEvent`; others have bit 15 clear.
const EVENT_CID: u16 = 0x8000;
/// Where in the piece of memory: the submission queue at its beginning, then these.
const CQ: usize = 4096;
const DATA: usize = 8192;
const BLOCK: usize = DATA + MAX_DATA;
/// A lost interrupt costs this long.
const SLICE: Duration = Duration::from_millis(10);

/// Something that happened on the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardEvent {
    /// An [`Event`] and its subject.
    Known(Event, u32),
    /// An event that this driver does not know: code and subject.
    Unknown(u32, u32),
}

pub(super) struct HostQueuePair {
    memory: Box<dyn DmaBuffer>,
    tail: u16,
    head: u16,
    phase: bool,
    cid: u16,
    options: CardOptions,
    /// A `NextEvent` is with the card.
    listening: bool,
    events: VecDeque<CardEvent>,
}

/// A command to be sent.
pub(super) struct Request<'a> {
    pub opcode: Opcode,
    pub index: u32,
    pub args: &'a [u32],
    /// Data for the card.
    pub send: &'a [u8],
    /// Bytes wanted from the card.
    pub receive: usize,
}

impl Request<'_> {
    pub fn new(opcode: Opcode, index: u32) -> Self {
        Self {
            opcode,
            index,
            args: &[],
            send: &[],
            receive: 0,
        }
    }
}

impl HostQueuePair {
    pub fn new<D: Device>(device: &D, options: CardOptions) -> Result<Self, CardError> {
        let memory = device.dma().alloc(BLOCK, 4096)?;
        Ok(Self::over(memory, options))
    }

    fn over(memory: Box<dyn DmaBuffer>, options: CardOptions) -> Self {
        Self {
            memory,
            tail: 0,
            head: 0,
            phase: true,
            cid: 0,
            options,
            listening: false,
            events: VecDeque::new(),
        }
    }

    /// That of an earlier driver, where the card's registers say it is. What it had sent is waited for and dropped.
    pub fn adopt<D: Device>(device: &D, options: CardOptions) -> Result<Self, CardError> {
        let bar = device.bar(0)?;
        let bus = bar.read64(bar0::SQ_BASE_LO_OFFSET.into())?;
        let memory = device.dma().reclaim(bus, BLOCK)?;
        let mut queue = Self::over(memory, options);
        let tail = bar.read32(bar0::SQ_TAIL_OFFSET.into())?;
        let cq = bar.read64(bar0::CQ_BASE_LO_OFFSET.into())?;
        let entries = bar.read32(bar0::QUEUE_ENTRIES_OFFSET.into())?;
        let whole = cq == bus + CQ as u64 && entries == u32::from(ENTRIES);
        queue.tail = match u16::try_from(tail) {
            Ok(tail) if whole && tail < ENTRIES => tail,
            _ => {
                return Err(CardError::NotRunning {
                    name: device.name().into(),
                    what: "host queues of this driver's layout",
                });
            }
        };
        queue.find_head()?;
        queue.drain(device)?;
        Ok(queue)
    }

    /// The card's next completion goes where the phase tags change; if they are all alike, to the beginning, with the other
    /// phase.
    fn find_head(&mut self) -> Result<(), CardError> {
        let phase = |queue: &Self, at: u16| -> Result<bool, CardError> {
            let word = queue.memory.read32(CQ + usize::from(at) * CQE + 12)?;
            Ok(word & 1 << 16 != 0)
        };
        let first = phase(self, 0)?;
        (self.head, self.phase) = (0, !first);
        for at in 1..ENTRIES {
            if phase(self, at)? != first {
                (self.head, self.phase) = (at, first);
                break;
            }
        }
        Ok(())
    }

    /// Commands are done in order, so with one that does nothing all before it are done too. Before it `NextEvent`: if an
    /// earlier driver's is still with the card, it is refused, and that one is ours now.
    fn drain<D: Device>(&mut self, device: &D) -> Result<(), CardError> {
        let mut taken = Vec::new();
        for at in 0..usize::from(ENTRIES) {
            taken.push((self.memory.read32(at * SQE)? >> 16) as u16);
        }
        let free = (1..EVENT_CID).find(|cid| !taken.contains(cid));
        self.cid = free.expect("there are fewer entries");
        self.listening = true;
        self.send(device, &Request::new(Opcode::NextEvent, 0), EVENT_CID)?;
        // Without a buffer Identify has no room for its answer: refused, and no harm done.
        self.send(device, &Request::new(Opcode::Identify, 0), self.cid)?;
        self.wait(device, Opcode::Identify).map(drop)
    }

    /// Tells the card where the queues are; enabling them is for later.
    pub fn write_registers<D: Device>(&self, device: &D) -> Result<(), CardError> {
        let bar = device.bar(0)?;
        let halves = |address: u64| (address as u32, (address >> 32) as u32);
        let base = self.memory.bus();
        let ((sq_lo, sq_hi), (cq_lo, cq_hi)) = (halves(base), halves(base + CQ as u64));
        for (offset, value) in [
            (bar0::SQ_BASE_LO_OFFSET, sq_lo),
            (bar0::SQ_BASE_HI_OFFSET, sq_hi),
            (bar0::CQ_BASE_LO_OFFSET, cq_lo),
            (bar0::CQ_BASE_HI_OFFSET, cq_hi),
            (bar0::QUEUE_ENTRIES_OFFSET, ENTRIES.into()),
        ] {
            bar.write32(offset.into(), value)?;
        }
        Ok(())
    }

    /// Sends a command, waits for it, and gives its completion and data.
    pub fn execute<D: Device>(
        &mut self,
        device: &D,
        request: &Request<'_>,
    ) -> Result<(Completion, Vec<u8>), CardError> {
        self.cid = (self.cid + 1) & !EVENT_CID;
        self.memory
            .write(DATA, &vec![0; request.receive.max(request.send.len())])?;
        self.memory.write(DATA, request.send)?;
        self.send(device, request, self.cid)?;
        let completion = self.wait(device, request.opcode)?;
        let (name, opcode, index) = (device.name().to_string(), request.opcode, request.index);
        let code = completion.status.get() >> 1;
        match Status::from_code(code) {
            Some(Status::Success) => {}
            Some(status) => {
                let result = completion.result.get();
                return Err(CardError::Refused {
                    name,
                    opcode,
                    index,
                    status,
                    result,
                });
            }
            None => {
                return Err(CardError::UnknownStatus {
                    name,
                    opcode,
                    status: code,
                });
            }
        }
        let mut data = vec![0; request.receive];
        self.memory.read(DATA, &mut data)?;
        Ok((completion, data))
    }

    /// The next event; waits for at most `timeout`.
    pub fn event<D: Device>(
        &mut self,
        device: &D,
        timeout: Duration,
    ) -> Result<Option<CardEvent>, CardError> {
        let give_up = device.clock().now() + timeout;
        loop {
            self.listen(device)?;
            while self.take(device)?.is_some() {}
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let now = device.clock().now();
            if now >= give_up {
                return Ok(None);
            }
            self.pause(device, (give_up - now).min(SLICE))?;
        }
    }

    fn listen<D: Device>(&mut self, device: &D) -> Result<(), CardError> {
        if !self.listening {
            self.send(device, &Request::new(Opcode::NextEvent, 0), EVENT_CID)?;
            self.listening = true;
        }
        Ok(())
    }

    fn send<D: Device>(
        &mut self,
        device: &D,
        request: &Request<'_>,
        cid: u16,
    ) -> Result<(), CardError> {
        let mut command = Command::new_zeroed();
        command.opcode = request.opcode as u8;
        command.cid.set(cid);
        command.index.set(request.index);
        let len = request.send.len().max(request.receive);
        if len > 0 {
            command.data.set(self.memory.bus() + DATA as u64);
            command.data_len.set(len as u32);
        }
        for (to, from) in command.args.iter_mut().zip(request.args) {
            to.set(*from);
        }
        self.memory
            .write(usize::from(self.tail) * SQE, command.as_bytes())?;
        self.tail = (self.tail + 1) % ENTRIES;
        device
            .bar(0)?
            .write32(bar0::SQ_TAIL_OFFSET.into(), self.tail.into())?;
        Ok(())
    }

    fn wait<D: Device>(&mut self, device: &D, opcode: Opcode) -> Result<Completion, CardError> {
        let limit = self.options.command_timeout;
        let give_up = device.clock().now() + limit;
        let mut look = device.clock().now() + SLICE;
        loop {
            while let Some(completion) = self.take(device)? {
                if completion.cid.get() == self.cid {
                    return Ok(completion);
                }
                log::info!(
                    "{}: completion for command {} of an earlier driver, or nobody's",
                    device.name(),
                    completion.cid.get()
                );
            }
            if device.clock().now() >= give_up {
                let bar = device.bar(0)?;
                let status = bar.read32(bar0::FW_STATUS_OFFSET.into())?;
                let watchdogs = bar.read32(bar0::WATCHDOG_OFFSET.into())?;
                return Err(CardError::Silent {
                    name: device.name().into(),
                    opcode,
                    limit,
                    status,
                    watchdogs,
                });
            }
            self.pause(device, SLICE)?;
            if device.clock().now() >= look {
                // One that is gone is not waited for: taking everything down would take minutes.
                let status = device.bar(0)?.read32(bar0::FW_STATUS_OFFSET.into())?;
                if all_ones32(status) {
                    let name = device.name().to_string();
                    return Err(CardError::Gone { name });
                }
                look = device.clock().now() + SLICE;
            }
        }
    }

    fn pause<D: Device>(&self, device: &D, time: Duration) -> Result<(), CardError> {
        if self.options.interrupts {
            device.irq().wait(0, time)?;
        } else {
            device.clock().sleep(time.min(Duration::from_micros(20)));
        }
        Ok(())
    }

    /// The next completion of a command; events are put aside. The phase tag is read before the rest.
    fn take<D: Device>(&mut self, device: &D) -> Result<Option<Completion>, CardError> {
        loop {
            let at = CQ + usize::from(self.head) * CQE;
            if (self.memory.read32(at + 12)? & 1 << 16 != 0) != self.phase {
                return Ok(None);
            }
            let mut completion = Completion::new_zeroed();
            self.memory.read(at, completion.as_mut_bytes())?;
            self.head += 1;
            if self.head == ENTRIES {
                (self.head, self.phase) = (0, !self.phase);
            }
            if completion.cid.get() != EVENT_CID {
                return Ok(Some(completion));
            }
            // In use: one is with the card already, so it is that one which will be completed.
            let code = completion.status.get() >> 1;
            self.listening = code == Status::InUse as u16;
            if self.listening {
                continue;
            }
            if code == Status::Success as u16 {
                self.events
                    .push_back(event(completion.result.get(), completion.result2.get()));
            } else {
                log::warn!(
                    "{}: NextEvent ended with status {}",
                    device.name(),
                    completion.status.get() >> 1
                );
            }
        }
    }
}

fn event(code: u32, subject: u32) -> CardEvent {
    use Event::{HostConnected, HostDisconnected, HostLost, HostRefused, SsdTimeout};
    [
        SsdTimeout,
        HostConnected,
        HostDisconnected,
        HostLost,
        HostRefused,
    ]
    .into_iter()
    .find(|e| *e as u32 == code)
    .map_or(CardEvent::Unknown(code, subject), |e| {
        CardEvent::Known(e, subject)
    })
}
