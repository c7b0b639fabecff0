/// Clocks spent in each of eight phases. The running phase's time is added when it ends, so nothing toggles in between.
module sluice_phase_counters (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [31:0] clocks_i, // free-running
  input  logic        switch_i,
  input  logic [2:0]  phase_i,  // the phase that begins
  output logic [2:0]  phase_o,  // the phase that runs
  input  logic [2:0]  select_i,
  output logic [31:0] count_o   // of the selected phase, up to now
);
  logic [31:0] count_q[8];
  logic [31:0] since_q;
  logic [2:0]  phase_q;
  logic [31:0] running;
  logic        started_q;       // `since_q` is meaningful

  assign running = clocks_i - since_q;
  assign phase_o = phase_q;
  assign count_o = count_q[select_i] + ((select_i == phase_q && started_q) ? running : 32'd0);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      for (int i = 0; i < 8; i++) count_q[i] <= '0;
      since_q   <= '0;
      phase_q   <= '0;
      started_q <= 1'b0;
    end else if (switch_i || !started_q) begin
      started_q <= 1'b1;
      since_q   <= clocks_i;
      if (switch_i) phase_q <= phase_i;
      if (started_q) count_q[phase_q] <= count_q[phase_q] + running;
    end
  end
endmodule : sluice_phase_counters
