//! A card that is nothing but registers and a host queue: it remembers the management commands it was given and answers
//! them at once. For tests of what sends them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use sluice_device::testing::{ManualClock, Memory, MemoryBar};
use sluice_device::{Bar, BarError, Clock, Device, Dma, Irq, IrqError, Trouble};
use sluice_regs::{MAGIC, MAP_VERSION, bar0_regs as bar0};
use sluice_wire::mgmt::{CardInfo, Command, Completion, Event, Opcode, QueuePlace, Status};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const TCM: u32 = 512 << 10;
/// Cores of the card, the control core included.
const CORES: usize = 3;
const HOST: u64 = 0x1_0000_0000;

/// What a fake card does and has seen. Shared by the device and the test.
#[derive(Clone)]
pub struct FakeCard {
    state: Rc<RefCell<State>>,
    memory: Memory,
}

struct State {
    registers: MemoryBar,
    /// Commands in order: opcode, index, first argument, data.
    seen: Vec<(Opcode, u32, u32, Vec<u8>)>,
    /// What was loaded into each core.
    loaded: [Vec<u8>; CORES],
    /// Words that may be loaded before the card takes no more.
    load_limit: usize,
    boot_status: u32,
    refuse: Option<(Opcode, Status)>,
    silent: Option<Opcode>,
    head: u16,
    tail: u16,
    phase: bool,
    /// Command identifier of the `NextEvent` that waits.
    listener: Option<u16>,
    events: Vec<(u32, u32)>,
    trouble: Option<Trouble>,
}

impl Default for FakeCard {
    fn default() -> Self {
        let registers = MemoryBar::new(0x1000, 0xF000_0000);
        let state = State {
            registers,
            seen: Vec::new(),
            loaded: Default::default(),
            load_limit: usize::MAX,
            boot_status: 1,
            refuse: None,
            silent: None,
            head: 0,
            tail: 0,
            phase: true,
            listener: None,
            events: Vec::new(),
            trouble: None,
        };
        let card = Self {
            state: Rc::new(RefCell::new(state)),
            memory: Memory::new(HOST, 1 << 20),
        };
        card.set(bar0::MAGIC_OFFSET, MAGIC);
        card.set(bar0::MAP_VERSION_OFFSET, MAP_VERSION);
        card.set(bar0::TCM_SIZE_OFFSET, TCM);
        card.set(bar0::LOAD_CORES_OFFSET, u32::MAX);
        card
    }
}

impl FakeCard {
    /// The device that a driver opens; BAR2 lies at `packet_memory` on the bus.
    #[must_use]
    pub fn device(&self, packet_memory: u64) -> FakeDevice {
        FakeDevice {
            registers: Registers(self.clone()),
            packet_memory: MemoryBar::new(16 << 20, packet_memory),
            memory: self.memory.clone(),
            irq: Vectors(Rc::new(ManualClock::default())),
        }
    }

    /// Sets a register.
    pub fn set(&self, offset: u32, value: u32) {
        self.state
            .borrow()
            .registers
            .write32(offset.into(), value)
            .expect("a register");
    }

    /// Value of a register.
    #[must_use]
    pub fn get(&self, offset: u32) -> u32 {
        self.state
            .borrow()
            .registers
            .read32(offset.into())
            .expect("a register")
    }

    /// Firmware status that the cores reach when they are released.
    pub fn boots_to(&self, status: u32) {
        self.state.borrow_mut().boot_status = status;
    }

    /// From now on commands of this kind are refused.
    pub fn refuse(&self, opcode: Opcode, status: Status) {
        self.state.borrow_mut().refuse = Some((opcode, status));
    }

    /// From now on commands of this kind are never completed.
    pub fn ignore(&self, opcode: Opcode) {
        self.state.borrow_mut().silent = Some(opcode);
    }

    /// Something happened.
    pub fn raise(&self, event: Event, subject: u32) {
        self.state.borrow_mut().events.push((event as u32, subject));
        self.answer_listener();
    }

    /// What the system says of the device from now on.
    pub fn is_in(&self, trouble: Option<Trouble>) {
        self.state.borrow_mut().trouble = trouble;
    }

    /// From now on only this many words can be loaded.
    pub fn stops_loading_after(&self, words: usize) {
        self.state.borrow_mut().load_limit = words;
    }

    /// What was loaded into each core: the control core, then two data cores.
    #[must_use]
    pub fn images(&self) -> [Vec<u8>; CORES] {
        self.state.borrow().loaded.clone()
    }

    /// Takes the commands seen since the last time: opcode, index, first argument, data.
    #[must_use]
    pub fn take(&self) -> Vec<(Opcode, u32, u32, Vec<u8>)> {
        std::mem::take(&mut self.state.borrow_mut().seen)
    }

    fn written(&self, offset: u32, value: u32) {
        match offset {
            bar0::LOAD_DATA_OFFSET => self.load(value),
            bar0::CTRL_OFFSET => {
                let status = if value & 1 != 0 {
                    self.state.borrow().boot_status
                } else {
                    0
                };
                self.set(bar0::FW_STATUS_OFFSET, status);
            }
            bar0::WATCHDOG_OFFSET => self.set(bar0::WATCHDOG_OFFSET, 0),
            bar0::SQ_TAIL_OFFSET => self.run(value as u16),
            _ => {}
        }
    }

    fn load(&self, word: u32) {
        let mut state = self.state.borrow_mut();
        if state.load_limit == 0 {
            return;
        }
        state.load_limit -= 1;
        drop(state);
        let at = self.get(bar0::LOAD_ADDR_OFFSET);
        let cores = self.get(bar0::LOAD_CORES_OFFSET);
        for (core, memory) in self.state.borrow_mut().loaded.iter_mut().enumerate() {
            if cores >> core & 1 != 0 {
                let end = at as usize + 4;
                memory.resize(memory.len().max(end), 0);
                memory[end - 4..end].copy_from_slice(&word.to_le_bytes());
            }
        }
        self.set(bar0::LOAD_ADDR_OFFSET, (at + 4) & 0xF_FFFF);
    }

    fn run(&self, tail: u16) {
        let entries = self.get(bar0::QUEUE_ENTRIES_OFFSET) as u16;
        loop {
            let head = self.state.borrow().head;
            if head == tail || self.get(bar0::QUEUE_ENABLE_OFFSET) == 0 {
                return;
            }
            let mut bytes = [0; 64];
            let at = self.address(bar0::SQ_BASE_LO_OFFSET) + 64 * u64::from(head);
            assert!(
                self.memory.read_bus(at, &mut bytes),
                "queue outside host memory"
            );
            self.state.borrow_mut().head = (head + 1) % entries;
            self.execute(&Command::read_from_bytes(&bytes).expect("64 bytes"));
        }
    }

    fn execute(&self, command: &Command) {
        let opcode = OPCODES
            .into_iter()
            .find(|o| *o as u8 == command.opcode)
            .expect("a known opcode");
        let mut data = vec![0; command.data_len.get() as usize];
        assert!(self.memory.read_bus(command.data.get(), &mut data) || data.is_empty());
        let (refuse, silent) = (self.state.borrow().refuse, self.state.borrow().silent);
        if opcode == Opcode::NextEvent {
            self.state.borrow_mut().listener = Some(command.cid.get());
            return self.answer_listener();
        }
        self.state.borrow_mut().seen.push((
            opcode,
            command.index.get(),
            command.args[0].get(),
            data,
        ));
        if silent == Some(opcode) {
            return;
        }
        let status = refuse
            .filter(|(o, _)| *o == opcode)
            .map_or(Status::Success, |(_, s)| s);
        let (answer, result) = answer(opcode, command.index.get());
        let fits = answer.len().min(command.data_len.get() as usize);
        assert!(answer.is_empty() || self.memory.write_bus(command.data.get(), &answer[..fits]));
        self.complete(command.cid.get(), status, result, 0);
    }

    fn answer_listener(&self) {
        let mut state = self.state.borrow_mut();
        if state.listener.is_none() || state.events.is_empty() {
            return;
        }
        let (cid, (code, subject)) = (
            state.listener.take().expect("checked"),
            state.events.remove(0),
        );
        drop(state);
        self.complete(cid, Status::Success, code, subject);
    }

    fn complete(&self, cid: u16, status: Status, result: u32, result2: u32) {
        let entries = self.get(bar0::QUEUE_ENTRIES_OFFSET) as u16;
        let base = self.address(bar0::CQ_BASE_LO_OFFSET);
        let mut state = self.state.borrow_mut();
        let mut completion = Completion::new_zeroed();
        completion.cid.set(cid);
        completion.result.set(result);
        completion.result2.set(result2);
        completion
            .status
            .set((status as u16) << 1 | u16::from(state.phase));
        assert!(
            self.memory
                .write_bus(base + 16 * u64::from(state.tail), completion.as_bytes())
        );
        state.tail += 1;
        if state.tail == entries {
            (state.tail, state.phase) = (0, !state.phase);
        }
    }

    fn address(&self, low: u32) -> u64 {
        u64::from(self.get(low)) | u64::from(self.get(low + 4)) << 32
    }
}

const OPCODES: [Opcode; 22] = [
    Opcode::Identify,
    Opcode::PortSet,
    Opcode::SsdPrepare,
    Opcode::SsdAttach,
    Opcode::SsdDetach,
    Opcode::SubsystemAdd,
    Opcode::SubsystemRemove,
    Opcode::NamespaceAdd,
    Opcode::NamespaceRemove,
    Opcode::HostAdd,
    Opcode::HostRemove,
    Opcode::ListenerAdd,
    Opcode::ListenerRemove,
    Opcode::AllowAnyHost,
    Opcode::PortGet,
    Opcode::SsdGet,
    Opcode::SubsystemGet,
    Opcode::NamespaceGet,
    Opcode::HostGet,
    Opcode::ControllerGet,
    Opcode::Counters,
    Opcode::NextEvent,
];

/// Data and result of a command: two data cores, four SSDs.
fn answer(opcode: Opcode, index: u32) -> (Vec<u8>, u32) {
    match opcode {
        Opcode::Identify => {
            let mut info = CardInfo::new_zeroed();
            info.firmware[..4].copy_from_slice(b"fake");
            info.cores.set(CORES as u16);
            for limit in [
                &mut info.max_ssds,
                &mut info.max_subsystems,
                &mut info.max_hosts,
                &mut info.max_namespaces,
            ] {
                limit.set(4);
            }
            info.max_ports.set(1);
            (info.as_bytes().to_vec(), 0)
        }
        Opcode::SsdPrepare => {
            let place = |core: u32| QueuePlace {
                sq: (0x5C_0000 + index * 0x8000 + core * 0x4000).into(),
                cq: (0x5C_2000 + index * 0x8000 + core * 0x4000).into(),
                entries: 64.into(),
                core: (core as u16 + 1).into(),
            };
            (
                [place(0), place(1)]
                    .iter()
                    .flat_map(|p| p.as_bytes().to_vec())
                    .collect(),
                2,
            )
        }
        Opcode::Counters => (vec![0; 4096], 0),
        _ => (Vec::new(), 0),
    }
}

/// A fake card as a device.
pub struct FakeDevice {
    registers: Registers,
    packet_memory: MemoryBar,
    memory: Memory,
    irq: Vectors,
}

struct Registers(FakeCard);

/// Nothing fires; waiting lets time pass.
struct Vectors(Rc<ManualClock>);

impl Device for FakeDevice {
    fn name(&self) -> &str {
        "fake card"
    }
    fn bar(&self, index: u8) -> Result<&dyn Bar, BarError> {
        match index {
            0 => Ok(&self.registers),
            2 => Ok(&self.packet_memory),
            _ => Err(BarError::Absent {
                device: "fake card".into(),
                index,
            }),
        }
    }
    fn dma(&self) -> &dyn Dma {
        &self.memory
    }
    fn irq(&self) -> &dyn Irq {
        &self.irq
    }
    fn clock(&self) -> &dyn Clock {
        &*self.irq.0
    }
    fn trouble(&self) -> Option<Trouble> {
        self.registers.0.state.borrow().trouble
    }
}

impl Bar for Registers {
    fn len(&self) -> u64 {
        0x1000
    }
    fn bus(&self) -> u64 {
        0xF000_0000
    }
    fn read32(&self, offset: u64) -> Result<u32, BarError> {
        self.0.state.borrow().registers.read32(offset)
    }
    fn write32(&self, offset: u64, value: u32) -> Result<(), BarError> {
        self.0.state.borrow().registers.write32(offset, value)?;
        self.0.written(offset as u32, value);
        Ok(())
    }
}

impl Irq for Vectors {
    fn vectors(&self) -> u16 {
        32
    }
    fn enable(&self, _: u16) -> Result<(), IrqError> {
        Ok(())
    }
    fn wait(&self, _: u16, timeout: Duration) -> Result<bool, IrqError> {
        self.0.sleep(timeout);
        Ok(false)
    }
}
