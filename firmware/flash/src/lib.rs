//! Drivers of the card's flash: the serial controller as an `embedded-hal` SPI device, and the chip behind any such device as
//! an `embedded-storage` NOR flash.
//!
//! The boot program and the control core's firmware use both; nothing here knows slots or packages (that is `sluice-boot`), and
//! registers are reached through [`Registers`], which a leaf crate implements. A transfer is waited for (at most 256 bytes:
//! 33 µs on one line, 8 µs on four), the chip's own work is not: see [`sluice_boot::Flash`].
#![no_std]
#![forbid(unsafe_code)]

mod chip;
mod controller;

pub use chip::{Chip, ChipError};
pub use controller::{Controller, QuadDevice, Registers};
