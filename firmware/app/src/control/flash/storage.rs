//! The HAL's flash and fuses behind the traits that `sluice-boot` asks for.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use sluice_boot::fuses::{FuseError, Fuses};
use sluice_boot::layout::SECTOR;
use sluice_hal::flash::{FlashPort, FusePort, StorageFault};

/// The chip did not do as it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault;

impl From<StorageFault> for Fault {
    fn from(_: StorageFault) -> Self {
        Self
    }
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// The chip, posted as `sluice_boot::Flash` allows.
pub struct PortFlash<'a>(pub &'a mut dyn FlashPort);

impl ErrorType for PortFlash<'_> {
    type Error = Fault;
}

impl ReadNorFlash for PortFlash<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        Ok(self.0.read(offset, bytes)?)
    }

    fn capacity(&self) -> usize {
        self.0.capacity() as usize
    }
}

impl NorFlash for PortFlash<'_> {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        if to != from + SECTOR {
            return Err(Fault);
        }
        Ok(self.0.erase(from)?)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.0.program(offset, bytes)?)
    }
}

impl sluice_boot::Flash for PortFlash<'_> {
    fn busy(&mut self) -> Result<bool, Fault> {
        Ok(self.0.busy()?)
    }
}

/// The fuses.
pub struct PortFuses<'a>(pub &'a mut dyn FusePort);

impl Fuses for PortFuses<'_> {
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

    fn raise_security_version(&mut self, to: u32) -> Result<(), FuseError> {
        self.0.raise_security_version(to).map_err(|_| FuseError)
    }

    fn raise_key_generation(&mut self, to: u32) -> Result<(), FuseError> {
        self.0.raise_key_generation(to).map_err(|_| FuseError)
    }
}
