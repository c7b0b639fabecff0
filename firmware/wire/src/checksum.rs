//! The Internet checksum (RFC 1071) and the pseudo-headers of IPv4 (RFC 9293, section 3.1) and IPv6 (RFC 8200,
//! section 8.1). The engines compute it for whole frames; the firmware only where no engine passes by.

/// A running one's complement sum. Pieces must be of even length, except the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u32);

impl Sum {
    /// Adds bytes; an odd last byte counts as the high half of a word.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut pairs = bytes.chunks_exact(2);
        for pair in &mut pairs {
            self = self.word(u16::from_be_bytes([pair[0], pair[1]]));
        }
        match pairs.remainder() {
            [last] => self.word(u16::from_be_bytes([*last, 0])),
            _ => self,
        }
    }

    /// Adds one word.
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        let sum = self.0 + word as u32;
        Self((sum & 0xffff) + (sum >> 16))
    }

    /// Adds the pseudo-header of either IP version; addresses are 4 or 16 bytes long.
    #[must_use]
    pub fn pseudo(self, src: &[u8], dst: &[u8], protocol: u8, len: u32) -> Self {
        self.bytes(src)
            .bytes(dst)
            .word(u16::from(protocol))
            .word((len >> 16) as u16)
            .word(len as u16)
    }

    /// The field's value when the field itself was summed as zero.
    #[must_use]
    pub const fn finish(self) -> u16 {
        !(self.0 as u16)
    }

    /// The sum over a packet that includes its checksum field is right.
    #[must_use]
    pub const fn is_right(self) -> bool {
        self.0 == 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1071_example_holds() {
        // RFC 1071, section 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2.
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.finish(), !0xddf2);
    }

    #[test]
    fn a_packet_with_its_checksum_is_right() {
        let packet = [0x12, 0x34, 0x56, 0x78, 0x9a];
        let field = Sum::default().bytes(&packet).finish();
        assert!(
            Sum::default()
                .bytes(&field.to_be_bytes())
                .bytes(&packet)
                .is_right()
        );
    }
}
