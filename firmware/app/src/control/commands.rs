//! What each management command does. Formats: [`sluice_wire::mgmt`].

use sluice_hal::{CoreId, Hal, layout};
use sluice_nvmf::Refusal;
use sluice_ssd::{place, queue};
use sluice_wire::mgmt::{
    CardInfo, Event, MAX_DATA, NQN_SIZE, NamespaceConfig, Opcode, PortConfig, QueuePlace,
    SsdAttach, Status, SubsystemConfig,
};
use zerocopy::{FromBytes, IntoBytes, TryFromBytes};

use super::ControlCore;
use super::host_queue::{COUNTERS, DATA, PORT, Step};
use crate::limits;
use crate::link::CoreLink;
use crate::mail::ToData;

/// The command's data go from the host to the card.
pub fn brings_data(opcode: u8) -> bool {
    matches!(
        Opcode::try_read_from_bytes(&[opcode]),
        Ok(Opcode::PortSet
            | Opcode::SsdAttach
            | Opcode::SubsystemAdd
            | Opcode::NamespaceAdd
            | Opcode::HostAdd
            | Opcode::HostRemove
            | Opcode::FlashBegin
            | Opcode::FlashWrite
            | Opcode::KeyRotate)
    )
}

impl ControlCore {
    /// Executes the command in hand; its data are in [`DATA`].
    pub(super) fn execute<H: Hal>(&mut self, hal: &mut H) {
        self.port.step = Step::Idle;
        let command = self.port.command;
        let index = command.index.get();
        let (arg, arg1) = (command.args[0].get(), command.args[1].get());
        let Ok(opcode) = Opcode::try_read_from_bytes(&[command.opcode]) else {
            return self.finish(Status::UnknownOpcode, 0, 0);
        };
        match opcode {
            Opcode::Identify => self.identify(hal),
            Opcode::PortSet => self.port_set(index, hal),
            Opcode::PortGet => self.port_get(index, hal),
            Opcode::SsdPrepare => self.ssd_prepare(index, arg, hal),
            Opcode::SsdAttach => self.ssd_attach(index, hal),
            Opcode::SsdDetach => self.ssd_detach(index, hal),
            Opcode::SsdGet => self.ssd_get(index, hal),
            Opcode::SubsystemAdd => {
                let outcome = self.data::<SubsystemConfig, _>(hal);
                let outcome =
                    outcome.and_then(|c| self.target.subsystem_add(index, &c, &mut self.actions));
                self.close(outcome);
            }
            Opcode::SubsystemRemove => {
                let outcome = self.target.subsystem_remove(index, &mut self.actions);
                self.close(outcome);
            }
            Opcode::NamespaceAdd => {
                let outcome = self.data::<NamespaceConfig, _>(hal).and_then(|c| {
                    self.check_ssd(c.ssd.get())?;
                    self.target.namespace_add(index, &c, &mut self.actions)
                });
                self.close(outcome);
            }
            Opcode::NamespaceRemove => {
                let outcome = self.target.namespace_remove(index, arg, &mut self.actions);
                self.close(outcome);
            }
            Opcode::HostAdd => {
                let outcome = self.data::<[u8; NQN_SIZE], _>(hal);
                let outcome =
                    outcome.and_then(|nqn| self.target.host_add(index, &nqn, &mut self.actions));
                self.close(outcome);
            }
            Opcode::HostRemove => {
                let outcome = self.data::<[u8; NQN_SIZE], _>(hal);
                let outcome =
                    outcome.and_then(|nqn| self.target.host_remove(index, &nqn, &mut self.actions));
                self.close(outcome);
            }
            Opcode::ListenerAdd => {
                let outcome = self
                    .target
                    .listener_add(index, arg, arg1, &mut self.actions);
                self.close(outcome);
            }
            Opcode::ListenerRemove => {
                let outcome = self
                    .target
                    .listener_remove(index, arg, arg1, &mut self.actions);
                self.close(outcome);
            }
            Opcode::AllowAnyHost => {
                let outcome = self.target.allow_any_host(index, arg, &mut self.actions);
                self.close(outcome);
            }
            Opcode::SubsystemGet => {
                let held = self.target.subsystem_held(index);
                self.give(held, hal);
            }
            Opcode::NamespaceGet => {
                let held = self.target.namespace_held(index, arg);
                self.give(held, hal);
            }
            Opcode::HostGet => {
                let held = self.target.host_held(index, arg);
                self.give(held, hal);
            }
            Opcode::ControllerGet => {
                let held = self.target.controller_held(index, arg);
                self.give(held, hal);
            }
            Opcode::Counters => self.counters(index, hal),
            Opcode::NextEvent if self.port.next_event.is_some() => self.finish(Status::InUse, 0, 0),
            Opcode::NextEvent => self.port.next_event = Some(command.cid.get()),
            Opcode::FlashInfo
            | Opcode::FlashBegin
            | Opcode::FlashWrite
            | Opcode::FlashVerify
            | Opcode::FlashActivate
            | Opcode::FlashConfirm
            | Opcode::FlashRollBack
            | Opcode::KeyRotate => self.flash_command(opcode, hal),
        }
    }

    fn close(&mut self, outcome: Result<(), Refusal>) {
        match outcome {
            Ok(()) => self.finish(Status::Success, 0, 0),
            Err(refusal) => self.finish(refusal.status, refusal.result, 0),
        }
    }

    /// The command's data, which must be exactly one `T`.
    fn data<T: FromBytes + IntoBytes, H: Hal>(&mut self, hal: &mut H) -> Result<T, Refusal> {
        if self.port.command.data_len.get() as usize != size_of::<T>() {
            return Err(Refusal {
                status: Status::BadLength,
                result: size_of::<T>() as u32,
            });
        }
        let mut value = T::new_zeroed();
        hal.pm_read(DATA, value.as_mut_bytes());
        Ok(value)
    }

    /// Gives the host driver what the target has.
    fn give<T: IntoBytes + zerocopy::Immutable, H: Hal>(
        &mut self,
        held: Result<T, Refusal>,
        hal: &mut H,
    ) {
        match held {
            Ok(value) => {
                hal.pm_write(DATA, value.as_bytes());
                self.store(size_of::<T>() as u32, 0, hal);
            }
            Err(refusal) => self.close(Err(refusal)),
        }
    }

    fn port_get<H: Hal>(&mut self, index: u32, hal: &mut H) {
        // Only once it was set is there anything at that place.
        if index as usize >= limits::PORTS || self.io_port == 0 {
            return self.finish(Status::Missing, 0, 0);
        }
        const LEN: usize = size_of::<PortConfig>();
        let mut bytes = [0; LEN];
        hal.pm_read(PORT, &mut bytes);
        hal.pm_write(DATA, &bytes);
        self.store(LEN as u32, 0, hal);
    }

    fn ssd_get<H: Hal>(&mut self, index: u32, hal: &mut H) {
        let state = self.ssds.get(index as usize);
        let Some((config, told)) = state.and_then(|s| Some((s.attached?, s.timeout_told))) else {
            return self.finish(Status::Missing, 0, 0);
        };
        hal.pm_write(DATA, config.as_bytes());
        self.store(size_of::<SsdAttach>() as u32, told.into(), hal);
    }

    fn identify<H: Hal>(&mut self, hal: &mut H) {
        let mut firmware = [0; 16];
        let version = crate::VERSION.as_bytes();
        let len = version.len().min(firmware.len());
        firmware[..len].copy_from_slice(&version[..len]);
        let share = crate::memory::Share::of(CoreId(1), self.data_cores);
        let info = CardInfo {
            firmware,
            cores: (u16::from(self.data_cores) + 1).into(),
            max_ssds: (place::max_ssds(self.data_cores.into()) as u16).into(),
            max_subsystems: (sluice_nvmf::SUBSYSTEMS as u16).into(),
            max_namespaces: (sluice_nvmf::NAMESPACES as u16).into(),
            max_hosts: (sluice_nvmf::HOSTS as u16).into(),
            max_ports: (limits::PORTS as u16).into(),
            max_controllers: (sluice_nvmf::CONTROLLERS as u16).into(),
            max_connections: (share.connections() as u16).into(),
            max_io_queues: limits::IO_QUEUES.into(),
            max_queue_entries: limits::QUEUE_ENTRIES.into(),
            max_transfer: limits::TRANSFER.into(),
        };
        hal.pm_write(DATA, info.as_bytes());
        self.store(size_of::<CardInfo>() as u32, 0, hal);
    }

    fn port_set<H: Hal>(&mut self, index: u32, hal: &mut H) {
        if index as usize >= limits::PORTS {
            return self.finish(Status::BadIndex, limits::PORTS as u32, 0);
        }
        let config = match self.data::<PortConfig, _>(hal) {
            Ok(config) => config,
            Err(refusal) => return self.close(Err(refusal)),
        };
        if let Some(offset) = bad_port(&config) {
            return self.finish(Status::BadField, offset as u32, 0);
        }
        self.io_port = config.io_port.get();
        self.discovery_port = config.discovery_port.get();
        self.host.configure(&super::target::host_config(&config));
        self.rdma.configure(&config);
        self.host.announce(&mut CoreLink::new(hal, &mut self.link));
        hal.pm_write(PORT, config.as_bytes());
        let mail = ToData::Port {
            at: PORT.0,
            pm_bus: self.port.pm_bus(),
        };
        self.broadcast(mail.encode(), hal);
        let outcome = self.target.port_set(index, &config, &mut self.actions);
        self.close(outcome);
    }

    fn check_ssd(&self, ssd: u32) -> Result<(), Refusal> {
        let known = self
            .ssds
            .get(ssd as usize)
            .is_some_and(|s| s.attached.is_some());
        if known {
            Ok(())
        } else {
            Err(Status::Missing.into())
        }
    }

    fn ssd_prepare<H: Hal>(&mut self, index: u32, deepest: u32, hal: &mut H) {
        let data_cores = u32::from(self.data_cores);
        let Some(ssd) = self
            .ssds
            .get(index as usize)
            .filter(|_| index < place::max_ssds(data_cores))
        else {
            return self.finish(Status::BadIndex, place::max_ssds(data_cores), 0);
        };
        if ssd.attached.is_some() || ssd.draining != 0 {
            return self.finish(Status::InUse, 0, 0);
        }
        let mut len = 0;
        for core in 1..=self.data_cores {
            let Some(at) = place::queues(index, CoreId(core), data_cores, deepest) else {
                return self.finish(Status::BadField, 0, 0);
            };
            queue::prepare(hal, &at);
            hal.pm_write(DATA.plus(len), at.as_bytes());
            len += size_of::<QueuePlace>() as u32;
            self.ssds[index as usize].entries = at.entries.get();
        }
        self.store(len, data_cores, hal);
    }

    fn ssd_attach<H: Hal>(&mut self, index: u32, hal: &mut H) {
        let config = match self.data::<SsdAttach, _>(hal) {
            Ok(config) => config,
            Err(refusal) => return self.close(Err(refusal)),
        };
        let data_cores = u32::from(self.data_cores);
        let Some(ssd) = self.ssds.get_mut(index as usize).filter(|s| s.entries != 0) else {
            return self.finish(Status::Missing, 0, 0);
        };
        if ssd.attached.is_some() {
            return self.finish(Status::Exists, 0, 0);
        }
        if u32::from(config.queues.get()) != data_cores {
            return self.finish(
                Status::BadField,
                core::mem::offset_of!(SsdAttach, queues) as u32,
                0,
            );
        }
        let small = config.max_transfer.get() != 0 && config.max_transfer.get() < limits::TRANSFER;
        if small {
            // Commands are not split, so an SSD must take what hosts may send.
            return self.finish(
                Status::BadField,
                core::mem::offset_of!(SsdAttach, max_transfer) as u32,
                0,
            );
        }
        let deepest = u32::from(ssd.entries);
        ssd.attached = Some(config);
        ssd.timeout_told = false;
        for core in 1..=self.data_cores {
            let pair = place::pair(index, CoreId(core), data_cores);
            let at = place::queues(index, CoreId(core), data_cores, deepest);
            let (Some(pair), Some(at)) = (pair, at) else {
                continue;
            };
            let (tail, head) = place::doorbells(pair);
            let bus = place::doorbell_addresses(
                config.doorbells.get(),
                config.doorbell_stride.get(),
                core.into(),
            );
            hal.doorbell_map(tail, bus.0);
            hal.doorbell_map(head, bus.1);
            let mail = ToData::SsdAttach {
                ssd: index as u8,
                sq: at.sq.get(),
                cq: at.cq.get(),
                entries: at.entries.get(),
                timeout_ms: config.timeout_ms.get(),
                max_transfer: config.max_transfer.get(),
            };
            self.post(core, mail.encode(), hal);
        }
        self.target.ssd_set(index as u8, true, &mut self.actions);
        self.finish(Status::Success, 0, 0);
    }

    fn ssd_detach<H: Hal>(&mut self, index: u32, hal: &mut H) {
        let Some(ssd) = self
            .ssds
            .get_mut(index as usize)
            .filter(|s| s.attached.is_some())
        else {
            return self.finish(Status::Missing, 0, 0);
        };
        ssd.attached = None;
        ssd.entries = 0;
        ssd.draining = u16::from(self.data_cores);
        self.target.ssd_set(index as u8, false, &mut self.actions);
        self.broadcast(ToData::SsdDetach { ssd: index as u8 }.encode(), hal);
        self.port.step = Step::Waiting;
    }

    /// A data core misses an answer. The host driver is told once per attachment, however many cores wait: it resets
    /// the SSD each time.
    pub(super) fn ssd_timeout(&mut self, ssd: u8) {
        let Some(state) = self
            .ssds
            .get_mut(usize::from(ssd))
            .filter(|s| s.attached.is_some())
        else {
            return;
        };
        if !core::mem::replace(&mut state.timeout_told, true) {
            self.event(Event::SsdTimeout, ssd.into());
        }
    }

    /// A data core has ended its commands to the SSD.
    pub(super) fn drained(&mut self, ssd: u8) {
        let Some(ssd) = self.ssds.get_mut(usize::from(ssd)) else {
            return;
        };
        ssd.draining = ssd.draining.saturating_sub(1);
        if ssd.draining == 0 && self.port.step == Step::Waiting {
            self.finish(Status::Success, 0, 0);
        }
    }

    fn counters<H: Hal>(&mut self, index: u32, hal: &mut H) {
        if index == 0 {
            let mut counters = self.rdma.counters();
            counters.connects_failed = self.target.connects_failed().map(Into::into);
            hal.pm_write(DATA, counters.as_bytes());
            return self.store(size_of_val(&counters) as u32, 0, hal);
        }
        if index > u32::from(self.data_cores) {
            return self.finish(Status::BadIndex, u32::from(self.data_cores), 0);
        }
        self.port.step = Step::Waiting;
        self.post(index as u8, ToData::Count { at: COUNTERS.0 }.encode(), hal);
    }

    /// The data core has written its counters: pass them on.
    pub(super) fn counted<H: Hal>(&mut self, hal: &mut H) {
        const LEN: usize = size_of::<sluice_wire::mgmt::Counters>();
        if self.port.step != Step::Waiting {
            return;
        }
        let mut bytes = [0; LEN];
        hal.pm_read(COUNTERS, &mut bytes);
        hal.pm_write(DATA, &bytes);
        self.store(LEN as u32, 0, hal);
    }
}

/// Offset of a field of a port's configuration that makes no sense.
fn bad_port(config: &PortConfig) -> Option<usize> {
    use core::mem::offset_of;
    let group = config.mac[0] & 1 != 0;
    if group || config.mac == [0; 6] {
        return Some(offset_of!(PortConfig, mac));
    }
    if !(1280..=9000).contains(&config.mtu.get()) {
        return Some(offset_of!(PortConfig, mtu));
    }
    if config.ipv4_prefix > 32 {
        return Some(offset_of!(PortConfig, ipv4_prefix));
    }
    if config.ipv6_prefix > 128 {
        return Some(offset_of!(PortConfig, ipv6_prefix));
    }
    if config.vlan.get() > 4094 {
        return Some(offset_of!(PortConfig, vlan));
    }
    (config.io_port.get() == 0).then_some(offset_of!(PortConfig, io_port))
}

const _: () =
    assert!(size_of::<QueuePlace>() * 15 <= MAX_DATA && layout::PAGE_SIZE as usize >= MAX_DATA);
