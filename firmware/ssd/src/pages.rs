//! Data pages of one core: runs of 1 to 32 pages of packet memory, taken and given back in constant time.
//!
//! A run starts at a multiple of its length rounded up to a power of two, so that it never crosses a group of 512
//! pages and its PRP list stands ready-made in the identity table ([`crate::prp`]). Only the pages asked for are
//! taken: 9 pages leave the other 7 of their 16 free for shorter runs.
//!
//! Pages are kept in blocks of 32, one bit per page; a block is listed under the longest run it can still give.
//! Single pages go through a small stack first: that is the 4 KiB path.

use sluice_hal::{PmAddr, PmSlice, layout};

/// Longest run, in pages (128 KiB).
pub const MAX_RUN: u32 = 32;

/// Blocks of 32 pages in packet memory.
const BLOCKS: usize = (layout::PAGES / MAX_RUN) as usize;
/// Length classes, log2 of the longest run.
const CLASSES: usize = 6;
/// End of a list, or "in no list". Blocks and classes are kept as their number and one, so that an allocator without pages is
/// all zeros and costs an image of the firmware nothing.
const NONE: u8 = 0;
/// Single pages kept at hand.
const STACK: usize = 32;

const _: () = assert!(layout::PAGES.is_multiple_of(MAX_RUN) && BLOCKS < u8::MAX as usize);

/// Pages held by whoever has this value, which is to be given back once with [`Pages::free`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// First page, counted from [`layout::PAGES_BASE`].
    page: u16,
    /// 1 to [`MAX_RUN`].
    count: u8,
}

impl Run {
    /// Number of the first page.
    #[must_use]
    pub const fn first_page(self) -> u16 {
        self.page
    }

    /// Pages, 1 to [`MAX_RUN`].
    #[must_use]
    pub const fn pages(self) -> u32 {
        self.count as u32
    }

    /// First byte.
    #[must_use]
    pub const fn addr(self) -> PmAddr {
        PmAddr(layout::PAGES_BASE + self.page as u32 * layout::PAGE_SIZE)
    }

    /// The whole run.
    #[must_use]
    pub const fn slice(self) -> PmSlice {
        PmSlice::new(self.addr(), self.pages() * layout::PAGE_SIZE)
    }

    /// The run as one word, for tokens and mailboxes.
    #[must_use]
    pub const fn to_word(self) -> u32 {
        self.page as u32 | (self.count as u32) << 16
    }

    /// The run that [`Run::to_word`] gave; `None` if the word never came from there.
    #[must_use]
    pub const fn from_word(word: u32) -> Option<Self> {
        let (page, count) = (word & 0xFFFF, word >> 16);
        if count == 0 || count > MAX_RUN || page + count > layout::PAGES {
            return None;
        }
        Some(Self {
            page: page as u16,
            count: count as u8,
        })
    }
}

/// The allocator. Starts empty; [`Pages::add`] gives it its range.
#[derive(Debug)]
pub struct Pages {
    /// One bit per free page that is not on the stack.
    free: [u32; BLOCKS],
    /// Class under which a block is listed and one, or [`NONE`].
    class: [u8; BLOCKS],
    next: [u8; BLOCKS],
    prev: [u8; BLOCKS],
    head: [u8; CLASSES],
    /// Bit per non-empty list.
    listed: u8,
    stack: [u16; STACK],
    stacked: u8,
    available: u16,
    total: u16,
    refused: u32,
    misfreed: u32,
}

impl Default for Pages {
    fn default() -> Self {
        Self::new()
    }
}

impl Pages {
    /// An allocator without pages.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            free: [0; BLOCKS],
            class: [NONE; BLOCKS],
            next: [NONE; BLOCKS],
            prev: [NONE; BLOCKS],
            head: [NONE; CLASSES],
            listed: 0,
            stack: [0; STACK],
            stacked: 0,
            available: 0,
            total: 0,
            refused: 0,
            misfreed: 0,
        }
    }

    /// The share of data core `index` (0-based) of `of`: first page and number of pages, in whole blocks.
    #[must_use]
    pub fn share(index: u32, of: u32) -> (u32, u32) {
        let blocks = BLOCKS as u32;
        let of = of.max(1);
        let (from, to) = (index * blocks / of, (index + 1) * blocks / of);
        (from * MAX_RUN, (to - from) * MAX_RUN)
    }

    /// Adds pages `first` to `first + count`; those outside packet memory or already here are left out.
    pub fn add(&mut self, first: u32, count: u32) {
        for page in first..first.saturating_add(count).min(layout::PAGES) {
            let (block, bit) = ((page / MAX_RUN) as usize, 1 << (page % MAX_RUN));
            if let Some(word) = self.free.get_mut(block)
                && *word & bit == 0
            {
                *word |= bit;
                self.total += 1;
                self.available += 1;
                self.relist(block);
            }
        }
    }

    /// Pages free now.
    #[must_use]
    pub const fn available(&self) -> u32 {
        self.available as u32
    }

    /// Pages in all.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total as u32
    }

    /// Times nothing long enough was free.
    #[must_use]
    pub const fn refused(&self) -> u32 {
        self.refused
    }

    /// Runs given back that were not out: a bug, which debug builds stop at.
    #[must_use]
    pub const fn misfreed(&self) -> u32 {
        self.misfreed
    }

    /// Takes `pages` (1 to [`MAX_RUN`]) adjacent pages. `None` if no such run is free, or none is that long.
    #[inline]
    pub fn alloc(&mut self, pages: u32) -> Option<Run> {
        if pages == 1 && self.stacked != 0 {
            self.stacked -= 1;
            self.available -= 1;
            let page = self.stack[usize::from(self.stacked) % STACK];
            return Some(Run { page, count: 1 });
        }
        self.alloc_run(pages)
    }

    /// Takes enough pages for `bytes` (1 to 128 KiB).
    #[inline]
    pub fn alloc_bytes(&mut self, bytes: u32) -> Option<Run> {
        self.alloc(bytes.div_ceil(layout::PAGE_SIZE))
    }

    /// Gives a run back.
    #[inline]
    pub fn free(&mut self, run: Run) {
        debug_assert!(!self.any_free(run), "{run:?} is free already");
        if run.count == 1 && usize::from(self.stacked) < STACK && self.available < self.total {
            self.stack[usize::from(self.stacked)] = run.page;
            self.stacked += 1;
            self.available += 1;
            return;
        }
        self.free_run(run);
    }

    fn alloc_run(&mut self, pages: u32) -> Option<Run> {
        if pages == 0 || pages > MAX_RUN {
            self.refused = self.refused.wrapping_add(1);
            return None;
        }
        let order = order_of(pages);
        if self.listed >> order == 0 {
            self.unstack();
        }
        let fitting = self.listed >> order;
        if fitting == 0 {
            self.refused = self.refused.wrapping_add(1);
            return None;
        }
        let class = order as usize + low_bit(u32::from(fitting)) as usize;
        let block = usize::from(self.head[class]).wrapping_sub(1);
        let at = low_bit(starts(self.free[block], order));
        self.free[block] &= !mask(at, pages);
        self.available -= pages as u16;
        self.relist(block);
        Some(Run {
            page: block as u16 * MAX_RUN as u16 + at as u16,
            count: pages as u8,
        })
    }

    fn free_run(&mut self, run: Run) {
        let block = usize::from(run.page) / MAX_RUN as usize;
        let bits = mask(u32::from(run.page) % MAX_RUN, run.pages());
        match self.free.get_mut(block) {
            Some(word)
                if *word & bits == 0 && self.total - self.available >= run.pages() as u16 =>
            {
                *word |= bits;
                self.available += run.pages() as u16;
                self.relist(block);
            }
            _ => self.misfreed = self.misfreed.wrapping_add(1),
        }
    }

    /// Gives the pages of the stack back to their blocks, where they may complete a longer run.
    #[cold]
    fn unstack(&mut self) {
        for i in 0..usize::from(self.stacked) {
            let page = self.stack[i % STACK];
            let block = usize::from(page) / MAX_RUN as usize;
            self.free[block] |= 1 << (u32::from(page) % MAX_RUN);
            self.relist(block);
        }
        self.stacked = 0;
    }

    /// Lists `block` under the longest run it can give now.
    fn relist(&mut self, block: usize) {
        let (old, new) = (self.class[block], longest(self.free[block]));
        if old == new {
            return;
        }
        let (prev, next) = (self.prev[block], self.next[block]);
        if old != NONE {
            if prev == NONE {
                self.head[usize::from(old - 1)] = next;
                if next == NONE {
                    self.listed &= !(1 << (old - 1));
                }
            } else {
                self.next[usize::from(prev - 1)] = next;
            }
            if next != NONE {
                self.prev[usize::from(next - 1)] = prev;
            }
        }
        self.class[block] = new;
        if new != NONE {
            let first = self.head[usize::from(new - 1)];
            let this = block as u8 + 1;
            if first != NONE {
                self.prev[usize::from(first - 1)] = this;
            }
            self.next[block] = first;
            self.prev[block] = NONE;
            self.head[usize::from(new - 1)] = this;
            self.listed |= 1 << (new - 1);
        }
    }

    /// Any page of `run` is free. Slow: for debug builds and tests.
    fn any_free(&self, run: Run) -> bool {
        let block = usize::from(run.page) / MAX_RUN as usize;
        let bits = mask(u32::from(run.page) % MAX_RUN, run.pages());
        let stacked = self.stack.iter().take(usize::from(self.stacked));
        self.free.get(block).is_none_or(|word| word & bits != 0)
            || stacked
                .into_iter()
                .any(|p| (run.page..run.page + u16::from(run.count)).contains(p))
    }
}

/// `pages` ones from bit `at`.
const fn mask(at: u32, pages: u32) -> u32 {
    (u32::MAX >> (MAX_RUN - pages)) << at
}

/// log2 of `pages` rounded up to a power of two.
const fn order_of(pages: u32) -> u32 {
    match pages {
        0..=1 => 0,
        2 => 1,
        3..=4 => 2,
        5..=8 => 3,
        9..=16 => 4,
        _ => 5,
    }
}

/// One bit at the start of every aligned free run of `1 << order` pages.
const fn starts(free: u32, order: u32) -> u32 {
    let mut runs = free;
    if order > 0 {
        runs &= runs >> 1 & 0x5555_5555;
    }
    if order > 1 {
        runs &= runs >> 2 & 0x1111_1111;
    }
    if order > 2 {
        runs &= runs >> 4 & 0x0101_0101;
    }
    if order > 3 {
        runs &= runs >> 8 & 0x0001_0001;
    }
    if order > 4 {
        runs &= runs >> 16 & 1;
    }
    runs
}

/// Class of a block with these free pages and one, or [`NONE`].
const fn longest(free: u32) -> u8 {
    if free == 0 {
        return NONE;
    }
    let mut class = 0;
    while class < 5 && starts(free, class as u32 + 1) != 0 {
        class += 1;
    }
    class + 1
}

/// Position of the lowest one; `bits` is not 0. RV32IMC has no count-zeros instruction: a multiplication and a table
/// are four (de Bruijn sequence 077CB531h).
const fn low_bit(bits: u32) -> u32 {
    const TABLE: [u8; 32] = [
        0, 1, 28, 2, 29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4, 8, 31, 27, 13, 23, 21, 19, 16, 7,
        26, 12, 18, 6, 11, 5, 10, 9,
    ];
    TABLE[((bits & bits.wrapping_neg()).wrapping_mul(0x077C_B531) >> 27) as usize] as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Pages {
        let mut pages = Pages::new();
        pages.add(0, layout::PAGES);
        pages
    }

    #[test]
    fn low_bit_is_trailing_zeros() {
        for i in 0..32 {
            assert_eq!(low_bit(u32::MAX << i), i);
        }
    }

    #[test]
    fn every_page_is_given_once_and_then_nothing() {
        let mut pages = full();
        let mut seen = [false; layout::PAGES as usize];
        while let Some(run) = pages.alloc(1) {
            let seen = &mut seen[usize::from(run.first_page())];
            assert!(!*seen);
            *seen = true;
        }
        assert!(seen.iter().all(|s| *s));
        assert_eq!((pages.available(), pages.refused()), (0, 1));
    }

    #[test]
    fn runs_are_aligned_and_take_only_what_was_asked() {
        let mut pages = full();
        for n in 1..=MAX_RUN {
            let before = pages.available();
            let run = pages.alloc(n).expect("plenty");
            assert_eq!(u32::from(run.first_page()) % n.next_power_of_two(), 0);
            assert_eq!(before - pages.available(), n);
            assert_eq!(run.slice().len, n * 4096);
        }
    }

    #[test]
    fn a_tail_left_over_serves_shorter_runs() {
        let mut pages = Pages::new();
        pages.add(0, 32);
        let long = pages.alloc(24).expect("32 free");
        assert_eq!(pages.alloc(8).map(Run::first_page), Some(24));
        assert_eq!(pages.alloc(1), None);
        pages.free(long);
        assert_eq!(pages.alloc(16).map(Run::first_page), Some(0));
    }

    #[test]
    fn single_pages_given_back_make_a_long_run_again() {
        let mut pages = Pages::new();
        pages.add(32, 32);
        let mut runs = [None; 32];
        runs.fill_with(|| pages.alloc(1));
        runs.iter().flatten().for_each(|r| pages.free(*r));
        assert_eq!(pages.available(), 32);
        assert_eq!(pages.alloc(32).map(Run::first_page), Some(32));
    }

    #[test]
    fn lengths_beyond_the_longest_are_refused() {
        let mut pages = full();
        assert_eq!(pages.alloc(0), None);
        assert_eq!(pages.alloc(33), None);
        assert_eq!(pages.alloc_bytes(u32::MAX), None);
        assert_eq!(pages.available(), layout::PAGES);
    }

    #[test]
    #[should_panic(expected = "free already")]
    fn giving_back_twice_stops_a_debug_build() {
        let mut pages = full();
        let run = pages.alloc(4).expect("plenty");
        pages.free(run);
        pages.free(run);
    }

    #[test]
    fn shares_cover_all_pages_without_overlap() {
        for of in 1..=16 {
            let mut next = 0;
            for i in 0..of {
                let (first, count) = Pages::share(i, of);
                assert_eq!(first, next);
                next = first + count;
            }
            assert_eq!(next, layout::PAGES);
        }
    }

    #[test]
    fn words_carry_runs_and_refuse_others() {
        let mut pages = full();
        let run = pages.alloc(7).expect("plenty");
        assert_eq!(Run::from_word(run.to_word()), Some(run));
        for bad in [0, (layout::PAGES - 1) | (2 << 16), 33 << 16, u32::MAX] {
            assert_eq!(Run::from_word(bad), None, "{bad:x}");
        }
    }

    #[test]
    fn random_use_keeps_the_books() {
        let seed = 0x5EED_0001_u32;
        let (mut x, mut pages) = (seed, full());
        let mut held = [None::<Run>; 300];
        let mut owner = [false; layout::PAGES as usize];
        for step in 0..50_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let slot = &mut held[(x >> 8) as usize % 300];
            if let Some(run) = slot.take() {
                let range = usize::from(run.first_page())
                    ..usize::from(run.first_page()) + run.pages() as usize;
                owner[range].iter_mut().for_each(|o| *o = false);
                pages.free(run);
            } else if let Some(run) = pages.alloc((x >> 27) + 1) {
                for page in &mut owner[usize::from(run.first_page())..][..run.pages() as usize] {
                    assert!(!*page, "given twice: seed {seed:x} step {step}");
                    *page = true;
                }
                *slot = Some(run);
            }
            assert_eq!(
                pages.available() as usize,
                owner.iter().filter(|o| !**o).count(),
                "seed {seed:x} step {step}"
            );
        }
        assert_eq!(pages.misfreed(), 0);
    }
}
