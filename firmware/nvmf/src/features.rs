//! Get Features and Set Features (Base, sections 5.1.11 and 5.1.25). Nothing can be saved: the saved value of every
//! feature is its default.

use crate::{
    DataSink, Target,
    admin::check_room,
    controller::{Controller, Features},
    target::{Failure, Reply, refuse},
    window::Window,
};
use sluice_hal::Micros;
use sluice_wire::nvme::{EventConfig, QueueCount, Sqe, Status, feature, select};

/// Features of I/O controllers, ascending.
pub(crate) const IO_FEATURES: [u8; 10] = [
    feature::ARBITRATION,
    feature::POWER,
    feature::TEMPERATURE,
    feature::ERROR_RECOVERY,
    feature::WRITE_CACHE,
    feature::QUEUES,
    feature::WRITE_ATOMICITY,
    feature::EVENTS,
    feature::KEEP_ALIVE,
    feature::HOST_ID,
];
const DISCOVERY_FEATURES: [u8; 2] = [feature::EVENTS, feature::KEEP_ALIVE];

fn offered(controller: &Controller, id: u8) -> bool {
    if controller.is_discovery() {
        DISCOVERY_FEATURES.contains(&id)
    } else {
        IO_FEATURES.contains(&id)
    }
}

impl Target {
    pub(crate) fn get_features(
        &mut self,
        slot: usize,
        sqe: &Sqe,
        sink: &mut dyn DataSink,
    ) -> Result<Reply, Failure> {
        let Some(controller) = self.controllers.get(slot) else {
            return refuse(Status::INTERNAL, 0);
        };
        let (id, which) = (sqe.cdw10.get() as u8, (sqe.cdw10.get() >> 8) as u8 & 7);
        if !offered(controller, id) {
            return refuse(Status::INVALID_FIELD, 40);
        }
        match which {
            select::CAPABILITIES => {
                let fixed = matches!(id, feature::WRITE_CACHE | feature::HOST_ID);
                return Ok(Reply::result(if fixed { 0u32 } else { 1 << 2 }));
            }
            select::CURRENT | select::DEFAULT | select::SAVED => {}
            _ => return refuse(Status::INVALID_FIELD, 41),
        }
        if id == feature::HOST_ID {
            // Fabrics knows only 128-bit host identifiers.
            if sqe.cdw11.get() & 1 == 0 {
                return refuse(Status::INVALID_FIELD, 44);
            }
            check_room(sqe, 16)?;
            let mut window = Window::new(sink, 0, 16);
            window.put(&controller.host_id);
            return Ok(Reply::data(window.finish()));
        }
        let current = which == select::CURRENT;
        let values = if current {
            &controller.features
        } else {
            &Features::DEFAULT
        };
        Ok(Reply::result(match id {
            feature::ARBITRATION => values.arbitration,
            feature::TEMPERATURE => temperature(values, sqe.cdw11.get())?.into(),
            feature::ERROR_RECOVERY => values.error_recovery,
            feature::WRITE_ATOMICITY => values.write_atomicity,
            feature::EVENTS => values.events.0,
            feature::WRITE_CACHE => 1,
            feature::QUEUES if current && controller.granted != 0 => count(controller.granted),
            feature::QUEUES => count(self.limits.io_queues),
            feature::KEEP_ALIVE if current => controller.kato_ms,
            // Power state 0 is the only one.
            _ => 0,
        }))
    }

    pub(crate) fn set_features(
        &mut self,
        now: Micros,
        slot: usize,
        sqe: &Sqe,
    ) -> Result<Reply, Failure> {
        let most = self.limits.io_queues;
        let Some(controller) = self.controllers.get_mut(slot) else {
            return refuse(Status::INTERNAL, 0);
        };
        let (id, value) = (sqe.cdw10.get() as u8, sqe.cdw11.get());
        if !offered(controller, id) {
            return refuse(Status::INVALID_FIELD, 40);
        }
        if sqe.cdw10.get() & feature::SAVE != 0 {
            return refuse(Status::FEATURE_NOT_SAVEABLE, 43);
        }
        match id {
            feature::ARBITRATION => controller.features.arbitration = value,
            feature::POWER if value & 0x1f == 0 => {}
            feature::POWER => return refuse(Status::INVALID_FIELD, 44),
            feature::TEMPERATURE => {
                temperature(&controller.features, value)?;
                controller.features.temperature[(value >> 20 & 1) as usize] = value as u16;
            }
            // DULBE: deallocated blocks are not reported (NSFEAT bit 2 clear).
            feature::ERROR_RECOVERY if value & 1 << 16 == 0 => {
                controller.features.error_recovery = value & 0xffff
            }
            feature::ERROR_RECOVERY => return refuse(Status::INVALID_FIELD, 46),
            feature::WRITE_CACHE => return refuse(Status::FEATURE_NOT_CHANGEABLE, 40),
            feature::QUEUES => return grant(controller, QueueCount(value), most),
            feature::WRITE_ATOMICITY => controller.features.write_atomicity = value & 1,
            feature::EVENTS => {
                let config = EventConfig(value);
                if value & !supported_events(controller).0 != 0 {
                    return refuse(Status::INVALID_FIELD, 44);
                }
                controller.features.events = config;
                return Ok(Reply::result(value));
            }
            feature::KEEP_ALIVE => {
                controller.set_kato(value, now);
                if let Some(at) = controller.deadline() {
                    self.wake_at(at);
                }
            }
            // The host identifier is set by Connect (Base, section 5.1.25.1.28.1).
            _ => return refuse(Status::COMMAND_SEQUENCE, 40),
        }
        Ok(Reply::OK)
    }
}

/// Both counts as the feature shows them.
fn count(queues: u16) -> u32 {
    let mut count = QueueCount(0);
    count.set_submission_z(queues.saturating_sub(1));
    count.set_completion_z(queues.saturating_sub(1));
    count.0
}

/// As many queues as asked for, up to `most`; a queue on fabrics is a submission and a completion queue.
fn grant(controller: &mut Controller, asked: QueueCount, most: u16) -> Result<Reply, Failure> {
    let (submission_z, completion_z) = (asked.submission_z(), asked.completion_z());
    if submission_z == 0xffff || completion_z == 0xffff {
        return refuse(Status::INVALID_FIELD, 44);
    }
    if controller.has_io_queues() {
        return refuse(Status::COMMAND_SEQUENCE, 40);
    }
    controller.granted = (submission_z.max(completion_z) + 1).min(most);
    Ok(Reply::result(count(controller.granted)))
}

/// The composite temperature threshold that CDW11 selects: sensor 0 in bits 19:16, over or under in bits 21:20.
fn temperature(values: &Features, cdw11: u32) -> Result<u16, Failure> {
    match (cdw11 >> 16 & 0xf, cdw11 >> 20 & 3) {
        (0, kind @ 0..=1) => Ok(values.temperature[kind as usize]),
        _ => refuse(Status::INVALID_FIELD, 46),
    }
}

fn supported_events(controller: &Controller) -> EventConfig {
    let mut events = EventConfig(0);
    if controller.is_discovery() {
        events.set_discovery_change(true);
    } else {
        events.set_smart(0x1f);
        events.set_namespace_changed(true);
    }
    events
}
