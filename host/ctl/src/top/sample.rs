//! Counters at two moments, and what happened per second in between.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// Counters of one thing, by name.
type Counters = BTreeMap<String, u64>;

/// Counters at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// Data cores, by number.
    cores: BTreeMap<u64, Counters>,
    /// Block devices, by name.
    devices: BTreeMap<String, Counters>,
}

impl Sample {
    /// From the answers of `sluice_get_counters` and `bdev_get_iostat`. What is not there counts as nothing.
    #[must_use]
    pub fn read(counters: &Value, iostat: &Value) -> Self {
        let cores = counters["data_cores"].as_array().into_iter().flatten();
        let devices = iostat["bdevs"].as_array().into_iter().flatten();
        Self {
            cores: cores
                .filter_map(|core| Some((core["core"].as_u64()?, numbers(core))))
                .collect(),
            devices: devices
                .filter_map(|device| Some((device["name"].as_str()?.to_owned(), numbers(device))))
                .collect(),
        }
    }
}

fn numbers(object: &Value) -> Counters {
    let members = object.as_object().into_iter().flatten();
    members
        .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
        .collect()
}

/// What one core did, per second but for `connections`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Core {
    /// Its number.
    pub core: u64,
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
    /// Passes of its main loop: many when it has little to do.
    pub loops: f64,
}

/// What one block device did, per second.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Reads.
    pub reads: f64,
    /// Writes.
    pub writes: f64,
    /// Bytes read.
    pub read_bytes: f64,
    /// Bytes written.
    pub write_bytes: f64,
}

/// What happened between two moments.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rates {
    /// Data cores.
    pub cores: Vec<Core>,
    /// Block devices.
    pub devices: Vec<Device>,
}

impl Rates {
    /// Per second of `time`. A counter that went back belongs to a card that was started anew: it counts from 0.
    #[must_use]
    pub fn between(before: &Sample, now: &Sample, time: Duration) -> Self {
        let none = Counters::new();
        let seconds = time.as_secs_f64().max(1e-6);
        let cores = now.cores.iter().map(|(number, counters)| {
            let rate = rate(before.cores.get(number).unwrap_or(&none), counters, seconds);
            Core {
                core: *number,
                connections: counters.get("connections").copied().unwrap_or_default(),
                reads: rate("reads"),
                writes: rate("writes"),
                read_bytes: rate("read_bytes"),
                write_bytes: rate("write_bytes"),
                other: rate("admin") + rate("other_io"),
                errors: rate("errors"),
                waits: rate("waits"),
                resent: rate("retransmits") + rate("rdma_resent"),
                dropped: rate("dropped") + rate("rdma_dropped"),
                loops: rate("loops"),
            }
        });
        let devices = now.devices.iter().map(|(name, counters)| {
            let rate = rate(before.devices.get(name).unwrap_or(&none), counters, seconds);
            Device {
                name: name.clone(),
                reads: rate("num_read_ops"),
                writes: rate("num_write_ops"),
                read_bytes: rate("bytes_read"),
                write_bytes: rate("bytes_written"),
            }
        });
        Self {
            cores: cores.collect(),
            devices: devices.collect(),
        }
    }

    /// All cores together; its number is that of cores.
    #[must_use]
    pub fn total(&self) -> Core {
        let zero = Core {
            core: self.cores.len() as u64,
            ..Core::default()
        };
        self.cores.iter().fold(zero, |sum, one| Core {
            core: sum.core,
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
                "core": c.core, "connections": c.connections,
                "reads_per_second": c.reads, "writes_per_second": c.writes,
                "read_bytes_per_second": c.read_bytes, "write_bytes_per_second": c.write_bytes,
                "other_per_second": c.other, "errors_per_second": c.errors, "waits_per_second": c.waits,
                "resent_per_second": c.resent, "dropped_per_second": c.dropped, "loops_per_second": c.loops,
            })
        });
        let devices = self.devices.iter().map(|d| {
            json!({
                "name": d.name,
                "reads_per_second": d.reads, "writes_per_second": d.writes,
                "read_bytes_per_second": d.read_bytes, "write_bytes_per_second": d.write_bytes,
            })
        });
        json!({ "cores": cores.collect::<Value>(), "bdevs": devices.collect::<Value>() })
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
        Sample::read(
            &json!({"data_cores": [{"core": 1, "reads": reads, "read_bytes": bytes, "connections": 3, "retransmits": 1,
                "rdma_resent": reads}]}),
            &json!({"bdevs": [{"name": "ssd0n1", "num_read_ops": reads, "bytes_read": bytes}]}),
        )
    }

    #[test]
    fn rates_are_differences_over_time() {
        let rates = Rates::between(
            &sample(100, 409_600),
            &sample(300, 1_228_800),
            Duration::from_secs(2),
        );
        let core = &rates.cores[0];
        assert_eq!((core.core, core.connections), (1, 3));
        assert_eq!(
            (core.reads, core.read_bytes, core.resent),
            (100.0, 409_600.0, 100.0)
        );
        assert_eq!(
            (rates.devices[0].reads, rates.devices[0].read_bytes),
            (100.0, 409_600.0)
        );
        assert_eq!(rates.total().reads, 100.0);
    }

    #[test]
    fn a_card_started_anew_counts_from_zero() {
        let rates = Rates::between(&sample(1000, 1000), &sample(10, 20), Duration::from_secs(1));
        assert_eq!(
            (rates.cores[0].reads, rates.cores[0].read_bytes),
            (10.0, 20.0)
        );
    }

    #[test]
    fn answers_of_another_shape_are_nothing_rather_than_a_panic() {
        for (counters, iostat) in [
            (json!(null), json!(7)),
            (
                json!({"data_cores": [{"core": "x"}, 3]}),
                json!({"bdevs": {}}),
            ),
        ] {
            let rates = Rates::between(
                &Sample::default(),
                &Sample::read(&counters, &iostat),
                Duration::ZERO,
            );
            assert_eq!(rates, Rates::default());
        }
    }
}
