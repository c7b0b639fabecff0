//! The pins behind `embedded-hal`: one line in each direction, mode 0. Time does not pass; that is for whoever has the chip.

use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

use crate::SerialNor;

impl ErrorType for SerialNor {
    type Error = core::convert::Infallible;
}

impl SpiDevice for SerialNor {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Self::Error> {
        self.pins(0, true, false, 0);
        for operation in operations {
            match operation {
                Operation::Read(bytes) => bytes.iter_mut().for_each(|b| *b = self.byte(0xFF)),
                Operation::Write(bytes) => bytes.iter().for_each(|b| {
                    self.byte(*b);
                }),
                Operation::Transfer(read, write) => {
                    for i in 0..read.len().max(write.len()) {
                        let byte = self.byte(write.get(i).copied().unwrap_or(0xFF));
                        if let Some(read) = read.get_mut(i) {
                            *read = byte;
                        }
                    }
                }
                Operation::TransferInPlace(bytes) => {
                    bytes.iter_mut().for_each(|b| *b = self.byte(*b));
                }
                Operation::DelayNs(_) => {}
            }
        }
        self.pins(0, false, false, 0);
        Ok(())
    }
}

impl SerialNor {
    fn byte(&mut self, send: u8) -> u8 {
        let mut received = 0;
        for bit in (0..8).rev() {
            let io = send >> bit & 1;
            let lines = self.pins(0, true, false, io);
            received = received << 1 | lines >> 1 & 1;
            self.pins(0, true, true, io);
        }
        self.pins(0, true, false, 0);
        received
    }
}
