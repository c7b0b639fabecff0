//! Admin commands (Base, section 5), and where a command's data lies.

use crate::{
    Action, DataSink, MAX_NSID, Outbox, Target,
    target::{Failure, Reply, refuse},
};
use sluice_hal::Micros;
use sluice_wire::{
    fabrics,
    nvme::{AdminOpcode, SglKind, Sqe, Status},
};

/// Which way an admin or Fabrics command moves data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Nothing moves.
    None,
    /// Host to controller, still to be asked for.
    FromHost,
    /// Host to controller, in the capsule at this offset of its data.
    InCapsule(u32),
    /// Controller to host.
    ToHost,
}

/// Data of an admin or Fabrics command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Which way.
    pub direction: Direction,
    /// Bytes by the SGL descriptor.
    pub len: u32,
}

/// What the caller must fetch before, or make room for during, [`Target::command`]. `capsule`: bytes of in-capsule data
/// that came; `most`: the most that the caller moves.
///
/// # Errors
/// The status to complete the command with; the target need not see it.
pub fn transfer(sqe: &[u8; 64], capsule: u32, most: u32) -> Result<Transfer, Status> {
    let sqe = Sqe::view(sqe);
    // Bits 1:0 of the opcode, or of FCTYPE, give the direction (Base, figure 92 and section 6.1).
    let way = if sqe.opcode == fabrics::OPCODE {
        sqe.nsid.get() as u8
    } else {
        sqe.opcode
    } & 3;
    let sgl = sqe.sgl();
    let len = sgl.length.get();
    if way == 0 || len == 0 {
        return Ok(Transfer {
            direction: Direction::None,
            len: 0,
        });
    }
    if way == 3 {
        return Err(Status::INVALID_FIELD.no_retry());
    }
    if len > most {
        return Err(Status::SGL_LENGTH.no_retry());
    }
    let direction = match (sgl.kind(), way) {
        (Some(SglKind::Transport), 1) => Direction::FromHost,
        (Some(SglKind::Transport), _) => Direction::ToHost,
        (Some(SglKind::Offset), 1) => {
            let offset =
                u32::try_from(sgl.address.get()).map_err(|_| Status::SGL_OFFSET.no_retry())?;
            if offset.checked_add(len).is_none_or(|end| end > capsule) {
                return Err(Status::SGL_OFFSET.no_retry());
            }
            Direction::InCapsule(offset)
        }
        _ => return Err(Status::SGL_TYPE.no_retry()),
    };
    Ok(Transfer { direction, len })
}

/// The admin commands of I/O controllers, and whether discovery controllers have them too.
pub(crate) const COMMANDS: [(AdminOpcode, bool); 7] = [
    (AdminOpcode::GetLogPage, true),
    (AdminOpcode::Identify, true),
    (AdminOpcode::Abort, false),
    (AdminOpcode::SetFeatures, true),
    (AdminOpcode::GetFeatures, true),
    (AdminOpcode::AsyncEvent, true),
    (AdminOpcode::KeepAlive, true),
];

impl Target {
    /// An admin command on connection `at`.
    pub(crate) fn admin(
        &mut self,
        now: Micros,
        at: usize,
        sqe: &Sqe,
        sink: &mut dyn DataSink,
        out: &mut dyn Outbox,
    ) -> Result<Reply, Failure> {
        let Some((slot, qid)) = self
            .connections
            .get(at)
            .and_then(|c| Some((c.controller()?, c.qid)))
        else {
            return refuse(Status::COMMAND_SEQUENCE, 0);
        };
        let Some(controller) = self.controllers.get_mut(slot) else {
            return refuse(Status::INTERNAL, 0);
        };
        if !controller.is_enabled() {
            return refuse(Status::COMMAND_SEQUENCE, 0);
        }
        let offered =
            |(_, on_discovery): &&(AdminOpcode, bool)| *on_discovery || !controller.is_discovery();
        let known = COMMANDS
            .iter()
            .filter(|_| qid == 0)
            .filter(offered)
            .find(|(o, _)| *o as u8 == sqe.opcode);
        match known.map(|(opcode, _)| *opcode) {
            Some(AdminOpcode::Identify) => self.identify(slot, sqe, sink),
            Some(AdminOpcode::GetLogPage) => self.get_log_page(slot, sqe, sink),
            Some(AdminOpcode::SetFeatures) => self.set_features(now, slot, sqe),
            Some(AdminOpcode::GetFeatures) => self.get_features(slot, sqe, sink),
            Some(AdminOpcode::Abort) => Ok(self.abort(slot, sqe, out)),
            Some(AdminOpcode::KeepAlive) => {
                controller.interval_start = now;
                Ok(Reply::OK)
            }
            // Delivery follows the command, so an event that waits goes out at once.
            Some(AdminOpcode::AsyncEvent) => match controller.event_requests.push(sqe.cid.get()) {
                Ok(()) => Ok(Reply::Later),
                Err(_) => refuse(Status::EVENT_LIMIT, 0),
            },
            _ => refuse(Status::INVALID_OPCODE, 0),
        }
    }

    /// Only Asynchronous Event Requests can be caught; everything else is done or on its way to an SSD.
    fn abort(&mut self, slot: usize, sqe: &Sqe, out: &mut dyn Outbox) -> Reply {
        const NOT_ABORTED: u32 = 1;
        let (sqid, cid) = (sqe.cdw10.get() as u16, (sqe.cdw10.get() >> 16) as u16);
        let Some(controller) = self.controllers.get_mut(slot) else {
            return Reply::result(NOT_ABORTED);
        };
        let found = controller
            .event_requests
            .iter()
            .position(|c| sqid == 0 && *c == cid);
        let Some(found) = found else {
            return Reply::result(NOT_ABORTED);
        };
        let cid = controller.event_requests.remove(found);
        let status = Status::ABORT_REQUESTED;
        out.push(Action::Complete {
            key: controller.admin,
            cid,
            result: 0,
            status,
            data_len: 0,
        });
        Reply::OK
    }
}

/// The SGL descriptor of a command with controller-to-host data has room for `len` bytes.
pub(crate) fn check_room(sqe: &Sqe, len: u32) -> Result<(), Failure> {
    let sgl = sqe.sgl();
    if sgl.kind() != Some(SglKind::Transport) {
        return refuse(Status::SGL_TYPE, 39);
    }
    if sgl.length.get() < len {
        refuse(Status::SGL_LENGTH, 32)
    } else {
        Ok(())
    }
}

/// An NSID that names one namespace of an I/O controller, existing or not.
pub(crate) fn check_nsid(sqe: &Sqe) -> Result<u32, Failure> {
    let nsid = sqe.nsid.get();
    if (1..=MAX_NSID).contains(&nsid) {
        Ok(nsid)
    } else {
        refuse(Status::INVALID_NAMESPACE, 4)
    }
}
