//! Communication management messages, as they fill a MAD behind its header, with RoCE's way of addressing by GID.
//! Nothing here knows of connections or time.
//! Source: InfiniBand Architecture Specification, volume 1, release 1.7, section 12.6 (messages), 12.7 (fields); annex A11
//! (RDMA IP CM service: service ids and the header of private data); annex A17.4 (GIDs of RoCEv2). All fields big-endian.

use crate::{ib_mad::MadHeader, roce::MASK_24};
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32, U64},
};

/// Attribute of REQ.
pub const ATTR_REQ: u16 = 0x10;
/// Attribute of MRA.
pub const ATTR_MRA: u16 = 0x11;
/// Attribute of REJ.
pub const ATTR_REJ: u16 = 0x12;
/// Attribute of REP.
pub const ATTR_REP: u16 = 0x13;
/// Attribute of RTU.
pub const ATTR_RTU: u16 = 0x14;
/// Attribute of DREQ.
pub const ATTR_DREQ: u16 = 0x15;
/// Attribute of DREP.
pub const ATTR_DREP: u16 = 0x16;

/// Transport service type of a reliable connection.
pub const SERVICE_RC: u8 = 0;
/// Service ids of TCP's port space: this and the port (A11.2).
pub const SERVICE_TCP: u64 = 0x0000_0000_0106_0000;
/// LIDs do not exist on Ethernet; Linux writes this.
pub const NO_LID: u16 = 0xffff;

/// A port's address. IPv4 addresses are mapped: `::ffff:a.b.c.d`.
pub type Gid = [u8; 16];

/// The GID of an IPv4 address.
#[must_use]
pub const fn gid_of_ipv4([a, b, c, d]: [u8; 4]) -> Gid {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// The IPv4 address of a GID, if it is one.
#[must_use]
pub fn ipv4_of_gid(gid: &Gid) -> Option<[u8; 4]> {
    let (prefix, last) = gid.split_last_chunk::<4>()?;
    (prefix == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]).then_some(*last)
}

/// The port in a service id of TCP's port space.
#[must_use]
pub const fn service_port(service_id: u64) -> Option<u16> {
    if service_id & !0xffff == SERVICE_TCP {
        Some(service_id as u16)
    } else {
        None
    }
}

/// One end's path of a REQ (table 106).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Path {
    /// LID of the sender; none on Ethernet.
    pub local_lid: U16,
    /// LID of the receiver.
    pub remote_lid: U16,
    /// GID of the sender of the REQ.
    pub local_gid: Gid,
    /// GID of its receiver.
    pub remote_gid: Gid,
    /// Flow label 31:12, packet rate 5:0.
    pub flow_rate: U32,
    /// Traffic class.
    pub traffic_class: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// SL 7:4, subnet local 3.
    pub sl: u8,
    /// Local ACK timeout 7:3: 4.096 µs × 2^n.
    pub ack_timeout: u8,
}
const _: () = assert!(size_of::<Path>() == 44);

/// REQ: asks for a connection.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Req {
    /// MAD header.
    pub mad: MadHeader,
    /// Communication id of the sender.
    pub local_comm_id: U32,
    /// Zero.
    pub reserved4: U32,
    /// Service: [`service_port`].
    pub service_id: U64,
    /// Node of the sender.
    pub local_ca_guid: U64,
    /// Zero.
    pub reserved24: U32,
    /// Q_Key; datagrams only.
    pub local_qkey: U32,
    /// Queue pair of the sender 31:8; responder resources 7:0: RDMA READs it can serve at once.
    pub qpn_resources: U32,
    /// Zero 31:8; initiator depth 7:0: RDMA READs it will have outstanding.
    pub eecn_depth: U32,
    /// Zero 31:8; remote CM response timeout 7:3; transport service type 2:1; end-to-end flow control 0.
    pub remote_timeout: U32,
    /// First PSN that the receiver is to send 31:8; local CM response timeout 7:3; retry count 2:0.
    pub psn_timeout: U32,
    /// P_Key.
    pub pkey: U16,
    /// Path MTU 7:4, RDC exists 3, RNR retry count 2:0.
    pub mtu_rnr: u8,
    /// CM retries 7:4, SRQ 3, extended transport type 2:0.
    pub cm_retries: u8,
    /// The path.
    pub primary: Path,
    /// An alternative; zero on Ethernet.
    pub alternate: Path,
    /// Private data: [`IpCmHeader`] and what the service wants.
    pub private: [u8; 92],
}
const _: () = assert!(size_of::<Req>() == 256);

impl Req {
    /// Queue pair of the sender.
    #[must_use]
    pub const fn qpn(&self) -> u32 {
        self.qpn_resources.get() >> 8
    }

    /// RDMA READs the sender can serve at once.
    #[must_use]
    pub const fn responder_resources(&self) -> u8 {
        self.qpn_resources.get() as u8
    }

    /// RDMA READs the sender will have outstanding.
    #[must_use]
    pub const fn initiator_depth(&self) -> u8 {
        self.eecn_depth.get() as u8
    }

    /// First PSN that the receiver of the REQ is to send (12.7.31), not the sender's own.
    #[must_use]
    pub const fn starting_psn(&self) -> u32 {
        self.psn_timeout.get() >> 8
    }

    /// How long the sender takes at most to answer a CM message, as a timeout code.
    #[must_use]
    pub const fn local_cm_timeout(&self) -> u8 {
        self.psn_timeout.get() as u8 >> 3
    }

    /// Retries before a queue pair gives up, 0 to 7.
    #[must_use]
    pub const fn retry_count(&self) -> u8 {
        self.psn_timeout.get() as u8 & 7
    }

    /// Transport service type.
    #[must_use]
    pub const fn service_type(&self) -> u8 {
        self.remote_timeout.get() as u8 >> 1 & 3
    }

    /// Path MTU code.
    #[must_use]
    pub const fn mtu_code(&self) -> u8 {
        self.mtu_rnr >> 4
    }

    /// Retries after RNR NAK, 0 to 7; 7 is "for ever".
    #[must_use]
    pub const fn rnr_retry_count(&self) -> u8 {
        self.mtu_rnr & 7
    }

    /// Times a CM message is repeated.
    #[must_use]
    pub const fn max_cm_retries(&self) -> u8 {
        self.cm_retries >> 4
    }
}

/// Opens the private data of a REQ to an IP service (A11.2.1, table "IP CM private data").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IpCmHeader {
    /// Major version 7:4, minor version 3:0: 0.
    pub version: u8,
    /// IP version 7:4: 4 or 6.
    pub ip_version: u8,
    /// Source port.
    pub src_port: U16,
    /// Source address; an IPv4 address lies in the last 4 bytes.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
}
const _: () = assert!(size_of::<IpCmHeader>() == 36);

/// REP: accepts a REQ (table 110).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Rep {
    /// MAD header.
    pub mad: MadHeader,
    /// Communication id of the sender.
    pub local_comm_id: U32,
    /// That of the REQ.
    pub remote_comm_id: U32,
    /// Q_Key; datagrams only.
    pub local_qkey: U32,
    /// Queue pair of the sender 31:8.
    pub qpn: U32,
    /// Zero.
    pub eecn: U32,
    /// First PSN that the receiver of the REP is to send 31:8.
    pub psn: U32,
    /// RDMA READs it can serve at once.
    pub responder_resources: u8,
    /// RDMA READs it will have outstanding.
    pub initiator_depth: u8,
    /// Target ACK delay 7:3, failover accepted 2:1, end-to-end flow control 0.
    pub ack_delay: u8,
    /// RNR retry count 7:5, SRQ 4.
    pub rnr_srq: u8,
    /// Node of the sender.
    pub local_ca_guid: U64,
    /// Private data.
    pub private: [u8; 196],
}
const _: () = assert!(size_of::<Rep>() == 256);

/// RTU and DREP: two ids and private data (tables 111 and 113).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Rtu {
    /// MAD header.
    pub mad: MadHeader,
    /// Communication id of the sender.
    pub local_comm_id: U32,
    /// That of the receiver.
    pub remote_comm_id: U32,
    /// Private data.
    pub private: [u8; 224],
}
const _: () = assert!(size_of::<Rtu>() == 256);

/// DREP has the layout of RTU.
pub type Drep = Rtu;

/// REJ (table 108).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Rej {
    /// MAD header.
    pub mad: MadHeader,
    /// Communication id of the sender; 0 if it has none.
    pub local_comm_id: U32,
    /// That of the receiver.
    pub remote_comm_id: U32,
    /// What is rejected 7:6, a [`Rejected`].
    pub rejected: u8,
    /// Bytes of additional information 7:1.
    pub info_len: u8,
    /// A [`RejectReason`].
    pub reason: U16,
    /// Additional information: by reason what would be accepted.
    pub info: [u8; 72],
    /// Private data.
    pub private: [u8; 148],
}
const _: () = assert!(size_of::<Rej>() == 256);

/// The message that a REJ or MRA is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Rejected {
    /// A REQ.
    Req = 0,
    /// A REP.
    Rep = 1,
    /// Anything else.
    Other = 2,
}

/// Reasons of a REJ (table 109), those this project gives or has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum RejectReason {
    /// No queue pair.
    NoQp = 1,
    /// Nothing left.
    NoResources = 3,
    /// The peer did not answer.
    Timeout = 4,
    /// A request that is not supported.
    Unsupported = 5,
    /// Communication id not known.
    InvalidCommId = 6,
    /// Ids known, but not together.
    InvalidCommInstance = 7,
    /// Nobody listens.
    InvalidServiceId = 8,
    /// Not a reliable connection.
    InvalidTransportType = 9,
    /// The queue pair of the sender is in a connection already; that one is over.
    StaleConnection = 10,
    /// The GID is not of this port, or not the packet's.
    InvalidGid = 12,
    /// Path MTU too large; the additional information has one byte, the largest.
    InvalidMtu = 26,
    /// Too few responder resources.
    InsufficientResources = 27,
    /// See the private data.
    Consumer = 28,
}

/// MRA (table 107): the answer will take longer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Mra {
    /// MAD header.
    pub mad: MadHeader,
    /// Communication id of the sender.
    pub local_comm_id: U32,
    /// That of the receiver.
    pub remote_comm_id: U32,
    /// The message that was received 7:6, a [`Rejected`].
    pub message: u8,
    /// Service timeout 7:3: 4.096 µs × 2^n.
    pub timeout: u8,
    /// Private data.
    pub private: [u8; 222],
}
const _: () = assert!(size_of::<Mra>() == 256);

/// DREQ (table 112).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Dreq {
    /// MAD header.
    pub mad: MadHeader,
    /// Communication id of the sender.
    pub local_comm_id: U32,
    /// That of the receiver.
    pub remote_comm_id: U32,
    /// Queue pair of the receiver 31:8.
    pub remote_qpn: U32,
    /// Private data.
    pub private: [u8; 220],
}
const _: () = assert!(size_of::<Dreq>() == 256);

/// A 24-bit number in the upper three bytes of a word, as CM has them.
#[must_use]
pub const fn high24(value: u32, low: u8) -> U32 {
    U32::new((value & MASK_24) << 8 | low as u32)
}

/// A CM message by its attribute.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Asks for a connection.
    Req(&'a Req),
    /// Wants patience.
    Mra(&'a Mra),
    /// Refuses.
    Rej(&'a Rej),
    /// Accepts.
    Rep(&'a Rep),
    /// The accepting side may send now.
    Rtu(&'a Rtu),
    /// Asks for the end.
    Dreq(&'a Dreq),
    /// Confirms it.
    Drep(&'a Drep),
}

impl<'a> Message<'a> {
    /// The message in a MAD; `None` if it is of another class or version, or of an attribute not known here.
    #[must_use]
    pub fn of(mad: &'a [u8; 256]) -> Option<Self> {
        let (header, _) = MadHeader::ref_from_prefix(mad).ok()?;
        if !header.is_cm() {
            return None;
        }
        Some(match header.attribute.get() {
            ATTR_REQ => Self::Req(zerocopy::transmute_ref!(mad)),
            ATTR_MRA => Self::Mra(zerocopy::transmute_ref!(mad)),
            ATTR_REJ => Self::Rej(zerocopy::transmute_ref!(mad)),
            ATTR_REP => Self::Rep(zerocopy::transmute_ref!(mad)),
            ATTR_RTU => Self::Rtu(zerocopy::transmute_ref!(mad)),
            ATTR_DREQ => Self::Dreq(zerocopy::transmute_ref!(mad)),
            ATTR_DREP => Self::Drep(zerocopy::transmute_ref!(mad)),
            _ => return None,
        })
    }

    /// The MAD header.
    #[must_use]
    pub const fn mad(&self) -> &'a MadHeader {
        match self {
            Self::Req(m) => &m.mad,
            Self::Mra(m) => &m.mad,
            Self::Rej(m) => &m.mad,
            Self::Rep(m) => &m.mad,
            Self::Rtu(m) | Self::Drep(m) => &m.mad,
            Self::Dreq(m) => &m.mad,
        }
    }
}

/// A message of type `T`, all zeros but its MAD header, in `mad`.
pub fn start<T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned>(
    mad: &mut [u8; 256],
    attribute: u16,
    tid: u64,
) -> Option<&mut T> {
    mad.zero();
    let header = MadHeader::cm(attribute, tid);
    mad[..24].copy_from_slice(header.as_bytes());
    T::mut_from_bytes(mad).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    /// Byte offsets of tables 106, 108, 110 and 112, behind the MAD header; Linux's `ibta_vol1_c12.h` has the same.
    #[test]
    fn fields_lie_where_the_tables_have_them() {
        let at = |offset: usize| offset - 24;
        assert_eq!(at(offset_of!(Req, qpn_resources)), 32);
        assert_eq!(at(offset_of!(Req, psn_timeout)), 44);
        assert_eq!(at(offset_of!(Req, pkey)), 48);
        assert_eq!(at(offset_of!(Req, primary)), 52);
        assert_eq!(at(offset_of!(Req, alternate)), 96);
        assert_eq!(at(offset_of!(Req, private)), 140);
        assert_eq!(at(offset_of!(Rep, psn)), 20);
        assert_eq!(at(offset_of!(Rep, rnr_srq)), 27);
        assert_eq!(at(offset_of!(Rep, private)), 36);
        assert_eq!(at(offset_of!(Rej, reason)), 10);
        assert_eq!(at(offset_of!(Rej, private)), 84);
        assert_eq!(at(offset_of!(Mra, private)), 10);
        assert_eq!(at(offset_of!(Dreq, private)), 12);
        assert_eq!(at(offset_of!(Rtu, private)), 8);
    }

    #[test]
    fn an_ipv4_address_is_mapped_into_a_gid_and_back() {
        let gid = gid_of_ipv4([10, 0, 0, 2]);
        assert_eq!(ipv4_of_gid(&gid), Some([10, 0, 0, 2]));
        assert_eq!(ipv4_of_gid(&[0xfe; 16]), None);
    }

    #[test]
    fn a_service_id_names_a_port_of_tcp_only() {
        assert_eq!(service_port(0x0106_1144), Some(4420));
        assert_eq!(service_port(0x0111_1144), None);
        assert_eq!(service_port(0x1_0106_1144), None);
    }

    #[test]
    fn a_message_started_is_recognised() {
        let mut mad = [0xa5; 256];
        let rej = start::<Rej>(&mut mad, ATTR_REJ, 7).expect("a MAD has the size");
        rej.reason = U16::new(RejectReason::Consumer as u16);
        let Some(Message::Rej(rej)) = Message::of(&mad) else {
            panic!("not a REJ")
        };
        assert_eq!(
            (rej.reason.get(), rej.mad.tid.get(), rej.private[147]),
            (28, 7, 0)
        );
        mad[1] = 4;
        assert!(Message::of(&mad).is_none());
    }
}
