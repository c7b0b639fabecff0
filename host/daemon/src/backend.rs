//! Where devices come from: an address says which backend, and the program has those that were built in.

use std::fmt;
use std::path::{Path, PathBuf};

use sluice_device::Device;
use sluice_vfio::{Domain, Interface, Kind, System};
use sluice_vfio_user::client::{Bus, Options};

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

/// The backends of the program. Each is an arm of [`BuiltIn::open`]; a device is boxed, so they may differ in type. Devices of one
/// backend reach each other; a card and its SSDs have to be of the same.
#[derive(Default)]
pub struct BuiltIn {
    vfio: Option<Domain>,
    bus: Option<Bus>,
}

impl BuiltIn {
    /// A PCI function. Others reach packet memory (BAR2) of a card, and doorbells (BAR0) of an SSD.
    fn vfio(&mut self, address: &str) -> Result<Box<dyn Device>, String> {
        let words = |error: sluice_vfio::VfioError| error.to_string();
        let address = address.parse().map_err(words)?;
        let system = System::default();
        let peers = match system.look(address).map_err(words)?.kind() {
            Some(Kind::Card) => 2,
            Some(Kind::Ssd) => 0,
            None => {
                return Err(format!(
                    "{address} is neither a Sluice card nor an NVMe SSD; `lspci -nn` says what it is"
                ));
            }
        };
        let domain = match &self.vfio {
            Some(domain) => domain,
            None => {
                let domain = Domain::new(system, Interface::Choose, None).map_err(words)?;
                self.vfio.insert(domain)
            }
        };
        let device = sluice_vfio::Device::open(domain, address, &[peers]).map_err(words)?;
        Ok(Box::new(device))
    }

    fn vfio_user(&mut self, path: &Path) -> Result<Box<dyn Device>, String> {
        let bus = self.bus.get_or_insert_with(Bus::new);
        let device = bus.open(path, &Options::default());
        Ok(Box::new(device.map_err(|error| error.to_string())?))
    }
}

impl Backends for BuiltIn {
    type Device = Box<dyn Device>;

    fn open(&mut self, name: &str, address: Option<&Address>) -> Result<Box<dyn Device>, String> {
        match address {
            None => Err(format!(
                "{name} has no address; give it one such as 0000:01:00.0"
            )),
            Some(Address::Pci(_)) if self.bus.is_some() => Err(format!(
                "{name}: the other devices are behind vfio-user sockets, which a PCI device cannot reach; give all of them the same kind of address"
            )),
            Some(Address::VfioUser(_)) if self.vfio.is_some() => Err(format!(
                "{name}: the other devices are PCI devices, which one behind a vfio-user socket cannot reach; give all of them the same kind of address"
            )),
            Some(Address::Pci(address)) => self.vfio(address),
            Some(Address::VfioUser(path)) => self.vfio_user(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_is_named_with_what_to_do() {
        let mut backends = BuiltIn::default();
        let mut open = |address: Option<&str>| {
            let address = address.map(Address::parse);
            let opened = backends.open("fast", address.as_ref());
            opened.err().expect("there is no such device")
        };
        let none = open(None);
        assert!(none.contains("give it one such as 0000:01:00.0"), "{none}");
        let odd = open(Some("01-00"));
        assert!(odd.contains("01-00"), "{odd}");
        let absent = open(Some("ffff:ff:1f.7"));
        assert!(absent.contains("ffff:ff:1f.7"), "{absent}");
    }

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
