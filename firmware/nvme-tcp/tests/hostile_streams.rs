//! Properties that hold whatever a host sends and however TCP cuts it.

use proptest::{collection::vec, prelude::*};
use sluice_nvme_tcp::{Event, Limits, PduBuf, R2tRange, Session, Step, Want};
use sluice_wire::crc32c::crc32c;

const LIMITS: Limits = Limits {
    max_h2c_data: 4096,
    in_capsule_io: 4096,
    in_capsule_admin: 8192,
    cpda: 0,
    header_digest: true,
    data_digest: true,
};

fn ready(digests: u8) -> Session {
    let mut session = Session::new(&LIMITS);
    let mut ic_req = [0; 128];
    (ic_req[2], ic_req[4], ic_req[11]) = (128, 128, digests);
    let log = play(&mut session, &ic_req, &[128]);
    assert_eq!(log, ["IcReq"]);
    session
}

/// Plays `stream`, cut at the given lengths in turn, and returns what happened, one line each; payload is shown too.
fn play(session: &mut Session, mut stream: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut log = vec![];
    let mut payload = vec![];
    let mut cuts = cuts.iter().cycle();
    let mut out = PduBuf::new();
    while !stream.is_empty() {
        let here = *cuts.next().expect("a cycle of at least one");
        let (step, used) = match session.want() {
            Want::Header(into) => {
                let n = into.len().min(stream.len()).min(here);
                assert_ne!(n, 0);
                into[..n].copy_from_slice(&stream[..n]);
                (session.filled(n, crc32c), n)
            }
            Want::Data { left } => {
                assert!(
                    (1..=8192).contains(&left),
                    "payload beyond every limit: {left}"
                );
                let n = (left as usize).min(stream.len()).min(here);
                payload.extend_from_slice(&stream[..n]);
                (session.moved(n as u32), n)
            }
            Want::Closed => break,
        };
        stream = &stream[used..];
        match step {
            Step::More => {}
            Step::Event(event) => {
                if let Event::H2cData(data) = event {
                    assert!((1..=LIMITS.max_h2c_data).contains(&data.len));
                }
                log.push(format!("{event:?}"));
                if let Event::DataDone { .. } = event {
                    log.push(format!("{payload:02x?}"));
                    payload.clear();
                }
            }
            Step::Fatal(violation) => {
                log.push(format!("{violation:?}"));
                assert!(session.terminate(violation, &mut out) <= 152);
            }
        }
    }
    log
}

/// PDUs that are right but for what one changed byte does to them.
fn nearly_good(digests: u8) -> impl Strategy<Value = Vec<u8>> {
    let one = (
        any::<bool>(),
        0usize..600,
        any::<bool>(),
        prop::option::of((0usize..80, any::<u8>())),
    )
        .prop_map(move |(is_data, len, last, damage)| {
            let header = if is_data { 24 } else { 72 };
            let front = header + if digests & 1 != 0 { 4 } else { 0 };
            let tail = if digests & 2 != 0 && len > 0 { 4 } else { 0 };
            let mut pdu = vec![0; front];
            pdu[0] = if is_data { 6 } else { 4 };
            pdu[1] = digests & if len > 0 { 3 } else { 1 } | if is_data && last { 4 } else { 0 };
            pdu[2] = header as u8;
            pdu[3] = if len > 0 { front as u8 } else { 0 };
            pdu[4..8].copy_from_slice(&((front + len + tail) as u32).to_le_bytes());
            if is_data {
                pdu[16..20].copy_from_slice(&(len as u32).to_le_bytes());
            }
            if digests & 1 != 0 {
                let digest = crc32c(&pdu[..header]);
                pdu[header..].copy_from_slice(&digest.to_le_bytes());
            }
            pdu.extend((0..len + tail).map(|i| i as u8));
            if let Some((at, value)) = damage
                && let Some(byte) = pdu.get_mut(at)
            {
                *byte = value;
            }
            pdu
        });
    vec(one, 1..8).prop_map(|pdus| pdus.concat())
}

fn asked(digests: u8, r2ts: u8) -> Session {
    let mut session = ready(digests);
    for _ in 0..r2ts {
        let range = R2tRange {
            offset: 0,
            len: 4096,
        };
        session.r2t(0, 0, range, &mut PduBuf::new(), crc32c);
    }
    session
}

proptest! {
    #[test]
    fn any_bytes_in_any_split_never_panic(
        digests in 0u8..4,
        r2ts in 0u8..3,
        stream in vec(any::<u8>(), 0..400),
        cuts in vec(1usize..100, 1..8),
    ) {
        play(&mut asked(digests, r2ts), &stream, &cuts);
        play(&mut Session::new(&LIMITS), &stream, &cuts);
    }

    #[test]
    fn how_tcp_cuts_the_stream_makes_no_difference(
        (digests, stream) in (0u8..4).prop_flat_map(|d| (Just(d), nearly_good(d))),
        r2ts in 0u8..4,
        cuts in vec(1usize..100, 1..8),
    ) {
        let whole = play(&mut asked(digests, r2ts), &stream, &[usize::MAX]);
        let cut = play(&mut asked(digests, r2ts), &stream, &cuts);
        // A fatal header may be recognised from its first 8 bytes or only as a whole, and then another field be named.
        let fatal = |log: &[String]| log.last().is_some_and(|l| l.starts_with("Header") || l == "Sequence");
        if fatal(&whole) || fatal(&cut) {
            prop_assert_eq!(&whole[..whole.len() - 1], &cut[..cut.len() - 1]);
        } else {
            prop_assert_eq!(whole, cut);
        }
    }

    #[cfg(feature = "fuzz")]
    #[test]
    fn the_fuzz_entry_takes_any_bytes(data in vec(any::<u8>(), 0..600)) {
        sluice_nvme_tcp::fuzz::fuzz_one(&data);
    }
}
