//! Long histories of updates, starts, rollbacks and rotations, with power cuts and packages that are no good.

mod support;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_boot::pack::{self, SigningKey};
use sluice_boot::update::Request;
use support::{BOARD, Card, package_with, root};

/// What was done to the card, and what may come of it.
struct History {
    card: Card,
    rng: ChaCha8Rng,
    generation: u32,
    next: u16,
    /// Versions whose package was written whole at some time.
    good: Vec<u16>,
}

impl History {
    fn draw(&mut self, below: u32) -> u32 {
        self.rng.next_u32() % below
    }

    fn signer(generation: u32) -> SigningKey {
        match generation {
            0 => root(),
            generation => SigningKey::from_seed([generation as u8; 32]),
        }
    }

    fn step(&mut self) {
        if self.draw(3) == 0 {
            let after = self.draw(60).into();
            self.card.nor.cut_after(after);
        }
        match self.draw(8) {
            0..=2 => {
                let version = self.next;
                self.next += 1;
                // Mostly by the latest key, sometimes by the root key.
                let by = if self.draw(4) == 0 {
                    0
                } else {
                    self.generation
                };
                let security = self.card.fuses.security_version + self.draw(2);
                let mut package = package_with(version, security, &Self::signer(by));
                let damaged = self.draw(3) == 0;
                if damaged {
                    let bit = self.draw(package.len() as u32 * 8) as usize;
                    package[bit / 8] ^= 1 << (bit % 8);
                } else {
                    self.good.push(version);
                }
                let taken = self.card.update(&package).is_ok();
                assert!(!(taken && damaged), "a damaged package was taken");
            }
            3 => drop(self.card.confirm()),
            4 => drop(self.card.roll_back()),
            5 => {
                let generation = self.generation + 1;
                let key = Self::signer(generation).public();
                let revokes = if self.draw(3) == 0 {
                    self.generation
                } else {
                    0
                };
                let certificate = pack::certificate(&root(), &key, BOARD, generation, revokes);
                let Ok(mut updater) = self.card.updater() else {
                    return;
                };
                if self
                    .card
                    .ask(&mut updater, &Request::Rotate(certificate))
                    .is_ok()
                {
                    self.generation = generation;
                }
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_happens_a_good_package_is_started() {
    for seed in 0..60 {
        let mut history = History {
            card: Card::new(seed),
            rng: ChaCha8Rng::seed_from_u64(seed),
            generation: 0,
            next: 2,
            good: vec![1],
        };
        for step in 0..60 {
            history.step();
            let fused = history.card.fuses;
            history.card.nor.power_on();
            let report = history.card.start();
            let started = report
                .started
                .unwrap_or_else(|| panic!("seed {seed}, step {step}: {report:?}"));
            assert!(
                history.good.contains(&started.package.version.major),
                "seed {seed}, step {step}: {started:?}"
            );
            assert!(started.package.security_version >= fused.security_version);
            assert!(history.card.fuses.key_generation >= fused.key_generation);
        }
        assert_eq!(history.card.nor.lost_bits(), 0, "seed {seed}");
    }
}
