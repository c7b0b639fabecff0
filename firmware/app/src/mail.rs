//! Messages between cores: eight words each, encoded by hand because they are the hot part of nothing but must be exact.

use sluice_hal::Mail;
use sluice_rdma::{Open, Peer};
use sluice_wire::roce::PathMtu;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A command that a data core relays: where everything is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relay {
    /// Connection.
    pub key: u32,
    /// Request on the data core, comes back in [`ToData::Complete`].
    pub request: u16,
    /// Address of the command's 64 bytes in packet memory.
    pub sqe: u32,
    /// Address of the command's data buffer, or 0.
    pub data: u32,
    /// Host-to-controller bytes in it.
    pub data_in: u32,
    /// Room for controller-to-host bytes in it.
    pub room: u32,
}

/// From a data core to the control core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToControl {
    /// A host connected to TCP port `port`.
    Opened { key: u32, port: u16 },
    /// The connection is gone and nothing of it is in flight any more.
    Closed { key: u32 },
    /// A command of an admin queue or a Fabrics command.
    Command(Relay),
    /// An SSD did not answer in time.
    SsdTimeout { ssd: u8 },
    /// All commands to this SSD have been ended.
    SsdDrained { ssd: u8 },
    /// The counters asked for have been written.
    Counted,
    /// The connection is dead, but commands that the control core has are still open: answer them.
    Dying { key: u32 },
    /// The outcome of [`ToData::QpOpen`]: the queue pair, the first PSN the host is to send, and the connection it is; `qpn` 0
    /// if there was no room.
    QpOpened {
        cm: u32,
        qpn: u32,
        psn: u32,
        key: u32,
    },
    /// The host has sent to its queue pair: it has the REP.
    QpAlive { cm: u32 },
    /// The queue pair is gone, whoever ended it; its `Closed` follows.
    QpGone { cm: u32 },
}

/// From the control core to a data core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToData {
    /// Read the port's [`sluice_wire::mgmt::PortConfig`] at this address.
    Port { at: u32, pm_bus: u64 },
    /// The outcome of a relayed command.
    Complete {
        key: u32,
        request: u16,
        status: u16,
        result: u64,
        data_len: u32,
    },
    /// The connection is now this queue.
    QueueReady {
        key: u32,
        association: u8,
        subsystem: u8,
        qid: u16,
        entries: u16,
        no_sqhd: bool,
        cntlid: u16,
    },
    /// Close the connection; at once if `abort`.
    QueueClose { key: u32, abort: bool },
    /// A namespace's entry, in the encoding of `sluice-nvmf`.
    Namespace { words: [u32; 7] },
    /// SSD `ssd` is driven through this queue pair.
    SsdAttach {
        ssd: u8,
        sq: u32,
        cq: u32,
        entries: u16,
        timeout_ms: u32,
        max_transfer: u32,
    },
    /// The SSD is gone.
    SsdDetach { ssd: u8 },
    /// Write the counters to this address.
    Count { at: u32 },
    /// Open a queue pair as the [`QpParams`] at this address say, for the connection manager's connection `cm`.
    QpOpen { at: u32, cm: u32 },
    /// The host has left this queue pair, or the connection manager gave it up.
    QpEnd { qpn: u32 },
    /// A path's MTU shrank, for the flow named: peer as an IPv6 address (IPv4 mapped), ports peer's and own.
    PathMtu {
        peer: [u32; 4],
        ports: [u16; 2],
        seq: u32,
        mtu: u16,
        flow_hash: u32,
    },
}

impl ToControl {
    /// As words.
    #[must_use]
    pub fn encode(self) -> Mail {
        match self {
            Self::Opened { key, port } => [1, key, port.into(), 0, 0, 0, 0, 0],
            Self::Closed { key } => [2, key, 0, 0, 0, 0, 0, 0],
            Self::Command(r) => [
                3,
                r.key,
                r.request.into(),
                r.sqe,
                r.data,
                r.data_in,
                r.room,
                0,
            ],
            Self::SsdTimeout { ssd } => [4, ssd.into(), 0, 0, 0, 0, 0, 0],
            Self::SsdDrained { ssd } => [5, ssd.into(), 0, 0, 0, 0, 0, 0],
            Self::Counted => [6, 0, 0, 0, 0, 0, 0, 0],
            Self::Dying { key } => [7, key, 0, 0, 0, 0, 0, 0],
            Self::QpOpened { cm, qpn, psn, key } => [8, cm, qpn, psn, key, 0, 0, 0],
            Self::QpAlive { cm } => [9, cm, 0, 0, 0, 0, 0, 0],
            Self::QpGone { cm } => [10, cm, 0, 0, 0, 0, 0, 0],
        }
    }

    /// From words; `None` for a kind this version does not know.
    #[must_use]
    pub fn decode(m: &Mail) -> Option<Self> {
        Some(match m[0] {
            1 => Self::Opened {
                key: m[1],
                port: m[2] as u16,
            },
            2 => Self::Closed { key: m[1] },
            3 => Self::Command(Relay {
                key: m[1],
                request: m[2] as u16,
                sqe: m[3],
                data: m[4],
                data_in: m[5],
                room: m[6],
            }),
            4 => Self::SsdTimeout { ssd: m[1] as u8 },
            5 => Self::SsdDrained { ssd: m[1] as u8 },
            6 => Self::Counted,
            7 => Self::Dying { key: m[1] },
            8 => Self::QpOpened {
                cm: m[1],
                qpn: m[2],
                psn: m[3],
                key: m[4],
            },
            9 => Self::QpAlive { cm: m[1] },
            10 => Self::QpGone { cm: m[1] },
            _ => return None,
        })
    }
}

impl ToData {
    /// The message that carries a namespace update; word 0 of its encoding is free for the tag.
    #[must_use]
    pub fn namespace(update: &[u32; 8]) -> Mail {
        let [_, a, b, c, d, e, f, g] = *update;
        Self::Namespace {
            words: [a, b, c, d, e, f, g],
        }
        .encode()
    }

    /// As words.
    #[must_use]
    pub fn encode(self) -> Mail {
        match self {
            Self::Port { at, pm_bus } => [1, at, pm_bus as u32, (pm_bus >> 32) as u32, 0, 0, 0, 0],
            Self::Complete {
                key,
                request,
                status,
                result,
                data_len,
            } => [
                2,
                key,
                request.into(),
                status.into(),
                result as u32,
                (result >> 32) as u32,
                data_len,
                0,
            ],
            Self::QueueReady {
                key,
                association,
                subsystem,
                qid,
                entries,
                no_sqhd,
                cntlid,
            } => [
                3,
                key,
                association.into(),
                subsystem.into(),
                qid.into(),
                entries.into(),
                no_sqhd.into(),
                cntlid.into(),
            ],
            Self::QueueClose { key, abort } => [4, key, abort.into(), 0, 0, 0, 0, 0],
            Self::Namespace { words: w } => [5, w[0], w[1], w[2], w[3], w[4], w[5], w[6]],
            Self::SsdAttach {
                ssd,
                sq,
                cq,
                entries,
                timeout_ms,
                max_transfer,
            } => [
                6,
                ssd.into(),
                sq,
                cq,
                entries.into(),
                timeout_ms,
                max_transfer,
                0,
            ],
            Self::SsdDetach { ssd } => [7, ssd.into(), 0, 0, 0, 0, 0, 0],
            Self::Count { at } => [8, at, 0, 0, 0, 0, 0, 0],
            Self::QpOpen { at, cm } => [10, at, cm, 0, 0, 0, 0, 0],
            Self::QpEnd { qpn } => [11, qpn, 0, 0, 0, 0, 0, 0],
            Self::PathMtu {
                peer: p,
                ports,
                seq,
                mtu,
                flow_hash,
            } => {
                let ports = u32::from(ports[0]) << 16 | u32::from(ports[1]);
                [
                    9 | u32::from(mtu) << 16,
                    p[0],
                    p[1],
                    p[2],
                    p[3],
                    ports,
                    seq,
                    flow_hash,
                ]
            }
        }
    }

    /// From words; `None` for a kind this version does not know.
    #[must_use]
    pub fn decode(m: &Mail) -> Option<Self> {
        Some(match m[0] & 0xffff {
            9 => Self::PathMtu {
                peer: [m[1], m[2], m[3], m[4]],
                ports: [(m[5] >> 16) as u16, m[5] as u16],
                seq: m[6],
                mtu: (m[0] >> 16) as u16,
                flow_hash: m[7],
            },
            1 => Self::Port {
                at: m[1],
                pm_bus: u64::from(m[2]) | u64::from(m[3]) << 32,
            },
            2 => Self::Complete {
                key: m[1],
                request: m[2] as u16,
                status: m[3] as u16,
                result: u64::from(m[4]) | u64::from(m[5]) << 32,
                data_len: m[6],
            },
            3 => Self::QueueReady {
                key: m[1],
                association: m[2] as u8,
                subsystem: m[3] as u8,
                qid: m[4] as u16,
                entries: m[5] as u16,
                no_sqhd: m[6] != 0,
                cntlid: m[7] as u16,
            },
            4 => Self::QueueClose {
                key: m[1],
                abort: m[2] != 0,
            },
            5 => Self::Namespace {
                words: [m[1], m[2], m[3], m[4], m[5], m[6], m[7]],
            },
            6 => Self::SsdAttach {
                ssd: m[1] as u8,
                sq: m[2],
                cq: m[3],
                entries: m[4] as u16,
                timeout_ms: m[5],
                max_transfer: m[6],
            },
            7 => Self::SsdDetach { ssd: m[1] as u8 },
            8 => Self::Count { at: m[1] },
            10 => Self::QpOpen { at: m[1], cm: m[2] },
            11 => Self::QpEnd { qpn: m[1] },
            _ => return None,
        })
    }
}

/// What a data core needs to know to open a queue pair: a [`sluice_rdma::Open`] as bytes, since it does not fit a message.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct QpParams {
    remote_qpn: u32,
    send_psn: u32,
    gid: [u8; 16],
    own: [u8; 16],
    mac: [u8; 6],
    tci: u16,
    src_port: u16,
    receives: u16,
    mtu: u8,
    reads: u8,
    ack_timeout: u8,
    retries: u8,
    rnr_retries: u8,
    pad: [u8; 7],
}

impl QpParams {
    /// As bytes.
    #[must_use]
    pub fn of(open: &Open) -> Self {
        Self {
            remote_qpn: open.remote_qpn,
            send_psn: open.send_psn,
            gid: open.peer.gid,
            own: open.peer.own,
            mac: open.peer.mac,
            tci: open.peer.tci,
            src_port: open.peer.src_port,
            receives: open.receives,
            mtu: open.mtu as u8,
            reads: open.reads,
            ack_timeout: open.ack_timeout,
            retries: open.retries,
            rnr_retries: open.rnr_retries,
            pad: [0; 7],
        }
    }

    /// What they say; `None` for a path MTU that there is not.
    #[must_use]
    pub fn open(&self) -> Option<Open> {
        Some(Open {
            peer: Peer {
                mac: self.mac,
                tci: self.tci,
                gid: self.gid,
                own: self.own,
                src_port: self.src_port,
            },
            remote_qpn: self.remote_qpn,
            send_psn: self.send_psn,
            mtu: PathMtu::from_code(self.mtu)?,
            receives: self.receives,
            reads: self.reads,
            ack_timeout: self.ack_timeout,
            retries: self.retries,
            rnr_retries: self.rnr_retries,
        })
    }
}

const _: () = assert!(size_of::<QpParams>() as u32 == crate::memory::QP_PARAMS);
