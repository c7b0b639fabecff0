//! Real devices through `/dev/vfio`: the traits of `sluice-device` over Linux' VFIO.
//!
//! - [`System`]: what sysfs says of devices; giving them to vfio-pci and back; what stands in the way, and what to do;
//! - [`Domain`]: one IOMMU address space for the card and the SSDs, so that they reach each other (peer to peer) and the
//!   memory that is taken from it; through a container and groups, or an iommufd and character devices;
//! - [`Device`]: a function: BARs, configuration space, MSI-X, reset, what the kernel says of it;
//! - [`SystemdStore`]: descriptors that outlive the process, so that a later one takes devices over as they run;
//! - [`Identity`]: configuration space decoded.
//!
//! `unsafe` is in two leaves: `sys` (system calls) and `map` (mapped memory). For x86-64; elsewhere the order of stores to
//! memory and to registers would need more than a fence. Not there: noiommu mode, INTx, MSI without X.
//! Why not `vfio-ioctls`, and what `pci-driver` does here: docs/decisions/006.
#![cfg(target_os = "linux")]

mod address;
mod config;
mod device;
mod domain;
mod error;
mod keep;
mod map;
mod ranges;
mod sys;
mod sysfs;

pub use address::PciAddress;
pub use config::{Identity, Link};
pub use device::Device;
pub use domain::{Domain, Interface};
pub use error::VfioError;
pub use keep::{Name, SystemdStore};
pub use sysfs::{Found, Kind, System};
