//! Submission and completion queue entries, opcodes, SGL descriptors (Base, sections 4.1 to 4.3; NVM, section 3).

use super::Status;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Submission queue entry, common format (Base, figure 91). Fields beyond the common ones are reached by accessors.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Sqe {
    /// Meaning depends on the queue: [`AdminOpcode`], [`NvmOpcode`] or Fabrics.
    pub opcode: u8,
    /// Bits 1:0 [`Fuse`], 7:6 [`psdt`].
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// Namespace.
    pub nsid: U32,
    /// Command dword 2.
    pub cdw2: U32,
    /// Command dword 3.
    pub cdw3: U32,
    /// Metadata pointer.
    pub mptr: U64,
    /// Data pointer: PRP1 and PRP2, or one SGL descriptor.
    pub dptr: [u8; 16],
    /// Command dword 10.
    pub cdw10: U32,
    /// Command dword 11.
    pub cdw11: U32,
    /// Command dword 12.
    pub cdw12: U32,
    /// Command dword 13.
    pub cdw13: U32,
    /// Command dword 14.
    pub cdw14: U32,
    /// Command dword 15.
    pub cdw15: U32,
}
const _: () = assert!(size_of::<Sqe>() == 64);

impl Sqe {
    /// All zeros but these.
    #[must_use]
    pub fn new(opcode: u8, cid: u16, nsid: u32) -> Self {
        let mut sqe = Self::new_zeroed();
        sqe.opcode = opcode;
        sqe.cid.set(cid);
        sqe.nsid.set(nsid);
        sqe
    }

    /// A view of 64 bytes.
    #[must_use]
    pub fn view(bytes: &[u8; 64]) -> &Self {
        zerocopy::transmute_ref!(bytes)
    }

    /// As bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 64] {
        zerocopy::transmute_ref!(self)
    }

    /// Starting LBA of an NVM command (CDW10, CDW11).
    #[must_use]
    pub fn slba(&self) -> u64 {
        u64::from(self.cdw10.get()) | u64::from(self.cdw11.get()) << 32
    }

    /// Sets the starting LBA.
    pub fn set_slba(&mut self, slba: u64) {
        self.cdw10.set(slba as u32);
        self.cdw11.set((slba >> 32) as u32);
    }

    /// Number of logical blocks, zero-based (CDW12 bits 15:0).
    #[must_use]
    pub fn nlb_z(&self) -> u16 {
        self.cdw12.get() as u16
    }

    /// Control bits of an NVM command (CDW12 bits 31:16); see [`control`].
    #[must_use]
    pub fn control(&self) -> u16 {
        (self.cdw12.get() >> 16) as u16
    }

    /// Sets NLB (zero-based) and the control bits.
    pub fn set_nlb_control(&mut self, nlb_z: u16, control: u16) {
        self.cdw12.set(u32::from(nlb_z) | u32::from(control) << 16);
    }

    /// PRP entry 1.
    #[must_use]
    pub fn prp1(&self) -> u64 {
        u64_at(&self.dptr, 0)
    }

    /// PRP entry 2.
    #[must_use]
    pub fn prp2(&self) -> u64 {
        u64_at(&self.dptr, 8)
    }

    /// Sets both PRP entries.
    pub fn set_prp(&mut self, prp1: u64, prp2: u64) {
        self.dptr[..8].copy_from_slice(&prp1.to_le_bytes());
        self.dptr[8..].copy_from_slice(&prp2.to_le_bytes());
    }

    /// The data pointer as an SGL descriptor.
    #[must_use]
    pub fn sgl(&self) -> SglDescriptor {
        zerocopy::transmute!(self.dptr)
    }

    /// Sets the data pointer to an SGL descriptor and PSDT to 1 (metadata, if any, is one buffer).
    pub fn set_sgl(&mut self, sgl: SglDescriptor) {
        self.dptr = zerocopy::transmute!(sgl);
        self.flags = self.flags & 0x3f | psdt::SGL << 6;
    }

    /// PRP or SGL for data transfer (bits 7:6 of the flags); see [`psdt`].
    #[must_use]
    pub fn psdt(&self) -> u8 {
        self.flags >> 6
    }

    /// Fused operation (bits 1:0 of the flags).
    #[must_use]
    pub fn fuse(&self) -> Fuse {
        match self.flags & 3 {
            0 => Fuse::Normal,
            1 => Fuse::First,
            2 => Fuse::Second,
            _ => Fuse::Reserved,
        }
    }
}

fn u64_at(bytes: &[u8; 16], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .rev()
        .fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Fused operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fuse {
    /// Not fused.
    Normal,
    /// First of two.
    First,
    /// Second of two.
    Second,
    /// Not allowed.
    Reserved,
}

/// PSDT values.
pub mod psdt {
    /// PRPs.
    pub const PRP: u8 = 0;
    /// SGL; metadata in one buffer. What Fabrics requires (Base, section 4.3.2).
    pub const SGL: u8 = 1;
    /// SGL; metadata by SGL.
    pub const SGL_METADATA: u8 = 2;
}

/// Control bits of Read, Write and their like (CDW12 bits 31:16; NVM, figures 23 and following).
pub mod control {
    /// Limited Retry.
    pub const LR: u16 = 1 << 15;
    /// Force Unit Access.
    pub const FUA: u16 = 1 << 14;
    /// Protection Information Action.
    pub const PRACT: u16 = 1 << 13;
    /// Protection Information Check, three bits.
    pub const PRCHK: u16 = 7 << 10;
    /// Deallocate (Write Zeroes).
    pub const DEAC: u16 = 1 << 9;
    /// Storage Tag Check.
    pub const STC: u16 = 1 << 8;
    /// Namespace zeroes (Write Zeroes).
    pub const NSZ: u16 = 1 << 7;
    /// Directive type, four bits.
    pub const DTYPE: u16 = 0xf << 4;
}

/// Completion queue entry (Base, figure 97).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Cqe {
    /// Command specific (dwords 0 and 1).
    pub result: U64,
    /// Submission queue head.
    pub sq_head: U16,
    /// Submission queue; reserved on fabrics.
    pub sq_id: U16,
    /// The command's.
    pub cid: U16,
    /// Bit 0: phase (reserved on fabrics); bits 15:1: [`Status`].
    pub status: U16,
}
const _: () = assert!(size_of::<Cqe>() == 16);

impl Cqe {
    /// The status.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::from_wire(self.status.get())
    }

    /// The phase tag.
    #[must_use]
    pub fn phase(&self) -> bool {
        self.status.get() & 1 != 0
    }

    /// Sets status and phase.
    pub fn set_status(&mut self, status: Status, phase: bool) {
        self.status.set(status.to_wire() | u16::from(phase));
    }
}

macro_rules! opcodes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }
        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The opcode with this value.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($value => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

opcodes! {
    /// Admin opcodes (Base, figure 142).
    AdminOpcode {
        /// Delete I/O Submission Queue.
        DeleteSq = 0x00,
        /// Create I/O Submission Queue.
        CreateSq = 0x01,
        /// Get Log Page.
        GetLogPage = 0x02,
        /// Delete I/O Completion Queue.
        DeleteCq = 0x04,
        /// Create I/O Completion Queue.
        CreateCq = 0x05,
        /// Identify.
        Identify = 0x06,
        /// Abort.
        Abort = 0x08,
        /// Set Features.
        SetFeatures = 0x09,
        /// Get Features.
        GetFeatures = 0x0a,
        /// Asynchronous Event Request.
        AsyncEvent = 0x0c,
        /// Namespace Management.
        NamespaceManagement = 0x0d,
        /// Firmware Commit.
        FirmwareCommit = 0x10,
        /// Firmware Image Download.
        FirmwareDownload = 0x11,
        /// Namespace Attachment.
        NamespaceAttachment = 0x15,
        /// Keep Alive.
        KeepAlive = 0x18,
        /// Fabrics command; the type is in byte 4.
        Fabrics = 0x7f,
        /// Format NVM.
        FormatNvm = 0x80,
        /// Sanitize.
        Sanitize = 0x84,
    }
}

opcodes! {
    /// I/O opcodes of the NVM command set (NVM, figure 19). Bits 1:0: 0 no data, 1 host to controller, 2 controller to host.
    NvmOpcode {
        /// Flush.
        Flush = 0x00,
        /// Write.
        Write = 0x01,
        /// Read.
        Read = 0x02,
        /// Write Uncorrectable.
        WriteUncorrectable = 0x04,
        /// Compare.
        Compare = 0x05,
        /// Write Zeroes.
        WriteZeroes = 0x08,
        /// Dataset Management.
        DatasetManagement = 0x09,
        /// Verify.
        Verify = 0x0c,
        /// Reservation Register.
        ReservationRegister = 0x0d,
        /// Reservation Report.
        ReservationReport = 0x0e,
        /// Reservation Acquire.
        ReservationAcquire = 0x11,
        /// Reservation Release.
        ReservationRelease = 0x15,
        /// Copy.
        Copy = 0x19,
    }
}

/// SGL descriptor (Base, section 4.3.2).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct SglDescriptor {
    /// Address, or an offset into the capsule's data.
    pub address: U64,
    /// Length in bytes. In a keyed descriptor only the low 24 bits are length.
    pub length: U32,
    /// Zero; in a keyed descriptor part of the key.
    pub reserved: [u8; 3],
    /// Bits 7:4 descriptor type, 3:0 sub type.
    pub id: u8,
}
const _: () = assert!(size_of::<SglDescriptor>() == 16);

/// Descriptor types and sub types that this project uses, as `id` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SglKind {
    /// Data Block at a memory address.
    Address = 0x00,
    /// Data Block at an offset into the capsule.
    Offset = 0x01,
    /// Keyed Data Block (RDMA).
    Keyed = 0x40,
    /// Keyed Data Block, invalidate the key when done (RDMA).
    KeyedInvalidate = 0x4f,
    /// Transport Data Block: the transport moves the data (TCP).
    Transport = 0x5a,
}

impl SglDescriptor {
    /// A descriptor.
    #[must_use]
    pub fn new(kind: SglKind, address: u64, length: u32) -> Self {
        Self {
            address: address.into(),
            length: length.into(),
            reserved: [0; 3],
            id: kind as u8,
        }
    }

    /// Its kind, if it is one of ours.
    #[must_use]
    pub fn kind(&self) -> Option<SglKind> {
        match self.id {
            0x00 => Some(SglKind::Address),
            0x01 => Some(SglKind::Offset),
            0x40 => Some(SglKind::Keyed),
            0x4f => Some(SglKind::KeyedInvalidate),
            0x5a => Some(SglKind::Transport),
            _ => None,
        }
    }
}

/// Dataset Management range (NVM, section 3.2.3). CDW10 bits 7:0 hold the number of ranges, zero-based.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct DsmRange {
    /// Context attributes, hints only.
    pub attributes: U32,
    /// Length in logical blocks; not zero-based.
    pub blocks: U32,
    /// Starting LBA.
    pub slba: U64,
}
const _: () = assert!(size_of::<DsmRange>() == 16);

/// Dataset Management attributes (CDW11).
pub mod dsm {
    /// Integral dataset for read.
    pub const READ: u32 = 1 << 0;
    /// Integral dataset for write.
    pub const WRITE: u32 = 1 << 1;
    /// Deallocate.
    pub const DEALLOCATE: u32 = 1 << 2;
    /// Most ranges in one command.
    pub const MAX_RANGES: u32 = 256;
}
