//! Firmware into a card: in-band, through the host driver, or through an external programmer for a bare or broken one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use sluice_boot::image::{HEADER_SIZE, MAGIC};
use sluice_boot::layout::FLASH_SIZE;
use sluice_driver::card::flash::Progress;
use sluice_driver::card::update::{Step, update};
use sluice_driver::card::{CardOptions, Firmware, flat};
use sluice_vfio::{Device, Domain, Interface, PciAddress, System};

use crate::{paths, process};

/// What `cargo xtask flash` may be asked.
#[derive(Args)]
pub struct FlashOptions {
    /// A package (`cargo xtask image`), or for a programmer the whole flash (`cargo xtask image --full`)
    file: PathBuf,
    /// In-band: the card at this PCI address, through VFIO. It must serve nobody: stop the daemon first
    #[arg(long, value_name = "ADDRESS", required_unless_present = "programmer")]
    pci: Option<String>,
    /// Folder with ELF files of firmware that the host loads if nothing in the card's flash can be started
    #[arg(long, value_name = "DIR", requires = "pci")]
    rescue: Option<PathBuf>,
    /// Through this program instead
    #[arg(long, value_enum, conflicts_with = "pci")]
    programmer: Option<Programmer>,
    /// What the programmer is to be told of your cable and board, behind `--`
    #[arg(last = true, requires = "programmer")]
    arguments: Vec<String>,
}

/// External programmers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Programmer {
    /// Clips and cables at the flash chip
    Flashrom,
    /// Through the FPGA's JTAG
    Openfpgaloader,
}

impl Programmer {
    fn program(self) -> &'static str {
        match self {
            Self::Flashrom => "flashrom",
            Self::Openfpgaloader => "openFPGALoader",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Flashrom => "-p ft2232_spi:type=232H",
            Self::Openfpgaloader => "-b BOARD",
        }
    }

    /// The command without the file; the file comes last.
    fn arguments(self, own: &[String]) -> Vec<String> {
        let fixed: &[&str] = match self {
            Self::Flashrom => &["-w"],
            Self::Openfpgaloader => &["--external-flash", "--write-flash", "--offset", "0"],
        };
        own.iter()
            .cloned()
            .chain(fixed.iter().map(ToString::to_string))
            .collect()
    }
}

/// Does what was asked.
pub fn run(options: &FlashOptions) -> Result<()> {
    let bytes = std::fs::read(&options.file)
        .with_context(|| format!("cannot read {}", options.file.display()))?;
    match (options.programmer, &options.pci) {
        (Some(programmer), _) => external(programmer, options, &bytes),
        (None, Some(pci)) => in_band(pci, options, &bytes),
        (None, None) => unreachable!("clap asks for one of them"),
    }
}

fn external(programmer: Programmer, options: &FlashOptions, bytes: &[u8]) -> Result<()> {
    whole(&options.file, bytes)?;
    let program = programmer.program();
    ensure!(
        !options.arguments.is_empty(),
        "{program} has to be told of your cable and board, behind `--`; for instance: \
         cargo xtask flash {} --programmer {} -- {}",
        options.file.display(),
        programmer
            .to_possible_value()
            .map_or_else(String::new, |v| v.get_name().to_string()),
        programmer.example()
    );
    ensure!(
        paths::find_program(program).is_some(),
        "{program} is not installed; on Debian and Ubuntu: apt-get install {}",
        program.to_lowercase()
    );
    let mut command: Command = process::command(program);
    command
        .args(programmer.arguments(&options.arguments))
        .arg(std::path::absolute(&options.file)?);
    process::run(&mut command)
}

/// A programmer writes from address 0 on: a package alone would land where the boot state is.
fn whole(file: &Path, bytes: &[u8]) -> Result<()> {
    let magic = bytes.first_chunk().map(|word| u32::from_le_bytes(*word));
    ensure!(
        magic != Some(MAGIC),
        "{} is a package; a programmer needs the whole flash: cargo xtask image --full",
        file.display()
    );
    ensure!(
        bytes.len() == FLASH_SIZE as usize,
        "{} has {} bytes; the whole flash has {FLASH_SIZE}, as cargo xtask image --full makes it",
        file.display(),
        bytes.len()
    );
    Ok(())
}

fn in_band(pci: &str, options: &FlashOptions, package: &[u8]) -> Result<()> {
    ensure!(
        package.len() != FLASH_SIZE as usize,
        "{} is a whole flash, for a programmer; in-band a package is wanted: cargo xtask image",
        options.file.display()
    );
    ensure!(
        package.len() >= HEADER_SIZE,
        "{} is too short for a package: {} bytes",
        options.file.display(),
        package.len()
    );
    let address: PciAddress = pci.parse()?;
    let rescue = options.rescue.as_deref().map(images).transpose()?;
    let rescue = rescue
        .as_ref()
        .map(|(control, data)| Firmware { control, data });
    let system = System::default();
    let domain = Domain::new(system, Interface::Choose, None)?;
    let device = Rc::new(Device::open(&domain, address, &[])?);
    let bar = bar(package.len() as u64);
    let mut say = |step: Step| match step {
        Step::LoadedByHost => bar.println("nothing in the flash can be started: loaded from here"),
        Step::Download(Progress::Written { done, .. }) => bar.set_position(done.into()),
        Step::Download(Progress::Verifying) => bar.set_message("the card verifies it"),
        Step::Download(Progress::Verified) => bar.set_message("starting it"),
        Step::OnTrial(slot) => bar.println(format!("slot {} runs on trial", slot.name())),
        Step::Confirmed(slot) => bar.println(format!("slot {} is well: confirmed", slot.name())),
        Step::RolledBack(slot) => bar.println(format!("back in slot {}", slot.name())),
    };
    let done = update(device, package, rescue, CardOptions::default(), &mut say);
    bar.finish_and_clear();
    let mut card = done?;
    let state = card.flash_state()?;
    if let Some(Ok(slot)) = state.running().map(|slot| state.slot(slot)) {
        let (major, minor, patch) = slot.version;
        println!("{pci} runs {major}.{minor}.{patch} {}", slot.label);
    }
    card.halt()?;
    Ok(())
}

/// Both flat images from a folder of ELF files.
fn images(folder: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let image = |name: &str| -> Result<Vec<u8>> {
        let path = folder.join(name);
        let elf =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        flat::image(&elf).map_err(|e| anyhow!("{}: not firmware: {e}", path.display()))
    };
    Ok((image("sluice-control")?, image("sluice-data")?))
}

fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes} {eta} {msg}");
    bar.set_style(style.expect("fixed template"));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programmer_gets_a_whole_flash_and_nothing_else() {
        let file = Path::new("file");
        let package = whole(file, b"SLFW and so on").expect_err("a package");
        assert!(package.to_string().contains("image --full"), "{package}");
        let short = whole(file, &[0xFF; 100]).expect_err("short");
        assert!(short.to_string().contains("has 100 bytes"), "{short}");
        assert!(whole(file, &vec![0xFF; FLASH_SIZE as usize]).is_ok());
    }

    #[test]
    fn the_programmers_arguments_end_with_the_file() {
        let own = ["-p".to_string(), "dummy".to_string()];
        assert_eq!(Programmer::Flashrom.arguments(&own), ["-p", "dummy", "-w"]);
        let jtag = Programmer::Openfpgaloader.arguments(&own);
        assert_eq!(jtag.last().map(String::as_str), Some("0"));
    }
}
