//! Commands between the host driver and the card's control core.
//!
//! The driver places 64-byte [`Command`]s in a submission queue in host memory, rings `SQ_TAIL` in BAR0 and gets 16-byte
//! [`Completion`]s with a phase bit in a completion queue in host memory, and MSI-X vector 0. Payloads travel through one
//! buffer in host memory per command (`data`, at most [`MAX_DATA`] bytes), written by the side that `Opcode` says.
//! This format is Sluice's own; its version is the register map's version.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Most bytes in a command's data buffer.
pub const MAX_DATA: usize = 4096;
/// Longest NQN, terminating zero included (NVMe Base 2.1, section 4.7).
pub const NQN_SIZE: usize = 224;

/// A command.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Command {
    /// An [`Opcode`]; untrusted until converted.
    pub opcode: u8,
    /// Zero.
    pub flags: u8,
    /// Chosen by the driver; comes back in the completion.
    pub cid: U16,
    /// What the command is about: SSD, subsystem or port number, by opcode.
    pub index: U32,
    /// Bus address of the data buffer, or 0.
    pub data: U64,
    /// Length of the data buffer in bytes.
    pub data_len: U32,
    /// By opcode.
    pub args: [U32; 11],
}
const _: () = assert!(size_of::<Command>() == 64);

/// A completion.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Completion {
    /// By opcode.
    pub result: U32,
    /// By opcode.
    pub result2: U32,
    /// Submission queue head after this command.
    pub sq_head: U16,
    /// Zero.
    pub reserved: U16,
    /// The command's.
    pub cid: U16,
    /// Bit 0: phase. Bits 15:1: a [`Status`].
    pub status: U16,
}
const _: () = assert!(size_of::<Completion>() == 16);

/// What a command asks for.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, TryFromBytes, IntoBytes, Immutable, Unaligned, KnownLayout,
)]
#[repr(u8)]
pub enum Opcode {
    /// Card → data: [`CardInfo`].
    Identify = 0x01,
    /// Data → card: [`PortConfig`] for port `index`.
    PortSet = 0x02,
    /// Card → data: the [`PortConfig`] that port `index` was given; missing if none.
    PortGet = 0x03,
    /// Reserves queues for SSD `index`; data → card: nothing; card → data: [`QueuePlace`] for each data core, in order.
    /// Result: their number. `args[0]`: deepest queue the SSD takes (entries).
    SsdPrepare = 0x10,
    /// The queues exist; data → card: [`SsdAttach`].
    SsdAttach = 0x11,
    /// The SSD is gone or stopped and writes no more: commands in flight fail cleanly. No data.
    SsdDetach = 0x12,
    /// Card → data: the [`SsdAttach`] of SSD `index`; missing if it is not attached. Result: 1 if it did not answer a command
    /// in time (an [`Event::SsdTimeout`] was made of that), else 0.
    SsdGet = 0x13,
    /// Data → card: [`SubsystemConfig`] for subsystem `index`.
    SubsystemAdd = 0x20,
    /// Removes subsystem `index`; its controllers are told and closed.
    SubsystemRemove = 0x21,
    /// Data → card: [`NamespaceConfig`] for subsystem `index`.
    NamespaceAdd = 0x22,
    /// Removes namespace `args[0]` (NSID) of subsystem `index`.
    NamespaceRemove = 0x23,
    /// Allows a host; data → card: its NQN, [`NQN_SIZE`] bytes, zero padded; for subsystem `index`.
    HostAdd = 0x24,
    /// Withdraws it.
    HostRemove = 0x25,
    /// Makes subsystem `index` reachable at port `args[0]` over the [`transports`] of `args[1]`.
    ListenerAdd = 0x26,
    /// Withdraws it; other transports stay.
    ListenerRemove = 0x27,
    /// From now on every host may connect to subsystem `index` (`args[0]` 1), or those of the allow-list alone (0): then
    /// controllers of others end.
    AllowAnyHost = 0x28,
    /// Card → data: the [`SubsystemState`] of subsystem `index`; missing if there is none.
    SubsystemGet = 0x29,
    /// Card → data: the [`NamespaceConfig`] of subsystem `index` with the lowest NSID from `args[0]` on; missing if none.
    NamespaceGet = 0x2a,
    /// Card → data: the NQN of allowed host number `args[0]` of subsystem `index`, in no order; missing if there are fewer.
    HostGet = 0x2b,
    /// Card → data: the [`ControllerState`] of subsystem `index`'s controller with the lowest CNTLID from `args[0]` on; missing if
    /// none. [`ANY_SUBSYSTEM`]: of any subsystem, and even while it is ending.
    ControllerGet = 0x2c,
    /// Card → data: [`Counters`] of data core `index`; of core 0 [`ControlCounters`].
    Counters = 0x30,
    /// Completes when something happened: result is an [`Event`] code, result2 its subject. At most one outstanding.
    NextEvent = 0x31,
    /// Card → data: [`FlashInfo`].
    FlashInfo = 0x40,
    /// Begins a download into the slot that does not run; data → card: the package's header, 256 bytes.
    FlashBegin = 0x41,
    /// Data → card: the piece of the package that belongs at `args[0]`; in order, a whole number of pages of 256 bytes
    /// unless it is the last.
    FlashWrite = 0x42,
    /// Is what was written what the header promised?
    FlashVerify = 0x43,
    /// Tries the verified package at the next start of the cores.
    FlashActivate = 0x44,
    /// The running firmware is well and is started from now on; burns its security version.
    FlashConfirm = 0x45,
    /// Back to what ran before, from the next start on; or gives up an activation that has not been started.
    FlashRollBack = 0x46,
    /// A new signing key; data → card: its certificate, 128 bytes.
    KeyRotate = 0x47,
}

/// Transports of a listener, one bit each; 0 for all of them.
pub mod transports {
    /// NVMe/TCP.
    pub const TCP: u32 = 1 << 0;
    /// NVMe/RDMA.
    pub const RDMA: u32 = 1 << 1;
    /// All of them.
    pub const ALL: u32 = TCP | RDMA;
}

/// Log rings in packet memory, one per core, where the host reads them: bytes ever written and bytes ever read (both modulo
/// 2^32), then the bytes of `defmt` frames; byte `n` lies at `n % DATA`.
pub mod log_ring {
    /// Offset of core 0's ring.
    pub const BASE: u32 = 0x54_0000;
    /// Bytes from one ring to the next.
    pub const SIZE: u32 = 0x1000;
    /// Bytes of frames in a ring.
    pub const DATA: u32 = SIZE - 8;
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Status {
    /// Done.
    Success = 0,
    /// Opcode unknown.
    UnknownOpcode = 1,
    /// `index` or an argument is out of range.
    BadIndex = 2,
    /// Data buffer missing or of the wrong length.
    BadLength = 3,
    /// A field of the data is out of range; result is its byte offset.
    BadField = 4,
    /// A table of the card is full.
    Full = 5,
    /// The object exists already.
    Exists = 6,
    /// The object does not exist.
    Missing = 7,
    /// The object is in use, or another command of this kind is outstanding.
    InUse = 8,
    /// The card could not reach the data buffer.
    BusError = 9,
    /// The card has no flash.
    NoFlash = 10,
    /// The package in hand, or in the slot, is not one that this card would start; result is one of the [`refusals`].
    PackageRefused = 11,
    /// Not now: begin, write, verify, activate. For a write result is where the next piece begins.
    OutOfOrder = 12,
    /// The running firmware is on trial: confirm it first.
    NotConfirmed = 13,
    /// The running firmware was loaded by the host.
    NotFromFlash = 14,
    /// The certificate was not taken; result is one of the [`key_refusals`].
    KeyRefused = 15,
    /// The flash failed; result is the address of a worn sector, or all ones.
    FlashFailed = 16,
    /// The fuses could not be burnt; all else is done.
    FuseFailed = 17,
}

/// Why a package is refused. Each number has its meaning in `docs/flashing.md`.
pub mod refusals {
    /// Not a package, or an empty slot.
    pub const MAGIC: u32 = 1;
    /// A format that the card does not know.
    pub const FORMAT: u32 = 2;
    /// The header is not in order.
    pub const HEADER: u32 = 3;
    /// For another board.
    pub const BOARD: u32 = 4;
    /// For another register map.
    pub const MAP_VERSION: u32 = 5;
    /// Below the fuses' security version.
    pub const SECURITY_VERSION: u32 = 6;
    /// Signed by a key that the card does not know.
    pub const UNKNOWN_KEY: u32 = 7;
    /// Signed by a key that is revoked.
    pub const REVOKED_KEY: u32 = 8;
    /// The key's certificate is not in order.
    pub const CERTIFICATE: u32 = 9;
    /// The signature is wrong.
    pub const SIGNATURE: u32 = 10;
    /// It ends early.
    pub const TRUNCATED: u32 = 11;
    /// The digest is wrong.
    pub const DIGEST: u32 = 12;
    /// It failed its trial.
    pub const FAILED: u32 = 13;
    /// The flash cannot be read.
    pub const FLASH: u32 = 14;
}

/// Why a certificate is refused.
pub mod key_refusals {
    /// Not a certificate, or one that is not in order.
    pub const CERTIFICATE: u32 = 1;
    /// For another board.
    pub const BOARD: u32 = 2;
    /// Its generation is revoked.
    pub const REVOKED: u32 = 3;
    /// The root key did not sign it.
    pub const SIGNATURE: u32 = 4;
    /// A key of this generation or a later one is there already.
    pub const GENERATION: u32 = 5;
    /// It would take the key away that slot A's firmware was signed with; slot B's: one more.
    pub const KEY_IN_USE: u32 = 6;
}

impl Status {
    /// The status with this code.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        use Status::*;
        [
            Success,
            UnknownOpcode,
            BadIndex,
            BadLength,
            BadField,
            Full,
            Exists,
            Missing,
            InUse,
            BusError,
            NoFlash,
            PackageRefused,
            OutOfOrder,
            NotConfirmed,
            NotFromFlash,
            KeyRefused,
            FlashFailed,
            FuseFailed,
        ]
        .into_iter()
        .find(|s| *s as u16 == code)
    }
}

/// What happened on the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Event {
    /// SSD `result2` did not answer a command in time.
    SsdTimeout = 1,
    /// A host connected; result2 is its controller number (CNTLID).
    HostConnected = 2,
    /// A controller ended in order; result2 is its CNTLID.
    HostDisconnected = 3,
    /// A controller was lost (keep-alive or transport); result2 is its CNTLID.
    HostLost = 4,
    /// A host was refused; result2 is the status field it was given.
    HostRefused = 5,
}

/// What the card is.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CardInfo {
    /// Firmware version, ASCII, zero padded.
    pub firmware: [u8; 16],
    /// Cores, control core included.
    pub cores: U16,
    /// SSDs that can be attached.
    pub max_ssds: U16,
    /// Subsystems.
    pub max_subsystems: U16,
    /// Namespaces in all.
    pub max_namespaces: U16,
    /// Allow-list entries per subsystem.
    pub max_hosts: U16,
    /// Ports.
    pub max_ports: U16,
    /// Associations (controllers) in all.
    pub max_controllers: U16,
    /// Connections per data core.
    pub max_connections: U16,
    /// I/O queues per controller.
    pub max_io_queues: U16,
    /// Deepest I/O queue, entries.
    pub max_queue_entries: U16,
    /// Largest transfer, in bytes.
    pub max_transfer: U32,
}

/// One Ethernet port and its addresses.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PortConfig {
    /// Own MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet, bytes: 1,280 to 9,000.
    pub mtu: U16,
    /// IPv4 address, or 0.
    pub ipv4: [u8; 4],
    /// Its prefix length.
    pub ipv4_prefix: u8,
    /// IPv6 prefix length.
    pub ipv6_prefix: u8,
    /// 802.1Q VLAN identifier of this port's own traffic, 0 for untagged.
    pub vlan: U16,
    /// IPv4 gateway, or 0.
    pub ipv4_gateway: [u8; 4],
    /// IPv6 address, or 0. The link-local address is made from the MAC address.
    pub ipv6: [u8; 16],
    /// TCP port for subsystems (4420 as a rule).
    pub io_port: U16,
    /// TCP port for discovery (8009 as a rule); discovery is served on `io_port` too.
    pub discovery_port: U16,
    /// Port of NVMe/RDMA, for subsystems and discovery (4420 as a rule); 0: no NVMe/RDMA here.
    pub rdma_port: U16,
}

/// Where one queue pair of an SSD lies in packet memory (BAR2 offsets).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct QueuePlace {
    /// Submission queue.
    pub sq: U32,
    /// Completion queue.
    pub cq: U32,
    /// Entries in each.
    pub entries: U16,
    /// Data core that drives it (core number, 1 and up).
    pub core: U16,
}

/// An SSD whose I/O queues exist: queue `i + 1` is the pair that [`QueuePlace`] `i` described.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SsdAttach {
    /// Bus address of the SSD's doorbells (BAR0 + 1000h).
    pub doorbells: U64,
    /// Bytes between doorbells (4 << CAP.DSTRD).
    pub doorbell_stride: U32,
    /// Largest transfer in bytes (MDTS), a multiple of 4,096; 0 for no limit.
    pub max_transfer: U32,
    /// Queue pairs created.
    pub queues: U16,
    /// Optional NVM commands (ONCS of Identify Controller).
    pub oncs: U16,
    /// Volatile write cache (VWC of Identify Controller).
    pub vwc: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Give up on a command after this many milliseconds.
    pub timeout_ms: U32,
}

/// A subsystem.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SubsystemConfig {
    /// NQN, zero padded.
    pub nqn: [u8; NQN_SIZE],
    /// Serial number, ASCII, space padded.
    pub serial: [u8; 20],
    /// Model number, ASCII, space padded.
    pub model: [u8; 40],
    /// 1: every host may connect; 0: those of the allow-list.
    pub allow_any_host: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Ports that a [`SubsystemState`] tells of.
pub const STATE_PORTS: usize = 4;

/// A subsystem as the card has it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SubsystemState {
    /// As it was added, and allowed to every host or not since.
    pub config: SubsystemConfig,
    /// [`transports`] over which it is reachable at each port.
    pub listeners: [u8; STATE_PORTS],
}

/// [`Opcode::ControllerGet`]: whatever the subsystem.
pub const ANY_SUBSYSTEM: u32 = u32::MAX;

/// A host's controller: an association that is up, or is being set up.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ControllerState {
    /// CNTLID.
    pub cntlid: U16,
    /// Port that its admin queue came in at.
    pub port: u8,
    /// One of the [`transports`].
    pub transport: u8,
    /// Keep alive timeout in milliseconds; 0: none.
    pub keep_alive_ms: U32,
    /// Queues that are connected, one bit per QID; bit 0 is the admin queue.
    pub queues: U64,
    /// Host identifier.
    pub host_id: [u8; 16],
    /// NQN of the host, zero padded.
    pub host_nqn: [u8; NQN_SIZE],
    /// Subsystem; FFh: discovery.
    pub subsystem: u8,
    /// 0.
    pub reserved: [u8; 3],
}

/// A namespace: a range of blocks of an SSD's namespace.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NamespaceConfig {
    /// NSID towards hosts, 1 and up.
    pub nsid: U32,
    /// SSD number.
    pub ssd: U32,
    /// NSID on the SSD.
    pub ssd_nsid: U32,
    /// First block on the SSD.
    pub first_block: U64,
    /// Blocks (NSZE).
    pub blocks: U64,
    /// log2 of the block size: 9 or 12.
    pub block_shift: u8,
    /// Bit 0: read-only. Bit 1: Dataset Management works. Bit 2: Write Zeroes works. Bit 3: Compare works.
    pub flags: u8,
    /// ANA group, 1 and up.
    pub ana_group: U16,
    /// NGUID.
    pub nguid: [u8; 16],
    /// EUI-64.
    pub eui64: [u8; 8],
    /// UUID.
    pub uuid: [u8; 16],
}

/// What one core counted since it started. All are running totals.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Counters {
    /// Read commands that succeeded and were answered.
    pub reads: U64,
    /// Bytes read.
    pub read_bytes: U64,
    /// Write commands that succeeded and were answered.
    pub writes: U64,
    /// Bytes written.
    pub write_bytes: U64,
    /// Other I/O commands that succeeded and were answered.
    pub other_io: U64,
    /// Admin and Fabrics commands completed.
    pub admin: U64,
    /// Commands completed with an error status.
    pub errors: U64,
    /// Connections open now, TCP's and RDMA queue pairs.
    pub connections: U64,
    /// Connections accepted.
    pub accepted: U64,
    /// Connections refused or dropped for want of room.
    pub refused: U64,
    /// TCP segments retransmitted.
    pub retransmits: U64,
    /// Frames dropped by this core's protocol machines.
    pub dropped: U64,
    /// Header digest errors.
    pub header_digest_errors: U64,
    /// Data digest errors.
    pub data_digest_errors: U64,
    /// Connections ended by a TermReq, either way.
    pub term_reqs: U64,
    /// SSD commands that timed out.
    pub ssd_timeouts: U64,
    /// Commands that had to wait for pages or queue entries.
    pub waits: U64,
    /// Connections ended because the host neither read nor sent while others waited for memory.
    pub stalled: U64,
    /// Passes of the main loop.
    pub loops: U64,
    /// RDMA messages received: commands.
    pub rdma_messages: U64,
    /// Runs of RDMA packets sent again.
    pub rdma_resent: U64,
    /// Times that an RDMA host did not acknowledge in time.
    pub rdma_timeouts: U64,
    /// RoCE packets dropped: out of order, duplicates, for no living queue pair.
    pub rdma_dropped: U64,
    /// RDMA messages refused for the time being, for want of a receive or of frame buffers.
    pub rdma_not_ready: U64,
    /// RDMA requests refused for good: for memory of this card, or against the rules.
    pub rdma_refused: U64,
    /// Queue pairs that ended by an error.
    pub rdma_failed: U64,
    /// Congestion notifications sent.
    pub rdma_cnps_sent: U64,
    /// Congestion notifications received.
    pub rdma_cnps_received: U64,
}

/// What the control core counted since it started: the connection manager of NVMe/RDMA, and failed connects. Running totals
/// modulo 2^32, but for the first.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ControlCounters {
    /// Queue pairs that hosts have now, or are getting, or are giving back.
    pub rdma_cm_connections: U32,
    /// Requests accepted.
    pub rdma_cm_accepted: U32,
    /// Requests refused.
    pub rdma_cm_refused: U32,
    /// Requests that came again.
    pub rdma_cm_duplicates: U32,
    /// Connections whose host asked for a new one with the same queue pair: it had forgotten them.
    pub rdma_cm_stale: U32,
    /// Connections that the host never confirmed, or that it rejected.
    pub rdma_cm_unconfirmed: U32,
    /// Replies and disconnect requests sent again.
    pub rdma_cm_repeated: U32,
    /// Datagrams that were no message of the connection manager, or fitted no connection.
    pub rdma_cm_ignored: U32,
    /// Answers dropped for want of a place.
    pub rdma_cm_dropped: U32,
    /// RoCE packets for no queue pair of a data core, and not for the connection manager at an address of the port either.
    pub rdma_strays: U32,
    /// Connects that failed, by [`connect_failures`].
    pub connects_failed: [U32; connect_failures::COUNT],
}

/// Why a Connect failed: index of [`ControlCounters::connects_failed`].
pub mod connect_failures {
    /// The host is not on the subsystem's list.
    pub const HOST: usize = 0;
    /// No subsystem of that name can be reached there.
    pub const SUBSYSTEM: usize = 1;
    /// A field is out of range, or does not belong to the controller named.
    pub const PARAMETERS: usize = 2;
    /// No controller, or no place for a connection, is free.
    pub const BUSY: usize = 3;
    /// The connection is a queue already, or the controller is not enabled or has a queue of that number.
    pub const SEQUENCE: usize = 4;
    /// A connection was opened, and no Connect came on it in time.
    pub const TIMEOUT: usize = 5;
    /// What is none of these.
    pub const OTHER: usize = 6;
    /// How many there are.
    pub const COUNT: usize = 7;
}

/// "No slot" in [`FlashInfo`].
pub const NO_SLOT: u8 = 0xFF;

/// The firmware in the card's flash.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FlashInfo {
    /// Slot of the running firmware (0 or 1), or [`NO_SLOT`]: the host loaded it.
    pub running: u8,
    /// Slot of the confirmed firmware, or [`NO_SLOT`].
    pub active: u8,
    /// Slot of the firmware that is to be tried, or is on trial, or [`NO_SLOT`].
    pub trial: u8,
    /// Times that it was started.
    pub attempts: u8,
    /// Bit per slot: its firmware failed its trial.
    pub failed: u8,
    /// Slot that a download goes to.
    pub target: u8,
    /// Download: 0 none, 1 under way, 2 verified.
    pub download: u8,
    /// Zero.
    pub reserved0: u8,
    /// Where the next piece begins, while a download is under way.
    pub next: U32,
    /// Bytes of the package.
    pub len: U32,
    /// This board.
    pub board: U32,
    /// The hardware's register map.
    pub map_version: U32,
    /// Least security version that the fuses allow.
    pub security_version: U32,
    /// Least generation of signing keys that the fuses allow.
    pub key_generation: U32,
    /// Why the boot program refused each slot at the last start, one of [`refusals`]; 0: it did not, or did not look.
    pub refused: [u8; 2],
    /// Zero.
    pub reserved1: [u8; 2],
    /// Identifier of the root key.
    pub root_key: [u8; 8],
    /// The slots.
    pub slots: [FlashSlot; 2],
    /// The certified keys.
    pub keys: [FlashKey; 2],
}

/// What the header in a slot says. Whether the package is whole is found out when it is started or verified.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FlashSlot {
    /// 0: the rest means something; else one of [`refusals`].
    pub state: u8,
    /// Zero.
    pub reserved: u8,
    /// Major, minor, patch.
    pub version: [U16; 3],
    /// Security version.
    pub security_version: U32,
    /// Bytes of the package.
    pub len: U32,
    /// Key that signed.
    pub key_id: [u8; 8],
    /// Name of the build, zero padded.
    pub label: [u8; 32],
}

/// A key slot.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FlashKey {
    /// 0: none.
    pub generation: U32,
    /// Identifier.
    pub key_id: [u8; 8],
}
