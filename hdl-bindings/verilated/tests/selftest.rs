//! The self-test image on the split card: boot, mail, packet memory, mover, and frames that come back.

mod common;

use sluice_regs::{MAGIC, bar0_regs as regs};
use sluice_verilated::{Beat, Card, Input, Output};

fn frame_beats(at: u64, frame: &[u8]) -> Vec<Beat> {
    let mut beats: Vec<_> = frame
        .chunks(16)
        .enumerate()
        .map(|(i, chunk)| {
            let mut beat = Beat {
                at: at + i as u64,
                mask: (u32::MAX >> (32 - chunk.len())) as u16,
                ..Beat::default()
            };
            beat.data[..chunk.len()].copy_from_slice(chunk);
            beat
        })
        .collect();
    beats.last_mut().unwrap().flag = true;
    beats
}

fn received(card: &mut Card) -> Vec<u8> {
    std::iter::from_fn(|| card.take_one(Output::Wire))
        .flat_map(|beat| beat.data[..beat.mask.count_ones() as usize].to_vec())
        .collect()
}

fn self_test_passes(data_cores: u32) {
    let mut card = Card::split(data_cores, 1).unwrap();
    assert_eq!(common::read(&mut card, regs::MAGIC_OFFSET), MAGIC);
    common::boot(&mut card, &common::image("sluice-selftest"));
    assert_eq!(
        common::status(&mut card, 200_000),
        1,
        "100 + n: step n of the self-test failed"
    );
}

#[test]
fn self_test_passes_with_one_data_core() {
    self_test_passes(1);
}

#[test]
fn self_test_passes_with_two_data_cores() {
    self_test_passes(2);
}

#[test]
fn frames_are_echoed_unchanged() {
    let mut card = Card::split(1, 1).unwrap();
    common::boot(&mut card, &common::image("sluice-selftest"));
    assert_eq!(common::status(&mut card, 200_000), 1);
    for len in [60, 61, 64, 100, 1514] {
        // Broadcast ARP: anything else would be checked more closely by rx.
        let mut frame: Vec<u8> = (0..len).map(|i| (i * 3) as u8).collect();
        frame[..6].fill(0xff);
        frame[12..14].copy_from_slice(&[0x08, 0x06]);
        let at = card.clock();
        card.push(Input::Wire, &frame_beats(at, &frame));
        card.run(at + 2_000).unwrap();
        assert_eq!(received(&mut card), frame, "{len} bytes");
    }
    assert_eq!(common::read(&mut card, regs::RX_FRAMES_OFFSET), 5);
    assert_eq!(common::read(&mut card, regs::TX_FRAMES_OFFSET), 5);
}
