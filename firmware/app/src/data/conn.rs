//! A connection's life on its data core: what both transports share, and TCP's part. Queue pairs: `queue_pairs`.

use heapless::Deque;
use sluice_hal::Hal;
use sluice_net::{ConnId, Event};
use sluice_nvme_tcp::Session;
use sluice_rdma::QpId;

use super::backlog::Queue;
use super::tally::Since;
use super::{DataCore, SESSION_LIMITS};
use crate::limits::CONNECTIONS;
use crate::mail::ToControl;

/// No connection, no request.
pub const NONE: u16 = u16::MAX;

/// What a connection is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Nothing: the entry is free.
    Unused,
    /// TCP is up; no Connect command has succeeded.
    Fresh,
    /// The admin queue of an association.
    Admin,
    /// An I/O queue.
    Io,
    /// Nothing of it is left; the control core is still to be told.
    Gone,
}

/// One connection.
pub struct Conn {
    pub role: Role,
    /// The transport is gone, or going: nothing more is read or sent.
    pub dead: bool,
    /// The control core is told, or about to be, that the connection is dead and has commands of its.
    pub dying: bool,
    /// It is still to be told.
    pub dying_due: bool,
    /// TermReq sent or received: close once it is out.
    pub ending: bool,
    /// The command in the session's header is one for which there was no room.
    pub parked: bool,
    /// CapsuleResp need not carry SQHD, and C2HData may say SUCCESS.
    pub no_sqhd: bool,
    pub tcp: Option<ConnId>,
    /// Instead of `tcp`: the queue pair, and its number at the connection manager.
    pub qp: Option<QpId>,
    pub cm: u32,
    /// Counts uses of this entry, so that late mail is told apart.
    pub generation: u16,
    pub association: u8,
    pub subsystem: u8,
    /// Entries of the submission queue; 0 before Connect.
    pub entries: u16,
    pub sq_head: u16,
    /// Commands in progress.
    pub requests: u16,
    /// Those whose data the host has been asked for and has not sent.
    pub soliciting: u16,
    /// Data pages that the requests hold, and the part of those that solicit.
    pub pages: u16,
    pub soliciting_pages: u16,
    /// Commands that wait before anything is held for them.
    pub backlog: Queue,
    /// What it read and wrote that is not in packet memory yet.
    pub io: [Since; 2],
    /// When the host last took or sent something that a request waited for; low half of the clock.
    pub progress: u32,
    /// Request that the payload in the stream belongs to; [`NONE`] to throw it away.
    pub target: u16,
    /// Where in the request's data the next payload byte goes.
    pub offset: u32,
    /// Where in the message of a queue pair the data begin.
    pub capsule_at: u32,
    /// The next payload byte is the first of its PDU: no CRC is running.
    pub pdu_starts: bool,
    pub session: Session,
}

impl Conn {
    /// Nobody's. All zeros, so that the table costs the image nothing; what that means for the fields is of no account until
    /// [`Conn::open`] sets them.
    pub const fn new() -> Self {
        Self {
            role: Role::Unused,
            dead: false,
            dying: false,
            dying_due: false,
            ending: false,
            parked: false,
            no_sqhd: false,
            tcp: None,
            qp: None,
            cm: 0,
            generation: 0,
            association: 0,
            subsystem: 0,
            entries: 0,
            sq_head: 0,
            requests: 0,
            soliciting: 0,
            pages: 0,
            soliciting_pages: 0,
            backlog: Queue::EMPTY,
            io: [Since::NOTHING; 2],
            progress: 0,
            target: 0,
            offset: 0,
            capsule_at: 0,
            pdu_starts: false,
            session: Session::NONE,
        }
    }

    fn open_tcp(&mut self, tcp: ConnId) {
        self.open();
        self.tcp = Some(tcp);
    }

    pub fn open_rdma(&mut self, qp: QpId, cm: u32) {
        self.open();
        (self.qp, self.cm) = (Some(qp), cm);
    }

    fn open(&mut self) {
        self.role = Role::Fresh;
        self.dead = false;
        self.dying = false;
        self.dying_due = false;
        self.ending = false;
        self.parked = false;
        self.no_sqhd = false;
        (self.tcp, self.qp, self.cm) = (None, None, 0);
        self.generation = self.generation.wrapping_add(1);
        self.entries = 0;
        self.sq_head = 0;
        self.requests = 0;
        self.soliciting = 0;
        self.pages = 0;
        self.soliciting_pages = 0;
        self.backlog = Queue::EMPTY;
        self.target = NONE;
        self.pdu_starts = true;
        self.session = Session::new(&SESSION_LIMITS);
    }

    /// Requests that do not solicit.
    #[inline]
    pub const fn own_requests(&self) -> u16 {
        self.requests - self.soliciting
    }

    /// Pages that they hold.
    #[inline]
    pub const fn own_pages(&self) -> u16 {
        self.pages - self.soliciting_pages
    }

    /// SQHD after one more command.
    #[inline]
    pub fn advance_head(&mut self) {
        self.sq_head += 1;
        if self.sq_head >= self.entries {
            self.sq_head = 0;
        }
    }
}

/// Connections to look at, each at most once.
pub struct ConnQueue {
    order: Deque<u16, CONNECTIONS>,
    queued: [u32; CONNECTIONS / 32],
}

impl ConnQueue {
    pub const fn new() -> Self {
        Self {
            order: Deque::new(),
            queued: [0; CONNECTIONS / 32],
        }
    }

    #[inline]
    pub fn push(&mut self, conn: u16) {
        let (word, bit) = (usize::from(conn) / 32, 1 << (conn % 32));
        if self.queued[word] & bit == 0 && self.order.push_back(conn).is_ok() {
            self.queued[word] |= bit;
        }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    #[inline]
    pub fn pop(&mut self) -> Option<u16> {
        let conn = self.order.pop_front()?;
        self.queued[usize::from(conn) / 32] &= !(1 << (conn % 32));
        Some(conn)
    }
}

impl DataCore {
    /// Names a connection towards the control core.
    pub(super) fn key(&self, conn: u16) -> u32 {
        let generation = self.conns[usize::from(conn)].generation;
        u32::from(self.core.0) << 28 | u32::from(generation) << 12 | u32::from(conn)
    }

    /// The connection a key names, if it is still that one.
    pub(super) fn by_key(&self, key: u32) -> Option<u16> {
        let conn = (key & 0xfff) as u16;
        let entry = self.conns.get(usize::from(conn))?;
        (entry.role != Role::Unused && self.key(conn) == key).then_some(conn)
    }

    pub(super) fn take_tcp_events<H: Hal>(&mut self, hal: &mut H) -> bool {
        let mut any = false;
        // Each event sends at most two messages. Those of many connections that end at once wait for room.
        while self.outbox.len() < self.outbox.capacity() / 2 {
            let Some((tcp, event)) = self.tcp.poll_event() else {
                break;
            };
            any = true;
            match event {
                Event::Opened { local_port, .. } => self.opened(tcp, local_port, hal),
                Event::Readable => {
                    if let Some(conn) = self.of_tcp(tcp) {
                        self.ready.push(conn);
                    }
                }
                // The host will send no more. NVMe/TCP has no use for a half-open connection.
                Event::PeerClosed => {
                    if let Some(conn) = self.of_tcp(tcp) {
                        self.tcp.close(tcp);
                        self.conns[usize::from(conn)].dead = true;
                        self.ready.push(conn);
                        self.settle(conn, hal);
                    }
                }
                Event::Closed(_) => self.closed(tcp, hal),
            }
        }
        any
    }

    fn of_tcp(&self, tcp: ConnId) -> Option<u16> {
        self.by_tcp.get(tcp.index()).copied().filter(|c| *c != NONE)
    }

    fn opened<H: Hal>(&mut self, tcp: ConnId, port: u16, hal: &mut H) {
        let Some(conn) = self.free_conn() else {
            self.stats.refused += 1;
            self.tcp.abort(tcp);
            return;
        };
        self.stats.accepted += 1;
        self.stats.connections += 1;
        self.by_tcp[tcp.index()] = conn;
        self.conns[usize::from(conn)].open_tcp(tcp);
        self.tally_opened(conn, hal);
        let key = self.key(conn);
        self.send_control(ToControl::Opened { key, port }, hal);
    }

    fn closed<H: Hal>(&mut self, tcp: ConnId, hal: &mut H) {
        let Some(conn) = self.of_tcp(tcp) else { return };
        self.by_tcp[tcp.index()] = NONE;
        // TIME-WAIT would keep unread data for seconds.
        self.throw_away(conn);
        let entry = &mut self.conns[usize::from(conn)];
        entry.dead = true;
        entry.tcp = None;
        entry.parked = false;
        self.settle(conn, hal);
    }

    /// Ends a connection: nothing more is read; what is queued may still go out unless `abort`.
    pub(super) fn end<H: Hal>(&mut self, conn: u16, abort: bool, hal: &mut H) {
        let entry = &mut self.conns[usize::from(conn)];
        entry.dead = true;
        entry.parked = false;
        if let Some(tcp) = entry.tcp {
            if abort {
                self.tcp.abort(tcp)
            } else {
                self.tcp.close(tcp)
            }
            self.ready.push(conn);
        }
        if abort {
            self.close_qp(conn, hal);
        }
        self.settle(conn, hal);
    }

    /// A dead connection whose commands are all over is reported and its entry freed.
    pub(super) fn settle<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        self.drop_idle_requests(conn, hal);
        let entry = &self.conns[usize::from(conn)];
        let over = matches!(entry.role, Role::Unused | Role::Gone);
        if over || !entry.dead || entry.requests > 0 || entry.tcp.is_some() {
            return;
        }
        // All it had to send was acknowledged.
        self.close_qp(conn, hal);
        self.conns[usize::from(conn)].role = Role::Gone;
        self.tally_closed(conn, hal);
        self.stats.connections -= 1;
        self.to_tell.push(conn);
    }

    /// Tells the control core of connections that are dying or gone, as far as there is room: hundreds may end at once.
    pub(super) fn tell_of_ends<H: Hal>(&mut self, hal: &mut H) {
        while self.outbox.len() < self.outbox.capacity() / 2 {
            let Some(conn) = self.to_tell.pop() else {
                return;
            };
            let key = self.key(conn);
            let entry = &mut self.conns[usize::from(conn)];
            let gone = entry.role == Role::Gone;
            let cm = entry.cm;
            if gone {
                entry.role = Role::Unused;
                self.relieved = true;
            }
            if core::mem::take(&mut entry.dying_due) {
                self.send_control(ToControl::Dying { key }, hal);
            }
            if gone {
                if cm != 0 {
                    self.send_control(ToControl::QpGone { cm }, hal);
                }
                self.send_control(ToControl::Closed { key }, hal);
            }
        }
    }
}
