//! A small target for the initiator's own tests: the firmware's [`Session`] over a second smoltcp, a disk in memory.

use std::collections::{BTreeMap, VecDeque};

use sluice_nvme_tcp::{
    C2hEnd, Event, H2cData, Limits, PduBuf, Session, Step, Violation, Want, WriteTransfer,
};
use sluice_wire::{
    crc32c::crc32c,
    fabrics::{self, FabricsType},
    nvme::{Cqe, Sqe, Status},
};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    socket::tcp,
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr},
};

use super::{
    net::{Wire, instant},
    test_disk::Disk,
};
use crate::{fabric::Clock, link::Frames};

/// What the target does differently from the simplest.
#[derive(Clone, Copy)]
pub(super) struct Quirks {
    pub limits: Limits,
    /// C2HData and R2Ts cover at most this much.
    pub piece: usize,
    /// Never SUCCESS in C2HData.
    pub always_respond: bool,
    /// Break the data digest of the first C2HData.
    pub bad_digest: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            piece: 64 << 10,
            always_respond: false,
            bad_digest: false,
        }
    }
}

/// Where payload goes.
enum Payload {
    None,
    Capsule(Sqe, Vec<u8>),
    Solicited(u16, usize, Vec<u8>),
}

struct Write {
    sqe: Sqe,
    data: Vec<u8>,
    transfer: WriteTransfer,
    broken: bool,
}

struct Conn {
    handle: SocketHandle,
    session: Session,
    outgoing: VecDeque<u8>,
    payload: Payload,
    writes: BTreeMap<u16, Write>,
    next_ttag: u16,
    flow_control: bool,
    io: bool,
    answered: u16,
    closing: bool,
}

pub(super) struct Target {
    iface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    conns: Vec<Conn>,
    shared: Shared,
}

/// What commands work on.
struct Shared {
    quirks: Quirks,
    disk: Disk,
    violations: Vec<Violation>,
}

impl Target {
    /// 10.0.0.2, listening on 4420.
    pub(super) fn new(mtu: u16, quirks: Quirks) -> Self {
        let mut wire = Wire::new(mtu);
        let mac = EthernetAddress([2, 0, 0, 0, 0, 2]);
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = 99;
        let mut iface = Interface::new(config, &mut wire, Instant::ZERO);
        iface.update_ip_addrs(|ips| {
            ips.push(IpCidr::new(IpAddress::v4(10, 0, 0, 2), 24))
                .expect("one");
            ips.push(IpCidr::new(IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 2), 64))
                .expect("two");
        });
        let shared = Shared {
            quirks,
            disk: Disk::new(quirks.limits.in_capsule_io),
            violations: vec![],
        };
        let mut target = Self {
            iface,
            sockets: SocketSet::new(vec![]),
            wire,
            conns: vec![],
            shared,
        };
        for _ in 0..8 {
            target.listen();
        }
        target
    }

    fn listen(&mut self) {
        let buffer = || tcp::SocketBuffer::new(vec![0; 512 << 10]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.listen(4420).expect("a port");
        socket.set_nagle_enabled(false);
        let handle = self.sockets.add(socket);
        self.conns.push(Conn {
            handle,
            session: Session::new(&self.shared.quirks.limits),
            outgoing: VecDeque::new(),
            payload: Payload::None,
            writes: BTreeMap::new(),
            next_ttag: 7,
            flow_control: true,
            io: false,
            answered: 0,
            closing: false,
        });
    }

    pub(super) fn poll(&mut self, now: Clock, out: &mut Frames, incoming: &mut Frames) {
        while incoming.front().is_some_and(|(at, _)| *at <= now) {
            self.wire
                .rx
                .extend(incoming.pop_front().map(|(_, frame)| frame));
        }
        loop {
            self.iface
                .poll(instant(now), &mut self.wire, &mut self.sockets);
            let mut moved = false;
            for conn in &mut self.conns {
                moved |= conn.advance(self.sockets.get_mut(conn.handle), &mut self.shared);
            }
            if !moved {
                break;
            }
        }
        out.extend(self.wire.tx.drain(..).map(|frame| (now, frame)));
    }

    pub(super) fn violations(&self) -> &[Violation] {
        &self.shared.violations
    }

    pub(super) fn keep_alives(&self) -> u32 {
        self.shared.disk.keep_alives
    }

    pub(super) fn disk(&self) -> &[u8] {
        &self.shared.disk.bytes
    }
}

impl Conn {
    fn advance(&mut self, socket: &mut tcp::Socket<'static>, shared: &mut Shared) -> bool {
        let mut moved = false;
        while socket.can_recv() && !self.closing {
            match self.receive(socket, shared) {
                Some(()) => moved = true,
                None => break,
            }
        }
        while socket.can_send() && !self.outgoing.is_empty() {
            let sent = socket.send_slice(self.outgoing.as_slices().0).unwrap_or(0);
            self.outgoing.drain(..sent);
            moved |= sent > 0;
        }
        let host_gone = socket.state() == tcp::State::CloseWait;
        if (self.closing || host_gone) && self.outgoing.is_empty() && socket.may_send() {
            socket.close();
            moved = true;
        }
        moved
    }

    /// One step of the session; `None` if it wants nothing any more.
    fn receive(&mut self, socket: &mut tcp::Socket<'static>, shared: &mut Shared) -> Option<()> {
        let step = match self.session.want() {
            Want::Header(into) => {
                let n = socket.recv_slice(into).ok()?;
                self.session.filled(n, crc32c)
            }
            Want::Data { left } => {
                let payload = &mut self.payload;
                let n = socket
                    .recv(|bytes| {
                        let n = bytes.len().min(left as usize);
                        if let Payload::Capsule(_, to) | Payload::Solicited(_, _, to) = payload {
                            to.extend_from_slice(&bytes[..n]);
                        }
                        (n, n)
                    })
                    .ok()?;
                self.session.moved(n as u32)
            }
            Want::Closed => return None,
        };
        let mut out = PduBuf::new();
        match step {
            Step::More => {}
            Step::Event(Event::IcReq) => {
                let len = self.session.ic_resp(&mut out);
                self.outgoing.extend(out.bytes(len));
            }
            Step::Event(Event::Command { sqe, in_capsule }) => {
                let sqe = *Sqe::view(sluice_nvme_tcp::sqe_bytes(sqe));
                self.command(sqe, in_capsule, shared);
            }
            Step::Event(Event::H2cData(data)) => {
                if let Err(violation) = self.solicited(&data) {
                    self.die(violation, shared);
                }
            }
            Step::Event(Event::DataDone { digest }) => self.data_done(digest, shared),
            Step::Event(Event::HostTerminated { .. }) => self.closing = true,
            Step::Fatal(violation) => self.die(violation, shared),
        }
        Some(())
    }

    fn die(&mut self, violation: Violation, shared: &mut Shared) {
        shared.violations.push(violation);
        let mut out = PduBuf::new();
        let len = self.session.terminate(violation, &mut out);
        self.outgoing.extend(out.bytes(len));
        self.closing = true;
    }

    fn command(&mut self, sqe: Sqe, in_capsule: u32, shared: &mut Shared) {
        let total = sqe.sgl().length.get();
        let writes = sqe.opcode & 3 == 1 && total != 0 && sqe.opcode != fabrics::OPCODE;
        if in_capsule != 0 {
            self.payload = Payload::Capsule(sqe, vec![]);
        } else if writes {
            let ttag = self.next_ttag;
            self.next_ttag = self.next_ttag.wrapping_add(1);
            let transfer = WriteTransfer::new(sqe.cid.get(), total);
            self.writes.insert(
                ttag,
                Write {
                    sqe,
                    data: vec![0; total as usize],
                    transfer,
                    broken: false,
                },
            );
            self.ask(ttag, shared);
        } else {
            self.execute(&sqe, &[], shared);
        }
    }

    fn ask(&mut self, ttag: u16, shared: &Shared) {
        let Some(write) = self.writes.get_mut(&ttag) else {
            return;
        };
        if let Some(range) = write.transfer.next_r2t(shared.quirks.piece as u32) {
            let mut out = PduBuf::new();
            let len = self
                .session
                .r2t(write.sqe.cid.get(), ttag, range, &mut out, crc32c);
            self.outgoing.extend(out.bytes(len));
        }
    }

    fn solicited(&mut self, data: &H2cData) -> Result<(), Violation> {
        let write = self
            .writes
            .get_mut(&data.ttag)
            .ok_or(Violation::UNKNOWN_TTAG)?;
        write.transfer.check(data)?;
        self.payload = Payload::Solicited(data.ttag, data.offset as usize, vec![]);
        Ok(())
    }

    fn data_done(&mut self, digest: Option<u32>, shared: &mut Shared) {
        match std::mem::replace(&mut self.payload, Payload::None) {
            Payload::None => panic!("data for nothing"),
            Payload::Capsule(sqe, data) => {
                if digest.is_some_and(|digest| digest != crc32c(&data)) {
                    return self.respond(&sqe, Status::TRANSIENT_TRANSPORT, 0);
                }
                self.execute(&sqe, &data, shared);
            }
            Payload::Solicited(ttag, offset, data) => {
                let Some(write) = self.writes.get_mut(&ttag) else {
                    return;
                };
                write.broken |= digest.is_some_and(|digest| digest != crc32c(&data));
                write.data[offset..offset + data.len()].copy_from_slice(&data);
                if !write.transfer.is_complete() {
                    return self.ask(ttag, shared);
                }
                let Some(write) = self.writes.remove(&ttag) else {
                    return;
                };
                if write.broken {
                    return self.respond(&write.sqe, Status::TRANSIENT_TRANSPORT, 0);
                }
                self.execute(&write.sqe, &write.data, shared);
            }
        }
    }

    fn respond(&mut self, sqe: &Sqe, status: Status, result: u64) {
        self.answered = self.answered.wrapping_add(1);
        let mut cqe = Cqe {
            result: result.into(),
            cid: sqe.cid,
            ..Cqe::default()
        };
        if self.flow_control {
            cqe.sq_head.set(self.answered % 32);
        }
        cqe.set_status(status, false);
        let words: [u32; 4] = zerocopy::transmute!(cqe);
        let mut out = PduBuf::new();
        let len = self.session.capsule_resp(&words, &mut out, crc32c);
        self.outgoing.extend(out.bytes(len));
    }

    fn send_data(&mut self, sqe: &Sqe, data: &[u8], shared: &mut Shared) {
        let success = !self.flow_control && !shared.quirks.always_respond;
        let piece = shared.quirks.piece;
        let mut out = PduBuf::new();
        for (i, part) in data.chunks(piece).enumerate() {
            let last = i * piece + part.len() == data.len();
            let end = match (last, success) {
                (false, _) => C2hEnd::More,
                (true, false) => C2hEnd::Last,
                (true, true) => C2hEnd::Success,
            };
            let (cid, at) = (sqe.cid.get(), (i * piece) as u32);
            let len = self
                .session
                .c2h_data(cid, at, part.len() as u32, end, &mut out, crc32c);
            self.outgoing.extend(out.bytes(len));
            self.outgoing.extend(part);
            if self.session.data_digest() {
                let wrong = u32::from(std::mem::take(&mut shared.quirks.bad_digest));
                self.outgoing.extend((crc32c(part) ^ wrong).to_le_bytes());
            }
        }
        if !success {
            self.respond(sqe, Status::SUCCESS, 0);
        }
    }

    fn execute(&mut self, sqe: &Sqe, data: &[u8], shared: &mut Shared) {
        if fabrics::fctype(sqe) == Some(FabricsType::Connect) && sqe.opcode == fabrics::OPCODE {
            self.flow_control = sqe.bytes()[46] & fabrics::CATTR_NO_FLOW_CONTROL == 0;
            self.io = sqe.cdw10.get() >> 16 != 0;
            if self.io {
                self.session.set_io_queue();
            }
        }
        let answer = shared.disk.execute(self.io, sqe, data);
        if answer.data.is_empty() {
            self.respond(sqe, answer.status, answer.result);
        } else {
            self.send_data(sqe, &answer.data, shared);
        }
    }
}
