//! Making packages, certificates, factory data and whole flash contents. For tools and tests.

use alloc::vec;
use alloc::vec::Vec;

use ed25519_compact::{KeyPair, Seed};
use sha2::{Digest, Sha256};
use zerocopy::{FromZeros, IntoBytes};

use crate::factory::{self, FactoryData};
use crate::image::{
    FORMAT, HEADER_SIZE, Header, HeaderError, IMAGE_ALIGN, MAGIC, Section, Version,
};
use crate::journal::{Journal, State};
use crate::keys::{self, Certificate, key_id};
use crate::layout::{FACTORY, FLASH_SIZE, KEYS, SLOTS, Slot};

/// A private key.
pub struct SigningKey(KeyPair);

impl SigningKey {
    /// The key that a seed of 32 bytes stands for (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(KeyPair::from_seed(Seed::new(seed)))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        *self.0.pk
    }

    /// Signs; the same message gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        *self.0.sk.sign(message, None)
    }
}

/// What a package is to be.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// Flat image of the control core, from address 0 of its memory on.
    pub control: &'a [u8],
    /// Flat image of the data cores.
    pub data: &'a [u8],
    /// Board that it is for.
    pub board: u32,
    /// Register map that it was built for.
    pub map_version: u32,
    /// Semantic version.
    pub version: Version,
    /// Security version.
    pub security_version: u32,
    /// The build's name: at most 32 printable characters, others are left out.
    pub label: &'a str,
}

/// A signed package.
///
/// # Errors
/// [`HeaderError`] if an image is empty or too long for core memory.
pub fn package(contents: &Contents<'_>, key: &SigningKey) -> Result<Vec<u8>, HeaderError> {
    let mut body = padded(contents.control, 4);
    let control_len = body.len() as u32;
    body = padded(&body, IMAGE_ALIGN as usize);
    let data_offset = HEADER_SIZE as u32 + body.len() as u32;
    let data = padded(contents.data, 4);
    body.extend_from_slice(&data);
    let section = |offset: u32, len: usize| Section {
        offset: offset.into(),
        len: (len as u32).into(),
        ..Section::default()
    };
    let mut header = Header::new_zeroed();
    header.magic = MAGIC.into();
    header.format = FORMAT.into();
    header.header_len = (HEADER_SIZE as u16).into();
    header.map_version = contents.map_version.into();
    header.board = contents.board.into();
    let Version {
        major,
        minor,
        patch,
    } = contents.version;
    header.version = [major.into(), minor.into(), patch.into()];
    header.security_version = contents.security_version.into();
    header.package_len = (HEADER_SIZE as u32 + body.len() as u32).into();
    header.images = [
        section(HEADER_SIZE as u32, control_len as usize),
        section(data_offset, data.len()),
    ];
    let printable = contents.label.bytes().filter(|b| (b' '..=b'~').contains(b));
    for (to, from) in header.label.iter_mut().zip(printable) {
        *to = from;
    }
    header.sha256.copy_from_slice(&Sha256::digest(&body));
    sign(&mut header, key);
    header.bounded()?;
    let mut package = header.as_bytes().to_vec();
    package.append(&mut body);
    Ok(package)
}

/// Signs a header as it is.
pub fn sign(header: &mut Header, key: &SigningKey) {
    header.key_id = key_id(&key.public());
    header.signature = key.sign(header.signed());
}

/// A certificate for a signing key.
#[must_use]
pub fn certificate(
    root: &SigningKey,
    key: &[u8; 32],
    board: u32,
    generation: u32,
    revokes_below: u32,
) -> Certificate {
    let mut certificate = Certificate::new_zeroed();
    certificate.magic = keys::MAGIC.into();
    certificate.format = keys::FORMAT.into();
    certificate.board = board.into();
    certificate.generation = generation.into();
    certificate.revokes_below = revokes_below.into();
    certificate.key = *key;
    certificate.signature = root.sign(certificate.signed());
    certificate
}

/// Factory data. A serial number longer than 20 bytes is cut.
#[must_use]
pub fn factory_data(serial: &str, mac: [u8; 6], mac_count: u16, revision: u16) -> FactoryData {
    let mut data = FactoryData::new_zeroed();
    data.magic = factory::MAGIC.into();
    data.format = factory::FORMAT.into();
    data.revision = revision.into();
    data.mac = mac;
    data.mac_count = mac_count.into();
    for (to, from) in data.serial.iter_mut().zip(serial.bytes()) {
        *to = from;
    }
    data.crc = data.checksum().into();
    data
}

/// Everything that a new card's flash holds: the package in slot A, confirmed; slot B blank.
#[must_use]
pub fn whole_flash(
    package: &[u8],
    certificates: &[Certificate],
    factory: Option<&FactoryData>,
) -> Vec<u8> {
    let mut flash = vec![0xFF; FLASH_SIZE as usize];
    let mut put = |at: u32, bytes: &[u8]| {
        flash[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    };
    put(SLOTS[0], package);
    for (at, certificate) in KEYS.into_iter().zip(certificates) {
        put(at, certificate.as_bytes());
    }
    if let Some(factory) = factory {
        put(FACTORY, factory.as_bytes());
    }
    let confirmed = State {
        active: Some(Slot::A),
        ..State::default()
    };
    let (at, record) = Journal::first_record(&confirmed);
    put(at, &record);
    flash
}

fn padded(bytes: &[u8], to: usize) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(to), 0);
    padded
}
