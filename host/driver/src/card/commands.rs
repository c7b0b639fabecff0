//! Every management command as a method. What they mean is said at `sluice_wire::mgmt::Opcode`.

use std::time::Duration;

use sluice_device::Device;
use sluice_wire::mgmt::{
    CardInfo, ControlCounters, ControllerState, Counters, MAX_DATA, NQN_SIZE, NamespaceConfig,
    Opcode, PortConfig, QueuePlace, SsdAttach, Status, SubsystemConfig, SubsystemState,
};
use zerocopy::{FromBytes, IntoBytes};

use super::queue::Request;
use super::{Card, CardError, CardEvent};

/// What a card's firmware can do, in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Info {
    /// Version.
    pub firmware: String,
    /// Cores, control core included.
    pub cores: u16,
    /// SSDs that can be attached.
    pub max_ssds: u16,
    /// Subsystems.
    pub max_subsystems: u16,
    /// Namespaces in all.
    pub max_namespaces: u16,
    /// Allow-list entries per subsystem.
    pub max_hosts: u16,
    /// Ports.
    pub max_ports: u16,
    /// Associations in all.
    pub max_controllers: u16,
    /// Connections per data core.
    pub max_connections: u16,
    /// I/O queues per controller.
    pub max_io_queues: u16,
    /// Deepest I/O queue, entries.
    pub max_queue_entries: u16,
    /// Largest transfer, bytes.
    pub max_transfer: u32,
}

impl From<&CardInfo> for Info {
    fn from(info: &CardInfo) -> Self {
        let printable = info.firmware.iter().take_while(|b| **b != 0);
        Self {
            firmware: printable
                .map(|b| {
                    if b.is_ascii_graphic() {
                        char::from(*b)
                    } else {
                        '?'
                    }
                })
                .collect(),
            cores: info.cores.get(),
            max_ssds: info.max_ssds.get(),
            max_subsystems: info.max_subsystems.get(),
            max_namespaces: info.max_namespaces.get(),
            max_hosts: info.max_hosts.get(),
            max_ports: info.max_ports.get(),
            max_controllers: info.max_controllers.get(),
            max_connections: info.max_connections.get(),
            max_io_queues: info.max_io_queues.get(),
            max_queue_entries: info.max_queue_entries.get(),
            max_transfer: info.max_transfer.get(),
        }
    }
}

/// All of these fail with [`CardError::Refused`] when the card says no.
impl<D: Device> Card<D> {
    /// What the card is.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn identify(&mut self) -> Result<Info, CardError> {
        let info: CardInfo = self.receive(Opcode::Identify, 0, &[])?;
        Ok(Info::from(&info))
    }

    /// Gives port `port` its addresses.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn set_port(&mut self, port: u32, config: &PortConfig) -> Result<(), CardError> {
        self.set_mac(config.mac, config.mtu.get())?;
        self.send(Opcode::PortSet, port, config.as_bytes())
    }

    /// Reserves queues for SSD `ssd`, which takes at most `deepest` entries per queue: one place for each data core.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn prepare_ssd(&mut self, ssd: u32, deepest: u32) -> Result<Vec<QueuePlace>, CardError> {
        // One place per data core; a card that has not said how many cores it has gets room for all.
        let cores = usize::from(self.info.cores.saturating_sub(1)).max(1);
        let receive = (cores * size_of::<QueuePlace>()).min(MAX_DATA);
        let request = Request {
            args: &[deepest],
            receive,
            ..Request::new(Opcode::SsdPrepare, ssd)
        };
        let (completion, data) = self.queue.execute(&self.device, &request)?;
        let (got, max) = (
            completion.result.get(),
            (receive / size_of::<QueuePlace>()) as u32,
        );
        if got == 0 || got > max {
            let name = self.device.name().into();
            return Err(CardError::Answer {
                name,
                opcode: Opcode::SsdPrepare,
                got,
                max,
            });
        }
        let places = data
            .chunks_exact(size_of::<QueuePlace>())
            .take(got as usize);
        Ok(places
            .map(|p| QueuePlace::read_from_bytes(p).expect("exact size"))
            .collect())
    }

    /// Says that SSD `ssd`'s queues exist.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn attach_ssd(&mut self, ssd: u32, attach: &SsdAttach) -> Result<(), CardError> {
        self.send(Opcode::SsdAttach, ssd, attach.as_bytes())
    }

    /// Says that SSD `ssd` is gone or stopped, and writes nothing more.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn detach_ssd(&mut self, ssd: u32) -> Result<(), CardError> {
        self.send(Opcode::SsdDetach, ssd, &[])
    }

    /// Adds a subsystem.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn add_subsystem(
        &mut self,
        subsystem: u32,
        config: &SubsystemConfig,
    ) -> Result<(), CardError> {
        self.send(Opcode::SubsystemAdd, subsystem, config.as_bytes())
    }

    /// Removes it; its controllers are closed.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn remove_subsystem(&mut self, subsystem: u32) -> Result<(), CardError> {
        self.send(Opcode::SubsystemRemove, subsystem, &[])
    }

    /// Adds a namespace.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn add_namespace(
        &mut self,
        subsystem: u32,
        config: &NamespaceConfig,
    ) -> Result<(), CardError> {
        self.send(Opcode::NamespaceAdd, subsystem, config.as_bytes())
    }

    /// Removes it; hosts are told.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn remove_namespace(&mut self, subsystem: u32, nsid: u32) -> Result<(), CardError> {
        self.with_args(Opcode::NamespaceRemove, subsystem, &[nsid])
    }

    /// Allows a host.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn add_host(&mut self, subsystem: u32, nqn: &str) -> Result<(), CardError> {
        self.send(Opcode::HostAdd, subsystem, &nqn_field(nqn))
    }

    /// Withdraws it.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn remove_host(&mut self, subsystem: u32, nqn: &str) -> Result<(), CardError> {
        self.send(Opcode::HostRemove, subsystem, &nqn_field(nqn))
    }

    /// Allows every host, or those of the allow-list alone: then the associations of others end.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn allow_any_host(&mut self, subsystem: u32, allow: bool) -> Result<(), CardError> {
        self.with_args(Opcode::AllowAnyHost, subsystem, &[allow.into()])
    }

    /// Makes a subsystem reachable at a port, over these [`transports`](sluice_wire::mgmt::transports) (0: all).
    ///
    /// # Errors
    /// [`CardError`].
    pub fn add_listener(
        &mut self,
        subsystem: u32,
        port: u32,
        transports: u32,
    ) -> Result<(), CardError> {
        self.with_args(Opcode::ListenerAdd, subsystem, &[port, transports])
    }

    /// Withdraws it; other transports stay.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn remove_listener(
        &mut self,
        subsystem: u32,
        port: u32,
        transports: u32,
    ) -> Result<(), CardError> {
        self.with_args(Opcode::ListenerRemove, subsystem, &[port, transports])
    }

    /// What port `port` was given, if anything.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn port_held(&mut self, port: u32) -> Result<Option<PortConfig>, CardError> {
        held(self.receive(Opcode::PortGet, port, &[]))
    }

    /// What SSD `ssd` was attached with, if it is; and whether it did not answer a command in time.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn ssd_held(&mut self, ssd: u32) -> Result<Option<(SsdAttach, bool)>, CardError> {
        let request = Request {
            receive: size_of::<SsdAttach>(),
            ..Request::new(Opcode::SsdGet, ssd)
        };
        let found = held(self.queue.execute(&self.device, &request))?;
        Ok(found.map(|(completion, data)| {
            let attach = SsdAttach::read_from_bytes(&data).expect("exact size");
            (attach, completion.result.get() != 0)
        }))
    }

    /// Subsystem `subsystem` as the card has it, if it does.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn subsystem_held(&mut self, subsystem: u32) -> Result<Option<SubsystemState>, CardError> {
        held(self.receive(Opcode::SubsystemGet, subsystem, &[]))
    }

    /// Its namespaces, by NSID.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn namespaces_held(&mut self, subsystem: u32) -> Result<Vec<NamespaceConfig>, CardError> {
        let mut all: Vec<NamespaceConfig> = Vec::new();
        loop {
            let from = all.last().map_or(1, |n| n.nsid.get() + 1);
            match held(self.receive::<NamespaceConfig>(Opcode::NamespaceGet, subsystem, &[from]))? {
                Some(namespace) if namespace.nsid.get() >= from => all.push(namespace),
                _ => return Ok(all),
            }
        }
    }

    /// NQNs of the hosts that are allowed, each as [`NQN_SIZE`] bytes.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn hosts_held(&mut self, subsystem: u32) -> Result<Vec<[u8; NQN_SIZE]>, CardError> {
        let mut all = Vec::new();
        while let Some(host) = held(self.receive(Opcode::HostGet, subsystem, &[all.len() as u32]))?
        {
            all.push(host);
        }
        Ok(all)
    }

    /// Controllers of its hosts, by CNTLID.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn controllers_held(&mut self, subsystem: u32) -> Result<Vec<ControllerState>, CardError> {
        let mut all: Vec<ControllerState> = Vec::new();
        loop {
            let from = all.last().map_or(0, |c| u32::from(c.cntlid.get()) + 1);
            let next = self.receive::<ControllerState>(Opcode::ControllerGet, subsystem, &[from]);
            match held(next)? {
                Some(state) if u32::from(state.cntlid.get()) >= from => all.push(state),
                _ => return Ok(all),
            }
        }
    }

    /// What the control core has counted.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn control_counters(&mut self) -> Result<ControlCounters, CardError> {
        self.receive(Opcode::Counters, 0, &[])
    }

    /// What data core `core` (1 and up) has counted.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn counters(&mut self, core: u32) -> Result<Counters, CardError> {
        self.receive(Opcode::Counters, core, &[])
    }

    /// The next event; waits for at most `timeout` (zero: not at all).
    ///
    /// # Errors
    /// [`CardError`].
    pub fn next_event(&mut self, timeout: Duration) -> Result<Option<CardEvent>, CardError> {
        self.queue.event(&self.device, timeout)
    }

    pub(super) fn send(
        &mut self,
        opcode: Opcode,
        index: u32,
        data: &[u8],
    ) -> Result<(), CardError> {
        let request = Request {
            send: data,
            ..Request::new(opcode, index)
        };
        self.queue.execute(&self.device, &request).map(drop)
    }

    fn with_args(&mut self, opcode: Opcode, index: u32, args: &[u32]) -> Result<(), CardError> {
        let request = Request {
            args,
            ..Request::new(opcode, index)
        };
        self.queue.execute(&self.device, &request).map(drop)
    }

    pub(super) fn receive<T: FromBytes>(
        &mut self,
        opcode: Opcode,
        index: u32,
        args: &[u32],
    ) -> Result<T, CardError> {
        let request = Request {
            args,
            receive: size_of::<T>(),
            ..Request::new(opcode, index)
        };
        let (_, data) = self.queue.execute(&self.device, &request)?;
        Ok(T::read_from_bytes(&data).expect("exact size"))
    }
}

/// What is missing is an answer, not an error.
pub(super) fn held<T>(answer: Result<T, CardError>) -> Result<Option<T>, CardError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(CardError::Refused {
            status: Status::Missing,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An NQN, zero padded. The configuration has checked its length; what would not fit is cut.
pub(crate) fn nqn_field(nqn: &str) -> [u8; NQN_SIZE] {
    let mut field = [0; NQN_SIZE];
    for (to, from) in field[..NQN_SIZE - 1].iter_mut().zip(nqn.bytes()) {
        *to = from;
    }
    field
}
