//! Packet memory as an engine's port sees it: grants at random, reads answered two clocks after their grant.

use std::collections::VecDeque;

use crate::{bench::Bench, ffi::Port, random::Random};

/// Clocks from grant to data (`PmLatency`).
const LATENCY: u64 = 2;
/// Bytes of memory.
pub const SIZE: usize = 16 << 20;

/// A request as packed in `pm_req_t`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PmReq {
    /// It is there.
    pub req: bool,
    /// It is a write.
    pub we: bool,
    /// Row of 16 bytes.
    pub row: u32,
    /// Byte enables.
    pub be: u16,
    /// What to write.
    pub wdata: [u8; 16],
}

impl PmReq {
    /// Bytes of `pm_req_t` in a port.
    pub const BYTES: usize = 24;

    /// Takes the fields apart: wdata 127:0, be 143:128, row 163:144, we 164, req 165.
    #[must_use]
    pub fn unpack(bytes: &[u8]) -> Self {
        let high = u64::from_le_bytes(bytes[16..24].try_into().expect("8 bytes"));
        Self {
            req: high >> 37 & 1 == 1,
            we: high >> 36 & 1 == 1,
            row: (high >> 16) as u32 & 0xF_FFFF,
            be: high as u16,
            wdata: bytes[..16].try_into().expect("16 bytes"),
        }
    }

    /// The inverse of [`PmReq::unpack`].
    #[must_use]
    pub fn pack(&self) -> [u8; Self::BYTES] {
        let high = u64::from(self.req) << 37
            | u64::from(self.we) << 36
            | u64::from(self.row) << 16
            | u64::from(self.be);
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.wdata);
        bytes[16..].copy_from_slice(&high.to_le_bytes());
        bytes
    }
}

/// One port's request and response pair on a bench.
pub struct PmPort {
    req: Port,
    rsp: Port,
    grant_percent: u64,
    answers: VecDeque<(u64, [u8; 16])>,
}

impl PmPort {
    /// The port pair of these names, granted in `grant_percent` of the clocks.
    pub fn new(bench: &mut Bench, req: &str, rsp: &str, grant_percent: u64) -> Self {
        Self {
            req: bench.port(req),
            rsp: bench.port(rsp),
            grant_percent,
            answers: VecDeque::new(),
        }
    }

    /// Changes the share of clocks in which requests are granted.
    pub fn set_grant(&mut self, percent: u64) {
        self.grant_percent = percent;
    }

    /// This clock's grant and data. Reads of a clock come before writes: call readers' ports first.
    pub fn drive(&mut self, bench: &mut Bench, memory: &mut [u8], random: &mut Random) {
        let request = PmReq::unpack(bench.bytes(self.req));
        let granted = request.req && random.chance(self.grant_percent);
        let mut response = [0; 20];
        if self
            .answers
            .front()
            .is_some_and(|(due, _)| *due == bench.clock)
        {
            response[..16].copy_from_slice(&self.answers.pop_front().expect("just seen").1);
            response[16] |= 1;
        }
        if granted {
            response[16] |= 2;
            let at = request.row as usize * 16;
            if request.we {
                for lane in (0..16).filter(|lane| request.be >> lane & 1 == 1) {
                    memory[at + lane] = request.wdata[lane];
                }
            } else {
                let data = memory[at..at + 16].try_into().expect("a row");
                self.answers.push_back((bench.clock + LATENCY, data));
            }
        }
        bench.set_bytes(self.rsp, &response);
    }
}
