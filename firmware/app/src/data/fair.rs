//! Who gets requests and pages when they are scarce (`docs/decisions/002-who-waits.md`).
//!
//! Two kinds of commands hold them. Those that *solicit* (R2T sent, data to come) wait for the host and for whatever lies before
//! the data in its TCP stream; they never hold more than half of what there is. All others get done without another byte from
//! the stream, so a command that waits in the stream for something of theirs waits for a bounded time.

use sluice_hal::Hal;

use super::DataCore;
use super::conn::Role;
use super::request::State;
use crate::limits::{CONNECTIONS, REQUESTS_PER_CONNECTION};

/// Requests kept for the sessions' own PDUs.
const FOR_SESSIONS: usize = 2;
/// Commands of a connection that is no queue yet: its Connect and the ICResp.
const FRESH_REQUESTS: u16 = 2;
/// Who has no pages may take one of so many that are left.
const LEFT_OVER: u32 = 4;
/// A host that has taken and sent nothing for this long, in microseconds, loses its connection if others wait.
const STALL: u32 = 10_000_000;
/// How often stalled hosts are looked for, in microseconds.
const STALL_PERIOD: u64 = 1_000_000;

impl DataCore {
    /// Requests that are promised: one to each connection that has none, be it open or to come.
    #[inline]
    fn promised(&self) -> usize {
        FOR_SESSIONS + usize::from(self.without)
    }

    /// Requests that whoever has some leaves to those who want to solicit and do not yet.
    #[inline]
    const fn for_first_r2ts(&self) -> usize {
        self.share.slots() / 8
    }

    /// A command of `conn` that does not solicit may have a request.
    #[inline]
    pub(super) fn may_take_request(&self, conn: u16) -> bool {
        let entry = &self.conns[usize::from(conn)];
        let (own, free) = (entry.own_requests(), self.requests.free_count());
        if own == 0 {
            return free > FOR_SESSIONS;
        }
        if entry.role == Role::Fresh {
            return own < FRESH_REQUESTS && free > self.promised();
        }
        let left = free.saturating_sub(self.promised() + self.for_first_r2ts());
        own < (left as u16).min(REQUESTS_PER_CONNECTION)
    }

    /// A command of `conn` that does not solicit may have `pages` pages.
    #[inline]
    pub(super) fn may_take_pages(&self, conn: u16, pages: u32) -> bool {
        let own = u32::from(self.conns[usize::from(conn)].own_pages());
        let available = self.pages.available();
        if own == 0 {
            // However many have come before, something is left for who asks for little.
            return LEFT_OVER * pages <= available;
        }
        own + pages <= available.saturating_sub(self.pages.total() / 16) / 4
    }

    /// `conn` may ask its host for the data of one more command, which takes a request and `pages` pages.
    pub(super) fn may_solicit(&self, conn: u16, pages: u32) -> bool {
        let entry = &self.conns[usize::from(conn)];
        let (most, most_pages) = (self.share.slots() as u16 / 2, self.pages.total() / 2);
        let free = most.saturating_sub(self.soliciting);
        let free_pages = most_pages.saturating_sub(self.soliciting_pages.into());
        let left = self.requests.free_count().saturating_sub(self.promised());
        if entry.soliciting == 0 {
            return free > 0 && LEFT_OVER * pages <= free_pages && left > 0;
        }
        entry.soliciting < free.saturating_sub(most / 8)
            && u32::from(entry.soliciting_pages) + pages
                <= free_pages.saturating_sub(most_pages / 16) / 2
            && left > self.for_first_r2ts()
    }

    /// One more request of `conn` does not solicit.
    #[inline]
    pub(super) fn own_more(&mut self, conn: u16) {
        if self.conns[usize::from(conn)].own_requests() == 1 {
            self.without -= 1;
        }
    }

    /// One request less of `conn` does not solicit.
    #[inline]
    pub(super) fn own_less(&mut self, conn: u16) {
        if self.conns[usize::from(conn)].own_requests() == 0 {
            self.without += 1;
        }
    }

    /// The host has been asked for the data of `request`.
    pub(super) fn begin_soliciting(&mut self, request: u16) {
        let r = &mut self.requests.all[usize::from(request)];
        let (conn, pages) = (r.conn, r.run.map_or(0, |run| run.pages() as u16));
        r.soliciting = true;
        let entry = &mut self.conns[usize::from(conn)];
        entry.soliciting += 1;
        entry.soliciting_pages += pages;
        self.soliciting += 1;
        self.soliciting_pages += pages;
        self.own_less(conn);
    }

    /// The data of `request` are here, or will not come.
    #[inline]
    pub(super) fn end_soliciting(&mut self, request: u16) {
        let r = &mut self.requests.all[usize::from(request)];
        if !r.soliciting {
            return;
        }
        let (conn, pages) = (r.conn, r.run.map_or(0, |run| run.pages() as u16));
        r.soliciting = false;
        let entry = &mut self.conns[usize::from(conn)];
        entry.soliciting -= 1;
        entry.soliciting_pages -= pages;
        self.soliciting -= 1;
        self.soliciting_pages -= pages;
        self.own_more(conn);
        // Commands in the backlog may have waited for just this.
        self.relieved |= self.backlog.waiting() > 0;
    }

    /// Connections whose host neither reads nor sends lose what they hold, if others wait for it.
    pub(super) fn watch_stalls<H: Hal>(&mut self, hal: &mut H) {
        if self.now < self.next_stall_check {
            return;
        }
        self.next_stall_check = self.now.after(STALL_PERIOD);
        let mut stalled = [false; CONNECTIONS];
        for request in &self.requests.all[..self.share.slots()] {
            let on_host = matches!(
                request.state,
                State::Sending | State::NeedsSend | State::Receiving | State::Lingering
            );
            if let Some(entry) = self.conns.get(usize::from(request.conn))
                && on_host
            {
                let since = (self.now.0 as u32).wrapping_sub(entry.progress);
                stalled[usize::from(request.conn)] = since > STALL;
            }
        }
        if !stalled.contains(&true) || !self.others_wait(&stalled) {
            return;
        }
        self.with_their_associations(&mut stalled);
        for conn in (0..CONNECTIONS as u16).filter(|c| stalled[usize::from(*c)]) {
            self.stats.stalled += 1;
            self.end(conn, true, hal);
        }
    }

    /// A host that loses one queue gives up all of the association, and its other queues wait for what this one gives back.
    fn with_their_associations(&self, stalled: &mut [bool; CONNECTIONS]) {
        let queue = |entry: &&super::conn::Conn| entry.role != Role::Unused && entry.entries > 0;
        let mut hosts = 0u64;
        for (entry, _) in self.conns.iter().zip(&*stalled).filter(|(_, s)| **s) {
            if queue(&entry) {
                hosts |= 1 << (entry.association & 63);
            }
        }
        for (entry, stalled) in self.conns.iter().zip(stalled) {
            *stalled |= queue(&entry) && hosts >> (entry.association & 63) & 1 != 0;
        }
    }

    /// Somebody waits for memory who is not stalled.
    fn others_wait(&self, stalled: &[bool; CONNECTIONS]) -> bool {
        let waits = |request: &&super::request::Request| {
            request.state == State::NeedsPages && !stalled[usize::from(request.conn)]
        };
        self.requests.all[..self.share.slots()]
            .iter()
            .any(|r| waits(&r))
            || self.conns.iter().zip(stalled).any(|(entry, stalled)| {
                entry.role != Role::Unused
                    && !stalled
                    && (entry.parked || !entry.backlog.is_empty())
            })
    }
}
