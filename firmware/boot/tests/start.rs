//! Which slot is started.

mod support;

use sluice_boot::check::Refusal;
use sluice_boot::image::HeaderError;
use sluice_boot::layout::{JOURNAL, SECTOR, Slot};
use sluice_boot::pack;
use sluice_boot::start::ATTEMPTS;
use sluice_boot::update::{Request, UpdateError};
use support::{Card, Memory, images, package, package_with, root};

#[test]
fn a_new_card_starts_what_the_factory_put_into_it() {
    let mut card = Card::new(1);
    let mut memory = Memory::default();
    let started = card.start_into(&mut memory).started.expect("slot A");
    assert_eq!((started.slot, started.trial), (Slot::A, false));
    let (control, data) = images(1);
    assert_eq!(memory.images[0], control);
    // Images are padded to whole words.
    assert_eq!(memory.images[1][..data.len()], data);
}

#[test]
fn a_new_version_runs_on_trial_until_it_confirms_itself() {
    let mut card = Card::new(1);
    card.update(&package(2)).expect("a good package");
    let started = card.start().started.expect("slot B");
    assert_eq!((started.slot, started.trial), (Slot::B, true));
    card.confirm().expect("it is well");
    let started = card.start().started.expect("slot B");
    assert_eq!((started.slot, started.trial), (Slot::B, false));
}

#[test]
fn firmware_that_never_confirms_itself_is_given_up_after_its_attempts() {
    let mut card = Card::new(1);
    card.update(&package(2)).expect("a good package");
    let versions: Vec<_> = (0..ATTEMPTS + 2).map(|_| card.starts()).collect();
    assert_eq!(versions, [Some(2), Some(2), Some(2), Some(1), Some(1)]);
    // And it stays away even if the confirmed one is damaged later: the host loads firmware then.
    card.nor.cells_mut()[Slot::A.base() as usize + 1000] ^= 1;
    let report = card.start();
    assert_eq!(report.started, None);
    assert_eq!(
        report.refused,
        [Some(Refusal::Digest), Some(Refusal::Failed)]
    );
}

#[test]
fn a_damaged_confirmed_slot_falls_back_to_the_other() {
    let mut card = Card::new(1);
    card.update(&package(2)).expect("a good package");
    card.start();
    card.confirm().expect("it is well");
    card.nor.cells_mut()[Slot::B.base() as usize + 5000] ^= 0x10;
    let report = card.start();
    assert_eq!(report.refused[1], Some(Refusal::Digest));
    assert_eq!(report.started.map(|s| s.slot), Some(Slot::A));
    // The firmware that runs now is what a new download must leave alone.
    card.update(&package(3)).expect("a good package");
    assert_eq!(card.starts(), Some(3));
    assert_eq!(card.running, Some(Slot::B));
}

#[test]
fn without_a_journal_the_newest_good_slot_is_started() {
    let mut card = Card::new(1);
    card.update(&package(2)).expect("a good package");
    let journal = |card: &mut Card| {
        let end = (JOURNAL[1] + SECTOR) as usize;
        card.nor.cells_mut()[JOURNAL[0] as usize..end].fill(0x5A);
    };
    journal(&mut card);
    assert_eq!(card.starts(), Some(2));
    card.nor.cells_mut()[Slot::B.base() as usize + 300] ^= 1;
    assert_eq!(card.starts(), Some(1));
}

#[test]
fn both_slots_bad_wait_for_the_host() {
    let mut card = Card::new(1);
    card.nor.cells_mut()[Slot::A.base() as usize + 300] ^= 1;
    let report = card.start();
    let blank = HeaderError::Magic { got: u32::MAX };
    assert_eq!(report.started, None);
    assert_eq!(
        report.refused,
        [Some(Refusal::Digest), Some(Refusal::Header(blank))]
    );
    // Firmware that the host has loaded then repairs the card.
    card.update(&package(3)).expect("a good package");
    assert_eq!(card.starts(), Some(3));
}

#[test]
fn rolling_back_goes_to_what_ran_before_and_can_be_undone() {
    let mut card = Card::new(1);
    card.update(&package(2)).expect("a good package");
    card.start();
    card.roll_back().expect("version 1 is good");
    assert_eq!(card.starts(), Some(1));
    // Version 2 failed its trial, so there is no way back to it but a new download.
    let refused = card.roll_back();
    assert_eq!(refused, Err(UpdateError::Refused(Refusal::Failed)));
    card.update(&package(3)).expect("a good package");
    card.start();
    card.confirm().expect("it is well");
    card.roll_back().expect("version 1 is good");
    assert_eq!(card.starts(), Some(1));
    card.roll_back().expect("version 3 is good");
    assert_eq!(card.starts(), Some(3));
}

#[test]
fn an_activation_can_be_taken_back_before_the_next_start() {
    let mut card = Card::new(1);
    card.update(&package(2)).expect("a good package");
    card.roll_back().expect("nothing was started");
    assert_eq!(card.starts(), Some(1));
}

#[test]
fn rolling_back_to_a_damaged_slot_is_refused() {
    let mut card = Card::new(1);
    card.update(&package(2)).expect("a good package");
    card.start();
    card.confirm().expect("it is well");
    card.nor.cells_mut()[Slot::A.base() as usize + 300] ^= 1;
    let refused = card.roll_back();
    assert_eq!(refused, Err(UpdateError::Refused(Refusal::Digest)));
    assert_eq!(card.starts(), Some(2));
}

#[test]
fn firmware_that_the_host_loaded_has_nothing_to_confirm() {
    let mut card = Card::new(1);
    card.running = None;
    assert_eq!(card.confirm(), Err(UpdateError::NotFromFlash));
    assert_eq!(card.roll_back(), Err(UpdateError::NotFromFlash));
    // Its downloads leave the confirmed slot alone.
    card.update(&package(2)).expect("a good package");
    assert_eq!(card.updater().expect("readable").target(), Slot::B);
}

#[test]
fn confirming_burns_the_security_version_and_older_firmware_is_refused_from_then_on() {
    let mut card = Card::new(1);
    card.update(&package_with(2, 5, &root()))
        .expect("a good package");
    card.start();
    assert_eq!(card.fuses.security_version, 0, "not while on trial");
    card.confirm().expect("it is well");
    assert_eq!(card.fuses.security_version, 5);
    let older = Refusal::SecurityVersion { least: 5, got: 4 };
    let refused = card.update(&package_with(3, 4, &root()));
    assert_eq!(refused, Err(UpdateError::Refused(older)));
    let older = Refusal::SecurityVersion { least: 5, got: 0 };
    assert_eq!(card.roll_back(), Err(UpdateError::Refused(older)));
    assert_eq!(card.starts(), Some(2));
}

#[test]
fn a_security_version_that_was_confirmed_but_not_burnt_is_burnt_at_the_next_start() {
    let mut card = Card::new(1);
    card.update(&package_with(2, 5, &root()))
        .expect("a good package");
    card.start();
    card.confirm().expect("it is well");
    card.fuses.security_version = 0;
    card.start();
    assert_eq!(card.fuses.security_version, 5);
}

#[test]
fn fuses_that_are_full_say_so() {
    let mut card = Card::new(1);
    card.update(&package_with(2, 256, &root()))
        .expect("a good package");
    card.start();
    assert_eq!(card.confirm(), Err(UpdateError::Fuse));
    assert_eq!(
        card.starts(),
        Some(2),
        "the confirmation itself was written"
    );
}

#[test]
fn firmware_on_trial_may_not_overwrite_what_it_would_fall_back_to() {
    let mut card = Card::new(1);
    card.update(&package(2)).expect("a good package");
    card.start();
    assert_eq!(card.update(&package(3)), Err(UpdateError::NotConfirmed));
    card.confirm().expect("it is well");
    card.update(&package(3)).expect("a good package");
}

#[test]
fn requests_out_of_order_are_refused() {
    let mut card = Card::new(1);
    let mut updater = card.updater().expect("readable");
    let write = Request::Write {
        offset: 256,
        len: 256,
    };
    for request in [Request::Verify, Request::Activate, write] {
        let refused = card.ask(&mut updater, &request);
        assert_eq!(refused, Err(UpdateError::OutOfOrder), "{request:?}");
    }
    let package = package(2);
    let header = *sluice_boot::Header::of(package.first_chunk().expect("a header"));
    card.ask(&mut updater, &Request::Begin(header))
        .expect("a good header");
    let far = Request::Write {
        offset: 512,
        len: 256,
    };
    let (want, got) = (256, 512);
    let refused = card.ask(&mut updater, &far);
    assert_eq!(refused, Err(UpdateError::Offset { want, got }));
    for len in [0, 100, 4352, 1 << 20, u32::MAX] {
        let refused = card.ask(&mut updater, &Request::Write { offset: 256, len });
        assert_eq!(refused, Err(UpdateError::Length { got: len }));
    }
    assert_eq!(
        card.ask(&mut updater, &Request::Verify),
        Err(UpdateError::OutOfOrder)
    );
    assert_eq!(card.starts(), Some(1));
}

#[test]
fn factory_data_come_back_as_they_were_written() {
    let data = pack::factory_data("SL0001", [2, 0, 0, 0, 0, 1], 2, 3);
    let mut card = Card::with(&pack::whole_flash(&package(1), &[], Some(&data)), 1);
    let read = sluice_boot::factory::FactoryData::read(&mut card.nor).expect("readable");
    assert_eq!(read, Some(data));
    card.nor.cells_mut()[sluice_boot::layout::FACTORY as usize + 9] ^= 1;
    let read = sluice_boot::factory::FactoryData::read(&mut card.nor).expect("readable");
    assert_eq!(read, None);
}
