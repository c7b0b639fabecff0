//! What was configured, told back: a host driver that takes over a running card compares it with what it wants.

use sluice_wire::mgmt::{
    self, ControllerState, NQN_SIZE, NamespaceConfig, STATE_PORTS, SubsystemConfig, SubsystemState,
    transports,
};

use crate::config::Refusal;
use crate::controller::Life;
use crate::{MAX_NSID, NamespaceEntry, PORTS, Target};

type Held<T> = Result<T, Refusal>;

impl Target {
    /// Subsystem `index` as it is now.
    ///
    /// # Errors
    /// It does not exist.
    pub fn subsystem_held(&self, index: u32) -> Held<SubsystemState> {
        let subsystem = self.subsystems.get(index as usize);
        let subsystem = subsystem
            .filter(|s| s.exists())
            .ok_or(mgmt::Status::Missing)?;
        let at_port = |port: usize| subsystem.listeners >> (2 * port) & transports::ALL as u8;
        Ok(SubsystemState {
            config: SubsystemConfig {
                nqn: nqn_field(&subsystem.nqn),
                serial: subsystem.serial,
                model: subsystem.model,
                allow_any_host: subsystem.allow_any.into(),
                reserved: [0; 3],
            },
            listeners: core::array::from_fn(at_port),
        })
    }

    /// The namespace of subsystem `index` with the lowest NSID from `from` on.
    ///
    /// # Errors
    /// There is none.
    pub fn namespace_held(&self, index: u32, from: u32) -> Held<NamespaceConfig> {
        let at = u8::try_from(index).map_err(|_| mgmt::Status::BadIndex)?;
        let mut all = from.max(1)..=MAX_NSID;
        let found = all.find_map(|nsid| self.namespace(at, nsid));
        let ns = found.ok_or(mgmt::Status::Missing)?;
        let entry = &ns.entry;
        Ok(NamespaceConfig {
            nsid: ns.nsid.into(),
            ssd: u32::from(entry.ssd).into(),
            ssd_nsid: entry.ssd_nsid.into(),
            first_block: entry.first_block.into(),
            blocks: entry.blocks.into(),
            block_shift: entry.shift,
            // Lost is what happened to its SSD, not how it was configured.
            flags: entry.flags & !NamespaceEntry::LOST,
            ana_group: ns.ana_group.into(),
            nguid: ns.nguid,
            eui64: ns.eui64,
            uuid: ns.uuid,
        })
    }

    /// The NQN of allowed host number `number` of subsystem `index`.
    ///
    /// # Errors
    /// There are fewer.
    pub fn host_held(&self, index: u32, number: u32) -> Held<[u8; NQN_SIZE]> {
        let bit = 1u8.checked_shl(index).ok_or(mgmt::Status::BadIndex)?;
        let mut listed = self.hosts.iter().filter(|h| h.subsystems & bit != 0);
        let host = listed.nth(number as usize).ok_or(mgmt::Status::Missing)?;
        Ok(nqn_field(&host.nqn))
    }

    /// The controller of subsystem `index` with the lowest CNTLID from `from` on. With [`mgmt::ANY_SUBSYSTEM`] of whatever subsystem,
    /// discovery among them, and even while it is ending.
    ///
    /// # Errors
    /// There is none.
    pub fn controller_held(&self, index: u32, from: u32) -> Held<ControllerState> {
        let any = index == mgmt::ANY_SUBSYSTEM;
        let subsystem = self.subsystems.get(index as usize);
        if !any && !subsystem.is_some_and(|s| s.exists()) {
            return Err(mgmt::Status::Missing.into());
        }
        let of = |c: &&crate::controller::Controller| {
            let wanted = match any {
                true => c.life != Life::Free,
                false => c.life == Life::Live && u32::from(c.subsystem) == index,
            };
            wanted && u32::from(c.cntlid()) >= from
        };
        let found = self.controllers.iter().filter(of);
        let found = found.min_by_key(|c| c.cntlid());
        let controller = found.ok_or(mgmt::Status::Missing)?;
        let mut connections = self.connections.iter();
        let admin = connections.find(|c| c.key == controller.admin);
        Ok(ControllerState {
            cntlid: controller.cntlid().into(),
            port: admin.map_or(0, |c| c.port),
            transport: controller.transport.bit() as u8,
            keep_alive_ms: controller.kato_ms.into(),
            queues: controller.queues.into(),
            host_id: controller.host_id,
            host_nqn: nqn_field(&controller.host_nqn),
            subsystem: controller.subsystem,
            reserved: [0; 3],
        })
    }
}

fn nqn_field(nqn: &[u8]) -> [u8; NQN_SIZE] {
    let mut field = [0; NQN_SIZE];
    let len = nqn.len().min(NQN_SIZE - 1);
    field[..len].copy_from_slice(&nqn[..len]);
    field
}

const _: () = assert!(STATE_PORTS == PORTS);
