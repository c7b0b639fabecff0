//! From the data pointer of a command to the pieces of memory it means: PRPs, PRP lists, SGLs. A machine without I/O:
//! it asks for list pages and segments, and is fed with them.
//! Source: NVMe Base Specification 2.1, sections 4.3.1 (PRP) and 4.3.2 (SGL).

use sluice_wire::nvme::{Sqe, Status, psdt};

/// Most bytes of an SGL segment this SSD takes.
const MAX_SEGMENT: u32 = 4096;
/// Most segments of one SGL; more is taken for a loop.
const MAX_SEGMENTS: u32 = 64;
/// Bytes of an SGL descriptor.
const DESCRIPTOR: usize = 16;

/// A piece of memory by bus address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First byte.
    pub addr: u64,
    /// Bytes, at least 1.
    pub len: u32,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// All known: the extents in order, adjacent ones joined.
    Done(Vec<Extent>),
    /// Read this and [`Walk::feed`] it.
    Fetch(Extent),
    /// The pointer is wrong.
    Fail(Status),
}

/// A walk under way.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Memory page size.
    page: u64,
    /// Bytes not yet covered.
    left: u32,
    extents: Vec<Extent>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A PRP list page is awaited.
    Prp,
    /// An SGL segment is awaited; it is the last, and so many came before.
    Sgl { last: bool, seen: u32 },
}

impl Walk {
    /// Begins with the data pointer of `sqe`, which stands for `len` bytes (at least 1), with memory pages of `page` bytes.
    #[must_use]
    pub fn start(sqe: &Sqe, len: u32, page: u64) -> (Self, Step) {
        let mut walk = Self {
            page,
            left: len,
            extents: Vec::new(),
            kind: Kind::Prp,
        };
        let step = match sqe.psdt() {
            psdt::PRP => walk.first_prps(sqe.prp1(), sqe.prp2()),
            psdt::SGL | psdt::SGL_METADATA => {
                walk.kind = Kind::Sgl {
                    last: false,
                    seen: 0,
                };
                walk.descriptors(&sqe.dptr, true)
            }
            _ => Step::Fail(Status::INVALID_FIELD.no_retry()),
        };
        (walk, step)
    }

    /// Goes on with the bytes of the extent that was asked for.
    pub fn feed(&mut self, bytes: &[u8]) -> Step {
        match self.kind {
            Kind::Prp => self.list(bytes),
            Kind::Sgl { last, seen } => {
                self.kind = Kind::Sgl {
                    last,
                    seen: seen + 1,
                };
                self.descriptors(bytes, last)
            }
        }
    }

    fn first_prps(&mut self, prp1: u64, prp2: u64) -> Step {
        let offset = prp1 % self.page;
        if !offset.is_multiple_of(4) {
            return Step::Fail(Status::PRP_OFFSET.no_retry());
        }
        self.push(prp1, self.left.min((self.page - offset) as u32));
        if self.left == 0 {
            return self.done();
        }
        if u64::from(self.left) <= self.page {
            return self.page_entry(prp2).unwrap_or_else(|| self.done());
        }
        self.ask_list(prp2)
    }

    /// Asks for the list at `pointer`: as many entries as are needed, but no further than the end of its page, where
    /// the last entry then points to the next list.
    fn ask_list(&self, pointer: u64) -> Step {
        if !pointer.is_multiple_of(8) {
            return Step::Fail(Status::PRP_OFFSET.no_retry());
        }
        let room = (self.page - pointer % self.page) / 8;
        let needed = u64::from(self.left).div_ceil(self.page);
        Step::Fetch(Extent {
            addr: pointer,
            len: (8 * needed.min(room)) as u32,
        })
    }

    fn list(&mut self, bytes: &[u8]) -> Step {
        let entries: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|c| u64::from_le_bytes(c.try_into().expect("8")))
            .collect();
        for (i, entry) in entries.iter().enumerate() {
            let last = i + 1 == entries.len();
            if last && u64::from(self.left) > self.page {
                if !entry.is_multiple_of(self.page) {
                    return Step::Fail(Status::PRP_OFFSET.no_retry());
                }
                return self.ask_list(*entry);
            }
            if let Some(fail) = self.page_entry(*entry) {
                return fail;
            }
        }
        self.done()
    }

    /// Takes an entry that must point to the start of a page.
    fn page_entry(&mut self, entry: u64) -> Option<Step> {
        if !entry.is_multiple_of(self.page) {
            return Some(Step::Fail(Status::PRP_OFFSET.no_retry()));
        }
        self.push(entry, self.left.min(self.page as u32));
        None
    }

    /// Takes the descriptors of one segment, or the one in the command.
    fn descriptors(&mut self, bytes: &[u8], last_segment: bool) -> Step {
        let in_command = matches!(self.kind, Kind::Sgl { seen: 0, .. }) && last_segment;
        let count = bytes.len() / DESCRIPTOR;
        for (i, d) in bytes.chunks_exact(DESCRIPTOR).enumerate() {
            let addr = u64::from_le_bytes(d[..8].try_into().expect("8"));
            let len = u32::from_le_bytes(d[8..12].try_into().expect("4"));
            match d[15] {
                // Data Block, address.
                0x00 if len > self.left => return Step::Fail(Status::SGL_LENGTH.no_retry()),
                0x00 => self.push(addr, len),
                // Segment and Last Segment, address: only at the end of a segment that is not the last.
                kind @ (0x20 | 0x30) if i + 1 == count && (in_command || !last_segment) => {
                    return self.segment(addr, len, kind == 0x30);
                }
                0x20 | 0x30 => return Step::Fail(Status::SGL_SEGMENT.no_retry()),
                _ => return Step::Fail(Status::SGL_TYPE.no_retry()),
            }
        }
        match (self.left, last_segment) {
            (_, false) => Step::Fail(Status::SGL_SEGMENT.no_retry()),
            (0, true) => self.done(),
            (_, true) => Step::Fail(Status::SGL_LENGTH.no_retry()),
        }
    }

    fn segment(&mut self, addr: u64, len: u32, last: bool) -> Step {
        let Kind::Sgl { seen, .. } = self.kind else {
            return Step::Fail(Status::INTERNAL);
        };
        if len == 0 || !len.is_multiple_of(DESCRIPTOR as u32) {
            return Step::Fail(Status::SGL_SEGMENT.no_retry());
        }
        if seen >= MAX_SEGMENTS || len > MAX_SEGMENT {
            return Step::Fail(Status::SGL_COUNT.no_retry());
        }
        self.kind = Kind::Sgl { last, seen };
        Step::Fetch(Extent { addr, len })
    }

    /// Adds `len` bytes, at most what is left.
    fn push(&mut self, addr: u64, len: u32) {
        self.left -= len;
        match self.extents.last_mut() {
            _ if len == 0 => {}
            Some(last) if last.addr.checked_add(u64::from(last.len)) == Some(addr) => {
                last.len += len
            }
            _ => self.extents.push(Extent { addr, len }),
        }
    }

    fn done(&mut self) -> Step {
        Step::Done(std::mem::take(&mut self.extents))
    }
}
