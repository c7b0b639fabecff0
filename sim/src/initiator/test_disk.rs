//! What the small targets of the initiator's own tests serve, whatever the transport: a disk in memory and a controller that
//! knows the commands of these tests.

use sluice_wire::{
    fabrics::{self, FabricsType},
    nvme::{
        AdminOpcode, DiscoveryEntry, DiscoveryHeader, DsmRange, IdentifyController,
        IdentifyNamespace, NvmOpcode, Sqe, Status, cns, register,
    },
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub(super) const BLOCK: usize = 512;

/// Disk and controller.
pub(super) struct Disk {
    pub(super) bytes: Vec<u8>,
    pub(super) keep_alives: u32,
    in_capsule: u32,
    cc: u32,
}

/// What a command comes to; success if there is data.
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) result: u64,
    pub(super) data: Vec<u8>,
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Self {
            status,
            result: 0,
            data: vec![],
        }
    }
}

fn success(result: u64) -> Answer {
    Answer {
        result,
        ..Status::SUCCESS.into()
    }
}

fn with(data: Vec<u8>) -> Answer {
    Answer { data, ..success(0) }
}

impl Disk {
    /// 16 MiB of zeros; writes of up to `in_capsule` bytes may lie in capsules.
    pub(super) fn new(in_capsule: u32) -> Self {
        Self {
            bytes: vec![0; 16 << 20],
            keep_alives: 0,
            in_capsule,
            cc: 0,
        }
    }

    /// Does what a command says; `data` is what came with it.
    pub(super) fn execute(&mut self, io: bool, sqe: &Sqe, data: &[u8]) -> Answer {
        if sqe.opcode == fabrics::OPCODE {
            self.fabrics(sqe, data)
        } else if io {
            self.nvm(sqe, data)
        } else {
            self.admin(sqe)
        }
    }

    fn fabrics(&mut self, sqe: &Sqe, data: &[u8]) -> Answer {
        success(match fabrics::fctype(sqe) {
            Some(FabricsType::Connect) => {
                assert_eq!(data.len(), 1024);
                1
            }
            Some(FabricsType::PropertySet) => {
                self.cc = sqe.cdw12.get();
                0
            }
            Some(FabricsType::PropertyGet) => match sqe.cdw11.get() {
                register::CAP => 0x1f_0000_00ff,
                register::CC => u64::from(self.cc),
                register::CSTS if self.cc & 0xc000 != 0 => 8,
                register::CSTS => u64::from(self.cc & 1),
                _ => 0,
            },
            _ => 0,
        })
    }

    fn admin(&mut self, sqe: &Sqe) -> Answer {
        match AdminOpcode::from_code(sqe.opcode) {
            Some(AdminOpcode::Identify) => with(self.identify(sqe)),
            Some(AdminOpcode::GetLogPage) => {
                let at = sqe.cdw12.get() as usize;
                let dwords_z = sqe.cdw10.get() >> 16 | sqe.cdw11.get() << 16;
                let len = (dwords_z as usize + 1) * 4;
                with(discovery_log()[at..at + len].to_vec())
            }
            Some(AdminOpcode::SetFeatures) => success(0x0003_0003),
            Some(AdminOpcode::KeepAlive) => {
                self.keep_alives += 1;
                success(0)
            }
            _ => Status::INVALID_OPCODE.no_retry().into(),
        }
    }

    fn nvm(&mut self, sqe: &Sqe, data: &[u8]) -> Answer {
        let at = sqe.slba() as usize * BLOCK;
        let len = (usize::from(sqe.nlb_z()) + 1) * BLOCK;
        let opcode = NvmOpcode::from_code(sqe.opcode);
        let addressed = !matches!(
            opcode,
            Some(NvmOpcode::Flush | NvmOpcode::DatasetManagement)
        );
        if addressed && at + len > self.bytes.len() {
            return Status::LBA_RANGE.no_retry().into();
        }
        let disk = &mut self.bytes;
        match opcode {
            Some(NvmOpcode::Read) => return with(disk[at..at + len].to_vec()),
            Some(NvmOpcode::Write) => disk[at..at + len].copy_from_slice(data),
            Some(NvmOpcode::Compare) if disk[at..at + len] != *data => {
                return Status::COMPARE_FAILED.into();
            }
            Some(NvmOpcode::WriteZeroes) => disk[at..at + len].fill(0),
            Some(NvmOpcode::DatasetManagement) => {
                for range in data
                    .chunks(16)
                    .filter_map(|b| DsmRange::read_from_bytes(b).ok())
                {
                    let at = range.slba.get() as usize * BLOCK;
                    disk[at..at + range.blocks.get() as usize * BLOCK].fill(0);
                }
            }
            Some(NvmOpcode::Flush | NvmOpcode::Compare) => {}
            _ => return Status::INVALID_OPCODE.into(),
        }
        success(0)
    }

    fn identify(&self, sqe: &Sqe) -> Vec<u8> {
        match sqe.cdw10.get() as u8 {
            cns::CONTROLLER => {
                let mut id = IdentifyController::new_zeroed();
                id.mdts = 5;
                id.ioccsz.set((64 + self.in_capsule) / 16);
                id.as_bytes().to_vec()
            }
            cns::NAMESPACE => {
                let mut id = IdentifyNamespace::new_zeroed();
                id.nsze.set((self.bytes.len() / BLOCK) as u64);
                id.lbaf[0].lbads = 9;
                id.as_bytes().to_vec()
            }
            _ => {
                let mut list = vec![0; 4096];
                list[0] = 1;
                list
            }
        }
    }
}

fn discovery_log() -> Vec<u8> {
    let mut header = DiscoveryHeader::default();
    header.generation.set(5);
    header.records.set(1);
    let mut entry = DiscoveryEntry {
        trtype: 3,
        subtype: 2,
        ..DiscoveryEntry::default()
    };
    entry.subnqn[..3].copy_from_slice(b"nqn");
    [header.as_bytes(), entry.as_bytes()].concat()
}
