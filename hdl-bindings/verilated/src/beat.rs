//! What crosses the card's outer ports: one beat of up to 16 bytes at a time.

/// One beat. What `addr`, `write`, `bar2` and `flag` mean depends on the port; unused fields are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Beat {
    /// Inputs: the first clock at which the beat may be offered. Outputs: the clock in which it was taken.
    pub at: u64,
    /// Byte address, a multiple of 16. BAR offset inbound, bus address outbound.
    pub addr: u64,
    /// Byte `i` lies at `addr + i`.
    pub data: [u8; 16],
    /// Bit `i`: byte `i` is meant.
    pub mask: u16,
    /// A write; otherwise a read.
    pub write: bool,
    /// BAR2; otherwise BAR0.
    pub bar2: bool,
    /// Ethernet: last beat of its frame. Read answers: no device answered.
    pub flag: bool,
}

impl Beat {
    /// A register write through BAR0; `offset` is a multiple of 4.
    #[must_use]
    pub fn bar0_write(at: u64, offset: u32, value: u32) -> Self {
        let mut beat = Self {
            write: true,
            ..Self::bar0_read(at, offset)
        };
        beat.data[offset as usize % 16..][..4].copy_from_slice(&value.to_le_bytes());
        beat
    }

    /// A register read through BAR0; `offset` is a multiple of 4.
    #[must_use]
    pub fn bar0_read(at: u64, offset: u32) -> Self {
        assert!(offset.is_multiple_of(4), "registers are words");
        Self {
            at,
            addr: u64::from(offset & !15),
            mask: 0xf << (offset % 16),
            ..Self::default()
        }
    }

    /// The register at `offset`, in the answer to a read of it.
    #[must_use]
    pub fn register(&self, offset: u32) -> u32 {
        let at = offset as usize % 16 & !3;
        u32::from_le_bytes([
            self.data[at],
            self.data[at + 1],
            self.data[at + 2],
            self.data[at + 3],
        ])
    }
}

/// Ports into the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Input {
    /// Reads and writes of BAR0 and BAR2.
    Request = 0,
    /// Answers to [`Output::HostRequest`] reads, in the order of the requests.
    HostAnswer = 1,
    /// Ethernet, towards the card.
    Wire = 2,
}

/// Ports out of the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Output {
    /// Answers to [`Input::Request`] reads, in the order of the requests.
    Answer = 0,
    /// Reads and writes of host memory and other devices: mover, doorbells, MSI-X.
    HostRequest = 1,
    /// Ethernet, from the card.
    Wire = 2,
}
