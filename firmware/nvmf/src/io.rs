//! I/O commands as the data cores meet them: 64 hostile bytes become an [`IoCommand`] whose every field is checked
//! against the namespace, or a status (NVM, section 3).
//!
//! On RV32 build with `unaligned-scalar-mem` (the core does misaligned loads) or call [`decode_words`]: byte-wise loads
//! would cost more than the checks.

use crate::{NamespaceEntry, NamespaceTable};
use sluice_wire::nvme::{DsmRange, NvmOpcode, SglKind, Status, control, dsm, psdt};

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoKind {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Compare with the host's data.
    Compare,
    /// Flush.
    Flush,
    /// Write Zeroes.
    WriteZeroes,
    /// Dataset Management; the ranges come as host data, see [`dsm_range`].
    Dsm,
}

/// Where the command's data goes or comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostData {
    /// No data.
    None,
    /// `bytes` to the host.
    ToHost,
    /// `bytes` from the host, which must be asked for them (R2T).
    FromHost,
    /// `bytes` lie in the capsule, this far into its data; inside the capsule.
    InCapsule(u32),
}

/// A checked I/O command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoCommand {
    /// What to do.
    pub kind: IoKind,
    /// Place of the namespace in the table.
    pub place: u8,
    /// SSD number.
    pub ssd: u8,
    /// Control bits to hand on: FUA and LR, and DEAC for Write Zeroes, where CDW12 has them (shifted down by 16).
    pub control: u16,
    /// NSID towards the host.
    pub nsid: u32,
    /// NSID on the SSD.
    pub ssd_nsid: u32,
    /// First block on the SSD.
    pub slba: u64,
    /// Blocks; for [`IoKind::Dsm`] the number of ranges.
    pub blocks: u32,
    /// Bytes of host data; 0 without.
    pub bytes: u32,
    /// Where the data goes or comes from.
    pub data: HostData,
    /// [`IoKind::Dsm`]: deallocation is asked for; without it the command is a hint and may succeed at once.
    pub deallocate: bool,
}

const READ: u8 = NvmOpcode::Read as u8;
const WRITE: u8 = NvmOpcode::Write as u8;
const COMPARE: u8 = NvmOpcode::Compare as u8;
const FLUSH: u8 = NvmOpcode::Flush as u8;
const WRITE_ZEROES: u8 = NvmOpcode::WriteZeroes as u8;
const DSM: u8 = NvmOpcode::DatasetManagement as u8;
const FLAGS: u8 = psdt::SGL << 6;

/// Checks a command. `capsule` is the length of the in-capsule data that came with it, `max_transfer` MDTS in bytes.
///
/// # Errors
/// The status to complete it with.
#[inline]
pub fn decode(
    sqe: &[u8; 64],
    table: &NamespaceTable,
    subsystem: u8,
    max_transfer: u32,
    capsule: u32,
) -> Result<IoCommand, Status> {
    let word =
        |i: usize| u32::from_le_bytes([sqe[4 * i], sqe[4 * i + 1], sqe[4 * i + 2], sqe[4 * i + 3]]);
    decode_with(word, table, subsystem, max_transfer, capsule)
}

/// [`decode`] for a command that lies word-aligned.
///
/// # Errors
/// The status to complete it with.
#[inline]
pub fn decode_words(
    sqe: &[u32; 16],
    table: &NamespaceTable,
    subsystem: u8,
    max_transfer: u32,
    capsule: u32,
) -> Result<IoCommand, Status> {
    decode_with(|i| sqe[i], table, subsystem, max_transfer, capsule)
}

#[inline(always)]
fn decode_with(
    word: impl Fn(usize) -> u32 + Copy,
    table: &NamespaceTable,
    subsystem: u8,
    max_transfer: u32,
    capsule: u32,
) -> Result<IoCommand, Status> {
    let head = word(0);
    let (opcode, flags) = (head as u8, (head >> 8) as u8);
    // PSDT shall be 01b on fabrics (Base, section 4.3.2); fused commands are not offered.
    if flags != FLAGS {
        return Err(Status::INVALID_FIELD.no_retry());
    }
    let nsid = word(1);
    let Some((place, ns)) = table.find(subsystem, nsid) else {
        return Err(unknown(opcode));
    };
    let at = (nsid, place);
    if ns.flags & NamespaceEntry::LOST != 0 {
        return Err(Status::NAMESPACE_NOT_READY.no_retry());
    }
    match opcode {
        READ => transfer(IoKind::Read, word, at, ns, max_transfer, capsule),
        WRITE if ns.flags & NamespaceEntry::READ_ONLY == 0 => {
            transfer(IoKind::Write, word, at, ns, max_transfer, capsule)
        }
        _ => rare(opcode, word, at, ns, max_transfer, capsule),
    }
}

#[inline(always)]
fn transfer(
    kind: IoKind,
    word: impl Fn(usize) -> u32,
    (nsid, place): (u32, u8),
    ns: &NamespaceEntry,
    max_transfer: u32,
    capsule: u32,
) -> Result<IoCommand, Status> {
    let cdw12 = word(12);
    let (blocks, control) = ((cdw12 & 0xffff) + 1, (cdw12 >> 16) as u16);
    // 65,536 blocks of 4,096 bytes are 2^28: no overflow.
    let bytes = blocks << (ns.shift & 15);
    if bytes > max_transfer {
        return Err(Status::INVALID_FIELD.no_retry());
    }
    check_control(control)?;
    let slba = range(u64::from(word(10)) | u64::from(word(11)) << 32, blocks, ns)?;
    let (kind_byte, length) = ((word(9) >> 24) as u8, word(8));
    if length != bytes {
        return Err(Status::SGL_LENGTH.no_retry());
    }
    let data = if kind_byte == SglKind::Transport as u8 {
        if matches!(kind, IoKind::Read) {
            HostData::ToHost
        } else {
            HostData::FromHost
        }
    } else if kind_byte == SglKind::Offset as u8 && !matches!(kind, IoKind::Read) {
        HostData::InCapsule(in_capsule(word(6), word(7), bytes, capsule)?)
    } else {
        return Err(Status::SGL_TYPE.no_retry());
    };
    let control = control & (control::FUA | control::LR);
    Ok(IoCommand {
        kind,
        place,
        ssd: ns.ssd,
        control,
        nsid,
        ssd_nsid: ns.ssd_nsid,
        slba,
        blocks,
        bytes,
        data,
        deallocate: false,
    })
}

/// Protection information and directives are not offered.
#[inline(always)]
fn check_control(control: u16) -> Result<(), Status> {
    if control & (control::PRACT | control::DTYPE) == 0 {
        Ok(())
    } else if control & control::PRACT != 0 {
        Err(Status::INVALID_PROTECTION.no_retry())
    } else {
        Err(Status::INVALID_FIELD.no_retry())
    }
}

/// The block on the SSD, if all `blocks` lie in the namespace.
#[inline(always)]
fn range(slba: u64, blocks: u32, ns: &NamespaceEntry) -> Result<u64, Status> {
    match ns.blocks.checked_sub(slba) {
        Some(left) if left >= u64::from(blocks) => Ok(ns.first_block.wrapping_add(slba)),
        _ => Err(Status::LBA_RANGE.no_retry()),
    }
}

#[inline(always)]
fn in_capsule(low: u32, high: u32, bytes: u32, capsule: u32) -> Result<u32, Status> {
    match low.checked_add(bytes) {
        Some(end) if high == 0 && end <= capsule => Ok(low),
        _ => Err(Status::SGL_OFFSET.no_retry()),
    }
}

#[cold]
fn unknown(opcode: u8) -> Status {
    match NvmOpcode::from_code(opcode) {
        Some(_) => Status::INVALID_NAMESPACE.no_retry(),
        None => Status::INVALID_OPCODE.no_retry(),
    }
}

#[inline(never)]
fn rare(
    opcode: u8,
    word: impl Fn(usize) -> u32 + Copy,
    (nsid, place): (u32, u8),
    ns: &NamespaceEntry,
    max_transfer: u32,
    capsule: u32,
) -> Result<IoCommand, Status> {
    let works = |flag: u8| {
        if ns.flags & flag != 0 {
            Ok(())
        } else {
            Err(Status::INVALID_OPCODE.no_retry())
        }
    };
    let writable = || {
        if ns.flags & NamespaceEntry::READ_ONLY == 0 {
            Ok(())
        } else {
            Err(Status::WRITE_PROTECTED.no_retry())
        }
    };
    let mut command = IoCommand {
        kind: IoKind::Flush,
        place,
        ssd: ns.ssd,
        control: 0,
        nsid,
        ssd_nsid: ns.ssd_nsid,
        slba: 0,
        blocks: 0,
        bytes: 0,
        data: HostData::None,
        deallocate: false,
    };
    match opcode {
        FLUSH => Ok(command),
        WRITE => Err(Status::WRITE_PROTECTED.no_retry()),
        COMPARE => {
            works(NamespaceEntry::COMPARE)?;
            transfer(
                IoKind::Compare,
                word,
                (nsid, place),
                ns,
                max_transfer,
                capsule,
            )
        }
        WRITE_ZEROES => {
            works(NamespaceEntry::WRITE_ZEROES)?;
            writable()?;
            let (blocks, control) = ((word(12) & 0xffff) + 1, (word(12) >> 16) as u16);
            check_control(control)?;
            if control & control::NSZ != 0 {
                return Err(Status::INVALID_FIELD.no_retry());
            }
            command.kind = IoKind::WriteZeroes;
            command.blocks = blocks;
            command.slba = range(u64::from(word(10)) | u64::from(word(11)) << 32, blocks, ns)?;
            command.control = control & (control::FUA | control::LR | control::DEAC);
            Ok(command)
        }
        DSM => {
            works(NamespaceEntry::DSM)?;
            writable()?;
            command.kind = IoKind::Dsm;
            command.blocks = (word(10) & 0xff) + 1;
            command.deallocate = word(11) & dsm::DEALLOCATE != 0;
            command.bytes = word(8);
            // Linux always sends room for 256 ranges, so longer than the ranges is right.
            if !(command.blocks * 16..=dsm::MAX_RANGES * 16).contains(&command.bytes) {
                return Err(Status::SGL_LENGTH.no_retry());
            }
            command.data = match (word(9) >> 24) as u8 {
                id if id == SglKind::Transport as u8 => HostData::FromHost,
                id if id == SglKind::Offset as u8 => {
                    HostData::InCapsule(in_capsule(word(6), word(7), command.bytes, capsule)?)
                }
                _ => return Err(Status::SGL_TYPE.no_retry()),
            };
            Ok(command)
        }
        _ => Err(Status::INVALID_OPCODE.no_retry()),
    }
}

/// One range of a Dataset Management command, translated to the SSD's blocks; looked up again, since the namespace may
/// have changed while the ranges were fetched.
///
/// # Errors
/// The status to complete the command with.
pub fn dsm_range(
    table: &NamespaceTable,
    subsystem: u8,
    command: &IoCommand,
    range_bytes: &DsmRange,
) -> Result<DsmRange, Status> {
    let ns = table
        .get(subsystem, command.nsid)
        .filter(|ns| ns.ssd == command.ssd && ns.ssd_nsid == command.ssd_nsid)
        .ok_or(Status::INVALID_NAMESPACE.no_retry())?;
    let slba = range(range_bytes.slba.get(), range_bytes.blocks.get(), ns)?;
    Ok(DsmRange {
        attributes: range_bytes.attributes,
        blocks: range_bytes.blocks,
        slba: slba.into(),
    })
}
