use std::collections::HashSet;

use serde_json::json;

use super::*;
use crate::method::Kind;

#[test]
fn names_are_unique_and_say_whose_they_are() {
    let mut seen = HashSet::new();
    for m in METHODS {
        assert!(seen.insert(m.name), "{} twice", m.name);
        assert_eq!(
            m.name.starts_with("sluice_"),
            m.spdk == Spdk::Own,
            "{}",
            m.name
        );
    }
}

/// The parameters that SPDK's `rpc.py` sends when no more is asked for (python/spdk/cli, version 26.01).
#[test]
fn what_spdks_own_client_sends_switched_off_is_taken_and_switched_on_refused() {
    for (method, params) in [
        (
            "nvmf_create_transport",
            json!({"trtype": "TCP", "zcopy": false, "no_srq": false, "c2h_success": true, "dif_insert_or_strip": false,
                "no_wr_batching": false, "disable_mappable_bar0": false, "disable_adaptive_irq": false,
                "disable_shadow_doorbells": false, "disable_command_passthru": false}),
        ),
        (
            "nvmf_create_subsystem",
            json!({"nqn": "nqn.2026-01.x:a", "allow_any_host": false, "ana_reporting": false, "passthrough": false,
                "enable_nssr": false}),
        ),
        (
            "nvmf_subsystem_add_listener",
            json!({"nqn": "nqn.2026-01.x:a", "secure_channel": false,
                "listen_address": {"trtype": "tcp", "traddr": "192.0.2.1", "trsvcid": "4420"}}),
        ),
        (
            "nvmf_subsystem_add_ns",
            json!({"nqn": "nqn.2026-01.x:a",
                "namespace": {"bdev_name": "b", "no_auto_visible": false, "hide_metadata": false}}),
        ),
        (
            "bdev_nvme_attach_controller",
            json!({"name": "n", "trtype": "PCIe", "traddr": "0000:01:00.0", "prchk_reftag": false, "prchk_guard": false,
                "hdgst": false, "ddgst": false, "allow_unrecognized_csi": false, "multipath_opts": {}}),
        ),
    ] {
        let found = find(method).expect("a method");
        if let Err(e) = found.check(Some(params)) {
            panic!("{method}: {e}");
        }
    }
    let params = json!({"nqn": "nqn.2026-01.x:a", "enable_nssr": true});
    let error = find("nvmf_create_subsystem")
        .expect("a method")
        .check(Some(params));
    let error = error.expect_err("not there").message;
    assert_eq!(
        error,
        "enable_nssr: false or nothing (there is no such thing here) wanted, true came"
    );
}

#[test]
fn flattened_parameters_of_a_method_have_different_names() {
    for m in METHODS {
        let mut seen = HashSet::new();
        for p in m.params {
            match p.kind {
                Kind::Object(members) => members.iter().for_each(|p| assert!(seen.insert(p.name))),
                _ => assert!(seen.insert(p.name), "{}: {}", m.name, p.name),
            }
        }
    }
}
