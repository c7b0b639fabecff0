//! The functions of `cpp/shim.cpp`.

use core::ffi::{c_char, c_void};

use crate::beat::Beat;
use crate::board::{Fuses, Pins};

/// A card, owned by C++.
#[repr(C)]
pub struct Card {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    /// Null if this build has no such model.
    pub fn sluice_card_new(
        data_cores: u32,
        flat: bool,
        seed: u64,
        fuses: *const Fuses,
    ) -> *mut Card;
    pub fn sluice_card_free(card: *mut Card);
    pub fn sluice_card_push(card: *mut Card, input: u32, beats: *const Beat, count: usize);
    pub fn sluice_card_take(card: *mut Card, output: u32, beats: *mut Beat, room: usize) -> usize;
    /// False if an assertion failed: see `sluice_failure`.
    pub fn sluice_card_run(card: *mut Card, until: u64) -> bool;
    pub fn sluice_card_clock(card: *const Card) -> u64;
    pub fn sluice_card_queued(card: *const Card, input: u32) -> usize;
    pub fn sluice_card_live_time(card: *mut Card, live: bool, micros: u64);
    pub fn sluice_card_trace(card: *mut Card, path: *const c_char) -> bool;
    /// 0: not known.
    pub fn sluice_card_idle_until(card: *const Card) -> u64;
    /// Fingerprint of all outer outputs in every clock so far.
    pub fn sluice_card_fingerprint(card: *const Card) -> u64;
    /// Takes the clocks counted by address, and goes on counting from 0; the first call starts it. Returns how many
    /// were written.
    pub fn sluice_card_profile(card: *mut Card, core: u32, counts: *mut u32, room: usize) -> usize;
    /// From now on `flash` is called with `chip` when the flash's pins change.
    pub fn sluice_card_flash(
        card: *mut Card,
        flash: extern "C" fn(*mut c_void, u64, Pins) -> u8,
        chip: *mut c_void,
    );
    pub fn sluice_card_fuses(card: *const Card, fuses: *mut Fuses);
    pub fn sluice_card_rom(card: *mut Card, words: *const u32, count: usize);
    /// What failed in this thread's last run.
    pub fn sluice_failure() -> *const c_char;
}
