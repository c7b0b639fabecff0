`include "sluice_assert.svh"

/// Inbound side of the PCIe port, transaction level: beats of up to 16 bytes inside one row, to BAR2 (packet memory) or BAR0
/// (registers, word by word), executed in order. Read data leave in the order of the reads, without back pressure.
module sluice_pcie_in
  import sluice_pkg::*;
(
  input  logic               clk_i,
  input  logic               rst_ni,
  // port
  input  logic               valid_i,
  output logic               ready_o,
  input  logic               we_i,
  input  logic               bar2_i,        // 0: BAR0
  input  logic [PmAddrW-1:0] addr_i,        // bits 3:0 are ignored: `be_i` says which bytes are meant, for reads too
  input  logic [15:0]        be_i,
  input  logic [127:0]       wdata_i,
  output logic               rvalid_o,
  output logic [127:0]       rdata_o,
  // packet memory
  output pm_req_t            pm_req_o,
  input  pm_rsp_t            pm_rsp_i,
  // registers: request and payload stay until `reg_done_i`
  output logic               reg_req_o,
  output logic               reg_we_o,
  output logic [15:0]        reg_addr_o,
  output logic [3:0]         reg_be_o,
  output logic [31:0]        reg_wdata_o,
  input  logic               reg_done_i,
  input  logic [31:0]        reg_rdata_i,
  // a write to packet memory has been granted
  output logic               snoop_o,
  output logic [11:0]        snoop_page_o,
  output logic               cnt_read_o,
  output logic               cnt_write_o
);
  typedef struct packed {
    logic               we;
    logic               bar2;
    logic [PmAddrW-5:0] row;
    logic [15:0]        be;
    logic [127:0]       wdata;
  } beat_t;

  beat_t              beat_q;
  logic               valid_q, pm_taken, reg_taken, taken;
  logic [PmLatency:0] reading_q;               // packet-memory reads under way

  assign ready_o = !valid_q || taken;
  assign taken   = pm_taken || reg_taken;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni)      valid_q <= 1'b0;
    else if (ready_o) valid_q <= valid_i;
  end
  always_ff @(posedge clk_i) begin
    if (ready_o && valid_i) beat_q <= '{we: we_i, bar2: bar2_i, row: addr_i[PmAddrW-1:4], be: be_i, wdata: wdata_i};
  end

  // ---- BAR2 ----------------------------------------------------------------------------------------------------------------

  assign pm_taken       = valid_q && beat_q.bar2 && pm_rsp_i.gnt;
  assign pm_req_o.req   = valid_q && beat_q.bar2;
  assign pm_req_o.we    = beat_q.we;
  assign pm_req_o.row   = beat_q.row;
  assign pm_req_o.be    = beat_q.be;
  assign pm_req_o.wdata = beat_q.wdata;
  assign snoop_o        = pm_taken && beat_q.we;
  assign snoop_page_o   = beat_q.row[PmRowW-1:8];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) reading_q <= '0;
    else         reading_q <= {reading_q[PmLatency-1:0], pm_taken && !beat_q.we};
  end

  // ---- BAR0 ----------------------------------------------------------------------------------------------------------------

  // The beat's words with any byte enabled are done one after another, lowest first, once no older read is under way.
  logic [3:0]  lanes, left, lane_1hot, lanes_done_q;
  logic [1:0]  lane;
  logic [95:0] words_q;                        // lanes 0 to 2 as read
  logic        last;

  for (genvar i = 0; i < 4; i++) begin : gen_lane
    assign lanes[i] = beat_q.be[4*i+:4] != '0;
  end
  assign left        = lanes & ~lanes_done_q;
  assign lane_1hot   = left & (~left + 4'd1);
  assign lane        = {lane_1hot[3] | lane_1hot[2], lane_1hot[3] | lane_1hot[1]};
  assign last        = (left & ~lane_1hot) == '0;
  assign reg_req_o   = valid_q && !beat_q.bar2 && reading_q == '0 && left != '0;
  assign reg_we_o    = beat_q.we;
  assign reg_addr_o  = {beat_q.row[11:0], lane, 2'b00};
  assign reg_be_o    = beat_q.be[4*lane+:4];
  assign reg_wdata_o = beat_q.wdata[32*lane+:32];
  assign reg_taken   = (reg_req_o && reg_done_i && last) || (valid_q && !beat_q.bar2 && lanes == '0);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni)                     lanes_done_q <= '0;
    else if (reg_taken)              lanes_done_q <= '0;
    else if (reg_req_o && reg_done_i) lanes_done_q <= lanes_done_q | lane_1hot;
  end
  always_ff @(posedge clk_i) begin
    if (reg_req_o && reg_done_i && lane != 2'd3) words_q[32*lane+:32] <= reg_rdata_i;
  end

  logic [127:0] row;                           // words read so far, with the one that has just come
  always_comb begin
    row = {32'd0, words_q};
    row[32*lane+:32] = reg_rdata_i;
  end

  // ---- answers and counts --------------------------------------------------------------------------------------------------

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      rvalid_o    <= 1'b0;
      cnt_read_o  <= 1'b0;
      cnt_write_o <= 1'b0;
    end else begin
      rvalid_o    <= pm_rsp_i.rvalid || (reg_taken && !beat_q.we);
      cnt_read_o  <= taken && !beat_q.we;
      cnt_write_o <= taken && beat_q.we;
    end
  end
  always_ff @(posedge clk_i) begin
    if (pm_rsp_i.rvalid)            rdata_o <= pm_rsp_i.rdata;
    else if (reg_taken) rdata_o <= row;
  end

  logic unused;
  assign unused = ^addr_i[3:0];

  `SLUICE_ASSERT(MemoryOnTime, reading_q[PmLatency-1] == pm_rsp_i.rvalid)
  `SLUICE_ASSERT(SomeBytes, valid_i |-> be_i != '0)
endmodule : sluice_pcie_in
