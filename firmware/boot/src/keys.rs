//! Who may sign firmware: the root key, which is in the fuses, and the keys that it has certified, of which the flash holds
//! two.
//!
//! The root key may sign firmware itself, so a small shop needs one key only. A certificate names a signing key and its
//! generation; a new certificate takes the place of the older of the two, so that firmware signed with either is started
//! while a fleet is updated. A certificate may also say that all generations below some number are revoked: that is burnt
//! into the fuses once the certificate is in its place.

use ed25519_compact::{PublicKey, Signature};
use sha2::{Digest, Sha256};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use crate::check::Refusal;
use crate::flash::{self, Flash, FlashError};
use crate::fuses::Fuses;
use crate::layout::KEYS;

/// First word of a certificate: "SLKY".
pub const MAGIC: u32 = u32::from_le_bytes(*b"SLKY");
/// The format described here.
pub const FORMAT: u16 = 1;
/// Bytes of a certificate.
pub const CERTIFICATE_SIZE: usize = 128;
/// Bytes of it that the signature covers.
const SIGNED: usize = CERTIFICATE_SIZE - 64;

/// Names a public key: the first 8 bytes of its SHA-256.
pub type KeyId = [u8; 8];

/// The root key's word for a signing key.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Certificate {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`FORMAT`].
    pub format: U16,
    /// Zero.
    pub reserved0: U16,
    /// Board that it is for.
    pub board: U32,
    /// Counts up with each key, from 1.
    pub generation: U32,
    /// Once this certificate is in its place, keys of a lower generation than this are revoked. At most `generation`.
    pub revokes_below: U32,
    /// Zero.
    pub reserved1: [u8; 12],
    /// Ed25519 public key.
    pub key: [u8; 32],
    /// The root key's Ed25519 signature of what is before it.
    pub signature: [u8; 64],
}
const _: () = assert!(size_of::<Certificate>() == CERTIFICATE_SIZE);

/// Why a certificate is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateError {
    /// Not a certificate.
    Magic {
        /// What came.
        got: u32,
    },
    /// A format that this code does not know.
    Format {
        /// What came.
        got: u16,
    },
    /// A byte that must be zero is not.
    Reserved,
    /// For another board.
    Board {
        /// This board.
        want: u32,
        /// The certificate's.
        got: u32,
    },
    /// Generation 0, or one that revokes itself.
    Generation {
        /// What came.
        got: u32,
    },
    /// Its generation is revoked.
    Revoked {
        /// Its generation.
        got: u32,
        /// Least that the fuses allow.
        least: u32,
    },
    /// The root key did not sign it.
    Signature,
}

impl Certificate {
    /// The certificate at the start of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8; CERTIFICATE_SIZE]) -> &Self {
        zerocopy::transmute_ref!(bytes)
    }

    /// What the root key signs.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.as_bytes()[..SIGNED]
    }

    /// The key's identifier.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        key_id(&self.key)
    }

    /// All but the signature, which costs time.
    fn bounded<U: Fuses>(&self, fuses: &U) -> Result<(), CertificateError> {
        if self.magic.get() != MAGIC {
            return Err(CertificateError::Magic {
                got: self.magic.get(),
            });
        }
        if self.format.get() != FORMAT {
            return Err(CertificateError::Format {
                got: self.format.get(),
            });
        }
        if self.reserved0.get() != 0 || self.reserved1 != [0; 12] {
            return Err(CertificateError::Reserved);
        }
        if self.board.get() != fuses.board() {
            return Err(CertificateError::Board {
                want: fuses.board(),
                got: self.board.get(),
            });
        }
        let got = self.generation.get();
        if got == 0 || self.revokes_below.get() > got {
            return Err(CertificateError::Generation { got });
        }
        let least = fuses.key_generation();
        if got < least {
            return Err(CertificateError::Revoked { got, least });
        }
        Ok(())
    }

    /// Everything, the signature last.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn check<U: Fuses>(&self, fuses: &U) -> Result<(), CertificateError> {
        self.bounded(fuses)?;
        if signed_by(&fuses.root_key(), self.signed(), &self.signature) {
            Ok(())
        } else {
            Err(CertificateError::Signature)
        }
    }
}

/// The identifier of a public key.
#[must_use]
pub fn key_id(key: &[u8; 32]) -> KeyId {
    let digest = Sha256::digest(key);
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

/// RFC 8032 verification; a key or signature that is none is no error but a "no".
#[must_use]
pub fn signed_by(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    PublicKey::new(*key)
        .verify(message, &Signature::new(*signature))
        .is_ok()
}

/// What a key slot holds; `None` if nothing whole.
///
/// # Errors
/// [`FlashError::Failed`].
pub fn read_slot<F: Flash>(flash: &mut F, slot: usize) -> Result<Certificate, FlashError> {
    let mut bytes = [0; CERTIFICATE_SIZE];
    flash::read(flash, KEYS[slot], &mut bytes)?;
    Ok(*Certificate::of(&bytes))
}

/// The public key with this identifier, if it may sign firmware.
///
/// # Errors
/// Why not, as [`Refusal`].
pub fn find<F: Flash, U: Fuses>(flash: &mut F, fuses: &U, id: KeyId) -> Result<[u8; 32], Refusal> {
    let root = fuses.root_key();
    if key_id(&root) == id {
        return Ok(root);
    }
    let mut why = Refusal::UnknownKey(id);
    for slot in 0..KEYS.len() {
        let certificate = read_slot(flash, slot).map_err(Refusal::Flash)?;
        // Only the one that is asked for is worth a signature.
        if certificate.magic.get() != MAGIC || certificate.key_id() != id {
            continue;
        }
        match certificate.check(fuses) {
            Ok(()) => return Ok(certificate.key),
            Err(error) => why = Refusal::Certificate(error),
        }
    }
    Err(why)
}
