//! The socket of a function: one client after the other, and the messages of each.
//! Source: vfio-user protocol specification.
//!
//! A message that makes no sense gets an error as its answer, and a line in the log. What cannot be gone on from (a size
//! that no message has, a first message that is no VERSION) ends the connection; the next client finds the function as the
//! last one left it, without memory and interrupts.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_vfio_user::frame::{FrameError, Receiver, Sender};

use crate::Function;
use crate::engine::Engine;

/// Messages taken between two looks at the function.
const BATCH: usize = 64;
/// Longest sleep.
const NAP: Duration = Duration::from_millis(100);
/// In this time a client must have said VERSION, and have finished a message that it began.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody else listens there.
    #[error("{}: another program listens on this socket; stop it, or choose another path", .0.display())]
    Taken(PathBuf),
    /// The system's.
    #[error("cannot listen on {}: {error}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// What the function is joined to has failed.
    #[error("the function failed: {0}")]
    Function(#[from] io::Error),
}

/// A server. Dropping it removes the socket.
pub struct Server<F> {
    engine: Engine<F>,
    name: String,
    listener: UnixListener,
    path: PathBuf,
    client: Option<Client>,
}

struct Client {
    socket: UnixStream,
    receiver: Receiver,
    sender: Sender,
    /// Since when it owes us the rest of something.
    owes_since: Option<Instant>,
}

impl<F: Function> Server<F> {
    /// Listens on `path`. A socket that an earlier run left behind is replaced, another kind of file is not.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn listen(path: &Path, function: F) -> Result<Self, ServerError> {
        use std::os::unix::fs::FileTypeExt;
        let failed = |error| ServerError::Listen {
            path: path.into(),
            error,
        };
        if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                return Err(ServerError::Taken(path.into()));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            name: function.profile().name.clone(),
            engine: Engine::new(function),
            listener,
            path: path.into(),
            client: None,
        })
    }

    /// What is behind the messages.
    pub fn engine(&mut self) -> &mut Engine<F> {
        &mut self.engine
    }

    /// Serves until `stop` is set.
    ///
    /// # Errors
    /// [`ServerError::Function`]. No client causes one.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), ServerError> {
        while !stop.load(Ordering::Relaxed) {
            self.step()?;
        }
        Ok(())
    }

    /// One round, and a sleep of up to 100 ms if there was nothing to do.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn step(&mut self) -> Result<(), ServerError> {
        if self.turn()? {
            return Ok(());
        }
        self.sleep()
    }

    /// One round; false if there was nothing to do.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn turn(&mut self) -> Result<bool, ServerError> {
        self.find_client();
        let took = self.take_messages();
        let idle = self.engine.is_idle();
        if took > 0 || !idle {
            for _ in 0..4 {
                self.engine.turn()?;
            }
        } else {
            // Deadlines, and what the cable brings.
            self.engine.turn()?;
        }
        self.send();
        Ok(took > 0 || !self.engine.is_idle())
    }

    fn sleep(&mut self) -> Result<(), ServerError> {
        let pending = self
            .client
            .as_ref()
            .is_some_and(|client| client.sender.is_pending());
        let nap = if pending {
            Duration::from_millis(1)
        } else {
            NAP
        };
        let fd = match &self.client {
            Some(client) => client.socket.as_fd(),
            None => self.listener.as_fd(),
        };
        let (fds, function) = ([fd], self.engine.function());
        Ok(function.wait(&fds, nap)?)
    }

    fn find_client(&mut self) {
        if self.client.is_some() {
            return;
        }
        match self.listener.accept() {
            Ok((socket, _)) => {
                log::info!("{}: a client has connected", self.name);
                self.client = Some(Client {
                    socket,
                    receiver: Receiver::default(),
                    sender: Sender::default(),
                    owes_since: Some(Instant::now()),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => log::warn!("{}: cannot accept a client: {error}", self.name),
        }
    }

    fn take_messages(&mut self) -> usize {
        let mut took = 0;
        while took < BATCH && self.engine.has_room() {
            let Some(client) = &mut self.client else {
                break;
            };
            match client.receiver.poll(&client.socket) {
                Ok(Some(message)) => {
                    took += 1;
                    client.owes_since = None;
                    if let Err(why) = self.engine.take(message) {
                        self.send();
                        self.lose_client(&why);
                    }
                }
                Ok(None) => {
                    self.watch_debts();
                    break;
                }
                Err(FrameError::Closed) => self.lose_client("it closed the connection"),
                Err(error) => self.lose_client(&error.to_string()),
            }
        }
        took
    }

    fn watch_debts(&mut self) {
        let Some(client) = &mut self.client else {
            return;
        };
        if self.engine.is_attached() && !client.receiver.is_partial() {
            client.owes_since = None;
            return;
        }
        let since = *client.owes_since.get_or_insert_with(Instant::now);
        if since.elapsed() > CLIENT_PATIENCE {
            self.lose_client(&format!(
                "it owes the rest of a message for {} s",
                CLIENT_PATIENCE.as_secs()
            ));
        }
    }

    fn lose_client(&mut self, why: &str) {
        if self.client.take().is_some() {
            log::info!("{}: the client is gone: {why}", self.name);
            self.engine.detach();
        }
    }

    fn send(&mut self) {
        let Some(client) = &mut self.client else {
            self.engine.out.clear();
            return;
        };
        for (message, fds) in self.engine.out.drain(..) {
            client.sender.push(message, fds);
        }
        if let Err(error) = client.sender.flush(&client.socket) {
            self.lose_client(&error.to_string());
        }
    }
}

impl<F> Drop for Server<F> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
