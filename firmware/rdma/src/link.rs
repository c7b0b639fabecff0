//! What the machines need from below.

use sluice_hal::{BufId, Busy, PmAddr, roce::RoceJob};

/// Packet memory, the tx engine and the buffer pool, as the queue pairs see them. The application implements it over its
/// HAL, tests over plain memory. Every call returns at once.
pub trait Link {
    /// Copies from packet memory. Only off the fast path: IPv6 addresses, management datagrams.
    fn read(&mut self, at: PmAddr, into: &mut [u8]);
    /// Copies into packet memory: header templates.
    fn write(&mut self, at: PmAddr, from: &[u8]);
    /// Sends a message or a run of its packets.
    ///
    /// # Errors
    /// [`Busy`]: nothing was taken; the machine tries again at the next [`crate::Rc::poll_transmit`].
    fn send(&mut self, job: &RoceJob) -> Result<(), Busy>;
    /// Gives a frame buffer back. The machine will not look at it again; if jobs that the application posted may still
    /// read it, the link waits for them before it passes the buffer on.
    fn free(&mut self, buf: BufId);
    /// 32 random bits.
    fn random(&mut self) -> u32;
}
