//! Where a namespace's bytes are: in memory (only what was written) or in a file, behind a write cache that may be
//! volatile. What was never written, or was deallocated, reads as zeros.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::config::Backing;

const PAGE: u64 = 4096;
/// Unit in which a power cut tears, and the smallest block.
const SECTOR: usize = 512;
/// Dirty pages after which everything is written back.
const MAX_DIRTY: usize = 16_384;

type Page = Box<[u8; PAGE as usize]>;

/// The bytes of a namespace.
#[derive(Debug)]
pub struct Media {
    store: Store,
    /// Pages not yet in the store, with a bit per sector that is dirty. Ordered, so that tearing is deterministic.
    cache: Option<BTreeMap<u64, (Page, u8)>>,
    /// Blocks that Write Uncorrectable has spoiled.
    bad: BTreeSet<u64>,
}

#[derive(Debug)]
enum Store {
    Memory(HashMap<u64, Page>),
    File(File),
}

impl Media {
    /// Opens the backing of `bytes` bytes, with a volatile cache if asked.
    ///
    /// # Errors
    /// If the file cannot be opened or grown.
    pub fn open(backing: &Backing, bytes: u64, volatile_cache: bool) -> io::Result<Self> {
        let store = match backing {
            Backing::Memory => Store::Memory(HashMap::new()),
            Backing::File(path) => {
                let file = File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path)?;
                if file.metadata()?.len() < bytes {
                    file.set_len(bytes)?;
                }
                Store::File(file)
            }
        };
        let cache = volatile_cache.then(BTreeMap::new);
        Ok(Self {
            store,
            cache,
            bad: BTreeSet::new(),
        })
    }

    /// Reads at byte `at`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        for (page, offset, range) in spans(at, into.len()) {
            let piece = &mut into[range];
            match self.cache.as_ref().and_then(|c| c.get(&page)) {
                Some((bytes, 0xFF)) => piece.copy_from_slice(&bytes[offset..][..piece.len()]),
                Some((bytes, dirty)) => {
                    let mut merged = self.store.page(page)?;
                    merge(&mut merged, bytes, *dirty);
                    piece.copy_from_slice(&merged[offset..][..piece.len()]);
                }
                None => self.store.read(page, offset, piece)?,
            }
        }
        Ok(())
    }

    /// Writes at byte `at`, a multiple of 512 as the length is. `through`: not to the cache (FUA).
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, at: u64, from: &[u8], through: bool) -> io::Result<()> {
        for (page, offset, range) in spans(at, from.len()) {
            let piece = &from[range];
            let Some(cache) = &mut self.cache else {
                self.store.write(page, offset, piece)?;
                continue;
            };
            let sectors = sector_bits(offset, piece.len());
            if through {
                if let Some((_, dirty)) = cache.get_mut(&page) {
                    *dirty &= !sectors;
                }
                self.store.write(page, offset, piece)?;
            } else {
                let (bytes, dirty) = cache.entry(page).or_insert_with(|| (zeros(), 0));
                bytes[offset..][..piece.len()].copy_from_slice(piece);
                *dirty |= sectors;
            }
        }
        if self.cache.as_ref().is_some_and(|c| c.len() > MAX_DIRTY) {
            self.flush()?;
        }
        Ok(())
    }

    /// Makes the range read as zeros, at once and for good.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn zero(&mut self, at: u64, len: u64) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let (page, offset) = ((at + done) / PAGE, ((at + done) % PAGE) as usize);
            let piece = (PAGE - offset as u64).min(len - done) as usize;
            if let Some((_, dirty)) = self.cache.as_mut().and_then(|c| c.get_mut(&page)) {
                *dirty &= !sector_bits(offset, piece);
            }
            self.store.zero(page, offset, piece)?;
            done += piece as u64;
        }
        Ok(())
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        for (page, (bytes, dirty)) in self.cache.iter_mut().flat_map(std::mem::take) {
            self.store.write_sectors(page, &bytes, dirty)?;
        }
        Ok(())
    }

    /// Loses what is not durable. With `torn`, each sector has a chance of one in two to have made it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn power_cut(&mut self, torn: Option<&mut ChaCha8Rng>) -> io::Result<()> {
        let lost: BTreeMap<_, _> = self.cache.as_mut().map(std::mem::take).unwrap_or_default();
        if let Some(rng) = torn {
            for (page, (bytes, dirty)) in lost {
                self.store
                    .write_sectors(page, &bytes, dirty & rng.next_u32() as u8)?;
            }
        }
        Ok(())
    }

    /// Spoils blocks, or heals them.
    pub fn mark(&mut self, blocks: std::ops::Range<u64>, bad: bool) {
        if bad {
            self.bad.extend(blocks);
        } else if !self.bad.is_empty() {
            self.bad.retain(|b| !blocks.contains(b));
        }
    }

    /// One of the blocks is spoiled.
    #[must_use]
    pub fn is_bad(&self, blocks: std::ops::Range<u64>) -> bool {
        self.bad.range(blocks).next().is_some()
    }
}

impl Store {
    fn page(&self, page: u64) -> io::Result<Page> {
        let mut bytes = zeros();
        self.read(page, 0, &mut bytes[..])?;
        Ok(bytes)
    }

    fn read(&self, page: u64, offset: usize, into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Memory(pages) => match pages.get(&page) {
                Some(bytes) => into.copy_from_slice(&bytes[offset..][..into.len()]),
                None => into.fill(0),
            },
            Self::File(file) => file.read_exact_at(into, page * PAGE + offset as u64)?,
        }
        Ok(())
    }

    fn write(&mut self, page: u64, offset: usize, from: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(pages) => {
                let bytes = pages.entry(page).or_insert_with(zeros);
                bytes[offset..][..from.len()].copy_from_slice(from);
                Ok(())
            }
            Self::File(file) => file.write_all_at(from, page * PAGE + offset as u64),
        }
    }

    fn write_sectors(&mut self, page: u64, bytes: &Page, dirty: u8) -> io::Result<()> {
        if dirty == 0xFF {
            return self.write(page, 0, &bytes[..]);
        }
        for i in (0..8).filter(|i| dirty & 1 << i != 0) {
            self.write(page, i * SECTOR, &bytes[i * SECTOR..][..SECTOR])?;
        }
        Ok(())
    }

    fn zero(&mut self, page: u64, offset: usize, len: usize) -> io::Result<()> {
        match self {
            Self::Memory(pages) if len as u64 == PAGE => {
                pages.remove(&page);
                Ok(())
            }
            Self::Memory(pages) => {
                if let Some(bytes) = pages.get_mut(&page) {
                    bytes[offset..][..len].fill(0);
                }
                Ok(())
            }
            Self::File(_) => self.write(page, offset, &zeros()[..len]),
        }
    }
}

fn zeros() -> Page {
    Box::new([0; PAGE as usize])
}

/// Copies the dirty sectors of `from`.
fn merge(into: &mut Page, from: &Page, dirty: u8) {
    for i in (0..8).filter(|i| dirty & 1 << i != 0) {
        let range = i * SECTOR..(i + 1) * SECTOR;
        into[range.clone()].copy_from_slice(&from[range]);
    }
}

/// Bits of the sectors that `len` bytes at `offset` of a page cover.
fn sector_bits(offset: usize, len: usize) -> u8 {
    let (first, count) = (offset / SECTOR, len.div_ceil(SECTOR));
    (((1u16 << count) - 1) << first) as u8
}

/// The pages that `len` bytes at `at` touch: page number, offset in it, range of the bytes.
fn spans(at: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (here, start) = (at + done as u64, done);
        let offset = (here % PAGE) as usize;
        done += (PAGE as usize - offset).min(len - done);
        (done > start).then_some((here / PAGE, offset, start..done))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    fn media(cached: bool) -> Media {
        Media::open(&Backing::Memory, 1 << 20, cached).expect("memory")
    }

    fn bytes(media: &Media, at: u64, len: usize) -> Vec<u8> {
        let mut into = vec![0xEE; len];
        media.read(at, &mut into).expect("memory");
        into
    }

    #[test]
    fn what_was_never_written_is_zero() {
        assert_eq!(bytes(&media(true), 12345, 9000), vec![0; 9000]);
    }

    #[test]
    fn a_power_cut_loses_exactly_what_was_not_flushed_or_forced() {
        let mut m = media(true);
        m.write(0, &[1; 4096], false).expect("memory");
        m.flush().expect("memory");
        m.write(512, &[2; 512], false).expect("memory");
        m.write(1024, &[3; 512], true).expect("memory");
        assert_eq!(bytes(&m, 512, 1024), [[2; 512], [3; 512]].concat());
        m.power_cut(None).expect("memory");
        assert_eq!(
            bytes(&m, 0, 2048),
            [[1; 512], [1; 512], [3; 512], [1; 512]].concat()
        );
    }

    #[test]
    fn torn_sectors_are_old_or_new_never_mixed() {
        let mut m = media(true);
        m.write(0, &[7; 65536], false).expect("memory");
        m.power_cut(Some(&mut ChaCha8Rng::seed_from_u64(3)))
            .expect("memory");
        let sectors = bytes(&m, 0, 65536);
        let new = sectors.chunks(512).filter(|s| s == &[7; 512]).count();
        let old = sectors.chunks(512).filter(|s| s == &[0; 512]).count();
        assert!(
            new > 0 && old > 0 && new + old == 128,
            "{new} new, {old} old"
        );
    }

    #[test]
    fn zeroed_ranges_read_as_zeros_in_store_and_cache() {
        for cached in [false, true] {
            let mut m = media(cached);
            m.write(0, &[9; 12288], true).expect("memory");
            m.write(4096, &[8; 4096], false).expect("memory");
            m.zero(2048, 4096).expect("memory");
            let want = [vec![9; 2048], vec![0; 4096], vec![8; 2048], vec![9; 4096]].concat();
            assert_eq!(bytes(&m, 0, 12288), want, "cached: {cached}");
        }
    }

    #[test]
    fn a_file_keeps_its_bytes() {
        let path = std::env::temp_dir().join(format!("sluice-media-{}", std::process::id()));
        let open = || Media::open(&Backing::File(path.clone()), 1 << 16, true).expect("temp file");
        let mut m = open();
        m.write(512, &[5; 1024], false).expect("file");
        m.flush().expect("file");
        drop(m);
        assert_eq!(
            bytes(&open(), 0, 2048),
            [[0; 512], [5; 512], [5; 512], [0; 512]].concat()
        );
        std::fs::remove_file(&path).expect("was there");
    }
}
