//! Bringing back what the state file says, one thing after another, so that an SSD that is not there keeps none of the rest
//! from serving.

use sluice_device::Device;
use sluice_driver::bringup::{ChangeError, Rig};
use sluice_driver::config::raw;

use super::{Owner, StartError};
use crate::backend::{Address, Backends};
use crate::state::State;

/// SSDs of the state that are not there, and namespaces that cannot be had.
#[derive(Debug, Default)]
pub(super) struct Absent {
    pub ssds: Vec<raw::Ssd>,
    /// With the NQN of their subsystem.
    pub namespaces: Vec<(String, raw::Namespace)>,
}

impl Absent {
    pub fn is_empty(&self) -> bool {
        self.ssds.is_empty() && self.namespaces.is_empty()
    }

    /// Puts them back into a configuration that is to be kept.
    pub fn add_to(&self, config: &mut raw::File) {
        config
            .ssds
            .get_or_insert_default()
            .extend(self.ssds.iter().cloned());
        for (nqn, namespace) in &self.namespaces {
            if let Some(subsystem) = config.subsystems.iter_mut().find(|s| s.nqn == *nqn) {
                subsystem.namespaces.push(namespace.clone());
            }
        }
    }
}

/// What of a state there is, when a running card is taken over.
pub(super) struct TakenUp<D> {
    /// SSDs by name: as they were left, or newly opened and reset.
    pub devices: Vec<(String, D)>,
    /// The configuration without what is absent.
    pub config: raw::File,
    pub absent: Absent,
}

/// Takes up every SSD of a configuration. One that cannot be had is absent, as it is when everything is started.
pub(super) fn take_up<B: Backends>(backends: &mut B, mut config: raw::File) -> TakenUp<B::Device> {
    let (mut devices, mut absent) = (Vec::new(), Absent::default());
    for ssd in config.ssds.take().unwrap_or_default() {
        let name = ssd.name.clone().unwrap_or_default();
        let address = ssd.pci.as_deref().map(Address::parse);
        let taken = match backends.take_up(&name, address.as_ref()) {
            Ok(Some(device)) => Ok(device),
            Ok(None) => backends.open(&name, address.as_ref()),
            Err(reason) => {
                log::warn!("SSD {name} is not taken over: {reason}");
                backends.open(&name, address.as_ref())
            }
        };
        match taken {
            Ok(device) => {
                devices.push((name, device));
                config.ssds.get_or_insert_default().push(ssd);
            }
            Err(reason) => {
                log::error!("SSD {name} is absent: {reason}");
                absent.ssds.push(ssd);
            }
        }
    }
    config.ssds.get_or_insert_default();
    config.ports.get_or_insert_default();
    for subsystem in &mut config.subsystems {
        let gone = |ns: &raw::Namespace| {
            let mut ssds = absent.ssds.iter();
            ssds.any(|s| s.name.as_deref() == Some(&ns.ssd))
        };
        let (missing, there): (Vec<_>, Vec<_>) = std::mem::take(&mut subsystem.namespaces)
            .into_iter()
            .partition(gone);
        subsystem.namespaces = there;
        let missing = missing.into_iter().map(|ns| (subsystem.nqn.clone(), ns));
        absent.namespaces.extend(missing);
    }
    TakenUp {
        devices,
        config,
        absent,
    }
}

impl<B: Backends> Owner<B> {
    pub(super) fn restore(&mut self, state: State) -> Result<(), StartError> {
        let path = self.store.path().to_path_buf();
        let failed = |what: String, error| StartError::Restore {
            path: path.clone(),
            what,
            error: Box::new(error),
        };
        self.transports = state.transports;
        for port in state.config.ports.unwrap_or_default() {
            let name = port.name.clone().unwrap_or_default();
            self.rig
                .set_port(port)
                .map_err(|e| failed(format!("port {name}"), e))?;
        }
        for ssd in state.config.ssds.unwrap_or_default() {
            if let Err(reason) = self.bring_ssd(&ssd) {
                let name = ssd.name.clone().unwrap_or_default();
                log::error!("SSD {name} is absent: {reason}");
                self.events
                    .add("sluice_ssd_lost", format!("{name}: {reason}"));
                self.absent.ssds.push(ssd);
            }
        }
        for subsystem in state.config.subsystems {
            let nqn = subsystem.nqn.clone();
            self.bring_subsystem(subsystem)
                .map_err(|e| failed(format!("subsystem {nqn}"), e))?;
        }
        Ok(())
    }

    /// Opens an SSD and gives it to the card.
    pub(super) fn bring_ssd(&mut self, spec: &raw::Ssd) -> Result<(), String> {
        let name = spec.name.clone().unwrap_or_default();
        let address = spec.pci.as_deref().map(Address::parse);
        let device = self.backends.open(&name, address.as_ref())?;
        self.rig
            .add_ssd(spec.clone(), device)
            .map_err(|e| e.to_string())?;
        self.register(&name);
        Ok(())
    }

    /// Adds a subsystem with those of its namespaces that can be had; hosts get at it when all is there.
    fn bring_subsystem(&mut self, mut spec: raw::Subsystem) -> Result<(), ChangeError> {
        let nqn = spec.nqn.clone();
        let absent = |ns: &raw::Namespace| {
            self.absent
                .ssds
                .iter()
                .any(|s| s.name.as_deref() == Some(&ns.ssd))
        };
        let (missing, there): (Vec<_>, Vec<_>) = std::mem::take(&mut spec.namespaces)
            .into_iter()
            .partition(absent);
        self.absent
            .namespaces
            .extend(missing.into_iter().map(|ns| (nqn.clone(), ns)));
        let whole = raw::Subsystem {
            namespaces: there.clone(),
            ..spec.clone()
        };
        match self.rig.add_subsystem(whole) {
            Ok(()) => return Ok(()),
            Err(error) if there.is_empty() => return Err(error),
            // One of its namespaces, as a rule: the SSD is another, or was formatted.
            Err(error) => log::error!("{nqn}: {error}; trying its namespaces one by one"),
        }
        self.rig.add_subsystem(spec)?;
        for namespace in there {
            self.bring_namespace(&nqn, namespace);
        }
        Ok(())
    }

    fn bring_namespace(&mut self, nqn: &str, namespace: raw::Namespace) {
        if let Err(error) = self.rig.add_namespace(nqn, namespace.clone()) {
            log::error!("namespace {} of {nqn} is absent: {error}", namespace.nsid);
            self.absent.namespaces.push((nqn.into(), namespace));
        }
    }

    /// Tries once more to get what is absent.
    pub(super) fn retry_absent(&mut self) {
        let mut back = false;
        for ssd in std::mem::take(&mut self.absent.ssds) {
            match self.bring_ssd(&ssd) {
                Ok(()) => {
                    let name = ssd.name.unwrap_or_default();
                    log::info!("SSD {name} is back");
                    self.events.add("sluice_ssd_back", name);
                    back = true;
                }
                Err(reason) => {
                    log::debug!(
                        "SSD {} is still absent: {reason}",
                        ssd.name.as_deref().unwrap_or("")
                    );
                    self.absent.ssds.push(ssd);
                }
            }
        }
        if !back {
            return;
        }
        for (nqn, namespace) in std::mem::take(&mut self.absent.namespaces) {
            if has_ssd(&self.rig, &namespace.ssd) {
                self.bring_namespace(&nqn, namespace);
            } else {
                self.absent.namespaces.push((nqn, namespace));
            }
        }
    }
}

fn has_ssd<D: Device>(rig: &Rig<D>, name: &str) -> bool {
    rig.config().ssds.iter().any(|s| s.name == name)
}
