// The technology primitives that Ibex asks for, in their plainest form. Clock gating is left out: FPGAs gate by enable.
// Port and parameter names are Ibex's (lowRISC IP library), hence not those of the house style.
/* verilator lint_off DECLFILENAME */

/// Passes the clock on.
module prim_clock_gating #(
  parameter bit NoFpgaGate = 1'b0,
  parameter bit FpgaBufGlobal = 1'b1
) (
  input  logic clk_i,
  input  logic en_i,
  input  logic test_en_i,
  output logic clk_o
);
  assign clk_o = clk_i;
endmodule : prim_clock_gating

/// A buffer that synthesis would keep on an ASIC.
module prim_buf #(
  parameter int Width = 1
) (
  input  logic [Width-1:0] in_i,
  output logic [Width-1:0] out_o
);
  assign out_o = in_i;
endmodule : prim_buf

/// Bitwise AND.
module prim_and2 #(
  parameter int Width = 1
) (
  input  logic [Width-1:0] in0_i,
  input  logic [Width-1:0] in1_i,
  output logic [Width-1:0] out_o
);
  assign out_o = in0_i & in1_i;
endmodule : prim_and2

/// A flop.
module prim_flop #(
  parameter int Width = 1,
  parameter logic [Width-1:0] ResetValue = '0
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic [Width-1:0] d_i,
  output logic [Width-1:0] q_o
);
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) q_o <= ResetValue;
    else         q_o <= d_i;
  end
endmodule : prim_flop

/// A clock multiplexer; used for scan only.
module prim_clock_mux2 #(
  parameter bit NoFpgaBufG = 1'b0
) (
  input  logic clk0_i,
  input  logic clk1_i,
  input  logic sel_i,
  output logic clk_o
);
  assign clk_o = sel_i ? clk1_i : clk0_i;
endmodule : prim_clock_mux2

/// The instruction cache's memory, which this build does without.
module prim_ram_1p
  import prim_ram_1p_pkg::*;
#(
  parameter int Width = 32,
  parameter int Depth = 128,
  parameter int DataBitsPerMask = 1,
  parameter MemInitFile = "",
  localparam int Aw = $clog2(Depth)
) (
  input  logic             clk_i,
  input  logic             req_i,
  input  logic             write_i,
  input  logic [Aw-1:0]    addr_i,
  input  logic [Width-1:0] wdata_i,
  input  logic [Width-1:0] wmask_i,
  output logic [Width-1:0] rdata_o,
  input  ram_1p_cfg_t      cfg_i
);
  assign rdata_o = '0;
endmodule : prim_ram_1p
