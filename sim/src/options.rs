//! What a person can ask of `demo`, `serve` and `bench`. `cargo xtask` and the program `sluice-sim` share these
//! definitions: the first prepares what is missing, the second does the work.

use std::path::PathBuf;

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

/// How commands and data travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Transport {
    /// NVMe/TCP
    Tcp,
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
    /// A few hundred commands instead of the whole scenario
    #[arg(long)]
    pub short: bool,
    /// Write the closing table as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
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
