//! The state table of RFC 9293 and the rules of RFC 5961, 6191 and 7323, as timed scripts.

mod support;

use sluice_net::{CloseReason, Event};
use sluice_wire::tcp::{ACK, CWR, ECE, FIN, Options, PSH, RST, SYN, URG};
use support::script::*;

fn timestamps(value: u32, echo: u32) -> Options {
    Options {
        timestamps: Some((value, echo)),
        ..Options::default()
    }
}

#[test]
fn a_syn_is_answered_with_what_both_sides_know() {
    let mut s = Script::new(|_| {});
    let offer = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((77, 0)),
        ..Options::default()
    };
    s.put(&Seg::new(SYN, IRS, 0).options(offer));
    let answer = s.one();
    assert_eq!(
        (answer.flags, answer.ack, answer.ports),
        (SYN | ACK, FIRST, (PORT, PEER_PORT))
    );
    assert_eq!(answer.options.mss, Some(1460));
    assert_eq!(
        answer.options.window_scale,
        Some(3),
        "256 KiB need a shift of 3"
    );
    assert!(answer.options.sack_permitted);
    assert_eq!(answer.options.timestamps.map(|t| t.1), Some(77));
    assert!(s.events().is_empty(), "not open before the third segment");
}

#[test]
fn options_that_were_not_offered_are_not_used() {
    let mut s = Script::new(|_| {});
    s.put(&Seg::new(SYN, IRS, 0));
    let answer = s.one();
    assert_eq!(
        answer.options,
        Options {
            mss: Some(1460),
            ..Options::default()
        }
    );
}

#[test]
fn a_closed_port_answers_with_rst() {
    let mut s = Script::new(|_| {});
    let mut syn = Seg::new(SYN, 500, 0).data(b"early");
    syn.ports.1 = 9;
    s.put(&syn);
    let answer = s.one();
    assert_eq!((answer.flags, answer.seq, answer.ack), (RST | ACK, 0, 506));
    let mut ack = Seg::new(ACK, 500, 1234);
    ack.ports.1 = 9;
    s.put(&ack);
    let answer = s.one();
    assert_eq!((answer.flags, answer.seq), (RST, 1234));
    let mut rst = Seg::new(RST, 500, 0);
    rst.ports.1 = 9;
    s.put(&rst);
    s.none();
    s.assert_clean();
}

#[test]
fn a_lost_syn_ack_is_sent_again_and_given_up_in_the_end() {
    let mut s = Script::new(|_| {});
    s.put(&Seg::new(SYN, IRS, 0));
    let first = s.one();
    s.put(&Seg::new(SYN, IRS, 0));
    let again = s.one();
    assert_eq!((again.seq, again.flags), (first.seq, SYN | ACK));
    s.wait(60_000_000);
    let more = s.all();
    assert_eq!(more.len(), 4, "after 1, 2, 4 and 8 seconds");
    s.put(&Seg::new(ACK, FIRST, first.seq.wrapping_add(1)));
    assert_eq!(s.one().flags, RST, "too late");
    assert!(s.events().is_empty());
}

#[test]
fn a_third_segment_with_a_wrong_number_is_refused() {
    let mut s = Script::new(|_| {});
    s.put(&Seg::new(SYN, IRS, 0));
    let answer = s.one();
    s.put(&Seg::new(ACK, FIRST, answer.seq.wrapping_add(2)));
    let reset = s.one();
    assert_eq!((reset.flags, reset.seq), (RST, answer.seq.wrapping_add(2)));
    s.put(&Seg::new(ACK, FIRST, answer.seq.wrapping_add(1)));
    assert_eq!(s.events().len(), 1, "the right one still opens");
}

#[test]
fn a_reset_in_syn_received_frees_the_place_in_silence() {
    let mut s = Script::new(|_| {});
    for i in 0..100 {
        s.put(&Seg::new(SYN, IRS, 0).port(1000 + i));
        s.one();
        s.put(&Seg::new(RST, FIRST, 0).port(1000 + i));
        s.none();
    }
    assert!(s.events().is_empty());
    s.open(false);
}

#[test]
fn only_the_exact_sequence_number_resets() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    // RFC 5961, section 3.2.
    s.put(&Seg::new(RST, FIRST.wrapping_add(1), 0));
    let challenge = s.one();
    assert_eq!(
        (challenge.flags, challenge.seq, challenge.ack),
        (ACK, ours, FIRST)
    );
    s.put(&Seg::new(RST, FIRST.wrapping_sub(1), 0));
    s.put(&Seg::new(RST, FIRST.wrapping_add(1_000_000), 0));
    s.none();
    assert!(s.events().is_empty());
    s.put(&Seg::new(RST, FIRST, 0));
    assert_eq!(s.events(), [Event::Closed(CloseReason::Reset)]);
    assert_eq!(s.tcp.front(id), None);
    s.assert_clean();
}

#[test]
fn a_syn_in_an_open_connection_is_challenged_at_a_limited_rate() {
    let mut s = Script::new(|_| {});
    s.open(false);
    for i in 0..100 {
        s.put(&Seg::new(SYN, i * 77_777, 0));
    }
    let challenge = s.one();
    assert_eq!((challenge.flags, challenge.ack), (ACK, FIRST));
    assert_eq!(s.tcp.stats().challenges_withheld, 99);
    s.wait(60_000);
    s.put(&Seg::new(SYN, 5, 0));
    s.one();
    assert!(s.events().is_empty());
}

#[test]
fn data_with_an_unacceptable_acknowledgment_is_not_taken() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    // RFC 5961, section 5.2: beyond what was sent, and older than the largest window.
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(1)).data(b"evil"));
    assert_eq!(s.one().ack, FIRST);
    s.wait(60_000);
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_sub(60_001)).data(b"evil"));
    assert_eq!(s.one().ack, FIRST);
    assert_eq!(s.tcp.front(id), None);
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_sub(60_000)).data(b"fine"));
    assert_eq!(s.read(id), b"fine");
}

#[test]
fn a_segment_without_ack_is_dropped() {
    let mut s = Script::new(|_| {});
    let (id, _) = s.open(false);
    s.put(&Seg::new(PSH, FIRST, 0).data(b"no"));
    s.none();
    assert_eq!(s.tcp.front(id), None);
}

#[test]
fn urgent_data_is_data() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.put(&Seg::new(ACK | URG, FIRST, ours).data(b"urgent"));
    assert_eq!(s.read(id), b"urgent");
}

#[test]
fn an_old_timestamp_is_dropped_and_answered() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open_from(PEER_PORT, timestamps(1000, 0));
    s.put(
        &Seg::new(ACK, FIRST, ours)
            .data(b"one")
            .options(timestamps(1001, 0)),
    );
    s.wait(2_000);
    assert_eq!(s.one().options.timestamps.map(|t| t.1), Some(1001));
    let next = FIRST.wrapping_add(3);
    s.put(
        &Seg::new(ACK, next, ours)
            .data(b"old")
            .options(timestamps(1000, 0)),
    );
    let answer = s.one();
    assert_eq!(
        (answer.ack, answer.options.timestamps.map(|t| t.1)),
        (next, Some(1001))
    );
    // RFC 7323, section 3.2: none at all.
    s.put(&Seg::new(ACK, next, ours).data(b"bare"));
    s.none();
    assert_eq!(s.read(id), b"one");
    assert_eq!(s.tcp.stats().drop_paws, 2);
}

#[test]
fn the_echoed_timestamp_is_that_of_the_oldest_unacknowledged_segment() {
    // RFC 7323, section 4.3, (2): with delayed acknowledgments the earlier one is echoed.
    let mut s = Script::new(|_| {});
    let (_, ours) = s.open_from(PEER_PORT, timestamps(1000, 0));
    s.put(
        &Seg::new(ACK, FIRST, ours)
            .data(b"a")
            .options(timestamps(1005, 0)),
    );
    s.put(
        &Seg::new(ACK, FIRST.wrapping_add(1), ours)
            .data(b"b")
            .options(timestamps(1009, 0)),
    );
    s.wait(2_000);
    assert_eq!(s.one().options.timestamps.map(|t| t.1), Some(1005));
}

#[test]
fn after_24_days_an_old_timestamp_says_nothing() {
    let mut s = Script::new(|cfg| cfg.keepalive = 0);
    let (id, ours) = s.open_from(PEER_PORT, timestamps(1000, 0));
    s.wait(26 * 86_400 * 1_000_000);
    s.put(
        &Seg::new(ACK, FIRST, ours)
            .data(b"late")
            .options(timestamps(5, 0)),
    );
    assert_eq!(s.read(id), b"late");
}

#[test]
fn the_peer_closes_first_and_we_go_on_sending() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.put(&Seg::new(ACK | FIN, FIRST, ours).data(b"last words"));
    let end = FIRST.wrapping_add(11);
    assert_eq!(s.one().ack, end);
    assert_eq!(s.events(), [Event::Readable, Event::PeerClosed]);
    assert_eq!(s.read(id), b"last words");
    s.send(id, b"answer", 1);
    assert_eq!(s.one().data, b"answer");
    s.tcp.close(id);
    let fin = s.one();
    assert_eq!((fin.flags & FIN, fin.seq), (FIN, ours.wrapping_add(6)));
    s.put(&Seg::new(ACK, end, ours.wrapping_add(7)));
    assert_eq!(s.events(), [Event::Closed(CloseReason::Done)]);
    assert_eq!(s.released(), [1]);
    s.assert_clean();
    assert_eq!(s.tcp.open_connections(), 0);
}

#[test]
fn we_close_first_and_go_on_receiving() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.send(id, b"bye", 1);
    s.tcp.close(id);
    let fin = s.one();
    assert_eq!(
        (fin.data.as_slice(), fin.flags),
        (&b"bye"[..], ACK | PSH | FIN)
    );
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(4)).data(b"more"));
    assert_eq!(s.read(id), b"more");
    let next = FIRST.wrapping_add(4);
    s.put(&Seg::new(ACK | FIN, next, ours.wrapping_add(4)));
    assert_eq!(s.one().ack, next.wrapping_add(1));
    assert_eq!(
        s.events(),
        [
            Event::Readable,
            Event::PeerClosed,
            Event::Closed(CloseReason::Done)
        ]
    );
    // TIME-WAIT: a repeated FIN is acknowledged again.
    s.wait(1_000_000);
    s.put(&Seg::new(ACK | FIN, next, ours.wrapping_add(4)));
    assert_eq!(s.one().ack, next.wrapping_add(1));
    s.wait(11_000_000);
    s.put(&Seg::new(ACK, next.wrapping_add(1), ours.wrapping_add(4)));
    assert_eq!(s.one().flags, RST, "TIME-WAIT is over");
}

#[test]
fn both_sides_close_at_once() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.tcp.close(id);
    assert_eq!(s.one().flags, ACK | FIN);
    s.put(&Seg::new(ACK | FIN, FIRST, ours));
    assert_eq!(s.one().ack, FIRST.wrapping_add(1), "CLOSING");
    assert_eq!(s.events(), [Event::PeerClosed]);
    s.put(&Seg::new(ACK, FIRST.wrapping_add(1), ours.wrapping_add(1)));
    assert_eq!(s.events(), [Event::Closed(CloseReason::Done)]);
}

#[test]
fn a_fin_that_overtakes_data_waits_for_it() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.put(&Seg::new(ACK | FIN, FIRST.wrapping_add(3), ours).data(b"def"));
    assert_eq!(s.one().ack, FIRST);
    assert!(s.events().is_empty());
    s.put(&Seg::new(ACK, FIRST, ours).data(b"abc"));
    assert_eq!(s.one().ack, FIRST.wrapping_add(7));
    assert_eq!(s.events(), [Event::Readable, Event::PeerClosed]);
    assert_eq!(s.read(id), b"abcdef");
}

#[test]
fn data_behind_the_fin_is_not_taken() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.put(&Seg::new(ACK | FIN, FIRST, ours).data(b"abc"));
    s.put(&Seg::new(ACK, FIRST.wrapping_add(4), ours).data(b"def"));
    assert_eq!(s.read(id), b"abc");
    assert_eq!(
        s.all().last().expect("an answer").ack,
        FIRST.wrapping_add(4)
    );
}

#[test]
fn time_wait_opens_anew_for_a_later_syn_only() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.tcp.close(id);
    s.one();
    s.put(&Seg::new(ACK | FIN, FIRST, ours.wrapping_add(1)));
    s.one();
    s.events();
    // RFC 6191: not for an old one,
    s.put(&Seg::new(SYN, FIRST.wrapping_sub(100), 0));
    let answer = s.one();
    assert_eq!((answer.flags, answer.ack), (ACK, FIRST.wrapping_add(1)));
    s.wait(100_000);
    // but for one beyond what was received.
    s.put(&Seg::new(SYN, FIRST.wrapping_add(1000), 0));
    let answer = s.one();
    assert_eq!(
        (answer.flags, answer.ack),
        (SYN | ACK, FIRST.wrapping_add(1001))
    );
    assert!(sluice_after(answer.seq, ours));
}

fn sluice_after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

#[test]
fn fin_wait_2_does_not_last_for_ever() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    s.tcp.close(id);
    s.one();
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(1)));
    s.wait(31_000_000);
    assert_eq!(s.events(), [Event::Closed(CloseReason::Done)]);
}

#[test]
fn abort_sends_rst_and_hands_everything_back_once() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(true);
    s.put(&Seg::new(ACK, FIRST, ours).data(b"unread"));
    s.put(&Seg::new(ACK, FIRST.wrapping_add(100), ours).data(b"early"));
    s.all();
    s.send(id, b"one", 1);
    s.send(id, b"two", 2);
    s.all();
    s.events();
    s.tcp.abort(id);
    let reset = s.one();
    assert_eq!((reset.flags, reset.seq), (RST | ACK, ours.wrapping_add(6)));
    assert_eq!(s.events(), [Event::Closed(CloseReason::Aborted)]);
    assert_eq!(s.released(), [1, 2]);
    assert_eq!((s.tcp.front(id), s.tcp.send_room(id)), (None, 0));
    s.assert_clean();
}

#[test]
fn a_simultaneous_open_succeeds() {
    let mut s = Script::new(|cfg| cfg.ecn = false);
    let peer = (support::PEER_IP.into(), PEER_PORT);
    let id = s
        .tcp
        .connect(s.now, peer, 700, support::PEER_MAC, &mut s.card)
        .expect("room");
    let syn = s.one();
    assert_eq!((syn.flags, syn.ports), (SYN, (700, PEER_PORT)));
    let mut theirs = Seg::new(SYN, IRS, 0);
    theirs.ports.1 = 700;
    s.put(&theirs);
    let answer = s.one();
    assert_eq!(
        (answer.flags, answer.seq, answer.ack),
        (SYN | ACK, syn.seq, FIRST)
    );
    let mut ack = Seg::new(SYN | ACK, IRS, syn.seq.wrapping_add(1));
    ack.ports.1 = 700;
    s.put(&ack);
    let mut ack = Seg::new(ACK, FIRST, syn.seq.wrapping_add(1));
    ack.ports.1 = 700;
    s.put(&ack);
    assert!(matches!(
        s.events()[..],
        [Event::Opened {
            local_port: 700,
            ..
        }]
    ));
    s.send(id, b"hello", 1);
    assert_eq!(s.all().last().expect("data").data, b"hello");
}

#[test]
fn an_active_open_is_refused_or_times_out() {
    let mut s = Script::new(|_| {});
    let peer = (support::PEER_IP.into(), PEER_PORT);
    s.tcp
        .connect(s.now, peer, 700, support::PEER_MAC, &mut s.card)
        .expect("room");
    let syn = s.one();
    let mut wrong = Seg::new(RST | ACK, 0, syn.seq);
    wrong.ports.1 = 700;
    s.put(&wrong);
    assert!(
        s.events().is_empty(),
        "a reset that does not acknowledge our SYN is forged"
    );
    let mut right = Seg::new(RST | ACK, 0, syn.seq.wrapping_add(1));
    right.ports.1 = 700;
    s.put(&right);
    assert_eq!(s.events(), [Event::Closed(CloseReason::Refused)]);
    s.tcp
        .connect(s.now, peer, 700, support::PEER_MAC, &mut s.card)
        .expect("room");
    s.one();
    s.wait(60_000_000);
    assert_eq!(s.events(), [Event::Closed(CloseReason::TimedOut)]);
    assert_eq!(s.all().len(), 4);
}

#[test]
fn a_stale_answer_to_our_syn_is_reset() {
    let mut s = Script::new(|_| {});
    let peer = (support::PEER_IP.into(), PEER_PORT);
    s.tcp
        .connect(s.now, peer, 700, support::PEER_MAC, &mut s.card)
        .expect("room");
    let syn = s.one();
    let mut stale = Seg::new(ACK, 5, syn.seq.wrapping_add(500));
    stale.ports.1 = 700;
    s.put(&stale);
    let reset = s.one();
    assert_eq!((reset.flags, reset.seq), (RST, syn.seq.wrapping_add(500)));
    assert!(s.events().is_empty());
}

#[test]
fn congestion_is_echoed_until_the_peer_has_reacted() {
    let mut s = Script::new(|_| {});
    s.put(&Seg::new(SYN | ECE | CWR, IRS, 0));
    let answer = s.one();
    assert_eq!(answer.flags, SYN | ACK | ECE, "RFC 3168, section 6.1.1");
    let ours = answer.seq.wrapping_add(1);
    s.put(&Seg::new(ACK, FIRST, ours));
    let (id, _) = s.tcp.poll_event().expect("opened");
    let mut marked = Seg::new(ACK, FIRST, ours).data(b"a");
    marked.ecn = 3;
    s.put(&marked);
    s.wait(2_000);
    let ack = s.one();
    assert_eq!(
        (ack.flags, ack.ecn),
        (ACK | ECE, 0),
        "pure acknowledgments are not marked"
    );
    s.send(id, b"data", 1);
    let data = s.one();
    assert_eq!((data.flags & ECE, data.ecn), (ECE, 2), "new data is");
    s.put(&Seg::new(ACK | CWR, FIRST.wrapping_add(1), ours.wrapping_add(4)).data(b"b"));
    s.wait(2_000);
    assert_eq!(s.one().flags, ACK);
}

#[test]
fn an_echo_of_congestion_reduces_the_window_once_and_is_answered_with_cwr() {
    let mut s = Script::new(|_| {});
    s.put(&Seg::new(SYN | ECE | CWR, IRS, 0).options(Options {
        mss: Some(1000),
        ..Options::default()
    }));
    let ours = s.one().seq.wrapping_add(1);
    s.put(&Seg::new(ACK, FIRST, ours));
    let (id, _) = s.tcp.poll_event().expect("opened");
    s.send(id, &[1; 20_000], 1);
    assert_eq!(s.all().len(), 10);
    for i in [2, 4] {
        s.put(&Seg::new(ACK | ECE, FIRST, ours.wrapping_add(i * 1000)));
    }
    assert_eq!(s.tcp.stats().ecn_reductions, 1);
    s.put(&Seg::new(ACK, FIRST, ours.wrapping_add(10_000)));
    let more = s.all();
    assert_eq!(more[0].flags & CWR, CWR);
    assert!(more[1..].iter().all(|m| m.flags & CWR == 0));
    assert!(more.len() < 10, "the window is smaller than at first");
}

#[test]
fn an_answer_carries_the_tag_of_the_syn() {
    let mut s = Script::new(|_| {});
    let mut syn = Seg::new(SYN, IRS, 0);
    syn.tci = Some(0x6005);
    s.put(&syn);
    let answer = s.one();
    assert_eq!(answer.tci, Some(0x6005));
    let mut ack = Seg::new(ACK, FIRST, answer.seq.wrapping_add(1)).data(b"x");
    ack.tci = Some(0x6005);
    s.put(&ack);
    s.wait(2_000);
    assert_eq!(s.one().tci, Some(0x6005));
}

#[test]
fn a_silent_peer_is_probed_and_given_up() {
    let mut s = Script::new(|_| {});
    let (_, ours) = s.open(false);
    s.wait(31_000_000);
    let probe = s.one();
    assert_eq!((probe.seq, probe.flags), (ours.wrapping_sub(1), ACK));
    s.put(&Seg::new(ACK, FIRST, ours));
    s.wait(29_000_000);
    s.none();
    s.wait(31_000_000);
    assert_eq!(s.events(), [Event::Closed(CloseReason::TimedOut)]);
    let last = s.all();
    assert_eq!(last.len(), 5, "4 probes and RST");
    assert_eq!(last[4].flags, RST | ACK);
}

#[test]
fn a_keep_alive_probe_of_the_peer_is_answered() {
    let mut s = Script::new(|_| {});
    let (_, ours) = s.open(false);
    s.put(&Seg::new(ACK, FIRST.wrapping_sub(1), ours));
    assert_eq!(s.one().ack, FIRST);
    s.wait(1_000_000);
    s.put(&Seg::new(ACK, FIRST.wrapping_sub(1), ours).data(b"x"));
    assert_eq!(s.one().ack, FIRST);
}
