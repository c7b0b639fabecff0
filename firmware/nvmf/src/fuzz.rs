//! Entry point for the fuzzer: bytes become a history of hosts, connections, commands, time and configuration.
//! Whatever comes, nothing may panic and these hold: every command that must be answered is answered at most once,
//! data fits what the host asked for, GENCTR never falls, and when all connections are gone so are all controllers.

use crate::{
    Action, DataSink, EVENT_REQUESTS, Limits, NamespaceTable, NamespaceUpdate, Outbox, QueueKey,
    Target, Usage, Via, io, transfer,
};
use heapless::Vec;
use sluice_hal::Micros;
use sluice_wire::{
    fabrics::{ConnectData, DISCOVERY_NQN},
    mgmt::{NQN_SIZE, NamespaceConfig, PortConfig, SubsystemConfig, transports},
    nvme::Sqe,
};
use zerocopy::{FromZeros, IntoBytes};

const NAMES: [&[u8]; 3] = [
    b"nqn.2026-11.test:sub1",
    b"nqn.2026-11.test:sub2",
    DISCOVERY_NQN,
];
const HOSTS: [&[u8]; 2] = [b"nqn.2026-11.test:host1", b"nqn.2026-11.test:host2"];

struct Length {
    written: u32,
}

impl DataSink for Length {
    fn write(&mut self, offset: u32, bytes: &[u8]) {
        assert_eq!(offset, self.written);
        self.written += bytes.len() as u32;
    }
}

/// Connections that exist, and CNTLIDs seen.
struct World {
    open: Vec<QueueKey, 64>,
    told: Vec<QueueKey, 64>,
    table: NamespaceTable,
    cntlid: u16,
    answers: u32,
    /// Actions since the last call.
    pushed: usize,
    subsystem: u8,
    reached: Reached,
}

impl Outbox for World {
    fn push(&mut self, action: Action) {
        self.pushed += 1;
        match action {
            Action::Complete {
                key,
                status,
                result,
                ..
            } => {
                assert!(self.open.contains(&key), "an answer for nobody");
                self.answers += 1;
                self.reached.successes += u32::from(status.is_ok());
                self.reached.events += u32::from(result & 0xff_0007 == 0x04_0002);
            }
            Action::QueueReady(ready) => {
                assert!(self.open.contains(&ready.key));
                self.cntlid = ready.cntlid;
                self.reached.admin_queues += u32::from(ready.qid == 0);
                self.reached.io_queues += u32::from(ready.qid != 0);
                self.subsystem = ready.subsystem;
            }
            Action::QueueClose { key, .. } => {
                assert!(!self.told.contains(&key), "told twice");
                let _bounded = self.told.push(key);
            }
            Action::Namespace(update) => {
                self.table.apply(&NamespaceUpdate::decode(&update.encode()))
            }
            Action::ControllerLive { .. } | Action::Event(..) => {}
        }
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, into: &mut [u8]) {
        for b in into {
            *b = self.byte().unwrap_or(0);
        }
    }
}

/// Plays one history.
///
/// # Panics
/// When the target breaks one of the promises above.
pub fn fuzz_one(data: &[u8]) {
    play(data);
}

/// How far a history came.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Reached {
    pub admin_queues: u32,
    pub io_queues: u32,
    pub successes: u32,
    pub events: u32,
    pub io_commands: u32,
}

pub(crate) fn play(data: &[u8]) -> Reached {
    let mut target = Target::new(Limits {
        admin_data: 8192,
        ..Limits::DEFAULT
    });
    let mut world = World {
        open: Vec::new(),
        told: Vec::new(),
        pushed: 0,
        table: NamespaceTable::new(),
        cntlid: 0xffff,
        answers: 0,
        subsystem: 0,
        reached: Reached::default(),
    };
    let mut input = Input(data);
    let mut clock = Clock {
        now: Micros(0),
        next_key: 0,
    };
    let mut generation = 0;
    configure(&mut target, &mut world);
    while let Some(what) = input.byte() {
        world.pushed = 0;
        step(what, &mut input, &mut target, &mut world, &mut clock);
        assert!(world.pushed <= crate::MOST_ACTIONS);
        while let Some(close) = target.next_close() {
            world.push(close);
        }
        assert!(target.generation >= generation);
        generation = target.generation;
        assert!(
            target
                .controllers
                .iter()
                .all(|c| c.event_requests.len() <= EVENT_REQUESTS)
        );
    }
    while let Some(key) = world.open.last().copied() {
        target.connection_closed(clock.now, key, &mut world);
        world.open.pop();
    }
    assert_eq!(target.controllers_in_use(), 0, "an association leaked");
    assert!(target.connections.is_empty());
    world.reached
}

fn configure(target: &mut Target, world: &mut World) {
    let mut port = PortConfig::new_zeroed();
    port.ipv4 = [10, 0, 0, 2];
    port.ipv6 = [0xfd; 16];
    port.rdma_port.set(4420);
    let _ok = target.port_set(0, &port, world);
    for (at, name) in (0..).zip(&NAMES[..2]) {
        let mut config = SubsystemConfig::new_zeroed();
        config.nqn[..name.len()].copy_from_slice(name);
        config.allow_any_host = 1 - at as u8;
        let _ok = target.subsystem_add(at, &config, world);
        let _ok = target.listener_add(at, 0, transports::ALL, world);
    }
}

struct Clock {
    now: Micros,
    next_key: u32,
}

fn step(
    what: u8,
    input: &mut Input<'_>,
    target: &mut Target,
    world: &mut World,
    clock: &mut Clock,
) {
    let (what, detail) = (what & 15, what >> 4);
    let picked = world
        .open
        .get(usize::from(input.byte().unwrap_or(0)) % world.open.len().max(1))
        .copied();
    match (what, picked) {
        (0..=2, _) if world.open.len() < 12 => {
            clock.next_key += 1;
            let key = QueueKey(clock.next_key);
            let via = match detail {
                8..=11 => Via::Rdma {
                    qid: u16::from(detail & 3),
                    entries: 32,
                },
                _ => Via::Tcp {
                    discovery: detail == 14,
                },
            };
            if target.connection_opened(clock.now, key, u16::from(detail == 15), via) {
                let _has_room = world.open.push(key);
            }
        }
        (3, Some(picked)) => {
            // Mostly a connection that was told to go, as the application would.
            let key = if detail < 14 {
                world.told.first().copied()
            } else {
                Some(picked)
            };
            let Some(key) = key else { return };
            target.connection_closed(clock.now, key, world);
            world.open.retain(|k| *k != key);
            world.told.retain(|k| *k != key);
        }
        (4, _) => {
            clock.now = clock.now.after(u64::from(detail) * 200_000);
            target.host_active(detail, clock.now);
            target.poll(clock.now, world);
        }
        (5, _) => reconfigure(detail, input, target, world),
        (_, Some(key)) => command(key, input, target, world, clock.now),
        _ => {}
    }
}

fn reconfigure(what: u8, input: &mut Input<'_>, target: &mut Target, world: &mut World) {
    let mut arguments = [0; 8];
    input.take(&mut arguments);
    let [at, which, number, value, ..] = arguments;
    let (index, number_word) = (u32::from(at & 1), u32::from(number & 7));
    let mut host = [0; NQN_SIZE];
    let name = HOSTS[usize::from(which & 1)];
    host[..name.len()].copy_from_slice(name);
    let _outcome = match what % 8 {
        0 | 7 => {
            let mut config = NamespaceConfig::new_zeroed();
            config.nsid.set(number_word);
            config.ssd.set(u32::from(value & 3));
            config.blocks.set(u64::MAX >> (which & 63));
            config.first_block.set(u64::from(value) << (which >> 2));
            config.block_shift = 9 + (which & 1) * 3;
            config.flags = which & 0xf;
            config.ana_group.set(u16::from(at >> 3));
            target.namespace_add(index, &config, world)
        }
        1 => target.namespace_remove(index, number_word, world),
        2 => target.host_add(index, &host, world),
        3 => target.host_remove(index, &host, world),
        4 => target
            .listener_remove(index, u32::from(number), u32::from(which & 3), world)
            .and(target.listener_add(index, number_word, u32::from(value & 3), world)),
        5 => {
            target.ssd_set(number & 3, value & 1 != 0, world);
            target.usage_set(
                Usage {
                    kelvin: u16::from(value) * 2,
                    ..Usage::default()
                },
                world,
            );
            Ok(())
        }
        _ if value < 32 => {
            let removed = target.subsystem_remove(index, world);
            configure(target, world);
            removed
        }
        _ => target.allow_any_host(index, u32::from(value & 3), world),
    };
}

/// Opcode, flags and FCTYPE that commands start from: nothing but noise would only meet refusals.
const HEADS: [[u8; 3]; 12] = [
    [0x7f, 0x40, 0x01],
    [0x7f, 0x40, 0x01],
    [0x7f, 0x40, 0x01],
    [0x7f, 0x40, 0x00],
    [0x7f, 0x40, 0x00],
    [0x7f, 0x40, 0x08],
    [0x06, 0x40, 0x01],
    [0x02, 0x40, 0x00],
    [0x09, 0x40, 0x00],
    [0x0a, 0x40, 0x00],
    [0x0c, 0x40, 0x00],
    [0x08, 0x40, 0x00],
];

fn command(
    key: QueueKey,
    input: &mut Input<'_>,
    target: &mut Target,
    world: &mut World,
    now: Micros,
) {
    let mut bytes = [0; 64];
    let mut data = ConnectData::new_zeroed();
    let (shape, detail) = (input.byte().unwrap_or(0) % 16, input.byte().unwrap_or(0));
    if detail & 7 == 7 {
        input.take(&mut bytes);
    }
    input.take(&mut bytes[2..4]);
    bytes[32..40].copy_from_slice(&[0, 0x10, 0, 0, 0, 0, 0, 0x5a]);
    input.take(&mut bytes[40..48]);
    if let Some([opcode, flags, kind]) = HEADS.get(usize::from(shape)) {
        (bytes[0], bytes[1]) = (*opcode, *flags);
        bytes[4..8].copy_from_slice(&[*kind, 0, 0, 0]);
    }
    match shape {
        0..=2 => connect(detail, &mut bytes, &mut data, world.cntlid),
        3 | 4 => {
            bytes[40..48].copy_from_slice(&[0, 0, 0, 0, 0x14, 0, 0, 0]);
            // Enabled more often than reset, and sometimes shut down.
            let shutdown = if detail >> 4 == 0 { 1 << 14 } else { 0 };
            let cc = 0x0046_0000 | u32::from(detail & 3 != 0) | shutdown;
            bytes[48..52].copy_from_slice(&cc.to_le_bytes());
        }
        // Low numbers, few dwords, often the event configuration.
        7 => (bytes[40], bytes[43], bytes[46]) = (bytes[40] % 0x14, 0, 0),
        8 if detail & 1 == 0 => {
            bytes[40..48].copy_from_slice(&[0x0b, 0, 0, 0, 0, 1, 0, 0]);
        }
        6 | 8 | 9 => bytes[40] %= 0x20,
        _ => {}
    }
    let mut block = bytes;
    (block[0], block[1], block[4]) = (detail >> 4, 0x40, detail & 7);
    block[32..34].copy_from_slice(&[0, 0x02 << (detail & 3)]);
    block[43..48].fill(0);
    let decoded = io::decode(&block, &world.table, world.subsystem, 128 << 10, 8192);
    world.reached.io_commands += u32::from(decoded.is_ok());
    let _moved = transfer(&bytes, 8192, 8192);
    let mut sink = Length { written: 0 };
    let before = world.answers;
    target.command(now, key, &bytes, data.as_bytes(), &mut sink, world);
    assert!(
        sink.written <= Sqe::view(&bytes).sgl().length.get(),
        "more data than the host asked for"
    );
    assert!(
        world.answers - before <= 1 + EVENT_REQUESTS as u32 * 2,
        "answers out of nothing"
    );
}

/// A Connect that is right but for what `detail` makes wrong.
fn connect(detail: u8, bytes: &mut [u8; 64], data: &mut ConnectData, cntlid: u16) {
    let qid = detail & 3;
    bytes[40..48].copy_from_slice(&[0, 0, qid, 0, 31, 0, 0, 0]);
    let (sub, host) = (
        NAMES[usize::from(detail >> 2) % 4 % 3],
        HOSTS[usize::from(detail >> 7)],
    );
    data.hostid = [1 + (detail >> 7); 16];
    data.cntlid.set(if qid == 0 { 0xffff } else { cntlid });
    data.subnqn[..sub.len()].copy_from_slice(sub);
    data.hostnqn[..host.len()].copy_from_slice(host);
}
