//! TCP connections out of a capture: both directions' bytes, in order, whatever the network did to the segments.

use std::collections::BTreeMap;

use sluice_sim::pcap::Packet;

/// One connection.
pub struct Connection {
    /// Bytes from the side that opened it.
    pub from_host: Vec<u8>,
    /// Bytes from the other side.
    pub from_target: Vec<u8>,
}

/// One direction: segments by offset from the initial sequence number.
#[derive(Default)]
struct Direction {
    first: Option<u32>,
    segments: BTreeMap<u32, Vec<u8>>,
}

impl Direction {
    fn add(&mut self, seq: u32, payload: &[u8]) {
        let Some(first) = self.first else { return };
        let kept = self.segments.entry(seq.wrapping_sub(first)).or_default();
        if kept.len() < payload.len() {
            *kept = payload.to_vec();
        }
    }

    /// The bytes up to the first hole.
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![];
        for (at, segment) in self.segments {
            let Some(overlap) = bytes.len().checked_sub(at as usize) else {
                break;
            };
            bytes.extend(segment.iter().skip(overlap));
        }
        bytes
    }
}

/// A TCP segment over IPv4.
struct Segment<'a> {
    /// Source and destination: address and port.
    ends: [End; 2],
    seq: u32,
    syn: bool,
    ack: bool,
    payload: &'a [u8],
}

fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
    let len = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let ip = ip.get(..len).filter(|ip| ip[9] == 6)?;
    let tcp = ip.get(usize::from(ip[0] & 15) * 4..)?;
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Some(Segment {
        ends: [
            ([ip[12], ip[13], ip[14], ip[15]], port(0)),
            ([ip[16], ip[17], ip[18], ip[19]], port(2)),
        ],
        seq: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
        syn: tcp[13] & 2 != 0,
        ack: tcp[13] & 16 != 0,
        payload: tcp.get(usize::from(tcp[12] >> 4) * 4..)?,
    })
}

/// Address and port of one end.
type End = ([u8; 4], u16);

/// A connection under reconstruction: its ends, the opening one first, and its directions.
type Found = ([End; 2], Direction, Direction);

/// All connections whose beginning was captured, in order.
pub fn connections(packets: &[Packet]) -> Vec<Connection> {
    let mut found: Vec<Found> = vec![];
    for segment in packets.iter().filter_map(|p| segment(&p.data)) {
        let [from, to] = segment.ends;
        let start = segment.seq.wrapping_add(1);
        if segment.syn && !segment.ack {
            let again = found
                .iter()
                .any(|(ends, host, _)| *ends == [from, to] && host.first == Some(start));
            if !again {
                let host = Direction {
                    first: Some(start),
                    ..Direction::default()
                };
                found.push(([from, to], host, Direction::default()));
            }
            continue;
        }
        let Some((ends, host, target)) = found
            .iter_mut()
            .rev()
            .find(|(ends, ..)| *ends == [from, to] || *ends == [to, from])
        else {
            continue;
        };
        if segment.syn {
            target.first = Some(start);
        } else if *ends == [from, to] {
            host.add(segment.seq, segment.payload);
        } else {
            target.add(segment.seq, segment.payload);
        }
    }
    found
        .into_iter()
        .map(|(_, host, target)| Connection {
            from_host: host.bytes(),
            from_target: target.bytes(),
        })
        .collect()
}
