//! RoCEv2 frames: a packet's headers and payload to an Ethernet frame with ICRC, and back with every check a receiver makes.
//! Nothing here knows of queue pairs. VLAN tags are the switch's business ([`crate::scenario::lab`]): one is accepted, none sent.

use std::net::IpAddr;

use sluice_wire::{
    checksum::Sum,
    ethernet, ipv4, ipv6,
    roce::{self, Aeth, Bth, Deth, Opcode, Reth},
};
use zerocopy::{FromBytes, IntoBytes};

/// One end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// MAC address.
    pub mac: [u8; 6],
    /// IP address; both ends have the same version.
    pub ip: IpAddr,
}

/// A packet without the headers that bring it there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Opcode.
    pub opcode: Opcode,
    /// Destination queue pair.
    pub dest_qp: u32,
    /// Packet sequence number.
    pub psn: u32,
    /// An acknowledgment is wanted.
    pub ack_req: bool,
    /// BECN: in a CNP.
    pub becn: bool,
    /// RETH.
    pub reth: Option<Reth>,
    /// AETH.
    pub aeth: Option<Aeth>,
    /// ImmDt or IETH.
    pub word: Option<u32>,
    /// DETH.
    pub deth: Option<Deth>,
    /// Payload without padding.
    pub payload: Vec<u8>,
}

impl Packet {
    /// A packet without extended headers.
    #[must_use]
    pub fn new(opcode: Opcode, dest_qp: u32, psn: u32, payload: Vec<u8>) -> Self {
        Self {
            opcode,
            dest_qp,
            psn: psn & roce::MASK_24,
            ack_req: false,
            becn: false,
            reth: None,
            aeth: None,
            word: None,
            deth: None,
            payload,
        }
    }

    /// From BTH to padding: what the ICRC follows.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let pad = self.payload.len().wrapping_neg() & 3;
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let bth = Bth {
            opcode: self.opcode as u8,
            flags: (pad as u8) << 4,
            pkey: roce::DEFAULT_PKEY.into(),
            dest_qp: (self.dest_qp & roce::MASK_24 | flag(self.becn, Bth::BECN)).into(),
            psn: (self.psn & roce::MASK_24 | flag(self.ack_req, Bth::ACK_REQ)).into(),
        };
        let mut out = bth.as_bytes().to_vec();
        if let Some(deth) = &self.deth {
            out.extend(deth.as_bytes());
        }
        if let Some(reth) = &self.reth {
            out.extend(reth.as_bytes());
        }
        if let Some(aeth) = &self.aeth {
            out.extend(aeth.as_bytes());
        }
        if let Some(word) = self.word {
            out.extend(word.to_be_bytes());
        }
        out.extend(&self.payload);
        out.resize(out.len() + pad, 0);
        out
    }

    /// The whole frame.
    ///
    /// # Panics
    /// When the ends' addresses are of different versions.
    #[must_use]
    pub fn frame(&self, from: &Endpoint, to: &Endpoint, path: Path) -> Vec<u8> {
        let packet = self.bytes();
        let udp_len = (8 + packet.len() + roce::ICRC_LEN) as u16;
        let tos = if path.ecn { ipv4::ECT0 } else { 0 };
        let ip = match (from.ip, to.ip) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = ipv4::Header {
                    version_ihl: 0x45,
                    tos,
                    total_len: (20 + udp_len).into(),
                    id: path.ip_id.into(),
                    fragment: ipv4::DONT_FRAGMENT.into(),
                    ttl: 64,
                    protocol: ipv4::PROTOCOL_UDP,
                    checksum: 0.into(),
                    src: src.octets(),
                    dst: dst.octets(),
                };
                let sum = Sum::default().bytes(header.as_bytes());
                header.checksum = sum.finish().into();
                header.as_bytes().to_vec()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Header {
                version_class_flow: (6 << 28 | u32::from(tos) << 20).into(),
                payload_len: udp_len.into(),
                next_header: ipv4::PROTOCOL_UDP,
                hop_limit: 64,
                src: src.octets(),
                dst: dst.octets(),
            }
            .as_bytes()
            .to_vec(),
            (from, to) => panic!("no path from {from} to {to}"),
        };
        let ethertype = match from.ip {
            IpAddr::V4(_) => ethernet::IPV4,
            IpAddr::V6(_) => ethernet::IPV6,
        };
        let mut frame = [&to.mac[..], &from.mac, &ethertype.to_be_bytes(), &ip].concat();
        for word in [path.src_port, roce::UDP_PORT, udp_len, 0] {
            frame.extend(word.to_be_bytes());
        }
        frame.extend(packet);
        let icrc = roce::icrc(&frame[14..]).expect("a RoCEv2 packet");
        frame.extend(icrc.to_le_bytes());
        frame
    }
}

/// What else a frame's headers say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// UDP source port.
    pub src_port: u16,
    /// Identification of IPv4.
    pub ip_id: u16,
    /// ECN-capable: ECT(0).
    pub ecn: bool,
}

/// A frame that passed every check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Whence.
    pub from: Endpoint,
    /// Whereto.
    pub to: Endpoint,
    /// UDP source port.
    pub src_port: u16,
    /// A switch on the way was congested: ECN says CE.
    pub congested: bool,
    /// What it carries.
    pub packet: Packet,
}

/// Why a frame to UDP port 4791 is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// IP: checksum, lengths, options or a fragment.
    Ip,
    /// UDP length.
    Udp,
    /// Opcode, version or lengths of the transport.
    Transport,
    /// ICRC.
    Icrc,
}

/// Takes a frame apart; `None` if it is no RoCEv2.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<Result<Received, Bad>> {
    let eth = ethernet::View::of(frame)?;
    let ip = frame.get(eth.payload_offset..)?;
    let (header_len, protocol) = match eth.ethertype {
        ethernet::IPV4 => (20, *ip.get(9)?),
        ethernet::IPV6 => (40, *ip.get(6)?),
        _ => return None,
    };
    let port = ip.get(header_len + 2..header_len + 4)?;
    if protocol != ipv4::PROTOCOL_UDP || port != roce::UDP_PORT.to_be_bytes() {
        return None;
    }
    Some(parse_ip(eth.header, ip, eth.ethertype == ethernet::IPV4))
}

fn parse_ip(eth: &ethernet::Header, ip: &[u8], is_v4: bool) -> Result<Received, Bad> {
    let (src, dst, ecn, header_len, total_len) = if is_v4 {
        let (header, _) = ipv4::Header::ref_from_prefix(ip).map_err(|_| Bad::Ip)?;
        let sound = header.version_ihl == 0x45
            && header.fragment.get() & !ipv4::DONT_FRAGMENT == 0
            && Sum::default().bytes(header.as_bytes()).is_right();
        if !sound {
            return Err(Bad::Ip);
        }
        let total = usize::from(header.total_len.get());
        (
            header.src.into(),
            header.dst.into(),
            header.tos & 3,
            20,
            total,
        )
    } else {
        let (header, _) = ipv6::Header::ref_from_prefix(ip).map_err(|_| Bad::Ip)?;
        if header.version_class_flow.get() >> 28 != 6 {
            return Err(Bad::Ip);
        }
        let total = 40 + usize::from(header.payload_len.get());
        (
            header.src.into(),
            header.dst.into(),
            header.ecn(),
            40,
            total,
        )
    };
    let packet = ip.get(..total_len).ok_or(Bad::Ip)?;
    let udp = packet.get(header_len..).ok_or(Bad::Ip)?;
    let word = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    if word(4).map(usize::from) != Some(udp.len()) {
        return Err(Bad::Udp);
    }
    let view = roce::View::of(&udp[8..]).ok_or(Bad::Transport)?;
    if roce::icrc(&packet[..total_len - roce::ICRC_LEN]) != Some(view.icrc) {
        return Err(Bad::Icrc);
    }
    Ok(Received {
        from: Endpoint {
            mac: eth.src,
            ip: src,
        },
        to: Endpoint {
            mac: eth.dst,
            ip: dst,
        },
        src_port: word(0).unwrap_or_default(),
        congested: ecn == ipv4::CE,
        packet: Packet {
            opcode: view.opcode,
            dest_qp: view.bth.qpn(),
            psn: view.bth.sequence(),
            ack_req: view.bth.ack_req(),
            becn: view.bth.dest_qp.get() & Bth::BECN != 0,
            reth: view.reth.copied(),
            aeth: view.aeth,
            word: view.word,
            deth: view.deth.copied(),
            payload: view.payload.to_vec(),
        },
    })
}

/// UDP source port of queue pair 1 with Linux rxe: the kernel's `hash_32(1, 14) | 0xc000`.
pub const GSI_SOURCE_PORT: u16 = 55410;

/// Flow label of a connection between two ports of TCP's port space, as Linux chooses it.
#[must_use]
pub fn flow_label(src_port: u16, dst_port: u16) -> u32 {
    (u32::from(src_port) * 31 + u32::from(dst_port)) & 0xf_ffff
}

/// UDP source port of a connection with this flow label (the kernel's `rdma_flow_label_to_udp_sport`).
#[must_use]
pub fn source_port(flow_label: u32) -> u16 {
    0xc000 | (flow_label & 0x3fff ^ flow_label >> 14 & 0x3f) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(v6: bool) -> (Endpoint, Endpoint) {
        let ip = |n: u8| -> IpAddr {
            let text = if v6 {
                format!("fd00::{n}")
            } else {
                format!("10.0.0.{n}")
            };
            text.parse().expect("an address")
        };
        let end = |n| Endpoint {
            mac: [2, 0, 0, 0, 0, n],
            ip: ip(n),
        };
        (end(1), end(2))
    }

    fn path() -> Path {
        Path {
            src_port: 0xc123,
            ip_id: 7,
            ecn: true,
        }
    }

    fn packet(opcode: Opcode, payload: Vec<u8>) -> Packet {
        let mut packet = Packet::new(opcode, 0x11_2233, 0xff_ffff, payload);
        packet.ack_req = true;
        packet.reth = opcode.has_reth().then(|| Reth {
            va: 0x1000.into(),
            rkey: 9.into(),
            len: 5.into(),
        });
        packet.aeth = opcode.has_aeth().then_some(Aeth(0x1f00_0003.into()));
        packet
    }

    #[test]
    fn a_packet_survives_the_way_over_either_ip() {
        for v6 in [false, true] {
            let (a, b) = ends(v6);
            for opcode in [
                Opcode::SendOnly,
                Opcode::WriteFirst,
                Opcode::ReadResponseOnly,
            ] {
                for len in 0..9 {
                    let sent = packet(opcode, vec![0xa5; len]);
                    let mut frame = sent.frame(&a, &b, path());
                    // Ethernet's own padding does not disturb, nor does a VLAN tag.
                    frame.resize(frame.len() + 7, 0);
                    if len & 1 == 1 {
                        frame.splice(12..12, [0x81, 0, 0x60, 5]);
                    }
                    let got = parse(&frame).expect("RoCE").expect("sound");
                    assert_eq!((got.from, got.to, got.congested), (a, b, false));
                    assert_eq!(got.packet, sent);
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_that_the_icrc_or_ip_covers_is_noticed() {
        for v6 in [false, true] {
            let (a, b) = ends(v6);
            let sent = packet(Opcode::WriteOnly, vec![1, 2, 3, 4, 5]);
            let frame = sent.frame(&a, &b, path());
            for bit in 14 * 8..frame.len() * 8 {
                let mut bad = frame.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                if let Some(Ok(got)) = parse(&bad) {
                    // Fields that may change on the way: class, flow label, hop limit, UDP checksum, BTH's reserved byte.
                    let same = Packet {
                        becn: sent.becn,
                        ..got.packet.clone()
                    };
                    assert_eq!(same, sent, "bit {bit}");
                    assert_eq!((got.from.ip, got.to.ip), (a.ip, b.ip), "bit {bit}");
                }
            }
        }
    }

    #[test]
    fn source_ports_are_those_of_linux() {
        // The first connection of capture c_rdma_rxe.
        assert_eq!(source_port(flow_label(0x85bb, 4420)), 49896);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..160), v6: bool) {
            let kind: u16 = if v6 { ethernet::IPV6 } else { ethernet::IPV4 };
            let at = if v6 { 20 } else { 23 };
            if frame.len() > 60 {
                frame[12..14].copy_from_slice(&kind.to_be_bytes());
                frame[at] = 17;
            }
            let _ = parse(&frame);
        }
    }
}
