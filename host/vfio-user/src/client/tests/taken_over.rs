//! A bus of a process that is no more: what it had and what it was in the middle of, made by hand.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver as Told, Sender as Tell, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_device::{Device, Dma, DmaError, Keeper, KeptBar};
use zerocopy::IntoBytes;

use super::{BAR0, BAR2, Right, options};
use crate::client::journal::Journal;
use crate::client::kept::{DeviceId, Name};
use crate::client::{Bus, Left, OpenError};
use crate::frame::{Message, Receiver, Sender};
use crate::memory::SharedFile;
use crate::wire::{self, Command, DmaAccess, RegionAccess, flags};

const PATH: &str = "/run/sluice/left.sock";
const MEMORY: u64 = 1 << 32;
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Notes names and keeps nothing.
#[derive(Default)]
struct Notes {
    kept: Mutex<Vec<String>>,
    forgotten: Mutex<Vec<String>>,
}

impl Keeper for Notes {
    fn keep(&self, name: &str, _: BorrowedFd<'_>) -> io::Result<()> {
        self.kept.lock().expect("whole").push(name.into());
        Ok(())
    }
    fn forget(&self, name: &str) {
        self.forgotten.lock().expect("whole").push(name.into());
    }
}

fn bars() -> Vec<KeptBar> {
    let bar = |index, len, base| KeptBar { index, len, base };
    vec![bar(0, BAR0, 0xC100_0000), bar(2, BAR2, 0xC120_0000)]
}

/// What the process before has left, and its device's server, whose replies to what it is told go out as messages of any kind.
struct Before {
    kept: Vec<(Name, OwnedFd)>,
    journal: Journal,
    memory: SharedFile,
    server: UnixStream,
}

impl Before {
    fn new() -> Self {
        let (client, server) = UnixStream::pair().expect("a pair");
        let (journal, memory) = (
            Journal::create().expect("memory"),
            SharedFile::create("left", 8192).expect("memory"),
        );
        let id = DeviceId::new(Path::new(PATH), &bars());
        let device = Name::Device {
            id,
            data: 16 << 10,
            fds: 16,
            bars: bars(),
        };
        let clone = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().expect("a descriptor");
        let kept = vec![
            (
                Name::Memory {
                    base: MEMORY,
                    len: 8192,
                },
                clone(memory.fd()),
            ),
            (device, client.into()),
            (Name::Journal(id), clone(journal.fd())),
        ];
        Self {
            kept,
            journal,
            memory,
            server,
        }
    }

    /// The server goes on, as one that knows all that it was told before; what it is answered is told.
    fn serve(&self) -> (JoinHandle<()>, Told<Message>) {
        let socket = self.server.try_clone().expect("a descriptor");
        let (tell, told): (Tell<Message>, _) = channel();
        let serve = move || {
            let mut right = Right::default();
            right.config.resize(4096, 0);
            right.config[4] = 6;
            let (mut receiver, mut sender) = (Receiver::default(), Sender::default());
            loop {
                match receiver.poll(&socket) {
                    Ok(Some(m)) if m.header.flags.get() & flags::TYPE == flags::REPLY => {
                        tell.send(m).expect("heard");
                    }
                    Ok(Some(m)) if m.header.command.get() == Command::DmaMap as u16 => {
                        sender.push(wire::error_reply(&m.header, wire::errno::EEXIST), vec![]);
                    }
                    Ok(Some(m)) => {
                        if let Some((answer, fds)) = right.react(&m) {
                            sender.push(answer, fds);
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
        (std::thread::spawn(serve), told)
    }

    fn adopt(self, notes: &Arc<Notes>) -> (Bus, Vec<Left>) {
        let bus = Bus::adopt(self.kept, notes.clone(), &options());
        bus.unwrap_or_else(|e| panic!("{e}"))
    }
}

fn dma_read(id: u16, address: u64, count: u64) -> Vec<u8> {
    let access = DmaAccess {
        address: address.into(),
        count: count.into(),
    };
    wire::message(id, Command::DmaRead as u16, 0, &[access.as_bytes()])
}

fn send(socket: &UnixStream, bytes: &[u8]) {
    assert_eq!(rustix::io::write(socket.as_fd(), bytes), Ok(bytes.len()));
}

#[test]
fn a_device_is_taken_up_where_it_was_with_the_memory_that_it_uses() {
    let before = Before::new();
    before.memory.write(100, b"left").expect("fits");
    let (server, _told) = before.serve();
    let notes = Arc::<Notes>::default();
    let (bus, mut left) = before.adopt(&notes);
    assert_eq!(left.len(), 1);
    let one = left.remove(0);
    assert!(one.is(Path::new(PATH)) && !one.is(Path::new("/run/sluice/other.sock")));
    let device = one
        .take_up(Path::new(PATH))
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(device.name(), "left");
    for bar in bars() {
        assert_eq!(device.bar(bar.index).expect("there").bus(), bar.base);
    }
    let bar0 = device.bar(0).expect("there");
    assert_eq!(bar0.read32(0x1234).expect("reads"), 0x1234);
    let buffer = bus.reclaim(MEMORY, 5000).expect("it was left");
    let mut bytes = [0; 4];
    buffer.read(100, &mut bytes).expect("fits");
    assert_eq!(&bytes, b"left");
    for again in [bus.reclaim(MEMORY, 5000), bus.reclaim(7, 1)] {
        assert!(matches!(again, Err(DmaError::NotKept { .. })));
    }
    // New memory lies elsewhere, and what is given back is kept no longer.
    let new = bus.alloc(4096, 4096).err();
    let text = new.expect("this server maps nothing more").to_string();
    assert!(text.contains("mapping memory"), "{text}");
    drop((buffer, device));
    let forgotten = notes.forgotten.lock().expect("whole").clone();
    for what in [
        "user.memory-100000000-2000",
        "user.device-",
        "user.journal-",
    ] {
        assert!(
            forgotten.iter().any(|n| n.starts_with(what)),
            "{forgotten:?}"
        );
    }
    server.join().expect("it ends with its client");
}

#[test]
fn what_was_taken_and_not_answered_is_answered_once_and_before_what_came_later() {
    let before = Before::new();
    before
        .memory
        .write(0, &[1, 2, 3, 4, 5, 6, 7, 8])
        .expect("fits");
    // The first was answered, the second was not, the third is written down and still in the socket.
    let requests = [40, 41, 42].map(|id| dma_read(id, MEMORY + u64::from(id - 40), 4));
    let slots = requests.each_ref().map(|request| {
        let slot = before.journal.enter(request).expect("memory");
        slot.expect("a place")
    });
    before.journal.strike_out(slots[0]).expect("memory");
    send(&before.server, &requests[2]);
    send(&before.server, &dma_read(43, MEMORY + 3, 4));
    let (server, told) = before.serve();
    let (_bus, left) = before.adopt(&Arc::default());
    let answers: Vec<(u16, Vec<u8>)> = (0..3)
        .map(|_| told.recv_timeout(PATIENCE).expect("an answer"))
        .map(|m| (m.header.id.get(), m.payload[16..].to_vec()))
        .collect();
    assert_eq!(
        answers,
        [
            (41, vec![2, 3, 4, 5]),
            (42, vec![3, 4, 5, 6]),
            (43, vec![4, 5, 6, 7])
        ]
    );
    let more = told.recv_timeout(Duration::from_millis(50));
    assert!(more.is_err(), "none is answered twice");
    drop(left);
    server.join().expect("it ends with its client");
}

#[test]
fn an_answer_that_the_process_before_was_waiting_for_is_nobodys() {
    let before = Before::new();
    // It asked three times and died; the last answer is on its way, and looks like that of a register read.
    let ids = [(); 3].map(|()| before.journal.next_id().expect("memory"));
    let access = RegionAccess {
        offset: 0x10.into(),
        region: 0.into(),
        count: 4.into(),
    };
    let late = |id| {
        let parts: [&[u8]; 2] = [access.as_bytes(), &[0xEE; 4]];
        wire::message(id, Command::RegionRead as u16, flags::REPLY, &parts)
    };
    ids.iter().for_each(|id| send(&before.server, &late(*id)));
    let (server, _told) = before.serve();
    let (_bus, mut left) = before.adopt(&Arc::default());
    let device = left.remove(0).take_up(Path::new(PATH));
    let device = device.unwrap_or_else(|e| panic!("{e}"));
    for _ in 0..10 {
        let bar = device.bar(0).expect("there");
        assert_eq!(bar.read32(0x10).expect("reads"), 0x10);
    }
    drop(device);
    server.join().expect("it ends with its client");
}

#[test]
fn a_device_whose_server_has_died_is_dropped_and_forgotten() {
    let before = Before::new();
    before
        .server
        .shutdown(std::net::Shutdown::Both)
        .expect("it is ours");
    let notes = Arc::<Notes>::default();
    let (bus, left) = before.adopt(&notes);
    assert!(left.is_empty());
    bus.forget_memory();
    assert_eq!(notes.forgotten.lock().expect("whole").len(), 3);
}

#[test]
fn a_device_that_was_switched_off_meanwhile_is_not_taken_up() {
    let before = Before::new();
    let (server, _told) = before.serve();
    let (_bus, mut left) = before.adopt(&Arc::default());
    let device = left.remove(0);
    device
        .device_for_tests()
        .config_write(4, &[0, 0])
        .expect("writes");
    let error = device.take_up(Path::new(PATH)).err().expect("it is off");
    assert!(matches!(error, OpenError::Device { .. }), "{error}");
    assert!(error.to_string().contains("it must be reset"), "{error}");
    server.join().expect("it ends with its client");
}
