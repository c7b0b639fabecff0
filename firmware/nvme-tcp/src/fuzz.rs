//! Entry points for the fuzzer: any bytes are a fine input, and a panic is a finding.

use sluice_wire::crc32c::crc32c;

use crate::{Event, H2cData, Limits, PduBuf, Session, Step, Want, WriteTransfer};

/// Plays `data` to a session as a host's stream. The first bytes choose limits, whether a good ICReq goes before, and how
/// the stream is cut.
///
/// # Panics
/// When the session announces data beyond its limits: that is what the fuzzer looks for.
pub fn fuzz_one(data: &[u8]) {
    let Some((&[setup, cut, cpda, r2ts], stream)) = data.split_first_chunk::<4>() else {
        return;
    };
    let limits = Limits {
        max_h2c_data: 8192,
        in_capsule_io: 4096,
        cpda: cpda & 31,
        header_digest: setup & 1 != 0,
        data_digest: setup & 2 != 0,
        ..Limits::default()
    };
    let mut session = Session::new(&limits);
    let mut out = PduBuf::new();
    if setup & 4 != 0 {
        let mut ic_req = [0; 128];
        ic_req[2] = 128;
        ic_req[4] = 128;
        ic_req[11] = setup & 3;
        play(&mut session, &ic_req, 128, &mut out);
    }
    let mut write = WriteTransfer::new(1, 8192);
    for _ in 0..r2ts & 3 {
        if let Some(range) = write.next_r2t(8192) {
            session.r2t(1, 0, range, &mut out, crc32c);
        }
    }
    play(&mut session, stream, usize::from(cut) + 1, &mut out);
}

fn play(session: &mut Session, mut stream: &[u8], cut: usize, out: &mut PduBuf) {
    let mut write = WriteTransfer::new(1, 8192);
    write.next_r2t(8192);
    while !stream.is_empty() {
        let (step, used) = match session.want() {
            Want::Header(into) => {
                let n = into.len().min(stream.len()).min(cut);
                into[..n].copy_from_slice(&stream[..n]);
                (session.filled(n, crc32c), n)
            }
            Want::Data { left } => {
                let n = (left as usize).min(stream.len());
                (session.moved(n as u32), n)
            }
            Want::Closed => return,
        };
        stream = &stream[used..];
        match step {
            Step::Event(Event::Command { in_capsule, .. }) => assert!(in_capsule <= 8192),
            Step::Event(Event::H2cData(data)) => check(&mut write, &data),
            Step::Fatal(violation) => assert!(session.terminate(violation, out) <= 152),
            Step::More | Step::Event(_) => {}
        }
    }
}

fn check(write: &mut WriteTransfer, data: &H2cData) {
    assert!((1..=8192).contains(&data.len));
    if write.check(data).is_ok() {
        assert!(
            data.offset
                .checked_add(data.len)
                .is_some_and(|end| end <= write.total())
        );
    }
}
