//! Counters that the simulation keeps and other threads read while it runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by the thread that runs the world and the one that drives the host.
#[derive(Debug, Default)]
pub struct Meter {
    clocks: AtomicU64,
    ios: AtomicU64,
    stopped: AtomicBool,
}

impl Meter {
    /// The world has reached this card clock.
    pub fn set_clocks(&self, clocks: u64) {
        self.clocks.store(clocks, Ordering::Relaxed);
    }

    /// Card clocks so far.
    pub fn clocks(&self) -> u64 {
        self.clocks.load(Ordering::Relaxed)
    }

    /// That many more commands were completed to the host.
    pub fn add_ios(&self, ios: u64) {
        self.ios.fetch_add(ios, Ordering::Relaxed);
    }

    /// Commands so far.
    pub fn ios(&self) -> u64 {
        self.ios.load(Ordering::Relaxed)
    }

    /// The world or the host has ended: nobody need wait for it any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether [`Meter::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}
