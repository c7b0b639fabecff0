//! The few RISC-V instructions that Rust has no word for. All `fence`s of the image are here.
#![allow(unsafe_code, reason = "leaf module: inline assembly")]

use core::arch::asm;

/// Everything this core stored to memory or devices is ordered before what it stores to a device next.
///
/// `core::sync::atomic::fence` would order memory only (`fence rw, rw`); the I/O bits are what a doorbell needs.
/// Not `nomem`, so the compiler keeps its accesses on their side as well.
#[inline(always)]
pub fn fence_before_io() {
    // SAFETY: a fence changes no register and no memory.
    unsafe { asm!("fence iorw, ow", options(nostack, preserves_flags)) }
}

/// What a device was seen to report is ordered before what this core loads next.
#[inline(always)]
pub fn fence_after_io() {
    // SAFETY: as above.
    unsafe { asm!("fence ir, ir", options(nostack, preserves_flags)) }
}

/// Lets events end [`wait_for_event`]. No interrupt is taken: `mstatus.MIE` stays 0.
pub fn enable_events() {
    const MEIE: u32 = 1 << 11;
    // SAFETY: only selects what ends a `wfi` (RISC-V Privileged 1.12, section 3.3.3).
    unsafe { asm!("csrs mie, {}", in(reg) MEIE, options(nostack)) }
}

/// Stops until an event that the core's mask selects; returns at once if there is one already.
#[inline]
pub fn wait_for_event() {
    // SAFETY: changes no register and no memory.
    unsafe { asm!("wfi", options(nostack, preserves_flags)) }
}

/// Stops for ever. The loop is not empty for the compiler's sake only: `wfi` also lets the core's clock stop.
pub fn halt() -> ! {
    loop {
        // SAFETY: no interrupt is enabled, so nothing runs in between; waking up is harmless.
        unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) }
    }
}

/// The guard word between the static data and the stack, as boot left it or as an overflow left it.
#[inline]
pub fn stack_guard() -> *mut u32 {
    unsafe extern "C" {
        static mut __stack_guard: u32;
    }
    &raw mut __stack_guard
}
