//! A card brought up by hand, beat by beat, and the images it runs.
#![allow(dead_code, reason = "each test uses its part")]

pub mod asm;

use std::{env, fs, path::PathBuf};

use sluice_regs::bar0_regs as regs;
use sluice_verilated::{Beat, Card, Input, Output};

/// A program of `firmware/image`: folder from `SLUICE_IMAGES`, else where `cargo xtask build` puts it.
pub fn image(name: &str) -> Vec<u8> {
    let folder = env::var_os("SLUICE_IMAGES").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../target/image/riscv32imc-unknown-none-elf/release"
            ))
        },
        PathBuf::from,
    );
    let path = folder.join(name);
    fs::read(&path).unwrap_or_else(|e| {
        panic!("{}: {e}; build firmware/image (`cargo xtask build`) or set SLUICE_IMAGES to the folder it is in", path.display())
    })
}

/// Address and bytes of what an RV32 ELF file loads (`PT_LOAD` with file contents).
pub fn segments(elf: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let half = |at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]);
    let word = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().unwrap());
    assert_eq!(&elf[..5], b"\x7fELF\x01", "a 32-bit ELF file");
    let (table, size, count) = (word(28) as usize, half(42) as usize, half(44) as usize);
    (0..count)
        .map(|i| table + i * size)
        .filter(|&h| word(h) == 1 && word(h + 16) > 0)
        .map(|h| {
            (
                word(h + 8),
                elf[word(h + 4) as usize..][..word(h + 16) as usize].to_vec(),
            )
        })
        .collect()
}

/// Loads an ELF file into all cores and lets them run. The stimulus is the same for every card.
pub fn boot(card: &mut Card, elf: &[u8]) {
    let mut beats = Vec::new();
    for (at, bytes) in segments(elf) {
        beats.push(Beat::bar0_write(0, regs::LOAD_ADDR_OFFSET, at));
        for word in bytes.chunks(4) {
            let mut padded = [0; 4];
            padded[..word.len()].copy_from_slice(word);
            beats.push(Beat::bar0_write(
                0,
                regs::LOAD_DATA_OFFSET,
                u32::from_le_bytes(padded),
            ));
        }
    }
    beats.push(Beat::bar0_write(0, regs::CTRL_OFFSET, 1));
    card.push(Input::Request, &beats);
    while card.queued(Input::Request) > 0 {
        card.run(card.clock() + 100).unwrap();
    }
}

/// Reads a register.
pub fn read(card: &mut Card, offset: u32) -> u32 {
    card.push(Input::Request, &[Beat::bar0_read(0, offset)]);
    for _ in 0..1000 {
        card.run(card.clock() + 1).unwrap();
        if let Some(answer) = card.take_one(Output::Answer) {
            return answer.register(offset);
        }
    }
    panic!("no answer to a read of register {offset:#x}");
}

/// Polls the firmware status until it is set.
pub fn status(card: &mut Card, within: u64) -> u32 {
    let end = card.clock() + within;
    loop {
        card.run(card.clock() + 500).unwrap();
        let status = read(card, regs::FW_STATUS_OFFSET);
        if status != 0 || card.clock() > end {
            return status;
        }
    }
}
