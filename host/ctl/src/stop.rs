//! `stop`: card and SSDs are taken down in order, unless systemd only wants to start the daemon again.

use std::io::Write;
use std::process::Command;

use clap::ArgMatches;
use serde_json::Value;

use crate::run::{Daemon, Failure};

/// Does it.
///
/// # Errors
/// [`Failure`].
pub fn run(daemon: &mut Daemon, matches: &ArgMatches, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(unit) = matches.get_one::<String>("unless-restart")
        && is_restart(unit)
    {
        writeln!(out, "{unit} is restarted: card and SSDs go on")?;
        return Ok(());
    }
    daemon.call("sluice_stop", Value::Null)?;
    Ok(())
}

/// systemd has a job that starts the unit again after it was stopped. If that cannot be found out it is a stop: then data are
/// safe whatever comes.
fn is_restart(unit: &str) -> bool {
    let jobs = Command::new("systemctl")
        .args(["list-jobs", "--no-legend", "--full", unit])
        .output();
    jobs.is_ok_and(|jobs| restarts(&String::from_utf8_lossy(&jobs.stdout), unit))
}

/// Lines of number, unit, kind of job, state.
fn restarts(jobs: &str, unit: &str) -> bool {
    jobs.lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.windows(2).any(|pair| pair == [unit, "restart"])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_told_from_a_stop_by_the_units_job() {
        let unit = "sluiced.service";
        for (jobs, want) in [
            ("1234 sluiced.service restart running\n", true),
            ("   7 sluiced.service restart waiting", true),
            ("1234 sluiced.service stop running\n", false),
            (
                "1 other.service restart running\n2 sluiced.service stop waiting\n",
                false,
            ),
            ("", false),
            ("No jobs running.", false),
        ] {
            assert_eq!(restarts(jobs, unit), want, "{jobs:?}");
        }
    }
}
