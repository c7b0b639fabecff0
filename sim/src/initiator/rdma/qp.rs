//! One queue pair of a reliable connection: its two halves, what they share, and their errors. Sans I/O: the caller gives packets
//! and the time, and takes packets and events. Acknowledges as Linux rxe does: only packets that ask for it.
//!
//! Not here: atomic operations, immediate data, shared receive queues, automatic path migration.

use std::{collections::VecDeque, fmt};

use sluice_wire::roce::{MASK_24, NakCode};

use super::{frame::Packet, memory::Memory, requester::Requester, responder::Responder};
use crate::fabric::Clock;

/// A queue pair's attributes, both ends' as CM agreed on them.
#[derive(Clone, Copy, Debug)]
pub struct QpConfig {
    /// Its number.
    pub qpn: u32,
    /// The peer's number.
    pub remote_qpn: u32,
    /// First PSN it sends.
    pub send_psn: u32,
    /// First PSN it expects.
    pub recv_psn: u32,
    /// Path MTU, bytes.
    pub mtu: usize,
    /// Clocks without progress before it sends again; 0 for never.
    pub timeout: Clock,
    /// How often in a row.
    pub retries: u8,
    /// The same after RNR NAKs; 7 for ever.
    pub rnr_retries: u8,
    /// Code of the time that it asks for in RNR NAKs.
    pub rnr_timer: u8,
    /// RDMA READs it has outstanding at most.
    pub max_reads: usize,
    /// RDMA READs of the peer that it can answer again.
    pub read_resources: usize,
    /// An RDMA READ that is asked for again from its middle is answered like a new one, as the standard has it (C9-109); rxe goes
    /// on where it was, with Middle and Last.
    pub resume_as_first: bool,
    /// Longest SEND it takes.
    pub receive_len: usize,
}

/// Where a queue pair stands, for tests that send packets of their own making.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its number.
    pub qpn: u32,
    /// The peer's number.
    pub remote_qpn: u32,
    /// PSN of the next new packet it sends.
    pub send_psn: u32,
    /// PSN that it expects.
    pub expected_psn: u32,
}

/// Something for the peer to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// A message.
    Send {
        /// Its bytes.
        bytes: Vec<u8>,
        /// A key of the peer's to invalidate.
        invalidate: Option<u32>,
    },
    /// RDMA WRITE.
    Write {
        /// Address.
        va: u64,
        /// Key.
        rkey: u32,
        /// What to write.
        bytes: Vec<u8>,
    },
    /// RDMA READ.
    Read {
        /// Address.
        va: u64,
        /// Key.
        rkey: u32,
        /// How much.
        len: u32,
    },
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The work with this number was acknowledged; what it has read.
    Done(u64, Vec<u8>),
    /// A message came; it invalidated this key.
    Received(Vec<u8>, Option<u32>),
    /// It is over.
    Failed(RcError),
}

/// Why a queue pair is in its error state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RcError {
    /// Nothing came, however often it was sent.
    Retries,
    /// The peer had no receive for it, for too long.
    RnrRetries,
    /// The peer refused what was asked.
    Nak(NakCode),
    /// The peer asked for what is not allowed, and got this NAK.
    Refused(NakCode, String),
    /// The peer answered what makes no sense.
    Response(String),
}

impl fmt::Display for RcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retries => f.write_str("no acknowledgment after all retries"),
            Self::RnrRetries => f.write_str("the peer had no receive after all retries"),
            Self::Nak(code) => write!(f, "the peer refused with NAK {code:?}"),
            Self::Refused(code, what) => write!(f, "{what}: refused with NAK {code:?}"),
            Self::Response(what) => write!(f, "the peer's answer: {what}"),
        }
    }
}

/// What both halves share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) config: QpConfig,
    pub(super) out: VecDeque<Packet>,
    pub(super) events: VecDeque<Event>,
    pub(super) failed: bool,
}

impl Common {
    pub(super) fn fail(&mut self, error: RcError) {
        if !self.failed {
            self.failed = true;
            self.events.push_back(Event::Failed(error));
        }
    }
}

/// A queue pair, ready to send and to receive.
#[derive(Debug)]
pub struct Qp {
    common: Common,
    requester: Requester,
    responder: Responder,
}

impl Qp {
    /// With no work and no receives.
    #[must_use]
    pub fn new(config: QpConfig) -> Self {
        Self {
            requester: Requester::new(&config),
            responder: Responder::new(&config),
            common: Common {
                config,
                out: VecDeque::new(),
                events: VecDeque::new(),
                failed: false,
            },
        }
    }

    /// Its attributes.
    #[must_use]
    pub fn config(&self) -> &QpConfig {
        &self.common.config
    }

    /// Queues work; [`Event::Done`] will have its number.
    pub fn post(&mut self, id: u64, work: Work) {
        self.requester.post(id, work, self.common.config.mtu);
    }

    /// Posts receives.
    pub fn post_receives(&mut self, count: usize) {
        self.responder.receives += count;
    }

    /// A packet for this queue pair.
    pub fn receive(&mut self, now: Clock, packet: &Packet, memory: &mut Memory) {
        if self.common.failed {
            return;
        }
        if packet.opcode.is_response() {
            self.requester.receive(now, packet, &mut self.common);
        } else {
            self.responder.receive(packet, memory, &mut self.common);
        }
    }

    /// Sends what there is to send and lets timers run out.
    pub fn advance(&mut self, now: Clock) {
        if !self.common.failed {
            self.requester.advance(now, &mut self.common);
        }
    }

    /// When a timer runs out.
    #[must_use]
    pub fn next_poll(&self) -> Option<Clock> {
        self.requester.deadline().filter(|_| !self.common.failed)
    }

    /// The next packet to send.
    pub fn take_packet(&mut self) -> Option<Packet> {
        self.common.out.pop_front()
    }

    /// The next thing that happened.
    pub fn take_event(&mut self) -> Option<Event> {
        self.common.events.pop_front()
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            qpn: self.common.config.qpn,
            remote_qpn: self.common.config.remote_qpn,
            send_psn: self.requester.end(),
            expected_psn: self.responder.expected(),
        }
    }

    /// Signs that the peer does not hear: times that something was sent again for want of any answer, and requests of the peer that
    /// came again.
    #[must_use]
    pub fn in_vain(&self) -> u64 {
        self.requester.timeouts + self.responder.duplicates
    }

    /// Times that something was sent again.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.requester.retried
    }
}

/// `a - b` of two sequence numbers, as far apart as they may be.
#[must_use]
pub fn distance(a: u32, b: u32) -> i32 {
    (a.wrapping_sub(b) << 8) as i32 >> 8
}

/// A sequence number `by` further on.
#[must_use]
pub fn after(psn: u32, by: u32) -> u32 {
    psn.wrapping_add(by) & MASK_24
}

#[cfg(test)]
mod tests;
