//! New firmware for the card while a host writes.

use base64::Engine as _;

use super::install::LOG;
use super::{ADDRESS, NQN, PATIENCE, PORT};
use crate::report::Checked;
use crate::vm::steps::fio_verified;
use crate::vm::{Vm, VmError};

/// Flashes and starts firmware in the server while `fio` writes in the host, which notices an interruption and no more.
pub(super) fn update(server: &mut Vm, host: &mut Vm, package: &[u8]) -> Result<Checked, VmError> {
    host.sh(
        &format!(
            "nvme connect -t tcp -a {ADDRESS} -s {PORT} -n {NQN} --nr-io-queues=2 --reconnect-delay=1 --keep-alive-tmo=30 || exit 1
             for i in $(seq 300); do
               for b in /sys/block/nvme*n*; do [ \"$(cat $b/nsid 2>/dev/null)\" = 2 ] && dev=/dev/${{b##*/}}; done
               [ -b \"$dev\" ] && break; sleep 0.1
             done
             [ -b \"$dev\" ] || exit 1
             {{ fio --name=update --filename=$dev --offset=32m --rw=randwrite --bs=4k --size=12m --rate_iops=200 --ioengine=libaio --direct=1 \
                  --iodepth=8 --randseed=1 --verify=crc32c --do_verify=1 --verify_fatal=1 --output-format=json > /tmp/update.fio 2>&1
                echo $? > /tmp/update.rc; }} &
             sleep 2"
        ),
        PATIENCE,
    )?;
    let text = base64::engine::general_purpose::STANDARD.encode(package);
    let said = server.sh(
        &format!(
            "base64 -d > /tmp/new.slfw <<END
{text}
END
             sluicectl flash /tmp/new.slfw --activate now || {{ tail -5 {LOG}; exit 1; }}
             sluicectl sluice_flash_get_state --json"
        ),
        PATIENCE,
    )?;
    // What comes first is for people.
    let state = said.find("{").map_or("", |at| &said[at..]);
    let state: serde_json::Value = serde_json::from_str(state).unwrap_or_default();
    let kept = state["running"] == "B" && state["active"] == "B" && state["on_trial"] == false;
    if !kept || state["slots"][1]["version"] != "2.0.0" {
        return Err(VmError::Unexpected {
            want: "version 2.0.0 running from slot B, confirmed".into(),
            got: said,
        });
    }
    let said = host.sh(
        "for i in $(seq 1200); do [ -s /tmp/update.rc ] && break; sleep 0.1; done
         [ \"$(cat /tmp/update.rc)\" = 0 ] || { cat /tmp/update.fio; dmesg | tail -20; exit 1; }
         dmesg | grep -q 'Successfully reconnected' || { echo the host has not reconnected; exit 1; }
         cat /tmp/update.fio
         nvme disconnect-all > /dev/null",
        PATIENCE,
    )?;
    fio_verified(said.trim_end())
}
