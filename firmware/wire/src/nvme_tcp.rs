//! NVMe/TCP PDU headers exactly as on the wire; nothing here knows of connections or time.
//! Source: NVMe TCP Transport Specification 1.1, section 3.6. All fields little-endian, all lengths in bytes.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// Default TCP port of the discovery service.
pub const DISCOVERY_PORT: u16 = 8009;
/// Default TCP port of NVMe/TCP subsystems.
pub const IO_PORT: u16 = 4420;
/// Bytes of a header or data digest (CRC32C, final form, little-endian).
pub const DIGEST_LEN: usize = 4;
/// Least value of MAXH2CDATA a controller may state.
pub const MIN_MAX_H2C_DATA: u32 = 4096;
/// In-capsule data every controller takes on the admin queue.
pub const ADMIN_IN_CAPSULE: u32 = 8192;
/// Largest HPDA or CPDA: data aligned to 32 dwords.
pub const MAX_PDA: u8 = 31;
/// Largest TermReq PDU: its header and 128 bytes of the offending one.
pub const TERM_REQ_MAX: usize = 152;

/// PDU types. Even ones come from the host, odd ones from the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PduType {
    /// Initialize Connection Request.
    IcReq = 0x00,
    /// Initialize Connection Response.
    IcResp = 0x01,
    /// Host terminates the connection.
    H2cTermReq = 0x02,
    /// Controller terminates the connection.
    C2hTermReq = 0x03,
    /// Command capsule, with or without in-capsule data.
    CapsuleCmd = 0x04,
    /// Response capsule.
    CapsuleResp = 0x05,
    /// Data from the host, asked for by an R2T.
    H2cData = 0x06,
    /// Data from the controller.
    C2hData = 0x07,
    /// Ready to transfer.
    R2t = 0x09,
}

impl PduType {
    /// The type with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x00 => Self::IcReq,
            0x01 => Self::IcResp,
            0x02 => Self::H2cTermReq,
            0x03 => Self::C2hTermReq,
            0x04 => Self::CapsuleCmd,
            0x05 => Self::CapsuleResp,
            0x06 => Self::H2cData,
            0x07 => Self::C2hData,
            0x09 => Self::R2t,
            _ => return None,
        })
    }

    /// HLEN of this type.
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            Self::IcReq | Self::IcResp => 128,
            Self::CapsuleCmd => 72,
            _ => 24,
        }
    }
}

/// Bits of the FLAGS byte; the others are reserved.
pub mod flags {
    /// HDGSTF: a header digest follows the header.
    pub const HDGST: u8 = 1 << 0;
    /// DDGSTF: a data digest follows the data.
    pub const DDGST: u8 = 1 << 1;
    /// LAST_PDU: the last H2CData of an R2T or the last C2HData of a command.
    pub const LAST: u8 = 1 << 2;
    /// SUCCESS: this C2HData stands for a successful completion too.
    pub const SUCCESS: u8 = 1 << 3;
}

/// Bits of the DGST byte of ICReq and ICResp.
pub mod dgst {
    /// HDGST_ENABLE.
    pub const HEADER: u8 = 1 << 0;
    /// DDGST_ENABLE.
    pub const DATA: u8 = 1 << 1;
}

/// Fatal Error Status of a TermReq.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Fes {
    /// FEI: offset of the field from the start of the PDU.
    InvalidHeaderField = 1,
    /// FEI reserved.
    PduSequence = 2,
    /// FEI: the digest received.
    HeaderDigest = 3,
    /// FEI reserved.
    DataOutOfRange = 4,
    /// Data Transfer Limit Exceeded from a controller, R2T Limit Exceeded from a host. FEI reserved.
    LimitExceeded = 5,
    /// FEI: offset of the parameter from the start of the PDU.
    UnsupportedParameter = 6,
}

/// Opens every PDU.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CommonHeader {
    /// A [`PduType`]; untrusted until converted.
    pub pdu_type: u8,
    /// [`flags`].
    pub flags: u8,
    /// HLEN, digest excluded; untrusted until it matches the PDU type's size.
    pub header_len: u8,
    /// PDO from the start of the PDU; 0 when it carries no data.
    pub data_offset: u8,
    /// PLEN: the whole PDU, digests included.
    pub pdu_len: U32,
}
const _: () = assert!(size_of::<CommonHeader>() == 8);

/// ICReq, section 3.6.2.2.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IcReq {
    /// Common header.
    pub ch: CommonHeader,
    /// PFV: 0 is the only version.
    pub version: U16,
    /// HPDA, dwords, zero-based: alignment the host wants for C2HData data.
    pub data_align_z: u8,
    /// [`dgst`] bits the host asks for.
    pub digests: u8,
    /// MAXR2T, zero-based: R2Ts a command may have outstanding.
    pub max_r2t_z: U32,
    /// Zero.
    pub reserved: [u8; 112],
}
const _: () = assert!(size_of::<IcReq>() == 128);

/// ICResp, section 3.6.2.3.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IcResp {
    /// Common header.
    pub ch: CommonHeader,
    /// PFV: 0.
    pub version: U16,
    /// CPDA, dwords, zero-based: alignment the controller wants for data from the host.
    pub data_align_z: u8,
    /// [`dgst`] bits in force.
    pub digests: u8,
    /// MAXH2CDATA: most data in one H2CData, bytes.
    pub max_h2c_data: U32,
    /// Zero.
    pub reserved: [u8; 112],
}
const _: () = assert!(size_of::<IcResp>() == 128);

/// CapsuleCmd, section 3.6.2.6; in-capsule data follows at PDO.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CapsuleCmd {
    /// Common header.
    pub ch: CommonHeader,
    /// Submission queue entry.
    pub sqe: [u8; 64],
}
const _: () = assert!(size_of::<CapsuleCmd>() == 72);

/// CapsuleResp, section 3.6.2.7.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CapsuleResp {
    /// Common header.
    pub ch: CommonHeader,
    /// Completion queue entry.
    pub cqe: [u8; 16],
}
const _: () = assert!(size_of::<CapsuleResp>() == 24);

/// H2CData and C2HData, sections 3.6.2.8 and 3.6.2.9; data follows at PDO.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DataHeader {
    /// Common header.
    pub ch: CommonHeader,
    /// CCCID: the command's identifier.
    pub cid: U16,
    /// TTAG of the R2T in H2CData; reserved in C2HData.
    pub ttag: U16,
    /// DATAO: offset in the command's data, bytes.
    pub offset: U32,
    /// DATAL: bytes of data in this PDU.
    pub len: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<DataHeader>() == 24);

/// R2T, section 3.6.2.10.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct R2t {
    /// Common header.
    pub ch: CommonHeader,
    /// CCCID: the command's identifier.
    pub cid: U16,
    /// TTAG, chosen by the controller.
    pub ttag: U16,
    /// R2TO: offset in the command's data, bytes.
    pub offset: U32,
    /// R2TL: bytes asked for.
    pub len: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<R2t>() == 24);

/// H2CTermReq and C2HTermReq, sections 3.6.2.4 and 3.6.2.5; the offending PDU's header follows.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TermReq {
    /// Common header.
    pub ch: CommonHeader,
    /// FES: a [`Fes`].
    pub fes: U16,
    /// FEI; meaning by FES.
    pub fei: U32,
    /// Zero.
    pub reserved: [u8; 10],
}
const _: () = assert!(size_of::<TermReq>() == 24);
