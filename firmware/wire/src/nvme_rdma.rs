//! What NVMe/RDMA puts into CM messages and SGL descriptors. Source: NVMe RDMA Transport Specification 1.1, section 3
//! (RDMA_CM private data), and Base, section 4.3.2 (keyed SGL descriptors). All fields little-endian.

use crate::nvme::{SglDescriptor, SglKind};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U16};

/// Default port of NVMe/RDMA subsystems.
pub const IO_PORT: u16 = 4420;
/// RECFMT: the only format.
pub const RECFMT: u16 = 0;
/// Bytes of a response capsule.
pub const RESPONSE_LEN: u32 = 16;
/// Bytes of a command capsule without in-capsule data.
pub const COMMAND_LEN: u32 = 64;

/// Private data of a REQ, behind the addresses of [`crate::ib_cm::IpCmHeader`].
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
pub struct RequestData {
    /// RECFMT: 0.
    pub recfmt: U16,
    /// QID: 0 for an admin queue.
    pub qid: U16,
    /// HRQSIZE: receives that the host posts, so responses that may be under way to it. Not zero-based.
    pub hrqsize: U16,
    /// HSQSIZE, zero-based: commands that may be under way to the controller.
    pub hsqsize_z: U16,
    /// CNTLID of the association that an I/O queue is for; 0 from hosts of the older format.
    pub cntlid: U16,
    /// Zero.
    pub reserved: [u8; 22],
}
const _: () = assert!(size_of::<RequestData>() == 32);

/// Private data of a REP.
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
pub struct ReplyData {
    /// RECFMT: 0.
    pub recfmt: U16,
    /// CRQSIZE: receives that the controller posts. Not zero-based.
    pub crqsize: U16,
    /// Zero.
    pub reserved: [u8; 28],
}
const _: () = assert!(size_of::<ReplyData>() == 32);

/// Private data of a REJ.
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
pub struct RejectData {
    /// RECFMT: 0.
    pub recfmt: U16,
    /// STS: a [`CmStatus`].
    pub status: U16,
}
const _: () = assert!(size_of::<RejectData>() == 4);

/// Why a queue pair was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum CmStatus {
    /// The private data is shorter than its format.
    InvalidLength = 1,
    /// RECFMT is unknown.
    InvalidRecfmt = 2,
    /// QID is not possible.
    InvalidQid = 3,
    /// HSQSIZE is not possible.
    InvalidHsqsize = 4,
    /// HRQSIZE is not possible.
    InvalidHrqsize = 5,
    /// Nothing left to serve it.
    NoResources = 6,
    /// Too few inbound RDMA READs (responder resources).
    InvalidIrd = 7,
    /// Too few outbound RDMA READs (initiator depth).
    InvalidOrd = 8,
    /// CNTLID is unknown.
    InvalidCntlid = 9,
}

/// Last Segment descriptor with an offset into the capsule (type 3h, sub type 1h): more descriptors lie there.
pub const LAST_SEGMENT_OFFSET: u8 = 0x31;
/// Bytes of a descriptor.
pub const DESCRIPTOR_LEN: u32 = 16;

/// A keyed SGL data block: memory of the host's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keyed {
    /// Virtual address.
    pub va: u64,
    /// Bytes; below 2^24.
    pub len: u32,
    /// Memory key.
    pub rkey: u32,
    /// The host wants the key invalidated with the response.
    pub invalidate: bool,
}

impl Keyed {
    /// The descriptor if it is keyed.
    #[must_use]
    pub fn of(descriptor: &SglDescriptor) -> Option<Self> {
        let invalidate = match descriptor.kind()? {
            SglKind::Keyed => false,
            SglKind::KeyedInvalidate => true,
            _ => return None,
        };
        let [l0, l1, l2, k0] = descriptor.length.get().to_le_bytes();
        let [k1, k2, k3] = descriptor.reserved;
        Some(Self {
            va: descriptor.address.get(),
            len: u32::from_le_bytes([l0, l1, l2, 0]),
            rkey: u32::from_le_bytes([k0, k1, k2, k3]),
            invalidate,
        })
    }

    /// The same for a descriptor as little-endian words that were read: address, length and key bits 7:0, key bits 31:8 and
    /// type.
    #[must_use]
    #[inline]
    pub const fn of_words(low: u32, high: u32, length: u32, kind: u32) -> Option<Self> {
        let id = (kind >> 24) as u8;
        let invalidate = id == SglKind::KeyedInvalidate as u8;
        if !invalidate && id != SglKind::Keyed as u8 {
            return None;
        }
        Some(Self {
            va: low as u64 | (high as u64) << 32,
            len: length & 0xff_ffff,
            rkey: length >> 24 | kind << 8,
            invalidate,
        })
    }

    /// As a descriptor.
    #[must_use]
    pub fn descriptor(&self) -> SglDescriptor {
        let kind = if self.invalidate {
            SglKind::KeyedInvalidate
        } else {
            SglKind::Keyed
        };
        let [k0, k1, k2, k3] = self.rkey.to_le_bytes();
        let [l0, l1, l2, _] = self.len.to_le_bytes();
        let mut descriptor =
            SglDescriptor::new(kind, self.va, u32::from_le_bytes([l0, l1, l2, k0]));
        descriptor.reserved = [k1, k2, k3];
        descriptor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    proptest! {
        #[test]
        fn a_keyed_descriptor_survives_the_round_trip(va: u64, len in 0u32..1 << 24, rkey: u32, invalidate: bool) {
            let keyed = Keyed { va, len, rkey, invalidate };
            prop_assert_eq!(Keyed::of(&keyed.descriptor()), Some(keyed));
        }

        #[test]
        fn words_say_what_bytes_say(bytes: [u8; 16]) {
            let descriptor = SglDescriptor::read_from_bytes(&bytes).expect("any bytes");
            let [a, b, c, d] = [0, 4, 8, 12].map(|i| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]));
            prop_assert_eq!(Keyed::of_words(a, b, c, d), Keyed::of(&descriptor));
            for kind in [SglKind::Keyed, SglKind::KeyedInvalidate] {
                let mut descriptor = descriptor;
                descriptor.id = kind as u8;
                prop_assert_eq!(Keyed::of_words(a, b, c, d & 0xff_ffff | u32::from(descriptor.id) << 24), Keyed::of(&descriptor));
            }
        }
    }

    /// Base, figure "Keyed SGL Data Block descriptor": address 7:0, length 10:8, key 14:11, identifier 15.
    #[test]
    fn a_keyed_descriptor_has_the_bytes_of_the_standard() {
        let keyed = Keyed {
            va: 0x0807_0605_0403_0201,
            len: 0x0b_0a09,
            rkey: 0x0f0e_0d0c,
            invalidate: true,
        };
        let bytes = [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf, 0x4f,
        ];
        assert_eq!(keyed.descriptor().as_bytes(), bytes);
    }
}
