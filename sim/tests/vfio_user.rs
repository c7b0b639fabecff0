//! The card and an SSD as processes of their own would have them: two vfio-user servers, our driver as the client of both,
//! and a host on the card's cable. Commands and data go from device to device, through the client's bus.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_device::Device;
use sluice_driver::bringup::{Notice, Rig};
use sluice_driver::card::{Card, CardOptions};
use sluice_driver::config::{Config as ServerConfig, Format, Source};
use sluice_driver::nvme::SsdOptions;
use sluice_sim::card::functional::FunctionalCard;
use sluice_sim::initiator::{Blocking, Config, ConnectConfig, Initiator, Workload, WorkloadConfig};
use sluice_sim::link::Frames;
use sluice_sim::port::{LivePort, SocketPort};
use sluice_sim::ssd::{NamespaceSpec, Ssd, SsdConfig};
use sluice_sim::vfio_user::card::CardFunction;
use sluice_sim::vfio_user::ssd::SsdFunction;
use sluice_sim::vfio_user::{Function, Server};
use sluice_vfio_user::client::{Bus, Options, VfioUserDevice};

/// Card clocks per microsecond.
const MICRO: u64 = 250;
const NQN: &str = "nqn.2026-11.io.github.sluice:vfio-user";
const CONFIG: &str = r#"
[[ports]]
name = "eth0"
mac = "02:53:4c:55:43:01"
ipv4 = "10.0.0.2/24"

[[ssds]]
name = "ssd0"

[[subsystems]]
nqn = "nqn.2026-11.io.github.sluice:vfio-user"
serial = "SLUICE0001"
allow_any_host = true
listeners = ["eth0"]

[[subsystems.namespaces]]
nsid = 1
ssd = "ssd0"
"#;

/// A server in a thread; dropping it is the server's death.
struct Process {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Process {
    fn start<F: Function>(path: &Path, make: impl FnOnce() -> F + Send + 'static) -> Self {
        let (stop, path) = (Arc::new(AtomicBool::new(false)), path.to_path_buf());
        let flag = stop.clone();
        let serve = move || {
            let mut server = Server::listen(&path, make()).expect("listens");
            server.run(&flag).expect("no client makes it fail");
        };
        Self {
            stop,
            thread: Some(std::thread::spawn(serve)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The host at the other end of the card's cable, in wall time.
struct Host {
    initiator: Initiator,
    port: SocketPort,
    start: Instant,
}

impl Host {
    fn new(cable: &Path) -> Self {
        Self {
            initiator: Initiator::new(&Config::numbered(1)),
            port: SocketPort::connect(cable),
            start: Instant::now(),
        }
    }

    fn on<R>(&mut self, work: impl FnOnce(&mut Blocking<'_>) -> R) -> R {
        let (port, start) = (&mut self.port, self.start);
        let (mut to_card, mut arrived) = (Frames::new(), Vec::new());
        let mut advance = |host: &mut Initiator| {
            let now = start.elapsed().as_micros() as u64 * MICRO;
            host.advance(now, &mut to_card);
            port.receive(&mut arrived, 64).expect("the cable holds");
            let idle = arrived.is_empty() && to_card.is_empty();
            for frame in arrived.drain(..) {
                host.receive(now, frame, &mut to_card);
            }
            for (_, frame) in to_card.drain(..) {
                port.send(&frame).expect("the cable holds");
            }
            port.flush().expect("the cable holds");
            if idle {
                port.wait(Duration::from_micros(200))
                    .expect("the cable holds");
            }
        };
        let mut blocking = self.initiator.blocking(&mut advance);
        // Two minutes without an answer are a hang, on however busy a machine.
        blocking.patience = 120_000_000 * MICRO;
        work(&mut blocking)
    }

    /// Connects, does verified I/O, disconnects.
    fn verified_io(&mut self, ios: u64) {
        let target = "10.0.0.2:4420".parse().expect("an address");
        self.on(|b| {
            let controller = b
                .connect(&ConnectConfig::new(target, NQN, 1))
                .expect("connects");
            let ns = b.namespace(controller.admin, 1).expect("a namespace");
            for bytes in [4096, 65_536] {
                let io_blocks = (bytes / ns.block_size) as u32;
                let load = WorkloadConfig {
                    depth: 8,
                    read_percent: 50,
                    ios,
                    io_blocks,
                    span: u64::from(io_blocks) * 64,
                    ..WorkloadConfig::random_4k(controller.io.clone(), ns.nsid, ns.block_size)
                };
                let stats = b.run_workload(Workload::new(load)).expect("the load ends");
                assert_eq!(stats.errors, [""; 0]);
                assert!(stats.verified_bytes > 0, "nothing was verified");
            }
            b.disconnect(&controller).expect("disconnects");
        });
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("sluice-vu-{}-{name}.sock", std::process::id()))
}

fn ssd(path: &Path) -> Process {
    Process::start(path, || {
        let config = SsdConfig {
            namespaces: vec![NamespaceSpec::memory(32 << 20, 9)],
            ..SsdConfig::default()
        };
        SsdFunction::new(Ssd::new(config).expect("in memory"))
    })
}

fn open(bus: &Bus, path: &Path) -> VfioUserDevice {
    bus.open(path, &Options::default())
        .unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_card_and_an_ssd_of_other_processes_serve_verified_io_and_the_ssd_dies_and_comes_back() {
    serve("trapped", |function| function);
}

#[test]
fn the_same_with_packet_memory_that_the_ssd_maps() {
    serve("shared", |function| function.sharing().expect("a memfd"));
}

fn serve(name: &str, kind: impl FnOnce(CardFunction) -> CardFunction + Send + 'static) {
    let [card_path, ssd_path, cable] =
        ["card", "ssd", "cable"].map(|what| path(&format!("{what}-{name}")));
    let port = SocketPort::listen(&cable).expect("a cable");
    let _card = Process::start(&card_path, move || {
        let model = Box::new(FunctionalCard::new(1, 1));
        kind(CardFunction::new(model, Some(Box::new(port))))
    });
    let disk = ssd(&ssd_path);
    let bus = Bus::new();
    let card = Card::boot(open(&bus, &card_path), None, CardOptions::default())
        .unwrap_or_else(|e| panic!("{e}"));
    let source = Source {
        file: "test.toml".into(),
        format: Format::Toml,
        text: CONFIG.into(),
    };
    let config = ServerConfig::parse(source).expect("a right configuration");
    let rig = Rig::start(card, config, SsdOptions::default(), |_| {
        Ok(open(&bus, &ssd_path))
    });
    let mut rig = rig.unwrap_or_else(|e| panic!("{e}"));
    let mut host = Host::new(&cable);
    host.verified_io(200);
    // The server of the SSD dies.
    let ssd_device = rig.ssd(0).expect("it serves").device();
    assert_eq!(ssd_device.lost(), None);
    let link = ssd_device.link().expect("a link");
    assert_eq!((link.speed, link.width, link.is_degraded()), (3, 4, false));
    drop(disk);
    assert_eq!(ssd_device.link(), None);
    let registers = rig
        .ssd(0)
        .expect("not found out yet")
        .device()
        .bar(0)
        .expect("BAR0");
    assert_eq!(registers.read32(0), Ok(u32::MAX));
    let notices = rig.check().expect("the card is well");
    assert!(
        matches!(notices[..], [Notice::SsdLost { ssd: 0, .. }]),
        "{notices:?}"
    );
    // Another takes its place.
    let _disk = ssd(&ssd_path);
    rig.ssd_back(0, open(&bus, &ssd_path))
        .unwrap_or_else(|e| panic!("{e}"));
    host.verified_io(100);
    rig.stop().unwrap_or_else(|e| panic!("{e}"));
}
