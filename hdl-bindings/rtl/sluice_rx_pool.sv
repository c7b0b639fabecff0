`include "sluice_assert.svh"

/// Free buffers of one size, by number. Full after reset without being filled: numbers never yet given out come from a counter.
module sluice_rx_pool #(
  parameter int unsigned Count = 128, // power of two
  localparam int unsigned NumW = $clog2(Count)
) (
  input  logic            clk_i,
  input  logic            rst_ni,
  output logic            valid_o,  // num_o is free
  output logic            empty_o,  // none is free; while neither is high, one is on its way
  output logic [NumW-1:0] num_o,
  input  logic            take_i,   // only with valid_o
  input  logic            put_i,
  input  logic [NumW-1:0] num_i
);
  logic [NumW-1:0] mem [Count];
  logic [NumW-1:0] fetched_q;
  logic            fetched_valid_q, fetch, fresh_left, reload;
  logic [NumW:0]   fresh_q;          // next number never given out
  logic [NumW:0]   wr_q, rd_q;

  assign fresh_left = !fresh_q[NumW];
  assign reload     = !valid_o || take_i;
  assign fetch      = wr_q != rd_q && (!fetched_valid_q || (reload && !fresh_left));
  assign empty_o    = !valid_o && !fresh_left && !fetched_valid_q && wr_q == rd_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_o         <= 1'b0;
      fetched_valid_q <= 1'b0;
      fresh_q         <= '0;
      wr_q            <= '0;
      rd_q            <= '0;
    end else begin
      if (put_i) wr_q <= wr_q + 1'b1;
      if (fetch) rd_q <= rd_q + 1'b1;
      fetched_valid_q <= fetch || (fetched_valid_q && !(reload && !fresh_left));
      if (reload) begin
        valid_o <= fresh_left || fetched_valid_q;
        if (fresh_left) fresh_q <= fresh_q + 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (put_i) mem[wr_q[NumW-1:0]] <= num_i;
    if (fetch) fetched_q <= mem[rd_q[NumW-1:0]];
    if (reload) num_o <= fresh_left ? fresh_q[NumW-1:0] : fetched_q;
  end

  logic [NumW:0] waiting;
  assign waiting = wr_q - rd_q;
  `SLUICE_ASSERT(NoMoreThanExist, !waiting[NumW] || waiting == (NumW + 1)'(Count))
  `SLUICE_ASSERT(TakeWhatIsThere, take_i |-> valid_o)
endmodule : sluice_rx_pool
