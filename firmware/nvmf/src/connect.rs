//! Connect: a connection becomes a queue, and the admin queue makes the association (Base, section 6.3).

use crate::{
    Action, Outbox, QueueReady, Target,
    controller::{Controller, DISCOVERY, ErrorRecord, Features, Life, capabilities, slot_of},
    target::{Failure, Reply},
    transport::{Transport, Via},
};
use heapless::Vec;
use sluice_hal::Micros;
use sluice_wire::{
    fabrics::{self, CATTR_NO_FLOW_CONTROL, ConnectCommand, ConnectData, InvalidParam},
    mgmt::{Event, connect_failures},
    nvme::{Sqe, Status},
};
use zerocopy::FromBytes;

/// A Connect whose fields were checked on their own.
struct Request<'a> {
    qid: u16,
    entries: u16,
    no_flow_control: bool,
    kato_ms: u32,
    cntlid: u16,
    host_id: &'a [u8; 16],
    host_nqn: &'a [u8],
    subsystem: u8,
    transport: Transport,
}

fn invalid<T>(what: InvalidParam) -> Result<T, Failure> {
    let location = match what {
        InvalidParam::Command(at) => at,
        InvalidParam::Data(_) => 24,
    };
    Err(Failure {
        status: Status::CONNECT_INVALID.no_retry(),
        result: what.encode(),
        location,
    })
}

/// Why it failed, in the words of the management interface.
fn cause(failure: &Failure) -> usize {
    let is = |status: Status| failure.status == status || failure.status == status.no_retry();
    match () {
        () if is(Status::CONNECT_HOST) => connect_failures::HOST,
        () if is(Status::CONNECT_INVALID) && failure.result == InvalidParam::SUBNQN.encode() => {
            connect_failures::SUBSYSTEM
        }
        () if is(Status::CONNECT_INVALID)
            || is(Status::CONNECT_FORMAT)
            || is(Status::SGL_LENGTH) =>
        {
            connect_failures::PARAMETERS
        }
        () if is(Status::CONNECT_BUSY) => connect_failures::BUSY,
        () if is(Status::COMMAND_SEQUENCE) => connect_failures::SEQUENCE,
        () => connect_failures::OTHER,
    }
}

impl Target {
    pub(crate) fn connect(
        &mut self,
        now: Micros,
        at: usize,
        sqe: &Sqe,
        data: &[u8],
        out: &mut dyn Outbox,
    ) -> Result<Reply, Failure> {
        let outcome = self.connect_checked(now, at, sqe, data, out);
        if let Err(failure) = &outcome {
            self.count_failed_connect(cause(failure));
            if let Some(connection) = self.connections.get_mut(at) {
                connection.refused = true;
            }
            out.push(Action::Event(
                Event::HostRefused,
                failure.status.to_wire().into(),
            ));
        }
        outcome
    }

    fn connect_checked(
        &mut self,
        now: Micros,
        at: usize,
        sqe: &Sqe,
        data: &[u8],
        out: &mut dyn Outbox,
    ) -> Result<Reply, Failure> {
        let Some(connection) = self.connections.get(at) else {
            return Err(Status::INTERNAL.into());
        };
        if connection.controller().is_some() {
            return Err(Status::COMMAND_SEQUENCE.no_retry().into());
        }
        let (key, port, via) = (connection.key, connection.port, connection.via());
        let command: &ConnectCommand = zerocopy::transmute_ref!(sqe.bytes());
        let request = self.parse(command, data, port, via)?;
        let slot = if request.qid == 0 {
            self.create(now, &request)?
        } else {
            self.join(&request)?
        };
        let Some(controller) = self.controllers.get_mut(slot) else {
            return Err(Status::INTERNAL.into());
        };
        controller.queues |= 1 << (request.qid & 63);
        controller.last_heard = controller.last_heard.max(now);
        if request.qid == 0 {
            controller.admin = key;
        }
        let ready = QueueReady {
            key,
            association: controller.slot,
            cntlid: controller.cntlid(),
            qid: request.qid,
            entries: request.entries,
            no_flow_control: request.no_flow_control,
            subsystem: controller.subsystem,
            kato_ms: controller.kato_ms,
        };
        let deadline = controller.deadline();
        if let Some(connection) = self.connections.get_mut(at) {
            connection.attach(ready.association, ready.qid);
        }
        if let Some(at) = deadline {
            self.wake_at(at);
        }
        out.push(Action::QueueReady(ready));
        if ready.qid == 0 {
            out.push(Action::Event(Event::HostConnected, ready.cntlid.into()));
        }
        Ok(Reply::result(fabrics::connect_result(ready.cntlid)))
    }

    /// Checks in the order of the structures: the command, then the data.
    fn parse<'a>(
        &self,
        command: &ConnectCommand,
        data: &'a [u8],
        port: u8,
        via: Via,
    ) -> Result<Request<'a>, Failure> {
        if command.recfmt.get() != 0 {
            let status = Status::CONNECT_FORMAT.no_retry();
            return Err(Failure {
                status,
                result: InvalidParam::RECFMT.encode(),
                location: 40,
            });
        }
        let Ok((data, _)) = ConnectData::ref_from_prefix(data) else {
            return Err(Status::SGL_LENGTH.no_retry().into());
        };
        let qid = command.qid.get();
        if qid > self.limits.io_queues.min(63) {
            return invalid(InvalidParam::QID);
        }
        let entries_z = command.sqsize_z.get();
        if entries_z == 0 || entries_z > capabilities(&self.limits, via.transport()).mqes_z() {
            return invalid(InvalidParam::SQSIZE);
        }
        if let Via::Rdma {
            qid: announced,
            entries,
        } = via
        {
            // The queue that the request for the queue pair spoke of. HSQSIZE is to be SQSIZE; a shorter queue cannot overrun
            // the receives posted for it.
            if qid != announced {
                return invalid(InvalidParam::QID);
            }
            if entries_z >= entries {
                return invalid(InvalidParam::SQSIZE);
            }
        }
        if data.hostid == [0; 16] {
            return invalid(InvalidParam::HOSTID);
        }
        let Ok(host_nqn) = fabrics::nqn(&data.hostnqn) else {
            return invalid(InvalidParam::HOSTNQN);
        };
        let Ok(name) = fabrics::nqn(&data.subnqn) else {
            return invalid(InvalidParam::SUBNQN);
        };
        let Some(subsystem) = self.reachable(name, port, via) else {
            return invalid(InvalidParam::SUBNQN);
        };
        if subsystem != DISCOVERY && !self.allowed(usize::from(subsystem), host_nqn) {
            return Err(Status::CONNECT_HOST.no_retry().into());
        }
        Ok(Request {
            qid,
            entries: entries_z + 1,
            no_flow_control: command.cattr & CATTR_NO_FLOW_CONTROL != 0,
            kato_ms: command.kato.get(),
            cntlid: data.cntlid.get(),
            host_id: &data.hostid,
            host_nqn,
            subsystem,
            transport: via.transport(),
        })
    }

    /// The subsystem with this NQN, if it can be reached that way.
    fn reachable(&self, name: &[u8], port: u8, via: Via) -> Option<u8> {
        if name == fabrics::DISCOVERY_NQN {
            return Some(DISCOVERY);
        }
        if via == (Via::Tcp { discovery: true }) {
            return None;
        }
        let (port, transport) = (usize::from(port), via.transport());
        let found = self
            .subsystems
            .iter()
            .position(|s| s.nqn == name && s.listens(port, transport));
        found.map(|at| at as u8)
    }

    /// A new association for an admin queue.
    fn create(&mut self, now: Micros, request: &Request<'_>) -> Result<usize, Failure> {
        if request.cntlid != fabrics::CNTLID_DYNAMIC {
            return invalid(InvalidParam::CNTLID);
        }
        let free = self
            .controllers
            .iter_mut()
            .enumerate()
            .find(|(_, c)| c.life == Life::Free);
        // No DNR: another host may leave.
        let Some((slot, controller)) = free else {
            return Err(Status::CONNECT_BUSY.into());
        };
        let Ok(host_nqn) = Vec::from_slice(request.host_nqn) else {
            return invalid(InvalidParam::HOSTNQN);
        };
        let generation = controller.generation.wrapping_add(1);
        *controller = Controller {
            life: Life::Live,
            generation,
            subsystem: request.subsystem,
            slot: slot as u8,
            transport: request.transport,
            host_id: *request.host_id,
            host_nqn,
            features: Features::DEFAULT,
            ..Controller::FREE
        };
        controller.set_kato(request.kato_ms, now);
        Ok(slot)
    }

    /// The association that an I/O queue belongs to.
    fn join(&mut self, request: &Request<'_>) -> Result<usize, Failure> {
        let slot = slot_of(request.cntlid);
        let controller = self.controllers.get_mut(slot);
        let Some(controller) = controller.filter(|c| c.is_live() && c.cntlid() == request.cntlid)
        else {
            return invalid(InvalidParam::CNTLID);
        };
        // All queues of an association come over one transport (Base, on associations).
        if controller.subsystem != request.subsystem || controller.transport != request.transport {
            return invalid(InvalidParam::CNTLID);
        }
        if controller.host_nqn != request.host_nqn {
            return invalid(InvalidParam::HOSTNQN);
        }
        if controller.host_id != *request.host_id {
            return invalid(InvalidParam::HOSTID);
        }
        if controller.is_discovery()
            || (controller.granted != 0 && request.qid > controller.granted)
        {
            return invalid(InvalidParam::QID);
        }
        if !controller.is_enabled() || controller.queues & 1 << request.qid != 0 {
            let status = Status::COMMAND_SEQUENCE.no_retry();
            let failure = Failure {
                status,
                result: 0,
                location: 42,
            };
            controller.log_error(ErrorRecord {
                count: 0,
                qid: request.qid,
                cid: 0,
                status,
                location: 42,
                nsid: 0,
                opcode: fabrics::OPCODE,
            });
            return Err(failure);
        }
        Ok(slot)
    }
}
