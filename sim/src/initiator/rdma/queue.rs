//! One NVMe/RDMA queue of the host: its commands in flight, their memory keys, and every rule the target has to keep.
//! As with Linux a command is over when its response is there and its capsule was acknowledged.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use sluice_wire::{
    fabrics,
    nvme::{Cqe, SglDescriptor, SglKind},
    nvme_rdma::{Keyed, LAST_SEGMENT_OFFSET},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    hca::{ConnEvent, ConnId, Hca},
    memory::{Access, Region},
    qp::{Place, Work},
};
use crate::{
    fabric::Clock,
    initiator::{
        Command, CommandId, Completion, Data, Failure, Outcome, QueueConfig, QueueId, QueueState,
    },
};

/// Work that is no command's.
const NOBODYS: u64 = u64::MAX;
/// Bytes that a keyed descriptor can name.
const MAX_DATA: usize = (1 << 24) - 1;

/// A command in flight.
struct Flight {
    id: CommandId,
    data: Data,
    /// The keys of its data in order, unless these lie in the capsule.
    rkeys: Vec<u32>,
    /// Number of its SEND.
    work: u64,
    /// That was acknowledged.
    sent: bool,
    /// The response, and what was read.
    response: Option<(Cqe, Vec<u8>, Clock)>,
    submitted: Clock,
}

pub(crate) struct Queue {
    id: QueueId,
    pub(crate) config: QueueConfig,
    pub(crate) state: QueueState,
    conn: ConnId,
    /// Commands the controller has receives for.
    depth: usize,
    waiting: VecDeque<(CommandId, Command, Clock)>,
    flights: BTreeMap<u16, Flight>,
    next_cid: u16,
    next_work: u64,
    /// Messages that are no commands, and operations, in tests.
    raw: VecDeque<Work>,
    pub(crate) held: bool,
    pub(crate) done: VecDeque<Completion>,
}

impl Queue {
    pub(crate) fn open(
        id: QueueId,
        config: QueueConfig,
        target: SocketAddr,
        hca: &mut Hca,
    ) -> Result<Self, String> {
        Ok(Self {
            id,
            state: QueueState::Connecting,
            conn: hca.connect(target, config.entries, &config.rdma)?,
            depth: usize::from(config.entries) - 1,
            config,
            waiting: VecDeque::new(),
            flights: BTreeMap::new(),
            next_cid: 0,
            next_work: 0,
            raw: VecDeque::new(),
            held: false,
            done: VecDeque::new(),
        })
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.waiting.len() + self.flights.len()
    }

    pub(crate) fn submit(&mut self, id: CommandId, command: Command, now: Clock) {
        if let QueueState::Failed(failure) = &self.state {
            let failure = failure.clone();
            return self.lose(id, failure, now, now);
        }
        self.waiting.push_back((id, command, now));
    }

    pub(crate) fn cid(&self, id: CommandId) -> Option<u16> {
        let mut flights = self.flights.iter();
        flights.find(|(_, f)| f.id == id).map(|(cid, _)| *cid)
    }

    pub(crate) fn post_raw(&mut self, work: Work) {
        self.raw.push_back(work);
    }

    pub(crate) fn close(&mut self, now: Clock, hca: &mut Hca) {
        hca.close(now, self.conn);
        self.fail(Failure::ClosedByHost, now, hca);
    }

    pub(crate) fn reset(&mut self, now: Clock, hca: &mut Hca) {
        hca.abandon(self.conn);
        self.fail(Failure::ClosedByHost, now, hca);
    }

    pub(crate) fn send_request_again(&mut self, now: Clock, hca: &mut Hca) {
        hca.send_request_again(now, self.conn);
    }

    pub(crate) fn place(&self, hca: &Hca) -> Option<Place> {
        hca.place(self.conn)
    }

    /// Moves what can be moved; true if anything did.
    pub(crate) fn advance(&mut self, now: Clock, hca: &mut Hca) -> bool {
        if self.held {
            return false;
        }
        let mut moved = false;
        while let Some(event) = hca.take_event(now, self.conn) {
            moved = true;
            if let Err(failure) = self.take(event, now, hca) {
                hca.close(now, self.conn);
                self.fail(failure, now, hca);
            }
        }
        moved | self.start_waiting(hca)
    }

    fn take(&mut self, event: ConnEvent, now: Clock, hca: &mut Hca) -> Result<(), Failure> {
        if matches!(self.state, QueueState::Failed(_)) {
            return Ok(());
        }
        match event {
            ConnEvent::Ready(accepted) => {
                self.depth = self.depth.min(usize::from(accepted.crqsize));
                self.state = QueueState::Ready;
                Ok(())
            }
            ConnEvent::Done(work) => {
                let mut flights = self.flights.iter_mut();
                if let Some((cid, flight)) = flights.find(|(_, f)| f.work == work) {
                    let cid = *cid;
                    flight.sent = true;
                    self.finish(cid, now);
                }
                Ok(())
            }
            ConnEvent::Received(bytes, key) => {
                hca.post_receive(self.conn);
                self.response(&bytes, key, now, hca)
            }
            ConnEvent::Failed(failure) => Err(failure),
        }
    }

    /// Sends what the queue's depth allows.
    fn start_waiting(&mut self, hca: &mut Hca) -> bool {
        if self.state != QueueState::Ready {
            return false;
        }
        let mut started = false;
        while let Some(work) = self.raw.pop_front() {
            hca.post(self.conn, NOBODYS, work);
            started = true;
        }
        while self.flights.len() < self.depth {
            let Some((id, command, submitted)) = self.waiting.pop_front() else {
                break;
            };
            self.start(id, command, submitted, hca);
            started = true;
        }
        started
    }

    fn start(&mut self, id: CommandId, command: Command, submitted: Clock, hca: &mut Hca) {
        let Command { mut sqe, data, .. } = command;
        let cid = self.free_cid();
        sqe.cid.set(cid);
        let (len, access) = match &data {
            Data::None => (0, Access::Read),
            Data::ToCard(bytes) => (bytes.len(), Access::Read),
            Data::FromCard(len) => (*len, Access::Write),
        };
        assert!(len <= MAX_DATA, "{len} bytes do not fit a keyed descriptor");
        // Linux puts nothing into the capsules of admin queues.
        let in_capsule = match &data {
            Data::ToCard(_) => self.config.rdma.qid != 0 && len <= self.config.in_capsule,
            _ => false,
        };
        let mut rkeys = vec![];
        let mut capsule = vec![];
        let descriptor = match &data {
            Data::ToCard(bytes) if in_capsule => {
                capsule.extend(bytes);
                SglDescriptor::new(SglKind::Offset, 0, len as u32)
            }
            _ if len != 0 => {
                let buffer = match &data {
                    Data::ToCard(bytes) => bytes.clone(),
                    _ => vec![0; len],
                };
                let regions = self.config.rdma.regions.clamp(1, len);
                for piece in buffer.chunks(len.div_ceil(regions)) {
                    let (rkey, va) = hca.memory.register(piece.to_vec(), access);
                    rkeys.push(rkey);
                    let keyed = Keyed {
                        va,
                        len: piece.len() as u32,
                        rkey,
                        invalidate: self.config.rdma.invalidate && regions == 1,
                    };
                    capsule.extend(keyed.descriptor().as_bytes());
                }
                match SglDescriptor::read_from_bytes(&capsule) {
                    Ok(only) => {
                        capsule.clear();
                        only
                    }
                    Err(_) => SglDescriptor {
                        id: LAST_SEGMENT_OFFSET,
                        ..SglDescriptor::new(SglKind::Offset, 0, capsule.len() as u32)
                    },
                }
            }
            _ => Keyed::default().descriptor(),
        };
        // Property commands have no data pointer: their bytes 24 to 39 stay zero.
        if len != 0 || sqe.opcode != fabrics::OPCODE {
            sqe.set_sgl(descriptor);
        }
        let work = self.next_work;
        self.next_work += 1;
        let bytes = [sqe.bytes(), &capsule[..]].concat();
        let send = Work::Send {
            bytes,
            invalidate: None,
        };
        hca.post(self.conn, work, send);
        self.flights.insert(
            cid,
            Flight {
                id,
                data,
                rkeys,
                work,
                sent: false,
                response: None,
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

    fn response(
        &mut self,
        bytes: &[u8],
        key: Option<u32>,
        now: Clock,
        hca: &mut Hca,
    ) -> Result<(), Failure> {
        let cqe = Cqe::read_from_bytes(bytes)
            .map_err(|_| Failure::Protocol(format!("a response of {} bytes", bytes.len())))?;
        let cid = cqe.cid.get();
        let flight = self.flights.get_mut(&cid).filter(|f| f.response.is_none());
        let Some(flight) = flight else {
            let what = format!("a response to command {cid:04x}h, which is not in flight");
            return Err(Failure::Protocol(what));
        };
        if let Some(key) = key
            && (flight.rkeys != [key] || !self.config.rdma.invalidate)
        {
            let what = format!("the response to command {cid:04x}h invalidates key {key:08x}h");
            return Err(Failure::Protocol(what));
        }
        let rkeys = flight.rkeys.drain(..);
        let regions = rkeys.filter_map(|rkey| hca.memory.take(rkey)).collect();
        let read = moved(&flight.data, regions, &cqe)
            .map_err(|what| Failure::Protocol(format!("command {cid:04x}h: {what}")))?;
        flight.response = Some((cqe, read, now));
        self.finish(cid, now);
        Ok(())
    }

    /// Completes a command once both its ends are there.
    fn finish(&mut self, cid: u16, now: Clock) {
        let ready = |f: &Flight| f.sent && f.response.is_some();
        if !self.flights.get(&cid).is_some_and(ready) {
            return;
        }
        let Some(flight) = self.flights.remove(&cid) else {
            return;
        };
        if let Some((cqe, data, _)) = flight.response {
            self.done.push_back(Completion {
                id: flight.id,
                queue: self.id,
                outcome: Outcome::Done(cqe),
                data,
                submitted: flight.submitted,
                completed: now,
            });
        }
    }

    fn lose(&mut self, id: CommandId, failure: Failure, submitted: Clock, now: Clock) {
        self.done.push_back(Completion {
            id,
            queue: self.id,
            outcome: Outcome::Lost(failure),
            data: vec![],
            submitted,
            completed: now.max(submitted),
        });
    }

    fn fail(&mut self, failure: Failure, now: Clock, hca: &mut Hca) {
        let flights = std::mem::take(&mut self.flights).into_values();
        let mut lost = vec![];
        for flight in flights {
            for rkey in flight.rkeys {
                hca.memory.take(rkey);
            }
            lost.push((flight.id, flight.submitted));
        }
        lost.extend(self.waiting.drain(..).map(|(id, _, at)| (id, at)));
        for (id, submitted) in lost {
            self.lose(id, failure.clone(), submitted, now);
        }
        if !matches!(self.state, QueueState::Failed(_)) {
            self.state = QueueState::Failed(failure);
        }
    }
}

/// What was read, if the target moved what it says it did.
fn moved(data: &Data, regions: Vec<Region>, cqe: &Cqe) -> Result<Vec<u8>, String> {
    if regions.is_empty() || !cqe.status().is_ok() {
        return Ok(vec![]);
    }
    let moved: usize = regions.iter().map(|r| r.moved).sum();
    match data {
        Data::FromCard(len) if moved != *len => {
            Err(format!("success after {moved} of {len} bytes"))
        }
        Data::FromCard(_) => Ok(regions.into_iter().flat_map(|r| r.data).collect()),
        Data::ToCard(bytes) if moved < bytes.len() => Err(format!(
            "success after RDMA READs of {moved} of {} bytes",
            bytes.len()
        )),
        _ => Ok(vec![]),
    }
}
