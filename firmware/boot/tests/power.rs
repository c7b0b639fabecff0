//! The power fails at every program and every erase.

mod support;

use sluice_boot::layout::{PAGE, SECTOR};
use support::{Card, package};

/// Everything that an update is, from the first erase to the confirmation. `Err`: the power failed.
fn whole_update(card: &mut Card) -> Result<(), ()> {
    // Firmware that runs on trial confirms itself first.
    card.confirm().map_err(drop)?;
    card.update(&package(2)).map_err(drop)?;
    card.start();
    if !card.nor.is_powered() {
        return Err(());
    }
    card.confirm().map_err(drop)
}

/// Programs and erases that `act` takes on a card like `card`.
fn operations(card: &Card, act: impl Fn(&mut Card) -> Result<(), ()>) -> u64 {
    let mut card = card.clone();
    let before = card.nor.operations();
    act(&mut card).expect("nothing fails");
    card.nor.operations() - before
}

#[test]
fn an_update_cut_anywhere_leaves_a_good_slot_and_can_be_done_again() {
    let (mut outcomes, mut cuts) = ([0; 2], 0);
    for seed in 0..24 {
        let total = operations(&Card::new(seed), whole_update);
        for cut in 0..total {
            let mut card = Card::new(seed);
            card.nor.cut_after(cut);
            whole_update(&mut card).expect_err("the power fails");
            cuts += 1;
            let version = card.starts();
            assert!(
                matches!(version, Some(1 | 2)),
                "seed {seed}, cut {cut}: {version:?}"
            );
            outcomes[usize::from(version == Some(2))] += 1;
            // Nothing may hinder the next try.
            whole_update(&mut card).unwrap_or_else(|()| panic!("seed {seed}, cut {cut}: again"));
            assert_eq!(card.starts(), Some(2), "seed {seed}, cut {cut}");
        }
    }
    println!(
        "{cuts} cuts: the old version {} times, the new {}",
        outcomes[0], outcomes[1]
    );
    assert!(outcomes.iter().all(|n| *n > 0), "{outcomes:?}");
}

#[test]
fn before_the_activation_is_asked_for_no_cut_brings_the_new_version() {
    for seed in 0..8 {
        let download = |card: &mut Card| {
            let mut updater = card.updater().map_err(drop)?;
            card.download(&mut updater, &package(2)).map_err(drop)
        };
        for cut in 0..operations(&Card::new(seed), download) {
            let mut card = Card::new(seed);
            card.nor.cut_after(cut);
            download(&mut card).expect_err("the power fails");
            assert_eq!(card.starts(), Some(1), "seed {seed}, cut {cut}");
        }
    }
}

#[test]
fn starts_of_firmware_on_trial_cut_anywhere_end_in_a_good_slot() {
    for seed in 0..24 {
        let mut fresh = Card::new(seed);
        fresh.update(&package(2)).expect("a good package");
        let trial = |card: &mut Card| {
            for _ in 0..5 {
                card.start();
                if !card.nor.is_powered() {
                    return Err(());
                }
            }
            Ok(())
        };
        let total = operations(&fresh, trial);
        assert!(total > 5, "the starts are counted");
        for cut in 0..total {
            let mut card = fresh.clone();
            card.nor.cut_after(cut);
            trial(&mut card).expect_err("the power fails");
            let versions: Vec<_> = (0..5).map(|_| card.starts()).collect();
            let good = versions.iter().all(|v| matches!(v, Some(1 | 2)));
            assert!(good, "seed {seed}, cut {cut}: {versions:?}");
            // It gives up in the end.
            assert_eq!(versions[4], Some(1), "seed {seed}, cut {cut}: {versions:?}");
        }
    }
}

#[test]
fn rolling_back_cut_anywhere_ends_in_one_of_the_two() {
    for seed in 0..24 {
        let mut fresh = Card::new(seed);
        whole_update(&mut fresh).expect("a good package");
        let act = |card: &mut Card| card.roll_back().map_err(drop);
        for cut in 0..operations(&fresh, act) {
            let mut card = fresh.clone();
            card.nor.cut_after(cut);
            act(&mut card).expect_err("the power fails");
            assert!(
                matches!(card.starts(), Some(1 | 2)),
                "seed {seed}, cut {cut}"
            );
        }
    }
}

#[test]
fn a_second_cut_during_the_repair_does_no_harm_either() {
    for seed in 0..6 {
        let total = operations(&Card::new(seed), whole_update);
        for first in 0..total {
            let second = (first * 7 + seed * 13) % total;
            let mut card = Card::new(seed);
            for cut in [first, second, first] {
                card.nor.cut_after(cut);
                let _ = whole_update(&mut card);
                assert!(
                    matches!(card.starts(), Some(1 | 2)),
                    "seed {seed}, cuts {first} and {second}"
                );
            }
            whole_update(&mut card).expect("the power stays");
            assert_eq!(
                card.starts(),
                Some(2),
                "seed {seed}, cuts {first} and {second}"
            );
        }
    }
}

#[test]
fn nothing_is_programmed_that_was_not_erased_and_the_journal_wears_slowly() {
    let mut card = Card::new(1);
    for version in 2..40 {
        card.update(&package(version)).expect("a good package");
        assert_eq!(card.starts(), Some(version));
        card.confirm().expect("it is well");
    }
    assert_eq!(card.nor.lost_bits(), 0);
    let wear = card.nor.wear();
    let most = wear[..5].iter().max().expect("sectors");
    assert!(
        *most <= 3 * 38 / 2 + 1,
        "{:?} erases for 38 updates",
        &wear[..5]
    );
    assert_eq!(SECTOR % PAGE, 0);
}
