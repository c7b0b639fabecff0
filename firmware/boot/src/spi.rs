//! Driver of a serial NOR flash chip: JEDEC commands, 3 address bytes, so up to 16 MiB.
//!
//! Under it is [`Commands`], a way to get one command to the chip: [`OverSpi`] over any `embedded-hal` SPI device, with one data
//! line, or the card's own controller, with four. Over four lines is read what the chip says that it can give so (`quad`).
//! Program and erase are posted: [`Flash::busy`] reads the chip's status.

mod quad;

use embedded_hal::spi::{Operation, SpiDevice};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use crate::flash::Flash;
use crate::layout::{FLASH_SIZE, PAGE, SECTOR};

const WRITE_ENABLE: u8 = 0x06;
const READ_STATUS: u8 = 0x05;
const READ_ID: u8 = 0x9F;
const FAST_READ: u8 = 0x0B;
const PAGE_PROGRAM: u8 = 0x02;
const SECTOR_ERASE: u8 = 0x20;
const ENABLE_RESET: u8 = 0x66;
const RESET: u8 = 0x99;
/// Status: programming or erasing.
const BUSY: u8 = 1 << 0;
/// Status: the next program or erase is taken.
const WRITE_ENABLED: u8 = 1 << 1;

/// One command of the chip at a time, chip select around it.
pub trait Commands {
    /// It did not get there.
    type Error: core::fmt::Debug;
    /// Data can come over four lines.
    const QUAD: bool;

    /// `opcode`, then the address if there is one, then `dummies` bytes of idle clocks, then data from the chip, over four lines
    /// if `quad` ([`Commands::QUAD`] only).
    ///
    /// # Errors
    /// By implementation.
    fn read(
        &mut self,
        opcode: u8,
        address: Option<u32>,
        dummies: u8,
        quad: bool,
        data: &mut [u8],
    ) -> Result<(), Self::Error>;

    /// `opcode`, then the address if there is one, then data to the chip.
    ///
    /// # Errors
    /// By implementation.
    fn write(&mut self, opcode: u8, address: Option<u32>, data: &[u8]) -> Result<(), Self::Error>;
}

/// Commands over any SPI device, one line in each direction.
pub struct OverSpi<D>(pub D);

impl<D: SpiDevice> Commands for OverSpi<D> {
    type Error = D::Error;
    const QUAD: bool = false;

    fn read(
        &mut self,
        opcode: u8,
        address: Option<u32>,
        dummies: u8,
        _: bool,
        data: &mut [u8],
    ) -> Result<(), D::Error> {
        let (head, len) = head(opcode, address, dummies);
        self.0
            .transaction(&mut [Operation::Write(&head[..len]), Operation::Read(data)])
    }

    fn write(&mut self, opcode: u8, address: Option<u32>, data: &[u8]) -> Result<(), D::Error> {
        let (head, len) = head(opcode, address, 0);
        self.0
            .transaction(&mut [Operation::Write(&head[..len]), Operation::Write(data)])
    }
}

fn head(opcode: u8, address: Option<u32>, dummies: u8) -> ([u8; 8], usize) {
    let mut head = [0; 8];
    head[0] = opcode;
    let mut len = 1;
    if let Some(address) = address {
        head[1..4].copy_from_slice(&address.to_be_bytes()[1..]);
        len = 4;
    }
    (head, len + usize::from(dummies.min(4)))
}

/// Why an access failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpiNorError<E> {
    /// The command did not get to the chip.
    Bus(E),
    /// Beyond the chip's end, not at a sector, or across a page.
    Range,
    /// The chip does not take programs and erases: it is protected, or not there.
    NotWritable,
    /// No chip answers, or one that is too small: its identification.
    NoChip([u8; 3]),
}

impl<E: core::fmt::Debug> NorFlashError for SpiNorError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Range => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// A chip.
pub struct SpiNor<C> {
    commands: C,
    size: u32,
    /// The read over four lines, if there is one.
    quad: Option<u8>,
}

impl<C: Commands> SpiNor<C> {
    /// Resets the chip, which may have been left in the middle of anything, asks it who it is, and has it enable its four lines if
    /// it and [`Commands`] have them.
    ///
    /// # Errors
    /// [`SpiNorError::NoChip`] if nothing answers that is large enough, [`SpiNorError::Bus`].
    pub fn open(mut commands: C) -> Result<Self, SpiNorError<C::Error>> {
        for opcode in [ENABLE_RESET, RESET] {
            commands
                .write(opcode, None, &[])
                .map_err(SpiNorError::Bus)?;
        }
        let mut id = [0; 3];
        // For some 30 us after a reset the chip answers nothing.
        for _ in 0..100 {
            commands
                .read(READ_ID, None, 0, false, &mut id)
                .map_err(SpiNorError::Bus)?;
            let size = 1u32.checked_shl(id[2].into()).unwrap_or(0);
            if !matches!(id[0], 0 | 0xFF) && (FLASH_SIZE..=16 << 20).contains(&size) {
                let quad = match C::QUAD {
                    true => quad::enable(&mut commands).map_err(SpiNorError::Bus)?,
                    false => None,
                };
                return Ok(Self {
                    commands,
                    size,
                    quad,
                });
            }
        }
        Err(SpiNorError::NoChip(id))
    }

    /// It is read over four lines.
    #[must_use]
    pub fn is_quad(&self) -> bool {
        self.quad.is_some()
    }

    /// Gives back what is under it.
    pub fn release(self) -> C {
        self.commands
    }

    /// What is under it.
    pub fn commands(&mut self) -> &mut C {
        &mut self.commands
    }

    fn status(&mut self) -> Result<u8, SpiNorError<C::Error>> {
        let mut status = [0];
        self.commands
            .read(READ_STATUS, None, 0, false, &mut status)
            .map_err(SpiNorError::Bus)?;
        Ok(status[0])
    }

    /// Lets the next program or erase happen, and makes sure that the chip has understood.
    fn enable_write(&mut self) -> Result<(), SpiNorError<C::Error>> {
        self.commands
            .write(WRITE_ENABLE, None, &[])
            .map_err(SpiNorError::Bus)?;
        if self.status()? & (WRITE_ENABLED | BUSY) == WRITE_ENABLED {
            Ok(())
        } else {
            Err(SpiNorError::NotWritable)
        }
    }

    fn within(&self, at: u32, len: usize) -> Result<(), SpiNorError<C::Error>> {
        let end = u64::from(at) + len as u64;
        if end <= u64::from(self.size) {
            Ok(())
        } else {
            Err(SpiNorError::Range)
        }
    }
}

impl<C: Commands> ErrorType for SpiNor<C> {
    type Error = SpiNorError<C::Error>;
}

impl<C: Commands> ReadNorFlash for SpiNor<C> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.within(offset, bytes.len())?;
        let opcode = self.quad.unwrap_or(FAST_READ);
        self.commands
            .read(opcode, Some(offset), 1, self.quad.is_some(), bytes)
            .map_err(SpiNorError::Bus)
    }

    fn capacity(&self) -> usize {
        self.size as usize
    }
}

impl<C: Commands> NorFlash for SpiNor<C> {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.within(from, SECTOR as usize)?;
        if !from.is_multiple_of(SECTOR) || to != from + SECTOR {
            return Err(SpiNorError::Range);
        }
        self.enable_write()?;
        self.commands
            .write(SECTOR_ERASE, Some(from), &[])
            .map_err(SpiNorError::Bus)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.within(offset, bytes.len())?;
        if offset as usize % PAGE as usize + bytes.len() > PAGE as usize {
            return Err(SpiNorError::Range);
        }
        self.enable_write()?;
        self.commands
            .write(PAGE_PROGRAM, Some(offset), bytes)
            .map_err(SpiNorError::Bus)
    }
}

impl<C: Commands> Flash for SpiNor<C> {
    fn busy(&mut self) -> Result<bool, Self::Error> {
        // All ones: no chip drives the line.
        match self.status()? {
            0xFF => Err(SpiNorError::NoChip([0xFF; 3])),
            status => Ok(status & BUSY != 0),
        }
    }
}
