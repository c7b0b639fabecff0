//! A card with SSDs on a bench: in-process hosts at the far end of a link, everything in simulated time.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::rc::Rc;

use crate::card::Ethernet;
use crate::fabric::{Clock, QUANTUM};
use crate::initiator::Initiator;
use crate::link::{Frames, Link, LinkConfig};
use crate::pcap::Writer;
use crate::world::{Peer, WorldHandle};

/// Most clocks that are skipped at once, for those who count on being asked now and then.
const LONGEST_SKIP: Clock = 65_536;

/// The cable of a card and the hosts on it.
pub struct Lab {
    world: WorldHandle,
    /// From the hosts (end A) to the card (end B).
    pub link: Link,
    to_card: Frames,
    from_card: Frames,
    /// Hosts beside the one that a step is given.
    pub others: Vec<Initiator>,
    /// The cable is a trunk that carries the hosts' frames in this VLAN, as the switch between them does.
    pub vlan: Option<u16>,
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
            vlan: None,
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

    /// Advances the world, the link, `host` and the other hosts: by one quantum, or to where something happens next.
    pub fn advance(&mut self, host: &mut Initiator) {
        self.turn(Some(host));
    }

    /// The same for the other hosts alone.
    pub fn advance_others(&mut self) {
        self.turn(None);
    }

    fn turn(&mut self, host: Option<&mut Initiator>) {
        let world = self.world.clone();
        let mut world = world.borrow_mut();
        let now = world.now();
        let next = self.exchange(host, now, &mut world.ethernet);
        if self.to_card.is_empty() && next > now + QUANTUM {
            world.step_or_skip(next.min(now + LONGEST_SKIP));
        } else {
            world.step();
        }
    }

    /// Hosts and link up to `now`, when the world is there; the clock when something happens next.
    fn exchange(
        &mut self,
        mut host: Option<&mut Initiator>,
        now: Clock,
        ethernet: &mut Ethernet,
    ) -> Clock {
        for each in host.as_deref_mut().into_iter().chain(&mut self.others) {
            each.advance(now, &mut self.to_card);
        }
        if let Some(vlan) = self.vlan {
            self.to_card
                .iter_mut()
                .for_each(|(_, frame)| tag(frame, vlan));
        }
        record(&mut self.pcap, &mut self.to_card, &ethernet.from_card);
        self.link.carry(
            now,
            (&mut self.to_card, &mut self.from_card),
            (&mut ethernet.from_card, &mut ethernet.to_card),
        );
        while let Some((at, mut frame)) = self.from_card.pop_front() {
            if self.vlan.is_some_and(|vlan| !untag(&mut frame, vlan)) {
                continue;
            }
            let group = frame.first().is_some_and(|byte| byte & 1 == 1);
            let to = frame.get(..6);
            let hosts = host.as_deref_mut().into_iter().chain(&mut self.others);
            for each in hosts.filter(|h| group || to == Some(&h.mac()[..])) {
                each.receive(at, frame.clone(), &mut self.to_card);
            }
        }
        let mut next = self.link.next_arrival().unwrap_or(Clock::MAX);
        for each in host.into_iter().chain(&mut self.others) {
            next = next.min(each.next_poll().unwrap_or(Clock::MAX));
        }
        next
    }

    /// The hosts go on by themselves while `work` has the host driver do something, which advances the world. Without this they
    /// would stand still until the driver is done.
    pub fn beside<R>(self, work: impl FnOnce() -> R) -> (Self, R) {
        let world = self.world.clone();
        let lab = Rc::new(RefCell::new(self));
        world
            .borrow_mut()
            .set_peer(Some(Box::new(Beside(lab.clone()))));
        let result = work();
        world.borrow_mut().set_peer(None);
        let Ok(lab) = Rc::try_unwrap(lab) else {
            unreachable!("the world has let go of it");
        };
        (lab.into_inner(), result)
    }
}

/// A lab at the other end of the world's cable.
struct Beside(Rc<RefCell<Lab>>);

impl Peer for Beside {
    fn exchange(&mut self, now: Clock, ethernet: &mut Ethernet) -> Clock {
        let mut lab = self.0.borrow_mut();
        let next = lab.exchange(None, now, ethernet);
        // What the hosts have just sent goes onto the link at once.
        if lab.to_card.is_empty() { next } else { now }
    }
}

/// Puts an 802.1Q tag behind the addresses.
fn tag(frame: &mut Vec<u8>, vlan: u16) {
    if frame.len() >= 12 {
        let [high, low] = vlan.to_be_bytes();
        frame.splice(12..12, [0x81, 0, high, low]);
    }
}

/// Takes the tag of this VLAN out; false for a frame without it, which a switch would not send on.
fn untag(frame: &mut Vec<u8>, vlan: u16) -> bool {
    let tci = frame
        .get(14..16)
        .map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let ours = frame.get(12..14) == Some(&[0x81, 0]) && tci & 0xfff == vlan;
    if ours {
        frame.drain(12..16);
    }
    ours
}

/// Writes both directions' new frames in order of time.
fn record(pcap: &mut Option<Writer<BufWriter<File>>>, to_card: &mut Frames, from_card: &Frames) {
    let Some(writer) = pcap else { return };
    let mut frames: Vec<_> = to_card.iter().chain(from_card).collect();
    frames.sort_by_key(|(at, _)| *at);
    let failed = frames
        .into_iter()
        .any(|(at, frame)| writer.write(*at, frame).is_err());
    if failed {
        // A full disk ends the capture, not the simulation; the file's check will tell.
        *pcap = None;
    }
}
