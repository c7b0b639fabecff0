//! How the daemon comes to its card: it takes over one that an earlier daemon has left running, or starts it. What has to
//! outlive the daemon for that is kept by systemd.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use sluice_device::Device;
use sluice_driver::card::{Card, CardError, CardOptions, Firmware, flat};
use sluice_driver::config::Config;
use sluice_vfio::SystemdStore;

use crate::backend::{Address, Backends, BuiltIn, SharedKeeper};
use crate::owner::{LogReader, Owner};
use crate::service::{Handle, Jobs};
use crate::settings::Settings;
use crate::state::{State, Store};

/// The card in messages of backends.
const CARD: &str = "the card";

/// systemd's descriptor store, if the daemon has one and is to use it.
#[must_use]
pub fn keeper(settings: &Settings) -> Option<SharedKeeper> {
    let notified = std::env::var_os("NOTIFY_SOCKET").is_some();
    // From version 254 on systemd says how many it takes.
    let room = std::env::var("FDSTORE").map_or(true, |n| n.parse() != Ok(0));
    (settings.keep_running && notified && room).then(|| Arc::new(SystemdStore) as SharedKeeper)
}

/// The backends, with what an earlier daemon has left in systemd's store.
///
/// # Errors
/// If what systemd passed makes no sense.
pub fn backends(keeper: Option<&SharedKeeper>) -> io::Result<BuiltIn> {
    let left = SystemdStore.take()?;
    Ok(match keeper {
        Some(keeper) => BuiltIn::taking_over(keeper.clone(), left),
        // Closed, and with that reset: nobody is to find them again.
        None => {
            for (name, _) in &left {
                sluice_device::Keeper::forget(&SystemdStore, name);
            }
            BuiltIn::default()
        }
    })
}

/// Takes over the card and everything with it if it runs, else starts it and brings up what the state says.
///
/// # Errors
/// In words: what is wrong, and what to do.
pub fn own<B: Backends>(
    settings: &Settings,
    mut backends: B,
    store: (Store, Option<State>),
    first: Option<Config>,
    service: (&Handle, Jobs),
) -> Result<Owner<B>> {
    let log = LogReader::new(settings.firmware.as_deref());
    let address = Address::parse(&settings.card);
    let failed = |reason: String| anyhow!("card {address}: {reason}");
    let left = backends
        .take_up(CARD, Some(&address))
        .unwrap_or_else(|reason| {
            log::warn!("card {address} is not taken over: {reason}");
            None
        });
    if let Some(device) = left {
        match Card::adopt(device, CardOptions::default()).and_then(running) {
            Ok(card) => {
                let owner = Owner::adopt(card, backends, store, first, service, log);
                // All of it is given back when this process ends; the next one starts the card.
                return owner.context("what runs could not be taken over");
            }
            Err(error) => log::error!("{error}"),
        }
    }
    // SSDs of the time before must not write into the card any more when it starts.
    backends.give_up_devices();
    let card =
        start(settings, &mut || backends.open(CARD, Some(&address))).map_err(
            |error| match error {
                StartError::Open(reason) => failed(reason),
                StartError::Card(error) => error.into(),
                StartError::Firmware(reason) => anyhow!("{reason}"),
            },
        )?;
    Ok(Owner::start(card, backends, store, first, service, log)?)
}

/// All of its cores run.
fn running<D: Device>(card: Card<D>) -> Result<Card<D>, CardError> {
    match card.expired_watchdogs()? {
        0 => Ok(card),
        _ => Err(CardError::NotRunning {
            name: card.device().name().into(),
            what: "cores whose watchdogs have not expired",
        }),
    }
}

enum StartError {
    Open(String),
    Card(CardError),
    Firmware(String),
}

/// Starts the card from its flash, or with firmware from the host.
fn start<D: Device>(
    settings: &Settings,
    open: &mut dyn FnMut() -> Result<D, String>,
) -> Result<Card<D>, StartError> {
    let mut device = open().map_err(StartError::Open)?;
    if settings.boot_from_flash {
        match Card::boot_from_flash(device, CardOptions::default()) {
            Err(error @ CardError::NothingToStart { .. }) if settings.firmware.is_some() => {
                log::error!("{error}; loading firmware from this machine");
                device = open().map_err(StartError::Open)?;
            }
            done => return done.map_err(StartError::Card),
        }
    }
    let images = settings.firmware.as_deref().map(images);
    let images = images.transpose().map_err(StartError::Firmware)?;
    let firmware = images
        .as_ref()
        .map(|[control, data]| Firmware { control, data });
    Card::boot(device, firmware, CardOptions::default()).map_err(StartError::Card)
}

/// The images of the control core and of the data cores.
fn images(folder: &Path) -> Result<[Vec<u8>; 2], String> {
    let read = |name: &str| {
        let path = folder.join(name);
        let elf = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        flat::image(&elf).map_err(|e| format!("{}: not firmware: {e}", path.display()))
    };
    Ok([read("sluice-control")?, read("sluice-data")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_that_is_not_there_is_named() {
        let error = images(Path::new("/nowhere")).expect_err("no such folder");
        assert!(error.starts_with("/nowhere/sluice-control: "), "{error}");
    }

    #[test]
    fn without_systemd_or_against_the_settings_nothing_is_kept() {
        let settings = |text: &str| toml::from_str::<Settings>(text).expect("settings");
        // Tests are not started by systemd.
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            assert!(keeper(&settings("card = \"a\"")).is_none());
        }
        assert!(keeper(&settings("card = \"a\"\nkeep_running = false")).is_none());
    }
}
