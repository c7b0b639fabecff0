//! Moves under way. The mover completes a core's moves in order, so one list says what each completion means, which data
//! digests are due, and which frame buffers nobody reads any more.

use heapless::Deque;
use sluice_hal::{BufId, Hal, Phase};

use super::DataCore;
use super::request::State;

/// Moves (and digest checks among them) at a time.
const IN_FLIGHT: usize = 64;
/// Frame buffers waiting for moves.
const BUFFERS: usize = 128;
/// Entries and buffers that one step may add after asking for room once: those of a move and of the end of its PDU.
const MARGIN: usize = sluice_hal::MAX_MOVE_SOURCES;

#[derive(Clone, Copy)]
enum Entry {
    /// Payload from the host into the pages of a request.
    Data(u16),
    /// No move: all payload of a PDU has been moved; compare its CRC.
    Check(u16, u32),
    /// Digest of data to the host.
    Digest(u16),
}

/// An entry, and buffers that nobody reads once it and all before it are done.
#[derive(Clone, Copy)]
struct Slot {
    what: Entry,
    bufs: [BufId; MARGIN],
    buf_count: u8,
}

impl Slot {
    const fn new(what: Entry) -> Self {
        Self {
            what,
            bufs: [BufId(0); MARGIN],
            buf_count: 0,
        }
    }
}

/// The list.
pub struct Moves {
    entries: Deque<Slot, IN_FLIGHT>,
    /// Moves posted and done, counted from 0, wrapping.
    posted: u32,
    done: u32,
    /// Buffers for which there was no place beside an entry, with the count of moves that must be done first.
    buffers: Deque<(BufId, u32), BUFFERS>,
    /// Lengths of the two: asked for at every step.
    entry_count: usize,
    buffer_count: usize,
}

impl Moves {
    pub const fn new() -> Self {
        Self {
            entries: Deque::new(),
            posted: 0,
            done: 0,
            buffers: Deque::new(),
            entry_count: 0,
            buffer_count: 0,
        }
    }

    /// One more move may be posted, and buffers may be set aside.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.entry_count + MARGIN <= IN_FLIGHT && self.buffer_count + MARGIN <= BUFFERS
    }

    /// Moves and digest checks not done.
    pub fn in_flight(&self) -> usize {
        self.entry_count
    }

    /// `has_room` was asked before.
    #[inline]
    fn push(&mut self, what: Entry) {
        self.entry_count += usize::from(self.entries.push_back(Slot::new(what)).is_ok());
    }

    /// Takes the first entry, whose move is done, and frees its buffers.
    #[inline]
    fn pop<H: Hal>(&mut self, hal: &mut H) -> Option<Entry> {
        let slot = self.entries.pop_front()?;
        self.entry_count -= 1;
        for buf in &slot.bufs[..usize::from(slot.buf_count) % (MARGIN + 1)] {
            hal.rx_free(*buf);
        }
        Some(slot.what)
    }

    #[inline]
    pub fn posted_data(&mut self, request: u16) {
        self.posted = self.posted.wrapping_add(1);
        self.push(Entry::Data(request));
    }

    pub fn posted_digest(&mut self, request: u16) {
        self.posted = self.posted.wrapping_add(1);
        self.push(Entry::Digest(request));
    }

    #[inline]
    pub fn check_digest(&mut self, request: u16, digest: u32) {
        self.push(Entry::Check(request, digest));
    }

    /// Sets a buffer aside until every move posted so far is done.
    #[inline]
    pub fn free_later(&mut self, buf: BufId) {
        if let Some(slot) = self.entries.back_mut()
            && let Some(place) = slot.bufs.get_mut(usize::from(slot.buf_count))
        {
            *place = buf;
            slot.buf_count += 1;
            return;
        }
        // Each step asks for room, or posts nothing.
        self.buffer_count += usize::from(self.buffers.push_back((buf, self.posted)).is_ok());
    }
}

impl DataCore {
    pub(super) fn take_moves<H: Hal>(&mut self, hal: &mut H) -> bool {
        let mut any = false;
        loop {
            while let Some(&Slot {
                what: Entry::Check(request, digest),
                ..
            }) = self.moves.entries.front()
            {
                self.moves.pop(hal);
                self.compare_digest(request, digest, hal);
            }
            let Some(done) = hal.move_done() else { break };
            hal.phase(Phase::Pdu);
            any = true;
            self.moves.done = self.moves.done.wrapping_add(1);
            match self.moves.pop(hal) {
                Some(Entry::Data(request)) => {
                    let r = &mut self.requests.all[usize::from(request)];
                    r.moves -= 1;
                    r.crc = done.crc;
                    self.check_moved(request, hal);
                }
                Some(Entry::Digest(request)) => {
                    self.requests.all[usize::from(request)].moves -= 1;
                    self.send_answer(request, hal);
                }
                _ => {}
            }
        }
        self.free_buffers(hal);
        any
    }

    #[inline]
    fn free_buffers<H: Hal>(&mut self, hal: &mut H) {
        while let Some(&(buf, after)) = self.moves.buffers.front() {
            if (self.moves.done.wrapping_sub(after) as i32) < 0 {
                break;
            }
            self.moves.buffers.pop_front();
            self.moves.buffer_count -= 1;
            hal.rx_free(buf);
        }
    }

    fn compare_digest<H: Hal>(&mut self, request: u16, digest: u32, hal: &mut H) {
        /// Generic status: Transient Transport Error (NVMe Base 2.1, figure 102).
        const TRANSIENT_TRANSPORT_ERROR: u16 = 0x22;
        let r = &mut self.requests.all[usize::from(request)];
        r.moves -= 1;
        if r.crc != digest {
            self.stats.data_digest_errors += 1;
            r.status = TRANSIENT_TRANSPORT_ERROR;
        }
        self.check_moved(request, hal);
    }

    /// Goes on with a request whose payload is all here.
    #[inline]
    pub(super) fn check_moved<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let r = &self.requests.all[usize::from(request)];
        if r.moves > 0 {
            return;
        }
        match r.state {
            State::Moving if r.status != 0 => self.answer(request, hal),
            State::Moving => self.dispatch(request, hal),
            // The rest of the data is still to come, unless the connection died meanwhile.
            _ => {
                let conn = r.conn;
                if self.conns[usize::from(conn)].dead {
                    self.settle(conn, hal);
                }
            }
        }
    }
}
