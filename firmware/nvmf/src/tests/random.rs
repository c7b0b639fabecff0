//! Random histories; the promises are checked in `fuzz`.

use crate::fuzz::{Reached, play};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

#[test]
fn random_histories_keep_every_promise() {
    let base = std::env::var("SLUICE_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1u64);
    let mut all = Reached::default();
    for seed in base..base + 2000 {
        std::println!("seed {seed}");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = std::vec![0; 8192];
        random.fill_bytes(&mut bytes);
        let reached = play(&bytes);
        all.admin_queues += reached.admin_queues;
        all.io_queues += reached.io_queues;
        all.successes += reached.successes;
        all.events += reached.events;
        all.io_commands += reached.io_commands;
    }
    std::println!("{all:?}");
    // The histories are worth something only if they get past the refusals.
    assert!(
        all.admin_queues > 1000
            && all.io_queues > 500
            && all.successes > 10_000
            && all.events > 50
            && all.io_commands > 500,
        "{all:?}"
    );
}
