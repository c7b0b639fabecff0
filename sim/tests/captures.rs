//! Sessions of a real Linux host with a real Linux target, replayed: the host's side into the firmware's NVMe/TCP machine, the
//! target's side into the initiator's parser. Every PDU has to be accepted and every digest has to be right.

#[path = "captures/rdma.rs"]
mod rdma;
#[path = "captures/streams.rs"]
mod streams;

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

use sluice_nvme_tcp::{Event, Limits, PduBuf, R2tRange, Session, Step, Want, WriteTransfer};
use sluice_sim::{
    initiator::pdu::{self, Pdu, Terms},
    pcap,
};
use sluice_wire::{crc32c, nvme_tcp::PduType};
use streams::Connection;

/// What a replay saw.
#[derive(Default, Debug, PartialEq, Eq)]
struct Seen {
    connections: usize,
    commands: usize,
    in_capsule_bytes: usize,
    h2c_data: usize,
    h2c_bytes: usize,
    data_digests: usize,
    responses: usize,
    c2h_data: usize,
    r2ts: usize,
}

impl Seen {
    /// All PDUs, with the two of the setup per connection.
    fn pdus(&self) -> usize {
        self.connections * 2
            + self.commands
            + self.h2c_data
            + self.responses
            + self.c2h_data
            + self.r2ts
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data/captures")
        .join(name)
}

/// The target's PDUs. Returns the ranges its R2Ts asked for, by TTAG, in order.
fn replay_target(
    stream: &[u8],
    seen: &mut Seen,
) -> (Terms, BTreeMap<u16, VecDeque<(u16, R2tRange)>>) {
    let mut terms = Terms::PLAIN;
    let mut asked: BTreeMap<u16, VecDeque<_>> = BTreeMap::new();
    let mut at = 0;
    while let Some(len) = pdu::pdu_len(&stream[at..]) {
        let Some(whole) = stream.get(at..at + len) else {
            break;
        };
        match pdu::parse(whole, &terms).unwrap_or_else(|problem| panic!("byte {at}: {problem}")) {
            Pdu::IcResp(resp) => {
                terms.header_digest = resp.digests & 1 != 0;
                terms.data_digest = resp.digests & 2 != 0;
                terms.max_h2c_data = resp.max_h2c_data.get();
                seen.connections += 1;
            }
            Pdu::Response(_) => seen.responses += 1,
            Pdu::Data { .. } => {
                seen.c2h_data += 1;
                seen.data_digests += usize::from(terms.data_digest);
            }
            Pdu::R2t {
                cid,
                ttag,
                offset,
                len,
            } => {
                seen.r2ts += 1;
                asked
                    .entry(ttag)
                    .or_default()
                    .push_back((cid, R2tRange { offset, len }));
            }
            Pdu::TermReq { fes, fei } => panic!("C2HTermReq {fes} {fei}"),
        }
        at += len;
    }
    (terms, asked)
}

/// The host's stream into the firmware's machine, cut into pieces of at most `cut` bytes.
fn replay(connection: &Connection, cut: usize, seen: &mut Seen) {
    let (terms, mut asked) = replay_target(&connection.from_target, seen);
    let limits = Limits {
        max_h2c_data: terms.max_h2c_data,
        in_capsule_io: 16 << 10,
        ..Limits::default()
    };
    let limits = Limits {
        in_capsule_admin: 16 << 10,
        ..limits
    };
    let mut session = Session::new(&limits);
    let mut transfer = WriteTransfer::default();
    let mut stream = &connection.from_host[..];
    let mut digest = 0;
    while !stream.is_empty() {
        let (step, used) = match session.want() {
            Want::Header(into) => {
                let n = into.len().min(stream.len()).min(cut);
                into[..n].copy_from_slice(&stream[..n]);
                (session.filled(n, crc32c::crc32c), n)
            }
            Want::Data { left } => {
                let n = (left as usize).min(stream.len()).min(cut);
                digest = crc32c::resume(digest, &stream[..n]);
                (session.moved(n as u32), n)
            }
            Want::Closed => panic!("the session closed {} bytes before the end", stream.len()),
        };
        stream = &stream[used..];
        match step {
            Step::More => {}
            Step::Fatal(violation) => panic!("{violation:?} {} bytes before the end", stream.len()),
            Step::Event(Event::IcReq) => {
                assert_eq!(session.header_digest(), terms.header_digest);
                assert_eq!(session.data_digest(), terms.data_digest);
                for (_, range) in asked.values().flatten() {
                    session.r2t(0, 0, *range, &mut PduBuf::new(), crc32c::crc32c);
                }
            }
            Step::Event(Event::Command { in_capsule, .. }) => {
                seen.commands += 1;
                seen.in_capsule_bytes += in_capsule as usize;
                digest = crc32c::crc32c(&[]);
            }
            Step::Event(Event::H2cData(data)) => {
                if !transfer.is_waiting() {
                    let next = asked.get_mut(&data.ttag).and_then(VecDeque::pop_front);
                    let (cid, range) = next.unwrap_or_else(|| panic!("no R2T for {data:?}"));
                    assert_eq!(range.offset, 0, "these captures ask for whole commands");
                    transfer = WriteTransfer::new(cid, range.len);
                    transfer.next_r2t(range.len);
                }
                transfer
                    .check(&data)
                    .unwrap_or_else(|violation| panic!("{violation:?}: {data:?}"));
                seen.h2c_data += 1;
                seen.h2c_bytes += data.len as usize;
                digest = crc32c::crc32c(&[]);
            }
            Step::Event(Event::DataDone { digest: received }) => {
                assert_eq!(received.is_some(), terms.data_digest);
                if let Some(received) = received {
                    assert_eq!(received, digest, "data digest");
                    seen.data_digests += 1;
                }
            }
            Step::Event(Event::HostTerminated { fes, fei }) => panic!("H2CTermReq {fes} {fei}"),
        }
    }
}

fn replay_file(name: &str, cut: usize) -> Seen {
    let packets = pcap::read(&path(name)).unwrap_or_else(|error| panic!("{error}"));
    let mut seen = Seen::default();
    let connections = streams::connections(&packets);
    assert!(!connections.is_empty(), "{name}: no connections");
    for connection in &connections {
        replay(connection, cut, &mut seen);
    }
    seen
}

#[test]
fn every_pdu_of_a_linux_host_is_accepted_and_counted_as_tshark_counts() {
    for name in [
        "a_tcp_plain.pcap",
        "b_tcp_hdgst_ddgst.pcap",
        "h_tcp_errors.pcap",
        "i_tcp_aen_ns_change.pcap",
        "j_tcp_2queues_fio.pcap",
        "k_tcp_mtu4200_digests.pcap",
        "l_tcp_reconnect.pcap",
    ] {
        let seen = replay_file(name, usize::MAX);
        assert!(seen.commands > 20, "{name}: {seen:?}");
        let report = pcap::check_with_tshark(&path(name)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(seen.pdus(), report.pdus, "{name}: {seen:?}");
        assert_eq!(
            seen.data_digests, report.good_data_digests,
            "{name}: {seen:?}"
        );
    }
}

#[test]
fn however_the_stream_is_cut_the_same_pdus_come_out() {
    for name in ["b_tcp_hdgst_ddgst.pcap", "j_tcp_2queues_fio.pcap"] {
        let whole = replay_file(name, usize::MAX);
        for cut in [1, 7, 100, 1460] {
            assert_eq!(replay_file(name, cut), whole, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn both_digests_of_a_linux_host_are_verified() {
    for (name, least) in [
        ("b_tcp_hdgst_ddgst.pcap", 30),
        ("k_tcp_mtu4200_digests.pcap", 30),
    ] {
        let seen = replay_file(name, usize::MAX);
        assert!(
            seen.data_digests > least && seen.h2c_data > 1,
            "{name}: {seen:?}"
        );
    }
}

#[test]
fn sessions_with_loss_reordering_and_duplication_replay_to_the_end() {
    let clean = replay_file("b_tcp_hdgst_ddgst.pcap", usize::MAX);
    for name in ["e1_tcp_loss2.pcap", "e2_tcp_loss2_reorder_dup.pcap"] {
        let seen = replay_file(name, usize::MAX);
        assert!(
            seen.h2c_bytes + seen.in_capsule_bytes >= clean.h2c_bytes / 2,
            "{name}: {seen:?}"
        );
        assert!(seen.commands * 2 > clean.commands, "{name}: {seen:?}");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_header_is_caught_by_its_digest_or_before() {
    let packets =
        pcap::read(&path("b_tcp_hdgst_ddgst.pcap")).unwrap_or_else(|error| panic!("{error}"));
    let connection = &streams::connections(&packets)[0];
    let mut terms = Seen::default();
    assert!(
        replay_target(&connection.from_target, &mut terms)
            .0
            .header_digest
    );
    // The first command follows the ICReq: 72 bytes and its digest.
    assert_eq!(connection.from_host[128], PduType::CapsuleCmd as u8);
    for bit in 0..76 * 8 {
        let mut stream = connection.from_host[..128 + 76].to_vec();
        stream[128 + bit / 8] ^= 1 << (bit % 8);
        let mut session = Session::new(&Limits::default());
        let mut fatal = false;
        let mut rest = &stream[..];
        while let (Want::Header(into), false) = (session.want(), rest.is_empty()) {
            let n = into.len().min(rest.len());
            into[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            fatal |= matches!(session.filled(n, crc32c::crc32c), Step::Fatal(_));
        }
        assert!(fatal, "bit {bit}");
    }
}
