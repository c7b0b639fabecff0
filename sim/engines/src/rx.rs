//! The rx engine: a frame becomes a descriptor or is dropped with a reason.

use sluice_hal::{BufId, Rx, RxDesc, RxFlags};
use sluice_wire::{
    checksum::Sum,
    crc32c::crc32c,
    ethernet::{self, is_group},
    ipv4, ipv6, roce, tcp,
};
use zerocopy::FromBytes;

use crate::{RoceDrop, parse_roce};

/// Longest frame taken, in bytes, FCS excluded.
pub const MAX_FRAME: usize = 9216;

/// Why a frame was dropped; each has a counter in BAR0. "No buffer" and "queue full" are the caller's to find.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum DropReason {
    /// Shorter than an Ethernet header, or longer than [`MAX_FRAME`].
    #[error("frame too short or too long")]
    Length,
    /// Unicast to another station.
    #[error("not for this station")]
    NotOurs,
    /// PAUSE or PFC.
    #[error("MAC control frame")]
    Pause,
    /// Neither ARP, IPv4 nor IPv6 (or cut inside the VLAN tag).
    #[error("unknown EtherType")]
    EtherType,
    /// IPv4 version, header length, total length or header checksum.
    #[error("bad IPv4 header")]
    Ipv4Header,
    /// IPv6 version or payload length.
    #[error("bad IPv6 header")]
    Ipv6Header,
    /// A fragment of either IP version.
    #[error("IP fragment")]
    Fragment,
    /// TCP, UDP or ICMP checksum wrong.
    #[error("bad L4 checksum")]
    L4Checksum,
    /// The TCP, UDP or ICMP header does not fit its packet, or the UDP length is not that of the packet.
    #[error("bad L4 header")]
    L4Header,
    /// See [`RoceDrop::Format`].
    #[error("bad RoCE packet")]
    Roce,
    /// See [`RoceDrop::Icrc`].
    #[error("bad ICRC")]
    Icrc,
}

impl From<RoceDrop> for DropReason {
    fn from(reason: RoceDrop) -> Self {
        match reason {
            RoceDrop::Format => Self::Roce,
            RoceDrop::Icrc => Self::Icrc,
        }
    }
}

impl DropReason {
    /// Number of reasons; each is below it as a `usize`.
    pub const COUNT: usize = Self::Icrc as usize + 1;
}

/// While a core is behind, `later` takes the place of `earlier`: both are nothing but acknowledgments of one connection, and
/// `later` acknowledges more.
#[must_use]
pub fn merges(earlier: &RxDesc, later: &RxDesc) -> bool {
    let pure = |d: &RxDesc| {
        d.flags.has(RxFlags::TCP)
            && !d.flags.has(RxFlags::TCP_OPTIONS)
            && d.tcp_flags == tcp::ACK
            && d.payload_len == 0
    };
    let flow = |d: &RxDesc| (d.flow_hash, d.src_port, d.dst_port, d.src_ip4, d.dst_ip4);
    let news = later.ack.wrapping_sub(earlier.ack) as i32;
    pure(earlier)
        && pure(later)
        && flow(earlier) == flow(later)
        && (earlier.flags, earlier.vlan, earlier.seq) == (later.flags, later.vlan, later.seq)
        && news > 0
}

/// What the engine makes of a frame. `buf` is where the caller stored it, `time_us` the arrival time.
///
/// # Errors
/// Why the engine would drop it.
pub fn receive(frame: &[u8], own_mac: [u8; 6], buf: BufId, time_us: u32) -> Result<Rx, DropReason> {
    let desc = parse(frame, own_mac, buf, time_us)?;
    Ok(match parse_roce(frame, buf, time_us) {
        Some(packet) => Rx::Roce(packet?),
        None => Rx::Frame(desc),
    })
}

/// [`receive`] but for RoCE, which is a UDP datagram here.
///
/// # Errors
/// Why the engine would drop it.
pub fn parse(
    frame: &[u8],
    own_mac: [u8; 6],
    buf: BufId,
    time_us: u32,
) -> Result<RxDesc, DropReason> {
    if frame.len() > MAX_FRAME {
        return Err(DropReason::Length);
    }
    let (header, rest) =
        ethernet::Header::ref_from_prefix(frame).map_err(|_| DropReason::Length)?;
    if header.ethertype.get() == ethernet::MAC_CONTROL && is_pause(rest) {
        return Err(DropReason::Pause);
    }
    if header.dst != own_mac && !is_group(&header.dst) {
        return Err(DropReason::NotOurs);
    }
    let view = ethernet::View::of(frame).ok_or(DropReason::EtherType)?;
    let mut desc = empty(buf, frame.len() as u16, time_us);
    desc.l3_offset = view.payload_offset as u8;
    if let Some(tci) = view.tci {
        desc.flags.0 |= RxFlags::VLAN;
        desc.vlan = tci;
    }
    let l3 = &frame[view.payload_offset..];
    match view.ethertype {
        ethernet::ARP => desc.flags.0 |= RxFlags::ARP,
        ethernet::IPV4 => parse_ipv4(&mut desc, l3)?,
        ethernet::IPV6 => parse_ipv6(&mut desc, l3)?,
        _ => return Err(DropReason::EtherType),
    }
    Ok(desc)
}

/// PAUSE or priority-based flow control (IEEE 802.3, annexes 31B and 31D).
fn is_pause(payload: &[u8]) -> bool {
    matches!(payload, [0, 1, _, _, ..] | [1, 1, _, _, ..])
}

fn empty(buf: BufId, frame_len: u16, time_us: u32) -> RxDesc {
    RxDesc {
        buf,
        frame_len,
        flags: RxFlags(0),
        l3_offset: 0,
        l4_offset: 0,
        payload_offset: 0,
        payload_len: 0,
        vlan: 0,
        src_port: 0,
        dst_port: 0,
        seq: 0,
        ack: 0,
        tcp_flags: 0,
        window: 0,
        ts_val: 0,
        ts_ecr: 0,
        flow_hash: 0,
        src_ip4: 0,
        dst_ip4: 0,
        time_us,
    }
}

fn parse_ipv4(desc: &mut RxDesc, l3: &[u8]) -> Result<(), DropReason> {
    let ip = ipv4::View::of(l3).map_err(|refused| match refused {
        ipv4::Refused::Header => DropReason::Ipv4Header,
        ipv4::Refused::Fragment => DropReason::Fragment,
    })?;
    desc.flags.0 |= RxFlags::IPV4;
    if ip.header.tos & 0b11 == ipv4::CE {
        desc.flags.0 |= RxFlags::CE;
    }
    desc.src_ip4 = u32::from_be_bytes(ip.header.src);
    desc.dst_ip4 = u32::from_be_bytes(ip.header.dst);
    let l4 = desc.l3_offset + ip.header_len as u8;
    let (src, dst) = (&ip.header.src[..], &ip.header.dst[..]);
    match ip.header.protocol {
        ipv4::PROTOCOL_ICMP => parse_icmp(desc, l4, ip.payload, Sum::default()),
        protocol => parse_l4(desc, l4, ip.payload, protocol, src, dst),
    }
}

fn parse_ipv6(desc: &mut RxDesc, l3: &[u8]) -> Result<(), DropReason> {
    let ip = ipv6::View::of(l3).ok_or(DropReason::Ipv6Header)?;
    desc.flags.0 |= RxFlags::IPV6;
    if ip.header.ecn() == ipv4::CE {
        desc.flags.0 |= RxFlags::CE;
    }
    let l4 = desc.l3_offset + 40;
    let (src, dst) = (&ip.header.src[..], &ip.header.dst[..]);
    match ip.header.next_header {
        ipv6::NEXT_FRAGMENT => Err(DropReason::Fragment),
        ipv6::NEXT_ICMPV6 => {
            let sum = Sum::default().pseudo(src, dst, ipv6::NEXT_ICMPV6, ip.payload.len() as u32);
            parse_icmp(desc, l4, ip.payload, sum)
        }
        protocol => parse_l4(desc, l4, ip.payload, protocol, src, dst),
    }
}

fn parse_icmp(desc: &mut RxDesc, l4: u8, message: &[u8], sum: Sum) -> Result<(), DropReason> {
    if message.len() < 4 {
        return Err(DropReason::L4Header);
    }
    if !sum.bytes(message).is_right() {
        return Err(DropReason::L4Checksum);
    }
    desc.flags.0 |= RxFlags::ICMP | RxFlags::L4_OK;
    desc.l4_offset = l4;
    Ok(())
}

fn parse_l4(
    desc: &mut RxDesc,
    l4: u8,
    segment: &[u8],
    protocol: u8,
    src: &[u8],
    dst: &[u8],
) -> Result<(), DropReason> {
    let sum = Sum::default()
        .pseudo(src, dst, protocol, segment.len() as u32)
        .bytes(segment);
    match protocol {
        ipv4::PROTOCOL_TCP => parse_tcp(desc, l4, segment, sum)?,
        ipv4::PROTOCOL_UDP => parse_udp(desc, l4, segment, sum)?,
        _ => return Ok(()),
    }
    desc.l4_offset = l4;
    desc.src_port = u16::from_be_bytes([segment[0], segment[1]]);
    desc.dst_port = u16::from_be_bytes([segment[2], segment[3]]);
    desc.flow_hash = crc32c(&[src, dst, &segment[..4]].concat());
    Ok(())
}

fn parse_tcp(desc: &mut RxDesc, l4: u8, segment: &[u8], sum: Sum) -> Result<(), DropReason> {
    let view = tcp::View::of(segment).ok_or(DropReason::L4Header)?;
    if !sum.is_right() {
        return Err(DropReason::L4Checksum);
    }
    desc.flags.0 |= RxFlags::TCP | RxFlags::L4_OK;
    desc.payload_offset = l4 + 20 + view.options.len() as u8;
    desc.payload_len = view.payload.len() as u16;
    desc.seq = view.header.seq.get();
    desc.ack = view.header.ack.get();
    desc.tcp_flags = view.header.flags;
    desc.window = view.header.window.get();
    match *view.options {
        [] => {}
        [1, 1, 8, 10, a, b, c, d, e, f, g, h] => {
            desc.flags.0 |= RxFlags::TIMESTAMP;
            desc.ts_val = u32::from_be_bytes([a, b, c, d]);
            desc.ts_ecr = u32::from_be_bytes([e, f, g, h]);
        }
        _ => desc.flags.0 |= RxFlags::TCP_OPTIONS,
    }
    Ok(())
}

/// A checksum field of zero means "none" over IPv4 (RFC 768), and for RoCE, which has its ICRC, over IPv6 as well (RFC 6935):
/// delivered, but without [`RxFlags::L4_OK`].
fn parse_udp(desc: &mut RxDesc, l4: u8, segment: &[u8], sum: Sum) -> Result<(), DropReason> {
    let length = segment
        .get(4..6)
        .map(|l| usize::from(u16::from_be_bytes([l[0], l[1]])));
    if segment.len() < 8 || length != Some(segment.len()) {
        return Err(DropReason::L4Header);
    }
    let may_lack = desc.flags.has(RxFlags::IPV4) || segment[2..4] == roce::UDP_PORT.to_be_bytes();
    let none = segment[6..8] == [0, 0] && may_lack;
    if !none && !sum.is_right() {
        return Err(DropReason::L4Checksum);
    }
    desc.flags.0 |= RxFlags::UDP | if none { 0 } else { RxFlags::L4_OK };
    desc.payload_offset = l4 + 8;
    desc.payload_len = segment.len() as u16 - 8;
    Ok(())
}
