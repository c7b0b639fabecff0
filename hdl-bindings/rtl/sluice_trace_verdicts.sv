`include "sluice_assert.svh"

/// What rx thought of the received frames that the trace keeps, in their order. Rx judges a few clocks after a frame's end,
/// and does not judge one that it lost to an overrun.
module sluice_trace_verdicts
  import sluice_pkg::*;
#(
  parameter int unsigned Frames = 64   // kept and not popped, power of two
) (
  input  logic     clk_i,
  input  logic     rst_ni,
  input  logic     ended_i,            // a frame ended
  input  logic     kept_i,             //   and the trace keeps it
  input  logic     overrun_i,          //   and rx has lost it
  input  logic     judged_i,           // rx judged the next one that it has not lost
  input  logic     drop_i,
  input  rx_drop_e reason_i,
  output logic     valid_o,            // the verdict on the oldest frame kept
  output logic     drop_o,
  output rx_drop_e reason_o,           // meaningful with drop_o
  input  logic     pop_i
);
  // Rx takes fewer clocks than this, and a frame at least one.
  localparam int unsigned Ahead = 16;

  logic                    waits, waits_kept, waits_overrun, next, fits, room;
  logic [$clog2(Ahead):0]  ahead;
  logic [$clog2(Frames):0] held;
  logic [4:0]              verdict, oldest;

  sluice_stream_fifo #(.Width(2), .Depth(Ahead)) u_waiting (
    .clk_i, .rst_ni, .in_valid_i(ended_i), .in_ready_o(fits), .in_data_i({kept_i, overrun_i}),
    .out_valid_o(waits), .out_ready_i(next), .out_data_o({waits_kept, waits_overrun}), .count_o(ahead)
  );
  assign next    = waits && (waits_overrun || judged_i);
  assign verdict = waits_overrun ? {1'b1, DropOverrun} : {drop_i, reason_i};

  sluice_stream_fifo #(.Width(5), .Depth(Frames)) u_verdicts (
    .clk_i, .rst_ni, .in_valid_i(next && waits_kept), .in_ready_o(room), .in_data_i(verdict),
    .out_valid_o(valid_o), .out_ready_i(pop_i), .out_data_o(oldest), .count_o(held)
  );
  assign drop_o   = oldest[4];
  assign reason_o = rx_drop_e'(oldest[3:0]);

  logic unused;
  assign unused = ^{ahead, held};

  `SLUICE_ASSERT(JudgesWhatEnded, judged_i |-> waits && !waits_overrun)
  `SLUICE_ASSERT(Fits, (ended_i |-> fits) and (next && waits_kept |-> room))
endmodule : sluice_trace_verdicts
