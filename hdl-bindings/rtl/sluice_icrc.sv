`include "sluice_assert.svh"

/// The invariant CRC of a RoCEv2 frame, 16 bytes a clock (InfiniBand Architecture, annex A17.3.3): CRC-32 over 8 bytes of ones and
/// over everything from the IP header up to `end_i`, with ones in place of the fields that may change on the way.
///
/// Positions are those of a frame moved by two bytes, as in `sluice_rx_parse`; so the IP header starts at 16, or at 20 behind a VLAN
/// tag, and all that counts is made of whole 32-bit words. Says nothing of use for frames that are not RoCE.
module sluice_icrc
  import sluice_roce_pkg::*;
(
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         step_i,    // the next window of a frame is there
  input  logic [127:0] window_i,  // its bytes, from position 16 * beat on
  input  logic [9:0]   beat_i,    // 0 begins a frame
  input  logic         vlan_i,    // the frame has a tag; from beat 1 on
  input  logic         ip6_i,     // it is IPv6; from beat 1 on
  input  logic [16:0]  end_i,     // position behind the last byte that counts, 32 at least; from beat 2 on
  output logic [31:0]  crc_o      // the register after the window taken in the clock before
);
  // ---- stage 1: fields that may change, and words moved so that the last one that counts ends the window ----
  logic [127:0] masked, aligned_q;
  logic [1:0]   first_q;  // word of the window that the register's bits are added to
  logic         some_q, start_q, step_q;
  logic [2:0]   words;    // that count, from the window's start
  logic [16:0]  rest;

  // Bytes of the headers, from the start of the IP header, that are taken for ones.
  function automatic logic changes(input logic [6:0] at, input logic ip6);
    if (ip6) return (at >= 7'd1 && at <= 7'd3) || at == 7'd7 || at == 7'd46 || at == 7'd47 || at == 7'd52;
    return at == 7'd1 || at == 7'd8 || at == 7'd10 || at == 7'd11 || at == 7'd26 || at == 7'd27 || at == 7'd32;
  endfunction

  assign rest  = end_i - {3'b0, beat_i, 4'h0};
  assign words = (beat_i == 10'd1) ? 3'd4 : rest[16] ? 3'd0 : (rest[15:4] != '0) ? 3'd4 : {1'b0, rest[3:2]};

  always_comb begin
    masked = window_i;
    if (beat_i < 10'd5) begin
      for (int i = 0; i < 16; i++) begin
        automatic logic [6:0] at = {beat_i[2:0], 4'(i)} - (vlan_i ? 7'd20 : 7'd16);
        if (changes(at, ip6_i))        masked[8*i+:8] = 8'hFF;
        if (ip6_i && at == '0)         masked[8*i+:4] = 4'hF; // high half of the traffic class
        if (beat_i == 10'd1 && at[6])  masked[8*i+:8] = 8'h00; // before the header
      end
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) step_q <= 1'b0;
    else         step_q <= step_i;
  end
  always_ff @(posedge clk_i) begin
    if (step_i) begin
      some_q    <= beat_i != '0 && words != '0;
      start_q   <= beat_i == 10'd1;
      first_q   <= (beat_i == 10'd1) ? {1'b0, vlan_i} : 2'(3'd4 - words);
      aligned_q <= masked << {2'(3'd4 - words), 5'd0};
    end
  end

  // ---- stage 2: the register. Leading zeros leave a zero register alone ----
  logic [31:0]  crc_q;
  logic [127:0] mixed;

  always_comb begin
    mixed = aligned_q;
    mixed[32*first_q+:32] ^= start_q ? IcrcStart : crc_q;
    crc_o = some_q ? icrc_map16(mixed) : crc_q;
  end
  always_ff @(posedge clk_i) if (step_q) crc_q <= crc_o;

  logic unused;
  assign unused = ^rest[1:0];
endmodule : sluice_icrc
