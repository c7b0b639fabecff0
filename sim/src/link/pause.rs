//! Pause frames: IEEE 802.3, annex 31B (PAUSE) and 31D (priority-based flow control).

use sluice_wire::ethernet;

/// Bits of a pause quantum.
const QUANTUM_BITS: u64 = 512;
const OPCODE_PAUSE: u16 = 0x0001;
const OPCODE_PFC: u16 = 0x0101;

/// For how many bit times the receiver of `frame` is to send nothing of `priority`; `None` if it is no such frame or does not
/// speak of this priority. Zero ends a pause.
pub(super) fn asked(frame: &[u8], priority: u8) -> Option<u64> {
    let view = ethernet::View::of(frame)?;
    if view.ethertype != ethernet::MAC_CONTROL || view.tci.is_some() {
        return None;
    }
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let quanta = match word(14)? {
        OPCODE_PAUSE => word(16)?,
        OPCODE_PFC => {
            if word(16)? >> (priority & 7) & 1 == 0 {
                return None;
            }
            word(18 + usize::from(priority & 7) * 2)?
        }
        _ => return None,
    };
    Some(u64::from(quanta) * QUANTUM_BITS)
}

/// A pause frame from `mac`: for all traffic, or for one priority.
#[must_use]
pub fn frame(mac: [u8; 6], priority: Option<u8>, quanta: u16) -> Vec<u8> {
    let to = [0x01, 0x80, 0xc2, 0, 0, 1];
    let mut frame = [to, mac].concat();
    frame.extend(ethernet::MAC_CONTROL.to_be_bytes());
    match priority.map(|p| p & 7) {
        None => {
            frame.extend(OPCODE_PAUSE.to_be_bytes());
            frame.extend(quanta.to_be_bytes());
        }
        Some(priority) => {
            frame.extend(OPCODE_PFC.to_be_bytes());
            frame.extend((1u16 << priority).to_be_bytes());
            for p in 0..8 {
                frame.extend(if p == priority { quanta } else { 0 }.to_be_bytes());
            }
        }
    }
    frame.resize(ethernet::MIN_FRAME, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_pause_are_understood_and_nothing_else() {
        assert_eq!(asked(&frame([2; 6], None, 10), 3), Some(5120));
        assert_eq!(asked(&frame([2; 6], Some(3), 10), 3), Some(5120));
        assert_eq!(asked(&frame([2; 6], Some(4), 10), 3), None);
        assert_eq!(asked(&frame([2; 6], None, 0), 0), Some(0));
        let mut other = frame([2; 6], None, 10);
        other[15] = 2;
        assert_eq!(asked(&other, 3), None);
        other[12] = 8;
        assert_eq!(asked(&other, 3), None);
        for len in 0..18 {
            assert_eq!(asked(&frame([2; 6], None, 10)[..len], 3), None);
        }
    }
}
