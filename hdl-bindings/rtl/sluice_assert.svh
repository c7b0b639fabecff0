// Assertions that fire under Verilator when it is run with --assert, and vanish for synthesis.
// Name, property. A failing property prints the module path and stops the simulation.
`ifndef SLUICE_ASSERT_SVH
`define SLUICE_ASSERT_SVH

`ifdef SYNTHESIS
  `define SLUICE_ASSERT(name, prop, clk = clk_i, rst_n = rst_ni)
  `define SLUICE_ASSERT_STATIC(name, expr)
`else
  // Checked at every rising clock edge outside reset.
  `define SLUICE_ASSERT(name, prop, clk = clk_i, rst_n = rst_ni) \
    name: assert property (@(posedge clk) disable iff (!(rst_n)) (prop)) \
      else $fatal(1, "%m: assertion %s failed", `"name`");
  // Checked once, at the start: parameters.
  `define SLUICE_ASSERT_STATIC(name, expr) \
    initial begin : name \
      if (!(expr)) $fatal(1, "%m: parameter check failed"); \
    end
`endif

`endif
