//! The client: devices behind sockets, as the host driver sees them.
//!
//! A [`Bus`] is what the devices of one machine share: host memory that all of them reach, and an address for every BAR, at
//! which the others reach it. What a device wants of another one's BAR goes through this process: the device's server asks
//! for it, and the request becomes one to the other server. Two threads per device see to that, so that it goes on while
//! the driver does something else or nothing.
//!
//! A bus that is [kept](Bus::kept_by) outlives the process: another one [takes it over](Bus::adopt) with all its devices, which
//! notice nothing.
//!
//! A server that dies is a device that was pulled: reads give all ones, writes vanish, and [`VfioUserDevice::lost`] says why.

mod bus;
mod connection;
mod device;
mod journal;
pub mod kept;
mod shared;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use bus::{Bus, SharedKeeper};
pub use device::{Left, VfioUserDevice};

use crate::version::VersionError;

/// How a device is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time in which every request must be answered. A server that takes longer is taken for dead.
    pub timeout: Duration,
    /// Time in which somebody must listen on the socket: a server that is just being started.
    pub patience: Duration,
    /// Reset it first.
    pub reset: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(5),
            reset: true,
        }
    }
}

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody listens.
    #[error("cannot connect to {}: {error}; is the device's server running, and is this its socket?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The server speaks another language.
    #[error("{}: {error}", path.display())]
    Version {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        error: VersionError,
    },
    /// It is no PCI device, or one that makes no sense.
    #[error("{}: {reason}", path.display())]
    Device {
        /// The socket.
        path: PathBuf,
        /// What was wanted and what came.
        reason: String,
    },
    /// A request failed.
    #[error("{}: {error}", path.display())]
    Request {
        /// The socket.
        path: PathBuf,
        /// Which and why.
        error: RequestError,
    },
    /// No addresses left.
    #[error("{}: no room for a BAR of {size:#x} bytes below 4 GiB", path.display())]
    Addresses {
        /// The socket.
        path: PathBuf,
        /// Bytes of the BAR.
        size: u64,
    },
    /// The system's.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The reason.
        error: io::Error,
    },
}

/// A request to the server came to nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// The server refused it.
    #[error("{what} was refused: {}", io::Error::from_raw_os_error(*errno as i32))]
    Refused {
        /// The request.
        what: &'static str,
        /// The errno of the reply; 0 if it has none.
        errno: u32,
    },
    /// The reply makes no sense.
    #[error("{what}: {reason}")]
    Reply {
        /// The request.
        what: &'static str,
        /// What was wanted and what came.
        reason: String,
    },
    /// The device is gone.
    #[error("the device is gone: {0}")]
    Gone(String),
}
