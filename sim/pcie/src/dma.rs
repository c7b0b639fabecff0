//! What of the client's memory the function may reach, and how.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use sluice_vfio_user::memory::{FileId, SharedFile};
use sluice_vfio_user::version::{MAX_MAPS, PAGE};
use sluice_vfio_user::wire::{dma, errno};

/// Mappings by their first bus address.
#[derive(Debug, Default)]
pub struct DmaTable {
    maps: BTreeMap<u64, Map>,
    /// Each file is mapped once, however often the client names it.
    files: HashMap<FileId, Weak<SharedFile>>,
}

#[derive(Debug)]
struct Map {
    size: u64,
    flags: u32,
    file: Option<(Arc<SharedFile>, u64)>,
}

/// Where a bus address leads.
#[derive(Clone, Debug)]
pub enum Target {
    /// Into shared memory: the file and the offset in it.
    File(Arc<SharedFile>, u64),
    /// Only the client knows: it is asked with a message.
    Client,
    /// Nowhere: it is mapped, but not for this.
    Denied,
}

impl DmaTable {
    /// A map message: `size` bytes at `address` are `offset` in the file, or in none.
    ///
    /// # Errors
    /// An errno for the reply, and why.
    pub fn map(
        &mut self,
        address: u64,
        size: u64,
        flags: u32,
        offset: u64,
        fd: Option<OwnedFd>,
    ) -> Result<(), (u32, String)> {
        let last = size.checked_sub(1).and_then(|n| address.checked_add(n));
        let Some(last) = last else {
            return Err((errno::EINVAL, "no bytes, or beyond the last address".into()));
        };
        if !(address | size).is_multiple_of(PAGE) {
            return Err((
                errno::EINVAL,
                format!("address and size must be multiples of {PAGE}"),
            ));
        }
        if flags & !(dma::READ | dma::WRITE) != 0 {
            return Err((
                errno::EINVAL,
                format!("flags {flags:#x}: 1 (read) and 2 (write) wanted"),
            ));
        }
        if self.maps.len() >= MAX_MAPS as usize {
            return Err((
                errno::ENOMEM,
                format!("{MAX_MAPS} mappings are there already"),
            ));
        }
        if let Some((base, map)) = self.maps.range(..=last).next_back()
            && base + (map.size - 1) >= address
        {
            return Err((
                errno::EEXIST,
                format!("{base:#x} to {:#x} is mapped", base + (map.size - 1)),
            ));
        }
        let file = fd.map(|fd| self.file(fd, offset, size)).transpose()?;
        let file = file.flatten().map(|file| (file, offset));
        self.maps.insert(address, Map { size, flags, file });
        Ok(())
    }

    /// The file behind a descriptor; `None` if it can only be reached through the client.
    fn file(
        &mut self,
        fd: OwnedFd,
        offset: u64,
        size: u64,
    ) -> Result<Option<Arc<SharedFile>>, (u32, String)> {
        let end = offset.checked_add(size);
        let end = end.ok_or((errno::EINVAL, "offset and size beyond any file".to_string()))?;
        let known = SharedFile::identify(fd.as_fd()).ok();
        let known = known
            .and_then(|id| self.files.get(&id))
            .and_then(Weak::upgrade);
        if let Some(file) = known.filter(|file| file.len() >= end) {
            return Ok(Some(file));
        }
        let file = match SharedFile::adopt(fd) {
            Ok(file) => file,
            Err(error) => {
                log::warn!("memory at file offset {offset:#x} goes by messages: {error}");
                return Ok(None);
            }
        };
        if file.len() < end {
            let have = file.len();
            return Err((
                errno::EINVAL,
                format!("the file has {have:#x} bytes, the mapping ends at {end:#x}"),
            ));
        }
        let file = Arc::new(file);
        self.files.retain(|_, file| file.strong_count() > 0);
        self.files.insert(file.id(), Arc::downgrade(&file));
        Ok(Some(file))
    }

    /// An unmap message: every mapping inside the range goes. None there is no mistake: behind an IOMMU clients unmap
    /// whole ranges.
    ///
    /// # Errors
    /// An errno for the reply, and why.
    pub fn unmap(&mut self, address: u64, size: u64) -> Result<(), (u32, String)> {
        let last = size.checked_sub(1).and_then(|n| address.checked_add(n));
        let Some(last) = last else {
            return Err((errno::EINVAL, "no bytes, or beyond the last address".into()));
        };
        let before = self.maps.range(..address).next_back();
        let cuts_first = before.is_some_and(|(base, map)| base + (map.size - 1) >= address);
        let end = self.maps.range(address..=last).next_back();
        let cuts_last = end.is_some_and(|(base, map)| base + (map.size - 1) > last);
        if cuts_first || cuts_last {
            return Err((errno::EINVAL, "only part of a mapping".into()));
        }
        let gone: Vec<u64> = self
            .maps
            .range(address..=last)
            .map(|(base, _)| *base)
            .collect();
        gone.iter().for_each(|base| drop(self.maps.remove(base)));
        Ok(())
    }

    /// The client's memory as far as it is shared, each file once.
    #[must_use]
    pub fn shared(&self) -> Vec<Arc<SharedFile>> {
        self.files.values().filter_map(Weak::upgrade).collect()
    }

    /// Everything goes.
    pub fn clear(&mut self) {
        self.maps.clear();
        self.files.clear();
    }

    /// Where `address` leads, and for how many of `len` bytes (at least 1) it is the same way.
    #[must_use]
    pub fn find(&self, address: u64, len: usize, write: bool) -> (Target, usize) {
        let want = if write { dma::WRITE } else { dma::READ };
        if let Some((base, map)) = self.maps.range(..=address).next_back()
            && address - base < map.size
        {
            let left = map.size - (address - base);
            let target = match &map.file {
                _ if map.flags & want == 0 => Target::Denied,
                Some((file, offset)) => Target::File(file.clone(), offset + (address - base)),
                None => Target::Client,
            };
            return (target, left.min(len as u64) as usize);
        }
        // What is not mapped may still be another device, of which the client knows; it refuses what is nothing.
        let next = self
            .maps
            .range(address..)
            .next()
            .map_or(u64::MAX, |(base, _)| *base);
        (
            Target::Client,
            (next - address).min(len as u64).max(1) as usize,
        )
    }

    /// Files that are held.
    #[cfg(test)]
    pub fn files(&self) -> usize {
        self.files
            .values()
            .filter(|file| file.strong_count() > 0)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RW: u32 = dma::READ | dma::WRITE;

    fn fd(file: &SharedFile) -> Option<OwnedFd> {
        Some(file.fd().try_clone_to_owned().expect("a descriptor"))
    }

    fn errno_of(result: Result<(), (u32, String)>) -> u32 {
        result.expect_err("refused").0
    }

    #[test]
    fn one_file_is_held_once_and_let_go_with_its_last_mapping() {
        let memory = SharedFile::create("guest", 1 << 20).expect("a memfd");
        let mut table = DmaTable::default();
        for i in 0..64 {
            table
                .map(i << 20, 4096, RW, i << 12, fd(&memory))
                .expect("maps");
        }
        assert_eq!(table.files(), 1);
        let (Target::File(file, at), 100) = table.find(5 << 20 | 8, 100, true) else {
            panic!("it is mapped");
        };
        assert_eq!((file.id(), at), (memory.id(), 5 << 12 | 8));
        drop(file);
        table.unmap(0, 64 << 20).expect("all of them");
        assert_eq!(table.files(), 0);
        assert!(matches!(table.find(5 << 20, 1, true), (Target::Client, 1)));
    }

    #[test]
    fn mappings_that_make_no_sense_are_refused() {
        let memory = SharedFile::create("guest", 8192).expect("a memfd");
        let mut table = DmaTable::default();
        for (address, size, flags, offset) in [
            (0, 0, RW, 0),
            (u64::MAX, 2, RW, 0),
            (0, 12288, RW, 0),
            (1, 4096, RW, 0),
            (0, 4095, RW, 0),
            (0, 4096, RW, 8192),
            (0, 4096, RW, u64::MAX),
            (0, 4096, 4, 0),
        ] {
            assert_eq!(
                errno_of(table.map(address, size, flags, offset, fd(&memory))),
                errno::EINVAL
            );
        }
        table
            .map(u64::MAX - 4095, 4096, RW, 0, fd(&memory))
            .expect("the last page");
        table.map(0x1000, 0x1000, RW, 0, fd(&memory)).expect("maps");
        for (address, size) in [(0x1000, 0x1000), (0, 0x2000), (0, u64::MAX - 4095)] {
            assert_eq!(
                errno_of(table.map(address, size, RW, 0, None)),
                errno::EEXIST
            );
        }
    }

    #[test]
    fn what_was_never_mapped_can_be_unmapped_but_no_part_of_a_mapping() {
        let mut table = DmaTable::default();
        table.unmap(0x1_0000, 0x1000).expect("nothing there");
        table.unmap(0, u64::MAX).expect("nothing anywhere");
        table.map(0x1000, 0x2000, RW, 0, None).expect("maps");
        for (address, size) in [(0x1000, 0x1000), (0x2000, 0x1000), (0, 0x1800), (0x1000, 0)] {
            assert_eq!(
                errno_of(table.unmap(address, size)),
                errno::EINVAL,
                "{address:#x}"
            );
        }
        table.unmap(0x1000, 0x2000).expect("as it was mapped");
    }

    #[test]
    fn permissions_and_ends_of_mappings_are_kept() {
        let memory = SharedFile::create("guest", 8192).expect("a memfd");
        let mut table = DmaTable::default();
        table
            .map(0x1000, 0x1000, dma::READ, 0, fd(&memory))
            .expect("maps");
        table
            .map(0x2000, 0x1000, dma::WRITE, 0x1000, fd(&memory))
            .expect("maps");
        assert!(matches!(
            table.find(0x1FF0, 32, false),
            (Target::File(_, 0xFF0), 16)
        ));
        assert!(matches!(table.find(0x1FF0, 32, true), (Target::Denied, 16)));
        assert!(matches!(
            table.find(0x2000, 32, true),
            (Target::File(_, 0x1000), 32)
        ));
        assert!(matches!(
            table.find(0x2000, 32, false),
            (Target::Denied, 32)
        ));
        assert!(matches!(table.find(0xFF0, 32, true), (Target::Client, 16)));
        assert!(matches!(table.find(u64::MAX, 1, true), (Target::Client, 1)));
    }
}
