//! What is around the Verilated card on its board: a flash chip that others can look at, fuses, and the boot program's ROM.

use std::sync::{Arc, Mutex, PoisonError};

use sluice_nor::serial::SerialNor;
use sluice_nor::{FuseBank, Nor};
use sluice_verilated::{Board, FlashChip, Fuses, Pins};

/// Nanoseconds of a clock.
const CLOCK: u64 = 4;
/// Where the boot program lies in core 0's memory.
const ROM: usize = 0x7_0000;

/// A flash chip that the card and others have.
#[derive(Clone)]
pub struct Chip(Arc<Mutex<SerialNor>>);

impl Chip {
    /// A chip with this array behind it.
    #[must_use]
    pub fn new(nor: Nor) -> Self {
        Self(Arc::new(Mutex::new(SerialNor::new(nor))))
    }

    /// Looks at the chip, or does something to it, between two clocks of the card.
    pub fn with<T>(&self, what: impl FnOnce(&mut SerialNor) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl FlashChip for Chip {
    fn pins(&mut self, clock: u64, pins: Pins) -> u8 {
        self.with(|chip| chip.pins(clock * CLOCK, pins.selected, pins.clock, pins.out))
    }
}

/// A board with this chip, these fuses and this boot program (`rom`, core memory from address 0 on, as [`crate::scenario::flat`]
/// makes it); started from flash by whoever sets `CTRL.boot`.
#[must_use]
pub fn board(chip: &Chip, fuses: &FuseBank, rom: &[u8]) -> Board {
    let word = |bytes: &[u8]| {
        let mut four = [0; 4];
        four[..bytes.len()].copy_from_slice(bytes);
        u32::from_le_bytes(four)
    };
    let mut root_key = [0; 8];
    for (to, bytes) in root_key.iter_mut().zip(fuses.root_key.chunks(4)) {
        *to = word(bytes);
    }
    Board {
        fuses: Fuses {
            board: fuses.board,
            root_key,
            security_version: fuses.security_version.min(255) as u8,
            key_generation: fuses.key_generation.min(255) as u8,
            boot: false,
        },
        rom: rom.get(ROM..).unwrap_or(&[]).chunks(4).map(word).collect(),
        flash: Some(Box::new(chip.clone())),
    }
}
