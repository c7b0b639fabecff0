//! Prints what the engines reach with nothing in their way: bytes per clock, clocks per job and latencies.

use sluice_benches::{
    bench::Bench,
    frames::{OWN_MAC, Recipe},
    host::{BASE, Host},
    memory::{PmPort, SIZE},
    mover_model::{Job as Move, bit},
    random::Random,
    tx_model::Job,
};
use sluice_hal::{
    PmAddr, PmSlice,
    roce::{Remote, RoceJob, RoceMessage},
};

/// Clocks after which a measurement has gone wrong.
const LIMIT: u64 = 200_000;

fn main() {
    let mut random = Random::new(1);
    println!(
        "{:<44} {:>8} {:>8} {:>9}",
        "what", "bytes", "clocks", "B/clock"
    );
    for (name, payload, mss, count) in [
        ("tx, 64 KiB train, MSS 1448", 65_536, 1448, 4),
        ("tx, 4 KiB train, MSS 1448", 4_096 + 24, 1448, 16),
        ("tx, 64 KiB train, MSS 8948", 65_536, 8948, 4),
        ("tx, bare acknowledgments", 0, 1448, 64),
    ] {
        tx(&mut random, name, payload, mss, count);
    }
    for (name, payload, mtu_code, count) in [
        ("tx, RoCE, 64 KiB READ response, MTU 1024", 65_536, 3, 4),
        ("tx, RoCE, 64 KiB READ response, MTU 4096", 65_536, 5, 4),
        ("tx, RoCE, 4 KiB WRITE, MTU 4096", 4_096, 5, 16),
        ("tx, RoCE, acknowledgments", 0, 3, 64),
    ] {
        roce(&mut random, name, payload, mtu_code, count);
    }
    for len in [60, 64, 128, 1514, 9014] {
        rx(&mut random, len);
    }
    for (name, len, bits) in [
        ("mover, 4 KiB, aligned", 4096, 0),
        ("mover, 4 KiB, odd addresses", 4096, 1),
        ("mover, 72 bytes, odd addresses", 72, 1),
        ("mover, 128 KiB, odd addresses", 131_072, 1),
    ] {
        mover(&mut random, name, len, bits, 0);
    }
    mover(
        &mut random,
        "mover, 4 KiB to the host",
        4096,
        1,
        bit::TO_HOST,
    );
    mover(
        &mut random,
        "mover, 4 KiB from the host (40 clocks away)",
        4096,
        1,
        bit::FROM_HOST,
    );
}

fn row(name: &str, bytes: u64, clocks: u64, latency: &str) {
    println!(
        "{name:<44} {bytes:>8} {clocks:>8} {:>9.2}   {latency}",
        bytes as f64 / clocks as f64
    );
}

fn tx(random: &mut Random, name: &str, payload: u32, mss: u16, count: usize) {
    let mut memory = random.fill(SIZE);
    let mut timestamps = vec![1, 1, 8, 10];
    timestamps.extend([0; 8]);
    let recipe = Recipe {
        mac: OWN_MAC,
        vlan: None,
        v6: false,
        ip_options: 0,
        tos: 0,
        protocol: 6,
        tcp_options: timestamps,
        payload: Vec::new(),
        padding: 0,
    };
    let template = recipe.build(random);
    memory[0x58_0002..0x58_0002 + template.len()].copy_from_slice(&template);
    let job = Job {
        tcp: true,
        timestamps: true,
        template: 0x58_0002,
        header_len: 66,
        l3: 14,
        l4: 34,
        mss,
        gather_len: u8::from(payload > 0),
        gather: [(0x60_0000, payload), (0, 0), (0, 0), (0, 0)],
        ..Job::default()
    };
    let frames = (payload.div_ceil(u32::from(mss)).max(1) as usize) * count;
    send(random, name, &job, memory, count, frames);
}

/// A message without VLAN tag over IPv4.
fn roce(random: &mut Random, name: &str, payload: u32, mtu_code: u8, count: usize) {
    let mut memory = random.fill(SIZE);
    let recipe = Recipe {
        mac: OWN_MAC,
        vlan: None,
        v6: false,
        ip_options: 0,
        tos: 0,
        protocol: 17,
        tcp_options: Vec::new(),
        payload: Vec::new(),
        padding: 0,
    };
    let template = recipe.build(random);
    memory[0x58_0002..0x58_0002 + template.len()].copy_from_slice(&template);
    let message = match payload {
        0 => RoceMessage::Acknowledge(1),
        4096 => RoceMessage::Write(Remote::default()),
        _ => RoceMessage::ReadResponse(1),
    };
    let mut job = RoceJob::new(message, 5, 0);
    job.template = PmAddr(0x58_0002);
    job.mtu_code = mtu_code;
    job.gather[0] = PmSlice::new(PmAddr(0x60_0000), payload);
    job.gather_len = u8::from(payload > 0);
    let frames = (payload.div_ceil(128 << mtu_code).max(1) as usize) * count;
    send(random, name, &Job::from(job), memory, count, frames);
}

/// The job `count` times, which makes so many frames.
fn send(
    random: &mut Random,
    name: &str,
    job: &Job,
    mut memory: Vec<u8>,
    count: usize,
    frames: usize,
) {
    let mut bench = Bench::new("sluice_tx", 1);
    let mut pm = PmPort::new(&mut bench, "pm_req_o", "pm_rsp_i", 100);
    let names = [
        "job_valid_i",
        "job_ready_o",
        "job_i",
        "tx_ready_i",
        "tx_valid_o",
        "cnt_frame_o",
        "cnt_bytes_o",
    ];
    let [valid, ready, words, wire, sending, frame, bytes] = names.map(|n| bench.port(n));
    bench.set_words(words, &job.words());
    bench.set(wire, 1);
    let (mut posted, mut sent, mut total, mut first) = (0, 0, 0, 0);
    while sent < frames {
        assert!(bench.clock < LIMIT);
        pm.drive(&mut bench, &mut memory, random);
        bench.set(valid, u64::from(posted < count));
        bench.settle();
        posted += usize::from(posted < count && bench.get(ready) == 1);
        if first == 0 && bench.get(sending) == 1 {
            first = bench.clock;
        }
        sent += bench.get(frame) as usize;
        total += bench.get(frame) * bench.get(bytes);
        bench.tick();
    }
    row(
        name,
        total,
        bench.clock,
        &format!("job to first beat on the wire: {first} clocks"),
    );
}

fn rx(random: &mut Random, len: usize) {
    let mut bench = Bench::new("sluice_rx", 1);
    let mut pm = PmPort::new(&mut bench, "pm_req_o", "pm_rsp_i", 100);
    let mut memory = vec![0; SIZE];
    let mac = bench.port("cfg_mac_i");
    bench.set(
        mac,
        OWN_MAC.iter().fold(0, |m, byte| m << 8 | u64::from(*byte)),
    );
    let payload = random.fill(len - 54);
    let recipe = Recipe {
        mac: OWN_MAC,
        vlan: None,
        v6: false,
        ip_options: 0,
        tos: 0,
        protocol: 6,
        tcp_options: Vec::new(),
        payload,
        padding: 0,
    };
    let frame = recipe.build(random);
    let names = [
        "rx_valid_i",
        "rx_data_i",
        "rx_keep_i",
        "rx_last_i",
        "desc_room_i",
        "desc_ready_i",
        "desc_valid_o",
        "cnt_drop_o",
    ];
    let [valid, data, keep, last, room, ready, desc, drop] = names.map(|n| bench.port(n));
    bench.set(room, 3);
    bench.set(ready, 1);
    let (mut at, mut sent, mut got, mut lost, mut first) = (0, 0, 0, 0, 0);
    let count = 64;
    let mut all_in = 0;
    while got + lost < count {
        assert!(bench.clock < LIMIT);
        pm.drive(&mut bench, &mut memory, random);
        bench.set(valid, u64::from(sent < count));
        if sent < count {
            let beat = &frame[at..frame.len().min(at + 16)];
            bench.set_bytes(data, beat);
            bench.set(keep, (1 << beat.len()) - 1);
            let ends = at + 16 >= frame.len();
            bench.set(last, u64::from(ends));
            at = if ends { 0 } else { at + 16 };
            sent += u64::from(ends);
            all_in = bench.clock;
        }
        bench.settle();
        got += bench.get(desc);
        if got == 1 && first == 0 {
            first = bench.clock + 1 - (len as u64).div_ceil(16);
        }
        lost += u64::from(bench.get(drop) != 0);
        bench.tick();
    }
    let note = format!(
        "last beat in to descriptor: {first} clocks; {lost} of {count} lost; wire took {} clocks",
        all_in + 1
    );
    row(
        &format!("rx, {len}-byte TCP frames back to back"),
        count * len as u64,
        bench.clock,
        &note,
    );
}

fn mover(random: &mut Random, name: &str, len: u32, odd: u32, more: u8) {
    let mut bench = Bench::new("sluice_mover", 1);
    let mut read = PmPort::new(&mut bench, "rd_req_o", "rd_rsp_i", 100);
    let mut write = PmPort::new(&mut bench, "wr_req_o", "wr_rsp_i", 100);
    let mut host = Host::new(&mut bench, 1 << 20);
    let mut memory = random.fill(SIZE);
    let job = Move {
        sources: 1,
        bits: bit::CRC | bit::INIT | bit::WRITE | more,
        pieces: [(0x60_0000 + 5 * odd, len), (0, 0), (0, 0), (0, 0)],
        target: if more & bit::TO_HOST == 0 {
            0x80_0000
        } else {
            BASE
        } + u64::from(11 * odd),
        host_source: BASE + 5,
        ..Move::default()
    };
    let names = ["job_valid_i", "job_i", "done_ready_i", "done_valid_o"];
    let [valid, words, ready, done] = names.map(|n| bench.port(n));
    bench.set_words(words, &job.words());
    bench.set(valid, 1);
    bench.set(ready, 1);
    let (mut finished, mut first) = (0, 0);
    while finished < 8 {
        assert!(bench.clock < LIMIT);
        read.drive(&mut bench, &mut memory, random);
        write.drive(&mut bench, &mut memory, random);
        host.drive(&mut bench, random);
        bench.settle();
        finished += bench.get(done);
        if finished == 1 && first == 0 {
            first = bench.clock;
        }
        bench.tick();
    }
    row(
        name,
        8 * u64::from(len),
        bench.clock,
        &format!("job to completion: {first} clocks"),
    );
}
