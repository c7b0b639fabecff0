//! Nodes of the send and receive queues, from pools shared by all queue pairs of a core.

use sluice_hal::{MAX_GATHER, PmAddr, PmSlice};

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

/// A piece of a received message, in its frame buffer.
#[derive(Clone, Copy, Debug)]
pub struct Seg {
    /// Bit 15: the message ends here; bits 11:0 frame buffer.
    pub buf_last: u16,
    /// First byte, from the buffer's first.
    pub offset: u16,
    /// Bytes.
    pub len: u16,
    next: Ref,
}
const _: () = assert!(size_of::<Seg>() == 8);

impl Seg {
    pub const LAST: u16 = 1 << 15;

    pub const fn new(buf: u16, offset: u16, len: u16, last: bool) -> Self {
        Self {
            buf_last: if last { buf | Self::LAST } else { buf },
            offset,
            len,
            next: Ref::NONE,
        }
    }

    pub const fn is_last(&self) -> bool {
        self.buf_last & Self::LAST != 0
    }
}

/// What a work request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Send,
    SendInvalidate,
    Write,
    Read,
    /// A WRITE, and behind it a SEND of the last piece in one packet.
    WriteSend,
    WriteSendInvalidate,
}

impl Kind {
    /// It ends with a SEND of its own.
    #[inline]
    pub const fn is_coupled(self) -> bool {
        matches!(self, Self::WriteSend | Self::WriteSendInvalidate)
    }
}

/// A work request: queued, sent, and kept until it is acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Wr {
    /// The application's.
    pub token: u32,
    /// PSN of its first packet.
    pub psn: u32,
    /// Its PSNs; at least one.
    pub packets: u32,
    /// Bytes; of a coupled one those of the WRITE.
    pub len: u32,
    /// Remote address.
    pub va: u64,
    /// Remote key, or the one to invalidate; both of a coupled one.
    pub rkey: u32,
    pub kind: Kind,
    pub pieces: u8,
    pub next: Ref,
    pub gather: [PmSlice; MAX_GATHER],
    /// Its queue pair; and in the list of released ones whether it succeeded.
    pub qpn: u32,
    pub done: bool,
}

impl Wr {
    pub const EMPTY: Self = Self {
        token: 0,
        psn: 0,
        packets: 0,
        len: 0,
        va: 0,
        rkey: 0,
        kind: Kind::Send,
        pieces: 0,
        next: Ref::NONE,
        gather: [PmSlice::new(PmAddr(0), 0); MAX_GATHER],
        qpn: 0,
        done: false,
    };

    /// The pieces of the message, of a coupled one those of the WRITE.
    #[inline]
    fn message_pieces(&self) -> &[PmSlice] {
        let count = usize::from(self.pieces - u8::from(self.kind.is_coupled()));
        &self.gather[..count.min(MAX_GATHER)]
    }

    /// The SEND of a coupled one.
    #[inline]
    pub fn response(&self) -> PmSlice {
        self.gather[usize::from(self.pieces - 1) % MAX_GATHER]
    }

    /// Up to `len` bytes from byte `skip` on; returns how many pieces it takes.
    #[inline]
    pub fn gather_from(&self, mut skip: u32, mut len: u32, out: &mut [PmSlice; MAX_GATHER]) -> u8 {
        let pieces = self.message_pieces();
        if skip == 0 && len == self.len {
            // The whole message, as a rule.
            for (to, piece) in out.iter_mut().zip(pieces) {
                *to = *piece;
            }
            return pieces.len() as u8;
        }
        let mut count = 0;
        for piece in pieces {
            let rest = piece.split(skip).1;
            skip -= piece.len - rest.len;
            let part = rest.split(len).0;
            if part.len != 0 {
                out[usize::from(count)] = part;
                count += 1;
                len -= part.len;
            }
        }
        count
    }
}

/// What a pool can hold.
pub trait Node: Copy {
    const EMPTY: Self;
    fn next(&self) -> Ref;
    fn set_next(&mut self, next: Ref);
}

impl Node for Seg {
    const EMPTY: Self = Self::new(0, 0, 0, false);
    #[inline]
    fn next(&self) -> Ref {
        self.next
    }
    #[inline]
    fn set_next(&mut self, next: Ref) {
        self.next = next;
    }
}

impl Node for Wr {
    const EMPTY: Self = Self::EMPTY;
    #[inline]
    fn next(&self) -> Ref {
        self.next
    }
    #[inline]
    fn set_next(&mut self, next: Ref) {
        self.next = next;
    }
}

/// `N` nodes; empty until [`Pool::fill`].
pub struct Pool<T, const N: usize> {
    free: Ref,
    room: u16,
    nodes: [T; N],
}

impl<T: Node, const N: usize> Pool<T, N> {
    pub const fn new() -> Self {
        assert!(N < u16::MAX as usize);
        Self {
            free: Ref::NONE,
            room: 0,
            nodes: [T::EMPTY; N],
        }
    }

    /// Makes all nodes free; once.
    pub fn fill(&mut self) {
        self.fill_to(N);
    }

    /// The same for the first `count`, of all that there are; the others are never used.
    pub fn fill_to(&mut self, count: usize) {
        let count = count.clamp(1, N);
        for (i, node) in self.nodes[..count].iter_mut().enumerate() {
            node.set_next(if i + 1 < count {
                Ref(i as u16 + 2)
            } else {
                Ref::NONE
            });
        }
        self.free = Ref(1);
        self.room = count as u16;
    }

    /// Nodes that can still be taken.
    #[inline]
    pub const fn room(&self) -> u16 {
        self.room
    }

    #[inline]
    pub fn take(&mut self, node: T) -> Option<Ref> {
        let (place, at) = self.take_as_it_is()?;
        *at = node;
        Some(place)
    }

    /// A node with what its last user left in it.
    #[inline]
    pub fn take_as_it_is(&mut self) -> Option<(Ref, &mut T)> {
        let place = self.free;
        if place.is_none() {
            return None;
        }
        self.room -= 1;
        let node = &mut self.nodes[usize::from(place.0) - 1];
        self.free = node.next();
        Some((place, node))
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

    /// `place` must not be none.
    #[inline]
    pub fn get_mut(&mut self, place: Ref) -> &mut T {
        &mut self.nodes[usize::from(place.0) - 1]
    }
}

/// Nodes in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct List {
    pub head: Ref,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_a_message_takes_the_right_bytes_of_its_pieces() {
        let piece = |at, len| PmSlice::new(PmAddr(at), len);
        let wr = Wr {
            pieces: 3,
            gather: [piece(100, 10), piece(200, 5), piece(300, 7), piece(0, 0)],
            ..Wr::EMPTY
        };
        let mut out = [PmSlice::default(); MAX_GATHER];
        assert_eq!(wr.gather_from(0, 22, &mut out), 3);
        assert_eq!(wr.gather_from(12, 6, &mut out), 2);
        assert_eq!(out[..2], [piece(202, 3), piece(300, 3)]);
        assert_eq!(wr.gather_from(22, 6, &mut out), 0);
    }

    #[test]
    fn nodes_come_back_and_order_is_kept() {
        let mut pool = Pool::<Seg, 2>::new();
        assert!(pool.take(Seg::EMPTY).is_none());
        pool.fill();
        let mut list = List::EMPTY;
        for buf in [7, 8] {
            let place = pool.take(Seg::new(buf, 0, 0, false)).expect("room");
            list.push(&mut pool, place);
        }
        assert_eq!(pool.room(), 0);
        let first = list.pop(&pool).expect("two");
        assert_eq!(pool.get(first).buf_last, 7);
        pool.give(first);
        let again = pool.take(Seg::new(9, 0, 0, true)).expect("given back");
        list.push(&mut pool, again);
        let order: [_; 3] =
            core::array::from_fn(|_| list.pop(&pool).map(|p| pool.get(p).buf_last & 0xfff));
        assert_eq!(order, [Some(8), Some(9), None]);
    }
}
