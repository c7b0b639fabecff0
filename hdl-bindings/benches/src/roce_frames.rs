//! RoCEv2 frames to throw at rx, right in every respect or in all but one.

use sluice_wire::roce::{self, Bth, Opcode};
use zerocopy::IntoBytes;

use crate::{
    frames::{OWN_MAC, Recipe, put16},
    random::Random,
};

/// What is wrong with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// A bit that the ICRC covers, behind UDP.
    Bit,
    /// The ICRC is in the wrong byte order.
    IcrcOrder,
    /// TVer.
    Version,
    /// An opcode that means nothing here.
    Opcode,
    /// PadCnt beyond the payload.
    Pad,
    /// Bytes that make no whole word.
    Odd,
    /// Cut inside its headers.
    Short,
    /// IPv4 options, which the ICRC would cover.
    Options,
    /// UDP checksum neither zero nor right.
    UdpChecksum,
}

/// Every fault and none.
pub const FAULTS: [Fault; 10] = [
    Fault::None,
    Fault::Bit,
    Fault::IcrcOrder,
    Fault::Version,
    Fault::Opcode,
    Fault::Pad,
    Fault::Odd,
    Fault::Short,
    Fault::Options,
    Fault::UdpChecksum,
];

/// A packet of `opcode` with `payload` bytes, `fault` aside right.
pub fn frame(random: &mut Random, opcode: Opcode, payload: usize, fault: Fault) -> Vec<u8> {
    let v6 = fault != Fault::Options && random.chance(40);
    let packet = transport(random, opcode, payload, fault);
    let recipe = Recipe {
        mac: OWN_MAC,
        vlan: random.chance(40).then(|| random.bits() as u16),
        v6,
        ip_options: if fault == Fault::Options {
            4 * random.size(1, 10)
        } else {
            0
        },
        tos: random.bits() as u8,
        protocol: 17,
        tcp_options: Vec::new(),
        payload: [&packet[..], &[0; roce::ICRC_LEN]].concat(),
        padding: 0,
    };
    let mut frame = recipe.build(random);
    let (l3, l4, end) = (recipe.l3(), recipe.l4(), frame.len());
    put16(&mut frame, l4 + 2, roce::UDP_PORT.into());
    if v6 {
        frame[l3 + 1..l3 + 4].fill(random.bits() as u8); // flow label and the rest of the traffic class
    }
    let icrc = roce::icrc(&frame[l3..end - 4]).unwrap_or(0);
    let bytes = if fault == Fault::IcrcOrder {
        icrc.to_be_bytes()
    } else {
        icrc.to_le_bytes()
    };
    frame[end - 4..].copy_from_slice(&bytes);
    if fault == Fault::Bit {
        let at = random.size(l4 + 8, end - 1);
        let at = if at == l4 + 12 { l4 + 13 } else { at };
        frame[at] ^= 1 << random.size(0, 7);
    }
    if fault == Fault::UdpChecksum || random.chance(20) {
        recipe.mend(&mut frame);
        frame[l4 + 6] ^= u8::from(fault == Fault::UdpChecksum);
    } else {
        put16(&mut frame, l4 + 6, 0);
    }
    // On the way, switches mark congestion and count hops.
    if end > l4 + 20 && random.chance(30) {
        frame[l4 + 12] ^= random.pick(&[0x80, 0x40, 0x20]);
        put16(&mut frame, l4 + 6, 0);
    }
    let padding = random.size(0, 40);
    if random.chance(30) {
        frame.extend(random.fill(padding));
    }
    frame
}

/// BTH, extended headers, payload and padding.
fn transport(random: &mut Random, opcode: Opcode, payload: usize, fault: Fault) -> Vec<u8> {
    let pad = payload.wrapping_neg() & 3;
    let mut bth = Bth {
        opcode: opcode as u8,
        flags: (random.bits() as u8 & 0xc0) | (pad as u8) << 4,
        pkey: (random.bits() as u16).into(),
        dest_qp: (random.bits() as u32).into(),
        psn: (random.bits() as u32).into(),
    };
    if random.chance(50) {
        bth.dest_qp = (random.range(0, 0x2f_ffff) as u32).into(); // of a core that there is, or just not
    }
    let mut extended = opcode.extended_len();
    let mut rest = payload + pad;
    match fault {
        Fault::Version => bth.flags |= random.range(1, 15) as u8,
        Fault::Opcode => bth.opcode = random.pick(&[0x15, 0x18, 0x24, 0x65, 0x80, 0x82, 0xff]),
        Fault::Pad => {
            rest = 0;
            bth.flags |= 0x10;
        }
        Fault::Odd => rest += random.size(1, 3),
        Fault::Short => {
            rest = 0;
            extended = 0;
        }
        _ => {}
    }
    let mut packet = bth.as_bytes().to_vec();
    if fault == Fault::Short && opcode.extended_len() == 0 {
        packet.truncate(4 * random.size(0, 2));
    }
    packet.extend(random.fill(extended + rest));
    packet
}
