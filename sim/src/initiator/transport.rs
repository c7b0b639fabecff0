//! A queue over either transport, as the initiator sees it.

use super::{
    Command, CommandId, Completion, QueueConfig, QueueId, QueueState,
    net::Net,
    pdu::Terms,
    queue,
    rdma::{self, hca::Hca, qp::Work},
};
use crate::fabric::Clock;
use std::{collections::VecDeque, fmt, net::SocketAddr};

/// How capsules and data travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// NVMe/TCP.
    #[default]
    Tcp,
    /// NVMe/RDMA over RoCEv2.
    Rdma,
}

impl Transport {
    /// As `nvme connect -t` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Rdma => "rdma",
        }
    }

    /// TRTYPE in discovery log entries.
    #[must_use]
    pub fn trtype(self) -> u8 {
        match self {
            Self::Rdma => 1,
            Self::Tcp => 3,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Rdma => "RDMA",
        })
    }
}

/// What queues stand on.
pub(super) struct Ground {
    pub(super) net: Net,
    pub(super) hca: Hca,
}

#[allow(clippy::large_enum_variant, reason = "a host has few queues")]
pub(super) enum Queue {
    Tcp(queue::Queue),
    Rdma(rdma::Queue),
}

/// The same field or call of either.
macro_rules! either {
    ($self:expr, $queue:ident => $does:expr) => {
        match $self {
            Queue::Tcp($queue) => $does,
            Queue::Rdma($queue) => $does,
        }
    };
}

impl Queue {
    pub(super) fn open(
        id: QueueId,
        config: QueueConfig,
        target: SocketAddr,
        ground: &mut Ground,
    ) -> Result<Self, String> {
        Ok(match config.transport {
            Transport::Tcp => Self::Tcp(queue::Queue::open(id, config, target, &mut ground.net)?),
            Transport::Rdma => Self::Rdma(rdma::Queue::open(id, config, target, &mut ground.hca)?),
        })
    }

    pub(super) fn state(&self) -> &QueueState {
        either!(self, q => &q.state)
    }

    pub(super) fn config_mut(&mut self) -> &mut QueueConfig {
        either!(self, q => &mut q.config)
    }

    pub(super) fn done(&mut self) -> &mut VecDeque<Completion> {
        either!(self, q => &mut q.done)
    }

    pub(super) fn outstanding(&self) -> usize {
        either!(self, q => q.outstanding())
    }

    pub(super) fn cid(&self, id: CommandId) -> Option<u16> {
        either!(self, q => q.cid(id))
    }

    pub(super) fn submit(&mut self, id: CommandId, command: Command, now: Clock) {
        either!(self, q => q.submit(id, command, now));
    }

    pub(super) fn hold(&mut self, held: bool) {
        either!(self, q => q.held = held);
    }

    pub(super) fn advance(&mut self, now: Clock, ground: &mut Ground) -> bool {
        match self {
            Self::Tcp(q) => q.advance(now, &mut ground.net),
            Self::Rdma(q) => q.advance(now, &mut ground.hca),
        }
    }

    /// What was agreed on for PDUs; over RDMA there are none.
    pub(super) fn terms(&self) -> Terms {
        match self {
            Self::Tcp(q) => q.terms,
            Self::Rdma(_) => Terms::PLAIN,
        }
    }

    pub(super) fn close(&mut self, now: Clock, ground: &mut Ground) {
        match self {
            Self::Tcp(q) => q.close(),
            Self::Rdma(q) => q.close(now, &mut ground.hca),
        }
    }

    pub(super) fn reset(&mut self, now: Clock, ground: &mut Ground) {
        match self {
            Self::Tcp(q) => q.reset(&mut ground.net),
            Self::Rdma(q) => q.reset(now, &mut ground.hca),
        }
    }

    /// Bytes into the stream, or a message of any content.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        match self {
            Self::Tcp(q) => q.send_raw(bytes),
            Self::Rdma(q) => q.post_raw(Work::Send {
                bytes: bytes.to_vec(),
                invalidate: None,
            }),
        }
    }

    pub(super) fn spoil_data_digest(&mut self) {
        if let Self::Tcp(q) = self {
            q.spoil_data_digest();
        }
    }

    /// The RDMA queue, if it is one.
    pub(super) fn rdma(&mut self) -> Option<&mut rdma::Queue> {
        match self {
            Self::Tcp(_) => None,
            Self::Rdma(q) => Some(q),
        }
    }
}
