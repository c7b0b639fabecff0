//! Messages that the connection manager sends, written into a MAD, and those it receives, read out of a frame.

use super::{CmConfig, conn::Conn, request::Refusal};
use crate::{Link, MAX_HEADER, Peer};
use sluice_hal::{
    PmAddr, PmSlice,
    roce::{RoceJob, RoceMessage, RoceRx},
};
use sluice_wire::{
    ethernet,
    ib_cm::{
        ATTR_DREP, ATTR_DREQ, ATTR_REJ, ATTR_REP, Drep, Dreq, Rej, RejectReason, Rejected, Rep,
        gid_of_ipv4, high24, start,
    },
    ib_mad::{GSI_QKEY, GSI_QPN, MAD_LEN},
    nvme_rdma::{RECFMT, RejectData, ReplyData},
    roce::Opcode,
};
use zerocopy::{FromBytes, IntoBytes};

/// A management datagram, with who sent it.
#[derive(Clone, Copy, Debug)]
pub struct CmPacket<'a> {
    /// Sender and receiver, with what an answer needs.
    pub peer: Peer,
    /// The datagram.
    pub mad: &'a [u8; MAD_LEN],
}

/// Reads a management datagram out of the frame buffer it came in; `None` if the packet is none (another opcode, queue
/// pair, Q_Key, partition or length). The caller frees the buffer.
pub fn receive<'a, L: Link>(
    rx: &RoceRx,
    mad: &'a mut [u8; MAD_LEN],
    link: &mut L,
) -> Option<CmPacket<'a>> {
    let is_mad = rx.opcode == Opcode::UdSendOnly as u8
        && rx.dest_qp == GSI_QPN
        && rx.word == GSI_QKEY
        && rx.va == u64::from(GSI_QPN)
        && rx.pkey & 0x7fff == 0x7fff
        && usize::from(rx.payload_len) == MAD_LEN;
    if !is_mad {
        return None;
    }
    let mut ethernet = [0; size_of::<ethernet::Header>()];
    link.read(rx.frame().addr, &mut ethernet);
    let mac = ethernet::Header::ref_from_bytes(&ethernet).ok()?.src;
    let (gid, own) = if rx.src_ip4 != 0 {
        (
            gid_of_ipv4(rx.src_ip4.to_be_bytes()),
            gid_of_ipv4(rx.dst_ip4.to_be_bytes()),
        )
    } else {
        let mut ends = [[0; 16]; 2];
        let at = rx.frame().addr.plus(u32::from(rx.l3_offset) + 8);
        link.read(at, ends.as_flattened_mut());
        (ends[0], ends[1])
    };
    link.read(rx.payload().addr, mad);
    let tci = rx.vlan;
    Some(CmPacket {
        peer: Peer {
            mac,
            tci,
            gid,
            own,
            src_port: rx.src_port,
        },
        mad,
    })
}

/// Writes the header of a datagram to `peer` at `at` (4-byte aligned + 2, [`MAX_HEADER`] bytes) and returns the job that
/// sends the 256 bytes at `mad` behind it.
pub fn datagram<L: Link>(
    peer: &Peer,
    own_mac: [u8; 6],
    dscp: u8,
    psn: u32,
    at: PmAddr,
    mad: PmAddr,
    link: &mut L,
) -> RoceJob {
    let mut header = [0; MAX_HEADER];
    let len = peer.header(own_mac, dscp, &mut header);
    link.write(at, &header[..len]);
    let message = RoceMessage::Datagram {
        qkey: GSI_QKEY,
        src_qp: GSI_QPN,
    };
    let mut job = RoceJob::new(message, GSI_QPN, psn);
    job.template = at;
    (job.vlan, job.ipv6) = (peer.tci != 0, peer.is_ipv6());
    job.gather[0] = PmSlice::new(mad, MAD_LEN as u32);
    job.gather_len = 1;
    job
}

/// An answer that leaves no state behind.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub peer: Peer,
    pub tid: u64,
    pub local_id: u32,
    pub remote_id: u32,
    pub kind: AnswerKind,
}

#[derive(Clone, Copy, Debug)]
pub enum AnswerKind {
    Drep,
    Rej(Rejected, Refusal),
}

impl Answer {
    pub fn write(&self, mad: &mut [u8; MAD_LEN]) {
        match self.kind {
            AnswerKind::Drep => {
                if let Some(drep) = start::<Drep>(mad, ATTR_DREP, self.tid) {
                    drep.local_comm_id.set(self.local_id);
                    drep.remote_comm_id.set(self.remote_id);
                }
            }
            AnswerKind::Rej(what, refusal) => {
                if let Some(rej) = start::<Rej>(mad, ATTR_REJ, self.tid) {
                    rej.local_comm_id.set(self.local_id);
                    rej.remote_comm_id.set(self.remote_id);
                    rej.rejected = (what as u8) << 6;
                    fill(rej, refusal);
                }
            }
        }
    }
}

fn fill(rej: &mut Rej, refusal: Refusal) {
    let reason = match refusal {
        Refusal::Reason(reason) => reason,
        Refusal::Mtu(most) => {
            rej.info_len = 1 << 1;
            rej.info[0] = (most as u8) << 4;
            RejectReason::InvalidMtu
        }
        Refusal::Status(status) => {
            let data = RejectData {
                recfmt: RECFMT.into(),
                status: (status as u16).into(),
            };
            rej.private[..4].copy_from_slice(data.as_bytes());
            RejectReason::Consumer
        }
    };
    rej.reason.set(reason as u16);
}

/// The REP of a connection, the same each time.
pub fn write_rep(cfg: &CmConfig, conn: &Conn, mad: &mut [u8; MAD_LEN]) {
    let Some(rep) = start::<Rep>(mad, ATTR_REP, conn.tid) else {
        return;
    };
    rep.local_comm_id.set(conn.local_id);
    rep.remote_comm_id.set(conn.remote_id);
    rep.qpn = high24(conn.local_qpn, 0);
    rep.psn = high24(conn.local_psn, 0);
    // This card serves no READs.
    rep.responder_resources = 0;
    rep.initiator_depth = conn.reads;
    rep.ack_delay = cfg.ack_delay << 3;
    rep.rnr_srq = conn.rnr_retries << 5;
    rep.local_ca_guid.set(cfg.ca_guid);
    let data = ReplyData {
        recfmt: RECFMT.into(),
        crqsize: conn.crqsize.into(),
        reserved: [0; 28],
    };
    rep.private[..size_of::<ReplyData>()].copy_from_slice(data.as_bytes());
}

/// The DREQ of a connection.
pub fn write_dreq(conn: &Conn, mad: &mut [u8; MAD_LEN]) {
    if let Some(dreq) = start::<Dreq>(mad, ATTR_DREQ, conn.tid) {
        dreq.local_comm_id.set(conn.local_id);
        dreq.remote_comm_id.set(conn.remote_id);
        dreq.remote_qpn = high24(conn.remote_qpn, 0);
    }
}
