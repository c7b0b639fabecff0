//! The program `sluiced` over vfio-user sockets, killed at random points while it is configured, while it takes over, and while
//! hosts do verified I/O: whatever it answered is there after it, and hosts notice nothing. And left on purpose, or stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sluice_rpc::client::{Client, ClientError};
use sluice_sim::card::functional::FunctionalCard;
use sluice_sim::port::SocketPort;
use sluice_sim::ssd::{NamespaceSpec, Ssd, SsdConfig};
use sluice_sim::vfio_user::card::CardFunction;
use sluice_sim::vfio_user::ssd::SsdFunction;
use sluice_sim::vfio_user::{Function, Server};

use crate::bench::{NQN, folder};
use crate::cable::Hosts;
use crate::killed::{apply, change, key, there};
use crate::systemd::Systemd;

/// Times that the daemon is killed, unless the environment says otherwise.
const KILLS: u32 = 100;
/// Says how often it is killed.
const KILLS_VARIABLE: &str = "SLUICE_KILLS";
/// Says from which seed on.
const SEED_VARIABLE: &str = "SLUICE_SEED";

/// A device's server in a thread of its own, as another process would have it.
struct Process {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Process {
    fn start<F: Function>(path: &Path, make: impl FnOnce() -> F + Send + 'static) -> Self {
        let (stop, path) = (Arc::<AtomicBool>::default(), path.to_path_buf());
        let flag = stop.clone();
        let serve = move || {
            let mut server = Server::listen(&path, make()).expect("listens");
            server.run(&flag).expect("no client makes it fail");
        };
        Self {
            stop,
            thread: Some(thread::spawn(serve)),
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

/// A card, three SSDs, and systemd with the daemon.
struct Machine {
    folder: PathBuf,
    program: PathBuf,
    systemd: Systemd,
    _devices: Vec<Process>,
}

/// The program, built as it is now.
fn program() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "sluice-daemon",
        "--bin",
        "sluiced",
    ]);
    // target/debug/deps/this-test, or whatever the profile is called.
    let test = std::env::current_exe().expect("this program");
    let profile = test.ancestors().nth(2).expect("a folder of the profile");
    let name = profile.file_name().and_then(std::ffi::OsStr::to_str);
    match name.expect("a name") {
        "debug" => {}
        other => _ = cargo.args(["--profile", other]),
    }
    let built = cargo.status().expect("cargo is there");
    assert!(built.success(), "the daemon is not built");
    profile.join("sluiced")
}

fn ssd(path: &Path, seed: u64, bytes: u64) -> Process {
    let config = SsdConfig {
        serial: format!("SLUICE{seed}"),
        namespaces: vec![NamespaceSpec::memory(bytes, 9)],
        seed,
        ..SsdConfig::default()
    };
    Process::start(path, || SsdFunction::new(Ssd::new(config).expect("memory")))
}

impl Machine {
    fn new(name: &str) -> Self {
        let folder = folder(name);
        let cable = SocketPort::listen(&folder.join("cable")).expect("a cable");
        let card = Process::start(&folder.join("card"), move || {
            CardFunction::new(Box::new(FunctionalCard::new(2, 1)), Some(Box::new(cable)))
        });
        let mut devices = vec![card];
        for n in 0..3 {
            let path = folder.join(format!("disk{n}"));
            devices.push(ssd(&path, n, 32 << 20));
        }
        let at = |name: &str| folder.join(name).display().to_string();
        let initial = format!(
            r#"
[[ports]]
name = "eth0"
mac = "02:53:4c:55:43:01"
ipv4 = "10.0.0.2/24"

[[ssds]]
name = "ssd0"
pci = "vfio-user:{}"

[[ssds]]
name = "ssd1"
pci = "vfio-user:{}"

[[subsystems]]
nqn = "{NQN}"
serial = "SN1"
allow_any_host = true
listeners = ["eth0"]

[[subsystems.namespaces]]
nsid = 1
ssd = "ssd0"

[[subsystems.namespaces]]
nsid = 2
ssd = "ssd1"
first_block = 32768
blocks = 32768
"#,
            at("disk0"),
            at("disk1"),
        );
        let settings = format!(
            "card = \"vfio-user:{}\"\nboot_from_flash = false\nstate = \"{}\"\ninitial = \"{}\"\nsocket = \"{}\"\nmetrics = \"\"\nlog_level = \"INFO\"\n",
            at("card"),
            at("state.json"),
            at("initial.toml"),
            at("s"),
        );
        std::fs::write(folder.join("initial.toml"), initial).expect("ours");
        std::fs::write(folder.join("sluiced.toml"), settings).expect("ours");
        Self {
            systemd: Systemd::new(&folder),
            program: program(),
            _devices: devices,
            folder,
        }
    }

    fn spawn(&self) -> Child {
        let (settings, log) = (self.folder.join("sluiced.toml"), self.folder.join("log"));
        self.systemd.start(&self.program, &settings, &log)
    }

    fn start(&self) -> Child {
        let mut daemon = self.spawn();
        self.ready(&mut daemon);
        daemon
    }

    fn ready(&self, daemon: &mut Child) {
        let ready = self.systemd.ready(daemon);
        ready.unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
    }

    fn client(&self) -> Client {
        let socket = self.folder.join("s");
        Client::connect(&socket, Duration::from_secs(60)).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The daemon has ended: what it has sent is done, and nobody is there for a while.
    fn after(&mut self, daemon: &mut Child, nobody: Duration) {
        daemon.wait().expect("it is ours");
        self.systemd.settle();
        thread::sleep(nobody);
    }

    /// The end of what the daemons have logged.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

fn signal(daemon: &Child, signal: Signal) {
    kill_process(Pid::from_child(daemon), signal).expect("it is ours");
}

fn call(client: &mut Client, method: &str, params: Value) -> Value {
    let answer = client.call(method, params);
    answer.unwrap_or_else(|e| panic!("{method}: {e}"))
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}: a number wanted, {text:?} came"))
    })
}

/// A change as `killed` has them, or an SSD that comes or goes.
fn anything(random: &mut ChaCha8Rng, now: &[String], hot: &Path) -> (Value, String, bool) {
    if !random.next_u32().is_multiple_of(8) {
        return change(random, now);
    }
    let params = json!({ "name": "hot", "trtype": "VFIOUSER", "traddr": hot });
    let add = json!({ "method": "bdev_nvme_attach_controller", "params": params });
    let what = key(&add);
    if now.contains(&what) {
        let remove =
            json!({ "method": "bdev_nvme_detach_controller", "params": { "name": "hot" } });
        (remove, what, false)
    } else {
        (add, what, true)
    }
}

#[test]
fn a_daemon_killed_while_hosts_work_is_replaced_and_they_notice_nothing() {
    let seed = number(SEED_VARIABLE, 20_261_128);
    let kills = number(KILLS_VARIABLE, KILLS.into());
    println!("seed {seed} ({SEED_VARIABLE}), {kills} kills ({KILLS_VARIABLE})");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut machine = Machine::new("restarts");
    let hot = machine.folder.join("disk2");
    let mut daemon = machine.start();
    let hosts = Hosts::start(&machine.folder.join("cable"), NQN, seed);
    let mut may = vec![there(&mut machine.client())];
    let (mut answered, mut early, mut slowest) = (0, 0, Duration::ZERO);
    let begun = Instant::now();
    for kill in 0..kills {
        let wait = Duration::from_micros(u64::from(random.next_u32() % 40_000));
        if random.next_u32().is_multiple_of(4) {
            // While it takes over, or soon after; the first has nothing to take over.
            thread::sleep(wait);
            signal(&daemon, Signal::KILL);
            early += 1;
        } else {
            let waited = Instant::now();
            machine.ready(&mut daemon);
            slowest = slowest.max(waited.elapsed());
            let mut client = machine.client();
            let mut now = there(&mut client);
            assert!(
                may.contains(&now),
                "kill {kill}: {now:#?} wanted one of {may:#?}\n{}",
                machine.log()
            );
            let pid = Pid::from_child(&daemon);
            let killer = thread::spawn(move || {
                thread::sleep(wait);
                kill_process(pid, Signal::KILL).expect("it is ours");
            });
            may = loop {
                let (call, what, adds) = anything(&mut random, &now, &hot);
                let next = apply(&now, &what, adds);
                let method = call["method"].as_str().expect("a name");
                match client.call(method, call["params"].clone()) {
                    Ok(_) => {
                        answered += 1;
                        now = next;
                    }
                    Err(ClientError::Refused(error)) => {
                        panic!("kill {kill}: {call}: {error}\n{}", machine.log())
                    }
                    Err(_) => break vec![now, next],
                }
            };
            killer.join().expect("it killed");
        }
        let nobody = Duration::from_micros(u64::from(random.next_u32() % 20_000));
        machine.after(&mut daemon, nobody);
        if hosts.has_ended() {
            let stats = hosts.end();
            let errors: Vec<_> = stats.iter().map(|s| &s.errors).collect();
            panic!("kill {kill}: {errors:?}\n{}", machine.log());
        }
        daemon = machine.spawn();
    }
    machine.ready(&mut daemon);
    let took = begun.elapsed();
    let mut client = machine.client();
    assert!(may.contains(&there(&mut client)), "\n{}", machine.log());
    // The hosts get on with nobody disturbing them.
    let worked = hosts.work(100);
    worked.unwrap_or_else(|why| panic!("{why}\n{}", machine.log()));
    let stats = hosts.end();
    for load in &stats {
        assert_eq!(load.errors, [""; 0], "seed {seed}\n{}", machine.log());
        assert!(load.verified_bytes > 0, "nothing was verified");
    }
    let ios: u64 = stats.iter().map(sluice_sim::initiator::Stats::ios).sum();
    println!(
        "{kills} kills in {took:?}, {early} of them before it was ready; {answered} changes answered, {ios} I/Os, ready after {slowest:?} at most"
    );
    assert!(answered > 0 && early > 0);
    // Every kill leaves the same: nothing piles up.
    machine.systemd.settle();
    let names = machine.systemd.names();
    let count = |what: &str| names.keys().filter(|n| n.starts_with(what)).count();
    let ssds = call(&mut client, "bdev_nvme_get_controllers", json!({}));
    let devices = 1 + ssds.as_array().map_or(0, Vec::len);
    assert_eq!(
        [
            count("user.device"),
            count("user.journal"),
            count("user.memory")
        ],
        [devices; 3],
        "{names:?}"
    );
    assert!(names.values().all(|n| *n == 1), "{names:?}");
    call(&mut client, "sluice_stop", json!({}));
    let ended = daemon.wait().expect("it is ours");
    assert!(ended.success(), "{}", machine.log());
    let log = std::fs::read_to_string(machine.folder.join("log")).expect("it logs");
    for bad in ["not told of", "could not be taken over", "must be booted"] {
        assert!(!log.contains(bad), "{bad}: {}", machine.folder.display());
    }
}

/// A machine with hosts at work; what is in it.
fn at_work(name: &str) -> (Machine, Child, Hosts) {
    let machine = Machine::new(name);
    let daemon = machine.start();
    let hosts = Hosts::start(&machine.folder.join("cable"), NQN, 1);
    (machine, daemon, hosts)
}

fn status(machine: &Machine) -> Value {
    call(&mut machine.client(), "sluice_get_status", json!({}))
}

#[test]
fn a_daemon_that_is_told_to_end_leaves_everything_running_and_the_next_one_has_it() {
    let (mut machine, mut daemon, hosts) = at_work("left");
    let kept = machine.systemd.names();
    for _ in 0..5 {
        let pid = status(&machine)["pid"].clone();
        signal(&daemon, Signal::TERM);
        assert!(daemon.wait().expect("it is ours").success());
        machine.systemd.settle();
        thread::sleep(Duration::from_millis(50));
        assert_eq!(machine.systemd.names(), kept, "the same as ever");
        daemon = machine.start();
        let now = status(&machine);
        assert_ne!(now["pid"], pid);
        for ssd in now["ssds"].as_array().expect("a list") {
            assert_eq!(ssd["state"], "serving", "{now}");
        }
        let worked = hosts.work(10);
        worked.unwrap_or_else(|why| panic!("{why}\n{}", machine.log()));
    }
    let log = machine.log();
    assert!(log.contains("taken over as it runs"), "{log}");
    for load in hosts.end() {
        assert_eq!(load.errors, [""; 0], "{log}");
    }
    signal(&daemon, Signal::KILL);
    machine.after(&mut daemon, Duration::ZERO);
}

#[test]
fn a_daemon_that_is_told_to_stop_takes_everything_down_and_the_next_one_begins_anew() {
    let (mut machine, mut daemon, hosts) = at_work("stopped");
    let before = there(&mut machine.client());
    call(&mut machine.client(), "sluice_stop", json!({}));
    assert!(daemon.wait().expect("it is ours").success());
    machine.systemd.settle();
    assert_eq!(machine.systemd.names().len(), 0, "nothing is left");
    hosts.switch_off();
    let mut daemon = machine.start();
    assert_eq!(there(&mut machine.client()), before);
    let hosts = Hosts::start(&machine.folder.join("cable"), NQN, 2);
    hosts.work(1000).unwrap_or_else(|why| panic!("{why}"));
    for load in hosts.end() {
        assert_eq!(load.errors, [""; 0]);
    }
    // Whoever sits at the keyboard means it too.
    signal(&daemon, Signal::INT);
    assert!(daemon.wait().expect("it is ours").success());
    machine.systemd.settle();
    assert_eq!(machine.systemd.names().len(), 0, "nothing is left");
}

#[test]
fn a_store_that_was_lost_means_a_new_start_with_the_same_configuration() {
    let (mut machine, mut daemon, hosts) = at_work("store-lost");
    let before = there(&mut machine.client());
    signal(&daemon, Signal::KILL);
    machine.after(&mut daemon, Duration::ZERO);
    machine.systemd.drop_store();
    let mut daemon = machine.start();
    assert_eq!(there(&mut machine.client()), before);
    hosts.switch_off();
    let hosts = Hosts::start(&machine.folder.join("cable"), NQN, 2);
    hosts.work(1000).unwrap_or_else(|why| panic!("{why}"));
    for load in hosts.end() {
        assert_eq!(load.errors, [""; 0]);
        assert!(load.verified_bytes > 0, "nothing was verified");
    }
    call(&mut machine.client(), "sluice_stop", json!({}));
    assert!(daemon.wait().expect("it is ours").success());
}
