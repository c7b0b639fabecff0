//! Everything in order: the card, its ports, the SSDs with their queues in packet memory, subsystems, namespaces, hosts,
//! listeners; the same backwards; what to do when an SSD stops answering or is pulled out; and [changes](change) while it
//! serves.
//!
//! The configuration counts ports, SSDs and subsystems from 0 without gaps. On the card an SSD or a subsystem keeps its
//! number for as long as it is there, so the two differ once something was removed.

mod adopt;
mod change;
mod numbers;
mod restart;
mod wire;

use std::time::Duration;

use sluice_device::Device;
use sluice_wire::mgmt::{Event, QueuePlace};

use crate::card::{Card, CardError, CardEvent};
use crate::config::{Config, ConfigError, Placed, SsdSpec};
use crate::nvme::{Ssd, SsdError, SsdInfo, SsdOptions};

pub use adopt::Adopted;
pub use change::{ChangeError, Kind};

/// So long commands of hosts that have been sent away may take before an SSD's queues are deleted under them. That may be done at any
/// time (NVMe Base 2.1, section 5.2.4), but not every SSD does well what is done seldom.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Why the whole could not be brought up or changed.
#[derive(Debug, thiserror::Error)]
pub enum BringupError {
    /// The configuration does not fit.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// The card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// An SSD.
    #[error(transparent)]
    Ssd(#[from] SsdError),
    /// An SSD could not be opened.
    #[error("SSD {name}{}: {reason}", pci(at.as_ref()))]
    Open {
        /// Its name in the configuration.
        name: String,
        /// Its PCI address, if given.
        at: Option<String>,
        /// What the opener said.
        reason: String,
    },
    /// An SSD that came back is another, or was formatted.
    #[error(
        "SSD {name}: namespace {nsid} with {end} blocks of 2^{shift} bytes wanted, but it has changed; is it the same SSD?"
    )]
    Changed {
        /// Its name in the configuration.
        name: String,
        /// NSID on the SSD.
        nsid: u32,
        /// Blocks it must have at least.
        end: u64,
        /// log2 of its block size.
        shift: u8,
    },
    /// Packet memory lies where queues cannot be.
    #[error(
        "the card reserved a queue at {offset:#x} of packet memory, which is not in its {size:#x} bytes or not at a page; versions differ"
    )]
    QueuePlace {
        /// Offset.
        offset: u32,
        /// Bytes of packet memory.
        size: u64,
    },
}

impl From<ConfigError> for BringupError {
    fn from(error: ConfigError) -> Self {
        Self::Config(Box::new(error))
    }
}

/// What has become of an SSD.
#[derive(Debug)]
enum Slot<D: Device> {
    /// Attached to the card.
    Serving(Box<Ssd<D>>),
    /// Detached; commands to its namespaces fail.
    Lost,
}

/// An SSD of the configuration.
#[derive(Debug)]
struct Unit<D: Device> {
    /// Its number on the card.
    number: u32,
    /// What it said it is when it was last open.
    info: SsdInfo,
    slot: Slot<D>,
}

/// Something the operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// From the card, as it came.
    Card(CardEvent),
    /// An SSD did not answer in time and was reset; it serves again.
    SsdReset {
        /// Index in the configuration as it is now.
        ssd: usize,
    },
    /// An SSD is lost: its namespaces were removed, and hosts told.
    SsdLost {
        /// Index in the configuration as it is now.
        ssd: usize,
        /// Why.
        reason: String,
    },
    /// A core of the card stopped running; only a new start helps.
    Watchdog {
        /// One bit per core.
        cores: u32,
    },
}

/// A card and its SSDs, serving.
pub struct Rig<D: Device> {
    card: Card<D>,
    /// In the order of the configuration.
    ssds: Vec<Unit<D>>,
    /// The card's numbers of the configuration's subsystems.
    subsystems: Vec<u32>,
    config: Config,
    placed: Vec<Placed>,
    options: SsdOptions,
}

impl<D: Device> Rig<D> {
    /// Brings everything up. `open` gives the device of an SSD of the configuration. After an error nothing serves: what
    /// was up is taken down again as far as it answers, and the card is halted.
    ///
    /// # Errors
    /// [`BringupError`], the first that came.
    pub fn start(
        card: Card<D>,
        config: Config,
        options: SsdOptions,
        mut open: impl FnMut(&SsdSpec) -> Result<D, String>,
    ) -> Result<Self, BringupError> {
        let mut rig = Self {
            card,
            ssds: Vec::new(),
            subsystems: Vec::new(),
            config,
            placed: Vec::new(),
            options,
        };
        match rig.bring_up(&mut open) {
            Ok(()) => Ok(rig),
            Err(error) => {
                log::error!("bring-up failed: {error}");
                rig.abandon();
                Err(error)
            }
        }
    }

    /// The card.
    pub fn card(&mut self) -> &mut Card<D> {
        &mut self.card
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// SSD `index` of the configuration, if it serves.
    pub fn ssd(&mut self, index: usize) -> Option<&mut Ssd<D>> {
        match self.ssds.get_mut(index).map(|unit| &mut unit.slot) {
            Some(Slot::Serving(ssd)) => Some(ssd),
            _ => None,
        }
    }

    /// Takes the next event and does what is to be done about it; waits for at most `timeout`.
    ///
    /// # Errors
    /// [`BringupError`] if the card is the trouble.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Notice>, BringupError> {
        let event = self.card.next_event(timeout)?;
        let cores = self.card.expired_watchdogs()?;
        if cores != 0 {
            return Ok(Some(Notice::Watchdog { cores }));
        }
        match event {
            Some(CardEvent::Known(Event::SsdTimeout, number)) => {
                match self.ssds.iter().position(|unit| unit.number == number) {
                    Some(index) => {
                        let name = &self.config.ssds[index].name;
                        log::warn!("{name}: a command was not answered in time");
                        self.ssd_timeout(index)
                    }
                    None => Ok(None),
                }
            }
            event => Ok(event.map(Notice::Card)),
        }
    }

    /// Looks after the card and every SSD: one that is gone or fatal, or that the system wants back, is taken out of
    /// service. To be called twice a second or so, since what has nothing to do goes unnoticed.
    ///
    /// # Errors
    /// [`BringupError`] if the card is the trouble.
    pub fn check(&mut self) -> Result<Vec<Notice>, BringupError> {
        self.card.check()?;
        let mut notices = Vec::new();
        for index in 0..self.ssds.len() {
            let error = self.ssd(index).and_then(|ssd| ssd.check().err());
            if let Some(error) = error {
                notices.push(self.ssd_lost(index, &error.to_string())?);
            }
        }
        Ok(notices)
    }

    /// Takes SSD `index` out of service: it is stopped if it still answers, commands in flight fail, its namespaces
    /// are removed and hosts told. Other SSDs go on.
    ///
    /// # Errors
    /// [`BringupError`] if the card is the trouble.
    pub fn ssd_lost(&mut self, index: usize, reason: &str) -> Result<Notice, BringupError> {
        let name = self.config.ssds[index].name.clone();
        log::error!("{name}: lost: {reason}");
        if let Some((number, mut ssd)) = self.lose(index) {
            // It must not write into pages that are used again; if it is gone it cannot.
            if let Err(e) = ssd.stop() {
                log::warn!("{name}: not stopped: {e}");
            }
            self.card.detach_ssd(number)?;
            self.remove_namespaces_on(index)?;
        }
        Ok(Notice::SsdLost {
            ssd: index,
            reason: reason.into(),
        })
    }

    /// Puts a device into the place of a lost SSD `index` and brings its namespaces back.
    ///
    /// # Errors
    /// [`BringupError`]; the SSD stays lost then.
    pub fn ssd_back(&mut self, index: usize, device: D) -> Result<(), BringupError> {
        self.reattach(index, device)?;
        for placed in self.placed_on(index) {
            self.add_placed(&placed)?;
        }
        Ok(())
    }

    /// Takes everything down in order and halts the card; gives back its device and those of the SSDs.
    ///
    /// # Errors
    /// [`BringupError`], the first that came; the rest is taken down all the same.
    pub fn stop(mut self) -> Result<(D, Vec<D>), BringupError> {
        let mut first = None;
        for number in self.subsystems.iter().rev() {
            note(&mut first, self.card.remove_subsystem(*number));
        }
        note(&mut first, self.card.wait_for_hosts(LAST_ANSWERS));
        let mut devices = Vec::new();
        for unit in std::mem::take(&mut self.ssds).into_iter().rev() {
            let Slot::Serving(mut ssd) = unit.slot else {
                continue;
            };
            // The card lets go only after the SSD has stopped, as it does when an SSD is lost.
            let queues = ssd.queues().to_vec();
            for qid in queues.into_iter().rev() {
                note(&mut first, ssd.delete_queue_pair(qid));
            }
            note(&mut first, self.card.detach_ssd(unit.number));
            devices.extend(note(&mut first, ssd.shutdown()));
        }
        devices.reverse();
        let card = note(&mut first, self.card.halt());
        match (first, card) {
            (None, Some(card)) => Ok((card, devices)),
            (Some(error), _) => Err(error),
            (None, None) => unreachable!("a halt that fails leaves an error"),
        }
    }

    fn bring_up(
        &mut self,
        open: &mut impl FnMut(&SsdSpec) -> Result<D, String>,
    ) -> Result<(), BringupError> {
        self.config.fit(self.card.info())?;
        for (i, port) in self.config.ports.iter().enumerate() {
            self.card.set_port(i as u32, &wire::port(port))?;
        }
        let mut opened = Vec::new();
        for spec in &self.config.ssds {
            let device = open(spec).map_err(|reason| {
                let (name, at) = (spec.name.clone(), spec.pci.clone());
                BringupError::Open { name, at, reason }
            })?;
            opened.push(Ssd::open(device, self.ssd_options())?);
        }
        let infos: Vec<&SsdInfo> = opened.iter().map(Ssd::info).collect();
        self.placed = self.config.place(&infos)?;
        let specs = self.config.ssds.clone();
        for ((number, mut ssd), spec) in (0..).zip(opened).zip(&specs) {
            self.attach(number, &mut ssd, spec)?;
            self.ssds.push(Unit::serving(number, ssd));
        }
        self.serve()
    }

    fn ssd_options(&self) -> SsdOptions {
        let data_cores = self.card.info().cores.saturating_sub(1).max(1);
        SsdOptions {
            queues: data_cores,
            ..self.options
        }
    }

    /// Creates the SSD's queues where the card wants them, and hands it over under this number.
    fn attach(
        &mut self,
        number: u32,
        ssd: &mut Ssd<D>,
        spec: &SsdSpec,
    ) -> Result<(), BringupError> {
        let places = self.card.prepare_ssd(number, ssd.info().max_entries)?;
        for (qid, place) in (1..).zip(&places) {
            let (sq, cq) = self.bus(place)?;
            ssd.create_queue_pair(qid, sq, cq, place.entries.get())?;
        }
        let (base, stride) = ssd.doorbells()?;
        let attach = wire::attach(
            ssd.info(),
            base,
            stride,
            places.len() as u16,
            spec.timeout_ms,
        );
        self.card.attach_ssd(number, &attach)?;
        log::info!("{}: attached with {} queue pairs", spec.name, places.len());
        Ok(())
    }

    /// Bus addresses of a place, if it is one.
    fn bus(&self, place: &QueuePlace) -> Result<(u64, u64), BringupError> {
        let bar = self.card.device().bar(2).map_err(CardError::from)?;
        let (size, entries) = (bar.len(), u64::from(place.entries.get()));
        for (offset, bytes) in [
            (place.sq.get(), 64 * entries),
            (place.cq.get(), 16 * entries),
        ] {
            if !offset.is_multiple_of(4096) || u64::from(offset) + bytes > size {
                return Err(BringupError::QueuePlace { offset, size });
            }
        }
        Ok((
            bar.bus() + u64::from(place.sq.get()),
            bar.bus() + u64::from(place.cq.get()),
        ))
    }

    fn serve(&mut self) -> Result<(), BringupError> {
        for (number, subsystem) in (0..).zip(self.config.subsystems.clone()) {
            self.card
                .add_subsystem(number, &wire::subsystem(&subsystem))?;
            self.subsystems.push(number);
            for host in &subsystem.hosts {
                self.card.add_host(number, host)?;
            }
        }
        for placed in self.placed.clone() {
            self.add_placed(&placed)?;
        }
        // Only when all is there may hosts come.
        for (number, subsystem) in self.subsystems.iter().zip(&self.config.subsystems) {
            for listener in &subsystem.listeners {
                let port = listener.port as u32;
                self.card.add_listener(*number, port, listener.transports)?;
            }
        }
        Ok(())
    }

    fn add_placed(&mut self, placed: &Placed) -> Result<(), BringupError> {
        let spec = self.config.namespace(placed);
        let unit = &self.ssds[spec.ssd];
        let config = wire::namespace(spec, placed, unit.number, unit.info.oncs);
        self.card
            .add_namespace(self.subsystems[placed.subsystem], &config)?;
        Ok(())
    }

    fn remove_namespaces_on(&mut self, ssd: usize) -> Result<(), BringupError> {
        for placed in self.placed_on(ssd) {
            let (number, nsid) = (
                self.subsystems[placed.subsystem],
                self.config.namespace(&placed).nsid,
            );
            self.card.remove_namespace(number, nsid)?;
        }
        Ok(())
    }

    /// Takes SSD `index` if it serves, which it then does no more: its number on the card, and itself.
    fn lose(&mut self, index: usize) -> Option<(u32, Box<Ssd<D>>)> {
        let unit = self.ssds.get_mut(index)?;
        match std::mem::replace(&mut unit.slot, Slot::Lost) {
            Slot::Serving(ssd) => Some((unit.number, ssd)),
            Slot::Lost => None,
        }
    }

    fn placed_on(&self, ssd: usize) -> Vec<Placed> {
        self.placed
            .iter()
            .copied()
            .filter(|p| self.config.namespace(p).ssd == ssd)
            .collect()
    }

    /// Opens an SSD again, which must hold the namespaces as they were placed, and attaches it.
    fn reattach(&mut self, index: usize, device: D) -> Result<(), BringupError> {
        let mut ssd = Ssd::open(device, self.ssd_options())?;
        if self.ssds[index].is_assumed() {
            let infos = self.ssds.iter().map(|unit| &unit.info).enumerate();
            let infos = infos.map(|(i, info)| if i == index { ssd.info() } else { info });
            self.placed = self.config.place(&infos.collect::<Vec<_>>())?;
        }
        for placed in self.placed_on(index) {
            let spec = self.config.namespace(&placed);
            let end = spec.first_block + placed.blocks;
            let there = ssd
                .info()
                .namespaces
                .iter()
                .find(|n| n.nsid == spec.ssd_nsid);
            if there.is_none_or(|n| n.block_shift != placed.block_shift || n.blocks < end) {
                let name = self.config.ssds[index].name.clone();
                return Err(BringupError::Changed {
                    name,
                    nsid: spec.ssd_nsid,
                    end,
                    shift: placed.block_shift,
                });
            }
        }
        let (number, spec) = (self.ssds[index].number, self.config.ssds[index].clone());
        self.attach(number, &mut ssd, &spec)?;
        self.ssds[index] = Unit::serving(number, ssd);
        Ok(())
    }

    /// The SSD is reset and attached again, or given up.
    fn ssd_timeout(&mut self, index: usize) -> Result<Option<Notice>, BringupError> {
        let Some((number, mut ssd)) = self.lose(index) else {
            return Ok(None);
        };
        log::warn!("{}: resetting", self.config.ssds[index].name);
        let stopped = ssd.stop();
        // Stopped or gone, it writes no more: commands in flight can be failed.
        self.card.detach_ssd(number)?;
        let again = stopped
            .map_err(BringupError::from)
            .and_then(|()| self.reattach(index, ssd.into_device()));
        let reason = match again {
            Ok(()) => return Ok(Some(Notice::SsdReset { ssd: index })),
            Err(BringupError::Card(e)) => return Err(e.into()),
            Err(e) => e.to_string(),
        };
        self.remove_namespaces_on(index)?;
        Ok(Some(Notice::SsdLost { ssd: index, reason }))
    }

    /// After a failed start: SSDs stop writing, then the card is held in reset.
    fn abandon(self) {
        for unit in self.ssds {
            if let Slot::Serving(mut ssd) = unit.slot {
                let _ = ssd.stop();
            }
        }
        let _ = self.card.halt();
    }
}

impl<D: Device> Unit<D> {
    fn serving(number: u32, ssd: Ssd<D>) -> Self {
        Self {
            number,
            info: ssd.info().clone(),
            slot: Slot::Serving(Box::new(ssd)),
        }
    }

    /// It was never open: what is said of it is made up from the configuration.
    fn is_assumed(&self) -> bool {
        self.info.max_entries == 0
    }

    fn is_lost(&self) -> bool {
        matches!(self.slot, Slot::Lost)
    }
}

/// Keeps the first error and goes on.
fn note<T, E: Into<BringupError>>(
    first: &mut Option<BringupError>,
    result: Result<T, E>,
) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            first.get_or_insert(error.into());
            None
        }
    }
}

fn pci(at: Option<&String>) -> String {
    at.map(|a| format!(" ({a})")).unwrap_or_default()
}
