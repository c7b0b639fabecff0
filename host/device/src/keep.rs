//! What must outlive the process for a device to go on: closing the last descriptor of a VFIO device resets it.

use std::io;
use std::os::fd::BorrowedFd;

/// Keeps descriptors for a later process: systemd's descriptor store, or anything else that is told before they are used.
/// Names are of letters, digits, `-`, `_` and `.`, at most 120 of them, and say all that there is to know of a descriptor.
pub trait Keeper {
    /// Keeps a duplicate of `fd` under `name`. When this returns the descriptor survives the process.
    ///
    /// # Errors
    /// If it could not be handed over; the device can be used, but will not survive.
    fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// `name` need not be kept any longer.
    fn forget(&self, name: &str);
}
