//! The SSD's reads from memory: split into packets, answered one by one, put together again.

use std::collections::{BTreeMap, VecDeque};

use super::pointers::Extent;
use crate::fabric::{BusError, Clock, MAX_PAYLOAD, Port, Tlp};

/// Who waits for a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// Entries of a submission queue; `serial` tells a queue from its successor with the same identifier.
    Fetch {
        /// Queue identifier.
        sqid: u16,
        /// Which queue of that identifier.
        serial: u64,
    },
    /// A command: its PRP list, SGL segment or data.
    Command(u64),
}

/// A finished read.
pub(super) type Finished = (Owner, Result<Vec<u8>, BusError>);

#[derive(Debug)]
struct Chunk {
    job: u64,
    addr: u64,
    len: u32,
    /// Where in the job's data.
    at: usize,
}

#[derive(Debug)]
struct Job {
    owner: Owner,
    data: Vec<u8>,
    /// Chunks not answered yet.
    left: usize,
    failed: bool,
}

/// Reads under way. Tags are never reused, so that an answer that comes after a reset finds nobody.
#[derive(Debug, Default)]
pub(super) struct Dma {
    next_tag: u32,
    next_job: u64,
    waiting: VecDeque<Chunk>,
    flying: BTreeMap<u32, Chunk>,
    jobs: BTreeMap<u64, Job>,
}

impl Dma {
    /// Reads the extents, which hold at least one byte, for `owner`.
    pub fn read(&mut self, owner: Owner, extents: &[Extent]) {
        let job = self.next_job;
        self.next_job += 1;
        let (mut at, before) = (0, self.waiting.len());
        for extent in extents {
            for (addr, len) in pieces(extent.addr, extent.len as usize) {
                self.waiting.push_back(Chunk {
                    job,
                    addr,
                    len: len as u32,
                    at,
                });
                at += len;
            }
        }
        let left = self.waiting.len() - before;
        self.jobs.insert(
            job,
            Job {
                owner,
                data: vec![0; at],
                left,
                failed: false,
            },
        );
    }

    /// Sends requests while fewer than `limit` are unanswered.
    pub fn pump(&mut self, now: Clock, limit: usize, port: &mut Port) {
        while self.flying.len() < limit.max(1)
            && let Some(chunk) = self.waiting.pop_front()
        {
            let tag = self.next_tag;
            self.next_tag = self.next_tag.wrapping_add(1);
            port.send(
                now,
                Tlp::Read {
                    addr: chunk.addr,
                    len: chunk.len,
                    tag,
                },
            );
            self.flying.insert(tag, chunk);
        }
    }

    /// Takes an answer; gives the job back when it was the last.
    pub fn answer(&mut self, tag: u32, data: Result<Vec<u8>, BusError>) -> Option<Finished> {
        let chunk = self.flying.remove(&tag)?;
        let job = self.jobs.get_mut(&chunk.job)?;
        match data {
            Ok(bytes) if bytes.len() == chunk.len as usize => {
                job.data[chunk.at..][..bytes.len()].copy_from_slice(&bytes);
            }
            _ => job.failed = true,
        }
        job.left -= 1;
        if job.left > 0 {
            return None;
        }
        let job = self.jobs.remove(&chunk.job)?;
        Some((
            job.owner,
            if job.failed {
                Err(BusError)
            } else {
                Ok(job.data)
            },
        ))
    }

    /// Forgets all reads.
    pub fn reset(&mut self) {
        self.waiting.clear();
        self.flying.clear();
        self.jobs.clear();
    }

    /// I/O queue entries being fetched.
    pub fn fetching(&self) -> usize {
        let entries = |j: &&Job| matches!(j.owner, Owner::Fetch { sqid: 1.., .. });
        self.jobs
            .values()
            .filter(entries)
            .map(|j| j.data.len() / 64)
            .sum()
    }

    /// Forgets the reads of one owner.
    pub fn cancel(&mut self, owner: Owner) {
        let jobs = &mut self.jobs;
        jobs.retain(|_, job| job.owner != owner);
        self.waiting.retain(|chunk| jobs.contains_key(&chunk.job));
    }
}

/// Posts a write of any length.
pub(super) fn write(out: &mut VecDeque<Tlp>, addr: u64, data: &[u8]) {
    let mut rest = data;
    for (addr, len) in pieces(addr, data.len()) {
        let (piece, after) = rest.split_at(len);
        out.push_back(Tlp::Write {
            addr,
            data: piece.to_vec(),
        });
        rest = after;
    }
}

/// Pieces that end at multiples of [`MAX_PAYLOAD`], so that none crosses a 4 KiB boundary (PCIe Base 5.0, section 2.2.7).
fn pieces(addr: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = addr.wrapping_add(done as u64);
        let room = MAX_PAYLOAD - (at % MAX_PAYLOAD as u64) as usize;
        let piece = room.min(len - done);
        done += piece;
        (piece > 0).then_some((at, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_and_never_cross_a_boundary() {
        let all: Vec<_> = pieces(0x10F8, 600).collect();
        assert_eq!(
            all,
            [(0x10F8, 8), (0x1100, 256), (0x1200, 256), (0x1300, 80)]
        );
        assert_eq!(pieces(5, 0).count(), 0);
    }

    #[test]
    fn a_read_is_put_together_whatever_the_order_of_answers() {
        let (mut dma, mut port) = (Dma::default(), Port::default());
        let extents = [
            Extent {
                addr: 0x100,
                len: 300,
            },
            Extent {
                addr: 0x5000,
                len: 10,
            },
        ];
        dma.read(Owner::Command(7), &extents);
        dma.pump(5, 8, &mut port);
        let mut requests = Vec::new();
        while let Some((at, Tlp::Read { addr, len, tag })) = port.outbox.pop_front() {
            assert_eq!(at, 5);
            requests.push((addr, len, tag));
        }
        assert_eq!(requests.len(), 3);
        let bytes = |addr: u64, len: u32| (0..u64::from(len)).map(|i| (addr + i) as u8).collect();
        for (addr, len, tag) in requests[1..].iter().rev() {
            assert_eq!(dma.answer(*tag, Ok(bytes(*addr, *len))), None);
        }
        let (addr, len, tag) = requests[0];
        let mut want: Vec<u8> = bytes(0x100, 300);
        want.extend::<Vec<u8>>(bytes(0x5000, 10));
        assert_eq!(
            dma.answer(tag, Ok(bytes(addr, len))),
            Some((Owner::Command(7), Ok(want)))
        );
        assert_eq!(
            dma.answer(tag, Ok(bytes(addr, len))),
            None,
            "answered twice"
        );
    }

    #[test]
    fn one_failed_or_short_answer_fails_the_read() {
        for bad in [Err(BusError), Ok(vec![1, 2])] {
            let (mut dma, mut port) = (Dma::default(), Port::default());
            dma.read(Owner::Command(1), &[Extent { addr: 0, len: 512 }]);
            dma.pump(0, 1, &mut port);
            assert_eq!(port.outbox.len(), 1, "one tag, one request");
            assert_eq!(dma.answer(0, bad), None);
            dma.pump(0, 1, &mut port);
            assert_eq!(
                dma.answer(1, Ok(vec![0; 256])),
                Some((Owner::Command(1), Err(BusError)))
            );
        }
    }
}
