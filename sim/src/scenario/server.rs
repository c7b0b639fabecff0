//! A server with the card in it: the world with SSDs, brought up by the host driver from a configuration.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use sluice_device::Device;
use sluice_driver::bringup::{BringupError, Notice, Rig};
use sluice_driver::card::{Card, CardError, CardOptions};
use sluice_driver::config::{Config, ConfigError, Format, Source};
use sluice_driver::nvme::SsdOptions;

use sluice_nor::{FuseBank, Nor};
use sluice_regs::bar0_regs;

use super::firmware;
use crate::card::CardModel;
use crate::card::functional::FunctionalCard;
use crate::options::CardKind;
use crate::ssd::{Latency, MSIX_TABLE, NamespaceSpec, Ssd, SsdConfig};
use crate::world::{CARD_BAR0, World, WorldHandle, card_device, ssd_device};

/// The configuration used when none is given.
pub const DEFAULT_CONFIG: &str = include_str!("default.toml");

/// Counters of frames that were good and found no room.
pub(super) const LOSSES: [u32; 3] = [
    bar0_regs::DROP_NO_BUFFER_OFFSET,
    bar0_regs::DROP_QUEUE_FULL_OFFSET,
    bar0_regs::DROP_OVERRUN_OFFSET,
];

/// What to build.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Card model.
    pub card: CardKind,
    /// Data cores.
    pub cores: u32,
    /// Seed of everything random in card and SSDs.
    pub seed: u64,
    /// The folder with the firmware's ELF files, for the Verilated card.
    pub firmware: Option<PathBuf>,
    /// Configuration of ports, subsystems and namespaces; SSDs are those it names.
    pub config: Config,
    /// Kind of each SSD, in the order of the configuration; the last one stands for all further ones.
    pub ssds: Vec<SsdConfig>,
    /// FST traces begin with this path.
    pub waves: Option<PathBuf>,
    /// What is in the card's flash and fuses; with it the card starts from there. `None`: the host loads the firmware.
    pub flash: Option<(Nor, FuseBank)>,
}

impl Setup {
    /// `card` with `cores` data cores, the default configuration and two SSDs of the demo's kind.
    ///
    /// # Panics
    /// Never: the built-in configuration is tested.
    #[must_use]
    pub fn new(card: CardKind, cores: u32, seed: u64) -> Self {
        let source = Source {
            file: "default.toml".into(),
            format: Format::Toml,
            text: DEFAULT_CONFIG.into(),
        };
        let config = Config::parse(source).expect("the built-in configuration is right");
        Self {
            card,
            cores,
            seed,
            firmware: None,
            config,
            ssds: demo_ssds(seed),
            waves: None,
            flash: None,
        }
    }
}

/// A 128 MiB SSD with 512-byte blocks and a 64 MiB one with 4-KiB blocks, as fast as flash.
#[must_use]
pub fn demo_ssds(seed: u64) -> Vec<SsdConfig> {
    let ssd = |index: u64, mib: u64, shift: u8| SsdConfig {
        name: format!("ssd{index}"),
        serial: format!("SLUICESIM{index:04}"),
        namespaces: vec![NamespaceSpec::memory(mib << 20, shift)],
        latency: Latency::NAND,
        seed: seed ^ index << 32,
        ..SsdConfig::default()
    };
    vec![ssd(0, 128, 9), ssd(1, 64, 12)]
}

/// Why a server could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The card did not come up.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Something behind it did not.
    #[error(transparent)]
    Bringup(#[from] BringupError),
    /// The firmware's images.
    #[error(transparent)]
    Firmware(#[from] firmware::FirmwareError),
    /// A backing file of an SSD.
    #[error("SSD {name}: {error}")]
    Backing {
        /// The SSD.
        name: String,
        /// The system's reason.
        error: std::io::Error,
    },
    /// This build, or this number of cores, has no such card.
    #[error("no such card model: {0}")]
    Model(String),
}

/// A server that serves.
pub struct Server {
    /// Everything there is.
    pub world: WorldHandle,
    /// The SSDs, for faults and figures.
    pub ssds: Vec<Rc<RefCell<Ssd>>>,
    /// The host driver's view.
    pub rig: Rig<Box<dyn Device>>,
}

impl Server {
    /// Builds the world and brings the card up.
    ///
    /// # Errors
    /// [`ServerError`], the first thing that went wrong.
    pub fn start(setup: &Setup) -> Result<Self, ServerError> {
        let images = match (&setup.firmware, setup.card) {
            (Some(folder), CardKind::Rtl) => Some(firmware::Images::read(folder)?),
            (None, CardKind::Rtl) => return Err(firmware::FirmwareError::Missing.into()),
            (_, CardKind::Functional) => None,
        };
        let world: WorldHandle = Rc::new(RefCell::new(World::new(model(setup)?)));
        let mut ssds = Vec::new();
        for index in 0..setup.config.ssds.len() {
            let Some(config) = setup.ssds.get(index).or(setup.ssds.last()) else {
                break;
            };
            let backing = |error| ServerError::Backing {
                name: config.name.clone(),
                error,
            };
            let ssd = Rc::new(RefCell::new(Ssd::new(config.clone()).map_err(backing)?));
            world.borrow_mut().add_ssd(Box::new(ssd.clone()));
            ssds.push(ssd);
        }
        let device = card_device(&world);
        let card = match &setup.flash {
            Some(_) => Card::boot_from_flash(device, CardOptions::default())?,
            None => Card::boot(
                device,
                images.as_ref().map(firmware::Images::as_firmware),
                CardOptions::default(),
            )?,
        };
        let mut next = 0;
        let rig = Rig::start(card, setup.config.clone(), SsdOptions::default(), |spec| {
            let index = next;
            next += 1;
            let ssd = ssds
                .get(index)
                .ok_or(format!("the simulation has {} SSDs", ssds.len()))?;
            log::debug!("opening {}", spec.name);
            Ok(ssd_device(
                &world,
                index,
                MSIX_TABLE,
                ssd.borrow().config().vectors,
            ))
        })?;
        Ok(Self { world, ssds, rig })
    }

    /// An SSD has work in hand.
    #[must_use]
    pub fn ssds_busy(&self) -> bool {
        self.ssds
            .iter()
            .any(|ssd| ssd.borrow().next_event().is_some())
    }

    /// What the cores have logged, decoded with the ELF files in `firmware`; `None` if those cannot be read.
    pub fn log(&mut self, firmware: &Path) -> Option<String> {
        let cores = u32::from(self.rig.card().info().cores);
        let mut world = self.world.borrow_mut();
        (0..cores)
            .map(|core| super::log::read(&mut world, core, firmware).ok())
            .collect()
    }

    /// How the card is, in a line for people.
    pub fn state(&mut self) -> String {
        let cores = u32::from(self.rig.card().info().cores);
        super::log::state(&mut self.world.borrow_mut(), cores)
    }

    /// Good frames that the card dropped for want of a buffer or of room in a queue, since it was started.
    pub fn lost_frames(&mut self) -> u64 {
        let mut world = self.world.borrow_mut();
        LOSSES
            .iter()
            .filter_map(|at| world.host_read(CARD_BAR0 + u64::from(*at), 4).ok())
            .filter_map(|value| Some(u64::from(u32::from_le_bytes(value.try_into().ok()?))))
            .sum()
    }

    /// Looks for events for `timeout` of card time.
    ///
    /// # Errors
    /// If the card is the trouble.
    pub fn notice(&mut self, timeout: Duration) -> Result<Option<Notice>, BringupError> {
        self.rig.poll(timeout)
    }
}

/// The card alone.
///
/// # Errors
/// [`ServerError::Model`].
pub fn model(setup: &Setup) -> Result<Box<dyn CardModel>, ServerError> {
    match setup.card {
        CardKind::Functional => {
            let cores = u8::try_from(setup.cores)
                .ok()
                .filter(|c| (1..=15).contains(c));
            let cores = cores.ok_or_else(|| {
                ServerError::Model(format!("1 to 15 data cores wanted, {} given", setup.cores))
            })?;
            let card = FunctionalCard::new(cores, setup.seed);
            Ok(Box::new(match &setup.flash {
                Some((chip, fuses)) => card.with_flash(chip.clone(), *fuses),
                None => card,
            }))
        }
        CardKind::Rtl => rtl(setup),
    }
}

#[cfg(feature = "rtl")]
fn rtl(setup: &Setup) -> Result<Box<dyn CardModel>, ServerError> {
    use crate::card::rtl::{RtlCard, SharedChip, board};
    let card = match (&setup.flash, &setup.firmware) {
        (Some((chip, fuses)), Some(folder)) => {
            let chip = SharedChip::new(chip.clone());
            let board = board(&chip, fuses, firmware::rom(folder)?);
            RtlCard::on(board, setup.cores, setup.seed)
        }
        _ => RtlCard::new(setup.cores, setup.seed),
    };
    let mut card = card.map_err(|e| ServerError::Model(e.to_string()))?;
    if let Some(path) = setup.waves.as_deref().filter(|path| !card.trace(path)) {
        return Err(ServerError::Model(format!(
            "cannot write traces to {}",
            path.display()
        )));
    }
    Ok(Box::new(card))
}

#[cfg(not(feature = "rtl"))]
fn rtl(_: &Setup) -> Result<Box<dyn CardModel>, ServerError> {
    Err(ServerError::Model(
        "this build has no Verilated card: build with feature `rtl` (cargo xtask does)".into(),
    ))
}
