//! Methods of the card's trace. One trace at a time; a caller that falls silent loses it, so that no ring stays behind.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluice_driver::card::CardError;
use sluice_driver::card::trace::{TraceOptions, TraceState};
use sluice_rpc::message::{RpcError, code};
use sluice_rpc::method::Params;
use sluice_wire::trace::NANOS_PER_CLOCK;

use super::{Owner, card_error};
use crate::backend::Backends;

/// A trace that nobody reads for so long is stopped.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// Bytes of records in an answer, unless another number is asked for.
const PIECE: u64 = 256 << 10;

/// A trace that was started and is not stopped.
pub(super) struct Running {
    id: u64,
    /// When it was read last.
    read: Instant,
    /// Its caller wants no more of it but what is in the ring.
    ending: bool,
}

impl<B: Backends> Owner<B> {
    pub(super) fn trace_start(&mut self, params: &Params) -> Result<Value, RpcError> {
        let options = options(params)?;
        // One that is only to be read to its end gives way.
        if self.trace.as_ref().is_some_and(|t| t.ending) {
            self.drop_trace()?;
        }
        self.rig
            .card()
            .start_trace(options)
            .map_err(|error| match &error {
                CardError::TraceRuns { .. } => RpcError::new(code::EBUSY, error.to_string()),
                CardError::TraceOption { .. } => RpcError::params(error.to_string()),
                CardError::NoTrace { .. } => RpcError::new(code::ENODEV, error.to_string()),
                _ => card_error(error),
            })?;
        self.traces += 1;
        self.trace = Some(Running {
            id: self.traces,
            read: Instant::now(),
            ending: false,
        });
        // The same moment on both clocks, as near as a register's read allows: half of its time.
        let earlier = SystemTime::now();
        let clocks = self.rig.card().clocks().map_err(card_error)?;
        let later = SystemTime::now();
        let moment = earlier + later.duration_since(earlier).unwrap_or_default() / 2;
        let nanos = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(json!({
            "id": self.traces,
            "clocks": clocks,
            "unix_nanos": u64::try_from(nanos.as_nanos()).unwrap_or(u64::MAX),
            "nanos_per_clock": NANOS_PER_CLOCK,
            "ring": options.ring,
        }))
    }

    pub(super) fn trace_read(&mut self, params: &Params) -> Result<Value, RpcError> {
        let ending = {
            let trace = self.running(params)?;
            trace.read = Instant::now();
            trace.ending
        };
        let most = params.number("max").unwrap_or(PIECE);
        let card = self.rig.card();
        // Before the records: what is ended by then is all in the ring.
        let state = card.trace_state().map_err(card_error)?;
        let records = card
            .read_trace(usize::try_from(most).unwrap_or(usize::MAX))
            .map_err(|error| {
                if !card.is_tracing() {
                    self.trace = None;
                }
                card_error(error)
            })?;
        let done = (ending || state.bus_error) && records.is_empty();
        if done {
            self.drop_trace()?;
        }
        let mut answer = standing(&state);
        answer["data"] = json!(STANDARD.encode(&records));
        answer["done"] = json!(done);
        Ok(answer)
    }

    pub(super) fn trace_stop(&mut self, params: &Params) -> Result<Value, RpcError> {
        let trace = self.running(params)?;
        trace.ending = true;
        let state = self.rig.card().end_trace().map_err(card_error)?;
        Ok(standing(&state))
    }

    /// A trace whose reader has gone is stopped.
    pub(super) fn look_after_trace(&mut self) {
        if self
            .trace
            .as_ref()
            .is_none_or(|t| t.read.elapsed() < self.trace_patience)
        {
            return;
        }
        log::warn!(
            "nobody has read the trace for {} s: it is stopped",
            self.trace_patience.as_secs()
        );
        if let Err(error) = self.drop_trace() {
            log::error!("{error}");
            // Tried again, but not every second.
            if let Some(trace) = &mut self.trace {
                trace.read = Instant::now();
            }
        }
    }

    fn drop_trace(&mut self) -> Result<(), RpcError> {
        if self.rig.card().is_tracing() {
            self.rig.card().stop_trace().map_err(card_error)?;
        }
        self.trace = None;
        Ok(())
    }

    fn running(&mut self, params: &Params) -> Result<&mut Running, RpcError> {
        let id = params.number("id").unwrap_or(0);
        let patience = self.trace_patience.as_secs();
        match &mut self.trace {
            Some(trace) if trace.id == id => Ok(trace),
            _ => Err(RpcError::params(format!(
                "id: no trace {id} is there (any more); it ends when it is read to its end, or not read for {patience} s",
            ))),
        }
    }
}

fn standing(state: &TraceState) -> Value {
    let error = state
        .bus_error
        .then_some("the card could not reach the ring in host memory and has ended the trace");
    json!({ "records": state.records, "lost": state.lost, "error": error })
}

fn options(params: &Params) -> Result<TraceOptions, RpcError> {
    let standard = TraceOptions::default();
    let (receive, send) = match params.text("direction") {
        None | Some("both") => (true, true),
        Some("rx") => (true, false),
        Some("tx") => (false, true),
        Some(other) => {
            return Err(RpcError::params(format!(
                "direction: rx, tx or both wanted, {other:?} came"
            )));
        }
    };
    let number = |name: &str, otherwise: u64| params.number(name).unwrap_or(otherwise);
    let narrow = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    Ok(TraceOptions {
        receive,
        send,
        snap: narrow(number("snap", standard.snap.into())),
        tcp_port: narrow(number("tcp_port", 0)),
        udp_port: narrow(number("udp_port", 0)),
        ring: usize::try_from(number("ring", standard.ring as u64)).unwrap_or(usize::MAX),
    })
}
