//! BAR0 of the functional card: the registers that have behaviour here, and plain storage for the rest.

use sluice_engines::DropReason;
use sluice_hal::flash::BootReport;
use sluice_hal::{DOORBELL_SLOTS, HostQueue, layout};
use sluice_regs::bar0_regs as r;
use sluice_regs::{MAGIC, MAP_VERSION};

/// MSI-X vectors.
const VECTORS: usize = 32;
/// Words of the register block below the MSI-X table.
const WORDS: usize = 0x1000 / 4;
/// TCM of the hardware's tiles, in bytes; here it holds what was loaded and nothing else.
const TCM_SIZE: u32 = 512 << 10;
/// `CTRL.run` and `CTRL.boot`.
const RUN: u32 = 1 << 0;
const BOOT: u32 = 1 << 2;
/// Bits of the load address.
const LOAD_ADDRESS: u32 = (1 << 20) - 1;

/// What the hardware counts.
#[derive(Default)]
pub struct Counters {
    pub rx_frames: u64,
    pub rx_bytes: u64,
    pub tx_frames: u64,
    pub tx_bytes: u64,
    pub rx_queue_full: u32,
    pub rx_no_buffer: u32,
    drops: [u32; DropReason::COUNT],
}

impl Counters {
    /// Counts a dropped frame.
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }
}

/// The registers.
pub struct Registers {
    cores: u8,
    words: Vec<u32>,
    /// What was loaded into each core, up to the highest address.
    loaded: Vec<Vec<u8>>,
    msix: [[u32; 4]; VECTORS],
    pending: u32,
    /// Messages that unmasking has set free.
    pub unmasked: Vec<u16>,
    /// Hardware counters.
    pub counters: Counters,
}

impl Registers {
    pub fn new(cores: u8) -> Self {
        let mut registers = Self {
            cores,
            words: vec![0; WORDS],
            loaded: vec![Vec::new(); usize::from(cores)],
            msix: [[0, 0, 0, 1]; VECTORS],
            pending: 0,
            unmasked: Vec::new(),
            counters: Counters::default(),
        };
        registers.set(r::LOAD_CORES_OFFSET, u32::MAX);
        let mut trace = r::TraceCtrl(0);
        trace.set_snap(128);
        registers.set(r::TRACE_CTRL_OFFSET, trace.0);
        // Until the firmware steers otherwise, flows go round the data cores.
        for bucket in 0..r::STEER_ENTRY_COUNT {
            let core = 1 + bucket % u32::from(cores.saturating_sub(1).max(1));
            registers.set(r::STEER_ENTRY_OFFSET + bucket * r::STEER_ENTRY_STRIDE, core);
        }
        registers
    }

    pub fn cores(&self) -> u8 {
        self.cores
    }

    pub fn running(&self) -> bool {
        self.get(r::CTRL_OFFSET) & RUN != 0
    }

    /// The boot program is to choose firmware.
    pub fn booting(&self) -> bool {
        self.get(r::CTRL_OFFSET) & BOOT != 0
    }

    /// What the boot program does at its end: it reports, and starts the cores unless neither slot is good.
    pub fn booted(&mut self, status: r::BootStatus, images: Option<[Vec<u8>; 2]>) {
        self.set(r::BOOT_STATUS_OFFSET, status.0);
        let run = images.is_some();
        if let Some([control, data]) = images {
            let (first, others) = self.loaded.split_at_mut(1);
            first.fill(control);
            others.fill(data);
        }
        self.set(r::CTRL_OFFSET, if run { RUN } else { 0 });
    }

    /// How the last start went.
    pub fn boot_report(&self) -> BootReport {
        let status = r::BootStatus(self.get(r::BOOT_STATUS_OFFSET));
        BootReport {
            slot: match status.source() {
                1 => Some(0),
                2 => Some(1),
                _ => None,
            },
            refused: [status.refused_a(), status.refused_b()],
        }
    }

    fn get(&self, offset: u32) -> u32 {
        self.words.get(offset as usize / 4).copied().unwrap_or(0)
    }

    fn set(&mut self, offset: u32, value: u32) {
        if let Some(word) = self.words.get_mut(offset as usize / 4) {
            *word = value;
        }
    }

    fn pair(&self, low: u32) -> u64 {
        u64::from(self.get(low)) | u64::from(self.get(low + 4)) << 32
    }

    /// Own MAC address, first byte on the wire first.
    pub fn mac(&self) -> [u8; 6] {
        let (low, high) = (self.get(r::MAC_LO_OFFSET), self.get(r::MAC_HI_OFFSET));
        let mut mac = [0; 6];
        mac[..2].copy_from_slice(&(high as u16).to_be_bytes());
        mac[2..].copy_from_slice(&low.to_be_bytes());
        mac
    }

    /// Core for a flow.
    pub fn steer(&self, flow_hash: u32) -> u8 {
        self.get(r::STEER_ENTRY_OFFSET + (flow_hash & 0x7f) * r::STEER_ENTRY_STRIDE) as u8
    }

    pub fn set_steer(&mut self, bucket: u8, core: u8) {
        self.set(
            r::STEER_ENTRY_OFFSET + u32::from(bucket & 0x7f) * r::STEER_ENTRY_STRIDE,
            core.into(),
        );
    }

    pub fn set_status(&mut self, status: u32) {
        self.set(r::FW_STATUS_OFFSET, status);
    }

    /// Bus address of a doorbell slot.
    pub fn doorbell(&self, slot: u8) -> u64 {
        let slot = u32::from(slot) % DOORBELL_SLOTS as u32;
        self.pair(r::DOORBELL_SLOT_LO_OFFSET + slot * r::DOORBELL_SLOT_LO_STRIDE)
    }

    pub fn set_doorbell(&mut self, slot: u8, bus: u64) {
        let at = r::DOORBELL_SLOT_LO_OFFSET
            + u32::from(slot) % DOORBELL_SLOTS as u32 * r::DOORBELL_SLOT_LO_STRIDE;
        self.set(at, bus as u32);
        self.set(at + 4, (bus >> 32) as u32);
    }

    pub fn host_queue(&self) -> HostQueue {
        HostQueue {
            enabled: self.get(r::QUEUE_ENABLE_OFFSET) & 1 != 0,
            sq: self.pair(r::SQ_BASE_LO_OFFSET),
            cq: self.pair(r::CQ_BASE_LO_OFFSET),
            entries: self.get(r::QUEUE_ENTRIES_OFFSET) as u16,
            sq_tail: self.get(r::SQ_TAIL_OFFSET) as u16,
            pm_bus: self.pair(r::PM_BUS_LO_OFFSET),
        }
    }

    /// What was loaded into core `core`.
    pub fn loaded(&self, core: u8) -> &[u8] {
        self.loaded
            .get(usize::from(core))
            .map_or(&[], Vec::as_slice)
    }

    /// A word for the cores that `LOAD_CORES` names; the address advances whoever takes it.
    fn load(&mut self, word: u32) {
        let at = self.get(r::LOAD_ADDR_OFFSET) & LOAD_ADDRESS & !3;
        self.set(r::LOAD_ADDR_OFFSET, (at + 4) & LOAD_ADDRESS);
        if self.running() {
            return;
        }
        // The TCM repeats itself in the address space of the loader, as in the hardware.
        let at = (at % TCM_SIZE) as usize;
        let cores = self.get(r::LOAD_CORES_OFFSET);
        for (_, memory) in (0..)
            .zip(&mut self.loaded)
            .filter(|(i, _)| cores >> i & 1 != 0)
        {
            memory.resize(memory.len().max(at + 4), 0);
            memory[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
    }

    /// The message of a vector that fires now; masked ones stay pending.
    pub fn message(&mut self, vector: u16) -> Option<(u64, u32)> {
        let [low, high, data, control] = *self.msix.get(usize::from(vector))?;
        if control & 1 != 0 {
            self.pending |= 1 << vector;
            return None;
        }
        self.pending &= !(1 << vector);
        Some((u64::from(low) | u64::from(high) << 32, data))
    }

    /// A write through BAR0.
    pub fn write(&mut self, offset: u32, value: u32) {
        if let Some(at) = offset
            .checked_sub(r::MSIX_ENTRY_ADDR_LO_OFFSET)
            .filter(|at| *at < VECTORS as u32 * 16)
        {
            let vector = at as usize / 16;
            self.msix[vector][at as usize % 16 / 4] = value;
            if value & 1 == 0 && at % 16 == 12 && self.pending & 1 << vector != 0 {
                self.unmasked.push(vector as u16);
            }
            return;
        }
        match offset {
            r::CTRL_OFFSET if value & 2 != 0 => {
                let loaded = std::mem::take(&mut self.loaded);
                *self = Self {
                    loaded,
                    ..Self::new(self.cores)
                };
            }
            r::LOAD_DATA_OFFSET => self.load(value),
            // Identity and counters are read-only.
            r::MAGIC_OFFSET..r::CTRL_OFFSET
            | r::CORE_VALUE_OFFSET
            | r::RX_FRAMES_OFFSET..r::STEER_ENTRY_OFFSET => {}
            _ => self.set(offset, value),
        }
    }

    /// A read through BAR0; the core window is the caller's.
    pub fn read(&self, offset: u32) -> u32 {
        if let Some(at) = offset
            .checked_sub(r::MSIX_ENTRY_ADDR_LO_OFFSET)
            .filter(|at| *at < VECTORS as u32 * 16)
        {
            return self.msix[at as usize / 16][at as usize % 16 / 4];
        }
        let c = &self.counters;
        match offset {
            r::MAGIC_OFFSET => MAGIC,
            r::MAP_VERSION_OFFSET => MAP_VERSION,
            r::FEATURES_OFFSET => 0b101_0111,
            r::NUMBERS_OFFSET => {
                u32::from(self.cores) | (VECTORS as u32) << 16 | (DOORBELL_SLOTS as u32) << 24
            }
            r::TCM_SIZE_OFFSET => TCM_SIZE,
            r::PM_SIZE_OFFSET => layout::PM_SIZE,
            r::RX_FRAMES_OFFSET => c.rx_frames as u32,
            r::TX_FRAMES_OFFSET => c.tx_frames as u32,
            r::RX_BYTES_OFFSET => c.rx_bytes as u32,
            o if o == r::RX_BYTES_OFFSET + 4 => (c.rx_bytes >> 32) as u32,
            r::TX_BYTES_OFFSET => c.tx_bytes as u32,
            o if o == r::TX_BYTES_OFFSET + 4 => (c.tx_bytes >> 32) as u32,
            r::DROP_LENGTH_OFFSET => c.drops[DropReason::Length as usize],
            r::DROP_ETHERTYPE_OFFSET => c.drops[DropReason::EtherType as usize],
            r::DROP_IPV4_OFFSET => c.drops[DropReason::Ipv4Header as usize],
            r::DROP_IPV6_OFFSET => c.drops[DropReason::Ipv6Header as usize],
            r::DROP_FRAGMENT_OFFSET => c.drops[DropReason::Fragment as usize],
            r::DROP_CHECKSUM_OFFSET => c.drops[DropReason::L4Checksum as usize],
            r::DROP_L4_HEADER_OFFSET => c.drops[DropReason::L4Header as usize],
            r::DROP_ROCE_OFFSET => c.drops[DropReason::Roce as usize],
            r::DROP_ICRC_OFFSET => c.drops[DropReason::Icrc as usize],
            r::DROP_NOT_FOR_US_OFFSET => c.drops[DropReason::NotOurs as usize],
            r::DROP_PAUSE_OFFSET | r::PAUSE_FRAMES_OFFSET => c.drops[DropReason::Pause as usize],
            r::DROP_NO_BUFFER_OFFSET => c.rx_no_buffer,
            r::DROP_QUEUE_FULL_OFFSET => c.rx_queue_full,
            r::MSIX_PENDING_OFFSET => self.pending,
            _ => self.get(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(registers: &Registers) -> [&[u8]; 3] {
        [0, 1, 2].map(|core| registers.loaded(core))
    }

    #[test]
    fn a_loaded_word_reaches_the_named_cores_and_no_others() {
        let mut registers = Registers::new(3);
        assert_eq!(registers.read(r::LOAD_CORES_OFFSET), u32::MAX);
        registers.write(r::LOAD_DATA_OFFSET, 0x0101_0101);
        assert_eq!(loaded(&registers), [&[1; 4][..]; 3], "after reset: all");

        registers.write(r::LOAD_CORES_OFFSET, 0b101);
        registers.write(r::LOAD_ADDR_OFFSET, 0);
        registers.write(r::LOAD_DATA_OFFSET, 0x0202_0202);
        assert_eq!(loaded(&registers), [&[2; 4][..], &[1; 4], &[2; 4]]);

        registers.write(r::LOAD_CORES_OFFSET, 0);
        registers.write(r::LOAD_DATA_OFFSET, 0x0303_0303);
        assert_eq!(loaded(&registers), [&[2; 4][..], &[1; 4], &[2; 4]]);
        assert_eq!(registers.read(r::LOAD_ADDR_OFFSET), 8, "it advances");

        registers.write(r::CTRL_OFFSET, 2);
        assert_eq!(registers.read(r::LOAD_CORES_OFFSET), u32::MAX);
        assert_eq!(loaded(&registers), [&[2; 4][..], &[1; 4], &[2; 4]]);
    }

    #[test]
    fn running_cores_cannot_be_loaded() {
        let mut registers = Registers::new(3);
        registers.write(r::CTRL_OFFSET, 1);
        registers.write(r::LOAD_DATA_OFFSET, 1);
        assert_eq!(loaded(&registers), [&[0u8; 0][..]; 3]);
    }
}
