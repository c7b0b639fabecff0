/// Widths, layout constants, types and conventions shared by all of Sluice's RTL.
///
/// == Conventions ==
///
/// Clock and reset: `clk_i`, `rst_ni` (asynchronous, active low). The engines' `rst_ni` is the *run domain*: low while
/// `CTRL.run` is 0, so that a firmware restart finds empty queues. Packet-memory contents survive any reset.
///
/// valid/ready: a transfer happens in a clock in which both are high. `valid` and its payload depend on flops only,
/// never on `ready`, and stay put until taken. `ready` may depend on `valid`.
///
/// Packet memory (`pm_req_t`/`pm_rsp_t`, one pair per client port): rows of 16 bytes, byte enables, little-endian (byte
/// address A lies in row A[23:4], bits 8*A[3:0] +: 8).
///   * `req` with `we`, `row`, `be`, `wdata` is held until a clock in which `gnt` is high. `gnt` is combinational from `req`s;
///     so `req` must not depend on `gnt` of the same clock.
///   * A read granted in clock t has `rvalid` and `rdata` in clock t + PmLatency, always; there is no back pressure: ask only
///     for what can be stored. Reads may be granted back to back, one a clock. `be` is ignored for reads.
///   * A write has no response. A write granted in clock t is seen by every read (any port) granted in clock t + 1 or later:
///     granted means "reached memory".
///   * PmBanks banks, interleaved by row[1:0], each single-ported; ports that hit different banks are granted in the same
///     clock. Priority: rx before pcie before round robin among the rest, so that the wire and the fabric are never starved.
///
/// Pulses named `cnt_*_o` are high for one clock per event and are registered at their source.
/// Core numbers are CoreW bits: 0 is the control core. NumCores counts the control core.
///
/// == Module ports expected of the engines ==
///
/// module sluice_pm #(parameter int unsigned Bytes = PmBytes) (
///   input  logic clk_i, input logic rst_ni,
///   input  pm_req_t req_i [PmPorts],   // indices PmPortRx, PmPortPcie, PmPortCores, PmPortTx, PmPortMvRd, PmPortMvWr
///   output pm_rsp_t rsp_o [PmPorts]);
///   Rows at or beyond Bytes/16 wrap. Its rst_ni is the card's reset, not the run domain. Memory arrays without reset.
///
/// module sluice_rx #(parameter int unsigned NumCores = 2) (
///   input  logic clk_i, input logic rst_ni,
///   // wire side: no ready, a beat a clock at most; keep is contiguous from bit 0; all ones unless last
///   input  logic rx_valid_i, input logic [127:0] rx_data_i, input logic [15:0] rx_keep_i, input logic rx_last_i,
///   output pm_req_t pm_req_o, input pm_rsp_t pm_rsp_i,            // writes only
///   input  logic [47:0] cfg_mac_i,                                 // first byte on the wire in bits 47:40
///   input  logic [31:0] time_us_i,
///   output logic [6:0] steer_index_o, input logic [CoreW-1:0] steer_core_i, // core of the index, one clock later
///   input  logic [NumCores-1:0] desc_room_i,                       // that core's descriptor queue has a free place now
///   input  logic [NumCores-1:0] desc_lag_i,                        // that core is behind: acknowledgments may wait and be merged
///   output logic desc_valid_o, input logic desc_ready_i, output logic [CoreW-1:0] desc_core_o, output rx_desc_t desc_o,
///   input  logic free_valid_i, output logic free_ready_o, input logic [11:0] free_buf_i,  // buffers coming back
///   output logic cnt_frame_o, output logic [13:0] cnt_bytes_o,     // good frame delivered; its length, valid with cnt_frame_o
///   output logic [NumRxDrops-1:0] cnt_drop_o,                      // one-hot by rx_drop_e
///   output logic cnt_pause_o, output logic [15:0] pause_quanta_o,  // PAUSE or PFC frame seen; last PAUSE time
///   output logic seen_valid_o, output logic [127:0] seen_data_o, output logic [4:0] seen_count_o, // for the trace: the beats,
///   output logic seen_last_o, output logic seen_lost_o,            // a clock later; with the last one: lost to an overrun
///   output logic judged_o, output logic judged_drop_o, output rx_drop_e judged_reason_o); // verdicts on those not lost, in order
///   desc_valid_o is raised only if desc_room_i[core] was high; room does not shrink but by rx's own descriptors.
///   A core number >= NumCores from the table counts as 0.
///
/// module sluice_tx (
///   input  logic clk_i, input logic rst_ni,
///   input  logic job_valid_i, output logic job_ready_o, input logic [CoreW-1:0] job_core_i, input tx_job_t job_i,
///   output logic done_valid_o, output logic [CoreW-1:0] done_core_o, // pulse: this job's last byte has been read; in order
///   output pm_req_t pm_req_o, input pm_rsp_t pm_rsp_i,               // reads only
///   output logic tx_valid_o, input logic tx_ready_i, output logic [127:0] tx_data_o, output logic [15:0] tx_keep_o,
///   output logic tx_last_o,
///   output logic cnt_frame_o, output logic [13:0] cnt_bytes_o,
///   output logic cnt_bad_o);                                          // malformed job: completed, nothing sent
///   Once a frame's first beat was taken, tx_valid_o stays high until its last beat is taken (no holes).
///
/// module sluice_mover #(parameter int unsigned NumCores = 2, parameter int unsigned CrcContexts = 256) (
///   input  logic clk_i, input logic rst_ni,
///   input  logic job_valid_i, output logic job_ready_o, input logic [CoreW-1:0] job_core_i, input move_job_t job_i,
///   output logic done_valid_o, input logic done_ready_i, output logic [CoreW-1:0] done_core_o, output move_done_t done_o,
///   output pm_req_t rd_req_o, input pm_rsp_t rd_rsp_i,               // reads
///   output pm_req_t wr_req_o, input pm_rsp_t wr_rsp_i,               // writes
///   output host_req_t host_req_o, input host_rsp_t host_rsp_i,       // host memory, through pcie
///   output logic cnt_move_o, output logic [17:0] cnt_bytes_o);       // job done; bytes moved, valid with cnt_move_o
///   done_valid_o only after the last write was granted (packet memory) or taken (host).
///
/// Host memory port (`host_req_t`/`host_rsp_t`): like valid/ready; `addr` is a multiple of 16, `be` is contiguous and says which
/// bytes are meant, for reads too. Read data come back in the order of the requests, `rvalid` without back pressure: ask only
/// for what can be stored. `rerr`: no device answered; `rdata` is then meaningless. At most HostReads reads in flight.
package sluice_pkg;

  /// Bits of a core number; up to 17 cores (1 control + 16 data).
  localparam int unsigned CoreW = 5;
  /// Version of the register map and of the job and descriptor formats.
  localparam int unsigned MapVersion = 1;

  // ---- packet memory -------------------------------------------------------------------------------------------------------

  /// Bytes of packet memory in the default build.
  localparam int unsigned PmBytes = 32'h0100_0000;
  // The boot program's place: the end of core 0's memory.
  localparam int unsigned BootRomBytes = 32'h1_0000;
  /// Bits of a byte address in packet memory (the job formats' address field).
  localparam int unsigned PmAddrW = 24;
  /// Bits of a row number.
  localparam int unsigned PmRowW = PmAddrW - 4;
  /// Clocks from the grant of a read to its data.
  localparam int unsigned PmLatency = 2;
  /// Banks, interleaved by row.
  localparam int unsigned PmBanks = 4;

  localparam int unsigned PmPorts     = 6;
  localparam int unsigned PmPortRx    = 0;
  localparam int unsigned PmPortPcie  = 1;
  localparam int unsigned PmPortCores = 2;
  localparam int unsigned PmPortTx    = 3;
  localparam int unsigned PmPortMvRd  = 4;
  localparam int unsigned PmPortMvWr  = 5;

  typedef struct packed {
    logic              req;
    logic              we;
    logic [PmRowW-1:0] row;
    logic [15:0]       be;
    logic [127:0]      wdata;
  } pm_req_t;

  typedef struct packed {
    logic         gnt;
    logic         rvalid;
    logic [127:0] rdata;
  } pm_rsp_t;

  // Frame buffers; the same figures as `firmware/hal/src/layout.rs`.
  localparam int unsigned RxSmallBase  = 32'h00_0000;
  localparam int unsigned RxSmallSize  = 2048;
  localparam int unsigned RxSmallCount = 2048;
  localparam int unsigned RxLargeBase  = 32'h40_0000;
  localparam int unsigned RxLargeSize  = 10240;
  localparam int unsigned RxLargeCount = 128;
  /// Frame byte 0 lies this far into its buffer.
  localparam int unsigned RxOffset     = 2;
  /// Longest frame that fits a small buffer.
  localparam int unsigned RxSmallMax   = 2046;
  /// Longest frame accepted, without FCS.
  localparam int unsigned RxFrameMax   = 9216;
  /// Shortest frame accepted: an Ethernet header.
  localparam int unsigned RxFrameMin   = 14;
  /// First byte beyond the frame buffers (for the payload access counters).
  localparam int unsigned RxBuffersEnd = 32'h54_0000;
  /// First data page (for the payload access counters).
  localparam int unsigned PagesBase    = 32'h72_0000;

  // ---- host memory ---------------------------------------------------------------------------------------------------------

  /// Most reads of host memory in flight.
  localparam int unsigned HostReads = 16;

  typedef struct packed {
    logic         valid;
    logic         we;
    logic [63:0]  addr;   // multiple of 16
    logic [15:0]  be;
    logic [127:0] wdata;
  } host_req_t;

  typedef struct packed {
    logic         ready;
    logic         rvalid;
    logic         rerr;
    logic [127:0] rdata;
  } host_rsp_t;

  // ---- 512-bit formats: word 0 of docs/card.md is bits 31:0 (so the last member of each struct) ----------------------------

  /// Bits of a receive descriptor's flags (word 1, bits 11:0).
  typedef struct packed {
    logic roce;
    logic ce;
    logic arp;
    logic icmp;
    logic tcp_options;
    logic timestamp;
    logic l4_ok;
    logic vlan;
    logic udp;
    logic tcp;
    logic ipv6;
    logic ipv4;
  } rx_flags_t;

  typedef struct packed {
    logic [95:0] zero2;                                                    // words 15:13
    logic [31:0] time_us;                                                  // 12
    logic [31:0] dst_ip4;                                                  // 11
    logic [31:0] src_ip4;                                                  // 10
    logic [31:0] flow_hash;                                                // 9
    logic [31:0] ts_ecr;                                                   // 8
    logic [31:0] ts_val;                                                   // 7
    logic [31:0] ack;                                                      // 6
    logic [31:0] seq;                                                      // 5
    logic [15:0] dst_port; logic [15:0] src_port;                          // 4
    logic [15:0] window; logic [15:0] payload_len;                         // 3
    logic [7:0] tcp_flags; logic [7:0] payload_offset; logic [7:0] l4_offset; logic [7:0] l3_offset; // 2
    logic [15:0] vlan; logic [3:0] zero1; rx_flags_t flags;                // 1
    logic [1:0] zero0b; logic [13:0] frame_len; logic [3:0] zero0a; logic [11:0] buffer;             // 0
  } rx_desc_t;

  /// A receive descriptor of a RoCE packet; where members have the names of `rx_desc_t`, they are in the same places.
  typedef struct packed {
    logic [31:0] dma_len;                                                  // 15
    logic [31:0] rkey;                                                     // 14
    logic [31:0] va_hi;                                                    // 13
    logic [31:0] time_us;                                                  // 12
    logic [31:0] dst_ip4;                                                  // 11
    logic [31:0] src_ip4;                                                  // 10
    logic [31:0] flow_hash;                                                // 9
    logic [31:0] va_lo;                                                    // 8
    logic [31:0] word;                                                     // 7; AETH, ImmDt, IETH or Q_Key
    logic [7:0] zero6; logic [23:0] psn;                                   // 6
    logic [7:0] zero5; logic [23:0] dest_qp;                               // 5
    logic [9:0] zero4; logic becn; logic fecn; logic ack_req; logic solicited; logic [1:0] pad;
    logic [15:0] src_port;                                                 // 4
    logic [15:0] pkey; logic [15:0] payload_len;                           // 3
    logic [7:0] opcode; logic [7:0] payload_offset; logic [7:0] l4_offset; logic [7:0] l3_offset;    // 2
    logic [15:0] vlan; logic [3:0] zero1; rx_flags_t flags;                // 1
    logic [1:0] zero0b; logic [13:0] frame_len; logic [3:0] zero0a; logic [11:0] buffer;             // 0
  } rx_roce_t;

  /// Bits 23:20 of a queue pair number are the core it lives on.
  localparam int unsigned QpnCoreShift = 20;

  typedef struct packed {
    logic [13:0] zero_len;
    logic [17:0] len;       // bytes
    logic [7:0]  zero_addr;
    logic [23:0] addr;
  } gather_t;

  typedef struct packed {
    gather_t [3:0] gather;                                                 // words 15:8, entry 0 in words 9:8
    logic [31:0] ts_ecr;                                                   // 7
    logic [31:0] ts_val;                                                   // 6
    logic [31:0] ack;                                                      // 5
    logic [31:0] seq;                                                      // 4
    logic [15:0] zero3; logic [15:0] mss;                                  // 3
    logic [7:0] zero2; logic [7:0] l4_offset; logic [7:0] l3_offset; logic [7:0] header_len;         // 2
    logic [7:0] zero1; logic [23:0] template_addr;                         // 1
    logic [15:0] window; logic [7:0] tcp_flags; logic kind_roce; logic [2:0] gather_len; logic timestamps;
    logic [1:0] raw_checksum; logic kind_tcp;                              // 0; kind_tcp and kind_roce: malformed
  } tx_job_t;

  /// A transmit job of RoCE: as `tx_job_t` with `kind_roce`.
  typedef struct packed {
    gather_t [3:0] gather;                                                 // words 15:8, entry 0 in words 9:8
    logic [31:0] va_hi;                                                    // 7
    logic [31:0] va_lo;                                                    // 6; or source queue pair
    logic [31:0] word;                                                     // 5; memory key, IETH, AETH or Q_Key
    logic [7:0] zero4; logic [23:0] psn;                                   // 4
    logic [7:0] zero3; logic [23:0] dest_qp;                               // 3
    logic [31:0] dma_len;                                                  // 2
    logic [2:0] zero1; logic ipv6; logic vlan; logic [2:0] mtu_code; logic [23:0] template_addr;     // 1
    logic [7:0] zero0b; logic [7:0] ack_every; logic solicited; logic ack_last; logic ends; logic starts;
    logic [3:0] message; logic kind_roce; logic [2:0] gather_len; logic [2:0] zero0a; logic kind_tcp; // 0
  } tx_roce_t;

  /// `message` of a RoCE job; other values are malformed.
  typedef enum logic [3:0] {
    RoceSend           = 4'd0,
    RoceSendInvalidate = 4'd1,
    RoceWrite          = 4'd2,
    RoceReadRequest    = 4'd3,
    RoceReadResponse   = 4'd4,
    RoceAcknowledge    = 4'd5,
    RoceCnp            = 4'd6,
    RoceDatagram       = 4'd7,
    RoceWriteSend      = 4'd8, // a WRITE, and behind it a SEND of the last gather entry
    RoceWriteSendInvalidate = 4'd9
  } roce_message_e;

  typedef enum logic [1:0] {
    RawNone = 2'd0,
    RawTcp  = 2'd1,
    RawIcmp = 2'd2,
    RawUdp  = 2'd3
  } raw_checksum_e;

  typedef struct packed {
    logic [31:0] word15;                                                   // 15; unused
    logic [31:0] host_src_hi;                                              // 14; with source_host the high half of the bus address
    gather_t [3:0] source;                                                 // words 13:6, entry 0 in words 7:6
    logic [31:0] target_hi;                                                // 5
    logic [31:0] target_lo;                                                // 4
    logic [7:0] zero3; logic [23:0] crc_addr;                              // 3
    logic [31:0] zero2;                                                    // 2
    logic [21:0] zero1; logic [9:0] crc_context;                           // 1
    logic [5:0] zero0b; logic crc_write; logic target_host; logic source_host; logic write_data; logic crc_init; logic crc;
    logic zero0a; logic [2:0] source_len; logic [15:0] tag;                // 0
  } move_job_t;
  // With source_host, word 6 as a whole is the low half of the bus address: {source[0].zero_addr, source[0].addr}.

  typedef struct packed {
    logic        ok;
    logic [15:0] tag;
    logic [31:0] crc;  // final form
  } move_done_t;

  // ---- rx drops ------------------------------------------------------------------------------------------------------------

  /// Why a frame was dropped: bit of `cnt_drop_o`, index of the drop counters in BAR0.
  typedef enum logic [3:0] {
    DropLength    = 4'd0,   // longer than RxFrameMax or shorter than RxFrameMin
    DropEtherType = 4'd1,   // not ARP, IPv4, IPv6
    DropIpv4      = 4'd2,   // version, IHL, total length or header checksum
    DropIpv6      = 4'd3,   // version or payload length
    DropFragment  = 4'd4,
    DropChecksum  = 4'd5,   // TCP, UDP or ICMP
    DropNotForUs  = 4'd6,   // destination MAC
    DropPause     = 4'd7,   // PAUSE and PFC: consumed, not delivered
    DropNoBuffer  = 4'd8,
    DropQueueFull = 4'd9,
    DropL4Header  = 4'd10,  // TCP or UDP header does not fit, or TCP data offset below 5
    DropOverrun   = 4'd11,  // the engine's own input buffer ran over
    DropRoce      = 4'd12,  // RoCE: version, opcode, IPv4 options, lengths or padding
    DropIcrc      = 4'd13   // RoCE: ICRC
  } rx_drop_e;
  localparam int unsigned NumRxDrops = 14;

  // ---- trace ---------------------------------------------------------------------------------------------------------------

  /// What the registers say of the trace (`bar0.rdl`).
  typedef struct packed {
    logic        enable;
    logic        receive;
    logic        send;
    logic [3:0]  order;      // the ring has 4 KiB << order
    logic [13:0] snap;       // bytes kept of each frame
    logic [15:0] tcp_port;
    logic [15:0] udp_port;
    logic [51:0] page;       // bus address of the ring, bits 63:12
    logic [31:0] tail;       // bytes taken by the host
  } trace_cfg_t;

  typedef struct packed {
    logic        active;
    logic        tracing;
    logic        bus_error;
    logic        bad_order;
    logic [31:0] head;       // bytes written
    logic [31:0] lost;       // frames
  } trace_status_t;

  /// Largest `order`: 16 MiB.
  localparam int unsigned TraceOrderMax = 12;

  /// A frame that the trace keeps.
  typedef struct packed {
    logic [63:0] at;         // clock of its last beat
    logic [13:0] len;        // bytes
    logic [13:0] kept;       // of these in the buffer
  } trace_frame_t;

  /// First row of a record in the ring; word 0 of docs/card.md is bits 31:0.
  typedef struct packed {
    logic [63:0] at;                                                       // words 3:2
    logic [15:0] lost; logic [7:0] port; rx_drop_e reason; logic [1:0] zero1; logic drop; logic sent; // 1
    logic [1:0] zero0b; logic [13:0] len; logic [1:0] zero0a; logic [13:0] kept; // 0
  } trace_record_t;

  // ---- between a tile and the uncore ---------------------------------------------------------------------------------------

  /// Where a core's bus request goes.
  typedef enum logic [1:0] {
    BusPm       = 2'd0,  // packet memory, byte address
    BusRegs     = 2'd1,  // card registers
    BusDoorbell = 2'd2,  // doorbell slot, byte address 4 * slot
    BusRxFree   = 2'd3   // data = number of a frame buffer that goes back to rx
  } bus_class_e;
  /// Requests of one tile in flight; also the depth of its queue in the uncore.
  localparam int unsigned BusDepth = 8;

  /// What a burst on a tile's job bus is; 16 bytes a beat.
  typedef enum logic [1:0] {
    OutTx   = 2'd0,  // 4 beats
    OutMove = 2'd1,  // 4 beats
    OutMail = 2'd2   // 2 beats
  } out_kind_e;

  /// What a beat on the delivery bus to the tiles is.
  typedef enum logic [1:0] {
    InRx   = 2'd0,   // 4 beats: receive descriptor
    InMail = 2'd1,   // 2 beats
    InMove = 2'd2    // 1 beat: move_done_t
  } in_kind_e;

  localparam int unsigned RxQueue   = 256; // descriptors per core
  localparam int unsigned RxMerge   = 8;   // so many waiting: further pure acknowledgments of a connection become one
  localparam int unsigned JobQueue  = 16;  // tx jobs, move jobs per core
  localparam int unsigned DoneQueue = 32;  // move completions per core
  localparam int unsigned MailQueue = 16;  // messages per core

  // ---- pcie ----------------------------------------------------------------------------------------------------------------

  localparam int unsigned MsixVectors   = 32;
  localparam int unsigned DoorbellSlots = 64;
  localparam int unsigned SteerEntries  = 128;

endpackage : sluice_pkg
