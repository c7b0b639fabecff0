//! The daemon's process killed at random points of a configuration, 100 times: whatever was answered is there after it, and
//! the state is always one that the daemon has been in.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use sluice_rpc::client::Client;

use crate::bench::{Bench, folder};

/// Names the folder of the process that is to be killed.
const FOLDER: &str = "SLUICE_DAEMON_TO_BE_KILLED";
const KILLS: u32 = 100;

/// Not a test: what the test below starts and kills.
#[test]
#[ignore = "runs until it is killed; started by the test that kills it"]
fn a_daemon_that_serves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let mut bench = Bench::start(&PathBuf::from(folder), 1);
    // Standard output may be captured by the test runner; this is not.
    eprintln!("serving");
    loop {
        bench.owner.turn(Duration::from_millis(5));
    }
}

fn start(folder: &Path) -> Child {
    let mut daemon = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "killed::a_daemon_that_serves_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program");
    let lines = BufReader::new(daemon.stderr.take().expect("piped")).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        if line == "serving" {
            return daemon;
        }
        said.push(line);
    }
    let how = daemon.wait();
    panic!("it ended ({how:?}): {}", said.join("\n"));
}

/// What is configured, by name: one string for each thing.
pub fn there(client: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    for part in ["bdev", "nvmf"] {
        let calls = client
            .call("framework_get_config", json!({ "name": part }))
            .unwrap_or_else(|e| panic!("{e}"));
        all.extend(calls.as_array().expect("a list").iter().map(key));
    }
    all.sort();
    all
}

pub fn key(call: &Value) -> String {
    let p = &call["params"];
    format!(
        "{} {} {} {} {}",
        call["method"], p["nqn"], p["name"], p["host"], p["namespace"]["nsid"]
    )
}

/// A random change: the call, and what it adds or takes away.
pub fn change(random: &mut ChaCha8Rng, now: &[String]) -> (Value, String, bool) {
    let mut pick = |n: u32| random.next_u32() % n;
    let nqn = format!("nqn.2026-01.org.example:s{}", pick(4));
    let host = format!("nqn.2026-01.org.example:h{}", pick(4));
    let nsid = 1 + pick(4);
    let namespace = json!({ "nsid": nsid, "bdev_name": "ssd1n1", "first_block": nsid * 1000, "num_blocks": 100, "read_only": true });
    let create = json!({ "method": "nvmf_create_subsystem", "params": { "nqn": nqn } });
    let exists = now.contains(&key(&create));
    let (add, remove) = match pick(3) {
        _ if !exists => (create, None),
        0 => (
            json!({ "method": "nvmf_subsystem_add_host", "params": { "nqn": nqn, "host": host } }),
            Some(
                json!({ "method": "nvmf_subsystem_remove_host", "params": { "nqn": nqn, "host": host } }),
            ),
        ),
        1 => (
            json!({ "method": "nvmf_subsystem_add_ns", "params": { "nqn": nqn, "namespace": namespace } }),
            Some(
                json!({ "method": "nvmf_subsystem_remove_ns", "params": { "nqn": nqn, "nsid": nsid } }),
            ),
        ),
        _ => (
            create.clone(),
            Some(json!({ "method": "nvmf_delete_subsystem", "params": { "nqn": nqn } })),
        ),
    };
    let what = key(&add);
    match remove.filter(|_| now.contains(&what)) {
        Some(remove) => (remove, what, false),
        None => (add, what, true),
    }
}

/// A model of what a change does.
pub fn apply(now: &[String], what: &str, adds: bool) -> Vec<String> {
    let mut next = now.to_vec();
    if adds {
        next.push(what.into());
    } else if what.contains("nvmf_create_subsystem") {
        // All that is in it goes with it.
        let nqn = what.split(' ').nth(1).expect("a name").to_string();
        next.retain(|k| k.split(' ').nth(1) != Some(&nqn));
    } else {
        next.retain(|k| k != what);
    }
    next.sort();
    next
}

#[test]
fn a_daemon_killed_while_it_is_configured_has_all_that_it_said_and_nothing_half_done() {
    let seed = 20_260_128;
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let folder = folder("killed");
    let socket = folder.join("s");
    // Unless the daemon says otherwise, this is what there is; with a change that was not answered, one of two.
    let mut may: Vec<Vec<String>> = vec![Vec::new()];
    let (mut answered, mut unanswered) = (0, 0);
    for kill in 0..KILLS {
        let mut daemon = start(&folder);
        let mut client =
            Client::connect(&socket, Duration::from_secs(60)).unwrap_or_else(|e| panic!("{e}"));
        let mut now = there(&mut client);
        assert!(
            may.contains(&now),
            "kill {kill}: {now:#?} wanted one of {may:#?}"
        );
        if kill == 0 {
            let ssd = json!({ "name": "ssd1", "trtype": "PCIe", "traddr": "0000:01:00.0" });
            client
                .call("bdev_nvme_attach_controller", ssd)
                .unwrap_or_else(|e| panic!("{e}"));
            now = there(&mut client);
        }
        let pid = rustix::process::Pid::from_child(&daemon);
        let wait = Duration::from_micros(u64::from(random.next_u32() % 30_000));
        let killer = thread::spawn(move || {
            thread::sleep(wait);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
        });
        may = loop {
            let (call, what, adds) = change(&mut random, &now);
            let next = apply(&now, &what, adds);
            match client.call(
                call["method"].as_str().expect("a name"),
                call["params"].clone(),
            ) {
                Ok(_) => {
                    answered += 1;
                    now = next;
                }
                Err(sluice_rpc::client::ClientError::Refused(error)) => panic!("{call}: {error}"),
                Err(_) => {
                    unanswered += 1;
                    break vec![now, next];
                }
            }
        };
        killer.join().expect("it killed");
        daemon.wait().expect("it is ours");
    }
    println!("{answered} changes answered, {unanswered} cut off");
    // How many depends on the machine's speed.
    assert!(answered > 0 && unanswered == KILLS);
}
