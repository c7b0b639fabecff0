//! The card in pieces and the card as one model behave the same, clock for clock, under the same seeded stimuli.
#![cfg(feature = "flat")]

mod common;

use sluice_verilated::{Beat, Card, Input, Output};

/// Clocks compared after boot.
const CLOCKS: u64 = 150_000;
/// Clocks between comparisons, and the span over which a batch of stimuli is spread.
const STEP: u64 = 500;
/// Start of the data pages.
const PAGES: u64 = 0x72_0000;

/// xorshift64 (Marsaglia, "Xorshift RNGs").
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Reads and writes of packet memory and registers, at odd times and in odd shapes.
fn requests(random: &mut Random, from: u64) -> Vec<Beat> {
    let mut at = from;
    (0..random.below(40))
        .map(|_| {
            at += random.below(20);
            let word = random.below(1 << 32) as u32;
            match random.below(4) {
                // Counters and identity.
                0 => Beat::bar0_read(at, (random.below(0x50) * 4) as u32 & !3),
                // The host queue's tail wakes core 0.
                1 => Beat::bar0_write(at, 0x58, word & 0xffff),
                kind => {
                    let (first, len) = (random.below(16), 1 + random.below(16));
                    let mask = (((1u32 << len) - 1) << first) as u16;
                    let data = core::array::from_fn(|i| word.rotate_left(i as u32) as u8);
                    let addr = PAGES + 0x8000 + random.below(512) * 16;
                    Beat {
                        at,
                        addr,
                        data,
                        mask,
                        write: kind == 2,
                        bar2: true,
                        flag: false,
                    }
                }
            }
        })
        .collect()
}

/// Frames of all lengths, back to back or apart; some for nobody, all of a kind that needs no valid checksum.
fn frames(random: &mut Random, from: u64) -> Vec<Beat> {
    let mut beats = Vec::new();
    let mut at = from;
    for _ in 0..random.below(4) {
        at += random.below(100);
        let longest = if random.below(5) == 0 { 1500 } else { 100 };
        let len = 14 + random.below(longest) as usize;
        let mut frame: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
        if random.below(4) > 0 {
            frame[..6].fill(0xff);
        }
        frame[12..14].copy_from_slice(&[0x08, 0x06]);
        let last = len.div_ceil(16) - 1;
        for (i, chunk) in frame.chunks(16).enumerate() {
            let mut beat = Beat {
                at,
                mask: (u32::MAX >> (32 - chunk.len())) as u16,
                flag: i == last,
                ..Beat::default()
            };
            beat.data[..chunk.len()].copy_from_slice(chunk);
            beats.push(beat);
            at += 1;
        }
        at += 2;
    }
    beats
}

fn outputs(card: &mut Card) -> [Vec<Beat>; 3] {
    [Output::Answer, Output::HostRequest, Output::Wire]
        .map(|output| std::iter::from_fn(|| card.take_one(output)).collect())
}

fn same(data_cores: u32, seed: u64) {
    println!("seed {seed}");
    let image = common::image("sluice-selftest");
    let mut cards = [
        Card::split(data_cores, seed).unwrap(),
        Card::flat(data_cores, seed).unwrap(),
    ];
    cards.iter_mut().for_each(|card| common::boot(card, &image));
    let mut random = Random(seed * 2 + 1);
    let start = cards[0].clock();
    let mut seen = [0; 3];
    let mut skipped = 0;
    for round in 0.. {
        let now = cards[0].clock();
        if now >= start + CLOCKS {
            break;
        }
        // Now and then nothing happens for so long that the split card leaves clocks out.
        let calm = round % 32 >= 16;
        let (requests, frames) = if calm {
            (vec![], vec![])
        } else {
            (requests(&mut random, now), frames(&mut random, now))
        };
        let [split, flat] = cards.each_mut().map(|card| {
            card.push(Input::Request, &requests);
            card.push(Input::Wire, &frames);
            card.run(now + STEP).unwrap();
            outputs(card)
        });
        assert_eq!(split, flat, "between clocks {now} and {}", now + STEP);
        assert_eq!(
            cards[0].fingerprint(),
            cards[1].fingerprint(),
            "between clocks {now} and {}",
            now + STEP
        );
        (0..3).for_each(|i| seen[i] += split[i].len());
        skipped += u32::from(cards[0].idle_until().is_some());
    }
    assert!(
        skipped > 20,
        "the split card knows when it is idle: {skipped}"
    );
    assert!(
        seen[0] > 500 && seen[2] > 500,
        "the stimuli reach both ports: {seen:?}"
    );
}

#[test]
fn split_and_flat_card_with_one_data_core_are_the_same_clock_for_clock() {
    same(1, 11);
}

#[test]
fn split_and_flat_card_with_two_data_cores_are_the_same_clock_for_clock() {
    same(2, 12);
}
