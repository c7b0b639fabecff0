//! The simulated card and SSD as PCIe devices for other programs: [`card`] and [`ssd`] are the models as PCI functions, the rest is
//! [`sluice_pcie`]'s.
//!
//! BAR0 is trapped: every access is a message, in order with all others. So is BAR2 of the Verilated card; the functional card
//! shares its packet memory but for the SSD queues ([decision 005](../../../docs/decisions/005-vfio-user.md)).

pub mod card;
pub mod ssd;
#[cfg(test)]
mod tests;

pub use sluice_pcie::{
    BarSpec, Function, MsixSpec, Profile, Served, Server, ServerError, SharedBar, engine,
};
