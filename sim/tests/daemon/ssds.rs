//! Administration of SSDs through the daemon.

use serde_json::{Value, json};
use sluice_rpc::method::{decode, encode};
use sluice_sim::initiator::{ConnectConfig, Workload, WorkloadConfig};
use sluice_wire::nvme::{Sqe, cns};
use zerocopy::IntoBytes;

use crate::bench::{Bench, NQN, folder, host};

fn command(opcode: u8, nsid: u32, cdw10: u32) -> String {
    let mut sqe = Sqe::new(opcode, 0, nsid);
    sqe.cdw10.set(cdw10);
    encode(sqe.as_bytes())
}

fn send(direction: &str, cmdbuf: &str) -> Value {
    json!({ "name": "ssd1", "cmd_type": "admin", "data_direction": direction, "cmdbuf": cmdbuf })
}

#[test]
fn admin_commands_are_passed_through_unless_they_would_break_the_data_path() {
    let mut bench = Bench::start(&folder("send-cmd"), 1);
    bench.configure();
    let mut identify = send("c2h", &command(0x06, 0, u32::from(cns::CONTROLLER)));
    identify["data_len"] = json!(4096);
    let answer = bench.call("bdev_nvme_send_cmd", identify);
    let data = decode(answer["data"].as_str().expect("data")).expect("base64");
    assert_eq!(data.len(), 4096);
    assert!(
        data[4..24].starts_with(b"SLUICESIM0000"),
        "its serial number"
    );
    let completion = decode(answer["cpl"].as_str().expect("a completion")).expect("base64");
    assert_eq!((completion.len(), &completion[14..]), (16, &[0, 0][..]));
    // A status that is not good is an answer: Get Features of one that there is not.
    let answer = bench.call("bdev_nvme_send_cmd", send("c2h", &command(0x0A, 0, 0xFF)));
    let completion = decode(answer["cpl"].as_str().expect("a completion")).expect("base64");
    assert_ne!(completion[14..], [0, 0]);
    for (mut params, code, part) in [
        (send("c2h", &command(0x00, 0, 1)), -22, "delete a queue"),
        (send("c2h", &command(0x0C, 0, 0)), -22, "waits for an event"),
        (send("both", &command(0x06, 0, 1)), -32602, "h2c"),
        (send("c2h", "AAAA"), -32602, "64 bytes wanted, 3 came"),
        (send("c2h", &command(0x06, 0, 1)), -32602, "cmd_type"),
        (send("c2h", &command(0x06, 0, 1)), -19, "ssd1, ssd2"),
    ] {
        match part {
            "cmd_type" => params["cmd_type"] = json!("io"),
            "ssd1, ssd2" => params["name"] = json!("ssd9"),
            _ => {}
        }
        let (got, message) = bench.refused("bdev_nvme_send_cmd", params.clone());
        assert!(
            got == code && message.contains(part),
            "{params}: {got} {message}"
        );
    }
}

#[test]
fn an_ssd_gets_new_firmware_while_others_are_answered() {
    let folder = folder("ssd-firmware");
    let mut bench = Bench::start(&folder, 1);
    bench.configure();
    let image = folder.join("image");
    let mut content = b"SSDIMAGENEW00002".to_vec();
    content.resize(600 << 10, 0x5A);
    std::fs::write(&image, content).expect("ours");
    let params = json!({ "filename": image, "bdev_name": "ssd1n1" });
    let said = bench.call("bdev_nvme_apply_firmware", params.clone());
    assert!(
        said.as_str().is_some_and(|s| s.contains("NEW00002")),
        "{said}"
    );
    let about = bench.call("sluice_get_ssd", json!({ "name": "ssd1" }));
    assert_eq!(about["firmware"], "NEW00002");
    assert!(about["health"]["spare_percent"].is_number(), "{about}");
    assert!(about["firmware_slots"]["slots"].is_number(), "{about}");
    // What is none is refused by the SSD, and a file that is not there by the daemon.
    std::fs::write(&image, [1; 8192]).expect("ours");
    let (_, message) = bench.refused("bdev_nvme_apply_firmware", params);
    assert!(message.contains("Firmware Commit"), "{message}");
    for (file, bdev, part) in [
        ("/nowhere", "ssd1n1", "/nowhere: "),
        ("/", "ssd1n1", "a file of at most"),
        ("/nowhere", "ssd9n1", "ssd9n1"),
    ] {
        let params = json!({ "filename": file, "bdev_name": bdev });
        let (code, message) = bench.refused("bdev_nvme_apply_firmware", params);
        assert!(code == -32602 && message.contains(part), "{message}");
    }
}

#[test]
fn an_ssd_is_reset_under_a_host_and_the_host_goes_on() {
    let mut bench = Bench::start(&folder("ssd-reset"), 1);
    bench.configure();
    let target = "10.0.0.2:4420".parse().expect("an address");
    let mut from = host(1);
    let controller = bench.on(&mut from, |b| {
        b.connect(&ConnectConfig::new(target, NQN, 1))
            .expect("connects")
    });
    for _ in 0..3 {
        assert_eq!(
            bench.call("bdev_nvme_reset_controller", json!({ "name": "ssd1" })),
            true
        );
        let load = WorkloadConfig {
            depth: 4,
            read_percent: 50,
            ios: 100,
            span: 256,
            ..WorkloadConfig::random_4k(controller.io.clone(), 1, 512)
        };
        let stats = bench.on(&mut from, |b| {
            b.run_workload(Workload::new(load)).expect("the load ends")
        });
        assert_eq!(stats.errors, [""; 0]);
        assert!(stats.verified_bytes > 0, "nothing was verified");
    }
    assert_eq!(bench.notified("sluice_ssd_reset"), ["ssd1"; 3]);
    let (code, _) = bench.refused("bdev_nvme_reset_controller", json!({ "name": "ssd9" }));
    assert_eq!(code, -19);
}

#[test]
fn a_namespace_is_formatted_only_if_no_subsystem_uses_it() {
    let mut bench = Bench::start(&folder("format"), 1);
    bench.configure();
    let format = |size: u32| json!({ "bdev_name": "ssd1n1", "block_size": size, "erase": "user" });
    let (code, message) = bench.refused("sluice_format_bdev", format(4096));
    assert!(
        code == -16 && message.contains("namespace 1 of"),
        "{message}"
    );
    bench.call("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 1 }));
    for (params, part) in [
        (format(1024), "512 or 4096"),
        (json!({ "bdev_name": "ssd1n1", "erase": "all" }), "crypto"),
        (json!({ "bdev_name": "ssd9n1" }), "ssd9n1"),
    ] {
        let (code, message) = bench.refused("sluice_format_bdev", params);
        assert!(code == -32602 && message.contains(part), "{message}");
    }
    bench.call("sluice_format_bdev", format(4096));
    let bdev = bench.call("bdev_get_bdevs", json!({ "name": "ssd1n1" }));
    assert_eq!(bdev[0]["block_size"], 4096, "{bdev}");
}
