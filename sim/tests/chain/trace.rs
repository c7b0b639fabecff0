//! The card's trace: what is in the ring is what was on the wire.

use std::collections::VecDeque;
use std::path::Path;

use sluice_device::Device;
use sluice_driver::card::trace::{TraceOptions, TraceState};
use sluice_driver::card::{Card, CardOptions};
use sluice_regs::bar0_regs as bar0;
use sluice_sim::initiator::Workload;
use sluice_sim::pcap::{self, Packet, Writer, kept};
use sluice_sim::world::card_device;
use sluice_wire::trace::{self as format, DROPS, Record};

use crate::common::{Bench, On, mix, over_rdma, to_demo};

crate::on_both_cards! {
    every_frame_of_both_transports_is_traced_byte_for_byte_in_order,
    a_ring_too_small_loses_frames_and_counts_each_of_them,
    frames_that_rx_drops_are_traced_with_the_reason,
    a_ring_that_the_card_cannot_reach_ends_the_trace_and_nothing_else,
    a_card_that_is_held_ends_its_trace_and_begins_none_by_itself,
}

/// Shortest frame on the wire without FCS: the MAC fills up what the card sends.
const SHORTEST: usize = 60;

struct Traced {
    record: Record,
    frame: Vec<u8>,
}

/// Lets what is under way end, then traces; what is captured from here on is what the trace is to have.
fn start(bench: &mut Bench, options: TraceOptions) {
    bench.run(20_000);
    bench.drop_capture("of the time before the trace");
    let card = bench.server.rig.card();
    card.start_trace(options).expect("the trace starts");
    bench.begin_capture();
}

fn take(bench: &mut Bench, most: usize, to: &mut Vec<Traced>) -> bool {
    let bytes = bench.server.rig.card().read_trace(most).expect("records");
    assert!(bytes.len() <= most.max(16 + 9216));
    let mut rest = &bytes[..];
    while let Some((record, frame, left)) = format::next(rest).expect("whole records") {
        to.push(Traced {
            record,
            frame: frame.to_vec(),
        });
        rest = left;
    }
    !bytes.is_empty()
}

/// Ends the trace and takes the rest.
fn end(bench: &mut Bench, to: &mut Vec<Traced>) -> TraceState {
    bench.run(20_000);
    let state = bench.server.rig.card().end_trace().expect("it ends");
    while take(bench, 1 << 20, to) {}
    let stopped = bench.server.rig.card().stop_trace().expect("it has ended");
    assert_eq!((stopped.lost, stopped.bus_error), (state.lost, false));
    assert_eq!(state.records as usize, to.len());
    state
}

/// Bytes and depth of loads.
type Loads = [(usize, usize); 2];

/// Bursts of hundreds of kilobytes.
const HEAVY: Loads = [(4096, 8), (65_536, 8)];
/// No more data under way, both hosts together, than the trace's buffers hold: at 100 Gb/s whole frames come in three times as fast as
/// they go to the host.
const LIGHT: Loads = [(4096, 2), (8192, 2)];

/// Connects over both transports and does commands of several kinds; `between` is called now and then.
fn traffic(bench: &mut Bench, on: &On, loads: Loads, mut between: impl FnMut(&mut Bench)) {
    let (tcp, rdma) = (bench.host(1), bench.host(2));
    let connected = [
        (
            tcp,
            bench.connect_with(tcp, &to_demo(1).with_digests(true, true)),
        ),
        (rdma, bench.connect_with(rdma, &over_rdma(2))),
    ];
    for (bytes, depth) in loads {
        // Each has a namespace of its own, since both write.
        for (own, (host, (controller, namespaces))) in connected.iter().enumerate() {
            let load = mix(controller, &namespaces[own], bytes, depth, on.ios(160));
            bench.at(*host).attach(Workload::new(load));
        }
        let busy = |bench: &mut Bench, host: usize| {
            let load = bench.at(host).workload().expect("attached");
            !load.is_done()
        };
        while busy(bench, tcp) || busy(bench, rdma) {
            bench.run(5_000);
            between(bench);
        }
        for host in [tcp, rdma] {
            let stats = bench.at(host).detach().expect("attached").into_stats();
            assert_eq!(stats.errors, [""; 0]);
        }
    }
    for (host, (controller, _)) in &connected {
        bench
            .on(*host, |b| b.disconnect(controller))
            .expect("disconnect");
    }
    bench.run(40_000);
}

/// The record is of this frame.
fn is_of(traced: &Traced, packet: &Packet, snap: u16) -> bool {
    let len = usize::from(traced.record.len.get());
    let kept = len.min(snap.into());
    packet.data.len()
        == if traced.record.is_sent() {
            len.max(SHORTEST)
        } else {
            len
        }
        && traced.frame == packet.data[..kept]
        && packet.data[len..].iter().all(|byte| *byte == 0)
}

/// Each direction's records are of frames of the capture, in order; frames that have none.
fn compare(bench: &mut Bench, traced: &[Traced], snap: u16) -> usize {
    let mac = bench.server.rig.config().ports[0].mac;
    let packets = pcap::parse(&bench.captured()).expect("a capture");
    for pair in traced.windows(2) {
        assert!(pair[0].record.clocks.get() <= pair[1].record.clocks.get());
    }
    let mut missing = 0;
    for sent in [false, true] {
        let mut on_wire: VecDeque<_> = (packets.iter())
            .filter(|p| (p.data[6..12] == mac) == sent)
            .collect();
        for (n, record) in (traced.iter())
            .filter(|t| t.record.is_sent() == sent)
            .enumerate()
        {
            let at = on_wire.iter().position(|p| is_of(record, p, snap));
            let Some(at) = at else {
                panic!(
                    "record {n}, sent {sent}, is of no frame: {:?}",
                    record.record
                );
            };
            missing += at;
            on_wire.drain(..=at);
        }
        missing += on_wire.len();
    }
    assert!(traced.len() + missing == packets.len());
    missing
}

/// The trace as a capture of its own, for tshark.
fn write_capture(name: &str, traced: &[Traced]) -> std::path::PathBuf {
    let path = kept::new_file(name, Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a file");
    let mut writer = Writer::create(&path).expect("a capture");
    for t in traced {
        let clocks = t.record.clocks.get();
        writer.write(clocks, &t.frame).expect("it is written");
    }
    writer.flush().expect("it is written");
    path
}

fn every_frame_of_both_transports_is_traced_byte_for_byte_in_order(on: &On) {
    // Rings small enough to go round several times: the functional card's engines take no time.
    for (snap, loads) in [(9216, LIGHT), (128, HEAVY)] {
        let mut bench = Bench::new("traced", on);
        let options = TraceOptions {
            snap,
            ring: 1 << 18,
            ..TraceOptions::default()
        };
        start(&mut bench, options);
        let mut traced = Vec::new();
        traffic(&mut bench, on, loads, |bench| {
            take(bench, 40_000, &mut traced);
            while take(bench, 1 << 20, &mut traced) {}
        });
        let state = end(&mut bench, &mut traced);
        assert_eq!(state.lost, 0);
        assert_eq!(compare(&mut bench, &traced, snap), 0);
        assert!(traced.iter().all(|t| t.record.dropped().is_none()));
        if snap == 9216 {
            let report = pcap::check_with_tshark(&write_capture("trace", &traced));
            let report = report.unwrap_or_else(|e| panic!("{e}"));
            assert!(report.pdus > 50 && report.roce_packets > 50, "{report:?}");
        }
    }
}

fn a_ring_too_small_loses_frames_and_counts_each_of_them(on: &On) {
    // One that is never emptied, one that is emptied too seldom.
    for often in [false, true] {
        let mut bench = Bench::new("trace-lost", on);
        let options = TraceOptions {
            ring: 4096,
            ..TraceOptions::default()
        };
        start(&mut bench, options);
        let mut traced = Vec::new();
        traffic(&mut bench, on, HEAVY, |bench| {
            if often {
                take(bench, 4096, &mut traced);
            }
        });
        let state = end(&mut bench, &mut traced);
        assert!(state.lost > 100, "{state:?}");
        assert!(traced.len() > if often { 100 } else { 20 });
        assert_eq!(compare(&mut bench, &traced, 128), state.lost as usize);
    }
}

fn frames_that_rx_drops_are_traced_with_the_reason(on: &On) {
    let mut bench = Bench::new("trace-dropped", on);
    let options = TraceOptions {
        send: false,
        ..TraceOptions::default()
    };
    start(&mut bench, options);
    bench.drop_capture("nothing but frames that are bad on purpose");
    let mac = bench.server.rig.config().ports[0].mac;
    let from = [2, 0, 0, 0, 0, 9];
    let mut ipv4 = [&mac[..], &from, &[8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6]].concat();
    ipv4.resize(SHORTEST, 0);
    let mut other = [&[2, 9, 9, 9, 9, 9][..], &from, &[8, 6]].concat();
    other.resize(SHORTEST, 1);
    let mut strange = [&mac[..], &from, &[0x12, 0x34]].concat();
    strange.resize(200, 2);
    let frames = [
        (ipv4, "IPv4 header"),
        (other, "not for this card"),
        (strange, "EtherType"),
        (vec![3; 9300], "length"),
    ];
    let now = bench.lab.now();
    for (i, (frame, _)) in (1..).zip(&frames) {
        let mut world = bench.server.world.borrow_mut();
        world
            .ethernet
            .to_card
            .push_back((now + 1000 * i, frame.clone()));
    }
    let mut traced = Vec::new();
    let state = end(&mut bench, &mut traced);
    assert_eq!((traced.len(), state.lost), (frames.len(), 0));
    for (t, (frame, reason)) in traced.iter().zip(&frames) {
        let dropped = t.record.dropped().map(|d| DROPS[usize::from(d)]);
        assert_eq!(dropped, Some(*reason));
        assert_eq!(usize::from(t.record.len.get()), frame.len());
        assert_eq!(t.frame, frame[..frame.len().min(128)]);
    }
}

fn a_ring_that_the_card_cannot_reach_ends_the_trace_and_nothing_else(on: &On) {
    let mut bench = Bench::new("trace-bus", on);
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1));
    let mut control = bar0::TraceCtrl(0);
    control.set_receive(true);
    control.set_send(true);
    control.set_enable(true);
    for (order, base, error) in [(0, 0x1000, 4), (12, 0x1000, 4), (15, 0, 8)] {
        control.set_order(order);
        write(&mut bench, bar0::TRACE_BASE_LO_OFFSET, base);
        write(&mut bench, bar0::TRACE_BASE_HI_OFFSET, 0);
        write(&mut bench, bar0::TRACE_CTRL_OFFSET, control.0);
        bench.run(5_000);
        assert_eq!(bench.register(bar0::TRACE_STATUS_OFFSET), error);
        bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, on.ios(100)));
        assert_eq!(bench.register(bar0::TRACE_STATUS_OFFSET), error);
        write(&mut bench, bar0::TRACE_CTRL_OFFSET, 0);
    }
    // And the next one runs.
    start(&mut bench, TraceOptions::default());
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, on.ios(100)));
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    let mut traced = Vec::new();
    let state = end(&mut bench, &mut traced);
    assert_eq!((state.lost, compare(&mut bench, &traced, 128)), (0, 0));
}

fn write(bench: &mut Bench, offset: u32, value: u32) {
    let bar = bench.server.rig.card().device().bar(0).expect("BAR0");
    bar.write32(offset.into(), value).expect("a register");
}

fn a_card_that_is_held_ends_its_trace_and_begins_none_by_itself(on: &On) {
    let mut bench = Bench::new("trace-held", on);
    start(&mut bench, TraceOptions::default());
    bench.drop_capture("none of this test's business");
    let enabled = bench.register(bar0::TRACE_CTRL_OFFSET);
    assert_eq!(bench.register(bar0::TRACE_STATUS_OFFSET), 3);
    for (offset, value, status) in [
        (bar0::CTRL_OFFSET, 0, 0),
        (bar0::CTRL_OFFSET, 1, 0),
        (bar0::TRACE_CTRL_OFFSET, 0, 0),
        (bar0::TRACE_CTRL_OFFSET, enabled, 3),
    ] {
        write(&mut bench, offset, value);
        bench.run(3_000);
        assert_eq!(bench.register(bar0::TRACE_STATUS_OFFSET), status);
    }
    bench.server.rig.card().stop_trace().expect("it ends");
}

#[test]
fn a_trace_of_a_driver_that_has_died_is_switched_off_by_the_next_one() {
    let mut bench = Bench::new("trace-adopted", &On::functional());
    start(&mut bench, TraceOptions::default());
    assert_eq!(bench.register(bar0::TRACE_STATUS_OFFSET), 3);
    bench.drop_capture("none of this test's business");
    let Bench { server, .. } = bench;
    server.rig.leave();
    let card = Card::adopt(card_device(&server.world), CardOptions::default());
    let mut card = card.expect("it runs");
    let bar = card.device().bar(0).expect("BAR0");
    let read = |offset: u32| bar.read32(offset.into()).expect("a register");
    assert_eq!(read(bar0::TRACE_STATUS_OFFSET), 0);
    assert_eq!(read(bar0::TRACE_CTRL_OFFSET), 0);
    card.start_trace(TraceOptions::default())
        .expect("and another one can be started");
    card.stop_trace().expect("it ends");
}

#[test]
fn only_frames_of_the_wanted_port_are_traced() {
    let mut bench = Bench::new("trace-port", &On::functional());
    let options = TraceOptions {
        udp_port: 4791,
        snap: 64,
        ring: 16 << 20,
        ..TraceOptions::default()
    };
    start(&mut bench, options);
    traffic(&mut bench, &On::functional(), HEAVY, |_| {});
    let mut traced = Vec::new();
    let state = end(&mut bench, &mut traced);
    let packets = pcap::parse(&bench.captured()).expect("a capture");
    let roce = |p: &&Packet| p.data[23] == 17 && p.data[36..38] == 4791_u16.to_be_bytes();
    assert_eq!(state.lost, 0);
    assert_eq!(traced.len(), packets.iter().filter(roce).count());
    assert!(traced.len() > 100 && traced.len() < packets.len());
}
