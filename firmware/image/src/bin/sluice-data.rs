//! A data core's firmware: `sluice_app::DataCore` on every core but core 0.
#![no_std]
#![no_main]

use sluice_app::DataCore;
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

static DATA: PerCore<DataCore> = PerCore::new(DataCore::new());

fn main(mut hal: MmioHal) -> ! {
    // Else the linker would leave them out.
    core::hint::black_box((&SLUICE_CONNECTIONS, &SLUICE_CONNECTION_BYTES));
    defmt::info!(
        "Sluice {=str}: data core {=u8} of {=u8} cores",
        sluice_app::VERSION,
        hal.core().0,
        hal.cores()
    );
    if hal.core() == CoreId::CONTROL {
        defmt::error!("image of a data core on the control core");
        sluice_image::fail()
    }
    let Some(core) = DATA.take() else {
        sluice_image::fail()
    };
    core.start(&mut hal);
    sluice_image::run(hal, |hal| (!core.poll(hal)).then(|| core.idle_for()))
}
