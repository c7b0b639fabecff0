//! IPv6 fixed headers; extension headers are left alone. Source: RFC 8200, section 3.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32},
};

/// Next header number of a fragment header.
pub const NEXT_FRAGMENT: u8 = 44;
/// Next header number of ICMPv6.
pub const NEXT_ICMPV6: u8 = 58;

/// The fixed header.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// Version 31:28, traffic class 27:20 (its ECN field is 21:20), flow label 19:0.
    pub version_class_flow: U32,
    /// Bytes after this header.
    pub payload_len: U16,
    /// What follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
}
const _: () = assert!(size_of::<Header>() == 40);

/// A header whose length fits the bytes it came with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View<'a> {
    /// The header as it lies there.
    pub header: &'a Header,
    /// What follows it, Ethernet padding cut off.
    pub payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks the packet at the start of `bytes`; `None` if version or length is wrong.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = Header::ref_from_prefix(bytes).ok()?;
        let payload = rest.get(..usize::from(header.payload_len.get()))?;
        (header.version_class_flow.get() >> 28 == 6).then_some(Self { header, payload })
    }
}

impl Header {
    /// A header with an empty traffic class and flow label.
    #[must_use]
    pub fn new(src: [u8; 16], dst: [u8; 16], next: u8, hop_limit: u8, payload_len: u16) -> Self {
        Self {
            version_class_flow: U32::new(6 << 28),
            payload_len: U16::new(payload_len),
            next_header: next,
            hop_limit,
            src,
            dst,
        }
    }

    /// The ECN field (RFC 3168, section 5).
    #[must_use]
    pub fn ecn(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8 & 0b11
    }
}

/// The link-local address made from a MAC address (RFC 4291, appendix A).
#[must_use]
pub const fn link_local(mac: [u8; 6]) -> [u8; 16] {
    let [a, b, c, d, e, f] = mac;
    [
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ]
}

/// The solicited-node group of an address (RFC 4291, section 2.7.1).
#[must_use]
pub const fn solicited_node(ip: [u8; 16]) -> [u8; 16] {
    [
        0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ip[13], ip[14], ip[15],
    ]
}

/// The Ethernet address of a multicast group (RFC 2464, section 7).
#[must_use]
pub const fn multicast_mac(group: [u8; 16]) -> [u8; 6] {
    [0x33, 0x33, group[12], group[13], group[14], group[15]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_survives_the_round_trip(src: [u8; 16], dst: [u8; 16], next: u8, len in 0u16..1400) {
            let header = Header::new(src, dst, next, 64, len);
            let packet = [header.as_bytes(), &[7; 1400]].concat();
            let view = View::of(&packet).expect("right");
            prop_assert_eq!(*view.header, header);
            prop_assert_eq!(view.payload.len(), usize::from(len));
        }
    }

    #[test]
    fn a_packet_longer_than_its_frame_is_refused() {
        let mut header = Header::new([1; 16], [2; 16], 6, 64, 3);
        let mut packet = header.as_bytes().to_vec();
        packet.extend([1, 2, 3, 0]);
        assert_eq!(View::of(&packet).map(|v| v.payload), Some(&[1, 2, 3][..]));
        header.payload_len = U16::new(5);
        packet[..40].copy_from_slice(header.as_bytes());
        assert_eq!(View::of(&packet), None);
    }

    #[test]
    fn groups_and_link_local_addresses_follow_rfc_4291() {
        // RFC 4291, section 2.7.1: 4037::01:800:200E:8C6C has the group FF02::1:FF0E:8C6C.
        let mut ip = [0; 16];
        ip[13..].copy_from_slice(&[0x0e, 0x8c, 0x6c]);
        assert_eq!(
            multicast_mac(solicited_node(ip)),
            [0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]
        );
        let own = link_local([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(own[8..], [0x36, 0x56, 0x78, 0xff, 0xfe, 0x9a, 0xbc, 0xde]);
    }
}
