//! The control core's firmware: `sluice_app::ControlCore` on core 0.
#![no_std]
#![no_main]

use sluice_app::ControlCore;
use sluice_hal::{CoreId, Hal};
use sluice_image::{MmioHal, PerCore};

sluice_image::entry!(main);

static CONTROL: PerCore<ControlCore> = PerCore::new(ControlCore::new());

fn main(mut hal: MmioHal) -> ! {
    defmt::info!(
        "Sluice {=str}: control core, {=u8} cores",
        sluice_app::VERSION,
        hal.cores()
    );
    if hal.core() != CoreId::CONTROL {
        defmt::error!("image of the control core on core {=u8}", hal.core().0);
        sluice_image::fail()
    }
    let Some(core) = CONTROL.take() else {
        sluice_image::fail()
    };
    core.start(&mut hal);
    sluice_image::run(hal, |hal| (!core.poll(hal)).then(|| core.idle_for()))
}
