//! The host driver's commands for the firmware in flash, and the piece of the loop that carries them out.
//!
//! A command does at most one program or erase per pass of the loop and never waits for the chip, so the control core goes on
//! serving; data cores have no part in it at all. The one long step is an Ed25519 verification: one when a download begins,
//! one or two when a slot is checked. The boot state is read at the first command, 8 KiB of flash at once.

mod storage;

use sluice_boot::Fuses;
use sluice_boot::check::{self, Refusal};
use sluice_boot::flash::FlashError;
use sluice_boot::image::{HEADER_SIZE, Header};
use sluice_boot::keys::{self, CERTIFICATE_SIZE, Certificate, CertificateError};
use sluice_boot::layout::Slot;
use sluice_boot::update::{Download, Request, RotateError, Source, UpdateError, Updater};
use sluice_hal::Hal;
use sluice_wire::mgmt::{FlashInfo, FlashKey, FlashSlot, NO_SLOT, Opcode, Status, key_refusals};
use zerocopy::{FromZeros, IntoBytes};

use super::ControlCore;
use super::host_queue::{DATA, Step};
use storage::{PortFlash, PortFuses};

/// While the chip programs or erases it is looked at so often, in microseconds.
pub const POLL: u32 = 50;
/// Bytes that are programmed at once.
const PAGE: usize = 256;

/// The piece in hand as far as the next step needs it.
struct Page {
    bytes: [u8; PAGE],
    from: u32,
}

impl Source for Page {
    fn take(&mut self, offset: u32, into: &mut [u8]) {
        let at = (offset - self.from) as usize;
        into.copy_from_slice(&self.bytes[at..at + into.len()]);
    }
}

impl ControlCore {
    /// Begins one of the commands of this file.
    pub(super) fn flash_command<H: Hal>(&mut self, opcode: Opcode, hal: &mut H) {
        if hal.flash().is_none() {
            return self.finish(Status::NoFlash, 0, 0);
        }
        let request = match self.flash_request(opcode, hal) {
            Ok(request) => request,
            Err((status, result)) => return self.finish(status, result, 0),
        };
        let begun = self.with_updater(hal, |updater, flash, fuses, busy| match &request {
            // What failed half-way may have left it at work.
            _ if busy => Err(UpdateError::Busy),
            Some(request) => updater.start(request, flash, fuses).map(|()| None),
            None => info(updater, flash, fuses).map(Some),
        });
        match begun {
            Ok(None) => self.port.step = Step::Flashing,
            Ok(Some(mut info)) => {
                info.refused = hal.flash().map_or([0; 2], |storage| storage.boot.refused);
                hal.pm_write(DATA, info.as_bytes());
                self.store(size_of::<FlashInfo>() as u32, 0, hal);
            }
            Err(error) => self.flash_failed(&error),
        }
    }

    /// The next small thing of the command in hand, if it is one of these. True if something was done.
    pub(super) fn serve_flash<H: Hal>(&mut self, hal: &mut H) -> bool {
        if self.port.step != Step::Flashing {
            return false;
        }
        let mut page = Page {
            bytes: [0; PAGE],
            from: 0,
        };
        if let Some((from, len)) = self.updater.as_ref().and_then(Updater::wants) {
            page.from = from;
            hal.pm_read(DATA.plus(from), &mut page.bytes[..len as usize]);
        }
        let mut worked = false;
        let done = self.with_updater(hal, |updater, flash, fuses, was_busy| {
            worked = !was_busy;
            updater.poll(flash, fuses, &mut page).transpose()
        });
        match done {
            Ok(None) => {}
            Ok(Some(())) => self.finish(Status::Success, 0, 0),
            Err(error) => self.flash_failed(&error),
        }
        worked
    }

    /// Calls `work` with the updater, which is opened when it is first needed, and whether the chip is busy.
    fn with_updater<H: Hal, T>(
        &mut self,
        hal: &mut H,
        work: impl FnOnce(
            &mut Updater,
            &mut PortFlash<'_>,
            &mut PortFuses<'_>,
            bool,
        ) -> Result<T, UpdateError>,
    ) -> Result<T, UpdateError> {
        let failed = UpdateError::Flash(FlashError::Failed);
        let storage = hal.flash().ok_or(failed)?;
        let running = storage
            .boot
            .slot
            .and_then(|slot| Slot::from_index(slot.into()));
        let (mut flash, mut fuses) = (PortFlash(storage.flash), PortFuses(storage.fuses));
        let busy = flash.0.busy().map_err(|_| failed)?;
        let updater = self.updater.get_or_try_insert(|| match busy {
            true => Err(UpdateError::Busy),
            false => Ok(Updater::open(&mut flash, running)?),
        })?;
        work(updater, &mut flash, &mut fuses, busy)
    }

    /// The command in hand as a request; `None` for the one that only asks.
    fn flash_request<H: Hal>(
        &mut self,
        opcode: Opcode,
        hal: &mut H,
    ) -> Result<Option<Request>, (Status, u32)> {
        let len = self.port.command.data_len.get();
        let exactly = |want: usize| {
            if len as usize == want {
                Ok(())
            } else {
                Err((Status::BadLength, want as u32))
            }
        };
        Ok(Some(match opcode {
            Opcode::FlashBegin => {
                exactly(HEADER_SIZE)?;
                let mut header = Header::new_zeroed();
                hal.pm_read(DATA, header.as_mut_bytes());
                Request::Begin(header)
            }
            Opcode::FlashWrite => Request::Write {
                offset: self.port.command.args[0].get(),
                len,
            },
            Opcode::FlashVerify => Request::Verify,
            Opcode::FlashActivate => Request::Activate,
            Opcode::FlashConfirm => Request::Confirm,
            Opcode::FlashRollBack => Request::RollBack,
            Opcode::KeyRotate => {
                exactly(CERTIFICATE_SIZE)?;
                let mut certificate = Certificate::new_zeroed();
                hal.pm_read(DATA, certificate.as_mut_bytes());
                Request::Rotate(certificate)
            }
            _ => return Ok(None),
        }))
    }

    fn flash_failed(&mut self, error: &UpdateError) {
        let (status, result) = match error {
            UpdateError::Busy => (Status::InUse, 0),
            UpdateError::Refused(refusal) => (Status::PackageRefused, refusal.code().into()),
            UpdateError::OutOfOrder => (Status::OutOfOrder, 0),
            UpdateError::Offset { want, .. } => (Status::OutOfOrder, *want),
            UpdateError::Length { got } => (Status::BadLength, *got),
            UpdateError::NotConfirmed => (Status::NotConfirmed, 0),
            UpdateError::NotFromFlash => (Status::NotFromFlash, 0),
            UpdateError::Rotate(RotateError::Flash(error)) | UpdateError::Flash(error) => {
                (Status::FlashFailed, worn(error))
            }
            UpdateError::Rotate(error) => (Status::KeyRefused, key_refusal(error)),
            UpdateError::Fuse => (Status::FuseFailed, 0),
        };
        self.finish(status, result, 0);
    }
}

fn worn(error: &FlashError) -> u32 {
    match error {
        FlashError::Worn { at } => *at,
        FlashError::Failed => u32::MAX,
    }
}

fn key_refusal(error: &RotateError) -> u32 {
    match error {
        RotateError::Certificate(CertificateError::Board { .. }) => key_refusals::BOARD,
        RotateError::Certificate(CertificateError::Revoked { .. }) => key_refusals::REVOKED,
        RotateError::Certificate(CertificateError::Signature) => key_refusals::SIGNATURE,
        RotateError::Certificate(_) | RotateError::Flash(_) => key_refusals::CERTIFICATE,
        RotateError::Generation { .. } => key_refusals::GENERATION,
        RotateError::KeyInUse(slot) => key_refusals::KEY_IN_USE + slot.index() as u32,
    }
}

fn info(
    updater: &Updater,
    flash: &mut PortFlash<'_>,
    fuses: &PortFuses<'_>,
) -> Result<FlashInfo, UpdateError> {
    let slot = |slot: Option<Slot>| slot.map_or(NO_SLOT, |slot| slot.index() as u8);
    let state = updater.state();
    let (download, next, len) = match updater.download() {
        Download::None => (0, 0, 0),
        Download::Receiving { next, len } => (1, next, len),
        Download::Verified => (2, 0, 0),
    };
    let mut info = FlashInfo {
        running: slot(updater.running()),
        active: slot(state.active),
        trial: slot(state.trial.map(|trial| trial.slot)),
        attempts: state.trial.map_or(0, |trial| trial.attempts),
        failed: u8::from(state.failed[0]) | u8::from(state.failed[1]) << 1,
        target: updater.target().index() as u8,
        download,
        next: next.into(),
        len: len.into(),
        board: fuses.board().into(),
        map_version: fuses.map_version().into(),
        security_version: fuses.security_version().into(),
        key_generation: fuses.key_generation().into(),
        root_key: keys::key_id(&fuses.root_key()),
        ..FlashInfo::default()
    };
    for (slot, info) in Slot::ALL.into_iter().zip(&mut info.slots) {
        *info = slot_info(slot, flash)?;
    }
    for (slot, info) in info.keys.iter_mut().enumerate() {
        let certificate = keys::read_slot(flash, slot)?;
        if certificate.check(fuses).is_ok() {
            *info = FlashKey {
                generation: certificate.generation,
                key_id: certificate.key_id(),
            };
        }
    }
    Ok(info)
}

fn slot_info(slot: Slot, flash: &mut PortFlash<'_>) -> Result<FlashSlot, UpdateError> {
    Ok(match check::peek(slot, flash) {
        Ok(package) => FlashSlot {
            version: [
                package.version.major.into(),
                package.version.minor.into(),
                package.version.patch.into(),
            ],
            security_version: package.security_version.into(),
            len: package.len.into(),
            key_id: package.key_id,
            label: package.label,
            ..FlashSlot::default()
        },
        Err(Refusal::Flash(error)) => return Err(error.into()),
        Err(refusal) => FlashSlot {
            state: refusal.code(),
            ..FlashSlot::default()
        },
    })
}

const _: () = assert!(size_of::<FlashInfo>() <= sluice_wire::mgmt::MAX_DATA);
