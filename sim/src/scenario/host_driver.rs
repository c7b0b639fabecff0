//! The whole product on a server that nobody here wrote: a Linux VM with an IOMMU, in it the card (a PCIe device by
//! vfio-user) and an NVMe SSD of QEMU's own; `sluiced` in the VM owns both through the kernel's VFIO. A second VM is the remote
//! host. Nothing in the driver knows that the card is simulated.

use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use memchr::memmem;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_boot::image::{Version, boards};
use sluice_boot::layout::FLASH_SIZE;
use sluice_boot::pack::{self, Contents, SigningKey};
use sluice_nor::{FuseBank, Nor, Timing};
use sluice_regs::MAP_VERSION;

use super::transports;
use crate::card::functional::FunctionalCard;
use crate::initiator::Transport;
use crate::options;
use crate::pcap::Writer;
use crate::port::{RecordedPort, SocketPort};
use crate::report::{Checked, Meter, Report, Runner};
use crate::vfio_user::Served;
use crate::vfio_user::card::CardFunction;
use crate::vm::scenario::{self, Extent, Plan};
use crate::vm::steps::{Connection, Host, Target, fio_verified};
use crate::vm::{Nic, Vm, VmConfig, VmError, vfio_user_device};

/// Bytes of QEMU's SSD.
const DISK: u64 = 512 << 20;
/// Blocks of 512 bytes of the first of two namespaces that hosts see.
const FIRST_BLOCKS: u64 = DISK / 2 / 512;
const NQN: &str = "nqn.2026-11.io.github.sluice:server";
const ADDRESS: &str = "10.0.0.2";
const PORT: u16 = 4420;
/// How long a single step may take: everything is emulated.
const PATIENCE: Duration = Duration::from_secs(300);
/// MiB that a host writes of one text, to look for in the server's memory.
const MARKED_MIB: u64 = 4;
/// Bytes of the server's memory looked through at once.
const CHUNK: usize = 1 << 20;

/// Finds both devices by number and class; used by every script.
const FIND: &str = "card=; ssd=
    for d in /sys/bus/pci/devices/*; do
      case $(cat $d/vendor):$(cat $d/device) in
        0x1af4:0x10f5) card=${d##*/} ;;
        0x1b36:0x0010) ssd=${d##*/} ;;
      esac
    done
    [ -n \"$card\" ] && [ -n \"$ssd\" ] || { echo no card or no SSD; cat /proc/bus/pci/devices; exit 1; }\n";

/// What to run on.
#[derive(Clone, Debug)]
pub struct HostDriver {
    /// Folder for sockets, consoles, the capture and the SSD's file.
    pub out: PathBuf,
    /// Folder with kernel and initramfs.
    pub image: PathBuf,
    /// QEMU 11 or later.
    pub qemu: PathBuf,
    /// A cpio archive with `sluiced` and `sluicectl` in `usr/bin`.
    pub tools: PathBuf,
    /// How the host's commands travel.
    pub transport: options::Transport,
    /// The short version.
    pub short: bool,
    /// Data cores of the card.
    pub cores: u32,
    /// Seed of the card and of what is written.
    pub seed: u64,
}

/// Runs all steps.
#[must_use]
pub fn run(setup: &HostDriver) -> Report {
    let meter = Arc::new(Meter::default());
    let name = setup.transport.to_string();
    let mut runner = Runner::new(
        "functional",
        "vm",
        &name,
        setup.cores,
        setup.seed,
        meter.clone(),
    );
    let card = runner.step_value("a card on a vfio-user socket", || {
        std::fs::create_dir_all(&setup.out).map_err(|e| format!("{}: {e}", setup.out.display()))?;
        serve(setup).map(|served| (served, Checked::default()))
    });
    if let Some(mut card) = card {
        runner.file("pcap", setup.out.join(PCAP));
        with_vms(setup, &mut card, &meter, &mut runner);
    }
    runner.finish()
}

const PCAP: &str = "host-driver.pcap";

fn cable(setup: &HostDriver) -> PathBuf {
    setup.out.join("host.net")
}

fn card_socket(setup: &HostDriver) -> PathBuf {
    setup.out.join("card.sock")
}

fn serve(setup: &HostDriver) -> Result<Served<CardFunction>, String> {
    let (cable, pcap) = (cable(setup), setup.out.join(PCAP));
    let (cores, seed) = (setup.cores, setup.seed);
    let cores = u8::try_from(cores).ok().filter(|c| (1..=15).contains(c));
    let cores = cores.ok_or(format!("1 to 15 data cores wanted, {} given", setup.cores))?;
    Served::start(&card_socket(setup), move || {
        let pcap = Writer::create(&pcap).map_err(|e| format!("{}: {e}", pcap.display()))?;
        let port = RecordedPort::new(SocketPort::connect(&cable), pcap);
        let whole = pack::whole_flash(&package(seed, 1)?, &[], None);
        // The chip's times are in the card's clocks, of which a second of the server's has a hundred times too few here.
        let nor = Nor::new(FLASH_SIZE as usize, Timing::INSTANT, seed).with_content(&whole);
        let fuses = FuseBank::new(boards::SIMULATED, MAP_VERSION, key(seed).public());
        let model = Box::new(FunctionalCard::new(cores, seed).with_flash(nor, fuses));
        let function = CardFunction::new(model, Some(Box::new(port)));
        function.sharing().map_err(|e| e.to_string())
    })
}

/// Who signs the card's firmware.
fn key(seed: u64) -> SigningKey {
    let mut bytes = [0x51; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    SigningKey::from_seed(bytes)
}

/// A firmware package of this version. The functional card runs the firmware it was compiled with, whatever lies in its flash.
fn package(seed: u64, version: u16) -> Result<Vec<u8>, String> {
    // Jumps to themselves.
    let image = [0x6F, 0, 0, 0].repeat(5_000);
    let contents = Contents {
        control: &image,
        data: &image,
        board: boards::SIMULATED,
        map_version: MAP_VERSION,
        version: Version {
            major: version,
            ..Version::default()
        },
        security_version: 0,
        label: "host-driver",
    };
    pack::package(&contents, &key(seed)).map_err(|e| format!("a firmware package: {e:?}"))
}

fn with_vms(
    setup: &HostDriver,
    card: &mut Served<CardFunction>,
    meter: &Arc<Meter>,
    runner: &mut Runner,
) {
    let disk = setup.out.join("disk.img");
    runner.step("a disk for QEMU's own NVMe SSD", || {
        let made = File::create(&disk).and_then(|file| file.set_len(DISK));
        made.map(|()| Checked::default())
            .map_err(|e| format!("{}: {e}", disk.display()))
    });
    let vm = |name: &str| VmConfig {
        qemu: setup.qemu.clone(),
        meter: meter.clone(),
        ..VmConfig::new(name, &setup.image, &setup.out)
    };
    let server = VmConfig {
        devices: vec![vfio_user_device(&card_socket(setup))],
        disks: vec![disk],
        iommu: true,
        files: Some(setup.tools.clone()),
        ..vm("server")
    };
    let host = VmConfig {
        cpus: scenario::CPUS,
        nic: Some(Nic {
            socket: cable(setup),
            mac: [0x52, 0x54, 0, 0, 0, 1],
            address: "10.0.0.1/24".into(),
            mtu: 1500,
        }),
        ..vm("host")
    };
    let Some(mut server) = scenario::boot(&server, runner) else {
        return;
    };
    bring_up(&mut server, runner);
    let Some(mut host) = scenario::boot(&host, runner).filter(|_| runner.ok()) else {
        return;
    };
    let plan = Plan {
        target: Target {
            address: ADDRESS.into(),
            port: PORT,
            nqn: NQN.into(),
            namespaces: 2,
            lists_all: true,
        },
        transports: transports(setup.transport).to_vec(),
        extent: if setup.short {
            Extent::Short
        } else {
            Extent::Full
        },
        patience: PATIENCE,
        lossy: false,
    };
    let before = runner.step_value("the server's counters before", || {
        Usage::take(&mut server, card).map(|usage| (usage, Checked::default()))
    });
    scenario::run(&mut host, &plan, meter, runner);
    if let Ok(clocks) = card.ask(|engine| engine.now()) {
        meter.set_clocks(clocks);
    }
    let mut markers = Markers::new(setup.seed);
    let marked = plan.transports.iter().map(|over| (*over, markers.next()));
    let marked: Vec<_> = marked.collect();
    for (over, marker) in &marked {
        write_marked(&mut host, &plan, (*over, marker), meter, runner);
    }
    if let Some(before) = before {
        runner.step("the server's processors touched no data", || {
            let after = Usage::take(&mut server, card)?;
            untouched(&before, &after)
        });
    }
    runner.step("no data of the hosts is in the server's memory", || {
        let texts = marked.iter().map(|(_, marker)| marker.clone()).collect();
        not_in_memory(&mut server, card, texts, &markers.next())
    });
    runner.step("the daemon says what happened", || observe(&mut server));
    runner.step(
        "new firmware while the host writes: it reconnects, and all it wrote is there",
        || {
            let package = package(setup.seed, 2)?;
            update(&mut server, &mut host, &package).map_err(|e| e.to_string())
        },
    );
    if let Some((_, last)) = marked.last() {
        runner.step(
            "sluiced gives the devices back; Linux's nvme driver finds the hosts' data on the SSD",
            || give_back(&mut server, last),
        );
    }
    runner.step("the server's kernel log is quiet", || quiet(&mut server));
    runner.step("the card saw no wrong access", || {
        let faults = card.ask(|engine| (engine.faults, engine.resets))?;
        match faults {
            (0, resets) => Ok(Checked::note(format!("{resets} function resets"))),
            (faults, _) => Err(format!("{faults} DMA faults")),
        }
    });
}

fn bring_up(server: &mut Vm, runner: &mut Runner) {
    runner.step("card and SSD, each in an IOMMU group of its own", || {
        let said = server.sh(
            &format!(
                "{FIND}modprobe vfio-pci && modprobe vfio_iommu_type1 || exit 1
                 for f in $card $ssd; do
                   group=$(readlink -f /sys/bus/pci/devices/$f/iommu_group) || exit 1
                   [ $(ls $group/devices | wc -l) = 1 ] || {{ echo group of $f holds; ls $group/devices; exit 1; }}
                   echo vfio-pci > /sys/bus/pci/devices/$f/driver_override
                   [ -e /sys/bus/pci/devices/$f/driver ] && echo $f > /sys/bus/pci/devices/$f/driver/unbind
                   echo $f > /sys/bus/pci/drivers_probe
                   [ $(basename $(readlink /sys/bus/pci/devices/$f/driver)) = vfio-pci ] || {{ echo $f not bound; dmesg | tail; exit 1; }}
                 done
                 echo card $card, SSD $ssd"
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
    runner.step("sluiced brings both up through /dev/vfio", || {
        let said = server.sh(
            &format!(
                "{FIND}mkdir -p /run/sluice /var/lib/sluice
                 cat > /run/sluiced.toml <<END
card = \"$card\"
state = \"/var/lib/sluice/state.json\"
initial = \"/run/sluice.toml\"
log_level = \"INFO\"
END
                 cat > /run/sluice.toml <<END
{config}
END
                 setsid sluiced --settings /run/sluiced.toml > /tmp/sluiced.log 2>&1 < /dev/null &
                 for i in $(seq 600); do
                   sluicectl status > /tmp/status 2>&1 && break
                   kill -0 $! 2>/dev/null || break
                   sleep 0.1
                 done
                 sluicectl bdev_get_bdevs --json | grep -q '\"ssd0n1\"' || {{ sluicectl bdev_get_bdevs; exit 1; }}
                 sluicectl status --json || {{ echo; cat /tmp/sluiced.log; dmesg | tail -5; exit 1; }}",
                config = config(),
            ),
            PATIENCE,
        )?;
        serving(&said).ok_or(VmError::Unexpected {
            want: "a card and an SSD that serve".into(),
            got: said,
        })
    });
}

/// What `sluicectl status --json` says of a daemon whose card and SSD are well.
fn serving(status: &str) -> Option<Checked> {
    let status: serde_json::Value = serde_json::from_str(status).ok()?;
    let status = &status["status"];
    let firmware = status["card"]["firmware"].as_str()?;
    let ssd = &status["ssds"][0];
    let well = status["card"]["failed"].is_null() && ssd["state"] == "serving";
    let name = ssd["address"].as_str().filter(|_| well)?;
    Some(Checked::note(format!("firmware {firmware}, SSD {name}")))
}

/// What sluiced serves: the SSD in two parts.
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

/// Texts that are nowhere unless they were written there.
struct Markers(ChaCha8Rng);

impl Markers {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed ^ 0x6D61_726B))
    }

    /// 63 hexadecimal digits; with the end of the line, a power of two.
    fn next(&mut self) -> String {
        (0..63)
            .map(|_| char::from_digit(self.0.next_u32() % 16, 16).unwrap_or('0'))
            .collect()
    }
}

fn write_marked(
    vm: &mut Vm,
    plan: &Plan,
    (over, marker): (Transport, &str),
    meter: &Arc<Meter>,
    runner: &mut Runner,
) {
    let mut host = Host::new(vm, plan.target.clone(), plan.patience, meter.clone());
    let how = Connection::plain(over, 1);
    runner.step(&format!("connect: {how}"), || host.connect(how));
    runner.step(
        &format!("{MARKED_MIB} MiB of one text, written and read over {over}"),
        || host.write_text(marker, MARKED_MIB),
    );
    runner.step("disconnect", || host.disconnect());
}

/// What the server's processors and memory have had to do with the hosts' I/O.
struct Usage {
    /// Processor time of sluiced, in the kernel's ticks of 10 ms.
    ticks: u64,
    /// Interrupts for sluiced.
    interrupts: u64,
    /// Bytes between the card and the server's memory, or other devices by way of the server (doorbells).
    transferred: u64,
    /// Bytes that the card has received and sent on its cable.
    wire: u64,
}

impl Usage {
    fn take(vm: &mut Vm, card: &mut Served<CardFunction>) -> Result<Self, String> {
        let said = vm.sh(
            "p=$(pidof sluiced) || { echo no sluiced; cat /tmp/sluiced.log; exit 1; }
             sed 's/.*) //' /proc/$p/stat | cut -d ' ' -f 12,13
             grep vfio /proc/interrupts | sed 's/^[^:]*: *//' | tr -s ' ' | cut -d ' ' -f 1,2 | tr '\\n' ' '",
            PATIENCE,
        );
        let said = said.map_err(|e| e.to_string())?;
        let mut lines = said.lines().map(|line| {
            let numbers = line.split_whitespace().map(|n| n.parse().unwrap_or(0));
            numbers.sum::<u64>()
        });
        let (ticks, interrupts) = (lines.next(), lines.next().unwrap_or(0));
        let ticks = ticks.ok_or("no processor time in /proc")?;
        let (transferred, wire) =
            card.ask(|engine| (engine.transferred, engine.function().passed()))?;
        Ok(Self {
            ticks,
            interrupts,
            transferred,
            wire,
        })
    }
}

/// The card moved far more for the hosts than went through the server.
fn untouched(before: &Usage, after: &Usage) -> Result<Checked, String> {
    let wire = after.wire - before.wire;
    let transferred = after.transferred - before.transferred;
    let note = format!(
        "{} KiB on the cable, {} KiB between card and server (doorbells, events); sluiced: {} ms of processor time, {} interrupts",
        wire >> 10,
        transferred >> 10,
        10 * (after.ticks - before.ticks),
        after.interrupts.saturating_sub(before.interrupts)
    );
    // A doorbell of 4 bytes and a few more per command of 4 KiB or more.
    if wire == 0 || transferred > wire / 50 {
        return Err(note);
    }
    Ok(Checked::note(note))
}

/// Looks through all memory that the server shares with the card, which is all it has. A text that the server does know is
/// found, so that not finding the others means something.
fn not_in_memory(
    vm: &mut Vm,
    card: &mut Served<CardFunction>,
    texts: Vec<String>,
    known: &str,
) -> Result<Checked, String> {
    let said = vm.sh(&format!("echo {known} > /tmp/known; sync"), PATIENCE);
    said.map_err(|e| e.to_string())?;
    let files = card.ask(|engine| engine.dma.shared())?;
    let bytes: u64 = files.iter().map(|file| file.len()).sum();
    let mut sought = texts;
    sought.push(known.into());
    let mut found = vec![0_u64; sought.len()];
    let mut chunk = vec![0; CHUNK];
    for file in &files {
        let mut at = 0;
        while at < file.len() {
            let len = (file.len() - at).min(CHUNK as u64) as usize;
            file.read(at, &mut chunk[..len])
                .map_err(|e| format!("reading the server's memory: {e}"))?;
            for (text, found) in sought.iter().zip(&mut found) {
                *found += memmem::find_iter(&chunk[..len], text.as_bytes()).count() as u64;
            }
            // What lies across two chunks is found in neither; the texts come in their thousands.
            at += len as u64;
        }
    }
    match found.split_last() {
        Some((0, _)) => Err(format!(
            "what the server wrote itself is not in the {} MiB looked through",
            bytes >> 20
        )),
        Some((_, hosts)) if hosts.iter().any(|n| *n > 0) => {
            Err(format!("found {hosts:?} times in the server's memory"))
        }
        _ => Ok(Checked::note(format!("{} MiB looked through", bytes >> 20))),
    }
}

/// Metrics and health from inside the server.
fn observe(vm: &mut Vm) -> Result<Checked, VmError> {
    let said = vm.sh(
        "exec 3<>/dev/tcp/127.0.0.1/9741 || exit 1
         printf 'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3
         timeout 20 cat <&3 > /tmp/metrics
         grep -q '^HTTP/1.1 200' /tmp/metrics || { head -3 /tmp/metrics; exit 1; }
         sluicectl health > /tmp/health || { cat /tmp/health; exit 1; }
         grep -c '^sluice_' /tmp/metrics",
        PATIENCE,
    )?;
    Ok(Checked::note(format!("{} metrics", said.trim())))
}

/// Flashes and starts firmware in the server while `fio` writes in the host, which notices an interruption and no more.
fn update(server: &mut Vm, host: &mut Vm, package: &[u8]) -> Result<Checked, VmError> {
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
             sluicectl flash /tmp/new.slfw --activate now || {{ tail -5 /tmp/sluiced.log; exit 1; }}
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

fn give_back(vm: &mut Vm, marker: &str) -> Result<Checked, VmError> {
    vm.sh(
        &format!(
            "{FIND}p=$(pidof sluiced); kill -TERM $p
             for i in $(seq 600); do kill -0 $p 2>/dev/null || break; sleep 0.1; done
             kill -0 $p 2>/dev/null && {{ echo sluiced does not end; tail /tmp/sluiced.log; exit 1; }}
             modprobe nvme
             echo > /sys/bus/pci/devices/$ssd/driver_override
             echo $ssd > /sys/bus/pci/devices/$ssd/driver/unbind
             echo $ssd > /sys/bus/pci/drivers_probe
             for i in $(seq 300); do [ -b /dev/nvme0n1 ] && break; sleep 0.1; done
             dd if=/dev/nvme0n1 bs=1M skip={skip} count={MARKED_MIB} iflag=direct status=none > /tmp/found || {{ dmesg | tail; exit 1; }}
             yes {marker} | head -c {bytes} | cmp - /tmp/found",
            skip = DISK / 2 >> 20,
            bytes = MARKED_MIB << 20,
        ),
        PATIENCE,
    )?;
    Ok(Checked::bytes(MARKED_MIB << 20))
}

/// Words in a warning of the kernel that would be about card, SSD, IOMMU or VFIO.
const OURS: [&str; 7] = ["vfio", "nvme", "DMAR", "AER", "iommu", "BUG", "WARNING"];

fn quiet(vm: &mut Vm) -> Result<Checked, VmError> {
    let log = vm.sh("dmesg -r", PATIENCE)?;
    let lines: Vec<_> = super::guest_ssd::warnings(&log)
        .filter(|line| OURS.iter().any(|of| line.contains(of)))
        .collect();
    if lines.is_empty() {
        return Ok(Checked::default());
    }
    Err(VmError::Unexpected {
        want: "a quiet kernel log".into(),
        got: lines.join("\n"),
    })
}
