//! A vfio-user server under any client: messages, whole or torn, with descriptors or without, in any order, and answers to its
//! own DMA messages or none. Behind it a function that does whatever DMA the client asks of it. What is looked for, beside a
//! panic: a command without its one reply, a reply that nobody asked for, DMA with bus mastering off, a byte written to memory
//! that was never mapped for writing, a read of the function's that is never completed.
#![no_main]

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use sluice_pcie::engine::Engine;
use sluice_pcie::fabric::{BusError, Clock, MAX_PAYLOAD, Port, Tlp};
use sluice_pcie::irqs::MESSAGE;
use sluice_pcie::{BarSpec, Function, MsixSpec, Profile};
use sluice_vfio_user::frame::Message;
use sluice_vfio_user::memory::SharedFile;
use sluice_vfio_user::version::{self, Capabilities, MINOR};
use sluice_vfio_user::wire::{
    self, Command, DeviceInfo, DmaAccess, DmaMap, DmaUnmap, Header, IrqInfo, IrqSet, RegionAccess,
    RegionInfo, SmallWrite, flags, region,
};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of the BAR; doorbells in the first page, the MSI-X table in the last.
const BAR: u64 = 0x4000;
const TABLE: u64 = 0x3000;
const PENDING: u64 = 0x3800;
const VECTORS: u16 = 3;
/// A write here with address (8 bytes), length and what to do (0 write, 1 read, 2 interrupt) is a DMA.
const DOORBELL: u64 = 0x100;
/// Reads from here on are answered with an error.
const HOLE: u64 = 0x2000;
/// What files hold at first.
const FILL: u8 = 0xA5;
const FILE: u64 = 0x4000;
/// Turns after which nothing more comes by itself.
const ENOUGH: usize = 64;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut game = Game::new();
    let mut bytes = data.iter().copied();
    // A good beginning first, unless the input wants it otherwise: it would take the fuzzer long to find.
    if bytes.next().is_some_and(|b| b & 1 == 0) {
        game.begin();
    }
    while game.alive && game.turn(&mut bytes).is_some() {}
    game.finish();
});

/// Does the DMA that is asked of it.
struct Model {
    profile: Profile,
    /// Reads that are not completed, by tag: bytes.
    reads: HashMap<u32, usize>,
    next_tag: u32,
}

impl Function for Model {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn address(&self, bar: u8, offset: u64) -> u64 {
        u64::from(bar) << 32 | offset
    }

    fn run(&mut self, until: Clock, port: &mut Port) -> io::Result<()> {
        while let Some(tlp) = port.take(until) {
            match tlp {
                Tlp::Read { addr, len, tag } => {
                    assert!(
                        (1..=MAX_PAYLOAD as u32).contains(&len),
                        "{len} bytes in a packet"
                    );
                    assert!(addr + u64::from(len) <= BAR, "a read beyond the BAR");
                    let data = if addr < HOLE {
                        Ok(vec![7; len as usize])
                    } else {
                        Err(BusError)
                    };
                    port.send(until, Tlp::Completion { tag, data });
                }
                Tlp::Write { addr, data } => {
                    assert!(
                        (1..=MAX_PAYLOAD).contains(&data.len()),
                        "{} bytes",
                        data.len()
                    );
                    assert!(addr + data.len() as u64 <= BAR, "a write beyond the BAR");
                    if addr == DOORBELL && data.len() >= 12 {
                        self.ring(&data, until, port);
                    }
                }
                Tlp::Completion { tag, data } => {
                    let len = self.reads.remove(&tag).expect("completed once");
                    assert!(data.is_err() || data.is_ok_and(|bytes| bytes.len() == len));
                }
            }
        }
        Ok(())
    }

    fn idle_until(&self) -> Option<Clock> {
        Some(Clock::MAX)
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn reset(&mut self, _: Clock, _: &mut Port) {}

    fn wait(&mut self, _: &[BorrowedFd<'_>], _: Duration) -> io::Result<()> {
        Ok(())
    }
}

impl Model {
    fn ring(&mut self, data: &[u8], now: Clock, port: &mut Port) {
        let addr = u64::from_le_bytes(data[..8].try_into().expect("long enough"));
        let len = usize::from(u16::from_le_bytes([data[8], data[9]])) % MAX_PAYLOAD + 1;
        match data[10] % 3 {
            0 => port.send(
                now,
                Tlp::Write {
                    addr,
                    data: vec![0x3C; len],
                },
            ),
            1 => {
                let tag = self.next_tag;
                self.next_tag += 1;
                self.reads.insert(tag, len);
                port.send(
                    now,
                    Tlp::Read {
                        addr,
                        len: len as u32,
                        tag,
                    },
                );
            }
            _ => {
                let data = u32::from(data[11]).to_le_bytes().to_vec();
                port.send(
                    now,
                    Tlp::Write {
                        addr: MESSAGE,
                        data,
                    },
                );
            }
        }
    }
}

/// Memory of the client's.
struct Memory {
    file: SharedFile,
    /// It was mapped for writing once.
    writable: bool,
}

struct Game {
    engine: Engine<Model>,
    files: Vec<Memory>,
    /// Commands that owe a reply, by message: id and command.
    owed: Vec<(u16, u16)>,
    /// DMA messages that we have not answered.
    asked: Vec<(Header, DmaAccess)>,
    next_id: u16,
    alive: bool,
}

impl Game {
    fn new() -> Self {
        let mut bars = [None; 6];
        bars[0] = Some(BarSpec {
            size: BAR,
            prefetchable: false,
        });
        let profile = Profile {
            name: "model".into(),
            vendor: 1,
            device: 2,
            class: 0x01_08_02,
            serial: 3,
            lanes: 4,
            bars,
            msix: MsixSpec {
                bar: 0,
                table: TABLE,
                pending: PENDING,
                vectors: VECTORS,
            },
        };
        let model = Model {
            profile,
            reads: HashMap::new(),
            next_tag: 0,
        };
        let files = (0..2).map(|_| {
            let file = SharedFile::create("fuzz", FILE).expect("memory");
            file.write(0, &[FILL; FILE as usize]).expect("inside");
            Memory {
                file,
                writable: false,
            }
        });
        Self {
            engine: Engine::new(model),
            files: files.collect(),
            owed: Vec::new(),
            asked: Vec::new(),
            next_id: 0,
            alive: true,
        }
    }

    /// VERSION, one file for reading, one for both, a range that only messages reach, and bus mastering on.
    fn begin(&mut self) {
        let said = version::payload(MINOR, &Capabilities::OURS);
        self.send(Command::Version as u16, 0, said, Vec::new());
        self.map(0x1_0000, FILE, 1, 0, Some(0));
        self.map(0x2_0000, FILE, 3, 0, Some(1));
        self.map(0x3_0000, 0x1000, 3, 0, None);
        let on = RegionAccess {
            offset: 4.into(),
            region: region::CONFIG.into(),
            count: 2.into(),
        };
        let write = [on.as_bytes(), &[6, 0]].concat();
        self.send(Command::RegionWrite as u16, 0, write, Vec::new());
        assert!(self.alive && self.owed.is_empty(), "all of that is right");
        assert!(self.engine.config.bus_master());
    }

    fn map(&mut self, address: u64, size: u64, access: u32, offset: u64, file: Option<usize>) {
        let map = DmaMap {
            argsz: (size_of::<DmaMap>() as u32).into(),
            flags: access.into(),
            offset: offset.into(),
            address: address.into(),
            size: size.into(),
        };
        let fds = file.map(|index| {
            let memory = &mut self.files[index];
            memory.writable |= access & 2 != 0;
            memory.file.fd().try_clone_to_owned().expect("a descriptor")
        });
        let payload = map.as_bytes().to_vec();
        self.send(
            Command::DmaMap as u16,
            0,
            payload,
            fds.into_iter().collect(),
        );
    }

    fn turn(&mut self, bytes: &mut impl Iterator<Item = u8>) -> Option<()> {
        let what = bytes.next()?;
        let mode = if what & 0x80 != 0 { flags::NO_REPLY } else { 0 };
        match what & 0x7f {
            0..=15 => {
                // Anything at all.
                let len = usize::from(bytes.next()?);
                let kind = u32::from(bytes.next()?);
                let payload = bytes.by_ref().take(len).collect();
                let fds = self.descriptors(bytes.next()?);
                self.send(u16::from(what & 15), kind, payload, fds);
            }
            16..=31 => {
                let (address, size) = (self.address(bytes)?, self.size(bytes)?);
                let choice = bytes.next()?;
                let (access, file) = (u32::from(choice & 3), usize::from(choice >> 2 & 3));
                let offset = u64::from(choice >> 4) << 10;
                self.map(
                    address,
                    size,
                    access,
                    offset,
                    (file < self.files.len()).then_some(file),
                );
            }
            32..=39 => {
                let unmap = DmaUnmap {
                    argsz: (size_of::<DmaUnmap>() as u32).into(),
                    flags: u32::from(what & 2).into(),
                    address: self.address(bytes)?.into(),
                    size: self.size(bytes)?.into(),
                };
                self.send(
                    Command::DmaUnmap as u16,
                    mode,
                    unmap.as_bytes().to_vec(),
                    Vec::new(),
                );
            }
            40..=55 => {
                // DMA.
                let mut ring = self.address(bytes)?.to_le_bytes().to_vec();
                ring.extend((0..4).map_while(|_| bytes.next()));
                self.write(0, DOORBELL, &ring, mode);
            }
            56..=63 => {
                let (which, offset) = (bytes.next()?, short(bytes)?);
                let len = usize::from(bytes.next()?);
                let data: Vec<u8> = bytes.by_ref().take(len).collect();
                self.write(u32::from(which & 15), offset.into(), &data, mode);
            }
            64..=71 => {
                let access = RegionAccess {
                    region: u32::from(bytes.next()? & 15).into(),
                    offset: u64::from(short(bytes)?).into(),
                    count: u32::from(short(bytes)?).into(),
                };
                self.send(
                    Command::RegionRead as u16,
                    mode,
                    access.as_bytes().to_vec(),
                    Vec::new(),
                );
            }
            72..=79 => {
                let mut payload = u64::from(bytes.next()? & 3).to_le_bytes().to_vec();
                for _ in 0..what & 3 {
                    let small = SmallWrite {
                        offset: u64::from(short(bytes)?).into(),
                        region: u32::from(bytes.next()? & 7).into(),
                        count: u32::from(bytes.next()? & 15).into(),
                        data: [bytes.next()?; 8],
                    };
                    payload.extend(small.as_bytes());
                }
                self.send(Command::RegionWriteMulti as u16, mode, payload, Vec::new());
            }
            80..=87 => {
                let set = IrqSet {
                    argsz: (size_of::<IrqSet>() as u32).into(),
                    flags: u32::from(bytes.next()? & 0x3f).into(),
                    index: u32::from(bytes.next()? & 3).into(),
                    start: u32::from(bytes.next()? & 7).into(),
                    count: u32::from(bytes.next()? & 7).into(),
                };
                let fds = self.descriptors(bytes.next()?);
                let data = bytes.next()? & 7;
                let payload = [set.as_bytes(), &vec![data & 1; data.into()]].concat();
                self.send(Command::SetIrqs as u16, mode, payload, fds);
            }
            88..=95 => {
                let (argsz, index) = (
                    u32::from(bytes.next()?).into(),
                    u32::from(bytes.next()? & 15),
                );
                let (command, payload) = match what & 3 {
                    0 => (
                        Command::GetInfo,
                        DeviceInfo { argsz, ..ask() }.as_bytes().to_vec(),
                    ),
                    1 => {
                        let info = RegionInfo {
                            argsz,
                            index: index.into(),
                            ..ask()
                        };
                        (Command::GetRegionInfo, info.as_bytes().to_vec())
                    }
                    2 => {
                        let info = IrqInfo {
                            argsz,
                            index: index.into(),
                            ..ask()
                        };
                        (Command::GetIrqInfo, info.as_bytes().to_vec())
                    }
                    _ => (Command::Reset, Vec::new()),
                };
                self.send(command as u16, mode, payload, Vec::new());
            }
            96..=119 => self.answer(what, bytes.next()?),
            _ => self.run(usize::from(what & 7) + 1),
        }
        Some(())
    }

    /// Bus addresses near mappings, and others.
    fn address(&self, bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
        let (page, low) = (bytes.next()?, bytes.next()?);
        Some(match page {
            0xff => u64::MAX - u64::from(low),
            0xf0..=0xfe => u64::from(page) << 56 | u64::from(low) << 12,
            _ => u64::from(page) << 12 | u64::from(low & 0x1f) << 7,
        })
    }

    fn size(&self, bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
        let size = bytes.next()?;
        Some(match size {
            0xff => u64::MAX,
            0x80..=0xfe => u64::from(size & 0x7f),
            _ => u64::from(size) << 12,
        })
    }

    fn descriptors(&mut self, choice: u8) -> Vec<OwnedFd> {
        let kind = choice & 3;
        (0..choice >> 2 & 7)
            .map(|_| match kind {
                0 => {
                    // Who sends it so may have it mapped for writing.
                    self.files[0].writable = true;
                    self.files[0]
                        .file
                        .fd()
                        .try_clone_to_owned()
                        .expect("a descriptor")
                }
                _ => eventfd(0, EventfdFlags::NONBLOCK).expect("a descriptor"),
            })
            .collect()
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8], mode: u32) {
        let access = RegionAccess {
            region: region.into(),
            offset: offset.into(),
            count: (data.len() as u32).into(),
        };
        let payload = [access.as_bytes(), data].concat();
        self.send(Command::RegionWrite as u16, mode, payload, Vec::new());
    }

    fn send(&mut self, command: u16, mode: u32, payload: Vec<u8>, fds: Vec<OwnedFd>) {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let header = Header {
            id: id.into(),
            command: command.into(),
            size: ((wire::HEADER + payload.len()) as u32).into(),
            flags: mode.into(),
            error: 0.into(),
        };
        let is_command = mode & flags::TYPE == 0;
        if is_command && mode & flags::NO_REPLY == 0 {
            self.owed.push((id, command));
        }
        if !is_command {
            // As an answer it may be to anything that was asked.
            self.asked.retain(|(header, _)| header.id.get() != id);
        }
        let free = !self.engine.config.bus_master();
        let taken = self.engine.take(Message {
            header,
            payload,
            fds,
        });
        if let Err(why) = taken {
            assert!(!why.is_empty());
            self.alive = false;
        }
        self.look(free);
        if is_command && !self.alive {
            self.owed.retain(|owed| *owed != (id, command));
        }
    }

    /// Answers a DMA message, rightly or not.
    fn answer(&mut self, what: u8, how: u8) {
        if self.asked.is_empty() {
            return;
        }
        let (header, access) = self.asked.remove(usize::from(what) % self.asked.len());
        let len = access.count.get() as usize;
        let data = match (header.command.get() == Command::DmaRead as u16, how & 3) {
            (true, 0 | 1) => vec![9; len],
            (true, 2) => vec![9; len / 2],
            _ => Vec::new(),
        };
        let message = Message {
            header: Header {
                size: 0.into(),
                flags: (flags::REPLY | if how & 4 != 0 { flags::ERROR } else { 0 }).into(),
                error: u32::from(how >> 3).into(),
                ..header
            },
            payload: if how & 0xc0 == 0xc0 {
                data
            } else {
                [access.as_bytes(), &data].concat()
            },
            fds: Vec::new(),
        };
        let free = !self.engine.config.bus_master();
        self.engine.take(message).expect("an answer ends nothing");
        self.look(free);
    }

    fn run(&mut self, turns: usize) {
        for _ in 0..turns {
            let free = !self.engine.config.bus_master();
            self.engine.turn().expect("the model works");
            self.look(free);
        }
    }

    /// What the server sends. `free`: bus mastering was off before.
    fn look(&mut self, free: bool) {
        let free = free && !self.engine.config.bus_master();
        for (message, _) in self.engine.out.drain(..) {
            let (header, payload) = Header::read_from_prefix(&message).expect("a whole header");
            assert_eq!(header.size.get() as usize, message.len());
            if header.flags.get() & flags::TYPE == flags::REPLY {
                let answered = (header.id.get(), header.command.get());
                let place = self.owed.iter().position(|owed| *owed == answered);
                self.owed.swap_remove(place.expect("somebody asked"));
            } else {
                assert!(!free, "DMA with bus mastering off");
                let (access, _) = DmaAccess::read_from_prefix(payload).expect("whole");
                assert!(access.count.get() > 0);
                self.asked.push((header, access));
            }
        }
    }

    /// All that is owed comes; and when the client goes, nothing is left of it.
    fn finish(&mut self) {
        if self.alive && self.engine.is_attached() {
            for _ in 0..ENOUGH {
                while !self.asked.is_empty() {
                    self.answer(0, 0);
                }
                self.run(1);
                if self.owed.is_empty() && self.asked.is_empty() && self.engine.is_idle() {
                    break;
                }
            }
            assert_eq!(self.owed, [], "no reply to these");
        }
        self.engine.detach();
        for _ in 0..4 {
            self.engine.turn().expect("the model works");
        }
        assert!(
            self.engine.function().reads.is_empty(),
            "reads that were never completed"
        );
        for memory in self.files.iter().filter(|memory| !memory.writable) {
            let mut bytes = [0; FILE as usize];
            memory.file.read(0, &mut bytes).expect("inside");
            assert_eq!(bytes, [FILL; FILE as usize], "written without leave");
        }
    }
}

fn ask<T: FromBytes>() -> T {
    T::new_zeroed()
}

fn short(bytes: &mut impl Iterator<Item = u8>) -> Option<u16> {
    Some(u16::from_le_bytes([bytes.next()?, bytes.next()?]))
}
