//! From the checked configuration to the card's structures.

use sluice_wire::mgmt::{NamespaceConfig, PortConfig, SsdAttach, SubsystemConfig};

use crate::card::nqn_field;
use crate::config::{Namespace, Placed, Port, Subsystem};
use crate::nvme::SsdInfo;

/// ONCS bits (NVMe Base 2.1, figure 312) and the namespace flags that follow from them.
const FLAGS: [(u16, u8); 3] = [(1 << 2, 1 << 1), (1 << 3, 1 << 2), (1 << 0, 1 << 3)];
const READ_ONLY: u8 = 1;

pub(super) fn port(port: &Port) -> PortConfig {
    let (ipv4, ipv4_prefix) = port.ipv4.unwrap_or_default();
    let (ipv6, ipv6_prefix) = port.ipv6.unwrap_or_default();
    PortConfig {
        mac: port.mac,
        mtu: port.mtu.into(),
        ipv4,
        ipv4_prefix,
        ipv6_prefix,
        vlan: port.vlan.into(),
        ipv4_gateway: port.ipv4_gateway.unwrap_or_default(),
        ipv6,
        io_port: port.io_port.into(),
        discovery_port: port.discovery_port.into(),
        rdma_port: port.rdma_port.into(),
    }
}

pub(super) fn subsystem(subsystem: &Subsystem) -> SubsystemConfig {
    SubsystemConfig {
        nqn: nqn_field(&subsystem.nqn),
        serial: padded(&subsystem.serial),
        model: padded(&subsystem.model),
        allow_any_host: subsystem.allow_any_host.into(),
        reserved: [0; 3],
    }
}

/// `ssd`: its SSD's number on the card; `oncs`: what that SSD can do.
pub(super) fn namespace(spec: &Namespace, placed: &Placed, ssd: u32, oncs: u16) -> NamespaceConfig {
    let supported = FLAGS
        .iter()
        .filter(|(bit, _)| oncs & bit != 0)
        .fold(0, |all, (_, flag)| all | flag);
    NamespaceConfig {
        nsid: spec.nsid.into(),
        ssd: ssd.into(),
        ssd_nsid: spec.ssd_nsid.into(),
        first_block: spec.first_block.into(),
        blocks: placed.blocks.into(),
        block_shift: placed.block_shift,
        flags: supported | if placed.read_only { READ_ONLY } else { 0 },
        ana_group: spec.ana_group.into(),
        nguid: spec.nguid,
        eui64: spec.eui64,
        uuid: spec.uuid,
    }
}

pub(super) fn attach(
    info: &SsdInfo,
    doorbells: u64,
    stride: u32,
    queues: u16,
    timeout_ms: u32,
) -> SsdAttach {
    SsdAttach {
        doorbells: doorbells.into(),
        doorbell_stride: stride.into(),
        max_transfer: info.max_transfer.into(),
        queues: queues.into(),
        oncs: info.oncs.into(),
        vwc: info.vwc,
        reserved: [0; 3],
        timeout_ms: timeout_ms.into(),
    }
}

/// ASCII padded with spaces.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    field
}
