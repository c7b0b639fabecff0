//! The daemon's log: lines to standard error, with the priorities that systemd's journal understands. Debug messages can be
//! let through part by part.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Parts whose debug messages can be let through, and where in the code they are.
pub const FLAGS: &[(&str, &str)] = &[
    ("bringup", "sluice_driver::bringup"),
    ("card", "sluice_driver::card"),
    ("ssd", "sluice_driver::nvme"),
    ("rpc", "sluice_daemon::server"),
    ("state", "sluice_daemon::state"),
    ("owner", "sluice_daemon::owner"),
    ("metrics", "sluice_daemon::metrics"),
];

/// SPDK's levels and what they are here; NOTICE and INFO are one.
const LEVELS: &[(&str, LevelFilter)] = &[
    ("ERROR", LevelFilter::Error),
    ("WARNING", LevelFilter::Warn),
    ("NOTICE", LevelFilter::Info),
    ("INFO", LevelFilter::Info),
    ("DEBUG", LevelFilter::Debug),
];

static LET_THROUGH: AtomicU32 = AtomicU32::new(0);
/// Index in [`LEVELS`].
static LEVEL: AtomicU32 = AtomicU32::new(2);

struct Logger {
    /// Whoever reads understands `<N>` at the beginning of a line.
    priorities: bool,
}

/// Begins to log. Nothing happens if something logs already.
pub fn start() {
    let priorities = std::env::var_os("JOURNAL_STREAM").is_some();
    if log::set_boxed_logger(Box::new(Logger { priorities })).is_ok() {
        // The logger itself decides.
        log::set_max_level(LevelFilter::Debug);
    }
}

/// Names of the levels that [`set_level`] takes.
#[must_use]
pub fn level_names() -> String {
    LEVELS
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Sets the level; false if there is none of this name.
#[must_use]
pub fn set_level(name: &str) -> bool {
    let found = LEVELS
        .iter()
        .position(|(n, _)| n.eq_ignore_ascii_case(name));
    if let Some(index) = found {
        LEVEL.store(index as u32, Ordering::Relaxed);
    }
    found.is_some()
}

/// The level's name.
#[must_use]
pub fn level() -> &'static str {
    current().0
}

/// Whether a flag is set, for each.
pub fn flags() -> impl Iterator<Item = (&'static str, bool)> {
    let set = LET_THROUGH.load(Ordering::Relaxed);
    FLAGS
        .iter()
        .enumerate()
        .map(move |(i, (name, _))| (*name, set >> i & 1 == 1))
}

/// Sets or clears a flag, or `all`; false if there is none of this name.
#[must_use]
pub fn set_flag(name: &str, on: bool) -> bool {
    let mask = match FLAGS.iter().position(|(n, _)| *n == name) {
        Some(index) => 1 << index,
        None if name == "all" => (1 << FLAGS.len()) - 1,
        None => return false,
    };
    if on {
        LET_THROUGH.fetch_or(mask, Ordering::Relaxed);
    } else {
        LET_THROUGH.fetch_and(!mask, Ordering::Relaxed);
    }
    true
}

fn current() -> (&'static str, LevelFilter) {
    let index = LEVEL.load(Ordering::Relaxed) as usize;
    LEVELS.get(index).copied().unwrap_or(LEVELS[2])
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let flagged = || {
            let set = LET_THROUGH.load(Ordering::Relaxed);
            let mut parts = FLAGS.iter().enumerate();
            parts.any(|(i, (_, at))| set >> i & 1 == 1 && metadata.target().starts_with(at))
        };
        metadata.level() <= current().1 || (metadata.level() <= Level::Debug && flagged())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (number, name) = match record.level() {
            Level::Error => (3, "error"),
            Level::Warn => (4, "warning"),
            Level::Info => (5, "notice"),
            Level::Debug | Level::Trace => (7, "debug"),
        };
        let message = record.args().to_string();
        let text = if self.priorities {
            // systemd takes each line for itself, and one without a number for one of usual importance.
            let number = format!("<{number}>");
            lines(&number, &number, &message)
        } else {
            lines(&format!("sluiced: {name}: "), "", &message)
        };
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    fn flush(&self) {}
}

/// A message as it is written. A message may have commands for whoever reads it, each in a line of its own; a line that is
/// not the first is indented, so that no message can look like another, whatever is in it.
fn lines(first: &str, others: &str, message: &str) -> String {
    let message = message.replace('\r', "");
    let more = format!("\n{others}    ");
    format!("{first}{}\n", message.replace('\n', &more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_cannot_look_like_several_messages() {
        let message = "no driver; as root:\n  modprobe vfio-pci\r\n<0>panic";
        let text = lines("<3>", "<3>", message);
        assert_eq!(
            text,
            "<3>no driver; as root:\n<3>      modprobe vfio-pci\n<3>    <0>panic\n"
        );
        let text = lines("sluiced: error: ", "", "x\nsluiced: error: y");
        assert_eq!(text, "sluiced: error: x\n    sluiced: error: y\n");
    }

    #[test]
    fn a_flag_lets_the_debug_messages_of_its_part_through_alone() {
        let logger = Logger { priorities: false };
        let debug = |target| {
            logger.enabled(
                &Metadata::builder()
                    .level(Level::Debug)
                    .target(target)
                    .build(),
            )
        };
        assert!(set_level("warning") && level() == "WARNING");
        assert!(set_flag("ssd", true));
        assert!(debug("sluice_driver::nvme::admin") && !debug("sluice_driver::card"));
        assert!(set_flag("all", false) && !debug("sluice_driver::nvme"));
        assert!(!set_level("LOUD") && !set_flag("nvmf", true));
    }
}
