//! The answers that are worth more than a table of everything.

use serde_json::{Value, json};
use sluice_rpc::client::ClientError;

use crate::run::{Daemon, Failure};
use crate::show;

/// What `status` asks for.
#[derive(Clone, PartialEq, Debug)]
pub struct Status {
    status: Value,
    ports: Value,
    ssds: Value,
    subsystems: Value,
}

impl Status {
    /// Asks the daemon.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask(daemon: &mut Daemon) -> Result<Self, ClientError> {
        Ok(Self {
            status: daemon.call("sluice_get_status", Value::Null)?,
            ports: daemon.call("sluice_get_ports", Value::Null)?,
            ssds: daemon.call("bdev_get_bdevs", Value::Null)?,
            subsystems: daemon.call("nvmf_get_subsystems", Value::Null)?,
        })
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "status": self.status, "ports": self.ports, "bdevs": self.ssds, "subsystems": self.subsystems })
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = show::answer(&self.status);
        for (title, part) in [
            ("Ports", show::answer(&self.ports)),
            ("Block devices", block_devices(&self.ssds)),
            ("Subsystems", subsystems(&self.subsystems)),
        ] {
            text += &format!("\n{title}\n");
            text += &part
                .lines()
                .map(|line| format!("  {line}\n"))
                .collect::<String>();
        }
        text
    }
}

fn block_devices(list: &Value) -> String {
    let rows = items(list).map(|device| {
        let (size, blocks) = (&device["block_size"], &device["num_blocks"]);
        let bytes = size
            .as_u64()
            .zip(blocks.as_u64())
            .map(|(s, b)| s.saturating_mul(b));
        let claimed = if device["claimed"] == true {
            "in use"
        } else {
            "free"
        };
        [
            show::plain(&device["name"]),
            bytes.map_or_else(|| "-".into(), size_text),
            show::plain(size),
            claimed.to_owned(),
        ]
    });
    show::table(["name", "size", "block", "use"], rows)
}

fn subsystems(list: &Value) -> String {
    let rows = items(list).map(|subsystem| {
        let hosts = match subsystem["allow_any_host"] == true {
            true => "any".to_owned(),
            false => items(&subsystem["hosts"]).count().to_string(),
        };
        let at = items(&subsystem["listen_addresses"]).map(|a| {
            let part = |name: &str| show::plain(&a[name]);
            format!(
                "{}:{}:{}",
                part("trtype").to_lowercase(),
                part("traddr"),
                part("trsvcid")
            )
        });
        let at = at.collect::<Vec<_>>().join(" ");
        [
            show::plain(&subsystem["nqn"]),
            items(&subsystem["namespaces"]).count().to_string(),
            hosts,
            if at.is_empty() { "-".into() } else { at },
        ]
    });
    show::table(["nqn", "namespaces", "hosts", "reachable at"], rows)
}

/// `sluice_get_health`: what is wrong, and the SSDs in a row each.
#[must_use]
pub fn health(seen: &Value) -> String {
    let mut text: String = items(&seen["problems"])
        .map(|p| format!("problem: {}\n", show::plain(p)))
        .collect();
    if text.is_empty() {
        text += "all is well\n";
    }
    let rows = items(&seen["ssds"]).map(|ssd| {
        let of = |name: &str| show::plain(&ssd["smart"][name]);
        let with = |name: &str, unit: &str| match &ssd["smart"][name] {
            Value::Null => "-".to_owned(),
            value => format!("{}{unit}", show::plain(value)),
        };
        [
            show::plain(&ssd["name"]),
            of("model_number"),
            of("serial_number"),
            of("firmware_revision"),
            with("temperature_celsius", " °C"),
            with("available_spare_percentage", " %"),
            with("percentage_used", " %"),
            of("media_errors"),
            of("power_on_hours"),
            of("critical_warning"),
        ]
    });
    let head = [
        "ssd",
        "model",
        "serial",
        "firmware",
        "temperature",
        "spare",
        "used",
        "media errors",
        "hours",
        "warnings",
    ];
    text = text + "\n" + &show::table(head, rows);
    let mut links = items(&seen["links"]).peekable();
    if links.peek().is_some() {
        let rows = links.map(|link| {
            let of = |speed: &str, lanes: &str| {
                let (speed, lanes) = (show::plain(&link[speed]), show::plain(&link[lanes]));
                format!("{speed} GT/s x{lanes}")
            };
            let note = if link["degraded"] == true {
                "less than it could have"
            } else {
                ""
            };
            [
                show::plain(&link["device"]),
                of("gigatransfers", "lanes"),
                of("gigatransfers_possible", "lanes_possible"),
                note.to_owned(),
            ]
        });
        text = text + "\n" + &show::table(["device", "PCIe link", "possible", ""], rows);
    }
    let flash = &seen["flash"];
    let mut slots = items(&flash["slots"]).peekable();
    if slots.peek().is_some() {
        let rows = slots.map(|slot| {
            let state = if flash["running"] != slot["slot"] {
                ""
            } else if flash["on_trial"] == true {
                "running, on trial"
            } else {
                "running"
            };
            let what = match &slot["problem"] {
                Value::Null => show::plain(&slot["version"]),
                problem => show::plain(problem),
            };
            [show::plain(&slot["slot"]), what, state.to_owned()]
        });
        text = text + "\n" + &show::table(["slot", "firmware", ""], rows);
    }
    text
}

/// Whether `sluice_get_health` found everything well.
///
/// # Errors
/// [`Failure::NotWell`], so that monitoring sees it in the exit code.
pub fn is_well(seen: &Value) -> Result<(), Failure> {
    match (seen["healthy"].as_bool(), items(&seen["problems"]).count()) {
        (Some(true), 0) => Ok(()),
        (_, problems) => Err(Failure::NotWell(format!("{problems} problems"))),
    }
}

/// `sluice_self_test`.
#[must_use]
pub fn self_test(seen: &Value) -> String {
    let rows = items(&seen["checks"]).map(|check| {
        let how = if check["passed"] == true {
            "passed"
        } else {
            "FAILED"
        };
        [
            show::plain(&check["name"]),
            how.to_owned(),
            show::plain(&check["detail"]),
        ]
    });
    show::table(["check", "outcome", "detail"], rows)
}

/// Whether every check passed, and there were some.
///
/// # Errors
/// [`Failure::NotWell`].
pub fn all_passed(seen: &Value) -> Result<(), Failure> {
    let checks = &seen["checks"];
    let (all, failed) = (
        items(checks).count(),
        items(checks).filter(|c| c["passed"] != true).count(),
    );
    match (all, failed) {
        (0, _) => Err(Failure::NotWell("nothing was checked".into())),
        (_, 0) => Ok(()),
        (all, failed) => Err(Failure::NotWell(format!("{failed} of {all} checks failed"))),
    }
}

/// The registers whose name has `text` in it, whatever the case.
#[must_use]
pub fn only(registers: Value, text: Option<&str>) -> Value {
    let (Some(text), Value::Array(list)) = (text, &registers) else {
        return registers;
    };
    let text = text.to_lowercase();
    let has = |r: &&Value| {
        r["name"]
            .as_str()
            .is_some_and(|n| n.to_lowercase().contains(&text))
    };
    list.iter().filter(has).cloned().collect()
}

/// `sluice_get_registers`: a line for a register, one below for each of its fields.
#[must_use]
pub fn registers(seen: &Value) -> String {
    let hex = |value: &Value| {
        value
            .as_u64()
            .map_or_else(|| show::plain(value), |v| format!("{v:#x}"))
    };
    let mut text = String::new();
    for register in items(seen) {
        let offset = register["offset"].as_u64().unwrap_or_default();
        let name = show::plain(&register["name"]);
        text += &format!("{offset:#07x}  {name:<28}  {}\n", hex(&register["value"]));
        for field in items(&register["fields"]) {
            let (high, low) = (show::plain(&field["high"]), show::plain(&field["low"]));
            let bits = if high == low {
                high
            } else {
                format!("{high}:{low}")
            };
            let (name, about) = (show::plain(&field["name"]), show::plain(&field["about"]));
            let line = format!(
                "         {bits:>5} {name:<22}  {:<10}  {about}",
                hex(&field["value"])
            );
            text += &(line.trim_end().to_owned() + "\n");
        }
    }
    if text.is_empty() {
        "none\n".into()
    } else {
        text
    }
}

/// A page of the cores' log.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LogPage {
    /// Lines, the oldest first.
    pub lines: Vec<Value>,
    /// Number of the line after them.
    pub next: u64,
    /// Why lines are not as they should be.
    pub problem: Option<String>,
}

impl LogPage {
    /// From the answer of `sluice_read_log`.
    #[must_use]
    pub fn read(answer: &Value) -> Self {
        Self {
            lines: items(&answer["lines"]).cloned().collect(),
            next: answer["next"].as_u64().unwrap_or_default(),
            problem: answer["problem"].as_str().map(show::clean),
        }
    }
}

/// A line of the log.
#[must_use]
pub fn log_line(line: &Value) -> String {
    match line {
        Value::Object(_) => format!(
            "core {}: {}",
            show::plain(&line["core"]),
            show::plain(&line["text"])
        ),
        other => show::plain(other),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A size in the unit that gives one to four digits before the point; powers of 1024.
fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    let value = bytes as f64 / (1_u64 << (10 * unit)) as f64;
    if unit == 0 || value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_says_what_is_wrong_and_fails_for_monitoring() {
        let bad = json!({"healthy": false, "problems": ["SSD a: lost"], "ssds": [
            {"name": "a", "smart": null}, {"name": "b", "smart": {"temperature_celsius": 41, "media_errors": 0}}]});
        let text = health(&bad);
        assert!(text.starts_with("problem: SSD a: lost\n"), "{text}");
        assert!(text.contains("41 °C"), "{text}");
        assert!(matches!(is_well(&bad), Err(Failure::NotWell(_))));
        let good = json!({"healthy": true, "problems": [], "ssds": []});
        assert!(health(&good).starts_with("all is well\n"));
        assert!(is_well(&good).is_ok());
        let link = |speed: f64, degraded: bool| {
            json!({"device": "card", "gigatransfers": speed, "lanes": 4, "gigatransfers_possible": 8.0,
                "lanes_possible": 4, "degraded": degraded})
        };
        let slots = json!([{"slot": "A", "version": "1.2.3", "problem": null},
            {"slot": "B", "problem": "its signature is wrong"}]);
        let seen = json!({"healthy": true, "problems": [], "ssds": [], "links": [link(8.0, false), link(2.5, true)],
            "flash": {"running": "A", "on_trial": true, "slots": slots}});
        let text = health(&seen);
        for part in [
            "2.5 GT/s x4",
            "less than it could have",
            "1.2.3",
            "running, on trial",
            "its signature is wrong",
        ] {
            assert!(text.contains(part), "{part} wanted: {text}");
        }
        assert!(
            is_well(&json!({})).is_err(),
            "an answer of another shape is not well"
        );
    }

    #[test]
    fn a_self_test_passes_only_if_something_was_checked_and_nothing_failed() {
        let seen = |passed: &[bool]| {
            let checks: Vec<_> = passed
                .iter()
                .map(|p| json!({"name": "c", "passed": p, "detail": "d"}))
                .collect();
            json!({"passed": true, "checks": checks})
        };
        assert!(all_passed(&seen(&[true, true])).is_ok());
        let error = all_passed(&seen(&[true, false]))
            .expect_err("one failed")
            .to_string();
        assert_eq!(error, "1 of 2 checks failed");
        assert!(all_passed(&seen(&[])).is_err());
        assert!(self_test(&seen(&[false])).contains("FAILED"));
    }

    #[test]
    fn registers_are_found_by_a_part_of_their_name_and_shown_with_their_fields() {
        let all = json!([
            {"name": "CTRL", "offset": 16, "bytes": 4, "value": 1, "about": "", "fields": [
                {"name": "run", "high": 0, "low": 0, "value": 1, "about": "Cores run"}]},
            {"name": "MTU", "offset": 32, "bytes": 4, "value": 1500, "about": "", "fields": []},
        ]);
        let text = registers(&only(all, Some("ct")));
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["0x00010", "CTRL", "0x1"]);
        assert_eq!(lines[1], ["0", "run", "0x1", "Cores", "run"]);
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn sizes_are_said_in_a_fitting_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (128 << 20, "128 MiB"),
            (1_500_000_000_000, "1.4 TiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn the_status_names_what_hosts_can_reach() {
        let status = Status {
            status: json!({"version": "0.1.0"}),
            ports: json!([]),
            ssds: json!([{"name": "ssd0n1", "block_size": 512, "num_blocks": 262_144, "claimed": true}]),
            subsystems: json!([{"nqn": "nqn.2026-01.x:a", "allow_any_host": false, "hosts": [{"nqn": "h"}], "namespaces": [{}],
                "listen_addresses": [{"trtype": "TCP", "traddr": "192.0.2.1", "trsvcid": "4420"}]}]),
        };
        let text = status.to_text();
        assert!(text.contains("tcp:192.0.2.1:4420"), "{text}");
        assert!(
            text.contains("128 MiB") && text.contains("in use"),
            "{text}"
        );
    }
}
