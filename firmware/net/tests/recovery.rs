//! Acknowledgments, loss recovery and windows: RFC 9293 sections 3.8, RFC 2018, 2883, 6298, 6582, 6675, 8985.

mod support;

use sluice_net::{CloseReason, Event, PathMtu};
use sluice_wire::tcp::{ACK, FIN, Options, PSH, RST, SYN, SackBlock};
use support::script::*;

fn sack(blocks: &[(u32, u32)]) -> Options {
    let mut options = Options {
        sack_len: blocks.len() as u8,
        ..Options::default()
    };
    for (place, (left, right)) in options.sack.iter_mut().zip(blocks) {
        *place = SackBlock {
            left: *left,
            right: *right,
        };
    }
    options
}

/// Queues 10 segments of 1,000 bytes; the initial window lets all of them out.
fn with_ten_in_flight(with_sack: bool) -> (Script, sluice_net::ConnId, u32) {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(with_sack);
    let data: Vec<u8> = (0..20_000u32).map(|i| (i / 1000) as u8).collect();
    s.send(id, &data, 1);
    let sent = s.all();
    assert_eq!(sent.len(), 10);
    s.wait(1_000);
    (s, id, ours)
}

#[test]
fn a_single_segment_is_acknowledged_after_the_delay() {
    let mut s = Script::new(|_| {});
    let (_, ours) = s.open(false);
    s.put(&Seg::new(ACK, FIRST, ours).data(&[1; 1000]));
    s.none();
    s.wait(900);
    s.none();
    s.wait(200);
    assert_eq!(s.one().ack, FIRST.wrapping_add(1000));
}

#[test]
fn every_second_full_segment_is_acknowledged_at_once() {
    let mut s = Script::new(|_| {});
    let (_, ours) = s.open(false);
    for i in 0..6 {
        s.put(&Seg::new(ACK, FIRST.wrapping_add(i * 1000), ours).data(&[1; 1000]));
        let acks = s.all();
        assert_eq!(acks.len() as u32, i % 2, "segment {i}");
    }
}

#[test]
fn data_that_is_sent_carries_the_acknowledgment() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.put(&Seg::new(ACK | PSH, FIRST, ours).data(b"request"));
    s.send(id, b"answer", 1);
    let answer = s.one();
    assert_eq!(
        (answer.ack, answer.flags),
        (FIRST.wrapping_add(7), ACK | PSH)
    );
    s.wait(5_000);
    s.none();
}

#[test]
fn a_gap_is_reported_at_once_with_the_latest_block_first() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(true);
    let at = |i: u32| FIRST.wrapping_add(i * 100);
    let put = |s: &mut Script, i: u32| {
        s.put(&Seg::new(ACK, at(i), ours).data(&[i as u8; 100]));
        s.one()
    };
    assert_eq!(put(&mut s, 2).sack(), [(at(2), at(3))]);
    assert_eq!(put(&mut s, 6).sack(), [(at(6), at(7)), (at(2), at(3))]);
    assert_eq!(
        put(&mut s, 4).sack(),
        [(at(4), at(5)), (at(2), at(3)), (at(6), at(7))]
    );
    assert_eq!(put(&mut s, 3).sack(), [(at(2), at(5)), (at(6), at(7))]);
    // RFC 2883: a duplicate is reported first.
    assert_eq!(
        put(&mut s, 3).sack(),
        [(at(3), at(4)), (at(2), at(5)), (at(6), at(7))]
    );
    s.put(&Seg::new(ACK, at(0), ours).data(&[0; 100]));
    assert_eq!((s.one().ack, s.read(id).len()), (at(1), 100));
    s.put(&Seg::new(ACK, at(1), ours).data(&[1; 100]));
    let ack = s.one();
    assert_eq!((ack.ack, ack.sack()), (at(5), vec![(at(6), at(7))]));
    let data = s.read(id);
    assert!(
        data.chunks(100)
            .zip(1u8..)
            .all(|(c, i)| c.iter().all(|b| *b == i))
    );
}

#[test]
fn a_peer_without_sack_gets_a_duplicate_for_each_segment_of_a_burst() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    let at = |i: u32| FIRST.wrapping_add(i * 1000);
    let put = |s: &mut Script, range: std::ops::Range<u32>| {
        for i in range {
            s.put(&Seg::new(ACK, at(i), ours).data(&[i as u8; 1000]));
        }
    };
    let acks = |s: &mut Script| s.all().iter().map(|m| m.ack).collect::<Vec<_>>();
    // All in one pass of the loop: the first in order, the second lost.
    put(&mut s, 0..1);
    put(&mut s, 2..6);
    assert_eq!(
        acks(&mut s),
        [at(1); 5],
        "news once, then a duplicate for each"
    );
    // In the next pass there is no news.
    put(&mut s, 6..9);
    assert_eq!(acks(&mut s), [at(1); 3]);
    // Filled before the pass ends: nothing is missing any more.
    put(&mut s, 9..12);
    put(&mut s, 1..2);
    assert_eq!(acks(&mut s), [at(12)]);
    assert_eq!(s.read(id).len(), 12_000);
    s.wait(10_000);
    s.none();
}

#[test]
fn duplicates_are_sent_while_data_goes_out_and_the_engine_is_busy() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    for i in 1..4 {
        s.put(&Seg::new(ACK, FIRST.wrapping_add(i * 1000), ours).data(&[1; 1000]));
    }
    s.send(id, b"answer", 1);
    let mut sent = Vec::new();
    for _ in 0..4 {
        s.card.job_room = 1;
        sent.extend(s.all());
    }
    let bare = sent.iter().filter(|m| m.data.is_empty() && m.ack == FIRST);
    assert_eq!((sent.len(), bare.count()), (4, 3), "{sent:#?}");
    s.card.job_room = u32::MAX;
    s.none();
}

#[test]
fn a_peer_with_sack_that_only_counts_gets_three_duplicates() {
    let mut s = Script::new(|_| {});
    let (_, ours) = s.open(true);
    let at = |i: u32| FIRST.wrapping_add(i * 100);
    for i in [0, 2, 3, 4, 5, 6, 7] {
        s.put(&Seg::new(ACK, at(i), ours).data(&[i as u8; 100]));
    }
    let acks = s.all();
    assert_eq!(acks.len(), 4);
    let same = |m: &Seg| m.ack == at(1) && m.sack() == [(at(2), at(8))];
    assert!(acks.iter().all(same), "{acks:#?}");
}

#[test]
fn old_data_is_reported_as_duplicate() {
    let mut s = Script::new(|_| {});
    let (_, ours) = s.open(true);
    s.put(&Seg::new(ACK, FIRST, ours).data(&[1; 100]));
    s.wait(2_000);
    s.one();
    s.put(&Seg::new(ACK, FIRST, ours).data(&[1; 100]));
    let ack = s.one();
    assert_eq!(ack.ack, FIRST.wrapping_add(100));
    assert_eq!(ack.sack(), [(FIRST, FIRST.wrapping_add(100))]);
    assert_eq!(s.one_after_more(ours).sack(), [], "reported once");
}

impl Script {
    fn one_after_more(&mut self, ours: u32) -> Seg {
        self.put(&Seg::new(ACK, FIRST.wrapping_add(100), ours).data(&[1; 100]));
        self.wait(2_000);
        self.one()
    }
}

#[test]
fn three_duplicate_acknowledgments_send_the_first_segment_again() {
    let (mut s, _, ours) = with_ten_in_flight(false);
    for _ in 0..2 {
        s.put(&Seg::new(ACK, FIRST, ours));
    }
    // Limited transmit (RFC 3042): new data for the first two.
    assert!(s.all().iter().all(|m| m.seq.wrapping_sub(ours) >= 10_000));
    s.put(&Seg::new(ACK, FIRST, ours));
    let again = s.all();
    assert_eq!((again[0].seq, again[0].data.len()), (ours, 1000));
    assert_eq!(s.tcp.stats().recoveries, 1);
    // RFC 6582: a partial acknowledgment sends the next hole at once.
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(3000)));
    assert_eq!(s.all()[0].seq, ours.wrapping_add(3000));
}

#[test]
fn only_the_holes_are_sent_again() {
    let (mut s, _, ours) = with_ten_in_flight(true);
    let at = |i: u32| ours.wrapping_add(i * 1000);
    // Segments 0 and 4 are lost.
    for i in [1, 2, 3, 5, 6, 7, 8, 9] {
        let blocks = if i < 4 {
            vec![(at(1), at(i + 1))]
        } else {
            vec![(at(5), at(i + 1)), (at(1), at(4))]
        };
        s.put(&Seg::new(ACK, FIRST, ours).options(sack(&blocks)));
    }
    let again = s.all();
    let old: Vec<u32> = again
        .iter()
        .map(|m| m.seq)
        .filter(|q| q.wrapping_sub(ours) < 10_000)
        .collect();
    assert_eq!(old, [at(0), at(4)]);
    s.put(&Seg::new(ACK, FIRST, at(4)).options(sack(&[(at(5), at(10))])));
    s.put(&Seg::new(ACK, FIRST, at(10)));
    assert!(s.all().iter().all(|m| m.seq.wrapping_sub(ours) >= 10_000));
    let stats = s.tcp.stats();
    assert_eq!(
        (stats.recoveries, stats.retransmits, stats.timeouts),
        (1, 2, 0)
    );
}

#[test]
fn a_lost_retransmission_is_noticed_without_a_timeout() {
    let (mut s, _, ours) = with_ten_in_flight(true);
    let at = |i: u32| ours.wrapping_add(i * 1000);
    // A round trip is known.
    s.put(&Seg::new(ACK, FIRST, at(1)));
    let sent = s.all();
    let end = sent
        .last()
        .map_or(at(10), |m| m.seq.wrapping_add(m.data.len() as u32));
    s.put(&Seg::new(ACK, FIRST, at(1)).options(sack(&[(at(2), at(6))])));
    assert_eq!(s.all()[0].seq, at(1));
    s.wait(5_000);
    s.put(&Seg::new(ACK, FIRST, at(1)).options(sack(&[(at(2), at(9))])));
    assert_eq!(s.all()[0].seq, at(1), "again");
    assert!(end.wrapping_sub(ours) >= 10_000);
    assert_eq!(s.tcp.stats().timeouts, 0);
}

#[test]
fn sack_blocks_that_make_no_sense_are_ignored() {
    let (mut s, _, ours) = with_ten_in_flight(true);
    for block in [
        (5, 1),
        (0, 11_000),
        (9_000, 10_001),
        (0, 0),
        (2_000_000_000, 3_000_000_000u32),
    ] {
        let block = (ours.wrapping_add(block.0), ours.wrapping_add(block.1));
        for _ in 0..3 {
            s.put(&Seg::new(ACK, FIRST, ours).options(sack(&[block])));
        }
    }
    s.none();
    assert_eq!(s.tcp.stats().recoveries, 0);
}

#[test]
fn a_timeout_doubles_and_the_connection_is_given_up() {
    let mut s = Script::new(|cfg| cfg.max_retries = 3);
    let (id, ours) = s.open(false);
    s.send(id, &[1; 500], 1);
    s.one();
    let mut times = Vec::new();
    let start = s.now;
    while s.tcp.open_connections() > 0 {
        s.wait(1_000);
        times.extend(s.all().iter().map(|m| {
            assert!(m.flags & RST != 0 || m.seq == ours);
            s.now.since(start) / 100_000
        }));
        assert!(s.now.since(start) < 60_000_000);
    }
    // A probe of the tail, then 0.2 s after it, doubled each time; RST at the end.
    assert_eq!(times, [0, 2, 6, 14, 30]);
    assert_eq!(s.events(), [Event::Closed(CloseReason::TimedOut)]);
    assert_eq!(s.released(), [1]);
}

#[test]
fn after_a_timeout_everything_unacknowledged_is_sent_again_in_slow_start() {
    let (mut s, _, ours) = with_ten_in_flight(false);
    s.wait(50_000);
    assert_eq!(
        s.one().seq,
        ours.wrapping_add(9_000),
        "the tail is probed first (RFC 8985)"
    );
    s.wait(250_000);
    assert_eq!((s.one().seq, s.tcp.stats().timeouts), (ours, 1));
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(1000)));
    let two = s.all();
    assert_eq!(
        two.iter()
            .map(|m| m.seq.wrapping_sub(ours))
            .collect::<Vec<_>>(),
        [1000, 2000]
    );
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(3000)));
    assert_eq!(s.all().len(), 4);
}

#[test]
fn a_lost_tail_is_probed_before_the_timeout() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(true);
    // The handshake took no time, so the round trip is short.
    s.send(id, &[7; 2500], 1);
    assert_eq!(s.all().len(), 3);
    s.wait(5_000);
    let probe = s.one();
    assert_eq!(
        probe.seq.wrapping_add(probe.data.len() as u32),
        ours.wrapping_add(2500)
    );
    let stats = s.tcp.stats();
    assert_eq!((stats.probes, stats.timeouts), (1, 0));
}

/// A connection with timestamps whose round trip is known to be 300 µs, and the peer's clock of timestamps.
fn with_timestamps() -> (Script, sluice_net::ConnId, u32) {
    let mut s = Script::new(|_| {});
    let options = Options {
        mss: Some(1000),
        sack_permitted: true,
        timestamps: Some((1, 0)),
        ..Options::default()
    };
    let (id, ours) = s.open_from(PEER_PORT, options);
    let mut at = ours;
    for _ in 0..10 {
        s.send(id, &[7; 100], 1);
        let sent = s.one();
        at = at.wrapping_add(100);
        s.wait(300);
        s.put(&Seg::new(ACK, FIRST, at).options(echo(&sent)));
    }
    (s, id, at)
}

/// Timestamps of an acknowledgment that `seg` causes.
fn echo(seg: &Seg) -> Options {
    let (value, _) = seg.options.timestamps.expect("they are used");
    Options {
        timestamps: Some((1, value)),
        ..Options::default()
    }
}

#[test]
fn a_peer_that_answers_late_is_not_probed_for_ever() {
    let (mut s, id, mut at) = with_timestamps();
    // Delayed acknowledgments by a guest that is slow besides, and quick ones between them.
    for _ in 0..50 {
        for delay in [80_000, 300, 300] {
            s.send(id, &[7; 100], 1);
            let sent = s.one();
            at = at.wrapping_add(100);
            s.wait(delay);
            s.put(&Seg::new(ACK, FIRST, at).options(echo(&sent)));
            // The peer tells of the duplicate when the probe arrives.
            for probe in s.all() {
                let mut options = sack(&[(probe.seq, at)]);
                options.timestamps = echo(&probe).timestamps;
                s.put(&Seg::new(ACK, FIRST, at).options(options));
            }
        }
    }
    let stats = s.tcp.stats();
    assert_eq!(
        (stats.probes, stats.probes_early, stats.timeouts),
        (1, 1, 0)
    );
}

#[test]
fn without_timestamps_the_report_of_a_duplicate_tells_that_a_probe_came_early() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(true);
    let mut at = ours;
    for delay in [300, 80_000, 80_000, 80_000] {
        s.send(id, &[7; 100], 1);
        s.one();
        at = at.wrapping_add(100);
        s.wait(delay);
        s.put(&Seg::new(ACK, FIRST, at));
        for probe in s.all() {
            let options = sack(&[(probe.seq, at)]);
            s.put(&Seg::new(ACK, FIRST, at).options(options));
        }
    }
    let stats = s.tcp.stats();
    assert_eq!((stats.probes, stats.probes_early), (1, 1));
}

#[test]
fn a_probe_that_was_needed_makes_the_next_one_no_later() {
    let (mut s, id, mut at) = with_timestamps();
    for _ in 0..4 {
        s.send(id, &[7; 2500], 1);
        assert_eq!(s.all().len(), 3);
        at = at.wrapping_add(2500);
        // All three lost, then the probe is not.
        s.wait(4_000);
        let probe = s.one();
        let mut options = sack(&[(probe.seq, at)]);
        options.timestamps = echo(&probe).timestamps;
        s.put(&Seg::new(ACK, FIRST, at.wrapping_sub(2500)).options(options));
        let again = s.all();
        let lost = again.iter().map(|m| m.data.len()).sum::<usize>();
        assert_eq!(probe.seq, again[0].seq.wrapping_add(lost as u32));
        s.wait(300);
        s.put(&Seg::new(ACK, FIRST, at).options(echo(&again[0])));
    }
    let stats = s.tcp.stats();
    assert_eq!(
        (stats.probes, stats.probes_early, stats.timeouts),
        (4, 0, 0)
    );
}

#[test]
fn a_lost_answer_is_probed_even_by_one_who_has_learnt_patience() {
    let (mut s, id, mut at) = with_timestamps();
    let mut send = |s: &mut Script| {
        s.send(id, &[7; 2000], 1);
        at = at.wrapping_add(2000);
        (s.all(), at)
    };
    // Once late, 10 ms.
    let (sent, end) = send(&mut s);
    s.wait(10_000);
    s.put(&Seg::new(ACK, FIRST, end).options(echo(&sent[1])));
    s.all();
    assert_eq!(s.tcp.stats().probes_early, 1);
    // Then the probe is needed: afterwards patience is as before.
    let (_, end) = send(&mut s);
    s.wait(6_000);
    s.none();
    s.wait(2_000);
    let probe = s.one();
    s.put(&Seg::new(ACK, FIRST, end).options(echo(&probe)));
    send(&mut s);
    s.wait(6_000);
    assert_eq!(s.all().len(), 1);
    let stats = s.tcp.stats();
    assert_eq!((stats.probes, stats.probes_early), (3, 1));
}

#[test]
fn new_data_starts_the_probe_timer_anew() {
    let (mut s, id, at) = with_timestamps();
    // One segment waits for its acknowledgment, which the peer delays.
    s.send(id, &[7; 100], 1);
    s.one();
    s.wait(61_000);
    s.send(id, &[7; 100], 1);
    s.one();
    // RFC 8985, section 7.2: counted from the second.
    s.wait(3_000);
    s.none();
    s.wait(60_500);
    assert_eq!(s.one().seq, at);
    assert_eq!(s.tcp.stats().probes, 1);
}

#[test]
fn a_closed_window_is_probed_with_one_byte_and_opens_again() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.put(&Seg::new(ACK, FIRST, ours).window(0));
    s.send(id, &[7; 3000], 1);
    s.none();
    let mut probes = 0;
    for _ in 0..300 {
        s.wait(100_000);
        for probe in s.all() {
            assert_eq!((probe.seq, probe.data.len()), (ours, 1));
            probes += 1;
            s.put(&Seg::new(ACK, FIRST, ours).window(0));
        }
    }
    assert!(
        (5..20).contains(&probes),
        "{probes} probes in 30 s: backed off"
    );
    s.put(&Seg::new(ACK, FIRST, ours).window(2000));
    let sent = s.all();
    let bytes: usize = sent.iter().map(|m| m.data.len()).sum();
    assert_eq!(
        (sent[0].seq, bytes),
        (ours, 1001),
        "the probed byte again, and a full segment"
    );
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(1001)).window(2000));
    assert_eq!(s.all().iter().map(|m| m.data.len()).sum::<usize>(), 1999);
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(3000)));
    assert_eq!(s.released(), [1]);
}

#[test]
fn a_window_that_is_probed_may_take_the_byte() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.put(&Seg::new(ACK, FIRST, ours).window(0));
    s.send(id, b"abc", 1);
    s.none();
    s.wait(1_500_000);
    assert_eq!(s.all().last().expect("a probe").data, b"a");
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(1)).window(1000));
    assert_eq!(s.one().data, b"bc");
}

#[test]
fn a_silly_window_gets_no_small_segments() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.put(&Seg::new(ACK, FIRST, ours).window(1000));
    s.send(id, &[7; 5000], 1);
    assert_eq!(s.one().data.len(), 1000);
    // 100 bytes open up: nothing is sent (RFC 9293, section 3.8.6.2.1),
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(1000)).window(100));
    s.none();
    // until the override timer.
    s.wait(210_000);
    assert_eq!(s.one().data.len(), 100);
}

#[test]
fn a_tiny_window_of_one_byte_still_makes_progress() {
    let mut s = Script::new(|_| {});
    s.put(&Seg::new(SYN, IRS, 0).window(1));
    let ours = s.one().seq.wrapping_add(1);
    s.put(&Seg::new(ACK, FIRST, ours).window(1));
    let (id, _) = s.tcp.poll_event().expect("opened");
    s.send(id, b"hello", 1);
    for i in 0..5u32 {
        let sent = s.one();
        assert_eq!((sent.data.len(), sent.seq), (1, ours.wrapping_add(i)));
        s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(i + 1)).window(1));
    }
    assert_eq!(s.released(), [1]);
}

#[test]
fn the_offered_window_closes_and_opens_in_good_pieces() {
    let mut s = Script::new(|cfg| cfg.recv_window = 4000);
    let (id, ours) = s.open(false);
    for i in 0..4 {
        s.put(&Seg::new(ACK, FIRST.wrapping_add(i * 1000), ours).data(&[1; 1000]));
    }
    let last = s.all().pop().expect("an acknowledgment");
    assert_eq!((last.ack, last.window), (FIRST.wrapping_add(4000), 0));
    s.put(&Seg::new(ACK, FIRST.wrapping_add(4000), ours).data(b"x"));
    assert_eq!(s.one().window, 0, "a probe is answered");
    s.tcp
        .consume(id, 400, |_| panic!("no buffer is read to its end"));
    s.none();
    let mut freed = Vec::new();
    s.tcp.consume(id, 1600, |b| freed.push(b));
    assert_eq!((freed.len(), s.one().window), (2, 2000));
    freed
        .into_iter()
        .for_each(|b| sluice_net::Link::free(&mut s.card, b));
}

#[test]
fn the_right_edge_of_the_window_never_moves_back() {
    let mut s = Script::new(|cfg| cfg.bufs_per_conn = 20);
    let (_, ours) = s.open(true);
    let mut edge = FIRST;
    for i in 0..40u32 {
        s.put(&Seg::new(ACK, FIRST.wrapping_add(i * 10), ours).data(&[1; 10]));
        s.wait(2_000);
        for ack in s.all() {
            let new = ack.ack.wrapping_add(u32::from(ack.window));
            assert!((new.wrapping_sub(edge) as i32) >= 0, "segment {i}");
            edge = new;
        }
    }
}

#[test]
fn fin_is_sent_again_until_it_is_acknowledged() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.send(id, b"bye", 1);
    s.tcp.close(id);
    assert_eq!(s.one().flags & FIN, FIN);
    s.wait(300_000);
    let again = s.all();
    assert!(again.len() >= 2 && again.iter().all(|m| m.flags & FIN != 0 && m.data == b"bye"));
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(3)));
    s.wait(500_000);
    let fin = s.all().pop().expect("FIN alone");
    assert_eq!(
        (fin.seq, fin.flags & FIN, fin.data.len()),
        (ours.wrapping_add(3), FIN, 0)
    );
    s.put(&Seg::new(ACK | FIN, FIRST, ours.wrapping_add(4)));
    assert_eq!(s.one().ack, FIRST.wrapping_add(1));
}

#[test]
fn our_sequence_numbers_wrap_without_harm() {
    // The ISN advances with time: wait until it is just before the wrap.
    let mut s = Script::new(|_| {});
    s.put(&Seg::new(SYN, IRS, 0));
    let isn = s.one().seq;
    s.put(&Seg::new(RST, FIRST, 0));
    s.wait(u64::from(0xffff_f000u32.wrapping_sub(isn)) * 4);
    let (id, ours) = s.open(true);
    assert!((0xffff_f000..0xffff_f010).contains(&ours));
    s.send(id, &[7; 10_000], 1);
    let sent = s.all();
    assert!(sent.last().expect("data").seq < ours, "wrapped");
    // Lose the first one, report the rest.
    let rest = (ours.wrapping_add(1000), ours.wrapping_add(10_000));
    s.put(&Seg::new(ACK, FIRST, ours).options(sack(&[rest])));
    assert_eq!(s.all()[0].seq, ours);
    s.put(&Seg::new(ACK, FIRST, rest.1));
    assert_eq!(s.released(), [1]);
}

#[test]
fn a_path_mtu_report_is_believed_only_for_what_is_in_flight() {
    let (mut s, _, ours) = with_ten_in_flight(false);
    let report = |seq, mtu| PathMtu {
        peer: support::PEER_IP.into(),
        peer_port: PEER_PORT,
        local_port: PORT,
        seq,
        mtu,
        flow_hash: sluice_wire::crc32c::crc32c(&[
            10, 77, 0, 2, 10, 77, 0, 1, 0x9c, 0x40, 0x11, 0x44,
        ]),
    };
    s.tcp.path_mtu(&report(ours.wrapping_sub(1), 640), s.now);
    s.tcp
        .path_mtu(&report(ours.wrapping_add(10_000), 640), s.now);
    s.tcp.path_mtu(&report(ours, 1400), s.now);
    s.tcp.path_mtu(
        &PathMtu {
            peer_port: 9,
            ..report(ours, 640)
        },
        s.now,
    );
    assert_eq!(s.tcp.stats().path_mtu_refused, 4);
    s.none();
    s.tcp.path_mtu(&report(ours, 640), s.now);
    let again = s.all();
    assert_eq!((again[0].seq, again[0].data.len()), (ours, 600));
    assert!(again.iter().all(|m| m.data.len() <= 600));
    // No less than every path must carry.
    s.tcp.path_mtu(&report(ours, 68), s.now);
    let again = s.all();
    assert_eq!((again[0].seq, again[0].data.len()), (ours, 536));
}

#[test]
fn a_peer_that_takes_back_what_it_reported_gets_it_again() {
    let (mut s, _, ours) = with_ten_in_flight(true);
    let at = |i: u32| ours.wrapping_add(i * 1000);
    s.put(&Seg::new(ACK, FIRST, ours).options(sack(&[(at(1), at(10))])));
    s.all();
    // The first is there now, and the rest has been thrown away.
    s.put(&Seg::new(ACK, FIRST, at(1)));
    s.wait(2_000_000);
    let again: Vec<u32> = s
        .all()
        .iter()
        .map(|m| m.seq.wrapping_sub(ours) / 1000)
        .collect();
    assert!(again.contains(&1), "{again:?}");
}
