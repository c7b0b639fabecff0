//! Two hosts at the card's cable in wall time, one over each transport, each with a verified load that does not end before it
//! is told to.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_sim::initiator::{
    Config, ConnectConfig, Controller, Initiator, Stats, Transport, Workload, WorkloadConfig,
};
use sluice_sim::link::Frames;
use sluice_sim::port::{LivePort, SocketPort};

/// Card clocks per microsecond.
const MICRO: u64 = 250;
/// Without an answer for so long something hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Rdma];

/// The hosts, in a thread of their own.
pub struct Hosts {
    stop: Arc<AtomicBool>,
    gone: Arc<AtomicBool>,
    connected: Arc<AtomicBool>,
    /// Commands done.
    pub done: Arc<AtomicU64>,
    thread: Option<JoinHandle<Vec<Stats>>>,
}

/// What the thread and its owner share.
struct Flags {
    stop: Arc<AtomicBool>,
    gone: Arc<AtomicBool>,
    connected: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

struct Cable {
    port: SocketPort,
    start: Instant,
    to_card: Frames,
}

impl Cable {
    /// Everybody at the cable goes on; sleeps a little if nothing came.
    fn turn(&mut self, hosts: &mut [&mut Initiator]) {
        let now = self.start.elapsed().as_micros() as u64 * MICRO;
        for host in hosts.iter_mut() {
            host.advance(now, &mut self.to_card);
        }
        let mut arrived = Vec::new();
        self.port
            .receive(&mut arrived, 64)
            .expect("the cable holds");
        let idle = arrived.is_empty() && self.to_card.is_empty();
        for frame in arrived {
            let group = frame.first().is_some_and(|byte| byte & 1 == 1);
            for host in hosts.iter_mut() {
                if group || frame.get(..6) == Some(&host.mac()[..]) {
                    host.receive(now, frame.clone(), &mut self.to_card);
                }
            }
        }
        for (_, frame) in self.to_card.drain(..) {
            self.port.send(&frame).expect("the cable holds");
        }
        self.port.flush().expect("the cable holds");
        if idle {
            let nap = Duration::from_micros(200);
            self.port.wait(nap).expect("the cable holds");
        }
    }
}

impl Hosts {
    /// Connects both to `nqn`: the first to namespace 1, the second to namespace 2.
    pub fn start(cable: &Path, nqn: &'static str, seed: u64) -> Self {
        let port = SocketPort::connect(cable);
        let (stop, connected) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (done, gone) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let flags = Flags {
            stop: stop.clone(),
            gone: gone.clone(),
            connected: connected.clone(),
            done: done.clone(),
        };
        let thread = std::thread::spawn(move || {
            let cable = Cable {
                port,
                start: Instant::now(),
                to_card: Frames::new(),
            };
            work(cable, nqn, seed, &flags)
        });
        let hosts = Self {
            stop,
            gone,
            connected,
            done,
            thread: Some(thread),
        };
        let begun = Instant::now();
        while !hosts.connected.load(Ordering::Acquire) {
            assert!(!hosts.has_ended(), "the hosts do not connect");
            assert!(begun.elapsed() < PATIENCE, "the hosts do not connect");
            std::thread::sleep(Duration::from_millis(5));
        }
        hosts
    }

    /// Waits until they have done so many commands more.
    pub fn work(&self, ios: u64) -> Result<(), String> {
        let (from, begun) = (self.done.load(Ordering::Acquire), Instant::now());
        while self.done.load(Ordering::Acquire) < from + ios {
            if self.has_ended() || begun.elapsed() > PATIENCE {
                return Err(format!("no {ios} commands after {:?}", begun.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// They have given up: something is wrong with their loads.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// They are switched off, as they are.
    pub fn switch_off(mut self) {
        self.gone.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }

    /// Ends the loads and the associations, which are those of the beginning; what came of the loads.
    pub fn end(mut self) -> Vec<Stats> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().expect("it runs");
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn work(mut cable: Cable, nqn: &str, seed: u64, flags: &Flags) -> Vec<Stats> {
    let target = "10.0.0.2:4420".parse().expect("an address");
    let mut hosts = [1, 2].map(|n| Initiator::new(&Config::numbered(n)));
    let mut controllers: Vec<Controller> = Vec::new();
    for (n, over) in (1u8..).zip(TRANSPORTS) {
        let load = on(&mut cable, &mut hosts, usize::from(n) - 1, |b| {
            let config = ConnectConfig::new(target, nqn, n).over(over);
            let controller = b.connect(&config).expect("connects");
            let ns = b
                .namespace(controller.admin, n.into())
                .expect("a namespace");
            let blocks = (4096 / ns.block_size) as u32;
            let load = WorkloadConfig {
                depth: 4,
                read_percent: 50,
                ios: u64::MAX,
                ends_when_lost: true,
                io_blocks: blocks,
                span: u64::from(blocks) * 256,
                seed,
                ..WorkloadConfig::random_4k(controller.io.clone(), ns.nsid, ns.block_size)
            };
            controllers.push(controller);
            load
        });
        hosts[usize::from(n) - 1].attach(Workload::new(load));
    }
    flags.connected.store(true, Ordering::Release);
    let (mut told, mut last) = (false, (0, Instant::now()));
    loop {
        cable.turn(&mut hosts.each_mut());
        let loads = || hosts.iter().filter_map(Initiator::workload);
        let ios: u64 = loads().map(|w| w.stats().ios()).sum();
        flags.done.store(ios, Ordering::Release);
        if ios != last.0 {
            last = (ios, Instant::now());
        }
        assert!(
            last.1.elapsed() < PATIENCE,
            "the loads hang after {ios} commands"
        );
        let wrong = loads().any(|w| !w.stats().errors.is_empty());
        if loads().all(Workload::is_done) || wrong {
            break;
        }
        if flags.gone.load(Ordering::Acquire) {
            return Vec::new();
        }
        if flags.stop.load(Ordering::Acquire) && !told {
            hosts.iter_mut().for_each(Initiator::end_workload);
            told = true;
        }
    }
    let loads = hosts.iter_mut().map(|host| host.detach());
    let stats: Vec<Stats> = loads.flatten().map(Workload::into_stats).collect();
    if stats.iter().all(|s| s.errors.is_empty()) {
        for (n, controller) in controllers.iter().enumerate() {
            let done = on(&mut cable, &mut hosts, n, |b| b.disconnect(controller));
            done.expect("it is the association of the beginning");
        }
    }
    stats
}

/// One host's work, step by step, while the other goes on.
fn on<R>(
    cable: &mut Cable,
    hosts: &mut [Initiator; 2],
    which: usize,
    work: impl FnOnce(&mut sluice_sim::initiator::Blocking<'_>) -> R,
) -> R {
    let [first, second] = hosts;
    let (host, other) = if which == 0 {
        (first, second)
    } else {
        (second, first)
    };
    let mut advance = |host: &mut Initiator| cable.turn(&mut [host, other]);
    let mut blocking = host.blocking(&mut advance);
    blocking.patience = PATIENCE.as_micros() as u64 * MICRO;
    work(&mut blocking)
}
