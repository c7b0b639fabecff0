//! The receiving machine: what each PDU, good or bad, is taken for.

extern crate std;
use std::{vec, vec::Vec};

use super::*;
use crate::{C2hEnd, PduBuf, R2tRange, WriteTransfer};
use sluice_wire::crc32c::crc32c;

/// An event without its borrow.
#[derive(Debug, PartialEq, Clone)]
enum Seen {
    IcReq,
    Command {
        sqe: [u8; 64],
        in_capsule: u32,
    },
    H2cData(H2cData),
    DataDone {
        digest: Option<u32>,
        payload: Vec<u8>,
    },
    HostTerminated {
        fes: u16,
        fei: u32,
    },
    Fatal(Violation),
}

/// Plays `stream` in pieces of at most `cut` bytes.
fn play(session: &mut Session, mut stream: &[u8], cut: usize) -> Vec<Seen> {
    let mut seen = vec![];
    let mut payload = vec![];
    while !stream.is_empty() {
        let (step, used) = match session.want() {
            Want::Header(into) => {
                assert!(!into.is_empty(), "the session never wants nothing");
                let n = into.len().min(stream.len()).min(cut);
                into[..n].copy_from_slice(&stream[..n]);
                (session.filled(n, crc32c), n)
            }
            Want::Data { left } => {
                let n = (left as usize).min(stream.len()).min(cut);
                payload.extend_from_slice(&stream[..n]);
                (session.moved(n as u32), n)
            }
            Want::Closed => break,
        };
        stream = &stream[used..];
        match step {
            Step::More => {}
            Step::Event(Event::IcReq) => seen.push(Seen::IcReq),
            Step::Event(Event::Command { sqe, in_capsule }) => {
                seen.push(Seen::Command {
                    sqe: *crate::sqe_bytes(sqe),
                    in_capsule,
                });
            }
            Step::Event(Event::H2cData(data)) => seen.push(Seen::H2cData(data)),
            Step::Event(Event::DataDone { digest }) => {
                seen.push(Seen::DataDone {
                    digest,
                    payload: core::mem::take(&mut payload),
                });
            }
            Step::Event(Event::HostTerminated { fes, fei }) => {
                seen.push(Seen::HostTerminated { fes, fei });
            }
            Step::Fatal(violation) => seen.push(Seen::Fatal(violation)),
        }
    }
    seen
}

fn ic_req(digests: u8, hpda: u8) -> Vec<u8> {
    let mut pdu = vec![0; 128];
    (pdu[2], pdu[4]) = (128, 128);
    (pdu[10], pdu[11]) = (hpda, digests);
    pdu
}

/// A session past its setup.
fn ready(digests: u8, limits: &Limits) -> Session {
    let mut session = Session::new(limits);
    assert_eq!(play(&mut session, &ic_req(digests, 0), 999), [Seen::IcReq]);
    session
}

fn plain() -> Session {
    ready(0, &Limits::default())
}

const SQE: [u8; 64] = {
    let mut sqe = [0; 64];
    let mut i = 0;
    while i < 64 {
        sqe[i] = i as u8 + 1;
        i += 1;
    }
    sqe
};

/// Header with digest, padding, data with digest, as `digests` and `pdo` say (`pdo` 0: right after the header).
fn pdu(kind: u8, flags: u8, header: &[u8], data: &[u8], digests: u8, pdo: u8) -> Vec<u8> {
    let front = 8 + header.len() + if digests & 1 != 0 { 4 } else { 0 };
    let pdo = if data.is_empty() {
        0
    } else {
        usize::from(pdo).max(front)
    };
    let tail = if data.is_empty() || digests & 2 == 0 {
        0
    } else {
        4
    };
    let len = front.max(pdo) + data.len() + tail;
    let carried = if data.is_empty() {
        digests & 1
    } else {
        digests
    };
    let mut out = vec![kind, flags | carried, 8 + header.len() as u8, pdo as u8];
    out.extend((len as u32).to_le_bytes());
    out.extend(header);
    if digests & 1 != 0 {
        out.extend(crc32c(&out).to_le_bytes());
    }
    out.resize(front.max(pdo), 0xee);
    out.extend(data);
    if tail != 0 {
        out.extend(crc32c(data).to_le_bytes());
    }
    out
}

fn command(data: &[u8], digests: u8) -> Vec<u8> {
    pdu(4, 0, &SQE, data, digests, 0)
}

fn h2c_header(ttag: u16, offset: u32, len: u32) -> Vec<u8> {
    let mut header = 7u16.to_le_bytes().to_vec();
    header.extend(ttag.to_le_bytes());
    header.extend(offset.to_le_bytes());
    header.extend(len.to_le_bytes());
    header.extend([0; 4]);
    header
}

fn h2c(flags: u8, offset: u32, data: &[u8], digests: u8) -> Vec<u8> {
    pdu(
        6,
        flags,
        &h2c_header(3, offset, data.len() as u32),
        data,
        digests,
        0,
    )
}

fn ask(session: &mut Session, offset: u32, len: u32) {
    session.r2t(7, 3, R2tRange { offset, len }, &mut PduBuf::new(), crc32c);
}

#[test]
fn a_session_is_small_enough_for_256_connections_per_core() {
    assert!(size_of::<Session>() <= 128, "{}", size_of::<Session>());
    assert!(size_of::<WriteTransfer>() <= 16);
}

#[test]
fn setup_settles_digests_and_alignment_and_is_answered() {
    let limits = Limits {
        cpda: 3,
        data_digest: false,
        max_h2c_data: 0x2_0000,
        ..Limits::default()
    };
    let mut session = Session::new(&limits);
    assert_eq!(play(&mut session, &ic_req(3, 7), 5), [Seen::IcReq]);
    assert!(session.header_digest() && !session.data_digest());
    let mut out = PduBuf::new();
    assert_eq!(session.ic_resp(&mut out), 128);
    let mut resp = [0; 128];
    (resp[0], resp[2], resp[4]) = (1, 128, 128);
    (resp[10], resp[11], resp[14]) = (3, 1, 2);
    assert_eq!(out.bytes(128), resp);
    // HPDA 7: data at a multiple of 32 bytes; 24 + 4 of header and digest come before.
    assert_eq!(
        session.c2h_data(1, 0, 512, C2hEnd::Last, &mut out, crc32c),
        32
    );
    assert_eq!(out.bytes(8), [7, 1 | 4, 24, 32, 0x20, 2, 0, 0]);
    assert_eq!(out.bytes(28)[24..], crc32c(out.bytes(24)).to_le_bytes());
    assert_eq!(out.bytes(32)[28..], [0; 4]);
}

#[test]
fn commands_are_announced_with_and_without_data_and_digests_however_they_are_cut() {
    let data: Vec<u8> = (0..4096u32).map(|i| i as u8).collect();
    for digests in 0..4 {
        let mut stream = command(&[], digests);
        stream.extend(command(&data, digests));
        stream.extend(command(&[], digests));
        for cut in [1, 3, 8, 24, 71, 72, 76, 9999] {
            let mut session = ready(digests, &Limits::default());
            let digest = (digests & 2 != 0).then(|| crc32c(&data));
            assert_eq!(
                play(&mut session, &stream, cut),
                [
                    Seen::Command {
                        sqe: SQE,
                        in_capsule: 0
                    },
                    Seen::Command {
                        sqe: SQE,
                        in_capsule: 4096
                    },
                    Seen::DataDone {
                        digest,
                        payload: data.clone()
                    },
                    Seen::Command {
                        sqe: SQE,
                        in_capsule: 0
                    },
                ]
            );
        }
    }
}

#[test]
fn solicited_data_and_commands_may_come_in_any_mixture() {
    for digests in 0..4 {
        for cut in [1, 23, 24, 28, 9999] {
            let mut session = ready(digests, &Limits::default());
            ask(&mut session, 0, 12);
            let mut stream = command(&[], digests);
            stream.extend(h2c(0, 0, b"12345678", digests));
            stream.extend(command(b"in!!", digests));
            stream.extend(h2c(4, 8, b"last", digests));
            stream.extend(command(&[], digests));
            let digest = |data: &[u8]| (digests & 2 != 0).then(|| crc32c(data));
            let announced = |offset, len, last| {
                Seen::H2cData(H2cData {
                    ttag: 3,
                    cid: 7,
                    offset,
                    len,
                    last,
                })
            };
            let done = |data: &[u8]| Seen::DataDone {
                digest: digest(data),
                payload: data.to_vec(),
            };
            assert_eq!(
                play(&mut session, &stream, cut),
                [
                    Seen::Command {
                        sqe: SQE,
                        in_capsule: 0
                    },
                    announced(0, 8, false),
                    done(b"12345678"),
                    Seen::Command {
                        sqe: SQE,
                        in_capsule: 4
                    },
                    done(b"in!!"),
                    announced(8, 4, true),
                    done(b"last"),
                    Seen::Command {
                        sqe: SQE,
                        in_capsule: 0
                    },
                ]
            );
        }
    }
}

#[test]
fn an_r2t_sent_while_a_header_is_awaited_is_heeded() {
    let mut session = plain();
    assert!(matches!(session.want(), Want::Header(into) if into.len() == 72));
    ask(&mut session, 0, 4);
    assert!(matches!(session.want(), Want::Header(into) if into.len() == 24));
    let seen = play(&mut session, &h2c(4, 0, b"data", 0), 999);
    assert_eq!(seen.len(), 2);
    assert!(matches!(session.want(), Want::Header(into) if into.len() == 72));
}

#[test]
fn padding_is_skipped_and_never_taken_for_data() {
    for pdo in [72, 76, 80, 128, 252] {
        let mut session = plain();
        let stream = pdu(4, 0, &SQE, b"payload.", 0, pdo);
        for _ in 0..2 {
            assert_eq!(
                play(&mut session, &stream, 50),
                [
                    Seen::Command {
                        sqe: SQE,
                        in_capsule: 8
                    },
                    Seen::DataDone {
                        digest: None,
                        payload: b"payload.".to_vec()
                    },
                ]
            );
        }
    }
}

#[test]
fn cpda_is_enforced_also_when_it_is_no_power_of_two() {
    let limits = Limits {
        cpda: 4,
        ..Limits::default()
    };
    for (pdo, good) in [
        (72, false),
        (80, true),
        (84, false),
        (100, true),
        (128, false),
    ] {
        let mut session = ready(0, &limits);
        let seen = play(&mut session, &pdu(4, 0, &SQE, b"data", 0, pdo), 999);
        assert_eq!(
            seen[0] == Seen::Fatal(Violation::HeaderField(3)),
            !good,
            "PDO {pdo}"
        );
    }
}

#[test]
fn reserved_bits_are_ignored() {
    let mut stream = command(&[], 0);
    stream[1] |= 0xf8;
    stream[3] = 99;
    stream.extend(command(b"abcd", 0));
    stream[72 + 1] |= 0xf8;
    assert_eq!(play(&mut plain(), &stream, 999).len(), 3);
    let mut setup = ic_req(0xfc, 0);
    setup[1] = 0xff;
    setup[100] = 1;
    let mut session = Session::new(&Limits::default());
    assert_eq!(play(&mut session, &setup, 999), [Seen::IcReq]);
    assert!(!session.header_digest());
}

/// Every way in which the front of a PDU can be wrong, and what the C2HTermReq says of it.
#[test]
fn every_malformed_pdu_is_answered_with_the_status_the_standard_gives() {
    let with = |mut pdu: Vec<u8>, at: usize, bytes: &[u8]| {
        pdu[at..at + bytes.len()].copy_from_slice(bytes);
        pdu
    };
    let cmd = || command(b"datadata", 0);
    let data = || h2c(4, 0, b"datadata", 0);
    use Violation::*;
    for (name, stream, violation) in [
        (
            "type of the controller",
            with(cmd(), 0, &[5]),
            HeaderField(0),
        ),
        ("reserved type", with(cmd(), 0, &[8]), HeaderField(0)),
        ("unknown type", with(cmd(), 0, &[0xff]), HeaderField(0)),
        ("second ICReq", ic_req(0, 0), Sequence),
        (
            "header digest not agreed on",
            with(cmd(), 1, &[1]),
            HeaderField(1),
        ),
        (
            "data digest not agreed on",
            with(cmd(), 1, &[2]),
            HeaderField(1),
        ),
        ("HLEN of a command", with(cmd(), 2, &[71]), HeaderField(2)),
        ("HLEN of data", with(data(), 2, &[72]), HeaderField(2)),
        (
            "PDO inside the header",
            with(cmd(), 3, &[68]),
            HeaderField(3),
        ),
        ("PDO 0 with data", with(cmd(), 3, &[0]), HeaderField(3)),
        (
            "PLEN below HLEN",
            with(cmd(), 4, &71u32.to_le_bytes()),
            HeaderField(4),
        ),
        ("PLEN 0", with(cmd(), 4, &[0; 4]), HeaderField(4)),
        (
            "PLEN below PDO",
            with(with(cmd(), 3, &[76]), 4, &[74]),
            HeaderField(4),
        ),
        (
            "capsule over the limit",
            with(cmd(), 4, &(72u32 + 8193).to_le_bytes()),
            DataLimit,
        ),
        ("capsule of 4 GiB", with(cmd(), 4, &[0xff; 4]), DataLimit),
        (
            "DATAL above PLEN",
            with(data(), 16, &9u32.to_le_bytes()),
            HeaderField(16),
        ),
        (
            "DATAL below PLEN",
            with(data(), 16, &7u32.to_le_bytes()),
            HeaderField(16),
        ),
        (
            "data without any",
            with(h2c(4, 0, &[], 0), 3, &[24]),
            HeaderField(4),
        ),
        ("PDO of data", with(data(), 3, &[20]), HeaderField(3)),
    ] {
        for cut in [1, 8, 999] {
            let mut session = plain();
            ask(&mut session, 0, 8);
            let seen = play(&mut session, &stream, cut);
            assert_eq!(seen, [Seen::Fatal(violation)], "{name}, cut at {cut}");
            assert_eq!(session.want(), Want::Closed, "{name}");
        }
    }
}

#[test]
fn a_bad_setup_is_answered_with_the_status_the_standard_gives() {
    let with = |at: usize, value: u8| {
        let mut pdu = ic_req(0, 0);
        pdu[at] = value;
        pdu
    };
    for (name, stream, violation) in [
        ("a command first", command(&[], 0), Violation::Sequence),
        ("data first", h2c(4, 0, b"1234", 0), Violation::Sequence),
        ("ICResp first", with(0, 1), Violation::HeaderField(0)),
        ("HLEN", with(2, 127), Violation::HeaderField(2)),
        ("PLEN", with(5, 1), Violation::HeaderField(4)),
        ("PFV 1", with(8, 1), Violation::Unsupported(8)),
        ("PFV 256", with(9, 1), Violation::Unsupported(8)),
        ("HPDA 32", with(10, 32), Violation::HeaderField(10)),
    ] {
        for cut in [1, 10, 999] {
            let mut session = Session::new(&Limits::default());
            assert_eq!(
                play(&mut session, &stream, cut),
                [Seen::Fatal(violation)],
                "{name}"
            );
        }
    }
}

#[test]
fn a_wrong_header_digest_is_fatal_and_reported_with_the_digest_received() {
    for at in [20, 72] {
        let mut stream = command(&[], 1);
        stream[at] ^= 0x10;
        let received = u32::from_le_bytes(stream[72..76].try_into().expect("4 bytes"));
        let mut session = ready(1, &Limits::default());
        let violation = Violation::HeaderDigest(received);
        assert_eq!(play(&mut session, &stream, 999), [Seen::Fatal(violation)]);
        let mut out = PduBuf::new();
        let len = session.terminate(violation, &mut out);
        assert_eq!(len, 24 + 76);
        assert_eq!(
            out.bytes(14),
            [&[3, 0, 24, 0, 100, 0, 0, 0, 3, 0][..], &stream[72..76]].concat()
        );
        assert_eq!(out.bytes(len)[24..], stream[..76]);
    }
    let mut stream = h2c(4, 0, b"1234", 1);
    stream[13] ^= 1;
    let mut session = ready(1, &Limits::default());
    ask(&mut session, 0, 4);
    assert!(matches!(
        play(&mut session, &stream, 999)[..],
        [Seen::Fatal(Violation::HeaderDigest(_))]
    ));
}

#[test]
fn a_missing_digest_is_a_wrong_flag() {
    let mut session = ready(3, &Limits::default());
    assert_eq!(
        play(&mut session, &command(&[], 0), 72),
        [Seen::Fatal(Violation::HeaderField(1))]
    );
    let mut session = ready(2, &Limits::default());
    let seen = play(&mut session, &command(b"data", 0), 72);
    assert_eq!(seen, [Seen::Fatal(Violation::HeaderField(1))]);
}

#[test]
fn a_wrong_data_digest_is_left_to_the_caller_and_the_session_lives() {
    let mut session = ready(3, &Limits::default());
    let mut stream = command(b"data", 3);
    let at = stream.len() - 1;
    stream[at] ^= 1;
    stream.extend(command(&[], 3));
    let seen = play(&mut session, &stream, 999);
    assert_eq!(
        seen[1],
        Seen::DataDone {
            digest: Some(crc32c(b"data") ^ 1 << 24),
            payload: b"data".to_vec()
        }
    );
    assert_eq!(seen.len(), 3, "the next command is served");
}

/// CVE-2026-89969: a second ICReq made another target set up its buffers again.
#[test]
fn a_second_ic_req_changes_nothing_and_ends_the_session() {
    let mut session = ready(3, &Limits::default());
    let seen = play(&mut session, &ic_req(0, 31), 999);
    assert_eq!(seen, [Seen::Fatal(Violation::Sequence)]);
    assert!(session.header_digest() && session.data_digest());
    assert_eq!(session.c2h_pdo(), 28);
}

/// CVE-2023-52454: DATAL beyond what the PDU carries or the R2T asked for crashed another target.
#[test]
fn no_data_length_is_believed_unchecked() {
    for len in [
        0,
        1,
        4096,
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX - 23,
        u32::MAX,
    ] {
        let mut session = plain();
        ask(&mut session, 0, 4096);
        let stream = pdu(6, 4, &h2c_header(3, 0, len), b"datadata", 0, 0);
        assert_eq!(
            play(&mut session, &stream, 999),
            [Seen::Fatal(Violation::HeaderField(16))]
        );

        // The same with a PLEN that agrees.
        let mut stream = stream;
        stream[4..8].copy_from_slice(&24u32.wrapping_add(len).to_le_bytes());
        let mut session = plain();
        ask(&mut session, 0, 4096);
        let seen = play(&mut session, &stream[..24], 999);
        if len == 1 || len == 4096 {
            let Seen::H2cData(data) = seen[0] else {
                panic!("{seen:?}")
            };
            let mut write = WriteTransfer::new(7, 4096);
            write.next_r2t(4096).expect("room");
            assert_eq!(write.check(&data).is_ok(), len == 4096);
        } else {
            assert!(matches!(seen[..], [Seen::Fatal(_)]), "{len}: {seen:?}");
        }
    }
}

#[test]
fn more_than_maxh2cdata_in_one_pdu_is_a_limit_exceeded() {
    let limits = Limits {
        max_h2c_data: 4096,
        ..Limits::default()
    };
    for (len, good) in [(4096, true), (4100, false)] {
        let mut session = ready(0, &limits);
        ask(&mut session, 0, 8192);
        let seen = play(&mut session, &h2c(0, 0, &vec![0; len], 0), 9999);
        assert_eq!(seen[0] != Seen::Fatal(Violation::DataLimit), good);
    }
}

#[test]
fn data_that_nobody_asked_for_names_the_ttag() {
    for cut in [1, 8, 24, 999] {
        let mut session = plain();
        let seen = play(&mut session, &h2c(4, 0, &[0; 512], 0), cut);
        assert_eq!(seen, [Seen::Fatal(Violation::UNKNOWN_TTAG)]);
    }
}

#[test]
fn in_capsule_limits_of_admin_and_io_queues_differ() {
    let limits = Limits {
        in_capsule_io: 4096,
        ..Limits::default()
    };
    let mut session = ready(0, &limits);
    assert_eq!(play(&mut session, &command(&[0; 8192], 0), 9999).len(), 2);
    session.set_io_queue();
    assert_eq!(play(&mut session, &command(&[0; 4096], 0), 9999).len(), 2);
    let seen = play(&mut session, &command(&[0; 4097], 0), 9999);
    assert_eq!(seen, [Seen::Fatal(Violation::DataLimit)]);
}

#[test]
fn the_hosts_term_req_is_reported_and_a_malformed_one_gets_no_answer() {
    let mut pdu = vec![2, 0, 24, 0, 32, 0, 0, 0, 4, 0, 0x78, 0x56, 0x34, 0x12];
    pdu.resize(32, 0);
    for mut session in [plain(), Session::new(&Limits::default())] {
        let seen = play(&mut session, &pdu, 7);
        assert_eq!(
            seen,
            [Seen::HostTerminated {
                fes: 4,
                fei: 0x1234_5678
            }]
        );
        assert_eq!(session.want(), Want::Closed);
    }
    for (at, value) in [(2, 25), (4, 23), (4, 153), (5, 1)] {
        let mut bad = pdu.clone();
        bad[at] = value;
        let mut session = plain();
        assert_eq!(
            play(&mut session, &bad, 999),
            [Seen::Fatal(Violation::BadTermReq)]
        );
        assert_eq!(
            session.terminate(Violation::BadTermReq, &mut PduBuf::new()),
            0
        );
    }
}

#[test]
fn a_refused_header_is_sent_back() {
    let mut session = plain();
    ask(&mut session, 0, 8);
    let stream = h2c(4, 16, b"12345678", 0);
    let seen = play(&mut session, &stream[..24], 999);
    assert!(
        matches!(seen[..], [Seen::H2cData(_)]),
        "only the transfer can tell: {seen:?}"
    );
    let mut out = PduBuf::new();
    let len = session.terminate(Violation::DataOutOfRange, &mut out);
    assert_eq!(out.bytes(len)[..10], [3, 0, 24, 0, 48, 0, 0, 0, 4, 0]);
    assert_eq!(out.bytes(len)[24..], stream[..24]);
    assert_eq!(session.want(), Want::Closed);
}

#[test]
fn answers_have_the_bytes_of_the_standard() {
    let mut out = PduBuf::new();
    let mut session = plain();
    let len = session.r2t(
        0x1234,
        0x5678,
        R2tRange {
            offset: 0x1000,
            len: 0x2000,
        },
        &mut out,
        crc32c,
    );
    assert_eq!(
        out.bytes(len),
        [
            9, 0, 24, 0, 24, 0, 0, 0, 0x34, 0x12, 0x78, 0x56, 0, 0x10, 0, 0, 0, 0x20, 0, 0, 0, 0,
            0, 0
        ]
    );
    let len = session.capsule_resp(&[1, 2, 3, 0x8000_0004], &mut out, crc32c);
    assert_eq!(
        out.bytes(len),
        [
            5, 0, 24, 0, 24, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0x80
        ]
    );
    let len = session.c2h_data(9, 0x200, 0x1000, C2hEnd::Success, &mut out, crc32c);
    assert_eq!(
        out.bytes(len),
        [
            7, 12, 24, 24, 24, 0x10, 0, 0, 9, 0, 0, 0, 0, 2, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0
        ]
    );
    let session = ready(3, &Limits::default());
    let len = session.c2h_data(9, 0, 16, C2hEnd::More, &mut out, crc32c);
    assert_eq!(len, 28);
    assert_eq!(out.bytes(8), [7, 3, 24, 28, 28 + 16 + 4, 0, 0, 0]);
    assert_eq!(session.capsule_resp(&[0; 4], &mut out, crc32c), 28);
    assert_eq!(out.bytes(28)[24..], crc32c(out.bytes(24)).to_le_bytes());
}
