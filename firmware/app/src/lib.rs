//! The firmware application: what runs on every core of the card, generic over the card's HAL.
//!
//! [`ControlCore`] runs on core 0: the host driver's commands, ARP and ICMP, the NVMe-oF target's admin side.
//! [`DataCore`] runs on every other core: TCP connections, NVMe/TCP PDUs, I/O commands, SSD queues. The cores share no
//! memory that both write; they talk by mail ([`mail`]). Each `poll` is one pass of a core's loop: it never waits.
//!
//! Admin commands arrive on connections that data cores own (flow steering knows nothing of queue numbers), so a data core
//! relays them to the control core and sends the answer; see `docs/decisions/001-admin-commands-are-relayed.md`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod control;
mod data;
mod link;
mod mail;
mod maybe;
pub mod memory;

pub use control::ControlCore;
pub use data::{CONNECTION_BYTES, DataCore, Resources};

/// Version of this firmware, as it reports it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sizes that this build has room for.
pub mod limits {
    /// TCP connections per data core.
    pub const CONNECTIONS: usize = 256;
    /// Commands in progress per data core.
    pub const REQUESTS: usize = 512;
    /// Received segments kept per data core (unread or out of order).
    pub const SEGMENTS: usize = 1024;
    /// Pieces queued for sending per data core; every request needs at most three.
    pub const CHUNKS: usize = 2048;
    /// RDMA work requests queued per data core: a command needs two, more if its host memory is in pieces.
    pub const WORK: usize = 512;
    /// Packets of RDMA messages kept per data core.
    pub const PACKETS: usize = 512;
    /// Commands in progress per connection; more wait in the TCP stream.
    pub const REQUESTS_PER_CONNECTION: u16 = 160;
    /// SSDs.
    pub const SSDS: usize = 8;
    /// Subsystems.
    pub const SUBSYSTEMS: usize = 8;
    /// Namespaces in all.
    pub const NAMESPACES: usize = 64;
    /// Associations (controllers) in all.
    pub const ASSOCIATIONS: usize = sluice_hal::layout::ASSOCIATIONS as usize;
    /// Allow-list entries in all.
    pub const HOSTS: usize = 32;
    /// Ethernet ports.
    pub const PORTS: usize = 1;
    /// I/O queues per controller.
    pub const IO_QUEUES: u16 = 64;
    /// Highest QID, whatever [`IO_QUEUES`] says: the target keeps a controller's queues as bits of a word.
    pub const HIGHEST_QID: u16 = 63;
    /// Entries of an I/O queue.
    pub const QUEUE_ENTRIES: u16 = 1024;
    /// Queue pairs of all data cores together that the connection manager has places for.
    pub const QUEUE_PAIRS: usize = 256;
    /// Entries of a queue over RDMA, and receives posted for it: as many as Linux asks for.
    pub const RDMA_QUEUE_ENTRIES: u16 = 128;
    /// Entries of an SSD queue pair.
    pub const SSD_DEPTH: usize = 256;
    /// Bytes per command.
    pub const TRANSFER: u32 = 128 << 10;
    /// In-capsule data on I/O queues, in bytes.
    pub const IN_CAPSULE: u32 = 16 << 10;
    /// In-capsule and controller-to-host data on admin queues, in bytes.
    pub const ADMIN_DATA: u32 = 8 << 10;
}
