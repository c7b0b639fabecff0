`include "sluice_assert.svh"

/// The delivery bus: receive descriptors, messages and move completions go to the tiles in bursts of 16-byte beats.
/// Keeps count of the places in the descriptor queues.
module sluice_deliver
  import sluice_pkg::*;
#(
  parameter int unsigned NumCores = 2
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                desc_valid_i,
  output logic                desc_ready_o,
  input  logic [CoreW-1:0]    desc_core_i,
  input  rx_desc_t            desc_i,
  output logic [NumCores-1:0] desc_room_o,           // there is a place
  output logic [NumCores-1:0] desc_lag_o,            // RxMerge or more wait
  input  logic [NumCores-1:0] rx_popped_i,           // pulse: one more place
  input  logic                mail_valid_i,
  output logic                mail_ready_o,
  input  logic [CoreW-1:0]    mail_to_i,
  input  logic [255:0]        mail_i,
  input  logic                done_valid_i,
  output logic                done_ready_o,
  input  logic [CoreW-1:0]    done_core_i,
  input  move_done_t          done_i,
  output logic                in_valid_o[NumCores],
  output logic [1:0]          in_kind_o,             // in_kind_e; with in_data_o common to all tiles
  output logic [127:0]        in_data_o
);
  localparam int unsigned RoomW = $clog2(RxQueue + 1);

  in_kind_e            kind_q, kind;       // of the burst under way
  logic [1:0]          beat_q;
  logic                busy_q, active, last;
  logic [CoreW-1:0]    core;
  logic [127:0]        data;
  logic [RoomW-1:0]    room_q[NumCores];
  logic [NumCores-1:0] taken;

  always_comb begin
    kind = kind_q;
    if (!busy_q) kind = done_valid_i ? InMove : mail_valid_i ? InMail : InRx;
    active = busy_q || done_valid_i || mail_valid_i || desc_valid_i;
    unique case (kind)
      InMove: begin
        core = done_core_i;
        data = {64'd0, done_i.crc, 15'd0, done_i.ok, done_i.tag};
        last = 1'b1;
      end
      InMail: begin
        core = mail_to_i;
        data = mail_i[128*beat_q[0]+:128];
        last = beat_q == 2'd1;
      end
      default: begin
        core = desc_core_i;
        data = desc_i[128*beat_q+:128];
        last = beat_q == 2'd3;
      end
    endcase
  end

  assign done_ready_o = active && last && kind == InMove;
  assign mail_ready_o = active && last && kind == InMail;
  assign desc_ready_o = active && last && kind == InRx;
  assign taken        = desc_ready_o ? NumCores'(1) << core : '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      kind_q <= InRx;
      beat_q <= '0;
      for (int i = 0; i < NumCores; i++) room_q[i] <= RoomW'(RxQueue);
    end else begin
      busy_q <= active && !last;
      kind_q <= kind;
      if (active) beat_q <= last ? 2'd0 : beat_q + 2'd1;
      for (int i = 0; i < NumCores; i++) begin
        if (rx_popped_i[i] != taken[i]) room_q[i] <= rx_popped_i[i] ? room_q[i] + 1'b1 : room_q[i] - 1'b1;
      end
    end
  end

  for (genvar i = 0; i < NumCores; i++) begin : gen_tile
    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) in_valid_o[i] <= 1'b0;
      else         in_valid_o[i] <= active && core == CoreW'(i);
    end
    assign desc_room_o[i] = room_q[i] != '0;
    assign desc_lag_o[i]  = room_q[i] <= RoomW'(RxQueue - RxMerge);
    `SLUICE_ASSERT(RoomInRange, room_q[i] <= RoomW'(RxQueue) && (!taken[i] || room_q[i] != '0))
  end
  always_ff @(posedge clk_i) begin
    if (active) begin
      in_kind_o <= kind;
      in_data_o <= data;
    end
  end
endmodule : sluice_deliver
