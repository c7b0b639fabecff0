//! Writes captures in pcapng: one Ethernet interface, nanoseconds, and for each packet its direction, how many were lost before
//! it, and a comment if there is something to say. Source: IETF draft-ietf-opsawg-pcapng, section 4. Written in the byte order
//! of little-endian machines, which every reader takes.

use std::io::{self, Write};

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const STATISTICS: u32 = 5;
const ORDER: u32 = 0x1A2B_3C4D;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

/// Options: the same numbers in all blocks.
const END: u16 = 0;
const COMMENT: u16 = 1;
/// Of a section: the program that writes.
const PROGRAM: u16 = 4;
/// Of an interface.
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
/// Of a packet.
const FLAGS: u16 = 2;
const DROPS: u16 = 4;
/// Of statistics: packets not captured for want of room.
const IF_DROP: u16 = 5;

/// Which way a packet went, as `epb_flags` has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Received by the card.
    In = 1,
    /// Sent by it.
    Out = 2,
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub unix_nanos: u64,
    /// Which way.
    pub direction: Direction,
    /// Bytes on the wire.
    pub len: u32,
    /// The first of them.
    pub frame: &'a [u8],
    /// Packets lost since the last one.
    pub lost: u64,
    /// What there is to say.
    pub comment: Option<&'a str>,
}

/// A capture being written.
pub struct Writer<W: Write> {
    out: W,
    packets: u64,
    last_nanos: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a capture of packets of which `snap` bytes are kept.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, snap: u32) -> io::Result<Self> {
        let mut writer = Self {
            out,
            packets: 0,
            last_nanos: 0,
        };
        // Version 1.0, of a length that is not known.
        let mut section = Vec::new();
        section.extend(ORDER.to_le_bytes());
        section.extend([1, 0, 0, 0]);
        section.extend(u64::MAX.to_le_bytes());
        let program = concat!("sluicectl ", env!("CARGO_PKG_VERSION"));
        option(&mut section, PROGRAM, program.as_bytes());
        option(&mut section, END, &[]);
        writer.block(SECTION, &section)?;
        let mut interface = Vec::new();
        interface.extend(ETHERNET.to_le_bytes());
        interface.extend([0, 0]);
        interface.extend(snap.to_le_bytes());
        option(&mut interface, NAME, b"sluice");
        // Units of 10^-9 s.
        option(&mut interface, RESOLUTION, &[9]);
        option(&mut interface, END, &[]);
        writer.block(INTERFACE, &interface)?;
        Ok(writer)
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// Those of the output.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let mut body = Vec::with_capacity(64 + packet.frame.len());
        body.extend(0_u32.to_le_bytes());
        time(&mut body, packet.unix_nanos);
        body.extend((packet.frame.len() as u32).to_le_bytes());
        body.extend(packet.len.to_le_bytes());
        padded(&mut body, packet.frame);
        option(&mut body, FLAGS, &(packet.direction as u32).to_le_bytes());
        if packet.lost != 0 {
            option(&mut body, DROPS, &packet.lost.to_le_bytes());
        }
        if let Some(comment) = packet.comment {
            option(&mut body, COMMENT, comment.as_bytes());
        }
        option(&mut body, END, &[]);
        self.packets += 1;
        self.last_nanos = packet.unix_nanos;
        self.block(PACKET, &body)
    }

    /// Packets so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Says at the end how many packets were lost in all.
    ///
    /// # Errors
    /// Those of the output.
    pub fn end(mut self, lost: u64) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend(0_u32.to_le_bytes());
        time(&mut body, self.last_nanos);
        option(&mut body, IF_DROP, &lost.to_le_bytes());
        option(&mut body, END, &[]);
        self.block(STATISTICS, &body)?;
        self.flush()
    }

    /// Hands on what is written.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let len = (body.len() as u32 + 12).to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&len)?;
        self.out.write_all(body)?;
        self.out.write_all(&len)
    }
}

/// A time: the high half first.
fn time(to: &mut Vec<u8>, nanos: u64) {
    to.extend(((nanos >> 32) as u32).to_le_bytes());
    to.extend((nanos as u32).to_le_bytes());
}

fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    to.extend(code.to_le_bytes());
    to.extend((value.len() as u16).to_le_bytes());
    padded(to, value);
}

/// Filled up to whole words.
fn padded(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(bytes);
    to.resize(to.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_length_at_both_ends_and_options_whole_words() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, 128).expect("a vector takes everything");
        let packet = Packet {
            unix_nanos: 0x1122_3344_5566_7788,
            direction: Direction::Out,
            len: 1514,
            frame: &[9; 5],
            lost: 3,
            comment: Some("why"),
        };
        writer.packet(&packet).expect("written");
        assert_eq!(writer.packets(), 1);
        writer.end(7).expect("written");
        let word = |at: usize| u32::from_le_bytes(out[at..at + 4].try_into().expect("4 bytes"));
        let (mut at, mut kinds) = (0, Vec::new());
        while at < out.len() {
            let len = word(at + 4) as usize;
            assert_eq!(word(at + len - 4) as usize, len);
            kinds.push((word(at), at));
            at += len;
        }
        let [s, i, p, t] = kinds[..] else {
            panic!("four blocks, not {kinds:?}");
        };
        assert_eq!(
            [s.0, i.0, p.0, t.0],
            [SECTION, INTERFACE, PACKET, STATISTICS]
        );
        assert_eq!((word(s.1 + 8), word(i.1 + 12)), (ORDER, 128));
        let body = &out[p.1 + 8..t.1 - 4];
        assert_eq!(
            body[4..20],
            [
                0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55, 5, 0, 0, 0, 0xEA, 5, 0, 0
            ]
        );
        assert_eq!(body[20..28], [9, 9, 9, 9, 9, 0, 0, 0]);
        assert_eq!(body[28..36], [2, 0, 4, 0, 2, 0, 0, 0]);
        assert_eq!(body[36..48], [4, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(body[48..60], [1, 0, 3, 0, b'w', b'h', b'y', 0, 0, 0, 0, 0]);
    }
}
