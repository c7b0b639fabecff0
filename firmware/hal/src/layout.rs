//! Where things lie in packet memory (16 MiB in the default build). `docs/card.md` has the same table;
//! the rx engine's buffer pools are fixed in the RTL (`sluice_pkg.sv`), the rest is the firmware's choice.

use sluice_wire::mgmt::log_ring;
use sluice_wire::stats;

/// Size of packet memory, in bytes.
pub const PM_SIZE: u32 = 16 << 20;

/// Small frame buffers: frames up to 2,046 bytes.
pub const RX_SMALL_BASE: u32 = 0;
/// Bytes per small buffer.
pub const RX_SMALL_SIZE: u32 = 2048;
/// Small buffers.
pub const RX_SMALL_COUNT: u32 = 2048;
/// Large frame buffers: jumbo frames up to 9,216 bytes.
pub const RX_LARGE_BASE: u32 = 0x40_0000;
/// Bytes per large buffer.
pub const RX_LARGE_SIZE: u32 = 10 << 10;
/// Large buffers.
pub const RX_LARGE_COUNT: u32 = 128;
/// All frame buffers.
pub const RX_BUFS: u32 = RX_SMALL_COUNT + RX_LARGE_COUNT;
/// The frame starts this far into its buffer, so that the IP header is 4-byte aligned.
pub const RX_OFFSET: u32 = 2;

/// Log rings, one per core.
pub const LOG_BASE: u32 = log_ring::BASE;
/// Bytes per core's log ring: an 8-byte header (head, tail as running byte counts) and the data.
pub const LOG_SIZE: u32 = log_ring::SIZE;

/// Bus address of every data page in order, little-endian u64: any run of pages has its PRP list here ready-made.
pub const PRP_BASE: u32 = 0x55_0000;

/// When a host was last heard of: one word per data core and association.
pub const ACTIVITY_BASE: u32 = 0x55_8000;
/// Associations per card.
pub const ASSOCIATIONS: u32 = 64;

/// Admin capsules on their way between data cores and the control core: per data core [`RELAY_SLOTS`] slots.
pub const RELAY_BASE: u32 = 0x56_0000;
/// Bytes per relay slot.
pub const RELAY_SIZE: u32 = 128;
/// Slots per data core.
pub const RELAY_SLOTS: u32 = 64;

/// Header templates and PDU headers awaiting acknowledgment, divided evenly among the cores.
pub const HEADERS_BASE: u32 = 0x58_0000;
/// Bytes in all.
pub const HEADERS_SIZE: u32 = 0x4_0000;

/// SSD submission and completion queues.
pub const SSD_QUEUES_BASE: u32 = 0x5C_0000;
/// Bytes in all.
pub const SSD_QUEUES_SIZE: u32 = 0x4_0000;

/// Commands that wait for memory before the host is asked for their data, divided evenly among the data cores.
pub const BACKLOG_BASE: u32 = 0x60_0000;
/// Bytes of a command in the backlog.
pub const BACKLOG_ENTRY: u32 = 32;
/// Commands in all: 64 queues of 128 entries.
pub const BACKLOG_ENTRIES: u32 = 8192;

/// Header templates of RoCE queue pairs, 128 bytes each, divided evenly among the data cores.
pub const QP_HEADERS_BASE: u32 = 0x64_0000;
/// Templates in all.
pub const QP_HEADERS: u32 = 1024;

/// What data cores count, see [`stats`].
pub const STATS_BASE: u32 = stats::BASE;

/// Data pages, divided among the cores. The RTL counts accesses from here on as accesses to payload (`sluice_pkg.sv`).
pub const PAGES_BASE: u32 = 0x72_0000;
/// Bytes per page; also the SSDs' memory page size (CC.MPS 0).
pub const PAGE_SIZE: u32 = 4096;
/// Data pages.
pub const PAGES: u32 = (PM_SIZE - PAGES_BASE) / PAGE_SIZE;

const _: () = assert!(RX_SMALL_BASE + RX_SMALL_SIZE * RX_SMALL_COUNT <= RX_LARGE_BASE);
const _: () = assert!(RX_LARGE_BASE + RX_LARGE_SIZE * RX_LARGE_COUNT <= LOG_BASE);
const _: () = assert!(PRP_BASE + PAGES * 8 <= ACTIVITY_BASE);
const _: () = assert!(BACKLOG_BASE + BACKLOG_ENTRY * BACKLOG_ENTRIES <= QP_HEADERS_BASE);
const _: () = assert!(QP_HEADERS_BASE + 128 * QP_HEADERS <= STATS_BASE);
const _: () = assert!(STATS_BASE + stats::SIZE <= PAGES_BASE);
const _: () = assert!(SSD_QUEUES_BASE + SSD_QUEUES_SIZE <= BACKLOG_BASE);
const _: () = assert!(RELAY_BASE + RELAY_SIZE * RELAY_SLOTS * 16 <= HEADERS_BASE);
