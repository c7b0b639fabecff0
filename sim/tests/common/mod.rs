//! What scenarios share: a server with a card of either kind, hosts at the far end of a link, a capture that tshark judges
//! at the end, and the questions that nearly every scenario asks.

pub mod frames;
pub mod live;
pub mod roce;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_app::Resources;
use sluice_device::Device;
use sluice_driver::bringup::Notice;
use sluice_driver::card::{Card, CardOptions};
use sluice_driver::config::{Config as ServerConfig, Format, Source};
use sluice_regs::bar0_regs;
use sluice_sim::fabric::Clock;
use sluice_sim::initiator::{
    Blocking, Config, ConnectConfig, Controller, Initiator, Namespace, Stats, Transport, Workload,
    WorkloadConfig, pattern,
};
use sluice_sim::link::LinkConfig;
use sluice_sim::options::CardKind;
use sluice_sim::pcap::{self, Report, kept};
use sluice_sim::scenario::lab::Lab;
use sluice_sim::scenario::server::{Server, Setup};
use sluice_sim::ssd::Latency;
use sluice_wire::mgmt::{ControlCounters, Counters};

/// Card clocks per millisecond.
pub const MS: Clock = 250_000;
/// Ten minutes without an answer are a hang. Several retransmission timeouts of the host in a row are not: smoltcp's grow
/// to a minute each.
const PATIENCE: Clock = 600_000 * MS;
/// NQN of the subsystem in the default configuration.
pub const NQN: &str = "nqn.2026-11.io.github.sluice:demo";

/// What a scenario runs on.
#[derive(Clone, Debug)]
pub struct On {
    /// Card model.
    pub card: CardKind,
    /// Data cores.
    pub cores: u32,
    /// Seed of card, SSDs and link.
    pub seed: u64,
}

impl On {
    /// The functional card with one data core.
    pub fn functional() -> Self {
        Self {
            card: CardKind::Functional,
            cores: 1,
            seed: 1,
        }
    }

    /// The Verilated card with one data core.
    #[cfg(feature = "rtl")]
    pub fn rtl() -> Self {
        Self {
            card: CardKind::Rtl,
            ..Self::functional()
        }
    }

    /// The same with so many data cores.
    pub fn cores(&self, cores: u32) -> Self {
        Self {
            cores,
            ..self.clone()
        }
    }

    /// Whether it is the Verilated card.
    pub fn is_rtl(&self) -> bool {
        self.card == CardKind::Rtl
    }

    /// Commands of a load: fewer on the Verilated card, which is a thousand times slower.
    pub fn ios(&self, ios: u64) -> u64 {
        if self.is_rtl() {
            ios.div_ceil(10).max(ios.min(16))
        } else {
            ios
        }
    }

    /// A pause in which nothing must happen: shorter on the Verilated card, where idle clocks cost time as well.
    pub fn pause(&self, clocks: Clock) -> Clock {
        if self.is_rtl() { clocks / 100 } else { clocks }
    }

    /// A set-up with this configuration, in TOML.
    pub fn setup(&self, config: &str) -> Setup {
        let source = Source {
            file: "test.toml".into(),
            format: Format::Toml,
            text: config.into(),
        };
        let mut setup = Setup::new(self.card, self.cores, self.seed);
        setup.config = ServerConfig::parse(source).unwrap_or_else(|e| panic!("{e}"));
        self.fill(&mut setup);
        setup
    }

    /// The default configuration: SSD 0 with 512-byte blocks as NSID 1, SSD 1 with 4-KiB blocks as NSID 2.
    pub fn default_setup(&self) -> Setup {
        let mut setup = Setup::new(self.card, self.cores, self.seed);
        self.fill(&mut setup);
        setup
    }

    fn fill(&self, setup: &mut Setup) {
        if self.card == CardKind::Rtl {
            let folder = std::env::var_os("SLUICE_FIRMWARE");
            let folder =
                folder.expect("SLUICE_FIRMWARE names the folder with the firmware's ELF files");
            setup.firmware = Some(folder.into());
        }
        for ssd in &mut setup.ssds {
            // Fast, but not so fast that commands never overlap.
            ssd.latency = Latency {
                read: 2_000,
                write: 1_000,
                other: 500,
                jitter: 1_000,
                ..Latency::ZERO
            };
        }
    }
}

/// A test of the same name as the scenario function for each card model.
#[macro_export]
macro_rules! on_both_cards {
    ($($name:ident),* $(,)?) => {
        mod on_the_functional_card {
            $(#[test] fn $name() { super::$name(&$crate::common::On::functional()); })*
        }
        #[cfg(feature = "rtl")]
        mod on_the_verilated_card {
            $(#[test] fn $name() { super::$name(&$crate::common::On::rtl()); })*
        }
    };
}

/// A test of the same name as the scenario function for each transport, on the functional card.
#[macro_export]
macro_rules! over_both_transports {
    ($($name:ident),* $(,)?) => {
        mod over_tcp {
            $(#[test] fn $name() { super::$name(super::Transport::Tcp); })*
        }
        mod over_rdma {
            $(#[test] fn $name() { super::$name(super::Transport::Rdma); })*
        }
    };
}

/// The name of a scenario over this transport.
pub fn named(scenario: &str, over: Transport) -> String {
    match over {
        Transport::Tcp => scenario.to_owned(),
        Transport::Rdma => format!("rdma-{scenario}"),
    }
}

/// A server, and hosts connected to it by a link.
pub struct Bench {
    pub server: Server,
    pub lab: Lab,
    card: CardKind,
    name: String,
    capture: Option<PathBuf>,
}

impl Bench {
    /// The default configuration, a link without faults, everything captured.
    pub fn new(name: &str, on: &On) -> Self {
        Self::with(name, &on.default_setup(), &LinkConfig::default())
    }

    /// Any configuration and link; `name` names the capture.
    pub fn with(name: &str, setup: &Setup, link: &LinkConfig) -> Self {
        let server = Server::start(setup).unwrap_or_else(|e| panic!("{name}: {e}"));
        let lab = Lab::new(&server.world, link, setup.seed);
        let mut bench = Self {
            server,
            lab,
            card: setup.card,
            name: format!("{name}-{}", setup.card.name()),
            capture: None,
        };
        bench.begin_capture();
        bench
    }

    /// Captures from now on.
    pub fn begin_capture(&mut self) {
        let path = kept::new_file(&self.name, Path::new(env!("CARGO_TARGET_TMPDIR")))
            .expect("a file for the capture");
        self.lab
            .capture(&path)
            .expect("a capture in the target folder");
        self.capture = Some(path);
    }

    /// Ends the capture unseen and deletes it. `reason`: what in it is bad on purpose.
    pub fn drop_capture(&mut self, reason: &str) {
        self.lab.end_capture().expect("the capture is written");
        let path = self.capture.take().expect("something was captured");
        std::fs::remove_file(path).expect("the capture is there");
        println!("{}: capture not judged: {reason}", self.name);
    }

    /// Ends the capture; tshark finds nothing wrong in it.
    pub fn check_capture(&mut self) -> Report {
        let path = self.end_capture();
        self.judge(pcap::check_with_tshark(&path))
    }

    /// The same for connections with padding, which tshark 4.0 takes for part of the data.
    pub fn check_padded_capture(&mut self) -> Report {
        let path = kept::mark_padded(&self.end_capture()).expect("the capture is there");
        self.judge(pcap::check_padded_with_tshark(&path))
    }

    fn judge(&self, said: Result<Report, pcap::CheckError>) -> Report {
        let report = said.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let seen = report.pdus + report.roce_packets;
        assert!(seen > 0, "{}: nothing of NVMe in {report:?}", self.name);
        report
    }

    /// Ends the capture; all of it.
    pub fn captured(&mut self) -> Vec<u8> {
        std::fs::read(self.end_capture()).expect("the capture can be read")
    }

    fn end_capture(&mut self) -> PathBuf {
        self.lab.end_capture().expect("the capture is written");
        self.capture.take().expect("something was captured")
    }

    /// Host `n` of 10.0.0.0/24; its index here.
    pub fn host(&mut self, n: u8) -> usize {
        self.add(&Config::numbered(n))
    }

    /// A host; its index here.
    pub fn add(&mut self, config: &Config) -> usize {
        self.lab.others.push(Initiator::new(config));
        self.lab.others.len() - 1
    }

    /// Host `host`, to be looked at or set to work.
    pub fn at(&mut self, host: usize) -> &mut Initiator {
        &mut self.lab.others[host]
    }

    /// One host's work, command by command, while all others go on.
    pub fn on<R>(&mut self, host: usize, work: impl FnOnce(&mut Blocking<'_>) -> R) -> R {
        let mut own = self.lab.others.remove(host);
        let lab = &mut self.lab;
        let mut advance = |host: &mut Initiator| lab.advance(host);
        let mut blocking = own.blocking(&mut advance);
        blocking.patience = PATIENCE;
        let result = work(&mut blocking);
        self.lab.others.insert(host, own);
        result
    }

    /// Connects `host`; a refusal is the test's failure.
    pub fn connect(&mut self, host: usize, config: &ConnectConfig) -> Controller {
        let name = self.name.clone();
        self.on(host, |b| b.connect(config))
            .unwrap_or_else(|e| panic!("{name}: host {host}: {e}"))
    }

    /// Connects `host` number `n` and looks at its namespaces.
    pub fn connect_with(
        &mut self,
        host: usize,
        config: &ConnectConfig,
    ) -> (Controller, Vec<Namespace>) {
        let controller = self.connect(host, config);
        let namespaces = self.on(host, |b| {
            let nsids = b
                .active_namespaces(controller.admin)
                .expect("active namespaces");
            nsids
                .iter()
                .map(|n| b.namespace(controller.admin, *n).expect("namespace"))
                .collect()
        });
        (controller, namespaces)
    }

    /// Lets everything go on for so many clocks.
    pub fn run(&mut self, clocks: Clock) {
        let until = self.lab.now() + clocks;
        while self.lab.now() < until {
            self.lab.advance_others();
        }
    }

    /// Lets everything go on until `done`, at most `limit` clocks.
    pub fn until(&mut self, what: &str, limit: Clock, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.lab.now() + limit;
        while !done(self) {
            assert!(
                self.lab.now() < end,
                "{}: {what}: not within {limit} clocks",
                self.name
            );
            self.lab.advance_others();
        }
    }

    /// The host driver does something while the hosts go on with what they are at.
    pub fn beside<R>(&mut self, work: impl FnOnce(&mut Server) -> R) -> R {
        let nobody = Lab::new(&self.server.world, &LinkConfig::default(), 0);
        let lab = std::mem::replace(&mut self.lab, nobody);
        let (lab, result) = lab.beside(|| work(&mut self.server));
        self.lab = lab;
        result
    }

    /// The card is started anew from its flash, everything behind it taken down and brought up again, while the hosts go on.
    pub fn restart_from_flash(mut self) -> Self {
        let Server { world, ssds, rig } = self.server;
        let boot = |device| Card::boot_from_flash(device, CardOptions::default());
        let (lab, rig) = self.lab.beside(|| rig.restart(boot));
        let rig = rig.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        self.lab = lab;
        self.server = Server { world, ssds, rig };
        self
    }

    /// The host driver looks for events every `every` clocks, until one is what is looked for.
    pub fn until_notice(
        &mut self,
        limit: Clock,
        mut wanted: impl FnMut(&Notice) -> bool,
    ) -> Notice {
        let end = self.lab.now() + limit;
        loop {
            while let Some(notice) = self
                .server
                .notice(Duration::ZERO)
                .expect("the card answers")
            {
                if wanted(&notice) {
                    return notice;
                }
            }
            assert!(
                self.lab.now() < end,
                "{}: no such notice within {limit} clocks",
                self.name
            );
            self.run(MS / 4);
        }
    }

    /// Loads on several hosts at once, to their ends.
    pub fn load(&mut self, loads: Vec<(usize, WorkloadConfig)>) -> Vec<Stats> {
        let hosts: Vec<usize> = loads.iter().map(|(host, _)| *host).collect();
        for (host, mut load) in loads {
            if self.card == CardKind::Rtl {
                self.fill(&mut load);
            }
            self.at(host).attach(Workload::new(load));
        }
        self.finish_loads(&hosts)
    }

    /// A load on the Verilated card is too short to read much of what it has written: its span is filled beforehand, past
    /// the card, so that every read is verified.
    fn fill(&mut self, load: &mut WorkloadConfig) {
        let ssd = &self.server.ssds[load.nsid as usize - 1];
        let data = pattern::make(load.first_block, load.span, load.block_size, 0);
        let at = load.first_block * load.block_size as u64;
        let mut ssd = ssd.borrow_mut();
        let media = ssd.media(1).expect("each SSD has one namespace");
        media.write(at, &data, true).expect("memory can be written");
        load.written_before = Some(0);
    }

    /// What a load has written is on the SSD. Only in configurations in which SSD n has NSID n + 1.
    fn assert_written(&self, load: &Workload) {
        let config = load.config();
        let Some(ssd) = self.server.ssds.get(config.nsid as usize - 1) else {
            return;
        };
        let mut data = vec![0; config.io_blocks as usize * config.block_size];
        let mut ssd = ssd.borrow_mut();
        let media = ssd.media(1).expect("each SSD has one namespace");
        for (lba, generation) in load.contents() {
            media
                .read(lba * config.block_size as u64, &mut data)
                .expect("memory can be read");
            if let Err(wrong) = pattern::check(&data, lba, config.block_size, generation) {
                panic!("{}: SSD of NSID {}: {wrong}", self.name, config.nsid);
            }
        }
    }

    /// Waits for the loads of these hosts.
    pub fn finish_loads(&mut self, hosts: &[usize]) -> Vec<Stats> {
        let mut last = (0, self.lab.now());
        loop {
            let loads = || hosts.iter().filter_map(|h| self.lab.others[*h].workload());
            if loads().all(Workload::is_done) {
                break;
            }
            let done: u64 = loads().map(|w| w.stats().ios() + w.stats().retried).sum();
            let now = self.lab.now();
            if done != last.0 {
                last = (done, now);
            }
            assert!(
                now < last.1 + PATIENCE,
                "{}: the load hangs after {done} commands",
                self.name
            );
            self.lab.advance_others();
        }
        hosts
            .iter()
            .map(|h| {
                let load = self.at(*h).detach().expect("it was attached");
                self.assert_written(&load);
                load.into_stats()
            })
            .collect()
    }

    /// One host's load, all of it verified.
    pub fn verified(&mut self, host: usize, load: WorkloadConfig) -> Stats {
        let stats = self.load(vec![(host, load)]).remove(0);
        assert_eq!(stats.errors, [""; 0], "{}: host {host}", self.name);
        assert!(
            stats.verified_bytes > 0,
            "{}: host {host}: nothing was verified",
            self.name
        );
        stats
    }

    /// Counters of all data cores together.
    pub fn counters(&mut self) -> Counters {
        let cores = self.server.rig.card().info().cores;
        let mut sum = Counters::default();
        for core in 1..u32::from(cores) {
            let c = self.server.rig.card().counters(core).expect("counters");
            add_up(&mut sum, &c);
        }
        sum
    }

    /// A register of BAR0.
    pub fn register(&mut self, offset: u32) -> u32 {
        let bar = self.server.rig.card().device().bar(0).expect("BAR0");
        bar.read32(offset.into()).expect("a register")
    }

    /// Frames that the rx engine has dropped, for whatever reason.
    pub fn dropped_frames(&mut self) -> u64 {
        let counters = (bar0_regs::DROP_LENGTH_OFFSET..=bar0_regs::DROP_OVERRUN_OFFSET).step_by(4);
        counters
            .map(|offset| u64::from(self.register(offset)))
            .sum()
    }

    /// Counters of one core, by number in the core window.
    pub fn core_counters<const N: usize>(&mut self, core: u32, which: [u32; N]) -> [u32; N] {
        which.map(|counter| {
            let bar = self.server.rig.card().device().bar(0).expect("BAR0");
            bar.write32(bar0_regs::CORE_SELECT_OFFSET.into(), core | counter << 8)
                .expect("a register");
            self.register(bar0_regs::CORE_VALUE_OFFSET)
        })
    }

    /// What the functional card's data cores have in use; `None` on the other card.
    #[allow(
        clippy::type_complexity,
        reason = "three things counted, taken apart at once"
    )]
    pub fn resources(&self) -> Option<(Vec<Resources>, (usize, usize), (usize, usize))> {
        let mut world = self.server.world.borrow_mut();
        let card = world.card().functional()?;
        Some((card.resources(), card.free_buffers(), card.associations()))
    }

    /// With no host connected: everything that commands and connections take has come back.
    pub fn assert_all_given_back(&mut self) {
        let Some((cores, buffers, controllers)) = self.resources() else {
            return;
        };
        for (i, core) in cores.iter().enumerate() {
            assert_eq!(*core, idle(core), "{}: data core {}", self.name, i + 1);
        }
        assert_eq!(
            buffers, BUFFERS,
            "{}: frame buffers in their pools",
            self.name
        );
        assert_eq!(
            controllers,
            (0, 0),
            "{}: controllers, unanswered commands",
            self.name
        );
    }

    /// The same, after at most `limit` clocks; the connection manager of RDMA has forgotten everybody by then, too.
    pub fn until_all_given_back(&mut self, limit: Clock) {
        let end = self.lab.now() + limit;
        while self.lab.now() < end && !self.is_all_given_back() {
            self.run(4 * MS);
        }
        self.assert_all_given_back();
        assert_eq!(
            self.control_counters().rdma_cm_connections.get(),
            0,
            "{}: connections of the connection manager",
            self.name
        );
    }

    fn is_all_given_back(&mut self) -> bool {
        let returned = self
            .resources()
            .is_none_or(|(cores, buffers, controllers)| {
                cores.iter().all(|core| *core == idle(core))
                    && buffers == BUFFERS
                    && controllers == (0, 0)
            });
        returned && self.control_counters().rdma_cm_connections.get() == 0
    }

    /// Counters of the control core.
    pub fn control_counters(&mut self) -> ControlCounters {
        let card = self.server.rig.card();
        card.control_counters().expect("counters")
    }
}

/// Frame buffers in the pools.
const BUFFERS: (usize, usize) = (2048, 128);

/// A data core like this one with nothing to do.
fn idle(core: &Resources) -> Resources {
    Resources {
        requests_free: core.requests,
        requests: core.requests,
        pages_free: core.pages,
        pages: core.pages,
        work_free: sluice_app::limits::WORK as u16,
        ..IDLE
    }
}

const IDLE: Resources = Resources {
    requests_free: 0,
    requests: 0,
    pages_free: 0,
    pages: 0,
    connections: 0,
    tcp_connections: 0,
    queue_pairs: 0,
    work_free: 0,
    relay_slots_used: 0,
    moves: 0,
    leaving: 0,
    backlog: 0,
    soliciting: 0,
};

fn add_up(sum: &mut Counters, one: &Counters) {
    use zerocopy::{FromBytes, IntoBytes, little_endian::U64};
    let words = <[U64]>::ref_from_bytes(one.as_bytes()).expect("all fields are 64 bits");
    let sums = <[U64]>::mut_from_bytes(sum.as_mut_bytes()).expect("all fields are 64 bits");
    for (sum, word) in sums.iter_mut().zip(words) {
        sum.set(sum.get() + word.get());
    }
}

/// Where the default configuration's subsystem is.
pub fn target() -> SocketAddr {
    "10.0.0.2:4420".parse().expect("an address")
}

/// Host `n` to the default configuration's subsystem.
pub fn to_demo(n: u8) -> ConnectConfig {
    ConnectConfig::new(target(), NQN, n)
}

/// The same over NVMe/RDMA.
pub fn over_rdma(n: u8) -> ConnectConfig {
    to_demo(n).over(Transport::Rdma)
}

/// The default configuration with this port.
pub fn on_port(lines: &str) -> String {
    let default = sluice_sim::scenario::server::DEFAULT_CONFIG;
    assert!(
        default.contains("ipv4 = \"10.0.0.2/24\""),
        "the default configuration has changed"
    );
    default.replace("ipv4 = \"10.0.0.2/24\"", lines)
}

/// A verified mix of reads and writes of `bytes` each, `depth` of them in flight on each I/O queue.
pub fn mix(
    controller: &Controller,
    ns: &Namespace,
    bytes: usize,
    depth: usize,
    ios: u64,
) -> WorkloadConfig {
    let in_flight = depth * controller.io.len();
    let io_blocks = (bytes / ns.block_size) as u32;
    WorkloadConfig {
        depth,
        read_percent: 50,
        ios,
        io_blocks,
        span: u64::from(io_blocks) * (in_flight as u64 * 2).max(64),
        ..WorkloadConfig::random_4k(controller.io.clone(), ns.nsid, ns.block_size)
    }
}
