//! Register map of the card: blocks and offsets, generated from `hdl-bindings/rdl/`. No behaviour, no pointers.
//!
//! [`core_regs`] is what a core sees at `8000_0000`, [`bar0_regs`] what the host sees through BAR0 (and a core at `9000_0000`).
//! Firmware lays a `Block` over the address; the host, which reaches BAR0 through a trait of its own, uses the `*_OFFSET`
//! constants and the field types.
#![no_std]
#![forbid(unsafe_code)]

mod generated;

pub use generated::{bar0_regs, core_regs};

/// What `MAGIC` reads: "SLUC".
pub const MAGIC: u32 = 0x534C_5543;
/// Version of the map described here; `MAP_VERSION` must read the same.
pub const MAP_VERSION: u32 = 1;
