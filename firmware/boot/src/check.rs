//! Is a package good: made for this card, signed by somebody who may, new enough, and whole?
//!
//! [`Check`] reads a slot in steps of at most [`STEP`] bytes, for the firmware that must not wait; the boot ROM takes the
//! steps in a loop. The only long step is the first: it verifies one or two Ed25519 signatures.

use sha2::{Digest, Sha256};

use crate::flash::{self, Flash, FlashError};
use crate::fuses::Fuses;
use crate::image::{HEADER_SIZE, Header, HeaderError, ImageKind, Package};
use crate::keys::{self, CertificateError, KeyId};
use crate::layout::Slot;

/// Bytes read and hashed in one step.
pub const STEP: usize = 256;

/// Why a package is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Its header is not in order.
    Header(HeaderError),
    /// It is for another board.
    Board {
        /// This board.
        want: u32,
        /// The package's.
        got: u32,
    },
    /// It needs another register map.
    MapVersion {
        /// The card's.
        want: u32,
        /// The package's.
        got: u32,
    },
    /// It is older than the fuses allow.
    SecurityVersion {
        /// Least that is allowed.
        least: u32,
        /// The package's.
        got: u32,
    },
    /// This key is neither the root key nor in a key slot.
    UnknownKey(KeyId),
    /// The key is in a key slot, but its certificate is not in order.
    Certificate(CertificateError),
    /// The key did not sign this header.
    Signature,
    /// It ends before its length.
    Truncated {
        /// What the header says.
        want: u32,
        /// What is there.
        got: u32,
    },
    /// What is behind the header was changed.
    Digest,
    /// The slot's firmware failed when it was tried, and has not been replaced.
    Failed,
    /// The flash.
    Flash(FlashError),
}

impl Refusal {
    /// A number for each kind, for registers and commands; never 0.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Header(HeaderError::Magic { .. }) => 1,
            Self::Header(HeaderError::Format { .. }) => 2,
            Self::Header(_) => 3,
            Self::Board { .. } => 4,
            Self::MapVersion { .. } => 5,
            Self::SecurityVersion { .. } => 6,
            Self::UnknownKey(_) => 7,
            Self::Certificate(CertificateError::Revoked { .. }) => 8,
            Self::Certificate(_) => 9,
            Self::Signature => 10,
            Self::Truncated { .. } => 11,
            Self::Digest => 12,
            Self::Failed => 13,
            Self::Flash(_) => 14,
        }
    }
}

/// Checks a header by itself: bounds, board, map, security version, signature. What is behind it is not looked at.
///
/// # Errors
/// [`Refusal`].
pub fn header<F: Flash, U: Fuses>(
    header: &Header,
    flash: &mut F,
    fuses: &U,
) -> Result<Package, Refusal> {
    let package = suits(header, fuses)?;
    let key = keys::find(flash, fuses, package.key_id)?;
    if keys::signed_by(&key, header.signed(), &header.signature) {
        Ok(package)
    } else {
        Err(Refusal::Signature)
    }
}

/// What the header in a slot says, within bounds; nothing else is checked.
///
/// # Errors
/// [`Refusal::Header`] or [`Refusal::Flash`].
pub fn peek<F: Flash>(slot: Slot, flash: &mut F) -> Result<Package, Refusal> {
    let mut bytes = [0; HEADER_SIZE];
    flash::read(flash, slot.base(), &mut bytes).map_err(Refusal::Flash)?;
    Header::of(&bytes).bounded().map_err(Refusal::Header)
}

/// All of a header but whether it is genuine.
fn suits<U: Fuses>(header: &Header, fuses: &U) -> Result<Package, Refusal> {
    let package = header.bounded().map_err(Refusal::Header)?;
    let (want, got) = (fuses.board(), package.board);
    if got != want {
        return Err(Refusal::Board { want, got });
    }
    let (want, got) = (fuses.map_version(), package.map_version);
    if got != want {
        return Err(Refusal::MapVersion { want, got });
    }
    let (least, got) = (fuses.security_version(), package.security_version);
    if got < least {
        return Err(Refusal::SecurityVersion { least, got });
    }
    Ok(package)
}

/// A whole package in memory, signed by `key`: for tools.
///
/// # Errors
/// [`Refusal`]; board, map and security version are not compared with anything.
pub fn bytes(package: &[u8], key: &[u8; 32]) -> Result<Package, Refusal> {
    let short = |want: u32| Refusal::Truncated {
        want,
        got: package.len() as u32,
    };
    let head = package
        .first_chunk::<HEADER_SIZE>()
        .ok_or_else(|| short(HEADER_SIZE as u32))?;
    let header = Header::of(head);
    let found = header.bounded().map_err(Refusal::Header)?;
    if keys::key_id(key) != found.key_id {
        return Err(Refusal::UnknownKey(found.key_id));
    }
    if !keys::signed_by(key, header.signed(), &header.signature) {
        return Err(Refusal::Signature);
    }
    if package.len() < found.len as usize {
        return Err(short(found.len));
    }
    // What is behind the end belongs to nobody.
    if package.len() > found.len as usize
        || Sha256::digest(&package[HEADER_SIZE..])[..] != found.sha256
    {
        return Err(Refusal::Digest);
    }
    Ok(found)
}

/// Takes the images as they are read. What it gets is not yet known to be good.
pub trait Sink {
    /// `bytes` of `image` belong at core-memory address `at`.
    fn put(&mut self, image: ImageKind, at: u32, bytes: &[u8]);
}

/// Takes nothing.
pub struct NoSink;

impl Sink for NoSink {
    fn put(&mut self, _: ImageKind, _: u32, _: &[u8]) {}
}

/// The check of one slot, under way.
pub struct Check {
    slot: Slot,
    /// The header, once it is good, and how far the digest has come.
    body: Option<(Package, Sha256, u32)>,
}

impl Check {
    /// Nothing read yet.
    #[must_use]
    pub const fn new(slot: Slot) -> Self {
        Self { slot, body: None }
    }

    /// Which slot.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// Reads a little more; `Some` once the package is known to be good. The flash must not be busy.
    ///
    /// # Errors
    /// [`Refusal`]; then the check is over.
    pub fn step<F: Flash, U: Fuses, S: Sink>(
        &mut self,
        flash: &mut F,
        fuses: &U,
        sink: &mut S,
    ) -> Result<Option<Package>, Refusal> {
        let Some((package, digest, done)) = &mut self.body else {
            let mut bytes = [0; HEADER_SIZE];
            flash::read(flash, self.slot.base(), &mut bytes).map_err(Refusal::Flash)?;
            let package = header(Header::of(&bytes), flash, fuses)?;
            self.body = Some((package, Sha256::new(), HEADER_SIZE as u32));
            return Ok(None);
        };
        let mut bytes = [0; STEP];
        let len = (package.len - *done).min(STEP as u32) as usize;
        let bytes = &mut bytes[..len];
        flash::read(flash, self.slot.base() + *done, bytes).map_err(Refusal::Flash)?;
        digest.update(&*bytes);
        deliver(package, *done, bytes, sink);
        *done += len as u32;
        if *done < package.len {
            return Ok(None);
        }
        if digest.clone().finalize()[..] != package.sha256 {
            return Err(Refusal::Digest);
        }
        Ok(Some(*package))
    }

    /// All steps at once, for those who may wait.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn run<F: Flash, U: Fuses, S: Sink>(
        mut self,
        flash: &mut F,
        fuses: &U,
        sink: &mut S,
    ) -> Result<Package, Refusal> {
        loop {
            if let Some(package) = self.step(flash, fuses, sink)? {
                return Ok(package);
            }
        }
    }
}

/// Gives the sink what of `bytes`, which lie at `from` in the package, belongs to images.
fn deliver<S: Sink>(package: &Package, from: u32, bytes: &[u8], sink: &mut S) {
    let to = from + bytes.len() as u32;
    for (kind, place) in ImageKind::ALL.into_iter().zip(&package.images) {
        let start = place.offset.max(from);
        let end = (place.offset + place.len).min(to);
        if start < end {
            let part = &bytes[(start - from) as usize..(end - from) as usize];
            sink.put(kind, place.load + (start - place.offset), part);
        }
    }
}
