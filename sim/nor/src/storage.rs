//! The chip behind `embedded-storage`'s traits, posted as `sluice_boot::Flash` allows.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use sluice_boot::Flash;

use crate::{Nor, PAGE, SECTOR};

/// Why an access failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NorError {
    /// There is no power.
    NoPower,
    /// The chip is programming or erasing.
    Busy,
    /// Beyond the end, not at a sector, or across a page.
    Range,
}

impl NorFlashError for NorError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Range => NorFlashErrorKind::OutOfBounds,
            Self::NoPower | Self::Busy => NorFlashErrorKind::Other,
        }
    }
}

impl Nor {
    fn ready(&self, at: u32, len: usize) -> Result<usize, NorError> {
        if !self.is_powered() {
            return Err(NorError::NoPower);
        }
        if self.is_busy() {
            return Err(NorError::Busy);
        }
        let at = at as usize;
        if at.checked_add(len).is_none_or(|end| end > self.size()) {
            return Err(NorError::Range);
        }
        Ok(at)
    }

    /// The power may have failed in what was just started.
    fn outcome(&self) -> Result<(), NorError> {
        if self.is_powered() {
            Ok(())
        } else {
            Err(NorError::NoPower)
        }
    }
}

impl ErrorType for Nor {
    type Error = NorError;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorError> {
        let at = self.ready(offset, bytes.len())?;
        self.read_at(at, bytes);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.size()
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorError> {
        let at = self.ready(from, to.saturating_sub(from) as usize)?;
        if !at.is_multiple_of(SECTOR) || to != from + SECTOR as u32 {
            return Err(NorError::Range);
        }
        self.erase_at(at);
        self.outcome()
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorError> {
        let at = self.ready(offset, bytes.len())?;
        if at % PAGE + bytes.len() > PAGE {
            return Err(NorError::Range);
        }
        self.program_at(at, bytes);
        self.outcome()
    }
}

impl Flash for Nor {
    fn busy(&mut self) -> Result<bool, NorError> {
        self.outcome()?;
        Ok(self.is_busy())
    }
}
