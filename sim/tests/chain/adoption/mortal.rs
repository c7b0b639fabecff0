//! A device that its driver can reach a number of times, and then never again: as if the process had been killed there. What
//! the driver does on its way out reaches nothing, and memory it had stays taken.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::time::Duration;

use sluice_device::{Bar, BarError, Clock, Device, Dma, DmaBuffer, DmaError, Irq, IrqError};

/// Accesses left, of all devices of a process together.
pub type Budget = Rc<Cell<u64>>;

type Boxed = Box<dyn Device>;

pub struct Mortal {
    device: Rc<Boxed>,
    bars: [Reach; 6],
    other: Reach,
}

/// A way to the device, to a BAR of this number.
struct Reach {
    device: Rc<Boxed>,
    bar: u8,
    life: Budget,
}

struct Buffer {
    inner: ManuallyDrop<Box<dyn DmaBuffer>>,
    life: Budget,
}

impl Mortal {
    pub fn new(device: Boxed, life: &Budget) -> Self {
        let device = Rc::new(device);
        let reach = |bar: u8| Reach {
            device: device.clone(),
            bar,
            life: life.clone(),
        };
        Self {
            bars: [0, 1, 2, 3, 4, 5].map(reach),
            other: reach(0),
            device: device.clone(),
        }
    }
}

fn alive(life: &Budget) -> bool {
    life.set(life.get().saturating_sub(1));
    life.get() != 0
}

fn dead(offset: u64) -> BarError {
    let reason = "the process was killed".into();
    BarError::Backend { offset, reason }
}

fn no_memory(len: usize) -> DmaError {
    let reason = "the process was killed".into();
    DmaError::Exhausted { len, reason }
}

impl Reach {
    fn bar(&self) -> &dyn Bar {
        self.device.bar(self.bar).expect("it was there")
    }
}

impl Device for Mortal {
    fn name(&self) -> &str {
        self.device.name()
    }
    fn bar(&self, index: u8) -> Result<&dyn Bar, BarError> {
        self.device
            .bar(index)
            .map(|_| &self.bars[usize::from(index)] as &dyn Bar)
    }
    fn dma(&self) -> &dyn Dma {
        &self.other
    }
    fn irq(&self) -> &dyn Irq {
        &self.other
    }
    fn clock(&self) -> &dyn Clock {
        self.device.clock()
    }
}

impl Bar for Reach {
    fn len(&self) -> u64 {
        self.bar().len()
    }
    fn bus(&self) -> u64 {
        self.bar().bus()
    }
    fn read32(&self, offset: u64) -> Result<u32, BarError> {
        if alive(&self.life) {
            self.bar().read32(offset)
        } else {
            Err(dead(offset))
        }
    }
    fn write32(&self, offset: u64, value: u32) -> Result<(), BarError> {
        if alive(&self.life) {
            self.bar().write32(offset, value)
        } else {
            Err(dead(offset))
        }
    }
}

impl Dma for Reach {
    fn alloc(&self, len: usize, align: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        if !alive(&self.life) {
            return Err(no_memory(len));
        }
        let inner = ManuallyDrop::new(self.device.dma().alloc(len, align)?);
        let life = self.life.clone();
        Ok(Box::new(Buffer { inner, life }))
    }
    fn reclaim(&self, bus: u64, len: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        if !alive(&self.life) {
            return Err(no_memory(len));
        }
        let inner = ManuallyDrop::new(self.device.dma().reclaim(bus, len)?);
        let life = self.life.clone();
        Ok(Box::new(Buffer { inner, life }))
    }
}

impl Irq for Reach {
    fn vectors(&self) -> u16 {
        self.device.irq().vectors()
    }
    fn enable(&self, count: u16) -> Result<(), IrqError> {
        if alive(&self.life) {
            self.device.irq().enable(count)
        } else {
            Err(no_interrupt())
        }
    }
    fn wait(&self, vector: u16, timeout: Duration) -> Result<bool, IrqError> {
        if alive(&self.life) {
            self.device.irq().wait(vector, timeout)
        } else {
            Err(no_interrupt())
        }
    }
}

fn no_interrupt() -> IrqError {
    let reason = "the process was killed".into();
    IrqError::Backend { reason }
}

impl DmaBuffer for Buffer {
    fn bus(&self) -> u64 {
        self.inner.bus()
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        if alive(&self.life) {
            self.inner.read(offset, into)
        } else {
            Err(no_memory(into.len()))
        }
    }
    fn write(&self, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        if alive(&self.life) {
            self.inner.write(offset, from)
        } else {
            Err(no_memory(from.len()))
        }
    }
    fn read32(&self, offset: usize) -> Result<u32, DmaError> {
        if alive(&self.life) {
            self.inner.read32(offset)
        } else {
            Err(no_memory(4))
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Nobody gives memory back for a process that is no more.
        if self.life.get() != 0 {
            let inner = std::mem::replace(&mut *self.inner, Box::new(Nothing));
            drop(inner);
        }
    }
}

/// In the place of memory that was given back.
struct Nothing;

impl DmaBuffer for Nothing {
    fn bus(&self) -> u64 {
        0
    }
    fn len(&self) -> usize {
        0
    }
    fn read(&self, _: usize, into: &mut [u8]) -> Result<(), DmaError> {
        Err(no_memory(into.len()))
    }
    fn write(&self, _: usize, from: &[u8]) -> Result<(), DmaError> {
        Err(no_memory(from.len()))
    }
    fn read32(&self, _: usize) -> Result<u32, DmaError> {
        Err(no_memory(4))
    }
}
