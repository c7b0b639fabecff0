//! Every developer command of Sluice. `cargo xtask COMMAND --help` explains each.

mod firmware;
mod flash;
mod fuzz;
mod hardware;
mod image;
#[path = "../../sim/src/options.rs"]
mod options;
mod paths;
mod process;
mod progress;
mod setup;
mod sim;
mod test;
mod vm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use options::{
    BenchOptions, CardOptions, CardSocketOptions, DemoOptions, HostDriverKind, HostKind, Loss,
    ServeOptions, SsdSocketOptions, Transport, VmOptions,
};
use sim::Wants;

/// Developer commands of Sluice: each installs and builds what it needs first
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the other commands need (they also do it themselves)
    Setup {
        /// Make the Linux VM image too (about 200 MB to download)
        #[arg(long)]
        vm: bool,
        #[command(flatten)]
        options: VmOptions,
    },
    /// Build the firmware for the card's RV32 cores and print the sizes of its images
    Build,
    /// Make a signed firmware package, the content of a whole flash, or a key's certificate; or look at a package
    Image(image::ImageOptions),
    /// Put firmware into a card: in-band through VFIO, or through an external programmer
    Flash(flash::FlashOptions),
    /// Show the whole chain: a remote host does verified I/O through the card
    Demo(DemoOptions),
    /// Keep the card up on a TAP interface or QEMU socket, to try your own host software against it
    Serve(ServeOptions),
    /// The card as a PCIe device for other programs, over vfio-user
    Card(CardSocketOptions),
    /// An NVMe SSD as a PCIe device for other programs, over vfio-user
    Ssd(SsdSocketOptions),
    /// Run everything that must hold before a change lands
    Test {
        /// Also what takes long: the whole VM scenario on the Verilated card, more fuzzing
        #[arg(long)]
        long: bool,
        /// Only stages whose name contains this
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Measure clocks per I/O, IOPS and latency on the Verilated card
    Bench(BenchOptions),
    /// Fuzz parsers and protocol machines, guided by coverage
    Fuzz {
        /// Seconds in all, shared by the targets
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only this target
        #[arg(long)]
        target: Option<String>,
    },
    /// Estimate LUTs, flip-flops and block RAMs of each block with yosys
    Synth {
        /// Only these blocks (may be given several times)
        #[arg(long, value_name = "NAME")]
        block: Vec<String>,
        /// Write the table as JSON
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Generate register blocks, offsets and documentation from the register map
    Regs {
        /// Only check that the committed files are fresh
        #[arg(long)]
        check: bool,
        /// Write HTML documentation to this folder
        #[arg(long, value_name = "DIR")]
        html: Option<PathBuf>,
    },
    /// Formatting, clippy and the RTL lint
    Lint,
    /// Let tshark judge captures: nothing malformed, checksums and digests right
    CheckPcaps {
        /// Captures or folders of captures
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// The VM scenario against Linux's own target in a second VM, without a card
    #[command(hide = true)]
    VmSelftest {
        /// The short version
        #[arg(long)]
        short: bool,
        /// Transport
        #[arg(long, value_enum, default_value = "tcp")]
        transport: Transport,
        /// Frames that the link loses in each direction, in percent
        #[arg(long, value_name = "PERCENT", default_value = "0")]
        loss: Loss,
        /// Write the closing table as JSON
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        #[command(flatten)]
        vm: VmOptions,
    },
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup {
            vm: with_vm,
            options,
        } => {
            setup::ensure(setup::ALL)?;
            if with_vm {
                println!("VM image: {}", paths::shown(&vm::ensure(&options)?));
            }
            println!("everything is there");
        }
        Command::Build => firmware::build_and_report()?,
        Command::Image(options) => image::run(&options)?,
        Command::Flash(options) => flash::run(&options)?,
        Command::Demo(options) => {
            let guest = options.ssd_in_guest;
            let server = options.host_driver == HostDriverKind::Vfio;
            let vm = (guest || options.host == HostKind::Vm).then_some(&options.vm);
            let wants = Wants {
                card: (!guest && !server).then_some(&options.card),
                vm,
                waves: options.waves,
                vfio_user: guest || server,
                tools: server,
            };
            return sim::run(&wants, own_arguments());
        }
        Command::Serve(options) => return on_card(&options.card),
        Command::Bench(options) => return on_card(&options.card),
        Command::Card(options) => return on_card(&options.card),
        Command::Ssd(_) => return sim::run(&Wants::default(), own_arguments()),
        Command::Test { long, only } => return test::run(long, only.as_deref()),
        Command::Fuzz { seconds, target } => {
            let count = fuzz::run(&fuzz::Effort::Seconds(seconds), target.as_deref())?;
            println!("{count} targets fuzzed, no findings");
        }
        Command::Synth { block, report } => hardware::synth(&block, report)?,
        Command::Regs { check, html } => hardware::registers(check, html)?,
        Command::Lint => return test::run(false, Some("lint")),
        Command::CheckPcaps { .. } => {
            setup::ensure(&[setup::Need::Captures])?;
            return sim::run(&Wants::default(), own_arguments());
        }
        Command::VmSelftest { vm, .. } => {
            let wants = Wants {
                vm: Some(&vm),
                ..Wants::default()
            };
            return sim::run(&wants, own_arguments());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A command that needs nothing but a card.
fn on_card(card: &CardOptions) -> Result<ExitCode> {
    let wants = Wants {
        card: Some(card),
        ..Wants::default()
    };
    sim::run(&wants, own_arguments())
}

/// The command and its options as they were typed; `sluice-sim` has the same ones.
fn own_arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// The error with its causes, one a line.
fn chain(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join("\n  because: ")
}
