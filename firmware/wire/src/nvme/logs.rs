//! Log pages (Base, section 5.1.12.1; discovery log: section 5.1.12.3).

use super::{NvmOpcode, Status};
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Log page identifiers (CDW10 bits 7:0).
pub mod log {
    /// Supported Log Pages, 1,024 bytes.
    pub const SUPPORTED: u8 = 0x00;
    /// Error Information.
    pub const ERROR: u8 = 0x01;
    /// SMART / Health, 512 bytes.
    pub const SMART: u8 = 0x02;
    /// Firmware Slot Information, 512 bytes.
    pub const FIRMWARE: u8 = 0x03;
    /// Changed Attached Namespace List, 4,096 bytes.
    pub const CHANGED_NAMESPACES: u8 = 0x04;
    /// Commands Supported and Effects, 4,096 bytes.
    pub const EFFECTS: u8 = 0x05;
    /// Asymmetric Namespace Access.
    pub const ANA: u8 = 0x0c;
    /// Discovery.
    pub const DISCOVERY: u8 = 0x70;
    /// CDW10 bits 14:8: log specific field. For ANA: bit 0 groups only (no NSIDs).
    pub const LSP_SHIFT: u32 = 8;
    /// CDW10 bit 15: Retain Asynchronous Event.
    pub const RAE: u32 = 1 << 15;
    /// NSIDs in [`CHANGED_NAMESPACES`]; with more, the first is FFFFFFFFh and the rest 0.
    pub const MAX_CHANGED: usize = 1024;
}

/// One entry of Supported Log Pages.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SupportedPage {
    /// Bit 0 supported, bit 1 index offset supported; 31:16 page specific.
    pub flags: U32,
}

/// Bits of a Commands Supported and Effects entry (Base, figure 210). Admin entries come first (256 × 4 bytes), then I/O.
pub mod effects {
    /// CSUPP: supported.
    pub const SUPPORTED: u32 = 1 << 0;
    /// LBCC: logical blocks may change.
    pub const BLOCKS_CHANGE: u32 = 1 << 1;
    /// Where I/O command entries start, in bytes.
    pub const IO_OFFSET: usize = 1024;
    /// Size of the page, in bytes.
    pub const SIZE: usize = 4096;
}

/// The effects entry of an I/O command that works.
#[must_use]
pub const fn oncs_effects(opcode: NvmOpcode) -> u32 {
    match opcode {
        NvmOpcode::Write
        | NvmOpcode::WriteZeroes
        | NvmOpcode::WriteUncorrectable
        | NvmOpcode::DatasetManagement
        | NvmOpcode::Copy => effects::SUPPORTED | effects::BLOCKS_CHANGE,
        _ => effects::SUPPORTED,
    }
}

/// Error Information entry (Base, figure 206).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ErrorEntry {
    /// Running number, from 1; 0: entry unused.
    pub count: U64,
    /// Submission queue.
    pub sqid: U16,
    /// Command.
    pub cid: U16,
    /// Status field; bit 0 is the phase and may be 0.
    pub status: U16,
    /// Bits 7:0 byte, 10:8 bit of the field in error; FFFFh unknown.
    pub location: U16,
    /// First LBA in error.
    pub lba: U64,
    /// Namespace.
    pub nsid: U32,
    /// Vendor page.
    pub vendor: u8,
    /// TRTYPE: 1 RDMA, 3 TCP.
    pub trtype: u8,
    /// CSI, opcode.
    pub command: [u8; 2],
    /// Command specific.
    pub specific: U64,
    /// Transport specific.
    pub transport: U16,
    /// Zero.
    pub reserved42: [u8; 21],
    /// LPVER.
    pub version: u8,
}
const _: () = assert!(size_of::<ErrorEntry>() == 64);

impl ErrorEntry {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::from_wire(self.status.get())
    }
}

/// SMART / Health Information (Base, figure 207). 128-bit counters as two words, low first.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SmartLog {
    /// Bit 0 spare, 1 temperature, 2 reliability, 3 read-only, 4 backup.
    pub warning: u8,
    /// Kelvin.
    pub temperature: U16,
    /// Percent.
    pub spare: u8,
    /// Percent.
    pub spare_threshold: u8,
    /// Percent.
    pub used: u8,
    /// Endurance group summary.
    pub endurance: u8,
    /// Zero.
    pub reserved7: [u8; 25],
    /// Thousands of 512 bytes, rounded up.
    pub units_read: [U64; 2],
    /// Thousands of 512 bytes, rounded up.
    pub units_written: [U64; 2],
    /// Read and Compare commands.
    pub reads: [U64; 2],
    /// Write commands.
    pub writes: [U64; 2],
    /// Minutes.
    pub busy_minutes: [U64; 2],
    /// Power cycles.
    pub power_cycles: [U64; 2],
    /// Hours.
    pub power_on_hours: [U64; 2],
    /// Unsafe shutdowns.
    pub unsafe_shutdowns: [U64; 2],
    /// Media errors.
    pub media_errors: [U64; 2],
    /// Error log entries over the life.
    pub error_entries: [U64; 2],
    /// Minutes.
    pub warning_minutes: U32,
    /// Minutes.
    pub critical_minutes: U32,
    /// Sensors and thermal counters.
    pub rest: [u8; 312],
}
const _: () = assert!(size_of::<SmartLog>() == 512);

/// Firmware Slot Information (Base, figure 209).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FirmwareSlots {
    /// AFI: bits 2:0 active slot, 6:4 next slot.
    pub afi: u8,
    /// Zero.
    pub reserved1: [u8; 7],
    /// FRS1 to FRS7, ASCII.
    pub revisions: [[u8; 8]; 7],
    /// Zero.
    pub reserved64: [u8; 448],
}
const _: () = assert!(size_of::<FirmwareSlots>() == 512);

/// Opens the ANA log (Base, figure 226); [`AnaGroup`]s follow, each with its NSIDs.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AnaHeader {
    /// CHGCNT: changes since reset.
    pub changes: U64,
    /// ANA groups that follow.
    pub groups: U16,
    /// Zero.
    pub reserved: [u8; 6],
}
const _: () = assert!(size_of::<AnaHeader>() == 16);

/// ANA group descriptor (Base, figure 227); `namespaces` NSIDs of 4 bytes follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AnaGroup {
    /// ANAGRPID.
    pub group: U32,
    /// NSIDs that follow.
    pub namespaces: U32,
    /// Changes.
    pub changes: U64,
    /// Bits 3:0 [`AnaState`].
    pub state: u8,
    /// Zero.
    pub reserved: [u8; 15],
}
const _: () = assert!(size_of::<AnaGroup>() == 32);

/// ANA state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum AnaState {
    /// Optimized.
    Optimized = 0x1,
    /// Non-optimized.
    NonOptimized = 0x2,
    /// Inaccessible.
    Inaccessible = 0x3,
    /// Persistent loss.
    PersistentLoss = 0x4,
    /// Change.
    Change = 0xf,
}

/// Opens the discovery log (Base, figure 294).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiscoveryHeader {
    /// GENCTR: changes whenever the log does.
    pub generation: U64,
    /// NUMREC: entries.
    pub records: U64,
    /// RECFMT: 0.
    pub format: U16,
    /// Zero.
    pub reserved: [u8; 1006],
}
const _: () = assert!(size_of::<DiscoveryHeader>() == 1024);

/// Discovery log entry (Base, figure 295). Text fields are ASCII; TRSVCID and TRADDR space padded, SUBNQN zero padded.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiscoveryEntry {
    /// 1 RDMA, 3 TCP.
    pub trtype: u8,
    /// 1 IPv4, 2 IPv6.
    pub adrfam: u8,
    /// 1 referral, 2 NVM subsystem, 3 this discovery subsystem.
    pub subtype: u8,
    /// Bits 1:0 secure channel (2: not required), 2 SQ flow control may be disabled.
    pub treq: u8,
    /// Port.
    pub portid: U16,
    /// FFFFh: dynamic controllers.
    pub cntlid: U16,
    /// Deepest admin queue, entries; at least 32.
    pub asqsz: U16,
    /// Bit 0 duplicate returned information, 1 explicit persistent connections supported.
    pub eflags: U16,
    /// Zero.
    pub reserved12: [u8; 20],
    /// Port in decimal.
    pub trsvcid: [u8; 32],
    /// Zero.
    pub reserved64: [u8; 192],
    /// NQN.
    pub subnqn: [u8; 256],
    /// IP address as text.
    pub traddr: [u8; 256],
    /// TCP: byte 0 SECTYPE (0 none). RDMA: bytes 0 RDMA_QPTYPE, 1 RDMA_PRTYPE, 2 RDMA_CMS, 9:8 RDMA_PKEY.
    pub tsas: [u8; 256],
}
const _: () = assert!(size_of::<DiscoveryEntry>() == 1024);

macro_rules! zero_default {
    ($($t:ty),*) => { $(impl Default for $t { fn default() -> Self { Self::new_zeroed() } })* };
}
zero_default!(
    ErrorEntry,
    SmartLog,
    FirmwareSlots,
    DiscoveryHeader,
    DiscoveryEntry
);
