//! An ELF file as the bytes that lie in a core's memory.

use object::{Object, ObjectSegment};

/// Bytes of a core's memory from address 0 on, up to the last byte that the file initialises, in whole words.
///
/// # Errors
/// What is wrong with the file.
pub fn image(elf: &[u8]) -> Result<Vec<u8>, String> {
    let file = object::File::parse(elf).map_err(|e| e.to_string())?;
    let mut image = Vec::new();
    for segment in file.segments() {
        let data = segment.data().map_err(|e| e.to_string())?;
        let at = segment.address() as usize;
        if data.is_empty() {
            continue;
        }
        if at.saturating_add(data.len()) > 1 << 20 {
            return Err(format!("a segment at {at:#x}, outside the cores' memory"));
        }
        image.resize(image.len().max(at + data.len()), 0);
        image[at..at + data.len()].copy_from_slice(data);
    }
    image.resize(image.len().next_multiple_of(4), 0);
    Ok(image)
}
