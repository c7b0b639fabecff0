//! Peers that mean harm, or are many: floods, injected segments, overlaps, garbage, exhaustion.

mod support;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_net::{CloseReason, Event};
use sluice_wire::tcp::{ACK, FIN, Options, PSH, RST, SYN};
use support::script::*;
use support::{CARD_IP, CARD_MAC};

#[test]
fn a_syn_flood_leaves_bounded_state_and_live_connections_alone() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(false);
    for i in 0..5000u32 {
        let mut syn = Seg::new(SYN, i * 7919, 0).port(1024 + (i % 60_000) as u16);
        syn.options.mss = Some(1460);
        s.put(&syn);
        assert_eq!(s.one().flags, SYN | ACK);
        if i.is_multiple_of(500) {
            s.put(&Seg::new(ACK | PSH, FIRST.wrapping_add(i / 500), ours).data(b"x"));
            s.send(id, b"y", i);
            assert_eq!(s.one().data, b"y");
            let acked = ours.wrapping_add(i / 500 + 1);
            s.put(&Seg::new(ACK, FIRST.wrapping_add(i / 500 + 1), acked));
            s.tcp.poll_released();
        }
        s.wait(100);
    }
    assert_eq!(s.read(id).len(), 10);
    let stats = *s.tcp.stats();
    assert!(stats.cookies_sent > 4900, "{stats:?}");
    assert_eq!(stats.refused, 0);
}

/// A stack whose half-open connections are all taken.
fn flooded() -> Script {
    let mut s = Script::new(|cfg| cfg.half_open = 4);
    for i in 0..8 {
        s.put(&Seg::new(SYN, 1, 0).port(2000 + i));
        s.one();
    }
    assert_eq!(s.tcp.stats().cookies_sent, 4);
    s
}

#[test]
fn during_a_flood_an_honest_peer_gets_in_with_its_options() {
    let mut s = flooded();
    let offer = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((5, 0)),
        ..Options::default()
    };
    s.put(&Seg::new(SYN, IRS, 0).options(offer));
    let answer = s.one();
    assert_eq!(answer.options.window_scale, Some(3));
    assert!(answer.options.sack_permitted);
    let (value, echo) = answer.options.timestamps.expect("offered");
    assert_eq!(echo, 5);
    let ours = answer.seq.wrapping_add(1);
    let now = Options {
        timestamps: Some((6, value)),
        ..Options::default()
    };
    let third = Seg::new(ACK | PSH, FIRST, ours)
        .options(now)
        .window(100)
        .data(b"hello");
    s.put(&third);
    let (id, event) = s.tcp.poll_event().expect("opened by the cookie");
    assert!(matches!(event, Event::Opened { .. }));
    assert_eq!(s.read(id), b"hello");
    // The peer's scale of 7 counts: 12,800 bytes go out, in segments of 1,460 less the timestamps.
    s.send(id, &[3; 30_000], 1);
    let sent = s.all();
    assert_eq!(sent[0].data.len(), 1460 - 12);
    let total: usize = sent.iter().map(|m| m.data.len()).sum();
    assert!(total > 10_000, "{total}");
    assert!(
        sent[0]
            .options
            .timestamps
            .expect("used")
            .0
            .wrapping_sub(value)
            < 1000
    );
    // A gap is reported with SACK.
    s.put(
        &Seg::new(ACK, FIRST.wrapping_add(100), ours)
            .options(now)
            .data(b"gap"),
    );
    assert!(s.all().iter().any(|m| m.sack().len() == 1));
}

#[test]
fn forged_and_stale_cookies_are_refused() {
    let mut s = flooded();
    s.put(&Seg::new(SYN, IRS, 0));
    let cookie = s.one().seq;
    for wrong in [cookie, cookie.wrapping_add(2), cookie ^ 0x0100_0000, 12_345] {
        s.put(&Seg::new(ACK, FIRST, wrong));
        assert_eq!(s.one().flags, RST);
    }
    s.put(&Seg::new(
        ACK,
        FIRST.wrapping_add(1),
        cookie.wrapping_add(1),
    ));
    assert_eq!(s.one().flags, RST, "another initial sequence number");
    s.wait(140_000_000);
    s.all();
    s.put(&Seg::new(ACK, FIRST, cookie.wrapping_add(1)));
    assert_eq!(s.one().flags, RST, "too old");
    assert!(s.events().is_empty());
}

#[test]
fn without_a_flood_no_cookie_is_believed() {
    let mut s = Script::new(|_| {});
    for i in 0..1000u32 {
        s.put(&Seg::new(ACK, FIRST, i * 4_000_037));
        assert_eq!(s.one().flags, RST);
    }
    assert!(s.events().is_empty());
}

#[test]
fn a_full_table_refuses_and_harms_no_one() {
    let mut s = Script::new(|_| {});
    let mut open = Vec::new();
    for i in 0..16 {
        open.push(s.open_from(1000 + i, Options::default()));
    }
    s.put(&Seg::new(SYN, IRS, 0));
    let answer = s.one();
    assert_eq!((answer.flags, answer.ack), (RST | ACK, FIRST));
    assert_eq!(s.tcp.stats().refused, 1);
    for (i, (id, ours)) in open.iter().enumerate() {
        s.put(
            &Seg::new(ACK, FIRST, *ours)
                .data(b"alive")
                .port(1000 + i as u16),
        );
        assert_eq!(s.read(*id), b"alive");
    }
    // One that is over makes room, even in TIME-WAIT.
    let (id, ours) = open[3];
    s.tcp.close(id);
    s.all();
    let fin = Seg::new(ACK | FIN, FIRST.wrapping_add(5), ours.wrapping_add(1));
    s.put(&fin.port(1003));
    s.all();
    assert!(s.events().contains(&Event::Closed(CloseReason::Done)));
    s.open_from(5000, Options::default());
    assert_eq!(s.tcp.stats().time_wait_reused, 1);
}

#[test]
fn blind_segments_neither_reset_nor_corrupt() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(true);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for i in 0..20_000u32 {
        let flags = [RST, RST | ACK, SYN, SYN | ACK, ACK, ACK | FIN, ACK | PSH][i as usize % 7];
        // Anything but the exact numbers, of which there are two in 2^32.
        let seq = rng.next_u32() | 1 << 30;
        let ack = rng.next_u32();
        let mut seg = Seg::new(flags, FIRST.wrapping_add(seq), ack);
        if flags == ACK | PSH {
            seg = seg.data(b"evil");
        }
        s.put(&seg);
        s.wait(50);
    }
    s.all();
    assert!(s.events().is_empty());
    let stats = s.tcp.stats();
    assert!(
        stats.challenges < 60,
        "one per 50 ms at most: {}",
        stats.challenges
    );
    s.wait(100_000);
    s.put(&Seg::new(ACK, FIRST, ours).data(b"good"));
    assert_eq!(s.read(id), b"good");
}

#[test]
fn in_window_injections_without_the_acknowledgment_number_fail() {
    let mut s = Script::new(|_| {});
    let (id, ours) = s.open(true);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..5000 {
        let ack = ours.wrapping_add(100_000 + rng.next_u32() % 0x7fff_0000);
        let at = FIRST.wrapping_add(rng.next_u32() % 60_000);
        s.put(&Seg::new(ACK | PSH, at, ack).data(b"evil"));
        s.put(&Seg::new(ACK | FIN, at, ack));
    }
    s.all();
    s.put(&Seg::new(ACK, FIRST, ours).data(b"good"));
    assert_eq!(s.read(id), b"good");
    assert_eq!(s.events(), [Event::Readable]);
}

#[test]
fn out_of_order_data_is_bounded_and_gives_way() {
    let mut s = Script::new(|cfg| cfg.ooo_per_conn = 64);
    let mut open = Vec::new();
    for i in 0..15 {
        open.push((1000 + i, s.open_from(1000 + i, Options::default()).1));
    }
    // Every one fills up with holes.
    for (port, ours) in &open {
        for i in 1..100u32 {
            let seg = Seg::new(ACK, FIRST.wrapping_add(i * 2), *ours).data(b"x");
            s.put(&seg.port(*port));
        }
    }
    s.all();
    assert!(s.card.held.len() < 200, "a quarter of the pool stays free");
    let (id, ours) = s.open_from(9000, Options::default());
    for i in 0..50u32 {
        s.put(
            &Seg::new(ACK, FIRST.wrapping_add(i), ours)
                .data(b"y")
                .port(9000),
        );
        assert_eq!(s.read(id), b"y");
    }
}

#[test]
fn connections_that_are_not_read_leave_room_for_others() {
    let mut s = Script::new(|_| {});
    for i in 0..10 {
        let (_, ours) = s.open_from(1000 + i, Options::default());
        for k in 0..100u32 {
            let seg = Seg::new(ACK, FIRST.wrapping_add(k), ours)
                .data(b"x")
                .port(1000 + i);
            s.put(&seg);
        }
        s.all();
    }
    assert!(s.tcp.stats().drop_full > 0);
    let (id, ours) = s.open_from(9000, Options::default());
    for i in 0..200u32 {
        s.put(
            &Seg::new(ACK, FIRST.wrapping_add(i), ours)
                .data(b"y")
                .port(9000),
        );
        assert_eq!(s.read(id), b"y", "segment {i}");
    }
}

#[test]
fn a_connection_cannot_take_all_chunks() {
    let mut s = Script::new(|_| {});
    let (greedy, _) = s.open_from(1000, Options::default());
    let (modest, _) = s.open_from(1001, Options::default());
    let mut taken = 0;
    while s.tcp.send_room(greedy) > 0 {
        s.send(greedy, b"x", taken);
        taken += 1;
    }
    assert_eq!(taken, 192, "three quarters of 256");
    for i in 0..4 {
        s.send(modest, b"y", 1000 + i);
    }
    assert_eq!(s.tcp.send_room(modest), 0);
}

#[test]
fn answers_go_to_no_group_and_no_nonsense_address() {
    let mut s = Script::new(|_| {});
    let fix = |frame: &mut Vec<u8>| {
        // Both checksums anew.
        frame[24..26].fill(0);
        let sum = sluice_wire::checksum::Sum::default()
            .bytes(&frame[14..34])
            .finish();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame[50..52].fill(0);
        let len = frame.len() as u32 - 34;
        let sum =
            sluice_wire::checksum::Sum::default().pseudo(&frame[26..30], &frame[30..34], 6, len);
        let sum = sum.bytes(&frame[34..]).finish();
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
    };
    let syn = Seg::new(SYN, 1, 0).frame();
    type Edit = dyn Fn(&mut Vec<u8>);
    let edits: [&Edit; 6] = [
        &|f| f[..6].fill(0xff),
        &|f| f[6] |= 1,
        &|f| f[26..30].copy_from_slice(&[224, 0, 0, 1]),
        &|f| f[26..30].copy_from_slice(&[255; 4]),
        &|f| f[26..30].copy_from_slice(&[127, 0, 0, 1]),
        &|f| f[30..34].copy_from_slice(&[10, 77, 0, 255]),
    ];
    for (i, edit) in edits.iter().enumerate() {
        let mut frame = syn.clone();
        edit(&mut frame);
        fix(&mut frame);
        let desc = s.card.receive(&frame, s.now).expect("a sound frame");
        s.tcp.input(s.now, &desc, &mut s.card);
        assert_eq!(s.all(), [], "edit {i}");
    }
    assert_eq!(s.tcp.stats().drop_foreign, 6);
    s.assert_clean();
    assert_eq!((CARD_IP[0], CARD_MAC[0]), (10, 2));
}

fn stream(len: usize) -> Vec<u8> {
    (0..len).map(|i| support::pattern(i as u64)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the pieces and their order, what is read is the stream, once.
    #[test]
    fn overlapping_pieces_in_any_order_make_the_stream(
        pieces in proptest::collection::vec((0usize..1000, 1usize..300), 1..80),
    ) {
        let data = stream(1300);
        let mut s = Script::new(|_| {});
        let (id, ours) = s.open(true);
        let mut got = Vec::new();
        for (at, len) in pieces.iter().copied().chain((0..13).map(|i| (i * 100, 100))) {
            let seg = Seg::new(ACK, FIRST.wrapping_add(at as u32), ours);
            s.put(&seg.data(&data[at..(at + len).min(1300)]));
            got.extend(s.read(id));
            for ack in s.all() {
                for (left, right) in ack.sack() {
                    prop_assert!(right.wrapping_sub(left) as i32 > 0);
                }
            }
        }
        prop_assert_eq!(got, data);
        s.assert_clean();
    }

    /// A second version of bytes that are there already is not believed.
    #[test]
    fn the_first_version_of_a_byte_stays(
        start in 1usize..50, len in 1usize..50, evil_start in 0usize..100, evil_len in 1usize..20,
    ) {
        let mut s = Script::new(|_| {});
        let (id, ours) = s.open(true);
        let at = |i: usize| FIRST.wrapping_add(i as u32);
        s.put(&Seg::new(ACK, at(start), ours).data(&vec![1; len]));
        let inside = evil_start % len;
        let evil_len = evil_len.min(len - inside);
        // Strictly inside, or it would replace the whole.
        if evil_len < len {
            s.put(&Seg::new(ACK, at(start + inside), ours).data(&vec![9; evil_len]));
        }
        s.put(&Seg::new(ACK, at(0), ours).data(&vec![1; start]));
        prop_assert_eq!(s.read(id), vec![1; start + len]);
    }

    /// Random segments near the right numbers: no panic, no lost buffer, no chunk released twice.
    #[test]
    fn garbage_near_the_window_is_survived(
        seed: u64,
        with_timestamps: bool,
        count in 10usize..200,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut s = Script::new(|cfg| cfg.half_open = 2);
        let offer = Options {
            mss: Some(1000),
            sack_permitted: true,
            timestamps: with_timestamps.then_some((1000, 0)),
            ..Options::default()
        };
        let (id, ours) = s.open_from(PEER_PORT, offer);
        let mut tokens = Vec::new();
        for i in 0..count as u32 {
            let mut near = |base: u32| match rng.next_u32() % 4 {
                0 => base,
                1 => base.wrapping_add(rng.next_u32() % 2000),
                2 => base.wrapping_sub(rng.next_u32() % 2000),
                _ => rng.next_u32(),
            };
            let (seq, ack) = (near(FIRST), near(ours));
            let block = |l: u32, r: u32| sluice_wire::tcp::SackBlock { left: l, right: r };
            let mut options = timestamp(offer);
            options.sack[0] = block(near(ours), near(ours));
            options.sack[1] = block(near(ours), near(ours));
            options.sack_len = (rng.next_u32() % 3) as u8;
            let flags = rng.next_u32() as u8 & if i % 8 == 0 { 0xff } else { !(RST | SYN) };
            let data = vec![0; (rng.next_u32() % 300) as usize];
            let window = rng.next_u32() as u16;
            let seg = Seg::new(flags | ACK, seq, ack).options(options).data(&data).window(window);
            s.put(&seg);
            if rng.next_u32().is_multiple_of(3) && s.tcp.send_room(id) > 0 {
                s.send(id, &vec![1; 1 + (rng.next_u32() % 3000) as usize], i);
                tokens.push(i);
            }
            if rng.next_u32().is_multiple_of(5) {
                s.read(id);
            }
            if rng.next_u32().is_multiple_of(50) {
                s.tcp.close(id);
            }
            s.wait(u64::from(rng.next_u32() % 300_000));
            s.all();
        }
        s.tcp.abort(id);
        s.all();
        let closed = s.events().iter().filter(|e| matches!(e, Event::Closed(_))).count();
        prop_assert!(closed <= 1);
        let mut released = s.released();
        released.sort_unstable();
        s.wait(60_000_000);
        s.read(id);
        s.all();
        released.extend(s.released());
        prop_assert_eq!(released, tokens);
        s.assert_clean();
    }
}

#[test]
fn a_completed_handshake_takes_the_place_of_one_under_way() {
    let mut s = Script::new(|_| {});
    for i in 0..15 {
        s.open_from(1000 + i, Options::default());
    }
    s.put(&Seg::new(SYN, 1, 0).port(2000));
    s.one();
    s.put(&Seg::new(SYN, IRS, 0));
    let answer = s.one();
    assert_eq!((answer.flags, s.tcp.stats().cookies_sent), (SYN | ACK, 1));
    s.put(&Seg::new(ACK, FIRST, answer.seq.wrapping_add(1)));
    assert!(s.events().iter().any(|e| matches!(e, Event::Opened { .. })));
    assert_eq!((s.tcp.open_connections(), s.tcp.stats().refused), (16, 0));
}
