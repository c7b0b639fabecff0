//! mover: every job against the software model, byte for byte in both memories, with everything stalling.

use sluice_benches::{
    bench::Bench,
    ffi::Port,
    host::{BASE, Host},
    memory::{PmPort, SIZE},
    mover_model::{Done, Job, Mover, bit},
    random::Random,
};

const HOST_BYTES: usize = 1 << 20;

struct Rig {
    bench: Bench,
    read: PmPort,
    write: PmPort,
    host: Host,
    pm: Vec<u8>,
    job_valid: Port,
    job_ready: Port,
    job_core: Port,
    job: Port,
    done_valid: Port,
    done_ready: Port,
    done_core: Port,
    done: Port,
    cnt_move: Port,
    cnt_bytes: Port,
}

impl Rig {
    fn new(random: &mut Random, percent: u64, latency: u64) -> Self {
        let mut b = Bench::new("sluice_mover", 5);
        let read = PmPort::new(&mut b, "rd_req_o", "rd_rsp_i", percent);
        let write = PmPort::new(&mut b, "wr_req_o", "wr_rsp_i", percent);
        let mut host = Host::new(&mut b, HOST_BYTES);
        host.bytes = random.fill(HOST_BYTES);
        host.ready_percent = percent;
        host.latency = latency;
        Self {
            read,
            write,
            host,
            pm: random.fill(SIZE),
            job_valid: b.port("job_valid_i"),
            job_ready: b.port("job_ready_o"),
            job_core: b.port("job_core_i"),
            job: b.port("job_i"),
            done_valid: b.port("done_valid_o"),
            done_ready: b.port("done_ready_i"),
            done_core: b.port("done_core_o"),
            done: b.port("done_o"),
            cnt_move: b.port("cnt_move_o"),
            cnt_bytes: b.port("cnt_bytes_o"),
            bench: b,
        }
    }

    /// Does one job; its completion and the bytes counted.
    fn execute(&mut self, random: &mut Random, core: u8, job: &Job, percent: u64) -> (Done, u64) {
        let (mut taken, mut done, deadline) = (false, None, self.bench.clock + 100_000);
        loop {
            assert!(self.bench.clock < deadline, "stuck on {job:?}");
            self.read.drive(&mut self.bench, &mut self.pm, random);
            self.write.drive(&mut self.bench, &mut self.pm, random);
            self.host.drive(&mut self.bench, random);
            if self.bench.get(self.cnt_move) == 1 {
                let counted = self.bench.get(self.cnt_bytes);
                self.bench.set(self.job_valid, 0);
                self.bench.settle();
                self.bench.tick();
                return (done.expect("counted after it is done"), counted);
            }
            self.bench.set(self.job_valid, u64::from(!taken));
            self.bench.set(self.job_core, u64::from(core));
            self.bench.set_words(self.job, &job.words());
            let ready = random.chance(percent);
            self.bench.set(self.done_ready, u64::from(ready));
            self.bench.settle();
            taken |= !taken && self.bench.get(self.job_ready) == 1;
            if ready && self.bench.get(self.done_valid) == 1 {
                let bits = self.bench.get(self.done);
                done = Some(Done {
                    core: self.bench.get(self.done_core) as u8,
                    tag: (bits >> 32) as u16,
                    crc: bits as u32,
                    ok: bits >> 48 & 1 == 1,
                });
            }
            self.bench.tick();
        }
    }

    fn model(&self) -> Mover {
        Mover::new(self.pm.clone(), self.host.bytes.clone(), self.host.limit)
    }
}

/// A job whose sources (3 MiB up) and targets (8 MiB up) do not overlap.
fn random_job(random: &mut Random, started: &mut [Vec<u16>; 2], core: u8) -> Job {
    let mut job = Job {
        tag: random.bits() as u16,
        sources: random.range(1, 4) as u8,
        ..Job::default()
    };
    job.bits = random.bits() as u8 & (bit::CRC | bit::WRITE | bit::WRITE_CRC);
    if random.chance(25) {
        job.bits |= bit::FROM_HOST;
        job.host_source = BASE + random.range(0, 0x7_0000);
    }
    if random.chance(25) {
        job.bits |= bit::TO_HOST;
    }
    let longest = random.pick(&[3, 20, 70, 4096]);
    for (i, piece) in job.pieces.iter_mut().enumerate() {
        let len = random.range(u64::from(i == 0), longest);
        *piece = (
            0x30_0000 + i as u32 * 0x10_0000 + random.range(0, 0xFFFF) as u32,
            len as u32,
        );
    }
    job.target = if job.has(bit::TO_HOST) {
        BASE + 0x8_0000
    } else {
        0x80_0000
    } + random.range(0, 0x1_0000);
    job.crc_addr = 0xF0_0000 + random.range(0, 0xFF) as u32;
    job.context = random.range(0, 255) as u16;
    let known = &mut started[usize::from(core)];
    if job.has(bit::CRC) && !known.contains(&job.context) {
        job.bits |= bit::INIT;
        known.push(job.context);
    } else if random.chance(30) {
        job.bits |= bit::INIT;
    }
    job
}

fn compare(rig: &Rig, model: &Mover) {
    if let Some(at) = (0..SIZE).find(|at| rig.pm[*at] != model.pm[*at]) {
        panic!(
            "packet memory differs at {at:#x}: {:#04x}, not {:#04x}",
            rig.pm[at], model.pm[at]
        );
    }
    assert!(rig.host.bytes == model.host, "host memory differs");
}

#[test]
fn random_moves_leave_both_memories_as_the_model_does() {
    for (seed, percent, latency) in [(21, 100, 1), (22, 60, 30), (23, 25, 200)] {
        let mut random = Random::new(seed);
        let mut rig = Rig::new(&mut random, percent, latency);
        let mut model = rig.model();
        let mut started = [Vec::new(), Vec::new()];
        for n in 0..150 {
            let core = random.range(0, 1) as u8;
            let job = random_job(&mut random, &mut started, core);
            let wanted = model.execute(core, &job);
            let (done, bytes) = rig.execute(&mut random, core, &job, percent);
            assert_eq!(done, wanted, "job {n}: {job:?}");
            let count = if job.has(bit::FROM_HOST) {
                1
            } else {
                usize::from(job.sources)
            };
            assert_eq!(
                bytes,
                job.pieces
                    .iter()
                    .take(count)
                    .map(|(_, len)| u64::from(*len))
                    .sum::<u64>()
            );
        }
        compare(&rig, &model);
    }
}

#[test]
fn every_pair_of_alignments_and_short_lengths_moves_right() {
    let mut random = Random::new(24);
    let mut rig = Rig::new(&mut random, 100, 1);
    let mut model = rig.model();
    for from in 0..16_u32 {
        for to in 0..16_u32 {
            let len = random.range(1, 50) as u32;
            let job = Job {
                tag: (from * 16 + to) as u16,
                sources: 1,
                bits: bit::CRC | bit::INIT | bit::WRITE | bit::WRITE_CRC,
                pieces: [(0x30_0000 + from, len), (0, 0), (0, 0), (0, 0)],
                target: u64::from(0x80_0000 + to),
                crc_addr: 0x90_0000 + from * 17,
                ..Job::default()
            };
            let wanted = model.execute(0, &job);
            assert_eq!(rig.execute(&mut random, 0, &job, 100).0, wanted);
        }
    }
    compare(&rig, &model);
}

#[test]
fn illegal_and_empty_jobs_complete() {
    let mut random = Random::new(25);
    let mut rig = Rig::new(&mut random, 100, 1);
    let mut model = rig.model();
    let piece = (0x30_0000, 0x1_0000);
    let cases = [
        (0, [(0, 16); 4], false),
        (5, [(0, 16); 4], false),
        (7, [(0, 16); 4], false),
        (3, [piece, piece, (0, 1), (0, 0)], false),
        (2, [piece, piece, (0, 0), (0, 0)], true),
        (4, [(3, 0); 4], true),
        // Empty entries behind and between whole rows.
        (2, [(0x30_0000, 32), (0x31_0000, 0), (0, 0), (0, 0)], true),
        (
            4,
            [
                (0x30_0000, 0),
                (0x31_0007, 16),
                (0x32_0000, 0),
                (0x33_0000, 0),
            ],
            true,
        ),
    ];
    for (sources, pieces, ok) in cases {
        let job = Job {
            sources,
            pieces,
            bits: bit::CRC | bit::INIT | bit::WRITE,
            target: 0x80_0001,
            tag: 9,
            ..Job::default()
        };
        let wanted = model.execute(1, &job);
        assert_eq!(wanted.ok, ok);
        assert_eq!(rig.execute(&mut random, 1, &job, 100).0, wanted, "{job:?}");
    }
    compare(&rig, &model);
}

#[test]
fn a_bus_error_is_reported_and_the_next_job_is_unharmed() {
    let mut random = Random::new(26);
    let mut rig = Rig::new(&mut random, 70, 20);
    rig.host.limit = 0x8000;
    let mut model = rig.model();
    for n in 0..20_u16 {
        let before = rig.pm.clone();
        let host_source = BASE + 0x8000 - random.range(0, 300);
        let broken = Job {
            tag: n,
            sources: 1,
            bits: bit::CRC | bit::INIT | bit::WRITE | bit::WRITE_CRC | bit::FROM_HOST,
            host_source,
            pieces: [(0, 1000), (0, 0), (0, 0), (0, 0)],
            target: u64::from(0x80_0000 + u32::from(n)),
            crc_addr: 0xA0_0000,
            ..Job::default()
        };
        let (done, _) = rig.execute(&mut random, 0, &broken, 70);
        assert!(!done.ok && done.tag == n);
        assert_eq!(
            rig.pm[0xA0_0000..0xA0_0004],
            before[0xA0_0000..0xA0_0004],
            "no CRC is written"
        );
        // Only bytes from before the error may have arrived.
        let good = (BASE + 0x8000 - host_source) as usize;
        let from = (host_source - BASE) as usize;
        for i in 0..1000 {
            let at = broken.target as usize + i;
            assert!(
                rig.pm[at] == before[at] || (i < good && rig.pm[at] == rig.host.bytes[from + i]),
                "byte {i}"
            );
        }
        model.pm.copy_from_slice(&rig.pm);
        let mut whole = broken.clone();
        whole.host_source = BASE + random.range(0, 0x4000);
        let wanted = model.execute(0, &whole);
        assert_eq!(rig.execute(&mut random, 0, &whole, 70).0, wanted);
        compare(&rig, &model);
    }
}
