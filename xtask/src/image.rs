//! Firmware packages: made from the images, signed, looked at; and everything that a new card's flash holds.

mod keys;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use sluice_boot::check::{self, Refusal};
use sluice_boot::image::{HEADER_SIZE, Header, HeaderError, boards};
use sluice_boot::keys::{CERTIFICATE_SIZE, Certificate};
use sluice_boot::pack::{self, Contents, SigningKey};
use sluice_boot::{Package, Version};
use sluice_driver::card::flat;
use zerocopy::IntoBytes;

use crate::{firmware, paths, process};

/// What `cargo xtask image` may be asked.
#[derive(Args)]
pub struct ImageOptions {
    /// Private Ed25519 key, PEM, as `openssl genpkey -algorithm ed25519` makes it
    #[arg(long, value_name = "FILE", required_unless_present_any = ["verify", "inspect"])]
    key: Option<PathBuf>,
    /// Make the key first; the public one goes into a file beside it, with `.pub` behind its name
    #[arg(long, requires = "key")]
    generate_key: bool,
    /// Where the result goes
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Semantic version of the firmware; that of this workspace if none is given
    #[arg(long, value_name = "X.Y.Z")]
    version: Option<ImageVersion>,
    /// Cards whose fuses have a higher one refuse the package
    #[arg(long, value_name = "N", default_value_t = 0)]
    security_version: u32,
    /// Board that the package is for (docs/flashing.md has the list)
    #[arg(long, value_name = "N", default_value_t = boards::SIMULATED)]
    board: u32,
    /// What the build calls itself; what git says if none is given
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Folder with ELF files that are there already, instead of building them
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
    /// Make the content of the whole flash, for an external programmer: the package, keys, factory data, boot state
    #[arg(long)]
    full: bool,
    /// Serial number for the factory data of `--full`, at most 20 characters
    #[arg(long, value_name = "TEXT", requires = "full", requires = "mac")]
    serial: Option<String>,
    /// First MAC address for the factory data of `--full`
    #[arg(long, value_name = "MAC", requires = "full", requires = "serial")]
    mac: Option<String>,
    /// Certificates of signing keys for `--full`, at most two
    #[arg(long, value_name = "FILE", requires = "full")]
    certificate: Vec<PathBuf>,
    /// Instead of a package: certify this public key, with `--key` as root key
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "full",
        requires = "generation"
    )]
    certify: Option<PathBuf>,
    /// Generation of the key to be certified: counts up from 1
    #[arg(long, value_name = "N", requires = "certify")]
    generation: Option<u32>,
    /// Cards that take the certificate refuse keys of lower generations than this for ever
    #[arg(long, value_name = "N", default_value_t = 0, requires = "certify")]
    revokes_below: u32,
    /// Look at a package: is it whole, and did `--public-key` sign it?
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "full", "certify"], requires = "public_key")]
    verify: Option<PathBuf>,
    /// Public Ed25519 key, PEM
    #[arg(long, value_name = "FILE", requires = "verify")]
    public_key: Option<PathBuf>,
    /// Show what a package says of itself, without a key
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "verify", "full", "certify"])]
    inspect: Option<PathBuf>,
}

/// `X.Y.Z`.
#[derive(Clone, Copy, Debug)]
struct ImageVersion(Version);

impl FromStr for ImageVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u16>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[major, minor, patch]) => Ok(Self(Version {
                major,
                minor,
                patch,
            })),
            _ => Err("three numbers of 0 to 65535 are wanted, as in 1.2.3".into()),
        }
    }
}

/// Does what was asked.
pub fn run(options: &ImageOptions) -> Result<()> {
    if let (Some(file), Some(key)) = (&options.verify, &options.public_key) {
        return verify(file, key);
    }
    if let Some(file) = &options.inspect {
        return inspect(file);
    }
    let path = options.key.as_deref().expect("clap asks for it");
    let key = if options.generate_key {
        keys::generate(path)?
    } else {
        keys::private(path)?
    };
    if let Some(public) = &options.certify {
        return certify(options, &key, public);
    }
    let package = build(options, &key)?;
    let found = check::bytes(&package, &key.public())
        .map_err(|refusal| anyhow!("the package just made is not good: {}", explain(&refusal)))?;
    if options.full {
        return full(options, &package);
    }
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| paths::target("image").join(format!("sluice-{}.fw", found.version)));
    write(&out, &package)?;
    println!("{}", describe(&found));
    println!("package: {}", paths::shown(&out));
    Ok(())
}

fn build(options: &ImageOptions, key: &SigningKey) -> Result<Vec<u8>> {
    let folder = match &options.firmware {
        Some(folder) => folder.clone(),
        None => firmware::build()?,
    };
    let image = |name: &str| -> Result<Vec<u8>> {
        let path = folder.join(name);
        let elf = read(&path)?;
        flat::image(&elf).map_err(|e| anyhow!("{}: not firmware: {e}", path.display()))
    };
    let own: ImageVersion = env!("CARGO_PKG_VERSION")
        .parse()
        .map_err(|e: String| anyhow!("the workspace's version: {e}"))?;
    let label = options.label.clone().unwrap_or_else(git_describes);
    let contents = Contents {
        control: &image("sluice-control")?,
        data: &image("sluice-data")?,
        board: options.board,
        map_version: sluice_regs::MAP_VERSION,
        version: options.version.unwrap_or(own).0,
        security_version: options.security_version,
        label: &label,
    };
    pack::package(&contents, key).map_err(|e| {
        anyhow!(
            "no package can be made of these images: {}",
            explain_header(&e)
        )
    })
}

fn git_describes() -> String {
    let mut git = process::command("git");
    git.args(["describe", "--always", "--dirty"])
        .current_dir(paths::root());
    process::capture(&mut git)
        .map(|text| text.trim().to_string())
        .unwrap_or_default()
}

fn full(options: &ImageOptions, package: &[u8]) -> Result<()> {
    ensure!(
        options.certificate.len() <= 2,
        "a card has 2 key slots, {} certificates are too many",
        options.certificate.len()
    );
    let certificates: Vec<Certificate> = options
        .certificate
        .iter()
        .map(|path| certificate(path))
        .collect::<Result<_>>()?;
    let factory = match (&options.serial, &options.mac) {
        (Some(serial), Some(mac)) => {
            let printable = serial.bytes().all(|b| b.is_ascii_graphic());
            ensure!(
                printable && (1..=20).contains(&serial.len()),
                "serial number `{serial}`: 1 to 20 printable ASCII characters without spaces are wanted"
            );
            Some(pack::factory_data(serial, parse_mac(mac)?, 1, 0))
        }
        _ => None,
    };
    let flash = pack::whole_flash(package, &certificates, factory.as_ref());
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| paths::target("image").join("sluice-flash.bin"));
    write(&out, &flash)?;
    println!(
        "whole flash, {} MiB: {}\nwrite it with, for instance: flashrom -p ft2232_spi:type=232H -w {}",
        flash.len() >> 20,
        paths::shown(&out),
        paths::shown(&out)
    );
    if factory.is_none() {
        println!("without factory data: give --serial and --mac for a card that is to have them");
    }
    Ok(())
}

fn certify(options: &ImageOptions, root: &SigningKey, public: &Path) -> Result<()> {
    let generation = options.generation.unwrap_or_default();
    ensure!(
        generation >= 1 && options.revokes_below <= generation,
        "--generation counts from 1, and --revokes-below is at most the generation; got {generation} and {}",
        options.revokes_below
    );
    let key = keys::public(public)?;
    let made = pack::certificate(root, &key, options.board, generation, options.revokes_below);
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| public.with_extension("cert"));
    write(&out, made.as_bytes())?;
    println!(
        "certificate of key {} (generation {generation}, board {}): {}",
        hex(&made.key_id()),
        options.board,
        paths::shown(&out)
    );
    Ok(())
}

/// A certificate from its file.
pub fn certificate(path: &Path) -> Result<Certificate> {
    let bytes = read(path)?;
    let bytes: &[u8; CERTIFICATE_SIZE] = bytes.as_slice().try_into().map_err(|_| {
        anyhow!(
            "{}: a certificate has {CERTIFICATE_SIZE} bytes, this file has {}",
            path.display(),
            bytes.len()
        )
    })?;
    Ok(*Certificate::of(bytes))
}

fn verify(file: &Path, public: &Path) -> Result<()> {
    let key = keys::public(public)?;
    let bytes = read(file)?;
    match check::bytes(&bytes, &key) {
        Ok(package) => {
            println!("{}", describe(&package));
            println!("good: whole, and signed by {}", public.display());
            Ok(())
        }
        Err(refusal) => bail!("{}: {}", file.display(), explain(&refusal)),
    }
}

fn inspect(file: &Path) -> Result<()> {
    let bytes = read(file)?;
    let head = bytes.first_chunk::<HEADER_SIZE>().with_context(|| {
        format!(
            "{}: a package begins with {HEADER_SIZE} bytes of header, this file has {}",
            file.display(),
            bytes.len()
        )
    })?;
    let package = Header::of(head)
        .bounded()
        .map_err(|e| anyhow!("{}: {}", file.display(), explain_header(&e)))?;
    println!("{}", describe(&package));
    println!("not verified: give --verify and --public-key for that");
    Ok(())
}

fn describe(package: &Package) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let [control, data] = package.images;
    for (name, value) in [
        ("version", package.version.to_string()),
        ("label", package.label().to_string()),
        ("security version", package.security_version.to_string()),
        ("board", package.board.to_string()),
        ("register map", package.map_version.to_string()),
        ("bytes", package.len.to_string()),
        ("control core", format!("{} bytes", control.len)),
        ("data cores", format!("{} bytes", data.len)),
        ("SHA-256", hex(&package.sha256)),
        ("signed by key", hex(&package.key_id)),
    ] {
        table.add_row([name.to_string(), value]);
    }
    table
}

/// A refusal as a person wants to read it.
pub fn explain(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Header(error) => explain_header(error),
        Refusal::UnknownKey(id) => format!(
            "signed by key {}, which is not the one that was given",
            hex(id)
        ),
        Refusal::Signature => {
            "the signature is wrong: the header was changed after it was signed".into()
        }
        Refusal::Truncated { want, got } => {
            format!("cut short: {want} bytes are wanted, {got} are there")
        }
        Refusal::Digest => {
            "the SHA-256 is wrong: what is behind the header was changed, or bytes were added"
                .into()
        }
        other => format!("{other:?}"),
    }
}

fn explain_header(error: &HeaderError) -> String {
    match error {
        HeaderError::Magic { got } => {
            format!("not a firmware package: it begins with {got:08x}h instead of `SLFW`")
        }
        HeaderError::Format { got } => {
            format!(
                "format {got}, this program knows format {}",
                sluice_boot::image::FORMAT
            )
        }
        HeaderError::ImageLength { image, got } => format!(
            "the {image:?} image has {got} bytes; 4 to {} in whole words fit into core memory",
            sluice_boot::layout::CORE_MEMORY
        ),
        other => format!("the header is damaged: {other:?}"),
    }
}

fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
        .filter_map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    let mac: Option<[u8; 6]> = bytes.try_into().ok();
    match mac.filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6] && text.len() == 17) {
        Some(mac) => Ok(mac),
        None => bail!("`{text}` is no MAC address of one card: as in 02:00:00:00:00:01"),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
