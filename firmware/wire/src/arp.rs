//! ARP for IPv4 over Ethernet. Source: RFC 826; probes and announcements RFC 5227.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16};

/// Who has `target_ip`?
pub const REQUEST: u16 = 1;
/// I have `sender_ip`.
pub const REPLY: u16 = 2;

/// A whole ARP packet.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Packet {
    /// 1 for Ethernet.
    pub hardware_type: U16,
    /// EtherType of IPv4.
    pub protocol_type: U16,
    /// 6.
    pub hardware_len: u8,
    /// 4.
    pub protocol_len: u8,
    /// [`REQUEST`] or [`REPLY`].
    pub operation: U16,
    /// Sender's MAC address.
    pub sender_mac: [u8; 6],
    /// Sender's IPv4 address; zero in a probe.
    pub sender_ip: [u8; 4],
    /// Target's MAC address; zero in a request.
    pub target_mac: [u8; 6],
    /// Target's IPv4 address.
    pub target_ip: [u8; 4],
}
const _: () = assert!(size_of::<Packet>() == 28);

impl Packet {
    /// A packet for IPv4 over Ethernet.
    #[must_use]
    pub fn new(operation: u16, sender: ([u8; 6], [u8; 4]), target: ([u8; 6], [u8; 4])) -> Self {
        Self {
            hardware_type: U16::new(1),
            protocol_type: U16::new(super::ethernet::IPV4),
            hardware_len: 6,
            protocol_len: 4,
            operation: U16::new(operation),
            sender_mac: sender.0,
            sender_ip: sender.1,
            target_mac: target.0,
            target_ip: target.1,
        }
    }

    /// The packet at the start of `bytes`, if it is one for IPv4 over Ethernet.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<&Self> {
        let (packet, _) = Self::ref_from_prefix(bytes).ok()?;
        let kind = (packet.hardware_type.get(), packet.protocol_type.get());
        let sizes = (packet.hardware_len, packet.protocol_len);
        (kind == (1, super::ethernet::IPV4) && sizes == (6, 4)).then_some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_survives_the_round_trip() {
        let packet = Packet::new(REPLY, ([2; 6], [10, 0, 0, 1]), ([3; 6], [10, 0, 0, 2]));
        assert_eq!(Packet::of(packet.as_bytes()), Some(&packet));
    }

    #[test]
    fn other_hardware_is_refused() {
        let mut packet = Packet::new(REQUEST, ([2; 6], [10, 0, 0, 1]), ([0; 6], [10, 0, 0, 2]));
        packet.hardware_len = 8;
        assert_eq!(Packet::of(packet.as_bytes()), None);
    }
}
