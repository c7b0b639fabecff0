//! Devices that are pulled: an SSD while hosts work, and in the end the card itself.

use std::sync::Arc;

use serde_json::json;

use super::install::{FIND, LOG};
use super::{NQN, PATIENCE};
use crate::report::{Checked, Meter, Runner};
use crate::vfio_user::Served;
use crate::vfio_user::card::CardFunction;
use crate::vm::scenario::Plan;
use crate::vm::steps::{Connection, Host};
use crate::vm::{Vm, VmError};

/// QEMU's names of the second SSD, its disk, and its root port.
const SPARE: (&str, &str, &str) = ("ssd1", "disk1", "rp3");
/// NSID of its namespace for hosts.
const NSID: u32 = 3;
/// Hundredths of seconds; and waits until the host has, or has no more, a block device of that namespace.
const SEEN: &str = "uptime() { read -r up _ < /proc/uptime; echo ${up/./}; }
    seen() {
      for i in $(seq 600); do
        dev=; for b in /sys/block/nvme*n*; do [ \"$(cat $b/nsid 2>/dev/null)\" = $1 ] && dev=/dev/${b##*/}; done
        case $2 in yes) [ -b \"$dev\" ] && return ;; no) [ -z \"$dev\" ] && return ;; esac
        sleep 0.1
      done
      echo namespace $1: $dev, not as wanted; dmesg | tail -5; exit 1
    }\n";

/// A second SSD is given to hosts, pulled out while they work on the first, put in again, and taken away in order.
pub(super) fn ssd(
    (server, host): (&mut Vm, &mut Vm),
    plan: &Plan,
    meter: &Arc<Meter>,
    runner: &mut Runner,
) {
    let transport = plan.transports[0];
    let sh = |vm: &mut Vm, script: String| vm.sh(&format!("{FIND}{SEEN}{script}"), PATIENCE);
    let mut other = None;
    runner.step("a second SSD is given to the hosts", || {
        let mut working = Host::new(host, plan.target.clone(), plan.patience, meter.clone());
        working.connect(Connection::plain(transport, 2))?;
        working.begin_work()?;
        sh(
            server,
            format!(
                "set -e
                 echo $spare > /run/spare
                 sluicectl bdev_nvme_attach_controller -b spare -t PCIe -a $spare
                 sluicectl nvmf_subsystem_add_ns {NQN} sparen1 --nsid {NSID}"
            ),
        )?;
        let said = sh(
            host,
            format!(
                "seen {NSID} yes
                 dd if=/dev/urandom of=/tmp/spare bs=64K count=16 status=none
                 dd if=/tmp/spare of=$dev bs=64K oflag=direct status=none && echo $dev"
            ),
        )?;
        other = Some(said.trim().to_string());
        Ok::<_, VmError>(Checked::note(said.trim()))
    });
    runner.step("it is pulled out: sluiced says so, the first SSD goes on", || {
        server.monitor("device_del", json!({ "id": SPARE.0 }))?;
        let said = sh(
            server,
            format!(
                "begun=$(uptime)
                 for i in $(seq 1200); do grep -q 'ssd lost: spare' {LOG} && break; sleep 0.05; done
                 echo $((10 * ($(uptime) - begun))) ms
                 sluicectl status --json | tr -d ' \\n' | grep -q '\"state\":\"lost\"' || {{ sluicectl status; tail -5 {LOG}; exit 1; }}
                 sluicectl notify_get_notifications --json | grep -q sluice_ssd_lost || exit 1
                 sluicectl health > /run/health 2>&1 && {{ cat /run/health; exit 1; }}
                 pulled=/sys/bus/pci/devices/$(cat /run/spare)
                 for i in $(seq 600); do [ -e $pulled ] || break; sleep 0.1; done
                 [ ! -e $pulled ] || {{ echo the kernel still waits for it; dmesg | tail -5; exit 1; }}
                 grep 'spare: lost' {LOG} | tail -1"
            ),
        )?;
        sh(host, format!("seen {NSID} no"))?;
        let mut working = Host::new(host, plan.target.clone(), plan.patience, meter.clone());
        working.keeps_working()?;
        Ok::<_, VmError>(Checked::note(said.trim().replace('\n', ": ")))
    });
    runner.step("it is put in again: the hosts find their data", || {
        let (id, drive, bus) = SPARE;
        let device = json!({ "driver": "nvme", "id": id, "serial": "QEMU0001", "drive": drive, "bus": bus });
        server.monitor("device_add", device)?;
        sh(
            server,
            format!(
                "for i in $(seq 600); do [ -n \"$spare\" ] && break; sleep 0.1; {FIND} done
                 [ -n \"$spare\" ] || {{ echo no second SSD; dmesg | tail -5; exit 1; }}
                 bind $spare
                 sluicectl sluice_reopen_ssd spare || {{ tail -5 {LOG}; exit 1; }}"
            ),
        )?;
        sh(
            host,
            format!(
                "seen {NSID} yes
                 dd if=$dev of=/tmp/back bs=64K count=16 iflag=direct status=none && cmp /tmp/spare /tmp/back"
            ),
        )?;
        Ok::<_, VmError>(Checked::bytes(1 << 20))
    });
    runner.step(
        "it is taken away in order; all that was written meanwhile is there",
        || {
            sh(
                server,
                format!(
                    "set -e
                 sluicectl nvmf_subsystem_remove_ns {NQN} {NSID}
                 sluicectl bdev_nvme_detach_controller spare
                 sluicectl health > /run/health || {{ cat /run/health; exit 1; }}"
                ),
            )?;
            sh(host, format!("seen {NSID} no"))?;
            let mut working = Host::new(host, plan.target.clone(), plan.patience, meter.clone());
            working.end_work()?;
            host.sh("nvme disconnect-all > /dev/null", PATIENCE)?;
            Ok::<_, VmError>(Checked::note(other.unwrap_or_default()))
        },
    );
}

/// The kernel is told to remove the card, as it is by a slot's button: it waits until the daemon lets go. Then it is found
/// again, and serves.
pub(super) fn card_asked_back(server: &mut Vm, runner: &mut Runner) {
    runner.step("the kernel asks for the card: sluiced takes all down in order", || {
        let said = server.sh(
            &format!(
                "{FIND}timeout 100 bash -c \"echo 1 > /sys/bus/pci/devices/$card/remove\" || {{ echo it is still held; tail -5 {LOG}; exit 1; }}
                 for i in $(seq 300); do [ \"$(systemctl is-active sluiced)\" = inactive ] && break; sleep 0.1; done
                 [ \"$(systemctl is-active sluiced)\" = inactive ] && [ $(systemctl show -p NFileDescriptorStore --value sluiced) = 0 ] \
                   || {{ systemctl status --no-pager sluiced; tail -5 {LOG}; exit 1; }}
                 grep 'asks for it back' {LOG} | tail -1"
            ),
            PATIENCE,
        )?;
        Ok::<_, VmError>(Checked::note(said.trim()))
    });
    runner.step("systemctl start, when the card is there again", || {
        let again = "echo 1 > /sys/bus/pci/rescan\n";
        server.sh(&format!("{again}{FIND}bind $card"), PATIENCE)?;
        super::install::start(server)
    });
}

/// The card is gone at once, with nothing said before: its registers read as ones from now on. (QEMU 11.1 aborts if the server
/// behind its `vfio-user-pci` goes instead.) Nothing can be done with it after that.
pub(super) fn card_fails(server: &mut Vm, card: &mut Served<CardFunction>, runner: &mut Runner) {
    runner.step("the card fails: sluiced says so, and answers", || {
        card.ask(|engine| engine.pull())?;
        server
            .sh(
                &format!(
                    "{SEEN}begun=$(uptime)
                     for i in $(seq 600); do sluicectl health > /run/health 2>&1 || break; sleep 0.1; done
                     echo $((10 * ($(uptime) - begun))) ms
                     grep -q 'card: ' /run/health || {{ cat /run/health; tail -5 {LOG}; exit 1; }}
                     sluicectl status > /run/status || {{ cat /run/status; exit 1; }}
                     grep 'card: ' /run/health | head -1"
                ),
                PATIENCE,
            )
            .map(|said| Checked::note(said.trim().replace('\n', ": ")))
            .map_err(|e| e.to_string())
    });
    runner.step("systemctl stop ends it all the same, and the SSD is free", || {
        server
            .sh(
                &format!(
                    "{FIND}timeout 120 systemctl stop sluiced || {{ systemctl status --no-pager sluiced; tail -5 {LOG}; exit 1; }}
                     [ -z \"$(pidof sluiced)\" ] || exit 1
                     echo > /sys/bus/pci/devices/$ssd/driver_override
                     timeout 60 bash -c \"echo $ssd > /sys/bus/pci/devices/$ssd/driver/unbind\" || {{ echo still held; exit 1; }}
                     echo $ssd > /sys/bus/pci/drivers_probe
                     for i in $(seq 300); do [ -b /dev/nvme0n1 ] && break; sleep 0.1; done
                     dd if=/dev/nvme0n1 of=/dev/null bs=1M count=1 iflag=direct status=none"
                ),
                PATIENCE,
            )
            .map(|_| Checked::default())
    });
}
