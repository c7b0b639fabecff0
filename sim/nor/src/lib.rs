//! A serial NOR flash chip as it behaves on the worst day: programming only clears bits, erasing takes its time and whole
//! sectors, and if the power fails meanwhile some bits have changed, some have not, and some read differently each time.
//!
//! | file | what it is |
//! |---|---|
//! | `lib` | the array: cells, time, wear |
//! | `cut` | what a power cut leaves |
//! | `storage` | the array behind `embedded-storage`'s traits |
//! | `fuses` | the fuses beside it |
//! | `serial` | the array behind the pins of a serial flash |
//! | `quad` | its four lines: what it says of them, and what gives them |
//! | `spi_device` | these pins behind `embedded-hal`'s trait |
//!
//! Times and sizes are those of a common 32 Mbit part (Winbond W25Q32JV, data sheet revision G, section 9.6). Not modelled: block
//! protection, the security registers, suspend and resume of an erase, cells that lose charge over years.
#![forbid(unsafe_code)]

mod cut;
mod fuses;
mod quad;
pub mod serial;
mod spi_device;
mod storage;

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub use fuses::FuseBank;
pub use quad::{Quad, Written};
pub use serial::SerialNor;
pub use storage::NorError;

/// Bytes that one program takes at most; it wraps within this.
pub const PAGE: usize = 256;
/// Bytes that the smallest erase clears.
pub const SECTOR: usize = 4096;

/// How long things take, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Programming a page.
    pub program: u64,
    /// Erasing a sector.
    pub sector_erase: u64,
}

impl Timing {
    /// Nothing takes time.
    pub const INSTANT: Self = Self {
        program: 0,
        sector_erase: 0,
    };
    /// Typical: 0.4 ms and 45 ms.
    pub const TYPICAL: Self = Self {
        program: 400_000,
        sector_erase: 45_000_000,
    };
}

/// What the chip is doing.
#[derive(Clone, Debug)]
enum Operation {
    Program { at: usize, data: Vec<u8> },
    Erase { at: usize, len: usize },
}

/// What a chip may be doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// Part of a page.
    Program,
    /// A sector.
    Erase,
}

/// The chip.
#[derive(Clone)]
pub struct Nor {
    cells: Vec<u8>,
    /// Bits that read differently each time, by address.
    weak: BTreeMap<usize, u8>,
    wear: Vec<u32>,
    rng: ChaCha8Rng,
    timing: Timing,
    now: u64,
    busy: Option<(Operation, u64)>,
    started: u64,
    /// The power fails during the operation with this number.
    cut_at: Option<u64>,
    powered: bool,
    /// Bits that somebody wanted to be set and that only an erase could have set.
    lost_bits: u64,
}

impl Nor {
    /// A blank chip of `size` bytes, a multiple of [`SECTOR`]. What power cuts do follows `seed`.
    #[must_use]
    pub fn new(size: usize, timing: Timing, seed: u64) -> Self {
        assert!(
            size > 0 && size.is_multiple_of(SECTOR),
            "whole sectors of {SECTOR} bytes, not {size} bytes"
        );
        Self {
            cells: vec![0xFF; size],
            weak: BTreeMap::new(),
            wear: vec![0; size / SECTOR],
            rng: ChaCha8Rng::seed_from_u64(seed),
            timing,
            now: 0,
            busy: None,
            started: 0,
            cut_at: None,
            powered: true,
            lost_bits: 0,
        }
    }

    /// A chip that an external programmer has filled; what is behind `content` is blank.
    #[must_use]
    pub fn with_content(mut self, content: &[u8]) -> Self {
        self.cells[..content.len()].copy_from_slice(content);
        self
    }

    /// The same chip with another fate: what power cuts do from now on follows `seed`.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.rng = ChaCha8Rng::seed_from_u64(seed);
        self
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.cells.len()
    }

    /// The cells as they are, unstable ones as they happen to be stored. For looking at, not for firmware.
    #[must_use]
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// For tests that damage the chip.
    pub fn cells_mut(&mut self) -> &mut [u8] {
        &mut self.cells
    }

    /// Makes bits of a byte unstable, for tests that want it so.
    pub fn weaken(&mut self, at: usize, bits: u8) {
        *self.weak.entry(at).or_default() |= bits;
    }

    /// Erases of each sector so far.
    #[must_use]
    pub fn wear(&self) -> &[u32] {
        &self.wear
    }

    /// Programs and erases started so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.started
    }

    /// Zero bits that a program wanted to be ones: it takes an erase to do that, so whoever wrote made a mistake.
    #[must_use]
    pub fn lost_bits(&self) -> u64 {
        self.lost_bits
    }

    /// Bits that read differently each time.
    #[must_use]
    pub fn weak_bits(&self) -> u32 {
        self.weak.values().map(|mask| mask.count_ones()).sum()
    }

    /// Lets the power fail during the program or erase after the next `operations`.
    pub fn cut_after(&mut self, operations: u64) {
        self.cut_at = Some(self.started + operations);
    }

    /// The chip has power.
    #[must_use]
    pub fn is_powered(&self) -> bool {
        self.powered
    }

    /// Power comes back; the chip is idle. Who has it now tells it the time anew, from any.
    pub fn power_on(&mut self) {
        self.powered = true;
        self.cut_at = None;
        self.now = 0;
    }

    /// Sets the time, in nanoseconds; never back.
    pub fn set_time(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.settle();
    }

    /// The chip is programming or erasing.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// What the chip is doing, if it is busy, and from which address on.
    #[must_use]
    pub fn doing(&self) -> Option<(Doing, usize)> {
        Some(match &self.busy.as_ref()?.0 {
            Operation::Program { at, .. } => (Doing::Program, *at),
            Operation::Erase { at, .. } => (Doing::Erase, *at),
        })
    }

    /// When it will be done, in nanoseconds, if it is busy.
    #[must_use]
    pub fn busy_until(&self) -> Option<u64> {
        self.busy.as_ref().map(|(_, until)| *until)
    }

    /// Reads, wrapping at the end of the chip. Meaningless while it is busy.
    pub fn read_at(&mut self, at: usize, into: &mut [u8]) {
        for (i, byte) in into.iter_mut().enumerate() {
            let at = (at + i) % self.cells.len();
            *byte = self.cells[at];
            if let Some(mask) = self.weak.get(&at) {
                let noise = self.rng.next_u32() as u8;
                *byte = (*byte & !mask) | (noise & mask);
            }
        }
    }

    /// Starts to program up to a page; addresses wrap within the page. The chip must not be busy.
    pub fn program_at(&mut self, at: usize, data: &[u8]) {
        assert!(!self.is_busy(), "a program while the chip is busy");
        assert!(data.len() <= PAGE, "a page at most");
        let data = data.to_vec();
        self.begin(Operation::Program { at, data }, self.timing.program);
    }

    /// Starts to erase the sector that `at` is in. The chip must not be busy.
    pub fn erase_at(&mut self, at: usize) {
        assert!(!self.is_busy(), "an erase while the chip is busy");
        let at = at / SECTOR * SECTOR % self.cells.len();
        self.begin(
            Operation::Erase { at, len: SECTOR },
            self.timing.sector_erase,
        );
    }

    fn begin(&mut self, operation: Operation, takes: u64) {
        self.busy = Some((operation, self.now + takes));
        let number = self.started;
        self.started += 1;
        if self.cut_at == Some(number) {
            self.cut_power();
        }
        self.settle();
    }

    fn settle(&mut self) {
        if let Some((operation, _)) = self.busy.take_if(|(_, until)| *until <= self.now) {
            self.finish(&operation);
        }
    }

    fn finish(&mut self, operation: &Operation) {
        match operation {
            Operation::Program { at, data } => {
                for (at, byte) in page_bytes(*at, data) {
                    self.lost_bits += u64::from((byte & !self.cells[at]).count_ones());
                    self.cells[at] &= byte;
                    self.firm(at, !byte);
                }
            }
            Operation::Erase { at, len } => {
                self.cells[*at..at + len].fill(0xFF);
                for at in *at..at + len {
                    self.firm(at, 0xFF);
                }
                self.wear[at / SECTOR] += 1;
            }
        }
    }

    /// These bits are no longer unstable.
    fn firm(&mut self, at: usize, bits: u8) {
        if let Some(mask) = self.weak.get_mut(&at) {
            *mask &= !bits;
            if *mask == 0 {
                self.weak.remove(&at);
            }
        }
    }
}

/// Without the cells, which nobody could read.
impl core::fmt::Debug for Nor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Nor")
            .field("size", &self.cells.len())
            .field("busy", &self.busy)
            .field("operations", &self.started)
            .finish_non_exhaustive()
    }
}

/// The bytes of a program with their addresses.
fn page_bytes(at: usize, data: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let page = at / PAGE * PAGE;
    data.iter()
        .enumerate()
        .map(move |(i, byte)| (page + (at + i) % PAGE, *byte))
}

#[cfg(test)]
mod tests;
