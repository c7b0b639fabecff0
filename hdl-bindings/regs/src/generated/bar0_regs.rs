//! Generated from hdl-bindings/rdl/bar0.rdl by hdl-bindings/gen/generate.py; do not edit.
//!
//! Card registers. BAR0 as the host sees it; the cores see the same block at 9000_0000.

use bitfield::bitfield;
use core::mem::offset_of;
use volatile_register::{RO, RW, WO};

/// Byte offset of `MAGIC`: magic.
pub const MAGIC_OFFSET: u32 = 0x0;
/// Byte offset of `MAP_VERSION`: map version.
pub const MAP_VERSION_OFFSET: u32 = 0x4;
/// Byte offset of `BUILD`: build.
pub const BUILD_OFFSET: u32 = 0x8;
/// Byte offset of `FEATURES`: features.
pub const FEATURES_OFFSET: u32 = 0xc;
/// Byte offset of `NUMBERS`: numbers.
pub const NUMBERS_OFFSET: u32 = 0x10;
/// Byte offset of `TCM_SIZE`: tcm size.
pub const TCM_SIZE_OFFSET: u32 = 0x14;
/// Byte offset of `PM_SIZE`: packet memory size.
pub const PM_SIZE_OFFSET: u32 = 0x18;
/// Byte offset of `CTRL`: control.
pub const CTRL_OFFSET: u32 = 0x20;
/// Byte offset of `FW_STATUS`: firmware status.
pub const FW_STATUS_OFFSET: u32 = 0x24;
/// Byte offset of `LOAD_ADDR`: load address.
pub const LOAD_ADDR_OFFSET: u32 = 0x28;
/// Byte offset of `LOAD_DATA`: load data.
pub const LOAD_DATA_OFFSET: u32 = 0x2c;
/// Byte offset of `WATCHDOG`: watchdog.
pub const WATCHDOG_OFFSET: u32 = 0x30;
/// Byte offset of `IRQ`: raise interrupt.
pub const IRQ_OFFSET: u32 = 0x34;
/// Byte offset of `LOAD_CORES`: load cores.
pub const LOAD_CORES_OFFSET: u32 = 0x38;
/// Byte offset of `BOOT_STATUS`: boot status.
pub const BOOT_STATUS_OFFSET: u32 = 0x3c;
/// Byte offset of `SQ_BASE_LO`: submission queue, low.
pub const SQ_BASE_LO_OFFSET: u32 = 0x40;
/// Byte offset of `SQ_BASE_HI`: submission queue, high.
pub const SQ_BASE_HI_OFFSET: u32 = 0x44;
/// Byte offset of `CQ_BASE_LO`: completion queue, low.
pub const CQ_BASE_LO_OFFSET: u32 = 0x48;
/// Byte offset of `CQ_BASE_HI`: completion queue, high.
pub const CQ_BASE_HI_OFFSET: u32 = 0x4c;
/// Byte offset of `QUEUE_ENTRIES`: queue entries.
pub const QUEUE_ENTRIES_OFFSET: u32 = 0x50;
/// Byte offset of `QUEUE_ENABLE`: queue enable.
pub const QUEUE_ENABLE_OFFSET: u32 = 0x54;
/// Byte offset of `SQ_TAIL`: submission tail.
pub const SQ_TAIL_OFFSET: u32 = 0x58;
/// Byte offset of `PM_BUS_LO`: packet memory on the bus, low.
pub const PM_BUS_LO_OFFSET: u32 = 0x60;
/// Byte offset of `PM_BUS_HI`: packet memory on the bus, high.
pub const PM_BUS_HI_OFFSET: u32 = 0x64;
/// Byte offset of `MAC_LO`: mac address, low.
pub const MAC_LO_OFFSET: u32 = 0x70;
/// Byte offset of `MAC_HI`: mac address, high.
pub const MAC_HI_OFFSET: u32 = 0x74;
/// Byte offset of `MTU`: mtu.
pub const MTU_OFFSET: u32 = 0x78;
/// Byte offset of `CORE_SELECT`: core window, selection.
pub const CORE_SELECT_OFFSET: u32 = 0x80;
/// Byte offset of `CORE_VALUE`: core window, value.
pub const CORE_VALUE_OFFSET: u32 = 0x84;
/// Byte offset of `FLASH_CLOCK`: flash clock.
pub const FLASH_CLOCK_OFFSET: u32 = 0xa0;
/// Byte offset of `FLASH_TRANSFER`: flash transfer.
pub const FLASH_TRANSFER_OFFSET: u32 = 0xa4;
/// Byte offset of `FLASH_STATUS`: flash status.
pub const FLASH_STATUS_OFFSET: u32 = 0xa8;
/// Byte offset of `BOARD`: board.
pub const BOARD_OFFSET: u32 = 0xb0;
/// Byte offset of `FUSES`: fuses.
pub const FUSES_OFFSET: u32 = 0xb4;
/// Byte offset of `FUSE_BURN`: burn fuses.
pub const FUSE_BURN_OFFSET: u32 = 0xb8;
/// Byte offset of `ROOT_KEY_WORD`: root key word.
pub const ROOT_KEY_WORD_OFFSET: u32 = 0xc0;
/// Instances of `ROOT_KEY_WORD`.
pub const ROOT_KEY_WORD_COUNT: u32 = 8;
/// Bytes from one `ROOT_KEY_WORD` to the next.
pub const ROOT_KEY_WORD_STRIDE: u32 = 0x4;
/// Byte offset of `RX_FRAMES`: frames received.
pub const RX_FRAMES_OFFSET: u32 = 0x100;
/// Byte offset of `TX_FRAMES`: frames sent.
pub const TX_FRAMES_OFFSET: u32 = 0x104;
/// Byte offset of `MOVES`: moves.
pub const MOVES_OFFSET: u32 = 0x108;
/// Byte offset of `PAUSE_FRAMES`: pause frames.
pub const PAUSE_FRAMES_OFFSET: u32 = 0x10c;
/// Byte offset of `RX_BYTES`: bytes received.
pub const RX_BYTES_OFFSET: u32 = 0x110;
/// Byte offset of `TX_BYTES`: bytes sent.
pub const TX_BYTES_OFFSET: u32 = 0x118;
/// Byte offset of `MOVE_BYTES`: bytes moved.
pub const MOVE_BYTES_OFFSET: u32 = 0x120;
/// Byte offset of `TX_BAD_JOBS`: malformed transmit jobs.
pub const TX_BAD_JOBS_OFFSET: u32 = 0x128;
/// Byte offset of `PCIE_IN_READS`: inbound reads.
pub const PCIE_IN_READS_OFFSET: u32 = 0x130;
/// Byte offset of `PCIE_IN_WRITES`: inbound writes.
pub const PCIE_IN_WRITES_OFFSET: u32 = 0x134;
/// Byte offset of `PCIE_OUT_READS`: outbound reads.
pub const PCIE_OUT_READS_OFFSET: u32 = 0x138;
/// Byte offset of `PCIE_OUT_WRITES`: outbound writes.
pub const PCIE_OUT_WRITES_OFFSET: u32 = 0x13c;
/// Byte offset of `PAUSE_TIME`: pause time.
pub const PAUSE_TIME_OFFSET: u32 = 0x140;
/// Byte offset of `DROP_LENGTH`: dropped: length.
pub const DROP_LENGTH_OFFSET: u32 = 0x180;
/// Byte offset of `DROP_ETHERTYPE`: dropped: ethertype.
pub const DROP_ETHERTYPE_OFFSET: u32 = 0x184;
/// Byte offset of `DROP_IPV4`: dropped: ipv4 header.
pub const DROP_IPV4_OFFSET: u32 = 0x188;
/// Byte offset of `DROP_IPV6`: dropped: ipv6 header.
pub const DROP_IPV6_OFFSET: u32 = 0x18c;
/// Byte offset of `DROP_FRAGMENT`: dropped: fragment.
pub const DROP_FRAGMENT_OFFSET: u32 = 0x190;
/// Byte offset of `DROP_CHECKSUM`: dropped: checksum.
pub const DROP_CHECKSUM_OFFSET: u32 = 0x194;
/// Byte offset of `DROP_NOT_FOR_US`: dropped: not for us.
pub const DROP_NOT_FOR_US_OFFSET: u32 = 0x198;
/// Byte offset of `DROP_PAUSE`: consumed: pause.
pub const DROP_PAUSE_OFFSET: u32 = 0x19c;
/// Byte offset of `DROP_NO_BUFFER`: dropped: no buffer.
pub const DROP_NO_BUFFER_OFFSET: u32 = 0x1a0;
/// Byte offset of `DROP_QUEUE_FULL`: dropped: queue full.
pub const DROP_QUEUE_FULL_OFFSET: u32 = 0x1a4;
/// Byte offset of `DROP_L4_HEADER`: dropped: l4 header.
pub const DROP_L4_HEADER_OFFSET: u32 = 0x1a8;
/// Byte offset of `DROP_OVERRUN`: dropped: overrun.
pub const DROP_OVERRUN_OFFSET: u32 = 0x1ac;
/// Byte offset of `DROP_ROCE`: dropped: roce packet.
pub const DROP_ROCE_OFFSET: u32 = 0x1b0;
/// Byte offset of `DROP_ICRC`: dropped: icrc.
pub const DROP_ICRC_OFFSET: u32 = 0x1b4;
/// Byte offset of `STEER_ENTRY`: steering entry.
pub const STEER_ENTRY_OFFSET: u32 = 0x200;
/// Instances of `STEER_ENTRY`.
pub const STEER_ENTRY_COUNT: u32 = 128;
/// Bytes from one `STEER_ENTRY` to the next.
pub const STEER_ENTRY_STRIDE: u32 = 0x4;
/// Byte offset of `DOORBELL_SLOT_LO`: bus address, low.
pub const DOORBELL_SLOT_LO_OFFSET: u32 = 0x400;
/// Instances of `DOORBELL_SLOT_LO`.
pub const DOORBELL_SLOT_LO_COUNT: u32 = 64;
/// Bytes from one `DOORBELL_SLOT_LO` to the next.
pub const DOORBELL_SLOT_LO_STRIDE: u32 = 0x8;
/// Byte offset of `DOORBELL_SLOT_HI`: bus address, high.
pub const DOORBELL_SLOT_HI_OFFSET: u32 = 0x404;
/// Instances of `DOORBELL_SLOT_HI`.
pub const DOORBELL_SLOT_HI_COUNT: u32 = 64;
/// Bytes from one `DOORBELL_SLOT_HI` to the next.
pub const DOORBELL_SLOT_HI_STRIDE: u32 = 0x8;
/// Byte offset of `FLASH_BUFFER_WORD`: flash buffer word.
pub const FLASH_BUFFER_WORD_OFFSET: u32 = 0x600;
/// Instances of `FLASH_BUFFER_WORD`.
pub const FLASH_BUFFER_WORD_COUNT: u32 = 64;
/// Bytes from one `FLASH_BUFFER_WORD` to the next.
pub const FLASH_BUFFER_WORD_STRIDE: u32 = 0x4;
/// Byte offset of `TRACE_CTRL`: trace control.
pub const TRACE_CTRL_OFFSET: u32 = 0x700;
/// Byte offset of `TRACE_FILTER`: trace filter.
pub const TRACE_FILTER_OFFSET: u32 = 0x704;
/// Byte offset of `TRACE_BASE_LO`: trace ring, low.
pub const TRACE_BASE_LO_OFFSET: u32 = 0x708;
/// Byte offset of `TRACE_BASE_HI`: trace ring, high.
pub const TRACE_BASE_HI_OFFSET: u32 = 0x70c;
/// Byte offset of `TRACE_TAIL`: trace tail.
pub const TRACE_TAIL_OFFSET: u32 = 0x710;
/// Byte offset of `TRACE_HEAD`: trace head.
pub const TRACE_HEAD_OFFSET: u32 = 0x714;
/// Byte offset of `TRACE_STATUS`: trace status.
pub const TRACE_STATUS_OFFSET: u32 = 0x718;
/// Byte offset of `TRACE_LOST`: trace losses.
pub const TRACE_LOST_OFFSET: u32 = 0x71c;
/// Byte offset of `TRACE_CLOCKS`: clocks.
pub const TRACE_CLOCKS_OFFSET: u32 = 0x720;
/// Byte offset of `MSIX_ENTRY_ADDR_LO`: message address.
pub const MSIX_ENTRY_ADDR_LO_OFFSET: u32 = 0x8000;
/// Instances of `MSIX_ENTRY_ADDR_LO`.
pub const MSIX_ENTRY_ADDR_LO_COUNT: u32 = 32;
/// Bytes from one `MSIX_ENTRY_ADDR_LO` to the next.
pub const MSIX_ENTRY_ADDR_LO_STRIDE: u32 = 0x10;
/// Byte offset of `MSIX_ENTRY_ADDR_HI`: message upper address.
pub const MSIX_ENTRY_ADDR_HI_OFFSET: u32 = 0x8004;
/// Instances of `MSIX_ENTRY_ADDR_HI`.
pub const MSIX_ENTRY_ADDR_HI_COUNT: u32 = 32;
/// Bytes from one `MSIX_ENTRY_ADDR_HI` to the next.
pub const MSIX_ENTRY_ADDR_HI_STRIDE: u32 = 0x10;
/// Byte offset of `MSIX_ENTRY_DATA`: message data.
pub const MSIX_ENTRY_DATA_OFFSET: u32 = 0x8008;
/// Instances of `MSIX_ENTRY_DATA`.
pub const MSIX_ENTRY_DATA_COUNT: u32 = 32;
/// Bytes from one `MSIX_ENTRY_DATA` to the next.
pub const MSIX_ENTRY_DATA_STRIDE: u32 = 0x10;
/// Byte offset of `MSIX_ENTRY_CONTROL`: vector control.
pub const MSIX_ENTRY_CONTROL_OFFSET: u32 = 0x800c;
/// Instances of `MSIX_ENTRY_CONTROL`.
pub const MSIX_ENTRY_CONTROL_COUNT: u32 = 32;
/// Bytes from one `MSIX_ENTRY_CONTROL` to the next.
pub const MSIX_ENTRY_CONTROL_STRIDE: u32 = 0x10;
/// Byte offset of `MSIX_PENDING`: pending bits.
pub const MSIX_PENDING_OFFSET: u32 = 0xc000;

bitfield! {
    /// Features
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Features(u32);
    impl Debug;
    /// TCP segmentation and checksums in tx.
    pub bool, tx_segment, _: 0;
    /// TCP, UDP and ICMP checksums verified in rx.
    pub bool, rx_checksum, _: 1;
    /// CRC32C in the mover.
    pub bool, mover_crc32c, _: 2;
    /// Cores can sleep until an event.
    pub bool, core_sleep, _: 3;
    /// RoCEv2 in rx and tx: ICRC, headers, steering by queue pair, messages cut into packets.
    pub bool, roce, _: 4;
    /// Serial flash, boot program and fuses.
    pub bool, flash, _: 5;
    /// Trace of the Ethernet port.
    pub bool, trace, _: 6;
}

bitfield! {
    /// Numbers
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Numbers(u32);
    impl Debug;
    /// Cores, the control core included.
    pub u8, cores, _: 7, 0;
    /// Host queue pairs.
    pub u8, queues, _: 15, 8;
    /// MSI-X vectors.
    pub u8, vectors, _: 23, 16;
    /// Doorbell slots.
    pub u8, doorbells, _: 31, 24;
}

bitfield! {
    /// Control
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Ctrl(u32);
    impl Debug;
    /// 1: the cores run. 0: cores, queues and engines are held in reset; registers and memories keep their contents.
    pub bool, run, set_run: 0;
    /// Write 1: this block goes back to its reset values, run and counters included.
    pub bool, soft_reset, set_soft_reset: 1;
    /// 1: core 0 runs the boot program, all others are held. The program ends by clearing this bit, and sets run if it
    /// has started a slot. Set by power-on if the board straps it so, and as reboot says.
    pub bool, boot, set_boot: 2;
    /// 1: when a core's watchdog expires, boot is set.
    pub bool, reboot, set_reboot: 3;
}

bitfield! {
    /// Load address
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct LoadAddr(u32);
    impl Debug;
    /// TCM byte address of the next load, a multiple of 4; advances by 4 with every write of LOAD_DATA.
    pub u32, address, set_address: 19, 0;
}

bitfield! {
    /// Raise interrupt
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Irq(u32);
    impl Debug;
    /// Writing raises this MSI-X vector; for the firmware.
    pub u8, vector, set_vector: 4, 0;
}

bitfield! {
    /// Boot status. Written by the boot program: where the running firmware comes from.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct BootStatus(u32);
    impl Debug;
    /// 0: loaded by the host, 1: slot A, 2: slot B, 3: neither slot is good.
    pub u8, source, set_source: 1, 0;
    /// The firmware is on trial.
    pub bool, trial, set_trial: 2;
    /// Why slot A was refused (docs/flashing.md); 0: it was not, or was not looked at.
    pub u8, refused_a, set_refused_a: 15, 8;
    /// Why slot B was refused.
    pub u8, refused_b, set_refused_b: 23, 16;
}

bitfield! {
    /// Queue entries
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct QueueEntries(u32);
    impl Debug;
    /// Entries in each of the two queues.
    pub u16, entries, set_entries: 15, 0;
}

bitfield! {
    /// Queue enable
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct QueueEnable(u32);
    impl Debug;
    /// The host has filled in the rest. Writing sets EVENTS.host of core 0.
    pub bool, enable, set_enable: 0;
}

bitfield! {
    /// Submission tail
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct SqTail(u32);
    impl Debug;
    /// Doorbell: index after the newest submission. Writing sets EVENTS.host of core 0.
    pub u16, tail, set_tail: 15, 0;
}

bitfield! {
    /// MAC address, high
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct MacHi(u32);
    impl Debug;
    /// First 2 bytes; the first byte on the wire in bits 15:8.
    pub u16, mac, set_mac: 15, 0;
}

bitfield! {
    /// MTU
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Mtu(u32);
    impl Debug;
    /// Largest IP packet, in bytes; for the firmware.
    pub u16, mtu, set_mtu: 15, 0;
}

bitfield! {
    /// Core window, selection
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct CoreSelect(u32);
    impl Debug;
    /// Core.
    pub u8, core, set_core: 4, 0;
    /// 0 to 7: phase counter; 8: payload accesses; 9: frame loads; 10: watchdog expired; 11: state (bit 0 sleeping, bit
    /// 1 fault).
    pub u8, counter, set_counter: 11, 8;
}

bitfield! {
    /// Flash clock
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct FlashClock(u32);
    impl Debug;
    /// The clock's halves take divider + 1 clocks each.
    pub u8, divider, set_divider: 7, 0;
}

bitfield! {
    /// Flash transfer. Writing starts a transfer between the flash and FLASH_BUFFER, from its first byte on. Ignored
    /// while one is under way.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct FlashTransfer(u32);
    impl Debug;
    /// Bytes, 1 to 256; 0: the chip is deselected, nothing else.
    pub u16, count, set_count: 8, 0;
    /// The buffer's bytes are sent.
    pub bool, send, set_send: 9;
    /// The buffer's bytes are replaced by those received.
    pub bool, receive, set_receive: 10;
    /// Four bits a clock on IO3:0 rather than one; either send or receive.
    pub bool, quad, set_quad: 11;
    /// The chip stays selected afterwards: the next transfer goes on with the same command.
    pub bool, hold, set_hold: 12;
}

bitfield! {
    /// Flash status
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct FlashStatus(u32);
    impl Debug;
    /// A transfer is under way, or the chip has not been deselected for long enough.
    pub bool, busy, _: 0;
    /// The chip is selected.
    pub bool, selected, _: 1;
}

bitfield! {
    /// Fuses
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Fuses(u32);
    impl Debug;
    /// Packages of a lower security version are not started.
    pub u8, security_version, _: 7, 0;
    /// Signing keys of a lower generation are not accepted.
    pub u8, key_generation, _: 15, 8;
}

bitfield! {
    /// Burn fuses
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct FuseBurn(u32);
    impl Debug;
    /// Write 1: the security version is raised by one, for good.
    pub bool, security_version, set_security_version: 0;
    /// Write 1: the key generation is raised by one, for good.
    pub bool, key_generation, set_key_generation: 1;
}

bitfield! {
    /// PAUSE time
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct PauseTime(u32);
    impl Debug;
    /// Quanta (512 bit times) asked for by the last PAUSE frame.
    pub u16, quanta, _: 15, 0;
}

bitfield! {
    /// Steering entry
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct SteerEntry(u32);
    impl Debug;
    /// Core that gets TCP frames whose flow hash bits 6:0 are this entry's index. Not cleared by soft reset.
    pub u8, core, set_core: 4, 0;
}

bitfield! {
    /// Trace control. What a trace is to keep, and its start: enable goes from 0 to 1. The rest, TRACE_FILTER and
    /// TRACE_BASE are looked at in that moment only.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct TraceCtrl(u32);
    impl Debug;
    /// 1: trace. 0: end the trace; what was seen is still written. A trace also ends when CTRL.run becomes 0, and a new
    /// one starts only after enable was 0.
    pub bool, enable, set_enable: 0;
    /// Received frames.
    pub bool, receive, set_receive: 1;
    /// Sent frames.
    pub bool, send, set_send: 2;
    /// The ring has 4 KiB shifted left by this; at most 12.
    pub u8, order, set_order: 11, 8;
    /// Bytes kept of each frame, at most 9,216.
    pub u16, snap, set_snap: 29, 16;
}

bitfield! {
    /// Trace filter. With both 0 all frames are kept, else those from or to one of the ports.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct TraceFilter(u32);
    impl Debug;
    /// TCP port; 0: no TCP.
    pub u16, tcp_port, set_tcp_port: 15, 0;
    /// UDP port; 0: no UDP.
    pub u16, udp_port, set_udp_port: 31, 16;
}

bitfield! {
    /// Trace ring, low. Bus address of the ring, bits 31:12. The status row lies behind the ring.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct TraceBaseLo(u32);
    impl Debug;
    /// Bits 31:12.
    pub u32, page, set_page: 31, 12;
}

bitfield! {
    /// Trace status
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct TraceStatus(u32);
    impl Debug;
    /// Not ended: the ring may still be written.
    pub bool, active, _: 0;
    /// Frames that begin now are kept.
    pub bool, tracing, _: 1;
    /// The last trace ended, or never began, because reading the ring failed.
    pub bool, bus_error, _: 2;
    /// The last trace did not begin because order was above 12.
    pub bool, bad_order, _: 3;
}

bitfield! {
    /// Vector control
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct MsixEntryControl(u32);
    impl Debug;
    /// 1: the vector is masked. All are after reset.
    pub bool, masked, set_masked: 0;
}

/// Root key
#[repr(C)]
pub struct RootKey {
    /// Root key word
    pub word: [RO<u32>; 8],
}
const _: () = assert!(offset_of!(RootKey, word) == 0x0);

/// Steering table
#[repr(C)]
pub struct Steer {
    /// Steering entry
    pub entry: [RW<SteerEntry>; 128],
}
const _: () = assert!(offset_of!(Steer, entry) == 0x0);

/// Doorbell slot
#[repr(C)]
pub struct DoorbellSlot {
    /// Bus address, low
    pub lo: RW<u32>,
    /// Bus address, high
    pub hi: RW<u32>,
}
const _: () = assert!(offset_of!(DoorbellSlot, lo) == 0x0);
const _: () = assert!(offset_of!(DoorbellSlot, hi) == 0x4);

/// Doorbell slots. Bus addresses that cores ring by slot number. Not cleared by soft reset.
#[repr(C)]
pub struct Doorbell {
    /// Doorbell slot
    pub slot: [DoorbellSlot; 64],
}
const _: () = assert!(offset_of!(Doorbell, slot) == 0x0);

/// Flash buffer. What flash transfers send and receive. Not cleared by soft reset; not to be touched during a transfer.
#[repr(C)]
pub struct FlashBuffer {
    /// Flash buffer word
    pub word: [RW<u32>; 64],
}
const _: () = assert!(offset_of!(FlashBuffer, word) == 0x0);

/// MSI-X table entry
#[repr(C)]
pub struct MsixEntry {
    /// Message address
    pub addr_lo: RW<u32>,
    /// Message upper address
    pub addr_hi: RW<u32>,
    /// Message data
    pub data: RW<u32>,
    /// Vector control
    pub control: RW<MsixEntryControl>,
}
const _: () = assert!(offset_of!(MsixEntry, addr_lo) == 0x0);
const _: () = assert!(offset_of!(MsixEntry, addr_hi) == 0x4);
const _: () = assert!(offset_of!(MsixEntry, data) == 0x8);
const _: () = assert!(offset_of!(MsixEntry, control) == 0xc);

/// MSI-X table. PCI Local Bus 3.0, section 6.8.2.
#[repr(C)]
pub struct Msix {
    /// MSI-X table entry
    pub entry: [MsixEntry; 32],
}
const _: () = assert!(offset_of!(Msix, entry) == 0x0);

/// Card registers. BAR0 as the host sees it; the cores see the same block at 9000_0000.
#[repr(C)]
pub struct Block {
    /// Magic
    pub magic: RO<u32>,
    /// Map version
    pub map_version: RO<u32>,
    /// Build
    pub build: RO<u32>,
    /// Features
    pub features: RO<Features>,
    /// Numbers
    pub numbers: RO<Numbers>,
    /// TCM size
    pub tcm_size: RO<u32>,
    /// Packet memory size
    pub pm_size: RO<u32>,
    _gap0: [u32; 1],
    /// Control
    pub ctrl: RW<Ctrl>,
    /// Firmware status
    pub fw_status: RW<u32>,
    /// Load address
    pub load_addr: RW<LoadAddr>,
    /// Load data
    pub load_data: RW<u32>,
    /// Watchdog
    pub watchdog: RW<u32>,
    /// Raise interrupt
    pub irq: WO<Irq>,
    /// Load cores
    pub load_cores: RW<u32>,
    /// Boot status. Written by the boot program: where the running firmware comes from.
    pub boot_status: RW<BootStatus>,
    /// Submission queue, low. Bus address of the submission queue (64-byte entries), bits 31:0.
    pub sq_base_lo: RW<u32>,
    /// Submission queue, high. Bits 63:32.
    pub sq_base_hi: RW<u32>,
    /// Completion queue, low. Bus address of the completion queue (16-byte entries), bits 31:0.
    pub cq_base_lo: RW<u32>,
    /// Completion queue, high. Bits 63:32.
    pub cq_base_hi: RW<u32>,
    /// Queue entries
    pub queue_entries: RW<QueueEntries>,
    /// Queue enable
    pub queue_enable: RW<QueueEnable>,
    /// Submission tail
    pub sq_tail: RW<SqTail>,
    _gap1: [u32; 1],
    /// Packet memory on the bus, low. Bus address at which devices reach packet memory, bits 31:0.
    pub pm_bus_lo: RW<u32>,
    /// Packet memory on the bus, high. Bits 63:32.
    pub pm_bus_hi: RW<u32>,
    _gap2: [u32; 2],
    /// MAC address, low
    pub mac_lo: RW<u32>,
    /// MAC address, high
    pub mac_hi: RW<MacHi>,
    /// MTU
    pub mtu: RW<Mtu>,
    _gap3: [u32; 1],
    /// Core window, selection
    pub core_select: RW<CoreSelect>,
    /// Core window, value
    pub core_value: RO<u32>,
    _gap4: [u32; 6],
    /// Flash clock
    pub flash_clock: RW<FlashClock>,
    /// Flash transfer. Writing starts a transfer between the flash and FLASH_BUFFER, from its first byte on. Ignored
    /// while one is under way.
    pub flash_transfer: RW<FlashTransfer>,
    /// Flash status
    pub flash_status: RO<FlashStatus>,
    _gap5: [u32; 1],
    /// Board
    pub board: RO<u32>,
    /// Fuses
    pub fuses: RO<Fuses>,
    /// Burn fuses
    pub fuse_burn: WO<FuseBurn>,
    _gap6: [u32; 1],
    /// Root key
    pub root_key: RootKey,
    _gap7: [u32; 8],
    /// Frames received. Frames delivered to a core.
    pub rx_frames: RO<u32>,
    /// Frames sent
    pub tx_frames: RO<u32>,
    /// Moves. Move jobs completed.
    pub moves: RO<u32>,
    /// PAUSE frames. PAUSE and PFC frames seen.
    pub pause_frames: RO<u32>,
    /// Bytes received. Frame bytes delivered, FCS excluded.
    pub rx_bytes: [RO<u32>; 2],
    /// Bytes sent. Frame bytes sent, FCS excluded.
    pub tx_bytes: [RO<u32>; 2],
    /// Bytes moved
    pub move_bytes: [RO<u32>; 2],
    /// Malformed transmit jobs. Completed without sending anything.
    pub tx_bad_jobs: RO<u32>,
    _gap8: [u32; 1],
    /// Inbound reads. Beats (up to 16 bytes) read from the card over PCIe.
    pub pcie_in_reads: RO<u32>,
    /// Inbound writes. Beats written to the card over PCIe.
    pub pcie_in_writes: RO<u32>,
    /// Outbound reads. Beats read by the card over PCIe.
    pub pcie_out_reads: RO<u32>,
    /// Outbound writes. Beats written by the card over PCIe, doorbells and MSI-X included.
    pub pcie_out_writes: RO<u32>,
    /// PAUSE time
    pub pause_time: RO<PauseTime>,
    _gap9: [u32; 15],
    /// Dropped: length. Longer than 9,216 or shorter than 14 bytes.
    pub drop_length: RO<u32>,
    /// Dropped: EtherType. Neither ARP nor IPv4 nor IPv6.
    pub drop_ethertype: RO<u32>,
    /// Dropped: IPv4 header. Version, IHL, total length or header checksum.
    pub drop_ipv4: RO<u32>,
    /// Dropped: IPv6 header. Version or payload length.
    pub drop_ipv6: RO<u32>,
    /// Dropped: fragment
    pub drop_fragment: RO<u32>,
    /// Dropped: checksum. TCP, UDP or ICMP checksum wrong.
    pub drop_checksum: RO<u32>,
    /// Dropped: not for us. Destination MAC address of somebody else.
    pub drop_not_for_us: RO<u32>,
    /// Consumed: PAUSE. PAUSE and PFC frames, which no core sees.
    pub drop_pause: RO<u32>,
    /// Dropped: no buffer
    pub drop_no_buffer: RO<u32>,
    /// Dropped: queue full. The core's descriptor queue was full.
    pub drop_queue_full: RO<u32>,
    /// Dropped: L4 header. TCP or UDP header does not fit the packet, or TCP data offset below 5.
    pub drop_l4_header: RO<u32>,
    /// Dropped: overrun. The rx engine's input buffer ran over.
    pub drop_overrun: RO<u32>,
    /// Dropped: RoCE packet. To UDP port 4791, but a transport version other than 0, an unknown opcode, IPv4 options,
    /// or lengths or padding that do not fit.
    pub drop_roce: RO<u32>,
    /// Dropped: ICRC. RoCE packet whose invariant CRC is wrong.
    pub drop_icrc: RO<u32>,
    _gap10: [u32; 18],
    /// Steering table
    pub steer: Steer,
    /// Doorbell slots. Bus addresses that cores ring by slot number. Not cleared by soft reset.
    pub doorbell: Doorbell,
    /// Flash buffer. What flash transfers send and receive. Not cleared by soft reset; not to be touched during a
    /// transfer.
    pub flash_buffer: FlashBuffer,
    /// Trace control. What a trace is to keep, and its start: enable goes from 0 to 1. The rest, TRACE_FILTER and
    /// TRACE_BASE are looked at in that moment only.
    pub trace_ctrl: RW<TraceCtrl>,
    /// Trace filter. With both 0 all frames are kept, else those from or to one of the ports.
    pub trace_filter: RW<TraceFilter>,
    /// Trace ring, low. Bus address of the ring, bits 31:12. The status row lies behind the ring.
    pub trace_base_lo: RW<TraceBaseLo>,
    /// Trace ring, high. Bits 63:32.
    pub trace_base_hi: RW<u32>,
    /// Trace tail. Bytes that the host has taken since the start, wrapping; to be 0 at the start.
    pub trace_tail: RW<u32>,
    /// Trace head
    pub trace_head: RO<u32>,
    /// Trace status
    pub trace_status: RO<TraceStatus>,
    /// Trace losses
    pub trace_lost: RO<u32>,
    /// Clocks
    pub trace_clocks: [RO<u32>; 2],
    _gap11: [u32; 7734],
    /// MSI-X table. PCI Local Bus 3.0, section 6.8.2.
    pub msix: Msix,
    _gap12: [u32; 3968],
    /// Pending bits
    pub msix_pending: RO<u32>,
}
const _: () = assert!(offset_of!(Block, magic) == 0x0);
const _: () = assert!(offset_of!(Block, map_version) == 0x4);
const _: () = assert!(offset_of!(Block, build) == 0x8);
const _: () = assert!(offset_of!(Block, features) == 0xc);
const _: () = assert!(offset_of!(Block, numbers) == 0x10);
const _: () = assert!(offset_of!(Block, tcm_size) == 0x14);
const _: () = assert!(offset_of!(Block, pm_size) == 0x18);
const _: () = assert!(offset_of!(Block, ctrl) == 0x20);
const _: () = assert!(offset_of!(Block, fw_status) == 0x24);
const _: () = assert!(offset_of!(Block, load_addr) == 0x28);
const _: () = assert!(offset_of!(Block, load_data) == 0x2c);
const _: () = assert!(offset_of!(Block, watchdog) == 0x30);
const _: () = assert!(offset_of!(Block, irq) == 0x34);
const _: () = assert!(offset_of!(Block, load_cores) == 0x38);
const _: () = assert!(offset_of!(Block, boot_status) == 0x3c);
const _: () = assert!(offset_of!(Block, sq_base_lo) == 0x40);
const _: () = assert!(offset_of!(Block, sq_base_hi) == 0x44);
const _: () = assert!(offset_of!(Block, cq_base_lo) == 0x48);
const _: () = assert!(offset_of!(Block, cq_base_hi) == 0x4c);
const _: () = assert!(offset_of!(Block, queue_entries) == 0x50);
const _: () = assert!(offset_of!(Block, queue_enable) == 0x54);
const _: () = assert!(offset_of!(Block, sq_tail) == 0x58);
const _: () = assert!(offset_of!(Block, pm_bus_lo) == 0x60);
const _: () = assert!(offset_of!(Block, pm_bus_hi) == 0x64);
const _: () = assert!(offset_of!(Block, mac_lo) == 0x70);
const _: () = assert!(offset_of!(Block, mac_hi) == 0x74);
const _: () = assert!(offset_of!(Block, mtu) == 0x78);
const _: () = assert!(offset_of!(Block, core_select) == 0x80);
const _: () = assert!(offset_of!(Block, core_value) == 0x84);
const _: () = assert!(offset_of!(Block, flash_clock) == 0xa0);
const _: () = assert!(offset_of!(Block, flash_transfer) == 0xa4);
const _: () = assert!(offset_of!(Block, flash_status) == 0xa8);
const _: () = assert!(offset_of!(Block, board) == 0xb0);
const _: () = assert!(offset_of!(Block, fuses) == 0xb4);
const _: () = assert!(offset_of!(Block, fuse_burn) == 0xb8);
const _: () = assert!(offset_of!(Block, root_key) == 0xc0);
const _: () = assert!(offset_of!(Block, rx_frames) == 0x100);
const _: () = assert!(offset_of!(Block, tx_frames) == 0x104);
const _: () = assert!(offset_of!(Block, moves) == 0x108);
const _: () = assert!(offset_of!(Block, pause_frames) == 0x10c);
const _: () = assert!(offset_of!(Block, rx_bytes) == 0x110);
const _: () = assert!(offset_of!(Block, tx_bytes) == 0x118);
const _: () = assert!(offset_of!(Block, move_bytes) == 0x120);
const _: () = assert!(offset_of!(Block, tx_bad_jobs) == 0x128);
const _: () = assert!(offset_of!(Block, pcie_in_reads) == 0x130);
const _: () = assert!(offset_of!(Block, pcie_in_writes) == 0x134);
const _: () = assert!(offset_of!(Block, pcie_out_reads) == 0x138);
const _: () = assert!(offset_of!(Block, pcie_out_writes) == 0x13c);
const _: () = assert!(offset_of!(Block, pause_time) == 0x140);
const _: () = assert!(offset_of!(Block, drop_length) == 0x180);
const _: () = assert!(offset_of!(Block, drop_ethertype) == 0x184);
const _: () = assert!(offset_of!(Block, drop_ipv4) == 0x188);
const _: () = assert!(offset_of!(Block, drop_ipv6) == 0x18c);
const _: () = assert!(offset_of!(Block, drop_fragment) == 0x190);
const _: () = assert!(offset_of!(Block, drop_checksum) == 0x194);
const _: () = assert!(offset_of!(Block, drop_not_for_us) == 0x198);
const _: () = assert!(offset_of!(Block, drop_pause) == 0x19c);
const _: () = assert!(offset_of!(Block, drop_no_buffer) == 0x1a0);
const _: () = assert!(offset_of!(Block, drop_queue_full) == 0x1a4);
const _: () = assert!(offset_of!(Block, drop_l4_header) == 0x1a8);
const _: () = assert!(offset_of!(Block, drop_overrun) == 0x1ac);
const _: () = assert!(offset_of!(Block, drop_roce) == 0x1b0);
const _: () = assert!(offset_of!(Block, drop_icrc) == 0x1b4);
const _: () = assert!(offset_of!(Block, steer) == 0x200);
const _: () = assert!(offset_of!(Block, doorbell) == 0x400);
const _: () = assert!(offset_of!(Block, flash_buffer) == 0x600);
const _: () = assert!(offset_of!(Block, trace_ctrl) == 0x700);
const _: () = assert!(offset_of!(Block, trace_filter) == 0x704);
const _: () = assert!(offset_of!(Block, trace_base_lo) == 0x708);
const _: () = assert!(offset_of!(Block, trace_base_hi) == 0x70c);
const _: () = assert!(offset_of!(Block, trace_tail) == 0x710);
const _: () = assert!(offset_of!(Block, trace_head) == 0x714);
const _: () = assert!(offset_of!(Block, trace_status) == 0x718);
const _: () = assert!(offset_of!(Block, trace_lost) == 0x71c);
const _: () = assert!(offset_of!(Block, trace_clocks) == 0x720);
const _: () = assert!(offset_of!(Block, msix) == 0x8000);
const _: () = assert!(offset_of!(Block, msix_pending) == 0xc000);

/// Every register, in the order of its address.
#[rustfmt::skip]
pub const REGISTERS: &[crate::Register] = &[
    crate::Register {
        name: "MAGIC",
        about: "Magic",
        offset: 0x0,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "magic", about: "534C_5543h, \"SLUC\".", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MAP_VERSION",
        about: "Map version",
        offset: 0x4,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "version", about: "Version of this map and of the job and descriptor formats.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "BUILD",
        about: "Build",
        offset: 0x8,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "build", about: "Number given to the build.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "FEATURES",
        about: "Features",
        offset: 0xc,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "tx_segment", about: "TCP segmentation and checksums in tx.", high: 0, low: 0 },
            crate::Field { name: "rx_checksum", about: "TCP, UDP and ICMP checksums verified in rx.", high: 1, low: 1 },
            crate::Field { name: "mover_crc32c", about: "CRC32C in the mover.", high: 2, low: 2 },
            crate::Field { name: "core_sleep", about: "Cores can sleep until an event.", high: 3, low: 3 },
            crate::Field { name: "roce", about: "RoCEv2 in rx and tx: ICRC, headers, steering by queue pair, messages cut into packets.", high: 4, low: 4 },
            crate::Field { name: "flash", about: "Serial flash, boot program and fuses.", high: 5, low: 5 },
            crate::Field { name: "trace", about: "Trace of the Ethernet port.", high: 6, low: 6 },
        ],
    },
    crate::Register {
        name: "NUMBERS",
        about: "Numbers",
        offset: 0x10,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "cores", about: "Cores, the control core included.", high: 7, low: 0 },
            crate::Field { name: "queues", about: "Host queue pairs.", high: 15, low: 8 },
            crate::Field { name: "vectors", about: "MSI-X vectors.", high: 23, low: 16 },
            crate::Field { name: "doorbells", about: "Doorbell slots.", high: 31, low: 24 },
        ],
    },
    crate::Register {
        name: "TCM_SIZE",
        about: "TCM size",
        offset: 0x14,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "bytes", about: "Bytes of each core's TCM.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PM_SIZE",
        about: "Packet memory size",
        offset: 0x18,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "bytes", about: "Bytes of packet memory, the size of BAR2.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "CTRL",
        about: "Control",
        offset: 0x20,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "run", about: "1: the cores run. 0: cores, queues and engines are held in reset; registers and memories keep their contents.", high: 0, low: 0 },
            crate::Field { name: "soft_reset", about: "Write 1: this block goes back to its reset values, run and counters included.", high: 1, low: 1 },
            crate::Field { name: "boot", about: "1: core 0 runs the boot program, all others are held. The program ends by clearing this bit, and sets run if it has started a slot. Set by power-on if the board straps it so, and as reboot says.", high: 2, low: 2 },
            crate::Field { name: "reboot", about: "1: when a core's watchdog expires, boot is set.", high: 3, low: 3 },
        ],
    },
    crate::Register {
        name: "FW_STATUS",
        about: "Firmware status",
        offset: 0x24,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "status", about: "Set by the firmware: 0 starting, 1 ready, 2 and up failed. Zero while run is 0.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "LOAD_ADDR",
        about: "Load address",
        offset: 0x28,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "address", about: "TCM byte address of the next load, a multiple of 4; advances by 4 with every write of LOAD_DATA.", high: 19, low: 0 },
        ],
    },
    crate::Register {
        name: "LOAD_DATA",
        about: "Load data",
        offset: 0x2c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "data", about: "Written at LOAD_ADDR into the TCM of each core in LOAD_CORES. Ignored while CTRL.run is 1.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "WATCHDOG",
        about: "Watchdog",
        offset: 0x30,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "expired", about: "One bit per core: its watchdog has expired. Write 1 to clear. A new bit raises MSI-X vector 1.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "IRQ",
        about: "Raise interrupt",
        offset: 0x34,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "vector", about: "Writing raises this MSI-X vector; for the firmware.", high: 4, low: 0 },
        ],
    },
    crate::Register {
        name: "LOAD_CORES",
        about: "Load cores",
        offset: 0x38,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "cores", about: "One bit per core: LOAD_DATA writes into its TCM. Bits of cores that do not exist mean nothing.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "BOOT_STATUS",
        about: "Boot status. Written by the boot program: where the running firmware comes from.",
        offset: 0x3c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "source", about: "0: loaded by the host, 1: slot A, 2: slot B, 3: neither slot is good.", high: 1, low: 0 },
            crate::Field { name: "trial", about: "The firmware is on trial.", high: 2, low: 2 },
            crate::Field { name: "refused_a", about: "Why slot A was refused (docs/flashing.md); 0: it was not, or was not looked at.", high: 15, low: 8 },
            crate::Field { name: "refused_b", about: "Why slot B was refused.", high: 23, low: 16 },
        ],
    },
    crate::Register {
        name: "SQ_BASE_LO",
        about: "Submission queue, low. Bus address of the submission queue (64-byte entries), bits 31:0.",
        offset: 0x40,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "SQ_BASE_HI",
        about: "Submission queue, high. Bits 63:32.",
        offset: 0x44,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "CQ_BASE_LO",
        about: "Completion queue, low. Bus address of the completion queue (16-byte entries), bits 31:0.",
        offset: 0x48,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "CQ_BASE_HI",
        about: "Completion queue, high. Bits 63:32.",
        offset: 0x4c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "QUEUE_ENTRIES",
        about: "Queue entries",
        offset: 0x50,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "entries", about: "Entries in each of the two queues.", high: 15, low: 0 },
        ],
    },
    crate::Register {
        name: "QUEUE_ENABLE",
        about: "Queue enable",
        offset: 0x54,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "enable", about: "The host has filled in the rest. Writing sets EVENTS.host of core 0.", high: 0, low: 0 },
        ],
    },
    crate::Register {
        name: "SQ_TAIL",
        about: "Submission tail",
        offset: 0x58,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "tail", about: "Doorbell: index after the newest submission. Writing sets EVENTS.host of core 0.", high: 15, low: 0 },
        ],
    },
    crate::Register {
        name: "PM_BUS_LO",
        about: "Packet memory on the bus, low. Bus address at which devices reach packet memory, bits 31:0.",
        offset: 0x60,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PM_BUS_HI",
        about: "Packet memory on the bus, high. Bits 63:32.",
        offset: 0x64,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MAC_LO",
        about: "MAC address, low",
        offset: 0x70,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "mac", about: "Last 4 bytes; the last byte on the wire in bits 7:0.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MAC_HI",
        about: "MAC address, high",
        offset: 0x74,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "mac", about: "First 2 bytes; the first byte on the wire in bits 15:8.", high: 15, low: 0 },
        ],
    },
    crate::Register {
        name: "MTU",
        about: "MTU",
        offset: 0x78,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "mtu", about: "Largest IP packet, in bytes; for the firmware.", high: 15, low: 0 },
        ],
    },
    crate::Register {
        name: "CORE_SELECT",
        about: "Core window, selection",
        offset: 0x80,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "core", about: "Core.", high: 4, low: 0 },
            crate::Field { name: "counter", about: "0 to 7: phase counter; 8: payload accesses; 9: frame loads; 10: watchdog expired; 11: state (bit 0 sleeping, bit 1 fault).", high: 11, low: 8 },
        ],
    },
    crate::Register {
        name: "CORE_VALUE",
        about: "Core window, value",
        offset: 0x84,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The counter as it was when CORE_SELECT was written.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "FLASH_CLOCK",
        about: "Flash clock",
        offset: 0xa0,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "divider", about: "The clock's halves take divider + 1 clocks each.", high: 7, low: 0 },
        ],
    },
    crate::Register {
        name: "FLASH_TRANSFER",
        about: "Flash transfer. Writing starts a transfer between the flash and FLASH_BUFFER, from its first byte on. Ignored while one is under way.",
        offset: 0xa4,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Bytes, 1 to 256; 0: the chip is deselected, nothing else.", high: 8, low: 0 },
            crate::Field { name: "send", about: "The buffer's bytes are sent.", high: 9, low: 9 },
            crate::Field { name: "receive", about: "The buffer's bytes are replaced by those received.", high: 10, low: 10 },
            crate::Field { name: "quad", about: "Four bits a clock on IO3:0 rather than one; either send or receive.", high: 11, low: 11 },
            crate::Field { name: "hold", about: "The chip stays selected afterwards: the next transfer goes on with the same command.", high: 12, low: 12 },
        ],
    },
    crate::Register {
        name: "FLASH_STATUS",
        about: "Flash status",
        offset: 0xa8,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "busy", about: "A transfer is under way, or the chip has not been deselected for long enough.", high: 0, low: 0 },
            crate::Field { name: "selected", about: "The chip is selected.", high: 1, low: 1 },
        ],
    },
    crate::Register {
        name: "BOARD",
        about: "Board",
        offset: 0xb0,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "board", about: "Which board the card is on: a firmware package says which it is for.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "FUSES",
        about: "Fuses",
        offset: 0xb4,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "security_version", about: "Packages of a lower security version are not started.", high: 7, low: 0 },
            crate::Field { name: "key_generation", about: "Signing keys of a lower generation are not accepted.", high: 15, low: 8 },
        ],
    },
    crate::Register {
        name: "FUSE_BURN",
        about: "Burn fuses",
        offset: 0xb8,
        bytes: 4,
        readable: false,
        arrays: &[],
        fields: &[
            crate::Field { name: "security_version", about: "Write 1: the security version is raised by one, for good.", high: 0, low: 0 },
            crate::Field { name: "key_generation", about: "Write 1: the key generation is raised by one, for good.", high: 1, low: 1 },
        ],
    },
    crate::Register {
        name: "ROOT_KEY_WORD",
        about: "Root key word",
        offset: 0xc0,
        bytes: 4,
        readable: true,
        arrays: &[(8, 0x4)],
        fields: &[
            crate::Field { name: "bytes", about: "Ed25519 public key that certifies signing keys (RFC 8032), 4 bytes; the first byte in bits 7:0.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "RX_FRAMES",
        about: "Frames received. Frames delivered to a core.",
        offset: 0x100,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TX_FRAMES",
        about: "Frames sent",
        offset: 0x104,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MOVES",
        about: "Moves. Move jobs completed.",
        offset: 0x108,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PAUSE_FRAMES",
        about: "PAUSE frames. PAUSE and PFC frames seen.",
        offset: 0x10c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "RX_BYTES",
        about: "Bytes received. Frame bytes delivered, FCS excluded.",
        offset: 0x110,
        bytes: 8,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "bytes", about: "Bytes since reset. Reading the low word latches the high word: read low before high.", high: 63, low: 0 },
        ],
    },
    crate::Register {
        name: "TX_BYTES",
        about: "Bytes sent. Frame bytes sent, FCS excluded.",
        offset: 0x118,
        bytes: 8,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "bytes", about: "Bytes since reset. Reading the low word latches the high word: read low before high.", high: 63, low: 0 },
        ],
    },
    crate::Register {
        name: "MOVE_BYTES",
        about: "Bytes moved",
        offset: 0x120,
        bytes: 8,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "bytes", about: "Bytes since reset. Reading the low word latches the high word: read low before high.", high: 63, low: 0 },
        ],
    },
    crate::Register {
        name: "TX_BAD_JOBS",
        about: "Malformed transmit jobs. Completed without sending anything.",
        offset: 0x128,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PCIE_IN_READS",
        about: "Inbound reads. Beats (up to 16 bytes) read from the card over PCIe.",
        offset: 0x130,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PCIE_IN_WRITES",
        about: "Inbound writes. Beats written to the card over PCIe.",
        offset: 0x134,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PCIE_OUT_READS",
        about: "Outbound reads. Beats read by the card over PCIe.",
        offset: 0x138,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PCIE_OUT_WRITES",
        about: "Outbound writes. Beats written by the card over PCIe, doorbells and MSI-X included.",
        offset: 0x13c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "PAUSE_TIME",
        about: "PAUSE time",
        offset: 0x140,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "quanta", about: "Quanta (512 bit times) asked for by the last PAUSE frame.", high: 15, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_LENGTH",
        about: "Dropped: length. Longer than 9,216 or shorter than 14 bytes.",
        offset: 0x180,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_ETHERTYPE",
        about: "Dropped: EtherType. Neither ARP nor IPv4 nor IPv6.",
        offset: 0x184,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_IPV4",
        about: "Dropped: IPv4 header. Version, IHL, total length or header checksum.",
        offset: 0x188,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_IPV6",
        about: "Dropped: IPv6 header. Version or payload length.",
        offset: 0x18c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_FRAGMENT",
        about: "Dropped: fragment",
        offset: 0x190,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_CHECKSUM",
        about: "Dropped: checksum. TCP, UDP or ICMP checksum wrong.",
        offset: 0x194,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_NOT_FOR_US",
        about: "Dropped: not for us. Destination MAC address of somebody else.",
        offset: 0x198,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_PAUSE",
        about: "Consumed: PAUSE. PAUSE and PFC frames, which no core sees.",
        offset: 0x19c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_NO_BUFFER",
        about: "Dropped: no buffer",
        offset: 0x1a0,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_QUEUE_FULL",
        about: "Dropped: queue full. The core's descriptor queue was full.",
        offset: 0x1a4,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_L4_HEADER",
        about: "Dropped: L4 header. TCP or UDP header does not fit the packet, or TCP data offset below 5.",
        offset: 0x1a8,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_OVERRUN",
        about: "Dropped: overrun. The rx engine's input buffer ran over.",
        offset: 0x1ac,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_ROCE",
        about: "Dropped: RoCE packet. To UDP port 4791, but a transport version other than 0, an unknown opcode, IPv4 options, or lengths or padding that do not fit.",
        offset: 0x1b0,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DROP_ICRC",
        about: "Dropped: ICRC. RoCE packet whose invariant CRC is wrong.",
        offset: 0x1b4,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "count", about: "Count since reset, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "STEER_ENTRY",
        about: "Steering entry",
        offset: 0x200,
        bytes: 4,
        readable: true,
        arrays: &[(128, 0x4)],
        fields: &[
            crate::Field { name: "core", about: "Core that gets TCP frames whose flow hash bits 6:0 are this entry's index. Not cleared by soft reset.", high: 4, low: 0 },
        ],
    },
    crate::Register {
        name: "DOORBELL_SLOT_LO",
        about: "Bus address, low",
        offset: 0x400,
        bytes: 4,
        readable: true,
        arrays: &[(64, 0x8)],
        fields: &[
            crate::Field { name: "address", about: "Bits 31:0; a multiple of 4.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "DOORBELL_SLOT_HI",
        about: "Bus address, high",
        offset: 0x404,
        bytes: 4,
        readable: true,
        arrays: &[(64, 0x8)],
        fields: &[
            crate::Field { name: "address", about: "Bits 63:32.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "FLASH_BUFFER_WORD",
        about: "Flash buffer word",
        offset: 0x600,
        bytes: 4,
        readable: true,
        arrays: &[(64, 0x4)],
        fields: &[
            crate::Field { name: "bytes", about: "Four bytes; the first one in bits 7:0.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TRACE_CTRL",
        about: "Trace control. What a trace is to keep, and its start: enable goes from 0 to 1. The rest, TRACE_FILTER and TRACE_BASE are looked at in that moment only.",
        offset: 0x700,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "enable", about: "1: trace. 0: end the trace; what was seen is still written. A trace also ends when CTRL.run becomes 0, and a new one starts only after enable was 0.", high: 0, low: 0 },
            crate::Field { name: "receive", about: "Received frames.", high: 1, low: 1 },
            crate::Field { name: "send", about: "Sent frames.", high: 2, low: 2 },
            crate::Field { name: "order", about: "The ring has 4 KiB shifted left by this; at most 12.", high: 11, low: 8 },
            crate::Field { name: "snap", about: "Bytes kept of each frame, at most 9,216.", high: 29, low: 16 },
        ],
    },
    crate::Register {
        name: "TRACE_FILTER",
        about: "Trace filter. With both 0 all frames are kept, else those from or to one of the ports.",
        offset: 0x704,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "tcp_port", about: "TCP port; 0: no TCP.", high: 15, low: 0 },
            crate::Field { name: "udp_port", about: "UDP port; 0: no UDP.", high: 31, low: 16 },
        ],
    },
    crate::Register {
        name: "TRACE_BASE_LO",
        about: "Trace ring, low. Bus address of the ring, bits 31:12. The status row lies behind the ring.",
        offset: 0x708,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "page", about: "Bits 31:12.", high: 31, low: 12 },
        ],
    },
    crate::Register {
        name: "TRACE_BASE_HI",
        about: "Trace ring, high. Bits 63:32.",
        offset: 0x70c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TRACE_TAIL",
        about: "Trace tail. Bytes that the host has taken since the start, wrapping; to be 0 at the start.",
        offset: 0x710,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "value", about: "The word.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TRACE_HEAD",
        about: "Trace head",
        offset: 0x714,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "bytes", about: "Bytes written since the start, wrapping. The newest may still be on their way: the status row says what has arrived.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TRACE_STATUS",
        about: "Trace status",
        offset: 0x718,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "active", about: "Not ended: the ring may still be written.", high: 0, low: 0 },
            crate::Field { name: "tracing", about: "Frames that begin now are kept.", high: 1, low: 1 },
            crate::Field { name: "bus_error", about: "The last trace ended, or never began, because reading the ring failed.", high: 2, low: 2 },
            crate::Field { name: "bad_order", about: "The last trace did not begin because order was above 12.", high: 3, low: 3 },
        ],
    },
    crate::Register {
        name: "TRACE_LOST",
        about: "Trace losses",
        offset: 0x71c,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "frames", about: "Frames not kept since the start for want of room in the ring or in the card, wrapping.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "TRACE_CLOCKS",
        about: "Clocks",
        offset: 0x720,
        bytes: 8,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "clocks", about: "Clocks since power-on, as in the trace. Reading the low word latches the high word: read low before high.", high: 63, low: 0 },
        ],
    },
    crate::Register {
        name: "MSIX_ENTRY_ADDR_LO",
        about: "Message address",
        offset: 0x8000,
        bytes: 4,
        readable: true,
        arrays: &[(32, 0x10)],
        fields: &[
            crate::Field { name: "address", about: "Bits 31:0.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MSIX_ENTRY_ADDR_HI",
        about: "Message upper address",
        offset: 0x8004,
        bytes: 4,
        readable: true,
        arrays: &[(32, 0x10)],
        fields: &[
            crate::Field { name: "address", about: "Bits 63:32.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MSIX_ENTRY_DATA",
        about: "Message data",
        offset: 0x8008,
        bytes: 4,
        readable: true,
        arrays: &[(32, 0x10)],
        fields: &[
            crate::Field { name: "data", about: "Data.", high: 31, low: 0 },
        ],
    },
    crate::Register {
        name: "MSIX_ENTRY_CONTROL",
        about: "Vector control",
        offset: 0x800c,
        bytes: 4,
        readable: true,
        arrays: &[(32, 0x10)],
        fields: &[
            crate::Field { name: "masked", about: "1: the vector is masked. All are after reset.", high: 0, low: 0 },
        ],
    },
    crate::Register {
        name: "MSIX_PENDING",
        about: "Pending bits",
        offset: 0xc000,
        bytes: 4,
        readable: true,
        arrays: &[],
        fields: &[
            crate::Field { name: "pending", about: "One bit per vector: raised while masked.", high: 31, low: 0 },
        ],
    },
];
