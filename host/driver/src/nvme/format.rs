//! Namespaces of an SSD: which there are, and formatting them.

use sluice_device::Device;
use sluice_wire::nvme::{AdminOpcode, IdentifyNamespace, NSID_ALL, NamespaceList, Sqe, cns};
use zerocopy::FromBytes;

use super::{Ssd, SsdError, Transfer, identify};

/// OACS: Format NVM.
const CAN_FORMAT: u16 = 1 << 1;
/// OACS: Namespace Management.
const CAN_MANAGE: u16 = 1 << 3;

/// What Format does to data that were there (SES; Base, figure 189).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Erase {
    /// Nothing is promised.
    #[default]
    None = 0,
    /// All user data are erased.
    UserData = 1,
    /// The key is thrown away.
    Cryptographic = 2,
}

/// Namespace identifiers of an SSD.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NamespaceIds {
    /// Attached to its controller.
    pub active: Vec<u32>,
    /// All that exist, attached or not; as `active` if the SSD does not tell.
    pub allocated: Vec<u32>,
}

impl<D: Device> Ssd<D> {
    /// Which namespaces there are.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn namespace_ids(&mut self) -> Result<NamespaceIds, SsdError> {
        let active = self.list(cns::ACTIVE_LIST)?;
        let allocated = if self.info.oacs & CAN_MANAGE == 0 {
            active.clone()
        } else {
            self.list(cns::ALLOCATED_LIST)?
        };
        Ok(NamespaceIds { active, allocated })
    }

    /// A page of Identify data as it came (CNS and NSID as in Base, section 5.1.13).
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn identify_page(&mut self, cns: u8, nsid: u32) -> Result<Vec<u8>, SsdError> {
        let page = self.admin.identify(&self.device, cns, nsid)?;
        Ok(page.into())
    }

    fn list(&mut self, what: u8) -> Result<Vec<u32>, SsdError> {
        let mut all: Vec<u32> = Vec::new();
        loop {
            let last = all.last().copied().unwrap_or(0);
            let page = self.admin.identify(&self.device, what, last)?;
            let list = NamespaceList::ref_from_bytes(&page).expect("same size, no alignment");
            let before = all.len();
            let ids = list.nsid.iter().map(|n| n.get());
            all.extend(ids.take_while(|n| *n > last));
            all.dedup();
            if all.len() - before < list.nsid.len() || all.last() >= Some(&0xFFFF_FFFE) {
                return Ok(all);
            }
        }
    }

    /// Formats namespace `nsid` with blocks of `1 << block_shift` bytes without metadata. All its data are gone, and
    /// with [`SsdInfo::fna`](super::SsdInfo::fna) bit 0 those of all others too. Nothing may use it meanwhile:
    /// [`Rig::format_namespace`](crate::bringup::Rig::format_namespace) sees to that.
    ///
    /// # Errors
    /// [`SsdError`]; `Argument` if there is no such format.
    pub fn format(&mut self, nsid: u32, block_shift: u8, erase: Erase) -> Result<(), SsdError> {
        let unsupported = |what| SsdError::Unsupported {
            name: self.device.name().into(),
            what,
        };
        if self.info.oacs & CAN_FORMAT == 0 {
            return Err(unsupported("Format NVM"));
        }
        if erase == Erase::Cryptographic && self.info.fna & 4 == 0 {
            return Err(unsupported("cryptographic erase"));
        }
        let page = self.admin.identify(&self.device, cns::NAMESPACE, nsid)?;
        let id = IdentifyNamespace::ref_from_bytes(&page).expect("same size, no alignment");
        let formats = usize::from(id.nlbaf_z) + 1;
        let usable = |(i, f): &(usize, &sluice_wire::nvme::LbaFormat)| {
            *i < formats && f.ms.get() == 0 && f.lbads >= 9
        };
        let found = (id.lbaf.iter().enumerate()).find(|f| usable(f) && f.1.lbads == block_shift);
        let Some((index, _)) = found else {
            let have = id
                .lbaf
                .iter()
                .enumerate()
                .filter(usable)
                .map(|(_, f)| format!("{}", 1u64 << f.lbads));
            return Err(SsdError::Argument {
                name: self.device.name().into(),
                what: "block size",
                want: have.collect::<Vec<_>>().join(" or "),
                got: 1u64
                    .checked_shl(block_shift.into())
                    .unwrap_or(0)
                    .to_string(),
            });
        };
        let mut sqe = Sqe::new(AdminOpcode::FormatNvm as u8, 0, nsid);
        // LBAFL, SES, LBAFU (NVM, figure 87; Base, figure 189).
        let index = index as u32;
        sqe.cdw10
            .set(index & 0xF | (erase as u32) << 9 | (index >> 4 & 3) << 12);
        self.admin.execute(&self.device, "Format NVM", sqe)?;
        self.refresh()
    }

    /// Whether formatting `nsid` formats other namespaces too.
    #[must_use]
    pub fn format_takes_all(&self, nsid: u32) -> bool {
        nsid == NSID_ALL || self.info.fna & 1 != 0
    }

    /// Asks again what it is, after something has changed it.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn refresh(&mut self) -> Result<(), SsdError> {
        self.info = identify::identify(&self.device, &mut self.admin, self.cap)?;
        Ok(())
    }

    /// A command with data, for the other files of this folder.
    pub(super) fn command(
        &mut self,
        command: &'static str,
        sqe: Sqe,
        data: &Transfer<'_>,
    ) -> Result<sluice_wire::nvme::Cqe, SsdError> {
        let (cqe, _) = self.admin.transfer(&self.device, command, sqe, data)?;
        Ok(cqe)
    }
}
