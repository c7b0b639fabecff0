//! Clients that behave and clients that do not, over real sockets, with a stand-in for the owner.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::service::{Jobs, What, queue};

static NEXT: AtomicU64 = AtomicU64::new(0);

struct Bench {
    path: PathBuf,
    server: Option<Server>,
}

impl Bench {
    /// A server whose owner takes this long for each call and says `true`.
    fn new(limits: Limits, owner: impl FnOnce(Jobs) + Send + 'static) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("sluiced-{}-{number}.sock", std::process::id()));
        let socket = Socket::bind(&path, &Group::Own).unwrap_or_else(|e| panic!("{e}"));
        let (handle, jobs) = queue(Duration::from_secs(20));
        thread::spawn(move || owner(jobs));
        let server = Some(Server::start(socket, handle, limits));
        Self { path, server }
    }

    fn client(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.server = None;
        let _ = std::fs::remove_file(format!("{}.lock", self.path.display()));
    }
}

fn willing(jobs: Jobs) {
    for job in jobs {
        if job.begin()
            && let What::Call { reply, method, .. } = job.what
        {
            let _ = reply.send(Ok(json!(method.name)));
        }
    }
}

/// All that comes until the server closes or `count` values are there.
fn values(stream: &mut UnixStream, count: usize) -> Vec<Value> {
    let mut splitter = sluice_rpc::split::Splitter::new(1 << 24);
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while all.len() < count {
        let n = stream.read(&mut piece).expect("an answer in time");
        if n == 0 {
            break;
        }
        splitter.push(&piece[..n]);
        while let Some(text) = splitter.next_text().expect("JSON") {
            all.push(serde_json::from_slice(&text).expect("JSON"));
        }
    }
    all
}

fn closed(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_))
}

#[test]
fn requests_back_to_back_and_in_pieces_are_answered_in_their_order() {
    let bench = Bench::new(Limits::default(), willing);
    let mut client = bench.client();
    let stream = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"sluice_get_status"}{"id":"two","method":"sluice_get_card"}"#,
        "\n",
        r#" [{"id":3,"method":"sluice_get_ports"},{"method":"sluice_get_card"},{"id":4,"method":"x"}]"#,
    );
    for piece in stream.as_bytes().chunks(7) {
        client.write_all(piece).expect("sent");
    }
    let got = values(&mut client, 3);
    assert_eq!(
        got[0],
        json!({"jsonrpc":"2.0","id":1,"result":"sluice_get_status"})
    );
    assert_eq!(got[1]["id"], "two");
    let batch = got[2].as_array().expect("a batch");
    assert_eq!(batch.len(), 2, "a notification has no answer: {batch:?}");
    assert_eq!(
        (&batch[0]["result"], &batch[1]["error"]["code"]),
        (&json!("sluice_get_ports"), &json!(-32601))
    );
}

#[test]
fn what_cannot_be_understood_is_answered_and_ends_the_connection() {
    let bench = Bench::new(
        Limits {
            request: 1000,
            ..Limits::default()
        },
        willing,
    );
    let long = format!("{{\"a\":\"{}\"", "x".repeat(2000));
    for bytes in [
        &b"{\"id\":1,}"[..],
        b"hello",
        b"\xff\xfe",
        b"]",
        long.as_bytes(),
        &[b'['; 500],
    ] {
        let mut client = bench.client();
        client.write_all(bytes).expect("sent");
        client.shutdown(Shutdown::Write).expect("sent");
        let got = values(&mut client, 2);
        assert_eq!(got.len(), 1, "{bytes:?}");
        assert_eq!(
            (&got[0]["error"]["code"], &got[0]["id"]),
            (&json!(-32700), &Value::Null)
        );
        assert!(closed(&mut client));
    }
    // What is JSON and no request does not.
    let mut client = bench.client();
    client.write_all(br#"{"id":1} [] {"id":2,"method":"sluice_get_status","params":[]} {"id":3,"method":"sluice_get_status"}"#).expect("sent");
    let codes: Vec<Value> = values(&mut client, 4)
        .iter()
        .map(|v| v["error"]["code"].clone())
        .collect();
    assert_eq!(
        codes,
        [json!(-32600), json!(-32600), json!(-32602), Value::Null]
    );
}

#[test]
fn a_client_that_begins_a_request_and_dawdles_is_sent_away() {
    let bench = Bench::new(
        Limits {
            patience: Duration::from_millis(300),
            ..Limits::default()
        },
        willing,
    );
    let mut client = bench.client();
    client.write_all(b"{\"id\":").expect("sent");
    let got = values(&mut client, 2);
    assert!(
        got[0]["error"]["message"]
            .as_str()
            .is_some_and(|m| m.contains("part of it")),
        "{got:?}"
    );
    assert!(closed(&mut client));
}

#[test]
fn a_client_that_never_reads_does_not_hold_up_others_and_is_sent_away() {
    let limits = Limits {
        patience: Duration::from_millis(300),
        ..Limits::default()
    };
    let bench = Bench::new(limits, willing);
    let mut deaf = bench.client();
    deaf.set_write_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let request = br#"{"id":1,"method":"rpc_get_methods"}"#;
    // Its own requests fill both buffers in the end; then it is gone.
    let mut sent = 0;
    while deaf.write_all(request).is_ok() {
        sent += 1;
        assert!(sent < 1_000_000, "it is never sent away");
    }
    let mut other = bench.client();
    other.write_all(request).expect("sent");
    assert_eq!(values(&mut other, 1).len(), 1);
}

#[test]
fn when_there_are_too_many_clients_the_one_idle_longest_goes() {
    let bench = Bench::new(
        Limits {
            clients: 3,
            ..Limits::default()
        },
        willing,
    );
    let mut clients: Vec<_> = (0..5)
        .map(|_| {
            let mut client = bench.client();
            client
                .write_all(br#"{"id":1,"method":"rpc_get_methods"}"#)
                .expect("sent");
            assert_eq!(values(&mut client, 1).len(), 1);
            client
        })
        .collect();
    assert!(closed(&mut clients[0]) && closed(&mut clients[1]));
    clients[2]
        .write_all(br#"{"id":1,"method":"rpc_get_methods"}"#)
        .expect("it is still there");
    assert_eq!(values(&mut clients[2], 1).len(), 1);
    assert!(bench.server.as_ref().is_some_and(|s| s.clients() <= 3));
}

#[test]
fn when_all_clients_are_busy_another_is_told_so() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let bench = Bench::new(
        Limits {
            clients: 2,
            ..Limits::default()
        },
        move |jobs| {
            let _ = held.recv();
            willing(jobs);
        },
    );
    let mut busy = [bench.client(), bench.client()];
    for client in &mut busy {
        client
            .write_all(br#"{"id":1,"method":"sluice_get_status"}"#)
            .expect("sent");
    }
    let seats = bench
        .server
        .as_ref()
        .map(|s| s.clients.clone())
        .expect("serving");
    while seats
        .lock()
        .iter()
        .filter(|s| s.idle_since.is_none())
        .count()
        < 2
    {
        thread::sleep(Duration::from_millis(5));
    }
    let mut third = bench.client();
    let got = values(&mut third, 1);
    assert!(
        got[0]["error"]["message"]
            .as_str()
            .is_some_and(|m| m.contains("try again")),
        "{got:?}"
    );
    release.send(()).expect("the owner waits");
    for client in &mut busy {
        assert_eq!(values(client, 1)[0]["result"], "sluice_get_status");
    }
}

#[test]
fn the_socket_is_for_owner_and_group_and_one_daemon_alone() {
    let bench = Bench::new(Limits::default(), willing);
    let mode = std::fs::metadata(&bench.path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let error = Socket::bind(&bench.path, &Group::Own)
        .expect_err("taken")
        .to_string();
    let pid = std::process::id();
    assert!(
        error.contains(&format!("another sluiced (pid {pid}) serves")),
        "{error}"
    );
    let path = bench.path.with_extension("other");
    let error = Socket::bind(&path, &Group::Named("no-such-group".into()))
        .expect_err("none")
        .to_string();
    assert!(error.contains("groupadd"), "{error}");
}

#[test]
fn a_socket_left_behind_by_a_crash_is_replaced_and_a_file_is_not() {
    let path = std::env::temp_dir().join(format!("sluiced-stale-{}.sock", std::process::id()));
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket without a daemon"));
    drop(Socket::bind(&path, &Group::Own).unwrap_or_else(|e| panic!("{e}")));
    assert!(!path.exists(), "removed in the end");
    std::fs::write(&path, "precious").expect("a file");
    let error = Socket::bind(&path, &Group::Own)
        .expect_err("occupied")
        .to_string();
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(std::fs::read(&path).expect("untouched"), b"precious");
    std::fs::remove_file(&path).expect("ours");
    std::fs::remove_file(format!("{}.lock", path.display())).expect("ours");
}

#[test]
fn who_has_asked_is_answered_even_if_the_server_ends_meanwhile() {
    let (begun, is_begun) = std::sync::mpsc::channel();
    let mut bench = Bench::new(Limits::default(), move |jobs| {
        for job in jobs {
            if job.begin()
                && let What::Call { reply, method, .. } = job.what
            {
                let _ = begun.send(());
                thread::sleep(Duration::from_millis(50));
                let _ = reply.send(Ok(json!(method.name)));
            }
        }
    });
    let mut client = bench.client();
    let ask = br#"{"jsonrpc":"2.0","id":1,"method":"sluice_get_status"}"#;
    client.write_all(ask).expect("sends");
    is_begun.recv().expect("it is being executed");
    bench.server = None;
    let mut said = String::new();
    client.read_to_string(&mut said).expect("an answer");
    assert!(said.contains("sluice_get_status"), "{said}");
}
