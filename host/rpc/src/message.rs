//! Requests and responses of JSON-RPC 2.0. As with SPDK, `jsonrpc` may be left out, and positional parameters are not taken.

use serde_json::{Map, Value, json};

/// Most requests in a batch.
pub const MAX_BATCH: usize = 64;

/// Codes of errors. Those of JSON-RPC, and, as SPDK has it, negated `errno`s for a few things.
pub mod code {
    /// The text is not JSON.
    pub const PARSE: i64 = -32700;
    /// It is JSON, and no request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Parameters are missing, unknown, of the wrong type, or speak of what there is not.
    pub const INVALID_PARAMS: i64 = -32602;
    /// Everything else.
    pub const INTERNAL: i64 = -32603;
    /// No such device.
    pub const ENODEV: i64 = -19;
    /// In use.
    pub const EBUSY: i64 = -16;
    /// There already.
    pub const EEXIST: i64 = -17;
    /// A value that makes no sense.
    pub const EINVAL: i64 = -22;
    /// No answer in time.
    pub const ETIMEDOUT: i64 = -110;
    /// Being done already.
    pub const EALREADY: i64 = -114;
}

/// What a caller is told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// One of [`code`].
    pub code: i64,
    /// What was wanted, what came, what to do.
    pub message: String,
}

impl RpcError {
    /// With this code.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Parameters that will not do.
    pub fn params(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }

    /// It could not be done.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(code::INTERNAL, message)
    }
}

/// A request.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// `None`: nobody waits for a response.
    pub id: Option<Value>,
    /// Which method.
    pub method: String,
    /// With what.
    pub params: Option<Value>,
}

/// A request that is none: the error, and the id to send it with.
pub type Reject = (Value, RpcError);

/// One text of a stream.
#[derive(Clone, PartialEq, Debug)]
pub enum Incoming {
    /// A request.
    Single(Result<Request, Reject>),
    /// Several, whose responses are wanted together.
    Batch(Vec<Result<Request, Reject>>),
}

/// Reads a text.
///
/// # Errors
/// [`RpcError`] if it is not JSON, or a batch of no or too many requests.
pub fn parse(text: &[u8]) -> Result<Incoming, RpcError> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|e| RpcError::new(code::PARSE, format!("a JSON text wanted: {e}")))?;
    let Value::Array(batch) = value else {
        return Ok(Incoming::Single(request(value)));
    };
    if !(1..=MAX_BATCH).contains(&batch.len()) {
        let message = format!(
            "a batch of 1 to {MAX_BATCH} requests wanted, {} came",
            batch.len()
        );
        return Err(RpcError::new(code::INVALID_REQUEST, message));
    }
    Ok(Incoming::Batch(batch.into_iter().map(request).collect()))
}

/// The response of a request that worked.
#[must_use]
pub fn result(id: &Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// The response of one that did not.
#[must_use]
pub fn error(id: &Value, error: &RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": error.code, "message": error.message } })
}

/// What kind of JSON a value is, for messages.
#[must_use]
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn request(value: Value) -> Result<Request, Reject> {
    let Value::Object(mut object) = value else {
        let message = format!("a request is an object, {} came", kind(&value));
        return Err((Value::Null, RpcError::new(code::INVALID_REQUEST, message)));
    };
    let id = object.remove("id");
    let answer_to = match &id {
        Some(id @ (Value::String(_) | Value::Number(_))) => id.clone(),
        _ => Value::Null,
    };
    members(object, id)
        .map_err(|message| (answer_to, RpcError::new(code::INVALID_REQUEST, message)))
}

fn members(mut object: Map<String, Value>, id: Option<Value>) -> Result<Request, String> {
    if let Some(bad @ (Value::Bool(_) | Value::Array(_) | Value::Object(_))) = &id {
        return Err(format!(
            "id: a string, a number or null wanted, {} came",
            kind(bad)
        ));
    }
    match object.remove("jsonrpc") {
        None => {}
        Some(Value::String(v)) if v == "2.0" => {}
        Some(other) => return Err(format!("jsonrpc: \"2.0\" wanted, {other} came")),
    }
    let method = match object.remove("method") {
        Some(Value::String(method)) => method,
        Some(other) => return Err(format!("method: a string wanted, {} came", kind(&other))),
        None => return Err("method: a string wanted, none came".into()),
    };
    let params = object.remove("params");
    if let Some(stranger) = object.keys().next() {
        return Err(format!(
            "{stranger:?}: a request has jsonrpc, id, method and params only"
        ));
    }
    Ok(Request { id, method, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(text: &str) -> i64 {
        match parse(text.as_bytes()) {
            Err(e) | Ok(Incoming::Single(Err((_, e)))) => e.code,
            Ok(other) => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_no_request_gets_the_code_that_says_so() {
        assert_eq!(code_of(r#"{"a" 1}"#), code::PARSE);
        assert_eq!(code_of(&("[".repeat(200) + &"]".repeat(200))), code::PARSE);
        let not_utf8 = parse(b"{\"method\":\"\xff\"}").expect_err("no text");
        assert_eq!(not_utf8.code, code::PARSE);
        for text in [
            "[]",
            r"{}",
            r#"{"method":1}"#,
            r#"{"jsonrpc":"1.0","method":"m"}"#,
            r#"{"jsonrpc":2.0,"method":"m"}"#,
            r#"{"method":"m","id":{}}"#,
            r#"{"method":"m","id":true}"#,
            r#"{"method":"m","parms":{}}"#,
        ] {
            assert_eq!(code_of(text), code::INVALID_REQUEST, "{text}");
        }
        let many = format!("[{}1]", "1,".repeat(MAX_BATCH));
        assert_eq!(code_of(&many), code::INVALID_REQUEST);
    }

    #[test]
    fn a_bad_request_is_answered_with_its_id_if_that_is_good() {
        let Ok(Incoming::Single(Err((id, _)))) = parse(br#"{"id":"x","method":7}"#) else {
            panic!("rejected")
        };
        assert_eq!(id, json!("x"));
        let Ok(Incoming::Single(Err((id, _)))) = parse(br#"{"id":[],"method":"m"}"#) else {
            panic!("rejected")
        };
        assert_eq!(id, Value::Null);
    }

    #[test]
    fn a_batch_keeps_good_and_bad_requests_apart() {
        let Ok(Incoming::Batch(all)) = parse(br#"[{"method":"a","id":1},5,{"method":"b"}]"#) else {
            panic!("a batch")
        };
        assert_eq!(all.len(), 3);
        assert!(all[0].as_ref().is_ok_and(|r| r.id == Some(json!(1))));
        assert!(all[1].is_err());
        assert!(
            all[2].as_ref().is_ok_and(|r| r.id.is_none()),
            "a notification"
        );
    }
}
