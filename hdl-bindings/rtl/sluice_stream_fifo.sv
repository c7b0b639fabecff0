/// First-word-fall-through queue with a combinational read port (registers or distributed RAM).
module sluice_stream_fifo #(
  parameter int unsigned Width = 8,
  parameter int unsigned Depth = 4, // power of two, at least 2
  localparam int unsigned PtrW = $clog2(Depth)
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             in_valid_i,
  output logic             in_ready_o,
  input  logic [Width-1:0] in_data_i,
  output logic             out_valid_o,
  input  logic             out_ready_i,
  output logic [Width-1:0] out_data_o,
  output logic [PtrW:0]    count_o     // entries held
);
  logic [Width-1:0] mem_q [Depth];
  logic [PtrW:0]    wr_q, rd_q; // one bit more than an index: equal means empty
  logic             push, pop;

  assign count_o     = wr_q - rd_q;
  assign in_ready_o  = !count_o[PtrW];
  assign out_valid_o = wr_q != rd_q;
  assign out_data_o  = mem_q[rd_q[PtrW-1:0]];
  assign push        = in_valid_i && in_ready_o;
  assign pop         = out_valid_o && out_ready_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      wr_q <= '0;
      rd_q <= '0;
    end else begin
      if (push) wr_q <= wr_q + 1'b1;
      if (pop)  rd_q <= rd_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (push) mem_q[wr_q[PtrW-1:0]] <= in_data_i;
  end
endmodule : sluice_stream_fifo
