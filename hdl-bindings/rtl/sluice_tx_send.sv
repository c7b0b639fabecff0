`include "sluice_assert.svh"

/// Keeps built frames in a ring and sends each when it is complete, with its checksums put in. While one is sent, the next
/// ones are built.
module sluice_tx_send
  import sluice_pkg::*;
  import sluice_tx_pkg::*;
#(
  parameter int unsigned Words   = 2048, // of 16 bytes; at least twice the longest frame
  parameter int unsigned Records = 64
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         word_valid_i,
  output logic         word_ready_o,
  input  logic [127:0] word_data_i,
  input  logic         record_valid_i,
  output logic         record_room_o,  // at least 4 records still fit
  input  record_t      record_i,
  output logic         tx_valid_o,
  input  logic         tx_ready_i,
  output logic [127:0] tx_data_o,
  output logic [15:0]  tx_keep_o,
  output logic         tx_last_o,
  output logic         cnt_frame_o,
  output logic [13:0]  cnt_bytes_o
);
  localparam int unsigned PtrW = $clog2(Words);
  localparam int unsigned Skid = 4;

  typedef struct packed {
    logic [15:0] lanes;   // lanes that a checksum goes to
    logic [31:0] sums;    // L4 and IP, each first byte low; or, in the beats it lies in, the ICRC, first half high
    logic [15:0] l4;      // lanes of the L4 checksum or the ICRC's first half
    logic [4:0]  count;
    logic        last;
    logic [13:0] len;
  } meta_t;

  logic [127:0]    ring_mem [Words];
  logic [PtrW:0]   wr_q, rd_q;
  logic [PtrW:0]   held;
  logic [127:0]    ring_q;
  logic            push, issue;

  assign held         = wr_q - rd_q;
  assign word_ready_o = !held[PtrW];
  assign push         = word_valid_i && word_ready_o;

  always_ff @(posedge clk_i) begin
    if (push)  ring_mem[wr_q[PtrW-1:0]] <= word_data_i;
    if (issue) ring_q <= ring_mem[rd_q[PtrW-1:0]];
  end

  // ---- records of complete frames ----
  record_t                record;
  logic                   record_valid, record_pop, record_fits;
  logic [$clog2(Records):0] record_count;
  sluice_stream_fifo #(.Width($bits(record_t)), .Depth(Records)) u_records (
    .clk_i, .rst_ni,
    .in_valid_i (record_valid_i), .in_ready_o (record_fits), .in_data_i (record_i),
    .out_valid_o(record_valid), .out_ready_i(record_pop), .out_data_o(record), .count_o(record_count)
  );
  assign record_room_o = record_count < ($clog2(Records) + 1)'(Records - 8);

  // ---- one ring word a clock as long as the skid queue has room ----
  logic [9:0]  beat_q;
  logic [13:0] left;
  logic        last, in_flight_q;
  meta_t       meta_d, meta_q;
  logic [$clog2(Skid):0] skid_count;

  assign left       = record.len - {beat_q, 4'h0};
  assign last       = left <= 14'd16;
  assign issue      = record_valid && 3'(skid_count) + 3'(in_flight_q) < 3'(Skid);
  assign record_pop = issue && last;

  // Lanes of the 16-bit field at `at`, if it is in this beat.
  function automatic logic [15:0] field_lanes(input logic en, input logic [13:0] at, input logic [9:0] beat);
    return (en && beat == at[13:4]) ? 16'h3 << at[3:0] : '0;
  endfunction

  always_comb begin
    meta_d.l4    = field_lanes(record.l4_en, 14'(record.l4_at), beat_q);
    meta_d.lanes = meta_d.l4 | field_lanes(record.ip_en, 14'(record.ip_at), beat_q);
    meta_d.sums  = {record.l4_sum[7:0], record.l4_sum[15:8], record.ip_sum[7:0], record.ip_sum[15:8]};
    if (record.icrc_en && left <= 14'd19) begin // some of its bytes are in this beat
      meta_d.l4    = field_lanes(1'b1, record.len - 14'd4, beat_q);
      meta_d.lanes = meta_d.l4 | field_lanes(1'b1, record.len - 14'd2, beat_q);
      meta_d.sums  = {record.icrc[15:0], record.icrc[31:16]};
    end
    meta_d.count = last ? left[4:0] : 5'd16;
    meta_d.last  = last;
    meta_d.len   = record.len;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      wr_q        <= '0;
      rd_q        <= '0;
      beat_q      <= '0;
      in_flight_q <= 1'b0;
    end else begin
      if (push) wr_q <= wr_q + 1'b1;
      in_flight_q <= issue;
      if (issue) begin
        rd_q   <= rd_q + 1'b1;
        beat_q <= last ? '0 : beat_q + 1'b1;
      end
    end
  end
  always_ff @(posedge clk_i) if (issue) meta_q <= meta_d;

  logic [127:0] patched;
  always_comb begin
    patched = ring_q;
    if (in_flight_q && meta_q.lanes != '0) begin
      for (int i = 0; i < 8; i++) begin
        if (meta_q.lanes[2*i]) patched[16*i+:16] = meta_q.l4[2*i] ? meta_q.sums[31:16] : meta_q.sums[15:0];
      end
    end
  end

  logic        skid_fits;
  logic [4:0]  count;
  logic [13:0] len;
  sluice_stream_fifo #(.Width(128 + 5 + 1 + 14), .Depth(Skid)) u_skid (
    .clk_i, .rst_ni,
    .in_valid_i (in_flight_q), .in_ready_o (skid_fits), .in_data_i ({meta_q.len, meta_q.count, meta_q.last, patched}),
    .out_valid_o(tx_valid_o), .out_ready_i(tx_ready_i), .out_data_o({len, count, tx_last_o, tx_data_o}), .count_o(skid_count)
  );

  assign tx_keep_o = ~(16'hFFFF << count);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) cnt_frame_o <= 1'b0;
    else         cnt_frame_o <= tx_valid_o && tx_ready_i && tx_last_o;
  end
  always_ff @(posedge clk_i) cnt_bytes_o <= len;

  // Once begun, a frame is sent without holes.
  logic open_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni)                       open_q <= 1'b0;
    else if (tx_valid_o && tx_ready_i) open_q <= !tx_last_o;
  end
  `SLUICE_ASSERT(NoHoles, open_q |-> tx_valid_o)
  `SLUICE_ASSERT(IcrcLiesEven, record_valid_i && record_i.icrc_en |-> !record_i.l4_en && record_i.len[1:0] == 2'd2)
  `SLUICE_ASSERT(RecordFits, record_valid_i |-> record_fits)
  `SLUICE_ASSERT(SkidFits, in_flight_q |-> skid_fits)
  `SLUICE_ASSERT(FrameIsWhole, issue |-> held != '0)
endmodule : sluice_tx_send
