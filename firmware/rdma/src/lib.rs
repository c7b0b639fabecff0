//! The card's NVMe/RDMA over RoCEv2, sans-I/O: no clock, no allocation, no registers, and no payload byte ever touched.
//!
//! [`Rc`] runs on every data core: reliable-connection queue pairs, requester and responder. Packets come in as descriptors
//! of the rx engine ([`sluice_hal::roce::RoceRx`]); messages are offered as slices of the frame buffers they lie in, RDMA
//! READ data packet by packet. What is to be sent is posted as slices of packet memory and leaves as whole messages
//! ([`sluice_hal::roce::RoceJob`]), which the tx engine cuts into packets. [`Cm`] runs on the control core: the connection
//! manager of queue pair 1, the accepting side. [`nvme`] says what a command capsule asks of a queue pair.
//!
//! The caller's loop on a data core: [`Rc::input`] for each descriptor, [`Rc::poll_event`] and [`Rc::poll_released`] until
//! `None`, its own work, [`Rc::poll_transmit`], and [`Rc::handle_timeouts`] when [`Rc::deadline`] has passed.
//!
//! Queue pair numbers: bits 23:20 the core (1 to 15; rx steers by them), 19:8 random, 7:0 the place in the core's table. So a
//! core has 256 queue pairs at most, and a packet for one that is gone, or guessed, has one chance in 4,096 to meet another.
//!
//! The card exposes no memory: there is no memory key to guess, every RDMA WRITE, RDMA READ and atomic operation of a peer
//! is refused, counted, and ends its queue pair.
//!
//! Not here: connecting from this side, unreliable datagrams other than management ones, automatic path migration,
//! end-to-end flow control by credits, selective repeat (packets out of order are sent again, as everywhere in RoCE).
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod cm;
mod config;
mod dcqcn;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod link;
pub mod nvme;
mod peer;
mod pool;
mod psn;
mod rc;

pub use cm::{
    Accept, Cm, CmConfig, CmEnd, CmEvent, CmId, CmPacket, CmStats, Request, datagram, receive,
};
pub use config::{Config, Dcqcn, Open};
pub use link::Link;
pub use peer::{MAX_HEADER, Peer};
pub use rc::{
    CloseReason, Event, Full, LocalEnd, MAX_MESSAGE, QpId, Rc, ReadData, Released, Stats, Work,
};
