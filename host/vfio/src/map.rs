//! Mapped memory: a device's registers, or memory that devices write. The one place with pointers: every access is checked
//! against the mapping's length and made volatile.
#![allow(unsafe_code, reason = "volatile accesses to mapped memory")]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
#[cfg(test)]
use std::sync::atomic::AtomicU32;
use std::sync::atomic::{Ordering, fence};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: NonZeroUsize,
}

// SAFETY: the mapping belongs to the process, not to a thread; accesses are volatile or atomic.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset` on.
    ///
    /// # Errors
    /// The system's.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<Self> {
        let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
        let len = usize::try_from(len).map_err(|_| wrong())?;
        let len = NonZeroUsize::new(len).ok_or_else(wrong)?;
        let (access, how) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that anything else uses.
        let start = unsafe { mmap(std::ptr::null_mut(), len.get(), access, how, fd, offset)? };
        let start = NonNull::new(start.cast()).ok_or_else(wrong)?;
        Ok(Self { start, len })
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Address in this process, for the kernel's calls alone.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// The place of `len` bytes at `offset`, if they are in the mapping.
    fn at(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        // SAFETY: `offset` is in the mapping or at its end.
        (end <= self.len()).then(|| unsafe { self.start.add(offset) })
    }

    fn word(&self, offset: usize) -> Option<NonNull<u32>> {
        let at = self.at(offset, 4)?.cast::<u32>();
        at.is_aligned().then_some(at)
    }

    /// Reads one aligned word in one access; what follows sees at least what was written before that word.
    #[must_use]
    pub fn read32(&self, offset: usize) -> Option<u32> {
        let at = self.word(offset)?;
        // SAFETY: in the mapping, aligned; any value is a valid word.
        let value = unsafe { at.read_volatile() };
        fence(Ordering::Acquire);
        Some(u32::from_le(value))
    }

    /// Writes one aligned word in one access, after all earlier writes to any memory.
    pub fn write32(&self, offset: usize, value: u32) -> Option<()> {
        let at = self.word(offset)?;
        // On x86-64 stores to write-back memory are seen before later stores to uncached memory.
        fence(Ordering::SeqCst);
        // SAFETY: in the mapping, aligned.
        unsafe { at.write_volatile(value.to_le()) };
        Some(())
    }

    /// Copies out, each byte read once: whole words where both ends allow it.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Option<()> {
        let from = self.at(offset, into.len())?;
        let head = from.as_ptr().align_offset(4).min(into.len());
        let (first, rest) = into.split_at_mut(head);
        let mut at = from;
        let mut bytes = |part: &mut [u8]| {
            for byte in part {
                // SAFETY: as many bytes are read as were checked to be in the mapping.
                unsafe {
                    *byte = at.read_volatile();
                    at = at.add(1);
                }
            }
            at
        };
        let mut at = bytes(first);
        let mut words = rest.chunks_exact_mut(4);
        for word in &mut words {
            // SAFETY: aligned since `head` bytes were passed, and within what was checked.
            unsafe {
                word.copy_from_slice(&at.cast::<u32>().read_volatile().to_ne_bytes());
                at = at.add(4);
            }
        }
        for byte in words.into_remainder() {
            // SAFETY: within what was checked.
            unsafe {
                *byte = at.read_volatile();
                at = at.add(1);
            }
        }
        Some(())
    }

    /// Copies in, each byte written once: whole words where both ends allow it.
    pub fn write(&self, offset: usize, from: &[u8]) -> Option<()> {
        let mut at = self.at(offset, from.len())?;
        let head = at.as_ptr().align_offset(4).min(from.len());
        let (first, rest) = from.split_at(head);
        let (words, last) = rest.split_at(rest.len() / 4 * 4);
        for byte in first {
            // SAFETY: as many bytes are written as were checked to be in the mapping.
            unsafe {
                at.write_volatile(*byte);
                at = at.add(1);
            }
        }
        for word in words.chunks_exact(4) {
            let value = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
            // SAFETY: aligned since `head` bytes were passed, and within what was checked.
            unsafe {
                at.cast::<u32>().write_volatile(value);
                at = at.add(4);
            }
        }
        for byte in last {
            // SAFETY: within what was checked.
            unsafe {
                at.write_volatile(*byte);
                at = at.add(1);
            }
        }
        Some(())
    }

    /// Fills with zeros; false if it is not all in the mapping.
    #[must_use]
    pub fn clear(&self, offset: usize, len: usize) -> bool {
        if self.at(offset, len).is_none() {
            return false;
        }
        let zeros = [0; 4096];
        (offset..offset + len).step_by(zeros.len()).all(|at| {
            self.write(at, &zeros[..zeros.len().min(offset + len - at)])
                .is_some()
        })
    }

    /// A word that another process or device may change, for tests.
    #[cfg(test)]
    fn atomic(&self, offset: usize) -> &AtomicU32 {
        let at = self.word(offset).expect("in the mapping");
        // SAFETY: in the mapping, aligned, lives as long as `self`; all accesses are atomic or volatile.
        unsafe { AtomicU32::from_ptr(at.as_ptr()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, and nothing points into it any more.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.len.get()) } {
            log::warn!(
                "a mapping of {} bytes was not given back: {error}",
                self.len
            );
        }
    }
}

/// Memory that lives as long as its descriptor does.
#[derive(Debug)]
pub struct SharedMemory {
    /// The descriptor.
    pub fd: OwnedFd,
    /// All of it.
    pub mapping: Mapping,
    /// In huge pages.
    pub huge: bool,
}

/// Huge pages' size on x86-64, and what memory is taken in.
pub const HUGE: u64 = 2 << 20;

impl SharedMemory {
    /// `len` zeroed bytes, a multiple of [`HUGE`]; in huge pages if there are some.
    ///
    /// # Errors
    /// The system's.
    pub fn new(len: u64) -> io::Result<Self> {
        let huge = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        let attempt = |flags, huge| -> io::Result<Self> {
            let fd = memfd_create("sluice-dma", flags)?;
            ftruncate(&fd, len)?;
            let mapping = Mapping::new(fd.as_fd(), 0, len)?;
            Ok(Self { fd, mapping, huge })
        };
        attempt(huge, true).or_else(|error| {
            log::debug!("no huge pages for {len} bytes ({error}), taking normal ones");
            attempt(MemfdFlags::CLOEXEC, false)
        })
    }

    /// That of an earlier process.
    ///
    /// # Errors
    /// The system's; `InvalidInput` if it has not `len` bytes.
    pub fn adopt(fd: OwnedFd, len: u64) -> io::Result<Self> {
        let size = rustix::fs::fstat(&fd)?.st_size;
        if u64::try_from(size) != Ok(len) {
            let text = format!("memory of {len} bytes wanted, it has {size}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mapping = Mapping::new(fd.as_fd(), 0, len)?;
        let huge = false;
        Ok(Self { fd, mapping, huge })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> SharedMemory {
        SharedMemory::new(HUGE).expect("memory")
    }

    #[test]
    fn accesses_beyond_the_end_or_misaligned_are_refused() {
        let m = memory();
        let end = HUGE as usize;
        assert_eq!(m.mapping.len(), end);
        assert_eq!(m.mapping.read32(end - 4), Some(0));
        assert_eq!(m.mapping.read32(end), None);
        assert_eq!(m.mapping.read32(end - 2), None);
        assert_eq!(m.mapping.read32(2), None);
        assert_eq!(m.mapping.read32(usize::MAX - 1), None);
        assert_eq!(m.mapping.write32(end, 1), None);
        assert_eq!(m.mapping.write32(5, 1), None);
        assert_eq!(m.mapping.read(end - 3, &mut [0; 4]), None);
        assert_eq!(m.mapping.write(usize::MAX, &[0; 4]), None);
        assert!(!m.mapping.clear(end - 1, 2));
        assert!(m.mapping.clear(end, 0));
    }

    #[test]
    fn copies_at_every_alignment_and_length_are_byte_for_byte() {
        let m = memory();
        for offset in 0..9 {
            for len in 0..20 {
                assert!(m.mapping.clear(0, 64));
                let data: Vec<u8> = (1..=len).collect();
                m.mapping.write(offset, &data).expect("in it");
                let mut back = vec![0; usize::from(len)];
                m.mapping.read(offset, &mut back).expect("in it");
                assert_eq!(back, data);
                let mut all = [0; 64];
                m.mapping.read(0, &mut all).expect("in it");
                let mut want = [0; 64];
                want[offset..offset + data.len()].copy_from_slice(&data);
                assert_eq!(all, want, "{len} bytes at {offset}");
            }
        }
    }

    #[test]
    fn a_word_is_little_endian_and_seen_through_every_mapping_of_the_memory() {
        let m = memory();
        m.mapping.write32(8, 0x0403_0201).expect("in it");
        let again = SharedMemory::adopt(m.fd.try_clone().expect("a descriptor"), HUGE).expect("it");
        drop(m);
        let mut bytes = [0; 4];
        again.mapping.read(8, &mut bytes).expect("in it");
        assert_eq!(bytes, [1, 2, 3, 4]);
        again
            .mapping
            .atomic(8)
            .store(7u32.to_le(), Ordering::Release);
        assert_eq!(again.mapping.read32(8), Some(7));
        let wrong = SharedMemory::adopt(again.fd, 2 * HUGE).expect_err("half as large");
        assert!(
            wrong
                .to_string()
                .contains("4194304 bytes wanted, it has 2097152"),
            "{wrong}"
        );
    }
}
