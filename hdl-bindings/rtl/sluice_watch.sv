/// Watches on the sleeping tiles' behalf: wake-up times, watchdogs, writes from PCIe into ranges of packet memory.
/// Also keeps the card's time. Each tile's timers are looked at every 32 clocks.
module sluice_watch
  import sluice_pkg::*;
#(
  parameter int unsigned NumCores = 2,
  parameter int unsigned ClocksPerUs = 250
) (
  input  logic                clk_i,
  input  logic                rst_ni,                  // the card's, for time
  input  logic                run_ni,                  // the run domain's, for the rest
  input  logic                time_live_i,             // time comes from outside
  input  logic [63:0]         time_us_i,
  output logic [63:0]         clocks_o,                // since power-on
  output logic [63:0]         time_us_o,               // never goes back
  input  logic                wake_on_i[NumCores],
  input  logic [31:0]         wake_at_i[NumCores],
  output logic                wake_o[NumCores],
  input  logic                watchdog_on_i[NumCores],
  input  logic [31:0]         watchdog_at_i[NumCores],
  output logic [31:0]         expired_o,               // levels, bit = core
  input  logic                snoop_i,                 // a write from PCIe has reached packet memory
  input  logic [11:0]         snoop_page_i,
  input  logic [11:0]         snoop_first_i[NumCores],
  input  logic [11:0]         snoop_end_i[NumCores],
  output logic                snooped_o[NumCores]
);
  localparam int unsigned PreW = $clog2(ClocksPerUs);

  logic [PreW-1:0]  pre_q;
  logic [CoreW-1:0] scan;
  logic             snoop_q;
  logic [11:0]      snoop_page_q;

  assign scan = clocks_o[CoreW-1:0];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      clocks_o  <= '0;
      pre_q     <= '0;
      time_us_o <= '0;
    end else begin
      clocks_o <= clocks_o + 64'd1;
      pre_q    <= (pre_q == PreW'(ClocksPerUs - 1)) ? '0 : pre_q + 1'b1;
      if (time_live_i) begin
        if (time_us_i > time_us_o) time_us_o <= time_us_i;
      end else if (pre_q == PreW'(ClocksPerUs - 1)) begin
        time_us_o <= time_us_o + 64'd1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    snoop_q <= snoop_i;
    if (snoop_i) snoop_page_q <= snoop_page_i;
  end

  // At or after, for times that wrap.
  function automatic logic reached(input logic [31:0] now, input logic [31:0] at);
    return now - at < 32'h8000_0000;
  endfunction

  for (genvar i = 0; i < NumCores; i++) begin : gen_tile
    always_ff @(posedge clk_i or negedge run_ni) begin
      if (!run_ni) begin
        wake_o[i]    <= 1'b0;
        snooped_o[i] <= 1'b0;
        expired_o[i] <= 1'b0;
      end else begin
        wake_o[i] <= scan == CoreW'(i) && wake_on_i[i] && reached(time_us_o[31:0], wake_at_i[i]);
        if (scan == CoreW'(i)) expired_o[i] <= watchdog_on_i[i] && reached(clocks_o[31:0], watchdog_at_i[i]);
        snooped_o[i] <= snoop_q && snoop_page_q >= snoop_first_i[i] && snoop_page_q < snoop_end_i[i];
      end
    end
  end
  assign expired_o[31:NumCores] = '0;
endmodule : sluice_watch
