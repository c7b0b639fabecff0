// Generated from hdl-bindings/rdl/core.rdl by hdl-bindings/gen/generate.py; do not edit.
#ifndef SLUICE_CORE_H
#define SLUICE_CORE_H

/* Core identity */
#define SLUICE_CORE_CORE_ID 0x0u
/* This core's number; 0 is the control core. */
#define SLUICE_CORE_CORE_ID_CORE_SHIFT 0
#define SLUICE_CORE_CORE_ID_CORE_MASK 0x1fu
/* Cores of the card, the control core included. */
#define SLUICE_CORE_CORE_ID_CORES_SHIFT 8
#define SLUICE_CORE_CORE_ID_CORES_MASK 0x1f00u
/* Version of the register map. */
#define SLUICE_CORE_CORE_ID_MAP_VERSION_SHIFT 16
#define SLUICE_CORE_CORE_ID_MAP_VERSION_MASK 0xffff0000u
/* Events. Everything a core may wait for, in one load. Bits 0 to 2 are levels and follow their queues; bits 3 to 6 are sticky: write 1 to clear, then look at what they stand for, so that nothing is missed. */
#define SLUICE_CORE_EVENTS 0x4u
/* A receive descriptor is waiting. */
#define SLUICE_CORE_EVENTS_RX_SHIFT 0
#define SLUICE_CORE_EVENTS_RX_MASK 0x1u
/* A move completion is waiting. */
#define SLUICE_CORE_EVENTS_MOVED_SHIFT 1
#define SLUICE_CORE_EVENTS_MOVED_MASK 0x2u
/* A message is waiting. */
#define SLUICE_CORE_EVENTS_MAIL_SHIFT 2
#define SLUICE_CORE_EVENTS_MAIL_MASK 0x4u
/* The microsecond clock has reached WAKE_AT. */
#define SLUICE_CORE_EVENTS_TIMER_SHIFT 3
#define SLUICE_CORE_EVENTS_TIMER_MASK 0x8u
/* TX_DONE has advanced. */
#define SLUICE_CORE_EVENTS_SENT_SHIFT 4
#define SLUICE_CORE_EVENTS_SENT_MASK 0x10u
/* The host wrote SQ_TAIL or QUEUE_ENABLE (control core only). */
#define SLUICE_CORE_EVENTS_HOST_SHIFT 5
#define SLUICE_CORE_EVENTS_HOST_MASK 0x20u
/* A PCIe device wrote into the packet-memory range given by SNOOP. */
#define SLUICE_CORE_EVENTS_SNOOPED_SHIFT 6
#define SLUICE_CORE_EVENTS_SNOOPED_MASK 0x40u
/* Event mask. Events that raise the core's external interrupt, which ends a wfi also while interrupts are globally disabled (mie.MEIE must be set). */
#define SLUICE_CORE_EVENT_MASK 0x8u
/* One bit per event, as in EVENTS. */
#define SLUICE_CORE_EVENT_MASK_MASK_SHIFT 0
#define SLUICE_CORE_EVENT_MASK_MASK_MASK 0x7fu
/* Snooped range. Range of packet memory whose writes from PCIe set EVENTS.snooped. Empty (off) when both are equal. */
#define SLUICE_CORE_SNOOP 0xcu
/* First 4 KiB page. */
#define SLUICE_CORE_SNOOP_FIRST_SHIFT 0
#define SLUICE_CORE_SNOOP_FIRST_MASK 0xfffu
/* Page after the last. */
#define SLUICE_CORE_SNOOP_END_PAGE_SHIFT 16
#define SLUICE_CORE_SNOOP_END_PAGE_MASK 0xfff0000u
/* Time, low word. Reading it latches the high word. */
#define SLUICE_CORE_TIME_LO 0x10u
/* Time, high word */
#define SLUICE_CORE_TIME_HI 0x14u
/* Clock counter */
#define SLUICE_CORE_CLOCKS 0x18u
/* Wake-up time. Writing arms the timer, which sets EVENTS.timer once the low word of the time is at or after this value (at most 2^31 us ahead). It fires once per write. */
#define SLUICE_CORE_WAKE_AT 0x1cu
/* Entropy */
#define SLUICE_CORE_ENTROPY 0x20u
/* Phase */
#define SLUICE_CORE_PHASE 0x24u
/* Phase counter that runs from now on. */
#define SLUICE_CORE_PHASE_PHASE_SHIFT 0
#define SLUICE_CORE_PHASE_PHASE_MASK 0x7u
/* Watchdog period */
#define SLUICE_CORE_WATCHDOG_PERIOD 0x28u
/* Watchdog kick */
#define SLUICE_CORE_WATCHDOG_KICK 0x2cu
/* CRC start. Any value: starts a new CRC32C. */
#define SLUICE_CORE_CRC_INIT 0x30u
/* CRC, 4 bytes. Feeds 4 bytes, bits 7:0 first. */
#define SLUICE_CORE_CRC_DATA32 0x34u
/* CRC, 1 byte. Feeds bits 7:0. */
#define SLUICE_CORE_CRC_DATA8 0x38u
/* CRC result. CRC32C of what was fed, final form (inverted). */
#define SLUICE_CORE_CRC_RESULT 0x3cu
/* Payload accesses. This core's loads and stores in data pages, wrapping. */
#define SLUICE_CORE_PAYLOAD_ACCESSES 0x40u
/* Frame loads. This core's loads from frame buffers, wrapping. */
#define SLUICE_CORE_FRAME_LOADS 0x44u
/* Phase clocks. Clocks spent in each phase, wrapping. */
#define SLUICE_CORE_PHASE_CLOCKS 0x60u
#define SLUICE_CORE_PHASE_CLOCKS_COUNT 8u
#define SLUICE_CORE_PHASE_CLOCKS_STRIDE 0x4u
/* Receive status */
#define SLUICE_CORE_RX_STATUS 0x80u
/* RX_WORD holds a descriptor. */
#define SLUICE_CORE_RX_STATUS_VALID_SHIFT 0
#define SLUICE_CORE_RX_STATUS_VALID_MASK 0x1u
/* Descriptors waiting. */
#define SLUICE_CORE_RX_STATUS_WAITING_SHIFT 8
#define SLUICE_CORE_RX_STATUS_WAITING_MASK 0x1ff00u
/* Receive pop. Any value: drops the oldest descriptor. */
#define SLUICE_CORE_RX_POP 0x84u
/* Receive free */
#define SLUICE_CORE_RX_FREE 0x88u
/* Number of the frame buffer that goes back to the pool, after this core's earlier accesses. */
#define SLUICE_CORE_RX_FREE_BUFFER_SHIFT 0
#define SLUICE_CORE_RX_FREE_BUFFER_MASK 0xfffu
/* Receive descriptor. The oldest descriptor; meaningless while RX_STATUS.valid is 0. */
#define SLUICE_CORE_RX_WORD 0xc0u
#define SLUICE_CORE_RX_WORD_COUNT 16u
#define SLUICE_CORE_RX_WORD_STRIDE 0x4u
/* Transmit status */
#define SLUICE_CORE_TX_STATUS 0x100u
/* Jobs that may be posted now. */
#define SLUICE_CORE_TX_STATUS_FREE_SHIFT 0
#define SLUICE_CORE_TX_STATUS_FREE_MASK 0x1fu
/* A job was posted while none was free, and lost. Cleared by reset only. */
#define SLUICE_CORE_TX_STATUS_OVERRUN_SHIFT 31
#define SLUICE_CORE_TX_STATUS_OVERRUN_MASK 0x80000000u
/* Transmit post. Any value: queues the job in TX_WORD. It is handed over once this core's earlier stores have reached memory. */
#define SLUICE_CORE_TX_POST 0x104u
/* Transmit done. Jobs completed since reset, wrapping. */
#define SLUICE_CORE_TX_DONE 0x108u
/* Transmit job. The job to be posted next. After a post all words hold leftovers of older jobs: write every word that the job uses. */
#define SLUICE_CORE_TX_WORD 0x140u
#define SLUICE_CORE_TX_WORD_COUNT 16u
#define SLUICE_CORE_TX_WORD_STRIDE 0x4u
/* Move status */
#define SLUICE_CORE_MOVE_STATUS 0x180u
/* Jobs that may be posted now; each has a place for its completion. */
#define SLUICE_CORE_MOVE_STATUS_FREE_SHIFT 0
#define SLUICE_CORE_MOVE_STATUS_FREE_MASK 0x1fu
/* A job was posted while none was free, and lost. Cleared by reset only. */
#define SLUICE_CORE_MOVE_STATUS_OVERRUN_SHIFT 31
#define SLUICE_CORE_MOVE_STATUS_OVERRUN_MASK 0x80000000u
/* Move post. Any value: queues the job in MOVE_WORD. It is handed over once this core's earlier stores have reached memory. */
#define SLUICE_CORE_MOVE_POST 0x184u
/* Move done. The oldest completion. */
#define SLUICE_CORE_MOVE_DONE 0x188u
/* Tag of the job. */
#define SLUICE_CORE_MOVE_DONE_TAG_SHIFT 0
#define SLUICE_CORE_MOVE_DONE_TAG_MASK 0xffffu
/* All bytes were moved. */
#define SLUICE_CORE_MOVE_DONE_OK_SHIFT 16
#define SLUICE_CORE_MOVE_DONE_OK_MASK 0x10000u
/* There is a completion; the rest is meaningless while 0. */
#define SLUICE_CORE_MOVE_DONE_VALID_SHIFT 31
#define SLUICE_CORE_MOVE_DONE_VALID_MASK 0x80000000u
/* Move CRC. CRC32C of the oldest completion, final form. */
#define SLUICE_CORE_MOVE_CRC 0x18cu
/* Move pop. Any value: drops the oldest completion. */
#define SLUICE_CORE_MOVE_POP 0x190u
/* Move job. The job to be posted next. After a post all words hold leftovers of older jobs: write every word that the job uses. */
#define SLUICE_CORE_MOVE_WORD 0x1c0u
#define SLUICE_CORE_MOVE_WORD_COUNT 16u
#define SLUICE_CORE_MOVE_WORD_STRIDE 0x4u
/* Mail send */
#define SLUICE_CORE_MAIL_SEND 0x200u
/* Core that gets the message in MAIL_OUT; a core that does not exist refuses. Ignored while busy. */
#define SLUICE_CORE_MAIL_SEND_TO_SHIFT 0
#define SLUICE_CORE_MAIL_SEND_TO_MASK 0x1fu
/* Mail send status */
#define SLUICE_CORE_MAIL_SEND_STATUS 0x204u
/* The last message is still on its way; MAIL_OUT must not be written. */
#define SLUICE_CORE_MAIL_SEND_STATUS_BUSY_SHIFT 0
#define SLUICE_CORE_MAIL_SEND_STATUS_BUSY_MASK 0x1u
/* The last message found its mailbox full and was not delivered. */
#define SLUICE_CORE_MAIL_SEND_STATUS_REFUSED_SHIFT 1
#define SLUICE_CORE_MAIL_SEND_STATUS_REFUSED_MASK 0x2u
/* Mail status */
#define SLUICE_CORE_MAIL_STATUS 0x208u
/* MAIL_IN holds a message. */
#define SLUICE_CORE_MAIL_STATUS_VALID_SHIFT 0
#define SLUICE_CORE_MAIL_STATUS_VALID_MASK 0x1u
/* Mail pop. Any value: drops the oldest message. */
#define SLUICE_CORE_MAIL_POP 0x20cu
/* Outgoing message. The message to be sent next. */
#define SLUICE_CORE_MAIL_OUT 0x220u
#define SLUICE_CORE_MAIL_OUT_COUNT 8u
#define SLUICE_CORE_MAIL_OUT_STRIDE 0x4u
/* Incoming message. The oldest message; meaningless while MAIL_STATUS.valid is 0. */
#define SLUICE_CORE_MAIL_IN 0x240u
#define SLUICE_CORE_MAIL_IN_COUNT 8u
#define SLUICE_CORE_MAIL_IN_STRIDE 0x4u

#endif /* SLUICE_CORE_H */
