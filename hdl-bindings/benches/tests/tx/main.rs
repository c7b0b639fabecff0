//! tx: every frame of every job against the software model, with memory and wire stalling.

mod roce;

use std::collections::VecDeque;

use sluice_benches::{
    bench::Bench,
    ffi::Port,
    frames::{OWN_MAC, Recipe},
    memory::{PmPort, SIZE},
    random::Random,
    tx_model::Job,
};

struct Tx {
    bench: Bench,
    pm: PmPort,
    memory: Vec<u8>,
    job_valid: Port,
    job_ready: Port,
    job_core: Port,
    job: Port,
    done_valid: Port,
    done_core: Port,
    valid: Port,
    ready: Port,
    data: Port,
    keep: Port,
    last: Port,
    cnt_frame: Port,
    cnt_bytes: Port,
    cnt_bad: Port,
    wire_percent: u64,
    job_percent: u64,
}

impl Tx {
    fn new(grant: u64, wire_percent: u64, job_percent: u64) -> Self {
        let mut b = Bench::new("sluice_tx", 3);
        let pm = PmPort::new(&mut b, "pm_req_o", "pm_rsp_i", grant);
        Self {
            pm,
            memory: vec![0; SIZE],
            job_valid: b.port("job_valid_i"),
            job_ready: b.port("job_ready_o"),
            job_core: b.port("job_core_i"),
            job: b.port("job_i"),
            done_valid: b.port("done_valid_o"),
            done_core: b.port("done_core_o"),
            valid: b.port("tx_valid_o"),
            ready: b.port("tx_ready_i"),
            data: b.port("tx_data_o"),
            keep: b.port("tx_keep_o"),
            last: b.port("tx_last_o"),
            cnt_frame: b.port("cnt_frame_o"),
            cnt_bytes: b.port("cnt_bytes_o"),
            cnt_bad: b.port("cnt_bad_o"),
            bench: b,
            wire_percent,
            job_percent,
        }
    }

    /// Sends the jobs; checks frames, completions and counters. A job's memory is overwritten when it is reported done.
    fn check(&mut self, random: &mut Random, jobs: &[Job]) {
        let mut frames: VecDeque<Vec<u8>> = jobs
            .iter()
            .flat_map(|job| job.frames(&self.memory))
            .collect();
        let (mut posted, mut done, mut bad, mut sent, mut counted) = (0, 0, 0, 0, (0, 0));
        let (mut frame, mut bytes) = (Vec::new(), 0);
        let mut offered = false;
        let total = frames.len();
        let deadline = self.bench.clock + 20_000 + jobs.len() as u64 * 30_000;
        while done < jobs.len() || counted.0 < total {
            assert!(
                self.bench.clock < deadline,
                "stuck: {done} of {} jobs, {sent} of {total} frames",
                jobs.len()
            );
            self.pm.drive(&mut self.bench, &mut self.memory, random);
            if self.bench.get(self.done_valid) == 1 {
                let job = &jobs[done];
                assert_eq!(
                    self.bench.get(self.done_core),
                    done as u64 % 3,
                    "completions come in order"
                );
                assert_eq!(self.bench.get(self.cnt_bad) == 1, job.malformed());
                bad += usize::from(job.malformed());
                done += 1;
                if !job.malformed() {
                    self.scribble(job);
                }
            }
            if self.bench.get(self.cnt_frame) == 1 {
                counted.0 += 1;
                counted.1 += self.bench.get(self.cnt_bytes) as usize;
            }
            offered |= posted < jobs.len() && random.chance(self.job_percent);
            self.bench.set(self.job_valid, u64::from(offered));
            if offered {
                self.bench.set_words(self.job, &jobs[posted].words());
                self.bench.set(self.job_core, posted as u64 % 3);
            }
            let ready = random.chance(self.wire_percent);
            self.bench.set(self.ready, u64::from(ready));
            self.bench.settle();
            if offered && self.bench.get(self.job_ready) == 1 {
                posted += 1;
                offered = false;
            }
            if ready && self.bench.get(self.valid) == 1 {
                let count = self.bench.get(self.keep).trailing_ones() as usize;
                frame.extend_from_slice(&self.bench.bytes(self.data)[..count]);
                if self.bench.get(self.last) == 1 {
                    let wanted = frames
                        .pop_front()
                        .expect("no frame more than there should be");
                    assert_eq!(frame.len(), wanted.len(), "length of frame {sent}");
                    for (at, (got, want)) in frame.iter().zip(&wanted).enumerate() {
                        assert_eq!(
                            got,
                            want,
                            "byte {at} of frame {sent} ({} bytes)",
                            wanted.len()
                        );
                    }
                    bytes += frame.len();
                    sent += 1;
                    frame.clear();
                }
            }
            self.bench.tick();
        }
        assert!(frames.is_empty());
        assert_eq!(counted, (total, bytes), "frame and byte counters");
        assert_eq!(bad, jobs.iter().filter(|j| j.malformed()).count());
    }

    fn scribble(&mut self, job: &Job) {
        for (addr, len) in job.gather.iter().take(usize::from(job.gather_len)) {
            self.memory[*addr as usize..(addr + len) as usize].fill(0xEE);
        }
    }
}

/// Lays `bytes` out in up to 4 pieces at odd places and returns the gather list. `at` moves on.
fn scatter(random: &mut Random, memory: &mut [u8], at: &mut u32, bytes: &[u8], job: &mut Job) {
    job.gather_len = random.range(if bytes.is_empty() { 0 } else { 1 }, 4) as u8;
    let mut rest = bytes;
    for i in 0..usize::from(job.gather_len) {
        let last = i + 1 == usize::from(job.gather_len);
        let len = if last {
            rest.len()
        } else {
            random.size(0, rest.len())
        };
        let addr = place(random, memory, at, &rest[..len]);
        job.gather[i] = (addr, len as u32);
        rest = &rest[len..];
    }
}

fn place(random: &mut Random, memory: &mut [u8], at: &mut u32, bytes: &[u8]) -> u32 {
    *at += random.range(0, 40) as u32;
    let addr = *at;
    memory[addr as usize..addr as usize + bytes.len()].copy_from_slice(bytes);
    *at += bytes.len() as u32;
    addr
}

fn tcp_job(random: &mut Random, memory: &mut [u8], at: &mut u32, payload: usize, mss: u16) -> Job {
    let mut recipe = Recipe::random(random);
    recipe.protocol = 6;
    recipe.payload.clear();
    recipe.padding = 0;
    recipe.mac = OWN_MAC;
    if recipe.l4() + 20 + recipe.tcp_options.len() > 128 {
        recipe.tcp_options.clear();
    }
    let template = recipe.build(random);
    let timestamps = recipe.tcp_options.len() >= 12 && random.chance(80);
    let mut job = Job {
        tcp: true,
        timestamps,
        flags: random.bits() as u8,
        window: random.bits() as u16,
        header_len: template.len() as u8,
        l3: recipe.l3() as u8,
        l4: recipe.l4() as u8,
        mss,
        numbers: [(); 4].map(|()| random.bits() as u32),
        ..Job::default()
    };
    job.template = place(random, memory, at, &template);
    let bytes = random.fill(payload);
    scatter(random, memory, at, &bytes, &mut job);
    job
}

fn raw_job(random: &mut Random, memory: &mut [u8], at: &mut u32) -> Job {
    let recipe = Recipe::random(random);
    let mut frame = recipe.build(random);
    let sum = match recipe.protocol {
        6 => 1,
        17 => 3,
        _ => 2,
    };
    let mut job = Job {
        l3: recipe.l3() as u8,
        l4: recipe.l4() as u8,
        ..Job::default()
    };
    if random.chance(70) {
        job.sum = sum;
        // The engine is to overwrite whatever is in the checksum fields.
        let place = recipe.l4() + [0, 16, 2, 6][usize::from(sum)];
        frame[place] ^= random.bits() as u8;
    }
    scatter(random, memory, at, &frame, &mut job);
    job
}

fn spoil(random: &mut Random, job: &mut Job) {
    match random.range(0, 5) {
        0 => job.gather_len = random.range(5, 7) as u8,
        1 if job.tcp => job.header_len = 0,
        2 if job.tcp => job.mss = 0,
        3 if job.tcp => job.l4 = job.header_len - 10,
        4 => job.gather[0].1 = if job.tcp { 5 } else { 20_000 },
        _ => job.gather_len = 0,
    }
}

fn jobs(random: &mut Random, memory: &mut [u8], count: usize) -> Vec<Job> {
    let mut at = 0x10_0000;
    (0..count)
        .map(|_| {
            let mut job = match random.range(0, 9) {
                0..=3 => raw_job(random, memory, &mut at),
                4 => {
                    let (mss, payload) = (random.range(8000, 8960) as u16, random.size(0, 30_000));
                    tcp_job(random, memory, &mut at, payload, mss)
                }
                5 => {
                    let (mss, payload) = (random.range(1, 40) as u16, random.size(0, 300));
                    tcp_job(random, memory, &mut at, payload, mss)
                }
                6 => {
                    let segments = random.size(1, 4);
                    tcp_job(random, memory, &mut at, segments * 1448, 1448)
                }
                _ => {
                    let (mss, payload) = (random.range(500, 1460) as u16, random.size(0, 9000));
                    tcp_job(random, memory, &mut at, payload, mss)
                }
            };
            if random.chance(10) {
                spoil(random, &mut job);
            }
            job
        })
        .collect()
}

#[test]
fn jobs_become_the_frames_the_model_makes_at_full_speed() {
    let mut random = Random::new(11);
    let mut tx = Tx::new(100, 100, 100);
    let list = jobs(&mut random, &mut tx.memory, 400);
    tx.check(&mut random, &list);
}

#[test]
fn jobs_become_the_frames_the_model_makes_with_everything_stalling() {
    let mut random = Random::new(12);
    for (grant, wire, post) in [
        (50, 100, 30),
        (100, 40, 100),
        (70, 70, 50),
        (20, 90, 100),
        (90, 10, 100),
    ] {
        let mut tx = Tx::new(grant, wire, post);
        let list = jobs(&mut random, &mut tx.memory, 80);
        tx.check(&mut random, &list);
    }
}

#[test]
fn every_payload_length_around_a_segment_boundary_is_cut_right() {
    let mut random = Random::new(13);
    let mut tx = Tx::new(100, 100, 100);
    let mut at = 0x10_0000;
    let mut list = Vec::new();
    for mss in [1_u16, 15, 16, 17, 536] {
        for payload in (0..40).chain(usize::from(mss) * 2 - 1..usize::from(mss) * 2 + 2) {
            list.push(tcp_job(&mut random, &mut tx.memory, &mut at, payload, mss));
        }
    }
    tx.check(&mut random, &list);
}

#[test]
fn the_udp_checksum_of_zero_is_sent_as_all_ones() {
    let mut random = Random::new(14);
    let mut tx = Tx::new(100, 100, 100);
    let recipe = Recipe {
        v6: false,
        vlan: None,
        ip_options: 0,
        protocol: 17,
        payload: vec![0; 2],
        padding: 0,
        ..Recipe::random(&mut random)
    };
    let mut frame = recipe.build(&mut random);
    // The two payload bytes take the checksum's value, so that the sum comes out as zero.
    let sum = [frame[40], frame[41]];
    frame[42..44].copy_from_slice(&sum);
    let mut at = 0x10_0000;
    let addr = place(&mut random, &mut tx.memory, &mut at, &frame);
    let job = Job {
        sum: 3,
        l3: 14,
        l4: 34,
        gather_len: 1,
        gather: [(addr, frame.len() as u32), (0, 0), (0, 0), (0, 0)],
        ..Job::default()
    };
    assert_eq!(job.frames(&tx.memory)[0][40..42], [0xFF, 0xFF]);
    tx.check(&mut random, &[job]);
}
