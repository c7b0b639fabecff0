//! Host memory that a peer may reach: one region per command, under a key nobody can guess, every access checked.
//! Not here: protection domains. As with Linux nvme-rdma every queue pair of a host may use every key of it.

use std::{collections::BTreeMap, fmt};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What a peer may do with a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// RDMA READ.
    Read,
    /// RDMA WRITE.
    Write,
}

/// Why an access is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// No such key, or no longer.
    Key,
    /// Not allowed.
    Rights,
    /// Not inside the region.
    Bounds,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "the key is not valid",
            Self::Rights => "the key does not allow it",
            Self::Bounds => "it is not inside the key's region",
        })
    }
}

/// A registered buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// Address of its first byte.
    pub va: u64,
    /// What is in it.
    pub data: Vec<u8>,
    /// What a peer may do.
    pub access: Access,
    /// Bytes that a peer has written or read, each time counted.
    pub moved: usize,
    /// False once the key was invalidated; the data stay until they are taken.
    pub valid: bool,
}

/// All regions of a host.
pub struct Memory {
    regions: BTreeMap<u32, Region>,
    rng: ChaCha8Rng,
}

impl Memory {
    /// None yet; keys and addresses follow from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            regions: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x6b65_7973),
        }
    }

    /// Registers a buffer; its key and address.
    pub fn register(&mut self, data: Vec<u8>, access: Access) -> (u32, u64) {
        // Where Linux has its direct mapping, at sector boundaries like bio pages.
        let va = 0xffff_8880_0000_0000 | self.rng.next_u64() & 0xf_ffff_fe00;
        let mut rkey = self.rng.next_u32();
        while rkey == 0 || self.regions.contains_key(&rkey) {
            rkey = self.rng.next_u32();
        }
        self.put(rkey, va, data, access);
        (rkey, va)
    }

    /// Registers a buffer under a key and address of the caller's choice, in place of any other.
    pub fn put(&mut self, rkey: u32, va: u64, data: Vec<u8>, access: Access) {
        let region = Region {
            va,
            data,
            access,
            moved: 0,
            valid: true,
        };
        self.regions.insert(rkey, region);
    }

    fn find(
        &mut self,
        rkey: u32,
        access: Access,
        va: u64,
        len: usize,
    ) -> Result<(&mut Region, usize), Refused> {
        let region = self.regions.get_mut(&rkey).filter(|r| r.valid);
        let region = region.ok_or(Refused::Key)?;
        if region.access != access {
            return Err(Refused::Rights);
        }
        let offset = va.checked_sub(region.va).ok_or(Refused::Bounds)?;
        let size = region.data.len() as u64;
        match offset.checked_add(len as u64) {
            Some(end) if end <= size => Ok((region, offset as usize)),
            _ => Err(Refused::Bounds),
        }
    }

    /// Whether a peer may do this.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&mut self, rkey: u32, access: Access, va: u64, len: usize) -> Result<(), Refused> {
        self.find(rkey, access, va, len).map(|_| ())
    }

    /// A peer's RDMA WRITE, or a piece of one.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn write(&mut self, rkey: u32, va: u64, bytes: &[u8]) -> Result<(), Refused> {
        let (region, at) = self.find(rkey, Access::Write, va, bytes.len())?;
        region.data[at..at + bytes.len()].copy_from_slice(bytes);
        region.moved += bytes.len();
        Ok(())
    }

    /// A peer's RDMA READ; `again` says that it has been counted before.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn read(
        &mut self,
        rkey: u32,
        va: u64,
        len: usize,
        again: bool,
    ) -> Result<Vec<u8>, Refused> {
        let (region, at) = self.find(rkey, Access::Read, va, len)?;
        if !again {
            region.moved += len;
        }
        Ok(region.data[at..at + len].to_vec())
    }

    /// The key is worth nothing from now on; false if it was not worth anything before.
    pub fn invalidate(&mut self, rkey: u32) -> bool {
        let region = self.regions.get_mut(&rkey);
        region.is_some_and(|r| std::mem::take(&mut r.valid))
    }

    /// Takes a region away, key and all.
    pub fn take(&mut self, rkey: u32) -> Option<Region> {
        self.regions.remove(&rkey)
    }

    /// Keys a peer can use at present.
    #[must_use]
    pub fn valid_keys(&self) -> usize {
        self.regions.values().filter(|r| r.valid).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_key_allows_is_reached() {
        let mut memory = Memory::new(1);
        let (key, va) = memory.register(vec![7; 100], Access::Read);
        assert_eq!(memory.read(key, va + 90, 10, false), Ok(vec![7; 10]));
        for (wrong_key, at, len, why) in [
            (key ^ 1, va, 1, Refused::Key),
            (key, va - 1, 1, Refused::Bounds),
            (key, va + 91, 10, Refused::Bounds),
            (key, va, usize::MAX, Refused::Bounds),
            (key, u64::MAX, 2, Refused::Bounds),
        ] {
            assert_eq!(memory.check(wrong_key, Access::Read, at, len), Err(why));
        }
        assert_eq!(memory.write(key, va, &[1]), Err(Refused::Rights));
        assert!(memory.invalidate(key) && !memory.invalidate(key));
        assert_eq!(memory.read(key, va, 1, false), Err(Refused::Key));
        let region = memory.take(key).expect("its data stay");
        assert_eq!((region.moved, region.data.len()), (10, 100));
    }
}
