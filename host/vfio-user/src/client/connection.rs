//! One connection to a server: requests with their replies, and a thread that takes what comes.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::RequestError;
use crate::frame::{FrameError, Message, Receiver, Sender};
use crate::version::Capabilities;
use crate::wire::{self, Command, flags};

/// Requests of the server that wait for their turn; a server that sends more without waiting for answers is broken.
pub const MAX_INCOMING: usize = 4096;

/// A connection. It ends when the server dies, does not answer in time or speaks nonsense, or when it is [closed](Self::close).
#[derive(Debug)]
pub struct Connection {
    name: String,
    socket: UnixStream,
    timeout: Duration,
    sender: Mutex<Sender>,
    state: Mutex<State>,
    answered: Condvar,
    /// Readable once the connection has ended.
    ended: OwnedFd,
}

#[derive(Debug)]
struct State {
    next_id: u16,
    /// By the identifiers of requests that wait; `None` until the reply is there.
    replies: HashMap<u16, Option<Message>>,
    /// Why it ended.
    lost: Option<String>,
    theirs: Capabilities,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked here is whole at every moment, so a panic elsewhere does it no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Over a connected socket; requests must be answered within `timeout`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(name: &str, socket: UnixStream, timeout: Duration) -> std::io::Result<Self> {
        Ok(Self {
            name: name.into(),
            socket,
            timeout,
            sender: Mutex::default(),
            state: Mutex::new(State {
                next_id: 0,
                replies: HashMap::new(),
                lost: None,
                theirs: Capabilities::default(),
            }),
            answered: Condvar::new(),
            ended: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the server can do.
    pub fn theirs(&self) -> Capabilities {
        lock(&self.state).theirs
    }

    /// Sets what the server can do.
    pub fn set_theirs(&self, theirs: Capabilities) {
        lock(&self.state).theirs = theirs;
    }

    /// Why the connection ended, if it did.
    pub fn lost(&self) -> Option<String> {
        lock(&self.state).lost.clone()
    }

    /// Readable once the connection has ended.
    pub fn ended(&self) -> &OwnedFd {
        &self.ended
    }

    /// Ends the connection; the first reason counts. Everyone who waits is told.
    pub fn close(&self, reason: &str, expected: bool) {
        let mut state = lock(&self.state);
        if state.lost.is_some() {
            return;
        }
        if expected {
            log::debug!("{}: {reason}", self.name);
        } else {
            log::error!("{}: the device is gone: {reason}", self.name);
        }
        state.lost = Some(reason.into());
        drop(state);
        self.answered.notify_all();
        let _ = rustix::io::write(&self.ended, &1u64.to_ne_bytes());
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// [`RequestError`]. Without an answer in time the connection is ended: a later one would belong to nobody.
    pub fn request(
        &self,
        what: &'static str,
        command: Command,
        parts: &[&[u8]],
        fds: Vec<OwnedFd>,
    ) -> Result<Message, RequestError> {
        let id = self.begin()?;
        let deadline = Instant::now() + self.timeout;
        let sent = self.send(wire::message(id, command as u16, 0, parts), fds, deadline);
        let result = sent.and_then(|()| self.await_reply(id, what, deadline));
        lock(&self.state).replies.remove(&id);
        let reply = result?;
        let header = &reply.header;
        if header.command.get() != command as u16 {
            let reason = format!("the reply is to command {}", header.command);
            return Err(RequestError::Reply { what, reason });
        }
        if header.flags.get() & flags::ERROR != 0 {
            let errno = header.error.get();
            return Err(RequestError::Refused { what, errno });
        }
        Ok(reply)
    }

    /// Sends a request that nobody answers.
    ///
    /// # Errors
    /// [`RequestError::Gone`].
    pub fn post(&self, command: Command, parts: &[&[u8]]) -> Result<(), RequestError> {
        let message = wire::message(0, command as u16, flags::NO_REPLY, parts);
        self.send(message, Vec::new(), Instant::now() + self.timeout)
    }

    /// Sends a reply to the server's request.
    ///
    /// # Errors
    /// [`RequestError::Gone`].
    pub fn reply(&self, message: Vec<u8>) -> Result<(), RequestError> {
        self.send(message, Vec::new(), Instant::now() + self.timeout)
    }

    fn begin(&self) -> Result<u16, RequestError> {
        let mut state = lock(&self.state);
        if let Some(reason) = &state.lost {
            return Err(RequestError::Gone(reason.clone()));
        }
        let mut id = state.next_id;
        while state.replies.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        state.next_id = id.wrapping_add(1);
        state.replies.insert(id, None);
        Ok(id)
    }

    fn send(
        &self,
        message: Vec<u8>,
        fds: Vec<OwnedFd>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let mut sender = lock(&self.sender);
        if let Some(reason) = self.lost() {
            return Err(RequestError::Gone(reason));
        }
        sender.push(message, fds);
        loop {
            match sender.flush(&self.socket) {
                Ok(true) => return Ok(()),
                Ok(false) if Instant::now() < deadline => {
                    wait(&[(self.socket.as_fd(), PollFlags::OUT)], deadline);
                }
                Ok(false) => self.close(&self.silence(), false),
                Err(error) => self.close(&error.to_string(), false),
            }
            if let Some(reason) = self.lost() {
                return Err(RequestError::Gone(reason));
            }
        }
    }

    fn silence(&self) -> String {
        format!(
            "no answer for {} s; is the server stuck?",
            self.timeout.as_secs_f32()
        )
    }

    fn await_reply(&self, id: u16, what: &str, deadline: Instant) -> Result<Message, RequestError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(reply) = state.replies.get_mut(&id).and_then(Option::take) {
                return Ok(reply);
            }
            if let Some(reason) = &state.lost {
                return Err(RequestError::Gone(reason.clone()));
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                drop(state);
                self.close(&format!("{what}: {}", self.silence()), false);
                state = lock(&self.state);
                continue;
            };
            let (guard, _) = self
                .answered
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
        }
    }

    /// Takes what comes until the connection ends; the server's own requests go to `incoming`. Runs in a thread of its own.
    pub fn receive(self: &Arc<Self>, incoming: &SyncSender<Message>) {
        let mut receiver = Receiver::default();
        while self.lost().is_none() {
            match receiver.poll(&self.socket) {
                Ok(Some(message)) => self.take(message, incoming),
                Ok(None) => {
                    // Closing shuts the socket down, which ends the wait.
                    let deadline = Instant::now() + Duration::from_secs(3600);
                    wait(&[(self.socket.as_fd(), PollFlags::IN)], deadline);
                }
                Err(FrameError::Closed) => {
                    self.close("its server has closed the connection or died", false)
                }
                Err(error) => self.close(&error.to_string(), false),
            }
        }
    }

    fn take(&self, message: Message, incoming: &SyncSender<Message>) {
        match message.header.flags.get() & flags::TYPE {
            0 => match incoming.try_send(message) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(_)) => {
                    self.close(
                        &format!("its server sends more than {MAX_INCOMING} requests at once"),
                        false,
                    );
                }
            },
            flags::REPLY => {
                let id = message.header.id.get();
                let mut state = lock(&self.state);
                match state.replies.get_mut(&id) {
                    Some(slot @ None) => *slot = Some(message),
                    _ => log::warn!("{}: a reply that nobody waits for (id {id})", self.name),
                }
                drop(state);
                self.answered.notify_all();
            }
            other => self.close(&format!("its server sends messages of type {other}"), false),
        }
    }
}

/// Waits until one of these is ready, or for the deadline. True if one is.
pub fn wait(fds: &[(BorrowedFd<'_>, PollFlags)], deadline: Instant) -> bool {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).ok();
    matches!(poll(&mut fds, timeout.as_ref()), Ok(n) if n > 0)
}
