//! A connection as the connection manager knows it.

use crate::Peer;
use sluice_hal::Micros;

/// Where a connection stands (IBA, section 12.9.6, the passive side).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Free,
    /// The application was asked; after `at` the answer is no.
    Asked {
        at: Micros,
    },
    /// REP was sent; at `at` again, or given up.
    Replied {
        at: Micros,
    },
    /// RTU, or a packet, came.
    Live,
    /// DREQ was sent; at `at` again, or forgotten.
    Leaving {
        at: Micros,
    },
}

/// What is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    Nothing,
    Rep,
    Dreq,
}

/// One connection.
#[derive(Clone, Copy)]
pub struct Conn {
    pub state: State,
    pub due: Due,
    /// Own communication id, random; not 0.
    pub local_id: u32,
    pub remote_id: u32,
    pub remote_qpn: u32,
    /// First PSN this side sends: with the rest above it tells a repeated REQ from a new one.
    pub remote_psn: u32,
    pub tid: u64,
    pub peer: Peer,
    pub local_qpn: u32,
    pub local_psn: u32,
    pub crqsize: u16,
    /// RDMA READs this side will have outstanding.
    pub reads: u8,
    pub rnr_retries: u8,
    /// Microseconds the peer takes at most to answer.
    pub timeout: u32,
    pub tries: u8,
}

impl Conn {
    pub const FREE: Self = Self {
        state: State::Free,
        due: Due::Nothing,
        local_id: 0,
        remote_id: 0,
        remote_qpn: 0,
        remote_psn: 0,
        tid: 0,
        peer: Peer::NONE,
        local_qpn: 0,
        local_psn: 0,
        crqsize: 0,
        reads: 0,
        rnr_retries: 0,
        timeout: 0,
        tries: 0,
    };

    pub const fn is_half_open(&self) -> bool {
        matches!(self.state, State::Asked { .. } | State::Replied { .. })
    }

    /// When its timer runs out.
    pub const fn at(&self) -> Option<Micros> {
        match self.state {
            State::Asked { at } | State::Replied { at } | State::Leaving { at } => Some(at),
            State::Free | State::Live => None,
        }
    }
}
