//! The power of the Verilated card fails in the middle of a program or an erase, and the card is started from what that leaves.
//!
//! Every program and erase of the RTL is recorded at the chip's pins, and a seeded sample of them is cut: a start from each takes
//! 7 million clocks, nearly all for the signature, so not all are tried, as they are on the functional card. A card that has lost
//! its power is a new one with the old one's chip.

use std::sync::{Arc, Mutex, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_boot::layout::{JOURNAL, SECTOR};
use sluice_boot::start::ATTEMPTS;
use sluice_boot::update::{Request, Updater};
use sluice_nor::Doing;
use sluice_verilated::{FlashChip, Pins};

use super::*;

/// A kind of program or erase, and chips cut off in it.
struct Class {
    name: &'static str,
    doing: Doing,
    in_journal: bool,
    /// Cuts that are tried.
    wanted: usize,
    seen: usize,
    left: Vec<Nor>,
}

impl Class {
    const fn new(name: &'static str, doing: Doing, in_journal: bool, wanted: usize) -> Self {
        Self {
            name,
            doing,
            in_journal,
            wanted,
            seen: 0,
            left: Vec::new(),
        }
    }
}

/// A sample of the power cuts that a chip might have had.
struct Sample {
    classes: Vec<Class>,
    known: u64,
    rng: ChaCha8Rng,
}

impl Sample {
    /// A program or erase has begun: each of its class gets into the sample with the same probability.
    fn take(&mut self, nor: &Nor) {
        let (doing, at) = nor.doing().expect("it has just begun");
        let in_journal = (JOURNAL[0]..JOURNAL[1] + SECTOR).contains(&(at as u32));
        let class = self
            .classes
            .iter_mut()
            .find(|class| (class.doing, class.in_journal) == (doing, in_journal));
        let Some(class) = class else {
            return;
        };
        class.seen += 1;
        let place = match class.left.len() {
            all if all < class.wanted => all,
            _ => self.rng.next_u32() as usize % class.seen,
        };
        if place >= class.wanted {
            return;
        }
        let mut left = nor.clone().seeded(self.rng.next_u64());
        left.cut_power();
        left.power_on();
        match class.left.get_mut(place) {
            Some(other) => *other = left,
            None => class.left.push(left),
        }
    }
}

/// The chip, with an eye on what it does.
struct Watched {
    chip: SharedChip,
    sample: Arc<Mutex<Sample>>,
}

impl FlashChip for Watched {
    fn pins(&mut self, clock: u64, pins: Pins) -> u8 {
        let io = self.chip.pins(clock, pins);
        let chip = self.chip.get();
        let operations = chip.nor.operations();
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        if operations != sample.known {
            sample.known = operations;
            sample.take(&chip.nor);
        }
        io
    }
}

/// Has `work` done by a card on this chip; what power cuts in these classes of programs and erases would have left.
fn cut(
    chip: &SharedChip,
    classes: Vec<Class>,
    seed: u64,
    work: impl FnOnce(&WorldHandle),
) -> Vec<Class> {
    println!("seed {seed}");
    let sample = Arc::new(Mutex::new(Sample {
        classes,
        known: chip.get().nor.operations(),
        rng: ChaCha8Rng::seed_from_u64(seed),
    }));
    let watched = Watched {
        chip: chip.clone(),
        sample: sample.clone(),
    };
    let board = Board {
        flash: Some(Box::new(watched)),
        ..board_with(chip, &fuses())
    };
    let world = world_on(board);
    work(&world);
    drop(world);
    let mut sample = sample.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut sample.classes)
}

/// Starts a card from each chip; what is started is one of `sources` (1: slot A, 2: slot B).
fn starts_from_each(classes: Vec<Class>, sources: &[u8]) {
    for class in classes {
        let Class {
            name, seen, wanted, ..
        } = class;
        assert!(seen >= wanted, "{name}: {seen}, at least {wanted} wanted");
        for left in class.left {
            let weak = left.weak_bits();
            let status = report(&world_on(board_with(&SharedChip::new(left), &fuses())));
            println!("cut off in {name} (one of {seen}), {weak} bits unstable: {status:?}");
            assert!(sources.contains(&status.source()), "{name}: {status:?}");
        }
    }
}

/// A chip with version 1 in slot A, confirmed, and version 2 in slot B, on trial and started so often.
fn on_trial(attempts: u8, seed: u64) -> Nor {
    let mut nor = Nor::new(FLASH_SIZE as usize, Timing::INSTANT, seed);
    nor = nor.with_content(chip(&package(1), seed).cells());
    let mut fuses = fuses();
    let mut updater = Updater::open(&mut nor, Some(Slot::A)).expect("a journal");
    let new = package(2);
    let header = *sluice_boot::Header::of(new.first_chunk().expect("a header"));
    let mut ask = |request: Request, mut piece: &[u8]| {
        updater
            .run(&request, &mut nor, &mut fuses, &mut piece)
            .unwrap_or_else(|e| panic!("{request:?}: {e:?}"));
    };
    ask(Request::Begin(header), &[]);
    let mut offset = 256;
    for piece in new[256..].chunks(256) {
        let len = piece.len() as u32;
        ask(Request::Write { offset, len }, piece);
        offset += len;
    }
    ask(Request::Verify, &[]);
    ask(Request::Activate, &[]);
    for _ in 0..attempts {
        let report =
            sluice_boot::start::start(&mut nor, &mut fuses, &mut sluice_boot::check::NoSink);
        assert!(
            report.started.is_some_and(|started| started.trial),
            "{report:?}"
        );
    }
    Nor::new(FLASH_SIZE as usize, FAST, seed).with_content(nor.cells())
}

/// A card on which the host has loaded the firmware: it leaves slot A alone, and no time goes into a start.
fn loaded(world: &WorldHandle) -> Card<Box<dyn Device>> {
    let images = images();
    let firmware = Some(images.as_firmware());
    Card::boot(card_device(world), firmware, CardOptions::default()).expect("it is loaded")
}

/// What cuts leave of a download to slot B, up to its last piece. Then the chip alone loses its power, which the firmware survives.
fn cut_download(class: Class, seed: u64) -> Vec<Class> {
    let shared = SharedChip::new(chip(&package(1), seed));
    let cuts = cut(&shared, vec![class], seed, |world| {
        let new = package(2);
        let mut card = loaded(world);
        let mut download = card.begin_flash(new.clone()).expect("a good header");
        let all = Progress::Written {
            done: new.len() as u32,
            of: new.len() as u32,
        };
        while card.continue_flash(&mut download).expect("the next piece") != all {}
        shared.get().nor.cut_power();
        let mut next = || card.continue_flash(&mut download);
        assert_eq!(next().expect("nothing is sent yet"), Progress::Verifying);
        let failed = refused(next().map(|_| ()));
        // No place of the chip in particular has failed.
        let chip = (Opcode::FlashVerify, Status::FlashFailed, u32::MAX);
        assert_eq!(failed, chip);
        assert!(card.health().expect("every core answers").is_good());
    });
    assert_eq!(shared.get().nor.lost_bits(), 0);
    cuts
}

#[test]
fn a_power_cut_in_an_erase_of_a_download_leaves_a_good_slot() {
    let class = Class::new("an erase of the slot", Doing::Erase, false, 2);
    starts_from_each(cut_download(class, 11), &[1]);
}

#[test]
fn a_power_cut_in_a_program_of_a_download_leaves_a_good_slot() {
    let class = Class::new("a program of the slot", Doing::Program, false, 2);
    starts_from_each(cut_download(class, 12), &[1]);
}

/// What cuts leave while the firmware writes its boot state: it gives up a trial that has not begun. Nothing needs to be verified
/// for that.
fn cut_journal(class: Class, seed: u64) -> Vec<Class> {
    let shared = SharedChip::new(on_trial(0, seed));
    let cuts = cut(&shared, vec![class], seed, |world| {
        loaded(world).roll_back().expect("it has not begun");
    });
    assert_eq!(shared.get().nor.lost_bits(), 0);
    cuts
}

#[test]
fn a_power_cut_in_the_firmware_s_erase_of_the_journal_leaves_a_good_slot() {
    let class = Class::new("the firmware's erase", Doing::Erase, true, 1);
    starts_from_each(cut_journal(class, 13), &[1, 2]);
}

#[test]
fn a_power_cut_in_the_firmware_s_programs_of_the_journal_leaves_a_good_slot() {
    let class = Class::new("the firmware's program", Doing::Program, true, 2);
    starts_from_each(cut_journal(class, 13), &[1, 2]);
}

/// While the boot program notes that it starts firmware on trial.
#[test]
fn a_power_cut_in_a_start_on_trial_leaves_a_good_slot() {
    let shared = SharedChip::new(on_trial(0, 14));
    let classes = vec![
        Class::new("the boot program's erase", Doing::Erase, true, 1),
        Class::new("the boot program's program", Doing::Program, true, 1),
    ];
    let cuts = cut(&shared, classes, 14, |world| {
        let status = report(world);
        assert_eq!((status.source(), status.trial()), (2, true), "{status:?}");
    });
    starts_from_each(cuts, &[2]);
}

/// What cuts leave while the boot program notes that a trial has failed, which it does before anything else.
fn cut_end_of_trial(class: Class, seed: u64) -> Vec<Class> {
    let shared = SharedChip::new(on_trial(ATTEMPTS, seed));
    let before = shared.get().nor.operations();
    cut(&shared, vec![class], seed, |world| {
        begin_start(world);
        let device = card_device(world);
        let written = (0..10_000).any(|_| {
            device.clock().sleep(std::time::Duration::from_micros(20));
            shared.get().nor.operations() == before + 3
        });
        assert!(written, "the boot program does not write its journal");
    })
}

#[test]
fn a_power_cut_in_the_erase_at_the_end_of_a_trial_leaves_a_good_slot() {
    let class = Class::new("the boot program's erase", Doing::Erase, true, 1);
    starts_from_each(cut_end_of_trial(class, 15), &[1]);
}

#[test]
fn a_power_cut_in_the_programs_at_the_end_of_a_trial_leaves_a_good_slot() {
    let class = Class::new("the boot program's program", Doing::Program, true, 2);
    starts_from_each(cut_end_of_trial(class, 15), &[1]);
}
