//! A serial NOR flash chip of up to 16 MiB with 256-byte pages and 4 KiB sectors: commands that all common makers share (JESD216;
//! here as in the data sheet of the Winbond W25Q32JV, section 8).

use embedded_hal::spi::Operation;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use sluice_boot::Flash;
use sluice_boot::layout::{FLASH_SIZE, PAGE, SECTOR};

use crate::controller::QuadDevice;

const WRITE_ENABLE: u8 = 0x06;
const READ_STATUS: u8 = 0x05;
const READ_ID: u8 = 0x9F;
const QUAD_READ: u8 = 0x6B;
const PROGRAM: u8 = 0x02;
const ERASE_SECTOR: u8 = 0x20;
const ENABLE_RESET: u8 = 0x66;
const RESET: u8 = 0x99;

/// Status register: programming or erasing; writes enabled.
const BUSY: u8 = 1;
const WRITES_ENABLED: u8 = 2;
/// After a reset command the chip is away for this long.
const RESET_NS: u32 = 30_000;

/// Why an access failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChipError<E> {
    /// The device's.
    Device(E),
    /// Beyond the end, not one whole sector, or across a page.
    Range,
    /// It does not take write enable: no chip, no power, or protected.
    NotWritable,
    /// Its identification: none, or of a chip smaller than the card needs.
    Unknown([u8; 3]),
}

impl<E: core::fmt::Debug> NorFlashError for ChipError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Range => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// The chip. Its programs and erases are posted: [`Flash::busy`] says when they are over.
pub struct Chip<D> {
    device: D,
    size: u32,
}

impl<D: QuadDevice> Chip<D> {
    /// Brings the chip to a known state, whatever it was doing, and looks what it is.
    ///
    /// # Errors
    /// [`ChipError::Unknown`], or the device's.
    pub fn open(mut device: D) -> Result<Self, ChipError<D::Error>> {
        command(&mut device, &mut [Operation::Write(&[ENABLE_RESET])])?;
        command(
            &mut device,
            &mut [Operation::Write(&[RESET]), Operation::DelayNs(RESET_NS)],
        )?;
        let mut id = [0; 3];
        command(
            &mut device,
            &mut [Operation::Write(&[READ_ID]), Operation::Read(&mut id)],
        )?;
        // The third byte is the logarithm of the size for all chips of this range; three address bytes reach 16 MiB.
        let size = match id {
            [0 | 0xFF, ..] => None,
            [_, _, log @ 16..=24] => Some(1u32 << log),
            _ => None,
        };
        match size {
            Some(size) if size >= FLASH_SIZE => Ok(Self { device, size }),
            _ => Err(ChipError::Unknown(id)),
        }
    }

    /// The device, for other things.
    pub const fn device(&mut self) -> &mut D {
        &mut self.device
    }

    fn check(&self, at: u32, len: usize) -> Result<(), ChipError<D::Error>> {
        let fits = (at as usize)
            .checked_add(len)
            .is_some_and(|end| end <= self.size as usize);
        if fits { Ok(()) } else { Err(ChipError::Range) }
    }

    fn status(&mut self) -> Result<u8, ChipError<D::Error>> {
        let mut status = [0];
        let mut operations = [
            Operation::Write(&[READ_STATUS]),
            Operation::Read(&mut status),
        ];
        command(&mut self.device, &mut operations)?;
        Ok(status[0])
    }

    fn enable_writes(&mut self) -> Result<(), ChipError<D::Error>> {
        command(&mut self.device, &mut [Operation::Write(&[WRITE_ENABLE])])?;
        // A chip that is not there reads as all ones.
        match self.status()? {
            0xFF => Err(ChipError::NotWritable),
            status if status & WRITES_ENABLED == 0 => Err(ChipError::NotWritable),
            _ => Ok(()),
        }
    }
}

fn command<D: QuadDevice>(
    device: &mut D,
    operations: &mut [Operation<'_, u8>],
) -> Result<(), ChipError<D::Error>> {
    device.transaction(operations).map_err(ChipError::Device)
}

/// A command with its address.
const fn addressed(command: u8, at: u32) -> [u8; 4] {
    let [_, a, b, c] = at.to_be_bytes();
    [command, a, b, c]
}

impl<D: QuadDevice> ErrorType for Chip<D>
where
    D::Error: core::fmt::Debug,
{
    type Error = ChipError<D::Error>;
}

impl<D: QuadDevice> ReadNorFlash for Chip<D> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, at: u32, into: &mut [u8]) -> Result<(), Self::Error> {
        self.check(at, into.len())?;
        let [command, a, b, c] = addressed(QUAD_READ, at);
        // Eight dummy clocks are one byte on one line.
        self.device
            .read_quad(&[command, a, b, c, 0], into)
            .map_err(ChipError::Device)
    }

    fn capacity(&self) -> usize {
        self.size as usize
    }
}

impl<D: QuadDevice> NorFlash for Chip<D> {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.check(from, SECTOR as usize)?;
        if !from.is_multiple_of(SECTOR) || to != from + SECTOR {
            return Err(ChipError::Range);
        }
        self.enable_writes()?;
        let head = addressed(ERASE_SECTOR, from);
        command(&mut self.device, &mut [Operation::Write(&head)])
    }

    fn write(&mut self, at: u32, from: &[u8]) -> Result<(), Self::Error> {
        self.check(at, from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        if at % PAGE + from.len() as u32 > PAGE {
            return Err(ChipError::Range);
        }
        self.enable_writes()?;
        let head = addressed(PROGRAM, at);
        command(
            &mut self.device,
            &mut [Operation::Write(&head), Operation::Write(from)],
        )
    }
}

impl<D: QuadDevice> Flash for Chip<D> {
    fn busy(&mut self) -> Result<bool, Self::Error> {
        Ok(self.status()? & BUSY != 0)
    }
}
