//! The card as the host driver uses it: identify, load firmware, release the cores, talk to the control core.
//! The firmware is opaque here: two images, loaded as they are.
//! The registers are those of `sluice-regs`, the commands those of `sluice_wire::mgmt`.

mod commands;
mod error;
pub mod flash;
pub mod flat;
mod load;
mod log_ring;
mod queue;
pub mod stats;
pub mod trace;
pub mod update;

use std::time::Duration;

use sluice_device::{Device, all_ones32};
use sluice_regs::{MAGIC, MAP_VERSION, bar0_regs as bar0};
use sluice_wire::mgmt::CardInfo;

pub use commands::Info;
pub(crate) use commands::nqn_field;
pub use error::CardError;
pub use load::{Firmware, ImageKind};
pub use queue::CardEvent;

use queue::HostQueuePair;

/// `FW_STATUS` of firmware that is up.
const READY: u32 = 1;
/// `CTRL.run`.
const RUN: u32 = 1 << 0;
/// `CTRL.boot`.
const BOOT: u32 = 1 << 2;
/// `CTRL.soft_reset`.
const SOFT_RESET: u32 = 1 << 1;

/// How to open a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CardOptions {
    /// Wait for completions by MSI-X vector 0 instead of polling.
    pub interrupts: bool,
    /// The firmware must be ready this long after the cores are released.
    pub boot_timeout: Duration,
    /// Give up on a management command after this long.
    pub command_timeout: Duration,
}

impl Default for CardOptions {
    fn default() -> Self {
        Self {
            interrupts: true,
            boot_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(5),
        }
    }
}

/// A card whose firmware is ready.
pub struct Card<D: Device> {
    device: D,
    queue: HostQueuePair,
    info: Info,
    /// The trace that runs, if one does.
    trace: Option<trace::Ring>,
}

impl<D: Device> Card<D> {
    /// Resets the card, loads `firmware` into the cores' memories (`None`: it is there already), releases the cores and
    /// waits until they are ready.
    ///
    /// # Errors
    /// [`CardError`] says what was wanted and what came.
    pub fn boot(
        device: D,
        firmware: Option<Firmware<'_>>,
        options: CardOptions,
    ) -> Result<Self, CardError> {
        Self::open(device, options, |device| {
            if let Some(firmware) = firmware {
                load::load(device, firmware)?;
            }
            device.bar(0)?.write32(bar0::CTRL_OFFSET.into(), RUN)?;
            wait_ready(device, options.boot_timeout)
        })
    }

    /// Resets the card and lets its boot program start the firmware that is in its flash.
    ///
    /// # Errors
    /// [`CardError::NothingToStart`] if neither slot is good: then [`Card::boot`] can load firmware, which can repair the
    /// flash. Other [`CardError`]s as there.
    pub fn boot_from_flash(device: D, options: CardOptions) -> Result<Self, CardError> {
        Self::open(device, options, |device| {
            flash::start(device, options.boot_timeout)?;
            wait_ready(device, options.boot_timeout)
        })
    }

    /// Resets the card, tells it where the queues are, has it started, and says hello.
    fn open(
        device: D,
        options: CardOptions,
        start: impl FnOnce(&D) -> Result<(), CardError>,
    ) -> Result<Self, CardError> {
        let queue = set_up(&device, options, start)?;
        let mut card = Self {
            device,
            queue,
            info: Info::default(),
            trace: None,
        };
        card.greet()?;
        Ok(card)
    }

    /// Resets the card and lets its boot program start the firmware that is in its flash, as [`Card::boot_from_flash`]. The card
    /// must serve nobody: see `Rig::renew`.
    ///
    /// # Errors
    /// As there. The card takes no commands then.
    pub fn restart_from_flash(&mut self, options: CardOptions) -> Result<(), CardError> {
        self.queue = set_up(&self.device, options, |device| {
            flash::start(device, options.boot_timeout)?;
            wait_ready(device, options.boot_timeout)
        })?;
        self.greet()
    }

    fn greet(&mut self) -> Result<(), CardError> {
        self.info = self.identify()?;
        log::info!(
            "{}: firmware {} ready, {} cores, {} SSDs, {} controllers at most",
            self.device.name(),
            self.info.firmware,
            self.info.cores,
            self.info.max_ssds,
            self.info.max_controllers,
        );
        Ok(())
    }

    /// Takes over a card whose firmware runs and serves hosts: nothing is reset, and what an earlier driver had sent is waited
    /// for. Only its own queues and registers are looked at; what it serves is asked for by commands.
    ///
    /// # Errors
    /// [`CardError::NotRunning`] and others; the card can only be [booted](Card::boot) then.
    pub fn adopt(device: D, options: CardOptions) -> Result<Self, CardError> {
        identify(&device)?;
        // First of all: its ring lies in memory that may be given to others from now on.
        trace::switch_off(&device)?;
        let bar = device.bar(0)?;
        let packet_memory = device.bar(2)?.bus();
        for (offset, want, what) in [
            (bar0::CTRL_OFFSET, RUN, "cores that run"),
            (bar0::FW_STATUS_OFFSET, READY, "ready firmware"),
            (bar0::QUEUE_ENABLE_OFFSET, 1, "a host queue that is enabled"),
            (
                bar0::PM_BUS_LO_OFFSET,
                packet_memory as u32,
                "packet memory at the same bus address",
            ),
            (
                bar0::PM_BUS_HI_OFFSET,
                (packet_memory >> 32) as u32,
                "packet memory at the same bus address",
            ),
        ] {
            if bar.read32(offset.into())? != want {
                let name = device.name().into();
                return Err(CardError::NotRunning { name, what });
            }
        }
        if options.interrupts {
            device.irq().enable(2)?;
        }
        let queue = HostQueuePair::adopt(&device, options)?;
        let mut card = Self {
            device,
            queue,
            info: Info::default(),
            trace: None,
        };
        card.info = card.identify()?;
        let (name, firmware) = (card.device.name(), &card.info.firmware);
        log::info!("{name}: taken over as it runs, firmware {firmware}");
        Ok(card)
    }

    /// Checks that the card is there.
    ///
    /// # Errors
    /// [`CardError::Gone`] or [`CardError::Trouble`].
    pub fn check(&self) -> Result<(), CardError> {
        let name = || self.device.name().to_string();
        let magic = self.device.bar(0)?.read32(bar0::MAGIC_OFFSET.into())?;
        if magic != MAGIC {
            return Err(CardError::Gone { name: name() });
        }
        match self.device.trouble() {
            Some(trouble) => Err(CardError::Trouble {
                name: name(),
                trouble,
            }),
            None => Ok(()),
        }
    }

    /// What the firmware says it can do.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The device under it.
    #[must_use]
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Bus address at which SSDs reach packet memory.
    ///
    /// # Errors
    /// If the card has no BAR2.
    pub fn packet_memory_bus(&self) -> Result<u64, CardError> {
        Ok(self.device.bar(2)?.bus())
    }

    /// Cores whose watchdog has expired, one bit each; clears them.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn expired_watchdogs(&self) -> Result<u32, CardError> {
        let bar = self.device.bar(0)?;
        let bits = bar.read32(bar0::WATCHDOG_OFFSET.into())?;
        if all_ones32(bits) {
            // No card has so many cores; it is gone, or the whole of it is stuck.
            self.check()?;
        }
        bar.write32(bar0::WATCHDOG_OFFSET.into(), bits)?;
        Ok(bits)
    }

    /// Holds all cores in reset: the card sends and writes nothing more.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn halt(self) -> Result<D, CardError> {
        let bar = self.device.bar(0)?;
        bar.write32(bar0::QUEUE_ENABLE_OFFSET.into(), 0)?;
        bar.write32(bar0::CTRL_OFFSET.into(), 0)?;
        // Read back: the write has arrived.
        bar.read32(bar0::CTRL_OFFSET.into())?;
        Ok(self.device)
    }

    /// Tells the rx engine which MAC address is the card's own.
    fn set_mac(&self, mac: [u8; 6], mtu: u16) -> Result<(), CardError> {
        let bar = self.device.bar(0)?;
        let [a, b, c, d, e, f] = mac;
        bar.write32(
            bar0::MAC_HI_OFFSET.into(),
            u16::from_be_bytes([a, b]).into(),
        )?;
        bar.write32(bar0::MAC_LO_OFFSET.into(), u32::from_be_bytes([c, d, e, f]))?;
        bar.write32(bar0::MTU_OFFSET.into(), mtu.into())?;
        Ok(())
    }
}

/// Resets a card, tells it where new queues are, and has it started.
fn set_up<D: Device>(
    device: &D,
    options: CardOptions,
    start: impl FnOnce(&D) -> Result<(), CardError>,
) -> Result<HostQueuePair, CardError> {
    identify(device)?;
    let bar = device.bar(0)?;
    bar.write32(bar0::CTRL_OFFSET.into(), 0)?;
    bar.write32(bar0::CTRL_OFFSET.into(), SOFT_RESET)?;
    if options.interrupts {
        device.irq().enable(2)?;
    }
    let queue = HostQueuePair::new(device, options)?;
    queue.write_registers(device)?;
    let packet_memory = device.bar(2)?.bus();
    bar.write32(bar0::PM_BUS_LO_OFFSET.into(), packet_memory as u32)?;
    bar.write32(bar0::PM_BUS_HI_OFFSET.into(), (packet_memory >> 32) as u32)?;
    start(device)?;
    bar.write32(bar0::QUEUE_ENABLE_OFFSET.into(), 1)?;
    Ok(queue)
}

fn identify<D: Device>(device: &D) -> Result<(), CardError> {
    let (name, bar) = (device.name().to_string(), device.bar(0)?);
    let magic = bar.read32(bar0::MAGIC_OFFSET.into())?;
    if all_ones32(magic) {
        return Err(CardError::Gone { name });
    }
    if magic != MAGIC {
        return Err(CardError::NotACard {
            name,
            want: MAGIC,
            got: magic,
        });
    }
    let version = bar.read32(bar0::MAP_VERSION_OFFSET.into())?;
    if version != MAP_VERSION {
        return Err(CardError::MapVersion {
            name,
            want: MAP_VERSION,
            got: version,
        });
    }
    Ok(())
}

fn wait_ready<D: Device>(device: &D, limit: Duration) -> Result<(), CardError> {
    let (bar, clock) = (device.bar(0)?, device.clock());
    let give_up = clock.now() + limit;
    let mut pause = Duration::from_micros(20);
    loop {
        let status = bar.read32(bar0::FW_STATUS_OFFSET.into())?;
        let name = || device.name().to_string();
        if all_ones32(status) {
            return Err(CardError::Gone { name: name() });
        }
        if status == READY {
            return Ok(());
        }
        let watchdogs = bar.read32(bar0::WATCHDOG_OFFSET.into())?;
        if status > READY {
            return Err(CardError::Firmware {
                name: name(),
                status,
                watchdogs,
            });
        }
        if clock.now() >= give_up {
            return Err(CardError::NotReady {
                name: name(),
                limit,
                status,
                watchdogs,
            });
        }
        clock.sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

const _: () = assert!(size_of::<CardInfo>() <= sluice_wire::mgmt::MAX_DATA);
