`include "sluice_assert.svh"

/// Queue of 64-byte jobs that a core writes word by word and posts, and that leave in beats of 16 bytes.
/// A job becomes ready once every store that its core made before posting it has reached memory.
module sluice_job_queue #(
  parameter int unsigned Depth = 16, // jobs, power of two
  localparam int unsigned PtrW = $clog2(Depth)
) (
  input  logic          clk_i,
  input  logic          rst_ni,
  input  logic          write_i,
  input  logic [3:0]    word_i,
  input  logic [31:0]   wdata_i,
  input  logic          post_i,      // ignored, and noted in `overrun_o`, unless `accept_i`
  input  logic          accept_i,
  output logic [PtrW:0] used_o,
  output logic          overrun_o,   // sticky
  input  logic [7:0]    sent_i,      // requests the core has put on its bus, counted
  input  logic [7:0]    reached_i,   // and those that are done
  output logic          ready_o,     // the head may be handed over
  input  logic [1:0]    beat_i,
  output logic [127:0]  beat_o,      // of the head
  input  logic          pop_i
);
  logic [PtrW:0]   tail_q, ready_q, head_q; // one bit more than the index, so that full and empty differ
  logic [PtrW:0]   mark_q;                  // jobs before this wait for `target_q`
  logic            waiting_q;
  logic [7:0]      target_q;
  logic            overrun_q;
  logic            push;

  assign push      = post_i && accept_i;
  assign used_o    = tail_q - head_q;
  assign overrun_o = overrun_q;
  assign ready_o   = ready_q != head_q;

  // One memory per word of a beat, so that each has a plain write enable.
  for (genvar lane = 0; lane < 4; lane++) begin : gen_lane
    logic [31:0] mem[Depth*4];
    assign beat_o[32*lane+:32] = mem[{head_q[PtrW-1:0], beat_i}];
    always_ff @(posedge clk_i) begin
      if (write_i && word_i[1:0] == 2'(lane)) mem[{tail_q[PtrW-1:0], word_i[3:2]}] <= wdata_i;
    end
  end

  // One wait at a time covers all jobs posted up to its start.
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      tail_q    <= '0;
      ready_q   <= '0;
      head_q    <= '0;
      mark_q    <= '0;
      waiting_q <= 1'b0;
      target_q  <= '0;
      overrun_q <= 1'b0;
    end else begin
      if (push) tail_q <= tail_q + 1'b1;
      if (post_i && !accept_i) overrun_q <= 1'b1;
      if (pop_i) head_q <= head_q + 1'b1;
      if (waiting_q) begin
        if (reached_i == target_q) begin
          ready_q   <= mark_q;
          waiting_q <= 1'b0;
        end
      end else if (tail_q != ready_q) begin
        mark_q    <= tail_q;
        target_q  <= sent_i;
        waiting_q <= 1'b1;
      end
    end
  end

  `SLUICE_ASSERT(NoOverflow, push |-> used_o != (PtrW+1)'(Depth))
  `SLUICE_ASSERT(PopOnlyReady, pop_i |-> ready_o)
  `SLUICE_ASSERT(PostOnlyWhenFree, post_i |-> accept_i)
endmodule : sluice_job_queue
