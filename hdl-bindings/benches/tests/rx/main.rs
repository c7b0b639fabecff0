//! rx: every frame against the software model: descriptor, buffer bytes, drop counters, pools and steering.

mod roce;

use std::collections::VecDeque;

use sluice_benches::{
    bench::Bench,
    ffi::Port,
    frames::{OWN_MAC, Recipe, put16, put32},
    memory::{PmPort, SIZE},
    random::Random,
    rx_model::{DROPS, Drop, Words, judge},
};

const SMALL: u32 = 2048;
const LARGE: u32 = 128;
const CORES: u64 = 2;

struct Rig {
    bench: Bench,
    pm: PmPort,
    memory: Vec<u8>,
    steer: Vec<u8>,
    /// Percent of clocks with a beat when one is there.
    wire_percent: u64,
    desc_percent: u64,
    /// Buffers go back after this many further descriptors; `None`: never.
    keep: Option<usize>,
    /// Cores whose queue has room.
    room: u64,
    /// Cores that are behind.
    lag: u64,
    held: VecDeque<u32>,
    out: Vec<bool>,
    counted: [u64; DROPS],
    frames: (u64, u64),
    pauses: u64,
    delivered: Vec<Delivery>,
    index: u64,
    offered: Option<u32>,
    p: Ports,
}

struct Delivery {
    core: u8,
    words: Words,
    bytes: Vec<u8>,
}

struct Ports {
    valid: Port,
    data: Port,
    keep: Port,
    last: Port,
    time: Port,
    index: Port,
    core: Port,
    room: Port,
    lag: Port,
    desc_valid: Port,
    desc_ready: Port,
    desc_core: Port,
    desc: Port,
    free_valid: Port,
    free_ready: Port,
    free_buf: Port,
    cnt_frame: Port,
    cnt_bytes: Port,
    cnt_drop: Port,
    cnt_pause: Port,
    quanta: Port,
}

fn buffer_at(buffer: u32) -> usize {
    (if buffer < SMALL {
        buffer * 2048
    } else {
        0x40_0000 + (buffer - SMALL) * 10240
    }) as usize
}

impl Rig {
    fn new(grant: u64) -> Self {
        let mut b = Bench::new("sluice_rx", 9);
        let pm = PmPort::new(&mut b, "pm_req_o", "pm_rsp_i", grant);
        let mac = b.port("cfg_mac_i");
        b.set(
            mac,
            OWN_MAC.iter().fold(0, |m, byte| m << 8 | u64::from(*byte)),
        );
        let p = Ports {
            valid: b.port("rx_valid_i"),
            data: b.port("rx_data_i"),
            keep: b.port("rx_keep_i"),
            last: b.port("rx_last_i"),
            time: b.port("time_us_i"),
            index: b.port("steer_index_o"),
            core: b.port("steer_core_i"),
            room: b.port("desc_room_i"),
            lag: b.port("desc_lag_i"),
            desc_valid: b.port("desc_valid_o"),
            desc_ready: b.port("desc_ready_i"),
            desc_core: b.port("desc_core_o"),
            desc: b.port("desc_o"),
            free_valid: b.port("free_valid_i"),
            free_ready: b.port("free_ready_o"),
            free_buf: b.port("free_buf_i"),
            cnt_frame: b.port("cnt_frame_o"),
            cnt_bytes: b.port("cnt_bytes_o"),
            cnt_drop: b.port("cnt_drop_o"),
            cnt_pause: b.port("cnt_pause_o"),
            quanta: b.port("pause_quanta_o"),
        };
        Self {
            bench: b,
            pm,
            memory: vec![0xAA; SIZE],
            steer: (0..128).map(|i| (i % 5) as u8).collect(), // 2 to 4 do not exist and count as 0
            wire_percent: 100,
            desc_percent: 100,
            keep: Some(0),
            room: 3,
            lag: 0,
            held: VecDeque::new(),
            out: vec![false; (SMALL + LARGE) as usize],
            counted: [0; DROPS],
            frames: (0, 0),
            pauses: 0,
            delivered: Vec::new(),
            index: 0,
            offered: None,
            p,
        }
    }

    fn clock(&mut self, random: &mut Random, beat: Option<(&[u8], bool)>) {
        let (b, p) = (&mut self.bench, &self.p);
        self.pm.drive(b, &mut self.memory, random);
        for (reason, counter) in self.counted.iter_mut().enumerate() {
            *counter += b.get(p.cnt_drop) >> reason & 1;
        }
        self.pauses += b.get(p.cnt_pause);
        if b.get(p.cnt_frame) == 1 {
            self.frames = (self.frames.0 + 1, self.frames.1 + b.get(p.cnt_bytes));
        }
        // The table answers one clock later.
        b.set(p.core, u64::from(self.steer[self.index as usize]));
        self.index = b.get(p.index);
        b.set(p.time, b.clock / 250);
        b.set(p.room, self.room);
        b.set(p.lag, self.lag);
        b.set(p.valid, u64::from(beat.is_some()));
        if let Some((bytes, last)) = beat {
            let mut padded = random.fill(16); // lanes beyond the end hold anything
            padded[..bytes.len()].copy_from_slice(bytes);
            b.set_bytes(p.data, &padded);
            b.set(p.keep, (1 << bytes.len()) - 1);
            b.set(p.last, u64::from(last));
        }
        let ready = random.chance(self.desc_percent);
        b.set(p.desc_ready, u64::from(ready));
        if self.offered.is_none()
            && self.keep.is_some_and(|keep| self.held.len() > keep)
            && random.chance(80)
        {
            self.offered = self.held.pop_front();
        }
        b.set(p.free_valid, u64::from(self.offered.is_some()));
        b.set(p.free_buf, u64::from(self.offered.unwrap_or(0)));
        b.settle();
        if let Some(buffer) = self.offered
            && b.get(p.free_ready) == 1
        {
            self.out[buffer as usize] = false;
            self.offered = None;
        }
        if ready && b.get(p.desc_valid) == 1 {
            let core = b.get(p.desc_core);
            assert!(core < CORES, "only cores that exist get descriptors");
            self.take(core as u8);
        }
        self.bench.tick();
    }

    fn take(&mut self, core: u8) {
        let words: Words = self.bench.words(self.p.desc).try_into().expect("16 words");
        let (buffer, len) = (words[0] & 0xFFF, (words[0] >> 16) as usize);
        assert!(
            !self.out[buffer as usize],
            "buffer {buffer} is given out twice"
        );
        self.out[buffer as usize] = true;
        let at = buffer_at(buffer) + 2;
        self.delivered.push(Delivery {
            core,
            words,
            bytes: self.memory[at..at + len].to_vec(),
        });
        self.held.push_back(buffer);
    }

    fn send(&mut self, random: &mut Random, frame: &[u8]) {
        let beats = frame.len().div_ceil(16);
        for (i, beat) in frame.chunks(16).enumerate() {
            while !random.chance(self.wire_percent) {
                self.clock(random, None);
            }
            self.clock(random, Some((beat, i + 1 == beats)));
        }
    }

    fn drain(&mut self, random: &mut Random) {
        for _ in 0..20_000 {
            self.clock(random, None);
        }
    }

    /// Sends all frames, none of which may be lost for want of anything, and compares everything.
    fn check(&mut self, random: &mut Random, frames: &[Vec<u8>]) {
        for frame in frames {
            self.send(random, frame);
        }
        self.drain(random);
        let mut wanted_drops = [0; DROPS];
        let mut delivered = std::mem::take(&mut self.delivered).into_iter();
        let mut bytes = 0;
        for (n, frame) in frames.iter().enumerate() {
            match judge(frame) {
                Err(reason) => wanted_drops[reason as usize] += 1,
                Ok(words) => {
                    let got = delivered
                        .next()
                        .unwrap_or_else(|| panic!("frame {n} is missing: {:?}", self.counted));
                    self.compare(n, frame, &words, &got);
                    bytes += frame.len() as u64;
                }
            }
        }
        assert!(delivered.next().is_none());
        assert_eq!(self.counted, wanted_drops, "drop counters");
        assert_eq!(self.pauses, wanted_drops[Drop::Pause as usize]);
        assert_eq!(
            self.frames,
            (
                frames.len() as u64 - wanted_drops.iter().sum::<u64>(),
                bytes
            ),
            "good frame counters"
        );
    }

    fn compare(&self, n: usize, frame: &[u8], wanted: &Words, got: &Delivery) {
        let mut words = got.words;
        words[0] &= !0xFFF;
        words[12] = 0;
        for (i, (is, want)) in words.iter().zip(wanted).enumerate() {
            assert_eq!(
                is, want,
                "word {i} of frame {n}: {is:#010x}, not {want:#010x}"
            );
        }
        assert!(
            got.bytes == frame,
            "bytes of frame {n} ({} bytes)",
            frame.len()
        );
        let (tcp, roce) = (wanted[1] >> 2 & 1 == 1, wanted[1] >> 11 & 1 == 1);
        let core = if roce {
            (wanted[5] >> 20) as u8
        } else if tcp {
            self.steer[wanted[9] as usize % 128]
        } else {
            0
        };
        assert_eq!(
            got.core,
            if u64::from(core) < CORES { core } else { 0 },
            "core of frame {n}"
        );
    }
}

/// A frame, in half of the cases damaged in a way that one of the checks is for.
fn random_frame(random: &mut Random) -> Vec<u8> {
    let mut recipe = Recipe::random(random);
    match random.range(0, 31) {
        0 => recipe.mac = [2, 1, 1, 1, 1, 1],
        1 => recipe.protocol = random.bits() as u8,
        2 => return short(random),
        3 => return flow_control(random),
        4 => recipe.payload = random.fill(9300),
        _ => {}
    }
    let mut frame = recipe.build(random);
    let (l3, l4, len) = (recipe.l3(), recipe.l4(), frame.len());
    match random.range(0, 23) {
        0 => put16(
            &mut frame,
            l3 - 2,
            [0x0806, 0x88CC, 0x8100, 0x8808][random.size(0, 3)],
        ),
        1 => frame[l3] = random.bits() as u8,
        2 => put16(
            &mut frame,
            l3 + if recipe.v6 { 4 } else { 2 },
            random.size(0, len + 20),
        ),
        3 => frame[l3 + random.size(0, 19)] ^= 1 << random.size(0, 7),
        4 => frame[random.size(l4, len - 1)] ^= 1 << random.size(0, 7),
        5 => frame.truncate(random.size(1, len)),
        6 if !recipe.v6 => fragment(random, &mut frame, l3, l4),
        7 if recipe.v6 => frame[l3 + 6] = random.pick(&[44, 0, 60, 59]),
        8 if recipe.protocol == 6 => frame[l4 + 12] = random.bits() as u8,
        9 if recipe.protocol == 17 => put16(&mut frame, l4 + 4, random.size(0, 100)),
        10 if recipe.protocol == 17 => put16(&mut frame, l4 + 6, 0),
        _ => {}
    }
    frame
}

/// Marks an IPv4 packet a fragment and mends its header checksum.
fn fragment(random: &mut Random, frame: &mut [u8], l3: usize, l4: usize) {
    put16(
        frame,
        l3 + 6,
        random.pick(&[0x2000, 0x0001, 0x1FFF, 0x8000]),
    );
    put16(frame, l3 + 10, 0);
    let sum = sluice_benches::frames::checksum(&frame[l3..l4]);
    put16(frame, l3 + 10, usize::from(sum));
}

fn short(random: &mut Random) -> Vec<u8> {
    let len = random.size(1, 60);
    let mut frame = random.fill(len);
    if len >= 14 && random.chance(50) {
        put16(&mut frame, 12, 0x0806);
    }
    frame
}

fn flow_control(random: &mut Random) -> Vec<u8> {
    let mut frame = vec![1, 0x80, 0xC2, 0, 0, 1];
    frame.extend(random.fill(6));
    frame.extend([0x88, 0x08]);
    frame.extend(random.pick(&[[0, 1], [1, 1], [0, 2]]));
    frame.extend(random.fill(44));
    frame
}

#[test]
fn random_frames_are_delivered_or_dropped_as_the_model_says() {
    for (seed, wire, desc, grant, keep) in [
        (31, 90, 100, 100, 0),
        (32, 60, 50, 95, 30),
        (33, 30, 20, 60, 100),
    ] {
        let mut random = Random::new(seed);
        let mut rig = Rig::new(grant);
        (rig.wire_percent, rig.desc_percent, rig.keep) = (wire, desc, Some(keep));
        let frames: Vec<_> = (0..1500).map(|_| random_frame(&mut random)).collect();
        rig.check(&mut random, &frames);
        let kinds = rig.counted.iter().filter(|c| **c > 0).count();
        assert!(kinds >= 9, "the mix reaches every check: {:?}", rig.counted);
    }
}

#[test]
fn a_burst_at_wire_speed_is_taken_whole() {
    let mut random = Random::new(34);
    let mut rig = Rig::new(100);
    for len in [46, 60, 61, 62, 63, 64, 65, 78, 1500, 9000] {
        let recipe = Recipe {
            v6: false,
            vlan: None,
            ip_options: 0,
            protocol: 6,
            tcp_options: Vec::new(),
            padding: 0,
            ..Recipe::random(&mut random)
        };
        let frames: Vec<_> = (0..12)
            .map(|_| {
                Recipe {
                    payload: random.fill(len - 40),
                    ..recipe.clone()
                }
                .build(&mut random)
            })
            .collect();
        rig.check_fresh(&mut random, &frames);
    }
}

impl Rig {
    /// [`Rig::check`] with counters from zero.
    fn check_fresh(&mut self, random: &mut Random, frames: &[Vec<u8>]) {
        (self.counted, self.frames, self.pauses) = ([0; DROPS], (0, 0), 0);
        self.check(random, frames);
    }

    fn plain(&self, random: &mut Random, len: usize) -> Vec<u8> {
        let payload = random.fill(len - 42);
        Recipe {
            mac: OWN_MAC,
            v6: false,
            vlan: None,
            ip_options: 0,
            protocol: 17,
            payload,
            padding: 0,
            ..Recipe::random(random)
        }
        .build(random)
    }
}

#[test]
fn buffers_that_never_come_back_run_out_small_first_then_large_and_are_all_used_once() {
    let mut random = Random::new(35);
    let mut rig = Rig::new(100);
    rig.keep = None;
    let total = u64::from(SMALL + LARGE);
    let frame = rig.plain(&mut random, 60);
    for _ in 0..total + 10 {
        rig.send(&mut random, &frame);
        for _ in 0..6 {
            rig.clock(&mut random, None);
        }
    }
    rig.drain(&mut random);
    assert_eq!(rig.delivered.len() as u64, total);
    assert!(rig.out.iter().all(|out| *out), "every buffer is in use");
    assert_eq!(rig.counted[Drop::NoBuffer as usize], 10);
    // One large buffer back: a jumbo frame finds it, a second does not.
    rig.held.retain(|b| *b == SMALL + 5);
    rig.keep = Some(0);
    rig.drain(&mut random);
    rig.keep = None;
    let jumbo = rig.plain(&mut random, 2047);
    rig.send(&mut random, &jumbo);
    rig.send(&mut random, &jumbo);
    rig.drain(&mut random);
    assert_eq!(rig.delivered.len() as u64, total + 1);
    assert_eq!(
        rig.delivered.last().map(|d| d.words[0] & 0xFFF),
        Some(SMALL + 5)
    );
    assert_eq!(rig.counted[Drop::NoBuffer as usize], 11);
}

#[test]
fn frames_by_size_take_small_and_large_buffers() {
    let mut random = Random::new(36);
    let mut rig = Rig::new(100);
    for (len, large) in [(2046, false), (2047, true), (9216, true)] {
        let frame = rig.plain(&mut random, len);
        rig.check_fresh_buffer(&mut random, &frame, large);
    }
}

impl Rig {
    fn check_fresh_buffer(&mut self, random: &mut Random, frame: &[u8], large: bool) {
        self.send(random, frame);
        self.drain(random);
        let got = self.delivered.pop().expect("delivered");
        assert!(got.bytes == frame);
        assert_eq!(
            got.words[0] & 0xFFF >= SMALL,
            large,
            "{} bytes",
            frame.len()
        );
    }
}

#[test]
fn a_full_descriptor_queue_is_a_counted_drop_and_costs_no_buffer() {
    let mut random = Random::new(37);
    let mut rig = Rig::new(100);
    rig.keep = None;
    rig.room = 0b10;
    let frame = rig.plain(&mut random, 100); // for core 0
    for _ in 0..3000 {
        rig.send(&mut random, &frame);
    }
    rig.drain(&mut random);
    assert_eq!(rig.counted[Drop::QueueFull as usize], 3000);
    // Room that goes away between decision and descriptor: the buffer comes back.
    for n in 0..3000 {
        rig.room = if n % 2 == 0 { 0b11 } else { 0b10 };
        rig.send(&mut random, &frame);
        for _ in 0..random.range(0, 12) {
            rig.clock(&mut random, None);
        }
    }
    rig.room = 0b11;
    rig.drain(&mut random);
    let drops = rig.counted[Drop::QueueFull as usize] - 3000;
    assert!(drops > 0 && rig.delivered.len() as u64 + drops == 3000);
    let free = u64::from(SMALL + LARGE) - rig.delivered.len() as u64;
    if free > 0 {
        let before = rig.delivered.len() as u64;
        for _ in 0..free + 1 {
            rig.send(&mut random, &frame);
            rig.drain_short(&mut random);
        }
        assert_eq!(
            rig.delivered.len() as u64,
            before + free,
            "no buffer was lost"
        );
        assert_eq!(rig.counted[Drop::NoBuffer as usize], 1);
    }
}

impl Rig {
    fn drain_short(&mut self, random: &mut Random) {
        for _ in 0..30 {
            self.clock(random, None);
        }
    }
}

#[test]
fn an_overrun_is_counted_and_the_frames_around_it_are_whole() {
    let mut random = Random::new(38);
    let mut rig = Rig::new(10); // memory much slower than the wire
    rig.keep = Some(0);
    let frames: Vec<_> = (0..400)
        .map(|_| {
            let len = random.pick(&[60, 300, 1514, 9000]);
            rig.plain(&mut random, len)
        })
        .collect();
    for frame in &frames {
        rig.send(&mut random, frame);
    }
    for _ in 0..10 {
        rig.drain(&mut random);
    }
    let lost = rig.counted[Drop::Overrun as usize];
    assert!(
        lost > 0 && lost + rig.delivered.len() as u64 == 400,
        "{lost} lost, {} delivered",
        rig.delivered.len()
    );
    let mut rest = frames.iter();
    for got in &rig.delivered {
        assert!(
            rest.any(|sent| *sent == got.bytes),
            "what is delivered was sent, in order"
        );
    }
    // Afterwards everything works again.
    rig.pm.set_grant(100);
    rig.delivered.clear();
    rig.check_fresh(&mut random, &frames[..5]);
}

#[test]
fn the_rest_of_a_frame_cut_by_a_reset_is_not_taken_for_a_frame() {
    let mut random = Random::new(40);
    let mut rig = Rig::new(100);
    // Bytes 32 and up look like a frame of their own, an ARP broadcast.
    let mut frame = rig.plain(&mut random, 200);
    frame[32..38].fill(0xFF);
    put16(&mut frame, 32 + 12, 0x0806);
    let reset = rig.bench.port("rst_ni");
    rig.bench.set(reset, 0);
    rig.clock(&mut random, Some((&frame[..16], false)));
    rig.clock(&mut random, Some((&frame[16..32], false)));
    rig.bench.set(reset, 1);
    for (i, beat) in frame[32..].chunks(16).enumerate() {
        rig.clock(&mut random, Some((beat, i == 10)));
    }
    let whole = rig.plain(&mut random, 100);
    rig.check(&mut random, &[whole]);
}

#[test]
fn a_pause_frame_reports_its_time() {
    let mut random = Random::new(39);
    let mut rig = Rig::new(100);
    let mut frame = flow_control(&mut random);
    put16(&mut frame, 14, 1);
    put16(&mut frame, 16, 0x1234);
    rig.send(&mut random, &frame);
    put16(&mut frame, 14, 0x0101);
    put16(&mut frame, 16, 0x00FF);
    rig.send(&mut random, &frame);
    rig.drain(&mut random);
    assert_eq!((rig.pauses, rig.bench.get(rig.p.quanta)), (2, 0x1234));
}

/// A segment of one connection with timestamps; its checksum is right.
fn segment(
    random: &mut Random,
    v6: bool,
    port: u16,
    ack: u32,
    flags: u8,
    payload: usize,
) -> Vec<u8> {
    let recipe = Recipe {
        mac: OWN_MAC,
        vlan: None,
        v6,
        ip_options: 0,
        tos: 0,
        protocol: 6,
        tcp_options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        payload: random.fill(payload),
        padding: 0,
    };
    let mut frame = recipe.build(random);
    let (l3, l4) = (recipe.l3(), recipe.l4());
    let addresses = if v6 {
        l3 + 8..l3 + 40
    } else {
        l3 + 12..l3 + 20
    };
    frame[addresses].fill(7);
    put16(&mut frame, l4, usize::from(port));
    put16(&mut frame, l4 + 2, 4420);
    frame[l4 + 4..l4 + 8].fill(9);
    put32(&mut frame, l4 + 8, ack);
    frame[l4 + 13] = flags;
    recipe.mend(&mut frame);
    frame
}

const ACK: u8 = 0x10;

#[test]
fn acknowledgments_for_a_core_that_is_behind_become_one() {
    for v6 in [false, true] {
        let mut random = Random::new(41);
        let mut rig = Rig::new(100);
        (rig.lag, rig.keep) = (3, Some(4));
        rig.wire_percent = 75; // as with the gaps between frames
        let near_wrap = 0xFFFF_F000_u32;
        for n in 0..5000_u32 {
            let ack = near_wrap.wrapping_add(n * 2920);
            let frame = segment(&mut random, v6, 1000, ack, ACK, 0);
            rig.send(&mut random, &frame);
        }
        rig.drain_short(&mut random);
        assert!(rig.delivered.is_empty(), "it waits");
        rig.lag = 0;
        rig.drain_short(&mut random);
        let acks: Vec<u32> = rig.delivered.iter().map(|d| d.words[6]).collect();
        assert_eq!(acks, [near_wrap.wrapping_add(4999 * 2920)]);
        assert_eq!((rig.frames.0, rig.counted), (5000, [0; DROPS]));
        // All buffers but that one are back: as many frames as there are buffers still find one.
        rig.keep = None;
        let frame = rig.plain(&mut random, 60);
        for _ in 0..SMALL + LARGE {
            rig.send(&mut random, &frame);
            rig.drain_short(&mut random);
        }
        assert_eq!(rig.counted[Drop::NoBuffer as usize], 1);
    }
}

#[test]
fn what_is_more_than_an_acknowledgment_is_not_merged_and_stays_in_order() {
    let mut random = Random::new(42);
    for lag in [0, 3] {
        let mut rig = Rig::new(100);
        rig.lag = lag;
        let kinds = [
            (1000, 100, ACK, 0),
            (1000, 200, ACK, 0), // replaces the one before
            (1000, 200, ACK, 0), // a duplicate counts
            (1000, 150, ACK, 0), // older
            (1000, 300, ACK, 5), // data
            (1000, 400, ACK, 0),
            (1001, 500, ACK, 0),        // another connection
            (1000, 600, ACK | 1, 0),    // FIN
            (1000, 700, ACK | 0x40, 0), // ECE
            (1000, 800, ACK, 0),
            (1000, 900, ACK, 0),  // replaces
            (1000, 1000, ACK, 0), // replaces
        ];
        for (port, ack, flags, payload) in kinds {
            let frame = segment(&mut random, false, port, ack, flags, payload);
            rig.send(&mut random, &frame);
            rig.drain_short(&mut random);
        }
        rig.lag = 0;
        rig.drain_short(&mut random);
        let acks: Vec<u32> = rig.delivered.iter().map(|d| d.words[6]).collect();
        let all = [100, 200, 200, 150, 300, 400, 500, 600, 700, 800, 900, 1000];
        let some = [200, 200, 150, 300, 400, 500, 600, 700, 1000];
        let want: &[u32] = if lag == 0 { &all } else { &some };
        assert_eq!(acks, want);
    }
}
