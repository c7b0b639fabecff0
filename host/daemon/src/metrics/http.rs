//! `GET /metrics` over HTTP: one request at a time, a bounded head, little patience. A scraper needs no more, and whoever
//! wants to harm it finds nothing that grows.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::service::Handle;

/// Longest request head.
const HEAD: usize = 8192;
/// A request must be whole, and its response taken, within this time.
const PATIENCE: Duration = Duration::from_secs(3);
const GLANCE: Duration = Duration::from_millis(200);

/// Serves metrics until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    at: SocketAddr,
}

impl MetricsServer {
    /// Listens at `address`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start(address: SocketAddr, handle: Handle) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let ending = stop.clone();
        let thread = thread::Builder::new()
            .name("metrics".into())
            .spawn(move || {
                serve(&listener, &handle, &ending);
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
            at,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, handle: &Handle, stop: &AtomicBool) {
    let glance = Timespec {
        tv_sec: 0,
        tv_nsec: GLANCE.as_nanos() as _,
    };
    while !stop.load(Ordering::Acquire) {
        if matches!(
            poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&glance)),
            Ok(0)
        ) {
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = answer(stream, handle, stop) {
                    log::debug!("a scraper went: {error}");
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                log::warn!("metrics: {error}");
                thread::sleep(GLANCE);
            }
        }
    }
}

fn answer(mut stream: TcpStream, handle: &Handle, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(GLANCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let until = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let (status, text) = loop {
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => head.extend_from_slice(&piece[..n]),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(e) => return Err(e),
        }
        if let Some(outcome) = judge(&head) {
            break outcome;
        }
        if Instant::now() > until || stop.load(Ordering::Acquire) {
            break (
                "408 Request Timeout",
                "the whole request wanted within 3 s\n",
            );
        }
    };
    let (status, kind, body) = if status == OK {
        match handle.snapshot() {
            Ok(snapshot) => (status, OPENMETRICS, snapshot.text()),
            Err(error) => ("503 Service Unavailable", PLAIN, format!("{error}\n")),
        }
    } else {
        (status, PLAIN, text.to_string())
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

const OK: &str = "200 OK";
const PLAIN: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is to be answered, once the head says enough.
fn judge(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Err(_) => Some(("400 Bad Request", "an HTTP/1.1 request wanted\n")),
        Ok(httparse::Status::Partial) if head.len() > HEAD => Some((
            "431 Request Header Fields Too Large",
            "at most 8192 bytes wanted\n",
        )),
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => Some(match (request.method, request.path) {
            (Some("GET"), Some("/metrics")) => (OK, ""),
            (Some("GET"), _) => ("404 Not Found", "there is /metrics only\n"),
            _ => ("405 Method Not Allowed", "GET wanted\n"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Snapshot;
    use crate::service::{What, queue};

    fn ask(at: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(at).expect("it listens");
        stream.write_all(request).expect("sent");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn a_scraper_gets_the_metrics_and_others_are_told_what_there_is() {
        let (handle, jobs) = queue(Duration::from_secs(20));
        thread::spawn(move || {
            for job in jobs {
                if job.begin()
                    && let What::Snapshot { reply } = job.what
                {
                    let mut snapshot = Snapshot::default();
                    snapshot.gauge("sluice_up", &[], 1.0);
                    let _ = reply.send(snapshot);
                }
            }
        });
        let server = MetricsServer::start("127.0.0.1:0".parse().expect("an address"), handle)
            .expect("a port");
        let good = ask(
            server.address(),
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        );
        assert!(
            good.starts_with("HTTP/1.1 200 OK\r\n") && good.contains("\nsluice_up 1.0\n"),
            "{good}"
        );
        let long = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &[b'x'; 9000]].concat();
        for (request, want) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "400"),
            (&long, "431"),
        ] {
            let got = ask(server.address(), request);
            assert!(
                got.starts_with(&format!("HTTP/1.1 {want}")),
                "{want}: {got}"
            );
        }
    }

    #[test]
    fn a_scraper_that_says_nothing_is_not_waited_for_long() {
        let (handle, _jobs) = queue(Duration::from_millis(10));
        let server = MetricsServer::start("127.0.0.1:0".parse().expect("an address"), handle)
            .expect("a port");
        let silent = TcpStream::connect(server.address()).expect("it listens");
        let got = ask(server.address(), b"GET /metrics HTTP/1.1\r\n\r\n");
        assert!(
            got.starts_with("HTTP/1.1 503"),
            "nobody serves the snapshot: {got}"
        );
        drop(silent);
    }
}
