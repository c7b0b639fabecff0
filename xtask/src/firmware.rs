//! Builds the card's image for RV32 and says how large it is, read from the ELF file itself.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use comfy_table::{Cell, CellAlignment, Table, presets};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};

use crate::setup::{self, Need, RISCV, RiscvToolchain};
use crate::{paths, process, progress};

/// Tightly coupled memory of each core, bytes (docs/card.md, section 2).
const CORE_MEMORY: u64 = 512 << 10;
/// Data cores and connections that must fit.
const WANTED_CONNECTIONS: u64 = 256;

/// Builds quietly unless something is to be compiled; the image's ELF file.
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
    progress::step("firmware image", || process::capture(&mut cargo))?;
    let elf = target_dir.join(RISCV).join("release/sluice-image");
    ensure!(elf.is_file(), "the build left no {}", elf.display());
    Ok(elf)
}

/// What the image takes, bytes.
#[derive(Default)]
struct Sizes {
    text: u64,
    rodata: u64,
    data: u64,
    bss: u64,
    /// Connections that the image has room for on each core, and bytes of each, if it says so.
    connections: Option<(u64, u64)>,
    /// Largest static variables.
    largest: Vec<(String, u64)>,
}

/// Builds and prints the sizes.
pub fn build_and_report() -> Result<()> {
    let elf = build()?;
    let bytes = std::fs::read(&elf)?;
    let sizes = measure(&bytes).with_context(|| format!("cannot read {}", elf.display()))?;
    print(&sizes);
    println!("image: {}", paths::shown(&elf));
    let used = sizes.text + sizes.rodata + sizes.data + sizes.bss;
    ensure!(
        used < CORE_MEMORY,
        "the image takes {used} bytes, a core has {CORE_MEMORY}"
    );
    if let Some((count, _)) = sizes.connections {
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

fn print(sizes: &Sizes) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["memory of each core", "bytes", "of 512 KiB"]);
    let mut row = |name: &str, bytes: u64| {
        let share = format!("{:.1} %", bytes as f64 * 100.0 / CORE_MEMORY as f64);
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(name), right(bytes.to_string()), right(share)]);
    };
    row("text (code)", sizes.text);
    row("rodata (constants)", sizes.rodata);
    row("data (set at boot)", sizes.data);
    row("bss (static memory)", sizes.bss);
    for (name, bytes) in sizes.largest.iter().take(6) {
        row(&format!("  of it {name}"), *bytes);
    }
    let used = sizes.text + sizes.rodata + sizes.data + sizes.bss;
    row("all", used);
    row("left for the stack", CORE_MEMORY.saturating_sub(used));
    println!("{table}");
    match sizes.connections {
        Some((count, bytes)) => {
            println!("{count} connections on each core, {bytes} bytes of static memory for each")
        }
        None => println!(
            "connections: the image does not say how many it holds (SLUICE_CONNECTIONS is not in it)"
        ),
    }
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
            short_name("_ZN12sluice_image4main5CORES17h0123456789abcdefE"),
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
