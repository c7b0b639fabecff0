//! The boot program: verifies the firmware in flash and starts the newest good slot (`sluice_boot::start` says which that is).
//!
//! It runs on core 0 while all others are held (docs/card.md, section 7), reads the flash through the controller, puts the control
//! core's image into its own memory below [`WORK`] and that of the data cores into theirs, leaves its report in `BOOT_STATUS`, and
//! ends by a write to `CTRL` that starts all cores, or leaves them to the host if neither slot is good. No interrupt is enabled and nothing is
//! sent anywhere; a fault, too, leaves the cores to the host.
//!
//! Firmware on trial runs with `CTRL.reboot`: if one of its watchdogs expires, this program has the next word.
#![no_std]
#![no_main]

mod entry;
mod hardware;

use sluice_boot::check::{Refusal, Sink};
use sluice_boot::flash::FlashError;
use sluice_boot::start::{Report, start};
use sluice_boot::{ImageKind, Slot};
use sluice_flash::{Chip, Controller};
use sluice_regs::bar0_regs::{BOOT_STATUS_OFFSET, BootStatus, CTRL_OFFSET, Ctrl};

use hardware::{Bar0, CardFuses, Memory, WORK};

/// `BOOT_STATUS.source`: neither slot is good.
const NOTHING: u8 = 3;

/// Puts images where they belong; says whether one of them did not fit.
struct Images {
    bar0: Bar0,
    own: Memory,
    misfit: bool,
}

impl Sink for Images {
    fn put(&mut self, image: ImageKind, at: u32, bytes: &[u8]) {
        // The header was checked: images are whole words at whole words, in the cores' memory. But here this program has a part of it.
        let words = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|word| u32::from_le_bytes(*word));
        match image {
            ImageKind::Control if at + bytes.len() as u32 > WORK => self.misfit = true,
            ImageKind::Control => self.own.write(at, words),
            ImageKind::Data => self.bar0.load_others(at, words),
        }
    }
}

fn run() {
    let mut bar0 = Bar0;
    let mut images = Images {
        bar0: Bar0,
        own: Memory,
        misfit: false,
    };
    let mut report = match Chip::open(Controller::new(Bar0)) {
        Ok(mut chip) => start(&mut chip, &mut CardFuses::new(), &mut images),
        Err(_) => Report {
            started: None,
            refused: [Some(Refusal::Flash(FlashError::Failed)); 2],
        },
    };
    if images.misfit {
        report.started = None;
    }
    let mut status = BootStatus(0);
    status.set_source(match report.started.map(|started| started.slot) {
        Some(Slot::A) => 1,
        Some(Slot::B) => 2,
        None => NOTHING,
    });
    let trial = report.started.is_some_and(|started| started.trial);
    status.set_trial(trial);
    let [a, b] = report
        .refused
        .map(|refusal| refusal.map_or(0, |r| r.code()));
    status.set_refused_a(a);
    status.set_refused_b(b);
    let mut ctrl = Ctrl(0);
    ctrl.set_run(report.started.is_some());
    ctrl.set_reboot(trial);
    bar0.put(BOOT_STATUS_OFFSET, status.0);
    bar0.put(CTRL_OFFSET, ctrl.0);
}

/// Something went wrong that cannot: the host may look, and load.
fn give_up() -> ! {
    let mut status = BootStatus(0);
    status.set_source(NOTHING);
    let mut bar0 = Bar0;
    bar0.put(BOOT_STATUS_OFFSET, status.0);
    bar0.put(CTRL_OFFSET, 0);
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    give_up()
}
