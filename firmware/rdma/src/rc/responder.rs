//! The peer's requests (IBA, section 9.7.4 and 9.7.5): what is expected is taken, what is ahead is refused once, what came
//! before is acknowledged again, what reaches for memory ends the queue pair.

use super::{CloseReason, Rc, State, flag};
use crate::{Link, pool::Seg, psn};
use sluice_hal::{Micros, layout, roce::RoceRx};
use sluice_wire::roce::{NakCode, Opcode, Syndrome};

/// RNR NAK timer codes from one time to its double, and the code of 20 milliseconds.
const DOUBLE: u8 = 2;
const LONGEST: u8 = 22;
/// A queue pair may keep so many times the places that are left.
const SHARE: u16 = 4;

/// Where in its message a SEND packet stands.
#[derive(Clone, Copy)]
struct Place {
    first: bool,
    last: bool,
}

impl<const QPS: usize, const WRS: usize, const SEGS: usize> Rc<QPS, WRS, SEGS> {
    pub(super) fn request<L: Link>(
        &mut self,
        q: usize,
        opcode: Opcode,
        now: Micros,
        rx: &RoceRx,
        link: &mut L,
    ) {
        let qp = &mut self.qps[q];
        let kept = if qp.state == State::Failed {
            // The verdict may have been lost.
            if qp.syndrome != 0 {
                qp.set(flag::NAK_DUE);
                self.make_ready(q);
            }
            false
        } else {
            match psn::diff(rx.psn, qp.epsn) {
                0 => self.expected(q, opcode, now, rx, link),
                1.. => {
                    self.ahead(q);
                    false
                }
                _ => {
                    self.stats.duplicates += 1;
                    if rx.ack_req {
                        self.acknowledge(q);
                    }
                    false
                }
            }
        };
        if !kept {
            link.free(rx.buf);
        }
    }

    /// A packet is missing before this one. 9.7.5.2.8: one NAK until the expected one has come.
    fn ahead(&mut self, q: usize) {
        self.stats.gaps += 1;
        if !self.qps[q].has(flag::NAKED) {
            self.stats.sequence_naks += 1;
            self.nak(q, Syndrome::Nak(NakCode::SequenceError));
        }
    }

    /// True if the buffer was kept.
    fn expected<L: Link>(
        &mut self,
        q: usize,
        opcode: Opcode,
        now: Micros,
        rx: &RoceRx,
        link: &mut L,
    ) -> bool {
        self.qps[q].clear(flag::NAKED | flag::NAK_DUE);
        let place = match opcode {
            Opcode::SendFirst => (true, false),
            Opcode::SendMiddle => (false, false),
            Opcode::SendLast | Opcode::SendLastImmediate => (false, true),
            Opcode::SendOnly | Opcode::SendOnlyImmediate => (true, true),
            // There is no memory key here: none to reach through, none to invalidate.
            _ => {
                self.stats.remote_access += 1;
                self.refuse(q, NakCode::RemoteAccess, CloseReason::RemoteAccess, link);
                return false;
            }
        };
        let place = Place {
            first: place.0,
            last: place.1,
        };
        if !self.is_possible(q, place, rx) {
            self.stats.invalid += 1;
            self.refuse(
                q,
                NakCode::InvalidRequest,
                CloseReason::InvalidRequest,
                link,
            );
            return false;
        }
        if place.first && !self.start_message(q, place, now, link) {
            self.stats.rnr_naks += 1;
            self.nak(q, Syndrome::RnrNak(self.not_before(q)));
            return false;
        }
        self.qps[q].syndrome = 0;
        self.qps[q].partial_at = now.0 as u32;
        self.keep(q, place, now, rx)
    }

    /// Opcode in sequence (9.7.4.1.2), length by opcode (9.7.4.1.6), message not longer than a receive.
    fn is_possible(&self, q: usize, place: Place, rx: &RoceRx) -> bool {
        let qp = &self.qps[q];
        let (len, mtu) = (u32::from(rx.payload_len), qp.mtu());
        let fits = match place {
            Place { last: false, .. } => len == mtu,
            Place { first: true, .. } => len <= mtu,
            _ => (1..=mtu).contains(&len),
        };
        let before = if place.first { 0 } else { qp.partial };
        place.first != qp.has(flag::IN_MESSAGE) && fits && before + len <= self.cfg.recv_size
    }

    /// Takes a receive, and promises places to the packets that follow. False if there are none.
    fn start_message<L: Link>(
        &mut self,
        q: usize,
        place: Place,
        now: Micros,
        link: &mut L,
    ) -> bool {
        let qp = &self.qps[q];
        let places = if place.last {
            1
        } else {
            qp.packets(self.cfg.recv_size) as u8
        };
        if qp.credits == 0 {
            return false;
        }
        if !self.has_places(q, places.into()) {
            self.end_stalled(now, link);
            return false;
        }
        let qp = &mut self.qps[q];
        qp.credits -= 1;
        qp.partial = 0;
        qp.reserved = places;
        self.reserved += u16::from(places);
        qp.set(flag::IN_MESSAGE);
        true
    }

    /// How long a host is asked to wait: twice as long as the last time if that was in vain. Hosts repeat all they have sent
    /// since, which is a flood if many do so.
    fn not_before(&self, q: usize) -> u8 {
        match Syndrome::from_code(self.qps[q].syndrome) {
            Some(Syndrome::RnrNak(last)) => (last + DOUBLE).min(self.cfg.rnr_code.max(LONGEST)),
            _ => self.cfg.rnr_code,
        }
    }

    /// A message that takes so many places may begin. Who keeps some already has to leave one to each queue pair that keeps none and
    /// an eighth of all beside these, and of the rest a part: hosts whose commands wait do not fill all places with further ones.
    fn has_places(&self, q: usize, places: u16) -> bool {
        let available = self.segs.room() - self.reserved;
        let kept = self.qps[q].kept;
        let left_alone = self.cfg.packets.min(SEGS as u16) / 8 + (self.opened - self.keeping);
        let share = SHARE * available.saturating_sub(left_alone);
        places <= available && (kept == 0 || kept + places <= share)
    }

    /// Ends the queue pairs that have begun a message and stand still, so that their places come back.
    #[cold]
    fn end_stalled<L: Link>(&mut self, now: Micros, link: &mut L) {
        for q in 0..QPS {
            let qp = &self.qps[q];
            let still = (now.0 as u32).wrapping_sub(qp.partial_at);
            if qp.has(flag::IN_MESSAGE) && still > self.cfg.patience {
                self.fail(q, CloseReason::Stalled, link);
            }
        }
    }

    fn keep(&mut self, q: usize, place: Place, now: Micros, rx: &RoceRx) -> bool {
        let qp = &mut self.qps[q];
        let offset = layout::RX_OFFSET as u16 + u16::from(rx.payload_offset);
        let seg = Seg::new(rx.buf.0, offset, rx.payload_len, place.last);
        let Some(at) = self.segs.take(seg) else {
            return false; // promised: not met
        };
        qp.received.push(&mut self.segs, at);
        self.keeping += u16::from(qp.kept == 0);
        qp.kept += 1;
        qp.reserved -= 1;
        self.reserved -= 1;
        qp.partial += u32::from(rx.payload_len);
        qp.epsn = psn::add(qp.epsn, 1);
        if place.last {
            self.reserved -= u16::from(core::mem::take(&mut qp.reserved));
            qp.clear(flag::IN_MESSAGE);
            qp.messages += 1;
            qp.msn = psn::add(qp.msn, 1);
            qp.owed = qp.owed.saturating_add(1);
            self.stats.messages += 1;
            self.tell(q, flag::RECEIVED);
        }
        if rx.ack_req {
            self.acknowledge_soon(q, now);
        }
        true
    }

    /// The acknowledgment of what was expected: it may wait for others, since the peer has no reason to send anything again.
    #[inline]
    fn acknowledge_soon(&mut self, q: usize, now: Micros) {
        let qp = &mut self.qps[q];
        if self.cfg.ack_delay == 0 || qp.unacked + 1 >= self.cfg.ack_every {
            return self.acknowledge(q);
        }
        qp.unacked += 1;
        if !qp.has(flag::LATE) {
            let until = now.after(self.cfg.ack_delay.into());
            if self.late.push_back((q as u16, until)).is_ok() {
                qp.set(flag::LATE);
            }
        }
    }

    /// Acknowledgments that have waited long enough are due.
    #[inline]
    pub(super) fn end_waits(&mut self, now: Micros) {
        while let Some(&(q, until)) = self.late.front() {
            if now < until {
                return;
            }
            self.late.pop_front();
            let q = usize::from(q);
            self.qps[q].clear(flag::LATE);
            if self.qps[q].unacked > 0 {
                self.acknowledge(q);
            }
        }
    }

    fn acknowledge(&mut self, q: usize) {
        self.qps[q].set(flag::ACK_DUE);
        self.make_ready(q);
    }

    fn nak(&mut self, q: usize, syndrome: Syndrome) {
        let qp = &mut self.qps[q];
        qp.syndrome = syndrome.code();
        qp.set(flag::NAK_DUE | flag::NAKED);
        self.make_ready(q);
    }

    /// NAKs that end the queue pair on both sides (9.9.2.4.2).
    #[cold]
    fn refuse<L: Link>(&mut self, q: usize, code: NakCode, reason: CloseReason, link: &mut L) {
        self.nak(q, Syndrome::Nak(code));
        self.fail(q, reason, link);
    }
}
