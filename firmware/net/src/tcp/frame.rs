//! Frames whose headers the core makes itself: everything but the engine's trains. SYN, RST, acknowledgments with SACK,
//! probes, and the headers from which templates are cut.

use super::{
    Tcp,
    conn::{Conn, Local, flag},
    isn::Tuple,
    table::flow_hash,
};
use crate::{
    Link,
    envelope::{Ends, Envelope, Link2},
};
use core::net::IpAddr;
use sluice_hal::{Busy, PmAddr, PmSlice, RawChecksum, RxDesc, RxFlags};
use sluice_wire::{
    ethernet,
    ipv4::{self, PROTOCOL_TCP},
    ipv6,
    tcp::{self, Options},
};
use zerocopy::{FromBytes, IntoBytes};

/// Where a frame came from, and so where an answer goes.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    pub mac: [u8; 6],
    /// Tag of the frame; an answer carries the same.
    pub tci: Option<u16>,
    pub local: Local,
    pub tuple: Tuple,
}

/// The words of an address.
pub fn words(bytes: &[u8]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

/// The bytes of an address.
fn bytes(words: &[u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// What goes into a TCP header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
}

/// Ethernet and IP towards `to`; `class` is the IPv4 TOS or IPv6 traffic class.
fn towards(to: &Origin, own_mac: [u8; 6], class: u8) -> Envelope {
    let link = Link2 {
        dst: to.mac,
        src: own_mac,
        tci: to.tci,
    };
    let ends = if to.local == Local::V4 {
        let (local, peer) = (to.tuple.local[0], to.tuple.peer[0]);
        Ends::V4 {
            src: local.to_be_bytes(),
            dst: peer.to_be_bytes(),
        }
    } else {
        Ends::V6 {
            src: bytes(&to.tuple.local),
            dst: bytes(&to.tuple.peer),
        }
    };
    Envelope::new(&link, &ends, PROTOCOL_TCP, class, 64)
}

/// Ethernet and IP as in a connection's template, but not marked as capable of ECN: that is for new data only (RFC 3168,
/// sections 6.1.4 and 6.1.5).
fn of_template<L: Link>(conn: &Conn, template: PmAddr, link: &mut L) -> Envelope {
    let mut envelope = Envelope::empty(conn.l3, conn.l4);
    let head = envelope.head(usize::from(conn.l4));
    link.read(template, head);
    let mask = if conn.local == Local::V4 {
        !0b11
    } else {
        !0b0011_0000
    };
    if let Some(byte) = head.get_mut(usize::from(conn.l3) + 1) {
        *byte &= mask;
    }
    envelope
}

/// Adds the TCP header and sets the IP length for `payload` more bytes; returns the whole.
fn with_tcp<'a>(
    envelope: &'a mut Envelope,
    ports: u32,
    tcp: Fields,
    options: &Options,
    payload: u32,
) -> &'a [u8] {
    let mut bytes = [0; 40];
    let option_len = options.emit(&mut bytes);
    let header = tcp::Header {
        src_port: (ports as u16).into(),
        dst_port: ((ports >> 16) as u16).into(),
        seq: tcp.seq.into(),
        ack: tcp.ack.into(),
        data_offset: ((20 + option_len as u8) / 4) << 4,
        flags: tcp.flags,
        window: tcp.window.into(),
        checksum: 0.into(),
        urgent: 0.into(),
    };
    let l4 = usize::from(envelope.l4);
    envelope.put(l4, header.as_bytes());
    envelope.put(l4 + 20, &bytes[..option_len]);
    envelope.finish(20 + option_len, payload)
}

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Tcp<CONNS, SEGS, CHUNKS> {
    /// Reads where a frame came from. `None` if it is not for one of our addresses, or no one may be answered: group
    /// addresses on either side (RFC 9293, section 3.9.2.3; RFC 1122, section 3.2.1.3).
    pub(super) fn origin<L: Link>(&self, rx: &RxDesc, link: &mut L) -> Option<Origin> {
        let mut head = [0; 58];
        let l3 = usize::from(rx.l3_offset);
        let v4 = rx.flags.has(RxFlags::IPV4);
        let len = l3 + if v4 { 20 } else { 40 };
        link.read(rx.frame().addr, head.get_mut(..len)?);
        let eth = ethernet::View::of(&head)?;
        if ethernet::is_group(&eth.header.dst) || ethernet::is_group(&eth.header.src) {
            return None;
        }
        let ip = head.get(l3..len)?;
        let (local, peer, own) = if v4 {
            let ip = ipv4::Header::ref_from_bytes(ip).ok()?;
            self.own_ipv4(ip.dst).filter(|_| may_answer_v4(ip.src))?;
            (Local::V4, words(&ip.src), words(&ip.dst))
        } else {
            let ip = ipv6::Header::ref_from_bytes(ip).ok()?;
            let local = self.own_ipv6(ip.dst).filter(|_| may_answer_v6(ip.src))?;
            (local, words(&ip.src), words(&ip.dst))
        };
        let ports = u32::from(rx.src_port) << 16 | u32::from(rx.dst_port);
        let tuple = Tuple {
            peer,
            local: own,
            ports,
        };
        Some(Origin {
            mac: eth.header.src,
            tci: eth.tci,
            local,
            tuple,
        })
    }

    fn own_ipv4(&self, dst: [u8; 4]) -> Option<Local> {
        (dst == self.common.cfg.ipv4 && dst != [0; 4]).then_some(Local::V4)
    }

    fn own_ipv6(&self, dst: [u8; 16]) -> Option<Local> {
        if dst == self.common.cfg.ipv6 && dst != [0; 16] {
            Some(Local::V6)
        } else {
            (dst == ipv6::link_local(self.common.cfg.mac)).then_some(Local::V6Link)
        }
    }

    /// Writes a connection's template: header with ports, and with timestamps if they are used.
    pub(super) fn write_template<L: Link>(&mut self, c: usize, to: &Origin, link: &mut L) {
        let conn = &mut self.conns[c];
        let ect = if conn.has(flag::ECN) { ipv4::ECT0 } else { 0 };
        let mut header = towards(to, self.common.cfg.mac, ect);
        let timestamps = conn.has(flag::TS).then_some((0, 0));
        let options = Options {
            timestamps,
            ..Options::default()
        };
        let fields = Fields {
            flags: tcp::ACK,
            ..Fields::default()
        };
        (conn.l3, conn.l4) = (header.l3, header.l4);
        let bytes = with_tcp(&mut header, to.tuple.ports, fields, &options, 0);
        conn.header_len = bytes.len() as u8;
        let at = self.template(c);
        link.write(at, bytes);
    }

    /// Sends one segment of a connection with options of its own, and `rest` as payload.
    pub(super) fn send_special<L: Link>(
        &self,
        c: usize,
        fields: Fields,
        options: &Options,
        rest: PmSlice,
        link: &mut L,
    ) -> Result<(), Busy> {
        let conn = &self.conns[c];
        let mut header = of_template(conn, self.template(c), link);
        let (l3, l4) = (header.l3, header.l4);
        let bytes = with_tcp(&mut header, conn.ports, fields, options, rest.len);
        link.send_raw(bytes, rest, l3, l4, RawChecksum::Tcp)
    }

    /// Answers a segment that belongs to no connection; lost if the engine is busy, as if on the wire.
    pub(super) fn answer<L: Link>(
        &mut self,
        to: &Origin,
        fields: Fields,
        options: &Options,
        link: &mut L,
    ) {
        let mut header = towards(to, self.common.cfg.mac, 0);
        let (l3, l4) = (header.l3, header.l4);
        let bytes = with_tcp(&mut header, to.tuple.ports, fields, options, 0);
        // The peer repeats itself if this is lost.
        let _ = link.send_raw(bytes, PmSlice::default(), l3, l4, RawChecksum::Tcp);
    }
}

fn may_answer_v4(src: [u8; 4]) -> bool {
    // This network, loopback, multicast, reserved and limited broadcast are no one's address.
    !matches!(src[0], 0 | 127 | 224..)
}

fn may_answer_v6(src: [u8; 16]) -> bool {
    let loopback = src[..15] == [0; 15] && src[15] <= 1;
    src[0] != 0xff && !loopback
}

/// Flow hash of what `peer` sends: addresses and ports as they lie in its packets.
pub fn tuple_bytes_hash(peer: IpAddr, own: IpAddr, ports: [u8; 4]) -> u32 {
    match (peer, own) {
        (IpAddr::V4(peer), IpAddr::V4(own)) => flow_hash(&[&peer.octets(), &own.octets(), &ports]),
        (IpAddr::V6(peer), IpAddr::V6(own)) => flow_hash(&[&peer.octets(), &own.octets(), &ports]),
        _ => 0,
    }
}
