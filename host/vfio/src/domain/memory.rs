//! Memory that the devices of a domain reach: taken from the system in pieces of 2 MiB, huge pages if there are some, and
//! given out in parts. A piece lives in a memory file, so that it can outlive the process.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use sluice_device::{Dma, DmaBuffer, DmaError};

use super::{Domain, Inner, Kind};
use crate::keep::Name;
use crate::map::{HUGE, SharedMemory};
use crate::ranges::Ranges;
use crate::{VfioError, sys};

/// A piece.
pub(super) struct Chunk {
    iova: u64,
    memory: Rc<SharedMemory>,
    /// Offsets that are free.
    free: Ranges,
}

impl Chunk {
    pub(super) fn adopt(iova: u64, len: u64, fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::new(iova, SharedMemory::adopt(fd, len)?))
    }

    fn new(iova: u64, memory: SharedMemory) -> Self {
        let free = Ranges::new([0..=memory.mapping.len() as u64 - 1]);
        Self {
            iova,
            memory: Rc::new(memory),
            free,
        }
    }
}

/// Gives out nothing more of these pieces: bus address and length of each.
pub(super) fn give_up(chunks: &RefCell<Vec<Chunk>>) -> Vec<(u64, u64)> {
    let chunks = chunks.take();
    let place = |chunk: &Chunk| (chunk.iova, chunk.memory.mapping.len() as u64);
    chunks.iter().map(place).collect()
}

impl Inner {
    fn grow(&self, len: u64, align: u64) -> Result<(), VfioError> {
        let len = len.next_multiple_of(HUGE);
        let memory = SharedMemory::new(len).map_err(VfioError::system("memory for devices"))?;
        let at = memory.mapping.address();
        let mapped = self.place(len, align.max(HUGE), |iova| match &self.kind {
            Kind::Container { fd, .. } => sys::container_map(fd.as_fd(), iova, at, len),
            Kind::Iommufd { fd, space } => {
                let (iommufd, file) = (fd.as_fd(), memory.fd.as_fd());
                sys::iommufd_map_file(iommufd, *space, iova, file, len)
                    .or_else(|_| sys::iommufd_map(iommufd, *space, iova, at, len))
            }
        })?;
        let iova = mapped.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => VfioError::LockedMemory {
                len,
                limit: locked_limit(),
            },
            _ => VfioError::System {
                what: format!("mapping {len} bytes for devices"),
                error,
            },
        })?;
        self.keep(&Name::Memory { iova, len }, memory.fd.as_fd());
        let pages = if memory.huge { "huge" } else { "normal" };
        log::debug!("{len} bytes in {pages} pages at bus address {iova:#x}");
        self.chunks.borrow_mut().push(Chunk::new(iova, memory));
        Ok(())
    }
}

/// The limit in words.
fn locked_limit() -> String {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    limit
        .current
        .map_or("unlimited".into(), |b| format!("{} KiB", b / 1024))
}

impl Dma for Domain {
    fn alloc(&self, len: usize, align: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        if len == 0 || !align.is_power_of_two() {
            return Err(DmaError::BadRequest { len, align });
        }
        let exhausted = |e: VfioError| DmaError::Exhausted {
            len,
            reason: e.to_string(),
        };
        // Whole cache lines, so that no two owners write one.
        let (want, align) = ((len as u64).next_multiple_of(64), align.max(64) as u64);
        loop {
            let mut chunks = self.0.chunks.borrow_mut();
            let found = chunks.iter_mut().find_map(|chunk| {
                let aligned = chunk.iova.is_multiple_of(align);
                let at = chunk.free.alloc(want, align).filter(|_| aligned)?;
                Some((chunk.memory.clone(), chunk.iova, at))
            });
            drop(chunks);
            if let Some((memory, iova, at)) = found {
                if !memory.mapping.clear(at as usize, want as usize) {
                    return Err(DmaError::BadRequest {
                        len,
                        align: align as usize,
                    });
                }
                return Ok(Box::new(self.buffer(memory, iova, at, len)));
            }
            self.0.grow(want, align).map_err(exhausted)?;
        }
    }

    fn reclaim(&self, bus: u64, len: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        let not_kept = DmaError::NotKept { bus, len };
        let want = (len as u64).next_multiple_of(64);
        let mut chunks = self.0.chunks.borrow_mut();
        let found = chunks.iter_mut().find_map(|chunk| {
            let at = bus.checked_sub(chunk.iova)?;
            (chunk.free.take(at, want)).then(|| (chunk.memory.clone(), chunk.iova, at))
        });
        drop(chunks);
        let (memory, iova, at) = found.ok_or(not_kept)?;
        Ok(Box::new(self.buffer(memory, iova, at, len)))
    }
}

impl Domain {
    fn buffer(&self, memory: Rc<SharedMemory>, iova: u64, at: u64, len: usize) -> Buffer {
        Buffer {
            domain: self.clone(),
            memory,
            iova,
            at: at as usize,
            len,
        }
    }
}

/// Part of a piece; given back when dropped.
struct Buffer {
    domain: Domain,
    memory: Rc<SharedMemory>,
    iova: u64,
    at: usize,
    len: usize,
}

impl Buffer {
    fn range(&self, offset: usize, len: usize) -> DmaError {
        DmaError::OutOfRange {
            offset,
            len,
            buffer: self.len,
        }
    }
}

impl DmaBuffer for Buffer {
    fn bus(&self) -> u64 {
        self.iova + self.at as u64
    }

    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        self.check(offset, into.len())?;
        let done = self.memory.mapping.read(self.at + offset, into);
        done.ok_or_else(|| self.range(offset, into.len()))
    }

    fn write(&self, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        self.check(offset, from.len())?;
        let done = self.memory.mapping.write(self.at + offset, from);
        done.ok_or_else(|| self.range(offset, from.len()))
    }

    fn read32(&self, offset: usize) -> Result<u32, DmaError> {
        self.check(offset, 4)?;
        let word = self.memory.mapping.read32(self.at + offset);
        word.ok_or_else(|| self.range(offset, 4))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut chunks = self.domain.0.chunks.borrow_mut();
        if let Some(chunk) = chunks.iter_mut().find(|chunk| chunk.iova == self.iova) {
            chunk
                .free
                .give(self.at as u64, (self.len as u64).next_multiple_of(64));
        }
    }
}
