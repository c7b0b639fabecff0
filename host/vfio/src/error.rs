//! What can stand between this machine and a device, and what to do about it.

use std::io;

/// A device that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum VfioError {
    /// Not an address.
    #[error("a PCI address such as 0000:01:00.0 wanted, {got:?} came; `lspci -D` lists them")]
    Address {
        /// What came.
        got: String,
    },
    /// No such device.
    #[error("{address}: there is no such PCI device (no {path}); `lspci -D` lists what there is")]
    NoDevice {
        /// Its address.
        address: String,
        /// Where it should be.
        path: String,
    },
    /// VFIO is not there.
    #[error("no {path}: load the driver with `modprobe vfio-pci` (kernel option CONFIG_VFIO_PCI)")]
    NoVfio {
        /// What is missing.
        path: String,
    },
    /// The kernel's VFIO cannot do anything with this machine's IOMMU.
    #[error(
        "{path} has no driver for this machine's IOMMU: load it with `modprobe vfio_iommu_type1` (kernel option \
         CONFIG_VFIO_IOMMU_TYPE1), and look for DMAR or AMD-Vi in `dmesg`"
    )]
    NoType1 {
        /// The container.
        path: String,
    },
    /// The IOMMU is off.
    #[error(
        "{address} is in no IOMMU group: switch the IOMMU on in the firmware set-up (VT-d, AMD-Vi), boot with \
         intel_iommu=on (Intel) and look for DMAR or AMD-Vi in `dmesg`"
    )]
    NoIommu {
        /// The device.
        address: String,
    },
    /// Another driver has it.
    #[error(
        "{address} is with driver {driver}, vfio-pci wanted. Whatever uses it must let go of it; then, as root:\n  \
         modprobe vfio-pci\n  \
         echo vfio-pci > /sys/bus/pci/devices/{address}/driver_override\n  \
         echo {address} > /sys/bus/pci/devices/{address}/driver/unbind\n  \
         echo {address} > /sys/bus/pci/drivers_probe"
    )]
    OtherDriver {
        /// The device.
        address: String,
        /// Its driver.
        driver: String,
    },
    /// No driver has it.
    #[error(
        "{address} has no driver, vfio-pci wanted; as root:\n  \
         modprobe vfio-pci\n  \
         echo vfio-pci > /sys/bus/pci/devices/{address}/driver_override\n  \
         echo {address} > /sys/bus/pci/drivers_probe"
    )]
    NoDriver {
        /// The device.
        address: String,
    },
    /// Other devices of the group are in use.
    #[error(
        "IOMMU group {group} of {address} cannot be used: these devices in it are with other drivers: {others}. Bind them to \
         vfio-pci too or unbind them, or put the device into a slot with a group of its own"
    )]
    GroupShared {
        /// The device.
        address: String,
        /// Its group.
        group: u32,
        /// `address (driver)` of those in the way.
        others: String,
    },
    /// Somebody has it open.
    #[error(
        "{path} is in use: another process has {address} or a device of the same group open (`fuser -v {path}` says which)"
    )]
    Busy {
        /// The device.
        address: String,
        /// What could not be opened.
        path: String,
    },
    /// Not allowed.
    #[error(
        "{path}: permission denied; install the udev rule (SUBSYSTEM==\"vfio\", GROUP=\"sluice\", MODE=\"0660\"; the same for \
         KERNEL==\"iommu\") and run as a member of that group, or run as root"
    )]
    Permission {
        /// What could not be opened.
        path: String,
    },
    /// Locked memory ran out.
    #[error(
        "no {len} bytes could be mapped for devices: the limit of locked memory (`ulimit -l`, now {limit}) is reached. Set \
         LimitMEMLOCK=infinity in the service's unit, or memlock in /etc/security/limits.conf"
    )]
    LockedMemory {
        /// Asked for.
        len: u64,
        /// The limit, in words.
        limit: String,
    },
    /// No room in the address space.
    #[error(
        "no {len} bytes at a multiple of {align:#x} left among the bus addresses that the IOMMU lets through ({have})"
    )]
    NoAddresses {
        /// Asked for.
        len: u64,
        /// Alignment.
        align: u64,
        /// What is free.
        have: String,
    },
    /// Other devices must reach a BAR and cannot.
    #[error(
        "{address}: BAR{bar} cannot be mapped for other devices: {reason}. Peer to peer needs a BAR that can be mapped, and \
         VFIO's container (/dev/vfio/vfio) or, with iommufd, Linux 6.19"
    )]
    PeerToPeer {
        /// The device.
        address: String,
        /// Which.
        bar: u8,
        /// Why.
        reason: String,
    },
    /// What an earlier process left does not hold together.
    #[error(
        "cannot take over what an earlier process left: {reason}; the devices must be reset and set up anew"
    )]
    Adopt {
        /// Why.
        reason: String,
    },
    /// A device cannot be reset.
    #[error(
        "{address}: a reset failed: {error}; power-cycle it (or the machine) if it does not come back"
    )]
    Reset {
        /// The device.
        address: String,
        /// The system's reason.
        error: io::Error,
    },
    /// Binding or unbinding did not do.
    #[error("{address}: {doing} did not work: driver is {now} after it; `dmesg` may say why")]
    Binding {
        /// The device.
        address: String,
        /// What was done.
        doing: String,
        /// The driver now.
        now: String,
    },
    /// Anything else that the system said.
    #[error("{what}: {error}")]
    System {
        /// What was done.
        what: String,
        /// Its reason.
        error: io::Error,
    },
}

impl VfioError {
    /// Makes a [`VfioError::System`] of an error of the system.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }

    /// An opening that failed, for the usual reasons by name.
    pub(crate) fn opening(address: &str, path: &std::path::Path, error: io::Error) -> Self {
        let path = path.display().to_string();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Self::NoVfio { path },
            Some(libc::EACCES | libc::EPERM) => Self::Permission { path },
            Some(libc::EBUSY) => Self::Busy {
                address: address.into(),
                path,
            },
            _ => Self::System { what: path, error },
        }
    }
}
