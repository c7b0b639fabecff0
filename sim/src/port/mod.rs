//! Live Ethernet ports: the card's wire joined to something outside the simulation. Frames are without FCS.
//!
//! A port never blocks in [`LivePort::receive`] or [`LivePort::send`]; it drops what does not fit, as a wire does, and
//! counts it. [`LivePort::wait`] is where an idle simulation sleeps.

mod lossy;
mod recorded;
mod replay;
mod socket;
mod tap;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use lossy::LossyPort;
pub use recorded::RecordedPort;
pub use replay::ReplayPort;
pub use socket::SocketPort;
pub use tap::TapPort;

/// Longest frame taken or sent: jumbo payload of 9,000 with header and two VLAN tags, and room to be wrong in.
pub const MAX_FRAME: usize = 10 * 1024;

/// What passed a port since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
    /// Frames towards the card.
    pub received: u64,
    /// Frames from the card.
    pub sent: u64,
    /// Frames from the card that found no peer or no room.
    pub dropped: u64,
    /// Frames or streams from the peer that made no sense.
    pub garbage: u64,
}

/// The outside end of the card's Ethernet port.
pub trait LivePort: Send {
    /// Appends the frames that are there, at most `most`, and returns without waiting. An error is final.
    fn receive(&mut self, frames: &mut Vec<Vec<u8>>, most: usize) -> io::Result<()>;

    /// Takes a frame from the card. It may only leave at the next [`LivePort::flush`].
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Pushes out what `send` took, without waiting: call it once per batch, and again and again while nothing is sent, since
    /// the peer may not take all at once.
    fn flush(&mut self) -> io::Result<()>;

    /// Sleeps until a frame is there, more can be pushed out, or for `timeout`.
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;

    /// Adds what becomes ready when `wait` would end, for those who wait for other things as well; true if it would end at
    /// once. A port that adds nothing has to be looked at now and then.
    fn watch<'a>(&'a self, _fds: &mut Vec<PollFd<'a>>) -> bool {
        false
    }

    /// Whether there is (or always is) a peer.
    fn connected(&self) -> bool;

    /// Counters.
    fn stats(&self) -> PortStats;

    /// For messages to people, such as `tap:sluice0`.
    fn describe(&self) -> String;
}

/// Opens what a person named: `tap:NAME`, `socket:PATH` (we listen, QEMU connects), `connect:PATH` (QEMU listens) or
/// `replay:FILE`.
pub fn open(name: &str) -> Result<Box<dyn LivePort>, OpenError> {
    let (kind, rest) = name.split_once(':').ok_or_else(|| OpenError::Kind {
        name: name.to_string(),
    })?;
    let failed = |error| OpenError::Io {
        name: name.to_string(),
        error,
    };
    Ok(match kind {
        "tap" => Box::new(TapPort::open(rest).map_err(failed)?),
        "socket" => Box::new(SocketPort::listen(rest.as_ref()).map_err(failed)?),
        "connect" => Box::new(SocketPort::connect(rest.as_ref())),
        "replay" => Box::new(ReplayPort::open(rest.as_ref()).map_err(failed)?),
        _ => {
            return Err(OpenError::Kind {
                name: name.to_string(),
            });
        }
    })
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No such kind of port.
    #[error("wanted tap:NAME, socket:PATH, connect:PATH or replay:FILE as port, got `{name}`")]
    Kind {
        /// What was given.
        name: String,
    },
    /// The system refused.
    #[error("cannot open the port {name}: {error}")]
    Io {
        /// What was given.
        name: String,
        /// The reason.
        error: io::Error,
    },
}

/// Sleeps until one of `fds` is readable or for `timeout`.
fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<()> {
    wait_for(fds, PollFlags::IN, timeout)
}

/// Sleeps until one of `fds` is ready for what `flags` say or for `timeout`.
fn wait_for(fds: &[BorrowedFd<'_>], flags: PollFlags, timeout: Duration) -> io::Result<()> {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, flags))
        .collect();
    wait_any(&mut fds, timeout)
}

/// Sleeps until one of `fds` is ready or for `timeout`.
pub(crate) fn wait_any(fds: &mut [PollFd<'_>], timeout: Duration) -> io::Result<()> {
    let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a call would have had to wait.
fn would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_does_not_exist_is_refused_with_the_choices() {
        for name in ["eth0", "pipe:x", ""] {
            let said = open(name).err().expect("no such port").to_string();
            assert!(said.contains("tap:NAME") && said.contains(name), "{said}");
        }
        let said = open("replay:no/such/file")
            .err()
            .expect("no such file")
            .to_string();
        assert!(said.contains("no/such/file"), "{said}");
    }
}
