//! RDMA READs of the requester: their data in order, lost, wrong, and how many are asked for at once.

mod support;

use sluice_hal::{PmAddr, PmSlice, layout, roce::Remote};
use sluice_rdma::{CloseReason, Config, Event, QpId, ReadData, Work};
use sluice_wire::roce::Opcode;
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

/// READ data, its buffer freed.
fn data(bench: &mut Bench, opcode: Opcode, psn: u32, payload: &[u8]) -> Option<ReadData> {
    let psn = SEND_PSN.wrapping_add(psn) & 0xff_ffff;
    let extended: &[u8] = if opcode.has_aeth() {
        &[0x1f, 0, 0, 1]
    } else {
        &[]
    };
    let data = bench.take(&frame(opcode, bench.end.qpn, psn, false, extended, payload))?;
    assert_eq!(bench.card.bytes(data.slice), payload);
    sluice_rdma::Link::free(&mut bench.card, data.buf);
    Some(data)
}

#[test]
fn read_data_come_in_order_with_their_token_and_offset() {
    let mut bench = Bench::new();
    post(&mut bench, read(600), 0, 9);
    post(&mut bench, Work::Send, 16, 10);
    bench.pass(0);
    let seen = bench.brief();
    assert_eq!(
        seen,
        [(Opcode::ReadRequest, 0), (Opcode::SendOnly, 3)],
        "a READ takes the PSNs of its answer"
    );
    let first = data(&mut bench, Opcode::ReadResponseFirst, 0, &[1; 256]).expect("data");
    let middle = data(&mut bench, Opcode::ReadResponseMiddle, 1, &[2; 256]).expect("data");
    let last = data(&mut bench, Opcode::ReadResponseLast, 2, &[3; 88]).expect("data");
    let seen = [first, middle, last].map(|d| (d.token, d.offset, d.last));
    assert_eq!(seen, [(9, 0, false), (9, 256, false), (9, 512, true)]);
    assert_eq!(bench.released(), [(9, true)]);
    bench.answer(Opcode::Acknowledge, 3, 0x1f, &[]);
    assert_eq!(bench.released(), [(10, true)]);
}

#[test]
fn missing_read_data_are_asked_for_once_from_where_they_are_missing() {
    let mut bench = Bench::new();
    post(&mut bench, read(1024), 0, 9);
    bench.pass(0);
    bench.sent();
    data(&mut bench, Opcode::ReadResponseFirst, 0, &[1; 256]).expect("data");
    assert_eq!(
        data(&mut bench, Opcode::ReadResponseMiddle, 2, &[3; 256]),
        None
    );
    assert_eq!(
        data(&mut bench, Opcode::ReadResponseLast, 3, &[4; 256]),
        None
    );
    let sent = bench.sent();
    assert_eq!(sent.len(), 1, "once");
    assert_eq!(
        (sent[0].opcode, sent[0].psn, sent[0].va),
        (Opcode::ReadRequest, 1, 0x2100)
    );
    let again = [
        data(&mut bench, Opcode::ReadResponseFirst, 1, &[2; 256]),
        data(&mut bench, Opcode::ReadResponseMiddle, 2, &[3; 256]),
        data(&mut bench, Opcode::ReadResponseLast, 3, &[4; 256]),
    ];
    let offsets = again.map(|d| d.map(|d| d.offset));
    assert_eq!(offsets, [Some(256), Some(512), Some(768)]);
    assert_eq!(
        data(&mut bench, Opcode::ReadResponseLast, 3, &[4; 256]),
        None,
        "once more is too much"
    );
}

#[test]
fn an_acknowledgment_beyond_a_read_shows_that_its_data_are_lost() {
    let mut bench = Bench::new();
    post(&mut bench, read(100), 0, 1);
    post(&mut bench, Work::Send, 16, 2);
    bench.pass(0);
    bench.sent();
    bench.answer(Opcode::Acknowledge, 1, 0x1f, &[]);
    assert_eq!(bench.released(), []);
    assert_eq!(
        bench.brief(),
        [(Opcode::ReadRequest, 0), (Opcode::SendOnly, 1)]
    );
    data(&mut bench, Opcode::ReadResponseOnly, 0, &[1; 100]).expect("data");
    bench.answer(Opcode::Acknowledge, 1, 0x1f, &[]);
    assert_eq!(bench.released(), [(1, true), (2, true)]);
}

#[test]
fn read_data_acknowledge_what_was_asked_before() {
    let mut bench = Bench::new();
    post(&mut bench, WRITE, 100, 1);
    post(&mut bench, read(100), 0, 2);
    bench.pass(0);
    data(&mut bench, Opcode::ReadResponseOnly, 1, &[1; 100]).expect("data");
    assert_eq!(bench.released(), [(1, true), (2, true)]);
}

#[test]
fn no_more_reads_are_outstanding_than_the_host_serves() {
    let mut bench = Bench::new();
    for token in 0..4 {
        post(&mut bench, read(100), 0, token);
    }
    bench.pass(0);
    assert_eq!(
        bench.brief(),
        [(Opcode::ReadRequest, 0), (Opcode::ReadRequest, 1)]
    );
    data(&mut bench, Opcode::ReadResponseOnly, 0, &[1; 100]).expect("data");
    assert_eq!(bench.brief(), [(Opcode::ReadRequest, 2)]);
    bench.pass(TIMEOUT);
    assert_eq!(
        bench.brief(),
        [(Opcode::ReadRequest, 1), (Opcode::ReadRequest, 2)]
    );
}

#[test]
fn read_data_of_wrong_length_or_place_end_the_queue_pair() {
    for (opcode, len) in [
        (Opcode::ReadResponseOnly, 256),
        (Opcode::ReadResponseLast, 44),
        (Opcode::ReadResponseFirst, 255),
        (Opcode::ReadResponseMiddle, 0),
    ] {
        let mut bench = Bench::new();
        post(&mut bench, read(300), 0, 9);
        bench.pass(0);
        assert_eq!(data(&mut bench, opcode, 0, &vec![1; len]), None);
        assert_eq!(
            bench.events(),
            [Event::Alive, Event::Closed(CloseReason::BadResponse)]
        );
        assert!(bench.card.held.is_empty());
    }
    for (opcode, len) in [
        (Opcode::ReadResponseLast, 45),
        (Opcode::ReadResponseMiddle, 44),
    ] {
        let mut bench = Bench::new();
        post(&mut bench, read(300), 0, 9);
        bench.pass(0);
        data(&mut bench, Opcode::ReadResponseFirst, 0, &[1; 256]).expect("data");
        assert_eq!(data(&mut bench, opcode, 1, &vec![1; len]), None);
        assert_eq!(
            bench.events().last(),
            Some(&Event::Closed(CloseReason::BadResponse))
        );
    }
}

/// The answer to a whole request of `packets` packets of 256 bytes, from `psn` on.
fn answer(bench: &mut Bench, qpn: u32, psn: u32, packets: u32) {
    for i in 0..packets {
        let opcode = match (i, packets - i) {
            (0, 1) => Opcode::ReadResponseOnly,
            (0, _) => Opcode::ReadResponseFirst,
            (_, 1) => Opcode::ReadResponseLast,
            _ => Opcode::ReadResponseMiddle,
        };
        let extended: &[u8] = if opcode.has_aeth() {
            &[0x1f, 0, 0, 1]
        } else {
            &[]
        };
        let psn = SEND_PSN.wrapping_add(psn + i) & 0xff_ffff;
        let data = bench
            .take(&frame(opcode, qpn, psn, false, extended, &[7; 256]))
            .expect("data");
        sluice_rdma::Link::free(&mut bench.card, data.buf);
    }
}

#[test]
fn a_long_read_is_asked_for_in_requests_of_32_packets() {
    let mut bench = Bench::new();
    post(&mut bench, read(70 * 256), 0, 9);
    bench.pass(0);
    let asked = |bench: &mut Bench| -> Vec<_> {
        let frames = bench
            .card
            .jobs
            .drain(..)
            .filter_map(|job| match job.message {
                sluice_hal::roce::RoceMessage::ReadRequest(r) => Some((r.va, r.len)),
                _ => None,
            });
        frames.collect()
    };
    assert_eq!(
        asked(&mut bench),
        [(0x2000, 32 * 256), (0x2000 + 32 * 256, 32 * 256)],
        "two, since the host serves two at once"
    );
    let qpn = bench.end.qpn;
    answer(&mut bench, qpn, 0, 32);
    assert_eq!(asked(&mut bench), [(0x2000 + 64 * 256, 6 * 256)]);
    assert_eq!(bench.released(), []);
    answer(&mut bench, qpn, 32, 32);
    answer(&mut bench, qpn, 64, 6);
    assert_eq!(bench.released(), [(9, true)]);
    assert_eq!(bench.events(), [Event::Alive]);
}

#[test]
fn a_request_that_is_repeated_ends_where_it_ended_before() {
    let mut bench = Bench::new();
    post(&mut bench, read(40 * 256), 0, 9);
    bench.pass(0);
    data(&mut bench, Opcode::ReadResponseFirst, 0, &[1; 256]).expect("data");
    bench.card.jobs.clear();
    bench.pass(TIMEOUT);
    let lens: Vec<_> = bench
        .sent()
        .iter()
        .filter(|p| p.psn == 1)
        .map(|p| p.va)
        .collect();
    assert_eq!(lens, [0x2100]);
    // Both forms: as the standard has it, a new First; as rxe has it, on with Middle.
    let qpn = bench.end.qpn;
    answer(&mut bench, qpn, 1, 31);
    answer(&mut bench, qpn, 32, 8);
    assert_eq!(bench.released(), [(9, true)]);
}

#[test]
fn a_last_packet_in_the_middle_of_a_request_ends_the_queue_pair() {
    let mut bench = Bench::new();
    post(&mut bench, read(40 * 256), 0, 9);
    bench.pass(0);
    data(&mut bench, Opcode::ReadResponseFirst, 0, &[1; 256]).expect("data");
    assert_eq!(
        data(&mut bench, Opcode::ReadResponseLast, 1, &[1; 256]),
        None
    );
    assert_eq!(
        bench.events().last(),
        Some(&Event::Closed(CloseReason::BadResponse))
    );
}

/// A bench whose core may have 64 packets of READ data on their way, and three more queue pairs with a READ of 32 packets each.
fn several() -> (Bench, [QpId; 3]) {
    let cfg = Config {
        read_packets: 64,
        ..config()
    };
    let mut bench = Bench::with(&cfg, &open());
    let ids = [0; 3].map(|_| bench.rc.open(&open(), &mut bench.card).expect("room").0);
    for (id, token) in ids.iter().zip(0..) {
        bench
            .rc
            .post(*id, read(32 * 256), &[], token)
            .expect("room");
    }
    bench.rc.poll_transmit(bench.now, &mut bench.card);
    (bench, ids)
}

/// READ requests sent since the last call.
fn requests(bench: &mut Bench) -> usize {
    let sent = bench.sent();
    sent.iter()
        .filter(|p| p.opcode == Opcode::ReadRequest)
        .count()
}

#[test]
fn read_data_on_their_way_to_all_queue_pairs_fit_the_descriptor_queue() {
    let (mut bench, ids) = several();
    assert_eq!(requests(&mut bench), 2, "64 packets");
    assert!(!bench.rc.wants_transmit(), "the third waits");
    // A small one would fit after one packet, but does not overtake.
    let first = frame(
        Opcode::ReadResponseFirst,
        ids[0].qpn(),
        SEND_PSN,
        false,
        &[0x1f, 0, 0, 1],
        &[7; 256],
    );
    bench.arrive(&first);
    bench.rc.post(bench.id, read(256), &[], 3).expect("room");
    bench.rc.poll_transmit(bench.now, &mut bench.card);
    assert_eq!(requests(&mut bench), 0);
}

#[test]
fn read_data_that_arrive_let_the_next_queue_pair_ask() {
    let (mut bench, ids) = several();
    assert_eq!(requests(&mut bench), 2);
    for i in 0..31 {
        let opcode = [Opcode::ReadResponseFirst, Opcode::ReadResponseMiddle][usize::from(i > 0)];
        let extended: &[u8] = if i == 0 { &[0x1f, 0, 0, 1] } else { &[] };
        let psn = SEND_PSN.wrapping_add(i) & 0xff_ffff;
        bench.arrive(&frame(
            opcode,
            ids[0].qpn(),
            psn,
            false,
            extended,
            &[7; 256],
        ));
        assert_eq!(requests(&mut bench), 0, "after packet {i}");
    }
    let psn = SEND_PSN.wrapping_add(31) & 0xff_ffff;
    bench.arrive(&frame(
        Opcode::ReadResponseLast,
        ids[0].qpn(),
        psn,
        false,
        &[0x1f, 0, 0, 1],
        &[7; 256],
    ));
    assert_eq!(requests(&mut bench), 1);
}

#[test]
fn a_queue_pair_that_ends_gives_back_its_share_of_read_data() {
    let (mut bench, ids) = several();
    assert_eq!(requests(&mut bench), 2);
    bench.rc.close(ids[1], &mut bench.card);
    assert!(bench.rc.wants_transmit());
    bench.rc.poll_transmit(bench.now, &mut bench.card);
    assert_eq!(requests(&mut bench), 1);
}

#[test]
fn lost_read_data_do_not_count_for_ever() {
    let (mut bench, ids) = several();
    for _ in 0..2 {
        // Nothing arrives; each is repeated, and the third has its turn too.
        bench.pass(2 * TIMEOUT);
    }
    bench.sent();
    for id in ids {
        bench.rc.close(id, &mut bench.card);
    }
    let more = [0; 2].map(|_| bench.rc.open(&open(), &mut bench.card).expect("room").0);
    for id in more {
        bench.rc.post(id, read(32 * 256), &[], 7).expect("room");
    }
    bench.rc.poll_transmit(bench.now, &mut bench.card);
    assert_eq!(
        requests(&mut bench),
        2,
        "all of the 64 packets are there again"
    );
}
