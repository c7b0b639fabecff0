//! What a data core needs to drive SSDs: data pages, PRPs and I/O queue pairs in packet memory.
//!
//! - [`pages`]: who holds which data page;
//! - [`prp`]: the table that holds every run's PRP list ready-made;
//! - [`place`]: where queues lie in packet memory, and which doorbell slots they use;
//! - [`queue`]: one submission and completion queue pair;
//! - [`status`]: what of an SSD's status a remote host gets to see.
//!
//! Not here: SSD bring-up and admin commands (the host driver's), namespaces and ranges (the controller's).
#![no_std]
#![forbid(unsafe_code)]

pub mod pages;
pub mod place;
pub mod prp;
pub mod queue;
pub mod status;

pub use pages::{Pages, Run};
pub use queue::{Completed, QueuePair, Refusal, Request};
