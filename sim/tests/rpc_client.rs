//! The daemon over the functional card, asked by JSON-RPC clients that share nothing with it: a few hundred lines of Python
//! (`xtask/src/test/rpc_client.py`) that look at every member and send what is malformed, and SPDK's own `rpc.py`, out of its
//! Python package (`xtask/src/test/spdk_rpc.py`). They judge; here is only what they talk to.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sluice_daemon::backend::{Address, Backends};
use sluice_daemon::owner::{LogReader, Owner};
use sluice_daemon::server::{Group, Limits, Server, Socket};
use sluice_daemon::service;
use sluice_daemon::state::Store;
use sluice_device::Device;
use sluice_driver::card::{Card, CardOptions};
use sluice_sim::card::functional::FunctionalCard;
use sluice_sim::options::CardKind;
use sluice_sim::scenario::server::{Setup, demo_ssds};
use sluice_sim::ssd::{MSIX_TABLE, Ssd};
use sluice_sim::world::{World, WorldHandle, card_device, ssd_device};
use std::cell::RefCell;
use std::rc::Rc;

/// The card's address in the demo.
const CARD: &str = "10.0.0.2";
/// Far more than the client takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// SSDs by their names: `ssd0` is the first of the world.
struct Simulated {
    world: WorldHandle,
    vectors: Vec<u16>,
}

impl Backends for Simulated {
    type Device = Box<dyn Device>;

    fn open(&mut self, name: &str, _: Option<&Address>) -> Result<Box<dyn Device>, String> {
        let index: Option<usize> = name.strip_prefix("ssd").and_then(|n| n.parse().ok());
        let found = index.and_then(|i| Some((i, *self.vectors.get(i)?)));
        let (index, vectors) = found.ok_or_else(|| format!("the simulation has no {name}"))?;
        Ok(ssd_device(&self.world, index, MSIX_TABLE, vectors))
    }
}

/// A folder that goes again.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "rpc-client-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_client_that_shares_nothing_with_the_daemon_finds_it_speaking_spdks_protocol() {
    judged(Path::new("python3"), "rpc_client.py", &[]);
}

#[test]
fn spdks_own_client_finds_what_it_would_find_at_spdk() {
    // Where `cargo xtask setup` installs it, beside the folder that tests may use.
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/venv/bin/python");
    assert!(
        tools.exists(),
        "{} is not there: SPDK's Python package comes with `cargo xtask setup`",
        tools.display()
    );
    judged(&tools, "spdk_rpc.py", &[CARD]);
}

/// Runs a script of xtask's against a daemon, with its socket as the first argument.
fn judged(python: &Path, script: &str, arguments: &[&str]) {
    let world: WorldHandle = Rc::new(RefCell::new(World::new(Box::new(FunctionalCard::new(
        2, 1,
    )))));
    let mut vectors = Vec::new();
    for config in demo_ssds(1) {
        vectors.push(config.vectors);
        let ssd = Ssd::new(config).expect("in memory");
        world
            .borrow_mut()
            .add_ssd(Box::new(Rc::new(RefCell::new(ssd))));
    }
    let folder = Folder::new();
    // Ports and SSDs of the demo, and nothing on them yet.
    let mut first = Setup::new(CardKind::Functional, 2, 1).config;
    first = first.edited(|file| file.subsystems.clear()).expect("good");
    let store = Store::open(&folder.0.join("state.json")).expect("there is none yet");
    let card = Card::boot(card_device(&world), None, CardOptions::default()).expect("boots");
    let (handle, jobs) = service::queue(service::LIMIT);
    let backends = Simulated { world, vectors };
    let mut owner = Owner::start(
        card,
        backends,
        store,
        Some(first),
        (&handle, jobs),
        LogReader::new(None),
    )
    .unwrap_or_else(|e| panic!("{e}"));
    let path = folder.0.join("sluiced.sock");
    let socket = Socket::bind(&path, &Group::Own).unwrap_or_else(|e| panic!("{e}"));
    let server = Server::start(socket, handle, Limits::default());

    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../xtask/src/test")
        .join(script);
    let mut client = Command::new(python);
    // No compiled copy is left in the source tree.
    client
        .arg("-B")
        .arg(script)
        .arg(&path)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client
        .spawn()
        .expect("python3 is there: the RTL tools need it as well");
    let begun = Instant::now();
    while client.try_wait().expect("a child").is_none() {
        owner.turn(Duration::from_millis(5));
        if begun.elapsed() > PATIENCE {
            let _ = client.kill();
            break;
        }
    }
    let out = client.wait_with_output().expect("a child");
    let said =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("all holds"), "{said}");
    drop(server);
    owner.stop().unwrap_or_else(|e| panic!("{e}"));
}
