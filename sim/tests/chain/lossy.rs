//! A link that loses, reorders, doubles and damages frames: data stay right, nothing hangs. One seed, one history.

use sluice_sim::initiator::ConnectConfig;
use sluice_sim::link::{Faults, LinkConfig};
use sluice_sim::scenario::server::Setup;
use sluice_wire::crc32c::crc32c;

use crate::common::{Bench, On, mix, to_demo};

crate::on_both_cards! { a_lossy_link_costs_time_not_data, one_seed_gives_one_history }

/// Ppm of a twentieth.
const FIVE_PERCENT: u32 = 50_000;
/// How long a reordered frame is held back: 20 µs, so that a burst of others overtakes it.
const HOLD: u64 = 5_000;

/// What a link does, both ways.
fn link(faults: Faults) -> LinkConfig {
    LinkConfig {
        a_to_b: faults,
        b_to_a: faults,
        ..LinkConfig::default()
    }
}

fn all_faults() -> Faults {
    Faults {
        loss: FIVE_PERCENT,
        reorder: FIVE_PERCENT,
        hold: HOLD,
        duplicate: FIVE_PERCENT,
        corrupt: FIVE_PERCENT,
        mark: 0,
    }
}

/// Connects and works over a link with these faults, and disconnects without them. Returns the card's retransmissions.
fn work(name: &str, setup: &Setup, faults: Faults, ios: u64) -> u64 {
    println!("{name}: seed {}", setup.seed);
    let mut bench = Bench::with(name, setup, &LinkConfig::default());
    let host = bench.host(1);
    // Frames for the wrong address are no business of TCP: addresses are resolved before the trouble begins.
    let first = bench.connect(
        host,
        &ConnectConfig {
            io_queues: 0,
            ..to_demo(1)
        },
    );
    bench
        .on(host, |b| b.disconnect(&first))
        .expect("a clean disconnect");
    let set = |bench: &mut Bench, faults| {
        bench.lab.link.a_to_b.set_faults(faults);
        bench.lab.link.b_to_a.set_faults(faults);
    };
    set(&mut bench, faults);
    let seed = setup.seed;
    let config = ConnectConfig {
        io_queues: 2,
        flow_control: seed & 1 == 0,
        ..to_demo(1)
    };
    let digests = (seed & 2 != 0, seed & 4 != 0);
    let (controller, namespaces) =
        bench.connect_with(host, &config.with_digests(digests.0, digests.1));
    for (i, bytes) in [4096, 32_768].into_iter().enumerate() {
        let ns = &namespaces[(i + seed as usize) % 2];
        let load = sluice_sim::initiator::WorkloadConfig {
            seed: seed + i as u64,
            ..mix(&controller, ns, bytes, 8, ios)
        };
        bench.verified(host, load);
    }
    set(&mut bench, Faults::default());
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
    bench.assert_all_given_back();
    bench.counters().retransmits.get()
}

fn a_lossy_link_costs_time_not_data(on: &On) {
    let setup = on.default_setup();
    let retransmits = work("lossy", &setup, all_faults(), on.ios(100));
    assert!(retransmits > 0, "seed {}", setup.seed);
}

/// Short runs with four seeds for one kind of fault; the card's retransmissions in all.
fn seeds(name: &str, faults: Faults) -> u64 {
    let seeds = 10..14;
    seeds
        .map(|seed| {
            let on = On {
                seed,
                cores: 1 + (seed as u32 & 1),
                ..On::functional()
            };
            work(&format!("{name}-{seed}"), &on.default_setup(), faults, 60)
        })
        .sum()
}

#[test]
fn five_percent_loss_is_repaired() {
    assert!(
        seeds(
            "loss",
            Faults {
                loss: FIVE_PERCENT,
                ..Faults::default()
            }
        ) > 0
    );
}

#[test]
fn five_percent_reordering_is_put_right() {
    seeds(
        "reorder",
        Faults {
            reorder: FIVE_PERCENT,
            hold: HOLD,
            ..Faults::default()
        },
    );
}

#[test]
fn five_percent_duplication_is_seen_through() {
    seeds(
        "duplicate",
        Faults {
            duplicate: FIVE_PERCENT,
            ..Faults::default()
        },
    );
}

#[test]
fn five_percent_corruption_is_loss() {
    assert!(
        seeds(
            "corrupt",
            Faults {
                corrupt: FIVE_PERCENT,
                mark: 0,
                ..Faults::default()
            }
        ) > 0
    );
}

#[test]
fn all_faults_at_once_are_survived() {
    assert!(seeds("all", all_faults()) > 0);
}

/// Every frame with its clock, and what the SSDs hold at the end.
fn history(on: &On, run: &str) -> (Vec<u8>, Vec<u32>) {
    let mut faults = Faults {
        corrupt: 0,
        ..all_faults()
    };
    if on.is_rtl() {
        // Whoever loses a frame may wait for seconds.
        faults.loss = 0;
    }
    let mut bench = Bench::with(
        &format!("history-{run}"),
        &on.default_setup(),
        &link(faults),
    );
    let hosts = [bench.host(1), bench.host(2)];
    let mut loads = vec![];
    for (host, n) in hosts.into_iter().zip([1u8, 2]) {
        let config = ConnectConfig {
            io_queues: 2,
            ..to_demo(n)
        }
        .with_digests(n == 1, n == 2);
        let (controller, namespaces) = bench.connect_with(host, &config);
        let load = mix(&controller, &namespaces[host], 8192, 4, on.ios(150));
        loads.push((
            host,
            sluice_sim::initiator::WorkloadConfig {
                seed: on.seed,
                ..load
            },
        ));
    }
    for stats in bench.load(loads) {
        assert_eq!(stats.errors, [""; 0], "seed {}", on.seed);
    }
    let frames = bench.captured();
    let media = bench.server.ssds.iter().map(|ssd| {
        let mut bytes = vec![0; 4 << 20];
        let mut ssd = ssd.borrow_mut();
        ssd.media(1)
            .expect("namespace 1")
            .read(0, &mut bytes)
            .expect("memory can be read");
        crc32c(&bytes)
    });
    (frames, media.collect())
}

fn one_seed_gives_one_history(on: &On) {
    let (frames, media) = history(on, "a");
    let again = history(on, "b");
    assert!(frames.len() > 10_000, "something happened");
    assert!(
        frames == again.0,
        "the same frames at the same clocks, seed {}",
        on.seed
    );
    assert_eq!(
        media, again.1,
        "the same data on the SSDs, seed {}",
        on.seed
    );
    let other = history(
        &On {
            seed: on.seed + 1,
            ..on.clone()
        },
        "c",
    );
    assert!(
        frames != other.0 && media != other.1,
        "another seed gives another history"
    );
}
