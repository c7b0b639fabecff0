//! The SSD model in a Linux guest: QEMU's vfio-user-pci gives it to the guest, and Linux's own `nvme` driver does with it
//! what an administrator does with an SSD. No card takes part: what is tested is the model that the card is tested with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::report::{Checked, Meter, Report, Runner};
use crate::ssd::{Latency, NamespaceSpec, Ssd, SsdConfig};
use crate::vfio_user::Served;
use crate::vfio_user::engine::Engine;
use crate::vfio_user::ssd::SsdFunction;
use crate::vm::steps::fio_verified;
use crate::vm::{Vm, VmConfig, VmError, scenario, vfio_user_device};

/// Bytes of the SSD.
const SIZE: u64 = 512 << 20;
/// How long a single step may take: everything is emulated.
const PATIENCE: Duration = Duration::from_secs(300);

/// Finds the SSD; `$dev` is its folder in sysfs.
const FIND: &str = "dev=; for d in /sys/bus/pci/devices/*; do \
     [ \"$(cat $d/vendor):$(cat $d/device)\" = 0x1af4:0x10f6 ] && dev=$d; done; [ -n \"$dev\" ] || { echo no SSD; exit 1; }\n";
/// Waits for its block device.
const APPEARS: &str = "for i in $(seq 300); do [ -b /dev/nvme0n1 ] && break; sleep 0.1; done\n\
     [ -b /dev/nvme0n1 ] || { echo no block device; dmesg | tail -20; exit 1; }\n";
/// Waits until that is gone.
const DISAPPEARS: &str = "for i in $(seq 300); do [ -e /sys/class/nvme/nvme0 ] || break; sleep 0.1; done\n\
     [ ! -e /sys/class/nvme/nvme0 ] || { echo still there; exit 1; }\n";
const FIO: &str = "fio --name=verify --filename=/dev/nvme0n1 --ioengine=libaio --direct=1 --iodepth=16 --randseed=1 \
     --verify=crc32c --do_verify=1 --verify_fatal=1 --output-format=json";

/// Words in a warning of the kernel that would be about the SSD.
const OURS: [&str; 7] = ["nvme", "pci", "PCI", "AER", "DMA", "irq", "EXT4"];

/// What to run on.
#[derive(Clone, Debug)]
pub struct GuestSsd {
    /// Folder for sockets and consoles.
    pub out: PathBuf,
    /// Folder with kernel and initramfs.
    pub image: PathBuf,
    /// QEMU 11 or later.
    pub qemu: PathBuf,
}

fn serve(socket: &Path) -> Result<Served<SsdFunction>, String> {
    Served::start(socket, || {
        let config = SsdConfig {
            namespaces: vec![NamespaceSpec::memory(SIZE, 9)],
            latency: Latency::ZERO,
            ..SsdConfig::default()
        };
        let ssd = Ssd::new(config).map_err(|e| e.to_string())?;
        Ok(SsdFunction::new(ssd))
    })
}

/// What it has counted, an error if something went wrong.
fn verdict(engine: &mut Engine<SsdFunction>) -> Result<String, String> {
    let (faults, resets, fired) = (engine.faults, engine.resets, engine.irqs.fired);
    let stats = engine.function().ssd().stats();
    let said = format!(
        "{fired} interrupts, {resets} function resets, {} controller resets, {} bad register writes",
        stats.resets, stats.bad_writes
    );
    match stats.bad_doorbells + stats.bus_errors + faults {
        0 => Ok(said),
        _ => Err(format!(
            "{faults} DMA faults, {} bad doorbells; {said}",
            stats.bad_doorbells
        )),
    }
}

/// Runs all steps.
#[must_use]
pub fn run(setup: &GuestSsd) -> Report {
    let meter = Arc::new(Meter::default());
    let mut runner = Runner::new("none", "guest", "pcie", 0, 1, meter.clone());
    let socket = setup.out.join("ssd.sock");
    let served = runner.step_value("an SSD on a vfio-user socket", || {
        std::fs::create_dir_all(&setup.out).map_err(|e| format!("{}: {e}", setup.out.display()))?;
        serve(&socket).map(|served| (served, Checked::default()))
    });
    let config = VmConfig {
        qemu: setup.qemu.clone(),
        devices: vec![vfio_user_device(&socket)],
        meter: meter.clone(),
        ..VmConfig::new("guest", &setup.image, &setup.out)
    };
    if let Some(mut served) = served {
        if let Some(mut vm) = scenario::boot(&config, &mut runner) {
            steps(&mut vm, &mut runner);
        }
        runner.step("the SSD saw no wrong access", || {
            served.ask(verdict).and_then(|said| said).map(Checked::note)
        });
    }
    runner.finish()
}

fn steps(vm: &mut Vm, runner: &mut Runner) {
    let sh = |vm: &mut Vm, script: &str| vm.sh(script, PATIENCE);
    runner.step("Linux's nvme driver binds to it", || {
        let script = format!(
            "modprobe nvme || exit 1\n{APPEARS}{FIND}\
             [ $(basename $(readlink $dev/driver)) = nvme ] || {{ echo another driver; exit 1; }}\n\
             nvme id-ctrl /dev/nvme0 | grep -q 'mn *: Sluice simulated SSD' || {{ echo another model; nvme id-ctrl /dev/nvme0 | head -8; exit 1; }}\n\
             nvme smart-log /dev/nvme0 | grep -q 'critical_warning[[:space:]]*: 0' || {{ echo a warning; nvme smart-log /dev/nvme0 | head -8; exit 1; }}\n\
             [ $(blockdev --getsize64 /dev/nvme0n1) = {SIZE} ] || {{ echo another size; blockdev --getsize64 /dev/nvme0n1; exit 1; }}\n\
             echo $(ls /sys/block/nvme0n1/mq | wc -l) queues, $(ls $dev/msi_irqs | wc -l) vectors"
        );
        sh(vm, &script).map(|said| Checked::note(said.trim()))
    });
    runner.step("fio, verified", || {
        let said = sh(
            vm,
            &format!("{FIO} --rw=randrw --bsrange=512-128k --blockalign=512 --size=24m"),
        )?;
        fio_verified(&said)
    });
    runner.step("mkfs, files, compare", || files(vm));
    runner.step("discard", || {
        let said = sh(
            vm,
            "set -e; dd if=/dev/urandom of=/tmp/d bs=1M count=3 status=none; \
             dd if=/tmp/d of=/dev/nvme0n1 bs=1M seek=400 oflag=direct status=none; \
             blkdiscard -o 401M -l 1M /dev/nvme0n1; dd if=/dev/nvme0n1 of=/tmp/b bs=1M skip=400 count=3 iflag=direct status=none; \
             cmp -n 1048576 /tmp/d /tmp/b; cmp -n 1048576 /tmp/d /tmp/b 2097152 2097152; echo same beside it",
        );
        said.map(|said| Checked { verified_bytes: 2 << 20, note: said.trim().into() })
    });
    for (name, reset) in [
        ("controller reset under load", "nvme reset /dev/nvme0"),
        (
            "function level reset under load",
            "echo 1 > /sys/class/nvme/nvme0/device/reset",
        ),
    ] {
        runner.step(name, || {
            let script = format!(
                "{FIO} --rw=randwrite --bs=4k --size=16m --offset=64m > /tmp/fio & job=$!\nsleep 1\n\
                 {reset} || exit 1\nsleep 1\n{reset} || exit 1\nwait $job || exit 1\ncat /tmp/fio"
            );
            fio_verified(&sh(vm, &script)?)
        });
    }
    runner.step("a quiet kernel log", || quiet(vm));
    runner.step("removed and found again, with its data", || {
        let script = format!(
            "{FIND}dd if=/dev/urandom of=/tmp/d bs=1M count=4 status=none\n\
             dd if=/tmp/d of=/dev/nvme0n1 bs=1M seek=100 oflag=direct status=none || exit 1\n\
             echo 1 > $dev/remove\n{DISAPPEARS}[ ! -e $dev ] || exit 1\necho 1 > /sys/bus/pci/rescan\n{APPEARS}\
             dd if=/dev/nvme0n1 bs=1M skip=100 count=4 iflag=direct status=none | cmp - /tmp/d"
        );
        sh(vm, &script).map(|_| Checked::bytes(4 << 20))
    });
    runner.step("a quiet kernel log after that", || quiet(vm));
    runner.step("removed under load: errors and no hang; found again", || {
        // fio's exit code is not asked for: whether it fails depends on the moment.
        let script = format!(
            "{FIND}{FIO} --rw=randwrite --bs=4k --size=64m --offset=64m > /tmp/fio 2>&1 & job=$!\nsleep 1\n\
             echo 1 > $dev/remove\n{DISAPPEARS}for i in $(seq 600); do kill -0 $job 2>/dev/null || break; sleep 0.1; done\n\
             kill -0 $job 2>/dev/null && {{ echo fio hangs; exit 1; }}\n\
             echo 1 > /sys/bus/pci/rescan\n{APPEARS}\
             {FIO} --rw=randrw --bs=4k --size=4m --offset=64m"
        );
        fio_verified(&sh(vm, &script)?)
    });
}

/// A file system, a tree of files, and all of it compared with nothing left in the caches.
fn files(vm: &mut Vm) -> Result<Checked, VmError> {
    let said = vm.sh(
        "set -e
         modprobe ext4
         mkfs.ext4 -q -F /dev/nvme0n1 384M
         mount -t ext4 /dev/nvme0n1 /mnt
         mkdir /mnt/tree && cp -a /usr/lib/. /mnt/tree/
         (cd /usr/lib && find . -type f -exec sha256sum {} + | sort -k 2) > /tmp/sums
         umount /mnt
         echo 3 > /proc/sys/vm/drop_caches
         mount -t ext4 -o ro /dev/nvme0n1 /mnt
         (cd /mnt/tree && find . -type f -exec sha256sum {} + | sort -k 2 | cmp - /tmp/sums)
         find /mnt/tree -type f -exec cat {} + | wc -c
         umount /mnt
         e2fsck -fn /dev/nvme0n1 > /tmp/fsck || { cat /tmp/fsck; exit 1; }",
        PATIENCE,
    )?;
    let bytes = said
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    if bytes == 0 {
        return Err(VmError::Unexpected {
            want: "the number of bytes compared".into(),
            got: said,
        });
    }
    Ok(Checked::bytes(bytes))
}

/// No warning of the kernel is about the SSD.
fn quiet(vm: &mut Vm) -> Result<Checked, VmError> {
    let log = vm.sh("dmesg -r", PATIENCE)?;
    let lines: Vec<_> = warnings(&log)
        .filter(|line| OURS.iter().any(|of| line.contains(of)))
        // It was told to, by the steps before.
        .filter(|line| !line.ends_with("resetting controller"))
        .collect();
    if lines.is_empty() {
        return Ok(Checked::default());
    }
    Err(VmError::Unexpected {
        want: "a quiet kernel log".into(),
        got: lines.join("\n"),
    })
}

/// Lines of a raw kernel log that are warnings or worse.
pub(super) fn warnings(log: &str) -> impl Iterator<Item = &str> {
    // Busybox' dmesg chooses no levels, but shows them: `<4>[...`, 4 is a warning.
    let warning = |line: &&str| level(line).is_none_or(|level| level % 8 <= 4);
    log.lines().filter(warning)
}

/// The priority that a raw line of the kernel's log begins with.
fn level(line: &str) -> Option<u32> {
    line.strip_prefix('<')?.split_once('>')?.0.parse().ok()
}
