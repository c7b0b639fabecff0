//! RoCEv2 as the engines speak it: what rx reports of a packet and what one transmit job says. Both fit the 16 words of the
//! descriptors in `docs/card.md`, section 3; [`RoceRx::from_words`] and [`RoceJob::to_words`] are the layout, word by word.
//!
//! The rx engine drops (and counts) packets with a wrong ICRC, and those with a transport version other than 0, an unknown
//! opcode, IPv4 options, a length that is no multiple of 4, headers that do not fit, or padding beyond the payload. Steering:
//! each packet goes to the core that bits 23:20 of its destination queue pair number name, core 0 if there is none; so queue
//! pair 1 is core 0's, and a CNP goes to the core of the queue pair that is to slow down. See [`RoceRx::core`].
//!
//! ## Receive descriptor
//!
//! Words 0 to 4, 9 to 12 lie as for TCP where they mean the same.
//!
//! | word | bits and fields |
//! |---|---|
//! | 0 | 11:0 buffer number; 29:16 frame length |
//! | 1 | 10:0 flags as for TCP (IPv4 or IPv6, UDP, VLAN, CE); 11 RoCE; 31:16 VLAN TCI |
//! | 2 | 7:0 L3 offset; 15:8 L4 offset; 23:16 payload offset; 31:24 BTH opcode |
//! | 3 | 15:0 payload length without padding and ICRC; 31:16 P_Key |
//! | 4 | 15:0 source port; 17:16 pad count; 18 solicited event; 19 AckReq; 20 FECN; 21 BECN |
//! | 5 | 23:0 destination queue pair |
//! | 6 | 23:0 PSN |
//! | 7 | AETH, or ImmDt, or IETH, or Q_Key of DETH |
//! | 8 | RETH address 31:0, or source queue pair of DETH |
//! | 9 | flow hash |
//! | 10 | IPv4 source address |
//! | 11 | IPv4 destination address |
//! | 12 | arrival time |
//! | 13 | RETH address 63:32 |
//! | 14 | RETH memory key |
//! | 15 | RETH length |
//!
//! ## Transmit job
//!
//! | word | bits and fields |
//! |---|---|
//! | 0 | 0 zero; 7 RoCE; 6:4 gather entries (0 to 4); 11:8 message kind (from 0: SEND, SEND with invalidate, WRITE, READ request, READ response, acknowledgment, CNP, datagram, WRITE and SEND, WRITE and SEND with invalidate); 12 the job has the message's first packet; 13 and its last; 14 AckReq on the job's last packet; 15 solicited event on it; 23:16 AckReq on every n-th packet besides (0: none) |
//! | 1 | 23:0 template address; 26:24 path MTU code (1 to 5); 27 the template has a VLAN tag; 28 it is IPv6 |
//! | 2 | RETH length, or READ request length |
//! | 3 | 23:0 destination queue pair |
//! | 4 | 23:0 PSN of the job's first packet |
//! | 5 | RETH memory key, or IETH, or AETH, or Q_Key |
//! | 6 | RETH address 31:0, or source queue pair |
//! | 7 | RETH address 63:32 |
//! | 8 + 2i | address of gather entry i (23:0) |
//! | 9 + 2i | its length in bytes (17:0) |
//!
//! The template is Ethernet, IP and UDP header; BTH and what follows is made by the engine: P_Key FFFFh, MigReq 0, TVer 0.
//! It fills in the IP and UDP lengths, the IPv4 header checksum, a UDP checksum of 0 and the ICRC. READ requests take one packet but `ceil(length / MTU)` PSNs (at least one); everything else takes one PSN a packet.

use crate::{BufId, MAX_GATHER, Micros, PmAddr, PmSlice, layout, rx::RxFlags};

/// Words of a descriptor.
pub const WORDS: usize = 16;
/// Bits 23:20 of a queue pair number are the core it lives on.
pub const QPN_CORE_SHIFT: u32 = 20;
/// `flags` bit of [`RoceRx`]: a RoCEv2 packet whose ICRC is right.
pub const FLAG_ROCE: u32 = RxFlags::ROCE;

/// A RoCE packet received. Its ICRC was right and its lengths fit. Fields that its opcode does not have are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoceRx {
    /// Where the frame lies.
    pub buf: BufId,
    /// Frame length, FCS excluded, bytes.
    pub frame_len: u16,
    /// [`RxFlags`], [`RxFlags::ROCE`] among them; [`RxFlags::L4_OK`] speaks of the ICRC.
    pub flags: RxFlags,
    /// TCI when [`RxFlags::VLAN`].
    pub vlan: u16,
    /// IP header, from the start of the frame.
    pub l3_offset: u8,
    /// UDP header, from the start of the frame.
    pub l4_offset: u8,
    /// Payload behind all headers, from the start of the frame.
    pub payload_offset: u8,
    /// BTH opcode as it came.
    pub opcode: u8,
    /// Payload bytes without padding and ICRC.
    pub payload_len: u16,
    /// P_Key.
    pub pkey: u16,
    /// UDP source port.
    pub src_port: u16,
    /// PadCnt, 0 to 3.
    pub pad: u8,
    /// SE.
    pub solicited: bool,
    /// AckReq.
    pub ack_req: bool,
    /// FECN.
    pub fecn: bool,
    /// BECN.
    pub becn: bool,
    /// Destination queue pair, 24 bits.
    pub dest_qp: u32,
    /// PSN, 24 bits.
    pub psn: u32,
    /// AETH, ImmDt, IETH, or Q_Key, by opcode.
    pub word: u32,
    /// Flow hash.
    pub flow_hash: u32,
    /// IPv4 source as a big-endian number; 0 for IPv6: read the frame.
    pub src_ip4: u32,
    /// IPv4 destination.
    pub dst_ip4: u32,
    /// When the last byte came in, low 32 bits of the microsecond clock.
    pub time_us: u32,
    /// RETH address; of a datagram the source queue pair.
    pub va: u64,
    /// RETH memory key.
    pub rkey: u32,
    /// RETH length, bytes.
    pub dma_len: u32,
}

/// Opcodes of reliable connections with an address, a key and a length: RDMA WRITEs that begin a message, RDMA READ requests,
/// atomic operations (IBA, table 38).
const WITH_ADDRESS: u32 = 1 << 0x06 | 1 << 0x0a | 1 << 0x0b | 1 << 0x0c | 1 << 0x13 | 1 << 0x14;

impl RoceRx {
    /// The whole frame.
    #[must_use]
    pub fn frame(&self) -> PmSlice {
        PmSlice::new(
            self.buf.addr().plus(layout::RX_OFFSET),
            u32::from(self.frame_len),
        )
    }

    /// The payload, where it lies in the frame buffer.
    #[must_use]
    pub fn payload(&self) -> PmSlice {
        PmSlice::new(
            self.frame().addr.plus(u32::from(self.payload_offset)),
            u32::from(self.payload_len),
        )
    }

    /// The IP header met congestion.
    #[must_use]
    pub const fn congested(&self) -> bool {
        self.flags.has(RxFlags::CE)
    }

    /// The core this packet belongs to, by its queue pair number.
    #[must_use]
    pub const fn core(&self) -> u8 {
        (self.dest_qp >> QPN_CORE_SHIFT) as u8 & 15
    }

    /// Arrival time, given a clock that is at most an hour ahead of it.
    #[must_use]
    pub const fn arrived(&self, now: Micros) -> Micros {
        Micros(now.0 - (now.0 as u32).wrapping_sub(self.time_us) as u64)
    }

    /// From a descriptor, of which only those words are asked for that its opcode has.
    #[inline(always)]
    pub fn from_used_words(mut word: impl FnMut(usize) -> u32) -> Self {
        let mut w = [0; WORDS];
        for i in [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12] {
            w[i] = word(i);
        }
        let opcode = w[2] >> 24;
        if opcode > 31 || WITH_ADDRESS >> opcode & 1 != 0 {
            for i in [8, 13, 14, 15] {
                w[i] = word(i);
            }
        }
        Self::from_words(&w)
    }

    /// From a descriptor.
    #[must_use]
    #[inline(always)]
    pub const fn from_words(w: &[u32; WORDS]) -> Self {
        Self {
            buf: BufId(w[0] as u16 & 0xfff),
            frame_len: (w[0] >> 16) as u16 & 0x3fff,
            flags: RxFlags(w[1] & 0xfff),
            vlan: (w[1] >> 16) as u16,
            l3_offset: w[2] as u8,
            l4_offset: (w[2] >> 8) as u8,
            payload_offset: (w[2] >> 16) as u8,
            opcode: (w[2] >> 24) as u8,
            payload_len: w[3] as u16,
            pkey: (w[3] >> 16) as u16,
            src_port: w[4] as u16,
            pad: (w[4] >> 16) as u8 & 3,
            solicited: w[4] >> 18 & 1 != 0,
            ack_req: w[4] >> 19 & 1 != 0,
            fecn: w[4] >> 20 & 1 != 0,
            becn: w[4] >> 21 & 1 != 0,
            dest_qp: w[5] & 0xff_ffff,
            psn: w[6] & 0xff_ffff,
            word: w[7],
            flow_hash: w[9],
            src_ip4: w[10],
            dst_ip4: w[11],
            time_us: w[12],
            va: w[8] as u64 | (w[13] as u64) << 32,
            rkey: w[14],
            dma_len: w[15],
        }
    }

    /// As a descriptor.
    #[must_use]
    pub const fn to_words(&self) -> [u32; WORDS] {
        [
            self.buf.0 as u32 | (self.frame_len as u32) << 16,
            self.flags.0 | (self.vlan as u32) << 16,
            self.l3_offset as u32
                | (self.l4_offset as u32) << 8
                | (self.payload_offset as u32) << 16
                | (self.opcode as u32) << 24,
            self.payload_len as u32 | (self.pkey as u32) << 16,
            self.src_port as u32
                | (self.pad as u32) << 16
                | (self.solicited as u32) << 18
                | (self.ack_req as u32) << 19
                | (self.fecn as u32) << 20
                | (self.becn as u32) << 21,
            self.dest_qp,
            self.psn,
            self.word,
            self.va as u32,
            self.flow_hash,
            self.src_ip4,
            self.dst_ip4,
            self.time_us,
            (self.va >> 32) as u32,
            self.rkey,
            self.dma_len,
        ]
    }
}

/// Where an RDMA operation reaches into the peer's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Remote {
    /// Virtual address of the message's first byte.
    pub va: u64,
    /// Memory key.
    pub rkey: u32,
    /// Bytes of the whole message.
    pub len: u32,
}

/// What a job sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoceMessage {
    /// SEND.
    Send,
    /// SEND with invalidate of this key; the last packet says so.
    SendInvalidate(u32),
    /// RDMA WRITE; the first packet has the RETH.
    Write(Remote),
    /// RDMA READ request: no payload.
    ReadRequest(Remote),
    /// READ response; the AETH goes into the first and last packet.
    ReadResponse(u32),
    /// ACK or NAK with this AETH: no payload.
    Acknowledge(u32),
    /// Congestion notification: no payload; BECN set, PSN 0, 16 zero bytes.
    Cnp,
    /// Unreliable datagram of one packet, for queue pair 1.
    Datagram {
        /// Q_Key.
        qkey: u32,
        /// Own queue pair.
        src_qp: u32,
    },
    /// RDMA WRITE of all gather entries but the last, and behind it a SEND of the last one, which is one packet: the data and the
    /// response of a command. The run ends both messages; `starts` speaks of the WRITE, AckReq and solicited event of the SEND.
    WriteSend {
        /// Of the WRITE.
        remote: Remote,
        /// The SEND invalidates the WRITE's key.
        invalidate: bool,
    },
}

/// AckReq on a job's packets. Linux rxe never acknowledges a packet without it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AckRule {
    /// On the job's last packet.
    pub last: bool,
    /// On every n-th packet of the job besides; 0 for none.
    pub every: u8,
}

/// Work for the tx engine: one message, or a run of whole packets of one, which the engine cuts at the path MTU. `starts`
/// and `ends` say whether the run has the message's first and last packet, and with that which opcodes its packets get: so a
/// message can be taken up again at any PSN. A run that does not end the message is a whole number of MTUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoceJob {
    /// Ethernet, IP and UDP header in packet memory.
    pub template: PmAddr,
    /// The template has a VLAN tag.
    pub vlan: bool,
    /// The template is IPv6.
    pub ipv6: bool,
    /// Destination queue pair.
    pub dest_qp: u32,
    /// What is sent.
    pub message: RoceMessage,
    /// PSN of the first packet.
    pub psn: u32,
    /// Path MTU code: 1 to 5 for 256 to 4,096 payload bytes per packet.
    pub mtu_code: u8,
    /// The run begins with the message's first packet.
    pub starts: bool,
    /// The run ends with the message's last packet.
    pub ends: bool,
    /// AckReq.
    pub ack: AckRule,
    /// Solicited event on the last packet.
    pub solicited: bool,
    /// Payload in order; at most 4 pieces of at most 128 KiB. Entries beyond `gather_len` are ignored.
    pub gather: [PmSlice; MAX_GATHER],
    /// Used entries of `gather`.
    pub gather_len: u8,
}

mod kind {
    pub const SEND: u32 = 0;
    pub const SEND_INVALIDATE: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const READ_REQUEST: u32 = 3;
    pub const READ_RESPONSE: u32 = 4;
    pub const ACKNOWLEDGE: u32 = 5;
    pub const CNP: u32 = 6;
    pub const DATAGRAM: u32 = 7;
    pub const WRITE_SEND: u32 = 8;
    pub const WRITE_SEND_INVALIDATE: u32 = 9;
}

impl RoceJob {
    /// A message without payload, or one whose payload is still to be set: first and last packet in one run.
    #[must_use]
    pub const fn new(message: RoceMessage, dest_qp: u32, psn: u32) -> Self {
        Self {
            template: PmAddr(0),
            vlan: false,
            ipv6: false,
            dest_qp,
            message,
            psn,
            mtu_code: 1,
            starts: true,
            ends: true,
            ack: AckRule {
                last: false,
                every: 0,
            },
            solicited: false,
            gather: [PmSlice::new(PmAddr(0), 0); MAX_GATHER],
            gather_len: 0,
        }
    }

    /// Payload bytes in all.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        self.gather
            .iter()
            .take(usize::from(self.gather_len))
            .map(|s| s.len)
            .sum()
    }

    /// Ethernet, IP and UDP header, bytes.
    #[must_use]
    pub const fn header_len(&self) -> u32 {
        self.l3_offset() + if self.ipv6 { 48 } else { 28 }
    }

    /// IP header, from the start of the template.
    #[must_use]
    pub const fn l3_offset(&self) -> u32 {
        if self.vlan { 18 } else { 14 }
    }

    /// The descriptor's words before the gather entries, as far as the message has them: a core writes no others.
    #[inline(always)]
    pub fn head_words(&self, mut put: impl FnMut(usize, u32)) {
        let kind = match self.message {
            RoceMessage::Send => kind::SEND,
            RoceMessage::SendInvalidate(key) => {
                put(5, key);
                kind::SEND_INVALIDATE
            }
            RoceMessage::Write(remote) | RoceMessage::ReadRequest(remote) => {
                put(2, remote.len);
                put(5, remote.rkey);
                put(6, remote.va as u32);
                put(7, (remote.va >> 32) as u32);
                if matches!(self.message, RoceMessage::Write(_)) {
                    kind::WRITE
                } else {
                    kind::READ_REQUEST
                }
            }
            RoceMessage::ReadResponse(aeth) => {
                put(5, aeth);
                kind::READ_RESPONSE
            }
            RoceMessage::Acknowledge(aeth) => {
                put(5, aeth);
                kind::ACKNOWLEDGE
            }
            RoceMessage::Cnp => kind::CNP,
            RoceMessage::WriteSend { remote, invalidate } => {
                put(2, remote.len);
                put(5, remote.rkey);
                put(6, remote.va as u32);
                put(7, (remote.va >> 32) as u32);
                if invalidate {
                    kind::WRITE_SEND_INVALIDATE
                } else {
                    kind::WRITE_SEND
                }
            }
            RoceMessage::Datagram { qkey, src_qp } => {
                put(5, qkey);
                put(6, src_qp);
                kind::DATAGRAM
            }
        };
        put(
            0,
            1 << 7
                | u32::from(self.gather_len) << 4
                | kind << 8
                | u32::from(self.starts) << 12
                | u32::from(self.ends) << 13
                | u32::from(self.ack.last) << 14
                | u32::from(self.solicited) << 15
                | u32::from(self.ack.every) << 16,
        );
        put(
            1,
            self.template.0
                | u32::from(self.mtu_code) << 24
                | u32::from(self.vlan) << 27
                | u32::from(self.ipv6) << 28,
        );
        put(3, self.dest_qp);
        put(4, self.psn);
    }

    /// As a descriptor.
    #[must_use]
    pub fn to_words(&self) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        self.head_words(|i, word| words[i] = word);
        for (pair, piece) in words[8..].chunks_exact_mut(2).zip(&self.gather) {
            pair[0] = piece.addr.0;
            pair[1] = piece.len;
        }
        words
    }

    /// From a descriptor; `None` if it is no RoCE job or of an unknown kind.
    #[must_use]
    pub fn from_words(w: &[u32; WORDS]) -> Option<Self> {
        if w[0] & 0x81 != 0x80 {
            return None;
        }
        let remote = Remote {
            va: u64::from(w[6]) | u64::from(w[7]) << 32,
            rkey: w[5],
            len: w[2],
        };
        let message = match w[0] >> 8 & 15 {
            kind::SEND => RoceMessage::Send,
            kind::SEND_INVALIDATE => RoceMessage::SendInvalidate(w[5]),
            kind::WRITE => RoceMessage::Write(remote),
            kind::READ_REQUEST => RoceMessage::ReadRequest(remote),
            kind::READ_RESPONSE => RoceMessage::ReadResponse(w[5]),
            kind::ACKNOWLEDGE => RoceMessage::Acknowledge(w[5]),
            kind::CNP => RoceMessage::Cnp,
            kind::DATAGRAM => RoceMessage::Datagram {
                qkey: w[5],
                src_qp: w[6],
            },
            kind::WRITE_SEND | kind::WRITE_SEND_INVALIDATE => RoceMessage::WriteSend {
                remote,
                invalidate: w[0] >> 8 & 1 != 0,
            },
            _ => return None,
        };
        let mut job = Self::new(message, w[3] & 0xff_ffff, w[4] & 0xff_ffff);
        job.template = PmAddr(w[1] & 0xff_ffff);
        job.mtu_code = (w[1] >> 24) as u8 & 7;
        job.vlan = w[1] >> 27 & 1 != 0;
        job.ipv6 = w[1] >> 28 & 1 != 0;
        job.gather_len = (w[0] >> 4) as u8 & 7;
        job.starts = w[0] >> 12 & 1 != 0;
        job.ends = w[0] >> 13 & 1 != 0;
        job.ack.last = w[0] >> 14 & 1 != 0;
        job.solicited = w[0] >> 15 & 1 != 0;
        job.ack.every = (w[0] >> 16) as u8;
        for (piece, pair) in job.gather.iter_mut().zip(w[8..].chunks_exact(2)) {
            *piece = PmSlice::new(PmAddr(pair[0] & 0xff_ffff), pair[1] & 0x3_ffff);
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_descriptor_keeps_every_bit_of_its_words() {
        let words: [u32; WORDS] =
            core::array::from_fn(|i| 0x9e37_79b9u32.wrapping_mul(i as u32 + 1));
        let rx = RoceRx::from_words(&words);
        let again = rx.to_words();
        assert_eq!(RoceRx::from_words(&again), rx);
        for i in [2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15] {
            assert_eq!(again[i], words[i], "word {i}");
        }
    }

    #[test]
    fn a_job_survives_its_descriptor() {
        let remote = Remote {
            va: 0x1122_3344_5566_7788,
            rkey: 0x99aa_bbcc,
            len: 0x00dd_eeff,
        };
        for message in [
            RoceMessage::Send,
            RoceMessage::SendInvalidate(0x1234_5678),
            RoceMessage::Write(remote),
            RoceMessage::ReadRequest(remote),
            RoceMessage::ReadResponse(0x1f00_0001),
            RoceMessage::Acknowledge(0x6000_0001),
            RoceMessage::Cnp,
            RoceMessage::Datagram {
                qkey: 0x8001_0000,
                src_qp: 1,
            },
        ] {
            let mut job = RoceJob::new(message, 0x12_3456, 0xff_fffe);
            job.template = PmAddr(0x58_0002);
            job.mtu_code = 5;
            job.gather = [PmSlice::new(PmAddr(0x64_0000), 0x2_0000); MAX_GATHER];
            job.gather_len = 4;
            (job.vlan, job.ipv6, job.starts, job.solicited) = (true, true, false, true);
            job.ack = AckRule {
                last: true,
                every: 16,
            };
            assert_eq!(RoceJob::from_words(&job.to_words()), Some(job));
        }
        assert_eq!(RoceJob::from_words(&[0; WORDS]), None);
    }
}
