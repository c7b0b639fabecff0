//! Formats as they lie on the wire and in memory: plain structs with checked views, no I/O, no time, no state.
//! Used by the firmware, the host driver and the simulation alike.
#![no_std]
#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod crc32c;
pub mod ethernet;
pub mod fabrics;
pub mod ib_cm;
pub mod ib_mad;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod mgmt;
pub mod nvme;
pub mod nvme_rdma;
pub mod nvme_tcp;
pub mod roce;
pub mod stats;
pub mod tcp;
pub mod trace;
