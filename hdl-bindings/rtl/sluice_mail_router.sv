`include "sluice_assert.svh"

/// Fetches one message at a time from the tiles, in turn, and passes it to its destination, or refuses it when that
/// mailbox is full or does not exist. Messages between two cores stay in order.
module sluice_mail_router
  import sluice_pkg::*;
#(
  parameter int unsigned NumCores = 2
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic [NumCores-1:0] req_i,                 // tile has a message
  input  logic [CoreW-1:0]    to_i[NumCores],        // its destination
  output logic [NumCores-1:0] gnt_o,                 // pulse: send it
  output logic [NumCores-1:0] refused_o,             // or pulse: no place
  input  logic [NumCores-1:0] popped_i,              // pulse: a place in that tile's mailbox
  input  logic                out_valid_i[NumCores], // the tiles' job buses
  input  logic [1:0]          out_kind_i[NumCores],
  input  logic [127:0]        out_data_i[NumCores],
  output logic                mail_valid_o,          // a whole message
  input  logic                mail_ready_i,
  output logic [CoreW-1:0]    mail_to_o,
  output logic [255:0]        mail_o
);
  localparam int unsigned W = (NumCores > 1) ? $clog2(NumCores) : 1;
  localparam int unsigned RoomW = $clog2(MailQueue + 1);
  typedef enum logic [2:0] {Choose, Judge, Collect, Hand, Settle} state_e;

  state_e              state_q;
  logic [W-1:0]        core_q, pick, to;
  logic [CoreW-1:0]    to_q;
  logic                beat_q, any, beat, exists, place;
  logic [RoomW-1:0]    room_q[NumCores];
  logic [NumCores-1:0] taken;

  sluice_rr #(.N(NumCores)) u_rr (
    .clk_i, .rst_ni, .req_i, .take_i(state_q == Choose), .any_o(any), .pick_o(pick)
  );

  assign exists       = to_q < CoreW'(NumCores);
  assign to           = to_q[W-1:0];
  assign place        = exists && room_q[to] != '0;
  assign taken        = (state_q == Judge && place) ? NumCores'(1) << to : '0;
  assign beat         = state_q == Collect && out_valid_i[core_q] && out_kind_i[core_q] == OutMail;
  assign mail_valid_o = state_q == Hand;
  assign mail_to_o    = to_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q   <= Choose;
      core_q    <= '0;
      to_q      <= '0;
      beat_q    <= 1'b0;
      gnt_o     <= '0;
      refused_o <= '0;
      for (int i = 0; i < NumCores; i++) room_q[i] <= RoomW'(MailQueue);
    end else begin
      gnt_o     <= '0;
      refused_o <= '0;
      for (int i = 0; i < NumCores; i++) begin
        if (popped_i[i] != taken[i]) room_q[i] <= popped_i[i] ? room_q[i] + 1'b1 : room_q[i] - 1'b1;
      end
      unique case (state_q)
        Choose: if (any) begin
          core_q  <= pick;
          to_q    <= to_i[pick];
          state_q <= Judge;
        end
        Judge: begin
          if (place) gnt_o <= NumCores'(1) << core_q;
          else       refused_o <= NumCores'(1) << core_q;
          state_q <= place ? Collect : Settle;
        end
        Collect: if (beat) begin
          beat_q <= !beat_q;
          if (beat_q) state_q <= Hand;
        end
        Hand: if (mail_ready_i) state_q <= Choose;
        // The refused tile's request is still seen for a clock.
        Settle: state_q <= (refused_o == '0) ? Choose : Settle;
        default: state_q <= Choose;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (beat) mail_o[128*beat_q+:128] <= out_data_i[core_q];
  end

  for (genvar i = 0; i < NumCores; i++) begin : gen_check
    `SLUICE_ASSERT(RoomInRange, room_q[i] <= RoomW'(MailQueue))
  end
endmodule : sluice_mail_router
