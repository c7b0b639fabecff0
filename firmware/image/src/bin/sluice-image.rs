//! The firmware: `sluice-app` on the card. Core 0 is the control core, all others are data cores.
#![no_std]
#![no_main]

use sluice_app::{ControlCore, DataCore};
use sluice_hal::{CoreId, Hal};
use sluice_image::{MmioHal, PerCore};

/// Connections of each data core, and bytes of static memory for each: `cargo xtask build` looks these up in the ELF file.
#[allow(unsafe_code, reason = "found by name in the ELF file")]
#[unsafe(no_mangle)]
static SLUICE_CONNECTIONS: u32 = sluice_app::limits::CONNECTIONS as u32;
#[allow(unsafe_code, reason = "found by name in the ELF file")]
#[unsafe(no_mangle)]
static SLUICE_CONNECTION_BYTES: u32 = sluice_app::CONNECTION_BYTES as u32;

sluice_image::entry!(main);

static CONTROL: PerCore<ControlCore> = PerCore::new(ControlCore::new());
static DATA: PerCore<DataCore> = PerCore::new(DataCore::new());

fn main(mut hal: MmioHal) -> ! {
    // Else the linker would leave them out.
    core::hint::black_box((&SLUICE_CONNECTIONS, &SLUICE_CONNECTION_BYTES));
    defmt::info!(
        "Sluice {=str}: core {=u8} of {=u8}",
        sluice_app::VERSION,
        hal.core().0,
        hal.cores()
    );
    if hal.core() == CoreId::CONTROL {
        let Some(core) = CONTROL.take() else {
            sluice_image::fail()
        };
        core.start(&mut hal);
        loop {
            hal.take_events();
            if !core.poll(&mut hal) {
                idle(&mut hal, core.idle_for());
            }
        }
    }
    let Some(core) = DATA.take() else {
        sluice_image::fail()
    };
    core.start(&mut hal);
    loop {
        hal.take_events();
        if !core.poll(&mut hal) {
            idle(&mut hal, core.idle_for());
        }
    }
}

/// Nothing to do for `at_most` microseconds, unless something comes in.
fn idle(hal: &mut MmioHal, at_most: u32) {
    sluice_image::report_lost();
    if at_most > 0 {
        hal.sleep(at_most);
    }
}
