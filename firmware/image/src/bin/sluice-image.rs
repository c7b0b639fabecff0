//! The firmware: `sluice-app` on the card. Core 0 is the control core, all others are data cores.
#![no_std]
#![no_main]

use sluice_hal::Hal;
use sluice_image::MmioHal;

sluice_image::entry!(main);

fn main(mut hal: MmioHal) -> ! {
    defmt::info!("core {=u8} of {=u8} up", hal.core().0, hal.cores());
    loop {
        hal.take_events();
        hal.kick_watchdog();
        hal.sleep(100_000);
    }
}
