//! The socket of a function: one client after the other, and the messages of each.
//! Source: vfio-user protocol specification.
//!
//! A message that makes no sense gets an error as its answer, and a line in the log. What cannot be gone on from (a size
//! that no message has, a first message that is no VERSION) ends the connection; the next client finds the function as the
//! last one left it, without memory and interrupts.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_vfio_user::frame::{FrameError, Message, Receiver, Sender, take};
use sluice_vfio_user::version::{self, Capabilities, MAX_DATA, MINOR};
use sluice_vfio_user::wire::{
    self, CapHeader, Command, DeviceInfo, DmaMap, DmaUnmap, Header, IrqInfo, IrqSet, RegionAccess,
    RegionInfo, SmallWrite, SparseArea, device, dma, errno, flags, irq, region,
};
use zerocopy::little_endian::U64;
use zerocopy::{FromZeros, IntoBytes};

use super::engine::Engine;
use super::irqs::is_eventfd;
use super::{Function, SharedBar};

/// Messages taken between two looks at the function.
const BATCH: usize = 64;
/// Longest sleep.
const NAP: Duration = Duration::from_millis(100);
/// In this time a client must have said VERSION, and have finished a message that it began.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody else listens there.
    #[error("{}: another program listens on this socket; stop it, or choose another path", .0.display())]
    Taken(PathBuf),
    /// The system's.
    #[error("cannot listen on {}: {error}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// What the function is joined to has failed.
    #[error("the function failed: {0}")]
    Function(#[from] io::Error),
}

/// A server. Dropping it removes the socket.
pub struct Server<F> {
    engine: Engine<F>,
    name: String,
    listener: UnixListener,
    path: PathBuf,
    client: Option<Client>,
}

struct Client {
    socket: UnixStream,
    receiver: Receiver,
    sender: Sender,
    /// It has said VERSION.
    ready: bool,
    /// Since when it owes us the rest of something.
    owes_since: Option<Instant>,
}

/// The answer to a message: the parts of its payload, or an errno and why.
type Answer = Result<Vec<Vec<u8>>, (u32, String)>;

fn invalid(why: impl Into<String>) -> (u32, String) {
    (errno::EINVAL, why.into())
}

impl<F: Function> Server<F> {
    /// Listens on `path`. A socket that an earlier run left behind is replaced, another kind of file is not.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn listen(path: &Path, function: F) -> Result<Self, ServerError> {
        use std::os::unix::fs::FileTypeExt;
        let failed = |error| ServerError::Listen {
            path: path.into(),
            error,
        };
        if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                return Err(ServerError::Taken(path.into()));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            name: function.profile().name.clone(),
            engine: Engine::new(function),
            listener,
            path: path.into(),
            client: None,
        })
    }

    /// What is behind the messages.
    pub fn engine(&mut self) -> &mut Engine<F> {
        &mut self.engine
    }

    /// Serves until `stop` is set.
    ///
    /// # Errors
    /// [`ServerError::Function`]. No client causes one.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), ServerError> {
        while !stop.load(Ordering::Relaxed) {
            self.step()?;
        }
        Ok(())
    }

    /// One round, and a sleep of up to 100 ms if there was nothing to do.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn step(&mut self) -> Result<(), ServerError> {
        if self.turn()? {
            return Ok(());
        }
        self.sleep()
    }

    /// One round; false if there was nothing to do.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn turn(&mut self) -> Result<bool, ServerError> {
        self.find_client();
        let took = self.take_messages();
        let idle = self.engine.is_idle();
        if took > 0 || !idle {
            for _ in 0..4 {
                self.engine.turn()?;
            }
        } else {
            // Deadlines, and what the cable brings.
            self.engine.turn()?;
        }
        self.send();
        Ok(took > 0 || !self.engine.is_idle())
    }

    fn sleep(&mut self) -> Result<(), ServerError> {
        let pending = self
            .client
            .as_ref()
            .is_some_and(|client| client.sender.is_pending());
        let nap = if pending {
            Duration::from_millis(1)
        } else {
            NAP
        };
        let fd = match &self.client {
            Some(client) => client.socket.as_fd(),
            None => self.listener.as_fd(),
        };
        let (fds, function) = ([fd], self.engine.function());
        Ok(function.wait(&fds, nap)?)
    }

    fn find_client(&mut self) {
        if self.client.is_some() {
            return;
        }
        match self.listener.accept() {
            Ok((socket, _)) => {
                log::info!("{}: a client has connected", self.name);
                self.client = Some(Client {
                    socket,
                    receiver: Receiver::default(),
                    sender: Sender::default(),
                    ready: false,
                    owes_since: Some(Instant::now()),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => log::warn!("{}: cannot accept a client: {error}", self.name),
        }
    }

    fn take_messages(&mut self) -> usize {
        let mut took = 0;
        while took < BATCH && self.engine.has_room() {
            let Some(client) = &mut self.client else {
                break;
            };
            match client.receiver.poll(&client.socket) {
                Ok(Some(message)) => {
                    took += 1;
                    client.owes_since = None;
                    if let Err(why) = self.take(message) {
                        self.send();
                        self.lose_client(&why);
                    }
                }
                Ok(None) => {
                    self.watch_debts();
                    break;
                }
                Err(FrameError::Closed) => self.lose_client("it closed the connection"),
                Err(error) => self.lose_client(&error.to_string()),
            }
        }
        took
    }

    fn watch_debts(&mut self) {
        let Some(client) = &mut self.client else {
            return;
        };
        if client.ready && !client.receiver.is_partial() {
            client.owes_since = None;
            return;
        }
        let since = *client.owes_since.get_or_insert_with(Instant::now);
        if since.elapsed() > CLIENT_PATIENCE {
            self.lose_client(&format!(
                "it owes the rest of a message for {} s",
                CLIENT_PATIENCE.as_secs()
            ));
        }
    }

    fn lose_client(&mut self, why: &str) {
        if self.client.take().is_some() {
            log::info!("{}: the client is gone: {why}", self.name);
            self.engine.detach();
        }
    }

    fn send(&mut self) {
        let Some(client) = &mut self.client else {
            self.engine.out.clear();
            return;
        };
        for message in self.engine.out.drain(..) {
            client.sender.push(message, Vec::new());
        }
        if let Err(error) = client.sender.flush(&client.socket) {
            self.lose_client(&error.to_string());
        }
    }

    /// An error ends the connection.
    fn take(&mut self, message: Message) -> Result<(), String> {
        let header = message.header;
        let ready = self.client.as_ref().is_some_and(|client| client.ready);
        let command = Command::from_number(header.command.get());
        match header.flags.get() & flags::TYPE {
            flags::REPLY if ready => {
                self.engine.answered(&message);
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
                log::debug!("{}: reset by message", self.name);
                self.engine.reset();
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

    fn reply(&mut self, header: &Header, answer: Answer) {
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
                    self.name,
                    header.command
                );
                wire::error_reply(header, errno)
            }
        };
        if wanted {
            self.engine.out.push(message);
        }
    }

    fn version(&mut self, header: &Header, payload: &[u8]) -> Result<(), String> {
        let Some(client) = &mut self.client else {
            return Ok(());
        };
        if client.ready {
            self.reply(header, Err(invalid("VERSION again")));
            return Ok(());
        }
        match version::parse(payload) {
            Ok((minor, theirs)) => {
                client.ready = true;
                self.engine.attach(theirs);
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
        let done = self
            .engine
            .dma
            .map(address, size, map.flags.get(), offset, fd);
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
            self.engine.dma.clear();
            (address, size) = (0, u64::MAX);
        } else {
            let done = self.engine.dma.unmap(address, size);
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
            self.engine.answer_unmap(address, size, reply);
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

    fn region_size(&mut self, index: u32) -> u64 {
        match index {
            region::CONFIG => super::config_space::SIZE as u64,
            region::BAR0..=region::BAR5 => {
                self.engine.function().profile().bars[index as usize].map_or(0, |bar| bar.size)
            }
            _ => 0,
        }
    }

    /// Answers by itself: a descriptor may go along.
    fn region_info(&mut self, header: &Header, payload: &[u8]) -> Result<(), (u32, String)> {
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
            .then(|| self.engine.function().shared(index as u8))
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
        if header.flags.get() & flags::NO_REPLY == 0
            && let Some(client) = &mut self.client
        {
            client.sender.push(message, fds);
        }
        Ok(())
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
            self.engine.irqs.count()
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
            self.engine.irqs.count()
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
                    self.engine.irqs.arm(vector, None);
                    self.engine.program(vector);
                }
            }
            (_, irq::ACTION_TRIGGER) => (start..end)
                .filter(|i| flagged(*i))
                .for_each(|i| self.engine.irqs.fire(i)),
            _ => {
                for vector in (start..end).filter(|i| flagged(*i)) {
                    self.engine.irqs.mask(vector, action == irq::ACTION_MASK);
                    self.engine.program(vector);
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
            self.engine.irqs.arm(vector, fds.next());
            self.engine.program(vector);
        }
        Ok(Vec::new())
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

    fn region_read(&mut self, header: &Header, payload: &[u8]) -> Result<(), (u32, String)> {
        let (access, _) = take::<RegionAccess>(payload).map_err(|e| invalid(e.to_string()))?;
        self.check_access(&access)?;
        if access.region.get() == region::CONFIG {
            let data = self
                .engine
                .config
                .read(access.offset.get(), access.count.get() as usize);
            let data = data.unwrap_or_default().to_vec();
            self.reply(header, Ok(vec![access.as_bytes().to_vec(), data]));
        } else {
            self.engine.bar_read(*header, access);
        }
        Ok(())
    }

    fn region_write(&mut self, payload: &[u8]) -> Answer {
        let (access, data) = take::<RegionAccess>(payload).map_err(|e| invalid(e.to_string()))?;
        if data.len() != access.count.get() as usize {
            return Err(invalid(format!(
                "{} bytes come, {} are written",
                data.len(),
                access.count
            )));
        }
        self.check_access(&access)?;
        self.write(&access, data);
        Ok(vec![access.as_bytes().to_vec()])
    }

    fn write(&mut self, access: &RegionAccess, data: &[u8]) {
        if access.region.get() != region::CONFIG {
            return self
                .engine
                .bar_write(access.region.get() as u8, access.offset.get(), data);
        }
        if self.engine.config.write(access.offset.get(), data) == Some(true) {
            log::debug!("{}: function level reset", self.name);
            self.engine.reset();
        }
    }

    fn write_multi(&mut self, payload: &[u8]) -> Answer {
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
            self.write(&access, data);
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

impl<F> Drop for Server<F> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
