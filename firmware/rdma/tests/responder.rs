//! The responder against scripts of a host's packets, well-meant and hostile.

mod support;

use sluice_rdma::{CloseReason, Event};
use sluice_wire::roce::{MASK_24, Opcode};
use support::{Bench, CARD_IP, HOST_IP, config, frame, frame_from, mark, open, over_ipv6};

const ACK: u8 = 0x1f;
const SEQUENCE: u8 = 0x60;
const INVALID: u8 = 0x61;
const ACCESS: u8 = 0x62;

#[test]
fn a_send_is_delivered_where_it_lies_and_acknowledged() {
    let mut bench = Bench::new();
    bench.request(Opcode::SendOnly, 0, true, b"command");
    assert_eq!(bench.verdicts(), [(ACK, 0)]);
    assert_eq!(bench.events(), [Event::Alive, Event::Received]);
    assert_eq!(bench.message(), Some(b"command".to_vec()));
    assert_eq!(bench.message(), None);
    assert!(bench.card.held.is_empty());
}

#[test]
fn a_message_of_several_packets_comes_whole_and_only_when_it_is() {
    let mut bench = Bench::new();
    bench.request(Opcode::SendFirst, 0, false, &[1; 256]);
    bench.request(Opcode::SendMiddle, 1, false, &[2; 256]);
    assert_eq!(
        (bench.verdicts(), bench.message()),
        (vec![], None),
        "nothing asks for an answer"
    );
    bench.request(Opcode::SendLast, 2, true, &[3; 5]);
    assert_eq!(bench.verdicts(), [(ACK, 2)]);
    let message = bench.message().expect("complete");
    assert_eq!(message, [&[1; 256][..], &[2; 256], &[3; 5]].concat());
}

#[test]
fn one_acknowledgment_covers_all_that_came_before_it_is_sent() {
    let mut bench = Bench::new();
    bench.card.job_room = 0;
    for psn in 0..3 {
        bench.request(Opcode::SendOnly, psn, true, &[7; 64]);
    }
    bench.card.job_room = u32::MAX;
    bench.pass(1);
    let sent = bench.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].psn, sent[0].word),
        (2, 0x1f00_0003),
        "MSN counts messages"
    );
}

#[test]
fn a_packet_that_does_not_ask_is_not_acknowledged() {
    let mut bench = Bench::new();
    bench.request(Opcode::SendOnly, 0, false, &[7; 64]);
    assert_eq!(bench.verdicts(), []);
}

#[test]
fn a_gap_is_refused_once_until_it_is_filled() {
    let mut bench = Bench::new();
    for psn in [1, 2, 3] {
        bench.request(Opcode::SendOnly, psn, true, &[7; 64]);
    }
    assert_eq!(bench.verdicts(), [(SEQUENCE, 0)]);
    bench.request(Opcode::SendOnly, 0, true, &[7; 64]);
    assert_eq!(bench.verdicts(), [(ACK, 0)]);
    bench.request(Opcode::SendOnly, 2, true, &[7; 64]);
    assert_eq!(bench.verdicts(), [(SEQUENCE, 1)], "the next gap is another");
    assert_eq!(bench.rc.stats().gaps, 4);
}

#[test]
fn what_came_before_is_acknowledged_again_and_not_delivered_again() {
    let mut bench = Bench::new();
    bench.request(Opcode::SendOnly, 0, true, &[7; 64]);
    bench.request(Opcode::SendOnly, 1, true, &[8; 64]);
    bench.verdicts();
    bench.request(Opcode::SendOnly, 0, true, &[7; 64]);
    assert_eq!(bench.verdicts(), [(ACK, 1)]);
    assert_eq!(bench.message(), Some(vec![7; 64]));
    assert_eq!(bench.message(), Some(vec![8; 64]));
    assert_eq!(bench.message(), None);
}

#[test]
fn without_a_receive_the_host_is_told_to_wait_and_then_served() {
    let mut bench = Bench::with(
        &config(),
        &sluice_rdma::Open {
            receives: 1,
            ..open()
        },
    );
    bench.request(Opcode::SendOnly, 0, true, &[1; 64]);
    bench.request(Opcode::SendOnly, 1, true, &[2; 64]);
    bench.request(Opcode::SendOnly, 2, true, &[3; 64]);
    assert_eq!(
        bench.verdicts(),
        [(ACK, 0), (0x20 | 12, 1)],
        "and what follows is no gap"
    );
    for code in [14, 16, 18, 20, 22, 22] {
        bench.request(Opcode::SendOnly, 1, true, &[2; 64]);
        assert_eq!(bench.verdicts(), [(0x20 | code, 1)], "twice as long");
    }
    bench.rc.post_receives(bench.id, 1);
    bench.request(Opcode::SendOnly, 1, true, &[2; 64]);
    assert_eq!(bench.verdicts(), [(ACK, 1)]);
    bench.request(Opcode::SendOnly, 2, true, &[3; 64]);
    assert_eq!(bench.verdicts(), [(0x20 | 12, 2)], "it was not in vain");
    assert_eq!(bench.message(), Some(vec![1; 64]));
    assert_eq!(bench.message(), Some(vec![2; 64]));
}

#[test]
fn a_host_whose_messages_wait_leaves_places_for_others() {
    let many = sluice_rdma::Open {
        receives: 200,
        ..open()
    };
    let mut bench = Bench::with(&config(), &many);
    let mut psn = 0;
    loop {
        bench.request(Opcode::SendOnly, psn, true, &[1; 64]);
        if bench.verdicts() == [(0x20 | 12, psn as u32)] {
            break;
        }
        psn += 1;
    }
    // 90 of 128: the 91st would be more than 4 times what is left beyond an eighth.
    assert_eq!(psn, 90);
    bench.message().expect("it is there");
    bench.request(Opcode::SendOnly, psn, true, &[1; 64]);
    assert_eq!(bench.verdicts(), [(ACK, psn as u32)], "its share again");
}

/// 64 bytes of a command and 4,096 in capsule need 17 packets: of 128 places a queue pair that keeps 5 such messages may have
/// some for one more, since 6 times 17 are no more than 4 times what is left beyond an eighth.
#[test]
fn places_for_a_message_begun_are_promised_and_without_them_none_begins() {
    let mut bench = Bench::with(
        &config(),
        &sluice_rdma::Open {
            receives: 200,
            ..open()
        },
    );
    let mut psn = 0;
    let mut taken = 0;
    loop {
        bench.request(Opcode::SendFirst, psn, true, &[1; 256]);
        if bench.verdicts() == [(0x20 | 12, psn as u32)] {
            break;
        }
        for _ in 0..15 {
            psn += 1;
            bench.request(Opcode::SendMiddle, psn, false, &[1; 256]);
        }
        bench.request(Opcode::SendLast, psn + 1, true, &[1; 64]);
        assert_eq!(bench.verdicts().len(), 1);
        psn += 2;
        taken += 1;
    }
    assert_eq!(taken, 6);
    bench.message().expect("six are there");
    bench.request(Opcode::SendFirst, psn, true, &[1; 256]);
    assert_eq!(bench.verdicts(), [(ACK, psn as u32)]);
    bench.rc.close(bench.id, &mut bench.card);
    assert!(bench.card.held.is_empty());
}

/// Seven queue pairs that never finish their messages would have all places of a core for ever.
#[test]
fn whoever_leaves_a_message_unfinished_loses_its_queue_pair_when_others_need_the_places() {
    let mut bench = Bench::new();
    let mut ends = vec![bench.end];
    while let Ok((_, end)) = bench.rc.open(&open(), &mut bench.card) {
        ends.push(end);
    }
    // 17 places each: of the 128 there are 9 left.
    for end in &ends[..7] {
        bench.arrive(&frame(
            Opcode::SendFirst,
            end.qpn,
            end.psn,
            false,
            &[],
            &[1; 256],
        ));
    }
    let last = ends[7];
    let first = frame(Opcode::SendFirst, last.qpn, last.psn, true, &[], &[1; 256]);
    bench.arrive(&first);
    assert_eq!(bench.rc.stats().rnr_naks, 1);
    bench.now = bench.now.after(5_000_000);
    bench.arrive(&first);
    assert_eq!(
        (bench.rc.stats().rnr_naks, bench.rc.stats().failed),
        (2, 0),
        "they may yet go on"
    );
    let second = (ends[0].psn + 1) & MASK_24;
    bench.arrive(&frame(
        Opcode::SendMiddle,
        ends[0].qpn,
        second,
        false,
        &[],
        &[1; 256],
    ));
    bench.now = bench.now.after(2_000_000);
    bench.arrive(&first);
    assert_eq!(
        (bench.rc.stats().rnr_naks, bench.rc.stats().failed),
        (3, 6),
        "all but one that went on"
    );
    bench.sent();
    bench.arrive(&first);
    assert_eq!(bench.card.sent.len(), 1, "served");
    let mut closed = 0;
    while let Some((_, event)) = bench.rc.poll_event() {
        closed += usize::from(event == Event::Closed(CloseReason::Stalled));
    }
    assert_eq!(closed, 6);
}

fn refused(bench: &mut Bench, verdict: u8, psn: u32, reason: CloseReason) {
    assert_eq!(bench.verdicts().last(), Some(&(verdict, psn)));
    assert_eq!(bench.events().last(), Some(&Event::Closed(reason)));
    assert!(bench.card.held.is_empty(), "nothing is kept");
    bench.request(Opcode::SendOnly, psn as i32, true, &[7; 64]);
    assert_eq!(
        bench.verdicts(),
        [(verdict, psn)],
        "again, should it have been lost"
    );
    assert_eq!(bench.message(), None);
}

#[test]
fn opcodes_out_of_order_end_the_queue_pair() {
    let first = (Opcode::SendFirst, 256);
    for (before, then) in [
        (None, (Opcode::SendMiddle, 256)),
        (None, (Opcode::SendLast, 10)),
        (Some(first), first),
        (Some(first), (Opcode::SendOnly, 64)),
    ] {
        let mut bench = Bench::new();
        let mut psn = 0;
        if let Some((opcode, len)) = before {
            bench.request(opcode, 0, false, &vec![1; len]);
            psn = 1;
        }
        bench.request(then.0, psn, true, &vec![1; then.1]);
        refused(&mut bench, INVALID, psn as u32, CloseReason::InvalidRequest);
    }
}

#[test]
fn wrong_lengths_end_the_queue_pair() {
    for (before, opcode, len) in [
        (0, Opcode::SendFirst, 255),
        (0, Opcode::SendFirst, 0),
        (0, Opcode::SendFirst, 257),
        (0, Opcode::SendOnly, 257),
        (1, Opcode::SendMiddle, 255),
        (1, Opcode::SendLast, 0),
        (1, Opcode::SendLast, 257),
        // 4,160 bytes are the longest: sixteen packets of 256 and one of 64.
        (16, Opcode::SendLast, 65),
        (16, Opcode::SendMiddle, 256),
    ] {
        let mut bench = Bench::new();
        for psn in 0..before {
            let opcode = if psn == 0 {
                Opcode::SendFirst
            } else {
                Opcode::SendMiddle
            };
            bench.request(opcode, psn, false, &[1; 256]);
        }
        bench.request(opcode, before, true, &vec![1; len]);
        refused(
            &mut bench,
            INVALID,
            before as u32,
            CloseReason::InvalidRequest,
        );
    }
}

#[test]
fn the_longest_message_and_the_empty_one_are_taken() {
    let mut bench = Bench::new();
    for psn in 0..16 {
        let opcode = if psn == 0 {
            Opcode::SendFirst
        } else {
            Opcode::SendMiddle
        };
        bench.request(opcode, psn, false, &[1; 256]);
    }
    bench.request(Opcode::SendLast, 16, true, &[1; 64]);
    bench.request(Opcode::SendOnly, 17, true, &[]);
    assert_eq!(bench.message().map(|m| m.len()), Some(4160));
    assert_eq!(bench.message().map(|m| m.len()), Some(0));
}

#[test]
fn whoever_reaches_for_memory_is_refused_and_counted() {
    let reth = [0; 16];
    for (opcode, rest) in [
        (Opcode::WriteFirst, [&reth[..], &[0; 256]].concat()),
        (Opcode::WriteOnly, [&reth[..], &[0; 8]].concat()),
        (Opcode::WriteOnly, reth.to_vec()),
        (Opcode::WriteOnlyImmediate, vec![0; 24]),
        (Opcode::WriteMiddle, vec![0; 256]),
        (Opcode::WriteLast, vec![0; 8]),
        (Opcode::ReadRequest, reth.to_vec()),
        (Opcode::CompareSwap, vec![0; 28]),
        (Opcode::FetchAdd, vec![0; 28]),
        (Opcode::SendOnlyInvalidate, vec![0; 68]),
    ] {
        let mut bench = Bench::new();
        bench.request(Opcode::SendOnly, 0, false, &[1; 64]);
        bench.request(opcode, 1, true, &rest);
        assert_eq!(bench.rc.stats().remote_access, 1, "{opcode:?}");
        refused(&mut bench, ACCESS, 1, CloseReason::RemoteAccess);
    }
}

#[test]
fn a_guessed_queue_pair_another_sender_and_another_partition_meet_nothing() {
    let mut bench = Bench::new();
    let (qpn, psn) = (bench.end.qpn, bench.end.psn);
    for guess in [
        qpn ^ 1 << 8,
        qpn ^ 1 << 19,
        qpn ^ 1 << 20,
        qpn ^ 1,
        0,
        1,
        0xff_ffff,
    ] {
        bench.arrive(&frame(Opcode::SendOnly, guess, psn, true, &[], &[1; 64]));
    }
    let stranger = frame_from(
        [10, 0, 0, 9],
        CARD_IP,
        Opcode::SendOnly,
        qpn,
        psn,
        true,
        &[],
        &[1; 64],
    );
    bench.arrive(&stranger);
    assert_eq!(bench.rc.stats().stale, 8);
    assert_eq!((bench.verdicts(), bench.events()), (vec![], vec![]));
    bench.arrive(&frame_from(
        HOST_IP,
        CARD_IP,
        Opcode::SendOnly,
        qpn,
        psn,
        true,
        &[],
        &[1; 64],
    ));
    assert_eq!(bench.verdicts(), [(ACK, 0)]);
}

#[test]
fn packets_for_a_queue_pair_that_is_gone_do_not_meet_its_successor() {
    let mut bench = Bench::new();
    let old = bench.end;
    bench.rc.close(bench.id, &mut bench.card);
    // Even if the entropy source says the same again.
    bench.card.entropy = [old.qpn << 12 & 0xfff0_0000, old.psn].into();
    let (id, end) = bench.rc.open(&open(), &mut bench.card).expect("room");
    assert_eq!((id.index(), end.psn), (bench.id.index(), old.psn));
    assert_ne!(end.qpn, old.qpn);
    bench.request(Opcode::SendOnly, 0, true, &[1; 64]);
    assert_eq!((bench.rc.stats().stale, bench.verdicts()), (1, vec![]));
    assert_eq!(bench.rc.poll_event(), None);
}

/// Half of the numbers are the past, half the future (9.7.1): none of either may pass for the expected one.
#[test]
fn wrong_psns_change_nothing() {
    let mut bench = Bench::new();
    for psn in [
        1,
        2,
        100,
        1 << 22,
        (1 << 23) - 1,
        -(1 << 23),
        -(1 << 22),
        -100,
        -1,
    ] {
        bench.request(Opcode::SendOnly, psn, false, &[1; 64]);
        bench.request(Opcode::ReadRequest, psn, false, &[0; 16]);
    }
    assert_eq!(bench.verdicts(), [(SEQUENCE, 0)]);
    assert_eq!(bench.message(), None);
    assert_eq!(bench.events(), [Event::Alive]);
    bench.request(Opcode::SendOnly, 0, true, &[1; 64]);
    assert_eq!(bench.verdicts(), [(ACK, 0)]);
}

#[test]
fn sequence_numbers_wrap() {
    let mut bench = Bench::new();
    bench.rc.close(bench.id, &mut bench.card);
    bench.card.entropy = [0, 0xff_fffe].into();
    (bench.id, bench.end) = bench.rc.open(&open(), &mut bench.card).expect("room");
    assert_eq!(bench.end.psn, 0xff_fffe);
    for psn in 0..4 {
        bench.request(Opcode::SendOnly, psn, true, &[]);
        assert_eq!(bench.verdicts(), [(ACK, psn as u32)]);
        bench.message().expect("delivered");
    }
    bench.request(Opcode::SendOnly, 1, true, &[]);
    assert_eq!(
        (bench.verdicts(), bench.rc.stats().duplicates),
        (vec![(ACK, 3)], 1)
    );
}

#[test]
fn marked_packets_are_answered_by_a_cnp_at_most_every_50_us() {
    let mut bench = Bench::new();
    let mut cnps = 0;
    for psn in 0..4 {
        let at = bench.end.psn.wrapping_add(psn) & MASK_24;
        let mut packet = frame(Opcode::SendOnly, bench.end.qpn, at, false, &[], &[1; 64]);
        mark(&mut packet);
        bench.arrive(&packet);
        cnps += bench
            .sent()
            .iter()
            .filter(|p| p.opcode == Opcode::Cnp)
            .count();
        bench.now = bench.now.after(20);
    }
    assert_eq!((cnps, bench.rc.stats().cnps_sent), (2, 2));
}

#[test]
fn a_full_table_says_so_and_places_come_back() {
    let mut bench = Bench::new();
    let mut ids = vec![bench.id];
    while let Ok((id, _)) = bench.rc.open(&open(), &mut bench.card) {
        ids.push(id);
    }
    assert_eq!((ids.len(), bench.rc.room()), (8, 0));
    bench.rc.close(ids[5], &mut bench.card);
    bench.rc.close(ids[5], &mut bench.card);
    assert_eq!(bench.rc.room(), 1);
}

#[test]
fn an_immediate_is_taken_for_a_send_without() {
    let mut bench = Bench::new();
    bench.request(
        Opcode::SendOnlyImmediate,
        0,
        true,
        b"\x01\x02\x03\x04command",
    );
    assert_eq!(bench.verdicts(), [(ACK, 0)]);
    assert_eq!(bench.message(), Some(b"command".to_vec()));
}

#[test]
fn ipv6_and_vlan_tags_are_spoken_and_the_sender_is_checked() {
    let (host, card) = ([0xfd; 16], [0xfe; 16]);
    let mut opened = open();
    (opened.peer.gid, opened.peer.own, opened.peer.tci) = (host, card, 0x2005);
    let mut bench = Bench::with(&config(), &opened);
    let packet = frame(
        Opcode::SendOnly,
        bench.end.qpn,
        bench.end.psn,
        true,
        &[],
        &[7; 64],
    );
    let mut stranger = host;
    stranger[15] = 1;
    bench.arrive(&over_ipv6(&packet, stranger, card, Some(5)));
    bench.arrive(&packet);
    assert_eq!((bench.rc.stats().stale, bench.card.sent.len()), (2, 0));
    bench.arrive(&over_ipv6(&packet, host, card, Some(5)));
    let sent = bench.card.sent.pop_front().expect("an ACK");
    let rx = sluice_engines::parse_roce(&sent, sluice_hal::BufId(0), 0)
        .expect("RoCE")
        .expect("right");
    assert_eq!(
        (rx.opcode, rx.vlan, rx.l3_offset, rx.l4_offset),
        (0x11, 0x2005, 18, 58)
    );
    assert_eq!((&sent[26..42], &sent[42..58]), (&card[..], &host[..]));
    // Traffic class: DSCP 26 and ECT(0).
    assert_eq!((sent[18], sent[19]), (0x66, 0xa0));
    assert_eq!(bench.message(), Some(vec![7; 64]));
}

fn patient() -> Bench {
    let cfg = sluice_rdma::Config {
        ack_delay: 100,
        ack_every: 8,
        ..config()
    };
    let mut bench = Bench::with(&cfg, &open());
    bench.rc.post_receives(bench.id, 64);
    bench
}

#[test]
fn an_acknowledgment_waits_for_others_but_not_for_ever() {
    let mut bench = patient();
    for psn in 0..7 {
        bench.request(Opcode::SendOnly, psn, true, b"command");
    }
    assert_eq!(bench.verdicts(), []);
    bench.request(Opcode::SendOnly, 7, true, b"command");
    assert_eq!(bench.verdicts(), [(ACK, 7)], "the eighth is enough");
    bench.pass(50);
    bench.request(Opcode::SendOnly, 8, true, b"command");
    assert_eq!(bench.rc.deadline(), Some(bench.now.after(50)));
    bench.pass(50);
    // The wait that the first ones began; what has come since goes along.
    assert_eq!(bench.verdicts(), [(ACK, 8)]);
    bench.request(Opcode::SendOnly, 9, true, b"command");
    bench.pass(99);
    assert_eq!(bench.verdicts(), []);
    bench.pass(1);
    assert_eq!(bench.verdicts(), [(ACK, 9)]);
    assert_eq!(bench.rc.deadline(), None);
}

#[test]
fn the_answer_to_a_lone_message_takes_its_acknowledgment_along() {
    use sluice_hal::{PmAddr, PmSlice, layout};
    let mut bench = patient();
    bench.request(Opcode::SendOnly, 0, true, b"command");
    let response = [PmSlice::new(PmAddr(layout::PAGES_BASE), 16)];
    bench
        .rc
        .post(bench.id, sluice_rdma::Work::Send, &response, 1)
        .expect("room");
    bench.pass(0);
    let sent: Vec<_> = bench.sent().iter().map(|p| p.opcode).collect();
    assert_eq!(sent, [Opcode::Acknowledge, Opcode::SendOnly]);
}

#[test]
fn a_gap_and_a_repetition_are_answered_at_once_all_the_same() {
    let mut bench = patient();
    bench.request(Opcode::SendOnly, 0, true, b"command");
    bench.request(Opcode::SendOnly, 0, true, b"command");
    assert_eq!(bench.verdicts(), [(ACK, 0)]);
    bench.request(Opcode::SendOnly, 2, true, b"command");
    assert_eq!(bench.verdicts(), [(SEQUENCE, 1)]);
}

#[test]
fn no_more_packets_are_kept_than_the_configuration_allows() {
    let cfg = sluice_rdma::Config {
        packets: 4,
        ..config()
    };
    let mut bench = Bench::with(&cfg, &open());
    bench.rc.post_receives(bench.id, 64);
    for psn in 0..4 {
        bench.request(Opcode::SendOnly, psn, true, b"command");
        assert_eq!(bench.verdicts(), [(ACK, psn as u32)]);
    }
    bench.request(Opcode::SendOnly, 4, true, b"command");
    let refused = bench.sent();
    assert_eq!(refused[0].word >> 29, 1, "RNR NAK");
    assert_eq!(bench.card.held.len(), 4);
    bench.message().expect("the first");
    bench.request(Opcode::SendOnly, 4, true, b"command");
    assert_eq!(bench.verdicts(), [(ACK, 4)]);
}
