//! What `sluiced` says on a real kernel when it cannot have a device: each text names what is wrong and what to do, and where
//! it has commands they are carried out as they stand.

use super::PATIENCE;
use super::install::FIND;
use crate::report::{Checked, Runner};
use crate::vm::{Vm, VmError};

/// `refused WHOM ADDRESS [LIMIT]`: sluiced as this user, with the card at this address and so many KiB of locked memory.
/// It must not start, and what it says is printed.
const REFUSED: &str = "refused() {
      mkdir -p /run/refused; chmod 777 /run/refused; rm -rf /run/refused/*
      printf 'card = \"%s\"\\nstate = \"/run/refused/state.json\"\\nsocket = \"/run/refused/s\"\\nmetrics = \"\"\\n' $2 > /run/refused.toml
      chmod 644 /run/refused.toml
      su -s /usr/bin/bash $1 -c \"ulimit -l ${3:-unlimited}; exec timeout 100 sluiced --settings /run/refused.toml\" > /run/refusal 2>&1
      code=$?
      [ $code = 1 ] || { echo exit code 1 wanted, $code came; cat /run/refusal; exit 1; }
      cat /run/refusal
    }\n";

/// One thing that is wrong.
struct Wrong {
    step: &'static str,
    /// Makes it so, and runs `refused`.
    script: &'static str,
    /// All of it must be said.
    want: &'static [&'static str],
}

/// In order: the first two end with devices that vfio-pci has.
const ON_A_SERVER: &[Wrong] = &[
    Wrong {
        step: "an SSD that Linux's nvme driver has is refused; what is to be done is said, and done",
        script: "modprobe nvme; for i in $(seq 300); do [ -e /sys/bus/pci/devices/$ssd/driver ] && break; sleep 0.1; done
                 refused root $ssd
                 sed -n 's/^      //p' /run/refusal > /run/todo
                 bash -e /run/todo || { echo; echo that does not work; cat /run/todo; exit 1; }
                 [ $(driver $ssd) = vfio-pci ]",
        want: &["is with driver nvme, vfio-pci wanted", "driver_override"],
    },
    Wrong {
        step: "a card without a driver, the same",
        script: "refused root $card
                 sed -n 's/^      //p' /run/refusal > /run/todo
                 bash -e /run/todo || { echo; echo that does not work; cat /run/todo; exit 1; }
                 [ $(driver $card) = vfio-pci ]",
        want: &["has no driver, vfio-pci wanted", "driver_override"],
    },
    // modprobe of busybox leaves out what vfio-pci only suggests; so may a system that somebody has trimmed.
    Wrong {
        step: "VFIO without what it needs for this IOMMU, the same",
        script: "refused root $card
                 command=$(sed -n 's/.*load it with `\\([a-z0-9_ ]*\\)`.*/\\1/p' /run/refusal)
                 $command || { echo; echo \"that does not work: $command\"; exit 1; }",
        want: &["/dev/vfio/vfio has no driver for this machine's IOMMU", "modprobe vfio_iommu_type1"],
    },
    Wrong {
        step: "a card whose group another process has",
        script: "group=$(basename $(readlink /sys/bus/pci/devices/$card/iommu_group))
                 exec 8<>/dev/vfio/$group
                 refused root $card",
        want: &["is in use: another process has", "fuser -v /dev/vfio/"],
    },
    Wrong {
        step: "a user who may not open /dev/vfio",
        script: "refused nobody $card",
        want: &[
            "/dev/vfio/",
            "permission denied; install the udev rule",
            "run as a member of that group",
        ],
    },
    Wrong {
        step: "too little locked memory",
        script: "chmod 666 /dev/vfio/*; refused nobody $card 64; chmod 600 /dev/vfio/[0-9]*",
        want: &[
            "the limit of locked memory (`ulimit -l`, now 64 KiB) is reached",
            "LimitMEMLOCK=infinity",
        ],
    },
];

const NO_IOMMU: Wrong = Wrong {
    step: "a machine whose IOMMU is off",
    script: "[ -z \"$(ls /sys/kernel/iommu_groups)\" ] || exit 1
             refused root $ssd",
    want: &[
        "is in no IOMMU group: switch the IOMMU on",
        "intel_iommu=on",
    ],
};

/// On the server, before anything is set up. Card and first SSD are with vfio-pci after it.
pub(super) fn on_a_server(server: &mut Vm, runner: &mut Runner) {
    for wrong in ON_A_SERVER {
        runner.step(&format!("refused: {}", wrong.step), || {
            refused(server, wrong)
        });
    }
}

/// On a machine without an IOMMU, which has an SSD.
pub(super) fn without_iommu(machine: &mut Vm, runner: &mut Runner) {
    runner.step(&format!("refused: {}", NO_IOMMU.step), || {
        refused(machine, &NO_IOMMU)
    });
}

fn refused(vm: &mut Vm, wrong: &Wrong) -> Result<Checked, VmError> {
    let said = vm.sh(&format!("{FIND}{REFUSED}{}", wrong.script), PATIENCE)?;
    match wrong.want.iter().find(|want| !said.contains(**want)) {
        Some(want) => Err(VmError::Unexpected {
            want: format!("{want:?} among what sluiced says"),
            got: said,
        }),
        None => {
            let first = said.lines().find(|line| line.contains(wrong.want[0]));
            let text = first.unwrap_or_default().chars().take(100);
            Ok(Checked::note(text.collect::<String>()))
        }
    }
}
