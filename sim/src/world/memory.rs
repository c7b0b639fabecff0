//! The server's memory: a bump allocator for DMA buffers over plain bytes.

/// Host memory from a base address on, grown on demand up to [`HostMemory::MAX`].
pub struct HostMemory {
    base: u64,
    bytes: Vec<u8>,
    next: u64,
    /// Released ranges by (length, offset), reused for requests of the same length.
    free: Vec<(u64, u64)>,
}

impl HostMemory {
    /// Most bytes there can be.
    pub const MAX: u64 = 1 << 30;

    /// Memory that begins at bus address `base`.
    #[must_use]
    pub fn new(base: u64, initial: usize) -> Self {
        Self {
            base,
            bytes: vec![0; initial],
            next: 0,
            free: Vec::new(),
        }
    }

    /// Takes `len` zeroed bytes, aligned to `align` (a power of two); the bus address, or `None` when memory is used up.
    pub fn alloc(&mut self, len: u64, align: u64) -> Option<u64> {
        let reuse = self
            .free
            .iter()
            .position(|(l, o)| *l == len && o % align == 0);
        let offset = if let Some(i) = reuse {
            self.free.swap_remove(i).1
        } else {
            let offset = self.next.next_multiple_of(align.max(1));
            self.next = offset.checked_add(len).filter(|end| *end <= Self::MAX)?;
            offset
        };
        self.write(offset, &vec![0; len as usize]);
        Some(self.base + offset)
    }

    /// Gives a buffer back.
    pub fn release(&mut self, addr: u64, len: u64) {
        self.free.push((len, addr - self.base));
    }

    /// These bytes were given out, and not given back.
    #[must_use]
    pub fn is_taken(&self, addr: u64, len: u64) -> bool {
        let end =
            (addr.checked_sub(self.base)).and_then(|from| Some((from, from.checked_add(len)?)));
        end.is_some_and(|(from, end)| {
            let mut free = self.free.iter();
            end <= self.next && free.all(|(l, o)| end <= *o || o + l <= from)
        })
    }

    /// Offset of a bus address, if it lies here.
    #[must_use]
    pub fn offset(&self, addr: u64) -> Option<u64> {
        addr.checked_sub(self.base).filter(|o| *o < Self::MAX)
    }

    /// Writes at an offset; what lies beyond the end of memory is lost, as on a bus.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let end = offset as usize + data.len();
        if end as u64 > Self::MAX {
            return;
        }
        if end > self.bytes.len() {
            self.bytes.resize(end.next_power_of_two(), 0);
        }
        self.bytes[offset as usize..end].copy_from_slice(data);
    }

    /// Reads at an offset.
    #[must_use]
    pub fn read(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let end = (offset as usize)
            .checked_add(len)
            .filter(|e| *e as u64 <= Self::MAX)?;
        let mut out = vec![0; len];
        let have = self.bytes.len().min(end).saturating_sub(offset as usize);
        out[..have].copy_from_slice(&self.bytes[offset as usize..offset as usize + have]);
        Some(out)
    }
}
