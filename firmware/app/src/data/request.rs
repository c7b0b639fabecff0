//! Commands in progress: one [`Request`] each, with its PDU slot in packet memory and its data pages.

use heapless::Deque;
use sluice_hal::Hal;
use sluice_nvme_tcp::WriteTransfer;
use sluice_ssd::Run;

use super::DataCore;
use super::conn::NONE;
use crate::limits::{REQUESTS, REQUESTS_PER_CONNECTION};
use crate::mail::ToControl;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Read,
    Write,
    Compare,
    Flush,
    WriteZeroes,
    DatasetManagement,
    /// Executed by the control core.
    Relayed,
    /// No command: a PDU of the session's own (ICResp, TermReq).
    Session,
}

/// Where a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Free,
    /// Waits for data pages; nothing has been asked of the host.
    NeedsPages,
    /// Payload is coming in from the host.
    Receiving,
    /// Payload has been announced in full; moves into the pages are under way.
    Moving,
    /// Waits for a place in an SSD's queue, or in the control core's mailbox.
    NeedsQueue,
    /// An SSD has it.
    OnSsd,
    /// The control core has it.
    OnControl,
    /// The mover computes the data digest.
    Digesting,
    /// Waits for room in the connection's send queue.
    NeedsSend,
    /// The answer is queued or sent; its memory is the stack's until it is acknowledged.
    Sending,
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub state: State,
    pub kind: Kind,
    /// The host was sent an R2T and owes data.
    pub solicited: bool,
    /// The data are the host's, sent along with the command.
    pub in_capsule: bool,
    /// The control core filled the pages for the host.
    pub to_host: bool,
    pub ssd: u8,
    /// Relay slot, while the control core has it.
    pub relay: u8,
    pub conn: u16,
    /// Next request in a waiting list is its own business; this is the connection's generation at the start.
    pub generation: u16,
    /// Command identifier.
    pub cid: u16,
    /// Status for the host so far.
    pub status: u16,
    pub moves: u16,
    /// CRC32C of the payload of the PDU at hand, as far as it was moved.
    pub crc: u32,
    pub blocks_z: u16,
    /// Upper half of command word 12.
    pub control: u16,
    /// NSID towards the host and on the SSD.
    pub nsid: u32,
    pub ssd_nsid: u32,
    /// Dataset Management with the Deallocate attribute.
    pub deallocate: bool,
    pub slba: u64,
    /// Payload bytes, either way.
    pub bytes: u32,
    pub run: Option<Run>,
    pub transfer: WriteTransfer,
    pub result: u64,
}

impl Request {
    const FREE: Self = Self {
        state: State::Free,
        kind: Kind::Session,
        solicited: false,
        in_capsule: false,
        to_host: false,
        ssd: 0,
        relay: 0,
        conn: NONE,
        generation: 0,
        cid: 0,
        status: 0,
        moves: 0,
        crc: 0,
        blocks_z: 0,
        control: 0,
        nsid: 0,
        ssd_nsid: 0,
        deallocate: false,
        slba: 0,
        bytes: 0,
        run: None,
        transfer: WriteTransfer::new(0, 0),
        result: 0,
    };
}

/// The table, its free list and its waiting lists.
pub struct Requests {
    pub all: [Request; REQUESTS],
    free: Deque<u16, REQUESTS>,
    /// Waiting for pages, for an SSD's queue, for the control core, for the send queue: oldest first.
    pub waiting: Deque<u16, REQUESTS>,
}

impl Requests {
    pub const fn new() -> Self {
        Self {
            all: [Request::FREE; REQUESTS],
            free: Deque::new(),
            waiting: Deque::new(),
        }
    }

    /// Makes the first `count` requests usable.
    pub fn start(&mut self, count: usize) {
        for index in 0..count.min(REQUESTS) {
            let _ = self.free.push_back(index as u16);
        }
    }

    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// A request whose answer can no longer be given back wrongly: states are checked, not assumed.
    pub fn get(&mut self, index: u16) -> Option<&mut Request> {
        self.all
            .get_mut(usize::from(index))
            .filter(|r| r.state != State::Free)
    }

    fn take(&mut self) -> Option<u16> {
        self.free.pop_front()
    }

    fn give_back(&mut self, index: u16) {
        self.all[usize::from(index)].state = State::Free;
        let _ = self.free.push_back(index);
    }
}

impl DataCore {
    /// A request for `conn`, if the connection may have one more.
    #[inline]
    pub(super) fn new_request(&mut self, conn: u16, kind: Kind, cid: u16) -> Option<u16> {
        let entry = &mut self.conns[usize::from(conn)];
        // One host must not take every request from the others: a share of what is free, or a modest number.
        let free = self.requests.free_count();
        let share = (free as u16).clamp(32, REQUESTS_PER_CONNECTION);
        // Two are kept for the sessions' own PDUs.
        if kind != Kind::Session && (entry.requests >= share || free <= 2) {
            return None;
        }
        let index = self.requests.take()?;
        entry.requests += 1;
        let request = &mut self.requests.all[usize::from(index)];
        request.state = State::Receiving;
        request.kind = kind;
        request.conn = conn;
        request.generation = entry.generation;
        request.cid = cid;
        request.status = 0;
        request.solicited = false;
        request.in_capsule = false;
        request.to_host = false;
        request.moves = 0;
        request.bytes = 0;
        request.run = None;
        request.result = 0;
        Some(index)
    }

    /// Pages for `bytes` bytes of `request`; false if there are none for this connection now.
    #[inline]
    pub(super) fn take_pages(&mut self, request: u16, bytes: u32) -> bool {
        let pages = bytes.div_ceil(sluice_hal::layout::PAGE_SIZE);
        let r = &mut self.requests.all[usize::from(request)];
        let held = &mut self.conns[usize::from(r.conn)].pages;
        // No connection may hold more pages than are left for all others, beyond a modest number.
        if u32::from(*held) + pages > self.pages.available().max(64) {
            return false;
        }
        let Some(run) = self.pages.alloc(pages) else {
            return false;
        };
        *held += pages as u16;
        r.run = Some(run);
        true
    }

    /// Gives back all a request holds. Its moves are done and its bytes have left.
    pub(super) fn finish<H: Hal>(&mut self, index: u16, hal: &mut H) {
        let Some(request) = self.requests.get(index) else {
            return;
        };
        let conn = request.conn;
        let run = request.run.take();
        self.requests.give_back(index);
        let entry = &mut self.conns[usize::from(conn)];
        entry.requests -= 1;
        if let Some(run) = run {
            entry.pages -= run.pages() as u16;
            self.pages.free(run);
        }
        let dead = entry.dead;
        self.relieved = true;
        if dead {
            self.settle(conn, hal);
        }
    }

    /// Puts a request on the waiting list; it is tried again when something was given back.
    pub(super) fn wait(&mut self, index: u16, state: State) {
        self.requests.all[usize::from(index)].state = state;
        self.stats.waits += 1;
        // The list has a place for every request, and a request waits for one thing at a time.
        let _ = self.requests.waiting.push_back(index);
    }

    /// Tries everything that waits once, in order.
    pub(super) fn retry_waiting<H: Hal>(&mut self, hal: &mut H) {
        for _ in 0..self.requests.waiting.len() {
            let Some(index) = self.requests.waiting.pop_front() else {
                return;
            };
            match self.requests.all[usize::from(index)].state {
                State::NeedsPages => self.begin(index, hal),
                State::NeedsQueue => self.dispatch(index, hal),
                State::NeedsSend => self.answer(index, hal),
                // Dropped while it waited.
                _ => {}
            }
        }
    }

    /// Frees the requests of a dead connection that nothing else will: those waiting, and those whose data will not come.
    /// The control core is asked to answer those it has.
    pub(super) fn drop_idle_requests<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        if self.conns[usize::from(conn)].requests == 0 || !self.conns[usize::from(conn)].dead {
            return;
        }
        // Rare, so a scan is fine: a connection dies once.
        for index in 0..self.share.slots() as u16 {
            let r = &self.requests.all[usize::from(index)];
            if r.conn != conn {
                continue;
            }
            if r.state == State::OnControl && !self.conns[usize::from(conn)].told_dying {
                self.conns[usize::from(conn)].told_dying = true;
                let key = self.key(conn);
                self.send_control(ToControl::Dying { key }, hal);
                continue;
            }
            let idle = matches!(
                r.state,
                State::NeedsPages | State::Receiving | State::NeedsQueue | State::NeedsSend
            );
            if idle && r.moves == 0 {
                self.requests.waiting.retain(|w| *w != index);
                self.release_without_settling(index);
            }
        }
    }

    fn release_without_settling(&mut self, index: u16) {
        let request = &mut self.requests.all[usize::from(index)];
        let conn = usize::from(request.conn);
        let run = request.run.take();
        self.requests.give_back(index);
        self.conns[conn].requests -= 1;
        if let Some(run) = run {
            self.conns[conn].pages -= run.pages() as u16;
            self.pages.free(run);
        }
        self.relieved = true;
    }
}
