//! Counters at two moments, and what happened per second in between.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::latency::{Histogram, Percentiles};

/// Counters of one thing, by name; a metric with further labels has one for each, `metric:label`.
type Counters = BTreeMap<String, u64>;

/// Begins the names of the counters of clocks; the phase follows.
const CLOCKS: &str = "sluice_core_clocks:";

/// Metrics of namespaces and hosts: how they begin, and which of their labels say whose they are.
const NAMESPACES: (&str, &[&str]) = ("sluice_namespace_", &["subsystem", "namespace"]);
const HOSTS: (&str, &[&str]) = ("sluice_host_", &["host", "subsystem"]);
/// What begins like them and is another thing.
const EVENTS: &str = "sluice_host_events";
const CORE_LATENCY: &str = "sluice_core_latency_seconds";

/// What is counted of a namespace, a host, or a core's commands by time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Tally {
    counters: Counters,
    /// By kind: read or write.
    latency: BTreeMap<String, Histogram>,
}

/// Counters at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// By subsystem and NSID.
    namespaces: BTreeMap<Vec<String>, Tally>,
    /// By host and subsystem.
    hosts: BTreeMap<Vec<String>, Tally>,
    /// Of each core, by time only.
    latency: BTreeMap<u64, Tally>,
    /// By number; core 0 is the control core.
    cores: BTreeMap<u64, Counters>,
    /// Of the card as a whole, labels added up.
    card: Counters,
}

impl Sample {
    /// From the answer of `sluice_get_counters`. What is not there counts as nothing.
    #[must_use]
    pub fn read(counters: &Value) -> Self {
        let mut sample = Self::default();
        for (metric, list) in counters.as_object().into_iter().flatten() {
            for entry in list.as_array().into_iter().flatten() {
                if sample.add_to_part(metric, &entry["labels"], &entry["value"]) {
                    continue;
                }
                let Some(value) = entry["value"].as_f64() else {
                    continue;
                };
                sample.add(metric, &entry["labels"], value as u64);
            }
        }
        sample
    }

    /// Adds what belongs to a namespace, a host, or a core's latencies; false if it does not.
    fn add_to_part(&mut self, metric: &str, labels: &Value, value: &Value) -> bool {
        let label = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
        let name = |of: &[&str]| of.iter().map(|l| label(l)).collect::<Vec<_>>();
        let (tally, kind) = if let Some(what) = metric.strip_prefix(NAMESPACES.0) {
            let tally = self.namespaces.entry(name(NAMESPACES.1)).or_default();
            (tally, what)
        } else if metric == CORE_LATENCY {
            let Ok(core) = label("core").parse() else {
                return true;
            };
            (self.latency.entry(core).or_default(), "latency_seconds")
        } else {
            match metric.strip_prefix(HOSTS.0).filter(|_| metric != EVENTS) {
                Some(what) => (self.hosts.entry(name(HOSTS.1)).or_default(), what),
                // Connections are not shown one by one.
                None => return metric.starts_with("sluice_connection_"),
            }
        };
        if kind == "latency_seconds" {
            tally.latency.entry(label("kind")).or_default().add(value);
        } else if let Some(value) = value.as_f64() {
            let name = match labels["kind"].as_str() {
                Some(of) => format!("{kind}:{of}"),
                None => kind.to_owned(),
            };
            let counter = tally.counters.entry(name).or_default();
            *counter = counter.saturating_add(value as u64);
        }
        true
    }

    fn add(&mut self, metric: &str, labels: &Value, value: u64) {
        let labels: Vec<(&str, &str)> = (labels.as_object().into_iter().flatten())
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect();
        let core = labels
            .iter()
            .find(|(name, _)| *name == "core")
            .map(|(_, core)| core.parse());
        let counter = match core {
            Some(Err(_)) => return,
            Some(Ok(core)) => {
                let others = labels.iter().filter(|(name, _)| *name != "core");
                let name = others.fold(metric.to_owned(), |all, (_, value)| all + ":" + value);
                self.cores.entry(core).or_default().entry(name).or_default()
            }
            None => self.card.entry(metric.to_owned()).or_default(),
        };
        *counter = counter.saturating_add(value);
    }
}

/// What one core did, per second but for `connections`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Core {
    /// Its number; 0 is the control core, which has a load only.
    pub core: u64,
    /// Part of its clocks in which it did something, 0 to 1.
    pub load: f64,
    /// What it spent its clocks on: phase, and its part of the clocks.
    pub phases: Vec<(String, f64)>,
    /// Connections open now.
    pub connections: u64,
    /// Reads.
    pub reads: f64,
    /// Writes.
    pub writes: f64,
    /// Bytes read.
    pub read_bytes: f64,
    /// Bytes written.
    pub write_bytes: f64,
    /// Admin and Fabrics commands, and I/O that is neither read nor write.
    pub other: f64,
    /// Commands that failed.
    pub errors: f64,
    /// Commands that had to wait for pages or queue entries.
    pub waits: f64,
    /// Sent again: TCP segments and runs of RDMA packets.
    pub resent: f64,
    /// Frames and packets dropped.
    pub dropped: f64,
    /// Passes of its main loop.
    pub loops: f64,
    /// How long its reads took.
    pub read_latency: Percentiles,
    /// How long its writes took.
    pub write_latency: Percentiles,
}

/// What was done to a namespace, or by a host to a subsystem, per second but for `connections`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Part {
    /// Subsystem and NSID, or host and subsystem.
    pub name: Vec<String>,
    /// A host's queues that are open now.
    pub connections: u64,
    /// Reads.
    pub reads: f64,
    /// Writes.
    pub writes: f64,
    /// Bytes read.
    pub read_bytes: f64,
    /// Bytes written.
    pub write_bytes: f64,
    /// Commands that failed.
    pub errors: f64,
    /// How long a namespace's reads took.
    pub read_latency: Percentiles,
    /// How long its writes took.
    pub write_latency: Percentiles,
}

impl Part {
    fn between(name: &[String], before: &Tally, now: &Tally, seconds: f64) -> Self {
        let rate = rate(&before.counters, &now.counters, seconds);
        let connections = now.counters.get("connections").copied();
        let (read_latency, write_latency) = latencies(before, now);
        Self {
            name: name.to_vec(),
            connections: connections.unwrap_or_default(),
            reads: rate("commands:read"),
            writes: rate("commands:write"),
            read_bytes: rate("bytes:read"),
            write_bytes: rate("bytes:write"),
            errors: rate("errors"),
            read_latency: (&read_latency).into(),
            write_latency: (&write_latency).into(),
        }
    }

    fn to_json(&self, names: [&str; 2]) -> Value {
        let mut value = json!({
            "reads_per_second": self.reads, "writes_per_second": self.writes,
            "read_bytes_per_second": self.read_bytes, "write_bytes_per_second": self.write_bytes,
            "errors_per_second": self.errors,
        });
        for (name, part) in names.into_iter().zip(&self.name) {
            value[name] = json!(part);
        }
        value
    }
}

/// All of a kind, the busiest first.
fn parts(
    before: &BTreeMap<Vec<String>, Tally>,
    now: &BTreeMap<Vec<String>, Tally>,
    seconds: f64,
) -> Vec<Part> {
    let none = Tally::default();
    let all = now.iter().map(|(name, now)| {
        let before = before.get(name).unwrap_or(&none);
        Part::between(name, before, now, seconds)
    });
    let mut all: Vec<Part> = all.collect();
    all.sort_by(|a, b| (b.reads + b.writes).total_cmp(&(a.reads + a.writes)));
    all
}

/// Reads and writes since `before` by time.
fn latencies(before: &Tally, now: &Tally) -> (Histogram, Histogram) {
    let of = |kind: &str| {
        let none = Histogram::default();
        let before = before.latency.get(kind).unwrap_or(&none);
        now.latency
            .get(kind)
            .map_or_else(Histogram::default, |now| now.since(before))
    };
    (of("read"), of("write"))
}

/// What happened between two moments.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rates {
    /// Cores.
    pub cores: Vec<Core>,
    /// Frames received, per second.
    pub rx_frames: f64,
    /// Frames sent, per second.
    pub tx_frames: f64,
    /// Frames that rx dropped, per second.
    pub rx_drops: f64,
    /// Namespaces.
    pub namespaces: Vec<Part>,
    /// Hosts.
    pub hosts: Vec<Part>,
    /// How long all reads took.
    pub read_latency: Percentiles,
    /// How long all writes took.
    pub write_latency: Percentiles,
}

impl Rates {
    /// Per second of `time`. A counter that went back belongs to a card that was started anew: it counts from 0.
    #[must_use]
    pub fn between(before: &Sample, now: &Sample, time: Duration) -> Self {
        let none = Counters::new();
        let seconds = time.as_secs_f64().max(1e-6);
        let nothing = Tally::default();
        let (mut all_reads, mut all_writes) = (Histogram::default(), Histogram::default());
        let cores = now.cores.iter().map(|(number, counters)| {
            let rate = rate(before.cores.get(number).unwrap_or(&none), counters, seconds);
            let phases: Vec<(String, f64)> = (counters.keys())
                .filter_map(|name| Some((name.strip_prefix(CLOCKS)?.to_owned(), rate(name))))
                .collect();
            let clocks: f64 = phases.iter().map(|(_, clocks)| clocks).sum();
            let part = |clocks: f64, all: f64| if all > 0.0 { clocks / all } else { 0.0 };
            let busy = phases
                .iter()
                .filter(|(phase, _)| phase != "idle")
                .map(|(_, c)| c)
                .sum();
            let (reads, writes) = latencies(
                before.latency.get(number).unwrap_or(&nothing),
                now.latency.get(number).unwrap_or(&nothing),
            );
            all_reads.merge(&reads);
            all_writes.merge(&writes);
            Core {
                core: *number,
                read_latency: (&reads).into(),
                write_latency: (&writes).into(),
                load: part(busy, clocks),
                phases: phases
                    .into_iter()
                    .map(|(phase, c)| (phase, part(c, clocks)))
                    .collect(),
                connections: counters
                    .get("sluice_connections")
                    .copied()
                    .unwrap_or_default(),
                reads: rate("sluice_io_commands:read"),
                writes: rate("sluice_io_commands:write"),
                read_bytes: rate("sluice_io_bytes:read"),
                write_bytes: rate("sluice_io_bytes:write"),
                other: rate("sluice_admin_commands") + rate("sluice_io_commands:other"),
                errors: rate("sluice_command_errors"),
                waits: rate("sluice_command_waits"),
                resent: rate("sluice_tcp_retransmits") + rate("sluice_rdma_resent_runs"),
                dropped: rate("sluice_tcp_dropped_segments") + rate("sluice_rdma_dropped_packets"),
                loops: rate("sluice_core_loops"),
            }
        });
        let cores = cores.collect();
        let card = rate(&before.card, &now.card, seconds);
        Self {
            cores,
            namespaces: parts(&before.namespaces, &now.namespaces, seconds),
            hosts: parts(&before.hosts, &now.hosts, seconds),
            read_latency: (&all_reads).into(),
            write_latency: (&all_writes).into(),
            rx_frames: card("sluice_rx_frames"),
            tx_frames: card("sluice_tx_frames"),
            rx_drops: card("sluice_rx_dropped_frames"),
        }
    }

    /// All cores together; its number is that of data cores, its load the sum of theirs. What has no sum is left out.
    #[must_use]
    pub fn total(&self) -> Core {
        let data = || self.cores.iter().filter(|c| c.core != 0);
        let zero = Core {
            core: data().count() as u64,
            ..Core::default()
        };
        data().fold(zero, |sum, one| Core {
            core: sum.core,
            load: sum.load + one.load,
            phases: Vec::new(),
            connections: sum.connections + one.connections,
            reads: sum.reads + one.reads,
            writes: sum.writes + one.writes,
            read_bytes: sum.read_bytes + one.read_bytes,
            write_bytes: sum.write_bytes + one.write_bytes,
            other: sum.other + one.other,
            errors: sum.errors + one.errors,
            waits: sum.waits + one.waits,
            resent: sum.resent + one.resent,
            dropped: sum.dropped + one.dropped,
            loops: sum.loops + one.loops,
            ..sum
        })
    }

    /// The same for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let cores = self.cores.iter().map(|c| {
            json!({
                "core": c.core, "load": c.load, "clocks": c.phases.iter().cloned().collect::<BTreeMap<_, _>>(), "connections": c.connections,
                "reads_per_second": c.reads, "writes_per_second": c.writes,
                "read_bytes_per_second": c.read_bytes, "write_bytes_per_second": c.write_bytes,
                "other_per_second": c.other, "errors_per_second": c.errors, "waits_per_second": c.waits,
                "resent_per_second": c.resent, "dropped_per_second": c.dropped, "loops_per_second": c.loops,
                "read_latency": c.read_latency.to_json(), "write_latency": c.write_latency.to_json(),
            })
        });
        let namespaces = self.namespaces.iter().map(|part| {
            let mut value = part.to_json(["subsystem", "namespace"]);
            value["read_latency"] = part.read_latency.to_json();
            value["write_latency"] = part.write_latency.to_json();
            value
        });
        let hosts = self.hosts.iter().map(|part| {
            let mut value = part.to_json(["host", "subsystem"]);
            value["connections"] = json!(part.connections);
            value
        });
        json!({
            "cores": cores.collect::<Value>(),
            "namespaces": namespaces.collect::<Value>(),
            "hosts": hosts.collect::<Value>(),
            "read_latency": self.read_latency.to_json(),
            "write_latency": self.write_latency.to_json(),
            "rx_frames_per_second": self.rx_frames,
            "tx_frames_per_second": self.tx_frames,
            "rx_dropped_frames_per_second": self.rx_drops,
        })
    }
}

fn rate<'a>(before: &'a Counters, now: &'a Counters, seconds: f64) -> impl Fn(&str) -> f64 + 'a {
    let get = |of: &Counters, name: &str| of.get(name).copied().unwrap_or_default();
    move |name| {
        let (now, before) = (get(now, name), get(before, name));
        now.checked_sub(before).unwrap_or(now) as f64 / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(reads: u64, bytes: u64) -> Sample {
        let core = |labels: Value, value: u64| json!([{"labels": labels, "value": value}]);
        let clocks = |core: &str, phase: &str, value: u64| json!({"labels": {"core": core, "phase": phase}, "value": value});
        Sample::read(&json!({
            "sluice_io_commands": core(json!({"core": "1", "kind": "read"}), reads),
            "sluice_io_bytes": core(json!({"core": "1", "kind": "read"}), bytes),
            "sluice_connections": core(json!({"core": "1"}), 3),
            "sluice_tcp_retransmits": core(json!({"core": "1"}), 1),
            "sluice_rdma_resent_runs": core(json!({"core": "1"}), reads),
            "sluice_core_clocks": [clocks("0", "idle", reads * 9), clocks("0", "rx", reads), clocks("1", "idle", reads), clocks("1", "tcp", reads * 3)],
            "sluice_rx_dropped_frames": [{"labels": {"reason": "icrc"}, "value": reads}, {"labels": {"reason": "length"}, "value": reads}],
        }))
    }

    #[test]
    fn namespaces_and_hosts_have_rates_and_namespaces_and_cores_percentiles() {
        let at = |n: u64| {
            let ns = |core: &str, kind: &str| json!({"core": core, "subsystem": "nqn.a", "namespace": "1", "ssd": "ssd0", "kind": kind});
            let host = json!({"host": "nqn.h", "subsystem": "nqn.a"});
            let with = |extra: &str, value: &str| {
                let mut labels = host.clone();
                labels[extra] = json!(value);
                labels
            };
            let buckets = json!({"buckets": [[0.001, n], [0.00125, 0], [null, 0]], "sum": 1.0});
            let idle = json!({"core": "1", "subsystem": "nqn.a", "namespace": "2", "ssd": "ssd0", "kind": "read"});
            Sample::read(&json!({
                "sluice_namespace_commands": [{"labels": ns("1", "read"), "value": n}, {"labels": ns("2", "read"), "value": n}, {"labels": idle, "value": 5}],
                "sluice_namespace_latency_seconds": [{"labels": ns("1", "read"), "value": buckets}],
                "sluice_core_latency_seconds": [{"labels": {"core": "1", "kind": "write"}, "value": buckets}],
                "sluice_core_loops": [{"labels": {"core": "1"}, "value": n}],
                "sluice_host_commands": [{"labels": with("kind", "write"), "value": n}],
                "sluice_host_connections": [{"labels": with("transport", "tcp"), "value": 2}, {"labels": with("transport", "rdma"), "value": 1}],
                "sluice_host_events": [{"labels": {"kind": "lost"}, "value": n}],
                "sluice_connection_commands": [{"labels": {"core": "1", "kind": "read"}, "value": n}],
            }))
        };
        let rates = Rates::between(&at(10), &at(30), Duration::from_secs(2));
        let names: Vec<_> = rates.namespaces.iter().map(|n| n.name.join(" ")).collect();
        assert_eq!(names, ["nqn.a 1", "nqn.a 2"], "the busiest first");
        assert_eq!(rates.namespaces[0].reads, 20.0, "of both cores");
        let near = |got: Option<f64>, want: f64| got.is_some_and(|g| (g - want).abs() < 1e-9);
        let latency = rates.namespaces[0].read_latency;
        assert!(
            near(latency.p50, 0.0009) && near(latency.p99, 0.000_998),
            "{latency:?}"
        );
        assert_eq!(rates.namespaces[1].read_latency, Percentiles::default());
        assert_eq!(
            (
                rates.hosts.len(),
                rates.hosts[0].writes,
                rates.hosts[0].connections
            ),
            (1, 10.0, 3)
        );
        assert_eq!(rates.cores[0].read_latency.p50, None);
        assert!(near(rates.cores[0].write_latency.p50, 0.0009));
        assert!(near(rates.write_latency.p50, 0.0009));
        let json = rates.to_json();
        assert_eq!(json["namespaces"][0]["namespace"], "1");
        assert_eq!(
            json["namespaces"][0]["read_latency"]["p50_seconds"],
            latency.p50.expect("reads")
        );
        assert_eq!(json["hosts"][0]["connections"], 3);
        assert_eq!(json["read_latency"]["p99_seconds"], Value::Null);
    }

    #[test]
    fn rates_are_differences_over_time() {
        let rates = Rates::between(
            &sample(100, 409_600),
            &sample(300, 1_228_800),
            Duration::from_secs(2),
        );
        let core = &rates.cores[1];
        assert_eq!((core.core, core.connections), (1, 3));
        assert_eq!(
            (core.reads, core.read_bytes, core.resent),
            (100.0, 409_600.0, 100.0)
        );
        assert_eq!(rates.rx_drops, 200.0);
        assert_eq!(
            (rates.total().reads, rates.total().core),
            (100.0, 1),
            "the control core is none of them"
        );
    }

    #[test]
    fn load_is_the_part_of_the_clocks_that_was_not_idle() {
        let rates = Rates::between(&sample(100, 0), &sample(300, 0), Duration::from_secs(2));
        assert!((rates.cores[0].load - 0.1).abs() < 1e-9, "{rates:?}");
        assert!((rates.cores[1].load - 0.75).abs() < 1e-9, "{rates:?}");
        let phases: Vec<_> = rates.cores[1]
            .phases
            .iter()
            .map(|(phase, part)| (phase.as_str(), *part))
            .collect();
        assert_eq!(phases, [("idle", 0.25), ("tcp", 0.75)]);
        let still = Rates::between(&sample(100, 0), &sample(100, 0), Duration::from_secs(2));
        assert_eq!(
            still.cores[1].load, 0.0,
            "no clocks, as with the functional card"
        );
    }

    #[test]
    fn a_card_started_anew_counts_from_zero() {
        let rates = Rates::between(&sample(1000, 1000), &sample(10, 20), Duration::from_secs(1));
        assert_eq!(
            (rates.cores[1].reads, rates.cores[1].read_bytes),
            (10.0, 20.0)
        );
    }

    #[test]
    fn answers_of_another_shape_are_nothing_rather_than_a_panic() {
        for counters in [
            json!(null),
            json!({"a": [{"labels": {"core": "x"}, "value": 1}, 3, {"labels": 1, "value": "y"}], "b": 4}),
        ] {
            let rates =
                Rates::between(&Sample::default(), &Sample::read(&counters), Duration::ZERO);
            assert_eq!(rates, Rates::default());
        }
    }
}
