//! What the host driver configures: ports, subsystems, namespaces, hosts, listeners, and SSDs that come and go.

use crate::{
    ANA_GROUPS, Action, MAX_NSID, NamespaceEntry, NamespaceUpdate, Outbox, PORTS, Target,
    controller::{Controller, Life},
    replica::UNUSED,
    target::Usage,
    transport::Transport,
};
use core::mem::offset_of;
use heapless::Vec;
use sluice_wire::{
    fabrics::{self, NQN_MAX},
    mgmt::{self, Event, NQN_SIZE, NamespaceConfig, PortConfig, SubsystemConfig, transports},
    nvme::EventKind,
};

/// Why a configuration command failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// For the completion.
    pub status: mgmt::Status,
    /// With [`mgmt::Status::BadField`] the byte offset of the field.
    pub result: u32,
}

impl From<mgmt::Status> for Refusal {
    fn from(status: mgmt::Status) -> Self {
        Self { status, result: 0 }
    }
}

fn bad_field<T>(offset: usize) -> Result<T, Refusal> {
    Err(Refusal {
        status: mgmt::Status::BadField,
        result: offset as u32,
    })
}

/// A subsystem; free while its NQN is empty.
pub(crate) struct Subsystem {
    pub nqn: Vec<u8, NQN_MAX, u8>,
    pub serial: [u8; 20],
    pub model: [u8; 40],
    pub allow_any: bool,
    /// Ports it is reachable at, two bits each: a mask of transports.
    pub(crate) listeners: u8,
}

impl Subsystem {
    pub(crate) const FREE: Self = Self {
        nqn: Vec::new(),
        serial: [0; 20],
        model: [0; 40],
        allow_any: false,
        listeners: 0,
    };

    /// It is reachable at this port over this transport.
    pub(crate) fn listens(&self, port: usize, transport: Transport) -> bool {
        listeners(port as u32, transport.bit()).is_some_and(|bit| self.listeners & bit != 0)
    }

    pub(crate) fn exists(&self) -> bool {
        !self.nqn.is_empty()
    }
}

/// A namespace; free while its NSID is 0.
#[derive(Clone, Copy)]
pub(crate) struct Namespace {
    pub nsid: u32,
    pub subsystem: u8,
    pub entry: NamespaceEntry,
    pub ana_group: u16,
    pub nguid: [u8; 16],
    pub eui64: [u8; 8],
    pub uuid: [u8; 16],
}

impl Namespace {
    pub(crate) const FREE: Self = Self {
        nsid: 0,
        subsystem: 0,
        entry: NamespaceEntry::NONE,
        ana_group: 0,
        nguid: [0; 16],
        eui64: [0; 8],
        uuid: [0; 16],
    };
}

/// A host on some allow-list; free while its mask is 0.
pub(crate) struct Host {
    pub nqn: Vec<u8, NQN_MAX, u8>,
    /// Subsystems it may use, one bit each.
    pub subsystems: u8,
}

impl Host {
    pub(crate) const FREE: Self = Self {
        nqn: Vec::new(),
        subsystems: 0,
    };
}

/// A port as discovery tells of it; the default has no address.
#[derive(Clone, Copy)]
pub(crate) struct Port {
    pub ipv4: [u8; 4],
    pub ipv6: [u8; 16],
    pub io_port: u16,
    pub discovery_port: u16,
    /// 0: no RDMA.
    pub rdma_port: u16,
    pub configured: bool,
}

impl Port {
    pub(crate) const NONE: Self = Self {
        ipv4: [0; 4],
        ipv6: [0; 16],
        io_port: 0,
        discovery_port: 0,
        rdma_port: 0,
        configured: false,
    };
}

type Outcome = Result<(), Refusal>;

impl Target {
    /// Sets the addresses of port `index`.
    ///
    /// # Errors
    /// The index is out of range.
    pub fn port_set(&mut self, index: u32, config: &PortConfig, out: &mut dyn Outbox) -> Outcome {
        let port = self
            .ports
            .get_mut(index as usize)
            .ok_or(mgmt::Status::BadIndex)?;
        *port = Port {
            ipv4: config.ipv4,
            ipv6: config.ipv6,
            io_port: config.io_port.get(),
            discovery_port: config.discovery_port.get(),
            rdma_port: config.rdma_port.get(),
            configured: true,
        };
        self.discovery_changed(out);
        Ok(())
    }

    /// Creates subsystem `index`.
    ///
    /// # Errors
    /// Index out of range or in use, NQN malformed, taken or that of discovery.
    pub fn subsystem_add(
        &mut self,
        index: u32,
        config: &SubsystemConfig,
        out: &mut dyn Outbox,
    ) -> Outcome {
        let at = index as usize;
        let exists = self
            .subsystems
            .get(at)
            .ok_or(mgmt::Status::BadIndex)?
            .exists();
        let Ok(nqn) = fabrics::nqn(&config.nqn) else {
            return bad_field(offset_of!(SubsystemConfig, nqn));
        };
        if nqn == fabrics::DISCOVERY_NQN {
            return bad_field(offset_of!(SubsystemConfig, nqn));
        }
        if exists || self.subsystems.iter().any(|s| s.nqn == nqn) {
            return Err(mgmt::Status::Exists.into());
        }
        if config.allow_any_host > 1 {
            return bad_field(offset_of!(SubsystemConfig, allow_any_host));
        }
        let nqn = Vec::from_slice(nqn).map_err(|_| mgmt::Status::BadLength)?;
        self.subsystems[at] = Subsystem {
            nqn,
            serial: config.serial.map(printable),
            model: config.model.map(printable),
            allow_any: config.allow_any_host == 1,
            listeners: 0,
        };
        self.discovery_changed(out);
        Ok(())
    }

    /// Removes subsystem `index` with its namespaces; its controllers end.
    ///
    /// # Errors
    /// It does not exist.
    pub fn subsystem_remove(&mut self, index: u32, out: &mut dyn Outbox) -> Outcome {
        let at = self.subsystem(index)?;
        for slot in 0..self.controllers.len() {
            if usize::from(self.controllers[slot].subsystem) == at {
                self.end_association(slot, Event::HostDisconnected, out);
            }
        }
        for nsid in 1..=MAX_NSID {
            let _absent = self.drop_namespace(at, nsid, out);
        }
        self.subsystems[at] = Subsystem::FREE;
        for host in &mut self.hosts {
            host.subsystems &= !(1 << at);
        }
        self.discovery_changed(out);
        Ok(())
    }

    /// Adds a namespace to subsystem `index`.
    ///
    /// # Errors
    /// A field is out of range, the NSID is taken, or the card's table is full.
    pub fn namespace_add(
        &mut self,
        index: u32,
        config: &NamespaceConfig,
        out: &mut dyn Outbox,
    ) -> Outcome {
        let at = self.subsystem(index)?;
        let mut entry = check_namespace(config)?;
        if self.is_lost(entry.ssd) {
            entry.flags |= NamespaceEntry::LOST;
        }
        let nsid = config.nsid.get();
        let place = self
            .namespaces
            .iter()
            .position(|n| n.nsid == 0)
            .ok_or(mgmt::Status::Full)?;
        let index = self
            .index
            .get_mut(at)
            .and_then(|row| row.get_mut(nsid as usize - 1));
        let index = index.ok_or(mgmt::Status::BadIndex)?;
        if *index != UNUSED {
            return Err(mgmt::Status::Exists.into());
        }
        *index = place as u8 + 1;
        self.namespaces[place] = Namespace {
            nsid,
            subsystem: at as u8,
            entry,
            ana_group: config.ana_group.get(),
            nguid: config.nguid,
            eui64: config.eui64,
            uuid: config.uuid,
        };
        self.publish(at, nsid, place, Some(entry), out);
        self.namespace_changed(at, nsid, out);
        Ok(())
    }

    /// Removes namespace `nsid` of subsystem `index`.
    ///
    /// # Errors
    /// It does not exist.
    pub fn namespace_remove(&mut self, index: u32, nsid: u32, out: &mut dyn Outbox) -> Outcome {
        let at = self.subsystem(index)?;
        self.drop_namespace(at, nsid, out)?;
        self.namespace_changed(at, nsid, out);
        Ok(())
    }

    /// Puts a host on the allow-list of subsystem `index`.
    ///
    /// # Errors
    /// NQN malformed, host already on the list, or the card's table of hosts is full.
    pub fn host_add(&mut self, index: u32, nqn: &[u8; NQN_SIZE], out: &mut dyn Outbox) -> Outcome {
        let at = self.subsystem(index)?;
        let Ok(nqn) = fabrics::nqn(nqn) else {
            return bad_field(0);
        };
        let known = self
            .hosts
            .iter()
            .position(|h| h.subsystems != 0 && h.nqn == nqn);
        let free = || self.hosts.iter().position(|h| h.subsystems == 0);
        let place = known.or_else(free).ok_or(mgmt::Status::Full)?;
        let host = &mut self.hosts[place];
        if known.is_some() && host.subsystems & 1 << at != 0 {
            return Err(mgmt::Status::Exists.into());
        }
        if known.is_none() {
            host.nqn = Vec::from_slice(nqn).map_err(|_| mgmt::Status::BadLength)?;
        }
        host.subsystems |= 1 << at;
        self.discovery_changed(out);
        Ok(())
    }

    /// Takes a host off the allow-list of subsystem `index`; its controllers there end unless every host is allowed.
    ///
    /// # Errors
    /// It is not on the list.
    pub fn host_remove(
        &mut self,
        index: u32,
        nqn: &[u8; NQN_SIZE],
        out: &mut dyn Outbox,
    ) -> Outcome {
        let at = self.subsystem(index)?;
        let Ok(nqn) = fabrics::nqn(nqn) else {
            return bad_field(0);
        };
        let listed = |h: &&mut Host| h.subsystems & 1 << at != 0 && h.nqn == nqn;
        let host = self
            .hosts
            .iter_mut()
            .find(listed)
            .ok_or(mgmt::Status::Missing)?;
        host.subsystems &= !(1 << at);
        self.end_strangers(at, out);
        self.discovery_changed(out);
        Ok(())
    }

    /// Lets every host use subsystem `index` (`allow` 1), or those of its allow-list alone (0): then controllers of others
    /// there end.
    ///
    /// # Errors
    /// There is no such subsystem, or `allow` is neither.
    pub fn allow_any_host(&mut self, index: u32, allow: u32, out: &mut dyn Outbox) -> Outcome {
        let at = self.subsystem(index)?;
        if allow > 1 {
            return Err(mgmt::Status::BadIndex.into());
        }
        self.subsystems[at].allow_any = allow == 1;
        self.end_strangers(at, out);
        self.discovery_changed(out);
        Ok(())
    }

    /// Ends the controllers of subsystem `at` whose hosts may not use it any more.
    fn end_strangers(&mut self, at: usize, out: &mut dyn Outbox) {
        for slot in 0..self.controllers.len() {
            let Controller {
                life,
                subsystem,
                host_nqn,
                ..
            } = &self.controllers[slot];
            let here = *life == Life::Live && usize::from(*subsystem) == at;
            if here && !self.allowed(at, host_nqn) {
                self.end_association(slot, Event::HostDisconnected, out);
            }
        }
    }

    /// Makes subsystem `index` reachable at `port` over these [`transports`]. All of them (0) are those that the port has now and
    /// those it gets later.
    ///
    /// # Errors
    /// Port not configured, or not for this transport; or reachable there already.
    pub fn listener_add(
        &mut self,
        index: u32,
        port: u32,
        over: u32,
        out: &mut dyn Outbox,
    ) -> Outcome {
        let at = self.subsystem(index)?;
        let bits = listeners(port, over).ok_or(mgmt::Status::BadIndex)?;
        let place = self
            .ports
            .get(port as usize)
            .ok_or(mgmt::Status::BadIndex)?;
        let only_rdma = over == transports::RDMA;
        if !place.configured || (only_rdma && place.rdma_port == 0) {
            return Err(mgmt::Status::Missing.into());
        }
        if self.subsystems[at].listeners & bits == bits {
            return Err(mgmt::Status::Exists.into());
        }
        self.subsystems[at].listeners |= bits;
        self.discovery_changed(out);
        Ok(())
    }

    /// Withdraws it. Controllers that came in there stay.
    ///
    /// # Errors
    /// It was not reachable there.
    pub fn listener_remove(
        &mut self,
        index: u32,
        port: u32,
        over: u32,
        out: &mut dyn Outbox,
    ) -> Outcome {
        let at = self.subsystem(index)?;
        let bits = listeners(port, over).ok_or(mgmt::Status::BadIndex)?;
        if self.subsystems[at].listeners & bits == 0 {
            return Err(mgmt::Status::Missing.into());
        }
        self.subsystems[at].listeners &= !bits;
        self.discovery_changed(out);
        Ok(())
    }

    /// An SSD was lost or came back: its namespaces fail every command cleanly, or work again, and hosts are told.
    pub fn ssd_set(&mut self, ssd: u8, present: bool, out: &mut dyn Outbox) {
        let (word, bit) = (usize::from(ssd / 32), 1 << (ssd % 32));
        self.lost_ssds[word] = if present {
            self.lost_ssds[word] & !bit
        } else {
            self.lost_ssds[word] | bit
        };
        for place in 0..self.namespaces.len() {
            let Namespace {
                nsid,
                subsystem,
                entry,
                ..
            } = self.namespaces[place];
            let lost = entry.flags & NamespaceEntry::LOST != 0;
            if nsid == 0 || entry.ssd != ssd || lost != present {
                continue;
            }
            self.namespaces[place].entry.flags ^= NamespaceEntry::LOST;
            let at = usize::from(subsystem);
            self.publish(at, nsid, place, Some(self.namespaces[place].entry), out);
            self.namespace_changed(at, nsid, out);
        }
    }

    /// Brings the SMART log up to date; a temperature beyond a host's threshold is reported to it.
    pub fn usage_set(&mut self, usage: Usage, out: &mut dyn Outbox) {
        self.usage = usage;
        for controller in self
            .controllers
            .iter_mut()
            .filter(|c| c.is_enabled() && !c.is_discovery())
        {
            let [over, under] = controller.features.temperature;
            let hot = usage.kelvin >= over || usage.kelvin <= under;
            if hot && !controller.hot {
                controller.raise(EventKind::Temperature);
                controller.deliver(out);
            }
            controller.hot = hot;
        }
    }

    fn is_lost(&self, ssd: u8) -> bool {
        self.lost_ssds[usize::from(ssd / 32)] & 1 << (ssd % 32) != 0
    }

    fn subsystem(&self, index: u32) -> Result<usize, Refusal> {
        let at = index as usize;
        let subsystem = self.subsystems.get(at).ok_or(mgmt::Status::BadIndex)?;
        if subsystem.exists() {
            Ok(at)
        } else {
            Err(mgmt::Status::Missing.into())
        }
    }

    /// The namespace `nsid` of subsystem `at`.
    pub(crate) fn namespace(&self, at: u8, nsid: u32) -> Option<&Namespace> {
        let place = *self
            .index
            .get(usize::from(at))?
            .get(nsid.wrapping_sub(1) as usize)?;
        self.namespaces.get(usize::from(place).wrapping_sub(1))
    }

    fn drop_namespace(&mut self, at: usize, nsid: u32, out: &mut dyn Outbox) -> Outcome {
        let index = self
            .index
            .get_mut(at)
            .and_then(|row| row.get_mut(nsid.wrapping_sub(1) as usize));
        let index = index.ok_or(mgmt::Status::Missing)?;
        let place = usize::from(core::mem::replace(index, UNUSED)).wrapping_sub(1);
        *self
            .namespaces
            .get_mut(place)
            .ok_or(mgmt::Status::Missing)? = Namespace::FREE;
        self.publish(at, nsid, place, None, out);
        Ok(())
    }

    fn publish(
        &self,
        at: usize,
        nsid: u32,
        place: usize,
        entry: Option<NamespaceEntry>,
        out: &mut dyn Outbox,
    ) {
        out.push(Action::Namespace(NamespaceUpdate {
            subsystem: at as u8,
            place: place as u8,
            nsid,
            entry,
        }));
    }

    fn namespace_changed(&mut self, at: usize, nsid: u32, out: &mut dyn Outbox) {
        for controller in self
            .controllers
            .iter_mut()
            .filter(|c| c.is_live() && usize::from(c.subsystem) == at)
        {
            controller.changed |= 1 << (nsid - 1);
            controller.raise(EventKind::NamespaceChanged);
            controller.deliver(out);
        }
    }

    fn discovery_changed(&mut self, out: &mut dyn Outbox) {
        self.generation = self.generation.wrapping_add(1);
        for controller in self
            .controllers
            .iter_mut()
            .filter(|c| c.is_live() && c.is_discovery())
        {
            controller.raise(EventKind::DiscoveryChange);
            controller.deliver(out);
        }
    }

    /// This host may use that subsystem.
    pub(crate) fn allowed(&self, at: usize, host_nqn: &[u8]) -> bool {
        self.subsystems.get(at).is_some_and(|s| s.allow_any)
            || self
                .hosts
                .iter()
                .any(|h| h.subsystems & 1 << at != 0 && h.nqn == host_nqn)
    }
}

/// The bits of a port's transports in a subsystem's listeners; `None` if there is no such port or transport.
fn listeners(port: u32, over: u32) -> Option<u8> {
    let over = if over == 0 { transports::ALL } else { over };
    if over & !transports::ALL != 0 || port >= PORTS as u32 {
        return None;
    }
    Some((over as u8) << (2 * port))
}

const _: () = assert!(2 * PORTS <= u8::BITS as usize);

fn check_namespace(config: &NamespaceConfig) -> Result<NamespaceEntry, Refusal> {
    const KNOWN: u8 = NamespaceEntry::READ_ONLY
        | NamespaceEntry::DSM
        | NamespaceEntry::WRITE_ZEROES
        | NamespaceEntry::COMPARE;
    let (first_block, blocks) = (config.first_block.get(), config.blocks.get());
    if !(1..=MAX_NSID).contains(&config.nsid.get()) {
        return bad_field(offset_of!(NamespaceConfig, nsid));
    }
    let Ok(ssd) = u8::try_from(config.ssd.get()) else {
        return bad_field(offset_of!(NamespaceConfig, ssd));
    };
    if blocks == 0 || first_block.checked_add(blocks).is_none() {
        return bad_field(offset_of!(NamespaceConfig, blocks));
    }
    if config.block_shift != 9 && config.block_shift != 12 {
        return bad_field(offset_of!(NamespaceConfig, block_shift));
    }
    if config.flags & !KNOWN != 0 {
        return bad_field(offset_of!(NamespaceConfig, flags));
    }
    if !(1..=ANA_GROUPS).contains(&config.ana_group.get().into()) {
        return bad_field(offset_of!(NamespaceConfig, ana_group));
    }
    Ok(NamespaceEntry {
        first_block,
        blocks,
        ssd_nsid: config.ssd_nsid.get(),
        ssd,
        shift: config.block_shift,
        flags: config.flags,
    })
}

/// Identify text is printable ASCII (Base, section 1.4.2).
fn printable(byte: u8) -> u8 {
    if (0x20..0x7f).contains(&byte) {
        byte
    } else {
        b' '
    }
}
