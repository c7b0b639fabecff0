//! QEMU's `-netdev stream` on a UNIX socket: every frame preceded by its length, 4 bytes, big-endian.
//! Either side may listen; the peer may die and come back.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::{LivePort, MAX_FRAME, PortStats, wait_for, wait_readable, would_block};

/// Bytes kept for a peer that does not read; more is dropped frame by frame.
const BACKLOG: usize = 4 << 20;
/// Read at once.
const CHUNK: usize = 256 << 10;
/// Between attempts to reach a peer that is not there.
const RETRY: Duration = Duration::from_millis(100);

enum End {
    Listens(UnixListener, PathBuf),
    Connects { path: PathBuf, next: Instant },
}

/// One end of the stream.
pub struct SocketPort {
    end: End,
    peer: Option<UnixStream>,
    input: Vec<u8>,
    /// Start of what is not parsed yet.
    parsed: usize,
    output: Vec<u8>,
    /// Start of what is not written yet.
    written: usize,
    stats: PortStats,
}

impl SocketPort {
    /// Listens on `path`: for a peer with `server=off`. A stale socket of an earlier run is replaced, another kind of
    /// file is not.
    pub fn listen(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt;
        if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self::new(End::Listens(listener, path.to_path_buf())))
    }

    /// Connects to `path`, now or as soon as somebody listens there: for a peer with `server=on`.
    pub fn connect(path: &Path) -> Self {
        Self::new(End::Connects {
            path: path.to_path_buf(),
            next: Instant::now(),
        })
    }

    fn new(end: End) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Self {
            end,
            peer: None,
            input,
            parsed: 0,
            output,
            written: 0,
            stats: PortStats::default(),
        }
    }

    fn find_peer(&mut self) -> io::Result<()> {
        if self.peer.is_some() {
            return Ok(());
        }
        let found = match &mut self.end {
            End::Listens(listener, _) => listener.accept().map(|(stream, _)| stream),
            End::Connects { next, .. } if Instant::now() < *next => return Ok(()),
            End::Connects { path, next } => {
                *next = Instant::now() + RETRY;
                UnixStream::connect(path)
            }
        };
        if let Ok(stream) = found {
            stream.set_nonblocking(true)?;
            self.peer = Some(stream);
        }
        Ok(())
    }

    fn lose_peer(&mut self) {
        self.peer = None;
        self.input.clear();
        self.output.clear();
        (self.parsed, self.written) = (0, 0);
    }

    /// Moves whole frames out of `input`.
    fn parse(&mut self, frames: &mut Vec<Vec<u8>>, most: usize) {
        while frames.len() < most {
            let rest = &self.input[self.parsed..];
            let Some((head, body)) = rest.split_first_chunk::<4>() else {
                break;
            };
            let length = u32::from_be_bytes(*head) as usize;
            if length == 0 || length > MAX_FRAME {
                // Nothing after a wrong length can be trusted.
                self.stats.garbage += 1;
                self.lose_peer();
                return;
            }
            let Some(frame) = body.get(..length) else {
                break;
            };
            frames.push(frame.to_vec());
            self.parsed += 4 + length;
            self.stats.received += 1;
        }
        if self.parsed == self.input.len() {
            self.input.clear();
            self.parsed = 0;
        } else if self.parsed >= CHUNK {
            self.input.drain(..self.parsed);
            self.parsed = 0;
        }
    }

    /// Reads once; whether anything came.
    fn read(&mut self) -> bool {
        let Some(peer) = &mut self.peer else {
            return false;
        };
        let start = self.input.len();
        self.input.resize(start + CHUNK, 0);
        let result = peer.read(&mut self.input[start..]);
        self.input.truncate(start + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => self.lose_peer(),
            Ok(_) => return true,
            Err(error) if would_block(&error) => {}
            Err(_) => self.lose_peer(),
        }
        false
    }
}

impl LivePort for SocketPort {
    fn receive(&mut self, frames: &mut Vec<Vec<u8>>, most: usize) -> io::Result<()> {
        self.find_peer()?;
        self.parse(frames, most);
        while frames.len() < most && self.read() {
            self.parse(frames, most);
        }
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let full = self.output.len() - self.written + frame.len() > BACKLOG;
        if self.peer.is_none() || full || frame.len() > MAX_FRAME {
            self.stats.dropped += 1;
            return Ok(());
        }
        self.output
            .extend_from_slice(&(frame.len() as u32).to_be_bytes());
        self.output.extend_from_slice(frame);
        self.stats.sent += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            let Some(peer) = &mut self.peer else { break };
            match peer.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if would_block(&error) => break,
                Err(_) => self.lose_peer(),
            }
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        } else if self.written >= BACKLOG / 4 {
            self.output.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.find_peer()?;
        match (&self.peer, &self.end) {
            // A whole frame may lie in `input` if the last `receive` stopped at its limit.
            _ if self.parsed < self.input.len() && whole_frame(&self.input[self.parsed..]) => {
                Ok(())
            }
            (Some(peer), _) if self.written < self.output.len() => {
                wait_for(&[peer.as_fd()], PollFlags::IN | PollFlags::OUT, timeout)
            }
            (Some(peer), _) => wait_readable(&[peer.as_fd()], timeout),
            (None, End::Listens(listener, _)) => wait_readable(&[listener.as_fd()], timeout),
            (None, End::Connects { .. }) => {
                std::thread::sleep(timeout.min(RETRY));
                Ok(())
            }
        }
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) -> bool {
        match (&self.peer, &self.end) {
            (Some(peer), _) => {
                let mut flags = PollFlags::IN;
                flags.set(PollFlags::OUT, self.written < self.output.len());
                fds.push(PollFd::new(peer, flags));
                self.parsed < self.input.len() && whole_frame(&self.input[self.parsed..])
            }
            (None, End::Listens(listener, _)) => {
                fds.push(PollFd::new(listener, PollFlags::IN));
                false
            }
            (None, End::Connects { .. }) => false,
        }
    }

    fn connected(&self) -> bool {
        self.peer.is_some()
    }

    fn stats(&self) -> PortStats {
        self.stats
    }

    fn describe(&self) -> String {
        match &self.end {
            End::Listens(_, path) => format!("socket:{}", path.display()),
            End::Connects { path, .. } => format!("connect:{}", path.display()),
        }
    }
}

impl Drop for SocketPort {
    fn drop(&mut self) {
        if let End::Listens(_, path) = &self.end {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn whole_frame(rest: &[u8]) -> bool {
    rest.split_first_chunk::<4>()
        .is_some_and(|(head, body)| body.len() >= u32::from_be_bytes(*head) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("sluice-{name}-{}.sock", std::process::id()))
    }

    /// Receives until `count` frames are there.
    fn receive(port: &mut SocketPort, count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for _ in 0..1000 {
            port.receive(&mut frames, count).expect("receives");
            if frames.len() == count {
                break;
            }
            port.wait(Duration::from_millis(10)).expect("waits");
        }
        frames
    }

    fn joined(name: &str) -> (SocketPort, SocketPort) {
        let path = path(name);
        let mut server = SocketPort::listen(&path).expect("listens");
        let mut client = SocketPort::connect(&path);
        client.receive(&mut Vec::new(), 1).expect("connects");
        server.receive(&mut Vec::new(), 1).expect("accepts");
        assert!(client.connected() && server.connected());
        (server, client)
    }

    #[test]
    fn frames_cross_in_order_and_unchanged() {
        let (mut server, mut client) = joined("order");
        let sent: Vec<Vec<u8>> = (0..500usize)
            .map(|i| vec![i as u8; 60 + i * 17 % 9000])
            .collect();
        let mut got = Vec::new();
        for batch in sent.chunks(50) {
            batch
                .iter()
                .for_each(|frame| client.send(frame).expect("sends"));
            client.flush().expect("flushes");
            while got.len() % 50 != 0 || got.is_empty() || got.len() < client.stats().sent as usize
            {
                got.extend(receive(
                    &mut server,
                    7.min(client.stats().sent as usize - got.len()),
                ));
                client.flush().expect("flushes");
            }
        }
        assert_eq!(got, sent);
        assert_eq!(server.stats().received, 500);
    }

    #[test]
    fn a_peer_may_die_and_come_back() {
        let path = path("again");
        let mut server = SocketPort::listen(&path).expect("listens");
        server.send(b"to nobody").expect("counts");
        assert_eq!(server.stats().dropped, 1);
        for round in 1..=3u8 {
            let mut client = SocketPort::connect(&path);
            client.receive(&mut Vec::new(), 1).expect("connects");
            client.send(&[round; 64]).expect("sends");
            client.flush().expect("flushes");
            assert_eq!(receive(&mut server, 1), [vec![round; 64]]);
            drop(client);
            server.receive(&mut Vec::new(), 1).expect("notices");
            assert!(!server.connected());
        }
    }

    #[test]
    fn a_nonsense_length_ends_the_stream_and_is_counted() {
        for length in [0u32, MAX_FRAME as u32 + 1, u32::MAX] {
            let path = path(&format!("nonsense{length}"));
            let mut server = SocketPort::listen(&path).expect("listens");
            let mut raw = UnixStream::connect(&path).expect("connects");
            raw.write_all(&length.to_be_bytes()).expect("writes");
            raw.write_all(&[0; 100]).expect("writes");
            assert!(receive(&mut server, 0).is_empty());
            server.receive(&mut Vec::new(), 9).expect("survives");
            assert!(!server.connected());
            assert_eq!(server.stats().garbage, 1);
        }
    }

    #[test]
    fn a_peer_that_does_not_read_costs_a_bounded_backlog() {
        let (mut server, _client) = joined("stuck");
        for _ in 0..2000 {
            server.send(&[0; 9000]).expect("sends or drops");
            server.flush().expect("does not block");
        }
        assert!(server.stats().dropped > 0);
        assert!(server.output.len() <= BACKLOG + BACKLOG / 4 + MAX_FRAME);
    }

    #[test]
    fn waiting_ends_when_a_slow_peer_has_room_again() {
        let (mut server, mut client) = joined("slow");
        for _ in 0..200 {
            server.send(&[0; 9000]).expect("sends");
        }
        server.flush().expect("does not block");
        assert!(server.written < server.output.len(), "more than fits");
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            receive(&mut client, 200).len()
        });
        let start = Instant::now();
        while server.written < server.output.len() {
            server.wait(Duration::from_secs(60)).expect("waits");
            server.flush().expect("does not block");
        }
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(reader.join().expect("reads"), 200);
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_replaced() {
        let path = path("file");
        std::fs::write(&path, "precious").expect("written");
        assert!(SocketPort::listen(&path).is_err());
        assert_eq!(std::fs::read(&path).expect("still there"), b"precious");
        std::fs::remove_file(&path).expect("removed");
    }
}
