//! `flash`: a firmware package into the card, with a progress bar, and started if that is wanted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sluice_rpc::method::encode;
use sluice_rpc::methods::{MAX_PACKAGE, MAX_PIECE};

use crate::params::ParamError;
use crate::run::{Daemon, Failure};

/// How often the daemon is asked how far it is.
const GLANCE: Duration = Duration::from_millis(100);

/// Does it.
///
/// # Errors
/// [`Failure`].
pub fn run(
    daemon: &mut Daemon,
    matches: &ArgMatches,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let path = matches.get_one::<PathBuf>("file").expect("required");
    let when = matches.get_one::<String>("activate").map(String::as_str);
    let package = read(path)?;
    upload(daemon, &package)?;
    daemon.call("sluice_flash_download", Value::Null)?;
    let target = wait(daemon, package.len() as u64)?;
    let mut outcome = json!({ "written": target, "activated": when, "confirmed": false });
    if let Some(when) = when {
        daemon.call("sluice_flash_activate", json!({ "when": when }))?;
    }
    if when == Some("now") {
        let state = daemon.call("sluice_flash_get_state", Value::Null)?;
        if state["running"] != target {
            return Err(Failure::NotWell(format!(
                "the card runs slot {} and not the new firmware: {}",
                state["running"].as_str().unwrap_or("none"),
                problem(&state, &target),
            )));
        }
        if !matches.get_flag("no-confirm") {
            daemon.call("sluice_flash_confirm", Value::Null)?;
            outcome["confirmed"] = json!(true);
        }
    }
    if json {
        return Ok(writeln!(out, "{outcome:#}")?);
    }
    let slot = target.as_str().unwrap_or("?");
    let text = match (when, outcome["confirmed"] == true) {
        (None, _) => "sluice_flash_activate has it tried",
        (Some("now"), true) => "it runs, is well, and is confirmed",
        (Some("now"), false) => {
            "it runs on trial; sluice_flash_confirm keeps it, sluice_flash_roll_back goes back"
        }
        _ => "it is tried at the next start of the card",
    };
    Ok(writeln!(
        out,
        "the package is in slot {slot}, verified; {text}"
    )?)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| ParamError::Unreadable {
        path: path.display().to_string(),
        error,
    };
    let len = std::fs::metadata(path).map_err(unreadable)?.len();
    if len == 0 || len > MAX_PACKAGE as u64 {
        let path = path.display();
        let text = format!("{path}: a package of 1 to {MAX_PACKAGE} bytes wanted, it has {len}");
        return Err(ParamError::Form(text).into());
    }
    Ok(std::fs::read(path).map_err(unreadable)?)
}

fn upload(daemon: &mut Daemon, package: &[u8]) -> Result<(), Failure> {
    let bar = bar("to the daemon", package.len() as u64);
    let mut offset = 0;
    for piece in package.chunks(MAX_PIECE) {
        let params = json!({ "offset": offset, "data": encode(piece) });
        daemon.call("sluice_flash_upload", params)?;
        offset += piece.len();
        bar.set_position(offset as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Waits for the download; the slot that it went to.
fn wait(daemon: &mut Daemon, len: u64) -> Result<Value, Failure> {
    let bar = bar("to the card", len);
    loop {
        let state = daemon.call("sluice_flash_get_state", Value::Null)?;
        let download = &state["download"];
        bar.set_position(download["done"].as_u64().unwrap_or(0));
        match download["state"].as_str() {
            Some("writing") => {}
            Some("verifying") => {
                bar.set_position(len);
                bar.set_message("being verified");
            }
            Some("verified") => {
                bar.finish_and_clear();
                return Ok(state["target"].clone());
            }
            _ => {
                bar.abandon();
                let why = download["error"].as_str().unwrap_or("it was given up");
                return Err(Failure::NotWell(format!("not written: {why}")));
            }
        }
        std::thread::sleep(GLANCE);
    }
}

fn problem(state: &Value, slot: &Value) -> String {
    let slots = state["slots"].as_array().map_or(&[][..], Vec::as_slice);
    let found = slots.iter().find(|s| s["slot"] == *slot);
    let why = found.and_then(|s| s["problem"].as_str());
    why.unwrap_or("it was not started; sluicectl log says more")
        .into()
}

/// Shows nothing where nobody looks.
fn bar(what: &'static str, len: u64) -> ProgressBar {
    let style = "{msg:16} {bar:40} {bytes}/{total_bytes} {eta}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style).with_message(what)
}
