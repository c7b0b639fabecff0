//! What this core counts for each namespace and connection, where the host reads it (`sluice_wire::stats`).
//!
//! Packet memory takes a store in a clock and gives a word in six. So what changes with every command is counted in the core's
//! own memory and added to packet memory later, a few places per pass ([`DataCore::store_some_counts`]), or all when the host
//! asks for the core's counters. Histograms are too large for that: they are counted in packet memory alone, and so is what is rare.

use core::mem::offset_of;

use crate::limits::CONNECTIONS;
use sluice_hal::{Hal, PmAddr};
use sluice_nvmf::{NAMESPACES, NamespaceUpdate};
use sluice_wire::stats::{
    self, BUCKETS, ConnectionState, ConnectionStats, Directory, LATENCY_SHIFT, NO_QUEUE,
    NamespaceStats, Owner, READ, UNIT, WRITE,
};
use zerocopy::{FromZeros, IntoBytes};

use super::DataCore;
use super::conn::Conn;
use super::request::{Kind, Request};
use super::stats::Stats;

/// No place: the command names no namespace, or its place was given to another.
pub const NO_PLACE: u8 = u8::MAX;

const OWNER: u32 = offset_of!(NamespaceStats, owner) as u32;
const UNITS: u32 = offset_of!(NamespaceStats, units) as u32;
const LATENCY: u32 = offset_of!(NamespaceStats, latency) as u32;
const HISTOGRAMS: u32 = offset_of!(NamespaceStats, histograms) as u32;
const QUEUE: u32 = offset_of!(ConnectionStats, queue) as u32;
const FOUND_AT: u32 = offset_of!(ConnectionStats, found_at) as u32;
const STATE: u32 = offset_of!(ConnectionStats, state) as u32;
const IO: u32 = offset_of!(ConnectionStats, io) as u32;

/// Places looked at per pass without work: a core that naps for a millisecond at most has been through all in 64.
const PLACES_WHEN_IDLE: usize = 4;
/// Places looked at per [`PASSES`] when there always is work: through all in some 30 ms of short passes.
const PLACES_WHEN_BUSY: usize = 8;
/// A power of two.
pub const PASSES: u32 = 64;

/// What a namespace or a connection did in one direction since that was last added to packet memory.
#[derive(Clone, Copy)]
pub struct Since {
    /// Of a namespace the sum of latencies, of a connection the commands.
    first: u32,
    units: u32,
}

impl Since {
    pub const NOTHING: Self = Self { first: 0, units: 0 };

    #[inline(always)]
    fn count(&mut self, first: u32, units: u32) {
        self.first = self.first.wrapping_add(first);
        self.units = self.units.wrapping_add(units);
    }
}

/// This core's places.
pub struct Tally {
    directory: PmAddr,
    namespaces_at: PmAddr,
    connections_at: PmAddr,
    /// The place to be looked at next.
    next: usize,
    namespaces: [[Since; 2]; NAMESPACES],
}

impl Tally {
    pub const fn new() -> Self {
        Self {
            directory: PmAddr(0),
            namespaces_at: PmAddr(0),
            connections_at: PmAddr(0),
            next: 0,
            namespaces: [[Since::NOTHING; 2]; NAMESPACES],
        }
    }

    /// Takes the places of data core `core` of `data_cores`. Packet memory outlives a reset, so all are called unused.
    pub fn start<H: Hal>(&mut self, core: u32, data_cores: u32, hal: &mut H) {
        self.directory = PmAddr(stats::directory_at(core));
        self.namespaces_at = PmAddr(stats::namespace_at(core, 0));
        self.connections_at = PmAddr(stats::connection_at(core, data_cores, 0));
        for word in 0..size_of::<Directory>() as u32 / 4 {
            hal.pm_write32(self.directory.plus(4 * word), 0);
        }
    }

    /// Counts a command that succeeded: its bytes in units, and how long it took.
    #[inline(always)]
    fn io<H: Hal>(&mut self, place: u8, direction: usize, units: u32, clocks: u32, hal: &mut H) {
        let Some(since) = self.namespaces.get_mut(usize::from(place)) else {
            return;
        };
        // At most 2^25 after the first shift, so rounding cannot overflow.
        let rounded = (clocks >> (LATENCY_SHIFT - 1)).wrapping_add(1) >> 1;
        since[direction & 1].count(rounded, units);
        let histogram = HISTOGRAMS + 4 * BUCKETS as u32 * direction as u32;
        let at = self.namespace(place).plus(histogram);
        bump(at.plus(4 * stats::bucket(clocks)), hal);
    }

    /// Adds to packet memory what was counted for a namespace.
    #[inline]
    fn store_namespace<H: Hal>(&mut self, place: usize, hal: &mut H) {
        let at = self.namespace(place as u8);
        let Some(since) = self.namespaces.get_mut(place) else {
            return;
        };
        for (direction, since) in (0..).zip(since) {
            if since.units == 0 {
                continue;
            }
            let Since { first, units } = core::mem::replace(since, Since::NOTHING);
            add(at.plus(UNITS + 4 * direction), units, hal);
            add(at.plus(LATENCY + 4 * direction), first, hal);
        }
    }

    /// The same for a connection; and to the core's own totals, which need not be counted beside.
    #[inline]
    fn store_connection<H: Hal>(
        &self,
        index: u16,
        entry: &mut Conn,
        stats: &mut Stats,
        hal: &mut H,
    ) {
        let at = self.connection(index).plus(IO);
        for (direction, since) in (0..).zip(&mut entry.io) {
            if since.units == 0 {
                continue;
            }
            let Since { first, units } = core::mem::replace(since, Since::NOTHING);
            add(at.plus(8 * direction), first, hal);
            add(at.plus(8 * direction + 4), units, hal);
            stats.transferred(direction as usize, first, units);
        }
    }

    /// Makes an entry in the directory, behind the place itself.
    fn enter<H: Hal>(&self, list: usize, index: u16, value: u32, hal: &mut H) {
        let at = self.directory.plus(list as u32 + 4 * u32::from(index));
        hal.pm_write32(at, value);
    }

    #[inline]
    fn namespace(&self, place: u8) -> PmAddr {
        let size = size_of::<NamespaceStats>() as u32;
        self.namespaces_at.plus(u32::from(place) * size)
    }

    #[inline]
    fn connection(&self, conn: u16) -> PmAddr {
        let size = size_of::<ConnectionStats>() as u32;
        self.connections_at.plus(u32::from(conn) * size)
    }
}

#[inline]
fn bump<H: Hal>(at: PmAddr, hal: &mut H) {
    add(at, 1, hal);
}

#[inline]
fn add<H: Hal>(at: PmAddr, more: u32, hal: &mut H) {
    let count = hal.pm_read32(at);
    hal.pm_write32(at, count.wrapping_add(more));
}

impl DataCore {
    /// Counts the answer of `request`, which is being handed to the transmitter.
    #[inline(always)]
    pub(super) fn count_answer<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let r = &self.requests.all[usize::from(request)];
        let direction = match r.kind {
            Kind::Read if r.status == 0 => READ,
            Kind::Write if r.status == 0 => WRITE,
            _ => return self.count_rare(request, hal),
        };
        let units = r.bytes / UNIT;
        let clocks = hal.clocks().wrapping_sub(r.started);
        self.conns[usize::from(r.conn)].io[direction].count(1, units);
        self.tally.io(r.place, direction, units, clocks, hal);
    }

    /// Adds to packet memory what was counted at the next few places, fewer per pass if the core is busy.
    #[inline(never)]
    pub(super) fn store_some_counts<H: Hal>(&mut self, busy: bool, hal: &mut H) {
        let places = if busy {
            PLACES_WHEN_BUSY
        } else {
            PLACES_WHEN_IDLE
        };
        for _ in 0..places {
            let place = self.tally.next;
            self.store_counts_of(place, hal);
            self.tally.next = (place + 1) % NAMESPACES.max(CONNECTIONS);
        }
    }

    /// Adds to packet memory all that was counted.
    pub(super) fn store_all_counts<H: Hal>(&mut self, hal: &mut H) {
        for place in 0..NAMESPACES.max(CONNECTIONS) {
            self.store_counts_of(place, hal);
        }
    }

    /// Of connection `place`, and of namespace place `place` if there is one.
    #[inline(never)]
    fn store_counts_of<H: Hal>(&mut self, place: usize, hal: &mut H) {
        self.tally.store_namespace(place, hal);
        if let Some(entry) = self.conns.get_mut(place) {
            let stats = &mut self.stats;
            self.tally.store_connection(place as u16, entry, stats, hal);
        }
    }

    /// The same for what is neither a read nor a write that succeeded.
    #[cold]
    #[inline(never)]
    fn count_rare<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let Request {
            kind,
            status,
            conn,
            place,
            ..
        } = self.requests.all[usize::from(request)];
        let failed = status != 0;
        self.stats.errors += u64::from(failed);
        self.stats.other_io += u64::from(!failed && kind.is_io());
        let field = if failed {
            offset_of!(ConnectionStats, errors)
        } else {
            offset_of!(ConnectionStats, others)
        };
        bump(self.tally.connection(conn).plus(field as u32), hal);
        if usize::from(place) < NAMESPACES {
            let field = match kind {
                _ if failed => offset_of!(NamespaceStats, errors),
                Kind::DatasetManagement => offset_of!(NamespaceStats, unmaps),
                _ => offset_of!(NamespaceStats, others),
            };
            bump(self.tally.namespace(place).plus(field as u32), hal);
        }
    }

    /// Keeps when the command at hand of `conn` was found, since it has to wait.
    #[cold]
    pub(super) fn remember_found<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        hal.pm_write32(self.tally.connection(conn).plus(FOUND_AT), self.found_at);
    }

    /// The command at hand is the one that waited.
    #[cold]
    pub(super) fn recall_found<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        self.found_at = hal.pm_read32(self.tally.connection(conn).plus(FOUND_AT));
    }

    /// A namespace comes, changes or goes; the table is still as it was before.
    pub(super) fn tally_namespace<H: Hal>(&mut self, update: &NamespaceUpdate, hal: &mut H) {
        let before = self.namespaces.find(update.subsystem, update.nsid);
        let before = before.map(|(place, _)| place);
        match &update.entry {
            // Only its SSD came or went, or its ANA state changed.
            Some(_) if before == Some(update.place) => {}
            Some(entry) => {
                let (ssd, ssd_nsid) = (entry.ssd, entry.ssd_nsid);
                self.give_place(update, ssd, ssd_nsid, hal);
            }
            None => {
                // What is under way is still counted there.
                if let Some(place) = before {
                    let at = self.tally.namespace(place).plus(OWNER);
                    let gone = Owner {
                        gone: true,
                        ..Owner::decode(hal.pm_read32(at))
                    };
                    hal.pm_write32(at, gone.encode());
                }
            }
        }
    }

    fn give_place<H: Hal>(
        &mut self,
        update: &NamespaceUpdate,
        ssd: u8,
        ssd_nsid: u32,
        hal: &mut H,
    ) {
        let Some(since) = self.tally.namespaces.get_mut(usize::from(update.place)) else {
            return;
        };
        *since = [Since::NOTHING; 2];
        // Commands of the namespace that had the place before are counted nowhere any more.
        for r in &mut self.requests.all[..self.share.slots()] {
            if r.place == update.place {
                r.place = NO_PLACE;
            }
        }
        let at = self.tally.namespace(update.place);
        let owner = Owner {
            subsystem: update.subsystem,
            ssd,
            times: Owner::decode(hal.pm_read32(at.plus(OWNER))).times + 1,
            gone: false,
        };
        hal.pm_write32(at, 0);
        for word in 1..size_of::<NamespaceStats>() as u32 / 4 {
            hal.pm_write32(at.plus(4 * word), 0);
        }
        hal.pm_write32(at.plus(OWNER), owner.encode());
        let field = offset_of!(NamespaceStats, ssd_nsid) as u32;
        hal.pm_write32(at.plus(field), ssd_nsid);
        hal.pm_write32(at, update.nsid);
        self.tally.enter(
            offset_of!(Directory, namespaces),
            update.place.into(),
            update.nsid,
            hal,
        );
    }

    /// A connection was opened.
    pub(super) fn tally_opened<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        let entry = &self.conns[usize::from(conn)];
        let state = ConnectionState {
            subsystem: u8::MAX,
            rdma: entry.qp.is_some(),
            open: true,
        };
        let mut place = ConnectionStats::new_zeroed();
        place.queue.set(NO_QUEUE);
        place.state.set(state.encode());
        let at = self.tally.connection(conn);
        hal.pm_write(at, place.as_bytes());
        let key = self.key(conn);
        hal.pm_write32(at, key);
        let list = offset_of!(Directory, connections);
        self.tally.enter(list, conn, key, hal);
    }

    /// It has become a queue.
    pub(super) fn tally_queue<H: Hal>(&mut self, conn: u16, cntlid: u16, qid: u16, hal: &mut H) {
        let at = self.tally.connection(conn);
        let state = ConnectionState {
            subsystem: self.conns[usize::from(conn)].subsystem,
            ..ConnectionState::decode(hal.pm_read32(at.plus(STATE)))
        };
        hal.pm_write32(at.plus(STATE), state.encode());
        let queue = u32::from(cntlid) | u32::from(qid) << 16;
        hal.pm_write32(at.plus(QUEUE), queue);
    }

    /// Nothing of it is left.
    pub(super) fn tally_closed<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        self.store_counts_of(conn.into(), hal);
        let at = self.tally.connection(conn).plus(STATE);
        let state = ConnectionState {
            open: false,
            ..ConnectionState::decode(hal.pm_read32(at))
        };
        hal.pm_write32(at, state.encode());
    }
}

const _: () = assert!(NAMESPACES as u32 <= stats::NAMESPACES);
