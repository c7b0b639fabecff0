//! Receive descriptors: what the rx engine found in a frame.

use crate::{Micros, PmAddr, PmSlice, layout, roce::RoceRx};

/// A frame buffer in packet memory; small ones first, then large ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufId(pub u16);

impl BufId {
    /// First byte of the buffer. The frame starts [`layout::RX_OFFSET`] bytes in.
    #[must_use]
    pub const fn addr(self) -> PmAddr {
        let i = self.0 as u32;
        if i < layout::RX_SMALL_COUNT {
            PmAddr(layout::RX_SMALL_BASE + i * layout::RX_SMALL_SIZE)
        } else {
            PmAddr(layout::RX_LARGE_BASE + (i - layout::RX_SMALL_COUNT) * layout::RX_LARGE_SIZE)
        }
    }
}

/// Verdicts and kinds, as bits of descriptor word 1. Bit positions are those of `docs/card.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RxFlags(pub u32);

impl RxFlags {
    /// EtherType (after a VLAN tag) is IPv4 and the header checks passed.
    pub const IPV4: u32 = 1 << 0;
    /// EtherType is IPv6 and the fixed header checks passed.
    pub const IPV6: u32 = 1 << 1;
    /// The IP payload is TCP and its header fits.
    pub const TCP: u32 = 1 << 2;
    /// The IP payload is UDP and its header fits.
    pub const UDP: u32 = 1 << 3;
    /// One 802.1Q tag is present; `vlan` holds its TCI.
    pub const VLAN: u32 = 1 << 4;
    /// The TCP, UDP or ICMP checksum was verified and is right.
    pub const L4_OK: u32 = 1 << 5;
    /// TCP options are exactly NOP NOP Timestamps; `ts_val` and `ts_ecr` hold them.
    pub const TIMESTAMP: u32 = 1 << 6;
    /// TCP options are present in another form; parse them from the frame.
    pub const TCP_OPTIONS: u32 = 1 << 7;
    /// The IP payload is ICMP or ICMPv6.
    pub const ICMP: u32 = 1 << 8;
    /// EtherType is ARP.
    pub const ARP: u32 = 1 << 9;
    /// The IP header's ECN field is CE (11b).
    pub const CE: u32 = 1 << 10;
    /// A RoCEv2 packet whose ICRC is right; the descriptor is a [`RoceRx`].
    pub const ROCE: u32 = 1 << 11;

    /// All bits of `mask` are set.
    #[must_use]
    pub const fn has(self, mask: u32) -> bool {
        self.0 & mask == mask
    }
}

/// What the rx engine delivers: a frame, whose buffer is the core's until it gives it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rx {
    /// TCP, ARP, ICMP, and whatever else is not dropped.
    Frame(RxDesc),
    /// A RoCE packet.
    Roce(RoceRx),
}

impl Rx {
    /// Where it lies.
    #[must_use]
    pub const fn buf(&self) -> BufId {
        match self {
            Self::Frame(desc) => desc.buf,
            Self::Roce(packet) => packet.buf,
        }
    }

    /// The whole frame.
    #[must_use]
    pub fn frame(&self) -> PmSlice {
        match self {
            Self::Frame(desc) => desc.frame(),
            Self::Roce(packet) => packet.frame(),
        }
    }
}

/// A received frame, parsed by the rx engine. Lengths and offsets in bytes, checked by the engine to lie inside the frame.
/// Fields that do not apply to the frame's kind are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RxDesc {
    /// Where the frame lies.
    pub buf: BufId,
    /// Frame length, FCS excluded.
    pub frame_len: u16,
    /// Kinds and verdicts.
    pub flags: RxFlags,
    /// IP header, from the start of the frame.
    pub l3_offset: u8,
    /// TCP, UDP or ICMP header, from the start of the frame.
    pub l4_offset: u8,
    /// Bytes after the TCP or UDP header, from the start of the frame.
    pub payload_offset: u8,
    /// TCP or UDP payload length, by the IP total length (Ethernet padding excluded).
    pub payload_len: u16,
    /// TCI when [`RxFlags::VLAN`].
    pub vlan: u16,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgment number.
    pub ack: u32,
    /// TCP control bits: FIN 01h, SYN 02h, RST 04h, PSH 08h, ACK 10h, URG 20h, ECE 40h, CWR 80h.
    pub tcp_flags: u8,
    /// TCP window, unscaled.
    pub window: u16,
    /// Timestamp value when [`RxFlags::TIMESTAMP`].
    pub ts_val: u32,
    /// Timestamp echo reply when [`RxFlags::TIMESTAMP`].
    pub ts_ecr: u32,
    /// CRC32C over source address, destination address, source port, destination port in network order; steers the flow.
    pub flow_hash: u32,
    /// IPv4 source (network order as a big-endian number); for IPv6 read the frame.
    pub src_ip4: u32,
    /// IPv4 destination.
    pub dst_ip4: u32,
    /// When the last byte came in, low 32 bits of the microsecond clock.
    pub time_us: u32,
}

impl RxDesc {
    /// The whole frame.
    #[must_use]
    pub fn frame(&self) -> PmSlice {
        PmSlice::new(
            self.buf.addr().plus(layout::RX_OFFSET),
            u32::from(self.frame_len),
        )
    }

    /// The TCP or UDP payload.
    #[must_use]
    pub fn payload(&self) -> PmSlice {
        PmSlice::new(
            self.frame().addr.plus(u32::from(self.payload_offset)),
            u32::from(self.payload_len),
        )
    }

    /// Arrival time, given a clock that is at most an hour ahead of it.
    #[must_use]
    pub const fn arrived(&self, now: Micros) -> Micros {
        Micros(now.0 - (now.0 as u32).wrapping_sub(self.time_us) as u64)
    }
}
