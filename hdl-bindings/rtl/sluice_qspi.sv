`include "sluice_assert.svh"

/// Serial flash: transfers of up to 256 bytes between a buffer and the chip, one or four bits a clock (SPI mode 0). Commands and
/// addresses are bytes like any others; a transfer with `hold_i` leaves the chip selected for the next one.
module sluice_qspi (
  input  logic        clk_i,
  input  logic        rst_ni,
  // one transfer; all constant from `start_i` until `busy_o` is low again
  input  logic        start_i,     // pulse
  input  logic [8:0]  count_i,     // bytes; 0: the chip is deselected
  input  logic        send_i,
  input  logic        receive_i,
  input  logic        quad_i,
  input  logic        hold_i,
  input  logic [7:0]  divider_i,   // a half of the clock takes one more
  output logic        busy_o,
  // buffer, word addressed; reads answer in the same clock
  input  logic        write_i,
  input  logic [5:0]  word_i,
  input  logic [31:0] wdata_i,
  output logic [31:0] rdata_o,
  // chip
  output logic        sck_o,
  output logic        cs_no,
  output logic [3:0]  io_o,
  output logic [3:0]  io_oe_o,
  input  logic [3:0]  io_i
);
  /// Clocks that the chip is deselected between two commands: 64 ns, where common parts want 50.
  localparam int unsigned DeselectClocks = 16;

  typedef enum logic [1:0] {
    Idle,
    Shift,
    Last,     // the last byte is stored
    Deselect
  } state_e;

  state_e      state_d, state_q;
  logic [8:0]  at_d, at_q;         // byte
  logic [2:0]  bit_d, bit_q;       // clocks of the byte that are left
  logic [7:0]  out_d, out_q, in_d, in_q;
  logic [7:0]  wait_d, wait_q;
  logic        sck_d, sck_q, cs_n_d, cs_n_q, byte_done;
  logic [31:0] buffer[64];
  logic [7:0]  first_byte, next_byte;
  logic [7:0]  next_at;

  assign busy_o  = state_q != Idle;
  assign sck_o   = sck_q;
  assign cs_no   = cs_n_q;
  assign rdata_o = buffer[word_i];

  // Mode 0: the chip samples at the rising edge, both sides change at the falling one. What is received is taken at the end of
  // the high half, which gives the chip a whole clock.
  assign next_at    = at_q[7:0] + 8'd1;
  assign first_byte = buffer[0][7:0];
  assign next_byte  = buffer[next_at[7:2]][8*next_at[1:0]+:8];

  always_comb begin
    io_o    = {3'b110, out_q[7]};    // WP# and HOLD# are inactive
    io_oe_o = 4'b1101;
    if (quad_i && state_q == Shift) begin
      io_o    = out_q[7:4];
      io_oe_o = {4{!receive_i}};
    end
  end

  always_comb begin
    state_d   = state_q;
    at_d      = at_q;
    bit_d     = bit_q;
    out_d     = out_q;
    in_d      = in_q;
    wait_d    = (wait_q == '0) ? '0 : wait_q - 8'd1;
    sck_d     = sck_q;
    cs_n_d    = cs_n_q;
    byte_done = 1'b0;
    unique case (state_q)
      Idle: begin
        if (start_i && count_i == '0) begin
          state_d = Deselect;
          cs_n_d  = 1'b1;
          wait_d  = 8'(DeselectClocks);
        end else if (start_i) begin
          state_d = Shift;
          cs_n_d  = 1'b0;
          at_d    = '0;
          bit_d   = quad_i ? 3'd1 : 3'd7;
          out_d   = send_i ? first_byte : 8'hFF;
          wait_d  = divider_i;
        end
      end
      Shift: begin
        if (wait_q == '0) begin
          wait_d = divider_i;
          sck_d  = !sck_q;
          if (sck_q) begin
            in_d  = quad_i ? {in_q[3:0], io_i} : {in_q[6:0], io_i[1]};
            out_d = quad_i ? {out_q[3:0], 4'hF} : {out_q[6:0], 1'b1};
            bit_d = bit_q - 3'd1;
            if (bit_q == '0) begin
              byte_done = 1'b1;
              at_d      = at_q + 9'd1;
              bit_d     = quad_i ? 3'd1 : 3'd7;
              out_d     = send_i ? next_byte : 8'hFF;
              if (at_q + 9'd1 == count_i) state_d = Last;
            end
          end
        end
      end
      Last: begin
        if (hold_i) begin
          state_d = Idle;
        end else if (wait_q == '0) begin
          state_d = Deselect;
          cs_n_d  = 1'b1;
          wait_d  = 8'(DeselectClocks);
        end
      end
      default: begin
        if (wait_q == '0) state_d = Idle;
      end
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Idle;
      at_q    <= '0;
      bit_q   <= '0;
      out_q   <= '1;
      in_q    <= '0;
      wait_q  <= '0;
      sck_q   <= 1'b0;
      cs_n_q  <= 1'b1;
    end else begin
      state_q <= state_d;
      at_q    <= at_d;
      bit_q   <= bit_d;
      out_q   <= out_d;
      in_q    <= in_d;
      wait_q  <= wait_d;
      sck_q   <= sck_d;
      cs_n_q  <= cs_n_d;
    end
  end

  always_ff @(posedge clk_i) begin
    if (byte_done && receive_i) buffer[at_q[7:2]][8*at_q[1:0]+:8] <= in_d;
    else if (write_i) buffer[word_i] <= wdata_i;
  end


  `SLUICE_ASSERT(CountInRange, start_i |-> count_i <= 9'd256)
  `SLUICE_ASSERT(OneWayInQuad, start_i && quad_i |-> !(send_i && receive_i))
  `SLUICE_ASSERT(ClockOnlyWhenSelected, sck_o |-> !cs_no)
endmodule : sluice_qspi
