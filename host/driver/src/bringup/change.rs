//! Changes while the card serves: each is checked against the whole configuration and the card's room first, then done on the
//! card, and only then true in [`Rig::config`]. After an error card and configuration are as before, but for the errors
//! of [`ChangeError::Card`] that are no refusals: then the card is in trouble anyway.
//!
//! Names are those of the configuration: a subsystem's NQN, a port's or SSD's name. A port is never removed, since the card
//! has no such command; it can be given other addresses.

use std::fmt;

use sluice_device::Device;
use sluice_wire::mgmt::{ControllerState, transports};

use super::{BringupError, Rig, Slot, Unit, wire};
use crate::card::CardError;
use crate::config::{Config, ConfigError, Listener, Placed, raw};
use crate::nvme::{Erase, Ssd, SsdError, SsdInfo};

/// What a change is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An Ethernet port.
    Port,
    /// An SSD.
    Ssd,
    /// A subsystem.
    Subsystem,
    /// A namespace of a subsystem.
    Namespace,
    /// A host on a subsystem's list.
    Host,
    /// A port and transport at which a subsystem is reachable.
    Listener,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Port => "port",
            Self::Ssd => "SSD",
            Self::Subsystem => "subsystem",
            Self::Namespace => "namespace",
            Self::Host => "host",
            Self::Listener => "listener",
        })
    }
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is one already.
    #[error("there is a {kind} {name} already")]
    Exists {
        /// What.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// There is none.
    #[error("there is no {kind} {name}; there are: {have}")]
    NotFound {
        /// What.
        kind: Kind,
        /// What it was called.
        name: String,
        /// Those that there are.
        have: String,
    },
    /// Something else needs it.
    #[error("{kind} {name} is in use by {by}; remove that first")]
    InUse {
        /// What.
        kind: Kind,
        /// Its name.
        name: String,
        /// What uses it.
        by: String,
    },
    /// An SSD that is lost cannot get namespaces.
    #[error("SSD {name} is lost; bring it back first")]
    Lost {
        /// Its name.
        name: String,
    },
    /// The card has no room.
    #[error("the card has room for {max} {kind}s, and they are taken")]
    Full {
        /// What.
        kind: Kind,
        /// How many fit.
        max: usize,
    },
    /// A value is not allowed, or the whole would not hold together.
    #[error(transparent)]
    Invalid(Box<ConfigError>),
    /// The card refused it ([`CardError::Refused`]) or does not answer.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The SSD.
    #[error(transparent)]
    Ssd(#[from] SsdError),
    /// The SSD's queues, or its namespaces after it was changed.
    #[error(transparent)]
    Bringup(BringupError),
}

impl From<ConfigError> for ChangeError {
    fn from(error: ConfigError) -> Self {
        Self::Invalid(Box::new(error))
    }
}

impl From<BringupError> for ChangeError {
    fn from(error: BringupError) -> Self {
        match error {
            BringupError::Card(e) => Self::Card(e),
            BringupError::Ssd(e) => Self::Ssd(e),
            BringupError::Config(e) => Self::Invalid(e),
            other => Self::Bringup(other),
        }
    }
}

type Change<T = ()> = Result<T, ChangeError>;

impl<D: Device> Rig<D> {
    /// Adds a subsystem with the hosts, listeners and namespaces it names. `hosts: Some(vec![])` is none yet,
    /// `listeners: None` all ports, as in a file.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn add_subsystem(&mut self, spec: raw::Subsystem) -> Change {
        if self.config.subsystems.iter().any(|s| s.nqn == spec.nqn) {
            let (kind, name) = (Kind::Subsystem, spec.nqn);
            return Err(ChangeError::Exists { kind, name });
        }
        let (next, placed) = self.edited(|file| file.subsystems.push(spec))?;
        let number = free(
            &self.subsystems,
            self.card.info().max_subsystems,
            Kind::Subsystem,
        )?;
        let index = self.subsystems.len();
        self.serving(&next, index)?;
        let before = std::mem::replace(&mut self.config, next);
        let placed_before = std::mem::replace(&mut self.placed, placed);
        self.subsystems.push(number);
        let done = self.introduce(index);
        if done.is_err() {
            // It may not even be there.
            let _ = self.card.remove_subsystem(number);
            self.subsystems.pop();
            self.config = before;
            self.placed = placed_before;
        }
        done
    }

    /// Removes a subsystem; associations with it end.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn remove_subsystem(&mut self, nqn: &str) -> Change {
        let index = self.subsystem(nqn)?;
        let (next, placed) = self.edited(|file| drop(file.subsystems.remove(index)))?;
        self.card.remove_subsystem(self.subsystems[index])?;
        self.subsystems.remove(index);
        self.adopt_config(next, placed);
        Ok(())
    }

    /// Allows every host, or those of the list alone: then associations of others end.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn allow_any_host(&mut self, nqn: &str, allow: bool) -> Change {
        let index = self.subsystem(nqn)?;
        let (next, placed) =
            self.edited(|file| file.subsystems[index].allow_any_host = Some(allow))?;
        self.card.allow_any_host(self.subsystems[index], allow)?;
        self.adopt_config(next, placed);
        Ok(())
    }

    /// Allows a host.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn add_host(&mut self, nqn: &str, host: &str) -> Change {
        let index = self.subsystem(nqn)?;
        if self.config.subsystems[index]
            .hosts
            .iter()
            .any(|h| h == host)
        {
            let (kind, name) = (Kind::Host, host.into());
            return Err(ChangeError::Exists { kind, name });
        }
        let (next, placed) = self.edited(|file| {
            let hosts = &mut file.subsystems[index].hosts;
            hosts.get_or_insert_default().push(host.into());
        })?;
        self.card.add_host(self.subsystems[index], host)?;
        self.adopt_config(next, placed);
        Ok(())
    }

    /// Withdraws a host; its associations end unless every host is allowed.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn remove_host(&mut self, nqn: &str, host: &str) -> Change {
        let index = self.subsystem(nqn)?;
        let hosts = &self.config.subsystems[index].hosts;
        if !hosts.iter().any(|h| h == host) {
            return Err(not_found(Kind::Host, host, hosts));
        }
        let (next, placed) = self.edited(|file| {
            let hosts = file.subsystems[index].hosts.as_mut();
            hosts.expect("all is given").retain(|h| h != host);
        })?;
        self.card.remove_host(self.subsystems[index], host)?;
        self.adopt_config(next, placed);
        Ok(())
    }

    /// Makes a subsystem reachable at a port over these [`transports`]; 0: all that the port has or will have.
    ///
    /// # Errors
    /// [`ChangeError`]; it exists if one of the transports is there already.
    pub fn add_listener(&mut self, nqn: &str, port: &str, over: u32) -> Change {
        let (index, port) = (self.subsystem(nqn)?, self.port(port)?);
        let listener = Listener {
            port,
            transports: if over == transports::ALL { 0 } else { over },
        };
        let name = self.config.listener_text(listener);
        let listeners = &self.config.subsystems[index].listeners;
        if (listeners.iter()).any(|l| l.port == port && l.mask() & listener.mask() != 0) {
            let kind = Kind::Listener;
            return Err(ChangeError::Exists { kind, name });
        }
        let (next, placed) = self.edited(|file| {
            let listeners = &mut file.subsystems[index].listeners;
            listeners.get_or_insert_default().push(name);
        })?;
        self.card
            .add_listener(self.subsystems[index], port as u32, listener.transports)?;
        self.adopt_config(next, placed);
        Ok(())
    }

    /// Withdraws it over these transports (0: all of them). Associations that came in there stay.
    ///
    /// # Errors
    /// [`ChangeError`]; it is not found if it is there over none of them.
    pub fn remove_listener(&mut self, nqn: &str, port: &str, over: u32) -> Change {
        let (index, port_index) = (self.subsystem(nqn)?, self.port(port)?);
        let gone = if over == 0 { transports::ALL } else { over };
        let listeners = &self.config.subsystems[index].listeners;
        if !(listeners.iter()).any(|l| l.port == port_index && l.mask() & gone != 0) {
            let have: Vec<_> = (listeners.iter())
                .map(|l| self.config.listener_text(*l))
                .collect();
            return Err(not_found(Kind::Listener, port, &have));
        }
        // What is left of those that were for all transports.
        let rdma = self.config.ports[port_index].rdma_port != 0;
        let left = listeners.iter().filter_map(|l| {
            let left = l.mask() & !gone;
            match (l.port == port_index, left) {
                (false, _) => Some(*l),
                (true, 0) => None,
                (true, transports::RDMA) if l.transports == 0 && !rdma => None,
                (true, transports) => Some(Listener {
                    transports: if transports == transports::ALL {
                        0
                    } else {
                        transports
                    },
                    ..*l
                }),
            }
        });
        let left: Vec<_> = left.map(|l| self.config.listener_text(l)).collect();
        let (next, placed) = self.edited(|file| file.subsystems[index].listeners = Some(left))?;
        self.card
            .remove_listener(self.subsystems[index], port_index as u32, over)?;
        self.adopt_config(next, placed);
        Ok(())
    }

    /// Adds a namespace to a subsystem, and gives its NSID: with `spec.nsid` 0 the lowest that is free.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn add_namespace(&mut self, nqn: &str, mut spec: raw::Namespace) -> Change<u32> {
        let index = self.subsystem(nqn)?;
        let taken = |nsid: i64| {
            let mut namespaces = self.config.subsystems[index].namespaces.iter();
            namespaces.any(|n| i64::from(n.nsid) == nsid)
        };
        if spec.nsid == 0 {
            spec.nsid = (1..).find(|n| !taken(*n)).expect("they are few");
        } else if taken(spec.nsid) {
            let (kind, name) = (Kind::Namespace, spec.nsid.to_string());
            return Err(ChangeError::Exists { kind, name });
        }
        let ssd = self.ssd_index(&spec.ssd)?;
        if self.ssds[ssd].is_lost() {
            return Err(ChangeError::Lost { name: spec.ssd });
        }
        let (next, placed) = self.edited(|file| file.subsystems[index].namespaces.push(spec))?;
        let at = next.subsystems[index].namespaces.len() - 1;
        let here = placed
            .iter()
            .find(|p| (p.subsystem, p.namespace) == (index, at));
        let here = *here.expect("every namespace is placed");
        let (config, unit) = (next.namespace(&here), &self.ssds[ssd]);
        let command = wire::namespace(config, &here, unit.number, unit.info.oncs);
        let nsid = config.nsid;
        self.card.add_namespace(self.subsystems[index], &command)?;
        self.adopt_config(next, placed);
        Ok(nsid)
    }

    /// Removes a namespace; hosts are told.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn remove_namespace(&mut self, nqn: &str, nsid: u32) -> Change {
        let index = self.subsystem(nqn)?;
        let namespaces = &self.config.subsystems[index].namespaces;
        let Some(at) = namespaces.iter().position(|n| n.nsid == nsid) else {
            let have: Vec<_> = namespaces.iter().map(|n| n.nsid.to_string()).collect();
            return Err(not_found(Kind::Namespace, &nsid.to_string(), &have));
        };
        let lost = self.ssds[namespaces[at].ssd].is_lost();
        let (next, placed) =
            self.edited(|file| drop(file.subsystems[index].namespaces.remove(at)))?;
        // Those of a lost SSD are not on the card any more.
        if !lost {
            self.card.remove_namespace(self.subsystems[index], nsid)?;
        }
        self.adopt_config(next, placed);
        Ok(())
    }

    /// Gives the port of this name other addresses, or adds it. Connections that there are stay as they are.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn set_port(&mut self, spec: raw::Port) -> Change {
        let known = spec.name.as_deref();
        let known = known.and_then(|name| self.config.ports.iter().position(|p| p.name == name));
        let index = known.unwrap_or(self.config.ports.len());
        let (next, placed) = self.edited(|file| {
            let ports = file.ports.get_or_insert_default();
            match ports.get_mut(index) {
                Some(port) => *port = spec,
                None => ports.push(spec),
            }
        })?;
        self.card
            .set_port(index as u32, &wire::port(&next.ports[index]))?;
        self.adopt_config(next, placed);
        Ok(())
    }

    /// Adds an SSD: resets it, creates its queues in packet memory and hands it to the card. Namespaces on it can be added
    /// then.
    ///
    /// # Errors
    /// [`ChangeError`]; the SSD is stopped then.
    pub fn add_ssd(&mut self, spec: raw::Ssd, device: D) -> Change {
        let named = |name: &str| self.config.ssds.iter().any(|s| s.name == name);
        if let Some(name) = spec.name.clone().filter(|name| named(name)) {
            let kind = Kind::Ssd;
            return Err(ChangeError::Exists { kind, name });
        }
        let next = self.config.edited(|file| {
            file.ssds.get_or_insert_default().push(spec);
        })?;
        self.fits(&next)?;
        let numbers: Vec<u32> = self.ssds.iter().map(|unit| unit.number).collect();
        let number = free(&numbers, self.card.info().max_ssds, Kind::Ssd)?;
        let mut ssd = Ssd::open(device, self.ssd_options())?;
        let spec = next.ssds.last().expect("just added");
        if let Err(error) = self.attach(number, &mut ssd, spec) {
            // It may have queues in packet memory, and must not use them.
            let _ = ssd.stop();
            return Err(error.into());
        }
        self.ssds.push(Unit::serving(number, ssd));
        self.config = next;
        Ok(())
    }

    /// Takes an SSD out in order: its queues are deleted, the card lets go of it, and it is shut down. Gives its device, if
    /// it had one that still answered.
    ///
    /// # Errors
    /// [`ChangeError`]; it is in use while a namespace lies on it.
    pub fn remove_ssd(&mut self, name: &str) -> Change<Option<D>> {
        let index = self.ssd_index(name)?;
        if let Some(placed) = self.placed_on(index).first() {
            let nqn = &self.config.subsystems[placed.subsystem].nqn;
            let by = format!("namespace {} of {nqn}", self.config.namespace(placed).nsid);
            let (kind, name) = (Kind::Ssd, name.into());
            return Err(ChangeError::InUse { kind, name, by });
        }
        let next = self.config.edited(|file| {
            file.ssds.as_mut().expect("all is given").remove(index);
        })?;
        let device = match self.lose(index) {
            None => None,
            Some((number, ssd)) => self.part_with(number, *ssd)?,
        };
        self.ssds.remove(index);
        let placed = next.place(&self.infos())?;
        self.adopt_config(next, placed);
        Ok(device)
    }

    /// Formats namespace `nsid` of SSD `name` with blocks of `1 << block_shift` bytes: all its data are gone.
    ///
    /// # Errors
    /// [`ChangeError`]; it is in use while a namespace of a subsystem lies on it, or on one that the SSD would format with it.
    pub fn format_namespace(
        &mut self,
        name: &str,
        nsid: u32,
        block_shift: u8,
        erase: Erase,
    ) -> Change {
        let index = self.ssd_index(name)?;
        let Slot::Serving(ssd) = &self.ssds[index].slot else {
            return Err(ChangeError::Lost { name: name.into() });
        };
        let all = ssd.format_takes_all(nsid);
        let mut there = self.placed_on(index).into_iter();
        let used = there.find(|p| all || self.config.namespace(p).ssd_nsid == nsid);
        if let Some(placed) = used {
            let nqn = &self.config.subsystems[placed.subsystem].nqn;
            let by = format!("namespace {} of {nqn}", self.config.namespace(&placed).nsid);
            let (kind, name) = (Kind::Ssd, format!("{name} namespace {nsid}"));
            return Err(ChangeError::InUse { kind, name, by });
        }
        let unit = &mut self.ssds[index];
        let Slot::Serving(ssd) = &mut unit.slot else {
            return Err(ChangeError::Lost { name: name.into() });
        };
        ssd.format(nsid, block_shift, erase)?;
        unit.info = ssd.info().clone();
        Ok(())
    }

    /// Shuts an SSD down and detaches it from the card; one that fails on the way is stopped.
    fn part_with(&mut self, number: u32, mut ssd: Ssd<D>) -> Change<Option<D>> {
        let queues = ssd.queues().to_vec();
        let deleted = (queues.into_iter().rev()).try_for_each(|qid| ssd.delete_queue_pair(qid));
        if let Err(error) = &deleted {
            log::warn!("{}: {error}; stopping it", ssd.device().name());
            if let Err(error) = ssd.stop() {
                log::warn!("{}: not stopped: {error}", ssd.device().name());
            }
        }
        self.card.detach_ssd(number)?;
        if deleted.is_err() {
            return Ok(None);
        }
        let down = ssd.shutdown();
        Ok(down.inspect_err(|error| log::warn!("{error}")).ok())
    }

    /// Adds everything of the configuration's subsystem `index` to the card.
    fn introduce(&mut self, index: usize) -> Change {
        let (number, subsystem) = (
            self.subsystems[index],
            self.config.subsystems[index].clone(),
        );
        self.card
            .add_subsystem(number, &wire::subsystem(&subsystem))?;
        for host in &subsystem.hosts {
            self.card.add_host(number, host)?;
        }
        for placed in self.placed.clone() {
            if placed.subsystem == index {
                self.add_placed(&placed)?;
            }
        }
        for listener in &subsystem.listeners {
            self.card
                .add_listener(number, listener.port as u32, listener.transports)?;
        }
        Ok(())
    }

    /// The SSDs of a new subsystem all serve.
    fn serving(&self, next: &Config, subsystem: usize) -> Change {
        let mut ssds = next.subsystems[subsystem].namespaces.iter().map(|n| n.ssd);
        match ssds.find(|ssd| self.ssds[*ssd].is_lost()) {
            Some(ssd) => Err(ChangeError::Lost {
                name: next.ssds[ssd].name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The changed configuration, if it holds together, the card has room and the blocks exist.
    fn edited(&self, edit: impl FnOnce(&mut raw::File)) -> Change<(Config, Vec<Placed>)> {
        let next = self.config.edited(edit)?;
        self.fits(&next)?;
        let placed = next.place(&self.infos())?;
        Ok((next, placed))
    }

    fn fits(&self, next: &Config) -> Change {
        let card = self.card.info();
        let Err(error) = next.fit(card) else {
            return Ok(());
        };
        let namespaces: usize = next.subsystems.iter().map(|s| s.namespaces.len()).sum();
        for (kind, max, got) in [
            (Kind::Port, card.max_ports, next.ports.len()),
            (Kind::Ssd, card.max_ssds, next.ssds.len()),
            (Kind::Subsystem, card.max_subsystems, next.subsystems.len()),
            (Kind::Namespace, card.max_namespaces, namespaces),
        ] {
            let max = usize::from(max);
            if got > max {
                return Err(ChangeError::Full { kind, max });
            }
        }
        let hosts = next.subsystems.iter().map(|s| s.hosts.len()).max();
        let max = usize::from(card.max_hosts);
        if hosts.is_some_and(|got| got > max) {
            let kind = Kind::Host;
            return Err(ChangeError::Full { kind, max });
        }
        Err(error.into())
    }

    fn adopt_config(&mut self, next: Config, placed: Vec<Placed>) {
        self.config = next;
        self.placed = placed;
    }

    fn infos(&self) -> Vec<&SsdInfo> {
        self.ssds.iter().map(|unit| &unit.info).collect()
    }

    fn subsystem(&self, nqn: &str) -> Change<usize> {
        let names: Vec<_> = self
            .config
            .subsystems
            .iter()
            .map(|s| s.nqn.as_str())
            .collect();
        find(Kind::Subsystem, nqn, &names)
    }

    fn port(&self, name: &str) -> Change<usize> {
        let names: Vec<_> = self.config.ports.iter().map(|p| p.name.as_str()).collect();
        find(Kind::Port, name, &names)
    }

    /// Controllers of the hosts of a subsystem.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn controllers(&mut self, nqn: &str) -> Change<Vec<ControllerState>> {
        let number = self.subsystems[self.subsystem(nqn)?];
        Ok(self.card.controllers_held(number)?)
    }

    /// Index of the SSD of this name in the configuration.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`].
    pub fn ssd_index(&self, name: &str) -> Change<usize> {
        let names: Vec<_> = self.config.ssds.iter().map(|s| s.name.as_str()).collect();
        find(Kind::Ssd, name, &names)
    }

    /// Whether SSD `index` serves.
    #[must_use]
    pub fn serves(&self, index: usize) -> bool {
        matches!(
            self.ssds.get(index).map(|u| &u.slot),
            Some(Slot::Serving(_))
        )
    }
}

/// The lowest number that is not taken.
fn free(taken: &[u32], max: u16, kind: Kind) -> Change<u32> {
    let mut numbers = 0..u32::from(max);
    let max = usize::from(max);
    (numbers.find(|n| !taken.contains(n))).ok_or(ChangeError::Full { kind, max })
}

fn find(kind: Kind, name: &str, all: &[&str]) -> Change<usize> {
    let at = all.iter().position(|n| *n == name);
    at.ok_or_else(|| not_found(kind, name, all))
}

fn not_found<S: AsRef<str>>(kind: Kind, name: &str, have: &[S]) -> ChangeError {
    let have: Vec<_> = have.iter().map(AsRef::as_ref).collect();
    let have = if have.is_empty() {
        "none".into()
    } else {
        have.join(", ")
    };
    let name = name.into();
    ChangeError::NotFound { kind, name, have }
}
