//! The chip's rules.

use crate::{Nor, PAGE, SECTOR, Timing};

#[test]
fn a_program_only_clears_bits_and_counts_those_it_could_not_set() {
    let mut nor = Nor::new(SECTOR, Timing::INSTANT, 1);
    nor.program_at(0, &[0b1100]);
    nor.program_at(0, &[0b1010]);
    assert_eq!((nor.cells()[0], nor.lost_bits()), (0b1000, 1));
}

#[test]
fn an_erase_sets_a_whole_sector_and_wears_it() {
    let mut nor = Nor::new(2 * SECTOR, Timing::INSTANT, 1);
    nor.program_at(SECTOR - 1, &[0]);
    nor.program_at(SECTOR, &[0]);
    nor.erase_at(100);
    assert_eq!((nor.cells()[SECTOR - 1], nor.cells()[SECTOR]), (0xFF, 0));
    assert_eq!(nor.wear(), [1, 0]);
}

#[test]
fn a_program_wraps_within_its_page() {
    let mut nor = Nor::new(SECTOR, Timing::INSTANT, 1);
    nor.program_at(2 * PAGE - 1, &[1, 2]);
    assert_eq!((nor.cells()[2 * PAGE - 1], nor.cells()[PAGE]), (1, 2));
}

#[test]
fn the_chip_is_busy_for_as_long_as_it_says() {
    let mut nor = Nor::new(SECTOR, Timing::TYPICAL, 1);
    nor.program_at(0, &[0]);
    nor.set_time(Timing::TYPICAL.program - 1);
    assert!(nor.is_busy() && nor.cells()[0] == 0xFF);
    nor.set_time(Timing::TYPICAL.program);
    assert!(!nor.is_busy() && nor.cells()[0] == 0);
}

#[test]
fn a_cut_program_touches_only_the_bits_it_was_to_clear() {
    for seed in 0..200 {
        let mut nor = Nor::new(SECTOR, Timing::INSTANT, seed);
        nor.cut_after(0);
        nor.program_at(PAGE, &[0x0F; PAGE]);
        assert!(!nor.is_powered());
        nor.power_on();
        let mut page = [0; PAGE];
        nor.read_at(PAGE, &mut page);
        assert!(page.iter().all(|b| b & 0x0F == 0x0F), "seed {seed}");
        nor.read_at(0, &mut page);
        assert_eq!(page, [0xFF; PAGE], "seed {seed}");
    }
}

#[test]
fn clones_of_a_chip_have_the_same_fate_unless_they_are_seeded_anew() {
    let mut nor = Nor::new(SECTOR, Timing::TYPICAL, 1);
    nor.program_at(0, &[0; PAGE]);
    let left = |mut nor: Nor| {
        nor.cut_power();
        nor.cells()[..PAGE].to_vec()
    };
    assert_eq!(left(nor.clone()), left(nor.clone()));
    let fates: std::collections::BTreeSet<_> =
        (0..20).map(|seed| left(nor.clone().seeded(seed))).collect();
    assert!(fates.len() > 10, "{} fates of 20 seeds", fates.len());
}

#[test]
fn cuts_leave_unstable_bits_until_the_sector_is_erased_again() {
    let mut unstable = 0;
    for seed in 0..100 {
        let mut nor = Nor::new(SECTOR, Timing::INSTANT, seed);
        nor.program_at(0, &[0; PAGE]);
        nor.cut_after(0);
        nor.erase_at(0);
        nor.power_on();
        let (mut first, mut second) = ([0; PAGE], [0; PAGE]);
        nor.read_at(0, &mut first);
        nor.read_at(0, &mut second);
        unstable += usize::from(first != second);
        nor.erase_at(0);
        assert_eq!(nor.weak_bits(), 0, "seed {seed}");
        nor.read_at(0, &mut first);
        assert_eq!(first, [0xFF; PAGE], "seed {seed}");
    }
    assert!(unstable > 20, "{unstable} of 100 cuts left unstable bits");
}

/// The pins, driven as a controller does: sends bytes, then reads so many, over one or four lines.
fn command(chip: &mut crate::SerialNor, send: &[u8], read: usize, quad: bool) -> Vec<u8> {
    chip.pins(0, true, false, 0);
    for byte in send {
        for bit in (0..8).rev() {
            chip.pins(0, true, false, byte >> bit & 1);
            chip.pins(0, true, true, byte >> bit & 1);
        }
    }
    let mut answer = vec![];
    for _ in 0..read {
        let mut byte = 0;
        for _ in 0..if quad { 2 } else { 8 } {
            let out = chip.pins(0, true, false, 0xF);
            byte = if quad {
                byte << 4 | out
            } else {
                byte << 1 | out >> 1 & 1
            };
            chip.pins(0, true, true, 0xF);
        }
        answer.push(byte);
    }
    chip.pins(0, true, false, 0);
    chip.pins(0, false, false, 0);
    answer
}

#[test]
fn the_pins_give_what_the_cells_hold() {
    let mut nor = Nor::new(4 << 20, Timing::INSTANT, 1);
    nor.program_at(0x1200, &[7; PAGE]);
    nor.program_at(0x1300, &[1, 2, 3]);
    let mut chip = crate::SerialNor::new(nor);
    assert_eq!(command(&mut chip, &[0x9F], 3, false), [0xEF, 0x40, 22]);
    assert_eq!(
        command(&mut chip, &[0x03, 0, 0x12, 0xFF], 4, false),
        [7, 1, 2, 3]
    );
    assert_eq!(
        command(&mut chip, &[0x6B, 0, 0x12, 0xFF, 0], 4, true),
        [7, 1, 2, 3]
    );
    assert_eq!(
        command(&mut chip, &[0x0B, 0, 0x13, 0x01, 0], 2, false),
        [2, 3]
    );
}

#[test]
fn a_program_without_write_enable_or_cut_off_within_a_byte_does_nothing() {
    let mut chip = crate::SerialNor::new(Nor::new(4 << 20, Timing::INSTANT, 1));
    command(&mut chip, &[0x02, 0, 0, 0, 0x55], 0, false);
    assert_eq!(chip.nor.operations(), 0);
    command(&mut chip, &[0x06], 0, false);
    assert_eq!(command(&mut chip, &[0x05], 1, false), [0b10]);
    chip.pins(0, true, false, 0);
    for bit in [0, 0, 0, 0, 0, 0, 1, 0].iter().chain(&[0; 28]) {
        chip.pins(0, true, false, *bit);
        chip.pins(0, true, true, *bit);
    }
    chip.pins(0, true, false, 0);
    chip.pins(0, false, false, 0);
    assert_eq!(chip.nor.operations(), 0);
    command(&mut chip, &[0x02, 0, 0, 0, 0x55], 0, false);
    assert_eq!(chip.nor.cells()[0], 0x55);
    assert_eq!(
        command(&mut chip, &[0x05], 1, false),
        [0],
        "the enable is used up"
    );
}

#[test]
fn a_program_longer_than_a_page_keeps_its_last_bytes() {
    let mut chip = crate::SerialNor::new(Nor::new(4 << 20, Timing::INSTANT, 1));
    command(&mut chip, &[0x06], 0, false);
    let mut long = vec![0x02, 0, 1, 0xFE, 0xAA, 0xBB];
    long.extend(0..=255);
    command(&mut chip, &long, 0, false);
    // Byte n of the command's data belongs at 1FEh + n, within the page: the first two are written over by the last two.
    assert_eq!(chip.nor.cells()[0x1FE..0x200], [254, 255]);
    assert_eq!(chip.nor.cells()[0x100..0x104], [0, 1, 2, 3]);
}
