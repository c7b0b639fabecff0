`include "sluice_assert.svh"

/// Takes judged frames in order: drops them, or finds a buffer, copies them there and hands out the descriptor.
/// A pure acknowledgment for a core that is behind waits until the core has caught up or another frame follows; the next one
/// of its connection takes its place, so that a burst of them costs the core one descriptor.
module sluice_rx_deliver
  import sluice_pkg::*;
  import sluice_rx_pkg::*;
#(
  parameter int unsigned NumCores = 2
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  input  logic                 record_valid_i,
  output logic                 record_ready_o,
  input  record_t              record_i,
  // ring
  output logic                 read_o,
  input  logic [127:0]         read_data_i,   // one clock after read_o
  output logic                 skip_o,
  output logic [9:0]           skip_words_o,
  output pm_req_t              pm_req_o,
  input  pm_rsp_t              pm_rsp_i,
  input  logic [NumCores-1:0]  desc_room_i,
  input  logic [NumCores-1:0]  desc_lag_i,
  output logic                 desc_valid_o,
  input  logic                 desc_ready_i,
  output logic [CoreW-1:0]     desc_core_o,
  output rx_desc_t             desc_o,
  input  logic                 free_valid_i,
  output logic                 free_ready_o,
  input  logic [11:0]          free_buf_i,
  output logic                 cnt_frame_o,
  output logic [13:0]          cnt_bytes_o,
  output logic [NumRxDrops-1:0] cnt_drop_o     // DropOverrun never
);
  localparam int unsigned SmallW = $clog2(RxSmallCount);
  localparam int unsigned LargeW = $clog2(RxLargeCount);
  localparam int unsigned Ahead  = 4;  // frames between decision and descriptor
  localparam int unsigned Skid   = 4;  // ring words read and not yet written

  // ---- buffers ----
  logic              small_valid, small_empty, small_take, small_put, large_valid, large_empty, large_take, large_put, put;
  logic [SmallW-1:0] small_num;
  logic [LargeW-1:0] large_num;
  logic              give_back;   // a descriptor found its queue full after all, or was replaced
  logic [11:0]       put_num, give_back_num;

  assign free_ready_o = !give_back;
  assign put          = give_back || free_valid_i;
  assign put_num      = give_back ? give_back_num : free_buf_i;
  assign small_put    = put && put_num < 12'(RxSmallCount);
  assign large_put    = put && put_num >= 12'(RxSmallCount) && put_num < 12'(RxSmallCount + RxLargeCount);

  sluice_rx_pool #(.Count(RxSmallCount)) u_small (
    .clk_i, .rst_ni, .valid_o(small_valid), .empty_o(small_empty), .num_o(small_num), .take_i(small_take),
    .put_i(small_put), .num_i(put_num[SmallW-1:0])
  );
  sluice_rx_pool #(.Count(RxLargeCount)) u_large (
    .clk_i, .rst_ni, .valid_o(large_valid), .empty_o(large_empty), .num_o(large_num), .take_i(large_take),
    .put_i(large_put), .num_i(put_num[LargeW-1:0])
  );

  // ---- decision: when the frame before has left the ring ----
  typedef struct packed {
    logic [PmAddrW-1:0] addr;
    logic [CoreW-1:0]   core;
    rx_desc_t           desc;
  } job_t;
  job_t       job_in, job;
  logic       decide, want_small, want_large, wait_pool, room, keep, jobs_room, job_valid, post, merge;
  logic [9:0] left_q;
  logic [4:0] tail_q;
  rx_drop_e   reason;

  assign room       = desc_room_i[NumCores == 1 ? '0 : record_i.core[$clog2(NumCores)-1:0]];
  assign want_small = record_i.desc.frame_len <= 14'(RxSmallMax) && !small_empty;
  assign want_large = !want_small && !large_empty;
  assign wait_pool  = (want_small && !small_valid) || (want_large && !large_valid);
  assign decide     = record_valid_i && left_q == '0 && jobs_room && !wait_pool && !give_back;
  assign keep       = !record_i.drop && room && (want_small || want_large);
  assign reason     = record_i.drop ? record_i.reason : !room ? DropQueueFull : DropNoBuffer;

  assign record_ready_o = decide;
  assign small_take     = decide && keep && want_small;
  assign large_take     = decide && keep && want_large;
  assign skip_o         = decide && !keep;
  assign skip_words_o   = record_i.words;

  always_comb begin
    job_in.core        = record_i.core;
    job_in.desc        = record_i.desc;
    job_in.desc.buffer = want_small ? 12'(small_num) : 12'(RxSmallCount) + 12'(large_num);
    job_in.addr        = want_small ? PmAddrW'(RxSmallBase + RxOffset) + PmAddrW'(small_num) * PmAddrW'(RxSmallSize)
                                    : PmAddrW'(RxLargeBase + RxOffset) + PmAddrW'(large_num) * PmAddrW'(RxLargeSize);
  end

  logic [2:0] jobs_count, starts_count;
  logic       starts_room, start_valid, start_pop;
  logic [PmAddrW-1:0] start_addr;
  sluice_stream_fifo #(.Width($bits(job_t)), .Depth(Ahead)) u_jobs (
    .clk_i, .rst_ni, .in_valid_i(decide && keep), .in_ready_o(jobs_room), .in_data_i(job_in),
    .out_valid_o(job_valid), .out_ready_i(post || merge), .out_data_o(job), .count_o(jobs_count)
  );
  sluice_stream_fifo #(.Width(PmAddrW), .Depth(Ahead)) u_starts (
    .clk_i, .rst_ni, .in_valid_i(decide && keep), .in_ready_o(starts_room), .in_data_i(job_in.addr),
    .out_valid_o(start_valid), .out_ready_i(start_pop), .out_data_o(start_addr), .count_o(starts_count)
  );

  // ---- copy: ring word, skid queue, two lanes up, packet memory ----
  typedef struct packed {
    logic       last;
    logic [4:0] count;
  } meta_t;
  meta_t        meta_d, meta_q, meta;
  logic         in_flight_q, skid_fits, word_valid, word_ready, row_valid, row_last;
  logic [2:0]   skid_count;
  logic [127:0] word, word_masked, row_data;
  logic [19:0]  row;
  logic [15:0]  row_be;

  assign read_o = left_q != '0 && 4'(skid_count) + 4'(in_flight_q) < 4'(Skid);
  assign meta_d = '{last: left_q == 10'd1, count: left_q == 10'd1 ? tail_q : 5'd16};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      left_q      <= '0;
      in_flight_q <= 1'b0;
    end else begin
      in_flight_q <= read_o;
      if (decide && keep) left_q <= record_i.words;
      else if (read_o)    left_q <= left_q - 1'b1;
    end
  end
  always_ff @(posedge clk_i) begin
    if (decide) tail_q <= (record_i.desc.frame_len[3:0] == '0) ? 5'd16 : {1'b0, record_i.desc.frame_len[3:0]};
    if (read_o) meta_q <= meta_d;
  end

  sluice_stream_fifo #(.Width(128 + $bits(meta_t)), .Depth(Skid)) u_skid (
    .clk_i, .rst_ni, .in_valid_i(in_flight_q), .in_ready_o(skid_fits), .in_data_i({meta_q, read_data_i}),
    .out_valid_o(word_valid), .out_ready_i(word_ready), .out_data_o({meta, word}), .count_o(skid_count)
  );

  // The ring keeps lanes beyond the end as they came.
  assign word_masked = word & ~({128{1'b1}} << {meta.count, 3'b000});
  assign start_pop   = word_valid && word_ready && meta.last;

  sluice_scatter #(.AddrW(PmAddrW)) u_scatter (
    .clk_i, .rst_ni, .clear_i(1'b0), .start_i(start_addr),
    .valid_i(word_valid), .ready_o(word_ready), .data_i(word_masked), .count_i(meta.count), .last_i(meta.last),
    .row_valid_o(row_valid), .row_ready_i(pm_rsp_i.gnt), .row_o(row), .row_be_o(row_be), .row_data_o(row_data),
    .row_last_o(row_last)
  );
  assign pm_req_o = '{req: row_valid, we: 1'b1, row: row, be: row_be, wdata: row_data};

  // ---- descriptor: when the last row is in memory ----
  localparam logic [7:0] TcpAck = 8'h10;

  logic [2:0]  written_q;           // frames in memory whose descriptor has not left
  logic        have_q, offered_q;   // a descriptor is there, and was offered
  logic        frame_written, job_room, lag, may_wait, job_pure, held_pure, same_flow, replaces;
  logic [31:0] news;
  assign frame_written = row_valid && row_last && pm_rsp_i.gnt;
  assign job_room      = desc_room_i[NumCores == 1 ? '0 : job.core[$clog2(NumCores)-1:0]];
  assign lag           = desc_lag_i[NumCores == 1 ? '0 : desc_core_o[$clog2(NumCores)-1:0]];
  // Nothing but cumulative acknowledgments of one connection, and the later one acknowledges more: a duplicate is none.
  assign job_pure      = job.desc.tcp_flags == TcpAck && job.desc.payload_len == '0 && !job.desc.flags.tcp_options;
  assign held_pure     = desc_o.flags.tcp && desc_o.tcp_flags == TcpAck && desc_o.payload_len == '0 && !desc_o.flags.tcp_options;
  assign same_flow     = {job.desc.flow_hash, job.desc.src_port, job.desc.dst_port, job.desc.src_ip4, job.desc.dst_ip4, job.desc.vlan} ==
                         {desc_o.flow_hash, desc_o.src_port, desc_o.dst_port, desc_o.src_ip4, desc_o.dst_ip4, desc_o.vlan};
  assign news          = job.desc.ack - desc_o.ack;
  assign replaces      = job_pure && same_flow && job.desc.flags == desc_o.flags && job.desc.seq == desc_o.seq &&
                         news != '0 && !news[31];
  assign may_wait      = lag && held_pure && (written_q == '0 || replaces);
  assign desc_valid_o  = have_q && (offered_q || !may_wait);
  assign merge         = have_q && !desc_valid_o && written_q != '0;
  assign post          = written_q != '0 && !have_q; // so the room is known after the descriptor before
  assign give_back     = merge || (post && !job_room);
  assign give_back_num = merge ? desc_o.buffer : job.desc.buffer;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      written_q   <= '0;
      have_q      <= 1'b0;
      offered_q   <= 1'b0;
      cnt_frame_o <= 1'b0;
      cnt_drop_o  <= '0;
    end else begin
      written_q <= written_q + 3'(frame_written) - 3'(post || merge);
      offered_q <= desc_valid_o && !desc_ready_i;
      if (have_q) have_q <= !(desc_valid_o && desc_ready_i);
      else        have_q <= post && job_room;
      cnt_frame_o <= merge || (post && job_room);
      cnt_drop_o  <= '0;
      if (decide && !keep)   cnt_drop_o[reason] <= 1'b1;
      if (post && !job_room) cnt_drop_o[DropQueueFull] <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (post || merge) begin
      desc_o      <= job.desc;
      desc_core_o <= job.core;
      cnt_bytes_o <= job.desc.frame_len;
    end
  end

  logic unused;
  assign unused = ^{jobs_count, starts_count, starts_room, start_valid, job_valid, pm_rsp_i.rvalid, pm_rsp_i.rdata, job.addr};

  `SLUICE_ASSERT(SkidFits, in_flight_q |-> skid_fits)
  `SLUICE_ASSERT(PostHasJob, post || merge |-> job_valid)
  `SLUICE_ASSERT(StartIsKnown, word_valid |-> start_valid)
  `SLUICE_ASSERT_STATIC(PoolsArePowersOfTwo, RxSmallCount == (1 << SmallW) && RxLargeCount == (1 << LargeW))
endmodule : sluice_rx_deliver
