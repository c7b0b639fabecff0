//! TCP headers and options. Sources: RFC 9293, section 3.1; RFC 7323 (window scale, timestamps); RFC 2018 (SACK);
//! RFC 3168 (ECE, CWR).

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32},
};

/// Control bit: no more data from the sender.
pub const FIN: u8 = 0x01;
/// Control bit: synchronize sequence numbers.
pub const SYN: u8 = 0x02;
/// Control bit: reset the connection.
pub const RST: u8 = 0x04;
/// Control bit: push.
pub const PSH: u8 = 0x08;
/// Control bit: the acknowledgment number counts.
pub const ACK: u8 = 0x10;
/// Control bit: the urgent pointer counts.
pub const URG: u8 = 0x20;
/// Control bit: congestion was experienced.
pub const ECE: u8 = 0x40;
/// Control bit: the congestion window was reduced.
pub const CWR: u8 = 0x80;

/// The header without options.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Sequence number of the first byte, or of the SYN.
    pub seq: U32,
    /// Next sequence number expected.
    pub ack: U32,
    /// Header length in words 7:4; untrusted until checked by [`View::of`].
    pub data_offset: u8,
    /// Control bits.
    pub flags: u8,
    /// Window, unscaled.
    pub window: U16,
    /// Checksum with pseudo-header.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}
const _: () = assert!(size_of::<Header>() == 20);

/// A header whose length fits its packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View<'a> {
    /// The header as it lies there.
    pub header: &'a Header,
    /// Its options.
    pub options: &'a [u8],
    /// What follows.
    pub payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks the segment `bytes`; `None` if its header does not fit.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = Header::ref_from_prefix(bytes).ok()?;
        let options = (usize::from(header.data_offset >> 4) * 4).checked_sub(20)?;
        (options <= rest.len()).then(|| {
            let (options, payload) = rest.split_at(options);
            Self {
                header,
                options,
                payload,
            }
        })
    }
}

/// One block of a SACK option: received bytes from `left` up to, not including, `right`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SackBlock {
    /// First sequence number of the block.
    pub left: u32,
    /// First sequence number behind it.
    pub right: u32,
}

/// The options of a segment that this stack understands; others are skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size (SYN only).
    pub mss: Option<u16>,
    /// Window scale shift (SYN only), limited to 14 (RFC 7323, section 2.3).
    pub window_scale: Option<u8>,
    /// SACK permitted (SYN only).
    pub sack_permitted: bool,
    /// Timestamp value and echo reply.
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks; entries beyond `sack_len` are zero.
    pub sack: [SackBlock; 4],
    /// Number of blocks.
    pub sack_len: u8,
}

impl Options {
    /// Reads options. A malformed length ends the reading; what came before counts (as Linux does).
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        loop {
            match *bytes {
                [] | [0, ..] => return options,
                [1, ref rest @ ..] => bytes = rest,
                [_] => return options,
                [kind, len, ..] => {
                    let len = usize::from(len);
                    if len < 2 || len > bytes.len() {
                        return options;
                    }
                    let (option, rest) = bytes.split_at(len);
                    options.take(kind, &option[2..]);
                    bytes = rest;
                }
            }
        }
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (2, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (3, &[shift]) => self.window_scale = Some(shift.min(14)),
            (4, []) => self.sack_permitted = true,
            (5, blocks) if blocks.len() % 8 == 0 => self.take_sack(blocks),
            (8, &[a, b, c, d, e, f, g, h]) => {
                let pair = (
                    u32::from_be_bytes([a, b, c, d]),
                    u32::from_be_bytes([e, f, g, h]),
                );
                self.timestamps = Some(pair);
            }
            _ => {}
        }
    }

    fn take_sack(&mut self, blocks: &[u8]) {
        for (slot, block) in self.sack.iter_mut().zip(blocks.chunks_exact(8)) {
            let &[a, b, c, d, e, f, g, h] = block else {
                return;
            };
            let (left, right) = ([a, b, c, d], [e, f, g, h]);
            *slot = SackBlock {
                left: u32::from_be_bytes(left),
                right: u32::from_be_bytes(right),
            };
            self.sack_len += 1;
        }
    }

    /// Writes the options, padded with NOPs to a multiple of 4, in the order Linux uses; returns the bytes used.
    /// Timestamps alone come out as NOP NOP TS, which engines recognise. SACK blocks that do not fit in 40 bytes
    /// are left out.
    pub fn emit(&self, into: &mut [u8; 40]) -> usize {
        let mut out = Writer { into, at: 0 };
        if let Some(mss) = self.mss {
            out.put(&[2, 4]);
            out.put(&mss.to_be_bytes());
        }
        match (self.sack_permitted, self.timestamps.is_some()) {
            (true, true) => out.put(&[4, 2]),
            (true, false) => out.put(&[1, 1, 4, 2]),
            (false, true) => out.put(&[1, 1]),
            (false, false) => {}
        }
        if let Some((value, echo)) = self.timestamps {
            out.put(&[8, 10]);
            out.put(&value.to_be_bytes());
            out.put(&echo.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            out.put(&[1, 3, 3, shift]);
        }
        let room = (40 - out.at).saturating_sub(4) / 8;
        let blocks = self.sack.iter().take(usize::from(self.sack_len).min(room));
        if blocks.len() > 0 {
            out.put(&[1, 1, 5, 2 + 8 * blocks.len() as u8]);
        }
        for block in blocks {
            out.put(&block.left.to_be_bytes());
            out.put(&block.right.to_be_bytes());
        }
        out.at
    }
}

/// Appends to a buffer that is known to be long enough; what would not fit is dropped.
struct Writer<'a> {
    into: &'a mut [u8; 40],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.into.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_linux_syn_is_read() {
        // Options of a SYN of Linux 6.12: MSS 1460, SACK permitted, timestamps, NOP, window scale 7.
        let bytes = [
            0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0,
            0x01, 0x03, 0x03, 0x07,
        ];
        let options = Options::parse(&bytes);
        assert_eq!(options.mss, Some(1460));
        assert_eq!(options.window_scale, Some(7));
        assert!(options.sack_permitted);
        assert_eq!(options.timestamps, Some((0x1234_5678, 0)));
        let mut out = [0; 40];
        assert_eq!(options.emit(&mut out), 20);
        assert_eq!(out[..20], bytes);
    }

    #[test]
    fn a_data_offset_past_the_segment_is_refused() {
        let mut segment = [0u8; 24];
        for (words, fits) in [(4, false), (5, true), (6, true), (7, false)] {
            segment[12] = words << 4;
            assert_eq!(View::of(&segment).is_some(), fits, "{words} words");
        }
    }

    #[test]
    fn malformed_options_end_the_reading() {
        assert_eq!(Options::parse(&[2]), Options::default());
        assert_eq!(Options::parse(&[2, 0, 5, 5]), Options::default());
        assert_eq!(Options::parse(&[1, 8, 40, 5]), Options::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Options::parse(&bytes);
            let _ = View::of(&bytes);
        }

        #[test]
        fn options_survive_the_round_trip(
            mss in any::<Option<u16>>(),
            window_scale in proptest::option::of(0u8..=14),
            sack_permitted: bool,
            timestamps in any::<Option<(u32, u32)>>(),
            blocks in proptest::collection::vec(any::<(u32, u32)>(), 0..=2),
        ) {
            let mut options = Options { mss, window_scale, sack_permitted, timestamps, ..Options::default() };
            for (slot, (left, right)) in options.sack.iter_mut().zip(&blocks) {
                *slot = SackBlock { left: *left, right: *right };
                options.sack_len += 1;
            }
            let mut bytes = [0; 40];
            let len = options.emit(&mut bytes);
            prop_assert_eq!(len % 4, 0);
            let back = Options::parse(&bytes[..len]);
            // SYN options with timestamps leave room for one block only.
            let kept = back.sack_len;
            prop_assert!(kept == options.sack_len || len + 12 > 40);
            prop_assert_eq!(Options { sack: back.sack, sack_len: kept, ..options }, back);
        }
    }
}
