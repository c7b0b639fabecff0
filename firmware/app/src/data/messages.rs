//! NVMe/RDMA messages: command capsules out of the frame buffers they came in. A command for which there is no room stays
//! where it is, and what its host sends beyond its share of frame buffers is refused by the queue pair (RNR NAK).

use heapless::Vec;
use sluice_hal::roce::Remote;
use sluice_hal::{Hal, MAX_MOVE_SOURCES, PmSlice};
use sluice_rdma::nvme::{self, Data, MAX_DESCRIPTORS, Transfer};
use sluice_rdma::{QpId, Work};
use sluice_wire::nvme::{SglDescriptor, Status};
use sluice_wire::nvme_rdma::{COMMAND_LEN, Keyed};
use zerocopy::{FromZeros, IntoBytes};

use super::DataCore;
use super::conn::NONE;
use super::execute::direction;
use super::request::{Kind, State};

/// Messages handled per connection and pass, so that no connection holds up the others.
const MESSAGES: usize = 8;
/// SGL descriptor types and sub types: data block by offset in the capsule, data by the transport.
const SGL_OFFSET: u32 = 0x01 << 24;
const SGL_TRANSPORT: u32 = 0x5a << 24;

/// The command at hand, in the form that commands over TCP have, and what that form does not say.
pub struct Message {
    pub sqe: [u32; 16],
    /// Host memory of its data: the first piece, and others if there are several.
    pub remote: Remote,
    pub further: Vec<Remote, { MAX_DESCRIPTORS - 1 }>,
    /// How its response goes.
    pub response: Work,
    /// In-capsule data: bytes, and where they begin in the message.
    pub in_capsule: u32,
    data_at: u32,
}

impl Message {
    pub const fn new() -> Self {
        Self {
            sqe: [0; 16],
            remote: NOWHERE,
            further: Vec::new(),
            response: Work::Send,
            in_capsule: 0,
            data_at: 0,
        }
    }

    /// Says where the data are, in a form that both transports share.
    fn set_sgl(&mut self, kind: u32, len: u32) {
        (self.sqe[6], self.sqe[7]) = (0, 0);
        (self.sqe[8], self.sqe[9]) = (len.to_le(), kind.to_le());
    }

    fn set_transfer(&mut self, transfer: &Transfer) {
        let mut offset = 0;
        while let Some(piece) = transfer.piece(offset, u32::MAX) {
            if offset == 0 {
                self.remote = piece;
            } else {
                // A transfer has as many pieces as there are places.
                let _ = self.further.push(piece);
            }
            offset += piece.len;
        }
        self.response = transfer.response();
        self.set_sgl(SGL_TRANSPORT, transfer.len());
    }
}

/// No host memory.
pub const NOWHERE: Remote = Remote {
    va: 0,
    rkey: 0,
    len: 0,
};

impl DataCore {
    /// Takes the messages of `conn`, until there are none, something is missing, or others are due.
    pub(super) fn read_messages<H: Hal>(&mut self, conn: u16, qp: QpId, hal: &mut H) {
        for _ in 0..MESSAGES {
            let entry = &self.conns[usize::from(conn)];
            if entry.dead || entry.qp != Some(qp) {
                return;
            }
            if entry.target != NONE {
                if !self.place_capsule(conn, qp, hal) {
                    return;
                }
                continue;
            }
            let Some(front) = self.rc.pieces(qp).next() else {
                return;
            };
            if front.len < COMMAND_LEN {
                // No path MTU is as short as a command. Nothing can be answered: there is no command identifier.
                self.stats.term_reqs += 1;
                return self.end(conn, true, hal);
            }
            let parked = entry.parked;
            if parked {
                self.recall_found(conn, hal);
            } else {
                self.found_at = hal.clocks();
            }
            let taken = self.take_message(conn, qp, front, hal);
            let entry = &mut self.conns[usize::from(conn)];
            entry.parked = !taken;
            entry.capsule_at = self.message.data_at;
            if !taken {
                if !parked {
                    self.remember_found(conn, hal);
                }
                self.stats.waits += 1;
                self.starved.push(conn);
                return;
            }
            if entry.target == NONE {
                // Nobody reads its buffers.
                self.rc.consume(qp, |buf| hal.rx_free(buf));
            }
        }
        self.ready.push(conn);
    }

    /// Takes the command of the oldest message. False, with nothing changed, if there is no room for it now.
    #[inline]
    fn take_message<H: Hal>(&mut self, conn: u16, qp: QpId, front: PmSlice, hal: &mut H) -> bool {
        let message = &mut self.message;
        hal.pm_read(front.addr, message.sqe.as_mut_bytes());
        message.remote = NOWHERE;
        message.further.clear();
        message.response = Work::Send;
        message.in_capsule = 0;
        let [low, high, length, kind] = [6, 7, 8, 9].map(|i| u32::from_le(message.sqe[i]));
        let found = match Keyed::of_words(low, high, length, kind) {
            // Most commands are of this kind.
            Some(keyed) if keyed.va.checked_add(keyed.len.into()).is_some() => {
                message.remote = Remote {
                    va: keyed.va,
                    rkey: keyed.rkey,
                    len: keyed.len,
                };
                if keyed.invalidate && keyed.len > 0 {
                    message.response = Work::SendInvalidate(keyed.rkey);
                }
                message.set_sgl(SGL_TRANSPORT, keyed.len);
                Ok(())
            }
            Some(_) => Err(Status::SGL_OFFSET.no_retry()),
            None => self.find_data(qp, hal),
        };
        match found {
            Ok(()) => self.command(conn, hal),
            Err(status) => self.refuse_message(conn, status.code(), hal),
        }
    }

    /// Where the data of a command are that names no single piece of host memory.
    fn find_data<H: Hal>(&mut self, qp: QpId, hal: &mut H) -> Result<(), Status> {
        if direction(&self.message.sqe) == 0 {
            // The data pointer of a command that transfers none is reserved.
            self.message.set_sgl(SGL_TRANSPORT, 0);
            return Ok(());
        }
        let mut sqe = [0; 64];
        sqe.copy_from_slice(self.message.sqe.as_bytes());
        let len = self.rc.message_len(qp).unwrap_or(COMMAND_LEN);
        match nvme::data(&sqe, len.saturating_sub(COMMAND_LEN))? {
            Data::None => self.message.set_sgl(SGL_TRANSPORT, 0),
            Data::InCapsule { offset, len } => {
                self.message.in_capsule = len;
                self.message.data_at = COMMAND_LEN + offset;
                self.message.set_sgl(SGL_OFFSET, len);
            }
            Data::Keyed(transfer) => self.message.set_transfer(&transfer),
            Data::Descriptors { offset, count } => {
                let mut all = [SglDescriptor::new_zeroed(); MAX_DESCRIPTORS];
                let list = &mut all[..usize::from(count)];
                self.read_message(qp, COMMAND_LEN + offset, list.as_mut_bytes(), hal);
                self.message.set_transfer(&Transfer::of(list)?);
            }
        }
        Ok(())
    }

    /// Copies from the oldest message, from its byte `at` on; what lies behind its end is left alone.
    fn read_message<H: Hal>(&self, qp: QpId, mut at: u32, mut into: &mut [u8], hal: &mut H) {
        for packet in self.rc.pieces(qp) {
            let (skipped, piece) = packet.split(at);
            at -= skipped.len;
            let n = into.len().min(piece.len as usize);
            let (here, rest) = into.split_at_mut(n);
            hal.pm_read(piece.addr, here);
            into = rest;
            if into.is_empty() {
                return;
            }
        }
    }

    /// Ends a command whose data pointer makes no sense. False if there is no request for it now.
    #[cold]
    fn refuse_message<H: Hal>(&mut self, conn: u16, status: u16, hal: &mut H) -> bool {
        let cid = (u32::from_le(self.message.sqe[0]) >> 16) as u16;
        let Some(request) = self.new_request(conn, Kind::Flush, cid, hal) else {
            return false;
        };
        self.accepted(conn, NONE, 0, true, hal);
        self.fail(request, status, hal);
        true
    }

    /// Moves the in-capsule data of the oldest message to their pages. False if something is missing; then the connection is
    /// queued where it will be looked at again.
    fn place_capsule<H: Hal>(&mut self, conn: u16, qp: QpId, hal: &mut H) -> bool {
        let target = self.conns[usize::from(conn)].target;
        let bytes = self.requests.all[usize::from(target)].bytes;
        if self.requests.all[usize::from(target)].run.is_none()
            && !self.pages_for_capsule(conn, target)
        {
            return false;
        }
        let mut over = false;
        loop {
            let entry = &self.conns[usize::from(conn)];
            let (mut skip, left) = (entry.capsule_at, bytes - entry.offset);
            if left == 0 {
                break;
            }
            // As many packets as one move takes.
            let mut pieces = [PmSlice::default(); MAX_MOVE_SOURCES];
            let (mut packets, mut count, mut sum) = (0, 0, 0);
            for packet in self.rc.pieces(qp) {
                let (skipped, rest) = packet.split(skip);
                skip -= skipped.len;
                packets += 1;
                if rest.len > 0 {
                    let piece = rest.split(left - sum).0;
                    pieces[count] = piece;
                    (count, sum) = (count + 1, sum + piece.len);
                }
                if sum == left || count == MAX_MOVE_SOURCES {
                    break;
                }
            }
            if !self.moves.has_room() || !self.move_in(conn, target, &pieces, count as u8, sum, hal)
            {
                self.ready.push(conn);
                return false;
            }
            let moves = &mut self.moves;
            // Packets before the data are read by nobody, and there may be many.
            let mut unread = packets - count as u32;
            over = self.rc.consume_packets(qp, packets, |buf| {
                if unread > 0 {
                    unread -= 1;
                    hal.rx_free(buf);
                } else {
                    moves.free_later(buf);
                }
            });
            self.conns[usize::from(conn)].capsule_at = 0;
        }
        if !over {
            // Behind the data, so nobody reads them.
            self.rc.consume(qp, |buf| hal.rx_free(buf));
        }
        let entry = &mut self.conns[usize::from(conn)];
        entry.target = NONE;
        entry.pdu_starts = true;
        entry.progress = self.now.0 as u32;
        self.requests.all[usize::from(target)].state = State::Moving;
        self.check_moved(target, hal);
        true
    }
}
