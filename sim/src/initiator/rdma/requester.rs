//! The half of a queue pair that asks: SEND, RDMA WRITE and RDMA READ, go-back-N after NAK and timeout, waiting after RNR NAK.

use std::collections::VecDeque;

use sluice_wire::roce::{NakCode, Opcode, Reth, Syndrome, rnr_micros};

use super::{
    frame::Packet,
    qp::{Common, Event, QpConfig, RcError, Work, after, distance},
};
use crate::{fabric::Clock, initiator::net::CLOCKS_PER_MICRO};

/// Packets sent and not acknowledged, at most (rxe: RXE_MAX_UNACKED_PSNS).
const WINDOW: i32 = 128;
/// Every so many packets an acknowledgment is asked for, within a message too (rxe: RXE_MAX_PKT_PER_ACK).
const ASK_EVERY: u32 = 64;

/// Work that has its sequence numbers.
#[derive(Debug)]
struct Entry {
    id: u64,
    work: Work,
    first: u32,
    packets: u32,
    /// What has come of a READ.
    data: Vec<u8>,
}

impl Entry {
    fn is_read(&self) -> bool {
        matches!(self.work, Work::Read { .. })
    }

    fn end(&self) -> u32 {
        after(self.first, self.packets)
    }
}

#[derive(Debug)]
pub(super) struct Requester {
    entries: VecDeque<Entry>,
    /// Oldest packet not acknowledged; for a READ the next response expected.
    una: u32,
    /// Next to be sent.
    cursor: u32,
    /// Behind the last ever sent.
    high: u32,
    /// Behind the last that has a number.
    end: u32,
    /// Packets since an acknowledgment was asked for.
    unasked: u32,
    timer: Option<Clock>,
    /// The peer wants to be left alone until then.
    rnr_until: Option<Clock>,
    retries_left: u8,
    rnr_left: u8,
    /// Going back has begun, and nothing was acknowledged since.
    going_back: bool,
    /// Times of going back.
    pub(super) retried: u64,
    /// Those for want of any answer.
    pub(super) timeouts: u64,
}

impl Requester {
    pub(super) fn new(config: &QpConfig) -> Self {
        Self {
            entries: VecDeque::new(),
            una: config.send_psn,
            cursor: config.send_psn,
            high: config.send_psn,
            end: config.send_psn,
            unasked: 0,
            timer: None,
            rnr_until: None,
            retries_left: config.retries,
            rnr_left: config.rnr_retries,
            going_back: false,
            retried: 0,
            timeouts: 0,
        }
    }

    pub(super) fn end(&self) -> u32 {
        self.end
    }

    pub(super) fn deadline(&self) -> Option<Clock> {
        [self.timer, self.rnr_until].into_iter().flatten().min()
    }

    pub(super) fn post(&mut self, id: u64, work: Work, mtu: usize) {
        let len = match &work {
            Work::Send { bytes, .. } | Work::Write { bytes, .. } => bytes.len(),
            Work::Read { len, .. } => *len as usize,
        };
        let entry = Entry {
            id,
            work,
            first: self.end,
            packets: len.div_ceil(mtu).max(1) as u32,
            data: vec![],
        };
        self.end = entry.end();
        self.entries.push_back(entry);
    }

    pub(super) fn advance(&mut self, now: Clock, common: &mut Common) {
        if self.timer.is_some_and(|at| at <= now) {
            self.timer = None;
            if self.retries_left == 0 {
                return common.fail(RcError::Retries);
            }
            self.retries_left -= 1;
            self.timeouts += 1;
            self.going_back = true;
            self.go_back();
        }
        if self.rnr_until.is_some_and(|at| at <= now) {
            self.rnr_until = None;
        }
        if self.rnr_until.is_none() {
            self.transmit(now, common);
        }
    }

    fn go_back(&mut self) {
        self.retried += 1;
        self.cursor = self.una;
    }

    fn transmit(&mut self, now: Clock, common: &mut Common) {
        let max_reads = common.config.max_reads;
        let mut sent = false;
        while self.cursor != self.end && distance(self.cursor, self.una) < WINDOW {
            let cursor = self.cursor;
            let reads = self
                .entries
                .iter()
                .take_while(|e| distance(cursor, e.first) > 0);
            let reads = reads.filter(|e| e.is_read()).count();
            let Some(entry) = self.entries.iter().find(|e| {
                let at = distance(cursor, e.first);
                at >= 0 && at < e.packets as i32
            }) else {
                break;
            };
            if entry.is_read() && reads >= max_reads {
                break;
            }
            let (packet, next) = build(entry, cursor, &common.config, &mut self.unasked);
            common.out.push_back(packet);
            self.cursor = next;
            sent = true;
        }
        if distance(self.cursor, self.high) > 0 {
            self.high = self.cursor;
        }
        if sent || self.timer.is_none() {
            self.restart_timer(now, &common.config);
        }
    }

    fn restart_timer(&mut self, now: Clock, config: &QpConfig) {
        let waiting = self.una != self.cursor && config.timeout != 0;
        self.timer = waiting.then_some(now + config.timeout);
    }

    pub(super) fn receive(&mut self, now: Clock, packet: &Packet, common: &mut Common) {
        let psn = packet.psn;
        // Neither what was acknowledged before nor what was never sent.
        let known = distance(psn, self.una) >= 0 && distance(psn, self.high) < 0;
        match packet.opcode {
            Opcode::Acknowledge => {
                let Some(syndrome) = packet.aeth.and_then(|aeth| aeth.syndrome()) else {
                    return common.fail(RcError::Response("a reserved syndrome".to_owned()));
                };
                if known {
                    self.acknowledge(now, psn, syndrome, common);
                }
            }
            Opcode::AtomicAcknowledge => {
                common.fail(RcError::Response(
                    "to an atomic operation, of which there was none".to_owned(),
                ));
            }
            _ if known => self.response(now, packet, common),
            _ => {}
        }
    }

    fn acknowledge(&mut self, now: Clock, psn: u32, syndrome: Syndrome, common: &mut Common) {
        match syndrome {
            Syndrome::Ack(_) => self.advance_to(now, after(psn, 1), common),
            Syndrome::RnrNak(code) => {
                self.advance_to(now, psn, common);
                if common.config.rnr_retries != 7 {
                    if self.rnr_left == 0 {
                        return common.fail(RcError::RnrRetries);
                    }
                    self.rnr_left -= 1;
                }
                self.go_back();
                self.timer = None;
                self.rnr_until = Some(now + u64::from(rnr_micros(code)) * CLOCKS_PER_MICRO);
            }
            Syndrome::Nak(NakCode::SequenceError) => {
                self.advance_to(now, psn, common);
                self.implied_nak();
            }
            Syndrome::Nak(code) => {
                self.advance_to(now, psn, common);
                common.fail(RcError::Nak(code));
            }
        }
    }

    /// Goes back once; if that is in vain too, the timer has to see to it.
    fn implied_nak(&mut self) {
        if !self.going_back && self.una != self.cursor {
            self.going_back = true;
            self.go_back();
        }
    }

    /// Everything before `to` has arrived, but what READs have asked for may not have come back.
    fn advance_to(&mut self, now: Clock, to: u32, common: &mut Common) {
        let before = self.una;
        while let Some(entry) = self.entries.front() {
            if distance(to, self.una) <= 0 {
                break;
            }
            if entry.is_read() {
                self.progress(now, before, common);
                return self.implied_nak();
            }
            if distance(to, entry.end()) < 0 {
                self.una = to;
                break;
            }
            self.una = entry.end();
            common.events.push_back(Event::Done(entry.id, vec![]));
            self.entries.pop_front();
        }
        self.progress(now, before, common);
    }

    fn progress(&mut self, now: Clock, before: u32, common: &Common) {
        if self.una == before {
            return;
        }
        self.retries_left = common.config.retries;
        self.rnr_left = common.config.rnr_retries;
        self.going_back = false;
        if distance(self.una, self.cursor) > 0 {
            self.cursor = self.una;
        }
        self.restart_timer(now, &common.config);
    }

    /// A response to a READ, which acknowledges everything before it.
    fn response(&mut self, now: Clock, packet: &Packet, common: &mut Common) {
        self.advance_to(now, packet.psn, common);
        if self.una != packet.psn {
            return;
        }
        let mtu = common.config.mtu;
        let Some(entry) = self.entries.front_mut() else {
            return;
        };
        let Work::Read { len, .. } = entry.work else {
            return common.fail(RcError::Response(
                "to an RDMA READ, of which there was none".to_owned(),
            ));
        };
        let wanted = (len as usize - entry.data.len()).min(mtu);
        let index = distance(packet.psn, entry.first) as u32;
        let last = index + 1 == entry.packets;
        let says_last = matches!(
            packet.opcode,
            Opcode::ReadResponseLast | Opcode::ReadResponseOnly
        );
        if packet.payload.len() != wanted || last != says_last {
            return common.fail(RcError::Response(format!(
                "{:?} with {} bytes as part {} of {} of an RDMA READ of {len} bytes",
                packet.opcode,
                packet.payload.len(),
                index + 1,
                entry.packets
            )));
        }
        entry.data.extend(&packet.payload);
        let before = self.una;
        self.una = after(self.una, 1);
        if last && let Some(entry) = self.entries.pop_front() {
            common.events.push_back(Event::Done(entry.id, entry.data));
        }
        self.progress(now, before, common);
    }
}

/// The packet with number `psn`, and the number of the next one to send.
fn build(entry: &Entry, psn: u32, config: &QpConfig, unasked: &mut u32) -> (Packet, u32) {
    let index = distance(psn, entry.first) as u32;
    let at = index as usize * config.mtu;
    let (first, last) = (index == 0, index + 1 == entry.packets);
    let piece = |bytes: &[u8]| bytes[at..bytes.len().min(at + config.mtu)].to_vec();
    let packet = |opcode, payload| Packet::new(opcode, config.remote_qpn, psn, payload);
    let reth = |va: u64, rkey: u32, len: u32| {
        Some(Reth {
            va: va.into(),
            rkey: rkey.into(),
            len: len.into(),
        })
    };
    let mut built = match &entry.work {
        Work::Send { bytes, invalidate } => {
            let opcode = match (first, last, invalidate) {
                (true, true, None) => Opcode::SendOnly,
                (true, true, Some(_)) => Opcode::SendOnlyInvalidate,
                (true, false, _) => Opcode::SendFirst,
                (false, false, _) => Opcode::SendMiddle,
                (false, true, None) => Opcode::SendLast,
                (false, true, Some(_)) => Opcode::SendLastInvalidate,
            };
            let mut packet = packet(opcode, piece(bytes));
            packet.word = invalidate.filter(|_| last);
            packet
        }
        Work::Write { va, rkey, bytes } => {
            let opcode = match (first, last) {
                (true, true) => Opcode::WriteOnly,
                (true, false) => Opcode::WriteFirst,
                (false, false) => Opcode::WriteMiddle,
                (false, true) => Opcode::WriteLast,
            };
            let mut packet = packet(opcode, piece(bytes));
            packet.reth = first
                .then(|| reth(*va, *rkey, bytes.len() as u32))
                .flatten();
            packet
        }
        Work::Read { va, rkey, len } => {
            let mut packet = packet(Opcode::ReadRequest, vec![]);
            packet.reth = reth(*va + at as u64, *rkey, *len - at as u32);
            packet
        }
    };
    built.ack_req = last || entry.is_read() || *unasked > ASK_EVERY;
    *unasked = if built.ack_req { 0 } else { *unasked + 1 };
    let next = if entry.is_read() {
        entry.end()
    } else {
        after(psn, 1)
    };
    (built, next)
}
