//! What rx is to make of a frame, from `docs/card.md`, sections 3 and 4.

use sluice_engines::{RoceDrop, parse_roce};
use sluice_hal::BufId;
use sluice_wire::crc32c::crc32c;

use crate::frames::{OWN_MAC, checksum};

/// Why a frame is dropped, with the numbers of `rx_drop_e`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Drop {
    Length = 0,
    EtherType = 1,
    Ipv4 = 2,
    Ipv6 = 3,
    Fragment = 4,
    Checksum = 5,
    NotForUs = 6,
    Pause = 7,
    NoBuffer = 8,
    QueueFull = 9,
    L4Header = 10,
    Overrun = 11,
    Roce = 12,
    Icrc = 13,
}

/// Reasons there are.
pub const DROPS: usize = 14;

/// Descriptor words; buffer number, core and arrival time are not part of it.
pub type Words = [u32; 16];

fn be16(frame: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]))
}

fn be32(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(frame[at..at + 4].try_into().expect("4 bytes"))
}

/// The descriptor of a frame that is kept.
///
/// # Errors
/// Why it is dropped.
pub fn judge(frame: &[u8]) -> Result<Words, Drop> {
    if !(14..=9216).contains(&frame.len()) {
        return Err(Drop::Length);
    }
    let outer = be16(frame, 12);
    if outer == 0x8808 && frame.len() >= 18 && [0x0001, 0x0101].contains(&be16(frame, 14)) {
        return Err(Drop::Pause);
    }
    if frame[..6] != OWN_MAC && frame[0] & 1 == 0 {
        return Err(Drop::NotForUs);
    }
    let tagged = outer == 0x8100 && frame.len() >= 18;
    let l3 = if tagged { 18 } else { 14 };
    let mut words = [0; 16];
    words[0] = (frame.len() as u32) << 16;
    words[2] = l3 as u32;
    if tagged {
        words[1] = (be16(frame, 14) as u32) << 16 | 1 << 4;
    }
    match be16(frame, l3 - 2) {
        0x0806 => words[1] |= 1 << 9,
        0x0800 => ipv4(frame, l3, &mut words)?,
        0x86DD => ipv6(frame, l3, &mut words)?,
        _ => return Err(Drop::EtherType),
    }
    Ok(words)
}

fn ipv4(frame: &[u8], l3: usize, words: &mut Words) -> Result<(), Drop> {
    let header = frame.get(l3..l3 + 20).ok_or(Drop::Ipv4)?;
    let header_len = usize::from(header[0] & 15) * 4;
    let end = l3 + be16(frame, l3 + 2);
    if header[0] >> 4 != 4 || header_len < 20 || end < l3 + header_len || end > frame.len() {
        return Err(Drop::Ipv4);
    }
    if checksum(&frame[l3..l3 + header_len]) != 0 {
        return Err(Drop::Ipv4);
    }
    if be16(frame, l3 + 6) & 0x3FFF != 0 {
        return Err(Drop::Fragment);
    }
    words[1] |= 1 | u32::from(header[1] & 3 == 3) << 10;
    words[10] = be32(frame, l3 + 12);
    words[11] = be32(frame, l3 + 16);
    let l4 = l3 + header_len;
    transport(frame, l4, end, header[9], &frame[l3 + 12..l3 + 20], words)
}

fn ipv6(frame: &[u8], l3: usize, words: &mut Words) -> Result<(), Drop> {
    let header = frame.get(l3..l3 + 40).ok_or(Drop::Ipv6)?;
    let end = l3 + 40 + be16(frame, l3 + 4);
    if header[0] >> 4 != 6 || end > frame.len() {
        return Err(Drop::Ipv6);
    }
    if header[6] == 44 {
        return Err(Drop::Fragment);
    }
    words[1] |= 1 << 1 | u32::from(header[1] >> 4 & 3 == 3) << 10;
    transport(
        frame,
        l3 + 40,
        end,
        header[6],
        &frame[l3 + 8..l3 + 40],
        words,
    )
}

fn transport(
    f: &[u8],
    l4: usize,
    end: usize,
    protocol: u8,
    addresses: &[u8],
    words: &mut Words,
) -> Result<(), Drop> {
    let v4 = addresses.len() == 8;
    let len = end - l4;
    let (flag, header_len) = match protocol {
        6 if len < 20 => return Err(Drop::L4Header),
        6 => (2, usize::from(f[l4 + 12] >> 4) * 4),
        17 => (3, 8),
        1 if v4 => (8, 4),
        58 if !v4 => (8, 4),
        _ => return Ok(()),
    };
    if len < header_len
        || (protocol == 6 && header_len < 20)
        || (protocol == 17 && be16(f, l4 + 4) != len)
    {
        return Err(Drop::L4Header);
    }
    let roce = protocol == 17 && be16(f, l4 + 2) == 4791;
    let unsummed = protocol == 17 && (v4 || roce) && be16(f, l4 + 6) == 0;
    if !unsummed {
        let mut summed = f[l4..end].to_vec();
        if summed.len() % 2 == 1 {
            summed.push(0);
        }
        if protocol != 1 {
            summed.extend(addresses);
            summed.extend((len as u32).to_be_bytes());
            summed.extend([0, protocol]);
        }
        if checksum(&summed) != 0 {
            return Err(Drop::Checksum);
        }
        words[1] |= 1 << 5;
    }
    if roce {
        *words = roce_words(f)?;
        return Ok(());
    }
    words[1] |= 1 << flag;
    words[2] |= (l4 as u32) << 8;
    if flag == 8 {
        return Ok(());
    }
    words[2] |= ((l4 + header_len) as u32) << 16;
    words[3] = (len - header_len) as u32;
    words[4] = be16(f, l4) as u32 | (be16(f, l4 + 2) as u32) << 16;
    let flow: Vec<u8> = addresses.iter().chain(&f[l4..l4 + 4]).copied().collect();
    words[9] = crc32c(&flow);
    if protocol == 6 {
        tcp(f, l4, header_len, words);
    }
    Ok(())
}

fn roce_words(frame: &[u8]) -> Result<Words, Drop> {
    match parse_roce(frame, BufId(0), 0).expect("its port was seen") {
        Ok(packet) => Ok(packet.to_words()),
        Err(RoceDrop::Format) => Err(Drop::Roce),
        Err(RoceDrop::Icrc) => Err(Drop::Icrc),
    }
}

fn tcp(f: &[u8], l4: usize, header_len: usize, words: &mut Words) {
    words[2] |= u32::from(f[l4 + 13]) << 24;
    words[3] |= (be16(f, l4 + 14) as u32) << 16;
    words[5] = be32(f, l4 + 4);
    words[6] = be32(f, l4 + 8);
    if header_len == 32 && f[l4 + 20..l4 + 24] == [1, 1, 8, 10] {
        words[1] |= 1 << 6;
        words[7] = be32(f, l4 + 24);
        words[8] = be32(f, l4 + 28);
    } else if header_len > 20 {
        words[1] |= 1 << 7;
    }
}
