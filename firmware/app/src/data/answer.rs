//! What goes to the host: responses, data, requests for data. PDU headers are written to the request's slot in packet
//! memory and stay there until TCP has the acknowledgment, so any byte can be sent again.

use sluice_hal::{
    Hal, MAX_MOVE_SOURCES, MoveFlags, MoveJob, MoveSource, MoveTarget, Phase, PmSlice,
};
use sluice_nvme_tcp::{C2hEnd, Violation};

use super::DataCore;
use super::request::{Kind, State};
use super::transfers::MOST_WORK;
use crate::memory::SLOT_TRAILER;

/// Beside the request's number: the chunk is its R2T.
const R2T_TOKEN: u32 = 0x1_0000;
/// Chunks of the longest answer: header, data, trailer.
const ANSWER_CHUNKS: usize = 3;

impl DataCore {
    /// The connection's send queue has room for `chunks` more; over RDMA, for whatever one command may need.
    #[inline]
    pub(super) fn may_send(&self, conn: u16, chunks: usize) -> bool {
        let entry = &self.conns[usize::from(conn)];
        if entry.qp.is_some() {
            return self.rc.work_room() >= MOST_WORK;
        }
        entry
            .tcp
            .is_some_and(|tcp| self.tcp.send_room(tcp) >= chunks)
    }

    /// Ends a command with an error before anything was done for it.
    pub(super) fn fail<H: Hal>(&mut self, request: u16, status: u16, hal: &mut H) {
        self.requests.all[usize::from(request)].status = status;
        self.answer(request, hal);
    }

    /// The command is done: sends its data, if any, and its response.
    #[inline]
    pub(super) fn answer<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let r = &mut self.requests.all[usize::from(request)];
        let conn = &mut self.conns[usize::from(r.conn)];
        if conn.dead {
            return self.finish(request, hal);
        }
        let digest = has_data(r.kind, r.status, r.bytes, r.to_host) && conn.session.data_digest();
        if !digest {
            return self.send_answer(request, hal);
        }
        let Some(run) = r.run else {
            return self.send_answer(request, hal);
        };
        let bytes = r.bytes;
        let Some(context) = self.digest_context(self.requests.all[usize::from(request)].conn)
        else {
            return self.wait(request, State::NeedsSend);
        };
        let mut pieces = [PmSlice::default(); MAX_MOVE_SOURCES];
        pieces[0] = PmSlice::new(run.addr(), bytes);
        let job = MoveJob {
            tag: request,
            source: MoveSource::Pm(pieces, 1),
            target: MoveTarget::Discard,
            flags: MoveFlags {
                crc: true,
                crc_init: true,
                crc_to: Some(self.share.slot(request).plus(SLOT_TRAILER)),
            },
            crc_context: context,
        };
        if !self.moves.has_room() || hal.move_post(&job).is_err() {
            return self.wait(request, State::NeedsSend);
        }
        let r = &mut self.requests.all[usize::from(request)];
        r.moves += 1;
        r.state = State::Digesting;
        self.moves.posted_digest(request);
    }

    /// A CRC context for a digest in one piece: the connection's own, or while that holds the running CRC of payload that
    /// is coming in, another connection's that does not.
    #[inline]
    fn digest_context(&self, conn: u16) -> Option<u16> {
        let spare = if conn & 0xff == 0xff {
            conn ^ 1
        } else {
            conn | 0xff
        };
        let free = |conn: &u16| {
            self.conns
                .get(usize::from(*conn))
                .is_none_or(|c| c.pdu_starts)
        };
        [conn, spare].into_iter().find(free).map(|conn| conn & 0xff)
    }

    /// Queues the answer; the data digest, if one is due, is in the slot already.
    pub(super) fn send_answer<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let conn = self.requests.all[usize::from(request)].conn;
        if self.conns[usize::from(conn)].dead {
            return self.finish(request, hal);
        }
        if let Some(qp) = self.conns[usize::from(conn)].qp {
            return self.send_rdma_answer(request, qp, hal);
        }
        if !self.may_send(conn, ANSWER_CHUNKS) {
            return self.wait(request, State::NeedsSend);
        }
        hal.phase(Phase::Tx);
        self.count_answer(request, hal);
        let slot = self.share.slot(request);
        let r = &mut self.requests.all[usize::from(request)];
        r.state = State::Sending;
        let entry = &mut self.conns[usize::from(conn)];
        let Some(tcp) = entry.tcp else { return };
        let trailer = slot.plus(SLOT_TRAILER);
        let mut trailer_len = 0;
        let mut pieces = [PmSlice::default(); ANSWER_CHUNKS];
        let mut count = 0;
        let mut respond = true;
        let has_data = has_data(r.kind, r.status, r.bytes, r.to_host);
        if has_data {
            let Some(run) = r.run else { return };
            respond = !(entry.no_sqhd && r.result == 0);
            let end = if respond {
                C2hEnd::Last
            } else {
                C2hEnd::Success
            };
            let len = entry
                .session
                .c2h_data(r.cid, 0, r.bytes, end, &mut self.pdu, |b| hal.crc32c(b));
            hal.pm_write(slot, self.pdu.bytes(len));
            trailer_len = entry.session.data_digest_len();
            pieces[0] = PmSlice::new(slot, len as u32);
            pieces[1] = PmSlice::new(run.addr(), r.bytes);
            count = 2;
        }
        if respond {
            let head = if entry.no_sqhd {
                0
            } else {
                u32::from(entry.sq_head)
            };
            let status = u32::from(r.status) << 17;
            let cqe = [
                r.result as u32,
                (r.result >> 32) as u32,
                head,
                u32::from(r.cid) | status,
            ];
            let len = entry
                .session
                .capsule_resp(&cqe, &mut self.pdu, |b| hal.crc32c(b));
            hal.pm_write(trailer.plus(trailer_len), self.pdu.bytes(len));
            trailer_len += len as u32;
        }
        if !has_data {
            // The SSD is through with them, and the host gets none of them.
            self.give_pages_back(request);
        }
        if trailer_len > 0 {
            pieces[count] = PmSlice::new(trailer, trailer_len);
            count += 1;
        }
        // The room was asked for.
        let _ = self
            .tcp
            .send_pieces(tcp, &pieces[..count], u32::from(request));
    }

    /// Asks the host for the data of a command, all at once: its pages are there.
    pub(super) fn ask_for_data<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let conn = self.requests.all[usize::from(request)].conn;
        match self.conns[usize::from(conn)].qp {
            Some(qp) => self.fetch(request, qp, hal),
            None => self.send_r2t(request, hal),
        }
    }

    fn send_r2t<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let slot = self.share.slot(request);
        let r = &mut self.requests.all[usize::from(request)];
        let entry = &mut self.conns[usize::from(r.conn)];
        let Some(range) = r.transfer.next_r2t(r.bytes) else {
            return;
        };
        r.state = State::Receiving;
        let len = entry
            .session
            .r2t(r.cid, request, range, &mut self.pdu, |b| hal.crc32c(b));
        hal.pm_write(slot, self.pdu.bytes(len));
        // The callers asked for the room.
        if let Some(tcp) = entry.tcp {
            let token = R2T_TOKEN | u32::from(request);
            let sent = self.tcp.send(tcp, PmSlice::new(slot, len as u32), token);
            self.requests.all[usize::from(request)].r2t_queued = sent.is_ok();
        }
        self.begin_soliciting(request);
    }

    pub(super) fn send_ic_resp<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        let len = self.conns[usize::from(conn)].session.ic_resp(&mut self.pdu);
        self.send_session_pdu(conn, len, hal);
    }

    pub(super) fn send_term_req<H: Hal>(&mut self, conn: u16, violation: Violation, hal: &mut H) {
        let len = self.conns[usize::from(conn)]
            .session
            .terminate(violation, &mut self.pdu);
        if len > 0 {
            self.send_session_pdu(conn, len, hal);
        }
    }

    fn send_session_pdu<H: Hal>(&mut self, conn: u16, len: usize, hal: &mut H) {
        let request = if self.may_send(conn, 1) {
            self.new_request(conn, Kind::Session, 0, hal)
        } else {
            None
        };
        let Some(request) = request else {
            // No room even for this: the host sees the connection go instead.
            return self.end(conn, true, hal);
        };
        let slot = self.share.slot(request);
        hal.pm_write(slot, self.pdu.bytes(len));
        self.requests.all[usize::from(request)].state = State::Sending;
        if let Some(tcp) = self.conns[usize::from(conn)].tcp {
            let _ = self
                .tcp
                .send(tcp, PmSlice::new(slot, len as u32), u32::from(request));
        }
    }

    /// A chunk was acknowledged, or its connection is gone: once the tx engine is through with it, so is the request.
    #[inline]
    pub(super) fn released(&mut self, token: u32) {
        let request = token as u16;
        if token & R2T_TOKEN != 0 {
            let r = &mut self.requests.all[usize::from(request)];
            r.r2t_queued = false;
            if r.state != State::Lingering {
                return;
            }
        }
        let _ = self.leaving.push_back((request, self.link.posted()));
    }
}

/// The answer carries data to the host.
#[inline]
pub(super) fn has_data(kind: Kind, status: u16, bytes: u32, to_host: bool) -> bool {
    status == 0 && bytes > 0 && (kind == Kind::Read || to_host)
}
