`include "sluice_assert.svh"

/// Packet memory: banks interleaved by row behind a crossbar. Rules of the ports: see `sluice_pkg`.
/// A grant puts the request into its bank's input register, so grants are the order in which memory changes.
module sluice_pm
  import sluice_pkg::*;
#(
  parameter int unsigned Bytes = PmBytes // power of two
) (
  input  logic    clk_i,
  input  logic    rst_ni,
  input  pm_req_t req_i [PmPorts],
  output pm_rsp_t rsp_o [PmPorts]
);
  localparam int unsigned BankW    = $clog2(PmBanks);
  localparam int unsigned PortW    = $clog2(PmPorts);
  localparam int unsigned BankRows = Bytes / 16 / PmBanks;
  localparam int unsigned BankRowW = $clog2(BankRows);
  localparam int unsigned Fixed    = 2;              // ports 0 and 1 go before the rest, in that order
  localparam int unsigned Shared   = PmPorts - Fixed;
  localparam int unsigned SharedW  = $clog2(Shared);

  `SLUICE_ASSERT_STATIC(WholeRows, Bytes == 16 * PmBanks * BankRows && (1 << BankRowW) == BankRows)
  `SLUICE_ASSERT_STATIC(SharedIsPowerOfTwo, Shared == (1 << SharedW))
  `SLUICE_ASSERT_STATIC(Latency, PmLatency == 2)

  logic [PmBanks-1:0]              won;          // bank has a winner
  logic [PmBanks-1:0][PortW-1:0]   winner;
  logic [PmBanks-1:0][SharedW-1:0] next_q;       // shared port that is asked first
  logic [PmPorts-1:0]              gnt;

  always_comb begin
    won    = '0;
    winner = '0;
    gnt    = '0;
    for (int b = 0; b < PmBanks; b++) begin
      for (int k = Shared - 1; k >= 0; k--) begin
        automatic logic [SharedW-1:0] shared = next_q[b] + SharedW'(k);
        automatic logic [PortW-1:0]   port   = PortW'(Fixed) + PortW'(shared);
        if (req_i[port].req && req_i[port].row[BankW-1:0] == BankW'(b)) begin
          won[b]    = 1'b1;
          winner[b] = port;
        end
      end
      for (int p = Fixed - 1; p >= 0; p--) begin
        if (req_i[p].req && req_i[p].row[BankW-1:0] == BankW'(b)) begin
          won[b]    = 1'b1;
          winner[b] = PortW'(p);
        end
      end
      if (won[b]) gnt[winner[b]] = 1'b1;
    end
  end

  // Bank inputs, and where each port's read is on its way.
  logic [PmBanks-1:0]               bank_en_q;
  pm_req_t                          bank_req_q [PmBanks];
  logic [PmBanks-1:0][127:0]        bank_rdata;
  logic [PmPorts-1:0]               read1_q, read2_q;
  logic [PmPorts-1:0][BankW-1:0]    bank1_q, bank2_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      next_q    <= '0;
      bank_en_q <= '0;
      read1_q   <= '0;
      read2_q   <= '0;
    end else begin
      bank_en_q <= won;
      for (int b = 0; b < PmBanks; b++) begin
        if (won[b] && winner[b] >= PortW'(Fixed)) next_q[b] <= SharedW'(winner[b] - PortW'(Fixed)) + 1'b1;
      end
      for (int p = 0; p < PmPorts; p++) read1_q[p] <= gnt[p] && !req_i[p].we;
      read2_q <= read1_q;
    end
  end

  always_ff @(posedge clk_i) begin
    for (int b = 0; b < PmBanks; b++) if (won[b]) bank_req_q[b] <= req_i[winner[b]];
    for (int p = 0; p < PmPorts; p++) bank1_q[p] <= req_i[p].row[BankW-1:0];
    bank2_q <= bank1_q;
  end

  for (genvar b = 0; b < PmBanks; b++) begin : gen_bank
    sluice_pm_bank #(.Rows(BankRows)) u_bank (
      .clk_i,
      .en_i   (bank_en_q[b]),
      .we_i   (bank_req_q[b].we),
      .row_i  (bank_req_q[b].row[BankW+:BankRowW]),
      .be_i   (bank_req_q[b].be),
      .wdata_i(bank_req_q[b].wdata),
      .rdata_o(bank_rdata[b])
    );
    logic unused_req;
    assign unused_req = ^{bank_req_q[b].req, bank_req_q[b].row};
  end

  for (genvar p = 0; p < PmPorts; p++) begin : gen_port
    assign rsp_o[p] = '{gnt: gnt[p], rvalid: read2_q[p], rdata: bank_rdata[bank2_q[p]]};

    // A client's own reset may take its request away, nothing may change it.
    `SLUICE_ASSERT(RequestHeld, req_i[p].req && !gnt[p] |=> !req_i[p].req || $stable(req_i[p]))
  end
endmodule : sluice_pm
