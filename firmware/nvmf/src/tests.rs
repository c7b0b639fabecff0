//! The target driven as hosts drive it.

mod connect;
mod discovery;
mod events;
mod io;
mod keep_alive;
mod linux;
mod random;
mod rdma;

use crate::{Action, DataSink, Limits, NamespaceUpdate, Outbox, QueueKey, QueueReady, Target, Via};
use sluice_hal::Micros;
use sluice_wire::{
    fabrics::{ConnectCommand, ConnectData, PropertyCommand},
    mgmt::{Event, NQN_SIZE, NamespaceConfig, PortConfig, SubsystemConfig},
    nvme::{AdminOpcode, Cc, Csts, SglDescriptor, SglKind, Sqe, Status, log, register},
};
use std::{boxed::Box, string::String, vec::Vec};
use zerocopy::{FromZeros, IntoBytes};

/// The names of the captured session.
const SUB1: &[u8] = b"nqn.2026-11.test:sub1";
const SUB2: &[u8] = b"nqn.2026-11.test:sub2";
const HOST_A: &[u8] = b"nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";
const HOST_B: &[u8] = b"nqn.2014-08.org.nvmexpress:uuid:99999999-2222-3333-4444-555555555555";
const ID_A: [u8; 16] = [
    0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55,
];
const ID_B: [u8; 16] = [0x99; 16];
const ENABLE: u32 = 0x0046_0061;
const SHUTDOWN: u32 = 0x0046_4061;
const RESET: u32 = 0x0046_0060;
const TCP: Via = Via::Tcp { discovery: false };

#[derive(Default)]
struct Bytes(Vec<u8>);
impl DataSink for Bytes {
    fn write(&mut self, offset: u32, bytes: &[u8]) {
        assert_eq!(offset as usize, self.0.len(), "data comes without gaps");
        self.0.extend_from_slice(bytes);
    }
}

#[derive(Default)]
struct Actions(Vec<Action>);
impl Outbox for Actions {
    fn push(&mut self, action: Action) {
        self.0.push(action);
    }
}

/// An answer to a command.
#[derive(Debug)]
struct Answer {
    status: Status,
    result: u64,
    data: Vec<u8>,
}

impl Answer {
    fn ok(self) -> Self {
        assert_eq!(self.status, Status::SUCCESS);
        self
    }
}

/// A target, its clock, and everything it asked for.
struct Rig {
    target: Box<Target>,
    now: Micros,
    out: Actions,
    next_key: u32,
    next_cid: u16,
}

/// A zero-padded name field.
fn name<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field[..text.len()].copy_from_slice(text);
    field
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |p: &[u8]| u8::from_str_radix(&String::from_utf8_lossy(p), 16).expect("hexadecimal");
    digits.chunks(2).map(pair).collect()
}

fn sqe_from(text: &str) -> [u8; 64] {
    hex(text).try_into().expect("64 bytes")
}

fn namespace(nsid: u32) -> NamespaceConfig {
    let mut config = NamespaceConfig::new_zeroed();
    config.nsid.set(nsid);
    config.ssd_nsid.set(1);
    config.first_block.set(1000 * u64::from(nsid));
    config.blocks.set(0x10_0000);
    config.block_shift = 9;
    config.flags = 0b1110;
    config.ana_group.set(1);
    config.nguid = [nsid as u8; 16];
    config.uuid = *b"\x60\xec\x8a\xd0\x93\x6b\x4d\xa3\xad\x9d\xbe\xb0\x78\x0d\x0c\x2d";
    config
}

fn subsystem(nqn: &[u8], allow_any: bool) -> SubsystemConfig {
    let mut config = SubsystemConfig::new_zeroed();
    config.nqn = name(nqn);
    config.serial = *b"SN0001              ";
    config.model = [b' '; 40];
    config.allow_any_host = allow_any.into();
    config
}

impl Rig {
    /// Port 0, subsystem 0 for everybody with namespace 1, subsystem 1 for nobody yet.
    fn new() -> Self {
        Self::with(Limits::DEFAULT)
    }

    fn with(limits: Limits) -> Self {
        let target = Box::new(Target::new(limits));
        let mut rig = Self {
            target,
            now: Micros(1_000_000),
            out: Actions::default(),
            next_key: 100,
            next_cid: 0,
        };
        let mut port = PortConfig::new_zeroed();
        port.ipv4 = [10, 0, 0, 2];
        port.io_port.set(4420);
        port.discovery_port.set(8009);
        let Rig { target, out, .. } = &mut rig;
        target.port_set(0, &port, out).expect("port");
        target
            .subsystem_add(0, &subsystem(SUB1, true), out)
            .expect("subsystem");
        target
            .subsystem_add(1, &subsystem(SUB2, false), out)
            .expect("subsystem");
        target
            .namespace_add(0, &namespace(1), out)
            .expect("namespace");
        target.listener_add(0, 0, 0, out).expect("listener");
        target.listener_add(1, 0, 0, out).expect("listener");
        rig.out.0.clear();
        rig
    }

    fn open(&mut self) -> QueueKey {
        self.open_via(TCP)
    }

    fn open_via(&mut self, via: Via) -> QueueKey {
        self.next_key += 1;
        let key = QueueKey(self.next_key);
        assert!(self.target.connection_opened(self.now, key, 0, via));
        key
    }

    /// Sends a command and takes its answer out of the actions.
    fn send(&mut self, key: QueueKey, sqe: &[u8; 64], data: &[u8]) -> Answer {
        self.try_send(key, sqe, data).expect("an answer")
    }

    fn try_send(&mut self, key: QueueKey, sqe: &[u8; 64], data: &[u8]) -> Option<Answer> {
        let mut sink = Bytes::default();
        self.target
            .command(self.now, key, sqe, data, &mut sink, &mut self.out);
        let wanted = u16::from_le_bytes([sqe[2], sqe[3]]);
        let mine = |a: &Action| matches!(a, Action::Complete { key: k, cid, .. } if (*k, *cid) == (key, wanted));
        let at = self.out.0.iter().position(mine)?;
        let Action::Complete {
            result,
            status,
            data_len,
            ..
        } = self.out.0.remove(at)
        else {
            unreachable!()
        };
        assert_eq!(data_len as usize, sink.0.len());
        Some(Answer {
            status,
            result,
            data: sink.0,
        })
    }

    fn connect(
        &mut self,
        key: QueueKey,
        qid: u16,
        cntlid: u16,
        change: impl FnOnce(&mut ConnectCommand, &mut ConnectData),
    ) -> Answer {
        let mut command = ConnectCommand::new_zeroed();
        (command.opcode, command.flags, command.fctype) = (0x7f, 0x40, 1);
        command.sgl = zerocopy::transmute!(SglDescriptor::new(SglKind::Offset, 0, 1024));
        command.qid.set(qid);
        command.sqsize_z.set(31);
        command.kato.set(if qid == 0 { 5000 } else { 0 });
        let mut data = ConnectData::new_zeroed();
        data.hostid = ID_A;
        data.cntlid.set(cntlid);
        data.subnqn = name(SUB1);
        data.hostnqn = name(HOST_A);
        change(&mut command, &mut data);
        let bytes = command.as_bytes().try_into().expect("64 bytes");
        self.send(key, bytes, data.as_bytes())
    }

    /// An enabled controller: its admin queue and CNTLID.
    fn controller(&mut self) -> (QueueKey, u16) {
        self.controller_of(|_, _| {})
    }

    fn controller_of(
        &mut self,
        change: impl FnOnce(&mut ConnectCommand, &mut ConnectData),
    ) -> (QueueKey, u16) {
        self.controller_via(TCP, change)
    }

    fn controller_via(
        &mut self,
        via: Via,
        change: impl FnOnce(&mut ConnectCommand, &mut ConnectData),
    ) -> (QueueKey, u16) {
        let key = self.open_via(via);
        let cntlid = self.connect(key, 0, 0xffff, change).ok().result as u16;
        self.set_cc(key, ENABLE);
        assert!(self.csts(key).rdy());
        (key, cntlid)
    }

    fn io_queue(&mut self, cntlid: u16, qid: u16) -> QueueKey {
        let key = self.open();
        self.connect(key, qid, cntlid, |_, _| {}).ok();
        key
    }

    fn admin(
        &mut self,
        opcode: AdminOpcode,
        nsid: u32,
        len: u32,
        change: impl FnOnce(&mut Sqe),
    ) -> Sqe {
        self.next_cid += 1;
        let mut sqe = Sqe::new(opcode as u8, self.next_cid, nsid);
        sqe.set_sgl(SglDescriptor::new(SglKind::Transport, 0, len));
        change(&mut sqe);
        sqe
    }

    fn identify(&mut self, key: QueueKey, cns: u8, nsid: u32) -> Answer {
        let sqe = self.admin(AdminOpcode::Identify, nsid, 4096, |s| {
            s.cdw10.set(cns.into())
        });
        self.send(key, sqe.bytes(), &[])
    }

    fn log(&mut self, key: QueueKey, page: u8, offset: u64, len: u32, retain: bool) -> Answer {
        let sqe = self.admin(AdminOpcode::GetLogPage, 0, len, |s| {
            let dwords_z = len / 4 - 1;
            s.cdw10
                .set(u32::from(page) | dwords_z << 16 | if retain { log::RAE } else { 0 });
            s.cdw11.set(dwords_z >> 16);
            s.cdw12.set(offset as u32);
            s.cdw13.set((offset >> 32) as u32);
        });
        self.send(key, sqe.bytes(), &[])
    }

    fn set_feature(&mut self, key: QueueKey, id: u8, value: u32) -> Answer {
        let sqe = self.admin(AdminOpcode::SetFeatures, 0, 0, |s| {
            s.cdw10.set(id.into());
            s.cdw11.set(value);
        });
        self.send(key, sqe.bytes(), &[])
    }

    fn get_feature(&mut self, key: QueueKey, id: u8, select: u8) -> Answer {
        let sqe = self.admin(AdminOpcode::GetFeatures, 0, 4096, |s| {
            s.cdw10.set(u32::from(id) | u32::from(select) << 8);
            s.cdw11.set(1);
        });
        self.send(key, sqe.bytes(), &[])
    }

    /// Sends an Asynchronous Event Request with this CID; the answer comes if an event waits.
    fn request_event(&mut self, key: QueueKey, cid: u16) -> Option<Answer> {
        let mut sqe = self.admin(AdminOpcode::AsyncEvent, 0, 0, |_| {});
        sqe.cid.set(cid);
        self.try_send(key, sqe.bytes(), &[])
    }

    fn property(&mut self, fctype: u8, offset: u32, wide: bool, value: u64) -> PropertyCommand {
        self.next_cid += 1;
        let mut command = PropertyCommand::new_zeroed();
        (command.opcode, command.flags, command.fctype) = (0x7f, 0x40, fctype);
        command.cid.set(self.next_cid);
        command.attrib = wide.into();
        command.offset.set(offset);
        command.value.set(value);
        command
    }

    fn set_cc(&mut self, key: QueueKey, value: u32) {
        let command = self.property(0, register::CC, false, Cc(value).0.into());
        self.send(key, zerocopy::transmute_ref!(&command), &[]).ok();
    }

    fn csts(&mut self, key: QueueKey) -> Csts {
        let command = self.property(4, register::CSTS, false, 0);
        Csts(
            self.send(key, zerocopy::transmute_ref!(&command), &[])
                .ok()
                .result as u32,
        )
    }

    fn close(&mut self, key: QueueKey) {
        self.target.connection_closed(self.now, key, &mut self.out);
    }

    /// Takes the connections that were told to end.
    fn told_to_close(&mut self) -> Vec<QueueKey> {
        let mut keys = Vec::new();
        while let Some(close) = self.target.next_close() {
            let Action::QueueClose { key, .. } = close else {
                panic!("{close:?}");
            };
            keys.push(key);
        }
        keys
    }

    fn ready(&mut self) -> QueueReady {
        let find = |a: &Action| {
            if let Action::QueueReady(ready) = a {
                Some(*ready)
            } else {
                None
            }
        };
        self.out.0.iter().rev().find_map(find).expect("a queue")
    }

    fn events(&self) -> Vec<(Event, u32)> {
        self.out
            .0
            .iter()
            .filter_map(|a| {
                if let Action::Event(e, n) = a {
                    Some((*e, *n))
                } else {
                    None
                }
            })
            .collect()
    }

    fn updates(&self) -> Vec<NamespaceUpdate> {
        self.out
            .0
            .iter()
            .filter_map(|a| {
                if let Action::Namespace(u) = a {
                    Some(*u)
                } else {
                    None
                }
            })
            .collect()
    }

    fn pass(&mut self, us: u64) {
        self.now = self.now.after(us);
        self.target.poll(self.now, &mut self.out);
    }
}

fn nqn_field(text: &[u8]) -> [u8; NQN_SIZE] {
    name(text)
}

#[test]
fn the_target_fits_its_memory_budget() {
    std::println!("Target {} bytes", size_of::<Target>());
    std::println!(
        "  controller {} bytes",
        size_of::<crate::controller::Controller>()
    );
    std::println!(
        "  connection {} bytes",
        size_of::<crate::target::Connection>()
    );
    std::println!("replica {} bytes", size_of::<crate::NamespaceTable>());
    std::println!(
        "IoCommand {} bytes, result {}",
        size_of::<crate::io::IoCommand>(),
        size_of::<Result<crate::io::IoCommand, Status>>()
    );
    assert!(size_of::<Target>() <= 96 << 10);
}
