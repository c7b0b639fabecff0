//! The requester against scripts of a host's answers, well-meant and hostile.

mod support;

use sluice_hal::{PmAddr, PmSlice, layout, roce::Remote};
use sluice_rdma::{CloseReason, Config, Event, Full, Open, Work};
use sluice_wire::roce::{NakCode, Opcode, rnr_micros};
use support::{Bench, SEND_PSN, config, frame, open};

const PAGE: PmAddr = PmAddr(layout::PAGES_BASE);
/// 4.096 µs × 2^8.
const TIMEOUT: u64 = 1049;
const WRITE: Work = Work::Write {
    va: 0x1000,
    rkey: 0x55,
};

fn post(bench: &mut Bench, work: Work, len: u32, token: u32) {
    let pieces = [PmSlice::new(PAGE, len)];
    let pieces = if matches!(work, Work::Read(_)) {
        &[][..]
    } else {
        &pieces
    };
    bench.rc.post(bench.id, work, pieces, token).expect("room");
}

fn read(len: u32) -> Work {
    Work::Read(Remote {
        va: 0x2000,
        rkey: 0x66,
        len,
    })
}

#[test]
fn a_command_is_answered_by_writes_and_a_send_that_asks_for_the_acknowledgment() {
    let mut bench = Bench::new();
    post(&mut bench, WRITE, 600, 1);
    post(&mut bench, Work::SendInvalidate(0x77), 16, 2);
    bench.pass(0);
    let sent = bench.sent();
    let seen: Vec<_> = sent
        .iter()
        .map(|p| (p.opcode, p.psn, p.ack_req, p.len))
        .collect();
    assert_eq!(
        seen,
        [
            (Opcode::WriteFirst, 0, false, 256),
            (Opcode::WriteMiddle, 1, false, 256),
            (Opcode::WriteLast, 2, false, 88),
            (Opcode::SendOnlyInvalidate, 3, true, 16),
        ]
    );
    assert_eq!((sent[0].va, sent[3].word), (0x1000, 0x77));
    assert_eq!(bench.card.jobs.len(), 2, "one job a message");
    assert_eq!(bench.released(), []);
    bench.answer(Opcode::Acknowledge, 3, 0x1f, &[]);
    assert_eq!(bench.released(), [(1, true), (2, true)]);
    assert_eq!(bench.rc.work_room(), 64);
}

#[test]
fn a_write_that_nothing_follows_asks_for_an_acknowledgment_itself() {
    let mut bench = Bench::new();
    post(&mut bench, WRITE, 100, 1);
    bench.pass(0);
    assert!(bench.sent()[0].ack_req);
}

#[test]
fn an_acknowledgment_releases_what_it_covers_and_no_more() {
    let mut bench = Bench::new();
    for token in 0..4 {
        post(&mut bench, Work::Send, 300, token);
    }
    bench.pass(0);
    bench.answer(Opcode::Acknowledge, 2, 0x1f, &[]);
    assert_eq!(bench.released(), [(0, true)], "half of the second");
    bench.answer(Opcode::Acknowledge, 1, 0x1f, &[]);
    bench.answer(Opcode::Acknowledge, 8, 0x1f, &[]);
    assert_eq!(bench.released(), [], "old, and never sent");
    bench.answer(Opcode::Acknowledge, 7, 0x1f, &[]);
    assert_eq!(bench.released(), [(1, true), (2, true), (3, true)]);
    assert_eq!(bench.rc.stats().stale, 2);
}

#[test]
fn after_a_nak_it_goes_on_from_the_missing_packet_in_the_middle_of_a_message() {
    let mut bench = Bench::new();
    post(&mut bench, Work::Send, 16, 1);
    post(&mut bench, WRITE, 1024, 2);
    bench.pass(0);
    bench.sent();
    bench.answer(Opcode::Acknowledge, 3, 0x60, &[]);
    assert_eq!(bench.released(), [(1, true)], "progress is kept");
    let seen = bench.brief();
    assert_eq!(seen, [(Opcode::WriteMiddle, 3), (Opcode::WriteLast, 4)]);
    let job = bench.card.jobs.last().expect("sent");
    assert_eq!((job.gather[0].addr, job.starts), (PAGE.plus(512), false));
}

#[test]
fn a_lost_tail_is_sent_again_after_the_timeout_and_given_up_in_the_end() {
    let mut bench = Bench::new();
    post(&mut bench, Work::Send, 16, 1);
    bench.pass(0);
    assert_eq!(bench.brief(), [(Opcode::SendOnly, 0)]);
    bench.pass(TIMEOUT - 1);
    assert_eq!(bench.brief(), []);
    bench.pass(1);
    for doubled in [2, 4, 8] {
        assert_eq!(bench.brief(), [(Opcode::SendOnly, 0)]);
        bench.pass(TIMEOUT * doubled - 1);
        assert_eq!((bench.brief(), bench.events()), (vec![], vec![]));
        bench.pass(1);
    }
    assert_eq!(bench.events(), [Event::Closed(CloseReason::Unanswered)]);
    assert_eq!(bench.released(), [(1, false)]);
    assert_eq!(bench.rc.deadline(), None);
}

/// Host and card on one busy machine, or a card simulated clock by clock: everything takes longer than the timeout.
#[test]
fn a_slow_path_is_repeated_on_at_first_and_then_waited_for() {
    let mut bench = Bench::new();
    let mut repeated = vec![];
    for token in 0..40 {
        post(&mut bench, Work::Send, 16, token);
        for _ in 0..50 {
            bench.pass(TIMEOUT / 10);
        }
        repeated.push(bench.sent().len() - 1);
        bench.answer(Opcode::Acknowledge, token, 0x1f, &[]);
        assert_eq!(bench.released(), [(token, true)]);
    }
    assert!(
        repeated[0] >= 2 && repeated[4..].iter().all(|n| *n == 0),
        "{repeated:?}"
    );
    // Fast again: the timeout comes back.
    for token in 40..100 {
        post(&mut bench, Work::Send, 16, token);
        bench.pass(10);
        bench.answer(Opcode::Acknowledge, token, 0x1f, &[]);
    }
    bench.sent();
    post(&mut bench, Work::Send, 16, 100);
    bench.pass(0);
    bench.pass(TIMEOUT);
    assert_eq!(bench.sent().len(), 2);
}

#[test]
fn while_the_rate_is_limited_every_job_asks_for_its_acknowledgment() {
    let mut bench = Bench::new();
    bench.arrive(&frame(Opcode::Cnp, bench.end.qpn, 0, false, &[], &[0; 16]));
    post(&mut bench, WRITE, 100, 1);
    post(&mut bench, WRITE, 100, 2);
    bench.pass(0);
    assert!(bench.sent().iter().all(|p| p.ack_req));
}

#[test]
fn progress_gives_new_retries() {
    let mut bench = Bench::new();
    for token in 0..20 {
        post(&mut bench, Work::Send, 16, token);
    }
    bench.pass(0);
    for psn in 0..20 {
        bench.pass(TIMEOUT * 16);
        bench.pass(TIMEOUT * 32);
        bench.answer(Opcode::Acknowledge, psn, 0x1f, &[]);
    }
    assert_eq!(
        (bench.released().len(), bench.events()),
        (20, vec![Event::Alive])
    );
}

#[test]
fn an_rnr_nak_is_waited_out_and_counted() {
    let mut bench = Bench::new();
    post(&mut bench, Work::Send, 16, 1);
    bench.pass(0);
    bench.sent();
    for _ in 0..3 {
        bench.answer(Opcode::Acknowledge, 0, 0x20 | 14, &[]);
        bench.pass(u64::from(rnr_micros(14)) - 1);
        assert_eq!(bench.brief(), []);
        bench.pass(1);
        assert_eq!(bench.brief(), [(Opcode::SendOnly, 0)]);
    }
    bench.answer(Opcode::Acknowledge, 0, 0x20 | 14, &[]);
    assert_eq!(
        bench.events(),
        [Event::Alive, Event::Closed(CloseReason::NotReady)]
    );
}

#[test]
fn a_peer_that_was_not_ready_gets_a_packet_then_twice_as_many_each_time() {
    let mut bench = Bench::new();
    for token in 0..20 {
        post(&mut bench, Work::Send, 16, token);
    }
    bench.pass(0);
    assert_eq!(bench.sent().len(), 20);
    let sends = |psns: std::ops::Range<u32>| -> Vec<_> {
        psns.map(|psn| (Opcode::SendOnly, psn)).collect()
    };
    // Twice in a row, so that nothing but the first is sent before there is a receive.
    for _ in 0..2 {
        bench.answer(Opcode::Acknowledge, 3, 0x20 | 14, &[]);
        bench.pass(rnr_micros(14).into());
        assert_eq!(bench.brief(), sends(3..4));
    }
    for (acknowledged, next) in [(3, 4..6), (5, 6..10), (9, 10..18), (17, 18..20)] {
        bench.answer(Opcode::Acknowledge, acknowledged, 0x1f, &[]);
        bench.pass(0);
        assert_eq!(bench.brief(), sends(next));
    }
    bench.answer(Opcode::Acknowledge, 19, 0x1f, &[]);
    assert_eq!(bench.released().len(), 20);
}

#[test]
fn seven_rnr_retries_are_for_ever() {
    let mut bench = Bench::with(
        &config(),
        &Open {
            rnr_retries: 7,
            ..open()
        },
    );
    post(&mut bench, Work::Send, 16, 1);
    bench.pass(0);
    for _ in 0..50 {
        bench.answer(Opcode::Acknowledge, 0, 0x21, &[]);
        bench.pass(10);
    }
    assert_eq!(bench.sent().len(), 51);
}

#[test]
fn fatal_naks_end_the_queue_pair_with_their_reason() {
    for (syndrome, code) in [
        (0x61, NakCode::InvalidRequest),
        (0x62, NakCode::RemoteAccess),
        (0x63, NakCode::RemoteOperational),
    ] {
        let mut bench = Bench::new();
        post(&mut bench, Work::Send, 16, 1);
        post(&mut bench, WRITE, 16, 2);
        bench.pass(0);
        bench.answer(Opcode::Acknowledge, 1, syndrome, &[]);
        assert_eq!(bench.released(), [(1, true), (2, false)]);
        assert_eq!(
            bench.events(),
            [Event::Alive, Event::Closed(CloseReason::Refused(code))]
        );
        assert_eq!(bench.rc.post(bench.id, Work::Send, &[], 3), Err(Full));
    }
}

#[test]
fn reserved_syndromes_change_nothing() {
    let mut bench = Bench::new();
    post(&mut bench, Work::Send, 16, 1);
    bench.pass(0);
    bench.sent();
    for syndrome in [0x40, 0x5f, 0x65, 0x7f, 0x80, 0xff] {
        bench.answer(Opcode::Acknowledge, 0, syndrome, &[]);
    }
    assert_eq!((bench.brief(), bench.released()), (vec![], vec![]));
}

#[test]
fn answers_to_nothing_change_nothing() {
    let mut bench = Bench::new();
    bench.answer(Opcode::Acknowledge, 0, 0x1f, &[]);
    bench.answer(Opcode::Acknowledge, 0, 0x62, &[]);
    bench.answer(Opcode::ReadResponseOnly, 0, 0x1f, &[1; 8]);
    post(&mut bench, Work::Send, 16, 1);
    bench.answer(Opcode::Acknowledge, 0, 0x61, &[]);
    bench.pass(0);
    for psn in [1, 100, 1 << 22, 0x80_0000, 0xff_ffff] {
        bench.answer(Opcode::Acknowledge, psn, 0x1f, &[]);
        bench.answer(Opcode::Acknowledge, psn, 0x60, &[]);
        bench.answer(Opcode::ReadResponseOnly, psn, 0x1f, &[1; 8]);
    }
    // READ data for what is no READ.
    bench.answer(Opcode::ReadResponseOnly, 0, 0x1f, &[1; 8]);
    assert_eq!(
        (bench.released(), bench.events()),
        (vec![], vec![Event::Alive])
    );
    assert!(bench.card.held.is_empty());
    bench.answer(Opcode::Acknowledge, 0, 0x1f, &[]);
    assert_eq!(bench.released(), [(1, true)]);
}

#[test]
fn a_late_acknowledgment_counts_after_going_back() {
    let mut bench = Bench::new();
    bench.card.job_room = 2;
    post(&mut bench, Work::Send, 16, 1);
    post(&mut bench, Work::Send, 16, 2);
    bench.pass(0);
    bench.pass(TIMEOUT);
    bench.answer(Opcode::Acknowledge, 1, 0x1f, &[]);
    assert_eq!(bench.released(), [(1, true), (2, true)]);
    bench.card.job_room = u32::MAX;
    bench.sent();
    bench.pass(TIMEOUT * 2);
    assert_eq!((bench.brief(), bench.rc.deadline()), (vec![], None));
}

#[test]
fn the_window_bounds_what_is_not_acknowledged() {
    let cfg = Config {
        window: 4,
        ..config()
    };
    let mut bench = Bench::with(&cfg, &open());
    post(&mut bench, WRITE, 256 * 6, 1);
    bench.pass(0);
    let sent = bench.sent();
    assert_eq!(
        (sent.len(), sent[3].ack_req),
        (4, true),
        "or nothing would open it"
    );
    bench.answer(Opcode::Acknowledge, 1, 0x1f, &[]);
    assert_eq!(
        bench.brief(),
        [(Opcode::WriteMiddle, 4), (Opcode::WriteLast, 5)]
    );
}

#[test]
fn long_messages_take_turns_job_by_job() {
    let cfg = Config {
        max_train: 4096,
        ..config()
    };
    let mut bench = Bench::with(&cfg, &open());
    let (other, _) = bench.rc.open(&open(), &mut bench.card).expect("room");
    post(&mut bench, WRITE, 12_288, 1);
    bench
        .rc
        .post(other, WRITE, &[PmSlice::new(PAGE, 8192)], 2)
        .expect("room");
    bench.pass(0);
    let templates: Vec<_> = bench
        .card
        .jobs
        .iter()
        .map(|job| (job.template.0 - layout::HEADERS_BASE) / 128)
        .collect();
    assert_eq!(templates, [0, 1, 0, 1, 0]);
}

#[test]
fn a_busy_engine_is_asked_again() {
    let mut bench = Bench::new();
    bench.card.job_room = 1;
    post(&mut bench, Work::Send, 16, 1);
    post(&mut bench, Work::Send, 16, 2);
    assert!(!bench.rc.poll_transmit(bench.now, &mut bench.card));
    assert_eq!(bench.brief(), [(Opcode::SendOnly, 0)]);
    bench.card.job_room = 9;
    assert!(bench.rc.poll_transmit(bench.now, &mut bench.card));
    assert_eq!(bench.brief(), [(Opcode::SendOnly, 1)]);
}

#[test]
fn a_cnp_slows_the_next_jobs_down() {
    let mut bench = Bench::new();
    let psn = SEND_PSN;
    for token in 0..8 {
        post(&mut bench, WRITE, 8192, token);
    }
    for _ in 0..6 {
        bench.arrive(&frame(
            Opcode::Cnp,
            bench.end.qpn,
            psn,
            false,
            &[],
            &[0; 16],
        ));
        bench.now = bench.now.after(50);
    }
    let at = bench.card.jobs.len();
    bench.card.job_room = u32::MAX;
    let start = bench.now;
    while bench.card.jobs.len() < 8 {
        let due = bench.rc.deadline().expect("waits for the rate");
        let step = due.since(bench.now).max(1);
        bench.pass(step);
        assert!(bench.now.since(start) < 1_000_000);
    }
    assert!(at < 8 && bench.now > start, "{at} jobs at once");
    assert_eq!(bench.rc.stats().cnps_received, 6);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut bench = Bench::with(&config(), &Open { reads: 0, ..open() });
    let piece = PmSlice::new(PAGE, 1);
    assert_eq!(
        bench.rc.post(bench.id, Work::Send, &[piece; 5], 1),
        Err(Full)
    );
    assert_eq!(
        bench.rc.post(bench.id, read(1), &[], 1),
        Err(Full),
        "the host serves none"
    );
    let huge = PmSlice::new(PAGE, 1 << 24);
    assert_eq!(bench.rc.post(bench.id, WRITE, &[huge], 1), Err(Full));
    for token in 0..64 {
        bench
            .rc
            .post(bench.id, Work::Send, &[piece], token)
            .expect("room");
    }
    assert_eq!(bench.rc.post(bench.id, Work::Send, &[piece], 64), Err(Full));
    bench.rc.close(bench.id, &mut bench.card);
    assert_eq!(bench.released().len(), 64);
    assert_eq!(bench.rc.work_room(), 64);
}

/// A WRITE and its SEND in one work request, of 600 and 16 bytes.
fn post_coupled(bench: &mut Bench, invalidate: bool, token: u32) {
    let work = Work::WriteSend {
        va: 0x1000,
        rkey: 0x55,
        invalidate,
    };
    let pieces = [
        PmSlice::new(PAGE, 500),
        PmSlice::new(PAGE.plus(4096), 100),
        PmSlice::new(PAGE.plus(8192), 16),
    ];
    bench.rc.post(bench.id, work, &pieces, token).expect("room");
}

#[test]
fn a_write_and_its_send_go_as_one_job() {
    for (invalidate, last, word) in [
        (false, Opcode::SendOnly, 0),
        (true, Opcode::SendOnlyInvalidate, 0x55),
    ] {
        let mut bench = Bench::new();
        post_coupled(&mut bench, invalidate, 1);
        bench.pass(0);
        let sent = bench.sent();
        let seen: Vec<_> = sent
            .iter()
            .map(|p| (p.opcode, p.psn, p.ack_req, p.len))
            .collect();
        assert_eq!(
            seen,
            [
                (Opcode::WriteFirst, 0, false, 256),
                (Opcode::WriteMiddle, 1, false, 256),
                (Opcode::WriteLast, 2, false, 88),
                (last, 3, true, 16),
            ]
        );
        assert_eq!((sent[0].va, sent[3].word), (0x1000, word));
        assert_eq!(bench.card.jobs.len(), 1);
        bench.answer(Opcode::Acknowledge, 2, 0x1f, &[]);
        assert_eq!(bench.released(), [], "the SEND is not acknowledged");
        bench.answer(Opcode::Acknowledge, 3, 0x1f, &[]);
        assert_eq!(bench.released(), [(1, true)]);
    }
}

/// Whatever packet is lost, what is sent again are the packets that were sent before.
#[test]
fn a_coupled_job_is_taken_up_again_at_any_packet() {
    for lost in 0..4 {
        let mut bench = Bench::new();
        post_coupled(&mut bench, true, 1);
        bench.pass(0);
        let first: Vec<_> = bench.card.sent.drain(..).collect();
        // A sequence NAK that expects this packet.
        bench.answer(Opcode::Acknowledge, lost, 0x60, &[]);
        let again: Vec<_> = bench.card.sent.drain(..).collect();
        assert_eq!(again, first[lost as usize..], "from packet {lost}");
        bench.answer(Opcode::Acknowledge, 3, 0x1f, &[]);
        assert_eq!(bench.released(), [(1, true)]);
    }
}

/// A window smaller than the job cuts it anywhere: the packets stay the same.
#[test]
fn a_coupled_job_fits_any_window() {
    let mut whole = Bench::new();
    post_coupled(&mut whole, false, 1);
    whole.pass(0);
    let want: Vec<_> = whole
        .sent()
        .iter()
        .map(|p| (p.opcode, p.psn, p.len))
        .collect();
    for window in 1..5 {
        let cfg = Config { window, ..config() };
        let mut bench = Bench::with(&cfg, &open());
        post_coupled(&mut bench, false, 1);
        bench.pass(0);
        let mut seen = vec![];
        for _ in 0..4 {
            let sent = bench.sent();
            seen.extend(sent.iter().map(|p| (p.opcode, p.psn, p.len)));
            let Some(last) = sent.last() else { break };
            assert!(last.ack_req, "else it is never acknowledged");
            bench.answer(Opcode::Acknowledge, last.psn, 0x1f, &[]);
        }
        assert_eq!(seen, want, "window {window}");
        assert_eq!(bench.released(), [(1, true)]);
    }
}

#[test]
fn a_coupled_work_request_with_either_message_empty_or_a_long_send_is_refused() {
    let mut bench = Bench::new();
    let work = Work::WriteSend {
        va: 0,
        rkey: 1,
        invalidate: false,
    };
    for lens in [&[16][..], &[0, 16], &[100, 0], &[100, 257], &[]] {
        let pieces: Vec<_> = lens.iter().map(|len| PmSlice::new(PAGE, *len)).collect();
        assert_eq!(
            bench.rc.post(bench.id, work, &pieces, 1),
            Err(Full),
            "{lens:?}"
        );
    }
}

/// With much under way one answer in four asks for an acknowledgment, and the last ones all do.
#[test]
fn answers_of_a_deep_queue_do_not_all_ask_for_an_acknowledgment() {
    let mut bench = Bench::new();
    bench.rc.post_receives(bench.id, 32);
    for psn in 0..16 {
        bench.request(Opcode::SendOnly, psn, false, b"command");
    }
    bench.sent();
    let mut asked = vec![];
    for token in 0..16 {
        post(&mut bench, Work::Send, 16, token);
        bench.pass(0);
        asked.extend(bench.sent().iter().map(|p| p.ack_req));
    }
    let late = [false, false, false, true].repeat(2);
    assert_eq!(asked, [&late[..], &[true; 8]].concat());
    // What was sent without asking is asked for when it is sent again.
    bench.answer(Opcode::Acknowledge, 1, 0x60, &[]);
    assert!(bench.sent().iter().all(|p| p.ack_req));
}

/// What lies behind a SEND that nobody takes would be sent in vain each time.
#[test]
fn without_receives_at_the_peer_one_packet_is_tried_at_a_time() {
    let mut bench = Bench::new();
    post(&mut bench, Work::Send, 16, 1);
    for token in 2..5 {
        post_coupled(&mut bench, false, token);
    }
    bench.pass(0);
    assert_eq!(bench.sent().len(), 1 + 3 * 4);
    for _ in 0..3 {
        // RNR NAK, timer code 14.
        bench.answer(Opcode::Acknowledge, 0, 0x2e, &[]);
        bench.pass(rnr_micros(14).into());
        assert_eq!(bench.brief(), [(Opcode::SendOnly, 0)]);
    }
    // Then more and more, up to all of them.
    bench.answer(Opcode::Acknowledge, 0, 0x1f, &[]);
    let mut sent = bench.sent();
    while let Some(last) = sent.last().filter(|last| last.psn < 12) {
        assert!(last.ack_req);
        bench.answer(Opcode::Acknowledge, last.psn, 0x1f, &[]);
        sent.extend(bench.sent());
    }
    let psns: Vec<_> = sent.iter().map(|p| p.psn).collect();
    assert_eq!(psns, (1..=12).collect::<Vec<_>>());
}
