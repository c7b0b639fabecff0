//! Payload: in order to the application, out of order kept (RFC 9293, section 3.10.7.4, seventh step; RFC 2018).

use super::{
    Tcp,
    ack::DUP_THRESHOLD,
    conn::{Conn, flag},
    input::{Buffer, Segment},
    pool::{Ref, Seg},
    seq::{after, before, distance, earlier},
};
use sluice_hal::Micros;
use sluice_wire::tcp::{Options, SackBlock};

impl<const CONNS: usize, const SEGS: usize, const CHUNKS: usize> Tcp<CONNS, SEGS, CHUNKS> {
    /// Takes an acceptable segment's payload.
    pub(super) fn receive(&mut self, c: usize, seg: &Segment, now: Micros) -> Buffer {
        let conn = &mut self.conns[c];
        if seg.len == 0 || !conn.state.receives() {
            return Buffer::Unused;
        }
        let mut node = Seg::new(seg.seq, seg.buf, seg.offset, seg.len);
        if !after(node.end(), conn.rcv_nxt) {
            self.note_duplicate(c, seg);
            self.ack_now(c);
            return Buffer::Unused;
        }
        if conn.has(flag::PEER_FIN) && after(node.end(), conn.fin_seq) {
            // Data behind the peer's FIN.
            self.common.stats.drop_window += 1;
            return Buffer::Unused;
        }
        if before(node.seq, conn.rcv_nxt) {
            self.note_duplicate(c, seg);
            node.trim_front(self.conns[c].rcv_nxt);
        }
        if node.seq == self.conns[c].rcv_nxt {
            self.receive_next(c, node, now)
        } else {
            self.receive_later(c, node)
        }
    }

    fn receive_next(&mut self, c: usize, node: Seg, now: Micros) -> Buffer {
        let (gap, len) = (!self.conns[c].ooo.head.is_none(), node.len);
        if self.conns[c].bufs >= self.common.cfg.bufs_per_conn || !self.has_place(c) {
            // What came too early gives way to what is needed now.
            self.drop_ooo(c);
        }
        if self.conns[c].bufs >= self.common.cfg.bufs_per_conn || !self.has_place(c) {
            self.common.stats.drop_full += 1;
            self.ack_now(c);
            return Buffer::Unused;
        }
        let Some(place) = self.common.segs.take(node) else {
            return Buffer::Unused;
        };
        let conn = &mut self.conns[c];
        conn.received.push(&mut self.common.segs, place);
        conn.bufs += 1;
        conn.rcv_nxt = conn.rcv_nxt.wrapping_add(u32::from(node.len));
        conn.readable += u32::from(node.len);
        // Duplicates that were not sent yet would now speak of another gap.
        conn.more_acks = 0;
        if gap {
            self.close_gap(c);
            self.ack_now(c);
        }
        self.common.owe_ack(c, &mut self.conns[c], len, now);
        self.common.tell_readable(c, &mut self.conns[c]);
        Buffer::Kept
    }

    /// In-order data finds a node. The last eighth of the pool is for connections that hold little, so that those which
    /// are not read cannot starve the rest.
    fn has_place(&self, c: usize) -> bool {
        let room = self.common.segs.room();
        room >= SEGS / 8 || (room > 0 && self.conns[c].bufs < 4)
    }

    /// Moves what has become in-order behind the received data.
    fn close_gap(&mut self, c: usize) {
        while let Some(place) = self.conns[c].ooo.pop(&self.common.segs) {
            let conn = &mut self.conns[c];
            let node = self.common.segs.get_mut(place);
            if after(node.seq, conn.rcv_nxt) {
                conn.ooo.insert(&mut self.common.segs, Ref::NONE, place);
                return;
            }
            conn.ooo_count -= 1;
            if !after(node.end(), conn.rcv_nxt) {
                conn.bufs -= 1;
                self.common.garbage.push(&mut self.common.segs, place);
                continue;
            }
            node.trim_front(conn.rcv_nxt);
            conn.rcv_nxt = node.end();
            conn.readable += u32::from(node.len);
            conn.received.push(&mut self.common.segs, place);
        }
    }

    fn drop_ooo(&mut self, c: usize) {
        while let Some(place) = self.conns[c].ooo.pop(&self.common.segs) {
            self.common.garbage.push(&mut self.common.segs, place);
            self.conns[c].bufs -= 1;
        }
        self.conns[c].ooo_count = 0;
    }

    /// Keeps a segment beyond a gap, cut to what is not there yet. What came first stays (a second version of the same
    /// bytes never replaces it), except that a segment which covers whole others takes their place.
    fn receive_later(&mut self, c: usize, mut node: Seg) -> Buffer {
        self.duplicate_ack(c);
        let conn = &self.conns[c];
        let scarce =
            self.common.segs.room() < SEGS / 4 || conn.bufs >= self.common.cfg.bufs_per_conn;
        if conn.ooo_count >= self.common.cfg.ooo_per_conn || scarce {
            self.common.stats.drop_full += 1;
            return Buffer::Unused;
        }
        let whole = (node.seq, node.end());
        let before_it = self.predecessor(c, node.seq);
        if !before_it.is_none() {
            let end = self.common.segs.get(before_it).end();
            if !after(node.end(), end) {
                return self.duplicate_later(c, whole);
            }
            if after(end, node.seq) {
                self.conns[c].dsack = (node.seq, end);
                self.conns[c].set(flag::DSACK);
                node.trim_front(end);
            }
        }
        self.make_way(c, before_it, &mut node);
        if node.len == 0 {
            return self.duplicate_later(c, whole);
        }
        let Some(place) = self.common.segs.take(node) else {
            return Buffer::Unused;
        };
        let conn = &mut self.conns[c];
        conn.ooo.insert(&mut self.common.segs, before_it, place);
        conn.ooo_count += 1;
        conn.bufs += 1;
        conn.ooo_latest = node.seq;
        Buffer::Kept
    }

    fn duplicate_later(&mut self, c: usize, (left, right): (u32, u32)) -> Buffer {
        self.common.stats.drop_duplicate += 1;
        let conn = &mut self.conns[c];
        conn.dsack = (left, right);
        conn.ooo_latest = left;
        conn.set(flag::DSACK);
        Buffer::Unused
    }

    /// The last node that begins at or before `seq`.
    fn predecessor(&self, c: usize, seq: u32) -> Ref {
        let list = self.conns[c].ooo;
        if !list.head.is_none() && !after(self.common.segs.get(list.tail).seq, seq) {
            return list.tail; // the usual case: behind all others
        }
        let starts_by = |place: &Ref| !after(self.common.segs.get(*place).seq, seq);
        list.places(&self.common.segs)
            .take_while(starts_by)
            .last()
            .unwrap_or_default()
    }

    /// Drops the nodes behind `before_it` that `node` covers, and cuts `node` before one that it only overlaps.
    fn make_way(&mut self, c: usize, before_it: Ref, node: &mut Seg) {
        loop {
            let conn = &mut self.conns[c];
            let Some(place) = conn.ooo.remove(&mut self.common.segs, before_it) else {
                return;
            };
            let next = *self.common.segs.get(place);
            if !after(next.end(), node.end()) {
                conn.ooo_count -= 1;
                conn.bufs -= 1;
                self.common.garbage.push(&mut self.common.segs, place);
                continue;
            }
            conn.ooo.insert(&mut self.common.segs, before_it, place);
            if after(node.end(), next.seq) {
                node.len = distance(node.seq, next.seq) as u16;
            }
            return;
        }
    }

    /// Remembers a duplicate for the next acknowledgment (RFC 2883).
    pub(super) fn note_duplicate(&mut self, c: usize, seg: &Segment) {
        let conn = &mut self.conns[c];
        let end = seg.seq.wrapping_add(u32::from(seg.len));
        if seg.len == 0 || !conn.has(flag::SACK) || !before(seg.seq, conn.rcv_nxt) {
            return;
        }
        self.common.stats.drop_duplicate += 1;
        conn.dsack = (seg.seq, earlier(end, conn.rcv_nxt));
        conn.set(flag::DSACK);
    }

    /// "A TCP receiver SHOULD send an immediate duplicate ACK when an out-of-order segment arrives" (RFC 5681, section 4.2):
    /// one for each, since a peer may only count them. To a peer that reads SACK blocks the same ones need not be said more
    /// than three times.
    fn duplicate_ack(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        // An acknowledgment that is due already, or that the next one has news for, is no duplicate for this segment.
        if conn.has(flag::ACK_NOW) || conn.last_ack != conn.rcv_nxt {
            let most = if conn.has(flag::SACK) {
                DUP_THRESHOLD
            } else {
                u8::MAX
            };
            conn.more_acks = conn.more_acks.saturating_add(1).min(most);
        }
        self.ack_now(c);
    }

    pub(super) fn ack_now(&mut self, c: usize) {
        self.conns[c].set(flag::ACK_NOW);
        self.common.dirty.push(c);
    }

    /// The SACK blocks that the next acknowledgment carries: a duplicate, the latest range, then the lowest others.
    pub(super) fn sack_blocks(&self, c: usize, options: &mut Options) {
        let conn = &self.conns[c];
        if !conn.has(flag::SACK) {
            return;
        }
        let mut blocks = Blocks {
            options,
            most: if conn.has(flag::TS) { 3 } else { 4 },
        };
        if conn.has(flag::DSACK) {
            blocks.push(SackBlock {
                left: conn.dsack.0,
                right: conn.dsack.1,
            });
        }
        let holds =
            |b: &SackBlock| conn.ooo_latest.wrapping_sub(b.left) < b.right.wrapping_sub(b.left);
        if let Some(latest) = self.ranges(conn).find(holds) {
            blocks.push(latest);
        }
        for range in self.ranges(conn).filter(|b| !holds(b)) {
            blocks.push(range);
        }
    }

    /// The ranges that the nodes out of order form together.
    fn ranges(&self, conn: &Conn) -> impl Iterator<Item = SackBlock> {
        let mut nodes = conn
            .ooo
            .places(&self.common.segs)
            .map(|place| self.common.segs.get(place))
            .peekable();
        core::iter::from_fn(move || {
            let first = nodes.next()?;
            let mut range = SackBlock {
                left: first.seq,
                right: first.end(),
            };
            while let Some(node) = nodes.next_if(|node| node.seq == range.right) {
                range.right = node.end();
            }
            Some(range)
        })
    }
}

struct Blocks<'a> {
    options: &'a mut Options,
    most: u8,
}

impl Blocks<'_> {
    fn push(&mut self, block: SackBlock) {
        let at = usize::from(self.options.sack_len);
        if self.options.sack_len < self.most
            && let Some(place) = self.options.sack.get_mut(at)
        {
            *place = block;
            self.options.sack_len += 1;
        }
    }
}
