//! The world around the card: PCIe fabric, SSD models, Ethernet links, initiators, and the card models themselves.
//!
//! Everything advances in card clocks (4 ns) and is deterministic: one seed gives one history. `sim` may use every
//! other crate; nothing uses `sim`.

pub mod card;
pub mod initiator;
pub mod link;
pub mod options;
pub mod pcap;
pub mod port;
pub mod report;
pub mod scenario;
pub mod ssd;
pub mod vfio_user;
pub mod vm;
pub mod world;

pub use sluice_pcie::fabric;
