//! A link that loses, duplicates, reorders and damages frames, by a seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_hal::Micros;
use std::collections::BTreeMap;

/// What happens to frames, in 1/1000.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub loss: u32,
    pub duplication: u32,
    pub reordering: u32,
    pub damage: u32,
    pub marks: u32,
}

pub struct Wire {
    pub rng: ChaCha8Rng,
    faults: Faults,
    /// By arrival time and order: to the card or from it.
    under_way: BTreeMap<(Micros, u64), (bool, Vec<u8>)>,
    count: u64,
    last: [Micros; 2],
}

impl Wire {
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            faults,
            under_way: BTreeMap::new(),
            count: 0,
            last: [Micros(0); 2],
        }
    }

    pub fn below(&mut self, n: u32) -> u32 {
        self.rng.next_u32() % n
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        self.below(1000) < of_thousand
    }

    pub fn send(&mut self, now: Micros, to_card: bool, mut frame: Vec<u8>) {
        if self.chance(self.faults.loss) {
            return;
        }
        if self.chance(self.faults.damage) {
            let at = 42 + self.below(frame.len() as u32 - 42) as usize;
            frame[at] ^= 1 << self.below(8);
            // The byte with FECN and BECN is not protected: it may change.
        }
        if self.chance(self.faults.marks) {
            super::mark(&mut frame);
        }
        let copies = 1 + usize::from(self.chance(self.faults.duplication));
        for _ in 0..copies {
            let side = usize::from(to_card);
            let at = if self.chance(self.faults.reordering) {
                now.after(5 + u64::from(self.below(300)))
            } else {
                self.last[side] = self.last[side].max(now.after(5));
                self.last[side]
            };
            self.count += 1;
            self.under_way
                .insert((at, self.count), (to_card, frame.clone()));
        }
    }

    pub fn next_at(&self) -> Option<Micros> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    pub fn arrived(&mut self, now: Micros) -> Option<(bool, Vec<u8>)> {
        self.next_at().filter(|at| *at <= now)?;
        self.under_way.pop_first().map(|(_, entry)| entry)
    }
}
