//! The order of steps that a Linux host goes through: all of them, or a short version for the Verilated card in CI.

use std::sync::Arc;
use std::time::Duration;

use super::steps::{Connection, Host, Target};
use super::{Vm, VmConfig, VmError};
use crate::report::{Checked, Meter, Runner};

/// How much is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Everything the demo promises: about 1,500 commands.
    Full,
    /// One connection of each kind and a few hundred commands.
    Short,
}

/// Processors that [`Extent::Full`] needs: Linux makes at most one I/O queue for each.
pub const CPUS: u32 = 4;

/// What the scenario needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The card.
    pub target: Target,
    /// How much.
    pub extent: Extent,
    /// How long one step may take.
    pub patience: Duration,
}

/// Boots the VM as a step of the run.
pub fn boot(config: &VmConfig, runner: &mut Runner) -> Option<Vm> {
    runner.file(
        "console",
        config.run_dir.join(format!("{}.console", config.name)),
    );
    runner.step_value("boot the Linux VM", || {
        let mut vm = Vm::boot(config)?;
        let version = vm.sh("uname -r", config.boot_timeout)?;
        Ok::<_, VmError>((vm, Checked::note(format!("Linux {}", version.trim()))))
    })
}

/// Runs the scenario on a booted VM; the outcome is in `runner`.
pub fn run(vm: &mut Vm, plan: &Plan, meter: &Arc<Meter>, runner: &mut Runner) {
    let mut host = Host::new(vm, plan.target.clone(), plan.patience, meter.clone());
    runner.step("discover", || host.discover());
    match plan.extent {
        Extent::Full => full(&mut host, runner),
        Extent::Short => short(&mut host, runner),
    }
    runner.step("the host's kernel log is quiet", || {
        host.kernel_is_content()
    });
}

fn full(host: &mut Host<'_>, runner: &mut Runner) {
    connect(
        host,
        runner,
        Connection {
            queues: 1,
            digests: false,
        },
    );
    runner.step("identify controller and namespaces", || host.identify());
    exchange_and_disconnect(host, runner);
    connect(
        host,
        runner,
        Connection {
            queues: 1,
            digests: true,
        },
    );
    exchange_and_disconnect(host, runner);
    connect(
        host,
        runner,
        Connection {
            queues: 4,
            digests: true,
        },
    );
    runner.step("fio randrw with crc32c verification, digests", || {
        host.fio(4)
    });
    runner.step("disconnect", || host.disconnect());
    connect(
        host,
        runner,
        Connection {
            queues: 4,
            digests: false,
        },
    );
    runner.step("mkfs.ext4", || host.mkfs(64));
    runner.step("mount and copy a directory tree", || {
        host.copy_tree("/usr/lib/modules")
    });
    runner.step("remount and compare SHA-256", || host.compare_tree());
    runner.step("fio randrw with crc32c verification", || host.fio(8));
    runner.step("discard", || host.discard());
    runner.step("disconnect", || host.disconnect());
    reconnect(host, runner);
}

fn short(host: &mut Host<'_>, runner: &mut Runner) {
    connect(
        host,
        runner,
        Connection {
            queues: 2,
            digests: false,
        },
    );
    runner.step("identify controller and namespaces", || host.identify());
    runner.step("mkfs.ext4", || host.mkfs(16));
    runner.step("mount and copy a directory tree", || {
        host.copy_tree("/usr/lib/modules/*/kernel/drivers/nvme")
    });
    runner.step("disconnect", || host.disconnect());
    connect(
        host,
        runner,
        Connection {
            queues: 1,
            digests: true,
        },
    );
    runner.step("data still there after reconnect", || host.compare_tree());
    runner.step("fio randrw with crc32c verification, digests", || {
        host.fio(1)
    });
    runner.step("disconnect", || host.disconnect());
}

fn connect(host: &mut Host<'_>, runner: &mut Runner, how: Connection) {
    runner.step(&format!("connect: {how}"), || host.connect(how));
}

fn exchange_and_disconnect(host: &mut Host<'_>, runner: &mut Runner) {
    runner.step("write and compare", || {
        let mut total = 0;
        for kib in [4, 64, 1024] {
            total += host.write_and_compare(kib)?.verified_bytes;
        }
        Ok::<_, VmError>(Checked::bytes(total))
    });
    runner.step("disconnect", || host.disconnect());
}

fn reconnect(host: &mut Host<'_>, runner: &mut Runner) {
    let how = Connection {
        queues: 2,
        digests: true,
    };
    runner.step(&format!("reconnect: {how}"), || host.connect(how));
    runner.step("data still there", || host.compare_tree());
    runner.step("disconnect", || host.disconnect());
}
