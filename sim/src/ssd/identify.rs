//! Identify (Base, section 5.1.13; NVM, section 4.1.5).

use sluice_wire::nvme::{
    ControllerList, IdentifyController, IdentifyNamespace, LbaFormat, NSID_ALL, Sqe, Status,
    Version, cns, csi, nidt,
};
use zerocopy::IntoBytes;

use super::{Namespace, Ssd, admin};

/// Memory page size; only CC.MPS 0 is supported.
pub(super) const PAGE: u64 = 4096;
/// Controller identifier.
const CNTLID: u16 = 1;

impl Ssd {
    pub(super) fn identify(&self, sqe: &Sqe) -> Result<Vec<u8>, Status> {
        let (what, nsid) = (sqe.cdw10.get() as u8, sqe.nsid.get());
        let set = (sqe.cdw11.get() >> 24) as u8;
        let bad = Status::INVALID_FIELD.no_retry();
        if matches!(what, cns::CS_NAMESPACE..=cns::CS_ACTIVE_LIST) && set != csi::NVM {
            return Err(bad);
        }
        let mut page = vec![0; 4096];
        match what {
            cns::NAMESPACE if nsid == NSID_ALL => {
                return Ok(common_namespace().as_bytes().to_vec());
            }
            cns::NAMESPACE | cns::ALLOCATED_NAMESPACE => {
                return Ok(self.identify_namespace(nsid)?.as_bytes().to_vec());
            }
            cns::CONTROLLER => return Ok(self.identify_controller().as_bytes().to_vec()),
            cns::ACTIVE_LIST | cns::CS_ACTIVE_LIST | cns::ALLOCATED_LIST => {
                if nsid >= 0xFFFF_FFFE {
                    return Err(Status::INVALID_NAMESPACE.no_retry());
                }
                let ids = nsid + 1..=self.namespaces.len() as u32;
                for (slot, id) in page.chunks_exact_mut(4).zip(ids) {
                    slot.copy_from_slice(&id.to_le_bytes());
                }
            }
            cns::DESCRIPTORS => {
                self.namespace(nsid)?;
                descriptors(&mut page, &self.nguid(nsid));
            }
            // No protection information, no limits of its own: all zeros.
            cns::CS_NAMESPACE => drop(self.namespace(nsid)?),
            cns::CS_CONTROLLER => {}
            cns::ATTACHED_CONTROLLERS | cns::CONTROLLERS => {
                if what == cns::ATTACHED_CONTROLLERS {
                    self.namespace(nsid)?;
                }
                return Ok(controllers((sqe.cdw10.get() >> 16) as u16));
            }
            _ => return Err(bad),
        }
        Ok(page)
    }

    pub(super) fn namespace(&self, nsid: u32) -> Result<&Namespace, Status> {
        let index = (nsid as usize).checked_sub(1);
        index
            .and_then(|i| self.namespaces.get(i))
            .ok_or(Status::INVALID_NAMESPACE.no_retry())
    }

    fn identify_controller(&self) -> IdentifyController {
        let mut id = IdentifyController::default();
        let config = &self.config;
        id.vid.set(0x1AF4);
        id.ssvid.set(0x1AF4);
        text(&mut id.sn, &config.serial);
        text(&mut id.mn, &config.model);
        id.fr = self.firmware.revision();
        id.mdts = config.mdts;
        id.cntlid.set(CNTLID);
        id.ver.set(Version::V1_4.0);
        id.cntrltype = 1;
        id.acl_z = admin::ABORTS_Z;
        id.aerl_z = admin::EVENTS_Z;
        id.oacs.set(super::maintain::OACS);
        id.frmw = super::maintain::FRMW;
        id.fwug = super::maintain::FWUG;
        // Commands supported and effects; offsets in log pages.
        id.lpa = 0b110;
        id.elpe_z = super::logs::ERRORS as u8 - 1;
        id.wctemp.set(343);
        id.cctemp.set(353);
        id.sqes = 0x66;
        id.cqes = 0x44;
        id.nn.set(self.namespaces.len() as u32);
        // Compare, Write Uncorrectable, Dataset Management, Write Zeroes.
        id.oncs.set(0b1111);
        // A flush of all namespaces at once works.
        id.vwc = u8::from(config.volatile_cache) | 0b110;
        id.sgls.set(u32::from(config.sgl));
        id.mnan.set(0);
        let nqn = format!("nqn.2026-01.io.sluice:ssd:{}", config.serial);
        id.subnqn[..nqn.len().min(223)].copy_from_slice(&nqn.as_bytes()[..nqn.len().min(223)]);
        let bytes: u128 = self
            .namespaces
            .iter()
            .map(|n| u128::from(n.spec.blocks) << n.spec.block_shift)
            .sum();
        id.tnvmcap = bytes.to_le_bytes();
        id
    }

    fn identify_namespace(&self, nsid: u32) -> Result<IdentifyNamespace, Status> {
        let ns = self.namespace(nsid)?;
        let mut id = common_namespace();
        for size in [&mut id.nsze, &mut id.ncap, &mut id.nuse] {
            size.set(ns.spec.blocks);
        }
        id.flbas = u8::from(ns.spec.block_shift == 12);
        id.nsattr = u8::from(ns.spec.write_protected);
        id.nguid = self.nguid(nsid);
        id.eui64.copy_from_slice(&self.nguid(nsid)[8..]);
        id.nvmcap = (u128::from(ns.spec.blocks) << ns.spec.block_shift).to_le_bytes();
        Ok(id)
    }

    /// Made from the serial number, so that it stays the same.
    fn nguid(&self, nsid: u32) -> [u8; 16] {
        let hash = self
            .config
            .serial
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3)
            });
        let mut id = [0; 16];
        id[..8].copy_from_slice(&hash.to_be_bytes());
        // An OUI-shaped first half of the EUI-64 with the local bit set.
        id[8..12].copy_from_slice(&[0x02, 0x53, 0x4C, hash as u8]);
        id[12..].copy_from_slice(&nsid.to_be_bytes());
        id
    }
}

/// What all namespaces share: formats and features.
fn common_namespace() -> IdentifyNamespace {
    let mut id = IdentifyNamespace {
        nlbaf_z: 1,
        // Deallocated blocks read as zeros; Write Zeroes can deallocate.
        dlfeat: 0b1001,
        ..IdentifyNamespace::default()
    };
    let format = |lbads, rp| LbaFormat {
        ms: 0.into(),
        lbads,
        rp,
    };
    (id.lbaf[0], id.lbaf[1]) = (format(9, 1), format(12, 0));
    id
}

fn descriptors(page: &mut [u8], nguid: &[u8; 16]) {
    let mut uuid = *nguid;
    // Version 8 (custom), variant 1 (RFC 9562).
    uuid[6] = uuid[6] & 0x0F | 0x80;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    let all: [(u8, &[u8]); 4] = [
        (nidt::EUI64, &nguid[8..]),
        (nidt::NGUID, nguid),
        (nidt::UUID, &uuid),
        (nidt::CSI, &[csi::NVM]),
    ];
    let mut at = 0;
    for (kind, value) in all {
        page[at] = kind;
        page[at + 1] = value.len() as u8;
        page[at + 4..][..value.len()].copy_from_slice(value);
        at += 4 + value.len();
    }
}

fn controllers(from: u16) -> Vec<u8> {
    let mut list = ControllerList {
        count: 0.into(),
        cntlid: [0.into(); 2047],
    };
    if from <= CNTLID {
        list.count.set(1);
        list.cntlid[0].set(CNTLID);
    }
    list.as_bytes().to_vec()
}

/// ASCII, padded with spaces.
pub(super) fn text(into: &mut [u8], from: &str) {
    into.fill(b' ');
    for (to, byte) in into.iter_mut().zip(from.bytes()) {
        *to = byte;
    }
}
