//! What leaves: answers first, then requests, one job per queue pair in turn.

use super::{DEEP, MANY, Rc, State, flag};
use crate::{
    Config, Link,
    pool::{Kind, Node},
    psn,
};
use sluice_hal::{
    Busy, MAX_GATHER, Micros, PmAddr,
    roce::{AckRule, Remote, RoceJob, RoceMessage},
};
use sluice_wire::roce::{MASK_24, Syndrome};

/// Where a queue pair's header template lies.
#[inline]
pub(super) const fn template(cfg: &Config, q: usize) -> PmAddr {
    cfg.templates.plus(128 * q as u32 + 2)
}

impl<const QPS: usize, const WRS: usize, const SEGS: usize> Rc<QPS, WRS, SEGS> {
    /// Sends what is due until nothing is or the engine is busy; then the rest waits for the next call. Call it after
    /// [`Self::input`], [`Self::post`] and [`Self::handle_timeouts`], and while it returns false.
    pub fn poll_transmit<L: Link>(&mut self, now: Micros, link: &mut L) -> bool {
        self.wake_thirsty();
        while let Some(q) = self.ready.front().copied() {
            let q = usize::from(q);
            match self.transmit(q, now, link) {
                Err(Busy) => return false,
                // To the end of the queue: the others come first.
                Ok(true) => {
                    self.ready.pop_front();
                    let _has_room = self.ready.push_back(q as u16);
                }
                Ok(false) => {
                    self.ready.pop_front();
                    self.qps[q].clear(flag::READY);
                }
            }
        }
        true
    }

    /// The answers and one request of a queue pair; true if more may follow.
    fn transmit<L: Link>(&mut self, q: usize, now: Micros, link: &mut L) -> Result<bool, Busy> {
        if self.qps[q].has(flag::CNP_DUE) {
            self.answer(q, RoceMessage::Cnp, 0, link)?;
            self.qps[q].clear(flag::CNP_DUE);
            self.stats.cnps_sent += 1;
        }
        if self.qps[q].has(flag::NAK_DUE | flag::ACK_DUE) {
            let qp = &self.qps[q];
            let nak = qp.has(flag::NAK_DUE);
            // A NAK names the packet that is expected, an ACK the one before.
            let (syndrome, at) = if nak {
                (qp.syndrome, qp.epsn)
            } else {
                (Syndrome::ACK.code(), psn::add(qp.epsn, MASK_24))
            };
            let aeth = u32::from(syndrome) << 24 | qp.msn;
            self.answer(q, RoceMessage::Acknowledge(aeth), at, link)?;
            self.qps[q].clear(flag::NAK_DUE | flag::ACK_DUE);
            self.qps[q].unacked = 0;
            self.stats.acks += u32::from(!nak);
        }
        self.send_request(q, now, link)
    }

    fn answer<L: Link>(
        &mut self,
        q: usize,
        message: RoceMessage,
        psn: u32,
        link: &mut L,
    ) -> Result<(), Busy> {
        if self.qps[q].state == State::Free {
            return Ok(());
        }
        let job = self.job(q, message, psn);
        link.send(&job)
    }

    /// A job with what all jobs of the queue pair have in common.
    fn job(&self, q: usize, message: RoceMessage, psn: u32) -> RoceJob {
        let qp = &self.qps[q];
        let mut job = RoceJob::new(message, qp.remote_qpn, psn);
        job.template = template(&self.cfg, q);
        (job.vlan, job.ipv6, job.mtu_code) = (qp.has_vlan(), qp.is_ipv6(), qp.mtu_code);
        job
    }

    fn send_request<L: Link>(&mut self, q: usize, now: Micros, link: &mut L) -> Result<bool, Busy> {
        let qp = &self.qps[q];
        let window = (self.cfg.window >> qp.held_back).max(1);
        let room = window.saturating_sub(qp.in_flight());
        if qp.state != State::Live || qp.cursor.is_none() || qp.has(flag::WAIT) || room == 0 {
            return Ok(false);
        }
        let wr = self.wrs.get(qp.cursor);
        let (kind, done) = (wr.kind, psn::distance(wr.psn, qp.nxt));
        let (job, packets, bytes) = if kind == Kind::Read {
            if qp.reads_out >= qp.reads {
                return Ok(false);
            }
            let request = u32::from(self.cfg.read_request);
            let packets = (request - (done & (request - 1))).min(wr.packets - done);
            // Small ones do not overtake those that wait for room.
            let room = if self.thirsty.is_empty() {
                packets
            } else {
                request
            };
            if !self.may_ask(room) {
                self.thirst(q);
                return Ok(false);
            }
            let skip = done * qp.mtu();
            let remote = Remote {
                va: wr.va.wrapping_add(u64::from(skip)),
                rkey: wr.rkey,
                len: (wr.len - skip).min(packets * qp.mtu()),
            };
            let mut job = self.job(q, RoceMessage::ReadRequest(remote), qp.nxt);
            job.ack.last = true;
            (job, packets, 0)
        } else {
            if let Err(at) = self.qps[q].rate.check(now, &self.cfg.dcqcn) {
                self.wait(q, at);
                return Ok(false);
            }
            self.run(q, done, room)
        };
        link.send(&job)?;
        self.sent(q, packets, bytes, kind, now);
        Ok(true)
    }

    /// The next run of packets of the message at the cursor; its packets and bytes.
    fn run(&mut self, q: usize, done: u32, room: u32) -> (RoceJob, u32, u32) {
        let qp = &self.qps[q];
        let wr = self.wrs.get(qp.cursor);
        let limited = qp.rate.is_limited();
        let most = if limited {
            self.cfg.dcqcn.paced_train
        } else {
            self.cfg.max_train
        };
        // Packets that the message with payload in `wr.len` has left; none if only the SEND of a coupled one has.
        let coupled = wr.kind.is_coupled();
        let left = wr.packets - u32::from(coupled) - done;
        let mut packets = left.min(room).min((most >> (7 + qp.mtu_code)).max(1));
        let ends = packets == left;
        let skip = done * qp.mtu();
        let bytes = (packets * qp.mtu()).min(wr.len.saturating_sub(skip));
        let (va, rkey, len) = (wr.va, wr.rkey, wr.len);
        let remote = Remote { va, rkey, len };
        let invalidate = wr.kind == Kind::WriteSendInvalidate;
        let send = if wr.kind == Kind::SendInvalidate || invalidate {
            RoceMessage::SendInvalidate(rkey)
        } else {
            RoceMessage::Send
        };
        let with_send = coupled && ends && packets > 0 && packets < room;
        let message = match wr.kind {
            Kind::WriteSend | Kind::WriteSendInvalidate if with_send => {
                RoceMessage::WriteSend { remote, invalidate }
            }
            Kind::WriteSend | Kind::WriteSendInvalidate if packets == 0 => send,
            Kind::Write | Kind::WriteSend | Kind::WriteSendInvalidate => RoceMessage::Write(remote),
            _ => send,
        };
        let is_send = !matches!(message, RoceMessage::Write(_));
        // The acknowledgment of what follows at once is as good; but without any, rxe never sends one.
        let last = u32::from(with_send || packets == 0);
        let at_once = packets + last < room && !limited;
        let more = ends && at_once && (coupled && !with_send || !wr.next().is_none());
        let again = psn::diff(qp.nxt, qp.max) < 0;
        let ask = if is_send {
            qp.owed < DEEP || qp.unasked + 1 >= MANY || again || !at_once
        } else {
            !more
        };
        let mut job = self.job(q, message, qp.nxt);
        job.starts = done == 0 || coupled && packets == 0;
        job.ends = ends;
        job.ack = AckRule {
            last: ask,
            every: 0,
        };
        job.gather_len = wr.gather_from(skip, bytes, &mut job.gather);
        if with_send || packets == 0 {
            job.gather[usize::from(job.gather_len) % MAX_GATHER] = wr.response();
            job.gather_len += 1;
            packets += 1;
        }
        let qp = &mut self.qps[q];
        qp.unasked = if ask {
            0
        } else {
            qp.unasked + u8::from(is_send)
        };
        (job, packets, bytes)
    }

    fn sent(&mut self, q: usize, packets: u32, bytes: u32, kind: Kind, now: Micros) {
        self.stats.jobs += 1;
        let qp = &mut self.qps[q];
        self.stats.resent += u32::from(psn::diff(qp.nxt, qp.max) < 0);
        if kind == Kind::Read {
            qp.reads_out += 1;
            qp.asked += packets as u16;
            self.asked += packets as u16;
        }
        qp.nxt = psn::add(qp.nxt, packets);
        if psn::diff(qp.nxt, qp.max) > 0 {
            qp.max = qp.nxt;
        }
        let wr = self.wrs.get(qp.cursor);
        if qp.nxt == psn::add(wr.psn, wr.packets) {
            qp.cursor = wr.next();
        }
        qp.rate.sent(bytes, now, &self.cfg.dcqcn);
        self.time_round_trip(q, now);
        if !self.qps[q].has(flag::TIMER) {
            self.start_timer(q, now);
        }
    }

    /// There is room in the descriptor queue for so many packets of READ data; always, if no others are on their way.
    #[inline]
    pub(super) fn may_ask(&self, packets: u32) -> bool {
        self.asked == 0 || u32::from(self.asked) + packets <= u32::from(self.cfg.read_packets)
    }

    /// A READ waits until data of others have come.
    fn thirst(&mut self, q: usize) {
        if !self.qps[q].has(flag::THIRSTY) && self.thirsty.push_back(q as u16).is_ok() {
            self.qps[q].set(flag::THIRSTY);
        }
    }

    /// As many of those whose READ waits as there is room for try again, the first first.
    fn wake_thirsty(&mut self) {
        let most = u32::from(self.cfg.read_packets);
        let request = u32::from(self.cfg.read_request);
        let mut asked = u32::from(self.asked);
        while asked == 0 || asked + request <= most {
            let Some(q) = self.thirsty.pop_front() else {
                return;
            };
            asked += request;
            self.qps[usize::from(q)].clear(flag::THIRSTY);
            self.make_ready(q.into());
        }
    }

    /// No READ data are on their way to a queue pair any more, or as good as none.
    pub(super) fn expect_nothing(&mut self, q: usize) {
        let qp = &mut self.qps[q];
        qp.reads_out = 0;
        self.asked -= core::mem::take(&mut qp.asked);
    }

    /// Nothing new before `at`.
    fn wait(&mut self, q: usize, at: Micros) {
        let qp = &mut self.qps[q];
        qp.set(flag::WAIT);
        qp.wait_until = at;
        self.arm(at);
    }
}
