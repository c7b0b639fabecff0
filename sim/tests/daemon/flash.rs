//! The card's firmware replaced through the daemon: written while hosts work and others call, started, confirmed, taken back; and
//! packages that are no good.

use serde_json::{Value, json};
use sluice_boot::image::{Version, boards};
use sluice_boot::layout::FLASH_SIZE;
use sluice_boot::pack::{self, Contents, SigningKey};
use sluice_ctl::{cli, run};
use sluice_driver::card::{Card, CardOptions};
use sluice_nor::{FuseBank, Nor, Timing};
use sluice_regs::MAP_VERSION;
use sluice_rpc::method::encode;
use sluice_sim::card::functional::FunctionalCard;
use sluice_sim::initiator::{ConnectConfig, Workload, WorkloadConfig};

use crate::bench::{Bench, NQN, folder, host};

fn root() -> SigningKey {
    SigningKey::from_seed([3; 32])
}

/// Large enough that many calls come in between; the functional card does not run it.
fn package(version: u16) -> Vec<u8> {
    /// Nothing but jumps to themselves, in case a core runs it.
    static IMAGE: [u8; 100_000] = {
        let mut image = [0; 100_000];
        let mut at = 0;
        while at < image.len() {
            image[at] = 0x6F;
            at += 4;
        }
        image
    };
    let contents = Contents {
        control: &IMAGE,
        data: &IMAGE,
        board: boards::SIMULATED,
        map_version: MAP_VERSION,
        version: Version {
            major: version,
            ..Version::default()
        },
        security_version: 0,
        label: "test",
    };
    pack::package(&contents, &root()).expect("within bounds")
}

/// A configured machine whose card has started version 1 from its flash.
fn bench(name: &str) -> Bench {
    let whole = pack::whole_flash(&package(1), &[], None);
    let nor = Nor::new(FLASH_SIZE as usize, Timing::TYPICAL, 1).with_content(&whole);
    let fuses = FuseBank::new(boards::SIMULATED, MAP_VERSION, root().public());
    let card = FunctionalCard::new(1, 1).with_flash(nor, fuses);
    let bench = Bench::with_card(&folder(name), card, 0, |device| {
        Card::boot_from_flash(device, CardOptions::default())
    });
    let mut bench = bench.unwrap_or_else(|e| panic!("{e}"));
    bench.configure();
    bench
}

fn upload(bench: &mut Bench, package: &[u8]) {
    let mut offset = 0;
    for piece in package.chunks(100_000) {
        let params = json!({ "offset": offset, "data": encode(piece) });
        offset += piece.len();
        assert_eq!(bench.call("sluice_flash_upload", params), offset);
    }
}

fn state(bench: &mut Bench) -> Value {
    bench.call("sluice_flash_get_state", json!({}))
}

/// Until the download has ended: how often others were answered meanwhile, and the state.
fn written(bench: &mut Bench) -> (u32, Value) {
    let mut calls = 0;
    loop {
        bench.call("nvmf_get_subsystems", json!({}));
        let state = state(bench);
        match state["download"]["state"].as_str() {
            Some("writing" | "verifying") => calls += 1,
            _ => return (calls, state),
        }
    }
}

/// A host's verified load over a new association.
fn verified(bench: &mut Bench) {
    let target = "10.0.0.2:4420".parse().expect("an address");
    let mut from = host(1);
    let stats = bench.on(&mut from, |b| {
        let controller = b
            .connect(&ConnectConfig::new(target, NQN, 1))
            .expect("connects");
        let load = WorkloadConfig {
            depth: 4,
            read_percent: 50,
            ios: 100,
            span: 256,
            ..WorkloadConfig::random_4k(controller.io.clone(), 1, 512)
        };
        let stats = b.run_workload(Workload::new(load)).expect("the load ends");
        b.disconnect(&controller).expect("disconnects");
        stats
    });
    assert_eq!(stats.errors, [""; 0]);
    assert!(stats.verified_bytes > 0, "nothing was verified");
}

#[test]
fn firmware_is_written_beside_other_calls_tried_confirmed_and_taken_back() {
    let mut bench = bench("flash");
    let before = bench.call("nvmf_get_subsystems", json!({}));
    let first = state(&mut bench);
    assert_eq!(
        (&first["running"], &first["active"]),
        (&json!("A"), &json!("A"))
    );
    assert_eq!(first["slots"][0]["version"], "1.0.0");
    upload(&mut bench, &package(2));
    bench.call("sluice_flash_download", json!({}));
    let (code, message) = bench.refused("sluice_flash_download", json!({}));
    assert!(code == -16 && message.contains("under way"), "{message}");
    let (calls, done) = written(&mut bench);
    assert_eq!(done["download"]["state"], "verified", "{done}");
    assert!(calls > 5, "{calls} calls were answered meanwhile");
    assert_eq!(done["slots"][1]["version"], "2.0.0");
    assert_eq!(
        (&done["running"], &done["trial"]),
        (&json!("A"), &json!(null))
    );
    // An activation that is thought better of.
    bench.call("sluice_flash_activate", json!({ "when": "reset" }));
    assert_eq!(state(&mut bench)["trial"], "B");
    bench.call("sluice_flash_roll_back", json!({ "when": "reset" }));
    assert_eq!(state(&mut bench)["trial"], json!(null));
    verified(&mut bench);
    // And one that is not.
    upload(&mut bench, &package(3));
    bench.call("sluice_flash_download", json!({}));
    assert_eq!(written(&mut bench).1["download"]["state"], "verified");
    bench.call("sluice_flash_activate", json!({ "when": "now" }));
    let tried = state(&mut bench);
    assert_eq!(
        (&tried["running"], &tried["on_trial"]),
        (&json!("B"), &json!(true))
    );
    assert_eq!(bench.notified("sluice_card_restarted").len(), 1);
    assert_eq!(bench.call("nvmf_get_subsystems", json!({})), before);
    verified(&mut bench);
    bench.call("sluice_flash_confirm", json!({}));
    let kept = state(&mut bench);
    assert_eq!(
        (&kept["active"], &kept["on_trial"]),
        (&json!("B"), &json!(false))
    );
    // Back at once, from a trial.
    upload(&mut bench, &package(4));
    bench.call("sluice_flash_download", json!({}));
    assert_eq!(written(&mut bench).1["download"]["state"], "verified");
    bench.call("sluice_flash_activate", json!({ "when": "now" }));
    assert_eq!(state(&mut bench)["running"], "A");
    bench.call("sluice_flash_roll_back", json!({ "when": "now" }));
    assert_eq!(state(&mut bench)["running"], "B");
    verified(&mut bench);
    assert_eq!(bench.call("sluice_self_test", json!({}))["passed"], true);
}

/// `sluicectl flash` with a package in a file: what it printed, or why not, and its exit code.
fn tool(bench: &mut Bench, package: &[u8], options: &[&str]) -> Result<String, (String, u8)> {
    let file = bench.socket.with_extension("package");
    std::fs::write(&file, package).expect("a file");
    let socket = bench.socket.display().to_string();
    let line = ["sluicectl", "--socket", &socket, "flash"].into_iter();
    let line: Vec<String> = line
        .chain([file.to_str().expect("a name")])
        .chain(options.iter().copied())
        .map(String::from)
        .collect();
    bench.serving(move || {
        let matches = cli::command()
            .try_get_matches_from(line)
            .expect("a command line");
        let mut out = Vec::new();
        match run::run(&matches, &mut out) {
            Ok(()) => Ok(String::from_utf8(out).expect("text")),
            Err(failure) => Err((failure.to_string(), failure.exit_code())),
        }
    })
}

#[test]
fn the_tool_writes_starts_and_confirms_a_package_and_says_why_if_not() {
    let mut bench = bench("flash-tool");
    let said = tool(&mut bench, &package(2), &[]).expect("it is written");
    assert!(
        said.contains("slot B, verified") && said.contains("sluice_flash_activate"),
        "{said}"
    );
    assert_eq!(state(&mut bench)["running"], "A");
    let said = tool(&mut bench, &package(3), &["--activate", "now"]).expect("it is started");
    assert!(said.contains("is well, and is confirmed"), "{said}");
    let now = state(&mut bench);
    assert_eq!(
        (&now["running"], &now["active"], &now["on_trial"]),
        (&json!("B"), &json!("B"), &json!(false))
    );
    let health = bench.call("sluice_get_health", json!({}));
    assert_eq!(health["flash"]["running"], "B");
    assert_eq!(health["flash"]["slots"][1]["version"], "3.0.0");
    verified(&mut bench);
    let options = ["--activate", "now", "--no-confirm"];
    let said = tool(&mut bench, &package(4), &options).expect("it is started");
    assert!(said.contains("on trial"), "{said}");
    let now = state(&mut bench);
    assert_eq!(
        (&now["running"], &now["on_trial"]),
        (&json!("A"), &json!(true))
    );
    bench.call("sluice_flash_roll_back", json!({ "when": "now" }));
    let mut damaged = package(5);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for (bad, want) in [
        (damaged, "SHA-256"),
        (
            Vec::new(),
            "a package of 1 to 2097152 bytes wanted, it has 0",
        ),
        (
            vec![0; 3 << 20],
            "1 to 2097152 bytes wanted, it has 3145728",
        ),
    ] {
        let (why, code) = tool(&mut bench, &bad, &["--activate", "now"]).expect_err("no good");
        assert!(why.contains(want) && code != 0, "{code}: {why}");
        assert_eq!(state(&mut bench)["running"], "B", "untouched");
    }
    verified(&mut bench);
}

#[test]
fn packages_that_are_no_good_are_refused_with_the_reason_and_disturb_nothing() {
    let mut bench = bench("flash-bad");
    let (_, message) = bench.refused("sluice_flash_download", json!({}));
    assert!(message.contains("sluice_flash_upload"), "{message}");
    let params = json!({ "offset": 7, "data": "AAAA" });
    let (code, message) = bench.refused("sluice_flash_upload", params);
    assert!(code == -32602 && message.contains("0 wanted"), "{message}");
    let (code, message) = bench.refused("sluice_flash_activate", json!({ "when": "soon" }));
    assert!(
        code == -32602 && message.contains("\"reset\" wanted"),
        "{message}"
    );
    let (code, message) = bench.refused("sluice_flash_activate", json!({ "when": "now" }));
    assert!(code == -16 && message.contains("is the order"), "{message}");
    let mut other = package(2);
    other[0] = b'X';
    let mut unsigned = package(2);
    unsigned[200] ^= 1;
    for (bad, want) in [
        (vec![1, 2, 3], "this has 3 in all"),
        (other, "not a firmware package"),
        (unsigned, "signature is wrong"),
    ] {
        upload(&mut bench, &bad);
        let (code, message) = bench.refused("sluice_flash_download", json!({}));
        assert!(code == -32602 && message.contains(want), "{message}");
    }
    // What is behind the header is found out when all of it is there.
    let mut damaged = package(2);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    upload(&mut bench, &damaged);
    bench.call("sluice_flash_download", json!({}));
    let (_, state) = written(&mut bench);
    assert_eq!(state["download"]["state"], "failed");
    let why = state["download"]["error"].as_str().expect("why");
    assert!(why.contains("SHA-256"), "{why}");
    let params = json!({ "certificate": encode(&[7; 128]) });
    let (code, message) = bench.refused("sluice_flash_rotate_key", params);
    assert!(
        code == -32602 && message.contains("certificate"),
        "{message}"
    );
    // What runs is confirmed already, which does no harm.
    bench.call("sluice_flash_confirm", json!({}));
    verified(&mut bench);
}
