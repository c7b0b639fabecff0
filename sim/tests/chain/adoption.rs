//! A host driver that is killed at any point, and the next one that takes over: hosts notice nothing.

#[path = "adoption/mortal.rs"]
mod mortal;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_device::Device;
use sluice_driver::bringup::{Adopted, BringupError, Notice, Rig};
use sluice_driver::card::{Card, CardError, CardOptions};
use sluice_driver::config::{Config, raw};
use sluice_driver::nvme::SsdOptions;
use sluice_sim::initiator::{Command, Transport, Workload};
use sluice_sim::ssd::{Fault, MSIX_TABLE, NamespaceSpec, Seen, Ssd, SsdConfig};
use sluice_sim::world::{card_device, ssd_device};

use crate::common::{Bench, MS, NQN, On, mix, named, to_demo};
use mortal::{Budget, Mortal};

crate::over_both_transports! {
    a_driver_killed_at_any_point_is_replaced_and_hosts_notice_nothing,
    a_driver_that_leaves_is_replaced_and_nothing_was_different,
}

type Boxed = Box<dyn Device>;

/// Takes over with devices that live for so many accesses.
fn adopt(
    bench: &Bench,
    config: &Config,
    life: &Budget,
) -> Result<(Rig<Boxed>, Adopted), BringupError> {
    let world = &bench.server.world;
    let mortal = |device| Box::new(Mortal::new(device, life)) as Boxed;
    let card = Card::adopt(mortal(card_device(world)), CardOptions::default())?;
    Rig::adopt(card, config.clone(), SsdOptions::default(), |spec| {
        let place = match spec.name.as_str() {
            "ssd0" => 0,
            "ssd1" => 1,
            "hot" => 2,
            other => return Err(format!("nothing is called {other}")),
        };
        Ok(mortal(ssd_device(world, place, MSIX_TABLE, 33)))
    })
}

/// For good.
fn immortal() -> Budget {
    Rc::new(Cell::new(u64::MAX))
}

/// The driver that there is dies or leaves, without a word to anyone.
fn replace(bench: &mut Bench, next: Rig<Boxed>) {
    std::mem::replace(&mut bench.server.rig, next).leave();
}

/// Part of SSD 0 for the first namespace, the rest for what comes and goes.
fn config() -> String {
    let default = sluice_sim::scenario::server::DEFAULT_CONFIG;
    default.replace("ssd = \"ssd0\"", "ssd = \"ssd0\"\nblocks = 100000")
}

fn bench(name: &str, seed: u64) -> Bench {
    let on = On {
        seed,
        ..On::functional()
    };
    let mut bench = Bench::with(name, &on.setup(&config()), &Default::default());
    bench.drop_capture("long, and nothing of it is new");
    let hot = SsdConfig {
        name: "hot".into(),
        namespaces: vec![NamespaceSpec::memory(32 << 20, 12)],
        seed,
        ..SsdConfig::default()
    };
    let hot = Rc::new(RefCell::new(Ssd::new(hot).expect("in memory")));
    bench
        .server
        .world
        .borrow_mut()
        .add_ssd(Box::new(hot.clone()));
    bench.server.ssds.push(hot);
    bench
}

/// One thing that an operator does, chosen at random; many make no sense and are refused.
fn change(bench: &mut Bench, rng: &mut ChaCha8Rng, life: &Budget) {
    let mut pick = |n: u32| rng.next_u32() % n;
    let nqn = format!("nqn.2026-11.io.github.sluice:new{}", pick(2));
    let nqn = if pick(5) == 0 { NQN.to_owned() } else { nqn };
    let host = format!("nqn.2026-01.org.example:host{}", pick(3));
    let slot = i64::from(pick(4));
    let over = pick(3);
    let (what, world) = (pick(15), bench.server.world.clone());
    let rig = &mut bench.server.rig;
    let space = |ssd: &str, first: i64| raw::Namespace {
        nsid: 9 + slot,
        ssd: ssd.into(),
        first_block: Some(first),
        blocks: Some(1000),
        ..raw::Namespace::default()
    };
    // What is refused is none of this test's business: other tests look at that.
    let _done = match what {
        0 | 1 if nqn != NQN => rig
            .add_subsystem(raw::Subsystem {
                hosts: Some(vec![host]),
                namespaces: vec![space("ssd0", 100_000 + 1000 * slot)],
                nqn,
                ..raw::Subsystem::default()
            })
            .is_ok(),
        2 if nqn != NQN => rig.remove_subsystem(&nqn).is_ok(),
        3 | 4 => rig.add_host(&nqn, &host).is_ok(),
        5 => rig.remove_host(&nqn, &host).is_ok(),
        6 => rig
            .add_namespace(&nqn, space("ssd0", 100_000 + 1000 * slot))
            .is_ok(),
        7 => rig.add_namespace(&nqn, space("hot", 1000 * slot)).is_ok(),
        8 => rig.remove_namespace(&nqn, 9 + slot as u32).is_ok(),
        9 if nqn != NQN => rig.add_listener(&nqn, "eth0", over).is_ok(),
        10 if nqn != NQN => rig.remove_listener(&nqn, "eth0", over).is_ok(),
        11 if nqn != NQN => rig.allow_any_host(&nqn, slot > 1).is_ok(),
        12 => {
            let device = Mortal::new(ssd_device(&world, 2, MSIX_TABLE, 33), life);
            let spec = raw::Ssd {
                name: Some("hot".into()),
                ..raw::Ssd::default()
            };
            rig.add_ssd(spec, Box::new(device)).is_ok()
        }
        13 => match rig.remove_ssd("hot") {
            Ok(device) => {
                std::mem::forget(device);
                true
            }
            Err(_) => false,
        },
        14 => (0..2).all(|ssd| rig.ssd(ssd).is_some_and(|ssd| ssd.health().is_ok())),
        _ => rig.card().counters(1).is_ok() && rig.poll(Duration::ZERO).is_ok(),
    };
}

/// Ten cards, each with a driver that is killed ten times.
fn a_driver_killed_at_any_point_is_replaced_and_hosts_notice_nothing(over: Transport) {
    let (mut corrected, mut deaths, mut changes) = (0, 0, 0);
    for seed in 0..10u64 {
        let mut bench = bench(&named("driver-killed", over), seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let host = bench.host(1);
        let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
        let load = mix(&controller, &namespaces[0], 4096, 4, 3000);
        bench.at(host).attach(Workload::new(load));
        let mut saved = bench.server.rig.config().clone();
        for crash in 0..10 {
            let scale = 1u64 << (4 + rng.next_u32() % 10);
            let short = scale + rng.next_u64() % scale;
            // One in four is killed while it takes over.
            let early = rng.next_u32().is_multiple_of(4);
            let life: Budget = Rc::new(Cell::new(if early { short } else { u64::MAX }));
            match adopt(&bench, &saved, &life) {
                Ok((rig, adopted)) => {
                    corrected += adopted.corrected.len();
                    let untouched = |n: &Notice| matches!(n, Notice::SsdReset { ssd: 2 });
                    assert!(
                        adopted.notices.iter().all(untouched),
                        "seed {seed}, crash {crash}: {adopted:?}"
                    );
                    replace(&mut bench, rig);
                    life.set(life.get().min(short));
                }
                Err(error) => assert_eq!(life.get(), 0, "seed {seed}, crash {crash}: {error}"),
            }
            for _ in 0..100 {
                if life.get() == 0 {
                    break;
                }
                change(&mut bench, &mut rng, &life);
                if life.get() != 0 {
                    changes += u32::from(bench.server.rig.config().to_json() != saved.to_json());
                    saved = bench.server.rig.config().clone();
                    bench.run(MS / 50);
                }
            }
            life.set(0);
            deaths += 1;
            // Nobody is there for a while. The kernel resets what the next driver does not take up.
            bench.run(u64::from(rng.next_u32()) % (MS / 2));
            if !saved.ssds.iter().any(|s| s.name == "hot") {
                bench.server.ssds[2].borrow_mut().power_cycle(false);
            }
            let (rig, adopted) = adopt(&bench, &saved, &immortal())
                .unwrap_or_else(|e| panic!("seed {seed}, crash {crash}: {e}"));
            corrected += adopted.corrected.len();
            replace(&mut bench, rig);
            let (rig, adopted) = adopt(&bench, &saved, &immortal()).expect("as a moment before");
            assert_eq!(
                adopted,
                Adopted::default(),
                "seed {seed}, crash {crash}: all was right"
            );
            assert_eq!(rig.config().to_json(), saved.to_json());
            replace(&mut bench, rig);
        }
        let stats = bench.finish_loads(&[host]).remove(0);
        assert_eq!(stats.errors, [""; 0], "seed {seed}");
        assert!(stats.verified_bytes > 0, "seed {seed}");
        bench
            .on(host, |b| b.disconnect(&controller))
            .expect("disconnect");
        bench.until_all_given_back(40_000 * MS);
    }
    println!("{deaths} deaths, {changes} changes, {corrected} things put right");
    assert!(changes > 100, "{changes} changes made sense");
    assert!(
        corrected > 10,
        "{corrected} times killed in the middle of a change"
    );
}

fn a_driver_that_leaves_is_replaced_and_nothing_was_different(over: Transport) {
    let mut bench = bench(&named("driver-leaves", over), 1);
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
    let config = bench.server.rig.config().clone();
    // More often than the queues have entries.
    for _ in 0..40 {
        let (rig, adopted) = adopt(&bench, &config, &immortal()).expect("it runs");
        assert_eq!(adopted, Adopted::default());
        replace(&mut bench, rig);
        let rig = &mut bench.server.rig;
        assert!(
            rig.ssd(0)
                .expect("serves")
                .health()
                .expect("answers")
                .spare_percent
                > 0
        );
        assert_eq!(rig.check().expect("all is well"), []);
        bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 20));
    }
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    let rig = &mut bench.server.rig;
    let told = (0..10).find_map(|_| rig.poll(Duration::from_millis(20)).expect("answers"));
    assert!(
        matches!(told, Some(Notice::Card(_))),
        "events still come: {told:?}"
    );
}

#[test]
fn an_ssd_that_fell_silent_while_no_driver_was_there_is_reset_by_the_next() {
    let default = sluice_sim::scenario::server::DEFAULT_CONFIG;
    let text = default.replace("name = \"ssd0\"", "name = \"ssd0\"\ntimeout_ms = 20");
    let mut bench = Bench::with(
        "silent-meanwhile",
        &On::functional().setup(&text),
        &Default::default(),
    );
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1));
    let config = bench.server.rig.config().clone();
    bench.server.ssds[0]
        .borrow_mut()
        .inject(Some(Box::new(|seen: &Seen<'_>| {
            (seen.queue != 0).then_some(Fault::Hang)
        })));
    let read = bench
        .at(host)
        .submit(controller.io[0], Command::read(1, 0, 8, 512));
    bench.run(40 * MS);
    bench.server.ssds[0].borrow_mut().inject(None);
    assert!(
        bench.at(host).take_completion_of(read).is_none(),
        "nobody has reset it"
    );
    let (rig, adopted) = adopt(&bench, &config, &immortal()).expect("it runs");
    assert_eq!(adopted.notices, [Notice::SsdReset { ssd: 0 }]);
    replace(&mut bench, rig);
    bench.run(MS);
    assert!(
        bench.at(host).take_completion_of(read).is_some(),
        "it has failed, or was tried again"
    );
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 50));
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
}

#[test]
fn a_card_that_was_halted_or_booted_by_others_is_not_taken_over() {
    let mut bench = Bench::new("not-to-be-taken", &On::functional());
    bench.drop_capture("there is no host");
    let config = bench.server.rig.config().clone();
    let bar = card_device(&bench.server.world);
    let bar = bar.bar(0).expect("BAR0");
    for (offset, value, want) in [
        (
            sluice_regs::bar0_regs::PM_BUS_HI_OFFSET,
            7,
            "packet memory at the same bus address",
        ),
        (
            sluice_regs::bar0_regs::QUEUE_ENABLE_OFFSET,
            0,
            "a host queue that is enabled",
        ),
        (sluice_regs::bar0_regs::CTRL_OFFSET, 0, "cores that run"),
    ] {
        let before = bar.read32(offset.into()).expect("a register");
        bar.write32(offset.into(), value).expect("a register");
        let error = adopt(&bench, &config, &immortal())
            .err()
            .expect("not to be taken over");
        let text = error.to_string();
        assert!(
            matches!(error, BringupError::Card(CardError::NotRunning { .. })),
            "{text}"
        );
        assert!(
            text.contains(want) && text.contains("must be booted"),
            "{text}"
        );
        if offset != sluice_regs::bar0_regs::CTRL_OFFSET {
            bar.write32(offset.into(), before).expect("a register");
        }
    }
}
