//! The stages of `cargo xtask test`. What they print goes to `target/test/NAME.log`; only failures reach the terminal.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Outcome, count};
use crate::options::{CardKind, CardOptions, VmOptions};
use crate::setup::{self, Need, RISCV, RiscvToolchain};
use crate::sim::{self, Wants};
use crate::{firmware as image, fuzz as fuzzer, hardware, paths, process};

/// Logs, captures and reports of the run.
pub fn out_dir() -> PathBuf {
    paths::target("test")
}

/// Every capture that a test or a demo leaves here is judged by tshark.
fn capture_dir() -> PathBuf {
    out_dir().join("captures")
}

/// Those of unit and scenario tests.
fn test_captures() -> PathBuf {
    capture_dir().join("tests")
}

/// The Verilated card with its assertions, and as one model besides the one in pieces.
const RTL: &str = "sluice-sim/rtl,sluice-verilated/assertions,sluice-verilated/flat";

/// Longer than any scenario takes on two busy cores.
const SCENARIO_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Workspaces of their own.
const OTHER_WORKSPACES: &[&str] = &["firmware/image", "fuzz"];

pub fn formatting(_long: bool) -> Result<Outcome> {
    logged(
        "formatting",
        process::command("cargo").args(["fmt", "--all", "--check"]),
    )?;
    for dir in OTHER_WORKSPACES
        .iter()
        .map(|dir| paths::root().join(dir))
        .filter(|dir| dir.join("Cargo.toml").is_file())
    {
        logged(
            "formatting",
            process::command("cargo")
                .args(["fmt", "--check"])
                .current_dir(dir),
        )?;
    }
    Ok(Outcome::Passed(1))
}

pub fn generated(_long: bool) -> Result<Outcome> {
    hardware::registers(true, None)?;
    Ok(Outcome::Passed(1))
}

pub fn rtl_lint(_long: bool) -> Result<Outcome> {
    let tops = hardware::lint()?;
    eprintln!("  clean: {}", tops.join(", "));
    Ok(Outcome::Passed(tops.len() as u32))
}

pub fn firmware(_long: bool) -> Result<Outcome> {
    image::build_and_report()?;
    Ok(Outcome::Passed(1))
}

pub fn clippy(_long: bool) -> Result<Outcome> {
    let mut cargo = process::command("cargo");
    cargo.args(["clippy", "--keep-going", "--locked", "--workspace"]);
    cargo.args(["--all-targets", "--features", RTL]);
    cargo.args(["--", "-Dwarnings"]);
    logged("clippy", &mut cargo)?;
    Ok(Outcome::Passed(1))
}

pub fn clippy_image(_long: bool) -> Result<Outcome> {
    setup::ensure(&[Need::Firmware])?;
    if setup::riscv_toolchain()? == RiscvToolchain::Debian {
        return Ok(Outcome::Absent(format!(
            "clippy needs the rustup target {RISCV}"
        )));
    }
    let mut cargo = process::command("cargo");
    cargo
        .args(["clippy", "--locked", "--release", "--target-dir"])
        .arg(paths::target("image"));
    cargo
        .args(["--", "-Dwarnings"])
        .current_dir(paths::root().join("firmware/image"))
        .env_remove("CARGO_TARGET_DIR");
    logged("clippy-image", &mut cargo)?;
    Ok(Outcome::Passed(1))
}

pub fn workspace_tests(long: bool) -> Result<Outcome> {
    setup::ensure(&[Need::Hardware, Need::Captures])?;
    // Each run gives its captures new names.
    let _ = std::fs::remove_dir_all(test_captures());
    std::fs::create_dir_all(test_captures())?;
    let mut cargo = process::command("cargo");
    let nextest =
        process::capture(process::command("cargo").args(["nextest", "--version"])).is_ok();
    if nextest {
        cargo.args(["nextest", "run", "--no-fail-fast"]);
        cargo.arg("--success-output=final");
    } else {
        cargo.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    }
    cargo.args(["--locked", "--workspace", "--features", RTL]);
    match (nextest, long) {
        (true, true) => drop(cargo.args(["--run-ignored", "all"])),
        (true, false) => {}
        (false, true) => drop(cargo.args(["--", "--show-output", "--include-ignored"])),
        (false, false) => drop(cargo.args(["--", "--show-output"])),
    }
    if long {
        cargo.env("SLUICE_KILLS", "1000");
    }
    cargo
        .env("SLUICE_FIRMWARE", image::build()?)
        .env("SLUICE_PCAP_DIR", test_captures())
        .env("NO_COLOR", "1");
    let ran = logged("tests", &mut cargo);
    let log = std::fs::read_to_string(out_dir().join("tests.log"))?;
    match (ran, count::tests(&log)) {
        (Ok(()), Some((passed, 0))) if passed > 0 => {
            let left = captures_in(&test_captures())?;
            ensure!(left > 0, "no test has left a capture for tshark");
            eprintln!("  {left} captures left for tshark");
            for (remark, tests) in count::remarks(&log) {
                eprintln!("  {tests} x {remark}");
            }
            Ok(Outcome::Passed(passed))
        }
        (Err(error), Some((passed, failed))) => Ok(Outcome::Failed {
            passed,
            failed: failed.max(1),
            why: format!("{error:#}"),
        }),
        (Err(error), None) => Err(error),
        (Ok(()), _) => bail!("the test runner ended well without a summary"),
    }
}

pub fn demo_functional_model(_long: bool) -> Result<Outcome> {
    demo(
        "functional-model",
        CardKind::Functional,
        false,
        &["--host", "model", "--transport", "both"],
    )
}

pub fn demo_functional_model_loss(_long: bool) -> Result<Outcome> {
    demo(
        "functional-model-loss",
        CardKind::Functional,
        false,
        &["--host", "model", "--transport", "both", "--loss", "1"],
    )
}

pub fn demo_rtl_model(_long: bool) -> Result<Outcome> {
    demo(
        "rtl-model",
        CardKind::Rtl,
        false,
        &["--host", "model", "--transport", "both"],
    )
}

pub fn demo_rtl_model_loss(_long: bool) -> Result<Outcome> {
    demo(
        "rtl-model-loss",
        CardKind::Rtl,
        false,
        &[
            "--host",
            "model",
            "--transport",
            "both",
            "--loss",
            "1",
            "--short",
        ],
    )
}

pub fn demo_functional_vm(_long: bool) -> Result<Outcome> {
    demo(
        "functional-vm",
        CardKind::Functional,
        true,
        &["--host", "vm", "--transport", "both"],
    )
}

pub fn demo_functional_vm_loss(_long: bool) -> Result<Outcome> {
    demo(
        "functional-vm-loss",
        CardKind::Functional,
        true,
        &[
            "--host",
            "vm",
            "--transport",
            "both",
            "--loss",
            "1",
            "--short",
        ],
    )
}

pub fn demo_rtl_vm_short(_long: bool) -> Result<Outcome> {
    demo(
        "rtl-vm-short",
        CardKind::Rtl,
        true,
        &["--host", "vm", "--transport", "both", "--short"],
    )
}

pub fn demo_rtl_vm(_long: bool) -> Result<Outcome> {
    demo(
        "rtl-vm",
        CardKind::Rtl,
        true,
        &["--host", "vm", "--transport", "both"],
    )
}

pub fn demo_rtl_vm_loss(_long: bool) -> Result<Outcome> {
    demo(
        "rtl-vm-loss",
        CardKind::Rtl,
        true,
        &[
            "--host",
            "vm",
            "--transport",
            "both",
            "--loss",
            "1",
            "--short",
        ],
    )
}

pub fn vm_selftest(_long: bool) -> Result<Outcome> {
    let vm = vm_options();
    let command = sim::prepare(&Wants {
        vm: Some(&vm),
        ..Wants::default()
    })?;
    scenario(
        "vm-selftest",
        command,
        &["vm-selftest", "--transport", "both"],
    )
}

pub fn captures(_long: bool) -> Result<Outcome> {
    setup::ensure(&[Need::Captures])?;
    let mut command = sim::prepare(&Wants::default())?;
    std::fs::create_dir_all(capture_dir())?;
    logged("captures", command.arg("check-pcaps").arg(capture_dir()))?;
    let log = std::fs::read_to_string(out_dir().join("captures.log"))?;
    match log.lines().filter(|line| line.starts_with("ok ")).count() {
        0 => bail!("no test or demo has left a capture: run their stages before this one"),
        count => Ok(Outcome::Passed(count as u32)),
    }
}

/// Packets of one capture that scapy judges: it manages about 1,300 a second, and the capture of a VM may hold a hundred thousand.
const MOST_FOR_SCAPY: &str = "1000";

pub fn icrcs(long: bool) -> Result<Outcome> {
    setup::ensure(&[Need::Hardware])?;
    let mut python = process::command(paths::venv_bin("python"));
    python.arg(paths::root().join("xtask/src/test/icrc.py"));
    if !long {
        python.args(["--most", MOST_FOR_SCAPY]);
    }
    std::fs::create_dir_all(capture_dir())?;
    let linux = paths::root().join("sim/data/captures");
    logged("icrc", python.arg(linux).arg(capture_dir()))?;
    let log = std::fs::read_to_string(out_dir().join("icrc.log"))?;
    let captures = log.lines().filter_map(captures_judged).sum();
    ensure!(captures > 0, "icrc.py ended well and has judged nothing");
    eprint!("{log}");
    Ok(Outcome::Passed(captures))
}

/// The captures in a line such as `FOLDER: 8148 RoCE packets in 8 captures, …`.
fn captures_judged(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once(" RoCE packets in ")?;
    rest.split_whitespace().next()?.parse().ok()
}

pub fn fuzz(long: bool) -> Result<Outcome> {
    let runs = if long { 2_000_000 } else { 50_000 };
    Ok(Outcome::Passed(fuzzer::run(
        &fuzzer::Effort::Runs(runs),
        None,
    )?))
}

fn demo(name: &str, card: CardKind, in_vm: bool, args: &[&str]) -> Result<Outcome> {
    let vm = vm_options();
    let card = CardOptions {
        card,
        cores: 1,
        seed: 1,
        out: capture_dir(),
        firmware: None,
    };
    let command = sim::prepare(&Wants {
        card: Some(&card),
        vm: in_vm.then_some(&vm),
        ..Wants::default()
    })?;
    scenario(
        name,
        command,
        &[&["demo", "--card", card.card.name()], args].concat(),
    )
}

/// Linux's own `nvme` driver with the SSD model in a guest; there is no cable, so there is no capture.
pub fn ssd_in_guest(_long: bool) -> Result<Outcome> {
    let vm = vm_options();
    let command = sim::prepare(&Wants {
        vm: Some(&vm),
        vfio_user: true,
        ..Wants::default()
    })?;
    reported("ssd-in-guest", command, &["demo", "--ssd-in-guest"])
}

/// The daemon in a server VM with the kernel's VFIO and QEMU's own SSD, and a remote host in another.
pub fn host_driver(long: bool) -> Result<Outcome> {
    let vm = vm_options();
    let command = sim::prepare(&Wants {
        vm: Some(&vm),
        vfio_user: true,
        tools: true,
        ..Wants::default()
    })?;
    let args = ["demo", "--host-driver", "vfio", "--transport", "both"];
    let extent: &[&str] = if long { &[] } else { &["--short"] };
    scenario("host-driver", command, &[&args, extent].concat())
}

/// Runs a scenario that leaves captures; its steps are the tests.
fn scenario(name: &str, command: Command, args: &[&str]) -> Result<Outcome> {
    let outcome = reported(name, command, args)?;
    if matches!(outcome, Outcome::Passed(_)) {
        ensure!(
            captures_in(&capture_dir().join(name))? > 0,
            "{name} left no capture for tshark"
        );
    }
    Ok(outcome)
}

/// Runs a scenario; its steps are the tests.
fn reported(name: &str, mut command: Command, args: &[&str]) -> Result<Outcome> {
    let report = out_dir().join(format!("{name}.json"));
    let _ = std::fs::remove_file(&report);
    let run_dir = capture_dir().join(name);
    let _ = std::fs::remove_dir_all(&run_dir);
    std::fs::create_dir_all(out_dir())?;
    command
        .args(args)
        .arg("--report")
        .arg(&report)
        .arg("--out")
        .arg(&run_dir);
    let ran = logged_within(name, &mut command, SCENARIO_LIMIT);
    let steps = std::fs::read_to_string(&report)
        .ok()
        .and_then(|text| steps(&text));
    match (ran, steps) {
        (Ok(()), Some((passed, 0))) if passed > 0 => Ok(Outcome::Passed(passed)),
        (Ok(()), _) => bail!(
            "{name} ended well without a good report in {}",
            report.display()
        ),
        (Err(error), Some((passed, failed))) => Ok(Outcome::Failed {
            passed,
            failed: failed.max(1),
            why: format!("{error:#}"),
        }),
        (Err(error), None) => Err(error),
    }
}

/// How many captures a folder holds.
fn captures_in(dir: &Path) -> Result<usize> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("no folder {}", dir.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|e| e == "pcap"))
        .count())
}

/// Good and bad steps of a JSON report.
fn steps(report: &str) -> Option<(u32, u32)> {
    let report: serde_json::Value = serde_json::from_str(report).ok()?;
    let steps = report["steps"].as_array()?;
    let good = steps.iter().filter(|step| step["ok"] == true).count();
    let all_good = report["ok"] == true && good == steps.len();
    Some((
        good as u32,
        if all_good {
            0
        } else {
            (steps.len() - good).max(1) as u32
        },
    ))
}

/// The VM as the environment wants it.
fn vm_options() -> VmOptions {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    VmOptions {
        kernel: path("SLUICE_VM_KERNEL"),
        modules: path("SLUICE_VM_MODULES"),
        mirror: std::env::var("SLUICE_DEBIAN_MIRROR").ok(),
        qemu: path("SLUICE_QEMU").unwrap_or_else(|| "qemu-system-x86_64".into()),
        image: path("SLUICE_VM_IMAGE"),
    }
}

/// Runs with all output in a log; the error holds its tail.
fn logged(name: &str, command: &mut Command) -> Result<()> {
    logged_within(name, command, Duration::from_secs(60 * 60))
}

/// As [`logged`], ended after `limit`: one part that hangs must not cost the others their run.
fn logged_within(name: &str, command: &mut Command, limit: Duration) -> Result<()> {
    std::fs::create_dir_all(out_dir())?;
    let path = out_dir().join(format!("{name}.log"));
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut child = command
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start it")?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!(
                "not done after {} s; the end of {}:\n{}",
                limit.as_secs(),
                paths::shown(&path),
                tail_of(&path)
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    ensure!(
        status.success(),
        "{status}; the end of {}:\n{}",
        paths::shown(&path),
        tail_of(&path)
    );
    Ok(())
}

fn tail_of(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    process::tail(&String::from_utf8_lossy(&bytes), 60)
}

#[cfg(test)]
mod tests {
    use super::{captures_judged, steps};

    #[test]
    fn the_captures_that_scapy_judged_are_counted() {
        let line = "a/b: 8148 RoCE packets in 8 captures, 8148 of them judged by scapy too";
        assert_eq!(captures_judged(line), Some(8));
        assert_eq!(captures_judged("FAILED a/b: no RoCE packet"), None);
    }

    #[test]
    fn a_report_counts_as_good_only_if_it_says_so_and_every_step_does() {
        assert_eq!(
            steps(r#"{"ok":true,"steps":[{"ok":true},{"ok":true}]}"#),
            Some((2, 0))
        );
        assert_eq!(
            steps(r#"{"ok":false,"steps":[{"ok":true},{"ok":false}]}"#),
            Some((1, 1))
        );
        assert_eq!(steps(r#"{"ok":false,"steps":[{"ok":true}]}"#), Some((1, 1)));
        assert_eq!(steps("not JSON"), None);
    }
}
