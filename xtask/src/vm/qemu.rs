//! QEMU with `vfio-user-pci`, which Debian 12's does not have: a newer one from Debian's backports, unpacked into a folder
//! of its own with all libraries it needs, and run with its own dynamic loader. Nothing is installed, no root, no chroot.
//!
//! [`ensure`] gives the path of a small script that starts it; it takes QEMU's arguments and is QEMU (it ends by `exec`), so
//! whoever starts and stops `qemu-system-x86_64` can start and stop this one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{RELEASE, apt, write_whole};
use crate::{paths, process, progress};

/// First version with `vfio-user-pci` as it is needed here.
const VERSION: u32 = 11;
/// Where Debian has it.
const SUITE: &str = "backports";
const PACKAGE: &str = "qemu-system-x86";
const NAME: &str = "qemu-system-x86_64";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// The loader, in the order in which to look for it.
const LOADERS: [&str; 2] = [
    "usr/lib64/ld-linux-x86-64.so.2",
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
];
/// Folders with QEMU's own firmware and the BIOS.
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// Unpacks QEMU unless it is there; the program to start. `mirror` as for the VM image.
pub fn ensure(mirror: Option<&str>) -> Result<PathBuf> {
    let dir = paths::target(&format!("vm/qemu-{VERSION}"));
    let program = dir.join(NAME);
    if program.is_file() && version(&program).is_ok_and(|v| v >= VERSION) {
        return Ok(program);
    }
    eprintln!(
        "QEMU {VERSION} with vfio-user (Debian {RELEASE}-{SUITE}; downloads about 40 MB once):"
    );
    unpack(&dir, mirror).context("a QEMU with vfio-user could not be unpacked")?;
    let found = version(&program).context("the unpacked QEMU does not start")?;
    ensure!(
        found >= VERSION,
        "wanted QEMU {VERSION} or later from {RELEASE}-{SUITE}, got {found}; bring one with --qemu"
    );
    Ok(program)
}

fn unpack(dir: &Path, mirror: Option<&str>) -> Result<()> {
    let work = paths::target("vm/packages/apt-qemu");
    let apt = apt::Private::open_with(&work, RELEASE, Some(SUITE), mirror)?;
    progress::step("package lists", || apt.update())?;
    let debs = progress::step("QEMU and its libraries", || {
        apt.download_closure(&[PACKAGE])
    })?;
    let tree = dir.join("tree");
    let unused = ["./usr/share/doc", "./usr/share/man", "./usr/share/locale"];
    progress::step("unpack QEMU", || apt::unpack(&debs, &tree, &unused))?;
    let loader = LOADERS
        .iter()
        .map(|path| tree.join(path))
        .find(|path| path.is_file());
    let loader = loader.context("no dynamic loader in the packages")?;
    let program = dir.join(NAME);
    write_whole(&program, script(&tree, &loader).as_bytes())?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Starts QEMU with the tree's loader, libraries and firmware.
fn script(tree: &Path, loader: &Path) -> String {
    let firmware = FIRMWARE
        .map(|dir| format!("-L '{}'", tree.join(dir).display()))
        .join(" ");
    format!(
        "#!/bin/sh\n# Made by cargo xtask: a QEMU that is unpacked, not installed.\n\
         exec '{loader}' --library-path '{libraries}' '{program}' {firmware} \"$@\"\n",
        loader = loader.display(),
        libraries = tree.join(LIBRARIES).display(),
        program = tree.join("usr/bin").join(NAME).display(),
    )
}

/// The major version of a QEMU.
fn version(program: &Path) -> Result<u32> {
    let said = process::capture(process::command(program).arg("--version"))?;
    parse(&said).with_context(|| format!("{} says: {said}", program.display()))
}

fn parse(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once("version ")?;
    rest.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_what_qemu_says() {
        assert_eq!(
            parse("QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds)\n"),
            Some(11)
        );
        assert_eq!(parse("QEMU emulator version 7.2.22"), Some(7));
        assert_eq!(parse("no such thing"), None);
    }

    #[test]
    fn the_script_becomes_qemu_and_passes_all_arguments_on() {
        let text = script(Path::new("/t r"), Path::new("/t r/ld.so"));
        let last = text.lines().last().expect("lines");
        assert!(
            text.starts_with("#!/bin/sh\n") && last.starts_with("exec '/t r/ld.so' --library-path")
        );
        assert!(last.contains("-L '/t r/usr/share/seabios'") && last.ends_with(" \"$@\""));
    }
}
