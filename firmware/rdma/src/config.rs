//! What a core's queue pairs are told once, and what one of them is told when it is opened.

use crate::Peer;
use sluice_hal::PmAddr;
use sluice_wire::roce::PathMtu;

/// Addresses, limits and times of a [`crate::Rc`]. Start from [`Config::default`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The core, 1 to 15: bits 23:20 of every queue pair number, by which rx steers.
    pub core: u8,
    /// Own MAC address.
    pub mac: [u8; 6],
    /// Header templates: 128 bytes of packet memory for each queue pair, aligned to 4 bytes.
    pub templates: PmAddr,
    /// DSCP of what is sent, 0 to 63. ECT(0) is set with it.
    pub dscp: u8,
    /// Longest message taken, bytes: a command capsule with its in-capsule data. At most 255 packets of 256 bytes.
    pub recv_size: u32,
    /// Packets of received messages kept, of all queue pairs together; no more than the machine has places for. Each keeps a frame
    /// buffer of the card's, and READ data need some too.
    pub packets: u16,
    /// Packets that a queue pair may have sent and not seen acknowledged; at most 2^22.
    pub window: u32,
    /// Packets of READ data that may be on their way, to all queue pairs together: what the core's descriptor queue has room for
    /// beside everything else.
    pub read_packets: u16,
    /// Packets of one READ request, a power of 2; longer READs are cut. Requests end at multiples of it from the first packet of
    /// their READ on.
    pub read_request: u16,
    /// Most payload bytes in one job; at least 4,096 and at most 128 KiB.
    pub max_train: u32,
    /// An acknowledgment may wait so many microseconds for others, or for a SEND that answers the message; 0: none waits. Above
    /// the time that the application takes to answer it delays nothing: hosts wait for both.
    pub ack_delay: u32,
    /// So many messages are acknowledged at once in any case.
    pub ack_every: u8,
    /// RNR NAK timer code, 0 to 31 ([`sluice_wire::roce::rnr_micros`]).
    pub rnr_code: u8,
    /// A message that stands still for so many microseconds costs its queue pair when others need its places. Longer than a host
    /// repeats: Linux does so for 4.3 s.
    pub patience: u32,
    /// Congestion control.
    pub dcqcn: Dcqcn,
}

impl Config {
    /// Everything zero: what a core holds until it is configured.
    pub(crate) const NONE: Self = Self {
        core: 0,
        mac: [0; 6],
        templates: PmAddr(0),
        dscp: 0,
        recv_size: 0,
        packets: 0,
        window: 0,
        read_packets: 0,
        read_request: 0,
        max_train: 0,
        ack_delay: 0,
        ack_every: 0,
        rnr_code: 0,
        patience: 0,
        dcqcn: Dcqcn::NONE,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dscp: 26,
            recv_size: 64 + (16 << 10),
            packets: u16::MAX,
            window: 2048,
            read_packets: 128,
            read_request: 32,
            max_train: 64 << 10,
            rnr_code: 12,
            patience: 6_000_000,
            dcqcn: Dcqcn::DEFAULT,
            ..Self::NONE
        }
    }
}

/// Parameters of DCQCN (Zhu et al., "Congestion Control for Large-Scale RDMA Deployments", SIGCOMM 2015, sections 5.1 and 5.2).
/// Rates are in 1/256 bytes per microsecond: 100 Gb/s are 3,200,000.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dcqcn {
    /// The port's rate; a queue pair at it is not limited.
    pub line_rate: u32,
    /// No cut goes below this.
    pub min_rate: u32,
    /// Additive increase (R_AI) per step.
    pub step: u32,
    /// Hyper increase (R_HAI) per step.
    pub hyper_step: u32,
    /// Time between increases, and for alpha to decay, microseconds (T, K).
    pub period: u32,
    /// Bytes sent between increases (B).
    pub bytes: u32,
    /// Periods of fast recovery before additive increase (F).
    pub fast: u8,
    /// Alpha moves by 2^-g.
    pub g: u8,
    /// Least time between cuts, microseconds: as often as the other side sends CNPs.
    pub cut_interval: u32,
    /// Least time between CNPs sent for one queue pair, microseconds (N).
    pub cnp_interval: u32,
    /// Most bytes in one job while the rate is limited.
    pub paced_train: u32,
}

impl Dcqcn {
    const NONE: Self = Self {
        line_rate: 0,
        min_rate: 0,
        step: 0,
        hyper_step: 0,
        period: 0,
        bytes: 0,
        fast: 0,
        g: 0,
        cut_interval: 0,
        cnp_interval: 0,
        paced_train: 0,
    };

    /// For 100 Gb/s; numbers as in the paper, the steps scaled from 40 Gb/s.
    pub const DEFAULT: Self = Self {
        line_rate: 3_200_000,
        min_rate: 320,
        step: 3_200,
        hyper_step: 16_000,
        period: 55,
        bytes: 10 << 20,
        fast: 5,
        g: 8,
        cut_interval: 50,
        cnp_interval: 50,
        paced_train: 8 << 10,
    };
}

impl Default for Dcqcn {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A queue pair to be: what the connection manager's REQ said, within what this card grants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// Where the other end is.
    pub peer: Peer,
    /// Its queue pair.
    pub remote_qpn: u32,
    /// First PSN to send; the peer chose it in its REQ.
    pub send_psn: u32,
    /// Payload per packet, the same in both directions.
    pub mtu: PathMtu,
    /// Receives posted from the start.
    pub receives: u16,
    /// RDMA READs outstanding at once; 0 if the peer serves none.
    pub reads: u8,
    /// ACK timeout code, 1 to 31 ([`sluice_wire::roce::timeout_micros`]); 0 for never.
    pub ack_timeout: u8,
    /// Retries without progress before the queue pair is given up, 0 to 7.
    pub retries: u8,
    /// The same after RNR NAKs; 7 is for ever.
    pub rnr_retries: u8,
}
