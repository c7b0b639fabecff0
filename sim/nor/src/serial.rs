//! The chip at its pins: commands over one or four data lines, clock by clock, as the flash controller's RTL drives them, and
//! byte by byte behind `embedded-hal`'s `SpiDevice`.
//!
//! Mode 0 (CPOL 0, CPHA 0): the chip takes its inputs at the rising edge and changes its outputs at the falling one. A command
//! takes effect when chip select goes up, and only if it ended with a whole byte, as the data sheet has it.
//!
//! | opcode | command |
//! |---|---|
//! | 06h, 04h | write enable, write disable |
//! | 05h | read status register 1: bit 0 busy, bit 1 write enable |
//! | 9Fh | identification: EFh, 40h, log2 of the size |
//! | 03h, 0Bh, 6Bh | read; with 8 dummy clocks; with 8 dummy clocks and data over four lines |
//! | 02h, 32h | page program; with data over four lines |
//! | 20h | erase 4 KiB |
//! | 66h, 99h | reset: both, one after the other |
//!
//! While the chip is busy it answers the status register only. Not there: addresses of four bytes, dual lines, QPI, block erases,
//! protection bits, the quad enable bit (parts with a Q suffix have it set).

use crate::{Nor, PAGE};

/// Bits of status register 1.
const BUSY: u8 = 1 << 0;
const WRITE_ENABLED: u8 = 1 << 1;

/// What the chip does with the bytes of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not selected, or the command is over or unknown.
    Deaf,
    Opcode,
    /// Address bytes to come.
    Address(u8),
    /// A byte of dummy clocks.
    Dummy,
    /// The host sends data.
    Take,
    /// The chip sends data.
    Give,
}

/// A chip with pins.
#[derive(Clone, Debug)]
pub struct Serial {
    /// The array.
    pub nor: Nor,
    phase: Phase,
    opcode: u8,
    address: usize,
    data: Vec<u8>,
    given: usize,
    write_enabled: bool,
    reset_armed: bool,
    /// The commands since power came, for tests: opcode and address.
    log: Vec<(u8, usize)>,
    // ---- pins ----
    selected: bool,
    clock: bool,
    shift: u8,
    bits: u8,
    out: u8,
    out_bits: u8,
}

impl Serial {
    /// The chip as it comes from power up.
    #[must_use]
    pub fn new(nor: Nor) -> Self {
        Self {
            nor,
            phase: Phase::Deaf,
            opcode: 0,
            address: 0,
            data: Vec::new(),
            given: 0,
            write_enabled: false,
            reset_armed: false,
            log: Vec::new(),
            selected: false,
            clock: false,
            shift: 0,
            bits: 0,
            out: 0,
            out_bits: 0,
        }
    }

    /// Commands that were ended by chip select: opcode and address (0 if it has none).
    #[must_use]
    pub fn commands(&self) -> &[(u8, usize)] {
        &self.log
    }

    /// Chip select goes down.
    pub fn select(&mut self) {
        self.phase = if self.nor.is_powered() {
            Phase::Opcode
        } else {
            Phase::Deaf
        };
        (self.opcode, self.address, self.given) = (0, 0, 0);
        self.data.clear();
        (self.shift, self.bits, self.out_bits) = (0, 0, 0);
        self.selected = true;
    }

    /// Chip select goes up; `whole`: the last byte was.
    pub fn deselect(&mut self, whole: bool) {
        if !std::mem::take(&mut self.selected) {
            return;
        }
        let complete = match self.phase {
            Phase::Deaf | Phase::Opcode | Phase::Address(_) | Phase::Dummy => {
                matches!(self.opcode, 0x06 | 0x04 | 0x66 | 0x99) && self.phase == Phase::Deaf
            }
            Phase::Take => true,
            Phase::Give => false,
        };
        if self.opcode != 0 {
            self.log.push((self.opcode, self.address));
        }
        let armed = std::mem::replace(&mut self.reset_armed, false);
        self.phase = Phase::Deaf;
        if !(complete && whole && self.nor.is_powered()) {
            return;
        }
        match self.opcode {
            0x06 => self.write_enabled = true,
            0x04 => self.write_enabled = false,
            0x66 => self.reset_armed = true,
            0x99 if armed => self.reset(),
            0x02 | 0x32 if self.write_enabled && !self.data.is_empty() => {
                self.write_enabled = false;
                // More than a page: the last bytes count, each where it wraps to.
                let at = self.address + (self.data.len().saturating_sub(PAGE));
                let page = self.address / PAGE * PAGE;
                let last = self.data.split_off(self.data.len().saturating_sub(PAGE));
                self.nor.program_at(page + at % PAGE, &last);
            }
            0x20 if self.write_enabled => {
                self.write_enabled = false;
                self.nor.erase_at(self.address);
            }
            _ => {}
        }
    }

    /// A reset in the middle of an erase is as good as a power cut for the sector.
    fn reset(&mut self) {
        self.write_enabled = false;
        if self.nor.is_busy() {
            self.nor.cut_power();
            self.nor.power_on();
        }
    }

    /// A byte from the host.
    fn byte_in(&mut self, byte: u8) {
        match self.phase {
            Phase::Opcode => {
                self.opcode = byte;
                let busy = self.nor.is_busy();
                self.phase = match byte {
                    0x05 => Phase::Give,
                    0x66 | 0x99 => Phase::Deaf,
                    _ if busy => {
                        self.opcode = 0;
                        Phase::Deaf
                    }
                    0x9F => Phase::Give,
                    0x06 | 0x04 => Phase::Deaf,
                    0x03 | 0x0B | 0x6B | 0x02 | 0x32 | 0x20 => Phase::Address(3),
                    _ => {
                        self.opcode = 0;
                        Phase::Deaf
                    }
                };
            }
            Phase::Address(left) => {
                self.address = self.address << 8 | usize::from(byte);
                self.phase = match (left, self.opcode) {
                    (2.., _) => Phase::Address(left - 1),
                    (_, 0x0B | 0x6B) => Phase::Dummy,
                    (_, 0x03) => Phase::Give,
                    _ => Phase::Take,
                };
                if left == 1 {
                    self.address %= self.nor.size();
                }
            }
            Phase::Dummy => self.phase = Phase::Give,
            Phase::Take => self.data.push(byte),
            Phase::Deaf | Phase::Give => {}
        }
    }

    /// The next byte to the host.
    fn byte_out(&mut self) -> u8 {
        let at = self.given;
        self.given += 1;
        match self.opcode {
            0x05 => {
                let busy = if self.nor.is_busy() { BUSY } else { 0 };
                busy | if self.write_enabled { WRITE_ENABLED } else { 0 }
            }
            0x9F => {
                let size = self.nor.size().ilog2() as u8;
                [0xEF, 0x40, size].get(at).copied().unwrap_or(0)
            }
            _ => {
                let mut byte = [0];
                self.nor.read_at(self.address + at, &mut byte);
                byte[0]
            }
        }
    }

    /// Data lines in this phase.
    fn lanes(&self) -> u8 {
        let quad = matches!(
            (self.phase, self.opcode),
            (Phase::Give, 0x6B) | (Phase::Take, 0x32)
        );
        if quad { 4 } else { 1 }
    }

    /// The pins as the controller drives them; `io`: its four data lines, bit 0 is the one that commands come on. The answer:
    /// what the chip drives, and on which lines.
    pub fn pins(&mut self, cs_n: bool, clock: bool, io: u8) -> (u8, u8) {
        if cs_n {
            self.deselect(self.bits == 0);
            self.clock = clock;
            return (0, 0);
        }
        if !self.selected {
            self.select();
            self.clock = clock;
            return (0, 0);
        }
        let rising = clock && !self.clock;
        let falling = !clock && self.clock;
        self.clock = clock;
        if rising && self.phase != Phase::Give {
            let lanes = self.lanes();
            self.shift = self.shift << lanes | io & ((1 << lanes) - 1);
            self.bits += lanes;
            if self.bits == 8 {
                self.bits = 0;
                self.byte_in(self.shift);
            }
        }
        if falling && self.phase == Phase::Give {
            let lanes = self.lanes();
            if self.out_bits == 0 {
                self.out = self.byte_out();
                self.out_bits = 8;
            } else {
                self.out <<= lanes;
            }
            self.out_bits -= lanes;
        }
        if self.phase != Phase::Give {
            return (0, 0);
        }
        match self.lanes() {
            // Data come on the second line.
            1 => ((self.out >> 7) << 1, 0b10),
            _ => (self.out >> 4, 0b1111),
        }
    }
}

/// The chip behind `embedded-hal`: one line in each direction.
impl embedded_hal::spi::ErrorType for Serial {
    type Error = core::convert::Infallible;
}

impl embedded_hal::spi::SpiDevice for Serial {
    fn transaction(
        &mut self,
        operations: &mut [embedded_hal::spi::Operation<'_, u8>],
    ) -> Result<(), Self::Error> {
        use embedded_hal::spi::Operation;
        self.select();
        for operation in operations {
            match operation {
                Operation::Write(bytes) => bytes.iter().for_each(|byte| self.byte_in(*byte)),
                Operation::Read(bytes) => {
                    for byte in bytes.iter_mut() {
                        *byte = if self.phase == Phase::Give {
                            self.byte_out()
                        } else {
                            0xFF
                        };
                    }
                }
                Operation::Transfer(..) | Operation::TransferInPlace(_) | Operation::DelayNs(_) => {
                    unreachable!("no command of a flash chip sends and receives at once")
                }
            }
        }
        self.deselect(true);
        Ok(())
    }
}
