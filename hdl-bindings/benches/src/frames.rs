//! Frames to throw at the engines, and the Internet checksum as RFC 1071 words it.

use crate::random::Random;

/// Complement of the ones' complement sum of 16-bit words; an odd last byte counts as high byte.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

/// Writes 16 bits, high byte first.
pub fn put16(frame: &mut [u8], at: usize, value: usize) {
    frame[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
}

/// Writes 32 bits, high byte first.
pub fn put32(frame: &mut [u8], at: usize, value: u32) {
    frame[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// The card's address in the benches.
pub const OWN_MAC: [u8; 6] = [0x02, 0x53, 0x4C, 0x55, 0x43, 0x01];

/// What a frame is made of; [`Recipe::build`] makes it right in every respect.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Destination.
    pub mac: [u8; 6],
    /// 802.1Q tag.
    pub vlan: Option<u16>,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Bytes of IPv4 options, a multiple of 4 up to 40.
    pub ip_options: usize,
    /// TOS or traffic class.
    pub tos: u8,
    /// IP protocol.
    pub protocol: u8,
    /// TCP options, a multiple of 4 up to 40.
    pub tcp_options: Vec<u8>,
    /// Bytes after the L4 header.
    pub payload: Vec<u8>,
    /// Ethernet padding.
    pub padding: usize,
}

impl Recipe {
    /// A random one of a protocol the card knows.
    pub fn random(random: &mut Random) -> Self {
        let v6 = random.chance(35);
        let multicast = [0x33, 0x33, 0, 0, 0, 1];
        let len = match random.range(0, 9) {
            0 => 0,
            1..=4 => random.size(1, 80),
            5..=7 => random.size(81, 1460),
            8 => random.size(1900, 2046),
            _ => random.size(2047, 9000),
        };
        let mut timestamps = vec![1, 1, 8, 10];
        timestamps.extend(random.fill(8));
        let other = random.size(1, 10) * 4;
        Self {
            mac: random.pick(&[OWN_MAC, OWN_MAC, OWN_MAC, [0xFF; 6], multicast]),
            vlan: random.chance(40).then(|| random.bits() as u16),
            v6,
            ip_options: if !v6 && random.chance(25) {
                random.size(1, 10) * 4
            } else {
                0
            },
            tos: random.bits() as u8,
            protocol: if random.chance(60) {
                6
            } else {
                random.pick(&[17, if v6 { 58 } else { 1 }])
            },
            tcp_options: match random.range(0, 3) {
                0 => Vec::new(),
                1 | 2 => timestamps,
                _ => random.fill(other),
            },
            payload: random.fill(len),
            padding: if random.chance(50) {
                random.size(0, 40)
            } else {
                0
            },
        }
    }

    /// Offset of the IP header.
    #[must_use]
    pub fn l3(&self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }

    /// Offset of the L4 header.
    #[must_use]
    pub fn l4(&self) -> usize {
        self.l3() + if self.v6 { 40 } else { 20 + self.ip_options }
    }

    /// The frame; ports, numbers and addresses are random.
    pub fn build(&self, random: &mut Random) -> Vec<u8> {
        let mut frame = self.mac.to_vec();
        frame.extend(random.fill(6));
        if let Some(tci) = self.vlan {
            frame.extend([0x81, 0]);
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(if self.v6 { [0x86, 0xDD] } else { [8, 0] });
        let l4 = self.l4_bytes(random);
        let l3 = self.l3();
        let addresses = if self.v6 {
            let mut header = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
            header.extend((l4.len() as u16).to_be_bytes());
            header.extend([self.protocol, 64]);
            header.extend(random.fill(32));
            frame.extend(header);
            l3 + 8..l3 + 40
        } else {
            let mut header = vec![0x45 + (self.ip_options / 4) as u8, self.tos];
            header.extend(((20 + self.ip_options + l4.len()) as u16).to_be_bytes());
            header.extend([0x12, 0x34, 0x40, 0, 64, self.protocol, 0, 0]);
            header.extend(random.fill(8 + self.ip_options));
            frame.extend(header);
            l3 + 12..l3 + 20
        };
        let at = frame.len();
        frame.extend(&l4);
        let pseudo = frame[addresses].to_vec();
        self.fill_sums(&mut frame, l3, at, &pseudo);
        frame.extend(random.fill(self.padding));
        frame
    }

    /// Makes the checksums of a frame right again that was changed after it was built.
    pub fn mend(&self, frame: &mut [u8]) {
        let (l3, l4) = (self.l3(), self.l4());
        if !self.v6 {
            put16(frame, l3 + 10, 0);
        }
        let addresses = if self.v6 {
            l3 + 8..l3 + 40
        } else {
            l3 + 12..l3 + 20
        };
        let pseudo = frame[addresses].to_vec();
        self.fill_sums(frame, l3, l4, &pseudo);
    }

    fn l4_bytes(&self, random: &mut Random) -> Vec<u8> {
        let mut l4 = random.fill(match self.protocol {
            6 => 20,
            _ => 8,
        });
        match self.protocol {
            6 => {
                l4[12] = ((5 + self.tcp_options.len() / 4) << 4) as u8;
                l4.extend(&self.tcp_options);
            }
            17 => put16(&mut l4, 4, 8 + self.payload.len()),
            _ => {}
        }
        l4.extend(&self.payload);
        l4
    }

    fn fill_sums(&self, frame: &mut [u8], l3: usize, l4: usize, addresses: &[u8]) {
        if !self.v6 {
            let header = checksum(&frame[l3..l4]);
            put16(frame, l3 + 10, usize::from(header));
        }
        let Some(place) = [(6, 16), (17, 6), (1, 2), (58, 2)]
            .iter()
            .find(|(p, _)| *p == self.protocol)
        else {
            return;
        };
        put16(frame, l4 + place.1, 0);
        let mut summed = frame[l4..].to_vec();
        let len = summed.len() as u32;
        if summed.len() % 2 == 1 {
            summed.push(0);
        }
        if self.protocol != 1 {
            summed.extend(addresses);
            summed.extend(len.to_be_bytes());
            summed.extend([0, self.protocol]);
        }
        let value = match checksum(&summed) {
            0 if self.protocol == 17 => 0xFFFF,
            other => other,
        };
        put16(frame, l4 + place.1, usize::from(value));
    }
}
