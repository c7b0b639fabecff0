//! A card with SSDs on a bench: in-process hosts at the far end of a link, everything in simulated time.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use crate::fabric::Clock;
use crate::initiator::Initiator;
use crate::link::{Frames, Link, LinkConfig};
use crate::pcap::Writer;
use crate::world::WorldHandle;

/// The cable of a card and the hosts on it.
pub struct Lab {
    world: WorldHandle,
    /// From the hosts (end A) to the card (end B).
    pub link: Link,
    to_card: Frames,
    from_card: Frames,
    /// Hosts beside the one that a step is given.
    pub others: Vec<Initiator>,
    pcap: Option<Writer<BufWriter<File>>>,
}

impl Lab {
    /// A link of this kind to the card of `world`.
    #[must_use]
    pub fn new(world: &WorldHandle, link: &LinkConfig, seed: u64) -> Self {
        Self {
            world: world.clone(),
            link: Link::new(link, seed),
            to_card: Frames::new(),
            from_card: Frames::new(),
            others: Vec::new(),
            pcap: None,
        }
    }

    /// Captures every frame as its sender sent it, before the link does anything to it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn capture(&mut self, path: &Path) -> io::Result<()> {
        self.pcap = Some(Writer::create(path)?);
        Ok(())
    }

    /// Ends the capture.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn end_capture(&mut self) -> io::Result<()> {
        self.pcap.take().map_or(Ok(()), |mut pcap| pcap.flush())
    }

    /// Clocks so far.
    #[must_use]
    pub fn now(&self) -> Clock {
        self.world.borrow().now()
    }

    /// Advances the world, the link, `host` and the other hosts by one quantum.
    pub fn advance(&mut self, host: &mut Initiator) {
        let mut world = self.world.borrow_mut();
        let now = world.now();
        host.advance(now, &mut self.to_card);
        for other in &mut self.others {
            other.advance(now, &mut self.to_card);
        }
        let ethernet = &mut world.ethernet;
        record(&mut self.pcap, &mut self.to_card, &ethernet.from_card);
        self.link.carry(
            now,
            (&mut self.to_card, &mut self.from_card),
            (&mut ethernet.from_card, &mut ethernet.to_card),
        );
        while let Some((at, frame)) = self.from_card.pop_front() {
            let group = frame.first().is_some_and(|byte| byte & 1 == 1);
            let to = frame.get(..6);
            for other in self.others.iter_mut().filter(|o| group || to == Some(&o.mac()[..])) {
                other.receive(at, frame.clone(), &mut self.to_card);
            }
            if group || to == Some(&host.mac()[..]) {
                host.receive(at, frame, &mut self.to_card);
            }
        }
        world.step();
    }
}

/// Writes both directions' new frames in order of time.
fn record(pcap: &mut Option<Writer<BufWriter<File>>>, to_card: &mut Frames, from_card: &Frames) {
    let Some(writer) = pcap else { return };
    let mut frames: Vec<_> = to_card.iter().chain(from_card).collect();
    frames.sort_by_key(|(at, _)| *at);
    let failed = frames.into_iter().any(|(at, frame)| writer.write(*at, frame).is_err());
    if failed {
        // A full disk ends the capture, not the simulation; the file's check will tell.
        *pcap = None;
    }
}
