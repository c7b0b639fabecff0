//! Waveforms can be had.
#![cfg(feature = "waves")]

mod common;

use sluice_verilated::Card;

#[test]
fn every_model_of_a_traced_card_writes_its_waveforms() {
    let folder = std::env::temp_dir().join(format!("sluice-waves-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut card = Card::split(1, 1).unwrap();
    assert!(card.trace(&folder.join("card")));
    common::boot(&mut card, &common::image("sluice-selftest"));
    card.run(card.clock() + 2_000).unwrap();
    drop(card);
    for model in ["uncore", "tile0", "tile1"] {
        let size = std::fs::metadata(folder.join(format!("card.{model}.fst")))
            .unwrap()
            .len();
        assert!(size > 10_000, "{model}: {size} bytes");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
