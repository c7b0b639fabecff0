//! Base address registers: reading and writing a device's registers and memory.

/// A memory BAR. All values are little-endian on the bus; offsets are in bytes.
pub trait Bar {
    /// Size in bytes.
    fn len(&self) -> u64;

    /// Bus address at which *other* devices reach offset 0 (peer to peer). Behind an IOMMU this is the address it was
    /// mapped at, not the physical one.
    fn bus(&self) -> u64;

    /// Reads 32 bits; `offset` is a multiple of 4. A device that is gone reads as all ones.
    ///
    /// # Errors
    /// If the offset is not in the BAR, or the backend fails.
    fn read32(&self, offset: u64) -> Result<u32, BarError>;

    /// Writes 32 bits, after every write to memory that the device can reach made before by this thread.
    ///
    /// # Errors
    /// If the offset is not in the BAR, or the backend fails.
    fn write32(&self, offset: u64, value: u32) -> Result<(), BarError>;

    /// Reads 64 bits as two halves, the lower first (allowed for every NVMe property, NVMe Base 2.1, section 3.1.4).
    ///
    /// # Errors
    /// As [`Bar::read32`].
    fn read64(&self, offset: u64) -> Result<u64, BarError> {
        let low = self.read32(offset)?;
        Ok(u64::from(self.read32(offset + 4)?) << 32 | u64::from(low))
    }

    /// Writes 64 bits as two halves, the lower first.
    ///
    /// # Errors
    /// As [`Bar::write32`].
    fn write64(&self, offset: u64, value: u64) -> Result<(), BarError> {
        self.write32(offset, value as u32)?;
        self.write32(offset + 4, (value >> 32) as u32)
    }

    /// Reads bytes from memory behind the BAR. Offset and length are multiples of 4.
    ///
    /// # Errors
    /// As [`Bar::read32`].
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BarError> {
        self.check(offset, into.len() as u64)?;
        for (word, at) in into.chunks_exact_mut(4).zip((offset..).step_by(4)) {
            word.copy_from_slice(&self.read32(at)?.to_le_bytes());
        }
        Ok(())
    }

    /// Writes bytes to memory behind the BAR. Offset and length are multiples of 4.
    ///
    /// # Errors
    /// As [`Bar::write32`].
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BarError> {
        self.check(offset, from.len() as u64)?;
        for (word, at) in from.chunks_exact(4).zip((offset..).step_by(4)) {
            self.write32(at, u32::from_le_bytes([word[0], word[1], word[2], word[3]]))?;
        }
        Ok(())
    }

    /// Checks that an access of `len` bytes at `offset` is aligned to 4 and inside the BAR.
    ///
    /// # Errors
    /// [`BarError::Misaligned`] or [`BarError::OutOfRange`].
    fn check(&self, offset: u64, len: u64) -> Result<(), BarError> {
        if !offset.is_multiple_of(4) || !len.is_multiple_of(4) {
            return Err(BarError::Misaligned { offset, len });
        }
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(BarError::OutOfRange {
                offset,
                len,
                bar: self.len(),
            }),
        }
    }

    /// A BAR is never empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a device that has been pulled out or lost its link reads as. Only a register that can never hold all ones
/// tells: a caller names one.
#[must_use]
pub const fn all_ones32(value: u32) -> bool {
    value == u32::MAX
}

/// As [`all_ones32`], for 64 bits.
#[must_use]
pub const fn all_ones64(value: u64) -> bool {
    value == u64::MAX
}

/// An access to a BAR that could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BarError {
    /// The device has no such memory BAR.
    #[error(
        "{device}: BAR{index} wanted, but the device has no such memory BAR; is this the right device?"
    )]
    Absent {
        /// The device's name.
        device: String,
        /// Asked for.
        index: u8,
    },
    /// Outside the BAR.
    #[error("access of {len} bytes at {offset:#x} does not fit in a BAR of {bar:#x} bytes")]
    OutOfRange {
        /// Asked for.
        offset: u64,
        /// Asked for.
        len: u64,
        /// What there is.
        bar: u64,
    },
    /// Not a multiple of 4.
    #[error("access of {len} bytes at {offset:#x}: both must be multiples of 4")]
    Misaligned {
        /// Asked for.
        offset: u64,
        /// Asked for.
        len: u64,
    },
    /// The backend failed.
    #[error("access at {offset:#x} failed: {reason}")]
    Backend {
        /// Asked for.
        offset: u64,
        /// What the backend said, and what to do.
        reason: String,
    },
}
