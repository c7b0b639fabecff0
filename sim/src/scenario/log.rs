//! The cores' log: rings in packet memory, read through BAR2 as the host driver would, decoded with the ELF file of what
//! the core runs.

use std::fmt::Write as _;
use std::path::Path;

use defmt_decoder::{DecodeError, Table};
use sluice_hal::layout::{LOG_BASE, LOG_SIZE};
use sluice_regs::bar0_regs;

use super::firmware::{self, FirmwareError};
use crate::world::{CARD_BAR0, CARD_BAR2, World};

/// Bytes of frames in a ring: the header is two counts.
const DATA: u32 = LOG_SIZE - 8;
/// Bytes per read of packet memory.
const PIECE: u32 = 128;

/// Reads all that core `core` has logged and nobody has read, as text; the firmware's ELF files are in `folder`.
///
/// # Errors
/// If the core's ELF file cannot be read or has no defmt table.
pub fn read(world: &mut World, core: u32, folder: &Path) -> Result<String, FirmwareError> {
    let elf = firmware::elf(folder, core);
    let unreadable = |reason: String| FirmwareError::Unreadable {
        path: elf.clone(),
        reason,
    };
    let bytes = std::fs::read(&elf).map_err(|e| unreadable(e.to_string()))?;
    let table = Table::parse(&bytes).map_err(|e| unreadable(e.to_string()))?;
    let table = table.ok_or_else(|| unreadable("no .defmt section".into()))?;
    let mut decoder = table.new_stream_decoder();
    decoder.received(&take(world, core));
    let mut text = String::new();
    loop {
        match decoder.decode() {
            // Writing to a String cannot fail.
            Ok(frame) => _ = writeln!(text, "core {core}: {}", frame.display(false)),
            Err(DecodeError::UnexpectedEof) => return Ok(text),
            Err(DecodeError::Malformed) => text += "core: a log frame that makes no sense\n",
        }
    }
}

/// Takes the bytes out of the ring and marks them read.
fn take(world: &mut World, core: u32) -> Vec<u8> {
    let ring = CARD_BAR2 + u64::from(LOG_BASE + LOG_SIZE * core);
    let word = |world: &mut World, at: u64| {
        let value = world.host_read(at, 4).ok().and_then(|v| v.try_into().ok());
        value.map_or(0, u32::from_le_bytes)
    };
    let (written, read) = (word(world, ring), word(world, ring + 4));
    let mut bytes = Vec::new();
    // Counts that make no sense (no firmware, or one that went wild) give nothing rather than everything.
    let mut left = written.wrapping_sub(read);
    if left > DATA {
        return bytes;
    }
    let mut at = read % DATA;
    while left > 0 {
        let n = left.min(PIECE).min(DATA - at);
        let piece = world.host_read(ring + 8 + u64::from(at), n);
        bytes.extend(piece.unwrap_or_else(|_| vec![0; n as usize]));
        at = (at + n) % DATA;
        left -= n;
    }
    world.host_write(ring + 4, &written.to_le_bytes());
    bytes
}

/// How the card is, in a line: firmware status, cores that missed their watchdog, state of each core.
#[must_use]
pub fn state(world: &mut World, cores: u32) -> String {
    let read = |world: &mut World, offset: u32| {
        let value = world.host_read(CARD_BAR0 + u64::from(offset), 4).ok();
        value
            .and_then(|v| v.try_into().ok())
            .map_or(u32::MAX, u32::from_le_bytes)
    };
    let status = read(world, bar0_regs::FW_STATUS_OFFSET);
    let watchdog = read(world, bar0_regs::WATCHDOG_OFFSET);
    let mut text = format!("firmware status {status}, watchdogs expired {watchdog:#b}");
    for core in 0..cores {
        let select = CARD_BAR0 + u64::from(bar0_regs::CORE_SELECT_OFFSET);
        world.host_write(select, &(core | 11 << 8).to_le_bytes());
        for _ in 0..4 {
            world.step();
        }
        let state = read(world, bar0_regs::CORE_VALUE_OFFSET);
        let how = match state & 3 {
            0 => "running",
            1 => "sleeping",
            _ => "stopped by a fault",
        };
        text += &format!(", core {core} {how}");
    }
    text
}
