`include "sluice_assert.svh"

/// Reads pieces of packet memory, row by row and in order. Pieces may start anywhere and may be empty, except the one marked
/// `last`, which ends a packet. Blank pieces become a row of zeros in their place, for someone else to fill.
module sluice_gather_read
  import sluice_pkg::*;
#(
  parameter int unsigned Depth = 16 // rows asked for and not yet taken; power of two, above PmLatency + 2 to stream
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               piece_valid_i,
  output logic               piece_ready_o,
  input  logic [PmAddrW-1:0] piece_addr_i,
  input  logic [17:0]        piece_len_i,
  input  logic               piece_last_i,
  input  logic               piece_blank_i, // no memory is read: address 0, 1 to 16 bytes
  output pm_req_t            pm_req_o,
  input  pm_rsp_t            pm_rsp_i,
  // rows with their useful bytes: `count` (1 to 16) from lane `offset`
  output logic               row_valid_o,
  input  logic               row_ready_i,
  output logic [127:0]       row_data_o,
  output logic [3:0]         row_offset_o,
  output logic [4:0]         row_count_o,
  output logic               row_last_o,
  output logic               row_blank_o
);
  typedef struct packed {
    logic [3:0] offset;
    logic [4:0] count;
    logic       last;
    logic       blank;
  } meta_t;

  logic               busy_q;
  logic [PmAddrW-1:0] addr_q;
  logic [17:0]        left_q;
  logic               last_q, blank_q;

  logic       room, ask, step, ends;
  logic [4:0] to_row_end, count;
  meta_t      meta_in, meta_out;
  logic       meta_valid, data_valid, pop;

  assign to_row_end = 5'd16 - {1'b0, addr_q[3:0]};
  assign ends       = left_q <= 18'(to_row_end);
  assign count      = ends ? left_q[4:0] : to_row_end;

  assign ask      = busy_q && room && left_q != '0 && !blank_q;
  assign pm_req_o = '{req: ask, we: 1'b0, row: addr_q[PmAddrW-1:4], be: '0, wdata: '0};
  assign step     = (ask && pm_rsp_i.gnt) || (busy_q && room && (left_q == '0 || blank_q));
  assign meta_in  = '{offset: addr_q[3:0], count: count, last: last_q && ends, blank: blank_q};

  assign piece_ready_o = !busy_q || (step && ends);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni)            busy_q <= 1'b0;
    else if (piece_ready_o) busy_q <= piece_valid_i;
  end

  always_ff @(posedge clk_i) begin
    if (piece_ready_o) begin
      addr_q  <= piece_addr_i;
      left_q  <= piece_len_i;
      last_q  <= piece_last_i;
      blank_q <= piece_blank_i;
    end else if (step) begin
      addr_q <= {addr_q[PmAddrW-1:4] + 1'b1, 4'h0};
      left_q <= left_q - 18'(count);
    end
  end

  logic [$clog2(Depth):0] meta_count, data_count;
  sluice_stream_fifo #(.Width($bits(meta_t)), .Depth(Depth)) u_meta (
    .clk_i, .rst_ni,
    .in_valid_i (step && count != '0), .in_ready_o (room), .in_data_i (meta_in),
    .out_valid_o(meta_valid), .out_ready_i(pop), .out_data_o(meta_out), .count_o(meta_count)
  );

  logic         data_room;
  logic [127:0] data;
  sluice_stream_fifo #(.Width(128), .Depth(Depth)) u_data (
    .clk_i, .rst_ni,
    .in_valid_i (pm_rsp_i.rvalid), .in_ready_o (data_room), .in_data_i (pm_rsp_i.rdata),
    .out_valid_o(data_valid), .out_ready_i(pop && !meta_out.blank), .out_data_o(data), .count_o(data_count)
  );

  assign row_valid_o  = data_valid || (meta_valid && meta_out.blank);
  assign row_data_o   = meta_out.blank ? '0 : data;
  assign row_blank_o  = meta_out.blank;
  assign row_offset_o = meta_out.offset;
  assign row_count_o  = meta_out.count;
  assign row_last_o   = meta_out.last;
  assign pop          = row_valid_o && row_ready_i;

  logic unused;
  assign unused = ^{meta_count, data_count};

  `SLUICE_ASSERT(DataHasRoom, pm_rsp_i.rvalid |-> data_room && meta_valid)
  `SLUICE_ASSERT(LastPieceHasBytes, busy_q && last_q |-> left_q != '0)
  `SLUICE_ASSERT(BlankIsOneRow, busy_q && blank_q |-> ends && left_q != '0)
endmodule : sluice_gather_read
