//! Whole set-ups: a card with SSDs brought up by the host driver, and what is done with it.

pub mod bench;
pub mod demo;
pub mod firmware;
pub mod guest_ssd;
pub mod host_driver;
pub mod lab;
pub mod live;
pub mod log;
pub mod model;
pub mod profile;
pub mod serve;
pub mod server;

use crate::initiator::Transport;
use crate::options;

/// What a person asked for, in the order in which it is done.
#[must_use]
pub fn transports(asked: options::Transport) -> &'static [Transport] {
    match asked {
        options::Transport::Tcp => &[Transport::Tcp],
        options::Transport::Rdma => &[Transport::Rdma],
        options::Transport::Both => &[Transport::Tcp, Transport::Rdma],
    }
}
