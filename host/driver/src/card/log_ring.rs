//! The cores' log rings in packet memory: two counts (bytes ever written, bytes ever read), then the bytes.

use sluice_device::Device;
use sluice_wire::mgmt::log_ring;

use super::{Card, CardError};

impl<D: Device> Card<D> {
    /// Takes what core `core` has logged since the last time, as the firmware wrote it: rzCOBS frames of `defmt`, cut anywhere.
    /// A ring whose counts make no sense gives nothing.
    ///
    /// # Errors
    /// [`CardError`] if packet memory cannot be reached.
    pub fn take_log(&self, core: u32) -> Result<Vec<u8>, CardError> {
        let bar = self.device.bar(2)?;
        let ring = u64::from(log_ring::BASE) + u64::from(log_ring::SIZE) * u64::from(core);
        let (written, read) = (bar.read32(ring)?, bar.read32(ring + 4)?);
        let mut left = written.wrapping_sub(read);
        if left == 0 || left > log_ring::DATA {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::with_capacity(left as usize);
        let mut at = read % log_ring::DATA;
        while left > 0 {
            // Packet memory is read in words; what lies around the piece is cut off.
            let n = left.min(log_ring::DATA - at);
            let (from, skip) = (at & !3, (at & 3) as usize);
            let mut piece = vec![0; (skip + n as usize).next_multiple_of(4)];
            bar.read(ring + 8 + u64::from(from), &mut piece)?;
            bytes.extend_from_slice(&piece[skip..skip + n as usize]);
            at = (at + n) % log_ring::DATA;
            left -= n;
        }
        bar.write32(ring + 4, written)?;
        Ok(bytes)
    }
}
