//! QEMU's monitor (QMP): what the person at the machine does, such as pulling a device. One command a connection.

use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// QEMU answers at once, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Executes one command; what it returned.
///
/// # Errors
/// The system's, or what QEMU said against it.
pub fn execute(socket: &Path, command: &str, arguments: Value) -> std::io::Result<Value> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    // Until this is answered nothing else is taken.
    for request in [
        json!({ "execute": "qmp_capabilities" }),
        json!({ "execute": command, "arguments": arguments }),
    ] {
        stream.write_all(format!("{request}\n").as_bytes())?;
        let answer = answer(&mut lines)?;
        if request["execute"] == command {
            return Ok(answer);
        }
    }
    unreachable!("the last request is the command")
}

/// The next answer; greeting and events are passed over.
fn answer(lines: &mut impl BufRead) -> std::io::Result<Value> {
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut value: Value = serde_json::from_str(&line).map_err(Error::other)?;
        if let Some(refused) = value["error"]["desc"].as_str() {
            return Err(Error::other(refused.to_string()));
        }
        if value.get("return").is_some() {
            return Ok(value["return"].take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeting_and_events_are_no_answers_and_a_refusal_is_an_error() {
        let said = "{\"QMP\":{}}\n{\"event\":\"RESUME\"}\n{\"return\":{\"a\":1}}\n{\"error\":{\"class\":\"x\",\"desc\":\"no such device\"}}\n";
        let mut lines = said.as_bytes();
        assert_eq!(answer(&mut lines).expect("an answer"), json!({ "a": 1 }));
        let refused = answer(&mut lines).expect_err("a refusal");
        assert_eq!(refused.to_string(), "no such device");
        let end = answer(&mut lines).expect_err("no more");
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    }
}
