//! One host must not take what the others need: requests, pages, or bytes of theirs.

use sluice_sim::initiator::{
    Command, Config, ConnectConfig, Controller, Transport, WorkloadConfig, pdu,
};
use sluice_sim::link::Faults;
use sluice_wire::fabrics::ConnectData;
use sluice_wire::nvme::{NvmOpcode, SglDescriptor, SglKind, Sqe, feature};

use crate::common::{Bench, MS, NQN, On, mix, named, target, to_demo};

crate::over_both_transports! {
    queues_that_nobody_reads_leave_requests_for_others,
    queues_that_nobody_reads_leave_pages_for_others,
    when_stalled_hosts_have_all_memory_they_lose_their_connections,
    large_writes_on_deep_queues_are_never_sent_back,
}

/// A host that reads a lot on each of its I/O queues and takes nothing of it.
struct Greedy {
    over: Transport,
    host: usize,
    controller: Controller,
}

impl Greedy {
    /// Host `n` with `queues` I/O queues, on each of which it reads `bytes` at a time, 127 commands deep.
    fn begin(bench: &mut Bench, over: Transport, n: u8, queues: u16, bytes: u32) -> Self {
        let host = bench.add(&Config {
            tcp_buffer: 16 << 10,
            ..Config::numbered(n)
        });
        let mut config = ConnectConfig {
            io_queues: queues,
            ..to_demo(n).over(over)
        };
        // What goes beyond it is not acknowledged, as beyond the TCP buffer.
        config.queue.rdma.receives = Some(4);
        let (controller, _) = bench.connect_with(host, &config);
        for io in controller.io.clone() {
            for i in 0..127u64 {
                let read = Command::read(1, i * 256, bytes / 512, 512);
                bench.at(host).submit(io, read);
            }
        }
        bench.run(200);
        for io in controller.io.clone() {
            bench.at(host).hold(io, true);
        }
        Self {
            over,
            host,
            controller,
        }
    }

    fn disconnect(self, bench: &mut Bench) {
        let host = bench.at(self.host);
        for queue in self.controller.io.iter().chain([&self.controller.admin]) {
            // Over RDMA nobody hears of a queue pair that ends without a word and has nothing to do.
            match self.over {
                Transport::Tcp => host.reset(*queue),
                Transport::Rdma => host.close(*queue),
            }
        }
    }
}

/// `hosts` greedy hosts with `queues` queues each; then another host comes, and does its I/O within `limit` card clocks.
fn the_greedy_and_another(
    over: Transport,
    name: &str,
    hosts: u8,
    queues: u16,
    bytes: u32,
    limit: u64,
) {
    let mut bench = Bench::new(&named(name, over), &On::functional());
    let greedy: Vec<_> = (0..hosts)
        .map(|n| Greedy::begin(&mut bench, over, 10 + n, queues, bytes))
        .collect();
    let before = bench.lab.now();
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1).over(over));
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 8, 200));
    bench.verified(host, mix(&controller, &namespaces[0], 131_072, 4, 40));
    let took = bench.lab.now() - before;
    println!(
        "{hosts} x {queues} queues of {bytes} bytes: {} ms, {:?}",
        took / MS,
        bench.resources().map(|(cores, ..)| cores)
    );
    assert!(took < limit, "{} ms of card time", took / MS);
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    for greedy in greedy {
        greedy.disconnect(&mut bench);
    }
    bench.drop_capture("hosts that break off leave segments of closed connections");
    bench.run(20_000 * MS);
    bench.assert_all_given_back();
}

fn queues_that_nobody_reads_leave_requests_for_others(over: Transport) {
    the_greedy_and_another(over, "greedy-requests", 4, 16, 4096, 1_000 * MS);
}

fn queues_that_nobody_reads_leave_pages_for_others(over: Transport) {
    the_greedy_and_another(over, "greedy-pages", 1, 16, 131_072, 1_000 * MS);
}

fn when_stalled_hosts_have_all_memory_they_lose_their_connections(over: Transport) {
    // Ten seconds, in which what asks for little still gets it.
    the_greedy_and_another(over, "greedy-everything", 4, 32, 131_072, 25_000 * MS);
}

fn large_writes_on_deep_queues_are_never_sent_back(over: Transport) {
    for (name, hosts, depth, bytes) in [
        ("deep-writes-128k", 4, 127, 131_072),
        ("deep-writes-32k", 8, 127, 32_768),
        // More than one queue's share of everything.
        ("deeper-writes-20k", 4, 400, 20_480),
    ] {
        if over == Transport::Rdma && depth > 127 {
            // Queues over RDMA have 128 entries at most.
            continue;
        }
        let mut bench = Bench::new(&named(name, over), &On::functional());
        let (mut loads, mut all) = (vec![], vec![]);
        for n in 1..=hosts {
            let host = bench.host(n);
            let mut config = to_demo(n).over(over).with_digests(n & 1 != 0, n & 2 != 0);
            config.queue.entries = if depth < 128 { 128 } else { 1024 };
            let (controller, namespaces) = bench.connect_with(host, &config);
            let ns = &namespaces[0];
            let ios = depth as u64 * 3 / 2 + 60;
            let load = mix(&controller, ns, bytes, depth, ios);
            let span = load.span.min(ns.blocks / u64::from(hosts));
            loads.push((
                host,
                WorkloadConfig {
                    read_percent: 20,
                    first_block: u64::from(n - 1) * span,
                    span,
                    ..load
                },
            ));
            all.push((host, controller));
        }
        for stats in bench.load(loads) {
            assert_eq!(stats.errors, [""; 0]);
            assert_eq!(stats.retried, 0, "{name}: commands were sent back");
            assert!(stats.verified_bytes > 0);
        }
        assert!(bench.counters().waits.get() > 0, "they had to wait");
        for (host, controller) in &all {
            bench
                .on(*host, |b| b.disconnect(controller))
                .expect("disconnect");
        }
        bench.run(MS);
        bench.check_capture();
        bench.assert_all_given_back();
    }
}

#[test]
fn an_r2t_of_a_closed_connection_still_says_what_it_said() {
    const FIRST: u16 = 100;
    const WRITES: u16 = 60;
    let mut bench = Bench::new("r2t-after-fin", &On::functional());
    let host = bench.host(1);
    let none = ConnectConfig {
        io_queues: 0,
        ..to_demo(1)
    };
    let controller = bench.connect(host, &none);
    let queues = Command::set_features(feature::QUEUES, 0);
    bench
        .on(host, |b| b.must("queues", controller.admin, queues))
        .expect("a queue");
    let other = bench.host(2);
    let (busy, namespaces) = bench.connect_with(other, &to_demo(2));
    // A queue of the first host's controller that the test speaks for byte by byte.
    let raw = bench.at(host).open_raw(target()).expect("a connection");
    let terms = pdu::Terms::PLAIN;
    bench
        .at(host)
        .raw_send(raw, &pdu::ic_req(false, false, 0, 1));
    let config = to_demo(1);
    let mut data = ConnectData {
        hostid: config.hostid,
        ..ConnectData::default()
    };
    data.cntlid.set(controller.cntlid);
    data.subnqn[..NQN.len()].copy_from_slice(NQN.as_bytes());
    data.hostnqn[..config.hostnqn.len()].copy_from_slice(config.hostnqn.as_bytes());
    let connect = Command::connect(1, 128, true, 0, &data);
    let mut sqe = connect.sqe;
    sqe.set_sgl(SglDescriptor::new(SglKind::Offset, 0, 1024));
    let sluice_sim::initiator::Data::ToCard(bytes) = connect.data else {
        panic!("Connect has data");
    };
    let capsule = pdu::command(sqe.bytes(), &bytes, &terms);
    bench.at(host).raw_send(raw, &capsule);
    let ready = 128 + 24;
    bench.until("the queue", 100 * MS, |b| {
        b.at(host).raw_received(raw).len() >= ready
    });
    // From now on the host hears nothing. It sends writes, and FIN.
    bench.lab.link.b_to_a.set_faults(Faults::loss_percent(100));
    for cid in FIRST..FIRST + WRITES {
        let mut sqe = Sqe::new(NvmOpcode::Write as u8, cid, 1);
        sqe.set_slba(u64::from(cid) * 256);
        sqe.set_nlb_control(255, 0);
        sqe.set_sgl(SglDescriptor::new(SglKind::Transport, 0, 131_072));
        let pdu = pdu::command(sqe.bytes(), &[], &terms);
        bench.at(host).raw_send(raw, &pdu);
    }
    bench.run(MS / 10);
    bench.at(host).raw_close(raw);
    bench.run(MS / 10);
    // The link is back, and somebody else keeps the card busy until it sends again what was lost.
    bench.lab.link.b_to_a.set_faults(Faults::default());
    let load = mix(&busy, &namespaces[0], 4096, 64, 2_000);
    bench.verified(
        other,
        WorkloadConfig {
            first_block: 61_440,
            ..load
        },
    );
    bench.run(3_000 * MS);
    let received = bench.at(host).raw_received(raw)[ready..].to_vec();
    let (mut at, mut seen) = (0, vec![]);
    while at < received.len() {
        let len = pdu::pdu_len(&received[at..]).expect("a whole header");
        match pdu::parse(&received[at..at + len], &terms) {
            Ok(pdu::Pdu::R2t {
                cid,
                offset: 0,
                len: 131_072,
                ..
            }) => seen.push(cid),
            other => panic!("after {} R2Ts came {other:?}", seen.len()),
        }
        at += len;
    }
    assert!(seen.len() > 3, "nothing was sent again");
    let asked: Vec<u16> = (FIRST..).take(seen.len()).collect();
    assert_eq!(seen, asked);
    bench
        .on(other, |b| b.disconnect(&busy))
        .expect("disconnect");
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.run(60_000 * MS);
    bench.check_capture();
    bench.assert_all_given_back();
}
