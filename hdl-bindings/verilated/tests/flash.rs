//! The flash controller against a chip that notes what it gets, bit by bit.

mod common;

use std::sync::{Arc, Mutex};

use sluice_regs::bar0_regs as regs;
use sluice_verilated::{Beat, Board, Card, FlashChip, Input, Pins};

const SEND: u32 = 1 << 9;
const RECEIVE: u32 = 1 << 10;
const QUAD: u32 = 1 << 11;
const HOLD: u32 = 1 << 12;

/// What the chip saw while it was selected once.
#[derive(Clone, Default, Debug)]
struct Selected {
    /// Bytes on one line, and bytes on four after them.
    single: Vec<u8>,
    quad: Vec<u8>,
    from: u64,
    to: u64,
    /// Clocks of the card's between rising edges, the least and the most.
    period: Option<(u64, u64)>,
}

/// A chip that answers the bytes after the first with 1, 2, 3 and so on. The first byte says how many bytes come on one line
/// before four are used: 0 for all on one line; bit 7: then the chip sends.
struct Chip {
    log: Arc<Mutex<Vec<Selected>>>,
    was: Pins,
    bits: u32,
    shift: u8,
    out: u8,
    sent: u8,
    last_rise: Option<u64>,
    drive: u8,
}

impl Chip {
    fn new(log: &Arc<Mutex<Vec<Selected>>>) -> Box<Self> {
        Box::new(Self {
            log: log.clone(),
            was: Pins {
                selected: false,
                clock: false,
                out: 0,
                enable: 0,
            },
            bits: 0,
            shift: 0,
            out: 0,
            sent: 0,
            last_rise: None,
            drive: 0xf,
        })
    }

    fn is_quad(now: &Selected) -> bool {
        let first = now.single.first().copied().unwrap_or(0) & 0x7f;
        first != 0 && now.single.len() >= usize::from(first)
    }
}

impl FlashChip for Chip {
    fn pins(&mut self, clock: u64, pins: Pins) -> u8 {
        let mut log = self.log.lock().unwrap();
        if pins.selected && !self.was.selected {
            log.push(Selected {
                from: clock,
                ..Selected::default()
            });
            (self.bits, self.sent, self.last_rise) = (0, 0, None);
            (self.drive, self.out) = (0xf, 0xff);
            assert!(!pins.clock, "mode 0");
        }
        let Some(now) = log.last_mut() else {
            self.was = pins;
            return 0xf;
        };
        let quad = Self::is_quad(now);
        let sends = quad && now.single[0] & 0x80 != 0;
        if pins.selected && pins.clock && !self.was.clock {
            if let Some(last) = self.last_rise {
                let gap = clock - last;
                let (least, most) = now.period.unwrap_or((gap, gap));
                now.period = Some((least.min(gap), most.max(gap)));
            }
            self.last_rise = Some(clock);
            if quad {
                assert_eq!(pins.enable, if sends { 0 } else { 0xf }, "who drives");
                self.shift = self.shift << 4 | pins.out & 0xf;
                self.bits += 4;
            } else {
                assert_eq!(pins.enable, 0b1101, "IO1 is the chip's");
                assert_eq!(pins.out & 0b1100, 0b1100, "WP# and HOLD# are high");
                self.shift = self.shift << 1 | pins.out & 1;
                self.bits += 1;
            }
            if self.bits == 8 {
                self.bits = 0;
                if quad {
                    now.quad.push(self.shift)
                } else {
                    now.single.push(self.shift)
                }
                self.sent = self.sent.wrapping_add(1);
                self.out = self.sent;
            }
        }
        if pins.selected && !pins.clock && self.was.clock {
            let quad = Self::is_quad(now);
            self.drive = if quad {
                [self.out & 0xf, self.out >> 4][usize::from(self.bits == 0)]
            } else {
                let bit = self.out >> (7 - self.bits) & 1;
                0b1101 | bit << 1
            };
        }
        if !pins.selected && self.was.selected {
            now.to = clock;
            assert_eq!(self.bits, 0, "whole bytes");
        }
        self.was = pins;
        self.drive
    }
}

struct Bench {
    card: Card,
    log: Arc<Mutex<Vec<Selected>>>,
}

impl Bench {
    fn all() -> Vec<Self> {
        let board = |log: &_| Board {
            flash: Some(Chip::new(log)),
            ..Board::default()
        };
        let logs = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
        let split = Card::split_on(board(&logs[0]), 1, 1).unwrap();
        let flat = cfg!(feature = "flat").then(|| Card::flat_on(board(&logs[1]), 1, 1).unwrap());
        let cards = [Some(split), flat].into_iter().flatten();
        cards
            .zip(logs)
            .map(|(card, log)| Self { card, log })
            .collect()
    }

    fn write(&mut self, offset: u32, value: u32) {
        let at = self.card.clock();
        self.card
            .push(Input::Request, &[Beat::bar0_write(at, offset, value)]);
        while self.card.queued(Input::Request) > 0 {
            self.card.run(self.card.clock() + 20).unwrap();
        }
    }

    fn read(&mut self, offset: u32) -> u32 {
        common::read(&mut self.card, offset)
    }

    fn fill(&mut self, bytes: &[u8]) {
        for (i, word) in bytes.chunks(4).enumerate() {
            let mut four = [0; 4];
            four[..word.len()].copy_from_slice(word);
            self.write(
                regs::FLASH_BUFFER_WORD_OFFSET + 4 * i as u32,
                u32::from_le_bytes(four),
            );
        }
    }

    fn buffer(&mut self, len: usize) -> Vec<u8> {
        let words =
            (0..len.div_ceil(4) as u32).map(|i| self.read(regs::FLASH_BUFFER_WORD_OFFSET + 4 * i));
        let mut bytes: Vec<u8> = words
            .collect::<Vec<_>>()
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        bytes.truncate(len);
        bytes
    }

    /// Starts a transfer and waits for its end.
    fn transfer(&mut self, word: u32) {
        self.write(regs::FLASH_TRANSFER_OFFSET, word);
        for _ in 0..2_000 {
            if self.read(regs::FLASH_STATUS_OFFSET) & 1 == 0 {
                return;
            }
        }
        panic!("a transfer that does not end");
    }

    fn log(&self) -> Vec<Selected> {
        self.log.lock().unwrap().clone()
    }
}

#[test]
fn bytes_go_both_ways_on_one_line_and_the_chip_stays_selected_if_it_is_to() {
    for mut bench in Bench::all() {
        bench.fill(&[0, 0xa5, 0x3c]);
        bench.transfer(3 | SEND | HOLD);
        assert_eq!(
            bench.read(regs::FLASH_STATUS_OFFSET),
            2,
            "selected, not busy"
        );
        bench.transfer(5 | RECEIVE);
        assert_eq!(bench.read(regs::FLASH_STATUS_OFFSET), 0);
        assert_eq!(bench.buffer(5), [3, 4, 5, 6, 7]);
        bench.fill(&[0, 1, 2, 3]);
        bench.transfer(4 | SEND | RECEIVE);
        assert_eq!(bench.buffer(4), [0xff, 1, 2, 3], "both at once");
        let log = bench.log();
        assert_eq!(log.len(), 2);
        assert_eq!(log[0].single, [0, 0xa5, 0x3c, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(log[1].single, [0, 1, 2, 3]);
    }
}

#[test]
fn a_whole_page_goes_on_four_lines() {
    let page: Vec<u8> = (0..=255).map(|i| i ^ 0x5a).collect();
    for mut bench in Bench::all() {
        bench.fill(&[1]);
        bench.transfer(1 | SEND | HOLD);
        bench.fill(&page);
        bench.transfer(256 | SEND | QUAD);
        // The chip sends after five bytes, as for a fast read with its address and dummy clocks.
        bench.fill(&[0x85, 0, 0x12, 0x34, 0]);
        bench.transfer(5 | SEND | HOLD);
        bench.transfer(250 | RECEIVE | QUAD);
        let received = bench.buffer(250);
        assert_eq!(received, (5..=254).collect::<Vec<u8>>());
        let log = bench.log();
        assert_eq!((log[0].single.as_slice(), &log[0].quad), (&[1][..], &page));
        assert_eq!(log[1].single, [0x85, 0, 0x12, 0x34, 0]);
    }
}

#[test]
fn the_clock_is_as_slow_as_asked() {
    for divider in [0, 1, 6, 255] {
        for mut bench in Bench::all() {
            bench.write(regs::FLASH_CLOCK_OFFSET, divider);
            bench.fill(&[0, 0x77]);
            bench.transfer(2 | SEND | RECEIVE);
            assert_eq!(bench.buffer(2), [0xff, 1], "{divider}");
            let period = 2 * (u64::from(divider) + 1);
            assert_eq!(bench.log()[0].period, Some((period, period)));
        }
    }
}

#[test]
fn commands_are_kept_apart_and_what_makes_no_sense_is_ignored() {
    for mut bench in Bench::all() {
        bench.fill(&[0, 9]);
        bench.transfer(2 | SEND);
        bench.transfer(2 | SEND | HOLD);
        bench.transfer(0);
        assert_eq!(bench.read(regs::FLASH_STATUS_OFFSET), 0, "deselected");
        bench.transfer(257 | SEND);
        // A second one while the first is under way: a slow clock gives the time.
        bench.write(regs::FLASH_CLOCK_OFFSET, 100);
        bench.write(regs::FLASH_TRANSFER_OFFSET, 2 | SEND);
        bench.transfer(2 | SEND);
        let log = bench.log();
        assert_eq!(log.len(), 3, "{log:?}");
        assert!(log.iter().all(|one| one.single == [0, 9]), "{log:?}");
        for pair in log.windows(2) {
            // 50 ns at least.
            assert!(pair[1].from - pair[0].to >= 13);
        }
    }
}
