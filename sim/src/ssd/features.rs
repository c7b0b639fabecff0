//! Get Features and Set Features (Base, section 5.1.12 and 5.1.25).

use sluice_wire::nvme::{QueueCount, Sqe, Status, feature, select};

use super::SsdConfig;

/// Values in use. Nothing is saveable.
#[derive(Debug)]
pub(super) struct Features {
    values: Vec<(u8, u32)>,
}

/// Default of a feature, and whether it can be changed.
fn default(id: u8, volatile_cache: bool) -> Option<(u32, bool)> {
    Some(match id {
        feature::ARBITRATION => (0, true),
        feature::POWER => (0, true),
        // 70 °C in kelvin.
        feature::TEMPERATURE => (343, true),
        feature::ERROR_RECOVERY => (0, true),
        feature::WRITE_CACHE if volatile_cache => (1, true),
        feature::COALESCING => (0, true),
        feature::VECTOR => (0, true),
        feature::WRITE_ATOMICITY => (0, true),
        feature::EVENTS => (0, true),
        feature::QUEUES => (0, true),
        _ => return None,
    })
}

impl Features {
    pub fn new(volatile_cache: bool) -> Self {
        let ids = 0..=u8::MAX;
        let values = ids
            .filter_map(|id| Some((id, default(id, volatile_cache)?.0)))
            .collect();
        Self { values }
    }

    /// The volatile write cache is in use.
    pub fn write_cache(&self) -> bool {
        self.value(feature::WRITE_CACHE).is_some_and(|v| v & 1 != 0)
    }

    pub fn get(&self, sqe: &Sqe, config: &SsdConfig) -> Result<u32, Status> {
        let id = sqe.cdw10.get() as u8;
        let current = self.value(id).ok_or(Status::INVALID_FIELD.no_retry())?;
        let (standard, changeable) = default(id, config.volatile_cache).unwrap_or((0, false));
        match (sqe.cdw10.get() >> 8) as u8 & 7 {
            select::CAPABILITIES => Ok(u32::from(changeable) << 2),
            _ if id == feature::QUEUES => Ok(queues(config)),
            select::CURRENT => Ok(current),
            select::DEFAULT | select::SAVED => Ok(standard),
            _ => Err(Status::INVALID_FIELD.no_retry()),
        }
    }

    pub fn set(&mut self, sqe: &Sqe, config: &SsdConfig) -> Result<u32, Status> {
        let (id, value) = (sqe.cdw10.get() as u8, sqe.cdw11.get());
        if sqe.cdw10.get() & feature::SAVE != 0 {
            return Err(Status::FEATURE_NOT_SAVEABLE.no_retry());
        }
        let slot = self.values.iter_mut().find(|(i, _)| *i == id);
        let slot = slot.ok_or(Status::INVALID_FIELD.no_retry())?;
        if id == feature::QUEUES {
            let count = QueueCount(value);
            if count.submission_z() == u16::MAX || count.completion_z() == u16::MAX {
                return Err(Status::INVALID_FIELD.no_retry());
            }
            return Ok(queues(config));
        }
        slot.1 = value;
        Ok(0)
    }

    fn value(&self, id: u8) -> Option<u32> {
        self.values.iter().find(|(i, _)| *i == id).map(|(_, v)| *v)
    }
}

fn queues(config: &SsdConfig) -> u32 {
    let mut count = QueueCount(0);
    count.set_submission_z(config.io_queues - 1);
    count.set_completion_z(config.io_queues - 1);
    count.0
}
