//! Methods of the card's flash. A package comes in pieces, is written piece by piece in between other calls, and its progress
//! is asked for.

use serde_json::{Value, json};
use sluice_boot::layout::Slot;
use sluice_driver::bringup::BringupError;
use sluice_driver::card::flash::{Download, FlashState, Progress, key_refusal, refusal};
use sluice_driver::card::{CardError, CardOptions};
use sluice_rpc::message::{RpcError, code};
use sluice_rpc::method::Params;
use sluice_rpc::methods::MAX_PACKAGE;
use sluice_wire::mgmt::Status;

use super::nvmf::hex;
use super::{Owner, card_error, collect};
use crate::backend::Backends;

/// A package on its way.
#[derive(Debug, Default)]
pub(super) struct Flashing {
    /// What callers have brought.
    staged: Vec<u8>,
    download: Option<Download>,
    at: At,
}

/// How far the last download is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum At {
    #[default]
    None,
    Writing {
        done: u32,
        of: u32,
    },
    Verifying,
    Verified,
    Failed(String),
}

impl Flashing {
    /// There is something to do.
    pub fn is_busy(&self) -> bool {
        self.download.is_some()
    }

    fn show(&self) -> Value {
        let (state, done, of, error) = match &self.at {
            At::None => ("none", 0, 0, None),
            At::Writing { done, of } => ("writing", *done, *of, None),
            At::Verifying => ("verifying", 0, 0, None),
            At::Verified => ("verified", 0, 0, None),
            At::Failed(why) => ("failed", 0, 0, Some(why)),
        };
        json!({ "state": state, "done": done, "of": of, "error": error, "uploaded": self.staged.len() })
    }
}

impl<B: Backends> Owner<B> {
    pub(super) fn flash_state(&mut self) -> Result<Value, RpcError> {
        let state = self.rig.card().flash_state().map_err(flash_error)?;
        let raw = &state.raw;
        let slots = [Slot::A, Slot::B].map(|slot| shown(&state, slot));
        let keys = raw.keys.iter().filter(|k| k.generation.get() != 0);
        let keys: Vec<_> = keys
            .map(|k| json!({ "generation": k.generation.get(), "key": hex(&k.key_id) }))
            .collect();
        let name = |slot: Option<Slot>| slot.map(Slot::name);
        Ok(json!({
            "running": name(state.running()),
            "active": name(state.active()),
            "trial": name(state.trial()),
            "target": name(Slot::from_index(raw.target.into())),
            "on_trial": state.is_on_trial(),
            "attempts": raw.attempts,
            "board": raw.board.get(),
            "map_version": raw.map_version.get(),
            "security_version": raw.security_version.get(),
            "key_generation": raw.key_generation.get(),
            "root_key": hex(&raw.root_key),
            "keys": keys,
            "slots": slots,
            "download": self.flashing.show(),
        }))
    }

    pub(super) fn flash_upload(&mut self, params: &Params) -> Result<Value, RpcError> {
        self.no_download()?;
        let (offset, piece) = (
            params.number("offset").unwrap_or(0) as usize,
            params.data("data").unwrap_or_default(),
        );
        let staged = &mut self.flashing.staged;
        if offset == 0 {
            staged.clear();
        }
        if offset != staged.len() {
            return Err(RpcError::params(format!(
                "offset: {} wanted, where the next piece begins, or 0 for a new package; {offset} came",
                staged.len()
            )));
        }
        if offset + piece.len() > MAX_PACKAGE {
            return Err(RpcError::params(format!(
                "data: a package of at most {MAX_PACKAGE} bytes wanted, this would be {}",
                offset + piece.len()
            )));
        }
        staged.extend_from_slice(&piece);
        Ok(json!(staged.len()))
    }

    pub(super) fn flash_download(&mut self) -> Result<Value, RpcError> {
        self.no_download()?;
        let package = std::mem::take(&mut self.flashing.staged);
        if package.is_empty() {
            return Err(RpcError::params(
                "there is no package yet; sluice_flash_upload brings it",
            ));
        }
        let of = package.len() as u32;
        let download = self.rig.card().begin_flash(package).map_err(flash_error)?;
        self.flashing.download = Some(download);
        self.flashing.at = At::Writing { done: 0, of };
        Ok(json!(true))
    }

    /// One step of a download that is under way.
    pub(super) fn flash_step(&mut self) {
        let Some(mut download) = self.flashing.download.take() else {
            return;
        };
        self.flashing.at = match self.rig.card().continue_flash(&mut download) {
            Ok(Progress::Verified) => {
                log::info!("the package is in the card's flash, and whole");
                At::Verified
            }
            Ok(step) => {
                self.flashing.download = Some(download);
                match step {
                    Progress::Written { done, of } => At::Writing { done, of },
                    _ => At::Verifying,
                }
            }
            Err(error) => {
                let error = flash_error(error).message;
                log::error!("{error}");
                At::Failed(error)
            }
        };
    }

    pub(super) fn flash_activate(&mut self, params: &Params) -> Result<Value, RpcError> {
        self.at_once_or_later(params, |owner| owner.rig.card().activate())
    }

    pub(super) fn flash_roll_back(&mut self, params: &Params) -> Result<Value, RpcError> {
        self.at_once_or_later(params, |owner| owner.rig.card().roll_back())
    }

    pub(super) fn flash_confirm(&mut self) -> Result<Value, RpcError> {
        let health = self.rig.card().health().map_err(card_error)?;
        if !health.is_good() {
            return Err(RpcError::internal(format!(
                "not confirmed: watchdogs expired: {:#x}, passes of the data cores' loops: {:?}; sluice_flash_roll_back goes back",
                health.watchdogs, health.loops
            )));
        }
        self.rig.card().confirm().map_err(flash_error)?;
        Ok(json!(true))
    }

    pub(super) fn flash_rotate_key(&mut self, params: &Params) -> Result<Value, RpcError> {
        let certificate = params.data("certificate").unwrap_or_default();
        let done = self.rig.card().rotate_key(&certificate);
        done.map(|()| json!(true)).map_err(flash_error)
    }

    fn no_download(&self) -> Result<(), RpcError> {
        match self.flashing.download {
            None => Ok(()),
            Some(_) => Err(RpcError::new(
                code::EBUSY,
                "a download is under way; sluice_flash_get_state says how far it is",
            )),
        }
    }

    fn at_once_or_later(
        &mut self,
        params: &Params,
        act: impl FnOnce(&mut Self) -> Result<(), CardError>,
    ) -> Result<Value, RpcError> {
        let now = match params.need("when") {
            "now" => true,
            "reset" => false,
            other => {
                return Err(RpcError::params(format!(
                    "when: \"now\" or \"reset\" wanted, {other:?} came"
                )));
            }
        };
        self.no_download()?;
        if now {
            // Looked at before anything is changed.
            self.rig
                .restartable()
                .map_err(|e| RpcError::new(code::EBUSY, e.to_string()))?;
        }
        act(self).map_err(flash_error)?;
        if now {
            self.restart_card()?;
        }
        Ok(json!(true))
    }

    /// Starts the card anew from its flash; everything is there again after it, and hosts connect again.
    fn restart_card(&mut self) -> Result<(), RpcError> {
        log::warn!("the card is started anew");
        let restarted = self
            .rig
            .renew(|card| card.restart_from_flash(CardOptions::default()));
        // The card counts from 0 again.
        self.totals = collect::Totals::default();
        match restarted {
            Ok(()) => {
                let firmware = self.rig.card().info().firmware.clone();
                self.events.add("sluice_card_restarted", firmware);
                Ok(())
            }
            Err(error @ BringupError::Open { .. }) => {
                Err(RpcError::new(code::EBUSY, error.to_string()))
            }
            Err(error) => {
                let text = format!(
                    "the card was not brought up again: {error}; restart sluiced, which starts it anew"
                );
                self.card_failed(&text);
                Err(RpcError::internal(text))
            }
        }
    }
}

fn shown(state: &FlashState, slot: Slot) -> Value {
    let name = slot.name();
    match state.slot(slot) {
        Ok(found) => {
            let (major, minor, patch) = found.version;
            json!({
                "slot": name,
                "version": format!("{major}.{minor}.{patch}"),
                "security_version": found.security_version,
                "bytes": found.len,
                "key": hex(&found.key_id),
                "label": found.label,
                "failed": state.raw.failed >> slot.index() & 1 == 1,
                "problem": null,
            })
        }
        Err(why) => json!({ "slot": name, "problem": refusal(why) }),
    }
}

/// An error of a flash command, with the words for its reason.
fn flash_error(error: CardError) -> RpcError {
    let CardError::Refused { status, result, .. } = &error else {
        return match error {
            CardError::Package { .. } => RpcError::params(error.to_string()),
            other => card_error(other),
        };
    };
    match status {
        Status::PackageRefused => {
            RpcError::params(format!("the card refuses it: {}", refusal(*result)))
        }
        Status::KeyRefused => {
            RpcError::params(format!("the card refuses it: {}", key_refusal(*result)))
        }
        Status::NoFlash => {
            RpcError::new(code::ENODEV, "the card has no flash, or it does not answer")
        }
        Status::NotConfirmed => RpcError::new(
            code::EBUSY,
            "the running firmware is on trial; sluice_flash_confirm or sluice_flash_roll_back first",
        ),
        Status::NotFromFlash => RpcError::new(
            code::EBUSY,
            "the running firmware was loaded by the daemon, not from the flash; there is nothing to confirm or to go back from",
        ),
        Status::OutOfOrder => RpcError::new(
            code::EBUSY,
            "not now: upload, download, activate, confirm is the order",
        ),
        _ => card_error(error),
    }
}
