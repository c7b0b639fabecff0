/// What a core may wait for: levels of its queues and sticky events, and the interrupt that ends its sleep.
/// Order of bits: EVENTS in core.rdl.
module sluice_core_events (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic [2:0] level_i,  // rx, moved, mail
  input  logic [3:0] set_i,    // timer, sent, host, snooped: pulses
  input  logic [3:0] clear_i,
  input  logic       mask_write_i,
  input  logic [6:0] mask_i,
  output logic [6:0] mask_o,
  output logic [6:0] events_o,
  output logic       irq_o     // level
);
  logic [3:0] sticky_q;
  logic [6:0] mask_q;

  assign events_o = {sticky_q, level_i};
  assign mask_o   = mask_q;
  assign irq_o    = (events_o & mask_q) != '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      sticky_q <= '0;
      mask_q   <= '0;
    end else begin
      sticky_q <= (sticky_q & ~clear_i) | set_i;
      if (mask_write_i) mask_q <= mask_i;
    end
  end
endmodule : sluice_core_events
