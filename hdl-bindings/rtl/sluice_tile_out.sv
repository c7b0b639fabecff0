`include "sluice_assert.svh"

/// A tile's job bus: jobs and messages that the uncore has granted leave in bursts of 16-byte beats.
module sluice_tile_out
  import sluice_pkg::*;
(
  input  logic         clk_i,
  input  logic         rst_ni,
  // queues, by out_kind_e
  input  logic [2:0]   ready_i,    // something to send
  input  logic [127:0] beat_i[3],  // beat `beat_o` of the head of each
  output logic [1:0]   beat_o,
  output logic [2:0]   pop_o,      // the head has left
  // uncore
  output logic [2:0]   req_o,      // asks for a grant; falls with the grant and stays low until the burst is over
  input  logic [2:0]   gnt_i,      // pulse: send one; grants of different kinds may overlap
  output logic         valid_o,
  output logic [1:0]   kind_o,     // out_kind_e
  output logic [127:0] data_o
);
  logic [2:0] req_q, granted_q;
  logic       busy_q;
  logic [1:0] kind_q, beat_q;
  logic       last;

  assign beat_o = beat_q;
  assign req_o  = req_q;
  assign last   = busy_q && beat_q == ((kind_q == OutMail) ? 2'd1 : 2'd3);
  assign pop_o  = last ? 3'b001 << kind_q : 3'b000;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      req_q     <= '0;
      granted_q <= '0;
      busy_q    <= 1'b0;
      kind_q    <= '0;
      beat_q    <= '0;
      valid_o   <= 1'b0;
    end else begin
      req_q     <= ready_i & ~gnt_i & ~granted_q;
      granted_q <= (granted_q | gnt_i) & ~pop_o;
      valid_o   <= busy_q;
      if (busy_q) begin
        beat_q <= last ? 2'd0 : beat_q + 2'd1;
        busy_q <= !last;
      end else if (granted_q != '0) begin
        busy_q <= 1'b1;
        kind_q <= granted_q[OutTx] ? OutTx : granted_q[OutMove] ? OutMove : OutMail;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (busy_q) begin
      data_o <= beat_i[kind_q];
      kind_o <= kind_q;
    end
  end

  `SLUICE_ASSERT(GrantOnlyWhenAsked, (gnt_i & ~req_q) == '0)
endmodule : sluice_tile_out
