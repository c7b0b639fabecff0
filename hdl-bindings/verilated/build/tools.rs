//! Where Verilator and the Ibex sources are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// What a build needs from outside.
pub struct Tools {
    /// The program that turns SystemVerilog into C++.
    pub verilator: PathBuf,
    /// `VERILATOR_ROOT`: holds `include/verilated.h`.
    pub root: PathBuf,
    /// Sources of the Ibex core (holds `rtl/ibex_top.sv`).
    pub ibex: PathBuf,
}

impl Tools {
    /// Looks in the environment, then in the tools folder that `cargo xtask setup` fills, then (Verilator) on `PATH`.
    pub fn find(workspace: &Path) -> Result<Self, String> {
        for name in ["SLUICE_VERILATOR_ROOT", "SLUICE_IBEX_ROOT", "PATH"] {
            println!("cargo:rerun-if-env-changed={name}");
        }
        let packages = site_packages(&workspace.join("target/tools/venv/lib"));
        let root = env_dir("SLUICE_VERILATOR_ROOT")
            .or_else(|| packages.as_ref().map(|p| p.join("verilator")))
            .filter(|root| root.join("include/verilated.h").is_file())
            .or_else(root_on_path)
            .ok_or("Verilator was not found: run `cargo xtask setup`, or set SLUICE_VERILATOR_ROOT to an installation of 5.048 or later")?;
        let ibex = env_dir("SLUICE_IBEX_ROOT")
            .or_else(|| packages.map(|p| p.join("pythondata_cpu_ibex/system_verilog")))
            .filter(|ibex| ibex.join("rtl/ibex_top.sv").is_file())
            .ok_or("the sources of the Ibex core were not found: run `cargo xtask setup`, or set SLUICE_IBEX_ROOT")?;
        let verilator = [
            "bin/verilator_bin",
            "../../bin/verilator_bin",
            "bin/verilator",
        ]
        .iter()
        .map(|name| root.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{} holds no bin/verilator_bin", root.display()))?;
        Ok(Self {
            verilator,
            root,
            ibex,
        })
    }
}

fn env_dir(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
}

/// `lib/python3.*/site-packages` of a virtual environment.
fn site_packages(lib: &Path) -> Option<PathBuf> {
    fs::read_dir(lib)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("site-packages"))
        .find(|path| path.is_dir())
}

/// An installed Verilator knows its own root.
fn root_on_path() -> Option<PathBuf> {
    let answer = std::process::Command::new("verilator")
        .args(["--getenv", "VERILATOR_ROOT"])
        .output()
        .ok()?;
    let root = PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim());
    root.join("include/verilated.h").is_file().then_some(root)
}
