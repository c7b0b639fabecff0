//! ARP, neighbour discovery and ICMP: smoltcp as the other side, and hand-made frames where an attacker would send them.

mod support;

use sluice_hal::{Micros, RxFlags};
use sluice_net::{Host, HostConfig, HostEvent};
use sluice_wire::checksum::Sum;
use sluice_wire::{arp, ethernet, icmp, ipv4, ipv6};
use std::net::IpAddr;
use support::{CARD_IP, CARD_IP6, CARD_MAC, Card, PEER_IP, PEER_IP6, PEER_MAC};
use zerocopy::{FromBytes, IntoBytes};

struct Bench {
    host: Host<4>,
    card: Card,
    now: Micros,
}

fn bench() -> Bench {
    let mut host = Host::new();
    host.configure(&HostConfig {
        mac: CARD_MAC,
        ipv4: CARD_IP,
        ipv4_prefix: 24,
        ipv4_gateway: [10, 77, 0, 254],
        ipv6: CARD_IP6,
        vlan: 0,
    });
    Bench {
        host,
        card: Card::new(CARD_MAC, 1),
        now: Micros(1_000),
    }
}

impl Bench {
    fn put(&mut self, frame: &[u8]) -> Option<HostEvent> {
        let desc = self.card.receive(frame, self.now).expect("a sound frame");
        assert!(!desc.flags.has(RxFlags::TCP));
        let event = self.host.input(self.now, &desc, &mut self.card);
        assert!(self.card.held.is_empty(), "the buffer is given back");
        event
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.card.sent.drain(..).collect()
    }

    fn resolve(&mut self, ip: impl Into<IpAddr>) -> Option<[u8; 6]> {
        self.host.resolve(self.now, ip.into(), &mut self.card)
    }
}

fn ether(dst: [u8; 6], ethertype: u16, rest: &[u8]) -> Vec<u8> {
    let header = ethernet::Header {
        dst,
        src: PEER_MAC,
        ethertype: ethertype.into(),
    };
    let mut frame = [header.as_bytes(), rest].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn arp_frame(operation: u16, sender: ([u8; 6], [u8; 4]), target: ([u8; 6], [u8; 4])) -> Vec<u8> {
    let packet = arp::Packet::new(operation, sender, target);
    ether(ethernet::BROADCAST, ethernet::ARP, packet.as_bytes())
}

fn icmp4(dst: [u8; 4], message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let sum = Sum::default().bytes(&message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let ip = ipv4::Header::new(PEER_IP, dst, ipv4::PROTOCOL_ICMP, message.len() as u16);
    ether(
        CARD_MAC,
        ethernet::IPV4,
        &[ip.as_bytes(), &message].concat(),
    )
}

fn icmp6(src: [u8; 16], dst: [u8; 16], hops: u8, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let sum = Sum::default()
        .pseudo(&src, &dst, 58, message.len() as u32)
        .bytes(&message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    let ip = ipv6::Header::new(src, dst, ipv6::NEXT_ICMPV6, hops, message.len() as u16);
    let mac = if dst[0] == 0xff {
        ipv6::multicast_mac(dst)
    } else {
        CARD_MAC
    };
    ether(mac, ethernet::IPV6, &[ip.as_bytes(), &message].concat())
}

fn neighbor(kind: u8, flags: u16, target: [u8; 16], option: u8, mac: [u8; 6]) -> Vec<u8> {
    let header = icmp::Header {
        kind,
        code: 0,
        checksum: 0.into(),
        high: flags.into(),
        low: 0.into(),
    };
    icmp::Neighbor {
        header,
        target,
        option,
        option_len: 1,
        mac,
    }
    .as_bytes()
    .to_vec()
}

#[test]
fn an_arp_question_for_the_own_address_is_answered_to_the_asker() {
    let mut b = bench();
    b.put(&arp_frame(
        arp::REQUEST,
        (PEER_MAC, PEER_IP),
        ([0; 6], CARD_IP),
    ));
    let sent = b.sent();
    let answer = arp::Packet::of(&sent[0][14..]).expect("ARP");
    assert_eq!(
        *answer,
        arp::Packet::new(arp::REPLY, (CARD_MAC, CARD_IP), (PEER_MAC, PEER_IP))
    );
    assert_eq!((&sent[0][..6], sent.len()), (&PEER_MAC[..], 1));
    b.put(&arp_frame(
        arp::REQUEST,
        (PEER_MAC, PEER_IP),
        ([0; 6], [10, 77, 0, 9]),
    ));
    assert!(b.sent().is_empty());
}

#[test]
fn an_arp_answer_carries_the_tag_of_the_question() {
    let mut b = bench();
    let mut frame = arp_frame(arp::REQUEST, (PEER_MAC, PEER_IP), ([0; 6], CARD_IP));
    frame.splice(12..12, [0x81, 0x00, 0x60, 0x07]);
    b.put(&frame);
    let sent = b.sent();
    assert_eq!(sent[0][12..18], [0x81, 0x00, 0x60, 0x07, 0x08, 0x06]);
    assert!(arp::Packet::of(&sent[0][18..]).is_some());
}

#[test]
fn a_neighbour_is_asked_for_again_and_given_up() {
    let mut b = bench();
    assert_eq!(b.resolve(PEER_IP), None);
    assert_eq!(b.resolve(PEER_IP), None);
    assert_eq!(b.sent().len(), 1, "one question at a time");
    for _ in 0..5 {
        b.now = b.host.deadline().unwrap_or(b.now);
        b.host.handle_timeouts(b.now, &mut b.card);
    }
    assert_eq!((b.sent().len(), b.host.stats().unreachable), (2, 1));
    assert_eq!(b.resolve(PEER_IP), None);
    assert_eq!(b.sent().len(), 1, "a new attempt");
}

#[test]
fn an_answer_is_believed_only_when_asked_for() {
    let mut b = bench();
    let liar = [6; 6];
    b.put(&arp_frame(arp::REPLY, (liar, PEER_IP), (CARD_MAC, CARD_IP)));
    assert_eq!(b.resolve(PEER_IP), None);
    b.put(&arp_frame(
        arp::REPLY,
        (PEER_MAC, PEER_IP),
        (CARD_MAC, CARD_IP),
    ));
    assert_eq!(b.resolve(PEER_IP), Some(PEER_MAC));
    b.put(&arp_frame(arp::REPLY, (liar, PEER_IP), (CARD_MAC, CARD_IP)));
    b.put(&arp_frame(arp::REQUEST, (liar, PEER_IP), ([0; 6], CARD_IP)));
    assert_eq!(b.resolve(PEER_IP), Some(PEER_MAC), "not moved by shouting");
    assert_eq!(b.host.stats().unsolicited, 2);
    b.now = b.now.after(61_000_000);
    assert_eq!(b.resolve(PEER_IP), None, "aged");
}

#[test]
fn addresses_beyond_the_prefix_go_to_the_gateway() {
    let mut b = bench();
    assert_eq!(b.resolve([192, 0, 2, 1]), None);
    let sent = b.sent();
    assert_eq!(
        arp::Packet::of(&sent[0][14..]).expect("ARP").target_ip,
        [10, 77, 0, 254]
    );
    b.put(&arp_frame(
        arp::REPLY,
        ([8; 6], [10, 77, 0, 254]),
        (CARD_MAC, CARD_IP),
    ));
    assert_eq!(b.resolve([192, 0, 2, 1]), Some([8; 6]));
    assert_eq!(b.resolve([198, 51, 100, 1]), Some([8; 6]));
}

#[test]
fn a_full_cache_forgets_the_oldest() {
    let mut b = bench();
    for i in 1..=6 {
        let ip = [10, 77, 0, i];
        assert_eq!(b.resolve(ip), None);
        b.put(&arp_frame(
            arp::REPLY,
            ([i & !1; 6], ip),
            (CARD_MAC, CARD_IP),
        ));
        assert_eq!(b.resolve(ip), Some([i & !1; 6]));
        b.now = b.now.after(1_000);
    }
    assert_eq!(b.resolve([10, 77, 0, 6]), Some([6; 6]));
    assert_eq!(b.resolve([10, 77, 0, 1]), None);
}

#[test]
fn echo_comes_back_with_its_payload() {
    let mut b = bench();
    for len in [0usize, 1, 56, 1400] {
        let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let message = [&[8, 0, 0, 0, 0x12, 0x34, 0, 7][..], &body].concat();
        b.put(&icmp4(CARD_IP, &message));
        let sent = b.sent();
        let ip = ipv4::View::of(&sent[0][14..]).expect("good header");
        assert_eq!(
            (ip.header.src, ip.header.dst, sent[0][0]),
            (CARD_IP, PEER_IP, PEER_MAC[0])
        );
        assert!(Sum::default().bytes(ip.payload).is_right());
        assert_eq!(ip.payload[..2], [0, 0]);
        assert_eq!(ip.payload[4..], message[4..]);

        let message = [&[128, 0, 0, 0, 0x12, 0x34, 0, 7][..], &body].concat();
        b.put(&icmp6(PEER_IP6, CARD_IP6, 64, &message));
        let sent = b.sent();
        let ip = ipv6::View::of(&sent[0][14..]).expect("good header");
        assert_eq!((ip.header.src, ip.header.dst), (CARD_IP6, PEER_IP6));
        let sum = Sum::default().pseudo(&CARD_IP6, &PEER_IP6, 58, ip.payload.len() as u32);
        assert!(sum.bytes(ip.payload).is_right());
        assert_eq!((ip.payload[0], &ip.payload[4..]), (129, &message[4..]));
    }
    b.put(&icmp4([10, 77, 0, 255], &[8, 0, 0, 0, 0, 0, 0, 0]));
    assert!(b.sent().is_empty(), "broadcast is not answered");
}

#[test]
fn a_neighbour_solicitation_is_answered() {
    let mut b = bench();
    let group = ipv6::solicited_node(CARD_IP6);
    let question = neighbor(icmp::V6_SOLICIT, 0, CARD_IP6, icmp::OPTION_SOURCE, PEER_MAC);
    b.put(&icmp6(PEER_IP6, group, 255, &question));
    let sent = b.sent();
    let ip = ipv6::View::of(&sent[0][14..]).expect("good header");
    let (answer, _) = icmp::Neighbor::ref_from_prefix(ip.payload).expect("an advertisement");
    assert_eq!(
        (answer.header.kind, answer.target, answer.mac),
        (136, CARD_IP6, CARD_MAC)
    );
    assert_eq!(answer.header.high.get(), icmp::SOLICITED | icmp::OVERRIDE);
    assert_eq!((ip.header.dst, ip.header.hop_limit), (PEER_IP6, 255));
    // From beyond the link, or for another address, or forged to look like an address probe: nothing.
    b.put(&icmp6(PEER_IP6, group, 254, &question));
    let other = neighbor(icmp::V6_SOLICIT, 0, PEER_IP6, icmp::OPTION_SOURCE, PEER_MAC);
    b.put(&icmp6(PEER_IP6, group, 255, &other));
    b.put(&icmp6([0; 16], group, 255, &question));
    assert!(b.sent().is_empty());
    // An address probe is answered to all nodes (RFC 4862, section 5.4).
    b.put(&icmp6([0; 16], group, 255, &question[..24]));
    let sent = b.sent();
    assert_eq!(sent[0][..6], [0x33, 0x33, 0, 0, 0, 1]);
}

#[test]
fn an_ipv6_neighbour_is_resolved_and_not_moved() {
    let mut b = bench();
    assert_eq!(b.resolve(PEER_IP6), None);
    let sent = b.sent();
    assert_eq!(
        sent[0][..6],
        ipv6::multicast_mac(ipv6::solicited_node(PEER_IP6))
    );
    let answer = |mac| {
        neighbor(
            icmp::V6_ADVERTISE,
            icmp::SOLICITED,
            PEER_IP6,
            icmp::OPTION_TARGET,
            mac,
        )
    };
    b.put(&icmp6(PEER_IP6, CARD_IP6, 255, &answer(PEER_MAC)));
    assert_eq!(b.resolve(PEER_IP6), Some(PEER_MAC));
    b.put(&icmp6(PEER_IP6, CARD_IP6, 255, &answer([6; 6])));
    assert_eq!(b.resolve(PEER_IP6), Some(PEER_MAC));
}

#[test]
fn a_path_mtu_report_names_the_connection() {
    let mut b = bench();
    let quoted = ipv4::Header::new(CARD_IP, PEER_IP, ipv4::PROTOCOL_TCP, 1480);
    let words = [0x11, 0x44, 0xc3, 0x50, 1, 2, 3, 4];
    let message = |mtu: [u8; 2], ip: &ipv4::Header| {
        [
            &[3, 4, 0, 0, 0, 0, mtu[0], mtu[1]],
            ip.as_bytes(),
            &words[..],
        ]
        .concat()
    };
    let Some(HostEvent::PathMtu(report)) = b.put(&icmp4(CARD_IP, &message([5, 0], &quoted))) else {
        panic!("no report");
    };
    assert_eq!(
        (report.peer, report.mtu, report.seq),
        (PEER_IP.into(), 1280, 0x0102_0304)
    );
    assert_eq!((report.local_port, report.peer_port), (4420, 50_000));
    let hash = sluice_wire::crc32c::crc32c(&[10, 77, 0, 2, 10, 77, 0, 1, 0xc3, 0x50, 0x11, 0x44]);
    assert_eq!(report.flow_hash, hash);
    let foreign = ipv4::Header::new([10, 77, 0, 9], PEER_IP, ipv4::PROTOCOL_TCP, 1480);
    assert_eq!(b.put(&icmp4(CARD_IP, &message([5, 0], &foreign))), None);
    assert_eq!(
        b.put(&icmp4(CARD_IP, &message([5, 0], &quoted)[..20])),
        None
    );

    let quoted = ipv6::Header::new(CARD_IP6, PEER_IP6, 6, 64, 1440);
    let message = [&[2, 0, 0, 0, 0, 0, 5, 0x78], quoted.as_bytes(), &words[..]].concat();
    let Some(HostEvent::PathMtu(report)) = b.put(&icmp6(PEER_IP6, CARD_IP6, 64, &message)) else {
        panic!("no report");
    };
    assert_eq!((report.peer, report.mtu), (PEER_IP6.into(), 1400));
}

#[test]
fn announcements_name_all_own_addresses() {
    let mut b = bench();
    b.host.announce(&mut b.card);
    let sent = b.sent();
    assert_eq!(sent.len(), 3, "IPv4, IPv6 and link-local");
    let packet = arp::Packet::of(&sent[0][14..]).expect("ARP");
    assert_eq!((packet.sender_ip, packet.target_ip), (CARD_IP, CARD_IP));
}

mod garbage {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn mangled_messages_are_survived(
            kind in 0usize..6,
            cut in 0usize..120,
            edits in proptest::collection::vec((0usize..120, any::<u8>()), 0..6),
        ) {
            let quoted = ipv4::Header::new(CARD_IP, PEER_IP, 6, 100);
            let quoted6 = ipv6::Header::new(CARD_IP6, PEER_IP6, 6, 64, 100);
            let mut message = match kind {
                0 => vec![8, 0, 0, 0, 1, 2, 3, 4, 5],
                1 => [&[3, 4, 0, 0, 0, 0, 5, 0], quoted.as_bytes(), &[1; 8]].concat(),
                2 => [&[2, 0, 0, 0, 0, 0, 5, 0], quoted6.as_bytes(), &[1; 8]].concat(),
                3 => neighbor(135, 0, CARD_IP6, 1, PEER_MAC),
                4 => neighbor(136, 0x6000, PEER_IP6, 2, PEER_MAC),
                _ => vec![128, 0, 0, 0, 1, 2, 3, 4, 5],
            };
            for (at, value) in edits {
                if let Some(byte) = message.get_mut(at) {
                    *byte = value;
                }
            }
            message.truncate(cut.max(8));
            let mut b = bench();
            if kind < 2 {
                b.put(&icmp4(CARD_IP, &message));
            } else {
                b.put(&icmp6(PEER_IP6, CARD_IP6, 255, &message));
            }
            for frame in b.sent() {
                let to = frame[..6].try_into().expect("6 bytes");
                prop_assert!(sluice_engines::parse(&frame, to, sluice_hal::BufId(0), 0).is_ok());
            }
        }
    }
}
