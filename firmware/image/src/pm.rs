//! Loads and stores in packet memory. Addresses are offsets into it, as everywhere in the firmware.
//!
//! A load from packet memory costs several clocks, one from the core's own memory one: so packet memory is always
//! accessed by aligned words, and misalignment, if any, is dealt with on the side of the core's own memory.
#![allow(
    unsafe_code,
    reason = "leaf module: volatile accesses to a fixed window"
)]

use sluice_hal::layout::PM_SIZE;

/// Bit 30 is set in no address of the core's own memory or registers, so an address with it is packet memory or nothing.
const WINDOW: u32 = 0x4000_0000;

/// The word at `at`, a multiple of 4.
#[inline(always)]
pub fn read32(at: u32) -> u32 {
    // SAFETY: packet memory may be read at any time; an address outside of it traps (see `WINDOW`). Ibex takes
    // misaligned addresses, should a caller err.
    unsafe { ((WINDOW | at) as *const u32).read_volatile() }
}

/// Stores a word at `at`, a multiple of 4.
#[inline(always)]
pub fn write32(at: u32, value: u32) {
    // SAFETY: packet memory is not memory of this program: no store to it can break Rust's rules. See `WINDOW`.
    unsafe { ((WINDOW | at) as *mut u32).write_volatile(value) }
}

/// Stores a byte.
#[inline(always)]
pub fn write8(at: u32, value: u8) {
    // SAFETY: as in `write32`.
    unsafe { ((WINDOW | at) as *mut u8).write_volatile(value) }
}

/// The part of `len` that lies inside packet memory from `at` on. All of it, unless a caller errs.
#[inline(always)]
fn inside(at: u32, len: usize) -> usize {
    len.min(PM_SIZE.saturating_sub(at) as usize)
}

/// Copies from packet memory.
#[inline]
pub fn read(at: u32, into: &mut [u8]) {
    let len = inside(at, into.len());
    let into = &mut into[..len];
    let shift = at % 4 * 8;
    if shift == 0 {
        read_aligned(at, into)
    } else {
        read_shifted(at & !3, shift, into)
    }
}

#[inline(always)]
fn read_aligned(mut at: u32, into: &mut [u8]) {
    let mut words = into.chunks_exact_mut(4);
    for out in &mut words {
        store(out, read32(at));
        at += 4;
    }
    let rest = words.into_remainder();
    if !rest.is_empty() {
        first_bytes(rest, read32(at));
    }
}

/// From `shift` bits into the word at `at`: every word is read once.
fn read_shifted(mut at: u32, shift: u32, into: &mut [u8]) {
    if into.is_empty() {
        return;
    }
    let mut low = read32(at) >> shift;
    let mut words = into.chunks_exact_mut(4);
    for out in &mut words {
        at += 4;
        let next = read32(at);
        store(out, low | next << (32 - shift));
        low = next >> shift;
    }
    let rest = words.into_remainder();
    if rest.len() as u32 * 8 > 32 - shift {
        low |= read32(at + 4) << (32 - shift);
    }
    first_bytes(rest, low);
}

/// Copies into packet memory.
#[inline]
pub fn write(mut at: u32, from: &[u8]) {
    let from = &from[..inside(at, from.len())];
    let (head, rest) = from.split_at((at.wrapping_neg() as usize % 4).min(from.len()));
    for byte in head {
        write8(at, *byte);
        at += 1;
    }
    let mut words = rest.chunks_exact(4);
    for word in &mut words {
        write32(at, load(word));
        at += 4;
    }
    for byte in words.remainder() {
        write8(at, *byte);
        at += 1;
    }
}

/// One instruction: the build allows misaligned accesses (`.cargo/config.toml`).
#[inline(always)]
fn load(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().unwrap_or_default())
}

/// As [`load`].
#[inline(always)]
fn store(bytes: &mut [u8], word: u32) {
    bytes.copy_from_slice(&word.to_le_bytes());
}

/// The first bytes of a word.
#[inline(always)]
fn first_bytes(bytes: &mut [u8], mut word: u32) {
    for byte in bytes {
        *byte = word as u8;
        word >>= 8;
    }
}
