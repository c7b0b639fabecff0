//! What sysfs says of PCI devices, and giving them to vfio-pci and back. Both roots are parameters, so that all of it is
//! tested against a tree of files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sluice_regs::pci;

use crate::{PciAddress, VfioError};

/// The driver that devices must be with.
const VFIO_PCI: &str = "vfio-pci";
/// Class of an NVMe SSD: mass storage, non-volatile memory, NVM Express.
const NVME: u32 = 0x01_08_02;
/// How long a driver may take to let go of a device or to take it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the system's files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct System {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            dev: "/dev".into(),
        }
    }
}

/// A PCI function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Where it is.
    pub address: PciAddress,
    /// Vendor number.
    pub vendor: u16,
    /// Device number.
    pub device: u16,
    /// Class code.
    pub class: u32,
    /// Its driver, if any.
    pub driver: Option<String>,
    /// Its IOMMU group, if the IOMMU is on.
    pub group: Option<u32>,
}

/// What a function is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A Sluice card.
    Card,
    /// An NVMe SSD.
    Ssd,
}

impl Found {
    /// What it is to us, if anything.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match (self.vendor, self.device, self.class) {
            (pci::VENDOR, pci::DEVICE, _) => Some(Kind::Card),
            (.., NVME) => Some(Kind::Ssd),
            _ => None,
        }
    }
}

impl System {
    /// Every card and SSD, by address.
    ///
    /// # Errors
    /// [`VfioError::System`] if sysfs cannot be read.
    pub fn candidates(&self) -> Result<Vec<Found>, VfioError> {
        let folder = self.sys.join("bus/pci/devices");
        let failed = || VfioError::system(folder.display().to_string());
        let mut all = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let Some(Ok(address)) = name.to_str().map(str::parse::<PciAddress>) else {
                continue;
            };
            // One may go while the others are looked at.
            all.extend(self.look(address).ok());
        }
        all.retain(|found| found.kind().is_some());
        all.sort_by_key(|found| found.address);
        Ok(all)
    }

    /// The function at an address.
    ///
    /// # Errors
    /// [`VfioError::NoDevice`], or if sysfs cannot be read.
    pub fn look(&self, address: PciAddress) -> Result<Found, VfioError> {
        let folder = self.folder(address);
        if !folder.exists() {
            let (address, path) = (address.to_string(), folder.display().to_string());
            return Err(VfioError::NoDevice { address, path });
        }
        Ok(Found {
            address,
            vendor: number(&folder.join("vendor"))? as u16,
            device: number(&folder.join("device"))? as u16,
            class: number(&folder.join("class"))?,
            driver: link(&folder.join("driver")),
            group: link(&folder.join("iommu_group")).and_then(|g| g.parse().ok()),
        })
    }

    /// Checks that VFIO can be given this function: the IOMMU is on, vfio-pci has it, and nobody else anything of its group.
    ///
    /// # Errors
    /// [`VfioError`], each with what to do.
    pub fn check(&self, address: PciAddress) -> Result<Found, VfioError> {
        let found = self.look(address)?;
        let name = || address.to_string();
        let group = found
            .group
            .ok_or_else(|| VfioError::NoIommu { address: name() })?;
        match found.driver.as_deref() {
            Some(VFIO_PCI) => {}
            None => return Err(VfioError::NoDriver { address: name() }),
            Some(driver) => {
                let driver = driver.into();
                return Err(VfioError::OtherDriver {
                    address: name(),
                    driver,
                });
            }
        }
        let others = self.strangers(group);
        if !others.is_empty() {
            let (address, others) = (name(), others.join(", "));
            return Err(VfioError::GroupShared {
                address,
                group,
                others,
            });
        }
        Ok(found)
    }

    /// Functions of a group that are with drivers which do not share it: all but vfio's, the stub and PCIe ports.
    pub(crate) fn strangers(&self, group: u32) -> Vec<String> {
        let folder = self
            .sys
            .join(format!("kernel/iommu_groups/{group}/devices"));
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut others: Vec<String> = names
            .filter_map(|name| {
                let driver = link(&self.folder(name.parse().ok()?).join("driver"))?;
                let harmless =
                    ["pci-stub", "pcieport"].contains(&&*driver) || driver.starts_with("vfio");
                (!harmless).then(|| format!("{name} ({driver})"))
            })
            .collect();
        others.sort();
        others
    }

    /// Gives a function to vfio-pci; nothing if it has it already.
    ///
    /// # Errors
    /// [`VfioError`]; `Permission` without the right to.
    pub fn bind(&self, address: PciAddress) -> Result<(), VfioError> {
        let found = self.look(address)?;
        if found.driver.as_deref() == Some(VFIO_PCI) {
            return Ok(());
        }
        if found.group.is_none() {
            let address = address.to_string();
            return Err(VfioError::NoIommu { address });
        }
        let driver = self.sys.join("bus/pci/drivers").join(VFIO_PCI);
        if !driver.exists() {
            let path = driver.display().to_string();
            return Err(VfioError::NoVfio { path });
        }
        self.give(address, VFIO_PCI, Some(VFIO_PCI))
    }

    /// Gives a function back to the driver that it would have had.
    ///
    /// # Errors
    /// [`VfioError`]; `Permission` without the right to.
    pub fn unbind(&self, address: PciAddress) -> Result<(), VfioError> {
        let found = self.look(address)?;
        if found.driver.as_deref() != Some(VFIO_PCI) {
            return Ok(());
        }
        self.give(address, "\n", None)
    }

    /// Sets the override, has the driver let go, and has the kernel look for one anew. With `want` it must be that one; else
    /// any but vfio-pci, or none.
    fn give(&self, address: PciAddress, over: &str, want: Option<&str>) -> Result<(), VfioError> {
        let (folder, name) = (self.folder(address), address.to_string());
        write(&folder.join("driver_override"), over)?;
        let now = || link(&folder.join("driver"));
        let wait = |done: &dyn Fn(Option<&str>) -> bool, doing: &str| {
            let give_up = Instant::now() + PATIENCE;
            while !done(now().as_deref()) {
                if Instant::now() >= give_up {
                    return Err(VfioError::Binding {
                        address: name.clone(),
                        doing: doing.into(),
                        now: now().unwrap_or("none".into()),
                    });
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(())
        };
        if now().is_some() {
            let before = now();
            write(&folder.join("driver/unbind"), &name)?;
            wait(
                &|driver| driver.is_none() || driver != before.as_deref(),
                "unbinding",
            )?;
        }
        write(&self.sys.join("bus/pci/drivers_probe"), &name)?;
        match want {
            Some(want) => wait(&|driver| driver == Some(want), "binding to vfio-pci"),
            None => wait(&|driver| driver != Some(VFIO_PCI), "giving back"),
        }
    }

    fn folder(&self, address: PciAddress) -> PathBuf {
        self.sys.join("bus/pci/devices").join(address.to_string())
    }

    /// `/dev/vfio/vfio`.
    #[must_use]
    pub fn container(&self) -> PathBuf {
        self.dev.join("vfio/vfio")
    }

    /// `/dev/iommu`.
    #[must_use]
    pub fn iommufd(&self) -> PathBuf {
        self.dev.join("iommu")
    }

    /// `/dev/vfio/GROUP`.
    #[must_use]
    pub fn group(&self, group: u32) -> PathBuf {
        self.dev.join("vfio").join(group.to_string())
    }

    /// `/dev/vfio/devices/vfioN` of a function.
    ///
    /// # Errors
    /// [`VfioError::NoVfio`] if the kernel has none.
    pub fn character_device(&self, address: PciAddress) -> Result<PathBuf, VfioError> {
        let folder = self.folder(address).join("vfio-dev");
        let missing = || VfioError::NoVfio {
            path: folder.display().to_string(),
        };
        let mut entries = fs::read_dir(&folder).map_err(|_| missing())?;
        let name = entries.find_map(|e| e.ok()?.file_name().into_string().ok());
        let name = name.filter(|n| n.starts_with("vfio")).ok_or_else(missing)?;
        Ok(self.dev.join("vfio/devices").join(name))
    }
}

fn number(path: &Path) -> Result<u32, VfioError> {
    let text = fs::read_to_string(path).map_err(VfioError::system(path.display().to_string()))?;
    let digits = text.trim().trim_start_matches("0x");
    u32::from_str_radix(digits, 16).map_err(|_| VfioError::System {
        what: path.display().to_string(),
        error: io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} is no number")),
    })
}

/// The last part of what a link points to.
fn link(path: &Path) -> Option<String> {
    fs::read_link(path)
        .ok()?
        .file_name()?
        .to_str()
        .map(String::from)
}

fn write(path: &Path, text: &str) -> Result<(), VfioError> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => VfioError::Permission {
                path: path.display().to_string(),
            },
            _ => VfioError::System {
                what: path.display().to_string(),
                error,
            },
        })
}

#[cfg(test)]
mod tests;
