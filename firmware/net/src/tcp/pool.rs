//! Nodes of the receive and send queues, from pools shared by all connections of a core.

use super::seq;

/// A node's place in its pool, or none. All zeros is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ref(u16);

impl Ref {
    pub const NONE: Self = Self(0);

    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Received payload in a frame buffer.
#[derive(Clone, Copy, Debug)]
pub struct Seg {
    /// Sequence number of the first byte.
    pub seq: u32,
    /// The frame buffer's number.
    pub buf: u16,
    /// First unread byte, from the buffer's first byte.
    pub offset: u16,
    /// Unread bytes.
    pub len: u16,
    next: Ref,
}
const _: () = assert!(size_of::<Seg>() == 12);

impl Seg {
    pub const fn new(seq: u32, buf: u16, offset: u16, len: u16) -> Self {
        Self {
            seq,
            buf,
            offset,
            len,
            next: Ref::NONE,
        }
    }

    pub const fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len as u32)
    }

    /// Drops the bytes before `seq`; the segment must reach beyond it.
    pub const fn trim_front(&mut self, seq: u32) {
        let cut = seq::distance(self.seq, seq) as u16;
        self.seq = self.seq.wrapping_add(cut as u32);
        self.offset += cut;
        self.len -= cut;
    }
}

/// Payload to send.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// Where it lies in packet memory.
    pub addr: u32,
    /// Bytes.
    pub len: u32,
    /// The application's.
    pub token: u32,
    /// Index of its connection.
    pub conn: u16,
    next: Ref,
}
const _: () = assert!(size_of::<Chunk>() == 16);

impl Chunk {
    pub const fn new(addr: u32, len: u32, token: u32, conn: u16) -> Self {
        Self {
            addr,
            len,
            token,
            conn,
            next: Ref::NONE,
        }
    }
}

/// What a pool can hold.
pub trait Node: Copy {
    const EMPTY: Self;
    fn next(&self) -> Ref;
    fn set_next(&mut self, next: Ref);
}

impl Node for Seg {
    const EMPTY: Self = Self::new(0, 0, 0, 0);
    #[inline]
    fn next(&self) -> Ref {
        self.next
    }
    #[inline]
    fn set_next(&mut self, next: Ref) {
        self.next = next;
    }
}

impl Node for Chunk {
    const EMPTY: Self = Self::new(0, 0, 0, 0);
    #[inline]
    fn next(&self) -> Ref {
        self.next
    }
    #[inline]
    fn set_next(&mut self, next: Ref) {
        self.next = next;
    }
}

/// `N` nodes. All zeros when new, so a static of it costs nothing in the image.
pub struct Pool<T, const N: usize> {
    nodes: [T; N],
    free: Ref,
    /// Nodes never used so far lie from here on.
    fresh: u16,
    used: u16,
}

impl<T: Node, const N: usize> Pool<T, N> {
    pub const fn new() -> Self {
        assert!(N < u16::MAX as usize);
        Self {
            nodes: [T::EMPTY; N],
            free: Ref::NONE,
            fresh: 0,
            used: 0,
        }
    }

    /// Nodes that can still be taken.
    #[inline]
    pub const fn room(&self) -> usize {
        N - self.used as usize
    }

    #[inline]
    pub fn take(&mut self, node: T) -> Option<Ref> {
        let place = if !self.free.is_none() {
            let place = self.free;
            self.free = self.get(place).next();
            place
        } else if usize::from(self.fresh) < N {
            self.fresh += 1;
            Ref(self.fresh)
        } else {
            return None;
        };
        self.used += 1;
        *self.get_mut(place) = node;
        Some(place)
    }

    #[inline]
    pub fn give(&mut self, place: Ref) {
        let free = self.free;
        self.get_mut(place).set_next(free);
        self.free = place;
        self.used -= 1;
    }

    /// `place` must not be none.
    #[inline]
    pub fn get(&self, place: Ref) -> &T {
        &self.nodes[usize::from(place.0) - 1]
    }

    /// The node that follows in the list that `place` is in.
    #[inline]
    pub fn following(&self, place: Ref) -> Ref {
        self.get(place).next()
    }

    /// `place` must not be none.
    #[inline]
    pub fn get_mut(&mut self, place: Ref) -> &mut T {
        &mut self.nodes[usize::from(place.0) - 1]
    }
}

/// A chain of nodes of one pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct List {
    pub head: Ref,
    /// Meaningless while `head` is none.
    pub tail: Ref,
}

impl List {
    pub const EMPTY: Self = Self {
        head: Ref::NONE,
        tail: Ref::NONE,
    };

    #[inline]
    pub fn push<T: Node, const N: usize>(&mut self, pool: &mut Pool<T, N>, place: Ref) {
        pool.get_mut(place).set_next(Ref::NONE);
        if self.head.is_none() {
            self.head = place;
        } else {
            pool.get_mut(self.tail).set_next(place);
        }
        self.tail = place;
    }

    #[inline]
    pub fn pop<T: Node, const N: usize>(&mut self, pool: &Pool<T, N>) -> Option<Ref> {
        let place = self.head;
        if place.is_none() {
            return None;
        }
        self.head = pool.get(place).next();
        Some(place)
    }

    /// Appends all of `other`, which is empty afterwards.
    pub fn append<T: Node, const N: usize>(&mut self, pool: &mut Pool<T, N>, other: &mut Self) {
        if other.head.is_none() {
            return;
        }
        if self.head.is_none() {
            self.head = other.head;
        } else {
            pool.get_mut(self.tail).set_next(other.head);
        }
        self.tail = other.tail;
        other.head = Ref::NONE;
    }

    /// Puts `place` behind `before`, or in front if that is none.
    pub fn insert<T: Node, const N: usize>(
        &mut self,
        pool: &mut Pool<T, N>,
        before: Ref,
        place: Ref,
    ) {
        let next = if before.is_none() {
            self.head
        } else {
            pool.get(before).next()
        };
        pool.get_mut(place).set_next(next);
        if before.is_none() {
            self.head = place;
        } else {
            pool.get_mut(before).set_next(place);
        }
        if next.is_none() {
            self.tail = place;
        }
    }

    /// Takes out the node behind `before`, or the first if that is none.
    pub fn remove<T: Node, const N: usize>(
        &mut self,
        pool: &mut Pool<T, N>,
        before: Ref,
    ) -> Option<Ref> {
        if before.is_none() {
            return self.pop(pool);
        }
        let place = pool.get(before).next();
        if place.is_none() {
            return None;
        }
        let next = pool.get(place).next();
        pool.get_mut(before).set_next(next);
        if next.is_none() {
            self.tail = before;
        }
        Some(place)
    }

    /// The nodes' places in order.
    pub fn places<T: Node, const N: usize>(self, pool: &Pool<T, N>) -> impl Iterator<Item = Ref> {
        let mut at = self.head;
        core::iter::from_fn(move || {
            let place = at;
            if place.is_none() {
                return None;
            }
            at = pool.get(place).next();
            Some(place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(list: List, pool: &Pool<Seg, 4>) -> [Option<u32>; 5] {
        let mut places = list.places(pool);
        core::array::from_fn(|_| places.next().map(|p| pool.get(p).seq))
    }

    #[test]
    fn nodes_are_taken_given_back_and_taken_again() {
        let mut pool = Pool::<Seg, 4>::new();
        let places: [_; 4] =
            core::array::from_fn(|i| pool.take(Seg::new(i as u32, 0, 0, 1)).expect("room"));
        assert_eq!((pool.room(), pool.take(Seg::EMPTY)), (0, None));
        pool.give(places[2]);
        assert_eq!((pool.room(), pool.take(Seg::EMPTY)), (1, Some(places[2])));
    }

    #[test]
    fn insertion_and_removal_keep_the_ends_right() {
        let mut pool = Pool::<Seg, 4>::new();
        let [a, b, c, d] = [1, 2, 3, 4].map(|i| pool.take(Seg::new(i, 0, 0, 1)).expect("room"));
        let mut list = List::EMPTY;
        list.insert(&mut pool, Ref::NONE, b);
        list.insert(&mut pool, Ref::NONE, a);
        list.insert(&mut pool, b, d);
        list.insert(&mut pool, b, c);
        assert_eq!(
            seqs(list, &pool),
            [Some(1), Some(2), Some(3), Some(4), None]
        );
        assert_eq!(list.tail, d);
        assert_eq!(list.remove(&mut pool, c), Some(d));
        assert_eq!((list.tail, list.remove(&mut pool, c)), (c, None));
        let mut other = List::EMPTY;
        other.push(&mut pool, d);
        list.append(&mut pool, &mut other);
        assert_eq!((list.tail, other.head), (d, Ref::NONE));
        assert_eq!(list.remove(&mut pool, Ref::NONE), Some(a));
        assert_eq!(seqs(list, &pool), [Some(2), Some(3), Some(4), None, None]);
    }
}
