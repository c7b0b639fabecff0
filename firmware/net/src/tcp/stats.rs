//! Counters. All wrap: take differences.

/// What one [`super::Tcp`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments taken from the rx engine.
    pub segments_in: u32,
    /// Of these, handled on the fast path.
    pub fast: u32,
    /// Trains sent.
    pub trains: u32,
    /// Pure acknowledgments sent.
    pub acks: u32,
    /// Retransmissions sent (jobs).
    pub retransmits: u32,
    /// Retransmission timeouts.
    pub timeouts: u32,
    /// Tail loss probes sent.
    pub probes: u32,
    /// Of these, known to have been too early: nothing was lost.
    pub probes_early: u32,
    /// Fast recoveries entered.
    pub recoveries: u32,
    /// Window reductions for ECN echoes.
    pub ecn_reductions: u32,
    /// Connections accepted.
    pub accepted: u32,
    /// Connections opened from here.
    pub connected: u32,
    /// Connections ended, of those that were known to the application.
    pub closed: u32,
    /// Connections refused because no place was left.
    pub refused: u32,
    /// SYN cookies sent.
    pub cookies_sent: u32,
    /// Connections accepted by a cookie.
    pub cookies_accepted: u32,
    /// TIME-WAIT connections that gave way to new ones.
    pub time_wait_reused: u32,
    /// RSTs sent.
    pub resets_sent: u32,
    /// RSTs that ended a connection.
    pub resets_taken: u32,
    /// Challenge acknowledgments sent (RFC 5961).
    pub challenges: u32,
    /// Challenge acknowledgments withheld by the rate limit.
    pub challenges_withheld: u32,
    /// Segments dropped: stale timestamp (PAWS), or none where one must be.
    pub drop_paws: u32,
    /// Segments dropped: outside the window.
    pub drop_window: u32,
    /// Segments dropped: unacceptable acknowledgment.
    pub drop_ack: u32,
    /// Segments dropped: nothing new in them.
    pub drop_duplicate: u32,
    /// Segments dropped: no place to keep them.
    pub drop_full: u32,
    /// Segments dropped: not for an own address, not TCP, or malformed.
    pub drop_foreign: u32,
    /// Path MTU reports taken.
    pub path_mtu_taken: u32,
    /// Path MTU reports refused: unknown connection or sequence number.
    pub path_mtu_refused: u32,
}

impl Stats {
    pub(crate) const NONE: Self = Self {
        segments_in: 0,
        fast: 0,
        trains: 0,
        acks: 0,
        retransmits: 0,
        timeouts: 0,
        probes: 0,
        probes_early: 0,
        recoveries: 0,
        ecn_reductions: 0,
        accepted: 0,
        connected: 0,
        closed: 0,
        refused: 0,
        cookies_sent: 0,
        cookies_accepted: 0,
        time_wait_reused: 0,
        resets_sent: 0,
        resets_taken: 0,
        challenges: 0,
        challenges_withheld: 0,
        drop_paws: 0,
        drop_window: 0,
        drop_ack: 0,
        drop_duplicate: 0,
        drop_full: 0,
        drop_foreign: 0,
        path_mtu_taken: 0,
        path_mtu_refused: 0,
    };
}
