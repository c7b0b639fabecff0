//! Every metric. docs/metrics.md is held against this table by a test.

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, without the `_total` that counters get in the text.
    pub name: &'static str,
    /// What it says, one sentence.
    pub help: &'static str,
    /// Kind.
    pub kind: Kind,
    /// In what it is measured.
    pub unit: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
}

/// Kind of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only rises, but for a new start of the card or the daemon.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by size.
    Histogram,
}

use Kind::{Counter, Gauge};

const fn metric(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        help,
        kind,
        unit,
        labels,
    }
}

/// The table, in the order of the documentation.
pub const METRICS: &[Metric] = &[
    metric(
        "sluice_up",
        Gauge,
        "1 or 0",
        &[],
        "The card answers and all its cores run",
    ),
    metric(
        "sluice_build_info",
        Gauge,
        "1",
        &["daemon", "firmware"],
        "Versions",
    ),
    metric(
        "sluice_state_saved",
        Gauge,
        "1 or 0",
        &[],
        "The state file has the last change",
    ),
    metric(
        "sluice_subsystems",
        Gauge,
        "subsystems",
        &[],
        "Subsystems configured",
    ),
    metric(
        "sluice_absent_namespaces",
        Gauge,
        "namespaces",
        &[],
        "Namespaces whose SSD cannot be opened, or has changed",
    ),
    metric(
        "sluice_host_events",
        Counter,
        "events",
        &["kind"],
        "Hosts connected, disconnected, lost (keep-alive or transport), refused (failed connects)",
    ),
    metric(
        "sluice_rx_frames",
        Counter,
        "frames",
        &[],
        "Frames delivered to a core",
    ),
    metric(
        "sluice_rx_bytes",
        Counter,
        "bytes",
        &[],
        "Bytes of these frames, without FCS",
    ),
    metric(
        "sluice_rx_dropped_frames",
        Counter,
        "frames",
        &["reason"],
        "Frames that rx dropped, by reason; reason pause are PAUSE frames, which are consumed",
    ),
    metric(
        "sluice_pause_frames",
        Counter,
        "frames",
        &[],
        "PAUSE and PFC frames seen",
    ),
    metric("sluice_tx_frames", Counter, "frames", &[], "Frames sent"),
    metric(
        "sluice_tx_bytes",
        Counter,
        "bytes",
        &[],
        "Bytes of these frames, without FCS",
    ),
    metric(
        "sluice_tx_bad_jobs",
        Counter,
        "jobs",
        &[],
        "Transmit jobs that made no sense: a fault of the firmware",
    ),
    metric("sluice_moves", Counter, "jobs", &[], "Jobs of the mover"),
    metric(
        "sluice_move_bytes",
        Counter,
        "bytes",
        &[],
        "Bytes moved by it",
    ),
    metric(
        "sluice_pcie_beats",
        Counter,
        "beats of up to 16 bytes",
        &["direction", "kind"],
        "PCIe reads and writes; direction is seen from the card",
    ),
    metric(
        "sluice_core_clocks",
        Counter,
        "clocks",
        &["core", "phase"],
        "What a core spent its clocks on; all but idle is load. Core 0 is the control core",
    ),
    metric(
        "sluice_core_payload_accesses",
        Counter,
        "accesses",
        &["core"],
        "Accesses of a core to payload: there should be none",
    ),
    metric(
        "sluice_core_loops",
        Counter,
        "passes",
        &["core"],
        "Passes of a data core's main loop",
    ),
    metric(
        "sluice_io_commands",
        Counter,
        "commands",
        &["core", "kind"],
        "I/O commands that succeeded: read, write, other",
    ),
    metric(
        "sluice_io_bytes",
        Counter,
        "bytes",
        &["core", "kind"],
        "Bytes of reads and writes that succeeded",
    ),
    metric(
        "sluice_admin_commands",
        Counter,
        "commands",
        &["core"],
        "Admin and Fabrics commands",
    ),
    metric(
        "sluice_command_errors",
        Counter,
        "commands",
        &["core"],
        "Commands that ended with an error status",
    ),
    metric(
        "sluice_command_waits",
        Counter,
        "commands",
        &["core"],
        "Commands that waited for pages or for a place in an SSD's queue",
    ),
    metric(
        "sluice_ssd_command_timeouts",
        Counter,
        "timeouts",
        &["core"],
        "SSD commands that were not answered in time",
    ),
    metric(
        "sluice_connections",
        Gauge,
        "connections",
        &["core"],
        "Connections open: TCP and RDMA queue pairs",
    ),
    metric(
        "sluice_connections_accepted",
        Counter,
        "connections",
        &["core"],
        "Connections accepted",
    ),
    metric(
        "sluice_connections_refused",
        Counter,
        "connections",
        &["core"],
        "Connections refused or dropped for want of room",
    ),
    metric(
        "sluice_connections_stalled",
        Counter,
        "connections",
        &["core"],
        "Connections ended because the host neither read nor sent while others waited for memory",
    ),
    metric(
        "sluice_term_requests",
        Counter,
        "connections",
        &["core"],
        "Connections ended by a TermReq, either way",
    ),
    metric(
        "sluice_tcp_retransmits",
        Counter,
        "segments",
        &["core"],
        "TCP segments sent again",
    ),
    metric(
        "sluice_tcp_dropped_segments",
        Counter,
        "segments",
        &["core"],
        "Segments that the TCP machine dropped: old, out of window, out of order without room, for nobody",
    ),
    metric(
        "sluice_digest_errors",
        Counter,
        "PDUs",
        &["core", "kind"],
        "PDUs whose header or data digest was wrong",
    ),
    metric(
        "sluice_rdma_messages",
        Counter,
        "messages",
        &["core"],
        "RDMA messages received: commands",
    ),
    metric(
        "sluice_rdma_resent_runs",
        Counter,
        "runs",
        &["core"],
        "Runs of RDMA packets sent again",
    ),
    metric(
        "sluice_rdma_timeouts",
        Counter,
        "timeouts",
        &["core"],
        "Times that an RDMA host did not acknowledge in time",
    ),
    metric(
        "sluice_rdma_dropped_packets",
        Counter,
        "packets",
        &["core"],
        "RoCE packets dropped by a core: out of order, duplicates, for no living queue pair",
    ),
    metric(
        "sluice_rdma_not_ready",
        Counter,
        "messages",
        &["core"],
        "RDMA messages put off for want of a receive or of frame buffers",
    ),
    metric(
        "sluice_rdma_refused_requests",
        Counter,
        "requests",
        &["core"],
        "RDMA requests refused for good",
    ),
    metric(
        "sluice_rdma_failed_queue_pairs",
        Counter,
        "queue pairs",
        &["core"],
        "Queue pairs that ended by an error",
    ),
    metric(
        "sluice_rdma_cnps",
        Counter,
        "packets",
        &["core", "direction"],
        "Congestion notifications",
    ),
    metric(
        "sluice_rdma_cm_connections",
        Gauge,
        "connections",
        &[],
        "Queue pairs that hosts have, or are getting or giving back",
    ),
    metric(
        "sluice_rdma_cm_requests",
        Counter,
        "requests",
        &["outcome"],
        "Requests of the RDMA connection manager",
    ),
    metric(
        "sluice_rdma_cm_messages",
        Counter,
        "messages",
        &["kind"],
        "Messages of the RDMA connection manager repeated, ignored and dropped",
    ),
    metric(
        "sluice_rdma_stray_packets",
        Counter,
        "packets",
        &[],
        "RoCE packets for no queue pair",
    ),
    metric(
        "sluice_ssd_serving",
        Gauge,
        "1 or 0",
        &["ssd"],
        "The SSD is attached to the card",
    ),
    metric(
        "sluice_ssd_temperature_celsius",
        Gauge,
        "celsius",
        &["ssd"],
        "Composite temperature",
    ),
    metric(
        "sluice_ssd_critical_warning",
        Gauge,
        "bits",
        &["ssd"],
        "Critical warning of the SMART log, a bit mask",
    ),
    metric(
        "sluice_ssd_available_spare_ratio",
        Gauge,
        "ratio",
        &["ssd"],
        "Spare blocks left",
    ),
    metric(
        "sluice_ssd_used_ratio",
        Gauge,
        "ratio",
        &["ssd"],
        "Life used up; may exceed 1",
    ),
    metric(
        "sluice_ssd_media_errors",
        Counter,
        "errors",
        &["ssd"],
        "Media and data integrity errors over its life",
    ),
    metric(
        "sluice_ssd_data_bytes",
        Counter,
        "bytes",
        &["ssd", "kind"],
        "Data read and written over its life, in steps of 512,000 bytes",
    ),
    metric(
        "sluice_ssd_power_on_hours",
        Counter,
        "hours",
        &["ssd"],
        "Hours powered on",
    ),
    metric(
        "sluice_ssd_power_cycles",
        Counter,
        "cycles",
        &["ssd"],
        "Power cycles",
    ),
    metric(
        "sluice_ssd_unsafe_shutdowns",
        Counter,
        "shutdowns",
        &["ssd"],
        "Shutdowns without notice",
    ),
];
