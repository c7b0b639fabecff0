//! The machine and a host over a link that loses, duplicates, reorders and damages: NVMe commands with verified data, and two
//! machines that send to each other. Each run is made by its seed, which a failure prints.

mod support;

use sluice_hal::{Micros, PmAddr, PmSlice, layout};
use sluice_rdma::{
    Event, Link, Open, QpId, Stats, Work,
    nvme::{self, Data, Queue, Transfer},
};
use sluice_wire::{
    nvme::{SglDescriptor, SglKind, Sqe},
    nvme_rdma::{Keyed, LAST_SEGMENT_OFFSET},
    roce::{self, PathMtu},
};
use std::collections::{HashMap, VecDeque};
use support::{
    Card, Machine, SEND_PSN, config,
    host::{Host, Region},
    open,
    wire::{Faults, Wire},
};
use zerocopy::IntoBytes;

const DEPTH: usize = 8;
const SLOT: u32 = 64 << 10;
const COMMANDS: u16 = 40;
const FAULTS: Faults = Faults {
    loss: 50,
    duplication: 50,
    reordering: 50,
    damage: 20,
    marks: 20,
};

fn pattern(cid: u16, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| {
            (i as u32)
                .wrapping_mul(2_654_435_761)
                .wrapping_add(u32::from(cid) * 77) as u8
                ^ (i >> 8) as u8
        })
        .collect()
}

/// Work that found no place yet.
struct Waiting {
    work: Work,
    pieces: Vec<PmSlice>,
    token: u32,
}

/// A command on the card.
struct Command {
    cid: u16,
    transfer: Option<Transfer>,
    /// READ operations whose data have not all come.
    reads: usize,
    /// Work requests not released.
    tokens: usize,
    answered: bool,
}

/// The target in a few lines: moves data as commands say, checks what hosts write.
struct Target {
    rc: Machine,
    card: Card,
    id: QpId,
    queue: Queue,
    slots: Vec<Option<Command>>,
    waiting: VecDeque<Waiting>,
    /// READ tokens: slot and where their data begin.
    reads: HashMap<u32, (usize, u32)>,
    next_token: u32,
}

impl Target {
    fn slot_at(slot: usize) -> PmAddr {
        PmAddr(layout::PAGES_BASE + slot as u32 * (SLOT + 4096))
    }

    fn post(&mut self, slot: usize, work: Work, pieces: Vec<PmSlice>) {
        let token = self.next_token << 4 | slot as u32;
        self.next_token += 1;
        if let Work::Read(_) = work {
            let offset = pieces[0].addr.0 - Self::slot_at(slot).0;
            self.reads.insert(token, (slot, offset));
            self.waiting.push_back(Waiting {
                work,
                pieces: vec![],
                token,
            });
        } else {
            self.waiting.push_back(Waiting {
                work,
                pieces,
                token,
            });
        }
        self.slots[slot].as_mut().expect("in use").tokens += 1;
    }

    fn post_waiting(&mut self) {
        while let Some(w) = self.waiting.front() {
            if self.rc.post(self.id, w.work, &w.pieces, w.token).is_err() {
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// Takes complete messages as commands.
    fn commands(&mut self, wire: &mut Wire) {
        while let Some(len) = self.rc.message_len(self.id) {
            let Some(slot) = self.slots.iter().position(Option::is_none) else {
                return;
            };
            let capsule = nvme::capsule(len).expect("long enough");
            let bytes: Vec<u8> = self
                .rc
                .pieces(self.id)
                .flat_map(|p| self.card.bytes(p).to_vec())
                .collect();
            self.rc.consume(self.id, |buf| self.card.free(buf));
            self.queue.begin().expect("within HSQSIZE");
            let (sqe, rest) = bytes.split_first_chunk::<64>().expect("a command");
            let cid = Sqe::view(sqe).cid.get();
            let to_host = Sqe::view(sqe).opcode == 2;
            let mut command = Command {
                cid,
                transfer: None,
                reads: 0,
                tokens: 0,
                answered: false,
            };
            match nvme::data(sqe, capsule).expect("a right command") {
                Data::None => {}
                Data::InCapsule { offset, len } => {
                    assert_eq!(
                        rest[offset as usize..][..len as usize],
                        pattern(cid, len as usize)
                    );
                }
                Data::Keyed(transfer) => command.transfer = Some(transfer),
                Data::Descriptors { offset, count } => {
                    let list: Vec<SglDescriptor> = rest[offset as usize..]
                        .chunks_exact(16)
                        .take(usize::from(count))
                        .map(|d| zerocopy::FromBytes::read_from_bytes(d).expect("16 bytes"))
                        .collect();
                    command.transfer = Some(Transfer::of(&list).expect("keyed"));
                }
            }
            self.slots[slot] = Some(command);
            self.start(slot, to_host, wire);
        }
    }

    fn start(&mut self, slot: usize, to_host: bool, wire: &mut Wire) {
        let command = self.slots[slot].as_ref().expect("in use");
        let (cid, base) = (command.cid, Self::slot_at(slot));
        let Some(transfer) = command.transfer.clone() else {
            return self.respond(slot);
        };
        if to_host {
            self.card
                .write(base, &pattern(cid, transfer.len() as usize));
        }
        let mut at = 0;
        while let Some(remote) = transfer.piece(at, 1 + wire.below(32 << 10)) {
            let whole = PmSlice::new(base.plus(at), remote.len);
            at += remote.len;
            if to_host {
                let (va, rkey) = (remote.va, remote.rkey);
                // In pieces, as pages would be.
                let (first, rest) = whole.split(wire.below(remote.len));
                let (second, third) = rest.split(wire.below(4096));
                self.post(slot, Work::Write { va, rkey }, vec![first, second, third]);
            } else {
                self.slots[slot].as_mut().expect("in use").reads += 1;
                self.post(slot, Work::Read(remote), vec![whole]);
            }
        }
        if to_host || at == 0 {
            self.respond(slot);
        }
    }

    fn respond(&mut self, slot: usize) {
        let head = self.queue.finish();
        let command = self.slots[slot].as_mut().expect("in use");
        command.answered = true;
        let work = command
            .transfer
            .as_ref()
            .map_or(Work::Send, Transfer::response);
        let at = Self::slot_at(slot).plus(SLOT);
        let cqe = [
            [0, 0, 0, 0],
            [0; 4],
            [head as u8, 0, 0, 0],
            [command.cid as u8, (command.cid >> 8) as u8, 0, 0],
        ];
        self.card.write(at, cqe.as_flattened());
        self.rc.post_receives(self.id, 1);
        self.post(slot, work, vec![PmSlice::new(at, 16)]);
    }

    fn take(&mut self, now: Micros, frame: &[u8]) {
        let Some(rx) = self.card.receive(frame, now) else {
            return;
        };
        let Some(data) = self.rc.input(now, &rx, &mut self.card) else {
            return;
        };
        let (slot, base) = self.reads[&data.token];
        let bytes = self.card.bytes(data.slice).to_vec();
        self.card
            .write(Self::slot_at(slot).plus(base + data.offset), &bytes);
        Link::free(&mut self.card, data.buf);
        if data.last {
            self.reads.remove(&data.token);
            let command = self.slots[slot].as_mut().expect("in use");
            command.reads -= 1;
            if command.reads == 0 {
                let len = command.transfer.as_ref().expect("has data").len();
                let got = self.card.bytes(PmSlice::new(Self::slot_at(slot), len));
                assert_eq!(got, pattern(command.cid, len as usize), "written data");
                self.respond(slot);
            }
        }
    }

    fn step(&mut self, now: Micros, wire: &mut Wire) {
        while let Some((_, event)) = self.rc.poll_event() {
            assert!(!matches!(event, Event::Closed(_)), "{event:?}");
        }
        while let Some(released) = self.rc.poll_released() {
            assert!(released.done);
            let slot = released.token as usize & 15;
            let command = self.slots[slot].as_mut().expect("in use");
            command.tokens -= 1;
            if command.tokens == 0 && command.answered {
                self.slots[slot] = None;
            }
        }
        self.commands(wire);
        self.post_waiting();
        self.rc.handle_timeouts(now, &mut self.card);
        self.rc.poll_transmit(now, &mut self.card);
        for frame in self.card.sent.drain(..) {
            wire.send(now, false, frame);
        }
    }
}

/// What the host waits for.
struct Asked {
    read: bool,
    len: usize,
    keys: Vec<u32>,
    invalidate: Option<u32>,
}

/// Issues commands and checks their outcome.
struct Initiator {
    host: Host,
    asked: HashMap<u16, Asked>,
    next: u16,
    done: u16,
    key: u32,
}

impl Initiator {
    fn issue(&mut self, now: Micros, wire: &mut Wire) {
        while self.asked.len() < DEPTH && self.next < COMMANDS {
            let cid = self.next;
            self.next += 1;
            let read = wire.below(2) == 0;
            let mut sqe = Sqe::new(if read { 2 } else { 1 }, cid, 1);
            let len = match wire.below(8) {
                0..=2 => 1 + wire.below(600),
                3..=6 => 4096,
                _ => 1 + wire.below(SLOT - 1),
            } as usize;
            let mut asked = Asked {
                read,
                len,
                keys: vec![],
                invalidate: None,
            };
            let mut capsule = vec![];
            match wire.below(5) {
                0 => {
                    sqe.set_sgl(Keyed::default().descriptor());
                    asked.len = 0;
                }
                1 if !read => {
                    asked.len = len.min(3000);
                    sqe.set_sgl(SglDescriptor::new(SglKind::Offset, 0, asked.len as u32));
                    capsule = pattern(cid, asked.len);
                }
                kind => {
                    let pieces = if kind == 2 {
                        1 + wire.below(4) as usize
                    } else {
                        1
                    };
                    let invalidate = wire.below(2) == 0;
                    let list = self.register(cid, &mut asked, pieces, invalidate);
                    if let [one] = list[..] {
                        sqe.set_sgl(one);
                    } else {
                        let mut segment =
                            SglDescriptor::new(SglKind::Offset, 0, 16 * list.len() as u32);
                        segment.id = LAST_SEGMENT_OFFSET;
                        sqe.set_sgl(segment);
                        capsule = list.as_bytes().to_vec();
                    }
                }
            }
            self.host.receives += 1;
            self.host.send(now, &[&sqe.bytes()[..], &capsule].concat());
            self.asked.insert(cid, asked);
        }
    }

    fn register(
        &mut self,
        cid: u16,
        asked: &mut Asked,
        pieces: usize,
        invalidate: bool,
    ) -> Vec<SglDescriptor> {
        let data = pattern(cid, asked.len);
        let each = asked.len.div_ceil(pieces);
        let mut list = vec![];
        for (i, part) in data.chunks(each).enumerate() {
            self.key += 1;
            let va = u64::from(self.key) << 20 | 0xe00;
            let bytes = if asked.read {
                vec![0; part.len()]
            } else {
                part.to_vec()
            };
            self.host.regions.insert(self.key, Region { va, bytes });
            let invalidate = invalidate && i == 0;
            asked.keys.push(self.key);
            if invalidate {
                asked.invalidate = Some(self.key);
            }
            list.push(
                Keyed {
                    va,
                    len: part.len() as u32,
                    rkey: self.key,
                    invalidate,
                }
                .descriptor(),
            );
        }
        list
    }

    fn responses(&mut self) {
        while let Some((response, invalidated)) = self.host.messages.pop_front() {
            assert_eq!(response.len(), 16);
            let cid = u16::from_le_bytes([response[12], response[13]]);
            let asked = self.asked.remove(&cid).expect("answered once");
            assert_eq!(invalidated, asked.invalidate, "key of command {cid}");
            let mut data = vec![];
            for key in asked.keys {
                data.extend(self.host.regions.remove(&key).expect("registered").bytes);
            }
            if asked.read {
                assert!(
                    data == pattern(cid, asked.len)[..data.len()],
                    "read data of command {cid}"
                );
            }
            self.done += 1;
        }
    }
}

fn is_right(frame: &[u8]) -> bool {
    let len = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let packet = &frame[14..14 + len];
    let (rest, icrc) = packet.split_last_chunk::<4>().expect("long enough");
    roce::icrc(rest) == Some(u32::from_le_bytes(*icrc))
}

fn run(seed: u64, faults: Faults) -> Stats {
    let mut wire = Wire::new(seed, faults);
    let mtu = PathMtu::from_code(1 + (seed % 5) as u8).expect("1 to 5");
    let opened = Open {
        mtu,
        receives: DEPTH as u16,
        retries: 7,
        ..open()
    };
    let mut card = Card::new(seed);
    let mut rc = Machine::new();
    rc.configure(&config());
    let (id, end) = rc.open(&opened, &mut card).expect("room");
    let mut target = Target {
        rc,
        card,
        id,
        queue: Queue::new(DEPTH as u16),
        slots: (0..DEPTH + 4).map(|_| None).collect(),
        waiting: VecDeque::new(),
        reads: HashMap::new(),
        next_token: 0,
    };
    let mut host = Initiator {
        host: Host::new(end.qpn, end.psn, SEND_PSN, mtu.bytes() as usize),
        asked: HashMap::new(),
        next: 0,
        done: 0,
        key: 0x100,
    };
    let mut now = Micros(0);
    loop {
        host.issue(now, &mut wire);
        while let Some((to_card, frame)) = wire.arrived(now) {
            if to_card {
                target.take(now, &frame);
            } else if is_right(&frame) {
                host.host.receive(now, &frame);
                host.responses();
            }
        }
        host.host.timeout(now);
        target.step(now, &mut wire);
        for frame in core::mem::take(&mut host.host.out) {
            wire.send(now, true, frame);
        }
        let idle = host.done == COMMANDS
            && host.host.is_idle()
            && target.slots.iter().all(Option::is_none);
        if idle && wire.next_at().is_none() {
            break;
        }
        let next = [wire.next_at(), target.rc.deadline(), host.host.deadline];
        now = next
            .into_iter()
            .flatten()
            .min()
            .expect("something is due")
            .max(now.after(1));
        assert!(
            now < Micros(60_000_000),
            "hangs: {} of {COMMANDS} done, {:?}",
            host.done,
            target.rc.stats()
        );
    }
    assert!(target.card.held.is_empty(), "frame buffers");
    assert_eq!(target.rc.work_room(), 64);
    target.rc.close(id, &mut target.card);
    *target.rc.stats()
}

/// Runs `play` for each seed and names the one that fails.
fn seeds(count: u64, play: impl Fn(u64)) {
    for seed in 0..count {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(seed)));
        if let Err(panic) = outcome {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn commands_and_their_data_survive_a_bad_link() {
    let total = std::cell::Cell::new([0; 9]);
    seeds(200, |seed| {
        let s = run(seed, FAULTS);
        let seen = [
            s.duplicates,
            s.gaps,
            s.sequence_naks,
            s.resent,
            s.timeouts,
            s.naks_received,
            s.rereads,
            s.stale,
            s.cnps_sent,
        ];
        let sum = total.get();
        total.set(std::array::from_fn(|i| sum[i] + seen[i]));
    });
    let total = total.get();
    assert!(
        total.iter().all(|n| *n > 100),
        "every way of recovery was gone: {total:?}"
    );
}

#[test]
fn commands_and_their_data_pass_a_clean_link_without_repetition() {
    let clean = Faults {
        loss: 0,
        duplication: 0,
        reordering: 0,
        damage: 0,
        marks: 0,
    };
    seeds(10, |seed| {
        let s = run(seed, clean);
        let wasted = [
            s.duplicates,
            s.gaps,
            s.resent,
            s.timeouts,
            s.rereads,
            s.stale,
            s.rnr_naks,
        ];
        assert_eq!(wasted, [0; 7]);
    });
}

/// One side of [`exchange`].
struct Side {
    rc: Machine,
    card: Card,
    id: QpId,
    sent: u32,
    released: u32,
    received: u32,
}

fn side(seed: u64, send_psn: u32, receive_psn: u32) -> Side {
    let mut card = Card::new(seed);
    let mut rc = Machine::new();
    rc.configure(&config());
    // Entropy that both know beforehand.
    card.entropy = [0x1230_0000, receive_psn].into();
    let open = Open {
        remote_qpn: 3 << 20 | 0x123 << 8,
        send_psn,
        receives: 4,
        retries: 7,
        rnr_retries: 7,
        ..open()
    };
    let (id, end) = rc.open(&open, &mut card).expect("room");
    assert_eq!((end.qpn, end.psn), (open.remote_qpn, receive_psn));
    Side {
        rc,
        card,
        id,
        sent: 0,
        released: 0,
        received: 0,
    }
}

fn exchange(seed: u64) {
    let mut wire = Wire::new(seed, FAULTS);
    let mut sides = [
        side(seed * 2, 0xff_fff0, 0xff_fff8),
        side(seed * 2 + 1, 0xff_fff8, 0xff_fff0),
    ];
    let mut now = Micros(0);
    const MESSAGES: u32 = 30;
    loop {
        while let Some((to_a, frame)) = wire.arrived(now) {
            let s = &mut sides[usize::from(!to_a)];
            if let Some(rx) = s.card.receive(&frame, now) {
                assert!(s.rc.input(now, &rx, &mut s.card).is_none());
            }
        }
        for (i, s) in sides.iter_mut().enumerate() {
            while s.rc.message_len(s.id).is_some() && wire.below(3) != 0 {
                let bytes: Vec<u8> =
                    s.rc.pieces(s.id)
                        .flat_map(|p| s.card.bytes(p).to_vec())
                        .collect();
                assert!(
                    bytes == pattern(s.received as u16, bytes.len()),
                    "message {}",
                    s.received
                );
                s.received += 1;
                s.rc.consume(s.id, |buf| s.card.free(buf));
                s.rc.post_receives(s.id, 1);
            }
            if s.sent < MESSAGES && s.sent - s.released < 8 {
                let len = wire.below(4160);
                let at = PmAddr(layout::PAGES_BASE + (s.sent % 16) * 8192);
                s.card.write(at, &pattern(s.sent as u16, len as usize));
                s.rc.post(s.id, Work::Send, &[PmSlice::new(at, len)], s.sent)
                    .expect("room");
                s.sent += 1;
            }
            while let Some(released) = s.rc.poll_released() {
                assert_eq!((released.token, released.done), (s.released, true));
                s.released += 1;
            }
            while let Some((_, event)) = s.rc.poll_event() {
                assert!(
                    !matches!(event, Event::Closed(_)),
                    "{event:?} {:?}",
                    s.rc.stats()
                );
            }
            s.rc.handle_timeouts(now, &mut s.card);
            s.rc.poll_transmit(now, &mut s.card);
            for frame in s.card.sent.drain(..) {
                wire.send(now, i == 1, rewrite(frame));
            }
        }
        if sides
            .iter()
            .all(|s| s.released == MESSAGES && s.received == MESSAGES)
            && wire.next_at().is_none()
        {
            break;
        }
        let next = [
            wire.next_at(),
            sides[0].rc.deadline(),
            sides[1].rc.deadline(),
        ];
        now = next
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now.after(10))
            .max(now.after(1))
            .min(now.after(100));
        assert!(now < Micros(60_000_000), "hangs");
    }
    assert!(sides.iter().all(|s| s.card.held.is_empty()));
}

/// A frame as if the host had sent it, ICRC right if it was.
fn rewrite(mut frame: Vec<u8>) -> Vec<u8> {
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[24..26].fill(0);
    let sum = sluice_wire::checksum::Sum::default()
        .bytes(&frame[14..34])
        .finish();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let at = frame.len() - 4;
    let icrc = roce::icrc(&frame[14..at]).expect("RoCE");
    frame[at..].copy_from_slice(&icrc.to_le_bytes());
    frame
}

#[test]
fn two_machines_exchange_messages_over_a_bad_link() {
    seeds(200, exchange);
}
