//! What tx is to send for a job, byte by byte from `docs/card.md`, section 3.

use sluice_engines::{malformed_roce, transmit_roce};
use sluice_hal::roce::RoceJob;

use crate::frames::{checksum, put16, put32};

/// A transmit job, not yet packed.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// TCP train or raw frame.
    pub tcp: bool,
    /// Raw checksum kind: 0 none, 1 TCP, 2 ICMP, 3 UDP.
    pub sum: u8,
    /// Timestamps are overridden.
    pub timestamps: bool,
    /// Gather entries in use, as the job says; may be more than 4 in a malformed one.
    pub gather_len: u8,
    /// TCP control bits.
    pub flags: u8,
    /// TCP window.
    pub window: u16,
    /// Template address.
    pub template: u32,
    /// Template length.
    pub header_len: u8,
    /// IP header.
    pub l3: u8,
    /// L4 header.
    pub l4: u8,
    /// Most payload per segment.
    pub mss: u16,
    /// Sequence number, acknowledgment number, timestamp value and echo.
    pub numbers: [u32; 4],
    /// Addresses and lengths.
    pub gather: [(u32, u32); 4],
    /// A RoCE job; of the others then only `gather` and `gather_len` count.
    pub roce: Option<RoceJob>,
}

impl From<RoceJob> for Job {
    fn from(roce: RoceJob) -> Self {
        Self {
            gather: roce.gather.map(|piece| (piece.addr.0, piece.len)),
            gather_len: roce.gather_len,
            roce: Some(roce),
            ..Self::default()
        }
    }
}

impl Job {
    /// Words 0 to 15.
    #[must_use]
    pub fn words(&self) -> [u32; 16] {
        if let Some(roce) = &self.roce {
            return roce.to_words();
        }
        let mut w = [0; 16];
        w[0] = u32::from(self.tcp)
            | u32::from(self.sum) << 1
            | u32::from(self.timestamps) << 3
            | u32::from(self.gather_len) << 4
            | u32::from(self.flags) << 8
            | u32::from(self.window) << 16;
        w[1] = self.template;
        w[2] = u32::from(self.header_len) | u32::from(self.l3) << 8 | u32::from(self.l4) << 16;
        w[3] = u32::from(self.mss);
        w[4..8].copy_from_slice(&self.numbers);
        for (i, (addr, len)) in self.gather.iter().enumerate() {
            w[8 + 2 * i] = *addr;
            w[9 + 2 * i] = *len;
        }
        w
    }

    /// The gathered bytes.
    fn payload(&self, memory: &[u8]) -> Vec<u8> {
        let pieces = self.gather.iter().take(usize::from(self.gather_len));
        pieces
            .flat_map(|(addr, len)| {
                memory[*addr as usize..(*addr + *len) as usize]
                    .iter()
                    .copied()
            })
            .collect()
    }

    /// The job cannot be sent.
    #[must_use]
    pub fn malformed(&self) -> bool {
        if let Some(roce) = &self.roce {
            return malformed_roce(roce);
        }
        let total: u32 = self
            .gather
            .iter()
            .take(usize::from(self.gather_len))
            .map(|(_, len)| len)
            .sum();
        let (l3, l4) = (u32::from(self.l3), u32::from(self.l4));
        let offsets = l3 % 2 == 1 || l4 % 2 == 1 || l4 < l3 + 20;
        if self.gather_len > 4 {
            return true;
        }
        if self.tcp {
            let header = u32::from(self.header_len);
            let needed = l4 + if self.timestamps { 32 } else { 20 };
            return header == 0
                || header > 128
                || self.mss == 0
                || offsets
                || needed > header
                || header + total.min(u32::from(self.mss)) > 9216;
        }
        let needed = l4 + [0, 18, 4, 8][usize::from(self.sum)];
        !(14..=9216).contains(&total) || (self.sum != 0 && (offsets || needed > total))
    }

    /// The frames in order; none for a malformed job.
    #[must_use]
    pub fn frames(&self, memory: &[u8]) -> Vec<Vec<u8>> {
        if self.malformed() {
            return Vec::new();
        }
        if let Some(roce) = &self.roce {
            return transmit_roce(roce, memory);
        }
        let payload = self.payload(memory);
        if !self.tcp {
            let mut frame = payload;
            if self.sum != 0 {
                self.fill_sums(&mut frame);
            }
            return vec![frame];
        }
        let mss = usize::from(self.mss);
        let count = payload.len().div_ceil(mss).max(1);
        (0..count)
            .map(|i| {
                let piece = &payload[i * mss..payload.len().min((i + 1) * mss)];
                self.segment(memory, piece, i * mss, i == 0, i + 1 == count)
            })
            .collect()
    }

    fn segment(&self, memory: &[u8], piece: &[u8], at: usize, first: bool, last: bool) -> Vec<u8> {
        let template = self.template as usize;
        let mut frame = memory[template..template + usize::from(self.header_len)].to_vec();
        frame.extend_from_slice(piece);
        let (l3, l4, total) = (usize::from(self.l3), usize::from(self.l4), frame.len());
        if frame[l3] >> 4 == 4 {
            put16(&mut frame, l3 + 2, total - l3);
        } else {
            put16(&mut frame, l3 + 4, total - l3 - 40);
        }
        put32(&mut frame, l4 + 4, self.numbers[0].wrapping_add(at as u32));
        put32(&mut frame, l4 + 8, self.numbers[1]);
        let mut flags = self.flags;
        if !last {
            flags &= !0x09;
        }
        if !first {
            flags &= !0x80;
        }
        frame[l4 + 13] = flags;
        put16(&mut frame, l4 + 14, usize::from(self.window));
        if self.timestamps {
            put32(&mut frame, l4 + 24, self.numbers[2]);
            put32(&mut frame, l4 + 28, self.numbers[3]);
        }
        self.fill_sums(&mut frame);
        frame
    }

    fn fill_sums(&self, frame: &mut [u8]) {
        let (l3, l4) = (usize::from(self.l3), usize::from(self.l4));
        let sum = if self.tcp { 1 } else { self.sum };
        let v4 = frame[l3] >> 4 == 4;
        let (place, protocol) = match sum {
            1 => (16, 6),
            3 => (6, 17),
            _ => (2, if v4 { 1 } else { 58 }),
        };
        let field = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let end = (if v4 {
            l3 + field(l3 + 2)
        } else {
            l3 + 40 + field(l3 + 4)
        })
        .min(frame.len());
        put16(frame, l4 + place, 0);
        let mut summed = frame[l4..end].to_vec();
        if summed.len() % 2 == 1 {
            summed.push(0);
        }
        if !(v4 && sum == 2) {
            summed.extend_from_slice(if v4 {
                &frame[l3 + 12..l3 + 20]
            } else {
                &frame[l3 + 8..l3 + 40]
            });
            summed.extend_from_slice(&((end - l4) as u32).to_be_bytes());
            summed.extend_from_slice(&[0, protocol]);
        }
        let mut value = checksum(&summed);
        if sum == 3 && value == 0 {
            value = 0xFFFF;
        }
        put16(frame, l4 + place, usize::from(value));
        if v4 {
            put16(frame, l3 + 10, 0);
            let header = checksum(&frame[l3..l4]);
            put16(frame, l3 + 10, usize::from(header));
        }
    }
}
