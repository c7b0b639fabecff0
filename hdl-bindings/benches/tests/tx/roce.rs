//! RoCE through tx: messages of every kind, cut at every MTU, whole and taken up in their middle, against the software model.

use sluice_benches::{frames::Recipe, random::Random, tx_model::Job};
use sluice_hal::{
    PmAddr, PmSlice,
    roce::{AckRule, Remote, RoceJob, RoceMessage},
};

use super::{Tx, jobs, place, scatter};

fn message(random: &mut Random, kind: u64) -> RoceMessage {
    let word = random.bits() as u32;
    let remote = Remote {
        va: random.bits(),
        rkey: random.bits() as u32,
        len: random.bits() as u32,
    };
    match kind {
        0 => RoceMessage::Send,
        1 => RoceMessage::SendInvalidate(word),
        2 => RoceMessage::Write(remote),
        3 => RoceMessage::ReadResponse(word),
        4 => RoceMessage::ReadRequest(remote),
        5 => RoceMessage::Acknowledge(word),
        6 => RoceMessage::Cnp,
        8 | 9 => RoceMessage::WriteSend {
            remote,
            invalidate: kind == 9,
        },
        _ => RoceMessage::Datagram {
            qkey: word,
            src_qp: random.bits() as u32,
        },
    }
}

/// A job with everything random but its message, MTU and payload; its template and payload lie in `memory` from `at` on.
fn job(
    random: &mut Random,
    memory: &mut [u8],
    at: &mut u32,
    message: RoceMessage,
    mtu_code: u8,
    payload: usize,
) -> RoceJob {
    let recipe = Recipe {
        vlan: random.chance(40).then(|| random.bits() as u16),
        v6: random.chance(40),
        ip_options: 0,
        protocol: 17,
        payload: Vec::new(),
        padding: 0,
        ..Recipe::random(random)
    };
    let template = recipe.build(random);
    let mut job = RoceJob::new(message, random.range(0, 0xff_ffff) as u32, 0);
    let psn = random.bits() as u32 & 0xff_ffff;
    job.psn = random.pick(&[0, 1, 0xff_fffe, 0xff_ffff, psn]);
    job.template = PmAddr(place(random, memory, at, &template));
    (job.vlan, job.ipv6, job.mtu_code) = (recipe.vlan.is_some(), recipe.v6, mtu_code);
    job.solicited = random.chance(50);
    job.ack = AckRule {
        last: random.chance(50),
        every: random.pick(&[0, 0, 1, 2, 3, 16, 255]),
    };
    let bytes = random.fill(payload);
    let mut pieces = Job::default();
    scatter(random, memory, at, &bytes, &mut pieces);
    job.gather = pieces
        .gather
        .map(|(addr, len)| PmSlice::new(PmAddr(addr), len));
    job.gather_len = pieces.gather_len;
    job
}

/// A job of a random kind that can be sent.
fn any(random: &mut Random, memory: &mut [u8], at: &mut u32) -> RoceJob {
    let kind = random.range(0, 9);
    let message = message(random, kind);
    let mtu_code = random.range(1, 5) as u8;
    let mtu = 128_usize << mtu_code;
    if kind >= 8 {
        return write_and_send(random, memory, at, message, mtu_code);
    }
    let middle = kind < 4 && random.chance(40);
    let payload = match kind {
        0..=3 if middle => mtu * random.size(1, 4),
        0..=3 => match random.range(0, 3) {
            0 => random.size(0, 100),
            1 => mtu * random.size(0, 4),
            _ => random.size(0, mtu * 5),
        },
        4..=6 => 0,
        _ => random.size(0, mtu.min(256)),
    };
    let mut job = job(random, memory, at, message, mtu_code, payload);
    if middle {
        (job.starts, job.ends) = (random.chance(50), random.chance(50));
    } else if kind < 4 {
        job.starts = random.chance(70);
    }
    job
}

/// A WRITE of one to three pieces, begun here or before, and a SEND of up to an MTU.
fn write_and_send(
    random: &mut Random,
    memory: &mut [u8],
    at: &mut u32,
    message: RoceMessage,
    mtu_code: u8,
) -> RoceJob {
    let mtu = 128_usize << mtu_code;
    let mut job = job(random, memory, at, message, mtu_code, 0);
    job.starts = random.chance(70);
    job.gather_len = 0;
    let mut add = |random: &mut Random, len: usize| {
        let bytes = random.fill(len);
        let piece = PmSlice::new(PmAddr(place(random, memory, at, &bytes)), len as u32);
        job.gather[usize::from(job.gather_len)] = piece;
        job.gather_len += 1;
    };
    for _ in 0..random.range(1, 3) {
        let len = match random.range(0, 2) {
            0 => random.size(1, 100),
            1 => mtu * random.size(1, 3),
            _ => random.size(1, mtu * 4),
        };
        add(random, len);
    }
    let any = random.size(1, mtu);
    let len = random.pick(&[16, 16, 1, any, mtu]);
    add(random, len);
    job
}

fn spoil(random: &mut Random, job: &mut RoceJob) {
    match random.range(0, 5) {
        5 => {
            // A WRITE without payload, a SEND without or with too much.
            job.message = message(random, 8);
            (job.mtu_code, job.ends) = (1, random.chance(70));
            (job.gather[0].len, job.gather[1].len) = random.pick(&[(0, 16), (300, 0), (300, 257)]);
            job.gather_len = random.pick(&[0, 1, 2]);
        }
        0 => job.mtu_code = random.pick(&[0, 6, 7]),
        1 => job.gather_len = random.range(5, 7) as u8,
        2 => {
            job.ends = false;
            job.gather_len = 1;
            job.gather[0].len = 255;
        }
        3 => {
            job.ends = false;
            job.gather_len = 0;
        }
        _ => {
            job.message = RoceMessage::Acknowledge(1);
            job.gather_len = 1;
            job.gather[0].len = 4;
        }
    }
}

#[test]
fn messages_become_the_packets_the_model_makes_at_full_speed_and_stalling() {
    for (seed, grant, wire, post) in [
        (61, 100, 100, 100),
        (62, 50, 100, 30),
        (63, 100, 40, 100),
        (64, 20, 90, 100),
        (65, 90, 20, 100),
    ] {
        let mut random = Random::new(seed);
        let mut tx = Tx::new(grant, wire, post);
        let mut at = 0x80_0000;
        let others = jobs(&mut random, &mut tx.memory, 30);
        let mut list = Vec::new();
        for other in others {
            for _ in 0..random.range(1, 6) {
                let mut job = any(&mut random, &mut tx.memory, &mut at);
                if random.chance(8) {
                    spoil(&mut random, &mut job);
                }
                list.push(Job::from(job));
            }
            list.push(other);
        }
        tx.check(&mut random, &list);
    }
}

#[test]
fn every_length_around_a_packet_boundary_is_cut_and_padded_right() {
    let mut random = Random::new(66);
    let mut tx = Tx::new(100, 100, 100);
    let mut at = 0x10_0000;
    let mut list = Vec::new();
    for mtu_code in 1..=5 {
        let mtu = 128 << mtu_code;
        for payload in (0..20)
            .chain(mtu - 20..mtu + 20)
            .chain(2 * mtu - 1..2 * mtu + 2)
        {
            let kind = random.range(0, 3);
            let message = message(&mut random, kind);
            list.push(
                job(
                    &mut random,
                    &mut tx.memory,
                    &mut at,
                    message,
                    mtu_code,
                    payload,
                )
                .into(),
            );
        }
    }
    tx.check(&mut random, &list);
}

#[test]
fn a_message_taken_up_at_any_packet_has_the_packets_it_had() {
    let mut random = Random::new(67);
    let mut tx = Tx::new(100, 100, 100);
    let mut at = 0x10_0000;
    for kind in 0..4 {
        let message = message(&mut random, kind);
        let mut whole = job(&mut random, &mut tx.memory, &mut at, message, 1, 1000);
        let bytes = random.fill(1000);
        whole.gather[0] = PmSlice::new(
            PmAddr(place(&mut random, &mut tx.memory, &mut at, &bytes)),
            1000,
        );
        whole.gather_len = 1;
        whole.ack.every = 0;
        let all = Job::from(whole).frames(&tx.memory);
        assert_eq!(all.len(), 4);
        for from in 0..4_u32 {
            let mut rest = whole;
            rest.starts = from == 0;
            rest.psn = (whole.psn + from) & 0xff_ffff;
            rest.gather[0] = PmSlice::new(whole.gather[0].addr.plus(from * 256), 1000 - from * 256);
            assert_eq!(Job::from(rest).frames(&tx.memory), all[from as usize..]);
            let before = tx.memory.clone();
            tx.check(&mut random, &[rest.into()]);
            tx.memory = before;
        }
    }
}
