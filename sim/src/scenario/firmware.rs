//! The firmware's ELF files as the flat images that the host driver loads.

use std::path::{Path, PathBuf};

use object::{Object, ObjectSegment};
use sluice_driver::card;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// None was given.
    #[error(
        "the Verilated card needs the folder with the firmware's ELF files (--firmware, or SLUICE_FIRMWARE): `cargo xtask` builds them"
    )]
    Missing,
    /// It cannot be read.
    #[error("firmware {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// The ELF file of what core `core` runs, in the folder that `cargo xtask` builds the firmware into.
#[must_use]
pub fn elf(folder: &Path, core: u32) -> PathBuf {
    folder.join(match core {
        0 => "sluice-control",
        _ => "sluice-data",
    })
}

/// The flat images.
#[derive(Clone, Debug)]
pub struct Images {
    control: Vec<u8>,
    data: Vec<u8>,
}

impl Images {
    /// Reads the ELF files in `folder`.
    ///
    /// # Errors
    /// [`FirmwareError`].
    pub fn read(folder: &Path) -> Result<Self, FirmwareError> {
        Ok(Self {
            control: image(&elf(folder, 0))?,
            data: image(&elf(folder, 1))?,
        })
    }

    /// As the host driver takes them.
    #[must_use]
    pub fn as_firmware(&self) -> card::Firmware<'_> {
        card::Firmware {
            control: &self.control,
            data: &self.data,
        }
    }
}

/// Bytes of a core's memory from address 0 on, up to the last byte that the file initialises.
fn image(elf: &Path) -> Result<Vec<u8>, FirmwareError> {
    let unreadable = |reason: String| FirmwareError::Unreadable {
        path: elf.into(),
        reason,
    };
    let bytes = std::fs::read(elf).map_err(|e| unreadable(e.to_string()))?;
    let file = object::File::parse(&*bytes).map_err(|e| unreadable(e.to_string()))?;
    let mut image = Vec::new();
    for segment in file.segments() {
        let data = segment.data().map_err(|e| unreadable(e.to_string()))?;
        let at = segment.address() as usize;
        if data.is_empty() {
            continue;
        }
        if at + data.len() > 1 << 20 {
            return Err(unreadable(format!(
                "a segment at {at:#x}, outside the cores' memory"
            )));
        }
        image.resize(image.len().max(at + data.len()), 0);
        image[at..at + data.len()].copy_from_slice(data);
    }
    image.resize(image.len().next_multiple_of(4), 0);
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_file_is_named() {
        let folder = Path::new("/nowhere");
        let error = Images::read(folder).expect_err("no such folder");
        let text = error.to_string();
        assert!(
            text.starts_with("firmware /nowhere/sluice-control: "),
            "{text}"
        );
    }
}
