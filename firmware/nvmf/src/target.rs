//! The target: connections, associations and time.

use crate::{
    Action, CONNECTIONS, CONTROLLERS, DataSink, HOSTS, Limits, NAMESPACES, Outbox, PORTS, QueueKey,
    SUBSYSTEMS,
    config::{Host, Namespace, Port, Subsystem},
    controller::{Controller, ErrorRecord, Life},
    replica::{EMPTY_INDEX, Index},
    transport::Via,
};
use heapless::Vec;
use sluice_hal::Micros;
use sluice_wire::{
    fabrics,
    mgmt::{Event, connect_failures},
    nvme::{IDENTIFY_SIZE, Sqe, Status},
};

/// A connection must become a queue within this time.
const CONNECT_US: u64 = 30_000_000;
const NOBODY: u8 = 0xff;
const NEVER: Micros = Micros(u64::MAX);
/// Temperature until the first report.
const ROOM_KELVIN: u16 = 300;

/// A connection, queue or not.
pub(crate) struct Connection {
    pub key: QueueKey,
    /// When it was opened, in units of 1,024 microseconds, wrapping.
    opened: u32,
    /// Over RDMA from the start, over TCP when it is a queue.
    pub qid: u16,
    /// Over RDMA the entries that the host has announced; 0 over TCP.
    pub rdma_entries: u16,
    /// Slot of its controller, or [`NOBODY`].
    controller: u8,
    pub port: u8,
    /// It came in on the TCP port meant for discovery.
    pub discovery_port: bool,
    /// A Connect failed on it, and was counted.
    pub refused: bool,
    closing: Closing,
}

/// Whether a connection was told to end. Told one at a time ([`Target::next_close`]), since thousands may end at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closing {
    No,
    Due { abort: bool },
    Told,
}

impl Connection {
    /// The slot of its controller.
    pub(crate) fn controller(&self) -> Option<usize> {
        (self.controller != NOBODY).then_some(usize::from(self.controller))
    }

    fn is_closing(&self) -> bool {
        self.closing != Closing::No
    }

    /// How it came.
    pub(crate) fn via(&self) -> Via {
        match self.rdma_entries {
            0 => Via::Tcp {
                discovery: self.discovery_port,
            },
            entries => Via::Rdma {
                qid: self.qid,
                entries,
            },
        }
    }

    pub(crate) fn attach(&mut self, slot: u8, qid: u16) {
        self.controller = slot;
        self.qid = qid;
    }
}

/// What the SSDs did for hosts since power-on, for the SMART log; fed by the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Read commands.
    pub reads: u64,
    /// Write commands.
    pub writes: u64,
    /// Thousands of 512-byte units read, rounded up.
    pub units_read: u64,
    /// Thousands of 512-byte units written, rounded up.
    pub units_written: u64,
    /// Composite temperature in kelvin.
    pub kelvin: u16,
    /// Hours since power-on.
    pub hours: u32,
}

/// What a command leads to.
pub(crate) enum Reply {
    /// Success with this result and that many bytes in the sink.
    Done { result: u64, data_len: u32 },
    /// Success, and the connection ends after it.
    Last,
    /// Answered later.
    Later,
}

impl Reply {
    pub(crate) const OK: Self = Self::Done {
        result: 0,
        data_len: 0,
    };

    pub(crate) fn result(result: impl Into<u64>) -> Self {
        Self::Done {
            result: result.into(),
            data_len: 0,
        }
    }

    pub(crate) fn data(data_len: u32) -> Self {
        Self::Done {
            result: 0,
            data_len,
        }
    }
}

/// Why a command fails.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: Status,
    pub result: u32,
    /// Byte of the command in error, or FFFFh.
    pub location: u16,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self {
            status,
            result: 0,
            location: 0xffff,
        }
    }
}

/// Fails for good, blaming byte `location` of the command.
pub(crate) fn refuse<T>(status: Status, location: u16) -> Result<T, Failure> {
    Err(Failure {
        status: status.no_retry(),
        result: 0,
        location,
    })
}

/// All controllers, and the configuration they show.
///
/// Call [`Target::command`] for each admin and Fabrics command, [`Target::poll`] when [`Target::deadline`] has come. After each
/// call, here or of the configuration, do the actions it pushed (never more than [`crate::MOST_ACTIONS`]), then those of
/// [`Target::next_close`].
pub struct Target {
    pub(crate) limits: Limits,
    pub(crate) subsystems: [Subsystem; SUBSYSTEMS],
    pub(crate) namespaces: [Namespace; NAMESPACES],
    /// Places in `namespaces`.
    pub(crate) index: Index,
    pub(crate) hosts: [Host; HOSTS],
    pub(crate) ports: [Port; PORTS],
    pub(crate) controllers: [Controller; CONTROLLERS],
    pub(crate) connections: Vec<Connection, CONNECTIONS, u16>,
    /// GENCTR of the discovery log.
    pub(crate) generation: u64,
    pub(crate) usage: Usage,
    /// SSDs reported lost, one bit each.
    pub(crate) lost_ssds: [u32; 8],
    /// No timer needs attention before this.
    wake: Micros,
    /// Commands for connections that are unknown or closing.
    stray: u32,
    /// Connections that are to end and were not told yet.
    closes_due: u16,
    /// By cause; see [`Target::connects_failed`].
    connects_failed: [u32; connect_failures::COUNT],
    /// Identify structures and log entries are made here.
    pub(crate) scratch: [u8; IDENTIFY_SIZE],
}

impl Target {
    /// A target without configuration.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        let mut target = Self::blank();
        target.start(limits);
        target
    }

    /// All zeros, so that it costs an image of the firmware nothing. [`Target::start`] makes a target of it.
    #[must_use]
    pub const fn blank() -> Self {
        Self {
            limits: Limits::NONE,
            subsystems: [const { Subsystem::FREE }; SUBSYSTEMS],
            namespaces: [const { Namespace::FREE }; NAMESPACES],
            index: EMPTY_INDEX,
            hosts: [const { Host::FREE }; HOSTS],
            ports: [const { Port::NONE }; PORTS],
            controllers: [const { Controller::FREE }; CONTROLLERS],
            connections: Vec::new(),
            generation: 0,
            usage: Usage {
                reads: 0,
                writes: 0,
                units_read: 0,
                units_written: 0,
                kelvin: 0,
                hours: 0,
            },
            lost_ssds: [0; 8],
            wake: Micros(0),
            stray: 0,
            closes_due: 0,
            connects_failed: [0; connect_failures::COUNT],
            scratch: [0; IDENTIFY_SIZE],
        }
    }

    /// Makes a blank target one with these limits and without configuration.
    pub const fn start(&mut self, limits: Limits) {
        self.limits = limits;
        self.usage.kelvin = ROOM_KELVIN;
        self.wake = NEVER;
    }

    /// A connection can carry capsules now. `port` is its port's number. False: no room, close it.
    #[must_use]
    pub fn connection_opened(&mut self, now: Micros, key: QueueKey, port: u16, via: Via) -> bool {
        let (qid, rdma_entries) = match via {
            Via::Tcp { .. } => (0, 0),
            Via::Rdma { qid, entries } => (qid, entries.max(1)),
        };
        let known = self.find(key).is_some();
        let (Ok(port), false) = (u8::try_from(port), known) else {
            return false;
        };
        let opened = (now.0 >> 10) as u32;
        let connection = Connection {
            key,
            opened,
            qid,
            rdma_entries,
            controller: NOBODY,
            port,
            discovery_port: via == Via::Tcp { discovery: true },
            refused: false,
            closing: Closing::No,
        };
        self.wake_at(now.after(CONNECT_US));
        let taken = self.connections.push(connection).is_ok();
        if !taken {
            self.count_failed_connect(connect_failures::BUSY);
        }
        taken
    }

    /// Connects that failed, by [`connect_failures`], wrapping.
    #[must_use]
    pub const fn connects_failed(&self) -> &[u32; connect_failures::COUNT] {
        &self.connects_failed
    }

    pub(crate) fn count_failed_connect(&mut self, cause: usize) {
        if let Some(count) = self.connects_failed.get_mut(cause) {
            *count = count.wrapping_add(1);
        }
    }

    /// The connection is gone and nothing of it is in flight any more.
    pub fn connection_closed(&mut self, _now: Micros, key: QueueKey, out: &mut dyn Outbox) {
        let Some(at) = self.find(key) else { return };
        let gone = self.connections.swap_remove(at);
        self.closes_due -= u16::from(matches!(gone.closing, Closing::Due { .. }));
        let Some(slot) = gone.controller() else {
            return;
        };
        let Some(controller) = self.controllers.get_mut(slot) else {
            return;
        };
        controller.queues &= !(1 << (gone.qid & 63));
        if gone.qid == 0 && controller.is_live() {
            let event = if controller.cc.shn() != 0 {
                Event::HostDisconnected
            } else {
                Event::HostLost
            };
            self.end_association(slot, event, out);
        }
        self.settle(slot, out);
    }

    /// A command of an admin queue, or a Fabrics command of any queue. `data`: the host's data, already there. `sink`
    /// takes data for the host; its length then is in the `Complete`.
    pub fn command(
        &mut self,
        now: Micros,
        key: QueueKey,
        sqe: &[u8; 64],
        data: &[u8],
        sink: &mut dyn DataSink,
        out: &mut dyn Outbox,
    ) {
        let sqe = Sqe::view(sqe);
        let Some((at, connection)) = self
            .find(key)
            .and_then(|at| Some((at, self.connections.get(at)?)))
        else {
            self.stray = self.stray.wrapping_add(1);
            return;
        };
        if connection.is_closing() {
            self.stray = self.stray.wrapping_add(1);
            return;
        }
        let slot = connection.controller();
        if let Some(controller) = slot.and_then(|s| self.controllers.get_mut(s)) {
            controller.last_heard = controller.last_heard.max(now);
        }
        // Byte 1 of a Fabrics command without data is reserved (Base, section 6), so nothing is asked of it.
        let outcome = if sqe.opcode == fabrics::OPCODE {
            self.fabrics(now, at, sqe, data, out)
        } else if sqe.flags != sluice_wire::nvme::psdt::SGL << 6 {
            refuse(Status::INVALID_FIELD, 1)
        } else {
            self.admin(now, at, sqe, sink, out)
        };
        self.answer(key, sqe, outcome, out);
        if let Some(controller) = slot.and_then(|s| self.controllers.get_mut(s)) {
            controller.deliver(out);
        }
    }

    fn answer(
        &mut self,
        key: QueueKey,
        sqe: &Sqe,
        outcome: Result<Reply, Failure>,
        out: &mut dyn Outbox,
    ) {
        let cid = sqe.cid.get();
        let done = |result, status, data_len| Action::Complete {
            key,
            cid,
            result,
            status,
            data_len,
        };
        match outcome {
            Ok(Reply::Done { result, data_len }) => {
                out.push(done(result, Status::SUCCESS, data_len))
            }
            Ok(Reply::Last) => {
                out.push(done(0, Status::SUCCESS, 0));
                self.close_one(key, false);
            }
            Ok(Reply::Later) => {}
            Err(failure) => {
                self.remember(key, sqe, &failure);
                out.push(done(failure.result.into(), failure.status, 0));
            }
        }
    }

    fn remember(&mut self, key: QueueKey, sqe: &Sqe, failure: &Failure) {
        let Some(connection) = self.find(key).and_then(|at| self.connections.get(at)) else {
            return;
        };
        let Some(controller) = connection
            .controller()
            .and_then(|s| self.controllers.get_mut(s))
        else {
            return;
        };
        controller.log_error(ErrorRecord {
            count: 0,
            qid: connection.qid,
            cid: sqe.cid.get(),
            status: failure.status,
            location: failure.location,
            nsid: if sqe.opcode == fabrics::OPCODE {
                0
            } else {
                sqe.nsid.get()
            },
            opcode: sqe.opcode,
        });
    }

    /// When a queue of the association `slot` last had a command. Bring these up to date before [`Target::poll`].
    pub fn host_active(&mut self, slot: u8, last_heard: Micros) {
        if let Some(controller) = self.controllers.get_mut(usize::from(slot)) {
            controller.last_heard = controller.last_heard.max(last_heard);
        }
    }

    /// Looks after timers; cheap before the [`Target::deadline`].
    pub fn poll(&mut self, now: Micros, out: &mut dyn Outbox) {
        if now < self.wake {
            return;
        }
        self.wake = NEVER;
        for slot in 0..CONTROLLERS {
            if self.controllers[slot].expired(now) {
                let shut_down = self.controllers[slot].cc.shn() != 0;
                self.end_association(
                    slot,
                    if shut_down {
                        Event::HostDisconnected
                    } else {
                        Event::HostLost
                    },
                    out,
                );
            }
            if let Some(at) = self.controllers[slot].deadline() {
                self.wake_at(at);
            }
        }
        let now_ms = (now.0 >> 10) as u32;
        let (mut waiting, mut late) = (false, 0);
        for c in self
            .connections
            .iter_mut()
            .filter(|c| c.controller == NOBODY && !c.is_closing())
        {
            if now_ms.wrapping_sub(c.opened) > (CONNECT_US >> 10) as u32 {
                c.closing = Closing::Due { abort: true };
                self.closes_due += 1;
                late += u32::from(!c.refused);
            } else {
                waiting = true;
            }
        }
        let count = &mut self.connects_failed[connect_failures::TIMEOUT];
        *count = count.wrapping_add(late);
        if waiting {
            // Not exact: up to a second late does no harm.
            self.wake_at(now.after(1_000_000));
        }
    }

    /// When [`Target::poll`] must be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Micros> {
        (self.wake != NEVER).then_some(self.wake)
    }

    /// Commands dropped because their connection was unknown or closing.
    #[must_use]
    pub fn stray_commands(&self) -> u32 {
        self.stray
    }

    /// Controllers that are not free.
    #[must_use]
    pub fn controllers_in_use(&self) -> usize {
        self.controllers
            .iter()
            .filter(|c| c.life != Life::Free)
            .count()
    }

    pub(crate) fn wake_at(&mut self, at: Micros) {
        self.wake = self.wake.min(at);
    }

    pub(crate) fn find(&self, key: QueueKey) -> Option<usize> {
        self.connections.iter().position(|c| c.key == key)
    }

    /// One connection is to end.
    pub(crate) fn close_one(&mut self, key: QueueKey, abort: bool) {
        if let Some(connection) = self
            .connections
            .iter_mut()
            .find(|c| c.key == key && !c.is_closing())
        {
            connection.closing = Closing::Due { abort };
            self.closes_due += 1;
        }
    }

    /// The I/O queues of a controller are to end, and with `admin` the admin queue too.
    pub(crate) fn close_queues(&mut self, slot: usize, admin: bool) {
        let mine = |c: &&mut Connection| {
            c.controller() == Some(slot) && !c.is_closing() && (admin || c.qid != 0)
        };
        for connection in self.connections.iter_mut().filter(mine) {
            connection.closing = Closing::Due { abort: true };
            self.closes_due += 1;
        }
    }

    /// Takes the next [`Action::QueueClose`]. To be asked when all other actions are done, until `None`.
    pub fn next_close(&mut self) -> Option<Action> {
        if self.closes_due == 0 {
            return None;
        }
        self.connections.iter_mut().find_map(|c| {
            let Closing::Due { abort } = c.closing else {
                return None;
            };
            c.closing = Closing::Told;
            self.closes_due -= 1;
            Some(Action::QueueClose { key: c.key, abort })
        })
    }

    /// Begins the end of an association. When the last connection is gone, and with it all that was in flight, its CNTLID is
    /// free and the host driver hears of `event`.
    pub(crate) fn end_association(&mut self, slot: usize, event: Event, out: &mut dyn Outbox) {
        let Some(controller) = self.controllers.get_mut(slot).filter(|c| c.is_live()) else {
            return;
        };
        controller.life = Life::Closing;
        controller.farewell = Some(event);
        controller.event_requests.clear();
        let association = controller.slot;
        self.close_queues(slot, true);
        out.push(Action::ControllerLive {
            association,
            enabled: false,
        });
        self.settle(slot, out);
    }

    /// Moves a controller on when its queues are gone: reset or shutdown complete, slot free.
    pub(crate) fn settle(&mut self, slot: usize, out: &mut dyn Outbox) {
        let Some(controller) = self.controllers.get_mut(slot) else {
            return;
        };
        if controller.life == Life::Closing && controller.queues == 0 {
            controller.life = Life::Free;
            let event = controller.farewell.take().unwrap_or(Event::HostLost);
            out.push(Action::Event(event, controller.cntlid().into()));
        }
        if controller.is_live() && !controller.has_io_queues() {
            if !controller.cc.en() {
                controller.csts.set_rdy(false);
            }
            if controller.cc.shn() != 0 {
                controller.csts.set_shst(2);
            }
            if let Some(at) = controller.deadline() {
                self.wake_at(at);
            }
        }
    }
}
