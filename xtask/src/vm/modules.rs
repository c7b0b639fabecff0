//! Kernel modules with what they depend on, decompressed, and the `modules.*` files that `modprobe` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

use super::tree::Tree;
use crate::process;

/// Puts `names` and their closure from `dir` (with `modules.dep`) into the image's `lib/modules/VERSION`.
pub fn add(dir: &Path, names: &[&str], tree: &mut Tree) -> Result<()> {
    let version = dir
        .file_name()
        .context("the modules folder has no name")?
        .to_string_lossy()
        .into_owned();
    ensure_dependencies(dir, &version)?;
    let dependencies = std::fs::read_to_string(dir.join("modules.dep"))?;
    let soft = std::fs::read_to_string(dir.join("modules.softdep")).unwrap_or_default();
    let closure = Closure::parse(&dependencies, &soft).of(names);
    let base = format!("usr/lib/modules/{version}");
    let mut kept = String::new();
    for path in &closure {
        let plain = plain_name(path);
        tree.file(
            &format!("{base}/{plain}"),
            0o644,
            module_bytes(&dir.join(path))?,
        );
        let line = dependencies
            .lines()
            .find(|line| line.split(':').next() == Some(path))
            .unwrap_or_default();
        let words = line
            .split_whitespace()
            .map(|word| match word.strip_suffix(':') {
                Some(first) => format!("{}:", plain_name(first)),
                None => plain_name(word).to_string(),
            });
        kept += &(words.collect::<Vec<_>>().join(" ") + "\n");
    }
    tree.file(&format!("{base}/modules.dep"), 0o644, kept.into_bytes());
    for name in ["modules.softdep", "modules.alias", "modules.builtin"] {
        if let Ok(bytes) = std::fs::read(dir.join(name)) {
            tree.file(&format!("{base}/{name}"), 0o644, bytes);
        }
    }
    Ok(())
}

/// Debian's package leaves `modules.dep` to its installation script; so run depmod where it is missing.
fn ensure_dependencies(dir: &Path, version: &str) -> Result<()> {
    if dir.join("modules.dep").is_file() {
        return Ok(());
    }
    let root = dir.ancestors().find(|above| {
        !above.ends_with("modules") && above.join("lib/modules").join(version) == dir
    });
    let root = root.context("a modules folder without modules.dep must lie in lib/modules")?;
    let depmod = crate::paths::find_program("depmod")
        .context("depmod is missing: install the package kmod")?;
    process::capture(process::command(depmod).arg("-b").arg(root).arg(version))?;
    Ok(())
}

struct Closure {
    /// Module name (with underscores) to its path and the paths it needs.
    modules: BTreeMap<String, Vec<String>>,
    soft: BTreeMap<String, Vec<String>>,
}

impl Closure {
    fn parse(dependencies: &str, soft: &str) -> Self {
        let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
        let modules = lines.map(|(path, needs)| {
            let paths = std::iter::once(path).chain(needs.split_whitespace());
            (module_name(path), paths.map(str::to_string).collect())
        });
        let lines = soft
            .lines()
            .filter_map(|line| line.strip_prefix("softdep "));
        let soft = lines.filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.replace('-', "_");
            Some((
                name,
                words
                    .filter(|word| !word.ends_with(':'))
                    .map(|word| word.replace('-', "_"))
                    .collect(),
            ))
        });
        Self {
            modules: modules.collect(),
            soft: soft.collect(),
        }
    }

    fn of(&self, names: &[&str]) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open: Vec<String> = names.iter().map(|name| name.replace('-', "_")).collect();
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let needs = self.modules.get(&name).into_iter().flatten();
            paths.extend(needs.clone().cloned());
            open.extend(needs.map(|path| module_name(path)));
            open.extend(self.soft.get(&name).into_iter().flatten().cloned());
        }
        paths
    }
}

fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn plain_name(path: &str) -> &str {
    path.trim_end_matches(".xz")
        .trim_end_matches(".zst")
        .trim_end_matches(".gz")
}

fn module_bytes(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return std::fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    process::filter(program, &["-dc"], path)?
        .with_context(|| format!("{program} cannot unpack {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_brings_what_it_needs_hard_and_soft() {
        let dependencies = "k/nvme-tcp.ko.xz: k/nvme-core.ko.xz\nk/nvme-core.ko.xz:\nk/crc32c_generic.ko.xz:\nk/other.ko:\n";
        let closure = Closure::parse(dependencies, "softdep nvme_core pre: crc32c-generic\n")
            .of(&["nvme-tcp", "absent"]);
        let names: Vec<_> = closure.iter().map(|path| module_name(path)).collect();
        assert_eq!(names, ["crc32c_generic", "nvme_core", "nvme_tcp"]);
        assert_eq!(plain_name("k/nvme-tcp.ko.xz"), "k/nvme-tcp.ko");
    }
}
