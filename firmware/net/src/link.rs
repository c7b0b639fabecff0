//! What the stack needs from below.

use sluice_hal::{BufId, Busy, PmAddr, PmSlice, RawChecksum, TcpJob};

/// Packet memory, the tx engine and the buffer pool, as the stack sees them. The application implements it over its
/// HAL, tests over plain memory. Every call returns at once.
pub trait Link {
    /// Copies from packet memory. Only off the fast path: options, SYN, ARP, neighbour discovery, IPv6 addresses.
    fn read(&mut self, at: PmAddr, into: &mut [u8]);
    /// Copies into packet memory: header templates.
    fn write(&mut self, at: PmAddr, from: &[u8]);
    /// Sends a train of segments.
    ///
    /// # Errors
    /// [`Busy`]: nothing was taken; the stack tries again at the next [`crate::Tcp::poll_transmit`].
    fn send(&mut self, job: &TcpJob) -> Result<(), Busy>;
    /// Sends one frame: `header` (at most 128 bytes, copied before the call returns) and `rest` behind it, which may be
    /// empty. `l3` and `l4` are the offsets of those headers; lengths are filled in, checksums are wanted as `sum` says.
    ///
    /// # Errors
    /// [`Busy`]: nothing was taken.
    fn send_raw(
        &mut self,
        header: &[u8],
        rest: PmSlice,
        l3: u8,
        l4: u8,
        sum: RawChecksum,
    ) -> Result<(), Busy>;
    /// Gives a frame buffer back. The stack will not look at it again; if jobs that the application posted may still
    /// read it, the link waits for them before it passes the buffer on.
    fn free(&mut self, buf: BufId);
    /// 32 random bits.
    fn random(&mut self) -> u32;
}
