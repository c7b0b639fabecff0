//! IPv4 headers. Source: RFC 791, section 3.1; ECN field RFC 3168, section 5.

use super::checksum::Sum;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16};

/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// The header without options.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// Version 7:4, header length in words 3:0; untrusted until checked by [`View::of`].
    pub version_ihl: u8,
    /// DSCP 7:2, ECN 1:0.
    pub tos: u8,
    /// The whole packet in bytes, header included.
    pub total_len: U16,
    /// Identification, for fragments.
    pub id: U16,
    /// Don't fragment 14, more fragments 13, fragment offset in 8 bytes 12:0.
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: U16,
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
}
const _: () = assert!(size_of::<Header>() == 20);

/// `fragment` bit: routers must not fragment.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// ECN field of a packet whose endpoints understand ECN: ECT(0).
pub const ECT0: u8 = 0b10;
/// ECN field of a packet that met congestion: CE.
pub const CE: u8 = 0b11;

/// Why a header is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Version, lengths or checksum are wrong.
    Header,
    /// The packet is a fragment.
    Fragment,
}

/// A header whose lengths fit the bytes they came with and whose checksum is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View<'a> {
    /// The header as it lies there.
    pub header: &'a Header,
    /// Header length with options, 20 to 60.
    pub header_len: usize,
    /// The payload, Ethernet padding cut off.
    pub payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks the packet at the start of `bytes`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(bytes: &'a [u8]) -> Result<Self, Refused> {
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Refused::Header)?;
        let header_len = usize::from(header.version_ihl & 0xf) * 4;
        let total = usize::from(header.total_len.get());
        let fits = header.version_ihl >> 4 == 4 && header_len >= 20 && header_len <= total;
        let packet = bytes.get(..total).filter(|_| fits).ok_or(Refused::Header)?;
        let (options, payload) = packet.split_at(header_len);
        if !Sum::default().bytes(options).is_right() {
            return Err(Refused::Header);
        }
        // More fragments, or not the first one.
        if header.fragment.get() & 0x3fff != 0 {
            return Err(Refused::Fragment);
        }
        Ok(Self {
            header,
            header_len,
            payload,
        })
    }
}

impl Header {
    /// A header without options, with TTL 64 and "don't fragment"; the checksum is right.
    #[must_use]
    pub fn new(src: [u8; 4], dst: [u8; 4], protocol: u8, payload_len: u16) -> Self {
        let mut header = Self {
            version_ihl: 0x45,
            tos: 0,
            total_len: U16::new(20 + payload_len),
            id: U16::new(0),
            fragment: U16::new(DONT_FRAGMENT),
            ttl: 64,
            protocol,
            checksum: U16::new(0),
            src,
            dst,
        };
        header.checksum = U16::new(Sum::default().bytes(header.as_bytes()).finish());
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_survives_the_round_trip(src: [u8; 4], dst: [u8; 4], protocol: u8, len in 0u16..1400) {
            let header = Header::new(src, dst, protocol, len);
            let packet = [header.as_bytes(), &[7; 1400]].concat();
            let view = View::of(&packet).expect("right");
            prop_assert_eq!(*view.header, header);
            prop_assert_eq!(view.payload.len(), usize::from(len));
        }

        #[test]
        fn any_bytes_are_checked_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = View::of(&bytes);
        }
    }

    #[test]
    fn a_new_header_passes_its_own_check() {
        let header = Header::new([10, 0, 0, 1], [10, 0, 0, 2], PROTOCOL_TCP, 4);
        let mut packet = header.as_bytes().to_vec();
        packet.extend([1, 2, 3, 4, 0, 0]);
        let view = View::of(&packet).expect("right");
        assert_eq!((view.header_len, view.payload), (20, &[1, 2, 3, 4][..]));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let header = Header::new([10, 0, 0, 1], [10, 0, 0, 2], PROTOCOL_TCP, 4);
        assert_eq!(
            View::of(header.as_bytes()),
            Err(Refused::Header),
            "payload missing"
        );
        assert_eq!(View::of(&header.as_bytes()[..19]), Err(Refused::Header));
        let mut short_ihl = header;
        short_ihl.version_ihl = 0x44;
        assert_eq!(View::of(short_ihl.as_bytes()), Err(Refused::Header));
    }

    #[test]
    fn fragments_are_told_apart() {
        for field in [0x2000, 0x0001, 0x1fff] {
            let mut header = Header::new([10, 0, 0, 1], [10, 0, 0, 2], PROTOCOL_UDP, 0);
            header.fragment = U16::new(field);
            header.checksum = U16::new(0);
            header.checksum = U16::new(Sum::default().bytes(header.as_bytes()).finish());
            assert_eq!(View::of(header.as_bytes()), Err(Refused::Fragment));
        }
    }
}
