//! The daemon: owns the card and the SSDs, keeps what was configured, and does what callers ask for.
//!
//! - [`owner`]: the one thread that touches devices; it has the [`Rig`](sluice_driver::bringup::Rig) and executes methods;
//! - [`service`]: how other threads reach it;
//! - [`server`]: JSON-RPC over a UNIX socket;
//! - [`state`]: the state file;
//! - [`metrics`]: counters for Prometheus over HTTP;
//! - [`nvmet`]: nvmetcli's configuration in and out;
//! - [`backend`]: where devices come from; [`settings`]: the daemon's own configuration; [`events`]: what happened;
//!   [`logger`]: the daemon's log.
//!
//! It is generic over the devices, so the simulation's tests run the very same code as the program `sluiced`.
#![forbid(unsafe_code)]

pub mod backend;
pub mod events;
pub mod logger;
pub mod metrics;
pub mod nvmet;
pub mod owner;
pub mod server;
pub mod service;
pub mod settings;
pub mod state;
pub mod takeover;

/// Version of the daemon.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
