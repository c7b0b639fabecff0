//! Loading reaches the cores that `LOAD_CORES` names and no others.

mod common;

use sluice_regs::bar0_regs as regs;
use sluice_verilated::{Beat, Card, Input, Output};

/// Where each core leaves the mark that was loaded into its memory: a row of packet memory, a word per core.
const MARKS: u64 = 0x64_0000;

/// From the reset vector: stores the word at address 0 of the core's own memory to the core's word of [`MARKS`].
const PROGRAM: [u32; 9] = [
    0x8000_02B7, // lui  t0, 0x80000    core registers
    0x0002_A303, // lw   t1, 0(t0)      CORE_ID
    0x01F3_7313, // andi t1, t1, 31
    0x0023_1313, // slli t1, t1, 2
    0x4064_03B7, // lui  t2, 0x40640    MARKS
    0x0063_83B3, // add  t2, t2, t1
    0x0000_2E03, // lw   t3, 0(zero)
    0x01C3_A023, // sw   t3, 0(t2)
    0x0000_006F, // j    .
];
const RESET_VECTOR: u32 = 0x80;

fn write(card: &mut Card, writes: &[(u32, u32)]) {
    let beats: Vec<_> = writes
        .iter()
        .map(|(offset, value)| Beat::bar0_write(0, *offset, *value))
        .collect();
    card.push(Input::Request, &beats);
    while card.queued(Input::Request) > 0 {
        card.run(card.clock() + 100).unwrap();
    }
}

fn load(card: &mut Card, at: u32, words: &[u32]) {
    write(card, &[(regs::LOAD_ADDR_OFFSET, at)]);
    let words: Vec<_> = words.iter().map(|w| (regs::LOAD_DATA_OFFSET, *w)).collect();
    write(card, &words);
}

/// What the cores have left, once all have been released.
fn marks(card: &mut Card) -> [u32; 4] {
    write(card, &[(regs::CTRL_OFFSET, 1)]);
    card.run(card.clock() + 1_000).unwrap();
    let row = Beat {
        addr: MARKS,
        mask: 0xffff,
        bar2: true,
        ..Beat::default()
    };
    card.push(Input::Request, &[row]);
    card.run(card.clock() + 100).unwrap();
    let row = card.take_one(Output::Answer).expect("an answer");
    write(card, &[(regs::CTRL_OFFSET, 0)]);
    [0, 4, 8, 12].map(|offset| row.register(offset))
}

fn only_named_cores_are_loaded(mut card: Card) {
    assert_eq!(common::read(&mut card, regs::LOAD_CORES_OFFSET), u32::MAX);
    load(&mut card, RESET_VECTOR, &PROGRAM);
    load(&mut card, 0, &[1]);
    assert_eq!(marks(&mut card)[..3], [1, 1, 1], "after reset: all");

    write(&mut card, &[(regs::LOAD_CORES_OFFSET, 0b001)]);
    load(&mut card, 0, &[2]);
    assert_eq!(marks(&mut card)[..3], [2, 1, 1], "the control core");

    write(&mut card, &[(regs::LOAD_CORES_OFFSET, !0b001)]);
    load(&mut card, 0, &[3]);
    assert_eq!(marks(&mut card)[..3], [2, 3, 3], "the data cores");

    write(&mut card, &[(regs::LOAD_CORES_OFFSET, 0b100)]);
    load(&mut card, 0, &[4]);
    assert_eq!(marks(&mut card)[..3], [2, 3, 4], "one data core");

    write(&mut card, &[(regs::LOAD_CORES_OFFSET, 0)]);
    load(&mut card, 0, &[5]);
    assert_eq!(marks(&mut card)[..3], [2, 3, 4], "none");
    // The address advances whoever is loaded.
    assert_eq!(common::read(&mut card, regs::LOAD_ADDR_OFFSET), 4);

    write(&mut card, &[(regs::CTRL_OFFSET, 2)]);
    load(&mut card, 0, &[6]);
    assert_eq!(marks(&mut card)[..3], [6, 6, 6], "after a soft reset: all");
}

#[test]
fn only_named_cores_of_the_card_in_pieces_are_loaded() {
    only_named_cores_are_loaded(Card::split(2, 1).unwrap());
}

#[cfg(feature = "flat")]
#[test]
fn only_named_cores_of_the_card_as_one_model_are_loaded() {
    only_named_cores_are_loaded(Card::flat(2, 1).unwrap());
}
