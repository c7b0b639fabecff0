//! The firmware's ELF files as the flat images that the host driver loads.

use std::path::{Path, PathBuf};

use sluice_driver::card::{self, flat};

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

    /// The control core's and that of the data cores.
    #[must_use]
    pub fn bytes(&self) -> (&[u8], &[u8]) {
        (&self.control, &self.data)
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

/// Where the boot program lies in the control core's memory (`firmware/image/boot.x`).
const BOOT_PROGRAM: usize = 0x7_0000;

/// The boot program's ROM, from the ELF file in `folder`.
///
/// # Errors
/// [`FirmwareError`].
pub fn rom(folder: &Path) -> Result<Vec<u32>, FirmwareError> {
    let path = folder.join("sluice-boot");
    let memory = image(&path)?;
    let Some(program) = memory.get(BOOT_PROGRAM..) else {
        return Err(FirmwareError::Unreadable {
            path,
            reason: "it is linked to another place than the boot program's".into(),
        });
    };
    let words = program.chunks_exact(4);
    Ok(words
        .map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
        .collect())
}

fn image(elf: &Path) -> Result<Vec<u8>, FirmwareError> {
    let unreadable = |reason: String| FirmwareError::Unreadable {
        path: elf.into(),
        reason,
    };
    let bytes = std::fs::read(elf).map_err(|e| unreadable(e.to_string()))?;
    flat::image(&bytes).map_err(unreadable)
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
