//! Puts the firmware into the cores' memories while the cores are held.

use std::fmt;

use sluice_device::Device;
use sluice_regs::bar0_regs as bar0;

use super::CardError;

/// The firmware of a card: flat images, each a core's memory from address 0 on. Both have to be of one build, since the
/// cores talk to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Firmware<'a> {
    /// For the control core.
    pub control: &'a [u8],
    /// For every data core.
    pub data: &'a [u8],
}

/// Which of the firmware's images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageKind {
    /// The control core's.
    Control,
    /// That of the data cores.
    Data,
}

impl ImageKind {
    /// The cores that run it, as in `LOAD_CORES`. The control core is core 0; cores that do not exist do no harm.
    fn cores(self) -> u32 {
        match self {
            Self::Control => 1,
            Self::Data => !1,
        }
    }
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control core",
            Self::Data => "data cores",
        })
    }
}

/// Loads every image into its cores; nothing at all if one of them does not fit.
pub(super) fn load<D: Device>(device: &D, firmware: Firmware<'_>) -> Result<(), CardError> {
    let max = device.bar(0)?.read32(bar0::TCM_SIZE_OFFSET.into())? as usize;
    let images = [
        (ImageKind::Control, firmware.control),
        (ImageKind::Data, firmware.data),
    ];
    for (kind, image) in images {
        if image.is_empty() || image.len() > max {
            return Err(CardError::ImageSize {
                name: device.name().into(),
                kind,
                got: image.len(),
                max,
            });
        }
    }
    images
        .into_iter()
        .try_for_each(|(kind, image)| load_image(device, kind, image))
}

/// Writes an image word by word; the address advances by itself.
fn load_image<D: Device>(device: &D, kind: ImageKind, image: &[u8]) -> Result<(), CardError> {
    let bar = device.bar(0)?;
    bar.write32(bar0::LOAD_CORES_OFFSET.into(), kind.cores())?;
    bar.write32(bar0::LOAD_ADDR_OFFSET.into(), 0)?;
    for chunk in image.chunks(4) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        bar.write32(bar0::LOAD_DATA_OFFSET.into(), u32::from_le_bytes(word))?;
    }
    let want = image.len().next_multiple_of(4);
    let got = bar.read32(bar0::LOAD_ADDR_OFFSET.into())? as usize;
    // The address register has 20 bits, the memory may fill them.
    if got != want & 0xF_FFFF {
        return Err(CardError::Load {
            name: device.name().into(),
            kind,
            want,
            got,
        });
    }
    Ok(())
}
