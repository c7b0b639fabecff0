//! The header of a firmware package, and what is checked of it before a byte of it is used.
//!
//! A package is one file with both firmware images: a header of 256 bytes, the control core's image, padding to a multiple
//! of 16, the data cores' image. Little-endian. The signature covers the header up to itself, and the header has the digest
//! of everything behind it.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use crate::layout::{CONTROL_MEMORY, CORE_MEMORY, SLOT_SIZE};

/// First word of a package: "SLFW".
pub const MAGIC: u32 = u32::from_le_bytes(*b"SLFW");
/// The format described here.
pub const FORMAT: u16 = 1;
/// Bytes of the header.
pub const HEADER_SIZE: usize = 256;
/// Bytes of the header that the signature covers.
pub const SIGNED: usize = HEADER_SIZE - 64;
/// Images begin at multiples of this.
pub const IMAGE_ALIGN: u32 = 16;
/// The longest package: what a slot holds.
pub const MAX_PACKAGE: u32 = SLOT_SIZE;

/// Boards that there are.
pub mod boards {
    /// The simulated card, functional or Verilated.
    pub const SIMULATED: u32 = 1;
}

/// Header of a package as it lies in the file and in the flash.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`FORMAT`].
    pub format: U16,
    /// [`HEADER_SIZE`].
    pub header_len: U16,
    /// Register map that the firmware was built for.
    pub map_version: U32,
    /// Board that it was built for.
    pub board: U32,
    /// Semantic version: major, minor, patch.
    pub version: [U16; 3],
    /// Zero.
    pub reserved0: U16,
    /// Never started on a card whose fuses have a higher one.
    pub security_version: U32,
    /// Bytes of the whole package, header included.
    pub package_len: U32,
    /// The images: the control core's, the data cores'.
    pub images: [Section; 2],
    /// What the build calls itself, printable ASCII, zero padded.
    pub label: [u8; 32],
    /// SHA-256 of the package behind the header.
    pub sha256: [u8; 32],
    /// Identifier of the key that signed.
    pub key_id: [u8; 8],
    /// Zero.
    pub reserved1: [u8; 56],
    /// Ed25519 signature (RFC 8032) of the header's first [`SIGNED`] bytes.
    pub signature: [u8; 64],
}
const _: () = assert!(size_of::<Header>() == HEADER_SIZE);

/// One image in a package.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Section {
    /// From the package's first byte.
    pub offset: U32,
    /// Bytes, a multiple of 4.
    pub len: U32,
    /// Address in each core's memory that its first byte goes to, a multiple of 4.
    pub load: U32,
    /// Zero.
    pub reserved: U32,
}

/// Which image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageKind {
    /// The control core's.
    Control,
    /// That of the data cores.
    Data,
}

impl ImageKind {
    /// Both, in the order in which they lie in a package.
    pub const ALL: [Self; 2] = [Self::Control, Self::Data];
}

/// Semantic version, ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Version {
    /// Incompatible changes.
    pub major: u16,
    /// Additions.
    pub minor: u16,
    /// Corrections.
    pub patch: u16,
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Where an image lies in its package and where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// From the package's first byte.
    pub offset: u32,
    /// Bytes, a multiple of 4, at least 4.
    pub len: u32,
    /// Address in core memory; `load + len` is within it.
    pub load: u32,
}

/// What a header says, within bounds. Holding one proves that every length and place can be used as it is; whether the
/// package is genuine is another question ([`crate::check`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Package {
    /// Semantic version.
    pub version: Version,
    /// Security version.
    pub security_version: u32,
    /// Register map that it needs.
    pub map_version: u32,
    /// Board that it is for.
    pub board: u32,
    /// Bytes of the whole package: 256 to [`MAX_PACKAGE`].
    pub len: u32,
    /// The images: the control core's, the data cores'.
    pub images: [Place; 2],
    /// The build's name, zero padded.
    pub label: [u8; 32],
    /// SHA-256 of what is behind the header.
    pub sha256: [u8; 32],
    /// Key that is said to have signed.
    pub key_id: [u8; 8],
}

impl Package {
    /// The build's name.
    #[must_use]
    pub fn label(&self) -> &str {
        let end = self.label.iter().position(|b| *b == 0).unwrap_or(32);
        core::str::from_utf8(&self.label[..end]).unwrap_or("")
    }
}

/// Why a header is none that this card could use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// Not a package, or an empty slot.
    Magic {
        /// What came.
        got: u32,
    },
    /// A format that this code does not know.
    Format {
        /// What came.
        got: u16,
    },
    /// The header has another length than its format says.
    HeaderLength {
        /// What came.
        got: u16,
    },
    /// A byte that must be zero is not.
    Reserved {
        /// Its offset.
        at: u8,
    },
    /// The label is not printable ASCII followed by zeros.
    Label,
    /// An image does not begin where it should: behind the header, or behind the image before it.
    ImageOffset {
        /// Which.
        image: ImageKind,
        /// Where it must begin.
        want: u32,
        /// What came.
        got: u32,
    },
    /// An image is empty, no whole number of words, or does not fit into what its core has for it.
    ImageLength {
        /// Which.
        image: ImageKind,
        /// What came.
        got: u32,
    },
    /// An image goes to a place outside core memory, or not to a word.
    ImageLoad {
        /// Which.
        image: ImageKind,
        /// What came.
        got: u32,
    },
    /// The package's length is not that of its parts.
    PackageLength {
        /// What the parts make.
        want: u32,
        /// What came.
        got: u32,
    },
}

impl Header {
    /// The header at the start of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8; HEADER_SIZE]) -> &Self {
        zerocopy::transmute_ref!(bytes)
    }

    /// The part that is signed.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.as_bytes()[..SIGNED]
    }

    /// Bounds every field.
    ///
    /// # Errors
    /// [`HeaderError`] for the first field that is out of its range.
    pub fn bounded(&self) -> Result<Package, HeaderError> {
        if self.magic.get() != MAGIC {
            return Err(HeaderError::Magic {
                got: self.magic.get(),
            });
        }
        if self.format.get() != FORMAT {
            return Err(HeaderError::Format {
                got: self.format.get(),
            });
        }
        if usize::from(self.header_len.get()) != HEADER_SIZE {
            return Err(HeaderError::HeaderLength {
                got: self.header_len.get(),
            });
        }
        self.reserved_are_zero()?;
        if !label_is_clean(&self.label) {
            return Err(HeaderError::Label);
        }
        let control = self.images[0].bounded(ImageKind::Control, HEADER_SIZE as u32)?;
        // No overflow: both terms are bounded by the size of core memory.
        let behind = (control.offset + control.len).next_multiple_of(IMAGE_ALIGN);
        let data = self.images[1].bounded(ImageKind::Data, behind)?;
        let want = data.offset + data.len;
        if self.package_len.get() != want {
            return Err(HeaderError::PackageLength {
                want,
                got: self.package_len.get(),
            });
        }
        let [major, minor, patch] = self.version.map(U16::get);
        Ok(Package {
            version: Version {
                major,
                minor,
                patch,
            },
            security_version: self.security_version.get(),
            map_version: self.map_version.get(),
            board: self.board.get(),
            len: want,
            images: [control, data],
            label: self.label,
            sha256: self.sha256,
            key_id: self.key_id,
        })
    }

    fn reserved_are_zero(&self) -> Result<(), HeaderError> {
        use core::mem::offset_of;
        if self.reserved0.get() != 0 {
            return Err(HeaderError::Reserved {
                at: offset_of!(Header, reserved0) as u8,
            });
        }
        for (index, section) in self.images.iter().enumerate() {
            if section.reserved.get() != 0 {
                let at = offset_of!(Header, images) + index * size_of::<Section>() + 12;
                return Err(HeaderError::Reserved { at: at as u8 });
            }
        }
        match self.reserved1.iter().position(|b| *b != 0) {
            Some(at) => Err(HeaderError::Reserved {
                at: (offset_of!(Header, reserved1) + at) as u8,
            }),
            None => Ok(()),
        }
    }
}

impl Section {
    fn bounded(&self, image: ImageKind, want: u32) -> Result<Place, HeaderError> {
        let (offset, len, load) = (self.offset.get(), self.len.get(), self.load.get());
        if offset != want {
            let got = offset;
            return Err(HeaderError::ImageOffset { image, want, got });
        }
        let memory = match image {
            ImageKind::Control => CONTROL_MEMORY,
            ImageKind::Data => CORE_MEMORY,
        };
        if len == 0 || !len.is_multiple_of(4) || len > memory {
            return Err(HeaderError::ImageLength { image, got: len });
        }
        if !load.is_multiple_of(4) || load > memory - len {
            return Err(HeaderError::ImageLoad { image, got: load });
        }
        Ok(Place { offset, len, load })
    }
}

fn label_is_clean(label: &[u8; 32]) -> bool {
    let end = label.iter().position(|b| *b == 0).unwrap_or(label.len());
    label[..end].iter().all(|b| (b' '..=b'~').contains(b)) && label[end..].iter().all(|b| *b == 0)
}
