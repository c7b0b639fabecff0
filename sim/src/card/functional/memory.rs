//! Packet memory of the functional card: the card's own, or shared with other processes as BAR2 of a PCI device is with the
//! SSDs beside it. Shared memory changes at any time, so it is only ever copied, in and out.

use std::io;
use std::sync::Arc;

use sluice_engines::Memory;
use sluice_hal::{PmSlice, layout};
use sluice_vfio_user::memory::SharedFile;

/// The 16 MiB.
pub enum PacketMemory {
    /// Nobody else's.
    Own(Vec<u8>),
    /// A file in memory.
    Shared(Arc<SharedFile>),
}

impl PacketMemory {
    pub fn own() -> Self {
        Self::Own(vec![0; layout::PM_SIZE as usize])
    }

    /// Makes it a file, with the same bytes.
    pub fn share(&mut self) -> io::Result<()> {
        if let Self::Own(bytes) = self {
            let file = SharedFile::create("sluice-packet-memory", layout::PM_SIZE.into())?;
            file.write(0, bytes)?;
            *self = Self::Shared(Arc::new(file));
        }
        Ok(())
    }

    /// Copies out. Bytes beyond the end are 0.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        let (inside, beyond) = into.split_at_mut(fitting(at, into.len()));
        beyond.fill(0);
        match self {
            _ if inside.is_empty() => {}
            Self::Own(bytes) => inside.copy_from_slice(&bytes[at..][..inside.len()]),
            // What is created mapped and is long enough cannot fail.
            Self::Shared(file) => file.read(at as u64, inside).unwrap_or_default(),
        }
    }

    /// Copies in. Bytes beyond the end are lost.
    pub fn write(&mut self, at: usize, from: &[u8]) {
        let from = &from[..fitting(at, from.len())];
        match self {
            _ if from.is_empty() => {}
            Self::Own(bytes) => bytes[at..][..from.len()].copy_from_slice(from),
            Self::Shared(file) => file.write(at as u64, from).unwrap_or_default(),
        }
    }
}

/// How many of `len` bytes from `at` are in the memory.
fn fitting(at: usize, len: usize) -> usize {
    (layout::PM_SIZE as usize).saturating_sub(at).min(len)
}

impl Memory for PacketMemory {
    fn load(&self, piece: PmSlice) -> Vec<u8> {
        let mut bytes = vec![0; piece.len as usize];
        self.read(piece.addr.0 as usize, &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_hal::PmAddr;

    #[test]
    fn both_kinds_hold_what_was_written_and_end_where_they_end() {
        let end = layout::PM_SIZE as usize;
        for shared in [false, true] {
            let mut memory = PacketMemory::own();
            memory.write(end - 3, &[1, 2, 3, 4, 5]);
            if shared {
                memory.share().expect("a memfd");
            }
            memory.write(end + 7, &[9]);
            memory.write(0x1001, &[7; 300]);
            let mut back = [0xFF; 6];
            memory.read(end - 4, &mut back);
            assert_eq!(back, [0, 1, 2, 3, 0, 0]);
            memory.read(usize::MAX, &mut back);
            assert_eq!(back, [0; 6]);
            let piece = memory.load(PmSlice::new(PmAddr(0x1000), 302));
            assert_eq!((piece[0], piece[301]), (0, 0));
            assert_eq!(piece[1..301], [7; 300]);
        }
    }
}
