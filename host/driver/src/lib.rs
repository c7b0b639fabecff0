//! The host driver: owns the card and the SSDs, and sets up what then runs without it.
//!
//! - [`config`]: one TOML or JSON file, checked before anything is touched;
//! - [`nvme`]: an SSD from reset to I/O queues in the card's packet memory;
//! - [`card`]: the card from reset to ready, and its management commands;
//! - [`bringup`]: all of it in order, back again, what to do when an SSD is lost, changes while it serves, and taking over what
//!   runs;
//! - [`testing`]: a card that only takes management commands, for tests.
//!
//! It reaches devices through the traits of `sluice-device` only, and is not on the data path.
#![forbid(unsafe_code)]

pub mod bringup;
pub mod card;
pub mod config;
pub mod nvme;
pub mod testing;
