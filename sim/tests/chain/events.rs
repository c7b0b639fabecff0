//! What happens on the card reaches hosts, and what happens to hosts reaches the card.

use sluice_driver::bringup::Notice;
use sluice_driver::card::CardEvent;
use sluice_sim::initiator::{Command, ConnectConfig, HostError, Outcome, Transport};
use sluice_sim::ssd::Latency;
use sluice_wire::mgmt::Event;
use sluice_wire::nvme::{AsyncEvent, EventConfig, Status, feature, log};

use crate::common::{Bench, MS, On, mix, named, to_demo};

crate::over_both_transports! {
    a_host_hears_of_a_namespace_that_goes_and_others_go_on,
    a_silent_host_loses_its_association_and_others_do_not,
    a_host_that_only_reads_and_writes_is_alive,
    a_subsystem_that_is_removed_ends_its_associations,
}

fn a_host_hears_of_a_namespace_that_goes_and_others_go_on(over: Transport) {
    let mut bench = Bench::new(&named("namespace-goes", over), &On::functional());
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
    let mut wanted = EventConfig(0);
    wanted.set_namespace_changed(true);
    let request = bench.on(host, |b| {
        let set = Command::set_features(feature::EVENTS, wanted.0);
        b.must("Set Features, events", controller.admin, set)
            .expect("event configuration");
        b.initiator.submit(controller.admin, Command::async_event())
    });
    bench.run(MS / 10);
    assert!(
        bench.at(host).take_completion_of(request).is_none(),
        "nothing has happened yet"
    );
    bench
        .server
        .rig
        .card()
        .remove_namespace(0, 1)
        .expect("namespace 1 is removed");
    let mut told = None;
    bench.until("the event", MS, |b| {
        told = b.at(host).take_completion_of(request);
        told.is_some()
    });
    let event = AsyncEvent::decode(told.expect("just seen").result() as u32);
    // Notice; Attached Namespace Attribute Changed; read log page 04h (NVMe Base 2.1, figure 151).
    assert_eq!(
        (event.kind, event.info, event.log_page),
        (2, 0, log::CHANGED_NAMESPACES)
    );
    bench.on(host, |b| {
        let changed = b.must(
            "log 04h",
            controller.admin,
            Command::log_page(log::CHANGED_NAMESPACES, 0, 0, 4096),
        );
        assert_eq!(
            changed.expect("changed namespaces").data[..8],
            [1, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            b.active_namespaces(controller.admin)
                .expect("active namespaces"),
            [2]
        );
        let gone = b
            .exec("read", controller.io[0], Command::read(1, 0, 8, 512))
            .expect("an answer");
        assert_eq!(
            gone.status().map(Status::kind),
            Some(Status::INVALID_NAMESPACE)
        );
    });
    bench.verified(host, mix(&controller, &namespaces[1], 4096, 4, 50));
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
    bench.assert_all_given_back();
}

fn a_silent_host_loses_its_association_and_others_do_not(over: Transport) {
    let mut bench = Bench::new(&named("silent-host", over), &On::functional());
    let silent = bench.host(1);
    let lively = bench.host(2);
    let short = ConnectConfig {
        kato_ms: 500,
        ..to_demo(1).over(over)
    };
    let (lost, namespaces) = bench.connect_with(silent, &short);
    let (kept, _) = bench.connect_with(
        lively,
        &ConnectConfig {
            kato_ms: 500,
            ..to_demo(2).over(over)
        },
    );
    // In flight when the host falls silent: reads whose answers it will not acknowledge, a write it will not send.
    for lba in 0..8 {
        bench
            .at(silent)
            .submit(lost.io[0], Command::read(1, lba * 256, 256, 512));
        bench.at(silent).submit(
            lost.io[0],
            Command::write(1, lba * 256, vec![7; 1 << 17], 512),
        );
    }
    bench.run(1_500);
    let silenced = bench.lab.others.remove(silent);
    let lively = lively - 1;
    let event = bench.until_notice(3_000 * MS, |n| {
        matches!(n, Notice::Card(CardEvent::Known(Event::HostLost, _)))
    });
    assert_eq!(
        event,
        Notice::Card(CardEvent::Known(Event::HostLost, lost.cntlid.into()))
    );
    // Its connections are reset, so everything comes back without its help.
    bench.run(50 * MS);
    if let Some((cores, _, (controllers, _))) = bench.resources() {
        assert_eq!(
            (controllers, cores[0].connections),
            (1, 2),
            "the lively host's alone: {cores:?}"
        );
    }
    bench.verified(lively, mix(&kept, &namespaces[1], 4096, 4, 100));
    // It comes back, hears what has become of its connections, and connects anew.
    bench.lab.others.push(silenced);
    let back = bench.lab.others.len() - 1;
    bench.run(100 * MS);
    let (again, _) = bench.connect_with(back, &short);
    assert_ne!(
        again.cntlid, lost.cntlid,
        "a CNTLID is not used again at once"
    );
    bench.verified(back, mix(&again, &namespaces[0], 4096, 4, 50));
    for (host, controller) in [(lively, &kept), (back, &again)] {
        bench
            .on(host, |b| b.disconnect(controller))
            .expect("disconnect");
    }
    bench.run(MS);
    bench.check_capture();
    bench.assert_all_given_back();
}

fn a_host_that_only_reads_and_writes_is_alive(over: Transport) {
    // Traffic-based keep alive (NVMe Base 2.1, section 3.9.4.2): no Keep Alive command is ever sent.
    let mut bench = Bench::new(&named("traffic-keeps-alive", over), &On::functional());
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(
        host,
        &ConnectConfig {
            kato_ms: 200,
            ..to_demo(1).over(over)
        },
    );
    bench.at(host).stop_keep_alive(controller.admin);
    for _ in 0..10 {
        bench.verified(host, mix(&controller, &namespaces[1], 4096, 2, 20));
        bench.run(80 * MS);
    }
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
}

#[test]
fn a_host_that_dies_with_commands_in_flight_leaves_nothing_behind() {
    let mut bench = Bench::new("dies-in-flight", &On::functional());
    let host = bench.host(1);
    for ssd in &bench.server.ssds {
        ssd.borrow_mut().set_latency(Latency {
            read: 50_000,
            write: 50_000,
            ..Latency::ZERO
        });
    }
    for round in 0..20u64 {
        let (controller, _) = bench.connect_with(
            host,
            &ConnectConfig {
                io_queues: 2,
                ..to_demo(1)
            },
        );
        let mut ids = vec![
            bench
                .at(host)
                .submit(controller.admin, Command::async_event()),
        ];
        for lba in 0..20 {
            let io = controller.io[lba as usize % 2];
            ids.push(
                bench
                    .at(host)
                    .submit(io, Command::read(2, lba * 8, 8, 4096)),
            );
            ids.push(
                bench
                    .at(host)
                    .submit(io, Command::write(2, lba * 8, vec![1; 32_768], 4096)),
            );
        }
        bench.run(500 * round);
        for queue in controller.io.iter().chain([&controller.admin]) {
            bench.at(host).reset(*queue);
        }
        bench.run(MS);
        for id in ids {
            let completion = bench
                .at(host)
                .take_completion_of(id)
                .expect("every command ends");
            let over = matches!(completion.outcome, Outcome::Lost(_)) || completion.is_ok();
            assert!(over, "{completion:?}");
        }
        bench.assert_all_given_back();
    }
    bench.check_capture();
}

fn a_subsystem_that_is_removed_ends_its_associations(over: Transport) {
    let mut bench = Bench::new(&named("subsystem-goes", over), &On::functional());
    let host = bench.host(1);
    let (controller, _) = bench.connect_with(host, &to_demo(1).over(over));
    let request = bench
        .at(host)
        .submit(controller.admin, Command::async_event());
    bench.run(MS / 10);
    bench
        .server
        .rig
        .card()
        .remove_subsystem(0)
        .expect("the subsystem is removed");
    bench.until("the commands' end", 10 * MS, |b| {
        b.at(host).take_completion_of(request).is_some()
    });
    bench.run(10 * MS);
    let refused = bench
        .on(host, |b| b.connect(&to_demo(1).over(over)))
        .expect_err("it is gone");
    let expected = matches!(&refused, HostError::Status { status, .. } if status.kind() == Status::CONNECT_INVALID);
    assert!(expected, "{refused}");
    bench.run(10 * MS);
    bench.check_capture();
}
