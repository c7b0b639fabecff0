/// Collects header fields and checksums of frames as their beats pass, one beat a clock.
///
/// All positions here are moved by two bytes (q = frame position + 2), as frames lie in their buffers: then the IP header starts
/// at 16, or at 20 behind a VLAN tag, and every header is made of whole 32-bit words.
module sluice_rx_parse
  import sluice_pkg::*;
  import sluice_sum_pkg::*;
  import sluice_rx_pkg::*;
(
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic [47:0]  cfg_mac_i,
  input  logic         beat_valid_i,
  input  logic [127:0] beat_data_i,   // bytes beyond count are zero
  input  logic [4:0]   beat_count_i,
  input  logic         beat_last_i,
  input  logic         beat_kill_i,
  input  logic [9:0]   beat_words_i,
  output logic         facts_valid_o,
  output facts_t       facts_o
);
  localparam logic [9:0] BeatMax = 10'd1022; // 14 bits hold the length of a frame this long

  // ---- stage 1: the window of this beat ----
  logic [9:0]       beat_q;
  logic [15:0]      carry_q;      // last two bytes of the beat before
  logic [127:0]     window;
  logic [3:0][31:0] word;
  logic [15:0]      type_outer, type_now;
  logic             vlan_q, ip4, ip6, ip4_q, ip6_q, mac_ok_q;
  logic [15:0]      type_q;
  logic [31:0]      first_q;
  logic [9:0][31:0] l3_q;
  logic [9:0][31:0] l4_q;
  logic [3:0]       l3_words_q;
  logic [16:0]      end_q;        // q position behind the IP payload
  logic [6:0]       at_l3, at_l4; // q positions of the headers

  assign window = {beat_data_i[111:0], carry_q};
  always_comb begin
    for (int j = 0; j < 4; j++) word[j] = swap(window[32*j+:32]);
  end

  function automatic logic [31:0] swap(input logic [31:0] value);
    return {value[7:0], value[15:8], value[23:16], value[31:24]};
  endfunction

  assign type_outer = {beat_data_i[103:96], beat_data_i[111:104]};
  assign type_now   = vlan_q ? word[0][15:0] : type_q; // in beat 1
  assign ip4        = (beat_q == 10'd1) ? type_now == 16'h0800 : ip4_q;
  assign ip6        = (beat_q == 10'd1) ? type_now == 16'h86DD : ip6_q;
  assign at_l3      = vlan_q ? 7'd20 : 7'd16;
  assign at_l4      = at_l3 + {1'b0, l3_words_q, 2'b00}; // from beat 2 on

  // IP header words at fixed places: word k is number 4 + k of the frame, one later behind a tag.
  // Of the first two, in beat 1: header length, and length fields.
  logic [3:0]  ihl;
  logic [15:0] ip4_len, ip6_len;
  assign ihl     = ip6 ? 4'd10 : word[vlan_q ? 1 : 0][27:24];
  assign ip4_len = word[vlan_q ? 1 : 0][15:0];
  assign ip6_len = word[vlan_q ? 2 : 1][31:16];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      beat_q <= '0;
      vlan_q <= 1'b0;
      ip4_q  <= 1'b0;
      ip6_q  <= 1'b0;
    end else if (beat_valid_i) begin
      beat_q <= beat_last_i ? '0 : (beat_q == BeatMax) ? BeatMax : beat_q + 1'b1;
      if (beat_q == '0) vlan_q <= type_outer == 16'h8100;
      ip4_q <= beat_q != '0 && ip4;
      ip6_q <= beat_q != '0 && ip6;
    end
  end

  always_ff @(posedge clk_i) begin
    if (beat_valid_i) begin
      carry_q <= beat_last_i ? '0 : beat_data_i[127:112];
      if (beat_q == '0) begin
        mac_ok_q <= beat_data_i[0] || {swap(beat_data_i[31:0]), beat_data_i[39:32], beat_data_i[47:40]} == cfg_mac_i;
        type_q   <= type_outer;
        first_q  <= '0;
      end
      if (beat_q == 10'd1) begin
        type_q     <= type_now;
        first_q    <= word[0];
        l3_words_q <= ihl;
        end_q      <= 17'(at_l3) + (ip6 ? 17'd40 + {1'b0, ip6_len} : {1'b0, ip4_len});
      end
      if (beat_q < 10'd8) begin
        for (int k = 0; k < 10; k++) begin
          if (!vlan_q && beat_q == 10'((k + 4) / 4)) l3_q[k] <= word[(k + 4) % 4];
          if (vlan_q && beat_q == 10'((k + 5) / 4))  l3_q[k] <= word[(k + 5) % 4];
        end
        for (int j = 0; j < 4; j++) begin
          automatic logic [4:0] k = {beat_q[2:0], 2'(j)} - at_l4[6:2];
          if (beat_q > 10'd1 && k < 5'd10) l4_q[k[3:0]] <= word[j];
        end
      end
    end
  end

  // Lanes of the window that count, and the two bytes behind the last window.
  logic [15:0] from_l4, ip_lanes, l4_lanes;
  logic [1:0]  tail_lanes;
  logic [16:0] tail_at;
  assign tail_at = {3'b0, beat_q, 4'h0} + 17'd16;
  always_comb begin
    from_l4    = (beat_q < 10'd2) ? '0 : lanes_from(beat_q, 17'(at_l4));
    ip_lanes   = lanes_from(beat_q, 17'(at_l3)) & ~from_l4;
    l4_lanes   = from_l4 & ~lanes_from(beat_q, end_q);
    tail_lanes = '0;
    if (ip4) l4_lanes |= lanes_from(beat_q, 17'(at_l3) + 17'd12) & ~lanes_from(beat_q, 17'(at_l3) + 17'd20);
    if (ip6) l4_lanes |= lanes_from(beat_q, 17'(at_l3) + 17'd8) & ~lanes_from(beat_q, 17'(at_l3) + 17'd40);
    if (beat_last_i && beat_q > 10'd1 && tail_at >= 17'(at_l4)) tail_lanes = {tail_at + 1'b1 < end_q, tail_at < end_q};
  end

  logic [31:0] icrc;
  sluice_icrc u_icrc (
    .clk_i, .rst_ni, .step_i(beat_valid_i), .window_i(window), .beat_i(beat_q), .vlan_i(vlan_q), .ip6_i(ip6), .end_i(end_q),
    .crc_o(icrc)
  );

  // ---- stage 2: sums of the frame; the fields are complete with its last beat ----
  logic        two_valid_q, two_last_q, two_first_q, two_kill_q;
  logic [18:0] ip_beat_q, l4_beat_q;
  logic [31:0] ip_acc_q, l4_acc_q, ip_sum, l4_sum, addresses;
  logic [13:0] len_q;
  logic [9:0]  words_q;

  assign ip_sum = (two_first_q ? '0 : ip_acc_q) + 32'(ip_beat_q);
  assign l4_sum = (two_first_q ? '0 : l4_acc_q) + 32'(l4_beat_q);
  // ICMPv4 has no pseudo-header: what was added too much is taken out again.
  assign addresses = (ip4_q && l3_q[2][23:16] == 8'd1)
                   ? 32'(l3_q[3][31:16]) + 32'(l3_q[3][15:0]) + 32'(l3_q[4][31:16]) + 32'(l3_q[4][15:0]) : '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      two_valid_q   <= 1'b0;
      facts_valid_o <= 1'b0;
    end else begin
      two_valid_q   <= beat_valid_i;
      facts_valid_o <= two_valid_q && two_last_q && !two_kill_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (beat_valid_i) begin
      ip_beat_q   <= ip4 && beat_q < 10'd8 ? sum_words(window, ip_lanes) : '0;
      l4_beat_q   <= (ip4 || ip6) ? sum_words(window, l4_lanes) +
                     {3'b0, tail_lanes[0] ? beat_data_i[119:112] : 8'h0, tail_lanes[1] ? beat_data_i[127:120] : 8'h0} : '0;
      two_first_q <= beat_q == '0;
      two_last_q  <= beat_last_i;
      two_kill_q  <= beat_kill_i;
      len_q       <= {beat_q, 4'h0} + 14'(beat_count_i);
      words_q     <= beat_words_i;
    end
    if (two_valid_q) begin
      ip_acc_q <= ip_sum;
      l4_acc_q <= l4_sum;
    end
    if (two_valid_q && two_last_q) begin
      facts_o <= '{
        len: len_q, words: words_q, mac_ok: mac_ok_q, ether_type: type_q, vlan: vlan_q, first: first_q, l3: l3_q, l4: l4_q,
        l3_words: l3_words_q, ip_end: end_q - 17'd2, ip_sum: ip_sum, l4_sum: l4_sum - addresses,
        icrc: icrc
      };
    end
  end
endmodule : sluice_rx_parse
