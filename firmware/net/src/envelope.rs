//! Ethernet and IP around something that the core itself sends.

use sluice_wire::{ethernet, ipv4, ipv6};
use zerocopy::IntoBytes;

/// Longest header: Ethernet, tag, IPv6, TCP with 40 bytes of options.
const MAX_HEADER: usize = 18 + 40 + 60;

/// Both ends on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Link2 {
    pub dst: [u8; 6],
    pub src: [u8; 6],
    /// 802.1Q tag.
    pub tci: Option<u16>,
}

/// Both ends at the IP layer.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    V4 { src: [u8; 4], dst: [u8; 4] },
    V6 { src: [u8; 16], dst: [u8; 16] },
}

/// Headers under construction.
pub struct Envelope {
    bytes: [u8; MAX_HEADER],
    pub l3: u8,
    pub l4: u8,
}

impl Envelope {
    /// Nothing but room; `l3` and `l4` as given.
    pub const fn empty(l3: u8, l4: u8) -> Self {
        Self {
            bytes: [0; MAX_HEADER],
            l3,
            l4,
        }
    }

    /// Ethernet only, for ARP.
    pub fn ethernet(link: &Link2, ethertype: u16) -> Self {
        let mut envelope = Self::empty(14, 14);
        let outer = if link.tci.is_some() {
            ethernet::VLAN
        } else {
            ethertype
        };
        let eth = ethernet::Header {
            dst: link.dst,
            src: link.src,
            ethertype: outer.into(),
        };
        envelope.put(0, eth.as_bytes());
        if let Some(tci) = link.tci {
            let tag = ethernet::Tag {
                tci: tci.into(),
                ethertype: ethertype.into(),
            };
            envelope.put(14, tag.as_bytes());
            (envelope.l3, envelope.l4) = (18, 18);
        }
        envelope
    }

    /// Ethernet and IP; `class` is the IPv4 TOS or IPv6 traffic class.
    pub fn new(link: &Link2, ends: &Ends, protocol: u8, class: u8, hops: u8) -> Self {
        match *ends {
            Ends::V4 { src, dst } => {
                let mut envelope = Self::ethernet(link, ethernet::IPV4);
                let mut ip = ipv4::Header::new(src, dst, protocol, 0);
                (ip.tos, ip.ttl) = (class, hops);
                envelope.put(usize::from(envelope.l3), ip.as_bytes());
                envelope.l4 = envelope.l3 + 20;
                envelope
            }
            Ends::V6 { src, dst } => {
                let mut envelope = Self::ethernet(link, ethernet::IPV6);
                let mut ip = ipv6::Header::new(src, dst, protocol, hops, 0);
                ip.version_class_flow = (6 << 28 | u32::from(class) << 20).into();
                envelope.put(usize::from(envelope.l3), ip.as_bytes());
                envelope.l4 = envelope.l3 + 40;
                envelope
            }
        }
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    pub fn head(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(MAX_HEADER);
        &mut self.bytes[..len]
    }

    /// Sets the IP length for an L4 header of `header_len` bytes, which was put at `l4`, and `payload` more bytes; returns the
    /// headers. The IPv4 header checksum is the engine's to fill in.
    pub fn finish(&mut self, header_len: usize, payload: u32) -> &[u8] {
        let (l3, l4) = (usize::from(self.l3), usize::from(self.l4));
        let len = header_len as u16 + payload as u16;
        if l4 - l3 == 20 {
            self.put(l3 + 2, &(20 + len).to_be_bytes());
        } else {
            self.put(l3 + 4, &len.to_be_bytes());
        }
        self.bytes.get(..l4 + header_len).unwrap_or_default()
    }
}
