//! An NVMe SSD as the host driver uses it: reset, admin queue, Identify, queues created at given bus addresses; health, logs,
//! format, firmware, and admin commands passed through.
//! Source: NVMe Base Specification 2.1, section 3.5.1 (initialization) and section 3.6 (shutdown).
//!
//! I/O commands are not sent from here: the card does that.

mod admin;
mod error;
mod format;
mod health;
mod identify;
mod passthrough;
mod update;

use std::time::Duration;

use sluice_device::{Device, all_ones32, all_ones64};
use sluice_wire::nvme::{Aqa, Cap, Cc, Csts, SmartLog, Version, register};

pub use admin::{MAX_DATA, Transfer};
pub use error::SsdError;
pub use format::{Erase, NamespaceIds};
pub use health::{ErrorInfo, FirmwareInfo, Health};
pub use identify::{SsdInfo, SsdNamespace};
pub use passthrough::{AdminAnswer, AdminCommand};
pub use update::{Activation, Commit};

use admin::AdminQueue;

/// How to open an SSD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SsdOptions {
    /// Wait for completions by MSI-X vector 0 instead of polling.
    pub interrupts: bool,
    /// Give up on an admin command after this long.
    pub admin_timeout: Duration,
    /// I/O queue pairs wanted.
    pub queues: u16,
}

impl Default for SsdOptions {
    fn default() -> Self {
        Self {
            interrupts: true,
            admin_timeout: Duration::from_secs(10),
            queues: 1,
        }
    }
}

/// An SSD that is enabled. Dropping it leaves it as it is; [`Ssd::shutdown`] ends in order.
pub struct Ssd<D: Device> {
    device: D,
    cap: Cap,
    admin: AdminQueue,
    info: SsdInfo,
    /// Queue pairs the controller granted.
    granted: u16,
    /// Identifiers of the I/O queue pairs that exist.
    queues: Vec<u16>,
}

impl<D: Device> std::fmt::Debug for Ssd<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Ssd");
        f.field("name", &self.device.name())
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl<D: Device> Ssd<D> {
    /// Resets the controller, enables it and asks what it is.
    ///
    /// # Errors
    /// [`SsdError`] says what was wanted and what came.
    pub fn open(device: D, options: SsdOptions) -> Result<Self, SsdError> {
        let cap = capabilities(&device)?;
        if options.interrupts {
            device.irq().enable(1)?;
        }
        disable(&device, cap)?;
        let admin = AdminQueue::new(&device, cap, options)?;
        enable(&device, cap, &admin)?;
        let mut ssd = Self {
            info: SsdInfo::default(),
            device,
            cap,
            admin,
            granted: 0,
            queues: Vec::new(),
        };
        ssd.granted = ssd.admin.set_queue_count(&ssd.device, options.queues)?;
        ssd.info = identify::identify(&ssd.device, &mut ssd.admin, cap)?;
        let info = &ssd.info;
        log::info!(
            "{}: {} {} firmware {}, {} namespaces, {} queue pairs of up to {} entries",
            ssd.device.name(),
            info.model,
            info.serial,
            info.firmware,
            info.namespaces.len(),
            ssd.granted,
            info.max_entries,
        );
        Ok(ssd)
    }

    /// Takes over a controller that runs, with I/O queue pairs 1 to `queues` that are in use: nothing is reset, and what an
    /// earlier driver had sent is waited for.
    ///
    /// # Errors
    /// [`SsdError::NotRunning`] and others, with the device; the SSD can only be [opened](Ssd::open) then.
    pub fn adopt(device: D, options: SsdOptions, queues: u16) -> Result<Self, (D, SsdError)> {
        match take_over(&device, options) {
            Ok((cap, admin, granted, info)) => {
                let (name, queues) = (device.name(), (1..=queues).collect());
                log::info!("{name}: taken over as it runs");
                Ok(Self {
                    device,
                    cap,
                    admin,
                    info,
                    granted,
                    queues,
                })
            }
            Err(error) => Err((device, error)),
        }
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> &SsdInfo {
        &self.info
    }

    /// Gives the device back as it is.
    pub fn into_device(self) -> D {
        self.device
    }

    /// The device under it.
    #[must_use]
    pub fn device(&self) -> &D {
        &self.device
    }

    /// I/O queue pairs it grants; may be more or fewer than asked for.
    #[must_use]
    pub fn granted_queues(&self) -> u16 {
        self.granted
    }

    /// I/O queue pairs that exist.
    #[must_use]
    pub fn queues(&self) -> &[u16] {
        &self.queues
    }

    /// Bus address at which other devices reach the doorbells, and the bytes between two of them.
    ///
    /// # Errors
    /// If the device has no BAR0.
    pub fn doorbells(&self) -> Result<(u64, u32), SsdError> {
        let base = self.device.bar(0)?.bus() + u64::from(register::DOORBELLS);
        Ok((base, 4 << self.cap.dstrd()))
    }

    /// Creates I/O queue pair `qid` with both queues of `entries` entries at these bus addresses (multiples of 4,096),
    /// whose completion queue is all zeros. No interrupts: whoever owns the memory polls it.
    ///
    /// # Errors
    /// [`SsdError`]; a completion queue without its submission queue is deleted again.
    pub fn create_queue_pair(
        &mut self,
        qid: u16,
        sq: u64,
        cq: u64,
        entries: u16,
    ) -> Result<(), SsdError> {
        if qid == 0 || qid > self.granted {
            return Err(SsdError::Queues {
                name: self.name(),
                want: qid,
                granted: self.granted,
            });
        }
        if entries < 2 || u32::from(entries) > self.info.max_entries {
            let max = self.info.max_entries;
            return Err(SsdError::QueueEntries {
                name: self.name(),
                want: entries,
                max,
            });
        }
        self.admin.create_cq(&self.device, qid, cq, entries)?;
        if let Err(e) = self.admin.create_sq(&self.device, qid, sq, entries) {
            // The first error is the one that matters.
            let _ = self.admin.delete_cq(&self.device, qid);
            return Err(e);
        }
        self.queues.push(qid);
        Ok(())
    }

    /// Deletes an I/O queue pair; the controller completes what it held first.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn delete_queue_pair(&mut self, qid: u16) -> Result<(), SsdError> {
        self.admin.delete_sq(&self.device, qid)?;
        self.admin.delete_cq(&self.device, qid)?;
        self.queues.retain(|q| *q != qid);
        Ok(())
    }

    /// Asks for command `cid` of submission queue `sqid` to be aborted; false if it was not.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn abort(&mut self, sqid: u16, cid: u16) -> Result<bool, SsdError> {
        self.admin.abort(&self.device, sqid, cid)
    }

    /// The SMART / Health log.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn smart(&mut self) -> Result<SmartLog, SsdError> {
        self.admin.smart(&self.device)
    }

    /// Checks that the controller is there and well.
    ///
    /// # Errors
    /// [`SsdError::Gone`], [`SsdError::Fatal`] or a bus error.
    pub fn check(&self) -> Result<(), SsdError> {
        let csts = status(&self.device)?;
        if csts.cfs() {
            return Err(SsdError::Fatal {
                name: self.name(),
                csts: csts.0,
            });
        }
        match self.device.trouble() {
            Some(trouble) => Err(SsdError::Trouble {
                name: self.name(),
                trouble,
            }),
            None => Ok(()),
        }
    }

    /// Stops the controller at once: when this returns `Ok` it writes nothing more. All queues are gone.
    ///
    /// # Errors
    /// [`SsdError`]; one that is [gone](SsdError::is_gone) writes nothing more either.
    pub fn stop(&mut self) -> Result<(), SsdError> {
        self.queues.clear();
        disable(&self.device, self.cap)
    }

    /// Deletes the queues, tells the controller to make its cache durable, and disables it.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn shutdown(mut self) -> Result<D, SsdError> {
        while let Some(qid) = self.queues.last().copied() {
            self.delete_queue_pair(qid)?;
        }
        let mut cc = Cc(self.device.bar(0)?.read32(register::CC.into())?);
        cc.set_shn(1);
        self.device.bar(0)?.write32(register::CC.into(), cc.0)?;
        // RTD3E says how long; without it this is generous.
        wait(
            &self.device,
            Duration::from_secs(30),
            "CSTS.SHST to become 2 (shut down)",
            |c| c.shst() == 2,
        )?;
        disable(&self.device, self.cap)?;
        Ok(self.device)
    }

    fn name(&self) -> String {
        self.device.name().into()
    }
}

fn take_over<D: Device>(
    device: &D,
    options: SsdOptions,
) -> Result<(Cap, AdminQueue, u16, SsdInfo), SsdError> {
    let cap = capabilities(device)?;
    let cc = Cc(device.bar(0)?.read32(register::CC.into())?);
    let csts = status(device)?;
    if !cc.en() || cc.shn() != 0 || !csts.rdy() || csts.cfs() {
        let (name, what) = (device.name().into(), "an enabled and ready controller");
        return Err(SsdError::NotRunning { name, what });
    }
    if options.interrupts {
        device.irq().enable(1)?;
    }
    let mut admin = AdminQueue::adopt(device, cap, options)?;
    let granted = admin.queue_count(device)?;
    let info = identify::identify(device, &mut admin, cap)?;
    Ok((cap, admin, granted, info))
}

fn capabilities<D: Device>(device: &D) -> Result<Cap, SsdError> {
    let (name, bar) = (device.name().to_string(), device.bar(0)?);
    let cap = bar.read64(register::CAP.into())?;
    if all_ones64(cap) {
        return Err(SsdError::Gone {
            name,
            doing: "reading CAP",
        });
    }
    let cap = Cap(cap);
    if cap.css() & 0b100_0001 == 0 {
        return Err(SsdError::NoNvm {
            name,
            css: cap.css(),
        });
    }
    if cap.mpsmin() != 0 {
        return Err(SsdError::PageSize {
            name,
            min: 4096 << cap.mpsmin(),
        });
    }
    let version = Version(bar.read32(register::VS.into())?);
    log::debug!(
        "{name}: NVMe {}.{}, CAP {:#x}",
        version.major(),
        version.minor(),
        cap.0
    );
    Ok(cap)
}

/// CSTS, unless the controller is gone. CSTS can never be all ones: bits 31:7 are reserved.
fn status<D: Device>(device: &D) -> Result<Csts, SsdError> {
    let csts = device.bar(0)?.read32(register::CSTS.into())?;
    if all_ones32(csts) {
        return Err(SsdError::Gone {
            name: device.name().into(),
            doing: "reading CSTS",
        });
    }
    Ok(Csts(csts))
}

fn ready_timeout(cap: Cap) -> Duration {
    Duration::from_millis(500) * u32::from(cap.timeout()).max(1)
}

/// Waits until the status is as wanted.
fn wait<D: Device>(
    device: &D,
    limit: Duration,
    what: &'static str,
    done: impl Fn(Csts) -> bool,
) -> Result<(), SsdError> {
    let clock = device.clock();
    let give_up = clock.now() + limit;
    let mut pause = Duration::from_micros(10);
    loop {
        let csts = status(device)?;
        if done(csts) {
            return Ok(());
        }
        if clock.now() >= give_up {
            let name = device.name().into();
            return Err(SsdError::NotInTime {
                name,
                what,
                limit,
                csts: csts.0,
            });
        }
        clock.sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn disable<D: Device>(device: &D, cap: Cap) -> Result<(), SsdError> {
    let bar = device.bar(0)?;
    let mut cc = Cc(bar.read32(register::CC.into())?);
    let csts = status(device)?;
    // A controller on its way up may not be turned back (Base, section 3.1.4.6).
    if cc.en() && !csts.rdy() && !csts.cfs() {
        let _ = wait(device, ready_timeout(cap), "CSTS.RDY to become 1", |c| {
            c.rdy() || c.cfs()
        });
    }
    if cc.en() {
        cc.set_en(false);
        cc.set_shn(0);
        bar.write32(register::CC.into(), cc.0)?;
    }
    wait(device, ready_timeout(cap), "CSTS.RDY to become 0", |c| {
        !c.rdy()
    })
}

fn enable<D: Device>(device: &D, cap: Cap, admin: &AdminQueue) -> Result<(), SsdError> {
    let bar = device.bar(0)?;
    let mut aqa = Aqa(0);
    aqa.set_asqs_z(admin.entries() - 1);
    aqa.set_acqs_z(admin.entries() - 1);
    bar.write32(register::AQA.into(), aqa.0)?;
    let (sq, cq) = admin.bus();
    bar.write64(register::ASQ.into(), sq)?;
    bar.write64(register::ACQ.into(), cq)?;
    let mut cc = Cc(0);
    // With several command sets (CAP.CSS bit 6) the NVM set is one of those that 6 enables.
    cc.set_css(if cap.css() & 1 != 0 { 0 } else { 6 });
    cc.set_iosqes(6);
    cc.set_iocqes(4);
    cc.set_en(true);
    bar.write32(register::CC.into(), cc.0)?;
    let limit = ready_timeout(cap);
    wait(device, limit, "CSTS.RDY to become 1 after CC.EN", |c| {
        c.rdy() || c.cfs()
    })?;
    let csts = status(device)?;
    if csts.cfs() {
        return Err(SsdError::Fatal {
            name: device.name().into(),
            csts: csts.0,
        });
    }
    Ok(())
}
