//! What is around the card on its board: the serial flash, the boot program's ROM, fuses and straps.

use core::ffi::c_void;

/// Pins of the serial flash as the card drives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Pins {
    /// CS# is low.
    pub selected: bool,
    /// SCK.
    pub clock: bool,
    /// IO3:0; IO0 is what the chip receives on one line.
    pub out: u8,
    /// Which of them the card drives.
    pub enable: u8,
}

/// A serial flash chip.
pub trait FlashChip: Send {
    /// The pins have changed in this clock of the card's (4 ns each). What the chip puts on IO3:0 from now on; IO1 is what
    /// the card receives on one line.
    fn pins(&mut self, clock: u64, pins: Pins) -> u8;
}

/// What the board's straps and fuses say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Fuses {
    /// Which board it is.
    pub board: u32,
    /// Ed25519 public key, as words: the first byte in bits 7:0.
    pub root_key: [u32; 8],
    /// Least security version.
    pub security_version: u8,
    /// Least key generation.
    pub key_generation: u8,
    /// The card starts from flash after power-on.
    pub boot: bool,
}

/// Everything around the card; the default is a board without flash, whose host loads the firmware.
#[derive(Default)]
pub struct Board {
    /// Straps and fuses.
    pub fuses: Fuses,
    /// The boot program, at most 64 KiB; it runs at the end of core 0's memory, from its byte 80h on.
    pub rom: Vec<u32>,
    /// The flash.
    pub flash: Option<Box<dyn FlashChip>>,
}

/// Called by the card with the chip of [`Board::flash`].
pub extern "C" fn pins_changed(chip: *mut c_void, clock: u64, pins: Pins) -> u8 {
    // SAFETY: `Card` passes a pointer to its boxed chip, which it owns as long as the model that calls this, and lends to
    // nobody else while that runs.
    let chip = unsafe { &mut *chip.cast::<Box<dyn FlashChip>>() };
    chip.pins(clock, pins) & 0xf
}
