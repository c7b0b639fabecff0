//! The four lines of a serial chip: what it says of them, and the register bit that gives them.
//!
//! Source: JESD216F, sections 6.2 to 6.4, with the values of the Winbond W25Q32JV (data sheet revision G, sections 7.1 and 8.2.28)
//! where they matter here. Writes to status registers take no time.

/// What a chip has of four lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Quad {
    /// They are always on.
    #[default]
    Always,
    /// A bit gives them.
    Bit {
        /// Which: JESD216F's quad enable requirements, 1 to 6.
        requirement: u8,
        /// What writing it does.
        when_written: Written,
    },
    /// It says nothing of them.
    NoTable,
    /// It says that it has none.
    None,
}

/// What becomes of a bit that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is kept; it may also be written for as long as there is power.
    Kept,
    /// It is kept, and there is no other way.
    AlwaysKept,
    /// It stays 0.
    Ignored,
}

/// First byte of the basic table.
const TABLE_AT: usize = 0x80;
const TABLE_WORDS: u8 = 16;

impl Quad {
    /// Byte `at` of the SFDP table.
    pub(crate) fn sfdp(self, at: usize) -> u8 {
        if self == Self::NoTable {
            return 0xFF;
        }
        let head = *b"SFDP\x05\x01\x00\xFF";
        let parameter = [0x00, 5, 1, TABLE_WORDS, TABLE_AT as u8, 0, 0, 0xFF];
        let has = self != Self::None;
        let (requirement, first) = match self {
            Self::Bit {
                requirement,
                when_written,
            } => (
                requirement,
                u8::from(when_written != Written::AlwaysKept) << 3 | 1,
            ),
            _ => (0, 0b1000),
        };
        match at {
            0..8 => head[at],
            8..16 => parameter[at - 8],
            _ => match at.wrapping_sub(TABLE_AT) {
                0 => 0xE5,
                1 => 0x20,
                2 => 0x81 | u8::from(has) << 6,
                // 1-1-4: 8 wait states, no mode clocks, opcode 6Bh.
                10 if has => 8,
                11 if has => 0x6B,
                58 => requirement << 4,
                60 => first,
                _ => 0xFF,
            },
        }
    }

    /// Command that reads the register with the bit, and the bit.
    pub(crate) fn place(self) -> Option<(u8, u8)> {
        match self {
            Self::Bit { requirement: 2, .. } => Some((0x05, 1 << 6)),
            Self::Bit { requirement: 3, .. } => Some((0x3F, 1 << 7)),
            // Those of requirements 1 and 4 cannot be read.
            Self::Bit {
                requirement: 5 | 6, ..
            } => Some((0x35, 1 << 1)),
            _ => None,
        }
    }

    /// The bit that a write of `data` with this command gives.
    pub(crate) fn written(self, command: u8, data: &[u8]) -> Option<bool> {
        let Self::Bit { requirement, .. } = self else {
            return None;
        };
        match (requirement, command, data) {
            (2, 0x01, [first]) => Some(first & 1 << 6 != 0),
            (3, 0x3E, [configuration]) => Some(configuration & 1 << 7 != 0),
            (1 | 4 | 5, 0x01, [_, second]) | (6, 0x31, [second]) => Some(second & 1 << 1 != 0),
            _ => None,
        }
    }
}
