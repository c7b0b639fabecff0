//! The client's messages: each is checked, and answered at once or later.
//! Source: vfio-user protocol specification.
//!
//! A message that makes no sense gets an error as its answer, and a line in the log. What cannot be gone on from ends the
//! connection: a first message that is no VERSION, or a kind of message that there is not.

use sluice_vfio_user::frame::{Message, take};
use sluice_vfio_user::version::{self, Capabilities, MINOR};
use sluice_vfio_user::wire::{
    self, Command, DeviceInfo, DmaMap, DmaUnmap, Header, IrqInfo, IrqSet, device, dma, errno,
    flags, irq, region,
};
use zerocopy::IntoBytes;

use super::Engine;
use crate::Function;
use crate::irqs::is_eventfd;

/// The answer to a message: the parts of its payload, or an errno and why.
pub(super) type Answer = Result<Vec<Vec<u8>>, (u32, String)>;

pub(super) fn invalid(why: impl Into<String>) -> (u32, String) {
    (errno::EINVAL, why.into())
}

impl<F: Function> Engine<F> {
    /// Takes a message of the client.
    ///
    /// # Errors
    /// In words: the connection has to end. What is in `out` is still for the client.
    pub fn take(&mut self, message: Message) -> Result<(), String> {
        let header = message.header;
        let ready = self.is_attached();
        let command = Command::from_number(header.command.get());
        match header.flags.get() & flags::TYPE {
            flags::REPLY if ready => {
                self.answered(&message);
                return Ok(());
            }
            0 => {}
            other => return Err(format!("message of type {other}: 0 (command) wanted")),
        }
        if !ready && command != Some(Command::Version) {
            return Err(format!("command {} before VERSION", header.command));
        }
        let answer = match command {
            Some(Command::Version) => return self.version(&header, &message.payload),
            // These answer by themselves, later.
            Some(Command::RegionRead) => match self.region_read(&header, &message.payload) {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            },
            Some(Command::DmaUnmap) => match self.unmap(&header, &message.payload) {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            },
            Some(Command::DmaMap) => self.map(message),
            Some(Command::GetInfo) => self.info(&message.payload),
            Some(Command::GetRegionInfo) => match self.region_info(&header, &message.payload) {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            },
            Some(Command::GetIrqInfo) => self.irq_info(&message.payload),
            Some(Command::SetIrqs) => self.set_irqs(message),
            Some(Command::RegionWrite) => self.region_write(&message.payload),
            Some(Command::RegionWriteMulti) => self.write_multi(&message.payload),
            Some(Command::Reset) => {
                log::debug!("{}: reset by message", self.name());
                self.reset();
                Ok(Vec::new())
            }
            Some(
                Command::GetRegionIoFds | Command::Feature | Command::DmaRead | Command::DmaWrite,
            )
            | None => Err((errno::ENOTSUP, "not supported here".into())),
        };
        self.reply(&header, answer);
        Ok(())
    }

    pub(super) fn reply(&mut self, header: &Header, answer: Answer) {
        let wanted = header.flags.get() & flags::NO_REPLY == 0;
        let message = match answer {
            Ok(parts) => {
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                wire::message(header.id.get(), header.command.get(), flags::REPLY, &parts)
            }
            Err((errno, why)) => {
                let quiet = errno == errno::ENOTSUP;
                let level = if quiet {
                    log::Level::Debug
                } else {
                    log::Level::Warn
                };
                log::log!(
                    level,
                    "{}: command {} refused: {why}",
                    self.name(),
                    header.command
                );
                wire::error_reply(header, errno)
            }
        };
        if wanted {
            self.out.push((message, Vec::new()));
        }
    }

    fn version(&mut self, header: &Header, payload: &[u8]) -> Result<(), String> {
        if self.is_attached() {
            self.reply(header, Err(invalid("VERSION again")));
            return Ok(());
        }
        match version::parse(payload) {
            Ok((minor, theirs)) => {
                self.client = Some(theirs);
                let ours = Capabilities {
                    write_multiple: theirs.write_multiple,
                    ..Capabilities::OURS
                };
                self.reply(header, Ok(vec![version::payload(minor.min(MINOR), &ours)]));
                Ok(())
            }
            Err(error) => {
                self.reply(header, Err(invalid(error.to_string())));
                Err(error.to_string())
            }
        }
    }

    fn map(&mut self, mut message: Message) -> Answer {
        let (map, _) = take::<DmaMap>(&message.payload).map_err(|e| invalid(e.to_string()))?;
        if message.fds.len() > 1 {
            return Err(invalid(format!(
                "{} descriptors: 1 or none wanted",
                message.fds.len()
            )));
        }
        let (address, size, offset) = (map.address.get(), map.size.get(), map.offset.get());
        let fd = message.fds.pop();
        let done = self.dma.map(address, size, map.flags.get(), offset, fd);
        done.map(|()| Vec::new()).map_err(|(errno, why)| {
            (
                errno,
                format!("mapping {size:#x} bytes at {address:#x}: {why}"),
            )
        })
    }

    fn unmap(&mut self, header: &Header, payload: &[u8]) -> Result<(), (u32, String)> {
        let (unmap, _) = take::<DmaUnmap>(payload).map_err(|e| invalid(e.to_string()))?;
        let (mut address, mut size) = (unmap.address.get(), unmap.size.get());
        if unmap.flags.get() & dma::UNMAP_ALL != 0 {
            self.dma.clear();
            (address, size) = (0, u64::MAX);
        } else {
            let done = self.dma.unmap(address, size);
            done.map_err(|(errno, why)| {
                (
                    errno,
                    format!("unmapping {size:#x} bytes at {address:#x}: {why}"),
                )
            })?;
        }
        if header.flags.get() & flags::NO_REPLY == 0 {
            let reply = wire::message(
                header.id.get(),
                header.command.get(),
                flags::REPLY,
                &[unmap.as_bytes()],
            );
            self.answer_unmap(address, size, reply);
        }
        Ok(())
    }

    fn info(&self, payload: &[u8]) -> Answer {
        let (ask, _) = take::<DeviceInfo>(payload).map_err(|e| invalid(e.to_string()))?;
        let size = size_of::<DeviceInfo>() as u32;
        if ask.argsz.get() < size {
            return Err(invalid(format!(
                "argsz {}: at least {size} wanted",
                ask.argsz
            )));
        }
        let info = DeviceInfo {
            argsz: size.into(),
            flags: (device::RESET | device::PCI).into(),
            regions: region::COUNT.into(),
            irqs: irq::COUNT.into(),
        };
        Ok(vec![info.as_bytes().to_vec()])
    }

    fn irq_info(&self, payload: &[u8]) -> Answer {
        let (ask, _) = take::<IrqInfo>(payload).map_err(|e| invalid(e.to_string()))?;
        let (size, index) = (size_of::<IrqInfo>() as u32, ask.index.get());
        if ask.argsz.get() < size || index >= irq::COUNT {
            return Err(invalid(format!(
                "argsz {}, index {index}: at least {size}, and 0 to {} wanted",
                ask.argsz,
                irq::COUNT - 1
            )));
        }
        let count = if index == irq::MSIX {
            self.irqs.count()
        } else {
            0
        };
        let info = IrqInfo {
            argsz: size.into(),
            flags: (if count > 0 { irq::EVENTFD } else { 0 }).into(),
            index: index.into(),
            count: count.into(),
        };
        Ok(vec![info.as_bytes().to_vec()])
    }

    fn set_irqs(&mut self, message: Message) -> Answer {
        let (set, data) = take::<IrqSet>(&message.payload).map_err(|e| invalid(e.to_string()))?;
        let (start, count, asked) = (set.start.get(), set.count.get(), set.flags.get());
        let have = if set.index.get() == irq::MSIX {
            self.irqs.count()
        } else {
            0
        };
        let end = start.checked_add(count).filter(|end| *end <= have);
        let Some(end) = end else {
            return Err(invalid(format!(
                "vectors {start} and {count} more of index {}, which has {have}",
                set.index
            )));
        };
        let acts = [irq::ACTION_MASK, irq::ACTION_UNMASK, irq::ACTION_TRIGGER];
        let action = asked & (irq::ACTION_MASK | irq::ACTION_UNMASK | irq::ACTION_TRIGGER);
        let kind = asked & !action;
        if !acts.contains(&action)
            || ![irq::DATA_NONE, irq::DATA_BOOL, irq::DATA_EVENTFD].contains(&kind)
        {
            return Err(invalid(format!(
                "flags {asked:#x}: one kind of data and one action wanted"
            )));
        }
        let flagged = |i: u32| {
            kind == irq::DATA_NONE || data.get((i - start) as usize).is_some_and(|b| *b != 0)
        };
        match (kind, action) {
            (irq::DATA_EVENTFD, irq::ACTION_TRIGGER) => return self.arm(start, end, message.fds),
            (irq::DATA_EVENTFD, _) => return Err((errno::ENOTSUP, "no events for masking".into())),
            (irq::DATA_BOOL, _) if data.len() < count as usize => {
                return Err(invalid(format!("{} bytes for {count} vectors", data.len())));
            }
            (irq::DATA_NONE, irq::ACTION_TRIGGER) if count == 0 => {
                for vector in 0..have {
                    self.irqs.arm(vector, None);
                    self.program(vector);
                }
            }
            (_, irq::ACTION_TRIGGER) => (start..end)
                .filter(|i| flagged(*i))
                .for_each(|i| self.irqs.fire(i)),
            _ => {
                for vector in (start..end).filter(|i| flagged(*i)) {
                    self.irqs.mask(vector, action == irq::ACTION_MASK);
                    self.program(vector);
                }
            }
        }
        Ok(Vec::new())
    }

    /// Without descriptors the vectors are disarmed.
    fn arm(&mut self, start: u32, end: u32, fds: Vec<std::os::fd::OwnedFd>) -> Answer {
        if !fds.is_empty() && fds.len() != (end - start) as usize {
            return Err(invalid(format!(
                "{} descriptors for {} vectors",
                fds.len(),
                end - start
            )));
        }
        if !fds.iter().all(is_eventfd) {
            return Err(invalid("a descriptor is no eventfd"));
        }
        let mut fds = fds.into_iter();
        for vector in start..end {
            self.irqs.arm(vector, fds.next());
            self.program(vector);
        }
        Ok(Vec::new())
    }
}
