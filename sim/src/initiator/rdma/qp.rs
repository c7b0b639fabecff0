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
mod tests {
    use proptest::{prelude::*, test_runner::TestCaseError};
    use sluice_wire::roce::{Aeth, Opcode, Reth};

    use super::*;
    use crate::initiator::rdma::memory::Access;

    fn config(mtu: usize) -> QpConfig {
        QpConfig {
            qpn: 2,
            remote_qpn: 3,
            send_psn: 0xff_fffe,
            recv_psn: 0xff_fff0,
            mtu,
            timeout: 1000,
            retries: 7,
            rnr_retries: 7,
            rnr_timer: 1,
            max_reads: 2,
            read_resources: 2,
            resume_as_first: false,
            receive_len: 3000,
        }
    }

    /// A packet that a peer gone mad might send: lengths and numbers near those that matter.
    fn any_packet() -> impl Strategy<Value = Packet> {
        let opcode = proptest::sample::select(Opcode::ALL);
        let psn = prop_oneof![Just(0xff_fff0u32), Just(0xff_fffe), Just(0)];
        let len = proptest::sample::select(&[0usize, 1, 4, 255, 256, 257, 1024][..]);
        let long = proptest::sample::select(&[0u32, 1, 256, 600, 1 << 31][..]);
        let reth = (0u64..3, 0u32..3, long);
        let aeth = any::<u32>().prop_map(|word| Aeth((word & 0x7f00_00ff).into()));
        let place = (psn, 0u32..40).prop_map(|(psn, by)| psn.wrapping_add(by).wrapping_sub(8));
        (opcode, place, len, reth, aeth, any::<bool>()).prop_map(
            |(opcode, psn, len, (at, key, long), aeth, ack_req)| {
                let mut packet = Packet::new(opcode, 2, psn, vec![1; len]);
                packet.ack_req = ack_req;
                packet.reth = opcode.has_reth().then(|| Reth {
                    va: (u64::MAX - 700 + at * 300).into(),
                    rkey: key.into(),
                    len: long.into(),
                });
                packet.aeth = opcode.has_aeth().then_some(aeth);
                packet.word = Some(key).filter(|_| ack_req);
                packet
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_comes_there_is_no_panic_and_one_failure_at_most(
            packets in proptest::collection::vec(any_packet(), 1..60),
            large: bool,
        ) {
            let mut memory = Memory::new(1);
            memory.put(1, u64::MAX - 700, vec![0; 600], Access::Write);
            memory.put(2, u64::MAX - 700, vec![9; 600], Access::Read);
            let mut qp = Qp::new(config(if large { 1024 } else { 256 }));
            qp.post_receives(2);
            let bytes = vec![7; 900];
            qp.post(1, Work::Send { bytes: bytes.clone(), invalidate: None });
            qp.post(2, Work::Read { va: 0, rkey: 0, len: 2000 });
            qp.post(3, Work::Write { va: 0, rkey: 0, bytes });
            for (now, packet) in (0..).map(|n| n * 300).zip(&packets) {
                qp.receive(now, packet, &mut memory);
                qp.advance(now);
                while let Some(packet) = qp.take_packet() {
                    prop_assert!(packet.payload.len() <= qp.config().mtu);
                }
            }
            let failures = std::iter::from_fn(|| qp.take_event())
                .filter(|event| matches!(event, Event::Failed(_)));
            prop_assert!(failures.count() <= 1);
        }

        /// Two queue pairs, and a wire that loses and doubles: everything arrives once, in order, as it was.
        #[test]
        fn what_is_sent_arrives_whatever_is_lost(
            fates in proptest::collection::vec(0u8..8, 1..400),
            lens in proptest::collection::vec(0usize..900, 1..12),
        ) {
            arrives(fates, &lens)?;
        }
    }

    fn arrives(fates: Vec<u8>, lens: &[usize]) -> Result<(), TestCaseError> {
        let mut fates = fates.into_iter();
        let mut a = Qp::new(config(256));
        let mut b = Qp::new(QpConfig {
            qpn: 3,
            remote_qpn: 2,
            send_psn: 0xff_fff0,
            recv_psn: 0xff_fffe,
            ..config(256)
        });
        let (mut memory_a, mut memory_b) = (Memory::new(1), Memory::new(2));
        memory_b.put(5, 0, vec![0; 1000], Access::Write);
        memory_b.put(6, 0, (0..1000).map(|n| n as u8).collect(), Access::Read);
        b.post_receives(100);
        for (id, len) in (0..).zip(lens) {
            a.post(id, work(id, *len));
        }
        let (mut done, mut messages) = (vec![], vec![]);
        for now in (0..2_000_000).step_by(100) {
            a.advance(now);
            b.advance(now);
            let forth: Vec<Packet> = std::iter::from_fn(|| a.take_packet()).collect();
            let back: Vec<Packet> = std::iter::from_fn(|| b.take_packet()).collect();
            let mut carry = |packets: Vec<Packet>, to: &mut Qp, memory: &mut Memory| {
                for packet in packets {
                    let times = match fates.next() {
                        Some(0) => 0,
                        Some(1) => 2,
                        _ => 1,
                    };
                    (0..times).for_each(|_| to.receive(now, &packet, memory));
                }
            };
            carry(forth, &mut b, &mut memory_b);
            carry(back, &mut a, &mut memory_a);
            while let Some(event) = a.take_event() {
                match event {
                    Event::Done(id, data) => {
                        let wanted = (20..).map(|n| n as u8).take(lens[id as usize]);
                        prop_assert!(id % 3 != 2 || data.into_iter().eq(wanted));
                        done.push(id);
                    }
                    // Eight losses in a row may happen.
                    Event::Failed(RcError::Retries) => return Ok(()),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            messages.extend(std::iter::from_fn(|| b.take_event()));
            if done.len() == lens.len() {
                break;
            }
        }
        prop_assert_eq!(done, (0..lens.len() as u64).collect::<Vec<_>>());
        let sends = (0..).zip(lens).filter(|(id, _)| id % 3 == 0);
        let wanted: Vec<Event> = sends
            .map(|(id, len)| Event::Received(vec![id; *len], None))
            .collect();
        prop_assert_eq!(messages, wanted);
        Ok(())
    }

    fn work(id: u64, len: usize) -> Work {
        let bytes = vec![id as u8; len];
        match id % 3 {
            0 => Work::Send {
                bytes,
                invalidate: None,
            },
            1 => Work::Write {
                va: 10,
                rkey: 5,
                bytes,
            },
            _ => Work::Read {
                va: 20,
                rkey: 6,
                len: len as u32,
            },
        }
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(distance(1, 0xff_ffff), 2);
        assert_eq!(distance(0xff_ffff, 1), -2);
        assert_eq!(distance(0x80_0000, 0), -0x80_0000);
        assert_eq!(after(0xff_ffff, 2), 1);
    }
}
