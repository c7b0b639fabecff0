//! The MSI-X table and pending bits (PCI Local Bus 3.0, section 6.8.2).

/// Message for a vector: address and data.
pub(super) type Message = (u64, u32);

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    data: u32,
    /// Vector Control; bit 0 masks. Masked at reset.
    control: u32,
}

/// The vectors of a device.
#[derive(Debug)]
pub(super) struct Msix {
    entries: Vec<Entry>,
    pending: Vec<bool>,
}

impl Msix {
    pub fn new(vectors: u16) -> Self {
        let n = usize::from(vectors);
        Self {
            entries: vec![
                Entry {
                    address: 0,
                    data: 0,
                    control: 1
                };
                n
            ],
            pending: vec![false; n],
        }
    }

    /// Fires a vector: gives the message to send, or leaves it pending if masked.
    pub fn fire(&mut self, vector: u16) -> Option<Message> {
        let entry = self.entries.get(usize::from(vector))?;
        if entry.control & 1 != 0 {
            self.pending[usize::from(vector)] = true;
            return None;
        }
        Some((entry.address, entry.data))
    }

    /// Word at `offset` of the table.
    pub fn read(&self, offset: u64) -> u32 {
        let Some(e) = self.entries.get((offset / 16) as usize) else {
            return 0;
        };
        match offset % 16 / 4 {
            0 => e.address as u32,
            1 => (e.address >> 32) as u32,
            2 => e.data,
            _ => e.control,
        }
    }

    /// Writes a word of the table. Unmasking a pending vector gives its message.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Message> {
        let vector = (offset / 16) as usize;
        let e = self.entries.get_mut(vector)?;
        match offset % 16 / 4 {
            0 => e.address = e.address & !0xFFFF_FFFF | u64::from(value & !3),
            1 => e.address = e.address & 0xFFFF_FFFF | u64::from(value) << 32,
            2 => e.data = value,
            _ => {
                e.control = value & 1;
                if e.control == 0 && std::mem::take(&mut self.pending[vector]) {
                    return Some((e.address, e.data));
                }
            }
        }
        None
    }

    /// Word of the pending bits.
    pub fn pending(&self, offset: u64) -> u32 {
        let first = (offset / 4 * 32) as usize;
        let bits = self.pending.iter().skip(first).take(32).enumerate();
        bits.fold(0, |word, (i, p)| word | u32::from(*p) << i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_vector_waits_and_fires_when_unmasked() {
        let mut msix = Msix::new(34);
        assert_eq!(msix.fire(33), None);
        assert_eq!((msix.pending(0), msix.pending(4)), (0, 2));
        assert_eq!(msix.write(33 * 16, 0xFEE0_0003), None);
        assert_eq!(msix.write(33 * 16 + 4, 5), None);
        assert_eq!(msix.write(33 * 16 + 8, 77), None);
        assert_eq!(msix.write(33 * 16 + 12, 0), Some((0x5_FEE0_0000, 77)));
        assert_eq!(msix.pending(4), 0);
        assert_eq!(msix.fire(33), Some((0x5_FEE0_0000, 77)));
        assert_eq!(msix.read(33 * 16 + 8), 77);
    }

    #[test]
    fn vectors_beyond_the_table_do_nothing() {
        let mut msix = Msix::new(1);
        assert_eq!(
            (msix.fire(1), msix.write(16, 1), msix.read(16)),
            (None, None, 0)
        );
    }
}
