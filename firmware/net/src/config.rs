//! What the stack is told once, before its first segment.

use sluice_hal::PmAddr;

/// Addresses, limits and times of a [`crate::Tcp`]. Start from [`Config::default`] and fill in the addresses, the template
/// base and the secret. All times are in microseconds and at most half an hour.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Own MAC address.
    pub mac: [u8; 6],
    /// Own IPv4 address; zero for none.
    pub ipv4: [u8; 4],
    /// Own IPv6 address; zero for none. The link-local address made from `mac` is answered too.
    pub ipv6: [u8; 16],
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// VLAN of connections opened from here; 0 for untagged. Others keep the tag of their SYN.
    pub vlan: u16,
    /// Connections at once, at most those that the stack's type has room for.
    pub connections: u16,
    /// Header templates: 128 bytes of packet memory for each of `connections`, aligned to 4 bytes.
    pub templates: PmAddr,
    /// Random and kept secret: keys initial sequence numbers, cookies and the connection table.
    pub secret: [u64; 2],

    /// Bytes a connection may have received and not consumed: the receive window.
    pub recv_window: u32,
    /// Frame buffers a connection may hold.
    pub bufs_per_conn: u16,
    /// Of these, buffers with data out of order.
    pub ooo_per_conn: u16,
    /// Chunks a connection may have queued or unreleased.
    pub chunks_per_conn: u16,
    /// Half-open connections; beyond them SYNs are answered with cookies and leave no state.
    pub half_open: u16,
    /// Most payload bytes in one train.
    pub max_train: u32,
    /// Congestion window's upper limit, in bytes; at most 4 MiB.
    pub max_cwnd: u32,

    /// Longest delay of an acknowledgment (RFC 9293, section 3.8.6.3: below 500 ms).
    pub ack_delay: u32,
    /// Least retransmission timeout. RFC 6298 asks for 1 s; like others we take less.
    pub min_rto: u32,
    /// Greatest retransmission timeout.
    pub max_rto: u32,
    /// Retransmission timeouts in a row before the connection is given up.
    pub max_retries: u8,
    /// The same for SYN and SYN-ACK.
    pub syn_retries: u8,
    /// Silence after which the peer is probed; 0 for never.
    pub keepalive: u32,
    /// Time between probes.
    pub keepalive_interval: u32,
    /// Probes without an answer before the connection is given up.
    pub keepalive_probes: u8,
    /// Stay in TIME-WAIT. Shorter if the place is needed.
    pub time_wait: u32,
    /// Wait for the peer's FIN after ours was acknowledged.
    pub fin_wait: u32,
    /// Negotiate ECN (RFC 3168).
    pub ecn: bool,
}

impl Config {
    /// Everything zero: what a stack holds until it is configured.
    pub(crate) const NONE: Self = Self {
        mac: [0; 6],
        ipv4: [0; 4],
        ipv6: [0; 16],
        mtu: 0,
        vlan: 0,
        connections: 0,
        templates: PmAddr(0),
        secret: [0; 2],
        recv_window: 0,
        bufs_per_conn: 0,
        ooo_per_conn: 0,
        chunks_per_conn: 0,
        half_open: 0,
        max_train: 0,
        max_cwnd: 0,
        ack_delay: 0,
        min_rto: 0,
        max_rto: 0,
        max_retries: 0,
        syn_retries: 0,
        keepalive: 0,
        keepalive_interval: 0,
        keepalive_probes: 0,
        time_wait: 0,
        fin_wait: 0,
        ecn: false,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1500,
            connections: u16::MAX,
            recv_window: 256 << 10,
            bufs_per_conn: 256,
            ooo_per_conn: 64,
            chunks_per_conn: 256,
            half_open: 32,
            max_train: 64 << 10,
            max_cwnd: 1 << 20,
            ack_delay: 1_000,
            min_rto: 200_000,
            max_rto: 10_000_000,
            max_retries: 10,
            syn_retries: 4,
            keepalive: 30_000_000,
            keepalive_interval: 5_000_000,
            keepalive_probes: 4,
            time_wait: 10_000_000,
            fin_wait: 30_000_000,
            ecn: true,
            ..Self::NONE
        }
    }
}
