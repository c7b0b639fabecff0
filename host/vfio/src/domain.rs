//! One IOMMU address space for the card and the SSDs: a container with their groups, or an address space of an iommufd. What
//! is mapped in it all of them reach: memory of the host, and each other's BARs.

mod memory;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use sluice_device::{Keeper, Kept};

use crate::keep::Name;
use crate::map::Mapping;
use crate::ranges::Ranges;
use crate::sysfs::{Found, System};
use crate::{VfioError, sys};

use memory::Chunk;

/// Bus addresses below are given to nobody: 0 means none to some devices, and stray writes go there.
const LOWEST: u64 = 1 << 20;
/// What a kernel that does not say lets through: all but the MSI window of x86, in 39 bits, which every IOMMU has.
const USUAL: [std::ops::RangeInclusive<u64>; 2] =
    [LOWEST..=0xFEDF_FFFF, 0xFEF0_0000..=(1 << 39) - 1];

/// Which of the kernel's interfaces to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interface {
    /// The container if there is one, since peer to peer works with it on every kernel; else iommufd.
    #[default]
    Choose,
    /// `/dev/vfio/vfio` and a group each.
    Container,
    /// `/dev/iommu` and a character device each.
    Iommufd,
}

/// An address space, shared by its devices.
#[derive(Clone)]
pub struct Domain(Rc<Inner>);

pub(crate) struct Inner {
    system: System,
    kind: Kind,
    free: RefCell<Ranges>,
    chunks: RefCell<Vec<Chunk>>,
    keeper: Option<Rc<dyn Keeper>>,
    /// Devices of an earlier process that were not taken up yet.
    left: RefCell<Vec<(Name, OwnedFd)>>,
}

enum Kind {
    Container {
        fd: OwnedFd,
        /// With their numbers.
        groups: RefCell<Vec<(u32, OwnedFd)>>,
        /// The first group has come, and with it the IOMMU.
        ready: Cell<bool>,
    },
    Iommufd {
        fd: OwnedFd,
        space: u32,
    },
}

impl std::fmt::Debug for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.0.kind {
            Kind::Container { .. } => "container",
            Kind::Iommufd { .. } => "iommufd",
        };
        f.debug_struct("Domain")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}

impl Domain {
    /// A new one with no devices yet. What must outlive the process is handed to `keeper` as it comes.
    ///
    /// # Errors
    /// [`VfioError`], each with what to do.
    pub fn new(
        system: System,
        interface: Interface,
        keeper: Option<Rc<dyn Keeper>>,
    ) -> Result<Self, VfioError> {
        let container = match interface {
            Interface::Choose => system.container().exists() || !system.iommufd().exists(),
            Interface::Container => true,
            Interface::Iommufd => false,
        };
        let (kind, name) = if container {
            let path = system.container();
            let fd = open(&path, "VFIO")?;
            let usable = sys::container_is_usable(fd.as_fd());
            if !usable.map_err(VfioError::system(path.display().to_string()))? {
                let path = path.display().to_string();
                return Err(VfioError::NoType1 { path });
            }
            let (groups, ready) = (RefCell::default(), Cell::new(false));
            (Kind::Container { fd, groups, ready }, Name::Container)
        } else {
            let path = system.iommufd();
            let fd = open(&path, "iommufd")?;
            let space = sys::iommufd_space(fd.as_fd());
            let space = space.map_err(VfioError::system(path.display().to_string()))?;
            (Kind::Iommufd { fd, space }, Name::Iommufd { space })
        };
        let free = RefCell::new(Ranges::new(USUAL));
        let domain = Self(Rc::new(Inner {
            system,
            kind,
            free,
            chunks: RefCell::default(),
            keeper,
            left: RefCell::default(),
        }));
        domain.keep(&name, domain.0.fd());
        Ok(domain)
    }

    /// That of an earlier process, with its memory. Its devices are there to be [taken up](crate::Device::adopt); their BARs
    /// are where they were.
    ///
    /// # Errors
    /// [`VfioError::Adopt`] if the descriptors do not make a whole.
    pub fn adopt(
        system: System,
        kept: Kept<Name>,
        keeper: Option<Rc<dyn Keeper>>,
    ) -> Result<Self, VfioError> {
        let broken = |reason: String| VfioError::Adopt { reason };
        let (mut kind, mut groups, mut devices, mut memory) = (None, vec![], vec![], vec![]);
        for (name, fd) in kept {
            match name {
                Name::Container | Name::Iommufd { .. } if kind.is_some() => {
                    return Err(broken("two address spaces".into()));
                }
                Name::Container => kind = Some((None, fd)),
                Name::Iommufd { space } => kind = Some((Some(space), fd)),
                Name::Group { number } => groups.push((number, fd)),
                Name::Device { .. } => devices.push((name, fd)),
                Name::Memory { iova, len } => memory.push((iova, len, fd)),
            }
        }
        let kind = match kind.ok_or_else(|| broken("no address space among it".into()))? {
            (Some(space), fd) => Kind::Iommufd { fd, space },
            (None, fd) => {
                let ready = Cell::new(!groups.is_empty());
                let groups = RefCell::new(groups);
                Kind::Container { fd, groups, ready }
            }
        };
        let domain = Self(Rc::new(Inner {
            system,
            kind,
            free: RefCell::new(Ranges::new(USUAL)),
            chunks: RefCell::default(),
            keeper,
            left: RefCell::new(devices),
        }));
        domain.0.narrow()?;
        let take = |iova, len| -> Result<(), VfioError> {
            if domain.0.free.borrow_mut().take(iova, len) {
                return Ok(());
            }
            Err(broken(format!(
                "{len:#x} bytes at bus address {iova:#x} overlap others"
            )))
        };
        for (iova, len, fd) in memory {
            take(iova, len)?;
            let chunk = Chunk::adopt(iova, len, fd).map_err(|e| broken(e.to_string()))?;
            domain.0.chunks.borrow_mut().push(chunk);
        }
        for (name, _) in domain.0.left.borrow().iter() {
            if let Name::Device { bars, .. } = name {
                for bar in bars {
                    take(bar.base, bar.len)?;
                }
            }
        }
        Ok(domain)
    }

    /// Addresses of the devices of an earlier process that were not taken up. Dropping the domain resets them.
    #[must_use]
    pub fn left(&self) -> Vec<crate::PciAddress> {
        let left = self.0.left.borrow();
        let addresses = left.iter().filter_map(|(name, _)| match name {
            Name::Device { address, .. } => Some(*address),
            _ => None,
        });
        addresses.collect()
    }

    /// Gives up the devices of an earlier process that were not taken up: they are reset, so that they write nothing more when
    /// this returns. Closing them would do it too, but only when whoever keeps their descriptors has let go as well.
    pub fn forget_left(&self) {
        for (name, fd) in self.0.left.take() {
            if let Err(error) = sys::device_reset(fd.as_fd()) {
                log::warn!("{name}: not reset by hand: {error}");
            }
            if let (Some(keeper), Name::Device { bars, .. }) = (&self.0.keeper, &name) {
                keeper.forget(&name.to_string());
                for bar in bars {
                    self.0.unmap(bar.base, bar.len);
                }
            }
            drop(fd);
        }
    }

    pub(crate) fn take_left(&self, wanted: crate::PciAddress) -> Option<(Name, OwnedFd)> {
        let mut left = self.0.left.borrow_mut();
        let at = (left.iter()).position(
            |(name, _)| matches!(name, Name::Device { address, .. } if *address == wanted),
        )?;
        Some(left.remove(at))
    }

    pub(crate) fn system(&self) -> &System {
        &self.0.system
    }

    /// Brings a function in and gives its descriptor.
    pub(crate) fn join(&self, found: &Found) -> Result<OwnedFd, VfioError> {
        let name = found.address.to_string();
        match &self.0.kind {
            Kind::Container { .. } => self.join_container(found, &name),
            Kind::Iommufd { fd, space } => {
                let path = self.0.system.character_device(found.address)?;
                let device = open(&path, &name)?;
                sys::device_join(device.as_fd(), fd.as_fd(), *space)
                    .map_err(|e| VfioError::opening(&name, &path, e))?;
                self.0.narrow()?;
                Ok(device)
            }
        }
    }

    fn join_container(&self, found: &Found, name: &str) -> Result<OwnedFd, VfioError> {
        let Kind::Container { fd, groups, ready } = &self.0.kind else {
            unreachable!("the caller has looked");
        };
        let number = found.group.ok_or_else(|| VfioError::NoIommu {
            address: name.into(),
        })?;
        let path = self.0.system.group(number);
        self.drop_dead_group(number);
        if !groups.borrow().iter().any(|(n, _)| *n == number) {
            let group = open(&path, name)?;
            let failed = |e| VfioError::opening(name, &path, e);
            if !sys::group_is_viable(group.as_fd()).map_err(failed)? {
                let others = self.0.system.strangers(number).join(", ");
                let (address, group) = (name.into(), number);
                return Err(VfioError::GroupShared {
                    address,
                    group,
                    others,
                });
            }
            sys::group_set_container(group.as_fd(), fd.as_fd()).map_err(failed)?;
            if !ready.replace(true) {
                let set = sys::container_set_iommu(fd.as_fd());
                set.map_err(VfioError::system("the container's IOMMU could not be set"))?;
            }
            self.keep(&Name::Group { number }, group.as_fd());
            groups.borrow_mut().push((number, group));
            self.0.narrow()?;
        }
        let groups = groups.borrow();
        let group = groups.iter().find(|(n, _)| *n == number);
        let group = group.map(|(_, fd)| fd.as_fd()).expect("just there");
        sys::group_device(group, name).map_err(|e| VfioError::opening(name, &path, e))
    }

    /// Lets go of a group whose last device was pulled: the kernel makes it anew, under the same number or another, when a
    /// device comes, and the old descriptor leads nowhere.
    fn drop_dead_group(&self, number: u32) {
        let Kind::Container { groups, ready, .. } = &self.0.kind else {
            return;
        };
        let dead = |(n, fd): &(u32, OwnedFd)| {
            let status = sys::group_is_viable(fd.as_fd());
            *n == number && status.is_err_and(|e| e.raw_os_error() == Some(libc::ENODEV))
        };
        let mut groups = groups.borrow_mut();
        let Some(at) = groups.iter().position(dead) else {
            return;
        };
        groups.remove(at);
        self.forget(&Name::Group { number });
        if groups.is_empty() {
            // With its last group the container has lost its IOMMU, and with that all that was mapped.
            ready.set(false);
            for (iova, len) in memory::give_up(&self.0.chunks) {
                self.forget(&Name::Memory { iova, len });
            }
            *self.0.free.borrow_mut() = Ranges::new(USUAL);
        }
    }

    /// Maps what of a BAR of `len` bytes can be, so that other devices reach it; the bus address of its offset 0, a multiple
    /// of its length as on a bus without IOMMU.
    pub(crate) fn map_bar(
        &self,
        device: BorrowedFd<'_>,
        bar: u8,
        len: u64,
        areas: &[(u64, Mapping)],
    ) -> Result<u64, VfioError> {
        let one = |base: u64, (offset, mapping): &(u64, Mapping)| {
            let (iova, len) = (base + offset, mapping.len() as u64);
            match &self.0.kind {
                Kind::Container { fd, .. } => {
                    sys::container_map(fd.as_fd(), iova, mapping.address(), len)
                }
                Kind::Iommufd { fd, space } => {
                    let buffer = sys::device_dma_buf(device, bar.into(), *offset, len)?;
                    sys::iommufd_map_file(fd.as_fd(), *space, iova, buffer.as_fd(), len)
                }
            }
        };
        let placed = self.0.place(len, len.next_power_of_two(), |base| {
            areas.iter().enumerate().try_for_each(|(done, area)| {
                one(base, area).inspect_err(|_| {
                    for (offset, mapping) in &areas[..done] {
                        self.0.undo(base + offset, mapping.len() as u64);
                    }
                })
            })
        })?;
        placed.map_err(VfioError::system(format!("BAR{bar}")))
    }

    pub(crate) fn unmap(&self, iova: u64, len: u64) {
        self.0.unmap(iova, len);
    }

    pub(crate) fn keep(&self, name: &Name, fd: BorrowedFd<'_>) {
        self.0.keep(name, fd);
    }

    pub(crate) fn forget(&self, name: &Name) {
        if let Some(keeper) = &self.0.keeper {
            keeper.forget(&name.to_string());
        }
    }
}

impl Inner {
    fn fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Container { fd, .. } | Kind::Iommufd { fd, .. } => fd.as_fd(),
        }
    }

    fn keep(&self, name: &Name, fd: BorrowedFd<'_>) {
        let Some(keeper) = &self.keeper else { return };
        if let Err(error) = keeper.keep(&name.to_string(), fd) {
            log::warn!("{name} will not survive this process: {error}");
        }
    }

    /// Asks what the IOMMU lets through now, after a device came, and gives out nothing else from now on.
    fn narrow(&self) -> Result<(), VfioError> {
        let ranges = match &self.kind {
            Kind::Container { fd, .. } => sys::container_ranges(fd.as_fd()),
            Kind::Iommufd { fd, space } => sys::iommufd_ranges(fd.as_fd(), *space).map(Some),
        };
        let ranges = ranges.map_err(VfioError::system("the IOMMU's bus addresses"))?;
        if let Some(ranges) = ranges {
            let usable = ranges.and(&Ranges::new([LOWEST..=u64::MAX]));
            let now = self.free.borrow().and(&usable);
            // Before the first device everything was free that usually is; an IOMMU may have more.
            *self.free.borrow_mut() = now;
        }
        Ok(())
    }

    /// Finds a bus address and maps something there. One that an earlier process has something mapped at is passed over.
    fn place(
        &self,
        len: u64,
        align: u64,
        map: impl Fn(u64) -> io::Result<()>,
    ) -> Result<io::Result<u64>, VfioError> {
        loop {
            let iova = self.free.borrow_mut().alloc(len, align);
            let iova = iova.ok_or_else(|| {
                let have = self.free.borrow();
                let have: Vec<_> = have.iter().map(|r| format!("{r:#x?}")).collect();
                let have = have.join(", ");
                VfioError::NoAddresses { len, align, have }
            })?;
            match map(iova) {
                Ok(()) => return Ok(Ok(iova)),
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                Err(error) => {
                    self.free.borrow_mut().give(iova, len);
                    return Ok(Err(error));
                }
            }
        }
    }

    fn unmap(&self, iova: u64, len: u64) {
        if self.undo(iova, len) {
            self.free.borrow_mut().give(iova, len);
        }
    }

    fn undo(&self, iova: u64, len: u64) -> bool {
        let done = match &self.kind {
            Kind::Container { fd, .. } => sys::container_unmap(fd.as_fd(), iova, len),
            Kind::Iommufd { fd, space } => sys::iommufd_unmap(fd.as_fd(), *space, iova, len),
        };
        if let Err(error) = &done {
            log::warn!("{len:#x} bytes at bus address {iova:#x} stay mapped: {error}");
        }
        done.is_ok()
    }
}

fn open(path: &Path, name: &str) -> Result<OwnedFd, VfioError> {
    let file = File::options().read(true).write(true).open(path);
    file.map(OwnedFd::from)
        .map_err(|e| VfioError::opening(name, path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(folder: &Path) -> System {
        System {
            sys: folder.join("sys"),
            dev: folder.join("dev"),
        }
    }

    #[test]
    fn without_vfio_the_error_says_how_to_get_it() {
        let folder = tempfile::tempdir().expect("a folder");
        for interface in [Interface::Choose, Interface::Container, Interface::Iommufd] {
            let error = Domain::new(system(folder.path()), interface, None).expect_err("none");
            assert!(error.to_string().contains("modprobe vfio-pci"), "{error}");
        }
    }

    #[test]
    fn what_is_no_vfio_is_not_taken_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("dev/vfio")).expect("a folder");
        std::fs::write(folder.path().join("dev/vfio/vfio"), "").expect("a file");
        let error =
            Domain::new(system(folder.path()), Interface::Choose, None).expect_err("a file");
        assert!(matches!(error, VfioError::System { .. }), "{error}");
    }

    #[test]
    fn descriptors_that_make_no_whole_are_not_taken_over() {
        let fd = || OwnedFd::from(File::open("/dev/null").expect("there"));
        for (kept, want) in [
            (vec![], "no address space"),
            (vec![(Name::Group { number: 1 }, fd())], "no address space"),
            (
                vec![(Name::Container, fd()), (Name::Iommufd { space: 1 }, fd())],
                "two address spaces",
            ),
        ] {
            let system = System::default();
            let error = Domain::adopt(system, kept, None)
                .expect_err("no whole")
                .to_string();
            assert!(
                error.contains(want) && error.contains("must be reset"),
                "{error}"
            );
        }
    }
}
