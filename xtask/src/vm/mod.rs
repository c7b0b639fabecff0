//! The Linux VM that plays the remote host: an uncompressed kernel and one initramfs, made from Debian packages that
//! are downloaded but never installed. Nothing foreign is run while it is built; the machine's own apt is untouched.
//!
//! The result lies in `target/vm/<hash of the recipe>/` as `vmlinux` and `initrd.cpio`.

mod apt;
mod cpio;
mod elf;
mod modules;
pub mod qemu;
mod systemd;
pub mod tools;
mod tree;
mod vmlinux;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::options::VmOptions;
use crate::{paths, progress};

/// Debian release whose packages go in, and the kernel series it has.
const RELEASE: &str = "trixie";
const KERNEL_SERIES: &str = "6.12";

/// User-land packages; apt adds what they depend on.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "bash",
    "coreutils",
    "util-linux",
    "mount",
    "iproute2",
    "e2fsprogs",
    "nvme-cli",
    "fio",
];

/// Programs that go into the image with the libraries they need; found in any `bin` or `sbin`.
const PROGRAMS: &[&str] = &[
    "bash",
    "busybox",
    "ip",
    "rdma",
    "ss",
    "nvme",
    "fio",
    "mkfs.ext4",
    "e2fsck",
    "blkdiscard",
    "lsblk",
    "mount",
    "umount",
    "sha256sum",
    "dd",
    "timeout",
    "base64",
    "od",
    "truncate",
    "losetup",
];

/// Kernel modules with everything they depend on; those that are built in or unknown to this kernel are left out.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "nvme",
    "vfio-pci",
    "vfio_iommu_type1",
    "nvme-tcp",
    "nvmet-tcp",
    "nvme-rdma",
    "nvmet-rdma",
    "rdma_rxe",
    "nvme-keyring",
    "nvme-auth",
    "null_blk",
    "loop",
    "ext4",
    "configfs",
    "crc32_generic",
    "crc32c_generic",
    "crc32-cryptoapi",
    "crc32c-cryptoapi",
    "crc32c_intel",
    "crc64_rocksoft_generic",
    "crct10dif_generic",
    "raw_diag",
    "tcp_diag",
    "inet_diag",
    "8021q",
];

const INIT: &str = include_str!("../../../sim/src/vm/guest/init");
const AGENT: &str = include_str!("../../../sim/src/vm/guest/agent");
const NVMET: &str = include_str!("../../../sim/src/vm/guest/nvmet");

/// Makes the image unless it is there, and returns its folder.
pub fn ensure(options: &VmOptions) -> Result<PathBuf> {
    let dir = paths::target("vm").join(recipe(options)?);
    if dir.join("vmlinux").is_file() && dir.join("initrd.cpio").is_file() {
        return Ok(dir);
    }
    eprintln!(
        "Linux VM image (Debian {RELEASE}, kernel {KERNEL_SERIES}; downloads about 200 MB once):"
    );
    build(options, &dir).context("the Linux VM image could not be made")?;
    Ok(dir)
}

fn build(options: &VmOptions, dir: &Path) -> Result<()> {
    let work = paths::target("vm/packages");
    let apt = apt::Private::open(&work.join("apt"), RELEASE, options.mirror.as_deref())?;
    progress::step("package lists", || apt.update())?;
    let debs = progress::step("user-land packages", || apt.download_closure(PACKAGES))?;
    let stage = work.join("stage");
    progress::step("unpack user land", || {
        apt::unpack(&debs, &stage, &["./usr/share/doc", "./usr/share/man"])
    })?;
    let (kernel, module_dir) = match (&options.kernel, &options.modules) {
        (Some(kernel), Some(modules)) => (kernel.clone(), modules.clone()),
        _ => debian_kernel(&apt, &work)?,
    };
    progress::step("assemble", || {
        std::fs::create_dir_all(dir)?;
        let image = assemble(&stage, &module_dir)?;
        write_whole(&dir.join("initrd.cpio"), &image)?;
        write_whole(&dir.join("vmlinux"), &vmlinux::uncompressed(&kernel)?)
    })
}

/// Downloads and unpacks Debian's kernel; the compressed kernel and the folder of its modules.
fn debian_kernel(apt: &apt::Private, work: &Path) -> Result<(PathBuf, PathBuf)> {
    let package = apt.kernel_package(KERNEL_SERIES)?;
    let version = package.trim_start_matches("linux-image-").to_string();
    let deb = progress::step(&format!("kernel {version}"), || apt.download(&package))?;
    let stage = work.join(format!("kernel-{version}"));
    let unused = [
        "*/drivers/gpu/*",
        "*/sound/*",
        "*/drivers/media/*",
        "*/drivers/staging/*",
        "*/net/wireless/*",
    ];
    progress::step("unpack kernel", || apt::unpack(&[deb], &stage, &unused))?;
    let modules = ["usr/lib/modules", "lib/modules"].map(|lib| stage.join(lib).join(&version));
    let modules = modules
        .into_iter()
        .find(|dir| dir.is_dir())
        .context("the kernel package holds no modules")?;
    let kernel = stage.join("boot").join(format!("vmlinuz-{version}"));
    ensure!(
        kernel.is_file(),
        "the kernel package holds no boot/vmlinuz-{version}"
    );
    Ok((kernel, modules))
}

fn assemble(stage: &Path, module_dir: &Path) -> Result<Vec<u8>> {
    let mut tree = tree::Tree::new();
    let folders = [
        "dev", "proc", "sys", "tmp", "run", "mnt", "etc", "etc/nvme", "usr", "usr/bin", "usr/sbin",
        "usr/lib", "lib64", "var", "var/run",
    ];
    folders.iter().for_each(|dir| tree.dir(dir));
    for (link, to) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib")] {
        tree.link(link, to);
    }
    for name in ["modprobe", "insmod", "rmmod", "lsmod"] {
        // Busybox reads modules.dep as text; kmod's own needs binary indices that only depmod writes.
        tree.link(&format!("usr/sbin/{name}"), "../bin/busybox");
    }
    let mut userland = elf::Userland::new(stage, &mut tree);
    for program in PROGRAMS {
        userland.program(program)?;
    }
    modules::add(module_dir, MODULES, &mut tree)?;
    tree.file("init", 0o755, INIT.as_bytes().to_vec());
    tree.file("usr/bin/agent", 0o755, AGENT.as_bytes().to_vec());
    tree.file("usr/bin/nvmet", 0o755, NVMET.as_bytes().to_vec());
    Ok(cpio::write(&tree))
}

/// Names the image by everything that goes into it except the packages' own versions.
fn recipe(options: &VmOptions) -> Result<String> {
    let mut hash = Sha256::new();
    for text in [RELEASE, KERNEL_SERIES, INIT, AGENT, NVMET, "recipe 1"]
        .iter()
        .chain(PACKAGES)
        .chain(PROGRAMS)
        .chain(MODULES)
    {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    for path in [&options.kernel, &options.modules].into_iter().flatten() {
        let meta = path
            .metadata()
            .with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(format!("{:?} {}", meta.modified()?, meta.len()));
    }
    Ok(hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Writes under another name first, so that a half-written file is never taken for a whole one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, bytes).with_context(|| format!("cannot write {}", part.display()))?;
    Ok(std::fs::rename(&part, path)?)
}
