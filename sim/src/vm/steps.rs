//! What a storage administrator does with `nvme`, `mkfs`, `fio` and `blkdiscard`, as single steps with their checks.

use std::sync::Arc;
use std::time::Duration;

use super::{Vm, VmError};
use crate::report::{Checked, Meter};

/// The target as the host sees it.
#[derive(Clone, Debug)]
pub struct Target {
    /// IP address.
    pub address: String,
    /// TCP port of the subsystem and of the discovery subsystem.
    pub port: u16,
    /// Subsystem.
    pub nqn: String,
    /// Namespaces it has, at least 1: file system on the first, raw I/O on the last.
    pub namespaces: u32,
}

/// One way to connect.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// I/O queues, at most the VM's processors.
    pub queues: u32,
    /// Header and data digests.
    pub digests: bool,
}

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.queues == 1 { "" } else { "s" };
        let digests = if self.digests {
            "both digests"
        } else {
            "no digests"
        };
        write!(f, "{} I/O queue{plural}, {digests}", self.queues)
    }
}

/// A VM with its target.
pub struct Host<'a> {
    vm: &'a mut Vm,
    target: Target,
    patience: Duration,
    meter: Arc<Meter>,
    /// Commands that the host's block statistics had counted at the last look.
    counted: u64,
    /// Name of the connected controller, such as `nvme0`.
    controller: String,
    /// Block devices in the order of their namespaces; Linux scans in parallel, so `nvme0n1` may be namespace 2.
    devices: Vec<String>,
}

impl<'a> Host<'a> {
    /// `patience` is how long a single step may take.
    pub fn new(vm: &'a mut Vm, target: Target, patience: Duration, meter: Arc<Meter>) -> Self {
        Self {
            vm,
            target,
            patience,
            meter,
            counted: 0,
            controller: String::new(),
            devices: Vec::new(),
        }
    }

    /// Loads the driver and asks for the discovery log, which must name the subsystem.
    pub fn discover(&mut self) -> Result<Checked, VmError> {
        let Target {
            address, port, nqn, ..
        } = self.target.clone();
        let said = self.sh(&format!(
            "modprobe nvme-tcp\nnvme discover -t tcp -a {address} -s {port} --keep-alive-tmo=60"
        ))?;
        let records = said
            .lines()
            .filter(|line| line.trim_start().starts_with("subnqn:"))
            .count();
        if !said
            .lines()
            .any(|line| line.split_whitespace().eq(["subnqn:", nqn.as_str()]))
        {
            return Err(VmError::Unexpected {
                want: format!("a discovery record of {nqn}"),
                got: said,
            });
        }
        Ok(Checked::note(format!("{records} records")))
    }

    /// Connects and waits for all namespaces; the number of queues must be what was asked for.
    pub fn connect(&mut self, how: Connection) -> Result<Checked, VmError> {
        let Target {
            address,
            port,
            nqn,
            namespaces,
        } = self.target.clone();
        let digests = if how.digests {
            "--hdr-digest --data-digest"
        } else {
            ""
        };
        let queues = how.queues;
        let said = self.sh(&format!(
            "nvme connect -t tcp -a {address} -s {port} -n {nqn} --nr-io-queues={queues} --keep-alive-tmo=60 {digests} || exit 1
             find_all() {{
               for c in /sys/class/nvme/nvme*; do grep -qxF {nqn} $c/subsysnqn 2>/dev/null && C=${{c##*/}}; done
               D=; for n in $(seq {namespaces}); do
                 for b in /sys/block/nvme*n*; do [ \"$(cat $b/nsid 2>/dev/null)\" = $n ] && [ -b /dev/${{b##*/}} ] && D=\"$D ${{b##*/}}\"; done
               done
               set -- $D; [ $# = {namespaces} ]
             }}
             for i in $(seq 600); do find_all && break; sleep 0.1; done
             find_all || {{ echo wanted {namespaces} namespaces, found: $D; nvme list; exit 1; }}
             echo; echo $C $(cat /sys/class/nvme/$C/queue_count) $D"
        ))?;
        self.counted = 0;
        let mut words = said
            .lines()
            .last()
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_string);
        self.controller = words.next().unwrap_or_default();
        let got = words.next().unwrap_or_default();
        self.devices = words.collect();
        // The admin queue counts too.
        if got != (queues + 1).to_string() {
            return Err(VmError::Unexpected {
                want: format!("{} queues with the admin queue", queues + 1),
                got,
            });
        }
        Ok(Checked::note(self.controller.clone()))
    }

    /// Disconnects; no device may be left.
    pub fn disconnect(&mut self) -> Result<Checked, VmError> {
        self.count_ios()?;
        let (nqn, controller) = (&self.target.nqn, &self.controller);
        let script = format!(
            "nvme disconnect -n {nqn} | tee /tmp/said; grep -q 'disconnected 1 ' /tmp/said || exit 1
             for i in $(seq 100); do ls /dev/{controller} /dev/{controller}n* >/dev/null 2>&1 || exit 0; sleep 0.1; done
             ls /dev/{controller}*; echo are still there; exit 1"
        );
        self.sh(&script)?;
        self.devices.clear();
        Ok(Checked::default())
    }

    /// Identify controller and namespaces; the controller must name the subsystem, every namespace a size.
    pub fn identify(&mut self) -> Result<Checked, VmError> {
        let controller = self.sh(&format!("nvme id-ctrl /dev/{}", self.controller))?;
        let field = |text: &str, name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name));
            line.map(|(_, value)| value.trim().to_string())
                .unwrap_or_default()
        };
        if field(&controller, "subnqn") != self.target.nqn {
            return Err(VmError::Unexpected {
                want: format!("subnqn {}", self.target.nqn),
                got: controller,
            });
        }
        for (index, device) in self.devices.clone().iter().enumerate() {
            let said = self.sh(&format!("nvme id-ns /dev/{device}"))?;
            let size =
                u64::from_str_radix(field(&said, "nsze").trim_start_matches("0x"), 16).unwrap_or(0);
            if size == 0 {
                return Err(VmError::Unexpected {
                    want: format!("a size of namespace {}", index + 1),
                    got: said,
                });
            }
        }
        Ok(Checked::note(format!(
            "{} {}",
            field(&controller, "mn"),
            field(&controller, "fr")
        )))
    }

    /// Writes random bytes over one of a few sizes and compares what is read back past all caches.
    pub fn write_and_compare(&mut self, kib: u32) -> Result<Checked, VmError> {
        let device = self.raw_device();
        self.sh(&format!(
            "set -e
             dd if=/dev/urandom of=/tmp/data bs=1K count={kib} status=none
             dd if=/tmp/data of={device} bs={kib}K seek=3 oflag=direct status=none
             dd if={device} of=/tmp/back bs={kib}K skip=3 count=1 iflag=direct status=none
             cmp /tmp/data /tmp/back"
        ))?;
        self.count_ios()?;
        Ok(Checked::bytes(u64::from(kib) << 10))
    }

    /// fio: random reads and writes of one block to 64 KiB, every block written verified by CRC32C.
    pub fn fio(&mut self, mebibytes: u32) -> Result<Checked, VmError> {
        let device = self.raw_device();
        let said = self.sh(&format!(
            "device={device}
             set -e
             block=$(cat /sys/block/${{device##*/}}/queue/logical_block_size)
             fio --name=verify --filename=$device --rw=randrw --bsrange=$block-64k --blockalign=$block --size={mebibytes}m \
             --ioengine=libaio --direct=1 --iodepth=16 --randseed=1 --verify=crc32c --do_verify=1 --verify_fatal=1 \
             --output-format=json"
        ))?;
        self.count_ios()?;
        fio_verified(&said)
    }

    /// Makes a file system on the first namespace.
    pub fn mkfs(&mut self, mebibytes: u32) -> Result<Checked, VmError> {
        let device = self.file_system();
        self.sh(&format!("mkfs.ext4 -q -F {device} {mebibytes}M"))?;
        self.count_ios()?;
        Ok(Checked::default())
    }

    /// Copies a directory tree onto the file system and unmounts it.
    pub fn copy_tree(&mut self, tree: &str) -> Result<Checked, VmError> {
        let device = self.file_system();
        let said = self.sh(&format!(
            "set -e
             modprobe ext4
             mount -t ext4 {device} /mnt
             mkdir /mnt/tree
             cp -a {tree}/. /mnt/tree/
             (cd {tree} && find . -type f -exec sha256sum {{}} + | sort -k 2) > /tmp/tree.sha256
             umount /mnt
             wc -l < /tmp/tree.sha256"
        ))?;
        self.count_ios()?;
        Ok(Checked::note(format!("{} files", said.trim())))
    }

    /// Mounts again, with nothing left in the host's caches, and compares every file's SHA-256.
    pub fn compare_tree(&mut self) -> Result<Checked, VmError> {
        let device = self.file_system();
        let said = self.sh(&format!(
            "set -e
             [ -s /tmp/tree.sha256 ]
             echo 3 > /proc/sys/vm/drop_caches
             mount -t ext4 -o ro {device} /mnt
             (cd /mnt/tree && find . -type f -exec sha256sum {{}} + | sort -k 2 | cmp - /tmp/tree.sha256)
             find /mnt/tree -type f -exec cat {{}} + | wc -c
             umount /mnt
             e2fsck -fn {device} > /tmp/fsck || {{ cat /tmp/fsck; exit 1; }}"
        ))?;
        self.count_ios()?;
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

    /// Discards part of the last namespace; where it promises zeros afterwards, they must be there, and what lies beside
    /// must not change.
    pub fn discard(&mut self) -> Result<Checked, VmError> {
        let device = self.raw_device();
        let said = self.sh(&format!(
            "set -e
             dd if=/dev/urandom of=/tmp/data bs=1M count=3 status=none
             dd if=/tmp/data of={device} bs=1M count=3 oflag=direct status=none
             blkdiscard -o 1M -l 1M {device}
             dd if={device} of=/tmp/back bs=1M count=3 iflag=direct status=none
             cmp -n 1048576 /tmp/data /tmp/back
             cmp -n 1048576 /tmp/data /tmp/back 2097152 2097152
             if nvme id-ns {device} | grep -Eq 'dlfeat *: *(1|9)$'; then
               cmp -n 1048576 /tmp/back /dev/zero 1048576 0; echo zeros
             fi"
        ))?;
        self.count_ios()?;
        let zeros = said.contains("zeros");
        let note = if zeros {
            "reads as zeros afterwards"
        } else {
            "contents afterwards are not promised"
        };
        Ok(Checked {
            verified_bytes: if zeros { 3 << 20 } else { 2 << 20 },
            note: note.into(),
        })
    }

    /// Nothing in the kernel's log may speak of trouble with the fabric.
    pub fn kernel_is_content(&mut self) -> Result<Checked, VmError> {
        let log = self.vm.kernel_log()?;
        let bad = [
            "I/O error",
            "timeout",
            "digest error",
            "reconnect",
            "failed",
            "BUG",
            "WARNING",
            "protocol error",
        ];
        let lines = log
            .lines()
            .filter(|line| line.contains("nvme") || line.contains("EXT4"));
        let troubled: Vec<_> = lines
            .filter(|line| bad.iter().any(|word| line.contains(word)))
            .collect();
        match troubled.is_empty() {
            true => Ok(Checked::default()),
            false => Err(VmError::Unexpected {
                want: "a quiet kernel log".into(),
                got: troubled.join("\n"),
            }),
        }
    }

    /// The first namespace.
    fn file_system(&self) -> String {
        format!(
            "/dev/{}",
            self.devices.first().map_or("none", String::as_str)
        )
    }

    /// The last namespace.
    fn raw_device(&self) -> String {
        format!(
            "/dev/{}",
            self.devices.last().map_or("none", String::as_str)
        )
    }

    fn sh(&mut self, script: &str) -> Result<String, VmError> {
        self.vm.sh(script, self.patience)
    }

    /// Adds what the host's block devices have completed since the last look: reads, writes, discards and flushes.
    /// Linux, Documentation/block/stat.rst.
    fn count_ios(&mut self) -> Result<(), VmError> {
        let stats: Vec<_> = self
            .devices
            .iter()
            .map(|device| format!("/sys/block/{device}/stat"))
            .collect();
        let said = self.sh(&format!("cat {}", stats.join(" ")))?;
        let total = said.lines().map(|line| {
            let fields: Vec<u64> = line
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            [0, 4, 11, 15]
                .iter()
                .filter_map(|field| fields.get(*field))
                .sum::<u64>()
        });
        let total = total.sum::<u64>();
        self.meter.add_ios(total.saturating_sub(self.counted));
        self.counted = total;
        Ok(())
    }
}

/// Bytes that fio wrote, read back and found right; from its JSON output, which warnings may precede.
fn fio_verified(said: &str) -> Result<Checked, VmError> {
    let wrong = || VmError::Unexpected {
        want: "a fio report without errors".into(),
        got: said.to_string(),
    };
    let json = said.find('{').map(|at| &said[at..]).ok_or_else(wrong)?;
    let json: serde_json::Value = serde_json::from_str(json).map_err(|_| wrong())?;
    let job = &json["jobs"][0];
    let written = job["write"]["io_bytes"].as_u64().unwrap_or(0);
    if job["error"].as_u64() != Some(0) || written == 0 {
        return Err(wrong());
    }
    let (reads, writes) = (
        job["read"]["total_ios"].as_u64(),
        job["write"]["total_ios"].as_u64(),
    );
    let note = format!(
        "{} reads, {} writes",
        reads.unwrap_or(0),
        writes.unwrap_or(0)
    );
    Ok(Checked {
        verified_bytes: written,
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fio_report_without_errors_counts_as_verified() {
        let good = r#"note: both iodepth...
            {"jobs":[{"error":0,"read":{"total_ios":3},"write":{"io_bytes":4096,"total_ios":2}}]}"#;
        assert_eq!(fio_verified(good).expect("good").verified_bytes, 4096);
        for bad in [
            "",
            "fio: no such device",
            "{}",
            &good.replace("\"error\":0", "\"error\":84"),
            &good.replace("4096", "0"),
        ] {
            assert!(fio_verified(bad).is_err(), "{bad}");
        }
    }
}
