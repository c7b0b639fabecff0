//! What configuration space says of a function, decoded by `pci-driver` from a copy of it.

use std::io;

use pci_driver::config::PciConfig;
use pci_driver::config::caps::{Capability, MsiXCapability, PciExpressCapability};
use pci_driver::regions::{AsPciSubregion, BackedByPciSubregion, PciMemoryRegion, PciRegion};

/// Bytes of PCI Express configuration space.
pub const SIZE: usize = 4096;
/// Extended capability: device serial number (PCIe Base 6.0, section 7.9.3).
const SERIAL_NUMBER: u16 = 0x0003;

/// What configuration space says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Vendor number.
    pub vendor: u16,
    /// Device number.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code.
    pub class: u32,
    /// Function Level Reset is possible.
    pub flr: bool,
    /// MSI-X vectors.
    pub vectors: u16,
    /// The link, if it is a PCI Express function.
    pub link: Option<Link>,
    /// Device serial number (EUI-64), if it has one.
    pub serial: Option<u64>,
}

/// A PCI Express link as it runs and as it could.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Generation: 1 for 2.5 GT/s, 2 for 5, 3 for 8, 4 for 16, 5 for 32, 6 for 64.
    pub generation: u8,
    /// Lanes.
    pub width: u8,
    /// Highest generation of the function.
    pub max_generation: u8,
    /// Most lanes of the function.
    pub max_width: u8,
}

/// Configuration space whose words lie where a processor can read them.
#[repr(align(8))]
struct Aligned([u8; SIZE]);

impl Identity {
    /// Decodes a copy of configuration space, 256 or 4,096 bytes.
    ///
    /// # Errors
    /// If the capabilities go in circles or leave the space.
    pub fn decode(space: &[u8]) -> io::Result<Self> {
        if space.len() < 256 {
            let text = format!(
                "256 bytes of configuration space wanted, {} came",
                space.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        // The crate reads words where they lie, and asks nothing of where the bytes begin.
        let mut aligned = Aligned([0; SIZE]);
        let space = &space[..space.len().min(SIZE)];
        aligned.0[..space.len()].copy_from_slice(space);
        let region = PciMemoryRegion::new(&aligned.0[..space.len()]);
        let config = PciConfig::backed_by(&region);
        let mut identity = Self {
            vendor: config.vendor_id().read()?,
            device: config.device_id().read()?,
            revision: config.revision_id().read()?,
            // Not by the crate's fields of it, which have base class and programming interface the wrong way round.
            class: config.read_le_u32(8)? >> 8,
            ..Self::default()
        };
        let caps = config.capabilities()?;
        if let Some(express) = caps.of_type::<PciExpressCapability<'_>>()?.next() {
            let capability = express.device_capabilities();
            identity.flr = capability.function_level_reset_capability().read()?;
            identity.link = Some(link(&express)?);
        }
        if let Some(msix) = caps.of_type::<MsiXCapability<'_>>()?.next() {
            // Table size, less one.
            identity.vectors = (msix.read_le_u16(2)? & 0x7FF) + 1;
        }
        if space.len() >= SIZE {
            for cap in config.extended_capabilities()?.iter() {
                if cap.read_le_u16(0)? == SERIAL_NUMBER {
                    // What is not known to the crate has no more than its header.
                    let at = cap.as_subregion().offset_in_underlying_region();
                    let (low, high) = (region.read_le_u32(at + 4)?, region.read_le_u32(at + 8)?);
                    identity.serial = Some(u64::from(high) << 32 | u64::from(low));
                }
            }
        }
        Ok(identity)
    }
}

/// Link Capabilities and Link Status (PCIe Base 6.0, sections 7.5.3.6 and 7.5.3.8).
fn link<'a>(express: &impl Capability<'a>) -> io::Result<Link> {
    let (able, is) = (express.read_le_u32(0x0C)?, express.read_le_u16(0x12)?);
    Ok(Link {
        generation: (is & 0xF) as u8,
        width: (is >> 4 & 0x3F) as u8,
        max_generation: (able & 0xF) as u8,
        max_width: (able >> 4 & 0x3F) as u8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capabilities at 40h: power management, MSI-X with 32 vectors, PCI Express with FLR, x4 of x8 at generation 3 of 4.
    fn space() -> Vec<u8> {
        let mut space = vec![0; SIZE];
        let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0xF4, 0x1A, 0xF5, 0x10]);
        put(0x06, &[0x10, 0]);
        put(0x08, &[2, 0, 0, 0x12]);
        put(0x34, &[0x40]);
        put(0x40, &[0x01, 0x48, 3, 0]);
        put(0x48, &[0x11, 0x60, 31, 0]);
        put(0x60, &[0x10, 0, 2, 0]);
        put(0x64, &(1u32 << 28).to_le_bytes());
        put(0x6C, &(4u32 | 8 << 4).to_le_bytes());
        put(0x72, &(3u16 | 4 << 4).to_le_bytes());
        // AER, then the serial number.
        put(0x100, &(1u32 | 2 << 16 | 0x148 << 20).to_le_bytes());
        put(0x148, &(3u32 | 1 << 16).to_le_bytes());
        put(0x14C, &0x0000_0001_0253_4C00u64.to_le_bytes());
        space
    }

    #[test]
    fn capabilities_are_found_and_decoded() {
        let link = Link {
            generation: 3,
            width: 4,
            max_generation: 4,
            max_width: 8,
        };
        let want = Identity {
            vendor: 0x1AF4,
            device: 0x10F5,
            revision: 2,
            class: 0x12_0000,
            flr: true,
            vectors: 32,
            link: Some(link),
            serial: Some(0x1_0253_4C00),
        };
        assert_eq!(Identity::decode(&space()).expect("good"), want);
        // A conventional device has no serial number.
        let old = Identity::decode(&space()[..256]).expect("good");
        assert_eq!((old.vectors, old.serial), (32, None));
    }

    #[test]
    fn a_space_may_begin_at_any_byte() {
        let mut bytes = vec![0];
        bytes.extend(space());
        for skip in 0..2 {
            let from = &bytes[1 - skip..];
            let read = Identity::decode(from).map(|identity| identity.vectors);
            // One byte too early it is not this device, but still read.
            assert_eq!(read.ok(), [Some(32), Some(0)][skip], "{skip}");
        }
    }

    #[test]
    fn spaces_that_are_cut_off_gone_or_go_in_circles_are_refused_and_do_not_hang() {
        assert!(Identity::decode(&space()[..255]).is_err());
        let mut circle = space();
        circle[0x61] = 0x40;
        assert!(Identity::decode(&circle).is_err());
        let mut outside = space();
        outside[0x102..0x104].copy_from_slice(&0x0402u16.to_le_bytes());
        assert!(Identity::decode(&outside).is_err());
        let _ = Identity::decode(&[0xFF; SIZE]);
    }
}
