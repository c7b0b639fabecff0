//! From stream bytes to PDUs, commands and payload moves. Payload is never looked at: the mover takes it from the frame
//! buffers to the command's pages.

use sluice_hal::{Hal, MAX_MOVE_SOURCES, MoveFlags, MoveJob, MoveSource, MoveTarget, PmSlice};
use sluice_net::ConnId;
use sluice_nvme_tcp::{Event, H2cData, Step, Violation, Want};

use super::DataCore;
use super::conn::{NONE, Role};
use super::request::{Kind, State};

/// PDU parts handled per connection and pass, so that no connection holds up the others.
const STEPS: usize = 24;
/// Generic status: Command Interrupted; the host may try again (NVMe Base 2.1, figure 102).
const TRY_AGAIN: u16 = 0x21;

/// SGL descriptor type and subtype: data by the transport.
const SGL_TRANSPORT: u8 = 0x5a;

/// What one step of the session asks of the core, free of borrows.
enum Next {
    More,
    Setup,
    Command,
    Data(H2cData),
    Done(Option<u32>),
    Violation(Violation),
    Terminated,
}

impl From<Step<'_>> for Next {
    #[inline]
    fn from(step: Step<'_>) -> Self {
        match step {
            Step::More => Self::More,
            Step::Event(Event::IcReq) => Self::Setup,
            // The session holds it until it is asked for the next header.
            Step::Event(Event::Command { .. }) => Self::Command,
            Step::Event(Event::H2cData(data)) => Self::Data(data),
            Step::Event(Event::DataDone { digest }) => Self::Done(digest),
            Step::Event(Event::HostTerminated { .. }) => Self::Terminated,
            Step::Fatal(violation) => Self::Violation(violation),
        }
    }
}

impl DataCore {
    /// Takes what the stream of `conn` has, until it is empty, something is missing, or others are due.
    pub(super) fn read_stream<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        if self.conns[usize::from(conn)].dead {
            return self.throw_away(conn);
        }
        for _ in 0..STEPS {
            if !self.unpark(conn, hal) {
                return;
            }
            let entry = &mut self.conns[usize::from(conn)];
            let (false, Some(tcp)) = (entry.dead, entry.tcp) else {
                return;
            };
            if !self.moves.has_room() {
                break;
            }
            let Some(front) = self.tcp.front(tcp) else {
                return;
            };
            let next = match entry.session.want() {
                Want::Header(into) => {
                    let n = into.len().min(front.len as usize);
                    hal.pm_read(front.addr, &mut into[..n]);
                    let moves = &mut self.moves;
                    self.tcp.consume(tcp, n as u32, |buf| moves.free_later(buf));
                    Next::from(entry.session.filled(n, |header| hal.crc32c(header)))
                }
                Want::Data { left } => match self.place(conn, tcp, left, front, hal) {
                    Some(next) => next,
                    None => return,
                },
                Want::Closed => return,
            };
            self.handle(conn, next, hal);
        }
        self.ready.push(conn);
    }

    /// What a host still sends to a connection that is being closed must not keep frame buffers from others.
    #[cold]
    pub(super) fn throw_away(&mut self, conn: u16) {
        let Some(tcp) = self.conns[usize::from(conn)].tcp else {
            return;
        };
        while let Some(front) = self.tcp.front(tcp) {
            if !self.moves.has_room() {
                self.ready.push(conn);
                return;
            }
            let moves = &mut self.moves;
            self.tcp
                .consume(tcp, front.len, |buf| moves.free_later(buf));
        }
    }

    #[inline]
    fn handle<H: Hal>(&mut self, conn: u16, next: Next, hal: &mut H) {
        match next {
            Next::More => {}
            Next::Command => self.accept(conn, hal),
            Next::Data(data) => self.announced(conn, &data, hal),
            Next::Done(digest) => self.data_done(conn, digest, hal),
            Next::Setup => self.send_ic_resp(conn, hal),
            Next::Violation(violation) => self.violated(conn, violation, hal),
            Next::Terminated => {
                self.stats.term_reqs += 1;
                self.end(conn, false, hal);
            }
        }
    }

    #[inline]
    fn accept<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        self.found_at = hal.clocks();
        if !self.command(conn, hal) {
            self.conns[usize::from(conn)].parked = true;
            self.remember_found(conn, hal);
            self.stats.waits += 1;
        }
    }

    /// Starts the parked command, if there is one. False if it has to wait on.
    #[inline]
    fn unpark<H: Hal>(&mut self, conn: u16, hal: &mut H) -> bool {
        if !self.conns[usize::from(conn)].parked {
            return true;
        }
        self.retry_parked(conn, hal)
    }

    #[cold]
    fn retry_parked<H: Hal>(&mut self, conn: u16, hal: &mut H) -> bool {
        self.recall_found(conn, hal);
        let begun =
            self.command(conn, hal) || self.waits_for_itself(conn) && self.refuse(conn, hal);
        self.conns[usize::from(conn)].parked = !begun;
        if !begun {
            self.starved.push(conn);
        }
        begun
    }

    /// Data that the host was asked for lie behind the parked command, and what it waits for may depend on them: a place in the
    /// backlog, or in the relay to the control core. All else is given back without another byte from the stream.
    fn waits_for_itself(&self, conn: u16) -> bool {
        let entry = &self.conns[usize::from(conn)];
        let sqe = entry.session.command();
        let from_host = u32::from_le(sqe[0]) & 3 == 1;
        let by_r2t = from_host && (u32::from_le(sqe[9]) >> 24) as u8 == SGL_TRANSPORT;
        entry.soliciting > 0 && (entry.role == Role::Admin || by_r2t)
    }

    /// Waiting could be waiting for ever, so the command is sent back.
    #[cold]
    fn refuse<H: Hal>(&mut self, conn: u16, hal: &mut H) -> bool {
        let session = &self.conns[usize::from(conn)].session;
        let cid = (u32::from_le(session.command()[0]) >> 16) as u16;
        let in_capsule = session.in_capsule();
        let Some(request) = self.new_request(conn, Kind::Session, cid, hal) else {
            return false;
        };
        self.requests.all[usize::from(request)].kind = Kind::Flush;
        self.accepted(conn, request, in_capsule, true, hal);
        self.fail(request, TRY_AGAIN, hal);
        true
    }

    /// An H2CData header: which request, which place.
    #[inline]
    fn announced<H: Hal>(&mut self, conn: u16, data: &H2cData, hal: &mut H) {
        let limit = self.share.slots();
        let request = self.requests.all[..limit].get_mut(usize::from(data.ttag));
        let checked = match request {
            Some(r) if r.state == State::Receiving && r.conn == conn => r.transfer.check(data),
            _ => Err(Violation::UNKNOWN_TTAG),
        };
        match checked {
            Ok(()) => {
                let entry = &mut self.conns[usize::from(conn)];
                entry.target = data.ttag;
                entry.offset = data.offset;
                entry.pdu_starts = true;
            }
            Err(violation) => self.violated(conn, violation, hal),
        }
    }

    /// Moves payload that lies at the front of the stream. `None` if the connection has to wait.
    #[inline]
    fn place<H: Hal>(
        &mut self,
        conn: u16,
        tcp: ConnId,
        left: u32,
        front: PmSlice,
        hal: &mut H,
    ) -> Option<Next> {
        let target = self.conns[usize::from(conn)].target;
        let mut n = front.len.min(left);
        if target != NONE {
            if self.requests.all[usize::from(target)].run.is_none()
                && !self.pages_for_capsule(conn, target)
            {
                return None;
            }
            let (pieces, count, bytes) = self.pieces(tcp, left, front);
            if !self.move_in(conn, target, &pieces, count, bytes, hal) {
                self.ready.push(conn);
                return None;
            }
            n = bytes;
        }
        let moves = &mut self.moves;
        self.tcp.consume(tcp, n, |buf| moves.free_later(buf));
        Some(Next::from(self.conns[usize::from(conn)].session.moved(n)))
    }

    /// The next `left` bytes of the stream, as far as they are here and one move takes them: the pieces, how many, and
    /// their bytes.
    #[inline]
    fn pieces(
        &self,
        tcp: ConnId,
        left: u32,
        front: PmSlice,
    ) -> ([PmSlice; MAX_MOVE_SOURCES], u8, u32) {
        let mut pieces = [PmSlice::default(); MAX_MOVE_SOURCES];
        let mut bytes = front.len.min(left);
        pieces[0] = PmSlice::new(front.addr, bytes);
        let mut count = 1;
        if bytes < left {
            for (piece, run) in pieces[1..].iter_mut().zip(self.tcp.runs(tcp).skip(1)) {
                *piece = PmSlice::new(run.addr, run.len.min(left - bytes));
                bytes += piece.len;
                count += 1;
                if bytes == left {
                    break;
                }
            }
        }
        (pieces, count, bytes)
    }

    /// Posts the move of the next pieces of payload, `bytes` in all; false if the mover is busy.
    #[inline]
    pub(super) fn move_in<H: Hal>(
        &mut self,
        conn: u16,
        target: u16,
        pieces: &[PmSlice; MAX_MOVE_SOURCES],
        count: u8,
        bytes: u32,
        hal: &mut H,
    ) -> bool {
        let entry = &mut self.conns[usize::from(conn)];
        let request = &mut self.requests.all[usize::from(target)];
        let Some(run) = request.run else { return false };
        // The announced range was checked against the command; this keeps a slip of ours from reaching other pages.
        if entry.offset + bytes > run.slice().len || !self.moves.has_room() {
            return false;
        }
        let crc = entry.session.data_digest();
        let job = MoveJob {
            tag: target,
            source: MoveSource::Pm(*pieces, count),
            target: MoveTarget::Pm(run.addr().plus(entry.offset)),
            flags: MoveFlags {
                crc,
                crc_init: crc && entry.pdu_starts,
                crc_to: None,
            },
            crc_context: conn & 0xff,
        };
        if hal.move_post(&job).is_err() {
            return false;
        }
        request.moves += 1;
        entry.offset += bytes;
        entry.pdu_starts = false;
        self.moves.posted_data(target);
        true
    }

    /// Pages for in-capsule data, whose request got none when it was accepted.
    #[cold]
    pub(super) fn pages_for_capsule(&mut self, conn: u16, target: u16) -> bool {
        let bytes = self.requests.all[usize::from(target)].bytes;
        if self.take_pages(target, bytes) {
            return true;
        }
        self.starved.push(conn);
        false
    }

    /// The payload of one PDU is complete.
    #[inline]
    fn data_done<H: Hal>(&mut self, conn: u16, digest: Option<u32>, hal: &mut H) {
        let entry = &mut self.conns[usize::from(conn)];
        let target = entry.target;
        entry.target = NONE;
        entry.pdu_starts = true;
        if target == NONE {
            return;
        }
        let request = &mut self.requests.all[usize::from(target)];
        if let Some(digest) = digest {
            request.moves += 1;
            self.moves.check_digest(target, digest);
        }
        if request.transfer.is_complete() {
            request.state = State::Moving;
            entry.progress = self.now.0 as u32;
            self.end_soliciting(target);
            self.check_moved(target, hal);
        }
    }

    /// The host broke the protocol: say so and close.
    #[cold]
    fn violated<H: Hal>(&mut self, conn: u16, violation: Violation, hal: &mut H) {
        self.stats.term_reqs += 1;
        if matches!(violation, Violation::HeaderDigest(_)) {
            self.stats.header_digest_errors += 1;
        }
        self.send_term_req(conn, violation, hal);
        self.end(conn, false, hal);
    }
}
