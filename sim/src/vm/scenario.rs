//! The order of steps that a Linux host goes through: all of them, or a short version for the Verilated card in CI.

use std::sync::Arc;
use std::time::Duration;

use super::steps::{Connection, Host, Target};
use super::{Vm, VmConfig, VmError};
use crate::initiator::Transport;
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
    /// One after the other; with two, each also reads what was written over the other.
    pub transports: Vec<Transport>,
    /// How much.
    pub extent: Extent,
    /// How long one step may take.
    pub patience: Duration,
    /// The link loses frames.
    pub lossy: bool,
}

/// Boots the VM as a step of the run.
pub fn boot(config: &VmConfig, runner: &mut Runner) -> Option<Vm> {
    runner.file(
        "console",
        config.run_dir.join(format!("{}.console", config.name)),
    );
    let step = match config.name.as_str() {
        "host" | "guest" => "boot the Linux VM".into(),
        other => format!("boot the Linux VM ({other})"),
    };
    runner.step_value(&step, || {
        let mut vm = Vm::boot(config)?;
        let version = vm.sh("uname -r", config.boot_timeout)?;
        Ok::<_, VmError>((vm, Checked::note(format!("Linux {}", version.trim()))))
    })
}

/// Runs the scenario on a booted VM; the outcome is in `runner`.
pub fn run(vm: &mut Vm, plan: &Plan, meter: &Arc<Meter>, runner: &mut Runner) {
    let mut host = Host::new(vm, plan.target.clone(), plan.patience, meter.clone());
    if plan.lossy && plan.transports.contains(&Transport::Rdma) {
        host.forgive();
    }
    if plan.transports.contains(&Transport::Rdma) {
        runner.step("set up RoCE in software (rxe)", || host.set_up_roce());
    }
    for transport in &plan.transports {
        runner.step(&format!("discover over {transport}"), || {
            host.discover(*transport, &plan.transports)
        });
    }
    let mut before = None;
    for transport in &plan.transports {
        if let Some(before) = before {
            read_over_the_other(&mut host, runner, before, *transport);
        }
        match plan.extent {
            Extent::Full => full(&mut host, runner, *transport),
            Extent::Short => short(&mut host, runner, *transport),
        }
        before = Some(*transport);
    }
    if let [first, .., last] = plan.transports[..] {
        read_over_the_other(&mut host, runner, last, first);
        both_at_once(&mut host, runner, first, last);
    }
    runner.step("the host's kernel log is quiet", || {
        host.kernel_is_content()
    });
}

fn full(host: &mut Host<'_>, runner: &mut Runner, over: Transport) {
    connect(host, runner, Connection::plain(over, 1));
    runner.step("identify controller and namespaces", || host.identify());
    exchange_and_disconnect(host, runner);
    if over == Transport::Tcp {
        connect(host, runner, Connection::protected(over, 1));
        exchange_and_disconnect(host, runner);
        connect(host, runner, Connection::protected(over, 4));
        runner.step("fio randrw with crc32c verification, digests", || {
            host.fio(4)
        });
        runner.step("disconnect", || host.disconnect());
    }
    connect(host, runner, Connection::plain(over, 4));
    runner.step("mkfs.ext4", || host.mkfs(64));
    runner.step("mount and copy a directory tree", || {
        host.copy_tree("/usr/lib/modules")
    });
    runner.step("remount and compare SHA-256", || host.compare_tree());
    runner.step("fio randrw with crc32c verification", || host.fio(8));
    runner.step("discard", || host.discard());
    runner.step("disconnect", || host.disconnect());
    let how = Connection::protected(over, 2);
    runner.step(&format!("reconnect: {how}"), || host.connect(how));
    runner.step("data still there", || host.compare_tree());
    runner.step("disconnect", || host.disconnect());
}

fn short(host: &mut Host<'_>, runner: &mut Runner, over: Transport) {
    connect(host, runner, Connection::plain(over, 4));
    runner.step("identify controller and namespaces", || host.identify());
    runner.step("mkfs.ext4", || host.mkfs(16));
    runner.step("mount and copy a directory tree", || {
        host.copy_tree("/usr/lib/modules/*/kernel/drivers/nvme")
    });
    runner.step("disconnect", || host.disconnect());
    let how = Connection::protected(over, 1);
    connect(host, runner, how);
    runner.step("data still there after reconnect", || host.compare_tree());
    let digests = if how.digests { ", digests" } else { "" };
    runner.step(
        &format!("fio randrw with crc32c verification{digests}"),
        || host.fio(1),
    );
    runner.step("disconnect", || host.disconnect());
}

/// The file system that the last run over `written` left behind.
fn read_over_the_other(
    host: &mut Host<'_>,
    runner: &mut Runner,
    written: Transport,
    read: Transport,
) {
    connect(host, runner, Connection::plain(read, 2));
    runner.step(
        &format!("read over {read} what was written over {written}"),
        || host.compare_tree(),
    );
    runner.step("disconnect", || host.disconnect());
}

fn both_at_once(host: &mut Host<'_>, runner: &mut Runner, one: Transport, other: Transport) {
    runner.step("a device for each connection (multipath off)", || {
        host.separate_paths()
    });
    connect(host, runner, Connection::plain(one, 1));
    connect(host, runner, Connection::plain(other, 1));
    runner.step(
        &format!("{one} and {other} at once, each reads what the other writes"),
        || host.cross(),
    );
    runner.step("disconnect both", || host.disconnect());
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
