//! Get Log Page (Base, section 5.1.12).

use std::collections::VecDeque;

use sluice_wire::nvme::{
    AdminOpcode, AsyncEvent, ErrorEntry, NSID_ALL, NvmOpcode, SmartLog, Sqe, Status, effects, log,
    oncs_effects,
};
use zerocopy::IntoBytes;

use super::Ssd;

/// Entries of the error log.
pub(super) const ERRORS: usize = 64;

/// What is kept for the log pages.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// Newest first.
    errors: VecDeque<ErrorEntry>,
    error_count: u64,
    pub unsafe_shutdowns: u64,
    /// Events not yet told.
    pub events: VecDeque<AsyncEvent>,
    /// Kinds of events that were told and whose log page was not read yet.
    pub masked: u8,
}

impl Logs {
    pub fn error(&mut self, sqid: u16, sqe: &Sqe, status: Status) {
        self.error_count += 1;
        let mut entry = ErrorEntry::default();
        entry.count.set(self.error_count);
        entry.sqid.set(sqid);
        entry.cid = sqe.cid;
        entry.status.set(status.to_wire());
        entry.location.set(0xFFFF);
        entry.lba.set(if sqid == 0 { 0 } else { sqe.slba() });
        entry.nsid = sqe.nsid;
        self.errors.push_front(entry);
        self.errors.truncate(ERRORS);
    }
}

/// Bytes that a Get Log Page transfers; at most 1 MiB here.
pub(super) fn length(sqe: &Sqe) -> Result<u32, Status> {
    let dwords = u64::from(sqe.cdw10.get() >> 16) | u64::from(sqe.cdw11.get() & 0xFFFF) << 16;
    u32::try_from((dwords + 1) * 4)
        .ok()
        .filter(|n| *n <= 1 << 20)
        .ok_or(Status::INVALID_FIELD.no_retry())
}

impl Ssd {
    pub(super) fn log_page(&mut self, sqe: &Sqe) -> Result<Vec<u8>, Status> {
        let page = sqe.cdw10.get() as u8;
        let whole = match page {
            log::ERROR => self
                .logs
                .errors
                .iter()
                .flat_map(|e| e.as_bytes().to_vec())
                .collect(),
            log::SMART if matches!(sqe.nsid.get(), 0 | NSID_ALL) => {
                self.smart().as_bytes().to_vec()
            }
            log::SMART => return Err(Status::INVALID_FIELD.no_retry()),
            log::FIRMWARE => self.firmware.log(),
            log::CHANGED_NAMESPACES => vec![0; 4096],
            log::EFFECTS => commands_supported(),
            _ => return Err(Status::INVALID_LOG_PAGE.no_retry()),
        };
        if sqe.cdw10.get() & log::RAE == 0 {
            // Error, SMART and notice events are re-armed by their page (Base, section 5.1.2).
            self.logs.masked &= match page {
                log::ERROR => !1,
                log::SMART => !2,
                _ => !4,
            };
            self.tell_events();
        }
        let offset = u64::from(sqe.cdw12.get()) | u64::from(sqe.cdw13.get()) << 32;
        let (offset, len) = (
            usize::try_from(offset).unwrap_or(usize::MAX),
            length(sqe)? as usize,
        );
        if offset % 4 != 0 || offset > whole.len().max(4096) {
            return Err(Status::INVALID_FIELD.no_retry());
        }
        let mut part: Vec<u8> = whole.into_iter().skip(offset).take(len).collect();
        part.resize(len, 0);
        Ok(part)
    }

    fn smart(&self) -> SmartLog {
        let mut smart = SmartLog {
            spare: 100,
            spare_threshold: 10,
            ..SmartLog::default()
        };
        // 40 °C in kelvin.
        smart.temperature.set(313);
        let units = |bytes: u64| bytes.div_ceil(512_000);
        smart.units_read[0].set(units(self.stats.bytes_read));
        smart.units_written[0].set(units(self.stats.bytes_written));
        smart.reads[0].set(self.stats.reads);
        smart.writes[0].set(self.stats.writes);
        smart.power_cycles[0].set(1 + self.logs.unsafe_shutdowns);
        smart.unsafe_shutdowns[0].set(self.logs.unsafe_shutdowns);
        smart.error_entries[0].set(self.logs.error_count);
        smart
    }
}

fn commands_supported() -> Vec<u8> {
    use AdminOpcode::{
        Abort, AsyncEvent, CreateCq, CreateSq, DeleteCq, DeleteSq, FirmwareCommit,
        FirmwareDownload, FormatNvm, GetFeatures, GetLogPage, Identify, SetFeatures,
    };
    use NvmOpcode::{
        Compare, DatasetManagement, Flush, Read, Write, WriteUncorrectable, WriteZeroes,
    };
    let mut page = vec![0; effects::SIZE];
    let mut put = |at: usize, bits: u32| page[at..at + 4].copy_from_slice(&bits.to_le_bytes());
    for op in [
        DeleteSq,
        CreateSq,
        GetLogPage,
        DeleteCq,
        CreateCq,
        Identify,
        Abort,
        SetFeatures,
        GetFeatures,
        AsyncEvent,
        FirmwareDownload,
        FirmwareCommit,
    ] {
        put(4 * op as usize, effects::SUPPORTED);
    }
    // Changes blocks and what namespaces are.
    let format = effects::SUPPORTED | effects::BLOCKS_CHANGE | 1 << 2;
    put(4 * FormatNvm as usize, format);
    for op in [
        Flush,
        Write,
        Read,
        WriteUncorrectable,
        Compare,
        WriteZeroes,
        DatasetManagement,
    ] {
        put(effects::IO_OFFSET + 4 * op as usize, oncs_effects(op));
    }
    page
}
