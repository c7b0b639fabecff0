//! The two register blocks at their addresses, and writing to them.
#![allow(
    unsafe_code,
    reason = "leaf module: the blocks' addresses, and volatile writes"
)]

use sluice_regs::{bar0_regs, core_regs};
use volatile_register::{RW, WO};

/// This core's own registers.
#[inline(always)]
pub fn core() -> &'static core_regs::Block {
    // SAFETY: the block lies at this address on every core (docs/card.md, section 2), has no invalid bit patterns, and
    // is accessed by volatile cells only.
    unsafe { &*(0x8000_0000 as *const core_regs::Block) }
}

/// The card's registers, shared by all cores and the host. Several clocks per access.
#[inline(always)]
pub fn card() -> &'static bar0_regs::Block {
    // SAFETY: as in `core`.
    unsafe { &*(0x9000_0000 as *const bar0_regs::Block) }
}

/// Writes `value` to the bus address of doorbell slot `slot`; slots that do not exist are ignored.
#[inline(always)]
pub fn ring(slot: u8, value: u32) {
    let at = 0xA000_0000 + u32::from(slot) * 4;
    // SAFETY: the whole window is doorbell slots. What a device does when rung reaches packet and host memory, never
    // this program's.
    unsafe { (at as *mut u32).write_volatile(value) }
}

/// Number of this core.
#[inline]
pub fn core_number() -> u8 {
    core().core_id.read().core()
}

/// Low word of the microsecond clock.
#[inline]
pub fn micros_low() -> u32 {
    core().time_lo.read()
}

/// Registers that can be written.
pub trait Put<T> {
    /// Writes.
    fn put(&self, value: T);
}

impl<T: Copy> Put<T> for WO<T> {
    #[inline(always)]
    fn put(&self, value: T) {
        // SAFETY: registers command the engines, and those reach packet memory and host memory, never this program's own.
        unsafe { self.write(value) }
    }
}

impl<T: Copy> Put<T> for RW<T> {
    #[inline(always)]
    fn put(&self, value: T) {
        // SAFETY: as above.
        unsafe { self.write(value) }
    }
}
