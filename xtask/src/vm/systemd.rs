//! Debian's systemd for a VM: what is needed for services, and nothing else of the distribution. The daemon's unit as it is
//! shipped then runs under the service manager that it was written for, with all of its sandbox.

use std::path::Path;

use anyhow::{Context, Result};

use super::elf::Userland;
use super::{RELEASE, apt, tree::Tree};
use crate::{paths, progress};

const PACKAGE: &str = "systemd";
/// The manager, what it starts services through, and what tells it what to do.
const PROGRAMS: &[&str] = &[
    "usr/lib/systemd/systemd",
    "usr/lib/systemd/systemd-executor",
    "usr/bin/systemctl",
    "usr/bin/systemd-analyze",
];
/// Loaded when a unit asks for what they do: system call filters. Without it they would silently be left out.
const LOADED_LATER: &[&str] = &["libseccomp.so.2"];
/// 32 hexadecimal digits, anything but zero.
const MACHINE_ID: &[u8] = b"51d5ce51d5ce51d5ce51d5ce51d5ce51\n";
const UNITS: &str = "usr/lib/systemd/system";
/// Where units and the daemon's files are expected to be.
const FOLDERS: &[&str] = &["etc/systemd/system", "var/lib", "var/tmp", "home", "root"];

/// Puts it into `tree`, with every target and no service: the image's `init` becomes it.
pub fn add(tree: &mut Tree, mirror: Option<&str>) -> Result<()> {
    let work = paths::target("vm/packages");
    let stage = work.join("stage-systemd");
    if !stage.join(".unpacked").is_file() {
        let apt = apt::Private::open(&work.join("apt-systemd"), RELEASE, mirror)?;
        progress::step("package lists", || apt.update())?;
        let debs = progress::step("systemd and its libraries", || {
            apt.download_closure(&[PACKAGE])
        })?;
        progress::step("unpack systemd", || {
            let unused = ["./usr/share/doc", "./usr/share/man", "./usr/share/locale"];
            apt::unpack(&debs, &stage, &unused)
        })?;
    }
    FOLDERS.iter().for_each(|dir| tree.dir(dir));
    // Without one systemd takes it for the first start of a new machine, and enables every unit that there is.
    tree.file("etc/machine-id", 0o444, MACHINE_ID.to_vec());
    targets(&stage.join(UNITS), tree)?;
    tree.link(
        "etc/systemd/system/default.target",
        "/usr/lib/systemd/system/multi-user.target",
    );
    let mut userland = Userland::new(&stage, tree);
    for program in PROGRAMS {
        userland.file(program)?;
    }
    for library in LOADED_LATER {
        userland.library(library)?;
    }
    Ok(())
}

fn targets(units: &Path, tree: &mut Tree) -> Result<()> {
    let entries = std::fs::read_dir(units).with_context(|| format!("no {}", units.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Those that are links have other names than what they point to, and nobody here asks for them by these.
        let wanted = [".target", ".slice"].iter().any(|end| name.ends_with(end));
        if wanted && path.is_file() && !path.is_symlink() {
            tree.file(&format!("{UNITS}/{name}"), 0o644, std::fs::read(&path)?);
        }
    }
    Ok(())
}
