//! Both drivers against a model of the controller's registers and the chip at its pins.

use embedded_hal::spi::{Operation, SpiDevice};
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use sluice_boot::Flash;
use sluice_boot::flash::wait;
use sluice_flash::{Chip, ChipError, Controller, QuadDevice, Registers};
use sluice_nor::serial::SerialNor;
use sluice_nor::{Nor, Timing};
use sluice_regs::bar0_regs as regs;

/// The controller's registers, and the chip at its pins.
struct Model {
    chip: SerialNor,
    now: u64,
    buffer: [u32; 64],
    selected: bool,
}

impl Model {
    fn new(size: usize) -> Self {
        Self {
            chip: SerialNor::new(Nor::new(size, Timing::TYPICAL, 1)),
            now: 0,
            buffer: [0; 64],
            selected: false,
        }
    }

    fn step(&mut self, clock: bool, io: u8) -> u8 {
        self.now += 8;
        self.chip.pins(self.now, self.selected, clock, io)
    }

    fn transfer(&mut self, what: regs::FlashTransfer) {
        if what.count() == 0 {
            self.selected = false;
            self.step(false, 0xf);
            return;
        }
        assert!(what.count() <= 256 && !(what.quad() && what.send() && what.receive()));
        self.selected = true;
        let mut input = self.step(false, 0xf);
        for i in 0..usize::from(what.count()) {
            let (word, shift) = (i / 4, i % 4 * 8);
            let out = if what.send() {
                (self.buffer[word] >> shift) as u8
            } else {
                0xff
            };
            let lanes = if what.quad() { 4 } else { 1 };
            let mut got = 0u32;
            for bit in (0..8).step_by(lanes) {
                let io = if what.quad() {
                    out >> (4 - bit) & 0xf
                } else {
                    0b1100 | out >> (7 - bit) & 1
                };
                self.step(true, io);
                got = if what.quad() {
                    got << 4 | u32::from(input & 0xf)
                } else {
                    got << 1 | u32::from(input >> 1 & 1)
                };
                input = self.step(false, io);
            }
            if what.receive() {
                self.buffer[word] = self.buffer[word] & !(0xff << shift) | (got & 0xff) << shift;
            }
        }
        if !what.hold() {
            self.selected = false;
            self.step(false, 0xf);
        }
    }
}

impl Registers for &mut Model {
    fn read(&mut self, offset: u32) -> u32 {
        // Time passes while somebody polls.
        self.now += 10_000;
        match offset {
            regs::FLASH_STATUS_OFFSET => u32::from(self.selected) << 1,
            _ => self.buffer[((offset - regs::FLASH_BUFFER_WORD_OFFSET) / 4) as usize],
        }
    }

    fn write(&mut self, offset: u32, value: u32) {
        match offset {
            regs::FLASH_TRANSFER_OFFSET => self.transfer(regs::FlashTransfer(value)),
            _ => self.buffer[((offset - regs::FLASH_BUFFER_WORD_OFFSET) / 4) as usize] = value,
        }
    }
}

const SIZE: usize = 4 << 20;

#[test]
fn pages_and_sectors_are_written_erased_and_read() {
    let mut model = Model::new(SIZE);
    let mut chip = Chip::open(Controller::new(&mut model)).expect("a chip");
    assert_eq!(chip.capacity(), SIZE);
    let page: Vec<u8> = (0..=255).map(|i| i ^ 0x33).collect();
    for at in [0, 0x1000, 0x3f_ff00] {
        chip.write(at, &page).expect("written");
        assert_eq!(chip.busy(), Ok(true));
        wait(&mut chip).expect("done");
    }
    let mut all = vec![0; 0x1200];
    chip.read(0x10, &mut all).expect("read");
    assert_eq!(all[..0xf0], page[0x10..]);
    assert!(all[0xf0..0xff0].iter().all(|b| *b == 0xff));
    assert_eq!(all[0xff0..0x10f0], page);
    chip.erase(0x1000, 0x2000).expect("erased");
    wait(&mut chip).expect("done");
    chip.read(0x1000, &mut all[..256]).expect("read");
    assert_eq!(all[..256], [0xff; 256]);
    chip.read(0x3f_ff00, &mut all[..256]).expect("read");
    assert_eq!(all[..256], page);
    assert_eq!((model.chip.ignored(), model.chip.nor.lost_bits()), (0, 0));
}

#[test]
fn accesses_that_do_not_fit_are_refused_and_reach_nothing() {
    let mut model = Model::new(SIZE);
    let mut chip = Chip::open(Controller::new(&mut model)).expect("a chip");
    let range = Err(ChipError::Range);
    assert_eq!(chip.read(SIZE as u32 - 1, &mut [0; 2]), range);
    assert_eq!(chip.read(u32::MAX, &mut [0; 2]), range);
    assert_eq!(chip.write(0xff, &[0; 2]), range, "across pages");
    assert_eq!(chip.write(SIZE as u32, &[0]), range);
    assert_eq!(chip.erase(0x10, 0x1010), range);
    assert_eq!(chip.erase(0, 0x2000), range, "one sector at a time");
    assert_eq!(chip.erase(SIZE as u32, SIZE as u32 + 0x1000), range);
    assert_eq!(chip.write(0, &[]), Ok(()));
    assert_eq!(model.chip.nor.operations(), 0);
}

#[test]
fn a_chip_that_is_missing_too_small_or_dead_is_named() {
    struct Nothing;
    impl Registers for Nothing {
        fn read(&mut self, offset: u32) -> u32 {
            if offset == regs::FLASH_STATUS_OFFSET {
                0
            } else {
                u32::MAX
            }
        }
        fn write(&mut self, _: u32, _: u32) {}
    }
    let missing = Chip::open(Controller::new(Nothing));
    assert_eq!(missing.err(), Some(ChipError::Unknown([0xff; 3])));

    let mut model = Model::new(SIZE);
    model.chip.nor.cut_after(0);
    let mut chip = Chip::open(Controller::new(&mut model)).expect("a chip");
    chip.erase(0, 0x1000).expect("posted");
    assert_eq!(chip.write(0, &[0]), Err(ChipError::NotWritable), "no power");
}

#[test]
fn transactions_are_those_of_embedded_hal() {
    let mut model = Model::new(SIZE);
    let mut device = Controller::new(&mut model);
    let mut id = [0x9f, 0, 0, 0];
    device.transfer_in_place(&mut id).expect("infallible");
    assert_eq!(id[1..], sluice_nor::serial::IDENTIFICATION);
    let mut more = [0; 3];
    device.transfer(&mut more, &[0x9f]).expect("infallible");
    assert_eq!(more[1..], sluice_nor::serial::IDENTIFICATION[..2]);
    let mut parts = [[0u8; 1]; 2];
    let [a, b] = &mut parts;
    device
        .transaction(&mut [
            Operation::Write(&[0x9f]),
            Operation::Read(a),
            Operation::DelayNs(100),
            Operation::Read(b),
        ])
        .expect("infallible");
    assert_eq!(parts.concat(), sluice_nor::serial::IDENTIFICATION[..2]);
    // Longer than the buffer.
    let mut long = vec![0; 1000];
    device
        .read_quad(&[0x6b, 0, 0, 0, 0], &mut long)
        .expect("infallible");
    assert!(long.iter().all(|b| *b == 0xff));
    let mut long = vec![0; 600];
    let mut head = vec![0x03, 0, 0, 0];
    head.resize(300, 0);
    device.transfer(&mut long, &head).expect("infallible");
    assert!(long[4..].iter().all(|b| *b == 0xff));
    assert!(!model.selected);
}
