//! The journal against records that read as good once and as bad another time.

use sluice_boot::journal::{Journal, State, Trial};
use sluice_boot::layout::{JOURNAL, Slot};
use sluice_nor::{Nor, Timing};

/// Bytes of a record, and where its checksum is.
const RECORD: usize = 32;
const CHECKSUM: usize = 28;

fn state(attempts: u8) -> State {
    State {
        active: Some(Slot::A),
        trial: Some(Trial {
            slot: Slot::B,
            attempts,
        }),
        failed: [false; 2],
    }
}

/// A chip on which one start has written `states`.
fn chip(seed: u64, states: &[State]) -> Nor {
    let mut nor = Nor::new(0x2000, Timing::INSTANT, seed);
    let mut journal = Journal::open(&mut nor).expect("readable");
    for state in states {
        journal.write_now(&mut nor, *state).expect("written");
    }
    nor
}

/// As if the power had failed at the end of programming record `index` of the first sector: two of its zeros are none yet.
fn tear(nor: &mut Nor, index: usize) {
    let at = JOURNAL[0] as usize + index * RECORD + CHECKSUM;
    let byte = nor.cells()[at..at + 4]
        .iter()
        .position(|b| b.count_zeros() >= 2);
    let at = at + byte.expect("a checksum has zeros");
    let zeros = !nor.cells()[at];
    let bits = (0..8)
        .map(|i| 1 << i)
        .filter(|bit| zeros & bit != 0)
        .take(2)
        .sum();
    nor.cells_mut()[at] |= bits;
    nor.weaken(at, bits);
}

fn reads(nor: &mut Nor) -> State {
    Journal::open(nor).expect("readable").state()
}

#[test]
fn a_record_that_was_read_as_good_by_luck_is_made_firm_before_the_other_sector_goes() {
    for seed in 0..50 {
        // The whole journal is one record, and it is torn.
        let mut nor = chip(seed, &[state(1)]);
        tear(&mut nor, 0);
        let mut journal = loop {
            let journal = Journal::open(&mut nor).expect("readable");
            if journal.state() == state(1) {
                break journal;
            }
        };
        // Made firm, and then the power fails while the other sector is erased.
        nor.cut_after(1);
        journal.write_now(&mut nor, state(2)).expect_err("no power");
        nor.power_on();
        for _ in 0..20 {
            assert_eq!(reads(&mut nor), state(1), "seed {seed}");
        }
    }
}

#[test]
fn a_torn_record_never_outranks_what_is_written_later() {
    for seed in 0..50 {
        let mut nor = chip(seed, &[state(0), state(1)]);
        tear(&mut nor, 1);
        let mut journal = loop {
            let journal = Journal::open(&mut nor).expect("readable");
            if journal.state() == state(0) {
                break journal;
            }
        };
        journal.write_now(&mut nor, state(7)).expect("written");
        for _ in 0..20 {
            assert_eq!(reads(&mut nor), state(7), "seed {seed}");
        }
    }
}

#[test]
fn a_full_sector_goes_on_in_the_other() {
    let mut nor = chip(1, &[]);
    let mut journal = Journal::open(&mut nor).expect("readable");
    for n in 0..=255 {
        journal.write_now(&mut nor, state(n)).expect("written");
        assert_eq!(reads(&mut nor), state(n));
    }
    assert_eq!((nor.wear(), nor.lost_bits()), (&[1, 1][..], 0));
}

#[test]
fn a_worn_sector_is_noticed() {
    let mut nor = chip(1, &[state(0)]);
    let mut journal = Journal::open(&mut nor).expect("readable");
    // A bit of the other sector that no erase makes firm any more.
    journal.write(state(1));
    while !journal.step(&mut nor).unwrap_or_else(|error| {
        assert_eq!(
            error,
            sluice_boot::flash::FlashError::Worn { at: JOURNAL[1] }
        );
        true
    }) {
        nor.cells_mut()[JOURNAL[1] as usize + 9] &= !1;
    }
    assert_eq!(journal.state(), state(0), "the old state counts");
    assert_eq!(reads(&mut nor), state(0));
}
