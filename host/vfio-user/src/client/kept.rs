//! What of a bus outlives the process: each device's socket with its journal, and the memory that devices reach. A descriptor's
//! name says all there is to know of it, as with VFIO.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use sluice_device::{KeptBar, NoName};

/// Which device: its socket's path, as a number, and where its first BAR lies, so that one opened again is another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceId {
    /// FNV-1a of the path.
    pub path: u64,
    /// Bus address of its first BAR; 0 if it has none.
    pub base: u64,
}

impl DeviceId {
    /// That of the device at `path` with these BARs.
    #[must_use]
    pub fn new(path: &Path, bars: &[KeptBar]) -> Self {
        Self {
            path: path_number(path),
            base: bars.first().map_or(0, |bar| bar.base),
        }
    }
}

/// A path as a number.
#[must_use]
pub fn path_number(path: &Path) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, step)
}

/// What a descriptor is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// The connected socket of a device.
    Device {
        /// Which.
        id: DeviceId,
        /// Bytes of data that its server takes in a message.
        data: u32,
        /// Descriptors that its server takes in a message.
        fds: u8,
        /// Where it lies on the bus.
        bars: Vec<KeptBar>,
    },
    /// A device's journal.
    Journal(DeviceId),
    /// Memory that devices reach.
    Memory {
        /// Bus address.
        base: u64,
        /// Bytes.
        len: u64,
    },
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.path, self.base)
    }
}

impl fmt::Display for Name {
    /// Of letters, digits, `-` and `.` alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(id) => write!(f, "user.journal-{id}"),
            Self::Memory { base, len } => write!(f, "user.memory-{base:x}-{len:x}"),
            Self::Device {
                id,
                data,
                fds,
                bars,
            } => {
                write!(f, "user.device-{id}-{data:x}-{fds:x}")?;
                bars.iter().try_for_each(|bar| write!(f, "-{bar}"))
            }
        }
    }
}

impl FromStr for Name {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        parse(text).ok_or_else(|| NoName(text.into()))
    }
}

fn parse(text: &str) -> Option<Name> {
    let (kind, rest) = text.strip_prefix("user.")?.split_once('-')?;
    let mut parts = rest.split('-');
    let mut hex = || u64::from_str_radix(parts.next()?, 16).ok();
    let (first, second) = (hex()?, hex()?);
    let id = DeviceId {
        path: first,
        base: second,
    };
    let name = match kind {
        "journal" => Name::Journal(id),
        "memory" => Name::Memory {
            base: first,
            len: second,
        },
        "device" => {
            let (data, fds) = (hex()?.try_into().ok()?, hex()?.try_into().ok()?);
            let bars: Option<Vec<_>> = parts.by_ref().map(|part| part.parse().ok()).collect();
            Name::Device {
                id,
                data,
                fds,
                bars: bars?,
            }
        }
        _ => return None,
    };
    parts.next().is_none().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_everything_and_is_one_that_systemd_takes() {
        let bars = [0, 2, 4].map(|index| KeptBar {
            index,
            len: 1 << 24,
            base: 0xC000_0000 + (u64::from(index) << 24),
        });
        let id = DeviceId::new(Path::new("/run/sluice/a card.sock"), &bars);
        let device = |bars: &[KeptBar]| Name::Device {
            id,
            data: 1 << 20,
            fds: 16,
            bars: bars.to_vec(),
        };
        let memory = Name::Memory {
            base: u64::MAX - 4095,
            len: 0x4000,
        };
        for name in [device(&bars), device(&[]), Name::Journal(id), memory] {
            let text = name.to_string();
            assert_eq!(text.parse::<Name>().expect(&text), name);
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            assert!(text.len() <= 120 && text.bytes().all(plain), "{text}");
        }
    }

    #[test]
    fn names_of_others_are_left_alone() {
        for text in [
            "",
            "container",
            "memory-1-2",
            "user.memory-1",
            "user.memory-1-2-3",
            "user.journal-1-x",
            "user.device-1-2-3",
            "user.device-1-2-3-100",
            "user.device-1-2-3-4-0.0",
            "user.device-1-2-3-4-6.1.1",
            "user.socket-1-2",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
