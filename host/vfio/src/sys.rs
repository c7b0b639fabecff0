//! Every system call that VFIO and iommufd need, and nothing else: numbers, structures, results. The structures are those of
//! `vfio-bindings` and `iommufd-bindings`.
#![allow(
    unsafe_code,
    reason = "the kernel's interfaces; each call argues for itself"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use iommufd_bindings::iommufd as iommu;
use vfio_bindings::bindings::vfio;

use crate::ranges::Ranges;

/// `_IO(';', 100 + n)` of linux/vfio.h.
const fn vfio_io(n: u32) -> libc::c_ulong {
    (0x3B << 8 | (100 + n)) as libc::c_ulong
}

/// `_IO(';', n)` of linux/iommufd.h.
const fn iommu_io(n: u32) -> libc::c_ulong {
    ((iommu::IOMMUFD_TYPE as u32) << 8 | n) as libc::c_ulong
}

const GET_API_VERSION: libc::c_ulong = vfio_io(0);
const CHECK_EXTENSION: libc::c_ulong = vfio_io(1);
const SET_IOMMU: libc::c_ulong = vfio_io(2);
const GROUP_GET_STATUS: libc::c_ulong = vfio_io(3);
const GROUP_SET_CONTAINER: libc::c_ulong = vfio_io(4);
const GROUP_GET_DEVICE_FD: libc::c_ulong = vfio_io(6);
const DEVICE_GET_INFO: libc::c_ulong = vfio_io(7);
const DEVICE_GET_REGION_INFO: libc::c_ulong = vfio_io(8);
const DEVICE_GET_IRQ_INFO: libc::c_ulong = vfio_io(9);
const DEVICE_SET_IRQS: libc::c_ulong = vfio_io(10);
const DEVICE_RESET: libc::c_ulong = vfio_io(11);
const IOMMU_GET_INFO: libc::c_ulong = vfio_io(12);
const IOMMU_MAP_DMA: libc::c_ulong = vfio_io(13);
const IOMMU_UNMAP_DMA: libc::c_ulong = vfio_io(14);
const DEVICE_FEATURE: libc::c_ulong = vfio_io(17);
const DEVICE_BIND_IOMMUFD: libc::c_ulong = vfio_io(18);
const DEVICE_ATTACH_IOMMUFD_PT: libc::c_ulong = vfio_io(19);

/// A region of a device: a BAR or configuration space.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Region {
    /// Where it is in the device's descriptor.
    pub offset: u64,
    /// Bytes; 0 if it is not there.
    pub size: u64,
    /// What of it can be mapped: offsets and lengths.
    pub areas: Vec<(u64, u64)>,
}

/// The interrupts of a device that are used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum IrqIndex {
    /// MSI-X.
    Msix = 2,
    /// Uncorrectable PCIe errors.
    Error = 3,
    /// The kernel wants the device back.
    Request = 4,
}

/// What kind of IOMMU interface a container has; `false` if it is not a usable VFIO.
///
/// # Errors
/// The system's.
pub fn container_is_usable(container: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: takes no argument.
    let version = check(unsafe { libc::ioctl(container.as_raw_fd(), GET_API_VERSION) })?;
    let type1v2 = libc::c_ulong::from(vfio::VFIO_TYPE1v2_IOMMU);
    // SAFETY: takes a number.
    let has = check(unsafe { libc::ioctl(container.as_raw_fd(), CHECK_EXTENSION, type1v2) })?;
    Ok(version as u32 == vfio::VFIO_API_VERSION && has == 1)
}

/// Whether all devices of a group are with VFIO or have no driver.
///
/// # Errors
/// The system's.
pub fn group_is_viable(group: BorrowedFd<'_>) -> io::Result<bool> {
    let mut status = vfio::vfio_group_status {
        argsz: size_of::<vfio::vfio_group_status>() as u32,
        flags: 0,
    };
    // SAFETY: `status` is the structure of this call, its size in it, and lives over the call.
    check(unsafe { libc::ioctl(group.as_raw_fd(), GROUP_GET_STATUS, &raw mut status) })?;
    Ok(status.flags & vfio::VFIO_GROUP_FLAGS_VIABLE != 0)
}

/// Puts a group into a container.
///
/// # Errors
/// The system's.
pub fn group_set_container(group: BorrowedFd<'_>, container: BorrowedFd<'_>) -> io::Result<()> {
    let fd: RawFd = container.as_raw_fd();
    // SAFETY: takes a pointer to a descriptor, which lives over the call.
    check(unsafe { libc::ioctl(group.as_raw_fd(), GROUP_SET_CONTAINER, &raw const fd) }).map(drop)
}

/// Gives a container that has a group its IOMMU.
///
/// # Errors
/// The system's.
pub fn container_set_iommu(container: BorrowedFd<'_>) -> io::Result<()> {
    let kind = libc::c_ulong::from(vfio::VFIO_TYPE1v2_IOMMU);
    // SAFETY: takes a number.
    check(unsafe { libc::ioctl(container.as_raw_fd(), SET_IOMMU, kind) }).map(drop)
}

/// The descriptor of a device of a group.
///
/// # Errors
/// The system's.
pub fn group_device(group: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    // SAFETY: takes a zero-terminated name, which lives over the call.
    let fd = check(unsafe { libc::ioctl(group.as_raw_fd(), GROUP_GET_DEVICE_FD, name.as_ptr()) })?;
    // SAFETY: the call has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether VFIO can reset the device.
///
/// # Errors
/// The system's; `InvalidInput` if it is no PCI device.
pub fn device_can_reset(device: BorrowedFd<'_>) -> io::Result<bool> {
    let mut info = vfio::vfio_device_info {
        argsz: size_of::<vfio::vfio_device_info>() as u32,
        ..Default::default()
    };
    // SAFETY: `info` is the structure of this call, its size in it, and lives over the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), DEVICE_GET_INFO, &raw mut info) })?;
    if info.flags & vfio::VFIO_DEVICE_FLAGS_PCI == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a PCI device",
        ));
    }
    Ok(info.flags & vfio::VFIO_DEVICE_FLAGS_RESET != 0)
}

/// What a region is.
///
/// # Errors
/// The system's.
pub fn device_region(device: BorrowedFd<'_>, index: u32) -> io::Result<Region> {
    let mut info = vfio::vfio_region_info {
        argsz: size_of::<vfio::vfio_region_info>() as u32,
        index,
        ..Default::default()
    };
    // SAFETY: `info` is the structure of this call, its size in it, and lives over the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), DEVICE_GET_REGION_INFO, &raw mut info) })?;
    let mut region = Region {
        offset: info.offset,
        size: info.size,
        areas: Vec::new(),
    };
    if info.flags & vfio::VFIO_REGION_INFO_FLAG_MMAP == 0 || info.size == 0 {
        return Ok(region);
    }
    region.areas = vec![(0, info.size)];
    if info.flags & vfio::VFIO_REGION_INFO_FLAG_CAPS != 0 {
        let bytes = with_capabilities(device, DEVICE_GET_REGION_INFO, info.argsz, index)?;
        if let Some(sparse) = sparse_areas(&bytes, size_of::<vfio::vfio_region_info>(), 12) {
            region.areas = sparse;
        }
    }
    // The kernel is trusted, but a length that does not fit would be our mistake to use.
    let size = region.size;
    region
        .areas
        .retain(|(at, len)| *len > 0 && at.checked_add(*len).is_some_and(|end| end <= size));
    Ok(region)
}

/// Asks again with room for the capabilities behind the structure; its second word is flags, its third `third`.
fn with_capabilities(
    fd: BorrowedFd<'_>,
    request: libc::c_ulong,
    size: u32,
    third: u32,
) -> io::Result<Vec<u8>> {
    // In words of 8 bytes, since the structures are aligned so.
    let mut words = vec![0u64; (size as usize).min(1 << 16).div_ceil(8)];
    let len = words.len() as u32 * 8;
    words[0] = u64::from(len);
    words[1] = u64::from(third);
    // SAFETY: the buffer is as long as its first word says, aligned to 8, and lives over the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, words.as_mut_ptr()) })?;
    Ok(words.iter().flat_map(|w| w.to_ne_bytes()).collect())
}

/// The areas of a sparse-mmap capability; `at` is where the offset of the first capability is.
fn sparse_areas(bytes: &[u8], fixed: usize, at: usize) -> Option<Vec<(u64, u64)>> {
    let cap = find_capability(bytes, fixed, at, vfio::VFIO_REGION_INFO_CAP_SPARSE_MMAP)?;
    let count = word32(bytes, cap + 8)?;
    (0..count as usize)
        .map(|i| {
            let entry = cap + 16 + 16 * i;
            Some((word64(bytes, entry)?, word64(bytes, entry + 8)?))
        })
        .collect()
}

/// Bus addresses that a type 1 IOMMU lets through; `None` from a kernel that does not say.
///
/// # Errors
/// The system's.
pub fn container_ranges(container: BorrowedFd<'_>) -> io::Result<Option<Ranges>> {
    let fixed = size_of::<vfio::vfio_iommu_type1_info>();
    let mut info = vfio::vfio_iommu_type1_info {
        argsz: fixed as u32,
        ..Default::default()
    };
    // SAFETY: `info` is the structure of this call, its size in it, and lives over the call.
    check(unsafe { libc::ioctl(container.as_raw_fd(), IOMMU_GET_INFO, &raw mut info) })?;
    if info.flags & vfio::VFIO_IOMMU_INFO_CAPS == 0 {
        return Ok(None);
    }
    let bytes = with_capabilities(container, IOMMU_GET_INFO, info.argsz, 0)?;
    Ok(iova_ranges(&bytes, fixed, 16))
}

fn iova_ranges(bytes: &[u8], fixed: usize, at: usize) -> Option<Ranges> {
    let cap = find_capability(bytes, fixed, at, vfio::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)?;
    let count = word32(bytes, cap + 8)?;
    let ranges: Option<Vec<_>> = (0..count as usize)
        .map(|i| {
            let entry = cap + 16 + 16 * i;
            Some(word64(bytes, entry)?..=word64(bytes, entry + 8)?)
        })
        .collect();
    ranges.map(Ranges::new)
}

/// Where a capability of this kind begins. Each has a 16-bit identifier, a version, and the offset of the next.
fn find_capability(bytes: &[u8], fixed: usize, at: usize, id: u32) -> Option<usize> {
    let mut next = word32(bytes, at)? as usize;
    // A chain longer than the buffer goes in circles.
    for _ in 0..bytes.len() / 8 {
        if next < fixed {
            return None;
        }
        let head = word32(bytes, next)?;
        if head & 0xFFFF == id {
            return Some(next);
        }
        next = word32(bytes, next + 4)? as usize;
    }
    None
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(word.try_into().ok()?))
}

/// Maps memory of this process for the devices of a container.
///
/// # Errors
/// The system's.
pub fn container_map(container: BorrowedFd<'_>, iova: u64, at: u64, len: u64) -> io::Result<()> {
    let map = vfio::vfio_iommu_type1_dma_map {
        argsz: size_of::<vfio::vfio_iommu_type1_dma_map>() as u32,
        flags: vfio::VFIO_DMA_MAP_FLAG_READ | vfio::VFIO_DMA_MAP_FLAG_WRITE,
        vaddr: at,
        iova,
        size: len,
    };
    // SAFETY: `map` is the structure of this call and lives over it. What devices do to the mapped memory is no concern of
    // the language: it is only ever accessed volatile (`map.rs`), and the kernel holds the pages for as long as it is mapped.
    check(unsafe { libc::ioctl(container.as_raw_fd(), IOMMU_MAP_DMA, &raw const map) }).map(drop)
}

/// Takes a mapping back.
///
/// # Errors
/// The system's.
pub fn container_unmap(container: BorrowedFd<'_>, iova: u64, len: u64) -> io::Result<()> {
    let mut unmap = vfio::vfio_iommu_type1_dma_unmap {
        argsz: size_of::<vfio::vfio_iommu_type1_dma_unmap>() as u32,
        iova,
        size: len,
        ..Default::default()
    };
    // SAFETY: `unmap` is the structure of this call, without the bitmap that its flags could ask for, and lives over it.
    check(unsafe { libc::ioctl(container.as_raw_fd(), IOMMU_UNMAP_DMA, &raw mut unmap) }).map(drop)
}

/// Vectors of an interrupt.
///
/// # Errors
/// The system's.
pub fn device_vectors(device: BorrowedFd<'_>, index: IrqIndex) -> io::Result<u32> {
    let mut info = vfio::vfio_irq_info {
        argsz: size_of::<vfio::vfio_irq_info>() as u32,
        index: index as u32,
        ..Default::default()
    };
    // SAFETY: `info` is the structure of this call, its size in it, and lives over the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), DEVICE_GET_IRQ_INFO, &raw mut info) })?;
    Ok(info.count)
}

/// Has vectors 0 and up write to these event descriptors; none disables the interrupt.
///
/// # Errors
/// The system's.
pub fn device_set_irqs(
    device: BorrowedFd<'_>,
    index: IrqIndex,
    events: &[OwnedFd],
) -> io::Result<()> {
    let data = if events.is_empty() {
        vfio::VFIO_IRQ_SET_DATA_NONE
    } else {
        vfio::VFIO_IRQ_SET_DATA_EVENTFD
    };
    // struct vfio_irq_set: five words, then the descriptors.
    let mut words = vec![
        (20 + 4 * events.len()) as u32,
        data | vfio::VFIO_IRQ_SET_ACTION_TRIGGER,
        index as u32,
        0,
        events.len() as u32,
    ];
    words.extend(events.iter().map(|fd| fd.as_raw_fd() as u32));
    // SAFETY: `words` is the structure of this call, as long as its first word says, and lives over the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), DEVICE_SET_IRQS, words.as_ptr()) }).map(drop)
}

/// Resets the function.
///
/// # Errors
/// The system's.
pub fn device_reset(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), DEVICE_RESET) }).map(drop)
}

/// A new address space of an iommufd; its number.
///
/// # Errors
/// The system's.
pub fn iommufd_space(iommufd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut alloc = iommu::iommu_ioas_alloc {
        size: size_of::<iommu::iommu_ioas_alloc>() as u32,
        ..Default::default()
    };
    let request = iommu_io(iommu::IOMMUFD_CMD_IOAS_ALLOC);
    // SAFETY: `alloc` is the structure of this call, its size in it, and lives over the call.
    check(unsafe { libc::ioctl(iommufd.as_raw_fd(), request, &raw mut alloc) })?;
    Ok(alloc.out_ioas_id)
}

/// Bus addresses that an address space lets through.
///
/// # Errors
/// The system's.
pub fn iommufd_ranges(iommufd: BorrowedFd<'_>, space: u32) -> io::Result<Ranges> {
    let mut ranges = vec![iommu::iommu_iova_range { start: 0, last: 0 }; 64];
    let mut ask = iommu::iommu_ioas_iova_ranges {
        size: size_of::<iommu::iommu_ioas_iova_ranges>() as u32,
        ioas_id: space,
        num_iovas: ranges.len() as u32,
        allowed_iovas: ranges.as_mut_ptr() as u64,
        ..Default::default()
    };
    let request = iommu_io(iommu::IOMMUFD_CMD_IOAS_IOVA_RANGES);
    // SAFETY: `ask` is the structure of this call, its size in it; the array that it names is as long as it says; both live
    // over the call.
    check(unsafe { libc::ioctl(iommufd.as_raw_fd(), request, &raw mut ask) })?;
    let got = ranges.iter().take(ask.num_iovas as usize);
    Ok(Ranges::new(got.map(|r| r.start..=r.last)))
}

/// Maps memory of this process for the devices of an address space.
///
/// # Errors
/// The system's.
pub fn iommufd_map(
    iommufd: BorrowedFd<'_>,
    space: u32,
    iova: u64,
    at: u64,
    len: u64,
) -> io::Result<()> {
    let map = iommu::iommu_ioas_map {
        size: size_of::<iommu::iommu_ioas_map>() as u32,
        flags: MAP_FLAGS,
        ioas_id: space,
        user_va: at,
        length: len,
        iova,
        ..Default::default()
    };
    let request = iommu_io(iommu::IOMMUFD_CMD_IOAS_MAP);
    // SAFETY: as `container_map`.
    check(unsafe { libc::ioctl(iommufd.as_raw_fd(), request, &raw const map) }).map(drop)
}

/// Maps a file (a memfd, or a device's memory as a dma-buf) for the devices of an address space.
///
/// # Errors
/// The system's; kernels before 6.14 cannot.
pub fn iommufd_map_file(
    iommufd: BorrowedFd<'_>,
    space: u32,
    iova: u64,
    file: BorrowedFd<'_>,
    len: u64,
) -> io::Result<()> {
    let map = iommu::iommu_ioas_map_file {
        size: size_of::<iommu::iommu_ioas_map_file>() as u32,
        flags: MAP_FLAGS,
        ioas_id: space,
        fd: file.as_raw_fd(),
        start: 0,
        length: len,
        iova,
    };
    let request = iommu_io(iommu::IOMMUFD_CMD_IOAS_MAP_FILE);
    // SAFETY: as `container_map`.
    check(unsafe { libc::ioctl(iommufd.as_raw_fd(), request, &raw const map) }).map(drop)
}

const MAP_FLAGS: u32 = iommu::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA
    | iommu::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE
    | iommu::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE;

/// Takes a mapping back.
///
/// # Errors
/// The system's.
pub fn iommufd_unmap(iommufd: BorrowedFd<'_>, space: u32, iova: u64, len: u64) -> io::Result<()> {
    let mut unmap = iommu::iommu_ioas_unmap {
        size: size_of::<iommu::iommu_ioas_unmap>() as u32,
        ioas_id: space,
        iova,
        length: len,
    };
    let request = iommu_io(iommu::IOMMUFD_CMD_IOAS_UNMAP);
    // SAFETY: `unmap` is the structure of this call, its size in it, and lives over the call.
    check(unsafe { libc::ioctl(iommufd.as_raw_fd(), request, &raw mut unmap) }).map(drop)
}

/// Gives a character device to an iommufd and puts it into an address space.
///
/// # Errors
/// The system's.
pub fn device_join(device: BorrowedFd<'_>, iommufd: BorrowedFd<'_>, space: u32) -> io::Result<()> {
    let mut bind = vfio::vfio_device_bind_iommufd {
        argsz: size_of::<vfio::vfio_device_bind_iommufd>() as u32,
        iommufd: iommufd.as_raw_fd(),
        ..Default::default()
    };
    // Older kernels know the structure without its last field, which no flag asks for.
    bind.argsz -= 8;
    // SAFETY: `bind` is the structure of this call, at least as long as it says, and lives over the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), DEVICE_BIND_IOMMUFD, &raw mut bind) })?;
    let mut attach = vfio::vfio_device_attach_iommufd_pt {
        argsz: size_of::<vfio::vfio_device_attach_iommufd_pt>() as u32 - 4,
        pt_id: space,
        ..Default::default()
    };
    // SAFETY: `attach` is the structure of this call, at least as long as it says, and lives over the call.
    check(unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            DEVICE_ATTACH_IOMMUFD_PT,
            &raw mut attach,
        )
    })
    .map(drop)
}

/// `len` bytes of a BAR as a dma-buf, which is how an iommufd maps a device's memory.
///
/// # Errors
/// The system's; kernels before 6.19 cannot.
pub fn device_dma_buf(
    device: BorrowedFd<'_>,
    bar: u32,
    offset: u64,
    len: u64,
) -> io::Result<OwnedFd> {
    // struct vfio_device_feature, then vfio_device_feature_dma_buf, then one vfio_region_dma_range.
    let mut words = [0u32; 2 + 4 + 4];
    words[0] = size_of_val(&words) as u32;
    words[1] = vfio::VFIO_DEVICE_FEATURE_GET | vfio::VFIO_DEVICE_FEATURE_DMA_BUF;
    words[2] = bar;
    words[3] = (libc::O_RDWR | libc::O_CLOEXEC) as u32;
    words[5] = 1;
    words[6] = offset as u32;
    words[7] = (offset >> 32) as u32;
    words[8] = len as u32;
    words[9] = (len >> 32) as u32;
    // SAFETY: `words` is the structure of this call, as long as its first word says, and lives over the call.
    let fd = check(unsafe { libc::ioctl(device.as_raw_fd(), DEVICE_FEATURE, words.as_mut_ptr()) })?;
    // SAFETY: the call has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The descriptors that systemd passed to this process, by name. Once: a second call finds none.
///
/// # Errors
/// If the environment that describes them makes no sense.
pub fn systemd_descriptors() -> io::Result<Vec<(String, OwnedFd)>> {
    static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    if TAKEN.swap(true, std::sync::atomic::Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let all = sd_notify::listen_fds_with_names()?;
    // SAFETY: they were passed for this process to own, and this runs once in it, so nobody else takes them for its own.
    Ok(all
        .map(|(fd, name)| (name, unsafe { OwnedFd::from_raw_fd(fd) }))
        .collect())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure of `fixed` bytes whose word at `at` leads to these capabilities: identifier and content.
    fn chain(fixed: usize, at: usize, caps: &[(u16, Vec<u64>)]) -> Vec<u8> {
        let mut bytes = vec![0; fixed];
        let mut link = at;
        for (id, content) in caps {
            let here = bytes.len();
            bytes[link..link + 4].copy_from_slice(&(here as u32).to_ne_bytes());
            bytes.extend_from_slice(&id.to_ne_bytes());
            bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
            link = here + 4;
            bytes.extend(content.iter().flat_map(|w| w.to_ne_bytes()));
        }
        bytes
    }

    #[test]
    fn ranges_and_areas_are_found_behind_other_capabilities() {
        let ranges = vec![2, 0x1_0000, 0xFEDF_FFFF, 0xFEF0_0000, u64::MAX];
        let bytes = chain(24, 16, &[(3, vec![7]), (1, ranges)]);
        let want = Ranges::new([0x1_0000..=0xFEDF_FFFF, 0xFEF0_0000..=u64::MAX]);
        assert_eq!(iova_ranges(&bytes, 24, 16), Some(want));
        let bytes = chain(32, 12, &[(3, vec![]), (1, vec![1, 0x1000, 0x3000])]);
        assert_eq!(sparse_areas(&bytes, 32, 12), Some(vec![(0x1000, 0x3000)]));
    }

    #[test]
    fn chains_that_end_early_lie_about_their_length_or_go_in_circles_give_nothing() {
        let bytes = chain(24, 16, &[(1, vec![9, 0, 1])]);
        assert_eq!(iova_ranges(&bytes, 24, 16), None);
        assert_eq!(iova_ranges(&bytes[..20], 24, 16), None);
        let mut bytes = chain(24, 16, &[(3, vec![]), (3, vec![])]);
        let second = 24 + 8 + 4;
        bytes[second..second + 4].copy_from_slice(&24u32.to_ne_bytes());
        assert_eq!(iova_ranges(&bytes, 24, 16), None);
        let mut bytes = chain(24, 16, &[(3, vec![])]);
        bytes[28..32].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(iova_ranges(&bytes, 24, 16), None);
    }

    #[test]
    fn requests_have_the_kernels_numbers() {
        // From linux/vfio.h and linux/iommufd.h: _IO(';', 113) and _IO(';', 0x85).
        assert_eq!(IOMMU_MAP_DMA, 0x3B71);
        assert_eq!(DEVICE_RESET, 0x3B6F);
        assert_eq!(iommu_io(iommu::IOMMUFD_CMD_IOAS_MAP), 0x3B85);
    }
}
