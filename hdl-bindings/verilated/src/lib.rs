//! The card's RTL, turned into C++ by Verilator, behind a safe interface that works in beats and clocks.
//!
//! A card is either *split*, one model per tile and one for everything else, exchanged once a clock, or (feature `flat`)
//! *flat*, one model of the whole. Every signal between a tile and the uncore leaves a flip-flop, so both behave the same,
//! clock for clock; the split card runs faster and compiles once for any number of cores.
//!
//! Nothing here knows PCIe packets or Ethernet frames: see `sluice-sim`. All `unsafe` of the simulation is in this crate.
#![allow(unsafe_code, reason = "leaf crate: FFI to the Verilated models")]

// Linked for Verilator's FST writer, which calls them from C++.
#[cfg(feature = "waves")]
use {libz_sys as _, lz4_sys as _};

mod beat;
mod board;
mod ffi;

use std::{
    ffi::{CStr, CString},
    path::Path,
    ptr::NonNull,
};

pub use beat::{Beat, Input, Output};
pub use board::{Board, FlashChip, Fuses, Pins};

/// Bytes of a core's memory.
const TCM_BYTES: usize = 512 << 10;

/// Why there is no card.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NewCardError {
    /// The build has no such model.
    #[error(
        "this build has no Verilated card with {0} data cores: build with SLUICE_DATA_CORES={0}"
    )]
    NotBuilt(u32),
    /// Only with the feature `flat`.
    #[error("flattened models are built with the feature `flat`")]
    NoFlat,
}

/// The RTL stopped itself.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the RTL stopped at clock {clock}: {what}")]
pub struct Stopped {
    /// When.
    pub clock: u64,
    /// The assertion's place; its name is on standard output.
    pub what: String,
}

/// A Verilated card, out of reset, with its cores held (`CTRL.run` is 0).
pub struct Card {
    model: NonNull<ffi::Card>,
    /// The model has a pointer to what the outer box holds.
    flash: Option<Box<Box<dyn FlashChip>>>,
}

// SAFETY: a card shares nothing with other cards: Verilator keeps all state in its models and their contexts, and the
// shim's only global is per thread.
unsafe impl Send for Card {}

impl Card {
    /// A card of one model per tile and one for the rest. `seed` starts the entropy input.
    ///
    /// # Errors
    /// [`NewCardError`] if this build lacks the model.
    pub fn split(data_cores: u32, seed: u64) -> Result<Self, NewCardError> {
        Self::split_on(Board::default(), data_cores, seed)
    }

    /// The same on this board.
    ///
    /// # Errors
    /// [`NewCardError`] if this build lacks the model.
    pub fn split_on(board: Board, data_cores: u32, seed: u64) -> Result<Self, NewCardError> {
        Self::on(board, data_cores, false, seed)
    }

    /// A card of one model.
    ///
    /// # Errors
    /// [`NewCardError`] if this build lacks the model.
    pub fn flat(data_cores: u32, seed: u64) -> Result<Self, NewCardError> {
        Self::flat_on(Board::default(), data_cores, seed)
    }

    /// The same on this board.
    ///
    /// # Errors
    /// [`NewCardError`] if this build lacks the model.
    pub fn flat_on(board: Board, data_cores: u32, seed: u64) -> Result<Self, NewCardError> {
        if !cfg!(feature = "flat") {
            return Err(NewCardError::NoFlat);
        }
        Self::on(board, data_cores, true, seed)
    }

    fn on(board: Board, data_cores: u32, flat: bool, seed: u64) -> Result<Self, NewCardError> {
        // SAFETY: takes plain values, and copies what the pointer points to.
        let card = unsafe { ffi::sluice_card_new(data_cores, flat, seed, &raw const board.fuses) };
        let model = NonNull::new(card).ok_or(NewCardError::NotBuilt(data_cores))?;
        let mut card = Self {
            model,
            flash: board.flash.map(Box::new),
        };
        // SAFETY: the slice is valid for the call, which copies it.
        unsafe { ffi::sluice_card_rom(model.as_ptr(), board.rom.as_ptr(), board.rom.len()) }
        if let Some(chip) = &mut card.flash {
            let chip: *mut Box<dyn FlashChip> = &raw mut **chip;
            // SAFETY: the outer box keeps its place and lives as long as the model.
            unsafe { ffi::sluice_card_flash(model.as_ptr(), board::pins_changed, chip.cast()) }
        }
        Ok(card)
    }

    /// The fuses as they are now.
    #[must_use]
    pub fn fuses(&self) -> Fuses {
        let mut fuses = Fuses::default();
        // SAFETY: both pointers are valid for the call.
        unsafe { ffi::sluice_card_fuses(self.model.as_ptr(), &raw mut fuses) }
        fuses
    }

    /// Queues beats for an input, in order of `at`.
    pub fn push(&mut self, input: Input, beats: &[Beat]) {
        // SAFETY: the slice is valid for the call, which copies it.
        unsafe {
            ffi::sluice_card_push(
                self.model.as_ptr(),
                input as u32,
                beats.as_ptr(),
                beats.len(),
            )
        }
    }

    /// Takes the oldest beats of an output; returns how many of `beats` were filled.
    pub fn take(&mut self, output: Output, beats: &mut [Beat]) -> usize {
        // SAFETY: the slice is valid for the call, which writes whole beats and `bool`s of 0 or 1 only.
        unsafe {
            ffi::sluice_card_take(
                self.model.as_ptr(),
                output as u32,
                beats.as_mut_ptr(),
                beats.len(),
            )
        }
    }

    /// Takes the oldest beat of an output.
    pub fn take_one(&mut self, output: Output) -> Option<Beat> {
        let mut beat = [Beat::default()];
        (self.take(output, &mut beat) == 1).then_some(beat[0])
    }

    /// Runs up to (not including) clock `until`.
    ///
    /// # Errors
    /// [`Stopped`] if an assertion failed (feature `assertions`) or the RTL called `$fatal`.
    pub fn run(&mut self, until: u64) -> Result<(), Stopped> {
        // SAFETY: the pointer is valid as long as `self`.
        if unsafe { ffi::sluice_card_run(self.model.as_ptr(), until) } {
            return Ok(());
        }
        // SAFETY: a C string that lives until this thread's next run.
        let what = unsafe { CStr::from_ptr(ffi::sluice_failure()) };
        Err(Stopped {
            clock: self.clock(),
            what: what.to_string_lossy().into_owned(),
        })
    }

    /// Clocks run since reset.
    #[must_use]
    pub fn clock(&self) -> u64 {
        // SAFETY: the pointer is valid as long as `self`.
        unsafe { ffi::sluice_card_clock(self.model.as_ptr()) }
    }

    /// If `Some`: unless something comes in or time is set anew, nothing goes out before this clock, and running up to
    /// there costs next to nothing. Split cards only.
    #[must_use]
    pub fn idle_until(&self) -> Option<u64> {
        // SAFETY: the pointer is valid as long as `self`.
        let clock = unsafe { ffi::sluice_card_idle_until(self.model.as_ptr()) };
        (clock > 0).then_some(clock)
    }

    /// Beats of an input that the card has not taken yet.
    #[must_use]
    pub fn queued(&self, input: Input) -> usize {
        // SAFETY: the pointer is valid as long as `self`.
        unsafe { ffi::sluice_card_queued(self.model.as_ptr(), input as u32) }
    }

    /// From now on the microsecond clock shows `micros` (never going back) until told otherwise.
    pub fn set_live_micros(&mut self, micros: u64) {
        // SAFETY: the pointer is valid as long as `self`.
        unsafe { ffi::sluice_card_live_time(self.model.as_ptr(), true, micros) }
    }

    /// From now on the microsecond clock advances every 250 clocks.
    pub fn set_clocked_micros(&mut self) {
        // SAFETY: the pointer is valid as long as `self`.
        unsafe { ffi::sluice_card_live_time(self.model.as_ptr(), false, 0) }
    }

    /// Writes waveforms from here on to FST files: one per model, `path` with the model's name appended. False without
    /// the feature `waves` or if the files cannot be created.
    #[must_use]
    pub fn trace(&mut self, path: &Path) -> bool {
        let Ok(path) = CString::new(path.as_os_str().as_encoded_bytes()) else {
            return false;
        };
        // SAFETY: both pointers are valid for the call.
        unsafe { ffi::sluice_card_trace(self.model.as_ptr(), path.as_ptr()) }
    }

    /// Clocks that core `core` spent at each halfword of its memory since the last call; the first call starts the count.
    /// Empty for flattened cards and cores that do not exist.
    #[must_use]
    pub fn take_profile(&mut self, core: u32) -> Vec<u32> {
        let mut counts = vec![0; TCM_BYTES / 2];
        // SAFETY: the vector is valid for the call, which writes no more than its length.
        let written = unsafe {
            ffi::sluice_card_profile(self.model.as_ptr(), core, counts.as_mut_ptr(), counts.len())
        };
        counts.truncate(written);
        counts
    }

    /// A fingerprint of all outer outputs in every clock so far. Two cards with the same inputs and the same fingerprint
    /// behaved the same, clock for clock.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // SAFETY: the pointer is valid as long as `self`.
        unsafe { ffi::sluice_card_fingerprint(self.model.as_ptr()) }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // SAFETY: made by `sluice_card_new`, freed once.
        unsafe { ffi::sluice_card_free(self.model.as_ptr()) }
    }
}
