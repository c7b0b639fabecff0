//! One command at a time, waiting for each: how scenarios set a host up and check single answers.

use std::net::SocketAddr;

use sluice_wire::{
    fabrics::{CNTLID_DYNAMIC, ConnectData, DISCOVERY_NQN},
    nvme::{
        Cap, Cc, Csts, DiscoveryEntry, DiscoveryHeader, IdentifyController, IdentifyNamespace,
        QueueCount, Status, cns, feature, log, register,
    },
};
use zerocopy::FromBytes;

use super::{
    Command, Completion, Failure, Initiator, Outcome, QueueConfig, QueueId, QueueState, Transport,
    pattern,
};
use crate::fabric::Clock;

/// What went wrong on the way to an answer.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The connection could not begin.
    #[error("{0}")]
    Open(String),
    /// The queue ended.
    #[error("{what}: {failure}")]
    Queue {
        /// What was tried.
        what: String,
        /// Why it ended.
        failure: Failure,
    },
    /// The command failed.
    #[error("{what}: {status:?}, result {result:#x}")]
    Status {
        /// What was tried.
        what: String,
        /// The target's status.
        status: Status,
        /// Dwords 0 and 1.
        result: u64,
    },
    /// Nothing came for too long.
    #[error("{what}: no answer within {clocks} clocks")]
    Timeout {
        /// What was tried.
        what: String,
        /// How long, clocks.
        clocks: Clock,
    },
    /// An answer that makes no sense.
    #[error("{what}: {problem}")]
    Answer {
        /// What was tried.
        what: String,
        /// What is wrong with the answer.
        problem: String,
    },
}

/// How to connect to a subsystem.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// Its address.
    pub target: SocketAddr,
    /// Its NQN.
    pub subnqn: String,
    /// This host's NQN.
    pub hostnqn: String,
    /// This host's identifier.
    pub hostid: [u8; 16],
    /// I/O queues.
    pub io_queues: u16,
    /// Entries of the admin queue.
    pub admin_entries: u16,
    /// KATO, milliseconds; 0 for none. Keep Alives are sent at half of it.
    pub kato_ms: u32,
    /// Leave submission queue flow control on (then no SUCCESS in C2HData).
    pub flow_control: bool,
    /// Connections; `entries` is that of I/O queues, and `in_capsule` is lowered to what the controller takes.
    pub queue: QueueConfig,
}

impl ConnectConfig {
    /// Host number `n` to subsystem `subnqn` with one I/O queue, no digests, no keep alive.
    #[must_use]
    pub fn new(target: SocketAddr, subnqn: &str, n: u8) -> Self {
        Self {
            target,
            subnqn: subnqn.to_owned(),
            hostnqn: format!(
                "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-0000000000{n:02x}"
            ),
            hostid: std::array::from_fn(|i| if i == 15 { n.wrapping_add(1) } else { 0x40 }),
            io_queues: 1,
            admin_entries: 32,
            kato_ms: 0,
            flow_control: false,
            queue: QueueConfig::default(),
        }
    }

    /// The same over `transport`.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.queue.transport = transport;
        self
    }

    /// The same, with digests (over TCP).
    #[must_use]
    pub fn with_digests(mut self, header: bool, data: bool) -> Self {
        (self.queue.header_digest, self.queue.data_digest) = (header, data);
        self
    }

    /// Data of a Connect command to the controller `cntlid`.
    #[must_use]
    pub fn connect_data(&self, cntlid: u16) -> ConnectData {
        let mut data = ConnectData {
            hostid: self.hostid,
            ..ConnectData::default()
        };
        data.cntlid.set(cntlid);
        let put = |field: &mut [u8], name: &str| {
            let len = name.len().min(field.len());
            field[..len].copy_from_slice(&name.as_bytes()[..len]);
        };
        put(&mut data.subnqn, &self.subnqn);
        put(&mut data.hostnqn, &self.hostnqn);
        data
    }
}

/// A connected controller.
#[derive(Clone, Debug)]
pub struct Controller {
    /// Admin queue.
    pub admin: QueueId,
    /// I/O queues, in order of their QIDs from 1.
    pub io: Vec<QueueId>,
    /// CNTLID.
    pub cntlid: u16,
    /// CAP.
    pub cap: Cap,
    /// Identify Controller.
    pub identify: Box<IdentifyController>,
    /// Largest transfer, bytes.
    pub max_transfer: usize,
}

/// A namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// NSID.
    pub nsid: u32,
    /// Its size in blocks.
    pub blocks: u64,
    /// Bytes per block.
    pub block_size: usize,
}

/// An initiator with the means to make the world go on: `run` advances everything by a little, the initiator included
/// (it has to call [`Initiator::poll`] with a later clock).
pub struct Blocking<'a> {
    /// The host.
    pub initiator: &'a mut Initiator,
    run: &'a mut dyn FnMut(&mut Initiator),
    /// Clocks to wait for one answer; 250 million, one second, at first.
    pub patience: Clock,
}

impl Initiator {
    /// This host, one command at a time.
    pub fn blocking<'a>(&'a mut self, run: &'a mut dyn FnMut(&mut Self)) -> Blocking<'a> {
        Blocking {
            initiator: self,
            run,
            patience: 250_000_000,
        }
    }
}

type Answer<T> = Result<T, HostError>;

impl Blocking<'_> {
    /// Runs the world until `done` says so.
    ///
    /// # Errors
    /// [`HostError::Timeout`] after [`Blocking::patience`].
    pub fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Initiator) -> bool) -> Answer<()> {
        let deadline = self.initiator.now() + self.patience;
        while !done(self.initiator) {
            if self.initiator.now() > deadline {
                return Err(HostError::Timeout {
                    what: what.to_owned(),
                    clocks: self.patience,
                });
            }
            (self.run)(self.initiator);
        }
        Ok(())
    }

    /// Runs the world for `clocks`.
    pub fn pause(&mut self, clocks: Clock) {
        let until = self.initiator.now() + clocks;
        while self.initiator.now() < until {
            (self.run)(self.initiator);
        }
    }

    /// Runs one command, whatever its status.
    ///
    /// # Errors
    /// When the queue ends or nothing comes.
    pub fn exec(&mut self, what: &str, queue: QueueId, command: Command) -> Answer<Completion> {
        let id = self.initiator.submit(queue, command);
        let mut completion = None;
        self.wait(what, |initiator| {
            completion = initiator.take_completion_of(id);
            completion.is_some()
        })?;
        match completion {
            Some(Completion {
                outcome: Outcome::Lost(failure),
                ..
            }) => Err(HostError::Queue {
                what: what.to_owned(),
                failure,
            }),
            Some(completion) => Ok(completion),
            None => Err(HostError::Timeout {
                what: what.to_owned(),
                clocks: self.patience,
            }),
        }
    }

    /// Runs one command that has to succeed.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn must(&mut self, what: &str, queue: QueueId, command: Command) -> Answer<Completion> {
        let completion = self.exec(what, queue, command)?;
        match completion.status() {
            Some(status) if !status.is_ok() => Err(HostError::Status {
                what: what.to_owned(),
                status,
                result: completion.result(),
            }),
            _ => Ok(completion),
        }
    }

    /// Opens a queue and waits until commands can flow.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn open(&mut self, target: SocketAddr, config: QueueConfig) -> Answer<QueueId> {
        let queue = self
            .initiator
            .open(target, config)
            .map_err(HostError::Open)?;
        let mut state = QueueState::Connecting;
        self.wait("connecting", |initiator| {
            state = initiator.state(queue).clone();
            matches!(state, QueueState::Ready | QueueState::Failed(_))
        })?;
        match state {
            QueueState::Failed(failure) => Err(HostError::Queue {
                what: "connecting".to_owned(),
                failure,
            }),
            _ => Ok(queue),
        }
    }

    /// Connects: admin queue, controller enabled and identified, I/O queues.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn connect(&mut self, config: &ConnectConfig) -> Answer<Controller> {
        let mut controller = self.connect_admin(config)?;
        let admin = controller.admin;
        let mut wanted = QueueCount(0);
        wanted.set_submission_z(config.io_queues.saturating_sub(1));
        wanted.set_completion_z(config.io_queues.saturating_sub(1));
        let command = Command::set_features(feature::QUEUES, wanted.0);
        let granted =
            QueueCount(self.must("Set Features, queues", admin, command)?.result() as u32);
        if config.io_queues > 0 && granted.submission_z() < wanted.submission_z() {
            return Err(HostError::Answer {
                what: "Set Features, queues".to_owned(),
                problem: format!("{} queues asked for, {granted:?}", config.io_queues),
            });
        }
        let capsule = controller.identify.ioccsz.get() as usize * 16;
        let mut queue = config.queue.clone();
        queue.in_capsule = queue.in_capsule.min(capsule.saturating_sub(64));
        queue.entries = queue.entries.min(controller.cap.mqes_z().saturating_add(1));
        for qid in 1..=config.io_queues {
            queue.rdma.qid = qid;
            queue.rdma.cntlid = controller.cntlid;
            let id = self.open(config.target, queue.clone())?;
            let data = config.connect_data(controller.cntlid);
            let command = Command::connect(qid, queue.entries, config.flow_control, 0, &data);
            self.must(&format!("Connect of queue {qid}"), id, command)?;
            controller.io.push(id);
        }
        Ok(controller)
    }

    /// Connects the admin queue only; the controller is enabled and identified.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn connect_admin(&mut self, config: &ConnectConfig) -> Answer<Controller> {
        let queue = QueueConfig {
            entries: config.admin_entries,
            in_capsule: 8192,
            ..config.queue.clone()
        };
        let admin = self.open(config.target, queue)?;
        let data = config.connect_data(CNTLID_DYNAMIC);
        let (entries, kato) = (config.admin_entries, config.kato_ms);
        let command = Command::connect(0, entries, config.flow_control, kato, &data);
        let cntlid = self
            .must("Connect of the admin queue", admin, command)?
            .result() as u16;
        if config.kato_ms > 0 {
            self.initiator
                .keep_alive(admin, u64::from(config.kato_ms) * 125_000);
        }
        let cap = Cap(self.property(admin, register::CAP, true)?);
        self.enable(admin)?;
        let identify = self.identify_controller(admin)?;
        let max_transfer = match identify.mdts {
            0 => 1 << 20,
            mdts => 4096usize << cap.mpsmin() << mdts.min(20),
        };
        Ok(Controller {
            admin,
            io: vec![],
            cntlid,
            cap,
            identify,
            max_transfer,
        })
    }

    /// Property Get.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn property(&mut self, admin: QueueId, offset: u32, wide: bool) -> Answer<u64> {
        let what = format!("Property Get {offset:02x}h");
        Ok(self
            .must(&what, admin, Command::property_get(offset, wide))?
            .result())
    }

    fn set_cc(&mut self, admin: QueueId, cc: Cc) -> Answer<()> {
        self.must(
            "Property Set CC",
            admin,
            Command::property_set(register::CC, cc.0),
        )
        .map(|_| ())
    }

    /// Enables the controller and waits for CSTS.RDY.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn enable(&mut self, admin: QueueId) -> Answer<()> {
        let mut cc = Cc(0);
        cc.set_iosqes(6);
        cc.set_iocqes(4);
        cc.set_en(true);
        self.set_cc(admin, cc)?;
        self.await_csts(admin, "enabling", Csts::rdy)
    }

    /// Shuts the controller down in order.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn shut_down(&mut self, admin: QueueId) -> Answer<()> {
        let mut cc = Cc(self.property(admin, register::CC, false)? as u32);
        cc.set_shn(1);
        self.set_cc(admin, cc)?;
        self.await_csts(admin, "shutting down", |csts| csts.shst() == 2)
    }

    fn await_csts(
        &mut self,
        admin: QueueId,
        what: &str,
        good: impl Fn(&Csts) -> bool,
    ) -> Answer<()> {
        let deadline = self.initiator.now() + self.patience;
        loop {
            let csts = Csts(self.property(admin, register::CSTS, false)? as u32);
            if good(&csts) {
                return Ok(());
            }
            if csts.cfs() || self.initiator.now() > deadline {
                return Err(HostError::Answer {
                    what: what.to_owned(),
                    problem: format!("{csts:?}"),
                });
            }
            self.pause(2500);
        }
    }

    /// Shuts down and closes every connection.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn disconnect(&mut self, controller: &Controller) -> Answer<()> {
        self.shut_down(controller.admin)?;
        for queue in controller.io.iter().chain([&controller.admin]) {
            self.initiator.close(*queue);
        }
        self.pause(25_000);
        Ok(())
    }

    fn read_as<T: FromBytes>(
        &mut self,
        what: &str,
        admin: QueueId,
        command: Command,
    ) -> Answer<Box<T>> {
        let data = self.must(what, admin, command)?.data;
        T::read_from_prefix(&data)
            .map(|(value, _)| Box::new(value))
            .map_err(|_| HostError::Answer {
                what: what.to_owned(),
                problem: format!("{} bytes of data", data.len()),
            })
    }

    /// Identify Controller.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn identify_controller(&mut self, admin: QueueId) -> Answer<Box<IdentifyController>> {
        self.read_as(
            "Identify Controller",
            admin,
            Command::identify(cns::CONTROLLER, 0),
        )
    }

    /// NSIDs of the active namespaces.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn active_namespaces(&mut self, admin: QueueId) -> Answer<Vec<u32>> {
        let command = Command::identify(cns::ACTIVE_LIST, 0);
        let data = self
            .must("Identify, active namespaces", admin, command)?
            .data;
        let words = data
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(words.take_while(|nsid| *nsid != 0).collect())
    }

    /// Size and format of a namespace.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn namespace(&mut self, admin: QueueId, nsid: u32) -> Answer<Namespace> {
        let what = format!("Identify Namespace {nsid}");
        let ns: Box<IdentifyNamespace> =
            self.read_as(&what, admin, Command::identify(cns::NAMESPACE, nsid))?;
        let shift = ns.lbaf[usize::from(ns.flbas & 15)].lbads;
        if !(9..=16).contains(&shift) {
            return Err(HostError::Answer {
                what,
                problem: format!("LBADS {shift}"),
            });
        }
        Ok(Namespace {
            nsid,
            blocks: ns.nsze.get(),
            block_size: 1 << shift,
        })
    }

    /// The discovery log of the discovery subsystem at `config.target`: generation counter and entries.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn discover(&mut self, config: &ConnectConfig) -> Answer<(u64, Vec<DiscoveryEntry>)> {
        let subnqn = String::from_utf8_lossy(DISCOVERY_NQN).into_owned();
        let controller = self.connect_admin(&ConnectConfig {
            subnqn,
            ..config.clone()
        })?;
        let log = self.discovery_log(controller.admin)?;
        self.disconnect(&controller)?;
        Ok(log)
    }

    /// Reads the discovery log on a connected discovery controller.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn discovery_log(&mut self, admin: QueueId) -> Answer<(u64, Vec<DiscoveryEntry>)> {
        let what = "Get Log Page, discovery";
        let header = |host: &mut Self| -> Answer<Box<DiscoveryHeader>> {
            host.read_as(what, admin, Command::log_page(log::DISCOVERY, 0, 0, 1024))
        };
        let first = header(self)?;
        let mut entries = vec![];
        for i in 0..first.records.get() {
            let command = Command::log_page(log::DISCOVERY, 0, 1024 * (i + 1), 1024);
            entries.push(*self.read_as::<DiscoveryEntry>(what, admin, command)?);
        }
        let generation = first.generation.get();
        if header(self)?.generation.get() != generation {
            return Err(HostError::Answer {
                what: what.to_owned(),
                problem: "the log changed while it was read".to_owned(),
            });
        }
        Ok((generation, entries))
    }

    /// Reads blocks.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn read(
        &mut self,
        queue: QueueId,
        ns: &Namespace,
        lba: u64,
        blocks: u32,
    ) -> Answer<Vec<u8>> {
        let what = format!("Read of {blocks} blocks at {lba}");
        Ok(self
            .must(
                &what,
                queue,
                Command::read(ns.nsid, lba, blocks, ns.block_size),
            )?
            .data)
    }

    /// Writes whole blocks.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn write(&mut self, queue: QueueId, ns: &Namespace, lba: u64, data: Vec<u8>) -> Answer<()> {
        let what = format!("Write of {} bytes at {lba}", data.len());
        let command = Command::write(ns.nsid, lba, data, ns.block_size);
        self.must(&what, queue, command).map(|_| ())
    }

    /// Writes a pattern.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn write_pattern(
        &mut self,
        queue: QueueId,
        ns: &Namespace,
        lba: u64,
        blocks: u32,
        generation: u64,
    ) -> Answer<()> {
        let data = pattern::make(lba, u64::from(blocks), ns.block_size, generation);
        self.write(queue, ns, lba, data)
    }

    /// Reads blocks and checks their pattern.
    ///
    /// # Errors
    /// [`HostError`]; [`HostError::Answer`] for a mismatch.
    pub fn verify_pattern(
        &mut self,
        queue: QueueId,
        ns: &Namespace,
        lba: u64,
        blocks: u32,
        generation: u64,
    ) -> Answer<()> {
        let data = self.read(queue, ns, lba, blocks)?;
        pattern::check(&data, lba, ns.block_size, generation).map_err(|mismatch| {
            HostError::Answer {
                what: "verification".to_owned(),
                problem: mismatch.to_string(),
            }
        })
    }

    /// Runs a workload to its end and returns what it measured. Commands that failed are in [`super::Stats::errors`].
    ///
    /// # Errors
    /// [`HostError::Timeout`] if nothing completes for [`Blocking::patience`].
    pub fn run_workload(&mut self, workload: super::Workload) -> Answer<super::Stats> {
        self.initiator.attach(workload);
        let mut last = (0, self.initiator.now());
        loop {
            let now = self.initiator.now();
            let Some(workload) = self.initiator.workload() else {
                return Ok(super::Stats::default());
            };
            if workload.is_done() {
                let workload = self.initiator.detach();
                return Ok(workload
                    .map(super::Workload::into_stats)
                    .unwrap_or_default());
            }
            let done = workload.stats().ios();
            if done != last.0 {
                last = (done, now);
            } else if now > last.1 + self.patience {
                let what = format!("workload, after {done} commands");
                return Err(HostError::Timeout {
                    what,
                    clocks: self.patience,
                });
            }
            (self.run)(self.initiator);
        }
    }
}
