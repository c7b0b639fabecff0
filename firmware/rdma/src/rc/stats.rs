//! Counters of a core's queue pairs.

/// All wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Packets for no living queue pair, of another sender or partition, answers to nothing, unknown opcodes.
    pub stale: u32,
    /// Requests that came again.
    pub duplicates: u32,
    /// Requests ahead of the expected one.
    pub gaps: u32,
    /// Sequence NAKs sent.
    pub sequence_naks: u32,
    /// RNR NAKs sent: no receive posted, or no place.
    pub rnr_naks: u32,
    /// RDMA WRITE, RDMA READ, atomic or invalidate requests refused.
    pub remote_access: u32,
    /// Requests refused for other reasons.
    pub invalid: u32,
    /// Messages received.
    pub messages: u32,
    /// Acknowledgments sent.
    pub acks: u32,
    /// Jobs with requests sent.
    pub jobs: u32,
    /// Of those, jobs that sent something again.
    pub resent: u32,
    /// ACK timeouts.
    pub timeouts: u32,
    /// Sequence NAKs received.
    pub naks_received: u32,
    /// RNR NAKs received.
    pub rnr_received: u32,
    /// READs asked for again because data was missing.
    pub rereads: u32,
    /// CNPs received.
    pub cnps_received: u32,
    /// CNPs sent.
    pub cnps_sent: u32,
    /// Queue pairs that ended by an error.
    pub failed: u32,
}

impl Stats {
    pub(super) const NEW: Self = Self {
        stale: 0,
        duplicates: 0,
        gaps: 0,
        sequence_naks: 0,
        rnr_naks: 0,
        remote_access: 0,
        invalid: 0,
        messages: 0,
        acks: 0,
        jobs: 0,
        resent: 0,
        timeouts: 0,
        naks_received: 0,
        rnr_received: 0,
        rereads: 0,
        cnps_received: 0,
        cnps_sent: 0,
        failed: 0,
    };
}
