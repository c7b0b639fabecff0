//! What the factory wrote: serial number and MAC address. A sector that nothing on the card ever writes.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use crate::flash::{self, Flash, FlashError};
use crate::layout::FACTORY;

/// First word: "SLFD".
pub const MAGIC: u32 = u32::from_le_bytes(*b"SLFD");
/// The format described here.
pub const FORMAT: u16 = 1;

/// Factory data as they lie in the flash.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct FactoryData {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`FORMAT`].
    pub format: U16,
    /// Revision of the board.
    pub revision: U16,
    /// First MAC address of the card.
    pub mac: [u8; 6],
    /// MAC addresses that are the card's, counted from the first.
    pub mac_count: U16,
    /// Serial number, printable ASCII, zero padded.
    pub serial: [u8; 20],
    /// Zero.
    pub reserved: [u8; 24],
    /// CRC32C of what is before it.
    pub crc: U32,
}
const _: () = assert!(size_of::<FactoryData>() == 64);

impl FactoryData {
    /// The checksum that it should have.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        crate::crc32c(&self.as_bytes()[..60])
    }

    /// Reads them; `None` if there are none, or they are damaged.
    ///
    /// # Errors
    /// [`FlashError::Failed`].
    pub fn read<F: Flash>(flash: &mut F) -> Result<Option<Self>, FlashError> {
        let mut bytes = [0; 64];
        flash::read(flash, FACTORY, &mut bytes)?;
        let data: Self = zerocopy::transmute!(bytes);
        let whole = data.magic.get() == MAGIC
            && data.format.get() == FORMAT
            && data.crc.get() == data.checksum();
        Ok(whole.then_some(data))
    }
}
