//! Requests to the card: reads and writes of its BARs, and the answers.

use std::collections::VecDeque;

use sluice_verilated::Beat;

use crate::{
    card::BAR2_BASE,
    fabric::{Clock, Tlp},
};

/// Bytes of a beat, which stays inside such a row.
const ROW: u64 = 16;

/// A read whose answer is being put together.
struct Pending {
    tag: u32,
    addr: u64,
    data: Vec<u8>,
    len: usize,
}

/// Keeps the reads in flight, which the card answers in order.
#[derive(Default)]
pub struct Inbound {
    reads: VecDeque<Pending>,
}

impl Inbound {
    /// Appends the beats of a write.
    pub fn write(&mut self, at: Clock, addr: u64, data: &[u8], beats: &mut Vec<Beat>) {
        let mut done = 0;
        for mut beat in pieces(at, addr, data.len()) {
            beat.write = true;
            for lane in (0..16).filter(|lane| beat.mask >> lane & 1 == 1) {
                beat.data[lane] = data[done];
                done += 1;
            }
            beats.push(beat);
        }
    }

    /// Appends the beats of a read.
    pub fn read(&mut self, at: Clock, addr: u64, len: u32, tag: u32, beats: &mut Vec<Beat>) {
        self.reads.push_back(Pending {
            tag,
            addr,
            data: Vec::new(),
            len: len as usize,
        });
        beats.extend(pieces(at, addr, len as usize));
    }

    /// Takes the next beat read; with the last one of a request, appends its completion.
    pub fn answer(&mut self, beat: &Beat, sent: &mut Vec<(Clock, Tlp)>) {
        let pending = self
            .reads
            .front_mut()
            .expect("the card answers only what it was asked");
        let next = pending.addr + pending.data.len() as u64;
        let first = (next % ROW) as usize;
        let count = (ROW as usize - first).min(pending.len - pending.data.len());
        pending
            .data
            .extend_from_slice(&beat.data[first..first + count]);
        if pending.data.len() == pending.len {
            let whole = self.reads.pop_front().expect("just used");
            sent.push((
                beat.at,
                Tlp::Completion {
                    tag: whole.tag,
                    data: Ok(whole.data),
                },
            ));
        }
    }
}

/// The beats that `len` bytes at `addr` touch, without data.
fn pieces(at: Clock, addr: u64, len: usize) -> impl Iterator<Item = Beat> {
    let bar2 = addr >= BAR2_BASE;
    let end = addr + len as u64;
    let mut next = addr;
    std::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let base = next - next % ROW;
        let mask = (next..end.min(base + ROW)).fold(0, |mask, byte| mask | 1 << (byte - base));
        next = base + ROW;
        let addr = if bar2 { base - BAR2_BASE } else { base };
        Some(Beat {
            at,
            addr,
            mask,
            bar2,
            ..Beat::default()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unaligned_write_is_cut_at_rows_and_keeps_its_bytes_in_their_lanes() {
        let mut beats = Vec::new();
        let data: Vec<u8> = (1..=20).collect();
        Inbound::default().write(7, BAR2_BASE + 14, &data, &mut beats);
        let shape: Vec<_> = beats
            .iter()
            .map(|b| (b.addr, b.mask, b.bar2, b.write))
            .collect();
        assert_eq!(
            shape,
            [
                (0, 0xc000, true, true),
                (16, 0xffff, true, true),
                (32, 0x3, true, true)
            ]
        );
        assert_eq!(
            (
                beats[0].data[14],
                beats[0].data[15],
                beats[1].data[0],
                beats[2].data[1]
            ),
            (1, 2, 3, 20)
        );
    }

    #[test]
    fn a_read_across_rows_is_answered_once_with_the_bytes_asked_for() {
        let (mut inbound, mut beats, mut sent) = (Inbound::default(), Vec::new(), Vec::new());
        inbound.read(0, BAR2_BASE + 15, 3, 9, &mut beats);
        assert_eq!(beats.len(), 2);
        let row = |start: u8| core::array::from_fn(|i| start + i as u8);
        inbound.answer(
            &Beat {
                at: 50,
                data: row(100),
                ..Beat::default()
            },
            &mut sent,
        );
        assert!(sent.is_empty());
        inbound.answer(
            &Beat {
                at: 51,
                data: row(200),
                ..Beat::default()
            },
            &mut sent,
        );
        assert_eq!(
            sent,
            [(
                51,
                Tlp::Completion {
                    tag: 9,
                    data: Ok(vec![115, 200, 201])
                }
            )]
        );
    }

    #[test]
    fn registers_lie_in_their_lanes() {
        let mut beats = Vec::new();
        Inbound::default().write(0, 0x44, &[1, 2, 3, 4], &mut beats);
        assert_eq!(beats, [Beat::bar0_write(0, 0x44, 0x0403_0201)]);
        assert_eq!(beats[0].register(0x44), 0x0403_0201);
    }
}
