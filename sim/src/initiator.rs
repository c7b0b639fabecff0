//! NVMe/TCP and NVMe/RDMA hosts inside the simulation: an independent peer of the card, with smoltcp as its TCP/IP and a
//! RoCEv2 adapter of its own ([`rdma`]) beside it.
//!
//! An [`Initiator`] is one host: a MAC address, an IP address and any number of connections. It is driven by
//! [`Initiator::poll`] in card clocks and speaks in timed frames like [`crate::card::Ethernet`]. It is strict: whatever the
//! target does against the standard ends the queue with a [`Failure`] that says what.
//!
//! - [`Initiator::open`], [`Initiator::submit`], [`Initiator::take_completion`]: without waiting, in any number.
//! - [`Initiator::blocking`]: connects controllers and runs single commands, advancing the world by a closure.
//! - [`Initiator::attach`]: a [`Workload`] keeps queues at a depth and measures, exact to the clock.
//! - [`Initiator::open_raw`], [`Initiator::send_frame`]: any bytes over TCP, any frame, for hostile tests; likewise
//!   [`Initiator::post_rdma`] and [`rdma::cm::CmFaults`].
//!
//! A queue's [`Transport`] decides how it travels; commands, workloads and [`Blocking`] are the same over both.
//!
//! Not here: TLS, authentication, multipath.

mod blocking;
mod command;
mod hosts;
mod net;
pub mod pattern;
pub mod pdu;
mod queue;
pub mod rdma;
mod transport;
mod workload;

#[cfg(test)]
mod test_disk;
#[cfg(test)]
mod test_target;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use sluice_wire::nvme::{Cqe, Status};

pub use blocking::{Blocking, ConnectConfig, Controller, HostError, Namespace};
pub use command::{Command, Data};
pub use hosts::Hosts;
use net::{Net, Stream};
use rdma::{RdmaConfig, hca::Hca};
pub use transport::Transport;
use transport::{Ground, Queue};
pub use workload::{Stats, Workload, WorkloadConfig};

use crate::{fabric::Clock, link::Frames};

/// A host's place in the network.
#[derive(Clone, Debug)]
pub struct Config {
    /// MAC address.
    pub mac: [u8; 6],
    /// IP address.
    pub ip: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// IPv4 router, if the target is not on this network.
    pub gateway: Option<Ipv4Addr>,
    /// Largest IP packet: 1,500 or 9,000 as a rule.
    pub mtu: u16,
    /// TCP send and receive buffers, each, per connection, bytes.
    pub tcp_buffer: usize,
    /// How long an acknowledgment may wait for company, microseconds.
    pub ack_delay_us: Option<u64>,
    /// Chooses sequence numbers and ports.
    pub seed: u64,
}

impl Config {
    /// Host number `n` (0 to 199) of 10.0.0.0/24: 10.0.0.(n + 10).
    #[must_use]
    pub fn numbered(n: u8) -> Self {
        Self {
            mac: [0x02, 0, 0, 0, 1, n],
            ip: Ipv4Addr::new(10, 0, 0, n + 10).into(),
            prefix: 24,
            gateway: None,
            mtu: 1500,
            tcp_buffer: 512 << 10,
            ack_delay_us: Some(10_000),
            seed: u64::from(n) + 1,
        }
    }
}

/// A queue's connection.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// How it travels; what only the other transport has does not matter.
    pub transport: Transport,
    /// What only RDMA has.
    pub rdma: RdmaConfig,
    /// Ask for header digests.
    pub header_digest: bool,
    /// Ask for data digests.
    pub data_digest: bool,
    /// HPDA: alignment wanted for data from the target, dwords, zero-based.
    pub hpda: u8,
    /// R2Ts taken per command, at least 1.
    pub max_r2t: u32,
    /// Writes of at most this many bytes go in the capsule.
    pub in_capsule: usize,
    /// Cut H2CData to this size even if the target would take more.
    pub h2c_piece: Option<u32>,
    /// Entries of the submission queue; one less can be in flight.
    pub entries: u16,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            transport: Transport::Tcp,
            rdma: RdmaConfig::default(),
            header_digest: false,
            data_digest: false,
            hpda: 0,
            max_r2t: 1,
            in_capsule: 8192,
            h2c_piece: None,
            entries: 128,
        }
    }
}

/// One of an initiator's queues.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct QueueId(pub usize);

/// One of an initiator's raw connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawId(usize);

/// A submitted command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct CommandId(pub u64);

/// How a queue is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueueState {
    /// TCP is connecting, or the REQ is on its way.
    Connecting,
    /// ICReq is sent.
    Setup,
    /// Commands flow.
    Ready,
    /// Over.
    Failed(Failure),
}

/// Why a queue ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// TCP, in words.
    Connection(&'static str),
    /// The target sent a C2HTermReq.
    TermReq {
        /// Fatal Error Status.
        fes: u16,
        /// Fatal Error Information.
        fei: u32,
    },
    /// The target refused the queue pair.
    Rejected(rdma::cm::Rejection),
    /// The queue pair came to its end.
    Rdma(rdma::qp::RcError),
    /// The target broke the standard.
    Protocol(String),
    /// [`Initiator::close`] or [`Initiator::reset`].
    ClosedByHost,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(reason) => f.write_str(reason),
            Self::TermReq { fes, fei } => {
                write!(f, "C2HTermReq, status {fes}, information {fei:08x}h")
            }
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Rdma(error) => error.fmt(f),
            Self::Protocol(what) => write!(f, "the target broke the protocol: {what}"),
            Self::ClosedByHost => f.write_str("closed by this host"),
        }
    }
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The target answered.
    Done(Cqe),
    /// Its queue ended first.
    Lost(Failure),
}

/// A command that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// The command.
    pub id: CommandId,
    /// Its queue.
    pub queue: QueueId,
    /// How it ended.
    pub outcome: Outcome,
    /// What it read.
    pub data: Vec<u8>,
    /// When it was submitted.
    pub submitted: Clock,
    /// When the response was there.
    pub completed: Clock,
}

impl Completion {
    /// The target's status, if it answered.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match &self.outcome {
            Outcome::Done(cqe) => Some(cqe.status()),
            Outcome::Lost(_) => None,
        }
    }

    /// It succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status().is_some_and(Status::is_ok)
    }

    /// Dwords 0 and 1 of the response; 0 if there was none.
    #[must_use]
    pub fn result(&self) -> u64 {
        match &self.outcome {
            Outcome::Done(cqe) => cqe.result.get(),
            Outcome::Lost(_) => 0,
        }
    }

    /// Clocks from submission to response.
    #[must_use]
    pub fn latency(&self) -> Clock {
        self.completed - self.submitted
    }
}

/// A TCP connection for bytes of any kind.
struct Raw {
    stream: Stream,
    received: Vec<u8>,
}

/// A command the initiator sends on its own.
struct KeepAlive {
    queue: QueueId,
    every: Clock,
    next: Clock,
}

/// One host.
pub struct Initiator {
    ground: Ground,
    queues: Vec<Queue>,
    raws: Vec<Raw>,
    completions: VecDeque<Completion>,
    keep_alives: Vec<KeepAlive>,
    /// Completions of these are nobody's business.
    unattended: Vec<CommandId>,
    workload: Option<Workload>,
    mac: [u8; 6],
    now: Clock,
    next_id: u64,
}

impl Initiator {
    /// A host that has not said anything yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            ground: Ground {
                net: Net::new(config),
                hca: Hca::new(config),
            },
            queues: vec![],
            raws: vec![],
            completions: VecDeque::new(),
            keep_alives: vec![],
            unattended: vec![],
            workload: None,
            mac: config.mac,
            now: 0,
            next_id: 0,
        }
    }

    /// Takes the frames that have arrived by `now`, each at its own time, and sends what there is to send.
    pub fn poll(&mut self, now: Clock, to_card: &mut Frames, from_card: &mut Frames) {
        while from_card.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((at, frame)) = from_card.pop_front() {
                self.receive(at, frame, to_card);
            }
        }
        self.advance(now, to_card);
    }

    /// One frame from the card, at its time.
    pub fn receive(&mut self, at: Clock, frame: Vec<u8>, to_card: &mut Frames) {
        if !self.ground.hca.receive(at, &frame) {
            self.ground.net.wire.rx.push_back(frame);
        }
        self.advance(at, to_card);
    }

    /// Lets time pass until `now`.
    pub fn advance(&mut self, now: Clock, to_card: &mut Frames) {
        self.now = self.now.max(now);
        self.send_keep_alives();
        loop {
            self.ground.net.poll(self.now);
            self.ground.hca.advance(self.now);
            let mut moved = false;
            for queue in &mut self.queues {
                moved |= queue.advance(self.now, &mut self.ground);
                self.completions.append(queue.done());
            }
            for raw in &mut self.raws {
                moved |= raw.stream.advance(&mut self.ground.net, &mut raw.received);
            }
            moved |= self.run_workload();
            if !moved {
                break;
            }
        }
        let unattended = &mut self.unattended;
        self.completions
            .retain(|c| match unattended.iter().position(|id| *id == c.id) {
                Some(at) => {
                    unattended.swap_remove(at);
                    false
                }
                None => true,
            });
        let Ground { net, hca } = &mut self.ground;
        let frames = net.wire.tx.drain(..).chain(hca.tx.drain(..));
        to_card.extend(frames.map(|frame| (self.now, frame)));
    }

    fn run_workload(&mut self) -> bool {
        let Some(mut workload) = self.workload.take() else {
            return false;
        };
        let moved = workload.advance(self);
        self.workload = Some(workload);
        moved
    }

    fn send_keep_alives(&mut self) {
        for i in 0..self.keep_alives.len() {
            let due = &mut self.keep_alives[i];
            if due.next > self.now {
                continue;
            }
            due.next = self.now + due.every;
            let queue = due.queue;
            if *self.state(queue) == QueueState::Ready {
                let id = self.submit(queue, Command::keep_alive());
                self.unattended.push(id);
            }
        }
    }

    /// When the host next wants to be polled if no frame arrives; `None`: never.
    pub fn next_poll(&mut self) -> Option<Clock> {
        let now = self.now;
        let timers = self.keep_alives.iter().map(|k| k.next.max(now)).min();
        let rdma = self.ground.hca.next_poll().map(|at| at.max(now));
        [self.ground.net.next_poll(now), rdma, timers]
            .into_iter()
            .flatten()
            .min()
    }

    /// Opens a queue: TCP, then ICReq; or a queue pair. Commands may be submitted at once; they wait.
    ///
    /// # Errors
    /// When that cannot even begin, in words.
    pub fn open(&mut self, target: SocketAddr, config: QueueConfig) -> Result<QueueId, String> {
        let id = QueueId(self.queues.len());
        self.queues
            .push(Queue::open(id, config, target, &mut self.ground)?);
        Ok(id)
    }

    /// Submits a command.
    pub fn submit(&mut self, queue: QueueId, command: Command) -> CommandId {
        let id = CommandId(self.next_id);
        self.next_id += 1;
        let now = self.now;
        self.queues[queue.0].submit(id, command, now);
        id
    }

    /// The oldest completion not taken yet.
    pub fn take_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// The completion of `id`, if it is there.
    pub fn take_completion_of(&mut self, id: CommandId) -> Option<Completion> {
        let at = self.completions.iter().position(|c| c.id == id)?;
        self.completions.remove(at)
    }

    /// How a queue is.
    #[must_use]
    pub fn state(&self, queue: QueueId) -> &QueueState {
        self.queues[queue.0].state()
    }

    /// What was agreed on at a queue's setup.
    #[must_use]
    pub fn terms(&self, queue: QueueId) -> pdu::Terms {
        self.queues[queue.0].terms()
    }

    /// Commands of a queue that have not ended.
    #[must_use]
    pub fn outstanding(&self, queue: QueueId) -> usize {
        self.queues[queue.0].outstanding()
    }

    /// The command identifier on the wire, while the command is in flight.
    #[must_use]
    pub fn cid(&self, queue: QueueId, id: CommandId) -> Option<u16> {
        self.queues[queue.0].cid(id)
    }

    /// Changes how a queue sends writes.
    pub fn set_in_capsule(&mut self, queue: QueueId, bytes: usize) {
        self.queues[queue.0].config_mut().in_capsule = bytes;
    }

    /// Sends a Keep Alive on `queue` every `every` clocks; their completions are not reported.
    pub fn keep_alive(&mut self, queue: QueueId, every: Clock) {
        let next = self.now + every;
        self.keep_alives.retain(|k| k.queue != queue);
        self.keep_alives.push(KeepAlive { queue, every, next });
    }

    /// Stops them.
    pub fn stop_keep_alive(&mut self, queue: QueueId) {
        self.keep_alives.retain(|k| k.queue != queue);
    }

    /// Closes a queue's connection in order (FIN, or DREQ); its commands are lost.
    pub fn close(&mut self, queue: QueueId) {
        self.stop_keep_alive(queue);
        self.queues[queue.0].close(self.now, &mut self.ground);
    }

    /// Drops a queue's connection (RST; a queue pair without a word); its commands are lost.
    pub fn reset(&mut self, queue: QueueId) {
        self.stop_keep_alive(queue);
        self.queues[queue.0].reset(self.now, &mut self.ground);
    }

    /// Puts bytes into a queue's stream between its PDUs, whatever they are; over RDMA they are a message.
    pub fn inject(&mut self, queue: QueueId, bytes: &[u8]) {
        self.queues[queue.0].send_raw(bytes);
    }

    /// A host that does not read: while held, a queue takes nothing from TCP, whose window closes, and starts nothing. Over
    /// RDMA its receives run out.
    pub fn hold(&mut self, queue: QueueId, held: bool) {
        self.queues[queue.0].hold(held);
    }

    /// Makes the data digest of the next data sent on a queue wrong, if digests are in force.
    pub fn spoil_data_digest(&mut self, queue: QueueId) {
        self.queues[queue.0].spoil_data_digest();
    }

    /// Posts any work on an RDMA queue, as a hostile host may; nothing is reported of its success. On other queues nothing.
    pub fn post_rdma(&mut self, queue: QueueId, work: rdma::qp::Work) {
        if let Some(queue) = self.queues[queue.0].rdma() {
            queue.post_raw(work);
        }
    }

    /// Sends the REQ of an RDMA queue again, whatever has become of it.
    pub fn send_request_again(&mut self, queue: QueueId) {
        let (now, hca) = (self.now, &mut self.ground.hca);
        if let Some(queue) = self.queues[queue.0].rdma() {
            queue.send_request_again(now, hca);
        }
    }

    /// Where the queue pair of an RDMA queue stands, while it is connected.
    pub fn queue_pair(&mut self, queue: QueueId) -> Option<rdma::qp::Place> {
        let hca = &self.ground.hca;
        self.queues[queue.0].rdma()?.place(hca)
    }

    /// What this host's RoCE adapter has seen.
    #[must_use]
    pub fn rdma_counters(&self) -> rdma::Counters {
        self.ground.hca.counters()
    }

    /// Memory keys that a target can use at present.
    #[must_use]
    pub fn valid_keys(&self) -> usize {
        self.ground.hca.memory.valid_keys()
    }

    /// Runs a workload from the next poll on, in place of any other.
    pub fn attach(&mut self, workload: Workload) {
        self.workload = Some(workload);
    }

    /// The workload submits nothing more; it is done when what is in flight has completed.
    pub fn end_workload(&mut self) {
        if let Some(workload) = &mut self.workload {
            workload.end();
        }
    }

    /// The workload attached.
    #[must_use]
    pub fn workload(&self) -> Option<&Workload> {
        self.workload.as_ref()
    }

    /// Takes the workload off; what it has in flight completes like any other command.
    pub fn detach(&mut self) -> Option<Workload> {
        self.workload.take()
    }

    /// Opens a TCP connection that knows nothing of NVMe.
    ///
    /// # Errors
    /// When TCP cannot even begin, in words.
    pub fn open_raw(&mut self, target: SocketAddr) -> Result<RawId, String> {
        let stream = Stream::new(self.ground.net.connect(target)?);
        self.raws.push(Raw {
            stream,
            received: vec![],
        });
        Ok(RawId(self.raws.len() - 1))
    }

    /// Queues bytes on a raw connection, also before it is established.
    pub fn raw_send(&mut self, raw: RawId, bytes: &[u8]) {
        self.raws[raw.0].stream.send(bytes);
    }

    /// What has come on a raw connection so far; it stays there.
    #[must_use]
    pub fn raw_received(&self, raw: RawId) -> &[u8] {
        &self.raws[raw.0].received
    }

    /// The raw connection was established at some time.
    #[must_use]
    pub fn raw_opened(&self, raw: RawId) -> bool {
        self.raws[raw.0].stream.opened
    }

    /// Why a raw connection is over, if it is.
    pub fn raw_ended(&mut self, raw: RawId) -> Option<&'static str> {
        self.raws[raw.0].stream.ended(&mut self.ground.net)
    }

    /// Everything queued on a raw connection was acknowledged.
    pub fn raw_drained(&mut self, raw: RawId) -> bool {
        self.raws[raw.0].stream.drained(&mut self.ground.net)
    }

    /// Closes a raw connection after what is queued (FIN).
    pub fn raw_close(&mut self, raw: RawId) {
        self.raws[raw.0].stream.finish();
    }

    /// Drops a raw connection (RST).
    pub fn raw_reset(&mut self, raw: RawId) {
        self.raws[raw.0].stream.abort(&mut self.ground.net);
    }

    /// Sends any frame with the next poll.
    pub fn send_frame(&mut self, frame: Vec<u8>) {
        self.ground.net.wire.tx.push(frame);
    }

    /// This host's MAC address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The clock of the last poll.
    #[must_use]
    pub fn now(&self) -> Clock {
        self.now
    }
}
