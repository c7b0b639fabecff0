//! Receive descriptors out of the core's registers. Layout: `docs/card.md`, section 3.

use sluice_hal::{BufId, Rx, RxDesc, RxFlags, roce::RoceRx};

use crate::{
    arch,
    regs::{Put, core},
};

/// Takes the oldest descriptor.
#[inline]
pub fn next() -> Option<Rx> {
    if !core().rx_status.read().valid() {
        return None;
    }
    arch::fence_after_io();
    let kind = core().rx_word[1].read();
    let rx = if kind & RxFlags::ROCE != 0 {
        Rx::Roce(roce(kind))
    } else {
        Rx::Frame(frame(kind))
    };
    core().rx_pop.put(0);
    Some(rx)
}

/// `kind` is word 1, already read.
#[inline(always)]
fn roce(kind: u32) -> RoceRx {
    RoceRx::from_used_words(|i| match i {
        1 => kind,
        _ => core().rx_word[i].read(),
    })
}

#[inline(always)]
fn frame(kind: u32) -> RxDesc {
    let word = &core().rx_word;
    let [place, offsets, sizes, ports] = [
        word[0].read(),
        word[2].read(),
        word[3].read(),
        word[4].read(),
    ];
    RxDesc {
        buf: BufId(place as u16 & 0xfff),
        frame_len: (place >> 16) as u16 & 0x3fff,
        flags: RxFlags(kind & 0x7ff),
        vlan: (kind >> 16) as u16,
        l3_offset: offsets as u8,
        l4_offset: (offsets >> 8) as u8,
        payload_offset: (offsets >> 16) as u8,
        tcp_flags: (offsets >> 24) as u8,
        payload_len: sizes as u16,
        window: (sizes >> 16) as u16,
        src_port: ports as u16,
        dst_port: (ports >> 16) as u16,
        seq: word[5].read(),
        ack: word[6].read(),
        ts_val: word[7].read(),
        ts_ecr: word[8].read(),
        flow_hash: word[9].read(),
        src_ip4: word[10].read(),
        dst_ip4: word[11].read(),
        time_us: word[12].read(),
    }
}
