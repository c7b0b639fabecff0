//! Takes the metrics: card, engines, cores, SSDs. The card's counters have 32 bits and wrap; they are read every second and
//! added up here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sluice_device::Device;
use sluice_driver::bringup::Rig;
use sluice_driver::card::{Card, CardError};
use sluice_regs::bar0_regs as bar0;
use sluice_rpc::message::RpcError;
use sluice_wire::mgmt::{ControlCounters, Counters, Event, connect_failures};
use sluice_wire::nvme::SmartLog;

use serde_json::{Map, Value, json};

use super::{Owner, card_error};
use crate::VERSION;
use crate::backend::Backends;
use crate::metrics::Snapshot;

/// SMART logs are read no more often than this.
const SMART_AGE: Duration = Duration::from_secs(10);
/// Counter of `CORE_SELECT`: state.
pub(super) const STATE: u32 = 11;
/// Counter of `CORE_SELECT`: accesses of a core to payload.
const PAYLOAD: u32 = 8;
/// What the phase counters count, in their order.
const PHASES: &[&str] = &[
    "idle",
    "rx",
    "tcp",
    "pdu",
    "controller",
    "ssd",
    "tx",
    "other",
];

/// Counters of 32 bits in BAR0: metric, label if it has one, offset.
const ENGINES: &[(&str, &[&str], u32)] = &[
    ("sluice_rx_frames", &[], bar0::RX_FRAMES_OFFSET),
    ("sluice_tx_frames", &[], bar0::TX_FRAMES_OFFSET),
    ("sluice_moves", &[], bar0::MOVES_OFFSET),
    ("sluice_pause_frames", &[], bar0::PAUSE_FRAMES_OFFSET),
    ("sluice_tx_bad_jobs", &[], bar0::TX_BAD_JOBS_OFFSET),
    (
        "sluice_pcie_beats",
        &["in", "read"],
        bar0::PCIE_IN_READS_OFFSET,
    ),
    (
        "sluice_pcie_beats",
        &["in", "write"],
        bar0::PCIE_IN_WRITES_OFFSET,
    ),
    (
        "sluice_pcie_beats",
        &["out", "read"],
        bar0::PCIE_OUT_READS_OFFSET,
    ),
    (
        "sluice_pcie_beats",
        &["out", "write"],
        bar0::PCIE_OUT_WRITES_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["length"],
        bar0::DROP_LENGTH_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["ethertype"],
        bar0::DROP_ETHERTYPE_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["ipv4_header"],
        bar0::DROP_IPV4_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["ipv6_header"],
        bar0::DROP_IPV6_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["fragment"],
        bar0::DROP_FRAGMENT_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["checksum"],
        bar0::DROP_CHECKSUM_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["not_for_us"],
        bar0::DROP_NOT_FOR_US_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["pause"],
        bar0::DROP_PAUSE_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["no_buffer"],
        bar0::DROP_NO_BUFFER_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["queue_full"],
        bar0::DROP_QUEUE_FULL_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["l4_header"],
        bar0::DROP_L4_HEADER_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["overrun"],
        bar0::DROP_OVERRUN_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["roce"],
        bar0::DROP_ROCE_OFFSET,
    ),
    (
        "sluice_rx_dropped_frames",
        &["icrc"],
        bar0::DROP_ICRC_OFFSET,
    ),
];

/// Counters of 64 bits in BAR0.
const WIDE: &[(&str, u32)] = &[
    ("sluice_rx_bytes", bar0::RX_BYTES_OFFSET),
    ("sluice_tx_bytes", bar0::TX_BYTES_OFFSET),
    ("sluice_move_bytes", bar0::MOVE_BYTES_OFFSET),
];

/// A counter of a core or of the control core: metric, further label, value.
type Named<C> = (&'static str, Option<&'static str>, fn(&C) -> u64);

/// What a data core counts.
const CORE: &[Named<Counters>] = &[
    ("sluice_io_commands", Some("read"), |c| c.reads.get()),
    ("sluice_io_commands", Some("write"), |c| c.writes.get()),
    ("sluice_io_commands", Some("other"), |c| c.other_io.get()),
    ("sluice_io_bytes", Some("read"), |c| c.read_bytes.get()),
    ("sluice_io_bytes", Some("write"), |c| c.write_bytes.get()),
    ("sluice_admin_commands", None, |c| c.admin.get()),
    ("sluice_command_errors", None, |c| c.errors.get()),
    ("sluice_connections_accepted", None, |c| c.accepted.get()),
    ("sluice_connections_refused", None, |c| c.refused.get()),
    ("sluice_tcp_retransmits", None, |c| c.retransmits.get()),
    ("sluice_tcp_dropped_segments", None, |c| c.dropped.get()),
    ("sluice_digest_errors", Some("header"), |c| {
        c.header_digest_errors.get()
    }),
    ("sluice_digest_errors", Some("data"), |c| {
        c.data_digest_errors.get()
    }),
    ("sluice_term_requests", None, |c| c.term_reqs.get()),
    ("sluice_ssd_command_timeouts", None, |c| {
        c.ssd_timeouts.get()
    }),
    ("sluice_command_waits", None, |c| c.waits.get()),
    ("sluice_connections_stalled", None, |c| c.stalled.get()),
    ("sluice_core_loops", None, |c| c.loops.get()),
    ("sluice_rdma_messages", None, |c| c.rdma_messages.get()),
    ("sluice_rdma_resent_runs", None, |c| c.rdma_resent.get()),
    ("sluice_rdma_timeouts", None, |c| c.rdma_timeouts.get()),
    ("sluice_rdma_dropped_packets", None, |c| {
        c.rdma_dropped.get()
    }),
    ("sluice_rdma_not_ready", None, |c| c.rdma_not_ready.get()),
    ("sluice_rdma_refused_requests", None, |c| {
        c.rdma_refused.get()
    }),
    ("sluice_rdma_failed_queue_pairs", None, |c| {
        c.rdma_failed.get()
    }),
    ("sluice_rdma_cnps", Some("sent"), |c| c.rdma_cnps_sent.get()),
    ("sluice_rdma_cnps", Some("received"), |c| {
        c.rdma_cnps_received.get()
    }),
];

/// What the control core counts.
const CONTROL: &[Named<ControlCounters>] = &[
    ("sluice_rdma_cm_requests", Some("accepted"), |c| {
        c.rdma_cm_accepted.get().into()
    }),
    ("sluice_rdma_cm_requests", Some("refused"), |c| {
        c.rdma_cm_refused.get().into()
    }),
    ("sluice_rdma_cm_requests", Some("duplicate"), |c| {
        c.rdma_cm_duplicates.get().into()
    }),
    ("sluice_rdma_cm_requests", Some("stale"), |c| {
        c.rdma_cm_stale.get().into()
    }),
    ("sluice_rdma_cm_requests", Some("unconfirmed"), |c| {
        c.rdma_cm_unconfirmed.get().into()
    }),
    ("sluice_rdma_cm_messages", Some("repeated"), |c| {
        c.rdma_cm_repeated.get().into()
    }),
    ("sluice_rdma_cm_messages", Some("ignored"), |c| {
        c.rdma_cm_ignored.get().into()
    }),
    ("sluice_rdma_cm_messages", Some("dropped"), |c| {
        c.rdma_cm_dropped.get().into()
    }),
    ("sluice_rdma_stray_packets", None, |c| {
        c.rdma_strays.get().into()
    }),
    ("sluice_connect_failures", Some("host"), |c| {
        c.connects_failed[connect_failures::HOST].get().into()
    }),
    ("sluice_connect_failures", Some("subsystem"), |c| {
        c.connects_failed[connect_failures::SUBSYSTEM].get().into()
    }),
    ("sluice_connect_failures", Some("parameters"), |c| {
        c.connects_failed[connect_failures::PARAMETERS].get().into()
    }),
    ("sluice_connect_failures", Some("busy"), |c| {
        c.connects_failed[connect_failures::BUSY].get().into()
    }),
    ("sluice_connect_failures", Some("sequence"), |c| {
        c.connects_failed[connect_failures::SEQUENCE].get().into()
    }),
    ("sluice_connect_failures", Some("timeout"), |c| {
        c.connects_failed[connect_failures::TIMEOUT].get().into()
    }),
    ("sluice_connect_failures", Some("other"), |c| {
        c.connects_failed[connect_failures::OTHER].get().into()
    }),
];

/// The labels of a metric, the port's name first if it is one of a port.
fn of_port<'a>(metric: &str, port: &'a str, labels: &[&'a str]) -> Vec<&'a str> {
    let of_port = [
        "sluice_rx_",
        "sluice_tx_frames",
        "sluice_tx_bytes",
        "sluice_pause_",
    ];
    let of_port = of_port.iter().any(|p| metric.starts_with(p));
    let port = of_port.then_some(port);
    port.into_iter().chain(labels.iter().copied()).collect()
}

/// Counters added up over their wraps.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// By place: last value read, and total.
    places: HashMap<Place, (u32, u64)>,
    connected: u64,
    disconnected: u64,
    lost: u64,
    refused: u64,
    smart: HashMap<usize, (Instant, Box<SmartLog>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Place {
    Register(u32),
    Core(u32, u32),
}

impl Totals {
    /// Reads everything that wraps.
    pub fn update<D: Device>(&mut self, rig: &mut Rig<D>) -> Result<(), CardError> {
        let card = rig.card();
        for (_, _, offset) in ENGINES {
            let now = card.device().bar(0)?.read32((*offset).into())?;
            self.add(Place::Register(*offset), now);
        }
        for core in 0..u32::from(card.info().cores) {
            for counter in 0..=PAYLOAD {
                let now = core_value(card, core, counter)?;
                self.add(Place::Core(core, counter), now);
            }
        }
        Ok(())
    }

    /// Counts an event of the card.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::HostConnected => self.connected += 1,
            Event::HostDisconnected => self.disconnected += 1,
            Event::HostLost => self.lost += 1,
            Event::HostRefused => self.refused += 1,
            Event::SsdTimeout => {}
        }
    }

    fn add(&mut self, place: Place, now: u32) {
        let (last, total) = self.places.entry(place).or_default();
        *total += u64::from(now.wrapping_sub(*last));
        *last = now;
    }

    fn total(&self, place: Place) -> u64 {
        self.places.get(&place).map_or(0, |(_, total)| *total)
    }
}

/// A counter of a core, through the core window.
pub(super) fn core_value<D: Device>(
    card: &Card<D>,
    core: u32,
    counter: u32,
) -> Result<u32, CardError> {
    let bar = card.device().bar(0)?;
    bar.write32(bar0::CORE_SELECT_OFFSET.into(), core | counter << 8)?;
    Ok(bar.read32(bar0::CORE_VALUE_OFFSET.into())?)
}

impl<B: Backends> Owner<B> {
    /// The metrics as they are now. A card that does not answer gives `sluice_up` 0 and what the daemon itself knows.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let mut to = Snapshot::default();
        to.gauge(
            "sluice_build_info",
            &[VERSION, &self.rig.card().info().firmware.clone()],
            1.0,
        );
        to.gauge(
            "sluice_state_saved",
            &[],
            f64::from(u8::from(!self.unsaved)),
        );
        to.gauge(
            "sluice_subsystems",
            &[],
            self.rig.config().subsystems.len() as f64,
        );
        to.gauge(
            "sluice_absent_namespaces",
            &[],
            self.absent.namespaces.len() as f64,
        );
        for (how, count) in [
            ("connected", self.totals.connected),
            ("disconnected", self.totals.disconnected),
            ("lost", self.totals.lost),
            ("refused", self.totals.refused),
        ] {
            to.counter("sluice_host_events", &[how], count);
        }
        let up = match self.card_metrics(&mut to) {
            Ok(()) => self.failed.is_none(),
            Err(error) => {
                self.card_failed(&error.to_string());
                false
            }
        };
        to.gauge("sluice_up", &[], f64::from(u8::from(up)));
        self.ssd_metrics(&mut to);
        to
    }

    /// Everything counted, as JSON.
    pub(super) fn counters(&mut self) -> Result<Value, RpcError> {
        let mut to = Snapshot::default();
        self.card_metrics(&mut to).map_err(card_error)?;
        Ok(to.to_json())
    }

    fn card_metrics(&mut self, to: &mut Snapshot) -> Result<(), CardError> {
        self.totals.update(&mut self.rig)?;
        self.tallies.update(&mut self.rig)?;
        // The card has one.
        let port = self.rig.config().ports.first().map(|p| p.name.clone());
        let port = port.unwrap_or_default();
        for (metric, labels, offset) in ENGINES {
            let labels = of_port(metric, &port, labels);
            to.counter(metric, &labels, self.totals.total(Place::Register(*offset)));
        }
        self.tallies.metrics(&port, to);
        let card = self.rig.card();
        for (metric, offset) in WIDE {
            // The low word first: it latches the high word.
            let value = card.device().bar(0)?.read64((*offset).into())?;
            to.counter(metric, &of_port(metric, &port, &[]), value);
        }
        for core in 0..u32::from(card.info().cores) {
            let name = core.to_string();
            for (phase, label) in (0..).zip(PHASES) {
                to.counter(
                    "sluice_core_clocks",
                    &[&name, label],
                    self.totals.total(Place::Core(core, phase)),
                );
            }
            to.counter(
                "sluice_core_payload_accesses",
                &[&name],
                self.totals.total(Place::Core(core, PAYLOAD)),
            );
        }
        let control = card.control_counters()?;
        to.gauge(
            "sluice_rdma_cm_connections",
            &[],
            control.rdma_cm_connections.get().into(),
        );
        for (metric, label, value) in CONTROL {
            to.counter(metric, label.as_slice(), value(&control));
        }
        for core in 1..u32::from(card.info().cores) {
            let counters = card.counters(core)?;
            let name = core.to_string();
            to.gauge(
                "sluice_connections",
                &[&name],
                counters.connections.get() as f64,
            );
            for (metric, label, value) in CORE {
                let labels: Vec<&str> = std::iter::once(name.as_str()).chain(*label).collect();
                to.counter(metric, &labels, value(&counters));
            }
        }
        Ok(())
    }

    fn ssd_metrics(&mut self, to: &mut Snapshot) {
        for index in 0..self.rig.config().ssds.len() {
            let name = self.rig.config().ssds[index].name.clone();
            let serves = self.rig.serves(index);
            to.gauge("sluice_ssd_serving", &[&name], f64::from(u8::from(serves)));
            let Some(ssd) = self.rig.ssd(index) else {
                self.totals.smart.remove(&index);
                continue;
            };
            let fresh = self
                .totals
                .smart
                .get(&index)
                .is_some_and(|(at, _)| at.elapsed() < SMART_AGE);
            if !fresh {
                match ssd.smart() {
                    Ok(log) => {
                        _ = self
                            .totals
                            .smart
                            .insert(index, (Instant::now(), Box::new(log)))
                    }
                    // The SSD is looked after elsewhere.
                    Err(error) => log::debug!("{name}: {error}"),
                }
            }
            if let Some((_, log)) = self.totals.smart.get(&index) {
                smart_metrics(&name, log, to);
            }
        }
        for ssd in &self.absent.ssds {
            to.gauge(
                "sluice_ssd_serving",
                &[ssd.name.as_deref().unwrap_or_default()],
                0.0,
            );
        }
    }
}

/// Bytes of a data unit: a thousand times 512.
const UNIT: u64 = 512_000;

fn smart_metrics(name: &str, log: &SmartLog, to: &mut Snapshot) {
    to.gauge(
        "sluice_ssd_temperature_celsius",
        &[name],
        f64::from(log.temperature.get()) - 273.0,
    );
    to.gauge("sluice_ssd_critical_warning", &[name], log.warning.into());
    to.gauge(
        "sluice_ssd_available_spare_ratio",
        &[name],
        f64::from(log.spare) / 100.0,
    );
    to.gauge(
        "sluice_ssd_used_ratio",
        &[name],
        f64::from(log.used) / 100.0,
    );
    to.counter(
        "sluice_ssd_media_errors",
        &[name],
        log.media_errors[0].get(),
    );
    to.counter(
        "sluice_ssd_data_bytes",
        &[name, "read"],
        log.units_read[0].get().saturating_mul(UNIT),
    );
    to.counter(
        "sluice_ssd_data_bytes",
        &[name, "write"],
        log.units_written[0].get().saturating_mul(UNIT),
    );
    to.counter(
        "sluice_ssd_power_on_hours",
        &[name],
        log.power_on_hours[0].get(),
    );
    to.counter(
        "sluice_ssd_power_cycles",
        &[name],
        log.power_cycles[0].get(),
    );
    to.counter(
        "sluice_ssd_unsafe_shutdowns",
        &[name],
        log.unsafe_shutdowns[0].get(),
    );
}

impl Snapshot {
    /// As an object: metric, and in it a value, or a list of values with their labels.
    fn to_json(&self) -> Value {
        let mut object = Map::new();
        for sample in self.samples() {
            let entry = object
                .entry(sample.metric.name)
                .or_insert_with(|| json!([]));
            let labels: Map<String, Value> =
                sample.labels().map(|(k, v)| (k.into(), json!(v))).collect();
            if let Some(list) = entry.as_array_mut() {
                list.push(json!({ "labels": labels, "value": sample.reading.to_json() }));
            }
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_wraps_goes_on_in_its_total() {
        let mut totals = Totals::default();
        let place = Place::Register(0);
        for now in [5, u32::MAX, 3] {
            totals.add(place, now);
        }
        assert_eq!(totals.total(place), (1 << 32) + 3);
    }
}
