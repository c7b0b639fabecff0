//! Every parser of frames and fields that takes bytes from the wire. What is looked for is a panic. RoCE packets with what
//! becomes of them have a target of their own, `roce`.
#![no_main]

use sluice_wire::{arp, ethernet, fabrics, ib_cm, icmp, ipv4, ipv6, roce, tcp};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = fabrics::nqn(data);
    if let Some(frame) = ethernet::View::of(data) {
        layer3(frame.ethertype, &data[frame.payload_offset..]);
    }
    // Checksums would keep most inputs from the layers above IP: offer them the bytes directly too.
    layer4(data);
});

fn layer3(ethertype: u16, bytes: &[u8]) {
    let _ = roce::icrc(bytes);
    match ethertype {
        ethernet::ARP => drop(arp::Packet::of(bytes).copied()),
        ethernet::IPV4 => {
            if let Ok(packet) = ipv4::View::of(bytes) {
                layer4(packet.payload);
            }
        }
        ethernet::IPV6 => {
            if let Some(packet) = ipv6::View::of(bytes) {
                layer4(packet.payload);
            }
        }
        _ => {}
    }
}

fn layer4(bytes: &[u8]) {
    if let Some(segment) = tcp::View::of(bytes) {
        let options = tcp::Options::parse(segment.options);
        let mut written = [0; 40];
        let length = options.emit(&mut written);
        // What we write is understood by ourselves.
        assert_eq!(tcp::Options::parse(&written[..length]).mss, options.mss);
    }
    // As UDP's payload, and as all of a datagram.
    for packet in [Some(bytes), bytes.get(8..)].into_iter().flatten() {
        if let Some(packet) = roce::View::of(packet)
            && let Ok(mad) = packet.payload.try_into()
        {
            let _ = ib_cm::Message::of(mad).map(|message| message.mad().tid);
        }
    }
    let _ = icmp::link_layer_option(bytes, icmp::OPTION_SOURCE);
    let _ = icmp::link_layer_option(bytes, icmp::OPTION_TARGET);
}
