//! The card's firmware in its flash: package format, slots, what boots, and how it is replaced.
//!
//! | file | what it is |
//! |---|---|
//! | `layout` | where things lie in the flash |
//! | `flash` | what is needed of a flash chip |
//! | `fuses` | what the card knows that its flash cannot change |
//! | `image` | header of a firmware package, bounded and checked |
//! | `keys` | signing keys, their certificates, the two key slots |
//! | `check` | is the package in a slot good? In steps, for those who may not wait |
//! | `journal` | boot state in two sectors, whole after a power cut at any moment |
//! | `spi` | driver of a serial flash chip |
//! | `start` | which slot is started: for the boot ROM |
//! | `update` | replacing firmware: for the firmware that runs |
//! | `factory` | serial number and MAC address |
//! | `pack` | the making of all this, for tools (feature `pack`) |
//!
//! Every byte that comes from the flash or from a host is untrusted until its bounds, its signature and its digest were
//! checked, in this order. Nothing here allocates, and nothing here knows registers or mailboxes. Not there: compressed or
//! encrypted packages, more than two slots, replacing the root key. Decision 008 has the reasons.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "pack")]
extern crate alloc;

pub mod check;
pub mod factory;
pub mod flash;
pub mod fuses;
pub mod image;
pub mod journal;
pub mod keys;
pub mod layout;
#[cfg(feature = "pack")]
pub mod pack;
pub mod spi;
pub mod start;
pub mod update;

use crc::{CRC_32_ISCSI, Crc, Table};

pub use check::Refusal;
pub use flash::Flash;
pub use fuses::Fuses;
pub use image::{Header, ImageKind, Package, Version};
pub use layout::Slot;

/// CRC32C of a record. The table has 1 KiB: that of `sluice_wire`, which is faster, has 16, a quarter of the boot program's ROM.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);
    CRC.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn rfc_3720_vectors_hold() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
