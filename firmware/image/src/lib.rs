//! What every program for the card's cores needs: boot, faults, the log and [`MmioHal`], the memory-mapped implementation
//! of `sluice_hal::Hal`. The programs are in `bin/`: the firmware of the control core, that of the data cores, the
//! boot program, and a self-test of core, engines and wiring that runs on all of them.
//!
//! A program defines `sluice_main` with [`entry!`]. Each core runs its program from its own memory, so every static exists
//! once per core.
#![no_std]

mod arch;
mod boot;
pub mod flash;
mod hal;
mod log;
mod own_memory;
mod panic;
mod per_core;
mod pm;
mod regs;
mod stack;
mod trap;

pub use hal::MmioHal;
pub use log::report_lost;
pub use per_core::PerCore;

/// Firmware status while starting.
pub const STARTING: u32 = 0;
/// Firmware status when the card is ready for the host driver.
pub const READY: u32 = 1;
/// Firmware status after a fault; the log says which.
pub const FAILED: u32 = 2;

/// Makes `$main`, a `fn(MmioHal) -> !`, what boot calls on every core.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[allow(unsafe_code, reason = "the name is what boot calls")]
        #[unsafe(no_mangle)]
        extern "C" fn sluice_main() -> ! {
            let main: fn($crate::MmioHal) -> ! = $main;
            main($crate::prepare())
        }
    };
}

/// Everything between boot and the program; once per core.
pub fn prepare() -> MmioHal {
    stack::arm();
    log::init();
    arch::enable_events();
    MmioHal::new()
}

/// A core at work: one `poll` after the other. A `poll` that had nothing to do says for how many microseconds that will be so
/// unless something comes in, and the core sleeps.
pub fn run(mut hal: MmioHal, mut poll: impl FnMut(&mut MmioHal) -> Option<u32>) -> ! {
    loop {
        hal.take_events();
        if let Some(at_most) = poll(&mut hal) {
            report_lost();
            if at_most > 0 {
                hal.sleep(at_most);
            }
        }
    }
}

/// Publishes that the firmware has failed, and stops this core.
pub fn fail() -> ! {
    use regs::Put;
    arch::fence_before_io();
    if regs::card().ctrl.read().boot() {
        // The boot program: the host has to load firmware.
        flash::give_up()
    }
    regs::card().fw_status.put(FAILED);
    arch::halt()
}
