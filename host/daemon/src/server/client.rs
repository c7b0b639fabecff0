//! One client: texts in, responses out, in their order.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;
use sluice_rpc::message::{self, Incoming, Reject, Request, RpcError, code};
use sluice_rpc::split::Splitter;

use super::{GLANCE, Limits};
use crate::service::Handle;

/// Serves until the client goes, errs, or `stop` is set. `busy` is told when a request begins and ends.
pub(super) fn serve(
    stream: &UnixStream,
    handle: &Handle,
    limits: Limits,
    stop: &AtomicBool,
    busy: &mut dyn FnMut(bool),
) {
    if stream.set_read_timeout(Some(GLANCE)).is_err()
        || stream.set_write_timeout(Some(GLANCE)).is_err()
    {
        return;
    }
    let mut splitter = Splitter::new(limits.request);
    let mut began = None;
    let mut piece = [0; 4096];
    while !stop.load(Ordering::Acquire) {
        loop {
            match splitter.next_text() {
                Ok(Some(text)) => {
                    busy(true);
                    let (response, go_on) = answer(&text, handle, limits);
                    let sent = response.is_none_or(|r| send(stream, &r, limits));
                    busy(false);
                    if !sent || !go_on {
                        return;
                    }
                    began = None;
                }
                Ok(None) => break,
                Err(error) => return complain(stream, &error.to_string(), limits),
            }
        }
        if splitter.is_within() {
            let began = *began.get_or_insert_with(Instant::now);
            if began.elapsed() > limits.patience {
                let text = format!(
                    "the whole request wanted within {:?}, only part of it came",
                    limits.patience
                );
                return complain(stream, &text, limits);
            }
        }
        match (&mut &*stream).read(&mut piece) {
            Ok(0) if splitter.is_within() => {
                return complain(
                    stream,
                    "a whole JSON text wanted, it ended in the middle",
                    limits,
                );
            }
            Ok(0) => return,
            Ok(n) => splitter.push(&piece[..n]),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => return,
        }
    }
}

/// The response, if one is wanted, and whether the stream can be read any further.
fn answer(text: &[u8], handle: &Handle, limits: Limits) -> (Option<String>, bool) {
    match message::parse(text) {
        // As SPDK does: where the next request begins is a guess after this.
        Err(error) => (
            Some(message::error(&Value::Null, &error).to_string()),
            error.code != code::PARSE,
        ),
        Ok(Incoming::Single(request)) => (one(request, handle).map(|v| v.to_string()), true),
        Ok(Incoming::Batch(requests)) => (batch(requests, handle, limits), true),
    }
}

fn one(request: Result<Request, Reject>, handle: &Handle) -> Option<Value> {
    match request {
        Err((id, error)) => Some(message::error(&id, &error)),
        Ok(Request { id, method, params }) => {
            let outcome = handle.call(&method, params);
            if let Err(error) = &outcome {
                log::debug!("{method}: {error}");
            }
            let id = id?;
            Some(match outcome {
                Ok(result) => message::result(&id, result),
                Err(error) => message::error(&id, &error),
            })
        }
    }
}

fn batch(
    requests: Vec<Result<Request, Reject>>,
    handle: &Handle,
    limits: Limits,
) -> Option<String> {
    let mut text = String::new();
    for request in requests {
        let response = if text.len() < limits.response {
            one(request, handle)
        } else {
            let id = request.map_or_else(|(id, _)| Some(id), |r| r.id);
            let error = format!(
                "not done: the responses of this batch have more than {} bytes already; ask for less at once",
                limits.response
            );
            id.map(|id| message::error(&id, &RpcError::internal(error)))
        };
        if let Some(response) = response {
            text.push(if text.is_empty() { '[' } else { ',' });
            text += &response.to_string();
        }
    }
    (!text.is_empty()).then(|| text + "]")
}

fn complain(stream: &UnixStream, reason: &str, limits: Limits) {
    let error = RpcError::new(code::PARSE, reason);
    send(
        stream,
        &message::error(&Value::Null, &error).to_string(),
        limits,
    );
}

/// Sends all of it; false if the client does not take it in time.
fn send(mut stream: &UnixStream, text: &str, limits: Limits) -> bool {
    let until = Instant::now() + limits.patience;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return false,
            Ok(n) => rest = &rest[n..],
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => return false,
        }
        if Instant::now() >= until && !rest.is_empty() {
            log::warn!("a client does not take its response and is sent away");
            return false;
        }
    }
    true
}
