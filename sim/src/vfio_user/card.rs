//! The card as a PCI function, functional or Verilated, with its Ethernet port leading outside.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use sluice_hal::layout;
use sluice_regs::{bar0_regs, pci};

use super::ssd::serial;
use super::{BarSpec, Function, MsixSpec, Profile, SharedBar};
use crate::card::{BAR0_BASE, BAR2_BASE, CardModel, Ethernet, TimeSource};
use crate::fabric::{Clock, Port, Tlp};
use crate::port::{self, LivePort};
use crate::world::{CARD_BAR0_SIZE, CARD_BAR2_SIZE};

/// Frames taken from the port at once.
const BATCH: usize = 64;
/// Quiet clocks after which the functional card sleeps: long enough for every core to have looked at everything.
const SETTLE: Clock = 64 * 40;
/// Longest sleep: timers of the firmware go on.
const NAP: Duration = Duration::from_millis(1);
/// Bits that the cable carries per clock: 10 Gb/s.
const BITS_PER_CLOCK: u64 = 40;
/// `CTRL`: everything back to its reset values.
const SOFT_RESET: u32 = 2;
/// Vectors of the card.
const VECTORS: u16 = 32;

/// A card behind a socket.
pub struct CardFunction {
    model: Box<dyn CardModel>,
    profile: Profile,
    ethernet: Ethernet,
    port: Option<Box<dyn LivePort>>,
    frames: Vec<Vec<u8>>,
    /// Bytes of frames that have passed the cable, both ways.
    passed: u64,
    /// When the last frame towards the card has passed.
    wire_free: Clock,
    start: Instant,
    now: Clock,
    quiet_since: Clock,
}

impl CardFunction {
    /// This model, its cable leading to `port` or nowhere. All of its BARs are trapped.
    #[must_use]
    pub fn new(model: Box<dyn CardModel>, port: Option<Box<dyn LivePort>>) -> Self {
        let mut bars = [None; 6];
        bars[0] = Some(BarSpec {
            size: CARD_BAR0_SIZE,
            prefetchable: false,
        });
        bars[2] = Some(BarSpec {
            size: CARD_BAR2_SIZE,
            prefetchable: true,
        });
        let profile = Profile {
            name: format!("{} card", model.name()),
            vendor: pci::VENDOR,
            device: pci::DEVICE,
            class: pci::CLASS,
            serial: serial("SLUICECARD0001"),
            lanes: 8,
            bars,
            msix: MsixSpec {
                bar: 0,
                table: bar0_regs::MSIX_ENTRY_ADDR_LO_OFFSET.into(),
                pending: bar0_regs::MSIX_PENDING_OFFSET.into(),
                vectors: VECTORS,
            },
        };
        Self {
            model,
            profile,
            ethernet: Ethernet::default(),
            port,
            frames: Vec::new(),
            passed: 0,
            wire_free: 0,
            start: Instant::now(),
            now: 0,
            quiet_since: 0,
        }
    }

    /// Clients can map BAR2, but for the SSD queues, if the model is the functional one.
    ///
    /// # Errors
    /// The system's.
    pub fn sharing(mut self) -> io::Result<Self> {
        if let Some(card) = self.model.functional_mut() {
            card.share_memory()?;
        }
        Ok(self)
    }

    /// Bytes of frames that have passed the cable, both ways.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// The model.
    pub fn model(&mut self) -> &mut dyn CardModel {
        self.model.as_mut()
    }

    fn take_frames(&mut self) -> io::Result<()> {
        let Some(port) = &mut self.port else {
            return Ok(());
        };
        let room = BATCH.saturating_sub(self.ethernet.to_card.len());
        port.receive(&mut self.frames, room)?;
        for frame in self.frames.drain(..) {
            // A socket hands over at once what no cable would: each takes its time, with preamble, FCS and gap.
            self.passed += frame.len() as u64;
            let bits = (frame.len() as u64 + 24) * 8;
            self.wire_free = self.wire_free.max(self.now) + bits.div_ceil(BITS_PER_CLOCK);
            self.ethernet.to_card.push_back((self.wire_free, frame));
        }
        Ok(())
    }

    fn give_frames(&mut self) -> io::Result<()> {
        let frames = self.ethernet.from_card.drain(..);
        match &mut self.port {
            Some(port) => {
                for (_, frame) in frames {
                    self.passed += frame.len() as u64;
                    port.send(&frame)?;
                }
                port.flush()
            }
            None => Ok(()),
        }
    }
}

impl Function for CardFunction {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn shared(&self, bar: u8) -> Option<SharedBar> {
        let card = self.model.functional().filter(|_| bar == 2)?;
        Some(SharedBar {
            file: card.shared_memory()?,
            // A write into the queues is how an SSD says that a command is done: it has to be seen.
            areas: vec![
                0..layout::SSD_QUEUES_BASE.into(),
                u64::from(layout::SSD_QUEUES_BASE + layout::SSD_QUEUES_SIZE)..CARD_BAR2_SIZE,
            ],
        })
    }

    fn address(&self, bar: u8, offset: u64) -> u64 {
        offset + if bar == 2 { BAR2_BASE } else { BAR0_BASE }
    }

    fn run(&mut self, until: Clock, port: &mut Port) -> io::Result<()> {
        let micros = self.start.elapsed().as_micros() as u64;
        self.model.set_time(TimeSource::Live { micros });
        self.take_frames()?;
        let arrived = !port.inbox.is_empty() || !self.ethernet.to_card.is_empty();
        self.model.run(until, port, &mut self.ethernet);
        self.now = until;
        let sent = !port.outbox.is_empty() || !self.ethernet.from_card.is_empty();
        if arrived || sent || !port.inbox.is_empty() {
            self.quiet_since = until;
        }
        self.give_frames()
    }

    fn idle_until(&self) -> Option<Clock> {
        let frame = self
            .ethernet
            .to_card
            .front()
            .map_or(Clock::MAX, |(at, _)| *at);
        self.model.idle_until().map(|idle| idle.min(frame))
    }

    fn is_idle(&self) -> bool {
        // The Verilated card knows when it is idle. The functional one, with a clock on the wall, does not.
        self.ethernet.to_card.is_empty()
            && (self.model.idle_until().is_some() || self.now - self.quiet_since > SETTLE)
    }

    fn reset(&mut self, now: Clock, port: &mut Port) {
        // What the reset of a real function does to the logic behind it.
        let addr = BAR0_BASE + u64::from(bar0_regs::CTRL_OFFSET);
        let data = SOFT_RESET.to_le_bytes().to_vec();
        port.inbox.push_back((now, Tlp::Write { addr, data }));
    }

    fn wait(&mut self, fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<()> {
        let mut fds: Vec<_> = fds
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        let ready = self.port.as_ref().is_some_and(|port| port.watch(&mut fds));
        if !ready {
            port::wait_any(&mut fds, timeout.min(NAP))?;
        }
        // One look round after each nap: timers, and what has just come in.
        self.quiet_since = self.now.saturating_sub(SETTLE / 2);
        Ok(())
    }
}
