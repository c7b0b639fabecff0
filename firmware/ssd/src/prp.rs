//! The identity table: the bus address of every data page in order, so that no PRP list is ever built.
//! Source: NVMe Base Specification 2.1, section 4.1.1 (Physical Region Page Entry and List).

use sluice_hal::{Hal, PmAddr, layout};

use crate::pages::Run;

/// Packet memory as the SSDs reach it. Its bus address is a multiple of its size, as PCI BARs are, so that the high
/// half is the same for every byte and no carry is ever needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PmBus {
    /// Low half of the base, a multiple of [`layout::PM_SIZE`].
    low: u32,
    /// High half of every address.
    pub high: u32,
}

impl PmBus {
    /// Packet memory at bus address `base`; `None` if that is not a multiple of its size.
    #[must_use]
    pub const fn new(base: u64) -> Option<Self> {
        if base & (layout::PM_SIZE as u64 - 1) != 0 {
            return None;
        }
        Some(Self {
            low: base as u32,
            high: (base >> 32) as u32,
        })
    }

    /// Low half of the bus address of `at`.
    #[inline]
    #[must_use]
    pub const fn low(self, at: PmAddr) -> u32 {
        self.low | at.0
    }

    /// Bus address of `at`.
    #[must_use]
    pub const fn address(self, at: PmAddr) -> u64 {
        (self.high as u64) << 32 | self.low(at) as u64
    }

    /// Low half of PRP2 for the first `pages` pages of `run`: nothing, the second page, or the list of the rest.
    #[inline]
    #[must_use]
    pub const fn prp2_low(self, run: Run) -> u32 {
        match run.pages() {
            1 => 0,
            2 => self.low(run.addr().plus(layout::PAGE_SIZE)),
            _ => self.low(PmAddr(layout::PRP_BASE + 8 * (run.first_page() as u32 + 1))),
        }
    }
}

/// Writes the table. Control core, once, before the first SSD is attached.
pub fn fill<H: Hal>(hal: &mut H, bus: PmBus) {
    for page in 0..layout::PAGES {
        let entry = PmAddr(layout::PRP_BASE + 8 * page);
        hal.pm_write32(
            entry,
            bus.low(PmAddr(layout::PAGES_BASE + layout::PAGE_SIZE * page)),
        );
        hal.pm_write32(entry.plus(4), bus.high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Pages;

    #[test]
    fn a_base_that_is_no_multiple_of_the_size_is_refused() {
        assert_eq!(PmBus::new(0x80_0000), None);
        assert_eq!(
            PmBus::new(0x12_3400_0000).map(|b| b.address(PmAddr(0x60_0000))),
            Some(0x12_3460_0000)
        );
    }

    #[test]
    fn lists_stay_inside_one_page_of_the_table() {
        let mut pages = Pages::new();
        pages.add(0, layout::PAGES);
        let bus = PmBus::new(0).expect("zero is a multiple");
        for n in (3..=32).cycle().take(200) {
            let Some(run) = pages.alloc(n) else { break };
            let list = bus.prp2_low(run);
            let last = list + 8 * (n - 2);
            assert_eq!(
                list / layout::PAGE_SIZE,
                last / layout::PAGE_SIZE,
                "{run:?}"
            );
        }
    }
}
