//! Assertions are in the model and end its run: without this nobody would notice that they are off.
#![cfg(feature = "assertions")]

mod common;

use sluice_verilated::{Beat, Card, Input};

fn stops(mut card: Card) {
    common::boot(&mut card, &common::image("sluice-selftest"));
    let hole = Beat {
        at: card.clock() + 10,
        mask: 0b101,
        flag: true,
        ..Beat::default()
    };
    card.push(Input::Wire, &[hole]);
    let stopped = card
        .run(card.clock() + 1000)
        .expect_err("a rule was broken");
    // Where the rule `KeepIsContiguous` is.
    assert!(stopped.what.contains("sluice_rx_ring.sv:"), "{stopped}");
}

#[test]
fn a_beat_with_a_hole_breaks_a_rule_and_stops_the_card_in_pieces() {
    stops(Card::split(1, 1).unwrap());
}

#[cfg(feature = "flat")]
#[test]
fn a_beat_with_a_hole_breaks_a_rule_and_stops_the_card_as_one_model() {
    stops(Card::flat(1, 1).unwrap());
}
