//! Frames that no well-behaved host sends, made by hand.

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use sluice_wire::checksum::Sum;

/// The card's MAC address in the default configuration.
pub const CARD_MAC: [u8; 6] = [0x02, 0x53, 0x4c, 0x55, 0x43, 0x01];
/// Its IPv4 address.
const CARD_IP: [u8; 4] = [10, 0, 0, 2];
const IPV4: u16 = 0x0800;

/// A frame to the card.
pub fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let from = [0x02, 0, 0, 0, 9, 9];
    [&CARD_MAC[..], &from, &kind.to_be_bytes(), payload].concat()
}

/// An IPv4 packet with a right checksum; `fragment` is its flags and offset.
pub fn ipv4(from: [u8; 4], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut header = vec![0x45, 0];
    header.extend(len.to_be_bytes());
    header.extend([0, 1]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(from);
    header.extend(CARD_IP);
    let sum = Sum::default().bytes(&header).finish();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, payload.to_vec()].concat()
}

/// A TCP segment with a right checksum to port 4420.
pub fn tcp(from: [u8; 4], port: u16, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = port.to_be_bytes().to_vec();
    segment.extend(4420u16.to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    let sum = Sum::default()
        .pseudo(&from, &CARD_IP, 6, segment.len() as u32)
        .bytes(&segment);
    segment[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    ethernet(IPV4, &ipv4(from, 6, 0, &segment))
}

/// A SYN from any of 60,000 addresses.
pub fn syn(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let word = rng.next_u32().to_le_bytes();
    let from = [10, 1, word[0], word[1] % 250 + 1];
    tcp(
        from,
        u16::from_le_bytes([word[2], word[3]]) | 1024,
        rng.next_u32(),
        0,
        2,
        &[],
    )
}

/// A frame that the rx engine must drop, by kind (0 to [`KINDS`] - 1).
pub fn bad(kind: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let from = [10, 0, 0, 77];
    let good = || tcp(from, 5000, 1, 1, 0x10, b"good but for one thing");
    let flip = |mut frame: Vec<u8>, at: usize| {
        frame[at] ^= 0x55;
        frame
    };
    match kind {
        0 => vec![0x02; 1 + rng.next_u32() as usize % 13],
        1 => ethernet(0x88b5, b"nobody knows this type"),
        2 => flip(good(), 24),
        3 => flip(good(), 14),
        4 => {
            // Total length beyond the frame.
            let mut frame = good();
            frame.truncate(40);
            frame
        }
        5 => ethernet(0x86dd, &[0x65; 30]),
        6 => ethernet(IPV4, &ipv4(from, 6, 0x2000, &[0; 64])),
        7 => flip(good(), 50),
        8 => flip(good(), 56),
        9 => flip(good(), 2),
        // Data offset below 5.
        10 => {
            let mut segment = vec![0; 20];
            segment[12] = 0x40;
            ethernet(IPV4, &ipv4(from, 6, 0, &segment))
        }
        11 => ethernet(IPV4, &ipv4(from, 6, 0, &[1, 2, 3])),
        _ => vec![0xa5; 9500],
    }
}

/// Kinds of [`bad`] frames.
pub const KINDS: usize = 13;

/// Random bytes behind random pieces of good headers.
pub fn garbage(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut noise = vec![0; 1 + rng.next_u32() as usize % 1600];
    rng.fill_bytes(&mut noise);
    let from = [10, 0, 0, 78];
    match rng.next_u32() % 6 {
        0 => noise,
        1 => ethernet([IPV4, 0x86dd, 0x0806][rng.next_u32() as usize % 3], &noise),
        2 => ethernet(IPV4, &ipv4(from, noise[0], 0, &noise)),
        3 => tcp(from, 6000, rng.next_u32(), rng.next_u32(), noise[0], &noise),
        4 => ethernet(IPV4, &ipv4(from, 1, 0, &icmp(&noise))),
        _ => {
            let mut frame = tcp(from, 6000, 1, 1, 0x18, &noise);
            frame.truncate(rng.next_u32() as usize % frame.len());
            frame
        }
    }
}

fn icmp(noise: &[u8]) -> Vec<u8> {
    let mut message = noise.to_vec();
    message.resize(noise.len().max(8), 0);
    message[2..4].fill(0);
    let sum = Sum::default().bytes(&message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}
