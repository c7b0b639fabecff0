//! Transmit jobs: one job becomes one frame, one train of TCP segments, or the packets of an RDMA message ([`crate::roce`]).

use crate::{PmAddr, PmSlice, roce::RoceJob};

/// Pieces a transmit job gathers.
pub const MAX_GATHER: usize = 4;

/// Work for the tx engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TxJob {
    /// Payload cut into TCP segments behind a header template.
    Tcp(TcpJob),
    /// One frame as it lies in memory.
    Raw(RawJob),
    /// Payload cut into RoCE packets behind a header template.
    Roce(RoceJob),
}

/// A train of TCP segments. The header template in packet memory is a whole Ethernet, IP and TCP header (options
/// included); the engine fills in lengths and checksums, and per segment the sequence number. `overrides` replaces fields
/// of the template. With an empty gather list one segment without payload is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpJob {
    /// Header template in packet memory, 4-byte aligned + 2 (so that the IP header is aligned), [`TcpJob::header_len`] bytes.
    pub template: PmAddr,
    /// Length of the template: Ethernet, VLAN, IP, TCP and options; at most 128.
    pub header_len: u8,
    /// IP header, from the start of the template.
    pub l3_offset: u8,
    /// TCP header, from the start of the template.
    pub l4_offset: u8,
    /// Most payload bytes per segment; 1 to 8,960.
    pub mss: u16,
    /// Fields of the TCP header.
    pub overrides: TcpOverrides,
    /// Payload in order. Entries beyond `gather_len` are ignored.
    pub gather: [PmSlice; MAX_GATHER],
    /// Used entries of `gather`.
    pub gather_len: u8,
}

/// TCP header fields written over the template.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpOverrides {
    /// Sequence number of the first segment.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Window as on the wire.
    pub window: u16,
    /// Control bits; FIN and PSH go on the last segment only, CWR on the first only.
    pub flags: u8,
    /// The template's options are NOP NOP Timestamps: write these over them.
    pub timestamps: Option<(u32, u32)>,
}

/// One frame gathered as it is, checksums filled in if asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawJob {
    /// IP header from the start of the frame; read only if a checksum is asked for.
    pub l3_offset: u8,
    /// TCP, UDP or ICMP header from the start of the frame.
    pub l4_offset: u8,
    /// Checksums to fill in.
    pub checksum: RawChecksum,
    /// The frame, in order.
    pub gather: [PmSlice; MAX_GATHER],
    /// Used entries of `gather`.
    pub gather_len: u8,
}

/// What the engine computes for a raw frame. The IPv4 header checksum is filled in with either of the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum RawChecksum {
    /// Sent as it is.
    #[default]
    None = 0,
    /// IPv4 header (if IPv4) and TCP checksum at offset 16 of the L4 header.
    Tcp = 1,
    /// IPv4 header and ICMP (v4: no pseudo-header; v6: with it) checksum at offset 2 of the L4 header.
    Icmp = 2,
    /// IPv4 header and UDP checksum at offset 6 of the L4 header.
    Udp = 3,
}

impl TcpJob {
    /// Payload bytes in all.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        self.gather
            .iter()
            .take(usize::from(self.gather_len))
            .map(|s| s.len)
            .sum()
    }
}
