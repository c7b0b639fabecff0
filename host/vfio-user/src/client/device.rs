//! A device behind a socket: opening it, and the traits of `sluice-device`.

mod takeover;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use sluice_device::pcie::Link;
use sluice_device::{Bar, BarError, Clock, Device, Dma, Irq, IrqError, KeptBar, SystemClock};
use zerocopy::{FromZeros, IntoBytes};

use super::bus::{BarPlace, Bus, Member, read_bar, read_region, write_bar};
use super::connection::{Connection, Incoming, MAX_INCOMING, wait};
use super::journal::Journal;
use super::kept::Name;
use super::shared::SharedBar;
use super::{OpenError, Options, RequestError};
use crate::frame::take;
use crate::version::{self, MINOR};
use crate::wire::{
    Command, DeviceInfo, IrqInfo, IrqSet, RegionAccess, RegionInfo, device, irq, region,
};

pub use takeover::Left;

/// Configuration space: command register.
const COMMAND: u64 = 0x04;
/// Configuration space: first BAR register.
const BAR_REGISTERS: u64 = 0x10;
/// Memory space on, bus master on.
const MEMORY_AND_MASTER: u16 = 0x6;
/// Between attempts to reach a server that is not there yet.
const RETRY: Duration = Duration::from_millis(20);
/// A BAR that is larger than this is nonsense.
const MAX_BAR: u64 = 1 << 30;

/// A device of another process. Dropping it takes it off the bus and closes the connection.
pub struct VfioUserDevice {
    name: String,
    bus: Bus,
    connection: Arc<Connection>,
    bars: Vec<UserBar>,
    irq: UserIrq,
    can_reset: bool,
    clock: SystemClock,
    threads: Vec<JoinHandle<()>>,
    /// What the server asks, until somebody answers.
    requests: Option<Receiver<Incoming>>,
    /// Under which its socket and its journal outlive the process.
    kept: Vec<Name>,
}

impl Bus {
    /// Opens the device whose server listens at `path`, gives its BARs addresses on this bus and switches bus mastering on.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, path: &Path, options: &Options) -> Result<VfioUserDevice, OpenError> {
        let io = |what| move |error| OpenError::Io { what, error };
        let socket = connect(path, options.patience)?;
        let journal = self.is_kept().then(Journal::create).transpose();
        let journal = journal.map_err(io("a journal"))?;
        let connection =
            Connection::new(socket, options.timeout, journal).map_err(io("an eventfd"))?;
        let mut device = VfioUserDevice::over(self, connection);
        device.name = stem(path);
        device.connection.set_name(&device.name);
        device.start_receiver(Vec::new()).map_err(io("a thread"))?;
        device.start_server().map_err(io("a thread"))?;
        device.negotiate(path)?;
        device.inspect(path, None)?;
        // Before anything depends on it.
        device.keep(path);
        let request = |error| OpenError::Request {
            path: path.to_path_buf(),
            error,
        };
        if options.reset && device.can_reset {
            device.reset().map_err(request)?;
        } else {
            device.enable().map_err(request)?;
        }
        self.join(&Arc::new(device.member()), false)
            .map_err(request)?;
        Ok(device)
    }
}

/// For messages: a socket's name without its folder.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    stem.to_string_lossy().into_owned()
}

fn connect(path: &Path, patience: Duration) -> Result<UnixStream, OpenError> {
    let deadline = Instant::now() + patience;
    loop {
        let error = match UnixStream::connect(path) {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        let may_come = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        );
        if !may_come || Instant::now() >= deadline {
            return Err(OpenError::Connect {
                path: path.into(),
                error,
            });
        }
        std::thread::sleep(RETRY);
    }
}

impl VfioUserDevice {
    fn over(bus: &Bus, connection: Connection) -> Self {
        let connection = Arc::new(connection);
        Self {
            irq: UserIrq {
                connection: connection.clone(),
                vectors: 0,
                armed: RefCell::default(),
            },
            name: connection.name().into(),
            bus: bus.clone(),
            connection,
            bars: Vec::new(),
            can_reset: false,
            clock: SystemClock::default(),
            threads: Vec::new(),
            requests: None,
            kept: Vec::new(),
        }
    }

    fn member(&self) -> Member {
        Member {
            connection: self.connection.clone(),
            bars: self.bars.iter().map(|bar| bar.place.clone()).collect(),
        }
    }

    /// Why the device is gone, if it is.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        self.connection.lost()
    }

    /// Resets the function and switches it on again. Its interrupts stay armed.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn reset(&self) -> Result<(), RequestError> {
        self.stop()?;
        self.enable()
    }

    /// Resets the function: it does nothing more.
    fn stop(&self) -> Result<(), RequestError> {
        let what = "resetting the device";
        let done = (self.connection).request(what, Command::Reset, &[], Vec::new());
        done.map(drop)
    }

    #[cfg(test)]
    pub(super) fn connection_for_tests(&self) -> &Connection {
        &self.connection
    }

    /// Reads configuration space.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn config_read(&self, offset: u64, into: &mut [u8]) -> Result<(), RequestError> {
        read_region(&self.connection, region::CONFIG, offset, into)
    }

    /// Writes configuration space, and waits until that is done.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn config_write(&self, offset: u64, from: &[u8]) -> Result<(), RequestError> {
        let access = RegionAccess {
            offset: offset.into(),
            region: region::CONFIG.into(),
            count: (from.len() as u32).into(),
        };
        let parts = [access.as_bytes(), from];
        let what = "writing configuration space";
        self.connection
            .request(what, Command::RegionWrite, &parts, Vec::new())
            .map(drop)
    }

    /// Writes the BARs' addresses, then switches memory and bus mastering on.
    fn enable(&self) -> Result<(), RequestError> {
        for bar in &self.bars {
            let at = BAR_REGISTERS + 4 * u64::from(bar.place.index);
            let mut low = [0; 4];
            self.config_read(at, &mut low)?;
            self.config_write(at, &(bar.place.base as u32).to_le_bytes())?;
            // The upper half of a 64-bit BAR.
            if low[0] >> 1 & 3 == 2 {
                self.config_write(at + 4, &((bar.place.base >> 32) as u32).to_le_bytes())?;
            }
        }
        let mut command = [0; 2];
        self.config_read(COMMAND, &mut command)?;
        let command = u16::from_le_bytes(command) | MEMORY_AND_MASTER;
        self.config_write(COMMAND, &command.to_le_bytes())
    }

    /// Takes what comes; `first` are requests that came before.
    fn start_receiver(&mut self, first: Vec<Incoming>) -> io::Result<()> {
        let (incoming, requests) = sync_channel(MAX_INCOMING);
        for request in first {
            incoming.try_send(request).map_err(io::Error::other)?;
        }
        let connection = self.connection.clone();
        let receive = move || connection.receive(&incoming);
        self.requests = Some(requests);
        self.start("from", receive)
    }

    /// Answers what the server asks.
    fn start_server(&mut self) -> io::Result<()> {
        let Some(requests) = self.requests.take() else {
            return Ok(());
        };
        let (bus, connection) = (self.bus.clone(), self.connection.clone());
        self.start("for", move || bus.serve(&connection, &requests))
    }

    fn start(&mut self, what: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = std::thread::Builder::new().name(format!("{what} {}", self.name));
        self.threads.push(thread.spawn(run)?);
        Ok(())
    }

    fn negotiate(&self, path: &Path) -> Result<(), OpenError> {
        let said = version::payload(MINOR, &self.connection.ours());
        let reply = self.request(path, "VERSION", Command::Version, &[&said])?;
        let (_, theirs) = version::parse(&reply.payload).map_err(|error| OpenError::Version {
            path: path.into(),
            error,
        })?;
        self.connection.set_theirs(theirs);
        Ok(())
    }

    fn request(
        &self,
        path: &Path,
        what: &'static str,
        command: Command,
        parts: &[&[u8]],
    ) -> Result<crate::frame::Message, OpenError> {
        let request = |error| OpenError::Request {
            path: path.into(),
            error,
        };
        self.connection
            .request(what, command, parts, Vec::new())
            .map_err(request)
    }

    /// Finds out what the device has. Its BARs get addresses on the bus, or are where they were.
    fn inspect(&mut self, path: &Path, places: Option<&[KeptBar]>) -> Result<(), OpenError> {
        let wrong = |reason: String| OpenError::Device {
            path: path.to_path_buf(),
            reason,
        };
        let mut info = DeviceInfo::new_zeroed();
        info.argsz.set(size_of::<DeviceInfo>() as u32);
        let reply = self.request(
            path,
            "DEVICE_GET_INFO",
            Command::GetInfo,
            &[info.as_bytes()],
        )?;
        let (info, _) = take::<DeviceInfo>(&reply.payload).map_err(|e| wrong(e.to_string()))?;
        if info.flags.get() & device::PCI == 0 || info.regions.get() <= region::CONFIG {
            return Err(wrong(format!(
                "no PCI device: flags {:#x}, {} regions",
                info.flags, info.regions
            )));
        }
        self.can_reset = info.flags.get() & device::RESET != 0;
        let (config, _) = self.region(path, region::CONFIG)?;
        if config.size.get() < 256 {
            return Err(wrong(format!(
                "configuration space of {} bytes: at least 256 wanted",
                config.size
            )));
        }
        for index in region::BAR0..=region::BAR5 {
            let (info, shared) = self.region(path, index)?;
            let size = info.size.get();
            if size == 0 {
                continue;
            }
            if !size.is_power_of_two() || size > MAX_BAR {
                return Err(wrong(format!(
                    "BAR{index} of {size:#x} bytes: a power of two up to {MAX_BAR:#x} wanted"
                )));
            }
            let base = match places {
                None => self
                    .bus
                    .place_bar(size)
                    .ok_or_else(|| OpenError::Addresses {
                        path: path.into(),
                        size,
                    })?,
                Some(places) => {
                    let mut there = places.iter().filter(|p| p.index == index as u8);
                    let there = there.find(|p| p.len == size).ok_or_else(|| {
                        wrong(format!("BAR{index} of {size:#x} bytes is not as it was"))
                    })?;
                    there.base
                }
            };
            let place = BarPlace {
                index: index as u8,
                base,
                size,
                shared,
            };
            self.bars.push(UserBar {
                connection: self.connection.clone(),
                place,
            });
        }
        let mut ask = IrqInfo::new_zeroed();
        ask.argsz.set(size_of::<IrqInfo>() as u32);
        ask.index.set(irq::MSIX);
        if info.irqs.get() > irq::MSIX {
            let reply = self.request(
                path,
                "DEVICE_GET_IRQ_INFO",
                Command::GetIrqInfo,
                &[ask.as_bytes()],
            )?;
            let (info, _) = take::<IrqInfo>(&reply.payload).map_err(|e| wrong(e.to_string()))?;
            // The MSI-X table has room for no more (PCI Local Bus 3.0, section 6.8.2.3).
            self.irq.vectors = info.count.get().min(2048) as u16;
        }
        Ok(())
    }

    /// What a region is, and the memory behind it if it can be mapped.
    fn region(
        &self,
        path: &Path,
        index: u32,
    ) -> Result<(RegionInfo, Option<SharedBar>), OpenError> {
        let wrong = |reason: String| OpenError::Device {
            path: PathBuf::from(path),
            reason,
        };
        let mut ask = RegionInfo::new_zeroed();
        ask.argsz.set(4096);
        ask.index.set(index);
        let mut reply = self.request(
            path,
            "DEVICE_GET_REGION_INFO",
            Command::GetRegionInfo,
            &[ask.as_bytes()],
        )?;
        let (info, _) = take::<RegionInfo>(&reply.payload).map_err(|e| wrong(e.to_string()))?;
        let shared = reply
            .fds
            .drain(..)
            .next()
            .and_then(|fd| SharedBar::new(&info, &reply.payload, fd));
        Ok((info, shared))
    }
}

impl Drop for VfioUserDevice {
    fn drop(&mut self) {
        self.connection.close("closed by its driver", true);
        self.bus.leave(&self.connection);
        self.requests = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for name in &self.kept {
            self.bus.forget(name);
        }
    }
}

impl Device for VfioUserDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn bar(&self, index: u8) -> Result<&dyn Bar, BarError> {
        let found = self.bars.iter().find(|bar| bar.place.index == index);
        found
            .map(|bar| bar as &dyn Bar)
            .ok_or_else(|| BarError::Absent {
                device: self.name.clone(),
                index,
            })
    }

    fn dma(&self) -> &dyn Dma {
        &self.bus
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
}

struct UserBar {
    connection: Arc<Connection>,
    place: BarPlace,
}

impl Bar for UserBar {
    fn len(&self) -> u64 {
        self.place.size
    }

    fn bus(&self) -> u64 {
        self.place.base
    }

    fn read32(&self, offset: u64) -> Result<u32, BarError> {
        let mut word = [0; 4];
        self.read(offset, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn write32(&self, offset: u64, value: u32) -> Result<(), BarError> {
        self.write(offset, &value.to_le_bytes())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BarError> {
        self.check(offset, into.len() as u64)?;
        match read_bar(&self.connection, &self.place, offset, into) {
            // As on a bus where nothing answers.
            Err(RequestError::Gone(_)) => into.fill(0xFF),
            result => result.map_err(|error| backend(offset, &error))?,
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BarError> {
        self.check(offset, from.len() as u64)?;
        match write_bar(&self.connection, &self.place, offset, from) {
            Err(RequestError::Gone(_)) => Ok(()),
            result => result.map_err(|error| backend(offset, &error)),
        }
    }
}

fn backend(offset: u64, error: &RequestError) -> BarError {
    BarError::Backend {
        offset,
        reason: error.to_string(),
    }
}

struct UserIrq {
    connection: Arc<Connection>,
    vectors: u16,
    armed: RefCell<Vec<OwnedFd>>,
}

impl UserIrq {
    fn set(&self, start: u32, count: u32, flags: u32, fds: Vec<OwnedFd>) -> Result<(), IrqError> {
        let set = IrqSet {
            argsz: (size_of::<IrqSet>() as u32).into(),
            flags: flags.into(),
            index: irq::MSIX.into(),
            start: start.into(),
            count: count.into(),
        };
        let done = self.connection.request(
            "arming interrupts",
            Command::SetIrqs,
            &[set.as_bytes()],
            fds,
        );
        done.map(drop).map_err(|error| irq_backend(&error))
    }
}

fn irq_backend(error: &dyn std::fmt::Display) -> IrqError {
    IrqError::Backend {
        reason: error.to_string(),
    }
}

impl Irq for UserIrq {
    fn vectors(&self) -> u16 {
        self.vectors
    }

    fn enable(&self, count: u16) -> Result<(), IrqError> {
        if count > self.vectors {
            return Err(IrqError::TooFew {
                want: count,
                have: self.vectors,
            });
        }
        self.armed.borrow_mut().clear();
        self.set(0, 0, irq::DATA_NONE | irq::ACTION_TRIGGER, Vec::new())?;
        let new = |_| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let events: Result<Vec<OwnedFd>, _> = (0..count).map(new).collect();
        let events = events.map_err(|error| irq_backend(&error))?;
        let most = self.connection.theirs().fds();
        for (some, start) in events.chunks(most).zip((0u32..).step_by(most)) {
            let fds: io::Result<Vec<OwnedFd>> = some.iter().map(OwnedFd::try_clone).collect();
            let fds = fds.map_err(|error| irq_backend(&error))?;
            self.set(
                start,
                fds.len() as u32,
                irq::DATA_EVENTFD | irq::ACTION_TRIGGER,
                fds,
            )?;
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
        let deadline = Instant::now() + timeout;
        let fds = [
            (event.as_fd(), PollFlags::IN),
            (self.connection.ended().as_fd(), PollFlags::IN),
        ];
        loop {
            let mut count = [0; 8];
            match rustix::io::read(event, &mut count) {
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(irq_backend(&error)),
            }
            if let Some(reason) = self.connection.lost() {
                return Err(irq_backend(&RequestError::Gone(reason)));
            }
            if !wait(&fds, deadline) && Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }
}
