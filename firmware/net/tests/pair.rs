//! The stack against itself on a virtual clock: two cards, a link that loses, duplicates, reorders and corrupts.

mod support;

use sluice_hal::Micros;
use sluice_net::{CloseReason, Config, ConnId, Link};
use std::net::IpAddr;
use support::*;

struct Pair {
    now: Micros,
    a: Endpoint,
    b: Endpoint,
    to_a: Wire,
    to_b: Wire,
}

impl Pair {
    fn new(faults: Faults, seed: u64, edit: impl Fn(&mut Config)) -> Self {
        let mut a = config(CARD_MAC, CARD_IP, CARD_IP6);
        let mut b = config(PEER_MAC, PEER_IP, PEER_IP6);
        edit(&mut a);
        edit(&mut b);
        Self {
            // Close to the wrap of the 32-bit microsecond clock in some runs.
            now: Micros(seed.wrapping_mul(0x1000_0001) % (1 << 33)),
            a: Endpoint::new(&a, seed),
            b: Endpoint::new(&b, seed + 1),
            to_a: Wire::new(faults, seed + 2),
            to_b: Wire::new(faults, seed + 3),
        }
    }

    /// Both exchange what they have at this instant, then time goes on to the next thing that happens.
    fn step(&mut self) {
        while let Some(frame) = self.to_a.take(self.now) {
            self.a.receive(&frame, self.now);
        }
        while let Some(frame) = self.to_b.take(self.now) {
            self.b.receive(&frame, self.now);
        }
        self.a.run(self.now);
        self.b.run(self.now);
        for frame in self.a.card.sent.drain(..) {
            self.to_b.put(frame, self.now);
        }
        for frame in self.b.card.sent.drain(..) {
            self.to_a.put(frame, self.now);
        }
        let deadline = |e: &Endpoint| e.tcp.deadline().map(|d| d.0);
        let next = [
            self.to_a.next_at(),
            self.to_b.next_at(),
            deadline(&self.a),
            deadline(&self.b),
        ];
        let next = next
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.now.0 + 1_000_000);
        self.now = Micros(next.max(self.now.0 + 1));
    }

    fn run_until(&mut self, what: &str, seconds: u64, done: impl Fn(&Self) -> bool) {
        let end = self.now.after(seconds * 1_000_000);
        while !done(self) {
            assert!(
                self.now < end,
                "not {what} after {seconds} s\na: {:?}\nb: {:?}",
                self.a.tcp.stats(),
                self.b.tcp.stats()
            );
            self.step();
        }
    }

    fn connect(&mut self, flow: Flow, v6: bool, port: u16) -> ConnId {
        self.b.tcp.listen(4420).expect("first listener");
        let peer: IpAddr = if v6 { PEER_IP6.into() } else { PEER_IP.into() };
        let id = self
            .a
            .tcp
            .connect(self.now, (peer, 4420), port, PEER_MAC, &mut self.a.card)
            .expect("room");
        self.a.flows.insert(id, flow);
        id
    }

    fn finish(&mut self) {
        let all_closed = |e: &Endpoint| e.flows.values().all(|f| f.closed.is_some());
        self.run_until("closed", 300, |p| {
            all_closed(&p.a) && all_closed(&p.b) && !p.b.flows.is_empty()
        });
        let end = self.now.after(20_000_000);
        while self.now < end {
            self.step();
        }
        self.a.assert_clean(self.now);
        self.b.assert_clean(self.now);
    }
}

fn sending(bytes: u64) -> Flow {
    Flow {
        to_send: bytes,
        close_after: true,
        ..Flow::default()
    }
}

fn bulk(faults: Faults, seed: u64, bytes: u64, v6: bool, edit: impl Fn(&mut Config)) -> Pair {
    let mut pair = Pair::new(faults, seed, edit);
    let id = pair.connect(sending(bytes), v6, 50_000);
    pair.finish();
    assert_eq!(
        pair.a.flows[&id].closed,
        Some(CloseReason::Done),
        "seed {seed}"
    );
    let server = pair.b.accepted[0];
    assert_eq!(pair.b.flows[&server].received, bytes, "seed {seed}");
    pair
}

#[test]
fn bulk_data_arrives_whole_on_a_clean_link() {
    for v6 in [false, true] {
        let pair = bulk(CLEAN, 1, 3_000_000, v6, |_| {});
        let (a, b) = (pair.a.tcp.stats(), pair.b.tcp.stats());
        assert_eq!((a.retransmits, a.timeouts, a.recoveries), (0, 0, 0));
        assert!(
            b.fast * 10 > b.segments_in * 9,
            "the fast path is the usual one: {b:?}"
        );
    }
}

#[test]
fn bulk_data_survives_loss_duplication_reordering_and_corruption() {
    for seed in 0..30 {
        bulk(ROUGH, seed, 400_000, seed % 2 == 1, |_| {});
    }
}

#[test]
fn bulk_data_survives_without_options() {
    // Neither side scales windows beyond 64 KiB here, and ECN is off.
    for seed in 100..105 {
        bulk(ROUGH, seed, 200_000, false, |cfg| {
            cfg.ecn = false;
            cfg.recv_window = 30_000;
        });
    }
}

#[test]
fn jumbo_frames_arrive_whole() {
    for seed in 200..205 {
        let faults = Faults { loss: 20, ..ROUGH };
        bulk(faults, seed, 1_000_000, false, |cfg| cfg.mtu = 9000);
    }
}

#[test]
fn requests_and_answers_go_both_ways_on_a_rough_link() {
    for seed in 300..320 {
        let mut pair = Pair::new(ROUGH, seed, |_| {});
        pair.b.on_accept = || Flow {
            echo: true,
            ..Flow::default()
        };
        let id = pair.connect(
            Flow {
                to_send: 1,
                ..Flow::default()
            },
            false,
            50_001,
        );
        let total = 60_000;
        // Each answer is followed by the next request.
        while pair.a.flows[&id].received < total {
            let size = 1 + u64::from(pair.a.card.random() % 3000);
            let flow = pair.a.flows.get_mut(&id).expect("ours");
            if flow.received == flow.to_send {
                flow.to_send += size;
            }
            let before = pair.now;
            pair.step();
            assert!(pair.now.since(before) < 60_000_000, "seed {seed} stalls");
            assert_eq!(pair.a.flows[&id].closed, None, "seed {seed}");
        }
        pair.a.flows.get_mut(&id).expect("ours").close_after = true;
        pair.finish();
    }
}

#[test]
fn marked_frames_slow_the_sender_without_a_retransmission() {
    let faults = Faults { mark: 20, ..CLEAN };
    let pair = bulk(faults, 7, 2_000_000, false, |_| {});
    let stats = pair.a.tcp.stats();
    assert!(stats.ecn_reductions > 0);
    assert_eq!(stats.retransmits, 0);
}

#[test]
fn losses_are_mended_mostly_without_timeouts() {
    let faults = Faults { loss: 10, ..CLEAN };
    let pair = bulk(faults, 8, 4_000_000, false, |_| {});
    let stats = pair.a.tcp.stats();
    assert!(stats.recoveries > 0);
    assert!(stats.timeouts * 10 <= stats.recoveries, "{stats:?}");
}

#[test]
fn both_directions_carry_bulk_at_once() {
    for seed in 400..410 {
        let mut pair = Pair::new(ROUGH, seed, |_| {});
        pair.b.on_accept = || Flow {
            to_send: 200_000,
            ..Flow::default()
        };
        let id = pair.connect(sending(200_000), false, 50_000);
        pair.finish();
        assert_eq!(pair.a.flows[&id].received, 200_000, "seed {seed}");
        let server = pair.b.accepted[0];
        assert_eq!(pair.b.flows[&server].received, 200_000, "seed {seed}");
    }
}

#[test]
fn a_busy_engine_only_delays() {
    let mut pair = Pair::new(Faults { loss: 20, ..CLEAN }, 9, |_| {});
    let id = pair.connect(sending(300_000), false, 50_000);
    let end = pair.now.after(200_000_000);
    while pair.a.flows[&id].closed.is_none() {
        assert!(pair.now < end);
        pair.a.card.job_room = pair.a.card.random() % 3;
        pair.b.card.job_room = 1;
        pair.step();
        pair.now = pair.now.after(20);
    }
    pair.a.card.job_room = u32::MAX;
    pair.b.card.job_room = u32::MAX;
    pair.finish();
}

#[test]
fn a_peer_that_does_not_read_stops_only_its_own_connection() {
    let mut pair = Pair::new(CLEAN, 10, |cfg| cfg.keepalive = 0);
    pair.b.on_accept = || Flow {
        deaf: true,
        ..Flow::default()
    };
    let deaf = pair.connect(sending(2_000_000), false, 50_000);
    pair.run_until("stuck", 5, |p| !p.b.accepted.is_empty());
    pair.b.on_accept = Flow::default;
    let other = pair.connect(sending(2_000_000), false, 50_001);
    pair.run_until("through", 60, |p| p.a.flows[&other].closed.is_some());
    assert_eq!(pair.a.flows[&deaf].closed, None);
    // A closed window is probed for as long as the peer answers.
    let long = pair.now.after(100_000_000);
    while pair.now < long {
        pair.step();
    }
    assert_eq!(pair.a.flows[&deaf].closed, None);
    pair.b.flows.values_mut().for_each(|f| f.deaf = false);
    // The application looks again.
    pair.finish();
    assert_eq!(pair.b.flows[&pair.b.accepted[0]].received, 2_000_000);
}

#[test]
fn abort_resets_the_peer_and_releases_everything() {
    let mut pair = Pair::new(CLEAN, 11, |_| {});
    pair.b.on_accept = || Flow {
        deaf: true,
        to_send: 500_000,
        ..Flow::default()
    };
    let id = pair.connect(sending(500_000), false, 50_000);
    pair.run_until("stuck", 5, |p| {
        p.b.flows.values().any(|f| f.queued > 100_000)
    });
    pair.a.tcp.abort(id);
    pair.finish();
    assert_eq!(pair.a.flows[&id].closed, Some(CloseReason::Aborted));
    assert_eq!(
        pair.b.flows[&pair.b.accepted[0]].closed,
        Some(CloseReason::Reset)
    );
}

#[test]
fn many_connections_share_the_pools() {
    let mut pair = Pair::new(Faults { loss: 10, ..CLEAN }, 12, |_| {});
    for i in 0..16 {
        pair.connect(sending(100_000), i % 2 == 0, 50_000 + i);
    }
    pair.finish();
    assert_eq!(pair.b.accepted.len(), 16);
    assert!(pair.b.flows.values().all(|f| f.received == 100_000));
}

#[test]
fn a_vanished_peer_is_given_up() {
    let mut pair = Pair::new(CLEAN, 13, |_| {});
    let id = pair.connect(
        Flow {
            to_send: 1000,
            ..Flow::default()
        },
        false,
        50_000,
    );
    pair.run_until("idle", 5, |p| {
        p.b.flows.values().any(|f| f.received == 1000)
    });
    let end = pair.now.after(120_000_000);
    while pair.a.flows[&id].closed.is_none() {
        assert!(pair.now < end, "keep-alive did not find out");
        pair.a.run(pair.now);
        pair.a.card.sent.clear();
        if pair.a.flows[&id].closed.is_some() {
            break;
        }
        pair.now = pair
            .a
            .tcp
            .deadline()
            .expect("keep-alive is timed")
            .max(pair.now.after(1));
    }
    assert_eq!(pair.a.flows[&id].closed, Some(CloseReason::TimedOut));
}
