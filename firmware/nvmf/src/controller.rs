//! One controller: properties, features, events, keep alive, error log (Base, sections 3.1, 3.9, 5.1).

use crate::{
    Action, CONTROLLERS, ERROR_ENTRIES, EVENT_REQUESTS, Limits, Outbox, QueueKey,
    transport::Transport,
};
use heapless::Vec;
use sluice_hal::Micros;
use sluice_wire::{
    fabrics::NQN_MAX,
    mgmt::Event,
    nvme::{Cap, Cc, Csts, EventConfig, EventKind, Status},
};

/// Subsystem number of discovery controllers.
pub(crate) const DISCOVERY: u8 = 0xff;
/// Keep alive granularity (KAS), in units of 100 ms.
pub(crate) const KAS: u16 = 10;
/// An idle discovery controller without keep alive, or a controller that was shut down, is dropped after this long.
pub(crate) const IDLE_US: u64 = 120_000_000;
/// Default composite temperature thresholds, kelvin: over, under.
pub(crate) const TEMPERATURES: [u16; 2] = [343, 0];

/// How far an association is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// Nobody's.
    Free,
    /// In use.
    Live,
    /// Its queues were told to close; free when the last is gone.
    Closing,
}

/// A failed command, for the error log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorRecord {
    pub count: u32,
    pub qid: u16,
    pub cid: u16,
    pub status: Status,
    pub location: u16,
    pub nsid: u32,
    pub opcode: u8,
}

/// Values of the features that are plain numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub arbitration: u32,
    pub error_recovery: u32,
    pub write_atomicity: u32,
    pub temperature: [u16; 2],
    pub events: EventConfig,
}

impl Features {
    /// Of a controller that is nobody's.
    const NONE: Self = Self {
        temperature: [0; 2],
        ..Self::DEFAULT
    };

    pub(crate) const DEFAULT: Self = Self {
        arbitration: 0,
        error_recovery: 0,
        write_atomicity: 0,
        temperature: TEMPERATURES,
        events: EventConfig(0),
    };
}

/// A controller and its association.
pub(crate) struct Controller {
    pub life: Life,
    /// What the host driver is told when all is over, once that has begun.
    pub farewell: Option<Event>,
    /// Counts uses of this slot; part of the CNTLID, so that a late Connect for a dead controller is refused.
    pub generation: u16,
    pub subsystem: u8,
    pub slot: u8,
    /// Of its admin queue, and so of all its queues.
    pub transport: Transport,
    pub host_id: [u8; 16],
    pub host_nqn: Vec<u8, NQN_MAX, u8>,
    pub admin: QueueKey,
    /// Connected queues, one bit per QID.
    pub queues: u64,
    /// CC as the host wrote it.
    pub cc: Cc,
    /// CSTS; RDY falls and SHST completes only when the I/O queues are gone.
    pub csts: Csts,
    /// Keep alive timeout in milliseconds, rounded up; 0 for none.
    pub kato_ms: u32,
    /// Start of the current keep alive interval.
    pub interval_start: Micros,
    pub last_heard: Micros,
    /// I/O queues granted; 0 until the host asked.
    pub granted: u16,
    pub features: Features,
    /// CIDs of outstanding Asynchronous Event Requests.
    pub event_requests: Vec<u16, EVENT_REQUESTS, u8>,
    /// Events to report, and events reported whose log was not read since; bits by `EventKind`.
    pub pending: u8,
    pub masked: u8,
    /// NSIDs changed since log page 04h was read; bit `nsid - 1`.
    pub changed: u64,
    pub errors: Vec<ErrorRecord, ERROR_ENTRIES, u8>,
    pub error_count: u32,
    /// Temperature warning in force.
    pub hot: bool,
}

impl Controller {
    /// All zeros, so that a table of them costs an image of the firmware nothing.
    pub(crate) const FREE: Self = Self {
        life: Life::Free,
        farewell: None,
        generation: 0,
        subsystem: 0,
        slot: 0,
        transport: Transport::Tcp,
        host_id: [0; 16],
        host_nqn: Vec::new(),
        admin: QueueKey(0),
        queues: 0,
        cc: Cc(0),
        csts: Csts(0),
        kato_ms: 0,
        interval_start: Micros(0),
        last_heard: Micros(0),
        granted: 0,
        features: Features::NONE,
        event_requests: Vec::new(),
        pending: 0,
        masked: 0,
        changed: 0,
        errors: Vec::new(),
        error_count: 0,
        hot: false,
    };

    /// Unique on the card among live controllers, and over 1,000 uses of a slot: slot and generation, from 1.
    pub(crate) fn cntlid(&self) -> u16 {
        self.generation % GENERATIONS * CONTROLLERS as u16 + u16::from(self.slot) + 1
    }

    pub(crate) fn is_discovery(&self) -> bool {
        self.subsystem == DISCOVERY
    }

    pub(crate) fn is_live(&self) -> bool {
        self.life == Life::Live
    }

    /// Commands other than Fabrics commands are allowed.
    pub(crate) fn is_enabled(&self) -> bool {
        self.is_live() && self.cc.en() && self.csts.rdy() && !self.csts.cfs() && self.cc.shn() == 0
    }

    /// I/O queues are still there.
    pub(crate) fn has_io_queues(&self) -> bool {
        self.queues & !1 != 0
    }

    /// Sets the keep alive timeout, rounded up to the granularity.
    pub(crate) fn set_kato(&mut self, ms: u32, now: Micros) {
        const UNIT: u32 = KAS as u32 * 100;
        self.kato_ms = ms
            .checked_next_multiple_of(UNIT)
            .unwrap_or(u32::MAX / UNIT * UNIT);
        self.interval_start = now;
        self.last_heard = now;
    }

    /// The timeout in force, in microseconds.
    fn timeout(&self) -> Option<u64> {
        if self.csts.shst() == 2 || (self.kato_ms == 0 && self.is_discovery()) {
            return Some(IDLE_US);
        }
        (self.kato_ms != 0).then(|| u64::from(self.kato_ms) * 1000)
    }

    /// When the keep alive timer must be looked at.
    pub(crate) fn deadline(&self) -> Option<Micros> {
        if self.life == Life::Live {
            self.timeout().map(|us| self.interval_start.after(us))
        } else {
            None
        }
    }

    /// Traffic-based keep alive (Base, section 3.9.4.2): an interval in which a command came starts another.
    /// True: the host is lost.
    pub(crate) fn expired(&mut self, now: Micros) -> bool {
        if self.deadline().is_none_or(|at| now < at) {
            return false;
        }
        if self.last_heard > self.interval_start {
            self.interval_start = now;
            return false;
        }
        true
    }

    /// Marks an event to be reported if the host asked for it.
    pub(crate) fn raise(&mut self, kind: EventKind) {
        let wanted = match kind {
            EventKind::NamespaceChanged => self.features.events.namespace_changed(),
            EventKind::AnaChange => self.features.events.ana_change(),
            EventKind::DiscoveryChange => self.features.events.discovery_change(),
            EventKind::Temperature => self.features.events.smart() & 2 != 0,
            EventKind::Reliability => self.features.events.smart() & 4 != 0,
            EventKind::InternalError => true,
        };
        if self.is_live() && wanted {
            self.pending |= bit(kind);
        }
    }

    /// Its log page was read without Retain Asynchronous Event: the event may come again.
    pub(crate) fn rearm(&mut self, kind: EventKind) {
        self.pending &= !bit(kind);
        self.masked &= !bit(kind);
    }

    /// Reports what can be reported.
    pub(crate) fn deliver(&mut self, out: &mut dyn Outbox) {
        if !self.is_enabled() {
            return;
        }
        for kind in EventKind::ALL {
            if self.pending & !self.masked & bit(kind) == 0 || self.event_requests.is_empty() {
                continue;
            }
            let cid = self.event_requests.remove(0);
            self.pending &= !bit(kind);
            self.masked |= bit(kind);
            let result = u64::from(kind.event().encode());
            out.push(Action::Complete {
                key: self.admin,
                cid,
                result,
                status: Status::SUCCESS,
                data_len: 0,
            });
        }
    }

    /// Ends all outstanding event requests.
    pub(crate) fn abort_requests(&mut self, out: &mut dyn Outbox) {
        for cid in core::mem::take(&mut self.event_requests) {
            let status = Status::ABORT_REQUESTED;
            out.push(Action::Complete {
                key: self.admin,
                cid,
                result: 0,
                status,
                data_len: 0,
            });
        }
    }

    /// Remembers a failed command; the oldest of [`ERROR_ENTRIES`] falls out.
    pub(crate) fn log_error(&mut self, mut record: ErrorRecord) {
        self.error_count = self.error_count.wrapping_add(1);
        record.count = self.error_count;
        if self.errors.is_full() {
            self.errors.remove(0);
        }
        let _has_room = self.errors.push(record);
    }

    /// What a reset forgets (Base, section 3.7.2): features, events, changed namespaces; not the error log.
    pub(crate) fn forget_settings(&mut self) {
        self.features = Features::DEFAULT;
        self.granted = 0;
        self.pending = 0;
        self.masked = 0;
        self.changed = 0;
        self.hot = false;
    }
}

const GENERATIONS: u16 = 1000;

/// Number of the slot that a CNTLID names, whether or not that controller lives.
pub(crate) fn slot_of(cntlid: u16) -> usize {
    usize::from(cntlid.wrapping_sub(1)) % CONTROLLERS
}

fn bit(kind: EventKind) -> u8 {
    1 << kind as u8
}

/// CAP of every controller of a transport. Becoming not ready waits for SSD commands in flight, hence 30 s.
pub(crate) fn capabilities(limits: &Limits, transport: Transport) -> Cap {
    let mut cap = Cap(0);
    cap.set_mqes_z(transport.queue_entries(limits).saturating_sub(1));
    cap.set_cqr(true);
    cap.set_timeout(60);
    cap.set_css(0x41);
    cap.set_crms(1);
    cap
}
