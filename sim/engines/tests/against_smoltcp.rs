//! The models against an independent implementation of the formats: smoltcp's wire module.

use proptest::prelude::*;
use sluice_engines::{DropReason, parse, transmit};
use sluice_hal::{
    BufId, PmAddr, PmSlice, RawChecksum, RawJob, RxFlags, TcpJob, TcpOverrides, TxJob,
};
use sluice_wire::tcp;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol,
    Ipv4Address, Ipv4Packet, Ipv4Repr, Ipv6Address, Ipv6Packet, Ipv6Repr, TcpControl, TcpPacket,
    TcpRepr, TcpSeqNumber,
};

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A segment from the peer, built by smoltcp.
fn peer_segment(v6: bool, payload: &[u8], timestamp: bool) -> Vec<u8> {
    let repr = TcpRepr {
        src_port: 50_000,
        dst_port: 4420,
        control: TcpControl::Psh,
        seq_number: TcpSeqNumber(0x1234_5678),
        ack_number: Some(TcpSeqNumber(0x0102_0304)),
        window_len: 777,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: timestamp
            .then(|| smoltcp::wire::TcpTimestampRepr::new(0xaabb_ccdd, 0x1122_3344)),
        payload,
    };
    let caps = ChecksumCapabilities::default();
    let l4_len = repr.buffer_len();
    let ip_len = if v6 { 40 } else { 20 };
    let mut frame = vec![0; 14 + ip_len + l4_len];
    let ethertype = if v6 {
        EthernetProtocol::Ipv6
    } else {
        EthernetProtocol::Ipv4
    };
    EthernetRepr {
        src_addr: EthernetAddress(PEER),
        dst_addr: EthernetAddress(OWN),
        ethertype,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    let (src, dst): (IpAddress, IpAddress) = if v6 {
        let (src_addr, dst_addr) = (
            Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
            Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
        );
        Ipv6Repr {
            src_addr,
            dst_addr,
            next_header: IpProtocol::Tcp,
            payload_len: l4_len,
            hop_limit: 64,
        }
        .emit(&mut Ipv6Packet::new_unchecked(&mut frame[14..]));
        (src_addr.into(), dst_addr.into())
    } else {
        let (src_addr, dst_addr) = (Ipv4Address::new(10, 0, 0, 2), Ipv4Address::new(10, 0, 0, 1));
        Ipv4Repr {
            src_addr,
            dst_addr,
            next_header: IpProtocol::Tcp,
            payload_len: l4_len,
            hop_limit: 64,
        }
        .emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &caps);
        (src_addr.into(), dst_addr.into())
    };
    repr.emit(
        &mut TcpPacket::new_unchecked(&mut frame[14 + ip_len..]),
        &src,
        &dst,
        &caps,
    );
    if timestamp {
        // smoltcp pads behind the option; Linux and the engine's fast path put NOP NOP before it.
        let options = &mut frame[14 + ip_len + 20..14 + ip_len + 32];
        options.rotate_right(2);
        options[..2].fill(1);
        TcpPacket::new_unchecked(&mut frame[14 + ip_len..]).fill_checksum(&src, &dst);
    }
    frame
}

#[test]
fn fields_of_a_segment_are_where_smoltcp_put_them() {
    for v6 in [false, true] {
        for timestamp in [false, true] {
            let mut frame = peer_segment(v6, b"hello", timestamp);
            frame.resize(90.max(frame.len()), 0); // Ethernet padding
            let desc = parse(&frame, OWN, BufId(7), 99).expect("good frame");
            let ip = if v6 { RxFlags::IPV6 } else { RxFlags::IPV4 };
            let ts = if timestamp { RxFlags::TIMESTAMP } else { 0 };
            assert_eq!(desc.flags.0, ip | RxFlags::TCP | RxFlags::L4_OK | ts);
            assert_eq!(
                (desc.buf, desc.time_us, desc.frame_len),
                (BufId(7), 99, frame.len() as u16)
            );
            assert_eq!((desc.src_port, desc.dst_port), (50_000, 4420));
            assert_eq!(
                (desc.seq, desc.ack, desc.window),
                (0x1234_5678, 0x0102_0304, 777)
            );
            assert_eq!(desc.tcp_flags, tcp::ACK | tcp::PSH);
            let at = usize::from(desc.payload_offset);
            assert_eq!(&frame[at..at + usize::from(desc.payload_len)], b"hello");
            if timestamp {
                assert_eq!((desc.ts_val, desc.ts_ecr), (0xaabb_ccdd, 0x1122_3344));
            }
        }
    }
}

#[test]
fn the_flow_hash_is_the_crc_of_the_addresses_and_ports() {
    let desc = parse(&peer_segment(false, b"", false), OWN, BufId(0), 0).expect("good frame");
    let tuple = [10, 0, 0, 2, 10, 0, 0, 1, 0xc3, 0x50, 0x11, 0x44];
    assert_eq!(desc.flow_hash, sluice_wire::crc32c::crc32c(&tuple));
    assert_eq!((desc.src_ip4, desc.dst_ip4), (0x0a00_0002, 0x0a00_0001));
}

#[test]
fn a_vlan_tag_moves_the_offsets_only() {
    let plain = peer_segment(false, b"hello", true);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0x00, 0x60, 0x2a]);
    let (a, b) = (
        parse(&plain, OWN, BufId(0), 0).expect("good"),
        parse(&tagged, OWN, BufId(0), 0).expect("good"),
    );
    assert_eq!(b.vlan, 0x602a);
    assert_eq!(b.flags.0, a.flags.0 | RxFlags::VLAN);
    assert_eq!(
        (b.l3_offset, b.l4_offset, b.payload_offset),
        (18, a.l4_offset + 4, a.payload_offset + 4)
    );
}

#[test]
fn bad_frames_are_dropped_with_their_reason() {
    let good = peer_segment(false, b"hello", true);
    let reason = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        edit(&mut frame);
        parse(&frame, OWN, BufId(0), 0).expect_err("must be dropped")
    };
    assert_eq!(reason(&|f| f.truncate(13)), DropReason::Length);
    assert_eq!(reason(&|f| f.resize(9217, 0)), DropReason::Length);
    assert_eq!(reason(&|f| f[0] = 4), DropReason::NotOurs);
    assert_eq!(reason(&|f| f[12] = 0x12), DropReason::EtherType);
    assert_eq!(
        reason(&|f| f[12..16].copy_from_slice(&[0x88, 0x08, 0, 1])),
        DropReason::Pause
    );
    assert_eq!(
        reason(&|f| f[12..16].copy_from_slice(&[0x88, 0x08, 0, 2])),
        DropReason::EtherType
    );
    assert_eq!(
        reason(&|f| {
            f[12..14].copy_from_slice(&[0x81, 0x00]);
            f.truncate(17);
        }),
        DropReason::EtherType
    );
    // A data offset of 4 words, checksum adjusted.
    assert_eq!(
        reason(&|f| {
            let old = u16::from_be_bytes([f[46], f[47]]);
            f[46] = 0x40 | f[46] & 15;
            let sum = u16::from_be_bytes([f[50], f[51]]);
            let new = u16::from_be_bytes([f[46], f[47]]);
            f[50..52].copy_from_slice(&fix(sum, old, new));
        }),
        DropReason::L4Header
    );
    assert_eq!(reason(&|f| f[14] = 0x55), DropReason::Ipv4Header);
    assert_eq!(reason(&|f| f[24] ^= 1), DropReason::Ipv4Header);
    assert_eq!(reason(&|f| f.truncate(60)), DropReason::Ipv4Header);
    // MF set, header checksum adjusted by the same amount.
    assert_eq!(
        reason(&|f| {
            f[20] = 0x20;
            let c = u16::from_be_bytes([f[24], f[25]]);
            f[24..26].copy_from_slice(&fix(c, 0x4000, 0x2000));
        }),
        DropReason::Fragment
    );
    assert_eq!(
        reason(&|f| *f.last_mut().expect("payload") ^= 1),
        DropReason::L4Checksum
    );
}

/// RFC 1624: the checksum after one word changed from `old` to `new`.
fn fix(checksum: u16, old: u16, new: u16) -> [u8; 2] {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) as u16 + (sum >> 16) as u16)).to_be_bytes()
}

fn job(v6: bool, template: &[u8], pm: &mut [u8], pieces: &[(u32, u32)], mss: u16) -> TxJob {
    pm[2..2 + template.len()].copy_from_slice(template);
    let mut gather = [PmSlice::default(); 4];
    for (slot, (at, len)) in gather.iter_mut().zip(pieces) {
        *slot = PmSlice::new(PmAddr(*at), *len);
    }
    TxJob::Tcp(TcpJob {
        template: PmAddr(2),
        header_len: template.len() as u8,
        l3_offset: 14,
        l4_offset: if v6 { 54 } else { 34 },
        mss,
        overrides: TcpOverrides {
            seq: 0xffff_ff00,
            ack: 7,
            window: 99,
            flags: tcp::ACK | tcp::PSH | tcp::FIN | tcp::CWR,
            timestamps: Some((5, 6)),
        },
        gather,
        gather_len: pieces.len() as u8,
    })
}

proptest! {
    #[test]
    fn a_train_is_cut_summed_and_numbered_right(
        v6: bool,
        lens in proptest::collection::vec(0u32..5000, 0..=4),
        mss in 1u16..3000,
    ) {
        let mut pm: Vec<u8> = (0..40_000u32).map(|i| (i * 7 / 3) as u8).collect();
        let template = peer_segment(v6, b"", true);
        let mut at = 1000;
        let pieces: Vec<_> = lens.iter().map(|len| { let p = (at, *len); at += len + 13; p }).collect();
        let job = job(v6, &template, &mut pm, &pieces, mss);
        let want: Vec<u8> = pieces.iter().flat_map(|(a, n)| pm[*a as usize..(*a + *n) as usize].to_vec()).collect();
        let frames = transmit(&job, &pm);
        prop_assert_eq!(frames.len(), want.len().div_ceil(usize::from(mss)).max(1));
        let mut got = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            let last = i + 1 == frames.len();
            let seq = 0xffff_ff00u32.wrapping_add(got.len() as u32);
            let desc = parse(frame, OWN, BufId(0), 0).expect("good checksums");
            prop_assert_eq!((desc.seq, desc.ack, desc.window, desc.ts_val, desc.ts_ecr), (seq, 7, 99, 5, 6));
            let flags = tcp::ACK | if last { tcp::PSH | tcp::FIN } else { 0 } | if i == 0 { tcp::CWR } else { 0 };
            prop_assert_eq!(desc.tcp_flags, flags);
            let l4 = &frame[usize::from(desc.l4_offset)..];
            let packet = TcpPacket::new_checked(l4).expect("smoltcp agrees");
            let (src, dst): (IpAddress, IpAddress) = if v6 {
                let ip = Ipv6Packet::new_checked(&frame[14..]).expect("smoltcp agrees");
                (ip.src_addr().into(), ip.dst_addr().into())
            } else {
                let ip = Ipv4Packet::new_checked(&frame[14..]).expect("smoltcp agrees");
                prop_assert!(ip.verify_checksum());
                (ip.src_addr().into(), ip.dst_addr().into())
            };
            prop_assert!(packet.verify_checksum(&src, &dst));
            got.extend_from_slice(packet.payload());
        }
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..5) {
        let starts: [&[u8]; 5] = [&[], &[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[0x81, 0, 0, 1, 8, 0, 0x46], &[8, 6]];
        if let Some(place) = frame.get_mut(12..12 + starts[kind].len()) {
            place.copy_from_slice(starts[kind]);
        }
        let _ = parse(&frame, OWN, BufId(0), 0);
    }
}

#[test]
fn a_raw_frame_gets_its_checksums() {
    let mut frame = peer_segment(false, b"raw bytes", false);
    let want = frame.clone();
    frame[24..26].fill(0xee);
    frame[50..52].fill(0xee);
    let pm = [&[0, 0][..], &frame].concat();
    let len = frame.len() as u32;
    let mut job = RawJob {
        l3_offset: 14,
        l4_offset: 34,
        checksum: RawChecksum::Tcp,
        gather: [
            PmSlice::new(PmAddr(2), 50),
            PmSlice::new(PmAddr(52), len - 50),
            PmSlice::default(),
            PmSlice::default(),
        ],
        gather_len: 2,
    };
    assert_eq!(transmit(&TxJob::Raw(job), &pm), [want]);
    job.checksum = RawChecksum::None;
    assert_eq!(transmit(&TxJob::Raw(job), &pm), [frame]);
}
