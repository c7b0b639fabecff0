//! How the host driver reaches a PCIe device: its BARs, memory the device can reach, its interrupts, and the time.
//!
//! These traits are all that `sluice-driver` knows of the machine, so the same driver runs over VFIO and over a
//! simulated fabric. Nothing here is asynchronous: every call returns when it is done, and a simulation advances its
//! world inside the call. Implementations take `&self`; one device is used by one thread at a time.
#![forbid(unsafe_code)]

mod bar;
mod clock;
mod dma;
mod irq;
mod keep;
pub mod pcie;
pub mod testing;
mod trouble;

pub use bar::{Bar, BarError, all_ones32, all_ones64};
pub use clock::{Clock, SystemClock};
pub use dma::{Dma, DmaBuffer, DmaError};
pub use irq::{Irq, IrqError};
pub use keep::{Keeper, Kept, KeptBar, NoName, sort_kept};
pub use trouble::Trouble;

/// A PCIe function, open and with bus mastering on.
pub trait Device {
    /// What to call it in messages: a PCI address such as `0000:01:00.0`, or a simulated device's name.
    fn name(&self) -> &str;

    /// Base address register `index` (0 to 5); a 64-bit BAR goes by the lower of its two.
    ///
    /// # Errors
    /// [`BarError::Absent`] if the device has no such memory BAR.
    fn bar(&self, index: u8) -> Result<&dyn Bar, BarError>;

    /// Memory the device can reach.
    fn dma(&self) -> &dyn Dma;

    /// Its interrupts.
    fn irq(&self) -> &dyn Irq;

    /// The time that its timeouts are measured in.
    fn clock(&self) -> &dyn Clock;

    /// What the system says is wrong with the device, registers aside. Never waits.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// Its PCIe link, if it has one.
    fn link(&self) -> Option<pcie::Link> {
        None
    }
}

impl<T: Device + ?Sized> Device for Box<T> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn bar(&self, index: u8) -> Result<&dyn Bar, BarError> {
        (**self).bar(index)
    }
    fn dma(&self) -> &dyn Dma {
        (**self).dma()
    }
    fn irq(&self) -> &dyn Irq {
        (**self).irq()
    }
    fn clock(&self) -> &dyn Clock {
        (**self).clock()
    }
    fn trouble(&self) -> Option<Trouble> {
        (**self).trouble()
    }
    fn link(&self) -> Option<pcie::Link> {
        (**self).link()
    }
}

impl<T: Device + ?Sized> Device for std::rc::Rc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn bar(&self, index: u8) -> Result<&dyn Bar, BarError> {
        (**self).bar(index)
    }
    fn dma(&self) -> &dyn Dma {
        (**self).dma()
    }
    fn irq(&self) -> &dyn Irq {
        (**self).irq()
    }
    fn clock(&self) -> &dyn Clock {
        (**self).clock()
    }
    fn trouble(&self) -> Option<Trouble> {
        (**self).trouble()
    }
    fn link(&self) -> Option<pcie::Link> {
        (**self).link()
    }
}
