//! One connection's state. What the events and segments do to it is in the neighbouring modules.

use super::{
    cubic::Cubic,
    pool::{List, Ref},
    rtt::Rtt,
    scoreboard::Scoreboard,
};
use sluice_hal::RxFlags;

/// RFC 9293, section 3.3.2. CLOSED and LISTEN have no connection: ports that listen are a list of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum State {
    /// The place is free.
    #[default]
    Free = 0,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    /// Gone from the table; waits until the application has taken its last event and its chunks.
    Dead,
}

impl State {
    /// Payload from the peer is taken.
    pub const fn receives(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// Queued payload may be sent (and retransmitted).
    pub const fn sends(self) -> bool {
        matches!(
            self,
            Self::Established | Self::FinWait1 | Self::CloseWait | Self::Closing | Self::LastAck
        )
    }

    /// The application may queue payload.
    pub const fn may_queue(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait)
    }
}

/// Bits of [`Conn::flags`].
pub mod flag {
    /// Timestamps are used (RFC 7323).
    pub const TS: u32 = 1 << 0;
    /// SACK is used.
    pub const SACK: u32 = 1 << 1;
    /// ECN is used.
    pub const ECN: u32 = 1 << 2;
    /// The peer scales windows.
    pub const WSCALE: u32 = 1 << 3;
    /// Opened from here.
    pub const ACTIVE: u32 = 1 << 4;
    /// An acknowledgment is due at once.
    pub const ACK_NOW: u32 = 1 << 5;
    /// An acknowledgment is due when its delay has passed.
    pub const ACK_LATER: u32 = 1 << 6;
    /// The application has closed; FIN goes after the last chunk.
    pub const FIN_QUEUED: u32 = 1 << 7;
    /// FIN was sent; its sequence number is `snd_end`.
    pub const FIN_SENT: u32 = 1 << 8;
    /// The peer's FIN was seen; its sequence number is `fin_seq`.
    pub const PEER_FIN: u32 = 1 << 9;
    /// Fast recovery until `recover` is acknowledged.
    pub const RECOVERY: u32 = 1 << 10;
    /// Recovery after a timeout until `recover` is acknowledged.
    pub const LOSS: u32 = 1 << 11;
    /// The window was reduced for an ECN echo; not again until `recover` is acknowledged.
    pub const CWR_WINDOW: u32 = 1 << 12;
    /// One retransmission goes out whatever the congestion window says.
    pub const RTX_FORCE: u32 = 1 << 13;
    /// A round trip is being timed: `rtt_seq`, `rtt_at`.
    pub const RTT_TIMING: u32 = 1 << 14;
    /// `t_rtx` is set.
    pub const TIMER_RTX: u32 = 1 << 15;
    /// `t_life` is set.
    pub const TIMER_LIFE: u32 = 1 << 16;
    /// `t_rtx` is the probe timeout, not the retransmission timeout.
    pub const TIMER_PROBE: u32 = 1 << 17;
    /// The tail was probed since the last acknowledgment.
    pub const PROBED: u32 = 1 << 18;
    /// The tail is to be sent again now.
    pub const PROBE_DUE: u32 = 1 << 19;
    /// Congestion was seen; echo it until CWR comes.
    pub const ECE_ECHO: u32 = 1 << 20;
    /// The next new segment says CWR.
    pub const CWR_DUE: u32 = 1 << 21;
    /// SYN or SYN-ACK is to be sent.
    pub const SYN_DUE: u32 = 1 << 22;
    /// RST is to be sent; the place stays until it is.
    pub const RST_DUE: u32 = 1 << 23;
    /// A window probe is to be sent.
    pub const WINDOW_PROBE_DUE: u32 = 1 << 24;
    /// A keep-alive probe is to be sent.
    pub const KEEPALIVE_DUE: u32 = 1 << 25;
    /// Less than a segment may be sent: the sender's override timeout has passed.
    pub const SMALL_DUE: u32 = 1 << 26;
    /// `dsack` is to be reported.
    pub const DSACK: u32 = 1 << 27;
    /// The application has taken the Closed event, or never knew the connection.
    pub const GONE: u32 = 1 << 28;
    /// It is not known yet whether the last probe was needed.
    pub const PROBE_OPEN: u32 = 1 << 29;

    /// Any of these sends segments down the slow path.
    pub const SLOW: u32 = PEER_FIN | RECOVERY | LOSS | CWR_WINDOW | PROBED;
    /// Loss recovery of either kind.
    pub const RECOVERING: u32 = RECOVERY | LOSS;
    /// Work for the transmitter besides queued payload and plain acknowledgments.
    pub const DUE: u32 =
        PROBE_DUE | SYN_DUE | RST_DUE | WINDOW_PROBE_DUE | KEEPALIVE_DUE | RTX_FORCE | RECOVERING;
}

/// Which own address a connection uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Local {
    #[default]
    V4 = 0,
    V6,
    /// The IPv6 link-local address.
    V6Link,
}

/// Bits of [`Conn::events`], delivered in this order.
pub mod event {
    pub const OPENED: u8 = 1 << 0;
    pub const READABLE: u8 = 1 << 1;
    pub const PEER_CLOSED: u8 = 1 << 2;
    pub const CLOSED: u8 = 1 << 3;
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum CloseReason {
    /// Both sides have closed, and all that was sent is acknowledged.
    #[default]
    Done = 0,
    /// The peer sent RST.
    Reset,
    /// The peer refused the connection.
    Refused,
    /// The peer did not answer any more.
    TimedOut,
    /// [`super::Tcp::abort`].
    Aborted,
}

/// Times are the low 32 bits of the microsecond clock. All zeros when free.
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    /// [`flag`] bits.
    pub flags: u32,
    /// Receive descriptor flags that a segment on the fast path has, masked by [`FAST_MASK`].
    pub rx_kind: u32,
    pub state: State,
    pub local: Local,
    /// IP and TCP header in the template.
    pub l3: u8,
    pub l4: u8,
    pub header_len: u8,
    pub snd_shift: u8,
    pub rcv_shift: u8,
    /// [`event`] bits to be delivered.
    pub events: u8,
    /// Peer's address; IPv4 in the first word.
    pub peer: [u32; 4],
    /// Peer's port in the upper half, own in the lower.
    pub ports: u32,
    pub hash: u32,
    pub generation: u16,
    /// Most payload in a segment sent.
    pub mss: u16,
    /// Largest payload in a segment received.
    pub rcv_mss: u16,

    pub reason: CloseReason,
    /// Timeouts in a row; doubles the next one.
    pub backoff: u8,
    pub dupacks: u8,
    /// Keep-alive probes without an answer.
    pub silent: u8,
    /// How often the probe timeout is doubled, since probes came too early.
    pub patience: u8,
    /// Acknowledgments owed beside the one that [`flag::ACK_NOW`] stands for.
    pub more_acks: u8,

    /// SND.UNA.
    pub snd_una: u32,
    /// SND.NXT; never goes back.
    pub snd_nxt: u32,
    /// Behind the last queued byte.
    pub snd_end: u32,
    /// SND.WND, scaled.
    pub snd_wnd: u32,
    /// Largest SND.WND seen.
    pub max_wnd: u32,
    pub snd_wl1: u32,
    pub snd_wl2: u32,
    /// Chunks not wholly acknowledged.
    pub chunks: List,
    /// Chunk that holds `snd_nxt`; none if nothing waits to be sent.
    pub cursor: Ref,
    /// Chunks queued, or released and not yet taken by the application.
    pub chunk_count: u16,
    /// Bytes of the first chunk that are acknowledged.
    pub una_offset: u32,
    /// Bytes of the cursor's chunk that were sent.
    pub cursor_offset: u32,

    pub cubic: Cubic,
    pub rtt: Rtt,
    pub rtt_seq: u32,
    pub rtt_at: u32,
    /// End of recovery, or of the window reduced for ECN.
    pub recover: u32,
    /// Retransmitted up to here.
    pub rtx_nxt: u32,
    /// Lost up to here, except what the scoreboard has.
    pub lost_until: u32,
    /// When the first hole was sent again; while [`flag::PROBE_OPEN`], the timestamp that the probe carried.
    pub rtx_at: u32,
    pub sacked: Scoreboard,

    /// RCV.NXT.
    pub rcv_nxt: u32,
    /// Right edge of the window as advertised.
    pub rcv_adv: u32,
    /// Last acknowledgment number sent.
    pub last_ack: u32,
    pub ts_recent: u32,
    /// When `ts_recent` was set, in units of 1.05 s.
    pub ts_age: u32,
    /// Added to the clock in timestamps sent.
    pub ts_offset: u32,
    pub fin_seq: u32,
    /// Bytes in `received`.
    pub readable: u32,
    /// In-order data not consumed.
    pub received: List,
    /// Data out of order, ascending, disjoint.
    pub ooo: List,
    /// Nodes in both lists.
    pub bufs: u16,
    pub ooo_count: u16,
    /// Duplicate to be reported.
    pub dsack: (u32, u32),
    /// The latest segment out of order began here.
    pub ooo_latest: u32,

    pub t_rtx: u32,
    pub t_life: u32,
    pub last_rx: u32,
    /// When payload was last sent.
    pub last_tx: u32,
    /// When the delayed acknowledgment is due.
    pub ack_at: u32,
    pub challenge_at: u32,
}

/// Descriptor flags that matter to the fast path.
pub const FAST_MASK: u32 =
    RxFlags::L4_OK | RxFlags::TIMESTAMP | RxFlags::TCP_OPTIONS | RxFlags::CE | RxFlags::TCP;

impl Conn {
    pub const NONE: Self = Self {
        flags: 0,
        rx_kind: 0,
        state: State::Free,
        local: Local::V4,
        l3: 0,
        l4: 0,
        header_len: 0,
        snd_shift: 0,
        rcv_shift: 0,
        events: 0,
        peer: [0; 4],
        ports: 0,
        hash: 0,
        generation: 0,
        mss: 0,
        rcv_mss: 0,
        reason: CloseReason::Done,
        backoff: 0,
        dupacks: 0,
        silent: 0,
        patience: 0,
        more_acks: 0,
        snd_una: 0,
        snd_nxt: 0,
        snd_end: 0,
        snd_wnd: 0,
        max_wnd: 0,
        snd_wl1: 0,
        snd_wl2: 0,
        chunks: List::EMPTY,
        cursor: Ref::NONE,
        chunk_count: 0,
        una_offset: 0,
        cursor_offset: 0,
        cubic: Cubic::NONE,
        rtt: Rtt::NONE,
        rtt_seq: 0,
        rtt_at: 0,
        recover: 0,
        rtx_nxt: 0,
        lost_until: 0,
        rtx_at: 0,
        sacked: Scoreboard::NONE,
        rcv_nxt: 0,
        rcv_adv: 0,
        last_ack: 0,
        ts_recent: 0,
        ts_age: 0,
        ts_offset: 0,
        fin_seq: 0,
        readable: 0,
        received: List::EMPTY,
        ooo: List::EMPTY,
        bufs: 0,
        ooo_count: 0,
        dsack: (0, 0),
        ooo_latest: 0,
        t_rtx: 0,
        t_life: 0,
        last_rx: 0,
        last_tx: 0,
        ack_at: 0,
        challenge_at: 0,
    };

    #[inline]
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    #[inline]
    pub const fn set(&mut self, flags: u32) {
        self.flags |= flags;
    }

    #[inline]
    pub const fn clear(&mut self, flags: u32) {
        self.flags &= !flags;
    }

    /// Clears `flags` and says whether any was set.
    #[inline]
    pub const fn take(&mut self, flags: u32) -> bool {
        let had = self.has(flags);
        self.clear(flags);
        had
    }

    /// An acknowledgment is due that the core must make itself.
    #[inline]
    pub const fn must_report(&self) -> bool {
        self.has(flag::ACK_NOW) && (self.has(flag::DSACK | flag::ECN) || !self.ooo.head.is_none())
    }

    /// Sequence numbers sent and not acknowledged.
    #[inline]
    pub const fn in_flight(&self) -> u32 {
        self.snd_nxt.wrapping_sub(self.snd_una)
    }

    /// Payload queued and not yet sent.
    #[inline]
    pub const fn unsent(&self) -> u32 {
        super::seq::distance(self.snd_nxt, self.snd_end)
    }

    /// FIN waits to be sent.
    #[inline]
    pub const fn fin_waits(&self) -> bool {
        self.flags & (flag::FIN_QUEUED | flag::FIN_SENT) == flag::FIN_QUEUED
    }

    /// There is payload or FIN that was not sent yet.
    #[inline]
    pub const fn wants_to_send(&self) -> bool {
        self.unsent() != 0 || self.fin_waits()
    }

    /// Our FIN was acknowledged.
    pub const fn fin_acked(&self) -> bool {
        self.has(flag::FIN_SENT) && super::seq::after(self.snd_una, self.snd_end)
    }

    pub const fn mss32(&self) -> u32 {
        self.mss as u32
    }
}
