//! JSON-RPC over a UNIX socket. One thread per client, a bounded number of clients, and for each of them bounded requests,
//! responses and times: whoever is slow, silent or hostile harms itself.

mod client;
mod socket;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use sluice_rpc::message::{self, RpcError};

use crate::service::Handle;

pub use socket::{BindError, Group, Socket, lock};

/// What a client may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients at once. When another comes, the one that has been idle longest goes.
    pub clients: usize,
    /// Bytes of a request or batch.
    pub request: usize,
    /// Bytes of the response to a batch, after which the rest of the batch is not done.
    pub response: usize,
    /// A request that has begun must be whole after this time, and a response taken.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 32,
            request: 256 << 10,
            response: 8 << 20,
            patience: Duration::from_secs(10),
        }
    }
}

/// How often threads look whether they are to end.
const GLANCE: Duration = Duration::from_millis(200);

/// How long those who have asked for something are waited for in the end: one that asked for the end is told that it has come.
const FAREWELL: Duration = Duration::from_millis(500);

/// A server that serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    acceptor: Option<thread::JoinHandle<()>>,
    clients: Clients,
}

impl Server {
    /// Serves a socket from threads of its own.
    #[must_use]
    pub fn start(socket: Socket, handle: Handle, limits: Limits) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = Clients::default();
        let (ending, all) = (stop.clone(), clients.clone());
        let acceptor = thread::spawn(move || accept(&socket, &handle, limits, &ending, &all));
        Self {
            stop,
            acceptor: Some(acceptor),
            clients,
        }
    }

    /// Clients there are now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.lock().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let until = Instant::now() + FAREWELL;
        while self.clients.lock().iter().any(Seat::is_busy) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        self.clients.lock().iter().for_each(Seat::end);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// A client's place.
#[derive(Debug)]
struct Seat {
    number: u64,
    stream: UnixStream,
    /// When it last began or ended a request; `None` while one is executed.
    idle_since: Option<Instant>,
}

impl Seat {
    fn is_busy(&self) -> bool {
        self.idle_since.is_none()
    }

    fn end(&self) {
        // One that has gone by itself is none the worse.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// All clients.
#[derive(Clone, Debug, Default)]
struct Clients(Arc<Mutex<Vec<Seat>>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a client a place, taking another's if need be; false if all are busy.
    fn admit(&self, number: u64, stream: &UnixStream, max: usize) -> std::io::Result<bool> {
        let stream = stream.try_clone()?;
        let mut seats = self.lock();
        if seats.len() >= max {
            let idle = |s: &(usize, &Seat)| s.1.idle_since.is_some();
            let oldest = seats
                .iter()
                .enumerate()
                .filter(idle)
                .min_by_key(|(_, s)| s.idle_since);
            let Some(index) = oldest.map(|(i, _)| i) else {
                return Ok(false);
            };
            let seat = seats.swap_remove(index);
            log::warn!("{max} clients: the one that was idle longest is sent away");
            seat.end();
        }
        let idle_since = Some(Instant::now());
        seats.push(Seat {
            number,
            stream,
            idle_since,
        });
        Ok(true)
    }

    fn busy(&self, number: u64, busy: bool) {
        if let Some(seat) = self.lock().iter_mut().find(|s| s.number == number) {
            seat.idle_since = (!busy).then(Instant::now);
        }
    }

    fn leave(&self, number: u64) {
        self.lock().retain(|s| s.number != number);
    }
}

fn accept(
    socket: &Socket,
    handle: &Handle,
    limits: Limits,
    stop: &Arc<AtomicBool>,
    clients: &Clients,
) {
    let glance = Timespec {
        tv_sec: 0,
        tv_nsec: GLANCE.as_nanos() as _,
    };
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        match poll(
            &mut [PollFd::new(socket.listener(), PollFlags::IN)],
            Some(&glance),
        ) {
            Ok(0) => continue,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return log::error!("no more clients are let in: {error}"),
        }
        let stream = match socket.listener().accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or a client that went again.
                log::warn!("a client could not be let in: {error}");
                thread::sleep(GLANCE);
                continue;
            }
        };
        number += 1;
        match clients.admit(number, &stream, limits.clients) {
            Ok(true) => {}
            Ok(false) => {
                let text = format!(
                    "{} clients are being served already; try again later",
                    limits.clients
                );
                send_away(&stream, &RpcError::internal(text));
                continue;
            }
            Err(error) => {
                log::warn!("a client could not be let in: {error}");
                continue;
            }
        }
        let (handle, stop, mine) = (handle.clone(), stop.clone(), clients.clone());
        let thread = thread::Builder::new().name(format!("client {number}"));
        let spawned = thread.spawn(move || {
            client::serve(&stream, &handle, limits, &stop, &mut |busy| {
                mine.busy(number, busy)
            });
            let _ = stream.shutdown(Shutdown::Both);
            mine.leave(number);
        });
        if let Err(error) = spawned {
            log::warn!("a client could not be served: {error}");
            clients.leave(number);
        }
    }
}

fn send_away(mut stream: &UnixStream, error: &RpcError) {
    // It is new, so its buffer is empty; if not, it is not told.
    let _ = stream.set_nonblocking(true);
    let text = message::error(&Value::Null, error).to_string();
    let _ = stream.write_all(text.as_bytes());
}
