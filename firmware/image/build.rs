//! Makes the linker scripts findable wherever cargo is run from, and gives each program its own.

use std::{env, fs, path::PathBuf};

/// Programs, and how each lies in a core's memory.
const PROGRAMS: [(&str, &str); 4] = [
    ("sluice-control", "link.x"),
    ("sluice-data", "link.x"),
    ("sluice-selftest", "link.x"),
    ("sluice-boot", "boot.x"),
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for script in ["link.x", "boot.x"] {
        fs::copy(script, out.join(script)).expect("the scripts lie beside build.rs");
        println!("cargo:rerun-if-changed={script}");
    }
    for (program, script) in PROGRAMS {
        println!("cargo:rustc-link-arg-bin={program}=-T{script}");
    }
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=build.rs");
}
