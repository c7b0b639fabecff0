//! State of one queue pair.

use super::{CloseReason, timer::Rtt};
use crate::{
    dcqcn::Rate,
    pool::{List, Ref},
    psn,
};
use sluice_hal::Micros;

/// What is due or known of a queue pair, as bits of [`Qp::flags`].
pub mod flag {
    /// In the queue of those that want to transmit. Outlives the queue pair, since the entry does.
    pub const READY: u32 = 1 << 0;
    /// In the queue of those with events; outlives it too.
    pub const EVENTS: u32 = 1 << 1;
    /// Event to be told: the first packet came.
    pub const ALIVE: u32 = 1 << 2;
    /// Event: messages are complete.
    pub const RECEIVED: u32 = 1 << 3;
    /// Event: over.
    pub const CLOSED: u32 = 1 << 4;
    /// A packet of the peer's has come.
    pub const SEEN: u32 = 1 << 5;
    /// An acknowledgment is due.
    pub const ACK_DUE: u32 = 1 << 6;
    /// A NAK is due; takes the place of an acknowledgment.
    pub const NAK_DUE: u32 = 1 << 7;
    /// This gap, or this lack of receives, was answered: no more NAKs until the expected packet comes.
    pub const NAKED: u32 = 1 << 8;
    /// A CNP is due.
    pub const CNP_DUE: u32 = 1 << 9;
    /// Between the first and the last packet of a message received.
    pub const IN_MESSAGE: u32 = 1 << 10;
    /// READ data was found missing and asked for again.
    pub const REREAD: u32 = 1 << 11;
    /// `rtx_at` counts.
    pub const TIMER: u32 = 1 << 12;
    /// `wait_until` counts: nothing new is sent before.
    pub const WAIT: u32 = 1 << 13;
    /// A round trip is being timed.
    pub const TIMING: u32 = 1 << 14;
    /// In the queue of those whose acknowledgments wait; outlives the queue pair too.
    pub const LATE: u32 = 1 << 15;
    /// In the queue of those that wait to ask for READ data; outlives it too.
    pub const THIRSTY: u32 = 1 << 16;
    /// What outlives a queue pair.
    pub const QUEUED: u32 = READY | EVENTS | LATE | THIRSTY;
}

/// What a queue pair's headers are made of beside Ethernet and IPv4, as bits of [`Qp::form`].
pub mod form {
    pub const IPV6: u8 = 1 << 0;
    pub const VLAN: u8 = 1 << 1;
}

/// Whether a queue pair works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Free,
    Live,
    /// Over; sends only its last NAK. Until the application closes it.
    Failed,
}

/// One queue pair. PSNs are 24 bits.
#[derive(Clone, Copy)]
pub struct Qp {
    /// Own number; the last user's while free.
    pub qpn: u32,
    pub remote_qpn: u32,
    /// The peer's address, in network order; IPv4 in the last word.
    pub peer: [u32; 4],
    pub flags: u32,
    pub state: State,
    pub reason: CloseReason,
    /// Bits of [`form`].
    pub form: u8,
    /// 1 to 5; 0 while free.
    pub mtu_code: u8,
    /// Syndrome of the NAK due, or of the last one.
    pub syndrome: u8,

    /// Next PSN expected.
    pub epsn: u32,
    /// Messages completed.
    pub msn: u32,
    /// Bytes of the message being received.
    pub partial: u32,
    /// When a packet of it came last, low half of the clock.
    pub partial_at: u32,
    /// Messages whose acknowledgment waits, and messages beyond the SENDs that answer them.
    pub unacked: u8,
    pub owed: u16,
    /// SENDs since one that asked for an acknowledgment.
    pub unasked: u8,
    /// Receives posted and not used.
    pub credits: u16,
    /// Messages complete and not consumed.
    pub messages: u16,
    /// Places promised to the rest of the message being received.
    pub reserved: u8,
    /// Places that its messages take.
    pub kept: u16,
    pub received: List,

    /// Oldest PSN not acknowledged.
    pub una: u32,
    /// Next PSN to send; behind `max` while going back.
    pub nxt: u32,
    /// Behind the last PSN ever sent.
    pub max: u32,
    /// Behind the last PSN of the queue.
    pub end: u32,
    pub queue: List,
    /// The request that has `nxt`; none if all was sent.
    pub cursor: Ref,
    /// READ requests sent since `una` and not answered, and packets of their data that have not come.
    pub reads_out: u8,
    pub asked: u16,
    pub reads: u8,
    pub retries_left: u8,
    pub retries: u8,
    pub rnr_left: u8,
    pub rnr_retries: u8,
    /// The window is 2^n times smaller than it may be: the peer was not ready for what was sent.
    pub held_back: u8,
    /// Microseconds; 0 for never.
    pub ack_timeout: u32,
    /// The acknowledgment of what lies before `timed` ends the round trip that began at `timed_at`.
    pub timed: u32,
    pub timed_at: u32,
    pub rtt: Rtt,
    pub rtx_at: Micros,
    pub wait_until: Micros,
    pub rate: Rate,
}

const _: () = assert!(size_of::<Qp>() <= 176);

impl Qp {
    /// All zeros, so that a static of queue pairs takes no room in the image.
    pub const FREE: Self = Self {
        qpn: 0,
        remote_qpn: 0,
        peer: [0; 4],
        flags: 0,
        state: State::Free,
        reason: CloseReason::Requested,
        form: 0,
        mtu_code: 0,
        syndrome: 0,
        epsn: 0,
        msn: 0,
        partial: 0,
        partial_at: 0,
        unacked: 0,
        owed: 0,
        unasked: 0,
        credits: 0,
        messages: 0,
        reserved: 0,
        kept: 0,
        received: List::EMPTY,
        una: 0,
        nxt: 0,
        max: 0,
        end: 0,
        queue: List::EMPTY,
        cursor: Ref::NONE,
        reads_out: 0,
        asked: 0,
        reads: 0,
        retries_left: 0,
        retries: 0,
        rnr_left: 0,
        rnr_retries: 0,
        held_back: 0,
        ack_timeout: 0,
        timed: 0,
        timed_at: 0,
        rtt: Rtt::NEW,
        rtx_at: Micros(0),
        wait_until: Micros(0),
        rate: Rate::NEW,
    };

    #[inline]
    pub const fn has(&self, bits: u32) -> bool {
        self.flags & bits != 0
    }

    #[inline]
    pub const fn set(&mut self, bits: u32) {
        self.flags |= bits;
    }

    #[inline]
    pub const fn clear(&mut self, bits: u32) {
        self.flags &= !bits;
    }

    /// Payload bytes per packet.
    #[inline]
    pub const fn mtu(&self) -> u32 {
        128 << self.mtu_code
    }

    /// PSNs of a message of `len` bytes.
    #[inline]
    pub const fn packets(&self, len: u32) -> u32 {
        let count = (len + self.mtu() - 1) >> (7 + self.mtu_code);
        if count == 0 { 1 } else { count }
    }

    #[inline]
    pub const fn is_ipv6(&self) -> bool {
        self.form & form::IPV6 != 0
    }

    #[inline]
    pub const fn has_vlan(&self) -> bool {
        self.form & form::VLAN != 0
    }

    /// Packets sent, now or before going back, and not acknowledged.
    #[inline]
    pub const fn in_flight(&self) -> u32 {
        psn::distance(self.una, self.nxt)
    }
}
