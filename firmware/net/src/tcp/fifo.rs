//! A queue of connections: each is in it at most once, both ends in a few instructions.

/// Indices below `N`, in order of arrival. All zeros when empty.
pub struct Fifo<const N: usize> {
    /// Index + 1; 0 if empty.
    head: u16,
    /// Index + 1; meaningless if empty.
    tail: u16,
    /// Per index: 0 not queued, [`LAST`], or the follower's index + 1.
    next: [u16; N],
}

const LAST: u16 = u16::MAX;

impl<const N: usize> Fifo<N> {
    pub const fn new() -> Self {
        assert!(N < LAST as usize);
        Self {
            head: 0,
            tail: 0,
            next: [0; N],
        }
    }

    /// Appends `index`; false if it was queued already.
    #[inline]
    pub fn push(&mut self, index: usize) -> bool {
        if self.next[index] != 0 {
            return false;
        }
        self.next[index] = LAST;
        let place = index as u16 + 1;
        if self.head == 0 {
            self.head = place;
        } else {
            self.next[usize::from(self.tail) - 1] = place;
        }
        self.tail = place;
        true
    }

    /// Puts `index` in front unless it is queued already.
    pub fn push_front(&mut self, index: usize) {
        if self.head == 0 {
            self.push(index);
        } else if self.next[index] == 0 {
            self.next[index] = self.head;
            self.head = index as u16 + 1;
        }
    }

    #[inline]
    pub fn front(&self) -> Option<usize> {
        usize::from(self.head).checked_sub(1)
    }

    #[inline]
    pub fn pop(&mut self) -> Option<usize> {
        let index = self.front()?;
        let next = core::mem::take(&mut self.next[index]);
        self.head = if next == LAST { 0 } else { next };
        Some(index)
    }

    /// The last one, to bound a walk that may append.
    pub fn back(&self) -> Option<usize> {
        if self.head == 0 {
            None
        } else {
            Some(usize::from(self.tail) - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_nothing_is_queued_twice() {
        let mut fifo = Fifo::<4>::new();
        for i in [2, 0, 2, 3, 0] {
            fifo.push(i);
        }
        fifo.push_front(1);
        fifo.push_front(3);
        assert_eq!(fifo.back(), Some(3));
        let order: [_; 5] = core::array::from_fn(|_| fifo.pop());
        assert_eq!(order, [Some(1), Some(2), Some(0), Some(3), None]);
        fifo.push_front(2);
        assert_eq!(
            (fifo.back(), fifo.pop(), fifo.pop()),
            (Some(2), Some(2), None)
        );
    }
}
