//! NVMe over RDMA on one queue pair: what its private data ask for, what a command capsule says about its data, what RDMA
//! operations that takes, and how many commands may be in progress. No I/O, no time, no payload byte.
//! Source: NVMe RDMA Transport Specification 1.1, sections 2 and 3; Base, section 4.3.2 (SGL descriptors).
//!
//! A command's life: a message of [`crate::Rc`] arrives; [`capsule`] checks its length; the caller reads the 64 bytes of
//! its submission queue entry and asks [`data`]. [`Data::InCapsule`] bytes are moved out of the frame buffers;
//! [`Data::Descriptors`] are read and given to [`Transfer::of`]; a [`Transfer`] is done piece by piece ([`Transfer::piece`]):
//! RDMA WRITEs for a read command, RDMA READs for a write command. The response is [`Transfer::response`], and waits until
//! the last RDMA WRITE is posted before it, not acknowledged: the queue pair keeps the order.

use crate::Work;
use heapless::Vec;
use sluice_hal::roce::Remote;
use sluice_wire::{
    nvme::{SglDescriptor, SglKind, Sqe, Status},
    nvme_rdma::{
        COMMAND_LEN, CmStatus, DESCRIPTOR_LEN, Keyed, LAST_SEGMENT_OFFSET, RECFMT, RequestData,
    },
};
use zerocopy::FromBytes;

/// Keyed descriptors of a command at most (MSDBD of Identify Controller).
pub const MAX_DESCRIPTORS: usize = 4;

/// Sizes of queues that are granted, in entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueLimits {
    /// Admin queues.
    pub admin: u16,
    /// I/O queues.
    pub io: u16,
    /// I/O queues of a controller.
    pub queues: u16,
}

impl QueueLimits {
    /// As over TCP.
    pub const DEFAULT: Self = Self {
        admin: 32,
        io: 128,
        queues: 128,
    };
}

/// A queue as its private data ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueParams {
    /// QID.
    pub qid: u16,
    /// Commands that may be in progress: HSQSIZE as a count. Also the receives to post. The Connect command's SQSIZE is to
    /// be no greater.
    pub entries: u16,
    /// Responses that may be under way: HRQSIZE.
    pub responses: u16,
    /// CNTLID; 0 from hosts that do not say.
    pub cntlid: u16,
}

/// Checks the private data of a REQ, the IP header taken off.
///
/// # Errors
/// What the REJ has to say.
pub fn private_data(bytes: &[u8], limits: &QueueLimits) -> Result<QueueParams, CmStatus> {
    let (data, _) = RequestData::ref_from_prefix(bytes).map_err(|_| CmStatus::InvalidLength)?;
    if data.recfmt.get() != RECFMT {
        return Err(CmStatus::InvalidRecfmt);
    }
    let qid = data.qid.get();
    if qid > limits.queues {
        return Err(CmStatus::InvalidQid);
    }
    let most = if qid == 0 { limits.admin } else { limits.io };
    let entries = data
        .hsqsize_z
        .get()
        .checked_add(1)
        .filter(|n| *n > 1 && *n <= most);
    let entries = entries.ok_or(CmStatus::InvalidHsqsize)?;
    let responses = data.hrqsize.get();
    if responses == 0 {
        return Err(CmStatus::InvalidHrqsize);
    }
    Ok(QueueParams {
        qid,
        entries,
        responses,
        cntlid: data.cntlid.get(),
    })
}

/// The host broke the rules of the queue: its queue pair, and with it the controller, is torn down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A message shorter than a command; its length.
    ShortCapsule(u32),
    /// More commands in progress than HSQSIZE allows.
    QueueOverrun,
}

/// Bytes of in-capsule data in a message of `len` bytes.
///
/// # Errors
/// [`Violation::ShortCapsule`]. Too long a message never comes here: the queue pair refuses it.
pub const fn capsule(len: u32) -> Result<u32, Violation> {
    match len.checked_sub(COMMAND_LEN) {
        Some(data) => Ok(data),
        None => Err(Violation::ShortCapsule(len)),
    }
}

/// Where a command's data are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    /// There are none.
    None,
    /// In the capsule: `len` bytes at `offset` behind the command.
    InCapsule {
        /// From the first byte behind the command.
        offset: u32,
        /// Bytes.
        len: u32,
    },
    /// In the host's memory.
    Keyed(Transfer),
    /// In the host's memory, as `count` descriptors at `offset` behind the command say.
    Descriptors {
        /// From the first byte behind the command.
        offset: u32,
        /// 1 to [`MAX_DESCRIPTORS`].
        count: u8,
    },
}

/// Finds a command's data. `capsule` is the length of the in-capsule data.
///
/// # Errors
/// The status to complete the command with.
pub fn data(sqe: &[u8; 64], capsule: u32) -> Result<Data, Status> {
    let descriptor = Sqe::view(sqe).sgl();
    if let Some(keyed) = Keyed::of(&descriptor) {
        // Commands without data carry a keyed descriptor of length 0.
        if keyed.len == 0 {
            return Ok(Data::None);
        }
        return Transfer::of(&[descriptor]).map(Data::Keyed);
    }
    let len = descriptor.length.get();
    if descriptor.id == LAST_SEGMENT_OFFSET {
        let count = len / DESCRIPTOR_LEN;
        if count == 0 || count as usize > MAX_DESCRIPTORS {
            return Err(Status::SGL_COUNT.no_retry());
        }
        if !len.is_multiple_of(DESCRIPTOR_LEN) {
            return Err(Status::SGL_SEGMENT.no_retry());
        }
        let offset = in_capsule(&descriptor, capsule)?;
        let count = count as u8;
        return Ok(Data::Descriptors { offset, count });
    }
    if descriptor.kind() != Some(SglKind::Offset) {
        return Err(Status::SGL_TYPE.no_retry());
    }
    let offset = in_capsule(&descriptor, capsule)?;
    Ok(if len == 0 {
        Data::None
    } else {
        Data::InCapsule { offset, len }
    })
}

fn in_capsule(descriptor: &SglDescriptor, capsule: u32) -> Result<u32, Status> {
    let end = descriptor
        .address
        .get()
        .checked_add(u64::from(descriptor.length.get()));
    match end {
        Some(end) if end <= u64::from(capsule) => Ok(descriptor.address.get() as u32),
        _ => Err(Status::SGL_OFFSET.no_retry()),
    }
}

/// Memory of the host's that a command names: a run of bytes in pieces, each with its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    pieces: Vec<Remote, MAX_DESCRIPTORS>,
    len: u32,
    invalidate: Option<u32>,
}

impl Transfer {
    /// From keyed descriptors, in order.
    ///
    /// # Errors
    /// The status to complete the command with: a descriptor that is not keyed, a piece that wraps around, too much in all,
    /// or keys to invalidate that differ, since a response invalidates one.
    pub fn of(descriptors: &[SglDescriptor]) -> Result<Self, Status> {
        let mut transfer = Self {
            pieces: Vec::new(),
            len: 0,
            invalidate: None,
        };
        for descriptor in descriptors {
            let keyed = Keyed::of(descriptor).ok_or(Status::SGL_TYPE.no_retry())?;
            keyed
                .va
                .checked_add(u64::from(keyed.len))
                .ok_or(Status::SGL_OFFSET.no_retry())?;
            let remote = Remote {
                va: keyed.va,
                rkey: keyed.rkey,
                len: keyed.len,
            };
            transfer
                .pieces
                .push(remote)
                .map_err(|_| Status::SGL_COUNT.no_retry())?;
            // Few pieces of 24 bits: no overflow.
            transfer.len += keyed.len;
            if keyed.invalidate && transfer.invalidate.is_some_and(|key| key != keyed.rkey) {
                return Err(Status::SGL_TYPE.no_retry());
            }
            if keyed.invalidate {
                transfer.invalidate = Some(keyed.rkey);
            }
        }
        Ok(transfer)
    }

    /// Bytes in all. The caller compares them with what the command transfers.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// No bytes at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Remote memory for the data from byte `offset` on, up to `len` bytes, as far as one piece reaches: what one RDMA
    /// operation can do. `None` behind the end.
    #[must_use]
    pub fn piece(&self, offset: u32, len: u32) -> Option<Remote> {
        let mut skip = offset;
        for piece in &self.pieces {
            if skip < piece.len {
                return Some(Remote {
                    va: piece.va + u64::from(skip),
                    rkey: piece.rkey,
                    len: (piece.len - skip).min(len),
                });
            }
            skip -= piece.len;
        }
        None
    }

    /// How the response goes out: as SEND, or as SEND with invalidate if the host wants its key back.
    #[must_use]
    pub fn response(&self) -> Work {
        self.invalidate.map_or(Work::Send, Work::SendInvalidate)
    }

    /// The command as it would come over a transport that moves the data by itself, for code that both transports share: the
    /// data pointer becomes a Transport Data Block of [`Self::len`] bytes.
    #[must_use]
    pub fn shared_form(&self, sqe: &[u8; 64]) -> [u8; 64] {
        let mut command = *Sqe::view(sqe);
        command.set_sgl(SglDescriptor::new(SglKind::Transport, 0, self.len));
        *command.bytes()
    }
}

/// Commands of one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Queue {
    entries: u16,
    head: u16,
    in_progress: u16,
}

impl Queue {
    /// An empty queue of `entries`.
    #[must_use]
    pub const fn new(entries: u16) -> Self {
        Self {
            entries,
            head: 0,
            in_progress: 0,
        }
    }

    /// A command came.
    ///
    /// # Errors
    /// [`Violation::QueueOverrun`]: the host has more under way than it said.
    pub const fn begin(&mut self) -> Result<(), Violation> {
        if self.in_progress >= self.entries {
            return Err(Violation::QueueOverrun);
        }
        self.in_progress += 1;
        self.head += 1;
        if self.head >= self.entries {
            self.head = 0;
        }
        Ok(())
    }

    /// A response is posted. Returns SQHD for it. Post another receive with it.
    pub const fn finish(&mut self) -> u16 {
        self.in_progress = self.in_progress.saturating_sub(1);
        self.head
    }

    /// Commands in progress.
    #[must_use]
    pub const fn in_progress(&self) -> u16 {
        self.in_progress
    }
}

#[cfg(test)]
#[path = "nvme_tests.rs"]
mod tests;
