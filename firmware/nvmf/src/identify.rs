//! Identify (Base, section 5.1.13; NVM, section 4.1.5).

use crate::{
    ANA_GROUPS, DataSink, ERROR_ENTRIES, EVENT_REQUESTS, Limits, MAX_NSID, NamespaceEntry, Target,
    admin::{check_nsid, check_room},
    config::{Namespace, Subsystem},
    controller::{Controller, DISCOVERY, KAS},
    property::VERSION,
    replica::UNUSED,
    target::{Failure, Reply, refuse},
    transport::Transport,
    window::Window,
};
use sluice_wire::{
    fabrics::DISCOVERY_NQN,
    nvme::{
        EventConfig, IDENTIFY_SIZE, IdentifyController, IdentifyNamespace, IndependentNamespace,
        NSID_ALL, NamespaceIdHeader, Sqe, Status, cns, csi, nidt,
    },
};
use zerocopy::{FromBytes, IntoBytes};

impl Target {
    pub(crate) fn identify(
        &mut self,
        slot: usize,
        sqe: &Sqe,
        sink: &mut dyn DataSink,
    ) -> Result<Reply, Failure> {
        check_room(sqe, IDENTIFY_SIZE as u32)?;
        let Some(controller) = self.controllers.get(slot) else {
            return refuse(Status::INTERNAL, 0);
        };
        let subsystem = controller.subsystem;
        let what = sqe.cdw10.get() as u8;
        let set = (sqe.cdw11.get() >> 24) as u8;
        self.scratch.fill(0);
        if subsystem == DISCOVERY && what != cns::CONTROLLER {
            return refuse(Status::INVALID_FIELD, 40);
        }
        if matches!(
            what,
            cns::CS_NAMESPACE | cns::CS_CONTROLLER | cns::CS_ACTIVE_LIST
        ) && set != csi::NVM
        {
            return refuse(Status::INVALID_FIELD, 47);
        }
        match what {
            cns::CONTROLLER => self.identify_controller(slot),
            cns::NAMESPACE => {
                let nsid = check_nsid(sqe)?;
                if let Some(namespace) = self.namespace(subsystem, nsid).copied() {
                    fill_namespace(&mut self.scratch, &namespace);
                }
            }
            cns::ACTIVE_LIST | cns::CS_ACTIVE_LIST => {
                self.active_list(subsystem, sqe.nsid.get())?
            }
            cns::DESCRIPTORS => {
                let namespace = self.active(subsystem, sqe)?;
                fill_descriptors(&mut self.scratch, &namespace);
            }
            cns::INDEPENDENT_NAMESPACE => {
                let namespace = self.active(subsystem, sqe)?;
                fill_independent(&mut self.scratch, &namespace);
            }
            // No extended formats, no limits below MDTS: all zeros.
            cns::CS_NAMESPACE => {
                check_nsid(sqe)?;
            }
            cns::CS_CONTROLLER => {}
            cns::COMMAND_SETS => {
                let wanted = (sqe.cdw10.get() >> 16) as u16;
                if wanted != 0xffff
                    && self
                        .controllers
                        .get(slot)
                        .is_none_or(|c| c.cntlid() != wanted)
                {
                    return refuse(Status::INVALID_FIELD, 42);
                }
                // The only combination, number 0: the NVM command set.
                self.scratch[0] = 1;
            }
            _ => return refuse(Status::INVALID_FIELD, 40),
        }
        let mut window = Window::new(sink, 0, IDENTIFY_SIZE as u32);
        window.put(&self.scratch);
        Ok(Reply::data(window.finish()))
    }

    fn active(&self, subsystem: u8, sqe: &Sqe) -> Result<Namespace, Failure> {
        let nsid = check_nsid(sqe)?;
        match self.namespace(subsystem, nsid) {
            Some(namespace) => Ok(*namespace),
            None => refuse(Status::INVALID_NAMESPACE, 4),
        }
    }

    fn active_list(&mut self, subsystem: u8, above: u32) -> Result<(), Failure> {
        if above >= NSID_ALL - 1 {
            return refuse(Status::INVALID_NAMESPACE, 4);
        }
        let row = self
            .index
            .get(usize::from(subsystem))
            .map_or(&[][..], |row| &row[..]);
        let active = (1..=MAX_NSID)
            .zip(row)
            .filter(|(nsid, place)| **place != UNUSED && *nsid > above);
        for ((nsid, _), bytes) in active.zip(self.scratch.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&nsid.to_le_bytes());
        }
        Ok(())
    }

    fn identify_controller(&mut self, slot: usize) {
        let works = |s: &Subsystem, flag| s.exists() && self.all_namespaces(slot, flag);
        let Some(controller) = self.controllers.get(slot) else {
            return;
        };
        let subsystem = self.subsystems.get(usize::from(controller.subsystem));
        let oncs = subsystem.map_or(0, |s| {
            u16::from(works(s, NamespaceEntry::COMPARE))
                | u16::from(works(s, NamespaceEntry::DSM)) << 2
                | u16::from(works(s, NamespaceEntry::WRITE_ZEROES)) << 3
                // Save and Select of the features commands.
                | 1 << 4
        });
        let Ok(id) = IdentifyController::mut_from_bytes(&mut self.scratch) else {
            return;
        };
        fill_common(id, controller, &self.limits);
        match subsystem {
            Some(subsystem) => fill_io(id, subsystem, oncs),
            None => {
                id.cntrltype = 2;
                id.dctype = 1;
                let mut notices = EventConfig(0);
                notices.set_discovery_change(true);
                id.oaes.set(notices.0);
                id.sn = *b"SLUICE-DISCOVERY    ";
                id.mn = *b"Sluice discovery                        ";
                id.subnqn[..DISCOVERY_NQN.len()].copy_from_slice(DISCOVERY_NQN);
            }
        }
    }

    /// Every namespace of the controller's subsystem has this flag: only then the command is advertised.
    pub(crate) fn all_namespaces(&self, slot: usize, flag: u8) -> bool {
        let Some(controller) = self.controllers.get(slot) else {
            return false;
        };
        let mine = |n: &&Namespace| n.nsid != 0 && n.subsystem == controller.subsystem;
        self.namespaces
            .iter()
            .filter(mine)
            .all(|n| n.entry.flags & flag != 0)
    }
}

fn fill_common(id: &mut IdentifyController, controller: &Controller, limits: &Limits) {
    id.fr = limits.firmware;
    id.mdts = limits.mdts;
    id.cntlid.set(controller.cntlid());
    id.ver.set(VERSION.0);
    // 128-bit host identifiers, traffic-based keep alive.
    id.ctratt.set(1 << 0 | 1 << 6);
    id.aerl_z = EVENT_REQUESTS as u8 - 1;
    // Offsets into log pages.
    id.lpa = 1 << 2;
    id.kas.set(KAS);
    id.maxcmd.set(controller.transport.queue_entries(limits));
    // Any alignment and offset in the capsule, and what the transport has for data outside: its own data block, or keys.
    let (data_block, descriptors) = match controller.transport {
        Transport::Tcp => (1 << 21, 1),
        Transport::Rdma => (1 << 2, limits.rdma.descriptors),
    };
    id.sgls.set(1 | 1 << 20 | data_block);
    id.ioccsz.set((64 + limits.in_capsule) / 16);
    id.iorcsz.set(1);
    id.msdbd = descriptors;
}

fn fill_io(id: &mut IdentifyController, subsystem: &Subsystem, oncs: u16) {
    let mut notices = EventConfig(0);
    notices.set_namespace_changed(true);
    id.oaes.set(notices.0);
    id.sn = subsystem.serial;
    id.mn = subsystem.model;
    // Several ports, several controllers, ANA reporting.
    id.cmic = 1 << 0 | 1 << 1 | 1 << 3;
    id.cntrltype = 1;
    id.acl_z = 3;
    // One slot, read-only.
    id.frmw = 1 << 0 | 1 << 1;
    id.lpa |= 1 << 1;
    id.elpe_z = ERROR_ENTRIES as u8 - 1;
    let [over, _] = crate::controller::TEMPERATURES;
    id.wctemp.set(over);
    id.cctemp.set(over + 15);
    id.anatt = 10;
    // Optimized is the only state; a namespace keeps its group while attached.
    id.anacap = 1 << 0 | 1 << 6;
    id.anagrpmax.set(ANA_GROUPS);
    id.nanagrpid.set(ANA_GROUPS);
    id.sqes = 0x66;
    id.cqes = 0x44;
    id.nn.set(MAX_NSID);
    id.mnan.set(MAX_NSID);
    id.oncs.set(oncs);
    // Present, so that hosts flush; not for all namespaces at once.
    id.vwc = 1 | 2 << 1;
    // Disconnect of single I/O queues.
    id.ofcs.set(1);
    if let Some(name) = id.subnqn.get_mut(..subsystem.nqn.len()) {
        name.copy_from_slice(&subsystem.nqn);
    }
}

fn fill_namespace(scratch: &mut [u8; IDENTIFY_SIZE], namespace: &Namespace) {
    let Ok(id) = IdentifyNamespace::mut_from_bytes(scratch) else {
        return;
    };
    let entry = &namespace.entry;
    id.nsze.set(entry.blocks);
    id.ncap.set(entry.blocks);
    id.nuse.set(entry.blocks);
    id.nmic = 1;
    id.anagrpid.set(namespace.ana_group.into());
    id.nsattr = entry.flags & NamespaceEntry::READ_ONLY;
    id.nguid = namespace.nguid;
    id.eui64 = namespace.eui64;
    id.lbaf[0].lbads = entry.shift;
}

fn fill_independent(scratch: &mut [u8; IDENTIFY_SIZE], namespace: &Namespace) {
    let Ok(id) = IndependentNamespace::mut_from_bytes(scratch) else {
        return;
    };
    id.nmic = 1;
    id.anagrpid.set(namespace.ana_group.into());
    id.nsattr = namespace.entry.flags & NamespaceEntry::READ_ONLY;
    id.nstat = u8::from(namespace.entry.flags & NamespaceEntry::LOST == 0);
}

fn fill_descriptors(scratch: &mut [u8; IDENTIFY_SIZE], namespace: &Namespace) {
    let mut rest = &mut scratch[..];
    let mut put = |kind: u8, id: &[u8]| {
        if id.iter().all(|b| *b == 0) && kind != nidt::CSI {
            return;
        }
        let header = NamespaceIdHeader {
            kind,
            len: id.len() as u8,
            reserved: 0.into(),
        };
        for bytes in [header.as_bytes(), id] {
            let Some((here, after)) = core::mem::take(&mut rest).split_at_mut_checked(bytes.len())
            else {
                return;
            };
            here.copy_from_slice(bytes);
            rest = after;
        }
    };
    put(nidt::EUI64, &namespace.eui64);
    put(nidt::NGUID, &namespace.nguid);
    put(nidt::UUID, &namespace.uuid);
    put(nidt::CSI, &[csi::NVM]);
}
