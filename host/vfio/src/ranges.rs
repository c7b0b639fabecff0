//! Free ranges of a 64-bit space: bus addresses of an IOMMU domain, bytes of a piece of memory. First fit.

use std::ops::RangeInclusive;

/// What is free, in order, neighbours joined. Ends are inclusive, so that the whole space can be free.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges(Vec<RangeInclusive<u64>>);

impl Ranges {
    /// All of these are free; they may be in any order and overlap.
    pub fn new(free: impl IntoIterator<Item = RangeInclusive<u64>>) -> Self {
        let mut ranges: Vec<_> = free.into_iter().filter(|r| r.start() <= r.end()).collect();
        ranges.sort_by_key(|r| *r.start());
        let mut all = Self::default();
        for range in ranges {
            all.append(range);
        }
        all
    }

    /// Takes `len` bytes (above 0) at a multiple of `align` (a power of two); the lowest that there are.
    pub fn alloc(&mut self, len: u64, align: u64) -> Option<u64> {
        let last = len.checked_sub(1)?;
        let start = self.0.iter().find_map(|range| {
            let start = range.start().checked_next_multiple_of(align)?;
            let end = start.checked_add(last)?;
            (end <= *range.end()).then_some(start)
        })?;
        self.take(start, len).then_some(start)
    }

    /// Takes exactly these bytes; false, and nothing taken, if not all of them are free.
    #[must_use]
    pub fn take(&mut self, start: u64, len: u64) -> bool {
        let Some(end) = len.checked_sub(1).and_then(|l| start.checked_add(l)) else {
            return false;
        };
        let Some(at) = (self.0.iter()).position(|r| r.contains(&start) && r.contains(&end)) else {
            return false;
        };
        let range = self.0.remove(at);
        let (before, after) = (*range.start()..start, end..*range.end());
        if !after.is_empty() {
            self.0.insert(at, end + 1..=after.end);
        }
        if !before.is_empty() {
            self.0.insert(at, before.start..=start - 1);
        }
        true
    }

    /// Gives bytes back that were taken.
    pub fn give(&mut self, start: u64, len: u64) {
        let Some(end) = len.checked_sub(1).and_then(|l| start.checked_add(l)) else {
            return;
        };
        *self = Self::new(std::mem::take(&mut self.0).into_iter().chain([start..=end]));
    }

    /// What is free here and in `other`.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let pairs = self
            .0
            .iter()
            .flat_map(|a| other.0.iter().map(move |b| (a, b)));
        Self::new(pairs.map(|(a, b)| *a.start().max(b.start())..=*a.end().min(b.end())))
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = &RangeInclusive<u64>> {
        self.0.iter()
    }

    /// Adds a range that begins no earlier than the last one.
    fn append(&mut self, range: RangeInclusive<u64>) {
        match self.0.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => self.0.push(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_taken_is_aligned_and_never_in_a_hole() {
        // A PC's: below the MSI window, and above it.
        let mut free = Ranges::new([0x1_0000..=0xFEDF_FFFF, 0xFEF0_0000..=(1 << 39) - 1]);
        assert_eq!(free.alloc(0x1000, 0x1000), Some(0x1_0000));
        assert_eq!(free.alloc(16 << 20, 16 << 20), Some(16 << 20));
        // Too large for what is below the window.
        assert_eq!(free.alloc(1 << 32, 1 << 32), Some(1 << 32));
        assert!(!free.take(0xFEE0_0000, 0x1000));
        assert!(!free.take(0xFEDF_F000, 0x2000));
        assert!(free.take(0xFEDF_F000, 0x1000));
        assert!(!free.take(0xFEDF_F000, 0x1000));
    }

    #[test]
    fn the_ends_of_the_space_do_not_overflow() {
        let mut free = Ranges::new([0..=u64::MAX]);
        assert!(free.take(u64::MAX, 1));
        assert!(!free.take(u64::MAX, 2));
        assert_eq!(free.alloc(u64::MAX, 1), Some(0));
        assert_eq!(free.alloc(1, 1), None);
        free.give(u64::MAX, 1);
        free.give(0, u64::MAX);
        assert_eq!(free, Ranges::new([0..=u64::MAX]));
        assert_eq!(free.alloc(0, 1), None);
    }

    #[test]
    fn what_two_devices_have_in_common_is_what_both_have() {
        let a = Ranges::new([0..=99, 200..=299]);
        let b = Ranges::new([50..=249]);
        assert_eq!(a.and(&b), Ranges::new([50..=99, 200..=249]));
    }

    proptest! {
        #[test]
        fn nothing_is_given_out_twice_and_all_comes_back(
            steps in prop::collection::vec((1u64..5000, 0u32..13, any::<bool>(), any::<prop::sample::Index>()), 1..200)
        ) {
            let whole = Ranges::new([0x1000..=0xF_FFFF, 0x20_0000..=0x2F_FFFF]);
            let mut free = whole.clone();
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for (len, shift, give, which) in steps {
                if give && !taken.is_empty() {
                    let (start, len) = taken.swap_remove(which.index(taken.len()));
                    free.give(start, len);
                } else if let Some(start) = free.alloc(len, 1 << shift) {
                    prop_assert_eq!(start % (1 << shift), 0);
                    prop_assert!(whole.iter().any(|r| r.contains(&start) && r.contains(&(start + len - 1))));
                    prop_assert!(taken.iter().all(|(s, l)| start + len <= *s || s + l <= start));
                    taken.push((start, len));
                }
            }
            for (start, len) in taken {
                free.give(start, len);
            }
            prop_assert_eq!(free, whole);
        }
    }
}
