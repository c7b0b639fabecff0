`include "sluice_assert.svh"

/// Packs rows with useful bytes at any place into dense 16-byte beats; only a packet's last beat may be short.
/// A row a clock, plus at most one clock per packet.
module sluice_gather_pack (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         row_valid_i,
  output logic         row_ready_o,
  input  logic [127:0] row_data_i,
  input  logic [3:0]   row_offset_i, // lane of the first useful byte
  input  logic [4:0]   row_count_i,  // useful bytes, 1 to 16
  input  logic         row_last_i,   // ends the packet
  output logic         valid_o,
  input  logic         ready_i,
  output logic [127:0] data_o,       // bytes beyond count are zero
  output logic [4:0]   count_o,      // 1 to 16
  output logic         last_o
);
  // Stage 1: useful bytes moved to lane 0, the others cleared.
  logic         a_valid_q, a_last_q;
  logic [127:0] a_data_q;
  logic [4:0]   a_count_q;
  logic         a_take;

  assign row_ready_o = !a_valid_q || a_take;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni)          a_valid_q <= 1'b0;
    else if (row_ready_o) a_valid_q <= row_valid_i;
  end

  always_ff @(posedge clk_i) begin
    if (row_ready_o && row_valid_i) begin
      a_data_q  <= (row_data_i >> {row_offset_i, 3'b000}) & ~({128{1'b1}} << {row_count_i, 3'b000});
      a_count_q <= row_count_i;
      a_last_q  <= row_last_i;
    end
  end

  // Stage 2: joined with what is left of the row before.
  logic [127:0] rest_q;       // fewer than 16 bytes, the lanes above are zero
  logic [3:0]   rest_count_q;
  logic         flush_q;      // the rest is the packet's last beat
  logic         out_free;
  logic [4:0]   total;
  logic [247:0] joined;
  logic         full, ends_here;

  assign out_free  = !valid_o || ready_i;
  assign a_take    = a_valid_q && !flush_q && out_free;
  assign total     = {1'b0, rest_count_q} + a_count_q; // at most 31
  assign joined    = ({120'h0, a_data_q} << {rest_count_q, 3'b000}) | {120'h0, rest_q};
  assign full      = total[4];
  assign ends_here = a_last_q && total <= 5'd16;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_o      <= 1'b0;
      flush_q      <= 1'b0;
      rest_count_q <= '0;
      rest_q       <= '0;
    end else begin
      if (out_free) valid_o <= flush_q || (a_take && (full || a_last_q));
      if (flush_q && out_free) begin
        flush_q      <= 1'b0;
        rest_count_q <= '0;
        rest_q       <= '0;
      end else if (a_take) begin
        flush_q      <= a_last_q && !ends_here;
        rest_count_q <= ends_here ? '0 : total[3:0];
        rest_q       <= ends_here ? '0 : full ? {8'h0, joined[247:128]} : joined[127:0];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (out_free) begin
      data_o  <= flush_q ? rest_q : joined[127:0];
      count_o <= flush_q ? {1'b0, rest_count_q} : full ? 5'd16 : total;
      last_o  <= flush_q || ends_here;
    end
  end

  `SLUICE_ASSERT(NoEmptyBeat, valid_o |-> count_o != '0)
  `SLUICE_ASSERT(ShortOnlyAtTheEnd, valid_o && !last_o |-> count_o == 5'd16)
endmodule : sluice_gather_pack
