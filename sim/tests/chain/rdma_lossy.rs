//! NVMe/RDMA over a link that loses, reorders, doubles and damages frames, marks them or makes its ends pause: data stay
//! right, nothing hangs. One seed, one history.

use sluice_sim::fabric::Clock;
use sluice_sim::initiator::{ConnectConfig, Stats, WorkloadConfig};
use sluice_sim::link::{Faults, LinkConfig, pause_frame};
use sluice_wire::crc32c::crc32c;
use sluice_wire::mgmt::Counters;
use sluice_wire::roce::PathMtu;

use crate::common::{Bench, MS, On, frames::CARD_MAC, mix, over_rdma};

crate::on_both_cards! { a_bad_link_costs_rdma_time_not_data, one_seed_gives_one_rdma_history }

/// Ppm of a hundredth.
const PERCENT: u32 = 10_000;
/// How long a reordered frame is held back: 20 µs, so that a burst of others overtakes it.
const HOLD: Clock = 5_000;

fn loss() -> Faults {
    Faults::loss_percent(1)
}

fn all_faults() -> Faults {
    Faults {
        hold: HOLD,
        ..Faults::percent(5)
    }
}

fn set(bench: &mut Bench, faults: Faults) {
    bench.lab.link.a_to_b.set_faults(faults);
    bench.lab.link.b_to_a.set_faults(faults);
}

/// Connects and works over a link with these faults, each seed in a way of its own, and disconnects without them.
fn work(name: &str, on: &On, faults: Faults, ios: u64) -> Counters {
    let seed = on.seed;
    println!("{name}: seed {seed}");
    let mut bench = Bench::with(
        &format!("{name}-{seed}"),
        &on.default_setup(),
        &LinkConfig::default(),
    );
    let host = bench.host(1);
    set(&mut bench, faults);
    let mut config = ConnectConfig {
        io_queues: 1 + (seed as u16 & 1),
        flow_control: seed & 2 == 0,
        ..over_rdma(1)
    };
    config.queue.in_capsule = [0, 4096, 16_384][seed as usize % 3];
    config.queue.rdma.invalidate = seed & 4 == 0;
    config.queue.rdma.regions = 1 + seed as usize / 2 % 4;
    config.queue.rdma.path_mtu = [None, Some(PathMtu::Bytes256)][seed as usize / 3 % 2];
    config.queue.rdma.resume_as_first = seed & 8 != 0;
    let (controller, namespaces) = bench.connect_with(host, &config);
    for (i, bytes) in [4096, 24_576].into_iter().enumerate() {
        let ns = &namespaces[(i + seed as usize) % 2];
        let load = WorkloadConfig {
            seed: seed + i as u64,
            ..mix(&controller, ns, bytes, 8, ios)
        };
        let stats = bench.load(vec![(host, load)]).remove(0);
        assert_eq!(stats.errors, [""; 0], "seed {seed}");
    }
    set(&mut bench, Faults::default());
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    // A queue pair whose end was not heard of is given up after a while.
    bench.until_all_given_back(60_000 * MS);
    assert_eq!(bench.at(host).valid_keys(), 0, "seed {seed}");
    let counters = bench.counters();
    if seed.is_multiple_of(10) {
        bench.check_capture();
    } else {
        bench.drop_capture("one in ten will do");
    }
    counters
}

fn a_bad_link_costs_rdma_time_not_data(on: &On) {
    let counters = work("rdma-lossy", on, all_faults(), on.ios(100));
    assert!(counters.rdma_resent.get() > 0, "seed {}", on.seed);
}

/// Short runs with these seeds; together they make something be sent again.
fn seeds(name: &str, seeds: std::ops::Range<u64>, faults: Faults) {
    let resent: u64 = seeds
        .map(|seed| {
            let on = On {
                seed,
                cores: 1 + (seed as u32 / 5 & 1),
                ..On::functional()
            };
            work(name, &on, faults, 40).rdma_resent.get()
        })
        .sum();
    assert!(resent > 0);
}

#[test]
fn one_percent_loss_is_repaired_over_rdma() {
    seeds("rdma-loss-1", 0..50, loss());
}

#[test]
fn one_percent_loss_is_repaired_over_rdma_with_other_seeds() {
    seeds("rdma-loss-2", 50..100, loss());
}

/// All faults with 200 seeds, in tests that run side by side.
macro_rules! all_faults {
    ($($name:ident: $seeds:expr),* $(,)?) => {$(
        #[test]
        fn $name() {
            seeds(stringify!($name), $seeds, all_faults());
        }
    )*};
}

all_faults! {
    all_faults_at_once_are_survived_over_rdma_with_the_first_seeds: 0..34,
    all_faults_at_once_are_survived_over_rdma_with_the_second_seeds: 34..67,
    all_faults_at_once_are_survived_over_rdma_with_the_third_seeds: 67..100,
    all_faults_at_once_are_survived_over_rdma_with_the_fourth_seeds: 100..134,
    all_faults_at_once_are_survived_over_rdma_with_the_fifth_seeds: 134..167,
    all_faults_at_once_are_survived_over_rdma_with_the_last_seeds: 167..200,
}

/// A load over this link, with a host that takes part in congestion control, and who sends pause frames for so many
/// nanoseconds every 100 microseconds.
fn congested(name: &str, link: &LinkConfig, pause: Option<u64>) -> (Bench, usize, Stats) {
    let mut bench = Bench::with(name, &On::functional().default_setup(), link);
    let host = bench.host(1);
    let mut config = over_rdma(1);
    (config.queue.rdma.ecn, config.queue.rdma.cnp) = (true, true);
    let (controller, namespaces) = bench.connect_with(host, &config);
    let load = mix(&controller, &namespaces[0], 65_536, 16, 400);
    bench
        .at(host)
        .attach(sluice_sim::initiator::Workload::new(load));
    if let Some(nanos) = pause {
        // A quantum is 512 bit times, 5.12 ns at 100 Gb/s.
        let quanta = (nanos * 100 / 512) as u16;
        for round in 0..50 {
            let priority = [None, Some(0)][round % 2];
            let frame = pause_frame(CARD_MAC, priority, quanta);
            bench.at(host).send_frame(frame);
            bench.run(25_000);
        }
    }
    let stats = bench.finish_loads(&[host]).remove(0);
    assert_eq!(stats.errors, [""; 0]);
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.run(MS);
    (bench, host, stats)
}

#[test]
fn marks_cut_the_rate_of_rdma_on_either_side_and_nothing_else() {
    let (mut bench, _, free) = congested("rdma-unmarked", &LinkConfig::default(), None);
    assert_eq!(bench.counters().rdma_cnps_received.get(), 0);
    bench.check_capture();
    let marks = Faults {
        mark: 20 * PERCENT,
        ..Faults::default()
    };
    let link = LinkConfig {
        a_to_b: marks,
        b_to_a: marks,
        ..LinkConfig::default()
    };
    let (mut bench, host, slowed) = congested("rdma-marked", &link, None);
    let (card, host) = (bench.counters(), bench.at(host).rdma_counters());
    assert!(host.congested > 0 && host.cnps_sent > 0, "{host:?}");
    assert_eq!(card.rdma_cnps_received.get(), host.cnps_sent);
    assert!(card.rdma_cnps_sent.get() > 0, "{card:?}");
    assert_eq!(card.rdma_cnps_sent.get(), host.cnps_received);
    assert_eq!((card.rdma_resent.get(), host.retries), (0, 0));
    assert!(
        slowed.gbps() < free.gbps() / 2.0,
        "{} instead of {} Gb/s",
        slowed.gbps(),
        free.gbps()
    );
    bench.check_capture();
    bench.assert_all_given_back();
}

#[test]
fn a_port_that_is_told_to_pause_does_so_and_loses_nothing() {
    let link = LinkConfig {
        pauses: [false, true],
        ..LinkConfig::default()
    };
    let (mut bench, host, _) = congested("rdma-paused", &link, Some(50_000));
    assert!(bench.lab.link.b_to_a.counters().pauses >= 50);
    let retries = bench.at(host).rdma_counters().retries;
    assert_eq!((bench.counters().rdma_resent.get(), retries), (0, 0));
    bench.check_capture();
    bench.assert_all_given_back();
}

/// Every frame with its clock, and what the SSDs hold at the end.
fn history(on: &On, run: &str) -> (Vec<u8>, Vec<u32>) {
    let mut faults = Faults {
        corrupt: 0,
        mark: PERCENT,
        ..all_faults()
    };
    if on.is_rtl() {
        // Whoever loses a frame may wait for long.
        faults.loss = 0;
    }
    let link = LinkConfig {
        a_to_b: faults,
        b_to_a: faults,
        ..LinkConfig::default()
    };
    let mut bench = Bench::with(&format!("rdma-history-{run}"), &on.default_setup(), &link);
    let hosts = [bench.host(1), bench.host(2)];
    let mut loads = vec![];
    for (host, n) in hosts.into_iter().zip([1u8, 2]) {
        let mut config = ConnectConfig {
            io_queues: 2,
            ..over_rdma(n)
        };
        config.queue.rdma.regions = n.into();
        let (controller, namespaces) = bench.connect_with(host, &config);
        let load = mix(&controller, &namespaces[host], 8192, 4, on.ios(150));
        loads.push((
            host,
            WorkloadConfig {
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

fn one_seed_gives_one_rdma_history(on: &On) {
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
