//! The host driver changes what the card serves while hosts use it.

use std::cell::RefCell;
use std::rc::Rc;

use sluice_driver::bringup::{ChangeError, Kind};
use sluice_driver::config::raw;
use sluice_sim::initiator::{Command, ConnectConfig, Transport};
use sluice_sim::ssd::{MSIX_TABLE, NamespaceSpec, Ssd, SsdConfig};
use sluice_sim::world::ssd_device;
use sluice_wire::mgmt::transports;
use sluice_wire::nvme::Status;

use crate::common::{Bench, MS, NQN, On, mix, named, target, to_demo};

crate::over_both_transports! {
    a_subsystem_made_while_serving_is_used_and_goes_again,
    an_ssd_added_while_serving_is_used_and_taken_out_in_order,
}

#[test]
fn hosts_not_listed_are_out_when_a_subsystem_is_closed_to_them() {
    let mut bench = Bench::new("closed-to-strangers", &On::functional());
    let (listed, stranger) = (bench.host(1), bench.host(2));
    let rig = &mut bench.server.rig;
    rig.allow_any_host(NQN, true)
        .expect("the subsystem is there");
    let (kept, namespaces) = bench.connect_with(listed, &to_demo(1));
    let (lost, _) = bench.connect_with(stranger, &to_demo(2));
    let rig = &mut bench.server.rig;
    if !rig.config().subsystems[0]
        .hosts
        .contains(&to_demo(1).hostnqn)
    {
        rig.add_host(NQN, &to_demo(1).hostnqn).expect("room");
    }
    rig.allow_any_host(NQN, false)
        .expect("the subsystem is there");
    bench.run(20 * MS);
    let gone = bench.on(stranger, |b| {
        b.exec("read", lost.io[0], Command::read(1, 0, 8, 512))
    });
    assert!(gone.is_err(), "its connections are closed: {gone:?}");
    bench.verified(listed, mix(&kept, &namespaces[0], 4096, 4, 50));
    bench
        .on(listed, |b| b.disconnect(&kept))
        .expect("disconnect");
    bench.drop_capture("connections are closed in the middle");
}

const NEW: &str = "nqn.2026-11.io.github.sluice:new";

fn namespace(ssd: &str, first: i64, blocks: i64) -> raw::Namespace {
    raw::Namespace {
        ssd: ssd.into(),
        first_block: Some(first),
        blocks: Some(blocks),
        ..raw::Namespace::default()
    }
}

/// The default configuration with its namespace 1 on the first half of SSD 0 alone.
fn half() -> String {
    let default = sluice_sim::scenario::server::DEFAULT_CONFIG;
    let half = default.replace("ssd = \"ssd0\"", "ssd = \"ssd0\"\nblocks = 100000");
    assert_ne!(half, default, "the default configuration has changed");
    half
}

fn a_subsystem_made_while_serving_is_used_and_goes_again(over: Transport) {
    let setup = On::functional().setup(&half());
    let mut bench = Bench::with(
        &named("made-while-serving", over),
        &setup,
        &Default::default(),
    );
    let (host, other) = (bench.host(1), bench.host(2));
    let (old, old_ns) = bench.connect_with(host, &to_demo(1).over(over));
    let rig = &mut bench.server.rig;
    let before = rig.config().to_json();
    let spec = raw::Subsystem {
        nqn: NEW.into(),
        hosts: Some(Vec::new()),
        listeners: Some(Vec::new()),
        ..raw::Subsystem::default()
    };
    rig.add_subsystem(spec.clone()).expect("room");
    let twice = rig.add_subsystem(spec).expect_err("there already");
    assert!(
        matches!(
            twice,
            ChangeError::Exists {
                kind: Kind::Subsystem,
                ..
            }
        ),
        "{twice}"
    );
    let to_new = ConnectConfig::new(target(), NEW, 2).over(over);
    rig.add_host(NEW, &to_new.hostnqn).expect("room");
    let taken = rig
        .add_namespace(NEW, namespace("ssd0", 0, 8))
        .expect_err("overlaps");
    assert!(matches!(taken, ChangeError::Invalid(_)), "{taken}");
    assert_eq!(
        rig.add_namespace(NEW, namespace("ssd0", 100_000, 10_000))
            .expect("free"),
        1
    );
    // The load below looks on SSD n for NSID n + 1, but not for one so high.
    let high = raw::Namespace {
        nsid: 9,
        ..namespace("ssd0", 110_000, 10_000)
    };
    assert_eq!(rig.add_namespace(NEW, high).expect("free"), 9);
    rig.remove_namespace(NEW, 1).expect("there");
    assert_eq!(
        rig.add_namespace(NEW, namespace("ssd0", 100_000, 10_000))
            .expect("free"),
        1
    );
    let port = rig.config().ports[0].name.clone();
    // Over the one transport alone first: the other is refused.
    rig.add_listener(NEW, &port, transports::ALL)
        .expect("a port");
    let (shut, open) = match over {
        Transport::Tcp => (transports::TCP, transports::RDMA),
        Transport::Rdma => (transports::RDMA, transports::TCP),
    };
    rig.remove_listener(NEW, &port, shut).expect("there");
    let refused = bench.on(other, |b| b.connect(&to_new));
    assert!(refused.is_err(), "not reachable over {over:?}");
    let rig = &mut bench.server.rig;
    let again = rig
        .remove_listener(NEW, &port, shut)
        .expect_err("not there");
    assert!(
        matches!(
            again,
            ChangeError::NotFound {
                kind: Kind::Listener,
                ..
            }
        ),
        "{again}"
    );
    let twice = rig
        .add_listener(NEW, &port, open)
        .expect_err("there already");
    assert!(
        matches!(
            twice,
            ChangeError::Exists {
                kind: Kind::Listener,
                ..
            }
        ),
        "{twice}"
    );
    rig.add_listener(NEW, &port, shut).expect("a port");

    let (new, new_ns) = bench.connect_with(other, &to_new);
    assert_eq!(new_ns.iter().map(|n| n.nsid).collect::<Vec<_>>(), [1, 9]);
    let loads = vec![
        (host, mix(&old, &old_ns[0], 4096, 4, 100)),
        (other, mix(&new, &new_ns[1], 4096, 4, 100)),
    ];
    for (host, load) in loads {
        bench.verified(host, load);
    }
    bench.server.rig.remove_subsystem(NEW).expect("there");
    bench.run(20 * MS);
    let gone = bench.on(other, |b| {
        b.exec("read", new.io[0], Command::read(1, 0, 8, 512))
    });
    assert!(gone.is_err(), "its connections are closed: {gone:?}");
    bench.verified(host, mix(&old, &old_ns[0], 4096, 4, 50));
    assert_eq!(bench.server.rig.config().to_json(), before);
    bench.on(host, |b| b.disconnect(&old)).expect("disconnect");
    bench.drop_capture("connections are closed in the middle");
    bench.until_all_given_back(40_000 * MS);
}

fn an_ssd_added_while_serving_is_used_and_taken_out_in_order(over: Transport) {
    let mut bench = Bench::new(&named("ssd-added", over), &On::functional());
    let host = bench.host(1);
    let (controller, before) = bench.connect_with(host, &to_demo(1).over(over));
    for round in 0..3u64 {
        let config = SsdConfig {
            name: "hot".into(),
            namespaces: vec![NamespaceSpec::memory(32 << 20, 12)],
            seed: round,
            ..SsdConfig::default()
        };
        let vectors = config.vectors;
        let ssd = Rc::new(RefCell::new(Ssd::new(config).expect("in memory")));
        let place = bench.server.ssds.len();
        bench
            .server
            .world
            .borrow_mut()
            .add_ssd(Box::new(ssd.clone()));
        bench.server.ssds.push(ssd);
        let device = ssd_device(&bench.server.world, place, MSIX_TABLE, vectors);
        let spec = raw::Ssd {
            name: Some("hot".into()),
            ..raw::Ssd::default()
        };
        let rig = &mut bench.server.rig;
        rig.add_ssd(spec, device).expect("room");
        let nsid = rig
            .add_namespace(
                NQN,
                raw::Namespace {
                    nsid: 3 + round as i64,
                    ..namespace("hot", 0, 8192)
                },
            )
            .expect("free");
        let ns = bench
            .on(host, |b| b.namespace(controller.admin, nsid))
            .expect("there");
        bench.verified(host, mix(&controller, &ns, 4096, 8, 200));
        let rig = &mut bench.server.rig;
        let used = rig.remove_ssd("hot").err().expect("a namespace lies on it");
        assert!(
            matches!(
                used,
                ChangeError::InUse {
                    kind: Kind::Ssd,
                    ..
                }
            ),
            "{used}"
        );
        rig.remove_namespace(NQN, nsid).expect("there");
        assert!(
            rig.remove_ssd("hot").expect("not in use").is_some(),
            "it answers"
        );
        let gone = bench
            .on(host, |b| {
                b.exec("read", controller.io[0], Command::read(nsid, 0, 1, 4096))
            })
            .expect("an answer");
        assert_eq!(
            gone.status().map(Status::kind),
            Some(Status::INVALID_NAMESPACE)
        );
        bench.verified(host, mix(&controller, &before[0], 4096, 4, 50));
    }
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
    bench.until_all_given_back(40_000 * MS);
}
