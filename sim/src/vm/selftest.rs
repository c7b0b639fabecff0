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
use crate::pcap;
use crate::port::{LivePort, SocketPort};
use crate::report::{Checked, Meter, Report, Runner};

const NQN: &str = "nqn.2026-01.org.sluice:selftest";

/// Runs it; sockets, consoles and the capture go to `run_dir`.
pub fn run(image: &Path, run_dir: &Path, qemu: &Path, extent: Extent) -> Report {
    let meter = Arc::new(Meter::default());
    let mut runner = Runner::new("nvmet", "vm", "tcp", 0, 0, meter.clone());
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
    let relay = Relay::start(&target, &host, run_dir);
    let peer = runner.step_value("boot the target VM with nvmet", || {
        let mut vm = Vm::boot(&target)?;
        vm.sh(
            &format!("nvmet 10.0.0.2 4420 {NQN} 128 64"),
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
        };
        let plan = Plan {
            target,
            extent,
            patience: Duration::from_secs(300),
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
    fn start(a: &VmConfig, b: &VmConfig, run_dir: &Path) -> Self {
        let socket = |config: &VmConfig| {
            config
                .nic
                .as_ref()
                .map(|nic| nic.socket.clone())
                .unwrap_or_default()
        };
        let (mut a, mut b) = (
            SocketPort::connect(&socket(a)),
            SocketPort::connect(&socket(b)),
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
                    let (from, to) = if forwards {
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
