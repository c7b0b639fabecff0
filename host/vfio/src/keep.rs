//! What outlives the process. A descriptor's name says all there is to know of it, so that nothing else has to be kept in
//! step: where a piece of memory is on the bus, where a device's BARs are.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::str::FromStr;

use sluice_device::{Keeper, KeptBar, NoName};

use crate::PciAddress;

/// What a descriptor is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// A VFIO container.
    Container,
    /// An iommufd, and its address space.
    Iommufd {
        /// Number of the address space.
        space: u32,
    },
    /// An IOMMU group.
    Group {
        /// Its number.
        number: u32,
    },
    /// A function.
    Device {
        /// Its address.
        address: PciAddress,
        /// What of it other devices reach.
        bars: Vec<KeptBar>,
    },
    /// Memory that devices reach.
    Memory {
        /// Bus address.
        iova: u64,
        /// Bytes.
        len: u64,
    },
}

impl fmt::Display for Name {
    /// Of letters, digits, `-`, `_` and `.` alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container => f.write_str("container"),
            Self::Iommufd { space } => write!(f, "iommufd-{space}"),
            Self::Group { number } => write!(f, "group-{number}"),
            Self::Memory { iova, len } => write!(f, "memory-{iova:x}-{len:x}"),
            Self::Device { address, bars } => {
                write!(f, "device-{}", address.to_string().replace(':', "_"))?;
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
    let hex = |part: &str| u64::from_str_radix(part, 16).ok();
    let (kind, rest) = text.split_once('-').unwrap_or((text, ""));
    let mut parts = rest.split('-');
    let name = match kind {
        "container" => return rest.is_empty().then_some(Name::Container),
        "iommufd" => Name::Iommufd {
            space: parts.next()?.parse().ok()?,
        },
        "group" => Name::Group {
            number: parts.next()?.parse().ok()?,
        },
        "memory" => Name::Memory {
            iova: hex(parts.next()?)?,
            len: hex(parts.next()?)?,
        },
        "device" => {
            let address = parts.next()?.replace('_', ":").parse().ok()?;
            let bars: Option<Vec<_>> = parts.by_ref().map(|part| part.parse().ok()).collect();
            Name::Device {
                address,
                bars: bars?,
            }
        }
        _ => return None,
    };
    parts.next().is_none().then_some(name)
}

/// systemd's descriptor store (`FileDescriptorStoreMax=` in the unit; 64 is plenty).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemdStore;

impl Keeper for SystemdStore {
    fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        use sd_notify::NotifyState::{FdName, FdStore};
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            let text = "not started by systemd with a notify socket (Type=notify)";
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        }
        sd_notify::notify_with_fds(&[FdStore, FdName(name)], &[fd])
    }

    fn forget(&self, name: &str) {
        use sd_notify::NotifyState::{FdName, FdStoreRemove};
        if let Err(error) = sd_notify::notify(&[FdStoreRemove, FdName(name)]) {
            log::warn!("{name} stays in the descriptor store: {error}");
        }
    }
}

impl SystemdStore {
    /// What systemd has kept for this process: names and descriptors. To be asked once.
    ///
    /// # Errors
    /// If the environment that systemd passed makes no sense.
    pub fn take(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        crate::sys::systemd_descriptors()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use sluice_device::sort_kept;

    fn names() -> Vec<Name> {
        let address = "0000:01:00.0".parse().expect("an address");
        let bar = |index, base| KeptBar {
            index,
            len: 16 << 20,
            base,
        };
        vec![
            Name::Container,
            Name::Iommufd { space: 7 },
            Name::Group { number: 12 },
            Name::Memory {
                iova: 0x20_0000,
                len: 0x40_0000,
            },
            Name::Device {
                address,
                bars: vec![],
            },
            Name::Device {
                address,
                bars: vec![bar(0, 1 << 40), bar(2, u64::MAX - 1)],
            },
        ]
    }

    #[test]
    fn a_name_says_everything_and_is_one_that_systemd_takes() {
        for name in names() {
            let text = name.to_string();
            assert_eq!(text.parse::<Name>().expect(&text), name);
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            assert!(text.len() <= 120 && text.bytes().all(plain), "{text}");
        }
    }

    #[test]
    fn names_of_others_are_left_alone() {
        let fd = || OwnedFd::from(File::open("/dev/null").expect("there"));
        let texts = [
            "container",
            "group-1",
            "rpc.socket",
            "group-x",
            "container-1",
            "memory-1",
            "memory-1-2-3",
            "device-0000_01_00.9",
            "device-0000_01_00.0-7.0.0",
            "device-0000_01_00.0-0.0",
            "",
        ];
        let (ours, others) = sort_kept::<Name>(texts.iter().map(|t| ((*t).into(), fd())).collect());
        let names: Vec<_> = ours.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, [Name::Container, Name::Group { number: 1 }]);
        let left: Vec<_> = others.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(left, texts[2..]);
    }

    #[test]
    fn without_systemd_it_is_said_that_nothing_is_kept() {
        // Tests are not started by systemd.
        let null = File::open("/dev/null").expect("there");
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            let error = SystemdStore
                .keep("container", null.as_fd())
                .expect_err("no systemd");
            assert!(error.to_string().contains("Type=notify"), "{error}");
        }
    }
}
