/// Tightly coupled memory: instruction port A reads, data port B reads and writes. Data come in the clock after the request.
/// Contents survive reset. Simulators may load and inspect `mem` through the DPI functions below.
module sluice_tcm #(
  parameter int unsigned Bytes = 32'h8_0000, // power of two
  localparam int unsigned AddrW = $clog2(Bytes / 4)
) (
  input  logic             clk_i,
  input  logic             a_req_i,
  input  logic [AddrW-1:0] a_addr_i,  // words
  output logic [31:0]      a_rdata_o,
  input  logic             b_req_i,
  input  logic             b_we_i,
  input  logic [3:0]       b_be_i,
  input  logic [AddrW-1:0] b_addr_i,  // words
  input  logic [31:0]      b_wdata_i,
  output logic [31:0]      b_rdata_o
);
  (* ram_style = "ultra" *) logic [31:0] mem[Bytes/4];

  always_ff @(posedge clk_i) begin
    if (a_req_i) a_rdata_o <= mem[a_addr_i];
  end

  always_ff @(posedge clk_i) begin
    if (b_req_i) begin
      if (b_we_i) begin
        for (int unsigned i = 0; i < 4; i++) begin
          if (b_be_i[i]) mem[b_addr_i][8*i+:8] <= b_wdata_i[8*i+:8];
        end
      end else begin
        b_rdata_o <= mem[b_addr_i];
      end
    end
  end
endmodule : sluice_tcm
