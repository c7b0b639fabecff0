`include "sluice_assert.svh"

/// Writes header fields over the gathered bytes of each frame and adds up its checksums. Bytes leave with checksum fields
/// of zero; the values follow in the frame's record.
module sluice_tx_edit
  import sluice_pkg::*;
  import sluice_sum_pkg::*;
  import sluice_tx_pkg::*;
(
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             frame_valid_i,
  output logic             frame_ready_o,
  input  frame_t           frame_i,
  input  logic             beat_valid_i,
  output logic             beat_ready_o,
  input  logic [127:0]     beat_data_i,
  input  logic             beat_last_i,
  output logic             word_valid_o,
  input  logic             word_ready_i,
  output logic [127:0]     word_data_o,
  output logic             record_valid_o,  // after the frame's last word
  input  logic             record_room_i,   // at least 4 records still fit
  output record_t          record_o,
  output logic             done_valid_o,    // the last byte of this core's job was read
  output logic [CoreW-1:0] done_core_o,
  output logic             bad_o            // with done_valid_o: the job was malformed
);
  // ---- stage 0: edit ----
  logic [9:0]   beat_q;
  logic         go, stage1_free, v4_q, v4, skip, lengths;
  logic [127:0] edited;
  logic [3:0]   version;

  assign lengths       = frame_i.tcp || frame_i.roce;
  assign skip          = frame_valid_i && frame_i.bad;
  assign go            = frame_valid_i && !frame_i.bad && beat_valid_i && stage1_free && (beat_q != '0 || record_room_i);
  assign beat_ready_o  = go;
  assign frame_ready_o = skip || (go && beat_last_i);

  assign version = beat_data_i[{frame_i.l3[3:0], 3'd4}+:4];
  assign v4      = (beat_q == 10'(frame_i.l3[7:4])) ? version == 4'd4 : v4_q;

  logic [15:0] ip_len, udp_len; // length fields of a TCP or RoCE frame
  assign ip_len  = 16'(frame_i.frame_len) - 16'(frame_i.l3) - (v4 ? 16'd0 : 16'd40);
  assign udp_len = 16'(frame_i.frame_len) - 16'(frame_i.l4);

  // What the L4 header's byte `at` is to be; bit 8: it is overridden.
  function automatic logic [8:0] l4_byte(input logic [8:0] at);
    if (frame_i.roce) begin
      unique case (at)
        9'd4:       return {1'b1, udp_len[15:8]};
        9'd5:       return {1'b1, udp_len[7:0]};
        9'd6, 9'd7: return {1'b1, 8'h0};
        default:    return '0;
      endcase
    end
    unique case (at)
      9'd4, 9'd5, 9'd6, 9'd7:     return {frame_i.tcp, frame_i.seq[{~at[1:0], 3'b000}+:8]};
      9'd8, 9'd9, 9'd10, 9'd11:   return {frame_i.tcp, frame_i.ack[{~at[1:0], 3'b000}+:8]};
      9'd13:                      return {frame_i.tcp, frame_i.flags};
      9'd14:                      return {frame_i.tcp, frame_i.window[15:8]};
      9'd15:                      return {frame_i.tcp, frame_i.window[7:0]};
      9'd24, 9'd25, 9'd26, 9'd27: return {frame_i.timestamps, frame_i.ts_val[{~at[1:0], 3'b000}+:8]};
      9'd28, 9'd29, 9'd30, 9'd31: return {frame_i.timestamps, frame_i.ts_ecr[{~at[1:0], 3'b000}+:8]};
      default:                    return '0;
    endcase
  endfunction

  function automatic logic [8:0] sum_place(input raw_checksum_e sum);
    unique case (sum)
      RawTcp:  return 9'd16;
      RawUdp:  return 9'd6;
      default: return 9'd2;
    endcase
  endfunction

  always_comb begin
    edited = beat_data_i;
    if (go && beat_q[9:5] == '0 && (frame_i.sum != RawNone || frame_i.roce)) begin
      for (int i = 0; i < 16; i++) begin
        automatic logic [8:0] at3  = {beat_q[4:0], 4'(i)} - {1'b0, frame_i.l3};
        automatic logic [8:0] at4  = {beat_q[4:0], 4'(i)} - {1'b0, frame_i.l4};
        automatic logic [8:0] over = l4_byte(at4);
        if (lengths && at3 == (v4 ? 9'd2 : 9'd4))     edited[8*i+:8] = ip_len[15:8];
        if (lengths && at3 == (v4 ? 9'd3 : 9'd5))     edited[8*i+:8] = ip_len[7:0];
        if (v4 && at3[8:1] == 8'd5)                   edited[8*i+:8] = '0;
        if (over[8])                                  edited[8*i+:8] = over[7:0];
        if (!frame_i.roce && at4[8:1] == 8'(sum_place(frame_i.sum) >> 1)) edited[8*i+:8] = '0;
      end
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      beat_q       <= '0;
      v4_q         <= 1'b0;
      done_valid_o <= 1'b0;
      bad_o        <= 1'b0;
    end else begin
      if (go) begin
        beat_q <= beat_last_i ? '0 : beat_q + 1'b1;
        v4_q   <= v4;
      end
      done_valid_o <= frame_ready_o && frame_i.job_last;
      bad_o        <= skip;
    end
  end

  // ---- stage 1: words to the ring, lanes of each sum chosen ----
  logic          valid_q, last_q, is4_q, roce_q;
  logic [127:0]  data_q;
  logic [9:0]    at_q;
  raw_checksum_e sum_q;
  logic [7:0]    l3_q, l4_q;
  logic [13:0]   len_q;
  logic          step;

  assign stage1_free  = !valid_q || word_ready_i;
  assign step         = valid_q && word_ready_i;
  assign word_valid_o = valid_q;
  assign word_data_o  = data_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni)          valid_q <= 1'b0;
    else if (stage1_free) valid_q <= go;
  end

  always_ff @(posedge clk_i) begin
    done_core_o <= frame_i.core;
    if (go) begin
      data_q <= edited;
      last_q <= beat_last_i;
      at_q   <= beat_q;
      is4_q  <= v4;
      sum_q  <= frame_i.sum;
      roce_q <= frame_i.roce;
      l3_q   <= frame_i.l3;
      l4_q   <= frame_i.l4;
      len_q  <= frame_i.frame_len;
    end
  end

  // The end of the L4 bytes is what the IP header says; L4 starts in a later beat than the length field.
  logic [16:0] end_q;
  logic [8:0]  len_at;
  logic [15:0] len_field; // first byte low
  assign len_at    = {1'b0, l3_q} + (is4_q ? 9'd2 : 9'd4);
  assign len_field = data_q[{len_at[3:1], 4'h0}+:16];

  logic [15:0] from_l4, ip_lanes, l4_lanes;
  logic        pseudo; // sums the addresses too
  assign pseudo  = !(sum_q == RawIcmp && is4_q);
  assign from_l4 = lanes_from(at_q, 17'(l4_q));

  always_comb begin
    ip_lanes = lanes_from(at_q, 17'(l3_q)) & ~from_l4;
    l4_lanes = from_l4 & ~lanes_from(at_q, end_q);
    if (at_q < 10'd32 && pseudo) begin
      if (is4_q) l4_lanes |= lanes_from(at_q, 17'(l3_q) + 17'd12) & ~lanes_from(at_q, 17'(l3_q) + 17'd20);
      else       l4_lanes |= lanes_from(at_q, 17'(l3_q) + 17'd8) & ~lanes_from(at_q, 17'(l3_q) + 17'd40);
    end
  end

  logic [15:0] carry_q; // last two bytes of the beat before
  logic [31:0] icrc;
  always_ff @(posedge clk_i) if (step) carry_q <= data_q[127:112];
  sluice_icrc u_icrc (
    .clk_i, .rst_ni, .step_i(step), .window_i({data_q[111:0], carry_q}), .beat_i(at_q), .vlan_i(l3_q[4]), .ip6_i(!is4_q),
    .end_i(17'(len_q) - 17'd2), .crc_o(icrc)
  );

  // ---- stage 2: sums of the beat; stage 3: sums of the frame; stage 4: record ----
  logic          two_valid_q, two_last_q, two_first_q, three_last_q, is4_two_q, is4_three_q, roce_two_q, roce_three_q;
  logic [31:0]   icrc_q;
  logic [18:0]   ip_beat_q, l4_beat_q;
  logic [31:0]   ip_acc_q, l4_acc_q;
  logic [16:0]   l4_len_q;
  raw_checksum_e sum_two_q, sum_three_q;
  logic [7:0]    l3_two_q, l4_two_q, l3_three_q, l4_three_q;
  logic [13:0]   len_two_q, len_three_q;
  logic [15:0]   l4_folded;
  logic [7:0]    protocol;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      two_valid_q    <= 1'b0;
      three_last_q   <= 1'b0;
      record_valid_o <= 1'b0;
    end else begin
      two_valid_q    <= step;
      three_last_q   <= two_valid_q && two_last_q;
      record_valid_o <= three_last_q;
    end
  end

  always_comb begin
    unique case (sum_three_q)
      RawTcp:  protocol = 8'd6;
      RawUdp:  protocol = 8'd17;
      default: protocol = is4_three_q ? 8'd0 : 8'd58;
    endcase
    l4_folded = ~fold({15'h0, 17'(fold(l4_acc_q))} + ((sum_three_q == RawIcmp && is4_three_q) ? 32'h0 :
                      {15'h0, l4_len_q} + {24'h0, protocol}));
  end

  always_ff @(posedge clk_i) begin
    if (step) begin
      if (at_q == 10'(len_at[8:4])) begin
        end_q <= 17'(l3_q) + (is4_q ? 17'd0 : 17'd40) + {1'b0, len_field[7:0], len_field[15:8]};
      end
      ip_beat_q   <= is4_q && at_q[9:5] == '0 ? sum_words(data_q, ip_lanes) : '0;
      l4_beat_q   <= sum_q != RawNone ? sum_words(data_q, l4_lanes) : '0;
      two_last_q  <= last_q;
      two_first_q <= at_q == '0;
      is4_two_q   <= is4_q;
      sum_two_q   <= sum_q;
      roce_two_q  <= roce_q;
      l3_two_q    <= l3_q;
      l4_two_q    <= l4_q;
      len_two_q   <= len_q;
    end
    if (two_valid_q) begin
      ip_acc_q <= (two_first_q ? '0 : ip_acc_q) + 32'(ip_beat_q);
      l4_acc_q <= (two_first_q ? '0 : l4_acc_q) + 32'(l4_beat_q);
      l4_len_q    <= end_q - 17'(l4_two_q);
      is4_three_q <= is4_two_q;
      sum_three_q <= sum_two_q;
      roce_three_q <= roce_two_q;
      icrc_q       <= ~icrc;
      l3_three_q  <= l3_two_q;
      l4_three_q  <= l4_two_q;
      len_three_q <= len_two_q;
    end
    if (three_last_q) begin
      record_o <= '{
        len: len_three_q,
        icrc_en: roce_three_q, icrc: icrc_q,
        ip_en: (sum_three_q != RawNone || roce_three_q) && is4_three_q, ip_at: {1'b0, l3_three_q} + 9'd10, ip_sum: ~fold(ip_acc_q),
        l4_en: sum_three_q != RawNone, l4_at: {1'b0, l4_three_q} + sum_place(sum_three_q),
        // RFC 768: a sum of zero is sent as all ones, since zero means none
        l4_sum: (sum_three_q == RawUdp && l4_folded == '0) ? 16'hFFFF : l4_folded
      };
    end
  end

  logic unused;
  assign unused = len_at[0]; // offsets are even

  `SLUICE_ASSERT(LastBeatMatchesLength, step && last_q |-> 14'(at_q) == (len_q - 1'b1) >> 4)
endmodule : sluice_tx_edit
