//! NVMe/RDMA over RoCEv2, the host's side, as Linux' nvme-rdma over rxe does it: an independent implementation of what the card has
//! to face. Not of the card's making: nothing here is shared with the firmware but the layout of the headers.
//!
//! - [`frame`]: packets to Ethernet frames and back, ICRC included; [`cm`]: the connection manager's active side.
//! - [`qp`]: a queue pair's two halves; [`memory`]: what a peer may reach.
//! - `hca` holds them together; `queue` is an NVMe queue on top.
//!
//! Not here: atomic operations, shared receive queues, in-band rate control (rxe has none: a CNP is counted and changes nothing).

pub mod cm;
pub mod frame;
pub(super) mod hca;
pub mod memory;
mod neighbour;
pub mod qp;
mod queue;
mod requester;
mod responder;

#[cfg(test)]
mod replay;
#[cfg(test)]
mod target;
#[cfg(test)]
mod tests;

use sluice_wire::roce::PathMtu;

pub use hca::Counters;
pub(super) use queue::Queue;

/// What an RDMA queue does beyond [`super::QueueConfig`]. The defaults are those of Linux.
#[derive(Clone, Debug)]
pub struct RdmaConfig {
    /// QID in the REQ; [`super::Blocking::connect`] fills it in.
    pub qid: u16,
    /// CNTLID in the REQ; [`super::Blocking::connect`] fills it in.
    pub cntlid: u16,
    /// Path MTU asked for; none: the largest that fits the port's MTU.
    pub path_mtu: Option<PathMtu>,
    /// HRQSIZE and receives posted; none: the queue's entries.
    pub receives: Option<u16>,
    /// Longest message taken: a response.
    pub receive_len: usize,
    /// The target is to invalidate keys with its responses.
    pub invalidate: bool,
    /// Data that do not lie in the capsule are cut into so many regions, with a descriptor for each in the capsule. Linux has one
    /// region; with more the keys are not invalidated by responses.
    pub regions: usize,
    /// See [`qp::QpConfig::resume_as_first`].
    pub resume_as_first: bool,
    /// RDMA READs served at once.
    pub resources: u8,
    /// RDMA READs outstanding at once: Linux has none, hostile tests may.
    pub depth: u8,
    /// Timeout of the queue pair, code.
    pub ack_timeout: u8,
    /// Retries of the queue pair. Not as with rxe, 7 is not for ever.
    pub retries: u8,
    /// Retries after RNR NAK, 7 for ever.
    pub rnr_retries: u8,
    /// Time asked for in RNR NAKs, code.
    pub rnr_timer: u8,
    /// CM response timeout, code.
    pub cm_timeout: u8,
    /// How often REQ and DREQ are repeated.
    pub cm_retries: u8,
    /// Packets are sent as ECN-capable, so that switches mark instead of dropping.
    pub ecn: bool,
    /// Marked packets are answered by CNPs.
    pub cnp: bool,
    /// Misbehaviour of the connection manager.
    pub faults: cm::CmFaults,
    /// Numbers chosen by the caller, for replays.
    pub identity: Option<cm::Identity>,
}

impl Default for RdmaConfig {
    fn default() -> Self {
        Self {
            qid: 0,
            cntlid: 0,
            path_mtu: None,
            receives: None,
            receive_len: 16,
            invalidate: true,
            regions: 1,
            resume_as_first: false,
            resources: 128,
            depth: 0,
            ack_timeout: 17,
            retries: 7,
            rnr_retries: 7,
            rnr_timer: 12,
            cm_timeout: 20,
            cm_retries: 15,
            ecn: false,
            cnp: false,
            faults: cm::CmFaults::default(),
            identity: None,
        }
    }
}
