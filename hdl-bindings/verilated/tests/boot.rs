//! The boot program is started, starts others, and is started again by a watchdog.

mod common;

use common::asm::{STAY, T0, T1, T2, T3, T4, add, addi, andi, bnez_back, lui, lw, slli, sw};
use sluice_regs::{bar0_regs as regs, core_regs};
use sluice_verilated::{Beat, Board, Card, Fuses, Input, Output};

/// A row of packet memory with a word per core: how often the core's program was started.
const STARTS: u64 = 0x64_0000;
/// A word of packet memory: how often the boot program was.
const BOOTS: u64 = 0x64_0010;
/// Where the core starts in its image, and in the boot program.
const RESET_VECTOR: usize = 0x80 / 4;

const ROOT_KEY: [u32; 8] = [1, 2, 3, 4, 5, 6, 7, 0xdead_beef];
const RUN: u32 = 1;
const BOOT: u32 = 4;
const REBOOT: u32 = 8;

/// Adds one to the word at `T1 + offset`.
fn count(offset: u32) -> [u32; 3] {
    [lw(T2, T1, offset), addi(T2, T2, 1), sw(T2, T1, offset)]
}

/// Counts a start of its core, and lets the watchdog of core 1 run out if `hang`.
fn program(hang: bool) -> Vec<u32> {
    let mut words = vec![
        lui(T0, 0x8000_0000),
        lw(T4, T0, core_regs::CORE_ID_OFFSET),
        andi(T4, T4, 31),
        slli(T3, T4, 2),
        lui(T1, 0x4000_0000 | STARTS as u32),
        add(T1, T1, T3),
    ];
    words.extend(count(0));
    if hang {
        // The period is 2,048 clocks times the core's number; 0 is off.
        words.extend([
            slli(T4, T4, 11),
            sw(T4, T0, core_regs::WATCHDOG_PERIOD_OFFSET),
        ]);
    }
    words.push(STAY);
    words
}

/// A boot program that puts `program` into all cores and leaves `ctrl` in `CTRL`.
fn rom(program: &[u32], ctrl: u32) -> Vec<u32> {
    let source = 0x200;
    let mut words = vec![0; RESET_VECTOR];
    words.push(lui(T1, 0x4000_0000 | STARTS as u32));
    words.extend(count((BOOTS - STARTS) as u32));
    words.extend([
        lui(T0, 0x9000_0000),
        addi(T4, 0, -2),
        sw(T4, T0, regs::LOAD_CORES_OFFSET),
        addi(T2, 0, 0x80),
        sw(T2, T0, regs::LOAD_ADDR_OFFSET),
        lui(T1, 0x7_0000),
        addi(T1, T1, source as i32),
        addi(T3, 0, program.len() as i32),
        lw(T4, T1, 0),
        sw(T4, T2, 0),
        sw(T4, T0, regs::LOAD_DATA_OFFSET),
        addi(T1, T1, 4),
        addi(T2, T2, 4),
        addi(T3, T3, -1),
        bnez_back(T3, 6),
        addi(T4, 0, 0x103),
        sw(T4, T0, regs::BOOT_STATUS_OFFSET),
        addi(T4, 0, ctrl as i32),
        sw(T4, T0, regs::CTRL_OFFSET),
        STAY,
    ]);
    words.resize(source / 4, 0);
    words.extend(program);
    words
}

fn board(rom: Vec<u32>, strapped: bool) -> Board {
    Board {
        fuses: Fuses {
            board: 77,
            root_key: ROOT_KEY,
            security_version: 3,
            key_generation: 254,
            boot: strapped,
        },
        rom,
        flash: None,
    }
}

fn write(card: &mut Card, offset: u32, value: u32) {
    let at = card.clock();
    card.push(Input::Request, &[Beat::bar0_write(at, offset, value)]);
    card.run(at + 100).unwrap();
}

fn packet_memory(card: &mut Card, at: u64) -> [u32; 4] {
    let row = Beat {
        addr: at,
        mask: 0xffff,
        bar2: true,
        ..Beat::default()
    };
    card.push(Input::Request, &[row]);
    card.run(card.clock() + 100).unwrap();
    let row = card.take_one(Output::Answer).expect("an answer");
    [0, 4, 8, 12].map(|offset| row.register(offset))
}

/// Both kinds of card, on the same board.
fn cards(rom: &[u32], strapped: bool) -> Vec<Card> {
    let board = || board(rom.to_vec(), strapped);
    let split = Card::split_on(board(), 2, 1).unwrap();
    let flat = cfg!(feature = "flat").then(|| Card::flat_on(board(), 2, 1).unwrap());
    [Some(split), flat].into_iter().flatten().collect()
}

/// Time to copy the ROM, and for the programs to do their work.
const ENOUGH: u64 = 25_000;

#[test]
fn a_strapped_card_starts_its_boot_program_which_starts_all_cores() {
    for mut card in cards(&rom(&program(false), RUN), true) {
        card.run(ENOUGH).unwrap();
        assert_eq!(packet_memory(&mut card, STARTS), [1, 1, 1, 0]);
        assert_eq!(packet_memory(&mut card, BOOTS)[0], 1);
        let seen =
            [regs::CTRL_OFFSET, regs::BOOT_STATUS_OFFSET].map(|at| common::read(&mut card, at));
        assert_eq!(seen, [RUN, 0x103]);
    }
}

#[test]
fn without_the_strap_the_host_starts_the_boot_program() {
    for mut card in cards(&rom(&program(false), RUN), false) {
        card.run(ENOUGH).unwrap();
        assert_eq!(packet_memory(&mut card, BOOTS)[0], 0);
        for boots in 1..=2 {
            write(&mut card, regs::CTRL_OFFSET, BOOT);
            card.run(card.clock() + ENOUGH).unwrap();
            assert_eq!(packet_memory(&mut card, BOOTS)[0], boots);
            assert_eq!(packet_memory(&mut card, STARTS), [boots, boots, boots, 0]);
        }
    }
}

#[test]
fn a_boot_program_that_finds_nothing_leaves_the_cores_to_the_host() {
    for mut card in cards(&rom(&program(false), 0), true) {
        card.run(ENOUGH).unwrap();
        assert_eq!(packet_memory(&mut card, BOOTS)[0], 1);
        assert_eq!(packet_memory(&mut card, STARTS), [0; 4]);
        // What it loaded is there, and anything else could be loaded now.
        write(&mut card, regs::CTRL_OFFSET, RUN);
        card.run(card.clock() + 1_000).unwrap();
        assert_eq!(packet_memory(&mut card, STARTS), [1, 1, 1, 0]);
    }
}

#[test]
fn the_host_can_stop_a_boot_program_that_hangs() {
    let mut hangs = rom(&program(false), RUN);
    hangs[RESET_VECTOR + 4] = STAY;
    for mut card in cards(&hangs, true) {
        card.run(ENOUGH).unwrap();
        assert_eq!(common::read(&mut card, regs::CTRL_OFFSET), BOOT);
        write(&mut card, regs::CTRL_OFFSET, 0);
        assert_eq!(common::read(&mut card, regs::CTRL_OFFSET), 0);
        card.run(card.clock() + ENOUGH).unwrap();
        assert_eq!(packet_memory(&mut card, BOOTS)[0], 1);
    }
}

#[test]
fn a_watchdog_starts_the_boot_program_again_if_it_was_told_so() {
    for mut card in cards(&rom(&program(true), RUN | REBOOT), true) {
        card.run(3 * ENOUGH).unwrap();
        let boots = packet_memory(&mut card, BOOTS)[0];
        assert!((2..=4).contains(&boots), "{boots}");
        let [control, data, ..] = packet_memory(&mut card, STARTS);
        assert!(
            control >= boots - 1 && data >= boots - 1,
            "{control} {data} {boots}"
        );
        assert_eq!(common::read(&mut card, regs::WATCHDOG_OFFSET) & 0b10, 0b10);
    }
    for mut card in cards(&rom(&program(true), RUN), true) {
        card.run(3 * ENOUGH).unwrap();
        assert_eq!(packet_memory(&mut card, BOOTS)[0], 1, "told nothing");
    }
}

#[test]
fn fuses_are_read_and_raised_one_by_one() {
    for mut card in cards(&[], false) {
        assert_eq!(common::read(&mut card, regs::BOARD_OFFSET), 77);
        assert_eq!(common::read(&mut card, regs::FUSES_OFFSET), 254 << 8 | 3);
        for (i, word) in ROOT_KEY.iter().enumerate() {
            assert_eq!(
                common::read(&mut card, regs::ROOT_KEY_WORD_OFFSET + 4 * i as u32),
                *word
            );
        }
        write(&mut card, regs::FUSE_BURN_OFFSET, 1);
        assert_eq!(common::read(&mut card, regs::FUSES_OFFSET), 254 << 8 | 4);
        write(&mut card, regs::FUSE_BURN_OFFSET, 3);
        write(&mut card, regs::FUSE_BURN_OFFSET, 2);
        assert_eq!(
            common::read(&mut card, regs::FUSES_OFFSET),
            255 << 8 | 5,
            "255 is the end"
        );
        let fuses = card.fuses();
        assert_eq!((fuses.security_version, fuses.key_generation), (5, 255));
    }
}
