//! What this core counts for each namespace and connection, where the host reads it (`sluice_wire::stats`).
//!
//! Packet memory takes a store in a clock and gives a word in six. So a namespace's totals that change with every command are
//! kept in the core's own memory and only stored there. There is no room for more: histograms and connections are counted in
//! packet memory alone, and so is what is rare.

use core::mem::offset_of;

use sluice_hal::{Hal, PmAddr};
use sluice_nvmf::{NAMESPACES, NamespaceUpdate};
use sluice_wire::stats::{
    self, BUCKETS, ConnectionState, ConnectionStats, Directory, LATENCY_SHIFT, NO_QUEUE,
    NamespaceStats, Owner, READ, UNIT, WRITE,
};
use zerocopy::{FromZeros, IntoBytes};

use super::DataCore;
use super::request::{Kind, Request};

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

/// Totals of one direction that are stored with every command.
#[derive(Clone, Copy)]
struct Total {
    units: u32,
    latency: u32,
}

/// This core's places.
pub struct Tally {
    directory: PmAddr,
    namespaces: PmAddr,
    connections: PmAddr,
    totals: [[Total; 2]; NAMESPACES],
}

impl Tally {
    pub const fn new() -> Self {
        let nothing = Total {
            units: 0,
            latency: 0,
        };
        Self {
            directory: PmAddr(0),
            namespaces: PmAddr(0),
            connections: PmAddr(0),
            totals: [[nothing; 2]; NAMESPACES],
        }
    }

    /// Takes the places of data core `core` of `data_cores`. Packet memory outlives a reset, so all are called unused.
    pub fn start<H: Hal>(&mut self, core: u32, data_cores: u32, hal: &mut H) {
        self.directory = PmAddr(stats::directory_at(core));
        self.namespaces = PmAddr(stats::namespace_at(core, 0));
        self.connections = PmAddr(stats::connection_at(core, data_cores, 0));
        for word in 0..size_of::<Directory>() as u32 / 4 {
            hal.pm_write32(self.directory.plus(4 * word), 0);
        }
    }

    /// Counts a command that succeeded: its bytes in units, and how long it took.
    #[inline]
    fn io<H: Hal>(&mut self, place: u8, direction: usize, units: u32, clocks: u32, hal: &mut H) {
        let at = self.namespace(place).plus(4 * direction as u32);
        let Some(totals) = self.totals.get_mut(usize::from(place)) else {
            return;
        };
        let total = &mut totals[direction & 1];
        total.units = total.units.wrapping_add(units);
        // At most 2^25 after the first shift, so rounding cannot overflow.
        let rounded = (clocks >> (LATENCY_SHIFT - 1)).wrapping_add(1) >> 1;
        total.latency = total.latency.wrapping_add(rounded);
        hal.pm_write32(at.plus(UNITS), total.units);
        hal.pm_write32(at.plus(LATENCY), total.latency);
        let histogram = at.plus(HISTOGRAMS + (4 * BUCKETS as u32 - 4) * direction as u32);
        bump(histogram.plus(4 * stats::bucket(clocks)), hal);
    }

    /// Makes an entry in the directory, behind the place itself.
    fn enter<H: Hal>(&self, list: usize, index: u16, value: u32, hal: &mut H) {
        let at = self.directory.plus(list as u32 + 4 * u32::from(index));
        hal.pm_write32(at, value);
    }

    #[inline]
    fn namespace(&self, place: u8) -> PmAddr {
        let size = size_of::<NamespaceStats>() as u32;
        self.namespaces.plus(u32::from(place) * size)
    }

    #[inline]
    fn connection(&self, conn: u16) -> PmAddr {
        let size = size_of::<ConnectionStats>() as u32;
        self.connections.plus(u32::from(conn) * size)
    }
}

#[inline]
fn bump<H: Hal>(at: PmAddr, hal: &mut H) {
    let count = hal.pm_read32(at);
    hal.pm_write32(at, count.wrapping_add(1));
}

impl DataCore {
    /// Counts the answer of `request`, which is being handed to the transmitter.
    #[inline]
    pub(super) fn count_answer<H: Hal>(&mut self, request: u16, hal: &mut H) {
        let r = &self.requests.all[usize::from(request)];
        let direction = match r.kind {
            Kind::Read if r.status == 0 => READ,
            Kind::Write if r.status == 0 => WRITE,
            _ => return self.count_rare(request, hal),
        };
        let (conn, units) = (r.conn, r.bytes / UNIT);
        let clocks = hal.clocks().wrapping_sub(r.started);
        self.tally.io(r.place, direction, units, clocks, hal);
        let at = self.tally.connection(conn).plus(IO + 8 * direction as u32);
        // The second load is of the same row of packet memory, and as cheap as one of the core's own memory.
        let (commands, total) = (hal.pm_read32(at), hal.pm_read32(at.plus(4)));
        hal.pm_write32(at, commands.wrapping_add(1));
        hal.pm_write32(at.plus(4), total.wrapping_add(units));
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
        let Some(totals) = self.tally.totals.get_mut(usize::from(update.place)) else {
            return;
        };
        for total in totals {
            (total.units, total.latency) = (0, 0);
        }
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
        let at = self.tally.connection(conn).plus(STATE);
        let state = ConnectionState {
            open: false,
            ..ConnectionState::decode(hal.pm_read32(at))
        };
        hal.pm_write32(at, state.encode());
    }
}

const _: () = assert!(NAMESPACES as u32 <= stats::NAMESPACES);
