//! What connections come over, as far as the target cares.

use crate::Limits;
use sluice_wire::mgmt::transports;

/// An NVMe transport of the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    Tcp,
    Rdma,
}

impl Transport {
    /// In the order of the discovery log.
    pub(crate) const ALL: [Self; 2] = [Self::Tcp, Self::Rdma];

    /// TRTYPE.
    pub(crate) const fn trtype(self) -> u8 {
        match self {
            Self::Tcp => 3,
            Self::Rdma => 1,
        }
    }

    /// Its bit in a mask of [`transports`].
    pub(crate) const fn bit(self) -> u32 {
        match self {
            Self::Tcp => transports::TCP,
            Self::Rdma => transports::RDMA,
        }
    }

    /// Entries of a queue at most.
    pub(crate) const fn queue_entries(self, limits: &Limits) -> u16 {
        match self {
            Self::Tcp => limits.queue_entries,
            Self::Rdma => limits.rdma.queue_entries,
        }
    }
}

/// How a connection came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// Over TCP.
    Tcp {
        /// To the TCP port for discovery, which serves nothing else.
        discovery: bool,
    },
    /// Over RDMA. The host has said in its request for a queue pair which queue it is going to be (NVMe RDMA Transport
    /// Specification, private data of RDMA_CM_REQUEST); its Connect must not say otherwise.
    Rdma {
        /// QID.
        qid: u16,
        /// Entries: HSQSIZE as a count.
        entries: u16,
    },
}

impl Via {
    pub(crate) const fn transport(self) -> Transport {
        match self {
            Self::Tcp { .. } => Transport::Tcp,
            Self::Rdma { .. } => Transport::Rdma,
        }
    }
}
