//! Boots an image and says how fast the simulation runs: `speed IMAGE [DATA_CORES [CLOCKS [flat]]]`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::{env, fs, time::Instant};

use sluice_verilated::Card;

fn main() {
    let args: Vec<_> = env::args().collect();
    let elf = fs::read(&args[1]).expect("an image");
    let cores = args
        .get(2)
        .map_or(1, |n| n.parse().expect("a number of data cores"));
    let clocks: u64 = args
        .get(3)
        .map_or(1_000_000, |n| n.parse().expect("a number of clocks"));
    let flat = args.get(4).is_some_and(|kind| kind == "flat");
    let mut card = if flat {
        Card::flat(cores, 1)
    } else {
        Card::split(cores, 1)
    }
    .expect("a model");
    let start = Instant::now();
    common::boot(&mut card, &elf);
    let loaded = card.clock();
    println!(
        "loaded in {loaded} clocks, {:.2} s",
        start.elapsed().as_secs_f64()
    );
    let status = common::status(&mut card, 2_000_000);
    println!("status {status} after {} clocks", card.clock() - loaded);
    let (start, from) = (Instant::now(), card.clock());
    card.run(from + clocks).expect("no assertion fails");
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{clocks} clocks in {seconds:.2} s: {:.0} kHz",
        clocks as f64 / seconds / 1e3
    );
}
