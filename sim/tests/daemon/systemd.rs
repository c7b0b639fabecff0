//! What systemd is to the daemon: it starts it, keeps the descriptors that it is sent, and gives them to the next one.

use std::collections::HashMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Descriptors that a service may keep, as in its unit.
const ROOM: usize = 64;
/// What [`Systemd::settle`] sends to itself.
const MARK: &str = "X_TEST_MARK=";

/// The manager and one service.
pub struct Systemd {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    marks: u32,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    store: Vec<(String, OwnedFd)>,
    ready: bool,
    status: String,
    mark: u32,
    /// More than it would keep: the next service would miss them.
    refused: Vec<String>,
    ended: bool,
}

impl Systemd {
    /// With its notification socket in this folder.
    pub fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let shared = Arc::<Shared>::default();
        let listener = shared.clone();
        let thread = std::thread::spawn(move || {
            while !listener.state.lock().expect("whole").ended {
                listener.take(&socket);
            }
        });
        Self {
            path,
            shared,
            thread: Some(thread),
            marks: 0,
        }
    }

    /// Starts the daemon with these settings and what is kept for it; what it logs goes to the end of `log`.
    pub fn start(&self, program: &Path, settings: &Path, log: &Path) -> Child {
        let mut state = self.shared.state.lock().expect("whole");
        state.ready = false;
        let names: Vec<&str> = state.store.iter().map(|(name, _)| name.as_str()).collect();
        let log = File::options().create(true).append(true).open(log);
        // LISTEN_PID has to be that of the program, which only the process itself knows before it becomes that.
        let mut command = Command::new("sh");
        command
            .args(["-c", "LISTEN_PID=$$; export LISTEN_PID; exec \"$@\"", "sh"])
            .arg(program)
            .arg("--settings")
            .arg(settings)
            .env("NOTIFY_SOCKET", &self.path)
            .env("FDSTORE", ROOM.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"));
        if !names.is_empty() {
            let (count, names) = (names.len().to_string(), names.join(":"));
            command
                .env("LISTEN_FDS", count)
                .env("LISTEN_FDNAMES", names);
        }
        let mappings = (3..)
            .zip(&state.store)
            .map(|(child_fd, (_, fd))| FdMapping {
                parent_fd: fd.try_clone().expect("a descriptor"),
                child_fd,
            });
        let mapped = command.fd_mappings(mappings.collect());
        mapped.expect("each number once");
        command.spawn().expect("sh is there")
    }

    /// Waits until the daemon says that it is ready; what its status is if it ends instead.
    pub fn ready(&self, daemon: &mut Child) -> Result<(), String> {
        let begun = Instant::now();
        let mut state = self.shared.state.lock().expect("whole");
        while !state.ready {
            if let Some(how) = daemon.try_wait().expect("a child") {
                return Err(format!("{how}: {}", state.status));
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("not ready after {PATIENCE:?}: {}", state.status));
            }
            let wait = self
                .shared
                .changed
                .wait_timeout(state, Duration::from_millis(20));
            state = wait.expect("whole").0;
        }
        Ok(())
    }

    /// Waits until everything that was sent so far is done. systemd does that before it looks at what has died.
    pub fn settle(&mut self) {
        self.marks += 1;
        let socket = UnixDatagram::unbound().expect("a socket");
        let text = format!("{MARK}{}\n", self.marks);
        socket
            .send_to(text.as_bytes(), &self.path)
            .expect("it is read");
        let state = self.shared.state.lock().expect("whole");
        let wait = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.mark < self.marks);
        let (state, timeout) = wait.expect("whole");
        assert!(!timeout.timed_out(), "the notifications are not read");
        assert_eq!(state.refused, [""; 0], "the store is full");
    }

    /// Names of what is kept, each with how often.
    pub fn names(&self) -> HashMap<String, usize> {
        let mut names = HashMap::new();
        for (name, _) in &self.shared.state.lock().expect("whole").store {
            *names.entry(name.clone()).or_default() += 1;
        }
        names
    }

    /// The service is stopped for good.
    pub fn drop_store(&self) {
        self.shared.state.lock().expect("whole").store.clear();
    }
}

impl Shared {
    fn take(&self, socket: &UnixDatagram) {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let mut into = [IoSliceMut::new(&mut bytes)];
        let got = recvmsg(socket.as_fd(), &mut into, &mut control, flags).expect("a datagram");
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                fds.extend(some);
            }
        }
        let text = String::from_utf8_lossy(&bytes[..got.bytes]).into_owned();
        let field = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.to_string()))
        };
        let mut state = self.state.lock().expect("whole");
        let name = field("FDNAME=").unwrap_or_else(|| "stored".into());
        if text.contains("FDSTORE=1") {
            for fd in fds {
                if state.store.len() < ROOM {
                    state.store.push((name.clone(), fd));
                } else {
                    state.refused.push(name.clone());
                }
            }
        }
        if text.contains("FDSTOREREMOVE=1") {
            state.store.retain(|(kept, _)| *kept != name);
        }
        state.ready |= text.contains("READY=1");
        if let Some(status) = field("STATUS=") {
            state.status = status;
        }
        if let Some(mark) = field(MARK).and_then(|m| m.parse().ok()) {
            state.mark = mark;
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // A panic elsewhere may hold the lock's poison.
        if let Ok(mut state) = self.shared.state.lock() {
            state.ended = true;
        }
        let awake = UnixDatagram::unbound().and_then(|s| s.send_to(b"\n", &self.path));
        if let (Ok(_), Some(thread)) = (awake, self.thread.take()) {
            let _ = thread.join();
        }
    }
}
