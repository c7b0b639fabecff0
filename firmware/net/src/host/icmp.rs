//! ICMP and ICMPv6: echo, path MTU reports, neighbour discovery.

use super::{Host, HostEvent};
use crate::{
    Link, PathMtu,
    envelope::{Ends, Envelope, Link2},
    tcp::frame::tuple_bytes_hash,
};
use core::net::IpAddr;
use sluice_hal::{Micros, PmSlice, RawChecksum, RxDesc, RxFlags};
use sluice_wire::{
    ethernet::{self, is_group},
    icmp::{self, Header, Neighbor},
    ipv4::{self, PROTOCOL_ICMP, PROTOCOL_TCP},
    ipv6::{self, NEXT_ICMPV6},
};
use zerocopy::{FromBytes, IntoBytes};

/// Enough for Ethernet, IP, ICMP and the IP and first TCP words that an error quotes.
const HEAD: usize = 18 + 60 + 8 + 60 + 8;
/// All nodes on the link (RFC 4291, section 2.7.1).
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A message and where it came from.
struct Message<'a> {
    link: Link2,
    ends: Ends,
    hop_limit: u8,
    header: Header,
    /// What follows the 8 bytes of the header, as far as it was read.
    body: &'a [u8],
    /// All of what follows, in packet memory.
    rest: PmSlice,
}

impl<const N: usize> Host<N> {
    pub(super) fn take_icmp<L: Link>(
        &mut self,
        now: Micros,
        rx: &RxDesc,
        link: &mut L,
    ) -> Option<HostEvent> {
        let mut head = [0; HEAD];
        let len = HEAD.min(usize::from(rx.frame_len));
        link.read(rx.frame().addr, &mut head[..len]);
        let Some(message) = parse(rx, &head[..len]) else {
            self.stats.malformed += 1;
            return None;
        };
        match (message.ends, message.header.kind, message.header.code) {
            (Ends::V4 { .. }, icmp::V4_ECHO, 0) | (Ends::V6 { .. }, icmp::V6_ECHO, 0) => {
                self.echo(&message, link);
            }
            (Ends::V4 { dst, .. }, icmp::V4_UNREACHABLE, icmp::V4_CODE_TOO_BIG)
                if dst == self.cfg.ipv4 =>
            {
                return self.too_big_v4(&message);
            }
            (Ends::V6 { dst, .. }, icmp::V6_TOO_BIG, 0) if self.is_own(dst) => {
                return self.too_big_v6(&message);
            }
            (Ends::V6 { .. }, icmp::V6_SOLICIT, 0) => self.take_solicitation(&message, link),
            (Ends::V6 { .. }, icmp::V6_ADVERTISE, 0) => self.take_advertisement(&message, now),
            _ => self.stats.ignored += 1,
        }
        None
    }

    fn is_own(&self, ip: [u8; 16]) -> bool {
        ip != [0; 16] && (ip == self.cfg.ipv6 || ip == ipv6::link_local(self.cfg.mac))
    }

    /// The payload goes back from where it lies. Only what was sent to us alone, from someone, is answered (RFC 1122,
    /// section 3.2.2.6).
    fn echo<L: Link>(&mut self, message: &Message<'_>, link: &mut L) {
        let (ends, protocol, kind) = match message.ends {
            Ends::V4 { src, dst } if dst == self.cfg.ipv4 && !matches!(src[0], 0 | 127 | 224..) => {
                (
                    Ends::V4 { src: dst, dst: src },
                    PROTOCOL_ICMP,
                    icmp::V4_ECHO_REPLY,
                )
            }
            Ends::V6 { src, dst } if self.is_own(dst) && src[0] != 0xff && src != [0; 16] => (
                Ends::V6 { src: dst, dst: src },
                NEXT_ICMPV6,
                icmp::V6_ECHO_REPLY,
            ),
            _ => {
                self.stats.ignored += 1;
                return;
            }
        };
        let back = Link2 {
            dst: message.link.src,
            src: self.cfg.mac,
            tci: message.link.tci,
        };
        let header = Header {
            kind,
            checksum: 0.into(),
            ..message.header
        };
        let mut envelope = Envelope::new(&back, &ends, protocol, 0, 64);
        if send(&mut envelope, header.as_bytes(), message.rest, link) {
            self.stats.echoes += 1;
        }
    }

    fn too_big_v4(&mut self, message: &Message<'_>) -> Option<HostEvent> {
        let (ip, _) = ipv4::Header::ref_from_prefix(message.body).ok()?;
        let words = message.body.get(usize::from(ip.version_ihl & 0xf) * 4..)?;
        let ours = ip.src == self.cfg.ipv4 && ip.protocol == PROTOCOL_TCP;
        // Routers older than RFC 1191 name no size: then the least that one must assume.
        let mtu = match message.header.low.get() {
            0 => 576,
            mtu => mtu,
        };
        self.report(
            ours,
            IpAddr::V4(ip.dst.into()),
            IpAddr::V4(ip.src.into()),
            words,
            mtu,
        )
    }

    fn too_big_v6(&mut self, message: &Message<'_>) -> Option<HostEvent> {
        let (ip, words) = ipv6::Header::ref_from_prefix(message.body).ok()?;
        let ours = self.is_own(ip.src) && ip.next_header == PROTOCOL_TCP;
        let mtu = if message.header.high.get() != 0 {
            u16::MAX
        } else {
            message.header.low.get()
        };
        self.report(
            ours,
            IpAddr::V6(ip.dst.into()),
            IpAddr::V6(ip.src.into()),
            words,
            mtu,
        )
    }

    fn report(
        &mut self,
        ours: bool,
        peer: IpAddr,
        own: IpAddr,
        words: &[u8],
        mtu: u16,
    ) -> Option<HostEvent> {
        let &[a, b, c, d, e, f, g, h, ..] = words else {
            return None;
        };
        if !ours {
            self.stats.ignored += 1;
            return None;
        }
        self.stats.path_mtu += 1;
        Some(HostEvent::PathMtu(PathMtu {
            peer,
            local_port: u16::from_be_bytes([a, b]),
            peer_port: u16::from_be_bytes([c, d]),
            seq: u32::from_be_bytes([e, f, g, h]),
            mtu,
            flow_hash: tuple_bytes_hash(peer, own, [c, d, a, b]),
        }))
    }

    /// RFC 4861, sections 7.1.1 and 7.2.4.
    fn take_solicitation<L: Link>(&mut self, message: &Message<'_>, link: &mut L) {
        let Ends::V6 { src, dst } = message.ends else {
            return;
        };
        let options = message
            .body
            .get(16..)
            .map(|o| icmp::link_layer_option(o, icmp::OPTION_SOURCE));
        let target = target(message);
        let probe = src == [0; 16];
        let (Some(Ok(mac)), Some(target), 255) = (options, target, message.hop_limit) else {
            self.stats.malformed += 1;
            return;
        };
        if mac.is_some_and(|mac| is_group(&mac)) {
            self.stats.malformed += 1;
            return;
        }
        if probe && (mac.is_some() || dst != ipv6::solicited_node(target)) {
            self.stats.malformed += 1;
            return;
        }
        if !self.is_own(target) {
            self.stats.ignored += 1;
            return;
        }
        let (to, flags) = if probe {
            // Someone checks whether the address is free: everyone is told that it is not.
            (ALL_NODES, icmp::OVERRIDE)
        } else {
            (src, icmp::OVERRIDE | icmp::SOLICITED)
        };
        let dst = if probe {
            ipv6::multicast_mac(to)
        } else {
            mac.unwrap_or(message.link.src)
        };
        let back = Link2 {
            dst,
            src: self.cfg.mac,
            tci: message.link.tci,
        };
        self.stats.answered += 1;
        self.send_neighbor(&back, to, icmp::V6_ADVERTISE, flags, target, link);
    }

    /// RFC 4861, sections 7.1.2 and 7.2.5.
    fn take_advertisement(&mut self, message: &Message<'_>, now: Micros) {
        let options = message
            .body
            .get(16..)
            .map(|o| icmp::link_layer_option(o, icmp::OPTION_TARGET));
        let (Some(Ok(mac)), Some(target), 255) = (options, target(message), message.hop_limit)
        else {
            self.stats.malformed += 1;
            return;
        };
        let mac = mac.unwrap_or(message.link.src);
        let asked = message.header.high.get() & icmp::SOLICITED != 0 && !is_group(&mac);
        if !asked || !self.neighbors.learn(IpAddr::V6(target.into()), mac, now) {
            self.stats.unsolicited += 1;
        }
    }

    pub(super) fn advertise_unasked<L: Link>(&mut self, own: [u8; 16], link: &mut L) {
        let dst = ipv6::multicast_mac(ALL_NODES);
        let ends = Link2 {
            dst,
            src: self.cfg.mac,
            tci: self.own_tci(),
        };
        self.send_neighbor(
            &ends,
            ALL_NODES,
            icmp::V6_ADVERTISE,
            icmp::OVERRIDE,
            own,
            link,
        );
    }

    pub(super) fn solicit<L: Link>(&mut self, target: [u8; 16], link: &mut L) {
        let to = ipv6::solicited_node(target);
        let dst = ipv6::multicast_mac(to);
        let ends = Link2 {
            dst,
            src: self.cfg.mac,
            tci: self.own_tci(),
        };
        self.send_neighbor(&ends, to, icmp::V6_SOLICIT, 0, target, link);
    }

    fn send_neighbor<L: Link>(
        &self,
        to: &Link2,
        dst: [u8; 16],
        kind: u8,
        flags: u16,
        target: [u8; 16],
        link: &mut L,
    ) {
        let (src, option) = if kind == icmp::V6_ADVERTISE {
            (target, icmp::OPTION_TARGET)
        } else if target[..2] == [0xfe, 0x80] || self.cfg.ipv6 == [0; 16] {
            (ipv6::link_local(self.cfg.mac), icmp::OPTION_SOURCE)
        } else {
            (self.cfg.ipv6, icmp::OPTION_SOURCE)
        };
        let (high, low) = (flags.into(), 0.into());
        let header = Header {
            kind,
            code: 0,
            checksum: 0.into(),
            high,
            low,
        };
        let body = Neighbor {
            header,
            target,
            option,
            option_len: 1,
            mac: self.cfg.mac,
        };
        let mut envelope = Envelope::new(to, &Ends::V6 { src, dst }, NEXT_ICMPV6, 0, 255);
        send(&mut envelope, body.as_bytes(), PmSlice::default(), link);
    }
}

fn send<L: Link>(envelope: &mut Envelope, message: &[u8], rest: PmSlice, link: &mut L) -> bool {
    let (l3, l4) = (envelope.l3, envelope.l4);
    envelope.put(usize::from(l4), message);
    let header = envelope.finish(message.len(), rest.len);
    // Lost if the engine is busy; whoever asked asks again.
    link.send_raw(header, rest, l3, l4, RawChecksum::Icmp)
        .is_ok()
}

fn target(message: &Message<'_>) -> Option<[u8; 16]> {
    let target: [u8; 16] = message.body.get(..16)?.try_into().ok()?;
    (target[0] != 0xff).then_some(target)
}

fn parse<'a>(rx: &RxDesc, head: &'a [u8]) -> Option<Message<'a>> {
    let eth = ethernet::View::of(head)?;
    let (l3, l4) = (usize::from(rx.l3_offset), usize::from(rx.l4_offset));
    let ip = head.get(l3..)?;
    let (ends, hop_limit, total) = if rx.flags.has(RxFlags::IPV4) {
        let (ip, _) = ipv4::Header::ref_from_prefix(ip).ok()?;
        (
            Ends::V4 {
                src: ip.src,
                dst: ip.dst,
            },
            ip.ttl,
            usize::from(ip.total_len.get()),
        )
    } else {
        let (ip, _) = ipv6::Header::ref_from_prefix(ip).ok()?;
        let total = 40 + usize::from(ip.payload_len.get());
        (
            Ends::V6 {
                src: ip.src,
                dst: ip.dst,
            },
            ip.hop_limit,
            total,
        )
    };
    // The engine has checked that the packet fits the frame; padding is cut off here.
    let end = (l3 + total).min(usize::from(rx.frame_len));
    let (header, _) = Header::ref_from_prefix(head.get(l4..end.min(head.len()))?).ok()?;
    let body = head.get(l4 + 8..end.min(head.len()))?;
    let rest = PmSlice::new(rx.frame().addr.plus(l4 as u32 + 8), (end - l4 - 8) as u32);
    let link = Link2 {
        dst: eth.header.dst,
        src: eth.header.src,
        tci: eth.tci,
    };
    Some(Message {
        link,
        ends,
        hop_limit,
        header: *header,
        body,
        rest,
    })
}
