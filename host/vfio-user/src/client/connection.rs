//! One connection to a server: requests with their replies, and a thread that takes what comes.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::RequestError;
use super::journal::{Journal, SLOTS};
use crate::frame::{FrameError, MAX_WHOLE, Message, Peeked, Receiver, Sender, take};
use crate::version::Capabilities;
use crate::wire::{self, Command, Header, flags};

/// Requests of the server that wait for their turn; a server that sends more without waiting for answers is broken.
pub const MAX_INCOMING: usize = 4096;

/// Between looks at a message of which only a part is there.
const PART_PAUSE: Duration = Duration::from_micros(100);

/// A request of the server.
#[derive(Debug)]
pub struct Incoming {
    /// As it came.
    pub message: Message,
    /// Its place in the journal.
    pub slot: Option<usize>,
}

/// A connection. It ends when the server dies, does not answer in time or speaks nonsense, or when it is [closed](Self::close).
#[derive(Debug)]
pub struct Connection {
    name: OnceLock<String>,
    socket: UnixStream,
    timeout: Duration,
    /// What outlives the process, if anything does.
    journal: Option<Journal>,
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
    /// Over a connected socket; requests must be answered within `timeout`. With a journal the connection can be taken over by
    /// another process at any time.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        socket: UnixStream,
        timeout: Duration,
        journal: Option<Journal>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            name: OnceLock::new(),
            socket,
            timeout,
            journal,
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
        self.name
            .get()
            .map_or("a device left behind", String::as_str)
    }

    /// Gives it its name, once.
    pub fn set_name(&self, name: &str) {
        let _ = self.name.set(name.into());
    }

    /// The socket, to be kept.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What outlives the process, if anything does.
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// What the server can do.
    pub fn theirs(&self) -> Capabilities {
        lock(&self.state).theirs
    }

    /// Sets what the server can do. One that can be taken over sends no message that could be in the socket in part.
    pub fn set_theirs(&self, mut theirs: Capabilities) {
        if self.journal.is_some() {
            theirs.max_data_xfer_size = theirs.max_data_xfer_size.min(MAX_WHOLE.into());
        }
        lock(&self.state).theirs = theirs;
    }

    /// What to say that we can do.
    pub fn ours(&self) -> Capabilities {
        let mut ours = Capabilities::OURS;
        if self.journal.is_some() {
            ours.max_data_xfer_size = MAX_WHOLE.into();
        }
        ours
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
            log::debug!("{}: {reason}", self.name());
        } else {
            log::error!("{}: the device is gone: {reason}", self.name());
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
        let id = loop {
            let id = match &self.journal {
                Some(journal) => journal
                    .next_id()
                    .map_err(|error| RequestError::Gone(format!("its journal: {error}")))?,
                None => {
                    state.next_id = state.next_id.wrapping_add(1);
                    state.next_id
                }
            };
            if !state.replies.contains_key(&id) {
                break id;
            }
        };
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
    pub fn receive(self: &Arc<Self>, incoming: &SyncSender<Incoming>) {
        let mut receiver = Receiver::default();
        let mut part_since = None;
        while self.lost().is_none() {
            let next = match &self.journal {
                Some(journal) => self.next_whole(journal, &mut part_since),
                None => receiver.poll(&self.socket).map(|message| {
                    message.map(|message| Incoming {
                        message,
                        slot: None,
                    })
                }),
            };
            match next {
                Ok(Some(message)) => self.take(message, incoming),
                Ok(None) if part_since.is_some() => std::thread::sleep(PART_PAUSE),
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

    /// The next message, which leaves the socket only as a whole, and after it was written down if it wants an answer. So a
    /// process killed at any moment leaves all of it to the next one.
    fn next_whole(
        &self,
        journal: &Journal,
        part_since: &mut Option<Instant>,
    ) -> Result<Option<Incoming>, FrameError> {
        let bytes = match Receiver::peek(&self.socket)? {
            Peeked::Nothing => return Ok(None),
            Peeked::Part { got } => {
                let since = part_since.get_or_insert_with(Instant::now);
                return match since.elapsed() > self.timeout {
                    true => Err(FrameError::Torn { got }),
                    false => Ok(None),
                };
            }
            Peeked::Whole(bytes) => bytes,
        };
        *part_since = None;
        let (header, _) = take::<Header>(&bytes).map_err(std::io::Error::other)?;
        let mut slot = None;
        if header.flags.get() & flags::TYPE == 0 {
            slot = journal.enter(&bytes)?;
            if slot.is_none() {
                let text = format!("its server sends more than {SLOTS} requests at once");
                return Err(std::io::Error::other(text).into());
            }
        }
        let message = Receiver::take(&self.socket, bytes.len())?;
        Ok(Some(Incoming { message, slot }))
    }

    /// Requests that an earlier process took from the socket and did not answer, in order.
    ///
    /// # Errors
    /// The system's.
    pub fn left_behind(&self) -> std::io::Result<Vec<Incoming>> {
        let Some(journal) = &self.journal else {
            return Ok(Vec::new());
        };
        let mut left = journal.unanswered()?;
        // Killed between writing it down and taking it: it is in both.
        if let (Some(last), Ok(Peeked::Whole(bytes))) = (left.last(), Receiver::peek(&self.socket))
            && last.bytes == bytes
        {
            journal.strike_out(last.slot)?;
            left.pop();
        }
        let requests = left.iter().filter_map(|request| {
            let (message, slot) = (request.message()?, Some(request.slot));
            Some(Incoming { message, slot })
        });
        Ok(requests.collect())
    }

    /// A request of the server is done.
    pub fn answered(&self, slot: Option<usize>) {
        if let (Some(journal), Some(slot)) = (&self.journal, slot)
            && let Err(error) = journal.strike_out(slot)
        {
            self.close(&format!("its journal: {error}"), false);
        }
    }

    fn take(&self, incoming_message: Incoming, incoming: &SyncSender<Incoming>) {
        let header = incoming_message.message.header;
        match header.flags.get() & flags::TYPE {
            0 => match incoming.try_send(incoming_message) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(_)) => {
                    self.close(
                        &format!("its server sends more than {MAX_INCOMING} requests at once"),
                        false,
                    );
                }
            },
            flags::REPLY => {
                let id = header.id.get();
                let mut state = lock(&self.state);
                match state.replies.get_mut(&id) {
                    Some(slot @ None) => *slot = Some(incoming_message.message),
                    // A process before this one waited for it, or waits no longer.
                    _ => log::debug!("{}: a reply that nobody waits for (id {id})", self.name()),
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
