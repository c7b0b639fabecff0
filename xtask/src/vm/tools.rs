//! The daemon and its tool for a VM, installed as docs/operator.md says: statically linked, so that they run in the image
//! whatever C library this machine has, with the unit as it is shipped and a systemd to run it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{cpio, systemd, tree::Tree, write_whole};
use crate::fuzz::HOST;
use crate::{paths, process, progress};

/// Where cargo leaves them, and where they are in the VM.
const PROGRAMS: [(&str, &str); 3] = [
    ("sluiced", "usr/sbin/sluiced"),
    ("sluicectl", "usr/sbin/sluicectl"),
    ("examples/second-opinion", "usr/bin/second-opinion"),
];
/// The unit, in the checkout and in the VM.
const UNIT: (&str, &str) = (
    "host/daemon/dist/sluiced.service",
    "etc/systemd/system/sluiced.service",
);

/// Builds them, and packs them into an archive that the kernel unpacks over the image.
/// `mirror` as for the VM image.
pub fn ensure(mirror: Option<&str>) -> Result<PathBuf> {
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
    for dir in ["usr/bin", "usr/sbin", "etc/sluice"] {
        tree.dir(dir);
    }
    systemd::add(&mut tree, mirror).context("the server VM's systemd could not be made")?;
    let unit = paths::root().join(UNIT.0);
    let text = std::fs::read(&unit).with_context(|| format!("cannot read {}", UNIT.0))?;
    tree.file(UNIT.1, 0o644, text);
    for (program, path) in PROGRAMS {
        let program = target_dir.join(HOST).join("release").join(program);
        let bytes = std::fs::read(&program)
            .with_context(|| format!("cannot read {}", paths::shown(&program)))?;
        tree.file(path, 0o755, bytes);
    }
    // Users of whom the C library hears nowhere else.
    let users = b"root:x:0:0::/root:/bin/bash\nnobody:x:65534:65534::/:/bin/bash\n";
    tree.file("etc/passwd", 0o644, users.to_vec());
    let archive = target_dir.join("tools.cpio");
    write_whole(&archive, &cpio::write(&tree))?;
    Ok(archive)
}
