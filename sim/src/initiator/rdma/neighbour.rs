//! MAC addresses of those whom RoCE frames are for: ARP and neighbour discovery beside smoltcp, which answers both for the host.
//! Answers are believed only when they were asked for, since nothing protects them.

use std::{collections::BTreeMap, net::IpAddr};

use sluice_wire::{arp, checksum::Sum, ethernet, icmp, ipv6};
use zerocopy::{FromBytes, IntoBytes};

use super::frame::Endpoint;
use crate::fabric::Clock;

/// Clocks until the question is repeated: a second.
const AGAIN: Clock = 250_000_000;
/// Clocks between two doubts: a millisecond.
const PATIENCE: Clock = 250_000;
/// Questions before it is given up.
const TRIES: u32 = 4;

#[derive(Debug, Default)]
struct Entry {
    mac: Option<[u8; 6]>,
    /// When to ask again; none when not asking.
    next: Option<Clock>,
    tries: u32,
    /// When the address was last doubted.
    doubted: Option<Clock>,
}

/// What is known of the neighbours.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<IpAddr, Entry>);

/// What a question came to so far.
pub(super) enum Answer {
    Known([u8; 6]),
    Asking,
    Silence,
}

impl Neighbours {
    /// The address, if it is known; asks otherwise.
    pub(super) fn find(
        &mut self,
        now: Clock,
        here: &Endpoint,
        ip: IpAddr,
        tx: &mut Vec<Vec<u8>>,
    ) -> Answer {
        let entry = self.0.entry(ip).or_default();
        if let Some(mac) = entry.mac {
            return Answer::Known(mac);
        }
        if entry.next.is_none_or(|at| at <= now) {
            if entry.tries == TRIES {
                self.0.remove(&ip);
                return Answer::Silence;
            }
            entry.tries += 1;
            entry.next = Some(now + AGAIN);
            tx.extend(question(here, ip));
        }
        Answer::Asking
    }

    /// The address, if it is known.
    #[cfg(test)]
    pub(super) fn known(&self, ip: IpAddr) -> Option<[u8; 6]> {
        self.0.get(&ip)?.mac
    }

    /// Something does not get through: asks again, and uses what it knows until then.
    pub(super) fn doubt(&mut self, now: Clock, here: &Endpoint, ip: IpAddr, tx: &mut Vec<Vec<u8>>) {
        let entry = self.0.entry(ip).or_default();
        if entry.doubted.is_none_or(|at| now >= at + PATIENCE) {
            entry.doubted = Some(now);
            entry.next = Some(now + AGAIN);
            tx.extend(question(here, ip));
        }
    }

    /// When a question is due.
    pub(super) fn next_poll(&self) -> Option<Clock> {
        let asking = self.0.values().filter(|e| e.mac.is_none());
        asking.filter_map(|e| e.next).min()
    }

    /// A frame that may be an answer.
    pub(super) fn learn(&mut self, frame: &[u8]) {
        let Some((ip, mac)) = answer(frame).filter(|(_, mac)| !ethernet::is_group(mac)) else {
            return;
        };
        if let Some(entry) = self.0.get_mut(&ip).filter(|e| e.next.is_some()) {
            *entry = Entry {
                mac: Some(mac),
                next: None,
                tries: 0,
                doubted: entry.doubted,
            };
        }
    }
}

fn question(here: &Endpoint, ip: IpAddr) -> Option<Vec<u8>> {
    match (here.ip, ip) {
        (IpAddr::V4(from), IpAddr::V4(ip)) => {
            let sender = (here.mac, from.octets());
            let packet = arp::Packet::new(arp::REQUEST, sender, ([0; 6], ip.octets()));
            let kind = ethernet::ARP.to_be_bytes();
            let mut frame = [
                &ethernet::BROADCAST[..],
                &here.mac,
                &kind,
                packet.as_bytes(),
            ]
            .concat();
            frame.resize(ethernet::MIN_FRAME, 0);
            Some(frame)
        }
        (IpAddr::V6(from), IpAddr::V6(ip)) => {
            let group = ipv6::solicited_node(ip.octets());
            let mut ask = icmp::Neighbor {
                header: icmp::Header {
                    kind: icmp::V6_SOLICIT,
                    code: 0,
                    checksum: 0.into(),
                    high: 0.into(),
                    low: 0.into(),
                },
                target: ip.octets(),
                option: icmp::OPTION_SOURCE,
                option_len: 1,
                mac: here.mac,
            };
            let sum = Sum::default().pseudo(&from.octets(), &group, ipv6::NEXT_ICMPV6, 32);
            ask.header.checksum = sum.bytes(ask.as_bytes()).finish().into();
            let header = ipv6::Header::new(from.octets(), group, ipv6::NEXT_ICMPV6, 255, 32);
            let kind = ethernet::IPV6.to_be_bytes();
            let to = ipv6::multicast_mac(group);
            let parts = [&to[..], &here.mac, &kind, header.as_bytes(), ask.as_bytes()];
            Some(parts.concat())
        }
        _ => None,
    }
}

fn answer(frame: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    let eth = ethernet::View::of(frame)?;
    let payload = frame.get(eth.payload_offset..)?;
    match eth.ethertype {
        ethernet::ARP => {
            let packet = arp::Packet::of(payload)?;
            let reply = packet.operation.get() == arp::REPLY;
            reply.then_some((packet.sender_ip.into(), packet.sender_mac))
        }
        ethernet::IPV6 => {
            let view = ipv6::View::of(payload)?;
            let ip = view.header;
            if ip.next_header != ipv6::NEXT_ICMPV6 || ip.hop_limit != 255 {
                return None;
            }
            let len = view.payload.len() as u32;
            let sum = Sum::default().pseudo(&ip.src, &ip.dst, ipv6::NEXT_ICMPV6, len);
            let (header, rest) = icmp::Header::ref_from_prefix(view.payload).ok()?;
            let (target, options) = rest.split_first_chunk::<16>()?;
            if header.kind != icmp::V6_ADVERTISE || !sum.bytes(view.payload).is_right() {
                return None;
            }
            let mac = icmp::link_layer_option(options, icmp::OPTION_TARGET).ok()??;
            Some(((*target).into(), mac))
        }
        _ => None,
    }
}
