/// Round-robin choice: the first request at or after the one behind the last winner.
module sluice_rr #(
  parameter int unsigned N = 2,
  localparam int unsigned W = (N > 1) ? $clog2(N) : 1
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic [N-1:0] req_i,
  input  logic         take_i,  // the choice is used: the next one begins behind it
  output logic         any_o,
  output logic [W-1:0] pick_o   // meaningless unless `any_o`
);
  logic [N-1:0] behind_q;       // ones at and above the next first choice
  logic [N-1:0] first, lowest;

  assign any_o  = req_i != '0;
  assign first  = ((req_i & behind_q) != '0) ? (req_i & behind_q) : req_i;
  assign lowest = first & (~first + 1'b1);

  always_comb begin
    pick_o = '0;
    for (int unsigned i = 0; i < N; i++) begin
      if (lowest[i]) pick_o = W'(i);
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni)              behind_q <= '1;
    else if (take_i && any_o) behind_q <= ~(lowest | (lowest - 1'b1));
  end
endmodule : sluice_rr
