//! Commands ready to submit: a submission queue entry without data pointer and identifier, and the data.

use sluice_wire::{
    fabrics::{CATTR_NO_FLOW_CONTROL, ConnectCommand, ConnectData, FabricsType, OPCODE},
    nvme::{AdminOpcode, DsmRange, IDENTIFY_SIZE, NvmOpcode, Sqe, dsm},
};
use zerocopy::IntoBytes;

/// Data of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    /// None.
    None,
    /// From the host to the card.
    ToCard(Vec<u8>),
    /// So many bytes from the card.
    FromCard(usize),
}

/// A command. The queue fills in the command identifier and the SGL descriptor.
#[derive(Clone, Debug)]
pub struct Command {
    /// The entry.
    pub sqe: Sqe,
    /// The data.
    pub data: Data,
    /// Fabrics and admin commands send their data in the capsule whatever the queue's limit says.
    pub always_in_capsule: bool,
}

impl Command {
    /// A command of the given opcode.
    #[must_use]
    pub fn new(opcode: u8, nsid: u32, data: Data) -> Self {
        Self {
            sqe: Sqe::new(opcode, 0, nsid),
            data,
            always_in_capsule: false,
        }
    }

    fn blocks(opcode: NvmOpcode, nsid: u32, slba: u64, blocks: u32, data: Data) -> Self {
        let mut command = Self::new(opcode as u8, nsid, data);
        command.sqe.set_slba(slba);
        command
            .sqe
            .set_nlb_control(blocks.wrapping_sub(1) as u16, 0);
        command
    }

    /// Read of `blocks` blocks (1 to 65,536).
    #[must_use]
    pub fn read(nsid: u32, slba: u64, blocks: u32, block_size: usize) -> Self {
        let data = Data::FromCard(blocks as usize * block_size);
        Self::blocks(NvmOpcode::Read, nsid, slba, blocks, data)
    }

    /// Write of whole blocks.
    #[must_use]
    pub fn write(nsid: u32, slba: u64, data: Vec<u8>, block_size: usize) -> Self {
        let blocks = (data.len() / block_size) as u32;
        Self::blocks(NvmOpcode::Write, nsid, slba, blocks, Data::ToCard(data))
    }

    /// Compare with whole blocks.
    #[must_use]
    pub fn compare(nsid: u32, slba: u64, data: Vec<u8>, block_size: usize) -> Self {
        let blocks = (data.len() / block_size) as u32;
        Self::blocks(NvmOpcode::Compare, nsid, slba, blocks, Data::ToCard(data))
    }

    /// Write Zeroes.
    #[must_use]
    pub fn write_zeroes(nsid: u32, slba: u64, blocks: u32) -> Self {
        Self::blocks(NvmOpcode::WriteZeroes, nsid, slba, blocks, Data::None)
    }

    /// Flush.
    #[must_use]
    pub fn flush(nsid: u32) -> Self {
        Self::new(NvmOpcode::Flush as u8, nsid, Data::None)
    }

    /// Dataset Management that deallocates ranges of (first block, blocks).
    #[must_use]
    pub fn deallocate(nsid: u32, ranges: &[(u64, u32)]) -> Self {
        let range = |(slba, blocks): &(u64, u32)| DsmRange {
            attributes: 0.into(),
            blocks: (*blocks).into(),
            slba: (*slba).into(),
        };
        let data = ranges
            .iter()
            .flat_map(|r| range(r).as_bytes().to_vec())
            .collect();
        let mut command = Self::new(NvmOpcode::DatasetManagement as u8, nsid, Data::ToCard(data));
        command.sqe.cdw10.set(ranges.len() as u32 - 1);
        command.sqe.cdw11.set(dsm::DEALLOCATE);
        command
    }

    /// Identify.
    #[must_use]
    pub fn identify(cns: u8, nsid: u32) -> Self {
        let mut command = Self::new(
            AdminOpcode::Identify as u8,
            nsid,
            Data::FromCard(IDENTIFY_SIZE),
        );
        command.sqe.cdw10.set(u32::from(cns));
        command
    }

    /// Get Log Page: `len` bytes (a multiple of 4) from `offset`.
    #[must_use]
    pub fn log_page(page: u8, nsid: u32, offset: u64, len: usize) -> Self {
        let mut command = Self::new(AdminOpcode::GetLogPage as u8, nsid, Data::FromCard(len));
        let dwords_z = (len / 4) as u32 - 1;
        command.sqe.cdw10.set(u32::from(page) | dwords_z << 16);
        command.sqe.cdw11.set(dwords_z >> 16);
        command.sqe.cdw12.set(offset as u32);
        command.sqe.cdw13.set((offset >> 32) as u32);
        command
    }

    /// Get Features without data.
    #[must_use]
    pub fn get_features(feature: u8, select: u8) -> Self {
        let mut command = Self::new(AdminOpcode::GetFeatures as u8, 0, Data::None);
        command
            .sqe
            .cdw10
            .set(u32::from(feature) | u32::from(select) << 8);
        command
    }

    /// Set Features without data.
    #[must_use]
    pub fn set_features(feature: u8, value: u32) -> Self {
        let mut command = Self::new(AdminOpcode::SetFeatures as u8, 0, Data::None);
        command.sqe.cdw10.set(u32::from(feature));
        command.sqe.cdw11.set(value);
        command
    }

    /// Keep Alive.
    #[must_use]
    pub fn keep_alive() -> Self {
        Self::new(AdminOpcode::KeepAlive as u8, 0, Data::None)
    }

    /// Asynchronous Event Request.
    #[must_use]
    pub fn async_event() -> Self {
        Self::new(AdminOpcode::AsyncEvent as u8, 0, Data::None)
    }

    /// Abort of command `cid` of submission queue `sqid`.
    #[must_use]
    pub fn abort(sqid: u16, cid: u16) -> Self {
        let mut command = Self::new(AdminOpcode::Abort as u8, 0, Data::None);
        command
            .sqe
            .cdw10
            .set(u32::from(sqid) | u32::from(cid) << 16);
        command
    }

    fn fabrics(kind: FabricsType, data: Data) -> Self {
        Self {
            always_in_capsule: true,
            ..Self::new(OPCODE, kind as u32, data)
        }
    }

    /// Connect of queue `qid` with `entries` entries.
    #[must_use]
    pub fn connect(
        qid: u16,
        entries: u16,
        flow_control: bool,
        kato_ms: u32,
        data: &ConnectData,
    ) -> Self {
        let bytes = data.as_bytes().to_vec();
        let mut command = Self::fabrics(FabricsType::Connect, Data::ToCard(bytes));
        let mut connect: ConnectCommand = zerocopy::transmute!(command.sqe);
        connect.qid.set(qid);
        connect.sqsize_z.set(entries - 1);
        connect.cattr = if flow_control {
            0
        } else {
            CATTR_NO_FLOW_CONTROL
        };
        connect.kato.set(kato_ms);
        command.sqe = zerocopy::transmute!(connect);
        command
    }

    /// Property Get; 8 bytes if `wide`, else 4.
    #[must_use]
    pub fn property_get(offset: u32, wide: bool) -> Self {
        let mut command = Self::fabrics(FabricsType::PropertyGet, Data::None);
        command.sqe.cdw10.set(u32::from(wide));
        command.sqe.cdw11.set(offset);
        command
    }

    /// Property Set of 4 bytes.
    #[must_use]
    pub fn property_set(offset: u32, value: u32) -> Self {
        let mut command = Self::fabrics(FabricsType::PropertySet, Data::None);
        command.sqe.cdw11.set(offset);
        command.sqe.cdw12.set(value);
        command
    }

    /// Disconnect of the queue it is sent on.
    #[must_use]
    pub fn disconnect() -> Self {
        Self::fabrics(FabricsType::Disconnect, Data::None)
    }
}
