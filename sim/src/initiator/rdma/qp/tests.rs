//! One queue pair against packets of the test's making, and two against each other over a wire that loses and doubles.

use proptest::{prelude::*, test_runner::TestCaseError};
use sluice_wire::roce::{Aeth, Opcode, Reth, Syndrome};

use super::*;
use crate::initiator::rdma::memory::Access;

fn config(mtu: usize) -> QpConfig {
    QpConfig {
        qpn: 2,
        remote_qpn: 3,
        send_psn: 0xff_fffe,
        recv_psn: 0xff_fff0,
        mtu,
        timeout: 1000,
        retries: 7,
        rnr_retries: 7,
        rnr_timer: 1,
        max_reads: 2,
        read_resources: 2,
        resume_as_first: false,
        receive_len: 3000,
    }
}

/// A packet that a peer gone mad might send: lengths and numbers near those that matter.
fn any_packet() -> impl Strategy<Value = Packet> {
    let opcode = proptest::sample::select(Opcode::ALL);
    let psn = prop_oneof![Just(0xff_fff0u32), Just(0xff_fffe), Just(0)];
    let len = proptest::sample::select(&[0usize, 1, 4, 255, 256, 257, 1024][..]);
    let long = proptest::sample::select(&[0u32, 1, 256, 600, 1 << 31][..]);
    let reth = (0u64..3, 0u32..3, long);
    let aeth = any::<u32>().prop_map(|word| Aeth((word & 0x7f00_00ff).into()));
    let place = (psn, 0u32..40).prop_map(|(psn, by)| psn.wrapping_add(by).wrapping_sub(8));
    (opcode, place, len, reth, aeth, any::<bool>()).prop_map(
        |(opcode, psn, len, (at, key, long), aeth, ack_req)| {
            let mut packet = Packet::new(opcode, 2, psn, vec![1; len]);
            packet.ack_req = ack_req;
            packet.reth = opcode.has_reth().then(|| Reth {
                va: (u64::MAX - 700 + at * 300).into(),
                rkey: key.into(),
                len: long.into(),
            });
            packet.aeth = opcode.has_aeth().then_some(aeth);
            packet.word = Some(key).filter(|_| ack_req);
            packet
        },
    )
}

proptest! {
    #[test]
    fn whatever_comes_there_is_no_panic_and_one_failure_at_most(
        packets in proptest::collection::vec(any_packet(), 1..60),
        large: bool,
    ) {
        let mut memory = Memory::new(1);
        memory.put(1, u64::MAX - 700, vec![0; 600], Access::Write);
        memory.put(2, u64::MAX - 700, vec![9; 600], Access::Read);
        let mut qp = Qp::new(config(if large { 1024 } else { 256 }));
        qp.post_receives(2);
        let bytes = vec![7; 900];
        qp.post(1, Work::Send { bytes: bytes.clone(), invalidate: None });
        qp.post(2, Work::Read { va: 0, rkey: 0, len: 2000 });
        qp.post(3, Work::Write { va: 0, rkey: 0, bytes });
        for (now, packet) in (0..).map(|n| n * 300).zip(&packets) {
            qp.receive(now, packet, &mut memory);
            qp.advance(now);
            while let Some(packet) = qp.take_packet() {
                prop_assert!(packet.payload.len() <= qp.config().mtu);
            }
        }
        let failures = std::iter::from_fn(|| qp.take_event())
            .filter(|event| matches!(event, Event::Failed(_)));
        prop_assert!(failures.count() <= 1);
    }

    /// Two queue pairs, and a wire that loses and doubles: everything arrives once, in order, as it was.
    #[test]
    fn what_is_sent_arrives_whatever_is_lost(
        fates in proptest::collection::vec(0u8..8, 1..400),
        lens in proptest::collection::vec(0usize..900, 1..12),
    ) {
        arrives(fates, &lens)?;
    }
}

fn arrives(fates: Vec<u8>, lens: &[usize]) -> Result<(), TestCaseError> {
    let mut fates = fates.into_iter();
    let mut a = Qp::new(config(256));
    let mut b = Qp::new(QpConfig {
        qpn: 3,
        remote_qpn: 2,
        send_psn: 0xff_fff0,
        recv_psn: 0xff_fffe,
        ..config(256)
    });
    let (mut memory_a, mut memory_b) = (Memory::new(1), Memory::new(2));
    memory_b.put(5, 0, vec![0; 1000], Access::Write);
    memory_b.put(6, 0, (0..1000).map(|n| n as u8).collect(), Access::Read);
    b.post_receives(100);
    for (id, len) in (0..).zip(lens) {
        a.post(id, work(id, *len));
    }
    let (mut done, mut messages) = (vec![], vec![]);
    for now in (0..2_000_000).step_by(100) {
        a.advance(now);
        b.advance(now);
        let forth: Vec<Packet> = std::iter::from_fn(|| a.take_packet()).collect();
        let back: Vec<Packet> = std::iter::from_fn(|| b.take_packet()).collect();
        let mut carry = |packets: Vec<Packet>, to: &mut Qp, memory: &mut Memory| {
            for packet in packets {
                let times = match fates.next() {
                    Some(0) => 0,
                    Some(1) => 2,
                    _ => 1,
                };
                (0..times).for_each(|_| to.receive(now, &packet, memory));
            }
        };
        carry(forth, &mut b, &mut memory_b);
        carry(back, &mut a, &mut memory_a);
        while let Some(event) = a.take_event() {
            match event {
                Event::Done(id, data) => {
                    let wanted = (20..).map(|n| n as u8).take(lens[id as usize]);
                    prop_assert!(id % 3 != 2 || data.into_iter().eq(wanted));
                    done.push(id);
                }
                // Eight losses in a row may happen.
                Event::Failed(RcError::Retries) => return Ok(()),
                other => prop_assert!(false, "{other:?}"),
            }
        }
        messages.extend(std::iter::from_fn(|| b.take_event()));
        if done.len() == lens.len() {
            break;
        }
    }
    prop_assert_eq!(done, (0..lens.len() as u64).collect::<Vec<_>>());
    let sends = (0..).zip(lens).filter(|(id, _)| id % 3 == 0);
    let wanted: Vec<Event> = sends
        .map(|(id, len)| Event::Received(vec![id; *len], None))
        .collect();
    prop_assert_eq!(messages, wanted);
    Ok(())
}

fn work(id: u64, len: usize) -> Work {
    let bytes = vec![id as u8; len];
    match id % 3 {
        0 => Work::Send {
            bytes,
            invalidate: None,
        },
        1 => Work::Write {
            va: 10,
            rkey: 5,
            bytes,
        },
        _ => Work::Read {
            va: 20,
            rkey: 6,
            len: len as u32,
        },
    }
}

#[test]
fn sequence_numbers_wrap() {
    assert_eq!(distance(1, 0xff_ffff), 2);
    assert_eq!(distance(0xff_ffff, 1), -2);
    assert_eq!(distance(0x80_0000, 0), -0x80_0000);
    assert_eq!(after(0xff_ffff, 2), 1);
}

/// The host's queue pair, with a packet given to it at clock 0; what it sends.
fn answers(qp: &mut Qp, memory: &mut Memory, packet: &Packet) -> Vec<Packet> {
    qp.receive(0, packet, memory);
    std::iter::from_fn(|| qp.take_packet()).collect()
}

fn send(psn: u32, ack_req: bool) -> Packet {
    let mut packet = Packet::new(Opcode::SendOnly, 2, psn, vec![1; 16]);
    packet.ack_req = ack_req;
    packet
}

fn verdicts(packets: &[Packet]) -> Vec<(u32, Syndrome, u32)> {
    let verdict = |p: &Packet| {
        let aeth = p.aeth.expect("an AETH");
        (p.psn, aeth.syndrome().expect("a verdict"), aeth.msn())
    };
    packets.iter().map(verdict).collect()
}

#[test]
fn only_what_asks_for_it_is_acknowledged_and_a_gap_is_reported_once() {
    let (mut qp, mut memory) = (Qp::new(config(256)), Memory::new(1));
    qp.post_receives(10);
    let mut say = |psn: u32, ack_req| {
        let sent = answers(&mut qp, &mut memory, &send(psn, ack_req));
        verdicts(&sent)
    };
    let nak = Syndrome::Nak(NakCode::SequenceError);
    assert_eq!(say(0xff_fff0, false), []);
    assert_eq!(say(0xff_fff1, true), [(0xff_fff1, Syndrome::ACK, 2)]);
    // 2 is lost.
    assert_eq!(say(0xff_fff3, true), [(0xff_fff2, nak, 2)]);
    assert_eq!(say(0xff_fff4, true), []);
    assert_eq!(say(0xff_fff2, true), [(0xff_fff2, Syndrome::ACK, 3)]);
    // The next gap is another one; what came before is acknowledged again whether it asks or not.
    assert_eq!(say(0xff_fff4, true), [(0xff_fff3, nak, 3)]);
    assert_eq!(say(0xff_fff1, false), [(0xff_fff2, Syndrome::ACK, 3)]);
}

#[test]
fn a_read_is_answered_again_from_where_it_is_asked_for() {
    for resume_as_first in [false, true] {
        let mut memory = Memory::new(1);
        let data: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        memory.put(6, 0x1000, data.clone(), Access::Read);
        let mut qp = Qp::new(QpConfig {
            resume_as_first,
            ..config(256)
        });
        let mut ask = |psn: u32, va: u64, len: u32| {
            let mut packet = Packet::new(Opcode::ReadRequest, 2, psn, vec![]);
            packet.reth = Some(Reth {
                va: va.into(),
                rkey: 6.into(),
                len: len.into(),
            });
            let sent = answers(&mut qp, &mut memory, &packet);
            let opcodes: Vec<Opcode> = sent.iter().map(|p| p.opcode).collect();
            let bytes: Vec<u8> = sent.into_iter().flat_map(|p| p.payload).collect();
            (opcodes, bytes)
        };
        use Opcode::{
            ReadResponseFirst as First, ReadResponseLast as Last, ReadResponseMiddle as Middle,
            ReadResponseOnly as Only,
        };
        assert_eq!(
            ask(0xff_fff0, 0x1000, 1000),
            (vec![First, Middle, Middle, Last], data.clone())
        );
        let again = if resume_as_first { First } else { Middle };
        assert_eq!(
            ask(0xff_fff2, 0x1200, 488),
            (vec![again, Last], data[512..].to_vec())
        );
        let end = if resume_as_first { Only } else { Last };
        assert_eq!(
            ask(0xff_fff3, 0x1300, 232),
            (vec![end], data[768..].to_vec())
        );
        // Not what was asked for the first time: no answer.
        assert_eq!(ask(0xff_fff2, 0x1204, 484), (vec![], vec![]));
        assert_eq!(ask(0xff_fff2, 0x1200, 489), (vec![], vec![]));
    }
}

#[test]
fn patience_with_a_peer_that_has_no_receives_ends_when_it_is_told_to() {
    let mut memory = Memory::new(1);
    let mut qp = Qp::new(QpConfig {
        rnr_retries: 2,
        ..config(256)
    });
    qp.post(
        1,
        Work::Send {
            bytes: vec![0; 64],
            invalidate: None,
        },
    );
    qp.advance(0);
    let mut busy = Packet::new(Opcode::Acknowledge, 2, 0xff_fffe, vec![]);
    busy.aeth = Some(Aeth::new(Syndrome::RnrNak(1), 0));
    for (sent, now) in [(1, 0), (1, 2500), (1, 5000), (0, 7500)] {
        qp.advance(now);
        assert_eq!(
            std::iter::from_fn(|| qp.take_packet()).count(),
            sent,
            "{now}"
        );
        qp.receive(now, &busy, &mut memory);
        // Not a clock earlier.
        qp.advance(now + 2499);
        assert!(qp.take_packet().is_none());
    }
    assert_eq!(qp.take_event(), Some(Event::Failed(RcError::RnrRetries)));
}

#[test]
fn a_peer_that_is_silent_is_given_up_after_all_retries() {
    let mut qp = Qp::new(config(256));
    qp.post(
        1,
        Work::Send {
            bytes: vec![0; 600],
            invalidate: None,
        },
    );
    let mut sent = 0;
    for now in 0..10_000 {
        qp.advance(now);
        sent += std::iter::from_fn(|| qp.take_packet()).count();
    }
    // Three packets, once and seven times more.
    assert_eq!((sent, qp.in_vain()), (24, 7));
    assert_eq!(qp.take_event(), Some(Event::Failed(RcError::Retries)));
    assert_eq!(qp.next_poll(), None);
}
