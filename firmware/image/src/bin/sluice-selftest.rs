//! Self-test of a card without the firmware proper: mailboxes, mover, packet memory, log, and an echo of every frame.
//!
//! The control core passes a message around all data cores, copies a pattern with the mover, compares it and its CRC, and
//! sets the firmware status to ready, or to 100 and the number of the step that failed. From then on all cores send every
//! frame back as it came.
#![no_std]
#![no_main]

use sluice_hal::{
    BufId, CoreId, Hal, MAX_GATHER, MAX_MOVE_SOURCES, MoveFlags, MoveJob, MoveSource, MoveTarget,
    PmAddr, PmSlice, RawChecksum, RawJob, TxJob, layout,
};
use sluice_image::{MmioHal, READY};

sluice_image::entry!(main);

const SOURCE: PmAddr = PmAddr(layout::PAGES_BASE + 3);
const TARGET: PmAddr = PmAddr(layout::PAGES_BASE + 0x2001);
const LENGTH: usize = 301;
/// Longest sleep, in microseconds: short enough for a simulation to see timers end it.
const NAP: u32 = 13;

fn main(mut hal: MmioHal) -> ! {
    defmt::info!("core {=u8} of {=u8} up", hal.core().0, hal.cores());
    if hal.core() == CoreId::CONTROL {
        let status = match check(&mut hal) {
            Ok(()) => READY,
            Err(step) => 100 + step,
        };
        defmt::info!("self-test: {=u32}", status);
        hal.set_status(status);
    }
    let mut echo = Echo {
        posted: 0,
        held: [None; 16],
    };
    loop {
        hal.take_events();
        hal.kick_watchdog();
        if let Some(mail) = hal.mail_recv() {
            let next = (hal.core().0 + 1) % hal.cores();
            let _ = hal.mail_send(CoreId(next), &mail.map(|w| w + 1));
        }
        echo.pass(&mut hal);
        sluice_image::report_lost();
        hal.sleep(NAP);
    }
}

fn check(hal: &mut MmioHal) -> Result<(), u32> {
    mail_goes_around(hal).ok_or(1u32)?;
    memory_keeps_bytes(hal).ok_or(2u32)?;
    mover_copies(hal).ok_or(3u32)?;
    // CRC32C's check value: Williams, "A Painless Guide to CRC Error Detection Algorithms", string "123456789".
    (hal.crc32c(b"123456789") == 0xE306_9283)
        .then_some(())
        .ok_or(4u32)
}

/// Every data core adds one to each word and passes the message on.
fn mail_goes_around(hal: &mut MmioHal) -> Option<()> {
    let sent = [
        1,
        20,
        300,
        4000,
        0x5_0000,
        0x600_0000,
        0x7000_0000,
        0x8000_0000,
    ];
    hal.mail_send(CoreId(1), &sent).ok()?;
    let back = wait(|| hal.mail_recv())?;
    let hops = u32::from(hal.cores()) - 1;
    (back == sent.map(|w| w + hops)).then_some(())
}

fn pattern(i: usize) -> u8 {
    (i * 7 + (i >> 3)) as u8
}

fn memory_keeps_bytes(hal: &mut MmioHal) -> Option<()> {
    let written: [u8; LENGTH] = core::array::from_fn(pattern);
    hal.pm_write(SOURCE, &written);
    for (from, len) in [
        (0, LENGTH),
        (1, 64),
        (2, 7),
        (3, 1),
        (5, 4),
        (6, 3),
        (17, 33),
    ] {
        let mut read = [0; LENGTH];
        let read = &mut read[..len];
        hal.pm_read(SOURCE.plus(from), read);
        if *read != written[from as usize..][..len] {
            return None;
        }
    }
    Some(())
}

fn mover_copies(hal: &mut MmioHal) -> Option<()> {
    let mut pieces = [PmSlice::default(); MAX_MOVE_SOURCES];
    pieces[0] = PmSlice::new(SOURCE, 100);
    pieces[1] = PmSlice::new(SOURCE.plus(100), LENGTH as u32 - 100);
    let flags = MoveFlags {
        crc: true,
        crc_init: true,
        crc_to: None,
    };
    let job = MoveJob {
        tag: 77,
        source: MoveSource::Pm(pieces, 2),
        target: MoveTarget::Pm(TARGET),
        flags,
        crc_context: 0,
    };
    hal.move_post(&job).ok()?;
    let done = wait(|| hal.move_done())?;
    let mut copied = [0; LENGTH];
    hal.pm_read(TARGET, &mut copied);
    let same = copied
        .iter()
        .enumerate()
        .all(|(i, byte)| *byte == pattern(i));
    (same && done.ok && done.tag == 77 && done.crc == hal.crc32c(&copied)).then_some(())
}

/// Polls for a while.
fn wait<T>(mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    (0..10_000).find_map(|_| poll())
}

/// Frames on their way back out.
struct Echo {
    posted: u32,
    held: [Option<(u32, BufId)>; 16],
}

impl Echo {
    fn pass(&mut self, hal: &mut MmioHal) {
        let done = hal.tx_done();
        for slot in &mut self.held {
            if let Some((_, buf)) =
                slot.take_if(|(ticket, _)| done.wrapping_sub(*ticket) as i32 >= 0)
            {
                hal.rx_free(buf);
            }
        }
        for slot in self.held.iter_mut().filter(|slot| slot.is_none()) {
            let Some(rx) = hal.rx_next() else { return };
            let mut gather = [PmSlice::default(); MAX_GATHER];
            gather[0] = rx.frame();
            let job = RawJob {
                l3_offset: 0,
                l4_offset: 0,
                checksum: RawChecksum::None,
                gather,
                gather_len: 1,
            };
            if hal.tx_post(&TxJob::Raw(job)).is_ok() {
                self.posted = self.posted.wrapping_add(1);
                *slot = Some((self.posted, rx.buf()));
            } else {
                hal.rx_free(rx.buf());
            }
        }
    }
}
