//! What the card's trace makes of frames: which ones it keeps, and the record of each (docs/card.md, section 8). The ring, its
//! losses and the time are the caller's.

use sluice_wire::trace::{MAX_SNAP, ROW, Record};
use zerocopy::IntoBytes;

use crate::DropReason;

/// Ports whose frames are kept; with neither all are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// TCP port; 0: no TCP.
    pub tcp: u16,
    /// UDP port; 0: no UDP.
    pub udp: u16,
}

impl Filter {
    /// The frame passes. As the hardware has it: an IPv4 packet with options passes by its protocol alone, a fragment is taken
    /// for a whole packet, and what a short frame has not is zero.
    #[must_use]
    pub fn passes(&self, frame: &[u8]) -> bool {
        if *self == Self::default() {
            return true;
        }
        let byte = |at: usize| frame.get(at).copied().unwrap_or(0);
        let half = |at: usize| u16::from_be_bytes([byte(at), byte(at + 1)]);
        let l3 = if half(12) == 0x8100 { 18 } else { 14 };
        let (protocol, l4) = match half(l3 - 2) {
            0x0800 if byte(l3) & 0xF == 5 => (byte(l3 + 9), Some(l3 + 20)),
            0x0800 => (byte(l3 + 9), None),
            0x86DD => (byte(l3 + 6), Some(l3 + 40)),
            _ => return false,
        };
        let port = match protocol {
            6 => self.tcp,
            17 => self.udp,
            _ => return false,
        };
        // The hardware has looked only at what the frame has.
        let there = |at: usize| frame.len() > at - at % 16;
        port != 0
            && match l4 {
                Some(at) => there(at) && (half(at) == port || half(at + 2) == port),
                None => there(l3 + 9),
            }
    }
}

/// A frame as the trace sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// It was sent.
    Sent,
    /// It was received, and this became of it.
    Received(Result<(), DropReason>),
}

/// The record of a frame, without its number of losses: `snap` bytes of it at most, seen at `clocks`.
#[must_use]
pub fn record(frame: &[u8], seen: Seen, snap: u16, clocks: u64) -> (Record, Vec<u8>) {
    let kept = frame.len().min(usize::from(snap.min(MAX_SNAP)));
    let record = Record {
        kept: (kept as u16).into(),
        len: (frame.len() as u16).into(),
        flags: match seen {
            Seen::Sent => Record::SENT,
            Seen::Received(Ok(())) => 0,
            Seen::Received(Err(reason)) => Record::DROPPED | code(reason) << 4,
        },
        clocks: clocks.into(),
        ..Record::default()
    };
    let mut rest = frame[..kept].to_vec();
    rest.resize(kept.next_multiple_of(ROW), 0);
    (record, rest)
}

/// As bytes, with the number of losses.
#[must_use]
pub fn bytes((mut record, rest): (Record, Vec<u8>), lost: u32) -> Vec<u8> {
    record.lost = (lost as u16).into();
    [record.as_bytes(), &rest].concat()
}

/// The hardware's number for a reason (`rx_drop_e`).
const fn code(reason: DropReason) -> u8 {
    match reason {
        DropReason::Length => 0,
        DropReason::EtherType => 1,
        DropReason::Ipv4Header => 2,
        DropReason::Ipv6Header => 3,
        DropReason::Fragment => 4,
        DropReason::L4Checksum => 5,
        DropReason::NotOurs => 6,
        DropReason::Pause => 7,
        DropReason::L4Header => 10,
        DropReason::Roce => 12,
        DropReason::Icrc => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(vlan: bool, v6: bool, protocol: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        if vlan {
            frame.extend([0x81, 0, 0, 7]);
        }
        if v6 {
            frame.extend([0x86, 0xDD, 0x60, 0, 0, 0, 0, 8, protocol, 64]);
            frame.extend([1; 32]);
        } else {
            frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend([1; 8]);
        }
        ports
            .iter()
            .for_each(|port| frame.extend(port.to_be_bytes()));
        frame.extend([0; 16]);
        frame
    }

    #[test]
    fn a_filter_passes_its_ports_on_either_side_and_nothing_else() {
        let filter = Filter {
            tcp: 4420,
            udp: 4791,
        };
        for vlan in [false, true] {
            for v6 in [false, true] {
                let passes = |protocol, ports| filter.passes(&packet(vlan, v6, protocol, ports));
                assert!(passes(6, [4420, 9]) && passes(6, [9, 4420]));
                assert!(passes(17, [4791, 9]) && passes(17, [9, 4791]));
                assert!(!passes(6, [4791, 4791]) && !passes(17, [4420, 4420]));
                assert!(!passes(1, [4420, 4791]));
            }
        }
        assert!(!filter.passes(&[0; 60]) && !filter.passes(&[]));
        assert!(Filter::default().passes(&[]));
        let mut options = packet(false, false, 6, [1, 1]);
        options[14] = 0x46;
        assert!(filter.passes(&options));
        let only_udp = Filter { tcp: 0, ..filter };
        assert!(!only_udp.passes(&options));
        assert!(!only_udp.passes(&packet(false, false, 6, [0, 0])));
    }

    #[test]
    fn a_record_has_the_first_bytes_and_the_whole_length() {
        let seen = Seen::Received(Err(DropReason::Icrc));
        let got = bytes(record(&[5; 100], seen, 20, 77), 0x1_0003);
        assert_eq!(got.len(), 48);
        assert_eq!(
            got[..16],
            [20, 0, 100, 0, 0xD2, 0, 3, 0, 77, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!((&got[16..36], &got[36..]), (&[5; 20][..], &[0; 12][..]));
        let whole = record(&[5; 9300], Seen::Sent, u16::MAX, 0);
        assert_eq!((whole.0.kept.get(), whole.0.len.get()), (9216, 9300));
    }
}
