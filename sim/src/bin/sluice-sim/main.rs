//! The program behind `cargo xtask demo`, `serve` and `bench`. It expects everything it needs to be there already
//! (firmware image, VM image); `cargo xtask` sees to that.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sluice_sim::options::{BenchOptions, DemoOptions, HostKind, ServeOptions, VmOptions};
use sluice_sim::scenario::demo::{self, DemoConfig, VmSetup};
use sluice_sim::scenario::server::Setup;
use sluice_sim::vm::scenario::Extent;
use sluice_sim::{pcap, report, vm};

/// Runs the simulated card
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole chain from a remote host to the SSDs, with a verdict
    Demo(DemoOptions),
    /// Keep the card up on a live Ethernet port
    Serve(ServeOptions),
    /// Clocks per I/O, IOPS and latency
    Bench(BenchOptions),
    /// The VM scenario against Linux's own target in a second VM, without a card
    VmSelftest {
        /// The short version of the scenario
        #[arg(long)]
        short: bool,
        /// Folder for captures and consoles
        #[arg(
            long,
            value_name = "DIR",
            env = "SLUICE_OUT",
            default_value = "target/run"
        )]
        out: PathBuf,
        /// Write the closing table as JSON
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        #[command(flatten)]
        vm: VmOptions,
    },
    /// tshark as judge of captures: nothing malformed, all checksums and digests right
    CheckPcaps {
        /// Captures, or folders in which every *.pcap is checked
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(options) => demo(&options),
        Command::Serve(options) => serve(&options),
        Command::Bench(options) => bench(&options),
        Command::VmSelftest {
            short,
            out,
            report,
            vm,
        } => selftest(short, &out, report.as_deref(), &vm),
        Command::CheckPcaps { paths } => check_pcaps(&paths),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn demo(options: &DemoOptions) -> anyhow::Result<bool> {
    let card = &options.card;
    let mut setup = Setup::new(card.card, card.cores, card.seed);
    setup.firmware.clone_from(&card.firmware);
    setup.waves = options.waves.then(|| card.out.join("waves"));
    let demo = DemoConfig { setup, out: card.out.clone(), short: options.short };
    let outcome = match options.host {
        HostKind::Model => demo::with_model(&demo),
        HostKind::Vm => {
            let Some(image) = &options.vm.image else {
                anyhow::bail!("no VM image: start it as `cargo xtask demo`")
            };
            demo::with_vm(&demo, &VmSetup { image: image.clone(), qemu: options.vm.qemu.clone() })
        }
    };
    finish(&outcome, options.report.as_deref())
}

fn serve(_options: &ServeOptions) -> anyhow::Result<bool> {
    anyhow::bail!(
        "serve is not available yet: the scenario that joins card, SSDs and host driver is missing"
    )
}

fn bench(_options: &BenchOptions) -> anyhow::Result<bool> {
    anyhow::bail!(
        "bench is not available yet: the scenario that joins card, SSDs and host driver is missing"
    )
}

fn selftest(
    short: bool,
    out: &Path,
    report: Option<&Path>,
    options: &VmOptions,
) -> anyhow::Result<bool> {
    let Some(image) = &options.image else {
        anyhow::bail!("no VM image: start it as `cargo xtask vm-selftest`")
    };
    std::fs::create_dir_all(out)?;
    let extent = if short { Extent::Short } else { Extent::Full };
    let outcome = vm::selftest::run(image, out, &options.qemu, extent);
    finish(&outcome, report)
}

/// Prints the closing table, writes the JSON; whether the run was good.
fn finish(outcome: &report::Report, json: Option<&Path>) -> anyhow::Result<bool> {
    println!("{}", outcome.table());
    if let Some(path) = json {
        outcome.write_json(path)?;
    }
    Ok(outcome.ok)
}

fn check_pcaps(paths: &[PathBuf]) -> anyhow::Result<bool> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    files.sort();
    let mut wrong = 0;
    for file in &files {
        match pcap::check_with_tshark(file) {
            Ok(found) => println!(
                "ok {}: {} frames, {} PDUs, {} header and {} data digests right",
                file.display(),
                found.frames,
                found.pdus,
                found.good_header_digests,
                found.good_data_digests
            ),
            Err(error) => {
                wrong += 1;
                println!("FAILED {}: {error}", file.display());
            }
        }
    }
    println!("{} captures good, {wrong} bad", files.len() - wrong);
    Ok(wrong == 0)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir()
            || path
                .extension()
                .is_some_and(|extension| extension == "pcap")
        {
            collect(&path, files)?;
        }
    }
    Ok(())
}
