//! The SSD model as a PCI function.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use sluice_regs::pci;

use super::{BarSpec, Function, MsixSpec, Profile};
use crate::fabric::{Clock, Device, Port};
use crate::port;
use crate::ssd::{BAR0_SIZE, MSIX_PENDING, MSIX_TABLE, Ssd};

/// An SSD behind a socket. Its time is its own: what it waits for by itself comes at once.
pub struct SsdFunction {
    ssd: Ssd,
    profile: Profile,
}

impl SsdFunction {
    /// An SSD after power-up.
    #[must_use]
    pub fn new(ssd: Ssd) -> Self {
        let config = ssd.config();
        let mut bars = [None; 6];
        bars[0] = Some(BarSpec {
            size: BAR0_SIZE,
            prefetchable: false,
        });
        let profile = Profile {
            name: config.name.clone(),
            vendor: pci::VENDOR,
            device: pci::SSD_DEVICE,
            class: pci::SSD_CLASS,
            serial: serial(&config.serial),
            lanes: 4,
            bars,
            msix: MsixSpec {
                bar: 0,
                table: MSIX_TABLE,
                pending: MSIX_PENDING,
                vectors: config.vectors,
            },
        };
        Self { ssd, profile }
    }

    /// The model.
    pub fn ssd(&mut self) -> &mut Ssd {
        &mut self.ssd
    }
}

/// A device serial number out of a serial number of letters: FNV-1a.
pub(super) fn serial(text: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    text.bytes().fold(0xCBF2_9CE4_8422_2325, step)
}

impl Function for SsdFunction {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn address(&self, _bar: u8, offset: u64) -> u64 {
        offset
    }

    fn run(&mut self, until: Clock, port: &mut Port) -> io::Result<()> {
        self.ssd.run(until, port);
        Ok(())
    }

    fn idle_until(&self) -> Option<Clock> {
        self.ssd.idle_until()
    }

    fn is_idle(&self) -> bool {
        self.ssd.idle_until() == Some(Clock::MAX)
    }

    fn reset(&mut self, _now: Clock, _port: &mut Port) {
        self.ssd.function_reset();
    }

    fn wait(&mut self, fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<()> {
        let mut fds: Vec<_> = fds
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        port::wait_any(&mut fds, timeout)
    }
}
