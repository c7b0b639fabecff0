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

/// The same commands are found under their namespace, host, connection and SSD, and in the histograms.
fn by_whom_and_on_what(bench: &mut Bench, reads: u64, writes: u64, over: Transport) {
    let handle = bench.handle.clone();
    let snapshot = bench
        .serving(move || handle.snapshot())
        .unwrap_or_else(|e| panic!("{e}"));
    let sum = |metric: &str, wanted: &[(&str, &str)]| -> u64 {
        let mut found = 0;
        for sample in snapshot
            .samples()
            .iter()
            .filter(|s| s.metric.name == metric)
        {
            let labels: Vec<_> = sample.labels().collect();
            if wanted.iter().all(|w| labels.contains(w)) {
                found += match &sample.reading {
                    Reading::Counter(n) => *n,
                    Reading::Gauge(g) => *g as u64,
                    Reading::Histogram(buckets, _) => buckets.iter().map(|(_, n)| n).sum(),
                };
            }
        }
        found
    };
    let target = "10.0.0.2:4420".parse().expect("an address");
    let nqn = ConnectConfig::new(target, NQN, 1).hostnqn;
    let transport = match over {
        Transport::Tcp => "tcp",
        Transport::Rdma => "rdma",
    };
    for (kind, done) in [("read", reads), ("write", writes)] {
        let of_ns = [
            ("subsystem", NQN),
            ("namespace", "1"),
            ("ssd", "ssd1"),
            ("kind", kind),
        ];
        let of_host = [("host", nqn.as_str()), ("subsystem", NQN), ("kind", kind)];
        let of_queue = [
            ("host", nqn.as_str()),
            ("queue", "1"),
            ("transport", transport),
            ("port", "eth0"),
            ("kind", kind),
        ];
        for (metric, labels) in [
            ("sluice_namespace_commands", &of_ns[..]),
            ("sluice_namespace_latency_seconds", &of_ns[..]),
            ("sluice_core_latency_seconds", &of_ns[3..]),
            ("sluice_ssd_io_commands", &of_ns[2..]),
            ("sluice_ssd_latency_seconds", &of_ns[2..]),
            ("sluice_host_commands", &of_host[..]),
            ("sluice_connection_commands", &of_queue[..]),
        ] {
            assert_eq!(sum(metric, labels), done, "{metric} {labels:?}");
        }
        for (metric, labels) in [
            ("sluice_namespace_bytes", &of_ns[..]),
            ("sluice_ssd_io_bytes", &of_ns[2..]),
            ("sluice_host_bytes", &of_host[..]),
            ("sluice_connection_bytes", &of_queue[..]),
        ] {
            assert_eq!(sum(metric, labels), done * 4096, "{metric} {labels:?}");
        }
    }
    let open = [("host", nqn.as_str()), ("transport", transport)];
    assert_eq!(
        sum("sluice_host_connections", &open),
        2,
        "admin queue and I/O queue"
    );
    let text = snapshot.text();
    assert!(
        text.contains("sluice_namespace_latency_seconds_bucket{le=\"+Inf\""),
        "{text}"
    );
    let told = bench.call("bdev_get_iostat", json!({ "name": "ssd1n1" }));
    let bdev = &told["bdevs"][0];
    assert_eq!(told["tick_rate"], 250_000_000);
    assert_eq!(
        (
            &bdev["num_read_ops"],
            &bdev["num_write_ops"],
            &bdev["bytes_read"]
        ),
        (&json!(reads), &json!(writes), &json!(reads * 4096)),
        "{told}"
    );
    let ticks = |name: &str| bdev[name].as_u64().unwrap_or_default();
    assert!(
        ticks("min_read_latency_ticks") * reads <= ticks("read_latency_ticks") + 128 * reads
            && ticks("read_latency_ticks") <= ticks("max_read_latency_ticks") * reads + 128 * reads,
        "{told}"
    );
    let (code, message) = bench.refused("bdev_get_iostat", json!({ "name": "ssd9n1" }));
    assert!(
        code == -19 && message.contains("bdev_get_bdevs"),
        "{message}"
    );
    let (code, message) = bench.refused("bdev_get_iostat", json!({ "per_channel": true }));
    assert!(
        code == -32602 && message.contains("false wanted"),
        "{message}"
    );
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
    assert!(counter(&mut bench, "sluice_rx_frames", &["eth0"]) > 200);
    assert_eq!(counter(&mut bench, "sluice_host_events", &["connected"]), 1);
    assert_eq!(
        counter(
            &mut bench,
            "sluice_rx_dropped_frames",
            &["eth0", "no_buffer"]
        ),
        0
    );
    by_whom_and_on_what(&mut bench, reads, writes, over);
    let stats = bench.call("nvmf_get_stats", json!({}));
    let current = |field: &str| -> u64 {
        let groups = stats["poll_groups"].as_array().into_iter().flatten();
        groups.filter_map(|g| g[field].as_u64()).sum()
    };
    assert_eq!(current("current_admin_qpairs"), 1, "{stats}");
    assert_eq!(current("current_io_qpairs"), 1, "{stats}");
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
    // A host keeps its figures, and a block device its own when the namespace goes and another comes.
    let host = ConnectConfig::new("10.0.0.2:4420".parse().expect("an address"), NQN, 1).hostnqn;
    let labels = [host.as_str(), NQN, "read"];
    assert_eq!(counter(&mut bench, "sluice_host_commands", &labels), reads);
    bench.call("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 1 }));
    for _ in 0..2 {
        let namespace = json!({ "bdev_name": "ssd1n1", "nsid": 1 });
        bench.call(
            "nvmf_subsystem_add_ns",
            json!({ "nqn": NQN, "namespace": namespace }),
        );
        let told = bench.call("bdev_get_iostat", json!({}));
        assert_eq!(told["bdevs"][0]["num_read_ops"], reads, "{told}");
        bench.call("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 1 }));
    }
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
    assert_eq!(counter(&mut bench, "sluice_connect_failures", &["host"]), 1);
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
