//! The whole product on a server that nobody here wrote: a Linux VM with an IOMMU, in it the card (a PCIe device by
//! vfio-user) and an NVMe SSD of QEMU's own; `sluiced` in the VM owns both through the kernel's VFIO. A second VM is the remote
//! host. Nothing in the driver knows that the card is simulated.

mod firmware;
mod install;
mod refusals;
mod removal;
mod restarts;
mod usage;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
use crate::vm::steps::{Connection, Host, Target};
use crate::vm::{Nic, Vm, VmConfig, VmError, vfio_user_device};
use install::{FIND, LOG};
use usage::Usage;

/// Bytes of QEMU's SSD.
const DISK: u64 = 512 << 20;
/// Bytes of SSDs that are there to be pulled out or refused.
const SMALL_DISK: u64 = 64 << 20;
/// Blocks of 512 bytes of the first of two namespaces that hosts see.
const FIRST_BLOCKS: u64 = DISK / 2 / 512;
const NQN: &str = "nqn.2026-11.io.github.sluice:server";
const ADDRESS: &str = "10.0.0.2";
const PORT: u16 = 4420;
/// How long a single step may take: everything is emulated.
const PATIENCE: Duration = Duration::from_secs(300);
/// MiB that a host writes of one text, to look for in the server's memory.
const MARKED_MIB: u64 = 4;

/// What to run on.
#[derive(Clone, Debug)]
pub struct HostDriver {
    /// Folder for sockets, consoles, the capture and the SSD's file.
    pub out: PathBuf,
    /// Folder with kernel and initramfs.
    pub image: PathBuf,
    /// QEMU 11 or later.
    pub qemu: PathBuf,
    /// A cpio archive with `sluiced` and `sluicectl` in `usr/sbin`, the unit, and systemd.
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
    if let Some(card) = card {
        runner.file("pcap", setup.out.join(PCAP));
        with_vms(setup, card, &meter, &mut runner);
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
    mut card: Served<CardFunction>,
    meter: &Arc<Meter>,
    runner: &mut Runner,
) {
    let disk = |name: &str| setup.out.join(format!("{name}.img"));
    runner.step("disks for QEMU's own NVMe SSDs", || {
        for (name, len) in [
            ("disk", DISK),
            ("spare", SMALL_DISK),
            ("refused", SMALL_DISK),
        ] {
            let made = File::create(disk(name)).and_then(|file| file.set_len(len));
            made.map_err(|e| format!("{}: {e}", disk(name).display()))?;
        }
        Ok::<_, String>(Checked::default())
    });
    let vm = |name: &str| VmConfig {
        qemu: setup.qemu.clone(),
        meter: meter.clone(),
        ..VmConfig::new(name, &setup.image, &setup.out)
    };
    let server = VmConfig {
        devices: vec![vfio_user_device(&card_socket(setup))],
        disks: vec![disk("disk"), disk("spare")],
        iommu: true,
        files: Some(setup.tools.clone()),
        systemd: true,
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
        // For what sluiced says where there is no IOMMU.
        disks: vec![disk("refused")],
        files: Some(setup.tools.clone()),
        ..vm("host")
    };
    let Some(mut server) = scenario::boot(&server, runner) else {
        return;
    };
    refusals::on_a_server(&mut server, runner);
    install::bring_up(&mut server, runner);
    let Some(mut host) = scenario::boot(&host, runner).filter(|_| runner.ok()) else {
        return;
    };
    refusals::without_iommu(&mut host, runner);
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
        Usage::take(&mut server, &mut card).map(|usage| (usage, Checked::default()))
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
            let after = Usage::take(&mut server, &mut card)?;
            usage::untouched(&before, &after)
        });
    }
    runner.step("no data of the hosts is in the server's memory", || {
        let texts = marked.iter().map(|(_, marker)| marker.clone()).collect();
        usage::not_in_memory(&mut server, &mut card, texts, &markers.next())
    });
    runner.step("the daemon says what happened", || observe(&mut server));
    let vms = (&mut server, &mut host);
    restarts::run(vms, &mut card, &plan, setup.short, meter, runner);
    if !setup.short {
        removal::ssd((&mut server, &mut host), &plan, meter, runner);
    }
    runner.step(
        "new firmware while the host writes: it reconnects, and all it wrote is there",
        || {
            let package = package(setup.seed, 2)?;
            firmware::update(&mut server, &mut host, &package).map_err(|e| e.to_string())
        },
    );
    if let Some((_, last)) = marked.last() {
        runner.step(
            "systemctl stop gives the devices back; Linux's nvme driver finds the hosts' data on the SSD",
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
    if !setup.short {
        runner.step("systemctl start, after the stop", || {
            server.sh(&format!("{FIND}bind $ssd"), PATIENCE)?;
            install::start(&mut server)
        });
        removal::card_asked_back(&mut server, runner);
        removal::card_fails(&mut server, &mut card, runner);
    }
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

fn give_back(vm: &mut Vm, marker: &str) -> Result<Checked, VmError> {
    vm.sh(
        &format!(
            "{FIND}timeout 120 systemctl stop sluiced || {{ systemctl status --no-pager sluiced; tail -5 {LOG}; exit 1; }}
             [ -z \"$(pidof sluiced)\" ] && [ $(systemctl show -p NFileDescriptorStore --value sluiced) = 0 ] || {{ systemctl status --no-pager sluiced; exit 1; }}
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
        // Asked for: it is what the kernel has to say of a step that is to be refused.
        .filter(|line| !line.contains("RLIMIT_MEMLOCK"))
        .collect();
    if lines.is_empty() {
        return Ok(Checked::default());
    }
    Err(VmError::Unexpected {
        want: "a quiet kernel log".into(),
        got: lines.join("\n"),
    })
}
