//! Taking over a card and SSDs that run, after the driver before was killed or has left: nothing is reset that is well, and
//! hosts notice nothing. What the card serves is compared with the configuration and put right where they differ, since the
//! driver before may have died in the middle of a change.

use sluice_device::Device;
use sluice_wire::mgmt::{NamespaceConfig, SsdAttach, transports};
use sluice_wire::nvme::register;
use zerocopy::IntoBytes;

use super::{BringupError, Notice, Rig, Slot, Unit, wire};
use crate::card::{Card, nqn_field};
use crate::config::{Config, SsdSpec};
use crate::nvme::{Ssd, SsdInfo, SsdNamespace, SsdOptions};

/// What taking over came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// SSDs that had to be reset, or are lost.
    pub notices: Vec<Notice>,
    /// What the card had otherwise than the configuration, and has right now.
    pub corrected: Vec<String>,
}

/// What the card says of an SSD: its number, how it was attached, and whether it did not answer in time.
type Held = (u32, SsdAttach, bool);

impl<D: Device> Rig<D> {
    /// Takes over what runs. `open` gives the device of an SSD of the configuration as it is, not reset; one that it has no
    /// device for is lost, and the others go on. Devices of the driver before that the configuration does not name must
    /// have been reset before.
    ///
    /// # Errors
    /// [`BringupError`]: the card can only be booted then, and everything [started](Rig::start).
    pub fn adopt(
        card: Card<D>,
        config: Config,
        options: SsdOptions,
        mut open: impl FnMut(&SsdSpec) -> Result<D, String>,
    ) -> Result<(Self, Adopted), BringupError> {
        config.fit(card.info())?;
        let mut rig = Self {
            card,
            ssds: Vec::new(),
            subsystems: Vec::new(),
            config,
            placed: Vec::new(),
            options,
        };
        let mut adopted = Adopted::default();
        rig.adopt_ports(&mut adopted)?;
        rig.adopt_ssds(&mut open, &mut adopted)?;
        let infos: Vec<&SsdInfo> = rig.ssds.iter().map(|unit| &unit.info).collect();
        rig.placed = rig.config.place(&infos)?;
        rig.adopt_subsystems(&mut adopted)?;
        for line in &adopted.corrected {
            log::warn!("the card differed from the configuration: {line}");
        }
        Ok((rig, adopted))
    }

    /// Leaves everything as it runs, for the next driver to [take over](Rig::adopt): no destructor is run, so descriptors stay
    /// open and memory stays mapped until the process ends.
    pub fn leave(self) {
        std::mem::forget(self);
    }

    fn adopt_ports(&mut self, adopted: &mut Adopted) -> Result<(), BringupError> {
        for (number, port) in (0..).zip(self.config.ports.clone()) {
            let want = wire::port(&port);
            let held = self.card.port_held(number)?;
            if held.is_none_or(|held| held.as_bytes() != want.as_bytes()) {
                adopted.corrected.push(format!("port {}", port.name));
                self.card.set_port(number, &want)?;
            }
        }
        Ok(())
    }

    fn adopt_ssds(
        &mut self,
        open: &mut impl FnMut(&SsdSpec) -> Result<D, String>,
        adopted: &mut Adopted,
    ) -> Result<(), BringupError> {
        let mut held: Vec<Held> = Vec::new();
        for number in 0..u32::from(self.card.info().max_ssds) {
            if let Some((attach, silent)) = self.card.ssd_held(number)? {
                held.push((number, attach, silent));
            }
        }
        let mut opened = Vec::new();
        for spec in &self.config.ssds {
            let device = open(spec);
            let mut at = None;
            if let Ok(device) = &device
                && let Ok(bar) = device.bar(0)
            {
                let doorbells = bar.bus() + u64::from(register::DOORBELLS);
                at = (held.iter()).position(|(_, attach, _)| attach.doorbells.get() == doorbells);
            }
            opened.push((spec.clone(), device, at.map(|at| held.remove(at))));
        }
        // What is left belongs to no SSD of the configuration.
        for (number, ..) in held {
            adopted.corrected.push(format!("SSD number {number}"));
            self.card.detach_ssd(number)?;
        }
        let taken: Vec<u32> = opened
            .iter()
            .filter_map(|(.., h)| Some(h.as_ref()?.0))
            .collect();
        let mut free = (0..).filter(|n| !taken.contains(n));
        for (index, (spec, device, held)) in opened.into_iter().enumerate() {
            let number = held.map_or_else(|| free.next().unwrap_or_default(), |(n, ..)| n);
            let unit = match device {
                Ok(device) => self.adopt_ssd(device, &spec, number, held, adopted),
                Err(reason) => Err(reason),
            };
            let unit = match unit {
                Ok((unit, true)) => {
                    adopted.notices.push(Notice::SsdReset { ssd: index });
                    unit
                }
                Ok((unit, false)) => unit,
                Err(reason) => {
                    log::error!("{}: lost: {reason}", spec.name);
                    if held.is_some() {
                        self.card.detach_ssd(number)?;
                    }
                    adopted.notices.push(Notice::SsdLost { ssd: index, reason });
                    let info = self.assumed(index);
                    let slot = Slot::Lost;
                    Unit { number, info, slot }
                }
            };
            self.ssds.push(unit);
        }
        Ok(())
    }

    /// Takes an SSD over, or resets and attaches it; true if it was reset. After an error it is stopped.
    fn adopt_ssd(
        &mut self,
        device: D,
        spec: &SsdSpec,
        number: u32,
        held: Option<Held>,
        adopted: &mut Adopted,
    ) -> Result<(Unit<D>, bool), String> {
        let options = self.ssd_options();
        // The driver before may have died while it took an SSD out that nothing lay on any more: some of its queues may be gone,
        // and no SSD says which it has. A reset is noticed by nobody.
        let unused = self.is_unused(spec);
        let device = match held {
            Some(_) if unused => device,
            Some((_, attach, false)) if attach.queues.get() == options.queues => {
                match Ssd::adopt(device, options, options.queues) {
                    Ok(ssd) => return Ok((Unit::serving(number, ssd), false)),
                    Err((device, error)) => {
                        log::warn!("{}: {error}", spec.name);
                        device
                    }
                }
            }
            Some(_) => {
                log::warn!("{}: it did not answer, resetting", spec.name);
                device
            }
            None => {
                adopted.corrected.push(format!("SSD {}", spec.name));
                device
            }
        };
        let text = |e: BringupError| e.to_string();
        let mut ssd = Ssd::open(device, options).map_err(|e| text(e.into()))?;
        // It has been reset, so it writes nothing more for the card.
        if held.is_some() {
            self.card.detach_ssd(number).map_err(|e| text(e.into()))?;
        }
        if let Err(error) = self.attach(number, &mut ssd, spec) {
            let _ = ssd.stop();
            return Err(text(error));
        }
        Ok((Unit::serving(number, ssd), held.is_some() && !unused))
    }

    fn is_unused(&self, spec: &SsdSpec) -> bool {
        let mut namespaces = self.config.subsystems.iter().flat_map(|s| &s.namespaces);
        !namespaces.any(|n| self.config.ssds[n.ssd].name == spec.name)
    }

    /// What an SSD that is not there must have been, for the rest of the configuration to hold together.
    fn assumed(&self, index: usize) -> SsdInfo {
        let namespaces = self.config.subsystems.iter().flat_map(|s| &s.namespaces);
        let mut info = SsdInfo::default();
        for spec in namespaces.filter(|n| n.ssd == index) {
            let end = spec.first_block + spec.blocks.unwrap_or(1);
            let known = info.namespaces.iter_mut().find(|n| n.nsid == spec.ssd_nsid);
            match known {
                Some(known) => known.blocks = known.blocks.max(end),
                None => info.namespaces.push(SsdNamespace {
                    nsid: spec.ssd_nsid,
                    blocks: end,
                    block_shift: 12,
                    write_protected: false,
                    nguid: [0; 16],
                    eui64: [0; 8],
                    uuid: [0; 16],
                }),
            }
        }
        info
    }

    fn adopt_subsystems(&mut self, adopted: &mut Adopted) -> Result<(), BringupError> {
        let wanted = self.config.subsystems.clone();
        let mut numbers: Vec<Option<u32>> = vec![None; wanted.len()];
        let max = u32::from(self.card.info().max_subsystems);
        for number in 0..max {
            let Some(held) = self.card.subsystem_held(number)? else {
                continue;
            };
            let at = wanted
                .iter()
                .position(|s| nqn_field(&s.nqn) == held.config.nqn);
            let same = at.filter(|at| {
                let want = wire::subsystem(&wanted[*at]);
                (want.serial, want.model) == (held.config.serial, held.config.model)
            });
            match same {
                Some(at) => {
                    numbers[at] = Some(number);
                    let allow = wanted[at].allow_any_host;
                    if allow != (held.config.allow_any_host != 0) {
                        let nqn = &wanted[at].nqn;
                        adopted
                            .corrected
                            .push(format!("whether any host may use {nqn}"));
                        self.card.allow_any_host(number, allow)?;
                    }
                }
                None => {
                    adopted.corrected.push(format!("subsystem number {number}"));
                    self.card.remove_subsystem(number)?;
                }
            }
        }
        let taken: Vec<u32> = numbers.iter().flatten().copied().collect();
        let mut free = (0..max).filter(|n| !taken.contains(n));
        for (number, subsystem) in numbers.iter_mut().zip(&wanted) {
            if number.is_none() {
                adopted
                    .corrected
                    .push(format!("subsystem {}", subsystem.nqn));
                let new = free.next().expect("the configuration fits");
                self.card.add_subsystem(new, &wire::subsystem(subsystem))?;
                *number = Some(new);
            }
        }
        self.subsystems = numbers.into_iter().flatten().collect();
        for index in 0..wanted.len() {
            self.adopt_hosts(index, adopted)?;
            self.adopt_namespaces(index, adopted)?;
        }
        for index in 0..wanted.len() {
            self.adopt_listeners(index, adopted)?;
        }
        Ok(())
    }

    fn adopt_hosts(&mut self, index: usize, adopted: &mut Adopted) -> Result<(), BringupError> {
        let (number, subsystem) = (
            self.subsystems[index],
            self.config.subsystems[index].clone(),
        );
        let held = self.card.hosts_held(number)?;
        for host in &subsystem.hosts {
            if !held.contains(&nqn_field(host)) {
                adopted
                    .corrected
                    .push(format!("host {host} of {}", subsystem.nqn));
                self.card.add_host(number, host)?;
            }
        }
        for host in held {
            if !subsystem.hosts.iter().any(|h| nqn_field(h) == host) {
                let end = host.iter().position(|b| *b == 0).unwrap_or(host.len());
                let host = String::from_utf8_lossy(&host[..end]);
                adopted
                    .corrected
                    .push(format!("host {host} of {}", subsystem.nqn));
                self.card.remove_host(number, &host)?;
            }
        }
        Ok(())
    }

    fn adopt_namespaces(
        &mut self,
        index: usize,
        adopted: &mut Adopted,
    ) -> Result<(), BringupError> {
        let (number, nqn) = (
            self.subsystems[index],
            self.config.subsystems[index].nqn.clone(),
        );
        let placed = self.placed.iter().filter(|p| p.subsystem == index);
        let wanted: Vec<NamespaceConfig> = placed
            .filter_map(|placed| {
                let spec = self.config.namespace(placed);
                let unit = &self.ssds[spec.ssd];
                let config = || wire::namespace(spec, placed, unit.number, unit.info.oncs);
                (!unit.is_lost()).then(config)
            })
            .collect();
        let same = |a: &NamespaceConfig, b: &NamespaceConfig| a.as_bytes() == b.as_bytes();
        let held = self.card.namespaces_held(number)?;
        for namespace in held.iter().filter(|h| !wanted.iter().any(|w| same(h, w))) {
            let nsid = namespace.nsid.get();
            adopted.corrected.push(format!("namespace {nsid} of {nqn}"));
            self.card.remove_namespace(number, nsid)?;
        }
        for namespace in wanted.iter().filter(|w| !held.iter().any(|h| same(h, w))) {
            let nsid = namespace.nsid.get();
            adopted.corrected.push(format!("namespace {nsid} of {nqn}"));
            self.card.add_namespace(number, namespace)?;
        }
        Ok(())
    }

    fn adopt_listeners(&mut self, index: usize, adopted: &mut Adopted) -> Result<(), BringupError> {
        let (number, subsystem) = (
            self.subsystems[index],
            self.config.subsystems[index].clone(),
        );
        let held = self.card.subsystem_held(number)?;
        let held = held.map_or([0; 4], |state| state.listeners);
        for (port, held) in (0..).zip(held.map(u32::from)) {
            let there = subsystem
                .listeners
                .iter()
                .filter(|l| l.port == port as usize);
            let wanted = there.fold(0, |mask, l| mask | l.mask());
            // 0 would mean all of them.
            for transport in [transports::TCP, transports::RDMA] {
                let (want, have) = (wanted & transport != 0, held & transport != 0);
                if want == have {
                    continue;
                }
                adopted
                    .corrected
                    .push(format!("listener of {}", subsystem.nqn));
                if want {
                    // A port without RDMA takes both together, for when it gets it, but not RDMA alone.
                    let over = if wanted == transports::ALL {
                        0
                    } else {
                        transport
                    };
                    match self.card.add_listener(number, port, over) {
                        Err(crate::card::CardError::Refused {
                            status: sluice_wire::mgmt::Status::Exists,
                            ..
                        }) => {}
                        done => done?,
                    }
                } else {
                    self.card.remove_listener(number, port, transport)?;
                }
            }
        }
        Ok(())
    }
}
