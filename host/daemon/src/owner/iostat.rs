//! What [`Tallies`] has, as metrics and as `bdev_get_iostat`.

use serde_json::{Value, json};
use sluice_rpc::message::{RpcError, code};
use sluice_rpc::method::Params;
use sluice_wire::stats::{BUCKETS, CLOCKS_PER_SECOND, READ, WRITE, bucket_end};

use super::tallies::{Done, Io, Tallies};
use super::{Owner, card_error};
use crate::backend::Backends;
use crate::metrics::Snapshot;

/// Buckets of the exported histograms: beyond, a second and more, nothing is told apart.
const EXPORTED: usize = 72;
/// Directions by their index.
const DIRECTIONS: [(usize, &str); 2] = [(READ, "read"), (WRITE, "write")];

impl Tallies {
    /// Adds everything; the card has one port, of this name.
    pub fn metrics(&self, port: &str, to: &mut Snapshot) {
        self.namespace_metrics(to);
        self.connection_metrics(port, to);
        for (host, subsystem, of) in self.hosts() {
            let labels = [host, subsystem];
            done("sluice_host", &labels, &of.done, to);
            for (open, transport) in of.open.into_iter().zip(["tcp", "rdma"]) {
                let labels = [host, subsystem, transport];
                to.gauge("sluice_host_connections", &labels, open as f64);
            }
        }
        for (core, io) in self.cores() {
            latencies("sluice_core_latency_seconds", &[&core.to_string()], &io, to);
        }
        let mut ssds = std::collections::BTreeMap::<String, Io>::new();
        for ((_, ssd), io) in self.bdevs() {
            ssds.entry(ssd).or_default().add(&io);
        }
        for (ssd, io) in ssds {
            counts("sluice_ssd_io", &[&ssd], &io, to);
            latencies("sluice_ssd_latency_seconds", &[&ssd], &io, to);
        }
    }

    fn namespace_metrics(&self, to: &mut Snapshot) {
        let mut whole = std::collections::BTreeMap::<_, Io>::new();
        for (core, ns) in self.namespaces() {
            let (core, nsid) = (core.to_string(), ns.nsid().to_string());
            let labels = [core.as_str(), &ns.subsystem, &nsid, &ns.ssd];
            counts("sluice_namespace", &labels, &ns.io, to);
            let name = (ns.subsystem.as_str(), ns.nsid(), ns.ssd.as_str());
            whole.entry(name).or_default().add(&ns.io);
        }
        for ((subsystem, nsid, ssd), io) in whole {
            let labels = [subsystem, &nsid.to_string(), ssd];
            latencies("sluice_namespace_latency_seconds", &labels, &io, to);
        }
    }

    fn connection_metrics(&self, port: &str, to: &mut Snapshot) {
        for (core, connection) in self.connections() {
            let Some(who) = &connection.who else { continue };
            let (core, name) = (core.to_string(), connection.name());
            let (controller, queue) = (who.controller.to_string(), who.queue.to_string());
            let labels = [
                core.as_str(),
                &name,
                &who.host,
                &who.subsystem,
                &controller,
                &queue,
                connection.transport(),
                port,
            ];
            done("sluice_connection", &labels, &connection.done, to);
        }
    }
}

/// Commands, bytes and errors of a namespace or an SSD.
fn counts(what: &str, labels: &[&str], io: &Io, to: &mut Snapshot) {
    let kinds = [
        ("read", io.commands(READ)),
        ("write", io.commands(WRITE)),
        ("unmap", io.unmaps),
        ("other", io.others),
    ];
    for (kind, count) in kinds {
        to.counter(&format!("{what}_commands"), &with(labels, kind), count);
    }
    for (direction, kind) in DIRECTIONS {
        let bytes = io.bytes[direction];
        to.counter(&format!("{what}_bytes"), &with(labels, kind), bytes);
    }
    to.counter(&format!("{what}_errors"), labels, io.errors);
}

/// The same of a connection or a host.
fn done(what: &str, labels: &[&str], done: &Done, to: &mut Snapshot) {
    let kinds = [
        ("read", done.commands[READ]),
        ("write", done.commands[WRITE]),
        ("other", done.others),
    ];
    for (kind, count) in kinds {
        to.counter(&format!("{what}_commands"), &with(labels, kind), count);
    }
    for (direction, kind) in DIRECTIONS {
        let bytes = done.bytes[direction];
        to.counter(&format!("{what}_bytes"), &with(labels, kind), bytes);
    }
    to.counter(&format!("{what}_errors"), labels, done.errors);
}

fn latencies(metric: &str, labels: &[&str], io: &Io, to: &mut Snapshot) {
    for (direction, kind) in DIRECTIONS {
        let buckets = exported(&io.histograms[direction]);
        let sum = seconds(io.clocks[direction]);
        to.histogram(metric, &with(labels, kind), buckets, sum);
    }
}

fn with<'a>(labels: &[&'a str], kind: &'a str) -> Vec<&'a str> {
    labels.iter().copied().chain([kind]).collect()
}

/// Upper bounds in seconds, and the commands in each bucket.
fn exported(histogram: &[u64; BUCKETS]) -> Vec<(f64, u64)> {
    let (told, beyond) = histogram.split_at(EXPORTED);
    let told = told.iter().enumerate();
    told.map(|(index, count)| (seconds(bucket_end(index)), *count))
        .chain([(f64::INFINITY, beyond.iter().sum())])
        .collect()
}

fn seconds(clocks: u64) -> f64 {
    clocks as f64 / f64::from(CLOCKS_PER_SECOND)
}

impl<B: Backends> Owner<B> {
    /// `bdev_get_iostat`: ticks are card clocks. Least and most are bounds of the buckets that they are in.
    pub(super) fn get_iostat(&mut self, params: &Params) -> Result<Value, RpcError> {
        if params.flag("per_channel") == Some(true) {
            return Err(RpcError::params(
                "per_channel: false wanted, since a block device has no channels here (nvmf_get_stats has the cores); true came",
            ));
        }
        if let Some(mode) = params.text("reset_mode").filter(|mode| *mode != "none") {
            return Err(RpcError::params(format!(
                "reset_mode: none wanted, since counters only rise here; {mode} came",
            )));
        }
        let only = names(params)?;
        let ssds = self.rig.config().ssds.clone();
        let mut wanted = Vec::new();
        for (ssd, info) in ssds.iter().zip(self.infos()) {
            let namespaces = info.map(|i| i.namespaces).unwrap_or_default();
            wanted.extend(
                namespaces
                    .iter()
                    .map(|n| format!("{}n{}", ssd.name, n.nsid)),
            );
        }
        if let Some(only) = only {
            if let Some(name) = only.iter().find(|name| !wanted.contains(name)) {
                return Err(RpcError::new(
                    code::ENODEV,
                    format!("there is no block device {name:?}; bdev_get_bdevs lists them"),
                ));
            }
            wanted.retain(|name| only.contains(name));
        }
        self.tallies.update(&mut self.rig).map_err(card_error)?;
        let all = self.tallies.bdevs();
        let bdevs = wanted.into_iter().map(|name| {
            let found = all.iter().find(|((bdev, _), _)| *bdev == name);
            iostat(&name, &found.map(|(_, io)| io.clone()).unwrap_or_default())
        });
        let ticks = self.started.elapsed().as_secs_f64() * f64::from(CLOCKS_PER_SECOND);
        Ok(json!({
            "tick_rate": CLOCKS_PER_SECOND,
            "ticks": ticks as u64,
            "bdevs": bdevs.collect::<Value>(),
        }))
    }
}

/// Block devices that are asked for, by `name` as SPDK's clients have it up to 26.01, or by `names`.
fn names(params: &Params) -> Result<Option<Vec<String>>, RpcError> {
    let mut only: Option<Vec<String>> = None;
    if let Some(list) = params.value("names") {
        let list = serde_json::from_value::<Vec<String>>(list.clone());
        only = Some(list.map_err(|_| {
            RpcError::params("names: a list of names of block devices wanted, something else came")
        })?);
    }
    if let Some(name) = params.text("name") {
        only.get_or_insert_default().push(name.into());
    }
    Ok(only)
}

fn iostat(name: &str, io: &Io) -> Value {
    let bounds = |direction: usize| {
        let histogram = &io.histograms[direction];
        let first = histogram.iter().position(|n| *n > 0);
        let last = histogram.iter().rposition(|n| *n > 0);
        let least = match first {
            None | Some(0) => 0,
            Some(index) => bucket_end(index - 1),
        };
        (least, last.map_or(0, bucket_end))
    };
    let ((least_read, most_read), (least_write, most_write)) = (bounds(READ), bounds(WRITE));
    json!({
        "name": name,
        "bytes_read": io.bytes[READ],
        "num_read_ops": io.commands(READ),
        "bytes_written": io.bytes[WRITE],
        "num_write_ops": io.commands(WRITE),
        "bytes_unmapped": 0,
        "num_unmap_ops": io.unmaps,
        "bytes_copied": 0,
        "num_copy_ops": 0,
        "read_latency_ticks": io.clocks[READ],
        "max_read_latency_ticks": most_read,
        "min_read_latency_ticks": least_read,
        "write_latency_ticks": io.clocks[WRITE],
        "max_write_latency_ticks": most_write,
        "min_write_latency_ticks": least_write,
        "unmap_latency_ticks": 0,
        "max_unmap_latency_ticks": 0,
        "min_unmap_latency_ticks": 0,
        "copy_latency_ticks": 0,
        "max_copy_latency_ticks": 0,
        "min_copy_latency_ticks": 0,
        "io_error": if io.errors == 0 { json!({}) } else { json!({ "failed": io.errors }) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_buckets_have_every_command_and_end_at_infinity() {
        let mut histogram = [0; BUCKETS];
        (histogram[0], histogram[EXPORTED], histogram[BUCKETS - 1]) = (1, 2, 4);
        let buckets = exported(&histogram);
        assert_eq!(buckets.iter().map(|(_, n)| n).sum::<u64>(), 7);
        assert_eq!(buckets[0], (1280.0 / 250e6, 1));
        assert!((buckets[EXPORTED - 1].0 - 1.073_741_824).abs() < 1e-12);
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 6)));
    }

    #[test]
    fn least_and_most_are_the_bounds_of_the_outermost_buckets() {
        let mut io = Io::default();
        io.histograms[READ][4] = 1;
        io.histograms[READ][9] = 3;
        let told = iostat("ssd0n1", &io);
        assert_eq!(told["num_read_ops"], 4);
        assert_eq!(told["min_read_latency_ticks"], 2048);
        assert_eq!(told["max_read_latency_ticks"], bucket_end(9));
        assert_eq!(told["max_write_latency_ticks"], 0);
    }
}
