//! A whole update of a card that serves nobody: download, new start, health check, confirmation, or back.
//!
//! For a card that serves, the steps are the caller's, since associations and SSDs have to be looked after in between:
//! see [`super::flash`] and `Rig::restart`.

use sluice_boot::layout::Slot;
use sluice_device::Device;

use super::flash::Progress;
use super::{Card, CardError, CardOptions, Firmware};

/// Where an update stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing in the flash can be started: firmware from the host does the work.
    LoadedByHost,
    /// The download.
    Download(Progress),
    /// The new firmware runs on trial.
    OnTrial(Slot),
    /// It is well and was confirmed.
    Confirmed(Slot),
    /// It is not well: what ran before runs again.
    RolledBack(Slot),
}

/// Why an update ended without the new firmware.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UpdateError {
    /// The card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The card started something else than what was activated.
    #[error(
        "{name}: the new firmware is in slot {wanted}, but the card started {}; {reason}",
        started.map_or("none", Slot::name)
    )]
    NotStarted {
        /// The device.
        name: String,
        /// Slot of the new firmware.
        wanted: &'static str,
        /// What was started instead.
        started: Option<Slot>,
        /// Why the slot was refused.
        reason: &'static str,
    },
    /// The new firmware did not come up, or a core of it does not work. What ran before runs again.
    #[error("the new firmware was given up: {reason}; the card runs what it ran before")]
    Unwell {
        /// What was wrong.
        reason: String,
    },
}

/// Replaces the firmware of a card and starts it. `fallback` is for a card with nothing good in its flash. The card is left
/// running, whatever comes of it, if it can be.
///
/// # Errors
/// [`UpdateError`].
pub fn update<D: Device + Clone>(
    device: D,
    package: &[u8],
    fallback: Option<Firmware<'_>>,
    options: CardOptions,
    say: &mut dyn FnMut(Step),
) -> Result<Card<D>, UpdateError> {
    let mut card = match Card::boot_from_flash(device.clone(), options) {
        Err(CardError::NothingToStart { .. }) if fallback.is_some() => {
            say(Step::LoadedByHost);
            Card::boot(device.clone(), fallback, options)?
        }
        other => other?,
    };
    if card.flash_state()?.is_on_trial() {
        // An earlier update was not brought to its end; what runs is asked for its health before it may write.
        check(&mut card).map_err(|reason| UpdateError::Unwell { reason })?;
        card.confirm()?;
    }
    card.flash(package, &mut |progress| say(Step::Download(progress)))?;
    let wanted = card.flash_state()?.raw.target;
    let wanted = Slot::from_index(wanted.into()).unwrap_or(Slot::A);
    card.activate()?;
    drop(card.halt()?);
    let outcome = Card::boot_from_flash(device.clone(), options)
        .map_err(|error| error.to_string())
        .and_then(|mut card| {
            let state = card.flash_state().map_err(|error| error.to_string())?;
            Ok((card, state))
        });
    let reason = match outcome {
        Ok((card, state)) if state.running() != Some(wanted) => {
            return Err(UpdateError::NotStarted {
                name: card.device().name().into(),
                wanted: wanted.name(),
                started: state.running(),
                reason: super::flash::refusal(state.raw.refused[wanted.index()].into()),
            });
        }
        Ok((mut card, _)) => {
            say(Step::OnTrial(wanted));
            match check(&mut card) {
                Ok(()) => {
                    card.confirm()?;
                    say(Step::Confirmed(wanted));
                    return Ok(card);
                }
                Err(reason) => {
                    // If it no longer takes commands, its trial ends after its starts.
                    let _ = card.roll_back();
                    reason
                }
            }
        }
        Err(reason) => reason,
    };
    back(&device, wanted, options, say)?;
    Err(UpdateError::Unwell { reason })
}

/// Starts until the firmware on trial is given up, which it is by itself after a few starts.
fn back<D: Device + Clone>(
    device: &D,
    trial: Slot,
    options: CardOptions,
    say: &mut dyn FnMut(Step),
) -> Result<(), CardError> {
    let mut last = None;
    for _ in 0..=sluice_boot::start::ATTEMPTS {
        match Card::boot_from_flash(device.clone(), options).and_then(|mut c| c.flash_state()) {
            Ok(state) => {
                if let Some(slot) = state.running().filter(|slot| *slot != trial) {
                    say(Step::RolledBack(slot));
                    return Ok(());
                }
            }
            Err(error) => last = Some(error),
        }
    }
    last.map_or(Ok(()), Err)
}

fn check<D: Device>(card: &mut Card<D>) -> Result<(), String> {
    let health = card.health().map_err(|error| error.to_string())?;
    if health.is_good() {
        return Ok(());
    }
    Err(format!(
        "watchdogs expired: {:#x}, passes of the data cores' loops: {:?}",
        health.watchdogs, health.loops
    ))
}
