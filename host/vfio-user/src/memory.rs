//! Files whose bytes are shared with another process: the client's memory, a device's BAR.
//!
//! A file of the other side is mapped only if it is sealed against shrinking, since touching a mapping beyond the end of its
//! file kills the process. Others are read and written by system calls, which fail instead.
#![allow(
    unsafe_code,
    reason = "mapping a file and touching the mapping; the only place in this crate"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use rustix::fs::{self, FileType, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Seals that keep a file as long as it is.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
/// File systems whose files are memory (`linux/magic.h`): tmpfs and memfd, hugetlbfs. Others may wait for a disk or a server.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x9584_58F6];

/// Which file it is, however many descriptors there are of it: device and inode.
pub type FileId = (u64, u64);

/// A file, mapped or not.
#[derive(Debug)]
pub struct SharedFile {
    fd: OwnedFd,
    id: FileId,
    len: u64,
    map: Option<Mapping>,
}

/// Why a file of the other side is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The system's.
    #[error("cannot look at the descriptor: {0}")]
    Io(#[from] io::Error),
    /// A pipe, a socket, a disk.
    #[error("the descriptor is no file in memory; share a memfd, or a file on tmpfs or hugetlbfs")]
    Kind,
}

impl SharedFile {
    /// A memfd of `len` bytes of zeros, sealed and mapped.
    ///
    /// # Errors
    /// The system's.
    pub fn create(name: &str, len: u64) -> io::Result<Self> {
        let fd = fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        fs::ftruncate(&fd, len)?;
        fs::fcntl_add_seals(&fd, SEALS)?;
        let stat = fs::fstat(&fd)?;
        let map = Some(Mapping::new(fd.as_fd(), len, true)?);
        let id = (stat.st_dev, stat.st_ino);
        Ok(Self { fd, id, len, map })
    }

    /// A file that the other side sent.
    ///
    /// # Errors
    /// [`AdoptError`] if it is not one that is read and written without waiting.
    pub fn adopt(fd: OwnedFd) -> Result<Self, AdoptError> {
        let stat = fs::fstat(&fd).map_err(io::Error::from)?;
        let system = fs::fstatfs(&fd).map_err(io::Error::from)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || !MEMORY_FILE_SYSTEMS.contains(&(system.f_type as u64)) {
            return Err(AdoptError::Kind);
        }
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        let sealed = fs::fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        // Without a mapping it is slower, and just as good: a file that cannot be written is seen when it is.
        let map = (sealed && len > 0)
            .then(|| Mapping::new(fd.as_fd(), len, true).ok())
            .flatten();
        let id = (stat.st_dev, stat.st_ino);
        Ok(Self { fd, id, len, map })
    }

    /// Device and inode of the file behind `fd`.
    ///
    /// # Errors
    /// The system's.
    pub fn identify(fd: BorrowedFd<'_>) -> io::Result<FileId> {
        let stat = fs::fstat(fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Which file it is.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Bytes, when it was taken.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// It has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// It is mapped, not read and written by system calls.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// The descriptor, to be sent.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Copies out, each aligned word in one access, in rising order.
    ///
    /// # Errors
    /// If the bytes are not in the file, or the system fails.
    pub fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.check(at, into.len())?;
        if let Some(map) = &self.map {
            map.read(at as usize, into);
            return Ok(());
        }
        let mut done = 0;
        while done < into.len() {
            match rustix::io::pread(&self.fd, &mut into[done..], at + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Copies in, each aligned word in one access, in rising order: who sees the last one sees all.
    ///
    /// # Errors
    /// If the bytes are not in the file, or the system fails.
    pub fn write(&self, at: u64, from: &[u8]) -> io::Result<()> {
        self.check(at, from.len())?;
        if let Some(map) = &self.map {
            map.write(at as usize, from);
            return Ok(());
        }
        // One call writes in any order it likes, so the last word gets one of its own: it tells of the others.
        let (first, last) = from.split_at(from.len().saturating_sub(4));
        self.write_file(at, first)?;
        self.write_file(at + first.len() as u64, last)
    }

    fn write_file(&self, at: u64, from: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < from.len() {
            match rustix::io::pwrite(&self.fd, &from[done..], at + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn check(&self, at: u64, len: usize) -> io::Result<()> {
        match at.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{len} bytes at {at:#x} are not in a file of {:#x} bytes",
                    self.len
                ),
            )),
        }
    }
}

/// A file mapped whole.
#[derive(Debug)]
struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory that belongs to the value; it is only touched by volatile accesses, as memory that
// others change at any time, so that more threads are no different from the other process.
unsafe impl Send for Mapping {}
// SAFETY: as above; no reference to the memory is ever made.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, len: u64, write: bool) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut prot = ProtFlags::READ;
        prot.set(ProtFlags::WRITE, write);
        // SAFETY: a new mapping at an address that the kernel chooses disturbs nothing that exists.
        let at = unsafe { mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, fd, 0)? };
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { at, len })
    }

    /// The caller has checked that the bytes are inside.
    fn read(&self, at: usize, into: &mut [u8]) {
        assert!(
            at.checked_add(into.len())
                .is_some_and(|end| end <= self.len)
        );
        let mut done = 0;
        while done < into.len() {
            let step = step(at + done, into.len() - done);
            // SAFETY: `at + done + step` is at most `at + into.len()`, which lies in the mapping (asserted above); the mapping
            // begins at a page, so that an offset that is a multiple of the size is an aligned address; the file behind it
            // does not shrink (it is sealed), so that the access does not fault.
            unsafe {
                let from = self.at.as_ptr().add(at + done);
                match step {
                    8 => into[done..done + 8]
                        .copy_from_slice(&from.cast::<u64>().read_volatile().to_ne_bytes()),
                    4 => into[done..done + 4]
                        .copy_from_slice(&from.cast::<u32>().read_volatile().to_ne_bytes()),
                    _ => into[done] = from.read_volatile(),
                }
            }
            done += step;
        }
        // What is read after this was written after what was read here.
        fence(Ordering::Acquire);
    }

    /// The caller has checked that the bytes are inside.
    fn write(&self, at: usize, from: &[u8]) {
        assert!(
            at.checked_add(from.len())
                .is_some_and(|end| end <= self.len)
        );
        let mut done = 0;
        fence(Ordering::Release);
        while done < from.len() {
            let step = step(at + done, from.len() - done);
            if done + step == from.len() {
                // The last word may be what tells the other side that all is there.
                fence(Ordering::Release);
            }
            let mut word = [0; 8];
            word[..step].copy_from_slice(&from[done..done + step]);
            let word = u64::from_le_bytes(word);
            // SAFETY: as in `read`; the mapping was made writable.
            unsafe {
                let to = self.at.as_ptr().add(at + done);
                match step {
                    8 => to.cast::<u64>().write_volatile(word.to_le()),
                    4 => to.cast::<u32>().write_volatile((word as u32).to_le()),
                    _ => to.write_volatile(word as u8),
                }
            }
            done += step;
        }
    }
}

/// Bytes of the next access at this offset with so many left.
fn step(at: usize, left: usize) -> usize {
    match () {
        () if at.is_multiple_of(8) && left >= 8 => 8,
        () if at.is_multiple_of(4) && left >= 4 => 4,
        () => 1,
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, which nobody else knows of, and no reference into it exists.
        let result = unsafe { munmap(self.at.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "unmapping what was mapped cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_is_mapped_by_the_other_side_and_both_see_the_same() {
        let ours = SharedFile::create("ours", 8192).expect("a memfd");
        let theirs = SharedFile::adopt(ours.fd().try_clone_to_owned().expect("a descriptor"))
            .expect("a memfd");
        assert!(theirs.is_mapped());
        assert_eq!((theirs.id(), theirs.len()), (ours.id(), 8192));
        for (at, len) in [(0, 1), (1, 13), (4, 4), (8, 16), (4093, 300), (8191, 1)] {
            let data: Vec<u8> = (0..len).map(|i| (i as u8) ^ 0x5A).collect();
            theirs.write(at, &data).expect("fits");
            let mut seen = vec![0; len];
            ours.read(at, &mut seen).expect("fits");
            assert_eq!(seen, data, "{len} bytes at {at}");
        }
        assert!(ours.write(8190, &[0; 3]).is_err() && ours.read(u64::MAX, &mut [0]).is_err());
    }

    #[test]
    fn a_file_that_may_shrink_is_not_mapped_and_shrinking_it_is_an_error_not_a_crash() {
        let fd = fs::memfd_create("loose", MemfdFlags::CLOEXEC).expect("a memfd");
        fs::ftruncate(&fd, 8192).expect("grows");
        let file = SharedFile::adopt(fd.try_clone().expect("a descriptor")).expect("a memfd");
        assert!(!file.is_mapped());
        file.write(4090, &[1, 2, 3, 4, 5, 6, 7]).expect("fits");
        let mut seen = [0; 7];
        file.read(4090, &mut seen).expect("fits");
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
        fs::ftruncate(&fd, 0).expect("shrinks");
        assert!(file.read(4090, &mut seen).is_err());
    }

    #[test]
    fn pipes_sockets_and_devices_are_no_memory() {
        let (pipe, _end) = io::pipe().expect("a pipe");
        assert!(matches!(
            SharedFile::adopt(pipe.into()),
            Err(AdoptError::Kind)
        ));
        let zero = std::fs::File::open("/dev/zero").expect("opens");
        assert!(matches!(
            SharedFile::adopt(zero.into()),
            Err(AdoptError::Kind)
        ));
    }

    #[test]
    fn a_file_that_cannot_be_written_fails_when_it_is() {
        let ours = SharedFile::create("ours", 4096).expect("a memfd");
        fs::fcntl_add_seals(ours.fd(), SealFlags::FUTURE_WRITE).expect("seals");
        let theirs = SharedFile::adopt(ours.fd().try_clone_to_owned().expect("a descriptor"))
            .expect("a memfd");
        assert!(!theirs.is_mapped() && theirs.write(0, &[1; 8]).is_err());
        theirs.read(0, &mut [0; 8]).expect("can be read");
    }
}
