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

/// How the card shows itself in PCI configuration space.
pub mod pci {
    /// Vendor. The card has no number of its own from PCI-SIG: this is Red Hat's range "available for experimental usage
    /// without registration" (1AF4:10F0 to 10FF; QEMU, docs/specs/pci-ids). A card that is sold needs its own.
    pub const VENDOR: u16 = 0x1AF4;
    /// Device. Linux' virtio driver looks at this vendor's devices and leaves those above 107Fh alone.
    pub const DEVICE: u16 = 0x10F5;
    /// Class code: processing accelerator (PCI Code and ID Assignment 1.11, section 1.19).
    pub const CLASS: u32 = 0x12_00_00;
    /// Device number of the simulated SSD, which shows itself to other programs beside the card.
    pub const SSD_DEVICE: u16 = 0x10F6;
    /// Class code of an NVM Express I/O controller (the same, section 1.2).
    pub const SSD_CLASS: u32 = 0x01_08_02;
}

/// A register as data, for those who show registers to people.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Name, as in the `*_OFFSET` constants.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Byte offset of the first instance.
    pub offset: u32,
    /// 4 or 8; of 8 the low word is read first.
    pub bytes: u8,
    /// The host may read it.
    pub readable: bool,
    /// Number of instances and bytes from one to the next, for each dimension; none for a single register.
    pub arrays: &'static [(u32, u32)],
    /// What its bits mean, lowest first.
    pub fields: &'static [Field],
}

/// A field of a register.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// What it means.
    pub about: &'static str,
    /// Highest bit.
    pub high: u8,
    /// Lowest bit.
    pub low: u8,
}
