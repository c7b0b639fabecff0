`include "sluice_assert.svh"

/// Brings the tiles' bus requests to their targets: packet memory at one a clock, everything else ("the side") one at a
/// time. Each tile's requests stay in order: the next is looked at when the last was granted, or answered by the side.
module sluice_core_mux
  import sluice_pkg::*;
#(
  parameter int unsigned NumCores = 2
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  // tiles
  input  logic               bus_valid_i[NumCores],
  input  logic [1:0]         bus_class_i[NumCores],
  input  logic               bus_we_i[NumCores],
  input  logic [3:0]         bus_be_i[NumCores],
  input  logic [PmAddrW-1:0] bus_addr_i[NumCores],
  input  logic [31:0]        bus_wdata_i[NumCores],
  output logic               bus_done_o[NumCores],
  output logic               bus_rvalid_o[NumCores],
  output logic [127:0]       bus_rdata_o,            // of the tile whose rvalid is high
  // packet memory
  output pm_req_t            pm_req_o,
  input  pm_rsp_t            pm_rsp_i,
  // the side: request and payload stay until `side_done_i`
  output logic               side_req_o,
  output bus_class_e         side_class_o,
  output logic               side_we_o,
  output logic [15:0]        side_addr_o,
  output logic [31:0]        side_wdata_o,
  input  logic               side_done_i,
  input  logic [31:0]        side_rdata_i            // with side_done_i
);
  localparam int unsigned W = (NumCores > 1) ? $clog2(NumCores) : 1;

  bus_class_e          head_class[NumCores];
  logic                head_we[NumCores];
  logic [3:0]          head_be[NumCores];
  logic [PmAddrW-1:0]  head_addr[NumCores];
  logic [31:0]         head_wdata[NumCores];
  logic [NumCores-1:0] head_valid, to_pm, to_side, pop;

  for (genvar i = 0; i < NumCores; i++) begin : gen_queue
    sluice_bus_queue u_queue (
      .clk_i, .rst_ni, .valid_i(bus_valid_i[i]), .class_i(bus_class_i[i]), .we_i(bus_we_i[i]), .be_i(bus_be_i[i]),
      .addr_i(bus_addr_i[i]), .wdata_i(bus_wdata_i[i]),
      .valid_o(head_valid[i]), .class_o(head_class[i]), .we_o(head_we[i]), .be_o(head_be[i]), .addr_o(head_addr[i]),
      .wdata_o(head_wdata[i]), .pop_i(pop[i])
    );
    assign to_pm[i]   = head_valid[i] && head_class[i] == BusPm;
    assign to_side[i] = head_valid[i] && head_class[i] != BusPm;
  end

  // ---- packet memory -------------------------------------------------------------------------------------------------------

  logic         pm_any, pm_locked_q;  // locked: asked for in vain, so the choice stays
  logic [W-1:0] pm_pick, pm_pick_q, pm_core;
  logic         pm_gnt;

  sluice_rr #(.N(NumCores)) u_pm_rr (
    .clk_i, .rst_ni, .req_i(to_pm), .take_i(!pm_locked_q), .any_o(pm_any), .pick_o(pm_pick)
  );
  assign pm_core = pm_locked_q ? pm_pick_q : pm_pick;
  assign pm_gnt  = pm_any && pm_rsp_i.gnt;

  always_comb begin
    pm_req_o       = '0;
    pm_req_o.req   = pm_any;
    pm_req_o.we    = head_we[pm_core];
    pm_req_o.row   = head_addr[pm_core][PmAddrW-1:4];
    pm_req_o.be    = 16'(head_be[pm_core]) << {head_addr[pm_core][3:2], 2'b00};
    pm_req_o.wdata = {4{head_wdata[pm_core]}};
  end

  // Whose data come back: a read granted now answers PmLatency clocks later.
  logic [PmLatency-1:0]        reading_q;
  logic [PmLatency-1:0][W-1:0] reader_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      pm_locked_q <= 1'b0;
      pm_pick_q   <= '0;
      reading_q   <= '0;
      reader_q    <= '0;
    end else begin
      pm_locked_q <= pm_any && !pm_rsp_i.gnt;
      pm_pick_q   <= pm_core;
      reading_q   <= {reading_q[PmLatency-2:0], pm_gnt && !pm_req_o.we};
      reader_q    <= {reader_q[PmLatency-2:0], pm_core};
    end
  end

  // ---- the side ------------------------------------------------------------------------------------------------------------

  logic         side_any, side_busy_q;
  logic [W-1:0] side_pick, side_core_q;
  logic         side_answer;           // takes the read-data bus, which packet memory has first
  logic         held_q;                // the answer waits for the read-data bus
  logic [31:0]  held_rdata_q;

  sluice_rr #(.N(NumCores)) u_side_rr (
    .clk_i, .rst_ni, .req_i(to_side), .take_i(!side_busy_q), .any_o(side_any), .pick_o(side_pick)
  );
  assign side_req_o   = side_busy_q && !held_q;
  assign side_class_o = head_class[side_core_q];
  assign side_we_o    = head_we[side_core_q];
  assign side_addr_o  = head_addr[side_core_q][15:0];
  assign side_wdata_o = head_wdata[side_core_q];

  assign side_answer = (side_done_i || held_q) && !(reading_q[PmLatency-1] && !side_we_o);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      side_busy_q <= 1'b0;
      side_core_q <= '0;
      held_q      <= 1'b0;
    end else if (side_busy_q) begin
      held_q <= (side_done_i || held_q) && !side_answer;
      if (side_answer) side_busy_q <= 1'b0;
    end else begin
      side_busy_q <= side_any;
      side_core_q <= side_pick;
    end
  end
  always_ff @(posedge clk_i) begin
    if (side_done_i) held_rdata_q <= side_rdata_i;
  end

  // ---- back to the tiles ---------------------------------------------------------------------------------------------------

  always_comb begin
    pop = '0;
    if (pm_gnt) pop[pm_core] = 1'b1;
    if (side_answer) pop[side_core_q] = 1'b1;
  end

  for (genvar i = 0; i < NumCores; i++) begin : gen_answer
    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) begin
        bus_done_o[i]   <= 1'b0;
        bus_rvalid_o[i] <= 1'b0;
      end else begin
        bus_done_o[i]   <= pop[i];
        bus_rvalid_o[i] <= (reading_q[PmLatency-1] && reader_q[PmLatency-1] == W'(i))
                           || (side_answer && !side_we_o && side_core_q == W'(i));
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (reading_q[PmLatency-1]) bus_rdata_o <= pm_rsp_i.rdata;
    else if (side_answer)       bus_rdata_o <= 128'(held_q ? held_rdata_q : side_rdata_i);
  end

  `SLUICE_ASSERT(MemoryOnTime, reading_q[PmLatency-1] == pm_rsp_i.rvalid)
  `SLUICE_ASSERT(DoneOnlyWhenAsked, side_done_i |-> side_req_o)
endmodule : sluice_core_mux
