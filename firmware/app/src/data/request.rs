//! Commands in progress: one [`Request`] each, with its PDU slot in packet memory and its data pages.

use heapless::Deque;
use sluice_hal::Hal;
use sluice_hal::roce::Remote;
use sluice_nvme_tcp::WriteTransfer;
use sluice_rdma::Work;
use sluice_ssd::Run;

use super::DataCore;
use super::conn::NONE;
use super::messages::NOWHERE;
use super::tally::NO_PLACE;
use crate::limits::REQUESTS;

/// No relay slot.
pub const NO_SLOT: u8 = u8::MAX;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// No command: a PDU of the session's own (ICResp, TermReq).
    Session,
    Read,
    Write,
    Compare,
    Flush,
    WriteZeroes,
    DatasetManagement,
    /// Executed by the control core.
    Relayed,
}

impl Kind {
    /// A command for an SSD.
    pub fn is_io(self) -> bool {
        !matches!(self, Self::Session | Self::Relayed)
    }
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
    /// All is over, but for an R2T that TCP may still send again: its bytes must stay what they are.
    Lingering,
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub state: State,
    pub kind: Kind,
    /// The host was sent an R2T and owes data.
    pub soliciting: bool,
    /// TCP has an R2T in the PDU slot.
    pub r2t_queued: bool,
    /// The data are the host's.
    pub from_host: bool,
    /// The control core filled the pages for the host.
    pub to_host: bool,
    pub ssd: u8,
    /// Place of its namespace in the table.
    pub place: u8,
    /// Relay slot of a command for the control core, else [`NO_SLOT`].
    pub relay: u8,
    pub conn: u16,
    /// Next request in a waiting list is its own business; this is the connection's generation at the start.
    pub generation: u16,
    /// Command identifier.
    pub cid: u16,
    /// Clocks at which the core found the command.
    pub started: u32,
    /// Status for the host so far.
    pub status: u16,
    pub moves: u16,
    /// CRC32C of the payload of the PDU at hand, as far as it was moved.
    pub crc: u32,
    pub blocks_z: u16,
    /// Upper half of command word 12.
    pub control: u16,
    /// NSID towards the host and on the SSD.
    pub nsid: u8,
    pub ssd_nsid: u32,
    /// Dataset Management with the Deallocate attribute.
    pub deallocate: bool,
    pub slba: u64,
    /// Payload bytes, either way.
    pub bytes: u32,
    pub run: Option<Run>,
    pub transfer: WriteTransfer,
    /// Over RDMA: the host memory of the data, as far as it is one piece, and how many more pieces the PDU slot names.
    pub remote: Remote,
    pub further: u8,
    /// Over RDMA: how the response goes.
    pub response: Work,
    pub result: u64,
}

impl Request {
    /// As [`Requests::start`] finds it: all zeros.
    const BLANK: Self = Self {
        state: State::Free,
        kind: Kind::Session,
        soliciting: false,
        r2t_queued: false,
        from_host: false,
        to_host: false,
        ssd: 0,
        place: 0,
        relay: 0,
        conn: 0,
        generation: 0,
        cid: 0,
        started: 0,
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
        remote: NOWHERE,
        further: 0,
        response: Work::Send,
        result: 0,
    };
}

const _: () = assert!(sluice_nvmf::MAX_NSID <= u8::MAX as u32);

/// The table, its free list and its waiting lists.
pub struct Requests {
    pub all: [Request; REQUESTS],
    /// In the order in which they came back: a slot rests as long as possible.
    free: Deque<u16, REQUESTS>,
    /// Length of `free`.
    free_count: usize,
    /// Waiting for pages, for an SSD's queue, for the control core, for the send queue: oldest first.
    pub waiting: Deque<u16, REQUESTS>,
}

impl Requests {
    /// Before [`Requests::start`].
    pub const fn new() -> Self {
        Self {
            all: [Request::BLANK; REQUESTS],
            free: Deque::new(),
            free_count: 0,
            waiting: Deque::new(),
        }
    }

    /// Makes the first `count` requests usable.
    pub fn start(&mut self, count: usize) {
        for request in &mut self.all {
            (request.relay, request.conn) = (NO_SLOT, NONE);
        }
        for index in 0..count.min(REQUESTS) {
            let _ = self.free.push_back(index as u16);
        }
        self.free_count = self.free.len();
    }

    #[inline]
    pub fn free_count(&self) -> usize {
        self.free_count
    }

    /// A request whose answer can no longer be given back wrongly: states are checked, not assumed.
    pub fn get(&mut self, index: u16) -> Option<&mut Request> {
        self.all
            .get_mut(usize::from(index))
            .filter(|r| r.state != State::Free)
    }

    fn take(&mut self) -> Option<u16> {
        let index = self.free.pop_front()?;
        self.free_count -= 1;
        Some(index)
    }

    fn give_back(&mut self, index: u16) {
        self.all[usize::from(index)].state = State::Free;
        let _ = self.free.push_back(index);
        self.free_count += 1;
    }
}

impl DataCore {
    /// A request for `conn`, if the connection may have one more.
    #[inline]
    pub(super) fn new_request<H: Hal>(
        &mut self,
        conn: u16,
        kind: Kind,
        cid: u16,
        hal: &mut H,
    ) -> Option<u16> {
        if kind != Kind::Session && !self.may_take_request(conn) {
            return None;
        }
        self.take_request(conn, kind, cid, hal)
    }

    /// A request for `conn`, if there is one.
    #[inline]
    pub(super) fn take_request<H: Hal>(
        &mut self,
        conn: u16,
        kind: Kind,
        cid: u16,
        hal: &mut H,
    ) -> Option<u16> {
        let index = self.requests.take()?;
        let entry = &mut self.conns[usize::from(conn)];
        if entry.requests == 0 {
            entry.progress = self.now.0 as u32;
        }
        entry.requests += 1;
        let request = &mut self.requests.all[usize::from(index)];
        request.state = State::Receiving;
        request.kind = kind;
        request.conn = conn;
        request.generation = entry.generation;
        request.cid = cid;
        request.started = self.found_at;
        request.place = NO_PLACE;
        request.status = 0;
        request.soliciting = false;
        request.r2t_queued = false;
        request.from_host = false;
        request.relay = NO_SLOT;
        request.to_host = false;
        request.moves = 0;
        request.bytes = 0;
        request.run = None;
        request.result = 0;
        if entry.qp.is_some() {
            self.attach_remote(index, hal);
        }
        self.own_more(conn);
        Some(index)
    }

    /// Pages for `bytes` bytes of `request`; false if there are none for this connection now.
    #[inline]
    pub(super) fn take_pages(&mut self, request: u16, bytes: u32) -> bool {
        let pages = bytes.div_ceil(sluice_hal::layout::PAGE_SIZE);
        let conn = self.requests.all[usize::from(request)].conn;
        if !self.may_take_pages(conn, pages) {
            return false;
        }
        let Some(run) = self.pages.alloc(pages) else {
            return false;
        };
        self.conns[usize::from(conn)].pages += pages as u16;
        self.requests.all[usize::from(request)].run = Some(run);
        true
    }

    /// Gives back the pages of a request that nothing writes or reads any more.
    #[inline]
    pub(super) fn give_pages_back(&mut self, index: u16) {
        let request = &mut self.requests.all[usize::from(index)];
        if let Some(run) = request.run.take() {
            self.conns[usize::from(request.conn)].pages -= run.pages() as u16;
            self.pages.free(run);
            self.relieved = true;
        }
    }

    /// Gives back all a request holds. Its moves are done and its bytes have left.
    pub(super) fn finish<H: Hal>(&mut self, index: u16, hal: &mut H) {
        let Some(request) = self.requests.get(index) else {
            return;
        };
        let conn = request.conn;
        self.release(index);
        let entry = &mut self.conns[usize::from(conn)];
        entry.progress = self.now.0 as u32;
        if entry.dead {
            self.settle(conn, hal);
        }
    }

    /// Gives back all a request holds, save what TCP still has of it.
    #[inline]
    fn release(&mut self, index: u16) {
        self.end_soliciting(index);
        self.relay_over(index);
        self.give_pages_back(index);
        let request = &mut self.requests.all[usize::from(index)];
        if request.r2t_queued {
            request.state = State::Lingering;
            return;
        }
        let conn = request.conn;
        self.requests.give_back(index);
        self.conns[usize::from(conn)].requests -= 1;
        self.own_less(conn);
        self.relieved = true;
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

    /// Frees what a dead connection has and nothing else will free: commands waiting, and those whose data will not come.
    /// The control core is asked to answer those it has.
    pub(super) fn drop_idle_requests<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        let entry = &mut self.conns[usize::from(conn)];
        if !entry.dead {
            return;
        }
        self.backlog.clear(&mut entry.backlog, hal);
        if entry.requests == 0 {
            return;
        }
        // Rare, so a scan is fine: a connection dies once.
        for index in 0..self.share.slots() as u16 {
            let r = &self.requests.all[usize::from(index)];
            if r.conn != conn {
                continue;
            }
            let entry = &mut self.conns[usize::from(conn)];
            if r.state == State::OnControl && !entry.dying {
                (entry.dying, entry.dying_due) = (true, true);
                self.to_tell.push(conn);
                continue;
            }
            let idle = matches!(
                r.state,
                State::NeedsPages | State::Receiving | State::NeedsQueue | State::NeedsSend
            );
            if idle && r.moves == 0 {
                self.requests.waiting.retain(|w| *w != index);
                self.release(index);
            }
        }
    }
}
