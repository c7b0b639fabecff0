//! What kind of SSD it is.

use std::path::PathBuf;

use crate::fabric::Clock;

/// An SSD to be built.
#[derive(Clone, Debug)]
pub struct SsdConfig {
    /// For messages.
    pub name: String,
    /// Serial number, at most 20 ASCII characters.
    pub serial: String,
    /// Model number, at most 40 ASCII characters.
    pub model: String,
    /// Namespaces, NSID 1 and up.
    pub namespaces: Vec<NamespaceSpec>,
    /// Deepest queue in entries, 2 to 65,536.
    pub queue_entries: u32,
    /// I/O queue pairs, 1 to 128.
    pub io_queues: u16,
    /// Largest transfer is 4,096 << MDTS bytes; 0: no limit.
    pub mdts: u8,
    /// Doorbells are 4 << DSTRD bytes apart; 0 to 4.
    pub dstrd: u8,
    /// MSI-X vectors, 1 to 128.
    pub vectors: u16,
    /// Writes are volatile until flushed, unless they force unit access.
    pub volatile_cache: bool,
    /// I/O commands may use SGLs.
    pub sgl: bool,
    /// How long commands take.
    pub latency: Latency,
    /// I/O commands worked on at once; the others wait in their queues.
    pub parallelism: usize,
    /// Read requests outstanding on the bus.
    pub read_tags: usize,
    /// From CC.EN to CSTS.RDY.
    pub ready_delay: Clock,
    /// Seed of jitter and of what a power cut tears.
    pub seed: u64,
}

/// A namespace to be built.
#[derive(Clone, Debug)]
pub struct NamespaceSpec {
    /// Logical blocks.
    pub blocks: u64,
    /// log2 of the block size: 9 or 12.
    pub block_shift: u8,
    /// Where the data are.
    pub backing: Backing,
    /// Writes are refused.
    pub write_protected: bool,
}

/// Where a namespace's data are.
#[derive(Clone, Debug)]
pub enum Backing {
    /// In memory, only what was written.
    Memory,
    /// In a file, which is created or grown as needed.
    File(PathBuf),
}

/// How long commands take, in clocks of 4 ns, on top of fetching them and moving their data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Latency {
    /// Read and Compare.
    pub read: Clock,
    /// Write.
    pub write: Clock,
    /// Everything else, admin commands included.
    pub other: Clock,
    /// Bytes per 1,000 clocks that the media move, shared by all commands; 0: no limit. 28,000 is 7 GB/s.
    pub bytes_per_kiloclock: u64,
    /// Up to this many more clocks, evenly distributed.
    pub jitter: Clock,
}

impl Latency {
    /// No latency but that of the bus: shows what the card adds.
    pub const ZERO: Self = Self {
        read: 0,
        write: 0,
        other: 0,
        bytes_per_kiloclock: 0,
        jitter: 0,
    };
    /// A fast TLC drive: 60 µs to read, 12 µs to its write buffer, 7 GB/s.
    pub const NAND: Self = Self {
        read: 15_000,
        write: 3_000,
        other: 2_500,
        bytes_per_kiloclock: 28_000,
        jitter: 2_500,
    };
}

impl Default for SsdConfig {
    /// One namespace of 1 GiB in memory with 4 KiB blocks, no latency.
    fn default() -> Self {
        Self {
            name: "ssd0".into(),
            serial: "SLUICESIM0001".into(),
            model: "Sluice simulated SSD".into(),
            namespaces: vec![NamespaceSpec::memory(1 << 30, 12)],
            queue_entries: 1024,
            io_queues: 32,
            mdts: 8,
            dstrd: 0,
            vectors: 33,
            volatile_cache: true,
            sgl: true,
            latency: Latency::ZERO,
            parallelism: 256,
            read_tags: 64,
            ready_delay: 1000,
            seed: 1,
        }
    }
}

impl NamespaceSpec {
    /// `bytes` in memory with blocks of `1 << block_shift` bytes.
    #[must_use]
    pub fn memory(bytes: u64, block_shift: u8) -> Self {
        let blocks = bytes >> block_shift;
        Self {
            blocks,
            block_shift,
            backing: Backing::Memory,
            write_protected: false,
        }
    }
}
