//! Flash and fuses of the functional card, and the boot program over them.

use sluice_boot::check::Sink;
use sluice_boot::image::boards;
use sluice_boot::layout::FLASH_SIZE;
use sluice_boot::{Flash, Fuses, ImageKind, start};
use sluice_hal::flash::{FlashPort, FusePort, StorageFault};
use sluice_nor::{FuseBank, Nor, Timing};
use sluice_regs::{MAP_VERSION, bar0_regs as r};

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};

/// What keeps its content over resets.
#[derive(Clone)]
pub struct Storage {
    /// The chip.
    pub chip: Chip,
    /// The fuses.
    pub fuses: Bank,
}

/// The flash chip.
#[derive(Clone)]
pub struct Chip(pub Nor);

/// The fuses.
#[derive(Clone)]
pub struct Bank(pub FuseBank);

impl Storage {
    /// A card that left no factory: blank flash with typical times, no root key.
    pub fn blank(seed: u64) -> Self {
        Self {
            chip: Chip(Nor::new(FLASH_SIZE as usize, Timing::TYPICAL, seed)),
            fuses: Bank(FuseBank::new(boards::SIMULATED, MAP_VERSION, [0; 32])),
        }
    }

    /// What the boot program does; time does not pass here while it works. The status, and both images if there are any.
    pub fn boot(&mut self) -> (r::BootStatus, Option<[Vec<u8>; 2]>) {
        let nor = &mut self.chip.0;
        let mut memory = Memory::default();
        let report = start::start(&mut Waiting(nor), &mut self.fuses.0, &mut memory);
        let code = |slot: usize| report.refused[slot].map_or(0, |refusal| refusal.code());
        let mut status = r::BootStatus::default();
        status.set_source(report.started.map_or(3, |started| 1 + started.slot as u8));
        status.set_trial(report.started.is_some_and(|started| started.trial));
        status.set_refused_a(code(0));
        status.set_refused_b(code(1));
        let images = report.started.map(|started| {
            let [control, data] = started.package.images;
            let mut images = memory.images;
            // What a slot that was refused has left behind the end does not count.
            images[0].truncate((control.load + control.len) as usize);
            images[1].truncate((data.load + data.len) as usize);
            images
        });
        (status, images)
    }
}

/// Cores' memories, for the boot program to fill.
#[derive(Default)]
struct Memory {
    images: [Vec<u8>; 2],
}

impl Sink for Memory {
    fn put(&mut self, image: ImageKind, at: u32, bytes: &[u8]) {
        let image = &mut self.images[image as usize];
        let end = at as usize + bytes.len();
        image.resize(end.max(image.len()), 0);
        image[at as usize..end].copy_from_slice(bytes);
    }
}

/// A chip for somebody who waits: whoever asks whether it is busy finds that it is done.
struct Waiting<'a>(&'a mut Nor);

impl Flash for Waiting<'_> {
    fn busy(&mut self) -> Result<bool, Self::Error> {
        if let Some(until) = self.0.busy_until() {
            self.0.set_time(until);
        }
        self.0.busy()
    }
}

impl embedded_storage::nor_flash::ErrorType for Waiting<'_> {
    type Error = sluice_nor::NorError;
}

impl ReadNorFlash for Waiting<'_> {
    const READ_SIZE: usize = Nor::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl NorFlash for Waiting<'_> {
    const WRITE_SIZE: usize = Nor::WRITE_SIZE;
    const ERASE_SIZE: usize = Nor::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.write(offset, bytes)
    }
}

impl FlashPort for Chip {
    fn capacity(&self) -> u32 {
        self.0.size() as u32
    }

    fn read(&mut self, at: u32, into: &mut [u8]) -> Result<(), StorageFault> {
        self.0.read(at, into).map_err(|_| StorageFault)
    }

    fn program(&mut self, at: u32, from: &[u8]) -> Result<(), StorageFault> {
        self.0.write(at, from).map_err(|_| StorageFault)
    }

    fn erase(&mut self, at: u32) -> Result<(), StorageFault> {
        let to = at + sluice_nor::SECTOR as u32;
        NorFlash::erase(&mut self.0, at, to).map_err(|_| StorageFault)
    }

    fn busy(&mut self) -> Result<bool, StorageFault> {
        Flash::busy(&mut self.0).map_err(|_| StorageFault)
    }
}

impl FusePort for Bank {
    fn board(&self) -> u32 {
        self.0.board()
    }

    fn map_version(&self) -> u32 {
        self.0.map_version()
    }

    fn root_key(&self) -> [u8; 32] {
        self.0.root_key()
    }

    fn security_version(&self) -> u32 {
        self.0.security_version()
    }

    fn key_generation(&self) -> u32 {
        self.0.key_generation()
    }

    fn raise_security_version(&mut self, to: u32) -> Result<(), StorageFault> {
        Fuses::raise_security_version(&mut self.0, to).map_err(|_| StorageFault)
    }

    fn raise_key_generation(&mut self, to: u32) -> Result<(), StorageFault> {
        Fuses::raise_key_generation(&mut self.0, to).map_err(|_| StorageFault)
    }
}
