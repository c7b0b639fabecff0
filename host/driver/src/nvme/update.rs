//! Firmware of an SSD: download in pieces, commit.

use sluice_device::Device;
use sluice_wire::nvme::{AdminOpcode, Sqe};

use super::admin::MAX_DATA;
use super::{Ssd, SsdError, Transfer};

/// OACS: Firmware Commit and Image Download.
const CAN_UPDATE: u16 = 1 << 2;
/// FWUG: any size and alignment of a dword.
const ANY: u8 = 255;

/// What Firmware Commit does (CA; Base, figure 184).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// The downloaded image replaces the slot's, and runs when it is activated later.
    Store = 0,
    /// And it runs after the next reset.
    StoreForReset = 1,
    /// What is in the slot runs after the next reset; nothing was downloaded.
    ActivateAtReset = 2,
    /// The downloaded image, or without one what is in the slot, runs at once.
    ActivateNow = 3,
}

/// When a committed image runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// As was asked for.
    AsAsked,
    /// It is committed, but needs a controller reset first.
    NeedsControllerReset,
    /// It is committed, but needs an NVM subsystem reset (a power cycle does it too).
    NeedsSubsystemReset,
    /// It is committed, but needs a conventional reset of the function.
    NeedsConventionalReset,
}

impl<D: Device> Ssd<D> {
    /// Brings an image to the SSD, in pieces; `progress` hears of bytes done after each. It is used by a commit.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn download_firmware(
        &mut self,
        image: &[u8],
        mut progress: impl FnMut(usize),
    ) -> Result<(), SsdError> {
        let mut done = 0;
        while done < image.len().max(1) {
            done = self.download_piece(image, done)?;
            progress(done);
        }
        Ok(())
    }

    /// Brings the piece of an image that begins at `offset` (0, or what this has given before) to the SSD; where the next begins.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn download_piece(&mut self, image: &[u8], offset: usize) -> Result<usize, SsdError> {
        let piece = self.piece(image)?;
        let part = &image[offset.min(image.len())..image.len().min(offset + piece)];
        let mut sqe = Sqe::new(AdminOpcode::FirmwareDownload as u8, 0, 0);
        sqe.cdw10.set((part.len() / 4).saturating_sub(1) as u32);
        sqe.cdw11.set((offset / 4) as u32);
        let command = "Firmware Image Download";
        let cqe = self.command(command, sqe, &Transfer::Send(part))?;
        if !cqe.status().is_ok() {
            let (name, status) = (self.device.name().into(), cqe.status());
            return Err(SsdError::Command {
                name,
                command,
                status,
            });
        }
        Ok(offset + part.len())
    }

    /// Bytes of an image that go over at once, if it is one.
    fn piece(&self, image: &[u8]) -> Result<usize, SsdError> {
        let name = || self.device.name().to_string();
        if self.info.oacs & CAN_UPDATE == 0 {
            let what = "firmware updates";
            return Err(SsdError::Unsupported { name: name(), what });
        }
        if image.is_empty() || !image.len().is_multiple_of(4) || u32::try_from(image.len()).is_err()
        {
            return Err(SsdError::Argument {
                name: name(),
                what: "firmware image",
                want: "a file of at least 4 bytes, in multiples of 4".into(),
                got: format!("{} bytes", image.len()),
            });
        }
        let grain = match self.info.fwug {
            0 | ANY => 4096,
            n => usize::from(n) * 4096,
        };
        if grain > MAX_DATA {
            let what = "firmware downloads in pieces of 64 KiB or less";
            return Err(SsdError::Unsupported { name: name(), what });
        }
        let piece = MAX_DATA / grain * grain;
        // A transfer beyond MDTS would be refused.
        Ok(match self.info.max_transfer as usize {
            0 => piece,
            most => (most / grain * grain).clamp(grain, piece),
        })
    }

    /// Commits: `slot` 1 to 7, or 0 for one of the SSD's choice.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn commit_firmware(&mut self, slot: u8, how: Commit) -> Result<Activation, SsdError> {
        let slots = self.info.frmw >> 1 & 7;
        let writes = matches!(how, Commit::Store | Commit::StoreForReset);
        let bad = slot > slots || (slot == 1 && writes && self.info.frmw & 1 != 0);
        if self.info.oacs & CAN_UPDATE == 0 {
            let what = "firmware updates";
            let name = self.device.name().into();
            return Err(SsdError::Unsupported { name, what });
        }
        if bad {
            let first = if self.info.frmw & 1 != 0 {
                ", of which the first is read-only"
            } else {
                ""
            };
            return Err(SsdError::Argument {
                name: self.device.name().into(),
                what: "firmware slot",
                want: format!("0 (its choice) or 1 to {slots}{first}"),
                got: slot.to_string(),
            });
        }
        let mut sqe = Sqe::new(AdminOpcode::FirmwareCommit as u8, 0, 0);
        sqe.cdw10.set(u32::from(slot) | (how as u32) << 3);
        let command = "Firmware Commit";
        let cqe = self.command(command, sqe, &Transfer::None)?;
        let (name, status) = (self.device.name().into(), cqe.status());
        // Base, figure 104: command specific 0Bh, 10h, 11h say that it is done but for a reset.
        match (status.is_ok(), status.sct(), status.sc()) {
            (true, ..) => {
                self.refresh()?;
                Ok(Activation::AsAsked)
            }
            (_, 1, 0x0B) => Ok(Activation::NeedsConventionalReset),
            (_, 1, 0x10) => Ok(Activation::NeedsSubsystemReset),
            (_, 1, 0x11) => Ok(Activation::NeedsControllerReset),
            _ => Err(SsdError::Command {
                name,
                command,
                status,
            }),
        }
    }
}
