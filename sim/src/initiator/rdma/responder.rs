//! The half of a queue pair that answers: SENDs into posted receives, RDMA WRITE into and RDMA READ out of registered memory.

use std::collections::VecDeque;

use sluice_wire::roce::{Aeth, NakCode, Opcode, Reth, Syndrome};

use super::{
    frame::Packet,
    memory::{Access, Memory, Refused},
    qp::{Common, Event, QpConfig, RcError, after, distance},
};

/// The message that is coming in.
#[derive(Debug)]
enum Inbound {
    None,
    Send(Vec<u8>),
    Write { va: u64, rkey: u32, left: usize },
}

/// An RDMA READ that was answered.
#[derive(Debug)]
struct Answered {
    first: u32,
    packets: u32,
    va: u64,
    rkey: u32,
    len: usize,
}

#[derive(Debug)]
pub(super) struct Responder {
    expected: u32,
    /// Messages completed.
    msn: u32,
    inbound: Inbound,
    /// A gap was reported and not filled yet.
    nak_sent: bool,
    /// Receives posted and not used.
    pub(super) receives: usize,
    answered: VecDeque<Answered>,
    /// Requests that came again.
    pub(super) duplicates: u64,
}

/// Why a request is refused.
type Refusal = (NakCode, String);

impl Responder {
    pub(super) fn new(config: &QpConfig) -> Self {
        Self {
            expected: config.recv_psn,
            msn: 0,
            inbound: Inbound::None,
            nak_sent: false,
            receives: 0,
            answered: VecDeque::new(),
            duplicates: 0,
        }
    }

    pub(super) fn expected(&self) -> u32 {
        self.expected
    }

    pub(super) fn receive(&mut self, packet: &Packet, memory: &mut Memory, common: &mut Common) {
        match distance(packet.psn, self.expected) {
            1.. => {
                if !std::mem::replace(&mut self.nak_sent, true) {
                    let nak = Syndrome::Nak(NakCode::SequenceError);
                    self.acknowledge(self.expected, nak, common);
                }
            }
            0 => {
                self.nak_sent = false;
                if let Err((code, what)) = self.execute(packet, memory, common) {
                    self.acknowledge(packet.psn, Syndrome::Nak(code), common);
                    common.fail(RcError::Refused(code, what));
                }
            }
            _ => {
                self.duplicates += 1;
                self.duplicate(packet, memory, common);
            }
        }
    }

    fn acknowledge(&self, psn: u32, syndrome: Syndrome, common: &mut Common) {
        let mut ack = Packet::new(Opcode::Acknowledge, common.config.remote_qpn, psn, vec![]);
        ack.aeth = Some(Aeth::new(syndrome, self.msn));
        common.out.push_back(ack);
    }

    /// C9-105 and C9-107: SEND and WRITE are acknowledged again, READ is answered again; what cannot be is left unanswered.
    fn duplicate(&mut self, packet: &Packet, memory: &mut Memory, common: &mut Common) {
        let Some(reth) = packet.reth.filter(|_| packet.opcode == Opcode::ReadRequest) else {
            return self.acknowledge(after(self.expected, 0xff_ffff), Syndrome::ACK, common);
        };
        let mtu = common.config.mtu;
        let Some(read) = self.answered.iter().find(|read| {
            let at = distance(packet.psn, read.first);
            at >= 0 && at < read.packets as i32
        }) else {
            return;
        };
        let at = distance(packet.psn, read.first) as usize * mtu;
        let (va, len) = (reth.va.get(), reth.len.get() as usize);
        let inside = va == read.va + at as u64 && len <= read.len - at;
        if inside
            && reth.rkey.get() == read.rkey
            && let Ok(data) = memory.read(read.rkey, va, len, true)
        {
            let resumed = at != 0 && !common.config.resume_as_first;
            self.read_responses(packet.psn, &data, resumed, common);
        }
    }

    fn execute(
        &mut self,
        packet: &Packet,
        memory: &mut Memory,
        common: &mut Common,
    ) -> Result<(), Refusal> {
        match packet.opcode {
            Opcode::SendFirst
            | Opcode::SendMiddle
            | Opcode::SendLast
            | Opcode::SendOnly
            | Opcode::SendLastInvalidate
            | Opcode::SendOnlyInvalidate => {
                if !self.send(packet, memory, common)? {
                    return Ok(());
                }
            }
            Opcode::WriteFirst | Opcode::WriteMiddle | Opcode::WriteLast | Opcode::WriteOnly => {
                self.write(packet, memory, common.config.mtu)?;
            }
            Opcode::ReadRequest => return self.read(packet, memory, common),
            other => return Err(invalid(format!("{other:?} is not supported here"))),
        }
        self.expected = after(self.expected, 1);
        if packet.ack_req {
            self.acknowledge(packet.psn, Syndrome::ACK, common);
        }
        Ok(())
    }

    /// False if there was no receive for it.
    fn send(
        &mut self,
        packet: &Packet,
        memory: &mut Memory,
        common: &mut Common,
    ) -> Result<bool, Refusal> {
        let (opcode, mtu) = (packet.opcode, common.config.mtu);
        let first = matches!(
            opcode,
            Opcode::SendFirst | Opcode::SendOnly | Opcode::SendOnlyInvalidate
        );
        let last = !matches!(opcode, Opcode::SendFirst | Opcode::SendMiddle);
        check_length(packet, mtu, last)?;
        if first {
            self.nothing_under_way(opcode)?;
            if self.receives == 0 {
                // What follows it is not to be answered.
                self.nak_sent = true;
                let busy = Syndrome::RnrNak(common.config.rnr_timer);
                self.acknowledge(packet.psn, busy, common);
                return Ok(false);
            }
            self.inbound = Inbound::Send(vec![]);
        }
        let Inbound::Send(bytes) = &mut self.inbound else {
            return Err(invalid(format!("{opcode:?} without SendFirst")));
        };
        bytes.extend(&packet.payload);
        if bytes.len() > common.config.receive_len {
            let limit = common.config.receive_len;
            return Err(invalid(format!(
                "a SEND of more than the {limit} bytes of a receive"
            )));
        }
        if last {
            let bytes = std::mem::take(bytes);
            if let Some(rkey) = packet.word
                && !memory.invalidate(rkey)
            {
                return Err(invalid(format!(
                    "SEND invalidates key {rkey:08x}h, which is not valid"
                )));
            }
            self.inbound = Inbound::None;
            self.msn = after(self.msn, 1);
            self.receives -= 1;
            common.events.push_back(Event::Received(bytes, packet.word));
        }
        Ok(true)
    }

    fn write(&mut self, packet: &Packet, memory: &mut Memory, mtu: usize) -> Result<(), Refusal> {
        let opcode = packet.opcode;
        let last = matches!(opcode, Opcode::WriteLast | Opcode::WriteOnly);
        check_length(packet, mtu, last)?;
        if let Some(reth) = packet.reth {
            self.nothing_under_way(opcode)?;
            let (va, rkey, left) = (reth.va.get(), reth.rkey.get(), reth.len.get() as usize);
            // A WRITE of nothing touches nothing (C9-88).
            if left != 0 {
                let checked = memory.check(rkey, Access::Write, va, left);
                checked.map_err(|why| remote_access("WRITE", &reth, why))?;
            }
            self.inbound = Inbound::Write { va, rkey, left };
        }
        let Inbound::Write { va, rkey, left } = &mut self.inbound else {
            return Err(invalid(format!("{opcode:?} without WriteFirst")));
        };
        let len = packet.payload.len();
        if len > *left || last != (len == *left) {
            return Err(invalid(format!(
                "{opcode:?} with {len} bytes where {left} are left"
            )));
        }
        if len != 0 {
            memory.write(*rkey, *va, &packet.payload).map_err(|why| {
                (
                    NakCode::RemoteAccess,
                    format!("{opcode:?} to {va:#x} with key {rkey:08x}h: {why}"),
                )
            })?;
        }
        *va += len as u64;
        *left -= len;
        if last {
            self.inbound = Inbound::None;
            self.msn = after(self.msn, 1);
        }
        Ok(())
    }

    fn read(
        &mut self,
        packet: &Packet,
        memory: &mut Memory,
        common: &mut Common,
    ) -> Result<(), Refusal> {
        self.nothing_under_way(packet.opcode)?;
        let Some(reth) = packet.reth.filter(|_| packet.payload.is_empty()) else {
            return Err(invalid("ReadRequest with payload".to_owned()));
        };
        let (va, rkey, len) = (reth.va.get(), reth.rkey.get(), reth.len.get() as usize);
        let data = match len {
            0 => vec![],
            _ => memory
                .read(rkey, va, len, false)
                .map_err(|why| remote_access("READ", &reth, why))?,
        };
        let packets = len.div_ceil(common.config.mtu).max(1) as u32;
        self.msn = after(self.msn, 1);
        self.expected = after(self.expected, packets);
        self.read_responses(packet.psn, &data, false, common);
        self.answered.push_back(Answered {
            first: packet.psn,
            packets,
            va,
            rkey,
            len,
        });
        if self.answered.len() > common.config.read_resources {
            self.answered.pop_front();
        }
        Ok(())
    }

    fn read_responses(&self, psn: u32, data: &[u8], resumed: bool, common: &mut Common) {
        let mtu = common.config.mtu;
        let count = data.len().div_ceil(mtu).max(1);
        for i in 0..count {
            let opcode = match (i == 0 && !resumed, i + 1 == count) {
                (true, true) => Opcode::ReadResponseOnly,
                (true, false) => Opcode::ReadResponseFirst,
                (false, false) => Opcode::ReadResponseMiddle,
                (false, true) => Opcode::ReadResponseLast,
            };
            let piece = data[i * mtu..data.len().min((i + 1) * mtu)].to_vec();
            let at = after(psn, i as u32);
            let mut packet = Packet::new(opcode, common.config.remote_qpn, at, piece);
            packet.aeth = opcode
                .has_aeth()
                .then(|| Aeth::new(Syndrome::ACK, self.msn));
            common.out.push_back(packet);
        }
    }

    fn nothing_under_way(&self, opcode: Opcode) -> Result<(), Refusal> {
        match self.inbound {
            Inbound::None => Ok(()),
            _ => Err(invalid(format!("{opcode:?} in the middle of a message"))),
        }
    }
}

/// Packets before the last are full (C9-71 and its like).
fn check_length(packet: &Packet, mtu: usize, last: bool) -> Result<(), Refusal> {
    let len = packet.payload.len();
    if len > mtu || (!last && len != mtu) {
        return Err(invalid(format!(
            "{:?} with {len} bytes at a path MTU of {mtu}",
            packet.opcode
        )));
    }
    Ok(())
}

fn invalid(what: String) -> Refusal {
    (NakCode::InvalidRequest, what)
}

fn remote_access(verb: &str, reth: &Reth, why: Refused) -> Refusal {
    let (va, rkey, len) = (reth.va.get(), reth.rkey.get(), reth.len.get());
    let what = format!("RDMA {verb} of {len} bytes at {va:#x} with key {rkey:08x}h: {why}");
    (NakCode::RemoteAccess, what)
}
