//! The world: one card, its SSDs, host memory and whatever is on the wire, advanced together.
//!
//! Bus addresses: host memory from [`HOST_BASE`], then the BARs that firmware (the machine's, not the card's) would have
//! assigned. Every hop between two devices takes at least [`QUANTUM`] clocks, so devices may be run one after the other.

mod backend;
mod memory;

use std::collections::{HashMap, VecDeque};

use crate::card::{BAR0_BASE, BAR2_BASE, CardModel, Ethernet};
use crate::fabric::{BusError, Clock, Device, Port, QUANTUM, Tlp};

pub use backend::{WorldHandle, card_device, ssd_device};
pub use memory::HostMemory;

/// First bus address of host memory.
pub const HOST_BASE: u64 = 0x1_0000_0000;
/// Bus address of the card's BAR0.
pub const CARD_BAR0: u64 = 0xf000_0000;
/// Bus address of the card's BAR2 (packet memory).
pub const CARD_BAR2: u64 = 0xe000_0000;
/// Bytes of BAR0.
pub const CARD_BAR0_SIZE: u64 = 0x1_0000;
/// Bytes of BAR2.
pub const CARD_BAR2_SIZE: u64 = sluice_hal::layout::PM_SIZE as u64;
/// Bus address of SSD 0's BAR0; SSD `i` follows `i *` [`SSD_BAR_SIZE`] later.
pub const SSD_BARS: u64 = 0xd000_0000;
/// Bytes between SSDs' BARs.
pub const SSD_BAR_SIZE: u64 = 0x1_0000;
/// MSI messages are writes to this page; vector `v` of device `d` is told apart by address and data.
pub const MSI_BASE: u64 = 0xfee0_0000;

/// Who asked for a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
enum Requester {
    Host,
    Card,
    Ssd(usize),
}

/// Where a bus address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Memory(u64),
    Card(u64),
    Ssd(usize, u64),
    Msi(u64),
    Nowhere,
}

struct Slot {
    device: Option<Box<dyn Device>>,
    port: Port,
}

/// Interrupt messages that arrived: (address, data) → count.
type Messages = HashMap<(u64, u32), u64>;

/// Who is at the other end of the cable whenever the world advances, also while the host driver waits for something.
pub trait Peer {
    /// Takes frames from the card and gives it others; the clock when it wants to be asked next.
    fn exchange(&mut self, now: Clock, ethernet: &mut Ethernet) -> Clock;
}

/// Everything there is.
pub struct World {
    now: Clock,
    card: Box<dyn CardModel>,
    card_port: Port,
    /// The card's cable.
    pub ethernet: Ethernet,
    ssds: Vec<Slot>,
    /// The server's memory.
    pub memory: HostMemory,
    messages: Messages,
    /// Reads on their way to a device, by the tag they travel under.
    forwarded: HashMap<u32, (Requester, u32)>,
    next_tag: u32,
    /// Answers to the host's own reads.
    answers: HashMap<u32, Result<Vec<u8>, BusError>>,
    host_requests: VecDeque<Tlp>,
    peer: Option<Box<dyn Peer>>,
    /// When the peer wants to be asked.
    peer_next: Clock,
}

impl World {
    /// A world with this card, no SSDs and nothing on the wire.
    #[must_use]
    pub fn new(card: Box<dyn CardModel>) -> Self {
        Self {
            now: 0,
            card,
            card_port: Port::default(),
            ethernet: Ethernet::default(),
            ssds: Vec::new(),
            memory: HostMemory::new(HOST_BASE, 64 << 20),
            messages: HashMap::new(),
            forwarded: HashMap::new(),
            next_tag: 1 << 31,
            answers: HashMap::new(),
            host_requests: VecDeque::new(),
            peer: None,
            peer_next: Clock::MAX,
        }
    }

    /// Puts somebody at the other end of the cable, or nobody: then whoever steps the world looks after the frames.
    pub fn set_peer(&mut self, peer: Option<Box<dyn Peer>>) {
        self.peer = peer;
        self.peer_next = if self.peer.is_some() {
            self.now
        } else {
            Clock::MAX
        };
    }

    /// Plugs an SSD in; its number.
    pub fn add_ssd(&mut self, ssd: Box<dyn Device>) -> usize {
        self.ssds.push(Slot {
            device: Some(ssd),
            port: Port::default(),
        });
        self.ssds.len() - 1
    }

    /// Pulls SSD `index` out: writes to it vanish, reads fail.
    pub fn remove_ssd(&mut self, index: usize) -> Option<Box<dyn Device>> {
        let slot = self.ssds.get_mut(index)?;
        slot.port = Port::default();
        slot.device.take()
    }

    /// Clocks so far.
    #[must_use]
    pub fn now(&self) -> Clock {
        self.now
    }

    /// The card.
    pub fn card(&mut self) -> &mut dyn CardModel {
        self.card.as_mut()
    }

    /// Nothing is on its way: no packet, no frame. Devices may still be at work inside.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let port = |p: &Port| p.inbox.is_empty() && p.outbox.is_empty();
        port(&self.card_port)
            && self.ssds.iter().all(|s| port(&s.port))
            && self.host_requests.is_empty()
            && self.ethernet.to_card.is_empty()
            && self.ethernet.from_card.is_empty()
    }

    /// Advances by one [`QUANTUM`].
    pub fn step(&mut self) {
        self.run_devices(self.now + QUANTUM);
    }

    /// Advances by at least one [`QUANTUM`], and to about `limit` if nothing happens until then: what would be stepped
    /// through for nothing is skipped.
    pub fn step_or_skip(&mut self, limit: Clock) {
        let soonest = self.now + QUANTUM;
        let limit = limit.min(self.peer_next);
        let until = self
            .idle_until()
            .map_or(soonest, |idle| idle.min(limit).next_multiple_of(QUANTUM));
        self.run_devices(until.max(soonest));
    }

    /// If `Some`: nothing happens here before this clock unless a frame arrives.
    #[must_use]
    pub fn idle_until(&self) -> Option<Clock> {
        if !self.is_quiet() {
            return None;
        }
        let devices = self.ssds.iter().filter_map(|slot| slot.device.as_ref());
        devices
            .map(|device| device.idle_until())
            .fold(self.card.idle_until(), |a, b| Some(a?.min(b?)))
    }

    fn run_devices(&mut self, until: Clock) {
        self.card
            .run(until, &mut self.card_port, &mut self.ethernet);
        for slot in &mut self.ssds {
            if let Some(device) = &mut slot.device {
                device.run(until, &mut slot.port);
            } else {
                slot.port.inbox.clear();
            }
        }
        self.now = until;
        self.route_all();
        if let Some(peer) = &mut self.peer {
            self.peer_next = peer.exchange(until, &mut self.ethernet);
        }
    }

    /// Advances until `done` says so; false when `limit` clocks passed first.
    pub fn run_until(&mut self, limit: Clock, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            if self.now >= end {
                return false;
            }
            self.step_or_skip(end);
        }
        true
    }

    /// A posted write by the host's processor.
    pub fn host_write(&mut self, addr: u64, data: &[u8]) {
        self.host_requests.push_back(Tlp::Write {
            addr,
            data: data.to_vec(),
        });
    }

    /// A read by the host's processor; the world advances until it is answered.
    ///
    /// # Errors
    /// When nothing answers at that address.
    pub fn host_read(&mut self, addr: u64, len: u32) -> Result<Vec<u8>, BusError> {
        let tag = self.take_tag();
        self.host_requests.push_back(Tlp::Read { addr, len, tag });
        // A device that never completes must not hang the machine: a root port times out as well.
        let answered = self.run_until(COMPLETION_TIMEOUT, |w| w.answers.contains_key(&tag));
        if answered {
            self.answers.remove(&tag).unwrap_or(Err(BusError))
        } else {
            Err(BusError)
        }
    }

    /// Takes one message with this address and data, if one came.
    pub fn take_message(&mut self, addr: u64, data: u32) -> bool {
        match self.messages.get_mut(&(addr, data)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    fn take_tag(&mut self) -> u32 {
        self.next_tag = self.next_tag.wrapping_add(1) | 1 << 31;
        self.next_tag
    }

    fn route_all(&mut self) {
        while let Some(tlp) = self.host_requests.pop_front() {
            self.dispatch(self.now, Requester::Host, tlp);
        }
        while let Some((at, tlp)) = self.card_port.outbox.pop_front() {
            self.dispatch(at, Requester::Card, tlp);
        }
        for index in 0..self.ssds.len() {
            while let Some((at, tlp)) = self.ssds[index].port.outbox.pop_front() {
                self.dispatch(at, Requester::Ssd(index), tlp);
            }
        }
    }

    fn dispatch(&mut self, at: Clock, from: Requester, tlp: Tlp) {
        let arrives = (at + QUANTUM).max(self.now);
        match tlp {
            Tlp::Completion { tag, data } => {
                if let Some((to, original)) = self.forwarded.remove(&tag) {
                    self.complete(arrives, to, original, data);
                }
            }
            Tlp::Write { addr, data } => match Self::route(addr) {
                Route::Memory(offset) => self.memory.write(offset, &data),
                Route::Msi(addr) => {
                    let mut word = [0; 4];
                    let n = data.len().min(4);
                    word[..n].copy_from_slice(&data[..n]);
                    *self
                        .messages
                        .entry((addr, u32::from_le_bytes(word)))
                        .or_default() += 1;
                }
                Route::Card(addr) => self
                    .card_port
                    .inbox
                    .push_back((arrives, Tlp::Write { addr, data })),
                Route::Ssd(i, addr) => self.send_to_ssd(i, arrives, Tlp::Write { addr, data }),
                Route::Nowhere => {}
            },
            Tlp::Read { addr, len, tag } => self.dispatch_read(arrives, from, addr, len, tag),
        }
    }

    fn dispatch_read(&mut self, arrives: Clock, from: Requester, addr: u64, len: u32, tag: u32) {
        match Self::route(addr) {
            Route::Memory(offset) => {
                let data = self.memory.read(offset, len as usize).ok_or(BusError);
                self.complete(arrives + QUANTUM, from, tag, data);
            }
            Route::Card(addr) => {
                let forward = self.take_tag();
                self.forwarded.insert(forward, (from, tag));
                self.card_port.inbox.push_back((
                    arrives,
                    Tlp::Read {
                        addr,
                        len,
                        tag: forward,
                    },
                ));
            }
            Route::Ssd(i, addr) if self.ssds.get(i).is_some_and(|s| s.device.is_some()) => {
                let forward = self.take_tag();
                self.forwarded.insert(forward, (from, tag));
                self.send_to_ssd(
                    i,
                    arrives,
                    Tlp::Read {
                        addr,
                        len,
                        tag: forward,
                    },
                );
            }
            _ => self.complete(arrives, from, tag, Err(BusError)),
        }
    }

    fn send_to_ssd(&mut self, index: usize, at: Clock, tlp: Tlp) {
        if let Some(slot) = self.ssds.get_mut(index).filter(|s| s.device.is_some()) {
            slot.port.inbox.push_back((at, tlp));
        }
    }

    fn complete(&mut self, at: Clock, to: Requester, tag: u32, data: Result<Vec<u8>, BusError>) {
        let tlp = Tlp::Completion { tag, data };
        match to {
            Requester::Card => self.card_port.inbox.push_back((at, tlp)),
            Requester::Ssd(i) => self.send_to_ssd(i, at, tlp),
            Requester::Host => {
                if let Tlp::Completion { tag, data } = tlp {
                    self.answers.insert(tag, data);
                }
            }
        }
    }

    fn route(addr: u64) -> Route {
        let within = |base: u64, size: u64| addr.checked_sub(base).filter(|o| *o < size);
        if let Some(o) = within(HOST_BASE, HostMemory::MAX) {
            Route::Memory(o)
        } else if let Some(o) = within(CARD_BAR2, CARD_BAR2_SIZE) {
            Route::Card(BAR2_BASE + o)
        } else if let Some(o) = within(CARD_BAR0, CARD_BAR0_SIZE) {
            Route::Card(BAR0_BASE + o)
        } else if let Some(o) = within(SSD_BARS, SSD_BAR_SIZE * 256) {
            Route::Ssd((o / SSD_BAR_SIZE) as usize, o % SSD_BAR_SIZE)
        } else if within(MSI_BASE, 0x10_0000).is_some() {
            Route::Msi(addr)
        } else {
            Route::Nowhere
        }
    }
}

/// The fabric gives up on a read after this many clocks (about 50 ms of card time, as PCIe completion timeouts do).
const COMPLETION_TIMEOUT: Clock = 12_500_000;
