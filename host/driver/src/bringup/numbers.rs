//! The card's own numbers of what is configured: they stay when others are removed, the places in the configuration do not.

use sluice_device::Device;

use super::Rig;
use crate::config::{SsdSpec, Subsystem};

impl<D: Device> Rig<D> {
    /// The subsystem to which the card has given this number.
    #[must_use]
    pub fn subsystem_numbered(&self, number: u32) -> Option<&Subsystem> {
        let at = self.subsystems.iter().position(|n| *n == number)?;
        self.config.subsystems.get(at)
    }

    /// The SSD to which the card has given this number.
    #[must_use]
    pub fn ssd_numbered(&self, number: u32) -> Option<&SsdSpec> {
        let at = self.ssds.iter().position(|unit| unit.number == number)?;
        self.config.ssds.get(at)
    }
}
