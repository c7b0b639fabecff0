//! What is left in the cells when the power fails during a program or an erase.
//!
//! A program drives all bits of its data towards zero at once, some cells faster than others. An erase first programs the
//! whole sector to zeros, so that no cell is erased too deeply, and then drives all of it towards ones. A cell in between reads
//! as it likes.

use rand_core::Rng;

use crate::{Nor, Operation, page_bytes};

impl Nor {
    /// The power fails now.
    pub fn cut_power(&mut self) {
        self.powered = false;
        self.cut_at = None;
        match self.busy.take().map(|(operation, _)| operation) {
            None => {}
            Some(Operation::Program { at, data }) => {
                let progress = self.progress();
                for (at, byte) in page_bytes(at, &data) {
                    self.drive(at, !byte, false, progress);
                }
            }
            Some(Operation::Erase { at, len }) => {
                self.wear[at / crate::SECTOR] += 1;
                let clearing = self.rng.next_u32().is_multiple_of(3);
                let progress = self.progress();
                for at in at..at + len {
                    if clearing {
                        self.drive(at, 0xFF, false, progress);
                    } else {
                        self.cells[at] = 0;
                        self.firm(at, 0xFF);
                        self.drive(at, 0xFF, true, progress);
                    }
                }
            }
        }
    }

    /// How far the operation was, in 256ths; quite often at one of its ends.
    fn progress(&mut self) -> u32 {
        match self.rng.next_u32() % 8 {
            0 => 0,
            1 => 2,
            2 => 254,
            3 => 256,
            _ => self.rng.next_u32() % 257,
        }
    }

    /// Drives `bits` of a byte towards `to`: of 256 about `progress` get there, an eighth of the others are left unstable.
    fn drive(&mut self, at: usize, bits: u8, to: bool, progress: u32) {
        for bit in (0..8).map(|i| 1u8 << i).filter(|bit| bits & bit != 0) {
            let is = self.cells[at] & bit != 0;
            let firm = self.weak.get(&at).is_none_or(|mask| mask & bit == 0);
            if is == to && firm {
                continue;
            }
            let draw = self.rng.next_u32();
            if draw % 256 < progress {
                self.firm(at, bit);
                if to {
                    self.cells[at] |= bit;
                } else {
                    self.cells[at] &= !bit;
                }
            } else if progress > 0 && (draw >> 8).is_multiple_of(8) {
                *self.weak.entry(at).or_default() |= bit;
            }
        }
    }
}
