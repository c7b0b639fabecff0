//! The messages of vfio-user exactly as on the socket; nothing here knows of sockets or devices.
//! Source: vfio-user protocol specification, section "Protocol Specification"; `linux/vfio.h` where it says so.
//!
//! The protocol uses the byte order of the machine; these are little-endian, which all machines are that Sluice supports.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Opens every message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Chosen by the sender, echoed in the reply.
    pub id: U16,
    /// [`Command`].
    pub command: U16,
    /// Of the whole message in bytes, this header included; untrusted.
    pub size: U32,
    /// [`flags`].
    pub flags: U32,
    /// An errno in a reply with [`flags::ERROR`]; may be 0 even then.
    pub error: U32,
}

/// Size of [`Header`] in bytes.
pub const HEADER: usize = 16;
const _: () = assert!(size_of::<Header>() == HEADER);

/// Bits of [`Header::flags`].
pub mod flags {
    /// Command (0) or reply (1); other values are reserved.
    pub const TYPE: u32 = 0xF;
    /// A reply.
    pub const REPLY: u32 = 1;
    /// No reply is wanted.
    pub const NO_REPLY: u32 = 1 << 4;
    /// The command failed; the reply is its header alone.
    pub const ERROR: u32 = 1 << 5;
}

/// What a message asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Command {
    /// First message, both ways.
    Version = 1,
    /// Memory becomes reachable.
    DmaMap = 2,
    /// Memory is reachable no longer.
    DmaUnmap = 3,
    /// What the device has.
    GetInfo = 4,
    /// What a region is.
    GetRegionInfo = 5,
    /// ioeventfds of a region.
    GetRegionIoFds = 6,
    /// What an interrupt index is.
    GetIrqInfo = 7,
    /// Event descriptors of interrupts.
    SetIrqs = 8,
    /// Reads a region.
    RegionRead = 9,
    /// Writes a region.
    RegionWrite = 10,
    /// Server to client: reads memory.
    DmaRead = 11,
    /// Server to client: writes memory.
    DmaWrite = 12,
    /// Resets the function.
    Reset = 13,
    /// Several small writes at once.
    RegionWriteMulti = 15,
    /// Optional features.
    Feature = 16,
}

impl Command {
    /// All commands.
    pub const ALL: [Self; 15] = [
        Self::Version,
        Self::DmaMap,
        Self::DmaUnmap,
        Self::GetInfo,
        Self::GetRegionInfo,
        Self::GetRegionIoFds,
        Self::GetIrqInfo,
        Self::SetIrqs,
        Self::RegionRead,
        Self::RegionWrite,
        Self::DmaRead,
        Self::DmaWrite,
        Self::Reset,
        Self::RegionWriteMulti,
        Self::Feature,
    ];

    /// The command with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|c| *c as u16 == number)
    }
}

/// `Version`, both ways: then JSON, ended by a zero byte.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Version {
    /// 0.
    pub major: U16,
    /// The highest that the sender has.
    pub minor: U16,
}

/// Permissions of a [`DmaMap`].
pub mod dma {
    /// The device may read.
    pub const READ: u32 = 1;
    /// The device may write.
    pub const WRITE: u32 = 2;
    /// In an unmap: everything (`VFIO_DMA_UNMAP_FLAG_ALL` of `linux/vfio.h`).
    pub const UNMAP_ALL: u32 = 2;
}

/// `DmaMap`, request. The descriptor of the memory comes along if there is one.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DmaMap {
    /// Size of this structure.
    pub argsz: U32,
    /// [`dma`].
    pub flags: U32,
    /// Offset in the file.
    pub offset: U64,
    /// First bus address.
    pub address: U64,
    /// Bytes.
    pub size: U64,
}

/// `DmaUnmap`, both ways.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DmaUnmap {
    /// Most bytes of a reply.
    pub argsz: U32,
    /// [`dma::UNMAP_ALL`].
    pub flags: U32,
    /// First bus address.
    pub address: U64,
    /// Bytes.
    pub size: U64,
}

/// `GetInfo`, both ways.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceInfo {
    /// Most bytes of a reply; in a reply, its size.
    pub argsz: U32,
    /// [`device`].
    pub flags: U32,
    /// Regions.
    pub regions: U32,
    /// Interrupt indexes.
    pub irqs: U32,
}

/// Bits of [`DeviceInfo::flags`].
pub mod device {
    /// The device can be reset.
    pub const RESET: u32 = 1;
    /// It is a PCI device.
    pub const PCI: u32 = 2;
}

/// Regions of a PCI device (`linux/vfio.h`).
pub mod region {
    /// BAR0; BARs are 0 to 5.
    pub const BAR0: u32 = 0;
    /// BAR5.
    pub const BAR5: u32 = 5;
    /// Configuration space.
    pub const CONFIG: u32 = 7;
    /// How many there are: expansion ROM (6) and VGA (8) among them.
    pub const COUNT: u32 = 9;
    /// The region can be read.
    pub const READ: u32 = 1;
    /// The region can be written.
    pub const WRITE: u32 = 2;
    /// It can be mapped; a descriptor comes along.
    pub const MMAP: u32 = 4;
    /// Capabilities follow.
    pub const CAPS: u32 = 8;
    /// Capability: areas that can be mapped.
    pub const CAP_SPARSE_MMAP: u16 = 1;
}

/// `GetRegionInfo`, both ways; capabilities follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RegionInfo {
    /// Most bytes of a reply; in a reply, the size of a full one.
    pub argsz: U32,
    /// [`region::READ`] and so on.
    pub flags: U32,
    /// [`region`].
    pub index: U32,
    /// Of the first capability, from the start of this structure; 0: none.
    pub cap_offset: U32,
    /// Bytes.
    pub size: U64,
    /// Where in the file that comes along the region begins.
    pub offset: U64,
}

/// Opens a capability of a region.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CapHeader {
    /// [`region::CAP_SPARSE_MMAP`].
    pub id: U16,
    /// 1.
    pub version: U16,
    /// Offset of the next, from the start of [`RegionInfo`]; 0: none.
    pub next: U32,
}

/// An area of a sparse-mmap capability. Before the first stand their number and 4 bytes of zeros.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct SparseArea {
    /// Offset in the region.
    pub offset: U64,
    /// Bytes.
    pub size: U64,
}

/// Interrupt indexes of a PCI device (`linux/vfio.h`).
pub mod irq {
    /// MSI-X.
    pub const MSIX: u32 = 2;
    /// How many there are: INTx, MSI, MSI-X, errors, requests to give the device back.
    pub const COUNT: u32 = 5;
    /// Can be signalled by eventfd.
    pub const EVENTFD: u32 = 1;
    /// Vectors can only be armed together.
    pub const NORESIZE: u32 = 8;
    /// [`super::IrqSet`]: no data.
    pub const DATA_NONE: u32 = 1;
    /// A byte per vector: whether to act.
    pub const DATA_BOOL: u32 = 2;
    /// Descriptors come along.
    pub const DATA_EVENTFD: u32 = 4;
    /// Masks.
    pub const ACTION_MASK: u32 = 8;
    /// Unmasks.
    pub const ACTION_UNMASK: u32 = 16;
    /// Fires, or with descriptors: says whom to tell.
    pub const ACTION_TRIGGER: u32 = 32;
}

/// `GetIrqInfo`, both ways.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IrqInfo {
    /// Most bytes of a reply; in a reply, its size.
    pub argsz: U32,
    /// [`irq::EVENTFD`] and so on.
    pub flags: U32,
    /// [`irq`].
    pub index: U32,
    /// Vectors.
    pub count: U32,
}

/// `SetIrqs`, request; data follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IrqSet {
    /// Size with the data.
    pub argsz: U32,
    /// One `DATA` and one `ACTION` of [`irq`].
    pub flags: U32,
    /// [`irq`].
    pub index: U32,
    /// First vector.
    pub start: U32,
    /// Vectors.
    pub count: U32,
}

/// `RegionRead` and `RegionWrite`, both ways; data follow where they go.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RegionAccess {
    /// In the region.
    pub offset: U64,
    /// [`region`].
    pub region: U32,
    /// Bytes of data.
    pub count: U32,
}

/// `DmaRead` and `DmaWrite`, both ways; data follow where they go.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DmaAccess {
    /// Bus address.
    pub address: U64,
    /// Bytes of data.
    pub count: U64,
}

/// One write of `RegionWriteMulti`, whose request is their number (8 bytes) and then these.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SmallWrite {
    /// In the region.
    pub offset: U64,
    /// [`region`].
    pub region: U32,
    /// Bytes of `data` that are meant, at most 8.
    pub count: U32,
    /// The data.
    pub data: [u8; 8],
}

const _: () = {
    assert!(size_of::<DmaMap>() == 32);
    assert!(size_of::<DmaUnmap>() == 24);
    assert!(size_of::<DeviceInfo>() == 16);
    assert!(size_of::<RegionInfo>() == 32);
    assert!(size_of::<IrqSet>() == 20);
    assert!(size_of::<RegionAccess>() == 16);
    assert!(size_of::<DmaAccess>() == 16);
    assert!(size_of::<SmallWrite>() == 24);
};

/// Errors that replies carry, with the numbers of Linux.
pub mod errno {
    /// No such thing to act on.
    pub const ENOENT: u32 = 2;
    /// The other side could not do it.
    pub const EIO: u32 = 5;
    /// Too much at once.
    pub const E2BIG: u32 = 7;
    /// No room for more.
    pub const ENOMEM: u32 = 12;
    /// Nothing is mapped there.
    pub const EFAULT: u32 = 14;
    /// Something is mapped there already.
    pub const EEXIST: u32 = 17;
    /// Makes no sense.
    pub const EINVAL: u32 = 22;
    /// The command is not supported.
    pub const ENOTSUP: u32 = 95;
}

/// A message of these parts. Its size must be below 4 GiB.
#[must_use]
pub fn message(id: u16, command: u16, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    let size = HEADER + parts.iter().map(|p| p.len()).sum::<usize>();
    let mut header = Header::new_zeroed();
    header.id.set(id);
    header.command.set(command);
    header.size.set(size as u32);
    header.flags.set(flags);
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(header.as_bytes());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// The reply to `to` that says it failed.
#[must_use]
pub fn error_reply(to: &Header, error: u32) -> Vec<u8> {
    let header = Header {
        size: (HEADER as u32).into(),
        flags: (flags::REPLY | flags::ERROR).into(),
        error: error.into(),
        ..*to
    };
    header.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_write_has_the_bytes_of_the_specification() {
        let access = RegionAccess {
            offset: 0x1122.into(),
            region: 2.into(),
            count: 4.into(),
        };
        let bytes = message(
            7,
            Command::RegionWrite as u16,
            0,
            &[access.as_bytes(), &[1, 2, 3, 4]],
        );
        let want = [
            7, 0, 10, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
            0x22, 0x11, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4,
        ];
        assert_eq!(bytes, want);
    }

    #[test]
    fn an_error_reply_is_a_header_that_echoes_id_and_command() {
        let command = message(9, 2, 0, &[&[0; 32]]);
        let header = Header::read_from_bytes(&command[..HEADER]).expect("16 bytes");
        let want = [9, 0, 2, 0, 16, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0];
        assert_eq!(error_reply(&header, errno::EINVAL), want);
    }

    #[test]
    fn every_command_is_found_by_its_number_and_no_other_number_is_one() {
        for command in Command::ALL {
            assert_eq!(Command::from_number(command as u16), Some(command));
        }
        for number in [0, 14, 17, 18, 0xFFFF] {
            assert_eq!(Command::from_number(number), None);
        }
    }
}
