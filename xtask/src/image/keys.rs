//! Key files: PEM, as OpenSSL reads and writes them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use ed25519_compact::{KeyPair, PublicKey, SecretKey, Seed};
use sluice_boot::keys::key_id;
use sluice_boot::pack::SigningKey;

use super::hex;
use crate::paths;

/// Makes a key, which nobody but its owner may read, and writes the public one beside it.
pub fn generate(path: &Path) -> Result<SigningKey> {
    ensure!(
        !path.exists(),
        "{} is there already; a key is never overwritten: leave --generate-key out to use it, or name another file",
        path.display()
    );
    let pair = KeyPair::from_seed(Seed::generate());
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(pair.sk.to_pem().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    let public = beside(path);
    std::fs::write(&public, pair.pk.to_pem())
        .with_context(|| format!("cannot write {}", public.display()))?;
    println!(
        "key {}: private {}, public {}\n  as fuses: {}",
        hex(&key_id(&pair.pk)),
        paths::shown(path),
        paths::shown(&public),
        hex(&*pair.pk)
    );
    Ok(SigningKey::from_seed(*pair.sk.seed()))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".pub");
    name.into()
}

/// The private key in a file.
pub fn private(path: &Path) -> Result<SigningKey> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the key {}; --generate-key makes one",
            path.display()
        )
    })?;
    let key = SecretKey::from_pem(&text).map_err(|_| {
        anyhow!(
            "{}: no private Ed25519 key in PEM (`-----BEGIN PRIVATE KEY-----`)",
            path.display()
        )
    })?;
    Ok(SigningKey::from_seed(*key.seed()))
}

/// The public key in a file.
pub fn public(path: &Path) -> Result<[u8; 32]> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the public key {}", path.display()))?;
    let key = PublicKey::from_pem(&text).map_err(|_| {
        anyhow!(
            "{}: no public Ed25519 key in PEM (`-----BEGIN PUBLIC KEY-----`)",
            path.display()
        )
    })?;
    Ok(*key)
}
