//! Where things lie in the flash. Addresses and lengths in bytes; everything begins at an erase sector.

/// Bytes that one erase clears.
pub const SECTOR: u32 = 4096;
/// Bytes that one program command takes; it may not cross a multiple of this.
pub const PAGE: u32 = 256;
/// What the flash must hold at least.
pub const FLASH_SIZE: u32 = 4 << 20;

/// The two sectors of the boot-state journal.
pub const JOURNAL: [u32; 2] = [0x0000_0000, 0x0000_1000];
/// The two key slots, a sector each.
pub const KEYS: [u32; 2] = [0x0000_2000, 0x0000_3000];
/// Factory data, a sector.
pub const FACTORY: u32 = 0x0000_4000;
/// The two firmware slots.
pub const SLOTS: [u32; 2] = [0x0010_0000, 0x0024_0000];
/// Bytes of a firmware slot.
pub const SLOT_SIZE: u32 = 0x0014_0000;

/// Memory of each core, which an image must fit into (docs/card.md, section 2).
pub const CORE_MEMORY: u32 = 512 << 10;

/// What of it the control core's image may take: above are the boot program and its stack (`firmware/image/boot.x`).
pub const CONTROL_MEMORY: u32 = 416 << 10;

/// A firmware slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Slot 0 or 1.
    #[must_use]
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.get(index as usize).copied()
    }

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Where it begins.
    #[must_use]
    pub const fn base(self) -> u32 {
        SLOTS[self as usize]
    }

    /// `A` or `B`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

const _: () = {
    assert!(FACTORY + SECTOR <= SLOTS[0]);
    assert!(SLOTS[0] + SLOT_SIZE <= SLOTS[1] && SLOTS[1] + SLOT_SIZE <= FLASH_SIZE);
    // A slot takes the largest package: two images and the header's page.
    assert!(2 * CORE_MEMORY + PAGE <= SLOT_SIZE);
    assert!(SLOTS[0].is_multiple_of(SECTOR) && SLOTS[1].is_multiple_of(SECTOR));
    assert!(SLOT_SIZE.is_multiple_of(SECTOR) && PAGE < SECTOR);
};
