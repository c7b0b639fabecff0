//! Ethernet II headers with at most one 802.1Q tag. Source: IEEE 802.3, clause 3; IEEE 802.1Q, clause 9.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType that announces an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of MAC control: PAUSE and PFC (IEEE 802.3, annex 31).
pub const MAC_CONTROL: u16 = 0x8808;
/// Shortest frame on the wire, FCS excluded; shorter ones are padded with zeros.
pub const MIN_FRAME: usize = 60;
/// All stations.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// Opens every frame.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// Destination address.
    pub dst: [u8; 6],
    /// Source address; a group address here is a sender's fault.
    pub src: [u8; 6],
    /// What follows, or [`VLAN`].
    pub ethertype: U16,
}
const _: () = assert!(size_of::<Header>() == 14);

/// Follows a header whose EtherType is [`VLAN`].
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Tag {
    /// Priority 15:13, drop eligible 12, VLAN identifier 11:0.
    pub tci: U16,
    /// What follows.
    pub ethertype: U16,
}
const _: () = assert!(size_of::<Tag>() == 4);

/// A frame's start, the tag taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View<'a> {
    /// The header as it lies there.
    pub header: &'a Header,
    /// TCI of the tag, if there is one.
    pub tci: Option<u16>,
    /// What the payload is.
    pub ethertype: u16,
    /// Where it starts: 14 or 18.
    pub payload_offset: usize,
}

impl<'a> View<'a> {
    /// `None` if the frame ends inside its header or tag.
    #[must_use]
    pub fn of(frame: &'a [u8]) -> Option<Self> {
        let (header, rest) = Header::ref_from_prefix(frame).ok()?;
        if header.ethertype.get() != VLAN {
            let ethertype = header.ethertype.get();
            return Some(Self {
                header,
                tci: None,
                ethertype,
                payload_offset: 14,
            });
        }
        let (tag, _) = Tag::ref_from_prefix(rest).ok()?;
        let (tci, ethertype) = (Some(tag.tci.get()), tag.ethertype.get());
        Some(Self {
            header,
            tci,
            ethertype,
            payload_offset: 18,
        })
    }
}

/// The address names a group (multicast or broadcast).
#[must_use]
pub const fn is_group(mac: &[u8; 6]) -> bool {
    mac[0] & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_and_untagged_frames_are_told_apart() {
        let mut frame = [0u8; 18];
        frame[12..14].copy_from_slice(&IPV4.to_be_bytes());
        let view = View::of(&frame).expect("long enough");
        assert_eq!(
            (view.tci, view.ethertype, view.payload_offset),
            (None, IPV4, 14)
        );

        frame[12..].copy_from_slice(&[0x81, 0x00, 0x20, 0x05, 0x86, 0xdd]);
        let view = View::of(&frame).expect("long enough");
        assert_eq!(
            (view.tci, view.ethertype, view.payload_offset),
            (Some(0x2005), IPV6, 18)
        );
    }

    #[test]
    fn a_frame_cut_inside_its_tag_is_refused() {
        let mut frame = [0u8; 17];
        frame[12..14].copy_from_slice(&VLAN.to_be_bytes());
        assert_eq!(View::of(&frame), None);
        assert_eq!(View::of(&frame[..13]), None);
    }
}
