//! The client against servers that are right, wrong, silent or dead.

mod taken_over;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_device::{BarError, Device, IrqError};
use zerocopy::IntoBytes;

use super::{Bus, OpenError, Options};
use crate::frame::{Message, Receiver, Sender, take};
use crate::memory::SharedFile;
use crate::version::{self, Capabilities, MINOR};
use crate::wire::{
    self, Command, DeviceInfo, DmaAccess, DmaMap, IrqInfo, RegionAccess, RegionInfo, device, flags,
    region,
};

/// What a server does with a message: parts and descriptors of the reply, or nothing.
type Reaction = Option<(Vec<u8>, Vec<OwnedFd>)>;

/// Sizes of the BARs that the right server has.
const BAR0: u64 = 0x1_0000;
const BAR2: u64 = 0x10_0000;

fn path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("sluice-vfuc-{}-{n}.sock", std::process::id()))
}

fn options() -> Options {
    Options {
        timeout: Duration::from_millis(300),
        ..Options::default()
    }
}

/// A server of one client; it ends when the client does, or when `react` panics.
struct Fake {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    fn new(mut react: impl FnMut(&Message) -> Reaction + Send + 'static) -> Self {
        let path = path();
        let listener = UnixListener::bind(&path).expect("listens");
        let serve = move || {
            let (socket, _) = listener.accept().expect("a client");
            let (mut receiver, mut sender) = (Receiver::default(), Sender::default());
            loop {
                match receiver.poll(&socket) {
                    Ok(Some(message)) => {
                        if let Some((reply, fds)) = react(&message) {
                            sender.push(reply, fds);
                        }
                    }
                    Ok(None) => std::thread::sleep(Duration::from_micros(100)),
                    Err(_) => return,
                }
                if sender.flush(&socket).is_err() {
                    return;
                }
            }
        };
        Self {
            path,
            thread: Some(std::thread::spawn(serve)),
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn reply(to: &Message, parts: &[&[u8]]) -> Vec<u8> {
    wire::message(
        to.header.id.get(),
        to.header.command.get(),
        flags::REPLY,
        parts,
    )
}

/// A device with two BARs, the second shared, whose registers hold their own offset.
#[derive(Default)]
struct Right {
    config: Vec<u8>,
    shared: Option<SharedFile>,
    /// Every map message: address, size, whether a descriptor came.
    maps: Vec<(u64, u64, bool)>,
    writes: Vec<(u64, Vec<u8>)>,
}

impl Right {
    fn react(&mut self, message: &Message) -> Reaction {
        self.config.resize(4096, 0);
        let payload = &message.payload;
        let command = Command::from_number(message.header.command.get()).expect("a command");
        let (mut fds, wanted) = (
            Vec::new(),
            message.header.flags.get() & flags::NO_REPLY == 0,
        );
        let answer = match command {
            Command::Version => version::payload(MINOR, &Capabilities::OURS),
            Command::GetInfo => DeviceInfo {
                argsz: 16.into(),
                flags: (device::PCI | device::RESET).into(),
                regions: 9.into(),
                irqs: 5.into(),
            }
            .as_bytes()
            .to_vec(),
            Command::GetRegionInfo => {
                let (mut info, _) = take::<RegionInfo>(payload).expect("whole");
                let size = match info.index.get() {
                    0 => BAR0,
                    2 => BAR2,
                    region::CONFIG => 4096,
                    _ => 0,
                };
                info.size.set(size);
                if size == BAR2 {
                    let file = self
                        .shared
                        .get_or_insert_with(|| SharedFile::create("bar2", BAR2).expect("a memfd"));
                    fds.push(file.fd().try_clone_to_owned().expect("a descriptor"));
                    info.flags.set(region::READ | region::WRITE | region::MMAP);
                }
                info.as_bytes().to_vec()
            }
            Command::GetIrqInfo => {
                let (mut info, _) = take::<IrqInfo>(payload).expect("whole");
                info.count.set(20);
                info.as_bytes().to_vec()
            }
            Command::DmaMap => {
                let (map, _) = take::<DmaMap>(payload).expect("whole");
                self.maps
                    .push((map.address.get(), map.size.get(), !message.fds.is_empty()));
                Vec::new()
            }
            Command::RegionRead => {
                let (access, _) = take::<RegionAccess>(payload).expect("whole");
                let (at, len) = (access.offset.get(), access.count.get() as usize);
                let data: Vec<u8> = match access.region.get() {
                    region::CONFIG => self.config[at as usize..][..len].to_vec(),
                    _ => (at..at + len as u64)
                        .step_by(4)
                        .flat_map(|word| (word as u32).to_le_bytes())
                        .collect(),
                };
                [access.as_bytes(), &data].concat()
            }
            Command::RegionWrite => {
                let (access, data) = take::<RegionAccess>(payload).expect("whole");
                let at = access.offset.get();
                if access.region.get() == region::CONFIG {
                    self.config[at as usize..][..data.len()].copy_from_slice(data);
                } else {
                    self.writes.push((at, data.to_vec()));
                }
                access.as_bytes().to_vec()
            }
            _ => Vec::new(),
        };
        wanted.then(|| (reply(message, &[&answer]), fds))
    }
}

#[test]
fn a_device_is_opened_with_addresses_bus_mastering_and_its_shared_bar_mapped() {
    let mut right = Right::default();
    let server = Fake::new(move |m| right.react(m));
    let bus = Bus::new();
    let device = bus.open(&server.path, &options()).expect("opens");
    let (bar0, bar2) = (device.bar(0).expect("BAR0"), device.bar(2).expect("BAR2"));
    assert_eq!((bar0.len(), bar2.len()), (BAR0, BAR2));
    assert!(bar0.bus() % BAR0 == 0 && bar2.bus() % BAR2 == 0 && bar0.bus() != bar2.bus());
    let mut config = [0; 64];
    device.config_read(0, &mut config).expect("reads");
    assert_eq!(config[4], 6, "memory and bus master");
    assert_eq!(config[0x10..0x14], (bar0.bus() as u32).to_le_bytes());
    assert_eq!(bar0.read32(0x1234).expect("reads"), 0x1234);
    let mut many = vec![0; 64];
    bar0.read(0x100, &mut many).expect("reads");
    assert_eq!(many[60..], 0x13Cu32.to_le_bytes());
    bar2.write(0x1000, &[7; 12]).expect("writes");
    assert_eq!(bar2.read32(0x1008).expect("reads"), 0x0707_0707);
    assert!(matches!(
        device.bar(1),
        Err(BarError::Absent { index: 1, .. })
    ));
    assert!(matches!(
        bar0.read32(BAR0),
        Err(BarError::OutOfRange { .. })
    ));
    assert!(matches!(bar0.read32(2), Err(BarError::Misaligned { .. })));
    assert_eq!(device.irq().vectors(), 20);
    device.irq().enable(20).expect("in two messages");
    assert_eq!(device.irq().wait(19, Duration::from_millis(1)), Ok(false));
    assert!(matches!(
        device.irq().wait(20, Duration::ZERO),
        Err(IrqError::NotArmed { .. })
    ));
}

#[test]
fn devices_of_one_bus_know_each_others_bars_and_all_memory() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = |name: &'static str| {
        let (mut right, tell) = (Right::default(), tell.clone());
        Fake::new(move |m| {
            let reaction = right.react(m);
            right
                .maps
                .drain(..)
                .for_each(|map| tell.send((name, map)).expect("heard"));
            reaction
        })
    };
    let bus = Bus::new();
    let (a, b) = (server("a"), server("b"));
    let first = bus.open(&a.path, &options()).expect("opens");
    let buffer = first.dma().alloc(5000, 8192).expect("memory");
    let second = bus.open(&b.path, &options()).expect("opens");
    assert_eq!(buffer.bus() % 8192, 0);
    let at = |device: &super::VfioUserDevice, bar| device.bar(bar).expect("a BAR").bus();
    let seen: Vec<_> = told.try_iter().collect();
    let want = [
        ("a", (buffer.bus(), 8192, true)),
        ("b", (buffer.bus(), 8192, true)),
        ("b", (at(&first, 0), BAR0, false)),
        ("b", (at(&first, 2), BAR2, true)),
        ("a", (at(&second, 0), BAR0, false)),
        ("a", (at(&second, 2), BAR2, true)),
    ];
    assert_eq!(seen, want);
}

#[test]
fn what_a_device_asks_for_reaches_memory_and_the_other_device_and_nothing_else() {
    let (tell, told) = std::sync::mpsc::channel();
    let (mut right, mut other) = (Right::default(), Right::default());
    let target = Fake::new(move |m| {
        let reaction = other.react(m);
        other
            .writes
            .drain(..)
            .for_each(|write| tell.send(write).expect("heard"));
        reaction
    });
    // The asking server sends what it is told to, and says what came back.
    let (order, orders) = std::sync::mpsc::channel::<Vec<u8>>();
    let (answer, answers) = std::sync::mpsc::channel();
    let asking = Fake::new(move |m| {
        if m.header.flags.get() & flags::TYPE == flags::REPLY {
            let error = m.header.flags.get() & flags::ERROR != 0;
            answer.send((error, m.payload.clone())).expect("heard");
            return orders.try_recv().ok().map(|message| (message, Vec::new()));
        }
        if Command::from_number(m.header.command.get()) == Some(Command::Feature) {
            return orders.try_recv().ok().map(|message| (message, Vec::new()));
        }
        right.react(m)
    });
    let bus = Bus::new();
    let asker = bus.open(&asking.path, &options()).expect("opens");
    let device = bus.open(&target.path, &options()).expect("opens");
    let buffer = asker.dma().alloc(4096, 1).expect("memory");
    buffer.write(16, &[1, 2, 3, 4]).expect("inside");
    let bar = device.bar(0).expect("BAR0").bus();
    let shared = device.bar(2).expect("BAR2");
    shared.write32(0x40, 0x1122_3344).expect("writes");
    let message = |command: Command, address: u64, count: u64, data: &[u8]| {
        let access = DmaAccess {
            address: address.into(),
            count: count.into(),
        };
        wire::message(9, command as u16, 0, &[access.as_bytes(), data])
    };
    let orders = [
        (
            message(Command::DmaRead, buffer.bus() + 16, 4, &[]),
            Some(vec![1, 2, 3, 4]),
        ),
        (
            message(Command::DmaRead, bar + 0x20, 8, &[]),
            Some(vec![0x20, 0, 0, 0, 0x24, 0, 0, 0]),
        ),
        (
            message(Command::DmaRead, shared.bus() + 0x40, 4, &[]),
            Some(vec![0x44, 0x33, 0x22, 0x11]),
        ),
        (
            message(Command::DmaWrite, bar + 0x1000, 4, &[5, 0, 0, 0]),
            Some(vec![]),
        ),
        (
            message(Command::DmaWrite, buffer.bus(), 2, &[8, 9]),
            Some(vec![]),
        ),
        (message(Command::DmaRead, buffer.bus() + 4095, 2, &[]), None),
        (message(Command::DmaRead, 0, 4, &[]), None),
        (message(Command::DmaRead, bar, u64::MAX, &[]), None),
        (message(Command::DmaWrite, buffer.bus(), 3, &[1]), None),
        (wire::message(9, 11, 0, &[&[0; 15]]), None),
        (wire::message(9, 10, 0, &[&[0; 16]]), None),
    ];
    let count = orders.len();
    let wanted: Vec<_> = orders.iter().map(|(_, want)| want.clone()).collect();
    orders
        .into_iter()
        .for_each(|(m, _)| order.send(m).expect("taken"));
    asker
        .connection_for_tests()
        .post(Command::Feature, &[])
        .expect("sent");
    for want in wanted {
        let (error, payload) = answers
            .recv_timeout(Duration::from_secs(5))
            .expect("an answer");
        match want {
            Some(data) => assert_eq!((error, &payload[16..]), (false, &data[..])),
            None => assert!(error && payload.is_empty()),
        }
    }
    assert_eq!(count, 11);
    assert_eq!(
        told.recv_timeout(Duration::from_secs(5)),
        Ok((0x1000, vec![5, 0, 0, 0]))
    );
    let mut bytes = [0; 2];
    buffer.read(0, &mut bytes).expect("inside");
    assert_eq!(bytes, [8, 9]);
}

#[test]
fn a_server_that_dies_is_a_device_that_was_pulled() {
    let mut right = Right::default();
    let server = Fake::new(move |m| {
        // It dies over this one.
        assert!(
            Command::from_number(m.header.command.get()) != Some(Command::Feature),
            "as the test wants it"
        );
        right.react(m)
    });
    let bus = Bus::new();
    let device = bus.open(&server.path, &options()).expect("opens");
    device.irq().enable(1).expect("arms");
    assert_eq!(device.lost(), None);
    device
        .connection_for_tests()
        .post(Command::Feature, &[])
        .expect("sent");
    let start = Instant::now();
    // Whoever waits for an interrupt is told at once.
    let waited = device.irq().wait(0, Duration::from_secs(100));
    assert!(
        matches!(waited, Err(IrqError::Backend { .. })),
        "{waited:?}"
    );
    let bar = device.bar(0).expect("BAR0");
    assert_eq!(bar.read32(0x20), Ok(u32::MAX));
    assert_eq!(
        device.bar(2).expect("BAR2").read32(0),
        Ok(u32::MAX),
        "a mapped one as well"
    );
    assert_eq!(bar.write32(0x20, 1), Ok(()));
    assert!(
        start.elapsed() < Duration::from_secs(50),
        "nobody waited in vain"
    );
    let said = device.lost().expect("it is gone");
    assert!(said.contains("closed the connection or died"), "{said}");
    device.dma().alloc(4096, 1).expect("memory is still there");
    assert!(device.reset().is_err());
}

#[test]
fn a_server_that_falls_silent_is_given_up_and_what_it_says_later_is_not_listened_to() {
    let mut right = Right::default();
    let server = Fake::new(move |m| {
        let read = take::<RegionAccess>(&m.payload).is_ok_and(|(a, _)| a.region.get() == 0);
        if Command::from_number(m.header.command.get()) == Some(Command::RegionRead) && read {
            return None;
        }
        right.react(m)
    });
    let device = Bus::new().open(&server.path, &options()).expect("opens");
    assert_eq!(device.bar(0).expect("BAR0").read32(0), Ok(u32::MAX));
    let said = device.lost().expect("given up");
    assert!(said.contains("no answer"), "{said}");
}

#[test]
fn servers_that_make_no_sense_are_refused_with_what_was_wanted() {
    type Change = fn(&Message, &mut Vec<u8>);
    let changes: [(&str, Change); 7] = [
        ("version 1.1", |m, reply| {
            if m.header.command.get() == 1 {
                reply[16] = 1
            }
        }),
        ("JSON", |m, reply| {
            if m.header.command.get() == 1 {
                reply[20] = b'['
            }
        }),
        ("no PCI device", |m, reply| {
            if m.header.command.get() == 4 {
                reply[20] = 0
            }
        }),
        ("power of two", |m, reply| {
            if m.header.command.get() == 5 && m.payload[8] == 0 {
                reply[32] = 1
            }
        }),
        ("configuration space", |m, reply| {
            if m.header.command.get() == 5 && m.payload[8] == 7 {
                reply[33] = 0
            }
        }),
        ("reply is to command", |m, reply| {
            if m.header.command.get() == 4 {
                reply[2] = 9
            }
        }),
        ("at least 16 wanted", |m, reply| {
            if m.header.command.get() == 4 {
                reply.truncate(20);
                reply[4] = 20;
            }
        }),
    ];
    for (wanted, change) in changes {
        let mut right = Right::default();
        let server = Fake::new(move |m| {
            right.react(m).map(|(mut reply, fds)| {
                change(m, &mut reply);
                (reply, fds)
            })
        });
        let said = Bus::new()
            .open(&server.path, &options())
            .err()
            .expect(wanted)
            .to_string();
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn a_server_of_noise_is_refused_and_a_socket_without_one_is_named() {
    let server = Fake::new(|m| Some((vec![0xA5; 16 + m.payload.len()], Vec::new())));
    assert!(Bus::new().open(&server.path, &options()).is_err());
    let nobody = Path::new("/nonexistent/card.sock");
    let quick = Options {
        patience: Duration::ZERO,
        ..options()
    };
    let said = Bus::new()
        .open(nobody, &quick)
        .err()
        .expect("nobody listens");
    assert!(matches!(said, OpenError::Connect { .. }));
    assert!(
        said.to_string().contains("card.sock") && said.to_string().contains("running"),
        "{said}"
    );
}
