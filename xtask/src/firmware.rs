//! Builds the card's images for RV32 and says how large they are, read from the ELF files themselves.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use comfy_table::{Cell, CellAlignment, Table, presets};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};

use crate::setup::{self, Need, RISCV, RiscvToolchain};
use crate::{paths, process, progress};

/// Tightly coupled memory of each core, bytes (docs/card.md, section 2).
const CORE_MEMORY: u64 = 512 << 10;
/// Connections that a data core must have room for.
const WANTED_CONNECTIONS: u64 = 256;
/// The firmware: ELF file, and who runs it.
const IMAGES: [(&str, &str); 2] = [
    ("sluice-control", "control core"),
    ("sluice-data", "each data core"),
];

/// Both images together as a package carries them, bytes. What a card starts from its flash is read and hashed whole, so this is
/// its time to start; code grows, but not by this much without somebody meaning it.
const PACKAGE: u64 = 320 << 10;

/// The boot program.
const BOOT: &str = "sluice-boot";
/// Its ROM, bytes (docs/card.md, section 7).
const ROM: u64 = 64 << 10;

/// Builds quietly unless something is to be compiled; the folder with the images' ELF files.
pub fn build() -> Result<PathBuf> {
    let dir = paths::root().join("firmware/image");
    ensure!(
        dir.join("Cargo.toml").is_file(),
        "firmware/image is not there yet: no firmware to build"
    );
    setup::ensure(&[Need::Firmware])?;
    let target_dir = paths::target("image");
    let mut cargo = match setup::riscv_toolchain()? {
        RiscvToolchain::Rustup => process::command("cargo"),
        RiscvToolchain::Debian => {
            eprintln!("firmware: Debian's rustc with -Zbuild-std=core (no rustup target {RISCV})");
            let mut cargo = process::command("/usr/bin/cargo");
            cargo
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", "/usr/bin/rustc");
            cargo.env("CARGO_TARGET_RISCV32IMC_UNKNOWN_NONE_ELF_LINKER", "ld.lld");
            cargo.arg("-Zbuild-std=core");
            cargo
        }
    };
    cargo
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(&target_dir)
        .current_dir(&dir);
    // The image has flags of its own; those of a surrounding cargo must not leak in.
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    cargo.env_remove("RUSTUP_TOOLCHAIN");
    // The compiler warns of two target features that it may rename; what it says matters only if it fails.
    progress::step("firmware images", || process::capture(&mut cargo))?;
    let folder = target_dir.join(RISCV).join("release");
    for name in IMAGES.map(|(name, _)| name).into_iter().chain([BOOT]) {
        let elf = folder.join(name);
        ensure!(elf.is_file(), "the build left no {}", elf.display());
    }
    Ok(folder)
}

/// What an image takes, bytes.
#[derive(Default)]
struct Sizes {
    text: u64,
    rodata: u64,
    data: u64,
    bss: u64,
    /// Connections that the image has room for, and bytes of each, if it says so.
    connections: Option<(u64, u64)>,
    /// Largest static variables.
    largest: Vec<(String, u64)>,
}

impl Sizes {
    /// What a package carries.
    fn carried(&self) -> u64 {
        self.text + self.rodata + self.data
    }

    /// All but the stack.
    fn used(&self) -> u64 {
        self.carried() + self.bss
    }
}

/// Builds, prints the sizes and checks them.
pub fn build_and_report() -> Result<()> {
    let folder = build()?;
    let mut images = Vec::new();
    for (name, cores) in IMAGES {
        let elf = folder.join(name);
        let sizes = std::fs::read(&elf)
            .map_err(Into::into)
            .and_then(|bytes| measure(&bytes))
            .with_context(|| format!("cannot read {}", elf.display()))?;
        images.push((cores, sizes));
    }
    println!("{}", table(&images));
    let boot = measure(&std::fs::read(folder.join(BOOT))?)?;
    let taken = boot.carried();
    println!("boot program: {taken} of {ROM} bytes of ROM");
    let package: u64 = images.iter().map(|(_, sizes)| sizes.carried()).sum();
    println!("package: {package} of at most {PACKAGE} bytes");
    ensure!(
        package <= PACKAGE,
        "the images take {package} bytes of a package, at most {PACKAGE} are wanted: a static that does not begin as zeros? (docs/decisions/012-state-begins-as-zeros.md)"
    );
    ensure!(
        taken <= ROM,
        "the boot program takes {taken} bytes, its ROM has {ROM}"
    );
    let connections = images.iter().find_map(|(_, sizes)| sizes.connections);
    match connections {
        Some((count, bytes)) => {
            println!(
                "{count} connections on each data core, {bytes} bytes of static memory for each"
            )
        }
        None => {
            println!("connections: no image says how many it holds (SLUICE_CONNECTIONS is in none)")
        }
    }
    for (name, _) in IMAGES {
        println!("image: {}", paths::shown(&folder.join(name)));
    }
    for (cores, sizes) in &images {
        let used = sizes.used();
        ensure!(
            used < CORE_MEMORY,
            "the image of the {cores} takes {used} bytes, a core has {CORE_MEMORY}"
        );
    }
    if let Some((count, _)) = connections {
        ensure!(
            count >= WANTED_CONNECTIONS,
            "room for {count} connections on a core, at least {WANTED_CONNECTIONS} are wanted"
        );
    }
    Ok(())
}

fn measure(bytes: &[u8]) -> Result<Sizes> {
    let file = object::File::parse(bytes)?;
    let mut sizes = Sizes::default();
    for section in file
        .sections()
        .filter(|section| section.name().is_ok_and(|name| !name.starts_with(".stack")))
    {
        let size = section.size();
        match section.kind() {
            SectionKind::Text => sizes.text += size,
            SectionKind::ReadOnlyData | SectionKind::ReadOnlyString if section.address() != 0 => {
                sizes.rodata += size
            }
            SectionKind::Data => sizes.data += size,
            SectionKind::UninitializedData => sizes.bss += size,
            _ => {}
        }
    }
    let word = |name: &str| -> Option<u64> {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name))?;
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let data = section.data_range(symbol.address(), 4).ok()??;
        Some(u64::from(u32::from_le_bytes(data.try_into().ok()?)))
    };
    sizes.connections = word("SLUICE_CONNECTIONS").zip(word("SLUICE_CONNECTION_BYTES"));
    let statics = file
        .symbols()
        .filter(|symbol| symbol.kind() == object::SymbolKind::Data && symbol.size() >= 1024);
    sizes.largest = statics
        .map(|symbol| (short_name(symbol.name().unwrap_or("?")), symbol.size()))
        .collect();
    sizes
        .largest
        .sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    Ok(sizes)
}

/// A column of bytes and one of shares for each image; its largest variables are named in rows of their own.
fn table(images: &[(&str, Sizes)]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let mut header = vec!["memory of".to_string()];
    for (cores, _) in images {
        header.extend([format!("{cores}, bytes"), "of 512 KiB".into()]);
    }
    table.set_header(header);
    let mut row = |name: &str, bytes: &[Option<u64>]| {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let share = |bytes: u64| format!("{:.1} %", bytes as f64 * 100.0 / CORE_MEMORY as f64);
        let cells = bytes.iter().flat_map(|bytes| match bytes {
            Some(bytes) => [right(bytes.to_string()), right(share(*bytes))],
            None => [Cell::new(""), Cell::new("")],
        });
        table.add_row(std::iter::once(Cell::new(name)).chain(cells));
    };
    let each = |what: fn(&Sizes) -> u64| -> Vec<_> {
        images.iter().map(|(_, sizes)| Some(what(sizes))).collect()
    };
    row("text (code)", &each(|sizes| sizes.text));
    row("rodata (constants)", &each(|sizes| sizes.rodata));
    row("data (set at boot)", &each(|sizes| sizes.data));
    row("bss (static memory)", &each(|sizes| sizes.bss));
    for (index, (_, sizes)) in images.iter().enumerate() {
        for (name, bytes) in sizes.largest.iter().take(4) {
            let mut cells = vec![None; images.len()];
            cells[index] = Some(*bytes);
            row(&format!("  of it {name}"), &cells);
        }
    }
    row("all", &each(Sizes::used));
    row(
        "left for the stack",
        &each(|sizes| CORE_MEMORY.saturating_sub(sizes.used())),
    );
    table
}

/// The last parts of a mangled path, near enough for people.
fn short_name(name: &str) -> String {
    let mut parts = Vec::new();
    let mut rest = name.trim_start_matches("_ZN").trim_start_matches("_R");
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits: String = rest[start..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let length: usize = digits.parse().unwrap_or(0);
        rest = &rest[start + digits.len()..];
        match rest
            .get(..length)
            .filter(|part| length > 1 && !part.starts_with("h0"))
        {
            Some(part) if part.len() != 17 || !part.starts_with('h') => {
                parts.push(part.trim_start_matches('_'))
            }
            _ => {}
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    match parts.len() {
        0 => name.to_string(),
        count => parts[count.saturating_sub(2)..].join("::"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mangled_name_shows_its_last_two_parts() {
        assert_eq!(
            short_name("_ZN11sluice_data4main5CORES17h0123456789abcdefE"),
            "main::CORES"
        );
        assert_eq!(short_name("LOG_RING"), "LOG_RING");
    }

    #[test]
    fn sections_of_a_real_program_are_measured() {
        let me = std::fs::read(std::env::current_exe().expect("a program")).expect("readable");
        let sizes = measure(&me).expect("an ELF file");
        assert!(sizes.text > 10_000 && sizes.rodata > 1_000 && sizes.connections.is_none());
    }
}
