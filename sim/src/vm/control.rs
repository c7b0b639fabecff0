//! The line protocol of the guest's agent: `ID BASE64(script)` in, `R ID EXIT LENGTH` and the output's bytes back.

use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::report::Meter;

/// How often a waiting control port looks whether the simulation has ended.
const SLICE: Duration = Duration::from_millis(500);

/// Our end of the virtio-serial port.
pub struct Control {
    stream: UnixStream,
    received: Vec<u8>,
    last_id: u64,
    meter: Arc<Meter>,
}

impl Control {
    /// Takes the accepted connection.
    pub fn new(stream: UnixStream, meter: Arc<Meter>) -> std::io::Result<Self> {
        stream.set_nonblocking(false)?;
        Ok(Self {
            stream,
            received: Vec::new(),
            last_id: 0,
            meter,
        })
    }

    /// Waits for the agent's greeting.
    pub fn wait_ready(&mut self, timeout: Duration) -> std::io::Result<()> {
        let deadline = Instant::now() + timeout;
        while !self.line(deadline)?.starts_with("READY ") {}
        Ok(())
    }

    /// Runs one script; exit code and output.
    pub fn run(&mut self, script: &str, timeout: Duration) -> std::io::Result<(i32, String)> {
        let deadline = Instant::now() + timeout;
        self.last_id += 1;
        let id = self.last_id;
        self.stream
            .write_all(format!("{id} {}\n", base64(script.as_bytes())).as_bytes())?;
        loop {
            let line = self.line(deadline)?;
            // An answer to a script that timed out earlier has another id, and its output may hold anything.
            let mut words = line.split_whitespace();
            let head = (
                words.next(),
                words.next().and_then(|word| word.parse().ok()),
            );
            let code = words.next().and_then(|word| word.parse().ok());
            let length = words.next().and_then(|word| word.parse().ok());
            let (("R", answered), Some(code), Some(length)) =
                ((head.0.unwrap_or(""), head.1), code, length)
            else {
                continue;
            };
            let output = self.bytes(length, deadline)?;
            if answered == Some(id) {
                return Ok((code, String::from_utf8_lossy(&output).into_owned()));
            }
        }
    }

    fn line(&mut self, deadline: Instant) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_string());
            }
            self.receive(deadline)?;
        }
    }

    fn bytes(&mut self, length: usize, deadline: Instant) -> std::io::Result<Vec<u8>> {
        while self.received.len() < length {
            self.receive(deadline)?;
        }
        Ok(self.received.drain(..length).collect())
    }

    /// Reads once; returns without anything after [`SLICE`].
    fn receive(&mut self, deadline: Instant) -> std::io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.meter.stopped() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.stream.set_read_timeout(Some(left.min(SLICE)))?;
        let mut chunk = [0; 16384];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.received.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the error means that nothing came in time.
pub fn is_timeout(error: &Error) -> bool {
    error.kind() == ErrorKind::TimedOut
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = word >> (18 - 6 * digit) & 63;
            text.push(if digit <= group.len() {
                char::from(DIGITS[index as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_gives_the_test_vectors_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in vectors {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn waiting_ends_when_the_simulation_does() {
        let (ours, _guest) = UnixStream::pair().expect("a pair");
        let meter = Arc::new(Meter::default());
        let mut control = Control::new(ours, meter.clone()).expect("control");
        meter.stop();
        let error = control
            .run("true", Duration::from_secs(1000))
            .expect_err("stopped");
        assert!(!is_timeout(&error));
    }

    #[test]
    fn a_late_answer_is_not_taken_for_the_next_one() {
        let (ours, mut guest) = UnixStream::pair().expect("a pair");
        let mut control = Control::new(ours, Arc::default()).expect("control");
        guest.write_all(b"READY vport0p1 3.1\n").expect("greeting");
        control.wait_ready(Duration::from_secs(10)).expect("ready");
        let error = control
            .run("sleep 9", Duration::from_millis(20))
            .expect_err("nothing answers");
        assert!(is_timeout(&error));
        guest
            .write_all(b"R 1 0 6\nR 2 0 \nR 2 7 3\nyes")
            .expect("answers");
        assert_eq!(
            control
                .run("true", Duration::from_secs(10))
                .expect("an answer"),
            (7, "yes".to_string())
        );
        drop(guest);
        assert!(!is_timeout(
            &control
                .run("true", Duration::from_secs(10))
                .expect_err("closed")
        ));
    }
}
