//! One queue of the host: an NVMe/TCP connection, its commands in flight, and every rule the target has to keep.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use sluice_wire::nvme::{Cqe, SglDescriptor, SglKind};

use super::{
    Command, CommandId, Completion, Data, Failure, Outcome, QueueConfig, QueueId, QueueState,
    net::{Net, Stream},
    pdu::{self, Pdu, Terms},
};
use crate::fabric::Clock;

/// Longer PDUs than any the card may send.
const MAX_PDU: usize = 8 << 20;

/// A command in flight.
struct Flight {
    id: CommandId,
    data: Data,
    /// What has come of [`Data::FromCard`].
    received: Vec<u8>,
    /// LAST_PDU was seen.
    data_ended: bool,
    /// End of what R2Ts have asked for.
    asked: u32,
    submitted: Clock,
}

pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) config: QueueConfig,
    pub(super) state: QueueState,
    pub(super) terms: Terms,
    stream: Stream,
    incoming: Vec<u8>,
    waiting: VecDeque<(CommandId, Command, Clock)>,
    flights: BTreeMap<u16, Flight>,
    next_cid: u16,
    /// The next data digest is to be wrong.
    spoil: bool,
    /// Nothing is read for now.
    pub(super) held: bool,
    pub(super) done: VecDeque<Completion>,
}

impl Queue {
    pub(super) fn open(
        id: QueueId,
        config: QueueConfig,
        target: SocketAddr,
        net: &mut Net,
    ) -> Result<Self, String> {
        let terms = Terms {
            hpda: config.hpda,
            ..Terms::PLAIN
        };
        Ok(Self {
            id,
            config,
            state: QueueState::Connecting,
            terms,
            stream: Stream::new(net.connect(target)?),
            incoming: vec![],
            waiting: VecDeque::new(),
            flights: BTreeMap::new(),
            next_cid: 0,
            spoil: false,
            held: false,
            done: VecDeque::new(),
        })
    }

    /// Commands submitted and not completed.
    pub(super) fn outstanding(&self) -> usize {
        self.waiting.len() + self.flights.len()
    }

    pub(super) fn submit(&mut self, id: CommandId, command: Command, now: Clock) {
        if let QueueState::Failed(failure) = &self.state {
            let outcome = Outcome::Lost(failure.clone());
            self.done.push_back(Completion {
                id,
                queue: self.id,
                outcome,
                data: vec![],
                submitted: now,
                completed: now,
            });
            return;
        }
        self.waiting.push_back((id, command, now));
    }

    /// Command identifier under which `id` is in flight.
    pub(super) fn cid(&self, id: CommandId) -> Option<u16> {
        self.flights
            .iter()
            .find(|(_, flight)| flight.id == id)
            .map(|(cid, _)| *cid)
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.send(bytes);
    }

    pub(super) fn spoil_data_digest(&mut self) {
        self.spoil = true;
    }

    /// Sends a PDU that may carry data.
    fn send_pdu(&mut self, mut pdu: Vec<u8>, has_data: bool) {
        if has_data
            && self.terms.data_digest
            && std::mem::take(&mut self.spoil)
            && let Some(last) = pdu.last_mut()
        {
            *last ^= 0x80;
        }
        self.stream.send(&pdu);
    }

    pub(super) fn close(&mut self) {
        self.stream.finish();
        self.fail(Failure::ClosedByHost, 0);
    }

    pub(super) fn reset(&mut self, net: &mut Net) {
        self.stream.abort(net);
        self.fail(Failure::ClosedByHost, 0);
    }

    /// Moves what can be moved; true if anything did.
    pub(super) fn advance(&mut self, now: Clock, net: &mut Net) -> bool {
        if self.held {
            return false;
        }
        if matches!(self.state, QueueState::Failed(_)) {
            // Let TCP finish what was queued, and let the target's last bytes go.
            self.incoming.clear();
            return self.stream.advance(net, &mut self.incoming);
        }
        if self.state == QueueState::Connecting && self.stream.opened {
            let config = &self.config;
            let hello = pdu::ic_req(
                config.header_digest,
                config.data_digest,
                config.hpda,
                config.max_r2t,
            );
            self.stream.send(&hello);
            self.state = QueueState::Setup;
        }
        self.start_waiting();
        let mut moved = self.stream.advance(net, &mut self.incoming);
        if let Err(failure) = self.take_pdus(now) {
            self.stream.abort(net);
            self.fail(failure, now);
            return true;
        }
        if let Some(reason) = self.stream.ended(net) {
            self.stream.finish();
            self.fail(Failure::Connection(reason), now);
            moved = true;
        }
        moved
    }

    /// Sends what the queue's depth allows.
    fn start_waiting(&mut self) {
        if self.state != QueueState::Ready {
            return;
        }
        while self.flights.len() < usize::from(self.config.entries) - 1 {
            let Some((id, command, submitted)) = self.waiting.pop_front() else {
                return;
            };
            self.start(id, command, submitted);
        }
    }

    fn start(&mut self, id: CommandId, command: Command, submitted: Clock) {
        let Command {
            mut sqe,
            data,
            always_in_capsule,
        } = command;
        let cid = self.free_cid();
        sqe.cid.set(cid);
        let in_capsule = match &data {
            Data::ToCard(bytes) => always_in_capsule || bytes.len() <= self.config.in_capsule,
            _ => false,
        };
        let (kind, len) = match &data {
            Data::None => (SglKind::Transport, 0),
            Data::ToCard(bytes) if in_capsule => (SglKind::Offset, bytes.len()),
            Data::ToCard(bytes) => (SglKind::Transport, bytes.len()),
            Data::FromCard(len) => (SglKind::Transport, *len),
        };
        // Property commands have no data pointer: their bytes 24 to 39 stay zero.
        if len != 0 || sqe.opcode != sluice_wire::fabrics::OPCODE {
            sqe.set_sgl(SglDescriptor::new(kind, 0, len as u32));
        }
        let capsule: &[u8] = match &data {
            Data::ToCard(bytes) if in_capsule => bytes,
            _ => &[],
        };
        let asked = capsule.len() as u32;
        let pdu = pdu::command(sqe.bytes(), capsule, &self.terms);
        self.send_pdu(pdu, asked != 0);
        self.flights.insert(
            cid,
            Flight {
                id,
                data,
                received: vec![],
                data_ended: false,
                asked,
                submitted,
            },
        );
    }

    fn free_cid(&mut self) -> u16 {
        loop {
            let cid = self.next_cid;
            self.next_cid = (self.next_cid + 1) % self.config.entries.max(2);
            if !self.flights.contains_key(&cid) {
                return cid;
            }
        }
    }

    fn take_pdus(&mut self, now: Clock) -> Result<(), Failure> {
        let incoming = std::mem::take(&mut self.incoming);
        let mut at = 0;
        while let Some(len) = pdu::pdu_len(&incoming[at..]) {
            if !(8..=MAX_PDU).contains(&len) {
                return Err(Failure::Protocol(format!("PLEN {len}")));
            }
            let Some(whole) = incoming.get(at..at + len) else {
                break;
            };
            let parsed = pdu::parse(whole, &self.terms).map_err(Failure::Protocol)?;
            self.take_pdu(parsed, now)?;
            at += len;
        }
        self.incoming = incoming[at..].to_vec();
        Ok(())
    }

    fn take_pdu(&mut self, pdu: Pdu<'_>, now: Clock) -> Result<(), Failure> {
        match (pdu, self.state == QueueState::Setup) {
            (Pdu::TermReq { fes, fei }, _) => Err(Failure::TermReq { fes, fei }),
            (Pdu::IcResp(resp), true) => self.settle(&resp),
            (Pdu::Response(cqe), false) => self.complete(cqe, now),
            (
                Pdu::Data {
                    cid,
                    offset,
                    data,
                    last,
                    success,
                },
                false,
            ) => {
                self.take_data(cid, offset, data, last)?;
                if success {
                    self.complete(
                        Cqe {
                            cid: cid.into(),
                            ..Cqe::default()
                        },
                        now,
                    )?;
                }
                Ok(())
            }
            (
                Pdu::R2t {
                    cid,
                    ttag,
                    offset,
                    len,
                },
                false,
            ) => self.answer_r2t(cid, ttag, offset, len),
            (other, _) => Err(Failure::Protocol(format!("out of sequence: {other:?}"))),
        }
    }

    fn settle(&mut self, resp: &sluice_wire::nvme_tcp::IcResp) -> Result<(), Failure> {
        let digests = (resp.digests & 1 != 0, resp.digests & 2 != 0);
        let max_h2c_data = resp.max_h2c_data.get();
        let asked = (
            digests.0 && !self.config.header_digest,
            digests.1 && !self.config.data_digest,
        );
        if asked != (false, false)
            || resp.version.get() != 0
            || resp.data_align_z > 31
            || max_h2c_data < 4096
        {
            return Err(Failure::Protocol(format!("ICResp: {resp:?}")));
        }
        self.terms = Terms {
            header_digest: digests.0,
            data_digest: digests.1,
            hpda: self.config.hpda,
            cpda: resp.data_align_z,
            max_h2c_data,
        };
        self.state = QueueState::Ready;
        self.start_waiting();
        Ok(())
    }

    fn flight(&mut self, cid: u16) -> Result<&mut Flight, Failure> {
        self.flights
            .get_mut(&cid)
            .ok_or_else(|| Failure::Protocol(format!("no command {cid:04x}h is in flight")))
    }

    fn take_data(&mut self, cid: u16, offset: u32, data: &[u8], last: bool) -> Result<(), Failure> {
        let flight = self.flight(cid)?;
        let Data::FromCard(len) = flight.data else {
            return Err(Failure::Protocol(format!(
                "C2HData for command {cid:04x}h, which reads nothing"
            )));
        };
        let end = flight.received.len() + data.len();
        if flight.data_ended || offset as usize != flight.received.len() || end > len {
            return Err(Failure::Protocol(format!(
                "C2HData: DATAO {offset}, DATAL {} after {} of {len} bytes",
                data.len(),
                flight.received.len()
            )));
        }
        flight.received.extend_from_slice(data);
        flight.data_ended = last;
        Ok(())
    }

    fn answer_r2t(&mut self, cid: u16, ttag: u16, offset: u32, len: u32) -> Result<(), Failure> {
        let terms = self.terms;
        let piece = self
            .config
            .h2c_piece
            .unwrap_or(u32::MAX)
            .min(terms.max_h2c_data) as usize;
        let flight = self.flight(cid)?;
        let Data::ToCard(data) = &flight.data else {
            return Err(Failure::Protocol(format!(
                "R2T for command {cid:04x}h, which writes nothing"
            )));
        };
        let range = offset as usize..offset as usize + len as usize;
        if len == 0 || offset != flight.asked || range.end > data.len() {
            return Err(Failure::Protocol(format!(
                "R2T: R2TO {offset}, R2TL {len} after {} of {} bytes",
                flight.asked,
                data.len()
            )));
        }
        flight.asked += len;
        let wanted = &data[range];
        let pieces: Vec<Vec<u8>> = wanted
            .chunks(piece)
            .enumerate()
            .map(|(i, data)| {
                let at = i * piece;
                let last = at + data.len() == wanted.len();
                pdu::h2c_data(cid, ttag, offset + at as u32, data, last, &terms)
            })
            .collect();
        for piece in pieces {
            self.send_pdu(piece, true);
        }
        Ok(())
    }

    fn complete(&mut self, cqe: Cqe, now: Clock) -> Result<(), Failure> {
        let cid = cqe.cid.get();
        self.flight(cid)?;
        let Some(flight) = self.flights.remove(&cid) else {
            return Ok(());
        };
        let problem = match &flight.data {
            _ if !cqe.status().is_ok() => None,
            Data::FromCard(len) if flight.received.len() != *len || !flight.data_ended => Some(
                format!("success after {} of {len} bytes", flight.received.len()),
            ),
            Data::ToCard(data) if flight.asked as usize != data.len() => Some(format!(
                "success after R2Ts for {} of {} bytes",
                flight.asked,
                data.len()
            )),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(Failure::Protocol(format!("command {cid:04x}h: {problem}")));
        }
        self.done.push_back(Completion {
            id: flight.id,
            queue: self.id,
            outcome: Outcome::Done(cqe),
            data: flight.received,
            submitted: flight.submitted,
            completed: now,
        });
        self.start_waiting();
        Ok(())
    }

    fn fail(&mut self, failure: Failure, now: Clock) {
        let flights = std::mem::take(&mut self.flights).into_values();
        let lost = flights.map(|f| (f.id, f.submitted)).chain(
            self.waiting
                .drain(..)
                .map(|(id, _, submitted)| (id, submitted)),
        );
        for (id, submitted) in lost {
            self.done.push_back(Completion {
                id,
                queue: self.id,
                outcome: Outcome::Lost(failure.clone()),
                data: vec![],
                submitted,
                completed: now.max(submitted),
            });
        }
        if !matches!(self.state, QueueState::Failed(_)) {
            self.state = QueueState::Failed(failure);
        }
    }
}
