//! Host memory as the mover's outbound port sees it: stalls, latency, and a range that no device answers for.

use std::collections::VecDeque;

use crate::{bench::Bench, ffi::Port, random::Random};

/// Bus address of the first byte of [`Host::bytes`]; above 4 GiB, so that the high half matters.
pub const BASE: u64 = 0x12_3400_0000;

/// Host memory behind `host_req_o` and `host_rsp_i`.
pub struct Host {
    /// What lies at [`BASE`].
    pub bytes: Vec<u8>,
    /// Reads that touch this offset or beyond fail.
    pub limit: usize,
    /// Share of clocks in which a request is taken.
    pub ready_percent: u64,
    /// Clocks from a read to its data, at least 1.
    pub latency: u64,
    req: Port,
    rsp: Port,
    answers: VecDeque<(u64, Option<[u8; 16]>)>,
}

impl Host {
    /// `len` bytes of host memory.
    pub fn new(bench: &mut Bench, len: usize) -> Self {
        let (req, rsp) = (bench.port("host_req_o"), bench.port("host_rsp_i"));
        Self {
            bytes: vec![0; len],
            limit: len,
            ready_percent: 100,
            latency: 40,
            req,
            rsp,
            answers: VecDeque::new(),
        }
    }

    /// This clock's handshake and data. `host_req_t`: wdata 127:0, be 143:128, addr 207:144, we 208, valid 209.
    pub fn drive(&mut self, bench: &mut Bench, random: &mut Random) {
        let request = bench.bytes(self.req).to_vec();
        let be = u16::from_le_bytes([request[16], request[17]]);
        let addr = u64::from_le_bytes(request[18..26].try_into().expect("8 bytes"));
        let (we, valid) = (request[26] & 1 == 1, request[26] & 2 == 2);
        let ready = random.chance(self.ready_percent);
        let mut response = [0; 20];
        if self
            .answers
            .front()
            .is_some_and(|(due, _)| *due <= bench.clock)
        {
            match self.answers.pop_front().expect("just seen").1 {
                Some(data) => response[..16].copy_from_slice(&data),
                None => response[16] |= 1,
            }
            response[16] |= 2;
        }
        if ready {
            response[16] |= 4;
        }
        if valid && ready {
            assert_eq!(addr % 16, 0, "requests are aligned");
            assert_ne!(be, 0, "some byte is meant");
            assert_eq!(
                be >> be.trailing_zeros() & (be >> be.trailing_zeros()).wrapping_add(1),
                0,
                "enables are contiguous"
            );
            let at = (addr - BASE) as usize;
            if we {
                self.write(at, be, &request[..16]);
            } else {
                let data = (at + 16 <= self.limit)
                    .then(|| self.bytes[at..at + 16].try_into().expect("a row"));
                self.answers.push_back((bench.clock + self.latency, data));
                assert!(
                    self.answers.len() <= 16,
                    "at most HostReads reads in flight"
                );
            }
        }
        bench.set_bytes(self.rsp, &response);
    }

    fn write(&mut self, at: usize, be: u16, data: &[u8]) {
        for lane in (0..16).filter(|lane| be >> lane & 1 == 1) {
            self.bytes[at + lane] = data[lane];
        }
    }
}
