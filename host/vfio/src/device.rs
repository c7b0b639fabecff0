//! A PCI function with VFIO, as the driver sees it.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{pread, pwrite};
use sluice_device::pcie::Link;
use sluice_device::{
    Bar, BarError, Clock, Dma, Irq, IrqError, KeptBar, SystemClock, Trouble, all_ones32,
};

use crate::config::{Identity, SIZE};
use crate::domain::Domain;
use crate::keep::Name;
use crate::map::Mapping;
use crate::sys::{self, IrqIndex, Region};
use crate::{PciAddress, VfioError};

/// Region of configuration space; BARs are regions 0 to 5.
const CONFIG: u32 = 7;
/// Command register, and its bits: memory space, bus master, INTx disabled.
const COMMAND: u64 = 4;
const ENABLE: u16 = 1 << 1 | 1 << 2 | 1 << 10;

/// A function that is open: memory space and bus mastering on.
#[derive(Debug)]
pub struct Device {
    name: String,
    address: PciAddress,
    bars: Vec<VfioBar>,
    config: Region,
    identity: Identity,
    irq: VfioIrq,
    /// The kernel wants the device back; and it had an error. One of each, if it has such an interrupt.
    watch: [Option<OwnedFd>; 2],
    clock: SystemClock,
    mapped: Vec<KeptBar>,
    domain: Domain,
    // The last to go: closing it resets the function.
    fd: OwnedFd,
}

impl Device {
    /// Opens the function at an address, resets it and lets it onto the bus. `peers` are the BARs that other devices of the
    /// domain must reach: 2 of a card, 0 of an SSD.
    ///
    /// # Errors
    /// [`VfioError`], each with what to do.
    pub fn open(domain: &Domain, address: PciAddress, peers: &[u8]) -> Result<Self, VfioError> {
        let found = domain.system().check(address)?;
        let fd = domain.join(&found)?;
        let mut device = Self::new(domain, address, fd)?;
        device.reset()?;
        for bar in peers {
            device.share(*bar)?;
        }
        domain.keep(&device.kept_name(), device.fd.as_fd());
        Ok(device)
    }

    /// Takes up a function that an earlier process had open, as it is: no reset, its BARs where they were on the bus.
    ///
    /// # Errors
    /// [`VfioError::Adopt`] if that process did not leave it.
    pub fn adopt(domain: &Domain, address: PciAddress) -> Result<Self, VfioError> {
        let Some((Name::Device { bars, .. }, fd)) = domain.take_left(address) else {
            let reason = format!("{address} is not among it");
            return Err(VfioError::Adopt { reason });
        };
        let mut device = Self::new(domain, address, fd)?;
        for mapped in &bars {
            let bar = device.bars.iter_mut().find(|b| b.index == mapped.index);
            let bar = bar.filter(|b| b.region.size == mapped.len);
            let bar = bar.ok_or_else(|| VfioError::Adopt {
                reason: format!("BAR{} of {address} is another", mapped.index),
            })?;
            bar.bus = mapped.base;
        }
        device.mapped = bars;
        Ok(device)
    }

    fn new(domain: &Domain, address: PciAddress, fd: OwnedFd) -> Result<Self, VfioError> {
        let name = address.to_string();
        let failed = |what: &str| VfioError::system(format!("{name}: {what}"));
        let config = sys::device_region(fd.as_fd(), CONFIG).map_err(failed("its regions"))?;
        let mut bars = Vec::new();
        for index in 0..6u8 {
            let region = sys::device_region(fd.as_fd(), index.into());
            let region = region.map_err(failed("its regions"))?;
            if region.size > 0 {
                let bar = VfioBar::new(&fd, index, region);
                bars.push(bar.map_err(failed("mapping its BARs"))?);
            }
        }
        let mut space = vec![0; SIZE.min(config.size as usize)];
        read_exact(fd.as_fd(), config.offset, &mut space).map_err(failed("its configuration"))?;
        let identity = Identity::decode(&space).map_err(failed("its capabilities"))?;
        let vectors = sys::device_vectors(fd.as_fd(), IrqIndex::Msix);
        let vectors = vectors.map_err(failed("its interrupts"))?;
        let irq = VfioIrq {
            device: fd.try_clone().map_err(failed("another descriptor"))?,
            vectors: vectors.min(u32::from(identity.vectors)) as u16,
            armed: RefCell::default(),
        };
        let watch = [IrqIndex::Request, IrqIndex::Error].map(|index| watch(fd.as_fd(), index));
        Ok(Self {
            name,
            address,
            bars,
            config,
            identity,
            irq,
            watch,
            clock: SystemClock::default(),
            mapped: Vec::new(),
            domain: domain.clone(),
            fd,
        })
    }

    /// Resets the function (Function Level Reset, if it has that) and lets it onto the bus again. Its queues, interrupts and
    /// registers are gone then.
    ///
    /// # Errors
    /// [`VfioError::Reset`].
    pub fn reset(&self) -> Result<(), VfioError> {
        let failed = |error| VfioError::Reset {
            address: self.name.clone(),
            error,
        };
        self.irq
            .enable(0)
            .map_err(|e| failed(io::Error::other(e)))?;
        if sys::device_can_reset(self.fd.as_fd()).map_err(failed)? {
            sys::device_reset(self.fd.as_fd()).map_err(failed)?;
        } else {
            log::warn!("{}: it cannot be reset by the kernel", self.name);
        }
        let mut command = [0; 2];
        self.config_read(COMMAND, &mut command).map_err(failed)?;
        let enabled = u16::from_le_bytes(command) | ENABLE;
        self.config_write(COMMAND, &enabled.to_le_bytes())
            .map_err(failed)
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> PciAddress {
        self.address
    }

    /// What its configuration space said when it was opened.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its configuration space as it is now: up to 4,096 bytes.
    ///
    /// # Errors
    /// The system's.
    pub fn config_space(&self) -> io::Result<Vec<u8>> {
        let mut space = vec![0; SIZE.min(self.config.size as usize)];
        self.config_read(0, &mut space)?;
        Ok(space)
    }

    /// Reads configuration space.
    ///
    /// # Errors
    /// The system's; `InvalidInput` if it has not so much of it.
    pub fn config_read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let at = within(&self.config, offset, into.len())?;
        read_exact(self.fd.as_fd(), at, into)
    }

    /// Writes configuration space.
    ///
    /// # Errors
    /// The system's; `InvalidInput` if it has not so much of it.
    pub fn config_write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let at = within(&self.config, offset, from.len())?;
        write_exact(self.fd.as_fd(), at, from)
    }

    /// Lets other devices of the domain reach a BAR.
    fn share(&mut self, index: u8) -> Result<(), VfioError> {
        let refuse = |reason: String| VfioError::PeerToPeer {
            address: self.name.clone(),
            bar: index,
            reason,
        };
        let bar = self.bars.iter_mut().find(|bar| bar.index == index);
        let bar = bar.ok_or_else(|| refuse("there is none".into()))?;
        if bar.areas.is_empty() {
            return Err(refuse("the kernel does not let it be mapped".into()));
        }
        let len = bar.region.size;
        let iova = self.domain.map_bar(self.fd.as_fd(), index, len, &bar.areas);
        let iova = iova.map_err(|e| refuse(e.to_string()))?;
        bar.bus = iova;
        self.mapped.push(KeptBar {
            index,
            len,
            base: iova,
        });
        Ok(())
    }

    fn kept_name(&self) -> Name {
        Name::Device {
            address: self.address,
            bars: self.mapped.clone(),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.domain.forget(&self.kept_name());
        for bar in &self.mapped {
            self.domain.unmap(bar.base, bar.len);
        }
    }
}

impl sluice_device::Device for Device {
    fn name(&self) -> &str {
        &self.name
    }

    fn bar(&self, index: u8) -> Result<&dyn Bar, BarError> {
        let found = self.bars.iter().find(|bar| bar.index == index);
        let device = || self.name.clone();
        found
            .map(|bar| bar as &dyn Bar)
            .ok_or_else(|| BarError::Absent {
                device: device(),
                index,
            })
    }

    fn dma(&self) -> &dyn Dma {
        &self.domain
    }

    fn irq(&self) -> &dyn Irq {
        &self.irq
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    fn link(&self) -> Option<Link> {
        let mut space = [0; 256];
        self.config_read(0, &mut space).ok()?;
        Link::of(&space)
    }

    fn trouble(&self) -> Option<Trouble> {
        let [wanted, error] = &self.watch;
        let fired = |fd: &Option<OwnedFd>| {
            fd.as_ref()
                .is_some_and(|fd| fired(fd.as_fd(), Duration::ZERO).unwrap_or(false))
        };
        let mut vendor = [0; 4];
        let gone = self.config_read(0, &mut vendor).is_err();
        match () {
            () if fired(wanted) => Some(Trouble::Wanted),
            () if gone || all_ones32(u32::from_le_bytes(vendor)) => Some(Trouble::Gone),
            () if fired(error) => Some(Trouble::BusError),
            () => None,
        }
    }
}

/// An event descriptor for one of the kernel's own interrupts, if the device has it.
fn watch(device: BorrowedFd<'_>, index: IrqIndex) -> Option<OwnedFd> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
    let events = [event];
    match sys::device_set_irqs(device, index, &events) {
        Ok(()) => events.into_iter().next(),
        Err(error) => {
            log::debug!("no {index:?} interrupt: {error}");
            None
        }
    }
}

/// A BAR: what of it can be mapped is, the rest is read and written through the kernel.
#[derive(Debug)]
struct VfioBar {
    index: u8,
    region: Region,
    /// Offsets and what is mapped there.
    areas: Vec<(u64, Mapping)>,
    device: OwnedFd,
    /// 0: no other device reaches it.
    bus: u64,
}

impl VfioBar {
    fn new(device: &OwnedFd, index: u8, region: Region) -> io::Result<Self> {
        let map = |(at, len): &(u64, u64)| -> io::Result<_> {
            Ok((*at, Mapping::new(device.as_fd(), region.offset + at, *len)?))
        };
        Ok(Self {
            index,
            areas: region.areas.iter().map(map).collect::<Result<_, _>>()?,
            device: device.try_clone()?,
            bus: 0,
            region,
        })
    }

    /// The mapping that has `len` bytes at `offset`, and where in it.
    fn mapped(&self, offset: u64, len: u64) -> Option<(&Mapping, usize)> {
        self.areas.iter().find_map(|(at, mapping)| {
            let inside = offset.checked_sub(*at)?;
            let fits = inside.checked_add(len)? <= mapping.len() as u64;
            fits.then_some((mapping, inside as usize))
        })
    }
}

fn backend(offset: u64) -> impl Fn(io::Error) -> BarError {
    move |error| BarError::Backend {
        offset,
        reason: error.to_string(),
    }
}

impl Bar for VfioBar {
    fn len(&self) -> u64 {
        self.region.size
    }

    fn bus(&self) -> u64 {
        self.bus
    }

    fn read32(&self, offset: u64) -> Result<u32, BarError> {
        self.check(offset, 4)?;
        if let Some((mapping, at)) = self.mapped(offset, 4)
            && let Some(value) = mapping.read32(at)
        {
            return Ok(value);
        }
        let mut word = [0; 4];
        match read_exact(self.device.as_fd(), self.region.offset + offset, &mut word) {
            Ok(()) => Ok(u32::from_le_bytes(word)),
            // The kernel's word for a device that is gone is the bus's: all ones.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EIO | libc::ENODEV)) => Ok(u32::MAX),
            Err(e) => Err(backend(offset)(e)),
        }
    }

    fn write32(&self, offset: u64, value: u32) -> Result<(), BarError> {
        self.check(offset, 4)?;
        if let Some((mapping, at)) = self.mapped(offset, 4)
            && mapping.write32(at, value).is_some()
        {
            return Ok(());
        }
        match write_exact(
            self.device.as_fd(),
            self.region.offset + offset,
            &value.to_le_bytes(),
        ) {
            // Writes to a device that is gone vanish.
            Err(e) if !matches!(e.raw_os_error(), Some(libc::EIO | libc::ENODEV)) => {
                Err(backend(offset)(e))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BarError> {
        self.check(offset, into.len() as u64)?;
        if let Some((mapping, at)) = self.mapped(offset, into.len() as u64)
            && mapping.read(at, into).is_some()
        {
            return Ok(());
        }
        for (word, at) in into.chunks_exact_mut(4).zip((offset..).step_by(4)) {
            word.copy_from_slice(&self.read32(at)?.to_le_bytes());
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BarError> {
        self.check(offset, from.len() as u64)?;
        if let Some((mapping, at)) = self.mapped(offset, from.len() as u64)
            && mapping.write(at, from).is_some()
        {
            return Ok(());
        }
        for (word, at) in from.chunks_exact(4).zip((offset..).step_by(4)) {
            self.write32(at, u32::from_le_bytes([word[0], word[1], word[2], word[3]]))?;
        }
        Ok(())
    }
}

/// MSI-X through event descriptors.
#[derive(Debug)]
struct VfioIrq {
    device: OwnedFd,
    vectors: u16,
    /// One for each vector that is armed.
    armed: RefCell<Vec<OwnedFd>>,
}

impl Irq for VfioIrq {
    fn vectors(&self) -> u16 {
        self.vectors
    }

    fn enable(&self, count: u16) -> Result<(), IrqError> {
        if count > self.vectors {
            let (want, have) = (count, self.vectors);
            return Err(IrqError::TooFew { want, have });
        }
        let failed = |e: io::Error| IrqError::Backend {
            reason: format!("{count} vectors could not be set up: {e}"),
        };
        let events: Result<Vec<_>, _> = (0..count)
            .map(|_| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK))
            .collect();
        let events = events.map_err(|e| failed(e.into()))?;
        let before = !self.armed.borrow().is_empty();
        if count > 0 || before {
            sys::device_set_irqs(self.device.as_fd(), IrqIndex::Msix, &events).map_err(failed)?;
        }
        *self.armed.borrow_mut() = events;
        Ok(())
    }

    fn wait(&self, vector: u16, timeout: Duration) -> Result<bool, IrqError> {
        let armed = self.armed.borrow();
        let event = armed.get(usize::from(vector)).ok_or(IrqError::NotArmed {
            vector,
            armed: armed.len() as u16,
        })?;
        fired(event.as_fd(), timeout).map_err(|e| IrqError::Backend {
            reason: format!("waiting for vector {vector}: {e}"),
        })
    }
}

/// Waits for an event, and takes it.
fn fired(event: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let limit =
        Timespec::try_from(timeout).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut fds = [PollFd::from_borrowed_fd(event, PollFlags::IN)];
    match poll(&mut fds, Some(&limit)) {
        // A signal ends a wait early; waits are repeated anyway.
        Err(rustix::io::Errno::INTR) | Ok(0) => return Ok(false),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let mut count = [0; 8];
    match rustix::io::read(event, &mut count) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn within(region: &Region, offset: u64, len: usize) -> io::Result<u64> {
    let end = offset.checked_add(len as u64);
    if end.is_some_and(|end| end <= region.size) {
        return Ok(region.offset + offset);
    }
    let text = format!(
        "{len} bytes at {offset:#x} are not in {:#x} bytes",
        region.size
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn read_exact(fd: BorrowedFd<'_>, at: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        match pread(fd, &mut into[done..], at + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => done += n,
        }
    }
    Ok(())
}

fn write_exact(fd: BorrowedFd<'_>, at: u64, from: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < from.len() {
        match pwrite(fd, &from[done..], at + done as u64)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => done += n,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::map::{HUGE, SharedMemory};

    use super::*;

    /// A BAR of 2 MiB whose second half alone can be mapped.
    fn bar() -> VfioBar {
        let memory = SharedMemory::new(HUGE).expect("memory");
        let half = HUGE / 2;
        let region = Region {
            offset: 0,
            size: HUGE,
            areas: vec![(half, half)],
        };
        VfioBar::new(&memory.fd, 0, region).expect("maps")
    }

    #[test]
    fn what_cannot_be_mapped_is_reached_through_the_kernel() {
        let bar = bar();
        let half = HUGE / 2;
        for at in [0, half - 4, half, HUGE - 4] {
            bar.write32(at, at as u32 ^ 0x5555_5555).expect("in it");
        }
        for at in [0, half - 4, half, HUGE - 4] {
            assert_eq!(bar.read32(at).expect("in it"), at as u32 ^ 0x5555_5555);
        }
        // Across the border.
        let data: Vec<u8> = (0..64).collect();
        bar.write(half - 32, &data).expect("in it");
        let mut back = [0; 64];
        bar.read(half - 32, &mut back).expect("in it");
        assert_eq!(back[..], data);
        assert!(matches!(bar.read32(HUGE), Err(BarError::OutOfRange { .. })));
        assert!(matches!(
            bar.write32(6, 0),
            Err(BarError::Misaligned { .. })
        ));
    }

    #[test]
    fn a_vector_that_fired_several_times_is_seen_once_and_waiting_ends() {
        let event = eventfd(0, EventfdFlags::NONBLOCK).expect("an event");
        assert!(!fired(event.as_fd(), Duration::from_millis(1)).expect("waits"));
        for _ in 0..3 {
            rustix::io::write(&event, &1u64.to_ne_bytes()).expect("counts");
        }
        assert!(fired(event.as_fd(), Duration::from_secs(60)).expect("waits"));
        assert!(!fired(event.as_fd(), Duration::ZERO).expect("waits"));
    }

    #[test]
    fn vectors_beyond_the_devices_or_not_armed_are_refused() {
        let irq = VfioIrq {
            device: std::fs::File::open("/dev/null").expect("there").into(),
            vectors: 4,
            armed: RefCell::default(),
        };
        assert_eq!(irq.enable(5), Err(IrqError::TooFew { want: 5, have: 4 }));
        assert_eq!(
            irq.wait(0, Duration::ZERO),
            Err(IrqError::NotArmed {
                vector: 0,
                armed: 0
            })
        );
        let error = irq.enable(2).expect_err("no VFIO device").to_string();
        assert!(error.contains("2 vectors could not be set up"), "{error}");
        irq.enable(0).expect("nothing is armed");
    }

    #[test]
    fn configuration_space_is_bounded() {
        let region = Region {
            offset: 1 << 40,
            size: 256,
            areas: vec![],
        };
        assert_eq!(within(&region, 252, 4).expect("in it"), (1 << 40) + 252);
        assert!(within(&region, 253, 4).is_err());
        assert!(within(&region, u64::MAX, 4).is_err());
    }
}
