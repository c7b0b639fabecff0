//! Submission and completion queues as the controller sees them: rings by bus address, heads and tails.

use std::collections::VecDeque;

use sluice_wire::nvme::{Cqe, Status};

use super::pointers::Extent;

/// Entries fetched with one read: 256 bytes.
const BURST: u32 = 4;

/// A submission queue.
#[derive(Debug)]
pub(super) struct Sq {
    pub base: u64,
    pub entries: u32,
    /// Next entry to fetch.
    pub head: u32,
    /// As the host last rang.
    pub tail: u32,
    pub cqid: u16,
    /// Tells this queue from another that had or will have its identifier.
    pub serial: u64,
}

impl Sq {
    /// Takes up to `most` entries that lie in one block of 256 bytes; the read that fetches them.
    pub fn take(&mut self, most: u32) -> Option<(Extent, u32)> {
        let to_end = self.entries - self.head;
        let there = (self.tail + self.entries - self.head) % self.entries;
        let in_block = BURST - self.head % BURST;
        let count = there.min(to_end).min(in_block).min(most);
        let addr = self.base + 64 * u64::from(self.head);
        self.head = (self.head + count) % self.entries;
        (count > 0).then_some((
            Extent {
                addr,
                len: 64 * count,
            },
            count,
        ))
    }
}

/// A completion on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Post {
    pub sqid: u16,
    pub sq_head: u32,
    pub cid: u16,
    pub status: Status,
    pub result: u64,
}

/// A completion queue.
#[derive(Debug)]
pub(super) struct Cq {
    pub base: u64,
    pub entries: u32,
    /// As the host last rang.
    pub head: u32,
    /// Next entry to write.
    pub tail: u32,
    pub phase: bool,
    /// MSI-X vector, if interrupts are on.
    pub vector: Option<u16>,
    /// Completions that found the queue full.
    pub waiting: VecDeque<Post>,
}

impl Cq {
    pub fn new(base: u64, entries: u32, vector: Option<u16>) -> Self {
        Self {
            base,
            entries,
            head: 0,
            tail: 0,
            phase: true,
            vector,
            waiting: VecDeque::new(),
        }
    }

    /// Completions the host has not taken.
    pub fn occupied(&self) -> u32 {
        (self.tail + self.entries - self.head) % self.entries
    }

    pub fn is_full(&self) -> bool {
        self.occupied() + 1 == self.entries
    }

    /// The entry for `post` and where it goes. The queue is not full.
    pub fn place(&mut self, post: &Post) -> (u64, Cqe) {
        let addr = self.base + 16 * u64::from(self.tail);
        let mut cqe = Cqe::default();
        cqe.result.set(post.result);
        cqe.sq_head.set(post.sq_head as u16);
        cqe.sq_id.set(post.sqid);
        cqe.cid.set(post.cid);
        cqe.set_status(post.status, self.phase);
        self.tail += 1;
        if self.tail == self.entries {
            (self.tail, self.phase) = (0, !self.phase);
        }
        (addr, cqe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetches_stop_at_blocks_of_256_bytes_the_end_and_the_tail() {
        let mut sq = Sq {
            base: 0x1000,
            entries: 10,
            head: 2,
            tail: 1,
            cqid: 1,
            serial: 0,
        };
        let mut fetched = Vec::new();
        while let Some((e, n)) = sq.take(100) {
            fetched.push((e.addr, n));
        }
        assert_eq!(
            fetched,
            [(0x1080, 2), (0x1100, 4), (0x1200, 2), (0x1000, 1)]
        );
    }

    #[test]
    fn the_phase_flips_at_every_wrap() {
        let mut cq = Cq::new(0, 3, None);
        let post = Post {
            sqid: 1,
            sq_head: 0,
            cid: 9,
            status: Status::SUCCESS,
            result: 0,
        };
        let phases: Vec<_> = (0..7).map(|_| cq.place(&post).1.phase()).collect();
        assert_eq!(phases, [true, true, true, false, false, false, true]);
    }
}
