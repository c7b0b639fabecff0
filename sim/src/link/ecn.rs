//! What a congested switch does to a frame: ECN bits of ECN-capable IP packets become CE (RFC 3168, section 5), and the IPv4
//! header checksum is mended.

use sluice_wire::{checksum::Sum, ethernet, ipv4};

/// Marks a frame; false if it is not ECN-capable.
pub(super) fn mark(frame: &mut [u8]) -> bool {
    let Some((ethertype, at)) =
        ethernet::View::of(frame).map(|view| (view.ethertype, view.payload_offset))
    else {
        return false;
    };
    let ip = &mut frame[at..];
    match ethertype {
        ethernet::IPV4 => {
            let len = ip.first().map_or(0, |byte| usize::from(byte & 15) * 4);
            if len < 20 || ip.len() < len || !is_capable(ip[1]) {
                return false;
            }
            ip[1] |= ipv4::CE;
            ip[10..12].fill(0);
            let sum = Sum::default().bytes(&ip[..len]).finish();
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            true
        }
        // The traffic class lies across two bytes; its last two bits are 5:4 of the second.
        ethernet::IPV6 if ip.len() >= 40 && is_capable(ip[1] >> 4) => {
            ip[1] |= ipv4::CE << 4;
            true
        }
        _ => false,
    }
}

/// ECT(0), ECT(1), or marked already.
fn is_capable(class: u8) -> bool {
    class & ipv4::CE != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capable_packets_are_marked_and_others_are_left_alone() {
        for (tos, marked) in [
            (0, false),
            (1, true),
            (2, true),
            (0x2a, true),
            (0x28, false),
        ] {
            let mut header = ipv4::Header::new([10, 0, 0, 1], [10, 0, 0, 2], 17, 0);
            header.tos = tos;
            header.checksum.set(0);
            let bytes: [u8; 20] = zerocopy::transmute!(header);
            let right = Sum::default().bytes(&bytes).finish();
            header.checksum.set(right);
            let ip: [u8; 20] = zerocopy::transmute!(header);
            for tag in [&[][..], &[0x81, 0, 0, 5]] {
                let mut frame = [&[2; 12][..], tag, &[8, 0], &ip].concat();
                let before = frame.clone();
                assert_eq!(mark(&mut frame), marked, "{tos}");
                let ip = &frame[frame.len() - 20..];
                assert!(Sum::default().bytes(ip).is_right());
                assert_eq!(ip[1], if marked { tos | 3 } else { tos });
                assert_eq!(frame == before, !marked);
            }
        }
    }

    #[test]
    fn ipv6_is_marked_too_and_short_frames_are_not() {
        let mut frame = [&[2; 12][..], &[0x86, 0xdd, 0x60, 0x20], &[0; 38]].concat();
        assert!(mark(&mut frame));
        assert_eq!(frame[14..16], [0x60, 0x30]);
        for len in 0..54 {
            let mut short = frame[..len].to_vec();
            assert!(!mark(&mut short));
        }
    }
}
