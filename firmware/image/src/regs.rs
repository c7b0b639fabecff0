//! temporary: raw registers
#![allow(unsafe_code)]
pub fn core_number() -> u8 { unsafe { (0x8000_0000 as *const u32).read_volatile() as u8 } }
pub fn micros_low() -> u32 { unsafe { (0x8000_0010 as *const u32).read_volatile() } }
