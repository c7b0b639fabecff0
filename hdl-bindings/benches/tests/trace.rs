//! trace: what lands in the ring against what went by, with stalls on the host's side, rings that are too small, and a host that
//! does not answer.

use sluice_benches::{
    frames::Recipe,
    host::BASE,
    random::Random,
    trace_rig::{Config, Passed, Rig},
};
use sluice_engines::Filter;
use sluice_wire::trace::{ROW, Record};

/// A record is that of this frame.
fn is_of(record: &Record, kept: &[u8], passed: &Passed, snap: u16) -> bool {
    let want = passed.frame.len().min(usize::from(snap));
    usize::from(record.len.get()) == passed.frame.len()
        && kept == &passed.frame[..want]
        && (record.flags, record.port) == (passed.flags, 0)
        && record.clocks.get() == passed.at
}

/// Every record is that of a frame, in order; the frames that have none.
fn compare(records: &[(Record, Vec<u8>)], rig: &mut Rig, snap: u16) -> usize {
    let mut passed = std::mem::take(&mut rig.passed);
    // Of two that end in the same clock the received one comes first.
    passed.sort_by_key(|p| (p.at, p.sent));
    let (mut next, mut missing) = (passed.iter(), 0);
    for (n, (record, kept)) in records.iter().enumerate() {
        loop {
            let Some(frame) = next.next() else {
                panic!("record {n} is of no frame: {record:?}");
            };
            if is_of(record, kept, frame, snap) {
                break;
            }
            missing += 1;
        }
    }
    missing + next.count()
}

fn any_length(random: &mut Random) -> Vec<u8> {
    let len = match random.range(0, 39) {
        0 => random.size(1, 16),
        1 => random.size(1500, 9216),
        2 => 9216,
        _ => random.size(17, 300),
    };
    random.fill(len)
}

#[test]
fn with_room_every_frame_is_kept_byte_for_byte_in_order() {
    for (seed, percent, latency) in [(51, 100, 1), (52, 85, 30), (53, 75, 200)] {
        let mut random = Random::new(seed);
        let mut rig = Rig::new(percent, latency);
        rig.make = any_length;
        for snap in [128, 9216, 0, 1, 77, 16_383] {
            let config = Config {
                snap,
                ..Config::all(8)
            };
            let began = rig.start(&mut random, config);
            assert!(began.tracing && !began.bus_error, "{began:?}");
            // As much as the host takes, of which whole frames need more.
            rig.load = if snap > 128 { [1, 1] } else { [12, 9] };
            let mut records = Vec::new();
            for _ in 0..40 {
                rig.run(&mut random, 300);
                records.extend(rig.take());
            }
            rig.settle(&mut random);
            records.extend(rig.take());
            let ended = rig.stop(&mut random);
            assert_eq!((ended.bus_error, ended.bad_order), (false, false));
            assert_eq!(rig.row(), [ended.head, ended.lost, records.len() as u32]);
            let missing = compare(&records, &mut rig, snap.min(9216));
            assert!(records.len() > 20, "only {} records", records.len());
            assert_eq!((missing, ended.lost), (0, 0), "snap {snap}, seed {seed}");
        }
    }
}

#[test]
fn what_finds_no_room_is_counted_exactly_and_the_rest_stays_in_order() {
    // A ring that nobody empties, one that is emptied too seldom, and a host that takes next to nothing.
    for (seed, order, every, percent) in
        [(54, 0, u64::MAX, 100), (55, 0, 900, 100), (56, 8, 300, 6)]
    {
        let mut random = Random::new(seed);
        let mut rig = Rig::new(percent, 20);
        rig.make = any_length;
        rig.start(&mut random, Config::all(order));
        rig.load = [60, 60];
        let mut records = Vec::new();
        for clock in 0..30_000 {
            rig.run(&mut random, 1);
            if clock % every == every - 1 {
                records.extend(rig.take());
            }
        }
        rig.settle(&mut random);
        records.extend(rig.take());
        let ended = rig.stop(&mut random);
        let seen = rig.passed.len();
        let missing = compare(&records, &mut rig, 128);
        assert!(ended.lost > 0 && !records.is_empty(), "seed {seed}");
        assert_eq!(
            missing, ended.lost as usize,
            "of {seen} frames, seed {seed}"
        );
        assert_eq!(rig.row()[1..], [ended.lost, records.len() as u32]);
    }
}

#[test]
fn a_tail_that_makes_no_sense_leaves_no_room_and_harms_nothing() {
    let mut random = Random::new(57);
    let mut rig = Rig::new(100, 5);
    let nonsense = Config {
        tail: 0x8000_0000,
        ..Config::all(0)
    };
    rig.start(&mut random, nonsense);
    rig.load = [30, 30];
    rig.run(&mut random, 3000);
    rig.settle(&mut random);
    let ended = rig.stop(&mut random);
    assert_eq!((ended.head, ended.lost as usize), (0, rig.passed.len()));
}

#[test]
fn only_frames_of_the_wanted_directions_and_ports_are_kept() {
    let ports = [
        Filter { tcp: 4420, udp: 0 },
        Filter { tcp: 0, udp: 4791 },
        Filter {
            tcp: 8009,
            udp: 4791,
        },
        Filter::default(),
    ];
    for (seed, filter) in (58..).zip(ports) {
        for (receive, send) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut random = Random::new(seed);
            let mut rig = Rig::new(90, 10);
            rig.make = |random| {
                let recipe = Recipe::random(random);
                let mut frame = recipe.build(random);
                // One of the wanted ports in most of them, on either side.
                let side = recipe.l4() + 2 * random.size(0, 1);
                if random.chance(70) && frame.len() >= side + 2 {
                    let port: u16 = random.pick(&[4420, 4791, 8009]);
                    frame[side..side + 2].copy_from_slice(&port.to_be_bytes());
                }
                frame.truncate(random.size(14, frame.len().max(14)));
                frame
            };
            let config = Config {
                filter,
                receive,
                send,
                ..Config::all(8)
            };
            rig.start(&mut random, config);
            rig.load = [2, 2];
            rig.run(&mut random, 20_000);
            rig.settle(&mut random);
            let records = rig.take();
            let ended = rig.stop(&mut random);
            assert_eq!((compare(&records, &mut rig, 128), ended.lost), (0, 0));
            assert_eq!(records.is_empty(), !receive && !send, "{filter:?}");
        }
    }
}

#[test]
fn a_ring_that_cannot_be_read_or_is_too_large_ends_in_an_error_and_nothing_is_written() {
    let mut random = Random::new(62);
    let mut rig = Rig::new(80, 30);
    rig.load = [20, 20];
    let whole = rig.host.limit;
    let before = rig.host.bytes.clone();
    // Its first row, its last one, and the status row behind it are out of reach.
    for limit in [0, 4096 - ROW, 4096] {
        rig.host.limit = limit;
        let began = rig.start(&mut random, Config::all(0));
        assert!(began.bus_error && !began.active, "limit {limit}: {began:?}");
        rig.stop(&mut random);
    }
    rig.host.limit = whole;
    let began = rig.start(&mut random, Config::all(13));
    assert!(began.bad_order && !began.active && !began.bus_error);
    rig.stop(&mut random);
    assert!(rig.host.bytes == before, "something was written");
    // It goes on as if nothing had been.
    rig.settle(&mut random);
    rig.passed.clear();
    let began = rig.start(&mut random, Config::all(4));
    assert!(began.tracing && !began.bad_order);
    rig.load = [10, 10];
    rig.run(&mut random, 2000);
    rig.settle(&mut random);
    let records = rig.take();
    assert_eq!(
        (compare(&records, &mut rig, 128), rig.status().lost),
        (0, 0)
    );
    assert!(records.len() > 20);
}

#[test]
fn a_host_that_stops_answering_ends_the_trace_under_load_and_the_next_one_is_whole() {
    let mut random = Random::new(63);
    let mut rig = Rig::new(90, 40);
    for _ in 0..5 {
        rig.start(&mut random, Config::all(6));
        rig.load = [25, 25];
        rig.run(&mut random, 5000);
        assert!(rig.status().tracing);
        let limit = std::mem::replace(&mut rig.host.limit, 0);
        for n in 0.. {
            rig.run(&mut random, 100);
            if !rig.status().active {
                break;
            }
            assert!(n < 200, "it does not notice");
        }
        assert!(rig.status().bus_error);
        // Enabled all the time: it stays off.
        rig.run(&mut random, 2000);
        assert!(!rig.status().active && rig.status().bus_error);
        rig.host.limit = limit;
        rig.settle(&mut random);
        rig.stop(&mut random);
        rig.passed.clear();

        let began = rig.start(&mut random, Config::all(6));
        assert!(began.tracing && !began.bus_error && began.head == 0);
        rig.load = [10, 10];
        rig.run(&mut random, 3000);
        rig.settle(&mut random);
        let records = rig.take();
        let ended = rig.stop(&mut random);
        assert_eq!((compare(&records, &mut rig, 128), ended.lost), (0, 0));
    }
}

#[test]
fn a_trace_ends_in_the_middle_of_frames_and_the_next_one_begins_with_whole_ones() {
    let mut random = Random::new(64);
    let mut rig = Rig::new(60, 25);
    rig.make = |random| {
        let len = random.size(400, 3000);
        random.fill(len)
    };
    rig.load = [80, 80];
    for round in 0..30 {
        let config = Config {
            snap: 64,
            base: BASE + 0x4_0000,
            ..Config::all(4)
        };
        rig.start(&mut random, config);
        let clocks = random.range(1, 4000);
        rig.run(&mut random, clocks);
        // Enabled again before it has ended, sometimes: then it ends first, and starts anew.
        rig.config.enable = false;
        if random.chance(50) {
            rig.run(&mut random, 1);
            rig.config.enable = true;
            rig.run(&mut random, 20_000);
            assert!(rig.status().tracing, "round {round}");
        }
        let ended = rig.stop(&mut random);
        assert!(!ended.bus_error && ended.lost == 0, "round {round}");
        let records = rig.take();
        compare(&records, &mut rig, 64);
    }
}

#[test]
fn off_it_neither_writes_nor_reads() {
    let mut random = Random::new(65);
    let mut rig = Rig::new(100, 5);
    rig.load = [50, 50];
    // A request of it would fail the host's checks, since there is no memory.
    rig.host.bytes.clear();
    rig.host.limit = 0;
    rig.run(&mut random, 20_000);
    let status = rig.status();
    assert_eq!((status.active, status.head, status.lost), (false, 0, 0));
    assert!(!status.bus_error);
}
