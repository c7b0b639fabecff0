//! What devices share: bus addresses, the memory at them, and the way from one device to another.

mod keeping;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_device::{Dma, DmaBuffer, DmaError, Keeper, KeptBar};
use zerocopy::IntoBytes;

use super::RequestError;
use super::connection::{Connection, Incoming};
use super::kept::Name;
use super::shared::{SharedBar, pieces};
use crate::frame::{Message, take};
use crate::memory::SharedFile;
use crate::version::PAGE;
use crate::wire::{self, Command, DmaAccess, DmaMap, DmaUnmap, RegionAccess, dma, errno, flags};

/// BARs lie from here on,
const BARS: u64 = 0xC000_0000;
/// and end here, below the addresses of interrupt messages.
const BARS_END: u64 = 0xFEC0_0000;
/// Host memory lies from here on.
const MEMORY: u64 = 1 << 32;

/// Who keeps descriptors for a later process; asked by several threads.
pub type SharedKeeper = Arc<dyn Keeper + Send + Sync>;

/// The address space of the devices of one machine. Clones are the same bus.
#[derive(Clone, Default)]
pub struct Bus {
    state: Arc<Mutex<State>>,
    keeper: Option<SharedKeeper>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kept = self.keeper.is_some();
        (f.debug_struct("Bus").field("kept", &kept)).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    next_bar: u64,
    next_memory: u64,
    /// Buffers by bus address. Addresses are not used again, so a stale one is nobody else's.
    buffers: BTreeMap<u64, Arc<SharedFile>>,
    /// Those of an earlier process that nobody has taken up.
    unclaimed: BTreeSet<u64>,
    members: Vec<Arc<Member>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            next_bar: BARS,
            next_memory: MEMORY,
            buffers: BTreeMap::new(),
            unclaimed: BTreeSet::new(),
            members: Vec::new(),
        }
    }
}

/// A device on the bus.
#[derive(Debug)]
pub(super) struct Member {
    pub connection: Arc<Connection>,
    pub bars: Vec<BarPlace>,
}

/// A BAR on the bus.
#[derive(Clone, Debug)]
pub(super) struct BarPlace {
    pub index: u8,
    pub base: u64,
    pub size: u64,
    /// The memory behind it or parts of it, if the server shares that.
    pub shared: Option<SharedBar>,
}

/// Where a bus address leads, with the bytes that follow there.
enum Route {
    Memory(Arc<SharedFile>, u64, u64),
    Bar(Arc<Member>, usize, u64, u64),
}

impl Bus {
    /// An empty bus.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An address for a BAR of this size (a power of two); `None` when there is no room left.
    pub(super) fn place_bar(&self, size: u64) -> Option<u64> {
        let mut state = self.state();
        let base = state.next_bar.checked_next_multiple_of(size.max(PAGE))?;
        let end = base.checked_add(size)?;
        (end <= BARS_END).then(|| {
            state.next_bar = end;
            base
        })
    }

    /// Puts a device on the bus: it is told what is there, the others are told of it.
    ///
    /// One that an earlier process had open knows most of it, or all, and says so by refusing it.
    pub(super) fn join(&self, member: &Arc<Member>, again: bool) -> Result<(), RequestError> {
        let told = |to: &Connection, address, size, file: Option<(&Arc<SharedFile>, u64)>| {
            match map(to, address, size, file) {
                Err(RequestError::Refused { .. }) if again => Ok(()),
                // What is left there is of a device that an earlier process could not say goodbye for.
                Err(RequestError::Refused { .. }) => {
                    unmap(to, address, size);
                    map(to, address, size, file)
                }
                done => done,
            }
        };
        let bar_told = |to: &Connection, bar: &BarPlace| {
            let mut runs = pieces(bar.shared.as_ref(), 0, bar.size);
            runs.try_for_each(|(at, piece)| told(to, bar.base + at, piece.len, piece.file))
        };
        let mut state = self.state();
        let others = state.members.clone();
        let buffers = state.buffers.clone();
        state.members.push(member.clone());
        // The lock is not held over requests: what is asked of us meanwhile needs it.
        drop(state);
        for (address, file) in &buffers {
            told(&member.connection, *address, file.len(), Some((file, 0)))?;
        }
        for bar in others.iter().flat_map(|other| &other.bars) {
            bar_told(&member.connection, bar)?;
        }
        for other in &others {
            for bar in &member.bars {
                // Its own trouble; it will be found when it is used.
                if let Err(error) = bar_told(&other.connection, bar) {
                    log::warn!(
                        "{}: not told of {}: {error}",
                        other.connection.name(),
                        member.connection.name()
                    );
                }
            }
        }
        Ok(())
    }

    /// Tells every device that there is nothing at these addresses any more.
    pub(super) fn clear(&self, bars: &[KeptBar]) {
        let members = self.state().members.clone();
        for member in &members {
            (bars.iter()).for_each(|bar| unmap(&member.connection, bar.base, bar.len));
        }
    }

    /// Takes a device off the bus.
    pub(super) fn leave(&self, connection: &Arc<Connection>) {
        let mut state = self.state();
        let Some(at) = state
            .members
            .iter()
            .position(|m| Arc::ptr_eq(&m.connection, connection))
        else {
            return;
        };
        let gone = state.members.remove(at);
        let others = state.members.clone();
        drop(state);
        for other in &others {
            for bar in &gone.bars {
                unmap(&other.connection, bar.base, bar.size);
            }
        }
    }

    fn route(&self, address: u64) -> Option<Route> {
        let state = self.state();
        if let Some((base, file)) = state.buffers.range(..=address).next_back() {
            let offset = address - base;
            if offset < file.len() {
                return Some(Route::Memory(file.clone(), offset, file.len() - offset));
            }
        }
        state.members.iter().find_map(|member| {
            let within = |bar: &BarPlace| address.checked_sub(bar.base).filter(|o| *o < bar.size);
            let (bar, offset) = member
                .bars
                .iter()
                .enumerate()
                .find_map(|(i, b)| Some((i, within(b)?)))?;
            let left = member.bars[bar].size - offset;
            Some(Route::Bar(member.clone(), bar, offset, left))
        })
    }

    /// Serves what a device's server asks for, until the connection ends. Runs in a thread of its own.
    pub(super) fn serve(&self, connection: &Connection, requests: &Receiver<Incoming>) {
        for Incoming { message, slot } in requests {
            let request = message;
            let reply = match self.answer(&request) {
                Ok(parts) => {
                    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                    let header = &request.header;
                    wire::message(header.id.get(), header.command.get(), flags::REPLY, &parts)
                }
                Err(error) => wire::error_reply(&request.header, error),
            };
            let wanted = request.header.flags.get() & flags::NO_REPLY == 0;
            if wanted && connection.reply(reply).is_err() {
                return;
            }
            connection.answered(slot);
        }
    }

    fn answer(&self, request: &Message) -> Result<Vec<Vec<u8>>, u32> {
        let command = Command::from_number(request.header.command.get());
        let (access, data) = take::<DmaAccess>(&request.payload).map_err(|_| errno::EINVAL)?;
        let (address, count) = (access.address.get(), access.count.get());
        match command {
            Some(Command::DmaRead) => {
                if count > u64::from(crate::version::MAX_DATA) {
                    return Err(errno::E2BIG);
                }
                let mut data = vec![0; count as usize];
                self.read(address, &mut data)?;
                Ok(vec![access.as_bytes().to_vec(), data])
            }
            Some(Command::DmaWrite) => {
                let data = data.get(..count as usize).ok_or(errno::EINVAL)?;
                self.write(address, data)?;
                Ok(vec![access.as_bytes().to_vec()])
            }
            _ => Err(errno::ENOTSUP),
        }
    }

    fn read(&self, mut address: u64, mut into: &mut [u8]) -> Result<(), u32> {
        while !into.is_empty() {
            let route = self.route(address).ok_or(errno::EFAULT)?;
            let (Route::Memory(.., left) | Route::Bar(.., left)) = route;
            let (piece, rest) = into.split_at_mut(left.min(into.len() as u64) as usize);
            match route {
                Route::Memory(file, at, _) => file.read(at, piece).map_err(|_| errno::EIO)?,
                Route::Bar(member, bar, at, _) => {
                    read_bar(&member.connection, &member.bars[bar], at, piece)
                        .map_err(|_| errno::EIO)?
                }
            }
            address = address.wrapping_add(piece.len() as u64);
            into = rest;
        }
        Ok(())
    }

    fn write(&self, mut address: u64, mut from: &[u8]) -> Result<(), u32> {
        while !from.is_empty() {
            let route = self.route(address).ok_or(errno::EFAULT)?;
            let (Route::Memory(.., left) | Route::Bar(.., left)) = route;
            let (piece, rest) = from.split_at(left.min(from.len() as u64) as usize);
            match route {
                Route::Memory(file, at, _) => file.write(at, piece).map_err(|_| errno::EIO)?,
                Route::Bar(member, bar, at, _) => {
                    write_bar(&member.connection, &member.bars[bar], at, piece)
                        .map_err(|_| errno::EIO)?
                }
            }
            address = address.wrapping_add(piece.len() as u64);
            from = rest;
        }
        Ok(())
    }

    fn release(&self, address: u64, len: u64) {
        let mut state = self.state();
        state.buffers.remove(&address);
        let members = state.members.clone();
        drop(state);
        members
            .iter()
            .for_each(|m| unmap(&m.connection, address, len));
        self.forget(&Name::Memory { base: address, len });
    }
}

/// Reads from a BAR; the bytes are inside.
pub(super) fn read_bar(
    connection: &Connection,
    bar: &BarPlace,
    offset: u64,
    into: &mut [u8],
) -> Result<(), RequestError> {
    // Memory outlives its device; who reads it must be told that the device is gone.
    let shared = bar.shared.as_ref().filter(|_| connection.lost().is_none());
    for (at, piece) in pieces(shared, offset, into.len() as u64) {
        let part = &mut into[(at - offset) as usize..][..piece.len as usize];
        match piece.file {
            Some((file, from)) => file.read(from, part).map_err(failed("reading a BAR"))?,
            None => read_region(connection, bar.index.into(), at, part)?,
        }
    }
    Ok(())
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> RequestError {
    move |error| RequestError::Reply {
        what,
        reason: error.to_string(),
    }
}

/// Reads from any region; the bytes are inside.
pub(super) fn read_region(
    connection: &Connection,
    region: u32,
    offset: u64,
    into: &mut [u8],
) -> Result<(), RequestError> {
    let what = "reading a region";
    let most = connection.theirs().data();
    for (piece, at) in into.chunks_mut(most).zip((offset..).step_by(most)) {
        let access = RegionAccess {
            offset: at.into(),
            region: region.into(),
            count: (piece.len() as u32).into(),
        };
        let reply =
            connection.request(what, Command::RegionRead, &[access.as_bytes()], Vec::new())?;
        let data = reply
            .payload
            .get(size_of::<RegionAccess>()..)
            .unwrap_or_default();
        if data.len() != piece.len() {
            let reason = format!("{} bytes wanted, {} came", piece.len(), data.len());
            return Err(RequestError::Reply { what, reason });
        }
        piece.copy_from_slice(data);
    }
    Ok(())
}

/// Writes to a BAR without waiting for it to be done, as on a bus; the bytes are inside.
pub(super) fn write_bar(
    connection: &Connection,
    bar: &BarPlace,
    offset: u64,
    from: &[u8],
) -> Result<(), RequestError> {
    let shared = bar.shared.as_ref().filter(|_| connection.lost().is_none());
    for (at, piece) in pieces(shared, offset, from.len() as u64) {
        let part = &from[(at - offset) as usize..][..piece.len as usize];
        match piece.file {
            Some((file, to)) => file.write(to, part).map_err(failed("writing a BAR"))?,
            None => post_write(connection, bar.index, at, part)?,
        }
    }
    Ok(())
}

fn post_write(
    connection: &Connection,
    bar: u8,
    offset: u64,
    from: &[u8],
) -> Result<(), RequestError> {
    let most = connection.theirs().data();
    for (piece, at) in from.chunks(most).zip((offset..).step_by(most)) {
        let access = RegionAccess {
            offset: at.into(),
            region: u32::from(bar).into(),
            count: (piece.len() as u32).into(),
        };
        connection.post(Command::RegionWrite, &[access.as_bytes(), piece])?;
    }
    Ok(())
}

fn map(
    connection: &Connection,
    address: u64,
    size: u64,
    file: Option<(&Arc<SharedFile>, u64)>,
) -> Result<(), RequestError> {
    let what = "mapping memory for DMA";
    let map = DmaMap {
        argsz: (size_of::<DmaMap>() as u32).into(),
        flags: (dma::READ | dma::WRITE).into(),
        offset: file.map_or(0, |(_, at)| at).into(),
        address: address.into(),
        size: size.into(),
    };
    let fds: std::io::Result<Vec<OwnedFd>> = file
        .iter()
        .map(|(f, _)| f.fd().try_clone_to_owned())
        .collect();
    let fds = fds.map_err(|error| RequestError::Reply {
        what,
        reason: error.to_string(),
    })?;
    connection
        .request(what, Command::DmaMap, &[map.as_bytes()], fds)
        .map(drop)
}

fn unmap(connection: &Connection, address: u64, size: u64) {
    let unmap = DmaUnmap {
        argsz: (size_of::<DmaUnmap>() as u32).into(),
        flags: 0.into(),
        address: address.into(),
        size: size.into(),
    };
    let done = connection.request(
        "unmapping memory",
        Command::DmaUnmap,
        &[unmap.as_bytes()],
        Vec::new(),
    );
    if let Err(error @ (RequestError::Refused { .. } | RequestError::Reply { .. })) = done {
        log::warn!("{}: {error}", connection.name());
    }
}

impl Dma for Bus {
    fn alloc(&self, len: usize, align: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        if len == 0 || !align.is_power_of_two() {
            return Err(DmaError::BadRequest { len, align });
        }
        let exhausted = |reason: String| DmaError::Exhausted { len, reason };
        let size = (len as u64)
            .checked_next_multiple_of(PAGE)
            .ok_or(DmaError::BadRequest { len, align })?;
        let file = SharedFile::create("sluice-dma", size).map_err(|error| {
            exhausted(format!(
                "no memory file: {error}; raise the limit of open files?"
            ))
        })?;
        let file = Arc::new(file);
        let mut state = self.state();
        let place = state
            .next_memory
            .checked_next_multiple_of((align as u64).max(PAGE));
        let bus = place.ok_or(DmaError::BadRequest { len, align })?;
        // A page is left out, so that running over the end of a buffer is noticed.
        state.next_memory = bus + size + PAGE;
        state.buffers.insert(bus, file.clone());
        let members = state.members.clone();
        drop(state);
        self.keep(
            &Name::Memory {
                base: bus,
                len: size,
            },
            file.fd(),
        );
        // From here on it is given back when it is dropped.
        let buffer = Buffer {
            owner: self.clone(),
            file,
            bus,
            len,
        };
        for member in members {
            match map(&member.connection, bus, size, Some((&buffer.file, 0))) {
                Ok(()) | Err(RequestError::Gone(_)) => {}
                Err(error) => {
                    return Err(exhausted(format!("{}: {error}", member.connection.name())));
                }
            }
        }
        Ok(Box::new(buffer))
    }

    fn reclaim(&self, bus: u64, len: usize) -> Result<Box<dyn DmaBuffer>, DmaError> {
        let mut state = self.state();
        let file = state.buffers.get(&bus).cloned();
        match file.filter(|file| len as u64 <= file.len()) {
            Some(file) if state.unclaimed.remove(&bus) => Ok(Box::new(Buffer {
                owner: self.clone(),
                file,
                bus,
                len,
            })),
            _ => Err(DmaError::NotKept { bus, len }),
        }
    }
}

struct Buffer {
    owner: Bus,
    file: Arc<SharedFile>,
    bus: u64,
    len: usize,
}

impl DmaBuffer for Buffer {
    fn bus(&self) -> u64 {
        self.bus
    }

    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        self.check(offset, into.len())?;
        self.file
            .read(offset as u64, into)
            .map_err(|_| self.outside(offset, into.len()))
    }

    fn write(&self, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        self.check(offset, from.len())?;
        self.file
            .write(offset as u64, from)
            .map_err(|_| self.outside(offset, from.len()))
    }

    fn read32(&self, offset: usize) -> Result<u32, DmaError> {
        let mut word = [0; 4];
        self.read(offset, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }
}

impl Buffer {
    fn outside(&self, offset: usize, len: usize) -> DmaError {
        DmaError::OutOfRange {
            offset,
            len,
            buffer: self.len,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.owner.release(self.bus, self.file.len());
    }
}
