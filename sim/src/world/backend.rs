//! Device access for the host driver inside the simulation: each call lets the world advance until it is answered.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use sluice_device::{Bar, BarError, Clock, Device, Dma, DmaBuffer, DmaError, Irq, IrqError};

use super::{
    CARD_BAR0, CARD_BAR0_SIZE, CARD_BAR2, CARD_BAR2_SIZE, MSI_BASE, SSD_BAR_SIZE, SSD_BARS, World,
};
use crate::fabric::MAX_PAYLOAD;

/// A world that several devices share.
pub type WorldHandle = Rc<RefCell<World>>;

/// Nanoseconds per card clock.
const CLOCK_NS: u64 = 4;
/// MSI-X table of the card, in BAR0 (docs/card.md, section 5).
const CARD_MSIX: u64 = 0x8000;
/// Vectors of the card.
const CARD_VECTORS: u16 = 32;

/// The card as the host driver opens it.
#[must_use]
pub fn card_device(world: &WorldHandle) -> Box<dyn Device> {
    let bar = |bus, len| SimBar {
        world: world.clone(),
        bus,
        len,
    };
    Box::new(SimDevice {
        name: "card".into(),
        bars: vec![
            (0, bar(CARD_BAR0, CARD_BAR0_SIZE)),
            (2, bar(CARD_BAR2, CARD_BAR2_SIZE)),
        ],
        dma: SimDma {
            world: world.clone(),
        },
        irq: SimIrq {
            world: world.clone(),
            table: CARD_BAR0 + CARD_MSIX,
            vectors: CARD_VECTORS,
            address: MSI_BASE,
            armed: Cell::new(0),
        },
        clock: SimClock {
            world: world.clone(),
        },
    })
}

/// SSD `index` as the host driver opens it; its MSI-X table lies at `msix_table` in BAR0.
#[must_use]
pub fn ssd_device(
    world: &WorldHandle,
    index: usize,
    msix_table: u64,
    vectors: u16,
) -> Box<dyn Device> {
    let base = SSD_BARS + index as u64 * SSD_BAR_SIZE;
    Box::new(SimDevice {
        name: format!("ssd{index}"),
        bars: vec![(
            0,
            SimBar {
                world: world.clone(),
                bus: base,
                len: SSD_BAR_SIZE,
            },
        )],
        dma: SimDma {
            world: world.clone(),
        },
        irq: SimIrq {
            world: world.clone(),
            table: base + msix_table,
            vectors,
            address: MSI_BASE + (index as u64 + 1) * 0x1000,
            armed: Cell::new(0),
        },
        clock: SimClock {
            world: world.clone(),
        },
    })
}

struct SimDevice {
    name: String,
    bars: Vec<(u8, SimBar)>,
    dma: SimDma,
    irq: SimIrq,
    clock: SimClock,
}

impl Device for SimDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn bar(&self, index: u8) -> Result<&dyn Bar, BarError> {
        let found = self.bars.iter().find(|(i, _)| *i == index);
        found
            .map(|(_, b)| b as &dyn Bar)
            .ok_or_else(|| BarError::Absent {
                device: self.name.clone(),
                index,
            })
    }

    fn dma(&self) -> &dyn Dma {
        &self.dma
    }

    fn irq(&self) -> &dyn Irq {
        &self.irq
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }
}

struct SimBar {
    world: WorldHandle,
    bus: u64,
    len: u64,
}

impl Bar for SimBar {
    fn len(&self) -> u64 {
        self.len
    }

    fn bus(&self) -> u64 {
        self.bus
    }

    fn read32(&self, offset: u64) -> Result<u32, BarError> {
        self.check(offset, 4)?;
        // A read that nothing answers gives all ones, as on a real bus.
        let data = self
            .world
            .borrow_mut()
            .host_read(self.bus + offset, 4)
            .unwrap_or_else(|_| vec![0xff; 4]);
        let mut word = [0xff; 4];
        let n = data.len().min(4);
        word[..n].copy_from_slice(&data[..n]);
        Ok(u32::from_le_bytes(word))
    }

    fn write32(&self, offset: u64, value: u32) -> Result<(), BarError> {
        self.check(offset, 4)?;
        self.world
            .borrow_mut()
            .host_write(self.bus + offset, &value.to_le_bytes());
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BarError> {
        self.check(offset, from.len() as u64)?;
        let mut world = self.world.borrow_mut();
        for (i, piece) in from.chunks(MAX_PAYLOAD / 4).enumerate() {
            world.host_write(self.bus + offset + (i * (MAX_PAYLOAD / 4)) as u64, piece);
        }
        Ok(())
    }
}

struct SimDma {
    world: WorldHandle,
}

impl Dma for SimDma {
    fn alloc(&self, len: usize, align: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        if len == 0 || !align.is_power_of_two() {
            return Err(DmaError::BadRequest { len, align });
        }
        let bus = self
            .world
            .borrow_mut()
            .memory
            .alloc(len as u64, align as u64);
        let bus = bus.ok_or_else(|| DmaError::Exhausted {
            len,
            reason: "the simulated machine has 1 GiB".into(),
        })?;
        Ok(Box::new(SimBuffer {
            world: self.world.clone(),
            bus,
            len,
        }))
    }

    fn reclaim(&self, bus: u64, len: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        reclaim(&self.world, bus, len)
    }
}

/// Memory of a driver that is no more is where it was.
fn reclaim(world: &WorldHandle, bus: u64, len: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
    if !world.borrow().memory.is_taken(bus, len as u64) {
        return Err(DmaError::NotKept { bus, len });
    }
    Ok(Box::new(SimBuffer {
        world: world.clone(),
        bus,
        len,
    }))
}

struct SimBuffer {
    world: WorldHandle,
    bus: u64,
    len: usize,
}

impl SimBuffer {
    fn offset(&self, offset: usize) -> u64 {
        self.world.borrow().memory.offset(self.bus).unwrap_or(0) + offset as u64
    }
}

impl DmaBuffer for SimBuffer {
    fn bus(&self) -> u64 {
        self.bus
    }

    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        self.check(offset, into.len())?;
        let at = self.offset(offset);
        if let Some(bytes) = self.world.borrow().memory.read(at, into.len()) {
            into.copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn write(&self, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        self.check(offset, from.len())?;
        let at = self.offset(offset);
        self.world.borrow_mut().memory.write(at, from);
        Ok(())
    }

    fn read32(&self, offset: usize) -> Result<u32, DmaError> {
        let mut word = [0; 4];
        self.read(offset, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }
}

impl Drop for SimBuffer {
    fn drop(&mut self) {
        // A world that is being torn down while borrowed keeps its memory to itself.
        if let Ok(mut world) = self.world.try_borrow_mut() {
            world.memory.release(self.bus, self.len as u64);
        }
    }
}

struct SimIrq {
    world: WorldHandle,
    table: u64,
    vectors: u16,
    address: u64,
    armed: Cell<u16>,
}

impl Irq for SimIrq {
    fn vectors(&self) -> u16 {
        self.vectors
    }

    fn enable(&self, count: u16) -> Result<(), IrqError> {
        if count > self.vectors {
            return Err(IrqError::TooFew {
                want: count,
                have: self.vectors,
            });
        }
        let mut world = self.world.borrow_mut();
        for vector in 0..self.armed.get().max(count) {
            let entry = self.table + 16 * u64::from(vector);
            let masked = u32::from(vector >= count);
            let words = [
                self.address as u32,
                (self.address >> 32) as u32,
                u32::from(vector),
                masked,
            ];
            for (i, word) in words.iter().enumerate() {
                world.host_write(entry + 4 * i as u64, &word.to_le_bytes());
            }
            while world.take_message(self.address, u32::from(vector)) {}
        }
        self.armed.set(count);
        Ok(())
    }

    fn wait(&self, vector: u16, timeout: Duration) -> Result<bool, IrqError> {
        if vector >= self.armed.get() {
            return Err(IrqError::NotArmed {
                vector,
                armed: self.armed.get(),
            });
        }
        let limit = timeout.as_nanos() as u64 / CLOCK_NS;
        let (address, data) = (self.address, u32::from(vector));
        let mut world = self.world.borrow_mut();
        let fired = world.run_until(limit, |w| w.take_message(address, data));
        while world.take_message(address, data) {}
        Ok(fired)
    }
}

struct SimClock {
    world: WorldHandle,
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.world.borrow().now() * CLOCK_NS)
    }

    fn sleep(&self, time: Duration) {
        let clocks = time.as_nanos() as u64 / CLOCK_NS;
        self.world.borrow_mut().run_until(clocks, |_| false);
    }
}
