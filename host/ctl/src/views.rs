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
    or_none(show::table(["name", "size", "block", "use"], rows))
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
    or_none(show::table(
        ["nqn", "namespaces", "hosts", "reachable at"],
        rows,
    ))
}

/// `sluice_get_health`.
#[must_use]
pub fn health(seen: &Value) -> String {
    show::answer(seen)
}

/// Whether `sluice_get_health` found everything well.
///
/// # Errors
/// [`Failure::NotWell`], so that monitoring sees it in the exit code.
pub fn is_well(seen: &Value) -> Result<(), Failure> {
    match seen["healthy"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(Failure::NotWell("not everything is well; see above".into())),
    }
}

/// `sluice_self_test`.
#[must_use]
pub fn self_test(seen: &Value) -> String {
    let rows = items(seen).map(|check| {
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
    show::table(["check", "", "detail"], rows)
}

/// Whether every check passed, and there were some.
///
/// # Errors
/// [`Failure::NotWell`].
pub fn all_passed(seen: &Value) -> Result<(), Failure> {
    let (all, failed) = (
        items(seen).count(),
        items(seen).filter(|c| c["passed"] != true).count(),
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
            .map_or_else(|| show::plain(value), |v| format!("{v:#010x}"))
    };
    let mut text = String::new();
    for register in items(seen) {
        let offset = register["offset"].as_u64().unwrap_or_default();
        let name = show::plain(&register["name"]);
        text += &format!("{offset:#07x}  {name:<24}  {}\n", hex(&register["value"]));
        let fields = register["fields"].as_object();
        for (field, value) in fields.into_iter().flatten() {
            text += &format!(
                "           {:<22}  {}\n",
                show::clean(field),
                show::plain(value)
            );
        }
    }
    or_none(text)
}

/// A page of the cores' log.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LogPage {
    /// Lines, the oldest first.
    pub lines: Vec<Value>,
    /// Number of the line after them.
    pub next: u64,
}

impl LogPage {
    /// From the answer of `sluice_read_log`.
    #[must_use]
    pub fn read(answer: &Value) -> Self {
        Self {
            lines: items(&answer["lines"]).cloned().collect(),
            next: answer["next"].as_u64().unwrap_or_default(),
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

fn or_none(text: String) -> String {
    if text.lines().count() < 2 && !text.contains('\n') {
        "none\n".into()
    } else {
        text
    }
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
