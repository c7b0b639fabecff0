//! What a data core counts, in native words; [`Stats::publish`] makes the host driver's form of it.

use sluice_wire::mgmt::Counters;
use sluice_wire::stats::{READ, UNIT};

/// Running totals; see [`Counters`] for their meaning.
#[derive(Default)]
pub struct Stats {
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub write_bytes: u64,
    pub other_io: u64,
    pub admin: u64,
    pub errors: u64,
    pub connections: u32,
    pub accepted: u64,
    pub refused: u64,
    pub header_digest_errors: u64,
    pub data_digest_errors: u64,
    pub term_reqs: u64,
    pub ssd_timeouts: u64,
    pub waits: u64,
    pub stalled: u64,
    pub loops: u64,
}

impl Stats {
    pub const fn new() -> Self {
        Self {
            reads: 0,
            read_bytes: 0,
            writes: 0,
            write_bytes: 0,
            other_io: 0,
            admin: 0,
            errors: 0,
            connections: 0,
            accepted: 0,
            refused: 0,
            header_digest_errors: 0,
            data_digest_errors: 0,
            term_reqs: 0,
            ssd_timeouts: 0,
            waits: 0,
            stalled: 0,
            loops: 0,
        }
    }

    /// Adds `commands` that moved `units` of data in `direction`.
    pub fn transferred(&mut self, direction: usize, commands: u32, units: u32) {
        let bytes = u64::from(units) * u64::from(UNIT);
        let (all, all_bytes) = if direction == READ {
            (&mut self.reads, &mut self.read_bytes)
        } else {
            (&mut self.writes, &mut self.write_bytes)
        };
        *all += u64::from(commands);
        *all_bytes += bytes;
    }

    /// In the form of the management interface, with what TCP and the queue pairs counted.
    pub fn publish(&self, net: &sluice_net::Stats, rdma: &sluice_rdma::Stats) -> Counters {
        let rdma_dropped = rdma
            .stale
            .wrapping_add(rdma.duplicates)
            .wrapping_add(rdma.gaps);
        let dropped = net
            .drop_paws
            .wrapping_add(net.drop_window)
            .wrapping_add(net.drop_ack)
            .wrapping_add(net.drop_full)
            .wrapping_add(net.drop_foreign);
        Counters {
            reads: self.reads.into(),
            read_bytes: self.read_bytes.into(),
            writes: self.writes.into(),
            write_bytes: self.write_bytes.into(),
            other_io: self.other_io.into(),
            admin: self.admin.into(),
            errors: self.errors.into(),
            connections: u64::from(self.connections).into(),
            accepted: self.accepted.into(),
            refused: self.refused.wrapping_add(net.refused.into()).into(),
            retransmits: u64::from(net.retransmits).into(),
            dropped: u64::from(dropped).into(),
            header_digest_errors: self.header_digest_errors.into(),
            data_digest_errors: self.data_digest_errors.into(),
            term_reqs: self.term_reqs.into(),
            ssd_timeouts: self.ssd_timeouts.into(),
            waits: self.waits.into(),
            stalled: self.stalled.into(),
            loops: self.loops.into(),
            rdma_messages: u64::from(rdma.messages).into(),
            rdma_resent: u64::from(rdma.resent).into(),
            rdma_timeouts: u64::from(rdma.timeouts).into(),
            rdma_dropped: u64::from(rdma_dropped).into(),
            rdma_not_ready: u64::from(rdma.rnr_naks).into(),
            rdma_refused: u64::from(rdma.remote_access.wrapping_add(rdma.invalid)).into(),
            rdma_failed: u64::from(rdma.failed).into(),
            rdma_cnps_sent: u64::from(rdma.cnps_sent).into(),
            rdma_cnps_received: u64::from(rdma.cnps_received).into(),
        }
    }
}

/// What a data core has free and in use, for tests and whoever looks for leaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resources {
    /// Requests free, of [`Resources::requests`].
    pub requests_free: usize,
    /// Requests in all.
    pub requests: usize,
    /// Data pages free, of [`Resources::pages`].
    pub pages_free: u32,
    /// Data pages in all.
    pub pages: u32,
    /// Connections, of both transports.
    pub connections: u32,
    /// TCP connections open or opening.
    pub tcp_connections: usize,
    /// RDMA queue pairs open.
    pub queue_pairs: u16,
    /// Work requests of queue pairs free.
    pub work_free: u16,
    /// Relay slots in use.
    pub relay_slots_used: u32,
    /// Moves under way.
    pub moves: usize,
    /// Requests whose answer is acknowledged and not yet known to have left.
    pub leaving: usize,
    /// Commands in the backlog.
    pub backlog: usize,
    /// Requests whose data the host has been asked for and has not sent.
    pub soliciting: usize,
}
