//! What a person can ask of `demo`, `serve` and `bench`. `cargo xtask` and the program `sluice-sim` share these
//! definitions: the first prepares what is missing, the second does the work.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

/// Which card runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum CardKind {
    /// The RTL under Verilator with the RV32 firmware: exact to the clock, slow
    Rtl,
    /// The same firmware crates compiled for this machine: fast
    Functional,
}

impl CardKind {
    /// As it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtl => "rtl",
            Self::Functional => "functional",
        }
    }
}

/// Who the remote host is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum HostKind {
    /// Linux 6.12 with nvme-cli and fio in a QEMU VM
    Vm,
    /// The initiator inside the simulation: deterministic, needs no VM
    Model,
}

/// How the server's driver reaches the card and its SSDs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum HostDriverKind {
    /// The driver is linked into the simulation
    InProcess,
    /// The daemon in a VM, with the kernel's VFIO
    Vfio,
}

/// How commands and data travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Transport {
    /// NVMe/TCP
    Tcp,
    /// NVMe/RDMA over RoCEv2
    Rdma,
    /// One after the other, then what was written over one is read over the other
    Both,
}

/// As it stands in reports.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Rdma => "rdma",
            Self::Both => "both",
        })
    }
}

/// Frames that a link loses, parts per million.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Loss(pub u32);

impl Loss {
    /// With more than this no transport gets anywhere: RDMA goes back over a whole window for every lost packet.
    const MOST_PERCENT: f64 = 10.0;
}

/// In percent.
impl From<Loss> for f64 {
    fn from(loss: Loss) -> Self {
        Self::from(loss.0) / 10_000.0
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let most = Self::MOST_PERCENT;
        let percent = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
        match percent {
            Ok(percent) if (0.0..=most).contains(&percent) => {
                Ok(Self((percent * 10_000.0).round() as u32))
            }
            _ => Err(format!(
                "wanted a percentage from 0 to {most}, such as 1 or 0.5"
            )),
        }
    }
}

/// The card, for every command that runs one.
#[derive(Clone, Debug, Args)]
pub struct CardOptions {
    /// Card model
    #[arg(long, value_enum, default_value = "rtl")]
    pub card: CardKind,
    /// Data cores besides the control core
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub cores: u32,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder for captures, logs and traces
    #[arg(
        long,
        value_name = "DIR",
        env = "SLUICE_OUT",
        default_value = "target/run"
    )]
    pub out: PathBuf,
    /// Folder with the firmware's ELF files, sluice-control and sluice-data (cargo xtask makes it)
    #[arg(long, value_name = "DIR", env = "SLUICE_FIRMWARE", hide = true)]
    pub firmware: Option<PathBuf>,
}

/// The Linux VM, for commands that start one.
#[derive(Clone, Debug, Default, Args)]
pub struct VmOptions {
    /// An uncompressed kernel (vmlinux, with PVH) to boot instead of Debian's 6.12
    #[arg(
        long,
        value_name = "VMLINUX",
        requires = "modules",
        env = "SLUICE_VM_KERNEL"
    )]
    pub kernel: Option<PathBuf>,
    /// The modules of that kernel: the folder with modules.dep (such as /lib/modules/6.12.0)
    #[arg(
        long,
        value_name = "DIR",
        requires = "kernel",
        env = "SLUICE_VM_MODULES"
    )]
    pub modules: Option<PathBuf>,
    /// Debian mirror for the VM's packages; without it the one in this machine's apt sources
    #[arg(long, value_name = "URL", env = "SLUICE_DEBIAN_MIRROR")]
    pub mirror: Option<String>,
    /// The emulator
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "SLUICE_QEMU",
        default_value = "qemu-system-x86_64"
    )]
    pub qemu: PathBuf,
    /// Folder with vmlinux and initrd.cpio (cargo xtask makes it)
    #[arg(long, value_name = "DIR", env = "SLUICE_VM_IMAGE", hide = true)]
    pub image: Option<PathBuf>,
}

/// `demo`: the whole chain, step by step, with a verdict.
#[derive(Clone, Debug, Args)]
pub struct DemoOptions {
    /// The card
    #[command(flatten)]
    pub card: CardOptions,
    /// Remote host
    #[arg(long, value_enum, default_value = "vm")]
    pub host: HostKind,
    /// Transport
    #[arg(long, value_enum, default_value = "tcp")]
    pub transport: Transport,
    /// Frames that the link loses in each direction, in percent; chosen by the seed
    #[arg(long, value_name = "PERCENT", default_value = "0")]
    pub loss: Loss,
    /// A few hundred commands instead of the whole scenario
    #[arg(long)]
    pub short: bool,
    /// Write the closing table as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// How the server's driver reaches the card. With vfio: sluiced in a Linux VM of its own, through the kernel's VFIO, with an
    /// NVMe SSD of QEMU's (functional card, host vm; needs QEMU 11, which cargo xtask unpacks)
    #[arg(long, value_enum, default_value = "in-process", conflicts_with_all = ["waves", "ssd_in_guest", "loss"])]
    pub host_driver: HostDriverKind,
    /// Instead of all that: the simulated SSD in a Linux guest, with Linux's own nvme driver (no card; needs QEMU 11, which
    /// cargo xtask unpacks)
    #[arg(long)]
    pub ssd_in_guest: bool,
    /// Write an FST trace of the Verilated card (about 30 kHz)
    #[arg(long)]
    pub waves: bool,
    /// The VM
    #[command(flatten)]
    pub vm: VmOptions,
}

/// `serve`: the card stays up for any peer on a port.
#[derive(Clone, Debug, Args)]
pub struct ServeOptions {
    /// The card
    #[command(flatten)]
    pub card: CardOptions,
    /// Where the card's Ethernet port goes: tap:NAME, socket:PATH (QEMU connects), connect:PATH (QEMU listens)
    #[arg(long, value_name = "PORT")]
    pub listen: String,
    /// The card's IP address with prefix length; without it the one in the configuration
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub address: Option<String>,
    /// Configuration file (TOML): subsystems, namespaces, ports, hosts; without it one subsystem with two SSDs
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// End after this many seconds instead of on interrupt
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
}

/// `card`: the card as a PCIe device for other programs.
#[derive(Clone, Debug, Args)]
pub struct CardSocketOptions {
    /// The card
    #[command(flatten)]
    pub card: CardOptions,
    /// UNIX socket to listen on for a vfio-user client, such as QEMU's vfio-user-pci
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// Where the card's Ethernet port goes: tap:NAME, socket:PATH (QEMU connects), connect:PATH (QEMU listens); without it
    /// nowhere
    #[arg(long, value_name = "PORT")]
    pub listen: Option<String>,
}

/// `ssd`: an NVMe SSD as a PCIe device for other programs.
#[derive(Clone, Debug, Args)]
pub struct SsdSocketOptions {
    /// UNIX socket to listen on for a vfio-user client, such as QEMU's vfio-user-pci
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// Size of its namespace: bytes, or with K, M or G
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub size: Size,
    /// Size of its logical blocks in bytes
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = ["512", "4096"])]
    pub block: String,
    /// Serial number, at most 20 letters and digits
    #[arg(long, value_name = "TEXT", default_value = "SLUICESIM0001")]
    pub serial: String,
    /// Keep the data in this file instead of in memory
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// A size in bytes, a multiple of 4,096.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
            _ => (text, 0),
        };
        let bytes = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(1 << shift));
        match bytes {
            Some(bytes) if bytes > 0 && bytes % 4096 == 0 && bytes <= 1 << 44 => Ok(Self(bytes)),
            _ => Err("wanted a multiple of 4096 bytes up to 16 TiB, such as 512M or 4G".into()),
        }
    }
}

/// `bench`: clocks, IOPS and latency of the Verilated card in its own time.
#[derive(Clone, Debug, Args)]
pub struct BenchOptions {
    /// The card
    #[command(flatten)]
    pub card: CardOptions,
    /// Write the rows as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Only rows whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Print the functions of the firmware in which the first data core spent most (Verilated card)
    #[arg(long)]
    pub profile: bool,
}

#[cfg(test)]
mod tests {
    use super::{Loss, Size};

    #[test]
    fn a_size_is_whole_pages_with_or_without_a_unit() {
        let bytes = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("8k"), Ok(8192));
        assert_eq!(bytes("512M"), Ok(512 << 20));
        assert_eq!(bytes("2G"), Ok(2 << 30));
        for wrong in [
            "",
            "G",
            "0",
            "1000",
            "-1M",
            "1T",
            "99999999G",
            "18446744073709551615G",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn loss_is_a_percentage_that_a_connection_can_live_with() {
        let ppm = |text: &str| text.parse::<Loss>().map(|loss| loss.0);
        assert_eq!(ppm("0"), Ok(0));
        assert_eq!(ppm("1"), Ok(10_000));
        assert_eq!(ppm("0.5%"), Ok(5_000));
        assert_eq!(ppm("10"), Ok(100_000));
        for wrong in ["-1", "10.1", "NaN", "", "much"] {
            let said = ppm(wrong).expect_err(wrong);
            assert!(said.contains("from 0 to 10"), "{said}");
        }
    }
}
