`include "sluice_assert.svh"

/// Queue of messages that come in beats of 16 bytes and are read word by word, any order, from the oldest message.
/// The sender keeps count of free places; there is no back pressure here.
module sluice_word_queue #(
  parameter int unsigned Depth = 64, // messages, power of two
  parameter int unsigned Beats = 4,  // per message, power of two
  localparam int unsigned PtrW = $clog2(Depth),
  localparam int unsigned RowW = $clog2(Depth * Beats),
  localparam int unsigned WordW = $clog2(Beats * 4)
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             beat_valid_i,
  input  logic [127:0]     beat_i,       // first beat: words 0 to 3
  input  logic             read_i,
  input  logic [WordW-1:0] word_i,       // of the oldest message
  output logic [31:0]      word_o,       // in the clock after `read_i`
  input  logic             pop_i,        // drops the oldest message
  output logic [PtrW:0]    count_o       // whole messages
);
  logic [31:0]     row[4];                 // of the word read last
  logic [1:0]      lane_q;
  logic [RowW-1:0] write_q;
  logic [PtrW-1:0] head_q;
  logic [PtrW:0]   count_q;
  logic            whole;
  logic [RowW-1:0] read_row;

  if (Beats == 1) begin : gen_single
    assign whole    = beat_valid_i;
    assign read_row = head_q;
  end else begin : gen_burst
    assign whole    = beat_valid_i && (&write_q[RowW-PtrW-1:0]);
    assign read_row = {head_q, word_i[WordW-1:2]};
  end

  assign word_o  = row[lane_q];
  assign count_o = count_q;

  for (genvar lane = 0; lane < 4; lane++) begin : gen_lane
    logic [31:0] mem[Depth*Beats];
    logic [31:0] word_q;
    assign row[lane] = word_q;
    always_ff @(posedge clk_i) begin
      if (beat_valid_i) mem[write_q] <= beat_i[32*lane+:32];
      if (read_i) word_q <= mem[read_row];
    end
  end
  always_ff @(posedge clk_i) begin
    if (read_i) lane_q <= word_i[1:0];
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      write_q <= '0;
      head_q  <= '0;
      count_q <= '0;
    end else begin
      if (beat_valid_i) write_q <= write_q + 1'b1;
      if (pop_i) head_q <= head_q + 1'b1;
      if (whole || pop_i) count_q <= count_q + (PtrW+1)'(whole) - (PtrW+1)'(pop_i);
    end
  end

  `SLUICE_ASSERT(NoOverflow, whole |-> count_q != (PtrW+1)'(Depth) || pop_i)
  `SLUICE_ASSERT(NoPopWhenEmpty, pop_i |-> count_q != '0)
endmodule : sluice_word_queue
