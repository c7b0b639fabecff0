//! The serial chip's driver against the model of such a chip, and an update through both.

mod support;

use std::convert::Infallible;

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use sluice_boot::Flash;
use sluice_boot::check::NoSink;
use sluice_boot::image::{HEADER_SIZE, Header};
use sluice_boot::layout::{FLASH_SIZE, Slot};
use sluice_boot::pack;
use sluice_boot::spi::{Commands, OverSpi, SpiNor, SpiNorError};
use sluice_boot::start;
use sluice_boot::update::{NoSource, Request, Updater};
use sluice_nor::{FuseBank, Nor, Quad, SerialNor, Timing, Written};
use support::{BOARD, MAP, package, root};

fn chip(timing: Timing) -> SpiNor<OverSpi<SerialNor>> {
    let serial = SerialNor::new(Nor::new(FLASH_SIZE as usize, timing, 1));
    SpiNor::open(OverSpi(serial)).unwrap_or_else(|e| panic!("{e:?}"))
}

fn nor(chip: &mut SpiNor<OverSpi<SerialNor>>) -> &mut Nor {
    &mut chip.commands().0.nor
}

#[test]
fn what_is_programmed_is_read_and_an_erase_clears_its_sector_only() {
    let mut chip = chip(Timing::INSTANT);
    assert_eq!(chip.capacity(), FLASH_SIZE as usize);
    let data: Vec<u8> = (0..=255).collect();
    chip.write(0x10_0000, &data).expect("a page");
    chip.write(0x10_1003, &data[..7]).expect("a part of a page");
    let mut read = [0; 260];
    chip.read(0x0F_FFFC, &mut read).expect("readable");
    assert_eq!(read[..4], [0xFF; 4]);
    assert_eq!(read[4..], data);
    chip.erase(0x10_0000, 0x10_1000).expect("a sector");
    chip.read(0x10_0000, &mut read).expect("readable");
    assert_eq!(read, [0xFF; 260]);
    chip.read(0x10_1003, &mut read[..7]).expect("readable");
    assert_eq!(read[..7], data[..7], "the next sector is untouched");
}

#[test]
fn what_the_chip_cannot_do_is_refused_before_it_is_asked() {
    let mut chip = chip(Timing::INSTANT);
    let before = nor(&mut chip).operations();
    assert_eq!(chip.write(250, &[0; 7]), Err(SpiNorError::Range));
    assert_eq!(chip.write(FLASH_SIZE, &[0]), Err(SpiNorError::Range));
    assert_eq!(chip.erase(100, 4196), Err(SpiNorError::Range));
    assert_eq!(chip.erase(0, 8192), Err(SpiNorError::Range));
    assert_eq!(
        chip.erase(FLASH_SIZE, FLASH_SIZE + 4096),
        Err(SpiNorError::Range)
    );
    assert_eq!(
        chip.read(FLASH_SIZE - 1, &mut [0; 2]),
        Err(SpiNorError::Range)
    );
    assert_eq!(nor(&mut chip).operations(), before);
}

#[test]
fn the_chip_is_busy_until_it_is_done_and_takes_nothing_meanwhile() {
    let mut chip = chip(Timing::TYPICAL);
    chip.write(0, &[0x55]).expect("started");
    assert_eq!(chip.busy(), Ok(true));
    assert_eq!(chip.erase(0, 4096), Err(SpiNorError::NotWritable));
    let until = nor(&mut chip).busy_until().expect("busy");
    nor(&mut chip).set_time(until);
    assert_eq!(chip.busy(), Ok(false));
    let mut read = [0];
    chip.read(0, &mut read).expect("readable");
    assert_eq!(read, [0x55]);
}

#[test]
fn opening_resets_a_chip_that_was_left_in_the_middle_of_an_erase() {
    let mut chip = chip(Timing::TYPICAL);
    chip.erase(0, 4096).expect("started");
    let mut chip = SpiNor::open(chip.release()).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(chip.busy(), Ok(false));
}

#[test]
fn no_chip_is_told_from_a_blank_one() {
    struct Nothing(u8);
    impl Commands for Nothing {
        type Error = ();
        const QUAD: bool = false;
        fn read(
            &mut self,
            _: u8,
            _: Option<u32>,
            _: u8,
            _: bool,
            data: &mut [u8],
        ) -> Result<(), ()> {
            data.fill(self.0);
            Ok(())
        }
        fn write(&mut self, _: u8, _: Option<u32>, _: &[u8]) -> Result<(), ()> {
            Ok(())
        }
    }
    for level in [0, 0xFF] {
        let missing = SpiNor::open(Nothing(level)).map(|_| ());
        assert_eq!(missing, Err(SpiNorError::NoChip([level; 3])));
    }
    struct Small;
    impl Commands for Small {
        type Error = ();
        const QUAD: bool = false;
        fn read(
            &mut self,
            _: u8,
            _: Option<u32>,
            _: u8,
            _: bool,
            data: &mut [u8],
        ) -> Result<(), ()> {
            data.copy_from_slice(&[0xEF, 0x40, 20]);
            Ok(())
        }
        fn write(&mut self, _: u8, _: Option<u32>, _: &[u8]) -> Result<(), ()> {
            Ok(())
        }
    }
    let small = SpiNor::open(Small).map(|_| ());
    assert_eq!(small, Err(SpiNorError::NoChip([0xEF, 0x40, 20])));
}

#[test]
fn a_card_is_updated_and_started_through_the_driver() {
    let whole = pack::whole_flash(&package(1), &[], None);
    let nor = Nor::new(FLASH_SIZE as usize, Timing::INSTANT, 1).with_content(&whole);
    let mut chip = SpiNor::open(OverSpi(SerialNor::new(nor))).unwrap_or_else(|e| panic!("{e:?}"));
    let mut fuses = FuseBank::new(BOARD, MAP, root().public());
    let started = start::start(&mut chip, &mut fuses, &mut NoSink).started;
    assert_eq!(started.map(|s| s.slot), Some(Slot::A));
    let mut updater = Updater::open(&mut chip, Some(Slot::A)).expect("readable");
    let new = package(2);
    let header = *Header::of(new.first_chunk().expect("a header"));
    let mut ask = |request: Request, mut piece: &[u8]| {
        updater
            .run(&request, &mut chip, &mut fuses, &mut piece)
            .unwrap_or_else(|e| panic!("{request:?}: {e:?}"));
    };
    ask(Request::Begin(header), &[]);
    let mut offset = HEADER_SIZE;
    for piece in new[HEADER_SIZE..].chunks(256) {
        let len = piece.len() as u32;
        ask(
            Request::Write {
                offset: offset as u32,
                len,
            },
            piece,
        );
        offset += piece.len();
    }
    ask(Request::Verify, &[]);
    ask(Request::Activate, &[]);
    let started = start::start(&mut chip, &mut fuses, &mut NoSink).started;
    assert_eq!(started.map(|s| (s.slot, s.trial)), Some((Slot::B, true)));
    let mut updater = Updater::open(&mut chip, Some(Slot::B)).expect("readable");
    updater
        .run(&Request::Confirm, &mut chip, &mut fuses, &mut NoSource)
        .expect("it is well");
}

/// The chip's pins, with as many lines as the chip has.
struct FourLines(SerialNor);

impl FourLines {
    fn byte(&mut self, send: u8, quad: bool) -> u8 {
        let lines = if quad { 4 } else { 1 };
        (0..8 / lines).rev().fold(0, |got, step| {
            let out = if quad { 0xF } else { 0b1100 | send >> step & 1 };
            let io = self.0.pins(0, true, false, out);
            self.0.pins(0, true, true, out);
            if quad {
                got << 4 | io
            } else {
                got << 1 | io >> 1 & 1
            }
        })
    }

    fn command(&mut self, head: &[u8], quad: bool, data: &mut [u8]) {
        self.0.pins(0, true, false, 0xF);
        for byte in head {
            self.byte(*byte, false);
        }
        for byte in data {
            *byte = self.byte(0xFF, quad);
        }
        self.0.pins(0, true, false, 0xF);
        self.0.pins(0, false, false, 0xF);
    }
}

impl Commands for FourLines {
    type Error = Infallible;
    const QUAD: bool = true;

    fn read(
        &mut self,
        opcode: u8,
        address: Option<u32>,
        dummies: u8,
        quad: bool,
        data: &mut [u8],
    ) -> Result<(), Infallible> {
        let mut head = vec![opcode];
        head.extend(address.iter().flat_map(|at| at.to_be_bytes()[1..].to_vec()));
        head.resize(head.len() + usize::from(dummies), 0);
        self.command(&head, quad, data);
        Ok(())
    }

    fn write(&mut self, opcode: u8, address: Option<u32>, data: &[u8]) -> Result<(), Infallible> {
        let mut head = vec![opcode];
        head.extend(address.iter().flat_map(|at| at.to_be_bytes()[1..].to_vec()));
        head.extend(data);
        self.command(&head, false, &mut []);
        Ok(())
    }
}

/// A chip with something in it, opened; and whether it is read right.
fn with(quad: Quad) -> SpiNor<FourLines> {
    let content: Vec<u8> = (0..FLASH_SIZE)
        .map(|at| (at * 7 + (at >> 8)) as u8)
        .collect();
    let nor = Nor::new(FLASH_SIZE as usize, Timing::INSTANT, 1).with_content(&content);
    let serial = SerialNor::new(nor).with_quad(quad);
    let mut chip = SpiNor::open(FourLines(serial)).unwrap_or_else(|e| panic!("{quad:?}: {e:?}"));
    let mut read = [0; 300];
    chip.read(0x1234, &mut read).expect("readable");
    assert_eq!(read[..], content[0x1234..][..300], "{quad:?}");
    assert_eq!(chip.commands().0.ignored(), 0, "{quad:?}");
    chip
}

#[test]
fn a_chip_is_read_over_four_lines_once_it_says_that_they_are_on() {
    let bit = |requirement, when_written| Quad::Bit {
        requirement,
        when_written,
    };
    // Not kept where the chip can do without: nothing wears, and a power cut cannot come in between.
    let mut cases = vec![(Quad::Always, (true, true))];
    for requirement in [2, 3, 5, 6] {
        cases.push((bit(requirement, Written::Kept), (false, true)));
        cases.push((bit(requirement, Written::AlwaysKept), (true, true)));
    }
    for (quad, on) in cases {
        let mut chip = with(quad);
        assert!(chip.is_quad(), "{quad:?}");
        assert_eq!(chip.commands().0.quad_on(), on, "{quad:?}");
        assert_eq!(chip.commands().0.quad_reads(), 1, "{quad:?}");
        // A reset takes away what is not kept; opening puts it right.
        let mut again = SpiNor::open(chip.release()).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(again.commands().0.quad_on(), on, "{quad:?}");
    }
}

#[test]
fn a_chip_is_read_over_one_line_if_four_are_in_doubt() {
    let mut cases = vec![Quad::NoTable, Quad::None];
    for requirement in 1..8 {
        cases.push(Quad::Bit {
            requirement,
            when_written: Written::Ignored,
        });
    }
    for quad in cases {
        let mut chip = with(quad);
        assert!(!chip.is_quad(), "{quad:?}");
        assert_eq!(chip.commands().0.quad_reads(), 0, "{quad:?}");
    }
}
