//! The demo: a remote host does verified I/O through the card, step by step.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::lab::Lab;
use super::live::Live;
use super::server::{Server, Setup};
use super::{model, transports};
use crate::initiator::{Config, Initiator};
use crate::link::{Faults, LinkConfig};
use crate::options::{self, CardKind, Loss};
use crate::pcap::Writer;
use crate::port::{LossyPort, SocketPort};
use crate::report::{Checked, Meter, Report, Runner};
use crate::vm::scenario::{self, Extent, Plan};
use crate::vm::steps::Target;
use crate::vm::{Nic, VmConfig};

/// What all demos share.
#[derive(Clone, Debug)]
pub struct DemoConfig {
    /// The server.
    pub setup: Setup,
    /// Folder for captures, logs and traces.
    pub out: PathBuf,
    /// The short version.
    pub short: bool,
    /// How the host's commands travel.
    pub transport: options::Transport,
    /// What the link loses, each way.
    pub loss: Loss,
}

impl DemoConfig {
    fn runner(&self, host: &str, meter: &Arc<Meter>) -> Runner {
        Runner::new(
            self.setup.card.name(),
            host,
            &self.transport.to_string(),
            self.setup.cores,
            self.setup.seed,
            meter.clone(),
        )
        .with_loss(self.loss.into())
    }

    fn link(&self) -> LinkConfig {
        let faults = Faults {
            loss: self.loss.0,
            ..Faults::default()
        };
        LinkConfig {
            a_to_b: faults,
            b_to_a: faults,
            ..LinkConfig::default()
        }
    }

    /// Of subsystems and of discovery, the same number over every transport.
    fn port(&self) -> u16 {
        let ports = &self.setup.config.ports;
        ports.first().map_or(4420, |port| port.io_port)
    }

    fn nqn(&self) -> String {
        self.setup
            .config
            .subsystems
            .first()
            .map(|s| s.nqn.clone())
            .unwrap_or_default()
    }

    fn address(&self) -> String {
        let ipv4 = self.setup.config.ports.first().and_then(|p| p.ipv4);
        ipv4.map(|(a, _)| std::net::Ipv4Addr::from(a).to_string())
            .unwrap_or_default()
    }

    /// Writes the cores' log beside the captures; its path if there is one.
    fn keep_log(&self, server: &mut Server) -> Option<PathBuf> {
        let text = server.log(self.setup.firmware.as_deref()?)?;
        let path = self.out.join("card.log");
        std::fs::write(&path, text).ok().map(|()| path)
    }

    fn note(&self, server: &mut Server) -> Checked {
        let info = server.rig.card().info();
        Checked::note(format!(
            "firmware {}, {} cores, {} SSDs",
            info.firmware,
            info.cores,
            server.ssds.len()
        ))
    }
}

/// With the in-process host: deterministic.
#[must_use]
pub fn with_model(demo: &DemoConfig) -> Report {
    let meter = Arc::new(Meter::default());
    let mut runner = demo.runner("model", &meter);
    let started = runner.step_value("bring up the card and its SSDs", || {
        std::fs::create_dir_all(&demo.out).map_err(|e| format!("{}: {e}", demo.out.display()))?;
        let mut server = Server::start(&demo.setup).map_err(|e| e.to_string())?;
        meter.set_clocks(server.world.borrow().now());
        let note = demo.note(&mut server);
        Ok::<_, String>((server, note))
    });
    if let Some(mut server) = started {
        let pcap = demo.out.join("model.pcap");
        let mut lab = Lab::new(&server.world, &demo.link(), demo.setup.seed);
        if lab.capture(&pcap).is_ok() {
            runner.file("pcap", &pcap);
        }
        let mut host = Initiator::new(&Config::numbered(1));
        let address = format!("{}:{}", demo.address(), demo.port()).parse();
        if let Ok(address) = address {
            let target = model::Target {
                address,
                nqn: demo.nqn(),
            };
            let ios = if demo.short { 200 } else { 2000 };
            let plan = model::Plan {
                transports: transports(demo.transport),
                ios,
                seed: demo.setup.seed,
                lossy: demo.loss != Loss::default(),
            };
            model::run(&mut lab, &mut host, &target, plan, &meter, &mut runner);
        }
        runner.step("close the capture", || {
            lab.end_capture().map(|()| Checked::default())
        });
        let wrong = (!runner.ok()).then(|| server.state());
        if let Some(path) = demo.keep_log(&mut server) {
            runner.file("log", path);
        }
        if let Some(state) = wrong {
            eprintln!("the card afterwards: {state}");
        }
    }
    runner.finish()
}

/// The VM's part.
#[derive(Clone, Debug)]
pub struct VmSetup {
    /// Folder with kernel and initramfs.
    pub image: PathBuf,
    /// The emulator.
    pub qemu: PathBuf,
}

/// With a Linux VM on the card's Ethernet port.
#[must_use]
pub fn with_vm(demo: &DemoConfig, vm: &VmSetup) -> Report {
    let meter = Arc::new(Meter::default());
    let mut runner = demo.runner("vm", &meter);
    let config = VmConfig {
        qemu: vm.qemu.clone(),
        cpus: scenario::CPUS,
        nic: Some(Nic {
            socket: demo.out.join("host.net"),
            mac: [0x52, 0x54, 0, 0, 0, 1],
            address: "10.0.0.1/24".into(),
            mtu: 1500,
        }),
        meter: meter.clone(),
        ..VmConfig::new("host", &vm.image, &demo.out)
    };
    let (ready, is_ready) = mpsc::channel();
    let card = {
        let (demo, meter, socket) = (demo.clone(), meter.clone(), demo.out.join("host.net"));
        thread::spawn(move || serve_vm(&demo, &socket, &meter, &ready))
    };
    runner.step("bring up the card and its SSDs", || {
        is_ready
            .recv()
            .unwrap_or_else(|_| Err("the card's thread ended".into()))
    });
    let pcap = demo.out.join(PCAP);
    if runner.ok() {
        runner.file("pcap", pcap);
        if demo.setup.card == CardKind::Rtl {
            runner.file("log", demo.out.join("card.log"));
        }
    }
    if let Some(mut vm) = scenario::boot(&config, &mut runner).filter(|_| runner.ok()) {
        let target = Target {
            address: demo.address(),
            port: demo.port(),
            nqn: demo.nqn(),
            namespaces: 2,
            lists_all: true,
        };
        let extent = if demo.short {
            Extent::Short
        } else {
            Extent::Full
        };
        let mut patience = Duration::from_secs(if demo.setup.card == CardKind::Rtl {
            900
        } else {
            200
        });
        if demo.loss != Loss::default() {
            // A lost tail costs a timeout of the sender, half a second with Linux' RDMA.
            patience *= 3;
        }
        scenario::run(
            &mut vm,
            &Plan {
                target,
                transports: transports(demo.transport).to_vec(),
                extent,
                patience,
                lossy: demo.loss != Loss::default(),
            },
            &meter,
            &mut runner,
        );
    }
    meter.stop();
    let ended = card
        .join()
        .unwrap_or_else(|_| Err("the card's thread panicked".into()));
    if !runner.ok() {
        // The step below is left out then.
        eprintln!(
            "the card afterwards: {}",
            ended.as_ref().unwrap_or_else(|e| e)
        );
    }
    runner.step("the card was well to the end", || ended.map(Checked::note));
    runner.finish()
}

const PCAP: &str = "demo.pcap";

/// The card's thread: brings the server up, says so, and runs it until the meter is stopped. Its last words.
fn serve_vm(
    demo: &DemoConfig,
    socket: &Path,
    meter: &Meter,
    ready: &mpsc::Sender<Result<Checked, String>>,
) -> Result<String, String> {
    let result = bring_up(demo, meter);
    let mut server = match result {
        Ok((server, note)) => {
            let _ = ready.send(Ok(note));
            server
        }
        Err(error) => {
            let _ = ready.send(Err(error.clone()));
            meter.stop();
            return Err(error);
        }
    };
    // The VM's QEMU listens; a stale socket of an earlier run must not be taken for it.
    let port = SocketPort::connect(socket);
    let mut port = LossyPort::new(port, demo.loss.0, demo.setup.seed);
    let pcap = Writer::create(&demo.out.join(PCAP)).map_err(|e| e.to_string())?;
    let outcome = {
        let world = server.world.clone();
        let ssds = server.ssds.clone();
        let busy = move || ssds.iter().any(|ssd| ssd.borrow().next_event().is_some());
        let mut live = Live::new(&mut world.borrow_mut(), &mut port, Some(pcap), busy);
        live.run(&mut world.borrow_mut(), meter, || meter.stopped())
    };
    meter.stop();
    outcome.map_err(|e| format!("the card's port: {e}"))?;
    demo.keep_log(&mut server);
    let cores = server.rig.card().info().cores;
    let mut summary = String::new();
    for core in 1..u32::from(cores) {
        let c = server
            .rig
            .card()
            .counters(core)
            .map_err(|e| e.to_string())?;
        summary += &format!(
            "core {core}: {} reads, {} writes, {} retransmissions, {} errors; ",
            c.reads, c.writes, c.retransmits, c.errors
        );
    }
    let lost = server.lost_frames();
    if lost > 0 {
        summary += &format!("{lost} frames found no room on the card; ");
    }
    if demo.loss != Loss::default() {
        let [to, from] = port.lost();
        summary += &format!("frames lost on purpose: {to} to the card, {from} from it");
    }
    Ok(summary.trim_end_matches("; ").into())
}

fn bring_up(demo: &DemoConfig, meter: &Meter) -> Result<(Server, Checked), String> {
    std::fs::create_dir_all(&demo.out).map_err(|e| format!("{}: {e}", demo.out.display()))?;
    let mut server = Server::start(&demo.setup).map_err(|e| e.to_string())?;
    meter.set_clocks(server.world.borrow().now());
    let note = demo.note(&mut server);
    Ok((server, note))
}
