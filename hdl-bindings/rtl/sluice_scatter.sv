/// Turns dense beats into rows of memory from any byte address on: data in its lanes, and byte enables.
/// A beat a clock, plus at most one clock per packet.
module sluice_scatter #(
  parameter int unsigned AddrW = 24
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             clear_i,  // forgets a packet that was broken off; its rows are out
  input  logic [AddrW-1:0] start_i,  // byte address of a packet's first byte; taken with that byte's beat
  input  logic             valid_i,
  output logic             ready_o,
  input  logic [127:0]     data_i,   // bytes beyond count are zero
  input  logic [4:0]       count_i,  // 16 but in the last beat
  input  logic             last_i,
  output logic             row_valid_o,
  input  logic             row_ready_i,
  output logic [AddrW-5:0] row_o,
  output logic [15:0]      row_be_o,
  output logic [127:0]     row_data_o,
  output logic             row_last_o
);
  logic             open_q;            // inside a packet
  logic             flush_q;           // what is held is the last row
  logic [3:0]       offset_q, offset;
  logic [AddrW-5:0] next_row_q;
  logic [127:0]     held_q;            // bytes of the next row that came already
  logic [15:0]      held_be_q;
  logic             out_free, take;
  logic [255:0]     wide;
  logic [31:0]      wide_be;

  assign out_free = !row_valid_o || row_ready_i;
  assign ready_o  = out_free && !flush_q;
  assign take     = valid_i && ready_o;
  assign offset   = open_q ? offset_q : start_i[3:0];
  assign wide     = {128'h0, data_i} << {offset, 3'b000};
  assign wide_be  = ~(32'hFFFF_FFFF << count_i) << offset;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      row_valid_o <= 1'b0;
      open_q      <= 1'b0;
      flush_q     <= 1'b0;
    end else begin
      if (out_free) row_valid_o <= flush_q || take;
      if (clear_i)   open_q <= 1'b0;
      else if (take) open_q <= !last_i;
      if (take)          flush_q <= last_i && wide_be[31:16] != '0;
      else if (out_free) flush_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      row_o      <= open_q ? next_row_q : start_i[AddrW-1:4];
      row_be_o   <= wide_be[15:0] | (open_q ? held_be_q : '0);
      row_data_o <= wide[127:0] | (open_q ? held_q : '0);
      row_last_o <= last_i && wide_be[31:16] == '0;
      held_q     <= wide[255:128];
      held_be_q  <= wide_be[31:16];
      offset_q   <= offset;
      next_row_q <= (open_q ? next_row_q : start_i[AddrW-1:4]) + 1'b1;
    end else if (flush_q && out_free) begin
      row_o      <= next_row_q;
      row_be_o   <= held_be_q;
      row_data_o <= held_q;
      row_last_o <= 1'b1;
    end
  end
endmodule : sluice_scatter
