//! RV32I instructions that tests write programs with (The RISC-V Instruction Set Manual, volume I, chapter 2).

/// Registers by number.
pub const T0: u32 = 5;
pub const T1: u32 = 6;
pub const T2: u32 = 7;
pub const T3: u32 = 28;
pub const T4: u32 = 29;

/// Loads `at`, a multiple of 4096.
pub const fn lui(rd: u32, at: u32) -> u32 {
    at & 0xffff_f000 | rd << 7 | 0x37
}

pub const fn addi(rd: u32, rs: u32, value: i32) -> u32 {
    (value as u32) << 20 | rs << 15 | rd << 7 | 0x13
}

pub const fn slli(rd: u32, rs: u32, by: u32) -> u32 {
    by << 20 | rs << 15 | 1 << 12 | rd << 7 | 0x13
}

pub const fn add(rd: u32, a: u32, b: u32) -> u32 {
    b << 20 | a << 15 | rd << 7 | 0x33
}

pub const fn andi(rd: u32, rs: u32, value: i32) -> u32 {
    (value as u32) << 20 | rs << 15 | 7 << 12 | rd << 7 | 0x13
}

pub const fn lw(rd: u32, base: u32, offset: u32) -> u32 {
    offset << 20 | base << 15 | 2 << 12 | rd << 7 | 0x03
}

/// Stores `rs`; offsets are below 2,048.
pub const fn sw(rs: u32, base: u32, offset: u32) -> u32 {
    offset >> 5 << 25 | rs << 20 | base << 15 | 2 << 12 | (offset & 31) << 7 | 0x23
}

/// Branches back over `words` instructions, if `rs` is not zero.
pub const fn bnez_back(rs: u32, words: u32) -> u32 {
    let to = (words * 4).wrapping_neg();
    (to >> 12 & 1) << 31
        | (to >> 5 & 0x3f) << 25
        | rs << 15
        | 1 << 12
        | (to >> 1 & 15) << 8
        | (to >> 11 & 1) << 7
        | 0x63
}

/// Stays where it is.
pub const STAY: u32 = 0x6f;
