//! A data core: TCP connections with their NVMe/TCP sessions, queue pairs with their NVMe/RDMA messages, commands in
//! progress, SSD queues.
//!
//! | file | what it does |
//! |---|---|
//! | `mod` | state and the loop |
//! | `conn` | a connection's life, from TCP open to the word that nothing of it is left |
//! | `stream` | stream bytes → PDUs → commands and payload moves |
//! | `queue_pairs` | an RDMA connection's life |
//! | `messages` | messages of queue pairs → commands and payload moves |
//! | `transfers` | RDMA READs, RDMA WRITEs and responses |
//! | `request` | commands in progress: table, pages, waiting lists |
//! | `fair` | who gets requests and pages when they are scarce |
//! | `backlog` | writes that wait before anything is held for them |
//! | `execute` | commands to SSDs and to the control core, and what comes back |
//! | `moves` | payload moves under way, data digests, buffers that wait for them |
//! | `answer` | responses and data to the host |
//! | `tally` | what is counted for namespaces and connections, where the host reads it |
//! | `mailbox` | messages from the control core |

mod answer;
mod backlog;
mod conn;
mod execute;
mod fair;
mod mailbox;
mod messages;
mod moves;
mod queue_pairs;
mod request;
mod stats;
mod stream;
mod tally;
mod transfers;

use heapless::Deque;
use sluice_hal::{CoreId, Hal, Mail, Micros, Phase, Rx, layout};
use sluice_net::Tcp;
use sluice_nvme_tcp::{Limits, PduBuf};
use sluice_nvmf::NamespaceTable;
use sluice_rdma::Rc;
use sluice_ssd::pages::Pages;
use sluice_ssd::prp::PmBus;
use sluice_ssd::queue::QueuePair;

use crate::limits::{self, CHUNKS, CONNECTIONS, PACKETS, SEGMENTS, SSD_DEPTH, SSDS, WORK};
use crate::link::{CoreLink, LinkState, reached};
use crate::memory::{CONTROL_PAGES, Share};
use backlog::Backlog;
use conn::{Conn, ConnQueue};
use messages::Message;
use moves::Moves;
use request::Requests;
pub use stats::Resources;
use stats::Stats;
use tally::{PASSES, Tally};
use transfers::Gathered;

/// Frames taken per pass, so that completions and timers get their turn.
const FRAMES_PER_PASS: usize = 8;
/// Completions taken per SSD and pass.
const COMPLETIONS_PER_PASS: usize = 16;
/// Connections served per pass.
const CONNECTIONS_PER_PASS: usize = 8;

/// An engine or a mailbox was full: look again after this many microseconds.
const BUSY_RETRY: u32 = 1;
/// SSDs are looked after at least this often, in microseconds.
const LONGEST_NAP: u32 = 1000;

/// What this controller grants its hosts.
pub(crate) const SESSION_LIMITS: Limits = Limits {
    max_h2c_data: limits::TRANSFER,
    in_capsule_io: limits::IN_CAPSULE,
    in_capsule_admin: limits::ADMIN_DATA,
    cpda: 0,
    header_digest: true,
    data_digest: true,
};

/// A data core's whole state; on the card a static.
pub struct DataCore {
    core: CoreId,
    share: Share,
    now: Micros,
    tcp: Tcp<CONNECTIONS, SEGMENTS, CHUNKS>,
    rc: Rc<CONNECTIONS, WORK, PACKETS>,
    link: LinkState,
    /// Packet memory as the SSDs reach it.
    pm_bus: PmBus,
    conns: [Conn; CONNECTIONS],
    /// Connection of each TCP connection, by its index; [`conn::NONE`] if none.
    by_tcp: [u16; CONNECTIONS],
    /// Connection of each queue pair, likewise.
    by_qp: [u16; CONNECTIONS],
    /// Queue pairs open.
    queue_pairs: u16,
    /// The RDMA message at hand.
    message: Message,
    /// READ data to be moved, and older ones that found the mover busy.
    gathered: Gathered,
    set_aside: Gathered,
    requests: Requests,
    pages: Pages,
    ssds: [QueuePair<SSD_DEPTH>; SSDS],
    /// Bit per SSD that has ever been attached: only those are polled.
    attached: u8,
    namespaces: NamespaceTable,
    moves: Moves,
    /// Connections with something to read.
    ready: ConnQueue,
    /// Connections whose next step waits for a request, pages or room in a queue.
    starved: ConnQueue,
    backlog: Backlog,
    /// Connections with commands there, the next to be served first.
    backlogged: ConnQueue,
    /// Requests that solicit, and the pages they hold.
    soliciting: u16,
    soliciting_pages: u16,
    /// Connections, open or to come, without a request of their own (that does not solicit).
    without: u16,
    next_stall_check: Micros,
    /// Connections of whose end the control core is to be told.
    to_tell: ConnQueue,
    /// Mail that found the control core's inbox full, oldest first.
    outbox: Deque<Mail, 64>,
    /// Requests whose last chunk was acknowledged, with the transmit job that must have left before.
    leaving: Deque<(u16, u32), { limits::REQUESTS }>,
    /// Bit per relay slot in use.
    relay_slots: u64,
    pdu: PduBuf,
    /// Something was given back in this pass.
    relieved: bool,
    stats: Stats,
    /// Passes of the loop; 64 bits of them are in `stats`.
    passes: u32,
    tally: Tally,
    /// Clocks at which the command at hand was found.
    found_at: u32,
}

impl Default for DataCore {
    fn default() -> Self {
        Self::new()
    }
}

impl DataCore {
    /// A core before [`DataCore::start`]: all zeros, so that on the card it takes memory but no room in the image.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            core: CoreId(0),
            share: Share::EMPTY,
            now: Micros(0),
            tcp: Tcp::new(),
            rc: Rc::new(),
            link: LinkState::new(),
            pm_bus: NO_BUS,
            conns: [const { Conn::new() }; CONNECTIONS],
            by_tcp: [0; CONNECTIONS],
            by_qp: [0; CONNECTIONS],
            queue_pairs: 0,
            message: Message::new(),
            gathered: Gathered::NONE,
            set_aside: Gathered::NONE,
            requests: Requests::new(),
            pages: Pages::new(),
            ssds: [const { QueuePair::detached() }; SSDS],
            attached: 0,
            namespaces: NamespaceTable::new(),
            moves: Moves::new(),
            ready: ConnQueue::new(),
            starved: ConnQueue::new(),
            backlog: Backlog::new(),
            backlogged: ConnQueue::new(),
            soliciting: 0,
            soliciting_pages: 0,
            without: 0,
            next_stall_check: Micros(0),
            to_tell: ConnQueue::new(),
            outbox: Deque::new(),
            leaving: Deque::new(),
            relay_slots: 0,
            pdu: PduBuf::new(),
            relieved: false,
            stats: Stats::new(),
            passes: 0,
            tally: Tally::new(),
            found_at: 0,
        }
    }

    /// Takes this core's share of everything. To be called once, before the first [`DataCore::poll`].
    pub fn start<H: Hal>(&mut self, hal: &mut H) {
        self.core = hal.core();
        let data_cores = hal.cores().saturating_sub(1);
        self.share = Share::of(self.core, data_cores);
        self.by_tcp.fill(conn::NONE);
        self.by_qp.fill(conn::NONE);
        self.link.start(self.share.frames());
        self.requests.start(self.share.slots());
        self.without = self.share.connections() as u16;
        let (base, entries) = self.share.backlog();
        self.backlog.start(base, entries);
        let mine = u32::from(self.core.0.saturating_sub(1));
        let each = (layout::PAGES - CONTROL_PAGES) / u32::from(data_cores.max(1));
        self.pages.add(CONTROL_PAGES + mine * each, each);
        let core = u32::from(self.core.0);
        self.tally.start(core, data_cores.into(), hal);
    }

    /// What is free and what is in use now.
    #[must_use]
    pub fn resources(&self) -> Resources {
        Resources {
            requests_free: self.requests.free_count(),
            requests: self.share.slots(),
            pages_free: self.pages.available(),
            pages: self.pages.total(),
            connections: self.stats.connections,
            tcp_connections: self.tcp.open_connections(),
            queue_pairs: self.queue_pairs,
            work_free: self.rc.work_room(),
            relay_slots_used: self.relay_slots.count_ones(),
            moves: self.moves.in_flight(),
            leaving: self.leaving.len(),
            backlog: self.backlog.waiting().into(),
            soliciting: self.soliciting.into(),
        }
    }

    /// One pass of the loop. True if there was anything to do.
    ///
    /// A phase is entered when something is found to do; looking and finding nothing counts as idle.
    pub fn poll<H: Hal>(&mut self, hal: &mut H) -> bool {
        self.now = hal.now();
        self.passes = self.passes.wrapping_add(1);
        hal.kick_watchdog();
        // Mail first: frames that came in while this core was starting must find the port configured.
        let mut busy = self.take_mail(hal);
        busy |= self.receive(hal);
        busy |= self.take_tcp_events(hal);
        busy |= self.take_rdma_events(hal);
        busy |= self.take_moves(hal);
        busy |= self.take_completions(hal);
        busy |= self.serve(hal);
        busy |= self.transmit(hal);
        self.watch(hal);
        if self.passes.is_multiple_of(PASSES) {
            self.stats.loops += u64::from(PASSES);
            self.store_some_counts(true, hal);
        }
        hal.phase(Phase::Idle);
        if !busy {
            self.store_some_counts(false, hal);
        }
        busy
    }

    /// How long the core may sleep after a pass without work, in microseconds, if nothing comes in meanwhile.
    #[must_use]
    pub fn idle_for(&self) -> u32 {
        if self.relieved {
            // At the end of the pass something came back that others wait for.
            return 0;
        }
        if !self.outbox.is_empty()
            || !self.to_tell.is_empty()
            || !self.leaving.is_empty()
            || self.tcp.wants_transmit()
            || self.rc.wants_transmit()
            || self.gathered.is_some()
        {
            return BUSY_RETRY;
        }
        let deadlines = [self.tcp.deadline(), self.rc.deadline()];
        let until = deadlines
            .into_iter()
            .flatten()
            .min()
            .map_or(u64::MAX, |at| at.since(self.now));
        until.min(LONGEST_NAP.into()) as u32
    }

    fn receive<H: Hal>(&mut self, hal: &mut H) -> bool {
        let mut any = false;
        for _ in 0..FRAMES_PER_PASS {
            if !self.may_take_packet(hal) {
                break;
            }
            let Some(rx) = hal.rx_next() else { break };
            any = true;
            hal.phase(Phase::Tcp);
            match rx {
                Rx::Frame(rx) => {
                    let mut link = CoreLink::for_frame(hal, &mut self.link, &rx);
                    self.tcp.input(self.now, &rx, &mut link);
                }
                Rx::Roce(packet) => self.take_packet(&packet, hal),
            }
        }
        // If the mover is busy they wait for the next pass.
        if self.gathered.is_some() && self.may_take_packet(hal) {
            self.move_gathered(hal);
        }
        any
    }

    fn serve<H: Hal>(&mut self, hal: &mut H) -> bool {
        if self.relieved {
            self.relieved = false;
            self.retry_waiting(hal);
            self.serve_backlogs(hal);
            while let Some(conn) = self.starved.pop() {
                self.ready.push(conn);
            }
        }
        for served in 0..CONNECTIONS_PER_PASS {
            let Some(conn) = self.ready.pop() else {
                return served > 0;
            };
            hal.phase(Phase::Pdu);
            match self.conns[usize::from(conn)].qp {
                Some(qp) => self.read_messages(conn, qp, hal),
                None => self.read_stream(conn, hal),
            }
        }
        true
    }

    fn transmit<H: Hal>(&mut self, hal: &mut H) -> bool {
        for ssd in bits(self.attached) {
            self.ssds[ssd].flush(hal);
        }
        if self.tcp.wants_transmit() {
            hal.phase(Phase::Tx);
            self.tcp
                .poll_transmit(self.now, &mut CoreLink::new(hal, &mut self.link));
        }
        while let Some((_, token)) = self.tcp.poll_released() {
            self.released(token);
        }
        if self.rc.wants_transmit() {
            hal.phase(Phase::Tx);
            self.rc
                .poll_transmit(self.now, &mut CoreLink::new(hal, &mut self.link));
        }
        self.take_released_work();
        self.link.reap(hal);
        self.reap_leaving(hal)
    }

    fn reap_leaving<H: Hal>(&mut self, hal: &mut H) -> bool {
        if self.leaving.is_empty() {
            return false;
        }
        let done = hal.tx_done();
        let mut any = false;
        while let Some(&(request, ticket)) = self.leaving.front() {
            if !reached(done, ticket) {
                break;
            }
            self.leaving.pop_front();
            self.finish(request, hal);
            any = true;
        }
        any
    }

    /// Timers, overdue SSDs, mail that did not fit.
    fn watch<H: Hal>(&mut self, hal: &mut H) {
        if self.tcp.deadline().is_some_and(|at| at <= self.now) {
            hal.phase(Phase::Other);
            self.tcp
                .handle_timeouts(self.now, &mut CoreLink::new(hal, &mut self.link));
        }
        if self.rc.deadline().is_some_and(|at| at <= self.now) {
            hal.phase(Phase::Other);
            self.rc
                .handle_timeouts(self.now, &mut CoreLink::new(hal, &mut self.link));
        }
        self.watch_ssds(hal);
        self.watch_stalls(hal);
        self.drain_outbox(hal);
        self.tell_of_ends(hal);
    }
}

/// Bytes of static memory for each connection: its session and its TCP state.
pub const CONNECTION_BYTES: usize = size_of::<Conn>()
    + (size_of::<Tcp<CONNECTIONS, SEGMENTS, CHUNKS>>()
        - size_of::<Tcp<{ CONNECTIONS / 2 }, SEGMENTS, CHUNKS>>())
        / (CONNECTIONS / 2);

/// Before the port is configured.
const NO_BUS: PmBus = match PmBus::new(0) {
    Some(bus) => bus,
    None => panic!("zero is a multiple of everything"),
};

/// Indices of the bits set.
fn bits(mut mask: u8) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(bit)
    })
}
