//! Notices a stack overflow: a word between the static data and the stack that must keep its value.
#![allow(
    unsafe_code,
    reason = "leaf module: one word at a linker-defined address"
)]

use crate::arch;

const GUARD: u32 = 0x5afe_57ac;

/// Sets the guard; once, at boot.
pub fn arm() {
    // SAFETY: the linker script reserves the word and nothing else is placed there.
    unsafe { arch::stack_guard().write_volatile(GUARD) }
}

/// Stops the core if the stack has ever grown into the guard.
#[inline]
pub fn check() {
    // SAFETY: as in `arm`.
    if unsafe { arch::stack_guard().read_volatile() } != GUARD {
        overflow();
    }
}

#[cold]
fn overflow() -> ! {
    defmt::error!("stack overflow");
    crate::fail()
}
