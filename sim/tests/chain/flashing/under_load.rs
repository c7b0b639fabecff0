//! New firmware while two hosts write and read: download, verification and activation, the new start, the hosts' way back, and
//! what they were told was written. The same for both cards; what is flashed and how fast everything is comes from outside.

use sluice_boot::layout::Slot;
use sluice_driver::card::flash::Progress;
use sluice_sim::fabric::Clock;
use sluice_sim::initiator::{Controller, Namespace, Transport, Workload, WorkloadConfig};
use sluice_sim::link::LinkConfig;
use sluice_sim::scenario::server::Setup;

use crate::common::{Bench, MS, mix, named, to_demo};

/// A card that starts from its flash, and the next package for it.
pub struct UnderLoad {
    pub setup: Setup,
    pub new: Vec<u8>,
    /// Commands that each host gets done while it is flashed, at least.
    pub least: u64,
}

/// A host's load, ended by the loss of its connection.
struct Load {
    /// First block and generation of everything that was acknowledged and has not been overwritten since.
    known: Vec<(u64, u64)>,
    config: WorkloadConfig,
    writes: u64,
    /// Clock of the last completion.
    lost_at: Clock,
}

/// A host that is let in again.
struct Back {
    controller: Controller,
    ns: Namespace,
}

/// The whole update, confirmation included.
pub fn update(what: &UnderLoad, over: Transport) {
    let name = named("update-under-load", over);
    let mut bench = Bench::with(&name, &what.setup, &LinkConfig::default());
    println!("{over}: {} serving after the start", ms(bench.lab.now()));
    let hosts = [bench.host(1), bench.host(2)];
    begin_loads(&mut bench, hosts, over);
    flash_beside(&mut bench, hosts, what, over);
    let before = bench.lab.now();
    // The controlled reset: connections end, and the loads with them.
    bench = bench.restart_from_flash();
    let took = bench.lab.now() - before;
    println!(
        "{over}: {} from the reset until everything is set up again",
        ms(took)
    );
    let loads = hosts.map(|host| end_load(&mut bench, host));
    let mut back = Vec::new();
    for (host, load) in hosts.into_iter().zip(&loads) {
        back.push(come_back(&mut bench, host, load, over));
    }
    for ((host, load), back) in hosts.into_iter().zip(&loads).zip(back) {
        verify_all(&mut bench, host, load, &back, over);
    }
    let card = bench.server.rig.card();
    let state = card.flash_state().expect("the card answers");
    assert_eq!(
        (state.running(), state.is_on_trial()),
        (Some(Slot::B), true)
    );
    assert!(card.health().expect("every core answers").is_good());
    card.confirm().expect("it is well");
    let state = card.flash_state().expect("the card answers");
    assert_eq!((state.active(), state.trial()), (Some(Slot::B), None));
    bench.drop_capture("it has the connections that the new start cut off");
}

/// A new start alone, with commands at the SSDs: they end there before the queues that they are in are deleted.
pub fn restart(setup: &Setup, over: Transport) {
    let name = named("restart-under-load", over);
    let mut bench = Bench::with(&name, setup, &LinkConfig::default());
    let hosts = [bench.host(1), bench.host(2)];
    begin_loads(&mut bench, hosts, over);
    let errors = ssd_errors(&bench);
    bench = bench.restart_from_flash();
    assert_eq!(ssd_errors(&bench), errors, "commands cut off at the SSDs");
    for host in hosts {
        end_load(&mut bench, host);
    }
    bench.drop_capture("it has the connections that the new start cut off");
}

fn ssd_errors(bench: &Bench) -> u64 {
    let ssds = bench.server.ssds.iter();
    ssds.map(|ssd| ssd.borrow().stats().errors).sum()
}

/// Card time for people.
pub fn ms(clocks: Clock) -> String {
    format!("{:.2} ms of card time", clocks as f64 / MS as f64)
}

/// The number of a host in its addresses and names.
fn number(host: usize) -> u8 {
    host as u8 + 1
}

/// A verified load on each host that ends only with its connection.
fn begin_loads(bench: &mut Bench, hosts: [usize; 2], over: Transport) {
    for host in hosts {
        let (controller, namespaces) = bench.connect_with(host, &to_demo(number(host)).over(over));
        let load = WorkloadConfig {
            read_percent: 30,
            seed: number(host).into(),
            ends_when_lost: true,
            ..mix(&controller, &namespaces[host], 4096, 2, u64::MAX)
        };
        bench.at(host).attach(Workload::new(load));
    }
    bench.until("the loads are under way", 1000 * MS, |b| {
        hosts.iter().all(|host| done(b, *host) >= 20)
    });
}

fn done(bench: &mut Bench, host: usize) -> u64 {
    bench.at(host).workload().expect("a load").stats().ios()
}

/// Downloads, verifies and activates while the hosts go on.
fn flash_beside(bench: &mut Bench, hosts: [usize; 2], what: &UnderLoad, over: Transport) {
    let (from, start) = (hosts.map(|host| done(bench, host)), bench.lab.now());
    let mut pieces = 0;
    bench.beside(|server| {
        let card = server.rig.card();
        card.flash(&what.new, &mut |progress| {
            pieces += u32::from(matches!(progress, Progress::Written { .. }));
        })
        .expect("a good package");
        card.activate().expect("it was verified");
    });
    println!(
        "{over}: {} for {} bytes in {pieces} pieces, verified and activated",
        ms(bench.lab.now() - start),
        what.new.len()
    );
    for (host, from) in hosts.into_iter().zip(from) {
        let ios = done(bench, host) - from;
        println!(
            "{over}: host {}: {ios} commands in the meantime",
            number(host)
        );
        assert!(
            ios >= what.least,
            "the load went on: {ios} of {}",
            what.least
        );
        let stats = bench.at(host).workload().expect("a load").stats();
        assert_eq!(stats.errors, [""; 0], "host {}", number(host));
        assert!(stats.verified_bytes > 0, "host {}", number(host));
    }
}

/// The end of a load whose connection the new start has cut off.
fn end_load(bench: &mut Bench, host: usize) -> Load {
    bench.at(host).end_workload();
    bench.until("what was under way has failed", 60_000 * MS, |b| {
        b.at(host).workload().is_some_and(Workload::is_done)
    });
    let load = bench.at(host).detach().expect("a load");
    let known: Vec<_> = load.contents().collect();
    assert!(!known.is_empty(), "host {} wrote nothing", number(host));
    Load {
        known,
        config: load.config().clone(),
        writes: load.stats().writes,
        lost_at: load.stats().finished,
    }
}

/// As a host does it by itself: it connects again and again until it is let in, and reads.
fn come_back(bench: &mut Bench, host: usize, load: &Load, over: Transport) -> Back {
    let n = number(host);
    let mut tries = 1;
    let controller = loop {
        match bench.on(host, |b| b.connect(&to_demo(n).over(over))) {
            Ok(controller) => break controller,
            Err(error) => {
                assert!(tries < 100, "host {n} is not let in: {error}");
                tries += 1;
                bench.run(10 * MS);
            }
        }
    };
    let ns = bench
        .on(host, |b| b.namespace(controller.admin, load.config.nsid))
        .expect("its namespace");
    let back = Back { controller, ns };
    verify(bench, host, load, &back, load.known[0]);
    println!(
        "{over}: host {n}: {} from the loss of its connection to its next data ({tries} tries to connect)",
        ms(bench.lab.now() - load.lost_at)
    );
    back
}

/// What one acknowledged write has left.
fn verify(bench: &mut Bench, host: usize, load: &Load, back: &Back, written: (u64, u64)) {
    let ((lba, generation), blocks) = (written, load.config.io_blocks);
    let queue = back.controller.io[0];
    bench
        .on(host, |b| {
            b.verify_pattern(queue, &back.ns, lba, blocks, generation)
        })
        .unwrap_or_else(|e| panic!("host {}: acknowledged and lost at {lba}: {e}", number(host)));
}

/// No acknowledged write is lost.
fn verify_all(bench: &mut Bench, host: usize, load: &Load, back: &Back, over: Transport) {
    for written in &load.known {
        verify(bench, host, load, back, *written);
    }
    println!(
        "{over}: host {}: {} places of {} acknowledged writes verified",
        number(host),
        load.known.len(),
        load.writes
    );
    bench
        .on(host, |b| b.disconnect(&back.controller))
        .expect("disconnect");
}
