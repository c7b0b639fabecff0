//! The firmware's ELF file as the flat image that the host driver loads.

use std::path::{Path, PathBuf};

use object::{Object, ObjectSegment};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// None was given.
    #[error(
        "the Verilated card needs the firmware's ELF file (--firmware, or SLUICE_FIRMWARE): `cargo xtask` builds it"
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

/// Bytes of the cores' memory from address 0 on, up to the last byte that the file initialises.
///
/// # Errors
/// [`FirmwareError`].
pub fn image(elf: &Path) -> Result<Vec<u8>, FirmwareError> {
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
