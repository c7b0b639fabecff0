//! Figures of the card in its own time: IOPS, Gb/s, core clocks per I/O by phase, latency with an SSD that takes no time.
//!
//! The host is the in-process initiator over a 100 Gb/s link. Everything is exact and repeatable but `khz`, which is the
//! speed of the simulation.

use std::time::Instant;

use serde::Serialize;
use sluice_hal::Phase;
use sluice_regs::bar0_regs;

use super::lab::Lab;
use super::server::{LOSSES, Server, ServerError, Setup};
use super::{firmware, profile};
use crate::initiator::{
    Config, ConnectConfig, HostError, Initiator, Transport, Workload, WorkloadConfig,
};
use crate::link::LinkConfig;
use crate::ssd::{Latency, NamespaceSpec, SsdConfig};
use crate::world::{CARD_BAR0, WorldHandle};

/// Clocks per microsecond.
const CLOCKS_PER_MICRO: f64 = 250.0;
/// Phases as they are named in reports, by number.
const PHASES: [&str; 8] = [
    "idle",
    "rx",
    "tcp",
    "pdu",
    "controller",
    "ssd",
    "tx",
    "other",
];
/// Clocks in which the card must answer while a host connects: 100 ms.
const PATIENCE: u64 = 25_000_000;
/// The core that is profiled: the first data core.
const PROFILED: u32 = 1;
/// Counters of the core window beyond the phases.
const PAGE_ACCESSES: u32 = 8;
const FRAME_LOADS: u32 = 9;
/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// As in reports.
    pub name: &'static str,
    read: bool,
    kib: u32,
    depth: usize,
    sequential: bool,
    way: Way,
    ios: u64,
}

/// How commands and data travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Tcp,
    /// With header and data digests.
    Digests,
    /// NVMe/RDMA with a path MTU of 1,024 bytes, as on an Ethernet of 1,500; writes in the capsule up to 8 KiB.
    Rdma,
    /// NVMe/TCP with frames of 9,000 bytes.
    TcpJumbo,
    /// NVMe/RDMA with a path MTU of 4,096 bytes.
    RdmaJumbo,
}

impl Way {
    const fn is_jumbo(self) -> bool {
        matches!(self, Self::TcpJumbo | Self::RdmaJumbo)
    }
}

const fn case(name: &'static str, read: bool, kib: u32, depth: usize, way: Way, ios: u64) -> Case {
    Case {
        name,
        read,
        kib,
        depth,
        sequential: kib > 4,
        way,
        ios,
    }
}

/// What is measured.
pub const CASES: [Case; 26] = [
    case("4k-randread-qd1", true, 4, 1, Way::Tcp, 300),
    case("4k-randread-qd32", true, 4, 32, Way::Tcp, 2000),
    case("4k-randwrite-qd1", false, 4, 1, Way::Tcp, 300),
    case("4k-randwrite-qd32", false, 4, 32, Way::Tcp, 2000),
    case("128k-seqread-qd8", true, 128, 8, Way::Tcp, 200),
    case("128k-seqwrite-qd8", false, 128, 8, Way::Tcp, 100),
    case("4k-randread-qd1-digests", true, 4, 1, Way::Digests, 300),
    case("4k-randread-qd32-digests", true, 4, 32, Way::Digests, 2000),
    case("4k-randwrite-qd1-digests", false, 4, 1, Way::Digests, 300),
    case(
        "4k-randwrite-qd32-digests",
        false,
        4,
        32,
        Way::Digests,
        2000,
    ),
    case("128k-seqread-qd8-digests", true, 128, 8, Way::Digests, 200),
    case(
        "128k-seqwrite-qd8-digests",
        false,
        128,
        8,
        Way::Digests,
        100,
    ),
    case("4k-randread-qd1-rdma", true, 4, 1, Way::Rdma, 300),
    case("4k-randread-qd32-rdma", true, 4, 32, Way::Rdma, 2000),
    case("4k-randwrite-qd1-rdma", false, 4, 1, Way::Rdma, 300),
    case("4k-randwrite-qd32-rdma", false, 4, 32, Way::Rdma, 2000),
    case("128k-seqread-qd8-rdma", true, 128, 8, Way::Rdma, 200),
    case("128k-seqwrite-qd8-rdma", false, 128, 8, Way::Rdma, 100),
    case("4k-randread-qd32-jumbo", true, 4, 32, Way::TcpJumbo, 2000),
    case("4k-randwrite-qd32-jumbo", false, 4, 32, Way::TcpJumbo, 2000),
    case("128k-seqread-qd8-jumbo", true, 128, 8, Way::TcpJumbo, 200),
    case("128k-seqwrite-qd8-jumbo", false, 128, 8, Way::TcpJumbo, 100),
    case(
        "4k-randread-qd32-rdma-jumbo",
        true,
        4,
        32,
        Way::RdmaJumbo,
        2000,
    ),
    case(
        "4k-randwrite-qd32-rdma-jumbo",
        false,
        4,
        32,
        Way::RdmaJumbo,
        2000,
    ),
    case(
        "128k-seqread-qd8-rdma-jumbo",
        true,
        128,
        8,
        Way::RdmaJumbo,
        200,
    ),
    case(
        "128k-seqwrite-qd8-rdma-jumbo",
        false,
        128,
        8,
        Way::RdmaJumbo,
        100,
    ),
];

/// What came of one load.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The load.
    pub name: String,
    /// Commands per second of card time.
    pub iops: f64,
    /// Data per second of card time, Gb/s.
    pub gbps: f64,
    /// Core clocks per command spent with something to do, all cores together.
    pub clocks_per_io: f64,
    /// Card clocks per command from start to end: what one data core is occupied if it is the bottleneck.
    pub elapsed_clocks_per_io: f64,
    /// Half of the commands took less, microseconds, the link's own latency taken off.
    pub p50_us: f64,
    /// 99 of 100 took less.
    pub p99_us: f64,
    /// Busy clocks per command by phase, all cores.
    pub phases: std::collections::BTreeMap<String, f64>,
    /// Accesses of cores to data pages; 0 on the data path.
    pub payload_accesses: u64,
    /// Loads of cores from frame buffers, per command: headers.
    pub frame_loads_per_io: f64,
    /// Frames from the host that the card dropped for want of room; each is a retransmission, and none is expected.
    pub lost_frames: u64,
    /// Simulated kHz.
    pub khz: f64,
    /// Clocks per command by function of the firmware on the first data core, if asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<(String, f64)>,
}

/// All rows.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// `rtl` or `functional`.
    pub card: String,
    /// Data cores.
    pub cores: u32,
    /// Seed.
    pub seed: u64,
    /// In order.
    pub rows: Vec<Row>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The card did not come up.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The host could not do its work.
    #[error("{name}: {error}")]
    Host {
        /// The load.
        name: &'static str,
        /// Its error.
        error: HostError,
    },
    /// Clocks could not be told by function.
    #[error("{0}: no profile: {1}")]
    Profile(&'static str, String),
    /// The load failed.
    #[error("{name}: {count} commands failed, the first: {first}")]
    Load {
        /// The load.
        name: &'static str,
        /// Failed commands.
        count: u64,
        /// What the first said.
        first: String,
    },
}

/// Runs every case whose name contains `only`; `each` sees a row as soon as it is there.
///
/// # Errors
/// [`BenchError`].
pub fn run(
    setup: &Setup,
    only: &str,
    profile: bool,
    mut each: impl FnMut(&Row),
) -> Result<BenchReport, BenchError> {
    let mut setup = setup.clone();
    let quick = SsdConfig {
        namespaces: vec![NamespaceSpec::memory(256 << 20, 12)],
        latency: Latency::ZERO,
        seed: setup.seed,
        ..SsdConfig::default()
    };
    setup.ssds = vec![quick];
    let mut rows = Vec::new();
    for case in CASES.iter().filter(|c| c.name.contains(only)) {
        let row = measure(&setup, case, profile)?;
        each(&row);
        rows.push(row);
    }
    Ok(BenchReport {
        card: setup.card.name().into(),
        cores: setup.cores,
        seed: setup.seed,
        rows,
    })
}

/// A fresh card for every case, so that no case depends on the ones before.
fn measure(setup: &Setup, case: &Case, profile: bool) -> Result<Row, BenchError> {
    let mut setup = setup.clone();
    let mtu = if case.way.is_jumbo() { 9000 } else { 1500 };
    for port in &mut setup.config.ports {
        port.mtu = mtu;
    }
    let setup = &setup;
    let server = Server::start(setup)?;
    let link = LinkConfig::default();
    let mut lab = Lab::new(&server.world, &link, setup.seed);
    let mut host = Initiator::new(&Config {
        tcp_buffer: 4 << 20,
        mtu,
        ..Config::numbered(1)
    });
    let nqn = setup
        .config
        .subsystems
        .first()
        .map(|s| s.nqn.clone())
        .unwrap_or_default();
    let target = std::net::SocketAddr::from(([10, 0, 0, 2], 4420));
    let connect = ConnectConfig::new(target, &nqn, 1);
    let connect = match case.way {
        Way::Tcp | Way::TcpJumbo => connect,
        Way::Digests => connect.with_digests(true, true),
        Way::Rdma | Way::RdmaJumbo => connect.over(Transport::Rdma),
    };
    let fail = |error| BenchError::Host {
        name: case.name,
        error,
    };
    let mut advance = |host: &mut Initiator| lab.advance(host);
    let mut b = host.blocking(&mut advance);
    b.patience = PATIENCE;
    let controller = b.connect(&connect).map_err(fail)?;
    let ns = b.namespace(controller.admin, 1).map_err(fail)?;
    if profile {
        drop(server.world.borrow_mut().card().take_profile(PROFILED));
    }
    let before = Counters::read(&server.world, setup.cores);
    let (clock, wall) = (server.world.borrow().now(), Instant::now());
    b.initiator.attach(Workload::new(WorkloadConfig {
        depth: case.depth,
        io_blocks: case.kib * 1024 / ns.block_size as u32,
        span: (64 << 20) / ns.block_size as u64,
        read_percent: if case.read { 100 } else { 0 },
        sequential: case.sequential,
        ios: case.ios,
        seed: setup.seed,
        ..WorkloadConfig::random_4k(controller.io.clone(), 1, ns.block_size)
    }));
    b.patience = 1 << 40;
    b.wait("the load", |h| h.workload().is_none_or(Workload::is_done))
        .map_err(fail)?;
    let stats = b
        .initiator
        .detach()
        .map(Workload::into_stats)
        .unwrap_or_default();
    let khz = (server.world.borrow().now() - clock) as f64 / wall.elapsed().as_secs_f64() / 1000.0;
    if let Some(first) = stats.errors.first() {
        return Err(BenchError::Load {
            name: case.name,
            count: stats.failed,
            first: first.clone(),
        });
    }
    let spent = Counters::read(&server.world, setup.cores).since(&before);
    let ios = stats.ios().max(1) as f64;
    let functions = if profile {
        by_function(setup, &server.world, case.name)?
    } else {
        Vec::new()
    };
    let micros =
        |clocks: u32| f64::from(clocks.saturating_sub(2 * link.latency as u32)) / CLOCKS_PER_MICRO;
    let busy = |phase: usize| spent.phases[phase] as f64 / ios;
    Ok(Row {
        name: case.name.into(),
        iops: stats.iops(),
        gbps: stats.gbps(),
        clocks_per_io: (1..PHASES.len()).map(busy).sum(),
        elapsed_clocks_per_io: stats.clocks() as f64 / ios,
        p50_us: micros(stats.percentile(50)),
        p99_us: micros(stats.percentile(99)),
        phases: (1..PHASES.len())
            .map(|p| (PHASES[p].to_string(), busy(p)))
            .collect(),
        payload_accesses: spent.page_accesses,
        frame_loads_per_io: spent.frame_loads as f64 / ios,
        lost_frames: spent.lost_frames,
        khz,
        profile: functions
            .into_iter()
            .map(|(function, clocks)| (function, clocks as f64 / ios))
            .collect(),
    })
}

fn by_function(
    setup: &Setup,
    world: &WorldHandle,
    name: &'static str,
) -> Result<Vec<profile::Spent>, BenchError> {
    let counts = world.borrow_mut().card().take_profile(PROFILED);
    let elf = setup
        .firmware
        .as_deref()
        .filter(|_| !counts.is_empty())
        .map(|folder| firmware::elf(folder, PROFILED))
        .ok_or_else(|| BenchError::Profile(name, "only the Verilated card counts them".into()))?;
    profile::by_function(&elf, &counts).map_err(|reason| BenchError::Profile(name, reason))
}

/// The hardware's counters, summed over the cores.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    phases: [u64; 8],
    page_accesses: u64,
    frame_loads: u64,
    lost_frames: u64,
}

impl Counters {
    fn read(world: &WorldHandle, data_cores: u32) -> Self {
        let mut sum = Self::default();
        for core in 0..=data_cores {
            for (phase, count) in sum.phases.iter_mut().enumerate() {
                *count += u64::from(window(world, core, phase as u32));
            }
            // The control core's pages hold identify data and the like, which it writes itself.
            if core > 0 {
                sum.page_accesses += u64::from(window(world, core, PAGE_ACCESSES));
                sum.frame_loads += u64::from(window(world, core, FRAME_LOADS));
            }
        }
        sum.lost_frames = LOSSES.iter().map(|at| u64::from(bar0(world, *at))).sum();
        sum
    }

    fn since(&self, before: &Self) -> Self {
        // The counters have 32 bits; no case runs for 17 seconds of card time, so one wrap at most.
        let less = |now: u64, then: u64| now.wrapping_sub(then) & 0xffff_ffff;
        let mut phases = [0; 8];
        for (out, (now, then)) in phases.iter_mut().zip(self.phases.iter().zip(before.phases)) {
            *out = less(*now, then);
        }
        Self {
            phases,
            page_accesses: less(self.page_accesses, before.page_accesses),
            frame_loads: less(self.frame_loads, before.frame_loads),
            lost_frames: less(self.lost_frames, before.lost_frames),
        }
    }
}

/// One counter of one core, through BAR0's core window.
fn window(world: &WorldHandle, core: u32, counter: u32) -> u32 {
    let mut borrowed = world.borrow_mut();
    let select = CARD_BAR0 + u64::from(bar0_regs::CORE_SELECT_OFFSET);
    borrowed.host_write(select, &(core | counter << 8).to_le_bytes());
    // The selected core answers over its debug port: give it a moment.
    for _ in 0..4 {
        borrowed.step();
    }
    drop(borrowed);
    bar0(world, bar0_regs::CORE_VALUE_OFFSET)
}

/// A register of BAR0.
fn bar0(world: &WorldHandle, offset: u32) -> u32 {
    let value = world
        .borrow_mut()
        .host_read(CARD_BAR0 + u64::from(offset), 4);
    value
        .ok()
        .and_then(|v| v.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

const _: () = assert!(Phase::Other as usize == PHASES.len() - 1);
