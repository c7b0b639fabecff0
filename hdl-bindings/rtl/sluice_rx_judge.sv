/// Decides whether a frame is kept, and if not, why; fills in its descriptor, computes its flow hash and looks up its core.
/// A frame a clock; the checks come in the order of `rx_drop_e`'s meaning: length, PAUSE, address, EtherType, IP, L4.
module sluice_rx_judge
  import sluice_pkg::*;
  import sluice_sum_pkg::*;
  import sluice_crc32c_pkg::*;
  import sluice_rx_pkg::*;
  import sluice_roce_pkg::UdpPort;
#(
  parameter int unsigned NumCores = 2
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic [31:0]      time_us_i,
  input  logic             facts_valid_i,
  input  facts_t           facts_i,
  output logic [6:0]       steer_index_o,
  input  logic [CoreW-1:0] steer_core_i,   // for the index of the clock before
  output logic             record_valid_o,
  output record_t          record_o,
  output logic             cnt_pause_o,
  output logic [15:0]      pause_quanta_o
);
  localparam logic [31:0] TimestampsOnly = 32'h0101_080A; // NOP, NOP, kind 8, length 10 (RFC 7323, appendix A)

  // ---- what kind of frame it is ----
  logic        typed, ip4, ip6, arp, pause, tcp, udp, icmp, more, fragment,
               bad_ip4, bad_ip6, bad_l4, bad_sum, no_sum, has_ts, roce, bad_roce, bad_icrc;
  logic [7:0]  l3_at, l4_at, next;
  logic [16:0] l4_len;
  logic [5:0]  tcp_len;
  logic [15:0] l4_folded;
  logic [1:0]  ecn;

  assign typed    = !facts_i.vlan || facts_i.len >= 14'd18; // the EtherType behind a tag is there
  assign ip4      = typed && facts_i.ether_type == 16'h0800;
  assign ip6      = typed && facts_i.ether_type == 16'h86DD;
  assign arp      = typed && facts_i.ether_type == 16'h0806;
  // IEEE 802.3 annex 31B, 31D: opcode 0001h PAUSE, 0101h priority-based flow control
  assign pause    = facts_i.ether_type == 16'h8808 && !facts_i.vlan && facts_i.len >= 14'd18 &&
                    (facts_i.first[31:16] == 16'h0001 || facts_i.first[31:16] == 16'h0101);
  assign l3_at    = facts_i.vlan ? 8'd18 : 8'd14;
  assign l4_at    = l3_at + {2'b0, facts_i.l3_words, 2'b00};
  assign l4_len   = facts_i.ip_end - 17'(l4_at);
  assign next     = ip4 ? facts_i.l3[2][23:16] : facts_i.l3[1][15:8];
  assign ecn      = ip4 ? facts_i.l3[0][17:16] : facts_i.l3[0][21:20];
  assign tcp      = (ip4 || ip6) && next == 8'd6;
  assign udp      = (ip4 || ip6) && next == 8'd17;
  assign icmp     = (ip4 && next == 8'd1) || (ip6 && next == 8'd58);
  assign fragment = (ip4 && (facts_i.l3[1][13] || facts_i.l3[1][12:0] != '0)) || (ip6 && next == 8'd44);

  assign bad_ip4 = facts_i.l3[0][31:28] != 4'd4 || facts_i.l3_words < 4'd5 ||
                   17'(facts_i.len) < 17'(l4_at) || facts_i.ip_end < 17'(l4_at) || facts_i.ip_end > 17'(facts_i.len) ||
                   fold(facts_i.ip_sum) != 16'hFFFF;
  assign bad_ip6 = facts_i.l3[0][31:28] != 4'd6 || 17'(facts_i.len) < 17'(l4_at) || facts_i.ip_end > 17'(facts_i.len);

  assign tcp_len   = {facts_i.l4[3][31:28], 2'b00};
  assign has_ts    = tcp_len == 6'd32 && facts_i.l4[5] == TimestampsOnly;
  assign roce      = udp && facts_i.l4[0][15:0] == UdpPort;
  // RFC 768: the sender made no checksum. Not with IPv6, but for RoCE, which has its own.
  assign no_sum    = udp && (ip4 || roce) && facts_i.l4[1][15:0] == '0;
  assign bad_l4    = (tcp && (l4_len < 17'd20 || tcp_len < 6'd20 || 17'(tcp_len) > l4_len)) ||
                     (udp && (l4_len < 17'd8 || {1'b0, facts_i.l4[1][31:16]} != l4_len)) || (icmp && l4_len < 17'd4);
  assign l4_folded = fold(32'(fold(facts_i.l4_sum)) + ((icmp && ip4) ? '0 : 32'(l4_len) + 32'(next)));
  assign bad_sum   = (tcp || udp || icmp) && !no_sum && l4_folded != 16'hFFFF;
  assign more      = tcp && tcp_len != 6'd20 && !has_ts;

  // ---- verdict ----
  record_t  verdict;
  rx_desc_t desc;
  rx_roce_t desc_roce;

  sluice_rx_roce u_roce (
    .facts_i, .ip4_i(ip4), .l4_len_i(l4_len), .base_i(desc), .bad_o(bad_roce), .bad_icrc_o(bad_icrc), .desc_o(desc_roce)
  );

  always_comb begin
    verdict        = '0;
    verdict.words  = facts_i.words;
    verdict.drop   = 1'b1;
    verdict.reason = DropLength;
    if (facts_i.len < 14'(RxFrameMin) || facts_i.len > 14'(RxFrameMax)) verdict.reason = DropLength;
    else if (pause)               verdict.reason = DropPause;
    else if (!facts_i.mac_ok)     verdict.reason = DropNotForUs;
    else if (!ip4 && !ip6 && !arp) verdict.reason = DropEtherType;
    else if (ip4 && bad_ip4)      verdict.reason = DropIpv4;
    else if (ip6 && bad_ip6)      verdict.reason = DropIpv6;
    else if (fragment)            verdict.reason = DropFragment;
    else if (bad_l4)              verdict.reason = DropL4Header;
    else if (bad_sum)             verdict.reason = DropChecksum;
    else if (roce && bad_roce)    verdict.reason = DropRoce;
    else if (roce && bad_icrc)    verdict.reason = DropIcrc;
    else                          verdict.drop   = 1'b0;

    verdict.desc = roce ? rx_desc_t'(desc_roce) : desc;
  end

  always_comb begin
    desc           = '0;
    desc.frame_len = facts_i.len;
    desc.time_us   = time_us_i;
    desc.l3_offset = l3_at;
    desc.vlan      = facts_i.vlan ? facts_i.first[31:16] : '0;
    desc.flags     = '{
      ipv4: ip4, ipv6: ip6, arp: arp, vlan: facts_i.vlan, tcp: tcp, udp: udp, icmp: icmp, timestamp: tcp && has_ts,
      tcp_options: more, l4_ok: (tcp || udp || icmp) && !no_sum, ce: (ip4 || ip6) && ecn == 2'b11,
      roce: 1'b0
    };
    if (ip4) begin
      desc.src_ip4 = facts_i.l3[3];
      desc.dst_ip4 = facts_i.l3[4];
    end
    if (tcp || udp || icmp) desc.l4_offset = l4_at;
    if (tcp || udp) begin
      desc.src_port       = facts_i.l4[0][31:16];
      desc.dst_port       = facts_i.l4[0][15:0];
      desc.payload_offset = l4_at + (tcp ? 8'(tcp_len) : 8'd8);
      desc.payload_len    = l4_len[15:0] - (tcp ? 16'(tcp_len) : 16'd8);
    end
    if (tcp) begin
      desc.seq       = facts_i.l4[1];
      desc.ack       = facts_i.l4[2];
      desc.tcp_flags = facts_i.l4[3][23:16];
      desc.window    = facts_i.l4[3][15:0];
      if (has_ts) begin
        desc.ts_val = facts_i.l4[6];
        desc.ts_ecr = facts_i.l4[7];
      end
    end
  end

  // ---- flow hash in three steps: source (with IPv4: everything), destination, ports; then the table ----
  typedef struct packed {
    record_t      record;
    logic [31:0]  crc;
    logic [127:0] dst;    // IPv6
    logic [31:0]  ports;
    logic         ip6;    // two more steps
  } hash_t;
  logic [3:0] valid_q;
  hash_t       one_q, two_q;
  record_t     three_q, four_q;
  logic [31:0] three_crc_q;

  function automatic logic [31:0] wire_order(input logic [31:0] value);
    return {value[7:0], value[15:8], value[23:16], value[31:24]};
  endfunction

  function automatic logic [127:0] wire_address(input logic [3:0][31:0] words); // word 0 is first on the wire
    return {wire_order(words[3]), wire_order(words[2]), wire_order(words[1]), wire_order(words[0])};
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q        <= '0;
      cnt_pause_o    <= 1'b0;
      pause_quanta_o <= '0;
    end else begin
      valid_q     <= {valid_q[2:0], facts_valid_i};
      cnt_pause_o <= facts_valid_i && verdict.drop && verdict.reason == DropPause;
      if (facts_valid_i && verdict.drop && verdict.reason == DropPause && facts_i.first[31:16] == 16'h0001) begin
        pause_quanta_o <= facts_i.first[15:0];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (facts_valid_i) begin
      one_q.record <= verdict;
      one_q.dst    <= wire_address(facts_i.l3[9:6]);
      one_q.ports  <= wire_order(facts_i.l4[0]);
      one_q.ip6   <= ip6;
      one_q.crc    <= ip6 ? step('1, wire_address(facts_i.l3[5:2]), 5'd16)
                          : step('1, {32'h0, wire_order(facts_i.l4[0]), wire_order(facts_i.l3[4]), wire_order(facts_i.l3[3])}, 5'd12);
    end
    if (valid_q[0]) begin
      two_q <= one_q;
      if (one_q.ip6) two_q.crc <= step(one_q.crc, one_q.dst, 5'd16);
    end
    if (valid_q[1]) begin
      three_q     <= two_q.record;
      three_crc_q <= two_q.ip6 ? step(two_q.crc, 128'(two_q.ports), 5'd4) : two_q.crc;
    end
    if (valid_q[2]) begin
      four_q <= three_q;
      if (three_q.desc.flags.tcp || three_q.desc.flags.udp) four_q.desc.flow_hash <= ~three_crc_q;
    end
  end

  rx_roce_t four_roce;
  assign four_roce      = rx_roce_t'(four_q.desc);
  assign steer_index_o  = ~three_crc_q[6:0];
  assign record_valid_o = valid_q[3];
  always_comb begin
    record_o      = four_q;
    record_o.core = four_q.desc.flags.roce ? CoreW'(four_roce.dest_qp >> QpnCoreShift)
                  : four_q.desc.flags.tcp  ? steer_core_i : '0;
    if (record_o.core >= CoreW'(NumCores)) record_o.core = '0;
  end

  logic unused;
  assign unused = ^{two_q.dst, facts_i.first, facts_i.l4, four_roce};
endmodule : sluice_rx_judge
