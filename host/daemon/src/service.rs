//! How other threads reach the owner: a job goes into a bounded queue and its outcome comes back. Nobody waits for ever, and
//! a job whose caller has been told that it took too long is never begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_rpc::message::{RpcError, code};
use sluice_rpc::method::{Method, Params};
use sluice_rpc::methods;

use crate::events::{self, Events};
use crate::metrics::Snapshot;
use crate::{VERSION, logger};

/// Jobs that wait for the owner.
const QUEUE: usize = 64;
/// A caller is answered within this time, one way or the other.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What the owner is asked for.
#[derive(Debug)]
pub struct Job {
    pub(crate) what: What,
    turn: Arc<AtomicU8>,
}

#[derive(Debug)]
pub(crate) enum What {
    Call {
        method: &'static Method,
        params: Params,
        reply: SyncSender<Result<Value, RpcError>>,
    },
    Snapshot {
        reply: SyncSender<Snapshot>,
    },
}

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Job {
    /// Claims it for execution; false if its caller has given up.
    pub(crate) fn begin(&self) -> bool {
        let turn = self
            .turn
            .compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire);
        turn.is_ok()
    }
}

/// The owner's end of the queue.
pub type Jobs = Receiver<Job>;

/// What the threads of callers hold.
#[derive(Clone, Debug)]
pub struct Handle {
    queue: SyncSender<Job>,
    /// What happened.
    pub events: Events,
    limit: Duration,
}

/// A queue with its two ends; callers are answered within `limit`.
#[must_use]
pub fn queue(limit: Duration) -> (Handle, Jobs) {
    let (queue, jobs) = mpsc::sync_channel(QUEUE);
    let handle = Handle {
        queue,
        events: Events::default(),
        limit,
    };
    (handle, jobs)
}

impl Handle {
    /// Calls a method by name.
    ///
    /// # Errors
    /// [`RpcError`] of the method, of its parameters, or because the owner did not get to it in time.
    pub fn call(&self, name: &str, params: Option<Value>) -> Result<Value, RpcError> {
        let Some(method) = methods::find(name) else {
            let name: String = name.chars().take(64).collect();
            let message =
                format!("there is no method {name:?}; rpc_get_methods lists those that there are");
            return Err(RpcError::new(code::METHOD_NOT_FOUND, message));
        };
        let params = method.check(params)?;
        if let Some(answer) = self.without_owner(method, &params) {
            return answer;
        }
        self.ask(|reply| What::Call {
            method,
            params,
            reply,
        })?
    }

    /// Asks for the metrics.
    ///
    /// # Errors
    /// [`RpcError`] because the owner did not get to it in time.
    pub fn snapshot(&self) -> Result<Snapshot, RpcError> {
        self.ask(|reply| What::Snapshot { reply })
    }

    fn ask<T>(&self, what: impl FnOnce(SyncSender<T>) -> What) -> Result<T, RpcError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let turn = Arc::new(AtomicU8::new(WAITING));
        let job = Job {
            what: what(reply),
            turn: turn.clone(),
        };
        let until = Instant::now() + self.limit;
        self.queue.try_send(job).map_err(|e| match e {
            TrySendError::Full(_) => {
                RpcError::internal(format!("{QUEUE} calls wait already; try again later"))
            }
            TrySendError::Disconnected(_) => RpcError::internal("the daemon is stopping"),
        })?;
        match answer.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Disconnected) => {
                Err(RpcError::internal("the daemon is stopping"))
            }
            Err(RecvTimeoutError::Timeout) => {
                let turn =
                    turn.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
                let limit = self.limit;
                let message = match turn {
                    Ok(_) => format!(
                        "not begun within {limit:?}, and given up: nothing was changed; does a device hang?"
                    ),
                    Err(_) => format!(
                        "begun and not done within {limit:?}; it goes on, ask later what came of it"
                    ),
                };
                Err(RpcError::new(code::ETIMEDOUT, message))
            }
        }
    }

    /// What needs no device is answered by the caller's own thread, even while the owner is busy.
    fn without_owner(&self, method: &Method, params: &Params) -> Option<Result<Value, RpcError>> {
        let unknown = |what: &str, name: &str, have: &str| {
            Err(RpcError::params(format!(
                "there is no {what} {name:?}; there are: {have}"
            )))
        };
        let flag = |on| match params.need("flag") {
            name if logger::set_flag(name, on) => Ok(json!(true)),
            name => {
                let have: Vec<_> = logger::FLAGS.iter().map(|(n, _)| *n).collect();
                unknown("flag", name, &have.join(", "))
            }
        };
        Some(match method.name {
            "rpc_get_methods" => Ok(methods::METHODS.iter().map(|m| m.name).collect()),
            "spdk_get_version" => Ok(version()),
            "framework_wait_init" => Ok(json!(true)),
            "framework_get_subsystems" => Ok(json!([
                { "subsystem": "bdev", "depends_on": [] },
                { "subsystem": "nvmf", "depends_on": ["bdev"] },
            ])),
            "log_get_flags" => Ok(logger::flags()
                .map(|(n, on)| (n.to_string(), json!(on)))
                .collect()),
            "log_set_flag" => flag(true),
            "log_clear_flag" => flag(false),
            "log_get_level" => Ok(json!(logger::level())),
            "log_set_level" => match params.need("level") {
                level if logger::set_level(level) => Ok(json!(true)),
                level => unknown("level", level, &logger::level_names()),
            },
            "notify_get_types" => Ok(json!(events::TYPES)),
            "notify_get_notifications" => {
                let from = params.number("id").unwrap_or(0);
                Ok(self
                    .events
                    .list(from, params.number("max").unwrap_or(u64::MAX)))
            }
            _ => return None,
        })
    }
}

fn version() -> Value {
    let mut parts = VERSION.split('.').map(|p| p.parse::<u64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    json!({
        "version": format!("Sluice v{VERSION}"),
        "fields": { "major": next(), "minor": next(), "patch": next(), "suffix": "" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_its_caller_gave_up_is_never_begun() {
        let (handle, jobs) = queue(Duration::from_millis(1));
        let error = handle
            .call("sluice_get_status", None)
            .expect_err("nobody serves");
        assert_eq!(error.code, code::ETIMEDOUT);
        assert!(error.message.contains("nothing was changed"), "{error}");
        assert!(!jobs.recv().expect("it is in the queue").begin());
    }

    #[test]
    fn calls_beyond_the_queue_are_refused_at_once() {
        let (handle, _jobs) = queue(Duration::from_micros(1));
        for _ in 0..QUEUE {
            let error = handle
                .call("sluice_get_status", None)
                .expect_err("nobody serves");
            assert_eq!(error.code, code::ETIMEDOUT);
        }
        let error = handle.call("sluice_get_status", None).expect_err("full");
        assert!(error.message.contains("try again"), "{error}");
    }

    #[test]
    fn what_needs_no_device_is_answered_while_the_owner_is_busy() {
        let (handle, _jobs) = queue(Duration::from_micros(1));
        let names = handle.call("rpc_get_methods", None).expect("answered");
        assert_eq!(names.as_array().map(Vec::len), Some(methods::METHODS.len()));
        handle.events.add("sluice_ssd_lost", "ssd0");
        let got = handle.call("notify_get_notifications", Some(json!({"max": 5})));
        assert_eq!(
            got,
            Ok(json!([{ "type": "sluice_ssd_lost", "ctx": "ssd0", "id": 0 }]))
        );
        let error = handle
            .call("log_set_flag", Some(json!({"flag": "x"})))
            .expect_err("none");
        assert!(error.message.contains("bringup"), "{error}");
    }
}
