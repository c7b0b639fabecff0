//! Host memory that a device reads and writes by itself.

/// A source of such memory.
pub trait Dma {
    /// Gives `len` bytes (more than 0) of zeroed memory, contiguous for the device, at a bus address that is a multiple
    /// of `align` (a power of two). Given back when the buffer is dropped.
    ///
    /// # Errors
    /// [`DmaError`] if there is none, or the request makes no sense.
    fn alloc(&self, len: usize, align: usize) -> Result<Box<dyn DmaBuffer>, DmaError>;

    /// Takes up a buffer of `len` bytes that an earlier owner was given at this bus address and never gave back, contents
    /// and all: for a driver that takes over a running device. Until it is taken up its memory may not be given to anyone
    /// else only if the backend was told so (`sluice-vfio`'s adoption does); so take up before you allocate.
    ///
    /// # Errors
    /// [`DmaError::NotKept`] if there is no such memory, or it was taken up already, or this backend keeps none.
    fn reclaim(&self, bus: u64, len: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        Err(DmaError::NotKept { bus, len })
    }
}

/// Memory shared with a device. Every access is made once, as written, since the device may change the bytes at any
/// time; nothing may be concluded from reading the same byte twice.
pub trait DmaBuffer {
    /// Bus address of the first byte.
    fn bus(&self) -> u64;

    /// Length in bytes.
    fn len(&self) -> usize;

    /// Copies out.
    ///
    /// # Errors
    /// [`DmaError::OutOfRange`].
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError>;

    /// Copies in.
    ///
    /// # Errors
    /// [`DmaError::OutOfRange`].
    fn write(&self, offset: usize, from: &[u8]) -> Result<(), DmaError>;

    /// Reads one aligned little-endian word in one access; reads that follow see at least what the device had written
    /// before it wrote that word (acquire ordering).
    ///
    /// # Errors
    /// [`DmaError::OutOfRange`].
    fn read32(&self, offset: usize) -> Result<u32, DmaError>;

    /// Buffers are never empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that `len` bytes at `offset` are in the buffer.
    ///
    /// # Errors
    /// [`DmaError::OutOfRange`].
    fn check(&self, offset: usize, len: usize) -> Result<(), DmaError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(DmaError::OutOfRange {
                offset,
                len,
                buffer: self.len(),
            }),
        }
    }
}

/// Memory could not be had or reached.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DmaError {
    /// Outside the buffer.
    #[error("{len} bytes at {offset:#x} do not fit in a buffer of {buffer:#x} bytes")]
    OutOfRange {
        /// Asked for.
        offset: usize,
        /// Asked for.
        len: usize,
        /// What there is.
        buffer: usize,
    },
    /// Not a length and alignment that make sense.
    #[error(
        "cannot allocate {len} bytes aligned to {align}: the length must be above 0, the alignment a power of two"
    )]
    BadRequest {
        /// Asked for.
        len: usize,
        /// Asked for.
        align: usize,
    },
    /// Memory of an earlier owner that is not there.
    #[error(
        "no {len} bytes of an earlier process at bus address {bus:#x}; the device must be reset"
    )]
    NotKept {
        /// Asked for.
        bus: u64,
        /// Asked for.
        len: usize,
    },
    /// Nothing left.
    #[error("no {len} bytes of device-visible memory left: {reason}")]
    Exhausted {
        /// Asked for.
        len: usize,
        /// What the backend said, and what to do (raise the locked-memory limit, for one).
        reason: String,
    },
}
