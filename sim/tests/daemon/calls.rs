//! Every method: it is there, it refuses what it must, its results have the shape of SPDK's.

use serde_json::{Value, json};
use sluice_rpc::method::{Kind, Method};
use sluice_rpc::methods::METHODS;

use crate::bench::{Bench, NQN, folder, listener};

/// A value of another type than wanted.
fn wrong(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::Bool | Kind::Data(_) => json!(5),
        Kind::Number(_) | Kind::Object(_) | Kind::Json => json!("x"),
        Kind::Absent => json!(true),
    }
}

/// A value of the right type.
fn plain(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!("x"),
        Kind::Data(_) => json!(""),
        Kind::Bool => json!(true),
        Kind::Absent => json!(false),
        Kind::Number(_) => json!(1),
        Kind::Json => json!({}),
        Kind::Object(members) => {
            let needed = members.iter().filter(|p| p.required);
            needed
                .map(|p| (p.name.to_string(), plain(p.kind)))
                .collect()
        }
    }
}

fn needed(method: &Method) -> Value {
    let needed = method.params.iter().filter(|p| p.required);
    needed
        .map(|p| (p.name.to_string(), plain(p.kind)))
        .collect()
}

#[test]
fn every_method_of_the_table_is_there_and_refuses_parameters_that_will_not_do() {
    let mut bench = Bench::start(&folder("table"), 1);
    for method in METHODS {
        let unknown = bench.refused(method.name, json!({ "no_such_parameter": 1 }));
        assert_eq!(unknown.0, -32602, "{}: {}", method.name, unknown.1);
        for param in method.params {
            let mut params = needed(method);
            params[param.name] = wrong(param.kind);
            let (code, message) = bench.refused(method.name, params);
            assert!(
                code == -32602 && message.contains(param.name),
                "{}: {message}",
                method.name
            );
            if param.required {
                let mut params = needed(method);
                params
                    .as_object_mut()
                    .expect("an object")
                    .remove(param.name);
                let (code, message) = bench.refused(method.name, params);
                assert!(
                    code == -32602 && message.contains("nothing came"),
                    "{}: {message}",
                    method.name
                );
            }
        }
        if let Err(error) = bench.try_call(method.name, needed(method)) {
            assert!(
                !error.message.contains("not in the daemon"),
                "{}: {error}",
                method.name
            );
            assert!(error.message.len() > 10, "{}: {error}", method.name);
        }
    }
    let names = bench.call("rpc_get_methods", json!({}));
    assert_eq!(
        names,
        METHODS.iter().map(|m| json!(m.name)).collect::<Value>()
    );
}

#[test]
fn what_does_not_exist_or_does_already_is_refused_with_the_code_that_spdk_has_for_it() {
    let mut bench = Bench::start(&folder("codes"), 1);
    bench.configure();
    let other = "nqn.2026-01.org.example:other";
    let elsewhere = |what: &str, value: &str| {
        let mut params = listener("TCP");
        params["listen_address"][what] = json!(value);
        params
    };
    for (method, params, code, part) in [
        (
            "nvmf_create_transport",
            json!({ "trtype": "tcp" }),
            -32603,
            "already exists",
        ),
        (
            "nvmf_create_transport",
            json!({ "trtype": "FC" }),
            -32602,
            "TCP or RDMA",
        ),
        (
            "nvmf_get_transports",
            json!({ "trtype": "x" }),
            -32602,
            "TCP or RDMA",
        ),
        (
            "nvmf_create_subsystem",
            json!({ "nqn": NQN }),
            -32603,
            "already",
        ),
        (
            "nvmf_create_subsystem",
            json!({ "nqn": "disk" }),
            -32602,
            "an NQN",
        ),
        (
            "nvmf_create_subsystem",
            json!({ "nqn": other, "serial_number": "123456789012345678901" }),
            -32602,
            "1 to 20",
        ),
        (
            "nvmf_create_subsystem",
            json!({ "nqn": other, "min_cntlid": 5 }),
            -32602,
            "leave them out",
        ),
        (
            "nvmf_create_subsystem",
            json!({ "nqn": other, "tgt_name": "t" }),
            -32602,
            "nvmf_tgt",
        ),
        (
            "nvmf_delete_subsystem",
            json!({ "nqn": other }),
            -32602,
            NQN,
        ),
        (
            "nvmf_get_subsystems",
            json!({ "nqn": other }),
            -32602,
            "not found",
        ),
        (
            "nvmf_subsystem_add_ns",
            json!({ "nqn": NQN, "namespace": { "bdev_name": "Malloc0" } }),
            -32602,
            "ssd1nN, ssd2nN",
        ),
        (
            "nvmf_subsystem_add_ns",
            json!({ "nqn": NQN, "namespace": { "bdev_name": "ssd1n1" } }),
            -32602,
            "overlap",
        ),
        (
            "nvmf_subsystem_add_ns",
            json!({ "nqn": NQN, "namespace": { "bdev_name": "ssd1n7" } }),
            -32602,
            "usable namespace",
        ),
        (
            "nvmf_subsystem_remove_ns",
            json!({ "nqn": NQN, "nsid": 9 }),
            -32602,
            "1, 2",
        ),
        (
            "nvmf_subsystem_add_listener",
            listener("TCP"),
            -32602,
            "already",
        ),
        (
            "nvmf_subsystem_add_listener",
            elsewhere("traddr", "10.0.0.3"),
            -32602,
            "10.0.0.2",
        ),
        (
            "nvmf_subsystem_add_listener",
            elsewhere("traddr", "here"),
            -32602,
            "an IP address",
        ),
        (
            "nvmf_subsystem_add_listener",
            elsewhere("adrfam", "IPv6"),
            -32602,
            "IPv4",
        ),
        (
            "nvmf_subsystem_add_listener",
            elsewhere("trsvcid", "4421"),
            -32602,
            "4420",
        ),
        (
            "nvmf_subsystem_remove_host",
            json!({ "nqn": NQN, "host": other }),
            -32602,
            "none",
        ),
        (
            "bdev_nvme_attach_controller",
            json!({ "name": "ssd1", "trtype": "PCIe", "traddr": "0000:01:00.0" }),
            -114,
            "already exists",
        ),
        (
            "bdev_nvme_attach_controller",
            json!({ "name": "ssd3", "trtype": "PCIe", "traddr": "0000:01:00.0" }),
            -32602,
            "ssds[0]",
        ),
        (
            "bdev_nvme_attach_controller",
            json!({ "name": "ssd3", "trtype": "PCIe", "traddr": "0000:07:00.0" }),
            -19,
            "nothing is at",
        ),
        (
            "bdev_nvme_attach_controller",
            json!({ "name": "ssd3", "trtype": "TCP", "traddr": "10.0.0.1" }),
            -32602,
            "PCIe or VFIOUSER",
        ),
        (
            "bdev_nvme_attach_controller",
            json!({ "name": "ssd3", "trtype": "PCIe", "traddr": "7" }),
            -32602,
            "0000:01:00.0",
        ),
        (
            "bdev_nvme_detach_controller",
            json!({ "name": "ssd1" }),
            -16,
            "namespace 1 of",
        ),
        (
            "bdev_nvme_detach_controller",
            json!({ "name": "ssd9" }),
            -19,
            "ssd1, ssd2",
        ),
        (
            "bdev_nvme_get_controllers",
            json!({ "name": "ssd9" }),
            -22,
            "does not exist",
        ),
        ("bdev_get_bdevs", json!({ "name": "ssd9n1" }), -19, "ssd9n1"),
        (
            "framework_get_config",
            json!({ "name": "iscsi" }),
            -32602,
            "bdev",
        ),
        (
            "sluice_set_port",
            json!({ "name": "eth0", "mac": "no", "ipv4": "10.0.0.2/24" }),
            -32602,
            "a unicast MAC address",
        ),
        (
            "sluice_reopen_ssd",
            json!({ "name": "ssd1" }),
            -17,
            "serves",
        ),
    ] {
        let before = bench.owner.rig().config().to_json();
        let (got, message) = bench.refused(method, params.clone());
        assert_eq!(got, code, "{method} {params}: {message}");
        assert!(
            message.contains(part),
            "{method} {params}: {part}: {message}"
        );
        assert_eq!(
            bench.owner.rig().config().to_json(),
            before,
            "{method}: nothing has changed"
        );
    }
}

#[test]
fn results_have_the_shape_of_spdks() {
    let mut bench = Bench::start(&folder("shapes"), 2);
    bench.configure();
    let all = bench.call("nvmf_get_subsystems", json!({}));
    assert_eq!(
        (&all[0]["subtype"], &all[1]["subtype"]),
        (&json!("Discovery"), &json!("NVMe"))
    );
    let s = &all[1];
    assert_eq!(
        s["listen_addresses"],
        json!([
            { "trtype": "TCP", "adrfam": "IPv4", "traddr": "10.0.0.2", "trsvcid": "4420" },
            { "trtype": "RDMA", "adrfam": "IPv4", "traddr": "10.0.0.2", "trsvcid": "4420" },
        ])
    );
    assert_eq!(
        (&s["serial_number"], &s["allow_any_host"], &s["hosts"]),
        (&json!("SN1"), &json!(true), &json!([]))
    );
    assert_eq!(
        (
            &s["namespaces"][0]["nsid"],
            &s["namespaces"][0]["bdev_name"]
        ),
        (&json!(1), &json!("ssd1n1"))
    );
    assert_eq!(s["namespaces"][0]["nguid"].as_str().map(str::len), Some(32));
    assert_eq!(s["namespaces"][0]["uuid"].as_str().map(str::len), Some(36));
    let listeners = bench.call("nvmf_subsystem_get_listeners", json!({ "nqn": NQN }));
    assert_eq!(listeners[1]["address"]["trtype"], "RDMA");
    let bdevs = bench.call("bdev_get_bdevs", json!({ "name": "ssd1n1" }));
    let b = &bdevs[0];
    assert_eq!(
        (&b["block_size"], &b["num_blocks"], &b["claimed"]),
        (&json!(512), &json!((128 << 20) / 512), &json!(true))
    );
    assert_eq!(b["supported_io_types"]["read"], true);
    assert_eq!(
        b["driver_specific"]["nvme"][0]["pci_address"],
        "0000:01:00.0"
    );
    let controllers = bench.call("bdev_nvme_get_controllers", json!({}));
    assert_eq!(
        controllers[1]["ctrlrs"][0]["trid"],
        json!({ "trtype": "PCIe", "traddr": "0000:02:00.0" })
    );
    let health = bench.call(
        "bdev_nvme_get_controller_health_info",
        json!({ "name": "ssd1" }),
    );
    assert_eq!(health["serial_number"], "SLUICESIM0000");
    assert!(
        health["temperature_celsius"]
            .as_i64()
            .is_some_and(|t| (0..100).contains(&t)),
        "{health}"
    );
    let stats = bench.call("nvmf_get_stats", json!({}));
    assert_eq!(stats["poll_groups"].as_array().map(Vec::len), Some(2));
    let transports = bench.call("nvmf_get_transports", json!({ "trtype": "rdma" }));
    assert_eq!(transports[0]["trtype"], "RDMA");
}

#[test]
fn registers_log_and_self_test_speak_of_this_card() {
    let mut bench = Bench::start(&folder("card"), 1);
    bench.configure();
    let registers = bench.call("sluice_get_registers", json!({}));
    let registers = registers.as_array().expect("a list");
    let named = |name: &str| {
        registers
            .iter()
            .find(|r| r["name"] == name)
            .unwrap_or_else(|| panic!("{name}"))
    };
    assert_eq!(named("MAGIC")["value"], 0x534C_5543_u32);
    let cores = named("NUMBERS")["fields"]
        .as_array()
        .and_then(|f| f.iter().find(|f| f["name"] == "cores"));
    assert_eq!(cores.map(|c| &c["value"]), Some(&json!(2)));
    assert_eq!(named("STEER_ENTRY[5]")["offset"], 0x200 + 5 * 4);
    let test = bench.call("sluice_self_test", json!({}));
    assert_eq!(test["passed"], true, "{test}");
    let card = bench.call("sluice_get_card", json!({}));
    assert_eq!(card["cores"], 2);
    // The functional card's cores do not log; what lies in a ring is taken all the same, and said not to be understood.
    let ring = sluice_sim::world::CARD_BAR2 + u64::from(sluice_wire::mgmt::log_ring::BASE);
    let mut world = bench.world.borrow_mut();
    world.host_write(ring + 8, &[1, 2, 3, 4, 5, 0, 0, 0]);
    world.host_write(ring, &6_u32.to_le_bytes());
    drop(world);
    let log = bench.call("sluice_read_log", json!({}));
    assert_eq!(
        (&log["lines"][0]["text"], &log["next"]),
        (&json!("6 bytes of log that cannot be decoded"), &json!(1))
    );
    assert!(
        log["problem"]
            .as_str()
            .is_some_and(|p| p.contains("firmware")),
        "{log}"
    );
}

#[test]
fn nvmetcli_configurations_go_out_and_come_in() {
    let mut bench = Bench::start(&folder("nvmet"), 1);
    bench.configure();
    let before = bench.call("nvmf_get_subsystems", json!({ "nqn": NQN }));
    let file = bench.call("sluice_export_nvmet", json!({}));
    bench.call("nvmf_delete_subsystem", json!({ "nqn": NQN }));
    let done = bench.call("sluice_import_nvmet", json!({ "config": file }));
    assert_eq!(done, json!({ "added": [NQN], "left_out": [] }));
    assert_eq!(
        bench.call("nvmf_get_subsystems", json!({ "nqn": NQN })),
        before
    );
    let (code, message) = bench.refused(
        "sluice_import_nvmet",
        json!({ "config": { "subsystems": 5 } }),
    );
    assert!(
        code == -32602 && message.contains("a list wanted"),
        "{message}"
    );
}
