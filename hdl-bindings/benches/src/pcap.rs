//! Frames out of a capture file, for the engines to look at.

use std::path::Path;

/// The frames of a classic pcap file of this machine's byte order, in order.
///
/// # Panics
/// If it cannot be read or is no such file.
#[must_use]
pub fn read(path: &Path) -> Vec<Vec<u8>> {
    let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes"));
    assert!(
        [0xa1b2_c3d4, 0xa1b2_3c4d].contains(&word(0)) && word(20) == 1,
        "{}: no Ethernet capture",
        path.display()
    );
    let mut frames = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let (stored, len) = (word(at + 8), word(at + 12));
        assert_eq!(stored, len, "{}: a frame was cut", path.display());
        frames.push(file[at + 16..][..len as usize].to_vec());
        at += 16 + len as usize;
    }
    frames
}
