//! A timer wheel: one entry per connection, for the earliest of its timers. Moving a timer later costs nothing (the
//! entry comes up early and is set again), so the timers that every acknowledgment restarts are nearly free.

use sluice_hal::Micros;

/// log2 of the microseconds per slot of the fine ring: 512 µs.
const FINE: u32 = 9;
/// log2 of the slots per ring.
const SLOTS_LOG2: u32 = 6;
const SLOTS: usize = 1 << SLOTS_LOG2;

#[derive(Clone, Copy)]
struct Entry {
    /// Index + 1 of the neighbours in the slot; 0 for none.
    next: u16,
    prev: u16,
    /// Slot + 1, counting the fine ring's and then the coarse ring's; 0 if not set.
    slot: u8,
    /// Time at which it comes up, low 32 bits of the microsecond clock.
    at: u32,
}

/// Times are the low 32 bits of the microsecond clock and less than half an hour away. Two rings: 64 slots of 512 µs and
/// 64 of 32.8 ms; what is further away comes up early and is set again.
pub struct Wheel<const N: usize> {
    entries: [Entry; N],
    /// Index + 1 of each slot's first entry.
    slots: [u16; 2 * SLOTS],
    /// Slots in use of the fine and the coarse ring.
    used: [u64; 2],
    /// Everything before this time, in fine slots, has come up.
    tick: u64,
    /// No entry comes up before this time, in microseconds; meaningless if there are no entries.
    next: u64,
    /// Entries set.
    count: u16,
}

impl<const N: usize> Wheel<N> {
    pub const fn new() -> Self {
        let none = Entry {
            next: 0,
            prev: 0,
            slot: 0,
            at: 0,
        };
        Self {
            entries: [none; N],
            slots: [0; 2 * SLOTS],
            used: [0; 2],
            tick: 0,
            next: 0,
            count: 0,
        }
    }

    /// Makes sure that `index` comes up no later than `at`.
    #[inline]
    pub fn set(&mut self, index: usize, at: u32, now: Micros) {
        let entry = &self.entries[index];
        if entry.slot == 0 || super::seq::before(at, entry.at) {
            self.place(index, at, now);
        }
    }

    #[inline(never)]
    fn place(&mut self, index: usize, at: u32, now: Micros) {
        self.unset(index);
        if self.count == 0 || now.0 < self.next {
            // Nothing comes up before now: the wheel may have stood still for long.
            self.tick = self.tick.max(now.0 >> FINE);
        }
        // Rounded up, so that it has passed when the slot comes up.
        let delay = super::seq::distance(now.0 as u32, at);
        let due = ((now.0 + u64::from(delay)) >> FINE) + 1;
        let ahead = due.max(self.tick + 1) - self.tick;
        let (ring, slot_tick) = if ahead < SLOTS as u64 {
            (0, self.tick + ahead)
        } else {
            let coarse = (due >> SLOTS_LOG2).min((self.tick >> SLOTS_LOG2) + SLOTS as u64 - 1);
            (1, coarse << SLOTS_LOG2)
        };
        let position = (slot_tick >> (ring as u32 * SLOTS_LOG2)) as usize % SLOTS;
        self.link(index, at, ring, position);
        let comes_up = slot_tick << FINE;
        self.next = if self.count == 1 {
            comes_up
        } else {
            self.next.min(comes_up)
        };
    }

    fn link(&mut self, index: usize, at: u32, ring: usize, position: usize) {
        let slot = ring * SLOTS + position;
        let first = self.slots[slot];
        self.entries[index] = Entry {
            next: first,
            prev: 0,
            slot: slot as u8 + 1,
            at,
        };
        if let Some(first) = usize::from(first).checked_sub(1) {
            self.entries[first].prev = index as u16 + 1;
        }
        self.slots[slot] = index as u16 + 1;
        self.used[ring] |= 1 << position;
        self.count += 1;
    }

    /// Takes `index` out.
    pub fn unset(&mut self, index: usize) {
        let Entry {
            next, prev, slot, ..
        } = self.entries[index];
        let Some(slot) = usize::from(slot).checked_sub(1) else {
            return;
        };
        self.entries[index].slot = 0;
        self.count -= 1;
        if let Some(next) = usize::from(next).checked_sub(1) {
            self.entries[next].prev = prev;
        }
        match usize::from(prev).checked_sub(1) {
            Some(prev) => self.entries[prev].next = next,
            None => self.slots[slot] = next,
        }
        if self.slots[slot] == 0 {
            self.used[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
    }

    /// When [`Wheel::expire`] is worth calling: never late, possibly early.
    #[inline]
    pub fn deadline(&self) -> Option<Micros> {
        (self.count != 0).then_some(Micros(self.next))
    }

    /// Takes out one entry that has come up by `now`; call until `None`.
    pub fn expire(&mut self, now: Micros) -> Option<usize> {
        if self.count == 0 || now.0 < self.next {
            return None;
        }
        let until = now.0 >> FINE;
        loop {
            let next = self.next_tick();
            if next > until {
                self.tick = until.max(self.tick);
                self.next = if next == u64::MAX { next } else { next << FINE };
                return None;
            }
            self.tick = next;
            let fine = next as usize % SLOTS;
            let coarse = SLOTS + (next >> SLOTS_LOG2) as usize % SLOTS;
            let at_edge = next.is_multiple_of(SLOTS as u64);
            let slot = if self.slots[fine] != 0 || !at_edge {
                fine
            } else {
                coarse
            };
            if let Some(index) = usize::from(self.slots[slot]).checked_sub(1) {
                self.unset(index);
                return Some(index);
            }
        }
    }

    /// The first tick from the current one on at which a slot in use comes up.
    fn next_tick(&self) -> u64 {
        let fine = self.used[0].rotate_right((self.tick % SLOTS as u64) as u32);
        let fine = if fine == 0 {
            u64::MAX
        } else {
            self.tick + u64::from(fine.trailing_zeros())
        };
        // The coarse slot of the current tick has come up, unless the tick is its very first.
        let edge = self.tick.div_ceil(SLOTS as u64);
        let coarse = self.used[1].rotate_right((edge % SLOTS as u64) as u32);
        let coarse = match coarse {
            0 => u64::MAX,
            slots => (edge + u64::from(slots.trailing_zeros())) << SLOTS_LOG2,
        };
        fine.min(coarse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn expired(wheel: &mut Wheel<8>, now: u64) -> Vec<usize> {
        let mut all: Vec<_> = core::iter::from_fn(|| wheel.expire(Micros(now))).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn entries_come_up_after_their_time_and_not_much_later() {
        let mut wheel = Wheel::<8>::new();
        wheel.set(0, 1_000, Micros(0));
        wheel.set(1, 20_000, Micros(0));
        assert_eq!(expired(&mut wheel, 999), []);
        assert_eq!(expired(&mut wheel, 1_600), [0]);
        assert_eq!(expired(&mut wheel, 19_999), []);
        assert_eq!(expired(&mut wheel, 20_600), [1]);
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn a_later_time_does_not_move_an_entry_but_an_earlier_one_does() {
        let mut wheel = Wheel::<8>::new();
        wheel.set(3, 5_000, Micros(0));
        wheel.set(3, 9_000, Micros(0));
        wheel.set(3, 2_000, Micros(0));
        assert_eq!(expired(&mut wheel, 2_600), [3]);
        assert_eq!(expired(&mut wheel, 100_000), []);
    }

    proptest! {
        /// As the stack uses it: what comes up early is set again.
        #[test]
        fn any_mix_of_timers_fires_in_time(
            delays in proptest::collection::vec(1u32..100_000_000, 1..40),
            start in 0u64..u64::from(u32::MAX) * 2,
            step in 100u64..3_000_000,
        ) {
            let mut wheel = Wheel::<8>::new();
            let mut due = [None; 8];
            let mut now = start;
            for (i, delay) in delays.iter().enumerate() {
                let (index, at) = (i % 8, now + u64::from(*delay));
                if due[index].is_none_or(|old| at < old) {
                    due[index] = Some(at);
                    wheel.set(index, at as u32, Micros(now));
                }
                now += step;
                while let Some(index) = wheel.expire(Micros(now)) {
                    let at = due[index].expect("only what was set comes up");
                    if at <= now { due[index] = None } else { wheel.set(index, at as u32, Micros(now)) }
                }
                for at in due.iter().flatten() {
                    prop_assert!(at + 1024 > now, "missed {at} at {now}");
                    prop_assert!(wheel.deadline().expect("one is set").0 <= at + 1024);
                }
            }
        }
    }
}
