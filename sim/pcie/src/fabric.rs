//! PCIe at transaction level: what devices say to each other, and when.
//!
//! A device is run up to a time and may only see what arrived before it, so the quantum in which the world advances
//! ([`QUANTUM`]) is also the least latency of every hop. That makes the order in which devices are run irrelevant.

use std::collections::VecDeque;

/// Card clocks since the start, 4 ns each.
pub type Clock = u64;

/// Clocks by which the world advances at once, and the least latency of a hop (256 ns).
pub const QUANTUM: Clock = 64;

/// Most bytes in a write or a read request (the maximum payload and read request size of the fabric).
pub const MAX_PAYLOAD: usize = 256;

/// The read reached nothing, or a device that no longer answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no device answered the read")]
pub struct BusError;

/// One transaction-layer packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tlp {
    /// Posted write. MSI-X messages are writes too.
    Write {
        /// Bus address.
        addr: u64,
        /// 1 to [`MAX_PAYLOAD`] bytes.
        data: Vec<u8>,
    },
    /// Read request.
    Read {
        /// Bus address.
        addr: u64,
        /// 1 to [`MAX_PAYLOAD`].
        len: u32,
        /// Comes back in the completion.
        tag: u32,
    },
    /// Answer to a read.
    Completion {
        /// The request's.
        tag: u32,
        /// The bytes.
        data: Result<Vec<u8>, BusError>,
    },
}

/// A device's end of its link: what has been sent to it, what it sends. Both in order of time.
#[derive(Default, Debug)]
pub struct Port {
    /// Packets for the device, with the clock at which they arrive.
    pub inbox: VecDeque<(Clock, Tlp)>,
    /// Packets from the device, with the clock at which they left.
    pub outbox: VecDeque<(Clock, Tlp)>,
}

impl Port {
    /// The next packet that has arrived by `now`.
    pub fn take(&mut self, now: Clock) -> Option<Tlp> {
        self.inbox
            .front()
            .is_some_and(|(at, _)| *at <= now)
            .then(|| self.inbox.pop_front().expect("peeked").1)
    }

    /// Sends a packet at `now`.
    pub fn send(&mut self, now: Clock, tlp: Tlp) {
        self.outbox.push_back((now, tlp));
    }
}

/// A device on the fabric. Bus addresses in its inbox are those of the sender; the device subtracts its own bases.
pub trait Device {
    /// Runs the device from where it is up to (not including) clock `until`.
    fn run(&mut self, until: Clock, port: &mut Port);

    /// If `Some`: nothing to do before this clock ([`Clock::MAX`]: at all) unless a packet arrives. `None`: at work, or
    /// the device cannot tell.
    fn idle_until(&self) -> Option<Clock> {
        None
    }
}

impl<T: Device> Device for std::rc::Rc<std::cell::RefCell<T>> {
    fn run(&mut self, until: Clock, port: &mut Port) {
        self.borrow_mut().run(until, port);
    }

    fn idle_until(&self) -> Option<Clock> {
        self.borrow().idle_until()
    }
}
