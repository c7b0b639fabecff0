//! A server with the SSD behind it, and a client that speaks raw messages.

mod dma;
mod hostile;
mod regions;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sluice_vfio_user::frame::{FrameError, Message, Receiver, Sender};
use sluice_vfio_user::version::{self, Capabilities, MINOR};
use sluice_vfio_user::wire::{
    self, Command, DmaAccess, DmaMap, DmaUnmap, IrqSet, RegionAccess, flags, irq, region,
};
use zerocopy::{FromBytes, IntoBytes};

use super::ssd::SsdFunction;
use super::{Function, Server};
use crate::ssd::{NamespaceSpec, Ssd, SsdConfig};

/// Rounds after which an answer that has not come will not come.
const PATIENCE: u32 = 20_000;

fn path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("sluice-vfu-{}-{n}.sock", std::process::id()))
}

/// A server, and a client of it.
struct Pair<F: Function = SsdFunction> {
    server: Server<F>,
    path: PathBuf,
    client: Client,
}

/// A client that sends what it is told to.
struct Client {
    socket: UnixStream,
    sender: Sender,
    receiver: Receiver,
    next_id: u16,
}

impl Client {
    fn new(path: &std::path::Path) -> Self {
        let socket = UnixStream::connect(path).expect("the server listens");
        Self {
            socket,
            sender: Sender::default(),
            receiver: Receiver::default(),
            next_id: 1,
        }
    }

    fn send(&mut self, message: Vec<u8>, fds: Vec<OwnedFd>) {
        self.sender.push(message, fds);
        // The server may have hung up; what it says then is looked at when receiving.
        let _ = self.sender.flush(&self.socket);
    }

    fn poll(&mut self) -> Result<Option<Message>, FrameError> {
        let _ = self.sender.flush(&self.socket);
        self.receiver.poll(&self.socket)
    }
}

impl Pair {
    /// Connected, with nothing said.
    fn silent() -> Self {
        let ssd = Ssd::new(SsdConfig {
            namespaces: vec![NamespaceSpec::memory(16 << 20, 9)],
            vectors: 5,
            io_queues: 4,
            ..SsdConfig::default()
        });
        Self::of(SsdFunction::new(ssd.expect("in memory")))
    }

    /// Connected, VERSION said.
    fn new() -> Self {
        let mut pair = Self::silent();
        pair.hello();
        pair
    }
}

impl<F: Function> Pair<F> {
    /// A function and its client, which has said nothing.
    fn of(function: F) -> Self {
        let path = path();
        let server = Server::listen(&path, function).expect("listens");
        let client = Client::new(&path);
        Self {
            server,
            path,
            client,
        }
    }

    fn hello(&mut self) {
        let said = version::payload(MINOR, &Capabilities::OURS);
        let reply = self.call(Command::Version, &[&said], Vec::new());
        assert!(version::parse(&reply.payload).is_ok());
    }

    /// Another client takes the place of this one, and is served.
    fn next_client(&mut self) {
        self.client = Client::new(&self.path);
        self.turn(4);
        self.hello();
    }

    fn turn(&mut self, times: u32) {
        for _ in 0..times {
            self.server.turn().expect("no client makes it fail");
        }
    }

    fn post(&mut self, command: u16, flags: u32, parts: &[&[u8]], fds: Vec<OwnedFd>) -> u16 {
        let id = self.client.next_id;
        self.client.next_id += 1;
        self.client
            .send(wire::message(id, command, flags, parts), fds);
        id
    }

    /// The next message of the server; an error if it hangs up.
    fn next(&mut self) -> Result<Message, FrameError> {
        for _ in 0..PATIENCE {
            self.turn(1);
            if let Some(message) = self.client.poll()? {
                return Ok(message);
            }
        }
        panic!("nothing comes");
    }

    /// Nothing comes.
    fn quiet(&mut self) {
        for _ in 0..200 {
            self.turn(1);
            let got = self.client.poll().expect("it stays connected");
            assert!(got.is_none(), "{got:?}");
        }
    }

    /// Sends a command; its reply, whether good or not.
    fn ask(&mut self, command: Command, parts: &[&[u8]], fds: Vec<OwnedFd>) -> Message {
        let id = self.post(command as u16, 0, parts, fds);
        let reply = self.next().expect("a reply");
        assert_eq!(
            (reply.header.id.get(), reply.header.command.get()),
            (id, command as u16)
        );
        assert_eq!(reply.header.flags.get() & flags::TYPE, flags::REPLY);
        reply
    }

    /// The same; it must be good.
    fn call(&mut self, command: Command, parts: &[&[u8]], fds: Vec<OwnedFd>) -> Message {
        let reply = self.ask(command, parts, fds);
        assert_eq!(error(&reply), None, "{command:?}");
        reply
    }

    /// The same; the errno with which it is refused.
    fn refused(&mut self, command: Command, parts: &[&[u8]], fds: Vec<OwnedFd>) -> u32 {
        let reply = self.ask(command, parts, fds);
        error(&reply).unwrap_or_else(|| panic!("{command:?} was not refused"))
    }

    fn read(&mut self, index: u32, offset: u64, len: usize) -> Vec<u8> {
        let reply = self.call(
            Command::RegionRead,
            &[access(index, offset, len).as_bytes()],
            Vec::new(),
        );
        assert_eq!(reply.payload.len(), 16 + len);
        reply.payload[16..].to_vec()
    }

    fn read32(&mut self, offset: u64) -> u32 {
        u32::from_le_bytes(self.read(0, offset, 4).try_into().expect("4 bytes"))
    }

    fn write(&mut self, index: u32, offset: u64, data: &[u8]) {
        let head = access(index, offset, data.len());
        self.call(Command::RegionWrite, &[head.as_bytes(), data], Vec::new());
    }

    fn write32(&mut self, offset: u64, value: u32) {
        self.write(0, offset, &value.to_le_bytes());
    }

    /// Memory space and bus mastering on or off.
    fn master(&mut self, on: bool) {
        self.write(region::CONFIG, 4, &[if on { 6 } else { 2 }, 0]);
    }

    /// The server's request for DMA: whether it writes, where, and how much or what.
    fn dma(&mut self) -> (Message, DmaAccess, Vec<u8>) {
        let message = self.next().expect("a request");
        assert_eq!(message.header.flags.get() & flags::TYPE, 0, "{message:?}");
        let (access, data) = DmaAccess::read_from_prefix(&message.payload).expect("an access");
        let data = data.to_vec();
        (message, access, data)
    }

    /// Answers it.
    fn answer(&mut self, request: &Message, parts: &[&[u8]]) {
        let header = &request.header;
        let reply = wire::message(header.id.get(), header.command.get(), flags::REPLY, parts);
        self.client.send(reply, Vec::new());
        self.turn(4);
    }

    fn refuse(&mut self, request: &Message) {
        self.client.send(
            wire::error_reply(&request.header, wire::errno::EFAULT),
            Vec::new(),
        );
        self.turn(4);
    }
}

fn error(message: &Message) -> Option<u32> {
    (message.header.flags.get() & flags::ERROR != 0).then(|| message.header.error.get())
}

fn access(index: u32, offset: u64, len: usize) -> RegionAccess {
    RegionAccess {
        offset: offset.into(),
        region: index.into(),
        count: (len as u32).into(),
    }
}

fn map(address: u64, size: u64, offset: u64) -> DmaMap {
    DmaMap {
        argsz: 32.into(),
        flags: 3.into(),
        offset: offset.into(),
        address: address.into(),
        size: size.into(),
    }
}

fn unmap(address: u64, size: u64) -> DmaUnmap {
    DmaUnmap {
        argsz: 24.into(),
        flags: 0.into(),
        address: address.into(),
        size: size.into(),
    }
}

fn irqs(flags: u32, index: u32, start: u32, count: u32) -> IrqSet {
    IrqSet {
        argsz: 20.into(),
        flags: flags.into(),
        index: index.into(),
        start: start.into(),
        count: count.into(),
    }
}

const ARM: u32 = irq::DATA_EVENTFD | irq::ACTION_TRIGGER;
