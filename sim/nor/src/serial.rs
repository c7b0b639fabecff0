//! The chip as the controller sees it: its pins, one or four data lines, and commands.
//!
//! Commands are those of the Winbond W25Q32JV (data sheet revision G, section 8), as a rule the variant whose quad lines are always
//! enabled: write enable and disable, status registers, identification, SFDP, read, fast read with one and with four lines, page
//! program with one and with four lines, sector erase, reset. Others are counted and do nothing. While the chip is busy it answers
//! only for its status, as the data sheet says.

use crate::{Nor, PAGE, Quad, Written};

/// Answer to the identification command: Winbond, 40h, 2^22 bytes.
pub const IDENTIFICATION: [u8; 3] = [0xEF, 0x40, 0x16];

const WRITE_ENABLE: u8 = 0x06;
const WRITE_DISABLE: u8 = 0x04;
const READ_STATUS: u8 = 0x05;
const READ_ID: u8 = 0x9F;
const READ: u8 = 0x03;
const FAST_READ: u8 = 0x0B;
const QUAD_READ: u8 = 0x6B;
const PROGRAM: u8 = 0x02;
const QUAD_PROGRAM: u8 = 0x32;
const ERASE_SECTOR: u8 = 0x20;
const READ_SFDP: u8 = 0x5A;
const VOLATILE_WRITE_ENABLE: u8 = 0x50;
/// Status register 1 and perhaps 2, status register 2, configuration register: writes.
const WRITE_STATUS: [u8; 3] = [0x01, 0x31, 0x3E];
/// Status register 2, configuration register.
const READ_STATUS_2: [u8; 2] = [0x35, 0x3F];
const ENABLE_RESET: u8 = 0x66;
const RESET: u8 = 0x99;

/// A serial NOR flash chip.
pub struct SerialNor {
    /// The array behind it.
    pub nor: Nor,
    selected: bool,
    clock: bool,
    /// Bytes since the chip was selected, without those of a program.
    head: Vec<u8>,
    data: Vec<u8>,
    shift: u8,
    bits: u32,
    /// Byte going out, and bits of it that are left.
    out: u8,
    out_bits: u32,
    /// Address that the next byte of a read comes from.
    at: usize,
    drive: u8,
    write_enabled: bool,
    /// A status register may be written for as long as there is power.
    volatile_enabled: bool,
    reset_enabled: bool,
    ignored: u64,
    quad: Quad,
    /// The bit that gives the four lines: what was kept, and what holds now.
    quad_kept: bool,
    quad_now: bool,
    quad_reads: u64,
}

impl SerialNor {
    /// A chip, not selected.
    #[must_use]
    pub fn new(nor: Nor) -> Self {
        Self {
            nor,
            selected: false,
            clock: false,
            head: Vec::new(),
            data: Vec::new(),
            shift: 0,
            bits: 0,
            out: 0,
            out_bits: 0,
            at: 0,
            drive: 0xF,
            write_enabled: false,
            volatile_enabled: false,
            reset_enabled: false,
            ignored: 0,
            quad: Quad::Always,
            quad_kept: false,
            quad_now: false,
            quad_reads: 0,
        }
    }

    /// The same with other four lines, off as yet unless they are always on.
    #[must_use]
    pub fn with_quad(mut self, quad: Quad) -> Self {
        self.quad = quad;
        self
    }

    /// Reads over four lines.
    #[must_use]
    pub fn quad_reads(&self) -> u64 {
        self.quad_reads
    }

    /// The four lines are on: for good, and now.
    #[must_use]
    pub fn quad_on(&self) -> (bool, bool) {
        let always = self.quad == Quad::Always;
        (always || self.quad_kept, always || self.quad_now)
    }

    fn is_quad_command(&self) -> bool {
        matches!(self.command(), Some(QUAD_READ | QUAD_PROGRAM))
    }

    /// Power-on and reset.
    fn forget(&mut self) {
        (self.write_enabled, self.volatile_enabled) = (false, false);
        self.quad_now = self.quad_kept;
    }

    /// Commands that were ignored: unknown, while busy, writes without write enable, programs of no whole byte.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The pins at `now` (nanoseconds): CS# is low, SCK, and IO3:0 as the controller drives them. What the chip puts on IO3:0.
    pub fn pins(&mut self, now: u64, selected: bool, clock: bool, io: u8) -> u8 {
        self.nor.set_time(now);
        if !self.nor.is_powered() {
            self.forget();
            (self.selected, self.clock) = (selected, clock);
            return 0xF;
        }
        if selected && !self.selected {
            self.head.clear();
            self.data.clear();
            (self.bits, self.out_bits, self.drive) = (0, 0, 0xF);
        } else if !selected && self.selected {
            self.execute();
            self.drive = 0xF;
        } else if selected && clock && !self.clock {
            self.rise(io);
        } else if selected && !clock && self.clock {
            self.fall();
        }
        (self.selected, self.clock) = (selected, clock);
        self.drive
    }

    fn command(&self) -> Option<u8> {
        self.head.first().copied()
    }

    /// Bytes before data: command, address, dummy.
    fn head_len(&self) -> usize {
        match self.command() {
            Some(READ | PROGRAM | QUAD_PROGRAM | ERASE_SECTOR) => 4,
            Some(FAST_READ | QUAD_READ | READ_SFDP) => 5,
            _ => 1,
        }
    }

    fn in_data(&self) -> bool {
        !self.head.is_empty() && self.head.len() >= self.head_len()
    }

    fn address(&self) -> usize {
        let byte = |i: usize| usize::from(self.head.get(i).copied().unwrap_or(0));
        (byte(1) << 16 | byte(2) << 8 | byte(3)) % self.nor.size()
    }

    /// The chip samples.
    fn rise(&mut self, io: u8) {
        let quad = self.in_data() && self.command() == Some(QUAD_PROGRAM);
        if quad {
            self.shift = self.shift << 4 | io & 0xF;
            self.bits += 4;
        } else {
            self.shift = self.shift << 1 | io & 1;
            self.bits += 1;
        }
        if self.bits < 8 {
            return;
        }
        self.bits = 0;
        if !self.in_data() {
            self.head.push(self.shift);
            if self.in_data() {
                self.at = self.address();
                self.out_bits = 0;
            }
        } else if self.command().is_some_and(|c| WRITE_STATUS.contains(&c)) {
            self.data.push(self.shift);
        } else if matches!(self.command(), Some(PROGRAM | QUAD_PROGRAM)) {
            // More than a page: the first ones are overwritten (section 8.2.15).
            if self.data.len() == PAGE {
                self.data.remove(0);
                self.head[3] = self.head[3].wrapping_add(1);
            }
            self.data.push(self.shift);
        }
    }

    /// The chip puts out its next bits.
    fn fall(&mut self) {
        self.drive = 0xF;
        if !self.in_data() {
            return;
        }
        let quad = self.command() == Some(QUAD_READ);
        if self.out_bits == 0 {
            let Some(byte) = self.next_byte() else { return };
            (self.out, self.out_bits) = (byte, 8);
        }
        if quad {
            self.drive = self.out >> 4;
            self.out <<= 4;
            self.out_bits -= 4;
        } else {
            self.drive = 0b1101 | (self.out >> 7) << 1;
            self.out <<= 1;
            self.out_bits -= 1;
        }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let busy = self.nor.is_busy();
        let register = |read: u8| match self.quad.place() {
            Some((at, bit)) if at == read && self.quad_now => bit,
            _ => 0,
        };
        match self.command()? {
            READ_STATUS => {
                Some(u8::from(busy) | u8::from(self.write_enabled) << 1 | register(READ_STATUS))
            }
            read if READ_STATUS_2.contains(&read) => Some(register(read)),
            _ if busy => None,
            READ_SFDP => {
                let byte = self.quad.sfdp(self.at);
                self.at += 1;
                Some(byte)
            }
            _ if self.is_quad_command() && !self.quad_on().1 => None,
            READ_ID => {
                let byte = IDENTIFICATION[self.at % 3];
                self.at += 1;
                Some(byte)
            }
            READ | FAST_READ | QUAD_READ => {
                let mut byte = [0];
                self.nor.read_at(self.at, &mut byte);
                self.at = (self.at + 1) % self.nor.size();
                Some(byte[0])
            }
            _ => None,
        }
    }

    /// CS# rose: commands that change something are executed now.
    fn execute(&mut self) {
        let Some(command) = self.command() else {
            return;
        };
        let reset = core::mem::take(&mut self.reset_enabled);
        let whole = self.bits == 0 && self.in_data();
        let busy = self.nor.is_busy();
        let write = whole && !busy && self.write_enabled;
        match command {
            READ_STATUS => {}
            read if READ_STATUS_2.contains(&read) => {}
            READ_SFDP if !busy => {}
            QUAD_READ | QUAD_PROGRAM if !self.quad_on().1 => self.ignored += 1,
            ENABLE_RESET => self.reset_enabled = true,
            RESET if reset => {
                self.forget();
                // What it interrupts ends as if the power had failed (section 8.2.33).
                if busy {
                    self.nor.cut_power();
                    self.nor.power_on();
                }
            }
            QUAD_READ if !busy => self.quad_reads += 1,
            READ_ID | READ | FAST_READ if !busy => {}
            VOLATILE_WRITE_ENABLE if !busy => self.volatile_enabled = true,
            _ if WRITE_STATUS.contains(&command) && whole && !busy => self.write_status(command),
            WRITE_ENABLE if !busy => self.write_enabled = true,
            WRITE_DISABLE if !busy => self.write_enabled = false,
            PROGRAM | QUAD_PROGRAM if write && !self.data.is_empty() => {
                self.write_enabled = false;
                let (at, data) = (self.address(), core::mem::take(&mut self.data));
                self.nor.program_at(at, &data);
            }
            ERASE_SECTOR if write => {
                self.write_enabled = false;
                self.nor.erase_at(self.address());
            }
            _ => self.ignored += 1,
        }
    }
}

impl SerialNor {
    fn write_status(&mut self, command: u8) {
        let kept = core::mem::take(&mut self.write_enabled);
        let volatile = core::mem::take(&mut self.volatile_enabled);
        let Quad::Bit { when_written, .. } = self.quad else {
            return;
        };
        let may = kept || volatile && when_written != Written::AlwaysKept;
        let Some(on) = self.quad.written(command, &self.data).filter(|_| may) else {
            self.ignored += 1;
            return;
        };
        if when_written != Written::Ignored {
            self.quad_now = on;
            self.quad_kept = if kept { on } else { self.quad_kept };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SECTOR, Timing};

    /// A controller that toggles the pins.
    struct Bus {
        chip: SerialNor,
        now: u64,
    }

    impl Bus {
        fn new() -> Self {
            let nor = Nor::new(1 << 22, Timing::TYPICAL, 1);
            Self {
                chip: SerialNor::new(nor),
                now: 0,
            }
        }

        fn step(&mut self, selected: bool, clock: bool, io: u8) -> u8 {
            self.now += 8;
            self.chip.pins(self.now, selected, clock, io)
        }

        fn bits(&mut self, io: u8) -> u8 {
            self.step(true, false, io);
            self.step(true, true, io);
            // What was put out at the last falling edge is still there.
            self.chip.drive
        }

        fn single(&mut self, byte: u8) -> u8 {
            (0..8).fold(0, |got, i| {
                let io = self.bits(0b1100 | byte >> (7 - i) & 1);
                got << 1 | io >> 1 & 1
            })
        }

        fn quad(&mut self, byte: u8) -> u8 {
            let high = self.bits(byte >> 4);
            high << 4 | self.bits(byte & 0xF)
        }

        /// Sends a command and receives `count` bytes.
        fn command(&mut self, bytes: &[u8], count: usize) -> Vec<u8> {
            self.step(true, false, 0xF);
            for byte in bytes {
                self.single(*byte);
            }
            let got = (0..count).map(|_| self.single(0xFF)).collect();
            self.deselect();
            got
        }

        fn deselect(&mut self) {
            self.step(true, false, 0xF);
            self.step(false, false, 0xF);
        }

        fn wait(&mut self) {
            self.now += 1_000_000_000;
            self.step(false, false, 0xF);
        }
    }

    #[test]
    fn a_page_is_programmed_and_read_with_one_line_and_with_four() {
        let mut bus = Bus::new();
        assert_eq!(bus.command(&[READ_ID], 3), IDENTIFICATION);
        bus.command(&[WRITE_ENABLE], 0);
        assert_eq!(bus.command(&[READ_STATUS], 1), [2]);
        bus.command(&[PROGRAM, 0, 0x10, 0xFE, 1, 2, 3], 0);
        assert_eq!(
            bus.command(&[READ_STATUS], 2),
            [1, 1],
            "busy, write disabled"
        );
        assert_eq!(bus.command(&[READ, 0, 0x10, 0xFE], 1), [0xFF], "busy");
        bus.wait();
        assert_eq!(bus.command(&[READ_STATUS], 1), [0]);
        // Within the page: the third byte is at its start.
        assert_eq!(bus.command(&[READ, 0, 0x10, 0xFE], 2), [1, 2]);
        assert_eq!(bus.command(&[FAST_READ, 0, 0x10, 0x00, 0], 2), [3, 0xFF]);

        bus.command(&[WRITE_ENABLE], 0);
        bus.step(true, false, 0xF);
        for byte in [QUAD_PROGRAM, 0, 0x20, 0] {
            bus.single(byte);
        }
        for byte in [0xA5, 0x3C] {
            bus.quad(byte);
        }
        bus.deselect();
        bus.wait();
        bus.step(true, false, 0xF);
        for byte in [QUAD_READ, 0, 0x20, 0, 0] {
            bus.single(byte);
        }
        assert_eq!([0; 3].map(|_| bus.quad(0xFF)), [0xA5, 0x3C, 0xFF]);
        bus.deselect();
        assert_eq!(bus.chip.ignored(), 1, "the read while busy");
    }

    #[test]
    fn nothing_changes_without_write_enable_while_busy_or_with_half_a_byte() {
        let mut bus = Bus::new();
        bus.command(&[PROGRAM, 0, 0, 0, 0], 0);
        bus.command(&[ERASE_SECTOR, 0, 0, 0], 0);
        bus.command(&[WRITE_ENABLE], 0);
        bus.command(&[WRITE_DISABLE], 0);
        bus.command(&[PROGRAM, 0, 0, 0, 0], 0);
        bus.command(&[WRITE_ENABLE], 0);
        bus.step(true, false, 0xF);
        for byte in [PROGRAM, 0, 0, 0, 0] {
            bus.single(byte);
        }
        bus.bits(0);
        bus.deselect();
        assert_eq!((bus.chip.ignored(), bus.chip.nor.operations()), (4, 0));

        bus.command(&[ERASE_SECTOR, 0, 0x10, 0x55], 0);
        bus.command(&[WRITE_ENABLE], 0);
        bus.command(&[PROGRAM, 0, 0, 0, 0], 0);
        bus.wait();
        assert_eq!((bus.chip.ignored(), bus.chip.nor.operations()), (6, 1));
        assert_eq!(bus.chip.nor.wear()[0x1000 / SECTOR], 1);
        bus.command(&[0x42, 1, 2, 3], 0);
        assert_eq!(bus.chip.ignored(), 7, "unknown");
    }

    #[test]
    fn more_than_a_page_leaves_its_last_256_bytes() {
        let mut bus = Bus::new();
        bus.command(&[WRITE_ENABLE], 0);
        let mut bytes = vec![PROGRAM, 0, 0x30, 0];
        bytes.extend((0..258u32).map(|i| (i / 2) as u8));
        bus.command(&bytes, 0);
        bus.wait();
        // Bytes 256 and 257 took the places of 0 and 1.
        assert_eq!(bus.command(&[READ, 0, 0x30, 0], 4), [128, 128, 1, 1]);
        assert_eq!(bus.command(&[READ, 0, 0x30, 0xFF], 1), [127]);
        assert_eq!(bus.chip.nor.lost_bits(), 0);
    }

    #[test]
    fn a_chip_without_power_answers_nothing() {
        let mut bus = Bus::new();
        bus.command(&[WRITE_ENABLE], 0);
        bus.chip.nor.cut_after(0);
        bus.command(&[ERASE_SECTOR, 0, 0, 0], 0);
        assert!(!bus.chip.nor.is_powered());
        assert_eq!(bus.command(&[READ_STATUS], 1), [0xFF]);
        bus.chip.nor.power_on();
        assert_eq!(bus.command(&[READ_STATUS], 1), [0], "write enable is gone");
    }
}
