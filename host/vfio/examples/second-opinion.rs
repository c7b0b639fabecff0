//! A card, or any PCI function that is bound to `vfio-pci`, as another VFIO library sees it: rust-vmm's `vfio-ioctls`, of which the
//! driver uses nothing. If the two differ, or if the driver fails where this succeeds, the fault is not the kernel's or the device's.
//!
//!     second-opinion 0000:01:00.0
//!
//! Prints what it finds, fires every MSI-X vector and sees it arrive, and resets the function, twice each. Nothing else may hold the
//! function meanwhile. Ends with 1 and a reason if something is wrong.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use vfio_bindings::bindings::vfio::{
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_ioctls::{VfioContainer, VfioDevice};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Configuration space: the command register; memory space on.
const COMMAND: (u64, u16) = (4, 2);

fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("wanted: second-opinion ADDRESS, such as 0000:01:00.0");
        return ExitCode::from(2);
    };
    match look(&address) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn look(address: &str) -> Result<String, Box<dyn std::error::Error>> {
    let container = Arc::new(VfioContainer::new(None)?);
    let path = PathBuf::from("/sys/bus/pci/devices").join(address);
    let device = VfioDevice::new(&path, container, false)?;
    let mut said = format!("{:08x}", word(&device, VFIO_PCI_CONFIG_REGION_INDEX, 0));
    for bar in 0..6 {
        let size = device.get_region_size(VFIO_PCI_BAR0_REGION_INDEX + bar);
        if size > 0 {
            let areas = device.get_region_caps(VFIO_PCI_BAR0_REGION_INDEX + bar);
            said += &format!(
                ", BAR{bar} of {} KiB with {} capabilities",
                size >> 10,
                areas.len()
            );
        }
    }
    let vectors = (device.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX)).map_or(0, |irq| irq.count);
    said += &format!(", {vectors} vectors");
    let before = first_register(&device);
    for _ in 0..2 {
        fire(&device, vectors)?;
        device.reset();
        let after = first_register(&device);
        if after != before {
            return Err(
                format!("BAR0 began with {before:08x}, after a reset with {after:08x}").into(),
            );
        }
    }
    Ok(said + &format!(", BAR0 begins with {before:08x}"))
}

fn word(device: &VfioDevice, region: u32, at: u64) -> u32 {
    let mut bytes = [0; 4];
    device.region_read(region, &mut bytes, at);
    u32::from_le_bytes(bytes)
}

fn first_register(device: &VfioDevice) -> u32 {
    let (at, on) = COMMAND;
    device.region_write(VFIO_PCI_CONFIG_REGION_INDEX, &on.to_le_bytes(), at);
    word(device, VFIO_PCI_BAR0_REGION_INDEX, 0)
}

/// Has the kernel fire each vector, and waits for none that does not come.
fn fire(device: &VfioDevice, vectors: u32) -> Result<(), Box<dyn std::error::Error>> {
    let events: Result<Vec<_>, _> = (0..vectors).map(|_| EventFd::new(EFD_NONBLOCK)).collect();
    let events = events?;
    device.enable_msix(events.iter().collect())?;
    for (vector, event) in (0..).zip(&events) {
        device.trigger_irq(VFIO_PCI_MSIX_IRQ_INDEX, vector)?;
        let count = event.read().map_err(|e| format!("vector {vector}: {e}"))?;
        if count != 1 {
            return Err(format!("vector {vector} fired {count} times instead of once").into());
        }
    }
    device.disable_msix()?;
    Ok(())
}
