//! What the card counts for namespaces and connections is what hosts did, to the command.

use sluice_device::Device;
use sluice_driver::bringup::{Adopted, Rig};
use sluice_driver::card::stats::{ConnectionCounts, Histograms, NamespaceCounts};
use sluice_driver::card::{Card, CardOptions};
use sluice_driver::config::raw;
use sluice_driver::nvme::SsdOptions;
use sluice_sim::initiator::{Command, ConnectConfig, QueueId, Stats, Transport, Workload};
use sluice_sim::ssd::MSIX_TABLE;
use sluice_sim::world::{CARD_BAR2, card_device, ssd_device};
use sluice_wire::mgmt::{connect_failures, transports};
use sluice_wire::stats::{
    CLOCKS_PER_SECOND, LATENCY_SHIFT, NamespaceStats, READ, WRITE, bucket_end, namespace_at,
};

use crate::common::{Bench, MS, NQN, On, mix, named, target, to_demo};

crate::on_both_cards! { every_command_is_counted_once }

crate::over_both_transports! {
    with_several_cores_and_hosts_nothing_is_counted_twice_or_by_another,
    a_namespace_removed_and_added_under_load_is_counted_anew,
    the_next_driver_finds_the_counts_as_they_were,
}

/// All that cores counted for a namespace now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counted {
    commands: [u64; 2],
    units: [u64; 2],
    latency: [u64; 2],
    errors: u64,
    others: u64,
    unmaps: u64,
}

/// Has the cores store what they counted.
fn settle<D: Device>(card: &mut Card<D>) {
    for core in 1..u32::from(card.info().cores) {
        card.counters(core).expect("an answer");
    }
}

fn places(bench: &mut Bench) -> Vec<(u32, NamespaceCounts, Histograms)> {
    let card = bench.server.rig.card();
    settle(card);
    let mut all = Vec::new();
    for core in 1..u32::from(card.info().cores) {
        for counts in card.namespace_counts(core).expect("packet memory") {
            let histograms = card.histograms(core, &counts).expect("packet memory");
            all.push((core, counts, histograms.expect("nobody else got the place")));
        }
    }
    all
}

fn counted(bench: &mut Bench, nsid: u32) -> Counted {
    let mut sum = Counted {
        commands: [0; 2],
        units: [0; 2],
        latency: [0; 2],
        errors: 0,
        others: 0,
        unmaps: 0,
    };
    for (_, counts, histograms) in places(bench) {
        if counts.nsid != nsid || counts.owner.gone {
            continue;
        }
        for direction in [READ, WRITE] {
            let commands = histograms[direction].iter().map(|n| u64::from(*n));
            sum.commands[direction] += commands.sum::<u64>();
            sum.units[direction] += u64::from(counts.units[direction]);
            sum.latency[direction] += u64::from(counts.latency[direction]);
        }
        sum.errors += u64::from(counts.errors);
        sum.others += u64::from(counts.others);
        sum.unmaps += u64::from(counts.unmaps);
    }
    sum
}

fn connections(bench: &mut Bench) -> Vec<ConnectionCounts> {
    let card = bench.server.rig.card();
    settle(card);
    let cores = 1..u32::from(card.info().cores);
    cores
        .flat_map(|core| card.connection_counts(core).expect("packet memory"))
        .collect()
}

/// A command that is to fail.
fn fails(bench: &mut Bench, host: usize, queue: QueueId, command: Command) {
    let done = bench.on(host, |b| b.exec("a bad command", queue, command));
    let status = done.expect("an answer").status().expect("a status");
    assert!(!status.is_ok(), "it succeeded");
}

/// What of these loads is to be found in the counters of their namespace.
fn expected(loads: &[&Stats]) -> ([u64; 2], u64) {
    let sum = |of: fn(&Stats) -> u64| loads.iter().map(|s| of(s)).sum::<u64>();
    ([sum(|s| s.reads), sum(|s| s.writes)], sum(|s| s.bytes))
}

/// What the latencies add up to lies within the bounds of their buckets, and none is longer than `most` clocks.
fn assert_latencies(bench: &mut Bench, most: u64) {
    for (core, counts, histograms) in places(bench) {
        for direction in [READ, WRITE] {
            let (mut least_sum, mut most_sum, mut commands) = (0, 0, 0);
            for (index, count) in histograms[direction].iter().enumerate() {
                let begin = index.checked_sub(1).map_or(0, bucket_end);
                let count = u64::from(*count);
                assert!(count == 0 || begin < most, "{count} beyond {begin} clocks");
                least_sum += begin * count;
                most_sum += bucket_end(index) * count;
                commands += count;
            }
            let rounding = commands << (LATENCY_SHIFT - 1);
            let sum = u64::from(counts.latency[direction]) << LATENCY_SHIFT;
            assert!(
                (least_sum..=most_sum + rounding).contains(&(sum + rounding)),
                "core {core}, place {}: {sum} clocks in all, {least_sum} to {most_sum} by the histogram",
                counts.place
            );
        }
    }
}

fn every_command_is_counted_once(on: &On) {
    let mut bench = Bench::new("counted", on);
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1));
    let ns = &namespaces[0];
    let queue = controller.io[0];
    let load = bench.verified(host, mix(&controller, ns, 4096, 4, on.ios(300)));
    for _ in 0..3 {
        bench
            .on(host, |b| b.must("Flush", queue, Command::flush(1)))
            .expect("an answer");
    }
    let unmap = Command::deallocate(1, &[(0, 8)]);
    bench
        .on(host, |b| b.must("Deallocate", queue, unmap))
        .expect("an answer");
    // Beyond the end; and of a namespace that there is not, which is nobody's error but the connection's.
    for _ in 0..2 {
        fails(&mut bench, host, queue, Command::read(1, ns.blocks, 8, 512));
    }
    fails(&mut bench, host, queue, Command::read(60, 0, 8, 512));
    let (commands, bytes) = expected(&[&load]);
    let got = counted(&mut bench, 1);
    assert_eq!(got.commands, commands);
    assert_eq!((got.units[READ] + got.units[WRITE]) * 512, bytes);
    assert_eq!((got.others, got.unmaps, got.errors), (3, 1, 2));
    assert_latencies(&mut bench, CLOCKS_PER_SECOND.into());
    let all = connections(&mut bench);
    let io = all
        .iter()
        .find(|c| c.queue.is_some_and(|(_, qid)| qid == 1))
        .expect("an I/O queue");
    assert_eq!(io.commands.map(u64::from), commands);
    assert_eq!(
        (u64::from(io.units[READ]) + u64::from(io.units[WRITE])) * 512,
        bytes
    );
    // The Connect is the first of the others.
    assert_eq!((io.others, io.errors), (1 + 3 + 1, 3));
    let admin = all
        .iter()
        .find(|c| c.queue.is_some_and(|(_, qid)| qid == 0))
        .expect("an admin queue");
    assert!(admin.others > 5 && admin.commands == [0, 0], "{admin:?}");
    let (cntlid, _) = io.queue.expect("checked");
    let held = bench
        .server
        .rig
        .card()
        .controller_held(cntlid)
        .expect("an answer")
        .expect("it lives");
    let nqn = to_demo(1).hostnqn;
    assert_eq!(
        &held.host_nqn[..nqn.len() + 1],
        [nqn.as_bytes(), &[0]].concat()
    );
    assert_eq!(u32::from(held.transport), transports::TCP);
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.run(on.pause(20 * MS));
    let after = connections(&mut bench);
    let gone = after
        .iter()
        .find(|c| c.key == io.key)
        .expect("the place is nobody else's yet");
    assert!(!gone.state.open, "{gone:?}");
    assert_eq!(
        (gone.commands, gone.units),
        (io.commands, io.units),
        "what it did stays"
    );
    assert!(
        bench
            .server
            .rig
            .card()
            .controller_held(cntlid)
            .expect("an answer")
            .is_none()
    );
    bench.check_capture();
}

fn with_several_cores_and_hosts_nothing_is_counted_twice_or_by_another(over: Transport) {
    let on = On::functional().cores(3);
    let mut bench = Bench::new(&named("counted-apart", over), &on);
    let mut hosts = Vec::new();
    for n in 1..=3 {
        let host = bench.host(n);
        let config = ConnectConfig {
            io_queues: 2,
            ..to_demo(n).over(over)
        };
        hosts.push((host, bench.connect_with(host, &config)));
    }
    // Data in the capsule, data that the host is asked for, and more of those than there is room for at a time.
    let loads = hosts.iter().zip([4096, 65_536, 131_072]).map(
        |((host, (controller, namespaces)), bytes)| {
            let of = &namespaces[host % 2];
            let mut load = mix(controller, of, bytes, 16, 300);
            // Hosts of the same namespace keep apart.
            load.first_block = if *host == 2 { 40_000 } else { 0 };
            (*host, load)
        },
    );
    let loads = loads.collect();
    let stats = bench.load(loads);
    for s in &stats {
        assert_eq!(s.errors, [""; 0]);
    }
    let [a, b, c] = &stats[..] else {
        panic!("three loads")
    };
    for (nsid, loads) in [(1, vec![a, c]), (2, vec![b])] {
        let (commands, bytes) = expected(&loads);
        let got = counted(&mut bench, nsid);
        assert_eq!(got.commands, commands, "namespace {nsid}");
        assert_eq!((got.units[READ] + got.units[WRITE]) * 512, bytes);
        assert_eq!((got.errors, got.others, got.unmaps), (0, 0, 0));
    }
    assert_latencies(&mut bench, 10 * u64::from(CLOCKS_PER_SECOND));
    let all = connections(&mut bench);
    for ((_, (controller, _)), stats) in hosts.iter().zip(&stats) {
        let mine = || {
            all.iter().filter(|c| {
                c.queue
                    .is_some_and(|(id, qid)| id == controller.cntlid && qid > 0)
            })
        };
        assert_eq!(mine().count(), 2);
        let sum = |direction: usize| {
            mine()
                .map(|c| u64::from(c.commands[direction]))
                .sum::<u64>()
        };
        assert_eq!([sum(READ), sum(WRITE)], [stats.reads, stats.writes]);
        assert!(mine().all(|c| c.state.rdma == (over == Transport::Rdma) && c.state.open));
    }
    bench.drop_capture("long, and nothing of it is new");
}

/// Part of SSD 0 for the first namespace, the rest for what comes and goes.
fn config() -> String {
    let default = sluice_sim::scenario::server::DEFAULT_CONFIG;
    default.replace("ssd = \"ssd0\"", "ssd = \"ssd0\"\nblocks = 100000")
}

fn a_namespace_removed_and_added_under_load_is_counted_anew(over: Transport) {
    let setup = On::functional().setup(&config());
    let mut bench = Bench::with(&named("counted-anew", over), &setup, &Default::default());
    let (host, other) = (bench.host(1), bench.host(2));
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
    let add = |bench: &mut Bench| {
        let spec = raw::Namespace {
            nsid: 9,
            ssd: "ssd0".into(),
            first_block: Some(100_000),
            blocks: Some(10_000),
            ..raw::Namespace::default()
        };
        bench
            .beside(|s| s.rig.add_namespace(NQN, spec))
            .expect("room");
    };
    let (user, _) = bench.connect_with(other, &to_demo(2).over(over));
    let queue = user.io[0];
    // The first namespace's load runs through all of it.
    let load = mix(&controller, &namespaces[0], 4096, 8, 4000);
    bench.at(host).attach(Workload::new(load));
    let mut times = Vec::new();
    for round in 1..=6_u64 {
        add(&mut bench);
        bench.run(MS / 4);
        for block in 0..round {
            bench
                .on(other, |b| {
                    b.must("Read", queue, Command::read(9, block, 1, 512))
                })
                .expect("an answer");
        }
        let got = bench.beside(|s| {
            let card = s.rig.card();
            settle(card);
            let mut all = card.namespace_counts(1).expect("packet memory");
            all.retain(|n| n.nsid == 9 && !n.owner.gone);
            let [counts] = all[..] else { panic!("{all:?}") };
            (
                counts,
                card.histograms(1, &counts)
                    .expect("packet memory")
                    .expect("it stays"),
            )
        });
        let (counts, histograms) = got;
        assert_eq!(
            histograms[READ].iter().sum::<u32>(),
            round as u32,
            "from zero, each time"
        );
        assert_eq!(counts.units, [round as u32, 0]);
        times.push((counts.place, counts.owner.times));
        // Some of it is under way while the namespace goes.
        let late: Vec<_> = (0..8)
            .map(|b| bench.at(other).submit(queue, Command::read(9, b, 8, 512)))
            .collect();
        bench.run(1000);
        bench
            .beside(|s| s.rig.remove_namespace(NQN, 9))
            .expect("it is there");
        bench.until("the last answers", 100 * MS, |b| {
            b.at(other).outstanding(queue) == 0
        });
        let done = late
            .iter()
            .filter(|id| bench.at(other).take_completion_of(**id).is_some());
        assert_eq!(done.count(), 8, "answered, well or not");
        let gone = bench
            .beside(|s| s.rig.card().namespace_counts(1))
            .expect("packet memory");
        let gone = gone.iter().find(|n| n.nsid == 9).expect("its figures stay");
        assert!(gone.owner.gone, "{gone:?}");
    }
    for pair in times.windows(2) {
        assert!(pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1, "{times:?}");
    }
    let stats = bench.finish_loads(&[host]).remove(0);
    assert_eq!(stats.errors, [""; 0]);
    let (commands, bytes) = expected(&[&stats]);
    let got = counted(&mut bench, 1);
    assert_eq!(
        (got.commands, (got.units[READ] + got.units[WRITE]) * 512),
        (commands, bytes)
    );
    assert_eq!(
        (got.errors, got.others),
        (0, 0),
        "nothing of the other one is here"
    );
    bench.drop_capture("long, and nothing of it is new");
}

fn the_next_driver_finds_the_counts_as_they_were(over: Transport) {
    let mut bench = Bench::new(&named("counts-kept", over), &On::functional());
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
    let load =
        |bench: &mut Bench| bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 100));
    let first = load(&mut bench);
    let before = (counted(&mut bench, 1), connections(&mut bench));
    let world = bench.server.world.clone();
    let card = Card::adopt(card_device(&world), CardOptions::default()).expect("it runs");
    let config = bench.server.rig.config().clone();
    let (rig, adopted) = Rig::adopt(card, config, SsdOptions::default(), |spec| {
        Ok(ssd_device(
            &world,
            usize::from(spec.name == "ssd1"),
            MSIX_TABLE,
            33,
        ))
    })
    .expect("it runs");
    assert_eq!(adopted, Adopted::default());
    std::mem::replace(&mut bench.server.rig, rig).leave();
    assert_eq!((counted(&mut bench, 1), connections(&mut bench)), before);
    let second = load(&mut bench);
    let (commands, bytes) = expected(&[&first, &second]);
    let got = counted(&mut bench, 1);
    assert_eq!(
        (got.commands, (got.units[READ] + got.units[WRITE]) * 512),
        (commands, bytes)
    );
    bench.check_capture();
}

#[test]
fn counters_wrap_and_go_on() {
    let mut bench = Bench::new("counts-wrap", &On::functional());
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1));
    let at = namespace_at(1, places(&mut bench)[0].1.place);
    let field = core::mem::offset_of!(NamespaceStats, errors) as u64;
    let buckets = core::mem::offset_of!(NamespaceStats, histograms) as u64;
    let write = |offset: u64, words: &[u32]| {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut world = bench.server.world.borrow_mut();
        world.host_write(CARD_BAR2 + u64::from(at) + offset, &bytes);
    };
    // As after a long life: all that lies in packet memory alone is one short of the wrap.
    write(field, &[u32::MAX]);
    write(buckets, &[u32::MAX; 32]);
    write(buckets + 128, &[u32::MAX; 32]);
    bench.run(MS);
    let queue = controller.io[0];
    fails(
        &mut bench,
        host,
        queue,
        Command::read(1, namespaces[0].blocks, 8, 512),
    );
    for block in 0..20 {
        bench
            .on(host, |b| {
                b.must("Read", queue, Command::read(1, block, 1, 512))
            })
            .expect("an answer");
    }
    let (_, counts, histograms) = places(&mut bench)[0];
    assert_eq!(counts.errors, 0);
    let more = histograms[READ][..64]
        .iter()
        .map(|n| n.wrapping_sub(u32::MAX));
    assert_eq!(more.sum::<u32>(), 20, "{histograms:?}");
    bench.check_capture();
}

#[test]
fn failed_connects_are_counted_by_their_cause() {
    let setup = On::functional().setup(
        &sluice_sim::scenario::server::DEFAULT_CONFIG
            .replace("allow_any_host = true", "hosts = []"),
    );
    let mut bench = Bench::with("connects-failed", &setup, &Default::default());
    let host = bench.host(1);
    let mut refused = |config: &ConnectConfig| {
        let outcome = bench.on(host, |b| b.connect(config));
        assert!(outcome.is_err(), "{config:?}");
    };
    refused(&to_demo(1));
    refused(&to_demo(1));
    refused(&ConnectConfig::new(
        target(),
        "nqn.2026-11.io.github.sluice:nothing",
        1,
    ));
    refused(&ConnectConfig {
        hostid: [0; 16],
        ..to_demo(1)
    });
    let idle = bench.at(host).open_raw(target());
    bench.run(32_000 * MS);
    let failed = bench.control_counters().connects_failed.map(|n| n.get());
    let of = |cause: usize| failed[cause];
    assert_eq!(of(connect_failures::HOST), 2);
    assert_eq!(of(connect_failures::SUBSYSTEM), 1);
    assert_eq!(of(connect_failures::PARAMETERS), 1);
    assert_eq!(of(connect_failures::TIMEOUT), 1, "{idle:?} said nothing");
    assert_eq!(failed.iter().sum::<u32>(), 5);
    bench.drop_capture("a connection in it is cut");
}
