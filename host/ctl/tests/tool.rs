//! The program itself against a daemon made of a list of answers: what it sends, prints and ends with.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde_json::{Value, json};

/// A daemon that gives an answer for every request, and the requests it got.
struct Fake {
    socket: PathBuf,
    thread: thread::JoinHandle<Vec<Value>>,
}

impl Fake {
    fn new(answers: Vec<Value>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let socket = folder.join(format!("ctl-{}-{number}.sock", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket");
        let thread = thread::spawn(move || {
            let mut seen = Vec::new();
            let (mut stream, _) = listener.accept().expect("a client");
            for answer in answers {
                let mut text = Vec::new();
                let request: Value = loop {
                    let mut piece = [0; 4096];
                    let n = stream.read(&mut piece).expect("a request");
                    if n == 0 {
                        return seen;
                    }
                    text.extend_from_slice(&piece[..n]);
                    if let Ok(request) = serde_json::from_slice(&text) {
                        break request;
                    }
                };
                let mut answer = answer;
                answer["jsonrpc"] = json!("2.0");
                answer["id"] = request["id"].clone();
                seen.push(request);
                // In two pieces, as a socket may deliver it.
                let text = answer.to_string();
                let (first, second) = text.split_at(text.len() / 2);
                stream.write_all(first.as_bytes()).expect("it reads");
                stream.write_all(second.as_bytes()).expect("it reads");
            }
            seen
        });
        Self { socket, thread }
    }

    fn requests(self) -> Vec<Value> {
        let _ = std::fs::remove_file(&self.socket);
        self.thread.join().expect("the fake daemon is done")
    }
}

fn tool(socket: &Path, line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicectl"));
    command.env("SLUICE_SOCKET", socket).args(line);
    command.output().expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn a_method_is_called_with_its_parameters_and_its_answer_printed() {
    let fake = Fake::new(vec![json!({"result": 3})]);
    let line = [
        "nvmf_subsystem_add_ns",
        "nqn.2026-01.x:a",
        "ssd0n1",
        "-n",
        "3",
    ];
    let out = tool(&fake.socket, &line);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(text(&out.stdout), "3\n");
    let requests = fake.requests();
    assert_eq!(requests[0]["method"], "nvmf_subsystem_add_ns");
    let params = json!({"nqn": "nqn.2026-01.x:a", "namespace": {"bdev_name": "ssd0n1", "nsid": 3}});
    assert_eq!(requests[0]["params"], params);
}

#[test]
fn a_refusal_is_said_on_standard_error_and_ends_with_1() {
    let error = json!({"error": {"code": -32602, "message": "there is no subsystem x"}});
    let fake = Fake::new(vec![error]);
    let out = tool(&fake.socket, &["nvmf_delete_subsystem", "x"]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert_eq!(
        text(&out.stderr),
        "sluicectl: there is no subsystem x (code -32602)\n"
    );
    assert!(out.stdout.is_empty());
    fake.requests();
}

#[test]
fn without_a_daemon_it_says_what_to_look_at_and_ends_with_3() {
    let out = tool(Path::new("/nonexistent/sluiced.sock"), &["status"]);
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    let said = text(&out.stderr);
    assert!(
        said.contains("/nonexistent/sluiced.sock") && said.contains("is sluiced running"),
        "{said}"
    );
}

#[test]
fn json_is_what_the_daemon_said() {
    let answer = json!([{"name": "ssd0n1", "block_size": 512}]);
    let fake = Fake::new(vec![json!({"result": answer})]);
    let out = tool(&fake.socket, &["bdev_get_bdevs", "--json"]);
    let got: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(got, answer);
    fake.requests();
}

#[test]
fn bad_health_is_shown_and_ends_with_1() {
    let answer = json!({"healthy": false, "problems": ["SSD a: lost"], "ssds": [{"name": "a", "smart": null}]});
    let fake = Fake::new(vec![json!({"result": answer})]);
    let out = tool(&fake.socket, &["health"]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(
        text(&out.stdout).contains("problem: SSD a: lost"),
        "{out:?}"
    );
    fake.requests();
}

#[test]
fn the_log_is_read_to_its_end_and_the_last_lines_are_shown() {
    let page = |from: u64, count: u64| {
        let lines: Vec<_> = (from..from + count)
            .map(|n| json!({"id": n, "core": n % 2, "text": format!("line {n}")}))
            .collect();
        json!({"result": {"lines": lines, "next": from + count, "problem": null}})
    };
    let fake = Fake::new(vec![page(0, 3), page(3, 2), page(5, 0)]);
    let out = tool(&fake.socket, &["log", "-n", "3"]);
    assert_eq!(
        text(&out.stdout),
        "core 0: line 2\ncore 1: line 3\ncore 0: line 4\n"
    );
    let from: Vec<_> = fake
        .requests()
        .iter()
        .map(|r| r["params"]["from"].clone())
        .collect();
    assert_eq!(from, [json!(0), json!(3), json!(5)]);
}

#[test]
fn top_once_prints_a_page_of_rates() {
    let counters = |reads: u64| {
        let commands = json!([{"labels": {"core": "1", "kind": "read"}, "value": reads}]);
        let connections = json!([{"labels": {"core": "1"}, "value": 2}]);
        json!({"result": {"sluice_io_commands": commands, "sluice_connections": connections}})
    };
    let fake = Fake::new(vec![counters(0), counters(1000)]);
    let out = tool(&fake.socket, &["top", "--once", "--interval", "1"]);
    let page = text(&out.stdout);
    assert!(
        page.starts_with("read ") && page.contains("  2 connections  "),
        "{page}"
    );
    fake.requests();
}

#[test]
fn a_file_that_is_no_json_is_refused_before_the_daemon_is_asked() {
    let out = tool(
        Path::new("/nonexistent/s"),
        &[
            "sluice_import_nvmet",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ],
    );
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(text(&out.stderr).contains("a JSON text wanted"), "{out:?}");
}

#[test]
fn man_pages_of_every_subcommand_are_written() {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("man-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let out = tool(
        Path::new("/nonexistent/s"),
        &["man", "--dir", folder.to_str().expect("text")],
    );
    assert!(out.status.success(), "{out:?}");
    for (page, has) in [
        ("sluicectl.1", "Drives sluiced"),
        ("sluicectl-status.1", "status"),
        ("sluicectl-nvmf_create_subsystem.1", "allow\\-any\\-host"),
    ] {
        let text = std::fs::read_to_string(folder.join(page)).expect("a page");
        assert!(text.contains(has), "{page}: {text}");
    }
    std::fs::remove_dir_all(&folder).expect("it is there");
}

/// Blocks of a pcapng file: kind and content.
fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let word = |b: &[u8], at: usize| u32::from_le_bytes(b[at..at + 4].try_into().expect("4 bytes"));
    let mut all = Vec::new();
    while !file.is_empty() {
        let len = word(file, 4) as usize;
        assert_eq!(word(file, len - 4) as usize, len);
        all.push((word(file, 0), file[8..len - 4].to_vec()));
        file = &file[len..];
    }
    all
}

#[test]
fn a_trace_is_read_to_its_end_written_as_pcapng_and_its_losses_told() {
    let record = |len: u8, flags: u8, clocks: u64, lost: u8| {
        let mut bytes = vec![2, 0, len, 0, flags, 0, lost, 0];
        bytes.extend(clocks.to_le_bytes());
        bytes.extend([len, 0xAB]);
        bytes.resize(32, 0);
        bytes
    };
    let piece = |records: &[Vec<u8>], done: bool| {
        use base64::Engine;
        let data = base64::engine::general_purpose::STANDARD.encode(records.concat());
        json!({"result": {"data": data, "records": 3, "lost": 5, "error": null, "done": done}})
    };
    let began = json!({"result": {"id": 7, "clocks": 1000, "unix_nanos": 5_000_000_000_u64,
        "nanos_per_clock": 4, "ring": 4_194_304}});
    let first = piece(&[record(60, 0, 1250, 0), record(61, 1, 1300, 2)], false);
    // Beyond the count: not written, but read, so that the trace ends.
    let second = piece(&[record(62, 0, 1400, 5)], false);
    let stopped = json!({"result": {"records": 3, "lost": 5, "error": null}});
    let last = piece(&[], true);
    let fake = Fake::new(vec![began, first, stopped, second, last]);
    let out = tool(
        &fake.socket,
        &[
            "trace",
            "--count",
            "2",
            "--snap",
            "2",
            "--filter",
            "tcp:4420,rdma",
        ],
    );
    assert!(out.status.success(), "{out:?}");
    assert_eq!(
        text(&out.stderr),
        "2 frames captured, 5 found no room and were lost\n"
    );
    let blocks = blocks(&out.stdout);
    let kinds: Vec<_> = blocks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [0x0A0D_0D0A, 1, 6, 6, 5]);
    // 250 clocks of 4 ns after the start; the second has lost two before it and was sent.
    let packet = &blocks[2].1;
    assert_eq!(packet[8..12], 705_033_704_u32.to_le_bytes());
    assert_eq!(packet[12..22], [2, 0, 0, 0, 60, 0, 0, 0, 60, 0xAB]);
    let packet = &blocks[3].1;
    assert_eq!(
        packet[24..44],
        [2, 0, 4, 0, 2, 0, 0, 0, 4, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    );
    let requests = fake.requests();
    let methods: Vec<_> = requests.iter().map(|r| r["method"].clone()).collect();
    assert_eq!(
        methods,
        [
            "sluice_trace_start",
            "sluice_trace_read",
            "sluice_trace_stop",
            "sluice_trace_read",
            "sluice_trace_read"
        ]
    );
    let params = json!({"direction": "both", "snap": 2, "tcp_port": 4420, "udp_port": 4791, "ring": 4_194_304});
    assert_eq!(requests[0]["params"], params);
    assert_eq!(requests[2]["params"], json!({"id": 7}));
}

#[test]
fn a_trace_that_the_card_has_ended_is_a_failure_with_its_reason() {
    let began = json!({"result": {"id": 1, "clocks": 0, "unix_nanos": 0, "nanos_per_clock": 4}});
    let ended = json!({"result": {"data": "", "records": 0, "lost": 0, "error": "the card could not", "done": true}});
    let fake = Fake::new(vec![began, ended]);
    let out = tool(&fake.socket, &["trace"]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert_eq!(text(&out.stderr), "sluicectl: the card could not\n");
    fake.requests();
}
