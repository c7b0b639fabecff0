//! How an owner comes to be, and how it leaves without an end.

use std::time::Instant;

use sluice_driver::bringup::{BringupError, Rig};
use sluice_driver::card::Card;
use sluice_driver::config::Config;
use sluice_driver::nvme::SsdOptions;

use super::{LogReader, Owner, StartError, all_transports, collect, flash, restore};
use crate::backend::Backends;
use crate::service::{Handle, Jobs};
use crate::state::{State, Store};

impl<B: Backends> Owner<B> {
    /// Brings up what the state file says; what `first` says if there is no state file yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        card: Card<B::Device>,
        backends: B,
        store: (Store, Option<State>),
        first: Option<Config>,
        (handle, jobs): (&Handle, Jobs),
        log: LogReader,
    ) -> Result<Self, StartError> {
        let (store, found) = store;
        let rig = Rig::start(card, Config::empty(), SsdOptions::default(), |_| {
            Err("nothing is configured yet".into())
        })?;
        let mut owner = Self::over(rig, backends, store, (handle, jobs), log);
        let fresh = found.is_none();
        owner.restore(found.unwrap_or_else(|| state_of(first.as_ref())))?;
        owner.backends.give_up_memory();
        if fresh {
            owner.store.save(&owner.state())?;
        }
        Ok(owner)
    }

    /// Takes over a card that runs, and the SSDs that an earlier daemon has left; hosts notice nothing. What the card serves
    /// otherwise than the state file says is put right.
    ///
    /// # Errors
    /// [`StartError`]; the card has to be started anew then.
    pub fn adopt(
        card: Card<B::Device>,
        mut backends: B,
        store: (Store, Option<State>),
        first: Option<Config>,
        (handle, jobs): (&Handle, Jobs),
        log: LogReader,
    ) -> Result<Self, StartError> {
        let (store, found) = store;
        let fresh = found.is_none();
        let state = found.unwrap_or_else(|| state_of(first.as_ref()));
        let taken = restore::take_up(&mut backends, state.config);
        // They belong to nothing that is configured, and must write nothing more when the card is told so.
        backends.give_up_devices();
        let mut devices = taken.devices;
        let config = Config::empty()
            .edited(|file| *file = taken.config)
            .map_err(BringupError::from)?;
        let (rig, adopted) = Rig::adopt(card, config, SsdOptions::default(), |spec| {
            let at = devices.iter().position(|(name, _)| *name == spec.name);
            at.map(|at| devices.swap_remove(at).1)
                .ok_or_else(|| format!("{} was not opened", spec.name))
        })?;
        let mut owner = Self::over(rig, backends, store, (handle, jobs), log);
        owner.transports = state.transports;
        owner.absent = taken.absent;
        owner.backends.give_up_memory();
        for index in 0..owner.rig.config().ssds.len() {
            let name = owner.rig.config().ssds[index].name.clone();
            owner.register(&name);
        }
        adopted.notices.into_iter().for_each(|n| owner.notice(n));
        if fresh {
            owner.store.save(&owner.state())?;
        }
        Ok(owner)
    }

    fn over(
        rig: Rig<B::Device>,
        backends: B,
        store: Store,
        (handle, jobs): (&Handle, Jobs),
        log: LogReader,
    ) -> Self {
        let now = Instant::now();
        Self {
            rig,
            backends,
            store,
            transports: Vec::new(),
            absent: restore::Absent::default(),
            unsaved: false,
            failed: None,
            events: handle.events.clone(),
            jobs,
            log,
            totals: collect::Totals::default(),
            tallies: super::tallies::Tallies::default(),
            started: now,
            last_round: None,
            last_check: None,
            last_retry: now,
            trace: None,
            trace_patience: super::trace::SILENCE,
            traces: 0,
            stopping: false,
            flashing: flash::Flashing::default(),
            updates: Vec::new(),
            take_down: false,
        }
    }

    /// Ends and leaves everything as it runs, for a later daemon to [take over](Self::adopt).
    pub fn leave(mut self) {
        if self.unsaved
            && let Err(error) = self.store.save(&self.state())
        {
            log::error!("{error}");
        }
        self.rig.leave();
        // Descriptors stay open until the process ends.
        std::mem::forget(self.backends);
    }

    /// Whether card and SSDs must not be left running: that was asked for, or the card has failed.
    #[must_use]
    pub fn must_stop(&self) -> bool {
        self.take_down || self.failed.is_some()
    }
}

/// The state of a daemon that has none yet.
fn state_of(first: Option<&Config>) -> State {
    match first {
        Some(config) => State {
            config: config.to_raw(),
            transports: all_transports(),
        },
        None => State {
            config: Config::empty().to_raw(),
            transports: Vec::new(),
        },
    }
}
