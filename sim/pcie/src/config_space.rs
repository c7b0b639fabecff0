//! PCI configuration space of a function: an endpoint with power management, MSI-X, AER and a serial number.
//! Sources: PCI Local Bus 3.0, chapter 6; PCI Express Base 5.0, section 7.5 (registers), 7.8.4 (AER), 7.9.3 (serial number);
//! PCI Power Management 1.2, section 3.2.

use crate::Profile;

/// Bytes of configuration space.
pub const SIZE: usize = 4096;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BARS: usize = 0x10;
const POWER: usize = 0x40;
const EXPRESS: usize = 0x60;
const MSIX: usize = 0xB0;
const AER: usize = 0x100;
const SERIAL: usize = 0x150;
/// Device Control of the PCI Express capability; bit 15 resets the function.
const DEVICE_CONTROL: usize = EXPRESS + 0x08;
const FUNCTION_RESET: u16 = 1 << 15;
const BUS_MASTER: u16 = 1 << 2;

/// The registers, and which bits of them can be written.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: Box<[u8; SIZE]>,
    writable: Box<[u8; SIZE]>,
    /// Bits that a 1 clears.
    clearable: Box<[u8; SIZE]>,
}

impl ConfigSpace {
    /// As after power-up.
    #[must_use]
    pub fn new(profile: &Profile) -> Self {
        let mut space = Self {
            bytes: Box::new([0; SIZE]),
            writable: Box::new([0; SIZE]),
            clearable: Box::new([0; SIZE]),
        };
        space.header(profile);
        space.power();
        space.express(profile);
        space.msix(profile);
        space.extended(profile);
        space
    }

    fn header(&mut self, profile: &Profile) {
        self.set16(0x00, profile.vendor);
        self.set16(0x02, profile.device);
        // Memory, bus master, parity, SERR, INTx off.
        self.allow16(COMMAND, 0x0546);
        // A list of capabilities; errors seen.
        self.set16(STATUS, 0x0010);
        self.clearable[STATUS + 1] = 0xF9;
        self.set32(0x08, profile.class << 8 | 1);
        self.writable[0x0C] = 0xFF;
        for (i, bar) in profile.bars.iter().enumerate() {
            if let Some(bar) = bar {
                let at = BARS + 4 * i;
                // 64 bits wide.
                self.set32(at, 0x4 | u32::from(bar.prefetchable) << 3);
                self.allow32(at, !(bar.size as u32 - 1) & !0xF);
                self.allow32(at + 4, !((bar.size - 1 >> 32) as u32));
            }
        }
        self.set16(0x2C, profile.vendor);
        self.set16(0x2E, profile.device);
        self.bytes[0x34] = POWER as u8;
        self.writable[0x3C] = 0xFF;
    }

    fn power(&mut self) {
        self.set16(POWER, (EXPRESS as u16) << 8 | 0x01);
        self.set16(POWER + 2, 0x0003);
        // D3hot and back loses nothing.
        self.set16(POWER + 4, 0x0008);
        self.allow16(POWER + 4, 0x0003);
    }

    fn express(&mut self, profile: &Profile) {
        self.set16(EXPRESS, (MSIX as u16) << 8 | 0x10);
        // Version 2, endpoint.
        self.set16(EXPRESS + 0x02, 0x0002);
        // Payload of 256 bytes, role-based errors, function level reset.
        self.set32(EXPRESS + 0x04, 1 << 28 | 1 << 15 | 1);
        self.set16(DEVICE_CONTROL, 0x2810);
        self.allow16(DEVICE_CONTROL, 0x7FFF);
        self.clearable[EXPRESS + 0x0A] = 0x0F;
        let link = u32::from(profile.lanes) << 4 | 3;
        // 8 GT/s; no power saving of the link.
        self.set32(EXPRESS + 0x0C, link);
        self.allow16(EXPRESS + 0x10, 0x00CB);
        self.set16(EXPRESS + 0x12, 1 << 12 | link as u16);
        // Completion timeouts can be switched off.
        self.set32(EXPRESS + 0x24, 0x10);
        self.allow16(EXPRESS + 0x28, 0x0010);
        self.set32(EXPRESS + 0x2C, 0x0E);
        self.set16(EXPRESS + 0x30, 3);
        self.allow16(EXPRESS + 0x30, 0x000F);
    }

    fn msix(&mut self, profile: &Profile) {
        let msix = &profile.msix;
        self.set16(MSIX, 0x11);
        self.set16(MSIX + 2, msix.vectors - 1);
        self.allow16(MSIX + 2, 0xC000);
        self.set32(MSIX + 4, msix.table as u32 | u32::from(msix.bar));
        self.set32(MSIX + 8, msix.pending as u32 | u32::from(msix.bar));
    }

    fn extended(&mut self, profile: &Profile) {
        self.set32(AER, (SERIAL as u32) << 20 | 2 << 16 | 0x0001);
        for (at, reset) in [(0x08, 0), (0x0C, 0x0046_2030), (0x14, 0x0000_2000)] {
            self.set32(AER + at, reset);
            self.allow32(AER + at, if at == 0x14 { 0x0000_F1C1 } else { 0x07FF_F030 });
        }
        for (at, bits) in [(0x04, 0x07FF_F030_u32), (0x10, 0x0000_F1C1)] {
            self.clearable[AER + at..AER + at + 4].copy_from_slice(&bits.to_le_bytes());
        }
        self.set32(SERIAL, 1 << 16 | 0x0003);
        self.bytes[SERIAL + 4..SERIAL + 12].copy_from_slice(&profile.serial.to_le_bytes());
    }

    fn set16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn set32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn allow16(&mut self, at: usize, bits: u16) {
        self.writable[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    }

    fn allow32(&mut self, at: usize, bits: u32) {
        self.writable[at..at + 4].copy_from_slice(&bits.to_le_bytes());
    }

    /// The bytes at an offset; `None` if they are not in it.
    #[must_use]
    pub fn read(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }

    /// Writes; true if this asks for a function level reset. `None` if the bytes are not in it.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Option<bool> {
        self.read(offset, data.len())?;
        let mut reset = false;
        for (at, new) in (offset as usize..).zip(data) {
            reset |= at == DEVICE_CONTROL + 1 && new & (FUNCTION_RESET >> 8) as u8 != 0;
            let byte = &mut self.bytes[at];
            *byte = *byte & !self.writable[at] | new & self.writable[at];
            *byte &= !(new & self.clearable[at]);
        }
        Some(reset)
    }

    /// The function may reach memory.
    #[must_use]
    pub fn bus_master(&self) -> bool {
        u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]]) & BUS_MASTER != 0
    }

    /// Takes that from it.
    pub fn stop_bus_master(&mut self) {
        self.bytes[COMMAND] &= !(BUS_MASTER as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BarSpec, MsixSpec};
    use super::*;

    fn space() -> ConfigSpace {
        let mut bars = [None; 6];
        bars[0] = Some(BarSpec {
            size: 0x1_0000,
            prefetchable: false,
        });
        bars[2] = Some(BarSpec {
            size: 16 << 20,
            prefetchable: true,
        });
        ConfigSpace::new(&Profile {
            name: "test".into(),
            vendor: 0x1AF4,
            device: 0x10F5,
            class: 0x12_0000,
            serial: 0x1122_3344_5566_7788,
            lanes: 4,
            bars,
            msix: MsixSpec {
                bar: 0,
                table: 0x8000,
                pending: 0xC000,
                vectors: 32,
            },
        })
    }

    fn word(space: &ConfigSpace, at: u64) -> u32 {
        u32::from_le_bytes(
            space
                .read(at, 4)
                .expect("inside")
                .try_into()
                .expect("4 bytes"),
        )
    }

    #[test]
    fn both_capability_lists_lead_to_every_capability_and_end() {
        let space = space();
        let mut at = u64::from(space.read(0x34, 1).expect("inside")[0]);
        let mut seen = Vec::new();
        while at != 0 {
            seen.push(word(&space, at) as u8);
            at = u64::from(word(&space, at) >> 8 & 0xFF);
        }
        assert_eq!(seen, [0x01, 0x10, 0x11], "power, express, MSI-X");
        let (mut at, mut seen) = (0x100, Vec::new());
        while at != 0 {
            seen.push(word(&space, at) as u16);
            at = u64::from(word(&space, at) >> 20);
        }
        assert_eq!(seen, [1, 3], "AER, serial number");
        assert_eq!(
            (word(&space, 0x154), word(&space, 0x158)),
            (0x5566_7788, 0x1122_3344)
        );
    }

    #[test]
    fn a_bar_that_is_asked_for_its_size_tells_it_and_an_absent_one_stays_zero() {
        let mut space = space();
        for at in (0x10..0x28).step_by(4) {
            assert_eq!(space.write(at, &[0xFF; 4]), Some(false));
        }
        let bars: Vec<u32> = (0x10..0x28).step_by(4).map(|at| word(&space, at)).collect();
        assert_eq!(
            bars,
            [0xFFFF_0004, 0xFFFF_FFFF, 0xFF00_000C, 0xFFFF_FFFF, 0, 0]
        );
    }

    #[test]
    fn only_what_can_be_written_changes_and_errors_are_cleared_by_ones() {
        let mut space = space();
        let before = space.clone();
        for at in (0..SIZE as u64).step_by(4).filter(|at| *at != 0x68) {
            assert_eq!(space.write(at, &[0xFF; 4]), Some(false), "{at:#x}");
        }
        for at in [
            0x00, 0x08, 0x2C, 0x40, 0x60, 0x64, 0xB4, 0xB8, 0x100, 0x104, 0x150, 0x154, 0xFFC,
        ] {
            assert_eq!(word(&space, at), word(&before, at), "{at:#x}");
        }
        assert_eq!(word(&space, 0x04), 0x0010_0546);
    }

    #[test]
    fn a_function_level_reset_is_asked_for_by_its_bit_alone_which_reads_as_0() {
        let mut space = space();
        assert_eq!(space.write(0x68, &[0x10, 0x28]), Some(false));
        assert_eq!(space.write(0x68, &[0x10, 0xA8]), Some(true));
        assert_eq!(space.write(0x69, &[0x80]), Some(true));
        assert_eq!(word(&space, 0x68) & 0x8000, 0);
    }

    #[test]
    fn bus_mastering_is_off_until_it_is_switched_on_and_what_lies_outside_is_refused() {
        let mut space = space();
        assert!(!space.bus_master());
        space.write(0x04, &[0x06, 0]);
        assert!(space.bus_master());
        space.stop_bus_master();
        assert!(!space.bus_master() && space.bytes[0x04] == 2);
        assert_eq!(space.write(4093, &[0; 4]), None);
        assert!(space.read(u64::MAX, 4).is_none() && space.read(0, SIZE + 1).is_none());
    }
}
