//! The card's registers, core 0's own memory, and the fuses.
#![allow(
    unsafe_code,
    reason = "leaf module: registers at their addresses, and this core's own memory"
)]

use sluice_boot::Fuses;
use sluice_boot::fuses::FuseError;
use sluice_flash::Registers;
use sluice_regs::MAP_VERSION;
use sluice_regs::bar0_regs as regs;

/// The card's registers as cores see them (docs/card.md, section 2).
const BAR0: u32 = 0x9000_0000;
/// This program's part of core 0's memory begins here.
pub const WORK: u32 = 0x6_0000;
/// All cores but this one.
const OTHERS: u32 = !1;

/// The card's registers. This program is alone with them, but for a host that looks.
#[derive(Clone, Copy)]
pub struct Bar0;

impl Bar0 {
    /// Reads the register at byte `offset`.
    pub fn get(&self, offset: u32) -> u32 {
        // SAFETY: the window is registers throughout, of which none is memory of this program's.
        unsafe { ((BAR0 + (offset & 0xFFFC)) as *const u32).read_volatile() }
    }

    /// Writes the register at byte `offset`.
    pub fn put(&mut self, offset: u32, value: u32) {
        // SAFETY: as for `get`; what registers command reaches packet memory, the flash, and memories of cores that are held.
        unsafe { ((BAR0 + (offset & 0xFFFC)) as *mut u32).write_volatile(value) }
    }

    /// Puts words into the memories of all other cores, from byte `at` on.
    pub fn load_others(&mut self, at: u32, words: impl Iterator<Item = u32>) {
        self.put(regs::LOAD_CORES_OFFSET, OTHERS);
        self.put(regs::LOAD_ADDR_OFFSET, at);
        for word in words {
            self.put(regs::LOAD_DATA_OFFSET, word);
        }
        self.put(regs::LOAD_CORES_OFFSET, u32::MAX);
    }
}

impl Registers for Bar0 {
    fn read(&mut self, offset: u32) -> u32 {
        self.get(offset)
    }

    fn write(&mut self, offset: u32, value: u32) {
        self.put(offset, value);
    }
}

/// Core 0's memory below this program's part.
pub struct Memory;

impl Memory {
    /// Puts words there, from byte `at` on; what would reach this program is left out.
    pub fn write(&mut self, at: u32, words: impl Iterator<Item = u32>) {
        for (word, at) in words.zip((at & !3..WORK).step_by(4)) {
            // SAFETY: the linker script gives this program nothing below `WORK`, and this core's memory begins at 0.
            // Address 0 is a place like any other here, so no reference is made and the store is done in assembly.
            unsafe {
                core::arch::asm!("sw {word}, 0({at})", word = in(reg) word, at = in(reg) at, options(nostack, preserves_flags));
            }
        }
    }
}

/// Fuses and straps behind their registers.
pub struct CardFuses {
    bar0: Bar0,
}

impl CardFuses {
    /// Those of this card.
    pub const fn new() -> Self {
        Self { bar0: Bar0 }
    }

    fn fuses(&self) -> regs::Fuses {
        regs::Fuses(self.bar0.get(regs::FUSES_OFFSET))
    }

    /// Burns until `read` says `to`; each write raises by one.
    fn raise(
        &mut self,
        to: u32,
        burn: regs::FuseBurn,
        read: impl Fn(regs::Fuses) -> u8,
    ) -> Result<(), FuseError> {
        loop {
            let now = read(self.fuses());
            if u32::from(now) >= to {
                return Ok(());
            }
            self.bar0.put(regs::FUSE_BURN_OFFSET, burn.0);
            if read(self.fuses()) == now {
                return Err(FuseError);
            }
        }
    }
}

impl Fuses for CardFuses {
    fn board(&self) -> u32 {
        self.bar0.get(regs::BOARD_OFFSET)
    }

    fn map_version(&self) -> u32 {
        MAP_VERSION
    }

    fn root_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        for (bytes, at) in key
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip((regs::ROOT_KEY_WORD_OFFSET..).step_by(4))
        {
            *bytes = self.bar0.get(at).to_le_bytes();
        }
        key
    }

    fn security_version(&self) -> u32 {
        self.fuses().security_version().into()
    }

    fn key_generation(&self) -> u32 {
        self.fuses().key_generation().into()
    }

    fn raise_security_version(&mut self, to: u32) -> Result<(), FuseError> {
        let mut burn = regs::FuseBurn(0);
        burn.set_security_version(true);
        self.raise(to, burn, |fuses| fuses.security_version())
    }

    fn raise_key_generation(&mut self, to: u32) -> Result<(), FuseError> {
        let mut burn = regs::FuseBurn(0);
        burn.set_key_generation(true);
        self.raise(to, burn, |fuses| fuses.key_generation())
    }
}
