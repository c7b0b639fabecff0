`include "sluice_assert.svh"

/// A core's way to packet memory and the card: requests go out in order, stores are posted, one load waits at a time.
///
/// A load from packet memory brings its whole 16-byte row. Bytes of that row not yet given to the core are served from here
/// in one clock, each once: reading a structure word by word costs one trip per row, and polling a word still goes to
/// memory every time. The row is forgotten after RowClocks, with any access other than a packet-memory load, and when the
/// core sleeps, so a value from here is never older than what an out-of-order load could have returned.
module sluice_core_bus
  import sluice_pkg::*;
#(
  parameter int unsigned RowClocks = 64
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic [31:0]        clocks_i,      // free-running
  // core
  input  logic               req_i,
  input  bus_class_e         class_i,
  input  logic               we_i,
  input  logic [3:0]         be_i,
  input  logic [PmAddrW-1:0] addr_i,        // bytes
  input  logic [31:0]        wdata_i,
  output logic               gnt_o,
  output logic               rvalid_o,
  output logic [31:0]        rdata_o,
  input  logic               forget_i,      // drop the row
  // for jobs that must not overtake stores
  output logic [7:0]         sent_o,        // requests sent, wrapping
  output logic [7:0]         reached_o,     // requests done, wrapping
  // uncore
  output logic               bus_valid_o,
  output logic [1:0]         bus_class_o,   // bus_class_e
  output logic               bus_we_o,
  output logic [3:0]         bus_be_o,
  output logic [PmAddrW-1:0] bus_addr_o,
  output logic [31:0]        bus_wdata_o,
  input  logic               bus_done_i,    // the oldest request is done; for a store: it reached its target
  input  logic               load_valid_i,  // answer to the load
  input  logic [127:0]       load_data_i    // its row; a register is in bits 31:0
);
  logic [7:0]        sent_q, reached_q;
  logic              loading_q, arrived_q, fast_q;
  logic              to_pm_q;                // the load under way goes to packet memory
  logic [1:0]        lane_q;
  logic [PmRowW-1:0] row_addr_q;
  logic [31:0]       row_q[4];
  logic [15:0]       used_q, wanted;
  logic              row_valid_q, row_fresh, hit, room, send;
  logic [31:0]       row_time_q;

  assign sent_o    = sent_q;
  assign reached_o = reached_q;

  assign wanted    = 16'(be_i) << {addr_i[3:2], 2'b00};
  assign row_fresh = clocks_i - row_time_q < RowClocks;
  assign hit       = req_i && !we_i && class_i == BusPm && row_valid_q && row_fresh
                     && addr_i[PmAddrW-1:4] == row_addr_q && (wanted & used_q) == '0;
  assign room      = sent_q - reached_q < 8'(BusDepth) && !(loading_q && !arrived_q);
  assign gnt_o     = hit || room;
  assign send      = req_i && room && !hit;

  assign rvalid_o  = fast_q || arrived_q;
  assign rdata_o   = row_q[lane_q];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      sent_q      <= '0;
      reached_q   <= '0;
      loading_q   <= 1'b0;
      arrived_q   <= 1'b0;
      fast_q      <= 1'b0;
      row_valid_q <= 1'b0;
      bus_valid_o <= 1'b0;
    end else begin
      bus_valid_o <= send;
      fast_q      <= hit || (send && we_i);
      arrived_q   <= load_valid_i;
      if (send) sent_q <= sent_q + 8'd1;
      if (bus_done_i) reached_q <= reached_q + 8'd1;
      if (send && !we_i) loading_q <= 1'b1;
      else if (arrived_q) loading_q <= 1'b0;
      if (forget_i || send) row_valid_q <= 1'b0;
      else if (load_valid_i) row_valid_q <= to_pm_q;
      else if (!row_fresh) row_valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (send) begin
      bus_class_o <= class_i;
      bus_we_o    <= we_i;
      bus_be_o    <= be_i;
      bus_addr_o  <= addr_i;
      bus_wdata_o <= wdata_i;
    end
    if (send && !we_i) begin
      to_pm_q    <= class_i == BusPm;
      lane_q     <= (class_i == BusPm) ? addr_i[3:2] : 2'd0;
      row_addr_q <= addr_i[PmAddrW-1:4];
      used_q     <= wanted;
      row_time_q <= clocks_i;
    end else if (hit) begin
      lane_q <= addr_i[3:2];
      used_q <= used_q | wanted;
    end
    if (load_valid_i) begin
      for (int i = 0; i < 4; i++) row_q[i] <= load_data_i[32*i+:32];
    end
  end

  `SLUICE_ASSERT(AnswerOnlyWhenAsked, load_valid_i |-> loading_q && !arrived_q)
  `SLUICE_ASSERT(DoneOnlyWhenSent, bus_done_i |-> sent_q != reached_q)
endmodule : sluice_core_bus
