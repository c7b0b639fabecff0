//! What the client asks about regions, and does to them.

use sluice_vfio_user::frame::take;
use sluice_vfio_user::version::MAX_DATA;
use sluice_vfio_user::wire::{
    self, CapHeader, Header, RegionAccess, RegionInfo, SmallWrite, SparseArea, errno, flags, region,
};
use zerocopy::little_endian::U64;
use zerocopy::{FromZeros, IntoBytes};

use super::Engine;
use super::messages::{Answer, invalid};
use crate::{Function, SharedBar};

impl<F: Function> Engine<F> {
    fn region_size(&mut self, index: u32) -> u64 {
        match index {
            region::CONFIG => crate::config_space::SIZE as u64,
            region::BAR0..=region::BAR5 => {
                self.function.profile().bars[index as usize].map_or(0, |bar| bar.size)
            }
            _ => 0,
        }
    }

    /// Answers by itself: a descriptor may go along.
    pub(super) fn region_info(
        &mut self,
        header: &Header,
        payload: &[u8],
    ) -> Result<(), (u32, String)> {
        let (ask, _) = take::<RegionInfo>(payload).map_err(|e| invalid(e.to_string()))?;
        let (size, index) = (size_of::<RegionInfo>() as u32, ask.index.get());
        if ask.argsz.get() < size {
            return Err(invalid(format!(
                "argsz {}: at least {size} wanted",
                ask.argsz
            )));
        }
        if index >= region::COUNT {
            return Err(invalid(format!(
                "region {index}: 0 to {} wanted",
                region::COUNT - 1
            )));
        }
        let bytes = self.region_size(index);
        let mut info = RegionInfo::new_zeroed();
        info.argsz.set(size);
        info.index.set(index);
        info.size.set(bytes);
        if bytes > 0 {
            info.flags.set(region::READ | region::WRITE);
        }
        let shared = (index <= region::BAR5)
            .then(|| self.function.shared(index as u8))
            .flatten();
        let (mut capability, mut fds) = (Vec::new(), Vec::new());
        if let Some(shared) = shared {
            capability = sparse(&shared);
            info.argsz.set(size + capability.len() as u32);
            // Who has no room is told how much it takes, and asks again (`linux/vfio.h`, vfio_region_info). QEMU 11 wants no mention
            // of capabilities then.
            if ask.argsz.get() < info.argsz.get() {
                capability.clear();
            } else {
                info.flags
                    .set(region::READ | region::WRITE | region::MMAP | region::CAPS);
                info.cap_offset.set(size);
                let fd = shared.file.fd().try_clone_to_owned();
                fds.push(fd.map_err(|e| (errno::ENOMEM, format!("a descriptor: {e}")))?);
            }
        }
        let parts = [info.as_bytes(), &capability];
        let message = wire::message(header.id.get(), header.command.get(), flags::REPLY, &parts);
        if header.flags.get() & flags::NO_REPLY == 0 {
            self.out.push((message, fds));
        }
        Ok(())
    }

    /// Region, offset and size of an access are right.
    fn check_access(&mut self, access: &RegionAccess) -> Result<(), (u32, String)> {
        let (index, offset, count) = (access.region.get(), access.offset.get(), access.count.get());
        let size = self.region_size(index);
        let inside = offset
            .checked_add(count.into())
            .is_some_and(|end| end <= size);
        if !inside || count == 0 {
            return Err(invalid(format!(
                "{count} bytes at {offset:#x} of region {index}, which has {size:#x}"
            )));
        }
        if count > MAX_DATA {
            return Err((
                errno::E2BIG,
                format!("{count} bytes at once: up to {MAX_DATA} wanted"),
            ));
        }
        Ok(())
    }

    pub(super) fn region_read(
        &mut self,
        header: &Header,
        payload: &[u8],
    ) -> Result<(), (u32, String)> {
        let (access, _) = take::<RegionAccess>(payload).map_err(|e| invalid(e.to_string()))?;
        self.check_access(&access)?;
        if access.region.get() == region::CONFIG {
            let data = self
                .config
                .read(access.offset.get(), access.count.get() as usize);
            let data = data.unwrap_or_default().to_vec();
            self.reply(header, Ok(vec![access.as_bytes().to_vec(), data]));
        } else {
            self.bar_read(*header, access);
        }
        Ok(())
    }

    pub(super) fn region_write(&mut self, payload: &[u8]) -> Answer {
        let (access, data) = take::<RegionAccess>(payload).map_err(|e| invalid(e.to_string()))?;
        if data.len() != access.count.get() as usize {
            return Err(invalid(format!(
                "{} bytes come, {} are written",
                data.len(),
                access.count
            )));
        }
        self.check_access(&access)?;
        self.write_region(&access, data);
        Ok(vec![access.as_bytes().to_vec()])
    }

    fn write_region(&mut self, access: &RegionAccess, data: &[u8]) {
        if access.region.get() != region::CONFIG {
            return self.bar_write(access.region.get() as u8, access.offset.get(), data);
        }
        if self.config.write(access.offset.get(), data) == Some(true) {
            log::debug!("{}: function level reset", self.name());
            self.reset();
        }
    }

    pub(super) fn write_multi(&mut self, payload: &[u8]) -> Answer {
        let (count, mut rest) = take::<U64>(payload).map_err(|e| invalid(e.to_string()))?;
        let fits = rest.len() / size_of::<SmallWrite>();
        if count.get() > fits as u64 {
            return Err(invalid(format!("{count} writes announced, {fits} come")));
        }
        for _ in 0..count.get() {
            let (write, more) = take::<SmallWrite>(rest).map_err(|e| invalid(e.to_string()))?;
            let access = RegionAccess {
                offset: write.offset,
                region: write.region,
                count: write.count,
            };
            let data = write.data.get(..write.count.get() as usize);
            let data = data.ok_or_else(|| {
                invalid(format!(
                    "{} bytes in a small write: up to 8 wanted",
                    write.count
                ))
            })?;
            self.check_access(&access)?;
            self.write_region(&access, data);
            rest = more;
        }
        Ok(vec![count.as_bytes().to_vec()])
    }
}

/// The sparse-mmap capability of a BAR, the only one in its chain.
fn sparse(shared: &SharedBar) -> Vec<u8> {
    let header = CapHeader {
        id: region::CAP_SPARSE_MMAP.into(),
        version: 1.into(),
        next: 0.into(),
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend((shared.areas.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    for area in &shared.areas {
        let area = SparseArea {
            offset: area.start.into(),
            size: (area.end - area.start).into(),
        };
        bytes.extend(area.as_bytes());
    }
    bytes
}
