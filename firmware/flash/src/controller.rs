//! The serial flash controller (docs/card.md, section 7) as an SPI device with one chip select.

use core::convert::Infallible;

use embedded_hal::spi::{ErrorType, Operation, SpiDevice};
use sluice_regs::bar0_regs::{
    FLASH_BUFFER_WORD_OFFSET, FLASH_STATUS_OFFSET, FLASH_TRANSFER_OFFSET, FlashStatus,
    FlashTransfer,
};

/// Bytes of the controller's buffer.
const BUFFER: usize = 256;

/// The card's registers, by byte offset in BAR0.
pub trait Registers {
    /// Reads.
    fn read(&mut self, offset: u32) -> u32;
    /// Writes.
    fn write(&mut self, offset: u32, value: u32);
    /// Waits about this long; the clocks of a core are time enough where nothing else is known.
    fn delay_ns(&mut self, ns: u32) {
        for _ in 0..ns / 4 {
            core::hint::spin_loop();
        }
    }
}

/// A device that can also receive on four lines.
pub trait QuadDevice: SpiDevice {
    /// Sends `head` on one line and receives `into` on four, as one transaction.
    ///
    /// # Errors
    /// The device's.
    fn read_quad(&mut self, head: &[u8], into: &mut [u8]) -> Result<(), Self::Error>;
}

/// The controller, with its one chip.
pub struct Controller<R>(R);

impl<R: Registers> Controller<R> {
    /// Whoever has it is the only user of the controller.
    pub const fn new(registers: R) -> Self {
        Self(registers)
    }

    /// The registers, for other things.
    pub const fn registers(&mut self) -> &mut R {
        &mut self.0
    }

    /// One transfer; the chip stays selected.
    fn transfer(&mut self, count: usize, mut what: FlashTransfer) {
        what.set_count(count as u16);
        what.set_hold(true);
        self.start(what);
    }

    fn start(&mut self, what: FlashTransfer) {
        self.0.write(FLASH_TRANSFER_OFFSET, what.0);
        while FlashStatus(self.0.read(FLASH_STATUS_OFFSET)).busy() {}
    }

    fn fill(&mut self, bytes: &[u8]) {
        for (word, at) in bytes.chunks(4).zip((FLASH_BUFFER_WORD_OFFSET..).step_by(4)) {
            let mut four = [0; 4];
            four[..word.len()].copy_from_slice(word);
            self.0.write(at, u32::from_le_bytes(four));
        }
    }

    fn drain(&mut self, into: &mut [u8]) {
        for (word, at) in into
            .chunks_mut(4)
            .zip((FLASH_BUFFER_WORD_OFFSET..).step_by(4))
        {
            let four = self.0.read(at).to_le_bytes();
            word.copy_from_slice(&four[..word.len()]);
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut what = FlashTransfer(0);
        what.set_send(true);
        for part in bytes.chunks(BUFFER) {
            self.fill(part);
            self.transfer(part.len(), what);
        }
    }

    fn receive(&mut self, into: &mut [u8], quad: bool) {
        let mut what = FlashTransfer(0);
        what.set_receive(true);
        what.set_quad(quad);
        for part in into.chunks_mut(BUFFER) {
            self.transfer(part.len(), what);
            self.drain(part);
        }
    }

    fn exchange(&mut self, bytes: &mut [u8]) {
        let mut what = FlashTransfer(0);
        what.set_send(true);
        what.set_receive(true);
        for part in bytes.chunks_mut(BUFFER) {
            self.fill(part);
            self.transfer(part.len(), what);
            self.drain(part);
        }
    }

    /// What is sent beyond what is received is lost, and the other way round zeros are sent.
    fn exchange_two(&mut self, into: &mut [u8], from: &[u8]) {
        let mut part = [0; BUFFER];
        let len = into.len().max(from.len());
        for at in (0..len).step_by(BUFFER) {
            let n = (len - at).min(BUFFER);
            part[..n].fill(0);
            let out = from.get(at..).unwrap_or(&[]);
            let out = &out[..out.len().min(n)];
            part[..out.len()].copy_from_slice(out);
            self.exchange(&mut part[..n]);
            let here = into.get_mut(at..).unwrap_or(&mut []);
            let got = here.len().min(n);
            here[..got].copy_from_slice(&part[..got]);
        }
    }

    fn deselect(&mut self) {
        self.start(FlashTransfer(0));
    }
}

impl<R> ErrorType for Controller<R> {
    type Error = Infallible;
}

impl<R: Registers> SpiDevice for Controller<R> {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        for operation in operations {
            match operation {
                Operation::Read(into) => self.receive(into, false),
                Operation::Write(from) => self.send(from),
                Operation::Transfer(into, from) => self.exchange_two(into, from),
                Operation::TransferInPlace(bytes) => self.exchange(bytes),
                Operation::DelayNs(ns) => self.0.delay_ns(*ns),
            }
        }
        self.deselect();
        Ok(())
    }
}

impl<R: Registers> QuadDevice for Controller<R> {
    fn read_quad(&mut self, head: &[u8], into: &mut [u8]) -> Result<(), Infallible> {
        self.send(head);
        self.receive(into, true);
        self.deselect();
        Ok(())
    }
}
