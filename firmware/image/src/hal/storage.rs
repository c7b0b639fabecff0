//! Flash and fuses for the control core's firmware.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use sluice_boot::layout::SECTOR;
use sluice_boot::{Flash, Fuses};
use sluice_hal::flash::{BootReport, FlashPort, FusePort, StorageFault};

use crate::flash::{CardFuses, Chip, Controller, boot_status};

/// The chip, once somebody has asked for it.
pub struct Storage {
    chip: Option<OwnChip>,
    fuses: OwnFuses,
    /// There is no chip: it is not looked for at every call.
    missing: bool,
}

struct OwnChip(Chip);
struct OwnFuses(CardFuses);

impl Storage {
    pub const fn new() -> Self {
        Self {
            chip: None,
            fuses: OwnFuses(CardFuses),
            missing: false,
        }
    }

    /// The chip is reset when it is asked for first, which the boot program did too: nothing of it goes on at that time.
    pub fn open(&mut self) -> Option<sluice_hal::flash::Storage<'_>> {
        if self.chip.is_none() && !self.missing {
            self.chip = Chip::open(Controller).ok().map(OwnChip);
            self.missing = self.chip.is_none();
        }
        let status = boot_status();
        Some(sluice_hal::flash::Storage {
            flash: self.chip.as_mut()?,
            fuses: &mut self.fuses,
            boot: BootReport {
                slot: match status.source() {
                    1 => Some(0),
                    2 => Some(1),
                    _ => None,
                },
                refused: [status.refused_a(), status.refused_b()],
            },
        })
    }
}

impl FlashPort for OwnChip {
    fn capacity(&self) -> u32 {
        self.0.capacity() as u32
    }

    fn read(&mut self, at: u32, into: &mut [u8]) -> Result<(), StorageFault> {
        self.0.read(at, into).map_err(|_| StorageFault)
    }

    fn program(&mut self, at: u32, from: &[u8]) -> Result<(), StorageFault> {
        self.0.write(at, from).map_err(|_| StorageFault)
    }

    fn erase(&mut self, at: u32) -> Result<(), StorageFault> {
        self.0.erase(at, at + SECTOR).map_err(|_| StorageFault)
    }

    fn busy(&mut self) -> Result<bool, StorageFault> {
        self.0.busy().map_err(|_| StorageFault)
    }
}

impl FusePort for OwnFuses {
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
