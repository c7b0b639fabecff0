`include "sluice_assert.svh"

/// Holds and starts the cores. As long as `boot_i` is set, core 0 alone runs the boot program, which is copied from the ROM to the
/// end of its memory first. Before and after it all cores are held for a moment, so that whatever runs next begins from reset.
module sluice_boot #(
  parameter int unsigned TcmBytes = 32'h8_0000,
  parameter int unsigned RomBytes = 32'h1_0000,
  localparam int unsigned RomAddrW = $clog2(RomBytes / 4)
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                run_i,        // CTRL.run
  input  logic                boot_i,       // CTRL.boot
  output logic                run_o,        // all cores run
  output logic                boot_o,       // core 0 runs the boot program
  // ROM: data one clock after the address
  output logic [RomAddrW-1:0] rom_addr_o,
  input  logic [31:0]         rom_data_i,
  // writes to the memory of core 0
  output logic                copy_o,
  output logic [19:2]         copy_addr_o,
  output logic [31:0]         copy_data_o
);
  /// Clocks between two programs: what the first one had under way is over.
  localparam int unsigned HeldClocks = 64;
  localparam logic [19:2] RomBase = 18'((TcmBytes - RomBytes) / 4);

  typedef enum logic [1:0] {
    Idle,
    Copy,
    Boot,
    Held
  } state_e;

  state_e            state_d, state_q;
  logic [RomAddrW:0] at_d, at_q;
  logic              valid_q;
  logic [RomAddrW-1:0] copied_q;

  assign run_o       = state_q == Idle && run_i && !boot_i;
  assign boot_o      = state_q == Boot && boot_i;
  assign rom_addr_o  = at_q[RomAddrW-1:0];
  assign copy_o      = valid_q;
  assign copy_addr_o = RomBase + 18'(copied_q);
  assign copy_data_o = rom_data_i;

  always_comb begin
    state_d = state_q;
    at_d    = '0;
    unique case (state_q)
      Idle: if (boot_i) state_d = Held;
      Copy: begin
        at_d = at_q + (RomAddrW + 1)'(1);
        if (at_q == (RomAddrW + 1)'(RomBytes / 4 + 1)) state_d = Boot;
        if (!boot_i) state_d = Held;
      end
      Boot: if (!boot_i) state_d = Held;
      default: begin
        at_d = at_q + (RomAddrW + 1)'(1);
        if (at_q == (RomAddrW + 1)'(HeldClocks)) state_d = boot_i ? Copy : Idle;
      end
    endcase
    if (state_d != state_q) at_d = '0;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q  <= Idle;
      at_q     <= '0;
      valid_q  <= 1'b0;
      copied_q <= '0;
    end else begin
      state_q  <= state_d;
      at_q     <= at_d;
      valid_q  <= state_q == Copy && !at_q[RomAddrW];
      copied_q <= at_q[RomAddrW-1:0];
    end
  end

  `SLUICE_ASSERT(OneProgram, !(run_o && boot_o))
  `SLUICE_ASSERT(CopiedWhileHeld, copy_o |-> !run_o && !boot_o)
endmodule : sluice_boot
