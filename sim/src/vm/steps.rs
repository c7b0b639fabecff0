//! What a storage administrator does with `nvme`, `mkfs`, `fio` and `blkdiscard`, as single steps with their checks.

mod work;

use std::sync::Arc;
use std::time::Duration;

use super::{Vm, VmError};
use crate::initiator::Transport;
use crate::report::{Checked, Meter};

/// Once is enough: the device stays. The generic CRC32 is what rxe makes its ICRC with.
const ROCE_UP: &str = "for m in crc32_generic rdma_rxe nvme-rdma; do modprobe $m 2>/dev/null; done
             rdma link show | grep -q rxe0 || rdma link add rxe0 type rxe netdev eth0 || exit 1
             for i in $(seq 100); do rdma link show | grep -q 'rxe0/1 state ACTIVE' && break; sleep 0.1; done
             rdma link show | grep -q 'rxe0/1 state ACTIVE' || { rdma link show; exit 1; }";

/// What the kernel's log must not say about the fabric.
const TROUBLE: [&str; 8] = [
    "I/O error",
    "timeout",
    "digest error",
    "reconnect",
    "failed",
    "BUG",
    "WARNING",
    "protocol error",
];
/// What it must not say even if connections break.
const SERIOUS: [&str; 7] = [
    "I/O error",
    "EXT4-fs error",
    "digest error",
    "Removing controller",
    "BUG",
    "WARNING",
    "protocol error",
];
/// Attempts of an administrator on a lossy link.
const LOSSY_TRIES: u32 = 30;

/// Lines of the kernel's log that go with a failure.
const KERNEL_LINES: usize = 12;

/// The target as the host sees it.
#[derive(Clone, Debug)]
pub struct Target {
    /// IP address.
    pub address: String,
    /// Port of the subsystem and of the discovery subsystem, the same number over every transport.
    pub port: u16,
    /// Subsystem.
    pub nqn: String,
    /// Namespaces it has, at least 1: file system on the first, raw I/O on the last.
    pub namespaces: u32,
    /// A discovery log has the subsystem once for every transport. Linux's own target lists only the port it is asked on.
    pub lists_all: bool,
}

/// One way to connect.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// How it travels.
    pub transport: Transport,
    /// I/O queues, at most the VM's processors.
    pub queues: u32,
    /// Header and data digests; only TCP has them.
    pub digests: bool,
}

impl Connection {
    /// So many I/O queues, no digests.
    pub fn plain(transport: Transport, queues: u32) -> Self {
        Self {
            transport,
            queues,
            digests: false,
        }
    }

    /// So many I/O queues, both digests where there are any.
    pub fn protected(transport: Transport, queues: u32) -> Self {
        Self {
            digests: transport == Transport::Tcp,
            ..Self::plain(transport, queues)
        }
    }
}

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.queues == 1 { "" } else { "s" };
        write!(f, "{}, {} I/O queue{plural}", self.transport, self.queues)?;
        match (self.transport, self.digests) {
            (Transport::Rdma, _) => Ok(()),
            (Transport::Tcp, true) => f.write_str(", both digests"),
            (Transport::Tcp, false) => f.write_str(", no digests"),
        }
    }
}

/// A connected controller.
#[derive(Clone, Debug, Default)]
struct Attached {
    /// Its name, such as `nvme0`.
    controller: String,
    /// Block devices in the order of their namespaces; Linux scans in parallel, so `nvme0n1` may be namespace 2.
    devices: Vec<String>,
    /// Commands that the block statistics had counted at the last look.
    counted: u64,
}

/// A VM with its target.
pub struct Host<'a> {
    vm: &'a mut Vm,
    target: Target,
    patience: Duration,
    meter: Arc<Meter>,
    /// The link loses frames, see [`Host::forgive`].
    lossy: bool,
    /// In the order of connecting; steps with one device use the first.
    attached: Vec<Attached>,
}

impl<'a> Host<'a> {
    /// `patience` is how long a single step may take.
    pub fn new(vm: &'a mut Vm, target: Target, patience: Duration, meter: Arc<Meter>) -> Self {
        Self {
            vm,
            target,
            patience,
            meter,
            lossy: false,
            attached: Vec::new(),
        }
    }

    /// The link loses frames, and so the host may lose connections: rxe of Linux 6.12, when it has to repeat a capsule, executes
    /// the memory registrations behind it a second time, fails at that and ends the queue pair; it does so against Linux's own
    /// target too. nvme-rdma connects again, and I/O goes on. Only an administrator's command that comes just then fails, and is
    /// tried again.
    pub fn forgive(&mut self) {
        self.lossy = true;
    }

    /// Makes the network card an RDMA device, in software (rxe), and waits until its port is up.
    pub fn set_up_roce(&mut self) -> Result<Checked, VmError> {
        self.sh(ROCE_UP)?;
        Ok(Checked::note("rxe0 on eth0"))
    }

    /// Loads the driver and asks for the discovery log over `transport`. It must name the subsystem over `transport`, and over
    /// all of `others` where the target lists them in one log.
    pub fn discover(
        &mut self,
        transport: Transport,
        others: &[Transport],
    ) -> Result<Checked, VmError> {
        let Target {
            address, port, nqn, ..
        } = self.target.clone();
        let name = transport.name();
        let said = self.sh(&format!(
            "modprobe nvme-{name}\nagain nvme discover -t {name} -a {address} -s {port} --keep-alive-tmo=60"
        ))?;
        let found = listed(&said, &nqn);
        let others = others.iter().filter(|_| self.target.lists_all);
        for wanted in others.chain([&transport]) {
            if !found.iter().any(|transport| transport == wanted.name()) {
                return Err(VmError::Unexpected {
                    want: format!("a discovery record of {nqn} over {wanted}"),
                    got: said,
                });
            }
        }
        Ok(Checked::note(format!("listed over {}", found.join(", "))))
    }

    /// Connects and waits for all namespaces; the number of queues must be what was asked for.
    pub fn connect(&mut self, how: Connection) -> Result<Checked, VmError> {
        let Target {
            address,
            port,
            nqn,
            namespaces,
            ..
        } = self.target.clone();
        let digests = if how.digests {
            "--hdr-digest --data-digest"
        } else {
            ""
        };
        let (queues, transport) = (how.queues, how.transport.name());
        let delay = if self.lossy {
            "--reconnect-delay=1"
        } else {
            ""
        };
        // A block device is below its controller or, with native multipath, below the subsystem.
        let said = self.sh(&format!(
            "again nvme connect -t {transport} -a {address} -s {port} -n {nqn} --nr-io-queues={queues} --keep-alive-tmo=60 \
             {delay} {digests} || exit 1
             find_all() {{
               for c in /sys/class/nvme/nvme*; do
                 grep -qxF {nqn} $c/subsysnqn 2>/dev/null && grep -qxF {transport} $c/transport && C=${{c##*/}}
               done
               D=; for n in $(seq {namespaces}); do
                 for b in /sys/block/nvme*n*; do
                   above=$(readlink -f $b/device); above=${{above##*/}}
                   [ $above = $C ] || [ -e /sys/class/nvme-subsystem/$above/$C ] || continue
                   [ \"$(cat $b/nsid 2>/dev/null)\" = $n ] && [ -b /dev/${{b##*/}} ] && D=\"$D ${{b##*/}}\"
                 done
               done
               set -- $D; [ $# = {namespaces} ]
             }}
             for i in $(seq 600); do find_all && break; sleep 0.1; done
             find_all || {{ echo wanted {namespaces} namespaces, found: $D; nvme list; exit 1; }}
             echo; echo $C $(cat /sys/class/nvme/$C/queue_count) $D"
        ))?;
        let mut words = said
            .lines()
            .last()
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_string);
        let controller = words.next().unwrap_or_default();
        let got = words.next().unwrap_or_default();
        let devices = words.collect();
        // The admin queue counts too.
        if got != (queues + 1).to_string() {
            return Err(VmError::Unexpected {
                want: format!("{} queues with the admin queue", queues + 1),
                got,
            });
        }
        self.attached.push(Attached {
            controller: controller.clone(),
            devices,
            counted: 0,
        });
        Ok(Checked::note(controller))
    }

    /// Disconnects every controller; no device may be left.
    pub fn disconnect(&mut self) -> Result<Checked, VmError> {
        self.count_ios()?;
        let (nqn, count) = (&self.target.nqn, self.attached.len());
        let left: Vec<_> = self
            .attached
            .iter()
            .map(|one| format!("/dev/{0} /dev/{0}n*", one.controller))
            .collect();
        let left = left.join(" ");
        let script = format!(
            "nvme disconnect -n {nqn} | tee /tmp/said; grep -q 'disconnected {count} ' /tmp/said || exit 1
             for i in $(seq 100); do [ -z \"$(ls -d {left} 2>/dev/null)\" ] && exit 0; sleep 0.1; done
             ls -d {left}; echo are still there; exit 1"
        );
        self.sh(&script)?;
        self.attached.clear();
        Ok(Checked::default())
    }

    /// From now on every connection has block devices of its own: Linux would make two to one subsystem a single device with
    /// two paths, and choose the path itself. Nothing may be connected.
    pub fn separate_paths(&mut self) -> Result<Checked, VmError> {
        self.sh(
            "for m in nvme_rdma nvme_tcp nvme_fabrics nvme_core; do rmmod $m || exit 1; done
             modprobe nvme-core multipath=N && modprobe nvme-tcp && modprobe nvme-rdma || exit 1
             grep -qx N /sys/module/nvme_core/parameters/multipath",
        )?;
        Ok(Checked::default())
    }

    /// With two controllers connected: what one writes past all caches the other reads, in both directions, then both write
    /// at once and each reads what the other wrote.
    pub fn cross(&mut self) -> Result<Checked, VmError> {
        let device = |at: usize| {
            let devices = self.attached.get(at).map(|one| one.devices.as_slice());
            let last = devices.and_then(<[String]>::last);
            format!("/dev/{}", last.map_or("none", String::as_str))
        };
        let (one, two) = (device(0), device(1));
        self.sh(&format!(
            "set -e
             [ {one} != {two} ]
             for kib in 4 64 1024; do
               for way in \"{one} {two}\" \"{two} {one}\"; do
                 set -- $way
                 dd if=/dev/urandom of=/tmp/data bs=1K count=$kib status=none
                 dd if=/tmp/data of=$1 bs=${{kib}}K seek=2 oflag=direct status=none
                 dd if=$2 of=/tmp/back bs=${{kib}}K skip=2 count=1 iflag=direct status=none
                 cmp /tmp/data /tmp/back
               done
             done
             for n in 1 2; do dd if=/dev/urandom of=/tmp/data$n bs=64K count=32 status=none; done
             dd if=/tmp/data1 of={one} bs=64K oflag=direct status=none & first=$!
             dd if=/tmp/data2 of={two} bs=64K seek=32 oflag=direct status=none
             wait $first
             dd if={two} of=/tmp/back1 bs=64K count=32 iflag=direct status=none & first=$!
             dd if={one} of=/tmp/back2 bs=64K skip=32 count=32 iflag=direct status=none
             wait $first
             cmp /tmp/data1 /tmp/back1
             cmp /tmp/data2 /tmp/back2"
        ))?;
        self.count_ios()?;
        let kib = 2 * (4 + 64 + 1024) + 2 * 64 * 32;
        Ok(Checked::bytes(kib << 10))
    }

    /// Identify controller and namespaces; the controller must name the subsystem, every namespace a size.
    pub fn identify(&mut self) -> Result<Checked, VmError> {
        let Attached {
            controller: name,
            devices,
            ..
        } = self.attached.first().cloned().unwrap_or_default();
        let controller = self.sh(&format!("again nvme id-ctrl /dev/{name}"))?;
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
        for (index, device) in devices.iter().enumerate() {
            let said = self.sh(&format!("again nvme id-ns /dev/{device}"))?;
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

    /// Fills the start of the last namespace with lines of `text`, and compares what is read back past all caches.
    pub fn write_text(&mut self, text: &str, mebibytes: u64) -> Result<Checked, VmError> {
        let device = self.raw_device();
        self.sh(&format!(
            "set -e
             yes {text} | head -c {bytes} > /tmp/data
             dd if=/tmp/data of={device} bs=128K oflag=direct status=none
             dd if={device} of=/tmp/back bs=128K count={count} iflag=direct status=none
             cmp /tmp/data /tmp/back",
            bytes = mebibytes << 20,
            count = mebibytes * 8,
        ))?;
        self.count_ios()?;
        Ok(Checked::bytes(mebibytes << 20))
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
             if again nvme id-ns {device} | grep -Eq 'dlfeat *: *(1|9)$'; then
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
        let bad: &[&str] = if self.lossy { &SERIOUS } else { &TROUBLE };
        let of = ["nvme", "EXT4", "rxe", "infiniband"];
        let lines = log
            .lines()
            .filter(|line| of.iter().any(|of| line.contains(of)));
        let troubled: Vec<_> = lines
            .filter(|line| bad.iter().any(|word| line.contains(word)))
            // The one path of a multipath device, such as nvme0c0n1: the device itself tries again.
            .filter(|line| !(self.lossy && line.contains("I/O error, dev nvme") && is_path(line)))
            .collect();
        if !troubled.is_empty() {
            return Err(VmError::Unexpected {
                want: "a quiet kernel log".into(),
                got: troubled.join("\n"),
            });
        }
        let again = log.matches("Successfully reconnected").count();
        Ok(match again {
            0 => Checked::default(),
            _ => Checked::note(format!("the host connected again {again} times")),
        })
    }

    /// The first namespace.
    fn file_system(&self) -> String {
        self.device(<[String]>::first)
    }

    /// The last namespace.
    fn raw_device(&self) -> String {
        self.device(<[String]>::last)
    }

    fn device(&self, pick: fn(&[String]) -> Option<&String>) -> String {
        let devices = self.attached.first().map(|one| one.devices.as_slice());
        format!(
            "/dev/{}",
            devices.and_then(pick).map_or("none", String::as_str)
        )
    }

    /// Runs a script; if it fails the error has the end of the kernel's log, which mostly says why.
    fn sh(&mut self, script: &str) -> Result<String, VmError> {
        let tries = if self.lossy { LOSSY_TRIES } else { 1 };
        let script = format!("{}{script}", again(tries));
        let mut result = self.vm.sh(&script, self.patience);
        if let Err(VmError::Script { output, .. }) = &mut result
            && let Ok(log) = self.vm.kernel_log()
        {
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(KERNEL_LINES)..];
            *output += "\nthe kernel's last words:\n";
            *output += &tail.join("\n");
        }
        result
    }

    /// Adds what the host's block devices have completed since the last look: reads, writes, discards and flushes.
    /// Linux, Documentation/block/stat.rst.
    fn count_ios(&mut self) -> Result<(), VmError> {
        for at in 0..self.attached.len() {
            let stats: Vec<_> = self.attached[at]
                .devices
                .iter()
                .map(|device| format!("/sys/block/{device}/stat"))
                .collect();
            let said = self.sh(&format!("cat {}", stats.join(" ")))?;
            let total: u64 = said.lines().map(completed).sum();
            self.meter
                .add_ios(total.saturating_sub(self.attached[at].counted));
            self.attached[at].counted = total;
        }
        Ok(())
    }
}

/// Defines `again COMMAND...`, which tries so often, a second apart.
fn again(tries: u32) -> String {
    format!(
        "again() {{ local n; for n in $(seq {tries}); do [ $n = 1 ] || sleep 1; \"$@\" && return; done; return 1; }}\n"
    )
}

/// Whether a line of the kernel's log is about one path of a multipath device.
fn is_path(line: &str) -> bool {
    let device = line.split("dev nvme").nth(1).unwrap_or_default();
    device
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .starts_with('c')
}

/// Commands in a line of block statistics.
fn completed(stat: &str) -> u64 {
    let fields: Vec<u64> = stat
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    [0, 4, 11, 15]
        .iter()
        .filter_map(|field| fields.get(*field))
        .sum()
}

/// The transports over which a discovery log has the subsystem, as `nvme discover` prints it: each record begins with its
/// transport.
fn listed(log: &str, nqn: &str) -> Vec<String> {
    let mut transport = String::new();
    let mut found = Vec::new();
    for line in log.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("trtype:"), Some(name)) => transport = name.to_string(),
            (Some("subnqn:"), Some(name)) if name == nqn => found.push(transport.clone()),
            _ => {}
        }
    }
    found
}

/// Bytes that fio wrote, read back and found right; from its JSON output, which warnings may precede.
/// What fio verified, from its report in JSON.
pub(crate) fn fio_verified(said: &str) -> Result<Checked, VmError> {
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
    fn a_discovery_log_says_over_which_transports_a_subsystem_is_there() {
        let log = "Discovery Log Number of Records 3, Generation counter 1
            =====Discovery Log Entry 0======
            trtype:  tcp
            subtype: current discovery subsystem
            subnqn:  nqn.2014-08.org.nvmexpress.discovery
            =====Discovery Log Entry 1======
            trtype:  rdma
            subnqn:  nqn.x
            rdma_cms:    rdma-cm
            =====Discovery Log Entry 2======
            trtype:  tcp
            subnqn:  nqn.xy";
        assert_eq!(listed(log, "nqn.x"), ["rdma"]);
        assert_eq!(listed(log, "nqn.xy"), ["tcp"]);
        assert!(listed(log, "nqn.z").is_empty());
    }

    #[test]
    fn a_path_is_told_from_the_device_it_leads_to() {
        assert!(is_path(
            "[ 1.2] I/O error, dev nvme0c1n2, sector 18690 op 0x0:(READ)"
        ));
        assert!(!is_path(
            "[ 1.2] I/O error, dev nvme10n2, sector 18690 op 0x0:(READ)"
        ));
    }

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
