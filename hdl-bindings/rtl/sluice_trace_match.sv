/// Says at a frame's last beat whether the trace's filter lets it pass: no port wanted, or one of them is the frame's source or
/// destination. A packet with IPv4 options passes by its protocol alone; fragments are taken for whole packets.
module sluice_trace_match (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic [15:0]  tcp_port_i,   // 0: no TCP
  input  logic [15:0]  udp_port_i,   // 0: no UDP
  input  logic         valid_i,      // a beat
  input  logic [127:0] data_i,       // bytes beyond the frame's end are zero
  input  logic         last_i,
  output logic         match_o       // meaningful with the last beat
);
  localparam logic [15:0] Vlan = 16'h8100;
  localparam logic [15:0] Ipv4 = 16'h0800;
  localparam logic [15:0] Ipv6 = 16'h86DD;
  localparam logic [7:0]  Tcp  = 8'd6;
  localparam logic [7:0]  Udp  = 8'd17;

  logic [2:0]  beat_q;               // stays at 4
  logic        vlan_q, ip4_q, ip6_q, plain_q, tcp_q, udp_q, hit_q;
  logic        vlan, ip4, ip6, plain, tcp, udp, hit;
  logic [7:0]  protocol;
  logic [15:0] source, target;

  function automatic logic [15:0] half(input logic [127:0] data, input int unsigned at);
    return {data[8*at+:8], data[8*(at+1)+:8]};
  endfunction

  // The EtherType is in the first beat, behind a tag in the second.
  always_comb begin
    vlan     = beat_q == 3'd0 ? half(data_i, 12) == Vlan : vlan_q;
    ip4      = ip4_q;
    ip6      = ip6_q;
    plain    = plain_q;
    if (beat_q == 3'd0) begin
      ip4   = half(data_i, 12) == Ipv4;
      ip6   = half(data_i, 12) == Ipv6;
      plain = data_i[8*14+:4] == 4'd5;
    end else if (beat_q == 3'd1 && vlan_q) begin
      ip4   = half(data_i, 0) == Ipv4;
      ip6   = half(data_i, 0) == Ipv6;
      plain = data_i[8*2+:4] == 4'd5;
    end
    // Bytes 23 and 20 of an untagged frame.
    unique case ({vlan_q, ip6})
      2'b00: protocol = data_i[8*7+:8];
      2'b01: protocol = data_i[8*4+:8];
      2'b10: protocol = data_i[8*11+:8];
      2'b11: protocol = data_i[8*8+:8];
    endcase
    tcp = beat_q == 3'd1 ? (ip4 || ip6) && protocol == Tcp : tcp_q && beat_q != 3'd0;
    udp = beat_q == 3'd1 ? (ip4 || ip6) && protocol == Udp : udp_q && beat_q != 3'd0;
  end

  // Bytes 34 to 37 of an untagged IPv4 packet, 54 to 57 of IPv6.
  always_comb begin
    source = ip4_q ? half(data_i, vlan_q ? 6 : 2) : half(data_i, vlan_q ? 10 : 6);
    target = ip4_q ? half(data_i, vlan_q ? 8 : 4) : half(data_i, vlan_q ? 12 : 8);
    hit    = hit_q && beat_q != 3'd0;
    if (beat_q == 3'd1 && ip4 && !plain) hit = (tcp && tcp_port_i != '0) || (udp && udp_port_i != '0);
    if (beat_q == ((ip4_q && plain_q) ? 3'd2 : 3'd3) && (ip6_q || plain_q)) begin
      if (tcp && tcp_port_i != '0 && (source == tcp_port_i || target == tcp_port_i)) hit = 1'b1;
      if (udp && udp_port_i != '0 && (source == udp_port_i || target == udp_port_i)) hit = 1'b1;
    end
  end

  assign match_o = hit || (tcp_port_i == '0 && udp_port_i == '0);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      beat_q  <= '0;
      vlan_q  <= 1'b0;
      ip4_q   <= 1'b0;
      ip6_q   <= 1'b0;
      plain_q <= 1'b0;
      tcp_q   <= 1'b0;
      udp_q   <= 1'b0;
      hit_q   <= 1'b0;
    end else if (valid_i) begin
      if (last_i)               beat_q <= '0;
      else if (beat_q != 3'd4)  beat_q <= beat_q + 1'b1;
      vlan_q  <= vlan;
      ip4_q   <= ip4;
      ip6_q   <= ip6;
      plain_q <= plain;
      tcp_q   <= tcp;
      udp_q   <= udp;
      hit_q   <= hit;
    end
  end
endmodule : sluice_trace_match
