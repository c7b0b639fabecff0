//! Generated from hdl-bindings/rdl/core.rdl by hdl-bindings/gen/generate.py; do not edit.
//!
//! Core registers. Private to each core, at 8000_0000 in its address space. Not visible over PCIe.

use bitfield::bitfield;
use core::mem::offset_of;
use volatile_register::{RO, RW, WO};

/// Byte offset of `CORE_ID`: core identity.
pub const CORE_ID_OFFSET: u32 = 0x0;
/// Byte offset of `EVENTS`: events.
pub const EVENTS_OFFSET: u32 = 0x4;
/// Byte offset of `EVENT_MASK`: event mask.
pub const EVENT_MASK_OFFSET: u32 = 0x8;
/// Byte offset of `SNOOP`: snooped range.
pub const SNOOP_OFFSET: u32 = 0xc;
/// Byte offset of `TIME_LO`: time, low word.
pub const TIME_LO_OFFSET: u32 = 0x10;
/// Byte offset of `TIME_HI`: time, high word.
pub const TIME_HI_OFFSET: u32 = 0x14;
/// Byte offset of `CLOCKS`: clock counter.
pub const CLOCKS_OFFSET: u32 = 0x18;
/// Byte offset of `WAKE_AT`: wake-up time.
pub const WAKE_AT_OFFSET: u32 = 0x1c;
/// Byte offset of `ENTROPY`: entropy.
pub const ENTROPY_OFFSET: u32 = 0x20;
/// Byte offset of `PHASE`: phase.
pub const PHASE_OFFSET: u32 = 0x24;
/// Byte offset of `WATCHDOG_PERIOD`: watchdog period.
pub const WATCHDOG_PERIOD_OFFSET: u32 = 0x28;
/// Byte offset of `WATCHDOG_KICK`: watchdog kick.
pub const WATCHDOG_KICK_OFFSET: u32 = 0x2c;
/// Byte offset of `CRC_INIT`: crc start.
pub const CRC_INIT_OFFSET: u32 = 0x30;
/// Byte offset of `CRC_DATA32`: crc, 4 bytes.
pub const CRC_DATA32_OFFSET: u32 = 0x34;
/// Byte offset of `CRC_DATA8`: crc, 1 byte.
pub const CRC_DATA8_OFFSET: u32 = 0x38;
/// Byte offset of `CRC_RESULT`: crc result.
pub const CRC_RESULT_OFFSET: u32 = 0x3c;
/// Byte offset of `PAYLOAD_ACCESSES`: payload accesses.
pub const PAYLOAD_ACCESSES_OFFSET: u32 = 0x40;
/// Byte offset of `FRAME_LOADS`: frame loads.
pub const FRAME_LOADS_OFFSET: u32 = 0x44;
/// Byte offset of `PHASE_CLOCKS`: phase clocks.
pub const PHASE_CLOCKS_OFFSET: u32 = 0x60;
/// Instances of `PHASE_CLOCKS`.
pub const PHASE_CLOCKS_COUNT: u32 = 8;
/// Bytes from one `PHASE_CLOCKS` to the next.
pub const PHASE_CLOCKS_STRIDE: u32 = 0x4;
/// Byte offset of `RX_STATUS`: receive status.
pub const RX_STATUS_OFFSET: u32 = 0x80;
/// Byte offset of `RX_POP`: receive pop.
pub const RX_POP_OFFSET: u32 = 0x84;
/// Byte offset of `RX_FREE`: receive free.
pub const RX_FREE_OFFSET: u32 = 0x88;
/// Byte offset of `RX_WORD`: receive descriptor.
pub const RX_WORD_OFFSET: u32 = 0xc0;
/// Instances of `RX_WORD`.
pub const RX_WORD_COUNT: u32 = 16;
/// Bytes from one `RX_WORD` to the next.
pub const RX_WORD_STRIDE: u32 = 0x4;
/// Byte offset of `TX_STATUS`: transmit status.
pub const TX_STATUS_OFFSET: u32 = 0x100;
/// Byte offset of `TX_POST`: transmit post.
pub const TX_POST_OFFSET: u32 = 0x104;
/// Byte offset of `TX_DONE`: transmit done.
pub const TX_DONE_OFFSET: u32 = 0x108;
/// Byte offset of `TX_WORD`: transmit job.
pub const TX_WORD_OFFSET: u32 = 0x140;
/// Instances of `TX_WORD`.
pub const TX_WORD_COUNT: u32 = 16;
/// Bytes from one `TX_WORD` to the next.
pub const TX_WORD_STRIDE: u32 = 0x4;
/// Byte offset of `MOVE_STATUS`: move status.
pub const MOVE_STATUS_OFFSET: u32 = 0x180;
/// Byte offset of `MOVE_POST`: move post.
pub const MOVE_POST_OFFSET: u32 = 0x184;
/// Byte offset of `MOVE_DONE`: move done.
pub const MOVE_DONE_OFFSET: u32 = 0x188;
/// Byte offset of `MOVE_CRC`: move crc.
pub const MOVE_CRC_OFFSET: u32 = 0x18c;
/// Byte offset of `MOVE_POP`: move pop.
pub const MOVE_POP_OFFSET: u32 = 0x190;
/// Byte offset of `MOVE_WORD`: move job.
pub const MOVE_WORD_OFFSET: u32 = 0x1c0;
/// Instances of `MOVE_WORD`.
pub const MOVE_WORD_COUNT: u32 = 16;
/// Bytes from one `MOVE_WORD` to the next.
pub const MOVE_WORD_STRIDE: u32 = 0x4;
/// Byte offset of `MAIL_SEND`: mail send.
pub const MAIL_SEND_OFFSET: u32 = 0x200;
/// Byte offset of `MAIL_SEND_STATUS`: mail send status.
pub const MAIL_SEND_STATUS_OFFSET: u32 = 0x204;
/// Byte offset of `MAIL_STATUS`: mail status.
pub const MAIL_STATUS_OFFSET: u32 = 0x208;
/// Byte offset of `MAIL_POP`: mail pop.
pub const MAIL_POP_OFFSET: u32 = 0x20c;
/// Byte offset of `MAIL_OUT`: outgoing message.
pub const MAIL_OUT_OFFSET: u32 = 0x220;
/// Instances of `MAIL_OUT`.
pub const MAIL_OUT_COUNT: u32 = 8;
/// Bytes from one `MAIL_OUT` to the next.
pub const MAIL_OUT_STRIDE: u32 = 0x4;
/// Byte offset of `MAIL_IN`: incoming message.
pub const MAIL_IN_OFFSET: u32 = 0x240;
/// Instances of `MAIL_IN`.
pub const MAIL_IN_COUNT: u32 = 8;
/// Bytes from one `MAIL_IN` to the next.
pub const MAIL_IN_STRIDE: u32 = 0x4;

bitfield! {
    /// Core identity
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct CoreId(u32);
    impl Debug;
    /// This core's number; 0 is the control core.
    pub u8, core, _: 4, 0;
    /// Cores of the card, the control core included.
    pub u8, cores, _: 12, 8;
    /// Version of the register map.
    pub u16, map_version, _: 31, 16;
}

bitfield! {
    /// Events. Everything a core may wait for, in one load. Bits 0 to 2 are levels and follow their queues; bits 3 to 6
    /// are sticky: write 1 to clear, then look at what they stand for, so that nothing is missed.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Events(u32);
    impl Debug;
    /// A receive descriptor is waiting.
    pub bool, rx, _: 0;
    /// A move completion is waiting.
    pub bool, moved, _: 1;
    /// A message is waiting.
    pub bool, mail, _: 2;
    /// The microsecond clock has reached WAKE_AT.
    pub bool, timer, set_timer: 3;
    /// TX_DONE has advanced.
    pub bool, sent, set_sent: 4;
    /// The host wrote SQ_TAIL or QUEUE_ENABLE (control core only).
    pub bool, host, set_host: 5;
    /// A PCIe device wrote into the packet-memory range given by SNOOP.
    pub bool, snooped, set_snooped: 6;
}

bitfield! {
    /// Event mask. Events that raise the core's external interrupt, which ends a wfi also while interrupts are globally
    /// disabled (mie.MEIE must be set).
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct EventMask(u32);
    impl Debug;
    /// One bit per event, as in EVENTS.
    pub u8, mask, set_mask: 6, 0;
}

bitfield! {
    /// Snooped range. Range of packet memory whose writes from PCIe set EVENTS.snooped. Empty (off) when both are
    /// equal.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Snoop(u32);
    impl Debug;
    /// First 4 KiB page.
    pub u16, first, set_first: 11, 0;
    /// Page after the last.
    pub u16, end_page, set_end_page: 27, 16;
}

bitfield! {
    /// Phase
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Phase(u32);
    impl Debug;
    /// Phase counter that runs from now on.
    pub u8, phase, set_phase: 2, 0;
}

bitfield! {
    /// Receive status
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct RxStatus(u32);
    impl Debug;
    /// RX_WORD holds a descriptor.
    pub bool, valid, _: 0;
    /// Descriptors waiting.
    pub u16, waiting, _: 16, 8;
}

bitfield! {
    /// Receive free
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct RxFree(u32);
    impl Debug;
    /// Number of the frame buffer that goes back to the pool, after this core's earlier accesses.
    pub u16, buffer, set_buffer: 11, 0;
}

bitfield! {
    /// Transmit status
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct TxStatus(u32);
    impl Debug;
    /// Jobs that may be posted now.
    pub u8, free, _: 4, 0;
    /// A job was posted while none was free, and lost. Cleared by reset only.
    pub bool, overrun, _: 31;
}

bitfield! {
    /// Move status
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct MoveStatus(u32);
    impl Debug;
    /// Jobs that may be posted now; each has a place for its completion.
    pub u8, free, _: 4, 0;
    /// A job was posted while none was free, and lost. Cleared by reset only.
    pub bool, overrun, _: 31;
}

bitfield! {
    /// Move done. The oldest completion.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct MoveDone(u32);
    impl Debug;
    /// Tag of the job.
    pub u16, tag, _: 15, 0;
    /// All bytes were moved.
    pub bool, ok, _: 16;
    /// There is a completion; the rest is meaningless while 0.
    pub bool, valid, _: 31;
}

bitfield! {
    /// Mail send
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct MailSend(u32);
    impl Debug;
    /// Core that gets the message in MAIL_OUT; a core that does not exist refuses. Ignored while busy.
    pub u8, to, set_to: 4, 0;
}

bitfield! {
    /// Mail send status
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct MailSendStatus(u32);
    impl Debug;
    /// The last message is still on its way; MAIL_OUT must not be written.
    pub bool, busy, _: 0;
    /// The last message found its mailbox full and was not delivered.
    pub bool, refused, _: 1;
}

bitfield! {
    /// Mail status
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct MailStatus(u32);
    impl Debug;
    /// MAIL_IN holds a message.
    pub bool, valid, _: 0;
}

/// Core registers. Private to each core, at 8000_0000 in its address space. Not visible over PCIe.
#[repr(C)]
pub struct Block {
    /// Core identity
    pub core_id: RO<CoreId>,
    /// Events. Everything a core may wait for, in one load. Bits 0 to 2 are levels and follow their queues; bits 3 to 6
    /// are sticky: write 1 to clear, then look at what they stand for, so that nothing is missed.
    pub events: RW<Events>,
    /// Event mask. Events that raise the core's external interrupt, which ends a wfi also while interrupts are globally
    /// disabled (mie.MEIE must be set).
    pub event_mask: RW<EventMask>,
    /// Snooped range. Range of packet memory whose writes from PCIe set EVENTS.snooped. Empty (off) when both are
    /// equal.
    pub snoop: RW<Snoop>,
    /// Time, low word. Reading it latches the high word.
    pub time_lo: RO<u32>,
    /// Time, high word
    pub time_hi: RO<u32>,
    /// Clock counter
    pub clocks: RO<u32>,
    /// Wake-up time. Writing arms the timer, which sets EVENTS.timer once the low word of the time is at or after this
    /// value (at most 2^31 us ahead). It fires once per write.
    pub wake_at: RW<u32>,
    /// Entropy
    pub entropy: RO<u32>,
    /// Phase
    pub phase: RW<Phase>,
    /// Watchdog period
    pub watchdog_period: RW<u32>,
    /// Watchdog kick
    pub watchdog_kick: WO<u32>,
    /// CRC start. Any value: starts a new CRC32C.
    pub crc_init: WO<u32>,
    /// CRC, 4 bytes. Feeds 4 bytes, bits 7:0 first.
    pub crc_data32: WO<u32>,
    /// CRC, 1 byte. Feeds bits 7:0.
    pub crc_data8: WO<u32>,
    /// CRC result. CRC32C of what was fed, final form (inverted).
    pub crc_result: RO<u32>,
    /// Payload accesses. This core's loads and stores in data pages, wrapping.
    pub payload_accesses: RO<u32>,
    /// Frame loads. This core's loads from frame buffers, wrapping.
    pub frame_loads: RO<u32>,
    _gap0: [u32; 6],
    /// Phase clocks. Clocks spent in each phase, wrapping.
    pub phase_clocks: [RO<u32>; 8],
    /// Receive status
    pub rx_status: RO<RxStatus>,
    /// Receive pop. Any value: drops the oldest descriptor.
    pub rx_pop: WO<u32>,
    /// Receive free
    pub rx_free: WO<RxFree>,
    _gap1: [u32; 13],
    /// Receive descriptor. The oldest descriptor; meaningless while RX_STATUS.valid is 0.
    pub rx_word: [RO<u32>; 16],
    /// Transmit status
    pub tx_status: RO<TxStatus>,
    /// Transmit post. Any value: queues the job in TX_WORD. It is handed over once this core's earlier stores have
    /// reached memory.
    pub tx_post: WO<u32>,
    /// Transmit done. Jobs completed since reset, wrapping.
    pub tx_done: RO<u32>,
    _gap2: [u32; 13],
    /// Transmit job. The job to be posted next. After a post all words hold leftovers of older jobs: write every word
    /// that the job uses.
    pub tx_word: [WO<u32>; 16],
    /// Move status
    pub move_status: RO<MoveStatus>,
    /// Move post. Any value: queues the job in MOVE_WORD. It is handed over once this core's earlier stores have
    /// reached memory.
    pub move_post: WO<u32>,
    /// Move done. The oldest completion.
    pub move_done: RO<MoveDone>,
    /// Move CRC. CRC32C of the oldest completion, final form.
    pub move_crc: RO<u32>,
    /// Move pop. Any value: drops the oldest completion.
    pub move_pop: WO<u32>,
    _gap3: [u32; 11],
    /// Move job. The job to be posted next. After a post all words hold leftovers of older jobs: write every word that
    /// the job uses.
    pub move_word: [WO<u32>; 16],
    /// Mail send
    pub mail_send: WO<MailSend>,
    /// Mail send status
    pub mail_send_status: RO<MailSendStatus>,
    /// Mail status
    pub mail_status: RO<MailStatus>,
    /// Mail pop. Any value: drops the oldest message.
    pub mail_pop: WO<u32>,
    _gap4: [u32; 4],
    /// Outgoing message. The message to be sent next.
    pub mail_out: [WO<u32>; 8],
    /// Incoming message. The oldest message; meaningless while MAIL_STATUS.valid is 0.
    pub mail_in: [RO<u32>; 8],
}
const _: () = assert!(offset_of!(Block, core_id) == 0x0);
const _: () = assert!(offset_of!(Block, events) == 0x4);
const _: () = assert!(offset_of!(Block, event_mask) == 0x8);
const _: () = assert!(offset_of!(Block, snoop) == 0xc);
const _: () = assert!(offset_of!(Block, time_lo) == 0x10);
const _: () = assert!(offset_of!(Block, time_hi) == 0x14);
const _: () = assert!(offset_of!(Block, clocks) == 0x18);
const _: () = assert!(offset_of!(Block, wake_at) == 0x1c);
const _: () = assert!(offset_of!(Block, entropy) == 0x20);
const _: () = assert!(offset_of!(Block, phase) == 0x24);
const _: () = assert!(offset_of!(Block, watchdog_period) == 0x28);
const _: () = assert!(offset_of!(Block, watchdog_kick) == 0x2c);
const _: () = assert!(offset_of!(Block, crc_init) == 0x30);
const _: () = assert!(offset_of!(Block, crc_data32) == 0x34);
const _: () = assert!(offset_of!(Block, crc_data8) == 0x38);
const _: () = assert!(offset_of!(Block, crc_result) == 0x3c);
const _: () = assert!(offset_of!(Block, payload_accesses) == 0x40);
const _: () = assert!(offset_of!(Block, frame_loads) == 0x44);
const _: () = assert!(offset_of!(Block, phase_clocks) == 0x60);
const _: () = assert!(offset_of!(Block, rx_status) == 0x80);
const _: () = assert!(offset_of!(Block, rx_pop) == 0x84);
const _: () = assert!(offset_of!(Block, rx_free) == 0x88);
const _: () = assert!(offset_of!(Block, rx_word) == 0xc0);
const _: () = assert!(offset_of!(Block, tx_status) == 0x100);
const _: () = assert!(offset_of!(Block, tx_post) == 0x104);
const _: () = assert!(offset_of!(Block, tx_done) == 0x108);
const _: () = assert!(offset_of!(Block, tx_word) == 0x140);
const _: () = assert!(offset_of!(Block, move_status) == 0x180);
const _: () = assert!(offset_of!(Block, move_post) == 0x184);
const _: () = assert!(offset_of!(Block, move_done) == 0x188);
const _: () = assert!(offset_of!(Block, move_crc) == 0x18c);
const _: () = assert!(offset_of!(Block, move_pop) == 0x190);
const _: () = assert!(offset_of!(Block, move_word) == 0x1c0);
const _: () = assert!(offset_of!(Block, mail_send) == 0x200);
const _: () = assert!(offset_of!(Block, mail_send_status) == 0x204);
const _: () = assert!(offset_of!(Block, mail_status) == 0x208);
const _: () = assert!(offset_of!(Block, mail_pop) == 0x20c);
const _: () = assert!(offset_of!(Block, mail_out) == 0x220);
const _: () = assert!(offset_of!(Block, mail_in) == 0x240);

/// Every register, in the order of its address.
#[rustfmt::skip]
pub const REGISTERS: &[crate::Register] = &[
    crate::Register {
        name: "CORE_ID",
        about: "Core identity",
        offset: 0x0,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "core", about: "This core's number; 0 is the control core.", high: 4, low: 0 },
            crate::Field { name: "cores", about: "Cores of the card, the control core included.", high: 12, low: 8 },
            crate::Field { name: "map_version", about: "Version of the register map.", high: 31, low: 16 },
        ],
    },
    crate::Register {
        name: "EVENTS",
        about: "Events. Everything a core may wait for, in one load. Bits 0 to 2 are levels and follow their queues; bits 3 to 6 are sticky: write 1 to clear, then look at what they stand for, so that nothing is missed.",
        offset: 0x4,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "rx", about: "A receive descriptor is waiting.", high: 0, low: 0 },
            crate::Field { name: "moved", about: "A move completion is waiting.", high: 1, low: 1 },
            crate::Field { name: "mail", about: "A message is waiting.", high: 2, low: 2 },
            crate::Field { name: "timer", about: "The microsecond clock has reached WAKE_AT.", high: 3, low: 3 },
            crate::Field { name: "sent", about: "TX_DONE has advanced.", high: 4, low: 4 },
            crate::Field { name: "host", about: "The host wrote SQ_TAIL or QUEUE_ENABLE (control core only).", high: 5, low: 5 },
            crate::Field { name: "snooped", about: "A PCIe device wrote into the packet-memory range given by SNOOP.", high: 6, low: 6 },
        ],
    },
    crate::Register {
        name: "EVENT_MASK",
        about: "Event mask. Events that raise the core's external interrupt, which ends a wfi also while interrupts are globally disabled (mie.MEIE must be set).",
        offset: 0x8,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "mask", about: "One bit per event, as in EVENTS.", high: 6, low: 0 },
        ],
    },
    crate::Register {
        name: "SNOOP",
        about: "Snooped range. Range of packet memory whose writes from PCIe set EVENTS.snooped. Empty (off) when both are equal.",
        offset: 0xc,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "first", about: "First 4 KiB page.", high: 11, low: 0 },
            crate::Field { name: "end_page", about: "Page after the last.", high: 27, low: 16 },
        ],
    },
    crate::Register {
        name: "TIME_LO",
        about: "Time, low word. Reading it latches the high word.",
        offset: 0x10,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "micros", about: "Microseconds, bits 31:0.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TIME_HI",
        about: "Time, high word",
        offset: 0x14,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "micros", about: "Microseconds, bits 63:32, as of the last read of TIME_LO.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "CLOCKS",
        about: "Clock counter",
        offset: 0x18,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "clocks", about: "Clocks since reset, wrapping. The same on all cores.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "WAKE_AT",
        about: "Wake-up time. Writing arms the timer, which sets EVENTS.timer once the low word of the time is at or after this value (at most 2^31 us ahead). It fires once per write.",
        offset: 0x1c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "micros", about: "Low word of the time.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "ENTROPY",
        about: "Entropy",
        offset: 0x20,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "bits", about: "32 fresh bits at every read, from the card's entropy input mixed with the core's own state.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PHASE",
        about: "Phase",
        offset: 0x24,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "phase", about: "Phase counter that runs from now on.", high: 2, low: 0 },
        ],
    },
    crate::Register {
        name: "WATCHDOG_PERIOD",
        about: "Watchdog period",
        offset: 0x28,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "clocks", about: "Clocks without a kick until the watchdog expires; 0: off. At most 2^31. Writing counts as a kick.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "WATCHDOG_KICK",
        about: "Watchdog kick",
        offset: 0x2c,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "kick", about: "Any value.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "CRC_INIT",
        about: "CRC start. Any value: starts a new CRC32C.",
        offset: 0x30,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "CRC_DATA32",
        about: "CRC, 4 bytes. Feeds 4 bytes, bits 7:0 first.",
        offset: 0x34,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "CRC_DATA8",
        about: "CRC, 1 byte. Feeds bits 7:0.",
        offset: 0x38,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "CRC_RESULT",
        about: "CRC result. CRC32C of what was fed, final form (inverted).",
        offset: 0x3c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PAYLOAD_ACCESSES",
        about: "Payload accesses. This core's loads and stores in data pages, wrapping.",
        offset: 0x40,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "FRAME_LOADS",
        about: "Frame loads. This core's loads from frame buffers, wrapping.",
        offset: 0x44,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PHASE_CLOCKS",
        about: "Phase clocks. Clocks spent in each phase, wrapping.",
        offset: 0x60,
        bytes: 4,
        readable: true,
        arrays: &[(8, 0x4)],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "RX_STATUS",
        about: "Receive status",
        offset: 0x80,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "valid", about: "RX_WORD holds a descriptor.", high: 0, low: 0 },
            crate::Field { name: "waiting", about: "Descriptors waiting.", high: 16, low: 8 },
        ],
    },
    crate::Register {
        name: "RX_POP",
        about: "Receive pop. Any value: drops the oldest descriptor.",
        offset: 0x84,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "RX_FREE",
        about: "Receive free",
        offset: 0x88,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "buffer", about: "Number of the frame buffer that goes back to the pool, after this core's earlier accesses.", high: 11, low: 0 },
        ],
    },
    crate::Register {
        name: "RX_WORD",
        about: "Receive descriptor. The oldest descriptor; meaningless while RX_STATUS.valid is 0.",
        offset: 0xc0,
        bytes: 4,
        readable: true,
        arrays: &[(16, 0x4)],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TX_STATUS",
        about: "Transmit status",
        offset: 0x100,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "free", about: "Jobs that may be posted now.", high: 4, low: 0 },
            crate::Field { name: "overrun", about: "A job was posted while none was free, and lost. Cleared by reset only.", high: 31, low: 31 },
        ],
    },
    crate::Register {
        name: "TX_POST",
        about: "Transmit post. Any value: queues the job in TX_WORD. It is handed over once this core's earlier stores have reached memory.",
        offset: 0x104,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TX_DONE",
        about: "Transmit done. Jobs completed since reset, wrapping.",
        offset: 0x108,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TX_WORD",
        about: "Transmit job. The job to be posted next. After a post all words hold leftovers of older jobs: write every word that the job uses.",
        offset: 0x140,
        bytes: 4,
        readable: false,
        arrays: &[(16, 0x4)],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MOVE_STATUS",
        about: "Move status",
        offset: 0x180,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "free", about: "Jobs that may be posted now; each has a place for its completion.", high: 4, low: 0 },
            crate::Field { name: "overrun", about: "A job was posted while none was free, and lost. Cleared by reset only.", high: 31, low: 31 },
        ],
    },
    crate::Register {
        name: "MOVE_POST",
        about: "Move post. Any value: queues the job in MOVE_WORD. It is handed over once this core's earlier stores have reached memory.",
        offset: 0x184,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MOVE_DONE",
        about: "Move done. The oldest completion.",
        offset: 0x188,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "tag", about: "Tag of the job.", high: 15, low: 0 },
            crate::Field { name: "ok", about: "All bytes were moved.", high: 16, low: 16 },
            crate::Field { name: "valid", about: "There is a completion; the rest is meaningless while 0.", high: 31, low: 31 },
        ],
    },
    crate::Register {
        name: "MOVE_CRC",
        about: "Move CRC. CRC32C of the oldest completion, final form.",
        offset: 0x18c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MOVE_POP",
        about: "Move pop. Any value: drops the oldest completion.",
        offset: 0x190,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MOVE_WORD",
        about: "Move job. The job to be posted next. After a post all words hold leftovers of older jobs: write every word that the job uses.",
        offset: 0x1c0,
        bytes: 4,
        readable: false,
        arrays: &[(16, 0x4)],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MAIL_SEND",
        about: "Mail send",
        offset: 0x200,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "to", about: "Core that gets the message in MAIL_OUT; a core that does not exist refuses. Ignored while busy.", high: 4, low: 0 },
        ],
    },
    crate::Register {
        name: "MAIL_SEND_STATUS",
        about: "Mail send status",
        offset: 0x204,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "busy", about: "The last message is still on its way; MAIL_OUT must not be written.", high: 0, low: 0 },
            crate::Field { name: "refused", about: "The last message found its mailbox full and was not delivered.", high: 1, low: 1 },
        ],
    },
    crate::Register {
        name: "MAIL_STATUS",
        about: "Mail status",
        offset: 0x208,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "valid", about: "MAIL_IN holds a message.", high: 0, low: 0 },
        ],
    },
    crate::Register {
        name: "MAIL_POP",
        about: "Mail pop. Any value: drops the oldest message.",
        offset: 0x20c,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MAIL_OUT",
        about: "Outgoing message. The message to be sent next.",
        offset: 0x220,
        bytes: 4,
        readable: false,
        arrays: &[(8, 0x4)],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MAIL_IN",
        about: "Incoming message. The oldest message; meaningless while MAIL_STATUS.valid is 0.",
        offset: 0x240,
        bytes: 4,
        readable: true,
        arrays: &[(8, 0x4)],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
];
