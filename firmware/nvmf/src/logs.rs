//! Get Log Page (Base, section 5.1.12).

use crate::{
    ANA_GROUPS, DataSink, ERROR_ENTRIES, MAX_NSID, NamespaceEntry, Target,
    admin::{COMMANDS, check_room},
    controller::DISCOVERY,
    target::{Failure, Reply, refuse},
    window::Window,
};
use sluice_wire::nvme::{
    AdminOpcode, AnaGroup, AnaHeader, AnaState, ErrorEntry, EventKind, FirmwareSlots, NSID_ALL,
    NvmOpcode, SmartLog, Sqe, Status, effects, feature, log, oncs_effects,
};
use zerocopy::{FromZeros, IntoBytes};

/// Feature Identifiers Supported and Effects, 1,024 bytes (Base, section 5.1.12.1.19).
const FEATURES: u8 = 0x12;
/// Pages of I/O controllers.
const IO_PAGES: [u8; 8] = [
    log::SUPPORTED,
    log::ERROR,
    log::SMART,
    log::FIRMWARE,
    log::CHANGED_NAMESPACES,
    log::EFFECTS,
    log::ANA,
    FEATURES,
];
/// Pages of discovery controllers.
const DISCOVERY_PAGES: [u8; 2] = [log::SUPPORTED, log::DISCOVERY];

/// What the host asked for.
struct Wanted {
    offset: u64,
    len: u32,
    /// Retain Asynchronous Event.
    retain: bool,
    /// Log specific parameter.
    specific: u8,
}

impl Target {
    pub(crate) fn get_log_page(
        &mut self,
        slot: usize,
        sqe: &Sqe,
        sink: &mut dyn DataSink,
    ) -> Result<Reply, Failure> {
        let Some(controller) = self.controllers.get(slot) else {
            return refuse(Status::INTERNAL, 0);
        };
        let page = sqe.cdw10.get() as u8;
        let offered = if controller.is_discovery() {
            &DISCOVERY_PAGES[..]
        } else {
            &IO_PAGES[..]
        };
        if !offered.contains(&page) {
            return refuse(Status::INVALID_LOG_PAGE, 40);
        }
        let wanted = self.parse_log(sqe)?;
        // No page is kept per namespace (LPA bit 0 clear).
        if sqe.nsid.get() != 0 && sqe.nsid.get() != NSID_ALL {
            return refuse(Status::INVALID_FIELD, 4);
        }
        if wanted.offset > self.log_size(page, slot, wanted.specific) {
            return refuse(Status::INVALID_FIELD, 48);
        }
        let mut window = Window::new(sink, wanted.offset, wanted.len);
        match page {
            log::SUPPORTED => supported(&mut window, offered),
            log::ERROR => self.error_log(&mut window, slot),
            log::SMART => self.smart_log(&mut window, slot),
            log::FIRMWARE => {
                let mut slots = FirmwareSlots {
                    afi: 1,
                    ..FirmwareSlots::default()
                };
                slots.revisions[0] = self.limits.firmware;
                window.put(slots.as_bytes());
            }
            log::CHANGED_NAMESPACES => self.changed_log(&mut window, slot),
            log::EFFECTS => self.effects_log(&mut window, slot),
            log::ANA => self.ana_log(&mut window, slot, wanted.specific),
            FEATURES => {
                for id in crate::features::IO_FEATURES {
                    window.seek(u64::from(id) * 4);
                    // Supported, and its scope is the controller (bit 23).
                    window.put(&(1u32 | 1 << 23).to_le_bytes());
                }
            }
            _ => self.discovery_log(&mut window, slot),
        }
        let len = window.finish();
        if !wanted.retain {
            self.rearm(slot, page);
        }
        Ok(Reply::data(len))
    }

    fn parse_log(&self, sqe: &Sqe) -> Result<Wanted, Failure> {
        let (cdw10, cdw14) = (sqe.cdw10.get(), sqe.cdw14.get());
        let dwords_z = cdw10 >> 16 | sqe.cdw11.get() << 16;
        let offset = u64::from(sqe.cdw12.get()) | u64::from(sqe.cdw13.get()) << 32;
        // Index offsets (OT) are not offered; byte offsets are dword aligned.
        if cdw14 & 1 << 23 != 0 || offset % 4 != 0 {
            return refuse(Status::INVALID_FIELD, 48);
        }
        let len = dwords_z
            .checked_add(1)
            .and_then(|n| n.checked_mul(4))
            .filter(|n| *n <= self.limits.admin_data);
        let Some(len) = len else {
            return refuse(Status::INVALID_FIELD, 42);
        };
        check_room(sqe, len)?;
        Ok(Wanted {
            offset,
            len,
            retain: cdw10 & log::RAE != 0,
            specific: (cdw10 >> log::LSP_SHIFT) as u8 & 0x7f,
        })
    }

    /// Size of a page in bytes.
    fn log_size(&self, page: u8, slot: usize, specific: u8) -> u64 {
        match page {
            log::SUPPORTED | FEATURES => 1024,
            log::ERROR => (ERROR_ENTRIES * 64) as u64,
            log::SMART | log::FIRMWARE => 512,
            log::CHANGED_NAMESPACES | log::EFFECTS => 4096,
            log::ANA => {
                let groups = u64::from(ANA_GROUPS) * size_of::<AnaGroup>() as u64;
                let names = if specific & 1 == 0 {
                    u64::from(MAX_NSID) * 4
                } else {
                    0
                };
                size_of::<AnaHeader>() as u64 + groups + names
            }
            _ => self.discovery_log_size(slot),
        }
    }

    fn rearm(&mut self, slot: usize, page: u8) {
        let Some(controller) = self.controllers.get_mut(slot) else {
            return;
        };
        match page {
            log::ERROR => controller.rearm(EventKind::InternalError),
            log::SMART => {
                controller.rearm(EventKind::Reliability);
                controller.rearm(EventKind::Temperature);
            }
            log::CHANGED_NAMESPACES => {
                controller.changed = 0;
                controller.rearm(EventKind::NamespaceChanged);
            }
            log::ANA => controller.rearm(EventKind::AnaChange),
            log::DISCOVERY => controller.rearm(EventKind::DiscoveryChange),
            _ => {}
        }
    }

    fn error_log(&self, window: &mut Window<'_>, slot: usize) {
        let Some(controller) = self.controllers.get(slot) else {
            return;
        };
        for record in controller.errors.iter().rev() {
            let mut entry = ErrorEntry::default();
            entry.count.set(record.count.into());
            entry.sqid.set(record.qid);
            entry.cid.set(record.cid);
            entry.status.set(record.status.to_wire());
            entry.location.set(record.location);
            entry.nsid.set(record.nsid);
            entry.trtype = controller.transport.trtype();
            entry.command = [0, record.opcode];
            entry.version = 1;
            window.put(entry.as_bytes());
        }
    }

    fn smart_log(&self, window: &mut Window<'_>, slot: usize) {
        let Some(controller) = self.controllers.get(slot) else {
            return;
        };
        let mine =
            |n: &&crate::config::Namespace| n.nsid != 0 && n.subsystem == controller.subsystem;
        let lost = self
            .namespaces
            .iter()
            .filter(mine)
            .any(|n| n.entry.flags & NamespaceEntry::LOST != 0);
        let mut smart = SmartLog::new_zeroed();
        smart.warning = u8::from(controller.hot) << 1 | u8::from(lost) << 2;
        smart.temperature.set(self.usage.kelvin);
        smart.spare = 100;
        smart.spare_threshold = 10;
        smart.reads[0].set(self.usage.reads);
        smart.writes[0].set(self.usage.writes);
        smart.units_read[0].set(self.usage.units_read);
        smart.units_written[0].set(self.usage.units_written);
        smart.power_on_hours[0].set(self.usage.hours.into());
        smart.power_cycles[0].set(1);
        smart.error_entries[0].set(controller.error_count.into());
        window.put(smart.as_bytes());
    }

    fn changed_log(&self, window: &mut Window<'_>, slot: usize) {
        let Some(controller) = self.controllers.get(slot) else {
            return;
        };
        for nsid in (1..=MAX_NSID).filter(|nsid| controller.changed & 1 << (nsid - 1) != 0) {
            window.put(&nsid.to_le_bytes());
        }
    }

    fn effects_log(&self, window: &mut Window<'_>, slot: usize) {
        // Ascending opcodes, as the page is made from front to back.
        for opcode in AdminOpcode::ALL
            .iter()
            .filter(|o| COMMANDS.iter().any(|(known, _)| known == *o))
        {
            window.seek(*opcode as u64 * 4);
            window.put(&effects::SUPPORTED.to_le_bytes());
        }
        for opcode in NvmOpcode::ALL {
            let works = match opcode {
                NvmOpcode::Flush | NvmOpcode::Read | NvmOpcode::Write => true,
                NvmOpcode::Compare => self.all_namespaces(slot, NamespaceEntry::COMPARE),
                NvmOpcode::WriteZeroes => self.all_namespaces(slot, NamespaceEntry::WRITE_ZEROES),
                NvmOpcode::DatasetManagement => self.all_namespaces(slot, NamespaceEntry::DSM),
                _ => false,
            };
            if works {
                window.seek(effects::IO_OFFSET as u64 + *opcode as u64 * 4);
                window.put(&oncs_effects(*opcode).to_le_bytes());
            }
        }
    }

    /// One path per namespace in this release: every group is optimized. Groups without namespaces are left out.
    fn ana_log(&self, window: &mut Window<'_>, slot: usize, specific: u8) {
        let Some(controller) = self
            .controllers
            .get(slot)
            .filter(|c| c.subsystem != DISCOVERY)
        else {
            return;
        };
        let names_only = specific & 1 == 0;
        let members = |group: u32| {
            let of = controller.subsystem;
            (1..=MAX_NSID).filter(move |nsid| {
                self.namespace(of, *nsid)
                    .is_some_and(|n| group == n.ana_group.into())
            })
        };
        let used = || (1..=ANA_GROUPS).filter(|group| members(*group).next().is_some());
        let header = AnaHeader {
            changes: 0.into(),
            groups: (used().count() as u16).into(),
            reserved: [0; 6],
        };
        window.put(header.as_bytes());
        for group in used() {
            let count = if names_only {
                members(group).count() as u32
            } else {
                0
            };
            let descriptor = AnaGroup {
                group: group.into(),
                namespaces: count.into(),
                changes: 0.into(),
                state: AnaState::Optimized as u8,
                reserved: [0; 15],
            };
            window.put(descriptor.as_bytes());
            for nsid in members(group).filter(|_| names_only) {
                window.put(&nsid.to_le_bytes());
            }
        }
    }
}

fn supported(window: &mut Window<'_>, pages: &[u8]) {
    for page in pages {
        window.seek(u64::from(*page) * 4);
        window.put(&1u32.to_le_bytes());
    }
}

// The features page is made in ascending order too.
const _: () = assert!(feature::ARBITRATION < feature::HOST_ID);
