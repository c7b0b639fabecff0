//! What is there again after a restart, and what happens when something of it is not.

use serde_json::{Value, json};
use sluice_sim::initiator::ConnectConfig;

use crate::bench::{Bench, NQN, folder, host, listener};

fn everything(bench: &mut Bench) -> Value {
    json!([
        bench.call("framework_get_config", json!({ "name": "bdev" })),
        bench.call("framework_get_config", json!({ "name": "nvmf" })),
        bench.call("nvmf_get_subsystems", json!({})),
        bench.call("nvmf_get_transports", json!({})),
    ])
}

fn namespaces(bench: &mut Bench) -> Vec<u32> {
    let target = "10.0.0.2:4420".parse().expect("an address");
    let mut from = host(1);
    let controller = bench
        .on(&mut from, |b| {
            b.connect(&ConnectConfig::new(target, NQN, 1))
        })
        .unwrap_or_else(|e| panic!("{e}"));
    bench
        .on(&mut from, |b| b.active_namespaces(controller.admin))
        .unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn everything_configured_is_there_again_after_a_restart() {
    let folder = folder("restart");
    let mut bench = Bench::start(&folder, 1);
    bench.configure();
    bench.call(
        "nvmf_subsystem_add_host",
        json!({ "nqn": NQN, "host": "nqn.2026-01.org.example:h" }),
    );
    bench.call("nvmf_subsystem_remove_listener", listener("RDMA"));
    let before = everything(&mut bench);
    let generation = bench.call("sluice_get_status", json!({}))["state_file"]["generation"].clone();
    drop(bench);
    let mut bench = Bench::start(&folder, 1);
    assert_eq!(everything(&mut bench), before);
    assert_eq!(
        bench.call("sluice_get_status", json!({}))["state_file"]["generation"],
        generation,
        "nothing was written"
    );
    assert_eq!(namespaces(&mut bench), [1, 2]);
}

#[test]
fn the_calls_that_are_listed_as_configuration_lead_to_the_same_from_nothing() {
    let mut first = Bench::start(&folder("from"), 1);
    first.configure();
    first.call("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 1 }));
    let part = json!({ "bdev_name": "ssd1n1", "nsid": 7, "first_block": 8, "num_blocks": 64, "read_only": true });
    first.call(
        "nvmf_subsystem_add_ns",
        json!({ "nqn": NQN, "namespace": part }),
    );
    let wanted = everything(&mut first);
    let mut second = Bench::start(&folder("to"), 1);
    for calls in [&wanted[0], &wanted[1]] {
        for call in calls.as_array().expect("a list") {
            second.call(
                call["method"].as_str().expect("a name"),
                call["params"].clone(),
            );
        }
    }
    assert_eq!(everything(&mut second), wanted);
}

#[test]
fn an_ssd_that_is_not_there_at_a_restart_keeps_its_place_and_the_others_serve() {
    let folder = folder("absent");
    let mut bench = Bench::start(&folder, 1);
    bench.configure();
    let kept = std::fs::read(folder.join("state.json")).expect("written");
    drop(bench);
    let mut bench = Bench::try_start(&folder, 1, 1 << 2).unwrap_or_else(|e| panic!("{e}"));
    let status = bench.call("sluice_get_status", json!({}));
    assert_eq!(
        status["ssds"][1],
        json!({ "name": "ssd2", "address": "0000:02:00.0", "state": "absent" })
    );
    assert_eq!(
        status["absent_namespaces"],
        json!([{ "nqn": NQN, "nsid": 2, "ssd": "ssd2" }])
    );
    assert_eq!(namespaces(&mut bench), [1]);
    // Its NSID and its name stay its own.
    let part = json!({ "bdev_name": "ssd1n1", "nsid": 2 });
    let (_, message) = bench.refused(
        "nvmf_subsystem_add_ns",
        json!({ "nqn": NQN, "namespace": part }),
    );
    assert!(message.contains("absent"), "{message}");
    let (code, _) = bench.refused(
        "bdev_nvme_attach_controller",
        json!({ "name": "ssd2", "trtype": "PCIe", "traddr": "0000:01:00.0" }),
    );
    assert_eq!(code, -114);
    let (_, message) = bench.refused("sluice_reopen_ssd", json!({ "name": "ssd2" }));
    assert!(message.contains("still cannot be opened"), "{message}");
    assert_eq!(
        std::fs::read(folder.join("state.json")).expect("written"),
        kept,
        "the state has it all the time"
    );
    bench.shut.set(0);
    bench.call("sluice_reopen_ssd", json!({ "name": "ssd2" }));
    assert_eq!(namespaces(&mut bench), [1, 2]);
    assert_eq!(bench.notified("sluice_ssd_back"), ["ssd2"]);
}

#[test]
fn an_ssd_that_is_gone_for_good_can_be_taken_out_of_the_configuration() {
    let folder = folder("gone");
    let mut bench = Bench::start(&folder, 1);
    bench.configure();
    drop(bench);
    let mut bench = Bench::try_start(&folder, 1, 1 << 2).unwrap_or_else(|e| panic!("{e}"));
    let (code, message) = bench.refused("bdev_nvme_detach_controller", json!({ "name": "ssd2" }));
    assert!(code == -16 && message.contains("namespace 2"), "{message}");
    bench.call("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 2 }));
    bench.call("bdev_nvme_detach_controller", json!({ "name": "ssd2" }));
    drop(bench);
    let mut bench = Bench::start(&folder, 1);
    let status = bench.call("sluice_get_status", json!({}));
    assert_eq!(status["ssds"].as_array().map(Vec::len), Some(1));
    assert_eq!(namespaces(&mut bench), [1]);
}

#[test]
fn a_change_that_could_not_be_kept_is_not_begun() {
    let folder = folder("full");
    let mut bench = Bench::start(&folder, 1);
    bench.configure();
    let before = bench.owner.rig().config().to_json();
    let away = folder.with_extension("away");
    std::fs::rename(&folder, &away).expect("ours");
    let (code, message) = {
        // The socket's path has moved with its folder.
        bench.socket = away.join("s");
        bench.refused("nvmf_delete_subsystem", json!({ "nqn": NQN }))
    };
    assert!(
        code == -32603 && message.starts_with("nothing was changed: state file"),
        "{message}"
    );
    assert_eq!(bench.owner.rig().config().to_json(), before);
    let test = bench.call("sluice_self_test", json!({}));
    let last = test["checks"]
        .as_array()
        .and_then(|c| c.last())
        .cloned()
        .expect("checks");
    assert_eq!(
        (&last["name"], &last["passed"]),
        (&json!("state file"), &json!(false))
    );
    std::fs::rename(&away, &folder).expect("ours");
    bench.socket = folder.join("s");
    bench.call("nvmf_delete_subsystem", json!({ "nqn": NQN }));
    drop(bench);
    let mut bench = Bench::start(&folder, 1);
    bench.refused("nvmf_get_subsystems", json!({ "nqn": NQN }));
}

#[test]
fn a_state_file_that_was_damaged_stops_the_daemon_with_what_to_do() {
    let folder = folder("damaged");
    let mut bench = Bench::start(&folder, 1);
    bench.configure();
    drop(bench);
    let path = folder.join("state.json");
    let mut bytes = std::fs::read(&path).expect("written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("ours");
    let Err(error) = Bench::try_start(&folder, 1, 0) else {
        panic!("it starts with a damaged state")
    };
    let message = error.to_string();
    assert!(
        message.contains("state.json: damaged") && message.contains("restore it"),
        "{message}"
    );
}
