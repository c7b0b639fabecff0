//! `sluicectl trace` and the methods under it, while hosts do I/O over both transports.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluice_ctl::{cli, run};
use sluice_sim::initiator::{ConnectConfig, Initiator, Transport, Workload, WorkloadConfig};
use sluice_sim::pcap;
use sluice_wire::trace;

use crate::bench::{Bench, MS, NQN, folder, host};

/// The tool on another thread, while hosts over both transports do I/O and the daemon serves; what the tool wrote to its output.
fn tool_beside_io(bench: &mut Bench, line: &[&str]) -> Result<Vec<u8>, String> {
    let target = "10.0.0.2:4420".parse().expect("an address");
    let controllers = [(1, Transport::Tcp), (2, Transport::Rdma)].map(|(n, over)| {
        let mut from = host(n);
        let config = ConnectConfig::new(target, NQN, n).over(over);
        let controller = bench.on(&mut from, |b| b.connect(&config));
        // On the cable for good: what comes for a host that is not there is lost.
        bench.lab.others.push(from);
        controller.unwrap_or_else(|e| panic!("{e}"))
    });
    let socket = bench.socket.display().to_string();
    let line: Vec<String> = (["sluicectl", "--socket", &socket].iter())
        .chain(line)
        .map(|s| (*s).to_string())
        .collect();
    let tool = thread::spawn(move || {
        let mut out = Vec::new();
        let matches = cli::command()
            .try_get_matches_from(line)
            .map_err(|e| e.to_string())?;
        run::run(&matches, &mut out).map_err(|e| e.to_string())?;
        Ok(out)
    });
    let give_up = Instant::now() + Duration::from_secs(120);
    while !tool.is_finished() {
        assert!(Instant::now() < give_up, "the tool does not end");
        for (from, controller) in bench.lab.others.iter_mut().zip(&controllers) {
            if from.workload().is_none_or(Workload::is_done) {
                drop(from.detach());
                from.attach(Workload::new(WorkloadConfig {
                    depth: 4,
                    read_percent: 50,
                    ios: 50,
                    span: 256,
                    verify: false,
                    ..WorkloadConfig::random_4k(controller.io.clone(), 1, 512)
                }));
            }
        }
        for _ in 0..50 {
            bench.lab.advance_others();
        }
        bench.owner.turn(Duration::ZERO);
    }
    let out = tool.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
    let busy = |hosts: &[Initiator]| {
        hosts
            .iter()
            .any(|h| !h.workload().is_none_or(Workload::is_done))
    };
    while busy(&bench.lab.others) {
        bench.lab.advance_others();
    }
    for controller in controllers {
        let mut from = bench.lab.others.remove(0);
        let stats = from.detach().expect("attached").into_stats();
        assert_eq!(stats.errors, [""; 0]);
        let gone = bench.on(&mut from, |b| b.disconnect(&controller));
        gone.unwrap_or_else(|e| panic!("{e}"));
    }
    out
}

fn frames_of(path: &Path) -> pcap::Report {
    pcap::check_with_tshark(path).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_tool_writes_a_capture_of_both_transports_that_tshark_reads_without_complaint() {
    let folder = folder("trace");
    let mut bench = Bench::start(&folder, 1);
    bench.configure();
    let path: PathBuf = folder.join("trace.pcapng");
    let name = path.to_str().expect("text");
    let line = ["trace", "-w", name, "--snap", "9216", "--count", "1500"];
    let out = tool_beside_io(&mut bench, &line).unwrap_or_else(|e| panic!("{e}"));
    assert!(out.is_empty(), "all of it is in the file");
    let report = frames_of(&path);
    assert_eq!(report.frames, 1500);
    assert!(report.pdus > 50 && report.roce_packets > 50, "{report:?}");

    // The times are those of the day. The first packet: section, interface, then the packet's own block.
    let file = std::fs::read(&path).expect("a file");
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes"));
    let interface = word(4) as usize;
    let packet = interface + word(interface + 4) as usize;
    let nanos = u64::from(word(packet + 12)) << 32 | u64::from(word(packet + 16));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later");
    let ago = now.saturating_sub(Duration::from_nanos(nanos));
    assert!(ago < Duration::from_secs(300), "{ago:?} ago");

    // To standard output, for a time, one port, one direction; a ring that is too small is no reason to fail.
    let line = [
        "trace",
        "-w",
        "-",
        "--seconds",
        "1",
        "--filter",
        "rdma",
        "--direction",
        "tx",
        "--ring",
        "4096",
    ];
    let out = tool_beside_io(&mut bench, &line).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(&path, &out).expect("a file");
    let report = frames_of(&path);
    assert!(report.frames > 0 && report.frames == report.roce_packets);
    bench.run(MS);
}

#[test]
fn a_trace_is_one_callers_alone_and_is_over_when_it_is_read_to_its_end() {
    let mut bench = Bench::start(&folder("trace-calls"), 1);
    bench.configure();
    // What the card has to say of its own about its address.
    bench.run(10 * MS);
    for (params, part) in [
        (json!({ "direction": "up" }), "rx, tx or both wanted"),
        (json!({ "ring": 5000 }), "a power of two"),
    ] {
        let (code, message) = bench.refused("sluice_trace_start", params);
        assert!(message.contains(part) && code == -32602, "{message}");
    }
    let began = bench.call("sluice_trace_start", json!({ "snap": 60, "ring": 8192 }));
    let id = began["id"].as_u64().expect("a number");
    assert_eq!(
        (&began["nanos_per_clock"], &began["ring"]),
        (&json!(4), &json!(8192))
    );
    let (code, message) = bench.refused("sluice_trace_start", json!({}));
    assert!(
        code == -16 && message.contains("running already"),
        "{message}"
    );
    for method in ["sluice_trace_read", "sluice_trace_stop"] {
        let (code, message) = bench.refused(method, json!({ "id": id + 1 }));
        assert!(
            code == -32602 && message.contains("no trace 2"),
            "{message}"
        );
    }
    // An ARP request makes the card answer.
    let mut frame = [
        &[0xFF; 6][..],
        &[2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
    ]
    .concat();
    frame.extend([2, 0, 0, 0, 0, 9, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    frame.resize(60, 0);
    let now = bench.lab.now();
    let asked = (now + 1000, frame.clone());
    bench.world.borrow_mut().ethernet.to_card.push_back(asked);
    bench.run(MS);
    let stopped = bench.call("sluice_trace_stop", json!({ "id": id }));
    assert_eq!(stopped, json!({ "records": 2, "lost": 0, "error": null }));

    let mut seen = Vec::new();
    // A piece smaller than a record holds one all the same.
    for _ in 0..2 {
        let got = bench.call("sluice_trace_read", json!({ "id": id, "max": 1 }));
        assert_eq!(got["done"], false, "{got}");
        let bytes = decoded(&got);
        let next = trace::next(&bytes).expect("whole").expect("one");
        assert!(next.2.is_empty());
        seen.push((next.0.is_sent(), next.1.to_vec()));
    }
    assert_eq!(seen[0], (false, frame));
    assert!(seen[1].0 && seen[1].1[..6] == [2, 0, 0, 0, 0, 9]);
    let got = bench.call("sluice_trace_read", json!({ "id": id }));
    assert_eq!((&got["done"], &got["data"]), (&json!(true), &json!("")));
    let (code, _) = bench.refused("sluice_trace_read", json!({ "id": id }));
    assert_eq!(code, -32602);
    let again = bench.call("sluice_trace_start", json!({}));
    assert_eq!(again["id"], id + 1);
    // One that is stopped and not read to its end gives way to the next.
    bench.call("sluice_trace_stop", json!({ "id": id + 1 }));
    let again = bench.call("sluice_trace_start", json!({}));
    assert_eq!(again["id"], id + 2);
}

#[test]
fn a_trace_that_nobody_reads_any_more_is_stopped_and_gives_way() {
    let mut bench = Bench::start(&folder("trace-left"), 1);
    bench.configure();
    bench.owner.set_trace_patience(Duration::ZERO);
    bench.call("sluice_trace_start", json!({}));
    assert!(bench.owner.turn(Duration::from_secs(2)) || bench.owner.turn(Duration::from_secs(2)));
    let (code, message) = bench.refused("sluice_trace_read", json!({ "id": 1 }));
    assert!(
        code == -32602 && message.contains("not read for"),
        "{message}"
    );
    // Nothing of it is left on the card.
    bench.owner.set_trace_patience(Duration::from_secs(30));
    let again = bench.call("sluice_trace_start", json!({}));
    assert_eq!(again["id"], 2);
    let read = bench.call("sluice_trace_read", json!({ "id": 2 }));
    assert_eq!(read["done"], false);
}

fn decoded(answer: &Value) -> Vec<u8> {
    let text = answer["data"].as_str().expect("text");
    STANDARD.decode(text).expect("base64")
}
