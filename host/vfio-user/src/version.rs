//! What client and server agree on with their first messages.
//! Source: vfio-user protocol specification, section `VFIO_USER_VERSION`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zerocopy::{FromBytes, IntoBytes};

use crate::wire::Version;

/// Major version spoken here.
pub const MAJOR: u16 = 0;
/// Highest minor version spoken here.
pub const MINOR: u16 = 1;

/// Descriptors that may come with one message. QEMU accepts no more than 16.
pub const MAX_FDS: usize = 16;
/// Most bytes of data in one message: the protocol's default.
pub const MAX_DATA: u32 = 1 << 20;
/// Most DMA mappings at a time: the protocol's default.
pub const MAX_MAPS: u32 = 65_535;
/// Page size of DMA mappings.
pub const PAGE: u64 = 4096;

/// What a side can do. A field that is missing has the protocol's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Descriptors that the sender takes with one message.
    pub max_msg_fds: u64,
    /// Bytes of data that the sender takes with one message.
    pub max_data_xfer_size: u64,
    /// DMA mappings that can be there at a time.
    pub max_dma_maps: u64,
    /// Page sizes of DMA mappings, or'ed together.
    pub pgsizes: u64,
    /// `RegionWriteMulti` is understood.
    pub write_multiple: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            max_msg_fds: 1,
            max_data_xfer_size: 1 << 20,
            max_dma_maps: 65_535,
            pgsizes: PAGE,
            write_multiple: false,
        }
    }
}

impl Capabilities {
    /// What this implementation can do, as client and as server.
    pub const OURS: Self = Self {
        max_msg_fds: MAX_FDS as u64,
        max_data_xfer_size: MAX_DATA as u64,
        max_dma_maps: MAX_MAPS as u64,
        pgsizes: PAGE,
        write_multiple: true,
    };

    /// Descriptors to send in one message to somebody who said this; at least 1.
    #[must_use]
    pub fn fds(&self) -> usize {
        self.max_msg_fds.clamp(1, MAX_FDS as u64) as usize
    }

    /// Bytes of data to send in one message to somebody who said this; at least 8.
    #[must_use]
    pub fn data(&self) -> usize {
        self.max_data_xfer_size.clamp(8, MAX_DATA.into()) as usize
    }
}

#[derive(Serialize)]
struct Json {
    capabilities: Capabilities,
}

/// Why a version message is no good.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VersionError {
    /// Not even the numbers.
    #[error("VERSION of {len} bytes: at least 4 wanted")]
    Short {
        /// What came.
        len: usize,
    },
    /// Another protocol.
    #[error("vfio-user version {major}.{minor}: {MAJOR}.x wanted")]
    Major {
        /// What came.
        major: u16,
        /// What came.
        minor: u16,
    },
    /// The text behind the numbers.
    #[error("VERSION: JSON object with capabilities wanted: {reason}")]
    Json {
        /// What is wrong with it.
        reason: String,
    },
}

/// The payload of a version message.
///
/// # Panics
/// Never: the capabilities are plain numbers.
#[must_use]
pub fn payload(minor: u16, capabilities: &Capabilities) -> Vec<u8> {
    let head = Version {
        major: MAJOR.into(),
        minor: minor.into(),
    };
    let json = Json {
        capabilities: *capabilities,
    };
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend(serde_json::to_vec(&json).expect("plain numbers"));
    bytes.push(0);
    bytes
}

/// Reads the payload of a version message: minor version and capabilities. The text is optional.
///
/// # Errors
/// [`VersionError`].
pub fn parse(payload: &[u8]) -> Result<(u16, Capabilities), VersionError> {
    let (version, text) = Version::read_from_prefix(payload)
        .map_err(|_| VersionError::Short { len: payload.len() })?;
    let (major, minor) = (version.major.get(), version.minor.get());
    if major != MAJOR {
        return Err(VersionError::Major { major, minor });
    }
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok((minor, Capabilities::default()));
    }
    let wrong = |error: serde_json::Error| VersionError::Json {
        reason: error.to_string(),
    };
    // Through maps, since a list would do for a structure.
    let mut json: Map<String, Value> = serde_json::from_slice(text).map_err(wrong)?;
    let Some(said) = json.remove("capabilities") else {
        return Ok((minor, Capabilities::default()));
    };
    let said: Map<String, Value> = serde_json::from_value(said).map_err(wrong)?;
    let capabilities = serde_json::from_value(Value::Object(said)).map_err(wrong)?;
    Ok((minor, capabilities))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let said = payload(1, &Capabilities::OURS);
        assert_eq!(said.last(), Some(&0), "ended by a zero byte");
        assert_eq!(parse(&said), Ok((1, Capabilities::OURS)));
    }

    #[test]
    fn without_text_or_with_unknown_entries_the_defaults_hold() {
        let default = Capabilities::default();
        assert_eq!(parse(&[0, 0, 1, 0]), Ok((1, default)));
        assert_eq!(parse(b"\0\0\x01\0\0"), Ok((1, default)));
        assert_eq!(parse(b"\0\0\0\0{}\0"), Ok((0, default)));
        let qemu = b"\0\0\x01\0{\"capabilities\": {\"migration\": {\"pgsize\": 4096}, \"max_msg_fds\": 16}}\0";
        let (_, got) = parse(qemu).expect("good");
        assert_eq!(got.max_msg_fds, 16);
    }

    #[test]
    fn nonsense_is_refused_with_what_was_wanted() {
        assert_eq!(parse(&[0, 0, 1]), Err(VersionError::Short { len: 3 }));
        let major = VersionError::Major { major: 1, minor: 0 };
        assert_eq!(parse(&[1, 0, 0, 0]), Err(major));
        for text in [
            "[]",
            "{",
            "{\"capabilities\": 1}",
            "{\"capabilities\": {\"max_msg_fds\": -1}}",
            "\u{1}",
        ] {
            let said = [b"\0\0\x01\0", text.as_bytes(), b"\0"].concat();
            assert!(
                matches!(parse(&said), Err(VersionError::Json { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn limits_of_the_other_side_are_kept_and_absurd_ones_do_no_harm() {
        let absurd = |n| Capabilities {
            max_msg_fds: n,
            max_data_xfer_size: n,
            ..Capabilities::OURS
        };
        assert_eq!((absurd(0).fds(), absurd(0).data()), (1, 8));
        assert_eq!(
            (absurd(u64::MAX).fds(), absurd(u64::MAX).data()),
            (MAX_FDS, 1 << 20)
        );
        assert_eq!((absurd(12).fds(), absurd(12).data()), (12, 12));
    }
}
