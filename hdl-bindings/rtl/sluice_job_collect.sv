`include "sluice_assert.svh"

/// Fetches jobs of one kind from the tiles, in turn, and hands each to its engine whole.
module sluice_job_collect
  import sluice_pkg::*;
#(
  parameter int unsigned NumCores = 2,
  parameter out_kind_e   Kind = OutTx
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic [NumCores-1:0] req_i,              // tile has a job
  output logic [NumCores-1:0] gnt_o,              // pulse: send it
  input  logic             out_valid_i[NumCores], // the tiles' job buses
  input  logic [1:0]       out_kind_i[NumCores],
  input  logic [127:0]     out_data_i[NumCores],
  output logic             job_valid_o,
  input  logic             job_ready_i,
  output logic [CoreW-1:0] job_core_o,
  output logic [511:0]     job_o
);
  localparam int unsigned W = (NumCores > 1) ? $clog2(NumCores) : 1;
  typedef enum logic [1:0] {Choose, Collect, Hand} state_e;

  state_e       state_q;
  logic [W-1:0] core_q, pick;
  logic [1:0]   beat_q;
  logic         any, beat;

  sluice_rr #(.N(NumCores)) u_rr (
    .clk_i, .rst_ni, .req_i, .take_i(state_q == Choose), .any_o(any), .pick_o(pick)
  );

  assign beat        = state_q == Collect && out_valid_i[core_q] && out_kind_i[core_q] == Kind;
  assign job_valid_o = state_q == Hand;
  assign job_core_o  = CoreW'(core_q);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Choose;
      core_q  <= '0;
      beat_q  <= '0;
      gnt_o   <= '0;
    end else begin
      gnt_o <= '0;
      unique case (state_q)
        Choose: if (any) begin
          core_q  <= pick;
          gnt_o   <= NumCores'(1) << pick;
          state_q <= Collect;
        end
        Collect: if (beat) begin
          beat_q <= beat_q + 2'd1;
          if (beat_q == 2'd3) state_q <= Hand;
        end
        Hand: if (job_ready_i) state_q <= Choose;
        default: state_q <= Choose;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (beat) job_o[128*beat_q+:128] <= out_data_i[core_q];
  end

  for (genvar i = 0; i < NumCores; i++) begin : gen_check
    `SLUICE_ASSERT(BeatsOnlyWhenGranted,
                   out_valid_i[i] && out_kind_i[i] == Kind |-> state_q == Collect && core_q == W'(i))
  end
endmodule : sluice_job_collect
