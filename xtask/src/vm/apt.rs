//! A private apt state directory: packages of another Debian release are resolved and downloaded without the
//! machine's own apt or dpkg being touched. The mirror is the machine's own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with its own lists, cache and an empty dpkg status.
pub struct Private {
    dir: PathBuf,
    config: PathBuf,
}

impl Private {
    /// Lays the directory out; no network yet.
    pub fn open(dir: &Path, release: &str, mirror: Option<&str>) -> Result<Self> {
        Self::open_with(dir, release, None, mirror)
    }

    /// The same with a further suite of the release, such as `backports`, which comes before the others.
    pub fn open_with(
        dir: &Path,
        release: &str,
        suite: Option<&str>,
        mirror: Option<&str>,
    ) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).is_file(),
            "{KEYRING} is missing: install the package debian-archive-keyring (it verifies the downloads)"
        );
        let mirror = match mirror {
            Some(mirror) => mirror.to_string(),
            None => machine_mirror()?,
        };
        for below in [
            "lists/partial",
            "cache/archives/partial",
            "etc",
            "dpkg",
            "debs",
        ] {
            std::fs::create_dir_all(dir.join(below))
                .with_context(|| format!("cannot create {}", dir.display()))?;
        }
        std::fs::write(dir.join("dpkg/status"), "")?;
        let source = |suite: &str| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        let further = suite.map(|suite| format!("{release}-{suite}"));
        let mut sources = source(release) + &source(&format!("{release}-updates"));
        sources += &further.as_deref().map(source).unwrap_or_default();
        std::fs::write(dir.join("etc/sources.list"), sources)?;
        let config = dir.join("apt.conf");
        std::fs::write(
            &config,
            config_text(dir, further.as_deref().unwrap_or(release)),
        )?;
        Ok(Self {
            dir: dir.to_path_buf(),
            config,
        })
    }

    /// Fetches the package lists.
    pub fn update(&self) -> Result<()> {
        process::capture(self.command("apt-get").args(["update", "-q", "--error-on=any"]))
            .context("the Debian package lists could not be fetched; is the mirror in apt's sources reachable?")?;
        Ok(())
    }

    /// Downloads `packages` and all they depend on.
    pub fn download_closure(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut plan = self.command("apt-get");
        let plan = process::capture(
            plan.args(["install", "-y", "-qq", "--print-uris"])
                .args(packages),
        )?;
        process::capture(
            self.command("apt-get")
                .args(["install", "-y", "-qq", "--download-only"])
                .args(packages),
        )
        .context("the VM's packages could not be downloaded")?;
        // Each line: 'URI' FILE SIZE HASH.
        let names = plan
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1));
        let mut debs: Vec<_> = names
            .map(|name| self.dir.join("cache/archives").join(name))
            .collect();
        if debs.is_empty() {
            // Everything is in the cache already: then apt prints nothing to fetch.
            debs = debs_in(&self.dir.join("cache/archives"))?;
        }
        ensure!(
            !debs.is_empty(),
            "apt named no package to download for {}",
            packages.join(" ")
        );
        Ok(debs)
    }

    /// Downloads one package without what it depends on.
    pub fn download(&self, package: &str) -> Result<PathBuf> {
        let folder = self.dir.join("debs");
        let prefix = format!("{package}_");
        let find = || -> Result<Option<PathBuf>> {
            Ok(debs_in(&folder)?
                .into_iter()
                .find(|deb| file_name(deb).starts_with(&prefix)))
        };
        if let Some(deb) = find()? {
            return Ok(deb);
        }
        process::capture(
            self.command("apt-get")
                .args(["download", "-qq", package])
                .current_dir(&folder),
        )
        .with_context(|| format!("{package} could not be downloaded"))?;
        find()?.with_context(|| format!("apt downloaded no {package}"))
    }

    /// The package that `linux-image-amd64` stands for.
    pub fn kernel_package(&self, series: &str) -> Result<String> {
        let depends = process::capture(
            self.command("apt-cache")
                .args(["depends", "linux-image-amd64"]),
        )?;
        let wanted = format!("linux-image-{series}");
        let found = depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        let mut found = found.filter(|name| name.starts_with("linux-image-"));
        match found.next() {
            Some(name) if name.starts_with(&wanted) => Ok(name.to_string()),
            other => bail!(
                "wanted a kernel {series} from the mirror, it offers {}; bring one with --kernel and --modules",
                other.unwrap_or("none")
            ),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = process::command(program);
        command
            .env("APT_CONFIG", &self.config)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// Unpacks packages over one another into `stage`, without the paths that match `exclude`.
pub fn unpack(debs: &[PathBuf], stage: &Path, exclude: &[&str]) -> Result<()> {
    let done = stage.join(".unpacked");
    let list = debs
        .iter()
        .map(|deb| file_name(deb))
        .collect::<Vec<_>>()
        .join("\n");
    if std::fs::read_to_string(&done).is_ok_and(|before| before == list) {
        return Ok(());
    }
    if stage.exists() {
        std::fs::remove_dir_all(stage)?;
    }
    std::fs::create_dir_all(stage)?;
    for deb in debs {
        unpack_one(deb, stage, exclude)
            .with_context(|| format!("cannot unpack {}", deb.display()))?;
    }
    std::fs::File::create(&done)?.write_all(list.as_bytes())?;
    Ok(())
}

fn unpack_one(deb: &Path, stage: &Path, exclude: &[&str]) -> Result<()> {
    let mut source = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stream = source.stdout.take().expect("piped");
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(stage)
        .args(["-x", "--no-same-owner", "--keep-directory-symlink"]);
    tar.args(exclude.iter().map(|pattern| format!("--exclude={pattern}")));
    let output = tar.stdin(stream).output()?;
    ensure!(source.wait()?.success(), "dpkg-deb cannot read it");
    ensure!(
        output.status.success(),
        "tar: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The Debian mirror in the machine's own apt sources: the first whose path ends in `/debian/`.
fn machine_mirror() -> Result<String> {
    let mut command = process::command("apt-get");
    let listed = process::capture(command.args(["indextargets", "--format", "$(REPO_URI)"]))
        .context(
            "the VM's packages come from a Debian mirror, and this machine has no working apt",
        )?;
    let mirror = listed
        .lines()
        .find(|line| line.trim_end_matches('/').ends_with("/debian"));
    Ok(mirror
        .context(
            "this machine's apt sources name no Debian mirror (Ubuntu?): give one with --mirror URL \
             or SLUICE_DEBIAN_MIRROR, the address of the folder that holds dists/ and pool/",
        )?
        .to_string())
}

fn config_text(dir: &Path, release: &str) -> String {
    let dir = dir.display();
    format!(
        r#"Dir::Etc "{dir}/etc";
Dir::Etc::sourcelist "{dir}/etc/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "{dir}";
Dir::State::Lists "{dir}/lists";
Dir::State::status "{dir}/dpkg/status";
Dir::Cache "{dir}/cache";
APT::Architecture "amd64";
APT::Get::List-Cleanup "false";
APT::Install-Recommends "false";
APT::Default-Release "{release}";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
"#
    )
}

fn debs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut debs: Vec<_> = std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    debs.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    debs.sort();
    Ok(debs)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
