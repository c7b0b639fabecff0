/// One bank of packet memory: single port, byte enables, registered output; infers UltraRAM.
module sluice_pm_bank #(
  parameter int unsigned Rows = 1024, // of 16 bytes, power of two
  localparam int unsigned RowW = $clog2(Rows)
) (
  input  logic            clk_i,
  input  logic            en_i,
  input  logic            we_i,
  input  logic [RowW-1:0] row_i,
  input  logic [15:0]     be_i,
  input  logic [127:0]    wdata_i,
  output logic [127:0]    rdata_o  // of the last read
);
  // Public for the simulator's backdoor (load, peek, poke without clocks).
  (* ram_style = "ultra" *) logic [127:0] mem_q [Rows] /*verilator public_flat_rw*/;

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      if (we_i) begin
        for (int i = 0; i < 16; i++) if (be_i[i]) mem_q[row_i][8*i+:8] <= wdata_i[8*i+:8];
      end else begin
        rdata_o <= mem_q[row_i];
      end
    end
  end
endmodule : sluice_pm_bank
