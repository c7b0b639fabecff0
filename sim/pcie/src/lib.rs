//! PCIe of the simulation: packets between devices ([`fabric`]), and a device as a PCI function for other programs, by a vfio-user
//! server in front of its model.
//!
//! - [`config_space`]: PCI configuration space, which the models do not have;
//! - [`dma`]: what of the client's memory can be reached, and how;
//! - [`irqs`]: MSI-X vectors as event descriptors;
//! - [`engine`]: the client's messages, and what the model's packets do to its memory;
//! - [`server`]: the socket; [`served`]: the same in a thread.
//!
//! A BAR is trapped, every access a message, in order with all others, but for the parts that the function shares
//! ([decision 005](../../../docs/decisions/005-vfio-user.md)). The server serves one client at a time. Not here: INTx, MSI,
//! migration, dirty page logging, ioeventfds, error interrupts.

pub mod config_space;
pub mod dma;
pub mod engine;
pub mod fabric;
pub mod irqs;
pub mod served;
pub mod server;

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use sluice_vfio_user::memory::SharedFile;

use crate::fabric::{Clock, Port};

pub use served::Served;
pub use server::{Server, ServerError};

/// What a function shows of itself.
#[derive(Clone, Debug)]
pub struct Profile {
    /// For messages.
    pub name: String,
    /// Vendor number.
    pub vendor: u16,
    /// Device number.
    pub device: u16,
    /// Class code, 24 bits.
    pub class: u32,
    /// Device serial number.
    pub serial: u64,
    /// Width of its link.
    pub lanes: u8,
    /// BARs; each is 64 bits wide, so that the one behind it must be absent.
    pub bars: [Option<BarSpec>; 6],
    /// Its interrupts.
    pub msix: MsixSpec,
}

/// A BAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarSpec {
    /// Bytes, a power of two of at least 4,096.
    pub size: u64,
    /// Reads have no effect.
    pub prefetchable: bool,
}

/// Where MSI-X lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsixSpec {
    /// BAR of table and pending bits.
    pub bar: u8,
    /// Offset of the table.
    pub table: u64,
    /// Offset of the pending bits.
    pub pending: u64,
    /// Vectors, 1 to 2,048.
    pub vectors: u16,
}

impl MsixSpec {
    /// Bytes of the table.
    #[must_use]
    pub fn table_len(&self) -> u64 {
        16 * u64::from(self.vectors)
    }

    /// Bytes of the pending bits.
    #[must_use]
    pub fn pending_len(&self) -> u64 {
        8 * u64::from(self.vectors).div_ceil(64)
    }
}

/// Memory behind a BAR that clients may map.
#[derive(Clone, Debug)]
pub struct SharedBar {
    /// The file; the BAR begins where it begins.
    pub file: Arc<SharedFile>,
    /// What of the BAR may be mapped, in whole pages, rising, apart. The rest is trapped.
    pub areas: Vec<Range<u64>>,
}

/// A model as a PCI function.
pub trait Function {
    /// What it shows of itself. Never changes.
    fn profile(&self) -> &Profile;

    /// The memory behind a BAR, if there is any to share. Never changes.
    fn shared(&self, _bar: u8) -> Option<SharedBar> {
        None
    }

    /// The address of a byte of a BAR in the packets that the model takes.
    fn address(&self, bar: u8, offset: u64) -> u64;

    /// Runs up to (not including) clock `until`.
    ///
    /// # Errors
    /// If something that the model is joined to outside has failed for good.
    fn run(&mut self, until: Clock, port: &mut Port) -> io::Result<()>;

    /// As [`fabric::Device::idle_until`].
    fn idle_until(&self) -> Option<Clock>;

    /// Nothing will happen soon unless a packet arrives: the time for a sleep.
    fn is_idle(&self) -> bool;

    /// Resets the function, but for what PCI configuration space holds; through packets, or directly.
    fn reset(&mut self, now: Clock, port: &mut Port);

    /// Sleeps until one of `fds` is readable, or something happens outside, or for `timeout`.
    ///
    /// # Errors
    /// The system's.
    fn wait(&mut self, fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<()>;
}
