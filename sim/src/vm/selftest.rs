//! The VM scenario against Linux's own target (nvmet) in a second VM: proves image, driver, ports and scenario without
//! the card. Every frame crosses two of our socket ports and is written to a capture.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::scenario::{self, Extent, Plan};
use super::steps::Target;
use super::{Nic, Vm, VmConfig};
use crate::options::{self, Loss};
use crate::pcap;
use crate::port::{LivePort, LossyPort, SocketPort};
use crate::report::{Checked, Meter, Report, Runner};
use crate::scenario as scenarios;

const NQN: &str = "nqn.2026-01.org.sluice:selftest";
/// Of the frames that are lost.
const SEED: u64 = 1;

/// Runs it; sockets, consoles and the capture go to `run_dir`.
pub fn run(
    image: &Path,
    run_dir: &Path,
    qemu: &Path,
    extent: Extent,
    over: options::Transport,
    loss: Loss,
) -> Report {
    let meter = Arc::new(Meter::default());
    let mut runner = Runner::new("nvmet", "vm", &over.to_string(), 0, SEED, meter.clone())
        .with_loss(loss.into());
    let transports = scenarios::transports(over);
    let config = |name: &str, last: u8| VmConfig {
        qemu: qemu.to_path_buf(),
        cpus: if name == "host" { scenario::CPUS } else { 2 },
        nic: Some(Nic {
            socket: run_dir.join(format!("{name}.net")),
            mac: [0x52, 0x54, 0, 0, 0, last],
            address: format!("10.0.0.{last}/24"),
            mtu: 1500,
        }),
        meter: meter.clone(),
        ..VmConfig::new(name, image, run_dir)
    };
    let (target, host) = (config("target", 2), config("host", 1));
    let relay = Relay::start(&target, &host, run_dir, loss);
    let names: Vec<_> = transports.iter().map(|one| one.name()).collect();
    let peer = runner.step_value("boot the target VM with nvmet", || {
        let mut vm = Vm::boot(&target)?;
        vm.sh(
            &format!("nvmet 10.0.0.2 4420 {NQN} {} 128 64", names.join(",")),
            Duration::from_secs(60),
        )?;
        Ok::<_, super::VmError>((vm, Checked::default()))
    });
    let vm = scenario::boot(&host, &mut runner);
    if let (Some(_peer), Some(mut vm)) = (peer, vm) {
        let target = Target {
            address: "10.0.0.2".into(),
            port: 4420,
            nqn: NQN.into(),
            namespaces: 2,
            lists_all: false,
        };
        let plan = Plan {
            target,
            transports: transports.to_vec(),
            extent,
            patience: Duration::from_secs(300),
            lossy: loss != Loss::default(),
        };
        scenario::run(&mut vm, &plan, &meter, &mut runner);
    }
    drop(relay);
    runner.file("pcap", run_dir.join("selftest.pcap"));
    runner.finish()
}

/// Carries frames between two VMs until dropped.
struct Relay {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// What passes from `a` is written as it was sent, what passes from `b` as it arrived.
    fn start(a: &VmConfig, b: &VmConfig, run_dir: &Path, loss: Loss) -> Self {
        let socket = |config: &VmConfig| {
            config
                .nic
                .as_ref()
                .map(|nic| nic.socket.clone())
                .unwrap_or_default()
        };
        let (mut a, mut b) = (
            SocketPort::connect(&socket(a)),
            LossyPort::new(SocketPort::connect(&socket(b)), loss.0, SEED),
        );
        let capture = run_dir.join("selftest.pcap");
        let done = Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let thread = std::thread::spawn(move || {
            let mut capture = pcap::Writer::create(&capture).ok();
            let start = Instant::now();
            let mut frames = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let mut idle = true;
                for forwards in [true, false] {
                    let (from, to): (&mut dyn LivePort, &mut dyn LivePort) = if forwards {
                        (&mut a, &mut b)
                    } else {
                        (&mut b, &mut a)
                    };
                    if from.receive(&mut frames, 64).is_err() {
                        return;
                    }
                    idle &= frames.is_empty();
                    for frame in frames.drain(..) {
                        let clock = start.elapsed().as_nanos() as u64 / pcap::NANOS_PER_CLOCK;
                        let _ = capture.as_mut().map(|file| file.write(clock, &frame));
                        let _ = to.send(&frame);
                    }
                    let _ = to.flush();
                }
                if idle {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        Self {
            done,
            thread: Some(thread),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
