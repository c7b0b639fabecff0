//! A host at work: it writes and verifies for as long as it is not told to end, while others do something to the target.

use super::{Host, VmError};
use crate::report::Checked;

/// KiB that one round writes, and MiB between those that do so at the same time; the first are left to other steps.
const ROUND_KIB: u64 = 256;
const APART_MIB: u64 = 32;

impl Host<'_> {
    /// Begins to write and verify on the last namespace over every connection, each in a part of its own, round after round.
    pub fn begin_work(&mut self) -> Result<Checked, VmError> {
        let devices: Vec<_> = (self.attached.iter())
            .filter_map(|one| one.devices.last().map(|device| format!("/dev/{device}")))
            .collect();
        self.sh(&format!(
            "rm -f /tmp/end /tmp/work.*
             n=0
             for device in {devices}; do
               n=$((n + 1))
               {{ round=0
                 while [ ! -e /tmp/end ]; do
                   fio --name=work --filename=$device --offset=$((n * {APART_MIB}))m --size={ROUND_KIB}k --rw=randwrite --bs=4k \
                     --ioengine=libaio --direct=1 --iodepth=8 --randseed=$round --verify=crc32c --do_verify=1 --verify_fatal=1 \
                     > /tmp/work.out.$n 2>&1 || {{ echo failed in round $round > /tmp/work.rc.$n; exit; }}
                   round=$((round + 1)); echo $round > /tmp/work.rounds.$n
                 done
                 echo 0 > /tmp/work.rc.$n; }} > /dev/null 2>&1 &
             done
             for i in $(seq $n); do
               for wait in $(seq 600); do [ -s /tmp/work.rounds.$i ] && break; sleep 0.1; done
               [ -s /tmp/work.rounds.$i ] || {{ cat /tmp/work.out.$i; exit 1; }}
             done",
            devices = devices.join(" "),
        ))?;
        Ok(Checked::note(format!("over {} connections", devices.len())))
    }

    /// How many rounds are done, over all connections together.
    pub fn rounds(&mut self) -> Result<u64, VmError> {
        let said = self.sh("cat /tmp/work.rounds.*")?;
        Ok(said.lines().filter_map(|n| n.parse::<u64>().ok()).sum())
    }

    /// Waits until every connection has done another two rounds: one may be under way now.
    pub fn keeps_working(&mut self) -> Result<(), VmError> {
        self.sh(
            "for f in /tmp/work.rounds.*; do
               want=$(($(cat $f) + 2))
               for wait in $(seq 1200); do [ $(cat $f) -ge $want ] && break; sleep 0.1; done
               [ $(cat $f) -ge $want ] || { echo $f stays at $(cat $f); cat /tmp/work.out.* /tmp/work.rc.*; exit 1; }
             done",
        )?;
        Ok(())
    }

    /// Ends it; all that was written must have been verified.
    pub fn end_work(&mut self) -> Result<Checked, VmError> {
        self.sh(
            "touch /tmp/end
             for f in /tmp/work.rounds.*; do
               n=${f##*.}
               for wait in $(seq 1200); do [ -s /tmp/work.rc.$n ] && break; sleep 0.1; done
               [ \"$(cat /tmp/work.rc.$n)\" = 0 ] || { cat /tmp/work.rc.$n /tmp/work.out.$n; exit 1; }
             done",
        )?;
        self.count_ios()?;
        Ok(Checked::bytes(self.rounds()? * ROUND_KIB << 10))
    }
}
