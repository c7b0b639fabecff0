//! Rules that the target breaks when told to, each at the first Read or Write of an I/O queue.

use sluice_wire::{
    ib_cm::{ATTR_DREQ, ATTR_REJ, Dreq, Rej, RejectReason, high24},
    nvme::{Sqe, Status},
    nvme_rdma::Keyed,
    roce::{Aeth, Deth, NakCode, Opcode, Reth, Syndrome},
};
use zerocopy::IntoBytes;

use super::Target;
use crate::initiator::{
    rdma::{
        cm::message,
        frame::{self, Packet},
        qp::Work,
    },
    test_disk::BLOCK,
};

/// What the target does wrong, once a host's I/O queue sends its first Read or Write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::initiator::rdma) enum Fault {
    WrongKey,
    WriteBeyond,
    WriteShort,
    ReadBeyond,
    ReadNothing,
    InvalidateOther,
    Response(Wrong),
    /// A packet of its own making, with the PSN that is due.
    Stray(Opcode),
    Nak(NakCode),
    ReservedSyndrome,
    AtomicAnswer,
    Silence,
    Disconnect,
    Reject,
}

/// A wrong response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::initiator::rdma) enum Wrong {
    Twice,
    UnknownCommand,
    Short,
    Long,
}

impl Target {
    /// Does what is wrong; false if the command is to be executed all the same.
    pub(super) fn fault(&mut self, at: usize, sqe: &Sqe) -> bool {
        let Some(fault) = self.quirks.fault.take() else {
            return false;
        };
        let keyed = Keyed::of(&sqe.sgl()).unwrap_or_default();
        let (va, rkey) = (keyed.va, keyed.rkey);
        let bytes = |n: usize| vec![0x5a; n];
        let blocks = (usize::from(sqe.nlb_z()) + 1) * BLOCK;
        match fault {
            Fault::WrongKey => {
                let rkey = rkey ^ 0x100;
                self.post(
                    at,
                    Work::Write {
                        va,
                        rkey,
                        bytes: bytes(blocks),
                    },
                );
            }
            Fault::WriteBeyond => {
                self.post(
                    at,
                    Work::Write {
                        va: va + 1,
                        rkey,
                        bytes: bytes(blocks),
                    },
                );
            }
            Fault::WriteShort => {
                self.post(
                    at,
                    Work::Write {
                        va,
                        rkey,
                        bytes: bytes(blocks - 1),
                    },
                );
                self.respond(at, sqe, Status::SUCCESS, 0);
            }
            Fault::ReadBeyond => {
                self.post(
                    at,
                    Work::Read {
                        va: va.wrapping_sub(1),
                        rkey,
                        len: 8,
                    },
                );
            }
            Fault::ReadNothing => self.respond(at, sqe, Status::SUCCESS, 0),
            Fault::InvalidateOther => {
                let bytes = self
                    .cqe(at, sqe, Status::INVALID_OPCODE, 0)
                    .as_bytes()
                    .to_vec();
                let invalidate = Some(rkey ^ 1);
                self.post(at, Work::Send { bytes, invalidate });
            }
            Fault::Response(wrong) => {
                let mut cqe = self.cqe(at, sqe, Status::INVALID_OPCODE, 0);
                let times = if wrong == Wrong::Twice { 2 } else { 1 };
                if wrong == Wrong::UnknownCommand {
                    cqe.cid.set(sqe.cid.get() ^ 0x4000);
                }
                let mut bytes = cqe.as_bytes().to_vec();
                match wrong {
                    Wrong::Short => bytes.truncate(15),
                    Wrong::Long => bytes.push(0),
                    _ => {}
                }
                for _ in 0..times {
                    let bytes = bytes.clone();
                    self.post(
                        at,
                        Work::Send {
                            bytes,
                            invalidate: None,
                        },
                    );
                }
            }
            Fault::Stray(opcode) => {
                let mut packet = Packet::new(
                    opcode,
                    self.conns[at].host_qpn,
                    self.conns[at].next_psn,
                    vec![],
                );
                packet.reth = opcode.has_reth().then(|| Reth {
                    va: va.into(),
                    rkey: rkey.into(),
                    len: 16.into(),
                });
                packet.aeth = opcode.has_aeth().then(|| Aeth::new(Syndrome::ACK, 0));
                packet.deth = (opcode == Opcode::UdSendOnly).then(Deth::default);
                if opcode == Opcode::CompareSwap {
                    // Its extended header, which packets here have no field for.
                    packet.payload = vec![0; 28];
                }
                packet.word = (opcode == Opcode::SendOnlyImmediate).then_some(1);
                self.stray(at, &packet);
            }
            Fault::Nak(code) => {
                let mut packet = self.ack(at);
                packet.aeth = Some(Aeth::new(Syndrome::Nak(code), 0));
                self.stray(at, &packet);
                self.conns[at].silent = true;
            }
            Fault::ReservedSyndrome => {
                let mut packet = self.ack(at);
                packet.aeth = Some(Aeth((0x5f << 24).into()));
                self.stray(at, &packet);
            }
            Fault::AtomicAnswer => {
                let mut packet = self.ack(at);
                packet.opcode = Opcode::AtomicAcknowledge;
                packet.payload = vec![0; 8];
                packet.aeth = Some(Aeth::new(Syndrome::ACK, 0));
                self.stray(at, &packet);
            }
            Fault::Silence => self.conns[at].silent = true,
            Fault::Disconnect | Fault::Reject => self.end(at, fault == Fault::Reject),
        }
        true
    }

    fn ack(&self, at: usize) -> Packet {
        let conn = &self.conns[at];
        // The newest packet of the host that arrived: the one before what is expected.
        let psn = conn.qp.place().expected_psn.wrapping_sub(1);
        Packet::new(Opcode::Acknowledge, conn.host_qpn, psn, vec![])
    }

    fn stray(&mut self, at: usize, packet: &Packet) {
        let peer = self.conns[at].peer;
        self.frame(
            peer,
            frame::source_port(self.conns[at].qp.config().qpn),
            packet,
        );
    }

    fn end(&mut self, at: usize, by_rej: bool) {
        let (own, host, qpn) = {
            let c = &self.conns[at];
            (c.own_id, c.host_id, c.host_qpn)
        };
        let mad = if by_rej {
            message(ATTR_REJ, 9, |rej: &mut Rej| {
                rej.local_comm_id = own.into();
                rej.remote_comm_id = host.into();
                rej.reason = (RejectReason::StaleConnection as u16).into();
            })
        } else {
            message(ATTR_DREQ, 9, |dreq: &mut Dreq| {
                dreq.local_comm_id = own.into();
                dreq.remote_comm_id = host.into();
                dreq.remote_qpn = high24(qpn, 0);
            })
        };
        let peer = self.conns[at].peer;
        self.send_mad(peer, &mad);
        self.conns[at].silent = true;
    }
}
