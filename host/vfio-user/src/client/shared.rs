//! The parts of a BAR whose memory the server shares; accesses to them are no messages.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::frame::take;
use crate::memory::SharedFile;
use crate::version::PAGE;
use crate::wire::{CapHeader, RegionInfo, SparseArea, region};

/// A server that cuts its BAR into more areas than these shares none of them.
const MAX_AREAS: usize = 64;

/// Memory behind parts of a BAR.
#[derive(Clone, Debug)]
pub(super) struct SharedBar {
    file: Arc<SharedFile>,
    /// Where in the file the BAR begins.
    base: u64,
    /// First byte and the one behind the last of each, rising, apart.
    areas: Vec<(u64, u64)>,
}

/// A run of bytes of a BAR, all reached in the same way.
pub(super) struct Piece<'a> {
    pub len: u64,
    /// The file and where in it, if it is shared.
    pub file: Option<(&'a Arc<SharedFile>, u64)>,
}

impl SharedBar {
    /// What the server says of a region, with the descriptor that came along. `None` if nothing of it can be mapped.
    pub fn new(info: &RegionInfo, payload: &[u8], fd: OwnedFd) -> Option<Self> {
        if info.flags.get() & region::MMAP == 0 {
            return None;
        }
        let areas = areas(info, payload)?;
        let end = info.offset.get().checked_add(info.size.get())?;
        let file = SharedFile::adopt(fd)
            .ok()
            .filter(|f| f.is_mapped() && f.len() >= end)?;
        Some(Self {
            file: Arc::new(file),
            base: info.offset.get(),
            areas,
        })
    }

    /// The first run of `len` bytes (at least 1) from `offset`.
    pub fn piece(&self, offset: u64, len: u64) -> Piece<'_> {
        let next = self.areas.iter().find(|(_, end)| *end > offset);
        match next {
            Some((start, end)) if *start <= offset => Piece {
                len: len.min(end - offset),
                file: Some((&self.file, self.base + offset)),
            },
            Some((start, _)) => Piece {
                len: len.min(start - offset),
                file: None,
            },
            None => Piece { len, file: None },
        }
    }
}

/// The runs that a BAR consists of: offset and piece.
pub(super) fn pieces(
    shared: Option<&SharedBar>,
    offset: u64,
    len: u64,
) -> impl Iterator<Item = (u64, Piece<'_>)> {
    let mut at = offset;
    std::iter::from_fn(move || {
        let left = (offset + len).checked_sub(at).filter(|left| *left > 0)?;
        let piece = match shared {
            Some(shared) => shared.piece(at, left),
            None => Piece {
                len: left,
                file: None,
            },
        };
        let here = at;
        at += piece.len;
        Some((here, piece))
    })
}

/// The areas of the sparse-mmap capability, the whole region without one; `None` if they are no areas of it.
fn areas(info: &RegionInfo, payload: &[u8]) -> Option<Vec<(u64, u64)>> {
    let whole = vec![(0, info.size.get())];
    let mut at = info.cap_offset.get() as usize;
    // A chain longer than the payload goes in circles.
    for _ in 0..payload.len() / size_of::<CapHeader>() {
        if info.flags.get() & region::CAPS == 0 || at < size_of::<RegionInfo>() {
            return Some(whole);
        }
        let (header, rest) = take::<CapHeader>(payload.get(at..)?).ok()?;
        if header.id.get() == region::CAP_SPARSE_MMAP {
            return sparse(info.size.get(), rest);
        }
        at = header.next.get() as usize;
    }
    None
}

fn sparse(size: u64, capability: &[u8]) -> Option<Vec<(u64, u64)>> {
    let count = u32::from_le_bytes(*capability.first_chunk()?) as usize;
    let mut rest = capability.get(8..)?;
    if !(1..=MAX_AREAS).contains(&count) {
        return None;
    }
    let mut areas: Vec<(u64, u64)> = Vec::with_capacity(count);
    for _ in 0..count {
        let (area, more) = take::<SparseArea>(rest).ok()?;
        let (start, end) = (
            area.offset.get(),
            area.offset.get().checked_add(area.size.get())?,
        );
        let before = areas.last().map_or(0, |(_, end)| *end);
        // Other devices are told of them, and can only be told of whole pages.
        let whole = (start | end).is_multiple_of(PAGE);
        if start < before || end <= start || end > size || !whole {
            return None;
        }
        areas.push((start, end));
        rest = more;
    }
    Some(areas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    const SIZE: u64 = 0x4000;

    fn said(areas: &[(u64, u64)], count: u32) -> (RegionInfo, Vec<u8>) {
        let mut info = RegionInfo::new_zeroed();
        info.flags.set(region::MMAP | region::CAPS);
        info.size.set(SIZE);
        info.cap_offset.set(size_of::<RegionInfo>() as u32);
        let mut bytes = info.as_bytes().to_vec();
        bytes.extend([1, 0, 1, 0, 0, 0, 0, 0]);
        bytes.extend(count.to_le_bytes());
        bytes.extend([0; 4]);
        for (offset, size) in areas {
            bytes.extend(offset.to_le_bytes());
            bytes.extend(size.to_le_bytes());
        }
        (info, bytes)
    }

    fn found(areas: &[(u64, u64)]) -> Option<Vec<(u64, u64)>> {
        let (info, bytes) = said(areas, areas.len() as u32);
        super::areas(&info, &bytes)
    }

    #[test]
    fn areas_are_found_and_those_that_are_none_of_the_region_refuse_all() {
        assert_eq!(found(&[(0, SIZE)]), Some(vec![(0, SIZE)]));
        let two = [(0, 0x1000), (0x3000, 0x1000)];
        assert_eq!(found(&two), Some(vec![(0, 0x1000), (0x3000, SIZE)]));
        for wrong in [
            vec![],
            vec![(0, 0)],
            vec![(0, SIZE + 1)],
            vec![(1, u64::MAX)],
            vec![(0, 0x1800)],
            vec![(0x800, 0x1000)],
            vec![(0x1000, 0x1000), (0, 0x1000)],
            vec![(0, 0x2000), (0x1000, 0x1000)],
            vec![(0, 1); MAX_AREAS + 1],
        ] {
            assert_eq!(found(&wrong), None, "{wrong:?}");
        }
        // More announced than come, a capability that is cut off, a chain in a circle.
        let (info, bytes) = said(&two, 3);
        assert_eq!(super::areas(&info, &bytes), None);
        let (info, bytes) = said(&two, 2);
        for len in 0..bytes.len() {
            assert_eq!(super::areas(&info, &bytes[..len]), None, "{len} bytes");
        }
        let mut circle = bytes.clone();
        (circle[32], circle[36]) = (9, 32);
        assert_eq!(super::areas(&info, &circle), None);
    }

    #[test]
    fn an_access_is_cut_where_the_way_changes() {
        let file = Arc::new(SharedFile::create("bar", SIZE).expect("a memfd"));
        let shared = SharedBar {
            file,
            base: 0x10,
            areas: vec![(0, 0x1000), (0x2000, 0x3000)],
        };
        let cut = |offset, len| -> Vec<_> {
            pieces(Some(&shared), offset, len)
                .map(|(at, piece)| (at, piece.len, piece.file.map(|(_, at)| at)))
                .collect()
        };
        assert_eq!(cut(0x10, 4), [(0x10, 4, Some(0x20))]);
        assert_eq!(
            cut(0xFFC, 0x3004),
            [
                (0xFFC, 4, Some(0x100C)),
                (0x1000, 0x1000, None),
                (0x2000, 0x1000, Some(0x2010)),
                (0x3000, 0x1000, None),
            ]
        );
        let plain: Vec<_> = pieces(None, 8, 8).map(|(at, p)| (at, p.len)).collect();
        assert_eq!(plain, [(8, 8)]);
    }
}
