//! Which slot is started. For the boot ROM, which may wait and has nobody to ask.
//!
//! Firmware on trial comes first, for [`ATTEMPTS`] starts; then the confirmed one; then the other, unless it failed its trial.
//! If nothing was ever confirmed the newest good one is started. If none is left, the host has to load firmware.

use crate::check::{Check, Refusal, Sink};
use crate::flash::Flash;
use crate::fuses::Fuses;
use crate::image::Package;
use crate::journal::{Journal, State, Trial};
use crate::layout::Slot;

/// Starts that firmware on trial has to be confirmed in.
pub const ATTEMPTS: u8 = 3;

/// What is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Started {
    /// From where.
    pub slot: Slot,
    /// It is on trial.
    pub trial: bool,
    /// What it is.
    pub package: Package,
}

/// How a start went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// What is started; `None`: neither slot is good, the card waits for its host.
    pub started: Option<Started>,
    /// Why each slot was refused, by index; `None` if it was not, or was not looked at.
    pub refused: [Option<Refusal>; 2],
}

/// Chooses a slot and puts its images into `sink`; the last that were put there are the ones to be run. Notes in the journal
/// that firmware on trial is started, before it is.
///
/// If the journal cannot be written, firmware on trial is not started: without a count of its starts there would be no way
/// back from it.
pub fn start<F: Flash, U: Fuses, S: Sink>(flash: &mut F, fuses: &mut U, sink: &mut S) -> Report {
    let mut refused = [None; 2];
    // A reset may have come in the middle of an erase.
    let journal = crate::flash::wait(flash).and_then(|()| Journal::open(flash));
    let Ok(mut journal) = journal else {
        let error = Refusal::Flash(crate::flash::FlashError::Failed);
        return Report {
            started: None,
            refused: [Some(error); 2],
        };
    };
    let mut look = |slot: Slot, flash: &mut F, fuses: &U, sink: &mut S| {
        let found = Check::new(slot).run(flash, fuses, sink);
        refused[slot.index()] = found.err();
        found.ok()
    };
    let mut state = journal.state();
    if let Some(trial) = state.trial {
        let package = (trial.attempts < ATTEMPTS)
            .then(|| look(trial.slot, flash, fuses, sink))
            .flatten();
        let counted = State {
            trial: Some(Trial {
                attempts: trial.attempts + 1,
                ..trial
            }),
            ..state
        };
        if let Some(package) = package
            && journal.write_now(flash, counted).is_ok()
        {
            let slot = trial.slot;
            let started = Some(Started {
                slot,
                trial: true,
                package,
            });
            return Report { started, refused };
        }
        state = over(state, trial.slot);
        // If it cannot be noted it is found out again at the next start.
        let _ = journal.write_now(flash, state);
    }
    let order = match state.active {
        Some(active) => [active, active.other()],
        None => newest_first(flash, fuses, &state, &mut look, sink),
    };
    for slot in order.into_iter().filter(|slot| !state.has_failed(*slot)) {
        let Some(package) = look(slot, flash, fuses, sink) else {
            continue;
        };
        // A power cut may have come between the confirmation and the fuses.
        if state.active == Some(slot) {
            let _ = fuses.raise_security_version(package.security_version);
        }
        let started = Some(Started {
            slot,
            trial: false,
            package,
        });
        return Report { started, refused };
    }
    for slot in Slot::ALL.into_iter().filter(|slot| state.has_failed(*slot)) {
        refused[slot.index()].get_or_insert(Refusal::Failed);
    }
    Report {
        started: None,
        refused,
    }
}

/// The state once a slot's trial is over without success.
pub(crate) fn over(state: State, slot: Slot) -> State {
    let mut state = State {
        trial: None,
        ..state
    };
    state.failed[slot.index()] = true;
    state
}

fn newest_first<F: Flash, U: Fuses, S: Sink>(
    flash: &mut F,
    fuses: &U,
    state: &State,
    look: &mut impl FnMut(Slot, &mut F, &U, &mut S) -> Option<Package>,
    sink: &mut S,
) -> [Slot; 2] {
    let [a, b] = Slot::ALL.map(|slot| {
        let package = (!state.has_failed(slot)).then(|| look(slot, flash, fuses, sink));
        package.flatten().map(|package| package.version)
    });
    // `None` is less than every version.
    if b > a { [Slot::B, Slot::A] } else { Slot::ALL }
}
