//! What the mover is to do with a job, from `docs/card.md`, section 3.

use std::collections::HashMap;

use sluice_wire::crc32c::{crc32c, resume};

use crate::host::BASE;

/// A move job, not yet packed.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Comes back.
    pub tag: u16,
    /// Source entries as the job says.
    pub sources: u8,
    /// Word 0 bits 25:20: CRC, CRC anew, write data, host source, host target, write CRC.
    pub bits: u8,
    /// CRC context.
    pub context: u16,
    /// Where the CRC goes.
    pub crc_addr: u32,
    /// Target address.
    pub target: u64,
    /// Packet-memory pieces.
    pub pieces: [(u32, u32); 4],
    /// Host source, used with its bit; its length is that of piece 0.
    pub host_source: u64,
}

/// Bits of [`Job::bits`].
#[allow(missing_docs, reason = "the names say it")]
pub mod bit {
    pub const CRC: u8 = 1;
    pub const INIT: u8 = 2;
    pub const WRITE: u8 = 4;
    pub const FROM_HOST: u8 = 8;
    pub const TO_HOST: u8 = 16;
    pub const WRITE_CRC: u8 = 32;
}

impl Job {
    /// Words 0 to 15.
    #[must_use]
    pub fn words(&self) -> [u32; 16] {
        let mut w = [0; 16];
        w[0] = u32::from(self.tag) | u32::from(self.sources) << 16 | u32::from(self.bits) << 20;
        w[1] = u32::from(self.context);
        w[3] = self.crc_addr;
        w[4] = self.target as u32;
        w[5] = (self.target >> 32) as u32;
        for (i, (addr, len)) in self.pieces.iter().enumerate() {
            w[6 + 2 * i] = *addr;
            w[7 + 2 * i] = *len;
        }
        if self.has(bit::FROM_HOST) {
            w[6] = self.host_source as u32;
            w[14] = (self.host_source >> 32) as u32;
        }
        w
    }

    /// The bit is set.
    #[must_use]
    pub fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }
}

/// A completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Core of the job.
    pub core: u8,
    /// Its tag.
    pub tag: u16,
    /// CRC in final form, 0 without CRC.
    pub crc: u32,
    /// Everything was moved.
    pub ok: bool,
}

/// Memories and contexts as they are to be after the jobs so far.
pub struct Mover {
    /// Packet memory.
    pub pm: Vec<u8>,
    /// Host memory at [`BASE`].
    pub host: Vec<u8>,
    /// Offset from which host reads fail.
    pub host_limit: usize,
    contexts: HashMap<(u8, u16), u32>,
}

impl Mover {
    /// Over these memories.
    #[must_use]
    pub fn new(pm: Vec<u8>, host: Vec<u8>, host_limit: usize) -> Self {
        Self {
            pm,
            host,
            host_limit,
            contexts: HashMap::new(),
        }
    }

    /// Executes a job whose host reads, if any, succeed.
    pub fn execute(&mut self, core: u8, job: &Job) -> Done {
        let from_host = job.has(bit::FROM_HOST);
        let count = if from_host {
            1
        } else {
            usize::from(job.sources)
        };
        let total: u32 = job.pieces.iter().take(count).map(|(_, len)| len).sum();
        let legal = (1..=4).contains(&job.sources) && total <= 128 << 10;
        let data = if legal {
            self.read(job, from_host, count)
        } else {
            Vec::new()
        };
        let mut crc = 0;
        if job.has(bit::CRC) {
            let before = if job.has(bit::INIT) {
                crc32c(&[])
            } else {
                self.contexts[&(core, job.context % 256)]
            };
            crc = resume(before, &data);
            self.contexts.insert((core, job.context % 256), crc);
        }
        if job.has(bit::WRITE) && !data.is_empty() {
            self.write(job, &data);
        }
        if job.has(bit::CRC) && job.has(bit::WRITE_CRC) && legal {
            let at = job.crc_addr as usize;
            self.pm[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        }
        Done {
            core,
            tag: job.tag,
            crc,
            ok: legal,
        }
    }

    fn read(&self, job: &Job, from_host: bool, count: usize) -> Vec<u8> {
        if from_host {
            let at = (job.host_source - BASE) as usize;
            return self.host[at..at + job.pieces[0].1 as usize].to_vec();
        }
        let pieces = job.pieces.iter().take(count);
        pieces
            .flat_map(|(addr, len)| {
                self.pm[*addr as usize..(*addr + *len) as usize]
                    .iter()
                    .copied()
            })
            .collect()
    }

    fn write(&mut self, job: &Job, data: &[u8]) {
        if job.has(bit::TO_HOST) {
            let at = (job.target - BASE) as usize;
            self.host[at..at + data.len()].copy_from_slice(data);
        } else {
            let at = job.target as usize;
            self.pm[at..at + data.len()].copy_from_slice(data);
        }
    }
}
