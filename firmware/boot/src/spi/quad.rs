//! Whether and how a chip is read over four lines: what it says in its SFDP table, and the bit that gives it the lines.
//!
//! Source: JESD216F (Serial Flash Discoverable Parameters), sections 6.2 to 6.4. Only the read whose command and address go over
//! one line (1-1-4), with 8 idle clocks, as every common part has it. What is not understood is read over one line.

use super::{BUSY, Commands, READ_STATUS, WRITE_ENABLE};

const READ_SFDP: u8 = 0x5A;
/// The next write to a status register does not outlast the power.
const VOLATILE_WRITE_ENABLE: u8 = 0x50;
const WRITE_STATUS: u8 = 0x01;
const READ_STATUS_2: u8 = 0x35;
const WRITE_STATUS_2: u8 = 0x31;
const READ_CONFIGURATION: u8 = 0x3F;
const WRITE_CONFIGURATION: u8 = 0x3E;
/// Bytes of the basic table up to its 16th word.
const TABLE: usize = 64;
/// Looks at the status until a write to a status register counts as failed: a part takes up to 30 ms, a look 1 us and more.
const PATIENCE: u32 = 100_000;

/// Where the bit is that gives the chip its four lines: how the register is read and written, and the bit.
struct Enable {
    read: u8,
    write: u8,
    bit: u8,
    /// Status register 1 is written before it, with the same command.
    after_first: bool,
}

/// Gives the chip its four lines. The opcode of the read over them, if it has one and the lines are on.
///
/// # Errors
/// If a command does not get there.
pub fn enable<C: Commands>(chip: &mut C) -> Result<Option<u8>, C::Error> {
    let mut head = [0; 16];
    chip.read(READ_SFDP, Some(0), 1, false, &mut head)?;
    // The first parameter header is that of the basic table: FF00h, its length in words, its address.
    let [.., id_low, _, _, words, at0, at1, at2, id_high] = head;
    if head[..4] != *b"SFDP" || [id_low, id_high] != [0, 0xFF] || usize::from(words) * 4 < TABLE {
        return Ok(None);
    }
    let mut table = [0; TABLE];
    let at = u32::from_le_bytes([at0, at1, at2, 0]);
    chip.read(READ_SFDP, Some(at), 1, false, &mut table)?;
    // Word 1, bit 22: there is such a read. Word 3: no mode clocks and 8 wait states in bits 23:16, opcode in bits 31:24.
    let opcode = table[11];
    if table[2] & 1 << 6 == 0 || table[10] != 8 {
        return Ok(None);
    }
    // Word 15, bits 22:20: quad enable requirements. With 1 and 4 the bit cannot be read.
    let bit = match table[58] >> 4 & 7 {
        0 => return Ok(Some(opcode)),
        2 => place(READ_STATUS, WRITE_STATUS, 6),
        3 => place(READ_CONFIGURATION, WRITE_CONFIGURATION, 7),
        5 => Enable {
            after_first: true,
            ..place(READ_STATUS_2, WRITE_STATUS, 1)
        },
        6 => place(READ_STATUS_2, WRITE_STATUS_2, 1),
        _ => return Ok(None),
    };
    // Word 16, bits 3:2: the bit can be set without being kept.
    let volatile = table[60] & 0b1100 != 0;
    Ok(set(chip, &bit, volatile)?.then_some(opcode))
}

const fn place(read: u8, write: u8, bit: u8) -> Enable {
    Enable {
        read,
        write,
        bit: 1 << bit,
        after_first: false,
    }
}

/// Sets the bit unless it is. False if it does not stay.
fn set<C: Commands>(chip: &mut C, place: &Enable, volatile: bool) -> Result<bool, C::Error> {
    let is = register(chip, place.read)?;
    if is & place.bit != 0 {
        return Ok(true);
    }
    let first = register(chip, READ_STATUS)?;
    let enable = if volatile {
        VOLATILE_WRITE_ENABLE
    } else {
        WRITE_ENABLE
    };
    chip.write(enable, None, &[])?;
    let both = [first & !0b11, is | place.bit];
    let from = usize::from(!place.after_first);
    chip.write(place.write, None, &both[from..])?;
    for _ in 0..PATIENCE {
        if register(chip, READ_STATUS)? & BUSY == 0 {
            return Ok(register(chip, place.read)? & place.bit != 0);
        }
    }
    Ok(false)
}

fn register<C: Commands>(chip: &mut C, read: u8) -> Result<u8, C::Error> {
    let mut value = [0];
    chip.read(read, None, 0, false, &mut value)?;
    Ok(value[0])
}
