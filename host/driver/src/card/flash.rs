//! The firmware in the card's flash: what is there, and replacing it.
//!
//! The order of an update is [`Card::flash`], [`Card::activate`], a new start of the card ([`Card::boot_from_flash`]),
//! [`Card::health`], [`Card::confirm`]. Nothing of it disturbs the running firmware before the new start; whoever starts the
//! card anew stops the SSDs first, since they write into its memory.

use std::time::Duration;

use sluice_boot::image::{HEADER_SIZE, Header, HeaderError, Package};
use sluice_boot::layout::{SECTOR, Slot};
use sluice_device::{Device, all_ones32};
use sluice_regs::bar0_regs::{self as bar0, BootStatus};
use sluice_wire::mgmt::{FlashInfo, FlashSlot, NO_SLOT, Opcode, key_refusals, refusals};

use super::queue::Request;
use super::{BOOT, Card, CardError};

/// What is in the flash.
#[derive(Clone, Debug)]
pub struct FlashState {
    /// As the card said it.
    pub raw: FlashInfo,
}

/// What is in a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotState {
    /// Major, minor, patch.
    pub version: (u16, u16, u16),
    /// Security version.
    pub security_version: u32,
    /// Bytes of the package.
    pub len: u32,
    /// Key that signed.
    pub key_id: [u8; 8],
    /// Name of the build.
    pub label: String,
}

impl FlashState {
    /// Slot of the running firmware; `None`: the host loaded it.
    #[must_use]
    pub fn running(&self) -> Option<Slot> {
        slot(self.raw.running)
    }

    /// Slot of the confirmed firmware.
    #[must_use]
    pub fn active(&self) -> Option<Slot> {
        slot(self.raw.active)
    }

    /// Slot of the firmware that is to be tried or is on trial.
    #[must_use]
    pub fn trial(&self) -> Option<Slot> {
        slot(self.raw.trial)
    }

    /// The running firmware has to be confirmed.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.trial().is_some() && self.trial() == self.running()
    }

    /// What is in a slot, or why that is no firmware.
    ///
    /// # Errors
    /// One of [`refusals`]; [`refusal`] has the words for it.
    pub fn slot(&self, slot: Slot) -> Result<SlotState, u32> {
        let raw: &FlashSlot = &self.raw.slots[slot.index()];
        if raw.state != 0 {
            return Err(raw.state.into());
        }
        let [major, minor, patch] = raw.version.map(|n| n.get());
        let end = raw.label.iter().position(|b| *b == 0).unwrap_or(32);
        Ok(SlotState {
            version: (major, minor, patch),
            security_version: raw.security_version.get(),
            len: raw.len.get(),
            key_id: raw.key_id,
            label: String::from_utf8_lossy(&raw.label[..end]).into_owned(),
        })
    }
}

fn slot(index: u8) -> Option<Slot> {
    if index == NO_SLOT {
        return None;
    }
    Slot::from_index(index.into())
}

/// How far a download is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// So many bytes of all are in the flash.
    Written {
        /// Bytes.
        done: u32,
        /// Of so many.
        of: u32,
    },
    /// The card checks what it has.
    Verifying,
    /// The package is whole in its slot.
    Verified,
}

/// A package on its way into the flash.
#[derive(Debug)]
pub struct Download {
    package: Vec<u8>,
    /// Bytes that are written.
    offset: usize,
    /// It was said that the verification comes.
    told: bool,
}

/// A card that answers, core by core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// Version that the firmware reports.
    pub firmware: String,
    /// Passes of each data core's loop since it was started.
    pub loops: Vec<u64>,
    /// Cores whose watchdog has expired, one bit each.
    pub watchdogs: u32,
}

impl Health {
    /// Nothing speaks against going on with this firmware.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.watchdogs == 0 && self.loops.iter().all(|loops| *loops > 0)
    }
}

impl<D: Device> Card<D> {
    /// What is in the card's flash.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn flash_state(&mut self) -> Result<FlashState, CardError> {
        let raw = self.receive(Opcode::FlashInfo, 0, &[])?;
        Ok(FlashState { raw })
    }

    /// Puts `package` into the slot that does not run and has the card verify it. `progress` is called after each piece.
    /// The running firmware goes on as it is; [`Card::activate`] is what makes a difference.
    ///
    /// # Errors
    /// [`CardError::Package`] if it cannot be for this card, [`CardError::Refused`] if the card says so.
    pub fn flash(
        &mut self,
        package: &[u8],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), CardError> {
        let mut download = self.begin_flash(package.to_vec())?;
        loop {
            let step = self.continue_flash(&mut download)?;
            progress(step);
            if step == Progress::Verified {
                return Ok(());
            }
        }
    }

    /// Begins what [`Card::flash`] does, for whoever has other things to do in between. A download that was begun before is given
    /// up.
    ///
    /// # Errors
    /// As there.
    pub fn begin_flash(&mut self, package: Vec<u8>) -> Result<Download, CardError> {
        let state = self.flash_state()?;
        suits(&package, &state.raw).map_err(|reason| CardError::Package {
            name: self.device.name().to_string(),
            reason,
        })?;
        self.send(Opcode::FlashBegin, 0, &package[..HEADER_SIZE])?;
        Ok(Download {
            package,
            offset: HEADER_SIZE,
            told: false,
        })
    }

    /// The next piece of a download, or the verification once all is written. [`Progress::Verified`] is the last step.
    ///
    /// # Errors
    /// [`CardError`]; the download cannot go on then.
    pub fn continue_flash(&mut self, download: &mut Download) -> Result<Progress, CardError> {
        let Download {
            package,
            offset,
            told,
        } = download;
        if *offset < package.len() {
            // Up to the end of a sector: one erase for each piece.
            let room = SECTOR as usize - *offset % SECTOR as usize;
            let piece = &package[*offset..package.len().min(*offset + room)];
            let request = Request {
                args: &[*offset as u32],
                send: piece,
                ..Request::new(Opcode::FlashWrite, 0)
            };
            self.queue.execute(&self.device, &request)?;
            *offset += piece.len();
            let (done, of) = (*offset as u32, package.len() as u32);
            return Ok(Progress::Written { done, of });
        }
        if !std::mem::replace(told, true) {
            return Ok(Progress::Verifying);
        }
        self.send(Opcode::FlashVerify, 0, &[])?;
        Ok(Progress::Verified)
    }

    /// The verified package is tried at the next start.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn activate(&mut self) -> Result<(), CardError> {
        self.send(Opcode::FlashActivate, 0, &[])
    }

    /// The running firmware is well and is started from now on. Burns its security version.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn confirm(&mut self) -> Result<(), CardError> {
        self.send(Opcode::FlashConfirm, 0, &[])
    }

    /// Back to what ran before from the next start on, or no trial of what was activated.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn roll_back(&mut self) -> Result<(), CardError> {
        self.send(Opcode::FlashRollBack, 0, &[])
    }

    /// Gives the card a new signing key: its certificate as the file has it.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn rotate_key(&mut self, certificate: &[u8]) -> Result<(), CardError> {
        self.send(Opcode::KeyRotate, 0, certificate)
    }

    /// Asks every core for a sign of life.
    ///
    /// # Errors
    /// [`CardError`] if one does not answer.
    pub fn health(&mut self) -> Result<Health, CardError> {
        let info = self.identify()?;
        let mut loops = Vec::new();
        for core in 1..u32::from(info.cores) {
            loops.push(self.counters(core)?.loops.get());
        }
        let watchdogs = self.expired_watchdogs()?;
        Ok(Health {
            firmware: info.firmware,
            loops,
            watchdogs,
        })
    }
}

/// What the card would refuse for reasons that can be seen from here, with the words that only this side has.
fn suits(package: &[u8], card: &FlashInfo) -> Result<Package, String> {
    let head = package.first_chunk::<HEADER_SIZE>().ok_or_else(|| {
        format!(
            "a package begins with {HEADER_SIZE} bytes of header, this has {} in all",
            package.len()
        )
    })?;
    let found = Header::of(head).bounded().map_err(|error| match error {
        HeaderError::Magic { got } => {
            format!("not a firmware package: it begins with {got:08x}h instead of `SLFW`")
        }
        other => format!("its header is damaged: {other:?}"),
    })?;
    if package.len() != found.len as usize {
        return Err(format!(
            "its header says {} bytes, it has {}; was it copied whole?",
            found.len,
            package.len()
        ));
    }
    let differs =
        |what: &str, want: u32, got: u32| format!("it is for {what} {got}, the card is {want}");
    if found.board != card.board.get() {
        return Err(differs("board", card.board.get(), found.board));
    }
    if found.map_version != card.map_version.get() {
        return Err(differs(
            "register map",
            card.map_version.get(),
            found.map_version,
        ));
    }
    if found.security_version < card.security_version.get() {
        return Err(format!(
            "its security version is {}, the card's fuses allow {} and up: downgrades below that are refused for ever",
            found.security_version,
            card.security_version.get()
        ));
    }
    Ok(found)
}

/// Has the boot program choose firmware; the card must have been reset.
pub(super) fn start<D: Device>(device: &D, limit: Duration) -> Result<(), CardError> {
    let (bar, clock) = (device.bar(0)?, device.clock());
    bar.write32(bar0::CTRL_OFFSET.into(), BOOT)?;
    let give_up = clock.now() + limit;
    loop {
        let control = bar.read32(bar0::CTRL_OFFSET.into())?;
        let name = || device.name().to_string();
        if all_ones32(control) {
            return Err(CardError::Gone { name: name() });
        }
        if control & BOOT == 0 {
            break;
        }
        if clock.now() >= give_up {
            return Err(CardError::NotReady {
                name: name(),
                limit,
                status: 0,
                watchdogs: bar.read32(bar0::WATCHDOG_OFFSET.into())?,
            });
        }
        clock.sleep(Duration::from_micros(200));
    }
    let status = BootStatus(bar.read32(bar0::BOOT_STATUS_OFFSET.into())?);
    let refused = [status.refused_a(), status.refused_b()];
    let name = device.name().to_string();
    match status.source() {
        1 | 2 => {
            log::info!(
                "{name}: firmware of slot {}{}",
                if status.source() == 1 { "A" } else { "B" },
                if status.trial() { ", on trial" } else { "" }
            );
            Ok(())
        }
        _ => Err(CardError::NothingToStart { name, refused }),
    }
}

/// Words for one of [`refusals`].
#[must_use]
pub fn refusal(code: u32) -> &'static str {
    match code {
        0 => "not looked at",
        refusals::MAGIC => "no firmware package there",
        refusals::FORMAT => "a package format that the card does not know",
        refusals::HEADER => "the package's header is damaged",
        refusals::BOARD => "the package is for another board",
        refusals::MAP_VERSION => "the package needs another register map",
        refusals::SECURITY_VERSION => "its security version is below what the card's fuses allow",
        refusals::UNKNOWN_KEY => {
            "signed by a key that the card does not know; sign with the root key, or give the card the key's certificate first"
        }
        refusals::REVOKED_KEY => "signed by a key that is revoked",
        refusals::CERTIFICATE => "the certificate of its key in the card's flash is damaged",
        refusals::SIGNATURE => "its signature is wrong: the header was changed",
        refusals::TRUNCATED => "the package is cut short",
        refusals::DIGEST => {
            "its SHA-256 is wrong: what is behind the header was changed or damaged"
        }
        refusals::FAILED => "its firmware failed its trial",
        refusals::FLASH => "the flash cannot be read",
        _ => "refused for a reason that this driver does not know; versions differ",
    }
}

/// Words for one of [`key_refusals`].
#[must_use]
pub fn key_refusal(code: u32) -> &'static str {
    match code {
        key_refusals::CERTIFICATE => "not a certificate, or a damaged one",
        key_refusals::BOARD => "the certificate is for another board",
        key_refusals::REVOKED => "keys of this generation are revoked on this card",
        key_refusals::SIGNATURE => "the card's root key did not sign this certificate",
        key_refusals::GENERATION => "the card has a key of this generation or a later one",
        key_refusals::KEY_IN_USE => {
            "the key that would go signed the firmware in slot A: update that first"
        }
        code if code == key_refusals::KEY_IN_USE + 1 => {
            "the key that would go signed the firmware in slot B: update that first"
        }
        _ => "refused for a reason that this driver does not know; versions differ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_card_has_its_words() {
        let unknown = refusal(99);
        let words: Vec<_> = (1..=14).map(refusal).collect();
        assert!(words.iter().all(|w| *w != unknown));
        let keys: Vec<_> = (1..=7).map(key_refusal).collect();
        assert!(keys.iter().all(|w| *w != unknown));
    }

    #[test]
    fn a_file_that_is_no_package_is_not_sent() {
        let card = FlashInfo::default();
        let short = suits(&[0; 100], &card).expect_err("short");
        assert!(short.contains("this has 100 in all"), "{short}");
        let other = suits(&[0x7F; 4096], &card).expect_err("no package");
        assert!(other.contains("7f7f7f7fh instead of `SLFW`"), "{other}");
    }
}
