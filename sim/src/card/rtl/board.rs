//! What is around the Verilated card: the flash chip's model at its pins, and the fuses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_nor::{FuseBank, Nor, SerialNor};
use sluice_verilated::{Board, FlashChip, Fuses, Pins};

/// Nanoseconds of a clock.
const NANOSECONDS: u64 = 4;

/// A flash chip that the card drives and a test looks at and cuts the power of.
#[derive(Clone)]
pub struct SharedChip(Arc<Mutex<SerialNor>>);

impl SharedChip {
    /// This chip, soldered onto a board.
    #[must_use]
    pub fn new(nor: Nor) -> Self {
        Self(Arc::new(Mutex::new(SerialNor::new(nor))))
    }

    /// The chip; not while the card runs.
    pub fn get(&self) -> MutexGuard<'_, SerialNor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlashChip for SharedChip {
    fn pins(&mut self, clock: u64, pins: Pins) -> u8 {
        // Lines that nobody drives are pulled up.
        let io = (pins.out & pins.enable) | (!pins.enable & 0xF);
        self.get()
            .pins(clock * NANOSECONDS, pins.selected, pins.clock, io)
    }
}

/// A board with this chip, these fuses and this boot program, whose card waits for its host after power-on.
#[must_use]
pub fn board(chip: &SharedChip, fuses: &FuseBank, rom: Vec<u32>) -> Board {
    let mut root_key = [0; 8];
    for (word, bytes) in root_key.iter_mut().zip(fuses.root_key.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let counter = |value: u32| value.min(255) as u8;
    Board {
        fuses: Fuses {
            board: fuses.board,
            root_key,
            security_version: counter(fuses.security_version),
            key_generation: counter(fuses.key_generation),
            boot: false,
        },
        rom,
        flash: Some(Box::new(chip.clone())),
    }
}
