//! The control core's part of IP: ARP (RFC 826), neighbour discovery (RFC 4861), echo and path MTU reports (RFC 792, RFC
//! 4443). Gets every frame that is not TCP.
//!
//! Not here: router discovery (IPv6 peers of active opens must be on the link), fragments, UDP.

mod icmp;
mod neighbors;

use crate::{Link, PathMtu, envelope::Link2};
use core::net::IpAddr;
use neighbors::{Neighbors, Outcome};
use sluice_hal::{Micros, PmSlice, RawChecksum, RxDesc, RxFlags};
use sluice_wire::{
    arp,
    ethernet::{self, BROADCAST},
    ipv6,
};
use zerocopy::IntoBytes;

/// Addresses of a [`Host`].
#[derive(Clone, Copy, Debug, Default)]
pub struct HostConfig {
    /// Own MAC address.
    pub mac: [u8; 6],
    /// Own IPv4 address; zero for none.
    pub ipv4: [u8; 4],
    /// Its prefix length.
    pub ipv4_prefix: u8,
    /// Next hop beyond the prefix; zero for none.
    pub ipv4_gateway: [u8; 4],
    /// Own IPv6 address; zero for none. The link-local address made from `mac` is answered too.
    pub ipv6: [u8; 16],
    /// VLAN of what is sent unasked; 0 for untagged. Answers carry the tag of the question.
    pub vlan: u16,
}

/// What others must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostEvent {
    /// For [`crate::Tcp::path_mtu`] on the core that has the connection.
    PathMtu(PathMtu),
}

/// Counters; they wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostStats {
    /// ARP and neighbour solicitations answered.
    pub answered: u32,
    /// Echo requests answered.
    pub echoes: u32,
    /// Neighbour replies that nobody asked for, dropped.
    pub unsolicited: u32,
    /// Neighbours that did not answer.
    pub unreachable: u32,
    /// Path MTU reports passed on.
    pub path_mtu: u32,
    /// Malformed messages, dropped.
    pub malformed: u32,
    /// Frames of kinds that are of no interest, dropped.
    pub ignored: u32,
}

/// Frames that are not TCP, and a cache of `N` neighbours.
pub struct Host<const N: usize> {
    cfg: HostConfig,
    neighbors: Neighbors<N>,
    stats: HostStats,
}

impl<const N: usize> Default for Host<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Host<N> {
    /// A host that must be [configured](Self::configure).
    #[must_use]
    pub const fn new() -> Self {
        let cfg = HostConfig {
            mac: [0; 6],
            ipv4: [0; 4],
            ipv4_prefix: 0,
            ipv4_gateway: [0; 4],
            ipv6: [0; 16],
            vlan: 0,
        };
        let stats = HostStats {
            answered: 0,
            echoes: 0,
            unsolicited: 0,
            unreachable: 0,
            path_mtu: 0,
            malformed: 0,
            ignored: 0,
        };
        Self {
            cfg,
            neighbors: Neighbors::new(),
            stats,
        }
    }

    /// Sets the addresses.
    pub fn configure(&mut self, cfg: &HostConfig) {
        self.cfg = *cfg;
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> &HostStats {
        &self.stats
    }

    /// Tells the link that the own addresses are here: gratuitous ARP (RFC 5227, section 2.3) and unsolicited neighbour
    /// advertisements (RFC 4861, section 7.2.6). At start, and after a failover.
    pub fn announce<L: Link>(&mut self, link: &mut L) {
        if self.cfg.ipv4 != [0; 4] {
            let own = (self.cfg.mac, self.cfg.ipv4);
            let packet = arp::Packet::new(arp::REQUEST, own, ([0; 6], self.cfg.ipv4));
            self.send_arp(BROADCAST, self.own_tci(), &packet, link);
        }
        for own in [self.cfg.ipv6, ipv6::link_local(self.cfg.mac)] {
            if own != [0; 16] {
                self.advertise_unasked(own, link);
            }
        }
    }

    /// Takes a received frame and its buffer.
    pub fn input<L: Link>(&mut self, now: Micros, rx: &RxDesc, link: &mut L) -> Option<HostEvent> {
        let event = if rx.flags.has(RxFlags::ARP) {
            self.take_arp(now, rx, link);
            None
        } else if rx.flags.has(RxFlags::ICMP | RxFlags::L4_OK) {
            self.take_icmp(now, rx, link)
        } else {
            self.stats.ignored += 1;
            None
        };
        link.free(rx.buf);
        event
    }

    /// The MAC address to which frames for `to` go, if it is known. If not, it is asked for: try again later.
    /// An address beyond the IPv4 prefix resolves to the gateway's.
    pub fn resolve<L: Link>(&mut self, now: Micros, to: IpAddr, link: &mut L) -> Option<[u8; 6]> {
        let hop = self.next_hop(to)?;
        match self.neighbors.lookup(hop, now) {
            Outcome::Known(mac) => Some(mac),
            Outcome::Asked => None,
            Outcome::Ask => {
                self.ask(hop, link);
                None
            }
        }
    }

    fn next_hop(&self, to: IpAddr) -> Option<IpAddr> {
        let IpAddr::V4(ip) = to else { return Some(to) };
        let host_bits = 32 - u32::from(self.cfg.ipv4_prefix.min(32));
        let different = ip.to_bits() ^ u32::from_be_bytes(self.cfg.ipv4);
        if different.checked_shr(host_bits).unwrap_or(0) == 0 {
            return Some(to);
        }
        (self.cfg.ipv4_gateway != [0; 4]).then_some(IpAddr::V4(self.cfg.ipv4_gateway.into()))
    }

    /// When [`Host::handle_timeouts`] is worth calling.
    #[must_use]
    pub fn deadline(&self) -> Option<Micros> {
        self.neighbors.deadline()
    }

    /// Asks neighbours again that have not answered, gives up on them, forgets old ones.
    pub fn handle_timeouts<L: Link>(&mut self, now: Micros, link: &mut L) {
        while let Some((ip, again)) = self.neighbors.expire(now) {
            if again {
                self.ask(ip, link);
            } else {
                self.stats.unreachable += 1;
            }
        }
    }

    fn ask<L: Link>(&mut self, ip: IpAddr, link: &mut L) {
        match ip {
            IpAddr::V4(ip) => {
                let own = (self.cfg.mac, self.cfg.ipv4);
                let packet = arp::Packet::new(arp::REQUEST, own, ([0; 6], ip.octets()));
                self.send_arp(BROADCAST, self.own_tci(), &packet, link);
            }
            IpAddr::V6(ip) => self.solicit(ip.octets(), link),
        }
    }

    fn take_arp<L: Link>(&mut self, now: Micros, rx: &RxDesc, link: &mut L) {
        let mut head = [0; 18 + 28];
        let len = (usize::from(rx.l3_offset) + 28).min(head.len());
        if usize::from(rx.frame_len) < len {
            self.stats.malformed += 1;
            return;
        }
        link.read(rx.frame().addr, &mut head[..len]);
        let packet = head
            .get(usize::from(rx.l3_offset)..)
            .and_then(arp::Packet::of);
        let Some(packet) = packet.filter(|p| !ethernet::is_group(&p.sender_mac)) else {
            self.stats.malformed += 1;
            return;
        };
        let for_us = packet.target_ip == self.cfg.ipv4 && self.cfg.ipv4 != [0; 4];
        match packet.operation.get() {
            arp::REQUEST if for_us => {
                let to = (packet.sender_mac, packet.sender_ip);
                let reply = arp::Packet::new(arp::REPLY, (self.cfg.mac, self.cfg.ipv4), to);
                let tci = rx.flags.has(RxFlags::VLAN).then_some(rx.vlan);
                self.send_arp(packet.sender_mac, tci, &reply, link);
                self.stats.answered += 1;
            }
            arp::REPLY => {
                let ip = IpAddr::V4(packet.sender_ip.into());
                if !for_us || !self.neighbors.learn(ip, packet.sender_mac, now) {
                    self.stats.unsolicited += 1;
                }
            }
            _ => self.stats.ignored += 1,
        }
    }

    fn send_arp<L: Link>(
        &self,
        dst: [u8; 6],
        tci: Option<u16>,
        packet: &arp::Packet,
        link: &mut L,
    ) {
        let ends = Link2 {
            dst,
            src: self.cfg.mac,
            tci,
        };
        let mut envelope = crate::envelope::Envelope::ethernet(&ends, ethernet::ARP);
        let (l3, at) = (envelope.l3, usize::from(envelope.l3));
        envelope.put(at, packet.as_bytes());
        let frame = envelope.head(at + size_of::<arp::Packet>());
        // Lost if the engine is busy; ARP repeats itself.
        let _ = link.send_raw(frame, PmSlice::default(), l3, l3, RawChecksum::None);
    }

    fn own_tci(&self) -> Option<u16> {
        (self.cfg.vlan != 0).then_some(self.cfg.vlan)
    }
}
