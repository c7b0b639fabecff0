//! Fabrics commands other than Connect: properties and Disconnect (Base, sections 6.4 to 6.6 and 3.1.4).

use crate::{
    Action, Outbox, Target,
    controller::{Controller, capabilities},
    target::{Failure, Reply, refuse},
};
use sluice_hal::Micros;
use sluice_wire::{
    fabrics::{self, DisconnectCommand, FabricsType, PropertyCommand},
    nvme::{Cc, Crto, Sqe, Status, Version, register},
};

/// The version that every controller reports.
pub(crate) const VERSION: Version = Version::V2_1;

impl Target {
    /// A Fabrics command of connection `at`.
    pub(crate) fn fabrics(
        &mut self,
        now: Micros,
        at: usize,
        sqe: &Sqe,
        data: &[u8],
        out: &mut dyn Outbox,
    ) -> Result<Reply, Failure> {
        let kind = fabrics::fctype(sqe);
        if kind == Some(FabricsType::Connect) {
            return self.connect(now, at, sqe, data, out);
        }
        let Some((slot, qid)) = self
            .connections
            .get(at)
            .and_then(|c| Some((c.controller()?, c.qid)))
        else {
            return refuse(Status::COMMAND_SEQUENCE, 0);
        };
        match (kind, qid) {
            (Some(FabricsType::PropertyGet), 0) => {
                self.property_get(slot, zerocopy::transmute_ref!(sqe.bytes()))
            }
            (Some(FabricsType::PropertySet), 0) => {
                self.property_set(now, slot, zerocopy::transmute_ref!(sqe.bytes()), out)
            }
            (Some(FabricsType::Disconnect), _) => {
                disconnect(qid, zerocopy::transmute_ref!(sqe.bytes()))
            }
            // Authentication is not offered; properties belong to the admin queue.
            _ => refuse(Status::INVALID_OPCODE, 4),
        }
    }

    fn property_get(&self, slot: usize, command: &PropertyCommand) -> Result<Reply, Failure> {
        let Some(controller) = self.controllers.get(slot) else {
            return refuse(Status::INTERNAL, 0);
        };
        let wide = match command.attrib & 7 {
            0 => false,
            1 => true,
            _ => return refuse(Status::INVALID_FIELD, 40),
        };
        let value = match (command.offset.get(), wide) {
            (register::CAP, true) => capabilities(&self.limits, controller.transport).0,
            (register::VS, false) => VERSION.0.into(),
            (register::CC, false) => controller.cc.0.into(),
            (register::CSTS, false) => controller.csts.0.into(),
            (register::CRTO, false) => {
                let mut crto = Crto(0);
                crto.set_crwmt(
                    capabilities(&self.limits, controller.transport)
                        .timeout()
                        .into(),
                );
                crto.0.into()
            }
            _ => return refuse(Status::INVALID_FIELD, 44),
        };
        Ok(Reply::result(value))
    }

    fn property_set(
        &mut self,
        now: Micros,
        slot: usize,
        command: &PropertyCommand,
        out: &mut dyn Outbox,
    ) -> Result<Reply, Failure> {
        if command.attrib & 7 != 0 {
            return refuse(Status::INVALID_FIELD, 40);
        }
        if command.offset.get() != register::CC {
            return refuse(Status::INVALID_FIELD, 44);
        }
        self.configure(now, slot, Cc(command.value.get() as u32), out);
        Ok(Reply::OK)
    }

    /// CC was written: enable, reset and shutdown (Base, sections 3.5 to 3.7). On a reset or a shutdown the I/O queues
    /// end at once; CSTS tells so only when nothing of theirs is in flight, so that no late write meets a later host.
    fn configure(&mut self, now: Micros, slot: usize, new: Cc, out: &mut dyn Outbox) {
        let Some(controller) = self.controllers.get_mut(slot) else {
            return;
        };
        let old = controller.cc;
        controller.cc = new;
        let association = controller.slot;
        let mut stop = false;
        if new.en() && !old.en() {
            enable(controller);
            let kato_ms = controller.kato_ms;
            controller.set_kato(kato_ms, now);
            out.push(Action::ControllerLive {
                association,
                enabled: controller.is_enabled(),
            });
        } else if !new.en() && old.en() {
            controller.csts.set_cfs(false);
            controller.forget_settings();
            stop = true;
        }
        if new.shn() != 0 && old.shn() == 0 {
            controller.csts.set_shst(1);
            stop = true;
        } else if new.shn() == 0 && old.shn() != 0 && !new.en() {
            // Only a reset takes a shutdown back.
            controller.csts.set_shst(0);
        }
        if stop {
            controller.interval_start = now;
            controller.abort_requests(out);
            out.push(Action::ControllerLive {
                association,
                enabled: false,
            });
            self.close_queues(slot, false);
            self.settle(slot, out);
        }
    }
}

/// CC.EN rose. A value this controller cannot work with is fatal (CSTS.CFS), which a reset clears.
fn enable(controller: &mut Controller) {
    let cc = controller.cc;
    let sizes_fit = controller.is_discovery() || (cc.iosqes() == 6 && cc.iocqes() == 4);
    if sizes_fit
        && cc.mps() == 0
        && cc.ams() == 0
        && matches!(cc.css(), 0 | 6)
        && !controller.has_io_queues()
    {
        controller.csts.set_rdy(true);
        controller.csts.set_shst(0);
    } else {
        controller.csts.set_cfs(true);
    }
}

fn disconnect(qid: u16, command: &DisconnectCommand) -> Result<Reply, Failure> {
    if command.recfmt.get() != 0 {
        return refuse(Status::CONNECT_FORMAT, 40);
    }
    if qid == 0 {
        refuse(Status::INVALID_QUEUE_TYPE, 0)
    } else {
        Ok(Reply::Last)
    }
}
