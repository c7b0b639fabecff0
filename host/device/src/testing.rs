//! The traits over plain memory, for tests of what is built on them: no device behind it, time that only sleeping moves.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::{Bar, BarError, Clock, Dma, DmaBuffer, DmaError};

/// A BAR that holds what was last written to it.
#[derive(Debug)]
pub struct MemoryBar {
    words: RefCell<Vec<u32>>,
    bus: u64,
}

impl MemoryBar {
    /// `len` bytes of zeros (a multiple of 4), reached by others at `bus`.
    #[must_use]
    pub fn new(len: usize, bus: u64) -> Self {
        Self {
            words: RefCell::new(vec![0; len / 4]),
            bus,
        }
    }
}

impl Bar for MemoryBar {
    fn len(&self) -> u64 {
        self.words.borrow().len() as u64 * 4
    }

    fn bus(&self) -> u64 {
        self.bus
    }

    fn read32(&self, offset: u64) -> Result<u32, BarError> {
        self.check(offset, 4)?;
        Ok(self.words.borrow()[offset as usize / 4])
    }

    fn write32(&self, offset: u64, value: u32) -> Result<(), BarError> {
        self.check(offset, 4)?;
        self.words.borrow_mut()[offset as usize / 4] = value;
        Ok(())
    }
}

/// A clock that moves only when slept on.
#[derive(Debug, Default)]
pub struct ManualClock(Cell<Duration>);

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        self.0.get()
    }

    fn sleep(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}

/// Host memory by bus address, shared between the driver under test and whatever plays the device.
#[derive(Clone, Debug)]
pub struct Memory(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    base: u64,
    bytes: Vec<u8>,
    /// Bytes given out; never reused, so that a stale address is never someone else's.
    used: usize,
}

impl Memory {
    /// `len` bytes from bus address `base` on.
    #[must_use]
    pub fn new(base: u64, len: usize) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            base,
            bytes: vec![0; len],
            used: 0,
        })))
    }

    /// Copies from a bus address; false if it is not all in this memory.
    #[must_use]
    pub fn read_bus(&self, addr: u64, into: &mut [u8]) -> bool {
        let inner = self.0.borrow();
        let Some(range) = inner.range(addr, into.len()) else {
            return false;
        };
        into.copy_from_slice(&inner.bytes[range]);
        true
    }

    /// Copies to a bus address; false if it is not all in this memory.
    #[must_use]
    pub fn write_bus(&self, addr: u64, from: &[u8]) -> bool {
        let mut inner = self.0.borrow_mut();
        let Some(range) = inner.range(addr, from.len()) else {
            return false;
        };
        inner.bytes[range].copy_from_slice(from);
        true
    }
}

impl Inner {
    fn range(&self, addr: u64, len: usize) -> Option<std::ops::Range<usize>> {
        let from = usize::try_from(addr.checked_sub(self.base)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.bytes.len()).then_some(from..to)
    }
}

impl Dma for Memory {
    fn alloc(&self, len: usize, align: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        if len == 0 || !align.is_power_of_two() {
            return Err(DmaError::BadRequest { len, align });
        }
        let mut inner = self.0.borrow_mut();
        let at = (inner.base + inner.used as u64).next_multiple_of(align as u64);
        let end = (at - inner.base) as usize + len;
        if end > inner.bytes.len() {
            return Err(DmaError::Exhausted {
                len,
                reason: "the test's memory is full".into(),
            });
        }
        inner.used = end;
        drop(inner);
        Ok(Box::new(MemoryBuffer {
            memory: self.clone(),
            bus: at,
            len,
        }))
    }
}

struct MemoryBuffer {
    memory: Memory,
    bus: u64,
    len: usize,
}

impl DmaBuffer for MemoryBuffer {
    fn bus(&self) -> u64 {
        self.bus
    }

    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        self.check(offset, into.len())?;
        assert!(
            self.memory.read_bus(self.bus + offset as u64, into),
            "allocated here"
        );
        Ok(())
    }

    fn write(&self, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        self.check(offset, from.len())?;
        assert!(
            self.memory.write_bus(self.bus + offset as u64, from),
            "allocated here"
        );
        Ok(())
    }

    fn read32(&self, offset: usize) -> Result<u32, DmaError> {
        let mut word = [0; 4];
        self.read(offset, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_outside_a_bar_or_misaligned_are_refused() {
        let bar = MemoryBar::new(16, 0);
        assert_eq!(
            bar.read32(16),
            Err(BarError::OutOfRange {
                offset: 16,
                len: 4,
                bar: 16
            })
        );
        assert_eq!(
            bar.read32(2),
            Err(BarError::Misaligned { offset: 2, len: 4 })
        );
        assert_eq!(
            bar.write(8, &[0; 12]),
            Err(BarError::OutOfRange {
                offset: 8,
                len: 12,
                bar: 16
            })
        );
        assert!(matches!(
            bar.read(u64::MAX - 3, &mut [0; 4]),
            Err(BarError::OutOfRange { .. })
        ));
    }

    #[test]
    fn bulk_and_64_bit_accesses_agree_with_words() {
        let bar = MemoryBar::new(16, 0);
        bar.write64(0, 0x1122_3344_5566_7788).expect("fits");
        assert_eq!(bar.read32(0), Ok(0x5566_7788));
        bar.write(8, &[1, 2, 3, 4, 5, 6, 7, 8]).expect("fits");
        assert_eq!(bar.read64(8), Ok(0x0807_0605_0403_0201));
        let mut back = [0; 8];
        bar.read(0, &mut back).expect("fits");
        assert_eq!(back, 0x1122_3344_5566_7788_u64.to_le_bytes());
    }

    #[test]
    fn buffers_are_aligned_and_bounded() {
        let memory = Memory::new(0x1000, 0x10000);
        let small = memory.alloc(10, 1).expect("room");
        let large = memory.alloc(8192, 4096).expect("room");
        assert_eq!(large.bus() % 4096, 0);
        assert!(small.write(8, &[1, 2, 3]).is_err());
        small.write(6, &[1, 2, 3, 4]).expect("fits");
        let mut seen = [0; 4];
        assert!(memory.read_bus(small.bus() + 6, &mut seen));
        assert_eq!(seen, [1, 2, 3, 4]);
        assert!(matches!(
            memory.alloc(1 << 20, 1),
            Err(DmaError::Exhausted { .. })
        ));
        assert!(matches!(
            memory.alloc(0, 1),
            Err(DmaError::BadRequest { .. })
        ));
        assert!(matches!(
            memory.alloc(1, 3),
            Err(DmaError::BadRequest { .. })
        ));
    }
}
