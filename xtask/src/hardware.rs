//! Commands about the hardware description: generated registers, lint, synthesis estimates.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::setup::{self, Need};
use crate::{paths, process};

/// Regenerates everything that follows from the register map, or checks that it is fresh.
pub fn registers(check: bool, html: Option<PathBuf>) -> Result<()> {
    setup::ensure(&[Need::Hardware])?;
    let mut python = process::command(paths::venv_bin("python"));
    python.arg(paths::root().join("hdl-bindings/gen/generate.py"));
    if check {
        python.arg("--check");
    }
    if let Some(dir) = html {
        python.arg("--html").arg(std::path::absolute(dir)?);
    }
    process::run(&mut python)
}

/// A Verilog file list and the modules in it that are linted as top.
const LINTED: &[(&str, &[&str])] = &[
    ("tile.f", &["sluice_tile"]),
    ("uncore.f", &["sluice_uncore"]),
    ("top.f", &["sluice_top"]),
];

/// `verilator --lint-only -Wall` over the card; the tops that were linted.
pub fn lint() -> Result<Vec<String>> {
    setup::ensure(&[Need::Hardware])?;
    let rtl = paths::root().join("hdl-bindings/rtl");
    let mut done = Vec::new();
    for (list, tops) in LINTED {
        for top in *tops {
            let mut verilator = verilator()?;
            verilator
                .args(["--lint-only", "-Wall", "--assert", "-f"])
                .arg(rtl.join(list))
                .args(["--top-module", top]);
            process::capture(&mut verilator).with_context(|| format!("lint of {top}"))?;
            done.push((*top).to_string());
        }
    }
    Ok(done)
}

/// LUT, flip-flop and block RAM estimates of each block from yosys.
pub fn synth(blocks: &[String], report: Option<PathBuf>) -> Result<()> {
    setup::ensure(&[Need::Hardware])?;
    let script = paths::root().join("hdl-bindings/synth/synth.py");
    ensure!(
        script.is_file(),
        "synth is not available yet: {} is missing",
        paths::shown(&script)
    );
    let mut python = with_sources(process::command(paths::venv_bin("python")))?;
    python
        .arg(script)
        .args(blocks.iter().flat_map(|block| ["--block", block]));
    if let Some(file) = report {
        python.arg("--report").arg(std::path::absolute(file)?);
    }
    process::run(&mut python)
}

fn verilator() -> Result<Command> {
    let root = site("verilator")?;
    let program = root.join("bin/verilator_bin");
    let program = if program.is_file() {
        program
    } else {
        paths::venv_bin("verilator_bin")
    };
    let mut command = with_sources(process::command(program))?;
    command.env("VERILATOR_ROOT", root);
    Ok(command)
}

/// The variables that the file lists refer to.
fn with_sources(mut command: Command) -> Result<Command> {
    command.env("SLUICE_RTL", paths::root().join("hdl-bindings/rtl"));
    command.env(
        "IBEX_DIR",
        site("pythondata_cpu_ibex")?.join("system_verilog"),
    );
    Ok(command)
}

fn site(package: &str) -> Result<PathBuf> {
    let dir = paths::site_packages()
        .context("target/tools/venv is not there: run `cargo xtask setup`")?
        .join(package);
    ensure!(
        dir.is_dir(),
        "{} is missing: run `cargo xtask setup`",
        dir.display()
    );
    Ok(dir)
}
