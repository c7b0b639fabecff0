//! The program behind `cargo xtask demo`, `serve` and `bench`. It expects everything it needs to be there already
//! (firmware, VM image); `cargo xtask` sees to that.

mod logger;
mod sockets;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use sluice_driver::config::Config;
use sluice_sim::options::{
    BenchOptions, CardKind, CardOptions, CardSocketOptions, DemoOptions, HostDriverKind, HostKind,
    Loss, ServeOptions, SsdSocketOptions, Transport, VmOptions,
};
use sluice_sim::scenario::demo::{self, DemoConfig, VmSetup};
use sluice_sim::scenario::guest_ssd::{self, GuestSsd};
use sluice_sim::scenario::host_driver::{self, HostDriver};
use sluice_sim::scenario::server::Setup;
use sluice_sim::vm::scenario::Extent;
use sluice_sim::{pcap, report, scenario, vm};

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
    /// The card as a PCIe device for other programs, over vfio-user
    Card(CardSocketOptions),
    /// An NVMe SSD as a PCIe device for other programs, over vfio-user
    Ssd(SsdSocketOptions),
    /// The VM scenario against Linux's own target in a second VM, without a card
    VmSelftest {
        /// The short version of the scenario
        #[arg(long)]
        short: bool,
        /// Transport
        #[arg(long, value_enum, default_value = "tcp")]
        transport: Transport,
        /// Frames that the link loses in each direction, in percent
        #[arg(long, value_name = "PERCENT", default_value = "0")]
        loss: Loss,
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
    let matches = Cli::command().get_matches();
    let command = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.command,
        Err(error) => error.exit(),
    };
    let result = match command {
        Command::Demo(options) => {
            let source = matches
                .subcommand()
                .and_then(|(_, m)| m.value_source("card"));
            demo(&options, source == Some(ValueSource::CommandLine))
        }
        Command::Serve(options) => serve(&options),
        Command::Bench(options) => bench(&options),
        Command::Card(options) => sockets::card(&options),
        Command::Ssd(options) => sockets::ssd(&options),
        Command::VmSelftest {
            short,
            transport,
            loss,
            out,
            report,
            vm,
        } => selftest(short, (transport, loss), &out, report.as_deref(), &vm),
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

/// `named`: somebody has chosen the card, it is not the default.
fn demo(options: &DemoOptions, named: bool) -> anyhow::Result<bool> {
    let card = &options.card;
    if options.ssd_in_guest {
        let Some(image) = &options.vm.image else {
            anyhow::bail!("no VM image: start it as `cargo xtask demo --ssd-in-guest`")
        };
        logger::start()?;
        let outcome = guest_ssd::run(&GuestSsd {
            out: card.out.clone(),
            image: image.clone(),
            qemu: options.vm.qemu.clone(),
        });
        return finish(&outcome, options.report.as_deref());
    }
    if options.host_driver == HostDriverKind::Vfio {
        return host_driver(options, named);
    }
    let mut setup = set_up(card);
    setup.waves = options.waves.then(|| card.out.join("waves"));
    let demo = DemoConfig {
        setup,
        out: card.out.clone(),
        short: options.short,
        transport: options.transport,
        loss: options.loss,
    };
    let outcome = match options.host {
        HostKind::Model => demo::with_model(&demo),
        HostKind::Vm => {
            let Some(image) = &options.vm.image else {
                anyhow::bail!("no VM image: start it as `cargo xtask demo`")
            };
            demo::with_vm(
                &demo,
                &VmSetup {
                    image: image.clone(),
                    qemu: options.vm.qemu.clone(),
                },
            )
        }
    };
    finish(&outcome, options.report.as_deref())
}

fn host_driver(options: &DemoOptions, named: bool) -> anyhow::Result<bool> {
    let card = &options.card;
    anyhow::ensure!(
        (card.card == CardKind::Functional || !named) && options.host == HostKind::Vm,
        "--host-driver vfio runs the functional card and a VM as host: leave out --card and --host"
    );
    let tools = std::env::var_os("SLUICE_TOOLS").map(PathBuf::from);
    let (Some(image), Some(tools)) = (&options.vm.image, tools) else {
        anyhow::bail!(
            "no VM image, or no sluiced to put into it: start it as `cargo xtask demo --host-driver vfio`"
        )
    };
    logger::start()?;
    let outcome = host_driver::run(&HostDriver {
        out: card.out.clone(),
        image: image.clone(),
        qemu: options.vm.qemu.clone(),
        tools,
        transport: options.transport,
        short: options.short,
        cores: card.cores,
        seed: card.seed,
    });
    finish(&outcome, options.report.as_deref())
}

fn serve(options: &ServeOptions) -> anyhow::Result<bool> {
    let mut setup = set_up(&options.card);
    if let Some(path) = &options.config {
        setup.config = Config::load(path)?;
    }
    if let Some(address) = &options.address {
        let port = setup
            .config
            .ports
            .first_mut()
            .context("the configuration has no port to give the address to")?;
        port.ipv4 = Some(ipv4(address)?);
    }
    let stop = until_interrupted()?;
    let limit = options.seconds.map(Duration::from_secs);
    scenario::serve::run(&setup, &options.listen, limit, &stop)?;
    Ok(true)
}

/// Is set when the user wants an end.
fn until_interrupted() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    Ok(stop)
}

/// An IPv4 address with prefix length.
fn ipv4(text: &str) -> anyhow::Result<([u8; 4], u8)> {
    let wanted = || format!("--address: wanted ADDRESS/PREFIX such as 10.0.0.2/24, got `{text}`");
    let (address, prefix) = text.split_once('/').with_context(wanted)?;
    let address: Ipv4Addr = address.parse().with_context(wanted)?;
    let prefix = prefix
        .parse()
        .ok()
        .filter(|p| (1..=32).contains(p))
        .with_context(wanted)?;
    Ok((address.octets(), prefix))
}

/// Functions shown by `bench --profile`.
const PROFILE_LINES: usize = 50;

fn bench(options: &BenchOptions) -> anyhow::Result<bool> {
    let setup = set_up(&options.card);
    let only = options.only.as_deref().unwrap_or_default();
    println!(
        "{:28} {:>9} {:>7} {:>9} {:>9} {:>8} {:>8} {:>6}",
        "", "IOPS", "Gb/s", "busy/IO", "total/IO", "p50 us", "p99 us", "kHz"
    );
    let report = scenario::bench::run(&setup, only, options.profile, |row| {
        println!(
            "{:28} {:>9.0} {:>7.2} {:>9.0} {:>9.0} {:>8.2} {:>8.2} {:>6.0}",
            row.name,
            row.iops,
            row.gbps,
            row.clocks_per_io,
            row.elapsed_clocks_per_io,
            row.p50_us,
            row.p99_us,
            row.khz
        );
        let phases: Vec<_> = row
            .phases
            .iter()
            .map(|(name, clocks)| format!("{name} {clocks:.0}"))
            .collect();
        println!(
            "    {}; {} payload accesses, {:.0} header loads/IO, {} frames lost",
            phases.join(", "),
            row.payload_accesses,
            row.frame_loads_per_io,
            row.lost_frames
        );
        for (function, clocks) in row.profile.iter().take(PROFILE_LINES) {
            println!("    {clocks:>8.1}  {function}");
        }
    })?;
    if let Some(path) = &options.report {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(!report.rows.is_empty())
}

fn set_up(card: &CardOptions) -> Setup {
    let mut setup = Setup::new(card.card, card.cores, card.seed);
    setup.firmware.clone_from(&card.firmware);
    setup
}

fn selftest(
    short: bool,
    (transport, loss): (Transport, Loss),
    out: &Path,
    report: Option<&Path>,
    options: &VmOptions,
) -> anyhow::Result<bool> {
    let Some(image) = &options.image else {
        anyhow::bail!("no VM image: start it as `cargo xtask vm-selftest`")
    };
    std::fs::create_dir_all(out)?;
    let extent = if short { Extent::Short } else { Extent::Full };
    let outcome = vm::selftest::run(image, out, &options.qemu, extent, transport, loss);
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
    for (file, verdict) in files.iter().zip(judge_all(&files)) {
        match verdict {
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

/// tshark's verdict on each file; it works on one core, so that several work side by side.
fn judge_all(files: &[PathBuf]) -> Vec<Result<pcap::Report, pcap::CheckError>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, verdicts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(at) else { break };
                    let verdict = pcap::check_kept(file);
                    verdicts.lock().expect("nobody panics").push((at, verdict));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().expect("nobody panics");
    verdicts.sort_by_key(|(at, _)| *at);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
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
