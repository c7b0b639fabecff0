//! The card's TCP/IP, sans-I/O: no clock, no allocation, no registers, and no payload byte ever touched.
//!
//! [`Tcp`] runs on every data core. Segments come in as descriptors of the rx engine ([`sluice_hal::RxDesc`]); what is
//! in order is offered as slices of the frame buffers it lies in. What is to be sent is queued as slices of packet
//! memory and leaves as whole trains of segments ([`sluice_hal::TcpJob`]), which the tx engine cuts, numbers and sums.
//! [`Host`] runs on the control core: ARP, neighbour discovery and ICMP.
//!
//! The caller's loop: [`Tcp::input`] for each descriptor, [`Tcp::poll_event`] and [`Tcp::poll_released`] until `None`,
//! its own work, [`Tcp::poll_transmit`], and [`Tcp::handle_timeouts`] when [`Tcp::deadline`] has passed.
//!
//! Not here: IP fragments (the rx engine drops them), IPv4 options and IPv6 extension headers on what is sent,
//! urgent data (ignored), TCP Fast Open.
#![no_std]
#![forbid(unsafe_code)]

mod config;
mod envelope;
mod host;
mod link;
mod tcp;

pub use config::Config;
pub use host::{Host, HostConfig, HostEvent, HostStats};
pub use link::Link;
pub use tcp::{CloseReason, ConnId, Event, Full, PathMtu, Stats, Tcp};
