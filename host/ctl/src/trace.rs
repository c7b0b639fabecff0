//! `sluicectl trace`: asks the daemon for what the card's trace has, piece by piece, and writes it as a capture.

mod pcapng;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ArgMatches;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use sluice_wire::trace::{self as format, DROPS, Record};

use crate::run::{Daemon, Failure};
use pcapng::{Direction, Packet, Writer};

/// How long to wait before asking again when nothing was there.
const PAUSE: Duration = Duration::from_millis(20);
/// UDP port of RoCEv2.
const ROCE: u16 = 4791;

/// Ports whose frames are wanted; 0: none of this protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ports {
    /// TCP.
    pub tcp: u16,
    /// UDP.
    pub udp: u16,
}

/// Reads a filter: `tcp:4420`, `udp:4791`, `rdma`, or one for each protocol with a comma between.
///
/// # Errors
/// What was wanted and what came.
pub fn filter(text: &str) -> Result<Ports, String> {
    let mut ports = Ports::default();
    for part in text.split(',') {
        let (protocol, port) = match part.split_once(':') {
            Some((protocol, port)) => (protocol, port.parse().ok().filter(|p| *p != 0)),
            None if part == "rdma" => ("udp", Some(ROCE)),
            None => (part, None),
        };
        let slot = match protocol {
            "tcp" => &mut ports.tcp,
            "udp" => &mut ports.udp,
            _ => return Err(format!("tcp:PORT, udp:PORT or rdma wanted, {part:?} came")),
        };
        let port = port.ok_or_else(|| {
            format!("{protocol}:PORT with a port from 1 to 65535 wanted, {part:?} came")
        })?;
        if std::mem::replace(slot, port) != 0 {
            return Err(format!(
                "one {protocol} port wanted, {text:?} has two: the card compares one of each"
            ));
        }
    }
    Ok(ports)
}

/// Captures as a command line says.
///
/// # Errors
/// [`Failure`]. The trace is ended first, unless the daemon cannot be reached any more; then it ends by itself.
pub fn run(daemon: &mut Daemon, matches: &ArgMatches, out: &mut dyn Write) -> Result<(), Failure> {
    let file = matches.get_one::<std::path::PathBuf>("write");
    match file.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let failed = |error| Failure::File {
                path: path.display().to_string(),
                error,
            };
            let mut file = BufWriter::new(File::create(path).map_err(failed)?);
            capture(daemon, matches, &mut file).map_err(|failure| match failure {
                Failure::Output(error) => failed(error),
                other => other,
            })
        }
        None if io::stdout().is_terminal() => {
            let message = "a capture is nothing for a terminal: name a file (-w FILE), or pipe it into a program";
            Err(Failure::NotWell(message.into()))
        }
        None => capture(daemon, matches, out),
    }
}

fn capture(daemon: &mut Daemon, matches: &ArgMatches, out: &mut dyn Write) -> Result<(), Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let number = |name: &str| matches.get_one::<u64>(name).copied();
    let ports = matches.get_one::<Ports>("filter").copied();
    let Ports { tcp, udp } = ports.unwrap_or_default();
    let snap = number("snap").unwrap_or(128);
    let params = json!({
        "direction": matches.get_one::<String>("direction"),
        "snap": snap,
        "tcp_port": tcp,
        "udp_port": udp,
        "ring": number("ring"),
    });
    let began = Began::read(&daemon.call("sluice_trace_start", params)?)?;
    let end = number("seconds").map(|s| Instant::now() + Duration::from_secs(s));
    let mut capture = Capture {
        most: number("count").unwrap_or(u64::MAX),
        began,
        last_lost: 0,
        writer: Writer::new(out, snap as u32)?,
    };
    let followed = capture.follow(daemon, || {
        interrupted.load(Ordering::Relaxed) || end.is_some_and(|end| Instant::now() >= end)
    });
    let lost = match followed {
        Ok(lost) => lost,
        Err(failure) => {
            // What went wrong is the news; whether the trace could still be ended is not.
            let _ = daemon.call("sluice_trace_stop", json!({ "id": capture.began.id }));
            return Err(failure);
        }
    };
    let frames = capture.writer.packets();
    capture.writer.end(lost)?;
    eprintln!("{frames} frames captured, {lost} found no room and were lost");
    Ok(())
}

/// The answer to the start.
struct Began {
    id: u64,
    clocks: u64,
    unix_nanos: u64,
    nanos_per_clock: u64,
}

impl Began {
    fn read(answer: &Value) -> Result<Self, Failure> {
        let number = |name: &str| {
            let number = answer[name].as_u64();
            number.ok_or_else(|| Failure::Answer(format!("{name}: a number wanted, {answer} came")))
        };
        Ok(Self {
            id: number("id")?,
            clocks: number("clocks")?,
            unix_nanos: number("unix_nanos")?,
            nanos_per_clock: number("nanos_per_clock")?,
        })
    }

    /// Nanoseconds since 1970 at a clock of the card, which may be before the start.
    fn unix_nanos(&self, clocks: u64) -> u64 {
        let since = clocks.wrapping_sub(self.clocks) as i64;
        let nanos = since.saturating_mul(self.nanos_per_clock as i64);
        self.unix_nanos.saturating_add_signed(nanos)
    }
}

struct Capture<'a> {
    /// Frames wanted.
    most: u64,
    began: Began,
    /// Losses as the last record had them.
    last_lost: u16,
    writer: Writer<&'a mut dyn Write>,
}

impl Capture<'_> {
    /// Writes until the end, and what is in the ring then; frames that were lost.
    fn follow(&mut self, daemon: &mut Daemon, is_over: impl Fn() -> bool) -> Result<u64, Failure> {
        let mut stopping = false;
        loop {
            if !stopping && (is_over() || self.writer.packets() >= self.most) {
                daemon.call("sluice_trace_stop", json!({ "id": self.began.id }))?;
                stopping = true;
            }
            let answer = daemon.call("sluice_trace_read", json!({ "id": self.began.id }))?;
            let some = self.piece(&answer)?;
            if answer["done"].as_bool().unwrap_or(true) {
                if let Some(error) = answer["error"].as_str() {
                    return Err(Failure::NotWell(error.into()));
                }
                return Ok(answer["lost"].as_u64().unwrap_or(0));
            }
            if !some {
                self.writer.flush()?;
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Writes a piece; false if there was nothing.
    fn piece(&mut self, answer: &Value) -> Result<bool, Failure> {
        let text = answer["data"].as_str().unwrap_or_default();
        let bytes = STANDARD
            .decode(text)
            .map_err(|e| Failure::Answer(format!("data: base64 wanted: {e}")))?;
        let mut rest = &bytes[..];
        loop {
            let next = format::next(rest)
                .map_err(|e| Failure::Answer(format!("data: whole records wanted: {e:?}")))?;
            let Some((record, frame, left)) = next else {
                return Ok(!bytes.is_empty());
            };
            rest = left;
            if self.writer.packets() < self.most {
                self.packet(&record, frame)?;
            }
        }
    }

    fn packet(&mut self, record: &Record, frame: &[u8]) -> Result<(), Failure> {
        let lost = record.lost.get().wrapping_sub(self.last_lost);
        self.last_lost = record.lost.get();
        let why = record.dropped().map(|reason| {
            let reason = DROPS.get(usize::from(reason)).copied();
            format!("dropped by the card: {}", reason.unwrap_or("?"))
        });
        self.writer.packet(&Packet {
            unix_nanos: self.began.unix_nanos(record.clocks.get()),
            direction: if record.is_sent() {
                Direction::Out
            } else {
                Direction::In
            },
            len: record.len.get().into(),
            frame,
            lost: lost.into(),
            comment: why.as_deref(),
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_a_port_for_each_protocol() {
        for (text, tcp, udp) in [
            ("tcp:4420", 4420, 0),
            ("rdma", 0, 4791),
            ("udp:53", 0, 53),
            ("rdma,tcp:8009", 8009, 4791),
        ] {
            assert_eq!(filter(text), Ok(Ports { tcp, udp }), "{text}");
        }
        for (text, says) in [
            ("", "tcp:PORT, udp:PORT or rdma wanted, \"\" came"),
            ("icmp", "tcp:PORT, udp:PORT or rdma wanted, \"icmp\" came"),
            (
                "tcp",
                "tcp:PORT with a port from 1 to 65535 wanted, \"tcp\" came",
            ),
            (
                "tcp:0",
                "tcp:PORT with a port from 1 to 65535 wanted, \"tcp:0\" came",
            ),
            (
                "udp:70000",
                "udp:PORT with a port from 1 to 65535 wanted, \"udp:70000\" came",
            ),
        ] {
            assert_eq!(filter(text), Err(says.into()), "{text}");
        }
        assert!(filter("tcp:1,tcp:2").is_err_and(|e| e.contains("has two")));
    }

    #[test]
    fn clocks_of_the_card_are_times_of_the_day_before_and_after_the_start() {
        let began = Began {
            id: 1,
            clocks: 1000,
            unix_nanos: 1_800_000_000_000_000_000,
            nanos_per_clock: 4,
        };
        assert_eq!(began.unix_nanos(1250), 1_800_000_000_000_001_000);
        assert_eq!(began.unix_nanos(0), 1_799_999_999_999_996_000);
    }
}
