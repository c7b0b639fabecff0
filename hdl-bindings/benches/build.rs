//! Verilates packet memory and the engines, each as a model of its own, and compiles them with the shim.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// Tops that get a model.
const TOPS: [&str; 5] = [
    "sluice_pm",
    "sluice_rx",
    "sluice_tx",
    "sluice_mover",
    "sluice_trace",
];

fn main() {
    // Clippy links nothing and needs no models. Cargo keeps what it builds apart from what others build.
    if env::var_os("RUSTC_WORKSPACE_WRAPPER")
        .is_some_and(|wrapper| wrapper.to_string_lossy().contains("clippy-driver"))
    {
        println!("cargo::rerun-if-changed=build.rs");
        return;
    }
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let rtl = here.join("../rtl");
    println!("cargo::rerun-if-env-changed=SLUICE_VERILATOR_ROOT");
    println!("cargo::rerun-if-changed=shim.cpp");
    rerun_on_rtl(&rtl);

    let verilator = Verilator::find(&here.join("../.."));
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("gnu++17")
        .opt_level(2)
        .warnings(false)
        .cargo_warnings(false);
    build
        .include(verilator.root.join("include"))
        .include(verilator.root.join("include/vltstd"));
    for (define, value) in [
        ("VM_TRACE", "0"),
        ("VM_COVERAGE", "0"),
        ("VM_SC", "0"),
        ("VL_TIME_CONTEXT", "1"),
    ] {
        build.define(define, value);
    }
    for top in TOPS {
        let dir = out.join(top);
        verilator.run(top, &rtl, &dir);
        build.include(&dir);
        build.files(sources(&dir));
    }
    for file in ["verilated.cpp", "verilated_threads.cpp"] {
        build.file(verilator.root.join("include").join(file));
    }
    build
        .file(here.join("shim.cpp"))
        .compile("sluice_benches_rtl");
}

/// Where the tool lies.
struct Verilator {
    program: PathBuf,
    /// `VERILATOR_ROOT`: holds `include/verilated.cpp`.
    root: PathBuf,
}

impl Verilator {
    /// `SLUICE_VERILATOR_ROOT`, else what `cargo xtask setup` installed, else `verilator` on the path.
    fn find(workspace: &Path) -> Self {
        let named = env::var_os("SLUICE_VERILATOR_ROOT").map(PathBuf::from);
        if let Some(root) = named.or_else(|| installed(workspace)) {
            let program = root.join("bin/verilator_bin");
            if program.exists() {
                return Self { program, root };
            }
        }
        let on_path = Command::new("verilator")
            .args(["--getenv", "VERILATOR_ROOT"])
            .output();
        match on_path {
            Ok(answer) if answer.status.success() => {
                let root = String::from_utf8_lossy(&answer.stdout).trim().into();
                Self {
                    program: "verilator".into(),
                    root,
                }
            }
            _ => {
                println!(
                    "cargo::error=no Verilator: run `cargo xtask setup`, or name one with SLUICE_VERILATOR_ROOT"
                );
                exit(1)
            }
        }
    }

    fn run(&self, top: &str, rtl: &Path, dir: &Path) {
        let _ = fs::remove_dir_all(dir);
        let status = Command::new(&self.program)
            .env("VERILATOR_ROOT", &self.root)
            .env("SLUICE_RTL", rtl)
            .args([
                "--cc",
                "--assert",
                "-Wall",
                "-O3",
                "--x-assign",
                "unique",
                "--x-initial",
                "unique",
                "--quiet-stats",
            ])
            .args([
                "--top-module",
                top,
                "--prefix",
                &format!("V{top}"),
                "--Mdir",
            ])
            .arg(dir)
            .arg("-f")
            .arg(rtl.join("pkg.f"))
            .arg("-f")
            .arg(rtl.join("engines.f"))
            .status();
        if !status.is_ok_and(|s| s.success()) {
            println!("cargo::error=Verilator rejected {top}; its messages are above");
            exit(1)
        }
    }
}

/// The Verilator inside the tools' Python environment.
fn installed(workspace: &Path) -> Option<PathBuf> {
    let libs = fs::read_dir(workspace.join("target/tools/venv/lib")).ok()?;
    libs.flatten()
        .map(|lib| lib.path().join("site-packages/verilator"))
        .find(|root| root.exists())
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("Verilator made it").flatten();
    let mut found: Vec<_> = entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "cpp"))
        .collect();
    found.sort();
    found
}

fn rerun_on_rtl(rtl: &Path) {
    println!("cargo::rerun-if-changed={}", rtl.join("pkg.f").display());
    let list = fs::read_to_string(rtl.join("engines.f")).expect("hdl-bindings/rtl/engines.f");
    println!(
        "cargo::rerun-if-changed={}",
        rtl.join("engines.f").display()
    );
    for line in list
        .lines()
        .filter_map(|l| l.strip_prefix("${SLUICE_RTL}/"))
    {
        println!("cargo::rerun-if-changed={}", rtl.join(line).display());
    }
    for shared in ["sluice_pkg.sv", "sluice_assert.svh"] {
        println!("cargo::rerun-if-changed={}", rtl.join(shared).display());
    }
}
