//! Between the model's packets and the client: BAR accesses in, DMA and interrupts out.
//!
//! What the function writes takes effect in the order in which it was written. Writes to shared memory are done at once;
//! those that only the client can do are messages, and nothing written later is done before it has answered. Answers to the
//! client's own reads wait for nobody, so that two devices of one client cannot wait for each other.

mod waits;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use sluice_vfio_user::frame::{Message, take};
use sluice_vfio_user::version::Capabilities;
use sluice_vfio_user::wire::{self, Command, DmaAccess, Header, RegionAccess, flags};
use zerocopy::IntoBytes;

use super::config_space::ConfigSpace;
use super::dma::{DmaTable, Target};
use super::irqs::{Irqs, MESSAGE};
use super::{Function, MsixSpec};
use crate::fabric::{BusError, Clock, MAX_PAYLOAD, Port, QUANTUM, Tlp};

/// In this time the model must answer a read of a BAR; else the client gets all ones, as on a bus.
const MODEL_PATIENCE: Duration = Duration::from_secs(3);
/// In this time the client must answer a DMA message; else the access has failed.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
/// The same when somebody waits for an unmap: a client may be unable to answer while it waits itself.
const UNMAP_PATIENCE: Duration = Duration::from_secs(1);
/// DMA messages under way.
const MAX_ASKED: usize = 64;
/// Bytes of BAR reads under way, beyond which no further messages are taken.
const MAX_READING: usize = 4 << 20;
/// Most clocks that are skipped at once.
const LEAP: Clock = QUANTUM * 32;
/// Quanta in which a function that is reset comes to rest.
const RESET_QUANTA: u32 = 64;

/// A read of a BAR that the model has not answered.
struct BarRead {
    header: Header,
    access: RegionAccess,
    data: Vec<u8>,
    /// Packets not answered.
    left: usize,
    deadline: Instant,
}

/// A DMA message that the client has not answered.
struct Asked {
    kind: AskedKind,
    address: u64,
    len: usize,
    deadline: Instant,
}

enum AskedKind {
    /// Tags and lengths of the function's reads, one behind the other.
    Read(Vec<(u32, usize)>),
    Write,
}

/// Everything behind the messages.
pub struct Engine<F> {
    function: F,
    port: Port,
    now: Clock,
    /// PCI configuration space.
    pub config: ConfigSpace,
    /// The client's memory.
    pub dma: DmaTable,
    /// Its interrupts.
    pub irqs: Irqs,
    msix: MsixSpec,
    /// The MSI-X table as the client sees it; the function's own says whom we are to tell.
    table: Vec<u8>,
    reads: BTreeMap<u64, BarRead>,
    /// Which read a packet belongs to, and where in its data.
    tags: HashMap<u32, (u64, usize)>,
    next_read: u64,
    next_tag: u32,
    /// What the function has sent and has not been done.
    queue: VecDeque<Tlp>,
    asked: HashMap<u16, Asked>,
    next_id: u16,
    writes_asked: usize,
    /// Unmaps whose answer waits for accesses under way: range and answer.
    unmaps: Vec<(u64, u64, Vec<u8>)>,
    client: Option<Capabilities>,
    pulled: bool,
    /// Messages for the client.
    pub out: Vec<Vec<u8>>,
    /// Bytes that the function has written to the client's memory and to other devices, and read from there.
    pub transferred: u64,
    /// DMA that failed: outside what is mapped, without permission, or with bus mastering off.
    pub faults: u64,
    /// Function level resets and reset messages.
    pub resets: u64,
}

impl<F: Function> Engine<F> {
    /// Around a function after power-up.
    pub fn new(function: F) -> Self {
        let profile = function.profile();
        let (config, msix) = (ConfigSpace::new(profile), profile.msix);
        let mut engine = Self {
            function,
            port: Port::default(),
            now: 0,
            config,
            dma: DmaTable::default(),
            irqs: Irqs::new(msix.vectors),
            table: vec![0; msix.table_len() as usize],
            msix,
            reads: BTreeMap::new(),
            tags: HashMap::new(),
            next_read: 0,
            next_tag: 0,
            queue: VecDeque::new(),
            asked: HashMap::new(),
            next_id: 0,
            writes_asked: 0,
            unmaps: Vec::new(),
            client: None,
            pulled: false,
            out: Vec::new(),
            transferred: 0,
            faults: 0,
            resets: 0,
        };
        engine.mask_table();
        engine
    }

    /// The model.
    pub fn function(&mut self) -> &mut F {
        &mut self.function
    }

    /// The function is gone for good, as one that was pulled out or has died: BARs read as ones, and it does nothing more. The
    /// client's connection stays, since it stands for the slot.
    pub fn pull(&mut self) {
        self.pulled = true;
        self.queue.clear();
        (self.port.inbox, self.port.outbox) = Default::default();
    }

    /// The function's clock.
    #[must_use]
    pub fn now(&self) -> Clock {
        self.now
    }

    /// A client is there, and can do this.
    pub fn attach(&mut self, client: Capabilities) {
        self.client = Some(client);
    }

    /// The client is gone, and its memory and interrupts with it. The function keeps its state and reaches nothing.
    pub fn detach(&mut self) {
        self.client = None;
        self.config.stop_bus_master();
        self.dma.clear();
        self.fail_asked(|_| true, "the client is gone");
        self.unmaps.clear();
        self.reads.clear();
        self.tags.clear();
        for vector in 0..self.irqs.count() {
            self.irqs.arm(vector, None);
            self.program(vector);
        }
        self.out.clear();
    }

    /// More messages can be taken.
    pub fn has_room(&self) -> bool {
        self.reads
            .values()
            .map(|read| read.data.len())
            .sum::<usize>()
            < MAX_READING
    }

    /// Nothing is under way that goes on by itself.
    pub fn is_idle(&self) -> bool {
        // What waits for the client's answer goes on when a message comes.
        let stalled = self.queue.is_empty() || !self.asked.is_empty();
        self.pulled
            || self.port.inbox.is_empty()
                && self.port.outbox.is_empty()
                && stalled
                && self.function.is_idle()
    }

    /// Runs the function for a while, and does what it wants.
    ///
    /// # Errors
    /// As [`Function::run`].
    pub fn turn(&mut self) -> std::io::Result<()> {
        let soonest = self.now + QUANTUM;
        let until = match self.function.idle_until() {
            Some(idle) if self.port.inbox.is_empty() && idle < Clock::MAX => {
                (idle.min(self.now + LEAP) + 1).next_multiple_of(QUANTUM)
            }
            _ => soonest,
        };
        self.now = until.max(soonest);
        if self.pulled {
            self.check_time();
            return Ok(());
        }
        self.function.run(self.now, &mut self.port)?;
        self.collect();
        self.transfer();
        self.check_time();
        Ok(())
    }

    // Accesses of the client.

    /// Reads a BAR; the reply is sent when the model has answered. The bytes are inside.
    pub fn bar_read(&mut self, header: Header, access: RegionAccess) {
        let (bar, offset) = (access.region.get() as u8, access.offset.get());
        let mut read = BarRead {
            header,
            access,
            data: vec![0; access.count.get() as usize],
            left: 0,
            deadline: Instant::now() + MODEL_PATIENCE,
        };
        if self.pulled {
            read.data.fill(0xFF);
            return self.answer(&read);
        }
        let id = self.next_read;
        self.next_read += 1;
        let len = read.data.len() as u64;
        for (at, piece, place) in self.pieces(bar, offset, len) {
            let to = (at - offset) as usize;
            match place {
                Place::Table(from) => {
                    read.data[to..to + piece].copy_from_slice(&self.table[from..from + piece])
                }
                Place::Model | Place::Pending => {
                    let tag = self.free_tag();
                    self.tags.insert(tag, (id, to));
                    read.left += 1;
                    let addr = self.function.address(bar, at);
                    let tlp = Tlp::Read {
                        addr,
                        len: piece as u32,
                        tag,
                    };
                    self.port.inbox.push_back((self.now, tlp));
                }
            }
        }
        if read.left == 0 {
            self.answer(&read);
        } else {
            self.reads.insert(id, read);
        }
    }

    /// Writes a BAR. The bytes are inside.
    pub fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        if self.pulled {
            return;
        }
        for (at, piece, place) in self.pieces(bar, offset, data.len() as u64) {
            let bytes = &data[(at - offset) as usize..][..piece];
            match place {
                Place::Table(to) => self.table[to..to + piece].copy_from_slice(bytes),
                // Software may not write them (PCI Local Bus 3.0, section 6.8.2.10).
                Place::Pending => {}
                Place::Model => {
                    let addr = self.function.address(bar, at);
                    let tlp = Tlp::Write {
                        addr,
                        data: bytes.to_vec(),
                    };
                    self.port.inbox.push_back((self.now, tlp));
                }
            }
        }
    }

    /// An access in pieces that are packets: where, how long, what is there.
    fn pieces(&self, bar: u8, mut offset: u64, len: u64) -> Vec<(u64, usize, Place)> {
        let end = offset + len;
        let mut pieces = Vec::new();
        while offset < end {
            let (mut limit, mut place) = (end, Place::Model);
            if bar == self.msix.bar {
                let areas = [
                    (self.msix.table, self.msix.table_len(), true),
                    (self.msix.pending, self.msix.pending_len(), false),
                ];
                for (start, len, is_table) in areas {
                    if (start..start + len).contains(&offset) {
                        limit = limit.min(start + len);
                        place = if is_table {
                            Place::Table((offset - start) as usize)
                        } else {
                            Place::Pending
                        };
                    } else if offset < start {
                        limit = limit.min(start);
                    }
                }
            }
            let packet = MAX_PAYLOAD as u64 - offset % MAX_PAYLOAD as u64;
            let piece = if matches!(place, Place::Table(_)) {
                limit - offset
            } else {
                packet.min(limit - offset)
            };
            pieces.push((offset, piece as usize, place));
            offset += piece;
        }
        pieces
    }

    fn free_tag(&mut self) -> u32 {
        // Tags of answers that never came are forgotten with their reads, so there is always a free one.
        while self.tags.contains_key(&self.next_tag) {
            self.next_tag = self.next_tag.wrapping_add(1);
        }
        let tag = self.next_tag;
        self.next_tag = tag.wrapping_add(1);
        tag
    }

    fn answer(&mut self, read: &BarRead) {
        if read.header.flags.get() & flags::NO_REPLY != 0 {
            return;
        }
        let h = &read.header;
        let parts = [read.access.as_bytes(), &read.data];
        self.out.push(wire::message(
            h.id.get(),
            h.command.get(),
            flags::REPLY,
            &parts,
        ));
    }

    /// Writes the function's MSI-X table entry of a vector as the client has armed it.
    pub fn program(&mut self, vector: u32) {
        let entry = self.msix.table + 16 * u64::from(vector);
        for (word, at) in self
            .irqs
            .entry(vector)
            .into_iter()
            .zip((entry..).step_by(4))
        {
            let addr = self.function.address(self.msix.bar, at);
            let data = word.to_le_bytes().to_vec();
            self.port
                .inbox
                .push_back((self.now, Tlp::Write { addr, data }));
        }
    }

    fn mask_table(&mut self) {
        self.table.fill(0);
        self.table
            .chunks_exact_mut(16)
            .for_each(|entry| entry[12] = 1);
    }

    /// Resets the function. What it has under way comes to nothing; interrupts stay armed, mappings stay.
    pub fn reset(&mut self) {
        self.resets += 1;
        self.config = ConfigSpace::new(self.function.profile());
        self.mask_table();
        self.fail_asked(|_| true, "the function is reset");
        self.function.reset(self.now, &mut self.port);
        for _ in 0..RESET_QUANTA {
            let until = self.now + QUANTUM;
            if self.function.run(until, &mut self.port).is_err() {
                break;
            }
            self.now = until;
            self.collect();
            // Bus mastering is off, so that nothing reaches memory and every read fails.
            self.transfer();
        }
        (0..self.irqs.count()).for_each(|vector| self.program(vector));
    }

    // What the function sends.

    fn collect(&mut self) {
        while let Some((_, tlp)) = self.port.outbox.pop_front() {
            match tlp {
                Tlp::Completion { tag, data } => self.bar_data(tag, data),
                tlp => self.queue.push_back(tlp),
            }
        }
    }

    fn bar_data(&mut self, tag: u32, data: Result<Vec<u8>, BusError>) {
        let Some((id, at)) = self.tags.remove(&tag) else {
            return;
        };
        let Some(read) = self.reads.get_mut(&id) else {
            return;
        };
        if let Ok(bytes) = data {
            let len = bytes.len().min(read.data.len() - at);
            read.data[at..at + len].copy_from_slice(&bytes[..len]);
        } else {
            read.data[at..]
                .iter_mut()
                .take(MAX_PAYLOAD)
                .for_each(|byte| *byte = 0xFF);
        }
        read.left -= 1;
        if read.left == 0
            && let Some(read) = self.reads.remove(&id)
        {
            self.answer(&read);
        }
    }

    fn transfer(&mut self) {
        while let Some(tlp) = self.queue.pop_front() {
            let done = match &tlp {
                Tlp::Write { addr, data } => self.write(*addr, data),
                Tlp::Read { addr, len, tag } => self.read(*addr, *len as usize, *tag),
                Tlp::Completion { .. } => true,
            };
            if !done {
                self.queue.push_front(tlp);
                return;
            }
        }
    }

    /// False if it must wait.
    fn write(&mut self, addr: u64, data: &[u8]) -> bool {
        if !self.config.bus_master() {
            self.fault(addr, data.len(), "bus mastering is off");
            return true;
        }
        if addr == MESSAGE {
            if self.writes_asked > 0 {
                return false;
            }
            let word = data.first_chunk::<4>().copied().unwrap_or([0xFF; 4]);
            self.irqs.fire(u32::from_le_bytes(word));
            return true;
        }
        match self.dma.find(addr, data.len(), true) {
            (_, fits) if fits < data.len() => {
                self.fault(addr, data.len(), "it crosses the end of a mapping")
            }
            (Target::Denied, _) => self.fault(addr, data.len(), "it is mapped for reading only"),
            (Target::File(file, at), _) => {
                if self.writes_asked > 0 {
                    return false;
                }
                match file.write(at, data) {
                    Ok(()) => self.transferred += data.len() as u64,
                    Err(error) => self.fault(addr, data.len(), &error.to_string()),
                }
            }
            (Target::Client, _) => return self.ask_write(addr, data),
        }
        true
    }

    /// Also takes what follows without a gap.
    fn ask_write(&mut self, addr: u64, first: &[u8]) -> bool {
        let Some(most) = self.room_to_ask(addr, first.len()) else {
            return self.client.is_none();
        };
        let mut data = first.to_vec();
        while let Some(Tlp::Write {
            addr: next,
            data: more,
        }) = self.queue.front()
        {
            let follows =
                *next == addr.wrapping_add(data.len() as u64) && data.len() + more.len() <= most;
            if !follows
                || !matches!(self.dma.find(*next, more.len(), true), (Target::Client, n) if n == more.len())
            {
                break;
            }
            data.extend_from_slice(more);
            self.queue.pop_front();
        }
        self.writes_asked += 1;
        self.ask(Command::DmaWrite, addr, data.len(), &data, AskedKind::Write);
        true
    }

    fn read(&mut self, addr: u64, len: usize, tag: u32) -> bool {
        if !self.config.bus_master() {
            self.fault(addr, len, "bus mastering is off");
            self.complete(tag, Err(BusError));
            return true;
        }
        let result = match self.dma.find(addr, len, false) {
            (_, fits) if fits < len => Err("it crosses the end of a mapping".to_string()),
            (Target::Denied, _) => Err("it is mapped for writing only".into()),
            (Target::File(file, at), _) => {
                let mut data = vec![0; len];
                file.read(at, &mut data)
                    .map(|()| data)
                    .map_err(|error| error.to_string())
            }
            (Target::Client, _) => return self.ask_read(addr, len, tag),
        };
        match &result {
            Ok(_) => self.transferred += len as u64,
            Err(why) => self.fault(addr, len, why),
        }
        self.complete(tag, result.map_err(|_| BusError));
        true
    }

    fn ask_read(&mut self, addr: u64, first: usize, tag: u32) -> bool {
        let Some(most) = self.room_to_ask(addr, first) else {
            if self.client.is_none() {
                self.complete(tag, Err(BusError));
            }
            return self.client.is_none();
        };
        let (mut tags, mut len) = (vec![(tag, first)], first);
        while let Some(Tlp::Read {
            addr: next,
            len: more,
            tag,
        }) = self.queue.front()
        {
            let (next, more, tag) = (*next, *more as usize, *tag);
            let follows = next == addr.wrapping_add(len as u64) && len + more <= most;
            if !follows
                || !matches!(self.dma.find(next, more, false), (Target::Client, n) if n == more)
            {
                break;
            }
            tags.push((tag, more));
            len += more;
            self.queue.pop_front();
        }
        self.ask(Command::DmaRead, addr, len, &[], AskedKind::Read(tags));
        true
    }

    /// Bytes that a message may have; `None` if none can be sent now, or ever.
    fn room_to_ask(&mut self, addr: u64, len: usize) -> Option<usize> {
        let Some(client) = &self.client else {
            self.fault(addr, len, "no client is there");
            return None;
        };
        (self.asked.len() < MAX_ASKED).then(|| client.data().max(len))
    }

    fn ask(&mut self, command: Command, address: u64, len: usize, data: &[u8], kind: AskedKind) {
        while self.asked.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let access = DmaAccess {
            address: address.into(),
            count: (len as u64).into(),
        };
        self.out.push(wire::message(
            self.next_id,
            command as u16,
            0,
            &[access.as_bytes(), data],
        ));
        let deadline = Instant::now() + CLIENT_PATIENCE;
        self.asked.insert(
            self.next_id,
            Asked {
                kind,
                address,
                len,
                deadline,
            },
        );
        self.next_id = self.next_id.wrapping_add(1);
    }

    /// The client's answer to a DMA message.
    pub fn answered(&mut self, message: &Message) {
        let Some(asked) = self.asked.remove(&message.header.id.get()) else {
            log::debug!("an answer that nobody waits for (id {})", message.header.id);
            return;
        };
        let failed = message.header.flags.get() & flags::ERROR != 0;
        let (address, len) = (asked.address, asked.len);
        if failed {
            let errno = message.header.error.get() as i32;
            let why = format!(
                "the client refused: {}",
                std::io::Error::from_raw_os_error(errno)
            );
            self.fault(address, len, &why);
        }
        let data = take::<DmaAccess>(&message.payload)
            .map(|(_, data)| data)
            .unwrap_or_default();
        let good = !failed && data.len() == len;
        if !failed && !good && matches!(asked.kind, AskedKind::Read(_)) {
            let got = data.len();
            self.fault(
                address,
                len,
                &format!("the client answered with {got} bytes"),
            );
        }
        if !failed {
            self.transferred += len as u64;
        }
        self.settle(asked, good.then_some(data));
        self.finish_unmaps();
        self.transfer();
    }

    fn settle(&mut self, asked: Asked, data: Option<&[u8]>) {
        match asked.kind {
            AskedKind::Write => self.writes_asked -= 1,
            AskedKind::Read(tags) => {
                let mut at = 0;
                for (tag, len) in tags {
                    let bytes = data.map(|data| data[at..at + len].to_vec());
                    self.complete(tag, bytes.ok_or(BusError));
                    at += len;
                }
            }
        }
    }

    fn complete(&mut self, tag: u32, data: Result<Vec<u8>, BusError>) {
        self.port
            .inbox
            .push_back((self.now, Tlp::Completion { tag, data }));
    }

    fn fail_asked(&mut self, which: impl Fn(&Asked) -> bool, why: &str) {
        let ids: Vec<u16> = self
            .asked
            .iter()
            .filter(|(_, a)| which(a))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(asked) = self.asked.remove(&id) {
                self.fault(asked.address, asked.len, why);
                self.settle(asked, None);
            }
        }
    }

    fn fault(&mut self, addr: u64, len: usize, why: &str) {
        self.faults += 1;
        // A device that has lost its memory fails again and again.
        if self.faults.is_power_of_two() {
            let name = &self.function.profile().name;
            log::warn!(
                "{name}: DMA of {len} bytes at {addr:#x} failed ({} so far): {why}",
                self.faults
            );
        }
    }
}

/// What lies at an offset of a BAR.
enum Place {
    /// The model's.
    Model,
    /// The MSI-X table, with the offset in it.
    Table(usize),
    /// Pending bits.
    Pending,
}
