//! A world of one SSD, host memory and packet memory: what the tests of the SSD model need and no more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use sluice_device::testing::Memory;
use sluice_device::{Bar, BarError, Clock as DeviceClock, Device, Dma, Irq, IrqError};
use sluice_driver::nvme::{Ssd as Driver, SsdError, SsdOptions};

use super::super::{BAR0_SIZE, MSIX_TABLE, Ssd, SsdConfig};
use crate::fabric::{BusError, Clock, Device as _, Port, QUANTUM, Tlp};

/// Where the SSD's registers are on the bus.
pub const SSD_BUS: u64 = 0xD000_0000;
/// Where packet memory is; a multiple of its size.
pub const PM_BUS: u64 = 0x12_3400_0000;
const HOST_BUS: u64 = 0x1_0000_0000;
const MSI: u64 = 0xFEE0_0000;
const CLOCK_NS: u64 = 4;

pub struct World {
    pub ssd: Ssd,
    pub now: Clock,
    port: Port,
    host: Memory,
    pub card: Memory,
    /// Answer to the host's outstanding read.
    answer: Option<Result<Vec<u8>, BusError>>,
    fired: Vec<u32>,
    /// Writes that reached nothing.
    pub stray: u64,
}

pub type Handle = Rc<RefCell<World>>;

pub fn world(config: SsdConfig) -> Handle {
    Rc::new(RefCell::new(World {
        ssd: Ssd::new(config).expect("backing"),
        now: 0,
        port: Port::default(),
        host: Memory::new(HOST_BUS, 4 << 20),
        card: Memory::new(PM_BUS, sluice_hal::layout::PM_SIZE as usize),
        answer: None,
        fired: Vec::new(),
        stray: 0,
    }))
}

impl World {
    /// Advances by one quantum.
    pub fn step(&mut self) {
        self.now += QUANTUM;
        self.ssd.run(self.now, &mut self.port);
        while let Some((at, tlp)) = self.port.outbox.pop_front() {
            assert!(at < self.now, "sent in the future");
            match tlp {
                Tlp::Write { addr, data } => self.write(addr, &data),
                Tlp::Read { addr, len, tag } => {
                    assert!(
                        len as usize <= crate::fabric::MAX_PAYLOAD
                            && addr % 4096 + u64::from(len) <= 4096
                    );
                    let mut bytes = vec![0; len as usize];
                    let there = self.host.read_bus(addr, &mut bytes)
                        || self.card.read_bus(addr, &mut bytes);
                    let data = if there { Ok(bytes) } else { Err(BusError) };
                    self.send(Tlp::Completion { tag, data });
                }
                Tlp::Completion { data, .. } => self.answer = Some(data),
            }
        }
    }

    pub fn steps(&mut self, n: u64) {
        (0..n).for_each(|_| self.step());
    }

    fn write(&mut self, addr: u64, data: &[u8]) {
        if addr & !0xFFF == MSI {
            self.fired
                .push(u32::from_le_bytes(data.try_into().expect("a word")));
        } else if !self.host.write_bus(addr, data) && !self.card.write_bus(addr, data) {
            self.stray += 1;
        }
    }

    pub fn send(&mut self, tlp: Tlp) {
        self.port.inbox.push_back((self.now + QUANTUM, tlp));
    }

    /// A posted write by bus address to the SSD.
    pub fn write_ssd(&mut self, bus: u64, value: u32) {
        let addr = bus - SSD_BUS;
        self.send(Tlp::Write {
            addr,
            data: value.to_le_bytes().to_vec(),
        });
    }
}

pub struct Sim {
    world: Handle,
    bar: SimBar,
    irq: SimIrq,
    clock: SimClock,
    memory: Memory,
}

pub struct SimBar(Handle);
pub struct SimIrq(Handle, Cell<u16>);
pub struct SimClock(Handle);

/// The SSD of a world as the driver opens it.
pub fn device(world: &Handle) -> Sim {
    let w = || world.clone();
    let memory = world.borrow().host.clone();
    Sim {
        world: w(),
        bar: SimBar(w()),
        irq: SimIrq(w(), Cell::new(0)),
        clock: SimClock(w()),
        memory,
    }
}

/// Brings the SSD up with the host driver.
pub fn open(world: &Handle, queues: u16) -> Result<Driver<Sim>, SsdError> {
    let admin_timeout = Duration::from_millis(50);
    Driver::open(
        device(world),
        SsdOptions {
            interrupts: true,
            admin_timeout,
            queues,
        },
    )
}

impl Device for Sim {
    fn name(&self) -> &str {
        debug_assert!(Rc::strong_count(&self.world) > 1);
        "ssd0"
    }
    fn bar(&self, index: u8) -> Result<&dyn Bar, BarError> {
        if index == 0 {
            Ok(&self.bar)
        } else {
            Err(BarError::Absent {
                device: "ssd0".into(),
                index,
            })
        }
    }
    fn dma(&self) -> &dyn Dma {
        &self.memory
    }
    fn irq(&self) -> &dyn Irq {
        &self.irq
    }
    fn clock(&self) -> &dyn DeviceClock {
        &self.clock
    }
}

impl Bar for SimBar {
    fn len(&self) -> u64 {
        BAR0_SIZE
    }
    fn bus(&self) -> u64 {
        SSD_BUS
    }
    fn read32(&self, offset: u64) -> Result<u32, BarError> {
        self.check(offset, 4)?;
        let mut world = self.0.borrow_mut();
        world.answer = None;
        world.send(Tlp::Read {
            addr: offset,
            len: 4,
            tag: 0,
        });
        for _ in 0..1000 {
            world.step();
            if let Some(answer) = world.answer.take() {
                return Ok(answer.map_or(u32::MAX, |b| {
                    u32::from_le_bytes(b.try_into().expect("a word"))
                }));
            }
        }
        // The root port's completion timeout.
        Ok(u32::MAX)
    }
    fn write32(&self, offset: u64, value: u32) -> Result<(), BarError> {
        self.check(offset, 4)?;
        self.0.borrow_mut().write_ssd(SSD_BUS + offset, value);
        Ok(())
    }
}

impl Irq for SimIrq {
    fn vectors(&self) -> u16 {
        self.0.borrow().ssd.config().vectors
    }
    fn enable(&self, count: u16) -> Result<(), IrqError> {
        let mut world = self.0.borrow_mut();
        for vector in 0..u64::from(count) {
            let entry = SSD_BUS + MSIX_TABLE + 16 * vector;
            for (i, word) in [MSI as u32, 0, vector as u32, 0].into_iter().enumerate() {
                world.write_ssd(entry + 4 * i as u64, word);
            }
        }
        self.1.set(count);
        Ok(())
    }
    fn wait(&self, vector: u16, timeout: Duration) -> Result<bool, IrqError> {
        if vector >= self.1.get() {
            return Err(IrqError::NotArmed {
                vector,
                armed: self.1.get(),
            });
        }
        let mut world = self.0.borrow_mut();
        let until = world.now + timeout.as_nanos() as u64 / CLOCK_NS;
        loop {
            let before = world.fired.len();
            world.fired.retain(|v| *v != u32::from(vector));
            if world.fired.len() != before {
                return Ok(true);
            }
            if world.now >= until {
                return Ok(false);
            }
            world.step();
        }
    }
}

impl DeviceClock for SimClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.borrow().now * CLOCK_NS)
    }
    fn sleep(&self, time: Duration) {
        let mut world = self.0.borrow_mut();
        let quanta = (time.as_nanos() as u64 / CLOCK_NS).div_ceil(QUANTUM);
        world.steps(quanta);
    }
}
