//! Makes the linker script findable wherever cargo is run from.

use std::{env, fs, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy("rom.x", out.join("rom.x")).expect("rom.x lies beside build.rs");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=rom.x");
    println!("cargo:rerun-if-changed=build.rs");
}
