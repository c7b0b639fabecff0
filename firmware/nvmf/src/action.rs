//! What the target needs from its caller and what it asks of it.

use crate::NamespaceUpdate;
use sluice_wire::{mgmt, nvme::Status};

/// Names a connection (core, index, generation); chosen by the caller, opaque here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct QueueKey(pub u32);

/// Takes the controller-to-host data of the command in hand.
pub trait DataSink {
    /// Bytes at `offset` from the first byte that the host asked for. Offsets ascend without gaps.
    fn write(&mut self, offset: u32, bytes: &[u8]);
}

/// Takes what is to be done, in order.
pub trait Outbox {
    /// One thing to do.
    fn push(&mut self, action: Action);
}

/// Something the caller must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Answers command `cid` of connection `key`. Event requests are answered long after they came.
    Complete {
        /// The connection.
        key: QueueKey,
        /// The command's identifier.
        cid: u16,
        /// Dwords 0 and 1 of the completion.
        result: u64,
        /// The status; on the wire [`Status::to_wire`].
        status: Status,
        /// Bytes that went into the sink; 0 for none.
        data_len: u32,
    },
    /// The connection is now a queue; comes before the `Complete` of its Connect.
    QueueReady(QueueReady),
    /// End this connection: let no further command start, wait for the SSD commands in flight, close, then call
    /// [`crate::Target::connection_closed`].
    QueueClose {
        /// The connection.
        key: QueueKey,
        /// Send nothing more on it; false: send what is queued first.
        abort: bool,
    },
    /// The controller was enabled or disabled.
    ControllerLive {
        /// Its slot.
        association: u8,
        /// CC.EN.
        enabled: bool,
    },
    /// Tell every data core.
    Namespace(NamespaceUpdate),
    /// Tell the host driver.
    Event(mgmt::Event, u32),
}

/// A connection that has become a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueReady {
    /// The connection.
    pub key: QueueKey,
    /// Slot of its association, below [`crate::CONTROLLERS`].
    pub association: u8,
    /// Its controller.
    pub cntlid: u16,
    /// 0: admin queue.
    pub qid: u16,
    /// Entries (SQSIZE + 1).
    pub entries: u16,
    /// The host does not want SQHD.
    pub no_flow_control: bool,
    /// Subsystem, or FFh for discovery.
    pub subsystem: u8,
    /// Keep alive timeout in milliseconds, 0 for none; for the queues of this association.
    pub kato_ms: u32,
}

/// What the build offers; fixed at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// I/O queues per controller, 1 to 63.
    pub io_queues: u16,
    /// Entries per queue over TCP, 2 and up (MQES + 1).
    pub queue_entries: u16,
    /// log2 of the largest transfer in 4 KiB pages (MDTS).
    pub mdts: u8,
    /// Most in-capsule data on an I/O queue, bytes, a multiple of 16.
    pub in_capsule: u32,
    /// Most controller-to-host data of an admin command, bytes: what the caller's sink can hold.
    pub admin_data: u32,
    /// Over RDMA.
    pub rdma: RdmaLimits,
    /// Firmware revision, ASCII, space padded.
    pub firmware: [u8; 8],
}

/// What is different over RDMA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RdmaLimits {
    /// Entries per queue, admin queues too, 32 and up: what the connection manager grants.
    pub queue_entries: u16,
    /// SGL descriptors of a command (MSDBD).
    pub descriptors: u8,
}

impl Limits {
    /// Of a target that was not started.
    pub(crate) const NONE: Self = Self {
        io_queues: 0,
        queue_entries: 0,
        mdts: 0,
        in_capsule: 0,
        admin_data: 0,
        rdma: RdmaLimits {
            queue_entries: 0,
            descriptors: 0,
        },
        firmware: [0; 8],
    };

    /// 32 I/O queues of 1,024 entries, 128 KiB transfers, 8 KiB in capsules.
    pub const DEFAULT: Self = Self {
        io_queues: 32,
        queue_entries: 1024,
        mdts: 5,
        in_capsule: 8192,
        admin_data: 128 << 10,
        rdma: RdmaLimits {
            queue_entries: 128,
            descriptors: 4,
        },
        firmware: *b"0.1.0   ",
    };

    /// Largest transfer in bytes.
    #[must_use]
    pub const fn max_transfer(&self) -> u32 {
        4096 << self.mdts
    }
}
