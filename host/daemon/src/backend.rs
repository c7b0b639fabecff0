//! Where devices come from: an address says which backend, and the program has those that were built in.
//!
//! A program that starts may find what an earlier one has left: devices that run, and the memory that they use. They are
//! [taken up](Backends::take_up), or given up.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use sluice_device::{Device, Keeper, sort_kept};
use sluice_vfio::{Domain, Interface, Kind, PciAddress, System};
use sluice_vfio_user::client::{Bus, Left, Options, kept};

/// Opens devices.
pub trait Backends {
    /// What comes out.
    type Device: Device;

    /// Opens the SSD of this name and address.
    ///
    /// # Errors
    /// In words: what is wrong, and what to do.
    fn open(&mut self, name: &str, address: Option<&Address>) -> Result<Self::Device, String>;

    /// The device of this address as an earlier program has left it, not reset; `None` if none was left.
    ///
    /// # Errors
    /// In words. The device is given up then.
    fn take_up(
        &mut self,
        name: &str,
        address: Option<&Address>,
    ) -> Result<Option<Self::Device>, String> {
        let _ = (name, address);
        Ok(None)
    }

    /// Gives up devices that an earlier program has left and nobody has taken up: when this returns they write nothing more.
    fn give_up_devices(&mut self) {}

    /// Gives up memory that an earlier program has left and nobody uses.
    fn give_up_memory(&mut self) {}
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

/// Who keeps what must outlive the program. Backends ask from several threads.
pub type SharedKeeper = Arc<dyn Keeper + Send + Sync>;

/// The backends of the program. Each is an arm of [`BuiltIn::open`]; a device is boxed, so they may differ in type. Devices of one
/// backend reach each other; a card and its SSDs have to be of the same.
#[derive(Default)]
pub struct BuiltIn {
    vfio: Option<Domain>,
    bus: Option<Bus>,
    /// Devices on the bus of an earlier program.
    left: Vec<Left>,
    /// What the devices that are open are.
    open: Option<Scheme>,
    keeper: Option<SharedKeeper>,
}

/// What devices are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Pci,
    VfioUser,
}

/// A keeper of several threads where one is asked for that belongs to one.
struct OfOne(SharedKeeper);

impl Keeper for OfOne {
    fn keep(&self, name: &str, fd: std::os::fd::BorrowedFd<'_>) -> std::io::Result<()> {
        self.0.keep(name, fd)
    }
    fn forget(&self, name: &str) {
        self.0.forget(name);
    }
}

impl BuiltIn {
    /// With what an earlier program has left with `keeper`. What cannot be taken over is given up, and reset.
    #[must_use]
    pub fn taking_over(keeper: SharedKeeper, left: Vec<(String, OwnedFd)>) -> Self {
        let mut backends = Self {
            keeper: Some(keeper.clone()),
            ..Self::default()
        };
        let (vfio, others) = sort_kept::<sluice_vfio::Name>(left);
        let (user, others) = sort_kept::<kept::Name>(others);
        for (name, _) in others {
            log::warn!("a descriptor of the name {name:?} is nothing of this version's; dropped");
            keeper.forget(&name);
        }
        if !vfio.is_empty() {
            let names: Vec<_> = vfio.iter().map(|(name, _)| name.to_string()).collect();
            match Domain::adopt(System::default(), vfio, backends.vfio_keeper()) {
                Ok(domain) => backends.vfio = Some(domain),
                Err(error) => {
                    log::error!("{error}");
                    names.iter().for_each(|name| keeper.forget(name));
                }
            }
        }
        if !user.is_empty() {
            let names: Vec<_> = user.iter().map(|(name, _)| name.to_string()).collect();
            match Bus::adopt(user, keeper.clone(), &Options::default()) {
                Ok((bus, left)) => (backends.bus, backends.left) = (Some(bus), left),
                Err(error) => {
                    log::error!("{error}");
                    names.iter().for_each(|name| keeper.forget(name));
                }
            }
        }
        backends
    }

    fn vfio_keeper(&self) -> Option<Rc<dyn Keeper>> {
        let keeper = self.keeper.clone()?;
        Some(Rc::new(OfOne(keeper)))
    }

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
        // Before VFIO as a whole, of which it is of no use to speak if the IOMMU is off or another driver has the device.
        system.check(address).map_err(words)?;
        let domain = match &self.vfio {
            Some(domain) => domain,
            None => {
                let domain = Domain::new(system, Interface::Choose, self.vfio_keeper());
                self.vfio.insert(domain.map_err(words)?)
            }
        };
        let device = sluice_vfio::Device::open(domain, address, &[peers]).map_err(words)?;
        Ok(Box::new(device))
    }

    fn vfio_user(&mut self, path: &Path) -> Result<Box<dyn Device>, String> {
        let new = || self.keeper.clone().map_or_else(Bus::new, Bus::kept_by);
        let bus = self.bus.get_or_insert_with(new);
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
            Some(Address::Pci(_)) if self.open == Some(Scheme::VfioUser) => Err(format!(
                "{name}: the other devices are behind vfio-user sockets, which a PCI device cannot reach; give all of them the same kind of address"
            )),
            Some(Address::VfioUser(_)) if self.open == Some(Scheme::Pci) => Err(format!(
                "{name}: the other devices are PCI devices, which one behind a vfio-user socket cannot reach; give all of them the same kind of address"
            )),
            Some(Address::Pci(address)) => {
                let device = self.vfio(address)?;
                self.open = Some(Scheme::Pci);
                Ok(device)
            }
            Some(Address::VfioUser(path)) => {
                let device = self.vfio_user(path)?;
                self.open = Some(Scheme::VfioUser);
                Ok(device)
            }
        }
    }

    fn take_up(
        &mut self,
        _name: &str,
        address: Option<&Address>,
    ) -> Result<Option<Box<dyn Device>>, String> {
        match (address, &self.vfio) {
            (Some(Address::Pci(address)), Some(domain)) => {
                let address = address
                    .parse::<PciAddress>()
                    .map_err(|error| error.to_string())?;
                if !domain.left().contains(&address) {
                    return Ok(None);
                }
                let device = sluice_vfio::Device::adopt(domain, address);
                let device = device.map_err(|error| error.to_string())?;
                self.open = Some(Scheme::Pci);
                Ok(Some(Box::new(device)))
            }
            (Some(Address::VfioUser(path)), _) => {
                let Some(at) = self.left.iter().position(|left| left.is(path)) else {
                    return Ok(None);
                };
                let device = self.left.swap_remove(at).take_up(path);
                let device = device.map_err(|error| error.to_string())?;
                self.open = Some(Scheme::VfioUser);
                Ok(Some(Box::new(device)))
            }
            _ => Ok(None),
        }
    }

    fn give_up_devices(&mut self) {
        self.left.drain(..).for_each(Left::give_up);
        if let Some(domain) = &self.vfio {
            domain.forget_left();
        }
    }

    fn give_up_memory(&mut self) {
        // With VFIO it is given out again, in parts.
        if let Some(bus) = &self.bus {
            bus.forget_memory();
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
