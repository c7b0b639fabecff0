//! The card's firmware image: one binary for every core, each running it from its own memory.
//!
//! What the firmware does is in `sluice-app`; here are only boot, faults, the log and [`hal::MmioHal`], the
//! memory-mapped implementation of `sluice_hal::Hal`.
#![no_std]
#![no_main]

mod arch;
mod boot;
mod log;
mod panic;
mod pm;
mod regs;
mod stack;
mod trap;

/// Entered from `boot.rs` with a stack and cleared statics.
extern "C" fn main() -> ! {
    stack::arm();
    log::init();
    defmt::info!("core {=u8} up", regs::core_number());
    loop {
        stack::check();
        log::report_lost();
    }
}

/// Publishes that this firmware has failed, and stops this core.
fn fail() -> ! {
    arch::halt()
}
