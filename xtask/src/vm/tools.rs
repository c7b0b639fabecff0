//! The daemon and its tool for a VM: linked statically, so that they run in the image whatever C library this machine has.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{cpio, tree::Tree, write_whole};
use crate::fuzz::HOST;
use crate::{paths, process, progress};

/// Where cargo leaves them, and their names in the VM.
const PROGRAMS: [(&str, &str); 3] = [
    ("sluiced", "sluiced"),
    ("sluicectl", "sluicectl"),
    ("examples/second-opinion", "second-opinion"),
];

/// Builds them, and packs them into an archive that the kernel unpacks over the image.
pub fn ensure() -> Result<PathBuf> {
    let target_dir = paths::target("guest");
    let mut cargo = process::command("cargo");
    cargo
        .args(["build", "--release", "--locked", "--quiet"])
        .args([
            "-p",
            "sluice-daemon",
            "-p",
            "sluice-ctl",
            "-p",
            "sluice-vfio",
        ])
        .args(["--bins", "--example", "second-opinion"])
        // Named, so that the flags below are not those of build scripts and macros.
        .args(["--target", HOST, "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    progress::step("sluiced and sluicectl for the server VM", || {
        process::capture(&mut cargo)
    })?;
    let mut tree = Tree::new();
    for dir in ["usr", "usr/bin"] {
        tree.dir(dir);
    }
    for (program, name) in PROGRAMS {
        let program = target_dir.join(HOST).join("release").join(program);
        let bytes = std::fs::read(&program)
            .with_context(|| format!("cannot read {}", paths::shown(&program)))?;
        tree.file(&format!("usr/bin/{name}"), 0o755, bytes);
    }
    let archive = target_dir.join("tools.cpio");
    write_whole(&archive, &cpio::write(&tree))?;
    Ok(archive)
}
