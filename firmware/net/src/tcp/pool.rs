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
    /// Fills the node in, without touching its place in a chain.
    #[inline]
    pub const fn set(&mut self, addr: u32, len: u32, token: u32, conn: u16) {
        (self.addr, self.len, self.token, self.conn) = (addr, len, token, conn);
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
    const EMPTY: Self = Self {
        addr: 0,
        len: 0,
        token: 0,
        conn: 0,
        next: Ref::NONE,
    };
    #[inline]
    fn next(&self) -> Ref {
        self.next
    }
    #[inline]
    fn set_next(&mut self, next: Ref) {
        self.next = next;
    }
}

/// `N` nodes. All zeros when new, so a static of it costs nothing in the image; then it is empty until [`Pool::fill`].
#[repr(C)]
pub struct Pool<T, const N: usize> {
    free: Ref,
    room: u16,
    nodes: [T; N],
}

impl<T: Node, const N: usize> Pool<T, N> {
    pub const fn new() -> Self {
        assert!(N < u16::MAX as usize);
        Self {
            nodes: [T::EMPTY; N],
            free: Ref::NONE,
            room: 0,
        }
    }

    /// Makes all nodes free; once.
    pub fn fill(&mut self) {
        for (i, node) in self.nodes.iter_mut().enumerate() {
            *node = T::EMPTY;
            node.set_next(if i + 1 < N {
                Ref(i as u16 + 2)
            } else {
                Ref::NONE
            });
        }
        self.free = Ref(1);
        self.room = N as u16;
    }

    /// Nodes that can still be taken.
    #[inline]
    pub const fn room(&self) -> usize {
        self.room as usize
    }

    #[inline]
    pub fn take(&mut self, node: T) -> Option<Ref> {
        let place = self.free;
        if place.is_none() {
            return None;
        }
        let slot = self.get_mut(place);
        let next = slot.next();
        *slot = node;
        self.free = next;
        self.room -= 1;
        Some(place)
    }

    /// Takes `count` nodes, which must be there, as a chain: `set` fills each in. Free nodes are chained already.
    #[inline]
    pub fn take_chain(&mut self, count: usize, mut set: impl FnMut(usize, &mut T)) -> List {
        let mut chain = List {
            head: self.free,
            tail: Ref::NONE,
        };
        let mut next = self.free;
        for i in 0..count {
            chain.tail = next;
            let node = self.get_mut(next);
            set(i, node);
            next = node.next();
        }
        self.free = next;
        self.room -= count as u16;
        chain
    }

    #[inline]
    pub fn give(&mut self, place: Ref) {
        let free = self.free;
        self.get_mut(place).set_next(free);
        self.free = place;
        self.room += 1;
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

    /// Appends a chain whose last node may still point on.
    #[inline]
    pub fn append_chain<T: Node, const N: usize>(&mut self, pool: &mut Pool<T, N>, chain: Self) {
        pool.get_mut(chain.tail).set_next(Ref::NONE);
        if self.head.is_none() {
            self.head = chain.head;
        } else {
            pool.get_mut(self.tail).set_next(chain.head);
        }
        self.tail = chain.tail;
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
        pool.fill();
        let places: [_; 4] =
            core::array::from_fn(|i| pool.take(Seg::new(i as u32, 0, 0, 1)).expect("room"));
        assert_eq!((pool.room(), pool.take(Seg::EMPTY)), (0, None));
        pool.give(places[2]);
        assert_eq!((pool.room(), pool.take(Seg::EMPTY)), (1, Some(places[2])));
    }

    #[test]
    fn a_chain_is_taken_whole() {
        let mut pool = Pool::<Seg, 4>::new();
        pool.fill();
        let mut list = List::EMPTY;
        for count in [1, 2, 1] {
            let chain = pool.take_chain(count, |i, seg| seg.seq = (10 * count + i) as u32);
            list.append_chain(&mut pool, chain);
        }
        assert_eq!(
            seqs(list, &pool),
            [Some(10), Some(20), Some(21), Some(10), None]
        );
        assert_eq!(pool.room(), 0);
    }

    #[test]
    fn insertion_and_removal_keep_the_ends_right() {
        let mut pool = Pool::<Seg, 4>::new();
        pool.fill();
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
