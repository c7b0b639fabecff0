//! `sluiced`, the daemon of the card.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::Parser;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use sluice_daemon::metrics::http::MetricsServer;
use sluice_daemon::server::{Limits, Server, Socket, lock};
use sluice_daemon::settings::{DEFAULT, Settings};
use sluice_daemon::state::Store;
use sluice_daemon::{VERSION, logger, service, takeover};
use sluice_driver::config::Config;

/// Daemon of the Sluice NVMe-over-Fabrics card: owns the card and its SSDs, and takes commands over a UNIX socket (sluicectl).
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The daemon's settings.
    #[arg(long, value_name = "FILE", default_value = DEFAULT)]
    settings: PathBuf,
    /// Check settings, initial configuration and state file, touch no device, and end.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    logger::start();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            // A line is a field of the notification.
            let status = format!("{error:#}").replace('\n', " ");
            let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let settings = Settings::load(&options.settings)?;
    let first = settings.initial.as_deref().map(Config::load).transpose()?;
    if options.check {
        Store::open(&settings.state)?;
        println!("settings, initial configuration and state file are good");
        return Ok(());
    }
    // Two daemons with one state would each undo what the other does.
    let _state_lock = lock(&settings.state)?;
    let store = Store::open(&settings.state)?;
    let socket = Socket::bind(&settings.socket, &settings.group())?;
    let (ending, interrupted) = (Arc::new(AtomicBool::new(false)), Arc::default());
    for (signal, flag) in [(SIGTERM, &ending), (SIGINT, &interrupted)] {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("handling signals")?;
    }
    let keeper = takeover::keeper(&settings);
    let backends = takeover::backends(keeper.as_ref()).context("descriptors from systemd")?;
    let (handle, jobs) = service::queue(service::LIMIT);
    let mut owner = takeover::own(&settings, backends, store, first, (&handle, jobs))?;
    let _metrics = settings.metrics_address().map(|at| {
        MetricsServer::start(at, handle.clone()).with_context(|| format!("metrics at {at}"))
    });
    let _metrics = _metrics.transpose()?;
    let server = Server::start(socket, handle, Limits::default());
    log::info!("sluiced {VERSION} serves {}", settings.socket.display());
    sd_notify::notify(&[NotifyState::Ready]).context("telling systemd")?;
    owner.run(
        || ending.load(Ordering::Acquire) || interrupted.load(Ordering::Acquire),
        || {
            // As long as the owner gets round to it, all is well.
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        },
    );
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    drop(server);
    // Whoever sits at the keyboard sees all of it stop; systemd starts it again, or has asked for the stop before (ExecStop).
    if keeper.is_some() && !interrupted.load(Ordering::Acquire) && !owner.must_stop() {
        log::info!("ending; card and SSDs go on");
        owner.leave();
    } else {
        log::info!("stopping card and SSDs");
        owner.stop()?;
    }
    Ok(())
}
