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
