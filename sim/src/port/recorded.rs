//! A wire with a recorder on it, in front of any other port.

use std::fs::File;
use std::io::{self, BufWriter};
use std::time::{Duration, Instant};

use rustix::event::PollFd;

use super::{LivePort, PortStats};
use crate::card::functional::CLOCKS_PER_MICRO;
use crate::pcap::Writer;

/// A port whose frames, both ways, are written to a capture with the time at which they passed.
pub struct RecordedPort<P> {
    inner: P,
    pcap: Writer<BufWriter<File>>,
    start: Instant,
}

impl<P: LivePort> RecordedPort<P> {
    /// Records what passes `inner` from now on.
    pub fn new(inner: P, pcap: Writer<BufWriter<File>>) -> Self {
        Self {
            inner,
            pcap,
            start: Instant::now(),
        }
    }

    fn clock(&self) -> u64 {
        self.start.elapsed().as_micros() as u64 * CLOCKS_PER_MICRO
    }
}

impl<P: LivePort> LivePort for RecordedPort<P> {
    fn receive(&mut self, frames: &mut Vec<Vec<u8>>, most: usize) -> io::Result<()> {
        let before = frames.len();
        self.inner.receive(frames, most)?;
        let clock = self.clock();
        let new = &frames[before..];
        new.iter()
            .try_for_each(|frame| self.pcap.write(clock, frame))
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let clock = self.clock();
        self.pcap.write(clock, frame)?;
        self.inner.send(frame)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.inner.wait(timeout)
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) -> bool {
        self.inner.watch(fds)
    }

    fn connected(&self) -> bool {
        self.inner.connected()
    }

    fn stats(&self) -> PortStats {
        self.inner.stats()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl<P> Drop for RecordedPort<P> {
    fn drop(&mut self) {
        if let Err(error) = self.pcap.flush() {
            log::warn!("the capture is not whole: {error}");
        }
    }
}
