//! The server as docs/operator.md has it: devices given to vfio-pci, settings in `/etc/sluice`, the shipped unit under systemd.

use std::fmt::Write as _;

use super::{ADDRESS, FIRST_BLOCKS, NQN, PATIENCE, PORT};
use crate::report::{Checked, Runner};
use crate::vm::{Vm, VmError};

/// Finds the devices by number; begins most scripts. `$ssd` is the first SSD, `$spare` the second.
pub(super) const FIND: &str = "card=; ssd=; spare=
    for d in /sys/bus/pci/devices/*; do
      [ -e $d/device ] || continue
      case $(cat $d/vendor):$(cat $d/device) in
        0x1af4:0x10f5) card=${d##*/} ;;
        0x1b36:0x0010) if [ -z \"$ssd\" ]; then ssd=${d##*/}; else spare=${d##*/}; fi ;;
      esac
    done
    driver() { basename $(readlink /sys/bus/pci/devices/$1/driver); }
    bind() {
      echo vfio-pci > /sys/bus/pci/devices/$1/driver_override
      [ -e /sys/bus/pci/devices/$1/driver ] && echo $1 > /sys/bus/pci/devices/$1/driver/unbind
      echo $1 > /sys/bus/pci/drivers_probe
      [ \"$(driver $1)\" = vfio-pci ] || { echo $1 not bound; dmesg | tail; exit 1; }
    }\n";

/// Where the unit has systemd put what sluiced logs: there is no journal in the VM.
pub(super) const LOG: &str = "/run/sluiced.log";

/// From two devices that vfio-pci has to a card that serves.
pub(super) fn bring_up(server: &mut Vm, runner: &mut Runner) {
    runner.step("card and SSDs, each in an IOMMU group of its own", || {
        let said = server.sh(
            &format!(
                "{FIND}bind $spare
                 for f in $card $ssd $spare; do
                   [ \"$(driver $f)\" = vfio-pci ] || {{ echo $f is with $(driver $f); exit 1; }}
                   group=$(readlink -f /sys/bus/pci/devices/$f/iommu_group) || exit 1
                   [ $(ls $group/devices | wc -l) = 1 ] || {{ echo group of $f holds; ls $group/devices; exit 1; }}
                 done
                 echo card $card, SSDs $ssd and $spare"
            ),
            PATIENCE,
        )?;
        Ok::<_, VmError>(Checked::note(said.trim()))
    });
    runner.step("another VFIO library finds the card in order", || {
        let said = server.sh(&format!("{FIND}second-opinion $card"), PATIENCE)?;
        let want = "10f51af4, BAR0 of 64 KiB with 1 capabilities, BAR2 of 16384 KiB with 0 capabilities, 32 vectors";
        if !said.starts_with(want) {
            return Err(VmError::Unexpected { want: want.into(), got: said });
        }
        Ok(Checked::note(said.trim()))
    });
    runner.step("the shipped unit is good in systemd's eyes", || {
        let said = server.sh(
            &format!(
                "{FIND}cat > /etc/sluice/sluiced.toml <<END
card = \"$card\"
initial = \"/etc/sluice/sluice.toml\"
log_level = \"INFO\"
END
                 cat > /etc/sluice/sluice.toml <<END
{config}
END
                 mkdir -p /run/systemd/system/sluiced.service.d
                 printf '[Service]\\nStandardError=append:{LOG}\\n' > /run/systemd/system/sluiced.service.d/log.conf
                 systemctl daemon-reload || exit 1
                 said=$(systemd-analyze verify --man=no sluiced.service 2>&1) || {{ echo \"$said\"; exit 1; }}
                 [ -z \"$said\" ] || {{ echo \"$said\"; exit 1; }}
                 systemctl --version | head -1",
                config = config(),
            ),
            PATIENCE,
        )?;
        Ok::<_, VmError>(Checked::note(said.trim()))
    });
    runner.step(
        "systemctl start: sluiced brings both up through /dev/vfio",
        || start(server),
    );
}

/// Starts the service; card and SSD must serve then.
pub(super) fn start(server: &mut Vm) -> Result<Checked, VmError> {
    let said = server.sh(
        &format!(
            "timeout 200 systemctl start sluiced || {{ systemctl status --no-pager sluiced; cat {LOG}; dmesg | tail -5; exit 1; }}
             sluicectl bdev_get_bdevs --json | grep -q '\"ssd0n1\"' || {{ sluicectl bdev_get_bdevs; exit 1; }}
             sluicectl status --json"
        ),
        PATIENCE,
    )?;
    serving(&said).ok_or(VmError::Unexpected {
        want: "a card and an SSD that serve".into(),
        got: said,
    })
}

/// What `sluicectl status --json` says of a daemon whose card and first SSD are well.
pub(super) fn serving(status: &str) -> Option<Checked> {
    let status: serde_json::Value = serde_json::from_str(status).ok()?;
    let status = &status["status"];
    let firmware = status["card"]["firmware"].as_str()?;
    let ssd = &status["ssds"][0];
    let well = status["card"]["failed"].is_null() && ssd["state"] == "serving";
    let name = ssd["address"].as_str().filter(|_| well)?;
    Some(Checked::note(format!("firmware {firmware}, SSD {name}")))
}

/// What sluiced serves: the first SSD in two parts.
fn config() -> String {
    let mut text = format!(
        "[[ports]]
name = \"eth0\"
mac = \"02:53:4c:55:43:01\"
ipv4 = \"{ADDRESS}/24\"
io_port = {PORT}
discovery_port = 8009
rdma_port = {PORT}

[[ssds]]
name = \"ssd0\"
pci = \"$ssd\"

[[subsystems]]
nqn = \"{NQN}\"
serial = \"SLUICE0001\"
allow_any_host = true
listeners = [\"eth0\"]
"
    );
    for (nsid, part) in [(1, "blocks"), (2, "first_block")] {
        let _ = write!(
            text,
            "
[[subsystems.namespaces]]
nsid = {nsid}
ssd = \"ssd0\"
{part} = {FIRST_BLOCKS}
"
        );
    }
    text
}
