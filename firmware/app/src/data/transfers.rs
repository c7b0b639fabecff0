//! Data between pages and host memory over RDMA: READs for what the host writes, WRITEs for what it reads, and the response
//! behind them, whose order the queue pair keeps.

use sluice_hal::roce::Remote;
use sluice_hal::{
    BufId, Hal, MAX_MOVE_SOURCES, MoveFlags, MoveJob, MoveSource, MoveTarget, Phase, PmAddr,
    PmSlice,
};
use sluice_rdma::nvme::MAX_DESCRIPTORS;
use sluice_rdma::{QpId, ReadData, Work};
use zerocopy::IntoBytes;

use super::DataCore;
use super::answer::has_data;
use super::request::State;

/// In a work request's token, beside the request's number: it is no response. READs carry the piece's number above.
const NO_RESPONSE: u32 = 0x1_0000;
const PIECE_SHIFT: u32 = 17;
/// In a request's PDU slot: the response, and behind it the host memory of the data beyond the first piece.
const RESPONSE_LEN: u32 = 16;
const FURTHER_AT: u32 = 64;
/// Work requests of the longest answer: a WRITE for each piece of host memory, and the response.
pub const MOST_WORK: u16 = MAX_DESCRIPTORS as u16 + 1;

/// READ data that lie in the order of their request's data, to be moved at once.
#[derive(Clone, Copy)]
pub struct Gathered {
    request: u16,
    /// Where in the request's data they begin, and their bytes.
    at: u32,
    len: u32,
    /// The request's data end with them.
    ends: bool,
    count: u8,
    pieces: [PmSlice; MAX_MOVE_SOURCES],
    bufs: [BufId; MAX_MOVE_SOURCES],
}

impl Gathered {
    pub const NONE: Self = Self {
        request: 0,
        at: 0,
        len: 0,
        ends: false,
        count: 0,
        pieces: [PmSlice {
            addr: PmAddr(0),
            len: 0,
        }; MAX_MOVE_SOURCES],
        bufs: [BufId(0); MAX_MOVE_SOURCES],
    };

    pub fn is_some(&self) -> bool {
        self.count > 0
    }

    fn goes_on(&self, request: u16, at: u32) -> bool {
        self.is_some()
            && self.request == request
            && self.at + self.len == at
            && usize::from(self.count) < MAX_MOVE_SOURCES
            && !self.ends
    }

    fn push(&mut self, data: &ReadData) {
        let i = usize::from(self.count);
        (self.pieces[i], self.bufs[i]) = (data.slice, data.buf);
        self.len += data.slice.len;
        self.count += 1;
    }
}

impl DataCore {
    /// Notes where in host memory the data of the command at hand are.
    #[inline]
    pub(super) fn attach_remote<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let r = &mut self.requests.all[usize::from(request)];
        r.remote = self.message.remote;
        r.response = self.message.response;
        r.further = self.message.further.len() as u8;
        if r.further > 0 {
            let at = self.share.slot(request).plus(FURTHER_AT);
            for (i, piece) in self.message.further.iter().enumerate() {
                let words = [
                    piece.va as u32,
                    (piece.va >> 32) as u32,
                    piece.rkey,
                    piece.len,
                ];
                hal.pm_write(at.plus(16 * i as u32), words.as_bytes());
            }
        }
    }

    /// Piece `index` of the host memory of a request's data; there are `further + 1`.
    #[inline]
    fn remote<H: Hal>(&self, request: u16, index: u8, hal: &mut H) -> Remote {
        let r = &self.requests.all[usize::from(request)];
        if index == 0 {
            return r.remote;
        }
        let at = self
            .share
            .slot(request)
            .plus(FURTHER_AT - 16 + 16 * u32::from(index));
        let mut words = [0u32; 4];
        hal.pm_read(at, words.as_mut_bytes());
        Remote {
            va: u64::from(words[0]) | u64::from(words[1]) << 32,
            rkey: words[2],
            len: words[3],
        }
    }

    /// Reads the data of a command out of host memory: its pages are there, and work requests were asked for.
    pub(super) fn fetch<H: Hal>(&mut self, request: u16, qp: QpId, hal: &mut H) {
        let further = self.requests.all[usize::from(request)].further;
        self.requests.all[usize::from(request)].state = State::Receiving;
        for index in 0..=further {
            let remote = self.remote(request, index, hal);
            let token = u32::from(index) << PIECE_SHIFT | NO_RESPONSE | u32::from(request);
            // Refused only if the queue pair is over: then it says so, and the connection ends.
            let _ = self.rc.post(qp, Work::Read(remote), &[], token);
        }
        self.begin_soliciting(request);
    }

    /// Takes a packet's worth of READ data; its buffer is ours.
    #[inline]
    pub(super) fn read_data<H: Hal>(&mut self, data: &ReadData, hal: &mut H) {
        let request = data.token as u16;
        let piece = (data.token >> PIECE_SHIFT) as u8;
        let expected = self.of_qp(data.qp).filter(|conn| {
            let r = &self.requests.all[usize::from(request)];
            r.state == State::Receiving && r.conn == *conn && !self.conns[usize::from(*conn)].dead
        });
        if expected.is_none() {
            return hal.rx_free(data.buf);
        }
        let mut at = data.offset;
        for earlier in 0..piece {
            at += self.remote(request, earlier, hal).len;
        }
        if !self.gathered.goes_on(request, at) {
            self.set_gathered_aside(hal);
            self.gathered = Gathered {
                request,
                at,
                ..Gathered::NONE
            };
        }
        self.gathered.push(data);
        self.gathered.ends = data.last && piece == self.requests.all[usize::from(request)].further;
    }

    /// Moves what was gathered, or keeps it if the mover is busy. Room for one that is kept is asked for before each packet.
    fn set_gathered_aside<H: Hal>(&mut self, hal: &mut H) {
        if !self.move_gathered(hal) {
            self.set_aside = core::mem::replace(&mut self.gathered, Gathered::NONE);
        }
    }

    /// Nothing is set aside, so one more packet may be taken.
    #[inline]
    pub(super) fn may_take_packet<H: Hal>(&mut self, hal: &mut H) -> bool {
        if self.set_aside.count == 0 {
            return true;
        }
        let younger = core::mem::replace(&mut self.gathered, self.set_aside);
        let moved = self.move_gathered(hal);
        let older = core::mem::replace(&mut self.gathered, younger);
        if moved {
            self.set_aside = Gathered::NONE;
        } else {
            self.set_aside = older;
        }
        moved
    }

    /// Posts the move of the READ data gathered. False if the mover is busy.
    #[inline]
    pub(super) fn move_gathered<H: Hal>(&mut self, hal: &mut H) -> bool {
        let Gathered {
            request,
            at,
            len,
            ends,
            count,
            pieces,
            bufs,
        } = self.gathered;
        if count == 0 {
            return true;
        }
        if !self.moves.has_room() {
            return false;
        }
        let r = &mut self.requests.all[usize::from(request)];
        let conn = r.conn;
        // The queue pair checked offsets against what was asked for; this keeps a slip of ours from reaching other pages.
        let target = r
            .run
            .filter(|run| r.state == State::Receiving && at + len <= run.slice().len)
            .filter(|_| self.conns.get(usize::from(conn)).is_some_and(|c| !c.dead));
        if let Some(run) = target {
            let job = MoveJob {
                tag: request,
                source: MoveSource::Pm(pieces, count),
                target: MoveTarget::Pm(run.addr().plus(at)),
                flags: MoveFlags::default(),
                crc_context: conn & 0xff,
            };
            if hal.move_post(&job).is_err() {
                return false;
            }
            r.moves += 1;
            self.moves.posted_data(request);
        }
        for buf in &bufs[..usize::from(count)] {
            self.moves.free_later(*buf);
        }
        self.gathered = Gathered::NONE;
        if target.is_some() && ends {
            self.requests.all[usize::from(request)].state = State::Moving;
            self.conns[usize::from(conn)].progress = self.now.0 as u32;
            self.end_soliciting(request);
        }
        true
    }

    /// Posts the answer: the data for the host, if any, then the response.
    pub(super) fn send_rdma_answer<H: Hal>(&mut self, request: u16, qp: QpId, hal: &mut H) {
        if self.rc.work_room() < MOST_WORK {
            return self.wait(request, State::NeedsSend);
        }
        hal.phase(Phase::Tx);
        self.count_answer(request, hal);
        let slot = self.share.slot(request);
        let r = &mut self.requests.all[usize::from(request)];
        r.state = State::Sending;
        let (conn, remote, response) = (r.conn, r.remote, r.response);
        let entry = &self.conns[usize::from(conn)];
        let head = if entry.no_sqhd { 0 } else { entry.sq_head };
        let cqe = [
            r.result as u32,
            (r.result >> 32) as u32,
            head.into(),
            u32::from(r.cid) | u32::from(r.status) << 17,
        ];
        let data = r
            .run
            .filter(|_| has_data(r.kind, r.status, r.bytes, r.to_host))
            .map(|run| PmSlice::new(run.addr(), r.bytes));
        hal.pm_write(slot, cqe.map(u32::to_le).as_bytes());
        self.rc.post_receives(qp, 1);
        let at = PmSlice::new(slot, RESPONSE_LEN);
        let posted = match data {
            Some(data) => match coupled(remote, data, response) {
                Some(work) => self.rc.post(qp, work, &[data, at], request.into()).is_ok(),
                None => {
                    self.write_to_host(request, qp, data, hal)
                        && self.rc.post(qp, response, &[at], request.into()).is_ok()
                }
            },
            None => {
                // The SSD is through with them, and the host gets none of them.
                self.give_pages_back(request);
                self.rc.post(qp, response, &[at], request.into()).is_ok()
            }
        };
        if !posted {
            // There was room, so the queue pair is over and will say so. What it took of the answer may be under way.
            self.released(request.into());
        }
    }

    /// RDMA WRITEs of `data` to the host memory that the command named; false if the queue pair is over.
    fn write_to_host<H: Hal>(
        &mut self,
        request: u16,
        qp: QpId,
        data: PmSlice,
        hal: &mut H,
    ) -> bool {
        let further = self.requests.all[usize::from(request)].further;
        let mut left = data;
        for index in 0..=further {
            let remote = self.remote(request, index, hal);
            let (piece, rest) = left.split(remote.len);
            left = rest;
            if piece.len == 0 {
                break;
            }
            let work = Work::Write {
                va: remote.va,
                rkey: remote.rkey,
            };
            if self.rc.post(qp, work, &[piece], NO_RESPONSE).is_err() {
                return false;
            }
        }
        true
    }

    /// Takes the work requests that are over; responses among them end their commands.
    #[inline]
    pub(super) fn take_released_work(&mut self) {
        while let Some(released) = self.rc.poll_released() {
            self.relieved = true;
            if released.token & NO_RESPONSE == 0 {
                self.released(released.token);
            }
        }
    }
}

/// Data and response in one, if the data go to one piece of host memory and no other key is to be invalidated.
#[inline]
fn coupled(remote: Remote, data: PmSlice, response: Work) -> Option<Work> {
    let Remote { va, rkey, len } = remote;
    let invalidate = match response {
        Work::Send => false,
        Work::SendInvalidate(key) if key == rkey => true,
        _ => return None,
    };
    (data.len <= len).then_some(Work::WriteSend {
        va,
        rkey,
        invalidate,
    })
}
