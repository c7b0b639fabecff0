//! Devices that outlive their process, and the next process that takes them up.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use sluice_device::{Kept, KeptBar};

use super::super::bus::Bus;
use super::super::connection::Connection;
use super::super::journal::Journal;
use super::super::kept::{DeviceId, Name, path_number};
use super::super::{OpenError, Options, SharedKeeper};
use super::{COMMAND, MEMORY_AND_MASTER, UserBar, VfioUserDevice, stem};
use crate::memory::SharedFile;
use crate::version::Capabilities;

/// A device of an earlier process that nobody has taken up yet. It is on the bus and goes on; dropping it ends that.
pub struct Left {
    id: DeviceId,
    device: VfioUserDevice,
}

impl Left {
    /// It is the one whose server listens at `path`.
    #[must_use]
    pub fn is(&self, path: &Path) -> bool {
        self.id.path == path_number(path)
    }

    /// Takes it up as it runs.
    ///
    /// # Errors
    /// [`OpenError`] if it is gone or not as it was left.
    pub fn take_up(mut self, path: &Path) -> Result<VfioUserDevice, OpenError> {
        let device = &mut self.device;
        device.name = stem(path);
        device.connection.set_name(&device.name);
        let mut command = [0; 2];
        let read = device.config_read(COMMAND, &mut command);
        read.map_err(|error| OpenError::Request {
            path: path.into(),
            error,
        })?;
        let command = u16::from_le_bytes(command);
        if command & MEMORY_AND_MASTER != MEMORY_AND_MASTER {
            let reason = format!(
                "command register {command:#06x} of a device that an earlier process had open: {MEMORY_AND_MASTER:#06x} wanted; it must be reset"
            );
            let path = path.into();
            return Err(OpenError::Device { path, reason });
        }
        Ok(self.device)
    }

    #[cfg(test)]
    pub(in crate::client) fn device_for_tests(&self) -> &VfioUserDevice {
        &self.device
    }

    /// Resets it and lets go of it: it reaches no memory any more.
    pub fn give_up(self) {
        if let Err(error) = self.device.stop() {
            log::warn!("{}: not reset: {error}", self.device.name);
        }
    }
}

impl Bus {
    /// The bus of an earlier process, with its memory, and its devices as they run. What they want of each other is done from
    /// here on; one that does not answer any more is dropped.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn adopt(
        kept: Kept<Name>,
        keeper: SharedKeeper,
        options: &Options,
    ) -> Result<(Self, Vec<Left>), OpenError> {
        let bus = Self::kept_by(keeper);
        let (mut sockets, mut journals) = (Vec::new(), Vec::new());
        for (name, fd) in kept {
            match name {
                Name::Memory { base, len } => match SharedFile::adopt(fd) {
                    Ok(file) if file.is_mapped() && file.len() == len => {
                        bus.take_memory(base, file);
                    }
                    _ => bus.forget(&Name::Memory { base, len }),
                },
                Name::Journal(id) => journals.push((id, fd)),
                Name::Device { ref bars, .. } => {
                    bus.take_bars(bars);
                    sockets.push((name, fd));
                }
            }
        }
        let (mut left, mut lost) = (Vec::new(), Vec::new());
        for (name, socket) in sockets {
            let Name::Device { id, ref bars, .. } = name else {
                continue;
            };
            let at = journals.iter().position(|(of, _)| *of == id);
            let journal = at.map(|at| journals.swap_remove(at).1);
            match VfioUserDevice::resume(&bus, &name, socket, journal, options) {
                Ok(device) => left.push(Left { id, device }),
                Err(error) => {
                    log::warn!("a device of an earlier process is lost: {error}");
                    lost.extend_from_slice(bars);
                    bus.forget(&name);
                    bus.forget(&Name::Journal(id));
                }
            }
        }
        // Nobody has told the others.
        bus.clear(&lost);
        // What has no socket any more.
        for (id, _) in journals {
            bus.forget(&Name::Journal(id));
        }
        // Only now each finds every other: what was asked meanwhile waits until here.
        for Left { device, .. } in &mut left {
            device.start_server().map_err(|error| OpenError::Io {
                what: "a thread",
                error,
            })?;
        }
        Ok((bus, left))
    }
}

impl VfioUserDevice {
    /// A device of an earlier process, on the bus as before; its server's requests wait.
    fn resume(
        bus: &Bus,
        name: &Name,
        socket: OwnedFd,
        journal: Option<OwnedFd>,
        options: &Options,
    ) -> Result<Self, OpenError> {
        // Nobody has said yet at which path it is wanted.
        let path = Path::new("a socket kept for this process");
        let io = |what| move |error| OpenError::Io { what, error };
        let Name::Device {
            id,
            data,
            fds,
            bars,
        } = name
        else {
            let error = io::Error::other(format!("{name} is no device"));
            return Err(io("a descriptor")(error));
        };
        let journal = journal.ok_or_else(|| io::Error::other(format!("{name} has none")));
        let journal = journal.and_then(Journal::adopt).map_err(io("a journal"))?;
        let socket = UnixStream::from(socket);
        let connection =
            Connection::new(socket, options.timeout, Some(journal)).map_err(io("an eventfd"))?;
        connection.set_theirs(Capabilities {
            max_data_xfer_size: (*data).into(),
            max_msg_fds: (*fds).into(),
            ..Capabilities::default()
        });
        let mut device = Self::over(bus, connection);
        let left = device.connection.left_behind().map_err(io("a journal"))?;
        device.start_receiver(left).map_err(io("a thread"))?;
        device.inspect(path, Some(bars))?;
        let member = Arc::new(device.member());
        bus.join(&member, true)
            .map_err(|error| OpenError::Request {
                path: path.into(),
                error,
            })?;
        device.kept = vec![name.clone(), Name::Journal(*id)];
        Ok(device)
    }

    /// Has socket and journal outlive the process.
    pub(super) fn keep(&mut self, path: &Path) {
        let Some(journal) = self.connection.journal() else {
            return;
        };
        let bars: Vec<KeptBar> = (self.bars.iter())
            .map(|UserBar { place, .. }| KeptBar {
                index: place.index,
                len: place.size,
                base: place.base,
            })
            .collect();
        let (id, theirs) = (DeviceId::new(path, &bars), self.connection.theirs());
        let device = Name::Device {
            id,
            data: theirs.data() as u32,
            fds: theirs.fds() as u8,
            bars,
        };
        // A socket without its journal is of no use to anybody.
        self.bus.keep(&Name::Journal(id), journal.fd());
        self.bus.keep(&device, self.connection.socket());
        self.kept = vec![device, Name::Journal(id)];
    }
}
