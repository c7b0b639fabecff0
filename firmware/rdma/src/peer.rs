//! The other end on the wire, and the headers of packets to it.

use sluice_wire::{
    ethernet,
    ib_cm::{Gid, ipv4_of_gid},
    ipv4, ipv6,
    roce::UDP_PORT,
};
use zerocopy::IntoBytes;

/// Longest header: Ethernet, tag, IPv6, UDP.
pub const MAX_HEADER: usize = 18 + 40 + 8;
const HOP_LIMIT: u8 = 64;

/// Addresses of both ends, as a packet from the other one had them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The other end's MAC address, or its router's.
    pub mac: [u8; 6],
    /// VLAN tag, 0 for none.
    pub tci: u16,
    /// The other end's address; IPv4 mapped.
    pub gid: Gid,
    /// Own address; IPv4 mapped.
    pub own: Gid,
    /// UDP source port of what is sent to it: fixed, so that all packets take one way.
    pub src_port: u16,
}

impl Peer {
    /// No one.
    pub const NONE: Self = Self {
        mac: [0; 6],
        tci: 0,
        gid: [0; 16],
        own: [0; 16],
        src_port: 0,
    };

    /// The addresses are IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        ipv4_of_gid(&self.gid).is_none()
    }

    /// Ethernet, IP and UDP header of packets to the peer, lengths and checksums left to the engine. Returns the bytes used.
    pub fn header(&self, own_mac: [u8; 6], dscp: u8, out: &mut [u8; MAX_HEADER]) -> usize {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(place) = out.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
                at += bytes.len();
            }
        };
        let ends = ipv4_of_gid(&self.own).zip(ipv4_of_gid(&self.gid));
        let kind = if ends.is_some() {
            ethernet::IPV4
        } else {
            ethernet::IPV6
        };
        put(&self.mac);
        put(&own_mac);
        if self.tci != 0 {
            put(&ethernet::VLAN.to_be_bytes());
            put(&self.tci.to_be_bytes());
        }
        put(&kind.to_be_bytes());
        let class = dscp << 2 | ipv4::ECT0;
        if let Some((own, peer)) = ends {
            let mut ip = ipv4::Header::new(own, peer, ipv4::PROTOCOL_UDP, 0);
            ip.tos = class;
            put(ip.as_bytes());
        } else {
            let mut ip = ipv6::Header::new(self.own, self.gid, ipv4::PROTOCOL_UDP, HOP_LIMIT, 0);
            ip.version_class_flow.set(6 << 28 | u32::from(class) << 20);
            put(ip.as_bytes());
        }
        put(&self.src_port.to_be_bytes());
        put(&UDP_PORT.to_be_bytes());
        // Length by the engine; checksum 0: the ICRC protects more (A17.3.1).
        put(&[0; 4]);
        at
    }
}
