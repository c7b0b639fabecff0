//! Copies programs from the unpacked packages with the shared libraries they name (`DT_NEEDED`), recursively.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use super::tree::Tree;

/// `ceph` is where a library that fio names keeps its own, `systemd` where systemd does.
const LIBRARY_DIRS: &[&str] = &[
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/ceph",
    "usr/lib/x86_64-linux-gnu/systemd",
    "lib/x86_64-linux-gnu",
    "usr/lib",
    "lib",
    "usr/lib64",
    "lib64",
];
const PROGRAM_DIRS: &[&str] = &["usr/bin", "usr/sbin", "bin", "sbin"];
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

/// The unpacked packages and the image they go to.
pub struct Userland<'a> {
    stage: &'a Path,
    tree: &'a mut Tree,
}

impl<'a> Userland<'a> {
    /// Takes from `stage`, puts into `tree`.
    pub fn new(stage: &'a Path, tree: &'a mut Tree) -> Self {
        Self { stage, tree }
    }

    /// A program by name, with its libraries.
    pub fn program(&mut self, name: &str) -> Result<()> {
        for dir in PROGRAM_DIRS {
            if let Some(file) = self.resolve(&format!("{dir}/{name}")) {
                let sbin = if dir.ends_with("sbin") {
                    "usr/sbin"
                } else {
                    "usr/bin"
                };
                return self.copy(&file, &format!("{sbin}/{name}"), 0o755);
            }
        }
        bail!("{name} is in none of the downloaded packages")
    }

    /// A program by its path, where it stays, with its libraries.
    pub fn file(&mut self, path: &str) -> Result<()> {
        let file = self.resolve(path);
        let file = file.with_context(|| format!("{path} is in none of the downloaded packages"))?;
        self.copy(&file, path, 0o755)
    }

    /// A library by name, with those that it needs; nothing if it is there already.
    pub fn library(&mut self, name: &str) -> Result<()> {
        let target = format!("usr/lib/{name}");
        if self.tree.has(&target) {
            return Ok(());
        }
        for dir in LIBRARY_DIRS {
            if let Some(file) = self.resolve(&format!("{dir}/{name}")) {
                return self.copy(&file, &target, 0o644);
            }
        }
        bail!("the library {name} is in none of the downloaded packages")
    }

    fn copy(&mut self, file: &Path, target: &str, mode: u32) -> Result<()> {
        let bytes =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let needed =
            needed(&bytes).with_context(|| format!("cannot understand {}", file.display()))?;
        self.tree.file(target, mode, bytes);
        if !needed.is_empty() && !self.tree.has(LOADER) {
            let loader = [
                "usr/lib64/ld-linux-x86-64.so.2",
                "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                LOADER,
            ];
            let found = loader
                .iter()
                .find_map(|path| self.resolve(path))
                .context("no dynamic loader in the packages")?;
            self.tree.file(LOADER, 0o755, std::fs::read(found)?);
        }
        needed.iter().try_for_each(|name| {
            self.library(name)
                .with_context(|| format!("needed by {target}"))
        })
    }

    /// Follows symbolic links as they would be followed with `stage` as the root.
    fn resolve(&self, path: &str) -> Option<PathBuf> {
        let mut inside = PathBuf::from(path);
        for _ in 0..20 {
            let at = self.stage.join(&inside);
            let Ok(to) = std::fs::read_link(&at) else {
                return at.is_file().then_some(at);
            };
            inside = normal(&inside.parent().unwrap_or(Path::new("")).join(to));
        }
        None
    }
}

/// `path` without `..` and without a leading slash.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir => clean.clear(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// The libraries an ELF file names; none for scripts and static programs.
fn needed(bytes: &[u8]) -> Result<Vec<String>> {
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(Vec::new());
    }
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let programs = header.program_headers(endian, bytes)?;
    let mut dynamic: &[object::elf::Dyn64<Endianness>] = &[];
    for program in programs {
        dynamic = program.dynamic(endian, bytes)?.unwrap_or(dynamic);
    }
    let find = |tag| {
        dynamic
            .iter()
            .find(|entry| entry.d_tag(endian) == tag)
            .map(|entry| entry.d_val(endian))
    };
    let Some(strings) = find(object::elf::DT_STRTAB) else {
        return Ok(Vec::new());
    };
    let table = programs.iter().find_map(|program| {
        let start = program.p_vaddr(endian);
        let inside = strings
            .checked_sub(start)
            .filter(|at| *at < program.p_filesz(endian))?;
        Some((program.p_offset(endian) + inside) as usize)
    });
    let table = table.context("its string table is in no segment")?;
    let mut names = Vec::new();
    for entry in dynamic
        .iter()
        .filter(|entry| entry.d_tag(endian) == object::elf::DT_NEEDED)
    {
        let at = table + entry.d_val(endian) as usize;
        ensure!(at < bytes.len(), "a library's name lies outside the file");
        let end = bytes[at..]
            .iter()
            .position(|byte| *byte == 0)
            .context("a library's name has no end")?;
        names.push(String::from_utf8(bytes[at..at + end].to_vec())?);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_program_names_the_c_library() {
        let me = std::fs::read(std::env::current_exe().expect("a program")).expect("readable");
        let names = needed(&me).expect("an ELF file");
        assert!(
            names.iter().any(|name| name.starts_with("libc.so")),
            "{names:?}"
        );
    }

    #[test]
    fn paths_cannot_leave_the_stage() {
        assert_eq!(
            normal(Path::new("usr/lib/../../../etc/passwd")),
            Path::new("etc/passwd")
        );
        assert_eq!(normal(Path::new("/usr/./bin")), Path::new("usr/bin"));
    }
}
