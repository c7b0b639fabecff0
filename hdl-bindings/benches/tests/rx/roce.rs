//! RoCE through rx: every opcode, size, version of IP and fault against the software model, and captured sessions of Linux.

use std::path::Path;

use sluice_benches::{
    frames::{OWN_MAC, put16},
    pcap,
    random::Random,
    roce_frames::{FAULTS, Fault, frame},
};
use sluice_wire::roce::Opcode;

use super::{ACK, Drop, Rig, random_frame, segment};

fn payload_of(random: &mut Random, opcode: Opcode) -> usize {
    match opcode {
        Opcode::ReadRequest | Opcode::Acknowledge | Opcode::AtomicAcknowledge => 0,
        Opcode::Cnp => 16,
        _ => match random.range(0, 9) {
            0 => 0,
            1..=4 => random.size(1, 70),
            5..=7 => random.size(71, 1024),
            8 => random.pick(&[256, 512, 1024, 2048, 4096]),
            _ => random.size(1025, 4096),
        },
    }
}

#[test]
fn packets_of_every_opcode_and_fault_are_judged_as_the_model_judges_them() {
    for (seed, wire, desc, grant) in [(51, 100, 100, 100), (52, 60, 50, 70), (53, 90, 20, 95)] {
        let mut random = Random::new(seed);
        let mut rig = Rig::new(grant);
        (rig.wire_percent, rig.desc_percent, rig.keep) = (wire, desc, Some(20));
        if wire == 100 {
            rig.wire_percent = 80; // no room for frames of less than wire speed to pile up
        }
        let mut frames = Vec::new();
        for _ in 0..12 {
            for opcode in Opcode::ALL {
                for fault in [Fault::None, random.pick(&FAULTS)] {
                    let payload = payload_of(&mut random, *opcode);
                    frames.push(frame(&mut random, *opcode, payload, fault));
                    if random.chance(20) {
                        frames.push(random_frame(&mut random));
                    }
                }
            }
        }
        rig.check(&mut random, &frames);
        for reason in [Drop::Roce, Drop::Icrc, Drop::Checksum] {
            assert!(rig.counted[reason as usize] > 10, "{:?}", rig.counted);
        }
    }
}

#[test]
fn every_bit_that_the_icrc_covers_is_covered_and_no_other() {
    let mut random = Random::new(54);
    let mut rig = Rig::new(100);
    for payload in [0, 1, 14, 15, 16, 17] {
        let whole = frame(&mut random, Opcode::WriteOnly, payload, Fault::None);
        let l3 = if whole[12..14] == [0x81, 0] { 18 } else { 14 };
        let l4 = l3 + if whole[l3] >> 4 == 4 { 20 } else { 40 };
        let mut frames = vec![whole.clone()];
        for bit in (l4 + 8) * 8..whole.len() * 8 {
            let mut other = whole.clone();
            put16(&mut other, l4 + 6, 0);
            other[bit / 8] ^= 1 << (bit % 8);
            frames.push(other);
        }
        rig.wire_percent = 70;
        rig.check_fresh(&mut random, &frames);
        let bad = rig.counted[Drop::Icrc as usize] + rig.counted[Drop::Roce as usize];
        assert!(
            bad > 200 && rig.frames.0 >= 9,
            "{bad} caught, {:?} passed",
            rig.frames
        );
    }
}

#[test]
fn a_burst_of_packets_at_wire_speed_is_taken_whole() {
    let mut random = Random::new(56);
    let mut rig = Rig::new(100);
    for (opcode, payload) in [
        (Opcode::Acknowledge, 0),
        (Opcode::SendOnly, 64),
        (Opcode::ReadRequest, 0),
        (Opcode::WriteMiddle, 1024),
        (Opcode::WriteMiddle, 4096),
    ] {
        let frames: Vec<_> = (0..12)
            .map(|_| frame(&mut random, opcode, payload, Fault::None))
            .collect();
        rig.check_fresh(&mut random, &frames);
        assert_eq!(rig.frames.0, 12);
    }
}

/// A pure acknowledgment of TCP may wait for a later one while its core is behind: not when RoCE follows it.
#[test]
fn packets_neither_wait_nor_are_taken_for_acknowledgments_of_tcp() {
    let mut random = Random::new(57);
    let mut rig = Rig::new(100);
    (rig.lag, rig.keep) = (3, Some(4));
    for _ in 0..3 {
        let ack = segment(&mut random, false, 1000, 7, ACK, 0);
        rig.send(&mut random, &ack);
        // The opcode has the bits of a lone ACK.
        let packet = frame(&mut random, Opcode::ReadResponseOnly, 0, Fault::None);
        rig.send(&mut random, &packet);
    }
    rig.drain_short(&mut random);
    let roce: Vec<_> = rig.delivered.iter().map(|d| d.words[1] >> 11 & 1).collect();
    assert_eq!(roce, [0, 1, 0, 1, 0, 1]);
}

/// Real Linux on both sides; one of them becomes this card.
#[test]
fn captured_packets_of_linux_are_delivered_and_damaged_ones_are_not() {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sim/data/captures");
    let mut random = Random::new(55);
    let mut rig = Rig::new(100);
    rig.keep = Some(8);
    let mut files = 0;
    for entry in std::fs::read_dir(captures).expect("captures").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        if !name.contains("_rdma_") || !name.ends_with(".pcap") {
            continue;
        }
        files += 1;
        let mut frames: Vec<_> = pcap::read(&entry.path())
            .into_iter()
            .filter(|f| {
                f.len() > 42 && f[12..14] == [8, 0] && f[23] == 17 && f[36..38] == [0x12, 0xb7]
            })
            .collect();
        for frame in &mut frames {
            frame[..6].copy_from_slice(&OWN_MAC);
        }
        rig.wire_percent = 80;
        rig.check_fresh(&mut random, &frames);
        assert_eq!(rig.frames.0, frames.len() as u64, "{name}: all are right");
        assert!(frames.len() > 100, "{name}");
        for frame in frames.iter_mut().take(200) {
            let at = random.size(47, frame.len() - 1);
            frame[at] ^= 1 << random.size(0, 7);
        }
        frames.truncate(200);
        rig.check_fresh(&mut random, &frames);
        assert_eq!(rig.frames.0, 0, "{name}: every damage is seen");
    }
    assert_eq!(files, 8);
}
