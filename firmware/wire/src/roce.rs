//! RoCEv2: the InfiniBand transport headers behind UDP, their opcodes, and the invariant CRC; nothing here knows of
//! connections or time.
//! Source: InfiniBand Architecture Specification, volume 1, release 1.7, chapter 9 (transport layer: section 9.2 BTH, 9.3 extended
//! headers, 9.7.5 acknowledgments) and annex A17 (RoCEv2: UDP, ICRC, CNP). All fields big-endian, all lengths in bytes.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32, U64},
};

/// UDP destination port of RoCEv2 (A17.3.1).
pub const UDP_PORT: u16 = 4791;
/// The partition every port belongs to, as full member.
pub const DEFAULT_PKEY: u16 = 0xffff;
/// Bits of a packet sequence number, a queue pair number, a message sequence number.
pub const MASK_24: u32 = 0xff_ffff;
/// Bytes of the ICRC at the end of every packet.
pub const ICRC_LEN: usize = 4;
/// Bytes of a CNP behind its BTH, all zero (A17.9.3).
pub const CNP_RESERVED: usize = 16;

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// Opcodes of BTH (table 38): reliable connection, the one of unreliable datagrams that management uses, and CNP.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Opcode { $($(#[$doc])* $name = $value,)* }
        impl Opcode {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The opcode with this value.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($value => Some(Self::$name),)* _ => None }
            }
        }
    };
}

opcodes! {
    /// First packet of a SEND of several.
    SendFirst = 0x00,
    /// Neither first nor last.
    SendMiddle = 0x01,
    /// Last.
    SendLast = 0x02,
    /// Last, with ImmDt.
    SendLastImmediate = 0x03,
    /// A SEND of one packet.
    SendOnly = 0x04,
    /// The same with ImmDt.
    SendOnlyImmediate = 0x05,
    /// First packet of an RDMA WRITE; RETH.
    WriteFirst = 0x06,
    /// Neither first nor last.
    WriteMiddle = 0x07,
    /// Last.
    WriteLast = 0x08,
    /// Last, with ImmDt.
    WriteLastImmediate = 0x09,
    /// An RDMA WRITE of one packet; RETH.
    WriteOnly = 0x0a,
    /// The same; RETH, then ImmDt.
    WriteOnlyImmediate = 0x0b,
    /// RDMA READ request; RETH, no payload.
    ReadRequest = 0x0c,
    /// First packet of an RDMA READ response; AETH.
    ReadResponseFirst = 0x0d,
    /// Neither first nor last; no AETH.
    ReadResponseMiddle = 0x0e,
    /// Last; AETH.
    ReadResponseLast = 0x0f,
    /// A response of one packet; AETH.
    ReadResponseOnly = 0x10,
    /// Acknowledgment, positive or not; AETH.
    Acknowledge = 0x11,
    /// Answer to an atomic operation.
    AtomicAcknowledge = 0x12,
    /// Compare and swap; AtomicETH.
    CompareSwap = 0x13,
    /// Fetch and add; AtomicETH.
    FetchAdd = 0x14,
    /// Last packet of a SEND with invalidate; IETH.
    SendLastInvalidate = 0x16,
    /// A SEND with invalidate of one packet; IETH.
    SendOnlyInvalidate = 0x17,
    /// Unreliable datagram; DETH. Management datagrams come so.
    UdSendOnly = 0x64,
    /// Congestion notification packet (A17.9.3).
    Cnp = 0x81,
}

impl Opcode {
    /// Bytes of extended headers between BTH and payload.
    #[must_use]
    pub const fn extended_len(self) -> usize {
        match self {
            Self::WriteFirst | Self::WriteOnly | Self::ReadRequest => 16,
            Self::WriteOnlyImmediate => 20,
            Self::SendLastImmediate
            | Self::SendOnlyImmediate
            | Self::WriteLastImmediate
            | Self::SendLastInvalidate
            | Self::SendOnlyInvalidate
            | Self::ReadResponseFirst
            | Self::ReadResponseLast
            | Self::ReadResponseOnly
            | Self::Acknowledge => 4,
            Self::AtomicAcknowledge => 12,
            Self::CompareSwap | Self::FetchAdd => 28,
            Self::UdSendOnly => 8,
            _ => 0,
        }
    }

    /// RETH follows BTH.
    #[must_use]
    pub const fn has_reth(self) -> bool {
        matches!(
            self,
            Self::WriteFirst | Self::WriteOnly | Self::WriteOnlyImmediate | Self::ReadRequest
        )
    }

    /// AETH follows BTH.
    #[must_use]
    pub const fn has_aeth(self) -> bool {
        matches!(
            self,
            Self::ReadResponseFirst
                | Self::ReadResponseLast
                | Self::ReadResponseOnly
                | Self::Acknowledge
                | Self::AtomicAcknowledge
        )
    }

    /// Goes from responder to requester.
    #[must_use]
    pub const fn is_response(self) -> bool {
        self as u8 >= 0x0d && self as u8 <= 0x12
    }
}

/// BTH, section 9.2: opens every packet.
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
pub struct Bth {
    /// An [`Opcode`]; untrusted until converted.
    pub opcode: u8,
    /// SE 7, MigReq 6, PadCnt 5:4 (bytes of zeros that fill the payload up to 4), TVer 3:0 (0 is the only version).
    pub flags: u8,
    /// P_Key: partition; bit 15 says full member.
    pub pkey: U16,
    /// FECN 31, BECN 30, zero 29:24, destination queue pair 23:0.
    pub dest_qp: U32,
    /// AckReq 31, zero 30:24, PSN 23:0.
    pub psn: U32,
}
const _: () = assert!(size_of::<Bth>() == 12);

impl Bth {
    /// `flags` bit: solicited event.
    pub const SOLICITED: u8 = 0x80;
    /// `flags` bit: migration state. Linux rxe sends 0, others 1; it means nothing here.
    pub const MIG_REQ: u8 = 0x40;
    /// `dest_qp` bit: forward congestion, from a switch.
    pub const FECN: u32 = 1 << 31;
    /// `dest_qp` bit: congestion on the way from here to there; set in a CNP.
    pub const BECN: u32 = 1 << 30;
    /// `psn` bit: the responder is to acknowledge this packet.
    pub const ACK_REQ: u32 = 1 << 31;

    /// Bytes of padding behind the payload.
    #[must_use]
    pub const fn pad(&self) -> usize {
        (self.flags >> 4 & 3) as usize
    }

    /// TVer.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.flags & 0xf
    }

    /// Destination queue pair number.
    #[must_use]
    pub const fn qpn(&self) -> u32 {
        self.dest_qp.get() & MASK_24
    }

    /// Packet sequence number.
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        self.psn.get() & MASK_24
    }

    /// AckReq.
    #[must_use]
    pub const fn ack_req(&self) -> bool {
        self.psn.get() & Self::ACK_REQ != 0
    }
}

/// RETH, section 9.3.3: where an RDMA operation reaches into the responder's memory.
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
pub struct Reth {
    /// Virtual address.
    pub va: U64,
    /// R_Key: memory key.
    pub rkey: U32,
    /// DMA length: bytes of the whole message.
    pub len: U32,
}
const _: () = assert!(size_of::<Reth>() == 16);

/// AETH, section 9.3.5.
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
pub struct Aeth(
    /// [`Syndrome`] 31:24, message sequence number 23:0.
    pub U32,
);
const _: () = assert!(size_of::<Aeth>() == 4);

impl Aeth {
    /// From its parts.
    #[must_use]
    pub const fn new(syndrome: Syndrome, msn: u32) -> Self {
        Self(U32::new((syndrome.code() as u32) << 24 | msn & MASK_24))
    }

    /// The verdict; `None` for a reserved one.
    #[must_use]
    pub const fn syndrome(self) -> Option<Syndrome> {
        Syndrome::from_code((self.0.get() >> 24) as u8)
    }

    /// Messages the responder has completed, modulo 2^24.
    #[must_use]
    pub const fn msn(self) -> u32 {
        self.0.get() & MASK_24
    }
}

/// Verdict in an AETH (section 9.7.5.2, tables 43 to 45).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Syndrome {
    /// ACK, with a credit count code (0 to 31; 31 says credits are not counted).
    Ack(u8),
    /// RNR NAK: no receive is posted; try again after [`rnr_micros`] of this code (0 to 31).
    RnrNak(u8),
    /// NAK.
    Nak(NakCode),
}

/// Why a request was refused (table 45).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum NakCode {
    /// A packet is missing before this one.
    SequenceError = 0,
    /// Not understood, or not allowed on this queue pair.
    InvalidRequest = 1,
    /// Memory key, bounds or rights.
    RemoteAccess = 2,
    /// The responder could not.
    RemoteOperational = 3,
    /// Reliable datagrams only.
    InvalidRdRequest = 4,
}

impl Syndrome {
    /// ACK without a credit count.
    pub const ACK: Self = Self::Ack(31);

    /// From the syndrome byte.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        let low = code & 31;
        Some(match (code >> 5, low) {
            (0, _) => Self::Ack(low),
            (1, _) => Self::RnrNak(low),
            (3, 0) => Self::Nak(NakCode::SequenceError),
            (3, 1) => Self::Nak(NakCode::InvalidRequest),
            (3, 2) => Self::Nak(NakCode::RemoteAccess),
            (3, 3) => Self::Nak(NakCode::RemoteOperational),
            (3, 4) => Self::Nak(NakCode::InvalidRdRequest),
            _ => return None,
        })
    }

    /// The syndrome byte.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ack(credits) => credits & 31,
            Self::RnrNak(timer) => 0x20 | timer & 31,
            Self::Nak(code) => 0x60 | code as u8,
        }
    }
}

/// Microseconds to wait after an RNR NAK with this timer code, 0 to 31 (table 46).
#[must_use]
pub const fn rnr_micros(code: u8) -> u32 {
    const TABLE: [u32; 32] = [
        655_360, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960, 1_280, 1_920, 2_560,
        3_840, 5_120, 7_680, 10_240, 15_360, 20_480, 30_720, 40_960, 61_440, 81_920, 122_880,
        163_840, 245_760, 327_680, 491_520,
    ];
    TABLE[(code & 31) as usize]
}

/// Microseconds of a 5-bit timeout: 4.096 µs × 2^code; 0 for code 0, which means "no timeout".
#[must_use]
pub const fn timeout_micros(code: u8) -> u64 {
    TIMEOUTS[code as usize & 31]
}

/// A table, since the division would be the only one of 64 bits in the cores' image: a kilobyte.
const TIMEOUTS: [u64; 32] = {
    let mut all = [0; 32];
    let mut code = 1;
    while code < all.len() {
        all[code] = (4096u64 << code).div_ceil(1000);
        code += 1;
    }
    all
};

/// ImmDt or IETH (sections 9.3.6 and 9.3.7): four bytes for the receiver, or the key that a SEND invalidates.
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
pub struct Word(pub U32);

/// DETH, section 9.3.2: datagrams only.
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
pub struct Deth {
    /// Q_Key.
    pub qkey: U32,
    /// Zero 31:24, source queue pair 23:0.
    pub src_qp: U32,
}
const _: () = assert!(size_of::<Deth>() == 8);

/// Path MTU codes (section 9.6.1, as CM's REQ has them): payload bytes per packet, a power of two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum PathMtu {
    /// 256 bytes.
    Bytes256 = 1,
    /// 512 bytes.
    Bytes512 = 2,
    /// 1,024 bytes.
    Bytes1024 = 3,
    /// 2,048 bytes.
    Bytes2048 = 4,
    /// 4,096 bytes.
    Bytes4096 = 5,
}

impl PathMtu {
    /// Headers around the payload that the port's MTU has to hold as well: IPv6, UDP, BTH and the longest extended
    /// header, ICRC. Linux rxe reckons with the same 80 bytes.
    pub const OVERHEAD: u16 = 80;

    /// The MTU with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Bytes256,
            2 => Self::Bytes512,
            3 => Self::Bytes1024,
            4 => Self::Bytes2048,
            5 => Self::Bytes4096,
            _ => return None,
        })
    }

    /// Payload bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        128 << self as u8
    }

    /// log2 of the payload bytes.
    #[must_use]
    pub const fn shift(self) -> u8 {
        7 + self as u8
    }

    /// The largest that fits IP packets of `mtu` bytes; `None` below 256 + [`Self::OVERHEAD`].
    #[must_use]
    pub const fn of_port(mtu: u16) -> Option<Self> {
        match mtu.saturating_sub(Self::OVERHEAD) {
            4096.. => Some(Self::Bytes4096),
            2048.. => Some(Self::Bytes2048),
            1024.. => Some(Self::Bytes1024),
            512.. => Some(Self::Bytes512),
            256.. => Some(Self::Bytes256),
            _ => None,
        }
    }
}

/// A packet, that is the payload of a UDP datagram to [`UDP_PORT`], whose lengths fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View<'a> {
    /// BTH.
    pub bth: &'a Bth,
    /// Its opcode.
    pub opcode: Opcode,
    /// RETH, if the opcode has it.
    pub reth: Option<&'a Reth>,
    /// AETH, if the opcode has it.
    pub aeth: Option<Aeth>,
    /// ImmDt or IETH, if the opcode has one.
    pub word: Option<u32>,
    /// DETH, if the opcode has it.
    pub deth: Option<&'a Deth>,
    /// Payload without padding. Behind the headers of an atomic operation, which nothing here takes apart.
    pub payload: &'a [u8],
    /// As received; unverified, see [`icrc`].
    pub icrc: u32,
}

impl<'a> View<'a> {
    /// Takes the packet apart. `None` if it is too short, of another version or opcode, or padded beyond its length.
    #[must_use]
    pub fn of(udp_payload: &'a [u8]) -> Option<Self> {
        let (packet, icrc) = udp_payload.split_last_chunk::<ICRC_LEN>()?;
        let (bth, rest) = Bth::ref_from_prefix(packet).ok()?;
        let opcode = Opcode::from_code(bth.opcode).filter(|_| bth.version() == 0)?;
        let (mut extended, rest) = rest.split_at_checked(opcode.extended_len())?;
        let payload = rest.get(..rest.len().checked_sub(bth.pad())?)?;
        let mut view = Self {
            bth,
            opcode,
            reth: None,
            aeth: None,
            word: None,
            deth: None,
            payload,
            icrc: u32::from_le_bytes(*icrc),
        };
        if opcode.has_reth() {
            let (reth, rest) = Reth::ref_from_prefix(extended).ok()?;
            (view.reth, extended) = (Some(reth), rest);
        }
        if opcode.has_aeth() {
            view.aeth = Some(Aeth::read_from_prefix(extended).ok()?.0);
        } else if let Opcode::UdSendOnly = opcode {
            view.deth = Some(Deth::ref_from_bytes(extended).ok()?);
        } else if let Ok(word) = Word::read_from_bytes(extended) {
            view.word = Some(word.0.get());
        }
        Some(view)
    }
}

const CRC32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// ICRC of an IP packet that has no VLAN tag, no IP options and no extension headers: `packet` is everything from the IP
/// header on without the ICRC. The number goes out little-endian. `None` if it is no RoCEv2 packet. A17.3.3: the fields that
/// change on the way count as ones: traffic class (TOS), flow label, hop limit (TTL), IPv4 and UDP checksums, and the byte of
/// BTH with FECN and BECN; before them 8 bytes of ones stand for the header that InfiniBand would have. Table-driven, for
/// tests and host use: the card's engines do it in hardware.
#[must_use]
pub fn icrc(packet: &[u8]) -> Option<u32> {
    let ip_len = match packet.first()? >> 4 {
        4 => 20,
        6 => 40,
        _ => return None,
    };
    let (headers, rest) = packet.split_at_checked(ip_len + 20)?;
    let mut masked = [0; 60];
    let masked = &mut masked[..headers.len()];
    masked.copy_from_slice(headers);
    if ip_len == 20 {
        (masked[1], masked[8], masked[10], masked[11]) = (0xff, 0xff, 0xff, 0xff);
    } else {
        masked[0] |= 0x0f;
        masked[1..4].fill(0xff);
        masked[7] = 0xff;
    }
    masked[ip_len + 6..ip_len + 8].fill(0xff);
    masked[ip_len + 12] = 0xff;
    let mut digest = CRC32.digest();
    digest.update(&[0xff; 8]);
    digest.update(masked);
    digest.update(rest);
    Some(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(view) = View::of(&bytes) {
                let rest = 12 + view.opcode.extended_len() + view.payload.len() + view.bth.pad() + ICRC_LEN;
                prop_assert_eq!(rest, bytes.len());
            }
            let _ = icrc(&bytes);
        }

        #[test]
        fn a_syndrome_survives_the_round_trip(code: u8) {
            if let Some(syndrome) = Syndrome::from_code(code) {
                prop_assert_eq!(syndrome.code(), code);
            }
        }
    }

    #[test]
    fn extended_headers_are_found_for_every_opcode() {
        for opcode in Opcode::ALL {
            let mut packet = [0u8; 12 + 28 + 8 + 4];
            packet[0] = *opcode as u8;
            let len = 12 + opcode.extended_len() + 8 + 4;
            let view = View::of(&packet[..len]).expect("fits");
            assert_eq!(view.payload.len(), 8, "{opcode:?}");
            assert_eq!(view.reth.is_some(), opcode.has_reth());
            assert_eq!(view.aeth.is_some(), opcode.has_aeth());
            assert!(View::of(&packet[..11 + opcode.extended_len() + 4]).is_none());
        }
        assert!(View::of(&[0x0c; 11]).is_none());
    }

    #[test]
    fn padding_beyond_the_packet_is_refused() {
        let mut packet = [0u8; 12 + 2 + 4];
        packet[0] = Opcode::SendOnly as u8;
        packet[1] = 0x30;
        assert!(View::of(&packet).is_none());
        packet[1] = 0x20;
        assert_eq!(View::of(&packet).expect("two bytes of padding").payload, []);
        packet[1] = 0x21;
        assert!(View::of(&packet).is_none(), "version 1");
    }

    /// Timer values of table 46 that Linux's `rnrnak_usec` has too.
    #[test]
    fn timers_have_the_values_of_the_standard() {
        assert_eq!(
            (rnr_micros(0), rnr_micros(1), rnr_micros(14), rnr_micros(31)),
            (655_360, 10, 1_280, 491_520)
        );
        assert_eq!(
            (
                timeout_micros(0),
                timeout_micros(1),
                timeout_micros(14),
                timeout_micros(17)
            ),
            (0, 9, 67_109, 536_871)
        );
    }

    #[test]
    fn a_path_mtu_leaves_room_for_the_headers() {
        assert_eq!(PathMtu::of_port(1500), Some(PathMtu::Bytes1024));
        assert_eq!(PathMtu::of_port(4176), Some(PathMtu::Bytes4096));
        assert_eq!(PathMtu::of_port(4175), Some(PathMtu::Bytes2048));
        assert_eq!(PathMtu::of_port(335), None);
        for code in 0..8 {
            if let Some(mtu) = PathMtu::from_code(code) {
                assert_eq!((mtu as u8, 1 << mtu.shift()), (code, mtu.bytes()));
            }
        }
    }

    /// The RTU of a Linux host, from the capture `c_rdma_rxe` (frame 3), whose ICRC tshark prints as 0x2833718a.
    #[test]
    fn the_icrc_agrees_with_a_packet_of_linux_and_covers_what_may_not_change() {
        let mut packet = [0u8; 304];
        packet[..20].copy_from_slice(&[
            0x45, 0, 1, 0x34, 0x87, 0xdc, 0x40, 0, 0x40, 0x11, 0x9d, 0xda, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        packet[20..28].copy_from_slice(&[0xd8, 0x72, 0x12, 0xb7, 1, 0x20, 0, 0]);
        packet[28..48].copy_from_slice(&[
            0x64, 0, 0xff, 0xff, 0, 0, 0, 1, 0x80, 0, 0, 1, 0x80, 1, 0, 0, 0, 0, 0, 1,
        ]);
        packet[48..66].copy_from_slice(&[
            1, 7, 2, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0x37, 0xcd, 0x1d, 0xba, 0, 0x14,
        ]);
        packet[72..80].copy_from_slice(&[0xba, 0x1d, 0xcd, 0x37, 0xb5, 0x23, 0x20, 0xbc]);
        let right = 0x2833_718a_u32.swap_bytes();
        assert_eq!(icrc(&packet), Some(right));
        for (at, same) in [
            (1, true),
            (8, true),
            (10, true),
            (26, true),
            (32, true),
            (12, false),
            (33, false),
            (100, false),
        ] {
            let mut other = packet;
            other[at] ^= 1;
            assert_eq!(icrc(&other) == Some(right), same, "byte {at}");
        }
    }
}
