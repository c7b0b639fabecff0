//! What an SSD says of itself: SMART / Health Information, the error log, firmware slots.

use serde::Serialize;
use sluice_device::Device;
use sluice_wire::nvme::{ErrorEntry, FirmwareSlots, SmartLog, Status, log as page};
use zerocopy::FromBytes;

use super::admin::MAX_DATA;
use super::{Ssd, SsdError, identify};

/// SMART / Health Information, all of it (NVMe Base 2.1, figure 207). 128-bit counters end at `u128`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Health {
    /// Critical warning: available spare is below its threshold.
    pub spare_low: bool,
    /// A temperature is beyond a threshold.
    pub temperature_warning: bool,
    /// Reliability is degraded by media errors.
    pub unreliable: bool,
    /// The media are read-only.
    pub read_only: bool,
    /// The volatile memory's backup has failed.
    pub backup_failed: bool,
    /// The persistent memory region has become read-only or unreliable.
    pub persistent_memory_failed: bool,
    /// Composite temperature, kelvin; 0: not measured.
    pub temperature_kelvin: u16,
    /// Spare left, percent.
    pub spare_percent: u8,
    /// Spare at which a warning comes, percent.
    pub spare_threshold_percent: u8,
    /// Life used, percent; may go beyond 100, and ends at 255.
    pub used_percent: u8,
    /// Endurance group critical warnings, as they come.
    pub endurance_warnings: u8,
    /// Thousands of 512-byte units read by hosts, rounded up.
    pub units_read: u128,
    /// Thousands of 512-byte units written by hosts, rounded up.
    pub units_written: u128,
    /// Read and Compare commands.
    pub read_commands: u128,
    /// Write commands.
    pub write_commands: u128,
    /// Minutes with I/O under way.
    pub busy_minutes: u128,
    /// Power cycles.
    pub power_cycles: u128,
    /// Hours powered on.
    pub power_on_hours: u128,
    /// Power losses without a shutdown before.
    pub unsafe_shutdowns: u128,
    /// Errors of media or data that were not recovered.
    pub media_errors: u128,
    /// Entries of the error log over the SSD's life.
    pub error_log_entries: u128,
    /// Minutes above the warning temperature.
    pub warning_minutes: u32,
    /// Minutes above the critical temperature.
    pub critical_minutes: u32,
    /// Temperature sensors 1 to 8, kelvin; those that there are.
    pub sensors_kelvin: [Option<u16>; 8],
    /// Times that the first thermal management temperature slowed it down, and seconds in all.
    pub throttled_light: (u32, u32),
    /// The same for the second.
    pub throttled_heavy: (u32, u32),
}

impl From<&SmartLog> for Health {
    fn from(log: &SmartLog) -> Self {
        let warning = |bit: u8| log.warning >> bit & 1 != 0;
        let wide = |w: &[zerocopy::little_endian::U64; 2]| {
            u128::from(w[1].get()) << 64 | u128::from(w[0].get())
        };
        let short = |at: usize| u16::from_le_bytes([log.rest[at], log.rest[at + 1]]);
        let word = |at: usize| u32::from(short(at)) | u32::from(short(at + 2)) << 16;
        Self {
            spare_low: warning(0),
            temperature_warning: warning(1),
            unreliable: warning(2),
            read_only: warning(3),
            backup_failed: warning(4),
            persistent_memory_failed: warning(5),
            temperature_kelvin: log.temperature.get(),
            spare_percent: log.spare,
            spare_threshold_percent: log.spare_threshold,
            used_percent: log.used,
            endurance_warnings: log.endurance,
            units_read: wide(&log.units_read),
            units_written: wide(&log.units_written),
            read_commands: wide(&log.reads),
            write_commands: wide(&log.writes),
            busy_minutes: wide(&log.busy_minutes),
            power_cycles: wide(&log.power_cycles),
            power_on_hours: wide(&log.power_on_hours),
            unsafe_shutdowns: wide(&log.unsafe_shutdowns),
            media_errors: wide(&log.media_errors),
            error_log_entries: wide(&log.error_entries),
            warning_minutes: log.warning_minutes.get(),
            critical_minutes: log.critical_minutes.get(),
            // Byte 200 of the page on.
            sensors_kelvin: std::array::from_fn(|i| Some(short(2 * i)).filter(|t| *t != 0)),
            throttled_light: (word(16), word(24)),
            throttled_heavy: (word(20), word(28)),
        }
    }
}

/// An entry of the error log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorInfo {
    /// Running number over the SSD's life.
    pub number: u64,
    /// Submission queue; 0 is the admin queue.
    pub queue: u16,
    /// Command identifier.
    pub command: u16,
    /// How the command ended.
    pub status: Status,
    /// Byte and bit of the command that were wrong, if known.
    pub field: Option<(u8, u8)>,
    /// First block in error.
    pub block: u64,
    /// Namespace.
    pub nsid: u32,
}

/// Firmware slots.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct FirmwareInfo {
    /// Slot that runs.
    pub active: u8,
    /// Slot that runs after the next reset, if another.
    pub next: Option<u8>,
    /// Slots that there are.
    pub slots: u8,
    /// Slot 1 cannot be written.
    pub first_is_read_only: bool,
    /// A new one can be activated without a reset.
    pub without_reset: bool,
    /// Revisions in slots 1 to 7; those that hold one.
    pub revisions: [Option<String>; 7],
}

impl<D: Device> Ssd<D> {
    /// SMART / Health Information.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn health(&mut self) -> Result<Health, SsdError> {
        self.smart().map(|log| Health::from(&log))
    }

    /// The newest entries of the error log, newest first.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn errors(&mut self) -> Result<Vec<ErrorInfo>, SsdError> {
        let size = size_of::<ErrorEntry>();
        let entries = usize::from(self.info.error_entries).clamp(1, MAX_DATA / size);
        let command = "Get Log Page (Error Information)";
        let data = (self.admin).log(&self.device, command, page::ERROR, entries * size)?;
        let entries = data.chunks_exact(size).filter_map(|bytes| {
            let entry = ErrorEntry::read_from_bytes(bytes).ok()?;
            let at = entry.location.get();
            (entry.count.get() != 0).then(|| ErrorInfo {
                number: entry.count.get(),
                queue: entry.sqid.get(),
                command: entry.cid.get(),
                status: entry.status(),
                field: (at != 0xFFFF).then_some((at as u8, (at >> 8 & 7) as u8)),
                block: entry.lba.get(),
                nsid: entry.nsid.get(),
            })
        });
        Ok(entries.collect())
    }

    /// What is in the firmware slots.
    ///
    /// # Errors
    /// [`SsdError`].
    pub fn firmware_slots(&mut self) -> Result<FirmwareInfo, SsdError> {
        let len = size_of::<FirmwareSlots>();
        let command = "Get Log Page (Firmware Slot)";
        let data = (self.admin).log(&self.device, command, page::FIRMWARE, len)?;
        let log = FirmwareSlots::read_from_bytes(&data).expect("as long as asked for");
        let frmw = self.info.frmw;
        let revision = |bytes: &[u8; 8]| Some(identify::text(bytes)).filter(|t| !t.is_empty());
        Ok(FirmwareInfo {
            active: log.afi & 7,
            next: Some(log.afi >> 4 & 7).filter(|slot| *slot != 0),
            slots: frmw >> 1 & 7,
            first_is_read_only: frmw & 1 != 0,
            without_reset: frmw >> 4 & 1 != 0,
            revisions: log.revisions.each_ref().map(revision),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_page_is_at_its_place() {
        let mut page = [0u8; 512];
        page[0] = 0b10_1011;
        page[1..3].copy_from_slice(&310u16.to_le_bytes());
        page[3..7].copy_from_slice(&[91, 10, 7, 1]);
        for (i, at) in (32..192).step_by(16).enumerate() {
            page[at] = i as u8 + 1;
            page[at + 8] = 1;
        }
        page[192..196].copy_from_slice(&21u32.to_le_bytes());
        page[196..200].copy_from_slice(&22u32.to_le_bytes());
        page[200..202].copy_from_slice(&300u16.to_le_bytes());
        page[214..216].copy_from_slice(&307u16.to_le_bytes());
        for (i, at) in (216..232).step_by(4).enumerate() {
            page[at] = 31 + i as u8;
        }
        let health = Health::from(&SmartLog::read_from_bytes(&page).expect("512 bytes"));
        let wide = |low: u128| 1u128 << 64 | low;
        let mut sensors = [None; 8];
        (sensors[0], sensors[7]) = (Some(300), Some(307));
        let want = Health {
            spare_low: true,
            temperature_warning: true,
            unreliable: false,
            read_only: true,
            backup_failed: false,
            persistent_memory_failed: true,
            temperature_kelvin: 310,
            spare_percent: 91,
            spare_threshold_percent: 10,
            used_percent: 7,
            endurance_warnings: 1,
            units_read: wide(1),
            units_written: wide(2),
            read_commands: wide(3),
            write_commands: wide(4),
            busy_minutes: wide(5),
            power_cycles: wide(6),
            power_on_hours: wide(7),
            unsafe_shutdowns: wide(8),
            media_errors: wide(9),
            error_log_entries: wide(10),
            warning_minutes: 21,
            critical_minutes: 22,
            sensors_kelvin: sensors,
            throttled_light: (31, 33),
            throttled_heavy: (32, 34),
        };
        assert_eq!(health, want);
    }
}
