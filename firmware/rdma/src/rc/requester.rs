//! Answers to own requests (IBA, section 9.7.5 and 9.7.6): acknowledgments release, NAKs and missing data make the queue go
//! back, READ data are handed on in order.

use super::{CloseReason, QpId, Rc, ReadData, State, flag};
use crate::{
    Link,
    pool::{Kind, Node},
    psn,
};
use sluice_hal::{Micros, roce::RoceRx};
use sluice_wire::roce::{NakCode, Opcode, Syndrome, rnr_micros};

/// An RNR retry count that never runs out.
const FOR_EVER: u8 = 7;

impl<const QPS: usize, const WRS: usize, const SEGS: usize> Rc<QPS, WRS, SEGS> {
    pub(super) fn response<L: Link>(
        &mut self,
        q: usize,
        opcode: Opcode,
        now: Micros,
        rx: &RoceRx,
        link: &mut L,
    ) -> Option<ReadData> {
        let qp = &self.qps[q];
        // Nothing is answered that was not sent.
        let sent = psn::distance(qp.una, qp.max);
        let ahead = psn::diff(rx.psn, qp.una);
        if qp.state != State::Live || ahead < 0 || ahead as u32 >= sent {
            self.stats.stale += 1;
            link.free(rx.buf);
            return None;
        }
        match opcode {
            Opcode::Acknowledge => self.acknowledgment(q, now, rx, link),
            Opcode::AtomicAcknowledge => self.stats.stale += 1,
            _ => return self.read_response(q, opcode, now, rx, link),
        }
        link.free(rx.buf);
        None
    }

    fn acknowledgment<L: Link>(&mut self, q: usize, now: Micros, rx: &RoceRx, link: &mut L) {
        match Syndrome::from_code((rx.word >> 24) as u8) {
            Some(Syndrome::Ack(_)) => {
                if !self.acknowledged(q, psn::add(rx.psn, 1), now) {
                    self.reread(q, now);
                }
            }
            Some(Syndrome::RnrNak(code)) => self.not_ready(q, code, now, rx, link),
            Some(Syndrome::Nak(NakCode::SequenceError)) => {
                self.stats.naks_received += 1;
                self.acknowledged(q, rx.psn, now);
                // The same packet refused again and again counts as a timeout does.
                self.go_back_counted(q, now, link);
            }
            Some(Syndrome::Nak(code)) => {
                self.acknowledged(q, rx.psn, now);
                self.fail(q, CloseReason::Refused(code), link);
            }
            None => self.stats.stale += 1,
        }
    }

    fn not_ready<L: Link>(&mut self, q: usize, code: u8, now: Micros, rx: &RoceRx, link: &mut L) {
        self.stats.rnr_received += 1;
        self.acknowledged(q, rx.psn, now);
        let qp = &mut self.qps[q];
        if qp.rnr_retries != FOR_EVER {
            let Some(left) = qp.rnr_left.checked_sub(1) else {
                self.fail(q, CloseReason::NotReady, link);
                return;
            };
            qp.rnr_left = left;
        }
        let narrowest = self.cfg.window.checked_ilog2().unwrap_or(0) as u8;
        let qp = &mut self.qps[q];
        // One packet asks whether there is a receive now. All that was sent behind it would be thrown away again.
        qp.held_back = narrowest;
        qp.clear(flag::TIMER);
        qp.set(flag::WAIT);
        qp.wait_until = now.after(u64::from(rnr_micros(code)));
        let until = qp.wait_until;
        self.arm(until);
        self.go_back(q);
    }

    /// Everything before `until` has arrived: releases it. False if the data of a READ before `until` have not come.
    pub(super) fn acknowledged(&mut self, q: usize, until: u32, now: Micros) -> bool {
        let before = self.qps[q].una;
        let mut complete = true;
        loop {
            let qp = &mut self.qps[q];
            let head = qp.queue.head;
            if psn::diff(until, qp.una) <= 0 || head.is_none() {
                break;
            }
            let wr = self.wrs.get(head);
            if wr.kind == Kind::Read {
                complete = false;
                break;
            }
            let end = psn::add(wr.psn, wr.packets);
            if psn::diff(until, end) < 0 {
                qp.una = until;
                break;
            }
            qp.una = end;
            self.release(q);
        }
        if self.qps[q].una != before {
            self.progress(q, now);
        }
        complete
    }

    /// The oldest request is done.
    fn release(&mut self, q: usize) {
        let qp = &mut self.qps[q];
        if let Some(place) = qp.queue.pop(&self.wrs) {
            if qp.cursor == place {
                qp.cursor = self.wrs.get(place).next();
            }
            self.wrs.get_mut(place).done = true;
            self.released.push(&mut self.wrs, place);
        }
    }

    /// `una` moved: retries count anew, the timer too, and there may be room to send.
    fn progress(&mut self, q: usize, now: Micros) {
        self.end_round_trip(q, now);
        let qp = &mut self.qps[q];
        qp.retries_left = qp.retries;
        qp.rnr_left = qp.rnr_retries;
        qp.held_back = qp.held_back.saturating_sub(1);
        qp.clear(flag::REREAD | flag::TIMER);
        if psn::diff(qp.nxt, qp.una) < 0 {
            // An answer to what was sent before going back.
            qp.nxt = qp.una;
            qp.cursor = qp.queue.head;
        }
        if qp.nxt != qp.una {
            self.start_timer(q, now);
        }
        if !self.qps[q].cursor.is_none() {
            self.make_ready(q);
        }
    }

    /// Sends again from the oldest PSN that was not acknowledged on.
    pub(super) fn go_back(&mut self, q: usize) {
        let qp = &mut self.qps[q];
        qp.nxt = qp.una;
        qp.cursor = qp.queue.head;
        self.expect_nothing(q);
        self.make_ready(q);
    }

    /// The same, at the cost of a retry.
    pub(super) fn go_back_counted<L: Link>(&mut self, q: usize, now: Micros, link: &mut L) {
        let qp = &mut self.qps[q];
        if qp.nxt == qp.una {
            return; // on its way back already
        }
        let Some(left) = qp.retries_left.checked_sub(1) else {
            self.fail(q, CloseReason::Unanswered, link);
            return;
        };
        qp.retries_left = left;
        qp.clear(flag::REREAD | flag::TIMER);
        self.go_back(q);
        self.start_timer(q, now);
    }

    /// Data of a READ are missing, as later answers show: asks again, once until some come (9.7.5.1.1).
    fn reread(&mut self, q: usize, now: Micros) {
        if self.qps[q].has(flag::REREAD) {
            return;
        }
        self.stats.rereads += 1;
        self.qps[q].set(flag::REREAD);
        self.go_back(q);
        self.start_timer(q, now);
    }

    fn read_response<L: Link>(
        &mut self,
        q: usize,
        opcode: Opcode,
        now: Micros,
        rx: &RoceRx,
        link: &mut L,
    ) -> Option<ReadData> {
        // A response acknowledges what was asked before it.
        self.acknowledged(q, rx.psn, now);
        let qp = &self.qps[q];
        let head = qp.queue.head;
        let missing = psn::diff(rx.psn, qp.una);
        if missing != 0 || head.is_none() || self.wrs.get(head).kind != Kind::Read {
            if missing > 0 {
                self.reread(q, now);
            } else {
                self.stats.stale += 1;
            }
            link.free(rx.buf);
            return None;
        }
        let wr = self.wrs.get(head);
        let token = wr.token;
        let done = psn::distance(wr.psn, rx.psn);
        let offset = done * qp.mtu();
        let last = done + 1 == wr.packets;
        let ends = last || (done + 1) & (u32::from(self.cfg.read_request) - 1) == 0;
        let says_last = matches!(opcode, Opcode::ReadResponseLast | Opcode::ReadResponseOnly);
        let want = (wr.len - offset).min(qp.mtu());
        if says_last != ends || u32::from(rx.payload_len) != want {
            self.fail(q, CloseReason::BadResponse, link);
            link.free(rx.buf);
            return None;
        }
        let qp = &mut self.qps[q];
        qp.una = psn::add(qp.una, 1);
        // None is counted if they were asked for before going back.
        let counted = u16::from(qp.asked > 0);
        qp.asked -= counted;
        self.asked -= counted;
        if ends {
            qp.reads_out = qp.reads_out.saturating_sub(1);
        }
        if last {
            self.release(q);
        }
        let qp = &mut self.qps[q];
        // In the middle of a request nothing can be sent that could not before, and the timer is set anew now and then.
        if ends || done & 7 == 7 || psn::diff(qp.nxt, qp.una) < 0 {
            self.progress(q, now);
        } else {
            qp.retries_left = qp.retries;
            qp.rnr_left = qp.rnr_retries;
            qp.clear(flag::REREAD);
        }
        Some(ReadData {
            qp: QpId(self.qps[q].qpn),
            token,
            offset,
            slice: rx.payload(),
            buf: rx.buf,
            last,
        })
    }
}
