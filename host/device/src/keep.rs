//! What must outlive the process for a device to go on: closing the last descriptor of a VFIO device resets it. Also what the names
//! of such descriptors have in common, whatever the bus.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::str::FromStr;

/// Keeps descriptors for a later process: systemd's descriptor store, or anything else that is told before they are used.
/// Names are of letters, digits, `-`, `_` and `.`, at most 120 of them, and say all that there is to know of a descriptor.
pub trait Keeper {
    /// Keeps a duplicate of `fd` under `name`. When this returns the descriptor survives the process.
    ///
    /// # Errors
    /// If it could not be handed over; the device can be used, but will not survive.
    fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// `name` need not be kept any longer.
    fn forget(&self, name: &str);
}

/// Where a BAR lies on a bus. In the name of a descriptor `BAR.length.address`, in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptBar {
    /// BAR, 0 to 5.
    pub index: u8,
    /// Bytes.
    pub len: u64,
    /// Bus address.
    pub base: u64,
}

impl fmt::Display for KeptBar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}.{:x}", self.index, self.len, self.base)
    }
}

impl FromStr for KeptBar {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let mut fields = text.split('.').map(|f| u64::from_str_radix(f, 16).ok());
        let mut next = || fields.next().flatten().ok_or_else(|| NoName(text.into()));
        let bar = Self {
            index: u8::try_from(next()?)
                .ok()
                .filter(|bar| *bar < 6)
                .ok_or_else(|| NoName(text.into()))?,
            len: next()?,
            base: next()?,
        };
        match fields.next() {
            None => Ok(bar),
            Some(_) => Err(NoName(text.into())),
        }
    }
}

/// A name, or a part of one, that this version does not give to a descriptor.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no name of a descriptor of this version")]
pub struct NoName(pub String);

/// Descriptors of an earlier process whose names are of this kind.
pub type Kept<N> = Vec<(N, OwnedFd)>;

/// Sorts descriptors of an earlier process: those whose names are of this kind, and the others.
#[must_use]
pub fn sort_kept<N: FromStr>(all: Kept<String>) -> (Kept<N>, Kept<String>) {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for (text, fd) in all {
        match text.parse() {
            Ok(name) => ours.push((name, fd)),
            Err(_) => others.push((text, fd)),
        }
    }
    (ours, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_written_and_read_in_one_way_only() {
        let bar = KeptBar {
            index: 5,
            len: 1 << 24,
            base: u64::MAX - 1,
        };
        assert_eq!(bar.to_string().parse(), Ok(bar));
        for text in ["", "0.0", "6.1.1", "100.1.1", "0.1.2.3", "0.x.1"] {
            assert_eq!(text.parse::<KeptBar>(), Err(NoName(text.into())));
        }
    }

    #[test]
    fn descriptors_are_sorted_by_whose_names_they_have() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").expect("there"));
        let all = ["0.1.2", "rpc.socket", "1.2.3"].map(|name| (name.to_string(), null()));
        let (bars, others) = sort_kept::<KeptBar>(all.into());
        let indices: Vec<u8> = bars.iter().map(|(bar, _)| bar.index).collect();
        assert_eq!((indices, others[0].0.as_str()), (vec![0, 1], "rpc.socket"));
    }
}
