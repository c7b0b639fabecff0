//! Management datagrams: the header all of them have. Source: InfiniBand Architecture Specification, volume 1, release 1.7,
//! section 13.4 (MAD format), 13.5.1 (queue pair 1). All fields big-endian.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32, U64},
};

/// Bytes of a management datagram.
pub const MAD_LEN: usize = 256;
/// Queue pair of the general services, the connection manager among them.
pub const GSI_QPN: u32 = 1;
/// Q_Key of that queue pair.
pub const GSI_QKEY: u32 = 0x8001_0000;
/// Management class of communication management.
pub const CLASS_CM: u8 = 0x07;
/// Its version.
pub const CM_VERSION: u8 = 2;
/// Method: Send.
pub const METHOD_SEND: u8 = 0x03;

/// MAD header.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct MadHeader {
    /// 1.
    pub base_version: u8,
    /// What this is about.
    pub class: u8,
    /// Version of the class.
    pub class_version: u8,
    /// Response bit 7, method 6:0.
    pub method: u8,
    /// Zero.
    pub status: U16,
    /// Zero here.
    pub class_specific: U16,
    /// Chosen by who asks, the same in the answer.
    pub tid: U64,
    /// What the data is: for CM the kind of message.
    pub attribute: U16,
    /// Zero.
    pub reserved: U16,
    /// Zero here.
    pub modifier: U32,
}
const _: () = assert!(size_of::<MadHeader>() == 24);

impl MadHeader {
    /// Header of a CM message.
    #[must_use]
    pub fn cm(attribute: u16, tid: u64) -> Self {
        Self {
            base_version: 1,
            class: CLASS_CM,
            class_version: CM_VERSION,
            method: METHOD_SEND,
            tid: U64::new(tid),
            attribute: U16::new(attribute),
            ..Self::default()
        }
    }

    /// It opens a CM message of the version spoken here.
    #[must_use]
    pub const fn is_cm(&self) -> bool {
        self.base_version == 1
            && self.class == CLASS_CM
            && self.class_version == CM_VERSION
            && self.method == METHOD_SEND
    }
}
