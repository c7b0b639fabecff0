//! Configured by calls alone, hosts do verified I/O, and what is counted follows.

use serde_json::json;
use sluice_daemon::metrics::Reading;
use sluice_sim::initiator::{
    ConnectConfig, Controller, Initiator, Transport, Workload, WorkloadConfig,
};

use crate::bench::{Bench, MS, NQN, folder, host};

fn connect(bench: &mut Bench, from: &mut Initiator, over: Transport) -> Controller {
    let target = "10.0.0.2:4420".parse().expect("an address");
    let config = ConnectConfig::new(target, NQN, 1).over(over);
    bench
        .on(from, |b| b.connect(&config))
        .unwrap_or_else(|e| panic!("{e}"))
}

/// A verified mix on NSID 1; commands and bytes of reads and of writes.
fn load(bench: &mut Bench, from: &mut Initiator, controller: &Controller, ios: u64) -> u64 {
    let config = WorkloadConfig {
        depth: 4,
        read_percent: 50,
        ios,
        span: 256,
        ..WorkloadConfig::random_4k(controller.io.clone(), 1, 512)
    };
    from.attach(Workload::new(config));
    while !from.workload().is_none_or(Workload::is_done) {
        bench.lab.advance(from);
    }
    let stats = from.detach().expect("it was attached").into_stats();
    assert_eq!(stats.errors, [""; 0]);
    assert!(stats.verified_bytes > 0, "nothing was verified");
    stats.ios()
}

fn counter(bench: &mut Bench, name: &str, labels: &[&str]) -> u64 {
    let handle = bench.handle.clone();
    let snapshot = bench
        .serving(move || handle.snapshot())
        .unwrap_or_else(|e| panic!("{e}"));
    match snapshot.get(name, labels) {
        Some(Reading::Counter(n)) => *n,
        other => panic!("{name} {labels:?}: {other:?}"),
    }
}

fn configured_by_calls_a_host_does_verified_io_and_counters_follow(over: Transport) {
    let mut bench = Bench::start(&folder("configure"), 2);
    bench.configure();
    let mut from = host(1);
    let controller = connect(&mut bench, &mut from, over);
    bench.run(MS);
    assert_eq!(bench.notified("sluice_host_connected").len(), 1);
    let who = bench.call("nvmf_subsystem_get_controllers", json!({ "nqn": NQN }));
    let who = who.as_array().expect("a list").clone();
    assert_eq!(who.len(), 1);
    assert_eq!(who[0]["cntlid"], controller.cntlid);
    assert_eq!(who[0]["num_io_qpairs"], controller.io.len());
    let nqn = who[0]["hostnqn"].as_str().expect("a name");
    assert!(nqn.starts_with("nqn."), "{who:?}");
    let queues = bench.call("nvmf_subsystem_get_qpairs", json!({ "nqn": NQN }));
    let queues = queues.as_array().expect("a list").clone();
    assert_eq!(queues.len(), 1 + controller.io.len());
    for (qid, queue) in queues.iter().enumerate() {
        assert_eq!(
            (&queue["qid"], &queue["hostnqn"]),
            (&json!(qid), &json!(nqn))
        );
        let name = if over == Transport::Tcp {
            "TCP"
        } else {
            "RDMA"
        };
        assert_eq!(
            queue["listen_address"],
            json!({ "trtype": name, "adrfam": "IPv4", "traddr": "10.0.0.2", "trsvcid": "4420" })
        );
    }
    let done = load(&mut bench, &mut from, &controller, 200);
    assert!(done >= 200);
    let sum = |bench: &mut Bench, kind: &str| -> u64 {
        (1..=2)
            .map(|core: u32| counter(bench, "sluice_io_commands", &[&core.to_string(), kind]))
            .sum()
    };
    let (reads, writes) = (sum(&mut bench, "read"), sum(&mut bench, "write"));
    assert!(
        reads > 0 && writes > 0 && reads + writes >= 200,
        "{reads} + {writes}"
    );
    let bytes: u64 = (1..=2)
        .map(|core: u32| counter(&mut bench, "sluice_io_bytes", &[&core.to_string(), "read"]))
        .sum();
    assert_eq!(bytes, reads * 4096);
    assert!(counter(&mut bench, "sluice_rx_frames", &[]) > 200);
    assert_eq!(counter(&mut bench, "sluice_host_events", &["connected"]), 1);
    assert_eq!(
        counter(&mut bench, "sluice_rx_dropped_frames", &["no_buffer"]),
        0
    );
    let stats = bench.call("nvmf_get_stats", json!({}));
    let groups = stats["poll_groups"].as_array().expect("a list");
    let completed: u64 = groups
        .iter()
        .filter_map(|g| g["completed_nvme_io"].as_u64())
        .sum();
    assert!(completed >= 200, "{stats}");
    bench
        .on(&mut from, |b| b.disconnect(&controller))
        .unwrap_or_else(|e| panic!("{e}"));
    bench.run(20 * MS);
    assert_eq!(
        counter(&mut bench, "sluice_host_events", &["disconnected"]),
        1
    );
}

#[test]
fn configured_by_calls_a_host_does_verified_io_over_tcp_and_counters_follow() {
    configured_by_calls_a_host_does_verified_io_and_counters_follow(Transport::Tcp);
}

#[test]
fn configured_by_calls_a_host_does_verified_io_over_rdma_and_counters_follow() {
    configured_by_calls_a_host_does_verified_io_and_counters_follow(Transport::Rdma);
}

#[test]
fn a_host_that_is_not_allowed_is_refused_counted_and_told_and_let_in_once_it_is() {
    let mut bench = Bench::start(&folder("refused"), 1);
    bench.configure();
    bench.call(
        "nvmf_subsystem_allow_any_host",
        json!({ "nqn": NQN, "allow_any_host": false }),
    );
    let target = "10.0.0.2:4420".parse().expect("an address");
    let config = ConnectConfig::new(target, NQN, 1);
    let mut from = host(1);
    assert!(bench.on(&mut from, |b| b.connect(&config)).is_err());
    bench.run(MS);
    assert_eq!(counter(&mut bench, "sluice_host_events", &["refused"]), 1);
    assert_eq!(bench.notified("sluice_host_refused").len(), 1);
    bench.call(
        "nvmf_subsystem_add_host",
        json!({ "nqn": NQN, "host": config.hostnqn }),
    );
    let controller = connect(&mut bench, &mut from, Transport::Tcp);
    load(&mut bench, &mut from, &controller, 20);
    bench.call(
        "nvmf_subsystem_remove_host",
        json!({ "nqn": NQN, "host": config.hostnqn }),
    );
    bench.run(20 * MS);
    let again = bench.on(&mut from, |b| b.active_namespaces(controller.admin));
    assert!(again.is_err(), "its association has ended");
}

#[test]
fn an_ssd_pulled_out_is_told_and_can_be_brought_back() {
    let folder = folder("pulled");
    let mut bench = Bench::start(&folder, 1);
    bench.configure();
    bench.ssds[1]
        .borrow_mut()
        .vanish(sluice_sim::ssd::Gone::BusError);
    bench.owner.round();
    let lost = bench.notified("sluice_ssd_lost");
    assert!(lost.len() == 1 && lost[0].starts_with("ssd2: "), "{lost:?}");
    let status = bench.call("sluice_get_status", json!({}));
    assert_eq!(
        (&status["ssds"][0]["state"], &status["ssds"][1]["state"]),
        (&json!("serving"), &json!("lost"))
    );
    let health = bench.call("sluice_get_health", json!({}));
    assert_eq!(
        (&health["healthy"], &health["problems"]),
        (&json!(false), &json!(["SSD ssd2: lost"]))
    );
    assert_eq!(bench.call("sluice_self_test", json!({}))["passed"], false);
    let (code, message) = bench.refused(
        "bdev_nvme_get_controller_health_info",
        json!({ "name": "ssd2" }),
    );
    assert!(
        code == -32603 && message.contains("sluice_reopen_ssd"),
        "{message}"
    );
    bench.ssds[1].borrow_mut().reappear();
    bench.call("sluice_reopen_ssd", json!({ "name": "ssd2" }));
    let status = bench.call("sluice_get_status", json!({}));
    assert_eq!(status["ssds"][1]["state"], "serving");
    assert_eq!(bench.call("sluice_self_test", json!({}))["passed"], true);
    let mut from = host(1);
    let controller = connect(&mut bench, &mut from, Transport::Tcp);
    let namespaces = bench
        .on(&mut from, |b| b.active_namespaces(controller.admin))
        .expect("a list");
    assert_eq!(namespaces, [1, 2]);
}
