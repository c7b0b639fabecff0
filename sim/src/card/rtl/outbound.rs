//! Requests from the card: doorbells, MSI-X messages, the mover's reads and writes of host memory.

use std::collections::VecDeque;

use sluice_verilated::Beat;

use crate::fabric::{BusError, Clock, Tlp};

/// A read on its way.
struct Pending {
    tag: u32,
    /// Lane of the first byte asked for.
    lane: usize,
    /// Set once the fabric has answered.
    answer: Option<(Clock, Result<Vec<u8>, BusError>)>,
}

/// Keeps the card's reads in flight. The fabric may answer in any order, the card wants the order of its requests.
#[derive(Default)]
pub struct Outbound {
    reads: VecDeque<Pending>,
    next_tag: u32,
}

impl Outbound {
    /// Appends the packet for one request of the card.
    pub fn request(&mut self, beat: &Beat, sent: &mut Vec<(Clock, Tlp)>) {
        let lane = beat.mask.trailing_zeros() as usize;
        let len = beat.mask.count_ones() as usize;
        let addr = beat.addr + lane as u64;
        debug_assert_eq!(
            beat.mask >> lane,
            (1u32 << len).wrapping_sub(1) as u16,
            "bytes meant are contiguous"
        );
        let tlp = if beat.write {
            Tlp::Write {
                addr,
                data: beat.data[lane..lane + len].to_vec(),
            }
        } else {
            let tag = self.next_tag;
            self.next_tag = self.next_tag.wrapping_add(1);
            self.reads.push_back(Pending {
                tag,
                lane,
                answer: None,
            });
            Tlp::Read {
                addr,
                len: len as u32,
                tag,
            }
        };
        sent.push((beat.at, tlp));
    }

    /// Notes the answer to a read.
    pub fn answered(&mut self, at: Clock, tag: u32, data: Result<Vec<u8>, BusError>) {
        if let Some(read) = self.reads.iter_mut().find(|read| read.tag == tag) {
            read.answer = Some((at, data));
        }
    }

    /// Appends the answers that can go to the card now.
    pub fn answers(&mut self, beats: &mut Vec<Beat>) {
        let mut earliest = 0;
        while self.reads.front().is_some_and(|read| read.answer.is_some()) {
            let read = self.reads.pop_front().expect("just seen");
            let (at, data) = read.answer.expect("just seen");
            // An answer held back by an older one leaves when that one does.
            earliest = earliest.max(at);
            let mut beat = Beat {
                at: earliest,
                flag: data.is_err(),
                ..Beat::default()
            };
            if let Ok(bytes) = data {
                let count = bytes.len().min(16 - read.lane);
                beat.data[read.lane..read.lane + count].copy_from_slice(&bytes[..count]);
            }
            beats.push(beat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_reach_the_card_in_the_order_of_its_reads() {
        let (mut outbound, mut sent, mut beats) = (Outbound::default(), Vec::new(), Vec::new());
        for addr in [0x1000, 0x2000] {
            outbound.request(
                &Beat {
                    addr,
                    mask: 0x00f0,
                    ..Beat::default()
                },
                &mut sent,
            );
        }
        assert_eq!(
            sent[1].1,
            Tlp::Read {
                addr: 0x2004,
                len: 4,
                tag: 1
            }
        );
        outbound.answered(30, 1, Err(BusError));
        outbound.answers(&mut beats);
        assert!(beats.is_empty());
        outbound.answered(20, 0, Ok(vec![1, 2, 3, 4]));
        outbound.answers(&mut beats);
        assert_eq!(
            (beats[0].at, beats[0].data[4], beats[0].flag),
            (20, 1, false)
        );
        assert_eq!((beats[1].at, beats[1].flag), (30, true));
    }
}
