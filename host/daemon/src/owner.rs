//! The one thread that touches devices. It has the rig, executes methods one after another, looks after events and SSDs, and
//! writes the state.
//!
//! A change is done on the card first and then written down, and only then is its caller answered. Room for writing is set
//! aside before; should writing fail all the same, the caller is told that the change is not kept, and it is tried again
//! every second.
//!
//! An SSD of the state that cannot be opened keeps its place: it and its namespaces are *absent*, stay in the state, and are
//! tried again.

mod bdev;
mod begin;
mod card;
mod collect;
mod flash;
mod health;
mod hosts;
mod iostat;
mod log_ring;
mod nvmf;
mod restore;
mod ssd;
mod tallies;
mod trace;

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_device::{Device, Trouble};
use sluice_driver::bringup::{BringupError, ChangeError, Kind, Notice, Rig};
use sluice_driver::card::{CardError, CardEvent};
use sluice_driver::config::raw;
use sluice_rpc::message::{RpcError, code};
use sluice_rpc::method::{Method, Params};
use sluice_wire::mgmt::Event;

use crate::backend::Backends;
use crate::events::Events;
use crate::nvmet;
use crate::service::{Job, Jobs, What};
use crate::state::{State, StateError, Store};

pub use log_ring::LogReader;

/// How often counters are taken, and absent SSDs and a state that could not be written looked after.
const ROUND: Duration = Duration::from_secs(1);
/// How often card and SSDs are looked at. The kernel does not let go of a device that is pulled before we do.
const CHECK: Duration = Duration::from_millis(250);
/// How often absent SSDs are tried.
const RETRY: Duration = Duration::from_secs(10);
/// Jobs done in a row before the card is looked at again.
const JOBS_PER_TURN: usize = 16;

/// Why the daemon cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The card.
    #[error(transparent)]
    Bringup(#[from] BringupError),
    /// What the state says does not fit this card.
    #[error("{}: {what} cannot be restored: {error}", path.display())]
    Restore {
        /// The state file.
        path: std::path::PathBuf,
        /// What of it.
        what: String,
        /// Why.
        error: Box<ChangeError>,
    },
}

/// Owns card and SSDs.
pub struct Owner<B: Backends> {
    rig: Rig<B::Device>,
    backends: B,
    store: Store,
    /// Transports that listeners may use.
    transports: Vec<String>,
    absent: restore::Absent,
    /// The last change is not in the state file.
    unsaved: bool,
    /// The card has failed; said once.
    failed: Option<String>,
    events: Events,
    jobs: Jobs,
    log: LogReader,
    totals: collect::Totals,
    tallies: tallies::Tallies,
    started: Instant,
    last_round: Option<Instant>,
    last_check: Option<Instant>,
    last_retry: Instant,
    trace: Option<trace::Running>,
    /// A trace that is not read for so long is stopped.
    trace_patience: Duration,
    /// Traces so far.
    traces: u64,
    stopping: bool,
    flashing: flash::Flashing,
    /// SSDs that are being given firmware.
    updates: Vec<ssd::Update>,
    /// Card and SSDs are to be taken down, whatever asked for the end.
    take_down: bool,
}

impl<B: Backends> Owner<B> {
    /// How long a trace goes on without a reader; 30 s unless this says otherwise.
    pub fn set_trace_patience(&mut self, patience: Duration) {
        self.trace_patience = patience;
    }

    /// Serves until [`Owner::stop`] is asked for by `stop`, or every handle is gone.
    pub fn run(&mut self, mut stop: impl FnMut() -> bool, mut round: impl FnMut()) {
        while !stop() && !self.stopping {
            if self.turn(Duration::from_millis(20)) {
                round();
            }
        }
    }

    /// Waits for work for at most `wait`, does it, and looks after events. True if a second has passed since this was last
    /// true.
    pub fn turn(&mut self, wait: Duration) -> bool {
        let busy = self.flashing.is_busy() || !self.updates.is_empty();
        match self
            .jobs
            .recv_timeout(if busy { Duration::ZERO } else { wait })
        {
            Ok(job) => self.execute(job),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stopping = true,
        }
        for _ in 1..JOBS_PER_TURN {
            match self.jobs.try_recv() {
                Ok(job) => self.execute(job),
                Err(_) => break,
            }
        }
        // Long work goes on a step at a time, so that no call waits for the whole of it.
        self.flash_step();
        self.update_step();
        self.look();
        if (self.last_check).is_none_or(|last| last.elapsed() >= CHECK) {
            self.check();
        }
        let due = self.last_round.is_none_or(|last| last.elapsed() >= ROUND);
        if due {
            self.round();
            self.last_round = Some(Instant::now());
        }
        due
    }

    /// Whether card and SSDs are there and well.
    fn check(&mut self) {
        match self.rig.check() {
            Ok(notices) => notices.into_iter().for_each(|n| self.notice(n)),
            Err(error) => {
                self.card_failed(&error.to_string());
                // The kernel, and whoever asked it, wait until the card is let go of; nothing can be served without it.
                if wanted_back(&error) {
                    (self.stopping, self.take_down) = (true, true);
                }
            }
        }
        self.last_check = Some(Instant::now());
    }

    /// What happens every second.
    pub fn round(&mut self) {
        self.check();
        if self.unsaved {
            match self.store.save(&self.state()) {
                Ok(()) => self.unsaved = false,
                Err(error) => log::error!("{error}"),
            }
        }
        if !self.absent.is_empty() && self.last_retry.elapsed() >= RETRY {
            self.last_retry = Instant::now();
            self.retry_absent();
        }
        if self.failed.is_none() {
            let counted = self.totals.update(&mut self.rig);
            if let Err(error) = counted.and_then(|()| self.tallies.update(&mut self.rig)) {
                self.card_failed(&error.to_string());
            }
            self.log.take(self.rig.card());
            self.look_after_trace();
        }
    }

    /// Takes everything down in order.
    ///
    /// # Errors
    /// [`BringupError`], the first that came.
    pub fn stop(self) -> Result<(), BringupError> {
        self.rig.stop().map(drop)
    }

    /// The rig, for tests.
    pub fn rig(&mut self) -> &mut Rig<B::Device> {
        &mut self.rig
    }

    /// Where devices come from, for tests.
    pub fn backends(&mut self) -> &mut B {
        &mut self.backends
    }

    fn execute(&mut self, job: Job) {
        if !job.begin() {
            return;
        }
        // One that has gone does not get its answer.
        match job.what {
            What::Snapshot { reply } => _ = reply.send(self.snapshot()),
            What::Call {
                method,
                params,
                reply,
            } if method.name == "bdev_nvme_apply_firmware" => self.apply_firmware(&params, reply),
            What::Call {
                method,
                params,
                reply,
            } => {
                let outcome = self.call(method, &params);
                _ = reply.send(outcome);
            }
        }
    }

    fn call(&mut self, method: &Method, params: &Params) -> Result<Value, RpcError> {
        target(params)?;
        match method.name {
            "framework_get_config" => self.get_config(params),
            "nvmf_create_transport" => self.create_transport(params),
            "nvmf_get_transports" => self.get_transports(params),
            "nvmf_create_subsystem" => self.create_subsystem(params),
            "nvmf_delete_subsystem" => self.delete_subsystem(params),
            "nvmf_subsystem_add_ns" => self.add_ns(params),
            "nvmf_subsystem_remove_ns" => self.remove_ns(params),
            "nvmf_subsystem_add_listener" => self.add_listener(params),
            "nvmf_subsystem_remove_listener" => self.remove_listener(params),
            "nvmf_subsystem_get_listeners" => self.get_listeners(params),
            "nvmf_subsystem_add_host" => self.add_host(params),
            "nvmf_subsystem_remove_host" => self.remove_host(params),
            "nvmf_subsystem_allow_any_host" => self.allow_any_host(params),
            "nvmf_get_subsystems" => self.get_subsystems(params),
            "nvmf_get_stats" => self.get_stats(),
            "nvmf_subsystem_get_controllers" => self.subsystem_controllers(params),
            "nvmf_subsystem_get_qpairs" => self.subsystem_qpairs(params),
            "nvmf_discovery_get_referrals" => Ok(json!([])),
            "bdev_nvme_attach_controller" => self.attach_controller(params),
            "bdev_nvme_detach_controller" => self.detach_controller(params),
            "bdev_nvme_get_controllers" => self.get_controllers(params),
            "bdev_nvme_get_controller_health_info" => self.controller_health(params),
            "bdev_nvme_send_cmd" => self.send_cmd(params),
            "bdev_nvme_reset_controller" => self.reset_controller(params),
            "bdev_get_bdevs" => self.get_bdevs(params),
            "bdev_get_iostat" => self.get_iostat(params),
            "sluice_get_status" => Ok(self.status()),
            "sluice_get_card" => Ok(self.card_info()),
            "sluice_get_counters" => self.counters(),
            "sluice_get_registers" => self.registers(),
            "sluice_read_log" => Ok(self.read_log(params)),
            "sluice_get_ports" => Ok(self.ports()),
            "sluice_set_port" => self.set_port(params),
            "sluice_get_health" => Ok(self.health()),
            "sluice_self_test" => Ok(self.self_test()),
            "sluice_reopen_ssd" => self.reopen_ssd(params),
            "sluice_get_ssd" => self.get_ssd(params),
            "sluice_format_bdev" => self.format_bdev(params),
            "sluice_flash_get_state" => self.flash_state(),
            "sluice_flash_upload" => self.flash_upload(params),
            "sluice_flash_download" => self.flash_download(),
            "sluice_flash_activate" => self.flash_activate(params),
            "sluice_flash_confirm" => self.flash_confirm(),
            "sluice_flash_roll_back" => self.flash_roll_back(params),
            "sluice_flash_rotate_key" => self.flash_rotate_key(params),
            "sluice_stop" => {
                (self.stopping, self.take_down) = (true, true);
                Ok(json!(true))
            }
            "sluice_trace_start" => self.trace_start(params),
            "sluice_trace_read" => self.trace_read(params),
            "sluice_trace_stop" => self.trace_stop(params),
            "sluice_export_nvmet" => Ok(nvmet::export(self.rig.config())),
            "sluice_import_nvmet" => self.import_nvmet(params),
            other => Err(RpcError::internal(format!(
                "{other} is in the table and not in the daemon; report this"
            ))),
        }
    }

    /// Does a change, and writes it down before its caller is answered.
    fn change<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let before = self.state();
        self.store
            .prepare(&before)
            .map_err(|e| RpcError::internal(format!("nothing was changed: {e}")))?;
        // What is removed may give its places to what comes. If the card does not answer, the change will say so.
        if let Err(error) = self.tallies.update(&mut self.rig) {
            log::debug!("{error}");
        }
        let done = act(self);
        // One that failed half way is written down as far as it went.
        let after = self.state();
        if after != before {
            self.store.save(&after).map_err(|error| {
                self.unsaved = true;
                log::error!("{error}");
                RpcError::internal(format!(
                    "done, but not kept over a restart: {error}; it is tried again every second"
                ))
            })?;
        }
        done
    }

    /// What is to be kept.
    fn state(&self) -> State {
        let mut config = self.rig.config().to_raw();
        self.absent.add_to(&mut config);
        State {
            config,
            transports: self.transports.clone(),
        }
    }

    /// Events of the card.
    fn look(&mut self) {
        // A flood of events does not keep callers waiting.
        for _ in 0..64 {
            match self.rig.poll(Duration::ZERO) {
                Ok(Some(notice)) => self.notice(notice),
                Ok(None) => return,
                Err(error) => return self.card_failed(&error.to_string()),
            }
        }
    }

    fn card_failed(&mut self, error: &str) {
        if self.failed.is_none() {
            log::error!("{error}");
            self.events.add("sluice_card_failed", error);
            self.failed = Some(error.into());
        }
    }

    fn notice(&mut self, notice: Notice) {
        let name = |index: usize| {
            self.rig
                .config()
                .ssds
                .get(index)
                .map_or("?", |s| &s.name)
                .to_string()
        };
        let (kind, context) = match notice {
            Notice::SsdReset { ssd } => ("sluice_ssd_reset", name(ssd)),
            Notice::SsdLost { ssd, reason } => {
                let name = name(ssd);
                self.unregister(&name);
                ("sluice_ssd_lost", format!("{name}: {reason}"))
            }
            Notice::Watchdog { cores } => {
                let text = format!(
                    "cores {cores:#x} have stopped running; restart sluiced to start the card anew"
                );
                self.failed.get_or_insert(text.clone());
                ("sluice_watchdog", text)
            }
            Notice::Card(CardEvent::Known(event, subject)) => {
                self.totals.event(event);
                match event {
                    Event::HostConnected => ("sluice_host_connected", self.host_context(subject)),
                    Event::HostDisconnected => {
                        ("sluice_host_disconnected", format!("cntlid {subject}"))
                    }
                    Event::HostLost => ("sluice_host_lost", format!("cntlid {subject}")),
                    Event::HostRefused => ("sluice_host_refused", format!("status {subject:#06x}")),
                    Event::SsdTimeout => return,
                }
            }
            Notice::Card(CardEvent::Unknown(code, subject)) => {
                ("sluice_card_event", format!("event {code}, {subject}"))
            }
        };
        log::info!(
            "{}: {context}",
            kind.trim_start_matches("sluice_").replace('_', " ")
        );
        self.events.add(kind, context);
    }
}

impl<B: Backends> std::fmt::Debug for Owner<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner")
            .field("transports", &self.transports)
            .finish_non_exhaustive()
    }
}

/// The card is being removed, or given to another driver, and still answers.
fn wanted_back(error: &BringupError) -> bool {
    let BringupError::Card(CardError::Trouble { trouble, .. }) = error else {
        return false;
    };
    *trouble == Trouble::Wanted
}

/// There is one target.
fn target(params: &Params) -> Result<(), RpcError> {
    match params.text("tgt_name") {
        None | Some("nvmf_tgt") => Ok(()),
        Some(other) => Err(RpcError::params(format!(
            "tgt_name: \"nvmf_tgt\" wanted, {other:?} came; leave it out"
        ))),
    }
}

fn all_transports() -> Vec<String> {
    vec!["TCP".into(), "RDMA".into()]
}

/// The error of a change as SPDK would number it.
fn refused(error: ChangeError) -> RpcError {
    let code = match &error {
        ChangeError::Exists {
            kind: Kind::Subsystem,
            ..
        }
        | ChangeError::Full { .. } => code::INTERNAL,
        ChangeError::Exists { .. } | ChangeError::NotFound { .. } | ChangeError::Invalid(_) => {
            code::INVALID_PARAMS
        }
        ChangeError::Card(CardError::Refused { .. }) => code::INVALID_PARAMS,
        ChangeError::InUse { .. } => code::EBUSY,
        _ => code::INTERNAL,
    };
    let message = match &error {
        // Where in the configuration it would have been is of no use to the caller.
        ChangeError::Invalid(e) => {
            match e.key.rsplit(['.', ']']).next().filter(|k| !k.is_empty()) {
                Some(key) => format!("{key}: {}", e.problem),
                None => e.problem.to_string(),
            }
        }
        other => other.to_string(),
    };
    RpcError::new(code, message)
}

/// Numbers of a raw configuration, which has them signed.
fn signed(number: Option<u64>) -> Option<i64> {
    number.map(|n| i64::try_from(n).unwrap_or(i64::MAX))
}

fn card_error(error: CardError) -> RpcError {
    RpcError::internal(error.to_string())
}

/// For those who only want to know the device's name.
fn device_name<D: Device>(rig: &mut Rig<D>) -> String {
    rig.card().device().name().into()
}

/// Nothing is given for what was left out.
fn owned(text: Option<&str>) -> Option<String> {
    text.map(Into::into)
}

/// A subsystem as a call brings it: nothing in it yet.
fn bare_subsystem(nqn: &str) -> raw::Subsystem {
    raw::Subsystem {
        nqn: nqn.into(),
        hosts: Some(Vec::new()),
        listeners: Some(Vec::new()),
        ..raw::Subsystem::default()
    }
}
