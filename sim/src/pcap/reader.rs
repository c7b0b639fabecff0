//! Reads classic pcap files of Ethernet frames, either byte order, microseconds or nanoseconds.

use std::{io, path::Path};

use super::{ETHERNET, FILE_HEADER, MAGIC_MICROS, MAGIC_NANOS, PACKET_HEADER};

/// A captured frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Time of capture, nanoseconds.
    pub nanos: u64,
    /// The frame, without FCS.
    pub data: Vec<u8>,
}

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// From the file system.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What happened.
        source: io::Error,
    },
    /// No pcap magic (pcapng is not read).
    #[error("not a pcap file")]
    NotPcap,
    /// Not Ethernet.
    #[error("link type {0} is not Ethernet")]
    LinkType(u32),
    /// A packet is incomplete.
    #[error("packet {number} is cut short")]
    CutShort {
        /// Counted from 1.
        number: usize,
    },
}

/// Reads a file.
///
/// # Errors
/// [`ReadError`].
pub fn read(path: &Path) -> Result<Vec<Packet>, ReadError> {
    let file = |source| ReadError::File {
        path: path.display().to_string(),
        source,
    };
    parse(&std::fs::read(path).map_err(file)?)
}

/// Reads a file's content.
///
/// # Errors
/// [`ReadError`].
pub fn parse(file: &[u8]) -> Result<Vec<Packet>, ReadError> {
    let head = file.get(..FILE_HEADER).ok_or(ReadError::NotPcap)?;
    let (swapped, nanos_per_tick) = match u32::from_le_bytes(word(head, 0)) {
        MAGIC_NANOS => (false, 1),
        MAGIC_MICROS => (false, 1000),
        magic if magic == MAGIC_NANOS.swap_bytes() => (true, 1),
        magic if magic == MAGIC_MICROS.swap_bytes() => (true, 1000),
        _ => return Err(ReadError::NotPcap),
    };
    let number = |bytes: &[u8], at| {
        let word = u32::from_le_bytes(word(bytes, at));
        if swapped { word.swap_bytes() } else { word }
    };
    let link_type = number(head, 20) & 0xffff;
    if link_type != ETHERNET {
        return Err(ReadError::LinkType(link_type));
    }
    let mut packets = vec![];
    let mut rest = &file[FILE_HEADER..];
    while !rest.is_empty() {
        let cut = ReadError::CutShort {
            number: packets.len() + 1,
        };
        let Some((head, tail)) = rest.split_at_checked(PACKET_HEADER) else {
            return Err(cut);
        };
        let Some((data, tail)) = tail.split_at_checked(number(head, 8) as usize) else {
            return Err(cut);
        };
        let nanos = u64::from(number(head, 0)) * 1_000_000_000
            + u64::from(number(head, 4)) * nanos_per_tick;
        packets.push(Packet {
            nanos,
            data: data.to_vec(),
        });
        rest = tail;
    }
    Ok(packets)
}

fn word(bytes: &[u8], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}
