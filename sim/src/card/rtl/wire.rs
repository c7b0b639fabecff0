//! Ethernet frames to beats and back. The MAC's part (preamble, FCS, padding, inter-frame gap) is time and padding here.

use sluice_verilated::Beat;

use crate::fabric::Clock;

/// Shortest frame on the wire without its FCS (IEEE 802.3, section 3.2.8).
const MIN_FRAME: usize = 60;
/// Clocks for preamble, FCS and gap: 24 bytes at 16 bytes a clock, rounded up.
const GAP: Clock = 2;

/// Towards the card: one beat a clock, which is 32 Gb/s.
#[derive(Default)]
pub struct ToWire {
    /// First clock at which the wire is free.
    free: Clock,
}

impl ToWire {
    /// Appends the beats of a frame that arrives at `at` or as soon as the wire is free.
    pub fn frame(&mut self, at: Clock, frame: &[u8], beats: &mut Vec<Beat>) {
        if frame.is_empty() {
            return;
        }
        let start = at.max(self.free);
        let last = frame.len().div_ceil(16) - 1;
        for (i, chunk) in frame.chunks(16).enumerate() {
            let mut beat = Beat {
                at: start + i as Clock,
                flag: i == last,
                ..Beat::default()
            };
            beat.data[..chunk.len()].copy_from_slice(chunk);
            beat.mask = (u32::MAX >> (32 - chunk.len())) as u16;
            beats.push(beat);
        }
        self.free = start + last as Clock + 1 + GAP;
    }
}

/// From the card.
#[derive(Default)]
pub struct FromWire {
    frame: Vec<u8>,
}

impl FromWire {
    /// Takes a beat; with the last one of a frame, returns the frame and when it had passed.
    pub fn beat(&mut self, beat: &Beat) -> Option<(Clock, Vec<u8>)> {
        self.frame
            .extend_from_slice(&beat.data[..beat.mask.count_ones() as usize]);
        beat.flag.then(|| {
            let mut frame = std::mem::take(&mut self.frame);
            frame.resize(frame.len().max(MIN_FRAME), 0);
            (beat.at, frame)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_way_through_beats_and_short_ones_are_padded() {
        for len in [1, 15, 16, 17, 59, 60, 61, 1514] {
            let frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut beats = Vec::new();
            ToWire::default().frame(5, &frame, &mut beats);
            let mut back = FromWire::default();
            let frames: Vec<_> = beats.iter().filter_map(|b| back.beat(b)).collect();
            let mut padded = frame.clone();
            padded.resize(len.max(60), 0);
            assert_eq!(
                frames,
                [(5 + len.div_ceil(16) as u64 - 1, padded)],
                "{len} bytes"
            );
        }
    }

    #[test]
    fn frames_do_not_overlap_on_the_wire() {
        let (mut wire, mut beats) = (ToWire::default(), Vec::new());
        wire.frame(10, &[0; 64], &mut beats);
        wire.frame(10, &[0; 64], &mut beats);
        let times: Vec<_> = beats.iter().map(|b| b.at).collect();
        assert_eq!(times, [10, 11, 12, 13, 16, 17, 18, 19]);
    }
}
