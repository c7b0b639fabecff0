//! Takes the ELF kernel out of a compressed `vmlinuz`: QEMU boots it through PVH without a boot loader in between.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process;

/// First bytes of a compressed kernel and the program that unpacks it.
const FORMATS: &[(&[u8], &str, &[&str])] = &[
    (b"\x28\xb5\x2f\xfd", "zstd", &["-dcq"]),
    (b"\xfd7zXZ\0", "xz", &["-dcq", "--single-stream"]),
    (b"\x1f\x8b\x08", "gzip", &["-dcq"]),
    (b"\x02!L\x18", "lz4", &["-dcq"]),
];

/// The kernel as an ELF file; one that is uncompressed already is returned as it is.
pub fn uncompressed(kernel: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(kernel)
        .with_context(|| format!("cannot read the kernel {}", kernel.display()))?;
    if bytes.starts_with(b"\x7fELF") {
        return Ok(bytes);
    }
    for (magic, program, args) in FORMATS {
        for at in positions(&bytes, magic) {
            if let Some(kernel) = try_unpack(&bytes[at..], program, args)? {
                return Ok(kernel);
            }
        }
    }
    bail!(
        "{} holds no kernel compressed with zstd, xz, gzip or lz4",
        kernel.display()
    )
}

fn positions<'a>(bytes: &'a [u8], magic: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes
        .windows(magic.len())
        .enumerate()
        .filter(move |(_, window)| *window == magic)
        .map(|(at, _)| at)
}

/// The magic also occurs by chance and the stream is followed by other bytes: what counts is that an ELF file comes out.
fn try_unpack(bytes: &[u8], program: &str, args: &[&str]) -> Result<Option<Vec<u8>>> {
    if crate::paths::find_program(program).is_none() {
        return Ok(None);
    }
    let part = crate::paths::target("vm/kernel.part");
    std::fs::write(&part, bytes)?;
    let output = process::filter_loose(program, args, &part)?;
    std::fs::remove_file(&part)?;
    Ok(output.starts_with(b"\x7fELF").then_some(output))
}
