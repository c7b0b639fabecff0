`include "sluice_assert.svh"

/// The mover's side of host memory: cuts a read into rows, keeps the answers until they are taken, and passes writes on.
/// One request register serves both directions; a write goes first.
module sluice_mover_host
  import sluice_pkg::*;
(
  input  logic         clk_i,
  input  logic         rst_ni,
  // one read: bus address and length of at least 1 byte
  input  logic         read_valid_i,
  output logic         read_ready_o,
  input  logic [63:0]  read_addr_i,
  input  logic [17:0]  read_len_i,
  // its rows
  output logic         row_valid_o,
  input  logic         row_ready_i,
  output logic [127:0] row_data_o,
  output logic [3:0]   row_offset_o,
  output logic [4:0]   row_count_o,
  output logic         row_last_o,
  output logic         row_err_o,
  // rows to write
  input  logic         write_valid_i,
  output logic         write_ready_o,
  input  logic [59:0]  write_row_i,
  input  logic [15:0]  write_be_i,
  input  logic [127:0] write_data_i,
  output logic         idle_o,        // every write was taken by the fabric
  output host_req_t    host_req_o,
  input  host_rsp_t    host_rsp_i
);
  typedef struct packed {
    logic [3:0] offset;
    logic [4:0] count;
    logic       last;
  } meta_t;

  logic        busy_q;
  logic [63:0] addr_q;
  logic [17:0] left_q;
  logic        ends, room, ask, slot_free;
  logic [4:0]  to_row_end, count;
  meta_t       meta_in, meta_out;
  host_req_t   req_q;        // its valid is in req_valid_q
  logic        req_valid_q;

  assign to_row_end = 5'd16 - {1'b0, addr_q[3:0]};
  assign ends       = left_q <= 18'(to_row_end);
  assign count      = ends ? left_q[4:0] : to_row_end;
  assign meta_in    = '{offset: addr_q[3:0], count: count, last: ends};

  assign slot_free     = !req_valid_q || host_rsp_i.ready;
  assign write_ready_o = slot_free;
  assign ask           = slot_free && !write_valid_i && busy_q && room;
  assign read_ready_o  = !busy_q;
  assign idle_o        = !req_valid_q;
  
  always_comb begin
    host_req_o       = req_q;
    host_req_o.valid = req_valid_q;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q      <= 1'b0;
      req_valid_q <= 1'b0;
    end else begin
      if (read_ready_o)     busy_q <= read_valid_i;
      else if (ask && ends) busy_q <= 1'b0;
      if (slot_free) req_valid_q <= write_valid_i || ask;
    end
  end

  always_ff @(posedge clk_i) begin
    if (read_ready_o) begin
      addr_q <= read_addr_i;
      left_q <= read_len_i;
    end else if (ask) begin
      addr_q <= {addr_q[63:4] + 1'b1, 4'h0};
      left_q <= left_q - 18'(count);
    end
    if (slot_free) begin
      req_q.valid <= 1'b0;
      req_q.we    <= write_valid_i;
      req_q.addr  <= {write_valid_i ? write_row_i : addr_q[63:4], 4'h0};
      req_q.be    <= write_valid_i ? write_be_i : ~(16'hFFFF << count) << addr_q[3:0];
      req_q.wdata <= write_data_i;
    end
  end

  // Rows asked for; its depth bounds the reads in flight and the room for their data.
  logic [$clog2(HostReads):0] meta_count, data_count;
  logic                       meta_valid, data_valid, data_room, pop;
  sluice_stream_fifo #(.Width($bits(meta_t)), .Depth(HostReads)) u_meta (
    .clk_i, .rst_ni,
    .in_valid_i (ask), .in_ready_o (room), .in_data_i (meta_in),
    .out_valid_o(meta_valid), .out_ready_i(pop), .out_data_o(meta_out), .count_o(meta_count)
  );
  sluice_stream_fifo #(.Width(129), .Depth(HostReads)) u_data (
    .clk_i, .rst_ni,
    .in_valid_i (host_rsp_i.rvalid), .in_ready_o (data_room), .in_data_i ({host_rsp_i.rerr, host_rsp_i.rdata}),
    .out_valid_o(data_valid), .out_ready_i(pop), .out_data_o({row_err_o, row_data_o}), .count_o(data_count)
  );

  assign row_valid_o  = data_valid;
  assign row_offset_o = meta_out.offset;
  assign row_count_o  = meta_out.count;
  assign row_last_o   = meta_out.last;
  assign pop          = row_valid_o && row_ready_i;

  logic unused;
  assign unused = ^{meta_count, data_count, req_q.valid};

  `SLUICE_ASSERT(AnswerWasAskedFor, host_rsp_i.rvalid |-> data_room && meta_valid)
endmodule : sluice_mover_host
