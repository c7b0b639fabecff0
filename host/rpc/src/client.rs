//! The calling side: one request at a time over a UNIX socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::message::{RpcError, code};
use crate::split::Splitter;

/// Longest response: a whole register dump or log is far below.
const MAX_RESPONSE: usize = 64 << 20;

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("{}: {error}; {}", path.display(), advice(error))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The connection broke, or no answer came in time.
    #[error("{method}: {error}")]
    Io {
        /// What was asked for.
        method: String,
        /// Why.
        error: io::Error,
    },
    /// The answer is none.
    #[error("{method}: a JSON-RPC response wanted: {reason}")]
    Answer {
        /// What was asked for.
        method: String,
        /// What is wrong.
        reason: String,
    },
    /// The daemon said no.
    #[error("{0}")]
    Refused(#[from] RpcError),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    splitter: Splitter,
    id: u64,
}

impl Client {
    /// Connects; every call has `timeout`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let failed = |error| ClientError::Connect {
            path: path.into(),
            error,
        };
        let stream = UnixStream::connect(path).map_err(failed)?;
        stream.set_read_timeout(Some(timeout)).map_err(failed)?;
        stream.set_write_timeout(Some(timeout)).map_err(failed)?;
        Ok(Self {
            stream,
            splitter: Splitter::new(MAX_RESPONSE),
            id: 0,
        })
    }

    /// Calls a method and waits for what it gives. `params`: an object, or null for none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, ClientError> {
        self.id += 1;
        let mut request = json!({ "jsonrpc": "2.0", "id": self.id, "method": method });
        if !params.is_null() {
            request["params"] = params;
        }
        let io = |error| ClientError::Io {
            method: method.into(),
            error,
        };
        let bad = |reason: String| ClientError::Answer {
            method: method.into(),
            reason,
        };
        self.stream
            .write_all(request.to_string().as_bytes())
            .map_err(io)?;
        let text = loop {
            if let Some(text) = self.splitter.next_text().map_err(|e| bad(e.to_string()))? {
                break text;
            }
            let mut piece = [0; 8192];
            let n = self.stream.read(&mut piece).map_err(io)?;
            if n == 0 {
                return Err(io(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the daemon closed the connection before it had answered",
                )));
            }
            self.splitter.push(&piece[..n]);
        };
        let mut answer: Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        if let Some(error) = answer.get("error") {
            let code = error["code"].as_i64().unwrap_or(code::INTERNAL);
            let message = error["message"].as_str().unwrap_or("no reason given");
            return Err(RpcError::new(code, message).into());
        }
        if answer["id"] != self.id {
            return Err(bad(format!("id {} wanted, {} came", self.id, answer["id"])));
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(bad("it has neither result nor error".into())),
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "is sluiced running (systemctl status sluiced), and is this its socket (--socket)?"
        }
        io::ErrorKind::PermissionDenied => {
            "you have to be root or in the group that the socket belongs to"
        }
        _ => "is this a UNIX socket?",
    }
}
