//! The boot program: chooses firmware in the flash, loads all cores and starts them. It runs on core 0 from a ROM, alone, after
//! power-on, when the host asks for it, and when a watchdog has expired (docs/card.md, section 7; docs/flashing.md).
#![no_std]
#![no_main]

use sluice_boot::spi::SpiNor;
use sluice_boot::start;
use sluice_image::MmioHal;
use sluice_image::flash::{CardFuses, Controller, Loader, end_boot};
use sluice_regs::bar0_regs::BootStatus;

sluice_image::entry!(main);

fn main(_: MmioHal) -> ! {
    let mut status = BootStatus::default();
    let Ok(mut chip) = SpiNor::open(Controller) else {
        let flash = sluice_boot::Refusal::Flash(sluice_boot::flash::FlashError::Failed).code();
        status.set_source(3);
        status.set_refused_a(flash);
        status.set_refused_b(flash);
        end_boot(status, false)
    };
    let report = start::start(&mut chip, &mut CardFuses, &mut Loader::new());
    let code = |slot: usize| report.refused[slot].map_or(0, |refusal| refusal.code());
    status.set_refused_a(code(0));
    status.set_refused_b(code(1));
    match report.started {
        Some(started) => {
            status.set_source(1 + started.slot as u8);
            status.set_trial(started.trial);
            end_boot(status, true)
        }
        None => {
            status.set_source(3);
            end_boot(status, false)
        }
    }
}
