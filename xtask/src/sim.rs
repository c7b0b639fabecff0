//! `demo`, `serve`, `bench`: prepares what is missing, then hands over to the program `sluice-sim`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::options::{CardKind, CardOptions, VmOptions};
use crate::setup::{self, Need};
use crate::{firmware, paths, process, vm};

/// What a run needs before it can start; by default nothing but `sluice-sim`.
#[derive(Default)]
pub struct Wants<'a> {
    /// The card, if one runs.
    pub card: Option<&'a CardOptions>,
    /// A Linux VM.
    pub vm: Option<&'a VmOptions>,
    /// FST traces.
    pub waves: bool,
    /// A QEMU that can take devices from vfio-user sockets.
    pub vfio_user: bool,
    /// The daemon, for a VM.
    pub tools: bool,
}

/// The emulator that is used when the user names none.
const DEFAULT_QEMU: &str = "qemu-system-x86_64";

/// Prepares and runs `sluice-sim` with `args`; its exit code is ours.
pub fn run(wants: &Wants<'_>, args: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let mut command = prepare(wants)?;
    let status = command
        .args(args)
        .status()
        .context("cannot start sluice-sim")?;
    Ok(status
        .code()
        .map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)))
}

/// Builds firmware, VM image and `sluice-sim`; the command to run it with.
pub fn prepare(wants: &Wants<'_>) -> Result<Command> {
    let rtl = wants.card.is_some_and(|card| card.card == CardKind::Rtl);
    let mut needs = Vec::new();
    needs.extend(
        rtl.then_some([Need::Firmware, Need::Hardware])
            .into_iter()
            .flatten(),
    );
    needs.extend(wants.vm.map(|_| Need::Vm));
    setup::ensure(&needs)?;
    let firmware = rtl.then(firmware::build).transpose()?;
    let image = match wants.vm {
        Some(VmOptions {
            image: Some(image), ..
        }) => Some(image.clone()),
        Some(options) => Some(vm::ensure(options)?),
        None => None,
    };
    // Whoever names an emulator knows what he does.
    let qemu = match wants.vm {
        Some(options) if wants.vfio_user && options.qemu.as_os_str() == DEFAULT_QEMU => {
            Some(vm::qemu::ensure(options.mirror.as_deref())?)
        }
        _ => None,
    };
    let mirror = wants.vm.and_then(|options| options.mirror.as_deref());
    let tools = wants.tools.then(|| vm::tools::ensure(mirror));
    let tools = tools.transpose()?;
    let mut command = process::command(build_sim(rtl, wants)?);
    let settings = [
        ("SLUICE_TOOLS", tools),
        ("SLUICE_FIRMWARE", firmware),
        ("SLUICE_VM_IMAGE", image),
        ("SLUICE_QEMU", qemu),
    ];
    for (name, value) in settings {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    Ok(command)
}

/// Compiles `sluice-sim`; the program.
fn build_sim(rtl: bool, wants: &Wants<'_>) -> Result<PathBuf> {
    // Once the hardware tools are there the Verilated card is always in, so that nothing is built twice.
    let rtl = rtl || setup::hardware_ready();
    let features = if wants.waves {
        "waves"
    } else if rtl {
        "rtl"
    } else {
        ""
    };
    let mut dir =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| paths::target(""), PathBuf::from);
    if wants.waves {
        // Traced models are other models.
        dir.push("waves");
    }
    let mut cargo = process::command("cargo");
    cargo.args([
        "build",
        "--release",
        "--locked",
        "-p",
        "sluice-sim",
        "--bin",
        "sluice-sim",
        "--features",
        features,
    ]);
    // One and two data cores are always built; others on demand.
    if let Some(cores) = wants.card.map(|card| card.cores).filter(|cores| *cores > 2) {
        cargo.env("SLUICE_DATA_CORES", format!("1,2,{cores}"));
    }
    process::run(cargo.arg("--target-dir").arg(&dir))?;
    Ok(dir.join("release/sluice-sim"))
}
