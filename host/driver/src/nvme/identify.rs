//! What an SSD says it is.

use sluice_device::Device;
use sluice_wire::nvme::{Cap, IdentifyController, IdentifyNamespace, NamespaceList, cns, nidt};
use zerocopy::FromBytes;

use super::SsdError;
use super::admin::AdminQueue;

/// An SSD.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SsdInfo {
    /// Serial number.
    pub serial: String,
    /// Model number.
    pub model: String,
    /// Firmware revision.
    pub firmware: String,
    /// Largest transfer in bytes (MDTS); 0 for no limit.
    pub max_transfer: u32,
    /// Optional NVM commands (ONCS).
    pub oncs: u16,
    /// Volatile write cache (VWC).
    pub vwc: u8,
    /// Deepest queue, entries.
    pub max_entries: u32,
    /// Optional admin commands (OACS).
    pub oacs: u16,
    /// Firmware updates (FRMW): bit 0 slot 1 read-only, 3:1 slots, 4 activation without reset.
    pub frmw: u8,
    /// Granularity of a firmware download in 4 KiB (FWUG); 0 not said, 255 none.
    pub fwug: u8,
    /// Format attributes (FNA): bit 0 all namespaces at once, 1 erased all at once, 2 cryptographic erase.
    pub fna: u8,
    /// Entries of the error log.
    pub error_entries: u16,
    /// Namespaces that can be used: block sizes of 512 or 4,096 bytes without metadata.
    pub namespaces: Vec<SsdNamespace>,
}

/// A namespace of an SSD.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SsdNamespace {
    /// NSID on the SSD.
    pub nsid: u32,
    /// Logical blocks.
    pub blocks: u64,
    /// log2 of the block size: 9 or 12.
    pub block_shift: u8,
    /// The SSD refuses writes.
    pub write_protected: bool,
    /// NGUID, or zeros.
    pub nguid: [u8; 16],
    /// EUI-64, or zeros.
    pub eui64: [u8; 8],
    /// UUID, or zeros.
    pub uuid: [u8; 16],
}

pub(super) fn identify<D: Device>(
    device: &D,
    admin: &mut AdminQueue,
    cap: Cap,
) -> Result<SsdInfo, SsdError> {
    let page = admin.identify(device, cns::CONTROLLER, 0)?;
    let id = IdentifyController::ref_from_bytes(&page).expect("same size, no alignment");
    let mut info = SsdInfo {
        serial: text(&id.sn),
        model: text(&id.mn),
        firmware: text(&id.fr),
        // Beyond 2 GiB it limits nothing here.
        max_transfer: if (1..19).contains(&id.mdts) {
            4096 << id.mdts
        } else {
            0
        },
        oncs: id.oncs.get(),
        vwc: id.vwc,
        oacs: id.oacs.get(),
        frmw: id.frmw,
        fwug: id.fwug,
        fna: id.fna,
        error_entries: u16::from(id.elpe_z) + 1,
        max_entries: u32::from(cap.mqes_z()) + 1,
        namespaces: Vec::new(),
    };
    let mut last = 0;
    loop {
        let page = admin.identify(device, cns::ACTIVE_LIST, last)?;
        let list = NamespaceList::ref_from_bytes(&page).expect("same size, no alignment");
        let ids: Vec<u32> = list
            .nsid
            .iter()
            .map(|n| n.get())
            .take_while(|n| *n > last)
            .collect();
        for nsid in &ids {
            info.namespaces.extend(namespace(device, admin, *nsid)?);
        }
        match ids.last() {
            Some(nsid) if ids.len() == list.nsid.len() => last = *nsid,
            _ => return Ok(info),
        }
    }
}

fn namespace<D: Device>(
    device: &D,
    admin: &mut AdminQueue,
    nsid: u32,
) -> Result<Option<SsdNamespace>, SsdError> {
    let page = admin.identify(device, cns::NAMESPACE, nsid)?;
    let id = IdentifyNamespace::ref_from_bytes(&page).expect("same size, no alignment");
    // FLBAS: bits 3:0 and 6:5 (NVM, figure 114).
    let format = usize::from(id.flbas & 0xF | (id.flbas & 0x60) >> 1);
    let format = id.lbaf[format];
    if !matches!(format.lbads, 9 | 12) || format.ms.get() != 0 || id.dps & 7 != 0 {
        log::warn!(
            "{}: namespace {nsid} left out: blocks of 512 or 4096 bytes without metadata wanted, it has 2^{} + {} bytes",
            device.name(),
            format.lbads,
            format.ms.get(),
        );
        return Ok(None);
    }
    let mut ns = SsdNamespace {
        nsid,
        blocks: id.nsze.get(),
        block_shift: format.lbads,
        write_protected: id.nsattr & 1 != 0,
        nguid: id.nguid,
        eui64: id.eui64,
        uuid: [0; 16],
    };
    // Descriptors came with NVMe 1.3; without them there is just no UUID.
    if let Ok(list) = admin.identify(device, cns::DESCRIPTORS, nsid) {
        ns.uuid = uuid(&list).unwrap_or_default();
    }
    Ok(Some(ns))
}

/// The UUID in a list of namespace identification descriptors.
fn uuid(list: &[u8]) -> Option<[u8; 16]> {
    let mut rest = list;
    loop {
        let (kind, len) = (*rest.first()?, usize::from(*rest.get(1)?));
        if kind == 0 || len == 0 {
            return None;
        }
        let value = rest.get(4..4 + len)?;
        if kind == nidt::UUID {
            return value.try_into().ok();
        }
        rest = &rest[4 + len..];
    }
}

/// ASCII without its padding; anything else becomes `?`.
pub(super) fn text(bytes: &[u8]) -> String {
    let printable = |b: &u8| {
        if (0x20..0x7F).contains(b) {
            char::from(*b)
        } else {
            '?'
        }
    };
    let end = bytes
        .iter()
        .rposition(|b| *b != b' ' && *b != 0)
        .map_or(0, |i| i + 1);
    bytes[..end].iter().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_list_that_lies_about_its_length_gives_nothing() {
        let mut list = [0; 40];
        list[..2].copy_from_slice(&[nidt::EUI64, 8]);
        list[12..14].copy_from_slice(&[nidt::UUID, 16]);
        list[16..32].copy_from_slice(&[7; 16]);
        assert_eq!(uuid(&list), Some([7; 16]));
        list[1] = 200;
        assert_eq!(uuid(&list), None);
        list[13] = 15;
        list[1] = 8;
        assert_eq!(uuid(&list), None);
    }

    #[test]
    fn text_loses_padding_and_control_characters() {
        assert_eq!(text(b"AB C\x01  \0"), "AB C?");
        assert_eq!(text(b"    "), "");
    }
}
