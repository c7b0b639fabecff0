//! The world with a live peer on the card's cable: wall time enters, and the world runs only as much as it must.

use std::fs::File;
use std::io::{self, BufWriter};
use std::time::{Duration, Instant};

use crate::card::TimeSource;
use crate::card::functional::CLOCKS_PER_MICRO;
use crate::fabric::Clock;
use crate::pcap::Writer;
use crate::port::LivePort;
use crate::report::Meter;
use crate::world::World;

/// Frames taken from the port at once.
const BATCH: usize = 64;
/// Quiet clocks after which the world sleeps: long enough for every core to have looked at everything.
const SETTLE: Clock = 64 * 40;
/// The same for the Verilated card, whose cores take hundreds of clocks for a pass of their loop.
const SETTLE_RTL: Clock = 20_000;
/// Most clocks that are left out at once while only an SSD works, so that the port is looked at now and then.
const LEAP: Clock = 64 * 32;
/// Longest sleep: timers of the firmware go on.
const NAP: Duration = Duration::from_millis(1);

/// Bits that the cable carries to the card per clock: 10 Gb/s. A socket hands over hundreds of frames at once, which no cable
/// does and for which no card has the buffers.
const BITS_PER_CLOCK: u64 = 40;

/// Clocks that a frame occupies the cable, with preamble, FCS and gap.
fn wire_time(len: usize) -> Clock {
    ((len + 24) as u64 * 8).div_ceil(BITS_PER_CLOCK)
}

/// Joins a port to the card's cable.
pub struct Live<'a> {
    port: &'a mut dyn LivePort,
    pcap: Option<Writer<BufWriter<File>>>,
    start: Instant,
    frames: Vec<Vec<u8>>,
    quiet_since: Clock,
    settle: Clock,
    /// The SSDs' own work, which only they know of.
    busy: Box<dyn Fn() -> bool + 'a>,
}

impl<'a> Live<'a> {
    /// The cable leads to `port`; what passes is written to `pcap`. `busy` says whether an SSD has work in hand.
    pub fn new(
        world: &mut World,
        port: &'a mut dyn LivePort,
        pcap: Option<Writer<BufWriter<File>>>,
        busy: impl Fn() -> bool + 'a,
    ) -> Self {
        let settle = if world.card().name() == "rtl" {
            SETTLE_RTL
        } else {
            SETTLE
        };
        Self {
            port,
            pcap,
            start: Instant::now(),
            frames: Vec::new(),
            quiet_since: world.now(),
            settle,
            busy: Box::new(busy),
        }
    }

    /// Runs until `done` says so.
    ///
    /// # Errors
    /// When the port fails for good.
    pub fn run(
        &mut self,
        world: &mut World,
        meter: &Meter,
        mut done: impl FnMut() -> bool,
    ) -> io::Result<()> {
        while !done() {
            self.turn(world)?;
            meter.set_clocks(world.now());
        }
        if let Some(pcap) = &mut self.pcap {
            pcap.flush()?;
        }
        Ok(())
    }

    fn turn(&mut self, world: &mut World) -> io::Result<()> {
        let micros = self.start.elapsed().as_micros() as u64;
        world.card().set_time(TimeSource::Live { micros });
        self.port.receive(&mut self.frames, BATCH)?;
        for frame in self.frames.drain(..) {
            if let Some(pcap) = &mut self.pcap {
                pcap.write(micros * CLOCKS_PER_MICRO, &frame)?;
            }
            let end = world.now() + wire_time(frame.len());
            world.ethernet.to_card.push_back((world.now(), frame));
            while world.now() < end {
                world.step();
            }
        }
        for _ in 0..4 {
            let limit = world.now() + LEAP;
            world.step_or_skip(limit);
        }
        let mut sent = false;
        while let Some((_, frame)) = world.ethernet.from_card.pop_front() {
            if let Some(pcap) = &mut self.pcap {
                pcap.write(micros * CLOCKS_PER_MICRO, &frame)?;
            }
            self.port.send(&frame)?;
            sent = true;
        }
        // Also when nothing new was sent: what the peer did not take at once would wait for the card's next frame, which may
        // come only when a timer tells the card that something is missing.
        self.port.flush()?;
        if sent || !world.is_quiet() || (self.busy)() {
            self.quiet_since = world.now();
        } else if self.settle == SETTLE_RTL && world.idle_until().is_some() {
            // The Verilated card knows when it is idle, and looks at its timers within the next turn.
            self.port.wait(NAP)?;
        } else if world.now() - self.quiet_since > self.settle {
            self.port.wait(NAP)?;
            // One look round after each nap: timers, and what has just come in.
            self.quiet_since = world.now() - self.settle / 2;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::card::functional::FunctionalCard;
    use crate::port::PortStats;

    /// Its peer takes one frame at a time; how many wait for it.
    struct Slow(Arc<AtomicUsize>);

    impl LivePort for Slow {
        fn receive(&mut self, _frames: &mut Vec<Vec<u8>>, _most: usize) -> io::Result<()> {
            Ok(())
        }

        fn send(&mut self, _frame: &[u8]) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            let left = self.0.load(Ordering::Relaxed).saturating_sub(1);
            self.0.store(left, Ordering::Relaxed);
            Ok(())
        }

        fn wait(&mut self, _timeout: Duration) -> io::Result<()> {
            Ok(())
        }

        fn connected(&self) -> bool {
            true
        }

        fn stats(&self) -> PortStats {
            PortStats::default()
        }

        fn describe(&self) -> String {
            "slow".into()
        }
    }

    #[test]
    fn what_the_peer_does_not_take_at_once_follows_without_the_card_sending_more() {
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut world = World::new(Box::new(FunctionalCard::new(1, 1)));
        let frames = (0..100).map(|_| (0, vec![0; 60]));
        world.ethernet.from_card.extend(frames);
        let mut port = Slow(waiting.clone());
        let mut live = Live::new(&mut world, &mut port, None, || false);
        let mut turns = 0;
        let done = || {
            turns += 1;
            turns > 150
        };
        live.run(&mut world, &Meter::default(), done)
            .expect("no port fails");
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
