//! NVMe over Fabrics commands and names (Base, sections 3.3.2, 4.7 and 6).

use crate::nvme::Sqe;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Opcode of every Fabrics command; FCTYPE is in byte 4.
pub const OPCODE: u8 = 0x7f;
/// The well-known discovery subsystem.
pub const DISCOVERY_NQN: &[u8] = b"nqn.2014-08.org.nvmexpress.discovery";
/// CNTLID that asks for a dynamic controller.
pub const CNTLID_DYNAMIC: u16 = 0xffff;
/// CNTLID that asks for any static controller.
pub const CNTLID_STATIC: u16 = 0xfffe;
/// Highest CNTLID a controller may have.
pub const CNTLID_MAX: u16 = 0xffef;
/// Longest NQN in bytes, without the terminating zero.
pub const NQN_MAX: usize = 223;
/// NQN fields in data structures, in bytes.
pub const NQN_FIELD: usize = 256;

/// Fabrics command types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FabricsType {
    /// Property Set.
    PropertySet = 0x00,
    /// Connect.
    Connect = 0x01,
    /// Property Get.
    PropertyGet = 0x04,
    /// Authentication Send.
    AuthSend = 0x05,
    /// Authentication Receive.
    AuthReceive = 0x06,
    /// Disconnect.
    Disconnect = 0x08,
}

impl FabricsType {
    /// The type with this value.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0x00 => Some(Self::PropertySet),
            0x01 => Some(Self::Connect),
            0x04 => Some(Self::PropertyGet),
            0x05 => Some(Self::AuthSend),
            0x06 => Some(Self::AuthReceive),
            0x08 => Some(Self::Disconnect),
            _ => None,
        }
    }
}

/// Connect (Base, section 6.3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConnectCommand {
    /// 7Fh.
    pub opcode: u8,
    /// PSDT.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// 01h.
    pub fctype: u8,
    /// Zero.
    pub reserved5: [u8; 19],
    /// SGL descriptor of the [`ConnectData`].
    pub sgl: [u8; 16],
    /// RECFMT: 0.
    pub recfmt: U16,
    /// QID: 0 creates the admin queue and the association.
    pub qid: U16,
    /// SQSIZE: entries, zero-based.
    pub sqsize_z: U16,
    /// CATTR: bits 1:0 priority, 2 disable SQ flow control, 3 individual I/O queue deletion.
    pub cattr: u8,
    /// Zero.
    pub reserved47: u8,
    /// KATO in milliseconds; admin queue only.
    pub kato: U32,
    /// Zero.
    pub reserved52: [u8; 12],
}
const _: () = assert!(size_of::<ConnectCommand>() == 64);
const _: () = assert!(core::mem::offset_of!(ConnectCommand, recfmt) == 40);

/// CATTR bit: the host does not want SQHD.
pub const CATTR_NO_FLOW_CONTROL: u8 = 1 << 2;
/// CATTR bit: Disconnect of single I/O queues.
pub const CATTR_QUEUE_DELETION: u8 = 1 << 3;

/// Data of Connect.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConnectData {
    /// Host identifier; not 0.
    pub hostid: [u8; 16],
    /// FFFFh asks for a dynamic controller on the admin queue.
    pub cntlid: U16,
    /// Zero.
    pub reserved18: [u8; 238],
    /// SUBNQN, zero padded.
    pub subnqn: [u8; NQN_FIELD],
    /// HOSTNQN, zero padded.
    pub hostnqn: [u8; NQN_FIELD],
    /// Zero.
    pub reserved768: [u8; 256],
}
const _: () = assert!(size_of::<ConnectData>() == 1024);

impl Default for ConnectData {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// Which parameter of a Connect was wrong: the result with status Connect Invalid Parameters (Base, figure 544).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidParam {
    /// Byte offset into the SQE (IATTR 0).
    Command(u16),
    /// Byte offset into the data (IATTR 1).
    Data(u16),
}

impl InvalidParam {
    /// RECFMT.
    pub const RECFMT: Self = Self::Command(40);
    /// QID.
    pub const QID: Self = Self::Command(42);
    /// SQSIZE.
    pub const SQSIZE: Self = Self::Command(44);
    /// CATTR.
    pub const CATTR: Self = Self::Command(46);
    /// KATO.
    pub const KATO: Self = Self::Command(48);
    /// HOSTID.
    pub const HOSTID: Self = Self::Data(0);
    /// CNTLID.
    pub const CNTLID: Self = Self::Data(16);
    /// SUBNQN.
    pub const SUBNQN: Self = Self::Data(256);
    /// HOSTNQN.
    pub const HOSTNQN: Self = Self::Data(512);

    /// Dword 0 of the response: IPO in bits 15:0, IATTR in bit 16.
    #[must_use]
    pub const fn encode(self) -> u32 {
        match self {
            Self::Command(at) => at as u32,
            Self::Data(at) => at as u32 | 1 << 16,
        }
    }

    /// From dword 0 of the response.
    #[must_use]
    pub const fn decode(result: u32) -> Self {
        if result & 1 << 16 == 0 {
            Self::Command(result as u16)
        } else {
            Self::Data(result as u16)
        }
    }
}

/// Dword 0 of a successful Connect response: CNTLID, and AUTHREQ in bits 18:16 (0: none).
#[must_use]
pub const fn connect_result(cntlid: u16) -> u64 {
    cntlid as u64
}

/// Property Get and Property Set (Base, sections 6.5 and 6.6).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PropertyCommand {
    /// 7Fh.
    pub opcode: u8,
    /// Zero.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// 00h set, 04h get.
    pub fctype: u8,
    /// Zero.
    pub reserved5: [u8; 35],
    /// ATTRIB: bits 2:0 size, 0 for 4 bytes, 1 for 8.
    pub attrib: u8,
    /// Zero.
    pub reserved41: [u8; 3],
    /// OFST: see `nvme::register`.
    pub offset: U32,
    /// Value (set).
    pub value: U64,
    /// Zero.
    pub reserved56: [u8; 8],
}
const _: () = assert!(size_of::<PropertyCommand>() == 64);

/// Disconnect (Base, section 6.4). RECFMT at byte 40 is 0; it acts on the queue it arrives on.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DisconnectCommand {
    /// 7Fh.
    pub opcode: u8,
    /// Zero.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// 08h.
    pub fctype: u8,
    /// Zero.
    pub reserved5: [u8; 35],
    /// RECFMT: 0.
    pub recfmt: U16,
    /// Zero.
    pub reserved42: [u8; 22],
}
const _: () = assert!(size_of::<DisconnectCommand>() == 64);

/// FCTYPE of a Fabrics command (byte 4 of the SQE).
#[must_use]
pub fn fctype(sqe: &Sqe) -> Option<FabricsType> {
    FabricsType::from_code(sqe.nsid.get() as u8)
}

/// Why a name is no NQN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NqnError {
    /// No zero within the first 224 bytes.
    Unterminated,
    /// Neither `nqn.yyyy-mm.domain[:text]` nor `nqn.2014-08.org.nvmexpress:uuid:…`.
    Format,
}

/// The NQN in a zero-padded field, checked for length and format (Base, section 4.7): `nqn.`, four digits, `-`, a month,
/// `.`, and at least one character more; no control characters or blanks (UTF-8 bytes above 7Fh are let through).
///
/// # Errors
/// [`NqnError`].
pub fn nqn(field: &[u8]) -> Result<&[u8], NqnError> {
    let end = field.iter().take(NQN_MAX + 1).position(|b| *b == 0);
    let name = end
        .and_then(|n| field.get(..n))
        .ok_or(NqnError::Unterminated)?;
    if is_nqn(name) {
        Ok(name)
    } else {
        Err(NqnError::Format)
    }
}

/// `name` has the format of an NQN and at most [`NQN_MAX`] bytes.
#[must_use]
pub fn is_nqn(name: &[u8]) -> bool {
    const SHAPE: &[u8; 12] = b"nqn.dddd-mm.";
    let (Some(head), Some(tail)) = (name.get(..SHAPE.len()), name.get(SHAPE.len()..)) else {
        return false;
    };
    let head_fits = head.iter().zip(SHAPE).all(|(b, s)| match s {
        b'd' | b'm' => b.is_ascii_digit(),
        _ => b == s,
    });
    let month = match (head[9], head[10]) {
        (tens, ones) if head_fits => (tens - b'0') * 10 + (ones - b'0'),
        _ => 0,
    };
    let domain_fits = tail.first().is_some_and(|b| b.is_ascii_alphanumeric());
    head_fits
        && (1..=12).contains(&month)
        && domain_fits
        && name.len() <= NQN_MAX
        && tail.iter().all(|b| *b > b' ' && *b != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &[u8]) -> [u8; NQN_FIELD] {
        let mut field = [0; NQN_FIELD];
        field[..name.len()].copy_from_slice(name);
        field
    }

    #[test]
    fn names_in_use_are_accepted() {
        for name in [
            DISCOVERY_NQN,
            b"nqn.2014-08.org.nvmexpress:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            b"nqn.2026-01.org.sluice:disk0",
        ] {
            assert_eq!(nqn(&field(name)), Ok(name));
        }
    }

    #[test]
    fn a_name_of_223_bytes_fits_and_one_of_224_does_not() {
        let mut name = [b'a'; 224];
        name[..20].copy_from_slice(b"nqn.2026-01.org.slui");
        assert!(nqn(&field(&name[..223])).is_ok());
        assert_eq!(nqn(&field(&name)), Err(NqnError::Unterminated));
        assert_eq!(nqn(&[]), Err(NqnError::Unterminated));
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            &b""[..],
            b"nqn",
            b"iqn.2014-08.org.x",
            b"nqn.2014-13.org.x",
            b"nqn.2014-00.org.x",
            b"nqn.20x4-08.org.x",
            b"nqn.2014-08.",
            b"nqn.2014-08.org x",
            b"nqn.2014-08..org",
            b"nqn.2014-08.org\x07",
        ] {
            assert_eq!(nqn(&field(name)), Err(NqnError::Format), "{name:?}");
        }
    }

    #[test]
    fn invalid_parameters_encode_attribute_and_offset() {
        assert_eq!(InvalidParam::SUBNQN.encode(), 0x0001_0100);
        assert_eq!(InvalidParam::QID.encode(), 42);
        assert_eq!(InvalidParam::decode(0x0001_0200), InvalidParam::HOSTNQN);
    }
}
