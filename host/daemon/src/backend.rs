//! Where devices come from: an address says which backend, and the program has those that were built in.

use std::fmt;
use std::path::PathBuf;

use sluice_device::Device;

/// Opens devices.
pub trait Backends {
    /// What comes out.
    type Device: Device;

    /// Opens the SSD of this name and address.
    ///
    /// # Errors
    /// In words: what is wrong, and what to do.
    fn open(&mut self, name: &str, address: Option<&Address>) -> Result<Self::Device, String>;
}

/// Where a device is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A PCIe function, `0000:01:00.0`, through VFIO.
    Pci(String),
    /// A vfio-user server, `vfio-user:/path.sock`.
    VfioUser(PathBuf),
}

/// Begins the address of a vfio-user server.
pub const VFIO_USER: &str = "vfio-user:";

impl Address {
    /// Reads one; what it looks like was checked by whoever took it in.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix(VFIO_USER) {
            Some(path) => Self::VfioUser(path.into()),
            None => Self::Pci(text.into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => f.write_str(address),
            Self::VfioUser(path) => write!(f, "{VFIO_USER}{}", path.display()),
        }
    }
}

/// The backends of the program. Each is an arm of [`BuiltIn::open`]; a device is boxed, so they may differ in type.
#[derive(Debug, Default)]
pub struct BuiltIn;

impl Backends for BuiltIn {
    type Device = Box<dyn Device>;

    fn open(&mut self, name: &str, address: Option<&Address>) -> Result<Box<dyn Device>, String> {
        match address {
            None => Err(format!("{name} has no address; give it one such as 0000:01:00.0")),
            Some(Address::Pci(_)) => Err("this sluiced was built without the VFIO backend, so it cannot open PCI devices".into()),
            Some(Address::VfioUser(_)) => {
                Err("this sluiced was built without the vfio-user backend, so it cannot open sockets of simulated devices".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_by_their_form() {
        for text in ["0000:01:00.0", "vfio-user:/run/card.sock"] {
            assert_eq!(Address::parse(text).to_string(), text);
        }
        assert_eq!(
            Address::parse("vfio-user:/a"),
            Address::VfioUser("/a".into())
        );
    }
}
