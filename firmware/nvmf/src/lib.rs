//! The NVMe-oF target: controllers, discovery, admin and Fabrics commands, and the decoding of I/O commands.
//!
//! Sans-I/O, without allocation. [`Target`] lives on the control core and answers every Fabrics and admin command;
//! [`io`] runs on the data cores over a small replica of the namespace table. Transport, data movement and SSDs are
//! elsewhere. Sources: NVM Express Base Specification 2.1 ("Base"), NVM Command Set Specification 1.1 ("NVM").
//!
//! Not offered, and therefore not advertised and refused: authentication, namespace management, firmware update, Format,
//! Sanitize, reservations, fused commands, Verify, Copy, Write Uncorrectable, metadata and protection information,
//! flush of all namespaces at once, NVM subsystem reset.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod action;
mod admin;
mod config;
mod connect;
mod controller;
mod discovery;
mod features;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod held;
mod identify;
pub mod io;
mod logs;
mod property;
pub mod replica;
mod target;
#[cfg(test)]
mod tests;
mod transport;
mod window;

pub use action::{Action, DataSink, Limits, Outbox, QueueKey, QueueReady, RdmaLimits};
pub use admin::{Direction, Transfer, transfer};
pub use config::Refusal;
pub use replica::{NamespaceEntry, NamespaceTable, NamespaceUpdate};
pub use target::{Target, Usage};
pub use transport::Via;

/// Subsystems on the card.
pub const SUBSYSTEMS: usize = 8;
/// Namespaces on the card, over all subsystems.
pub const NAMESPACES: usize = 64;
/// Highest NSID; NN of Identify Controller.
pub const MAX_NSID: u32 = 64;
/// Different hosts in all allow-lists together.
pub const HOSTS: usize = 32;
/// Ports.
pub const PORTS: usize = 4;
/// Controllers (associations) at once, discovery controllers included.
pub const CONTROLLERS: usize = 64;
/// Connections at once.
pub const CONNECTIONS: usize = 1024;
/// Highest ANA group.
pub const ANA_GROUPS: u32 = 16;
/// Asynchronous Event Requests per controller.
pub const EVENT_REQUESTS: usize = 4;
/// Most actions that one call pushes: a subsystem that goes away with all its namespaces, and the end of every
/// association with the event for each.
pub const MOST_ACTIONS: usize = NAMESPACES + 3 * CONTROLLERS + 8;
/// Entries of a controller's error log.
pub const ERROR_ENTRIES: usize = 4;
