// Generated from hdl-bindings/rdl/bar0.rdl by hdl-bindings/gen/generate.py; do not edit.
#ifndef SLUICE_BAR0_H
#define SLUICE_BAR0_H

/* Magic */
#define SLUICE_BAR0_MAGIC 0x0u
/* Map version */
#define SLUICE_BAR0_MAP_VERSION 0x4u
/* Build */
#define SLUICE_BAR0_BUILD 0x8u
/* Features */
#define SLUICE_BAR0_FEATURES 0xcu
/* TCP segmentation and checksums in tx. */
#define SLUICE_BAR0_FEATURES_TX_SEGMENT_SHIFT 0
#define SLUICE_BAR0_FEATURES_TX_SEGMENT_MASK 0x1u
/* TCP, UDP and ICMP checksums verified in rx. */
#define SLUICE_BAR0_FEATURES_RX_CHECKSUM_SHIFT 1
#define SLUICE_BAR0_FEATURES_RX_CHECKSUM_MASK 0x2u
/* CRC32C in the mover. */
#define SLUICE_BAR0_FEATURES_MOVER_CRC32C_SHIFT 2
#define SLUICE_BAR0_FEATURES_MOVER_CRC32C_MASK 0x4u
/* Cores can sleep until an event. */
#define SLUICE_BAR0_FEATURES_CORE_SLEEP_SHIFT 3
#define SLUICE_BAR0_FEATURES_CORE_SLEEP_MASK 0x8u
/* RoCEv2 in rx and tx: ICRC, headers, steering by queue pair, messages cut into packets. */
#define SLUICE_BAR0_FEATURES_ROCE_SHIFT 4
#define SLUICE_BAR0_FEATURES_ROCE_MASK 0x10u
/* Serial flash, boot program and fuses. */
#define SLUICE_BAR0_FEATURES_FLASH_SHIFT 5
#define SLUICE_BAR0_FEATURES_FLASH_MASK 0x20u
/* Trace of the Ethernet port. */
#define SLUICE_BAR0_FEATURES_TRACE_SHIFT 6
#define SLUICE_BAR0_FEATURES_TRACE_MASK 0x40u
/* Numbers */
#define SLUICE_BAR0_NUMBERS 0x10u
/* Cores, the control core included. */
#define SLUICE_BAR0_NUMBERS_CORES_SHIFT 0
#define SLUICE_BAR0_NUMBERS_CORES_MASK 0xffu
/* Host queue pairs. */
#define SLUICE_BAR0_NUMBERS_QUEUES_SHIFT 8
#define SLUICE_BAR0_NUMBERS_QUEUES_MASK 0xff00u
/* MSI-X vectors. */
#define SLUICE_BAR0_NUMBERS_VECTORS_SHIFT 16
#define SLUICE_BAR0_NUMBERS_VECTORS_MASK 0xff0000u
/* Doorbell slots. */
#define SLUICE_BAR0_NUMBERS_DOORBELLS_SHIFT 24
#define SLUICE_BAR0_NUMBERS_DOORBELLS_MASK 0xff000000u
/* TCM size */
#define SLUICE_BAR0_TCM_SIZE 0x14u
/* Packet memory size */
#define SLUICE_BAR0_PM_SIZE 0x18u
/* Control */
#define SLUICE_BAR0_CTRL 0x20u
/* 1: the cores run. 0: cores, queues and engines are held in reset; registers and memories keep their contents. */
#define SLUICE_BAR0_CTRL_RUN_SHIFT 0
#define SLUICE_BAR0_CTRL_RUN_MASK 0x1u
/* Write 1: this block goes back to its reset values, run and counters included. */
#define SLUICE_BAR0_CTRL_SOFT_RESET_SHIFT 1
#define SLUICE_BAR0_CTRL_SOFT_RESET_MASK 0x2u
/* 1: core 0 runs the boot program, all others are held. The program ends by clearing this bit, and sets run if it has started a slot. Set by power-on if the board straps it so, and as reboot says. */
#define SLUICE_BAR0_CTRL_BOOT_SHIFT 2
#define SLUICE_BAR0_CTRL_BOOT_MASK 0x4u
/* 1: when a core's watchdog expires, boot is set. */
#define SLUICE_BAR0_CTRL_REBOOT_SHIFT 3
#define SLUICE_BAR0_CTRL_REBOOT_MASK 0x8u
/* Firmware status */
#define SLUICE_BAR0_FW_STATUS 0x24u
/* Load address */
#define SLUICE_BAR0_LOAD_ADDR 0x28u
/* TCM byte address of the next load, a multiple of 4; advances by 4 with every write of LOAD_DATA. */
#define SLUICE_BAR0_LOAD_ADDR_ADDRESS_SHIFT 0
#define SLUICE_BAR0_LOAD_ADDR_ADDRESS_MASK 0xfffffu
/* Load data */
#define SLUICE_BAR0_LOAD_DATA 0x2cu
/* Watchdog */
#define SLUICE_BAR0_WATCHDOG 0x30u
/* Raise interrupt */
#define SLUICE_BAR0_IRQ 0x34u
/* Writing raises this MSI-X vector; for the firmware. */
#define SLUICE_BAR0_IRQ_VECTOR_SHIFT 0
#define SLUICE_BAR0_IRQ_VECTOR_MASK 0x1fu
/* Load cores */
#define SLUICE_BAR0_LOAD_CORES 0x38u
/* Boot status. Written by the boot program: where the running firmware comes from. */
#define SLUICE_BAR0_BOOT_STATUS 0x3cu
/* 0: loaded by the host, 1: slot A, 2: slot B, 3: neither slot is good. */
#define SLUICE_BAR0_BOOT_STATUS_SOURCE_SHIFT 0
#define SLUICE_BAR0_BOOT_STATUS_SOURCE_MASK 0x3u
/* The firmware is on trial. */
#define SLUICE_BAR0_BOOT_STATUS_TRIAL_SHIFT 2
#define SLUICE_BAR0_BOOT_STATUS_TRIAL_MASK 0x4u
/* Why slot A was refused (docs/flashing.md); 0: it was not, or was not looked at. */
#define SLUICE_BAR0_BOOT_STATUS_REFUSED_A_SHIFT 8
#define SLUICE_BAR0_BOOT_STATUS_REFUSED_A_MASK 0xff00u
/* Why slot B was refused. */
#define SLUICE_BAR0_BOOT_STATUS_REFUSED_B_SHIFT 16
#define SLUICE_BAR0_BOOT_STATUS_REFUSED_B_MASK 0xff0000u
/* Submission queue, low. Bus address of the submission queue (64-byte entries), bits 31:0. */
#define SLUICE_BAR0_SQ_BASE_LO 0x40u
/* Submission queue, high. Bits 63:32. */
#define SLUICE_BAR0_SQ_BASE_HI 0x44u
/* Completion queue, low. Bus address of the completion queue (16-byte entries), bits 31:0. */
#define SLUICE_BAR0_CQ_BASE_LO 0x48u
/* Completion queue, high. Bits 63:32. */
#define SLUICE_BAR0_CQ_BASE_HI 0x4cu
/* Queue entries */
#define SLUICE_BAR0_QUEUE_ENTRIES 0x50u
/* Entries in each of the two queues. */
#define SLUICE_BAR0_QUEUE_ENTRIES_ENTRIES_SHIFT 0
#define SLUICE_BAR0_QUEUE_ENTRIES_ENTRIES_MASK 0xffffu
/* Queue enable */
#define SLUICE_BAR0_QUEUE_ENABLE 0x54u
/* The host has filled in the rest. Writing sets EVENTS.host of core 0. */
#define SLUICE_BAR0_QUEUE_ENABLE_ENABLE_SHIFT 0
#define SLUICE_BAR0_QUEUE_ENABLE_ENABLE_MASK 0x1u
/* Submission tail */
#define SLUICE_BAR0_SQ_TAIL 0x58u
/* Doorbell: index after the newest submission. Writing sets EVENTS.host of core 0. */
#define SLUICE_BAR0_SQ_TAIL_TAIL_SHIFT 0
#define SLUICE_BAR0_SQ_TAIL_TAIL_MASK 0xffffu
/* Packet memory on the bus, low. Bus address at which devices reach packet memory, bits 31:0. */
#define SLUICE_BAR0_PM_BUS_LO 0x60u
/* Packet memory on the bus, high. Bits 63:32. */
#define SLUICE_BAR0_PM_BUS_HI 0x64u
/* MAC address, low */
#define SLUICE_BAR0_MAC_LO 0x70u
/* MAC address, high */
#define SLUICE_BAR0_MAC_HI 0x74u
/* First 2 bytes; the first byte on the wire in bits 15:8. */
#define SLUICE_BAR0_MAC_HI_MAC_SHIFT 0
#define SLUICE_BAR0_MAC_HI_MAC_MASK 0xffffu
/* MTU */
#define SLUICE_BAR0_MTU 0x78u
/* Largest IP packet, in bytes; for the firmware. */
#define SLUICE_BAR0_MTU_MTU_SHIFT 0
#define SLUICE_BAR0_MTU_MTU_MASK 0xffffu
/* Core window, selection */
#define SLUICE_BAR0_CORE_SELECT 0x80u
/* Core. */
#define SLUICE_BAR0_CORE_SELECT_CORE_SHIFT 0
#define SLUICE_BAR0_CORE_SELECT_CORE_MASK 0x1fu
/* 0 to 7: phase counter; 8: payload accesses; 9: frame loads; 10: watchdog expired; 11: state (bit 0 sleeping, bit 1 fault). */
#define SLUICE_BAR0_CORE_SELECT_COUNTER_SHIFT 8
#define SLUICE_BAR0_CORE_SELECT_COUNTER_MASK 0xf00u
/* Core window, value */
#define SLUICE_BAR0_CORE_VALUE 0x84u
/* Flash clock */
#define SLUICE_BAR0_FLASH_CLOCK 0xa0u
/* The clock's halves take divider + 1 clocks each. */
#define SLUICE_BAR0_FLASH_CLOCK_DIVIDER_SHIFT 0
#define SLUICE_BAR0_FLASH_CLOCK_DIVIDER_MASK 0xffu
/* Flash transfer. Writing starts a transfer between the flash and FLASH_BUFFER, from its first byte on. Ignored while one is under way. */
#define SLUICE_BAR0_FLASH_TRANSFER 0xa4u
/* Bytes, 1 to 256; 0: the chip is deselected, nothing else. */
#define SLUICE_BAR0_FLASH_TRANSFER_COUNT_SHIFT 0
#define SLUICE_BAR0_FLASH_TRANSFER_COUNT_MASK 0x1ffu
/* The buffer's bytes are sent. */
#define SLUICE_BAR0_FLASH_TRANSFER_SEND_SHIFT 9
#define SLUICE_BAR0_FLASH_TRANSFER_SEND_MASK 0x200u
/* The buffer's bytes are replaced by those received. */
#define SLUICE_BAR0_FLASH_TRANSFER_RECEIVE_SHIFT 10
#define SLUICE_BAR0_FLASH_TRANSFER_RECEIVE_MASK 0x400u
/* Four bits a clock on IO3:0 rather than one; either send or receive. */
#define SLUICE_BAR0_FLASH_TRANSFER_QUAD_SHIFT 11
#define SLUICE_BAR0_FLASH_TRANSFER_QUAD_MASK 0x800u
/* The chip stays selected afterwards: the next transfer goes on with the same command. */
#define SLUICE_BAR0_FLASH_TRANSFER_HOLD_SHIFT 12
#define SLUICE_BAR0_FLASH_TRANSFER_HOLD_MASK 0x1000u
/* Flash status */
#define SLUICE_BAR0_FLASH_STATUS 0xa8u
/* A transfer is under way, or the chip has not been deselected for long enough. */
#define SLUICE_BAR0_FLASH_STATUS_BUSY_SHIFT 0
#define SLUICE_BAR0_FLASH_STATUS_BUSY_MASK 0x1u
/* The chip is selected. */
#define SLUICE_BAR0_FLASH_STATUS_SELECTED_SHIFT 1
#define SLUICE_BAR0_FLASH_STATUS_SELECTED_MASK 0x2u
/* Board */
#define SLUICE_BAR0_BOARD 0xb0u
/* Fuses */
#define SLUICE_BAR0_FUSES 0xb4u
/* Packages of a lower security version are not started. */
#define SLUICE_BAR0_FUSES_SECURITY_VERSION_SHIFT 0
#define SLUICE_BAR0_FUSES_SECURITY_VERSION_MASK 0xffu
/* Signing keys of a lower generation are not accepted. */
#define SLUICE_BAR0_FUSES_KEY_GENERATION_SHIFT 8
#define SLUICE_BAR0_FUSES_KEY_GENERATION_MASK 0xff00u
/* Burn fuses */
#define SLUICE_BAR0_FUSE_BURN 0xb8u
/* Write 1: the security version is raised by one, for good. */
#define SLUICE_BAR0_FUSE_BURN_SECURITY_VERSION_SHIFT 0
#define SLUICE_BAR0_FUSE_BURN_SECURITY_VERSION_MASK 0x1u
/* Write 1: the key generation is raised by one, for good. */
#define SLUICE_BAR0_FUSE_BURN_KEY_GENERATION_SHIFT 1
#define SLUICE_BAR0_FUSE_BURN_KEY_GENERATION_MASK 0x2u
/* Root key word */
#define SLUICE_BAR0_ROOT_KEY_WORD 0xc0u
#define SLUICE_BAR0_ROOT_KEY_WORD_COUNT 8u
#define SLUICE_BAR0_ROOT_KEY_WORD_STRIDE 0x4u
/* Frames received. Frames delivered to a core. */
#define SLUICE_BAR0_RX_FRAMES 0x100u
/* Frames sent */
#define SLUICE_BAR0_TX_FRAMES 0x104u
/* Moves. Move jobs completed. */
#define SLUICE_BAR0_MOVES 0x108u
/* PAUSE frames. PAUSE and PFC frames seen. */
#define SLUICE_BAR0_PAUSE_FRAMES 0x10cu
/* Bytes received. Frame bytes delivered, FCS excluded. */
#define SLUICE_BAR0_RX_BYTES 0x110u
/* Bytes sent. Frame bytes sent, FCS excluded. */
#define SLUICE_BAR0_TX_BYTES 0x118u
/* Bytes moved */
#define SLUICE_BAR0_MOVE_BYTES 0x120u
/* Malformed transmit jobs. Completed without sending anything. */
#define SLUICE_BAR0_TX_BAD_JOBS 0x128u
/* Inbound reads. Beats (up to 16 bytes) read from the card over PCIe. */
#define SLUICE_BAR0_PCIE_IN_READS 0x130u
/* Inbound writes. Beats written to the card over PCIe. */
#define SLUICE_BAR0_PCIE_IN_WRITES 0x134u
/* Outbound reads. Beats read by the card over PCIe. */
#define SLUICE_BAR0_PCIE_OUT_READS 0x138u
/* Outbound writes. Beats written by the card over PCIe, doorbells and MSI-X included. */
#define SLUICE_BAR0_PCIE_OUT_WRITES 0x13cu
/* PAUSE time */
#define SLUICE_BAR0_PAUSE_TIME 0x140u
/* Quanta (512 bit times) asked for by the last PAUSE frame. */
#define SLUICE_BAR0_PAUSE_TIME_QUANTA_SHIFT 0
#define SLUICE_BAR0_PAUSE_TIME_QUANTA_MASK 0xffffu
/* Dropped: length. Longer than 9,216 or shorter than 14 bytes. */
#define SLUICE_BAR0_DROP_LENGTH 0x180u
/* Dropped: EtherType. Neither ARP nor IPv4 nor IPv6. */
#define SLUICE_BAR0_DROP_ETHERTYPE 0x184u
/* Dropped: IPv4 header. Version, IHL, total length or header checksum. */
#define SLUICE_BAR0_DROP_IPV4 0x188u
/* Dropped: IPv6 header. Version or payload length. */
#define SLUICE_BAR0_DROP_IPV6 0x18cu
/* Dropped: fragment */
#define SLUICE_BAR0_DROP_FRAGMENT 0x190u
/* Dropped: checksum. TCP, UDP or ICMP checksum wrong. */
#define SLUICE_BAR0_DROP_CHECKSUM 0x194u
/* Dropped: not for us. Destination MAC address of somebody else. */
#define SLUICE_BAR0_DROP_NOT_FOR_US 0x198u
/* Consumed: PAUSE. PAUSE and PFC frames, which no core sees. */
#define SLUICE_BAR0_DROP_PAUSE 0x19cu
/* Dropped: no buffer */
#define SLUICE_BAR0_DROP_NO_BUFFER 0x1a0u
/* Dropped: queue full. The core's descriptor queue was full. */
#define SLUICE_BAR0_DROP_QUEUE_FULL 0x1a4u
/* Dropped: L4 header. TCP or UDP header does not fit the packet, or TCP data offset below 5. */
#define SLUICE_BAR0_DROP_L4_HEADER 0x1a8u
/* Dropped: overrun. The rx engine's input buffer ran over. */
#define SLUICE_BAR0_DROP_OVERRUN 0x1acu
/* Dropped: RoCE packet. To UDP port 4791, but a transport version other than 0, an unknown opcode, IPv4 options, or lengths or padding that do not fit. */
#define SLUICE_BAR0_DROP_ROCE 0x1b0u
/* Dropped: ICRC. RoCE packet whose invariant CRC is wrong. */
#define SLUICE_BAR0_DROP_ICRC 0x1b4u
/* Steering entry */
#define SLUICE_BAR0_STEER_ENTRY 0x200u
#define SLUICE_BAR0_STEER_ENTRY_COUNT 128u
#define SLUICE_BAR0_STEER_ENTRY_STRIDE 0x4u
/* Core that gets TCP frames whose flow hash bits 6:0 are this entry's index. Not cleared by soft reset. */
#define SLUICE_BAR0_STEER_ENTRY_CORE_SHIFT 0
#define SLUICE_BAR0_STEER_ENTRY_CORE_MASK 0x1fu
/* Bus address, low */
#define SLUICE_BAR0_DOORBELL_SLOT_LO 0x400u
#define SLUICE_BAR0_DOORBELL_SLOT_LO_COUNT 64u
#define SLUICE_BAR0_DOORBELL_SLOT_LO_STRIDE 0x8u
/* Bus address, high */
#define SLUICE_BAR0_DOORBELL_SLOT_HI 0x404u
#define SLUICE_BAR0_DOORBELL_SLOT_HI_COUNT 64u
#define SLUICE_BAR0_DOORBELL_SLOT_HI_STRIDE 0x8u
/* Flash buffer word */
#define SLUICE_BAR0_FLASH_BUFFER_WORD 0x600u
#define SLUICE_BAR0_FLASH_BUFFER_WORD_COUNT 64u
#define SLUICE_BAR0_FLASH_BUFFER_WORD_STRIDE 0x4u
/* Trace control. What a trace is to keep, and its start: enable goes from 0 to 1. The rest, TRACE_FILTER and TRACE_BASE are looked at in that moment only. */
#define SLUICE_BAR0_TRACE_CTRL 0x700u
/* 1: trace. 0: end the trace; what was seen is still written. A trace also ends when CTRL.run becomes 0, and a new one starts only after enable was 0. */
#define SLUICE_BAR0_TRACE_CTRL_ENABLE_SHIFT 0
#define SLUICE_BAR0_TRACE_CTRL_ENABLE_MASK 0x1u
/* Received frames. */
#define SLUICE_BAR0_TRACE_CTRL_RECEIVE_SHIFT 1
#define SLUICE_BAR0_TRACE_CTRL_RECEIVE_MASK 0x2u
/* Sent frames. */
#define SLUICE_BAR0_TRACE_CTRL_SEND_SHIFT 2
#define SLUICE_BAR0_TRACE_CTRL_SEND_MASK 0x4u
/* The ring has 4 KiB shifted left by this; at most 12. */
#define SLUICE_BAR0_TRACE_CTRL_ORDER_SHIFT 8
#define SLUICE_BAR0_TRACE_CTRL_ORDER_MASK 0xf00u
/* Bytes kept of each frame, at most 9,216. */
#define SLUICE_BAR0_TRACE_CTRL_SNAP_SHIFT 16
#define SLUICE_BAR0_TRACE_CTRL_SNAP_MASK 0x3fff0000u
/* Trace filter. With both 0 all frames are kept, else those from or to one of the ports. */
#define SLUICE_BAR0_TRACE_FILTER 0x704u
/* TCP port; 0: no TCP. */
#define SLUICE_BAR0_TRACE_FILTER_TCP_PORT_SHIFT 0
#define SLUICE_BAR0_TRACE_FILTER_TCP_PORT_MASK 0xffffu
/* UDP port; 0: no UDP. */
#define SLUICE_BAR0_TRACE_FILTER_UDP_PORT_SHIFT 16
#define SLUICE_BAR0_TRACE_FILTER_UDP_PORT_MASK 0xffff0000u
/* Trace ring, low. Bus address of the ring, bits 31:12. The status row lies behind the ring. */
#define SLUICE_BAR0_TRACE_BASE_LO 0x708u
/* Bits 31:12. */
#define SLUICE_BAR0_TRACE_BASE_LO_PAGE_SHIFT 12
#define SLUICE_BAR0_TRACE_BASE_LO_PAGE_MASK 0xfffff000u
/* Trace ring, high. Bits 63:32. */
#define SLUICE_BAR0_TRACE_BASE_HI 0x70cu
/* Trace tail. Bytes that the host has taken since the start, wrapping; to be 0 at the start. */
#define SLUICE_BAR0_TRACE_TAIL 0x710u
/* Trace head */
#define SLUICE_BAR0_TRACE_HEAD 0x714u
/* Trace status */
#define SLUICE_BAR0_TRACE_STATUS 0x718u
/* Not ended: the ring may still be written. */
#define SLUICE_BAR0_TRACE_STATUS_ACTIVE_SHIFT 0
#define SLUICE_BAR0_TRACE_STATUS_ACTIVE_MASK 0x1u
/* Frames that begin now are kept. */
#define SLUICE_BAR0_TRACE_STATUS_TRACING_SHIFT 1
#define SLUICE_BAR0_TRACE_STATUS_TRACING_MASK 0x2u
/* The last trace ended, or never began, because reading the ring failed. */
#define SLUICE_BAR0_TRACE_STATUS_BUS_ERROR_SHIFT 2
#define SLUICE_BAR0_TRACE_STATUS_BUS_ERROR_MASK 0x4u
/* The last trace did not begin because order was above 12. */
#define SLUICE_BAR0_TRACE_STATUS_BAD_ORDER_SHIFT 3
#define SLUICE_BAR0_TRACE_STATUS_BAD_ORDER_MASK 0x8u
/* Trace losses */
#define SLUICE_BAR0_TRACE_LOST 0x71cu
/* Clocks */
#define SLUICE_BAR0_TRACE_CLOCKS 0x720u
/* Message address */
#define SLUICE_BAR0_MSIX_ENTRY_ADDR_LO 0x8000u
#define SLUICE_BAR0_MSIX_ENTRY_ADDR_LO_COUNT 32u
#define SLUICE_BAR0_MSIX_ENTRY_ADDR_LO_STRIDE 0x10u
/* Message upper address */
#define SLUICE_BAR0_MSIX_ENTRY_ADDR_HI 0x8004u
#define SLUICE_BAR0_MSIX_ENTRY_ADDR_HI_COUNT 32u
#define SLUICE_BAR0_MSIX_ENTRY_ADDR_HI_STRIDE 0x10u
/* Message data */
#define SLUICE_BAR0_MSIX_ENTRY_DATA 0x8008u
#define SLUICE_BAR0_MSIX_ENTRY_DATA_COUNT 32u
#define SLUICE_BAR0_MSIX_ENTRY_DATA_STRIDE 0x10u
/* Vector control */
#define SLUICE_BAR0_MSIX_ENTRY_CONTROL 0x800cu
#define SLUICE_BAR0_MSIX_ENTRY_CONTROL_COUNT 32u
#define SLUICE_BAR0_MSIX_ENTRY_CONTROL_STRIDE 0x10u
/* 1: the vector is masked. All are after reset. */
#define SLUICE_BAR0_MSIX_ENTRY_CONTROL_MASKED_SHIFT 0
#define SLUICE_BAR0_MSIX_ENTRY_CONTROL_MASKED_MASK 0x1u
/* Pending bits */
#define SLUICE_BAR0_MSIX_PENDING 0xc000u

#endif /* SLUICE_BAR0_H */
