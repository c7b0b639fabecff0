//! Interrupts by MSI-X vector.

use std::time::Duration;

/// A device's MSI-X vectors.
pub trait Irq {
    /// Vectors the device has.
    fn vectors(&self) -> u16;

    /// Arms vectors 0 to `count - 1`; any set before are dropped. 0 disarms all.
    ///
    /// # Errors
    /// [`IrqError`] if the device has fewer, or the backend fails.
    fn enable(&self, count: u16) -> Result<(), IrqError>;

    /// Waits until `vector` has fired since the last wait on it, or for `timeout`. True if it fired; several firings
    /// count as one.
    ///
    /// # Errors
    /// [`IrqError`] if the vector is not armed, or the backend fails.
    fn wait(&self, vector: u16, timeout: Duration) -> Result<bool, IrqError>;
}

/// Interrupts could not be set up or waited for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IrqError {
    /// The device has fewer.
    #[error("{want} MSI-X vectors wanted, but the device has {have}")]
    TooFew {
        /// Asked for.
        want: u16,
        /// What there is.
        have: u16,
    },
    /// Waiting for a vector that nothing would fire.
    #[error("MSI-X vector {vector} is not armed ({armed} are): enable it first")]
    NotArmed {
        /// Asked for.
        vector: u16,
        /// Armed vectors.
        armed: u16,
    },
    /// The backend failed.
    #[error("MSI-X: {reason}")]
    Backend {
        /// What the backend said, and what to do.
        reason: String,
    },
}
