//! Counters at two moments, and what happened per second in between.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// Counters of one thing, by name; a metric with further labels has one for each, `metric:label`.
type Counters = BTreeMap<String, u64>;

/// Begins the names of the counters of clocks; the phase follows.
const CLOCKS: &str = "sluice_core_clocks:";

/// Counters at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sample {
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
                let Some(value) = entry["value"].as_f64() else {
                    continue;
                };
                sample.add(metric, &entry["labels"], value as u64);
            }
        }
        sample
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
}

impl Rates {
    /// Per second of `time`. A counter that went back belongs to a card that was started anew: it counts from 0.
    #[must_use]
    pub fn between(before: &Sample, now: &Sample, time: Duration) -> Self {
        let none = Counters::new();
        let seconds = time.as_secs_f64().max(1e-6);
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
            Core {
                core: *number,
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
        let card = rate(&before.card, &now.card, seconds);
        Self {
            cores: cores.collect(),
            rx_frames: card("sluice_rx_frames"),
            tx_frames: card("sluice_tx_frames"),
            rx_drops: card("sluice_rx_dropped_frames"),
        }
    }

    /// All cores together; its number is that of data cores, its load the sum of theirs.
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
            })
        });
        json!({
            "cores": cores.collect::<Value>(),
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
