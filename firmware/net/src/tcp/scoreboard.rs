//! What the peer has beyond its cumulative acknowledgment (RFC 2018) and what is lost by that (RFC 6675).

use super::seq::{after, before, distance, earlier, later};
use sluice_wire::tcp::SackBlock;

/// Ranges kept; more holes than that are forgotten, which costs a needless retransmission and no more.
const RANGES: usize = 6;

/// Ascending, disjoint, not touching ranges above the cumulative acknowledgment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scoreboard {
    ranges: [SackBlock; RANGES],
    len: u8,
}

impl Scoreboard {
    pub const NONE: Self = Self {
        ranges: [SackBlock { left: 0, right: 0 }; RANGES],
        len: 0,
    };

    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub const fn clear(&mut self) {
        self.len = 0;
    }

    pub fn ranges(&self) -> &[SackBlock] {
        self.ranges.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Bytes in all ranges.
    pub fn bytes(&self) -> u32 {
        self.ranges()
            .iter()
            .map(|r| r.right.wrapping_sub(r.left))
            .sum()
    }

    /// Adds a block that the caller has found to lie between the acknowledgment and what was sent. Returns the bytes
    /// that are news.
    pub fn add(&mut self, mut block: SackBlock) -> u32 {
        let had = self.bytes();
        let mut kept = [SackBlock::default(); RANGES + 1];
        let mut count = 0;
        let mut placed = false;
        for range in self.ranges() {
            if before(range.right, block.left) {
                kept[count] = *range;
            } else if after(range.left, block.right) {
                if !placed {
                    kept[count] = block;
                    count += 1;
                    placed = true;
                }
                kept[count] = *range;
            } else {
                block.left = earlier(block.left, range.left);
                block.right = later(block.right, range.right);
                continue;
            }
            count += 1;
        }
        if !placed {
            // Behind everything that was kept so far (ranges that follow the block have placed it).
            kept[count] = block;
            count += 1;
        }
        self.store(&mut kept, count);
        self.bytes().saturating_sub(had)
    }

    /// Keeps `kept[..count]`, without its smallest range if that is one too many.
    fn store(&mut self, kept: &mut [SackBlock; RANGES + 1], mut count: usize) {
        if count > RANGES {
            let size = |i: &usize| kept[*i].right.wrapping_sub(kept[*i].left);
            let smallest = (0..=RANGES).min_by_key(size).unwrap_or(RANGES);
            kept.copy_within(smallest + 1.., smallest);
            count = RANGES;
        }
        self.ranges.copy_from_slice(&kept[..RANGES]);
        self.len = count as u8;
    }

    /// Everything before `una` is acknowledged. False if the first range begins at `una`: then the peer has thrown away
    /// what it had reported (RFC 2018, section 8), and the board is cleared.
    pub fn advance(&mut self, una: u32) -> bool {
        let done = self
            .ranges()
            .iter()
            .take_while(|r| !after(r.right, una))
            .count();
        self.ranges.copy_within(done.., 0);
        self.len -= done as u8;
        let reneged = self.ranges().first().is_some_and(|r| !after(r.left, una));
        if reneged {
            self.clear();
        }
        !reneged
    }

    /// The first bytes in `from..until` that the peer does not have.
    pub fn hole(&self, mut from: u32, until: u32) -> Option<(u32, u32)> {
        for range in self.ranges() {
            if before(from, range.left) {
                return before(from, until).then(|| (from, earlier(range.left, until)));
            }
            from = later(from, range.right);
        }
        before(from, until).then_some((from, until))
    }

    /// Bytes in `from..until` that the peer does not have.
    pub fn missing(&self, from: u32, until: u32) -> u32 {
        let covered = |r: &SackBlock| distance(later(from, r.left), earlier(r.right, until));
        distance(from, until) - self.ranges().iter().map(covered).sum::<u32>()
    }

    /// Up to where holes count as lost: more than two segments' worth of bytes, or three ranges, are above them (RFC
    /// 6675, section 4, IsLost). `None` if nothing is.
    pub fn lost_until(&self, mss: u32) -> Option<u32> {
        let mut bytes = 0;
        for (above, range) in self.ranges().iter().rev().enumerate() {
            bytes += range.right.wrapping_sub(range.left);
            if bytes > 2 * mss || above >= 2 {
                return Some(range.left);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;

    const fn block(left: u32, right: u32) -> SackBlock {
        SackBlock { left, right }
    }

    #[test]
    fn overlapping_and_touching_blocks_merge() {
        let mut board = Scoreboard::default();
        assert_eq!(board.add(block(100, 200)), 100);
        assert_eq!(board.add(block(300, 400)), 100);
        assert_eq!(board.add(block(200, 250)), 50);
        assert_eq!(board.add(block(240, 300)), 50);
        assert_eq!(board.ranges(), [block(100, 400)]);
        assert_eq!(board.add(block(150, 350)), 0);
        assert_eq!(
            (board.hole(50, 500), board.hole(100, 500)),
            (Some((50, 100)), Some((400, 500)))
        );
    }

    #[test]
    fn acknowledgment_of_a_reported_byte_only_up_to_its_start_is_reneging() {
        let mut board = Scoreboard::default();
        board.add(block(100, 200));
        assert!(board.advance(50));
        assert!(!board.advance(100));
        assert!(board.is_empty());
    }

    #[test]
    fn a_hole_is_lost_below_three_segments_or_three_ranges() {
        let mut board = Scoreboard::default();
        board.add(block(1000, 3000));
        assert_eq!(board.lost_until(1000), None);
        board.add(block(3000, 3001));
        assert_eq!(board.lost_until(1000), Some(1000));
        board.clear();
        for left in [100, 300, 500] {
            board.add(block(left, left + 10));
        }
        assert_eq!(board.lost_until(1000), Some(100));
    }

    #[test]
    fn the_smallest_range_gives_way_when_there_are_too_many() {
        let mut board = Scoreboard::default();
        for i in 0..7 {
            board.add(block(i * 100, i * 100 + if i == 3 { 5 } else { 10 }));
        }
        assert_eq!(board.ranges().len(), RANGES);
        assert!(board.ranges().iter().all(|r| r.left != 300));
    }

    proptest! {
        #[test]
        fn the_board_agrees_with_a_bitmap(
            base: u32,
            blocks in proptest::collection::vec((0u32..200, 1u32..60), 0..12),
            from in 0u32..250,
        ) {
            let mut board = Scoreboard::default();
            let mut bitmap = [false; 300];
            for (left, len) in blocks {
                let mut copy = board;
                let news = copy.add(block(base.wrapping_add(left), base.wrapping_add(left + len)));
                let mut next = bitmap;
                next[left as usize..(left + len) as usize].fill(true);
                let runs = (0..300).filter(|i| next[*i] && (*i == 0 || !next[*i - 1])).count();
                if runs > RANGES { continue }
                let added = (0..300).filter(|i| next[*i] && !bitmap[*i]).count();
                prop_assert_eq!(news as usize, added);
                (board, bitmap) = (copy, next);
            }
            prop_assert_eq!(board.bytes() as usize, bitmap.iter().filter(|b| **b).count());
            let missing = (from..300).filter(|i| !bitmap[*i as usize]).count() as u32;
            prop_assert_eq!(board.missing(base.wrapping_add(from), base.wrapping_add(300)), missing);
            let hole = (from..300).find(|i| !bitmap[*i as usize]).map(|a| {
                let b = (a..300).find(|i| bitmap[*i as usize]).unwrap_or(300);
                (base.wrapping_add(a), base.wrapping_add(b))
            });
            prop_assert_eq!(board.hole(base.wrapping_add(from), base.wrapping_add(300)), hole);
        }
    }
}
