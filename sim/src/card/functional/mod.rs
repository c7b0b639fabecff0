//! The functional card: the firmware application compiled for this machine, over engines that work at once.
//!
//! Every core makes one pass of its loop per [`PASS`] clocks; engines take no time of their own. Registers behave as
//! `docs/card.md` says; the images that a driver loads are kept to be looked at and not run, since the firmware runs natively.

mod engines;
mod hal;
mod memory;
mod registers;
mod storage;
mod trace;

use std::sync::Arc;

use crate::card::{BAR2_BASE, CardModel, Ethernet, TimeSource};
use crate::fabric::{Clock, Port, QUANTUM, Tlp};
use engines::Shared;
use hal::FunctionalHal;
use memory::PacketMemory;
use sluice_app::{ControlCore, DataCore, Resources};
use sluice_hal::CoreId;
use sluice_nor::{FuseBank, Nor};
use sluice_vfio_user::memory::SharedFile;

/// Clocks that one pass of a core's loop takes here.
pub const PASS: Clock = QUANTUM;
/// Passes in which no core found anything to do, after which the cores sleep.
const SETTLED: u32 = 64;
/// Each sleep is twice as long as the one before, up to this power of two passes: 262 µs, by which timers may be late.
const LONGEST_NAP: u32 = 10;
/// Clocks per microsecond.
pub const CLOCKS_PER_MICRO: u64 = 250;

/// The card, with its cores' state.
pub struct FunctionalCard {
    shared: Shared,
    control: Box<ControlCore>,
    data: Vec<Box<DataCore>>,
    clocks: Clock,
    booted: bool,
    /// Passes since one found something to do.
    idle_passes: u32,
    last_pass: Clock,
}

impl FunctionalCard {
    /// A card with `data_cores` data cores (1 to 15) whose entropy source is seeded with `seed`.
    #[must_use]
    pub fn new(data_cores: u8, seed: u64) -> Self {
        assert!(
            (1..=15).contains(&data_cores),
            "1 to 15 data cores, not {data_cores}"
        );
        let mut card = Self {
            shared: Shared::new(data_cores + 1, seed),
            control: Box::new(ControlCore::new()),
            data: Vec::new(),
            clocks: 0,
            booted: false,
            idle_passes: 0,
            last_pass: 0,
        };
        card.reset_cores();
        card
    }

    /// With this chip on its board and these fuses.
    #[must_use]
    pub fn with_flash(mut self, chip: Nor, fuses: FuseBank) -> Self {
        self.shared.storage.chip.0 = chip;
        self.shared.storage.fuses.0 = fuses;
        self
    }

    /// From now on packet memory is a file that other processes can map, as BAR2 of a PCI device can be.
    ///
    /// # Errors
    /// The system's.
    pub fn share_memory(&mut self) -> std::io::Result<()> {
        self.shared.pm.share()
    }

    /// Packet memory as a file, if it is shared.
    #[must_use]
    pub fn shared_memory(&self) -> Option<Arc<SharedFile>> {
        match &self.shared.pm {
            PacketMemory::Own(_) => None,
            PacketMemory::Shared(file) => Some(file.clone()),
        }
    }

    /// The flash chip, for faults and figures.
    pub fn chip(&mut self) -> &mut Nor {
        &mut self.shared.storage.chip.0
    }

    /// The fuses.
    #[must_use]
    pub fn fuses(&self) -> &FuseBank {
        &self.shared.storage.fuses.0
    }

    fn reset_cores(&mut self) {
        *self.control = ControlCore::new();
        self.data = (1..self.shared.cores())
            .map(|_| Box::new(DataCore::new()))
            .collect();
        self.booted = false;
    }

    fn boot(&mut self) {
        self.control
            .start(&mut FunctionalHal::new(&mut self.shared, CoreId::CONTROL));
        for (i, core) in self.data.iter_mut().enumerate() {
            core.start(&mut FunctionalHal::new(
                &mut self.shared,
                CoreId(i as u8 + 1),
            ));
        }
        self.booted = true;
    }

    fn take_packets(&mut self, pcie: &mut Port) {
        while let Some(tlp) = pcie.take(self.clocks) {
            match tlp {
                Tlp::Write { addr, data } if addr >= BAR2_BASE => {
                    self.shared.pm_store((addr - BAR2_BASE) as usize, &data);
                }
                Tlp::Write { addr, data } => self.register_write(addr as u32, &data),
                Tlp::Read { addr, len, tag } => {
                    let data = if addr >= BAR2_BASE {
                        self.shared
                            .pm_load((addr - BAR2_BASE) as usize, len as usize)
                    } else {
                        self.register_read(addr as u32, len as usize)
                    };
                    pcie.send(
                        self.clocks,
                        Tlp::Completion {
                            tag,
                            data: Ok(data),
                        },
                    );
                }
                Tlp::Completion { tag, data } => self.shared.host_data(tag, data),
            }
        }
    }

    fn register_write(&mut self, addr: u32, data: &[u8]) {
        let was = self.shared.registers.running();
        for (i, word) in data.chunks(4).enumerate() {
            let mut bytes = [0; 4];
            bytes[..word.len()].copy_from_slice(word);
            self.shared
                .registers
                .write(addr + 4 * i as u32, u32::from_le_bytes(bytes));
        }
        let mut was = was;
        if self.shared.registers.booting() {
            if std::mem::take(&mut was) {
                self.shared.reset();
                self.reset_cores();
            }
            let (status, images) = self.shared.storage.boot();
            self.shared.registers.booted(status, images);
        }
        match (was, self.shared.registers.running()) {
            (false, true) => self.boot(),
            (true, false) => {
                self.shared.reset();
                self.reset_cores();
            }
            _ => {}
        }
        self.shared.look_at_trace();
    }

    fn register_read(&mut self, addr: u32, len: usize) -> Vec<u8> {
        let first = addr & !3;
        let words = (addr as usize - first as usize + len).div_ceil(4);
        let bytes: Vec<u8> = (0..words as u32)
            .flat_map(|i| self.shared.register(first + 4 * i).to_le_bytes())
            .collect();
        let skip = (addr - first) as usize;
        bytes[skip..skip + len].to_vec()
    }

    fn pass(&mut self) {
        self.last_pass = self.clocks;
        self.idle_passes = self.idle_passes.saturating_add(1);
        if !self.booted {
            return;
        }
        let mut busy = self
            .control
            .poll(&mut FunctionalHal::new(&mut self.shared, CoreId::CONTROL));
        for (i, core) in self.data.iter_mut().enumerate() {
            busy |= core.poll(&mut FunctionalHal::new(
                &mut self.shared,
                CoreId(i as u8 + 1),
            ));
        }
        if busy || self.shared.is_busy() {
            self.idle_passes = 0;
        }
    }

    /// When the cores look round next, if they sleep.
    fn wakes_at(&self) -> Option<Clock> {
        // A live peer's time goes on by itself, so the cores have to look at it.
        let asleep = self.idle_passes > SETTLED && self.shared.counts_clocks();
        asleep.then(|| self.last_pass + (PASS << (self.idle_passes - SETTLED).min(LONGEST_NAP)))
    }

    /// Loads and stores by cores to data pages and loads from frame buffers, as the hardware counts them: per core.
    #[must_use]
    pub fn payload_accesses(&self) -> Vec<(u64, u64)> {
        self.shared.payload_accesses()
    }

    /// What each data core has free and in use.
    #[must_use]
    pub fn resources(&self) -> Vec<Resources> {
        self.data.iter().map(|core| core.resources()).collect()
    }

    /// Frame buffers in the pools: small ones, large ones.
    #[must_use]
    pub fn free_buffers(&self) -> (usize, usize) {
        self.shared.free_buffers()
    }

    /// What a driver has loaded into core `core`, from address 0 to the highest address written.
    #[must_use]
    pub fn loaded(&self, core: u8) -> &[u8] {
        self.shared.registers.loaded(core)
    }

    /// Controllers that the control core keeps, and commands it has not answered.
    #[must_use]
    pub fn associations(&self) -> (usize, usize) {
        self.control.associations()
    }
}

impl CardModel for FunctionalCard {
    fn name(&self) -> &'static str {
        "functional"
    }

    fn run(&mut self, until: Clock, pcie: &mut Port, ethernet: &mut Ethernet) {
        while self.clocks < until {
            if let Some(wake) = self.wakes_at() {
                let packet = pcie.inbox.front().map_or(until, |(at, _)| *at);
                let frame = ethernet.to_card.front().map_or(until, |(at, _)| *at);
                let next = wake
                    .min(packet)
                    .min(frame)
                    .min(until)
                    .next_multiple_of(PASS);
                if next > self.clocks {
                    self.clocks = next;
                    continue;
                }
                if packet <= self.clocks || frame <= self.clocks {
                    self.idle_passes = 0;
                }
            }
            self.shared.set_clock(self.clocks);
            self.take_packets(pcie);
            self.shared.receive(self.clocks, ethernet);
            self.pass();
            self.shared.run_engines(self.clocks, pcie, ethernet);
            self.clocks += PASS;
        }
    }

    fn clocks(&self) -> Clock {
        self.clocks
    }

    fn set_time(&mut self, source: TimeSource) {
        self.shared.set_time(source);
    }

    fn functional_mut(&mut self) -> Option<&mut FunctionalCard> {
        Some(self)
    }

    fn functional(&self) -> Option<&FunctionalCard> {
        Some(self)
    }

    fn idle_until(&self) -> Option<Clock> {
        self.wakes_at()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use sluice_driver::card::{Card, CardOptions, Firmware};

    use super::FunctionalCard;
    use crate::world::{World, card_device};

    #[test]
    fn the_driver_loads_the_control_core_and_the_data_cores_with_their_images() {
        let card = FunctionalCard::new(2, 1);
        let world = Rc::new(RefCell::new(World::new(Box::new(card))));
        let firmware = Firmware {
            control: &[1; 8],
            data: &[2; 4],
        };
        let device = card_device(&world);
        Card::boot(device, Some(firmware), CardOptions::default()).expect("boots");
        let mut world = world.borrow_mut();
        let card = world.card().functional().expect("it is");
        let loaded = [0, 1, 2].map(|core| card.loaded(core));
        assert_eq!(loaded, [&[1; 8][..], &[2; 4], &[2; 4]]);
    }
}
